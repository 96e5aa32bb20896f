"""Look for anomalies in the last weeks of the ledger, find out what they come from, and tell of each event once.

Every value of every monitor is held against its own past: the net cost of usage by day, from the sums of the ledger's days.
Days that are not summed by a dimension, or that the ledger lacks, are unknown; today is open. Charges are read for causes
alone, of the days of anomalies that are new or have moved and of the week before them, each day once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from attribution.alerts import observe
from attribution.anomalies import (
    NOT_JUDGED,
    WATCHED_DAYS,
    Anomaly,
    Cause,
    JudgedDays,
    KnownDays,
    Monitor,
    Series,
    Spent,
    detect,
    first_watched,
    root_causes,
)
from attribution.anomaly_alerts import observation
from attribution.anomaly_tracking import (
    Change,
    State,
    TrackedAnomaly,
    gather_events,
    judged_days,
    news_of,
    told,
    track,
)
from attribution.charges import AllocatedCharge
from attribution.days import DayPointer, usage_cost
from attribution.errors import LedgerConflict
from attribution.forecasts import LONGEST_HISTORY_DAYS
from attribution.money import ZERO
from attribution.periods import BillingPeriod
from attribution.ports import Alerts, Anomalies, AnomalyNews, Clock, Policy, ReadDays
from attribution.scopes import value_of

CAUSE_DAYS = 7
"""What an anomaly is compared with for its causes: a whole week, because weekends are not like other days."""
MOST_EXPLAINED = 25
"""Anomalies whose causes are looked for in one run, the largest first; the others' turn comes in the next ones."""
SHOWN_DAYS = 14
"""Days of spend that an alert shows."""
# Sums of so many days are in memory at once: one dimension may have a hundred thousand values.
_DAYS_AT_ONCE = 8
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DetectedAnomalies:
    """What a look at the ledger found, and what it told. `not_summed` are monitors whose dimension no day is summed by."""

    anomalies: tuple[TrackedAnomaly, ...]
    told: tuple[tuple[Change, TrackedAnomaly], ...]
    changed: int
    days_read: int
    not_summed: tuple[str, ...]

    @property
    def open(self) -> int:
        """Events that may go on."""
        return sum(a.state is State.OPEN and not a.part_of for a in self.anomalies)


def detect_anomalies(
    *, days: ReadDays, policy: Policy, anomalies: Anomalies, alerts: Alerts, news: AnomalyNews, clock: Clock
) -> DetectedAnomalies:
    """Look at the last weeks once. What is told is remembered afterwards: an attempt that ends in between tells it again.

    Known anomalies are read before the ledger: one that another attempt changes in between, on fresher figures, is left alone.
    """
    now = clock()
    today = now.date()
    known = anomalies.since(today - 2 * WATCHED_DAYS * _DAY)
    feedback = anomalies.feedback()
    ledger = _Ledger(days, today)
    monitors = policy.monitors()
    found, not_summed = ledger.find(monitors, judged_days(feedback))
    before = {anomaly.key: anomaly for anomaly in known}
    tracked = track(found, known, feedback, watched_from=ledger.watched_from, now=now)
    events = gather_events(ledger.with_causes(tracked))
    changes = {anomaly.key: change for anomaly in events if (change := news_of(anomaly, today))}
    routes = {monitor.name: monitor.route for monitor in monitors}
    _update_alerts(events, changes, ledger, routes, alerts, now)
    all_told, changed = [], 0
    for anomaly in events:
        change = changes.get(anomaly.key)
        if change is not None:
            news.tell(change, anomaly)
            all_told.append((change, anomaly))
        following = told(anomaly, change) if change is not None else anomaly
        current = before.get(anomaly.key)
        if following != current:
            changed += anomalies.put(replace(following, changed_at=now), replacing=current)
    return DetectedAnomalies(tuple(events), tuple(all_told), changed, ledger.days_read, not_summed)


