"""CUR 2.0 deliveries of a month: data files and manifests as AWS Data Exports writes them.

Every refresh restates the whole period. Costs are doubles and rates are strings, as in real exports; each double is
the exact decimal amount (a test may compare `Decimal(repr(cost))`), and a delivery carries its own sums.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from truth.charges import Charge, Product, product_of
from truth.company import Month, Refresh
from truth.cost_report_columns import COLUMNS, ColumnType
from truth.meters import Meter, bill_tags
from truth.objects import StoredObject, compress, hex_of, iso_milliseconds, iso_seconds, uuid_of
from truth.organisation import PAYER, Account
from truth.summary import Sums, plain_json

Mode = Literal["overwrite", "create_new"]
Format = Literal["parquet", "csv"]
Granularity = Literal["daily", "hourly"]

_INTERVAL: Mapping[Granularity, timedelta] = {"daily": timedelta(days=1), "hourly": timedelta(hours=1)}
_EXTENSION: Mapping[Format, str] = {"parquet": "snappy.parquet", "csv": "csv.gz"}
_ROW_GROUP_ROWS = 20_000
_EXACT_DIGITS = 15
_ARROW_TYPE: Mapping[ColumnType, Any] = {
    "string": pa.string(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("ms"),
    "map": pa.map_(pa.string(), pa.string()),
}

Row = dict[str, Any]
"""One line item: only the columns that have a value. Amounts are `Decimal` until they are written."""


@dataclass(frozen=True, slots=True)
class DeliveryTruth:
    """Exact sums over the rows of one delivery."""

    rows: int
    bedrock_rows: int
    bedrock_by_line_item_type: dict[str, Sums]
    everything_by_line_item_type: dict[str, Sums]
    bedrock_by_day: dict[str, Sums]
    """By usage start date; tax and credits of a month start on its first day."""

    @property
    def bedrock(self) -> Sums:
        """Every Bedrock row, whatever its line item type."""
        return sum(self.bedrock_by_line_item_type.values(), Sums())

    @property
    def everything(self) -> Sums:
        """Every row."""
        return sum(self.everything_by_line_item_type.values(), Sums())

    def as_json(self) -> dict[str, Any]:
        """A JSON form; decimals are strings."""
        return {**plain_json(asdict(self)), "bedrock": plain_json(asdict(self.bedrock))}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One refresh as S3 receives it: objects in order, the manifest last."""

    execution_id: str
    delivered_at: datetime
    objects: list[StoredObject]
    manifest_key: str
    truth: DeliveryTruth


def deliveries(
    month: Month,
    *,
    bucket: str,
    prefix: str,
    export: str,
    mode: Mode = "create_new",
    format: Format = "parquet",
    granularity: Granularity = "daily",
    restated: bool = False,
) -> list[Delivery]:
    """The month's refreshes, oldest first; `restated` adds the one a month after close."""
    refreshes = month.refreshes if restated else month.refreshes[:-1]
    written: list[Delivery] = []
    data_keys: list[str] = []
    for refresh in refreshes:
        layout = _Layout(month, refresh, bucket, prefix, export, mode, format)
        delivery = _deliver(month, refresh, layout, granularity, left_over=data_keys)
        written.append(delivery)
        if mode == "overwrite":
            data_keys = sorted({*data_keys, *layout.data_keys})
    return written


def probe_object() -> StoredObject:
    """What creating an export writes at the bucket root, outside the prefix."""
    return StoredObject("aws-programmatic-access-test-object", b"")


def rows_of(month: Month, refresh: Refresh, granularity: Granularity = "daily") -> list[tuple[Row, bool]]:
    """The line items of one refresh, each with whether it is Bedrock's."""
    rows = [*_usage_rows(month, refresh, granularity), *_charge_rows(month, refresh, granularity)]
    rows.sort(key=lambda row: _sort_key(row[0]))
    for number, (row, _) in enumerate(rows):
        row["identity_line_item_id"] = hex_of(month.seed, month.month, refresh.number, number, digits=52)
    return rows


