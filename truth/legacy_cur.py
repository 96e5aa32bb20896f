"""Legacy Cost and Usage Reports of a month: data files, manifests and side files as AWS writes them.

The line items are those of CUR 2.0 without its exclusive columns, so that usage of several callers becomes one row unless a
tag tells them apart. The schema is dynamic: beside a few columns that are always there, a refresh has the columns that have
a value in it, and one column for each tag that occurs. CSV names columns `lineItem/UsageAccountId`; Parquet derives
`line_item_usage_account_id` from that by Athena's rule, under which two tags may become one column.

Unconfirmed, and chosen here: principal tags are columns of a category `iamPrincipal` (`iamPrincipal/team`), beside resource
tags (`resourceTags/user:team`); account tags have no column; manifest and side files of an Athena report lie in the folder of
the month, whose number is not padded.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal

from truth.bill import delivery_truth
from truth.company import Month, Refresh
from truth.cost_report import reported
from truth.cost_report_columns import COLUMNS
from truth.data_files import Columns, ColumnType, Row, chunks, csv_text, parquet, plain_amount
from truth.delivery import Delivery, refreshes_of
from truth.line_items import SUMMABLE, Discounts, Granularity, LineItem, merged, number, rows_of
from truth.objects import StoredObject, compress, iso_seconds, uuid_of
from truth.organisation import PAYER

Versioning = Literal["keep", "overwrite"]
LegacyFormat = Literal["gzip", "zip", "athena_parquet"]

_EXTENSION: Mapping[LegacyFormat, str] = {"gzip": "csv.gz", "zip": "csv.zip", "athena_parquet": "snappy.parquet"}
_COMPRESSION: Mapping[LegacyFormat, str] = {"gzip": "GZIP", "zip": "ZIP", "athena_parquet": "Parquet"}
_EXCLUSIVE_TO_CUR2 = (
    "bill_payer_account_name",
    "line_item_iam_principal",
    "line_item_usage_account_name",
    "line_item_user_identifier",
    "capacity_reservation_capacity_reservation_arn",
    "capacity_reservation_capacity_reservation_status",
    "capacity_reservation_capacity_reservation_type",
)
_CATEGORIES: Mapping[str, str] = {
    "identity": "identity",
    "bill": "bill",
    "line_item": "lineItem",
    "product": "product",
    "pricing": "pricing",
    "reservation": "reservation",
    "discount": "discount",
    "savings_plan": "savingsPlan",
    "split_line_item": "splitLineItem",
}
"""CUR 2.0's prefix of a column to the category of the legacy report, in the order of the report."""
_TAG_CATEGORIES = ("iamPrincipal", "resourceTags")
_SMALL_INITIAL = {"currency", "public_on_demand_cost", "public_on_demand_rate", "term", "unit"}
_ODD_NAMES = {
    "reservation_reservation_a_r_n": "ReservationARN",
    "savings_plan_savings_plan_a_r_n": "SavingsPlanARN",
    "product_inferencetype": "inferenceType",
    "product_product_name": "ProductName",
}
_ALWAYS = tuple(
    """
    identity_line_item_id identity_time_interval bill_invoice_id bill_invoicing_entity bill_billing_entity bill_bill_type
    bill_payer_account_id bill_billing_period_start_date bill_billing_period_end_date line_item_usage_account_id
    line_item_line_item_type line_item_usage_start_date line_item_usage_end_date line_item_product_code line_item_usage_type
    line_item_operation line_item_availability_zone line_item_resource_id line_item_usage_amount
    line_item_normalization_factor line_item_normalized_usage_amount line_item_currency_code line_item_unblended_rate
    line_item_unblended_cost line_item_blended_rate line_item_blended_cost line_item_line_item_description line_item_tax_type
    line_item_legal_entity product_product_name
    """.split()
)
_MANIFEST_TYPE: Mapping[ColumnType, str] = {"string": "OptionalString", "double": "OptionalBigDecimal", "timestamp": "DateTime"}
_ODD_TYPES = {
    "identity/LineItemId": "String",
    "identity/TimeInterval": "Interval",
    "lineItem/UsageAmount": "BigDecimal",
    "lineItem/UnblendedCost": "BigDecimal",
}
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)


