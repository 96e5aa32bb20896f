"""SQS event sources: how soon a message is seen, how many batches run at once, how soon a failed one returns."""

from __future__ import annotations

import os
import threading
import time
from importlib import import_module
from typing import Any

# A message that becomes visible by the passing of time wakes nobody; ministack would see it up to a second late.
POLL_SECONDS = 0.2

lambda_svc: Any = import_module("ministack.services.lambda_svc")
sqs: Any = import_module("ministack.services.sqs")
concurrency: Any = import_module("ministack.core.concurrency")

_original_run_sqs_batch = lambda_svc._run_sqs_batch


def _wake_regularly() -> None:
    while True:
        time.sleep(POLL_SECONDS)
        concurrency.esm_wake.set()


def _return_sooner(seconds: float) -> None:
    """Let messages of a failed batch return after `seconds` instead of the queue's visibility timeout.

    The template sets that timeout to six times the function's, as AWS recommends: minutes, which
    a test of a retry would spend waiting. Set by LOCAL_AWS_RETRY_SECONDS; off without it.
    """

    def run_sqs_batch(*arguments: Any) -> None:
        _original_run_sqs_batch(*arguments)
        batch, url = arguments[3:5]
        received = {message["receipt_handle"] for message in batch}
        with sqs._queues_lock:
            for message in sqs._get_q(url)["messages"]:
                if message.get("receipt_handle") in received:
                    message["visible_at"] = min(message["visible_at"], time.time() + seconds)

    lambda_svc._run_sqs_batch = run_sqs_batch


def receive_messages(url: str, batch_size: int) -> Any:
    """As many messages as the mapping asks for; ministack never gives more than ten.

    Ten is the limit of ReceiveMessage; a mapping of a standard queue collects up to 10,000.
    """
    with sqs._queues_lock:
        queue = sqs._get_q(url)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        visibility = int(queue["attributes"].get("VisibilityTimeout", "30"))
        return sqs._collect_msgs(queue, max(1, int(batch_size)), visibility)


def _limit_concurrent_batches(limit: int) -> None:
    """A template that allows twenty batches at once would start twenty processes on a machine with two cores."""
    original = lambda_svc._sqs_esm_concurrency
    lambda_svc._sqs_esm_concurrency = lambda *arguments: min(limit, original(*arguments))


def apply() -> None:
    sqs._receive_messages_for_esm = receive_messages
    _limit_concurrent_batches(int(os.environ.get("LOCAL_AWS_CONCURRENT_BATCHES", "2")))
    if os.environ.get("LOCAL_AWS_RETRY_SECONDS"):
        _return_sooner(float(os.environ["LOCAL_AWS_RETRY_SECONDS"]))
    threading.Thread(target=_wake_regularly, daemon=True).start()
