"""Move the usage counters by what changed in Invocations.

Trigger  the stream of Invocations. Its mapping has a tumbling window, because only then does an event name its shard.
Effect   counters and checkpoint of the shard in one transaction; a request to allocate the days.
Retry    safe: records up to the checkpoint are left out.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.invocations import invocation_from_image
from adapters.observability import count, logger, metrics
from adapters.settings import RollUpUsage, load
from attribution.errors import InputRejected
from attribution.flows.roll_up_usage import StreamRecord, comparable, roll_up_usage

settings = load(RollUpUsage)
counters = wiring.usage_counters(settings)
queue = wiring.allocation_queue(settings)
quarantine = wiring.quarantine(settings)


def stream_records(event: dict[str, Any]) -> list[StreamRecord]:
    """The changes of invocations. An item that its time to live removes takes nothing back: what was used stays used."""
    found = []
    for record in event["Records"]:
        if record["eventName"] == "REMOVE":
            continue
        change = record["dynamodb"]
        try:
            images = [invocation_from_image(change.get(name)) for name in ("OldImage", "NewImage")]
        except (KeyError, TypeError, ValueError) as error:
            # It would hold up every record behind it for a day; the item stays where it is, and its notice says so.
            quarantine.put(
                InputRejected(f"stream record {change['SequenceNumber']}", f"not an invocation: {type(error).__name__}")
            )
            count("InputRejected")
            continue
        found.append(StreamRecord(comparable(change["SequenceNumber"]), *images))
    return found


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    records = stream_records(event)
    if records:
        stream = event["eventSourceARN"].rpartition("/")[2]
        outcome = roll_up_usage(stream, event["shardId"], records, counters=counters, queue=queue)
        count("InvocationsRolledUp", outcome.applied)
        logger.info("usage rolled up", applied=outcome.applied, skipped=outcome.skipped, days=len(outcome.days))
    # A mapping with a window fails without `state`.
    return {"state": {}, "batchItemFailures": []}
