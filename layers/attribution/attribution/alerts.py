"""Alerts: what a person needs to know about a budget that breaks, without markup, and the life of one alert.

Anomalies and the stack's own alarms are told by alerts, too.

One alert exists per budget and period: `ok` (no item) -> `alarm` -> `acknowledged`, `snoozed` or `muted` -> `recovered`. Its
`revision` counts what its message is to show; its `news` counts what people are to be told aloud. A threshold that is crossed
further, a bill that disproves the estimate, a recovery and the end of the period are news; an acknowledgement and figures that
moved are not, and only change a message that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attribution.money import EXACT, ZERO, Money, add
from attribution.wording import percent_of

# Figures that moved are shown no more often than this.
REFRESH_EVERY = timedelta(minutes=15)
# An alarm that nobody has taken is told again once a day.
REMIND_EVERY = timedelta(days=1)
# Spend that hovers about a threshold while AWS restates it must not tell of every turn: once back, it has to pass by this much.
_REARM_PERCENT = Decimal(1)


# What is known about a budget.


@dataclass(frozen=True, slots=True)
class AlertKey:
    """The identity of an alert: a budget and one of its periods."""

    budget: str
    period: str

    def __str__(self) -> str:
        return f"{self.budget}#{self.period}"


class ThresholdKind(StrEnum):
    """What is compared with a threshold, as AWS Budgets has it."""

    ACTUAL = "ACTUAL"
    FORECASTED = "FORECASTED"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold that is crossed. `name` tells it apart within its budget, `label` says it: `above 80 % of the budget`.

    `amount` is what spend has to pass, in the limit's unit; None where less spend is what raises the alarm. One that `latches`
    stays crossed for the rest of the period, whatever spend does.
    """

    kind: ThresholdKind
    name: str
    label: str
    amount: Decimal | None = None
    is_critical: bool = False
    latches: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """One of the largest parts of the spend; `change` against the equal span before, where that is known."""

    name: str
    amount: Decimal
    change: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the period will have spent at its end: an interval, and the day on which the limit is likely passed."""

    low: Decimal
    middle: Decimal
    high: Decimal
    breach_on: date | None = None
    probability_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """A budget's spend at one moment. Billed and estimated days are summed apart and never shown as one number unlabelled.

    `pace_percent` is the spend as a percentage of an even use of the limit until now, `daily` the spend by day, oldest first.
    """

    limit: Money
    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    drivers: tuple[Driver, ...] = ()
    forecast: Forecast | None = None
    pace_percent: int | None = None
    daily: tuple[tuple[date, Decimal], ...] = ()

    @property
    def actual(self) -> Decimal:
        """What is compared with the limit: billed days, and the estimate for days that the bill has not reached."""
        return add(self.billed, self.estimated)

    @property
    def percent(self) -> int:
        """Actual spend as a whole percentage of the limit, rounded down."""
        return percent_of(self.actual, self.limit.amount)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a budget counts, in words, and whose it is: `owners` decide the route and who may act.

    `adjusts_itself`: its limit follows earlier spend, so that another limit does not mean that somebody edited it. Of an
    anomaly (`is_anomaly`) the limit is what was expected, and `note` its state in a word.
    """

    counts: str
    metric: str
    owners: tuple[tuple[str, str], ...] = ()
    route: str = ""
    ends_at: datetime | None = None
    adjusts_itself: bool = False
    is_anomaly: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of the stack in the state that CloudWatch gave it at `since`, and why, in CloudWatch's words.

    `meaning`, `remedy` and `guide` are of its description: what it says, what to do, where more is written. Each may be empty.
    """

    name: str
    is_raised: bool
    since: datetime
    reason: str = ""
    meaning: str = ""
    remedy: str = ""
    guide: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """A budget as an evaluation found it: its figures, and the thresholds that are crossed, the lowest first.

    `unjudged` names those that cannot be judged now: forecasts without enough history, days that still grow. `is_explained`:
    drivers were looked for, and those of the figures are all there are.
    """

    key: AlertKey
    subject: Subject
    figures: Figures
    crossed: tuple[Threshold, ...] = ()
    unjudged: tuple[str, ...] = ()
    is_explained: bool = False


# The alert.


class AlertState(StrEnum):
    """Where an alert is in its life; a budget without an alert is ok."""

    ALARM = "alarm"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    MUTED = "muted"
    RECOVERED = "recovered"


class News(StrEnum):
    """What the last thing told aloud was."""

    RAISED = "raised"
    ESCALATED = "escalated"
    RAISED_AGAIN = "raised again"
    CORRECTED = "corrected"
    RECOVERED = "recovered"
    REMINDED = "reminded"
    ENDED = "ended"


class DeliveryStatus(StrEnum):
    """Whether people have been told what there is to tell. `claimed`: an attempt is at it, or ended while it was."""

    PENDING = "pending"
    CLAIMED = "claimed"
    SENT = "sent"
    FAILED = "failed"


class Step(StrEnum):
    """One request to a channel. `mail` is the second route."""

    POST = "post"
    UPDATE = "update"
    REPLY = "reply"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of what is not told or shown yet.

    `wait_until` ends the lease of a claim, or is when a pending step may be tried; `has_turn` where the channel gave that time.
    `in_doubt` is the news whose message may have arrived unconfirmed, zero for none; `cannot_ask` where the channel cannot say
    whether it did, and `is_repeat` where the claim therefore sends it again. `is_diverted`: the second route has to tell.
    """

    status: DeliveryStatus = DeliveryStatus.PENDING
    step: Step | None = None
    attempts: int = 0
    wait_until: datetime | None = None
    has_turn: bool = False
    in_doubt: int = 0
    cannot_ask: bool = False
    is_repeat: bool = False
    is_diverted: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that can be changed: the route it went by, its channel and its time stamp there."""

    route: str
    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `version` counts its writes; `seen` are the thresholds that were ever crossed; `told`, `shown` follow `news`,
    `revision`; `news_actual` is the spend that the last news told, `previous_actual` that of the one before. That of an `alarm`
    has no figures."""

    key: AlertKey
    subject: Subject
    figures: Figures
    state: AlertState
    crossed: tuple[Threshold, ...]
    seen: tuple[str, ...]
    raised_at: datetime
    changed_at: datetime
    revision: int = 1
    news: int = 1
    news_kind: News = News.RAISED
    news_actual: Decimal = ZERO
    previous_actual: Decimal | None = None
    told: int = 0
    shown: int = 0
    handled_by: str = ""
    snoozed_until: datetime | None = None
    is_ended: bool = False
    message: Message | None = None
    digest: str = ""
    delivery: Delivery = Delivery()
    version: int = 0
    alarm: Alarm | None = None

    @property
    def highest(self) -> Threshold | None:
        """The threshold that speaks for all that are crossed: the highest; of equal ones what happened, not what will."""
        ranked = sorted(self.crossed, key=lambda t: (t.amount is not None, t.amount or ZERO, t.kind is ThresholdKind.ACTUAL))
        return ranked[-1] if ranked else None

    @property
    def is_critical(self) -> bool:
        """Whether the budget is broken, not only about to be."""
        return any(threshold.is_critical for threshold in self.crossed)

    @property
    def is_untold(self) -> bool:
        """Whether there is news that people are to be told; of a muted alert there is none."""
        return self.told < self.news and self.state is not AlertState.MUTED

    @property
    def kind(self) -> str:
        """What it is about, in a word."""
        return "alarm" if self.alarm is not None else "anomaly" if self.subject.is_anomaly else "budget"

    @property
    def is_open(self) -> bool:
        """Whether it is not over: neither has everything recovered, nor has the period ended."""
        return self.state is not AlertState.RECOVERED and not self.is_ended

    @property
    def due_at(self) -> datetime | None:
        """When somebody has to look at it although nothing happens: a wait, a snooze or the period ends, an alarm lasts."""
        times = [
            self.delivery.wait_until,
            self.snoozed_until if self.state is AlertState.SNOOZED else None,
            None if self.is_ended else self.subject.ends_at,
            self.changed_at + REMIND_EVERY if self.alarm is not None and self.state is AlertState.ALARM else None,
        ]
        return min((t for t in times if t is not None), default=None)


