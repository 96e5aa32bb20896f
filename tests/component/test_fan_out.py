"""The fan-out of a large delivery: started once per message, read in parts, and merged to what one function reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.stepfunctions.models import stepfunctions_backends

from adapters.contracts import DataFileToRead, ObjectCreated, read
from adapters.deliveries import DynamoDeliveries
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import InputRejected
from tests.support import inputs
from tests.support.inputs import deliver, deliveries
from tests.support.stack import ACCOUNT, FAILED_NONE, REGION, Sent, Stack, before_requests, held_back, messages
from tests.support.state_machine import StateMachine, interpreted
from truth.cost_report import Delivery, Format, Mode

FUNCTION = "ingest_cost_report"
ALWAYS = {"FanOutAboveMegabytes": "0"}


def received(event: Any, message_id: str) -> dict[str, Any]:
    """A message about a manifest as the function receives it."""
    batch = messages(FUNCTION, [event])
    batch["Records"][0]["messageId"] = message_id
    return batch


def ingest(stack: Stack, event: Any, message_id: str = "first") -> dict[str, Any]:
    return stack.run(FUNCTION, received(event, message_id))


def records(stack: Stack) -> list[DeliveryRecord]:
    """The delivery records, oldest first."""
    found = DynamoDeliveries(stack.table("LedgerTable")).of_period(inputs.PERIOD)
    return sorted(found, key=lambda record: record.sequence)


def origins(record: DeliveryRecord) -> dict[str, str]:
    """The content hash of each day's origin charges."""
    return {day.usage_date.isoformat(): day.origin for day in record.report.days}


# Starting --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack that fans out every delivery, and whose executions run until a test ends them."""
    with mock_aws():
        yield Stack(overrides=ALWAYS)


def executions(stack: Stack) -> list[Any]:
    """The executions as moto keeps them."""
    found: list[Any] = stepfunctions_backends[ACCOUNT][REGION].describe_state_machine(stack.state_machine_arn).executions
    return found


def test_a_large_delivery_becomes_one_item_for_each_file_and_nothing_else_yet(stack: Stack) -> None:
    delivery = deliveries()[2]

    assert ingest(stack, deliver(stack, delivery)) == FAILED_NONE

    (execution,) = executions(stack)
    request = json.loads(execution.execution_input)
    place = request["items"]
    body = stack.s3.get_object(Bucket=place["bucket"], Key=place["key"], VersionId=place["version_id"])["Body"].read()
    items = [read(DataFileToRead, item, "item") for item in json.loads(body)]
    assert [item.key for item in items] == [o.key for o in delivery.objects[:-1] if o.body]
    assert [item.size for item in items] == [len(o.body) for o in delivery.objects[:-1] if o.body]
    assert read(ObjectCreated, request["manifest"], "manifest").source.key == delivery.manifest_key
    assert list(stack.objects("WorkBucket")) == [place["key"]]
    assert stack.items("LedgerTable") == []
    assert stack.said("delivery fanned out")[0]["execution"] == execution.name
    assert stack.metrics().get("DeliveriesIngested", 0) == 0


def test_a_delivery_below_the_size_is_read_by_one_function() -> None:
    with mock_aws():
        stack = Stack()

        assert ingest(stack, deliver(stack, deliveries()[0])) == FAILED_NONE

        assert executions(stack) == []
        assert len(records(stack)) == 1


def test_an_execution_is_named_by_the_manifest_and_the_message(stack: Stack) -> None:
    event = deliver(stack, deliveries()[0])
    ingest(stack, event, "first")
    ingest(stack, event, "first")
    ingest(stack, event, "second")
    ingest(stack, deliver(stack, deliveries()[1]), "first")

    names = [execution.name for execution in executions(stack)]

    assert len(names) == len(set(names)) == 3
    assert all(re.fullmatch(r"2026-02-[0-9a-f]{32}", name) for name in names)


