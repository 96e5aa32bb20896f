"""Anomalies over time: one that is looked at again is the same one, told once, and judged by people.

What the detector finds is matched with what is known: the same series with a day in common is the same anomaly, also where a
bill has moved its first day. One that is found no more was taken back by the figures, or people have judged its days. Several
monitors may see one event; it is told by one of their anomalies, and the others are a part of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from attribution.anomalies import NEW_NORMAL_DAYS, Anomaly, JudgedDays, RootCause, Series, name_of
from attribution.errors import PolicyInvalid
from attribution.money import multiply, subtract

# What ended longer ago, as when a month is brought in from the past, is listed and not told.
_TELLS_DAYS = 3
_GROWN = Decimal(2)
# Causes are ranked anew once the impact has moved by a tenth: that reads the charges of all its days.
_RANKS_ANEW = Decimal(10)
_DAY = timedelta(days=1)


class Verdict(StrEnum):
    """What people say of an anomaly; AWS has the same three."""

    YES = "yes"
    NO = "no"
    PLANNED = "planned"


class State(StrEnum):
    """Where an anomaly is in its life."""

    OPEN = "open"
    ENDED = "ended"
    NEW_NORMAL = "new normal"
    PLANNED = "planned"
    NOT_AN_ISSUE = "not an issue"
    WITHDRAWN = "withdrawn"
    """The figures were restated, or no monitor watches it any more."""


_JUDGED = {Verdict.NO: State.NOT_AN_ISSUE, Verdict.PLANNED: State.PLANNED}


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody said of the anomaly of a series that began on `first_day`; it holds up to `last_day`."""

    series: Series
    first_day: date
    last_day: date
    verdict: Verdict
    by: str
    at: datetime

    def days(self) -> Iterator[date]:
        return (self.first_day + i * _DAY for i in range((self.last_day - self.first_day).days + 1))

    def is_about(self, anomaly: Anomaly) -> bool:
        return self.series == anomaly.series and any(self.first_day <= d.day <= self.last_day for d in anomaly.days)


class Change(StrEnum):
    """Why an anomaly is told."""

    FOUND = "found"
    GROWN = "grown"
    ENDED = "ended"
    JUDGED = "judged"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class TrackedAnomaly:
    """An anomaly with what is known of it besides its days.

    `causes` were ranked when it had `ranked_days` days and the impact `ranked_impact`; None: not yet. `part_of` names the
    anomaly that tells the same event. `told_impact` and `told_state` are what was told last; None: nothing. `grown` counts how
    often it was told to have grown.
    """

    name: str
    anomaly: Anomaly
    state: State
    found_at: datetime
    changed_at: datetime
    causes: tuple[RootCause, ...] = ()
    ranked_impact: Decimal | None = None
    ranked_days: int = 0
    part_of: str = ""
    told_impact: Decimal | None = None
    told_state: State | None = None
    grown: int = 0
    revision: int = 0

    @property
    def series(self) -> Series:
        return self.anomaly.series

    @property
    def key(self) -> tuple[Series, date]:
        """What tells it apart, however it is called: its series, and its first day when it was found."""
        return self.series, self.found_day

    @property
    def found_day(self) -> date:
        return date.fromisoformat(self.name.rpartition("#")[2])

    @property
    def needs_causes(self) -> bool:
        """Whether its causes were never ranked, or it has changed too much since."""
        if self.ranked_impact is None or self.ranked_days != len(self.anomaly.days):
            return True
        moved = subtract(self.anomaly.total_impact, self.ranked_impact).copy_abs()
        return multiply(moved, _RANKS_ANEW) >= self.ranked_impact.copy_abs()

    def ranked(self, causes: Sequence[RootCause]) -> TrackedAnomaly:
        return replace(self, causes=tuple(causes), ranked_impact=self.anomaly.total_impact, ranked_days=len(self.anomaly.days))


def judge(anomaly: TrackedAnomaly, verdict: Verdict, until: date | None, by: str, at: datetime) -> Feedback:
    """The feedback on an anomaly. Without a last day it holds for as long as what lasts is no new normal yet."""
    first, last = anomaly.anomaly.first_day, anomaly.anomaly.last_day
    if until is not None and verdict is Verdict.YES:
        raise PolicyInvalid("an anomaly that is one has no last day to be judged up to: leave it out")
    if until is not None and until < last:
        raise PolicyInvalid(f"{anomaly.name} went on until {last}: judge it up to that day or a later one, not to {until}")
    return Feedback(anomaly.series, first, until or max(last, first + (NEW_NORMAL_DAYS - 1) * _DAY), verdict, by, at)


def judged_days(feedback: Iterable[Feedback]) -> Mapping[Series, JudgedDays]:
    """The days of each series that are not anomalous because people said so."""
    days: dict[Series, tuple[set[date], set[date]]] = {}
    for said in feedback:
        if said.verdict is not Verdict.YES:
            planned, usual = days.setdefault(said.series, (set(), set()))
            (planned if said.verdict is Verdict.PLANNED else usual).update(said.days())
    return {series: JudgedDays(planned, usual) for series, (planned, usual) in days.items()}


