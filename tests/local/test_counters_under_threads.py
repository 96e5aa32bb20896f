"""Threads that tell of the same requests and move the same counters at once, against a DynamoDB that is a process of its own.

The local DynamoDB takes one request after the other and never answers `TransactionConflict`, as AWS does where two transactions
meet: that answer is put in its place here, for every third transaction.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from adapters.concurrency import results
from adapters.dynamodb import Table
from adapters.invocation_audit import DynamoInvocationScan
from adapters.invocations import DynamoInvocations, invocation_from_image
from adapters.sessions import DynamoSessions
from adapters.usage_counters import DynamoUsageCounters
from attribution.errors import LedgerConflict
from attribution.flows.record_api_calls import record_api_calls
from attribution.flows.roll_up_usage import StreamRecord, comparable, roll_up_usage
from attribution.meters import TokenKind
from attribution.ports import IssuedSession, MeteredHalf, ObservedCall
from attribution.recounts import differences, recount
from attribution.usage import InvocationKey, PricedKind
from tests.fakes import FakeAllocationQueue, FakeDirectory, FakePrices
from tests.local.support import LocalAws
from tests.support.stack import template
from tests.unit.attribution.examples import metered, observed

REQUESTS, TELLERS, COUNTERS = 25, 4, 2
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEY_ID = "ASIAEXAMPLE0KEY00001"


class Body:
    """What botocore reads of an answer that came from nowhere."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


def conflicts(counts: Iterator[int]) -> Callable[..., AWSResponse | None]:
    """The answer that AWS gives where two transactions meet on an item, for every third transaction."""

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        target = request.headers.get("X-Amz-Target", b"")
        if not target.endswith(b"TransactWriteItems") or next(counts) % 3:
            return None
        error = {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}],
        }
        return AWSResponse(request.url, 400, {}, Body(json.dumps(error).encode()))  # type: ignore[arg-type]

    return answer


