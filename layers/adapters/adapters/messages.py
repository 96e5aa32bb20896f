"""SQS batches: each message on its own, failures returned alone, broken input quarantined instead of retried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters.observability import count, logger
from attribution.errors import InputRejected
from attribution.ports import Quarantine

Handle = Callable[[str, str], None]
"""Takes a message's body and a name for it."""


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
        except Exception:
            # The message returns to its queue; what is logged here is the only trace until it reaches the dead-letter queue.
            logger.exception("message failed", message_id=record.message_id)
            attempts = int(record.attributes.approximate_receive_count)
            redelivery.after(record.queue_url, record.receipt_handle, min(_SOON_SECONDS * attempts, _LATEST_SECONDS))
            raise

    return process_partial_response(event=event, record_handler=handle_record, processor=processor, context=context)


def reject(rejected: InputRejected, quarantine: Quarantine) -> None:
    """Keep a notice of input that cannot be used. Trying again would not help; an operator finds it, and an alarm counts it."""
    quarantine.put(rejected)
    count("InputRejected")
    logger.warning("input rejected", source=rejected.source, line=rejected.line, reason=rejected.reason)
