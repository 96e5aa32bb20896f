"""How the tests of the known truth read deliveries back: with csv, zipfile and pyarrow, and nothing of `truth` itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq

from truth.delivery import Delivery

BUCKET = "reports"
BEDROCK_CODES = {"AmazonBedrock", "AmazonBedrockService", "AmazonBedrockFoundationModels", "AmazonBedrockAgentCore"}

Row = Mapping[str, Any]


def manifest_of(delivery: Delivery) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(delivery.objects[-1].body)
    return manifest


def data_of(delivery: Delivery) -> list[tuple[str, bytes]]:
    """Key and body of the files that the manifest lists, whichever way it names them."""
    bodies = {stored.key: stored.body for stored in delivery.objects}
    manifest = manifest_of(delivery)
    keys = manifest.get("reportKeys") or [uri.removeprefix(f"s3://{BUCKET}/") for uri in manifest["dataFiles"]]
    return [(key, bodies[key]) for key in keys]


def rows_of(delivery: Delivery) -> list[dict[str, Any]]:
    return [row for key, body in data_of(delivery) for row in read(key, body)]


def read(key: str, body: bytes) -> list[dict[str, Any]]:
    """The rows of one data file: cells are text in CSV, None where Parquet has no value."""
    if key.endswith(".parquet"):
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist(maps_as_pydicts="strict")
        return rows
    return list(csv.DictReader(io.StringIO(text_of(key, body))))


def text_of(key: str, body: bytes) -> str:
    if key.endswith(".gz"):
        return gzip.decompress(body).decode()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (name,) = archive.namelist()
        return archive.read(name).decode()


def amount(value: Any) -> Decimal:
    """An amount as written; nothing, an empty cell and `NULL` are zero."""
    if value in (None, "", "NULL"):
        return Decimal(0)
    return Decimal(value if isinstance(value, str) else repr(value))


def sums(rows: Iterable[Row], key: str, value: Callable[[Row], Decimal]) -> dict[str, Decimal]:
    """The sum of `value` by the text of a column; a time counts as its date."""
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        cell = row[key]
        found[cell if isinstance(cell, str) else cell.date().isoformat()] += value(row)
    return dict(found)


def amortized(row: Row, name: Callable[[str], str]) -> Decimal:
    """AWS's formula for the amortized cost of a row; `name` spells a column of CUR 2.0 as this report does."""

    def of(column: str) -> Decimal:
        return amount(row.get(name(column)))

    match row[name("line_item_line_item_type")]:
        case "SavingsPlanCoveredUsage":
            return of("savings_plan_savings_plan_effective_cost")
        case "SavingsPlanRecurringFee":
            return of("savings_plan_total_commitment_to_date") - of("savings_plan_used_commitment")
        case "SavingsPlanNegation" | "SavingsPlanUpfrontFee":
            return Decimal(0)
        case "DiscountedUsage":
            return of("reservation_effective_cost")
        case "RIFee":
            upfront = of("reservation_unused_amortized_upfront_fee_for_billing_period")
            return of("reservation_unused_recurring_fee") + upfront
        case _:
            return of("line_item_unblended_cost")
