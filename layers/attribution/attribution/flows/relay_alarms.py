"""Relay the stack's own alarms to where budgets are told: what the meter cannot see is news like any other."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.alarm_alerts import alert_key, observe_alarm
from attribution.alerts import Alarm, AlertState
from attribution.errors import LedgerConflict
from attribution.ports import Alerts, Clock

_WRITE_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class RelayedAlarm:
    """What became of the alarm's alert; `is_changed` is false where the notification was not newer than what is known."""

    state: AlertState
    is_changed: bool


def relay_alarm(found: Alarm, *, alerts: Alerts, clock: Clock) -> RelayedAlarm:
    """Bring the alert of an alarm to what CloudWatch says of it."""
    for _ in range(_WRITE_ATTEMPTS):
        current = alerts.get(alert_key(found.name))
        following = observe_alarm(found, current, clock())
        if following is None and current is not None:
            return RelayedAlarm(current.state, is_changed=False)
        if following is not None and alerts.put(following, replacing=current) is not None:
            return RelayedAlarm(following.state, is_changed=True)
    raise LedgerConflict(f"the alert of alarm {found.name!r} kept changing: its notification comes back")
