"""What values of one dimension spent in a span of usage days, read from the ledger's sums. Billed and estimated stay apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from attribution.charges import Basis
from attribution.days import DayPointer
from attribution.money import ZERO, add, total
from attribution.periods import Span
from attribution.ports import ReadDays
from attribution.wording import money

METRIC = "billed_cost"


@dataclass(slots=True)
class Spending:
    """What one value spent in one currency."""

    value: str
    currency: str
    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    requests: int = 0
    daily: dict[date, Decimal] = field(default_factory=dict)

    @property
    def actual(self) -> Decimal:
        return add(self.billed, self.estimated)

    def in_days(self, days: Iterable[date]) -> Decimal:
        """What it spent on some of the days."""
        amount = ZERO
        for day in days:
            amount = add(amount, self.daily.get(day, ZERO))
        return amount


@dataclass(frozen=True, slots=True)
class Read:
    """What the ledger says of a span: the spendings, largest first, the days that it has, and those of them that it has not by
    this dimension."""

    spendings: Sequence[Spending]
    known: Sequence[date]
    missing: Sequence[date]


def read_spending(days: ReadDays, dimension: str, span: Span, wanted: Callable[[str], bool]) -> Read:
    """What the wanted values of a dimension spent. A day allocated before the dimension existed is missing, not zero."""
    pointers = _pointers(days, span)
    known = [pointer for pointer in pointers.values() if pointer.is_summed_by(dimension)]
    found: dict[tuple[str, str], Spending] = {}
    for day, sums in days.sums(known, dimension).items():
        for (value, currency), day_sum in sums.items():
            if not wanted(value):
                continue
            spending = found.setdefault((value, currency), Spending(value, currency))
            amount: Decimal = getattr(day_sum.costs, METRIC)
            spending.daily[day] = add(spending.daily.get(day, ZERO), amount)
            spending.requests += day_sum.requests
            if pointers[day].basis is Basis.ESTIMATED:
                spending.estimated = add(spending.estimated, amount)
            else:
                spending.billed = add(spending.billed, amount)
    ordered = sorted(found.values(), key=lambda s: (s.currency, s.actual.copy_negate(), s.value))
    return Read(
        ordered, sorted(pointers), sorted(day for day, pointer in pointers.items() if not pointer.is_summed_by(dimension))
    )


def _pointers(days: ReadDays, span: Span) -> Mapping[date, DayPointer]:
    found = [entry for period in span.periods() for entry in days.pointers(period).items()]
    return {day: pointer for day, pointer in found if span.first <= day <= span.last}


def basis_of(spendings: Sequence[Spending]) -> str:
    """How much of it AWS billed, and how much is estimated: the two are never one number without saying so."""
    if not any(s.estimated for s in spendings):
        return "All of it billed by AWS."
    if not any(s.billed for s in spendings):
        return "All of it estimated from usage."
    by_currency = sorted({s.currency for s in spendings})
    parts = [
        f"{money(total(s.billed for s in spendings if s.currency == c), c)} billed by AWS, "
        f"{money(total(s.estimated for s in spendings if s.currency == c), c)} estimated from usage"
        for c in by_currency
    ]
    return f"{'; '.join(parts)}."
