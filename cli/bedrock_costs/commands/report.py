"""`report`: what a period cost, by one dimension. Billed and estimated stay apart, currencies are never added."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.adjustments import Adjustment
from attribution.charges import Basis
from attribution.days import DIMENSIONS, UNALLOCATED, DayPointer, Sum
from attribution.meters import TOKEN_KINDS
from attribution.money import ZERO, add, total
from attribution.periods import BillingPeriod
from bedrock_costs.application import options_of
from bedrock_costs.failures import Failure
from bedrock_costs.formats import clean, counted, instant, money, number, percent_text, percentages, two_columns_adding_up
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import AsOf, Freshness, Span, parse_day, parse_period, read_pointers
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from adapters.ledger_days import DynamoLedgerDays

NO_VALUE = "(none)"
_DISPENSABLE = {"tokens": 2, "requests": 1}
HEADER = ("value", "currency", "billed", "estimated", "total", "requests", "tokens", "share_percent")


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
class Report:
    """The rows of each currency, largest first, what nobody owns last."""

    span: Span
    dimension: str
    metric: str
    freshness: Freshness
    by_currency: Mapping[str, Sequence[Row]]
    notes: Sequence[str] = field(default_factory=tuple)
    adjustments: Sequence[Adjusted] = field(default_factory=tuple)


def report(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="DIMENSION",
            help=f"{', '.join(DIMENSIONS)}, or a cost category. Default: the first cost category of the policy.",
        ),
    ] = None,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
    first: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First usage day, UTC.")
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last usage day, included. Default: today."),
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Show what a period cost, by team or any other dimension.

    Days that AWS has billed and days that are still estimated are shown apart. What nobody could be found for is a row of
    its own, the last one. Rounded rows add up to the printed total; JSON and CSV hold the exact amounts.

    Example: bedrock-costs report --period 2026-10 --by model
    """
    options = options_of(ctx)
    span = Span.chosen(period, first, last, now().date())
    options.screen.emit(result_of(make_report(options.stack, span, by, metric.value, as_of)))


def make_report(stack: Stack, span: Span, by: str | None, metric: str, as_of: datetime | None = None) -> Report:
    """Read the ledger, as it is or as it was at a moment, and add it up."""
    dimension = _dimension(by, list(stack.policy().document().category_names()))
    days = stack.days()
    pointers = read_pointers(days, span, as_of)
    rows: dict[tuple[str, str], Row] = {}
    for pointer, sums in day_sums(days, pointers, dimension):
        for (value, currency), day_sum in sums.items():
            row = rows.setdefault((value, currency), Row(value, currency))
            row.count(day_sum, pointer.basis, metric)
    by_currency: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows.values(), key=lambda r: (r.value == UNALLOCATED, -r.total, r.value)):
        by_currency[row.currency].append(row)
    return Report(
        span=span,
        dimension=dimension,
        metric=metric,
        freshness=Freshness.of(span, pointers, as_of),
        by_currency=dict(sorted(by_currency.items())),
        notes=_notes(pointers, dimension, metric),
        adjustments=[
            adjusted
            for period in span.periods()
            for adjustment in days.adjustments(period)
            if as_of is None or adjustment.changed_at is None or adjustment.changed_at <= as_of
            for adjusted in Adjusted.within(span, metric, adjustment)
        ],
    )


def _dimension(by: str | None, categories: Sequence[str]) -> str:
    if by is None:
        return categories[0] if categories else "account"
    return one_of([*DIMENSIONS, *categories], by, "dimension and no cost category", "--by")


def one_of(known: Sequence[str], name: str, noun: str, option: str) -> str:
    """A name that is known; a wrong option that says what was meant where it is not."""
    if name in known:
        return name
    alike = get_close_matches(name, known, n=1)
    hint = f"Did you mean {alike[0]}?" if alike else f"Choose from {', '.join(known)}."
    raise typer.BadParameter(f"{clean(name)!r} is no {noun}. {hint}", param_hint=option)


def day_sums(
    days: DynamoLedgerDays, pointers: Sequence[DayPointer], dimension: str
) -> Iterator[tuple[DayPointer, Mapping[tuple[str, str], Sum]]]:
    """Each day by a dimension, proven against its total.

    A day that was allocated before a cost category existed has no sums for it: it counts as unallocated, in full.
    """
    without = [p for p in pointers if not p.is_summed_by(dimension)]
    found = days.sums([p for p in pointers if p.is_summed_by(dimension)], dimension)
    instead = days.sums(without, "account")
    for pointer in pointers:
        sums = found.get(pointer.usage_date)
        if sums is None:
            sums = _as_unallocated(instead[pointer.usage_date])
        _prove(pointer, sums)
        yield pointer, sums


