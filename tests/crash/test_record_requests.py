"""Faults at every write of the functions that record requests, and other workers between any two of them.

Whatever happens, the same requests are left with the same halves and session tags, and counters that are their sum.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections import deque
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from adapters.usage_counters import DynamoUsageCounters
from attribution.meters import TokenKind
from attribution.recounts import recount
from tests.crash.faults import Crash, Mode
from tests.crash.world import Work, World
from tests.support import inputs
from tests.support.stack import ACCOUNT, REGION, load_event, messages, object_created, windowed

CALLS, LOGS = "record_api_calls", "record_invocations"
ACCESS_KEY = "ASIAEXAMPLE0KEY00001"
DAY = date(2026, 2, 5)
KEY = (
    "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/02/05/14/"
    "20260205T145950123Z_0000000000000001.json.gz"
)
_ATTEMPTS_MAX = 4


def call(request_id: str, access_key_id: str = ACCESS_KEY, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(load_event(CALLS)["Records"][0]["body"])
    identity = event["detail"]["userIdentity"] | {"accessKeyId": access_key_id}
    event["detail"] |= {"requestID": request_id, "eventTime": "2026-02-05T14:23:51Z", "userIdentity": identity} | changes
    return event


def correction(request_id: str) -> dict[str, Any]:
    addendum = {"reason": "UPDATED_DATA", "originalRequestID": request_id, "originalEventID": "e"}
    return call(request_id, eventID="corrected", addendum=addendum, additionalEventData={"inputTokens": 7, "outputTokens": 5})


SESSION = {
    "detail": {
        "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole",
        "eventTime": "2026-02-05T14:00:02Z",
        "requestParameters": {"tags": [{"key": "team", "value": "search"}]},
        "responseElements": {"credentials": {"accessKeyId": ACCESS_KEY}},
    }
}


def logged(request_id: str, tokens: int = 100) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-02-05T14:23:51Z",
        "accountId": "111122223333",
        "region": "us-east-1",
        "requestId": request_id,
        "operation": "Converse",
        "modelId": "anthropic.claude-sonnet-4-6",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/BedrockCallerRole/jane"},
        "input": {"inputTokenCount": tokens},
        "output": {"outputTokenCount": 20},
    }


def work(world: World) -> list[Work]:
    """Two batches of calls around the event of their session, and a log of some of them, one of which it has twice."""
    lines = [logged("a"), logged("b"), "{broken", logged("a", tokens=999), logged("logged-only")]
    body = gzip.compress("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode())
    world.stack.put("InvocationLogBucket", KEY, body)
    log = object_created(world.stack.parameters["InvocationLogBucket"], KEY)
    return [
        (CALLS, messages(CALLS, [call("a"), call("b"), call("c", "ASIAWITHOUTTAGS00001"), correction("b")])),
        (CALLS, messages(CALLS, [SESSION])),
        (LOGS, messages(LOGS, [log])),
        (CALLS, messages(CALLS, [call("d"), call("a")])),
    ]


def invoke(world: World, item: Work) -> bool:
    function, event = item
    try:
        return not world.stack.invoke(world.modules[function], event)["batchItemFailures"]
    except (Crash, BatchProcessingError):
        return False


def settle(world: World, items: Sequence[Work], *, late: bool) -> None:
    """Do all work, and again what failed: at once, or after everything else."""
    waiting = deque((item, 1) for item in items)
    while waiting:
        item, attempt = waiting.popleft()
        with world.faults.on():
            is_done = invoke(world, item)
        if not is_done:
            assert attempt < _ATTEMPTS_MAX, f"{item[0]} does not get done"
            (waiting.append if late else waiting.appendleft)((item, attempt + 1))


def state(world: World) -> tuple[list[Any], list[Any], list[str]]:
    """The requests, what is known of sessions, and the notices; the counters must be what the requests add up to."""
    stack = world.stack
    assert invoke(world, ("roll_up_usage", windowed(list(stack.stream("InvocationsTable")))))
    counters = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: stack.now)
    counted = {u.key: u.counters for u in counters.usage_of(DAY) if not u.counters.is_zero()}
    assert counted == recount(stack.invocations())
    # Which calls ever had to wait depends on what came first; whether they have their tags does not.
    sessions = [item for item in stack.wire_items("LedgerTable") if item.get("sk") == {"S": "TAGS"}]
    return stack.wire_items("InvocationsTable"), sessions, sorted(notice["reason"] for notice in stack.notices())


def keep() -> Callable[[], None]:
    """Keep the tables, the stream and the notices; returns what puts them back."""
    tables = {name: dynamodb_backends[ACCOUNT][REGION].get_table(name) for name in ("InvocationsTable", "LedgerTable")}
    items = {name: copy.deepcopy(table.items) for name, table in tables.items()}
    shard: Any = tables["InvocationsTable"].stream_shard
    changes = list(shard.items)
    bucket: Any = s3_backends[ACCOUNT]["aws"].buckets["workbucket"]

    def put_back() -> None:
        for name, table in tables.items():
            table.items = copy.deepcopy(items[name])
        shard.items = list(changes)
        bucket.keys.clear()

    return put_back


@pytest.fixture
def recorders(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    # One write after the other, so that a schedule is the same each time.
    monkeypatch.setattr("adapters.concurrency.WORKERS", 1)
    world.faults.after_write = lambda number: None
    inputs.load_prices(world.stack)
    world.modules |= {name: world.stack.handler(name) for name in (CALLS, LOGS)}
    return world


@pytest.mark.parametrize(
    ("mode", "late"),
    [(Mode.BEFORE, False), (Mode.BEFORE, True), (Mode.AFTER, False), (Mode.AFTER, True), (Mode.LOST, False)],
    ids=["before", "before, again at the end", "after", "after, again at the end", "lost"],
)
def test_a_fault_at_any_write_leaves_every_request_and_every_link(
    recorders: World, mode: Mode, late: bool, count_schedules: Callable[[int], None]
) -> None:
    put_back, items = keep(), work(recorders)
    recorders.faults.arm(0, mode)
    settle(recorders, items, late=late)
    writes, reference = recorders.faults.count, state(recorders)
    found = {i.key.request_id: i for i in recorders.stack.invocations()}
    assert {name: i.observed.session_tags for name, i in found.items() if i.observed} == {
        "a": (("team", "search"),),
        "b": (("team", "search"),),
        "c": (),
        "d": (("team", "search"),),
    }
    assert [found[name].state for name in ("a", "b", "logged-only")] == ["joined", "joined", "metered_only"]
    half = found["a"].metered
    assert half is not None
    assert half.kinds[TokenKind.INPUT].units == 100
    for number in range(1, writes + 1):
        put_back()
        recorders.faults.arm(number, mode)
        settle(recorders, items, late=late)
        assert recorders.faults.count >= number, "the fault was never reached"
        assert state(recorders) == reference, f"{mode} at write {number} of {writes} leaves something else"
    count_schedules(writes)


@pytest.mark.parametrize("other", range(4), ids=["calls", "session", "log", "more calls"])
def test_another_worker_at_any_write_changes_nothing(recorders: World, other: int) -> None:
    put_back, items = keep(), work(recorders)
    recorders.faults.arm(0, Mode.BEFORE)
    settle(recorders, items, late=False)
    writes, reference = recorders.faults.count, state(recorders)

    for number in range(1, writes + 1):
        put_back()
        recorders.faults.arm(0, Mode.BEFORE)

        def when_written(count: int, at: int = number) -> None:
            if count == at:
                assert invoke(recorders, items[other])

        recorders.faults.after_write = when_written
        settle(recorders, items, late=False)
        recorders.faults.after_write = lambda count: None
        assert state(recorders)[:2] == reference[:2], f"another worker after write {number} of {writes}"
