"""One DynamoDB table as plain Python items: exact numbers, consistent reads, complete pages, batches without leftovers."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from attribution.errors import LedgerConflict

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()
_BATCH_WRITE = 25
_BATCH_GET = 100
_MAX_BATCH_ATTEMPTS = 10
# Reasons to cancel a transaction that pass by themselves.
_PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def to_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    """Attribute values; the serializer refuses floats and numbers of more than 38 digits instead of rounding them."""
    return {name: _serializer.serialize(value) for name, value in item.items()}


def from_wire(item: Mapping[str, Any]) -> Item:
    """Plain values; numbers are Decimal."""
    return {name: _deserializer.deserialize(value) for name, value in item.items()}


def integer(value: Any) -> int:
    """A stored count."""
    return int(value) if isinstance(value, Decimal) else 0


class Table:
    """A table with the keys `pk` and, where it has one, `sk`."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self.client = client
        self.name = name

    def get(self, **key: str) -> Item | None:
        """One item, read consistently."""
        found = self.client.get_item(TableName=self.name, Key=to_wire(key), ConsistentRead=True).get("Item")
        return from_wire(found) if found else None

    def query(self, pk: str, prefix: str = "", *, attributes: Sequence[str] = ()) -> Iterator[Item]:
        """Every item of a partition whose sort key begins with `prefix`, read consistently, in order."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": to_wire({":pk": pk}),
            "ConsistentRead": True,
        }
        if prefix:
            request["KeyConditionExpression"] += " AND begins_with(sk, :prefix)"
            request["ExpressionAttributeValues"] |= to_wire({":prefix": prefix})
        if attributes:
            request["ProjectionExpression"] = ", ".join(f"#p{i}" for i in range(len(attributes)))
            request["ExpressionAttributeNames"] = {f"#p{i}": name for i, name in enumerate(attributes)}
        for page in self.client.get_paginator("query").paginate(**request):
            for item in page["Items"]:
                yield from_wire(item)

    def last(self, pk: str, *, after: str, through: str) -> Item | None:
        """The last item of a partition whose sort key lies from `after` up to `through`, read consistently."""
        found = self.client.query(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :after AND :through",
            ExpressionAttributeValues=to_wire({":pk": pk, ":after": after, ":through": through}),
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
        )["Items"]
        return from_wire(found[0]) if found else None

    def batch_get(self, keys: Iterable[Mapping[str, str]]) -> list[Item]:
        """The items that exist among `keys`, read consistently, in no particular order."""
        wanted = [to_wire(key) for key in keys]
        found: list[Item] = []
        for start in range(0, len(wanted), _BATCH_GET):
            pending: Any = {self.name: {"Keys": wanted[start : start + _BATCH_GET], "ConsistentRead": True}}
            for attempt in range(_MAX_BATCH_ATTEMPTS):
                answer = self.client.batch_get_item(RequestItems=pending)
                found += [from_wire(item) for item in answer["Responses"].get(self.name, [])]
                pending = answer.get("UnprocessedKeys")
                if not pending:
                    break
                _back_off(attempt)
            else:
                raise TimeoutError(f"DynamoDB kept throttling reads of {self.name}: raise its capacity or try again later")
        return found

    def transact(self, actions: Sequence[Any], conflict: str) -> None:
        """All of the actions or none. A condition that does not hold raises `LedgerConflict`, saying `conflict`.

        Another transaction on the same items, or throttling, is waited out: it says nothing about the conditions.
        """
        for attempt in range(_MAX_BATCH_ATTEMPTS):
            try:
                self.client.transact_write_items(TransactItems=actions)
            except self.client.exceptions.TransactionCanceledException as error:
                reasons = {reason.get("Code", "None") for reason in error.response.get("CancellationReasons", [])} - {"None"}
                if "ConditionalCheckFailed" in reasons:
                    raise LedgerConflict(conflict) from error
                if not reasons or reasons - _PASSING:
                    raise
                _back_off(attempt)
            else:
                return
        raise LedgerConflict(f"{conflict} (DynamoDB kept cancelling the transaction)")

    def delete(self, **key: str) -> None:
        """Remove one item; one that is not there stays so."""
        self.client.delete_item(TableName=self.name, Key=to_wire(key))

    def batch_put(self, items: Iterable[Item]) -> None:
        """Write whole items; a repeat writes the same bytes again."""
        rest = iter(items)
        while batch := [{"PutRequest": {"Item": to_wire(item)}} for item in islice(rest, _BATCH_WRITE)]:
            pending: Any = {self.name: batch}
            for attempt in range(_MAX_BATCH_ATTEMPTS):
                pending = self.client.batch_write_item(RequestItems=pending).get("UnprocessedItems")
                if not pending:
                    break
                _back_off(attempt)
            else:
                raise TimeoutError(f"DynamoDB kept throttling writes to {self.name}: raise its capacity or try again later")


def _back_off(attempt: int) -> None:
    # Full jitter; S311 does not matter, nothing secret depends on it.
    time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311
