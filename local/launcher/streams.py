"""DynamoDB stream -> function as Lambda's event source mapping does it.

ministack's poller invokes stream functions inside the one polling thread (a slow one stops every
queue and stream), ignores TumblingWindowInSeconds, batchItemFailures, MaximumRetryAttempts and
BisectBatchOnFunctionError. This one keeps AWS's promises for a stream with one shard: one batch in
flight per mapping, order kept, a failed record is retried before any later one is seen.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

logger = logging.getLogger("local.streams")

lambda_svc: Any = import_module("ministack.services.lambda_svc")
dynamodb: Any = import_module("ministack.services.dynamodb")
arn: Any = import_module("ministack.core.arn")

# The only shard of a ministack stream, under the name that its DescribeStream gives it.
SHARD_ID = "shardId-00000000000000000000-00000000"

Record = dict[str, Any]


@dataclass(frozen=True)
class Window:
    start: int
    end: int

    def as_event(self) -> dict[str, str]:
        return {
            name: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for name, at in (("start", self.start), ("end", self.end))
        }


@dataclass
class Progress:
    """What a mapping remembers between invocations, apart from its position, which ministack keeps."""

    retries: int = 0
    batch_limit: int | None = None
    window: Window | None = None
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One mapping, ready to read: where it stands in the stream and whom it invokes."""

    mapping: dict[str, Any]
    function: dict[str, Any]
    table: str
    position: int

    @property
    def progress(self) -> Progress:
        return _progress.setdefault(self.mapping["UUID"], Progress())

    def move(self, count: int) -> None:
        with lambda_svc._dynamodb_stream_positions_lock:
            lambda_svc._dynamodb_stream_positions[self.mapping["UUID"]] = self.position + count


_progress: dict[str, Progress] = {}


def poll() -> bool:
    """Start what can be started for every stream mapping; True when anything was."""
    started = False
    for account, region, mapping in lambda_svc._iter_all_esms():
        account_token = lambda_svc._request_account_id.set(account)
        region_token = lambda_svc._request_region.set(region)
        try:
            source = _source(mapping)
            started = (source is not None and _start(source)) or started
        finally:
            lambda_svc._request_account_id.reset(account_token)
            lambda_svc._request_region.reset(region_token)
    return started


def _source(mapping: dict[str, Any]) -> Source | None:
    """The mapping as a source that may be read now, or None."""
    identity = mapping["UUID"]
    if ":dynamodb:" not in mapping.get("EventSourceArn", "") or not mapping.get("Enabled", True):
        return None
    if lambda_svc._esm_inflight.get(identity) or lambda_svc._esm_backoff_until.get(identity, 0) > time.time():
        return None
    found = lambda_svc._dynamodb_stream_table_from_arn_spec(arn.parse_arn(mapping["EventSourceArn"]))
    table = found[0] if found else ""
    if (dynamodb._tables.get(table) or {}).get("LatestStreamArn") != mapping["EventSourceArn"]:
        return None
    function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
    if function is None:
        return None
    lambda_svc._init_stream_position(identity, mapping["EventSourceArn"], mapping.get("StartingPosition", "LATEST"))
    position = max(lambda_svc._dynamodb_stream_positions[identity], dynamodb.stream_start_position(table))
    return Source(mapping, function, table, position)


def _start(source: Source) -> bool:
    mapping, progress = source.mapping, source.progress
    limit = progress.batch_limit or int(mapping.get("BatchSize", 100))
    records: list[Record] = dynamodb.stream_records_since(source.table, source.position, limit)
    length = int(mapping.get("TumblingWindowInSeconds") or 0)
    if length:
        window = _window_of(records[0], length) if records else None
        if progress.window and window != progress.window and time.time() >= progress.window.end:
            lambda_svc._dispatch_esm_batch(mapping["UUID"], _close_window, source)
            return True
        records = [record for record in records if _window_of(record, length) == window]
        if window and window != progress.window:
            progress.window, progress.state = window, {}
    if not records:
        return False
    wanted: list[Record] = lambda_svc._apply_filter_criteria(records, mapping)
    if not wanted:
        source.move(len(records))
        return True
    lambda_svc._dispatch_esm_batch(mapping["UUID"], _deliver, source, records, wanted)
    return True


