"""Requests made at once: answers in order, errors beside them, nothing left running."""

from __future__ import annotations

import threading
import time

import pytest

from adapters.concurrency import WORKERS, each, results


def halved(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    # Those that were asked for first answer last.
    time.sleep(0.002 * (8 - number))
    return number // 2


def test_answers_are_in_the_order_of_the_arguments_and_an_error_stands_for_its_own() -> None:
    found = each(halved, [0, 2, 3, 4, 6])

    assert [str(outcome) for outcome in found] == ["0", "1", "3 is odd", "2", "3"]


def test_requests_are_made_at_once() -> None:
    # Each waits until all are there.
    together = threading.Barrier(WORKERS, timeout=10)

    assert len(results(each(lambda _: together.wait(), range(WORKERS)))) == WORKERS


def test_the_first_error_is_raised_for_whoever_wants_all_answers() -> None:
    with pytest.raises(ValueError, match="3 is odd"):
        results(each(halved, [2, 3, 5]))
