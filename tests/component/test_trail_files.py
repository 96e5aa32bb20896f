"""Trail files: the same calls as EventBridge brings, by the hundred and among everybody else's, and nothing of them twice."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from attribution.usage import Observed
from tests.component.test_record_api_calls import OUTCOMES, call, published, session
from tests.support import inputs
from tests.support.stack import FAILED_NONE, Stack, failed, messages, object_created
from truth import cloudtrail
from truth.objects import CANARY, compress

FUNCTION = "record_api_calls"
BUCKET, PREFIX = "trail-bucket", "org"
KEY = (
    "org/AWSLogs/o-a1b2c3d4e5/111122223333/CloudTrail/us-east-1/2026/10/05/"
    "111122223333_CloudTrail_us-east-1_20261005T1430Z_{}.json.gz"
)
OTHER = {"eventSource": "ec2.amazonaws.com", "eventName": "RunInstances", "requestParameters": {"userData": CANARY}}


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack that reads a trail."""
    with mock_aws():
        stack = Stack(overrides={"TrailBucket": BUCKET, "TrailPrefix": PREFIX})
        stack.s3.create_bucket(Bucket=BUCKET)
        yield stack


def land(stack: Stack, name: str, body: bytes) -> dict[str, Any]:
    """Put a trail file; returns its event."""
    stack.put("TrailBucket", KEY.format(name), body)
    return object_created(BUCKET, KEY.format(name))


def trail(*records: Any) -> bytes:
    return compress(json.dumps({"Records": records}).encode())


def run(stack: Stack, *events: Any) -> dict[str, Any]:
    return stack.run(FUNCTION, messages(FUNCTION, events))


