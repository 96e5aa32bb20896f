"""`config`: the policy document in force: cost categories, budgets, anomaly monitors, routes and Slack users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.formats import counted
from bedrock_costs.application import options_of
from bedrock_costs.commands.config_plan import NONE_IN_FORCE, changes_document, changes_lines, plan
from bedrock_costs.failures import Failure
from bedrock_costs.policy_file import read_policy_file, stray_notifications
from bedrock_costs.screen import Result, Screen
from bedrock_costs.stack import now

if TYPE_CHECKING:
    from adapters.budget_documents import AwsBudgetDocument
    from adapters.policy import PolicyDocument
    from attribution.budgets import Budget
    from attribution.cost_categories import CostCategory
    from attribution.routes import Viewer
    from bedrock_costs.planning import Changes
    from bedrock_costs.stack import Stack

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show, check and change the policy.")
_WITH_KEYS = ("Tags", "RequestMetadata", "SessionTags")
File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy document, YAML or JSON.")]


@commands.command()
def show(ctx: typer.Context) -> None:
    """Print the policy in force.

    Until one is applied, that is one cost category `team` and no budgets.

    Example: bedrock-costs config show > policy.yaml
    """
    import yaml

    from adapters.budget_documents import build_budgets
    from attribution.scopes import describe

    options = options_of(ctx)
    document = options.stack.policy().document()
    plain = document.plain()
    rows = [("cost_category", c.name, ", ".join(_keys(c)), "") for c in document.definitions()]
    rows += [("shared_charge", s.name, s.method, "") for s in document.shared_charges]
    for budget in build_budgets(document.budgets, document.vocabulary()):
        rows.append(("budget", budget.name, describe(budget.scope.filter), _limit(budget)))
    rows += [("anomaly_monitor", m.name, m.dimension, str(m.minimum_impact)) for m in document.anomaly_monitors or ()]
    rows += [("route", route.name, route.route().tells, "") for route in document.routes]
    for viewer in (entry.viewer() for entry in document.slack_users):
        rows += [("slack_user", user, _seen(viewer), "") for user in viewer.users]

    def render(screen: Screen) -> None:
        for line in yaml.safe_dump(plain, sort_keys=False, width=100).splitlines():
            screen.line(line)

    options.screen.emit(Result({"policy": plain}, ("kind", "name", "from", "limit"), rows, render))


@commands.command()
def check(ctx: typer.Context, file: File) -> None:
    """Check a policy document; errors name the line. AWS is not needed.

    All errors are named at once. Warnings name what is valid and will hardly do what is meant: names that nothing can have,
    budgets that tell nobody.

    Example: bedrock-costs config check policy.yaml
    """
    read = read_policy_file(file)
    _tell(ctx, file, "valid", f"{file} is valid: {_summary(read.document)}.", read.warnings)


commands.command()(plan)


@commands.command()
def apply(
    ctx: typer.Context,
    file: File,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Only if this version is in force, as `config plan` printed it; none before the first."
        ),
    ] = None,
    is_not_reallocated: Annotated[
        bool, typer.Option("--no-reallocate", help="Leave days as they are until their next change.")
    ] = False,
) -> None:
    """Put a policy document in force, and have the days of open months allocated by it.

    What it changed is said as `config plan` says it. Closed months are left alone. Earlier versions, of the document and of
    days, are kept in the ledger.

    Example: bedrock-costs config apply policy.yaml --against 3f1c09a2b7d4
    """
    from bedrock_costs.planning import changes_of
    from bedrock_costs.policy_warnings import warnings_in_ledger

    options = options_of(ctx)
    read = read_policy_file(file)
    document = read.document
    policy = options.stack.policy()
    before, in_force = policy.version(), policy.document()
    # Looked up before anything is changed: a ledger that cannot be read must not hide that the document is in force.
    not_stored = _not_stored(document.definitions(), options.stack.stored_tag_keys)
    warnings = (*not_stored, *read.warnings, *warnings_in_ledger(options.stack, document, in_force, now().date()))
    version = policy.apply(document, against="" if against == NONE_IN_FORCE else against)
    changed = version != before
    asked = _reallocate(options.stack) if changed and not is_not_reallocated else 0
    changes = changes_of(in_force, document)
    told = f"Version {version} is in force{'' if changed else ' already, nothing changed'}: {_summary(document)}."
    _tell(ctx, file, "applied" if changed else "unchanged", told, warnings, version, asked, changes if changed else None)
    if asked:
        options.screen.note(f"{counted(asked, 'day')} of open months will be allocated by it; `bedrock-costs days` shows when.")
    elif changed:
        options.screen.note(
            "Days are allocated by it from their next change on; `bedrock-costs replay days --period YYYY-MM` does it now."
        )


def _keys(category: CostCategory) -> list[str]:
    """The keys of tags, metadata and session tags that a cost category looks for."""
    return sorted({key for source, key in category.asked() if key and source in _WITH_KEYS})


def _carried_keys(category: CostCategory) -> list[str]:
    """Those of them that a call carries, in its metadata or its session's tags."""
    return sorted({key for source, key in category.asked() if key and source in _WITH_KEYS and source != "Tags"})


