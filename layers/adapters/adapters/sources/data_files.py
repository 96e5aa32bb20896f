"""Data files of a delivery: each fetched as it was when it was pinned, whole or only the columns that are needed, and expanded.

A file that is missing or was replaced in the meantime makes the delivery incomplete. Compressed text is expanded as it is read,
in bounded memory, and refused by name where it is cut short, encrypted, or a decompression bomb.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from attribution.deliveries import PinnedFile
from attribution.errors import DeliveryIncomplete

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1024 * 1024
_PARQUET = b"PAR1"
# Most footers fit; a longer one takes a second request.
_FOOTER_GUESS = 256 * 1024
# Below this, one request for the whole file is faster than several for its parts.
_WHOLE_BELOW = 4 * 1024 * 1024
# Two chunks with a smaller gap are fetched at once. On files of 164 MB: 51 requests and 48 % of the bytes; with four times
# the gap 18 requests and 52 %.
_GAP = 128 * 1024
_LARGEST_RANGE = 16 * 1024 * 1024
_REQUESTS_AT_ONCE = 8
# Reports compress to a tenth or a thirtieth; nothing that AWS writes comes near this.
_BOMB_RATIO = 200


class Unreadable(ValueError):
    """A data file cannot be expanded; the message says why, and nothing of its content."""


class DataFiles:
    """The data files of a bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def pin(self, key: str, manifest_written_at: datetime) -> PinnedFile:
        """A file as it is now. One that is missing, or newer than the manifest that AWS writes last, is of another delivery."""
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise DeliveryIncomplete(f"{key}: the manifest lists this file, and it does not exist") from error
            raise
        if head["LastModified"] > manifest_written_at:
            raise DeliveryIncomplete(
                f"{key}: written after the manifest, so it is of the next refresh, whose manifest is still to come; "
                f"if you copied the files here yourself, copy the manifest last",
                since=head["LastModified"],
            )
        return PinnedFile(key, head["ETag"].strip('"'), head["ContentLength"], head.get("VersionId", ""))

    def fetch(self, file: PinnedFile, path: Path) -> None:
        """The whole file."""
        body = self._get(file)["Body"]
        with path.open("wb") as target:
            for chunk in body.iter_chunks(_CHUNK):
                target.write(chunk)
        self._require_size(file, path.stat().st_size, file.size)

    def fetch_parquet(self, file: PinnedFile, path: Path, chunks_of: Callable[[Path], Sequence[tuple[int, int]]]) -> None:
        """A Parquet file as a sparse copy: its footer, and those chunks that `chunks_of` names once the footer is there."""
        if file.size <= _WHOLE_BELOW:
            self.fetch(file, path)
            return
        with path.open("w+b") as target:
            target.truncate(file.size)
            target.write(_PARQUET)
            tail = min(_FOOTER_GUESS, file.size)
            self._fetch_range(file, target, file.size - tail, tail)
            target.seek(file.size - 8)
            length = int.from_bytes(target.read(4), "little")
            if tail < length + 8 <= file.size:
                self._fetch_range(file, target, file.size - length - 8, length + 8 - tail)
            target.flush()
            ranges = _ranges(chunks_of(path), file.size)
            with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
                for _ in pool.map(lambda part: self._fetch_range(file, target, *part), ranges):
                    pass

    def _fetch_range(self, file: PinnedFile, target: BinaryIO, offset: int, length: int) -> None:
        body = self._get(file, Range=f"bytes={offset}-{offset + length - 1}")["Body"]
        position = offset
        for chunk in body.iter_chunks(_CHUNK):
            # One descriptor serves all threads, each at its own position.
            position += os.pwrite(target.fileno(), chunk, position)
        self._require_size(file, position - offset, length)

    def _get(self, file: PinnedFile, **more: str) -> Any:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=file.key, IfMatch=file.etag, **more)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404", "412", "PreconditionFailed"):
                raise DeliveryIncomplete(f"{file.key}: replaced while the delivery was read; trying again") from error
            raise

    @staticmethod
    def _require_size(file: PinnedFile, read: int, expected: int) -> None:
        if read != expected:
            raise DeliveryIncomplete(f"{file.key}: read {read} of {expected} bytes; trying again later")


