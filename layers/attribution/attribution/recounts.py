"""Usage counters held against the requests that they count: what the items add up to, and where the counters say otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from attribution.usage import Counters, Invocation, Usage, UsageKey, changes


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that is not what the requests add up to."""

    key: UsageKey
    counted: Counters
    recounted: Counters

    @property
    def missing(self) -> Counters:
        """What the counter lacks; negative where it has too much."""
        return self.recounted + self.counted.negated()


class Comparison(StrEnum):
    """What a day's recount says.

    A day is `moving` while requests of it are recorded or wait to be counted: its items and its counters are never read at one
    moment. Of a `partly_expired` day items are gone, so that what is left may only be less than what was counted.
    """

    AGREES = "agrees"
    DIFFERS = "differs"
    MOVING = "moving"
    PARTLY_EXPIRED = "partly_expired"


def recount(invocations: Iterable[Invocation]) -> dict[UsageKey, Counters]:
    """The counters as the requests themselves add up: what the rolled-up ones must equal once the stream is drained."""
    return changes((None, invocation) for invocation in invocations)


def add_up(sums: dict[UsageKey, Counters], more: Mapping[UsageKey, Counters]) -> None:
    """Add counters to `sums`, in place: there may be millions of requests, and there are far fewer counters."""
    for key, counters in more.items():
        known = sums.get(key)
        sums[key] = known + counters if known else counters


def differences(counted: Iterable[Usage], recounted: Mapping[UsageKey, Counters]) -> list[Difference]:
    """The counters of both sides that differ in anything, in the order of their keys."""
    stored = {usage.key: usage.counters for usage in counted}
    found = (
        Difference(key, stored.get(key, Counters()), recounted.get(key, Counters()))
        for key in sorted(stored.keys() | recounted.keys())
    )
    return [difference for difference in found if not difference.missing.is_zero()]


def uncounted(found: Iterable[Difference]) -> list[Difference]:
    """The differences that say so even where some requests are gone: more is there than was counted."""
    return [difference for difference in found if difference.missing.has_positive()]


def is_whole(usage_date: date, kept_days: int, at: datetime) -> bool:
    """Whether every item of a day is still there: the first of them expires `kept_days` after it was recorded."""
    return at < datetime.combine(usage_date, datetime.min.time(), at.tzinfo) + timedelta(days=kept_days)
