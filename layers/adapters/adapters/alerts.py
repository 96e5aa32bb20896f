"""Alerts, digests and the traffic of channels in DynamoDB. Each item is replaced only by whoever has read its last version.

ALERT#<budget>#<period>   alert       one alert
DIGEST#<route>            <name>      one digest
DIGEST#<route>            fault#<name> why a digest could not be made
CHANNEL#<secret>#<id>     traffic     when a channel may be sent to again

Whatever somebody has to look at at some time has the attributes `due` and `due_at`, and so is in the index `due`; so has an
open alert that nobody has to look at, for those who list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

from adapters.dynamodb import Item, Table, from_wire, to_wire
from attribution.alerts import Alert, AlertKey, DeliveryStatus
from attribution.digests import Digest, DigestFault, DigestKey
from attribution.errors import LedgerConflict
from attribution.routes import Traffic

_ALERT, _DIGEST, _CHANNEL = "ALERT#", "DIGEST#", "CHANNEL#"
_ALERT_SK, _TRAFFIC_SK = "alert", "traffic"
_FAULT = "fault#"
_TRAFFIC_LIVES = timedelta(days=2)
_FAULT_LIVES = timedelta(days=7)
_DUE_MAX = 1000
_BY_VERSION = "version = :version"
_ABSENT = "attribute_not_exists(pk)"
N = TypeVar("N", bound=Alert | Digest)


@cache
def _codec(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class DynamoOutbox:
    """`Outbox` in one table."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def get(self, key: AlertKey) -> Alert | None:
        """The alert as it is now."""
        item = self._table.get(**_key(key))
        return _read(Alert, item["alert"], item) if item else None

    def get_many(self, keys: Iterable[AlertKey]) -> Mapping[AlertKey, Alert]:
        """Those of some alerts that exist."""
        items = self._table.batch_get([_key(key) for key in dict.fromkeys(keys)])
        return {alert.key: alert for alert in (_read(Alert, item["alert"], item) for item in items)}

    def put(self, alert: Alert, *, replacing: Alert | None) -> Alert | None:
        """Store an alert if it is still what `replacing` says."""
        return self._replace(alert, replacing)

    def digest(self, key: DigestKey) -> Digest | None:
        """The digest as it is now."""
        item = self._table.get(**_key(key))
        return _read(Digest, item["digest"], item) if item else None

    def add_digest(self, digest: Digest) -> bool:
        """Store a digest unless there is one of its key; returns whether it is new."""
        return self._replace(digest, None) is not None

    def faults(self, route: str) -> Sequence[DigestFault]:
        """The digests of a route that could not be made in the last days, by name."""
        items = self._table.query(f"{_DIGEST}{route}", _FAULT)
        return [_codec(DigestFault).validate_python(item["fault"]) for item in items]

    def put_fault(self, fault: DigestFault) -> None:
        """Keep why a digest could not be made, in place of why it could not before."""
        item = _fault_key(fault.key) | {"fault": _plain(fault), "expires_at": self._expires_in(_FAULT_LIVES)}
        self._table.batch_put([item])

    def forget_fault(self, key: DigestKey) -> None:
        """It was made."""
        self._table.delete(**_fault_key(key))

    def find(self, key: AlertKey | DigestKey) -> Alert | Digest | None:
        """An alert or a digest as it is now."""
        return self.get(key) if isinstance(key, AlertKey) else self.digest(key)

    def replace(self, notice: Alert | Digest, *, replacing: Alert | Digest) -> Alert | Digest | None:
        """Store a notice if it is still what `replacing` says."""
        return self._replace(notice, replacing)

    def collect(self, alert: Alert, digest: Digest, *, replacing: Alert, extending: Digest | None) -> bool:
        """Make an alert's news a digest's, both in one write; returns whether neither had changed."""
        actions = [{"Put": self._request(alert, replacing)[1]}, {"Put": self._request(digest, extending)[1]}]
        try:
            self._table.transact(actions, f"{alert.key} or {digest.key} was changed meanwhile")
        except LedgerConflict:
            return False
        return True

    def traffic(self, channel: str) -> Traffic | None:
        """What the channel was sent lately."""
        item = self._table.get(pk=f"{_CHANNEL}{channel}", sk=_TRAFFIC_SK)
        return _codec(Traffic).validate_python(item["traffic"]) if item else None

    def put_traffic(self, channel: str, traffic: Traffic, *, replacing: Traffic | None) -> bool:
        """Store a channel's traffic if it is still what `replacing` says; returns whether it was."""
        item = {
            "pk": f"{_CHANNEL}{channel}",
            "sk": _TRAFFIC_SK,
            "traffic": _plain(traffic),
            "expires_at": self._expires_in(_TRAFFIC_LIVES),
        }
        request: dict[str, Any] = {"TableName": self._table.name, "Item": to_wire(item), "ConditionExpression": _ABSENT}
        if replacing is not None:
            request["ConditionExpression"] = "traffic = :traffic"
            request["ExpressionAttributeValues"] = to_wire({":traffic": _plain(replacing)})
        try:
            self._table.client.put_item(**request)
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def due(self, now: datetime) -> Sequence[AlertKey | DigestKey]:
        """What somebody has to look at by now, the longest due first; of very many, the next look finds the rest."""
        return self._listed("due = :due AND due_at <= :now", {":due": "due", ":now": _instant(now)}, _DUE_MAX)

    def open(self) -> Sequence[AlertKey | DigestKey]:
        """What is not over: alerts of periods that have not ended and of anomalies that are open, and whatever waits."""
        return self._listed("due = :due", {":due": "due"})

    def _listed(self, condition: str, values: dict[str, Any], most: int | None = None) -> Sequence[AlertKey | DigestKey]:
        pages = self._table.client.get_paginator("query").paginate(
            TableName=self._table.name,
            IndexName="due",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=to_wire(values),
            PaginationConfig={"MaxItems": most} if most else {},
        )
        return [_key_of(from_wire(item)) for page in pages for item in page["Items"]]

    def _replace(self, notice: N, replacing: Alert | Digest | None) -> N | None:
        stored, request = self._request(notice, replacing)
        try:
            self._table.client.put_item(**request)
        except self._table.client.exceptions.ConditionalCheckFailedException:
            # An attempt whose acknowledgement was lost finds its own write.
            return stored if self.find(notice.key) == stored else None
        return stored

    def _request(self, notice: N, replacing: Alert | Digest | None) -> tuple[N, dict[str, Any]]:
        stored = replace(notice, version=replacing.version + 1 if replacing else 1)
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": to_wire(self._item(stored)),
            "ConditionExpression": _BY_VERSION if replacing else _ABSENT,
        }
        if replacing:
            request["ExpressionAttributeValues"] = to_wire({":version": replacing.version})
        return stored, request

    def _item(self, notice: Alert | Digest) -> Item:
        due_at = notice.due_at if isinstance(notice, Alert) else notice.delivery.wait_until
        is_open = notice.delivery.status in (DeliveryStatus.PENDING, DeliveryStatus.CLAIMED)
        if is_open and notice.delivery.wait_until is None:
            # Should the stream's record be lost, it is found a while later.
            soon = self._clock() + timedelta(minutes=15)
            due_at = min(due_at or soon, soon)
        if due_at is None and isinstance(notice, Alert) and notice.is_open:
            # The alert of an anomaly or an alarm. It is listed until it is over, and not looked at before it would expire.
            due_at = self._clock() + self._retention
        item: Item = _key(notice.key) | {
            "version": notice.version,
            "delivery_status": notice.delivery.status.value,
            "expires_at": self._expires_in(self._retention),
        }
        if due_at is not None:
            item |= {"due": "due", "due_at": _instant(due_at)}
        if isinstance(notice, Alert):
            return item | {"state": notice.state.value, "alert": _plain(notice)}
        return item | {"digest": _plain(notice)}

    def _expires_in(self, span: timedelta) -> Decimal:
        return Decimal(int((self._clock() + span).timestamp()))