def deliveries(
    month: Month,
    *,
    bucket: str,
    prefix: str,
    report: str,
    versioning: Versioning = "keep",
    format: LegacyFormat = "gzip",
    granularity: Granularity = "daily",
    restated: bool = False,
    discounts: Discounts = "rows",
) -> list[Delivery]:
    """The month's refreshes, oldest first; `execution_id` is the `assemblyId`.

    An Athena report is always overwritten: a ValueError refuses to keep its versions.
    """
    if format == "athena_parquet" and versioning == "keep":
        raise ValueError("an Athena report keeps no versions: pass versioning='overwrite'")
    layout = _Report(month, bucket, prefix, report, versioning, format)
    written = []
    for refresh in refreshes_of(month, restated=restated):
        items = _line_items(rows_of(month, refresh, granularity, discounts=discounts))
        number(items, month.seed, month.month, refresh.number, column="identity/LineItemId")
        truth = delivery_truth(month, refresh, items, reported(discounts))
        rows = [row for row, _ in items]
        columns = _columns_of(rows)
        objects = layout.objects(refresh, columns, rows)
        written.append(Delivery(layout.assembly_id(refresh), refresh.delivered_at, objects, objects[-1].key, truth))
    return written


@dataclass(frozen=True, slots=True)
class _Report:
    """Where one report puts its objects."""

    month: Month
    bucket: str
    prefix: str
    name: str
    versioning: Versioning
    format: LegacyFormat

    def assembly_id(self, refresh: Refresh) -> str:
        """Looks like a time, as in a real account; AWS calls it an id and no more."""
        return f"{refresh.delivered_at:%Y%m%dT%H%M%SZ}"

    def objects(self, refresh: Refresh, columns: Columns, rows: Sequence[Row]) -> list[StoredObject]:
        """Everything of one refresh, the manifest last."""
        folder = self._folder
        version = f"{self.assembly_id(refresh)}/" if self.versioning == "keep" else ""
        keys = [f"{folder}{version}{self.name}-{chunk:05d}.{_EXTENSION[self.format]}" for chunk in range(1, refresh.chunks + 1)]
        objects = [
            StoredObject(key, self._data_file(key, columns, part))
            for key, part in zip(keys, chunks(rows, len(keys)), strict=True)
        ]
        if self.format == "athena_parquet":
            objects = [self._status(), *objects, *self._side_files(columns)]
        manifest = self._manifest(refresh, columns, keys)
        if version:
            objects.append(StoredObject(f"{folder}{version}{self.name}-Manifest.json", manifest))
        objects.append(StoredObject(f"{folder}{self.name}-Manifest.json", manifest))
        return objects

    @property
    def _root(self) -> str:
        return f"{self.prefix}/{self.name}" if self.prefix else self.name

    @property
    def _folder(self) -> str:
        start = self.month.start
        if self.format == "athena_parquet":
            return f"{self._root}/{self.name}/year={start.year}/month={start.month}/"
        return f"{self._root}/{start:%Y%m%d}-{self.month.end:%Y%m%d}/"

    def _data_file(self, key: str, columns: Columns, rows: Sequence[Row]) -> bytes:
        if self.format == "athena_parquet":
            return _athena_parquet(columns, rows)
        text = csv_text(columns, rows, _cell)
        return compress(text) if self.format == "gzip" else _zip(key.rsplit("/", 1)[1].removesuffix(".zip"), text)

    def _manifest(self, refresh: Refresh, columns: Columns, keys: list[str]) -> bytes:
        manifest = {
            "assemblyId": self.assembly_id(refresh),
            "account": PAYER.account_id,
            "columns": [_manifest_column(name, kind) for name, kind in columns.items()],
            "charset": "UTF-8",
            "compression": _COMPRESSION[self.format],
            "contentType": "Parquet" if self.format == "athena_parquet" else "text/csv",
            "reportId": uuid_of(self.month.seed, self.name, "report"),
            "reportName": self.name,
            "billingPeriod": {
                "start": f"{self.month.start:%Y%m%dT%H%M%S.000Z}",
                "end": f"{self.month.end:%Y%m%dT%H%M%S.000Z}",
            },
            "bucket": self.bucket,
            "reportKeys": keys,
            "additionalArtifacts": [],
        }
        return json.dumps(manifest, indent=2).encode()

    def _status(self) -> StoredObject:
        folder = f"{self._root}/cost_and_usage_data_status/"
        body = parquet({"status": "string"}, [{"status": "READY"}])
        return StoredObject(f"{folder}cost_and_usage_data_status.parquet", body)

    def _side_files(self, columns: Columns) -> list[StoredObject]:
        fields = ",\n".join(f"  `{name}` {_ATHENA_TYPE[kind]}" for name, kind in _athena_columns(columns).items())
        location = f"s3://{self.bucket}/{self._root}/{self.name}/"
        table = (
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {self.name.replace('-', '_')}(\n{fields}\n)\n"
            f"PARTITIONED BY (`year` string, `month` string)\nSTORED AS PARQUET\nLOCATION '{location}'\n"
        )
        crawler = f"AWSTemplateFormatVersion: '2010-09-09'\n# Crawls {location}\nResources: {{}}\n"
        return [
            StoredObject(f"{self._folder}{self.name}-create-table.sql", table.encode()),
            StoredObject(f"{self._folder}crawler-cfn.yml", crawler.encode()),
        ]


