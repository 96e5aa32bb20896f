"""Cost report deliveries in the customer's bucket: the manifest, the data files it lists, and their Bedrock rows as charges.

Only what the manifest lists is read, each file as it was when it was first looked at (`If-Match` on its ETag); a file that is
missing or replaced meanwhile makes the delivery incomplete, to be tried again. Costs are doubles in Parquet: each is taken at
its shortest decimal text and becomes an exact decimal before anything is added.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from adapters.objects import require_within
from adapters.sources import manifest as manifests
from adapters.sources.cost_report_query import FileReading, Merged, ReportEngine, reader
from adapters.sources.data_files import DataFiles, Expanded, Unreadable
from attribution.allocation import totals_by_currency
from attribution.canonical import content_hash, pairs
from attribution.charges import COST_METRICS, Costs, OriginCharge
from attribution.deliveries import (
    DayOfDelivery,
    IngestedReport,
    Manifest,
    PinnedFile,
    RejectedRow,
    ReportKind,
    content_of,
)
from attribution.errors import DeliveryIncomplete, DeliveryRefused, InputRejected
from attribution.money import ZERO, total
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject
from attribution.usage_types import UNCLASSIFIED, decode_usage_type, decoder_version, region_of, tokens_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PINNED_AT_ONCE = 16
_WORK, _LOCK = "cost-report-", "lock"
# Line item types whose quantity is a use; that of a discount or a tax is none.
_USAGE = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
_UNKNOWN_SHOWN = 50
# Of a text that is kept in a delivery's record.
_LONGEST_TEXT = 200


class OriginChargeWriter(Protocol):
    """Keeps a day's origin charges and names their content."""

    def write(self, usage_date: date, charges: Sequence[OriginCharge], stored: Container[str]) -> str: ...


class Readings(Protocol):
    """Keeps what single data files said, so that several functions can read one delivery."""

    def has(self, name: str) -> bool: ...
    def put(self, name: str, path: Path) -> None: ...
    def get(self, name: str, path: Path) -> bool: ...


