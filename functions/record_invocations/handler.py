"""Record the requests of an invocation log object.

Trigger  S3 "Object Created" on the invocation-log bucket, by way of EventBridge and SQS.
Effect   one item per request in Invocations: its metered half, priced.
Retry    safe: each half of an item is written once, by a conditional update.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import ObjectCreated, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import RecordInvocations, load
from adapters.sources.invocation_log import S3InvocationLogs, is_records_object
from attribution.flows.record_invocations import record_invocations

settings = load(RecordInvocations)
logs = S3InvocationLogs(
    wiring.client("s3"), settings.invocation_log_bucket, settings.invocation_log_prefix, settings.allocation_tag_keys
)
invocations = wiring.invocations(settings)
prices = wiring.prices(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def record_object(body: str, name: str) -> None:
    source = read(ObjectCreated, body, name).source
    if not is_records_object(source.key):
        logger.info("object ignored", object=str(source), reason="not an object of invocation records")
        return
    outcome = record_invocations(
        source,
        logs=logs,
        invocations=invocations,
        prices=prices,
        quarantine=quarantine,
        oldest=wiring.oldest_recordable(settings),
    )
    for metric, value in (
        ("InvocationsRecorded", outcome.recorded),
        ("InvocationsUnpriced", outcome.unpriced),
        ("InvocationsTooOld", outcome.too_old),
        ("InputRejected", outcome.rejected + outcome.conflicting),
    ):
        count(metric, value)
    logger.info("invocations recorded", extra={"object": str(source), **outcome.counts()})


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, record_object, quarantine, redelivery)
