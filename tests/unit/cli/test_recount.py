"""`recount`: the counters of days held against their requests, while the stream goes on; and given what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.concurrency import results
from adapters.dynamodb import Table
from adapters.invocation_audit import DynamoInvocationScan
from adapters.invocations import invocation_from_image
from adapters.usage_counters import DynamoUsageCounters
from attribution.flows.roll_up_usage import StreamRecord, comparable, roll_up_usage
from attribution.meters import TokenKind
from attribution.ports import MeteredHalf
from attribution.usage import Counters, InvocationKey, Metered, PricedKind, Usage
from bedrock_costs import recounting
from tests.fakes import FakeAllocationQueue
from tests.unit.attribution.examples import USAGE_KEY, metered
from tests.unit.cli.support import Cloud, client, run

NOW = datetime.now(UTC)
DAY = (NOW - timedelta(days=3)).date()
SHARD = "shardId-00000001541626099285-f35f62ef"
"""The only shard of a stream of moto."""


def at_noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def request(units: int = 1000, day: date = DAY, **changes: Any) -> Metered:
    cost = Decimal(units) * Decimal("0.0000033")
    return metered(timestamp=at_noon(day), kinds={TokenKind.INPUT: PricedKind(units, cost, "")}, **changes)


class Recorder:
    """Records requests, and rolls up what the stream holds when it is told to."""

    def __init__(self, cloud: Cloud) -> None:
        self.counters = DynamoUsageCounters(cloud.ledger, 760, lambda: NOW)
        self.recorded = 0
        self._cloud = cloud
        self._cloud.now = NOW
        _, self._stream = DynamoInvocationScan(Table(cloud.dynamodb, "invocations"), invocation_from_image).description()

    def record(self, *halves: Metered, roll_up: bool = True) -> None:
        for half in halves:
            self.recorded += 1
            key = InvocationKey("111122223333", "us-east-1", f"r-{self.recorded}")
            results(self._cloud.invocations.record_metered([MeteredHalf(key, half)]))
        if roll_up:
            self.roll_up()

    def waiting(self) -> list[StreamRecord]:
        iterator = client("dynamodbstreams").get_shard_iterator(
            StreamArn=self._stream, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        changes = [r["dynamodb"] for r in client("dynamodbstreams").get_records(ShardIterator=iterator)["Records"]]
        images = [[invocation_from_image(change.get(name)) for name in ("OldImage", "NewImage")] for change in changes]
        records = [StreamRecord(comparable(c["SequenceNumber"]), *i) for c, i in zip(changes, images, strict=True)]
        return [r for r in records if r.sequence > self.counters.checkpoint(self._stream.rpartition("/")[2], SHARD)]

    def roll_up(self, leaving_out: int = 0) -> None:
        """Apply what waits. The first requests may be left out: the mapping has given them up, and goes on behind them."""
        label = self._stream.rpartition("/")[2]
        records = self.waiting()
        if leaving_out:
            # moto has two records of an item's first write: the first shows nothing but its key.
            lost = [record.sequence for record in records if record.new][leaving_out - 1]
            self.counters.apply(label, SHARD, after=self.counters.checkpoint(label, SHARD), through=lost, differences={})
        roll_up_usage(label, SHARD, records, counters=self.counters, queue=FakeAllocationQueue())

    def sums(self, day: date = DAY) -> Counters:
        return sum((usage.counters for usage in self.counters.usage_of(day)), start=Counters())


@pytest.fixture
def recorder(cloud: Cloud) -> Recorder:
    return Recorder(cloud)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """What happens while the command waits, after it has read the items."""
    happening: list[Callable[[], None]] = []
    monkeypatch.setattr("bedrock_costs.recounting.pause", lambda seconds: [happen() for happen in happening])
    yield happening


def days(first: date = DAY, last: date = DAY) -> tuple[str, ...]:
    return "--from", first.isoformat(), "--to", last.isoformat()


def recounted(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = run("recount", *(args or days()), output="json").json
    return found


def of_day(document: dict[str, Any], day: date = DAY) -> dict[str, Any]:
    return next(d for d in document["recounted_days"] if d["usage_date"] == day.isoformat())


def test_counters_that_are_what_the_requests_add_up_to_agree(recorder: Recorder) -> None:
    recorder.record(request(1000), request(2000), request(500, iam_principal="arn:other"))

    ran = run("recount", *days())

    assert ran.exit_code == 0
    row = next(line.split() for line in ran.out.splitlines() if DAY.isoformat() in line)
    assert row == [DAY.isoformat(), "agrees", "3", "3", "3,500", "3,500", "0.01155", "0.01155"]
    assert "3 items read, " in ran.out


def test_requests_that_were_lost_on_the_way_are_told_by_counter_and_quantity(recorder: Recorder) -> None:
    recorder.record(request(1000), request(2000), roll_up=False)
    recorder.roll_up(leaving_out=1)

    ran = run("recount", *days(), output="json")
    found = of_day(ran.json)

    assert ran.exit_code == 1
    assert f"usage counters differ from the requests that are kept: {DAY}" in ran.err
    assert found["comparison"] == "differs"
    assert {(d["quantity"], d["kind"], d["counted"], d["recounted"]) for d in found["differences"]} == {
        ("requests", "", 1, 2),
        ("units", "input", 2000, 3000),
        ("estimated", "input", "0.0066", "0.0099"),
    }
    assert found["differences"][0]["key"]["model"] == USAGE_KEY.model


def test_guardrail_units_are_recounted_too(recorder: Recorder) -> None:
    recorder.record(request(1000, guardrail_units=(("topicPolicyUnits", 2),)), roll_up=False)
    recorder.roll_up(leaving_out=1)

    found = of_day(recounted())["differences"]
    run("recount", *days(), "--repair")

    assert ("guardrail_units", "topicPolicyUnits", 0, 2) in [tuple(list(d.values())[1:]) for d in found]
    assert recorder.sums().guardrail_units == {"topicPolicyUnits": 2}


def test_a_repair_adds_what_is_missing_once_and_has_the_day_allocated_again(cloud: Cloud, recorder: Recorder) -> None:
    recorder.record(request(1000), request(2000), request(500, iam_principal="arn:other"), roll_up=False)
    recorder.roll_up(leaving_out=2)

    repaired = run("recount", *days(), "--repair")
    again = run("recount", *days(), "--repair")

    assert (repaired.exit_code, again.exit_code) == (0, 0)
    assert "corrected" in repaired.out
    assert "agrees" in again.out
    assert recorder.sums().units == {TokenKind.INPUT: 3500}
    assert recorder.sums().estimated == {TokenKind.INPUT: Decimal("0.01155")}
    assert [message["body"]["usage_date"] for message in cloud.received("AllocationQueue")] == [DAY.isoformat()]
    assert recorder.counters.corrections(DAY) == 1


def test_a_repair_takes_back_what_a_counter_has_too_much(recorder: Recorder) -> None:
    recorder.record(request(1000))
    double = [Usage(u.key, u.counters) for u in recorder.counters.usage_of(DAY)]
    recorder.counters.apply("forged", "shard", after="", through="1", differences={u.key: u.counters for u in double})
    stray = double[0].key._replace(iam_principal="arn:nobody")
    recorder.counters.apply("forged", "other", after="", through="1", differences={stray: double[0].counters})

    assert run("recount", *days(), "--repair").exit_code == 0

    left = [u.counters for u in recorder.counters.usage_of(DAY) if not u.counters.is_zero()]
    assert left == [double[0].counters]


def test_a_repair_of_more_counters_than_a_transaction_takes_is_made_in_several(recorder: Recorder) -> None:
    recorder.record(*(request(1000 + n, iam_principal=f"arn:{n}") for n in range(102)), roll_up=False)
    recorder.roll_up(leaving_out=102)

    assert run("recount", *days(), "--repair").exit_code == 0

    assert recorder.sums().requests == 102
    assert recorder.counters.corrections(DAY) == 2


def test_requests_that_are_counted_between_comparison_and_repair_count_once(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.record(request(1000), roll_up=False)
    recorder.roll_up(leaving_out=1)
    corrected = recounting.correct

    def late(*args: Any) -> Any:
        recorder.record(request(500))
        return corrected(*args)

    monkeypatch.setattr(recounting, "correct", late)

    assert run("recount", *days(), "--repair").exit_code == 0
    assert recorder.sums().units == {TokenKind.INPUT: 1500}


def test_two_repairs_at_once_add_what_is_missing_once(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder.record(request(1000), roll_up=False)
    recorder.roll_up(leaving_out=1)
    corrected = recounting.correct
    monkeypatch.setattr(recounting, "correct", lambda stack, days: [corrected(stack, days), corrected(stack, days)][0])

    ran = run("recount", *days(), "--repair")

    assert ran.exit_code == 1
    assert f"somebody else corrected the counters of {DAY} meanwhile: recount it again" in ran.err
    assert recorder.sums().units == {TokenKind.INPUT: 1000}


def test_changes_that_wait_in_the_stream_are_no_difference(recorder: Recorder) -> None:
    recorder.record(request(1000))
    recorder.record(request(2000), roll_up=False)

    ran = run("recount", *days(), "--repair", output="json")

    assert ran.exit_code == 4
    assert of_day(ran.json)["comparison"] == "moving"
    assert of_day(ran.json)["pending_changes"] == 1
    assert recorder.sums().requests == 1


def test_a_day_that_is_counted_while_its_items_are_read_is_moving(recorder: Recorder, pauses: list[Callable[[], None]]) -> None:
    recorder.record(request(1000))
    pauses.append(lambda: recorder.record(request(2000)))

    assert of_day(recounted())["comparison"] == "moving"


def test_a_day_beside_one_that_moves_is_compared(recorder: Recorder) -> None:
    before = DAY - timedelta(days=1)
    recorder.record(request(1000, before))
    recorder.record(request(2000), roll_up=False)

    ran = run("recount", *days(before), output="json")

    assert ran.exit_code == 0
    assert of_day(ran.json, before)["comparison"] == "agrees"


def expire(cloud: Cloud, number: int) -> None:
    cloud.dynamodb.delete_item(TableName="invocations", Key={"pk": {"S": f"111122223333#us-east-1#r-{number}"}})


def test_requests_that_expired_are_no_difference(cloud: Cloud, recorder: Recorder) -> None:
    edge = NOW.date() - timedelta(days=35)
    recorder.record(request(1000, edge), request(2000, edge))
    expire(cloud, 1)

    ran = run("recount", *days(edge, edge), "--repair", output="json")

    assert ran.exit_code == 4
    assert of_day(ran.json, edge)["comparison"] == "partly_expired"
    assert recorder.sums(edge).requests == 2


def test_of_a_partly_expired_day_what_was_never_counted_is_told_and_not_repaired(cloud: Cloud, recorder: Recorder) -> None:
    edge = NOW.date() - timedelta(days=35)
    recorder.record(request(1000, edge), request(2000, edge, iam_principal="arn:other"), roll_up=False)
    recorder.roll_up(leaving_out=1)

    ran = run("recount", *days(edge, edge), "--repair", output="json")

    assert ran.exit_code == 1
    assert of_day(ran.json, edge)["comparison"] == "differs"
    assert recorder.sums(edge).requests == 1
    assert "is not known any more" in ran.err


def test_days_that_were_kept_for_less_than_the_stack_says_now_can_be_told_apart(cloud: Cloud, recorder: Recorder) -> None:
    early = NOW.date() - timedelta(days=25)
    recorder.record(request(1000, early), request(2000, early))
    expire(cloud, 1)

    assert of_day(recounted(*days(early, early)), early)["comparison"] == "differs"
    assert of_day(recounted("--kept-days", "20", *days(early, early)), early)["comparison"] == "partly_expired"


def test_csv_has_a_row_for_each_number_that_differs_and_for_each_day_that_agrees(recorder: Recorder) -> None:
    before = DAY - timedelta(days=1)
    recorder.record(request(1000, before))
    recorder.record(request(2000), roll_up=False)
    recorder.roll_up(leaving_out=1)

    header, first, *others = run("recount", *days(before), output="csv").out.splitlines()

    assert header.endswith("quantity,kind,counted,recounted")
    assert (first.split(",")[:2], first.split(",")[-4:]) == ([before.isoformat(), "agrees"], ["requests", "", "1", "1"])
    assert [line.rsplit(",", 4)[1:] for line in others] == [
        ["requests", "", "0", "1"],
        ["units", "input", "0", "2000"],
        ["estimated", "input", "0", "0.0066"],
    ]


def test_an_item_that_cannot_be_read_is_named(cloud: Cloud, recorder: Recorder) -> None:
    recorder.record(request())
    broken = {"pk": {"S": "111122223333#us-east-1#broken"}, "metered": {"B": b"secret"}}
    cloud.dynamodb.put_item(TableName="invocations", Item=broken)

    ran = run("recount", *days())

    assert ran.exit_code == 1
    assert "1 item of Invocations cannot be read; the first: 111122223333#us-east-1#broken" in ran.err
    assert "secret" not in ran.out + ran.err


def test_without_days_everything_that_is_kept_is_recounted(recorder: Recorder) -> None:
    newest, oldest, gone = (NOW.date() - timedelta(days=age) for age in (0, 34, 36))
    recorder.record(request(1000, newest), request(2000, oldest), request(3000, gone))

    found = {day["usage_date"]: day["comparison"] for day in recounted("--kept-days", "35")["recounted_days"]}

    assert found == {oldest.isoformat(): "agrees", newest.isoformat(): "agrees"}


def test_a_stack_that_counted_nothing_says_so(cloud: Cloud) -> None:
    ran = run("recount", *days())

    assert ran.exit_code == 4
    assert "has counted nothing in these days" in ran.err


def test_every_part_of_the_table_is_read_once(cloud: Cloud, recorder: Recorder) -> None:
    recorder.record(*(request(n + 1) for n in range(40)))

    document = recounted()

    assert document["items_read"] == 40
    assert of_day(document)["recounted"]["units"] == sum(range(1, 41))