class S3CostReports:
    """`CostReports` in the customer's bucket."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        charges: OriginChargeWriter,
        readings: Readings,
        *,
        memory_megabytes: int,
        work_directory: str | None = None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._files = DataFiles(client, bucket)
        self._charges = charges
        self._readings = readings
        self._memory_megabytes = memory_megabytes
        self._work_directory = work_directory

    @property
    def reader(self) -> str:
        """What reads files and what decodes their usage types: a report that either would read otherwise is read again."""
        return f"{reader()}:{decoder_version()}"

    def manifest(self, source: StoredObject) -> Manifest:
        """The manifest as it is now: in overwrite mode the same key always holds the newest."""
        require_within(source, self._bucket, self._prefix)
        about = manifests.named(source.key)
        if about is None:
            raise InputRejected(str(source), manifests.manifest_key_ignored(source.key))
        answer = self._call(lambda: self._client.get_object(Bucket=source.bucket, Key=source.key), source.key)
        if answer["ContentLength"] > manifests.MAX_BYTES:
            raise InputRejected(str(source), f"a manifest of {answer['ContentLength']} bytes is refused")
        contents = manifests.parse(answer["Body"].read(), source, self._prefix, about)
        return Manifest(
            kind=contents.kind,
            export=about.export,
            period=about.period,
            execution_id=contents.execution_id,
            bucket=source.bucket,
            key=source.key,
            etag=answer["ETag"].strip('"'),
            written_at=answer["LastModified"],
            data_files=contents.data_files,
        )

    def pin(self, manifest: Manifest) -> tuple[PinnedFile, ...]:
        """The files of a delivery as they are now."""
        with ThreadPoolExecutor(_PINNED_AT_ONCE) as pool:
            pinned = tuple(pool.map(lambda key: self._files.pin(key, manifest.written_at), manifest.data_files))
        self._require_unchanged(manifest)
        return pinned

    def is_read(self, manifest: Manifest, file: PinnedFile) -> bool:
        """Whether a reading of a file is kept."""
        return not file.size or self._readings.has(self._name(manifest.kind, manifest.period, file))

    def read_file(self, kind: ReportKind, period: BillingPeriod, file: PinnedFile) -> bool:
        """Read one data file and keep what it says; false where that was kept already."""
        name = self._name(kind, period, file)
        if self._readings.has(name):
            return False
        with (
            _work_directory(self._work_directory) as directory,
            ReportEngine(period, directory, self._memory_megabytes) as engine,
        ):
            reading = self._read(engine, kind, file, directory)
            kept = directory / "reading.parquet"
            engine.keep(reading, kept)
            self._readings.put(name, kept)
        return True

    def ingest(self, manifest: Manifest, files: Sequence[PinnedFile], stored: Container[str]) -> IngestedReport:
        """Put what the files say together, keep the origin charges of each day not stored yet, and say what was found."""
        with (
            _work_directory(self._work_directory) as directory,
            ReportEngine(manifest.period, directory, self._memory_megabytes) as engine,
        ):
            readings = {f.key: self._kept_or_read(engine, manifest, f, directory) for f in files if f.size}
            self._require_unchanged(manifest)
            for key, reading in readings.items():
                if reading.refusal:
                    raise DeliveryRefused(f"{key}: {reading.refusal}")
            try:
                merged = engine.merge()
            except Unreadable as error:
                raise DeliveryRefused(f"{manifest.key}: {error}") from error
            rejected = tuple(_rejected_rows(readings, merged))
            unclassified = _Unclassified()
            days = () if merged.rows_broken else self._days(manifest.period, engine, unclassified, stored)
        return IngestedReport(
            files=tuple(files),
            days=days,
            rows_read=sum(r.rows_read for r in readings.values()),
            rows_in_scope=merged.rows_in_scope,
            totals=merged.totals,
            rejected=rejected,
            rejected_count=merged.rows_broken,
            rows_outside=merged.rows_outside,
            notes=_notes(readings, merged, manifest.period),
            unclassified=unclassified.totals(),
            mentions=tuple(
                replace(m, product_code=m.product_code[:_LONGEST_TEXT], usage_type=m.usage_type[:_LONGEST_TEXT])
                for m in merged.mentions
            ),
            unknown_columns=tuple(sorted({c[:_LONGEST_TEXT] for r in readings.values() for c in r.unknown_columns}))[
                :_UNKNOWN_SHOWN
            ],
            content=content_of(files),
            reader=self.reader,
        )

    def _kept_or_read(self, engine: ReportEngine, manifest: Manifest, file: PinnedFile, directory: Path) -> FileReading:
        path = directory / "reading.parquet"
        if self._readings.get(self._name(manifest.kind, manifest.period, file), path):
            return engine.load(path)
        return self._read(engine, manifest.kind, file, directory)

    def _read(self, engine: ReportEngine, kind: ReportKind, file: PinnedFile, directory: Path) -> FileReading:
        """One file at a time lies on the disk."""
        path = directory / "data-file"
        try:
            if not file.key.lower().endswith(".parquet"):
                self._files.fetch(file, path)
                return engine.read_csv(Expanded(path, file.key), kind)
            try:
                self._files.fetch_parquet(file, path, lambda sparse: engine.chunks(sparse, kind))
            except Unreadable as error:
                return FileReading(refusal=str(error))
            return engine.read_parquet(path, kind)
        finally:
            path.unlink(missing_ok=True)

    def _name(self, kind: ReportKind, period: BillingPeriod, file: PinnedFile) -> str:
        return content_hash([self._bucket, file.key, file.etag, file.size, kind, str(period), reader()])

    def _days(
        self, period: BillingPeriod, engine: ReportEngine, unclassified: _Unclassified, stored: Container[str]
    ) -> tuple[DayOfDelivery, ...]:
        days = []
        for usage_date in period.days():
            charges = merge(map(_charge, engine.charges_of(usage_date)))
            unclassified.look_at(charges)
            days.append(
                DayOfDelivery(
                    usage_date=usage_date,
                    origin=self._charges.write(usage_date, charges, stored),
                    totals=totals_by_currency(charges),
                    charge_count=len(charges),
                    row_count=sum(c.row_count for c in charges),
                    is_final=bool(charges) and all(c.is_final for c in charges),
                )
            )
        return tuple(days)

    def _require_unchanged(self, manifest: Manifest) -> None:
        """A refresh that began while the files were read would mix two generations."""
        head = self._call(lambda: self._client.head_object(Bucket=manifest.bucket, Key=manifest.key), manifest.key)
        if head["ETag"].strip('"') != manifest.etag:
            raise DeliveryIncomplete(f"{manifest.key}: a newer delivery arrived while this one was read; trying again")

    def _call(self, call: Callable[[], Any], key: str) -> Any:
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise DeliveryIncomplete(f"{key}: missing, or replaced while the delivery was read; trying again") from error
            raise


@contextmanager
def _work_directory(parent: str | None) -> Iterator[Path]:
    """A directory of this delivery's own. What a function left behind that was ended by its timeout is removed first."""
    for left in Path(parent or tempfile.gettempdir()).glob(f"{_WORK}*"):
        with suppress(OSError), (left / _LOCK).open("w") as lock:
            # Its owner, if it still works, holds the lock.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=parent) as directory, (Path(directory) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(directory)


