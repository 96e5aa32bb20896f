"""Faults at the border to AWS: every write of the product passes here, and one of them can end it.

A hook on botocore's generic `before-send` event sees each request twice: before moto has applied it and after. On a more
specific event both would come before (moto itself listens to the generic one), and "applied" would silently mean "not applied".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from botocore.exceptions import ConnectionClosedError

from adapters import wiring

WRITES = frozenset(
    "PutItem UpdateItem DeleteItem BatchWriteItem TransactWriteItems "
    "SendMessage SendMessageBatch PutEvents StartExecution".split()
)
SERVICES = ("dynamodb", "s3", "sqs", "events", "stepfunctions")


class Crash(BaseException):
    """The sandbox is gone: nothing after this runs, no `except Exception` sees it."""


class Mode(StrEnum):
    """What happens at the chosen write."""

    BEFORE = "crash before it is applied"
    AFTER = "crash after it was applied"
    LOST = "applied, but its acknowledgement is lost and botocore tries again"


class Faults:
    """Counts writes. `at` and `mode` choose the one that fails; `after_write` is called when a write has been applied."""

    def __init__(self) -> None:
        self.count = 0
        self.at = 0
        self.mode = Mode.BEFORE
        self.after_write: Callable[[int], None] = lambda number: None
        self._is_on = False

    def arm(self, at: int, mode: Mode) -> None:
        """Count from the beginning and fail at write number `at`; never, where it is zero."""
        self.count, self.at, self.mode = 0, at, mode

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count, and fail, inside; an invocation inside of another's hook is not counted again."""
        was_on, self._is_on = self._is_on, True
        try:
            yield
        finally:
            self._is_on = was_on

    def before(self, request: Any, **_: Any) -> None:
        if self._is_on and is_write(request):
            self.count += 1
            if self.count == self.at and self.mode is Mode.BEFORE:
                raise Crash

    def after(self, request: Any, **_: Any) -> None:
        if not (self._is_on and is_write(request)):
            return
        self._is_on = False
        try:
            self.after_write(self.count)
        finally:
            self._is_on = True
        if self.count == self.at and self.mode is Mode.AFTER:
            raise Crash
        if self.count == self.at and self.mode is Mode.LOST:
            raise ConnectionClosedError(endpoint_url=request.url)


def is_write(request: Any) -> bool:
    """Whether a request changes anything. S3 says it by its method, the others by the operation they name."""
    target = request.headers.get("X-Amz-Target", "")
    operation = (target.decode() if isinstance(target, bytes) else str(target)).rpartition(".")[2]
    return operation in WRITES if operation else request.method in ("PUT", "POST", "DELETE")


@contextmanager
def injected() -> Iterator[Faults]:
    """Faults for every client of the product."""
    faults = Faults()
    emitters = [wiring.client(service).meta.events for service in SERVICES]
    for emitter in emitters:
        emitter.register_first("before-send", faults.before)
        emitter.register_last("before-send", faults.after)
    try:
        yield faults
    finally:
        for emitter in emitters:
            emitter.unregister("before-send", faults.before)
            emitter.unregister("before-send", faults.after)
