"""Counters that hold every invocation exactly once, however its changes are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.days import usage_fingerprint
from attribution.errors import LedgerConflict
from attribution.flows.roll_up_usage import StreamRecord, comparable, roll_up_usage
from attribution.recounts import recount
from attribution.usage import Counters, Invocation, Usage, UsageKey
from tests.fakes import Crash, Crashes, FakeAllocationQueue, FakeUsageCounters
from tests.unit.attribution.examples import DAY, invocation, metered
from tests.unit.attribution.strategies import image_changes

Images = list[tuple[Invocation | None, Invocation | None]]


class Stream:
    """One shard and a consumer that begins every attempt where the last successful one ended, or further back."""

    def __init__(self, shard: str, images: Images, counters: FakeUsageCounters, queue: FakeAllocationQueue) -> None:
        self.records = [StreamRecord(comparable(str(8 + n)), old, new) for n, (old, new) in enumerate(images)]
        self.position = 0
        self._shard, self._counters, self._queue = shard, counters, queue

    def deliver(self, start: int, count: int) -> None:
        batch = self.records[start : start + count]
        roll_up_usage("stream", self._shard, batch, counters=self._counters, queue=self._queue)
        self.position = max(self.position, start + len(batch))


def fingerprint(counted: dict[UsageKey, Counters]) -> str:
    return usage_fingerprint([Usage(key, value) for key, value in counted.items()])


def reference(images: Images) -> str:
    return fingerprint(recount(list({new.key: new for _, new in images if new}.values())))


# An attempt: which shard, how far back it begins, how many records it gets, and the write at which it ends, if any.
attempts = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(1, 12), st.none() | st.integers(0, 5)), max_size=12
)


@given(image_changes(), image_changes(), attempts)
def test_counters_equal_a_recount_however_batches_are_cut_repeated_interleaved_and_interrupted(
    one: Images, other: Images, attempts: Sequence[tuple[int, int, int, int | None]]
) -> None:
    crashes = Crashes()
    counters, queue = FakeUsageCounters(crashes), FakeAllocationQueue(crashes)
    streams = [Stream("shard-0", one, counters, queue), Stream("shard-1", _renamed(other), counters, queue)]

    for shard, back, count, crash_after in attempts:
        stream = streams[shard]
        crashes.after_points = crash_after
        try:
            stream.deliver(max(0, stream.position - back), count)
        except Crash:
            pass
        crashes.after_points = None
    for stream in streams:
        stream.deliver(stream.position, len(stream.records))

    assert fingerprint(counters.counted) == reference([*one, *_renamed(other)])


def _renamed(images: Images) -> Images:
    """The same changes of other requests: a request's changes stay in one shard."""

    def rename(image: Invocation | None) -> Invocation | None:
        return image and invocation(f"other-{image.key.request_id}", image.metered, image.observed)

    return [(rename(old), rename(new)) for old, new in images]


@given(image_changes(), st.integers(0, 5))
def test_every_day_is_asked_for_after_its_counters_moved_whenever_the_attempt_ended(images: Images, crash_after: int) -> None:
    crashes = Crashes()
    counters, queue = FakeUsageCounters(crashes), FakeAllocationQueue(crashes)
    stream = Stream("shard-0", images, counters, queue)

    crashes.after_points = crash_after
    try:
        stream.deliver(0, len(images))
    except Crash:
        crashes.after_points = None
        queue.days.clear()
        stream.deliver(0, len(images))

    moved = {key.usage_date for key, value in counters.counted.items() if not value.is_zero()}
    assert moved <= set(queue.days)


def requests(count: int, day: date = DAY) -> Images:
    return [(None, invocation(f"r-{n}", metered(iam_principal=f"arn:{n}"))) for n in range(count)]


def test_a_batch_of_more_counters_than_a_transaction_takes_is_applied_in_several() -> None:
    counters, queue = FakeUsageCounters(), FakeAllocationQueue()
    stream = Stream("shard-0", requests(250), counters, queue)

    stream.deliver(0, 250)

    assert len(counters.counted) == 250
    assert fingerprint(counters.counted) == reference(requests(250))


def test_an_attempt_that_ends_between_two_transactions_continues_after_the_first() -> None:
    crashes = Crashes()
    counters, queue = FakeUsageCounters(crashes), FakeAllocationQueue(crashes)
    stream = Stream("shard-0", requests(250), counters, queue)
    crashes.after_points = 2

    with pytest.raises(Crash):
        stream.deliver(0, 250)
    partly = len(counters.counted)
    stream.deliver(0, 250)

    assert 0 < partly < 250
    assert fingerprint(counters.counted) == reference(requests(250))


def test_a_consumer_that_was_overtaken_loses_and_nothing_counts_twice() -> None:
    counters, queue = FakeUsageCounters(), FakeAllocationQueue()
    stream = Stream("shard-0", requests(3), counters, queue)
    counters.after_checkpoint = lambda: stream.deliver(0, 3)

    with pytest.raises(LedgerConflict):
        stream.deliver(0, 3)
    stream.deliver(0, 3)

    assert fingerprint(counters.counted) == reference(requests(3))


def test_a_repeated_batch_changes_nothing_and_asks_for_its_days_again() -> None:
    counters, queue = FakeUsageCounters(), FakeAllocationQueue()
    stream = Stream("shard-0", requests(2), counters, queue)
    stream.deliver(0, 2)
    queue.days.clear()

    repeated = roll_up_usage("stream", "shard-0", stream.records, counters=counters, queue=queue)

    assert (repeated.applied, repeated.skipped, repeated.days) == (0, 2, (DAY,))
    assert queue.days == [DAY]
    assert fingerprint(counters.counted) == reference(requests(2))


def test_a_request_that_moves_to_another_day_asks_for_both() -> None:
    counters, queue = FakeUsageCounters(), FakeAllocationQueue()
    before = invocation(metered=metered())
    assert before.metered is not None
    after = invocation(metered=metered(timestamp=before.metered.timestamp + timedelta(days=1)))

    Stream("shard-0", [(None, before), (before, after)], counters, queue).deliver(1, 1)

    assert queue.days == [DAY, DAY + timedelta(days=1)]


@given(st.integers(0, 10**40 - 1), st.integers(0, 10**40 - 1))
def test_sequence_numbers_compare_as_numbers(one: int, other: int) -> None:
    assert (comparable(str(one)) < comparable(str(other))) == (one < other)
    assert comparable(str(one)) > ""
