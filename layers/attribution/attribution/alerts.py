"""Alerts: what a person needs to know about a threshold, without markup, and the life of one alert.

One alert exists per budget, period, kind and threshold. Its `revision` counts what people are to be told: it grows when the
threshold is crossed, when a bill disproves the estimate behind it, and when it is crossed again; each revision is one message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from attribution.budgets import AlertState, Budget, Crossing, Spend
from attribution.canonical import number_text
from attribution.money import Money
from attribution.periods import BillingPeriod


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
    threshold_percent: Decimal
    spend: Spend
    metric: str
    dimension: str
    values: tuple[str, ...]
    channel: str
    changed_at: datetime
    # What the alert said before the bill arrived, for a correction to refer to.
    previous_actual: Decimal | None = None
    delivery: Delivery = Delivery()


ACTUAL = "ACTUAL"


def alert_key(crossing: Crossing) -> AlertKey:
    """The key of the alert that a threshold raises: the same for 80 and 80.0."""
    return _key(crossing.budget, crossing.period, crossing.threshold_percent)


def threshold_keys(budget: Budget, period: BillingPeriod) -> tuple[AlertKey, ...]:
    """The keys of every alert that a budget may raise in a period."""
    return tuple(_key(budget, period, percent) for percent in budget.threshold_percents)


def _key(budget: Budget, period: BillingPeriod, percent: Decimal) -> AlertKey:
    return AlertKey(budget.name, str(period), ACTUAL, number_text(percent))


def next_alert(crossing: Crossing, current: Alert | None, now: datetime) -> Alert | None:
    """The alert after looking at a threshold; None where there is nothing new to tell.

    A threshold that is crossed raises its alert once. An alert whose spend falls back under the threshold, because a bill or a
    restatement says less, is corrected once; if spend then really passes the threshold again, that is news again.
    """
    budget = crossing.budget
    delivery = Delivery(DeliveryStatus.COVERED) if crossing.told_by_another else Delivery()
    if current is None:
        if not crossing.is_crossed:
            return None
        return Alert(
            key=alert_key(crossing),
            state=AlertState.ALARM,
            revision=1,
            limit=budget.limit,
            threshold_percent=crossing.threshold_percent,
            spend=crossing.spend,
            metric=budget.metric,
            dimension=budget.dimension,
            values=budget.values,
            channel=budget.channel,
            changed_at=now,
            delivery=delivery,
        )
    state = AlertState.ALARM if crossing.is_crossed else AlertState.RECOVERED
    if state is current.state:
        return None
    return replace(
        current,
        state=state,
        revision=current.revision + 1,
        limit=budget.limit,
        spend=crossing.spend,
        channel=budget.channel,
        changed_at=now,
        previous_actual=current.spend.actual,
        delivery=delivery,
    )