# Rows and columns


def _line_items(items: Sequence[LineItem]) -> list[LineItem]:
    """Line items under legacy names; those that only CUR 2.0 tells apart are one."""
    named = [(_legacy_row(row), is_bedrock) for row, is_bedrock in items]
    summable = {_legacy_name(name) for name in (*SUMMABLE, "line_item_net_unblended_cost")}
    return merged(named, summable | {name for row, _ in named for name in row if name.startswith("discount/")})


def _legacy_row(row: Row) -> Row:
    found: Row = {}
    for name, value in row.items():
        if name == "product":
            found |= {_legacy_name(f"product_{key}"): text for key, text in value.items()}
        elif name == "discount":
            found |= {f"discount/{_pascal(key)}": Decimal(text) for key, text in value.items()}
        elif name == "tags":
            found |= {column: text for key, text in value.items() if (column := _tag_column(key))}
        elif name != "resource_tags" and name not in _EXCLUSIVE_TO_CUR2:
            found[_legacy_name(name)] = value
    return found


def _tag_column(key: str) -> str | None:
    """The column of a key of CUR 2.0's `tags`, which keeps the letter case of the tag; None where there is none."""
    source, _, tag = key.partition("/")
    if source == "resourceTags":
        return f"resourceTags/user:{tag}"
    return f"iamPrincipal/{tag}" if source == "iamPrincipal" else None


@cache
def _legacy_name(name: str) -> str:
    """`line_item_usage_account_id` is `lineItem/UsageAccountId`; products and a few prices begin with a small letter."""
    prefix = max((p for p in _CATEGORIES if name.startswith(f"{p}_")), key=len)
    stem = name.removeprefix(f"{prefix}_")
    category = _CATEGORIES[prefix]
    if name in _ODD_NAMES:
        return f"{category}/{_ODD_NAMES[name]}"
    pascal = _pascal(stem)
    if category == "product" or (category == "pricing" and stem in _SMALL_INITIAL):
        pascal = pascal[0].lower() + pascal[1:]
    return f"{category}/{pascal}"


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _columns_of(rows: Sequence[Row]) -> Columns:
    """The columns that this refresh has, by category and, within products and tags, by name."""
    kinds: dict[str, ColumnType] = {
        _legacy_name(name): kind for name, kind in COLUMNS.items() if kind != "map" and name not in _EXCLUSIVE_TO_CUR2
    }
    always = {_legacy_name(name): kinds.get(_legacy_name(name), "string") for name in _ALWAYS}
    filled = {name for row in rows for name, value in row.items() if value not in (None, "")}
    order = [*_CATEGORIES.values(), *_TAG_CATEGORIES]
    others = sorted(filled - always.keys(), key=lambda name: (order.index(name.partition("/")[0]), name))
    named = sorted([*always, *others], key=lambda name: order.index(name.partition("/")[0]))
    return {name: "double" if name.startswith("discount/") else kinds.get(name, "string") for name in named}


def _manifest_column(name: str, kind: ColumnType) -> dict[str, str]:
    category, _, stem = name.partition("/")
    return {"category": category, "name": stem, "type": _ODD_TYPES.get(name, _MANIFEST_TYPE[kind])}


# Files

_ATHENA_TYPE: Mapping[ColumnType, str] = {"string": "STRING", "double": "DOUBLE", "timestamp": "TIMESTAMP"}


@cache
def athena_name(name: str) -> str:
    """A column's name in Athena: an underscore before each capital, small letters, and only letters, digits, underscores."""
    spaced = re.sub(r"([A-Z])", r"_\1", name).lower()
    return re.sub(r"_+", "_", re.sub(r"[^a-z0-9]", "_", spaced)).strip("_")


def _athena_columns(columns: Columns) -> Columns:
    return {athena_name(name): kind for name, kind in columns.items()}


def _athena_parquet(columns: Columns, rows: Sequence[Row]) -> bytes:
    renamed: list[Row] = []
    for row in rows:
        cells: Row = {}
        for name in columns:
            # Tags that differ in letter case alone are one column; a row has a value of one of them.
            if row.get(name) not in (None, ""):
                cells[athena_name(name)] = row[name]
        renamed.append(cells)
    return parquet(_athena_columns(columns), renamed)


def _zip(name: str, text: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name, _EPOCH_OF_ZIP)
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, text)
    return buffer.getvalue()


def _cell(value: Any, kind: ColumnType) -> str:
    if value is None:
        return ""
    if kind == "double":
        return plain_amount(value)
    return iso_seconds(value) if kind == "timestamp" else str(value)
