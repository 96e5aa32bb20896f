"""`budgets`: where every budget stands in the period that runs now, and where it is going."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.budgets import Budget, Evaluation, ancestors, crossings
from attribution.flows.evaluate_budgets import Judged, judge_budgets
from attribution.forecasts import Forecast
from attribution.scopes import describe
from attribution.wording import percent_of
from bedrock_costs.application import options_of
from bedrock_costs.failures import Failure
from bedrock_costs.formats import counted, money, number
from bedrock_costs.reading import ReadOnlySums
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import now

HEADER = (
    "budget",
    "period",
    "time_zone",
    "unit",
    "limit",
    "actual",
    "billed",
    "estimated",
    "percent",
    "pace_percent",
    "forecast_p10",
    "forecast_p50",
    "forecast_p90",
    "probability_percent",
    "breach_on",
    "alarms",
)


def budgets(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One budget. Default: all.")] = None,
) -> None:
    """Show where budgets stand, and where they are going.

    For the period that runs now in each budget's time zone: what is spent of the limit, billed and estimated; the pace, which
    is the spend against an even use of the limit; the forecast of the period's total with its 80 % interval, how probably it
    breaks the limit, and when. Nothing is written, and no alert is raised.

    Example: bedrock-costs budgets "search monthly"
    """
    options = options_of(ctx)
    defined = list(options.stack.policy().budgets())
    chosen = [b for b in defined if name is None or b.name == name]
    if name is not None and not chosen:
        raise Failure(f"there is no budget {name!r}", fix="`bedrock-costs budgets` lists all of them.")
    sums = ReadOnlySums(options.stack.budget_sums())
    judged = judge_budgets(chosen, days=options.stack.days(), sums=sums, clock=now)
    options.screen.emit(result_of(chosen, defined, judged))


def _document(evaluation: Evaluation, parents: Mapping[str, str]) -> dict[str, Any]:
    budget, spend = evaluation.budget, evaluation.spend
    outlook = evaluation.forecast
    known = outlook if isinstance(outlook, Forecast) else None
    return {
        "budget": budget.name,
        "part_of": list(ancestors(budget.name, parents)),
        "counts": describe(budget.scope.filter),
        "metric": budget.scope.measure.metric,
        "period": str(evaluation.period),
        "time_zone": budget.zone_name,
        "unit": budget.unit,
        "limit": evaluation.limit,
        "actual": spend.actual,
        "billed": spend.billed,
        "estimated": spend.estimated,
        "percent": percent_of(spend.actual, evaluation.limit),
        "pace_percent": evaluation.pace_percent,
        "forecast_p10": known.p10 if known else None,
        "forecast_p50": known.p50 if known else None,
        "forecast_p90": known.p90 if known else None,
        "probability_percent": known.probability_percent if known else None,
        "breach_on": known.breach_on if known else None,
        "no_forecast": "" if isinstance(outlook, Forecast) else outlook.reason,
        "alarms": " ".join(
            f"{c.notification.type} {c.notification.threshold_key}" for c in crossings(evaluation) if c.is_crossed
        ),
    }


def result_of(chosen: Sequence[Budget], defined: Sequence[Budget], judged: Judged) -> Result:
    """The budgets in every form."""
    parents = {b.name: b.parent for b in defined if b.parent}
    documents = [_document(evaluation, parents) for evaluation in judged.evaluations]
    rows = [tuple(document[name] for name in HEADER) for document in documents]
    document = {
        "budgets": documents,
        "not_evaluated": list(judged.not_evaluated),
        "without_limit": list(judged.without_limit),
    }
    return Result(document, HEADER, rows, lambda screen: _render(chosen, documents, judged, screen))


def _render(chosen: Sequence[Budget], documents: Sequence[Mapping[str, Any]], judged: Judged, screen: Screen) -> None:
    if not chosen:
        screen.line("The policy has no budgets.")
        return
    if documents:
        screen.grid(Grid("Budgets", _columns(), [_row(document) for document in documents]))
    for document in documents:
        if document["no_forecast"]:
            screen.line(f"{document['budget']}, {document['period']}: no forecast: {document['no_forecast']}.")
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
        Column("on", no_wrap=True),
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
    )


def _amount(amount: Decimal, unit: str) -> str:
    return money(amount, unit) if unit.isupper() else f"{number(amount.to_integral_value())} {unit}"
