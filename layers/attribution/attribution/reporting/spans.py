"""Which usage days a question is about, as people write them; and how sure the ledger is of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from attribution.charges import Basis
from attribution.days import DayPointer
from attribution.errors import PolicyInvalid, QuestionInvalid
from attribution.formats import counted, instant
from attribution.periods import BillingPeriod, Span

_FIRST_YEAR, _LAST_YEAR = 2000, 2100


def parse_period(text: str) -> BillingPeriod:
    """A billing period as people write it."""
    try:
        period = BillingPeriod.parse(text)
    except PolicyInvalid as error:
        raise QuestionInvalid("", str(error)) from None
    _require_our_time(text, period.year)
    return period


def parse_day(text: str) -> date:
    """A usage day as people write it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise QuestionInvalid("", f"{text!r} is not a day: write it as 2026-11-23") from None
    _require_our_time(text, day.year)
    return day


def parse_instant(text: str) -> datetime:
    """A time as people write it; UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QuestionInvalid("", f"{text!r} is not a time: write it as 2026-11-23T14:00") from None
    _require_our_time(text, moment.year)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _require_our_time(text: str, year: int) -> None:
    """Refuse years in which nobody used Bedrock: a ledger asked for each of their months would take hours to say no."""
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise QuestionInvalid("", f"{text!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}")


def chosen_span(period: BillingPeriod | None, first: date | None, last: date | None, today: date) -> Span:
    """The span that a question names by its parameters `period`, or `from` and `to`; else the current billing period."""
    if first is None and last is None:
        period = period or BillingPeriod.of(today)
        return Span(period.first_day, period.last_day)
    if period is not None:
        raise QuestionInvalid("period", "choose either a period, or its first and last day")
    if first is None:
        raise QuestionInvalid("to", "the last day needs the first one")
    last = last or max(today, first)
    if last < first:
        raise QuestionInvalid("to", f"the last day {last} is before the first one, {first}")
    return Span(first, last)


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

    @property
    def basis(self) -> str:
        """The basis of all days that the ledger has, or `mixed`."""
        found = [basis for basis, count in self.by_basis.items() if count]
        return found[0] if len(found) == 1 else "mixed"

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
