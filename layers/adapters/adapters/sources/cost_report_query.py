"""The engine of a delivery: each data file read by itself into grouped rows, and the readings merged. DuckDB, exact decimals.

DuckDB reads Parquet and CSV alike and adds exact decimals; only the functions that read reports carry it. A reading can be
kept as one small Parquet file and loaded again elsewhere: files read by many functions or by one give the same merged rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# The engine: exact decimal sums over Parquet and CSV, bounded memory (docs/decisions/0002-duckdb.md).
import duckdb

from adapters.sources.data_files import Expanded, Unreadable
from adapters.sources.focus_layout import FocusLayout
from adapters.sources.report_layouts import (
    DECIMAL,
    TEXT_FIELDS,
    Column,
    ColumnTwice,
    CurLayout,
    Layout,
    Mapped,
    selection,
)
from attribution.charges import COST_METRICS, Costs
from attribution.deliveries import Mention, ReportKind
from attribution.periods import BillingPeriod

# Raise it when the same file is to be read differently: readings kept under another number are made anew.
READING_VERSION = 1
LAYOUTS: Mapping[ReportKind, Layout] = {
    ReportKind.CUR_2_0: CurLayout(ReportKind.CUR_2_0),
    ReportKind.LEGACY_CUR: CurLayout(ReportKind.LEGACY_CUR),
    ReportKind.FOCUS: FocusLayout(),
}
# What the engine raises when it is short of memory or disk, or broken itself: none of these says anything of the file it reads.
_FAULTS_OF_ITS_OWN = (duckdb.OutOfMemoryException, duckdb.FatalException)
_DISK_FULL = "No space left"
# Everything else means that a file is not what its name says; damaged Parquet raises the bare base class.
_UNREADABLE = (duckdb.Error, UnicodeDecodeError, csv.Error)
_LONGEST_LINE = 8 * 1024 * 1024
_CSV_BUFFER = 2 * _LONGEST_LINE
_REJECTED_SHOWN = 1000
# Reports compress to a tenth or a thirtieth; nothing that AWS writes comes near this.
_LARGEST_EXPANSION, _ALWAYS_EXPANDED = 200, 64 * 1024 * 1024
# Where a chunk begins. Some writers put 0 for a dictionary that is not there; a file's first bytes are its magic number.
CHUNK_OFFSET = """CAST(CASE WHEN dictionary_page_offset >= 4 THEN least(dictionary_page_offset, data_page_offset)
    ELSE data_page_offset END AS BIGINT)"""

# How a group of rows stands to Bedrock: the code of its product decides those that do not say.
_SELECTED, _DECIDED_BY_CODE, _ONLY_MENTIONED = 2, 1, 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row whose cost or date cannot be read. `code` is its product's, which decides whether it is of Bedrock at all."""

    row: int
    reason: str
    code: str
    is_selected: bool


@dataclass(frozen=True, slots=True)
class FileReading:
    """What one data file said beside its rows. A `refusal` says why nothing of it can be used."""

    rows_read: int = 0
    refusal: str = ""
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FileReading:
        stored = json.loads(text)
        return cls(
            stored["rows_read"],
            stored["refusal"],
            tuple(Rejected(**r) for r in stored["rejected"]),
            tuple(stored["notes"]),
            tuple(stored["unknown_columns"]),
        )


def reader() -> str:
    """A name of this code and its selection, by which a file's reading is known."""
    return f"{READING_VERSION}:{selection().version}"


_KEYS = (*TEXT_FIELDS, "is_final")
_GROUPED = ("standing", "speaks", "usage_date", "is_outside", *_KEYS)
_IN_SCOPE = (
    f"""standing = {_SELECTED} OR (standing = {_DECIDED_BY_CODE} AND product_code IN (SELECT product_code FROM codes))"""
)
_ROWS_AT_ONCE = 10_000
# Maps are compared as maps; only their groups become text.
_AS_TEXT = "CASE WHEN typeof(tags) LIKE 'MAP%' THEN coalesce(CAST(to_json(tags) AS VARCHAR), '') ELSE CAST(tags AS VARCHAR) END"
_SUMS = ("quantity", *COST_METRICS)
_GROUPS = f"""CREATE TABLE groups (
    standing TINYINT, speaks BOOLEAN, usage_date DATE, is_outside BOOLEAN,
    {", ".join(f"{name} VARCHAR" for name in TEXT_FIELDS)}, is_final BOOLEAN,
    row_count BIGINT, broken BIGINT, costless BIGINT, {", ".join(f"{name} {DECIMAL}" for name in _SUMS)})"""
