"""Invocation log records: what each says was used, which are refused and why, and that nothing anybody wrote is kept."""

from __future__ import annotations

import base64
import gzip
import io
import json
import traceback
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.objects import expand, expand_in_pieces
from adapters.sources.invocation_log import (
    S3InvocationLogs,
    SubscribedInvocationLogs,
    casefolded,
    is_records_object,
    parse_record,
    parse_records,
)
from adapters.sources.price_list import read_offer
from attribution.directory import DirectoryEntry
from attribution.errors import InputRejected
from attribution.flows.record_invocations import Pricing
from attribution.meters import Routing, Tier
from attribution.ports import MeteredRecord, StoredObject
from attribution.usage import Metered
from tests.fakes import FakeDirectory, FakePrices
from tests.support import inputs
from truth import company, invocation_log, price_list
from truth.objects import CANARY, compact_json

SOURCE = "s3://logs/a.json.gz"
TAG_KEYS = casefolded(("Team", "session"))
Units = dict[str, int]


def record(**changes: Any) -> dict[str, Any]:
    """A record of a Converse call; a change to None of a whole field removes it."""
    whole = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-02-05T14:23:51Z",
        "accountId": "111122223333",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/BedrockCallerRole/jane"},
        "region": "us-east-1",
        "requestId": "r-1",
        "operation": "Converse",
        "modelId": "us.anthropic.claude-sonnet-4-6",
        "input": {"inputTokenCount": 70},
        "output": {"outputBodyJson": {}, "outputTokenCount": 20},
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def counted(body: object, **changes: Any) -> dict[str, Any]:
    """A record whose response body is `body`; the counters of the record itself are those of `record`."""
    return record(output={"outputBodyJson": body, "outputTokenCount": 20}, **changes)


def parse(said: object) -> MeteredRecord:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return parse_record(raw, SOURCE, 7, TAG_KEYS)


def units_of(said: MeteredRecord) -> Units:
    return {kind.value: count for kind, count in said.units.items()}


def refusal_of(said: object) -> str:
    with pytest.raises(InputRejected) as refused:
        parse(said)
    assert (refused.value.source, refused.value.line) == (SOURCE, 7)
    return refused.value.reason


