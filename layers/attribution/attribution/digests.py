"""Digests: many alerts told at once because they came at once, and what the owners of a route spent in a day or a week."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from attribution.alerts import Alert, Delivery, DeliveryStatus, Message, News, Step
from attribution.formats import counted
from attribution.money import subtract
from attribution.routes import Route
from attribution.wording import money

# An item of DynamoDB holds 400 KB; a line of ours takes less than 600 bytes.
LINES_MAX = 500


class DigestKind(StrEnum):
    """Why there is a digest."""

    STORM = "storm"
    DAY = "day"
    WEEK = "week"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class DigestKey:
    """A route, and what tells its digests apart: the window of a storm, or an owner and a day."""

    route: str
    name: str

    def __str__(self) -> str:
        return f"{self.route}#{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class DigestLine:
    """One line; the lower its `rank`, the earlier it stands. `key` names the alert that it is about."""

    rank: int
    label: str
    amount: str
    note: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Digest:
    """A message that is sent once, at `due_at` or after it."""

    key: DigestKey
    kind: DigestKind
    title: str
    summary: str
    lines: tuple[DigestLine, ...]
    due_at: datetime
    daily: tuple[tuple[date, Decimal], ...] = ()
    told: int = 0
    message: Message | None = None
    delivery: Delivery = field(default_factory=Delivery)
    version: int = 0

    @property
    def news(self) -> int:
        """A digest is one piece of news."""
        return 1


@dataclass(frozen=True, slots=True)
class DigestFault:
    """A digest that could not be made: why at the last attempt, how many there were, and since when."""

    key: DigestKey
    error: str
    since: datetime
    last_at: datetime
    attempts: int = 1


def trial_digest(route: Route, by: str, now: datetime) -> Digest:
    """A message that only shows that a route's messages arrive, and what would come by it."""
    quiet = route.quiet
    hours = f"{quiet.begins:%H:%M} to {quiet.ends:%H:%M} {quiet.zone}" if quiet else "none"
    digests = [f"by {d.dimension} each {d.every} at {d.at:%H:%M} {d.zone}" for d in route.digests]
    lines = (("Tells", route.tells), ("Quiet hours", hours), ("Digests", ", ".join(digests) or "none"))
    return Digest(
        DigestKey(route.name, f"{DigestKind.TRIAL}#{now:%Y-%m-%dT%H:%M:%S}"),
        DigestKind.TRIAL,
        f"Test: route {route.name}",
        f"Nothing has happened, and nothing is to be done: {by} sent this to see that alerts arrive.",
        tuple(DigestLine(rank, *line) for rank, line in enumerate(lines)),
        now,
    )


def next_digest_step(digest: Digest) -> Step | None:
    """What is to be done next; None where it is told."""
    if digest.told:
        return None
    return Step.MAIL if digest.delivery.is_diverted else Step.POST


def storm_key(route: str, window_ends: datetime, number: int) -> DigestKey:
    """The digest of one window in a channel; a second one where the first is full, or on its way already."""
    return DigestKey(route, f"storm#{window_ends:%Y-%m-%dT%H:%M:%S}#{number}")


def takes_more(digest: Digest) -> bool:
    """Whether an alert can still be added."""
    return not digest.told and digest.delivery.status is DeliveryStatus.PENDING and len(digest.lines) < LINES_MAX


def collected(digest: Digest | None, key: DigestKey, alert: Alert, until: datetime) -> tuple[Digest, Alert]:
    """The digest of a storm with one more alert, and the alert whose news is the digest's to tell."""
    current = digest or Digest(
        key,
        DigestKind.STORM,
        "",
        "Each is still its own alert; what changes from now on is told by itself.",
        (),
        until,
        delivery=Delivery(DeliveryStatus.PENDING, wait_until=until),
    )
    others = (line for line in current.lines if line.key != str(alert.key))
    lines = tuple(sorted((*others, line_of(alert))))
    title = f"{counted(len(lines), 'alert')} within ten minutes"
    taken = replace(
        alert,
        told=alert.news,
        shown=alert.revision,
        digest=str(current.key),
        delivery=Delivery(DeliveryStatus.SENT),
    )
    return replace(current, lines=lines, title=title), taken


def line_of(alert: Alert) -> DigestLine:
    """An alert in one line: the broken budgets first, then alarms of the stack, then by how much of the budget is spent."""
    is_open = alert.news_kind in (News.RAISED, News.ESCALATED, News.RAISED_AGAIN, News.REMINDED)
    is_first = is_open and (alert.is_critical or alert.alarm is not None)
    rank = -alert.figures.percent - (1_000_000 if is_first else 0)
    note = "" if is_open else str(alert.news_kind)
    return DigestLine(rank, alert.key.budget, standing(alert), note, str(alert.key))


def standing(alert: Alert) -> str:
    """What an alert amounts to: `81 % · $975.33 of $1,200.00`, `$1,200.00 where $31.00 was expected`; what an alarm means."""
    if alert.alarm is not None:
        return alert.alarm.meaning or "in alarm" if alert.crossed else "over"
    figures = alert.figures
    spent, limit = (money(amount, figures.limit.currency) for amount in (figures.actual, figures.limit.amount))
    if alert.subject.is_anomaly:
        return f"{spent} where {limit} was expected"
    return f"{figures.percent} % · {spent} of {limit}"


def worst_first(alerts: Iterable[Alert]) -> list[Alert]:
    """Budgets by how much of the limit is spent, then anomalies by how much more than expected they cost, then alarms."""

    def rank(alert: Alert) -> tuple[int, Decimal, str]:
        figures, is_anomaly = alert.figures, alert.subject.is_anomaly
        kind = 2 if alert.alarm is not None else int(is_anomaly)
        size = subtract(figures.actual, figures.limit.amount) if is_anomaly else Decimal(figures.percent)
        return kind, size.copy_negate(), str(alert.key)

    return sorted(alerts, key=rank)
