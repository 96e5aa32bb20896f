"""Stored objects and the deterministic parts they are made of.

Every identifier and every random draw is derived from the arguments of the month, never from a clock or the process,
so that equal arguments give equal bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CANARY = "CANARY-"
"""Marks text that no consumer may keep: prompt and completion text, STS session tokens."""

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One S3 object: its key inside the bucket and its bytes."""

    key: str
    body: bytes


def random_of(*parts: object) -> random.Random:
    """A random source that depends on `parts` alone."""
    return random.Random("|".join(map(str, parts)))  # noqa: S311 - reproducible data, no secrets


def hex_of(*parts: object, digits: int = 16) -> str:
    """`digits` hexadecimal digits that depend on `parts` alone."""
    return hashlib.shake_256("|".join(map(str, parts)).encode()).hexdigest((digits + 1) // 2)[:digits]


def uuid_of(*parts: object) -> str:
    """A version-4-shaped UUID that depends on `parts` alone."""
    return str(uuid.UUID(hex=hex_of(*parts, digits=32), version=4))


def key_id_of(prefix: str, *parts: object) -> str:
    """An IAM unique id or access key id: a four-letter prefix and sixteen base-32 characters."""
    digest = hashlib.shake_256("|".join(map(str, parts)).encode()).digest(16)
    return prefix + "".join(_BASE32[byte & 31] for byte in digest)


def canary_of(*parts: object) -> str:
    """A canary string that depends on `parts` alone."""
    return CANARY + hex_of("canary", *parts)


def compact_json(value: Any) -> bytes:
    """JSON without white space, keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def compress(data: bytes) -> bytes:
    """Gzip without a time stamp or file name."""
    buffer = io.BytesIO()
    # GzipFile writes the same header in every Python version; gzip.compress does not.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def iso_seconds(time: datetime) -> str:
    """`2026-10-01T02:03:04Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"


def iso_milliseconds(time: datetime) -> str:
    """`2026-10-01T02:03:04.567Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