def test_a_record_says_who_called_what_where_when_and_how_much() -> None:
    metadata = {"team": "search", "Session": "s-1", "tenant": "acme"}

    said = parse(record(requestMetadata=metadata, errorCode=None))

    assert str(said.key) == "111122223333#us-east-1#r-1"
    assert said.timestamp == datetime(2026, 2, 5, 14, 23, 51, tzinfo=UTC)
    assert (said.model_id, said.operation, said.tier) == ("us.anthropic.claude-sonnet-4-6", "Converse", Tier.STANDARD)
    assert said.iam_principal == "arn:aws:sts::111122223333:assumed-role/BedrockCallerRole/jane"
    assert units_of(said) == {"input": 70, "output": 20}
    assert said.request_metadata == (("Session", "s-1"), ("team", "search"))
    assert (said.error_code, said.flags, said.guardrail_units, said.log_object) == ("", (), (), SOURCE)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-05-15 14:17:22.000000000", datetime(2025, 5, 15, 14, 17, 22, tzinfo=UTC)),
        ("2025-05-15T14:17:22.123456789Z", datetime(2025, 5, 15, 14, 17, 22, 123456, tzinfo=UTC)),
        ("2025-05-15T23:59:59.999999999Z", datetime(2025, 5, 15, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2025-05-15T01:17:22+02:00", datetime(2025, 5, 14, 23, 17, 22, tzinfo=UTC)),
        ("20250515T141722Z", datetime(2025, 5, 15, 14, 17, 22, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_read_in_any_style_that_records_have_been_seen_with(text: str, instant: datetime) -> None:
    assert parse(record(timestamp=text)).timestamp == instant


# What a request is counted by ------------------------------------------------------------------------------------------


KEY_MISSING = "the record has no usable {}, which every request is counted by"


@pytest.mark.parametrize("field", ["accountId", "region", "requestId"])
@pytest.mark.parametrize("value", ["", None, 111122223333, ["r-1"], {"id": "r-1"}, "a#b", "x" * 257, "\u0661"])
def test_a_record_without_a_usable_key_is_refused(field: str, value: Any) -> None:
    assert refusal_of(record(**{field: value})) == KEY_MISSING.format(field)


@pytest.mark.parametrize("value", ["", None, 7, {}, "x" * 2049, "x" * 1901, "\u00e9" * 1000])
def test_a_record_without_a_usable_model_is_refused(value: Any) -> None:
    assert refusal_of(record(modelId=value)) == "the record has no usable modelId"


@pytest.mark.parametrize("value", [None, "", "yesterday", 1770301431, "0001-01-01T00:00:00+05:00", "2026-02-30T00:00:00Z"])
def test_a_record_without_a_usable_timestamp_is_refused(value: Any) -> None:
    assert refusal_of(record(timestamp=value)) == "the record's timestamp is not ISO 8601"


COUNTERS = [
    ("input", "inputTokenCount", "input"),
    ("input", "cacheReadInputTokenCount", "cache_read"),
    ("input", "cacheWriteInputTokenCount", "cache_write"),
    ("output", "outputTokenCount", "output"),
]


@pytest.mark.parametrize(("side", "name", "kind"), COUNTERS)
@pytest.mark.parametrize("value", [-1, -1.0, "-1", 0.5, "12.5", "many", "", "1e3", True, [1], {"n": 1}, 10**12 + 1, 1e300])
def test_a_counter_that_is_no_number_of_tokens_refuses_its_record_by_name(side: str, name: str, kind: str, value: Any) -> None:
    assert refusal_of(record(**{side: {name: value}})) == f"{name} is not a number of tokens"


@pytest.mark.parametrize(("side", "name", "kind"), COUNTERS)
@pytest.mark.parametrize("value", [12, 12.0, "12", "12.0", " 12 ", 1.2e1])
def test_a_counter_may_be_text_or_have_a_fraction_of_zero(side: str, name: str, kind: str, value: Any) -> None:
    assert units_of(parse(record(**{side: {name: value}})))[kind] == 12


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"accountId": "111122223333", ', "not valid JSON"),
        (b"no JSON at all", "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1, 2]", "not an invocation record: no JSON object"),
        (b'"text"', "not an invocation record: no JSON object"),
        (b"null", "not an invocation record: no JSON object"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_record_is_refused(raw: bytes, reason: str) -> None:
    assert refusal_of(raw) == reason


# What else a record says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": 7},
        {"identity": {"arn": ["a"]}},
        {"identity": {"arn": "arn:" + "x" * 2048}},
        {"operation": 7},
        {"operation": "x" * 257},
        {"requestMetadata": "team=search"},
        {"requestMetadata": ["team"]},
        {"performanceConfig": "optimized"},
        {"performanceConfig": {"latency": 7}},
        {"serviceTier": 7},
        {"serviceTier": {"type": ["flex"]}},
        {"errorCode": 500},
    ],
)
def test_a_field_that_does_not_fit_is_left_out_and_the_record_counts(changes: dict[str, Any]) -> None:
    said = parse(record(**changes))

    assert units_of(said) == {"input": 70, "output": 20}
    assert said.flags == ("fields_ignored",)


@pytest.mark.parametrize(
    "name", ["identity", "operation", "requestMetadata", "performanceConfig", "serviceTier", "errorCode", "schemaVersion"]
)
def test_a_field_that_is_null_or_missing_takes_nothing_from_the_record(name: str) -> None:
    said = parse(json.dumps(record() | {name: None}).encode())

    assert units_of(said) == {"input": 70, "output": 20}
    assert "fields_ignored" not in said.flags
    assert units_of(parse(record(**{name: None}))) == {"input": 70, "output": 20}


def test_of_metadata_what_is_text_is_kept() -> None:
    said = parse(record(requestMetadata={"team": "search", "session": 7, "tenant": {"a": 1}}))

    assert (said.request_metadata, said.flags) == ((("team", "search"),), ("fields_ignored",))


@pytest.mark.parametrize("changes", [{"schemaType": "ModelInvocationLogV2"}, {"schemaVersion": "2.0"}, {"schemaType": 7}])
def test_a_record_of_another_schema_counts_if_its_fields_fit(changes: dict[str, Any]) -> None:
    said = parse(record(**changes))

    assert units_of(said) == {"input": 70, "output": 20}
    assert said.flags in (("other_schema",), ("fields_ignored",))


def test_a_record_without_a_schema_is_one_of_the_first() -> None:
    assert parse(record(schemaType=None, schemaVersion=None)).flags == ()


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("ThrottlingException", "ThrottlingException"),
        (f"ValidationException: the prompt {CANARY}1 is too long", "ValidationException"),
        ("429 {}", "unknown"),
    ],
)
def test_of_an_error_its_code_is_kept_and_no_message(stated: str, kept: str) -> None:
    said = parse(record(errorCode=stated, input={}, output={}))

    assert (said.error_code, units_of(said), said.flags) == (kept, {}, ())


def test_the_last_of_two_equal_keys_stands_wherever_it_is_read() -> None:
    twice = json.dumps(record())[:-1] + ', "input": {"inputTokenCount": 5, "inputTokenCount": 6}'

    assert units_of(parse(f"{twice}}}".encode())) == {"input": 6, "output": 20}
    assert units_of(parse(f'{twice}, "identity": 7}}'.encode())) == {"input": 6, "output": 20}


@pytest.mark.parametrize(
    "text", [r"half of a pair \ud83d and more", "a control \x01 character", r"a path C:\\udc00 that is none"]
)
def test_a_text_that_is_not_quite_json_takes_nothing_from_its_record(text: str) -> None:
    body = f'{{"inputTokenCount": 70, "inputBodyJson": {{"text": "{text}"}}}}'
    raw = json.dumps(record()).replace('{"inputTokenCount": 70}', body)

    assert units_of(parse(raw.encode())) == {"input": 70, "output": 20}


# What was used ---------------------------------------------------------------------------------------------------------


CONVERSE = {"inputTokens": 70, "outputTokens": 20, "totalTokens": 90}
CLAUDE = {"input_tokens": 70, "output_tokens": 20, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
OPENAI = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 30}}
RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 20,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens_details": {"reasoning_tokens": 15},
}
STREAM = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 70, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"text": "a"}},
    {"type": "message_delta", "usage": {"output_tokens": 20}},
]
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 70, "outputTokenCount": 20, "invocationLatency": 9}}
TITAN = {"outputText": "a", "index": 0, "inputTextTokenCount": 70, "totalOutputTextTokenCount": 20}
BODIES: dict[str, tuple[Any, Units]] = {
    "converse": ({"usage": CONVERSE}, {"input": 70, "output": 20}),
    "claude": ({"usage": CLAUDE}, {"input": 70, "output": 20}),
    "claude stream": (STREAM, {"input": 70, "output": 20}),
    "claude stream with metrics": (
        [*STREAM, {"type": "message_stop", **METRICS}, "[DONE]"],
        {"input": 70, "output": 20},
    ),
    "metrics over usage": ([METRICS, {"usage": {"input_tokens": 70, "output_tokens": 99}}], {"input": 70, "output": 20}),
    "metrics before usage": ([*STREAM[:2], METRICS], {"input": 70, "output": 20}),
    "chat completions": ({"usage": OPENAI}, {"input": 70, "output": 20, "cache_read": 30}),
    "responses": ({"usage": RESPONSES}, {"input": 70, "output": 20, "cache_read": 30}),
    "responses stream": (
        [{"type": "response.created", "response": {}}, {"type": "response.completed", "response": {"usage": RESPONSES}}],
        {"input": 70, "output": 20, "cache_read": 30},
    ),
    "llama": ({"generation": "a", "prompt_token_count": 70, "generation_token_count": 20}, {"input": 70, "output": 20}),
    "titan text": ({"inputTextTokenCount": 70, "results": [{"tokenCount": 20}]}, {"input": 70, "output": 20}),
    "titan text stream": ([TITAN, METRICS], {"input": 70, "output": 20}),
    "cached": (
        {"usage": CONVERSE | {"cacheReadInputTokens": 5, "cacheReadInputTokenCount": 5}},
        {"input": 70, "output": 20, "cache_read": 5},
    ),
    "counters as text": ({"usage": {"inputTokens": "70", "outputTokens": 20.0}}, {"input": 70, "output": 20}),
}


