"""Invocations in DynamoDB: one item per request, each half written once by a conditional update.

An item holds `metered` and `observed` as maps. A call whose credentials' STS event is not known yet also carries
`awaiting_access_key`, the key of a sparse index, and one without a price `unpriced`, the key of another. Remembered sessions
are items of their own, `SESSION#<access key id>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from adapters.dynamodb import Item, Table, from_wire, integer, to_wire
from attribution.canonical import pairs
from attribution.meters import Routing, Tier, TokenKind
from attribution.ports import IssuedSession, UnpricedUsage
from attribution.usage import FIRST_RECORD, Invocation, InvocationKey, Metered, Observed, Pairs, PricedKind

AWAITING_INDEX, UNPRICED_INDEX = "awaiting-session", "unpriced"
# Temporary credentials live up to 36 hours (GetFederationToken); calls made with them arrive late by as much again.
SESSION_TTL = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class Written:
    """What a conditional write did. `conflicts` says that other values stand, `replaces` that lesser ones stood until now."""

    is_new: bool
    conflicts: bool = False
    replaces: bool = False


def _key(pk: str) -> InvocationKey:
    return InvocationKey(*pk.split("#", 2))


def _is_unpriced(kinds: Mapping[TokenKind, PricedKind]) -> bool:
    # What was used not at all costs nothing at any price.
    return any(priced.cost is None and priced.units for priced in kinds.values())


def _unpriced(usage_date: date, model: str) -> str:
    """What a request without a price is found by: everything that a price may come to be known for at once."""
    return f"{usage_date.isoformat()}#{model}"


def _kinds_to_map(kinds: Mapping[TokenKind, PricedKind]) -> Item:
    return {
        "units": {kind.value: priced.units for kind, priced in kinds.items()},
        "costs": {kind.value: priced.cost for kind, priced in kinds.items() if priced.cost is not None},
        "unit_prices": {kind.value: priced.unit_price for kind, priced in kinds.items() if priced.unit_price},
    }


def _kinds_from_map(stored: Mapping[str, Any]) -> dict[TokenKind, PricedKind]:
    units, costs, unit_prices = stored["units"], stored["costs"], stored["unit_prices"]
    return {TokenKind(k): PricedKind(integer(n), costs.get(k), unit_prices.get(k, "")) for k, n in units.items()}


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
        **_kinds_to_map(metered.kinds),
        "request_metadata": dict(metered.request_metadata),
        "error_code": metered.error_code,
        "flags": list(metered.flags),
        "price_source": metered.price_source,
        "currency": metered.currency,
        "log_object": metered.log_object,
        "fingerprint": metered.fingerprint(),
        **({"guardrail_units": dict(metered.guardrail_units)} if metered.guardrail_units else {}),
    }


def metered_from_map(stored: Mapping[str, Any]) -> Metered:
    """The metered half as read."""
    return Metered(
        timestamp=datetime.fromisoformat(stored["timestamp"]),
        model_id=stored["model_id"],
        model=stored["model"],
        operation=stored["operation"],
        routing=Routing(stored["routing"]),
        tier=Tier(stored["tier"]),
        inference_profile=stored["inference_profile"],
        iam_principal=stored["iam_principal"],
        kinds=_kinds_from_map(stored),
        request_metadata=pairs(stored["request_metadata"]),
        error_code=stored["error_code"],
        flags=tuple(stored["flags"]),
        price_source=stored["price_source"],
        currency=stored["currency"],
        log_object=stored["log_object"],
        guardrail_units=tuple(sorted((name, integer(n)) for name, n in stored.get("guardrail_units", {}).items())),
    )


# Every item has these, as text.
_OBSERVED_TEXT = (
    "event_name", "model_id", "iam_principal", "role", "session_name", "source_identity", "access_key_id", "error_code",
)  # fmt: skip
# An item has of these what its record said.
_OBSERVED_DETAIL = (
    "event_id", "identity_type", "identity_name", "invoked_by", "issued_to", "on_behalf_of", "has_bearer_token",
    "is_uncovered", "project", "inference_region", "inference_profile", "price_source",
)  # fmt: skip


def observed_to_map(observed: Observed) -> Item:
    """The observed half as stored. What its record did not say is left out of it, so that most items stay small."""
    values: Item = {name: getattr(observed, name) for name in _OBSERVED_TEXT}
    values |= {"timestamp": observed.timestamp.isoformat(), "session_tags": dict(observed.session_tags)}
    detail: Item = {name: getattr(observed, name) for name in _OBSERVED_DETAIL}
    detail["request_metadata"] = dict(observed.request_metadata)
    if observed.revision != FIRST_RECORD:
        detail["revision"] = observed.revision
    if observed.routing is not Routing.REGIONAL:
        detail["routing"] = observed.routing.value
    if observed.tier is not Tier.STANDARD:
        detail["tier"] = observed.tier.value
    if observed.kinds:
        values |= _kinds_to_map(observed.kinds) | {"currency": observed.currency}
    return values | {name: value for name, value in detail.items() if value}


def observed_from_map(stored: Mapping[str, Any]) -> Observed:
    """The observed half as read."""
    detail = {name: stored[name] for name in _OBSERVED_DETAIL if name in stored}
    return Observed(
        timestamp=datetime.fromisoformat(stored["timestamp"]),
        session_tags=pairs(stored["session_tags"]),
        routing=Routing(stored.get("routing", Routing.REGIONAL)),
        tier=Tier(stored.get("tier", Tier.STANDARD)),
        request_metadata=pairs(stored.get("request_metadata", {})),
        kinds=_kinds_from_map(stored) if "units" in stored else {},
        currency=stored.get("currency", "USD"),
        revision=stored.get("revision", FIRST_RECORD),
        **{name: stored[name] for name in _OBSERVED_TEXT},
        **detail,
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
        values = metered_to_map(metered)
        arguments: Item = {":half": values, ":expires_at": self._expiry(self._ttl)}
        expression = "SET metered = :half, expires_at = :expires_at"
        if _is_unpriced(metered.kinds):
            expression += ", unpriced = :unpriced"
            arguments[":unpriced"] = _unpriced(metered.usage_date, metered.model)
        else:
            # The observed half may have been counted without a price until now.
            expression += " REMOVE unpriced"
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": str(key)}),
                UpdateExpression=expression,
                ConditionExpression="attribute_not_exists(metered)",
                ExpressionAttributeValues=to_wire(arguments),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._table.client.exceptions.ConditionalCheckFailedException as error:
            stored = self._stored_metered(error, key)
            return Written(is_new=False, conflicts=stored.get("fingerprint") != values["fingerprint"])
        return Written(is_new=True)

    def _stored_metered(self, error: ClientError, key: InvocationKey) -> Mapping[str, Any]:
        returned: Any = error.response.get("Item")
        item = from_wire(returned) if returned else self._table.get(pk=str(key)) or {}
        stored: Mapping[str, Any] = item.get("metered", {})
        return stored

    def record_observed(self, key: InvocationKey, observed: Observed, *, awaits_session: bool) -> Written:
        """Write the observed half unless one of the same or a greater revision is there."""
        arguments: Item = {
            ":half": observed_to_map(observed),
            ":revision": observed.revision,
            ":expires_at": self._expiry(self._ttl),
        }
        expression = "SET observed = :half, expires_at = :expires_at"
        if _is_unpriced(observed.kinds):
            # What the metered half says of its own price stands.
            expression += ", unpriced = if_not_exists(unpriced, :unpriced)"
            arguments[":unpriced"] = _unpriced(observed.timestamp.date(), observed.model_id)
        if awaits_session:
            expression += ", awaiting_access_key = :awaiting"
            arguments[":awaiting"] = observed.access_key_id
        else:
            expression += " REMOVE awaiting_access_key"
        # A half without a revision is a first record.
        without = "observed.revision" if observed.revision > FIRST_RECORD else "observed"
        try:
            answer = self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": str(key)}),
                UpdateExpression=expression,
                ConditionExpression=f"attribute_not_exists({without}) OR observed.revision < :revision",
                ExpressionAttributeValues=to_wire(arguments),
                ReturnValues="UPDATED_OLD",
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return Written(is_new=False)
        replaces = "observed" in answer.get("Attributes", {})
        return Written(is_new=not replaces, replaces=replaces)

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
                found.append(_key(from_wire(item)["pk"]))
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

    def unpriced(self, usage: UnpricedUsage, *, after: str, limit: int) -> Sequence[InvocationKey]:
        """The requests of a day and model that await a price, in one order, as far as the index shows them."""
        marker = _unpriced(usage.usage_date, usage.model)
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "IndexName": UNPRICED_INDEX,
            "KeyConditionExpression": "unpriced = :unpriced" + (" AND pk > :after" if after else ""),
            "ExpressionAttributeValues": to_wire({":unpriced": marker} | ({":after": after} if after else {})),
        }
        pages = self._table.client.get_paginator("query").paginate(**request, PaginationConfig={"MaxItems": limit})
        return [_key(from_wire(item)["pk"]) for page in pages for item in page["Items"]]

    def replace_metered(self, key: InvocationKey, before: Metered, after: Metered) -> bool:
        """Give the metered half the model and prices of `after`, unless it has changed since `before` was read."""
        values: Item = {
            "model": after.model,
            "routing": after.routing.value,
            "tier": after.tier.value,
            "inference_profile": after.inference_profile,
            "price_source": after.price_source,
        }
        unpriced = _unpriced(after.usage_date, after.model) if _is_unpriced(after.kinds) else ""
        seen = {"model": before.model, "costs": _kinds_to_map(before.kinds)["costs"]}
        return self._replace(key, "metered", values | _kinds_to_map(after.kinds), seen, unpriced)

    def replace_observed(self, key: InvocationKey, before: Observed, after: Observed) -> bool:
        """The same for the observed half, as long as it stands alone."""
        values: Item = {
            "model_id": after.model_id,
            "routing": after.routing.value,
            "tier": after.tier.value,
            "inference_profile": after.inference_profile,
            "price_source": after.price_source,
        }
        unpriced = _unpriced(after.timestamp.date(), after.model_id) if _is_unpriced(after.kinds) else ""
        seen = {"model_id": before.model_id, "costs": _kinds_to_map(before.kinds)["costs"]}
        return self._replace(
            key, "observed", values | _kinds_to_map(after.kinds), seen, unpriced, "attribute_not_exists(metered)"
        )

    def _replace(
        self, key: InvocationKey, half: str, values: Item, seen: Item, unpriced: str, condition: str = "attribute_exists(pk)"
    ) -> bool:
        names = {f"#{name}": name for name in (*values, *seen)}
        arguments: Item = {f":new_{name}": value for name, value in values.items()}
        arguments |= {f":seen_{name}": value for name, value in seen.items()}
        expression = "SET " + ", ".join(f"{half}.#{name} = :new_{name}" for name in values)
        if unpriced:
            expression += ", unpriced = :unpriced"
            arguments[":unpriced"] = unpriced
        else:
            expression += " REMOVE unpriced"
        return self._update(
            key,
            UpdateExpression=expression,
            ConditionExpression=" AND ".join([condition, *(f"{half}.#{name} = :seen_{name}" for name in seen)]),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=to_wire(arguments),
        )

    def forget_unpriced(self, invocation: Invocation, usage: UnpricedUsage) -> None:
        """Take a request that has its prices out of the index, unless a half without them came meanwhile."""
        self._update(
            invocation.key,
            UpdateExpression="REMOVE unpriced",
            ConditionExpression="unpriced = :unpriced" + ("" if invocation.metered else " AND attribute_not_exists(metered)"),
            ExpressionAttributeValues=to_wire({":unpriced": _unpriced(usage.usage_date, usage.model)}),
        )

    def _update(self, key: InvocationKey, **request: Any) -> bool:
        """An update on a condition; whether it held."""
        try:
            self._table.client.update_item(TableName=self._table.name, Key=to_wire({"pk": str(key)}), **request)
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: InvocationKey) -> Invocation | None:
        """One invocation, read consistently."""
        item = self._table.get(pk=str(key))
        return invocation_from_image(to_wire(item)) if item else None

    def _expiry(self, ttl: timedelta) -> Decimal:
        return Decimal(int((self._clock() + ttl).timestamp()))
