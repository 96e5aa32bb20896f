"""`budgets`: where every budget stands in the period that runs now, or stood in a month, and where it is going."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.budgets import PERIOD_OVER, Budget
from attribution.flows.evaluate_budgets import Judged
from attribution.flows.serve_reports import Standings, budget_standings
from attribution.formats import counted, money, number
from attribution.periods import BillingPeriod
from attribution.reporting.budgets import NO_NOTIFICATIONS, answer_of
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_period
from bedrock_costs.stack import now


def budgets(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One budget. Default: all.")] = None,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(
            parser=parse_period, metavar="YYYY-MM", help="All periods with a day in this month. Default: those that run now."
        ),
    ] = None,
) -> None:
    """Show where budgets stand, and where they are going.

    For the period that runs now in each budget's time zone, or those of a month: what is spent of the limit, billed and
    estimated; the pace, which is the spend against an even use of the limit; the forecast of the period's total with its 80 %
    interval, how probably it breaks the limit, and when; and the state, ALARM where a notification's threshold is passed now.
    Nothing is written, and no alert is raised.

    Example: bedrock-costs budgets "search monthly" --period 2026-10
    """
    options = options_of(ctx)
    stack = options.stack
    found = budget_standings(name, policy=stack.policy(), days=stack.days(), sums=stack.budget_sums(), clock=now, month=period)
    options.screen.emit(result_of(found))


def result_of(found: Standings) -> Result:
    """The budgets in every form."""
    judged = found.judged
    answer = answer_of(found.defined, judged.evaluations, judged.not_evaluated, judged.without_limit)
    return Result.of(answer, lambda screen: _render(found.chosen, answer.document["budgets"], judged, screen))


def _render(chosen: Sequence[Budget], documents: Sequence[Mapping[str, Any]], judged: Judged, screen: Screen) -> None:
    if not chosen:
        screen.line("The policy has no budgets.")
        return
    if documents:
        screen.grid(Grid("Budgets", _columns(), [_row(document) for document in documents]))
    for line in _footnotes(documents):
        screen.line(line)
    if judged.not_evaluated:
        screen.line(
            f"Not evaluated, because some day of the period is not allocated by their cost category yet: "
            f"{', '.join(judged.not_evaluated)}. `bedrock-costs replay days` allocates it."
        )
    if judged.without_limit:
        screen.line(f"Without a limit in this period: {', '.join(judged.without_limit)}.")
    judged_names = {e.budget.name for e in judged.evaluations} | {*judged.not_evaluated, *judged.without_limit}
    idle = [b.name for b in chosen if b.name not in judged_names]
    if idle:
        screen.line(f"{counted(len(idle), 'budget has', 'budgets have')} not begun, or ended: {', '.join(idle)}.")


def _footnotes(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What figures lack: days that the ledger does not have, and forecasts. What is said of many budgets is said once."""
    absent = Counter(
        (document["period"], document["days_without_data"], document["complete_days"])
        for document in documents
        if document["days_without_data"]
    )
    for (period, missing, complete), count in absent.items():
        of = f"{missing} of {counted(complete, 'complete day')}"
        yield f"{period}: without data {of}, counted as nothing spent ({counted(count, 'budget')})."
    reasons: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        if document["no_forecast"] and document["no_forecast"] != PERIOD_OVER:
            reasons[document["no_forecast"]].append(f"{document['budget']}, {document['period']}")
    for reason, names in reasons.items():
        yield f"{'; '.join(names)}: no forecast: {reason}."


def _columns() -> list[Column]:
    return [
        Column("budget"),
        Column("period", no_wrap=True),
        Column("limit", is_number=True),
        Column("spent", is_number=True),
        Column("estimated", is_number=True, dispensable=1),
        Column("%", is_number=True),
        Column("pace", is_number=True, dispensable=2),
        Column("forecast", is_number=True),
        Column("P10-P90", is_number=True, dispensable=3),
        Column("breaks", is_number=True),
        Column("on", no_wrap=True, dispensable=1),
        Column("state", no_wrap=True),
    ]


def _row(document: Mapping[str, Any]) -> tuple[str, ...]:
    unit = document["unit"]
    has_forecast = document["forecast_p50"] is not None
    return (
        document["budget"],
        document["period"],
        _amount(document["limit"], unit),
        _amount(document["actual"], unit),
        _amount(document["estimated"], unit),
        f"{document['percent']} %",
        f"{document['pace_percent']} %",
        _amount(document["forecast_p50"], unit) if has_forecast else "–",
        f"{_amount(document['forecast_p10'], unit)} - {_amount(document['forecast_p90'], unit)}" if has_forecast else "–",
        f"{document['probability_percent']} %" if has_forecast else "–",
        document["breach_on"].isoformat() if document["breach_on"] else "–",
        "no alerts" if document["state"] == NO_NOTIFICATIONS else document["state"],
    )


def _amount(amount: Decimal, unit: str) -> str:
    return money(amount, unit) if unit.isupper() else f"{number(amount.to_integral_value())} {unit}"
