"""CUR 2.0 deliveries of a month: data files and manifests as AWS Data Exports writes them.

Every refresh restates the whole period. Costs are doubles and rates are strings, as in real exports; each double is
the exact decimal amount (a test may compare `Decimal(repr(cost))`), and a delivery carries its own sums.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from truth.bill import BilledItem, DeliveryTruth, Reported, delivery_truth
from truth.company import Month, Refresh
from truth.cost_report_columns import COLUMNS
from truth.data_files import Columns, ColumnType, Row, csv_text, parquet, plain_amount
from truth.delivery import DataExport, Delivery, Format, Mode, Refreshed
from truth.line_items import Discounts, Granularity, number, rows_of
from truth.objects import StoredObject, compress, iso_milliseconds
from truth.summary import Sums

__all__ = [
    "Delivery",
    "DeliveryTruth",
    "Discounts",
    "Format",
    "Granularity",
    "Mode",
    "deliveries",
    "probe_object",
    "reported",
]


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
    discounts: Discounts = "rows",
    principals_since: datetime | None = None,
) -> list[Delivery]:
    """The month's refreshes, oldest first; `restated` adds the one a month after close.

    `discounts="columns"` is an export of an account with Discount Automation: the net columns hold what the discount rows
    say otherwise. Usage before `principals_since` has no caller.
    """
    layout = DataExport(
        month=month, bucket=bucket, prefix=prefix, name=export, mode=mode, format=format, partition="BILLING_PERIOD"
    )

    def refreshed(refresh: Refresh) -> Refreshed:
        items = rows_of(month, refresh, granularity, discounts=discounts, principals_since=principals_since)
        number(items, month.seed, month.month, refresh.number)
        truth = delivery_truth(month, refresh, items, reported(discounts))
        return Refreshed(COLUMNS, [row for row, _ in items], parquet if format == "parquet" else _gzip_csv, truth)

    return layout.deliveries(refreshed, restated=restated)


def reported(discounts: Discounts) -> Callable[[BilledItem], Reported]:
    """How CUR shows a billed item: discounts as rows of their own, or in the net columns of the usage they lower."""

    def shown(item: BilledItem) -> Reported:
        if discounts == "columns" and item.lowers_usage:
            cost = item.sums.unblended_cost
            return [("Usage", Sums(net_unblended_cost=cost, net_amortized_cost=cost))]
        return [(item.line_item_type, item.sums)]

    return shown


def probe_object() -> StoredObject:
    """What creating an export writes at the bucket root, outside the prefix."""
    return StoredObject("aws-programmatic-access-test-object", b"")


def _gzip_csv(columns: Columns, rows: Sequence[Row]) -> bytes:
    return compress(csv_text(columns, rows, _cell))


def _cell(value: Any, kind: ColumnType) -> str:
    if value is None:
        return ""
    if kind == "double":
        return plain_amount(value)
    if kind == "timestamp":
        return iso_milliseconds(value)
    if kind == "map":
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    return str(value)
