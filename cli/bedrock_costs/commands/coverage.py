"""`coverage`: how much of a period has an owner, how much of it was measured, and what to do about each gap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Annotated, Any

import typer

from attribution.coverage import REMEDIES, Gap
from attribution.flows.serve_reports import report_coverage
from attribution.formats import counted, money, number, percent_text, two_columns_adding_up
from attribution.money import add, total
from attribution.periods import BillingPeriod
from attribution.reporting.costs import METRIC_HELP, Metric
from attribution.reporting.coverage import BILLED, ESTIMATED, PLACES, CoverageReport, Section, answer_of, units_of
from attribution.reporting.selections import NO_VALUE
from attribution.reporting.spans import chosen_span
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import AsOf, parse_day, parse_period
from bedrock_costs.stack import now

_NEEDS_A_BILL = ("billed_units", "counted_percent", "billed_cost", "estimate_percent")
_DISPENSABLE = {"requests": 1, "calls_without_log_record": 2, "unmeasured_calls": 3, "unpriced_units": 4}


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
    stack = options.stack
    made = report_coverage(
        chosen_span(period, first, last, now().date()),
        days=stack.days(),
        policy=stack.policy(),
        by=[name.strip() for name in by.split(",") if by],
        category=category,
        metric=metric.value,
        as_of=as_of,
        asked=as_of,
    )
    options.screen.emit(result_of(made, units=units))


def result_of(made: CoverageReport, *, units: bool) -> Result:
    """Coverage in every form."""
    return Result.of(answer_of(made, units=units), lambda screen: _render(made, screen, units=units))


def _render(made: CoverageReport, screen: Screen, *, units: bool) -> None:
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
            "owned" if row.gap is Gap.NONE else row.gap.replace("_", " "),
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
    columns += [Column("allocated", is_number=True, dispensable=1)]
    columns += [Column(name, is_number=True) for name in ("unallocated", "cost")]
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
        for values, found in units_of(section)
    ]
    titles = [Column(name) for name in by or ("",)]
    titles += [Column(columns[name][0], is_number=True, dispensable=_DISPENSABLE.get(name, 0)) for name in shown]
    return Grid(title, titles, cells)
