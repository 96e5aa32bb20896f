"""`days`: the ledger days of a period, and what each was made from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import typer

from attribution.charges import Costs
from attribution.days import DayPointer
from attribution.flows.serve_reports import adjustments_of, read_pointers
from attribution.formats import cents_adding_up, instant, money, number
from attribution.money import ZERO, total
from attribution.periods import BillingPeriod, Span
from attribution.reporting.costs import METRIC_HELP, Metric
from attribution.reporting.spans import Freshness, chosen_span
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import AsOf, parse_day, parse_period
from bedrock_costs.stack import now

HEADER = ("usage_date", "basis", "currency", "cost", "charges", "version", "changed_at", "delivery")
_VERSION_SHOWN = 12


def days(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
    first: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First usage day, UTC.")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last usage day, included.")
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Show the days of a period and what each was made from.

    A day is estimated, billed, or final once its bill has an invoice id. Billed days name the delivery that bills them. A day
    that is adjusted has changed since its month was closed.

    Example: bedrock-costs days --period 2026-10
    """
    options = options_of(ctx)
    span = chosen_span(period, first, last, now().date())
    pointers = read_pointers(options.stack.days(), span, as_of)
    adjusted = {day for adjustment in adjustments_of(options.stack.days(), span, as_of) for day in adjustment.days}
    options.screen.emit(result_of(span, pointers, metric.value, adjusted, as_of))


def execution_of(sequence: str) -> str:
    """The execution id in a sequence; empty for an estimated day."""
    return sequence.partition("#")[2]


def _cost(costs: Costs, metric: str) -> Decimal:
    value: Decimal = getattr(costs, metric)
    return value


def result_of(
    span: Span, pointers: list[DayPointer], metric: str, adjusted: Collection[date] = (), as_of: datetime | None = None
) -> Result:
    """The days in every form; a day without any charge costs nothing in no currency."""
    freshness = Freshness.of(span, pointers, as_of)
    documents = [
        {
            "usage_date": p.usage_date,
            "basis": p.basis.value,
            "version": p.version,
            "totals": {currency: {metric: _cost(costs, metric)} for currency, costs in p.totals.items()},
            "charges": p.charge_count,
            "changed_at": p.changed_at,
            "delivery": execution_of(p.sequence),
            "made_from": dict(p.made_from),
            "is_adjusted": p.usage_date in adjusted,
        }
        for p in pointers
    ]
    rows = [
        (
            p.usage_date, p.basis.value, currency, _cost(costs, metric) if costs else ZERO,
            p.charge_count, p.version, p.changed_at, execution_of(p.sequence),
        )
        for p in pointers
        for currency, costs in (p.totals.items() or [("", None)])
    ]  # fmt: skip
    document = {
        "span": {"from": span.first, "to": span.last}, "metric": metric, **freshness.document(), "ledger_days": documents,
    }  # fmt: skip
    return Result(document, HEADER, rows, lambda screen: _render(span, pointers, metric, adjusted, freshness, screen))


def _render(
    span: Span, pointers: list[DayPointer], metric: str, adjusted: Collection[date], freshness: Freshness, screen: Screen
) -> None:
    currencies = sorted({currency for p in pointers for currency in p.totals}) or ["USD"]
    for currency in currencies:
        amounts = [_cost(p.totals.get(currency, Costs()), metric) for p in pointers]
        printed = cents_adding_up(amounts)
        rows = [
            (
                p.usage_date.isoformat(),
                f"{p.basis.value}, adjusted" if p.usage_date in adjusted else p.basis.value,
                money(amounts[i], currency, printed[i]),
                number(p.charge_count),
                p.version[:_VERSION_SHOWN],
                instant(p.changed_at),
                execution_of(p.sequence)[:_VERSION_SHOWN],
            )
            for i, p in enumerate(pointers)
        ]
        columns = [
            Column("usage date", no_wrap=True),
            Column("basis", no_wrap=True),
            Column("cost", is_number=True),
            Column("charges", is_number=True),
            Column("version", style="dim", dispensable=2),
            Column("changed", no_wrap=True, dispensable=1),
            Column("delivery", style="dim"),
        ]
        footer = ("total", "", money(total(amounts), currency, total(printed)), "", "", "", "")
        screen.grid(Grid(f"{metric} of {span} by day, {currency}", columns, rows, footer))
    screen.line(freshness.sentence(), style="dim")
