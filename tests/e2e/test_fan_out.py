"""A delivery that is fanned out on the local AWS, by the template's own state machine, roles and queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from attribution.deliveries import DeliveryRecord
from attribution.periods import BillingPeriod
from local import demo, deployment, emulator, pipeline
from local.pipeline import COST_REPORT_PREFIX, COST_REPORTS, Pipeline
from truth import company, cost_report
from truth.cost_report import Delivery

PERIOD = BillingPeriod.parse(demo.MONTH)


@pytest.fixture(scope="module")
def running() -> Iterator[Pipeline]:
    with emulator.running(pace=emulator.Pace(retry_seconds=2)) as aws:
        # Nobody is told: no budget is defined, and the secret is never read.
        secret_arn = pipeline.prepare_account(aws, "https://hooks.slack.com/services/none")
        parameters = pipeline.stack_parameters(secret_arn, FanOutAboveMegabytes="0")
        yield Pipeline(aws, deployment.deploy(aws, pipeline.BUILD_DIRECTORY, parameters=parameters))


@pytest.fixture(scope="module")
def delivery(running: Pipeline) -> Delivery:
    """The month's last delivery, once readers see it."""
    month = company.build(demo.MONTH, demo.SEED, 60)
    last = cost_report.deliveries(month, bucket=COST_REPORTS, prefix=COST_REPORT_PREFIX, export=demo.EXPORT)[-1]
    demo.feed_delivery(running, PERIOD, last)
    return last


def record(running: Pipeline, delivery: Delivery) -> DeliveryRecord:
    found = running.delivery(PERIOD, delivery.execution_id)
    assert found is not None
    return found


def executions(running: Pipeline) -> list[Any]:
    found: list[Any] = running.emulator.client("stepfunctions").list_executions(
        stateMachineArn=running.deployment.resources["FanOutStateMachine"]
    )["executions"]
    return found


def test_a_fanned_out_delivery_is_published_and_equals_the_bill(running: Pipeline, delivery: Delivery) -> None:
    assert pipeline.totals(running.pointers(PERIOD).values()) == delivery.truth.bedrock.unblended_cost
    assert record(running, delivery).report.rows_read == delivery.truth.rows
    assert running.dead_letters() == {}


def test_each_file_was_read_by_a_child_of_one_execution_and_kept(running: Pipeline, delivery: Delivery) -> None:
    stepfunctions, s3 = running.emulator.client("stepfunctions"), running.emulator.client("s3")
    files = [file for file in record(running, delivery).report.files if file.size]

    (execution,) = executions(running)
    assert execution["status"] == "SUCCEEDED"
    (run,) = stepfunctions.list_map_runs(executionArn=execution["executionArn"])["mapRuns"]
    counts = stepfunctions.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
    assert counts["succeeded"] == counts["total"] == len(files)
    kept = s3.list_objects_v2(Bucket=running.deployment.outputs["WorkBucket"], Prefix="readings/")["Contents"]
    assert len(kept) == len(files)


def test_the_same_manifest_again_starts_nothing(running: Pipeline, delivery: Delivery) -> None:
    before = running.fingerprint()

    running.put_objects(COST_REPORTS, delivery.objects[-1:])
    running.settle(seconds=60)

    assert len(executions(running)) == 1
    assert running.fingerprint() == before


def test_items_that_no_function_reads_end_in_the_dead_letter_queue(running: Pipeline, delivery: Delivery) -> None:
    bucket = running.deployment.outputs["WorkBucket"]
    stored = running.emulator.client("s3").put_object(Bucket=bucket, Key="fan-out/poison.json", Body=b'[{"key": "poison"}]')
    manifest = '{"detail": {"bucket": {"name": "cost-reports"}, "object": {"key": "poison-Manifest.json", "etag": "e"}}}'
    place = f'{{"bucket": "{bucket}", "key": "fan-out/poison.json", "version_id": "{stored["VersionId"]}"}}'
    running.emulator.client("stepfunctions").start_execution(
        stateMachineArn=running.deployment.resources["FanOutStateMachine"],
        name="poison",
        input=f'{{"items": {place}, "manifest": {manifest}}}',
    )

    running.wait_for("giving up", lambda: bool(running.dead_letters()), seconds=60)

    (dead,) = running.emulator.client("sqs").receive_message(QueueUrl=running.deployment.resources["CostReportDeadLetters"])[
        "Messages"
    ]
    assert "poison-Manifest.json" in dead["Body"]
    poisoned = next(execution for execution in executions(running) if execution["name"] == "poison")
    assert poisoned["status"] == "FAILED"
