"""Invocations in DynamoDB: one item per request, each half written once by a conditional update.

An item holds `metered` and `observed` as maps. A call whose credentials' STS event is not known yet also carries
`awaiting_access_key`, the key of a sparse index; remembered sessions are items of their own, `SESSION#<access key id>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from adapters.dynamodb import Item, Table, from_wire, integer, to_wire
from attribution.canonical import pairs
from attribution.meters import Routing, Tier, TokenKind
from attribution.ports import IssuedSession
from attribution.usage import Invocation, InvocationKey, Metered, Observed, Pairs, PricedKind

AWAITING_INDEX = "awaiting-session"
# Temporary credentials live up to 36 hours (GetFederationToken); calls made with them arrive late by as much again.
SESSION_TTL = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class Written:
    """What a conditional write did."""

    is_new: bool
    conflicts: bool = False


def metered_to_map(metered: Metered) -> Item:
    """The metered half as stored."""
    return {
        "timestamp": metered.timestamp.isoformat(),
        "model_id": metered.model_id,
        "model": metered.model,
        "operation": metered.operation,
        "routing": metered.routing.value,
        "tier": metered.tier.value,
        "inference_profile": metered.inference_profile,
        "iam_principal": metered.iam_principal,
        "units": {kind.value: priced.units for kind, priced in metered.kinds.items()},
        "costs": {kind.value: priced.cost for kind, priced in metered.kinds.items() if priced.cost is not None},
        "unit_prices": {kind.value: priced.unit_price for kind, priced in metered.kinds.items() if priced.unit_price},
        "request_metadata": dict(metered.request_metadata),
        "error_code": metered.error_code,
        "flags": list(metered.flags),
        "price_source": metered.price_source,
        "currency": metered.currency,
        "log_object": metered.log_object,
        "fingerprint": metered.fingerprint(),
    }


def metered_from_map(stored: Mapping[str, Any]) -> Metered:
    """The metered half as read."""
    units, costs, unit_prices = stored["units"], stored["costs"], stored["unit_prices"]
    return Metered(
        timestamp=datetime.fromisoformat(stored["timestamp"]),
        model_id=stored["model_id"],
        model=stored["model"],
        operation=stored["operation"],
        routing=Routing(stored["routing"]),
        tier=Tier(stored["tier"]),
        inference_profile=stored["inference_profile"],
        iam_principal=stored["iam_principal"],
        kinds={TokenKind(k): PricedKind(integer(n), costs.get(k), unit_prices.get(k, "")) for k, n in units.items()},
        request_metadata=pairs(stored["request_metadata"]),
        error_code=stored["error_code"],
        flags=tuple(stored["flags"]),
        price_source=stored["price_source"],
        currency=stored["currency"],
        log_object=stored["log_object"],
    )


def observed_to_map(observed: Observed) -> Item:
    """The observed half as stored."""
    return {
        "timestamp": observed.timestamp.isoformat(),
        "event_name": observed.event_name,
        "model_id": observed.model_id,
        "iam_principal": observed.iam_principal,
        "role": observed.role,
        "session_name": observed.session_name,
        "source_identity": observed.source_identity,
        "access_key_id": observed.access_key_id,
        "session_tags": dict(observed.session_tags),
        "error_code": observed.error_code,
    }


def observed_from_map(stored: Mapping[str, Any]) -> Observed:
    """The observed half as read."""
    text = {name: stored[name] for name in ("event_name", "model_id", "iam_principal", "role", "session_name")}
    return Observed(
        timestamp=datetime.fromisoformat(stored["timestamp"]),
        source_identity=stored["source_identity"],
        access_key_id=stored["access_key_id"],
        session_tags=pairs(stored["session_tags"]),
        error_code=stored["error_code"],
        **text,
    )


def invocation_from_image(image: Mapping[str, Any] | None) -> Invocation | None:
    """An invocation from a stream image (wire form); None for an item that is not an invocation."""
    if not image:
        return None
    item = from_wire(image)
    if "metered" not in item and "observed" not in item:
        return None
    account_id, region, request_id = item["pk"].split("#", 2)
    return Invocation(
        InvocationKey(account_id, region, request_id),
        metered_from_map(item["metered"]) if "metered" in item else None,
        observed_from_map(item["observed"]) if "observed" in item else None,
    )


class DynamoInvocations:
    """`Invocations` in one DynamoDB table whose only key is `pk`."""

    def __init__(self, table: Table, ttl_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._ttl = timedelta(days=ttl_days)
        self._clock = clock

    def record_metered(self, key: InvocationKey, metered: Metered) -> Written:
        """Write the metered half unless it is there; the same values again are a repeat, other values a conflict."""
        return self._record_half(key, "metered", metered_to_map(metered), "fingerprint")

    def record_observed(self, key: InvocationKey, observed: Observed, *, awaits_session: bool) -> Written:
        """Write the observed half unless it is there."""
        awaiting = observed.access_key_id if awaits_session else ""
        return self._record_half(key, "observed", observed_to_map(observed), "iam_principal", awaiting)

    def _record_half(
        self, key: InvocationKey, half: str, values: Item, identity: str, awaiting_access_key: str = ""
    ) -> Written:
        expression = f"SET {half} = :half, expires_at = :expires_at"
        arguments: Item = {":half": values, ":expires_at": self._expiry(self._ttl)}
        if awaiting_access_key:
            expression += ", awaiting_access_key = :awaiting"
            arguments[":awaiting"] = awaiting_access_key
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": str(key)}),
                UpdateExpression=expression,
                ConditionExpression=f"attribute_not_exists({half})",
                ExpressionAttributeValues=to_wire(arguments),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._table.client.exceptions.ConditionalCheckFailedException as error:
            stored = self._stored_half(error, key, half)
            return Written(is_new=False, conflicts=stored.get(identity) != values[identity])
        return Written(is_new=True)

    def _stored_half(self, error: ClientError, key: InvocationKey, half: str) -> Mapping[str, Any]:
        returned: Any = error.response.get("Item")
        item = from_wire(returned) if returned else self._table.get(pk=str(key)) or {}
        stored: Mapping[str, Any] = item.get(half, {})
        return stored

    def remember_session(self, session: IssuedSession) -> None:
        """Keep the session tags of issued credentials for as long as calls made with them may arrive."""
        self._table.client.put_item(
            TableName=self._table.name,
            Item=to_wire(
                {
                    "pk": f"SESSION#{session.access_key_id}",
                    "session_tags": dict(session.session_tags),
                    "issued_at": session.issued_at.isoformat(),
                    "expires_at": Decimal(int((session.issued_at + SESSION_TTL).timestamp())),
                }
            ),
        )

    def session_tags(self, access_key_id: str) -> Pairs | None:
        """The tags of a session; None where its STS event is not known."""
        item = self._table.get(pk=f"SESSION#{access_key_id}")
        return pairs(item["session_tags"]) if item else None

    def awaiting_session(self, access_key_id: str) -> Sequence[InvocationKey]:
        """The calls made with these credentials that have no session tags yet, as far as the index shows them."""
        found: list[InvocationKey] = []
        pages = self._table.client.get_paginator("query").paginate(
            TableName=self._table.name,
            IndexName=AWAITING_INDEX,
            KeyConditionExpression="awaiting_access_key = :key",
            ExpressionAttributeValues=to_wire({":key": access_key_id}),
        )
        for page in pages:
            for item in page["Items"]:
                account_id, region, request_id = from_wire(item)["pk"].split("#", 2)
                found.append(InvocationKey(account_id, region, request_id))
        return found

    def apply_session_tags(self, key: InvocationKey, access_key_id: str, session_tags: Pairs) -> None:
        """Give a call its session tags, once; a call that has them, or was made with other credentials, stays as it is."""
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": str(key)}),
                UpdateExpression="SET observed.session_tags = :tags REMOVE awaiting_access_key",
                ConditionExpression="awaiting_access_key = :key",
                ExpressionAttributeValues=to_wire({":tags": dict(session_tags), ":key": access_key_id}),
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return

    def get(self, key: InvocationKey) -> Invocation | None:
        """One invocation, read consistently."""
        item = self._table.get(pk=str(key))
        return invocation_from_image(to_wire(item)) if item else None

    def _expiry(self, ttl: timedelta) -> Decimal:
        return Decimal(int((self._clock() + ttl).timestamp()))