def _window_of(record: Record, length: int) -> Window:
    start = int(record["dynamodb"]["ApproximateCreationDateTime"]) // length * length
    return Window(start, start + length)


def _event(source: Source, records: list[Record], *, final: bool = False) -> dict[str, Any]:
    progress = source.progress
    if not source.mapping.get("TumblingWindowInSeconds") or progress.window is None:
        return {"Records": records}
    return {
        "Records": records,
        "window": progress.window.as_event(),
        "state": progress.state,
        "shardId": SHARD_ID,
        "eventSourceARN": source.mapping["EventSourceArn"],
        "isFinalInvokeForWindow": final,
        "isWindowTerminatedEarly": False,
    }


def _invoke(source: Source, event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The raw result of ministack and the handler's response as an object."""
    result: dict[str, Any] = lambda_svc._execute_function(source.function, event)
    body = result.get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except json.JSONDecodeError:
            body = None
    response = body if isinstance(body, dict) else {}
    if not result.get("error") and "window" in event and "state" not in response:
        # AWS: "If the response does not contain a state property, Lambda considers this a failed invocation."
        result = {"error": True, "log": "no state in the response, which a function with a tumbling window must return"}
    if result.get("error"):
        logger.error("stream function %s failed: %s %s", source.mapping["FunctionName"], body, result.get("log", ""))
    return result, response


def _deliver(source: Source, records: list[Record], wanted: list[Record]) -> None:
    """Invoke with the wanted records of a batch; move past what succeeded, keep the rest for a retry."""
    progress = source.progress
    result, response = _invoke(source, _event(source, wanted))
    first_failed = 0 if result.get("error") else _first_failed(source.mapping, records, response)
    if not result.get("error"):
        progress.state = response.get("state") or {}
    if first_failed is None:
        progress.retries, progress.batch_limit = 0, None
        source.move(len(records))
        source.mapping["LastProcessingResult"] = f"OK - {len(wanted)} records"
        return
    source.mapping["LastProcessingResult"] = "PROBLEM: Function call failed"
    if first_failed:
        progress.retries = 0
        source.move(first_failed)
    remaining = records[first_failed:]
    if source.mapping.get("BisectBatchOnFunctionError") and len(remaining) > 1:
        progress.batch_limit = len(remaining) // 2
    elif reason := _exhausted(source.mapping, remaining, progress):
        lambda_svc._send_ddb_stream_failure_record(
            source.mapping, source.function, remaining, source.mapping["EventSourceArn"], result, reason
        )
        progress.retries, progress.batch_limit = 0, None
        source.move(len(records))
        return
    else:
        progress.retries += 1
    lambda_svc._esm_backoff_until[source.mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS


def _first_failed(mapping: dict[str, Any], records: list[Record], response: dict[str, Any]) -> int | None:
    """Index of the record to go on with: the lowest one reported; the whole batch when the report names none of it."""
    failures = response.get("batchItemFailures") or []
    if "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or []) or not failures:
        return None
    reported = {failure.get("itemIdentifier") for failure in failures}
    indexes = [index for index, record in enumerate(records) if record["dynamodb"]["SequenceNumber"] in reported]
    return min(indexes, default=0)


def _exhausted(mapping: dict[str, Any], records: list[Record], progress: Progress) -> str | None:
    """Why the batch is given up, or None while it is to be retried; both limits are off by default, as on AWS."""
    allowed = mapping.get("MaximumRetryAttempts")
    if allowed is not None and 0 <= int(allowed) <= progress.retries:
        return "RetryAttemptsExhausted"
    age = int(mapping.get("MaximumRecordAgeInSeconds") or -1)
    oldest = min(float(record["dynamodb"]["ApproximateCreationDateTime"]) for record in records)
    return "MaxRecordAgeExceeded" if 0 < age < time.time() - oldest else None


def _close_window(source: Source) -> None:
    """The final invocation of a window; repeated until it succeeds, as AWS stops the shard until then."""
    result, _ = _invoke(source, _event(source, [], final=True))
    if result.get("error"):
        lambda_svc._esm_backoff_until[source.mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
        return
    source.progress.window, source.progress.state = None, {}


def apply() -> None:
    lambda_svc._poll_dynamodb_streams = poll
