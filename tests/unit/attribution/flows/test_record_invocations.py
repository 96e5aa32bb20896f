"""Every readable line of a log object is recorded once, priced or unpriced; a broken one is quarantined."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from attribution.errors import InputRejected
from attribution.flows.record_invocations import RecordedInvocations, record_invocations
from attribution.meters import Meter, TokenKind
from attribution.ports import MeteredRecord, StoredObject
from attribution.prices import Price
from attribution.usage import InvocationKey, PricedKind
from tests.fakes import FakeInvocationLogs, FakeInvocations, FakePrices, FakeQuarantine
from tests.unit.attribution.examples import NOON, SONNET, metered

SOURCE = StoredObject("logs", "a.json.gz")
INPUT_PRICE = Price(Meter(SONNET, TokenKind.INPUT), "us-east-1", Decimal("3.30"), 1_000_000, date(2026, 1, 1), "price list")


def line(request_id: str = "r-1", region: str = "us-east-1", tokens: int = 1000, log_object: str = "") -> MeteredRecord:
    kinds = {TokenKind.INPUT: PricedKind(tokens, None)}
    return MeteredRecord(InvocationKey("111122223333", region, request_id), metered(kinds=kinds, log_object=log_object))


class World:
    """One log object and where its records go."""

    def __init__(self, *records: MeteredRecord | InputRejected) -> None:
        self.logs = FakeInvocationLogs({str(SOURCE): records})
        self.invocations = FakeInvocations()
        self.quarantine = FakeQuarantine()

    def record(self, oldest: datetime = NOON - timedelta(days=34)) -> RecordedInvocations:
        return record_invocations(
            SOURCE,
            logs=self.logs,
            invocations=self.invocations,
            prices=FakePrices(INPUT_PRICE),
            quarantine=self.quarantine,
            oldest=oldest,
        )


def test_a_request_is_recorded_with_the_price_of_the_region_that_was_called() -> None:
    world = World(line())

    assert world.record() == RecordedInvocations(recorded=1)
    half = world.invocations.items[line().key].metered
    assert half is not None
    assert half.kinds == {TokenKind.INPUT: PricedKind(1000, Decimal("0.0033"), "3.3 USD per 1000000")}
    assert half.price_source == "price list"


def test_a_request_without_known_price_is_recorded_as_unpriced() -> None:
    world = World(line(region="eu-west-1"))

    assert world.record() == RecordedInvocations(recorded=1, unpriced=1)
    half = world.invocations.items[line(region="eu-west-1").key].metered
    assert half is not None
    assert half.kinds[TokenKind.INPUT].cost is None


def test_a_broken_line_is_quarantined_and_its_neighbours_count() -> None:
    broken = InputRejected(str(SOURCE), "not JSON", 2)
    world = World(line("r-1"), broken, line("r-2"))

    assert world.record() == RecordedInvocations(recorded=2, rejected=1)
    assert world.quarantine.rejected == [broken]


def test_the_same_object_again_changes_nothing() -> None:
    world = World(line("r-1"), line("r-2"))
    world.record()
    before = dict(world.invocations.items)

    assert world.record().counts() == {
        "recorded": 0,
        "repeated": 2,
        "conflicting": 0,
        "rejected": 0,
        "unpriced": 0,
        "too_old": 0,
    }
    assert world.invocations.items == before


def test_a_request_that_two_objects_deliver_alike_is_a_repeat() -> None:
    world = World(line(log_object="s3://logs/a"), line(log_object="s3://logs/b"))

    assert world.record() == RecordedInvocations(recorded=1, repeated=1)


def test_a_request_id_with_other_values_is_reported_and_the_first_stands() -> None:
    world = World(line(tokens=1000), line(tokens=2000))

    assert world.record() == RecordedInvocations(recorded=1, conflicting=1)
    half = world.invocations.items[line().key].metered
    assert half is not None
    assert half.kinds[TokenKind.INPUT].units == 1000
    assert str(world.quarantine.rejected[0]) == (
        "s3://logs/a.json.gz: request 111122223333#us-east-1#r-1 was already recorded with other values: the first stands"
    )


@pytest.mark.parametrize("change", [{"account_id": "444455556666"}, {"region": "us-west-2"}])
def test_one_request_id_in_two_accounts_or_regions_is_two_requests(change: dict[str, str]) -> None:
    other = line()
    world = World(line(), replace(other, key=replace(other.key, **change)))

    world.record()

    assert len(world.invocations.items) == 2


def test_a_request_that_may_have_been_recorded_and_forgotten_is_left_out() -> None:
    world = World(line())

    assert world.record(oldest=NOON + timedelta(days=1)) == RecordedInvocations(too_old=1)
    assert not world.invocations.items
