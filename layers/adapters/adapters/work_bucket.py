"""The work bucket: origin charges of a day under their content hash, readings of data files, and quarantine notices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from adapters.codec import compress, decompress_lines, lines, origin_from_json, origin_to_json
from attribution.canonical import canonical_json, content_hash
from attribution.charges import OriginCharge
from attribution.errors import InputRejected

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("NoSuchKey", "404")


class S3OriginCharges:
    """`OriginCharges` in S3: immutable, so that a repeat writes the same object."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def write(self, usage_date: date, charges: Sequence[OriginCharge], stored: Container[str] = ()) -> str:
        """Keep a day's origin charges, if their hash is not among those `stored` before; returns it, whatever their order."""
        body = b"".join(sorted(lines([origin_to_json(charge)]) for charge in charges))
        origin = hashlib.sha256(body).hexdigest()[:32]
        if origin not in stored:
            self._client.put_object(
                Bucket=self._bucket, Key=_key(usage_date, origin), Body=compress(body), ContentType="application/x-ndjson"
            )
        return origin

    def read(self, usage_date: date, origin: str) -> Sequence[OriginCharge]:
        """A day's origin charges."""
        body = self._client.get_object(Bucket=self._bucket, Key=_key(usage_date, origin))["Body"].read()
        return [origin_from_json(stored) for stored in decompress_lines(body)]


def _key(usage_date: date, origin: str) -> str:
    return f"origin-charges/{usage_date.isoformat()}/{origin}.ndjson.gz"


class S3Readings:
    """`Readings` in S3: what single data files of a large delivery said, until the delivery is put together."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def has(self, name: str) -> bool:
        """Whether a reading is kept."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=_reading(name))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise
        return True

    def put(self, name: str, path: Path) -> None:
        """Keep a reading; the same again is the same object."""
        with path.open("rb") as body:
            self._client.put_object(Bucket=self._bucket, Key=_reading(name), Body=body, ContentType="application/octet-stream")

    def get(self, name: str, path: Path) -> bool:
        """Fetch a reading; false where none is kept."""
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=_reading(name))["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise
        with path.open("wb") as target:
            for chunk in body.iter_chunks(1024 * 1024):
                target.write(chunk)
        return True


def _reading(name: str) -> str:
    return f"readings/{name}.parquet"


class S3Quarantine:
    """`Quarantine` in S3: one small notice per rejected input, under a name made of what it is about."""

    def __init__(self, client: S3Client, bucket: str, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock

    def put(self, rejected: InputRejected) -> None:
        """Keep source, line and reason; the content itself stays where it was delivered."""
        notice = {"source": rejected.source, "line": rejected.line, "reason": rejected.reason}
        name = content_hash(notice)[:32]
        body = canonical_json(notice | {"rejected_at": self._clock()})
        self._client.put_object(
            Bucket=self._bucket, Key=f"quarantine/{name}.json", Body=body.encode(), ContentType="application/json"
        )
