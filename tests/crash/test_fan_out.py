"""Faults at every write that a fan-out adds to the ingestion of a delivery: the items, the execution, each file's reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws
from moto.stepfunctions.models import stepfunctions_backends

from tests.crash.faults import Crash, Faults, Mode, injected
from tests.crash.world import Work, World
from tests.support.stack import ACCOUNT, REGION, messages

STARTER, EXECUTION = "ingest_cost_report", "execution"
_ATTEMPTS_MAX = 6


class FanOutWorld(World):
    """A world in which every delivery is fanned out; what the state machine does is done here, one item after the other.

    Where it `is_late`, a message that failed comes again only when its execution has ended.
    """

    def __init__(self, faults: Faults, *, is_late: bool = False) -> None:
        super().__init__(faults, FanOutAboveMegabytes="0")
        self.modules["read_data_file"] = self.stack.handler("read_data_file")
        self._is_late = is_late
        self._ended: list[Any] = []

    def _executions(self) -> list[Any]:
        machine: Any = stepfunctions_backends[ACCOUNT][REGION].describe_state_machine(self.stack.state_machine_arn)
        found: list[Any] = machine.executions
        return found

    def invoke(self, work: Work) -> bool:
        function, event = work
        if function == EXECUTION:
            return self._execute()
        is_done = super().invoke((function, event))
        if self._is_late and not is_done:
            self._execute()
        return is_done

    def _execute(self) -> bool:
        for execution in self._executions():
            if execution.status == "RUNNING":
                place = json.loads(execution.execution_input)["items"]
                stored = self.stack.s3.get_object(Bucket=place["bucket"], Key=place["key"], VersionId=place["version_id"])
                for item in json.loads(stored["Body"].read()):
                    self._read(item)
                execution.status = "SUCCEEDED"
                self._ended.append(execution)
        return True

    def _read(self, item: dict[str, Any]) -> None:
        """An item is tried until its function answers."""
        for _ in range(_ATTEMPTS_MAX):
            try:
                self.stack.invoke(self.modules["read_data_file"], item)
            except Crash:
                continue
            return
        raise AssertionError(f"{item['key']} does not get read")

    def asked(self) -> list[Work]:
        """Executions that were started, and the messages of those that ended."""
        started: list[Work] = [(EXECUTION, {}) for execution in self._executions() if execution.status == "RUNNING"]
        merges: list[Work] = []
        while self._ended:
            execution = self._ended.pop()
            event = messages(STARTER, [json.loads(execution.execution_input)["manifest"]])
            event["Records"][0]["messageId"] = execution.name
            merges.append((STARTER, event))
        return [*super().asked(), *started, *merges]

    def keep(self) -> Callable[[], None]:
        put_back = super().keep()

        def put_back_all() -> None:
            put_back()
            self._executions().clear()
            self._ended.clear()

        return put_back_all


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with mock_aws(), injected() as found:
        yield found


@pytest.mark.parametrize(
    ("mode", "is_late"),
    [(Mode.BEFORE, False), (Mode.AFTER, False), (Mode.AFTER, True), (Mode.LOST, False)],
    ids=["before", "after", "after, noticed late", "lost"],
)
def test_a_fault_at_any_write_of_a_fan_out_leaves_the_ledger_of_an_undisturbed_run(
    faults: Faults, mode: Mode, is_late: bool, count_schedules: Callable[[int], None]
) -> None:
    world = FanOutWorld(faults, is_late=is_late)
    delivery = world.delivery(2, hours=6)
    put_back = world.keep()
    world.faults.arm(0, mode)
    reference = world.end_of([delivery], faulty=[STARTER, EXECUTION], recut=False)
    assert world.visible()["newest"][1] == "published"
    files = [line for line in reference.splitlines() if line.startswith('["readings/')]
    assert files
    # The items, the execution, the readings. The writes after them are those of a delivery that one function reads.
    writes = 2 + len(files)

    for number in range(1, writes + 1):
        put_back()
        world.faults.arm(number, mode)
        left = world.end_of([delivery], faulty=[STARTER, EXECUTION], recut=False)
        assert world.faults.count >= number, "the fault was never reached"
        assert left == reference, f"{mode} at write {number} of {writes} leaves another ledger"
    count_schedules(writes)
