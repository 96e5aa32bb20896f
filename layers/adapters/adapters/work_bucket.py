"""The work bucket: origin charges of a day under their content hash, and quarantine notices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from adapters.codec import compress, decompress_lines, lines, origin_from_json, origin_to_json
from attribution.canonical import canonical_json, content_hash
from attribution.charges import OriginCharge
from attribution.errors import InputRejected

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3OriginCharges:
    """`OriginCharges` in S3: immutable, so that a repeat writes the same object."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def write(self, usage_date: date, charges: Sequence[OriginCharge]) -> str:
        """Keep a day's origin charges; returns their content hash, which does not depend on their order."""
        body = lines(origin_to_json(charge) for charge in sorted(charges, key=lambda c: c.digest()))
        origin = hashlib.sha256(body).hexdigest()[:32]
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
