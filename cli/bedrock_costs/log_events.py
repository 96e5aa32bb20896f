"""Invocation logs in CloudWatch Logs, handed to the function as their subscription does.

They carry prompts: they are held in memory, a page at a time, and neither written nor shown anywhere.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bedrock_costs.failures import Failure
from bedrock_costs.stack import Stack

LogEvents = Sequence[Mapping[str, Any]]


def read_log_events(stack: Stack, log_group: str, first: datetime, last: datetime) -> Iterator[LogEvents]:
    """The events of a log group between two times, a page at a time, each stream of it apart."""
    pages = (
        stack.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=log_group, startTime=_milliseconds(first), endTime=_milliseconds(last))
    )
    for page in pages:
        by_stream: dict[str, list[Mapping[str, Any]]] = {}
        for event in page["events"]:
            by_stream.setdefault(event["logStreamName"], []).append(event)
        yield from by_stream.values()


def record_log_events(stack: Stack, log_group: str, batch: LogEvents, sent: int) -> int:
    """Have one batch recorded; returns how many events it had. `sent` is how many were recorded before."""
    delivery = {
        "messageType": "DATA_MESSAGE",
        "logGroup": log_group,
        "logStream": batch[0]["logStreamName"],
        "subscriptionFilters": ["replay"],
        "logEvents": [{"id": e["eventId"], "timestamp": e["timestamp"], "message": e["message"]} for e in batch],
    }
    data = base64.b64encode(gzip.compress(json.dumps(delivery).encode())).decode()
    answer = stack.client("lambda").invoke(
        FunctionName=stack.output("RecordInvocationsFunction"), Payload=json.dumps({"awslogs": {"data": data}}).encode()
    )
    if answer.get("FunctionError"):
        raise Failure(
            f"the function failed after {sent} events",
            "Its log says why.",
            "Run the command again once the cause is removed: what was recorded before is recognized.",
        )
    return len(batch)


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
