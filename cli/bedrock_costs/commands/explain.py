"""`explain`: why an owner was charged what on a day, down to the row of the bill and the requests behind it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from attribution.days import UNALLOCATED
from attribution.flows.serve_reports import chosen_category
from attribution.flows.serve_reports import explain as ask
from attribution.reporting.answers import Answer
from attribution.reporting.costs import METRIC_HELP, Metric
from attribution.reporting.explanations import Question, answer_of
from bedrock_costs.application import options_of
from bedrock_costs.screen import Result, Screen
from bedrock_costs.spans import AsOf, parse_day


def explain(
    ctx: typer.Context,
    charge: Annotated[
        str | None, typer.Argument(metavar="[CHARGE]", help="One charge, as this command names it: 2026-11-14/4f0c2b7d91aa.")
    ] = None,
    on: Annotated[date | None, typer.Option("--date", parser=parse_day, metavar="YYYY-MM-DD", help="Usage day, UTC.")] = None,
    category: Annotated[
        str | None, typer.Option(metavar="NAME", help="Cost category of the owner. Default: the policy's first.")
    ] = None,
    value: Annotated[
        str | None, typer.Option(metavar="OWNER", help=f"Whose charges; {UNALLOCATED} for those that nobody owns.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Only charges of this model.")] = "",
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
    top: Annotated[int, typer.Option(min=1, metavar="COUNT", help="How many charges, the largest first.")] = 10,
    as_of: AsOf = None,
) -> None:
    """Explain why an owner was charged what on one day.

    Each charge with the row of the bill it is a part of, the delivery that brought it, the requests behind it, the evidence
    that decided its owner and what it outranked, and the arithmetic that ends at the amount in the ledger. The charge is made
    anew from its inputs, and is called verified only if that gives the same, to the last digit.

    Example: bedrock-costs explain --date 2026-11-14 --category team --value search
    """
    options = options_of(ctx)
    stack = options.stack
    policy = stack.policy()
    usage_date, charge_id = _asked(charge, on, value)
    question = Question(chosen_category(policy, category), value or "", charge_id, model, metric.value, top)
    found = ask(
        question,
        usage_date,
        days=stack.days(),
        deliveries=stack.deliveries(),
        origin_charges=stack.origin_charges(),
        counters=stack.counters(),
        rules=policy,
        prices=stack.prices(),
        directory=stack.directory(),
        as_of=as_of,
    )
    answer = answer_of(question, found, stack.location("CostReportLocation").bucket)
    options.screen.emit(Result.of(answer, lambda screen: _render(answer, screen)))


def _render(answer: Answer, screen: Screen) -> None:
    for line in answer.text:
        screen.line(line)


def _asked(charge: str | None, on: date | None, value: str | None) -> tuple[date, str]:
    if charge is not None:
        day, slash, charge_id = charge.partition("/")
        if on is not None or value is not None or not slash or not charge_id:
            raise typer.BadParameter("name a charge as DATE/ID and nothing else, or an owner by --date and --value")
        return parse_day(day), charge_id
    if on is None or value is None:
        raise typer.BadParameter("name an owner by --date and --value, or a charge as DATE/ID")
    return on, ""