def _rejected_rows(readings: Mapping[str, FileReading], merged: Merged) -> Iterator[RejectedRow]:
    """Rejected rows of Bedrock: those of nameless products count only where another row tells that the product is."""
    for key, reading in readings.items():
        for row in reading.rejected:
            if row.is_selected or row.code in merged.codes:
                yield RejectedRow(key, row.row, row.reason)


def _notes(readings: Mapping[str, FileReading], merged: Merged, period: BillingPeriod) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note for reading in readings.values() for note in reading.notes))
    if merged.rows_outside:
        notes.append(f"{merged.rows_outside} rows are dated outside {period}; they are booked on its first or last day")
    if merged.rows_costless:
        notes.append(f"{merged.rows_costless} rows have no cost; they count as zero")
    unknown = {column for reading in readings.values() for column in reading.unknown_columns}
    if unknown:
        notes.append(f"{len(unknown)} columns are not in the report's documentation; they are not read")
    if not any(reading.rows_read for reading in readings.values()):
        notes.append("every data file is empty")
    return tuple(notes)


def _charge(row: dict[str, Any]) -> OriginCharge:
    decoded = decode_usage_type(row["usage_type"], row["product_name"])
    quantity, is_usage = row["quantity"], row["line_item_type"] in _USAGE
    # The bounds that a unit is checked against are in dollars.
    cost = (row["billed_cost"] or row["list_cost"]) if row["currency"] == "USD" else ZERO
    return OriginCharge(
        usage_date=row["usage_date"],
        account_id=row["account_id"],
        region=region_of(row["region"], row["usage_type"], row["description"]),
        line_item_type=row["line_item_type"],
        billing_entity=row["billing_entity"],
        product_code=row["product_code"],
        usage_type=row["usage_type"],
        operation=row["operation"],
        feature=decoded.feature if is_usage else row["line_item_type"],
        commitment=decoded.commitment,
        meter=decoded.meter,
        iam_principal=row["iam_principal"],
        resource_id=row["resource_id"],
        tags=_tags(row["tags"]),
        currency=row["currency"],
        pricing_unit=row["pricing_unit"],
        quantity=quantity,
        units=tokens_of(quantity, decoded, row["pricing_unit"], row["description"], cost) if is_usage else None,
        costs=Costs(**{name: row[name] for name in COST_METRICS}),
        row_count=row["row_count"],
        is_final=row["is_final"],
    )


@lru_cache(maxsize=8192)
def _tags(text: str) -> tuple[tuple[str, str], ...]:
    """The tag map of a row. A cell that is not a JSON object has no tags to offer; its row keeps its money."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, dict):
        return ()
    # JSON may hold half of a surrogate pair, which no encoding can.
    spelled = {
        _encodable(k): _encodable(v if isinstance(v, str) else json.dumps(v)) for k, v in found.items() if v not in (None, "")
    }
    return pairs({_tag_key(key, spelled): value for key, value in spelled.items()})


def _tag_key(key: str, beside: Container[str]) -> str:
    """A tag's key under its source. Beside CUR 2.0's `tags`, reports spell resource tags `user:Team`, `user_team` or bare."""
    if "/" in key and not key.startswith("user:"):
        return key
    bare = key.removeprefix("user:").removeprefix("user_")
    # Where the bare key is there too, they are two tags.
    return f"resourceTags/{key if bare in beside else bare}"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def merge(charges: Iterable[OriginCharge]) -> list[OriginCharge]:
    """Charges that differ in nothing but how the report wrote them become one."""
    merged: dict[str, list[OriginCharge]] = {}
    for charge in charges:
        merged.setdefault(charge.digest(), []).append(charge)
    return [_sum(merged[name]) for name in sorted(merged)]


def _sum(charges: Sequence[OriginCharge]) -> OriginCharge:
    first = charges[0]
    if len(charges) == 1:
        return first
    units = [c.units for c in charges if c.units is not None]
    costs = first.costs
    for charge in charges[1:]:
        costs = costs + charge.costs
    return replace(
        first,
        quantity=total([c.quantity for c in charges]),
        units=total(units) if len(units) == len(charges) else None,
        costs=costs,
        row_count=sum(c.row_count for c in charges),
        is_final=all(c.is_final for c in charges),
    )


class _Unclassified:
    """The cost of usage types that nothing decodes, by currency."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, Costs]] = {}

    def look_at(self, charges: Iterable[OriginCharge]) -> None:
        for charge in charges:
            if charge.feature == UNCLASSIFIED:
                of_type = self._by_type.setdefault(charge.usage_type[:_LONGEST_TEXT] or "(no usage type)", {})
                of_type[charge.currency] = of_type.get(charge.currency, Costs()) + charge.costs

    def totals(self) -> dict[str, dict[str, Costs]]:
        return dict(sorted(self._by_type.items()))
