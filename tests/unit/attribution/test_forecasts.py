"""Forecasts of a period's total."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.forecasts import Forecast, NoForecast, forecast_total, normal_cumulative, spread, weekday_profile
from tests.unit.attribution.strategies import decimals

# A Sunday: the first week of the month begins with a weekend.
FIRST = date(2026, 11, 1)
LAST = date(2026, 11, 30)


def by_day(amounts: list[Decimal], until: date) -> list[tuple[date, Decimal]]:
    return [(until - timedelta(days=len(amounts) - i), amount) for i, amount in enumerate(amounts)]


def november(history: list[Decimal], days_in: int, limit: str = "1000", needed: int = 14) -> Forecast | NoForecast:
    """The forecast of November when so many of its days are known; `history` ends with them."""
    today = FIRST + timedelta(days=days_in)
    series = by_day(history, today)
    spent = {day: amount for day, amount in series if day >= FIRST}
    return forecast_total(series, spent=spent, first_open=today, last_day=LAST, limit=Decimal(limit), history_days=needed)


def certain(found: Forecast | NoForecast) -> Forecast:
    assert isinstance(found, Forecast)
    return found


amounts = st.lists(decimals(8, 2).map(abs), min_size=14, max_size=60)


def test_a_constant_spend_is_forecast_exactly_and_without_doubt() -> None:
    found = certain(november([Decimal(10)] * 45, 10))

    assert (found.p10, found.p50, found.p90) == (Decimal(300),) * 3
    assert (found.probability_percent, found.breach_on) == (0, None)


def test_a_constant_spend_breaks_its_limit_on_the_day_that_arithmetic_says() -> None:
    found = certain(november([Decimal(10)] * 45, 10, limit="249"))

    assert (found.probability_percent, found.breach_on) == (100, date(2026, 11, 25))


@pytest.mark.parametrize("amount", ["1E+25", "-1E+25", "12345678901234567890.12"])
def test_an_amount_as_large_as_the_ledger_takes_has_a_forecast(amount: str) -> None:
    found = certain(november([Decimal(amount)] * 45, 10))

    assert found.p10 <= found.p50 <= found.p90


def test_weekends_are_known_where_the_run_rate_is_misled() -> None:
    pattern = [Decimal(5) if (FIRST - timedelta(days=70 - i)).weekday() >= 5 else Decimal(10) for i in range(70 + 8)]
    true_total = Decimal(sum(5 if date(2026, 11, d).weekday() >= 5 else 10 for d in range(1, 31)))

    found = certain(november(pattern, 8))

    assert abs(found.p50 - true_total) < true_total / 100
    run_rate = sum(pattern[-8:], Decimal(0)) / 8 * 30
    assert abs(run_rate - true_total) > true_total / 50


def test_too_little_history_is_no_forecast_and_says_how_much_is_needed() -> None:
    found = november([Decimal(10)] * 20, 5, needed=35)

    assert found == NoForecast("20 days of spend so far; a forecast needs 35", 20)


def test_nothing_spent_is_nothing_to_come() -> None:
    found = certain(november([Decimal(0)] * 30, 3))

    assert (found.p10, found.p50, found.p90) == (Decimal(0),) * 3
    assert found.probability_percent == 0


def test_a_period_whose_days_are_all_known_is_its_sum() -> None:
    found = certain(november([Decimal(n) for n in range(60)], 30))

    assert (found.p10, found.p50, found.p90) == (Decimal(sum(range(30, 60))),) * 3


def test_what_a_running_day_has_spent_already_is_the_least_it_will() -> None:
    today = date(2026, 11, 11)
    history = by_day([Decimal(10)] * 40, today)
    spent = {day: amount for day, amount in history if day >= FIRST} | {today: Decimal(500)}

    found = certain(forecast_total(history, spent=spent, first_open=today, last_day=LAST, limit=Decimal(599), history_days=14))

    assert found.p50 == 100 + 500 + 19 * 10
    assert found.breach_on == date(2026, 11, 11)


@settings(max_examples=60)
@given(amounts, st.integers(0, 14))
def test_an_interval_holds_its_middle_and_never_less_than_was_spent(history: list[Decimal], days_in: int) -> None:
    found = certain(november(history, days_in))

    assert found.p10 <= found.p50 <= found.p90
    spent = sum(history[len(history) - days_in :], Decimal(0)) if days_in else Decimal(0)
    assert found.p10 >= (spent - Decimal("0.01"))
    assert 0 <= found.probability_percent <= 100


@settings(max_examples=30)
@given(amounts, st.integers(0, 14), st.integers(1, 1000))
def test_a_forecast_scales_with_its_currency(history: list[Decimal], days_in: int, factor: int) -> None:
    one = certain(november(history, days_in))
    many = certain(november([amount * factor for amount in history], days_in))

    assert abs(many.p50 - one.p50 * factor) <= Decimal("0.005") * (factor + 1)


def test_the_same_days_give_the_same_forecast() -> None:
    history = [Decimal(str(10 + (i * 37 % 11))) for i in range(70)]

    assert november(history, 12) == november(list(history), 12)


@pytest.mark.parametrize(
    ("z", "expected"),
    [("0", "0.5"), ("1.2815515655", "0.9"), ("-1.6448536270", "0.05"), ("3", "0.9986501"), ("-9", "0"), ("9", "1")],
)
def test_the_normal_distribution_is_the_tables(z: str, expected: str) -> None:
    assert abs(normal_cumulative(Decimal(z)) - Decimal(expected)) < Decimal("0.000001")


def test_independent_days_deviate_by_the_root_of_their_number_and_a_wandering_level_by_more() -> None:
    assert spread(Decimal(0), range(1, 10)) == 3
    # A random walk: 1² + 2² + 3².
    assert spread(Decimal(1), range(1, 4)) == Decimal(14).sqrt()
    assert spread(Decimal("0.3"), []) == 0


def test_weekdays_of_an_even_week_have_no_pattern() -> None:
    assert weekday_profile([Decimal(4)] * 21, 3) == (Decimal(1),) * 7


def test_a_weekday_keeps_its_place_whichever_weekday_history_begins_with() -> None:
    week = [Decimal(n) for n in (10, 1, 10, 10, 10, 10, 10)]

    profile = weekday_profile(week * 6, 2)

    assert min(range(7), key=lambda d: profile[d]) == 3
