"""Pricing what was recorded without a price: each request once, and the counters by exactly the difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.directory import Described, DirectoryEntry, entry_of
from attribution.flows import reprice_invocations as flow
from attribution.flows.reprice_invocations import RepricedInvocations, reprice_invocations
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.ports import UnpricedUsage
from attribution.prices import Price
from attribution.recounts import recount
from attribution.usage import Counters, Invocation, InvocationKey, Metered, PricedKind, UsageKey, changes
from tests.fakes import (
    Crash,
    Crashes,
    FakeDirectory,
    FakeInvocations,
    FakePrices,
    FakeRepriceQueue,
    FakeUnpricedInvocations,
    unpriced_as,
)
from tests.unit.attribution.examples import DAY, NOON, PROFILE, SONNET, metered, observed

USAGE = UnpricedUsage(DAY, SONNET)
BASE = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
ANYWHERE = "arn:aws:bedrock:::foundation-model/anthropic.claude-sonnet-4-6"


def price(kind: TokenKind, amount: str, routing: Routing = Routing.REGIONAL, source: str = "a list") -> Price:
    return Price(Meter(SONNET, kind, routing=routing), "us-east-1", Decimal(amount), 1_000_000, DAY, source)


INPUT, OUTPUT = price(TokenKind.INPUT, "3.30"), price(TokenKind.OUTPUT, "16.50")


def half(**units: int) -> Metered:
    """A metered half without any price."""
    return metered(kinds={TokenKind(kind): PricedKind(count, None) for kind, count in units.items()}, price_source="")


def known(*leads_to: str) -> DirectoryEntry:
    return entry_of(Described(PROFILE, leads_to), None, NOON)


class World:
    """Recorded requests, counted as they were recorded, and what reprices them."""

    def __init__(
        self, *items: Invocation, prices: Iterable[Price] = (INPUT, OUTPUT), entries: Iterable[DirectoryEntry] = ()
    ) -> None:
        recorded = FakeInvocations()
        recorded.items = {item.key: item for item in items}
        self.crashes = Crashes()
        self.invocations = FakeUnpricedInvocations(recorded, self.crashes)
        self.prices = FakePrices(*prices)
        self.directory = FakeDirectory(*entries)
        self.queue = FakeRepriceQueue(self.crashes)
        self._counted = recount(items)

    def reprice(self, usage: UnpricedUsage = USAGE, after: str = "") -> RepricedInvocations:
        return reprice_invocations(
            usage, after, invocations=self.invocations, prices=self.prices, directory=self.directory, queue=self.queue
        )

    def work_off(self) -> None:
        """Handle what was asked for, and what that asks for, which comes to an end."""
        for _ in range(len(self.invocations.items)):
            if self.queue.asked:
                self.reprice(*self.queue.asked.pop(0))
        assert self.queue.asked == []

    def counted(self) -> dict[UsageKey, Counters]:
        """The counters, moved by what the stream showed."""
        moved = dict(self._counted)
        for key, difference in changes(self.invocations.stream).items():
            moved[key] = moved.get(key, Counters()) + difference
        return {key: without_zeros(counters) for key, counters in moved.items() if not counters.is_zero()}

    def recounted(self) -> dict[UsageKey, Counters]:
        return recount(list(self.invocations.items.values()))


def without_zeros(counters: Counters) -> Counters:
    """The same sums as a reader of the ledger has them."""
    return replace(
        counters,
        estimated={kind: amount for kind, amount in counters.estimated.items() if amount},
        unpriced={kind: count for kind, count in counters.unpriced.items() if count},
    )


def request(number: int = 1, *, region: str = "us-east-1") -> InvocationKey:
    return InvocationKey("111122223333", region, f"r-{number:04d}")


def test_a_request_gets_the_price_that_its_day_and_region_have_now() -> None:
    world = World(Invocation(request(), half(input=1000, output=10)))

    assert world.reprice() == RepricedInvocations(changed=1)

    found = world.invocations.items[request()].metered
    assert found is not None
    assert found.kinds[TokenKind.INPUT] == PricedKind(1000, Decimal("0.0033"), "3.3 USD per 1000000")
    assert found.price_source == "a list"
    assert world.counted() == world.recounted()


def test_what_has_a_price_keeps_it() -> None:
    old = PricedKind(1000, Decimal("0.005"), "5 USD per 1000000")
    partly = metered(kinds={TokenKind.INPUT: old, TokenKind.OUTPUT: PricedKind(10, None)}, price_source="an override")
    world = World(Invocation(request(), partly))

    world.reprice()

    found = world.invocations.items[request()].metered
    assert found is not None
    assert found.kinds == {TokenKind.INPUT: old, TokenKind.OUTPUT: PricedKind(10, Decimal("0.000165"), "16.5 USD per 1000000")}
    assert found.price_source == "a list; an override"
    assert world.counted() == world.recounted()


@pytest.mark.parametrize(
    "prices", [[], [OUTPUT], [replace(INPUT, region="eu-west-1")], [replace(INPUT, effective_from=DAY + timedelta(1))]]
)
def test_without_a_price_for_it_a_request_waits_on(prices: list[Price]) -> None:
    item = Invocation(request(), half(input=1000))
    world = World(item, prices=prices)

    assert world.reprice() == RepricedInvocations(waiting=1)
    assert world.invocations.items[request()] == item
    assert world.invocations.stream == []


def test_a_request_through_a_profile_that_is_known_by_now_moves_to_its_model() -> None:
    item = Invocation(request(), replace(half(input=1000), model=PROFILE, inference_profile=PROFILE))
    world = World(item, prices=[price(TokenKind.INPUT, "3.00", Routing.GLOBAL)], entries=[known(ANYWHERE, BASE)])

    world.reprice(UnpricedUsage(DAY, PROFILE))

    (key,) = world.counted()
    assert (key.model, key.routing, key.inference_profile) == (SONNET, Routing.GLOBAL, PROFILE)
    assert world.counted()[key].estimated == {TokenKind.INPUT: Decimal("0.003")}
    assert world.counted() == world.recounted()


@pytest.mark.parametrize(("units", "tier"), [(200_000, Tier.STANDARD), (200_001, Tier.LONG_CONTEXT)])
def test_a_long_context_is_priced_as_it_would_have_been_at_once(units: int, tier: Tier) -> None:
    longer = replace(INPUT, meter=Meter(SONNET, TokenKind.INPUT, Tier.LONG_CONTEXT), amount=Decimal("6.60"))
    world = World(Invocation(request(), half(input=units)), prices=[INPUT, longer])

    world.reprice()

    (key,) = world.counted()
    assert key.tier is tier
    assert world.counted() == world.recounted()


def test_a_known_model_without_price_is_found_under_its_name_from_then_on() -> None:
    item = Invocation(request(), replace(half(input=1000), model=PROFILE, inference_profile=PROFILE))
    world = World(item, prices=[], entries=[known(BASE)])

    world.reprice(UnpricedUsage(DAY, PROFILE))

    assert unpriced_as(world.invocations.items[request()]) == USAGE


def test_provisional_usage_is_priced_while_it_stands_alone() -> None:
    alone = observed(kinds={TokenKind.INPUT: PricedKind(1000, None)})
    world = World(Invocation(request(), None, alone))

    assert world.reprice() == RepricedInvocations(changed=1)
    assert world.counted() == world.recounted()
    assert [c.estimated for c in world.counted().values()] == [{TokenKind.INPUT: Decimal("0.0033")}]


def test_a_log_record_that_comes_meanwhile_stands() -> None:
    alone = observed(kinds={TokenKind.INPUT: PricedKind(1000, None)})
    world = World(Invocation(request(), None, alone))
    logged = Invocation(request(), half(input=7), alone)
    world.invocations.before_replace = lambda: world.invocations.items.update({request(): logged})

    assert world.reprice() == RepricedInvocations(overtaken=1)
    assert world.invocations.items[request()] == logged


def test_two_workers_at_once_price_a_request_once() -> None:
    world = World(Invocation(request(), half(input=1000)))

    def another() -> None:
        world.reprice()

    world.invocations.before_replace = another

    assert world.reprice() == RepricedInvocations(overtaken=1)
    assert len(world.invocations.stream) == 1
    assert world.counted() == world.recounted()


def test_an_index_that_lags_behind_changes_nothing() -> None:
    world = World(Invocation(request(), metered()))
    world.invocations.stale[request()] = USAGE

    assert world.reprice() == RepricedInvocations(done=1)
    assert world.invocations.stale == {}
    assert world.invocations.stream == []


def test_a_message_has_a_share_of_the_requests_and_asks_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "REQUESTS_PER_MESSAGE", 3)
    world = World(*(Invocation(request(n), half(input=1)) for n in range(7)))

    first = world.reprice()
    world.work_off()

    assert (first.changed, first.has_more) == (3, True)
    assert not any(map(unpriced_as, world.invocations.items.values()))


def test_requests_that_wait_on_do_not_keep_the_rest_from_being_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "REQUESTS_PER_MESSAGE", 2)
    items = [Invocation(request(n, region="eu-west-1" if n < 5 else "us-east-1"), half(input=1)) for n in range(8)]
    world = World(*items)

    world.queue.reprice(USAGE)
    world.work_off()

    waiting = [key for key, item in world.invocations.items.items() if unpriced_as(item)]
    assert waiting == [request(n, region="eu-west-1") for n in range(5)]


kinds = st.dictionaries(st.sampled_from(["input", "output"]), st.integers(1, 10**6), min_size=1)


@given(
    st.lists(st.tuples(kinds, st.sampled_from([SONNET, PROFILE]), st.booleans()), min_size=1, max_size=6),
    st.sets(st.sampled_from([INPUT, OUTPUT])),
    st.booleans(),
    st.integers(0, 20),
)
def test_the_counters_equal_a_recount_wherever_an_attempt_ends(
    recorded: list[tuple[dict[str, int], str, bool]], prices: set[Price], is_known: bool, point: int
) -> None:
    items = [
        Invocation(request(n), replace(half(**units), model=model), observed() if is_joined else None)
        for n, (units, model, is_joined) in enumerate(recorded)
    ]
    world = World(*items, prices=prices, entries=[known(BASE)] if is_known else [])
    work = [USAGE, UnpricedUsage(DAY, PROFILE), USAGE]
    world.crashes.after_points = point
    while work:
        try:
            world.reprice(work[0])
            work.pop(0)
        except Crash:
            continue
        finally:
            assert world.counted() == world.recounted()

    undisturbed = World(*items, prices=prices, entries=[known(BASE)] if is_known else [])
    for usage in (USAGE, UnpricedUsage(DAY, PROFILE), USAGE):
        undisturbed.reprice(usage)
    assert world.invocations.items == undisturbed.invocations.items