def _reallocate(stack: Stack) -> int:
    """Ask for the days of open months; returns how many."""
    from bedrock_costs.planning import open_days

    days = open_days(stack).days
    stack.allocation_queue().requested(days)
    return len(days)


def _not_stored(categories: Iterable[CostCategory], stored: list[str] | None) -> Iterator[str]:
    """A sentence for each cost category with keys under which the stack stores nothing that a call carries."""
    if stored is None:
        return
    known = {key.casefold() for key in stored}
    for category in categories:
        missing = [key for key in _carried_keys(category) if key.casefold() not in known]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            yield (
                f"{category.name}: {', '.join(missing)} {verb} not in the stack's AllocationTagKeys: request metadata and "
                "session tags under that name are not stored, only the bill's tags are found."
            )


def _limit(budget: Budget) -> str:
    from attribution.budgets import FixedLimit, HistoricalLimit, PlannedLimits

    match budget.limit:
        case FixedLimit(amount):
            return f"{amount} {budget.unit}"
        case PlannedLimits(limits):
            return f"{counted(len(limits), 'planned limit')}, {budget.unit}"
        case HistoricalLimit(periods):
            return f"average of {counted(periods, 'period')}, {budget.unit}"
        case _:
            return f"forecast, {budget.unit}"


@commands.command("import-budgets")
def import_budgets(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `aws budgets describe-budgets` printed.")],
    notifications: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What `aws budgets describe-budget-notifications-for-account` printed, or, of one budget, "
            "`describe-notifications-for-budget`.",
        ),
    ] = None,
) -> None:
    """Print budgets of AWS Budgets as the `budgets` of a policy. AWS is not needed.

    Put them into the policy document and run `bedrock-costs config check`: it names whatever a ledger of Bedrock cannot count.
    A policy may also name the files themselves: `- {file: budgets.json, notifications: notifications.json}`.

    Example: bedrock-costs config import-budgets budgets.json --notifications notifications.json --output table > budgets.yaml
    """
    import yaml

    from adapters.budget_documents import join_aws_documents
    from bedrock_costs.policy_warnings import warnings_of_budgets

    try:
        joined, strays = join_aws_documents(_json(file), _json(notifications) if notifications else None)
    except ValueError as error:
        raise Failure(str(error), fix="Give the files as the AWS command line printed them.") from None
    rows = [(d["aws"]["Budget"].get("BudgetName", ""), len(d["aws"].get("Notifications", ()))) for d in joined]

    def render(screen: Screen) -> None:
        for line in yaml.safe_dump({"budgets": joined}, sort_keys=False, width=100).splitlines():
            screen.line(line)

    screen = options_of(ctx).screen
    screen.emit(Result({"budgets": joined}, ("budget", "notifications"), rows, render))
    for sentence in (*([stray_notifications(strays, file)] if strays else ()), *warnings_of_budgets(_usable(joined))):
        screen.note(sentence)


def _usable(documents: Iterable[object]) -> Iterator[AwsBudgetDocument]:
    """The documents that are budgets; `config check` tells what is wrong with the others."""
    from pydantic import ValidationError

    from adapters.budget_documents import AwsBudgetDocument

    for document in documents:
        with suppress(ValidationError):
            yield AwsBudgetDocument.model_validate(document)


def _json(path: Path) -> object:
    import json

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_float=str)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", fix="Check the path.") from error
    except ValueError as error:
        raise Failure(f"{path} is not JSON: {error}", fix="Print it with `--output json`.") from error


def _seen(viewer: Viewer) -> str:
    return "all" if viewer.sees_all else ", ".join(f"{dimension} {value}" for dimension, value in viewer.owners)


def _summary(document: PolicyDocument) -> str:
    parts = [
        counted(len(document.cost_categories), "cost category", "cost categories"),
        counted(len(document.budgets), "budget"),
    ]
    users = {user for entry in document.slack_users for user in entry.users}
    more = ((len(document.routes), "route"), (len(users), "Slack user"))
    return ", ".join([*parts, *(counted(count, noun) for count, noun in more if count)])


def _tell(
    ctx: typer.Context,
    file: Path,
    outcome: str,
    sentence: str,
    warnings: Sequence[str],
    version: str = "",
    asked: int = 0,
    changes: Mapping[str, Changes] | None = None,
) -> None:
    row = {"file": str(file), "outcome": outcome, "version": version, "days_requested": asked}
    document = row | {"warnings": list(warnings)} | ({"changes": changes_document(changes)} if changes else {})

    def render(screen: Screen) -> None:
        screen.line(sentence)
        for line in changes_lines(changes) if changes else ():
            screen.line(line)

    screen = options_of(ctx).screen
    screen.emit(Result(document, tuple(row), [tuple(row.values())], render))
    for warning in warnings:
        screen.note(warning)
