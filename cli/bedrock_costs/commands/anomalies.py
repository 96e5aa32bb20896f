"""`anomalies`: who spends far more than their own past lets expect, since when, and what it comes from; and what people say."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.anomalies import Anomaly, RootCause
from attribution.anomaly_alerts import cause_text
from attribution.anomaly_tracking import Feedback, State, TrackedAnomaly, Verdict, event_of, judge
from attribution.formats import counted, money, number, principal
from attribution.reporting.selections import NO_VALUE
from bedrock_costs.application import options_of
from bedrock_costs.failures import Failure
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_day
from bedrock_costs.stack import now

commands = typer.Typer(rich_markup_mode=None, help="Show anomalies, and say what they are.", invoke_without_command=True)
HEADER = (
    "name",
    "monitor",
    "dimension",
    "value",
    "currency",
    "state",
    "first_day",
    "last_day",
    "total_actual",
    "total_expected",
    "total_upper",
    "total_impact",
    "max_impact",
    "impact_percent",
    "first_cause",
    "feedback",
    "feedback_by",
    "feedback_until",
    "part_of",
)
_SHOWN_DAYS = 31
_ALL_DAYS = 396
_CAUSES_SHOWN = 3


@commands.callback()
def anomalies(
    ctx: typer.Context,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="13 months, also what is judged or withdrawn, and anomalies that are a part of another's event."
        ),
    ] = False,
) -> None:
    """Show who spends far more than their own past lets expect: what was expected, by how much it is more, and why.

    What was expected of a day is its forecast of the evening before; a day above its upper bound is anomalous. The impact is
    the actual less the expected cost. Causes are who called which model for what, where, by what they cost more than in the
    week before; `price` says that the same units cost more, `new` that there were none. Of several monitors that see one event
    the first in the policy tells it.

    Example: bedrock-costs anomalies --all --output csv
    """
    if ctx.invoked_subcommand is not None:
        return
    options = options_of(ctx)
    store = options.stack.anomalies()
    since = now().date() - timedelta(days=_ALL_DAYS if every else _SHOWN_DAYS)
    found = [a for a in store.since(since) if a.anomaly.last_day >= since]
    options.screen.emit(result_of(found, store.feedback(), is_all=every))


@commands.command("feedback")
def feedback(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The anomaly, as `bedrock-costs anomalies` names it.")],
    verdict: Annotated[
        Verdict,
        typer.Argument(help="yes: an anomaly. no: not an issue, the days are usual. planned: an exception that is known."),
    ],
    until: Annotated[
        date | None,
        typer.Option(
            parser=parse_day,
            metavar="YYYY-MM-DD",
            help="Last day of it, also one to come. Default: two weeks from its first day, or the last day it has had so far.",
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="WHO", help="Who says so. Default: the AWS identity you use.")] = None,
) -> None:
    """Say what an anomaly is. Its days up to --until are not anomalous any more if it is planned or not an issue.

    Usual days are a part of the past that later ones are held against; planned days are not, because they are exceptions. What
    was said before is replaced: `yes` takes back a `planned` or `no`. The list shows it at once; the next look, within an
    hour, goes by it.

    Example: bedrock-costs anomalies feedback 'team=search#2026-11-12' planned --until 2026-12-01
    """
    options = options_of(ctx)
    store = options.stack.anomalies()
    known = store.since(now().date() - timedelta(days=_ALL_DAYS))
    event = event_of(name, known)
    if not event:
        raise Failure(f"there is no anomaly {name!r}", fix="`bedrock-costs anomalies --all` lists all of them.")
    who = by or str(options.stack.client("sts").get_caller_identity()["Arn"])
    at = now()
    said = [judge(a, verdict, until, who, at) for a in event]
    for each in said:
        store.judge(each)
    names = [a.name for a in event]
    last = None if verdict is Verdict.YES else max(f.last_day for f in said)
    document = {"anomalies": names, "verdict": verdict.value, "until": last, "by": who}
    rows = [(each, verdict.value, last, who) for each in names]
    header = ("name", "verdict", "until", "by")
    options.screen.emit(Result(document, header, rows, lambda screen: _render_said(names, verdict, last, screen)))


def _render_said(names: Sequence[str], verdict: Verdict, last: date | None, screen: Screen) -> None:
    for name in names:
        screen.line(name, style="bold")
    if last is None:
        screen.line("Confirmed as an anomaly.")
    else:
        what = "Planned" if verdict is Verdict.PLANNED else "Not an issue"
        screen.line(f"{what} up to {last}. The list shows it at once; the next look, within an hour, goes by it.")


def _document(tracked: TrackedAnomaly, feedback: Sequence[Feedback]) -> dict[str, Any]:
    anomaly = tracked.anomaly
    said = next((f for f in feedback if f.is_about(anomaly)), None)
    return {
        "name": tracked.name,
        "monitor": anomaly.monitor,
        "dimension": anomaly.series.dimension,
        "value": anomaly.series.value,
        "currency": anomaly.series.currency,
        "state": _state(tracked, said).value,
        "first_day": anomaly.first_day,
        "last_day": anomaly.last_day,
        "total_actual": anomaly.total_actual,
        "total_expected": anomaly.total_expected,
        "total_upper": anomaly.total_upper,
        "total_impact": anomaly.total_impact,
        "max_impact": anomaly.max_impact,
        "impact_percent": anomaly.impact_percent,
        "first_cause": cause_text(tracked.causes[0]) if tracked.causes else "",
        "feedback": said.verdict.value if said else "",
        "feedback_by": said.by if said else "",
        "feedback_until": said.last_day if said and said.verdict is not Verdict.YES else None,
        "part_of": tracked.part_of,
    }


def _state(tracked: TrackedAnomaly, said: Feedback | None) -> State:
    """The state as it will be after the next look: what somebody has said counts at once."""
    if said is not None and said.verdict is not Verdict.YES:
        return State.PLANNED if said.verdict is Verdict.PLANNED else State.NOT_AN_ISSUE
    return tracked.state


def result_of(found: Sequence[TrackedAnomaly], feedback: Sequence[Feedback], *, is_all: bool) -> Result:
    """The anomalies in every form, the largest impact first; JSON has their days and causes, too."""
    all_of_them = [(a, _document(a, feedback)) for a in sorted(found, key=lambda a: a.anomaly.total_impact, reverse=True)]
    running = (State.OPEN.value, State.ENDED.value, State.NEW_NORMAL.value)
    shown = [(a, d) for a, d in all_of_them if is_all or (d["state"] in running and not a.part_of)]
    verdicts = Counter(document["feedback"] for a, document in all_of_them if document["feedback"] and not a.part_of)
    document = {
        "anomalies": [d | {"days": _days(a.anomaly), "root_causes": [_root(c) for c in a.causes]} for a, d in shown],
        "judged": {verdict.value: verdicts[verdict.value] for verdict in Verdict},
    }
    rows = [tuple(document[name] for name in HEADER) for _, document in shown]
    return Result(document, HEADER, rows, lambda screen: _render(shown, all_of_them, verdicts, screen))


def _days(anomaly: Anomaly) -> list[dict[str, Any]]:
    return [{"day": d.day, "actual": d.actual, "expected": d.expected, "upper": d.upper} for d in anomaly.days]


def _root(root: RootCause) -> dict[str, Any]:
    cause = root.cause
    return {
        "iam_principal": cause.iam_principal,
        "model": cause.model,
        "token_kind": cause.token_kind,
        "region": cause.region,
        "contribution": root.contribution,
        "price_effect": root.price_effect,
        "is_new": root.is_new,
    }


Shown = Sequence[tuple[TrackedAnomaly, Mapping[str, Any]]]


def _render(shown: Shown, found: Shown, verdicts: Mapping[str, int], screen: Screen) -> None:
    if not shown:
        screen.line("No anomaly." if not found else "No anomaly, besides what --all shows.")
        return
    columns = [
        Column("since", no_wrap=True),
        Column("of"),
        Column("state"),
        Column("days", is_number=True, dispensable=2),
        Column("spent", is_number=True),
        Column("expected", is_number=True),
        Column("at most", is_number=True, dispensable=1),
        Column("more by", is_number=True),
        Column("%", is_number=True, dispensable=3),
    ]
    screen.grid(Grid("Anomalies", columns, [_row(tracked, document) for tracked, document in shown]))
    for tracked, document in shown:
        _render_causes(tracked, document, screen)
    judged = sum(verdicts.values())
    if judged:
        screen.line()
        screen.line(f"Of {counted(judged, 'event')} that people judged, {verdicts.get(Verdict.YES.value, 0)} were anomalies.")


def _row(tracked: TrackedAnomaly, document: Mapping[str, Any]) -> tuple[str, ...]:
    currency, percent = document["currency"], document["impact_percent"]
    return (
        document["first_day"].isoformat(),
        f"{document['dimension']} {principal(document['value']) or NO_VALUE}",
        document["state"],
        str(len(tracked.anomaly.days)),
        *(money(document[name], currency) for name in ("total_actual", "total_expected", "total_upper", "total_impact")),
        "–" if percent is None else f"{number(percent)} %",
    )


def _render_causes(tracked: TrackedAnomaly, document: Mapping[str, Any], screen: Screen) -> None:
    # On one line and quoted, to be copied into `anomalies feedback`.
    screen.line(shlex.quote(tracked.name), style="bold")
    for root in tracked.causes[:_CAUSES_SHOWN]:
        screen.line(f"  {_signed(root.contribution, document['currency'])}  {cause_text(root)}")
    if tracked.part_of:
        screen.line(f"  a part of {tracked.part_of}")
    if document["feedback"]:
        until = f" until {document['feedback_until']}" if document["feedback_until"] else ""
        screen.line(f"  {document['feedback']}{until}, says {document['feedback_by']}")


def _signed(amount: Decimal, currency: str) -> str:
    return f"+{money(amount, currency)}"
