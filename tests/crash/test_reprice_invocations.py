"""Faults at every write of the function that prices what was recorded without a price: counters move by the difference."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from moto.dynamodb.models import dynamodb_backends

from adapters.invocations import DynamoInvocations
from adapters.prices import DynamoPrices
from adapters.usage_counters import DynamoUsageCounters
from attribution.meters import Meter, TokenKind
from attribution.ports import MeteredHalf, ObservedHalf
from attribution.prices import Price
from attribution.recounts import recount
from attribution.usage import Counters, Invocation, InvocationKey, PricedKind, UsageKey
from tests.crash.faults import Crash, Mode
from tests.crash.world import World
from tests.support.stack import ACCOUNT, REGION, Stack, messages, windowed
from tests.unit.attribution.examples import DAY, NOON, SONNET, metered, observed

FUNCTION = "reprice_invocations"
REQUESTS = 7
_ATTEMPTS_MAX = 6


def table_of(stack: Stack) -> DynamoInvocations:
    return DynamoInvocations(stack.table("InvocationsTable"), 3650, lambda: stack.now)


def recorded(number: int) -> Invocation:
    """A request without a price: logged, or told of by CloudTrail alone, or of a kind that will have none."""
    key = InvocationKey("111122223333", "us-east-1", f"r-{number}")
    units = {TokenKind.INPUT: PricedKind(1000 + number, None), TokenKind.IMAGE: PricedKind(1, None)}
    kinds = {kind: units[kind] for kind in (units if number == 3 else [TokenKind.INPUT])}
    if number == 5:
        return Invocation(key, None, observed(kinds=kinds))
    return Invocation(key, metered(kinds=kinds, price_source="", timestamp=NOON + timedelta(seconds=number)))


def record(stack: Stack) -> None:
    """Record the requests without a price, and count them; then a price becomes known."""
    table = table_of(stack)
    for number in range(REQUESTS):
        found = recorded(number)
        if found.metered:
            table.record_metered([MeteredHalf(found.key, found.metered)])
        if found.observed:
            table.record_observed([ObservedHalf(found.key, found.observed)])
    roll_up(stack)
    price = Price(Meter(SONNET, TokenKind.INPUT), "us-east-1", Decimal("3.30"), 1_000_000, DAY, "a list")
    DynamoPrices(stack.table("LedgerTable"), lambda: stack.now).store([price])


def roll_up(stack: Stack) -> None:
    """Move the counters by everything that the stream holds; what was applied before is left out."""
    assert stack.run("roll_up_usage", windowed(list(stack.stream("InvocationsTable"))))["batchItemFailures"] == []
    stack.drain("AllocationQueue")


def keep() -> Callable[[], None]:
    """Keep both tables and the stream; returns what puts them back."""
    tables = {name: dynamodb_backends[ACCOUNT][REGION].get_table(name) for name in ("InvocationsTable", "LedgerTable")}
    items = {name: copy.deepcopy(table.items) for name, table in tables.items()}
    shard: Any = tables["InvocationsTable"].stream_shard
    changes = list(shard.items)

    def put_back() -> None:
        for name, table in tables.items():
            table.items = copy.deepcopy(items[name])
        shard.items = list(changes)

    return put_back


def reprice(world: World) -> None:
    """Work off the first message and what it asks for, delivering again what failed."""
    handler = world.stack.handler(FUNCTION)
    waiting = [{"usage_date": DAY.isoformat(), "model": SONNET}]
    attempts = 0
    while waiting:
        attempts += 1
        assert attempts < REQUESTS + _ATTEMPTS_MAX, "repricing does not get done"
        try:
            with world.faults.on():
                is_done = not world.stack.invoke(handler, messages(FUNCTION, [waiting[0]]))["batchItemFailures"]
        except (Crash, BatchProcessingError):
            is_done = False
        if is_done:
            waiting.pop(0)
        waiting += [json.loads(message.body) for message in world.stack.drain("RepriceQueue")]


def state(stack: Stack) -> tuple[list[Any], dict[UsageKey, Counters]]:
    """The requests as stored, and the counters as a reader has them, which must be what the requests add up to."""
    roll_up(stack)
    items = stack.wire_items("InvocationsTable")
    table = table_of(stack)
    found = [table.get(InvocationKey(*item["pk"]["S"].split("#", 2))) for item in items]
    counters = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: stack.now)
    counted = {u.key: u.counters for u in counters.usage_of(DAY) if not u.counters.is_zero()}
    assert counted == recount([invocation for invocation in found if invocation])
    return items, counted


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_a_fault_at_any_write_prices_every_request_once(
    world: World, mode: Mode, count_schedules: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attribution.flows.reprice_invocations.REQUESTS_PER_MESSAGE", 2)
    world.faults.after_write = lambda number: None
    record(world.stack)
    put_back = keep()
    world.faults.arm(0, mode)
    reprice(world)
    writes, reference = world.faults.count, state(world.stack)
    assert writes > REQUESTS
    assert sum(c.units[TokenKind.INPUT] for c in reference[1].values()) == sum(1000 + n for n in range(REQUESTS))
    assert sum(c.unpriced.get(TokenKind.INPUT, 0) for c in reference[1].values()) == 0
    for number in range(1, writes + 1):
        put_back()
        world.faults.arm(number, mode)
        reprice(world)
        assert world.faults.count >= number, "the fault was never reached"
        assert state(world.stack) == reference, f"{mode} at write {number} of {writes} leaves something else"
    count_schedules(writes)


def test_a_second_worker_at_any_write_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.flows.reprice_invocations.REQUESTS_PER_MESSAGE", 2)
    world.faults.after_write = lambda number: None
    record(world.stack)
    put_back = keep()
    world.faults.arm(0, Mode.BEFORE)
    reprice(world)
    writes, reference = world.faults.count, state(world.stack)
    for number in range(1, writes + 1):
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        message = messages(FUNCTION, [{"usage_date": DAY.isoformat(), "model": SONNET}])

        def when_written(count: int, at: int = number, message: Any = message) -> None:
            if count == at:
                world.stack.run(FUNCTION, message)

        world.faults.after_write = when_written
        reprice(world)
        world.faults.after_write = lambda count: None
        assert state(world.stack) == reference
