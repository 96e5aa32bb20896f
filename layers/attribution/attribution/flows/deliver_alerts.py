"""Deliver an alert's current revision: one message, claimed before it is sent and recorded after.

A webhook cannot tell whether a message whose acknowledgement was lost arrived. Such a message is sent once more, labelled as
a possible repeat; it is never lost and never sent a third time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus
from attribution.ports import AlertRetries, Alerts, Channel, Clock, Posted

MAX_ATTEMPTS = 8
LEASE = timedelta(minutes=2)
_FIRST_RETRY_SECONDS = 15
# SQS delays a message by no more than this; a longer wait is asked for again when the message arrives.
_LONGEST_DELAY_SECONDS = 900


@dataclass(frozen=True, slots=True)
class DeliveredAlert:
    """What happened to one alert: the status that this attempt gave it, or why it gave none."""

    key: AlertKey
    status: str


def deliver_alert(key: AlertKey, *, alerts: Alerts, channel: Channel, retries: AlertRetries, clock: Clock) -> DeliveredAlert:
    """Deliver one alert if its current revision is not delivered yet."""
    alert = alerts.get(key)
    if alert is None:
        return DeliveredAlert(key, "gone")
    delivery = alert.delivery
    if delivery.status not in (DeliveryStatus.PENDING, DeliveryStatus.CLAIMED):
        return DeliveredAlert(key, f"already {delivery.status}")
    now = clock()
    if delivery.lease_until is not None and delivery.lease_until > now:
        # Another attempt is sending it, or was told to wait until then; should it have ended, this brings the alert back.
        wait = int((delivery.lease_until - now).total_seconds()) + 1
        retries.retry(key, after_seconds=min(wait, _LONGEST_DELAY_SECONDS))
        return DeliveredAlert(key, "waiting")
    if delivery.status is DeliveryStatus.CLAIMED and delivery.may_repeat:
        # The repeat itself may have arrived. A third message would help nobody; the failure is alarmed on instead.
        failed = Delivery(
            DeliveryStatus.FAILED, delivery.attempts, None, True, "the attempt to repeat the message ended midway"
        )
        alerts.put(replace(alert, delivery=failed), replacing=alert)
        return DeliveredAlert(key, DeliveryStatus.FAILED)
    # A claim whose lease ran out belongs to an attempt that ended in the middle: its message may have arrived.
    may_repeat = delivery.may_repeat or delivery.status is DeliveryStatus.CLAIMED
    claimed = replace(
        alert,
        delivery=Delivery(DeliveryStatus.CLAIMED, delivery.attempts + 1, now + LEASE, may_repeat, delivery.error),
    )
    if not alerts.put(claimed, replacing=alert):
        return DeliveredAlert(key, "claimed elsewhere")
    posted = channel.post(claimed)
    settled = replace(claimed, delivery=_settled(claimed, posted, clock))
    # Where it is pending again, this write reaches the stream, and the stream brings the alert back to wait for its time.
    alerts.put(settled, replacing=claimed)
    return DeliveredAlert(key, settled.delivery.status)


def _settled(claimed: Alert, posted: Posted, clock: Clock) -> Delivery:
    delivery = claimed.delivery
    if posted.is_sent:
        return Delivery(DeliveryStatus.SENT, delivery.attempts, None, delivery.may_repeat)
    if posted.is_ambiguous and delivery.may_repeat:
        # This was the repeat.
        return Delivery(DeliveryStatus.FAILED, delivery.attempts, None, True, posted.error)
    can_retry = posted.is_ambiguous or posted.retry_after_seconds is not None  # zero: whenever we like
    if not can_retry or delivery.attempts >= MAX_ATTEMPTS:
        return Delivery(DeliveryStatus.FAILED, delivery.attempts, None, delivery.may_repeat, posted.error)
    wait = posted.retry_after_seconds or _FIRST_RETRY_SECONDS * 2 ** (delivery.attempts - 1)
    may_repeat = delivery.may_repeat or posted.is_ambiguous
    not_before = clock() + timedelta(seconds=wait)
    return Delivery(DeliveryStatus.PENDING, delivery.attempts, not_before, may_repeat, posted.error)
