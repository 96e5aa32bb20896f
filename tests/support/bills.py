"""Bills written by hand, row by row, and what is read from them: one place to say what a row family looks like."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from adapters.sources.cost_report import S3CostReports
from adapters.work_bucket import S3Readings
from attribution.charges import OriginCharge
from attribution.deliveries import IngestedReport
from attribution.ports import StoredObject

BUCKET, WORK = "bills", "work"
MANIFEST = "exports/cur/metadata/BILLING_PERIOD=2026-04/cur-Manifest.json"
DATA = "exports/cur/data/BILLING_PERIOD=2026-04"

# A classic first-party row: what the others below say otherwise.
NOVA = {
    "line_item_usage_start_date": "2026-04-10T00:00:00Z",
    "line_item_usage_account_id": "000123456789",
    "line_item_line_item_type": "Usage",
    "bill_billing_entity": "AWS",
    "bill_invoice_id": "",
    "line_item_product_code": "AmazonBedrock",
    "line_item_usage_type": "USE1-NovaPro-input-tokens",
    "line_item_operation": "InvokeModelInference",
    "line_item_line_item_description": "$0.0008 per 1K input tokens for Nova Pro in US East (N. Virginia)",
    "line_item_currency_code": "USD",
    "line_item_usage_amount": "1000",
    "line_item_unblended_cost": "0.8",
    "line_item_iam_principal": "arn:aws:sts::000123456789:assumed-role/App/session",
    "line_item_resource_id": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
    "pricing_unit": "1K tokens",
    "pricing_public_on_demand_cost": "0.8",
    "product": '{"product_name": "Amazon Bedrock"}',
    "product_region_code": "us-east-1",
    "tags": "{}",
}
# The published Marketplace row (facts/billing.md 4.2): the model is in the product's name alone.
CLAUDE = NOVA | {
    "bill_billing_entity": "AWS Marketplace",
    "line_item_product_code": "4a524th30q694o538qndh9ucht",
    "line_item_usage_type": "USW2-MP:USW2_InputTokenCount-Units",
    "line_item_operation": "Usage",
    "line_item_line_item_description": "AWS Marketplace software usage|us-west-2|Million Input Tokens",
    "line_item_usage_amount": "0.02645",
    "line_item_unblended_cost": "0.07935",
    "line_item_iam_principal": "",
    "line_item_resource_id": "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0",
    "pricing_unit": "Units",
    "pricing_public_on_demand_cost": "0.0",
    "product": '{"product_name": "Claude 3.5 Sonnet (Amazon Bedrock Edition)"}',
    "product_region_code": "",
}
# A row of another service.
STORAGE = NOVA | {
    "line_item_product_code": "AmazonS3",
    "line_item_usage_type": "TimedStorage-ByteHrs",
    "line_item_line_item_description": "$0.023 per GB - first 50 TB / month of storage used",
    "line_item_resource_id": "documents",
    "line_item_unblended_cost": "5",
    "line_item_iam_principal": "",
    "product": '{"product_name": "Amazon Simple Storage Service"}',
}

Row = Mapping[str, str]


@dataclass
class KeptCharges:
    """Keeps what is read, by day."""

    by_day: dict[date, Sequence[OriginCharge]] = field(default_factory=dict)

    def write(self, usage_date: date, charges: Sequence[OriginCharge], stored: Container[str]) -> str:
        self.by_day[usage_date] = charges
        return f"{usage_date}"


@dataclass
class ReadBill:
    """What was read from a bill."""

    report: IngestedReport
    charges: tuple[OriginCharge, ...]

    @property
    def only(self) -> OriginCharge:
        (charge,) = self.charges
        return charge


def csv_of(rows: Sequence[Row], columns: Sequence[str] = ()) -> bytes:
    """Rows as CSV; a column that no row has is not there."""
    text = io.StringIO()
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class Bills:
    """A customer's bucket with one export in it."""

    def __init__(self, s3: Any, work_directory: Path) -> None:
        self.s3 = s3
        for bucket in (BUCKET, WORK):
            s3.create_bucket(Bucket=bucket)
        self._charges = KeptCharges()
        self.reports = S3CostReports(
            s3, BUCKET, "", self._charges, S3Readings(s3, WORK), memory_megabytes=256, work_directory=str(work_directory)
        )

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def read(self, *rows: Row) -> ReadBill:
        """A CUR 2.0 delivery of one CSV file with these rows."""
        key = f"{DATA}/cur-00001.csv.gz"
        self.put(key, gzip.compress(csv_of(rows)))
        return self.deliver(MANIFEST, data_export([key], columns=list(rows[0])))

    def deliver(self, key: str, manifest: Mapping[str, Any]) -> ReadBill:
        """What is read from the files that a manifest lists."""
        self.put(key, json.dumps(manifest).encode())
        found = self.reports.manifest(StoredObject(BUCKET, key))
        self._charges.by_day.clear()
        report = self.reports.ingest(found, self.reports.pin(found), frozenset())
        return ReadBill(report, tuple(charge for day in sorted(self._charges.by_day) for charge in self._charges.by_day[day]))


def data_export(keys: Sequence[str], columns: Sequence[str] = ()) -> dict[str, Any]:
    """A manifest of Data Exports."""
    return {
        "executionId": "9b6b32ef-2b70-3d10-9448-07e23ebce6b9",
        "columns": [{"name": name, "type": "string"} for name in columns],
        "dataFiles": [f"s3://{BUCKET}/{key}" for key in keys],
        "additionalOutputFiles": [],
    }
