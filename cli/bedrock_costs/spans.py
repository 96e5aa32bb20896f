"""Which usage days a command is about: a billing period, or any range of days; and what the ledger has of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.charges import Basis
from attribution.errors import PolicyInvalid
from attribution.periods import BillingPeriod
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.formats import counted, instant, money

if TYPE_CHECKING:
    from adapters.ledger_days import DynamoLedgerDays
    from attribution.days import DayPointer


def parse_period(text: str) -> BillingPeriod:
    """A billing period as people write it."""
    try:
        period = BillingPeriod.parse(text)
    except PolicyInvalid as error:
        raise typer.BadParameter(str(error)) from None
    _require_our_time(text, period.year)
    return period


def parse_day(text: str) -> date:
    """A usage day as people write it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day: write it as 2026-11-23") from None
    _require_our_time(text, day.year)
    return day


def parse_instant(text: str) -> datetime:
    """A time as people write it; UTC unless it says otherwise."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time: write it as 2026-11-23T14:00") from None
    _require_our_time(text, instant.year)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _require_our_time(text: str, year: int) -> None:
    """Refuse years in which nobody used Bedrock: a ledger asked for each of their months would take hours to say no."""
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise typer.BadParameter(f"{text!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}")


_FIRST_YEAR, _LAST_YEAR = 2000, 2100
AsOf = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_instant,
        metavar="TIME",
        help="What the ledger said at this time, as 2026-11-23T14:00 (UTC unless it says otherwise). Default: now.",
    ),
]


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


def read_pointers(days: DynamoLedgerDays, span: Span, as_of: datetime | None = None) -> list[DayPointer]:
    """The versions of the span's days, in order, that are current or were so at a moment.

    A failure where the ledger has none of them, or where one that it had has expired.
    """
    found = [
        pointer
        for period in span.periods()
        for pointer in (days.pointers(period) if as_of is None else days.pointers_as_of(period, as_of)).values()
        if span.first <= pointer.usage_date <= span.last
    ]
    if as_of is not None:
        _require_readable(days, span, found, as_of)
    if not found:
        raise Failure(
            f"no data for {span}: the ledger has no day of it",
            "A day appears minutes after its first invocation log object, or with the first cost report that bills it.",
            "Check `bedrock-costs status`; bring in what lies in S3 already with `bedrock-costs replay`.",
            ExitCode.NOT_READY,
        )
    return sorted(found, key=lambda pointer: pointer.usage_date)


def _require_readable(days: DynamoLedgerDays, span: Span, found: Sequence[DayPointer], as_of: datetime) -> None:
    if not found:
        raise Failure(
            f"the ledger had no day of {span} at {instant(as_of)}, or has forgotten it",
            "No version of these days was current then whose record is kept. Records of estimates are kept for the stack's"
            " LedgerRetentionDays, those of bills for good.",
            "Choose a later time for --as-of.",
            ExitCode.NOT_READY,
        )
    expired = days.expired(found)
    if expired:
        raise Failure(
            f"what the ledger said of {counted(len(expired), 'day')} at {instant(as_of)} has expired",
            "A version that was replaced is kept for 2 days if it was an estimate, for LedgerRetentionDays if it was a bill."
            " Its total is all that is still known.",
            "Choose a later time for --as-of, or days that have not changed since with --from and --to.",
            ExitCode.NOT_READY,
            tuple(f"{p.usage_date}: {p.basis} on {instant(p.changed_at)}, {_total(p)}" for p in expired),
        )


def _total(pointer: DayPointer) -> str:
    totals = [money(costs.billed_cost, currency) for currency, costs in pointer.totals.items()]
    return f"{' + '.join(totals) or 'no charge'} in all (billed_cost)"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How sure the days of a span are, and since when; and the moment that was asked for, where it is not now."""

    span: Span
    by_basis: dict[str, int]
    as_of: datetime
    asked: datetime | None = None

    @classmethod
    def of(cls, span: Span, pointers: Sequence[DayPointer], asked: datetime | None = None) -> Freshness:
        counts = Counter(pointer.basis for pointer in pointers)
        by_basis = {basis.value: counts[basis] for basis in reversed(Basis)}
        return cls(span, by_basis, latest(p.changed_at for p in pointers), asked)

    @property
    def missing(self) -> int:
        return self.span.day_count - sum(self.by_basis.values())

    def sentence(self) -> str:
        """The days by basis and when they changed last, for people."""
        parts = [f"{count} {basis}" for basis, count in self.by_basis.items() if count]
        absent = f", {self.missing} without data" if self.missing else ""
        stood = f" As the ledger stood on {instant(self.asked)}, changed last on" if self.asked else " As of"
        return f"{counted(self.span.day_count, 'day')}: {', '.join(parts)}{absent}.{stood} {instant(self.as_of)}."

    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {"as_of": self.as_of, "asked_as_of": self.asked, "days": self.by_basis | {"without_data": self.missing}}


def latest(moments: Iterable[datetime]) -> datetime:
    """The last of some moments."""
    return max(moments)
