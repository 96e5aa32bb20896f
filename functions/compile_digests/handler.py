"""Compile the digests that are due: what the owners of a route spent in the last day or week.

Trigger  a schedule, every quarter of an hour, by way of EventBridge and SQS. Its message says no more than that it is time.
Effect   new digests in Alerts; `deliver_alerts` tells them.
Retry    safe: a digest is named by its route, schedule and day, and made once.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.observability import count, logger, metrics
from adapters.settings import CompileDigests, load
from attribution.flows.compile_digests import compile_digests

settings = load(CompileDigests)
days = wiring.ledger_days(settings)
policy = wiring.policy(settings)
outbox = wiring.outbox(settings)


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    # One that fails returns its message, the only one of its batch, to the queue.
    outcome = compile_digests(days=days, routes=policy, outbox=outbox, clock=wiring.clock)
    count("DigestsMade", len(outcome.made))
    logger.info("digests compiled", made=[str(key) for key in outcome.made])
    return {"batchItemFailures": []}
