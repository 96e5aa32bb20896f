"""The one query that turns a delivery's files into grouped Bedrock rows, in DuckDB.

DuckDB reads Parquet and gzip CSV alike and adds exact decimals; only the ingest function carries it. Map and text columns are
read for matching rows alone, because the engine filters on the narrow columns first.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The engine: exact decimal sums over Parquet and CSV, bounded memory (docs/decisions/0002-duckdb.md).
import duckdb

from attribution.charges import COST_METRICS, Costs
from attribution.money import SCALE
from attribution.periods import BillingPeriod

DECIMAL = f"DECIMAL(38, {SCALE})"
# Product codes under which AWS itself bills Bedrock (AWS's own Cloud Intelligence dashboards select the same).
PRODUCT_CODES = ("AmazonBedrock", "AmazonBedrockService", "AmazonBedrockFoundationModels", "AmazonBedrockAgentCore")
REQUIRED = (
    "line_item_usage_start_date",
    "line_item_usage_account_id",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_usage_type",
    "line_item_unblended_cost",
)
# Every amount that is read; text that is no number in one of them refuses the delivery.
AMOUNTS = (
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "line_item_usage_amount",
    "pricing_public_on_demand_cost",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
)
OPTIONAL: Mapping[str, str] = {
    "line_item_iam_principal": "callers are unknown: recreate the export with INCLUDE_IAM_PRINCIPAL_DATA",
    "line_item_resource_id": "inference profiles are unknown: recreate the export with INCLUDE_RESOURCES",
    "tags": "principal and account tags are unknown: select the column `tags` in the export",
    "product": "Marketplace models are unknown: select the column `product` in the export",
    "line_item_usage_amount": "quantities are unknown",
    "bill_billing_entity": "Marketplace rows are told by their product name alone",
    "bill_invoice_id": "days never become final",
    "line_item_operation": "operations are unknown",
    "line_item_line_item_description": "units of Marketplace rows are unknown",
    "line_item_currency_code": "amounts are taken as USD",
    "product_region_code": "Regions are unknown",
    "pricing_unit": "token counts are unknown",
    "pricing_public_on_demand_cost": "list cost is unknown",
}
_AMORTIZED = """CASE {type}
    WHEN 'SavingsPlanCoveredUsage' THEN {sp_effective}
    WHEN 'SavingsPlanRecurringFee' THEN {sp_total} - {sp_used}
    WHEN 'SavingsPlanNegation' THEN 0
    WHEN 'SavingsPlanUpfrontFee' THEN 0
    WHEN 'DiscountedUsage' THEN {ri_effective}
    WHEN 'RIFee' THEN {ri_unused_upfront} + {ri_unused_recurring}
    WHEN 'Fee' THEN CASE WHEN {ri_arn} <> '' THEN 0 ELSE {cost} END
    ELSE {cost} END"""


# What the engine raises for a file that is not what its name says; running out of memory or disk is not among them.
UNREADABLE = (
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.BinderException,
    duckdb.OutOfRangeException,
    duckdb.SerializationException,
    gzip.BadGzipFile,
    EOFError,
    UnicodeDecodeError,
    csv.Error,
    zlib.error,
)
_LONGEST_LINE = 16 * 1024 * 1024
_STARTED = "TRY_CAST(line_item_usage_start_date AS TIMESTAMP)"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row whose cost or date cannot be read."""

    path: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What a delivery's files hold."""

    rows: tuple[dict[str, Any], ...] = ()
    rows_read: int = 0
    rows_in_scope: int = 0
    totals: Mapping[str, Costs] = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    # Required columns that a file lacks, and the file.
    missing: tuple[str, ...] = ()
    missing_in: str = ""


class _Columns:
    """SQL for a column that may be missing, in Parquet's types or as CSV text."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self.types = types

    def text(self, name: str) -> str:
        return f"coalesce(CAST({name} AS VARCHAR), '')" if name in self.types else "''"

    def number(self, name: str) -> str:
        """The exact decimal of a double's shortest text, or of the text itself; NULL where it is neither."""
        if name not in self.types:
            return f"CAST(NULL AS {DECIMAL})"
        return f"TRY_CAST(nullif(CAST({name} AS VARCHAR), '') AS {DECIMAL})"

    def amount(self, name: str) -> str:
        return f"coalesce({self.number(name)}, 0)"

    def is_map(self, name: str) -> bool:
        return self.types.get(name, "").startswith("MAP")

    def entry(self, name: str, key: str) -> str:
        if name not in self.types:
            return "''"
        if self.is_map(name):
            return f"coalesce({name}['{key}'], '')"
        return f"CASE WHEN json_valid({name}) THEN coalesce(json_extract_string({name}, '$.\"{key}\"'), '') ELSE '' END"

    def map_text(self, name: str) -> str:
        if name not in self.types:
            return "''"
        return f"coalesce(CAST(to_json({name}) AS VARCHAR), '')" if self.is_map(name) else self.text(name)