@pytest.mark.parametrize("name", BODIES)
def test_counters_that_the_record_lacks_come_from_its_body(name: str) -> None:
    body, expected = BODIES[name]

    said = parse(record(input={}, output={"outputBodyJson": body}))

    assert units_of(said) == expected
    assert said.flags == ("usage_from_body",)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_agrees_with_the_record_changes_nothing(name: str) -> None:
    body, expected = BODIES[name]
    cached = {"cacheReadInputTokenCount": expected["cache_read"]} if "cache_read" in expected else {}

    said = parse(counted(body, input={"inputTokenCount": 70, **cached}))

    assert (units_of(said), said.flags) == (expected, ())


@pytest.mark.parametrize("name", BODIES)
def test_where_the_body_disagrees_the_record_stands_and_the_body_fills_in_nothing(name: str) -> None:
    body, _ = BODIES[name]

    said = parse(counted(body, input={"inputTokenCount": 71}))

    assert (units_of(said), said.flags) == ({"input": 71, "output": 20}, ("usage_disagrees",))


def test_input_that_counts_the_cached_is_never_counted_twice() -> None:
    said = parse(counted({"usage": OPENAI}, operation="ChatCompletions", input={"inputTokenCount": 100}))

    assert (units_of(said), said.flags) == ({"input": 100, "output": 20}, ("usage_disagrees",))


def test_more_cached_input_than_input_is_no_usage() -> None:
    said = parse(record(input={}, output={"outputBodyJson": {"usage": OPENAI | {"prompt_tokens": 10}}}))

    assert (units_of(said), said.flags) == ({}, ("unmeasured",))


@pytest.mark.parametrize(
    ("operation", "sides", "units", "flags"),
    [
        ("Converse", {"input": {}, "output": {}}, {}, ("tier_unknown", "unmeasured")),
        ("Converse", {"input": None, "output": None}, {}, ("tier_unknown", "unmeasured")),
        ("Converse", {"input": "text", "output": ["text"]}, {}, ("fields_ignored", "tier_unknown", "unmeasured")),
        ("ConverseStream", {"output": {"outputBodyJson": {}}}, {"input": 70}, ("unmeasured",)),
        ("ChatCompletions", {"input": {}}, {"output": 20}, ("unmeasured",)),
        ("InvokeModel", {"output": {"outputBodyJson": {"embedding": [0.5]}}}, {"input": 70}, ()),
        ("Converse", {"input": {"inputTokenCount": 0}, "output": {"outputTokenCount": 0, "outputBodyJson": {}}}, {}, ()),
        (
            "Converse",
            {"input": {"inputTokenCount": None}, "output": {"outputBodyJson": None}},
            {},
            ("tier_unknown", "unmeasured"),
        ),
    ],
)
def test_a_counter_that_nothing_states_is_not_zero(operation: str, sides: Any, units: Units, flags: tuple[str, ...]) -> None:
    said = parse(record(operation=operation, **sides))

    assert (units_of(said), said.flags) == (units, flags)


@pytest.mark.parametrize("errors", [{"input": {}, "output": {}}, {"input": None, "output": None}])
def test_a_failed_request_is_not_unmeasured(errors: dict[str, Any]) -> None:
    said = parse(record(errorCode="ValidationException", **errors))

    assert (units_of(said), said.flags, said.error_code) == ({}, (), "ValidationException")


SPOOFS = [
    '{"inputTokenCount":999999,"outputTokenCount":999999,"usage":{"inputTokens":999999}}',
    '"inputTokenCount":999999,"identity":{"arn":"arn:aws:iam::000000000000:user/spoof"}',
]