def _ranges(chunks: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Chunks with their small gaps closed, cut into requests of a size that several threads share well."""
    merged: list[list[int]] = []
    for offset, length in sorted(chunks):
        if offset < 0 or length < 0 or offset + length > size:
            raise Unreadable("its footer names data outside of the file")
        if merged and offset - merged[-1][1] <= _GAP:
            merged[-1][1] = max(merged[-1][1], offset + length)
        else:
            merged.append([offset, offset + length])
    return [(start, min(_LARGEST_RANGE, end - start)) for first, end in merged for start in range(first, end, _LARGEST_RANGE)]


class Expanded:
    """A compressed CSV file, expanded as often as it is asked for and never kept in memory or on disk."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._expand = _unzip if name.lower().endswith(".zip") else _gunzip if name.lower().endswith(".gz") else _plain

    def first_line(self) -> str:
        """The header line; empty for a file without content."""
        found = bytearray()
        for part in self._expand(self._path):
            found += part
            end = found.find(b"\n")
            if end >= 0:
                del found[end:]
                if not found.strip():
                    raise Unreadable("its first line is empty, where its columns should be named")
                break
            if len(found) > _CHUNK:
                raise Unreadable("its first line is longer than a header can be")
        try:
            return found.decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError as error:
            raise Unreadable("its header is not UTF-8") from error

    @contextmanager
    def pipe(self) -> Iterator[Path]:
        """A named pipe that gives the expanded content once. Raises at the end where the content was not given whole."""
        path = self._path.with_name(self._path.name + ".pipe")
        os.mkfifo(path)
        failure: list[Exception] = []
        is_open = threading.Event()

        def feed() -> None:
            try:
                # Waits for a reader.
                with path.open("wb", buffering=0) as pipe:
                    is_open.set()
                    for part in self._expand(self._path):
                        pipe.write(part)
            except BrokenPipeError:
                # The reader has given up, and says why itself.
                return
            except Exception as error:
                # To the reader every end looks like the end of the file.
                failure.append(error)

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            yield path
        finally:
            # A reader that never came leaves the feeder waiting for one; when this one goes, writing ends.
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            is_open.wait()
            os.close(reader)
            feeder.join()
            path.unlink()
            if failure:
                raise failure[0]


def _bounded(parts: Iterator[tuple[bytes, int]]) -> Iterator[bytes]:
    """Expanded parts, with how many bytes were read for all of them so far; refused where they outgrow what was read."""
    expanded = 0
    for part, read in parts:
        expanded += len(part)
        if expanded > _BOMB_RATIO * read + _CHUNK:
            raise Unreadable(f"expands to more than {_BOMB_RATIO} times its size: refused as a decompression bomb")
        yield part


def _gunzip(path: Path) -> Iterator[bytes]:
    return _bounded(_gzip_parts(path))


def _gzip_parts(path: Path) -> Iterator[tuple[bytes, int]]:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    read = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            read += len(chunk)
            while chunk:
                if decoder.eof:
                    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                try:
                    part = decoder.decompress(chunk, _CHUNK)
                except zlib.error as error:
                    raise Unreadable("is not readable as gzip") from error
                yield part, read
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if read and not decoder.eof:
        raise Unreadable("its gzip content is cut short: deliver it again")


def _unzip(path: Path) -> Iterator[bytes]:
    return _bounded(_zip_parts(path))


def _zip_parts(path: Path) -> Iterator[tuple[bytes, int]]:
    """The one CSV file of an archive; its name is never used as a path."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1 or not members[0].filename.lower().endswith(".csv"):
                raise Unreadable(f"is an archive of {len(members)} files, and a report's holds one CSV file")
            if members[0].flag_bits & 1:
                raise Unreadable("is an encrypted archive: AWS delivers none")
            if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unreadable("is compressed in a way that AWS uses for no report")
            with archive.open(members[0]) as content:
                while part := content.read(_CHUNK):
                    # What was read lies in the archive's middle; its whole size is the bound.
                    yield part, members[0].compress_size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise Unreadable("is not readable as zip") from error


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part