def read_rows(paths: Sequence[Path], period: BillingPeriod, work_directory: Path) -> Rows:
    """Select, group and sum the Bedrock rows of a delivery."""
    if not paths:
        return Rows(notes=("every data file is empty",))
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as engine:
        engine.execute("SET temp_directory = ?", [str(work_directory / "spill")])
        engine.execute("SET TimeZone = 'UTC'")
        sources = [_source(path) for path in paths]
        for path, source in zip(paths, sources, strict=True):
            # File by file: a column that one of them lacks would read as empty for all of its rows.
            columns = _types(engine, source)
            missing = tuple(name for name in REQUIRED if name not in columns)
            if missing:
                return Rows(missing=missing, missing_in=str(path))
        source = " UNION ALL BY NAME ".join(f"SELECT * FROM {source}" for source in sources)
        types = _types(engine, f"({source})")
        return _query(engine, f"({source})", _Columns(types), period)


def _source(path: Path) -> str:
    """A data file as DuckDB reads it. Nothing about a CSV file is guessed: its columns are those of its own header line."""
    if path.suffix == ".parquet":
        return f"read_parquet('{path}', filename = true)"
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as text:
        header = next(csv.reader(text), [])
    columns = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}': 'VARCHAR'" for name in header)
    return (
        f"read_csv('{path}', auto_detect = false, header = true, skip = 0, columns = {{{columns}}}, delim = ',', quote = '\"', "
        f"escape = '\"', comment = '', strict_mode = true, max_line_size = {_LONGEST_LINE}, filename = true)"
    )


