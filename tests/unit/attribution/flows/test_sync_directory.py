"""Bringing the directory up to date: what cannot be read leaves what was known, and what has a price by now is priced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from attribution.charges import Basis, Costs, OriginCharge
from attribution.days import DayPointer
from attribution.directory import Described, entry_of
from attribution.errors import InputRejected, PriceListUnavailable
from attribution.flows.sync_directory import (
    DirectorySync,
    LoggingState,
    SyncedEntries,
    calibrate_estimates,
    look_at_logging,
    opaque_models,
    price_list_age,
    request_all_entries,
    request_pricing,
    sync_prices,
)
from attribution.meters import Meter, Tier, TokenKind
from attribution.ports import UnpricedUsage
from attribution.prices import Price, PriceOrigin, PublishedOffer
from attribution.tag_history import Attributes
from attribution.usage import Counters
from tests.fakes import (
    Crash,
    Crashes,
    FakeAllocationQueue,
    FakeAttributes,
    FakeBedrockModels,
    FakeClock,
    FakeDeliveries,
    FakeDirectory,
    FakeDirectoryRequests,
    FakeLedgerDays,
    FakeOriginCharges,
    FakePriceOffers,
    FakePrices,
    FakePriceStore,
    FakeQuarantine,
    FakeRepriceQueue,
    FakeUsageCounters,
)
from tests.unit.attribution.examples import DAY, PROFILE, SONNET, USAGE_KEY, origin_charge

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
SINCE = date(2026, 10, 16)
RECENT = date(2026, 11, 18)
METER = Meter(SONNET, TokenKind.INPUT)
BASE = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
OTHER = PROFILE.replace("a1b2c3d4e5f6", "other")
WEST = PROFILE.replace("us-east-1", "us-west-2")


def price(amount: str = "3.30", *, days: int = 0, kind: TokenKind = TokenKind.INPUT) -> Price:
    return Price(Meter(SONNET, kind), "us-east-1", Decimal(amount), 1_000_000, DAY + timedelta(days=days), "a list")


def offer(code: str, *prices: Price) -> PublishedOffer:
    return PublishedOffer(code, date(2026, 11, 1), prices, ("USE1-Guardrail",))


# Prices ---------------------------------------------------------------------------------------------------------------


def sync(offers: FakePriceOffers, store: FakePriceStore, quarantine: FakeQuarantine | None = None, now: datetime = NOW) -> Any:
    return sync_prices(offers=offers, store=store, quarantine=quarantine or FakeQuarantine(), now=now)


def test_every_offer_is_read_and_the_reading_is_remembered() -> None:
    store = FakePriceStore()

    outcome = sync(FakePriceOffers(A=offer("A", price()), B=offer("B", price(kind=TokenKind.OUTPUT))), store)

    assert outcome.stored == 2
    assert outcome.age == timedelta(0)
    assert {code: (r.prices, r.left_out) for code, r in store.read.items()} == {"A": (1, 1), "B": (1, 1)}


def test_the_same_list_again_stores_nothing_and_is_fresh_again() -> None:
    store, offers = FakePriceStore(), FakePriceOffers(A=offer("A", price()))
    sync(offers, store)

    outcome = sync(offers, store, now=NOW + timedelta(days=1))

    assert (outcome.stored, outcome.age, store.prices) == (0, timedelta(0), [price()])


@pytest.mark.parametrize(
    "fault",
    [PriceListUnavailable("no answer"), InputRejected("offer B", "not JSON"), offer("B")],
    ids=["down", "broken", "empty"],
)
def test_an_offer_that_cannot_be_read_leaves_its_prices_and_ages(fault: Any) -> None:
    store, quarantine = FakePriceStore(), FakeQuarantine()
    sync(FakePriceOffers(A=offer("A", price()), B=offer("B", price(kind=TokenKind.OUTPUT))), store)

    outcome = sync(FakePriceOffers(A=offer("A", price("3.0", days=5)), B=fault), store, quarantine, NOW + timedelta(days=8))

    assert price(kind=TokenKind.OUTPUT) in store.prices
    assert price("3.0", days=5) in store.prices
    assert outcome.age == timedelta(days=8)
    assert (len(outcome.unavailable), len(quarantine.rejected)) == (
        (1, 0) if isinstance(fault, PriceListUnavailable) else (0, 1)
    )


def test_two_offers_that_contradict_each_other_give_no_price() -> None:
    store = FakePriceStore()

    outcome = sync(FakePriceOffers(A=offer("A", price("3.30")), B=offer("B", price("3.00"))), store)

    assert (outcome.stored, len(outcome.contradicting), store.prices) == (0, 2, [])


def test_a_list_that_was_never_read_whole_has_no_age() -> None:
    assert price_list_age([], ["A"], NOW) is None


# Models ---------------------------------------------------------------------------------------------------------------


def described(arn: str = PROFILE, name: str = "checkout") -> Described:
    return Described(arn, (BASE,), name, (("team", "checkout"),))


class World:
    """Ledger days and counters, as far as the directory looks at them."""

    def __init__(self) -> None:
        self.crashes = Crashes()
        self.days = FakeLedgerDays(FakeDeliveries(), FakeClock())
        self.counters = FakeUsageCounters()
        self.origin_charges = FakeOriginCharges()
        self.store = FakePriceStore(self.crashes)
        self.prices = FakePrices()
        self.directory = FakeDirectory()
        self.models = FakeBedrockModels()
        self.attributes = FakeAttributes()
        self.reprice_queue = FakeRepriceQueue(self.crashes)
        self.days_queue = FakeAllocationQueue(self.crashes)

    def use(self, day: date = DAY, *, unpriced: Mapping[TokenKind, int] | None = None, **key: Any) -> None:
        used = {TokenKind.INPUT: 10} if unpriced is None else dict(unpriced)
        counted = USAGE_KEY._replace(usage_date=day, **key)
        self.counters.counted[counted] = Counters(requests=1, units={TokenKind.INPUT: 10}, unpriced=used)
        self.days.current.setdefault(day, self._pointer(day, Basis.ESTIMATED, ""))

    def bill(self, day: date, charges: Sequence[OriginCharge]) -> None:
        self.days.current[day] = self._pointer(day, Basis.BILLED, self.origin_charges.write(day, charges))

    def _pointer(self, day: date, basis: Basis, origin: str) -> DayPointer:
        return DayPointer(day, f"v-{day}", basis, {}, {"origin": origin}, NOW)

    def sync(self, now: datetime = NOW) -> DirectorySync:
        return DirectorySync(
            models=self.models, directory=self.directory, attributes=self.attributes, histories=self.directory, days=self.days,
            queue=self.days_queue, account_id="111122223333", since=SINCE, moment=now,
        )  # fmt: skip

    def sync_models(self) -> SyncedEntries:
        named = opaque_models(days=self.days, counters=self.counters, since=SINCE, now=NOW)
        return self.sync().profiles(named)

    def request_pricing(self) -> tuple[UnpricedUsage, ...]:
        return request_pricing(
            days=self.days, counters=self.counters, prices=self.prices, directory=self.directory, queue=self.reprice_queue,
            since=SINCE, now=NOW,
        )  # fmt: skip

    def look_at_logging(self, account_id: str = "111122223333") -> LoggingState:
        return look_at_logging(
            days=self.days, counters=self.counters, origin_charges=self.origin_charges, models=self.models,
            account_id=account_id, now=NOW,
        )  # fmt: skip

    def calibrate(self, now: datetime = NOW) -> Any:
        return calibrate_estimates(
            days=self.days, origin_charges=self.origin_charges, prices=self.prices, store=self.store, queue=self.days_queue,
            now=now,
        )  # fmt: skip


def test_every_profile_is_in_the_directory_with_its_model_and_tags() -> None:
    world = World()
    world.models = FakeBedrockModels(described(), described(OTHER, "other"))

    assert world.sync_models().seen == 2

    found = world.directory.find([PROFILE])[PROFILE]
    assert (found.model, found.deleted_at) == (SONNET, None)
    assert world.directory.attributes_on([PROFILE], DAY) == {PROFILE: Attributes((("team", "checkout"),), "checkout")}


def test_a_profile_that_is_gone_keeps_what_it_stood_for() -> None:
    world = World()
    world.directory = FakeDirectory(entry_of(described(), None, NOW - timedelta(days=9)))

    assert (world.sync_models().gone, world.sync_models().gone) == (1, 0)

    found = world.directory.find([PROFILE])[PROFILE]
    assert (found.model, found.deleted_at) == (SONNET, NOW)


@pytest.mark.parametrize("why", ["unlisted", "forbidden", "elsewhere"])
def test_a_profile_that_a_listing_lacks_is_gone_only_if_bedrock_says_so(why: str) -> None:
    world = World()
    arn = WEST if why == "elsewhere" else PROFILE
    world.directory = FakeDirectory(entry_of(described(arn), None, NOW - timedelta(days=9)))
    if why == "unlisted":
        world.models = FakeBedrockModels(described())
        world.models.unlisted.add(PROFILE)
    world.models.forbidden.update({PROFILE} if why == "forbidden" else ())

    assert world.sync_models().gone == 0
    assert world.directory.find([arn])[arn].deleted_at is None


def test_an_arn_that_usage_names_is_explained_in_its_own_region() -> None:
    world = World()
    world.models = FakeBedrockModels(described(WEST))
    world.use(model=WEST, region="us-west-2")
    world.use(model=OTHER)

    outcome = world.sync_models()

    assert world.directory.find([WEST])[WEST].model == SONNET
    assert outcome.unexplained == (OTHER,)


def test_an_arn_that_was_priced_is_not_asked_for() -> None:
    world = World()
    world.use(model=OTHER, unpriced={})

    assert world.sync_models().unexplained == ()


def test_one_arn_is_brought_up_to_date_by_itself() -> None:
    world = World()
    world.models = FakeBedrockModels(described())

    first = world.sync().entries([PROFILE])
    del world.models.existing[PROFILE]
    second = world.sync(NOW + timedelta(days=1)).entries([PROFILE])
    unknown = world.sync().entries([OTHER])

    assert (first.seen, second.gone, unknown.unexplained) == (1, 1, (OTHER,))
    assert world.directory.find([PROFILE])[PROFILE].model == SONNET


# Tags and names -------------------------------------------------------------------------------------------------------

SEARCH = "arn:aws:iam::111122223333:role/search"
ELSEWHERE = "it belongs to account 999988887777, and this stack reads its own"
SEARCH_TEAM, ADS_TEAM = Attributes((("team", "search"),), "search"), Attributes((("team", "ads"),), "search")


def test_a_role_that_was_asked_for_is_read_and_the_days_it_may_concern_are_allocated_again() -> None:
    world = World()
    world.use(DAY)
    world.bill(DAY + timedelta(days=1), [origin_charge()])
    world.attributes.existing[SEARCH] = SEARCH_TEAM

    outcome = world.sync().entries([SEARCH])

    assert (outcome.seen, outcome.changed, outcome.days) == (1, 1, (DAY, DAY + timedelta(days=1)))
    assert world.directory.attributes_on([SEARCH], DAY) == {SEARCH: SEARCH_TEAM}
    assert set(world.days_queue.days) == {DAY, DAY + timedelta(days=1)}


def test_a_reading_that_finds_nothing_new_asks_for_no_day() -> None:
    world = World()
    world.use(DAY)
    world.attributes.existing[SEARCH] = SEARCH_TEAM
    world.sync().entries([SEARCH])
    known = world.directory.histories[SEARCH]

    later = world.sync(NOW + timedelta(days=1)).entries([SEARCH])

    assert (later.changed, later.days) == (0, ())
    assert world.directory.histories[SEARCH].entries == known.entries


def test_a_change_concerns_the_days_from_its_event_on() -> None:
    world = World()
    world.use(DAY)
    world.use(NOW.date() - timedelta(days=2))
    world.use(NOW.date())
    world.attributes.existing[SEARCH] = SEARCH_TEAM
    world.sync(NOW - timedelta(days=9)).entries([SEARCH])
    world.attributes.existing[SEARCH] = ADS_TEAM

    outcome = world.sync().entries([SEARCH], changed_at=NOW - timedelta(days=2), event="TagRole")

    assert outcome.days == (NOW.date() - timedelta(days=2), NOW.date())
    assert world.directory.attributes_on([SEARCH], DAY)[SEARCH] == SEARCH_TEAM
    assert world.directory.attributes_on([SEARCH], NOW.date())[SEARCH] == ADS_TEAM


def test_an_event_about_a_role_that_no_usage_names_is_left_out() -> None:
    world = World()
    world.attributes.existing[SEARCH] = SEARCH_TEAM

    outcome = world.sync().entries([SEARCH, "444455556666"], changed_at=NOW, event="TagRole")

    assert (outcome.seen, world.attributes.asked, world.directory.histories) == (0, [], {})


def test_an_event_about_a_profile_that_is_not_known_yet_explains_it() -> None:
    world = World()
    world.models = FakeBedrockModels(described())

    world.sync().entries([PROFILE], changed_at=NOW - timedelta(minutes=1), event="CreateInferenceProfile")

    assert world.directory.find([PROFILE])[PROFILE].model == SONNET


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("arn:aws:iam::999988887777:role/search", ELSEWHERE),
        ("arn:aws:bedrock-mantle:us-east-1:999988887777:project/p", ELSEWHERE),
        ("999988887777", "it is no account of this organization"),
        ("arn:aws:iam::999988887777:root", "it is nothing that the directory can look up"),
    ],
)
def test_what_cannot_be_read_is_recorded_with_the_reason(id: str, reason: str) -> None:
    world = World()
    world.attributes.forbidden[id] = reason

    outcome = world.sync().entries([id])

    assert outcome.unreadable == {id: reason}
    assert world.directory.histories[id].unreadable == reason
    assert world.directory.attributes_on([id], DAY) == {id: Attributes()}


def test_a_role_that_is_gone_keeps_its_tags_and_is_not_read_again() -> None:
    world = World()
    world.attributes.existing[SEARCH] = SEARCH_TEAM
    world.sync(NOW - timedelta(days=1)).entries([SEARCH])
    del world.attributes.existing[SEARCH]

    outcome = world.sync().entries([SEARCH])

    assert (outcome.gone, world.sync().entries([SEARCH]).gone) == (1, 0)
    assert world.directory.attributes_on([SEARCH], NOW.date())[SEARCH] == SEARCH_TEAM
    requests = FakeDirectoryRequests()
    assert request_all_entries(histories=world.directory, requests=requests) == 0


def test_everything_that_is_known_is_asked_for_in_parts() -> None:
    world = World()
    for number in range(60):
        world.directory.tag(f"arn:aws:iam::111122223333:role/r{number}", NOW)
    requests = FakeDirectoryRequests()

    assert request_all_entries(histories=world.directory, requests=requests) == 3
    assert sorted(id for part in requests.asked for id in part) == sorted(world.directory.histories)


@pytest.mark.parametrize("point", range(6))
def test_an_attempt_that_ends_anywhere_and_its_repeat_record_the_change_and_ask_for_its_days(point: int) -> None:
    world = World()
    world.directory = FakeDirectory(crashes=world.crashes)
    world.use(DAY)
    world.attributes.existing[SEARCH] = SEARCH_TEAM
    world.crashes.after_points = point

    with pytest.raises(Crash):
        world.sync().entries([SEARCH])
    world.crashes.after_points = None
    world.sync().entries([SEARCH])

    assert world.directory.attributes_on([SEARCH], DAY)[SEARCH] == SEARCH_TEAM
    assert set(world.days_queue.days) == {DAY}


# Pricing --------------------------------------------------------------------------------------------------------------


def test_days_and_models_that_have_a_price_by_now_are_asked_for_once() -> None:
    world = World()
    world.prices = FakePrices(price(days=1))
    for day in (DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)):
        world.use(day, iam_principal="a")
        world.use(day, iam_principal="b")
        world.use(day, model="unknown.model")
    world.use(DAY + timedelta(days=3), unpriced={})
    world.use(SINCE - timedelta(days=1))

    asked = world.request_pricing()

    # The price begins a day later than the first day's use.
    assert asked == (UnpricedUsage(DAY + timedelta(days=1), SONNET), UnpricedUsage(DAY + timedelta(days=2), SONNET))
    assert world.reprice_queue.asked == [(usage, "") for usage in asked]


def test_another_kinds_price_does_not_help() -> None:
    world = World()
    world.prices = FakePrices(price())
    world.use(unpriced={TokenKind.OUTPUT: 5})

    assert world.request_pricing() == ()


def test_usage_of_an_arn_that_is_known_by_now_is_asked_for_under_that_arn() -> None:
    world = World()
    world.directory = FakeDirectory(entry_of(described(), None, NOW))
    world.use(model=PROFILE)

    assert world.request_pricing() == (UnpricedUsage(DAY, PROFILE),)


# Calibration ----------------------------------------------------------------------------------------------------------


def bill(world: World, days: int, share: str = "0.88") -> None:
    for n in range(days):
        day = DAY + timedelta(days=n)
        costs = Costs.uniform(Decimal("3.30") * Decimal(share))
        world.bill(day, [origin_charge(usage_date=day, units=Decimal(1_000_000), costs=costs)])


def test_factors_are_learned_from_billed_days_and_estimated_days_are_made_again() -> None:
    world = World()
    world.prices = FakePrices(price())
    bill(world, 5)
    estimated = DAY + timedelta(days=6)
    world.use(estimated)

    outcome = world.calibrate()

    (found,) = world.store.calibrations
    assert (found.factors.net_effective_cost, found.is_used) == (Decimal("0.88"), True)
    assert (outcome.billed_days, outcome.used, outcome.not_used) == (5, 1, 0)
    assert world.days_queue.days == [estimated]


def test_days_that_are_long_ago_say_nothing() -> None:
    world = World()
    world.prices = FakePrices(price())
    bill(world, 5)

    world.calibrate(NOW + timedelta(days=40))

    assert world.store.calibrations == []


def test_an_override_does_not_change_what_the_factor_is_relative_to() -> None:
    world = World()
    world.prices = FakePrices(price(), replace(price("1.00"), origin=PriceOrigin.OVERRIDE))
    bill(world, 5)

    world.calibrate()

    assert world.store.calibrations[0].factors.billed_cost == Decimal("0.88")


@pytest.mark.parametrize("point", range(4))
def test_an_attempt_that_ends_early_is_made_good_by_the_next(point: int) -> None:
    world = World()
    world.prices = FakePrices(price())
    bill(world, 5)
    estimated = DAY + timedelta(days=6)
    world.use(estimated)
    world.crashes.after_points = point
    with pytest.raises(Crash):
        world.calibrate()

    world.calibrate()

    assert len(world.store.calibrations) == 1
    assert estimated in world.days_queue.days


# Logging --------------------------------------------------------------------------------------------------------------


def test_every_region_with_usage_or_a_bill_is_asked_whether_it_logs_and_no_other() -> None:
    world = World()
    world.use(RECENT)
    world.use(RECENT, region="eu-west-1", account_id="444455556666")
    world.bill(RECENT - timedelta(days=1), [origin_charge(region="us-west-2"), origin_charge(region="ap-south-1")])
    world.models.logging = {"us-east-1": True, "us-west-2": False}
    world.models.forbidden = {"ap-south-1"}

    assert world.look_at_logging() == LoggingState(("us-east-1",), ("us-west-2",), {"ap-south-1": "ap-south-1"})


@pytest.mark.parametrize(
    "changes",
    [
        {"account_id": "444455556666"},
        {"usage_type": "USE1-bedrock-mantle-input-tokens"},
        {"meter": METER._replace(tier=Tier.BATCH)},
        {"meter": METER._replace(token_kind=TokenKind.IMAGE)},
        {"region": ""},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_no_log_of_this_account_could_tell_of_asks_nobody(changes: dict[str, Any]) -> None:
    world = World()
    world.bill(RECENT, [origin_charge(**changes)])

    assert world.look_at_logging() == LoggingState((), (), {})


def test_a_region_that_was_left_long_ago_is_asked_no_more() -> None:
    world = World()
    world.use(RECENT - timedelta(days=8))

    assert world.look_at_logging() == LoggingState((), (), {})
