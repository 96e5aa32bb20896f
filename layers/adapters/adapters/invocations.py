"""Invocations in DynamoDB: one item per request, each half written once by a conditional update.

An item holds its halves as `packing` makes them. Beside them stands what a condition or an index looks at: the credentials of
the call, its session tags once they are known, the revision of the record it is known from unless that is the first, and for
one without a price `unpriced`, the key of a sparse index.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from adapters.concurrency import each, results
from adapters.dynamodb import Item, Table, to_wire
from adapters.packing import pack_metered, pack_observed, unpack_metered, unpack_observed
from attribution.canonical import pairs
from attribution.meters import TokenKind
from attribution.ports import MeteredHalf, ObservedHalf, SessionLink, UnpricedUsage
from attribution.usage import FIRST_RECORD, Invocation, InvocationKey, Metered, Observed, PricedKind

UNPRICED_INDEX = "unpriced"
# Bytes of a partition key, DynamoDB's limit.
_LONGEST_KEY = 2048


@dataclass(frozen=True, slots=True)
class Written:
    """What a conditional write did. `conflicts` says that other values stand, `replaces` that lesser ones stood until now.

    `awaits_session` says of a write that did nothing that the call which stands has no session tags.
    """

    is_new: bool
    conflicts: bool = False
    replaces: bool = False
    awaits_session: bool = False


def _is_unpriced(kinds: Mapping[TokenKind, PricedKind]) -> bool:
    # What was used not at all costs nothing at any price.
    return any(priced.cost is None and priced.units for priced in kinds.values())


def _unpriced(usage_date: date, model: str) -> str:
    """What a request without a price is found by: everything that a price may come to be known for at once."""
    return f"{usage_date.isoformat()}#{model}"


def _bytes(value: Mapping[str, Any]) -> bytes:
    """A binary attribute: boto3 decodes it, a stream's event has it as base64."""
    content: Any = value["B"]
    return binascii.a2b_base64(content) if isinstance(content, str) else bytes(content)


def invocation_from_image(image: Mapping[str, Any] | None) -> Invocation | None:
    """An invocation from an item in wire form, of the table or of its stream; None where there is none."""
    metered, observed = (image.get("metered"), image.get("observed")) if image else (None, None)
    if image is None or not (metered or observed):
        return None
    return Invocation(
        InvocationKey(*image["pk"]["S"].split("#", 2)),
        unpack_metered(_bytes(metered)) if metered else None,
        _observed(image, observed) if observed else None,
    )


def _observed(image: Mapping[str, Any], half: Mapping[str, Any]) -> Observed:
    tags = image["session_tags"]["M"] if "session_tags" in image else {}
    return unpack_observed(
        _bytes(half),
        image["access_key_id"]["S"] if "access_key_id" in image else "",
        pairs({name: value["S"] for name, value in tags.items()}),
        image["revision"]["S"] if "revision" in image else FIRST_RECORD,
    )


