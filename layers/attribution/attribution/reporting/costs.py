"""What a span cost, by one dimension. Billed and estimated stay apart, currencies are never added."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attribution.adjustments import Adjustment, owner_changes
from attribution.charges import Basis
from attribution.days import UNALLOCATED, DayPointer, Sum
from attribution.errors import DayUnproven
from attribution.formats import counted, percentages
from attribution.meters import TOKEN_KINDS
from attribution.money import ZERO, add, total
from attribution.periods import BillingPeriod, Span
from attribution.reporting.answers import Answer
from attribution.reporting.selections import EVERYTHING, Selection
from attribution.reporting.spans import Freshness
from attribution.scopes import CHARGE_DIMENSIONS

AMOUNTS = ("billed", "estimated", "total", "requests", "tokens")
HEADER = (
    "period", "metric", "basis", "where", "dimension", "value", "name", "currency", *AMOUNTS, "share_percent",
)  # fmt: skip


class Metric(StrEnum):
    """The cost metrics of the ledger."""

    BILLED = "billed_cost"
    LIST = "list_cost"
    NET_BILLED = "net_billed_cost"
    EFFECTIVE = "effective_cost"
    NET_EFFECTIVE = "net_effective_cost"


METRIC_HELP = f"{', '.join(Metric)}."


@dataclass(slots=True)
class Row:
    """One value of the dimension in one currency."""

    value: str
    currency: str
    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    requests: int = 0
    tokens: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return add(self.billed, self.estimated)

    def count(self, day_sum: Sum, basis: Basis, metric: str) -> None:
        """Add one day."""
        cost: Decimal = getattr(day_sum.costs, metric)
        if basis is Basis.ESTIMATED:
            self.estimated = add(self.estimated, cost)
        else:
            self.billed = add(self.billed, cost)
        self.requests += day_sum.requests
        self.tokens = add(self.tokens, total(day_sum.units.get(kind.value, ZERO) for kind in TOKEN_KINDS))


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an adjustment changed on the days of a report, in its metric."""

    adjustment: Adjustment
    currency: str
    difference: Decimal

    @classmethod
    def within(cls, span: Span, metric: str, adjustment: Adjustment) -> Iterator[Adjusted]:
        """By currency; none where nothing of the report changed."""
        for currency in adjustment.totals:
            difference = total(
                getattr(changes[currency].difference, metric)
                for day, changes in adjustment.days.items()
                if currency in changes and span.first <= day <= span.last
            )
            if difference:
                yield cls(adjustment, currency, difference)


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """What an owner of the report's cost category got or lost since the month was closed, in the report's metric."""

    period: BillingPeriod
    value: str
    currency: str
    difference: Decimal

    @classmethod
    def within(cls, span: Span, dimension: str, metric: str, adjustments: Iterable[Adjustment]) -> Iterator[OwnerChange]:
        """By month and owner, of adjustments that concern a day of the report."""
        concerned = [a for a in adjustments if any(span.first <= day <= span.last for day in a.days)]
        for period, differences in owner_changes(concerned, dimension):
            for (value, currency), costs in differences.items():
                difference: Decimal = getattr(costs, metric)
                if difference:
                    yield cls(period, value, currency, difference)


def moved_between(changes: Iterable[OwnerChange]) -> Iterator[tuple[BillingPeriod, str, Decimal]]:
    """How much went from some owners to others, by month and currency: what the bill alone brought or took is no part of it."""
    gained: dict[tuple[BillingPeriod, str], Decimal] = defaultdict(Decimal)
    lost: dict[tuple[BillingPeriod, str], Decimal] = defaultdict(Decimal)
    for change in changes:
        side = gained if change.difference > 0 else lost
        key = (change.period, change.currency)
        side[key] = add(side[key], change.difference.copy_abs())
    for period, currency in sorted(gained.keys() & lost.keys()):
        yield period, currency, min(gained[period, currency], lost[period, currency])


@dataclass(frozen=True, slots=True)
class CostReport:
    """The rows of each currency, largest first, what nobody owns last: of all charges, or of those of a selection.

    `names` are what people call some of the values: accounts.
    """

    span: Span
    dimension: str
    metric: str
    freshness: Freshness
    by_currency: Mapping[str, Sequence[Row]]
    notes: Sequence[str] = field(default_factory=tuple)
    adjustments: Sequence[Adjusted] = field(default_factory=tuple)
    owner_changes: Sequence[OwnerChange] = field(default_factory=tuple)
    where: Selection = EVERYTHING
    names: Mapping[str, str] = field(default_factory=dict)


DaySums = tuple[DayPointer, Mapping[tuple[str, str], Sum]]