# Rows that only speak of Bedrock are counted by these.
_MENTION_KEYS = ("product_code", "usage_type", "line_item_type", "currency")


class ReportEngine:
    """One delivery's grouped rows. Use as a context manager; everything it needs beside memory lies under `work_directory`."""

    def __init__(self, period: BillingPeriod, work_directory: Path, memory_megabytes: int) -> None:
        self._period = period
        self._engine = duckdb.connect(
            str(work_directory / "report.duckdb"),
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "memory_limit": f"{memory_megabytes}MB",
                "temp_directory": str(work_directory / "spill"),
                "preserve_insertion_order": False,
            },
        )
        self._engine.execute("SET TimeZone = 'UTC'")
        self._engine.execute(_GROUPS)
        self._broken_before = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._engine.close()

    # Reading -----------------------------------------------------------------------------------------------------------

    def parquet_columns(self, path: Path) -> list[Column]:
        """The columns of a Parquet file, told by its footer alone."""
        described = self._engine.execute(f"DESCRIBE SELECT * FROM {_parquet(path)}").fetchall()
        # The engine renames a second column of one name; the file's own schema says what it is called.
        schema = iter(self._engine.execute(f"SELECT name, coalesce(num_children, 0) FROM parquet_schema('{path}')").fetchall())
        next(schema)
        own = [_top_level(schema) for _ in described]
        return [Column(name, f"c{n}", kind) for n, (name, (_, kind, *_)) in enumerate(zip(own, described, strict=True))]

    def chunks(self, path: Path, kind: ReportKind) -> list[tuple[int, int]]:
        """Where the needed columns lie in a Parquet file: offset and length of each chunk. Other files have none."""
        try:
            used = _mapped(kind, self.parquet_columns(path)).used
            found = self._engine.execute(
                f"""SELECT {CHUNK_OFFSET}, total_compressed_size, path_in_schema FROM parquet_metadata('{path}')"""
            ).fetchall()
        except _FAULTS_OF_ITS_OWN:
            raise
        except (_Refused, *_UNREADABLE):
            # Reading the file says why.
            return []
        return [(offset, size) for offset, size, where in found if where.split(", ")[0] in used]

    def read_parquet(self, path: Path, kind: ReportKind) -> FileReading:
        """Read a Parquet file, of which only the needed columns have to be there."""
        try:
            columns = self.parquet_columns(path)
            (rows_read,) = self._one(f"SELECT sum(num_rows) FROM parquet_file_metadata('{path}')")
            mapped = _mapped(kind, columns)
            self._require_no_bomb(path)
            # Under names of our own: a column of the file may be called like one of the query's.
            named = self._named(path)
            self._add(f"(SELECT {named} FROM {_parquet(path)})", mapped)
            numbered = f"SELECT {named}, file_row_number + 1 AS row_in_file FROM {_parquet(path, 'file_row_number = true')}"
            return self._reading(int(rows_read or 0), mapped, lambda: self._rejected(f"({numbered})", mapped))
        except _Refused as refused:
            return FileReading(refusal=str(refused))
        except _FAULTS_OF_ITS_OWN:
            raise
        except _UNREADABLE as error:
            _require_disk(error)
            # The engine's own message may quote a row.
            return FileReading(refusal=f"is not readable as Parquet ({type(error).__name__})")

    def _named(self, path: Path) -> str:
        described = self._engine.execute(f"DESCRIBE SELECT * FROM {_parquet(path)}").fetchall()
        return ", ".join(f"{_quoted(name)} AS c{n}" for n, (name, *_) in enumerate(described))

    def _require_no_bomb(self, path: Path) -> None:
        expanded, packed = self._one(
            f"SELECT sum(total_uncompressed_size), sum(total_compressed_size) FROM parquet_metadata('{path}')"
        )
        if (expanded or 0) > max(_LARGEST_EXPANSION * (packed or 0), _ALWAYS_EXPANDED):
            raise _Refused(f"expands to more than {_LARGEST_EXPANSION} times its size: refused as a decompression bomb")

    def read_csv(self, expanded: Expanded, kind: ReportKind) -> FileReading:
        """Read a CSV file as it is expanded. Nothing about it is guessed: its columns are those of its own header line."""
        try:
            header = next(csv.reader([expanded.first_line()]), [])
            if not header:
                return FileReading()
            mapped = _mapped(kind, [Column(name, f"c{n}") for n, name in enumerate(header)])
            with expanded.pipe() as path:
                rows_read = self._add_counting(_csv(path, len(header)), mapped)
            return self._reading(rows_read, mapped, lambda: self._rejected_csv(expanded, len(header), mapped))
        except (_Refused, Unreadable) as refused:
            return FileReading(refusal=str(refused))
        except _FAULTS_OF_ITS_OWN:
            raise
        except _UNREADABLE as error:
            _require_disk(error)
            return FileReading(refusal=f"is not readable as CSV ({type(error).__name__}{_line(error)})")

    def _add(self, source: str, mapped: Mapped) -> None:
        """Group the rows of a source that are Bedrock's, may be, or speak of it."""
        self._engine.execute(
            f"""INSERT INTO groups BY NAME SELECT * REPLACE ({_AS_TEXT} AS tags) FROM (
                SELECT {", ".join(_GROUPED)}, count(*) AS row_count, {_summed()}
                FROM (SELECT {self._fields(mapped)} FROM (
                    SELECT *, {_standing(mapped)} AS standing{_exact(mapped)} FROM {source}
                    WHERE {mapped.may_be_of_bedrock} AND {_is_candidate(mapped)}))
                GROUP BY ALL)"""
        )

    def _add_counting(self, source: str, mapped: Mapped) -> int:
        """The same for a source that can be read once only: the other rows become one group, which is counted and dropped."""
        standing = (
            f"CASE WHEN {mapped.may_be_of_bedrock} THEN CASE WHEN {_is_candidate(mapped)} THEN {_standing(mapped)} END END"
        )
        is_one = "standing IS NOT NULL"
        rows = f"SELECT *{_exact(mapped, when=is_one)} FROM (SELECT *, {standing} AS standing FROM {source})"
        self._engine.execute(
            f"""CREATE TEMP TABLE reading AS
            SELECT {", ".join(_GROUPED)}, count(*) AS row_count, {_summed()}
            FROM (SELECT {self._fields(mapped, when=is_one)} FROM ({rows})) GROUP BY ALL;
            INSERT INTO groups BY NAME SELECT * FROM reading WHERE standing IS NOT NULL"""
        )
        (rows_read,) = self._one("SELECT coalesce(sum(row_count), 0) FROM reading")
        self._engine.execute("DROP TABLE reading")
        return int(rows_read)

    def _fields(self, mapped: Mapped, when: str = "") -> str:
        """The common fields of a row whose `standing` and exact numbers are known; where `when` does not hold, none."""
        first, last = f"DATE '{self._period.first_day}'", f"DATE '{self._period.last_day}'"
        day = f"CAST({mapped.started_at} AS DATE)"
        fields = {
            "speaks": f"CASE WHEN standing = {_SELECTED} THEN false ELSE {mapped.speaks_of_bedrock} END",
            # A row without a date is broken; it is never booked.
            "usage_date": f"least(greatest(coalesce({day}, {first}), {first}), {last})",
            "is_outside": f"coalesce({day} NOT BETWEEN {first} AND {last}, false)",
            **mapped.text,
            "is_final": mapped.is_final,
            "is_broken": _is_broken(mapped),
            "is_costless": f"{mapped.costs['billed_cost']} IS NULL",
            "quantity": mapped.quantity,
            **{name: f"coalesce({cost}, 0)" for name, cost in mapped.costs.items()},
        }
        if when:
            fields = {name: f"CASE WHEN {when} THEN {field} END" for name, field in fields.items()}
        return ", ".join(f"{field} AS {name}" for name, field in ({"standing": "standing"} | fields).items())

    def _reading(self, rows_read: int, mapped: Mapped, rejected: Callable[[], list[Rejected]]) -> FileReading:
        (broken,) = self._one("SELECT coalesce(sum(broken), 0) FROM groups")
        has_broken = broken > self._broken_before
        self._broken_before = broken
        return FileReading(
            rows_read=rows_read,
            rejected=tuple(rejected()) if has_broken else (),
            notes=mapped.notes,
            unknown_columns=mapped.unknown,
        )

    def _rejected(self, numbered: str, mapped: Mapped) -> list[Rejected]:
        """Rows with an amount that is not an exact decimal number, or without a start date, by their number in the file."""
        reasons = " ".join(f"WHEN {broken} THEN '{reason}'" for reason, broken in mapped.broken.items())
        reason = f"CASE WHEN {mapped.started_at} IS NULL THEN 'no usage start date' {reasons} END"
        found = self._engine.execute(
            f"""SELECT row_in_file, {reason}, {mapped.text["product_code"]}, ({mapped.is_of_aws}) OR {mapped.says_bedrock}
            FROM (SELECT *{_exact(mapped)} FROM {numbered})
            WHERE (({mapped.is_of_aws}) OR ({mapped.is_of_others})) AND {_is_broken(mapped)}
            ORDER BY ({mapped.is_of_aws} OR {mapped.says_bedrock}) DESC, row_in_file LIMIT {_REJECTED_SHOWN}"""
        ).fetchall()
        return [Rejected(int(row), reason, code, bool(is_selected)) for row, reason, code, is_selected in found]

    def _rejected_csv(self, expanded: Expanded, width: int, mapped: Mapped) -> list[Rejected]:
        with expanded.pipe() as path:
            self._engine.execute("SET preserve_insertion_order = true")
            numbered = f"SELECT *, row_number() OVER () AS row_in_file FROM {_csv(path, width)}"
            found = self._rejected(f"({numbered})", mapped)
            self._engine.execute("SET preserve_insertion_order = false")
        return found

    # Keeping -----------------------------------------------------------------------------------------------------------

    def keep(self, reading: FileReading, path: Path) -> None:
        """Write the only reading of this engine to one file: the same reading is the same bytes, whichever thread was first."""
        told = reading.to_json().replace("'", "''")
        rows = "SELECT * FROM groups ORDER BY ALL"
        self._engine.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, KV_METADATA {{reading: '{told}'}})")

    def load(self, path: Path) -> FileReading:
        """Add a reading that was kept."""
        self._engine.execute(f"INSERT INTO groups BY NAME SELECT * FROM read_parquet('{path}')")
        (told,) = self._one(f"SELECT decode(value) FROM parquet_kv_metadata('{path}') WHERE decode(key) = 'reading'")
        (self._broken_before,) = self._one("SELECT coalesce(sum(broken), 0) FROM groups")
        return FileReading.from_json(told)

    # Merging -----------------------------------------------------------------------------------------------------------

    def merge(self) -> Merged:
        """Put the readings together: the product codes that one file names decide the nameless rows of every file.

        Raises `Unreadable` where the amounts add up to more than a decimal holds.
        """
        try:
            self._put_together()
            return self._merged()
        except duckdb.OutOfRangeException as error:
            raise Unreadable("its amounts add up to 10^20 or more") from error

    def _put_together(self) -> None:
        self._engine.execute(
            f"""CREATE TABLE codes AS SELECT DISTINCT product_code FROM groups
            WHERE standing = {_SELECTED} AND product_code <> '';
            CREATE VIEW scope AS SELECT * FROM groups WHERE {_IN_SCOPE};
            CREATE TABLE charges AS SELECT usage_date, {", ".join(_KEYS)}, CAST(sum(row_count) AS BIGINT) AS row_count,
                {", ".join(f"sum({name}) AS {name}" for name in _SUMS)} FROM scope GROUP BY ALL"""
        )

    def _merged(self) -> Merged:
        rows, broken, costless, outside = self._one(
            """SELECT coalesce(sum(row_count), 0), coalesce(sum(broken), 0), coalesce(sum(costless), 0),
                coalesce(sum(CASE WHEN is_outside THEN row_count END), 0) FROM scope"""
        )
        sums = ", ".join(f"sum({name})" for name in COST_METRICS)
        totals = self._engine.execute(f"SELECT currency, {sums} FROM scope GROUP BY currency ORDER BY currency").fetchall()
        mentions = self._engine.execute(
            f"""SELECT {", ".join(_MENTION_KEYS)}, sum(billed_cost), CAST(sum(row_count) AS BIGINT) FROM groups
            WHERE NOT ({_IN_SCOPE}) AND speaks GROUP BY ALL ORDER BY ALL"""
        ).fetchall()
        codes = self._engine.execute("SELECT product_code FROM codes").fetchall()
        return Merged(
            rows_in_scope=int(rows),
            rows_broken=int(broken),
            rows_outside=int(outside),
            rows_costless=int(costless),
            totals={currency: Costs(*amounts) for currency, *amounts in totals},
            mentions=tuple(Mention(*mention) for mention in mentions),
            codes=frozenset(code for (code,) in codes),
        )

    def charges_of(self, usage_date: date) -> Iterator[dict[str, Any]]:
        """The merged rows of a day."""
        cursor = self._engine.execute("SELECT * FROM charges WHERE usage_date = ?", [usage_date])
        names = [column[0] for column in cursor.description or ()]
        # The texts of a day's rows repeat: one object for each is a third of the memory.
        shared: dict[Any, Any] = {}
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                yield {
                    name: shared.setdefault(value, value) if type(value) is str else value
                    for name, value in zip(names, row, strict=True)
                }

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._engine.execute(query).fetchone()
        if row is None:
            raise LookupError(query)
        return row


