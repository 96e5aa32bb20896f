"""What DynamoDB, SQS and S3 would bill for the requests that a piece of the product makes of moto, and the CPU it takes itself.

Capacity units follow DynamoDB's own rules: a write is the larger of the item before and after it in steps of 1 KB, one that is
refused the item that stands, one in a transaction twice that; an index is another item, written where its key changes; a
consistent read is the items read in steps of 4 KB. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb.models import dynamodb_backends

Wire = Mapping[str, Any]
_WRITE, _READ = 1024, 4096


@dataclass(slots=True)
class Used:
    """Units and requests by service and operation, and CPU seconds of the product without those of moto."""

    write_units: float = 0
    read_units: float = 0
    requests: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0


def size_of(item: Wire) -> int:
    """The bytes of an item as DynamoDB counts them: names, values, and a little for what is nested."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Wire) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        # Two digits a byte, and one more.
        return math.ceil(len(content.lstrip("-").replace(".", "").strip("0") or "0") / 2) + 1
    if kind == "B":
        return len(content if isinstance(content, bytes) else base64.b64decode(content))
    if kind == "M":
        return 3 + sum(len(name.encode()) + 1 + _value_size(inner) for name, inner in content.items())
    if kind == "L":
        return 3 + sum(1 + _value_size(inner) for inner in content)
    return 1


@contextmanager
def metered(region: str, account: str) -> Iterator[Used]:
    """Count what is used inside the block."""
    used, lock = Used(), RLock()
    answer = BotocoreStubber.process_request
    in_moto = 0.0

    def count(stubber: BotocoreStubber, request: Any) -> Any:
        nonlocal in_moto
        with lock:
            started = time.thread_time()
            operation, body = _operation(request)
            table_of = dynamodb_backends[account][region].get_table
            before = _items(table_of, operation, body)
            response = answer(stubber, request)
            _add(used, operation, body, before, _items(table_of, operation, body), response)
            in_moto += time.thread_time() - started
        return response

    started = time.process_time()
    BotocoreStubber.process_request = count  # type: ignore[method-assign, assignment]
    try:
        yield used
    finally:
        BotocoreStubber.process_request = answer  # type: ignore[method-assign]
        used.cpu_seconds = time.process_time() - started - in_moto


def _operation(request: Any) -> tuple[str, dict[str, Any]]:
    target = request.headers.get("X-Amz-Target", "")
    text = target.decode() if isinstance(target, bytes) else str(target)
    if not text:
        return f"S3 {request.method}", {}
    service, _, operation = text.partition(".")
    return f"{service.partition('_')[0]} {operation}", json.loads(request.body or b"{}")


def _items(table_of: Any, operation: str, body: dict[str, Any]) -> list[tuple[str, Wire, int]]:
    """Each item that a request writes: its table, as it stands, and how often the write is counted."""
    writes = []
    match operation.rpartition(" ")[2]:
        case "UpdateItem" | "DeleteItem":
            writes = [(body["TableName"], body["Key"], 1)]
        case "PutItem":
            writes = [(body["TableName"], body["Item"], 1)]
        case "BatchWriteItem":
            writes = [(table, r["PutRequest"]["Item"], 1) for table, rs in body["RequestItems"].items() for r in rs]
        case "TransactWriteItems":
            parts = [(kind, part) for action in body["TransactItems"] for kind, part in action.items()]
            writes = [(part["TableName"], part["Item" if kind == "Put" else "Key"], 2) for kind, part in parts]
    return [(table, _stored(table_of(table), key), times) for table, key, times in writes]


def _stored(table: Any, key: Wire) -> Wire:
    by_sort_key = next((items for pk, items in table.items.items() if pk.value == key["pk"]["S"]), None)
    if not table.range_key_attr:
        found = by_sort_key
    else:
        found = next((i for sk, i in (by_sort_key or {}).items() if sk.value == key["sk"]["S"]), None)
    return found.to_json()["Attributes"] if found is not None else {}


def _add(used: Used, operation: str, body: dict[str, Any], before: list[Any], after: list[Any], response: Any) -> None:
    used.requests[operation] += 1
    for (_, old, times), (_, new, _) in zip(before, after, strict=True):
        used.write_units += times * max(1, math.ceil(max(size_of(old), size_of(new)) / _WRITE))
        if old.get("unpriced") != new.get("unpriced"):
            used.write_units += ("unpriced" in old) + ("unpriced" in new)
    name = operation.rpartition(" ")[2]
    if name not in ("GetItem", "Query", "BatchGetItem"):
        return
    answered = json.loads(response[2])
    factor = 1.0 if body.get("ConsistentRead") or name == "BatchGetItem" else 0.5
    if name == "Query":
        used.read_units += factor * max(1, math.ceil(sum(map(size_of, answered["Items"])) / _READ))
    elif name == "GetItem":
        used.read_units += factor * max(1, math.ceil(size_of(answered.get("Item", {})) / _READ))
    else:
        found = [item for items in answered["Responses"].values() for item in items]
        asked = sum(len(keys["Keys"]) for keys in body["RequestItems"].values())
        used.read_units += sum(max(1, math.ceil(size_of(item) / _READ)) for item in found) + asked - len(found)
