"""One byte-exact way to write a value, so that equal facts have equal hashes whoever wrote them and in whatever order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal


def number_text(value: Decimal) -> str:
    """A Decimal in plain notation without trailing zeros: `0.0000008`, `12`, `-0.05`; zero is `0` whatever its sign."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return number_text(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no canonical form")


# Facts are trees: nothing looks for circles.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain, check_circular=False)


def canonical_json(value: object) -> str:
    """Compact JSON with sorted keys; Decimals and dates as text, everything else as JSON has it."""
    return _ENCODER.encode(value)


def content_hash(value: object) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_of_list(items: Sequence[str]) -> str:
    """The content hash of a list whose items are canonical JSON already, without all of its text at once."""
    digest = hashlib.sha256(b"[")
    for place, item in enumerate(items):
        digest.update(f",{item}".encode() if place else item.encode())
    digest.update(b"]")
    return digest.hexdigest()


def pairs(mapping: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A mapping as sorted pairs: hashable, comparable, in one order."""
    return tuple(sorted(mapping.items()))
