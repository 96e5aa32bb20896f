"""Invocation logs and CloudTrail say about each request what AWS would say, and no more."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from truth import cloudtrail, invocation_log
from truth.company import Month, build
from truth.objects import CANARY, StoredObject
from truth.organisation import ACCOUNTS
from truth.requests import Request

LOG_KEY = re.compile(
    r"logs/AWSLogs/\d{12}/BedrockModelInvocationLogs/(us-east-1|eu-west-1)"
    r"/2026/10/\d\d/\d\d/\d{8}T\d{10}Z_[0-9a-f]{16}\.json\.gz"
)
TRAIL_KEY = re.compile(
    r"trail/AWSLogs/(\d{12})/CloudTrail/([a-z0-9-]+)/2026/1[01]/\d\d"
    r"/\1_CloudTrail_\2_\d{8}T\d{4}Z_[A-Z2-7]{16}\.json\.gz"
)


@pytest.fixture(scope="module")
def log_objects(month: Month) -> list[StoredObject]:
    return list(invocation_log.objects(month, prefix="logs", bucket="bucket"))


@pytest.fixture(scope="module")
def log_records(log_objects: list[StoredObject]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for stored in log_objects:
        if LOG_KEY.fullmatch(stored.key):
            records += map(json.loads, gzip.decompress(stored.body).splitlines())
    return records


@pytest.fixture(scope="module")
def events(month: Month) -> list[dict[str, Any]]:
    return list(cloudtrail.eventbridge_events(month))


@pytest.fixture(scope="module")
def by_id(month: Month) -> dict[str, Request]:
    return {request.request_id: request for request in month.requests}


def test_each_logged_request_is_logged_as_often_as_it_was_delivered(
    log_records: list[dict[str, Any]], by_id: dict[str, Request]
) -> None:
    delivered = Counter(record["requestId"] for record in log_records)

    assert delivered == {r.request_id: r.log_copies for r in by_id.values() if r.is_logged}
    assert 2 in delivered.values()


def test_log_records_carry_the_true_counters(log_records: list[dict[str, Any]], by_id: dict[str, Request]) -> None:
    for record in log_records:
        request = by_id[record["requestId"]]
        sides = record["input"], record["output"]
        assert record["schemaType"] == "ModelInvocationLog" and record["schemaVersion"] == "1.0"
        assert record["accountId"] == request.principal.account.account_id in ACCOUNTS
        assert record["identity"] == {"arn": request.principal.arn}
        assert record["operation"] in {"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"}
        assert record.get("requestMetadata", {}) == request.metadata
        if request.error_code:
            assert sides == ({}, {}) and record["errorCode"] == request.error_code
            continue
        assert sides[0].get("inputTokenCount", 0) == request.tokens.input
        assert sides[0].get("cacheReadInputTokenCount", 0) == request.tokens.cache_read
        assert sides[0].get("cacheWriteInputTokenCount", 0) == request.tokens.cache_write
        assert sides[1].get("outputTokenCount", 0) == request.tokens.output


def test_log_bodies_cover_every_shape(log_records: list[dict[str, Any]]) -> None:
    outputs = [record["output"].get("outputBodyJson") for record in log_records]
    text = json.dumps(outputs)

    assert any(isinstance(body, list) for body in outputs)
    for expected in ("cache_creation", "cacheDetails", "generation_token_count", "inputTextTokenCount", "[DONE]"):
        assert expected in text
    assert any("outputBodyS3Path" in record["output"] for record in log_records)
    assert {next(iter(record)) for record in log_records} == {"schemaType", "timestamp"}
    assert any(record["modelId"].startswith("arn:aws:bedrock:us-east-1:071245903318:application-") for record in log_records)
    assert any(":inference-profile/us." in record["modelId"] for record in log_records)


def test_log_bodies_hold_canaries_and_spoofed_counters(log_records: list[dict[str, Any]]) -> None:
    inputs = [record["input"]["inputBodyJson"] for record in log_records if "inputBodyJson" in record["input"]]

    assert len(inputs) > 1900
    for body in inputs:
        text = json.dumps(body)
        assert CANARY in text and r"inputTokenCount\":999999" in text


def test_only_known_objects_stand_beside_the_log_records(log_objects: list[StoredObject]) -> None:
    others = [stored for stored in log_objects if not LOG_KEY.fullmatch(stored.key)]
    bodies = re.compile(r".*/2026/10/\d\d/\d\d/data/[0-9a-f-]{36}_(input|output)\.json\.gz")
    checks = re.compile(r".*/(data/)?amazon-bedrock-logs-permission-check")

    assert len({stored.key for stored in log_objects}) == len(log_objects)
    assert any(checks.fullmatch(stored.key) for stored in others)
    assert all(bodies.fullmatch(stored.key) or checks.fullmatch(stored.key) for stored in others)


def test_body_references_point_at_stored_objects(log_objects: list[StoredObject], log_records: list[dict[str, Any]]) -> None:
    keys = {f"s3://bucket/{stored.key}" for stored in log_objects}
    references = [
        side[name]
        for record in log_records
        for side in (record["input"], record["output"])
        for name in ("inputBodyS3Path", "outputBodyS3Path")
        if name in side
    ]

    assert references and keys.issuperset(references)


def test_an_empty_prefix_leaves_no_slash() -> None:
    small = build("2026-10", seed=1, requests=5)

    assert all(stored.key.startswith("AWSLogs/") for stored in invocation_log.objects(small))
    assert all(stored.key.startswith("AWSLogs/") for stored in cloudtrail.trail_objects(small))


def test_trail_files_carry_the_same_records_as_eventbridge(month: Month, events: list[dict[str, Any]]) -> None:
    objects = list(cloudtrail.trail_objects(month, prefix="trail"))
    files = [stored for stored in objects if TRAIL_KEY.fullmatch(stored.key)]
    records = [
        record
        for stored in files
        for record in json.loads(gzip.decompress(stored.body))["Records"]
        if record["eventSource"] != "ec2.amazonaws.com"
    ]

    def canonical(values: list[dict[str, Any]]) -> Counter[str]:
        return Counter(json.dumps(value, sort_keys=True) for value in values)

    assert canonical(records) == canonical([event["detail"] for event in events])
    assert all("CloudTrail-Digest" in stored.key for stored in objects if stored not in files)
    assert len({stored.key for stored in objects}) == len(objects)


def test_each_call_is_in_cloudtrail_as_often_as_it_was_delivered(
    events: list[dict[str, Any]], by_id: dict[str, Request]
) -> None:
    calls = [event["detail"] for event in events if event["detail"]["eventSource"] != "sts.amazonaws.com"]

    assert Counter(call["requestID"] for call in calls if "addendum" not in call) == {
        r.request_id: r.cloudtrail_copies for r in by_id.values() if r.is_in_cloudtrail
    }
    assert len({call["eventID"] for call in calls}) == len({call["requestID"] for call in calls})
    assert {r.is_logged for r in by_id.values() if not r.is_in_cloudtrail} == {True, False}
    assert any(r.is_in_cloudtrail for r in by_id.values() if not r.is_logged and not r.call.is_mantle)


def called_by(record: dict[str, Any]) -> str:
    """The request that a record is about."""
    return str(record.get("addendum", {}).get("originalRequestID", record["requestID"]))


def test_call_records_say_what_cloudtrail_says(events: list[dict[str, Any]], by_id: dict[str, Request]) -> None:
    corrected = {called_by(event["detail"]) for event in events if "addendum" in event["detail"]}
    assert corrected
    for event in events:
        record = event["detail"]
        assert event["detail-type"] == "AWS API Call via CloudTrail"
        assert event["account"] == record["recipientAccountId"] and event["time"] == record["eventTime"]
        if record["eventSource"] == "sts.amazonaws.com":
            continue
        request = by_id[called_by(record)]
        assert record["userIdentity"]["arn"] == request.principal.arn
        assert record["awsRegion"] == request.principal.region
        if request.call.is_mantle:
            assert record["eventName"] == "CreateInference" and record["managementEvent"] is False
            continue
        assert record["readOnly"] is True and record["responseElements"] is None
        assert record["requestParameters"]["modelId"] == request.call.model_id(request.principal.region)
        additional = record.get("additionalEventData", {})
        if not additional and record["requestID"] in corrected:
            continue
        if request.call.operation.startswith("Converse") and not request.error_code:
            assert additional["inputTokens"] == request.tokens.input
        assert additional.get("callWithBearerToken", False) is (request.principal.kind == "api_key_user")
        assert ("errorCode" in record) is (request.error_code is not None)


def test_session_tags_join_calls_by_access_key(events: list[dict[str, Any]], by_id: dict[str, Request]) -> None:
    tags_of_key: dict[str, dict[str, str]] = {}
    for event in events:
        record = event["detail"]
        if record["eventSource"] == "sts.amazonaws.com":
            parameters = record["requestParameters"]
            listed = {tag["key"]: tag["value"] for tag in parameters.get("tags", [])}
            key = record["responseElements"]["credentials"]["accessKeyId"]
            tags_of_key[key] = listed or parameters.get("principalTags", {})

    joined = 0
    for event in events:
        record = event["detail"]
        request = by_id.get(record["requestID"])
        if request and request.principal.sts:
            expected = {request.principal.tag_key: request.principal.tagged_as} if request.principal.tagged_as else {}
            assert tags_of_key[record["userIdentity"]["accessKeyId"]] == expected
            joined += bool(expected)
    assert joined > 100


def test_sts_records_cover_every_api_and_mark_their_tokens(events: list[dict[str, Any]]) -> None:
    records = [event["detail"] for event in events if event["detail"]["eventSource"] == "sts.amazonaws.com"]

    assert {record["eventName"] for record in records} == {
        "AssumeRole",
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
        "GetFederationToken",
    }
    for record in records:
        assert record["responseElements"]["credentials"]["sessionToken"].startswith(CANARY)
        assert record["readOnly"] is (record["eventName"] != "GetFederationToken")
    shared = [record for record in records if "sharedEventID" in record]
    assert {record["userIdentity"]["type"] for record in shared} == {"AWSAccount", "AssumedRole"}


def test_some_sessions_are_announced_after_their_calls(events: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    late = 0
    for event in events:
        record = event["detail"]
        if record["eventSource"] == "sts.amazonaws.com":
            late += record["responseElements"]["credentials"]["accessKeyId"] in seen
        else:
            seen.add(record["userIdentity"].get("accessKeyId", ""))

    assert late > 0
    times = [event["time"] for event in events]
    assert any(first > second for first, second in pairwise(times))


def test_equal_arguments_give_equal_events() -> None:
    first, second = (build("2026-02", seed=3, requests=80) for _ in range(2))

    assert list(invocation_log.objects(first)) == list(invocation_log.objects(second))
    assert list(cloudtrail.eventbridge_events(first)) == list(cloudtrail.eventbridge_events(second))
    assert list(cloudtrail.trail_objects(first)) == list(cloudtrail.trail_objects(second))
