"""`alerts`: what is told in Slack of budgets, anomalies and the stack's alarms, and how it got there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus
from attribution.digests import Digest, DigestFault, DigestKey, standing, worst_first
from attribution.flows.deliver_alerts import route_of
from attribution.formats import counted, instant, money
from attribution.routes import Route
from bedrock_costs.application import options_of
from bedrock_costs.commands.alert_messages import NAME, preview, send_test
from bedrock_costs.open_alerts import alert_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import Stack

commands = typer.Typer(
    rich_markup_mode=None, help="Show alerts and how they were told, and try routes.", invoke_without_command=True
)
HEADER = (
    "alert",
    "kind",
    "period",
    "state",
    "currency",
    "actual",
    "limit",
    "percent",
    "raised_at",
    "handled_by",
    "snoozed_until",
    "route",
    "channel",
    "message_ts",
    "digest",
    "news",
    "told",
    "delivery",
    "attempts",
    "wait_until",
    "last_fault",
)
_WAITS = (DeliveryStatus.PENDING, DeliveryStatus.CLAIMED)
_DIGEST_LIST = ("digest", "title", "delivery", "attempts", "wait_until", "last_fault")


@dataclass(frozen=True, slots=True)
class Found:
    """Alerts with the routes that tell them, digests that wait, and digests that could not be made."""

    alerts: Sequence[tuple[Alert, Route]]
    digests: Sequence[Digest]
    faults: Sequence[DigestFault]


@commands.callback()
def alerts(
    ctx: typer.Context,
    every: Annotated[
        bool, typer.Option("--all", help="Also alerts that have recovered, of periods that have not ended.")
    ] = False,
) -> None:
    """Show the alerts that are open: of budgets whose period runs, of anomalies and alarms of the stack that go on.

    State: alarm, acknowledged, snoozed or muted, and by whom. Told: whether people were told all news of it, or what that waits
    for; by which route and, for a bot, in which message; how many attempts there were, and what went wrong at the last one.
    Digests are listed while they wait, and where they cannot be made.

    Example: bedrock-costs alerts --output csv
    """
    if ctx.invoked_subcommand is not None:
        return
    options = options_of(ctx)
    options.screen.emit(result_of(_found(options.stack, is_all=every), is_all=every))


def _found(stack: Stack, *, is_all: bool) -> Found:
    outbox, routes = stack.outbox(), stack.policy().routes()
    keys = outbox.open()
    known = outbox.get_many(key for key in keys if isinstance(key, AlertKey)).values()
    shown = worst_first(alert for alert in known if alert.is_open or (is_all and not alert.is_ended))
    digests = [digest for key in keys if isinstance(key, DigestKey) and (digest := outbox.digest(key)) is not None]
    faults = [fault for route in routes for fault in outbox.faults(route.name)]
    return Found([(alert, route_of(alert, routes)) for alert in shown], digests, faults)


def result_of(found: Found, *, is_all: bool) -> Result:
    """The alerts in every form."""
    documents = [_document(alert, route) for alert, route in found.alerts]
    document = {
        "alerts": documents,
        "digests": [dict(zip(_DIGEST_LIST, _digest_row(digest), strict=True)) for digest in found.digests],
        "digests_not_made": [_fault(fault) for fault in found.faults],
    }
    rows = [tuple(row[name] for name in HEADER) for row in documents]
    return Result(document, HEADER, rows, lambda screen: _render(found, screen, is_all=is_all))


def _document(alert: Alert, route: Route) -> dict[str, Any]:
    figures, delivery, message = alert.figures, alert.delivery, alert.message
    return {
        "alert": alert.key.budget,
        "kind": alert.kind,
        "period": alert.key.period,
        "state": alert.state.value,
        # An alarm of the stack has no figures.
        "currency": None if alert.alarm else figures.limit.currency,
        "actual": None if alert.alarm else figures.actual,
        "limit": None if alert.alarm else figures.limit.amount,
        "percent": None if alert.alarm else figures.percent,
        "raised_at": alert.raised_at,
        "handled_by": alert.handled_by,
        "snoozed_until": alert.snoozed_until,
        "route": route.name,
        "channel": message.channel if message else route.channel,
        "message_ts": message.ts if message else "",
        "digest": alert.digest,
        "news": alert.news,
        "told": alert.told,
        "delivery": delivery.status.value,
        "attempts": delivery.attempts,
        "wait_until": delivery.wait_until,
        "last_fault": delivery.error,
    }


def _digest_row(digest: Digest) -> tuple[Any, ...]:
    delivery = digest.delivery
    return (
        str(digest.key),
        digest.title,
        delivery.status.value,
        delivery.attempts,
        delivery.wait_until,
        delivery.error,
    )


def _fault(fault: DigestFault) -> dict[str, Any]:
    return {
        "digest": str(fault.key),
        "error": fault.error,
        "since": fault.since,
        "last_at": fault.last_at,
        "attempts": fault.attempts,
    }


def _render(found: Found, screen: Screen, *, is_all: bool) -> None:
    if not found.alerts:
        screen.line("No alert." if is_all else "No alert is open.")
    else:
        columns = [
            Column("alert"),
            Column("period", no_wrap=True),
            Column("state"),
            Column("spent"),
            Column("since", no_wrap=True, dispensable=2),
            Column("route", dispensable=1),
            Column("message", dispensable=3),
            Column("told"),
        ]
        screen.grid(Grid("Alerts", columns, [_row(alert, route) for alert, route in found.alerts]))
    for alert, _ in found.alerts:
        if waits := _unfinished(alert.delivery):
            screen.line(f"{alert.key.budget}, {alert.key.period}: {waits}")
    for digest in found.digests:
        screen.line(f"Digest {digest.key}, {counted(len(digest.lines), 'line')}: {_unfinished(digest.delivery) or 'waits'}")
    for fault in found.faults:
        tries = f"{counted(fault.attempts, 'attempt')} since {instant(fault.since)}"
        screen.line(f"Digest {fault.key} was not made in {tries}: {fault.error}", style="red")


def _row(alert: Alert, route: Route) -> tuple[str, ...]:
    return (
        alert.key.budget,
        alert.key.period,
        _state(alert),
        standing(alert),
        instant(alert.raised_at),
        route.name,
        _place(alert),
        _told(alert),
    )


def _state(alert: Alert) -> str:
    by = f" by {alert.handled_by}" if alert.handled_by else ""
    until = f" until {instant(alert.snoozed_until)}" if alert.snoozed_until else ""
    return f"{alert.state.value}{by}{until}"


def _place(alert: Alert) -> str:
    return f"{alert.message.channel} {alert.message.ts}" if alert.message else "–"


def _told(alert: Alert) -> str:
    """Whether people know the last news, and how."""
    match alert.delivery.status:
        case DeliveryStatus.SENT:
            return "by mail" if alert.delivery.error else "in a digest" if alert.digest else "yes"
        case DeliveryStatus.FAILED:
            return "failed"
        case DeliveryStatus.CLAIMED:
            return "being sent"
        case DeliveryStatus.PENDING:
            return "waits"


def _unfinished(delivery: Delivery) -> str:
    """What a delivery waits for, and what went wrong at the last attempt; empty where it is new, or all went well."""
    until = f" until {instant(delivery.wait_until)}" if delivery.wait_until else ""
    tried = f" after {counted(delivery.attempts, 'attempt')}" if delivery.attempts else ""
    way = " to be mailed" if delivery.is_diverted else ""
    waits = f"waits{way}{until}{tried}" if delivery.status in _WAITS and (until or tried or way) else ""
    return ": ".join(filter(None, (waits, delivery.error)))


# One alert.


@commands.command()
def show(
    ctx: typer.Context,
    name: NAME,
    period: Annotated[
        str | None,
        typer.Argument(metavar="[PERIOD]", help="2026-11, or an anomaly's first day. Default: the one that is open."),
    ] = None,
) -> None:
    """Show one alert: what raised it and when, the figures it told, what people did to it, and how it was delivered.

    With a period, also one that is over, as long as the ledger keeps it.

    Example: bedrock-costs alerts show "search monthly" 2026-10
    """
    options = options_of(ctx)
    routes = options.stack.policy().routes()
    found = alert_of(options.stack.outbox(), name, period)
    route = route_of(found, routes)
    rows = [(name, value) for name, value in _document(found, route).items()]
    document = {"alert": _document(found, route) | _details(found)}
    options.screen.emit(Result(document, ("field", "value"), rows, lambda screen: _render_one(found, route, screen)))


def _details(alert: Alert) -> dict[str, Any]:
    news = {"last_news": alert.news_kind.value, "changed_at": alert.changed_at}
    if alert.alarm is not None:
        alarm = alert.alarm
        about = {"meaning": alarm.meaning, "remedy": alarm.remedy, "guide": alarm.guide, "reason": alarm.reason}
        return about | {"is_raised": alarm.is_raised, "since": alarm.since} | news
    figures = alert.figures
    forecast = figures.forecast
    return {
        "counts": alert.subject.counts,
        "metric": alert.subject.metric,
        "billed": figures.billed,
        "estimated": figures.estimated,
        "pace_percent": figures.pace_percent,
        "forecast_p10": forecast.low if forecast else None,
        "forecast_p50": forecast.middle if forecast else None,
        "forecast_p90": forecast.high if forecast else None,
        "breach_on": forecast.breach_on if forecast else None,
        "crossed": [{"kind": t.kind.value, "threshold": t.label, "is_critical": t.is_critical} for t in alert.crossed],
        "drivers": [{"name": d.name, "amount": d.amount, "change": d.change} for d in figures.drivers],
        **news,
    }


def _about(alert: Alert) -> list[tuple[str, str]]:
    """What it is about: a budget's or an anomaly's spend, or what an alarm means."""
    if alert.alarm is not None:
        alarm = alert.alarm
        return [("means", alarm.meaning), ("do", alarm.remedy), ("see", alarm.guide), ("reason", alarm.reason)]
    figures, currency = alert.figures, alert.figures.limit.currency
    crossed = "; ".join(f"{t.kind.value.lower()} {t.label}" for t in alert.crossed)
    return [
        ("counts", alert.subject.counts),
        ("spent", standing(alert)),
        ("basis", f"{money(figures.billed, currency)} billed, {money(figures.estimated, currency)} estimated"),
        ("crossed", crossed or "no threshold any more"),
    ]


def _render_one(alert: Alert, route: Route, screen: Screen) -> None:
    screen.line(alert.key.budget if alert.alarm else f"{alert.key.budget}, {alert.key.period}", style="bold")
    parts = [
        ("state", _state(alert)),
        *_about(alert),
        ("raised", instant(alert.raised_at)),
        ("last news", f"{alert.news_kind.value}, number {alert.news}, at {instant(alert.changed_at)}"),
        ("route", route.name),
        ("message", alert.digest or _place(alert)),
        ("told", ", ".join(filter(None, (_told(alert), _unfinished(alert.delivery))))),
    ]
    for label, text in parts:
        if text:
            screen.line(f"  {label:<10} {text}")
    for driver in alert.figures.drivers:
        screen.line(f"  {money(driver.amount, alert.figures.limit.currency):>14}  {driver.name}")


commands.command()(preview)
commands.command("test")(send_test)
