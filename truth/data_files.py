"""Data files of a report: Parquet and CSV with exact amounts.

Amounts are doubles in Parquet and plain decimals in CSV; both are the exact decimal (`Decimal(repr(cost))` of the double).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

ColumnType = Literal["string", "double", "timestamp", "map", "map_of_doubles"]
Columns = Mapping[str, ColumnType]
Row = dict[str, Any]
"""One row: only the columns that have a value. Amounts are `Decimal` until they are written."""

_ROW_GROUP_ROWS = 20_000
_EXACT_DIGITS = 15
_ARROW_TYPE: Mapping[ColumnType, Any] = {
    "string": pa.string(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("ms"),
    "map": pa.map_(pa.string(), pa.string()),
    "map_of_doubles": pa.map_(pa.string(), pa.float64()),
}


def exact_double(value: Decimal) -> float:
    """The double whose shortest text is `value`; a ValueError where there is none."""
    double = float(value)
    if Decimal(repr(double)) != value:
        raise ValueError(f"{value} has more than {_EXACT_DIGITS} digits: use fewer requests, or round the charge")
    return double


def parquet(columns: Columns, rows: Sequence[Row]) -> bytes:
    """A snappy Parquet file with every column, in order."""
    arrays = [pa.array([_arrow(row.get(name), kind) for row in rows], type=_ARROW_TYPE[kind]) for name, kind in columns.items()]
    schema = pa.schema([(name, _ARROW_TYPE[kind]) for name, kind in columns.items()])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), buffer, compression="snappy", row_group_size=_ROW_GROUP_ROWS)
    return buffer.getvalue()


def csv_text(columns: Columns, rows: Sequence[Row], cell: Callable[[Any, ColumnType], str]) -> bytes:
    """A CSV file with a header line; `cell` writes one value of a column's type."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(name), kind) for name, kind in columns.items()])
    return text.getvalue().encode()


def plain_amount(value: Decimal) -> str:
    """`value` without an exponent, checked to be the text of a double as well."""
    exact_double(value)
    return f"{value:f}"


def chunks(rows: Sequence[Row], count: int) -> list[Sequence[Row]]:
    """`rows` in `count` parts of almost equal length."""
    size = -(-len(rows) // count)
    return [rows[number * size : (number + 1) * size] for number in range(count)]


def _arrow(value: Any, kind: ColumnType) -> Any:
    if value is None:
        return None
    match kind:
        case "double":
            return exact_double(value)
        case "timestamp":
            time: datetime = value
            return time.replace(tzinfo=None)
        case "map":
            return sorted(value.items())
        case "map_of_doubles":
            return sorted((key, exact_double(amount)) for key, amount in value.items())
        case _:
            return value