class Tables:
    """The tables of the template on the local AWS, empty, and a client whose transactions conflict."""

    def __init__(self, aws: LocalAws) -> None:
        self.transactions = itertools.count(1)
        self.client = self._client(aws, "dynamodb")
        self.client.meta.events.register_first("before-send.dynamodb", conflicts(self.transactions))
        self.streams = self._client(aws, "dynamodbstreams")
        self.names = {name: f"threads-{name}" for name in ("InvocationsTable", "LedgerTable")}
        for name, physical in self.names.items():
            properties = template()["Resources"][name]["Properties"]
            taken = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
            request = {key: properties[key] for key in taken if key in properties}
            stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
            self.client.create_table(TableName=physical, StreamSpecification=stream, **request)
        self.invocations = DynamoInvocations(Table(self.client, self.names["InvocationsTable"]), 35, lambda: NOON)
        self.scan = DynamoInvocationScan(Table(self.client, self.names["InvocationsTable"]), invocation_from_image)
        self.sessions = DynamoSessions(Table(self.client, self.names["LedgerTable"]), 35, lambda: NOON)
        self.counters = DynamoUsageCounters(Table(self.client, self.names["LedgerTable"]), 760, lambda: NOON)
        _, self.stream = self.scan.description()
        (self.shard,) = self.streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"]

    @staticmethod
    def _client(aws: LocalAws, service: str) -> Any:
        emulator = aws.emulator
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=emulator.endpoint,
            region_name=emulator.region,
            aws_access_key_id=emulator.account_id,
            aws_secret_access_key="test",
            config=Config(max_pool_connections=TELLERS + COUNTERS, retries={"mode": "standard", "total_max_attempts": 4}),
        )

    def delete(self) -> None:
        for physical in self.names.values():
            self.client.delete_table(TableName=physical)

    def records(self) -> list[StreamRecord]:
        place = {"StreamArn": self.stream, "ShardId": self.shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = self.streams.get_shard_iterator(**place)["ShardIterator"]
        found: list[StreamRecord] = []
        while True:
            answer = self.streams.get_records(ShardIterator=iterator)
            if not answer["Records"]:
                return found
            iterator = answer["NextShardIterator"]
            for record in answer["Records"]:
                change = record["dynamodb"]
                images = [invocation_from_image(change.get(name)) for name in ("OldImage", "NewImage")]
                found.append(StreamRecord(comparable(change["SequenceNumber"]), *images))


@pytest.fixture
def tables(aws: LocalAws) -> Iterator[Tables]:
    made = Tables(aws)
    yield made
    made.delete()


def key(number: int) -> InvocationKey:
    return InvocationKey("111122223333", "us-east-1", f"request-{number}")


def tell(tables: Tables, seed: int) -> None:
    """Tell of every request by both halves and the session, each twice, in an order of one's own."""

    def log(number: int) -> None:
        kinds = {TokenKind.INPUT: PricedKind(100 + number, Decimal(100 + number) / 1000)}
        results(tables.invocations.record_metered([MeteredHalf(key(number), metered(timestamp=NOON, kinds=kinds))]))

    def call(number: int) -> None:
        record(ObservedCall(key(number), observed(timestamp=NOON, access_key_id=KEY_ID)))

    def session(_: int) -> None:
        record(IssuedSession(KEY_ID, (("team", "search"),), NOON - timedelta(hours=1)))

    def record(event: Any) -> None:
        outcomes = record_api_calls(
            [event],
            invocations=tables.invocations,
            sessions=tables.sessions,
            prices=FakePrices(),
            directory=FakeDirectory(),
            oldest=NOON - timedelta(days=30),
        )
        assert not isinstance(outcomes[0], Exception), outcomes

    tellings: list[Callable[[int], None]] = [log, call]
    work = [(do, n) for n in range(REQUESTS) for do in tellings] * 2
    work += [(session, 0)]
    random.Random(seed).shuffle(work)
    for do, number in work:
        do(number)


def count(tables: Tables, seed: int, is_over: Event) -> int:
    """Consume the stream until nothing is left, from anywhere before what is counted; returns how often somebody was faster."""
    chance, lost = random.Random(seed), 0
    while True:
        was_over, records = is_over.is_set(), tables.records()
        checkpoint = tables.counters.checkpoint("stream", "shard")
        done = sum(record.sequence <= checkpoint for record in records)
        if done == len(records) and was_over:
            return lost
        start = max(0, done - chance.randint(0, 20))
        batch = records[start : start + chance.randint(1, 60)]
        try:
            roll_up_usage("stream", "shard", batch, counters=tables.counters, queue=FakeAllocationQueue())
        except LedgerConflict:
            lost += 1


def test_requests_told_of_and_counted_by_many_threads_at_once_count_once(tables: Tables) -> None:
    is_over = Event()
    with ThreadPoolExecutor(TELLERS + COUNTERS) as pool:
        counting = [pool.submit(count, tables, seed, is_over) for seed in range(COUNTERS)]
        for telling in [pool.submit(tell, tables, seed) for seed in range(TELLERS)]:
            telling.result()
        is_over.set()
        lost = sum(counted.result() for counted in counting)

    usage = [u for u in tables.counters.usage_of(date(2026, 3, 10)) if not u.counters.is_zero()]
    ((_, counters),) = [(u.key, u.counters) for u in usage]
    assert usage[0].key.session_tags == (("team", "search"),)
    assert counters.requests == REQUESTS
    assert counters.units == {TokenKind.INPUT: sum(100 + n for n in range(REQUESTS))}
    assert counters.estimated == {TokenKind.INPUT: Decimal(sum(100 + n for n in range(REQUESTS))) / 1000}
    items = [i for part in range(2) for page in tables.scan.pages(part, 2) for i in page.invocations]
    assert differences(usage, recount(items)) == []
    assert next(tables.transactions) > 10
    assert lost > 0
