"""The physical limit of `bench.ingest`: nothing but reading and decompressing the columns that our ingest reads, from the disk.

`python -m bench.ingest_limit ENGINE FILE...` with the engine that reads them: DuckDB or PyArrow. Nothing is selected or summed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from adapters.sources.cost_report_query import CHUNK_OFFSET, ReportEngine
from attribution.deliveries import ReportKind
from attribution.periods import BillingPeriod
from bench.measuring import measured, tell


def needed_columns(file: Path) -> list[str]:
    """The columns of a data file whose chunks our ingest fetches."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ReportEngine(BillingPeriod(2026, 6), Path(directory), 1024) as engine,
        duckdb.connect() as metadata,
    ):
        wanted = {offset for offset, _ in engine.chunks(file, ReportKind.CUR_2_0)}
        chunks = metadata.execute(
            f"""SELECT {CHUNK_OFFSET}, path_in_schema
            FROM parquet_metadata(?)""",
            [str(file)],
        ).fetchall()
    return sorted({path.split(", ")[0] for offset, path in chunks if offset in wanted})


def duckdb_reads(files: Sequence[Path], columns: Sequence[str]) -> None:
    """Counting the values of a column makes the engine decode it, and does little else."""
    counts = ", ".join(f"count({name})" for name in columns)
    with duckdb.connect() as engine:
        for file in files:
            engine.execute(f"SELECT {counts} FROM read_parquet('{file}')").fetchall()


def pyarrow_reads(files: Sequence[Path], columns: Sequence[str]) -> None:
    """Texts stay dictionaries where the file has them as such."""
    texts = [name for name in columns if name not in ("product", "tags")]
    for file in files:
        parquet = pq.ParquetFile(file, read_dictionary=texts)
        for group in range(parquet.num_row_groups):
            parquet.read_row_group(group, columns=list(columns))


READERS: dict[str, Callable[[Sequence[Path], Sequence[str]], None]] = {"duckdb": duckdb_reads, "pyarrow": pyarrow_reads}


def main() -> None:
    """Measure one engine."""
    reader, files = READERS[sys.argv[1]], [Path(name) for name in sys.argv[2:]]
    columns = needed_columns(files[0])
    tell(measured(lambda: reader(files, columns)))


if __name__ == "__main__":
    main()
