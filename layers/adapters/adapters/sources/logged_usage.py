"""What a logged request used: the record's own counters, completed and checked by what its bodies say.

`inputTokenCount` is the uncached input; cache reads and cache writes are counted apart from it and never inside it. What
nothing counts is unmeasured, not zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from adapters.sources.logged_records import Assessment, Body, Count, GuardrailTrace, Input, Output, PolicyUnits, Record, Usage
from attribution.meters import TokenKind

_LIFETIMES = {"5m": TokenKind.CACHE_WRITE, "30m": TokenKind.CACHE_WRITE_30M, "1h": TokenKind.CACHE_WRITE_1H}
# Operations that always have input and output; InvokeModel may embed or rank, which has no output to count.
_GENERATING = ("Converse", "ConverseStream", "ChatCompletions")
_POLICY_COUNTERS = tuple((field.name, field.encode_name) for field in msgspec.structs.fields(PolicyUnits))
_NO_INPUT, _NO_OUTPUT = Input(), Output()

_Tokens = tuple[Count, Count, Count, Count]
"""Uncached input, output, cache reads and cache writes; None where nothing says."""
_NOT_SAID: _Tokens = (None, None, None, None)


def units_of(record: Record, bodies: Sequence[Body], flags: list[str]) -> dict[TokenKind, int]:
    """The units by kind. The record's own counters stand; a body fills in what they leave out, if it agrees with the rest."""
    used, made = record.input or _NO_INPUT, record.output or _NO_OUTPUT
    counted = (
        used.input_token_count,
        made.output_token_count,
        used.cache_read_input_token_count,
        used.cache_write_input_token_count,
    )
    if bodies and not record.error_code:
        said = _counted(bodies)
        if said != counted and said is not _NOT_SAID:
            counted = _completed(counted, said, flags)
    fresh, output, cache_read, cache_write = counted
    units: dict[TokenKind, int] = {}
    if fresh:
        units[TokenKind.INPUT] = fresh
    if output:
        units[TokenKind.OUTPUT] = output
    if cache_read:
        units[TokenKind.CACHE_READ] = cache_read
    if cache_write:
        units |= _cache_writes(cache_write, bodies, flags)
    if not output and not record.error_code:
        units |= _other_units(used, made, bodies, flags)
    if fresh is None or output is None:
        # An embedding has no output to count, an image no tokens at all; a request that generates text has both.
        if not record.error_code and (not units or record.operation in _GENERATING):
            flags.append("unmeasured")
    return units


def _completed(stated: _Tokens, said: _Tokens, flags: list[str]) -> _Tokens:
    """What a record states, with what it does not state from its body; a body that disagrees is not believed at all."""
    is_from_body = False
    both: list[Count] = []
    for mine, theirs in zip(stated, said, strict=True):
        if mine is None:
            is_from_body = is_from_body or bool(theirs)
        elif theirs is not None and theirs != mine:
            flags.append("usage_disagrees")
            return stated
        both.append(theirs if mine is None else mine)
    if is_from_body:
        flags.append("usage_from_body")
    fresh, output, cache_read, cache_write = both
    return fresh, output, cache_read, cache_write


def _counted(bodies: Sequence[Body]) -> _Tokens:
    """What the bodies say. In a stream the last count stands, and Bedrock's own metrics before the model's usage."""
    if len(bodies) == 1:
        return _said(bodies[0])
    usage, metrics = _NOT_SAID, _NOT_SAID
    for body in bodies:
        if body.metrics is not None:
            metrics = _said(body)
        else:
            usage = _over(_said(body), usage)
    return _over(metrics, usage)


def _over(first: _Tokens, second: _Tokens) -> _Tokens:
    if first is _NOT_SAID or second is _NOT_SAID:
        return second if first is _NOT_SAID else first
    fresh, output, cache_read, cache_write = (b if a is None else a for a, b in zip(first, second, strict=True))
    return fresh, output, cache_read, cache_write


def _said(body: Body) -> _Tokens:
    usage = body.usage
    if usage is None and body.message is not None:
        usage = body.message.usage
    if usage is not None and body.metrics is None:
        return _tokens(usage)
    return _said_otherwise(body)


def _said_otherwise(body: Body) -> _Tokens:
    metrics = body.metrics
    if metrics is not None:
        return (
            metrics.input_token_count,
            metrics.output_token_count,
            metrics.cache_read_input_token_count,
            metrics.cache_write_input_token_count,
        )
    if body.response is not None and body.response.usage is not None:
        return _tokens(body.response.usage)
    fresh = body.titan_input if body.titan_input is not None else body.prompt_token_count
    output = body.titan_output if body.titan_output is not None else body.generation_token_count
    if body.results and output is None:
        counts = [result.token_count for result in body.results if result.token_count is not None]
        output = sum(counts) if counts else None
    return _NOT_SAID if fresh is None and output is None else (fresh, output, None, None)


