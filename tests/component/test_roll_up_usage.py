"""The function that moves the usage counters: every invocation counts once, however its stream records are delivered."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from moto import mock_aws

from adapters.invocations import invocation_from_image
from adapters.usage_counters import DynamoUsageCounters
from attribution.errors import LedgerConflict
from attribution.meters import Routing, Tier, TokenKind
from attribution.recounts import recount
from attribution.usage import Counters, Usage, UsageKey
from tests.support import inputs
from tests.support.stack import FAILED_NONE, NOW, Stack, load_event, messages, windowed

FUNCTION = "roll_up_usage"
ANSWER = FAILED_NONE | {"state": {}}


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The changes of the invocations when the company's month is recorded from both sides."""
    with mock_aws():
        stack = Stack()
        inputs.record_logs(stack, inputs.month(20))
        stack.run("record_api_calls", messages("record_api_calls", inputs.trail_events(inputs.month(20))))
        return list(stack.stream("InvocationsTable"))


def counted(stack: Stack) -> dict[UsageKey, Counters]:
    """The counters that are not zero."""
    counters = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: NOW)
    usage = [u for day in (*inputs.PERIOD.days(), date(2026, 10, 5)) for u in counters.usage_of(day)]
    return {u.key: _without_zeros(u.counters) for u in usage if not u.counters.is_zero()}


def _without_zeros(counters: Counters) -> Counters:
    return Counters(
        counters.requests,
        counters.errors,
        counters.unmeasured,
        counters.observed_only,
        {k: n for k, n in counters.units.items() if n},
        {k: n for k, n in counters.estimated.items() if n},
        {k: n for k, n in counters.unpriced.items() if n},
        counters.provisional,
        {policy: n for policy, n in counters.guardrail_units.items() if n},
    )


def expected(records: list[dict[str, Any]]) -> dict[UsageKey, Counters]:
    """What the invocations themselves add up to, in their last state."""
    last = {record["dynamodb"]["Keys"]["pk"]["S"]: record["dynamodb"]["NewImage"] for record in records}
    invocations = [invocation_from_image(image) for image in last.values()]
    return {key: _without_zeros(c) for key, c in recount([i for i in invocations if i]).items()}


def test_the_sample_event_counts_its_request_once_although_both_halves_arrive(stack: Stack) -> None:
    answer = stack.run(FUNCTION, load_event(FUNCTION))

    assert answer == ANSWER
    ((key, counters),) = counted(stack).items()
    assert (key.usage_date, counters.requests) == (date(2026, 10, 5), 1)
    assert key.session_tags == (("team", "search"),)
    (message,) = stack.sent("AllocationQueue")
    assert inputs.usage_date_of(message) == date(2026, 10, 5) and message.group == "2026-10-05"


def test_a_counter_comes_back_as_it_was_stored(stack: Stack) -> None:
    day = date(2026, 10, 5)
    key = UsageKey(
        day,
        "111122223333",
        "us-east-1",
        "amazon.nova-pro",
        Routing.GLOBAL,
        Tier.RESERVED,
        "arn:aws:sts::111122223333:assumed-role/R/s",
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1",
        (("tenant", "acme"),),
        (("team", "search"),),
        "ada",
        "arn:aws:bedrock-mantle:us-east-1:111122223333:project/p1",
        "arn:aws:lambda:us-east-1:111122223333:function:f",
    )
    input_kind = TokenKind.INPUT
    counters = Counters(
        1,
        2,
        3,
        4,
        {input_kind: 5},
        {input_kind: Decimal("0.5")},
        {input_kind: 6},
        7,
        {"topicPolicyUnits": 8, "wordPolicyUnits": 9},
    )
    store = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: NOW)

    store.apply("stream", "shard", after="", through="1", differences={key: counters})
    store.apply("stream", "shard", after="1", through="2", differences={key: Counters(guardrail_units={"topicPolicyUnits": 1})})

    assert store.usage_of(day) == [Usage(key, counters + Counters(guardrail_units={"topicPolicyUnits": 1}))]


def test_the_sample_event_again_changes_nothing(stack: Stack) -> None:
    stack.run(FUNCTION, load_event(FUNCTION))
    before = stack.wire_items("LedgerTable")

    answer = stack.run(FUNCTION, load_event(FUNCTION))

    assert answer == ANSWER
    assert stack.wire_items("LedgerTable") == before
    assert stack.metrics()["InvocationsRolledUp"] == 2


