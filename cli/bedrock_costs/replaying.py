"""Input sent again: events in the shape that EventBridge gives them, on the queues that EventBridge puts them on.

Sending twice is harmless: every consumer knows what it has seen.
"""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attribution.errors import InputRejected
from attribution.ports import StoredObject
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.stack import Location, Stack

if TYPE_CHECKING:
    from bedrock_costs.screen import Screen

Event = dict[str, Any]
_BATCH = 10
_BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInS3:
    """An object as a listing shows it."""

    key: str
    etag: str
    size: int
    modified_at: datetime


def place_read_by(stack: Stack, uri: str | None, output: str) -> Location:
    """The place that an argument names, as far as it lies where the stack reads from; all of that without an argument."""
    allowed = stack.location(output)
    place = Location.parse(uri) if uri else allowed
    require_read(place, allowed)
    return place if allowed.contains(place) else allowed


def require_read(place: Location, allowed: Location) -> None:
    """Refuse a place that the stack does not read from."""
    if not (allowed.contains(place) or place.contains(allowed)):
        raise Failure(
            f"{place} is not where this stack reads from",
            f"It reads from {allowed} alone, and refuses anything else.",
            "Copy the objects there, or name a prefix there.",
            ExitCode.USAGE,
        )


def listed(stack: Stack, location: Location) -> Iterator[ObjectInS3]:
    """Every object at a place, in the order of their keys."""
    pages = stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.prefix)
    for page in pages:
        for item in page.get("Contents", []):
            yield ObjectInS3(item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"])


def announcement(stack: Stack, bucket: str, found: ObjectInS3, account: str) -> Event:
    """S3 "Object Created" of an object, as EventBridge delivers it in this account."""
    from adapters.queues import object_created

    partition = stack.session.get_partition_for_region(stack.region)
    source = StoredObject(bucket, found.key, found.etag)
    return object_created(source, size=found.size, written_at=found.modified_at, by="replay") | {
        "id": str(uuid.uuid4()),
        "account": account,
        "region": stack.region,
        "resources": [f"arn:{partition}:s3:::{bucket}"],
    }


def account_of(queue_url: str) -> str:
    """The account that a queue lies in: the first part of its path."""
    return urlsplit(queue_url).path.strip("/").partition("/")[0]


def cloudtrail_event(record: Mapping[str, Any]) -> Event:
    """A CloudTrail record as EventBridge delivers it."""
    source = str(record.get("eventSource", "")).removesuffix(".amazonaws.com")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "AWS API Call via CloudTrail",
        "source": f"aws.{source}",
        "account": str(record.get("recipientAccountId", "")),
        "time": str(record.get("eventTime", "")),
        "region": str(record.get("awsRegion", "")),
        "resources": [],
        "detail": dict(record),
    }


@dataclass(slots=True)
class ReadEvents:
    """What event files contain: events to send, a count of those that say nothing about Bedrock use, and broken ones."""

    events: list[Event] = field(default_factory=list)
    skipped: int = 0
    rejected: list[str] = field(default_factory=list)


def read_event_files(paths: Sequence[Path], tag_keys: Sequence[str]) -> ReadEvents:
    """The CloudTrail events of files in any of the shapes that AWS hands them out in, without their session tokens.

    Sessions count that carry tags under `tag_keys`.
    """
    from adapters.sources.cloudtrail import folded, parse_event, projected

    found = ReadEvents()
    read_keys = folded(tag_keys)
    for path in paths:
        for where, value in _values(path):
            for event in _events(where, value, found.rejected):
                try:
                    parsed = parse_event(json.dumps(event["detail"]), read_keys)
                except InputRejected as rejected:
                    found.rejected.append(f"{where}: {rejected.reason}")
                    continue
                if parsed is None:
                    found.skipped += 1
                else:
                    found.events.append(event | {"detail": projected(event["detail"])})
    return found


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """The JSON values of a file: one value, or one a line."""
    try:
        body = path.read_bytes()
        text = (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failure(f"{path} cannot be read: {reason}", fix="Name a JSON file, plain or gzip.") from error
    try:
        yield str(path), json.loads(text)
        return
    except json.JSONDecodeError as error:
        whole = error
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                yield f"{path}:{number}", json.loads(line)
        except json.JSONDecodeError as error:
            # A file whose first line is not a value is one broken value, not a file of lines.
            at, problem = (number, error) if number > 1 else (whole.lineno, whole)
            raise Failure(f"{path}:{at}: not JSON: {problem.msg}", fix="Give one JSON value, or one object a line.") from error


def _events(where: str, value: Any, rejected: list[str]) -> Iterator[Event]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _events(f"{where}[{index}]", item, rejected)
    elif isinstance(value, dict) and isinstance(value.get("Records"), list):
        yield from _events(where, value["Records"], rejected)
    elif isinstance(value, dict) and isinstance(value.get("Events"), list):
        yield from _events(where, value["Events"], rejected)
    elif isinstance(value, dict) and isinstance(value.get("CloudTrailEvent"), str):
        try:
            yield from _events(where, json.loads(value["CloudTrailEvent"]), rejected)
        except json.JSONDecodeError as error:
            rejected.append(f"{where}: CloudTrailEvent is not JSON: {error.msg}")
    elif isinstance(value, dict) and isinstance(value.get("detail"), dict):
        yield value
    elif isinstance(value, dict) and "eventSource" in value:
        yield cloudtrail_event(value)
    else:
        rejected.append(f"{where}: neither an EventBridge event nor a CloudTrail record")


def send(stack: Stack, queue_url: str, events: Sequence[Event], screen: Screen) -> int:
    """Put events on a queue, in order, with a progress bar; returns how many."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = screen.console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    sent = 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=len(events))
        for sent in put(stack, queue_url, events):
            progress.update(task, completed=sent)
    return sent


def put(stack: Stack, queue_url: str, events: Sequence[Event]) -> Iterator[int]:
    """Put events on a queue, in order; after each batch, how many are there."""
    client = stack.client("sqs")
    is_fifo = queue_url.endswith(".fifo")
    sent = 0
    for batch in _batches(json.dumps(event) for event in events):
        entries = [{"Id": str(index), "MessageBody": body} | (_fifo() if is_fifo else {}) for index, body in enumerate(batch)]
        failed = client.send_message_batch(QueueUrl=queue_url, Entries=entries).get("Failed", [])
        sent += len(batch) - len(failed)
        if failed:
            raise Failure(
                f"SQS took {sent} of {len(events)} events, then refused {len(failed)}: {failed[0].get('Message', '')}",
                fix="Run the command again: what was sent before is recognized.",
            )
        yield sent


def _fifo() -> dict[str, str]:
    from adapters.queues import DELIVERY_GROUP

    # A replay means it: it must not be taken for the delivery of the same event minutes ago.
    return {"MessageGroupId": DELIVERY_GROUP, "MessageDeduplicationId": uuid.uuid4().hex}


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Bodies in batches that SQS takes."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch
