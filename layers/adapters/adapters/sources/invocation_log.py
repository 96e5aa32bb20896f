"""Bedrock model invocation logs: S3 objects of records, and events of CloudWatch Logs. Prompts are never decoded."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from adapters.objects import expand, expand_in_pieces, read_whole, require_within
from adapters.sources.logged_records import (
    UNREADABLE,
    Body,
    LogBatch,
    LogEvent,
    Record,
    decode,
    decode_all,
    decode_batch,
    decode_fitting,
    decode_list,
)
from adapters.sources.logged_usage import guardrail_units_of, units_of
from attribution.errors import InputRejected
from attribution.meters import Tier
from attribution.ports import MeteredRecord, StoredObject
from attribution.usage import InvocationKey, Pairs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The objects that hold records. Bodies lie in a `data/` folder beside them, permission checks have other names.
RECORDS_KEY = re.compile(
    r"(?:^|/)AWSLogs/\d{12}/BedrockModelInvocationLogs/[a-z0-9-]+/\d{4}/\d{2}/\d{2}/\d{2}/[^/]+\.json\.gz$"
)
_METADATA_LIMIT = 256
# Bytes: a model is part of keys of the tables, which hold 2,048 bytes.
_LONGEST_MODEL = 1900
# Bodies of more than 100 KB are delivered beside their record, so that a line is never near the first limit. The second is for
# JSON values that are held whole: arrays of records, and a record that spans lines.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_LARGEST_VALUE_BYTES = 128 * 1024 * 1024
_TIERS = {
    "default": Tier.STANDARD,
    "standard": Tier.STANDARD,
    "flex": Tier.FLEX,
    "priority": Tier.PRIORITY,
    "reserved": Tier.RESERVED,
}
_ERROR_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,127}")
# So much of the beginning tells one form of content from another.
_TELLING_BYTES = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PRETTY_PRINTED = re.compile(rb"\{[ \t]*\r?\n")


class S3InvocationLogs:
    """Invocation logs in the customer's bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, tag_keys: Sequence[str]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._tag_keys = casefolded(tag_keys)

    def read(self, source: StoredObject) -> Iterator[MeteredRecord | InputRejected]:
        """Every record of an object; a record that cannot be used is returned as rejected, with its line."""
        require_within(source, self._bucket, self._prefix)
        content = expand_in_pieces(read_whole(self._client, source), source)
        yield from parse_records(content, str(source), self._tag_keys)


class SubscribedInvocationLogs:
    """Invocation logs as a subscription to their log group in CloudWatch Logs delivers them."""

    def __init__(self, log_group: str, tag_keys: Sequence[str]) -> None:
        self._log_group = log_group
        self._tag_keys = casefolded(tag_keys)

    def batch(self, data: str, name: str) -> LogBatch:
        """The log events of one delivery, which `name` names where it cannot be read."""
        try:
            compressed = base64.b64decode(data, validate=True)
        except ValueError:
            raise InputRejected(name, "the log events are not in Base64") from None
        batch = decode_batch(expand(compressed, name, _LARGEST_VALUE_BYTES), name)
        # A name in an event is not trusted: nothing but a subscription to this group may say what was used.
        if batch.is_data and (not self._log_group or batch.log_group != self._log_group):
            raise InputRejected(
                name, f"log events of another log group than {self._log_group or 'none'}: nothing is read of them"
            )
        return batch

    def read(self, batch: LogBatch) -> Iterator[MeteredRecord | InputRejected | None]:
        """Every record; one that cannot be used is returned as rejected, by the id of its event. None stands for no record."""
        for event in batch.log_events if batch.is_data else ():
            yield self._record(event, f"{batch.name}#{event.id}")

    def _record(self, event: LogEvent, name: str) -> MeteredRecord | InputRejected | None:
        # When logging is set up, Bedrock writes a sentence into the log.
        if not event.message.lstrip().startswith("{"):
            return None
        try:
            return parse_record(event.message.encode(), name, None, self._tag_keys)
        except InputRejected as rejected:
            return rejected


def is_records_object(key: str) -> bool:
    """Whether an object holds invocation records."""
    return RECORDS_KEY.search(key) is not None


def casefolded(tag_keys: Sequence[str]) -> frozenset[str]:
    """Keys of request metadata as they are compared: in any letter case."""
    return frozenset(key.casefold() for key in tag_keys)


def parse_records(pieces: Iterable[bytes], source: str, tag_keys: frozenset[str]) -> Iterator[MeteredRecord | InputRejected]:
    """The records of newline-delimited JSON, of one JSON array, or of one object that spans lines.

    What cannot be used is returned as rejected, with the number of its line or its place in the array.
    """
    waiting = iter(pieces)
    head = b""
    for piece in waiting:
        head += piece
        if len(head.strip()) >= _TELLING_BYTES or len(head) > _LONGEST_LINE_BYTES:
            break
    head = head.removeprefix(_BYTE_ORDER_MARK)
    start = head.lstrip()
    if start.startswith(b"["):
        yield from _each_parsed(1, decode_list(_joined(start, waiting, source), source), source, tag_keys)
    elif _PRETTY_PRINTED.match(start):
        yield from _each_parsed(1, [_joined(start, waiting, source)], source, tag_keys)
    else:
        first_line = 1
        for lines in _blocks(chain([head], waiting), source):
            yield from _block_parsed(first_line, lines, source, tag_keys)
            first_line += len(lines)


def _joined(start: bytes, rest: Iterable[bytes], source: str) -> bytes:
    parts = [start]
    size = len(start)
    for piece in rest:
        size += len(piece)
        if size > _LARGEST_VALUE_BYTES:
            raise InputRejected(source, f"one JSON value of more than {_LARGEST_VALUE_BYTES} bytes: deliver a record a line")
        parts.append(piece)
    return b"".join(parts)