def test_a_message_that_comes_again_while_its_execution_runs_starts_no_other(stack: Stack) -> None:
    event = deliver(stack, deliveries()[0])
    ingest(stack, event)
    (execution,) = executions(stack)
    # Some of its files have been read in between.
    place = json.loads(execution.execution_input)["items"]
    item = json.loads(stack.objects("WorkBucket")[place["key"]])[0]
    stack.run("read_data_file", item)

    assert ingest(stack, event) == FAILED_NONE

    assert executions(stack) == [execution]
    left = json.loads(stack.objects("WorkBucket")[place["key"]])
    assert item not in left
    pinned = stack.s3.get_object(Bucket=place["bucket"], Key=place["key"], VersionId=place["version_id"])["Body"].read()
    assert json.loads(pinned) == [item, *left], "the execution keeps to the items that it was started with"


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_message_whose_execution_ended_without_a_result_fails_until_it_is_a_dead_letter(stack: Stack, status: str) -> None:
    event = deliver(stack, deliveries()[0])
    ingest(stack, event)
    executions(stack)[0].status = status

    assert held_back(stack, stack.handler(FUNCTION), received(event, "first")) == "FanOutFailed"

    assert f"is {status}: see its failed items" in stack.said("message failed")[0]["exception"]
    assert len(executions(stack)) == 1
    assert ingest(stack, event, "redriven") == FAILED_NONE
    assert len(executions(stack)) == 2


def test_a_message_whose_execution_succeeded_leaves_the_delivery_to_the_message_that_followed(stack: Stack) -> None:
    event = deliver(stack, deliveries()[0])
    ingest(stack, event)
    executions(stack)[0].status = "SUCCEEDED"

    assert ingest(stack, event) == FAILED_NONE

    assert len(executions(stack)) == 1


# Running ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine() -> Iterator[StateMachine]:
    with interpreted(**ALWAYS) as running:
        yield running


def merge(machine: StateMachine) -> Sent:
    """Hand the one message that waits to the function; returns it."""
    (sent,) = machine.stack.drain("CostReportQueue")
    assert ingest(machine.stack, sent.body, f"of {sent.deduplication}") == FAILED_NONE
    return sent


def ended(machine: StateMachine) -> dict[str, Any]:
    """The newest execution."""
    return machine.executions()[-1]


@pytest.mark.parametrize("mode", ["overwrite", "create_new"])
@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_delivery_that_is_fanned_out_gives_the_same_days_as_one_read_by_one_function(mode: Mode, file_format: Format) -> None:
    delivery = deliveries(mode, file_format)[2]
    with mock_aws():
        alone = Stack()
        ingest(alone, deliver(alone, delivery))
        (expected,) = records(alone)
        charges = {key: body for key, body in alone.objects("WorkBucket").items() if key.startswith("origin-charges/")}

    with interpreted(**ALWAYS) as machine:
        event = deliver(machine.stack, delivery)
        assert ingest(machine.stack, event) == FAILED_NONE
        assert ended(machine)["status"] == "SUCCEEDED"
        sent = merge(machine)

        (record,) = records(machine.stack)
        kept = machine.stack.objects("WorkBucket")
        assert origins(record) == origins(expected)
        assert {key: body for key, body in kept.items() if key.startswith("origin-charges/")} == charges
        assert record == expected
        assert len([key for key in kept if key.startswith("readings/")]) == len(machine.items) == 3
        assert (sent.group, sent.deduplication) == ("deliveries", ended(machine)["name"])
        assert json.loads(sent.body)["detail"]["object"]["key"] == delivery.manifest_key


def test_the_merge_reads_no_data_file_again(machine: StateMachine) -> None:
    delivery = deliveries()[2]
    ingest(machine.stack, deliver(machine.stack, delivery))
    assert ended(machine)["status"] == "SUCCEEDED"
    gets: list[str] = []

    def look(request: Any, **_: Any) -> None:
        if request.method == "GET":
            gets.append(request.url)

    with before_requests(look):
        merge(machine)

    assert [url for url in gets if "/readings/" in url]
    assert not [url for url in gets if url.split("?")[0].endswith(".parquet") and "/readings/" not in url]


def test_two_messages_about_one_delivery_end_in_one_record(machine: StateMachine) -> None:
    event = deliver(machine.stack, deliveries()[0])
    ingest(machine.stack, event, "first")
    ingest(machine.stack, event, "announced twice")

    assert [execution["status"] for execution in machine.executions()] == ["SUCCEEDED"] * 2

    before: list[Any] = []
    for sent in machine.stack.drain("CostReportQueue"):
        assert ingest(machine.stack, sent.body, sent.deduplication) == FAILED_NONE
        before.append(machine.stack.wire_items("LedgerTable"))
    assert len(before) == 2 and before[0] == before[1]
    assert len(records(machine.stack)) == 1


