"""Which usage days a command is about: a billing period, or any range of days; and what the ledger has of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from attribution.charges import Basis
from attribution.errors import PolicyInvalid
from attribution.periods import BillingPeriod
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.formats import counted

if TYPE_CHECKING:
    from adapters.ledger_days import DynamoLedgerDays
    from attribution.days import DayPointer


def parse_period(text: str) -> BillingPeriod:
    """A billing period as people write it."""
    try:
        return BillingPeriod.parse(text)
    except PolicyInvalid as error:
        raise typer.BadParameter(str(error)) from None


def parse_day(text: str) -> date:
    """A usage day as people write it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day: write it as 2026-11-23") from None


def parse_instant(text: str) -> datetime:
    """A time as people write it; UTC unless it says otherwise."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time: write it as 2026-11-23T14:00") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Usage days from `first` to `last`, both included."""

    first: date
    last: date

    @classmethod
    def chosen(cls, period: BillingPeriod | None, first: date | None, last: date | None, today: date) -> Span:
        """The span that the options name; the current billing period where they name none."""
        if first is None and last is None:
            period = period or BillingPeriod.of(today)
            return cls(period.first_day, period.last_day)
        if period is not None:
            raise typer.BadParameter("choose either --period or --from and --to")
        if first is None:
            raise typer.BadParameter("--to needs --from")
        last = last or max(today, first)
        if last < first:
            raise typer.BadParameter(f"--to {last} is before --from {first}")
        return cls(first, last)

    def periods(self) -> list[BillingPeriod]:
        """The billing periods that the span touches, in order."""
        found = [BillingPeriod.of(self.first)]
        while found[-1].last_day < self.last:
            found.append(BillingPeriod.of(found[-1].last_day + timedelta(days=1)))
        return found

    @property
    def day_count(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        period = BillingPeriod.of(self.first)
        if (self.first, self.last) == (period.first_day, period.last_day):
            return str(period)
        return f"{self.first} to {self.last}" if self.first != self.last else str(self.first)


def read_pointers(days: DynamoLedgerDays, span: Span) -> list[DayPointer]:
    """The current versions of the span's days, in order; a failure where the ledger has none of them."""
    found = [
        pointer
        for period in span.periods()
        for pointer in days.pointers(period).values()
        if span.first <= pointer.usage_date <= span.last
    ]
    if not found:
        raise Failure(
            f"no data for {span}: the ledger has no day of it",
            "A day appears minutes after its first invocation log object, or with the first cost report that bills it.",
            "Check `bedrock-costs status`; bring in what lies in S3 already with `bedrock-costs replay`.",
            ExitCode.NOT_READY,
        )
    return sorted(found, key=lambda pointer: pointer.usage_date)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How sure the days of a span are, and since when."""

    span: Span
    by_basis: dict[str, int]
    as_of: datetime

    @classmethod
    def of(cls, span: Span, pointers: Sequence[DayPointer]) -> Freshness:
        counts = Counter(pointer.basis for pointer in pointers)
        return cls(span, {basis.value: counts[basis] for basis in reversed(Basis)}, latest(p.changed_at for p in pointers))

    @property
    def missing(self) -> int:
        return self.span.day_count - sum(self.by_basis.values())

    def sentence(self) -> str:
        """The days by basis, for people."""
        parts = [f"{count} {basis}" for basis, count in self.by_basis.items() if count]
        absent = f", {self.missing} without data" if self.missing else ""
        return f"{counted(self.span.day_count, 'day')}: {', '.join(parts)}{absent}"

    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {"as_of": self.as_of, "days": self.by_basis | {"without_data": self.missing}}


def latest(moments: Iterable[datetime]) -> datetime:
    """The last of some moments."""
    return max(moments)
