"""The template's state machine, run by moto's interpreter of the Amazon States Language, with the real handlers behind Lambda.

moto runs Lambda functions in Docker and finishes a map whose items failed; AWS does neither. Both are put right here, and the
waits of retries are left out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from moto import mock_aws
from moto.awslambda.models import LambdaBackend
from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.distributed_iteration_component import (
    DistributedIterationComponent,
)

from tests.support.stack import Stack

EXECUTION_SECONDS = 60
Handler = Callable[[dict[str, Any]], Any]


class StateMachine:
    """The one state machine of the stack. Its functions answer by `handler`, which a test may replace by one that fails."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.items: list[dict[str, Any]] = []
        self.handler: Handler = self.read_data_file
        self._module: Any = None
        self._lock = threading.Lock()

    def read_data_file(self, item: dict[str, Any]) -> Any:
        """The function's own handler."""
        if self._module is None:
            self._module = self.stack.handler("read_data_file")
        return self.stack.invoke(self._module, item)

    def invoke(self, payload: str, headers: dict[str, Any]) -> bytes:
        """Lambda's answer: what the handler returns, or its error in the form that Lambda gives errors."""
        item = json.loads(payload)
        with self._lock:
            self.items.append(item)
            try:
                return json.dumps(self.handler(item)).encode()
            except Exception as error:
                headers["x-amz-function-error"] = "Unhandled"
                return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).encode()

    def executions(self) -> list[dict[str, Any]]:
        """Every execution, oldest first, once it has ended."""
        arn = self.stack.state_machine_arn
        found = self.stack.stepfunctions.list_executions(stateMachineArn=arn)["executions"]
        return [self._ended(e["executionArn"]) for e in sorted(found, key=lambda e: e["startDate"])]

    def _ended(self, arn: str) -> dict[str, Any]:
        for _ in range(EXECUTION_SECONDS * 50):
            execution: dict[str, Any] = self.stack.stepfunctions.describe_execution(executionArn=arn)
            if execution["status"] != "RUNNING":
                return execution
            threading.Event().wait(0.02)
        raise AssertionError(f"{arn} still runs after {EXECUTION_SECONDS} s")


@contextmanager
def interpreted(**parameters: str) -> Iterator[StateMachine]:
    """An empty stack whose state machine runs by itself."""
    machines: list[StateMachine] = []

    def invoke(_: Any, name: str, qualifier: str, body: str, headers: Any, response_headers: dict[str, Any]) -> bytes:
        assert name.endswith(":function:ReadDataFileFunction"), name
        return machines[0].invoke(body, response_headers)

    run = DistributedIterationComponent._map_run

    def run_and_tolerate_nothing(self: Any, env: Any, eval_input: Any) -> None:
        run(self, env, eval_input)
        if eval_input.map_run_record.item_counter.failed.get() > eval_input.tolerated_failure_count:
            name = StatesErrorName(StatesErrorNameType.StatesExceedToleratedFailureThreshold)
            told: Any = {
                "mapRunFailedEventDetails": {"error": name.error_name, "cause": "The tolerated failure threshold was exceeded"}
            }
            raise FailureEventException(FailureEvent(env, name, HistoryEventType.MapRunFailed, told))

    with (
        mock_aws(config={"stepfunctions": {"execute_state_machine": True}}),
        patch.object(LambdaBackend, "invoke", invoke),
        patch.object(DistributedIterationComponent, "_map_run", run_and_tolerate_nothing),
        patch.object(retrier_decl, "time", SimpleNamespace(sleep=lambda seconds: None)),
    ):
        machines.append(StateMachine(Stack(overrides=parameters)))
        yield machines[0]
