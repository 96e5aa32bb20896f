"""Deliveries read by the product, over a local S3 in a process of its own: files as large as these do not fit into moto."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import boto3

from adapters.sources.cost_report import S3CostReports
from adapters.work_bucket import S3OriginCharges, S3Readings
from attribution.deliveries import IngestedReport
from attribution.money import ZERO, add
from attribution.ports import StoredObject
from bench.rows import BUCKET, EXPORT, MANIFEST_KEY, PERIOD, manifest
from bench.s3_server import WORK_BUCKET, serving
from tests.oracle.bill import METRICS, Key

_PREFIX = f"exports/{EXPORT}/"


@dataclass(frozen=True, slots=True)
class DataFile:
    """The content of a data file under the extension that says what it is."""

    extension: str
    write: Callable[[Path], Any]


class Reader:
    """Puts deliveries into the bucket, ingests them, and reads the origin charges back."""

    def __init__(self, bucket: Path, client: Any) -> None:
        self._bucket = bucket
        self._charges = S3OriginCharges(client, WORK_BUCKET)
        self._reports = S3CostReports(
            client, BUCKET, _PREFIX, self._charges, S3Readings(client, WORK_BUCKET), memory_megabytes=512
        )
        self._executions = count(1)

    def ingest(self, files: Sequence[DataFile], *, apart: bool = False) -> IngestedReport:
        """One delivery of these files; `apart` has each file read by a function of its own first."""
        execution = f"execution-{next(self._executions)}"
        keys = []
        for number, file in enumerate(files, start=1):
            keys.append(f"{_PREFIX}data/BILLING_PERIOD={PERIOD}/{execution}/{EXPORT}-{number:05d}.{file.extension}")
            path = self._bucket / keys[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            file.write(path)
        announced = self._bucket / MANIFEST_KEY
        announced.parent.mkdir(parents=True, exist_ok=True)
        announced.write_bytes(manifest(keys, execution))
        delivery = self._reports.manifest(StoredObject(BUCKET, MANIFEST_KEY))
        pinned = self._reports.pin(delivery)
        for file_ in pinned if apart else ():
            self._reports.read_file(delivery.kind, delivery.period, file_)
        return self._reports.ingest(delivery, pinned, frozenset())

    def sums(self, report: IngestedReport) -> dict[Key, tuple[Decimal, ...]]:
        """The stored origin charges of a delivery by usage day, account, usage type and principal."""
        found: dict[Key, tuple[Decimal, ...]] = defaultdict(lambda: (ZERO,) * len(METRICS))
        for day in report.days:
            for charge in self._charges.read(day.usage_date, day.origin):
                key = (charge.usage_date.isoformat(), charge.account_id, charge.usage_type, charge.iam_principal)
                costs = (getattr(charge.costs, name) for name in METRICS)
                found[key] = tuple(add(known, cost) for known, cost in zip(found[key], costs, strict=True))
        return dict(found)


@contextmanager
def reading(directory: Path) -> Iterator[Reader]:
    """A reader of an S3 below a directory."""
    buckets = {BUCKET: directory / BUCKET, WORK_BUCKET: directory / WORK_BUCKET}
    for bucket in buckets.values():
        bucket.mkdir()
    with serving(buckets) as s3:
        client = boto3.client("s3", endpoint_url=s3.endpoint)
        yield Reader(buckets[BUCKET], client)
        client.close()
