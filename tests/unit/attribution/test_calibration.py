"""Calibration: what the bill paid of the list price, learned from enough of it, and applied to nothing but list prices."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.calibration import (
    DAYS_NEEDED,
    DAYS_USED,
    Calibration,
    Observation,
    Pricing,
    calibrate,
    observe,
)
from attribution.charges import Costs, OriginCharge, PriceBasis
from attribution.meters import Meter, TokenKind
from attribution.prices import Price, PriceList, PriceOrigin
from tests.unit.attribution.examples import DAY, SONNET, origin_charge

METER = Meter(SONNET, TokenKind.INPUT)
PLACE = (METER, "us-east-1")
LIST_PRICE = Price(METER, "us-east-1", Decimal("3.30"), 1_000_000, DAY - timedelta(days=90), "AWS Price List")
PRICES = PriceList([LIST_PRICE])
MILLION = Decimal(1_000_000)


def billed(share: str, *, units: Decimal = MILLION) -> Observation:
    """A day on which the bill was this share of the list price in every metric."""
    return Observation(units, Costs.uniform(Decimal("3.30") * units / MILLION * Decimal(share)))


def days(*observations: Observation) -> dict[date, dict[tuple[Meter, str], Observation]]:
    """Billed days in order, the first one long ago."""
    return {DAY - timedelta(days=len(observations) - n): {PLACE: observed} for n, observed in enumerate(observations)}


def only(found: list[Calibration]) -> Calibration:
    (calibration,) = found
    return calibration


def test_the_factor_is_what_the_bill_paid_of_the_list_price() -> None:
    found = only(calibrate(days(*[billed("0.88")] * 5), PRICES))

    assert found.is_used
    assert found.factors == replace(Costs.uniform(Decimal("0.88")), list_cost=Decimal(1))
    assert (found.days, found.first_day, found.last_day) == (5, DAY - timedelta(days=5), DAY - timedelta(days=1))
    assert (found.units, found.list_cost) == (5 * MILLION, Decimal("16.50"))


def test_each_metric_has_a_factor_of_its_own() -> None:
    costs = Costs(Decimal(0), Decimal("3.30"), Decimal("3.135"), Decimal("3.30"), Decimal("2.97"))

    found = only(calibrate(days(*[Observation(MILLION, costs)] * 3), PRICES))

    expected = ("1", "1", "0.95", "1", "0.9")
    assert found.factors.amounts() == tuple(Decimal(factor) for factor in expected)


@pytest.mark.parametrize(
    ("observations", "reason"),
    [
        ([billed("0.9")] * (DAYS_NEEDED - 1), "billed on 2 days, and 3 are needed"),
        ([billed("0.9", units=Decimal(10_000))] * 3, "billed units of 0.099 USD at list price, and 0.10 are needed"),
        ([billed("0.01")] * 3, "the bill is not between 0.05 and 1.5 of the list price"),
        ([billed("1000")] * 3, "the bill is not between 0.05 and 1.5 of the list price"),
    ],
)
def test_evidence_that_is_not_enough_is_kept_with_the_reason_and_not_used(observations: list[Observation], reason: str) -> None:
    found = only(calibrate(days(*observations), PRICES))

    assert (found.is_used, found.not_used_because) == (False, reason)


def test_only_the_latest_days_count() -> None:
    found = only(calibrate(days(*[billed("1")] * 10, *[billed("0.8")] * DAYS_USED), PRICES))

    assert found.factors.billed_cost == Decimal("0.8")


def test_a_meter_without_list_price_has_no_factor() -> None:
    assert calibrate(days(*[billed("0.9")] * 5), PriceList([])) == []
    assert calibrate(days(*[billed("0.9")] * 5), PriceList([replace(LIST_PRICE, amount=Decimal(0))])) == []


def test_each_day_is_held_against_its_own_list_price() -> None:
    cheaper = replace(LIST_PRICE, amount=Decimal("1.65"), effective_from=DAY - timedelta(days=2))

    found = only(
        calibrate(days(billed("0.9"), billed("0.9"), billed("0.45"), billed("0.45")), PriceList([LIST_PRICE, cheaper]))
    )

    assert found.factors.billed_cost == Decimal("0.9")


shares = st.integers(50_000, 1_500_000).map(lambda n: Decimal(n) / MILLION)


@given(st.lists(st.tuples(shares, st.integers(100_000, 10**9)), min_size=DAYS_NEEDED, max_size=DAYS_USED))
def test_the_calibrated_estimate_of_what_was_billed_is_the_bill_to_a_millionth(billed_days: list[tuple[Decimal, int]]) -> None:
    found = only(calibrate(days(*(billed(str(share), units=Decimal(units)) for share, units in billed_days)), PRICES))
    paid = sum(Fraction(share) * Fraction(units) * Fraction("3.30") / 10**6 for share, units in billed_days)
    at_list = sum((LIST_PRICE.cost_of(units) for _, units in billed_days), Decimal(0))

    estimate = found.costs_of(at_list)

    assert found.is_used
    assert abs(Fraction(estimate.net_effective_cost) - paid) <= Fraction(at_list) / 10**6
    assert estimate.list_cost == at_list
    assert all(cost == cost.quantize(Decimal("1E-18")) for cost in estimate.amounts())


@given(st.permutations(range(6)))
def test_the_order_in_which_days_are_read_does_not_matter(order: list[int]) -> None:
    observed = days(*(billed(f"0.{n + 3}") for n in range(6)))
    keys = sorted(observed)

    assert calibrate({keys[n]: observed[keys[n]] for n in order}, PRICES) == calibrate(observed, PRICES)


# What a bill says ----------------------------------------------------------------------------------------------------------


def test_rows_of_one_meter_and_region_are_one_observation() -> None:
    twice = [origin_charge(operation="a"), origin_charge(operation="b")]

    assert observe(twice) == {PLACE: Observation(Decimal(2000), Costs.uniform(Decimal("6.60")))}


@pytest.mark.parametrize(
    "charge",
    [
        origin_charge(line_item_type="Tax"),
        origin_charge(line_item_type="EdpDiscount", costs=Costs.uniform(Decimal(-1))),
        origin_charge(currency="EUR"),
        origin_charge(units=None),
        origin_charge(units=Decimal(-5)),
    ],
    ids=lambda charge: charge.line_item_type if charge.line_item_type != "Usage" else f"{charge.currency} {charge.units}",
)
def test_what_is_no_usage_with_known_units_in_usd_says_nothing(charge: OriginCharge) -> None:
    assert observe([charge]) == {}


# What an estimate is based on ------------------------------------------------------------------------------------------------

USED = Calibration(
    METER, "us-east-1", replace(Costs.uniform(Decimal("0.9")), list_cost=Decimal(1)), 5, DAY, DAY, MILLION, Decimal("3.30")
)
AT_LIST = Decimal("3.30")


def basis(pricing: Pricing, amount: Decimal = AT_LIST) -> tuple[Decimal, PriceBasis]:
    costs, found = pricing.costs_of(amount, 1_000_000, METER, "us-east-1", DAY)
    return costs.net_effective_cost, found


@pytest.mark.parametrize(
    ("prices", "calibration", "amount", "expected"),
    [
        ([LIST_PRICE], None, AT_LIST, ("3.30", PriceBasis.LIST)),
        ([LIST_PRICE], USED, AT_LIST, ("2.97", PriceBasis.CALIBRATED)),
        ([LIST_PRICE], replace(USED, not_used_because="too little"), AT_LIST, ("3.30", PriceBasis.LIST)),
        # Recorded at a price that has changed since: the factor is not relative to it.
        ([LIST_PRICE], USED, Decimal("3.00"), ("3.00", PriceBasis.RECORDED)),
        ([], USED, AT_LIST, ("3.30", PriceBasis.RECORDED)),
        # What the customer states is what they pay: a factor on top would count the discount twice.
        ([LIST_PRICE, replace(LIST_PRICE, origin=PriceOrigin.OVERRIDE)], USED, AT_LIST, ("3.30", PriceBasis.OVERRIDE)),
        ([replace(LIST_PRICE, region="*", origin=PriceOrigin.SNAPSHOT)], USED, AT_LIST, ("3.30", PriceBasis.SNAPSHOT)),
    ],
)
def test_a_factor_is_applied_to_what_is_exactly_the_list_price_and_to_nothing_else(
    prices: list[Price], calibration: Calibration | None, amount: Decimal, expected: tuple[str, PriceBasis]
) -> None:
    pricing = Pricing(PriceList(prices), {PLACE: calibration} if calibration else {})

    assert basis(pricing, amount) == (Decimal(expected[0]), expected[1])