def test_a_fault_of_aws_is_tried_again_until_it_is_over(machine: StateMachine) -> None:
    attempts: list[str] = []

    def fail_at_first(item: dict[str, Any]) -> Any:
        attempts.append(item["key"])
        if attempts.count(item["key"]) <= 5:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "Please reduce your request rate."}}, "GetObject")
        return machine.read_data_file(item)

    machine.handler = fail_at_first
    ingest(machine.stack, deliver(machine.stack, deliveries()[2]))

    assert ended(machine)["status"] == "SUCCEEDED"
    assert len(attempts) == 3 * 6
    merge(machine)
    assert records(machine.stack)[0].outcome is DeliveryOutcome.INGESTED


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (InputRejected("item of a fan-out", "not one"), 1),
        (type("Sandbox.Timedout", (Exception,), {})(), 2),
        (OSError(28, "disk"), 6),
    ],
)
def test_a_file_that_fails_for_good_fails_the_execution_and_leaves_the_manifest_as_a_dead_letter(
    machine: StateMachine, error: Exception, attempts: int
) -> None:
    delivery = deliveries()[2]
    poison = delivery.objects[1].key

    def fail(item: dict[str, Any]) -> Any:
        if item["key"] == poison:
            raise error
        return machine.read_data_file(item)

    machine.handler = fail
    ingest(machine.stack, deliver(machine.stack, delivery))

    execution = ended(machine)
    assert (execution["status"], execution["error"]) == ("FAILED", "FanOutFailed")
    assert execution["cause"] == "The tolerated failure threshold was exceeded"
    assert len([item for item in machine.items if item["key"] == poison]) == attempts
    assert machine.stack.sent("CostReportQueue") == []
    (dead,) = machine.stack.drain("CostReportDeadLetters")
    assert (dead.group, dead.deduplication) == ("deliveries", execution["name"])
    assert records(machine.stack) == []

    # The cause is removed, and the message redriven: a new message, which finds what was read in the meantime.
    machine.handler, machine.items = machine.read_data_file, []
    assert ingest(machine.stack, dead.body, "redriven") == FAILED_NONE
    assert ended(machine)["status"] == "SUCCEEDED"
    assert [item["key"] for item in machine.items] == [poison]
    merge(machine)
    assert [record.outcome for record in records(machine.stack)] == [DeliveryOutcome.INGESTED]


def test_items_that_are_gone_end_as_a_dead_letter_too(machine: StateMachine) -> None:
    event = {"detail": {"bucket": {"name": "cost-reports"}, "object": {"key": "a-Manifest.json", "etag": "e"}}}
    request = {"items": {"bucket": "workbucket", "key": "fan-out/gone.json", "version_id": "null"}, "manifest": event}
    machine.stack.stepfunctions.start_execution(
        stateMachineArn=machine.stack.state_machine_arn, name="gone", input=json.dumps(request)
    )

    assert ended(machine)["status"] == "FAILED"
    assert [json.loads(sent.body) for sent in machine.stack.drain("CostReportDeadLetters")] == [event]
    assert machine.stack.sent("CostReportQueue") == []


def test_a_file_that_cannot_be_read_refuses_the_delivery_by_its_name(machine: StateMachine) -> None:
    delivery = deliveries()[2]
    event = deliver(machine.stack, delivery)
    machine.stack.put("CostReportBucket", delivery.objects[1].key, b"not a report at all", delivery.delivered_at)

    ingest(machine.stack, event)

    assert ended(machine)["status"] == "SUCCEEDED"
    merge(machine)
    assert delivery.objects[1].key in machine.stack.notices()[0]["reason"]
    assert [record.outcome for record in records(machine.stack)] == [DeliveryOutcome.REFUSED]
    assert machine.stack.sent("CostReportDeadLetters") == []


def test_a_refresh_that_begins_while_files_are_read_is_the_delivery_that_is_ingested(machine: StateMachine) -> None:
    older, newer = deliveries()[0], deliveries()[2]
    event = deliver(machine.stack, older)
    answers: list[Any] = []

    def replace_all_first(item: dict[str, Any]) -> Any:
        if not answers:
            deliver(machine.stack, newer)
        answers.append(machine.read_data_file(item))
        return answers[-1]

    machine.handler = replace_all_first
    ingest(machine.stack, event)
    assert ended(machine)["status"] == "SUCCEEDED"
    assert {answer["outcome"] for answer in answers} == {"replaced"}
    # The manifest that the last state names is the newer one by now; its files are fanned out in their turn.
    merge(machine)
    assert records(machine.stack) == []

    assert ended(machine)["status"] == "SUCCEEDED"
    merge(machine)
    (record,) = records(machine.stack)
    assert record.execution_id == newer.execution_id
    assert sum(d.totals["USD"].billed_cost for d in record.report.days if "USD" in d.totals) == truth_of(newer)


def truth_of(delivery: Delivery) -> Any:
    return delivery.truth.bedrock.unblended_cost
