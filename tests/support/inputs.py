"""What a small invented company gives the stack: log objects, CloudTrail events, price lists, cost report deliveries."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.prices import DynamoPrices
from adapters.sources.price_list import read_offer
from attribution.periods import BillingPeriod
from tests.support.stack import ROOT, Sent, Stack, messages, object_created
from truth import cloudtrail, company, cost_report, invocation_log, price_list
from truth.company import Month
from truth.cost_report import Delivery, Format, Mode
from truth.objects import StoredObject

EXPORT = "bedrock-costs"
SAMPLES = ROOT.parent / "shared" / "samples"
PERIOD = BillingPeriod(2026, 2)


@cache
def month(requests: int = 40) -> Month:
    """The company's February. It has 28 days, and it is over whenever these tests run."""
    return company.build(str(PERIOD), seed=7, requests=requests)


def _prefix(stack: Stack, parameter: str) -> str:
    return stack.parameters[parameter].rstrip("/")


def load_prices(stack: Stack) -> None:
    """Load the company's price lists, as `bedrock-costs prices load` does."""
    prices = DynamoPrices(stack.table("LedgerTable"), lambda: stack.now)
    for code, body in price_list.offers(month()).items():
        prices.store(read_offer(body, code).prices)


def log_objects(stack: Stack, of: Month) -> list[StoredObject]:
    """Every object of invocation logging, in the order of its delivery."""
    return list(invocation_log.objects(of, prefix=_prefix(stack, "InvocationLogPrefix")))


def put_logs(stack: Stack, objects: Iterable[StoredObject]) -> list[dict[str, Any]]:
    """Put log objects into the customer's bucket; returns the events that S3 sends about them."""
    bucket = stack.parameters["InvocationLogBucket"]
    events = []
    for stored in objects:
        stack.put("InvocationLogBucket", stored.key, stored.body)
        events.append(object_created(bucket, stored.key))
    return events


def record_logs(stack: Stack, of: Month) -> dict[str, Any]:
    """Record every log object of a month in one batch."""
    return stack.run("record_invocations", messages("record_invocations", put_logs(stack, log_objects(stack, of))))


def trail_events(of: Month) -> list[dict[str, Any]]:
    """CloudTrail events of a month as EventBridge delivers them, in the order of their arrival."""
    return list(cloudtrail.eventbridge_events(of))


@cache
def _deliveries(mode: Mode, file_format: Format, restated: bool, export: str) -> tuple[Delivery, ...]:
    return tuple(
        cost_report.deliveries(
            month(), bucket="cost-reports", prefix="exports", export=export, mode=mode, format=file_format, restated=restated
        )
    )


def deliveries(
    mode: Mode = "overwrite", file_format: Format = "parquet", *, restated: bool = False, export: str = EXPORT
) -> tuple[Delivery, ...]:
    """The month's refreshes, oldest first."""
    return _deliveries(mode, file_format, restated, export)


def deliver(stack: Stack, delivery: Delivery, *, written_at: datetime | None = None) -> dict[str, Any]:
    """Put a delivery into the customer's bucket; returns the event about its manifest."""
    for stored in delivery.objects:
        stack.put("CostReportBucket", stored.key, stored.body, (written_at or delivery.delivered_at).replace(microsecond=0))
    return object_created(stack.parameters["CostReportBucket"], delivery.manifest_key)


def ingest(stack: Stack, event: Mapping[str, Any]) -> dict[str, Any]:
    """Hand one manifest event to the function that ingests."""
    return stack.run("ingest_cost_report", messages("ingest_cost_report", [event]))


def allocation_event(sent: Sequence[Sent]) -> dict[str, Any]:
    """Messages of the allocation queue as Lambda receives them."""
    event = messages("allocate_charges", [m.body for m in sent])
    for record, message in zip(event["Records"], sent, strict=True):
        record["attributes"] |= {"MessageGroupId": message.group, "MessageDeduplicationId": message.deduplication}
    return event


def allocate_everything(stack: Stack) -> int:
    """Work off the allocation queue, one message at a time as the mapping does; returns how many there were."""
    handler = stack.handler("allocate_charges")
    count = 0
    while waiting := stack.drain("AllocationQueue"):
        for message in waiting:
            assert stack.invoke(handler, allocation_event([message])) == {"batchItemFailures": []}
            count += 1
    return count


def usage_date_of(sent: Sent) -> date:
    """The day that a message asks for."""
    return date.fromisoformat(json.loads(sent.body)["usage_date"])


