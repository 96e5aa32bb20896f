"""Answer people in Slack: what they may see of spend, alerts and requests, and what they say to an alert.

Everything is scoped to the owners that the policy maps the user to; whoever is mapped to nothing is told how to be. What may
not be seen and what is not there are answered alike. Each answer is safe to repeat: Slack may ask again.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from attribution.alerts import Alert, AlertKey, acknowledge, is_called, mute, resume, snooze
from attribution.allocation import subject_of_usage
from attribution.anomaly_alerts import anomaly_name
from attribution.anomaly_tracking import Verdict, event_of, judge
from attribution.conversation import Pressed, Reply, Typed
from attribution.day_directory import directory_of_day, ids_named
from attribution.days import DIMENSIONS, UNALLOCATED
from attribution.digests import DigestLine, standing, worst_first
from attribution.errors import PolicyInvalid
from attribution.formats import counted
from attribution.periods import BillingPeriod, Span
from attribution.ports import Anomalies, Clock, DirectoryOfDays, Invocations, Outbox, Policy, ReadDays, Routes
from attribution.reporting.requests import list_cost
from attribution.routes import Scope, scope_of
from attribution.spending import Spending, basis_of, read_spending
from attribution.usage import Invocation, InvocationKey, Metered, Observed, contribution
from attribution.wording import money, percent_change

_SHOWN_MAX = 15
_KEY_PARTS = 3
_SNOOZE_DAYS = ("1", "3", "7")
_DEFAULT_SNOOZE = timedelta(days=7)
_WRITE_ATTEMPTS = 5
_VERDICTS = {"planned": Verdict.PLANNED, "not_an_issue": Verdict.NO}
# What the buttons of a message say, as words, by what the buttons send.
_SAYINGS = {name: name for name in ("acknowledge", "snooze", "mute", "resume", "planned")} | {"not-an-issue": "not_an_issue"}
_KINDS = (
    ("budget", "budget", "budgets"),
    ("anomaly", "anomaly", "anomalies"),
    ("alarm", "alarm of the stack", "alarms of the stack"),
)
NOTHING = "There is nothing of that name that you may see."
NOTHING_OPEN = "Nothing that you may see has an open alert."
NOT_RECORDED = "That request is not recorded, or not yours."


@dataclass(frozen=True, slots=True)
class World:
    """What answers are made from."""

    outbox: Outbox
    routes: Routes
    policy: Policy
    days: ReadDays
    invocations: Invocations
    directory: DirectoryOfDays
    anomalies: Anomalies
    clock: Clock
    account_id: str = ""
    region: str = ""


# Buttons.


def answer_pressed(pressed: Pressed, world: World) -> Reply | None:
    """Do what a button says; None where it was done or had been, else why it was not."""
    scope = scope_of(pressed.user, world.routes.viewers())
    return _silence(pressed, scope, world)


def _silence(pressed: Pressed, scope: Scope, world: World) -> Reply | None:
    for _ in range(_WRITE_ATTEMPTS):
        alert = world.outbox.get(pressed.key)
        if not scope.sees(alert.subject.owners if alert else ()):
            return _unmapped(pressed.user) if scope.is_empty else Reply("This alert is not yours", _ask(pressed.user))
        if alert is None:
            return Reply("This alert is gone", "It is older than alerts are kept.")
        if alert.news > pressed.news and pressed.action in ("acknowledge", "snooze"):
            return Reply("There is news", f"{alert.key.budget} has changed since that message. Look at the newest one first.")
        if pressed.action in _VERDICTS and alert.subject.is_anomaly:
            _judge(pressed, world)
            # It ends with the next look at the ledger; until then somebody has it.
            following = acknowledge(alert, pressed.user, world.clock())
        else:
            following = _after(alert, pressed, world.clock())
        if following is None or world.outbox.put(following, replacing=alert) is not None:
            return None
    return Reply("Please press again", "Others changed this alert at the same moment.")


def _judge(pressed: Pressed, world: World) -> None:
    """Keep what somebody says of an anomaly, for every anomaly of its event."""
    known = world.anomalies.since(date.fromisoformat(pressed.key.period))
    for anomaly in event_of(anomaly_name(pressed.key), known):
        world.anomalies.judge(judge(anomaly, _VERDICTS[pressed.action], None, pressed.user, pressed.at))


def _after(alert: Alert, pressed: Pressed, now: datetime) -> Alert | None:
    match pressed.action:
        case "acknowledge":
            return acknowledge(alert, pressed.user, now)
        case "snooze":
            return snooze(alert, pressed.user, _until(alert, pressed), now)
        case "mute":
            return mute(alert, pressed.user, now)
        case "resume":
            return resume(alert, pressed.user, now)
    return None


def _until(alert: Alert, pressed: Pressed) -> datetime:
    """Counted from when it was asked for, so that the same request again changes nothing."""
    if pressed.span in _SNOOZE_DAYS:
        return pressed.at + timedelta(days=int(pressed.span))
    return alert.subject.ends_at or pressed.at + _DEFAULT_SNOOZE


def _ask(user: str) -> str:
    return f"Ask FinOps to map your Slack user id {user} to it: `slack_users` in the policy."


def _unmapped(user: str) -> Reply:
    return Reply("You are not mapped to anything yet", _ask(user))


# Words.


def answer_typed(typed: Typed, world: World) -> Reply:
    """Answer one command."""
    words = typed.text.split()
    scope = scope_of(typed.user, world.routes.viewers())
    verb = words[0].lower() if words else "help"
    if verb == "help":
        return _help(typed.user, scope, world)
    if scope.is_empty:
        return _unmapped(typed.user)
    if verb == "budget":
        return _open_alerts(" ".join(words[1:]), scope, world)
    if verb == "request":
        return _request(words[1:], scope, world)
    if verb in _SAYINGS:
        return _said(verb, words[1:], typed, scope, world)
    return _spending(words, scope, world)


def _dimensions(world: World) -> tuple[str, ...]:
    return (*world.policy.rules(world.clock().date()).names, *DIMENSIONS)


def _help(user: str, scope: Scope, world: World) -> Reply:
    category = next(iter(_dimensions(world)), "team")
    lines = [
        DigestLine(1, f"{category} [value] [yyyy-mm]", f"what each {category} spent, or one of them by day"),
        DigestLine(2, "model [name] [yyyy-mm]", "the same by model, or by any other dimension"),
        DigestLine(3, "budget [name]", "the alerts that are open, of budgets and of anomalies"),
        DigestLine(4, "request <id>", "what one call cost"),
        DigestLine(5, "acknowledge | snooze | mute | resume <name>", "what the buttons of an alert's message do"),
        DigestLine(6, "planned | not-an-issue <name>", "what the buttons of an anomaly's message do"),
    ]
    if scope.sees_all:
        seen = "You see everything."
    elif scope.is_empty:
        seen = f"You see nothing yet. {_ask(user)}"
    else:
        owners = [f"{dimension} {value}" for dimension, value in sorted(scope.owners)]
        seen = f"You see {', '.join(owners[:_SHOWN_MAX])}."
    return Reply("Bedrock costs", seen, lines)


def _spending(words: list[str], scope: Scope, world: World) -> Reply:
    names = {name.lower(): name for name in _dimensions(world)}
    dimension = names.get(words[0].lower())
    if dimension is None:
        return Reply("That is no command", f"Begin with budget, request, help, or one of {', '.join(_dimensions(world))}.")
    rest, period = _period(words[1:], world.clock().date())
    if period is None:
        return Reply("That is no period", "Write it as 2026-11.")
    value = " ".join(rest)
    seen = _seen(dimension, value, scope)
    today = world.clock().astimezone(UTC).date()
    span = Span(period.first_day, min(period.last_day, max(today, period.first_day)))
    read = read_spending(world.days, dimension, span, seen)
    if not read.spendings:
        said = (
            f"There is nothing of that name that you may see in {period}."
            if value
            else f"Nothing that you may see was spent in {period}."
        )
        return Reply(f"{dimension} {value}".strip(), said)
    summary = [f"{span}. {basis_of(read.spendings)}"]
    if read.missing:
        summary.append(f"{counted(len(read.missing), 'day')} without sums by {dimension} are not in it.")
    # One name may have spent in several currencies, which are no one number, and be spelled in several ways.
    if value and len(read.spendings) == 1:
        return _one(read.spendings[0], dimension, span, summary, seen, world)
    lines = [_line(rank, spending) for rank, spending in enumerate(read.spendings[:_SHOWN_MAX])]
    if len(read.spendings) > _SHOWN_MAX:
        summary.append(f"The largest {_SHOWN_MAX} of {len(read.spendings):,}.")
    return Reply(f"{dimension} {value}" if value else f"Spend by {dimension}", "\n".join(summary), lines)


def _period(words: Sequence[str], today: date) -> tuple[Sequence[str], BillingPeriod | None]:
    """The words without a period at their end, and the period: this one where none is named; None for one that is none."""
    last = words[-1] if words else ""
    if not (last[:4].isdigit() and last[4:5] == "-"):
        return words, BillingPeriod.of(today)
    try:
        return words[:-1], BillingPeriod.parse(last)
    except PolicyInvalid:
        return words, None


def _seen(dimension: str, value: str, scope: Scope) -> Callable[[str], bool]:
    def seen(found: str) -> bool:
        if value and found.casefold() != value.casefold():
            return False
        return scope.sees_all or (found != UNALLOCATED and found in scope.values(dimension))

    return seen


def _line(rank: int, spending: Spending) -> DigestLine:
    requests = counted(spending.requests, "request")
    return DigestLine(rank, spending.value or "(no value)", money(spending.actual, spending.currency), requests)


def _one(
    spending: Spending, dimension: str, span: Span, summary: list[str], seen: Callable[[str], bool], world: World
) -> Reply:
    days = len(span.days)
    span_before = _month_before(span)
    earlier = read_spending(world.days, dimension, span_before, seen)
    before = next((s for s in earlier.spendings if s.currency == spending.currency), None)
    lines = [_line(0, spending)]
    if before is not None:
        lacking = len(span_before.days) - len(earlier.known) + len(earlier.missing)
        # A month of which days are not known is no measure.
        pace = f"{counted(lacking, 'day')} of it not known" if lacking else percent_change(spending.actual, before.actual)
        lines.append(DigestLine(1, "The same days a month before", money(before.actual, spending.currency), pace))
    lines.append(
        DigestLine(2, "A day", money(spending.actual / days, spending.currency), f"on average over {counted(days, 'day')}")
    )
    daily = tuple((day, spending.in_days((day,))) for day in span.days)
    return Reply(f"{dimension} {spending.value}", "\n".join(summary), lines, daily)


def _month_before(span: Span) -> Span:
    """The days of the month before with the same numbers, as far as it has them."""
    first = (span.first - timedelta(days=1)).replace(day=1)
    length = monthrange(first.year, first.month)[1]
    return Span(first, first.replace(day=min(span.last.day, length)))


def _alerts(name: str, scope: Scope, world: World) -> list[Alert]:
    """The alerts that the user may see of periods that have not ended and of open anomalies, the worst first."""
    found = world.outbox.get_many(key for key in world.outbox.open() if isinstance(key, AlertKey))
    return worst_first(
        alert
        for alert in found.values()
        if scope.sees(alert.subject.owners) and not alert.is_ended and (not name or is_called(alert.key, name))
    )


def _open_alerts(name: str, scope: Scope, world: World) -> Reply:
    alerts = [alert for alert in _alerts(name, scope, world) if alert.is_open]
    if not alerts:
        said = f"{name} has no open alert that you may see." if name else NOTHING_OPEN
        return Reply("Open alerts", said)
    daily = alerts[0].figures.daily if name else ()
    return Reply("Open alerts", _count(alerts), _alert_lines(alerts), daily)


def _count(alerts: Sequence[Alert]) -> str:
    counts = Counter(alert.kind for alert in alerts)
    parts = [f"{counts[kind]:,} {one if counts[kind] == 1 else many}" for kind, one, many in _KINDS if counts[kind]]
    more = f" The worst {_SHOWN_MAX} are listed." if len(alerts) > _SHOWN_MAX else ""
    return f"{' and '.join(parts)} in alarm, or silenced.{more}"


def _alert_lines(alerts: Sequence[Alert]) -> list[DigestLine]:
    return [_alert_line(rank, alert) for rank, alert in enumerate(alerts[:_SHOWN_MAX])]


def _alert_line(rank: int, alert: Alert) -> DigestLine:
    since = "since " if alert.subject.is_anomaly else ""
    period = "" if alert.alarm is not None else f" {since}{alert.key.period}"
    return DigestLine(rank, f"{alert.key.budget}{period}", standing(alert), alert.state)


def _said(verb: str, words: Sequence[str], typed: Typed, scope: Scope, world: World) -> Reply:
    """What a button does, said in words: for those who have only a webhook's messages."""
    action, span = _SAYINGS[verb], ""
    if verb == "snooze" and len(words) > 1 and words[-1] in (*_SNOOZE_DAYS, "end"):
        words, span = words[:-1], words[-1]
    name = " ".join(words)
    alerts = [alert for alert in _alerts(name, scope, world) if alert.subject.is_anomaly or action not in _VERDICTS]
    if not name:
        still = [alert for alert in alerts if alert.is_open]
        return Reply(verb, f"Write its name behind {verb}." if still else NOTHING_OPEN, _alert_lines(still))
    if not alerts:
        return Reply(f"{verb} {name}", NOTHING)
    for alert in alerts:
        refused = _silence(Pressed(typed.user, action, alert.key, alert.news, typed.at, span or "1"), scope, world)
        if refused is not None:
            return refused
    now = [current for alert in alerts if (current := world.outbox.get(alert.key)) is not None]
    return Reply(f"{verb} {name}", "", _alert_lines(now))


