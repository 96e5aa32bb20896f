"""Ledger days in DynamoDB: immutable versions, and pointers that flip in one transaction.

DAY#<date>#<version>   CHARGE#<nnnnn>           up to 200 allocated charges, compressed
DAY#<date>#<version>   SUM#<dimension>#<nnnnn>  up to 200 values of one dimension
DAY#<date>#<version>   COVERAGE#<nnnnn>         up to 200 places of its coverage, compressed
DAY#<date>#<version>   VERSION                  what the version was made from; written last
PERIOD#<yyyy-mm>       DAY#<date>               the pointer
PERIOD#<yyyy-mm>       HISTORY#<date>#<changed at>#<version>   every pointer there has been
PERIOD#<yyyy-mm>       ADJUSTMENT#<sequence>#<date>            what a delivery changed after the month was closed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.codec import (
    adjustment_from_json,
    adjustment_to_json,
    allocated_from_json,
    allocated_to_json,
    compress,
    costs_from_json,
    costs_to_json,
    coverage_from_json,
    coverage_to_json,
    decompress_lines,
    lines,
    totals_from_json,
    totals_to_json,
)
from adapters.dynamodb import Item, Table, integer, to_wire
from adapters.ledger_keys import ADJUSTMENTS, adjustment_sk, day_pk, delivery_pk, delivery_sk, period_pk
from attribution.adjustments import Adjustment
from attribution.allocation import totals_by_currency
from attribution.canonical import number_text
from attribution.charges import AllocatedCharge, Basis, Costs
from attribution.coverage import Coverage, Place
from attribution.days import DayPointer, DayVersion, Sum
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import LedgerConflict
from attribution.periods import BillingPeriod

VERSION = "VERSION"
# Well under DynamoDB's 400 KB an item, whatever the charges carry.
_CHARGES_PER_ITEM = 200
_VALUES_PER_ITEM = 200
_PLACES_PER_ITEM = 200
_BYTES_PER_ITEM = 250_000
# A superseded estimate was true for minutes; a superseded bill is history that people ask for.
_SUPERSEDED_ESTIMATE_TTL = timedelta(days=2)


class DynamoLedgerDays:
    """`LedgerDays` in the ledger table."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def pointers(self, period: BillingPeriod) -> Mapping[date, DayPointer]:
        """The current version of each day of a period."""
        found = (_pointer(item) for item in self._table.query(period_pk(period), "DAY#"))
        return {pointer.usage_date: pointer for pointer in found}

    def pointers_as_of(self, period: BillingPeriod, moment: datetime) -> Mapping[date, DayPointer]:
        """The version of each day of a period that was current at a moment."""
        pk, found = period_pk(period), {}
        for day in period.days():
            # Of one instant, every version's key lies below this one: `~` follows all hexadecimal digits.
            through = f"HISTORY#{day.isoformat()}#{moment.astimezone(UTC).isoformat()}#~"
            item = self._table.last(pk, after=f"HISTORY#{day.isoformat()}#", through=through)
            if item is not None:
                found[day] = _pointer(item)
        return found

    def expired(self, pointers: Sequence[DayPointer]) -> Sequence[DayPointer]:
        """Those whose versions have expired: they can no longer be read, or not for sure."""
        now = Decimal(int(self._clock().timestamp()))
        headers = self._table.batch_get({"pk": day_pk(p.usage_date, p.version), "sk": VERSION} for p in pointers)
        alive = {item["pk"] for item in headers if "expires_at" not in item or item["expires_at"] > now}
        return [p for p in pointers if day_pk(p.usage_date, p.version) not in alive]

    def stage(self, day: DayVersion, sequence: str) -> DayPointer:
        """Write a version that no pointer names yet; a version that is there already is left as it is."""
        existing = self._table.get(pk=day_pk(day.usage_date, day.version), sk=VERSION)
        if existing is not None and existing["sequence"] == sequence and "expires_at" not in existing:
            return _pointer(existing)
        pk = day_pk(day.usage_date, day.version)
        chunks = [day.charges[i : i + _CHARGES_PER_ITEM] for i in range(0, len(day.charges), _CHARGES_PER_ITEM)]
        items: list[Item] = [
            {"pk": pk, "sk": f"CHARGE#{n:05d}", "charges": compress(lines(allocated_to_json(c) for c in chunk))}
            for n, chunk in enumerate(chunks)
        ]
        sum_chunks: dict[str, int] = {}
        for dimension, values in day.sums.items():
            parts = _parts([_sum_to_json(value, currency, day_sum) for (value, currency), day_sum in values.items()])
            sum_chunks[dimension] = len(parts)
            items += [{"pk": pk, "sk": f"SUM#{dimension}#{n:05d}", "values": part} for n, part in enumerate(parts)]
        covered = [coverage_to_json(place, coverage) for place, coverage in day.coverage.items()]
        places = [covered[i : i + _PLACES_PER_ITEM] for i in range(0, len(covered), _PLACES_PER_ITEM)]
        items += [{"pk": pk, "sk": f"COVERAGE#{n:05d}", "places": compress(lines(part))} for n, part in enumerate(places)]
        self._table.batch_put(items)
        pointer = DayPointer(
            usage_date=day.usage_date,
            version=day.version,
            basis=day.basis,
            totals=day.totals,
            made_from=day.made_from,
            changed_at=self._clock(),
            sequence=sequence,
            charge_count=len(day.charges),
            sum_chunks=sum_chunks,
            coverage_chunks=len(places),
        )
        # Last, so that its presence says that the version is whole.
        self._table.batch_put([{"pk": pk, "sk": VERSION} | _pointer_item(pointer)])
        return pointer

    def staged(self, usage_date: date, version: str) -> DayPointer:
        """The pointer that a staged version will have."""
        item = self._table.get(pk=day_pk(usage_date, version), sk=VERSION)
        if item is None:
            raise LedgerConflict(
                f"version {version} of {usage_date} is recorded as staged but not in the ledger: stage it again"
            )
        return _pointer(item)

    def stored_totals(self, usage_date: date, version: str) -> tuple[Mapping[str, Costs], int]:
        """What the stored charges of a version sum to, and how many there are."""
        charges = list(self.charges(usage_date, version))
        return totals_by_currency(charges), len(charges)

    def charges(self, usage_date: date, version: str) -> Iterator[AllocatedCharge]:
        """The allocated charges of one version."""
        for item in self._table.query(day_pk(usage_date, version), "CHARGE#"):
            for stored in decompress_lines(bytes(item["charges"])):
                yield allocated_from_json(stored)

    def flip(
        self,
        pointers: Sequence[DayPointer],
        *,
        replacing: Mapping[date, DayPointer],
        publishing: DeliveryRecord | None = None,
        adjustment: Adjustment | None = None,
    ) -> None:
        """Make versions current, all or none, provided that nobody moved these days since `replacing` was read.

        At most 31 days of three actions, a delivery and an adjustment: 95 of the 100 actions that a transaction may have.
        """
        now = self._clock()
        actions: list[Any] = []
        for pointer in pointers:
            old = replacing.get(pointer.usage_date)
            superseded = (*old.superseded, old.version) if old and old.version != pointer.version else ()
            actions += self._flip_one(pointer, old, tuple(v for v in superseded if v != pointer.version), now)
        if publishing is not None:
            actions.append(self._publish(publishing))
        if adjustment is not None:
            actions.append(self._adjust(adjustment, now))
        days = ", ".join(p.usage_date.isoformat() for p in pointers)
        self._table.transact(actions, f"somebody else moved one of these days first: {days}; read them and decide again")

    def _flip_one(
        self, pointer: DayPointer, old: DayPointer | None, superseded: tuple[str, ...], now: datetime
    ) -> list[dict[str, Any]]:
        period = period_pk(BillingPeriod.of(pointer.usage_date))
        day = pointer.usage_date.isoformat()
        values = _pointer_item(pointer) | {"changed_at": now.isoformat(), "superseded": list(superseded)}
        put: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": to_wire({"pk": period, "sk": f"DAY#{day}"} | values),
            "ConditionExpression": "version = :old" if old else "attribute_not_exists(pk)",
        }
        if old:
            put["ExpressionAttributeValues"] = to_wire({":old": old.version})
        history: Item = {"pk": period, "sk": f"HISTORY#{day}#{now.isoformat()}#{pointer.version}"} | values
        if pointer.basis is Basis.ESTIMATED:
            # Longer than the version: what was estimated in all stays known when its parts have expired.
            history["expires_at"] = Decimal(int((now + self._retention).timestamp()))
        # A version that was retired meanwhile is about to expire: nobody may be shown it.
        whole = {
            "TableName": self._table.name,
            "Key": to_wire({"pk": day_pk(pointer.usage_date, pointer.version), "sk": VERSION}),
            "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(expires_at)",
        }
        return [{"ConditionCheck": whole}, {"Put": put}, {"Put": {"TableName": self._table.name, "Item": to_wire(history)}}]

    def _publish(self, record: DeliveryRecord) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table.name,
                "Key": to_wire({"pk": delivery_pk(record.period), "sk": delivery_sk(record)}),
                "UpdateExpression": "SET outcome = :published",
                "ConditionExpression": "outcome = :ingested",
                "ExpressionAttributeValues": to_wire(
                    {":published": DeliveryOutcome.PUBLISHED.value, ":ingested": DeliveryOutcome.INGESTED.value}
                ),
            }
        }

    def _adjust(self, adjustment: Adjustment, now: datetime) -> dict[str, Any]:
        key = {"pk": period_pk(adjustment.period), "sk": adjustment_sk(adjustment)}
        return {
            "Put": {
                "TableName": self._table.name,
                "Item": to_wire(key | adjustment_to_json(adjustment, now)),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def adjustments(self, period: BillingPeriod) -> Sequence[Adjustment]:
        """What deliveries changed in a period after it was closed, oldest first."""
        return [adjustment_from_json(item) for item in self._table.query(period_pk(period), ADJUSTMENTS)]

    def retire(self, usage_date: date) -> None:
        """Give superseded versions of a day their expiry. Readers that hold one have until then to finish."""
        period = period_pk(BillingPeriod.of(usage_date))
        item = self._table.get(pk=period, sk=f"DAY#{usage_date.isoformat()}")
        if item is None or not item.get("superseded"):
            return
        for version in item["superseded"]:
            self._expire(usage_date, version)
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": period, "sk": item["sk"]}),
                UpdateExpression="SET superseded = :rest",
                ConditionExpression="version = :version AND superseded = :seen",
                ExpressionAttributeValues=to_wire({":rest": [], ":version": item["version"], ":seen": item["superseded"]}),
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            # The day moved on; whoever moved it retires what it left behind.
            return

    def discard(self, usage_date: date, version: str, sequence: str) -> None:
        """Give a version its expiry that was staged for a delivery and never became current; one in use is left alone."""
        self._expire(usage_date, version, sequence)

    def _expire(self, usage_date: date, version: str, sequence: str | None = None) -> None:
        pk = day_pk(usage_date, version)
        header = self._table.get(pk=pk, sk=VERSION)
        is_estimate = header is not None and header["basis"] == Basis.ESTIMATED
        ttl = _SUPERSEDED_ESTIMATE_TTL if is_estimate else self._retention
        expires_at = Decimal(int((self._clock() + ttl).timestamp()))
        if header is None:
            return
        # The header goes first, and only while the version is not current again (nor, where `sequence` names the delivery that
        # it was staged for, staged for another): one whose header expires is made current no more, and is written anew when it
        # is staged.
        actions = self._expire_header(
            usage_date, version, expires_at, str(header["sequence"]) if sequence is None else sequence
        )
        try:
            self._table.transact(actions, f"version {version} is in use")
        except LedgerConflict:
            return
        for name in [str(item["sk"]) for item in self._table.query(pk, attributes=("sk",)) if item["sk"] != VERSION]:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": pk, "sk": name}),
                UpdateExpression="SET expires_at = if_not_exists(expires_at, :expires_at)",
                ExpressionAttributeValues=to_wire({":expires_at": expires_at}),
            )

    def _expire_header(self, usage_date: date, version: str, expires_at: Decimal, sequence: str) -> list[Any]:
        current = {"pk": period_pk(BillingPeriod.of(usage_date)), "sk": f"DAY#{usage_date.isoformat()}"}
        is_superseded = {
            "TableName": self._table.name,
            "Key": to_wire(current),
            "ConditionExpression": "attribute_not_exists(version) OR version <> :version",
            "ExpressionAttributeValues": to_wire({":version": version}),
        }
        expire = {
            "TableName": self._table.name,
            "Key": to_wire({"pk": day_pk(usage_date, version), "sk": VERSION}),
            "UpdateExpression": "SET expires_at = if_not_exists(expires_at, :expires_at)",
            "ConditionExpression": "#sequence = :sequence",
            "ExpressionAttributeNames": {"#sequence": "sequence"},
            "ExpressionAttributeValues": to_wire({":expires_at": expires_at, ":sequence": sequence}),
        }
        return [{"ConditionCheck": is_superseded}, {"Update": expire}]

    def sums(self, pointers: Sequence[DayPointer], dimension: str) -> Mapping[date, Mapping[tuple[str, str], Sum]]:
        """The given versions by one dimension: a month is one batch read."""
        by_pk = {day_pk(p.usage_date, p.version): p.usage_date for p in pointers}
        keys = [
            {"pk": day_pk(p.usage_date, p.version), "sk": f"SUM#{dimension}#{n:05d}"}
            for p in pointers
            for n in range(p.sum_chunks.get(dimension, 0))
        ]
        found: dict[date, dict[tuple[str, str], Sum]] = {p.usage_date: {} for p in pointers}
        for item in self._read_all(keys, f"sums by {dimension}"):
            for stored in item["values"]:
                found[by_pk[item["pk"]]][stored["value"], stored["currency"]] = _sum_from_json(stored)
        return found

    def coverage(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[Place, Coverage]]:
        """The coverage of the given versions."""
        by_pk = {day_pk(p.usage_date, p.version): p.usage_date for p in pointers}
        keys = [
            {"pk": day_pk(p.usage_date, p.version), "sk": f"COVERAGE#{n:05d}"}
            for p in pointers
            for n in range(p.coverage_chunks)
        ]
        found: dict[date, dict[Place, Coverage]] = {p.usage_date: {} for p in pointers}
        for item in self._read_all(keys, "items of coverage"):
            found[by_pk[item["pk"]]].update(map(coverage_from_json, decompress_lines(bytes(item["places"]))))
        return found

    def _read_all(self, keys: Sequence[Mapping[str, str]], what: str) -> Sequence[Item]:
        """Every one of some items of versions."""
        items = self._table.batch_get(keys)
        if len(items) != len(keys):
            raise LedgerConflict(f"{len(keys) - len(items)} {what} expired while they were read: read the days again")
        return items


def _parts(rows: Sequence[Item]) -> list[list[Item]]:
    """Rows in parts that an item can hold."""
    parts: list[list[Item]] = []
    size = 0
    for row in rows:
        weight = len(str(row).encode())
        if not parts or len(parts[-1]) == _VALUES_PER_ITEM or size + weight > _BYTES_PER_ITEM:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += weight
    return parts


def _sum_to_json(value: str, currency: str, day_sum: Sum) -> Item:
    return {
        "value": value,
        "currency": currency,
        "costs": costs_to_json(day_sum.costs),
        "units": {kind: number_text(count) for kind, count in day_sum.units.items()},
        "requests": day_sum.requests,
    }


def _sum_from_json(stored: Mapping[str, Any]) -> Sum:
    units = {kind: Decimal(count) for kind, count in stored["units"].items()}
    return Sum(costs_from_json(stored["costs"]), units, integer(stored["requests"]))


def _pointer_item(pointer: DayPointer) -> Item:
    return {
        "usage_date": pointer.usage_date.isoformat(),
        "version": pointer.version,
        "basis": pointer.basis.value,
        "totals": totals_to_json(pointer.totals),
        "made_from": dict(pointer.made_from),
        "changed_at": pointer.changed_at.isoformat(),
        "sequence": pointer.sequence,
        "charge_count": pointer.charge_count,
        "sum_chunks": dict(pointer.sum_chunks),
        "coverage_chunks": pointer.coverage_chunks,
        "superseded": list(pointer.superseded),
    }


def _pointer(item: Item) -> DayPointer:
    return DayPointer(
        usage_date=date.fromisoformat(item["usage_date"]),
        version=item["version"],
        basis=Basis(item["basis"]),
        totals=totals_from_json(item["totals"]),
        made_from=dict(item["made_from"]),
        changed_at=datetime.fromisoformat(item["changed_at"]),
        sequence=item["sequence"],
        charge_count=integer(item["charge_count"]),
        sum_chunks={name: integer(count) for name, count in item["sum_chunks"].items()},
        coverage_chunks=integer(item["coverage_chunks"]),
        superseded=tuple(item["superseded"]),
    )
