"""The queues a flow asks for later work: deliveries, days to allocate, requests to price, alerts to try again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from attribution.alerts import AlertKey
from attribution.deliveries import DeliveryRecord
from attribution.digests import DigestKey
from attribution.ports import ListedManifest, StoredObject, UnpricedUsage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The group that the template's rule puts deliveries into: one at a time.
DELIVERY_GROUP = "deliveries"
_SEND_BATCH = 10
_ENTRIES_PER_TASK = 25


def object_created(source: StoredObject, *, size: int, written_at: datetime, by: str) -> dict[str, Any]:
    """S3 "Object Created" of an object, as EventBridge delivers it, without the sequencer, which only S3 knows."""
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": f"{written_at:%Y-%m-%dT%H:%M:%SZ}",
        "detail": {
            "version": "0",
            "bucket": {"name": source.bucket},
            "object": {"key": source.key, "size": size, "etag": source.etag},
            "request-id": by,
            "reason": "PutObject",
        },
    }


class SqsDeliveryQueue:
    """`DeliveryQueue` on the SQS FIFO queue that EventBridge puts S3's own events on.

    The deduplication id is made of key and content: two reconcilers at once announce a manifest once.
    """

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def announce(self, manifest: ListedManifest) -> None:
        """Have the manifest's delivery ingested."""
        source = manifest.source
        event = object_created(source, size=manifest.size, written_at=manifest.written_at, by="reconcile")
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=json.dumps(event),
            MessageGroupId=DELIVERY_GROUP,
            MessageDeduplicationId=hashlib.sha256(f"{source}#{source.etag}".encode()).hexdigest(),
        )


class SqsAllocationQueue:
    """`AllocationQueue` on an SQS FIFO queue whose group is the usage day: one writer per day, days in parallel.

    The queue delays every message by `delay_seconds`. Requests for a day within one window of half that length share a
    deduplication id, and their one message is received after the window has ended, so it sees what all of them asked for; the
    other half of the delay is room for clocks that disagree.
    """

    def __init__(self, client: SQSClient, url: str, delay_seconds: int, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._url = url
        self._window_seconds = max(1, delay_seconds // 2)
        self._clock = clock

    def usage_changed(self, days: Iterable[date]) -> None:
        """Ask for days whose counters moved."""
        self._ask(days, "usage")

    def requested(self, days: Iterable[date]) -> None:
        """Ask for days that somebody wants allocated again, under new rules for instance; closed ones stay as they are."""
        self._ask(days, "request")

    def closed_requested(self, days: Iterable[date], by_policy: str) -> None:
        """Ask for days of closed months to be allocated again, by a version of the policy."""
        self._ask(days, "request", by_policy)

    def _ask(self, days: Iterable[date], because: str, by_policy: str = "") -> None:
        window = int(self._clock().timestamp()) // self._window_seconds
        self._send([(day, because, f"{because}#{by_policy}#{day.isoformat()}#{window}") for day in days], by_policy)

    def delivery_ingested(self, record: DeliveryRecord, days: Iterable[date]) -> None:
        """Ask for the days that a delivery changed."""
        self._send(
            [
                (day, "delivery", f"{record.export}#{record.execution_id}#{record.manifest_etag}#{day.isoformat()}")
                for day in days
            ]
        )

    def _send(self, requests: list[tuple[date, str, str]], by_policy: str = "") -> None:
        asked = {"by_policy": by_policy} if by_policy else {}
        for start in range(0, len(requests), _SEND_BATCH):
            entries = [
                {
                    "Id": str(index),
                    "MessageBody": json.dumps({"usage_date": day.isoformat(), "because": because} | asked),
                    "MessageGroupId": day.isoformat(),
                    "MessageDeduplicationId": hashlib.sha256(identity.encode()).hexdigest(),
                }
                for index, (day, because, identity) in enumerate(requests[start : start + _SEND_BATCH])
            ]
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
            if answer.get("Failed"):
                raise ConnectionError(f"SQS did not take {len(answer['Failed'])} of {len(entries)} days: try again")


class SqsAlertRetries:
    """`AlertRetries` on an SQS queue with a delay per message."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def retry(self, key: AlertKey | DigestKey, *, after_seconds: int) -> None:
        """Bring the alert or digest back after a while."""
        if isinstance(key, AlertKey):
            body = {"budget": key.budget, "period": key.period}
        else:
            body = {"route": key.route, "digest": key.name}
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(body), DelaySeconds=after_seconds)


class SqsRedelivery:
    """`Redelivery` by the message's own visibility. Where that fails, the queue's visibility timeout brings it back later."""

    def __init__(self, client: SQSClient) -> None:
        self._client = client

    def after(self, queue_url: str, receipt_handle: str, seconds: int) -> None:
        """Let the message be received again after a while."""
        try:
            self._client.change_message_visibility(QueueUrl=queue_url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds)
        except (ClientError, BotoCoreError):
            return


class SqsRepriceQueue:
    """`RepriceQueue` on an SQS queue. A message that comes twice finds its requests priced."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def reprice(self, usage: UnpricedUsage, *, after: str = "") -> None:
        """Have the requests of a day and model priced, those behind `after`."""
        body = {"usage_date": usage.usage_date.isoformat(), "model": usage.model, "after": after}
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(body))


class SqsDirectoryTasks:
    """`DirectoryRequests`: something of the directory is to be brought up to date now, not only when its schedule says so."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def entries(self, ids: Sequence[str], *, changed_at: datetime | None = None, event: str = "") -> None:
        """Have entries brought up to date, such as an inference profile that somebody created or tagged."""
        for start in range(0, len(ids), _ENTRIES_PER_TASK):
            body: dict[str, Any] = {"task": "entries", "ids": list(ids[start : start + _ENTRIES_PER_TASK])}
            self._send(body | ({"changed_at": changed_at.isoformat(), "event": event} if changed_at else {}))

    def pricing(self) -> None:
        """Have unpriced requests priced, because prices were loaded."""
        self._send({"task": "pricing"})

    def _send(self, body: dict[str, Any]) -> None:
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(body))
