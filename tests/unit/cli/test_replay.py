"""`replay`: the same events on the same queues."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.contracts import AllocateDay, ApiCall, ObjectCreated, read
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
    assert read(ApiCall, json.dumps(message["body"]), "test").detail == CALL


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
    assert "no inference call and no issued session" in ran.err


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


def test_the_days_of_a_period_are_asked_for_again(cloud: Cloud) -> None:
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