def is_called(key: AlertKey, name: str) -> bool:
    """Whether people mean this alert by a name, with or without the word before it that sets it apart from budgets."""
    bare = key.budget.partition(": ")[2] or key.budget
    return name.casefold() in (key.budget.casefold(), bare.casefold())


def next_step(alert: Alert, *, updates: bool) -> Step | None:
    """What is to be done next on a channel that can change its messages, or not; None where everything is told and shown."""
    if alert.delivery.is_diverted:
        return Step.MAIL if alert.is_untold else None
    if not updates or alert.message is None:
        return Step.POST if alert.is_untold else None
    if alert.shown < alert.revision:
        return Step.UPDATE
    return Step.REPLY if alert.is_untold else None


# What an evaluation does to it.


def observe(found: Observation, current: Alert | None, now: datetime) -> Alert | None:
    """The alert after an evaluation; None where there is nothing new to tell or show."""
    if current is None:
        return _raised(found, now) if found.crossed else None
    counting = [t for t in found.crossed if _counts(t, found.figures, current)]
    kept = [t for t in current.crossed if t.name not in {c.name for c in counting} and _stays(t, found, current)]
    crossed = (*kept, *counting)
    before = {threshold.name for threshold in current.crossed}
    added = [t for t in crossed if t.name not in before]
    removed = [t for t in current.crossed if t.name not in {c.name for c in crossed}]
    seen = tuple(sorted({*current.seen, *(t.name for t in crossed)}))
    # Drivers are looked for only for news.
    is_explained = found.is_explained or found.figures.drivers
    figures = found.figures if is_explained else replace(found.figures, drivers=current.figures.drivers)
    looked_at = replace(current, subject=found.subject, figures=figures, crossed=crossed, seen=seen)
    if added or removed:
        return _moved(looked_at, current.state, added, removed, now)
    if _is_old(current, found.figures, now):
        return revised(looked_at, now)
    return None