def _blocks(pieces: Iterable[bytes], source: str) -> Iterator[list[bytes]]:
    """Whole lines, as many as a piece ends."""
    rest, number = b"", 1
    for piece in pieces:
        # A file in memory finds its lines four times as fast as `split`.
        lines = io.BytesIO(rest + piece).readlines()
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield lines
        number += len(lines)
        if len(rest) > _LONGEST_LINE_BYTES:
            raise InputRejected(source, f"not a log of records: longer than {_LONGEST_LINE_BYTES} bytes", number)
    yield [rest]


def _block_parsed(
    first_line: int, lines: Sequence[bytes], source: str, tag_keys: frozenset[str]
) -> Iterator[MeteredRecord | InputRejected]:
    """The records of lines: decoded one after the other where every one of them fits, else each by itself."""
    try:
        records = [decode_fitting(raw) for raw in lines]
    except UNREADABLE:
        for line, raw in enumerate(lines, start=first_line):
            yield from _line_parsed(line, raw, source, tag_keys)
        return
    for line, record in enumerate(records, start=first_line):
        try:
            yield _metered(record, [], source, line, tag_keys)
        except InputRejected as rejected:
            yield rejected


def _line_parsed(line: int, raw: bytes, source: str, tag_keys: frozenset[str]) -> Iterator[MeteredRecord | InputRejected]:
    """The record of a line, or the records where several follow each other without a line end."""
    records = decode_all(raw)
    if records is None:
        yield from _each_parsed(line, [raw], source, tag_keys)
        return
    for record in records:
        try:
            yield _metered(record, [], source, line, tag_keys)
        except InputRejected as rejected:
            yield rejected


def _each_parsed(
    first: int, raws: Iterable[bytes | msgspec.Raw], source: str, tag_keys: frozenset[str]
) -> Iterator[MeteredRecord | InputRejected]:
    for number, raw in enumerate(raws, start=first):
        try:
            yield parse_record(raw, source, number, tag_keys)
        except InputRejected as rejected:
            yield rejected


def parse_record(raw: bytes | msgspec.Raw, source: str, line: int | None, tag_keys: frozenset[str]) -> MeteredRecord:
    """One record. One that cannot be used is rejected: what is missing or broken is named, never quoted."""
    record, fits = decode(raw, source, line)
    return _metered(record, [] if fits else ["fields_ignored"], source, line, tag_keys)


def _metered(record: Record, flags: list[str], source: str, line: int | None, tag_keys: frozenset[str]) -> MeteredRecord:
    account_id, region, request_id, model_id = record.account_id, record.region, record.request_id, record.model_id
    if (
        not account_id
        or not region
        or not request_id
        or not (key := f"{account_id}{region}{request_id}").isascii()
        or "#" in key
    ):
        named = (("accountId", account_id), ("region", region), ("requestId", request_id))
        wrong = next(name for name, value in named if not value or not value.isascii() or "#" in value)
        raise InputRejected(source, f"the record has no usable {wrong}, which every request is counted by", line)
    if not model_id or len(model_id.encode()) > _LONGEST_MODEL:
        raise InputRejected(source, "the record has no usable modelId", line)
    if record.schema_type != "ModelInvocationLog" or record.schema_version != "1.0":
        flags.append("other_schema")
    try:
        timestamp = _utc(record.timestamp or "")
    except (ValueError, OverflowError):
        raise InputRejected(source, "the record's timestamp is not ISO 8601", line) from None
    bodies = record.bodies
    return MeteredRecord(
        InvocationKey(account_id, region, request_id),
        timestamp,
        model_id,
        record.operation or "",
        _tier(record, bodies, flags),
        (record.identity.arn or "") if record.identity is not None else "",
        units_of(record, bodies, flags),
        _metadata(record.request_metadata, tag_keys) if record.request_metadata else (),
        _error_code(record.error_code) if record.error_code else "",
        guardrail_units_of(bodies),
        tuple(flags),
        source,
    )


# Records carry whole seconds, in which there may be hundreds.
@lru_cache(maxsize=1024)
def _utc(timestamp: str) -> datetime:
    # Some copies of records carry nanoseconds, or a blank instead of the T; Python reads both, up to microseconds.
    parsed = datetime.fromisoformat(timestamp)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _error_code(found: str) -> str:
    # A message behind the code could repeat what the caller wrote.
    code = _ERROR_CODE.match(found)
    return code[0] if code else "unknown"


def _metadata(found: Mapping[str, str], tag_keys: frozenset[str]) -> Pairs:
    """The metadata that allocation may use. Callers write it freely, so only configured keys are kept, at a bounded length."""
    return tuple(sorted([(key, value[:_METADATA_LIMIT]) for key, value in found.items() if key.casefold() in tag_keys]))


def _tier(record: Record, bodies: Sequence[Body], flags: list[str]) -> Tier:
    """The tier the request was served in; its place in the record is not documented, so every known place is read."""
    latency = record.performance_config.latency if record.performance_config is not None else None
    stated = record.service_tier
    for body in bodies:
        stated = stated or body.tier or body.service_tier
        latency = latency or (body.performance.latency if body.performance is not None else None)
    word = stated if stated is None or isinstance(stated, str) else stated.type
    if word:
        tier = _TIERS.get(word.casefold())
        if tier is None:
            flags.append("tier_unknown")
        elif tier is not Tier.STANDARD:
            return tier
    elif not bodies and not record.error_code:
        # Without the body nothing says that the request was served in the default tier.
        flags.append("tier_unknown")
    return Tier.LATENCY_OPTIMIZED if latency == "optimized" else Tier.STANDARD
