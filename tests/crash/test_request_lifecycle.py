"""Whatever happens to the two halves of requests and to the stream of their changes: the counters are what a small model says.

The real functions run on real events, over the tables of the template. The model is a few lines of arithmetic over what was
delivered; it shares nothing with the product but names.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends

from adapters.prices import DynamoPrices
from adapters.usage_counters import DynamoUsageCounters
from attribution.errors import LedgerConflict
from attribution.meters import Meter, TokenKind
from attribution.prices import Price
from attribution.usage import Counters, UsageKey
from tests.crash.faults import Crash, Mode, injected
from tests.support.stack import ACCOUNT, REGION, Stack, messages, object_created, windowed
from truth.objects import compress

CALLER = "111122223333"
MIDNIGHT = datetime(2026, 3, 11, tzinfo=UTC)
DAYS = (date(2026, 3, 10), date(2026, 3, 11))
MODELS = ("acme.alpha", "acme.beta")
KINDS = ("input", "output")
SESSIONS = {"ASIAEXAMPLE0KEY00001": "search", "ASIAEXAMPLE0KEY00002": "support"}
_ATTEMPTS_MAX = 8
_LOG_KEY = f"bedrock/AWSLogs/{CALLER}/BedrockModelInvocationLogs/{REGION}/2026/03/11/00/20260311T000000000Z_{{}}.json.gz"

Cell = tuple[str, ...]
"""What tells counters apart, then the name of a number, then the token kind."""


@dataclass(frozen=True)
class Trail:
    """One CloudTrail record of a call. Of several, the one with the greatest rank stands."""

    rank: int
    access_key: str
    error: str
    tokens: tuple[int, int] | None

    @property
    def principal(self) -> str:
        return f"arn:aws:sts::{CALLER}:assumed-role/Gateway/{self.access_key or 'nobody'}" if self.rank else ""


@dataclass
class Call:
    """A request as it was made, and what the stack has been told of it so far."""

    number: int
    model: str
    is_logged: bool
    tokens: tuple[int, int]
    error: str
    team: str
    logged_at: datetime
    trails: tuple[Trail, ...]
    is_log_known: bool = False
    known_rank: int = -1
    prices: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        return f"request-{self.number}"

    @property
    def half(self) -> str:
        """The half that counts."""
        return "log" if self.is_log_known else f"trail-{self.known_rank}"

    def trail(self) -> Trail | None:
        return next((t for t in self.trails if t.rank == self.known_rank), None)


def expected(calls: Sequence[Call], issued: set[str]) -> dict[Cell, Decimal]:
    """The counters: one request at a time, by what is known of it."""
    sums: dict[Cell, Decimal] = {}
    for call in calls:
        trail = call.trail()
        if not call.is_log_known and trail is None:
            continue
        tags = f"team={SESSIONS[trail.access_key]}" if trail and trail.access_key in issued else ""
        if call.is_log_known:
            day, who, metadata = call.logged_at.date(), f"arn:aws:sts::{CALLER}:assumed-role/Gateway/log", call.team
            tokens: tuple[int, int] | None = None if call.error else call.tokens
            counts = {"requests": 1, "errors": bool(call.error)}
        else:
            assert trail is not None
            day, who, metadata = trail_time(call).date(), trail.principal, ""
            tokens = None if trail.error else trail.tokens
            counts = {
                "requests": bool(tokens) or not call.is_logged,
                "unlogged": bool(tokens) or not call.is_logged,
                "errors": bool(trail.error),
                "observed_only": call.is_logged,
                "provisional": bool(tokens),
                "unmeasured": not call.is_logged and not tokens and not trail.error,
            }
        place = (day.isoformat(), call.model, who, metadata, tags)
        numbers: dict[Cell, Decimal] = {(name, ""): Decimal(int(count)) for name, count in counts.items()}
        prices = call.prices.get(call.half, {})
        for kind, count in zip(KINDS, tokens or (), strict=False):
            numbers["units", kind] = Decimal(count)
            if kind in prices:
                numbers["estimated", kind] = prices[kind] * count / 1_000_000
            else:
                numbers["unpriced", kind] = Decimal(count)
        for cell, number in numbers.items():
            sums[(*place, *cell)] = sums.get((*place, *cell), Decimal(0)) + number
    return {cell: number for cell, number in sums.items() if number}


def trail_time(call: Call) -> datetime:
    """CloudTrail's time of a call is seconds off the log's: around midnight, another day."""
    return call.logged_at - timedelta(seconds=2)


def cells(key: UsageKey, counters: Counters) -> dict[Cell, Decimal]:
    """A counter of the product in the model's terms."""
    texts = (dict(pairs).get("team", "") for pairs in (key.request_metadata, key.session_tags))
    metadata, tag = texts
    place = (key.usage_date.isoformat(), key.model, key.iam_principal, metadata, f"team={tag}" if tag else "")
    counts = ("requests", "errors", "unmeasured", "observed_only", "provisional", "unlogged")
    numbers: dict[Cell, Decimal] = {(name, ""): Decimal(getattr(counters, name)) for name in counts}
    for name in ("units", "estimated", "unpriced"):
        numbers |= {(name, kind.value): Decimal(n) for kind, n in getattr(counters, name).items()}
    return {(*place, *cell): number for cell, number in numbers.items() if number}