def test_the_counters_equal_the_invocations(stack: Stack, records: list[dict[str, Any]]) -> None:
    stack.run(FUNCTION, windowed(records))

    assert counted(stack) == expected(records)
    assert {inputs.usage_date_of(m) for m in stack.sent("AllocationQueue")} == {key.usage_date for key in expected(records)}


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_that_is_cut_differently_when_it_comes_again_counts_once(
    stack: Stack, records: list[dict[str, Any]], seed: int
) -> None:
    chance = random.Random(seed)
    position = 0
    while position < len(records):
        # A retried batch begins at or before what has been applied, and ends anywhere behind its beginning.
        start = max(0, position - chance.randrange(12))
        end = start + chance.randint(1, 25)
        assert stack.run(FUNCTION, windowed(records[start:end])) == ANSWER
        position = max(position, min(end, len(records)))

    assert counted(stack) == expected(records)


def expired(record: dict[str, Any], number: int) -> dict[str, Any]:
    """The removal of an item as DynamoDB's time to live writes it to the stream."""
    change = {key: value for key, value in record["dynamodb"].items() if key not in ("NewImage", "OldImage")}
    change |= {"OldImage": record["dynamodb"]["NewImage"], "SequenceNumber": str(1200000000000000000000 + number)}
    by = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return record | {"eventName": "REMOVE", "dynamodb": change, "userIdentity": by}


def test_a_removal_by_time_to_live_takes_nothing_back(stack: Stack, records: list[dict[str, Any]]) -> None:
    stack.run(FUNCTION, windowed(records))
    before = counted(stack)
    removals = [expired(record, number) for number, record in enumerate(records)]

    answer = stack.run(FUNCTION, windowed(removals))

    assert answer == ANSWER
    assert counted(stack) == before


def test_the_end_of_a_window_without_records_changes_nothing(stack: Stack) -> None:
    answer = stack.run(FUNCTION, windowed([]) | {"isFinalInvokeForWindow": True})

    assert answer == ANSWER
    assert stack.items("LedgerTable") == []


def test_a_checkpoint_that_moved_meanwhile_makes_the_batch_fail_as_a_whole(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = load_event(FUNCTION)
    first, second = ({**event, "Records": [record]} for record in event["Records"])
    stack.run(FUNCTION, first)
    slow = stack.handler(FUNCTION)
    seen = slow.counters.checkpoint("2026-10-01T08:15:30.123", event["shardId"])
    stack.run(FUNCTION, second)
    before = stack.wire_items("LedgerTable")
    # Another worker read the checkpoint before the second record was applied.
    monkeypatch.setattr(slow.counters, "checkpoint", lambda stream, shard: seen)

    with pytest.raises(LedgerConflict, match="read it again"):
        stack.invoke(slow, event)

    assert stack.wire_items("LedgerTable") == before


def test_two_shards_have_a_checkpoint_each(stack: Stack) -> None:
    event = load_event(FUNCTION)
    other = event | {"shardId": "shardId-00000001791212345679-0b1c2d3e"}
    for record in other["Records"]:
        record["dynamodb"]["SequenceNumber"] = "1"

    stack.run(FUNCTION, load_event(FUNCTION))
    stack.run(FUNCTION, other | {"Records": []})
    stack.run(FUNCTION, other)

    checkpoints = [item for item in stack.items("LedgerTable") if item["pk"].startswith("CHECKPOINT#")]
    assert len(checkpoints) == 2
    assert next(iter(counted(stack).values())).requests == 2


def test_a_record_that_is_no_invocation_is_passed_over(stack: Stack) -> None:
    event = load_event(FUNCTION)
    strange: dict[str, Any] = {"pk": {"S": "SESSION#ASIAEXAMPLE0KEY00001"}, "session_tags": {"M": {}}}
    event["Records"][0]["dynamodb"]["NewImage"] = strange
    event["Records"][1]["dynamodb"]["OldImage"] = strange

    assert stack.run(FUNCTION, event) == ANSWER

    assert next(iter(counted(stack).values())).requests == 1
