"""The function that records invocation log objects: on its sample event, on the company's logs, and on broken objects."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

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

    def fails_for_b(key: Any, metered: Any) -> Any:
        if key.request_id == "b":
            raise ConnectionError("the table does not answer")
        return original(key, metered)

    monkeypatch.setattr(handler.invocations, "record_metered", fails_for_b)

    answer = stack.invoke(handler, messages(FUNCTION, events))

    assert answer == failed("m1")
    assert len(stack.items("InvocationsTable")) == 2
    assert stack.notices() == []


def test_the_first_of_two_records_that_disagree_stands_and_the_other_is_quarantined(stack: Stack) -> None:
    other = record("r1", output={"outputTokenCount": 999})

    run(stack, land(stack, "a", lines(record("r1"), other)))

    (item,) = stack.items("InvocationsTable")
    assert item["metered"]["units"]["output"] == 20
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
        pytest.param(b"", "decompression bomb", id="bomb"),
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


def test_no_prompt_completion_or_session_token_reaches_any_sink(stack: Stack) -> None:
    inputs.load_prices(stack)
    objects = inputs.log_objects(stack, inputs.month())
    assert any(CANARY.encode() in gzip.decompress(o.body) for o in objects if o.body), "the logs carry no canary"
    broken = [land(stack, "cut", lines(record("r1"))[:-9]), land(stack, "torn", lines("{" + CANARY, record("r2", requestId=7)))]

    run(stack, *inputs.put_logs(stack, objects), *broken)
    trail = inputs.trail_events(inputs.month())
    stack.run("record_api_calls", messages("record_api_calls", [*trail, {"detail": CANARY}]))

    sinks = [json.dumps(stack.wire_items(table)) for table in ("InvocationsTable", "LedgerTable", "AlertsTable")]
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