@dataclass(frozen=True, slots=True)
class Merged:
    """What all readings of a delivery say together. `codes` are the products of others that are Bedrock's."""

    rows_in_scope: int
    rows_broken: int
    rows_outside: int
    rows_costless: int
    totals: Mapping[str, Costs]
    mentions: tuple[Mention, ...]
    codes: frozenset[str]


class _Refused(ValueError):
    """A file that lacks what cannot be missing."""


def _mapped(kind: ReportKind, columns: Sequence[Column]) -> Mapped:
    layout = LAYOUTS[kind]
    try:
        mapped = layout.map(layout.columns(columns))
    except ColumnTwice as error:
        raise _Refused(f"has the column {error} more than once: recreate the export without the second") from None
    if mapped.missing:
        raise _Refused(f"lacks {', '.join(mapped.missing)}; recreate the export with these columns selected")
    return mapped


def _parquet(path: Path, *options: str) -> str:
    """A Parquet file, of which nothing is read from its path."""
    return f"read_parquet({', '.join([repr(str(path)), 'hive_partitioning = false', *options])})"


def _top_level(schema: Iterator[tuple[str, int]]) -> str:
    """The next column of a Parquet schema, which lists every part of a nested one after it."""
    name, parts = next(schema)
    while parts:
        _, more = next(schema)
        parts += more - 1
    return name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _csv(path: Path, width: int) -> str:
    columns = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
    return (
        f"read_csv('{path}', auto_detect = false, header = true, skip = 0, columns = {{{columns}}}, delim = ',', quote = '\"', "
        f"escape = '\"', comment = '', strict_mode = true, max_line_size = {_LONGEST_LINE}, buffer_size = {_CSV_BUFFER}, "
        f"parallel = false)"
    )