# One request.


def _request(words: Sequence[str], scope: Scope, world: World) -> Reply:
    if len(words) != 1:
        return Reply("request", "Write one request id, or account/region/id for a call elsewhere.")
    parts = words[0].replace("#", "/").split("/")
    key = InvocationKey(*parts) if len(parts) == _KEY_PARTS else InvocationKey(world.account_id, world.region, words[0])
    found = world.invocations.get(key)
    owners = _owners(found, world) if found is not None else ()
    if found is None or not (scope.sees_all or any(scope.sees([owner]) for owner in owners)):
        return Reply("request", NOT_RECORDED)
    half = found.metered or found.observed
    if half is None:
        return Reply("request", NOT_RECORDED)
    lines = [
        DigestLine(
            rank, str(kind), f"{priced.units:,}", money(priced.cost, half.currency) if priced.cost is not None else "unpriced"
        )
        for rank, (kind, priced) in enumerate(half.kinds.items())
    ]
    seen = [f"{dimension} {value}" for dimension, value in owners if scope.sees([(dimension, value)])]
    owner = ", ".join(seen) or "nobody that the call names"
    model = half.model if isinstance(half, Metered) else half.model_id
    summary = f"{model} at {half.timestamp:%Y-%m-%d %H:%M} UTC. Owner: {owner}.\n{_cost(half)}"
    return Reply(f"request {key.request_id}", summary, lines)


def _cost(half: Metered | Observed) -> str:
    amount = list_cost(half)
    if amount is None:
        return "Its cost is not known: a part of it has no price, or nothing says all that was used."
    return f"{amount.normalize():f} {half.currency} at list price; what AWS bills may differ."


def _owners(invocation: Invocation, world: World) -> tuple[tuple[str, str], ...]:
    """Whose it is, as far as nothing in the bill could say otherwise."""
    usage = contribution(invocation)
    if usage is None:
        return ()
    key = usage.key
    rules = world.policy.rules(key.usage_date)
    known = world.directory.attributes_on(ids_named([key]), key.usage_date)
    subject = subject_of_usage(key, None, rules, directory_of_day(known, rules))
    values = rules.decide(subject, "", is_shared=False)
    decided = (v for c, v in zip(rules.categories, values, strict=True) if c.is_decided_without_bill(subject))
    return tuple((value.category, value.value) for value in decided if value.value)
