"""`directory`: what callers, resources and accounts are and were tagged with, and by which tags a day is allocated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.canonical import pairs
from attribution.formats import clean, counted, instant
from attribution.tag_history import STATED, SYNC, Attributes, History, Identity, Interval, identity_of, intervals
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.screen import Column, Grid, Result, Screen, fields_grid
from bedrock_costs.spans import parse_day
from bedrock_costs.stack import now

if TYPE_CHECKING:
    from adapters.directory import DynamoDirectory

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Show what callers, resources and accounts are tagged with."
)
LIST_HEADER = ("kind", "id", "account_id", "name", "organisational_unit", "tags", "last_seen", "deleted_at", "unreadable")
SHOW_HEADER = ("id", "since", "until", "name", "organisational_unit", "tags", "told_by")
ON_HELP = "A usage day: show what it is allocated by. Default: what is known now."


class Kind(StrEnum):
    """What the directory has tags of."""

    ROLE = "role"
    USER = "user"
    INFERENCE_PROFILE = "inference-profile"
    PROJECT = "project"
    ACCOUNT = "account"


@commands.command("list")
def list_entries(
    ctx: typer.Context,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="KEY[=VALUE]", help="Only what has this tag; the key in any letter case.")
    ] = None,
    untagged: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only what can be read and does not have this tag.")
    ] = None,
    on: Annotated[date | None, typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help=ON_HELP)] = None,
) -> None:
    """List the roles, users, inference profiles, projects and accounts that usage or a bill named, with their tags.

    Something is looked up when it is first named. What belongs to another account cannot be read; the list says why.

    Example: bedrock-costs directory list --kind role --untagged team
    """
    options = options_of(ctx)
    directory = options.stack.directory()
    found = list(directory.all_current((kind.value,)) if kind else directory.all_current())
    at = directory.attributes_on([history.id for history in found], on) if on else {h.id: _now(h) for h in found}
    shown = [
        history
        for history in sorted(found, key=lambda history: (_identity(history.id).kind, history.id))
        if _has_tag(at[history.id], tag) and _lacks_tag(history, at[history.id], untagged)
    ]
    rows = [_row(history, at[history.id]) for history in shown]
    document = {
        "on": on,
        "entries": [_document(history, at[history.id]) for history in shown],
    }
    options.screen.emit(Result(document, LIST_HEADER, rows, lambda screen: _render_list(shown, at, on, screen)))


def _now(history: History) -> Attributes:
    return history.entries[-1].attributes if history.entries else Attributes()


def _identity(id: str) -> Identity:
    return identity_of(id) or Identity(id, "other", "", id)


def _has_tag(attributes: Attributes, wanted: str | None) -> bool:
    if wanted is None:
        return True
    key, has_value, value = wanted.partition("=")
    return any(k.casefold() == key.casefold() and (not has_value or v == value) for k, v in attributes.tags)


def _lacks_tag(history: History, attributes: Attributes, key: str | None) -> bool:
    return key is None or bool(history.entries and not _has_tag(attributes, key))


def _tags(attributes: Attributes) -> str:
    return ", ".join(f"{key}={value}" for key, value in attributes.tags)


def _row(history: History, attributes: Attributes) -> tuple[object, ...]:
    identity = _identity(history.id)
    return (
        identity.kind, history.id, identity.account_id, attributes.name, attributes.organisational_unit, _tags(attributes),
        history.last_seen, history.deleted_at, history.unreadable,
    )  # fmt: skip


def _document(history: History, attributes: Attributes) -> dict[str, object]:
    return dict(zip(LIST_HEADER, _row(history, attributes), strict=True)) | {"tags": dict(attributes.tags)}


def _render_list(shown: Sequence[History], at: Mapping[str, Attributes], on: date | None, screen: Screen) -> None:
    if not shown:
        screen.line(
            "Nothing is known that fits. Callers, resources and accounts are looked up once usage or a bill names them."
        )
        return
    columns = [
        Column("kind", no_wrap=True),
        Column("account", no_wrap=True),
        Column("name"),
        Column("tags"),
        Column("state", no_wrap=True),
        Column("last seen", no_wrap=True, dispensable=2),
    ]
    rows = []
    for history in shown:
        identity, attributes = _identity(history.id), at[history.id]
        place = f" ({attributes.organisational_unit})" if attributes.organisational_unit else ""
        name = f"{attributes.name or identity.name}{place}"
        seen = instant(history.last_seen) if history.last_seen else "never"
        state = "not readable" if history.unreadable else _state(history)
        rows.append((identity.kind, identity.account_id, name, _tags(attributes) or "–", state, seen))
    when = f"as usage of {on} is allocated" if on else "as they are now"
    screen.grid(Grid(f"{counted(len(shown), 'entry', 'entries')}, {when}", columns, rows))
    reasons = Counter(history.unreadable for history in shown if history.unreadable)
    for reason, count in reasons.items():
        screen.line(f"Not readable, {counted(count, 'entry', 'entries')}: {reason}")


def _state(history: History) -> str:
    if history.unreadable:
        return f"not readable: {history.unreadable}"
    return f"deleted {instant(history.deleted_at)}" if history.deleted_at else "known"


@commands.command()
def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="An ARN (of a session, too), an account id, or the name of a role, a user, a profile, a project.",
        ),
    ],
    on: Annotated[date | None, typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help=ON_HELP)] = None,
) -> None:
    """Show what something is and was tagged with, since when, and what told of each change.

    A usage day is allocated by what was so when it ended, in UTC. Before the first reading nothing is known, so the first tags
    count for every day before it.

    Example: bedrock-costs directory show checkout-service --on 2026-10-15
    """
    options = options_of(ctx)
    directory = options.stack.directory()
    history = _found(directory, name)
    spans = intervals(history.entries)
    attributes = history.on(on) if on else None
    rows = [_span_row(history.id, span) for span in spans]
    document = {
        **_document(history, _now(history)),
        "on": {"usage_date": on, "tags": dict(attributes.tags) if attributes else {}} if on else None,
        "history": [
            dict(zip(SHOW_HEADER, row, strict=True)) | {"tags": dict(span.attributes.tags)}
            for row, span in zip(rows, spans, strict=True)
        ],
    }
    options.screen.emit(
        Result(document, SHOW_HEADER, rows, lambda screen: _render_history(history, spans, on, attributes, screen))
    )


@commands.command()
def state(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ARN|ACCOUNT", help="What AWS does not show to this stack.")],
    tags: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag; repeat it for each.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="A name, such as that of an account.")] = "",
    unit: Annotated[str, typer.Option(metavar="PATH", help="Organizational unit of an account, such as Root/Retail.")] = "",
    since: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="The first usage day. Default: today.")
    ] = None,
) -> None:
    """State tags and names of something that this stack cannot read, such as a role of another account.

    What is stated replaces what is known from its first day on; the first statement counts for every day before it, too.
    What AWS shows is not overridden: tag it there.

    Example: bedrock-costs directory state 444455556666 --name payments --unit Root/Retail --tag team=payments
    """
    options = options_of(ctx)
    identity = identity_of(id)
    if identity is None:
        raise typer.BadParameter(f"{clean(id)} is neither an account id nor the ARN of a role, user, profile or project")
    directory = options.stack.directory()
    before = directory.history(identity.id)
    if before and before.entries and not before.unreadable and any(entry.told_by != STATED for entry in before.entries):
        raise Failure(
            f"{identity.id} is read from AWS", "Its next reading would undo what is stated.", "Tag it in AWS.", ExitCode.USAGE
        )
    attributes = Attributes(pairs(dict(_pair(tag) for tag in tags or ())), name or identity.name, unit)
    today = now().date()
    first = since or today
    if first > today:
        raise typer.BadParameter(f"--from {first} has not come yet")
    after = (before or History(identity.id)).stated(attributes, datetime.combine(first, time(), UTC))
    directory.record(before, after)
    document = {"stated": _document(after, _now(after)), "from": first}
    replay = f"`bedrock-costs replay days --period {first:%Y-%m}`"
    if len(after.entries) == 1:
        replay = f"{replay}, and so for each earlier month: the first statement counts for every day before it, too"
    said = f"Stated. Days that are allocated already go by it after {replay}."
    options.screen.emit(Result(document, LIST_HEADER, [_row(after, _now(after))], lambda screen: screen.line(said)))


def _pair(text: str) -> tuple[str, str]:
    key, has_value, value = text.partition("=")
    if not key or not has_value:
        raise typer.BadParameter(f"{clean(text)!r} is no tag: write it as team=search")
    return key, value


def _found(directory: DynamoDirectory, name: str) -> History:
    """The history of what an ARN, an account id or a name means."""
    identity = identity_of(name)
    if identity is not None:
        ids = [identity.id]
    else:
        ids = [h.id for h in directory.all_current() if name in (_identity(h.id).name, _now(h).name)]
    if len(ids) > 1:
        raise Failure(f"{clean(name)} names {len(ids)} things", ", ".join(ids), "Give the ARN of one of them.", ExitCode.USAGE)
    history = directory.history(ids[0]) if ids else None
    if history is None:
        raise Failure(
            f"the directory does not know {clean(name)}",
            "Something is looked up once usage or a bill has named it, minutes later.",
            "`bedrock-costs directory list` shows what is known.",
            ExitCode.NOT_READY,
        )
    return history


def _span_row(id: str, span: Interval) -> tuple[object, ...]:
    attributes = span.attributes
    return (id, span.since, span.until, attributes.name, attributes.organisational_unit, _tags(attributes), span.told_by)


def _render_history(
    history: History, spans: Sequence[Interval], on: date | None, attributes: Attributes | None, screen: Screen
) -> None:
    identity = _identity(history.id)
    fields = [("kind", identity.kind), ("account", identity.account_id), ("state", _state(history))]
    fields.append(("last seen", instant(history.last_seen) if history.last_seen else "never"))
    if on:
        fields.append((f"usage of {on}", (_tags(attributes) if attributes else "") or "no tags"))
    screen.grid(fields_grid(history.id, fields))
    if not spans:
        return
    columns = [
        Column("from", no_wrap=True),
        Column("until", no_wrap=True),
        Column("tags"),
        Column("name", dispensable=1),
        Column("unit", dispensable=2),
        Column("told by", no_wrap=True, dispensable=3),
    ]
    rows = [
        (
            _moment(span.since, "the beginning"),
            _moment(span.until, "now"),
            _tags(span.attributes) or "–",
            span.attributes.name,
            span.attributes.organisational_unit or "–",
            ("first reading" if span.since is None else "reading") if span.told_by == SYNC else span.told_by,
        )
        for span in spans
    ]
    screen.grid(Grid("history, oldest first", columns, rows))


def _moment(moment: datetime | None, otherwise: str) -> str:
    return instant(moment) if moment else otherwise
