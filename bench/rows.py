"""Large CUR 2.0 deliveries with plausible cardinalities: all 131 columns, hourly, unsorted, equal for equal arguments.

A row is a meter, an hour and a quantity, each chosen by a hash of the row's number. Every amount is a decimal of at most 15
digits, so that Parquet's double and CSV's text say the same. Files lie below a directory that stands for the bucket.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from bench import meters
from bench.meters import AMOUNTS, EXTRA, METERS_OF_A_CALLER, Meter
from truth.cost_report_columns import COLUMNS

Format = Literal["parquet", "csv"]

BUCKET, EXPORT, PERIOD = "cost-reports", "hourly", "2026-06"
MANIFEST_KEY = f"exports/{EXPORT}/metadata/BILLING_PERIOD={PERIOD}/{EXPORT}-Manifest.json"
_EXTENSION: Mapping[Format, str] = {"parquet": "snappy.parquet", "csv": "csv.gz"}
_SQL_TYPES = {"string": "VARCHAR", "double": "DOUBLE", "timestamp": "TIMESTAMP_MS", "map": "MAP(VARCHAR, VARCHAR)"}
_EXECUTION = "7d0c6d5e-3f1b-4a86-9c55-0f6a1f2f7a10"
_DAYS = 30
# Which of Bedrock's rows are not usage: three of a hundred; and how many resources other services have.
_IS_CHARGE, _RESOURCES = "b % 1000 < 30", 200_000
# The largest quantity of a row, and into how many parts the unit interval is cut.
_MOST, _FINE = 200_000, 1 << 20


@dataclass(frozen=True, slots=True)
class Spec:
    """What a delivery is made of; equal specs give equal rows, whatever the format and the number of files."""

    rows: int
    bedrock_percent: int = 2
    files: int = 5
    format: Format = "parquet"
    seed: int = 1

    @property
    def name(self) -> str:
        """A directory name, which changes with the generator."""
        sources = b"".join(Path(file).read_bytes() for file in (__file__, meters.__file__))
        version = hashlib.sha256(sources).hexdigest()[:8]
        return f"{self.rows}-rows-{self.bedrock_percent}-percent-{self.files}-{self.format}-seed-{self.seed}-{version}"

    @property
    def data_keys(self) -> list[str]:
        """Keys of the data files."""
        return [
            f"exports/{EXPORT}/data/BILLING_PERIOD={PERIOD}/{EXPORT}-{chunk:05d}.{_EXTENSION[self.format]}"
            for chunk in range(1, self.files + 1)
        ]


@dataclass(frozen=True, slots=True)
class Generated:
    """A delivery on disk; `directory` stands for the bucket."""

    spec: Spec
    directory: Path

    @property
    def files(self) -> list[Path]:
        """The data files, in the manifest's order."""
        return [self.directory / key for key in self.spec.data_keys]

    @property
    def size(self) -> int:
        """Bytes of all data files."""
        return sum(path.stat().st_size for path in self.files)


def manifest(keys: Sequence[str], execution_id: str = _EXECUTION) -> bytes:
    """A manifest that lists data files of the bucket."""
    document = {
        "executionId": execution_id,
        "exportArn": f"arn:aws:bcm-data-exports:us-east-1:000123456789:export/{EXPORT}-5b1a2c3d",
        "columns": [{"name": name, "type": kind} for name, kind in COLUMNS.items()],
        "dataFiles": [f"s3://{BUCKET}/{key}" for key in keys],
        "additionalOutputFiles": [],
    }
    return json.dumps(document).encode()


def generate(spec: Spec, parent: Path) -> Generated:
    """The delivery below `parent`: made once, found again by a later run."""
    generated = Generated(spec, parent / spec.name)
    if generated.directory.is_dir():
        return generated
    unfinished = parent / f"{spec.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    with duckdb.connect() as engine:
        choice = _choice(engine)
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            written = [workers.submit(_write, engine, spec, choice, n, unfinished) for n in range(spec.files)]
            for number, _ in enumerate(as_completed(written), start=1):
                print(f"  generated {number} of {spec.files} files of {spec.name}", file=sys.stderr, flush=True)
        for writing in written:
            writing.result()
    path = unfinished / MANIFEST_KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest(spec.data_keys))
    unfinished.rename(generated.directory)
    return generated


def _write(engine: duckdb.DuckDBPyConnection, spec: Spec, choice: str, number: int, directory: Path) -> None:
    path = directory / spec.data_keys[number]
    path.parent.mkdir(parents=True, exist_ok=True)
    first, last = (spec.rows * n // spec.files for n in (number, number + 1))
    query = _rows(spec, choice, first, last)
    if spec.format == "parquet":
        engine.cursor().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)")
        return
    plain = path.with_suffix(".plain")
    engine.cursor().execute(f"COPY ({query}) TO '{plain}' (FORMAT csv, HEADER, COMPRESSION none)")
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
    plain.unlink()


def _choice(engine: duckdb.DuckDBPyConnection) -> str:
    """Load the meters, and choose one by a row's hashes."""
    callers, charges, others = list(meters.callers()), list(meters.charges()), list(meters.other_services())
    _load(engine, [*callers, *charges, *others])
    # A few callers call much more than the others.
    caller = f"CAST(floor(pow(a % {_FINE} / {_FINE}.0, 3) * {len(callers) // METERS_OF_A_CALLER}) AS BIGINT)"
    return f"""CASE
        WHEN NOT is_bedrock THEN {len(callers) + len(charges)} + a % {len(others)}
        WHEN {_IS_CHARGE} THEN {len(callers)} + a % {len(charges)}
        ELSE {caller} * {METERS_OF_A_CALLER} + c % {METERS_OF_A_CALLER} END"""


