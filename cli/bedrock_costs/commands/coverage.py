"""`coverage`: how much of a period has an owner, how much of it was measured, and what to do about each gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.charges import Basis
from attribution.coverage import REMEDIES, Coverage, Gap, Measure, Place, verify_coverage, without_owners
from attribution.days import DayPointer
from attribution.errors import ConservationViolated
from attribution.money import ZERO, add, subtract, total
from attribution.periods import BillingPeriod
from bedrock_costs.application import options_of
from bedrock_costs.commands.report import METRIC_HELP, Metric, damaged, defined_later, one_of
from bedrock_costs.formats import counted, money, number, percent, percent_text, two_columns_adding_up
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import AsOf, Freshness, Span, parse_day, parse_period, read_pointers
from bedrock_costs.stack import Stack, now

BILLED, ESTIMATED = "billed", "estimated"
PLACES: Mapping[str, Callable[[Place], str]] = {
    "account": lambda place: place.account_id,
    "region": lambda place: place.region,
    "model": lambda place: place.model,
    "token_kind": lambda place: place.token_kind,
}
COSTS = ("cost", "allocated", "unallocated")
UNITS = (
    "billed_units", "counted_units", "counted_percent", "billed_cost", "estimated_cost", "estimate_percent", "requests",
    "unmeasured_calls", "calls_without_log_record", "unpriced_units",
)  # fmt: skip
NO_VALUE = "(none)"
_NEEDS_A_BILL = ("billed_units", "counted_percent", "billed_cost", "estimate_percent")
_DISPENSABLE = {"requests": 1, "calls_without_log_record": 2, "unmeasured_calls": 3, "unpriced_units": 4}


@dataclass(slots=True)
class Row:
    """One gap at one combination of the chosen dimensions."""

    gap: Gap
    values: tuple[str, ...]
    cost: Decimal = ZERO
    unallocated: Decimal = ZERO

    @property
    def allocated(self) -> Decimal:
        return subtract(self.cost, self.unallocated)


@dataclass(frozen=True, slots=True)
class Section:
    """The days of one basis in one currency: gaps, the worst first; units by the chosen dimensions; where each gap lies."""

    currency: str
    basis: str
    rows: Sequence[Row]
    units: Mapping[tuple[str, ...], tuple[Measure, Decimal]]
    whereabouts: Mapping[Gap, Sequence[str]]

    @property
    def cost(self) -> Decimal:
        return total(row.cost for row in self.rows)

    @property
    def unallocated(self) -> Decimal:
        return total(row.unallocated for row in self.rows)

    @property
    def allocated(self) -> Decimal:
        return subtract(self.cost, self.unallocated)

    @property
    def capture_percent(self) -> Decimal | None:
        return percent(self.allocated, self.cost)


@dataclass(frozen=True, slots=True)
class Report:
    """Coverage of a span."""

    span: Span
    category: str
    metric: str
    by: tuple[str, ...]
    freshness: Freshness
    sections: Sequence[Section]
    notes: Sequence[str]


def coverage(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="DIMENSIONS", help=f"Any of {', '.join(PLACES)}, joined by commas. Default: gaps alone.")
    ] = "",
    category: Annotated[
        str | None, typer.Option(metavar="NAME", help="Cost category of the owners. Default: the policy's first.")
    ] = None,
    units: Annotated[
        bool, typer.Option("--units", help="Show units instead: billed, counted in logs, and the estimate beside the bill.")
    ] = False,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
    first: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First usage day, UTC.")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last usage day, included.")
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Show how much cost has an owner, and what stands between the rest and one.

    Every cent of a period is in exactly one gap: why nobody owns it, or why no request behind it is known. The worst gaps come
    first, each with what to do about it. The capture rate is allocated cost in percent of all cost.

    Example: bedrock-costs coverage --period 2026-10 --by account,region
    """
    options = options_of(ctx)
    span = Span.chosen(period, first, last, now().date())
    chosen = tuple(one_of(list(PLACES), name.strip(), "dimension of coverage", "--by") for name in by.split(",") if by)
    options.screen.emit(result_of(make_report(options.stack, span, chosen, category, metric.value, as_of), units=units))


def make_report(
    stack: Stack,
    span: Span,
    by: tuple[str, ...] = (),
    category: str | None = None,
    metric: str = Metric.BILLED.value,
    as_of: datetime | None = None,
) -> Report:
    """Read the coverage of the span's days, prove it against their totals, and add it up."""
    categories = list(stack.policy().document().category_names())
    chosen = one_of(categories, category, "cost category", "--category") if category else next(iter(categories), "")
    days = stack.days()
    pointers = read_pointers(days, span, as_of)
    return Report(
        span=span,
        category=chosen,
        metric=metric,
        by=by,
        freshness=Freshness.of(span, pointers, as_of),
        sections=sections(pointers, days.coverage(pointers), by, chosen, metric),
        notes=defined_later(pointers, chosen),
    )


