"""Find the deliveries that lie in the customer's bucket and that no event announced, and announce them.

A manifest counts as known once a delivery record names it with its content; so does one that was refused: announcing it again
would only repeat the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from attribution.periods import BillingPeriod
from attribution.ports import AnnouncedManifests, Clock, Deliveries, DeliveryQueue, ListedManifest, ReportListing

# An event takes seconds, an attempt to ingest at most a quarter of an hour, and one that failed comes back within minutes.
GRACE = timedelta(hours=1)
# AWS restates a month for some weeks after its end. What is older was delivered before the stack existed, and is backfilled.
PERIODS_BACK = 3
# The queue keeps a message for four days. A manifest that no record knows after that has lost its message.
ANNOUNCED_FOR = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class ReconciledDeliveries:
    """What a comparison of the bucket with the records found. `waiting` are too new, or announced and not recorded yet.

    `age` is how long ago AWS wrote the newest delivery; where there is none, for how long there has been none.
    """

    seen: int
    known: int
    waiting: int
    queued: tuple[ListedManifest, ...]
    age: timedelta


def reconcile_deliveries(
    *, listing: ReportListing, deliveries: Deliveries, announced: AnnouncedManifests, queue: DeliveryQueue, clock: Clock
) -> ReconciledDeliveries:
    """Queue every manifest of the last billing periods that no record knows, oldest first, each once while it may wait."""
    now = clock()
    oldest = _first_period(now.date())
    seen = sorted((m for m in listing.manifests() if m.period >= oldest), key=lambda m: (m.written_at, m.source.key))
    known = _known(deliveries, sorted({m.period for m in seen}))
    unknown = [m for m in seen if (m.source.key, m.source.etag) not in known]
    due = [m for m in unknown if m.written_at + GRACE <= now and not announced.is_waiting(m, now)]
    for manifest in due:
        # Remembered last: an attempt that ends in between announces it once more, which changes nothing.
        queue.announce(manifest)
        announced.remember(manifest, until=now + ANNOUNCED_FOR)
    newest = seen[-1].written_at if seen else announced.watched_since(now)
    return ReconciledDeliveries(len(seen), len(seen) - len(unknown), len(unknown) - len(due), tuple(due), now - newest)


def _first_period(today: date) -> BillingPeriod:
    """The oldest billing period that is compared."""
    period = BillingPeriod.of(today)
    for _ in range(PERIODS_BACK):
        period = BillingPeriod.of(period.first_day - timedelta(days=1))
    return period


def _known(deliveries: Deliveries, periods: Sequence[BillingPeriod]) -> set[tuple[str, str]]:
    """Keys and ETags of the manifests that some record names."""
    return {(r.manifest_key, r.manifest_etag) for period in periods for r in deliveries.of_period(period)}
