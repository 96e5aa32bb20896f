"""Compile the digests that are due: what the owners of a route spent in the last day or week, against the one before.

A digest is named by its route, its schedule and its local day, so that it is made once, however often it is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from attribution.alerts import Alert, AlertKey
from attribution.digests import LINES_MAX, Digest, DigestKey, DigestKind, DigestLine
from attribution.money import subtract, total
from attribution.ports import Clock, LedgerDays, Outbox, Routes
from attribution.routes import DigestEvery, DigestSchedule, Route
from attribution.spending import Read, Span, Spending, read_spending
from attribution.wording import change, counted, money, percent_change

# A digest that could not be made at its time is made late, but not at night.
_LATE = timedelta(hours=6)
_WEEK_DAYS = 7
_SPARK_DAYS = 14


@dataclass(frozen=True, slots=True)
class CompiledDigests:
    """The digests that are new."""

    made: tuple[DigestKey, ...]


def compile_digests(*, days: LedgerDays, routes: Routes, outbox: Outbox, clock: Clock) -> CompiledDigests:
    """Make every digest whose time has come and that there is not yet."""
    now = clock()
    made: list[DigestKey] = []
    for route in routes.routes():
        for schedule in route.digests:
            local = now.astimezone(schedule.zone)
            key = DigestKey(route.name, f"{schedule.every}#{schedule.dimension}#{local.date()}")
            if not _is_due(schedule, local) or outbox.digest(key) is not None:
                continue
            digest = _digest(key, route, schedule, now, days, outbox)
            if digest is not None and outbox.add_digest(digest):
                made.append(key)
    return CompiledDigests(tuple(made))


def _is_due(schedule: DigestSchedule, local: datetime) -> bool:
    if schedule.every is DigestEvery.WEEK and local.weekday() != 0:
        return False
    at = datetime.combine(local.date(), schedule.at, schedule.zone)
    return at <= local < at + _LATE


def _digest(
    key: DigestKey, route: Route, schedule: DigestSchedule, now: datetime, days: LedgerDays, outbox: Outbox
) -> Digest | None:
    """None where nobody spent anything: silence is no news."""
    is_weekly = schedule.every is DigestEvery.WEEK
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    span = Span(yesterday - timedelta(days=_WEEK_DAYS - 1 if is_weekly else 0), yesterday)
    values = {value for dimension, value in route.matches if dimension == schedule.dimension}
    found = read_spending(
        days,
        schedule.dimension,
        Span(span.first - timedelta(days=_SPARK_DAYS), span.last),
        lambda value: not route.matches or value in values,
    )
    lines = _lines(found, span)
    if not lines:
        return None
    owners = sorted(values) or ["everybody"]
    who = owners[0] if len(owners) == 1 else counted(len(owners), schedule.dimension)
    kind = DigestKind.WEEK if is_weekly else DigestKind.DAY
    title = f"{who}: the week {span}" if is_weekly else f"{who}: {yesterday:%A}, {yesterday.day} {yesterday:%B}"
    summary = _summary(found, span, route, outbox)
    if len(lines) > LINES_MAX:
        summary += f"\nThe largest {LINES_MAX} of {len(lines):,} are listed"
    return Digest(key, kind, title, summary, lines[:LINES_MAX], now, daily=_daily(found.spendings, span))


def _lines(found: Read, span: Span) -> tuple[DigestLine, ...]:
    """One line for each value that spent anything, the largest first."""
    lines = []
    for rank, spending in enumerate(found.spendings):
        amount, before = spending.in_days(span.days), spending.in_days(span.before(_WEEK_DAYS).days)
        if not amount and not before:
            continue
        moved = change(subtract(amount, before), spending.currency)
        relative = percent_change(amount, before)
        note = f"{moved}{f', {relative}' if relative else ''}"
        lines.append(DigestLine(rank, spending.value or "(no value)", money(amount, spending.currency), note))
    return tuple(lines)


def _summary(found: Read, span: Span, route: Route, outbox: Outbox) -> str:
    currencies = sorted({s.currency for s in found.spendings})
    lines = []
    for currency in currencies:
        mine = [s for s in found.spendings if s.currency == currency]
        amount = total(s.in_days(span.days) for s in mine)
        before = total(s.in_days(span.before(_WEEK_DAYS).days) for s in mine)
        lines.append(
            f"{money(amount, currency)} in all, {percent_change(amount, before) or '±0 %'} against {span.before(_WEEK_DAYS)}"
        )
    still = _open_alerts(route, outbox)
    if still:
        lines.append(f"Open: {', '.join(map(_named, still[:5]))}")
    if found.missing:
        lines.append(f"{counted(len(found.missing), 'day')} without sums by this dimension are not in it")
    return "\n".join(lines)


def _named(alert: Alert) -> str:
    return alert.key.budget if alert.alarm is not None else f"{alert.key.budget} at {alert.figures.percent} %"


def _open_alerts(route: Route, outbox: Outbox) -> list[Alert]:
    """The alerts of the route's owners that are not over, the worst first."""
    found = outbox.get_many(key for key in outbox.open() if isinstance(key, AlertKey))
    mine = [
        alert
        for alert in found.values()
        if alert.crossed and (not route.matches or set(alert.subject.owners) & set(route.matches))
    ]
    return sorted(mine, key=lambda alert: (-alert.figures.percent, str(alert.key)))


def _daily(spendings: Sequence[Spending], span: Span) -> tuple[tuple[date, Decimal], ...]:
    """Spend by day of the last two weeks, in the currency of the most spend."""
    currency = spendings[0].currency
    mine = [s for s in spendings if s.currency == currency]
    shown = Span(span.last - timedelta(days=_SPARK_DAYS - 1), span.last).days
    return tuple((day, total(s.in_days((day,)) for s in mine)) for day in shown)