def track(
    found: Sequence[Anomaly],
    known: Sequence[TrackedAnomaly],
    feedback: Sequence[Feedback],
    *,
    watched_from: date,
    now: datetime,
) -> list[TrackedAnomaly]:
    """Every anomaly that is found, in the order of finding, and then those known ones that are found no more.

    What began before the days that are watched stays as it is: of such a one the detector sees a part. Of several monitors
    that find the same days of a series, the first one has them.
    """
    left: dict[Series, list[TrackedAnomaly]] = defaultdict(list)
    for one in known:
        left[one.series].append(one)
    tracked: dict[tuple[Series, date], TrackedAnomaly] = {}
    seen: dict[Series, set[date]] = defaultdict(set)
    for anomaly in found:
        days = {d.day for d in anomaly.days}
        if days & seen[anomaly.series]:
            continue
        seen[anomaly.series] |= days
        of_series = left[anomaly.series]
        before = next((k for k in of_series if _meet(k.anomaly, anomaly) or k.found_day == anomaly.first_day), None)
        if before is None:
            after = TrackedAnomaly(name_of(anomaly), anomaly, _state(anomaly), now, now)
        else:
            of_series.remove(before)
            is_whole = before.anomaly.first_day >= watched_from
            after = replace(before, anomaly=anomaly, state=_state(anomaly)) if is_whole else before
        tracked[after.key] = after
    gone = (one for of_series in left.values() for one in of_series)
    return [*tracked.values(), *(_not_found(one, feedback, watched_from) for one in gone)]


def _state(anomaly: Anomaly) -> State:
    if anomaly.is_new_normal:
        return State.NEW_NORMAL
    return State.OPEN if anomaly.is_open else State.ENDED


def _meet(one: Anomaly, other: Anomaly) -> bool:
    return bool({d.day for d in one.days} & {d.day for d in other.days})


def _not_found(anomaly: TrackedAnomaly, feedback: Iterable[Feedback], watched_from: date) -> TrackedAnomaly:
    verdicts = [f.verdict for f in feedback if f.verdict in _JUDGED and f.is_about(anomaly.anomaly)]
    if verdicts:
        return replace(anomaly, state=_JUDGED[verdicts[-1]])
    if anomaly.anomaly.first_day >= watched_from:
        return replace(anomaly, state=State.WITHDRAWN)
    is_over = anomaly.state is State.OPEN and anomaly.anomaly.last_day < watched_from
    return replace(anomaly, state=State.ENDED) if is_over else anomaly


def gather_events(anomalies: Sequence[TrackedAnomaly]) -> list[TrackedAnomaly]:
    """The anomalies, each with the one that tells its event: the first cause is the same, and days are.

    `anomalies` are in the policy's order of monitors. One that was told already goes on telling.
    """
    tellers: list[TrackedAnomaly] = []
    part_of: dict[tuple[Series, date], str] = {}
    for anomaly in sorted(anomalies, key=lambda a: a.told_state is None):
        if not anomaly.causes or anomaly.state is State.WITHDRAWN:
            continue
        same = (t for t in tellers if _is_same_event(t, anomaly))
        teller = next(same, None)
        if teller is None:
            tellers.append(anomaly)
        else:
            part_of[anomaly.key] = teller.name
    return [replace(anomaly, part_of=part_of.get(anomaly.key, "")) for anomaly in anomalies]


def _is_same_event(one: TrackedAnomaly, other: TrackedAnomaly) -> bool:
    is_same_money = one.series.currency == other.series.currency
    return is_same_money and one.causes[0].cause == other.causes[0].cause and _meet(one.anomaly, other.anomaly)


def news_of(anomaly: TrackedAnomaly, today: date) -> Change | None:
    """What is to be told of an anomaly; None where there is nothing new, or another one tells its event."""
    if anomaly.part_of or anomaly.ranked_impact is None:
        return None
    state, impact = anomaly.state, anomaly.anomaly.total_impact
    if anomaly.told_state is None or anomaly.told_impact is None:
        is_recent = (today - anomaly.anomaly.last_day).days <= _TELLS_DAYS
        return Change.FOUND if is_recent and state in (State.OPEN, State.ENDED, State.NEW_NORMAL) else None
    if state is not anomaly.told_state:
        if state is State.WITHDRAWN:
            return Change.WITHDRAWN
        if state in _JUDGED.values():
            return Change.JUDGED
        return Change.GROWN if state is State.OPEN else Change.ENDED
    return Change.GROWN if impact >= multiply(anomaly.told_impact, _GROWN) else None


def told(anomaly: TrackedAnomaly, change: Change) -> TrackedAnomaly:
    """The anomaly once people have been told of it as it is."""
    grown = anomaly.grown + (change is Change.GROWN)
    return replace(anomaly, told_impact=anomaly.anomaly.total_impact, told_state=anomaly.state, grown=grown)


def event_of(name: str, known: Sequence[TrackedAnomaly]) -> list[TrackedAnomaly]:
    """The anomalies of the event that an anomaly of this name is a part of; none where nothing has the name."""
    tellers = {a.part_of or a.name for a in known if a.name == name}
    return [a for a in known if a.name in tellers or a.part_of in tellers]