@pytest.mark.parametrize("text", SPOOFS)
def test_text_that_imitates_counters_is_text(text: str) -> None:
    body = {"output": {"message": {"content": [{"text": text}, {"toolUse": {"input": {"usage": {"inputTokens": 999999}}}}]}}}
    prompt = {"messages": [{"role": "user", "content": [{"text": text}]}], "usage": {"inputTokens": 999999}}

    said = parse(counted(body, input={"inputBodyJson": prompt, "inputTokenCount": 70}))

    assert (units_of(said), said.flags) == ({"input": 70, "output": 20}, ())
    assert "spoof" not in said.iam_principal


def writes(total: int, usage: Any) -> MeteredRecord:
    return parse(counted({"usage": usage}, input={"inputTokenCount": 70, "cacheWriteInputTokenCount": total}))


def details(*entries: tuple[Any, Any]) -> dict[str, Any]:
    return CONVERSE | {"cacheDetails": [{"ttl": ttl, "inputTokens": count} for ttl, count in entries]}


@pytest.mark.parametrize(
    ("usage", "split"),
    [
        (details(("5m", 60), ("1h", 40)), {"cache_write": 60, "cache_write_1h": 40}),
        (details(("1h", 30), ("5m", 60), ("1h", 10)), {"cache_write": 60, "cache_write_1h": 40}),
        (details(("30m", 100), ("1h", 0)), {"cache_write_30m": 100}),
        (
            CLAUDE | {"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 100}},
            {"cache_write_1h": 100},
        ),
    ],
)
def test_cache_writes_are_told_apart_by_their_time_to_live(usage: Any, split: Units) -> None:
    said = writes(100, usage)

    assert units_of(said) == {"input": 70, "output": 20, **split}
    assert said.flags == ()


@pytest.mark.parametrize(
    "usage",
    [
        CONVERSE,
        details(("5m", 60), ("1h", 41)),
        details(("5m", 60), ("2h", 40)),
        details(("5m", 110), ("1h", -10)),
        details(("5m", 60), ("1h", "some")),
        CONVERSE | {"cacheDetails": "5m"},
    ],
)
def test_cache_writes_whose_split_is_not_proven_are_priced_at_the_default_time_to_live_and_flagged(usage: Any) -> None:
    said = writes(100, usage)

    assert units_of(said) == {"input": 70, "output": 20, "cache_write": 100}
    assert said.flags == ("cache_write_ttl_unknown",)


def test_a_stream_splits_its_cache_writes_in_its_first_message() -> None:
    creation = {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}
    usage = {"input_tokens": 70, "output_tokens": 1, "cache_creation_input_tokens": 100, "cache_creation": creation}
    stream = [{"type": "message_start", "message": {"usage": usage}}, *STREAM[1:], "[DONE]"]

    said = parse(counted(stream, input={"inputTokenCount": 70, "cacheWriteInputTokenCount": 100}))

    assert units_of(said) == {"input": 70, "output": 20, "cache_write": 60, "cache_write_1h": 40}


@pytest.mark.parametrize(
    ("changes", "tier", "flags"),
    [
        ({"serviceTier": "flex"}, Tier.FLEX, ()),
        ({"serviceTier": {"type": "Priority"}}, Tier.PRIORITY, ()),
        ({"serviceTier": "default"}, Tier.STANDARD, ()),
        ({"serviceTier": "warp"}, Tier.STANDARD, ("tier_unknown",)),
        ({"output": {"outputTokenCount": 20, "outputBodyJson": {"serviceTier": {"type": "reserved"}}}}, Tier.RESERVED, ()),
        ({"output": {"outputTokenCount": 20, "outputBodyJson": {"service_tier": "flex"}}}, Tier.FLEX, ()),
        ({"output": {"outputTokenCount": 20, "outputBodyJson": [{"service_tier": "flex"}]}}, Tier.FLEX, ()),
        ({"output": {"outputTokenCount": 20, "outputBodyS3Path": "s3://b/k"}}, Tier.STANDARD, ("tier_unknown",)),
        ({"serviceTier": "flex", "output": {"outputTokenCount": 20}}, Tier.FLEX, ()),
        ({"performanceConfig": {"latency": "optimized"}}, Tier.LATENCY_OPTIMIZED, ()),
        (
            {"output": {"outputTokenCount": 20, "outputBodyJson": {"performanceConfig": {"latency": "optimized"}}}},
            Tier.LATENCY_OPTIMIZED,
            (),
        ),
        ({"performanceConfig": {"latency": "standard"}}, Tier.STANDARD, ()),
        ({"input": {"inputTokenCount": 70, "inputBodyJson": {"serviceTier": {"type": "flex"}}}}, Tier.STANDARD, ()),
    ],
)
def test_the_tier_is_the_one_that_served_the_request(changes: dict[str, Any], tier: Tier, flags: tuple[str, ...]) -> None:
    said = parse(record(**changes))

    assert (said.tier, said.flags) == (tier, flags)


def image(request: Any = None, response: Any = None, **output: Any) -> dict[str, Any]:
    sides = {"input": {"inputBodyJson": request}, "output": {"outputBodyJson": response, **output}}
    return record(operation="InvokeModel", modelId="amazon.nova-canvas-v1:0", **sides)


@pytest.mark.parametrize(
    ("said", "units", "flags"),
    [
        (image({"imageGenerationConfig": {"numberOfImages": 3}}, {"images": ["a", "b"]}), {"image": 2}, ()),
        (
            image({"imageGenerationConfig": {"numberOfImages": 3}}),
            {"image": 3},
            ("tier_unknown", "images_as_requested"),
        ),
        (image({"imageGenerationConfig": {"numberOfImages": "3"}}, {}), {"image": 3}, ("images_as_requested",)),
        (image({"imageGenerationConfig": {"numberOfImages": -3}}, {}), {}, ("unmeasured",)),
        (image({"imageGenerationConfig": {}}, {}), {}, ("unmeasured",)),
        (image({"inputImage": "aGVsbG8="}, {"embedding": [0.1]}), {"image": 1}, ()),
        (image({"inputImage": None}, {"embedding": [0.1]}), {}, ("unmeasured",)),
        (image({}, {"outputVideoDurationSeconds": 6}), {"second": 6}, ()),
        (image({}, {}, outputVideoDurationSeconds=6), {"second": 6}, ()),
        (image({}, {"results": [{"index": 0}], "meta": {"billed_units": {"search_units": 2}}}), {"search_unit": 2}, ()),
        (image({}, {"results": [{"index": 0}]}), {}, ("unmeasured",)),
    ],
)
def test_what_is_not_billed_by_tokens_is_counted_where_the_body_says_how_much(
    said: dict[str, Any], units: Units, flags: tuple[str, ...]
) -> None:
    parsed = parse(said)

    assert (units_of(parsed), parsed.flags) == (units, flags)


def test_images_in_a_conversation_are_paid_as_its_tokens() -> None:
    said = parse(counted({"images": ["a", "b"]}, input={"inputTokenCount": 70, "inputBodyJson": {"inputImage": "a"}}))

    assert units_of(said) == {"input": 70, "output": 20}


def assessment(**units: Any) -> dict[str, Any]:
    return {"guardrail-1": {"topicPolicy": {"topics": [{"name": CANARY}]}, "invocationMetrics": {"usage": units}}}


@pytest.mark.parametrize(
    ("trace", "units"),
    [
        (
            {
                "trace": {
                    "guardrail": {
                        "modelOutput": [CANARY],
                        "inputAssessment": assessment(topicPolicyUnits=1, wordPolicyUnits=0),
                        "outputAssessments": [assessment(topicPolicyUnits=2, contextualGroundingPolicyUnits=3)],
                    }
                }
            },
            (("contextualGroundingPolicyUnits", 3), ("topicPolicyUnits", 3)),
        ),
        (
            {"trace": {"guardrail": {"outputAssessments": {"g": [assessment(contentPolicyUnits=1)["guardrail-1"]]}}}},
            (("contentPolicyUnits", 1),),
        ),
        (
            {
                "amazon-bedrock-trace": {
                    "guardrail": {"input": assessment(contentPolicyUnits=1, automatedReasoningPolicyUnits=4)}
                }
            },
            (("automatedReasoningPolicyUnits", 4), ("contentPolicyUnits", 1)),
        ),
        ({"trace": {"guardrail": {"inputAssessment": assessment(sensitiveInformationPolicyFreeUnits=1)}}}, ()),
        ({"trace": {"guardrail": {"inputAssessment": {"g": {"invocationMetrics": {"usage": {"topicPolicyUnits": -1}}}}}}}, ()),
        ({"trace": "ENABLED"}, ()),
    ],
)
def test_guardrail_units_are_counted_by_policy_apart_from_the_model_s(trace: Any, units: tuple[tuple[str, int], ...]) -> None:
    said = parse(counted({"usage": CONVERSE, "stopReason": "guardrail_intervened", **trace}))

    assert (units_of(said), said.guardrail_units, said.flags) == ({"input": 70, "output": 20}, units, ())


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"usage": {"inputTokens": 999}}),
        ["a", {"text": "b"}, 7, None, ["c"]],
        {"usage": "none", "message": "hello", "results": "text", "images": 7, "meta": [], "trace": 1},
        {"usage": {"inputTokens": -5, "outputTokens": {"n": 1}}},
        7,
        True,
        "x" * 100_000,
    ],
)
def test_a_body_of_any_shape_takes_nothing_from_its_record(body: Any) -> None:
    said = parse(counted(body))

    assert (units_of(said), said.flags) == (
        {"input": 70, "output": 20},
        () if isinstance(body, list | dict) else ("tier_unknown",),
    )


