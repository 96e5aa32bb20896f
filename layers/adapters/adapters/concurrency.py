"""The same request for many things at once: what a function waits for is the network, and it pays for waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")

# At five milliseconds an answer and half a millisecond of work for it, eight keep the processor busy that a gigabyte of memory
# buys. Clients keep as many connections (wiring.py).
WORKERS = 8


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers)


def each(request: Callable[[A], R], arguments: Sequence[A]) -> list[R | Exception]:
    """What the request answers for each argument, in their order; an error stands for one that failed.

    All have ended when this returns, so that nothing is left to run when Lambda freezes the process.
    """
    if len(arguments) < 2 or WORKERS == 1:
        return [_outcome(request, argument) for argument in arguments]
    return list(_pool(WORKERS).map(lambda argument: _outcome(request, argument), arguments))


def _outcome(request: Callable[[A], R], argument: A) -> R | Exception:
    try:
        return request(argument)
    except Exception as error:  # Handed to the caller, who knows what it means for the neighbours.
        return error


def results(outcomes: Iterable[R | Exception]) -> list[R]:
    """The answers; the first error is raised."""
    answers = []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        answers.append(outcome)
    return answers
