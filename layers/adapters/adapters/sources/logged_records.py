"""The declared part of an invocation log record, and how it is decoded: at once where all of it fits, else field by field.

msgspec skips everything that is not declared while it parses, so that no prompt becomes a Python object. Of request and
response bodies a few counters are declared, each at its own place; text that imitates them elsewhere is text.

In a record whose fields do not all fit, what a request is counted by must be right; what else does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

# Typed JSON decoding that skips undeclared fields without building them; the standard library cannot.
import msgspec

from attribution.errors import InputRejected

_MOST_TOKENS = 10**12

_Id = Annotated[str, msgspec.Meta(max_length=256)] | None
_Arn = Annotated[str, msgspec.Meta(max_length=2048)] | None
_Text = str | None
_Word = Annotated[str, msgspec.Meta(max_length=32)] | None
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST_TOKENS)] | None
# A counter of the record itself: one that is no number rejects the record.
_Stated = Annotated[int, msgspec.Meta(ge=0, le=_MOST_TOKENS, title="stated")] | None


class _Part(msgspec.Struct, gc=False):
    """A part of a body, with the names that the bodies have."""


class _CamelPart(_Part, rename="camel"):
    """A part of a record."""


class _CacheCreation(_Part):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _CacheDetail(_CamelPart):
    ttl: _Word = None
    input_tokens: Count = None


class _InputDetails(_Part):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class Usage(_Part):
    """Token counts as Converse, Anthropic's and OpenAI's APIs write them, in this order."""

    converse_input: Count = msgspec.field(default=None, name="inputTokens")
    converse_output: Count = msgspec.field(default=None, name="outputTokens")
    cache_read_tokens: Count = msgspec.field(default=None, name="cacheReadInputTokens")
    cache_read_count: Count = msgspec.field(default=None, name="cacheReadInputTokenCount")
    cache_write_tokens: Count = msgspec.field(default=None, name="cacheWriteInputTokens")
    cache_write_count: Count = msgspec.field(default=None, name="cacheWriteInputTokenCount")
    cache_details: list[_CacheDetail] | None = msgspec.field(default=None, name="cacheDetails")
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None
    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: _InputDetails | None = None
    input_tokens_details: _InputDetails | None = None


class _Metrics(_CamelPart):
    """`amazon-bedrock-invocationMetrics`: Bedrock's own count at the end of a stream."""

    input_token_count: Count = None
    output_token_count: Count = None
    cache_read_input_token_count: Count = None
    cache_write_input_token_count: Count = None


class _Message(_Part):
    usage: Usage | None = None


class _TitanResult(_CamelPart):
    token_count: Count = None


class _BilledUnits(_Part):
    search_units: Count = None


class _Meta(_Part):
    billed_units: _BilledUnits | None = None


class PolicyUnits(_CamelPart):
    """Text units that a guardrail's policies evaluated, and will be billed for."""

    topic_policy_units: Count = None
    content_policy_units: Count = None
    content_policy_image_units: Count = None
    word_policy_units: Count = None
    sensitive_information_policy_units: Count = None
    contextual_grounding_policy_units: Count = None
    automated_reasoning_policy_units: Count = None


class _GuardrailMetrics(_Part):
    usage: PolicyUnits | None = None


class Assessment(_CamelPart):
    """What one guardrail found in one direction."""

    invocation_metrics: _GuardrailMetrics | None = None


_Assessments = dict[str, Assessment | list[Assessment]]
_AssessmentLists = _Assessments | list[_Assessments] | None


class GuardrailTrace(_CamelPart):
    """What a guardrail did: in Converse's names, then in InvokeModel's."""

    input_assessment: _AssessmentLists = None
    output_assessments: _AssessmentLists = None
    input: _AssessmentLists = None
    outputs: _AssessmentLists = None


class _Trace(_Part):
    guardrail: GuardrailTrace | None = None


class _ServiceTier(_Part):
    type: _Word = None


class _Performance(_Part):
    latency: _Word = None


