"""The month itself: requests, charges, metered usage and the refreshes of its cost report.

`build` is the only entry. Everything else in the package reads a `Month` and adds nothing to what is true.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from truth.catalogue import Sku
from truth.charges import Charge, charges_of_month
from truth.extras import extra_charges
from truth.meters import Meter
from truth.requests import Requests, month_bounds
from truth.summary import MonthTruth, summarise


@dataclass(frozen=True, slots=True)
class Refresh:
    """One refresh of the month's cost report."""

    number: int
    delivered_at: datetime
    data_until: datetime
    """Usage that began at this instant or later is not in it yet."""
    is_closed: bool
    """Invoice ids, tax, discounts and credits are in it."""
    is_restated: bool
    """A late refund and a corrected row are in it."""
    chunks: int


class Month:
    """One company's month on Bedrock; equal arguments mean equal months."""

    def __init__(self, month: str, seed: int, requests: int, *, extras: bool = False) -> None:
        if requests < 1:
            raise ValueError(f"requests is {requests}; a month needs at least 1")
        self.month = month
        self.seed = seed
        self.extras = extras
        self.start, self.end = month_bounds(month)
        self.requests = Requests(self.start, self.end, seed, requests)

    @cached_property
    def usage(self) -> dict[tuple[datetime, Meter], int]:
        """What the requests used, by hour and meter."""
        meters: dict[tuple[Sku, int, int], Meter] = {}
        usage: defaultdict[tuple[datetime, Meter], int] = defaultdict(int)
        for request in self.requests:
            hour = request.time.replace(minute=0, second=0)
            for sku, quantity in request.usage():
                identity = (sku, id(request.principal), id(request.call))
                meter = meters.get(identity)
                if meter is None:
                    meter = meters[identity] = Meter(sku, request.principal, request.call)
                usage[hour, meter] += quantity
        return dict(usage)

    @cached_property
    def charges(self) -> tuple[Charge, ...]:
        """Everything on the bill that no single request caused."""
        usual = charges_of_month(self.start, self.end, self.seed, self.usage)
        rare = extra_charges(self.start, self.end, self.seed) if self.extras else ()
        return (*usual, *rare)

    @property
    def refreshes(self) -> tuple[Refresh, ...]:
        """Early in the month, late in it, after close, and a month later with a refund and a restated row."""
        start, end = self.start, self.end
        return (
            Refresh(
                1,
                start + timedelta(days=11, hours=6, minutes=12, seconds=41, milliseconds=207),
                start + timedelta(days=10, hours=17),
                is_closed=False,
                is_restated=False,
                chunks=2,
            ),
            Refresh(
                2,
                start + timedelta(days=27, hours=5, minutes=48, seconds=2, milliseconds=356),
                start + timedelta(days=26, hours=21),
                is_closed=False,
                is_restated=False,
                chunks=4,
            ),
            Refresh(
                3,
                end + timedelta(days=4, hours=9, minutes=31, seconds=17, milliseconds=904),
                end,
                is_closed=True,
                is_restated=False,
                chunks=3,
            ),
            Refresh(
                4,
                end + timedelta(days=33, hours=14, minutes=5, seconds=55, milliseconds=61),
                end,
                is_closed=True,
                is_restated=True,
                chunks=3,
            ),
        )

    def truth(self, *, restated: bool = False) -> MonthTruth:
        """Sums and coverage of the closed month, before or after its late restatement."""
        return summarise(self, restated=restated)


def build(month: str, seed: int, requests: int, *, extras: bool = False) -> Month:
    """The month `month` (`YYYY-MM`) with `requests` logged requests, drawn from `seed`.

    `extras` adds rare rows to the bill (`truth.extras`); everything else stays as it is without them.
    """
    return Month(month, seed, requests, extras=extras)