class _Layout:
    """Where one refresh puts its objects."""

    def __init__(
        self, month: Month, refresh: Refresh, bucket: str, prefix: str, export: str, mode: Mode, file_format: Format
    ) -> None:
        self.execution_id = uuid_of(month.seed, month.month, export, "execution", refresh.number)
        self.bucket = bucket
        self.mode = mode
        self.format = file_format
        self.arn = f"arn:aws:bcm-data-exports:us-east-1:{PAYER.account_id}:export/{export}-{uuid_of(month.seed, export)}"
        root = f"{prefix}/{export}" if prefix else export
        partition = f"BILLING_PERIOD={month.month}"
        version = f"{iso_milliseconds(refresh.delivered_at)}-{self.execution_id}/" if mode == "create_new" else ""
        self.data_keys = [
            f"{root}/data/{partition}/{version}{export}-{chunk:05d}.{_EXTENSION[file_format]}"
            for chunk in range(1, refresh.chunks + 1)
        ]
        metadata = f"{root}/metadata/{partition}/"
        self.manifest_key = f"{metadata}{export}-Manifest.json"
        self.manifest_copy_key = f"{metadata}{version}{export}-Manifest.json"


def _deliver(month: Month, refresh: Refresh, layout: _Layout, granularity: Granularity, left_over: Sequence[str]) -> Delivery:
    rows = rows_of(month, refresh, granularity)
    write = _parquet if layout.format == "parquet" else _gzip_csv
    size = -(-len(rows) // len(layout.data_keys))
    objects = [
        StoredObject(key, write([row for row, _ in rows[number * size : (number + 1) * size]]))
        for number, key in enumerate(layout.data_keys)
    ]
    # A refresh that needs fewer files than the last one blanks the files that are left over.
    empty = _gzip_csv([]) if layout.format == "csv" else b""
    objects += [StoredObject(key, empty) for key in left_over if key not in layout.data_keys]
    manifest = _manifest(layout)
    if layout.mode == "create_new":
        objects.append(StoredObject(layout.manifest_copy_key, manifest))
    objects.append(StoredObject(layout.manifest_key, manifest))
    return Delivery(layout.execution_id, refresh.delivered_at, objects, layout.manifest_key, _truth_of(rows))


def _manifest(layout: _Layout) -> bytes:
    manifest = {
        "executionId": layout.execution_id,
        "exportArn": layout.arn,
        "columns": [{"name": name, "type": kind} for name, kind in COLUMNS.items()],
        "dataFiles": [f"s3://{layout.bucket}/{key}" for key in layout.data_keys],
        "additionalOutputFiles": [],
    }
    return json.dumps(manifest).encode()


def _truth_of(rows: Iterable[tuple[Row, bool]]) -> DeliveryTruth:
    bedrock: defaultdict[str, Sums] = defaultdict(Sums)
    everything: defaultdict[str, Sums] = defaultdict(Sums)
    by_day: defaultdict[str, Sums] = defaultdict(Sums)
    counts: Counter[bool] = Counter()
    for row, is_bedrock in rows:
        sums = Sums(row["line_item_unblended_cost"], row["pricing_public_on_demand_cost"])
        counts[is_bedrock] += 1
        everything[row["line_item_line_item_type"]] += sums
        if is_bedrock:
            bedrock[row["line_item_line_item_type"]] += sums
            by_day[row["line_item_usage_start_date"].date().isoformat()] += sums
    return DeliveryTruth(
        rows=counts.total(),
        bedrock_rows=counts[True],
        bedrock_by_line_item_type=dict(sorted(bedrock.items())),
        everything_by_line_item_type=dict(sorted(everything.items())),
        bedrock_by_day=dict(sorted(by_day.items())),
    )


# Rows


def _usage_rows(month: Month, refresh: Refresh, granularity: Granularity) -> Iterator[tuple[Row, bool]]:
    quantities: defaultdict[tuple[datetime, Meter], int] = defaultdict(int)
    for (hour, meter), quantity in month.usage.items():
        if hour < refresh.data_until:
            quantities[_interval_start(hour, granularity), meter] += quantity
    for (start, meter), quantity in quantities.items():
        sku, principal, call = meter.sku, meter.principal, meter.call
        product = product_of(call.model)
        row = _common(month, refresh, principal.account, product, "Anniversary", start, start + _INTERVAL[granularity])
        resource_tags: dict[str, str] = {}
        if call.profile:
            resource_tags["user_team"] = call.profile.team
        if call.project:
            resource_tags["user_team"] = call.project.team
        row |= {
            "line_item_line_item_type": "Usage",
            "line_item_usage_type": sku.usage_type,
            "line_item_operation": meter.operation,
            "line_item_resource_id": meter.resource_id,
            "line_item_iam_principal": principal.arn,
            "line_item_line_item_description": sku.description,
            "line_item_usage_amount": sku.usage_amount(quantity),
            "line_item_unblended_cost": sku.billed_cost(quantity),
            "line_item_blended_cost": sku.billed_cost(quantity),
            "line_item_unblended_rate": _plain(sku.billed_price),
            "line_item_blended_rate": _plain(sku.billed_price),
            "tags": bill_tags(principal.account, principal, call),
            "resource_tags": resource_tags,
        }
        row |= _pricing(product, sku.pricing_unit, sku.list_price, sku.list_cost(quantity), sku.usage_type)
        row |= _product(product, sku.region, sku.usage_type, meter.operation)
        if not product.is_marketplace:
            row["product"] |= {
                "model": call.model.display_name,
                "provider": call.model.provider,
                "inferencetype": sku.inference_type,
            }
        yield row, True


def _charge_rows(month: Month, refresh: Refresh, granularity: Granularity) -> Iterator[tuple[Row, bool]]:
    merged: dict[tuple[Any, ...], Row] = {}
    for charge in month.charges:
        if not _is_in(charge, refresh):
            continue
        start = charge.time if charge.end else _interval_start(charge.time, granularity)
        end = charge.end or start + _INTERVAL[granularity]
        row = _charge_row(month, refresh, charge, start, end)
        identity = (
            start,
            charge.account,
            charge.line_item_type,
            charge.product.code,
            charge.usage_type,
            charge.operation,
            charge.principal,
            charge.resource_id,
        )
        if identity in merged:
            for column in _SUMMABLE & row.keys():
                merged[identity][column] += row[column]
        else:
            merged[identity] = row
    bedrock_codes = {charge.product.code for charge in month.charges if charge.product.is_bedrock}
    for row in merged.values():
        yield row, row["line_item_product_code"] in bedrock_codes


_SUMMABLE = {
    "line_item_usage_amount",
    "line_item_unblended_cost",
    "line_item_blended_cost",
    "pricing_public_on_demand_cost",
}


def _charge_row(month: Month, refresh: Refresh, charge: Charge, start: datetime, end: datetime) -> Row:
    row = _common(month, refresh, charge.account, charge.product, charge.bill_type, start, end)
    row |= {
        "line_item_line_item_type": charge.line_item_type,
        "line_item_usage_type": charge.usage_type,
        "line_item_operation": charge.operation,
        "line_item_resource_id": charge.resource_id,
        "line_item_iam_principal": charge.principal.arn if charge.principal else None,
        "line_item_line_item_description": charge.description,
        "line_item_tax_type": charge.tax_type,
        "line_item_usage_amount": charge.quantity,
        "line_item_unblended_cost": charge.cost,
        "tags": dict(charge.tags),
        "resource_tags": dict(charge.resource_tags),
    }
    row |= _product(charge.product, charge.region, charge.usage_type, charge.operation)
    if charge.rate is None:
        row["pricing_public_on_demand_cost"] = Decimal(0)
        return row
    row["line_item_blended_cost"] = charge.cost
    row["line_item_unblended_rate"] = _plain(charge.rate)
    row["line_item_blended_rate"] = _plain(charge.rate)
    list_price = charge.public_rate or charge.rate
    return row | _pricing(charge.product, charge.pricing_unit, list_price, charge.public_cost, charge.usage_type)


def _is_in(charge: Charge, refresh: Refresh) -> bool:
    if charge.is_withdrawn_by_restatement and refresh.is_restated:
        return False
    if charge.stage == "restatement":
        return refresh.is_restated
    return refresh.is_closed if charge.stage == "close" else charge.time < refresh.data_until


def _common(
    month: Month,
    refresh: Refresh,
    account: Account,
    product: Product,
    bill_type: str,
    start: datetime,
    end: datetime,
) -> Row:
    invoice = hex_of(month.seed, month.month, account.invoicing_entity, product.is_marketplace, bill_type, digits=9)
    return {
        "bill_bill_type": bill_type,
        "bill_billing_entity": "AWS Marketplace" if product.is_marketplace else "AWS",
        "bill_billing_period_start_date": month.start,
        "bill_billing_period_end_date": month.end,
        "bill_invoice_id": str(int(invoice, 16)) if refresh.is_closed else "",
        "bill_invoicing_entity": account.invoicing_entity,
        "bill_payer_account_id": PAYER.account_id,
        "bill_payer_account_name": PAYER.name,
        "identity_time_interval": f"{iso_seconds(start)}/{iso_seconds(end)}",
        "line_item_usage_account_id": account.account_id,
        "line_item_usage_account_name": account.name,
        "line_item_usage_start_date": start,
        "line_item_usage_end_date": end,
        "line_item_product_code": product.code,
        "line_item_currency_code": "USD",
        "line_item_legal_entity": "Anthropic, PBC"
        if product.is_marketplace and product.is_bedrock
        else account.invoicing_entity,
        "line_item_tax_type": "",
    }


def _pricing(product: Product, unit: str, list_price: Decimal, list_cost: Decimal, usage_type: str) -> Row:
    # Marketplace rows carry no public price: cost 0, rate empty.
    return {
        "pricing_currency": "USD",
        "pricing_term": "OnDemand",
        "pricing_unit": unit,
        "pricing_rate_id": str(int(hex_of("rate", usage_type, digits=9), 16)),
        "pricing_public_on_demand_cost": Decimal(0) if product.is_marketplace else list_cost,
        "pricing_public_on_demand_rate": "" if product.is_marketplace else _plain(list_price),
    }


def _product(product: Product, region: str, usage_type: str, operation: str) -> Row:
    entries = {"product_name": product.name, "region": region, "servicename": product.name}
    if product.is_marketplace:
        entries.pop("servicename")
    return {
        "product": {key: value for key, value in entries.items() if value},
        "product_servicecode": product.service_code,
        "product_region_code": region,
        "product_product_family": "" if product.is_marketplace or not product.is_bedrock else "Amazon Bedrock",
        "product_usagetype": usage_type,
        "product_operation": operation,
        "product_sku": "" if product.is_marketplace else hex_of("sku", usage_type, digits=16).upper(),
    }


def _interval_start(hour: datetime, granularity: Granularity) -> datetime:
    return hour.replace(hour=0) if granularity == "daily" else hour


def _sort_key(row: Row) -> tuple[str, ...]:
    columns = (
        "line_item_usage_account_id",
        "line_item_product_code",
        "line_item_usage_type",
        "line_item_line_item_type",
        "line_item_operation",
        "line_item_iam_principal",
        "line_item_resource_id",
        "identity_time_interval",
    )
    return tuple(row[column] or "" for column in columns)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


# Files


def _exact_double(value: Decimal) -> float:
    double = float(value)
    if Decimal(repr(double)) != value:
        raise ValueError(f"{value} has more than {_EXACT_DIGITS} digits: use fewer requests, or round the charge")
    return double


def _naive(value: datetime) -> datetime:
    return value.replace(tzinfo=None)


def _parquet(rows: Sequence[Row]) -> bytes:
    arrays = []
    for name, kind in COLUMNS.items():
        values = [row.get(name) for row in rows]
        if kind == "double":
            values = [None if value is None else _exact_double(value) for value in values]
        elif kind == "timestamp":
            values = [None if value is None else _naive(value) for value in values]
        elif kind == "map":
            values = [None if value is None else sorted(value.items()) for value in values]
        arrays.append(pa.array(values, type=_ARROW_TYPE[kind]))
    schema = pa.schema([(name, _ARROW_TYPE[kind]) for name, kind in COLUMNS.items()])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), buffer, compression="snappy", row_group_size=_ROW_GROUP_ROWS)
    return buffer.getvalue()


def _gzip_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_csv_cell(row.get(name), kind) for name, kind in COLUMNS.items()])
    return compress(text.getvalue().encode())


def _csv_cell(value: Any, kind: ColumnType) -> str:
    if value is None:
        return ""
    if kind == "double":
        _exact_double(value)
        return f"{value:f}"
    if kind == "timestamp":
        return iso_milliseconds(value)
    if kind == "map":
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    return str(value)