# Bending a delivery ----------------------------------------------------------------------------------------------------


Cells = list[dict[str, str]]


def bend_csv(delivery: Delivery, bend: Callable[[Cells], Cells]) -> Delivery:
    """The delivery with the rows of its first CSV file changed; a column that the first row lacks is gone."""
    return _bend(delivery, lambda body: _csv(bend(list(csv.DictReader(io.StringIO(gzip.decompress(body).decode()))))))


def bend_parquet(delivery: Delivery, bend: Callable[[Any], Any]) -> Delivery:
    """The delivery with the table of its first Parquet file changed."""

    def bent(body: bytes) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(bend(pq.read_table(io.BytesIO(body))), buffer)
        return buffer.getvalue()

    return _bend(delivery, bent)


def with_cell(table: Any, column: str, row: int, value: Any) -> Any:
    """A Parquet table with one cell changed."""
    cells = table.column(column).to_pylist()
    cells[row] = value
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(cells, field.type))


def is_bedrock(cells: Mapping[str, Any]) -> bool:
    """Whether a row is one that AWS itself bills Bedrock by."""
    return str(cells["line_item_product_code"]).startswith("AmazonBedrock")


def without(delivery: Delivery, *columns: str) -> Delivery:
    """A delivery of an export that lacks columns, in either format."""
    bent = delivery
    for number, stored in enumerate(delivery.objects):
        if stored.key.endswith(".parquet") and stored.body:
            bent = _bend(bent, lambda body: _parquet(pq.read_table(io.BytesIO(body)).drop_columns(list(columns))), number)
        elif stored.key.endswith(".csv.gz"):
            bent = _bend(bent, lambda body: _csv_without(body, columns), number)
    return bent


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _csv_without(body: bytes, columns: Sequence[str]) -> bytes:
    reader = csv.DictReader(io.StringIO(gzip.decompress(body).decode()))
    kept = [name for name in reader.fieldnames or () if name not in columns]
    return _csv([{name: row[name] for name in kept} for row in reader], kept)


def _csv(rows: Cells, columns: Sequence[str] = ()) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode())


def _bend(delivery: Delivery, bend: Callable[[bytes], bytes], number: int = 0) -> Delivery:
    objects = list(delivery.objects)
    objects[number] = StoredObject(objects[number].key, bend(objects[number].body))
    return replace(delivery, objects=objects)


@cache
def tiny(refresh: int, days: int) -> Delivery:
    """A refresh with a few Bedrock rows of the first days alone: most of what a crash schedule costs is their number."""
    delivery = deliveries("create_new")[refresh]
    for number, stored in enumerate(delivery.objects):
        if stored.key.endswith(".parquet") and stored.body:
            table = pq.read_table(io.BytesIO(stored.body))
            few = _parquet(table.take(_few_rows(table, days)))
            delivery = _bend(delivery, lambda _, few=few: few, number)  # type: ignore[misc]
    return delivery


def of_days(delivery: Delivery, days: Iterable[str]) -> Delivery:
    """A Parquet delivery with the rows of these usage days alone."""
    wanted = set(days)
    for number, stored in enumerate(delivery.objects):
        if stored.key.endswith(".parquet") and stored.body:
            table = pq.read_table(io.BytesIO(stored.body))
            started = table.column("line_item_usage_start_date").to_pylist()
            kept = _parquet(table.take([n for n, start in enumerate(started) if start.date().isoformat() in wanted]))
            delivery = _bend(delivery, lambda _, kept=kept: kept, number)  # type: ignore[misc]
    return delivery


def executed_again(delivery: Delivery, execution_id: str) -> Delivery:
    """The same rows as the delivery of another execution."""
    return _bend(delivery, lambda body: json.dumps(json.loads(body) | {"executionId": execution_id}).encode(), -1)


def _few_rows(table: Any, days: int) -> list[int]:
    """Every fourth Bedrock row of the first days, so that usage, discounts and tax are among them."""
    started = table.column("line_item_usage_start_date").to_pylist()
    codes = table.column("line_item_product_code").to_pylist()
    wanted = [n for n, (start, code) in enumerate(zip(started, codes, strict=True)) if start.day <= days and "Bedrock" in code]
    return wanted[::4]


def sample_files(folder: str) -> list[Path]:
    """Published records that other people wrote; none where they are not at hand."""
    return sorted((SAMPLES / folder).iterdir()) if (SAMPLES / folder).is_dir() else []
