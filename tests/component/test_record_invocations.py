"""The function that records invocation log objects: on its sample event, on the company's logs, and on broken objects."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from attribution.meters import TokenKind
from attribution.usage import Metered
from tests.support import inputs
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages, object_created
from truth.objects import CANARY, compress

FUNCTION = "record_invocations"
KEY = "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/20260205T145950123Z_{}.json.gz"


def record(request_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog",
        "timestamp": "2026-02-05T14:23:51Z",
        "accountId": "111122223333",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/BedrockCallerRole/jane"},
        "region": "us-east-1",
        "requestId": request_id,
        "operation": "Converse",
        "modelId": "us.anthropic.claude-sonnet-4-6",
        "input": {"inputBodyJson": {"text": f"{CANARY}prompt"}, "inputTokenCount": 70},
        "output": {"outputBodyJson": {"text": f"{CANARY}completion"}, "outputTokenCount": 20},
    } | changes


def lines(*records: object) -> bytes:
    return compress("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode())


def land(stack: Stack, name: str, body: bytes) -> dict[str, Any]:
    """Put one log object; returns its event."""
    stack.put("InvocationLogBucket", KEY.format(name), body)
    return object_created(stack.parameters["InvocationLogBucket"], KEY.format(name))


def run(stack: Stack, *events: Any) -> dict[str, Any]:
    return stack.run(FUNCTION, messages(FUNCTION, events))


def halves_of(stack: Stack) -> list[Metered]:
    return [found.metered for found in stack.invocations() if found.metered]


def test_the_sample_event_records_the_requests_of_its_object(stack: Stack) -> None:
    event = load_event(FUNCTION)
    key = json.loads(event["Records"][0]["body"])["detail"]["object"]["key"]
    stack.put("InvocationLogBucket", key, lines(record("r1"), record("r2")))

    answer = stack.run(FUNCTION, event)

    assert answer == FAILED_NONE
    assert [item["pk"] for item in stack.items("InvocationsTable")] == [f"111122223333#us-east-1#r{n}" for n in (1, 2)]
    assert stack.metrics()["InvocationsRecorded"] == 2


def test_the_sample_event_about_an_object_that_is_gone_ends_in_quarantine(stack: Stack) -> None:
    answer = stack.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    (notice,) = stack.notices()
    assert "does not exist any more" in notice["reason"]
    assert stack.metrics()["InputRejected"] == 1


def test_a_repeated_event_changes_nothing(stack: Stack) -> None:
    inputs.load_prices(stack)
    events = inputs.put_logs(stack, inputs.log_objects(stack, inputs.month()))
    run(stack, *events)
    before = stack.wire_items("InvocationsTable")

    answer = run(stack, *reversed(events))

    assert answer == FAILED_NONE
    assert stack.wire_items("InvocationsTable") == before
    assert stack.notices() == []


def test_every_logged_request_of_the_company_is_recorded_once(stack: Stack) -> None:
    inputs.load_prices(stack)

    inputs.record_logs(stack, inputs.month())

    logged = {r.request_id for r in inputs.month().requests if r.is_logged}
    assert sorted(item["pk"].split("#")[2] for item in stack.items("InvocationsTable")) == sorted(logged)
    assert stack.metrics()["InvocationsRecorded"] == len(logged)


def test_a_broken_line_is_quarantined_and_its_neighbours_count(stack: Stack) -> None:
    event = land(stack, "a", lines(record("r1"), '{"accountId": "111122223333", "' + CANARY, record("r2")))

    answer = run(stack, event)

    assert answer == FAILED_NONE
    assert len(stack.items("InvocationsTable")) == 2
    (notice,) = stack.notices()
    assert notice["line"] == 2 and notice["source"].endswith(KEY.format("a"))
    assert CANARY not in json.dumps(notice)


def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(stack: Stack) -> None:
    event = land(stack, "a", lines(record("r1")))

    answer = run(stack, {"detail": {"bucket": f"{CANARY}wrong"}}, "no JSON " + CANARY, event)

    assert answer == FAILED_NONE
    assert len(stack.items("InvocationsTable")) == 1
    assert sorted(n["source"] for n in stack.notices()) == ["message m0", "message m1"]
    assert CANARY not in json.dumps(stack.notices()) + stack.log.getvalue()


def test_only_the_message_that_failed_is_returned(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [land(stack, name, lines(record(name))) for name in ("a", "b", "c")]
    handler = stack.handler(FUNCTION)
    original = handler.invocations.record_metered

    def fails_for_b(halves: Any) -> Any:
        error = ConnectionError("the table does not answer")
        return [error if half.key.request_id == "b" else original([half])[0] for half in halves]

    monkeypatch.setattr(handler.invocations, "record_metered", fails_for_b)

    answer = stack.invoke(handler, messages(FUNCTION, events))

    assert answer == failed("m1")
    assert len(stack.items("InvocationsTable")) == 2
    assert stack.notices() == []


def test_the_first_of_two_records_that_disagree_stands_and_the_other_is_quarantined(stack: Stack) -> None:
    other = record("r1", output={"outputTokenCount": 999})

    run(stack, land(stack, "a", lines(record("r1"), other)))

    (half,) = halves_of(stack)
    assert half.kinds[TokenKind.OUTPUT].units == 20
    (notice,) = stack.notices()
    assert "the first stands" in notice["reason"]
    assert stack.metrics()["InputRejected"] == 1


@cache
def bomb() -> bytes:
    return gzip.compress(b"\0" * (257 * 1024 * 1024), compresslevel=1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(lines(record("r1"), record("r2"))[:-12], "cut short", id="cut-short"),
        pytest.param(b"\x1f\x8bnot gzip at all", "not readable as gzip", id="not-gzip"),
        pytest.param(b"", "not a log of records", id="bomb"),
        pytest.param(compress(b'[{"requestId": "' + CANARY.encode()), "neither JSON lines nor a JSON array", id="broken-array"),
    ],
)
def test_an_object_that_cannot_be_read_is_quarantined_whole(stack: Stack, body: bytes, reason: str) -> None:
    answer = run(stack, land(stack, "broken", body or bomb()), land(stack, "whole", lines(record("r9"))))

    assert answer == FAILED_NONE
    (notice,) = stack.notices()
    assert reason in notice["reason"] and CANARY not in json.dumps(notice)
    assert len(stack.items("InvocationsTable")) == 1


def test_an_object_without_content_has_no_requests(stack: Stack) -> None:
    answer = run(stack, land(stack, "empty", b""))

    assert answer == FAILED_NONE
    assert stack.items("InvocationsTable") == [] and stack.notices() == []
    assert stack.said("invocations recorded")[0]["recorded"] == 0


@pytest.mark.parametrize(
    "key",
    [
        "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/data/r1_input.json.gz",
        "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check",
        "bedrock/elsewhere/notes.json.gz",
    ],
)
def test_an_object_that_holds_no_records_is_ignored_without_being_read(stack: Stack, key: str) -> None:
    answer = run(stack, object_created(stack.parameters["InvocationLogBucket"], key))

    assert answer == FAILED_NONE
    assert stack.said("object ignored")[0]["object"].endswith(key)
    assert stack.items("InvocationsTable") == [] and stack.notices() == []


@pytest.mark.parametrize(("bucket", "key"), [("cost-reports", KEY), ("invocation-logs", KEY.replace("bedrock/", "other/"))])
def test_an_object_outside_of_the_configured_place_is_never_read(stack: Stack, bucket: str, key: str) -> None:
    parameter = "CostReportBucket" if bucket == "cost-reports" else "InvocationLogBucket"
    stack.put(parameter, key.format("a"), lines(record("r1")))

    answer = run(stack, object_created(bucket, key.format("a")))

    assert answer == FAILED_NONE
    assert stack.items("InvocationsTable") == []
    assert "nothing is read from there" in stack.notices()[0]["reason"]


def test_requests_that_lack_counters_are_counted_as_unmeasured(stack: Stack) -> None:
    run(stack, land(stack, "a", lines(record("r1"), record("r2", input={}, output={}))))

    assert (stack.metrics()["InvocationsRecorded"], stack.metrics()["InvocationsUnmeasured"]) == (2, 1)


def test_guardrail_units_are_kept_with_the_request_and_cost_nothing_of_the_model_s(stack: Stack) -> None:
    units = {"topicPolicyUnits": 2, "wordPolicyUnits": 0}
    trace = {"guardrail": {"inputAssessment": {"g1": {"invocationMetrics": {"usage": units}}}}}

    run(stack, land(stack, "a", lines(record("r1", output={"outputBodyJson": {"trace": trace}, "outputTokenCount": 20}))))

    (half,) = halves_of(stack)
    assert half.guardrail_units == (("topicPolicyUnits", 2),)
    assert set(half.kinds) == {TokenKind.INPUT, TokenKind.OUTPUT}


# The subscription ------------------------------------------------------------------------------------------------------


GROUP = "/aws/bedrock/invocations"
STREAM = "aws/bedrock/modelinvocations"


@pytest.fixture
def subscribed() -> Iterator[Stack]:
    """A stack that is subscribed to a log group as well."""
    with mock_aws():
        yield Stack(overrides={"InvocationLogGroup": GROUP})


def delivery(*said: object, **changes: Any) -> dict[str, Any]:
    """Log events as Lambda receives them, with the ids `e0`, `e1` and so on."""
    messages_of = [text if isinstance(text, str) else json.dumps(text) for text in said]
    events = [{"id": f"e{n}", "timestamp": 1770301431000, "message": message} for n, message in enumerate(messages_of)]
    batch = {"messageType": "DATA_MESSAGE", "logGroup": GROUP, "logStream": STREAM, "logEvents": events} | changes
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(batch).encode())).decode()}}


def test_log_events_are_recorded_like_the_lines_of_an_object(subscribed: Stack) -> None:
    assert subscribed.run(FUNCTION, delivery(record("r1"), record("r2"))) is None

    items = subscribed.items("InvocationsTable")
    assert [item["pk"] for item in items] == [f"111122223333#us-east-1#r{n}" for n in (1, 2)]
    assert [half.log_object for half in halves_of(subscribed)] == [f"{GROUP}/{STREAM}#e{n}" for n in (0, 1)]
    assert subscribed.metrics()["InvocationsRecorded"] == 2


def test_every_request_of_the_company_that_comes_both_ways_is_recorded_once(subscribed: Stack) -> None:
    inputs.load_prices(subscribed)
    objects = [o for o in inputs.log_objects(subscribed, inputs.month()) if o.body and "/data/" not in o.key]
    told = [delivery(*gzip.decompress(o.body).decode().splitlines()) for o in objects]
    half = len(objects) // 2
    for event in told[:half]:
        subscribed.run(FUNCTION, event)
    run(subscribed, *inputs.put_logs(subscribed, objects))
    before = subscribed.wire_items("InvocationsTable")

    for event in told:
        subscribed.run(FUNCTION, event)

    logged = {r.request_id for r in inputs.month().requests if r.is_logged}
    assert {item["pk"]["S"].split("#")[2] for item in before} == logged
    assert subscribed.wire_items("InvocationsTable") == before
    assert subscribed.notices() == []
    assert subscribed.metrics()["InvocationsRecorded"] == len(logged)


def test_a_broken_log_event_is_quarantined_by_its_id_and_its_neighbours_count(subscribed: Stack) -> None:
    event = delivery(record("r1"), '{"requestId": "' + CANARY, "Permissions are correctly set for " + CANARY, record("r2"))

    subscribed.run(FUNCTION, event)

    assert len(subscribed.items("InvocationsTable")) == 2
    (notice,) = subscribed.notices()
    assert (notice["source"], notice["reason"]) == (f"{GROUP}/{STREAM}#e1", "not valid JSON")
    (said,) = subscribed.said("invocations recorded")
    assert (said["recorded"], said["rejected"], said["ignored"]) == (2, 1, 1)


def test_a_test_of_the_subscription_is_not_counted(subscribed: Stack) -> None:
    subscribed.run(FUNCTION, delivery("CWL CONTROL MESSAGE", messageType="CONTROL_MESSAGE", logGroup="", logStream=""))

    assert subscribed.items("InvocationsTable") == [] and subscribed.notices() == []
    assert subscribed.metrics()["InputRejected"] == 0


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"awslogs": {"data": "not Base64 " + CANARY}}, "not in Base64"),
        ({"awslogs": {"data": base64.b64encode(gzip.compress(CANARY.encode())).decode()}}, "not log events"),
        ({"awslogs": {"text": CANARY}}, "not a LogEventsDelivered message: awslogs.data"),
        (delivery(record("r1"), logGroup="/another/group"), "another log group"),
    ],
)
def test_log_events_that_cannot_be_read_are_quarantined_and_not_tried_again(
    subscribed: Stack, event: dict[str, Any], reason: str
) -> None:
    assert subscribed.run(FUNCTION, event) is None

    (notice,) = subscribed.notices()
    assert reason in notice["reason"] and notice["source"].startswith("log events of invocation ")
    assert subscribed.items("InvocationsTable") == []
    assert CANARY not in json.dumps(notice) + subscribed.log.getvalue()


def test_a_stack_without_a_log_group_takes_no_log_events(stack: Stack) -> None:
    stack.run(FUNCTION, delivery(record("r1"), logGroup=""))

    assert stack.items("InvocationsTable") == []
    assert "another log group" in stack.notices()[0]["reason"]


def test_log_events_that_cannot_be_written_fail_and_the_log_says_what_to_replay(
    subscribed: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = subscribed.handler(FUNCTION)

    def fails(halves: Any) -> Any:
        return [ConnectionError("the table does not answer") for half in halves]

    monkeypatch.setattr(handler.invocations, "record_metered", fails)

    with pytest.raises(ConnectionError):
        subscribed.invoke(handler, delivery(record("r1")))

    (said,) = subscribed.said("log events failed")
    assert (said["log_stream"], said["exception_name"]) == (f"{GROUP}/{STREAM}", "ConnectionError")
    assert said["span"] == "2026-02-05T14:23:51+00:00 to 2026-02-05T14:23:51+00:00"
    assert CANARY not in subscribed.log.getvalue()


TORN = [
    "{" + CANARY,
    record("r3", requestId=7),
    record("r4", timestamp=CANARY),
    record("r5", requestMetadata={"other": CANARY}),
]


def test_no_prompt_completion_or_session_token_reaches_any_sink(subscribed: Stack) -> None:
    stack = subscribed
    inputs.load_prices(stack)
    objects = inputs.log_objects(stack, inputs.month())
    assert any(CANARY.encode() in gzip.decompress(o.body) for o in objects if o.body), "the logs carry no canary"
    broken = [land(stack, "cut", lines(record("r1"))[:-9]), land(stack, "torn", lines(*TORN))]

    run(stack, *inputs.put_logs(stack, objects), *broken)
    stack.run(FUNCTION, delivery(*(r | {"requestId": f"w{n}"} if isinstance(r, dict) else r for n, r in enumerate(TORN))))
    trail = inputs.trail_events(inputs.month())
    stack.run("record_api_calls", messages("record_api_calls", [*trail, {"detail": CANARY}]))

    sinks = [stack.text_of(table) for table in ("InvocationsTable", "LedgerTable", "AlertsTable")]
    sinks += [body.decode(errors="replace") for body in stack.objects("WorkBucket").values()]
    sinks += [message.body for message in stack.sent("ApiCallQueue")]
    assert CANARY in json.dumps(trail), "the CloudTrail events carry no canary"
    assert CANARY not in "".join(sinks) + stack.log.getvalue()


# What every published record ends as, by file and in the file's order: recorded, repeated, conflicting or rejected.
OUTCOMES = {
    "awsobservability_cohere_invokemodel.json": {"recorded": 1},
    "awssamples_distillation_llama_invokemodel.json.malformed.txt": {"rejected": 1},
    "crossbearing_fab_invocations.jsonl": {"recorded": 6},
    "crossbearing_ingest_tests.json": {"recorded": 2, "rejected": 12, "repeated": 1, "conflicting": 1},
    "elastic_pipeline_subset.ndjson": {"recorded": 6, "repeated": 2},
    "elastic_stream_tail_cut.ndjson.malformed.txt": {"rejected": 1},
    "panther_bedrock_model_invocation_tests.json": {"recorded": 2, "repeated": 2, "conflicting": 4},
}


@pytest.mark.skipif(not inputs.sample_files("invocation_logs"), reason="the published sample records are not at hand")
@pytest.mark.parametrize("path", inputs.sample_files("invocation_logs"), ids=lambda path: path.name)
def test_every_published_record_has_a_stated_outcome(stack: Stack, path: Path) -> None:
    answer = run(stack, land(stack, "published", path.read_bytes()))

    assert answer == FAILED_NONE
    (said,) = stack.said("invocations recorded")
    names = ("recorded", "repeated", "conflicting", "rejected")
    assert {name: said[name] for name in names if said[name]} == OUTCOMES[path.name]
    assert len(stack.items("InvocationsTable")) == said["recorded"]
    assert bool(stack.notices()) == bool(said["rejected"] + said["conflicting"])
