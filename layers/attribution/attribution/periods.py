"""Usage days and billing periods. A usage day is the cost report's UTC date; a billing period is a calendar month in UTC."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from attribution.errors import PolicyInvalid


@dataclass(frozen=True, slots=True, order=True)
class BillingPeriod:
    """One invoice month, written `2026-11`."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> BillingPeriod:
        """The period named by `yyyy-mm`."""
        try:
            first = date.fromisoformat(f"{text}-01")
        except ValueError as error:
            raise PolicyInvalid(f"{text!r} is not a billing period: write it as 2026-11") from error
        return cls(first.year, first.month)

    @classmethod
    def of(cls, usage_date: date) -> BillingPeriod:
        """The period that a usage day belongs to."""
        return cls(usage_date.year, usage_date.month)

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        return date(self.year, self.month, monthrange(self.year, self.month)[1])

    def days(self) -> tuple[date, ...]:
        """Every usage day of the period, in order."""
        return tuple(self.first_day + timedelta(days=i) for i in range((self.last_day - self.first_day).days + 1))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


@dataclass(frozen=True, slots=True)
class Span:
    """Usage days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> tuple[date, ...]:
        return tuple(self.first + timedelta(days=i) for i in range(self.day_count))

    @property
    def day_count(self) -> int:
        return (self.last - self.first).days + 1

    def periods(self) -> list[BillingPeriod]:
        """The billing periods that the span touches, in order."""
        found = [BillingPeriod.of(self.first)]
        while found[-1].last_day < self.last:
            found.append(BillingPeriod.of(found[-1].last_day + timedelta(days=1)))
        return found

    def before(self, days: int) -> Span:
        """The same days so much earlier."""
        return Span(self.first - timedelta(days=days), self.last - timedelta(days=days))

    def __str__(self) -> str:
        """A whole billing period by its name, else its first and last day."""
        period = BillingPeriod.of(self.first)
        if (self.first, self.last) == (period.first_day, period.last_day):
            return str(period)
        return f"{self.first} to {self.last}" if self.first != self.last else str(self.first)


def day_end(usage_date: date) -> datetime:
    """The instant at which a usage day is over."""
    return datetime(usage_date.year, usage_date.month, usage_date.day, tzinfo=UTC) + timedelta(days=1)
