"""Everything in Invocations, and everything in its stream that is not counted yet: what a recount of the counters reads.

Nothing but a recount scans the table: it has no order by day, and an index that had one would double what each request costs to
record, for a question that is asked a few times a year.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import Table
from attribution.usage import Invocation

if TYPE_CHECKING:
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

# A shard may answer with nothing although there is more: it says nothing about the end, only that it was not reached yet.
_EMPTY_READS = 5


Decode = Callable[[Mapping[str, Any] | None], Invocation | None]
"""An invocation from an item in wire form; None for an item that is none."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the table. `unreadable` are the keys of items that are no invocation although they should be one."""

    invocations: Sequence[Invocation]
    unreadable: Sequence[str]
    items: int
    read_units: float


class DynamoInvocationScan:
    """The whole table in parts that can be read at once, consistently."""

    def __init__(self, table: Table, decode: Decode) -> None:
        self._table = table
        self._decode = decode

    def description(self) -> tuple[int, str]:
        """About how many items the table has (DynamoDB counts every six hours), and the ARN of its stream."""
        described = self._table.client.describe_table(TableName=self._table.name)["Table"]
        return described.get("ItemCount", 0), described["LatestStreamArn"]

    def pages(self, part: int, parts: int) -> Iterator[Page]:
        """One of `parts` disjoint parts of the table, page by page: a page is all that is ever in memory."""
        found = self._table.client.get_paginator("scan").paginate(
            TableName=self._table.name,
            Segment=part,
            TotalSegments=parts,
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        for page in found:
            yield self._page(page)

    def _page(self, page: Any) -> Page:
        invocations, unreadable = [], []
        for item in page["Items"]:
            try:
                invocation = self._decode(item)
            except (KeyError, TypeError, ValueError):
                unreadable.append(str(item["pk"].get("S", "")))
                continue
            if invocation is not None:
                invocations.append(invocation)
        return Page(invocations, unreadable, len(page["Items"]), page.get("ConsumedCapacity", {}).get("CapacityUnits", 0))


class DynamoInvocationStream:
    """The changes of Invocations that `roll_up_usage` has not applied yet."""

    def __init__(self, client: DynamoDBStreamsClient, arn: str, decode: Decode, checkpoint: Callable[[str, str], str]) -> None:
        self._client = client
        self._arn = arn
        self._decode = decode
        self._checkpoint = checkpoint

    def pending(self, until: datetime) -> Iterator[Sequence[Invocation | None]]:
        """Old and new image of each change after its shard's checkpoint, up to a time; later ones do not matter."""
        for shard in self._shards():
            yield from self._after(shard, self._checkpoint(self._arn.rpartition("/")[2], shard), until)

    def _shards(self) -> Iterator[str]:
        more: dict[str, Any] = {}
        while True:
            described = self._client.describe_stream(StreamArn=self._arn, **more)["StreamDescription"]
            yield from (shard["ShardId"] for shard in described["Shards"])
            if not described.get("LastEvaluatedShardId"):
                return
            more = {"ExclusiveStartShardId": described["LastEvaluatedShardId"]}

    def _after(self, shard: str, checkpoint: str, until: datetime) -> Iterator[Sequence[Invocation | None]]:
        iterator: str | None = self._iterator(shard, checkpoint)
        empty_reads = 0
        while iterator and empty_reads < _EMPTY_READS:
            answer = self._client.get_records(ShardIterator=iterator)
            iterator = answer.get("NextShardIterator")
            empty_reads = 0 if answer["Records"] else empty_reads + 1
            for record in answer["Records"]:
                change: Any = record["dynamodb"]
                if change["ApproximateCreationDateTime"] > until:
                    return
                if int(change["SequenceNumber"]) > int(checkpoint or 0) and record["eventName"] != "REMOVE":
                    yield from self._images(change)

    def _images(self, change: Any) -> Iterator[Sequence[Invocation | None]]:
        """What `roll_up_usage` makes of a change: what it cannot read it leaves out."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            yield [self._decode(change.get(name)) for name in ("OldImage", "NewImage")]

    def _iterator(self, shard: str, checkpoint: str) -> str:
        place: dict[str, Any] = {"StreamArn": self._arn, "ShardId": shard}
        if checkpoint:
            try:
                return self._client.get_shard_iterator(
                    **place, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=checkpoint.lstrip("0")
                )["ShardIterator"]
            except self._client.exceptions.TrimmedDataAccessException:
                # The stream keeps 24 hours: everything it still has is newer.
                pass
        return self._client.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
