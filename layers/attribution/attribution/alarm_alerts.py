"""What an alarm of the stack is to the alert that tells it: one message, changed in place while the alarm comes and goes.

CloudWatch's notifications may come more than once and in any order: the time of the change decides, and what is not newer than
what is known changes nothing. Many alarms are events, over after a period of CloudWatch. One that comes and goes is told aloud
once an hour, and nobody is left with the word that all is well while it is in alarm.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from attribution.alerts import (
    Alarm,
    Alert,
    AlertKey,
    AlertState,
    Delivery,
    DeliveryStatus,
    Figures,
    News,
    Subject,
    Threshold,
    ThresholdKind,
    revised,
    with_news,
)
from attribution.money import ZERO, Money

# No budget's name has a colon: an alarm's alert is never taken for a budget's.
_PREFIX = "alarm: "
_NO_PERIOD = "-"
TELL_EVERY = timedelta(hours=1)
"""No alarm is told to be raised more often than this, and one that was over within it is shown to be, not told."""
EPISODE_ENDS_AFTER = timedelta(days=1)
"""An alarm that was well for so long and comes back is a new message, also where the last one was muted."""
_IN_ALARM = Threshold(ThresholdKind.ACTUAL, "alarm", "in alarm")


def alert_key(name: str) -> AlertKey:
    """The key of the alert of the alarm with a name."""
    return AlertKey(f"{_PREFIX}{name}", _NO_PERIOD)


def is_of_alarm(key: object) -> bool:
    """Whether a key is that of an alarm's alert."""
    return isinstance(key, AlertKey) and key.budget.startswith(_PREFIX)


def observe_alarm(found: Alarm, current: Alert | None, now: datetime) -> Alert | None:
    """The alert after CloudWatch told of an alarm; None where that is not newer than what is known.

    An alarm that is well and was never raised has an alert that tells nothing: it remembers since when.
    """
    if current is None or current.alarm is None:
        return _first(found, now)
    before = current.alarm
    if found.since <= before.since:
        return None
    seen = replace(current, alarm=found, crossed=(_IN_ALARM,) if found.is_raised else ())
    if found.is_raised == before.is_raised:
        return revised(seen, now)
    return _raised(seen, found, found.since - before.since, now) if found.is_raised else _cleared(seen, found, now)


def _first(found: Alarm, now: datetime) -> Alert:
    alert = Alert(
        key=alert_key(found.name),
        subject=Subject(found.name, ""),
        figures=Figures(Money(ZERO)),
        state=AlertState.ALARM,
        crossed=(_IN_ALARM,),
        seen=(_IN_ALARM.name,),
        raised_at=found.since,
        changed_at=now,
        alarm=found,
    )
    if found.is_raised:
        return alert
    told = Delivery(DeliveryStatus.SENT)
    return replace(alert, state=AlertState.RECOVERED, crossed=(), seen=(), told=1, shown=1, delivery=told)


def _raised(seen: Alert, found: Alarm, was_well_for: timedelta, now: datetime) -> Alert:
    if seen.state is AlertState.SNOOZED:
        return revised(seen, now)
    if was_well_for >= EPISODE_ENDS_AFTER or not seen.seen:
        new = replace(seen, seen=(_IN_ALARM.name,), message=None, raised_at=found.since, handled_by="")
        return with_news(new, News.RAISED, now, state=AlertState.ALARM)
    if seen.state is AlertState.MUTED:
        return revised(seen, now)
    if found.since - seen.raised_at < TELL_EVERY:
        # Whoever had it still has it.
        return revised(seen, now, state=AlertState.ACKNOWLEDGED if seen.handled_by else AlertState.ALARM)
    return with_news(seen, News.RAISED_AGAIN, now, state=AlertState.ALARM, raised_at=found.since, handled_by="")


def _cleared(seen: Alert, found: Alarm, now: datetime) -> Alert:
    if seen.state in (AlertState.SNOOZED, AlertState.MUTED):
        return revised(seen, now)
    if found.since - seen.raised_at < TELL_EVERY:
        return revised(seen, now, state=AlertState.RECOVERED)
    return with_news(seen, News.RECOVERED, now, state=AlertState.RECOVERED)