def rows_by_currency(days: Iterator[DaySums], metric: str) -> dict[str, Sequence[Row]]:
    """The sums of days as rows of a report."""
    rows: dict[tuple[str, str], Row] = {}
    for pointer, sums in days:
        for (value, currency), day_sum in sums.items():
            row = rows.setdefault((value, currency), Row(value, currency))
            row.count(day_sum, pointer.basis, metric)
    by_currency: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows.values(), key=lambda r: (r.value == UNALLOCATED, -r.total, r.value)):
        by_currency[row.currency].append(row)
    return dict(sorted(by_currency.items()))


def as_unallocated(sums: Mapping[tuple[str, str], Sum]) -> dict[tuple[str, str], Sum]:
    """The sums of a day as one unallocated amount in each currency."""
    collapsed: dict[tuple[str, str], Sum] = {}
    for (_, currency), day_sum in sums.items():
        key = (UNALLOCATED, currency)
        collapsed[key] = collapsed[key] + day_sum if key in collapsed else day_sum
    return collapsed


def prove(pointer: DayPointer, sums: Mapping[tuple[str, str], Sum]) -> None:
    """Refuse sums that do not add up to the total of their day."""
    added: dict[str, Sum] = defaultdict(Sum)
    for (_, currency), day_sum in sums.items():
        added[currency] = added[currency] + day_sum
    if {currency: day_sum.costs for currency, day_sum in added.items()} != dict(pointer.totals):
        raise unproven(pointer)


def unproven(pointer: DayPointer) -> DayUnproven:
    """A day whose parts are not what its pointer says."""
    return DayUnproven(
        f"the parts of {pointer.usage_date} do not add up to its total",
        f"Version {pointer.version} was replaced while it was read, or is damaged.",
        "Ask again. If it fails again, restore the ledger table to a time before it was changed by hand.",
    )


def defined_later(pointers: Sequence[DayPointer], dimension: str) -> list[str]:
    """A note on days that were allocated before a cost category existed."""
    without = [p for p in pointers if not p.is_summed_by(dimension)]
    if not without:
        return []
    return [
        f"{counted(len(without), 'day')} from {without[0].usage_date} on were allocated before {dimension!r} was defined"
        " and count as unallocated here until they are allocated again."
    ]


def notes(pointers: Sequence[DayPointer], dimensions: Iterable[str], metric: str) -> tuple[str, ...]:
    """What a reader of the report should know of it."""
    categories = [name for name in dict.fromkeys(dimensions) if name not in CHARGE_DIMENSIONS]
    found = [note for category in categories for note in defined_later(pointers, category)]
    if metric == Metric.LIST:
        found.append("The bill states no public price for Marketplace models: their billed days count as zero in list cost.")
    return tuple(found)


def answer_of(made: CostReport) -> Answer:
    """The report for programs. CSV has a row for each value in each currency."""
    documents: list[dict[str, Any]] = []
    flat: list[tuple[object, ...]] = []
    for currency, rows in made.by_currency.items():
        shares = percentages([row.total for row in rows])
        values = [
            {
                "value": row.value,
                "name": made.names.get(row.value, ""),
                "is_unallocated": row.value == UNALLOCATED,
                "billed": row.billed,
                "estimated": row.estimated,
                "total": row.total,
                "requests": row.requests,
                "tokens": row.tokens,
                "share_percent": share,
            }
            for row, share in zip(rows, shares, strict=True)
        ]
        documents.append({"currency": currency, "total": sums_of(rows), "rows": values})
        same = (str(made.span), made.metric, made.freshness.basis, "; ".join(made.where.in_words()), made.dimension)
        flat += [(*same, v["value"], v["name"], currency, *(v[name] for name in (*AMOUNTS, "share_percent"))) for v in values]
    document = {
        "span": {"from": made.span.first, "to": made.span.last},
        "dimension": made.dimension,
        "where": dict(made.where.values),
        "metric": made.metric,
        **made.freshness.document(),
        "currencies": documents,
        "adjustments": [
            {
                "billing_period": str(adjusted.adjustment.period),
                "changed_at": adjusted.adjustment.changed_at,
                "execution_id": adjusted.adjustment.execution_id,
                "currency": adjusted.currency,
                "difference": adjusted.difference,
            }
            for adjusted in made.adjustments
        ],
        "owner_changes": [
            {
                "billing_period": str(change.period),
                "value": change.value,
                "currency": change.currency,
                "difference": change.difference,
            }
            for change in made.owner_changes
        ],
        "notes": made.notes,
    }
    return Answer(document, HEADER, flat, lists=(("currencies", "rows"),))


def sums_of(rows: Sequence[Row]) -> dict[str, object]:
    """The total of rows of one currency, in the form of a row."""
    return {
        "billed": total(row.billed for row in rows),
        "estimated": total(row.estimated for row in rows),
        "total": total(row.total for row in rows),
        "requests": sum(row.requests for row in rows),
        "tokens": total(row.tokens for row in rows),
    }
