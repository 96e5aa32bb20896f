"""`config plan`: what a policy document would move between owners, and what of itself it changes, before it is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.formats import counted, money, number, two_columns_adding_up
from attribution.periods import BillingPeriod
from attribution.reporting.costs import METRIC_HELP, Metric
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.policy_file import read_policy_file
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_period
from bedrock_costs.stack import now

if TYPE_CHECKING:
    from attribution.policy_plans import Move
    from bedrock_costs.planning import Changes, Plan, PlannedMove

HEADER = ("cost_category", "currency", "from", "to", "billed", "estimated", "charges", "days")
NONE_IN_FORCE = "none"
"""How the command line names the state before any document was applied."""


def plan(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A policy document, YAML or JSON. Default: the one in force.")
    ] = None,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="One billing period, open or closed. Default: open months."),
    ] = None,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
) -> None:
    """Show what a policy document would change; nothing is changed.

    Every day of the months that are open is allocated under the document in force and under this one, from the same bill and
    usage: what moves from one owner to another is listed for each cost category, billed and estimated apart. Closed months are
    left alone; --period shows what `bedrock-costs replay days --closed` would move in one. What is added, changed, removed or
    stands in another order is named for every part of the document: budgets, anomaly monitors, routes, Slack users and others.

    Example: bedrock-costs config plan policy.yaml
    """
    from bedrock_costs.planning import make_plan
    from bedrock_costs.policy_warnings import warnings_in_ledger

    options = options_of(ctx)
    if file is None and period is None:
        raise typer.BadParameter("name a policy document, or the --period in which the document in force is to be planned")
    read = read_policy_file(file) if file else None
    with options.screen.progress("days") as told:
        made = make_plan(options.stack, read.document if read else None, metric.value, told, period)
    if period and not (made.open_days.days or made.open_days.closed_days):
        raise Failure(
            f"no data for {period}: there is no day to plan",
            "The ledger has no day of this period: neither usage nor a bill of it has been read.",
            "Name another period; `bedrock-costs status` says which is the newest with data.",
            ExitCode.NOT_READY,
        )
    warnings: tuple[str, ...] = ()
    if read:
        in_force = options.stack.policy().document()
        warnings = (*read.warnings, *warnings_in_ledger(options.stack, read.document, in_force, now().date()))
    options.screen.emit(_result(made, file, period, metric.value, warnings))
    for warning in warnings:
        options.screen.note(warning)


def _document(move: Move, planned: PlannedMove) -> dict[str, object]:
    return {
        "cost_category": move.category,
        "currency": move.currency,
        "from": move.from_owner,
        "to": move.to_owner,
        "billed": planned.billed,
        "estimated": planned.estimated,
        "charges": planned.charges,
        "days": planned.days,
    }


def _result(made: Plan, file: Path | None, period: BillingPeriod | None, metric: str, warnings: Sequence[str]) -> Result:
    moved = [_document(move, planned) for move, planned in sorted(made.moves.items(), key=lambda m: m[0])]
    document = {
        "file": str(file) if file else None,
        "billing_period": str(period) if period else None,
        "version": made.version,
        "against": made.against or NONE_IN_FORCE,
        "metric": metric,
        "days": {"planned": _planned(made, period), "affected": len(made.affected)},
        "closed_periods": [str(period) for period in made.open_days.closed],
        **changes_document(made.changes),
        "moves": moved,
        "warnings": list(warnings),
    }
    rows = [tuple(row.values()) for row in moved]
    return Result(document, HEADER, rows, lambda screen: _render(made, file, period, metric, screen))


def _planned(made: Plan, period: BillingPeriod | None) -> int:
    return len(made.open_days.days) + (len(made.open_days.closed_days) if period else 0)


def _render(made: Plan, file: Path | None, period: BillingPeriod | None, metric: str, screen: Screen) -> None:
    is_in_force = file is None or made.version == made.against
    if is_in_force and period is None:
        screen.line(f"{file} is in force already, as version {made.version}: nothing changes.")
        return
    for line in () if is_in_force else changes_lines(made.changes):
        screen.line(line)
    for category, currency in dict.fromkeys((move.category, move.currency) for move in sorted(made.moves)):
        _render_moves({m: p for m, p in made.moves.items() if (m.category, m.currency) == (category, currency)}, metric, screen)
    days, where = counted(len(made.affected), "day"), f"of {period}" if period else "in open months"
    screen.line(f"{days} of {_planned(made, period):,} {where} would have other owners.")
    if not is_in_force:
        screen.line(
            f"To put exactly this in force: bedrock-costs config apply {file} --against {made.against or NONE_IN_FORCE}"
        )
    if period is None:
        for closed in made.open_days.closed:
            screen.line(
                f"{closed} is closed: its days stay as they are. What `bedrock-costs replay days --period {closed} --closed` "
                f"would move then: bedrock-costs config plan {file} --period {closed}"
            )
    elif made.open_days.closed_days:
        closed_days, then = counted(len(made.open_days.closed_days), "day"), "" if is_in_force else " Once it is in force,"
        screen.line(
            f"Closed, and left as they are by other rules: {closed_days} of {period}.{then} `bedrock-costs replay days "
            f"--period {period} --closed` allocates them again, and `bedrock-costs adjustments` shows it."
        )


def changes_document(changes: Mapping[str, Changes]) -> dict[str, dict[str, list[str]]]:
    """What becomes of each part of the document, for programs."""
    return {part: {how: list(names) for how, names in asdict(changed).items()} for part, changed in changes.items()}


def changes_lines(changes: Mapping[str, Changes]) -> list[str]:
    """The same in words; parts that stay as they are are one line."""
    lines = [f"{_noun(part)}: {_told(changed)}" for part, changed in changes.items() if changed]
    unchanged = [_noun(part) for part, changed in changes.items() if not changed]
    return [*lines, *([f"unchanged: {', '.join(unchanged)}"] if unchanged else [])]


def _noun(part: str) -> str:
    return "Slack users" if part == "slack_users" else part.replace("_", " ")


def _told(changes: Changes) -> str:
    return "; ".join(f"{how} {', '.join(names)}" for how, names in asdict(changes).items() if names)


def _render_moves(found: Mapping[Move, PlannedMove], metric: str, screen: Screen) -> None:
    ordered = sorted(found.items(), key=lambda m: m[0])
    billed, estimated = two_columns_adding_up([p.billed for _, p in ordered], [p.estimated for _, p in ordered])
    rows = [
        (
            move.from_owner,
            move.to_owner,
            money(planned.billed, move.currency, billed[i]),
            money(planned.estimated, move.currency, estimated[i]),
            number(planned.charges),
            number(planned.days),
        )
        for i, (move, planned) in enumerate(ordered)
    ]
    columns = [
        Column("from"),
        Column("to"),
        Column("billed", is_number=True),
        Column("estimated", is_number=True),
        Column("charges", is_number=True),
        Column("days", is_number=True, dispensable=1),
    ]
    move = ordered[0][0]
    screen.grid(Grid(f"{metric} that moves between owners in {move.category}, {move.currency}", columns, rows))
