"""Routes: in which channel whose alerts are told, when it is quiet, how many at once; and which Slack user sees what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

# Slack takes about one message a second in a channel.
PACE = timedelta(seconds=1)
STORM_WINDOW = timedelta(minutes=10)
DEFAULT_ROUTE = "default"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Local times between which only critical alerts are told, where `critical_passes`. May go over midnight."""

    begins: time
    ends: time
    zone: ZoneInfo
    critical_passes: bool = True

    def end_after(self, now: datetime) -> datetime | None:
        """When the quiet hours that `now` lies in end, in UTC; None outside of them."""
        local = now.astimezone(self.zone)
        clock = local.time()
        over_midnight = self.ends <= self.begins
        inside = (clock >= self.begins or clock < self.ends) if over_midnight else self.begins <= clock < self.ends
        if not inside:
            return None
        day = local.date() + timedelta(days=1 if over_midnight and clock >= self.begins else 0)
        # A local time that a clock change skips is read with the offset before it, so that the end is never missed.
        end = datetime.combine(day, self.ends, self.zone).astimezone(UTC)
        return end if end > now else now + timedelta(hours=1)


class DigestEvery(StrEnum):
    """How often a route tells what its owners spent."""

    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class DigestSchedule:
    """A digest of spend for each value of `dimension` that the route matches, at `at` local time; weekly ones on Monday."""

    every: DigestEvery
    dimension: str
    at: time
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Route:
    """One channel and its manners.

    `matches` are owners whose budgets it tells; the first route that matches wins, and one without matches takes the rest.
    One that `tells_alarms` of the stack itself takes nothing else without matches.
    `secret` names a webhook or a bot token, never holds it; `channel` is a Slack channel id, for a bot token alone.
    """

    name: str = DEFAULT_ROUTE
    secret: str = ""
    channel: str = ""
    matches: tuple[tuple[str, str], ...] = ()
    tells_alarms: bool = False
    quiet: QuietHours | None = None
    storm_limit: int = 5
    has_charts: bool = True
    mention: str = ""
    digests: tuple[DigestSchedule, ...] = ()

    @property
    def tells(self) -> str:
        """What it tells, in words."""
        matched = [f"{dimension} {value}" for dimension, value in self.matches]
        alarms = ["alarms of the stack"] if self.tells_alarms else []
        return ", ".join(matched + alarms) or "everything that no other route matches"


def route_for(name: str, owners: Iterable[tuple[str, str]], routes: Sequence[Route]) -> Route:
    """The route of that name, else the first that matches an owner, else the first that matches everybody."""
    by_name = {route.name: route for route in routes}
    if name in by_name:
        return by_name[name]
    wanted = set(owners)
    for route in routes:
        if wanted & set(route.matches):
            return route
    return next((route for route in routes if not (route.matches or route.tells_alarms)), by_name.get(DEFAULT_ROUTE, Route()))


def route_of_alarms(routes: Sequence[Route]) -> Route:
    """The route that tells the stack's own alarms, else the one that tells what belongs to nobody."""
    return next((route for route in routes if route.tells_alarms), None) or route_for("", (), routes)


# The traffic of a channel.


class Admission(StrEnum):
    """Whether a message may go out now, waits for its turn, or becomes a line of a digest, because too many come at once."""

    SEND = "send"
    WAIT = "wait"
    COLLECT = "collect"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a channel was sent lately: when it may be sent to again, until when turns are given, and how many in the window."""

    next_at: datetime
    tail_at: datetime
    window_from: datetime
    count: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """The traffic after a message asked to be sent; `until` is its turn, or the end of the window it is collected in."""

    admission: Admission
    traffic: Traffic
    until: datetime


def admit(traffic: Traffic | None, now: datetime, *, is_loud: bool, has_turn: bool, storm_limit: int) -> Admitted:
    """Ask for a message to be sent now; `has_turn` where it waited for a turn that has come.

    At most one goes out a second. Those that wait get turns a second apart, so that they do not come back together. New
    messages beyond `storm_limit` within ten minutes are collected; an update of a message that exists disturbs nobody.
    """
    current = traffic or Traffic(now, now, now)
    if now >= current.window_from + STORM_WINDOW:
        current = replace(current, window_from=now, count=0)
    # Turns that were given and have not come.
    waiting = 0 if has_turn or current.tail_at <= now else max(0, 1 - (max(current.next_at, now) - current.tail_at) // PACE)
    if is_loud and current.count + waiting >= storm_limit:
        return Admitted(Admission.COLLECT, current, current.window_from + STORM_WINDOW)
    if now < current.next_at:
        turn = max(current.next_at, current.tail_at + PACE)
        return Admitted(Admission.WAIT, replace(current, tail_at=turn), turn)
    sent = replace(current, next_at=now + PACE, tail_at=max(current.tail_at, now), count=current.count + int(is_loud))
    return Admitted(Admission.SEND, sent, now)


def held(traffic: Traffic | None, now: datetime, until: datetime) -> Traffic:
    """The traffic of a channel that asked to be left alone until then."""
    current = traffic or Traffic(now, now, now)
    return replace(current, next_at=max(current.next_at, until), tail_at=max(current.tail_at, until - PACE))


# Who sees what.


@dataclass(frozen=True, slots=True)
class Viewer:
    """Slack users and the owners they may see; `sees_all` for FinOps."""

    users: tuple[str, ...]
    owners: tuple[tuple[str, str], ...] = ()
    sees_all: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What one Slack user may see: nothing, unless the policy says so."""

    owners: frozenset[tuple[str, str]] = frozenset()
    sees_all: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.sees_all or self.owners)

    def sees(self, owners: Iterable[tuple[str, str]]) -> bool:
        """Whether what belongs to these may be seen: in one dimension, all of them may.

        What belongs to one of some teams and uses one of some models is a part of what the teams have. What belongs to nobody
        in particular may be seen by those who see all.
        """
        values: dict[str, set[tuple[str, str]]] = {}
        for dimension, value in owners:
            values.setdefault(dimension, set()).add((dimension, value))
        return self.sees_all or any(wanted <= self.owners for wanted in values.values())

    def values(self, dimension: str) -> frozenset[str]:
        """The values of a dimension that may be seen; not asked of those who see all."""
        return frozenset(value for name, value in self.owners if name == dimension)


def scope_of(user: str, viewers: Iterable[Viewer]) -> Scope:
    """Everything that the policy lets a user see, together."""
    mine = [viewer for viewer in viewers if user in viewer.users]
    return Scope(frozenset(owner for viewer in mine for owner in viewer.owners), any(viewer.sees_all for viewer in mine))