def _as_unallocated(sums: Mapping[tuple[str, str], Sum]) -> dict[tuple[str, str], Sum]:
    collapsed: dict[tuple[str, str], Sum] = {}
    for (_, currency), day_sum in sums.items():
        key = (UNALLOCATED, currency)
        collapsed[key] = collapsed[key] + day_sum if key in collapsed else day_sum
    return collapsed


def _prove(pointer: DayPointer, sums: Mapping[tuple[str, str], Sum]) -> None:
    added: dict[str, Sum] = defaultdict(Sum)
    for (_, currency), day_sum in sums.items():
        added[currency] = added[currency] + day_sum
    if {currency: day_sum.costs for currency, day_sum in added.items()} != dict(pointer.totals):
        raise damaged(pointer)


def damaged(pointer: DayPointer) -> Failure:
    """A day whose parts are not what its pointer says."""
    return Failure(
        f"the parts of {pointer.usage_date} do not add up to its total",
        f"Version {pointer.version} was replaced while it was read, or is damaged.",
        "Run the command again. If it fails again, restore the ledger table to a time before it was changed by hand.",
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


def _notes(pointers: Sequence[DayPointer], dimension: str, metric: str) -> tuple[str, ...]:
    notes = defined_later(pointers, dimension)
    if metric == Metric.LIST:
        notes.append("The bill states no public price for Marketplace models: their billed days count as zero in list cost.")
    return tuple(notes)


def result_of(made: Report) -> Result:
    """The report in every form."""
    documents: list[dict[str, Any]] = []
    flat: list[tuple[object, ...]] = []
    for currency, rows in made.by_currency.items():
        shares = percentages([row.total for row in rows])
        values = [
            {
                "value": row.value,
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
        documents.append({"currency": currency, "total": _total(rows), "rows": values})
        flat += [(v["value"], currency, *(v[name] for name in HEADER[2:])) for v in values]
    document = {
        "span": {"from": made.span.first, "to": made.span.last},
        "dimension": made.dimension,
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
        "notes": made.notes,
    }
    return Result(document, HEADER, flat, lambda screen: _render(made, screen))


def _total(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "billed": total(row.billed for row in rows),
        "estimated": total(row.estimated for row in rows),
        "total": total(row.total for row in rows),
        "requests": sum(row.requests for row in rows),
        "tokens": total(row.tokens for row in rows),
    }


def _render(made: Report, screen: Screen) -> None:
    for currency, rows in made.by_currency.items():
        billed, estimated = two_columns_adding_up([row.billed for row in rows], [row.estimated for row in rows])
        shares = percentages([row.total for row in rows])
        cells = [
            (
                row.value or NO_VALUE,
                money(row.billed, currency, billed[i]),
                money(row.estimated, currency, estimated[i]),
                money(row.total, currency, billed[i] + estimated[i]),
                number(row.requests),
                number(row.tokens),
                percent_text(shares[i], is_something=row.total > 0),
            )
            for i, row in enumerate(rows)
        ]
        sums = _total(rows)
        footer = (
            "total",
            money(total(row.billed for row in rows), currency, total(billed)),
            money(total(row.estimated for row in rows), currency, total(estimated)),
            money(total(row.total for row in rows), currency, total((*billed, *estimated))),
            f"{sums['requests']:,}",
            number(total(row.tokens for row in rows)),
            "100.0 %" if shares and shares[0] is not None else percent_text(None),
        )
        columns = [
            Column(made.dimension),
            *(Column(name, is_number=True, dispensable=_DISPENSABLE.get(name, 0)) for name in (*HEADER[2:7], "share")),
        ]
        styles = ["yellow" if row.value == UNALLOCATED else "" for row in rows]
        title = f"{made.metric} of {made.span} by {made.dimension}, {currency}"
        screen.grid(Grid(title, columns, cells, footer, styles))
    screen.line(made.freshness.sentence(), style="dim")
    for adjusted in made.adjustments:
        of = adjusted.adjustment
        on = f" on {instant(of.changed_at)}" if of.changed_at else ""
        screen.line(f"Adjusted by {money(adjusted.difference, adjusted.currency)}{on}, after {of.period} was closed.")
    for note in made.notes:
        screen.note(note)
