"""Batches of messages: a failure comes back soon and alone, broken input is quarantined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.messages import process_messages
from attribution.errors import InputRejected
from tests.fakes import FakeQuarantine

EVENT = json.loads((Path(__file__).parents[3] / "events" / "evaluate_budgets.json").read_text())


class Redelivery:
    """Remembers what is to come back, and when."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def after(self, queue_url: str, receipt_handle: str, seconds: int) -> None:
        self.asked.append((receipt_handle, seconds))


def batch(*receive_counts: int) -> dict[str, Any]:
    record = EVENT["Records"][0]
    return {
        "Records": [
            {
                **record,
                "messageId": f"m-{number}",
                "receiptHandle": f"handle-{number}",
                "body": str(number),
                "attributes": {**record["attributes"], "ApproximateReceiveCount": str(count), "MessageGroupId": f"g-{number}"},
            }
            for number, count in enumerate(receive_counts)
        ]
    }


def fail_odd(body: str, name: str) -> None:
    if int(body) % 2:
        raise TimeoutError("DynamoDB is not there")


@pytest.mark.parametrize("fifo", [False, True])
def test_a_message_that_failed_comes_back_soon_and_later_each_time(fifo: bool) -> None:
    redelivery = Redelivery()

    answer = process_messages(batch(1, 1, 1, 3), None, fail_odd, FakeQuarantine(), redelivery, fifo=fifo)  # type: ignore[arg-type]

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}, {"itemIdentifier": "m-3"}]}
    assert redelivery.asked == [("handle-1", 30), ("handle-3", 90)]


@pytest.mark.parametrize("fifo", [False, True])
def test_a_batch_of_failures_alone_is_returned_and_not_raised(fifo: bool) -> None:
    def fail(body: str, name: str) -> None:
        raise TimeoutError

    answer = process_messages(batch(1), None, fail, FakeQuarantine(), Redelivery(), fifo=fifo)  # type: ignore[arg-type]

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}


def test_broken_input_is_quarantined_and_does_not_come_back() -> None:
    def reject(body: str, name: str) -> None:
        raise InputRejected(name, "not what it says")

    quarantine, redelivery = FakeQuarantine(), Redelivery()

    assert process_messages(batch(1), None, reject, quarantine, redelivery) == {"batchItemFailures": []}  # type: ignore[arg-type]
    assert [rejected.source for rejected in quarantine.rejected] == ["message m-0"]
    assert redelivery.asked == []
