"""Relay the stack's own alarms to where budgets are told.

Trigger  a notification of CloudWatch, by way of AlarmTopic and SQS; raw, or in the envelope of SNS.
Effect   one alert per alarm, raised, changed or recovered; `deliver_alerts` tells it.
Retry    safe: the time of the change decides, and what is not newer than what is known changes nothing.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import AlarmStateChanged, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import RelayAlarms, load
from attribution.flows.relay_alarms import relay_alarm

settings = load(RelayAlarms)
alerts = wiring.outbox(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def relay(body: str, name: str) -> None:
    alarm = read(AlarmStateChanged, body, name).alarm
    if alarm is None:
        logger.info("alarm ignored", reason="CloudWatch has no data for it")
        return
    outcome = relay_alarm(alarm, alerts=alerts, clock=wiring.clock)
    count("AlarmsRelayed", int(outcome.is_changed))
    logger.info(
        "alarm relayed",
        alarm=alarm.name,
        is_raised=alarm.is_raised,
        since=alarm.since.isoformat(),
        state=outcome.state,
        is_changed=outcome.is_changed,
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, relay, quarantine, redelivery)
