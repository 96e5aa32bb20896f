"""`report`: what a period cost, by one dimension. Billed and estimated stay apart, currencies are never added."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer

from attribution.days import UNALLOCATED
from attribution.flows.serve_reports import report_costs
from attribution.formats import instant, money, number, percent_text, percentages, principal, two_columns_adding_up
from attribution.money import total
from attribution.periods import BillingPeriod
from attribution.reporting.costs import AMOUNTS, METRIC_HELP, CostReport, Metric, answer_of, moved_between, sums_of
from attribution.reporting.selections import NO_VALUE
from attribution.reporting.spans import chosen_span
from attribution.scopes import CHARGE_DIMENSIONS
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import AsOf, parse_day, parse_period
from bedrock_costs.stack import now

_DISPENSABLE = {"tokens": 2, "requests": 1}


def report(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIMENSION",
            help=f"{', '.join(CHARGE_DIMENSIONS)}, or a cost category. Default: the first cost category of the policy.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIMENSION=VALUE",
            help=f"Only charges with this value, as a report shows it; {NO_VALUE} and {UNALLOCATED}, too. Repeatable.",
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

    With --where, and by a dimension that days are not summed by (usage_type, inference_profile, provider), the charges of the
    days are read: that takes seconds for a day of many thousand charges.

    Example: bedrock-costs report --period 2026-10 --by model --where team=growth
    """
    options = options_of(ctx)
    span = chosen_span(period, first, last, now().date())
    stack = options.stack
    with options.screen.progress("days") as on_day:
        made = report_costs(
            span,
            days=stack.days(),
            policy=stack.policy(),
            directory=stack.directory(),
            by=_one(by),
            where=where or (),
            metric=metric.value,
            as_of=as_of,
            asked=as_of,
            on_day=on_day,
        )
    options.screen.emit(result_of(made))


def _one(by: Sequence[str] | None) -> str | None:
    if by and len(by) > 1:
        raise typer.BadParameter(
            f"a report has one dimension: `--by {by[1]} --where {by[0]}=VALUE` shows the parts of one value", param_hint="--by"
        )
    return by[0] if by else None


def result_of(made: CostReport) -> Result:
    """The report in every form."""
    return Result.of(answer_of(made), lambda screen: _render(made, screen))


def _shown(made: CostReport, value: str) -> str:
    """A value as people know it: an account with its name, a principal without what all of their ARNs have."""
    if made.dimension == "iam_principal":
        return principal(value) or NO_VALUE
    name = made.names.get(value)
    return f"{value} {name}" if name else value or NO_VALUE


def _render(made: CostReport, screen: Screen) -> None:
    for currency, rows in made.by_currency.items():
        billed, estimated = two_columns_adding_up([row.billed for row in rows], [row.estimated for row in rows])
        shares = percentages([row.total for row in rows])
        cells = [
            (
                _shown(made, row.value),
                money(row.billed, currency, billed[i]),
                money(row.estimated, currency, estimated[i]),
                money(row.total, currency, billed[i] + estimated[i]),
                number(row.requests),
                number(row.tokens),
                percent_text(shares[i], is_something=row.total > 0),
            )
            for i, row in enumerate(rows)
        ]
        sums = sums_of(rows)
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
            *(Column(name, is_number=True, dispensable=_DISPENSABLE.get(name, 0)) for name in (*AMOUNTS, "share")),
        ]
        styles = ["yellow" if row.value == UNALLOCATED else "" for row in rows]
        where = f" where {' and '.join(made.where.in_words())}" if made.where.values else ""
        title = f"{made.metric} of {made.span} by {made.dimension}{where}, {currency}"
        screen.grid(Grid(title, columns, cells, footer, styles))
    screen.line(made.freshness.sentence(), style="dim")
    for adjusted in made.adjustments:
        of = adjusted.adjustment
        on = f" on {instant(of.changed_at)}" if of.changed_at else ""
        screen.line(f"Adjusted by {money(adjusted.difference, adjusted.currency)}{on}, after {of.period} was closed.")
    for closed, currency, amount in moved_between(made.owner_changes):
        screen.line(
            f"{money(amount, currency)} has other owners in {made.dimension} since {closed} was closed: "
            f"`bedrock-costs adjustments --period {closed}` says whose."
        )
    for note in made.notes:
        screen.note(note)