class Body(_Part):
    """A response body, or one chunk of a streamed one, as far as it says what was used."""

    usage: Usage | None = None
    message: _Message | None = None
    response: _Message | None = None
    metrics: _Metrics | None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")
    titan_input: Count = msgspec.field(default=None, name="inputTextTokenCount")
    titan_output: Count = msgspec.field(default=None, name="totalOutputTextTokenCount")
    results: list[_TitanResult] | None = None
    prompt_token_count: Count = None
    generation_token_count: Count = None
    meta: _Meta | None = None
    images: list[msgspec.Raw] | None = None
    video_seconds: Count = msgspec.field(default=None, name="outputVideoDurationSeconds")
    tier: _ServiceTier | _Word = msgspec.field(default=None, name="serviceTier")
    service_tier: _Word = None
    performance: _Performance | None = msgspec.field(default=None, name="performanceConfig")
    trace: _Trace | None = None
    bedrock_trace: _Trace | None = msgspec.field(default=None, name="amazon-bedrock-trace")


class _ImageGeneration(_CamelPart):
    number_of_images: Count = None


class _RequestBody(_CamelPart):
    image_generation_config: _ImageGeneration | None = None
    input_image: msgspec.Raw = msgspec.Raw()


class _Identity(_Part):
    arn: _Arn = None


class Input(_CamelPart):
    """What went in."""

    input_token_count: _Stated = None
    cache_read_input_token_count: _Stated = None
    cache_write_input_token_count: _Stated = None
    input_body_json: _RequestBody | None = None


class Output(_CamelPart):
    """What came out."""

    output_token_count: _Stated = None
    output_video_duration_seconds: Count = None
    # A stream may end with the bare string "[DONE]".
    output_body_json: Body | list[Body | _Word] | None = None


class Record(_CamelPart):
    """The declared part of one record."""

    schema_type: _Text = "ModelInvocationLog"
    schema_version: _Text = "1.0"
    timestamp: _Text = None
    account_id: _Id = None
    region: _Id = None
    request_id: _Id = None
    operation: _Id = None
    model_id: _Arn = None
    identity: _Identity | None = None
    request_metadata: dict[str, str] | None = None
    error_code: _Text = None
    service_tier: _ServiceTier | _Word = None
    performance_config: _Performance | None = None
    input: Input | None = None
    output: Output | None = None

    @property
    def bodies(self) -> Sequence[Body]:
        """The response body, or the chunks of a streamed one; empty where it was not delivered with the record."""
        body = self.output.output_body_json if self.output is not None else None
        if isinstance(body, list):
            return [chunk for chunk in body if isinstance(chunk, Body)]
        return () if body is None else (body,)


class LogEvent(_CamelPart):
    """One event of a log stream."""

    id: str
    message: str
    # Milliseconds since 1970, to the year 2100.
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000)] = 0


class LogBatch(_CamelPart):
    """Log events of one stream as a subscription delivers them. Only `DATA_MESSAGE` carries events of the log."""

    message_type: str
    log_group: str = ""
    log_stream: str = ""
    log_events: list[LogEvent] = []

    @property
    def is_data(self) -> bool:
        """Whether these are events of the log, and not a test of its delivery."""
        return self.message_type == "DATA_MESSAGE"

    @property
    def name(self) -> str:
        """The log stream by its full name."""
        return f"{self.log_group}/{self.log_stream}"

    @property
    def span(self) -> str:
        """From when to when the events are; empty without events."""
        if not self.log_events:
            return ""
        times = [event.timestamp for event in self.log_events]
        first, last = (datetime.fromtimestamp(time / 1000, UTC) for time in (min(times), max(times)))
        return f"{first.isoformat(timespec='seconds')} to {last.isoformat(timespec='seconds')}"