def _update_alerts(
    events: Sequence[TrackedAnomaly],
    changes: Mapping[tuple[Series, date], Change],
    ledger: _Ledger,
    routes: Mapping[str, str],
    alerts: Alerts,
    now: datetime,
) -> None:
    """One alert an event: raised, escalated when it has grown, changed while it goes on, recovered when it is over."""
    found = []
    for anomaly in events:
        change = changes.get(anomaly.key)
        goes_on = anomaly.state is State.OPEN and anomaly.told_state is not None and not anomaly.part_of
        if change is None and not goes_on:
            continue
        shown = told(anomaly, change) if change is not None else anomaly
        billed, daily = ledger.billed_days(anomaly), ledger.daily(anomaly.series)
        route = routes.get(anomaly.anomaly.monitor, "")
        found.append(observation(shown, change, billed=billed, daily=daily, route=route))
    current = alerts.get_many(seen.key for seen in found)
    for seen in found:
        following = observe(seen, current.get(seen.key), now)
        if following is not None:
            # Another attempt may have changed it in the meantime; then it is that one's to tell.
            alerts.put(following, replacing=current.get(seen.key))


class _Ledger:
    """The days of the ledger that anomalies are looked for in."""

    def __init__(self, days: ReadDays, today: date) -> None:
        self._days = days
        self._today = today
        first = today - (LONGEST_HISTORY_DAYS + WATCHED_DAYS - 1) * _DAY
        periods = sorted({BillingPeriod.of(first + i * _DAY) for i in range((today - first).days + 1)})
        pointers = (p for period in periods for p in days.pointers(period).values())
        self._pointers = {p.usage_date: p for p in pointers if first <= p.usage_date <= today}
        self.watched_from = first_watched(max(self._pointers, default=today))
        self.days_read = 0
        self._series: dict[Series, Mapping[date, Decimal]] = {}

    def find(self, monitors: Iterable[Monitor], judged: Mapping[Series, JudgedDays]) -> tuple[list[Anomaly], tuple[str, ...]]:
        """The anomalies that each monitor finds, in order; and the monitors that have no day to look at."""
        found: list[Anomaly] = []
        not_summed = []
        amounts: dict[str, Mapping[Series, Mapping[date, Decimal]]] = {}
        for monitor in monitors:
            known = [day for day, p in sorted(self._pointers.items()) if p.is_summed_by(monitor.dimension)]
            if not known:
                not_summed.append(monitor.name)
                continue
            if monitor.dimension not in amounts:
                amounts[monitor.dimension] = self._amounts(monitor.dimension, known)
            days = KnownDays(set(known), self._today)
            for series, of_series in sorted(amounts[monitor.dimension].items()):
                if monitor.watches(series.value) and self._may_be_anomalous(monitor, of_series):
                    of_value = detect(monitor, series, of_series, days, judged.get(series, NOT_JUDGED))
                    found += of_value
                    if of_value:
                        self._series[series] = {day: of_series.get(day, ZERO) for day in known}
        return found, tuple(not_summed)

    def billed_days(self, anomaly: TrackedAnomaly) -> set[date]:
        """The days of an anomaly that the bill has reached."""
        pointers = (self._pointers.get(d.day) for d in anomaly.anomaly.days)
        return {p.usage_date for p in pointers if p is not None and p.is_billed}

    def daily(self, series: Series) -> tuple[tuple[date, Decimal], ...]:
        """What a value with an anomaly spent on each of its last known days, oldest first."""
        return tuple(sorted(self._series.get(series, {}).items())[-SHOWN_DAYS:])

    def _amounts(self, dimension: str, known: Sequence[date]) -> Mapping[Series, Mapping[date, Decimal]]:
        amounts: dict[Series, dict[date, Decimal]] = defaultdict(dict)
        for start in range(0, len(known), _DAYS_AT_ONCE):
            some = [self._pointers[day] for day in known[start : start + _DAYS_AT_ONCE]]
            for day, sums in self._days.sums(some, dimension).items():
                for (value, currency), of_value in sums.items():
                    if of_value.usage_cost:
                        amounts[Series(dimension, value, currency)][day] = of_value.usage_cost
        return amounts

    def _may_be_anomalous(self, monitor: Monitor, amounts: Mapping[date, Decimal]) -> bool:
        """Whether any day reaches the least impact: most values of an organisation never do, and need not be forecast."""
        return any(amount >= monitor.minimum_impact for day, amount in amounts.items() if day >= self.watched_from)

    def with_causes(self, anomalies: Sequence[TrackedAnomaly]) -> list[TrackedAnomaly]:
        """The anomalies, those that need it with their causes ranked anew."""
        running = [a for a in anomalies if a.needs_causes and a.state in (State.OPEN, State.ENDED, State.NEW_NORMAL)]
        whole = [a for a in running if a.anomaly.first_day >= self.watched_from]
        chosen = sorted(whole, key=lambda a: a.anomaly.total_impact, reverse=True)[:MOST_EXPLAINED]
        looks = [_Look(a, self._before(a)) for a in chosen]
        for day in sorted({day for look in looks for day in (*look.during_days, *look.before_days)}):
            self._add_day(day, [look for look in looks if look.reads(day)])
        ranked = {look.anomaly.key: look.ranked() for look in looks}
        return [ranked.get(a.key, a) for a in anomalies]

    def _before(self, anomaly: TrackedAnomaly) -> list[date]:
        """The days of the week before an anomaly that are known by its dimension."""
        week = (anomaly.anomaly.first_day - i * _DAY for i in range(1, CAUSE_DAYS + 1))
        return [d for d in week if d in self._pointers and self._pointers[d].is_summed_by(anomaly.series.dimension)]

    def _add_day(self, day: date, looks: Sequence[_Look]) -> None:
        by_dimension: dict[str, dict[tuple[str, str], list[_Look]]] = defaultdict(lambda: defaultdict(list))
        for look in looks:
            series = look.anomaly.series
            by_dimension[series.dimension][series.value, series.currency].append(look)
        for charge in self._charges(self._pointers[day]):
            cost = usage_cost(charge)
            if not cost:
                continue
            cause = Cause(charge.iam_principal, charge.meter.model, charge.meter.token_kind.value, charge.region)
            spent = Spent(cost, charge.units or ZERO)
            for dimension, by_value in by_dimension.items():
                for look in by_value.get((value_of(charge, dimension), charge.currency), ()):
                    look.add(day, cause, spent)

    def _charges(self, pointer: DayPointer) -> Iterator[AllocatedCharge]:
        self.days_read += 1
        count = 0
        for charge in self._days.charges(pointer.usage_date, pointer.version):
            count += 1
            yield charge
        if count != pointer.charge_count:
            raise LedgerConflict(
                f"version {pointer.version} of {pointer.usage_date} has {count} charges left of {pointer.charge_count}: "
                "it expired while it was read; read the day again"
            )


class _Look:
    """What an anomaly's causes spent, on its days and before."""

    def __init__(self, anomaly: TrackedAnomaly, before_days: Sequence[date]) -> None:
        self.anomaly = anomaly
        self.during_days = frozenset(d.day for d in anomaly.anomaly.days)
        self.before_days = frozenset(before_days)
        self._during: dict[Cause, Spent] = defaultdict(Spent)
        self._before: dict[Cause, Spent] = defaultdict(Spent)

    def reads(self, day: date) -> bool:
        return day in self.during_days or day in self.before_days

    def add(self, day: date, cause: Cause, spent: Spent) -> None:
        of = self._during if day in self.during_days else self._before
        of[cause] = of[cause] + spent

    def ranked(self) -> TrackedAnomaly:
        causes = root_causes(self._during, self._before, days=len(self.during_days), days_before=len(self.before_days))
        return self.anomaly.ranked(causes)
