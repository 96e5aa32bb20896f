"""`alerts preview` and `alerts test`: what a message would say, and whether a route would take it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from attribution.alerts import Alert
from attribution.formats import counted
from attribution.routes import DEFAULT_ROUTE
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.open_alerts import alert_of
from bedrock_costs.screen import Result, Screen
from bedrock_costs.stack import Stack, now

NAME = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A budget; or an anomaly or alarm as `bedrock-costs alerts` names it: 'team=search'."),
]


def preview(
    ctx: typer.Context,
    name: NAME,
    is_news: Annotated[bool, typer.Option("--news", help="The news in the message's thread instead of the message.")] = False,
    is_webhook: Annotated[bool, typer.Option("--webhook", help="As a webhook sends it: without buttons that answer.")] = False,
) -> None:
    """Print the message that an alert would have now; nothing is sent or written.

    A budget is held against the ledger as `evaluate_budgets` does. Where no threshold is crossed, the message is shown as if
    the lowest were, and a note says so. Of an anomaly or alarm it is the message of its alert. JSON has the Block Kit under
    `message`, as Slack's Block Kit Builder takes it; a table is the text of it.

    Example: bedrock-costs alerts preview "search monthly" --output json | jq .message
    """
    from adapters.channels.slack_messages import Look, alert_message, reply_message
    from attribution.flows.deliver_alerts import route_of

    options = options_of(ctx)
    stack = options.stack
    alert, as_if = _foreseen(stack, name)
    route = route_of(alert, stack.policy().routes())
    has_answers = bool(stack.parameter("SlackSigningSecretArn"))
    look = Look(
        has_buttons=has_answers and not is_webhook,
        has_command=has_answers,
        has_charts=route.has_charts,
        report_url=stack.parameter("ReportUrl") or "",
        mention=route.mention,
        runbook_url=stack.parameter("RunbookUrl") or "",
    )
    message = reply_message(alert) if is_news else alert_message(alert, look)
    _emit_message(options.screen, message, {"alert": str(alert.key), "route": route.name, "as_if": as_if})
    if as_if:
        options.screen.note(f"No threshold of {name} is crossed: this is what would be told {as_if}.")


def _foreseen(stack: Stack, name: str) -> tuple[Alert, str]:
    """An alert as it would be told now, and the threshold that was taken to be crossed."""
    from attribution.flows.evaluate_budgets import foresee_alert
    from attribution.flows.serve_reports import ReadOnlySums

    policy, outbox = stack.policy(), stack.outbox()
    budget = next((b for b in policy.budgets() if b.name == name), None)
    if budget is None:
        return alert_of(outbox, name), ""
    sums = ReadOnlySums(stack.budget_sums())
    foreseen = foresee_alert(budget, days=stack.days(), sums=sums, policy=policy, alerts=outbox, clock=now)
    if foreseen is None:
        why = "It has no thresholds, has not begun or has ended, or some day is not allocated by its cost category yet."
        raise Failure(f"budget {name!r} would tell nothing now", why, "`bedrock-costs budgets` says how it stands.")
    return foreseen.alert, foreseen.as_if


def _emit_message(screen: Screen, message: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    from bedrock_costs.block_kit import lines_of

    shown = {key: value for key, value in message.items() if key != "metadata"}
    rows = [(text,) for text, _ in lines_of(message)]

    def render(screen: Screen) -> None:
        for text, style in lines_of(message):
            screen.line(text, style=style)

    screen.emit(Result({**about, "message": shown}, ("line",), rows, render))


# Whether a route works.


def send_test(
    ctx: typer.Context,
    routes: Annotated[
        list[str] | None, typer.Argument(metavar="[ROUTE]...", help="Routes of the policy. Default: the only one there is.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every route.")] = False,
    by_mail: Annotated[
        bool, typer.Option("--mail", help="By the second route instead: what Slack does not take is mailed.")
    ] = False,
) -> None:
    """Send a message that is marked as a test by one or more routes.

    The function that delivers alerts sends it, so that its role, the secret, the network, the token and the channel are all
    tried; you need no access to the secret, which is read anew. Of a bot it is also tried whether messages can be looked for. A
    route that does not take it is told with Slack's answer and what to do, and the command fails. Nothing is tried again.

    Example: bedrock-costs alerts test finops
    """
    options = options_of(ctx)
    chosen = _chosen(routes or [], [route.name for route in options.stack.policy().routes()], is_all=every)
    by = str(options.stack.client("sts").get_caller_identity()["Arn"])
    tried = [_try(options.stack, route, by, by_mail=by_mail) for route in chosen]
    header = ("route", "is_sent", "kind", "channel", "ts", "can_find", "error")
    rows = [tuple(row[name] for name in header) for row in tried]
    options.screen.emit(Result({"routes": tried}, header, rows, lambda screen: _render_tried(tried, screen)))
    failed = [row for row in tried if not row["is_sent"]]
    if failed:
        raise Failure(
            f"{counted(len(failed), 'route')} did not take the message: {', '.join(row['route'] for row in failed)}",
            fix="Do what the answer says, then run the command again: a secret is read anew.",
            details=tuple(f"{row['route']}: {row['error']}" for row in failed),
        )


def _chosen(named: Sequence[str], known: Sequence[str], *, is_all: bool) -> Sequence[str]:
    # Without routes, alerts go by the stack's own secret.
    choice = list(known) or [DEFAULT_ROUTE]
    wrong = [name for name in named if name not in choice]
    if wrong:
        raise Failure(f"there is no route {wrong[0]!r}", fix=f"Choose from {', '.join(choice)}.", code=ExitCode.USAGE)
    if named or is_all or len(choice) == 1:
        return choice if is_all or not named else list(dict.fromkeys(named))
    raise Failure("which route?", fix=f"Name some of {', '.join(choice)}, or give --all.", code=ExitCode.USAGE)


def _try(stack: Stack, route: str, by: str, *, by_mail: bool) -> dict[str, Any]:
    trial = {"try_route": {"route": route, "by": by, "by_mail": by_mail}}
    answer = stack.client("lambda").invoke(
        FunctionName=stack.output("DeliverAlertsFunction"), Payload=json.dumps(trial).encode()
    )
    if answer.get("FunctionError"):
        fix = "Remove what its log names, then run the command again."
        raise Failure(f"the function failed when it tried route {route!r}", "Its log says why.", fix)
    said = json.loads(answer["Payload"].read())
    message = said["message"] or {}
    return {
        "route": route,
        "is_sent": said["is_sent"],
        "kind": "mail" if by_mail else ("bot" if said["updates"] else "webhook") if said["is_sent"] else "",
        "channel": message.get("channel", ""),
        "ts": message.get("ts", ""),
        "can_find": said["can_find"],
        "error": said["error"],
    }


def _render_tried(tried: Iterable[Mapping[str, Any]], screen: Screen) -> None:
    for row in tried:
        if row["is_sent"]:
            for sentence in _arrived(row):
                screen.line(sentence)


def _arrived(row: Mapping[str, Any]) -> Iterator[str]:
    if row["kind"] == "mail":
        yield f"{row['route']}: SNS took it; whoever has confirmed the subscription of AlertEmail gets it."
    elif row["kind"] == "webhook":
        yield f"{row['route']}: the webhook took it. It has no buttons, and its messages are not changed."
    else:
        yield f"{row['route']}: the bot posted it in {row['channel']}, as message {row['ts']}."
    if row["can_find"] is False:
        yield (
            f"{row['route']}: messages cannot be looked for; one whose acknowledgement is lost will be repeated. Give the app "
            "the scope channels:history (groups:history in a private channel)."
        )
