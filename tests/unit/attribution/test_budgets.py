"""Budgets against spend."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.budgets import Budget, Crossing, Spend, evaluate, percent_of, top_drivers
from attribution.money import Money
from attribution.periods import BillingPeriod
from tests.unit.attribution.strategies import decimals

NOVEMBER = BillingPeriod(2026, 11)
positive = decimals(max_digits=30, max_scale=18).map(abs).filter(bool)
percents = st.lists(st.integers(1, 300).map(Decimal), min_size=1, max_size=4)


def budget(limit: Decimal = Decimal(1000), thresholds: tuple[Decimal, ...] = (Decimal(80), Decimal(100))) -> Budget:
    return Budget("search", Money(limit), "team", ("search",), "billed_cost", thresholds, "slack")


def spent(amount: str, estimated: str = "0") -> Spend:
    return Spend(Decimal(amount), Decimal(estimated))


def telling(crossings: tuple[Crossing, ...]) -> list[int]:
    return [int(c.threshold_percent) for c in crossings if not c.told_by_another]


@given(positive, percents, decimals(), decimals())
def test_a_threshold_is_crossed_only_when_spend_is_greater(
    limit: Decimal, thresholds: list[Decimal], billed: Decimal, estimated: Decimal
) -> None:
    crossings = evaluate(budget(limit, tuple(thresholds)), NOVEMBER, Spend(billed, estimated))

    spend = Fraction(*billed.as_integer_ratio()) + Fraction(*estimated.as_integer_ratio())
    for crossing in crossings:
        threshold = Fraction(*limit.as_integer_ratio()) * int(crossing.threshold_percent) / 100
        assert crossing.is_crossed is (spend > threshold)
    assert [c.threshold_percent for c in crossings] == sorted(set(thresholds))


@given(st.integers(1, 10**9), st.integers(1, 300), st.integers(-1, 1))
def test_exactly_the_threshold_does_not_cross_it_and_the_smallest_amount_more_does(limit: int, percent: int, step: int) -> None:
    threshold = Decimal(f"{limit * percent}E-2")

    (crossing,) = evaluate(budget(Decimal(limit), (Decimal(percent),)), NOVEMBER, Spend(threshold, Decimal(f"{step}E-18")))

    assert crossing.is_crossed is (step > 0)


@given(positive, percents, decimals())
def test_exactly_one_crossed_and_one_uncrossed_threshold_tell(
    limit: Decimal, thresholds: list[Decimal], billed: Decimal
) -> None:
    crossings = evaluate(budget(limit, tuple(thresholds)), NOVEMBER, Spend(billed))

    for is_crossed, tells in ((True, max), (False, min)):
        alike = [c for c in crossings if c.is_crossed is is_crossed]
        expected = [tells(c.threshold_percent for c in alike)] if alike else []
        assert [c.threshold_percent for c in alike if not c.told_by_another] == expected


@pytest.mark.parametrize(
    ("amount", "crossed", "tell"),
    [("800", [], [80]), ("800.01", [80], [80, 100]), ("1000", [80], [80, 100]), ("1000.01", [80, 100], [100])],
)
def test_a_budget_of_1000_with_thresholds_of_80_and_100_percent(amount: str, crossed: list[int], tell: list[int]) -> None:
    crossings = evaluate(budget(), NOVEMBER, spent(amount))

    assert [int(c.threshold_percent) for c in crossings if c.is_crossed] == crossed
    assert telling(crossings) == tell


def test_billed_and_estimated_days_count_together_and_stay_apart() -> None:
    spend = spent("799.99", "0.02")

    assert spend.actual == Decimal("800.01")
    assert evaluate(budget(), NOVEMBER, spend)[0].is_crossed
    assert (spend.billed, spend.estimated) == (Decimal("799.99"), Decimal("0.02"))


@given(decimals().map(abs), positive)
def test_a_percentage_is_rounded_down_however_many_digits_the_spend_has(spend: Decimal, limit: Decimal) -> None:
    percentage = percent_of(spend, limit)

    exact = Fraction(*spend.as_integer_ratio()) * 100 / Fraction(*limit.as_integer_ratio())
    assert percentage <= exact < percentage + 1


@pytest.mark.parametrize(
    ("spend", "limit", "percent"),
    [("79.99999999999999999999999999999999", "100", 79), ("80", "100", 80), ("5", "0", 0), ("1E+30", "1", 10**32)],
)
def test_79_9_percent_is_not_yet_80(spend: str, limit: str, percent: int) -> None:
    assert percent_of(Decimal(spend), Decimal(limit)) == percent


def test_drivers_are_the_largest_amounts_by_amount_then_name_without_zeros() -> None:
    amounts = [("d", Decimal(0)), ("b", Decimal(1)), ("c", Decimal(5)), ("a", Decimal(1)), ("e", Decimal("-3"))]

    assert top_drivers(amounts) == (("c", Decimal(5)), ("a", Decimal(1)), ("b", Decimal(1)))
    assert top_drivers(amounts[:1]) == ()
