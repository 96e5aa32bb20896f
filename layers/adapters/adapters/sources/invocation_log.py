"""Bedrock model invocation logs: S3 objects of records, one a line. Prompts and completions are never decoded.

Only the fields declared here are read: msgspec skips everything else while it parses, so that no prompt becomes a Python
object. The request and response bodies stay undecoded bytes; one of them is looked into, for the split of cache writes by
time to live, and only through a declared type again.

`inputTokenCount` is the uncached input; cache reads and cache writes are counted apart from it and never inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

# Typed JSON decoding that skips undeclared fields without building them; the standard library cannot.
import msgspec

from adapters.objects import expand, read_whole, require_within
from attribution.canonical import pairs
from attribution.errors import InputRejected
from attribution.meters import Tier, TokenKind
from attribution.models import model_reference
from attribution.ports import MeteredRecord, StoredObject
from attribution.usage import InvocationKey, Metered, Pairs, PricedKind

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The objects that hold records. Bodies lie in a `data/` folder beside them, permission checks have other names.
RECORDS_KEY = re.compile(
    r"(?:^|/)AWSLogs/\d{12}/BedrockModelInvocationLogs/[a-z0-9-]+/\d{4}/\d{2}/\d{2}/\d{2}/[^/]+\.json\.gz$"
)
_METADATA_LIMIT = 256
_LONGEST_ID, _LONGEST_ARN = 256, 2048
_MOST_TOKENS = 10**12


class _Identity(msgspec.Struct):
    arn: str = ""


class _Input(msgspec.Struct):
    input_token_count: int | str | None = msgspec.field(default=None, name="inputTokenCount")
    cache_read: int | str | None = msgspec.field(default=None, name="cacheReadInputTokenCount")
    cache_write: int | str | None = msgspec.field(default=None, name="cacheWriteInputTokenCount")


class _Output(msgspec.Struct):
    output_token_count: int | str | None = msgspec.field(default=None, name="outputTokenCount")
    body: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw, name="outputBodyJson")


class _Performance(msgspec.Struct):
    latency: str | None = None


class _Record(msgspec.Struct):
    """The declared part of one record."""

    account_id: str = msgspec.field(default="", name="accountId")
    region: str = ""
    request_id: str = msgspec.field(default="", name="requestId")
    timestamp: str = ""
    operation: str = ""
    model_id: str = msgspec.field(default="", name="modelId")
    identity: _Identity = msgspec.field(default_factory=_Identity)
    request_metadata: dict[str, object] | None = msgspec.field(default=None, name="requestMetadata")
    error_code: str | None = msgspec.field(default=None, name="errorCode")
    service_tier: str | None = msgspec.field(default=None, name="serviceTier")
    performance: _Performance | None = msgspec.field(default=None, name="performanceConfig")
    input: _Input | None = None
    output: _Output | None = None


class _CacheCreation(msgspec.Struct):
    ttl_5m: int = msgspec.field(default=0, name="ephemeral_5m_input_tokens")
    ttl_1h: int = msgspec.field(default=0, name="ephemeral_1h_input_tokens")


class _CacheDetail(msgspec.Struct):
    ttl: str = ""
    input_tokens: int = msgspec.field(default=0, name="inputTokens")


class _Usage(msgspec.Struct):
    cache_creation: _CacheCreation | None = None
    cache_details: list[_CacheDetail] | None = msgspec.field(default=None, name="cacheDetails")


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _ServiceTier(msgspec.Struct):
    type: str = ""


class _Body(msgspec.Struct):
    """A response body, or one chunk of a streamed one, as far as it says what was used."""

    usage: _Usage | None = None
    message: _Message | None = None
    service_tier: _ServiceTier | None = msgspec.field(default=None, name="serviceTier")


_record_decoder = msgspec.json.Decoder(_Record)
_records_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_body_decoder = msgspec.json.Decoder(_Body)

_TIERS = {"flex": Tier.FLEX, "priority": Tier.PRIORITY, "reserved": Tier.RESERVED}


class S3InvocationLogs:
    """`InvocationLogs` in the customer's bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, tag_keys: Sequence[str]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._tag_keys = frozenset(key.casefold() for key in tag_keys)

    def read(self, source: StoredObject) -> Iterator[MeteredRecord | InputRejected]:
        """Every record of an object; a record that cannot be used is returned as rejected, with its line."""
        require_within(source, self._bucket, self._prefix)
        content = expand(read_whole(self._client, source), source)
        for line, raw in enumerate(split_records(content, source), start=1):
            try:
                yield parse_record(raw, source, line, self._tag_keys)
            except InputRejected as rejected:
                yield rejected


def is_records_object(key: str) -> bool:
    """Whether an object holds invocation records."""
    return RECORDS_KEY.search(key) is not None


def split_records(content: bytes, source: StoredObject) -> Iterator[bytes | msgspec.Raw]:
    """The records of newline-delimited JSON, of one JSON array, or of one object that spans lines."""
    stripped = content.removeprefix(b"\xef\xbb\xbf").strip()
    if stripped.startswith(b"["):
        try:
            yield from _records_decoder.decode(stripped)
        except msgspec.DecodeError as error:
            raise InputRejected(str(source), "neither JSON lines nor a JSON array of records") from error
        return
    if stripped.startswith((b"{\n", b"{\r\n")):
        yield stripped
        return
    yield from (line for line in stripped.split(b"\n") if line.strip())