def _tokens(usage: Usage) -> _Tokens:
    """Usage in Bedrock's sense. Some bodies name a counter twice; OpenAI's APIs count cached input inside the input."""
    if usage.converse_input is not None:
        cache_read, cache_write = usage.cache_read_tokens, usage.cache_write_tokens
        return (
            usage.converse_input,
            usage.converse_output,
            usage.cache_read_count if cache_read is None else cache_read,
            usage.cache_write_count if cache_write is None else cache_write,
        )
    fresh = usage.prompt_tokens if usage.input_tokens is None else usage.input_tokens
    output = usage.completion_tokens if usage.output_tokens is None else usage.output_tokens
    details = usage.prompt_tokens_details or usage.input_tokens_details
    if details is None:
        return fresh, output, usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    if fresh is not None:
        fresh -= (details.cached_tokens or 0) + (details.cache_write_tokens or 0)
        if fresh < 0:
            return _NOT_SAID
    return fresh, output, details.cached_tokens, details.cache_write_tokens


def _cache_writes(cache_write: int, bodies: Sequence[Body], flags: list[str]) -> dict[TokenKind, int]:
    split = _split_by_lifetime(bodies)
    if sum(split.values()) == cache_write:
        return {kind: count for kind, count in split.items() if count}
    # The counter is the sum over all times to live. Without the split, the shortest is assumed, and said so.
    flags.append("cache_write_ttl_unknown")
    return {TokenKind.CACHE_WRITE: cache_write}


def _split_by_lifetime(bodies: Sequence[Body]) -> dict[TokenKind, int]:
    """Cache writes by time to live, where the response says so, in either API's style. A time to live may be named twice."""
    split: dict[TokenKind, int] = {}
    for body in bodies:
        usage = body.usage or (body.message.usage if body.message is not None else None)
        if usage is None:
            continue
        if usage.cache_creation:
            return {
                TokenKind.CACHE_WRITE: usage.cache_creation.ephemeral_5m_input_tokens or 0,
                TokenKind.CACHE_WRITE_1H: usage.cache_creation.ephemeral_1h_input_tokens or 0,
            }
        for detail in usage.cache_details or ():
            kind = _LIFETIMES.get(detail.ttl or "")
            if kind is not None:
                split[kind] = split.get(kind, 0) + (detail.input_tokens or 0)
        if split:
            return split
    return split


def _other_units(used: Input, made: Output, bodies: Sequence[Body], flags: list[str]) -> dict[TokenKind, int]:
    """What models without output tokens are billed by: images, seconds of video, search units."""
    units: dict[TokenKind, int] = {}
    request = used.input_body_json
    requested = request.image_generation_config.number_of_images if request and request.image_generation_config else None
    images = [len(body.images) for body in bodies if body.images is not None]
    if images:
        units[TokenKind.IMAGE] = sum(images)
    elif requested:
        units[TokenKind.IMAGE] = requested
        flags.append("images_as_requested")
    elif request and bytes(request.input_image) not in (b"", b"null"):
        units[TokenKind.IMAGE] = 1
    seconds = made.output_video_duration_seconds or sum(body.video_seconds or 0 for body in bodies)
    if seconds:
        units[TokenKind.SECOND] = seconds
    searches = sum(b.meta.billed_units.search_units or 0 for b in bodies if b.meta and b.meta.billed_units)
    if searches:
        units[TokenKind.SEARCH_UNIT] = searches
    return units


def guardrail_units_of(bodies: Sequence[Body]) -> tuple[tuple[str, int], ...]:
    """The guardrail units by AWS's name of their counter, over every guardrail and both directions."""
    traces = [body.trace for body in bodies if body.trace] + [body.bedrock_trace for body in bodies if body.bedrock_trace]
    if not traces:
        return ()
    units: Counter[str] = Counter()
    for assessment in (found for trace in traces if trace.guardrail for found in _assessments(trace.guardrail)):
        metrics = assessment.invocation_metrics
        if metrics is not None and metrics.usage is not None:
            for name, counter in _POLICY_COUNTERS:
                units[counter] += getattr(metrics.usage, name) or 0
    return tuple(sorted((counter, count) for counter, count in units.items() if count))


def _assessments(trace: GuardrailTrace) -> Iterator[Assessment]:
    for listed in (trace.input_assessment, trace.output_assessments, trace.input, trace.outputs):
        for by_guardrail in listed if isinstance(listed, list) else [listed or {}]:
            for found in by_guardrail.values():
                yield from found if isinstance(found, list) else [found]
