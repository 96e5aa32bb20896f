"""Customer objects in S3: read only from the configured bucket and prefix, and expanded within a size limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

# zlib's interface at twice its speed: most of the time that records with long bodies take goes into expanding them.
from isal import isal_zlib

from attribution.errors import InputRejected
from attribution.ports import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A log object is a batch of a few minutes; these are far above any real one. Whatever is held whole must also stay far below a
# function's memory.
MAX_OBJECT_BYTES = 256 * 1024 * 1024
MAX_EXPANDED_BYTES = 256 * 1024 * 1024
MAX_STREAMED_BYTES = 4 * 1024 * 1024 * 1024
# Content up to this size is kept from the expansion that proves it whole.
_KEPT_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_GZIP = isal_zlib.MAX_WBITS | 16
_GONE = ("NoSuchKey", "404", "NoSuchVersion")


def read_whole(client: S3Client, source: StoredObject) -> bytes:
    """The bytes of one object. An object that does not exist any more is rejected: nothing can be read from it."""
    try:
        answer = client.get_object(Bucket=source.bucket, Key=source.key)
        if answer["ContentLength"] > MAX_OBJECT_BYTES:
            raise InputRejected(str(source), f"larger than {MAX_OBJECT_BYTES} bytes: deliver it in smaller objects")
        return answer["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise InputRejected(str(source), "the object does not exist any more: put it back and replay it") from error
        raise


def expand(body: bytes, source: StoredObject | str, limit: int = MAX_EXPANDED_BYTES) -> bytes:
    """Gzip content (of one or several members), or the content itself where it is not gzip."""
    return b"".join(_within(_inflated(body, source), source, limit))


def expand_in_pieces(body: bytes, source: StoredObject, limit: int = MAX_STREAMED_BYTES) -> Iterable[bytes]:
    """What `expand` gives, in pieces and in little memory. It is proven whole before the first piece is handed out.

    Large content is expanded twice for that: a record of damaged content must not be recorded before the damage shows.
    """
    kept: list[bytes] = []
    size = 0
    for piece in _within(_inflated(body, source), source, limit):
        size += len(piece)
        if size <= _KEPT_BYTES:
            kept.append(piece)
    return kept if size <= _KEPT_BYTES else _inflated(body, source)


def _inflated(body: bytes, source: StoredObject | str) -> Iterator[bytes]:
    if not body.startswith(b"\x1f\x8b"):
        yield body
        return
    decoder = isal_zlib.decompressobj(wbits=_GZIP)
    # In slices, because what a decoder has not consumed is copied each time.
    for start in range(0, len(body), _PIECE_BYTES):
        waiting = body[start : start + _PIECE_BYTES]
        while waiting:
            if decoder.eof:
                decoder = isal_zlib.decompressobj(wbits=_GZIP)
            try:
                yield decoder.decompress(waiting, _PIECE_BYTES)
            except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance of the class
                raise InputRejected(str(source), f"not readable as gzip: {error}") from error
            waiting = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if not decoder.eof:
        raise InputRejected(str(source), "the gzip content is cut short: deliver the object again")


def _within(pieces: Iterable[bytes], source: StoredObject | str, limit: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise InputRejected(str(source), f"expands to more than {limit} bytes: refused as a decompression bomb")
        yield piece


def require_within(source: StoredObject, bucket: str, prefix: str) -> None:
    """Names in events are not trusted: only objects of the configured bucket and prefix are read."""
    if source.bucket != bucket or not source.key.startswith(prefix):
        raise InputRejected(str(source), f"outside of s3://{bucket}/{prefix}: nothing is read from there")
