"""Origin charges beside an independent sum over the raw files, and deliveries that say the same in other bytes."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.deliveries import IngestedReport
from bench.rows import Format, Spec, generate
from tests.oracle.bill import bedrock_of
from tests.oracle.reading import DataFile, Reader

FORMATS: tuple[Format, ...] = ("parquet", "csv")
EXTENSION: Mapping[Format, str] = {"parquet": "snappy.parquet", "csv": "csv.gz"}
LARGE = Spec(rows=1_000_000, bedrock_percent=5, files=4)
SMALL = Spec(rows=20_000, bedrock_percent=10, files=1)
# Tax and discount rows of a Marketplace model, of which only rows in other files tell that it is Bedrock's.
NAMELESS = ("Tax", "EdpDiscount", "BundledDiscount", "PrivateRateDiscount")
OTHER_SERVICES = Spec(rows=20_000, bedrock_percent=0, files=1, seed=2)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_origin_charges_of_a_million_rows_are_what_the_raw_files_bill(
    reader: Reader, tmp_path: Path, file_format: Format
) -> None:
    delivery = generate(replace(LARGE, format=file_format), tmp_path)
    rows, billed = bedrock_of(delivery.files)

    report = reader.ingest([DataFile(EXTENSION[file_format], partial(os.link, path)) for path in delivery.files])

    assert (report.rows_read, report.rows_in_scope, report.rejected) == (LARGE.rows, rows, ())
    found = reader.sums(report)
    wrong = {
        key: (found.get(key), billed.get(key)) for key in found.keys() | billed.keys() if found.get(key) != billed.get(key)
    }
    assert not wrong
    assert len(billed) > 10_000


# The same bill in other bytes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a bill become files."""

    format: Format = "parquet"
    row_seed: int = 0
    column_seed: int = 0
    rows_of_others: int = 0
    files: int = 1
    has_nameless_apart: bool = False
    codec: str = "snappy"
    row_group_rows: int = 20_000
    with_dictionary: bool = True
    gzip_level: int = 6
    gzip_members: int = 1
    is_read_apart: bool = False


SAME_BILL = {
    "its rows shuffled": Layout(row_seed=1),
    "its columns in another order": Layout(column_seed=1),
    "rows of other services added": Layout(rows_of_others=20_000),
    "split into files": Layout(files=7),
    "rows without a product name in a file of their own": Layout(has_nameless_apart=True),
    "each file read by a function of its own": Layout(files=3, has_nameless_apart=True, is_read_apart=True),
    "another codec": Layout(codec="zstd"),
    "small row groups": Layout(row_group_rows=700, with_dictionary=False, codec="none"),
    "CSV": Layout(format="csv"),
    "CSV, its rows shuffled": Layout(format="csv", row_seed=1),
    "CSV, its columns in another order": Layout(format="csv", column_seed=1),
    "CSV, rows of other services added": Layout(format="csv", rows_of_others=20_000),
    "CSV, split into files": Layout(format="csv", files=7),
    "CSV, rows without a product name in a file of their own": Layout(format="csv", has_nameless_apart=True),
    "CSV, each file read by a function of its own": Layout(format="csv", files=3, has_nameless_apart=True, is_read_apart=True),
    "CSV, hardly compressed": Layout(format="csv", gzip_level=1),
    "CSV of several gzip members": Layout(format="csv", gzip_members=4),
}
LAYOUTS = st.builds(
    Layout,
    format=st.sampled_from(FORMATS),
    row_seed=st.integers(0, 3),
    column_seed=st.integers(0, 3),
    rows_of_others=st.sampled_from([0, 1, 5_000]),
    files=st.integers(1, 5),
    has_nameless_apart=st.booleans(),
    codec=st.sampled_from(["none", "snappy", "gzip", "zstd"]),
    row_group_rows=st.sampled_from([400, 5_000, 50_000]),
    with_dictionary=st.booleans(),
    gzip_level=st.integers(0, 9),
    gzip_members=st.integers(1, 3),
    is_read_apart=st.booleans(),
)


@dataclass(frozen=True, slots=True)
class Bill:
    """Rows of a small bill and of other services, as each format has them, and what the first say as they come."""

    rows: Mapping[Format, tuple[Any, Any]]
    report: IngestedReport


