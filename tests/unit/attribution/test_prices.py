"""Prices, and what nobody knows a price of."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import Price, PriceList, price_units
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
