"""SQS batches: messages one by one, together or as a signal. Failures return alone; broken input is quarantined instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent, SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters.observability import count, logger
from attribution.errors import InputRejected
from attribution.ports import Quarantine

Handle = Callable[[str, str], None]
"""Takes a message's body and a name for it."""
HandleTogether = Callable[[Sequence[tuple[str, str]]], Mapping[str, Exception]]
"""Takes bodies and names of messages; returns the errors of those that failed, by name."""


class Redelivery(Protocol):
    """Brings a message that failed back after a while."""

    def after(self, queue_url: str, receipt_handle: str, seconds: int) -> None: ...


# A message that failed would else come back only when its visibility times out, six times the function's own timeout later.
_SOON_SECONDS = 30
_LATEST_SECONDS = 900


def process_messages(
    event: dict[str, Any],
    context: LambdaContext,
    handle: Handle,
    quarantine: Quarantine,
    redelivery: Redelivery,
    *,
    fifo: bool = False,
) -> Any:
    """Handle every message; returns the partial batch response. In a FIFO queue, a failure holds back its group alone."""
    processor = SqsFifoPartialProcessor(skip_group_on_error=True) if fifo else BatchProcessor(event_type=EventType.SQS)
    # Else a batch of failures alone would be reported as a failure of the function.
    processor.raise_on_entire_batch_failure = False

    def handle_record(record: SQSRecord) -> None:
        try:
            handle(record.body, f"message {record.message_id}")
        except InputRejected as rejected:
            reject(rejected, quarantine)
        except Exception as error:
            _bring_back(record, error, redelivery)
            raise

    return process_partial_response(event=event, record_handler=handle_record, processor=processor, context=context)


def process_together(
    event: dict[str, Any], handle: HandleTogether, quarantine: Quarantine, redelivery: Redelivery
) -> dict[str, list[dict[str, str]]]:
    """Handle all messages at once; returns the partial batch response. What fails as a whole is returned as a whole."""
    records = {f"message {record.message_id}": record for record in SQSEvent(event).records}
    failed: dict[str, Exception] = {}
    try:
        for name, error in handle([(record.body, name) for name, record in records.items()]).items():
            if isinstance(error, InputRejected):
                reject(error, quarantine)
            else:
                failed[name] = error
    except Exception as error:  # It says nothing about single messages: all return.
        failed = dict.fromkeys(records, error)
    for name, reason in failed.items():
        _bring_back(records[name], reason, redelivery)
    return {"batchItemFailures": [{"itemIdentifier": records[name].message_id} for name in failed]}


def process_signals(event: dict[str, Any], act: Callable[[], None], redelivery: Redelivery) -> dict[str, list[dict[str, str]]]:
    """Act once for messages that say no more than that it is time; a failure returns them."""
    records = list(SQSEvent(event).records)
    try:
        act()
    except Exception as error:
        for record in records:
            _bring_back(record, error, redelivery)
        return {"batchItemFailures": [{"itemIdentifier": record.message_id} for record in records]}
    return {"batchItemFailures": []}


def _bring_back(record: SQSRecord, error: Exception, redelivery: Redelivery) -> None:
    # The message returns to its queue; what is logged here is the only trace until it reaches the dead-letter queue.
    logger.error("message failed", message_id=record.message_id, exc_info=error)
    attempts = int(record.attributes.approximate_receive_count)
    redelivery.after(record.queue_url, record.receipt_handle, min(_SOON_SECONDS * attempts, _LATEST_SECONDS))


def reject(rejected: InputRejected, quarantine: Quarantine) -> None:
    """Keep a notice of input that cannot be used. Trying again would not help; an operator finds it, and an alarm counts it."""
    quarantine.put(rejected)
    count("InputRejected")
    logger.warning("input rejected", source=rejected.source, line=rejected.line, reason=rejected.reason)