def _raised(found: Observation, now: datetime) -> Alert:
    return Alert(
        key=found.key,
        subject=found.subject,
        figures=found.figures,
        state=AlertState.ALARM,
        crossed=found.crossed,
        seen=tuple(sorted(t.name for t in found.crossed)),
        raised_at=now,
        changed_at=now,
        news_actual=found.figures.actual,
        # What is found out about a period that is over has no end to tell of.
        is_ended=found.subject.ends_at is not None and found.subject.ends_at <= now,
    )


def _counts(threshold: Threshold, figures: Figures, current: Alert) -> bool:
    """Whether a crossed threshold counts: one that was crossed before and is not now has to be passed by more."""
    if threshold.kind is ThresholdKind.FORECASTED or threshold.amount is None or threshold.name not in current.seen:
        return True
    if any(threshold.name == t.name for t in current.crossed):
        return True
    band = EXACT.scaleb(EXACT.multiply(figures.limit.amount, _REARM_PERCENT), Decimal(-2))
    return figures.actual > add(threshold.amount, band)


def _stays(threshold: Threshold, found: Observation, current: Alert) -> bool:
    """Whether a threshold that is not found crossed stays so: it cannot be judged now, or it latches under the same limit."""
    is_edited = found.figures.limit != current.figures.limit and not found.subject.adjusts_itself
    return threshold.name in found.unjudged or (threshold.latches and not is_edited)


def _moved(alert: Alert, state: AlertState, added: Sequence[Threshold], removed: Sequence[Threshold], now: datetime) -> Alert:
    if state is AlertState.MUTED:
        return revised(alert, now)
    if added:
        if state is AlertState.SNOOZED and not any(t.is_critical for t in added):
            return revised(alert, now)
        is_back = state is AlertState.RECOVERED
        kind = News.RAISED_AGAIN if is_back else News.ESCALATED
        since = {"raised_at": now} if is_back else {}
        return with_news(alert, kind, now, state=AlertState.ALARM, handled_by="", snoozed_until=None, **since)
    if not alert.crossed:
        return with_news(alert, News.RECOVERED, now, state=AlertState.RECOVERED, snoozed_until=None)
    is_corrected = any(t.kind is ThresholdKind.ACTUAL for t in removed) and state is not AlertState.SNOOZED
    return with_news(alert, News.CORRECTED, now) if is_corrected else revised(alert, now)


