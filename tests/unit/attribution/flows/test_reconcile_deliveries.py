"""Manifests in the bucket against delivery records: what no event announced is queued, once, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from attribution.deliveries import DeliveryOutcome, DeliveryRecord, IngestedReport
from attribution.flows.reconcile_deliveries import ANNOUNCED_FOR, GRACE, ReconciledDeliveries, reconcile_deliveries
from attribution.periods import BillingPeriod
from attribution.ports import ListedManifest, StoredObject
from tests.fakes import (
    Crash,
    Crashes,
    FakeAnnouncedManifests,
    FakeClock,
    FakeDeliveries,
    FakeDeliveryQueue,
    FakeReportListing,
)

NOVEMBER = BillingPeriod(2026, 11)
WRITTEN = datetime(2026, 11, 22, 6, tzinfo=UTC)


@dataclass
class World:
    """A bucket, what is recorded of it, and what was announced."""

    crashes: Crashes = field(default_factory=Crashes)
    listing: FakeReportListing = field(default_factory=FakeReportListing)
    deliveries: FakeDeliveries = field(default_factory=FakeDeliveries)
    clock: FakeClock = field(default_factory=lambda: FakeClock(datetime(2026, 11, 23, tzinfo=UTC)))

    def __post_init__(self) -> None:
        self.queue = FakeDeliveryQueue(self.crashes)
        self.announced = FakeAnnouncedManifests(self.crashes)

    def run(self) -> ReconciledDeliveries:
        return reconcile_deliveries(
            listing=self.listing,
            deliveries=self.deliveries,
            announced=self.announced,
            queue=self.queue,
            clock=self.clock,
        )


def listed(period: BillingPeriod = NOVEMBER, *, etag: str = "etag-1", written_at: datetime = WRITTEN) -> ListedManifest:
    key = f"exports/cur/metadata/BILLING_PERIOD={period}/cur-Manifest.json"
    return ListedManifest(StoredObject("bills", key, etag), period, written_at, 8188)


def record(manifest: ListedManifest, outcome: DeliveryOutcome = DeliveryOutcome.PUBLISHED) -> DeliveryRecord:
    return DeliveryRecord(
        export="cur",
        period=manifest.period,
        execution_id=manifest.source.etag,
        sequence=f"{manifest.written_at.isoformat()}#{manifest.source.etag}",
        manifest_key=manifest.source.key,
        manifest_etag=manifest.source.etag,
        outcome=outcome,
        report=IngestedReport((), (), 0, 0, {}),
        changed_days=(),
    )


@pytest.fixture
def world() -> World:
    return World()


def test_a_delivery_that_no_event_announced_is_queued(world: World) -> None:
    world.listing.listed = [listed()]

    outcome = world.run()

    assert world.queue.announced == [listed()]
    assert outcome == ReconciledDeliveries(seen=1, known=0, waiting=0, queued=(listed(),), age=world.clock() - WRITTEN)


@pytest.mark.parametrize("outcome", DeliveryOutcome)
def test_a_delivery_with_a_record_is_known_whatever_became_of_it(world: World, outcome: DeliveryOutcome) -> None:
    world.listing.listed = [listed()]
    world.deliveries.record(record(listed(), outcome))

    assert world.run() == ReconciledDeliveries(seen=1, known=1, waiting=0, queued=(), age=world.clock() - WRITTEN)
    assert world.queue.announced == []


def test_a_manifest_that_was_overwritten_since_is_another_delivery(world: World) -> None:
    world.listing.listed = [listed(etag="etag-2")]
    world.deliveries.record(record(listed(etag="etag-1")))

    world.run()

    assert world.queue.announced == [listed(etag="etag-2")]


def test_another_periods_record_with_the_same_content_says_nothing(world: World) -> None:
    october = BillingPeriod(2026, 10)
    world.listing.listed = [listed(october), listed()]
    world.deliveries.record(record(listed()))

    world.run()

    assert world.queue.announced == [listed(october)]


@pytest.mark.parametrize(("age", "is_queued"), [(GRACE, True), (GRACE - timedelta(seconds=1), False)])
def test_a_manifest_whose_event_may_still_come_is_waited_for(world: World, age: timedelta, is_queued: bool) -> None:
    world.listing.listed = [listed(written_at=world.clock() - age)]

    outcome = world.run()

    assert bool(world.queue.announced) is is_queued
    assert outcome.waiting == (0 if is_queued else 1)


def test_a_manifest_is_queued_once_while_its_message_may_wait(world: World) -> None:
    world.listing.listed = [listed()]
    world.run()
    world.clock.advance(ANNOUNCED_FOR.total_seconds() - 1)

    assert world.run().waiting == 1
    assert len(world.queue.announced) == 1


def test_a_manifest_whose_message_was_lost_is_queued_again(world: World) -> None:
    world.listing.listed = [listed()]
    world.run()
    world.clock.advance(ANNOUNCED_FOR.total_seconds())

    assert len(world.run().queued) == 1
    assert len(world.queue.announced) == 2


def test_what_was_written_first_is_queued_first(world: World) -> None:
    october = BillingPeriod(2026, 10)
    restated = listed(october, written_at=WRITTEN + timedelta(hours=2))
    world.listing.listed = [restated, listed()]

    world.run()

    assert world.queue.announced == [listed(), restated]


@pytest.mark.parametrize(
    ("now", "oldest"),
    [(datetime(2026, 11, 30, tzinfo=UTC), BillingPeriod(2026, 8)), (datetime(2026, 2, 1, tzinfo=UTC), BillingPeriod(2025, 11))],
)
def test_the_current_period_and_three_before_are_compared(world: World, now: datetime, oldest: BillingPeriod) -> None:
    world.clock.now = now
    before = BillingPeriod.of(oldest.first_day - timedelta(days=1))
    written = now - timedelta(days=1)
    world.listing.listed = [listed(before, written_at=written), listed(oldest, written_at=written)]

    outcome = world.run()

    assert [m.period for m in world.queue.announced] == [oldest]
    assert outcome.seen == 1


@pytest.mark.parametrize("points", range(8))
def test_an_attempt_that_ends_at_any_write_leaves_nothing_unannounced(world: World, points: int) -> None:
    both = [listed(), listed(BillingPeriod(2026, 10))]
    world.listing.listed = list(both)
    world.crashes.after_points = points
    with pytest.raises(Crash):
        world.run()

    world.run()

    assert {m.source for m in world.queue.announced} == {m.source for m in both}
    assert world.run().waiting == 2


def test_a_listing_of_an_empty_bucket_finds_nothing(world: World) -> None:
    world.deliveries.record(record(listed()))

    assert world.run() == ReconciledDeliveries(0, 0, 0, (), timedelta(0))


def test_the_age_is_that_of_the_newest_delivery_whatever_became_of_it(world: World) -> None:
    older = listed(BillingPeriod(2026, 10), etag="etag-0", written_at=WRITTEN - timedelta(days=9))
    world.listing.listed = [listed(), older]
    world.deliveries.record(record(older))

    assert world.run().age == world.clock() - WRITTEN


def test_a_bucket_without_a_delivery_is_as_old_as_the_first_look_at_it(world: World) -> None:
    ages = []
    for _ in range(3):
        ages.append(world.run().age)
        world.clock.advance(36 * 3600)

    assert ages == [timedelta(0), timedelta(hours=36), timedelta(hours=72)]
