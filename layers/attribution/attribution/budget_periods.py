"""Budget periods: calendar time in the budget's time zone, counted in the bill's UTC usage days.

A bill has one amount per UTC day and nothing finer, so a usage day is never cut at a local midnight: it counts, whole, in the
period that its date lies in. The time zone says when a period begins and ends: at the local midnight, whatever daylight saving
time does to it.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from attribution.periods import day_end

DAY = timedelta(days=1)
_QUARTER_MONTHS = 3


class TimeUnit(StrEnum):
    """How long a budget runs until it begins anew. `CUSTOM` runs once, from its start to its end."""

    DAILY = "DAILY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    ANNUALLY = "ANNUALLY"
    CUSTOM = "CUSTOM"


@dataclass(frozen=True, slots=True, order=True)
class BudgetPeriod:
    """One run of a budget, both days included. Its label is the period's name in alerts and in their keys."""

    unit: TimeUnit
    first_day: date
    last_day: date

    def __str__(self) -> str:
        day = self.last_day
        match self.unit:
            case TimeUnit.DAILY:
                return day.isoformat()
            case TimeUnit.MONTHLY:
                return f"{day:%Y-%m}"
            case TimeUnit.QUARTERLY:
                return f"{day.year:04d}-Q{(day.month - 1) // _QUARTER_MONTHS + 1}"
            case TimeUnit.ANNUALLY:
                return f"{day.year:04d}"
            case TimeUnit.CUSTOM:
                return f"{self.first_day.isoformat()}..{day.isoformat()}"

    @property
    def length_days(self) -> int:
        return (self.last_day - self.first_day).days + 1

    def __contains__(self, usage_date: object) -> bool:
        return isinstance(usage_date, date) and self.first_day <= usage_date <= self.last_day

    def starts_at(self, zone: tzinfo) -> datetime:
        """The instant of its first midnight in a time zone, in UTC."""
        return local_midnight(self.first_day, zone)

    def ends_at(self, zone: tzinfo) -> datetime:
        """The instant at which the next period begins, in UTC."""
        return local_midnight(self.last_day + DAY, zone)

    def is_over(self, zone: tzinfo, now: datetime) -> bool:
        """Whether the period has ended and its last usage day, too."""
        return now >= max(self.ends_at(zone), day_end(self.last_day))


def local_midnight(day: date, zone: tzinfo) -> datetime:
    """The instant at which a date begins in a time zone, in UTC.

    Where clocks skip midnight, the day begins at the first instant that exists; where midnight comes twice, at the first one.
    """
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def local_date(now: datetime, zone: tzinfo) -> date:
    """The date that a calendar in the time zone shows."""
    return now.astimezone(zone).date()


def calendar_period(unit: TimeUnit, day: date) -> BudgetPeriod:
    """The day, month, quarter or year that a date lies in. `CUSTOM` has no calendar."""
    match unit:
        case TimeUnit.DAILY:
            return BudgetPeriod(unit, day, day)
        case TimeUnit.MONTHLY:
            return BudgetPeriod(unit, day.replace(day=1), _month_end(day.year, day.month))
        case TimeUnit.QUARTERLY:
            first = (day.month - 1) // _QUARTER_MONTHS * _QUARTER_MONTHS + 1
            return BudgetPeriod(unit, date(day.year, first, 1), _month_end(day.year, first + _QUARTER_MONTHS - 1))
        case TimeUnit.ANNUALLY:
            return BudgetPeriod(unit, date(day.year, 1, 1), date(day.year, 12, 31))
        case TimeUnit.CUSTOM:
            raise ValueError("a custom period has a start and an end, no calendar")


def _month_end(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])


def look_back(period: BudgetPeriod, count: int) -> tuple[BudgetPeriod, ...]:
    """So many calendar periods before one, the earliest first."""
    found: list[BudgetPeriod] = []
    following = calendar_period(period.unit, period.last_day)
    for _ in range(count):
        following = calendar_period(period.unit, following.first_day - DAY)
        found.insert(0, following)
    return tuple(found)
