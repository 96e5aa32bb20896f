"""What it costs on AWS to record a request that is both logged and in CloudTrail, counted from what the real handlers do.

Log objects, CloudTrail events and the table's stream are handed to the handlers as the template's mappings batch them, on moto.
"""

from __future__ import annotations

import gzip
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from moto import mock_aws

from adapters.concurrency import WORKERS
from bench.log_records import log_objects
from bench.units import Used, metered, size_of
from tests.support import inputs
from tests.support.stack import ACCOUNT, REGION, Stack, messages, object_created, template, windowed
from truth import cloudtrail, company
from truth.company import Month

# List prices of us-east-1, in dollars.
WRITE_UNIT, READ_UNIT = 0.625e-6, 0.125e-6
SQS_REQUEST, S3_GET, S3_EVENT = 0.40e-6, 0.40e-6, 1.00e-6
LAMBDA_REQUEST, LAMBDA_GB_SECOND = 0.20e-6, 0.0000133334
STORED_GB_MONTH, PITR_GB_MONTH = 0.25, 0.20

# Assumed. Everything else is counted or measured.
REQUESTS_PER_SECOND = 100
REQUESTS_PER_LOG_OBJECT = 500
# Lambda polls a queue with five pollers to begin with, and each collects a batch of its own.
POLLERS = 5
MESSAGES_PER_RECEIVE = 10
# A table on demand begins with four partitions, of which each is a shard of the stream.
SHARDS = 4
MB_PER_PROCESSOR = 1769
# Of one request to AWS: sockets and TLS, which moto has none of, and how long the answer takes.
TRANSPORT_CPU_SECONDS, ROUND_TRIP_SECONDS = 0.0002, 0.005
STORED_DAYS, STORED_OVERHEAD_BYTES = 35, 100

_CREDENTIALS = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
_LOG_KEY = "bedrock/AWSLogs/{0}/BedrockModelInvocationLogs/{1}/2026/02/05/14/20260205T145950{2:04d}Z_{2:016x}.json.gz"


@dataclass(frozen=True, slots=True)
class Step:
    """A function's share: what it used for how many requests, in how many invocations."""

    name: str
    used: Used
    requests: int
    invocations: int
    memory_mb: int
    workers: int
    sqs_requests: float = 0
    other: float = 0

    def per_million(self, units: float) -> float:
        return units / self.requests * 1e6

    @property
    def lambda_seconds(self) -> float:
        """Billed: the processor's time at the share that the memory buys, or the wait for AWS if that is longer."""
        made = sum(self.used.requests.values())
        cpu = (self.used.cpu_seconds + made * TRANSPORT_CPU_SECONDS) / min(1, self.memory_mb / MB_PER_PROCESSOR)
        return max(cpu, made * ROUND_TRIP_SECONDS / self.workers)

    @property
    def dollars(self) -> dict[str, float]:
        """Per million requests."""
        return {
            "DynamoDB writes": self.per_million(self.used.write_units) * WRITE_UNIT,
            "DynamoDB reads": self.per_million(self.used.read_units) * READ_UNIT,
            "Lambda": self.per_million(self.lambda_seconds * self.memory_mb / 1024) * LAMBDA_GB_SECOND
            + self.per_million(self.invocations) * LAMBDA_REQUEST,
            "SQS": self.per_million(self.sqs_requests) * SQS_REQUEST,
            "S3": self.per_million(self.used.requests["S3 GET"]) * S3_GET + self.per_million(self.other),
        }


