"""CUR 2.0 deliveries: the manifest, the data files it lists, and their Bedrock rows as origin charges per usage day.

Only what the manifest lists is read, each file as it was when it was first looked at (`If-Match` on its ETag); a file that is
missing or replaced meanwhile makes the delivery incomplete, to be tried again. Costs are doubles in Parquet: each is taken at
its shortest decimal text and becomes an exact decimal before anything is added.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.objects import require_within
from adapters.sources import cost_report_query as sql
from adapters.sources.manifest import MANIFEST, PERIOD, manifest_key_ignored
from adapters.validation import wrong_fields
from attribution.allocation import totals_by_currency
from attribution.canonical import pairs
from attribution.charges import COST_METRICS, Costs, OriginCharge
from attribution.deliveries import DayOfDelivery, IngestedReport, Manifest, PinnedFile, RejectedRow
from attribution.errors import DeliveryIncomplete, DeliveryRefused, InputRejected
from attribution.money import add
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject
from attribution.usage_types import UNCLASSIFIED, decode_usage_type, region_of, tokens_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_MANIFEST_BYTES = 50 * 1024 * 1024


class OriginChargeWriter(Protocol):
    """Keeps a day's origin charges and names their content."""

    def write(self, usage_date: date, charges: Sequence[OriginCharge]) -> str: ...


class _Column(BaseModel):
    name: str


class _ManifestDocument(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    executionId: str = Field(min_length=1, max_length=200)
    columns: tuple[_Column, ...] = ()
    dataFiles: tuple[str, ...]


class S3CostReports:
    """`CostReports` in the customer's bucket."""

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, charges: OriginChargeWriter, *, work_directory: str | None = None
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._charges = charges
        self._work_directory = work_directory

    def manifest(self, source: StoredObject) -> Manifest:
        """The manifest as it is now: in overwrite mode the same key always holds the newest."""
        require_within(source, self._bucket, self._prefix)
        named, period = MANIFEST.search(source.key), PERIOD.search(source.key)
        if named is None or period is None:
            raise InputRejected(str(source), manifest_key_ignored(source.key))
        answer = self._call(lambda: self._client.get_object(Bucket=source.bucket, Key=source.key), source.key)
        if answer["ContentLength"] > _MAX_MANIFEST_BYTES:
            raise InputRejected(str(source), f"a manifest of {answer['ContentLength']} bytes is refused")
        try:
            document = _ManifestDocument.model_validate_json(answer["Body"].read())
        except ValidationError as error:
            raise InputRejected(str(source), f"not a Data Exports manifest: {wrong_fields(error, 'document')}") from None
        data_files = tuple(self._data_key(uri, source) for uri in document.dataFiles)
        if len(set(data_files)) != len(data_files):
            raise InputRejected(str(source), "lists a data file twice, which would count it twice")
        if not data_files:
            raise InputRejected(str(source), "lists no data file: a delivery without data would empty its month")
        return Manifest(
            export=named["export"],
            period=BillingPeriod.parse(period["period"]),
            execution_id=document.executionId,
            bucket=source.bucket,
            key=source.key,
            etag=answer["ETag"].strip('"'),
            written_at=answer["LastModified"],
            data_files=data_files,
            columns=tuple(column.name for column in document.columns),
        )

    def _data_key(self, uri: str, source: StoredObject) -> str:
        expected = f"s3://{self._bucket}/"
        if not uri.startswith(expected + self._prefix):
            raise InputRejected(
                str(source), f"lists a data file outside of {expected}{self._prefix}: nothing is read from there"
            )
        key = uri[len(expected) :]
        stated, own = PERIOD.search(key), PERIOD.search(source.key)
        if stated and own and stated["period"] != own["period"]:
            raise InputRejected(str(source), f"lists a data file of {stated['period']} in the delivery of {own['period']}")
        return key

    def ingest(self, manifest: Manifest) -> IngestedReport:
        """Read the delivery's files, keep the origin charges of each day, and say what was found."""
        with tempfile.TemporaryDirectory(dir=self._work_directory) as directory:
            pinned = [self._pin(key) for key in manifest.data_files]
            paths = [self._fetch(p, manifest, Path(directory) / f"{n:05d}") for n, p in enumerate(pinned) if p.size]
            keys = {str(path): p.key for path, p in zip(paths, (p for p in pinned if p.size), strict=True)}
            self._require_unchanged(manifest)
            try:
                found = sql.read_rows(paths, manifest.period, Path(directory))
            except sql.UNREADABLE as error:
                # The engine's own message may quote a row.
                raise DeliveryRefused(
                    f"{manifest.key}: a data file cannot be read ({type(error).__name__}); the previous delivery stays"
                ) from None
        if found.missing:
            where = keys.get(found.missing_in, manifest.key)
            raise DeliveryRefused(f"{where}: lacks {', '.join(found.missing)}; recreate the export with these columns selected")
        rejected = tuple(RejectedRow(keys.get(r.path, r.path), r.row, r.reason) for r in found.rejected)
        charges = merge(map(_charge, found.rows))
        days = self._days(manifest.period, charges) if not rejected else ()
        return IngestedReport(
            files=tuple(pinned),
            days=days,
            rows_read=found.rows_read,
            rows_in_scope=found.rows_in_scope,
            totals=found.totals,
            rejected=rejected,
            rejected_count=len(rejected),
            notes=found.notes,
            unclassified=_unclassified(charges),
        )

    def _days(self, period: BillingPeriod, charges: Iterable[OriginCharge]) -> tuple[DayOfDelivery, ...]:
        by_day: dict[date, list[OriginCharge]] = defaultdict(list)
        for charge in charges:
            by_day[charge.usage_date].append(charge)
        days = []
        for usage_date in period.days():
            of_day = by_day[usage_date]
            days.append(
                DayOfDelivery(
                    usage_date=usage_date,
                    origin=self._charges.write(usage_date, of_day),
                    totals=totals_by_currency(of_day),
                    charge_count=len(of_day),
                    row_count=sum(c.row_count for c in of_day),
                    is_final=bool(of_day) and all(c.is_final for c in of_day),
                )
            )
        return tuple(days)

    def _pin(self, key: str) -> PinnedFile:
        head = self._call(lambda: self._client.head_object(Bucket=self._bucket, Key=key), key)
        return PinnedFile(key, head["ETag"].strip('"'), head["ContentLength"], head.get("VersionId", ""))

    def _fetch(self, pinned: PinnedFile, manifest: Manifest, stem: Path) -> Path:
        path = stem.with_suffix(".csv.gz" if pinned.key.endswith(".csv.gz") else ".parquet")
        answer = self._call(
            lambda: self._client.get_object(Bucket=manifest.bucket, Key=pinned.key, IfMatch=pinned.etag), pinned.key
        )
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(1024 * 1024):
                file.write(chunk)
        if path.stat().st_size != pinned.size:
            raise DeliveryIncomplete(f"{pinned.key}: read {path.stat().st_size} of {pinned.size} bytes; trying again later")
        return path

    def _require_unchanged(self, manifest: Manifest) -> None:
        """A refresh that began while the files were read would mix two generations."""
        head = self._call(lambda: self._client.head_object(Bucket=manifest.bucket, Key=manifest.key), manifest.key)
        if head["ETag"].strip('"') != manifest.etag:
            raise DeliveryIncomplete(f"{manifest.key}: a newer delivery arrived while this one was read; trying again")

    def _call(self, call: Callable[[], Any], key: str) -> Any:
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "404", "412", "PreconditionFailed"):
                raise DeliveryIncomplete(f"{key}: missing, or replaced while the delivery was read; trying again") from error
            raise


