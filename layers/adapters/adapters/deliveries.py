"""Delivery records in the ledger: `DELIVERY#<period>` / `<export>#<execution>`, permanent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from itertools import accumulate, islice
from typing import Any

from adapters.codec import totals_from_json, totals_to_json
from adapters.dynamodb import Item, Table, from_wire, integer, to_wire
from adapters.ledger_keys import delivery_pk, delivery_sk
from attribution.canonical import number_text
from attribution.deliveries import (
    DayOfDelivery,
    DeliveryOutcome,
    DeliveryRecord,
    IngestedReport,
    Mention,
    PinnedFile,
    RejectedRow,
)
from attribution.errors import LedgerConflict
from attribution.periods import BillingPeriod

# Enough for an operator to see what is wrong; the counts are complete.
_REJECTED_SHOWN = 50
_MENTIONS_SHOWN = 200
_UNCLASSIFIED_SHOWN = 200
# An item holds 400 KB. The manifest lists all files of a larger delivery; their sizes and versions are kept for the first.
_FILES_BYTES = 100_000


class DynamoDeliveries:
    """`Deliveries` in the ledger table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of_period(self, period: BillingPeriod) -> Sequence[DeliveryRecord]:
        """Every delivery of a billing period that was read."""
        return [_record(item) for item in self._table.query(delivery_pk(period))]

    def record(self, record: DeliveryRecord) -> None:
        """Write a delivery's record; the same delivery again writes the same record, unless it has gone further since."""
        try:
            self._table.client.put_item(
                TableName=self._table.name,
                Item=to_wire({"pk": delivery_pk(record.period), "sk": delivery_sk(record)} | _item(record)),
                ConditionExpression="attribute_not_exists(pk) OR outcome = :refused",
                ExpressionAttributeValues=to_wire({":refused": DeliveryOutcome.REFUSED.value}),
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return

    def mark_staged(self, record: DeliveryRecord, usage_date: date, version: str) -> DeliveryRecord:
        """Remember that a day of a delivery is written; returns the record as it is then."""
        try:
            answer = self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": delivery_pk(record.period), "sk": delivery_sk(record)}),
                UpdateExpression="SET staged.#day = :version",
                ConditionExpression="manifest_etag = :etag AND outcome = :ingested",
                ExpressionAttributeNames={"#day": usage_date.isoformat()},
                ExpressionAttributeValues=to_wire(
                    {":version": version, ":etag": record.manifest_etag, ":ingested": DeliveryOutcome.INGESTED.value}
                ),
                ReturnValues="ALL_NEW",
            )
        except self._table.client.exceptions.ConditionalCheckFailedException as error:
            raise LedgerConflict(
                f"delivery {record.execution_id} went on while {usage_date} was staged: read it and decide again"
            ) from error
        return _record(from_wire(answer["Attributes"]))

    def forget_staged(self, record: DeliveryRecord, usage_date: date) -> None:
        """Forget the version of a day that was staged for a delivery which a newer one overtook: it has its expiry."""
        self._table.client.update_item(
            TableName=self._table.name,
            Key=to_wire({"pk": delivery_pk(record.period), "sk": delivery_sk(record)}),
            UpdateExpression="REMOVE staged.#day",
            ExpressionAttributeNames={"#day": usage_date.isoformat()},
        )

    def supersede(self, record: DeliveryRecord, by: str) -> None:
        """A delivery that a newer one overtook before it became visible."""
        try:
            self._table.client.update_item(
                TableName=self._table.name,
                Key=to_wire({"pk": delivery_pk(record.period), "sk": delivery_sk(record)}),
                UpdateExpression="SET outcome = :superseded, reason = :reason",
                ConditionExpression="outcome = :ingested",
                ExpressionAttributeValues=to_wire(
                    {
                        ":superseded": DeliveryOutcome.SUPERSEDED.value,
                        ":ingested": DeliveryOutcome.INGESTED.value,
                        ":reason": f"overtaken by execution {by}",
                    }
                ),
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            # It became visible in the meantime; the newer delivery replaces it like any published one.
            return


def _item(record: DeliveryRecord) -> Item:
    report = record.report
    return {
        "export": record.export,
        "period": str(record.period),
        "execution_id": record.execution_id,
        "sequence": record.sequence,
        "manifest_key": record.manifest_key,
        "manifest_etag": record.manifest_etag,
        "outcome": record.outcome.value,
        "reason": record.reason,
        "reading": record.reading,
        "changed_days": [day.isoformat() for day in record.changed_days],
        "staged": {day.isoformat(): version for day, version in record.staged.items()},
        "files": [{"key": f.key, "etag": f.etag, "size": f.size, "version_id": f.version_id} for f in _first(report.files)],
        "days": [
            {
                "usage_date": d.usage_date.isoformat(),
                "origin": d.origin,
                "totals": totals_to_json(d.totals),
                "charge_count": d.charge_count,
                "row_count": d.row_count,
                "is_final": d.is_final,
            }
            for d in report.days
        ],
        "rows_read": report.rows_read,
        "rows_in_scope": report.rows_in_scope,
        "totals": totals_to_json(report.totals),
        "rejected_count": report.rejected_count,
        "rows_outside": report.rows_outside,
        "rejected": [{"file": r.file, "row": r.row, "reason": r.reason} for r in report.rejected[:_REJECTED_SHOWN]],
        "notes": list(report.notes),
        "unclassified": {
            name: totals_to_json(totals) for name, totals in islice(report.unclassified.items(), _UNCLASSIFIED_SHOWN)
        },
        "mentions": [
            asdict(mention) | {"billed_cost": number_text(mention.billed_cost)} for mention in report.mentions[:_MENTIONS_SHOWN]
        ],
        "unknown_columns": list(report.unknown_columns),
        "content": report.content,
        "reader": report.reader,
    }


def _first(files: Sequence[PinnedFile]) -> Iterator[PinnedFile]:
    """As many files as an item can name."""
    sizes = accumulate(len(f.key.encode()) + len(f.etag) + len(f.version_id) + 50 for f in files)
    return (f for f, size in zip(files, sizes, strict=True) if size <= _FILES_BYTES)


def _record(item: Mapping[str, Any]) -> DeliveryRecord:
    report = IngestedReport(
        files=tuple(PinnedFile(f["key"], f["etag"], integer(f["size"]), f["version_id"]) for f in item["files"]),
        days=tuple(
            DayOfDelivery(
                usage_date=date.fromisoformat(d["usage_date"]),
                origin=d["origin"],
                totals=totals_from_json(d["totals"]),
                charge_count=integer(d["charge_count"]),
                row_count=integer(d["row_count"]),
                is_final=d["is_final"],
            )
            for d in item["days"]
        ),
        rows_read=integer(item["rows_read"]),
        rows_in_scope=integer(item["rows_in_scope"]),
        totals=totals_from_json(item["totals"]),
        rejected_count=integer(item["rejected_count"]),
        rows_outside=integer(item["rows_outside"]),
        rejected=tuple(RejectedRow(r["file"], integer(r["row"]), r["reason"]) for r in item["rejected"]),
        notes=tuple(item["notes"]),
        unclassified={name: totals_from_json(totals) for name, totals in sorted(item["unclassified"].items())},
        mentions=tuple(
            Mention(**m | {"billed_cost": Decimal(m["billed_cost"]), "row_count": integer(m["row_count"])})
            for m in item["mentions"]
        ),
        unknown_columns=tuple(item["unknown_columns"]),
        content=item["content"],
        reader=item["reader"],
    )
    return DeliveryRecord(
        export=item["export"],
        period=BillingPeriod.parse(item["period"]),
        execution_id=item["execution_id"],
        sequence=item["sequence"],
        manifest_key=item["manifest_key"],
        manifest_etag=item["manifest_etag"],
        outcome=DeliveryOutcome(item["outcome"]),
        report=report,
        changed_days=tuple(date.fromisoformat(day) for day in item["changed_days"]),
        staged={date.fromisoformat(day): version for day, version in item["staged"].items()},
        reason=item["reason"],
        reading=integer(item["reading"]),
    )
