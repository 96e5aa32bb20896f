"""Budget periods: calendars, midnights in time zones, leap days, and periods that do not repeat."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.budget_periods import DAY, BudgetPeriod, TimeUnit, calendar_period, local_date, local_midnight, look_back
from attribution.budgets import Budget
from tests.unit.attribution.test_budgets import budget

days = st.dates(date(2000, 1, 1), date(2099, 12, 31))
units = st.sampled_from([unit for unit in TimeUnit if unit is not TimeUnit.CUSTOM])
zones = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "America/Santiago", "Africa/Cairo", "UTC"]
).map(ZoneInfo)


@given(units, days)
def test_every_day_lies_in_one_period_and_periods_follow_each_other_without_gap(unit: TimeUnit, day: date) -> None:
    period = calendar_period(unit, day)

    assert day in period
    assert period.length_days == len([d for i in range(400) if (d := period.first_day + i * DAY) in period])
    following = calendar_period(unit, period.last_day + DAY)
    assert following.first_day == period.last_day + DAY
    assert look_back(following, 1) == (period,)


@given(units, days, zones)
def test_a_period_ends_when_the_next_begins_in_every_time_zone(unit: TimeUnit, day: date, zone: ZoneInfo) -> None:
    period = calendar_period(unit, day)
    following = calendar_period(unit, period.last_day + DAY)

    assert period.ends_at(zone) == following.starts_at(zone)
    assert local_date(period.starts_at(zone), zone) == period.first_day
    assert local_date(period.starts_at(zone) - timedelta(microseconds=1), zone) == period.first_day - DAY


@pytest.mark.parametrize(
    ("unit", "day", "label", "length"),
    [
        (TimeUnit.DAILY, date(2028, 2, 29), "2028-02-29", 1),
        (TimeUnit.MONTHLY, date(2028, 2, 1), "2028-02", 29),
        (TimeUnit.MONTHLY, date(2026, 2, 28), "2026-02", 28),
        (TimeUnit.MONTHLY, date(2026, 12, 31), "2026-12", 31),
        (TimeUnit.QUARTERLY, date(2026, 11, 5), "2026-Q4", 92),
        (TimeUnit.QUARTERLY, date(2028, 3, 31), "2028-Q1", 91),
        (TimeUnit.ANNUALLY, date(2028, 7, 1), "2028", 366),
    ],
)
def test_a_period_is_named_and_as_long_as_the_calendar_says(unit: TimeUnit, day: date, label: str, length: int) -> None:
    period = calendar_period(unit, day)

    assert (str(period), period.length_days) == (label, length)


@pytest.mark.parametrize(
    ("zone", "day", "midnight"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00"),
        ("Europe/Berlin", date(2026, 3, 30), "2026-03-29T22:00"),
        ("Europe/Berlin", date(2026, 10, 26), "2026-10-25T23:00"),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15"),
        # Clocks go from 23:59:59 to 01:00 on that night: the day begins at one.
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00"),
        # And from 24:00 back to 23:00 on this one: the day begins once, at the second midnight.
        ("America/Santiago", date(2026, 4, 5), "2026-04-05T04:00"),
    ],
)
def test_a_day_begins_at_local_midnight_whatever_clocks_do(zone: str, day: date, midnight: str) -> None:
    assert local_midnight(day, ZoneInfo(zone)) == datetime.fromisoformat(midnight).replace(tzinfo=UTC)


def test_a_period_is_over_when_its_last_usage_day_is_too() -> None:
    november = calendar_period(TimeUnit.MONTHLY, date(2026, 11, 1))
    tokyo, los_angeles = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/Los_Angeles")

    assert not november.is_over(tokyo, datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    assert november.is_over(tokyo, datetime(2026, 12, 1, tzinfo=UTC))
    assert not november.is_over(los_angeles, datetime(2026, 12, 1, 7, 59, tzinfo=UTC))
    assert november.is_over(los_angeles, datetime(2026, 12, 1, 8, 0, tzinfo=UTC))


def bounded(unit: TimeUnit, start: date | None, end: date | None) -> Budget:
    return budget(time_unit=unit, start=start, end=end)


def test_a_period_is_cut_to_the_budgets_own_start_and_end() -> None:
    cut = bounded(TimeUnit.MONTHLY, date(2026, 11, 15), date(2026, 12, 10))

    assert cut.period_of(date(2026, 11, 14)) is None
    assert cut.period_of(date(2026, 11, 20)) == BudgetPeriod(TimeUnit.MONTHLY, date(2026, 11, 15), date(2026, 11, 30))
    assert cut.period_of(date(2026, 12, 1)) == BudgetPeriod(TimeUnit.MONTHLY, date(2026, 12, 1), date(2026, 12, 10))
    assert cut.period_of(date(2026, 12, 11)) is None


def test_a_custom_period_runs_once() -> None:
    once = bounded(TimeUnit.CUSTOM, date(2026, 11, 3), date(2027, 1, 15))

    assert str(once.period_of(date(2026, 12, 24))) == "2026-11-03..2027-01-15"
    assert once.period_of(date(2027, 1, 16)) is None
    assert once.is_expired(datetime(2027, 1, 16, tzinfo=UTC))