def test_a_record_read_field_by_field_says_what_it_says_at_once() -> None:
    month = inputs.month()
    differing = []
    for request in month.requests:
        if request.is_logged:
            said = invocation_log.record_of(request)
            at_once = parse(compact_json(said))
            by_field = parse(compact_json(said | {"performanceConfig": "not an object"}))
            if by_field != replace(at_once, flags=("fields_ignored", *at_once.flags)):
                differing.append(request.request_id)

    assert not differing


# The objects that records are in ---------------------------------------------------------------------------------------


def test_every_logged_request_of_the_company_costs_what_it_truly_costs_or_says_why_not() -> None:
    month = company.build("2026-10", 7, 2_000)
    prices = [p for code, body in price_list.offers(month).items() for p in read_offer(body, code).prices]
    requests = {r.request_id: r for r in month.requests if r.is_logged}
    lines = [compact_json(invocation_log.record_of(request)) for request in requests.values()]
    pricing = Pricing(FakePrices(*prices), FakeDirectory(*_profiles(month)))

    halves = [
        (said.key.request_id, pricing.metered(said))
        for said in parse_records([b"\n".join(lines)], SOURCE, casefolded(("team", "tenant")))
        if isinstance(said, MeteredRecord)
    ]

    assert len(halves) == len(requests)
    wrong = [name for name, half in halves if cost_of(half) != requests[name].list_cost and not half.flags]
    exact = [name for name, half in halves if cost_of(half) == requests[name].list_cost]
    assert not wrong
    assert len(exact) > 0.99 * len(requests)