def _rows(spec: Spec, choice: str, first: int, last: int) -> str:
    """The rows from `first` to before `last`."""
    hashes = ", ".join(f"CAST(hash(i, {spec.seed}, {n}) >> 2 AS BIGINT) AS {name}" for n, name in enumerate("abcd"))
    return f"""
        WITH chosen AS (
            SELECT {hashes}, d % 100 < {spec.bedrock_percent} AS is_bedrock FROM range({first}, {last}) AS numbers(i)
        ), placed AS (
            SELECT *, {choice} AS number, {_hour()} AS hour,
                CAST(1 + floor(pow((c >> 8) % {_FINE} / {_FINE}.0, 2) * {_MOST}) AS DECIMAL(9, 0)) AS counted
            FROM chosen
        ), measured AS (
            SELECT placed.*, meter.*, CAST(counted * unit AS DECIMAL(11, 6)) AS quantity,
                CAST(counted * unit * rate AS DECIMAL(16, 10)) AS base
            FROM placed JOIN meter USING (number)
        )
        SELECT {", ".join(f"{_column(name, spec)} AS {name}" for name in COLUMNS)} FROM measured"""


def _hour() -> str:
    """A caller works ten hours on every other day; charges are of the first day or the last; the rest runs day and night."""
    return f"""TIMESTAMP '{PERIOD}-01' + to_hours(CASE
        WHEN NOT is_bedrock THEN (b >> 10) % {_DAYS * 24}
        WHEN {_IS_CHARGE} THEN (b >> 10) % 2 * {_DAYS * 24 - 1}
        ELSE (number // {METERS_OF_A_CALLER} % 2 + (b >> 10) % {_DAYS // 2} * 2) * 24 + 8 + (b >> 20) % 10 END)"""


def _column(name: str, spec: Spec) -> str:
    """SQL of a column: of the row itself, of its meter, or empty."""
    if name in AMOUNTS:
        amount = f"CAST(base * {name} AS DECIMAL(18, 12))"
        # One row in ten has no net amount, as rows without a discount have none.
        value = f"CASE WHEN (c >> 40) % 10 > 0 THEN {amount} END" if "_net_" in name else amount
    else:
        value = _OF_THE_ROW.get(name, name if name in _OF_THE_METER else "NULL")
    kind = COLUMNS[name]
    if spec.format == "parquet":
        return f"CAST({value} AS {_SQL_TYPES[kind]})"
    if value == "NULL":
        return value
    if kind == "timestamp":
        return f"strftime(CAST({value} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S.000Z')"
    return f"CAST(to_json({value}) AS VARCHAR)" if kind == "map" else value


_RESOURCE = f"md5(CAST(c % {_RESOURCES} AS VARCHAR))"
_RESOURCE_NAME = f"'resource-' || right({_RESOURCE}, 12)"
_OF_THE_ROW = {
    "bill_billing_period_start_date": f"TIMESTAMP '{PERIOD}-01'",
    "bill_billing_period_end_date": f"TIMESTAMP '{PERIOD}-01' + INTERVAL 1 MONTH",
    "identity_line_item_id": "md5(CAST(a AS VARCHAR)) || left(md5(CAST(b AS VARCHAR)), 20)",
    "identity_time_interval": "strftime(hour, '%Y-%m-%dT%H:%M:%SZ/') || strftime(hour + INTERVAL 1 HOUR, '%Y-%m-%dT%H:%M:%SZ')",
    "line_item_usage_start_date": "hour",
    "line_item_usage_end_date": "hour + INTERVAL 1 HOUR",
    "line_item_usage_amount": "quantity",
    "line_item_resource_id": f"""CASE WHEN is_bedrock THEN line_item_resource_id ELSE
        'arn:aws:' || lower(line_item_product_code) || ':::' || left({_RESOURCE}, 17) END""",
    "tags": f"""CASE WHEN is_bedrock THEN tags ELSE MAP {{
        'accountTag/environment': 'prod', 'resourceTags/Team': owner, 'resourceTags/Name': {_RESOURCE_NAME}}} END""",
    "resource_tags": f"""CASE WHEN is_bedrock THEN resource_tags ELSE
        MAP {{'user_team': owner, 'user_name': {_RESOURCE_NAME}}} END""",
    "line_item_normalized_usage_amount": "CASE WHEN product_instance_type <> '' THEN quantity * 4 END",
}
_OF_THE_METER: frozenset[str] = frozenset(
    name for kind in (meters.callers, meters.charges, meters.other_services) for meter in kind() for name in meter
)


def _load(engine: duckdb.DuckDBPyConnection, rows: Sequence[Meter]) -> None:
    """The table `meter`, numbered in this order."""
    names = sorted(_OF_THE_METER)
    arrow = pa.table([_array(name, [row.get(name) for row in rows]) for name in names], names)
    engine.register("loaded", arrow)
    columns = ", ".join(f"CAST({name} AS {_meter_type(name)}) AS {name}" for name in names)
    engine.execute(f"CREATE TABLE meter AS SELECT row_number() OVER () - 1 AS number, {columns} FROM loaded")
    engine.unregister("loaded")


def _array(name: str, values: Sequence[Any]) -> Any:
    if COLUMNS.get(name) == "map":
        return pa.array([None if v is None else list(v.items()) for v in values], pa.map_(pa.string(), pa.string()))
    return pa.array(values, pa.string())


def _meter_type(name: str) -> str:
    return EXTRA.get(name) or ("DECIMAL(3, 2)" if name in AMOUNTS else _SQL_TYPES[COLUMNS[name]])
