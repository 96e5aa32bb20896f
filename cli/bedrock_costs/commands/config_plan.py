"""`config plan`: what a policy document would move between owners, and what of itself it changes, before it is in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.formats import counted, money, number, two_columns_adding_up
from attribution.reporting.costs import METRIC_HELP, Metric
from bedrock_costs.application import options_of
from bedrock_costs.policy_file import read_policy_file
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import now

if TYPE_CHECKING:
    from attribution.policy_plans import Move
    from bedrock_costs.planning import Changes, Plan, PlannedMove

HEADER = ("cost_category", "currency", "from", "to", "billed", "estimated", "charges", "days")
NONE_IN_FORCE = "none"
"""How the command line names the state before any document was applied."""


def plan(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy document, YAML or JSON.")],
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
) -> None:
    """Show what a policy document would change; nothing is changed.

    Every day of the months that are open is allocated under the document in force and under this one, from the same bill and
    usage: what moves from one owner to another is listed for each cost category, billed and estimated apart. Closed months are
    left alone. What is added, changed, removed or stands in another order is named for every part of the document: budgets,
    anomaly monitors, routes, Slack users and the rest.

    Example: bedrock-costs config plan policy.yaml
    """
    from bedrock_costs.planning import make_plan
    from bedrock_costs.policy_warnings import warnings_in_ledger

    options = options_of(ctx)
    read = read_policy_file(file)
    with _shown(options.screen) as told:
        made = make_plan(options.stack, read.document, metric.value, told)
    in_ledger = warnings_in_ledger(options.stack, read.document, options.stack.policy().document(), now().date())
    warnings = (*read.warnings, *in_ledger)
    options.screen.emit(_result(made, file, metric.value, warnings))
    for warning in warnings:
        options.screen.note(warning)


@contextmanager
def _shown(screen: Screen) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = screen.console(stderr=True)
    columns = (TextColumn("days"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


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


def _result(made: Plan, file: Path, metric: str, warnings: Sequence[str]) -> Result:
    moved = [_document(move, planned) for move, planned in sorted(made.moves.items(), key=lambda m: m[0])]
    document = {
        "file": str(file),
        "version": made.version,
        "against": made.against or NONE_IN_FORCE,
        "metric": metric,
        "days": {"planned": len(made.open_days.days), "affected": len(made.affected)},
        "closed_periods": [str(period) for period in made.open_days.closed],
        **changes_document(made.changes),
        "moves": moved,
        "warnings": list(warnings),
    }
    rows = [tuple(row.values()) for row in moved]
    return Result(document, HEADER, rows, lambda screen: _render(made, file, metric, screen))


def _render(made: Plan, file: Path, metric: str, screen: Screen) -> None:
    if made.version == made.against:
        screen.line(f"{file} is in force already, as version {made.version}: nothing changes.")
        return
    for line in changes_lines(made.changes):
        screen.line(line)
    for category, currency in dict.fromkeys((move.category, move.currency) for move in sorted(made.moves)):
        _render_moves({m: p for m, p in made.moves.items() if (m.category, m.currency) == (category, currency)}, metric, screen)
    days = counted(len(made.affected), "day")
    screen.line(f"{days} of {len(made.open_days.days):,} in open months would have other owners.")
    for period in made.open_days.closed:
        screen.line(f"{period} is closed: its days stay as they are.")
    screen.line(f"To put exactly this in force: bedrock-costs config apply {file} --against {made.against or NONE_IN_FORCE}")


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