def _profiles(month: company.Month) -> Iterator[DirectoryEntry]:
    """What Bedrock's API would say of the application inference profiles that were called."""
    for request in month.requests:
        call = request.call
        if call.profile and request.is_logged:
            model = parse(compact_json(invocation_log.record_of(request))).model_id
            routing = Routing.GLOBAL if call.routing == "global" else Routing.REGIONAL
            key = call.model.model_id.split(":")[0].removesuffix("-v1")
            yield DirectoryEntry(model, _canonical(key), routing, Tier.STANDARD, request.time, request.time)


def _canonical(key: str) -> str:
    from attribution.models import model_reference

    return model_reference(key).model


def cost_of(half: Metered) -> Decimal:
    return sum((kind.cost for kind in half.kinds.values() if kind.cost is not None), start=Decimal(0))


def all_of(content: bytes, size: int = 1 << 16) -> list[MeteredRecord | InputRejected]:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return list(parse_records(pieces, SOURCE, TAG_KEYS))


def told(found: Sequence[MeteredRecord | InputRejected]) -> list[str]:
    """Request ids, and of what was refused the line and the reason."""
    return [f"{r.line}: {r.reason}" if isinstance(r, InputRejected) else r.key.request_id for r in found]


ONE, TWO = (json.dumps(record(requestId=name)).encode() for name in ("r-1", "r-2"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ONE + b"\n" + TWO + b"\n", ["r-1", "r-2"]),
        (ONE + b"\n" + TWO, ["r-1", "r-2"]),
        (b"\xef\xbb\xbf" + ONE + b"\r\n" + TWO + b"\r\n", ["r-1", "r-2"]),
        (b"\n\n" + ONE + b"\n \n" + b"torn\n" + TWO, ["r-1", "5: not valid JSON", "r-2"]),
        (b"[" + ONE + b",\n" + TWO + b", 7]", ["r-1", "r-2", "3: not an invocation record: no JSON object"]),
        (json.dumps(record(), indent=2).encode(), ["r-1"]),
        (b"\xef\xbb\xbf \n" + json.dumps([record()], indent=2).encode(), ["r-1"]),
        (ONE + b" " + TWO + b"\n\ntorn", ["r-1", "r-2", "3: not valid JSON"]),
        (ONE + TWO + b"\n\n", ["r-1", "r-2"]),
        (b"", []),
        (b" \n\n\t\n", []),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_records_come_a_line_each_or_in_one_array_or_alone_over_several_lines(
    content: bytes, expected: list[str], size: int
) -> None:
    assert told(all_of(content, size)) == expected


@given(
    st.lists(st.sampled_from([ONE, TWO, b"", b"  ", b"torn", b'{"requestId": "r-9"}', b"{}", b"[]"]), max_size=12),
    st.lists(st.integers(1, 400), max_size=12),
)
def test_however_the_content_is_cut_into_pieces_every_line_has_its_own_outcome_and_number(
    lines: list[bytes], cuts: list[int]
) -> None:
    content = b"\n".join([ONE, *lines])
    pieces = []
    rest = content
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    each = [(n, line) for n, line in enumerate([ONE, *lines], start=1) if line.strip()]

    found = list(parse_records([*pieces, rest], SOURCE, TAG_KEYS))

    assert len(found) == len(each)
    for (number, line), outcome in zip(each, found, strict=True):
        try:
            assert outcome == parse_record(line, SOURCE, number, TAG_KEYS)
        except InputRejected as refused:
            assert isinstance(outcome, InputRejected)
            assert (outcome.line, outcome.reason) == (number, refused.reason)


@pytest.mark.parametrize("content", [b"[" + ONE + b", ", b"[" + b"[" * 200_000])
def test_an_array_that_is_not_whole_is_refused_whole(content: bytes) -> None:
    with pytest.raises(InputRejected, match="neither JSON lines nor a JSON array of records"):
        all_of(content)


@pytest.mark.parametrize("filler", [b"\0", b" ", b"x"])
def test_content_without_line_ends_is_refused_before_it_fills_the_memory(filler: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(1000):
            yield filler * (1 << 20)
        raise AssertionError("read to its end")

    with pytest.raises(InputRejected, match="not a log of records: longer than"):
        list(parse_records(pieces(), SOURCE, TAG_KEYS))


STORED = StoredObject("logs", "a.json.gz")


class OneObject:
    """An S3 client that knows one object."""

    def __init__(self, body: bytes, size: int | None = None) -> None:
        self._body = body
        self._size = len(body) if size is None else size

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self._body), "ContentLength": self._size}


def test_an_object_that_is_too_large_for_the_memory_is_refused_unread() -> None:
    logs = S3InvocationLogs(OneObject(ONE, size=256 * 1024 * 1024 + 1), "logs", "", ("team",))  # type: ignore[arg-type]

    with pytest.raises(InputRejected, match="larger than 268435456 bytes"):
        next(logs.read(STORED))


