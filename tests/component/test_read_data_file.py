"""The function that reads one data file of a large delivery: once, as it was pinned, and whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from attribution.errors import InputRejected
from tests.support.inputs import deliver, deliveries, ingest
from tests.support.stack import FAILED_NONE, Stack, before_requests, load_event
from truth.cost_report import Delivery

FUNCTION = "read_data_file"


def item_of(stack: Stack, key: str, **changes: Any) -> dict[str, Any]:
    """The sample item, about an object in the customer's bucket as it is now."""
    head = stack.s3.head_object(Bucket=stack.parameters["CostReportBucket"], Key=key)
    now = {"key": key, "etag": head["ETag"].strip('"'), "size": head["ContentLength"], "period": "2026-02"}
    return load_event(FUNCTION) | now | changes


def delivered(stack: Stack, delivery: Delivery | None = None) -> dict[str, Any]:
    """Put a delivery into the bucket; returns the item of its first data file."""
    delivery = delivery or deliveries()[0]
    deliver(stack, delivery)
    return item_of(stack, delivery.objects[0].key)


def readings(stack: Stack) -> dict[str, bytes]:
    return {key: body for key, body in stack.objects("WorkBucket").items() if key.startswith("readings/")}


def test_the_sample_item_is_what_the_function_reads(stack: Stack) -> None:
    delivery = deliveries()[0]
    sample = load_event(FUNCTION)
    sample["key"], sample["period"] = sample["key"].replace("2026-10", "2026-02"), "2026-02"
    stack.put("CostReportBucket", sample["key"], delivery.objects[0].body)

    answer = stack.run(FUNCTION, item_of(stack, sample["key"]))

    assert answer == {"outcome": "read"}
    assert len(readings(stack)) == 1
    assert stack.items("LedgerTable") == [] and stack.notices() == []
    assert stack.said("data file read")[0]["object"].endswith(sample["key"])


def test_the_same_item_twice_is_read_once(stack: Stack) -> None:
    item = delivered(stack)
    handler = stack.handler(FUNCTION)
    stack.invoke(handler, item)
    before = readings(stack)

    assert stack.invoke(handler, item) == {"outcome": "kept"}

    assert readings(stack) == before
    assert len(stack.s3.list_object_versions(Bucket="workbucket", Prefix="readings/")["Versions"]) == 1


def test_the_same_item_in_two_functions_at_once_keeps_one_reading_of_the_same_bytes(stack: Stack) -> None:
    item = delivered(stack)
    handler = stack.handler(FUNCTION)
    answers: list[Any] = []

    def another_reads_first(request: Any, **_: Any) -> None:
        if request.method == "PUT" and not answers:
            answers.append(None)
            answers.append(stack.invoke(handler, item))

    with before_requests(another_reads_first):
        answers.append(stack.invoke(handler, item))

    assert answers[1:] == [{"outcome": "read"}] * 2
    versions = stack.s3.list_object_versions(Bucket="workbucket", Prefix="readings/")["Versions"]
    assert len(versions) == 2 and len({version["ETag"] for version in versions}) == 1


@pytest.mark.parametrize("fate", ["replaced", "deleted"])
def test_a_file_that_is_not_there_as_it_was_pinned_fails_nothing_and_keeps_nothing(stack: Stack, fate: str) -> None:
    item = delivered(stack)
    if fate == "replaced":
        stack.put("CostReportBucket", item["key"], b"another generation")
    else:
        stack.s3.delete_object(Bucket=item["bucket"], Key=item["key"])

    assert stack.run(FUNCTION, item) == {"outcome": "replaced"}

    assert readings(stack) == {}


def test_a_file_that_is_replaced_while_it_is_read_keeps_nothing(stack: Stack) -> None:
    item = delivered(stack)

    def replace(request: Any, **_: Any) -> None:
        if request.method == "GET" and request.url.split("?")[0].endswith(".parquet"):
            stack.put("CostReportBucket", item["key"], b"another generation")

    handler = stack.handler(FUNCTION)
    with before_requests(replace):
        assert stack.invoke(handler, item) == {"outcome": "replaced"}

    assert readings(stack) == {}


@pytest.mark.parametrize("body", [b"not a report at all", b"PAR1" + bytes(64) + b"PAR1"])
def test_a_file_that_cannot_be_read_is_told_by_the_merge_that_refuses_its_delivery(stack: Stack, body: bytes) -> None:
    delivery = deliveries()[0]
    deliver(stack, delivery)
    broken = delivery.objects[0].key
    stack.put("CostReportBucket", broken, body, delivery.delivered_at)

    assert stack.run(FUNCTION, item_of(stack, broken)) == {"outcome": "read"}

    assert len(readings(stack)) == 1
    event = {"detail": {"bucket": {"name": "cost-reports"}, "object": {"key": delivery.manifest_key}}}
    assert ingest(stack, event) == FAILED_NONE
    assert broken in stack.notices()[0]["reason"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"etag": ""}, "etag"),
        ({"size": "CANARY"}, "size"),
        ({"kind": "CANARY"}, "kind"),
        ({"period": "2026-CANARY"}, "period"),
        ({"key": ["CANARY"]}, "key"),
        ({"bucket": "CANARY-bucket"}, "outside of s3://cost-reports/exports/"),
        ({"key": "elsewhere/CANARY.parquet"}, "outside of s3://cost-reports/exports/"),
    ],
)
def test_an_item_that_is_none_fails_for_good_and_reads_nothing(stack: Stack, changes: dict[str, Any], named: str) -> None:
    item = delivered(stack) | changes
    handler = stack.handler(FUNCTION)
    asked: list[str] = []

    with before_requests(lambda request, **_: asked.append(request.url)), pytest.raises(InputRejected, match=named) as raised:
        stack.invoke(handler, item)

    assert asked == []
    assert raised.value.source == "item of a fan-out" or "outside" in named
    assert "CANARY" not in raised.value.reason


def test_an_item_names_what_is_wrong_in_it(stack: Stack) -> None:
    with pytest.raises(InputRejected, match=r"not a DataFileToRead message: bucket: .*period: ") as raised:
        stack.run(FUNCTION, {"size": 1})

    assert "version_id" in str(raised.value)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_a_fault_of_aws_fails_the_function_so_that_it_is_tried_again(stack: Stack, method: str) -> None:
    item = delivered(stack)

    def deny(request: Any, **_: Any) -> None:
        if request.method == method:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "Please reduce your request rate."}}, method)

    handler = stack.handler(FUNCTION)
    with before_requests(deny), pytest.raises(ClientError):
        stack.invoke(handler, item)

    assert readings(stack) == {}
    assert stack.invoke(handler, item) == {"outcome": "read"}
