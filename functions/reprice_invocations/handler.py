"""Price requests that were recorded without a price, now that there is one.

Trigger  a message that names a usage day and a model, by way of SQS.
Effect   prices in the metered half of requests, or in the observed half where it stands alone; the stream moves the counters.
Retry    safe: a request is changed only from the state that was read, and what has a price keeps it.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import RepriceInvocations as Message
from adapters.contracts import read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import RepriceInvocations, load
from attribution.flows.reprice_invocations import reprice_invocations
from attribution.ports import UnpricedUsage

settings = load(RepriceInvocations)
invocations = wiring.invocations(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
queue = wiring.reprice_queue(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def reprice(body: str, name: str) -> None:
    message = read(Message, body, name)
    outcome = reprice_invocations(
        UnpricedUsage(message.usage_date, message.model),
        message.after,
        invocations=invocations,
        prices=prices,
        directory=directory,
        queue=queue,
    )
    count("InvocationsRepriced", outcome.changed)
    logger.info(
        "invocations repriced",
        extra={"usage_date": message.usage_date.isoformat(), "model": message.model, **outcome.counts()},
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, reprice, quarantine, redelivery)