def sections(
    pointers: Sequence[DayPointer],
    covered: Mapping[date, Mapping[Place, Coverage]],
    by: Sequence[str],
    category: str,
    metric: str,
) -> list[Section]:
    """Days by currency and basis. Those that were allocated before a cost category existed have no owner in it, in full."""
    found: dict[tuple[str, str], list[tuple[Place, Coverage]]] = defaultdict(list)
    for pointer in pointers:
        of_day = covered[pointer.usage_date]
        try:
            verify_coverage(of_day, pointer.totals)
        except ConservationViolated as error:
            raise damaged(pointer) from error
        basis = ESTIMATED if pointer.basis is Basis.ESTIMATED else BILLED
        for place, one in of_day.items():
            is_later = not pointer.is_summed_by(category)
            found[place.currency, basis].append((place, without_owners(one, category) if is_later else one))
    return [_section(*key, places, by, category, metric) for key, places in sorted(found.items())]


def _section(
    currency: str, basis: str, places: Sequence[tuple[Place, Coverage]], by: Sequence[str], category: str, metric: str
) -> Section:
    rows: dict[tuple[Gap, tuple[str, ...]], Row] = {}
    units: dict[tuple[str, ...], tuple[Measure, Decimal]] = {}
    lie: dict[Gap, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for place, one in places:
        values = tuple(PLACES[name](place) for name in by)
        measure, cost = units.get(values, (Measure(), ZERO))
        is_metered = bool(one.measure.billed or one.measure.counted)
        units[values] = (measure + one.measure, add(cost, getattr(one.usage_costs, metric)) if is_metered else cost)
        for gap, part in one.parts.items():
            row = rows.setdefault((gap, values), Row(gap, values))
            without: Decimal = getattr(part.unallocated[category], metric) if category in part.unallocated else ZERO
            row.cost = add(row.cost, getattr(part.costs, metric))
            row.unallocated = add(row.unallocated, without)
            name = f"{place.account_id} {place.region}".strip()
            if without:
                lie[gap][name] = add(lie[gap][name], without)
    ordered = sorted(rows.values(), key=lambda r: (-abs(r.unallocated), r.gap is Gap.NONE, -abs(r.cost), r.gap, r.values))
    whereabouts = {gap: sorted(amounts, key=lambda n: (-abs(amounts[n]), n)) for gap, amounts in lie.items()}
    known = {values: found for values, found in sorted(units.items()) if found[0] != Measure()}
    return Section(currency, basis, ordered, known, whereabouts)


def result_of(made: Report, *, units: bool) -> Result:
    """Coverage in every form. CSV holds the gaps or, where they were asked for, the units."""
    header = ("basis", "currency", *made.by, *(UNITS if units else ("gap", *COSTS)))
    flat: list[tuple[object, ...]] = []
    for section in made.sections:
        rows = _units(section) if units else _gaps(section)
        flat += [(section.basis, section.currency, *values, *document.values()) for values, document in rows]
    document = {
        "span": {"from": made.span.first, "to": made.span.last},
        "cost_category": made.category,
        "metric": made.metric,
        **made.freshness.document(),
        "coverage": [_document(made, section) for section in made.sections],
        "notes": made.notes,
    }
    return Result(document, header, flat, lambda screen: _render(made, screen, units=units))


def _document(made: Report, section: Section) -> dict[str, Any]:
    def with_values(rows: Iterator[tuple[tuple[str, ...], dict[str, Any]]]) -> list[dict[str, Any]]:
        return [dict(zip(made.by, values, strict=True)) | document for values, document in rows]

    gaps = [
        document | {"remedy": REMEDIES[Gap(document["gap"])], "where": section.whereabouts.get(Gap(document["gap"]), [])}
        for document in with_values(_gaps(section))
    ]
    return {
        "basis": section.basis,
        "currency": section.currency,
        **{name: getattr(section, name) for name in (*COSTS, "capture_percent")},
        "gaps": gaps,
        "units": with_values(_units(section)),
    }


def _gaps(section: Section) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for row in section.rows:
        yield row.values, {"gap": row.gap.value, **{name: getattr(row, name) for name in COSTS}}


def _units(section: Section) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for values, (measure, cost) in section.units.items():
        is_comparable = section.basis == BILLED and section.currency == "USD"
        counts: tuple[object, ...] = (
            measure.billed,
            measure.counted,
            percent(measure.counted, measure.billed),
            cost if section.basis == BILLED else ZERO,
            measure.estimated,
            percent(measure.estimated, cost) if is_comparable else None,
            measure.requests,
            measure.unmeasured,
            measure.observed_only,
            measure.unpriced,
        )
        yield values, dict(zip(UNITS, counts, strict=True))


def _render(made: Report, screen: Screen, *, units: bool) -> None:
    for section in made.sections:
        of = f"{section.basis} days, {section.currency}"
        if units:
            screen.grid(units_grid(section, made.by, f"tokens of {made.span}, {of}"))
            continue
        screen.grid(gaps_grid(section, made.by, f"{made.span} by gap, {made.category or 'no cost category'}, {of}"))
        for line in remedies(section, made.metric):
            screen.line(line)
        screen.line()
    screen.line(made.freshness.sentence(), style="dim")
    for note in made.notes:
        screen.note(note)


def gaps_grid(section: Section, by: Sequence[str], title: str) -> Grid:
    """What each gap costs, the worst first; rounded rows add up to the printed totals."""
    currency = section.currency
    allocated, unallocated = two_columns_adding_up(
        [row.allocated for row in section.rows], [row.unallocated for row in section.rows]
    )
    cells = [
        (
            row.gap.replace("_", " "),
            *(value or NO_VALUE for value in row.values),
            money(row.allocated, currency, allocated[i]),
            money(row.unallocated, currency, unallocated[i]),
            money(row.cost, currency, add(allocated[i], unallocated[i])),
        )
        for i, row in enumerate(section.rows)
    ]
    footer = (
        "total",
        *("" for _ in by),
        money(section.allocated, currency, total(allocated)),
        money(section.unallocated, currency, total(unallocated)),
        money(section.cost, currency, total((*allocated, *unallocated))),
    )
    columns = [Column("gap", no_wrap=True), *(Column(name) for name in by)]
    columns += [Column(name, is_number=True) for name in ("allocated", "unallocated", "cost")]
    return Grid(title, columns, cells, footer, ["" if row.gap is Gap.NONE else "yellow" for row in section.rows])


def remedies(section: Section, metric: str) -> Iterator[str]:
    """The capture rate, and what to do about each gap that keeps cost without an owner; the worst comes first."""
    whole = money(section.cost, section.currency)
    yield f"Capture rate: {percent_text(section.capture_percent)} of {whole} ({metric}) have an owner."
    if section.basis == ESTIMATED and (incomplete := _incomplete(section)):
        yield f"Incomplete in the estimate: {', '.join(incomplete)}."
    for gap in dict.fromkeys(row.gap for row in section.rows if row.unallocated):
        worst, *others = section.whereabouts[gap]
        more = f" and {len(others)} more" if others else ""
        yield f"  {gap.replace('_', ' ')} ({worst}{more}): {REMEDIES[gap]}"


def _incomplete(section: Section) -> list[str]:
    """What was used and has no cost yet, or only what CloudTrail counted of it."""
    measures = [measure for measure, _ in section.units.values()]
    unpriced = total(measure.unpriced for measure in measures)
    unmeasured, waiting = sum(m.unmeasured for m in measures), sum(m.observed_only for m in measures)
    return [
        *([f"{number(unpriced)} tokens without a price"] if unpriced else []),
        *([f"{counted(unmeasured, 'call')} whose units nothing states"] if unmeasured else []),
        *([f"{counted(waiting, 'call')} without a log record yet"] if waiting else []),
    ]


def units_grid(section: Section, by: Sequence[str], title: str) -> Grid:
    """Tokens of the kinds that logs count, and calls; of estimated days, what no bill is needed for."""
    currency = section.currency
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "billed_units": ("billed tokens", number),
        "counted_units": ("counted", number),
        "counted_percent": ("of billed", percent_text),
        "billed_cost": ("billed", lambda amount: money(amount, currency)),
        "estimated_cost": ("estimate", lambda amount: money(amount, "USD")),
        "estimate_percent": ("of bill", percent_text),
        "requests": ("requests", number),
        "calls_without_log_record": ("without log", number),
        "unmeasured_calls": ("unmeasured", number),
        "unpriced_units": ("unpriced", number),
    }
    shown = [name for name in columns if section.basis == BILLED or name not in _NEEDS_A_BILL]
    cells = [
        (*((value or NO_VALUE for value in values) if by else ("all",)), *(columns[name][1](found[name]) for name in shown))
        for values, found in _units(section)
    ]
    titles = [Column(name) for name in by or ("",)]
    titles += [Column(columns[name][0], is_number=True, dispensable=_DISPENSABLE.get(name, 0)) for name in shown]
    return Grid(title, titles, cells)