def _require_disk(error: Exception) -> None:
    """A disk that is full says nothing of the file that is read."""
    if _DISK_FULL in str(error):
        raise error


def _line(error: Exception) -> str:
    """The line that the engine names in its message, without what stands there."""
    found = re.search(r"Line: (\d+)", str(error))
    return f", line {found[1]}" if found else ""


def _exact(mapped: Mapped, when: str = "true") -> str:
    """The exact numbers of a row, each computed once."""
    return "".join(f", CASE WHEN {when} THEN {number} END AS {name}" for name, number in mapped.numbers.items())


def _is_candidate(mapped: Mapped) -> str:
    return f"(({mapped.is_of_aws}) OR ({mapped.is_of_others}) OR ({mapped.is_mention}))"


def _standing(mapped: Mapped) -> str:
    """How a candidate stands to Bedrock."""
    return (
        f"CASE WHEN {mapped.is_of_aws} THEN {_SELECTED} WHEN {mapped.is_of_others} THEN CASE WHEN {mapped.says_bedrock} "
        f"THEN {_SELECTED} WHEN {mapped.text['product_name']} = '' THEN {_DECIDED_BY_CODE} ELSE {_ONLY_MENTIONED} END "
        f"ELSE {_ONLY_MENTIONED} END"
    )


def _is_broken(mapped: Mapped) -> str:
    return "(" + " OR ".join([f"{mapped.started_at} IS NULL", *mapped.broken.values()]) + ")"


def _summed() -> str:
    return "CAST(count_if(is_broken) AS BIGINT) AS broken, CAST(count_if(is_costless) AS BIGINT) AS costless, " + ", ".join(
        f"sum({name}) AS {name}" for name in _SUMS
    )
