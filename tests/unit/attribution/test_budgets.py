"""Budgets against spend: thresholds, limits, which message tells what, and the names behind a number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.budget_periods import DAY, BudgetPeriod, TimeUnit, calendar_period
from attribution.budgets import (
    Budget,
    Crossing,
    DayAmount,
    Driver,
    Evaluation,
    FixedLimit,
    HistoricalLimit,
    Notification,
    PlannedLimits,
    Spend,
    ancestors,
    crossings,
    days_needed,
    driver_spans,
    evaluate,
    known_days,
    resolve_limit,
    top_drivers,
)
from attribution.forecasts import Forecast, NoForecast
from attribution.scopes import Match, Scope
from tests.unit.attribution.examples import NOON
from tests.unit.attribution.strategies import decimals

NOVEMBER = calendar_period(TimeUnit.MONTHLY, date(2026, 11, 1))
SEARCH = Scope(Match("team", ("search",)))
positive = decimals(max_digits=30, max_scale=18).map(abs).filter(bool)
NONE = NoForecast("none")
percents = st.lists(st.integers(1, 300).map(Decimal), min_size=1, max_size=4)


def budget(
    limit: Decimal = Decimal(1000), thresholds: tuple[Decimal, ...] = (Decimal(80), Decimal(100)), **more: Any
) -> Budget:
    notifications = more.pop("notifications", tuple(Notification(percent) for percent in thresholds))
    return Budget("search", FixedLimit(limit), SEARCH, notifications, channel="slack", **more)


def spent(amount: str, estimated: str = "0") -> Spend:
    return Spend(Decimal(amount), Decimal(estimated))


def evaluation(of: Budget, spend: Spend, forecast: Forecast | NoForecast = NONE) -> Evaluation:
    """An evaluation on the third of November that found so much."""
    assert isinstance(of.limit, FixedLimit)
    return Evaluation(of, NOVEMBER, of.limit.amount, spend, forecast, 2)


def judged(of: Budget, spend: Spend) -> tuple[Crossing, ...]:
    return crossings(evaluation(of, spend))


def forecast(p50: str) -> Forecast:
    return Forecast(Decimal(p50), Decimal(p50), Decimal(p50), 50, None, 40, "combined")


def days(amount: str, first: date, count: int) -> dict[date, DayAmount]:
    return {first + i * DAY: DayAmount(Decimal(amount), False) for i in range(count)}


@given(positive, percents, decimals(), decimals())
def test_a_threshold_is_crossed_only_when_spend_is_greater(
    limit: Decimal, thresholds: list[Decimal], billed: Decimal, estimated: Decimal
) -> None:
    found = judged(budget(limit, tuple(thresholds)), Spend(billed, estimated))

    spend = Fraction(*billed.as_integer_ratio()) + Fraction(*estimated.as_integer_ratio())
    for crossing in found:
        threshold = Fraction(*limit.as_integer_ratio()) * int(crossing.notification.threshold) / 100
        assert crossing.is_crossed is (spend > threshold)
    assert [c.notification.threshold for c in found] == sorted(set(thresholds))


@given(st.integers(1, 10**9), st.integers(1, 300), st.integers(-1, 1))
def test_exactly_the_threshold_does_not_cross_it_and_the_smallest_amount_more_does(limit: int, percent: int, step: int) -> None:
    threshold = Decimal(f"{limit * percent}E-2")

    (crossing,) = judged(budget(Decimal(limit), (Decimal(percent),)), Spend(threshold, Decimal(f"{step}E-18")))

    assert crossing.is_crossed is (step > 0)


@pytest.mark.parametrize(
    ("amount", "crossed"),
    [("800", []), ("800.01", [80]), ("1000", [80]), ("1000.01", [80, 100])],
)
def test_a_budget_of_1000_with_thresholds_of_80_and_100_percent(amount: str, crossed: list[int]) -> None:
    found = judged(budget(), spent(amount))

    assert [int(c.notification.threshold) for c in found if c.is_crossed] == crossed


def test_billed_and_estimated_days_count_together_and_stay_apart() -> None:
    spend = spent("799.99", "0.02")

    assert spend.actual == Decimal("800.01")
    assert judged(budget(), spend)[0].is_crossed
    assert (spend.billed, spend.estimated) == (Decimal("799.99"), Decimal("0.02"))


@given(st.lists(st.tuples(st.integers(0, 59), decimals(20, 9), st.booleans()), max_size=40))
def test_spend_is_the_exact_sum_of_the_periods_days_and_of_no_other(amounts: list[tuple[int, Decimal, bool]]) -> None:
    first = date(2026, 10, 15)
    by_day = {first + offset * DAY: DayAmount(amount, is_estimated) for offset, amount, is_estimated in amounts}

    found = evaluate(budget(), NOVEMBER, by_day, NOON)

    assert found is not None
    for is_estimated, told in ((False, found.spend.billed), (True, found.spend.estimated)):
        exact = sum(
            (
                Fraction(*d.amount.as_integer_ratio())
                for day, d in by_day.items()
                if day.month == 11 and d.is_estimated is is_estimated
            ),
            Fraction(0),
        )
        assert Fraction(*told.as_integer_ratio()) == exact


def test_pace_holds_spend_against_an_even_use_of_the_limit() -> None:
    ten_days_in = datetime(2026, 11, 11, 6, tzinfo=UTC)

    found = evaluate(budget(Decimal(300)), NOVEMBER, days("20", date(2026, 11, 1), 10), ten_days_in)

    assert found is not None
    assert (found.days_over, found.pace_percent) == (10, 200)


def test_a_planned_limit_counts_from_its_date_and_the_last_one_goes_on() -> None:
    planned = replace(budget(), limit=PlannedLimits(((date(2026, 11, 1), Decimal(5)), (date(2026, 12, 1), Decimal(7)))))

    limits = [resolve_limit(planned, calendar_period(TimeUnit.MONTHLY, date(2026, month, 1)), {})[0] for month in (10, 11, 12)]

    assert limits == [None, 5, 7]
    assert resolve_limit(planned, calendar_period(TimeUnit.MONTHLY, date(2028, 2, 29)), {})[0] == 7


def test_an_average_without_end_is_cut_where_amounts_of_the_ledger_end() -> None:
    three = replace(budget(), limit=HistoricalLimit(3), time_unit=TimeUnit.DAILY)
    spend = days("0", date(2026, 11, 1), 3) | days("1", date(2026, 11, 1), 1)

    limit, counted = resolve_limit(three, calendar_period(TimeUnit.DAILY, date(2026, 11, 4)), spend)

    assert (limit, counted) == (Decimal("0.333333333333333333"), 3)


def test_an_evaluation_looks_at_its_period_its_history_and_its_look_back() -> None:
    looking_back = replace(budget(), limit=HistoricalLimit(12))

    assert days_needed(budget(), NOVEMBER, NOON) == date(2026, 11, 3) - 84 * DAY
    assert days_needed(looking_back, NOVEMBER, NOON) == date(2025, 11, 1)
    assert days_needed(budget(), NOVEMBER, NOON + timedelta(days=90)) == date(2026, 11, 1)


def test_a_day_of_the_period_that_nobody_knows_leaves_the_budget_without_a_judgement() -> None:
    known = dict(days("5", date(2026, 10, 1), 34))
    unknown_before = known | {date(2026, 10, 20): None}

    assert known_days(budget(), NOVEMBER, known | {date(2026, 11, 2): None}) is None
    assert known_days(budget(), NOVEMBER, unknown_before) == {d: a for d, a in known.items() if d > date(2026, 10, 20)}
    assert known_days(replace(budget(), limit=HistoricalLimit(1)), NOVEMBER, unknown_before) is None


def test_drivers_are_those_that_grew_most_by_dimension() -> None:
    now = {("team", "a"): Decimal(50), ("team", "b"): Decimal(40), ("team", "c"): Decimal(9), ("model", "m"): Decimal(99)}
    before = {("team", "a"): Decimal(49), ("team", "b"): Decimal(5), ("model", "m"): Decimal(54)}

    drivers = top_drivers(now, before, ("team", "model"), count=2)

    assert drivers == (Driver("team", "b", Decimal(40), Decimal(5)), Driver("team", "c", Decimal(9), Decimal(0)))
    assert [d.change for d in drivers] == [35, 9]


def test_without_a_day_before_nobody_is_said_to_have_grown() -> None:
    now = {("team", "a"): Decimal(50), ("team", "b"): Decimal(60)}

    drivers = top_drivers(now, None, ("team",))

    assert [(d.name, d.before, d.change) for d in drivers] == [("b", None, None), ("a", None, None)]


@pytest.mark.parametrize(
    ("period", "now", "first", "before"),
    [
        (NOVEMBER, NOON, date(2026, 11, 1), date(2026, 10, 29)),
        (NOVEMBER, NOON + timedelta(days=60), date(2026, 11, 1), date(2026, 10, 2)),
        (calendar_period(TimeUnit.ANNUALLY, date(2026, 1, 1)), NOON, date(2026, 10, 4), date(2026, 9, 3)),
    ],
)
def test_drivers_are_compared_with_the_equal_span_right_before(
    period: BudgetPeriod, now: datetime, first: date, before: date
) -> None:
    span, earlier = driver_spans(period, now)

    assert (span[0], earlier[0]) == (first, before)
    assert len(span) == len(earlier)
    assert earlier[-1] + DAY == span[0]


def test_a_tenants_budget_is_part_of_its_teams_and_that_of_the_organisations() -> None:
    parents = {"tenant acme": "team search", "team search": "organisation"}

    assert ancestors("tenant acme", parents) == ("team search", "organisation")
    assert ancestors("organisation", parents) == ()
