"""Customer objects in S3: read only from the configured bucket and prefix, and expanded within a size limit."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from attribution.errors import InputRejected
from attribution.ports import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A log object is a batch of a few minutes; this is far above any real one and far below a function's memory.
MAX_EXPANDED_BYTES = 256 * 1024 * 1024
_GONE = ("NoSuchKey", "404", "NoSuchVersion")


def read_whole(client: S3Client, source: StoredObject) -> bytes:
    """The bytes of one object. An object that does not exist any more is rejected: nothing can be read from it."""
    try:
        return client.get_object(Bucket=source.bucket, Key=source.key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise InputRejected(str(source), "the object does not exist any more: put it back and replay it") from error
        raise


def expand(body: bytes, source: StoredObject, limit: int = MAX_EXPANDED_BYTES) -> bytes:
    """Gzip content (of one or several members), or the content itself where it is not gzip."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    parts: list[bytes] = []
    expanded = 0
    while body:
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            part = decoder.decompress(body, limit - expanded + 1)
        except zlib.error as error:
            raise InputRejected(str(source), f"not readable as gzip: {error}") from error
        expanded += len(part)
        if expanded > limit:
            raise InputRejected(str(source), f"expands to more than {limit} bytes: refused as a decompression bomb")
        if not decoder.eof:
            raise InputRejected(str(source), "the gzip content is cut short: deliver the object again")
        parts.append(part)
        body = decoder.unused_data
    return b"".join(parts)


def require_within(source: StoredObject, bucket: str, prefix: str) -> None:
    """Names in events are not trusted: only objects of the configured bucket and prefix are read."""
    if source.bucket != bucket or not source.key.startswith(prefix):
        raise InputRejected(str(source), f"outside of s3://{bucket}/{prefix}: nothing is read from there")
