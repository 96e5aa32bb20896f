"""Every readable record is recorded once, priced or unpriced; a broken one is quarantined."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from attribution.directory import DirectoryEntry
from attribution.errors import InputRejected
from attribution.flows.record_invocations import MOST_NOTICES, RecordedInvocations, record_invocations
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.ports import MeteredRecord
from attribution.prices import Price
from attribution.usage import InvocationKey, Metered, PricedKind
from tests.fakes import FakeDirectory, FakeInvocations, FakePrices, FakeQuarantine
from tests.unit.attribution.examples import NOON, SONNET

PROFILE = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/9x8y7z"


def price(amount: str, kind: TokenKind = TokenKind.INPUT, tier: Tier = Tier.STANDARD, source: str = "price list") -> Price:
    return Price(Meter(SONNET, kind, tier), "us-east-1", Decimal(amount), 1_000_000, date(2026, 1, 1), source)


def record(request_id: str = "r-1", region: str = "us-east-1", tokens: int = 1000, **changes: Any) -> MeteredRecord:
    said = MeteredRecord(
        key=InvocationKey("111122223333", region, request_id),
        timestamp=NOON,
        model_id="us.anthropic.claude-sonnet-4-6",
        operation="Converse",
        tier=Tier.STANDARD,
        iam_principal="arn:aws:iam::111122223333:role/app",
        units={TokenKind.INPUT: tokens},
        log_object="s3://logs/a.json.gz",
    )
    return replace(said, **changes)


class World:
    """What was read, and where it goes."""

    def __init__(self, *records: MeteredRecord | InputRejected | None) -> None:
        self.records = records
        self.prices = [price("3.30")]
        self.directory = FakeDirectory()
        self.invocations = FakeInvocations()
        self.quarantine = FakeQuarantine()

    def record(self, oldest: datetime = NOON - timedelta(days=34)) -> RecordedInvocations:
        return record_invocations(
            self.records,
            invocations=self.invocations,
            prices=FakePrices(*self.prices),
            directory=self.directory,
            quarantine=self.quarantine,
            oldest=oldest,
        )

    def half(self, of: MeteredRecord) -> Metered:
        found = self.invocations.items[of.key].metered
        assert found is not None
        return found


def test_a_request_is_recorded_with_the_price_of_the_region_that_was_called() -> None:
    world = World(record())

    assert world.record() == RecordedInvocations(recorded=1)
    half = world.half(record())
    assert half.kinds == {TokenKind.INPUT: PricedKind(1000, Decimal("0.0033"), "3.3 USD per 1000000")}
    assert (half.model, half.routing, half.price_source) == (SONNET, Routing.REGIONAL, "price list")


def test_prices_of_two_sources_are_both_named() -> None:
    used = record(units={TokenKind.INPUT: 10, TokenKind.OUTPUT: 20})
    world = World(used)
    world.prices.append(price("16.50", TokenKind.OUTPUT, source="an override"))

    world.record()

    assert world.half(used).price_source == "an override; price list"


def test_a_request_without_known_price_is_recorded_as_unpriced() -> None:
    elsewhere = record(region="eu-west-1")
    world = World(elsewhere)

    assert world.record() == RecordedInvocations(recorded=1, unpriced=1)
    assert world.half(elsewhere).kinds[TokenKind.INPUT].cost is None


def test_a_request_without_counters_is_recorded_as_unmeasured_and_not_as_unpriced() -> None:
    assert World(record(units={}, flags=("unmeasured",))).record() == RecordedInvocations(recorded=1, unmeasured=1)


@pytest.mark.parametrize(("cached", "cost"), [(199_000, "0.0033"), (199_001, "0.0066")])
def test_more_input_than_a_model_has_its_common_price_for_is_priced_by_its_long_context(cached: int, cost: str) -> None:
    used = record(units={TokenKind.INPUT: 1000, TokenKind.CACHE_READ: cached})
    world = World(used)
    world.prices.append(price("6.60", tier=Tier.LONG_CONTEXT))

    world.record()

    half = world.half(used)
    assert half.kinds[TokenKind.INPUT].cost == Decimal(cost)
    assert half.tier is (Tier.STANDARD if cost == "0.0033" else Tier.LONG_CONTEXT)


def test_a_model_without_a_price_for_long_contexts_has_one_price() -> None:
    used = record(tokens=300_000)
    world = World(used)

    world.record()

    assert (world.half(used).tier, world.half(used).kinds[TokenKind.INPUT].cost) == (Tier.STANDARD, Decimal("0.99"))


def entry(model: str = SONNET, tier: Tier = Tier.STANDARD) -> DirectoryEntry:
    return DirectoryEntry(PROFILE, model, Routing.REGIONAL, tier, NOON, NOON)


def test_an_application_inference_profile_is_priced_as_the_model_that_the_directory_names() -> None:
    used = record(model_id=PROFILE)
    world = World(used)
    world.directory = FakeDirectory(entry())

    assert world.record() == RecordedInvocations(recorded=1)
    half = world.half(used)
    assert (half.model_id, half.model, half.inference_profile) == (PROFILE, SONNET, PROFILE)
    assert half.kinds[TokenKind.INPUT].cost == Decimal("0.0033")


def test_an_arn_that_the_directory_does_not_know_is_recorded_under_its_own_name_without_a_price() -> None:
    used = record(model_id=PROFILE)
    world = World(used)

    assert world.record() == RecordedInvocations(recorded=1, unpriced=1)
    assert world.half(used).model == PROFILE


def test_a_broken_record_is_quarantined_and_its_neighbours_count() -> None:
    broken = InputRejected("s3://logs/a.json.gz", "not JSON", 2)
    world = World(record("r-1"), broken, None, record("r-2"))

    assert world.record() == RecordedInvocations(recorded=2, rejected=1, ignored=1)
    assert world.quarantine.rejected == [broken]


def test_what_is_no_log_at_all_leaves_a_bounded_number_of_notices_and_the_last_says_how_many_more() -> None:
    lines = [InputRejected("s3://logs/a.json.gz", "not JSON", n) for n in range(1, MOST_NOTICES + 26)]
    world = World(*lines)

    assert world.record() == RecordedInvocations(rejected=MOST_NOTICES + 25)
    assert world.quarantine.rejected[:-1] == lines[:MOST_NOTICES]
    last = world.quarantine.rejected[-1]
    assert (last.line, last.reason) == (
        MOST_NOTICES + 25,
        "25 more records up to this one have no notice of their own; this one: not JSON",
    )


def test_the_same_records_again_change_nothing() -> None:
    world = World(record("r-1"), record("r-2"))
    world.record()
    before = dict(world.invocations.items)

    assert world.record().counts() == {
        "recorded": 0,
        "repeated": 2,
        "conflicting": 0,
        "rejected": 0,
        "unpriced": 0,
        "unmeasured": 0,
        "too_old": 0,
        "ignored": 0,
    }
    assert world.invocations.items == before


CACHED = {TokenKind.INPUT: 1000, TokenKind.CACHE_WRITE: 30}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(record(), record(log_object="/aws/bedrock/logs/aws/bedrock/modelinvocations#1"), id="another way"),
        pytest.param(
            record(units=CACHED, flags=("cache_write_ttl_unknown",)),
            record(units={TokenKind.INPUT: 1000, TokenKind.CACHE_WRITE: 10, TokenKind.CACHE_WRITE_1H: 20}),
            id="the body with the times to live",
        ),
        pytest.param(
            record(units={}, flags=("unmeasured",)),
            record(units={TokenKind.INPUT: 1000}, flags=("usage_from_body",)),
            id="the body with the counters",
        ),
        pytest.param(record(units={}), record(units={TokenKind.IMAGE: 2}), id="the body with the images"),
    ],
)
def test_a_request_that_is_delivered_twice_is_a_repeat_whichever_delivery_has_its_body(
    first: MeteredRecord, second: MeteredRecord
) -> None:
    for records in ((first, second), (second, first)):
        outcome = World(*records).record()

        assert (outcome.recorded, outcome.repeated, outcome.conflicting) == (1, 1, 0)


@pytest.mark.parametrize(
    "other",
    [
        record(tokens=2000),
        record(units=CACHED),
        record(operation="InvokeModel"),
        record(iam_principal="arn:aws:iam::111122223333:role/other"),
        record(error_code="ThrottlingException"),
    ],
)
def test_a_request_id_with_other_values_is_reported_and_the_first_stands(other: MeteredRecord) -> None:
    world = World(record(), other)

    assert world.record() == RecordedInvocations(recorded=1, conflicting=1)
    assert world.half(record()).kinds[TokenKind.INPUT].units == 1000
    assert str(world.quarantine.rejected[0]) == (
        "s3://logs/a.json.gz: request 111122223333#us-east-1#r-1 was already recorded with other values: the first stands"
    )


@pytest.mark.parametrize("change", [{"account_id": "444455556666"}, {"region": "us-west-2"}])
def test_one_request_id_in_two_accounts_or_regions_is_two_requests(change: dict[str, str]) -> None:
    key = {"account_id": "111122223333", "region": "us-east-1"} | change
    world = World(record(), record(key=InvocationKey(**key, request_id="r-1")))

    world.record()

    assert len(world.invocations.items) == 2


def test_a_request_that_may_have_been_recorded_and_forgotten_is_left_out() -> None:
    world = World(record())

    assert world.record(oldest=NOON + timedelta(days=1)) == RecordedInvocations(too_old=1)
    assert not world.invocations.items