_batch_decoder = msgspec.json.Decoder(LogBatch)
_record_decoder = msgspec.json.Decoder(Record)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
decode_fitting = _record_decoder.decode
"""Decodes a text that is one record all of whose declared fields fit; one of `UNREADABLE` says that it is none."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Control characters inside of a text, and halves of a surrogate pair. Callers can send both, and neither is valid JSON.
_CONTROL_AS_BLANK = bytes.maketrans(bytes(range(32)), b" " * 32)
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NUMBER = re.compile(r"(\d{1,13})(?:\.0+)?\Z")


class _NotACount(Exception):
    """A counter of the record is not a number of tokens; the message is its name."""


def decode_list(text: bytes, source: str) -> list[msgspec.Raw]:
    """The elements of a JSON array, undecoded."""
    try:
        return _list_decoder.decode(text)
    except UNREADABLE:
        raise InputRejected(source, "neither JSON lines nor a JSON array of records") from None


def decode_batch(text: bytes, source: str) -> LogBatch:
    """The log events of one delivery."""
    try:
        return _batch_decoder.decode(text)
    except UNREADABLE:
        raise InputRejected(source, "not log events as a subscription delivers them") from None


def decode_all(text: bytes) -> list[Record] | None:
    """The records of a text that holds nothing else; None unless every field of every one fits."""
    try:
        return _record_decoder.decode_lines(text)
    except UNREADABLE:
        return None


def decode(raw: bytes | msgspec.Raw, source: str, line: int | None) -> tuple[Record, bool]:
    """One record, and whether all of its declared fields fitted. A record that cannot be used is rejected, never quoted."""
    try:
        return decode_fitting(raw), True
    except UNREADABLE:
        pass
    text = bytes(raw).strip()
    left_out: list[str] = []
    try:
        record = _repaired(text, left_out)
    except _NotACount as error:
        raise InputRejected(source, f"{error} is not a number of tokens", line) from None
    except msgspec.ValidationError:
        raise InputRejected(source, "not an invocation record: no JSON object", line) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputRejected(source, "not valid JSON", line) from None
    except RecursionError:
        raise InputRejected(source, "nested too deeply", line) from None
    return record, not left_out


def _repaired(text: bytes, left_out: list[str]) -> Record:
    try:
        record: Record = _read_fields(text, Record, left_out)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        repaired = _SURROGATE.sub(rb"\1?", text.translate(_CONTROL_AS_BLANK))
        record = _read_fields(repaired, Record, left_out)
    return record


@cache
def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@cache
def _fields_of(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


@cache
def _undecoded(kind: Any) -> type[msgspec.Struct]:
    """The same declared names, their values left as they are."""
    fields = [(field.name, msgspec.Raw, msgspec.Raw()) for field in _fields_of(kind)]
    names = {field.name: field.encode_name for field in _fields_of(kind)}
    return msgspec.defstruct(f"{kind.__name__}Undecoded", fields, rename=names, gc=False)


def _read_fields(text: bytes, kind: Any, left_out: list[str]) -> Any:
    """A part read field by field. The names of what did not fit are added to `left_out`."""
    found = _decoder_of(_undecoded(kind)).decode(text)
    values = {}
    for field in _fields_of(kind):
        value_text = bytes(getattr(found, field.name))
        if not value_text:
            continue
        # Bodies have whatever shape a model gives them; only what is known of them is looked for.
        is_body = field.name in ("input_body_json", "output_body_json")
        value = _read(value_text, field.type, [] if is_body else left_out)
        if value is not msgspec.UNSET:
            values[field.name] = value
        elif field.type == _Stated:
            raise _NotACount(field.encode_name)
        elif not is_body:
            left_out.append(field.encode_name)
    return kind(**values)


def _read(text: bytes, kind: Any, left_out: list[str]) -> Any:
    """A value as far as it fits its type; `UNSET` where it does not at all."""
    try:
        return _decoder_of(kind).decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        if get_origin(option) is Annotated and get_args(option)[0] is int:
            return _whole_number(text)
        if isinstance(option, type) and issubclass(option, _Part) and text.startswith(b"{"):
            return _read_fields(text, option, left_out)
        if get_origin(option) is list and text.startswith(b"["):
            items = [_read(bytes(item), get_args(option)[0], left_out) for item in _list_decoder.decode(text)]
            return _fitting(items, left_out)
        if get_origin(option) is dict and text.startswith(b"{"):
            parts = _decoder_of(dict[str, msgspec.Raw]).decode(text)
            read = {key: _read(bytes(part), get_args(option)[1], left_out) for key, part in parts.items()}
            _fitting(list(read.values()), left_out)
            return {key: value for key, value in read.items() if value is not msgspec.UNSET}
    return msgspec.UNSET


def _fitting(values: list[Any], left_out: list[str]) -> list[Any]:
    fitting = [value for value in values if value is not msgspec.UNSET]
    if len(fitting) < len(values):
        left_out.append("item")
    return fitting


def _whole_number(text: bytes) -> Any:
    """A count that is written as text, or with a fraction of zero."""
    try:
        value = _decoder_of(int | float | str).decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return msgspec.UNSET
    if isinstance(value, str):
        match = _NUMBER.match(value.strip())
        value = int(match[1]) if match else -1
    return int(value) if 0 <= value <= _MOST_TOKENS and value == int(value) else msgspec.UNSET
