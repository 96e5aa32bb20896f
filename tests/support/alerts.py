"""Alerts of budgets and of anomalies as the flows raise them, put into an outbox."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from attribution.alerts import Alert, AlertKey, Figures, Observation, Subject, Threshold, ThresholdKind, observe
from attribution.anomalies import AnomalousDay, Anomaly, Cause, RootCause, Series, name_of
from attribution.anomaly_alerts import observation
from attribution.anomaly_tracking import Change, State, TrackedAnomaly
from attribution.money import Money
from attribution.ports import Outbox


def tracked_anomaly(day: date, value: str = "search") -> TrackedAnomaly:
    """A day on which a team spent $40 where $1 was expected."""
    found = Anomaly("teams", Series("team", value), (AnomalousDay(day, Decimal(40), Decimal(1), Decimal(5)),), is_open=True)
    at = datetime.combine(day, time(9), UTC)
    cause = Cause("role/agent", "anthropic.claude-sonnet-4-5", "output_tokens", "us-east-1")
    roots = (RootCause(cause, Decimal(38), Decimal(0), is_new=True),)
    return TrackedAnomaly(name_of(found), found, State.OPEN, at, at, causes=roots)


def raised(found: Observation, outbox: Outbox, now: datetime) -> Alert:
    """The alert that an observation raises, stored."""
    alert = observe(found, None, now)
    assert alert is not None
    stored = outbox.put(alert, replacing=None)
    assert stored is not None
    return stored


def put_anomaly(outbox: Outbox, now: datetime, *, day: date, value: str = "search", daily: int = 0) -> Alert:
    """The alert of an anomaly that is found; `daily`: with so many days before it."""
    course = tuple((day - timedelta(days=n), Decimal(1 if n else 40)) for n in range(daily, -1, -1)) if daily else ()
    found = observation(tracked_anomaly(day, value), Change.FOUND, billed=(), daily=course, route="")
    return raised(found, outbox, now)


def put_alert(
    outbox: Outbox, now: datetime, *, budget: str = "search monthly", team: str = "search", spent: str = "90"
) -> Alert:
    """The alert of a budget of $100 in the month of `now`."""
    first = now.date().replace(day=1)
    ends = datetime.combine((first + timedelta(days=32)).replace(day=1), time(), UTC)
    subject = Subject(f"team: {team}", "billed_cost", (("team", team),), ends_at=ends)
    crossed = Threshold(ThresholdKind.ACTUAL, "ACTUAL#80", "above 80 % of the budget", Decimal(80))
    figures = Figures(Money(Decimal(100)), estimated=Decimal(spent))
    key = AlertKey(budget, f"{first:%Y-%m}")
    return raised(Observation(key, subject, figures, (crossed,)), outbox, now)