def _plain(value: Alert | Digest | DigestFault | Traffic) -> Any:
    """A value as DynamoDB keeps it: amounts and times as text, so that they stay exact. The version is the item's own."""
    kind: Any = type(value)
    return _codec(kind).dump_python(value, mode="json", exclude={"version"})


def _read(kind: type[N], stored: Any, item: Item) -> N:
    codec: Any = _codec
    found: N = codec(kind).validate_python(stored)
    return replace(found, version=int(item["version"]))


def _instant(at: datetime) -> str:
    """A time as text that sorts."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _key(key: AlertKey | DigestKey) -> dict[str, str]:
    if isinstance(key, AlertKey):
        return {"pk": f"{_ALERT}{key}", "sk": _ALERT_SK}
    return {"pk": f"{_DIGEST}{key.route}", "sk": key.name}


def _fault_key(key: DigestKey) -> dict[str, str]:
    return {"pk": f"{_DIGEST}{key.route}", "sk": f"{_FAULT}{key.name}"}


def _key_of(item: Mapping[str, Any]) -> AlertKey | DigestKey:
    pk = str(item["pk"])
    if pk.startswith(_DIGEST):
        return DigestKey(pk.removeprefix(_DIGEST), str(item["sk"]))
    budget, _, period = pk.removeprefix(_ALERT).rpartition("#")
    return AlertKey(budget, period)


def key_of_image(image: Mapping[str, Any]) -> AlertKey | DigestKey:
    """The alert or digest that a stream image (wire form) belongs to."""
    return _key_of(from_wire(image))
