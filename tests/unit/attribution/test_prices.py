"""Prices, and what nobody knows a price of."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import ANY_REGION, Price, PriceList, PriceOrigin, changed_prices, contradictions, price_units
from attribution.usage import PricedKind
from tests.unit.attribution.examples import DAY, SONNET

METER = Meter(SONNET, TokenKind.INPUT)
LIST_PRICE = Price(METER, "us-east-1", Decimal("3.30"), 1_000_000, date(2026, 1, 1), "price list")


@given(st.integers(0, 10**15), st.integers(1, 10**8), st.integers(0, 10), st.sampled_from([1, 1000, 1_000_000]))
def test_the_cost_of_units_is_exact(units: int, amount: int, scale: int, per: int) -> None:
    price = Price(METER, "us-east-1", Decimal(f"{amount}E-{scale}"), per, DAY, "price list")

    cost = price.cost_of(units)

    assert Fraction(*cost.as_integer_ratio()) == Fraction(amount * units, per * 10**scale)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True), st.integers(0, 40))
def test_the_price_in_force_is_the_latest_that_began_by_the_day(starts: list[int], day: int) -> None:
    prices = PriceList(Price(METER, "us-east-1", Decimal(s), 1, DAY + timedelta(days=s), "list") for s in starts)

    found = prices.find(METER, "us-east-1", DAY + timedelta(days=day))

    begun = [start for start in starts if start <= day]
    assert (found.amount if found else None) == (max(begun) if begun else None)
    assert len(prices) == len(starts)


@pytest.mark.parametrize(
    ("meter", "region", "on"),
    [
        (METER, "us-west-2", DAY),
        (Meter(SONNET, TokenKind.OUTPUT), "us-east-1", DAY),
        (Meter(SONNET, TokenKind.INPUT, Tier.BATCH), "us-east-1", DAY),
        (Meter(SONNET, TokenKind.INPUT, Tier.STANDARD, Routing.GLOBAL), "us-east-1", DAY),
        (Meter("anthropic.claude-sonnet-4-5", TokenKind.INPUT), "us-east-1", DAY),
        (METER, "us-east-1", date(2025, 12, 31)),
    ],
)
def test_no_price_stands_in_for_another(meter: Meter, region: str, on: date) -> None:
    assert PriceList([LIST_PRICE]).find(meter, region, on) is None


def test_a_kind_without_price_stays_unpriced_beside_the_priced_ones() -> None:
    units = {TokenKind.INPUT: 1000, TokenKind.OUTPUT: 50}

    priced, source = price_units(units, PriceList([LIST_PRICE]), region="us-east-1", on=DAY, meter_of=METER)

    assert priced == {
        TokenKind.INPUT: PricedKind(1000, Decimal("0.0033"), "3.3 USD per 1000000"),
        TokenKind.OUTPUT: PricedKind(50, None),
    }
    assert source == "price list"


def test_every_source_that_gave_a_price_is_named_once() -> None:
    prices = [
        Price(Meter(SONNET, kind), "us-east-1", Decimal(1), 1000, DAY, source)
        for kind, source in [(TokenKind.INPUT, "b"), (TokenKind.OUTPUT, "a"), (TokenKind.CACHE_READ, "b")]
    ]
    units = {TokenKind.INPUT: 1, TokenKind.OUTPUT: 1, TokenKind.CACHE_READ: 1, TokenKind.IMAGE: 1}

    _, source = price_units(units, PriceList(prices), region="us-east-1", on=DAY, meter_of=METER)

    assert source == "a; b"


# Where prices come from ----------------------------------------------------------------------------------------------------


def price(amount: str = "3.30", *, days: int = 0, origin: PriceOrigin = PriceOrigin.LIST, region: str = "us-east-1") -> Price:
    return Price(METER, region, Decimal(amount), 1_000_000, DAY + timedelta(days=days), "a test", origin=origin)


origins = st.sampled_from(list(PriceOrigin))


@given(st.lists(st.tuples(origins, st.integers(0, 20)), unique=True, max_size=8), st.integers(0, 20))
def test_the_strongest_origin_wins_and_within_it_the_latest(stated: list[tuple[PriceOrigin, int]], day: int) -> None:
    prices = PriceList(price(str(n), days=start, origin=origin) for n, (origin, start) in enumerate(stated))

    found = prices.find(METER, "us-east-1", DAY + timedelta(days=day))

    begun = [(origin, start) for origin, start in stated if start <= day]
    strongest = next((o for o in PriceOrigin if any(origin is o for origin, _ in begun)), None)
    assert (found.origin if found else None) == strongest
    if found is not None:
        assert found.effective_from == DAY + timedelta(days=max(start for origin, start in begun if origin is strongest))


@pytest.mark.parametrize(
    ("region", "amount"), [("us-east-1", "3.5"), ("eu-west-1", "3.30"), ("us-gov-west-1", None), ("cn-north-1", None)]
)
def test_a_price_for_any_region_stands_behind_a_regions_own_in_its_partition(region: str, amount: str | None) -> None:
    prices = PriceList([price(region=ANY_REGION, origin=PriceOrigin.SNAPSHOT), price("3.5")])

    found = prices.find(METER, region, DAY)

    assert (found.amount if found else None) == (Decimal(amount) if amount else None)


def test_the_prices_of_one_origin_alone() -> None:
    prices = PriceList([price("1", origin=PriceOrigin.OVERRIDE), price("2")])

    found = prices.of(PriceOrigin.LIST).find(METER, "us-east-1", DAY)

    assert found is not None
    assert found.amount == 2


def test_prices_that_contradict_each_other_are_all_left_out() -> None:
    same = [price("3.30"), Price(METER, "us-east-1", Decimal("0.0033"), 1000, DAY, "written otherwise")]
    other = [price("3.30", days=1), price("3.0", days=1)]

    agreed, contradicting = contradictions([*same, *other])

    assert agreed == [same[0]]
    assert contradicting == other


def test_a_publication_that_repeats_a_price_is_no_news() -> None:
    known = [price("3.30")]

    assert changed_prices(known, [price("3.30", days=30), price("3.3", days=60)]) == []
    assert changed_prices(known, [price("3.0", days=30), price("3.0", days=60)]) == [price("3.0", days=30)]


_published = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["1", "2"])), unique_by=lambda p: p[0], max_size=6)


@given(_published, _published, st.integers(0, 14))
def test_what_is_kept_of_a_publication_says_the_same_on_every_day(
    before: list[tuple[int, str]], read: list[tuple[int, str]], day: int
) -> None:
    known = [price(amount, days=days) for days, amount in before]
    published = [price(amount, days=days) for days, amount in read]

    changed = changed_prices(known, published)

    def merged(newer: list[Price]) -> PriceList:
        places = {p.effective_from for p in newer}
        return PriceList([*(p for p in known if p.effective_from not in places), *newer])

    kept, whole = (merged(p).find(METER, "us-east-1", DAY + timedelta(days=day)) for p in (changed, published))
    assert (kept.amount if kept else None) == (whole.amount if whole else None)
    assert (
        changed_prices(
            [*(p for p in known if p.effective_from not in {c.effective_from for c in changed}), *changed], published
        )
        == []
    )


def test_tokens_of_provisioned_throughput_cost_nothing_by_themselves() -> None:
    meter_of = Meter(SONNET, TokenKind.INPUT, Tier.PROVISIONED)

    priced, source = price_units({TokenKind.OUTPUT: 7}, PriceList([]), region="us-east-1", on=DAY, meter_of=meter_of)

    assert priced == {TokenKind.OUTPUT: PricedKind(7, Decimal(0), "none: provisioned throughput")}
    assert source == ""
