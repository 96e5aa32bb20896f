"""One refresh of a report as S3 receives it, and where AWS Data Exports puts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from truth.bill import DeliveryTruth
from truth.company import Month, Refresh
from truth.data_files import Columns, Row, chunks
from truth.objects import StoredObject, iso_milliseconds, uuid_of
from truth.organisation import PAYER

Mode = Literal["overwrite", "create_new"]
Format = Literal["parquet", "csv"]

_EXTENSION: Mapping[Format, str] = {"parquet": "snappy.parquet", "csv": "csv.gz"}
_MANIFEST_TYPE: Mapping[str, str] = {"map_of_doubles": "map"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One refresh as S3 receives it: objects in order, the manifest last."""

    execution_id: str
    delivered_at: datetime
    objects: list[StoredObject]
    manifest_key: str
    truth: DeliveryTruth


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The rows of one refresh, their columns, and how one data file of them is written."""

    columns: Columns
    rows: Sequence[Row]
    write: Callable[[Columns, Sequence[Row]], bytes]
    truth: DeliveryTruth


@dataclass(frozen=True, slots=True, kw_only=True)
class DataExport:
    """An export of AWS Data Exports: CUR 2.0 or FOCUS."""

    month: Month
    bucket: str
    prefix: str
    name: str
    mode: Mode
    format: Format
    partition: str
    """The key of the period's folder; AWS writes it in upper case for CUR 2.0 and in lower case for FOCUS."""

    def deliveries(self, refreshed: Callable[[Refresh], Refreshed], *, restated: bool) -> list[Delivery]:
        """The month's refreshes, oldest first; `restated` adds the one a month after close."""
        written: list[Delivery] = []
        left_over: list[str] = []
        for refresh in refreshes_of(self.month, restated=restated):
            content = refreshed(refresh)
            data_keys = self._data_keys(refresh)
            written.append(self._deliver(refresh, content, data_keys, [key for key in left_over if key not in data_keys]))
            if self.mode == "overwrite":
                left_over = sorted({*left_over, *data_keys})
        return written

    def _deliver(self, refresh: Refresh, content: Refreshed, data_keys: list[str], left_over: list[str]) -> Delivery:
        objects = [
            StoredObject(key, content.write(content.columns, rows))
            for key, rows in zip(data_keys, chunks(content.rows, len(data_keys)), strict=True)
        ]
        # A refresh that needs fewer files than the last one blanks the files that are left over.
        empty = content.write(content.columns, []) if self.format == "csv" else b""
        objects += [StoredObject(key, empty) for key in left_over]
        manifest = self._manifest(refresh, content.columns, data_keys)
        metadata = f"{self._root}/metadata/{self._partition}/"
        manifest_key = f"{metadata}{self.name}-Manifest.json"
        if self.mode == "create_new":
            objects.append(StoredObject(f"{metadata}{self._version(refresh)}{self.name}-Manifest.json", manifest))
        objects.append(StoredObject(manifest_key, manifest))
        return Delivery(self._execution_id(refresh), refresh.delivered_at, objects, manifest_key, content.truth)

    @property
    def _root(self) -> str:
        return f"{self.prefix}/{self.name}" if self.prefix else self.name

    @property
    def _partition(self) -> str:
        return f"{self.partition}={self.month.month}"

    def _execution_id(self, refresh: Refresh) -> str:
        return uuid_of(self.month.seed, self.month.month, self.name, "execution", refresh.number)

    def _version(self, refresh: Refresh) -> str:
        return f"{iso_milliseconds(refresh.delivered_at)}-{self._execution_id(refresh)}/" if self.mode == "create_new" else ""

    def _data_keys(self, refresh: Refresh) -> list[str]:
        folder = f"{self._root}/data/{self._partition}/{self._version(refresh)}"
        return [f"{folder}{self.name}-{chunk:05d}.{_EXTENSION[self.format]}" for chunk in range(1, refresh.chunks + 1)]

    def _manifest(self, refresh: Refresh, columns: Columns, data_keys: list[str]) -> bytes:
        export_id = f"{self.name}-{uuid_of(self.month.seed, self.name)}"
        manifest = {
            "executionId": self._execution_id(refresh),
            "exportArn": f"arn:aws:bcm-data-exports:us-east-1:{PAYER.account_id}:export/{export_id}",
            "columns": [{"name": name, "type": _MANIFEST_TYPE.get(kind, kind)} for name, kind in columns.items()],
            "dataFiles": [f"s3://{self.bucket}/{key}" for key in data_keys],
            "additionalOutputFiles": [],
        }
        return json.dumps(manifest).encode()


def refreshes_of(month: Month, *, restated: bool) -> tuple[Refresh, ...]:
    """The month's refreshes, oldest first, with or without the one a month after close."""
    return month.refreshes if restated else month.refreshes[:-1]
