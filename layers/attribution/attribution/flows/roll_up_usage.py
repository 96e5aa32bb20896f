"""Move the usage counters by the difference that a batch of stream records makes, exactly once.

The checkpoint of the shard moves in the same transaction as the counters. A batch that is delivered again, cut differently or
bisected finds the records up to the checkpoint applied and leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from attribution.ports import AllocationQueue, UsageCounters
from attribution.usage import Change, Invocation, UsageKey, difference

# DynamoDB takes 100 actions in one transaction; one of them moves the checkpoint.
MAX_COUNTERS_PER_TRANSACTION = 99


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One change of an invocation. Sequence numbers are compared as text of equal length."""

    sequence: str
    old: Invocation | None
    new: Invocation | None


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What a batch did."""

    applied: int
    skipped: int
    days: tuple[date, ...]


def comparable(sequence_number: str) -> str:
    """A stream's sequence number (up to 40 digits) so that text order is numeric order."""
    return sequence_number.rjust(40, "0")


def roll_up_usage(
    stream: str, shard: str, records: Sequence[StreamRecord], *, counters: UsageCounters, queue: AllocationQueue
) -> RolledUp:
    """Apply the records after the checkpoint, in transactions of consecutive records, then ask for their days."""
    checkpoint = counters.checkpoint(stream, shard)
    moves = [(record.sequence, Change.of(record.old, record.new)) for record in records]
    fresh = [move for move in moves if move[0] > checkpoint]
    for batch in _transactions(fresh):
        through, _ = batch[-1]
        differences = difference(change for _, change in batch)
        counters.apply(stream, shard, after=checkpoint, through=through, differences=differences)
        checkpoint = through
    days = tuple(sorted({usage.key.usage_date for _, change in moves for usage in change if usage}))
    # Also for records that were applied before: the attempt that applied them may have ended before it could ask.
    queue.usage_changed(days)
    return RolledUp(applied=len(fresh), skipped=len(records) - len(fresh), days=days)


def _transactions(moves: Sequence[tuple[str, Change]]) -> list[list[tuple[str, Change]]]:
    """Consecutive changes by their sequence numbers, as many at a time as one transaction takes."""
    batches: list[list[tuple[str, Change]]] = []
    keys: set[UsageKey] = set()
    for move in moves:
        touched = move[1].keys() - keys
        if not batches or len(keys) + len(touched) > MAX_COUNTERS_PER_TRANSACTION:
            batches.append([])
            keys, touched = set(), move[1].keys()
        keys |= touched
        batches[-1].append(move)
    return batches
