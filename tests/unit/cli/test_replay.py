"""`replay`: the same events on the same queues."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.contracts import AllocateDay, LogEventsDelivered, ObjectCreated, read
from adapters.policy import PolicyDocument, parse_policy, version_of
from adapters.sources.cloudtrail import folded, parse_event, read_message
from adapters.sources.invocation_log import SubscribedInvocationLogs
from bedrock_costs.failures import ExitCode
from bedrock_costs.stack import Stack
from tests.unit.cli.support import ACCOUNT, LOG_KEY, MANIFEST_KEY, REGION, Cloud, put_october, run

CALL = {
    "eventVersion": "1.11",
    "eventSource": "bedrock.amazonaws.com",
    "eventName": "Converse",
    "eventID": "e-1",
    "requestID": "r-1",
    "awsRegion": REGION,
    "eventTime": "2026-10-01T12:00:00Z",
    "recipientAccountId": ACCOUNT,
    "userIdentity": {"type": "IAMUser", "accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:user/jo"},
    "requestParameters": {"modelId": "amazon.nova-pro-v1:0"},
}
OTHER = CALL | {"eventSource": "s3.amazonaws.com", "eventName": "GetObject"}


def put(cloud: Cloud, bucket: str, *keys: str) -> None:
    for key in keys:
        cloud.s3.put_object(Bucket=bucket, Key=key, Body=b"x")


def test_log_objects_are_announced_as_s3_announced_them(cloud: Cloud) -> None:
    put(cloud, "log-bucket", LOG_KEY, LOG_KEY.replace("20261001T000000000Z_abc", "data/body"), "logs/other.txt")

    ran = run("replay", "objects", "s3://log-bucket/logs", output="json")

    (message,) = cloud.received("InvocationLogQueue")
    event = message["body"]
    assert ran.json == {
        "schema": 1,
        "found": 1,
        "sent": 1,
        "skipped": 2,
        "rejected": [],
        "is_dry_run": False,
    }
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    assert event["resources"] == ["arn:aws:s3:::log-bucket"]
    assert event["account"] == ACCOUNT
    source = read(ObjectCreated, json.dumps(event), "test").source
    assert (source.bucket, source.key) == ("log-bucket", LOG_KEY)
    assert source.etag == "9dd4e461268c8034f5c8564e155c67a6"


def test_more_objects_than_a_batch_takes(cloud: Cloud) -> None:
    put(cloud, "log-bucket", *(LOG_KEY.replace("abc", str(n)) for n in range(23)))

    assert "Sent 23 objects." in run("replay", "objects", "s3://log-bucket/logs").out
    assert len(cloud.received("InvocationLogQueue")) == 23


def test_a_dry_run_sends_nothing(cloud: Cloud) -> None:
    put(cloud, "log-bucket", LOG_KEY)

    ran = run("replay", "objects", "s3://log-bucket/", "--dry-run")

    assert ran.out == f"Would send 1 object.\n  s3://log-bucket/{LOG_KEY}\n"
    assert cloud.received("InvocationLogQueue") == []


@pytest.mark.parametrize("uri", ["s3://another-bucket/logs", "s3://log-bucket/elsewhere", "log-bucket/logs", "https://x/y"])
def test_only_what_the_stack_reads_is_replayed(cloud: Cloud, uri: str) -> None:
    assert run("replay", "objects", uri).exit_code == 2


def test_nothing_to_replay(cloud: Cloud) -> None:
    ran = run("replay", "objects", "s3://log-bucket/logs")

    assert ran.exit_code == 4
    assert "no invocation log object under s3://log-bucket/logs" in ran.err


def test_deliveries_go_one_at_a_time_and_a_repeat_is_not_dropped(cloud: Cloud) -> None:
    put(cloud, "report-bucket", MANIFEST_KEY, MANIFEST_KEY.replace("2026-10", "2026-09"), "cur/bill/data/part.parquet")

    runs = [run("replay", "deliveries", "--period", "2026-10") for _ in range(2)]

    messages = cloud.received("CostReportQueue")
    assert [ran.exit_code for ran in runs] == [0, 0]
    assert [m["body"]["detail"]["object"]["key"] for m in messages] == [MANIFEST_KEY] * 2
    assert {m["attributes"]["MessageGroupId"] for m in messages} == {"deliveries"}


def test_all_deliveries_under_a_place(cloud: Cloud) -> None:
    put(cloud, "report-bucket", MANIFEST_KEY, MANIFEST_KEY.replace("2026-10", "2026-09"))

    assert run("replay", "deliveries", "s3://report-bucket/cur/bill/", output="json").json["sent"] == 2


def lookup(record: dict[str, Any]) -> dict[str, Any]:
    return {"EventId": "e", "CloudTrailEvent": json.dumps(record)}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(CALL),
        json.dumps([CALL, OTHER]),
        json.dumps({"Records": [CALL, OTHER]}),
        json.dumps({"Events": [lookup(CALL), lookup(OTHER)], "NextToken": "x"}),
        json.dumps({"version": "0", "detail-type": "AWS API Call via CloudTrail", "detail": CALL}),
        f"{json.dumps(CALL)}\n\n{json.dumps(OTHER)}\n",
        json.dumps({"Records": [CALL]}, indent=2),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_events_in_every_shape_that_aws_hands_out(cloud: Cloud, tmp_path: Path, content: str, is_packed: bool) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(gzip.compress(content.encode()) if is_packed else content.encode())

    ran = run("replay", "events", str(file))

    (message,) = cloud.received("ApiCallQueue")
    assert ran.exit_code == 0
    assert ran.out.startswith("Sent 1 event")
    detail = read_message(json.dumps(message["body"]), "test").detail
    assert parse_event(detail, folded([])) == parse_event(json.dumps(CALL), folded([]))


SESSION = {
    "eventSource": "sts.amazonaws.com",
    "eventName": "AssumeRole",
    "eventTime": "2026-10-01T11:00:00Z",
    "requestParameters": {"tags": [{"key": "team", "value": "search"}], "policy": "a secret"},
    "responseElements": {"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": "a secret"}},
}


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_session_is_sent_without_its_token(cloud: Cloud, tmp_path: Path, is_wrapped: bool) -> None:
    cloud.cloudformation.parameters["AllocationTagKeys"] = "team"
    file = tmp_path / "events.json"
    file.write_text(json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": SESSION} if is_wrapped else SESSION))

    run("replay", "events", str(file))

    (message,) = cloud.received("ApiCallQueue")
    assert message["body"]["detail"]["responseElements"] == {"credentials": {"accessKeyId": "ASIAEXAMPLE"}}
    assert "a secret" not in json.dumps(message)


TRAIL_KEY = (
    f"org/AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/2026/10/05/"
    f"{ACCOUNT}_CloudTrail_{REGION}_20261005T1430Z_Mu0KsOhtH1ar15ZZ.json.gz"
)


def test_trail_files_are_announced_and_digests_left_out(cloud: Cloud) -> None:
    put(cloud, "trail-bucket", TRAIL_KEY, TRAIL_KEY.replace("/CloudTrail/", "/CloudTrail-Digest/"))

    ran = run("replay", "trail", output="json")

    (message,) = cloud.received("TrailQueue")
    assert (ran.json["sent"], ran.json["skipped"]) == (1, 1)
    assert message["body"]["detail"]["object"]["key"] == TRAIL_KEY


@pytest.mark.parametrize(("uri", "code"), [("s3://trail-bucket/org/AWSLogs", 4), ("s3://log-bucket/logs", 2)])
def test_only_the_stacks_own_trail_is_replayed(cloud: Cloud, uri: str, code: int) -> None:
    assert run("replay", "trail", uri).exit_code == code


def test_a_stack_without_a_trail_says_how_to_read_one(cloud: Cloud) -> None:
    del cloud.cloudformation.outputs["TrailLocation"]

    ran = run("replay", "trail")

    assert ran.exit_code == 4
    assert "TrailBucket" in ran.err


def test_broken_events_are_named_and_the_others_sent(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_text(json.dumps({"Records": [{k: v for k, v in CALL.items() if k != "requestID"}, CALL, 5]}))

    ran = run("replay", "events", str(file))

    assert ran.exit_code == 1
    assert "2 events could not be read" in ran.err
    assert "requestID" in ran.err
    assert len(cloud.received("ApiCallQueue")) == 1


@pytest.mark.parametrize(("content", "place"), [("{\n  nonsense\n}", ":2:"), (f"{json.dumps(CALL)}\nnonsense\n", ":2:")])
def test_a_file_that_is_not_json(cloud: Cloud, tmp_path: Path, content: str, place: str) -> None:
    file = tmp_path / "events.json"
    file.write_text(content)

    ran = run("replay", "events", str(file))

    assert ran.exit_code == 1
    assert f"{file}{place} not JSON" in ran.err


@pytest.mark.parametrize("content", ["", json.dumps([OTHER])])
def test_files_without_any_use_of_bedrock(cloud: Cloud, tmp_path: Path, content: str) -> None:
    file = tmp_path / "events.json"
    file.write_text(content)

    ran = run("replay", "events", str(file))

    assert ran.exit_code == 4
    assert "no inference call" in ran.err


def test_a_file_that_is_not_there(cloud: Cloud) -> None:
    assert "missing.json cannot be read: No such file or directory" in run("replay", "events", "missing.json").err


def test_what_sqs_refuses_is_not_counted_as_sent(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedrock_costs.stack import Stack

    class FullQueue:
        def send_message_batch(self, **_: Any) -> dict[str, Any]:
            return {"Failed": [{"Id": "0", "Message": "throttled"}]}

    put(cloud, "log-bucket", LOG_KEY)
    others = Stack.client
    monkeypatch.setattr(Stack, "client", lambda self, service: FullQueue() if service == "sqs" else others(self, service))

    ran = run("replay", "objects", "s3://log-bucket/logs")

    assert ran.exit_code == 1
    assert "SQS took 0 of 1 events, then refused 1: throttled" in ran.err


class FakeLogs:
    """CloudWatch Logs with two pages of a log group, the second of two streams."""

    def get_paginator(self, operation: str) -> FakeLogs:
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, logGroupName: str, startTime: int, endTime: int) -> Iterator[dict[str, Any]]:
        assert (logGroupName, endTime - startTime) == (GROUP, 90 * 60 * 1000)
        for streams in (("s",), ("s", "t")):
            yield {"events": [self._event(name, startTime + n) for n, name in enumerate(streams)]}

    def _event(self, stream: str, timestamp: int) -> dict[str, Any]:
        return {"logStreamName": stream, "eventId": f"{stream}{timestamp}", "timestamp": timestamp, "message": "{}"}


class FakeLambda:
    """Lambda that takes events, until it fails."""

    def __init__(self, takes: int = 9) -> None:
        self.payloads: list[dict[str, Any]] = []
        self._takes = takes

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == "recorder"
        if len(self.payloads) == self._takes:
            return {"StatusCode": 200, "FunctionError": "Unhandled"}
        self.payloads.append(json.loads(Payload))
        return {"StatusCode": 200}


GROUP = "/aws/bedrock/invocations"
SPAN = ("--from", "2026-10-05T14:00", "--to", "2026-10-05T17:30+02:00")


def subscribe(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, recorder: FakeLambda) -> None:
    cloud.cloudformation.outputs |= {"InvocationLogGroup": GROUP, "RecordInvocationsFunction": "recorder"}
    fakes = {"logs": FakeLogs(), "lambda": recorder}
    others = Stack.client
    monkeypatch.setattr(Stack, "client", lambda self, service: fakes.get(service) or others(self, service))


def test_log_events_are_handed_to_the_function_as_their_subscription_does(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FakeLambda()
    subscribe(cloud, monkeypatch, recorder)

    assert "Sent 3 log events." in run("replay", "logs", *SPAN).out

    logs = SubscribedInvocationLogs(GROUP, ())
    batches = [logs.batch(read(LogEventsDelivered, payload, "test").awslogs.data, "test") for payload in recorder.payloads]
    assert [(batch.name, len(batch.log_events)) for batch in batches] == [
        (f"{GROUP}/s", 1),
        (f"{GROUP}/s", 1),
        (f"{GROUP}/t", 1),
    ]
    assert [batch.span[:19] for batch in batches] == ["2026-10-05T14:00:00"] * 3


def test_a_dry_run_of_log_events_only_counts_them(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = FakeLambda()
    subscribe(cloud, monkeypatch, recorder)

    assert "Would send 3 log events." in run("replay", "logs", *SPAN, "--dry-run").out
    assert recorder.payloads == []


def test_log_events_that_the_function_fails_on_can_be_sent_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(cloud, monkeypatch, FakeLambda(takes=2))

    ran = run("replay", "logs", *SPAN)

    assert ran.exit_code == 1
    assert "the function failed after 2 events" in ran.err


@pytest.mark.parametrize(
    ("span", "exit_code", "message"),
    [
        (SPAN, 4, "is subscribed to no log group"),
        (("--from", "2026-10-05T14:00", "--to", "yesterday"), 2, "is not a time"),
    ],
)
def test_log_events_need_a_subscription_and_times(cloud: Cloud, span: tuple[str, ...], exit_code: int, message: str) -> None:
    ran = run("replay", "logs", *span)

    assert (ran.exit_code, message in ran.err) == (exit_code, True)


def test_the_times_of_log_events_are_in_their_order(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(cloud, monkeypatch, FakeLambda())

    assert run("replay", "logs", "--from", "2026-10-05T14:00", "--to", "2026-10-05T13:59").exit_code == 2


@pytest.fixture
def open_october(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_costs.planning.now", lambda: datetime(2026, 11, 10, tzinfo=UTC))


@pytest.fixture
def closed_october(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_costs.planning.now", lambda: datetime(2026, 11, 20, tzinfo=UTC))


def test_days_of_a_closed_month_are_not_asked_for_unless_that_is_meant(cloud: Cloud, closed_october: None) -> None:
    put_october(cloud)

    ran = run("replay", "days", "--period", "2026-10")

    assert ran.exit_code == ExitCode.USAGE
    assert "2026-10 is closed: somebody may have been charged for 2 days of it" in ran.err
    assert "bedrock-costs config plan --period 2026-10" in " ".join(ran.err.split())
    assert cloud.received("AllocationQueue") == []


def test_days_of_a_closed_month_are_asked_for_by_the_policy_that_is_in_force_now(cloud: Cloud, closed_october: None) -> None:
    put_october(cloud)
    version = cloud.policy.apply(parse_policy({"cost_categories": [{"name": "team", "keys": ["squad"]}]}))

    assert "Sent 3 days." in run("replay", "days", "--period", "2026-10", "--closed").out

    asked = [read(AllocateDay, json.dumps(message["body"]), "test") for message in cloud.received("AllocationQueue")]
    by_policy = {day.usage_date.day: day.by_policy for day in asked}
    assert by_policy == {1: version, 2: version, 3: ""}, "the third is not billed"


def test_before_any_policy_was_applied_the_one_that_stands_in_for_it_is_named(cloud: Cloud, closed_october: None) -> None:
    put_october(cloud)

    run("replay", "days", "--period", "2026-10", "--closed")

    asked = [read(AllocateDay, json.dumps(message["body"]), "test") for message in cloud.received("AllocationQueue")]
    assert {day.by_policy for day in asked} == {"", version_of(PolicyDocument())}
    assert cloud.policy.version_in_force() in [version for version, _ in cloud.policy.versions(date(2026, 10, 1))]


def test_the_days_of_a_period_are_asked_for_again(cloud: Cloud, open_october: None) -> None:
    put_october(cloud)

    assert "Sent 3 days." in run("replay", "days", "--period", "2026-10").out

    messages = cloud.received("AllocationQueue")
    asked = [read(AllocateDay, json.dumps(message["body"]), "test") for message in messages]
    assert [(day.usage_date.isoformat(), day.because) for day in asked] == [
        ("2026-10-01", "request"),
        ("2026-10-02", "request"),
        ("2026-10-03", "request"),
    ]
    assert [m["attributes"]["MessageGroupId"] for m in messages] == ["2026-10-01", "2026-10-02", "2026-10-03"]


def test_a_period_without_days_has_nothing_to_ask_for(cloud: Cloud) -> None:
    ran = run("replay", "days", "--period", "2026-09")

    assert ran.exit_code == 4
    assert "no data for 2026-09: there is no day to allocate again" in ran.err
    assert "aws s3 ls" not in ran.err
