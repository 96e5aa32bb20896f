"""Compile the digests that are due: what the owners of a route spent in the last day or week, against the one before.

A digest is named by its route, its schedule and its local day, so that it is made once, however often it is looked for. One
that cannot be made holds no other back: why is kept, until it is made by a later attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from attribution.alerts import Alert, AlertKey
from attribution.digests import LINES_MAX, Digest, DigestFault, DigestKey, DigestKind, DigestLine, worst_first
from attribution.formats import counted, rounded
from attribution.money import ZERO, subtract, total
from attribution.periods import Span
from attribution.ports import Clock, Outbox, ReadDays, Routes
from attribution.routes import DigestEvery, DigestSchedule, Route
from attribution.spending import Read, Spending, basis_of, read_spending
from attribution.wording import change, money, percent_change, shortened

# A digest that could not be made at its time is made late, but not at night.
_LATE = timedelta(hours=6)
_WEEK_DAYS = 7
_SPARK_DAYS = 14
_OPEN_SHOWN = 5
_REASON_LIMIT = 500


@dataclass(frozen=True, slots=True)
class CompiledDigests:
    """The digests that are new, and why those that are due were not made."""

    made: tuple[DigestKey, ...]
    failed: Mapping[DigestKey, Exception]


def compile_digests(*, days: ReadDays, routes: Routes, outbox: Outbox, clock: Clock) -> CompiledDigests:
    """Make every digest whose time has come and that there is not yet."""
    now = clock()
    made: list[DigestKey] = []
    failed: dict[DigestKey, Exception] = {}
    for route in routes.routes():
        for schedule in route.digests:
            local = now.astimezone(schedule.zone)
            key = DigestKey(route.name, f"{schedule.every}#{schedule.dimension}#{local.date()}")
            if not _is_due(schedule, local) or outbox.digest(key) is not None:
                continue
            try:
                digest = _digest(key, route, schedule, now, days, outbox)
                if digest is not None and outbox.add_digest(digest):
                    made.append(key)
            except Exception as error:  # Of this digest; the others are not to wait until it can be made.
                failed[key] = error
    _keep_faults(failed, made, outbox, now)
    return CompiledDigests(tuple(made), failed)


def _keep_faults(failed: Mapping[DigestKey, Exception], made: Sequence[DigestKey], outbox: Outbox, now: datetime) -> None:
    known = {fault.key: fault for route in {key.route for key in (*failed, *made)} for fault in outbox.faults(route)}
    for key, error in failed.items():
        before = known.get(key)
        reason = shortened(f"{type(error).__name__}: {error}", _REASON_LIMIT)
        since, attempts = (before.since, before.attempts + 1) if before else (now, 1)
        outbox.put_fault(DigestFault(key, reason, since, now, attempts))
    for key in known.keys() & set(made):
        outbox.forget_fault(key)


def _is_due(schedule: DigestSchedule, local: datetime) -> bool:
    if schedule.every is DigestEvery.WEEK and local.weekday() != 0:
        return False
    at = datetime.combine(local.date(), schedule.at, schedule.zone)
    return at <= local < at + _LATE


def _digest(
    key: DigestKey, route: Route, schedule: DigestSchedule, now: datetime, days: ReadDays, outbox: Outbox
) -> Digest | None:
    """None where nobody spent anything: silence is no news."""
    is_weekly = schedule.every is DigestEvery.WEEK
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    span = Span(yesterday - timedelta(days=_WEEK_DAYS - 1 if is_weekly else 0), yesterday)
    values = {value for dimension, value in route.matches if dimension == schedule.dimension}

    def wanted(value: str) -> bool:
        return not route.matches or value in values

    spent = read_spending(days, schedule.dimension, span, wanted)
    course = read_spending(days, schedule.dimension, Span(span.first - timedelta(days=_SPARK_DAYS), span.last), wanted)
    lines = _lines(spent, course, span)
    if not lines:
        return None
    owners = sorted(values)
    who = owners[0] if len(owners) == 1 else counted(len(owners), schedule.dimension) if owners else f"By {schedule.dimension}"
    kind = DigestKind.WEEK if is_weekly else DigestKind.DAY
    title = f"{who}: the week {span}" if is_weekly else f"{who}: {yesterday:%A}, {yesterday.day} {yesterday:%B}"
    summary = _summary(spent, course, span, route, outbox)
    if len(lines) > LINES_MAX:
        summary += f"\nThe largest {LINES_MAX} of {len(lines):,} are listed"
    return Digest(key, kind, title, summary, lines[:LINES_MAX], now, daily=_daily(course.spendings, span))


def _lines(spent: Read, course: Read, span: Span) -> tuple[DigestLine, ...]:
    """One line for each value that spends anything, the largest first; those that do so no more stand at the end."""
    now = {(s.value, s.currency) for s in spent.spendings}
    gone = [s for s in course.spendings if (s.value, s.currency) not in now]
    before = {(s.value, s.currency): s.in_days(span.before(_WEEK_DAYS).days) for s in course.spendings}
    lines = []
    for rank, spending in enumerate((*spent.spendings, *gone)):
        amount, earlier = spending.in_days(span.days), before.get((spending.value, spending.currency), ZERO)
        if not amount and not earlier:
            continue
        moved = subtract(amount, earlier)
        relative = percent_change(amount, earlier)
        note = ", ".join(filter(None, [change(moved, spending.currency), relative])) if rounded(moved) else "no change"
        lines.append(DigestLine(rank, spending.value or "(no value)", money(amount, spending.currency), note))
    return tuple(lines)


def _summary(spent: Read, course: Read, span: Span, route: Route, outbox: Outbox) -> str:
    against = "the same day a week before" if span.first == span.last else "the week before"
    lines = []
    for currency in sorted({s.currency for s in course.spendings}):
        mine = [s for s in course.spendings if s.currency == currency]
        amount = total(s.in_days(span.days) for s in mine)
        before = total(s.in_days(span.before(_WEEK_DAYS).days) for s in mine)
        lines.append(f"{money(amount, currency)} in all, {percent_change(amount, before) or '±0 %'} against {against}")
    if spent.spendings:
        lines.append(basis_of(spent.spendings))
    still = _open_alerts(route, outbox)
    if still:
        more = f" and {len(still) - _OPEN_SHOWN:,} more" if len(still) > _OPEN_SHOWN else ""
        lines.append(f"Open: {', '.join(map(_in_short, still[:_OPEN_SHOWN]))}{more}")
    if course.missing:
        lines.append(f"{counted(len(course.missing), 'day')} without sums by this dimension are not in it")
    return "\n".join(lines)


def _open_alerts(route: Route, outbox: Outbox) -> list[Alert]:
    """The alerts of the route's owners that are not over, the worst first."""
    found = outbox.get_many(key for key in outbox.open() if isinstance(key, AlertKey))
    return worst_first(
        alert
        for alert in found.values()
        if alert.crossed and not alert.is_ended and (not route.matches or set(alert.subject.owners) & set(route.matches))
    )


def _in_short(alert: Alert) -> str:
    if alert.alarm is not None:
        return alert.key.budget
    if not alert.subject.is_anomaly:
        return f"{alert.key.budget} at {alert.figures.percent} %"
    impact = subtract(alert.figures.actual, alert.figures.limit.amount)
    return f"{alert.key.budget} {change(impact, alert.figures.limit.currency)}"


def _daily(spendings: Sequence[Spending], span: Span) -> tuple[tuple[date, Decimal], ...]:
    """Spend by day of the last two weeks, in the currency of the most spend."""
    currency = spendings[0].currency
    mine = [s for s in spendings if s.currency == currency]
    shown = Span(span.last - timedelta(days=_SPARK_DAYS - 1), span.last).days
    return tuple((day, total(s.in_days((day,)) for s in mine)) for day in shown)