def test_a_large_object_is_read_in_little_memory() -> None:
    long = json.dumps(record(input={"inputTokenCount": 70, "inputBodyJson": {"text": "word " * 4_000}})).encode() + b"\n"
    body = gzip.compress(long * 4_000, compresslevel=1, mtime=0)
    logs = S3InvocationLogs(OneObject(body), "logs", "", ("team",))  # type: ignore[arg-type]

    tracemalloc.start()
    count = sum(1 for said in logs.read(STORED) if isinstance(said, MeteredRecord))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 4_000
    assert len(long) * 4_000 > 80_000_000
    assert peak < 40_000_000


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 9))
def test_gzip_of_several_members_is_expanded_as_one(parts: list[bytes], level: int) -> None:
    body = b"".join(gzip.compress(part, level, mtime=0) for part in parts)

    assert expand(body, STORED) == b"".join(parts) == b"".join(expand_in_pieces(body, STORED))


def test_damaged_content_is_refused_before_any_of_it_is_recorded() -> None:
    random_lines = b"".join(
        json.dumps(record(requestId=f"r-{n}", operation=f"{n:x}" * 9)).encode() + b"\n" for n in range(100_000)
    )
    damaged = bytearray(gzip.compress(random_lines, compresslevel=1, mtime=0))
    damaged[-8] ^= 1

    logs = S3InvocationLogs(OneObject(bytes(damaged)), "logs", "", ("team",))  # type: ignore[arg-type]

    assert len(random_lines) > 1 << 24
    with pytest.raises(InputRejected, match="not readable as gzip"):
        next(logs.read(STORED))


@pytest.mark.parametrize(
    ("key", "holds_records"),
    [
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/20260205T145950123Z_ab.json.gz", True),
        ("p//AWSLogs/111122223333/BedrockModelInvocationLogs/us-gov-west-1/2026/02/05/14/x.json.gz", True),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/data/r1_input.json.gz", False),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/data/r1_input_media_00.pdf", False),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/amazon-bedrock-logs-permission-check", False),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check.json", False),
        ("AWSLogs/111122223333/CloudTrail/us-east-1/2026/02/05/x.json.gz", False),
    ],
)
def test_the_objects_that_hold_records_are_known_by_their_keys(key: str, holds_records: bool) -> None:
    assert is_records_object(key) is holds_records


# CloudWatch Logs -------------------------------------------------------------------------------------------------------


GROUP = "/aws/bedrock/invocations"
STREAM_NAME = "aws/bedrock/modelinvocations"


def delivery(*messages: str, **changes: Any) -> str:
    events = [{"id": f"e{n}", "timestamp": 1770301431000 + 1000 * n, "message": message} for n, message in enumerate(messages)]
    batch = {"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": GROUP, "logStream": STREAM_NAME, "logEvents": events}
    return base64.b64encode(gzip.compress(json.dumps(batch | changes).encode(), mtime=0)).decode()


def test_log_events_hold_one_record_each_and_are_named_by_their_ids() -> None:
    logs = SubscribedInvocationLogs(GROUP, ("team",))

    batch = logs.batch(delivery(json.dumps(record()), "Permissions are correctly set", '{"torn', "{}"), "a delivery")
    said, sentence, torn, empty = logs.read(batch)

    assert said == parse_record(ONE, f"{GROUP}/{STREAM_NAME}#e0", None, TAG_KEYS)
    assert sentence is None
    assert isinstance(torn, InputRejected) and isinstance(empty, InputRejected)
    assert (torn.source, torn.reason, torn.line) == (f"{GROUP}/{STREAM_NAME}#e2", "not valid JSON", None)
    assert empty.reason == KEY_MISSING.format("accountId")
    assert batch.span == "2026-02-05T14:23:51+00:00 to 2026-02-05T14:23:54+00:00"


def test_a_test_of_the_delivery_holds_no_records() -> None:
    logs = SubscribedInvocationLogs(GROUP, ("team",))

    batch = logs.batch(delivery("CWL CONTROL MESSAGE", messageType="CONTROL_MESSAGE", logGroup="", logStream=""), "a delivery")

    assert list(logs.read(batch)) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("not Base64", "the log events are not in Base64"),
        (base64.b64encode(b"\x1f\x8bnot gzip").decode(), "not readable as gzip"),
        (base64.b64encode(gzip.compress(b"not JSON", mtime=0)).decode(), "not log events as a subscription delivers them"),
        (base64.b64encode(gzip.compress(b"{}", mtime=0)).decode(), "not log events as a subscription delivers them"),
        (delivery(logEvents=[{"id": 7}]), "not log events as a subscription delivers them"),
        (
            delivery(logEvents=[{"id": "e", "message": "m", "timestamp": 10**30}]),
            "not log events as a subscription delivers them",
        ),
        (delivery(ONE.decode(), logGroup="/another"), "log events of another log group than /aws/bedrock/invocations"),
    ],
)
def test_a_delivery_that_cannot_be_read_is_refused_by_its_name(data: str, reason: str) -> None:
    with pytest.raises(InputRejected, match=reason) as refused:
        SubscribedInvocationLogs(GROUP, ("team",)).batch(data, "a delivery")

    assert refused.value.source == "a delivery"


# What people wrote -----------------------------------------------------------------------------------------------------


