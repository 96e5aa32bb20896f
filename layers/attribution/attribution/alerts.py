"""Alerts: what a person needs to know about a threshold, without markup, and the life of one alert.

One alert exists per budget, period, kind and threshold. Its `revision` counts what people are to be told: it grows when the
threshold is crossed, when a bill disproves the estimate behind it, and when it is crossed again; each revision is one message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from attribution.budget_periods import BudgetPeriod
from attribution.budgets import AlertState, Budget, Crossing, Notification, Spend
from attribution.money import Money
from attribution.scopes import describe


class DeliveryStatus(StrEnum):
    """Where the message of the current revision is.

    `claimed`: an attempt is sending it, or ended while it did. `covered`: another threshold of the budget tells the same news.
    """

    PENDING = "pending"
    CLAIMED = "claimed"
    SENT = "sent"
    FAILED = "failed"
    COVERED = "covered"


@dataclass(frozen=True, slots=True)
class AlertKey:
    """The identity of an alert."""

    budget: str
    period: str
    kind: str
    threshold: str

    def __str__(self) -> str:
        return f"{self.budget}#{self.period}#{self.kind}#{self.threshold}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of the current revision's message."""

    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    lease_until: datetime | None = None
    # The earlier attempt may have reached people: the next message says that it may be a repeat.
    may_repeat: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert with the figures of its current revision."""

    key: AlertKey
    state: AlertState
    revision: int
    limit: Money
    notification: Notification
    spend: Spend
    metric: str
    # What counts towards the budget, in words.
    scope: str
    channel: str
    changed_at: datetime
    # What the alert said before the bill arrived, for a correction to refer to.
    previous_actual: Decimal | None = None
    delivery: Delivery = Delivery()


def alert_key(budget: Budget, period: BudgetPeriod, notification: Notification) -> AlertKey:
    """The key of the alert that a notification raises: the same for 80 and 80.0."""
    return AlertKey(budget.name, str(period), notification.type.value, notification.threshold_key)


def crossing_key(crossing: Crossing) -> AlertKey:
    """The key of the alert that a crossing is about."""
    return alert_key(crossing.budget, crossing.period, crossing.notification)


def next_alert(crossing: Crossing, current: Alert | None, now: datetime) -> Alert | None:
    """The alert after looking at a threshold; None where there is nothing new to tell.

    A threshold that is crossed raises its alert once. An alert whose spend falls back under the threshold, because a bill or a
    restatement says less, is corrected once; if spend then really passes the threshold again, that is news again. One that
    latches stays as it is until the period ends, or until somebody changes the budget's limit.
    """
    budget = crossing.budget
    limit = crossing.evaluation.limit_money
    delivery = Delivery(DeliveryStatus.COVERED) if crossing.told_by_another else Delivery()
    if current is None:
        if not crossing.is_crossed:
            return None
        return Alert(
            key=crossing_key(crossing),
            state=AlertState.ALARM,
            revision=1,
            limit=limit,
            notification=crossing.notification,
            spend=crossing.spend,
            metric=budget.scope.measure.metric,
            scope=describe(budget.scope.filter),
            channel=budget.channel,
            changed_at=now,
            delivery=delivery,
        )
    state = AlertState.ALARM if crossing.is_crossed else AlertState.RECOVERED
    is_edited = limit != current.limit and not budget.adjusts_itself
    is_kept = crossing.latches and current.state is AlertState.ALARM and not is_edited
    if state is current.state or is_kept:
        return None
    return replace(
        current,
        state=state,
        revision=current.revision + 1,
        limit=limit,
        spend=crossing.spend,
        channel=budget.channel,
        changed_at=now,
        previous_actual=current.spend.actual,
        delivery=delivery,
    )
