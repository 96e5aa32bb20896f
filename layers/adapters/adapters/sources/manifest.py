"""Manifests of cost reports: which objects are one, and what they say, for Data Exports (CUR 2.0, FOCUS) and legacy CUR."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.sources.focus_layout import KNOWN as FOCUS_COLUMNS
from adapters.validation import wrong_fields
from attribution.deliveries import ReportKind
from attribution.errors import InputRejected
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject

# The manifest of a period itself, not the copy that AWS keeps with each execution.
_DATA_EXPORT = re.compile(
    r"(?:^|/)(?P<export>[^/]+)/metadata/billing_period=(?P<period>20\d{2}-(?:0[1-9]|1[0-2]))/(?:(?P=export)-)?Manifest\.json$",
    re.IGNORECASE,
)
_LEGACY = re.compile(
    r"(?:^|/)(?P<export>[^/]+)/(?P<year>20\d{2})(?P<month>0[1-9]|1[0-2])\d{2}-20\d{6}/(?P=export)-Manifest\.json$"
)
# Legacy reports for Athena lie in partitions as Hive names them.
_LEGACY_ATHENA = re.compile(
    r"(?:^|/)(?P<export>[^/]+)/year=(?P<year>20\d{2})/month=(?P<month>0?[1-9]|1[0-2])/(?P=export)-Manifest\.json$"
)
_COPY = re.compile(
    r"/metadata/billing_period=[^/]+/[^/]+/[^/]*Manifest\.json$|/20\d{6}-20\d{6}/[^/]+/[^/]*-Manifest\.json$", re.I
)
_PERIOD_OF_DATA = re.compile(r"(?:^|/)billing_period=(?P<period>20\d{2}-\d{2})/", re.IGNORECASE)
_PERIOD_OF_LEGACY_DATA = re.compile(
    r"/(?P<year>20\d{2})(?P<month>\d{2})\d{2}-20\d{6}/|/year=(?P<hive_year>20\d{2})/month=(?P<hive_month>\d{1,2})/"
)
# A manifest names a file in some 300 bytes; a delivery has thousands of files at most.
MAX_BYTES = 16 * 1024 * 1024
MAX_FILES = 2_000
_LONGEST_KEY = 1024
FORMATS = (".parquet", ".csv.gz", ".zip", ".csv")


@dataclass(frozen=True, slots=True)
class Named:
    """What a manifest's key says."""

    export: str
    period: BillingPeriod
    is_legacy: bool


def named(key: str) -> Named | None:
    """The export and the period whose manifest a key is; None for every other object."""
    found = _DATA_EXPORT.search(key)
    if found:
        return Named(found["export"], BillingPeriod.parse(found["period"]), is_legacy=False)
    legacy = _LEGACY.search(key) or _LEGACY_ATHENA.search(key)
    if legacy:
        return Named(legacy["export"], BillingPeriod(int(legacy["year"]), int(legacy["month"])), is_legacy=True)
    return None


def manifest_key_ignored(key: str) -> str:
    """Why an object is not a manifest to ingest; empty for one that is."""
    if named(key):
        return ""
    if _COPY.search(key):
        return "the copy that AWS keeps with each execution; the period's own manifest names the same files"
    return "not the manifest of a cost report"


class _Column(BaseModel):
    name: str


