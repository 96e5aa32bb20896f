"""Alerts in DynamoDB: `<budget>#<period>` / `<kind>#<threshold>`, replaced only by whoever has read the last state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.dynamodb import Item, Table, from_wire, integer, to_wire
from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus
from attribution.budgets import (
    AlertState,
    Comparison,
    Driver,
    Notification,
    NotificationType,
    Spend,
    ThresholdType,
)
from attribution.money import Money


class DynamoAlerts:
    """`Alerts` in one table. Revision, status, attempts and lease name a state: a writer that has read another one loses."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def get(self, key: AlertKey) -> Alert | None:
        """The alert as it is now."""
        item = self._table.get(**_key(key))
        return _alert(item) if item else None

    def get_many(self, keys: Iterable[AlertKey]) -> Mapping[AlertKey, Alert]:
        """Those of some alerts that exist."""
        alerts = (_alert(item) for item in self._table.batch_get([_key(key) for key in dict.fromkeys(keys)]))
        return {alert.key: alert for alert in alerts}

    def put(self, alert: Alert, *, replacing: Alert | None) -> bool:
        """Store an alert if it is still what `replacing` says; returns whether it was."""
        values = _item(alert)
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": to_wire(
                _key(alert.key) | values | {"expires_at": Decimal(int((self._clock() + self._retention).timestamp()))}
            ),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        if replacing:
            seen = _item(replacing)
            request["ConditionExpression"] = " AND ".join(f"{name} = :{name}" for name in _STATE)
            request["ExpressionAttributeValues"] = to_wire({f":{name}": seen[name] for name in _STATE})
        try:
            self._table.client.put_item(**request)
        except self._table.client.exceptions.ConditionalCheckFailedException:
            # An attempt whose acknowledgement was lost finds its own write.
            stored = self._table.get(**_key(alert.key))
            return stored is not None and all(stored[name] == values[name] for name in (*_STATE, "changed_at"))
        return True


_STATE = ("revision", "delivery_status", "attempts", "lease_until")


def _key(key: AlertKey) -> dict[str, str]:
    return {"pk": f"{key.budget}#{key.period}", "sk": f"{key.kind}#{key.threshold}"}


def key_of_image(image: Mapping[str, Any]) -> AlertKey:
    """The alert that a stream image (wire form) belongs to."""
    item = from_wire(image)
    return AlertKey(item["budget"], item["period"], item["kind"], item["threshold"])


def _item(alert: Alert) -> Item:
    delivery = alert.delivery
    return {
        "budget": alert.key.budget,
        "period": alert.key.period,
        "kind": alert.key.kind,
        "threshold": alert.key.threshold,
        "state": alert.state.value,
        "revision": alert.revision,
        "limit": alert.limit.amount,
        "currency": alert.limit.currency,
        "notification": _notification_item(alert.notification),
        "billed": alert.spend.billed,
        "estimated": alert.spend.estimated,
        "drivers": [[d.dimension, d.name, d.amount, d.before] for d in alert.spend.drivers],
        "metric": alert.metric,
        "scope": alert.scope,
        "channel": alert.channel,
        "changed_at": alert.changed_at.isoformat(),
        "previous_actual": alert.previous_actual,
        "delivery_status": delivery.status.value,
        "attempts": delivery.attempts,
        "lease_until": delivery.lease_until.isoformat() if delivery.lease_until else "",
        "may_repeat": delivery.may_repeat,
        "error": delivery.error,
    }


def _notification_item(notification: Notification) -> Item:
    return {
        "type": notification.type.value,
        "comparison": notification.comparison.value,
        "threshold": notification.threshold,
        "threshold_type": notification.threshold_type.value,
    }


def _notification(item: Item) -> Notification:
    return Notification(
        item["threshold"],
        NotificationType(item["type"]),
        Comparison(item["comparison"]),
        ThresholdType(item["threshold_type"]),
    )


def _alert(item: Item) -> Alert:
    lease_until = item["lease_until"]
    return Alert(
        key=AlertKey(item["budget"], item["period"], item["kind"], item["threshold"]),
        state=AlertState(item["state"]),
        revision=integer(item["revision"]),
        limit=Money(item["limit"], item["currency"]),
        notification=_notification(item["notification"]),
        spend=Spend(item["billed"], item["estimated"], tuple(Driver(*driver) for driver in item["drivers"])),
        metric=item["metric"],
        scope=item["scope"],
        channel=item["channel"],
        changed_at=datetime.fromisoformat(item["changed_at"]),
        previous_actual=item["previous_actual"],
        delivery=Delivery(
            DeliveryStatus(item["delivery_status"]),
            integer(item["attempts"]),
            datetime.fromisoformat(lease_until) if lease_until else None,
            item["may_repeat"],
            item["error"],
        ),
    )
