"""Record the requests of invocation logs.

Trigger  S3 "Object Created" on the invocation-log bucket, by way of EventBridge and SQS; a subscription to the log group of
         invocation logs, directly.
Effect   one item per request in Invocations: its metered half, priced.
Retry    safe: each half of an item is written once, by a conditional update, whichever way its record came.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import LogEventsDelivered, ObjectCreated, read
from adapters.messages import process_messages, reject
from adapters.observability import count, logger, metrics
from adapters.settings import RecordInvocations, load
from adapters.sources.invocation_log import S3InvocationLogs, SubscribedInvocationLogs, is_records_object
from attribution.errors import InputRejected
from attribution.flows.record_invocations import RecordedInvocations, record_invocations
from attribution.ports import MeteredRecord

settings = load(RecordInvocations)
logs = S3InvocationLogs(
    wiring.client("s3"), settings.invocation_log_bucket, settings.invocation_log_prefix, settings.allocation_tag_keys
)
subscribed_logs = SubscribedInvocationLogs(settings.invocation_log_group, settings.allocation_tag_keys)
invocations = wiring.invocations(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def record_object(body: str, name: str) -> None:
    source = read(ObjectCreated, body, name).source
    if not is_records_object(source.key):
        logger.info("object ignored", object=str(source), reason="not an object of invocation records")
        return
    outcome = record(logs.read(source))
    logger.info("invocations recorded", extra={"object": str(source), **outcome.counts()})


def record_log_events(event: dict[str, Any], name: str) -> None:
    batch = subscribed_logs.batch(read(LogEventsDelivered, event, name).awslogs.data, name)
    try:
        outcome = record(subscribed_logs.read(batch))
    except Exception:
        # Lambda tries again twice, and then forgets; what is logged here is what to replay.
        logger.exception("log events failed", log_stream=batch.name, span=batch.span)
        raise
    logger.info("invocations recorded", extra={"log_stream": batch.name, "span": batch.span, **outcome.counts()})


def record(records: Iterable[MeteredRecord | InputRejected | None]) -> RecordedInvocations:
    outcome = record_invocations(
        records,
        invocations=invocations,
        prices=prices,
        directory=directory,
        quarantine=quarantine,
        oldest=wiring.oldest_recordable(settings),
    )
    for metric, value in (
        ("InvocationsRecorded", outcome.recorded),
        ("InvocationsUnpriced", outcome.unpriced),
        ("InvocationsUnmeasured", outcome.unmeasured),
        ("InvocationsTooOld", outcome.too_old),
        ("InputRejected", outcome.rejected + outcome.conflicting),
    ):
        count(metric, value)
    return outcome


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    if "awslogs" not in event:
        return process_messages(event, context, record_object, quarantine, redelivery)
    try:
        record_log_events(event, f"log events of invocation {context.aws_request_id}")
    except InputRejected as rejected:
        reject(rejected, quarantine)
    return None