def log_event(stack: Stack, call: Call) -> dict[str, Any]:
    record = {
        "schemaType": "ModelInvocationLog",
        "timestamp": f"{call.logged_at:%Y-%m-%dT%H:%M:%SZ}",
        "accountId": CALLER,
        "identity": {"arn": f"arn:aws:sts::{CALLER}:assumed-role/Gateway/log"},
        "region": REGION,
        "requestId": call.request_id,
        "operation": "Converse",
        "modelId": call.model,
        "requestMetadata": {"team": call.team} if call.team else None,
        "errorCode": call.error or None,
        "input": {"inputTokenCount": None if call.error else call.tokens[0]},
        "output": {"outputTokenCount": None if call.error else call.tokens[1]},
    }
    key = _LOG_KEY.format(call.request_id)
    stack.put("InvocationLogBucket", key, compress(json.dumps(record).encode()))
    return object_created(stack.parameters["InvocationLogBucket"], key)


def trail_event(call: Call, trail: Trail) -> dict[str, Any]:
    identity: dict[str, Any] = {"type": "AWSAccount", "accountId": CALLER, "principalId": "AROAEXAMPLE"}
    if trail.rank:
        identity = {"type": "AssumedRole", "accountId": CALLER, "arn": trail.principal, "accessKeyId": trail.access_key}
    counted = dict(zip(("inputTokens", "outputTokens"), trail.tokens or (), strict=False))
    is_correction = trail.rank > 1
    detail = {
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "Converse" if call.is_logged else "StartAsyncInvoke",
        "eventTime": f"{trail_time(call):%Y-%m-%dT%H:%M:%SZ}",
        "eventID": f"event-{call.number}-{trail.rank}",
        "requestID": f"correction-{call.number}" if is_correction else call.request_id,
        "awsRegion": REGION,
        "recipientAccountId": CALLER if trail.rank else "444455556666",
        "userIdentity": identity,
        "requestParameters": {"modelId": call.model},
        "additionalEventData": counted or None,
        "errorCode": trail.error or None,
    }
    if is_correction:
        detail["addendum"] = {"reason": "UPDATED_DATA", "originalRequestID": call.request_id, "originalEventID": "event"}
    return {"detail": detail}


def session_event(access_key: str) -> dict[str, Any]:
    return {
        "detail": {
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRole",
            "eventTime": "2026-03-10T20:00:00Z",
            "eventID": f"session-{access_key}",
            "requestParameters": {"tags": [{"key": "team", "value": SESSIONS[access_key]}]},
            "responseElements": {"credentials": {"accessKeyId": access_key}},
        }
    }


# moto does not read numbers that are written with an exponent, as very small amounts are.
tokens = st.tuples(st.just(0) | st.integers(100, 3000), st.integers(100, 900))
errors = st.sampled_from(["", "", "", "ThrottlingException"])


@st.composite
def trails(draw: st.DrawFn) -> tuple[Trail, ...]:
    """A copy in another account, the record itself, and what corrects it, each with something else to say."""
    keys = st.sampled_from([*SESSIONS, "ASIAEXAMPLE0KEY00009"])
    key = draw(keys)
    return tuple(Trail(rank, key if rank else "", draw(errors), draw(st.none() | tokens)) for rank in range(3))


calls = st.builds(
    Call,
    number=st.just(0),
    model=st.sampled_from(MODELS),
    is_logged=st.sampled_from([True, True, True, False]),
    tokens=tokens,
    error=errors,
    team=st.sampled_from(["", "billing"]),
    logged_at=st.integers(-4, 4).map(lambda seconds: MIDNIGHT + timedelta(seconds=seconds)),
    trails=trails(),
)
certain_faults = st.tuples(st.sampled_from(Mode), st.integers(1, 3))
faults = st.none() | certain_faults
Fault = tuple[Mode, int] | None