def details(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [event["detail"] for event in events]


def calls_of(stack: Stack) -> list[Observed]:
    return [found.observed for found in stack.invocations() if found.observed]


def test_the_rule_takes_trail_files_and_leaves_digests_and_insights(stack: Stack) -> None:
    for key in (KEY.format("a"), KEY.format("b").replace("/CloudTrail/", "/CloudTrail-Digest/")):
        event = object_created(BUCKET, key)
        stack.events.put_events(
            Entries=[{"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}]
        )

    (sent,) = stack.sent("TrailQueue")
    assert json.loads(sent.body)["detail"]["object"]["key"] == KEY.format("a")
    assert stack.sent("ApiCallQueue") == []


def test_a_file_records_what_its_events_record(stack: Stack) -> None:
    records = [OTHER, *details(call(requestID="a"), session(), call(requestID="b")), OTHER]

    answer = run(stack, land(stack, "a", trail(*records)))

    assert answer == FAILED_NONE
    assert [half.session_tags for half in calls_of(stack)] == [(("team", "search"),)] * 2
    (said,) = stack.said("trail file recorded")
    assert (said["recorded"], said["ignored"], said["rejected"]) == (3, 2, 0)
    # The session came first, so no call had to be put on its list.
    assert [item["sk"] for item in stack.items("LedgerTable")] == ["TAGS"]


@pytest.mark.parametrize("file_first", [True, False])
def test_a_call_that_comes_both_ways_is_one_call(stack: Stack, file_first: bool) -> None:
    ways = [land(stack, "a", trail(*details(call(), session()))), call(), session()]
    run(stack, *(ways[:1] if file_first else ways[1:]))
    before = stack.wire_items("InvocationsTable")

    answer = run(stack, *ways)

    assert answer == FAILED_NONE
    assert stack.wire_items("InvocationsTable") == before


def test_the_companys_trail_leaves_what_its_events_leave(stack: Stack) -> None:
    run(stack, *inputs.trail_events(inputs.month()))
    by_events = stack.wire_items("InvocationsTable")
    for item in by_events:
        stack.dynamodb.delete_item(TableName="InvocationsTable", Key={"pk": item["pk"]})
    objects = list(cloudtrail.trail_objects(inputs.month(), prefix=PREFIX))
    for stored in objects:
        stack.put("TrailBucket", stored.key, stored.body)

    answer = run(stack, *(object_created(BUCKET, stored.key) for stored in objects))

    assert answer == FAILED_NONE
    assert len(stack.said("object ignored")) == len([o for o in objects if "Digest" in o.key]) > 0
    assert stack.wire_items("InvocationsTable") == by_events


def test_a_broken_record_is_quarantined_and_its_neighbours_count(stack: Stack) -> None:
    broken = call()["detail"] | {"eventTime": CANARY}

    answer = run(stack, land(stack, "a", trail(call()["detail"], broken, OTHER)))

    assert answer == FAILED_NONE
    assert len(calls_of(stack)) == 1
    (notice,) = stack.notices()
    assert (notice["source"], notice["line"]) == (f"s3://{BUCKET}/{KEY.format('a')}", 2)
    assert CANARY not in json.dumps(notice)
    assert stack.metrics()["InputRejected"] == 1


@cache
def bomb() -> bytes:
    return gzip.compress(b"\0" * (257 * 1024 * 1024), compresslevel=1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(trail(OTHER)[:-12], "cut short", id="cut-short"),
        pytest.param(b"\x1f\x8bnot gzip at all", "not readable as gzip", id="not-gzip"),
        pytest.param(b"", "decompression bomb", id="bomb"),
        pytest.param(compress(b'{"Records": [{"eventSource": "' + CANARY.encode()), "not a CloudTrail file", id="torn"),
        pytest.param(compress(b"[]"), "not a CloudTrail file", id="no-records"),
        pytest.param(compress(b'{"Records": ' + b"[" * 100_000), "not a CloudTrail file", id="deep"),
    ],
)
def test_a_file_that_cannot_be_read_is_quarantined_whole(stack: Stack, body: bytes, reason: str) -> None:
    answer = run(stack, land(stack, "broken", body or bomb()), land(stack, "whole", trail(call()["detail"])))

    assert answer == FAILED_NONE
    (notice,) = stack.notices()
    assert reason in notice["reason"] and CANARY not in json.dumps(notice)
    assert len(calls_of(stack)) == 1


@pytest.mark.parametrize("key", [KEY.format("a").replace("org/", "other/"), KEY.format("gone")])
def test_a_file_elsewhere_or_gone_is_quarantined(stack: Stack, key: str) -> None:
    stack.put("TrailBucket", KEY.format("a").replace("org/", "other/"), trail(call()["detail"]))

    answer = run(stack, object_created(BUCKET, key))

    assert answer == FAILED_NONE
    assert calls_of(stack) == []
    assert len(stack.notices()) == 1


def test_a_stack_without_a_trail_reads_none() -> None:
    with mock_aws():
        stack = Stack()

        answer = run(stack, object_created(BUCKET, KEY.format("a")))

        assert answer == FAILED_NONE
        assert "TrailBucket" in stack.notices()[0]["reason"]


def test_a_file_whose_recording_fails_comes_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    event = land(stack, "a", trail(*details(call(requestID="a"), call(requestID="b"))))
    handler = stack.handler(FUNCTION)
    original = handler.invocations.record_observed

    def fails_for_b(halves: Any) -> Any:
        error = ConnectionError("the table does not answer")
        return [error if half.key.request_id == "b" else original([half])[0] for half in halves]

    monkeypatch.setattr(handler.invocations, "record_observed", fails_for_b)
    assert stack.invoke(handler, messages(FUNCTION, [event])) == failed("m0")

    assert run(stack, event) == FAILED_NONE
    assert len(calls_of(stack)) == 2


SECRETS = ("sessionToken", "secretAccessKey", "samlAssertion", "webIdentityToken", "policy", "prompt", "x-amz-security-token")


def with_secrets(value: Any) -> Any:
    """The record with a secret in every object of it."""
    if isinstance(value, dict):
        return {name: with_secrets(inner) for name, inner in value.items()} | dict.fromkeys(SECRETS, CANARY)
    return [with_secrets(inner) for inner in value] if isinstance(value, list) else value


def test_no_secret_of_any_record_reaches_any_sink(stack: Stack) -> None:
    change = call(eventName="DeleteModelInvocationLoggingConfiguration")["detail"]
    records = [with_secrets(record) for record in [*details(call(), session(), call(requestID=None)), change, OTHER]]
    assert json.dumps(records).count(CANARY) > 50

    run(stack, land(stack, "a", trail(*records)), *({"detail": record} for record in records))
    run(stack, land(stack, "torn", trail(*records)[:-9]))

    sinks = [stack.text_of(table) for table in ("InvocationsTable", "LedgerTable", "AlertsTable")]
    sinks += [body.decode(errors="replace") for body in stack.objects("WorkBucket").values()]
    sinks += [message.body for message in stack.sent("ApiCallQueue")]
    assert len(stack.items("InvocationsTable")) == 1 and len(stack.notices()) == 3
    assert CANARY not in "".join(sinks) + stack.log.getvalue()


@pytest.mark.skipif(not inputs.sample_files("cloudtrail"), reason="the published sample records are not at hand")
@pytest.mark.parametrize("path", inputs.sample_files("cloudtrail"), ids=lambda path: path.name)
def test_every_published_record_has_the_same_outcome_in_a_trail_file(stack: Stack, path: Path) -> None:
    records = published(path)

    answer = run(stack, land(stack, "published", trail(*records)))

    assert answer == FAILED_NONE
    (said,) = stack.said("trail file recorded")
    expected = OUTCOMES[path.name]
    assert said["recorded"] + said["repeated"] == expected.count("call") + expected.count("session")
    assert (said["ignored"], said["rejected"]) == (expected.count("ignored"), expected.count("rejected"))
    assert len(stack.said("invocation logging deleted")) == expected.count("change")
