"""Twelve months of budgets under a virtual clock, both changes to and from daylight saving time among them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from attribution.budget_periods import DAY, TimeUnit
from attribution.budgets import Budget, Comparison, FixedLimit, Notification, NotificationType
from attribution.charges import Basis
from attribution.scopes import Match, Scope
from tests.support.budgets import World

FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
ZONES = ["Europe/Berlin", "America/New_York", "America/Santiago", "Pacific/Auckland", "Asia/Kathmandu"]
QUIET = date(2026, 7, 4)
"""A day on which nobody uses anything: ten dollars go out on every other."""


def budget(unit: TimeUnit, limit: int, zone: str, *notifications: Notification) -> Budget:
    scope = Scope(Match("team", ("search",)))
    told = notifications or (Notification(Decimal(100)),)
    return Budget(unit.value, FixedLimit(Decimal(limit)), scope, told, time_unit=unit, zone=ZoneInfo(zone), start=FIRST)


def live(world: World, first: date, last: date) -> None:
    """Usage is estimated at noon, UTC; the bill comes the next morning. The schedule looks just after midnight, UTC."""
    day = first
    while day <= last:
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        world.evaluate(noon - timedelta(hours=11, minutes=45))
        if day != QUIET:
            world.spend(day, "10", basis=Basis.ESTIMATED)
            world.evaluate(noon, day)
            world.spend(day, "10", basis=Basis.BILLED)
        world.evaluate(noon + timedelta(hours=20), day)
        day += DAY


@pytest.mark.parametrize("zone", ["Pacific/Auckland"])
def test_a_year_of_ten_dollars_a_day_fires_as_arithmetic_says_and_at_no_other_time(zone: str) -> None:
    below = Notification(Decimal(50), comparison=Comparison.LESS_THAN)
    world = World(
        [
            budget(TimeUnit.DAILY, 10, zone, below),
            # 31 days cost more than 300 dollars, 30 days do not.
            budget(TimeUnit.MONTHLY, 300, zone),
            # Quarters of 90, 91, 91 (92 without the quiet day) and 92 days.
            budget(TimeUnit.QUARTERLY, 900, zone),
        ]
    )

    live(world, FIRST, LAST)
    world.evaluate(datetime(2027, 1, 1, 0, 15, tzinfo=UTC))

    assert world.sent == [
        *(f"2026-{month} ACTUAL 100" for month in ("01", "03", "05")),
        "2026-Q2 ACTUAL 100",
        f"{QUIET} ACTUAL <50",
        "2026-08 ACTUAL 100",
        "2026-Q3 ACTUAL 100",
        "2026-10 ACTUAL 100",
        "2026-Q4 ACTUAL 100",
        "2026-12 ACTUAL 100",
    ]
    assert world.corrected == []


@pytest.mark.parametrize("zone", ZONES)
def test_a_year_breaks_its_limit_on_its_last_day(zone: str) -> None:
    world = World([budget(TimeUnit.ANNUALLY, 3640, zone)])
    for i in range(364):
        world.spend(FIRST + i * DAY, "10")
    world.evaluate("2026-12-30T23:00")

    world.spend(LAST, "0.01", basis=Basis.ESTIMATED)
    world.evaluate("2027-01-01T12:00", LAST)

    assert world.sent == ["2026 ACTUAL 100"]


@pytest.mark.parametrize("zone", ZONES)
def test_every_period_of_a_year_is_judged_from_its_local_midnight_on(zone: str) -> None:
    world = World([budget(TimeUnit.MONTHLY, 300, zone), budget(TimeUnit.DAILY, 10, zone)])

    wrong = []
    for i in range(1, 365):
        day = FIRST + i * DAY
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for instant, shown in ((midnight - timedelta(seconds=1), day - DAY), (midnight, day)):
            running = {e.period.unit: str(e.period) for e in world.evaluate(instant).evaluations}
            if running != {TimeUnit.MONTHLY: f"{shown:%Y-%m}", TimeUnit.DAILY: shown.isoformat()}:
                wrong.append((instant, running))

    assert wrong == []


def test_a_forecast_warns_before_the_limit_breaks_in_the_months_that_break_it() -> None:
    forecast = Notification(Decimal(100), NotificationType.FORECASTED)
    world = World([budget(TimeUnit.MONTHLY, 305, "Europe/Berlin", forecast, Notification(Decimal(100)))])

    live(world, FIRST, date(2026, 6, 29))

    # Two weeks of history are needed first; February, April and June are short enough.
    assert world.sent == [
        "2026-01 FORECASTED 100",
        "2026-01 ACTUAL 100",
        "2026-03 FORECASTED 100",
        "2026-03 ACTUAL 100",
        "2026-05 FORECASTED 100",
        "2026-05 ACTUAL 100",
    ]
    assert world.corrected == []


def test_a_bill_that_disproves_the_estimate_corrects_the_alert_in_the_month_it_was_raised_in() -> None:
    world = World([budget(TimeUnit.MONTHLY, 50, "America/New_York")])
    eve = date(2026, 10, 31)
    world.spend(eve, "51", basis=Basis.ESTIMATED)
    world.evaluate("2026-10-31T20:00", eve)

    # Days later, in November, on the day that New York leaves daylight saving time.
    world.spend(eve, "49", basis=Basis.BILLED)
    world.evaluate("2026-11-01T06:30", eve)

    assert (world.sent, world.corrected) == (["2026-10 ACTUAL 100"], ["2026-10 ACTUAL 100"])