def _is_old(current: Alert, figures: Figures, now: datetime) -> bool:
    """Whether what the message shows has moved by what a reader would notice, and long enough ago."""
    return now - current.changed_at >= REFRESH_EVERY and _at_a_glance(current.figures) != _at_a_glance(figures)


def _at_a_glance(figures: Figures) -> tuple[object, ...]:
    breach_on = figures.forecast.breach_on if figures.forecast else None
    return (figures.limit, figures.percent, bool(figures.estimated), breach_on)


def revised(alert: Alert, now: datetime, **changes: Any) -> Alert:
    """The alert with something else to show, which nobody needs to be told."""
    changed = replace(alert, revision=alert.revision + 1, changed_at=now, **changes)
    return replace(changed, delivery=_reopened(changed.delivery))


def with_news(alert: Alert, kind: News, now: datetime, **changes: Any) -> Alert:
    """The alert with news."""
    return revised(
        alert,
        now,
        news=alert.news + 1,
        news_kind=kind,
        previous_actual=alert.news_actual,
        news_actual=alert.figures.actual,
        **changes,
    )


def _reopened(delivery: Delivery) -> Delivery:
    """Pending again; a claim stays what it is, and whoever holds it finds more to do when it is done."""
    if delivery.status is DeliveryStatus.CLAIMED:
        return delivery
    attempts = delivery.attempts if delivery.status is DeliveryStatus.PENDING else 0
    return Delivery(DeliveryStatus.PENDING, attempts=attempts, in_doubt=delivery.in_doubt, cannot_ask=delivery.cannot_ask)


# What people and the calendar do to it.


def acknowledge(alert: Alert, by: str, now: datetime) -> Alert | None:
    """Somebody has it: nothing is told until a further threshold is crossed, or it recovers. None where somebody had it."""
    if alert.state not in (AlertState.ALARM, AlertState.SNOOZED):
        return None
    return revised(alert, now, state=AlertState.ACKNOWLEDGED, handled_by=by, snoozed_until=None)


def snooze(alert: Alert, by: str, until: datetime, now: datetime) -> Alert | None:
    """Nothing is told until then, unless a critical threshold is crossed. None where there is nothing to snooze."""
    if alert.state in (AlertState.MUTED, AlertState.RECOVERED) or until <= now:
        return None
    if alert.state is AlertState.SNOOZED and alert.snoozed_until == until:
        return None
    return revised(alert, now, state=AlertState.SNOOZED, handled_by=by, snoozed_until=until)


def mute(alert: Alert, by: str, now: datetime) -> Alert | None:
    """Nothing more is told of this period. None where it is muted."""
    if alert.state is AlertState.MUTED:
        return None
    return revised(alert, now, state=AlertState.MUTED, handled_by=by, snoozed_until=None)


def resume(alert: Alert, by: str, now: datetime) -> Alert | None:
    """Tell of it again. None where nothing was silenced."""
    if alert.state not in (AlertState.SNOOZED, AlertState.MUTED):
        return None
    state = AlertState.ALARM if alert.crossed else AlertState.RECOVERED
    return revised(alert, now, state=state, handled_by=by, snoozed_until=None)


def wake(alert: Alert, now: datetime) -> Alert | None:
    """The alert after time has passed: its snooze is over, its period has ended, its alarm lasts. None where none is so."""
    if not alert.is_ended and alert.subject.ends_at is not None and alert.subject.ends_at <= now:
        ended = replace(alert, is_ended=True)
        if alert.state is AlertState.MUTED:
            return revised(ended, now)
        return with_news(ended, News.ENDED, now, snoozed_until=None, state=_awake(alert))
    if alert.state is AlertState.SNOOZED and alert.snoozed_until is not None and alert.snoozed_until <= now:
        if not alert.crossed:
            return revised(alert, now, state=AlertState.RECOVERED, snoozed_until=None)
        return with_news(alert, News.REMINDED, now, state=AlertState.ALARM, handled_by="", snoozed_until=None)
    is_untaken = alert.alarm is not None and alert.state is AlertState.ALARM
    return with_news(alert, News.REMINDED, now) if is_untaken and alert.changed_at + REMIND_EVERY <= now else None


def _awake(alert: Alert) -> AlertState:
    if alert.state is not AlertState.SNOOZED:
        return alert.state
    return AlertState.ALARM if alert.crossed else AlertState.RECOVERED
