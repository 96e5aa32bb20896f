"""Ledger days in DynamoDB: immutable versions that share parts, and pointers that flip in one transaction.

DAY#<date>             VERSION#<version>        what the version was made from, and its roots; written last
DAY#<date>             GENERATION               how many versions of the day were written
DAY#<date>#<generation>#<shard>   <hash>        a part: charges, sums of one dimension, or references (`day_parts`)
PERIOD#<yyyy-mm>       DAY#<date>               the pointer
PERIOD#<yyyy-mm>       HISTORY#<date>#<changed at>#<version>   every pointer there has been
PERIOD#<yyyy-mm>       ADJUSTMENT#<sequence>#<date>[#<changed at>#<version>]     what changed after the month was closed

A version is alive until it has an expiry, which it never loses. A part is given one only when no version that is alive
refers to it, and a version is finished only while the one whose parts it shares is alive: so whatever a version that is alive
refers to stays, in whatever order workers write, expire and end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.codec import (
    adjustment_from_json,
    adjustment_to_json,
    allocated_from_row,
    allocated_to_row,
    amounts_of_row,
    coverage_from_row,
    coverage_to_row,
    sum_from_row,
    sum_to_row,
    totals_from_json,
    totals_to_json,
)
from adapters.day_parts import CHARGES, SUMS, DayParts, Parts, PartsLost, Ref, Row, part_key
from adapters.dynamodb import Item, Table, integer, to_wire
from adapters.ledger_keys import ADJUSTMENTS, adjustment_sk, day_pk, delivery_pk, delivery_sk, period_pk, version_sk
from attribution.adjustments import Adjustment
from attribution.charges import AllocatedCharge, Basis, Costs, sum_costs
from attribution.coverage import Coverage, Place
from attribution.days import CHARGES_ROOT, COVERAGE_ROOT, DayPointer, DayVersion, Sum, sums_root
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import ConservationViolated, LedgerConflict
from attribution.periods import BillingPeriod

_GENERATION = "GENERATION"
# Of a version that has an expiry: its parts have theirs, too.
_IS_DONE = "are_parts_expiring"
# How many amounts are read before they are added up.
_ADDED_AT_ONCE = 1000
# A superseded estimate was true for minutes; a superseded bill is history that people ask for.
_SUPERSEDED_ESTIMATE_TTL = timedelta(days=2)


class DynamoLedgerDays:
    """`LedgerDays` in the ledger table."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._parts = DayParts(table)
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def pointers(self, period: BillingPeriod) -> Mapping[date, DayPointer]:
        """The current version of each day of a period."""
        found = (_pointer(item) for item in self._table.query(period_pk(period), "DAY#"))
        return {pointer.usage_date: pointer for pointer in found}

    def pointers_as_of(self, period: BillingPeriod, moment: datetime) -> Mapping[date, DayPointer]:
        """The version of each day of a period that was current at a moment.

        One that is current and was so then is known without its history, which that of an estimate may outlive.
        """
        pk, found = period_pk(period), {}
        for day, pointer in self.pointers(period).items():
            if pointer.changed_at <= moment:
                found[day] = pointer
                continue
            # Of one instant, every version's key lies below this one: `~` follows all hexadecimal digits.
            through = f"HISTORY#{day.isoformat()}#{moment.astimezone(UTC).isoformat()}#~"
            item = self._table.last(pk, after=f"HISTORY#{day.isoformat()}#", through=through)
            if item is not None:
                found[day] = _pointer(item)
        return found

    def expired(self, pointers: Sequence[DayPointer]) -> Sequence[DayPointer]:
        """Those whose versions have expired: they can no longer be read, or not for sure."""
        now = Decimal(int(self._clock().timestamp()))
        keys = ({"pk": day_pk(p.usage_date), "sk": version_sk(p.version)} for p in pointers)
        headers = {(item["usage_date"], item["version"]): item for item in self._table.batch_get(keys)}
        readable = []
        for pointer in pointers:
            header = headers.get((pointer.usage_date.isoformat(), pointer.version))
            # One that expired and was written anew has its parts elsewhere.
            if header and header["roots"] == dict(pointer.roots) and header.get("expires_at", now + 1) > now:
                readable.append(pointer)
        return [pointer for pointer in pointers if pointer not in readable]

    def stage(self, day: DayVersion, sequence: str) -> DayPointer:
        """Write a version that no pointer names yet, as far as the current one does not have it, and read it back.

        One that is alive already is left as it is. What the store holds must sum to what was decided, before anybody can see
        it.
        """
        header = self._header(day.usage_date, day.version)
        if header is not None and _is_alive(header):
            return self._stage_for(header, sequence)
        if header is not None:
            # Nothing remembers its parts once it has been replaced.
            self._expire(day.usage_date, header)
        base = self._current(day.usage_date)
        if base is not None:
            # A part that was lost by hand is not shared, but written again.
            with suppress(PartsLost):
                shared = self._parts.references(day.usage_date, base["roots"].values())
                return self._write(day, sequence, header, base, shared)
        return self._write(day, sequence, header, None, set())

    def _stage_for(self, header: Item, sequence: str) -> DayPointer:
        """A version that is alive, for the delivery that wants it now."""
        if header["sequence"] == sequence:
            return _pointer(header)
        pointer = replace(_pointer(header), sequence=sequence, changed_at=self._clock())
        put = self._put_header(pointer, integer(header["generation"])) | _if_alive(header["roots"])
        self._table.transact(
            [{"Put": put}],
            f"version {pointer.version} of {pointer.usage_date} expired meanwhile: read the day and decide again",
        )
        return pointer

    def _write(
        self, day: DayVersion, sequence: str, expired: Item | None, base: Item | None, shared: Iterable[Ref]
    ) -> DayPointer:
        counted = self._table.get(pk=day_pk(day.usage_date), sk=_GENERATION)
        before = integer(counted["generation"]) if counted else 0
        parts = Parts(day.usage_date, before + 1, {ref.rpartition("#")[2]: ref for ref in shared})
        roots = {CHARGES_ROOT: parts.add(_charge_rows(day.charges), CHARGES)}
        roots |= {sums_root(dimension): parts.add(_sum_rows(values), SUMS) for dimension, values in day.sums.items()}
        roots[COVERAGE_ROOT] = parts.add(_coverage_rows(day.coverage), SUMS)
        self._table.batch_put(parts.written.values())
        self._read_back(day, roots)
        pointer = DayPointer(
            usage_date=day.usage_date,
            version=day.version,
            basis=day.basis,
            totals=day.totals,
            made_from=day.made_from,
            changed_at=self._clock(),
            sequence=sequence,
            charge_count=len(day.charges),
            roots=roots,
        )
        actions: list[Any] = [self._count(day.usage_date, before)]
        # Last, so that its presence says that the version is whole.
        actions.append({"Put": self._put_header(pointer, before + 1) | _if_still(expired)})
        if base is not None:
            actions.append({"ConditionCheck": self._is_whole(_pointer(base))})
        try:
            self._table.transact(actions, f"{day.usage_date} was written by somebody else meanwhile: read it and decide again")
        except LedgerConflict:
            header = self._header(day.usage_date, day.version)
            if header is None or not _is_alive(header) or header["sequence"] != sequence:
                raise
            # The same version, by another worker or by an attempt whose acknowledgement was lost.
            return _pointer(header)
        return pointer

    def _read_back(self, day: DayVersion, roots: Mapping[str, Ref]) -> None:
        """What the store holds of a version, from its roots as a reader has it, is what was allocated."""
        amounts: dict[str, list[Costs]] = defaultdict(list)
        count = 0
        for row in self._parts.rows(day.usage_date, roots[CHARGES_ROOT]):
            currency, costs = amounts_of_row(row)
            amounts[currency].append(costs)
            if len(amounts[currency]) > _ADDED_AT_ONCE:
                amounts[currency] = [sum_costs(amounts[currency])]
            count += 1
        totals = {currency: sum_costs(costs) for currency, costs in sorted(amounts.items())}
        if totals != dict(day.totals) or count != len(day.charges):
            raise ConservationViolated(
                f"version {day.version} of {day.usage_date} would hold {count} charges of {totals}, "
                f"not the {len(day.charges)} of {dict(day.totals)} that were allocated"
            )
        for _ in self._parts.rows_of((day.usage_date, ref) for name, ref in roots.items() if name != CHARGES_ROOT):
            pass

    def _put_header(self, pointer: DayPointer, generation: int) -> dict[str, Any]:
        key = {"pk": day_pk(pointer.usage_date), "sk": version_sk(pointer.version)}
        item = key | _pointer_item(pointer) | {"generation": generation}
        return {"TableName": self._table.name, "Item": to_wire(item)}

    def _count(self, usage_date: date, before: int) -> dict[str, Any]:
        """One more version of a day. Of two workers who write at once one finishes: names of parts belong to one version."""
        return {
            "Update": {
                "TableName": self._table.name,
                "Key": to_wire({"pk": day_pk(usage_date), "sk": _GENERATION}),
                "UpdateExpression": "SET generation = :next",
                "ConditionExpression": "generation = :before" if before else "attribute_not_exists(pk)",
                "ExpressionAttributeValues": to_wire({":next": before + 1} | ({":before": before} if before else {})),
            }
        }

    def _is_whole(self, pointer: DayPointer) -> dict[str, Any]:
        """The version of a pointer is alive, and the one that was read: what expired may have been written anew."""
        key = {"pk": day_pk(pointer.usage_date), "sk": version_sk(pointer.version)}
        return {"TableName": self._table.name, "Key": to_wire(key)} | _if_alive(pointer.roots)

    def _header(self, usage_date: date, version: str) -> Item | None:
        return self._table.get(pk=day_pk(usage_date), sk=version_sk(version))

    def _current(self, usage_date: date) -> Item | None:
        """The header of the version that readers see, as long as it is alive."""
        pointer = self._table.get(pk=period_pk(BillingPeriod.of(usage_date)), sk=f"DAY#{usage_date.isoformat()}")
        header = self._header(usage_date, pointer["version"]) if pointer else None
        return header if header is not None and _is_alive(header) else None

    def staged(self, usage_date: date, version: str) -> DayPointer:
        """The pointer that a staged version will have."""
        header = self._header(usage_date, version)
        if header is None:
            raise LedgerConflict(
                f"version {version} of {usage_date} is recorded as staged but not in the ledger: stage it again"
            )
        return _pointer(header)

    def charges(self, usage_date: date, version: str) -> Iterator[AllocatedCharge]:
        """The allocated charges of one version."""
        header = self._header(usage_date, version)
        if header is None:
            raise LedgerConflict(f"version {version} of {usage_date} is not in the ledger any more: read the day again")
        for row in self._parts.rows(usage_date, header["roots"][CHARGES_ROOT]):
            yield allocated_from_row(row, usage_date)

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
            actions += self._flip_one(pointer, replacing.get(pointer.usage_date), now)
        if publishing is not None:
            actions.append(self._publish(publishing))
        if adjustment is not None:
            actions.append(self._adjust(adjustment, now))
        days = ", ".join(p.usage_date.isoformat() for p in pointers)
        self._table.transact(actions, f"somebody else moved one of these days first: {days}; read them and decide again")

    def _flip_one(self, pointer: DayPointer, old: DayPointer | None, now: datetime) -> list[dict[str, Any]]:
        period = period_pk(BillingPeriod.of(pointer.usage_date))
        day = pointer.usage_date.isoformat()
        values = _pointer_item(pointer.after(old, now))
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
        whole = self._is_whole(pointer)
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
        key = {"pk": period_pk(adjustment.period), "sk": adjustment_sk(adjustment, now)}
        return {
            "Put": {
                "TableName": self._table.name,
                "Item": to_wire(key | adjustment_to_json(adjustment, now)),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def adjustments(self, period: BillingPeriod) -> Sequence[Adjustment]:
        """What changed in a period after it was closed, by the deliveries that it was billed by then, oldest first."""
        return [adjustment_from_json(item) for item in self._table.query(period_pk(period), ADJUSTMENTS)]

    def retire(self, usage_date: date) -> None:
        """Give the versions of a day their expiry that nobody will be shown any more.

        Besides those that were superseded, that is what attempts left behind which ended early: whatever was made for no newer
        delivery than the current version. Readers that hold one have until then to finish; a writer who is about to show one
        is refused, and makes it again.
        """
        period = period_pk(BillingPeriod.of(usage_date))
        item = self._table.get(pk=period, sk=f"DAY#{usage_date.isoformat()}")
        if item is None:
            return
        for header in list(self._table.query(day_pk(usage_date), version_sk(""))):
            is_needed = header["version"] == item["version"] or header["sequence"] > item["sequence"]
            if not (_is_alive(header) and is_needed):
                self._expire(usage_date, header)
        if not item.get("superseded"):
            return
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
        header = self._header(usage_date, version)
        if header is not None and header["sequence"] == sequence:
            self._expire(usage_date, header)

    def _expire(self, usage_date: date, header: Item) -> None:
        if _is_alive(header):
            ttl = _SUPERSEDED_ESTIMATE_TTL if header["basis"] == Basis.ESTIMATED else self._retention
            header["expires_at"] = Decimal(int((self._clock() + ttl).timestamp()))
            try:
                self._table.transact(self._expire_header(usage_date, header), f"version {header['version']} is in use")
            except LedgerConflict:
                return
        if not header.get(_IS_DONE):
            self._expire_parts(usage_date, header)

    def _expire_header(self, usage_date: date, header: Item) -> list[Any]:
        """The header goes first, and only while the version is not current again (nor staged for another delivery): from then
        on it is made current no more, nothing shares its parts any more, and it is written anew when it is staged.
        """
        current = {"pk": period_pk(BillingPeriod.of(usage_date)), "sk": f"DAY#{usage_date.isoformat()}"}
        is_superseded = {
            "TableName": self._table.name,
            "Key": to_wire(current),
            "ConditionExpression": "attribute_not_exists(version) OR version <> :version",
            "ExpressionAttributeValues": to_wire({":version": header["version"]}),
        }
        names = ("expires_at", "sequence", "generation")
        expire = {
            "TableName": self._table.name,
            "Key": to_wire({"pk": header["pk"], "sk": header["sk"]}),
            "UpdateExpression": "SET expires_at = if_not_exists(expires_at, :expires_at)",
            "ConditionExpression": "#sequence = :sequence AND generation = :generation",
            "ExpressionAttributeNames": {"#sequence": "sequence"},
            "ExpressionAttributeValues": to_wire({f":{name}": header[name] for name in names}),
        }
        return [{"ConditionCheck": is_superseded}, {"Update": expire}]

    def _expire_parts(self, usage_date: date, header: Item) -> None:
        """Give those parts of a version that has an expiry one, too, which no version refers to that is alive.

        Versions that expire may share them, so they stay until the last of these is due. What was written under its generation
        and never referred to, by an attempt that ended early, goes with it.
        """
        versions = list(self._table.query(header["pk"], version_sk("")))
        alive = {ref for version in versions if _is_alive(version) for ref in version["roots"].values()}
        kept = self._parts.references(usage_date, alive)
        gone = self._parts.references(usage_date, header["roots"].values(), is_expiring=True)
        gone.update(self._parts.of_generation(usage_date, integer(header["generation"])))
        last = max(version["expires_at"] for version in (*versions, header) if not _is_alive(version))
        for ref in sorted(gone - kept):
            self._expire_part(usage_date, ref, last)
        # An attempt that ends before this begins again.
        with suppress(self._table.client.exceptions.ConditionalCheckFailedException):
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": header["pk"], "sk": header["sk"]}),
                UpdateExpression=f"SET {_IS_DONE} = :true",
                ConditionExpression="attribute_exists(expires_at) AND generation = :generation",
                ExpressionAttributeValues=to_wire({":true": True, ":generation": header["generation"]}),
            )

    def _expire_part(self, usage_date: date, ref: Ref, expires_at: Decimal) -> None:
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire(part_key(usage_date, ref)),
                UpdateExpression="SET expires_at = :expires_at",
                ConditionExpression="attribute_exists(pk) AND (attribute_not_exists(expires_at) OR expires_at < :expires_at)",
                ExpressionAttributeValues=to_wire({":expires_at": expires_at}),
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            # It expires later, or has expired.
            return

    def sums(self, pointers: Sequence[DayPointer], dimension: str) -> Mapping[date, Mapping[tuple[str, str], Sum]]:
        """The given versions by one dimension: a month is one batch read, unless a day has hundreds of values."""
        found: dict[date, dict[tuple[str, str], Sum]] = {p.usage_date: {} for p in pointers}
        name = sums_root(dimension)
        for usage_date, row in self._parts.rows_of((p.usage_date, p.roots[name]) for p in pointers if name in p.roots):
            value, day_sum = sum_from_row(row)
            found[usage_date][value] = day_sum
        return found

    def coverage(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[Place, Coverage]]:
        """The coverage of the given versions: as many reads as for sums."""
        found: dict[date, dict[Place, Coverage]] = {p.usage_date: {} for p in pointers}
        for usage_date, row in self._parts.rows_of((p.usage_date, p.roots[COVERAGE_ROOT]) for p in pointers):
            place, coverage = coverage_from_row(row)
            found[usage_date][place] = coverage
        return found


def _charge_rows(charges: Iterable[AllocatedCharge]) -> Iterator[Row]:
    for charge in charges:
        yield Row(allocated_to_row(charge), f"{charge.origin}{charge.iam_principal}{charge.inference_profile}")


def _sum_rows(sums: Mapping[tuple[str, str], Sum]) -> Iterator[Row]:
    for (value, currency), day_sum in sums.items():
        yield Row(sum_to_row(value, currency, day_sum), f"{value}{currency}")


def _coverage_rows(covered: Mapping[Place, Coverage]) -> Iterator[Row]:
    for place, coverage in covered.items():
        about = f"{place.account_id}{place.region}{place.model}{place.token_kind}{place.currency}"
        yield Row(coverage_to_row(place, coverage), about)


def _is_alive(header: Item) -> bool:
    return "expires_at" not in header


def _if_alive(roots: Mapping[str, Ref]) -> dict[str, Any]:
    return {
        "ConditionExpression": "attribute_not_exists(expires_at) AND roots = :roots",
        "ExpressionAttributeValues": to_wire({":roots": dict(roots)}),
    }


def _if_still(header: Item | None) -> dict[str, Any]:
    """A header is as it was read: absent, or expired and not written anew."""
    if header is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "attribute_exists(expires_at) AND generation = :generation",
        "ExpressionAttributeValues": to_wire({":generation": header["generation"]}),
    }


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
        "roots": dict(pointer.roots),
        "superseded": list(pointer.superseded),
    } | ({"first_billed_at": pointer.first_billed_at.isoformat()} if pointer.first_billed_at else {})


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
        roots=dict(item["roots"]),
        superseded=tuple(item["superseded"]),
        first_billed_at=datetime.fromisoformat(item["first_billed_at"]) if "first_billed_at" in item else None,
    )
