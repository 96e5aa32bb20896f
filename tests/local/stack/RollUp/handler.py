"""Ask for the allocation of each new record; misbehave once for the records whose key says how."""

import os
import time
from typing import Any

from shared import client, observe

_failed: set[str] = set()


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    observe("roll_up", event)
    for record in event["Records"]:
        key = record["dynamodb"]["Keys"]["pk"]["S"]
        if "slow" in key:
            time.sleep(4)
            observe("roll_up_awake", key)
        if "forget-state-once" in key and key not in _failed:
            _failed.add(key)
            return {}
        if "fail-once" in key and key not in _failed:
            _failed.add(key)
            failure = {"itemIdentifier": record["dynamodb"]["SequenceNumber"]}
            return {"state": event["state"], "batchItemFailures": [failure]}
        client("sqs").send_message(
            QueueUrl=os.environ["ALLOCATION_QUEUE"],
            MessageBody=key,
            MessageGroupId="2026-11",
            MessageDeduplicationId=record["eventID"],
        )
    seen = event["state"].get("seen", 0) + len(event["Records"])
    return {"state": {"seen": seen}, "batchItemFailures": []}