def _types(engine: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in engine.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _selection(column: _Columns) -> tuple[str, str]:
    """A CTE of Marketplace product codes whose name says Bedrock, and the condition that selects Bedrock's rows.

    Marketplace rows are told by the code of a product whose name says Bedrock: discount and tax rows lack the name.
    """
    name = column.entry("product", "product_name")
    codes = ", ".join(f"'{code}'" for code in PRODUCT_CODES)
    marketplace = f"SELECT DISTINCT line_item_product_code AS code FROM report WHERE {name} ILIKE '%bedrock%'"
    condition = f"line_item_product_code IN ({codes}) OR line_item_product_code IN (SELECT code FROM marketplace)"
    return marketplace, condition


def _metrics(column: _Columns) -> dict[str, str]:
    """Each cost metric as SQL: CUR's own columns, and the amortization that AWS's Cloud Intelligence dashboards use."""
    cost = column.number("line_item_unblended_cost")
    net_cost = f"coalesce({column.number('line_item_net_unblended_cost')}, {cost})"
    gross = {
        "type": column.text("line_item_line_item_type"),
        "sp_effective": column.amount("savings_plan_savings_plan_effective_cost"),
        "sp_total": column.amount("savings_plan_total_commitment_to_date"),
        "sp_used": column.amount("savings_plan_used_commitment"),
        "ri_effective": column.amount("reservation_effective_cost"),
        "ri_unused_upfront": column.amount("reservation_unused_amortized_upfront_fee_for_billing_period"),
        "ri_unused_recurring": column.amount("reservation_unused_recurring_fee"),
        "ri_arn": column.text("reservation_reservation_a_r_n"),
    }
    net = gross | {
        "sp_effective": _net(column, "savings_plan_net_savings_plan_effective_cost", gross["sp_effective"]),
        "ri_effective": _net(column, "reservation_net_effective_cost", gross["ri_effective"]),
    }
    return {
        "list_cost": column.amount("pricing_public_on_demand_cost"),
        "billed_cost": cost,
        "net_billed_cost": net_cost,
        "effective_cost": _AMORTIZED.format(cost=cost, **gross),
        "net_effective_cost": _AMORTIZED.format(cost=net_cost, **net),
    }


def _selected(column: _Columns, in_scope: str) -> str:
    """Bedrock's rows with what allocation needs, under names of our own."""
    return f"""
        SELECT {_STARTED} AS started_at, filename,
            {column.text("line_item_usage_account_id")} AS account_id,
            {column.text("product_region_code")} AS region,
            {column.text("line_item_line_item_type")} AS line_item_type,
            {column.text("bill_billing_entity")} AS billing_entity,
            {column.text("line_item_product_code")} AS product_code,
            {column.text("line_item_usage_type")} AS usage_type,
            {column.text("line_item_operation")} AS operation,
            {column.text("line_item_iam_principal")} AS iam_principal,
            {column.text("line_item_resource_id")} AS resource_id,
            {column.text("pricing_unit")} AS pricing_unit,
            {column.text("line_item_line_item_description")} AS description,
            {column.entry("product", "product_name")} AS product_name,
            {column.map_text("tags")} AS tags,
            upper(coalesce(nullif({column.text("line_item_currency_code")}, ''), 'USD')) AS currency,
            {column.text("bill_invoice_id")} <> '' AS is_final,
            {column.amount("line_item_usage_amount")} AS quantity,
            {", ".join(f"{expression} AS {name}" for name, expression in _metrics(column).items())}
        FROM report WHERE {in_scope}"""


def _query(engine: duckdb.DuckDBPyConnection, source: str, column: _Columns, period: BillingPeriod) -> Rows:
    marketplace, in_scope = _selection(column)
    engine.execute(f"CREATE VIEW report AS SELECT * FROM {source}")
    engine.execute(f"CREATE TABLE marketplace AS {marketplace}")
    engine.execute(f"CREATE TABLE bedrock AS {_selected(column, in_scope)}")
    rows_read = _scalar(engine, "SELECT count(*) FROM report")
    rows_in_scope = _scalar(engine, "SELECT count(*) FROM bedrock")
    rejected = _rejected(engine, column, in_scope)
    if rejected:
        return Rows(rows_read=rows_read, rows_in_scope=rows_in_scope, rejected=rejected)
    notes = tuple(f"no `{name}`: {consequence}" for name, consequence in OPTIONAL.items() if name not in column.types)
    is_inside = f"CAST(started_at AS DATE) BETWEEN DATE '{period.first_day}' AND DATE '{period.last_day}'"
    outside = rows_in_scope - _scalar(engine, f"SELECT count(*) FROM bedrock WHERE {is_inside}")
    if outside:
        notes += (f"{outside} rows are dated outside {period}; they are booked on its first or last day",)
    return Rows(
        rows=_grouped(engine, period),
        rows_read=rows_read,
        rows_in_scope=rows_in_scope,
        totals=_totals(engine),
        notes=notes,
    )


def _net(column: _Columns, name: str, gross: str) -> str:
    return f"coalesce({column.number(name)}, {gross})"


def _scalar(engine: duckdb.DuckDBPyConnection, query: str) -> int:
    row = engine.execute(query).fetchone()
    return int(row[0]) if row else 0


def _rejected(engine: duckdb.DuckDBPyConnection, column: _Columns, in_scope: str) -> tuple[Rejected, ...]:
    """Rows with an amount that is not a decimal number, or without a start date. An empty amount is nothing to add."""
    amounts = [name for name in AMOUNTS if name in column.types]
    unreadable = " OR ".join(f"({column.number(name)} IS NULL AND {column.text(name)} <> '')" for name in amounts)
    broken = f"{_STARTED} IS NULL OR {unreadable}"
    which = " ".join(
        f"WHEN {column.number(name)} IS NULL AND {column.text(name)} <> '' THEN '{name} is not a decimal number'"
        for name in amounts
    )
    files = engine.execute(f"SELECT DISTINCT filename FROM report WHERE ({in_scope}) AND ({broken})").fetchall()
    found: list[Rejected] = []
    for (path,) in files:
        # Rows are numbered over the whole file, in its order, so that an operator finds them.
        numbered = f"""
            WITH report AS (SELECT *, row_number() OVER () AS file_row FROM report WHERE filename = ?)
            SELECT file_row, CASE {which} ELSE 'no usage start date' END FROM report
            WHERE ({in_scope}) AND ({broken}) ORDER BY file_row"""
        found += [Rejected(path, row, reason) for row, reason in engine.execute(numbered, [path]).fetchall()]
    return tuple(found)


_KEYS = (
    "account_id",
    "region",
    "line_item_type",
    "billing_entity",
    "product_code",
    "usage_type",
    "operation",
    "iam_principal",
    "resource_id",
    "pricing_unit",
    "description",
    "product_name",
    "tags",
    "currency",
    "is_final",
)


def _sums() -> str:
    return ", ".join(f"sum(coalesce({name}, 0)) AS {name}" for name in COST_METRICS)


def _grouped(engine: duckdb.DuckDBPyConnection, period: BillingPeriod) -> tuple[dict[str, Any], ...]:
    keys = ", ".join(_KEYS)
    day = f"least(greatest(CAST(started_at AS DATE), DATE '{period.first_day}'), DATE '{period.last_day}')"
    query = f"""
        SELECT {day} AS usage_date, {keys}, sum(quantity) AS quantity, count(*) AS row_count, {_sums()}
        FROM bedrock GROUP BY ALL"""
    cursor = engine.execute(query)
    names = [d[0] for d in cursor.description or ()]
    return tuple(dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _totals(engine: duckdb.DuckDBPyConnection) -> dict[str, Costs]:
    found = engine.execute(f"SELECT currency, {_sums()} FROM bedrock GROUP BY currency ORDER BY currency").fetchall()
    return {currency: Costs(*amounts) for currency, *amounts in found}