class DynamoInvocations:
    """`Invocations` in one DynamoDB table whose only key is `pk`."""

    def __init__(self, table: Table, ttl_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._ttl = timedelta(days=ttl_days)
        self._clock = clock

    def record_metered(self, halves: Sequence[MeteredHalf]) -> list[Written | Exception]:
        """Write metered halves unless they are there; the same values again are a repeat, other values a conflict."""
        return each(self._record_metered, halves)

    def _record_metered(self, half: MeteredHalf) -> Written:
        key, metered = half
        arguments: Item = {":half": pack_metered(metered), ":expires_at": self._expiry()}
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
            stands = self._stands(error, key)
            same = stands and stands.metered and stands.metered.fingerprint() == metered.fingerprint()
            return Written(is_new=False, conflicts=not same)
        return Written(is_new=True)

    def _stands(self, error: ClientError, key: InvocationKey) -> Invocation | None:
        """What stood in the way of a write."""
        returned: Any = error.response.get("Item")
        return invocation_from_image(returned) if returned else self.get(key)

    def record_observed(self, halves: Sequence[ObservedHalf]) -> list[Written | Exception]:
        """Write observed halves, each unless one of the same or a greater revision is there."""
        return each(self._record_observed, halves)

    def _record_observed(self, half: ObservedHalf) -> Written:
        key, observed = half
        arguments: Item = {":half": pack_observed(observed), ":expires_at": self._expiry(), ":revision": observed.revision}
        expression, gone = "SET observed = :half, expires_at = :expires_at", []
        beside = {
            "access_key_id": observed.access_key_id,
            "session_tags": dict(observed.session_tags),
            "revision": observed.revision if observed.revision != FIRST_RECORD else "",
        }
        for name, value in beside.items():
            if value:
                expression += f", {name} = :{name}"
                arguments[f":{name}"] = value
            else:
                gone.append(name)
        if _is_unpriced(observed.kinds):
            # What the metered half says of its own price stands.
            expression += ", unpriced = if_not_exists(unpriced, :unpriced)"
            arguments[":unpriced"] = _unpriced(observed.timestamp.date(), observed.model_id)
        if gone:
            expression += f" REMOVE {', '.join(gone)}"
        # A half without a revision is a first record.
        without = "revision" if observed.revision > FIRST_RECORD else "observed"
        try:
            answer = self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": str(key)}),
                UpdateExpression=expression,
                ConditionExpression=f"attribute_not_exists({without}) OR revision < :revision",
                ExpressionAttributeValues=to_wire(arguments),
                ReturnValues="UPDATED_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._table.client.exceptions.ConditionalCheckFailedException as error:
            stands = self._stands(error, key)
            return Written(is_new=False, awaits_session=bool(stands and stands.observed and not stands.observed.session_tags))
        replaces = "observed" in answer.get("Attributes", {})
        return Written(is_new=not replaces, replaces=replaces)

    def apply_session_tags(self, links: Sequence[SessionLink]) -> list[bool]:
        """Give calls their session tags, each once; returns which had none until now.

        A call that has them, or was made with other credentials, stays as it is.
        """
        return results(each(self._apply_session_tags, links))

    def _apply_session_tags(self, link: SessionLink) -> bool:
        return self._update(
            link.key,
            UpdateExpression="SET session_tags = :tags",
            ConditionExpression="access_key_id = :key AND attribute_not_exists(session_tags)",
            ExpressionAttributeValues=to_wire({":tags": dict(link.session_tags), ":key": link.access_key_id}),
        )

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
        return [InvocationKey(*item["pk"]["S"].split("#", 2)) for page in pages for item in page["Items"]]

    def replace_metered(self, key: InvocationKey, before: Metered, after: Metered) -> bool:
        """Give the metered half the model and prices of `after`, unless it has changed since `before` was read."""
        item = self._image(key)
        stands = invocation_from_image(item)
        if stands is None or stands.metered != before:
            return False
        unpriced = _unpriced(after.usage_date, after.model) if _is_unpriced(after.kinds) else ""
        return self._replace(key, "metered", item["metered"], pack_metered(after), unpriced)

    def replace_observed(self, key: InvocationKey, before: Observed, after: Observed) -> bool:
        """The same for the observed half, as long as it stands alone."""
        item = self._image(key)
        stands = invocation_from_image(item)
        if stands is None or stands.metered is not None or stands.observed != before:
            return False
        unpriced = _unpriced(after.timestamp.date(), after.model_id) if _is_unpriced(after.kinds) else ""
        return self._replace(
            key, "observed", item["observed"], pack_observed(after), unpriced, " AND attribute_not_exists(metered)"
        )

    def _replace(
        self, key: InvocationKey, half: str, seen: Mapping[str, Any], packed: bytes, unpriced: str, condition: str = ""
    ) -> bool:
        """Replace a half by another, if its bytes are still those that were read.

        Not those that packing it again would give: another release of zlib may pack the same half otherwise.
        """
        arguments = to_wire({":half": packed} | ({":unpriced": unpriced} if unpriced else {}))
        return self._update(
            key,
            UpdateExpression=f"SET {half} = :half" + (", unpriced = :unpriced" if unpriced else " REMOVE unpriced"),
            ConditionExpression=f"{half} = :seen{condition}",
            ExpressionAttributeValues=arguments | {":seen": seen},
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
        """One invocation, read consistently. DynamoDB refuses to look for a key that is longer than it stores."""
        return invocation_from_image(self._image(key)) if len(str(key).encode()) <= _LONGEST_KEY else None

    def _image(self, key: InvocationKey) -> dict[str, Any]:
        answer: Any = self._table.client.get_item(
            TableName=self._table.name, Key=to_wire({"pk": str(key)}), ConsistentRead=True
        )
        return dict(answer.get("Item", {}))

    def _expiry(self) -> Decimal:
        return Decimal(int((self._clock() + self._ttl).timestamp()))