def _charge(row: dict[str, Any]) -> OriginCharge:
    decoded = decode_usage_type(row["usage_type"], row["product_name"])
    if row["line_item_type"] == "Usage":
        feature = decoded.feature
    else:
        feature = row["line_item_type"]
    quantity = row["quantity"]
    return OriginCharge(
        usage_date=row["usage_date"],
        account_id=row["account_id"],
        region=region_of(row["region"], row["usage_type"], row["description"]),
        line_item_type=row["line_item_type"],
        billing_entity=row["billing_entity"],
        product_code=row["product_code"],
        usage_type=row["usage_type"],
        operation=row["operation"],
        feature=feature,
        meter=decoded.meter,
        iam_principal=row["iam_principal"],
        resource_id=row["resource_id"],
        tags=_tags(row["tags"]),
        currency=row["currency"],
        pricing_unit=row["pricing_unit"],
        quantity=quantity,
        units=tokens_of(quantity, decoded, row["pricing_unit"], row["description"]),
        costs=Costs(**{name: row[name] for name in COST_METRICS}),
        row_count=row["row_count"],
        is_final=row["is_final"],
    )


def _tags(text: str) -> tuple[tuple[str, str], ...]:
    """The tag map of a row. A cell that is not a JSON object has no tags to offer; its row keeps its money."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return ()
    if not isinstance(found, dict):
        return ()
    # JSON may hold half of a surrogate pair, which no encoding can.
    return pairs({_encodable(k): _encodable(v) for k, v in found.items() if isinstance(v, str) and v})


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def merge(charges: Iterable[OriginCharge]) -> list[OriginCharge]:
    """Charges that differ in nothing but how the report wrote them become one."""
    merged: dict[str, OriginCharge] = {}
    for charge in charges:
        name = charge.digest()
        known = merged.get(name)
        merged[name] = charge if known is None else _add(known, charge)
    return [merged[name] for name in sorted(merged)]


def _add(left: OriginCharge, right: OriginCharge) -> OriginCharge:
    return replace(
        left,
        quantity=add(left.quantity, right.quantity),
        units=add(left.units, right.units) if left.units is not None and right.units is not None else None,
        costs=left.costs + right.costs,
        row_count=left.row_count + right.row_count,
        is_final=left.is_final and right.is_final,
    )


def _unclassified(charges: Iterable[OriginCharge]) -> dict[str, dict[str, Costs]]:
    """The cost of usage types that nothing decodes, by currency."""
    by_type: dict[str, list[OriginCharge]] = defaultdict(list)
    for charge in charges:
        if charge.feature == UNCLASSIFIED:
            by_type[charge.usage_type].append(charge)
    return {usage_type: totals_by_currency(of_type) for usage_type, of_type in sorted(by_type.items())}