class RequestLifecycle(RuleBasedStateMachine):
    """Requests are made, told of in halves, counted, priced and corrected, in any order; anything may fail anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self._around = ExitStack()
        self._around.enter_context(mock_aws())
        self._around.enter_context(patch("botocore.endpoint.time.sleep", lambda seconds: None))
        # Several transactions a batch and messages a day, as a busy stack has them.
        self._around.enter_context(patch("attribution.flows.roll_up_usage.MAX_COUNTERS_PER_TRANSACTION", 1))
        self._around.enter_context(patch("attribution.flows.reprice_invocations.REQUESTS_PER_MESSAGE", 2))
        self.faults = self._around.enter_context(injected())
        self.stack = Stack()
        self.calls: list[Call] = []
        self.issued: set[str] = set()
        self.prices: dict[str, dict[str, Decimal]] = {model: {} for model in MODELS}
        self.position = 0
        self.cold_start()

    def teardown(self) -> None:
        self._around.close()

    def cold_start(self) -> None:
        names = ("record_invocations", "record_api_calls", "roll_up_usage", "reprice_invocations")
        self.functions = {name: self.stack.handler(name) for name in names}

    # Work ---------------------------------------------------------------------------------------------------------------

    def invoke(self, function: str, event: dict[str, Any]) -> bool:
        try:
            return not self.stack.invoke(self.functions[function], event)["batchItemFailures"]
        except (Crash, BatchProcessingError, LedgerConflict):
            return False

    def deliver(self, function: str, event: dict[str, Any], fault: Fault = None) -> None:
        """Deliver an event until it is done; its first attempt meets the fault."""
        mode, at = fault or (Mode.BEFORE, 0)
        self.faults.arm(at, mode)
        with self.faults.on():
            is_done = self.invoke(function, event)
        attempts = 1
        while not is_done or (fault and mode is Mode.AFTER and attempts == 1):
            is_done = self.invoke(function, event)
            attempts += 1
            assert attempts < _ATTEMPTS_MAX, f"{function} does not get done: {self.stack.log.getvalue()[-2000:]}"

    @property
    def is_behind(self) -> bool:
        return self.position < len(self.records())

    def records(self) -> list[dict[str, Any]]:
        return list(self.stack.stream("InvocationsTable"))

    # Rules --------------------------------------------------------------------------------------------------------------

    @initialize(is_priced=st.booleans(), calls=st.lists(calls, min_size=3, max_size=6))
    def requests_are_made(self, is_priced: bool, calls: list[Call]) -> None:
        """One model may have a price from the beginning."""
        if is_priced:
            self.price_becomes_known(MODELS[0], Decimal("0.30"), KINDS)
        self.calls = [replace(call, number=number, prices={}) for number, call in enumerate(calls)]

    @precondition(lambda self: any(call.is_logged for call in self.calls))
    @rule(data=st.data(), fault=faults)
    def logs_arrive(self, data: st.DataObject, fault: Fault) -> None:
        """For the first time or again, alone or with others, in any order."""
        logged = [call for call in self.calls if call.is_logged]
        chosen = data.draw(st.lists(st.sampled_from(logged), min_size=1, max_size=4), label="logs")
        events = [log_event(self.stack, call) for call in chosen]
        self.deliver("record_invocations", messages("record_invocations", events), fault)
        for call in chosen:
            if not call.is_log_known:
                call.is_log_known = True
                call.prices["log"] = dict(self.prices[call.model])

    @rule(data=st.data(), fault=faults)
    def trail_records_arrive(self, data: st.DataObject, fault: Fault) -> None:
        of_calls = [(call, trail) for call in self.calls for trail in call.trails]
        chosen = data.draw(st.lists(st.sampled_from(of_calls), min_size=1, max_size=6), label="records")
        events = [trail_event(call, trail) for call, trail in chosen]
        self.deliver("record_api_calls", messages("record_api_calls", events), fault)
        for call, trail in chosen:
            if trail.rank > call.known_rank:
                call.known_rank = trail.rank
                call.prices[f"trail-{trail.rank}"] = dict(self.prices[call.model])

    @rule(access_key=st.sampled_from(sorted(SESSIONS)), fault=faults)
    def session_is_announced(self, access_key: str, fault: Fault) -> None:
        self.deliver("record_api_calls", messages("record_api_calls", [session_event(access_key)]), fault)
        self.issued.add(access_key)

    @rule(
        model=st.sampled_from(MODELS),
        price=st.sampled_from([Decimal("0.30"), Decimal("0.25"), Decimal("1.75")]),
        kinds=st.sampled_from([KINDS, KINDS[:1]]),
    )
    def price_becomes_known(self, model: str, price: Decimal, kinds: tuple[str, ...]) -> None:
        """For the first time, or another one: what has a price keeps it."""
        listed = [Price(Meter(model, TokenKind(kind)), REGION, price, 1_000_000, DAYS[0], "a list") for kind in kinds]
        DynamoPrices(self.stack.table("LedgerTable"), lambda: self.stack.now).store(listed)
        self.prices[model] |= dict.fromkeys(kinds, price)
        # A function remembers prices for some minutes.
        self.cold_start()

    @precondition(lambda self: any(c.prices.get(c.half, {}) != self.prices[c.model] for c in self.calls))
    @rule(model=st.sampled_from(MODELS), fault=faults)
    def requests_are_repriced(self, model: str, fault: Fault) -> None:
        waiting = [json.dumps({"usage_date": day.isoformat(), "model": model}) for day in DAYS]
        for number, body in enumerate(waiting):
            self.deliver("reprice_invocations", messages("reprice_invocations", [body]), fault)
            waiting += [message.body for message in self.stack.drain("RepriceQueue")]
            assert number < 50, "repricing does not get done"
        for call in self.calls:
            if call.model == model and call.half in call.prices:
                call.prices[call.half] = self.prices[model] | call.prices[call.half]

    @precondition(lambda self: self.is_behind)
    @rule(back=st.integers(0, 4), count=st.integers(3, 20), fault=faults, is_bisected=st.booleans())
    def stream_is_consumed(self, back: int, count: int, fault: Fault, is_bisected: bool) -> None:
        """A batch from where the stream was left, or further back. What fails is cut in two, or comes again otherwise cut."""
        start, batch = self._batch(back, count)
        mode, at = fault or (Mode.BEFORE, 0)
        self.faults.arm(at, mode)
        with self.faults.on():
            is_done = self.invoke("roll_up_usage", windowed(batch))
        if not is_done and is_bisected:
            for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                assert not part or self.invoke("roll_up_usage", windowed(part))
            is_done = True
        if is_done:
            self.position = max(self.position, start + len(batch))

    @precondition(lambda self: self.is_behind)
    @rule(back=st.integers(0, 4), count=st.integers(3, 20), at=st.integers(1, 2))
    def stream_is_consumed_by_two(self, back: int, count: int, at: int) -> None:
        """While one is about to go on with a batch, another does it all."""
        _, batch = self._batch(back, count)

        def overtake(number: int) -> None:
            if number == at:
                assert self.invoke("roll_up_usage", windowed(batch))

        self.faults.arm(0, Mode.BEFORE)
        self.faults.after_write = overtake
        with self.faults.on():
            self.invoke("roll_up_usage", windowed(batch))
        self.faults.after_write = lambda number: None

    def _batch(self, back: int, count: int) -> tuple[int, list[dict[str, Any]]]:
        start = max(0, self.position - back)
        return start, self.records()[start : start + count]

    @invariant()
    def drained_counters_are_what_the_model_says(self) -> None:
        put_back = self._keep()
        rest = self.records()[self.position :]
        assert not rest or self.invoke("roll_up_usage", windowed(rest))
        counters = DynamoUsageCounters(self.stack.table("LedgerTable"), 760, lambda: self.stack.now)
        counted: dict[Cell, Decimal] = {}
        for usage in (u for day in DAYS for u in counters.usage_of(day)):
            counted |= cells(usage.key, usage.counters)
        put_back()
        assert counted == expected(self.calls, self.issued)

    def _keep(self) -> Callable[[], None]:
        """Keep the ledger; returns what puts it back, so that what was drained to look at it stays to be counted."""
        table: Any = dynamodb_backends[ACCOUNT][REGION].get_table("LedgerTable")
        items = copy.deepcopy(table.items)

        def put_back() -> None:
            table.items = items
            self.stack.drain("AllocationQueue")

        return put_back


TestRequestLifecycle = RequestLifecycle.TestCase
TestRequestLifecycle.settings = settings(max_examples=16, stateful_step_count=18)
