"""A recount: every request that is kept, added up once more and held against the usage counters, while the stack is running.

Items and counters are never read at one moment. So a day is compared only where nothing moved: its counters are the same before
and after its items were read, and no change of its items waits in the stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from threading import Event, Lock
from time import sleep as pause
from typing import TYPE_CHECKING

from attribution.days import usage_fingerprint
from attribution.recounts import Comparison, Difference, add_up, differences, is_whole, recount, uncounted
from attribution.usage import Counters, Invocation, Usage, UsageKey, contribution
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from adapters.invocation_audit import Page

# Python decodes one page at a time; the others are under way meanwhile.
PARTS = 8
# A change is in the stream within a second of its write.
_VISIBLE_IN_STREAM_SECONDS = 3


@dataclass(frozen=True, slots=True)
class RecountedDay:
    """A day, what was counted of it, and what its requests add up to."""

    usage_date: date
    comparison: Comparison
    counted: Counters
    recounted: Counters
    counters: int
    is_whole: bool
    differences: Sequence[Difference] = ()
    pending: int = 0
    corrections: int = 0

    @property
    def is_correctable(self) -> bool:
        """Whether what its counters lack is known: what is left of a partly expired day says too little."""
        return self.comparison is Comparison.DIFFERS and self.is_whole


@dataclass(slots=True)
class Reading:
    """What was read so far."""

    items: int = 0
    requests: int = 0
    read_units: float = 0
    unreadable: list[str] = field(default_factory=list)
    sums: dict[UsageKey, Counters] = field(default_factory=dict)


def recount_days(
    stack: Stack, days: Sequence[date], kept_days: int, told: Callable[[Reading, int], None]
) -> tuple[list[RecountedDay], Reading]:
    """Recount days. `told` hears after each page what was read, and how many items there are about."""
    counters = stack.usage_counters()
    before = {day: usage_fingerprint(counters.usage_of(day)) for day in days}
    corrections = {day: counters.corrections(day) for day in days}
    scan = stack.invocation_scan()
    expected, stream = scan.description()
    reading = _read(lambda part: scan.pages(part, PARTS), frozenset(days), lambda r: told(r, expected))
    read_at = now()
    pause(_VISIBLE_IN_STREAM_SECONDS)
    pending = _pending(stack, stream, read_at)
    by_day: dict[date, dict[UsageKey, Counters]] = {day: {} for day in days}
    for key, summed in reading.sums.items():
        by_day[key.usage_date][key] = summed
    found = []
    for day in days:
        usage = counters.usage_of(day)
        is_still = usage_fingerprint(usage) == before[day] and not pending[day]
        compared = _compare(day, usage, by_day[day], is_still=is_still, is_whole=is_whole(day, kept_days, now()))
        found.append(replace(compared, corrections=corrections[day], pending=pending[day]))
    return found, reading


def _compare(
    day: date, usage: Sequence[Usage], recounted: Mapping[UsageKey, Counters], *, is_still: bool, is_whole: bool
) -> RecountedDay:
    """Hold a day's counters against its requests, where both stood still."""
    found = differences(usage, recounted) if is_still else []
    if not is_still:
        comparison = Comparison.MOVING
    elif not is_whole:
        found = uncounted(found)
        comparison = Comparison.DIFFERS if found else Comparison.PARTLY_EXPIRED
    else:
        comparison = Comparison.DIFFERS if found else Comparison.AGREES
    counted = sum((u.counters for u in usage), start=Counters())
    total = sum(recounted.values(), start=Counters())
    return RecountedDay(day, comparison, counted, total, len(usage), is_whole, found)


def _read(pages: Callable[[int], Iterator[Page]], days: frozenset[date], told: Callable[[Reading], None]) -> Reading:
    """Add up the requests of these days, from all parts of the table at once: memory grows with counters, not with requests."""
    reading, lock, is_stopped = Reading(), Lock(), Event()

    def read(part: int) -> None:
        for page in pages(part):
            if is_stopped.is_set():
                return
            ours = [i for i in page.invocations if _day_of(i) in days]
            sums = recount(ours)
            with lock:
                add_up(reading.sums, sums)
                reading.items += page.items
                reading.requests += len(ours)
                reading.read_units += page.read_units
                reading.unreadable += page.unreadable
                told(reading)

    with ThreadPoolExecutor(PARTS) as pool:
        try:
            for done in as_completed([pool.submit(read, part) for part in range(PARTS)]):
                done.result()
        finally:
            is_stopped.set()
    return reading


def _day_of(invocation: Invocation) -> date | None:
    half = invocation.metered or invocation.observed
    return half.timestamp.date() if half else None


def _pending(stack: Stack, stream: str, until: datetime) -> Counter[date]:
    """How many changes of each day's requests wait to be counted."""
    waiting: Counter[date] = Counter()
    for images in stack.invocation_stream(stream).pending(until + timedelta(seconds=1)):
        moved = [contribution(image) for image in images if image]
        waiting.update({usage.key.usage_date for usage in moved if usage})
    return waiting


def correct(stack: Stack, days: Iterable[RecountedDay]) -> list[RecountedDay]:
    """Give the counters of days what they lack, and have those days allocated again; returns these days."""
    counters, queue = stack.usage_counters(), stack.allocation_queue()
    correctable = [day for day in days if day.is_correctable]
    for day in correctable:
        counters.correct(day.usage_date, day.differences, after=day.corrections)
        queue.requested([day.usage_date])
    return correctable