class _DataExport(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    executionId: str = Field(min_length=1, max_length=200)
    columns: tuple[_Column, ...] = ()
    dataFiles: tuple[str, ...]


class _BillingPeriod(BaseModel):
    start: str = Field(pattern=r"^20\d{2}(?:0[1-9]|1[0-2])\d{2}T")


class _Legacy(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    assemblyId: str = Field(min_length=1, max_length=200)
    billingPeriod: _BillingPeriod
    reportKeys: tuple[str, ...]
    bucket: str = ""
    charset: str = "UTF-8"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a manifest says, whichever of AWS's forms it has. Data files are keys of the manifest's own bucket."""

    kind: ReportKind
    execution_id: str
    data_files: tuple[str, ...]


def parse(body: bytes, source: StoredObject, prefix: str, about: Named) -> Contents:
    """Read a manifest. Raises `InputRejected` for one that is broken, or that leads outside of the configured place."""
    document = _document(body, source)
    if about.is_legacy:
        contents = _legacy(document, source, about)
    else:
        contents = _data_export(document, source)
    _require_usable(contents.data_files, source, prefix, about)
    return contents


def _document(body: bytes, source: StoredObject) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_no_constant)
    except RecursionError:
        raise InputRejected(str(source), "not a manifest: its JSON is nested too deeply") from None
    except _Ambiguous as error:
        raise InputRejected(str(source), f"not a manifest: the key {error} is there twice") from None
    except ValueError as error:
        # The decoder's own message is a position; it never quotes the text.
        raise InputRejected(
            str(source), f"not a manifest: {'not UTF-8' if isinstance(error, UnicodeError) else error}"
        ) from None


class _Ambiguous(ValueError):
    """An object with two values for one key."""


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Ambiguous(next(name for name in names if names.count(name) > 1)[:100])
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _data_export(document: Any, source: StoredObject) -> Contents:
    try:
        found = _DataExport.model_validate(document)
    except ValidationError as error:
        raise InputRejected(str(source), f"not a Data Exports manifest: {wrong_fields(error, 'document')}") from None
    start = f"s3://{source.bucket}/"
    outside = [uri for uri in found.dataFiles if not uri.startswith(start)]
    if outside:
        raise InputRejected(str(source), f"lists a data file outside of {start}: nothing is read from there")
    names = {column.name for column in found.columns}
    is_focus = bool(names & FOCUS_COLUMNS - {"billing_period"}) and not any(name.startswith("line_item_") for name in names)
    return Contents(
        ReportKind.FOCUS if is_focus else ReportKind.CUR_2_0,
        found.executionId,
        tuple(uri.removeprefix(start) for uri in found.dataFiles),
    )


def _legacy(document: Any, source: StoredObject, about: Named) -> Contents:
    try:
        found = _Legacy.model_validate(document)
    except ValidationError as error:
        raise InputRejected(str(source), f"not a manifest of a legacy report: {wrong_fields(error, 'document')}") from None
    if found.bucket and found.bucket != source.bucket:
        raise InputRejected(
            str(source), f"lists data files of another bucket than s3://{source.bucket}: nothing is read from there"
        )
    if found.charset.upper().replace("-", "") != "UTF8":
        raise InputRejected(str(source), "its charset is not UTF-8: AWS delivers no other")
    stated = BillingPeriod(int(found.billingPeriod.start[:4]), int(found.billingPeriod.start[4:6]))
    if stated != about.period:
        raise InputRejected(str(source), f"is of {stated} and lies in the folder of {about.period}")
    return Contents(ReportKind.LEGACY_CUR, found.assemblyId, found.reportKeys)


def _require_usable(data_files: Sequence[str], source: StoredObject, prefix: str, about: Named) -> None:
    def reject(reason: str) -> InputRejected:
        return InputRejected(str(source), reason)

    if not data_files:
        raise reject("lists no data file: a delivery without data would empty its month")
    if len(data_files) > MAX_FILES:
        raise reject(f"lists {len(data_files)} data files; no more than {MAX_FILES} are read")
    if len(set(data_files)) != len(data_files):
        raise reject("lists a data file twice, which would count it twice")
    for key in data_files:
        if not _is_key(key):
            raise reject("lists a data file under a name that S3 does not allow")
        if not key.startswith(prefix):
            raise reject(f"lists a data file outside of s3://{source.bucket}/{prefix}: nothing is read from there")
        if not key.lower().endswith(FORMATS):
            raise reject(f"lists a data file that is none of {', '.join(FORMATS)}")
        stated = _period_of(key)
        if stated is not None and stated != about.period:
            raise reject(f"lists a data file of {stated} in the delivery of {about.period}")


def _is_key(key: str) -> bool:
    try:
        return 0 < len(key.encode()) <= _LONGEST_KEY
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON may hold and no encoding can.
        return False


def _period_of(key: str) -> BillingPeriod | None:
    """The period that a data file's key names, as its manifest's does."""
    found = _PERIOD_OF_DATA.search(key)
    year, _, month = found["period"].partition("-") if found else ("", "", "")
    legacy = _PERIOD_OF_LEGACY_DATA.search(key)
    if not found and legacy:
        year, month = legacy["year"] or legacy["hive_year"], legacy["month"] or legacy["hive_month"]
    if not year or not 1 <= int(month) <= 12:
        return None
    return BillingPeriod(int(year), int(month))
