"""Prices that appear late, on the local AWS: queues, roles and index of the template price what was recorded without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.invocations import invocation_from_image
from adapters.prices import DynamoPrices
from adapters.wiring import clock
from attribution.periods import BillingPeriod
from attribution.recounts import recount
from local import demo, deployment, emulator, pipeline
from local.pipeline import Pipeline
from tests.e2e.test_usage_to_slack import without_zeros
from tests.support.price_list import serving
from truth import company, price_list

PERIOD = BillingPeriod.parse(demo.MONTH)


@pytest.fixture(scope="module")
def running() -> Iterator[Pipeline]:
    """A stack that knew no price when a month's requests were recorded."""
    month = company.build(demo.MONTH, demo.SEED, 60)
    with (
        serving(price_list.offers(month)) as api,
        emulator.running(pace=emulator.Pace(retry_seconds=2)) as aws,
    ):
        secret_arn = pipeline.prepare_account(aws, "https://hooks.slack.com/services/none")
        parameters = pipeline.stack_parameters(secret_arn, PriceListUrl=api.url)
        stack = Pipeline(aws, deployment.deploy(aws, pipeline.BUILD_DIRECTORY, parameters=parameters))
        demo.feed_usage(stack, month)
        yield stack


def send(running: Pipeline, task: str) -> None:
    """Ask for a task, as the schedule does, and wait until nothing is left of it."""
    url = running.deployment.resources["DirectoryQueue"]
    running.emulator.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps({"task": task}))
    running.settle(seconds=120)


def items(running: Pipeline) -> list[Any]:
    pages = running.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=running.invocations.name)
    return [item for page in pages for item in page["Items"]]


def test_requests_are_priced_when_the_price_list_is_read_and_the_counters_follow(running: Pipeline) -> None:
    before = pipeline.totals(running.pointers(PERIOD).values())
    assert any("unpriced" in item for item in items(running))

    send(running, "prices")

    waiting = {item["unpriced"]["S"].partition("#")[2] for item in items(running) if "unpriced" in item}
    assert {model for model in waiting if not model.startswith("arn:")} == set()
    counted = {u.key: u.counters for day in PERIOD.days() for u in running.counters.usage_of(day)}
    invocations = [found for item in items(running) if (found := invocation_from_image(item))]
    assert without_zeros(counted) == without_zeros(recount(invocations))
    assert pipeline.totals(running.pointers(PERIOD).values()) > before
    assert len(DynamoPrices(running.ledger, clock).readings()) == 3


def test_calibrating_without_a_bill_changes_no_amount_and_the_second_time_no_day(running: Pipeline) -> None:
    before = pipeline.totals(running.pointers(PERIOD).values())

    send(running, "calibration")

    # What was priced by the snapshot is found to be the list price.
    pointers = running.pointers(PERIOD)
    assert pipeline.totals(pointers.values()) == before
    send(running, "calibration")
    assert {day: p.version for day, p in running.pointers(PERIOD).items()} == {day: p.version for day, p in pointers.items()}
