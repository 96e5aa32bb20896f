"""What a delivery's raw files bill for Bedrock, found without the product: SQLite selects and groups, exact decimals are added.

Written from AWS's documentation of the report and from the queries of AWS's own Cloud Intelligence dashboards alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

Key = tuple[str, str, str, str]
"""Usage day, account, usage type, principal."""

METRICS = ("list_cost", "billed_cost", "net_billed_cost", "effective_cost", "net_effective_cost")

_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])
# Told apart on every row of the bill.
_NARROW = ("bill_billing_entity", "line_item_product_code")
_WIDE = (
    "line_item_usage_start_date",
    "line_item_usage_account_id",
    "line_item_usage_type",
    "line_item_iam_principal",
    "line_item_line_item_type",
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "pricing_public_on_demand_cost",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "reservation_reservation_a_r_n",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "reservation_net_unused_recurring_fee",
)

# AWS and its seller in India bill under these codes; a seller of the Marketplace under a code of its own, which belongs to
# Bedrock if any of its rows says so: tax and discounts carry no product name.
_SELECTED = """
    SELECT number FROM bill WHERE line_item_product_code IN
        ('AmazonBedrock', 'AmazonBedrockService', 'AmazonBedrockFoundationModels', 'AmazonBedrockAgentCore')
    UNION
    SELECT number FROM bill WHERE bill_billing_entity = 'AWS Marketplace' AND line_item_product_code IN (
        SELECT line_item_product_code FROM bill
        WHERE bill_billing_entity = 'AWS Marketplace' AND product_name LIKE '%Bedrock%')
    ORDER BY number"""

# Amounts that are added and one that is subtracted, by line item type. `{n}` chooses the net columns, which fall back to the
# others where a row has none.
_AMORTIZED = """exact_sum(
    CASE line_item_line_item_type
        WHEN 'SavingsPlanCoveredUsage' THEN {sp_effective}
        WHEN 'SavingsPlanRecurringFee' THEN savings_plan_total_commitment_to_date
        WHEN 'SavingsPlanNegation' THEN NULL
        WHEN 'SavingsPlanUpfrontFee' THEN NULL
        WHEN 'DiscountedUsage' THEN {ri_effective}
        WHEN 'RIFee' THEN {ri_upfront}
        WHEN 'Fee' THEN CASE WHEN coalesce(reservation_reservation_a_r_n, '') = '' THEN {cost} END
        ELSE {cost} END,
    CASE line_item_line_item_type WHEN 'RIFee' THEN {ri_recurring} END,
    CASE line_item_line_item_type WHEN 'SavingsPlanRecurringFee' THEN savings_plan_used_commitment END)"""
_GROSS = {
    "cost": "line_item_unblended_cost",
    "sp_effective": "savings_plan_savings_plan_effective_cost",
    "ri_effective": "reservation_effective_cost",
    "ri_upfront": "reservation_unused_amortized_upfront_fee_for_billing_period",
    "ri_recurring": "reservation_unused_recurring_fee",
}
_NET = {
    "cost": "line_item_net_unblended_cost",
    "sp_effective": "savings_plan_net_savings_plan_effective_cost",
    "ri_effective": "reservation_net_effective_cost",
    "ri_upfront": "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "ri_recurring": "reservation_net_unused_recurring_fee",
}
_NET_OR_GROSS = {name: f"coalesce(nullif({net}, ''), {_GROSS[name]})" for name, net in _NET.items()}
_SUMS = f"""
    SELECT substr(line_item_usage_start_date, 1, 10), line_item_usage_account_id, line_item_usage_type,
        coalesce(line_item_iam_principal, ''),
        exact_sum(pricing_public_on_demand_cost, NULL, NULL),
        exact_sum({_GROSS["cost"]}, NULL, NULL),
        exact_sum({_NET_OR_GROSS["cost"]}, NULL, NULL),
        {_AMORTIZED.format(**_GROSS)},
        {_AMORTIZED.format(**_NET_OR_GROSS)}
    FROM bedrock GROUP BY 1, 2, 3, 4"""


class _ExactSum:
    """Adds the first two arguments and subtracts the third: doubles at their shortest text, texts as they are."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, *amounts: float | str | None) -> None:
        for amount, sign in zip(amounts, (1, 1, -1), strict=True):
            if amount is not None and amount != "":
                exact = Decimal(amount if isinstance(amount, str) else repr(amount))
                self._sum = _EXACT.add(self._sum, exact if sign > 0 else exact.copy_negate())

    def finalize(self) -> str:
        return str(self._sum)


def bedrock_of(files: Sequence[Path]) -> tuple[int, dict[Key, tuple[Decimal, ...]]]:
    """How many rows are Bedrock's, and the sums of `METRICS` by key."""
    report = pa.concat_tables([_read(path) for path in files])
    with sqlite3.connect(":memory:") as database:
        database.create_aggregate("exact_sum", 3, _ExactSum)  # type: ignore[arg-type]
        names = _product_names(report.column("product"))
        _fill(database, "bill", ("number", *_NARROW, "product_name"), [range(len(report)), *_cells(report, _NARROW), names])
        numbers = [number for (number,) in database.execute(_SELECTED)]
        bedrock = report.select(_WIDE).take(pa.array(numbers, pa.int64()))
        _fill(database, "bedrock", _WIDE, _cells(bedrock, _WIDE))
        sums = {
            (day, account, usage_type, principal): tuple(Decimal(amount) for amount in amounts)
            for day, account, usage_type, principal, *amounts in database.execute(_SUMS)
        }
    database.close()
    return len(numbers), sums


def _read(path: Path) -> Any:
    """The needed columns of a data file, CSV as text."""
    columns = [*_NARROW, "product", *_WIDE]
    if path.suffix == ".parquet":
        return pq.read_table(path, columns=columns)
    convert = pa.csv.ConvertOptions(include_columns=columns, column_types={name: pa.string() for name in columns})
    return pa.csv.read_csv(path, convert_options=convert)


def _product_names(products: Any) -> Iterator[str | None]:
    if pa.types.is_map(products.type):
        yield from pc.map_lookup(products, pa.scalar("product_name"), "first").to_pylist()
        return
    # Texts of CSV; how many different products there are is small.
    encoded = products.combine_chunks().dictionary_encode()
    with sqlite3.connect(":memory:") as database:
        found = [
            database.execute("SELECT json_extract(nullif(?, ''), '$.product_name')", [text]).fetchone()[0]
            for text in encoded.dictionary.to_pylist()
        ]
    database.close()
    yield from (None if index is None else found[index] for index in encoded.indices.to_pylist())


def _cells(table: Any, columns: Sequence[str]) -> list[list[Any]]:
    """Plain values, column by column; a time as ISO 8601 text."""
    cells = []
    for name in columns:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
        cells.append(column.to_pylist())
    return cells


def _fill(database: sqlite3.Connection, table: str, columns: Sequence[str], cells: Sequence[Iterable[Any]]) -> None:
    # Without a declared type, a value stays what it is.
    database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    rows: Iterator[tuple[Any, ...]] = zip(*cells, strict=True)
    database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
