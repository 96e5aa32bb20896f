"""Usage days and billing periods."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import PolicyInvalid
from attribution.periods import BillingPeriod, day_end

dates = st.dates(date(2000, 1, 1), date(2100, 12, 31))


@given(dates)
def test_a_usage_day_belongs_to_exactly_its_own_period(day: date) -> None:
    period = BillingPeriod.of(day)

    assert period.days().count(day) == 1
    assert BillingPeriod.parse(str(period)) == period


@given(dates)
def test_the_days_of_a_period_run_without_a_gap_from_its_first_to_its_last(day: date) -> None:
    period = BillingPeriod.of(day)

    days = period.days()

    assert days[0] == period.first_day
    assert days[-1] == period.last_day
    assert {later - earlier for earlier, later in pairwise(days)} == {timedelta(days=1)}
    assert BillingPeriod.of(period.last_day + timedelta(days=1)) != period


@given(dates, dates)
def test_periods_are_ordered_in_time_as_values_and_as_text(one: date, other: date) -> None:
    first, second = BillingPeriod.of(one), BillingPeriod.of(other)

    assert (first < second) == (str(first) < str(second)) == (first.last_day < second.first_day)


def test_february_of_a_leap_year_has_29_days() -> None:
    assert len(BillingPeriod.parse("2028-02").days()) == 29


@pytest.mark.parametrize("text", ["2026-13", "2026", "11-2026", "2026-11-01", ""])
def test_a_period_that_is_not_written_as_year_and_month_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(PolicyInvalid, match="write it as 2026-11"):
        BillingPeriod.parse(text)


def test_a_usage_day_ends_at_the_next_midnight_utc() -> None:
    assert day_end(date(2026, 12, 31)) == datetime(2027, 1, 1, tzinfo=UTC)