# Where a record's own words are kept.
KEPT = {
    ("timestamp",), ("accountId",), ("region",), ("requestId",), ("operation",), ("modelId",), ("errorCode",),
    ("identity",), ("identity", "arn"), ("requestMetadata",), ("requestMetadata", "team"),
}  # fmt: skip
FULL = record(
    requestMetadata={"team": "search", "tenant": f"{CANARY}metadata"},
    status=f"{CANARY}status",
    errorMessage=f"{CANARY}error",
    inferenceRegion="us-east-2",
    serviceTier={"type": "flex"},
    performanceConfig={"latency": "standard"},
    headers={"authorization": f"{CANARY}header"},
    input={
        "inputContentType": "application/json",
        "inputTokenCount": 70,
        "cacheReadInputTokenCount": 5,
        "cacheWriteInputTokenCount": 100,
        "inputBodyJson": {
            "messages": [{"role": "user", "content": [{"text": f"{CANARY}prompt"}, {"inputImage": f"{CANARY}image"}]}],
            "imageGenerationConfig": {"numberOfImages": 1},
            "inputImage": f"{CANARY}image",
        },
    },
    output={
        "outputTokenCount": 20,
        "outputBodyJson": {
            "output": {"message": {"content": [{"text": f"{CANARY}completion"}]}},
            "usage": details(("5m", 60), ("1h", 40)),
            "images": [f"{CANARY}image"],
            "serviceTier": {"type": "flex"},
            "trace": {"guardrail": {"modelOutput": [CANARY], "inputAssessment": assessment(topicPolicyUnits=1)}},
        },
    },
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON value, its containers among them."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


PLACES = [path for path in places(FULL) if path and path not in KEPT]


def planted(value: Any, path: Sequence[str | int], canary: Any) -> Any:
    """A copy of a JSON value with something else at one place."""
    if not path:
        return canary
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = planted(copy[path[0]], path[1:], canary)
    return copy


def everything_said(raw: bytes) -> str:
    """All that is left of a record, or of its refusal as a log would show it."""
    try:
        outcomes = list(parse_records([raw], SOURCE, TAG_KEYS))
    except InputRejected as refused:
        outcomes = [refused]
    refusals = (outcome for outcome in outcomes if isinstance(outcome, InputRejected))
    return "\n".join([*map(repr, outcomes), *("".join(traceback.format_exception(refused)) for refused in refusals)])


@given(
    st.sampled_from(PLACES),
    st.sampled_from([CANARY, [CANARY], {CANARY: CANARY}, {"type": CANARY}, f"{CANARY}{'x' * 3000}", -1, {}]),
)
def test_whatever_stands_wherever_in_a_record_none_of_its_text_is_kept(path: tuple[str | int, ...], canary: Any) -> None:
    assert CANARY not in everything_said(json.dumps(planted(FULL, path, canary)).encode())


@given(
    st.integers(0, len(json.dumps(FULL)) - 1),
    st.integers(0, 40),
    st.sampled_from([b"", b"{", b"}", b'"', b"\\", b"\xff", b"\n", b"[", b"-", b"\x00", b"\\ud800"]),
)
def test_wherever_a_record_is_broken_none_of_its_text_is_kept(at: int, removed: int, inserted: bytes) -> None:
    whole = json.dumps(FULL).encode()

    assert CANARY not in everything_said(whole[:at] + inserted + whole[at + removed :])


# Records that others published -----------------------------------------------------------------------------------------


FAB: list[object] = [({}, ("unmeasured",))] * 6
BLOCKED = tuple(
    (f"{policy}PolicyUnits", 2) for policy in ("content", "contextualGrounding", "sensitiveInformation", "topic", "word")
)
# What each published record says was used, with its flags and guardrail units, or why it is refused; in the file's order.
OUTCOMES: dict[str, list[object]] = {
    "awsobservability_cohere_invokemodel.json": [({"input": 8, "output": 20},)],
    "awssamples_distillation_llama_invokemodel.json.malformed.txt": ["1: not valid JSON"],
    "crossbearing_fab_invocations.jsonl": FAB,
    "crossbearing_ingest_tests.json": [
        *FAB[:2],
        *(f"{place}: {KEY_MISSING.format('accountId')}" for place in range(3, 15)),
        *FAB[:2],
    ],
    "elastic_pipeline_subset.ndjson": [
        ({},),
        ({"input": 70, "output": 209}, (), BLOCKED),
        ({"input": 859, "output": 15},),
        ({"input": 3263, "output": 300},),
        ({},),
        ({},),
        ({"input": 20, "output": 18}, (), (("sensitiveInformationPolicyUnits", 1), ("topicPolicyUnits", 1))),
        ({"input": 62, "output": 36},),
    ],
    "elastic_stream_tail_cut.ndjson.malformed.txt": ["1: not valid JSON"],
    "panther_bedrock_model_invocation_tests.json": [*[({},)] * 7, ({}, ("unmeasured",), (("contentPolicyUnits", 1),))],
}


def outcome_of(found: MeteredRecord | InputRejected) -> object:
    if isinstance(found, InputRejected):
        return f"{found.line}: {found.reason}"
    said = (units_of(found), found.flags, found.guardrail_units)
    return next((said[:length] for length in (1, 2) if not any(said[length:])), said)


@pytest.mark.skipif(not inputs.sample_files("invocation_logs"), reason="the published sample records are not at hand")
def test_every_published_record_has_a_stated_outcome() -> None:
    found = {path.name: [outcome_of(r) for r in all_of(path.read_bytes())] for path in inputs.sample_files("invocation_logs")}

    assert found == OUTCOMES
