"""Look for anomalies: who spends far more than their own past lets expect, since when, and what it comes from.

Trigger  `LedgerDaysChanged`, collected for a few minutes, and every hour, by way of EventBridge and SQS.
Effect   anomalies in the ledger; one alert and `AnomalyDetected` for each event.
Retry    safe: the same days give the same anomalies; one may be told again if an attempt ended before it was remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import LedgerDaysChangedEvent, read_each
from adapters.messages import process_together
from adapters.observability import count, logger, metrics
from adapters.settings import DetectAnomalies, load
from attribution.flows.detect_anomalies import detect_anomalies

settings = load(DetectAnomalies)
days = wiring.ledger_days(settings)
policy = wiring.policy(settings)
anomalies = wiring.anomalies(settings)
alerts = wiring.outbox(settings)
news = wiring.announcements()
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def look(messages: Sequence[tuple[str, str]]) -> Mapping[str, Exception]:
    """One look at the ledger for all messages: they only say that it is time."""
    found, rejected = read_each(LedgerDaysChangedEvent, messages)
    if found:
        _detect()
    return rejected


def _detect() -> None:
    outcome = detect_anomalies(days=days, policy=policy, anomalies=anomalies, alerts=alerts, news=news, clock=wiring.clock)
    count("AnomaliesFound", sum(change == "found" for change, _ in outcome.told))
    count("AnomaliesOpen", outcome.open)
    logger.info(
        "anomalies detected",
        anomalies=len(outcome.anomalies),
        open=outcome.open,
        told=len(outcome.told),
        changed=outcome.changed,
        days_read=outcome.days_read,
        not_summed=outcome.not_summed,
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return dict(process_together(event, look, quarantine, redelivery))
