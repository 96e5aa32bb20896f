"""Compile the digests that are due: what the owners of a route spent in the last day or week.

Trigger  a schedule, every quarter of an hour, by way of EventBridge and SQS. Its message says no more than that it is time.
Effect   new digests in Alerts; `deliver_alerts` tells them.
Retry    safe: a digest is named by its route, schedule and day, and made once. One that fails brings the message back, after
         all others are made.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.messages import process_signals
from adapters.observability import count, logger, metrics
from adapters.settings import CompileDigests, load
from attribution.flows.compile_digests import compile_digests

settings = load(CompileDigests)
days = wiring.ledger_days(settings)
policy = wiring.policy(settings)
outbox = wiring.outbox(settings)
redelivery = wiring.redelivery()


def compile_due() -> None:
    outcome = compile_digests(days=days, routes=policy, outbox=outbox, clock=wiring.clock)
    count("DigestsMade", len(outcome.made))
    count("DigestsFailed", len(outcome.failed))
    logger.info("digests compiled", made=[str(key) for key in outcome.made])
    for key, error in outcome.failed.items():
        logger.error("digest not made", digest=str(key), exc_info=error)
    for error in outcome.failed.values():
        raise error


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return dict(process_signals(event, compile_due, redelivery))