def parse_record(raw: bytes | msgspec.Raw, source: StoredObject, line: int, tag_keys: frozenset[str]) -> MeteredRecord:
    """One record; what is missing or broken is named, never quoted."""
    try:
        record = _record_decoder.decode(raw)
    except msgspec.ValidationError as error:
        # The message names the field and the types, never the value.
        raise InputRejected(str(source), f"not an invocation record: {error}", line) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputRejected(str(source), "not valid JSON", line) from None
    except RecursionError:
        raise InputRejected(str(source), "nested too deeply", line) from None
    for name, value in (("accountId", record.account_id), ("region", record.region), ("requestId", record.request_id)):
        if not value or "#" in value or len(value) > _LONGEST_ID:
            raise InputRejected(str(source), f"the record has no usable {name}, which every request is counted by", line)
    if not record.model_id:
        raise InputRejected(str(source), "the record has no modelId", line)
    if max(len(record.model_id), len(record.identity.arn), len(record.operation)) > _LONGEST_ARN:
        raise InputRejected(str(source), "the record's modelId, identity or operation is longer than any ARN", line)
    bodies = _response_bodies(record)
    units, flags = _units(record, bodies, source, line)
    reference = model_reference(record.model_id)
    metered = Metered(
        timestamp=_timestamp(record.timestamp, source, line),
        model_id=record.model_id,
        model=reference.model,
        operation=record.operation,
        routing=reference.routing,
        tier=_tier(record, bodies),
        inference_profile=reference.inference_profile,
        iam_principal=record.identity.arn,
        kinds={kind: PricedKind(count, None) for kind, count in units.items()},
        request_metadata=_metadata(record, tag_keys),
        error_code=record.error_code or "",
        flags=flags,
        log_object=str(source),
    )
    return MeteredRecord(InvocationKey(record.account_id, record.region, record.request_id), metered)


def _timestamp(text: str, source: StoredObject, line: int) -> datetime:
    try:
        # Some copies of records carry nanoseconds and a blank instead of the T; Python reads up to microseconds.
        parsed = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.replace(" ", "T")))
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputRejected(str(source), "the record's timestamp is not ISO 8601", line) from None


def _count(value: int | str | None, name: str, source: StoredObject, line: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise InputRejected(str(source), f"{name} is not a whole number", line)
    count = int(value)
    if not 0 <= count <= _MOST_TOKENS:
        raise InputRejected(str(source), f"{name} is not a number of tokens", line)
    return count


def _units(
    record: _Record, bodies: Sequence[_Body], source: StoredObject, line: int
) -> tuple[dict[TokenKind, int], tuple[str, ...]]:
    used, made = record.input or _Input(), record.output or _Output()
    fresh = _count(used.input_token_count, "inputTokenCount", source, line)
    output = _count(made.output_token_count, "outputTokenCount", source, line)
    cache_read = _count(used.cache_read, "cacheReadInputTokenCount", source, line)
    cache_write = _count(used.cache_write, "cacheWriteInputTokenCount", source, line) or 0
    flags: list[str] = []
    if fresh is None and output is None and not record.error_code:
        flags.append("unmeasured")
    counted = {TokenKind.INPUT: fresh, TokenKind.OUTPUT: output, TokenKind.CACHE_READ: cache_read}
    units = {kind: count for kind, count in counted.items() if count}
    if cache_write:
        split = _cache_write_split(bodies)
        if split and min(split.values()) >= 0 and sum(split.values()) == cache_write:
            units |= {kind: count for kind, count in split.items() if count}
        else:
            # The counter is the sum over all times to live. Without the split, the shortest is assumed, and said so.
            units[TokenKind.CACHE_WRITE] = cache_write
            flags.append("cache_write_ttl_unknown")
    return units, tuple(flags)


def _response_bodies(record: _Record) -> list[_Body]:
    """What a response body, or each chunk of a streamed one, says of its usage. Bodies that say nothing are left out."""
    body = bytes(record.output.body) if record.output else b""
    if not body:
        return []
    found: list[_Body] = []
    try:
        for chunk in _records_decoder.decode(body) if body.startswith(b"[") else [body]:
            try:
                found.append(_body_decoder.decode(chunk))
            except msgspec.DecodeError:
                # A stream may end with the bare string "[DONE]"; a body may be text.
                continue
    except (msgspec.DecodeError, RecursionError):
        return []
    return found


def _cache_write_split(bodies: Sequence[_Body]) -> dict[TokenKind, int] | None:
    """Cache writes by time to live, where the response says so, in either API's style."""
    for body in bodies:
        usage = body.usage or (body.message.usage if body.message else None)
        if usage and usage.cache_creation:
            return {
                TokenKind.CACHE_WRITE: usage.cache_creation.ttl_5m,
                TokenKind.CACHE_WRITE_1H: usage.cache_creation.ttl_1h,
            }
        if usage and usage.cache_details:
            return {
                TokenKind.CACHE_WRITE: sum(d.input_tokens for d in usage.cache_details if d.ttl == "5m"),
                TokenKind.CACHE_WRITE_1H: sum(d.input_tokens for d in usage.cache_details if d.ttl == "1h"),
            }
    return None


def _tier(record: _Record, bodies: Sequence[_Body]) -> Tier:
    """The tier the request was served in; its place in the record is not documented, so both known places are read."""
    stated = record.service_tier or next((b.service_tier.type for b in bodies if b.service_tier), "")
    if stated in _TIERS:
        return _TIERS[stated]
    if record.performance and record.performance.latency == "optimized":
        return Tier.LATENCY_OPTIMIZED
    return Tier.STANDARD


def _metadata(record: _Record, tag_keys: frozenset[str]) -> Pairs:
    """The metadata that allocation may use. Callers write it freely, so only configured keys are kept, at a bounded length."""
    found = record.request_metadata or {}
    return pairs({k: v[:_METADATA_LIMIT] for k, v in found.items() if isinstance(v, str) and k.casefold() in tag_keys})