def busy(requests: int) -> Month:
    """The company's requests as a sample of one hour, which is about what its sessions live."""
    month: Any = company.build(str(inputs.PERIOD), seed=7, requests=requests)
    began = month.start + timedelta(days=4, hours=14)
    month.requests = [
        replace(request, time=began + timedelta(seconds=number * 3600 // len(month.requests)))
        for number, request in enumerate(month.requests)
    ]
    built: Month = month
    return built


def report(requests: int) -> float:
    """Print the table; returns the dollars of recording a million requests."""
    # What the first requests of a process cost, such as botocore's models, is a cold start's, not theirs.
    _steps(busy(20))
    steps, sizes = _steps(busy(requests))
    _print_assumptions()
    _print_steps(steps)
    logs, calls, rolled_up = steps
    recording = sum(logs.dollars.values()) + sum(calls.dollars.values())
    mean = statistics.mean(sizes)
    gigabytes = (mean + STORED_OVERHEAD_BYTES) * 1e6 / 1e9 * STORED_DAYS / 30.4
    print(f"  a joined request: {mean:.0f} bytes on average, {sizes[-1]} at most")
    print(f"  recording a million requests: ${recording:.2f}; counting them: ${sum(rolled_up.dollars.values()):.2f}")
    print(
        f"  keeping them {STORED_DAYS} days: ${gigabytes * STORED_GB_MONTH:.2f}, "
        f"their point-in-time recovery ${gigabytes * PITR_GB_MONTH:.2f}"
    )
    alone = (2 + 1 / MESSAGES_PER_RECEIVE) * SQS_REQUEST * 1e6 - calls.dollars["SQS"]
    print(f"  where a call comes every few seconds, each is received on its own: ${alone + SQS_REQUEST * 1e6:.2f} more of SQS")
    print("  others publish about $44 (dashboards on Athena, without their endpoints)")
    return recording


def _steps(month: Month) -> tuple[list[Step], list[int]]:
    """What the functions used, and the sizes of the items of joined requests, in order."""
    with patch.dict(os.environ, _CREDENTIALS), mock_aws():
        stack = Stack()
        inputs.load_prices(stack)
        steps = [_logs(stack, month), _calls(stack, month), _rolled_up(stack)]
        joined = [i for i in stack.wire_items("InvocationsTable") if "metered" in i and "observed" in i]
    return steps, sorted(size_of(item) for item in joined)


def _print_assumptions() -> None:
    print(
        f"A million requests at AWS's list price of us-east-1. Assumed: {REQUESTS_PER_SECOND} requests a second, "
        f"{REQUESTS_PER_LOG_OBJECT} to a log object,\n  {POLLERS} pollers, full receives of {MESSAGES_PER_RECEIVE} messages, "
        f"{SHARDS} shards, {ROUND_TRIP_SECONDS * 1e3:.0f} ms for an answer of AWS, {TRANSPORT_CPU_SECONDS * 1e3:.1f} ms of CPU "
        f"for sockets and TLS, a processor like this one per {MB_PER_PROCESSOR} MB"
    )


def _print_steps(steps: Sequence[Step]) -> None:
    columns = list(steps[0].dollars)
    print(f"  {'per million requests':24}" + "".join(f"{name:>17}" for name in columns) + f"{'together':>12}")
    for step in steps:
        cells = "".join(f"{f'${amount:.3f}':>17}" for amount in step.dollars.values())
        print(f"  {step.name:24}{cells}{f'${sum(step.dollars.values()):.2f}':>12}")
        used = step.used
        print(
            f"    {used.write_units / step.requests:.2f} write units, {used.read_units / step.requests:.3f} read units, "
            f"{used.cpu_seconds / step.requests * 1e3:.2f} ms of CPU, {step.sqs_requests / step.requests:.2f} SQS requests "
            f"and {step.lambda_seconds / step.requests * 1e3:.2f} ms of Lambda a request"
        )


def _logs(stack: Stack, month: Month) -> Step:
    """Hand every log object to the function, one to an invocation, as its mapping does."""
    lines = [line for body in log_objects(month, (1_000, 3_000)) for line in gzip.decompress(body).splitlines()]
    events = []
    for number, start in enumerate(range(0, len(lines), REQUESTS_PER_LOG_OBJECT)):
        key = _LOG_KEY.format("111122223333", REGION, number)
        stack.put("InvocationLogBucket", key, gzip.compress(b"\n".join(lines[start : start + REQUESTS_PER_LOG_OBJECT])))
        events.append(messages("record_invocations", [object_created(stack.parameters["InvocationLogBucket"], key)]))
    used = _invoked(stack, "record_invocations", events)
    # EventBridge sends, Lambda receives and deletes.
    return _step("record_invocations", used, len(lines), len(events), 3 * len(events), other=len(events) * S3_EVENT)


def _calls(stack: Stack, month: Month) -> Step:
    """Hand every event of CloudTrail to the function, in batches as its mapping collects them."""
    mapping = template()["Resources"]["RecordApiCallsFunction"]["Properties"]["Events"]["Queue"]["Properties"]
    window = mapping["MaximumBatchingWindowInSeconds"]
    size = min(mapping["BatchSize"], REQUESTS_PER_SECOND * window // POLLERS)
    events = list(cloudtrail.eventbridge_events(month))
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    used = _invoked(stack, "record_api_calls", [messages("record_api_calls", batch) for batch in batches])
    sqs = len(events) * (1 + 2 / MESSAGES_PER_RECEIVE)
    calls = [e["detail"] for e in events if e["source"] != "aws.sts"]
    requests = sum(request.is_in_cloudtrail for request in month.requests)
    keys = {detail["userIdentity"].get("accessKeyId") for detail in calls}
    print(
        f"{len(events):,} CloudTrail events in batches of {size}: {requests:,} requests, some told of twice or corrected, "
        f"made with {len(keys)} credentials, and their {len(events) - len(calls)} STS events"
    )
    return _step("record_api_calls", used, requests, len(batches), sqs)


def _rolled_up(stack: Stack) -> Step:
    """Hand the table's stream to the function, in batches as its mapping collects them from one of the shards."""
    mapping = template()["Resources"]["RollUpUsageFunction"]["Properties"]["Events"]["Invocations"]["Properties"]
    changes = list(stack.stream("InvocationsTable"))
    size = min(mapping["BatchSize"], 2 * REQUESTS_PER_SECOND * mapping["MaximumBatchingWindowInSeconds"] // SHARDS)
    batches = [windowed(list(batch)) for batch in _cut(changes, size)]
    used = _invoked(stack, "roll_up_usage", batches)
    requests = len(stack.wire_items("InvocationsTable"))
    return _step("roll_up_usage", used, requests, len(batches), used.requests["AmazonSQS SendMessageBatch"], workers=1)


def _cut(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _invoked(stack: Stack, function: str, events: Sequence[dict[str, Any]]) -> Used:
    handler = stack.handler(function)
    # The first invocation of a sandbox does what those after it need not.
    stack.invoke(handler, events[0] | {"Records": []}) if function == "roll_up_usage" else None
    with metered(REGION, ACCOUNT) as used:
        for event in events:
            answer = stack.invoke(handler, event)
            assert not answer["batchItemFailures"], answer
    return used


def _step(
    function: str, used: Used, requests: int, invocations: int, sqs_requests: float, *, other: float = 0, workers: int = WORKERS
) -> Step:
    resource = template()["Resources"]["".join(word.title() for word in function.split("_")) + "Function"]["Properties"]
    memory = resource.get("MemorySize", template()["Globals"]["Function"]["MemorySize"])
    return Step(function, used, requests, invocations, memory, workers, sqs_requests, other)