@pytest.fixture(scope="module")
def bill(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Bill:
    directory = tmp_path_factory.mktemp("small")
    rows: dict[Format, tuple[Any, Any]] = {}
    for file_format in FORMATS:
        made = [generate(replace(spec, format=file_format), directory) for spec in (SMALL, OTHER_SERVICES)]
        read = _read_parquet if file_format == "parquet" else _read_csv
        rows[file_format] = (read(made[0].files[0]), read(made[1].files[0]))
    report = reader.ingest(_laid_out(*rows["parquet"], Layout()))
    assert report.rows_in_scope > 1_900
    return Bill(rows, report)


@pytest.mark.parametrize("layout", SAME_BILL.values(), ids=SAME_BILL)
def test_a_bill_has_the_same_content_in_other_bytes(reader: Reader, bill: Bill, layout: Layout) -> None:
    assert _content(_ingest(reader, bill, layout)) == _content(bill.report)


@settings(max_examples=12)
@given(layout=LAYOUTS)
def test_a_bill_has_the_same_content_however_its_bytes_are_laid_out(reader: Reader, bill: Bill, layout: Layout) -> None:
    assert _content(_ingest(reader, bill, layout)) == _content(bill.report)


@pytest.mark.parametrize("file_format", FORMATS)
def test_one_amount_that_differs_changes_the_content_of_its_day_alone(reader: Reader, bill: Bill, file_format: Format) -> None:
    rows, others = bill.rows[file_format]
    codes = rows.column("line_item_product_code").to_pylist()
    place = next(n for n, code in enumerate(codes) if code == "AmazonBedrockService")
    started = str(rows.column("line_item_usage_start_date")[place].as_py())
    costs = rows.column("line_item_unblended_cost").to_pylist()
    costs[place] = type(costs[place])("0.000000000001")
    column = rows.schema.get_field_index("line_item_unblended_cost")
    changed = rows.set_column(column, rows.schema.field(column), pa.array(costs))

    report = reader.ingest(_laid_out(changed, others, Layout(format=file_format)))

    differ = [new.usage_date.isoformat() for new, old in zip(report.days, bill.report.days, strict=True) if new != old]
    assert differ == [started[:10]]


def _content(report: IngestedReport) -> Any:
    """What a report says of its days, and the content hash of each."""
    return [(day.usage_date, day.origin, day.row_count) for day in report.days], report.totals, report.rejected


def _ingest(reader: Reader, bill: Bill, layout: Layout) -> IngestedReport:
    return reader.ingest(_laid_out(*bill.rows[layout.format], layout), apart=layout.is_read_apart)


def _laid_out(rows: Any, others: Any, layout: Layout) -> list[DataFile]:
    """Data files of the rows and some of the others'."""
    table = pa.concat_tables([rows, others.slice(0, layout.rows_of_others)])
    if layout.row_seed:
        table = table.take(random.Random(layout.row_seed).sample(range(len(table)), len(table)))
    if layout.column_seed:
        table = table.select(random.Random(layout.column_seed).sample(table.column_names, table.num_columns))
    is_nameless = pc.is_in(table.column("line_item_line_item_type"), pa.array(NAMELESS))
    wholes = [table.filter(is_nameless), table.filter(pc.invert(is_nameless))] if layout.has_nameless_apart else [table]
    parts = [part for whole in wholes for part in _split(whole, layout.files)]
    write: Callable[[Any, Layout, Path], None] = _write_parquet if layout.format == "parquet" else _write_csv
    return [DataFile(EXTENSION[layout.format], partial(write, part, layout)) for part in parts]


def _split(table: Any, files: int) -> list[Any]:
    size = -(-len(table) // files)
    return [table.slice(first, size) for first in range(0, len(table), size)]


def _read_parquet(path: Path) -> Any:
    return pq.ParquetFile(path).read()


def _read_csv(path: Path) -> Any:
    """Every cell as its text."""
    with gzip.open(path, "rt") as text:
        names = text.readline().rstrip("\n").split(",")
    return pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types={name: pa.string() for name in names}))


def _write_parquet(table: Any, layout: Layout, path: Path) -> None:
    pq.write_table(
        table, path, compression=layout.codec, row_group_size=layout.row_group_rows, use_dictionary=layout.with_dictionary
    )


def _write_csv(table: Any, layout: Layout, path: Path) -> None:
    text = io.BytesIO()
    pa.csv.write_csv(table, text, pa.csv.WriteOptions(quoting_style="needed"))
    content = text.getvalue()
    size = -(-len(content) // layout.gzip_members)
    members = [content[first : first + size] for first in range(0, len(content), size)]
    path.write_bytes(b"".join(gzip.compress(member, layout.gzip_level) for member in members))
