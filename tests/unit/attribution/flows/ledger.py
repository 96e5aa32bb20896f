"""A whole ledger in memory: cost report deliveries arrive, usage moves, days are allocated, at least once and in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from attribution.allocation import allocate_day, estimate_day, totals_by_currency
from attribution.canonical import content_hash
from attribution.charges import Basis, Costs, OriginCharge
from attribution.coverage import Counted
from attribution.days import DayVersion, make_day_version, usage_fingerprint
from attribution.deliveries import (
    DayOfDelivery,
    DeliveryOutcome,
    DeliveryRecord,
    IngestedReport,
    Manifest,
    PinnedFile,
    ReportKind,
    billed_days,
)
from attribution.errors import LedgerConflict
from attribution.flows.allocate_charges import AllocatedDay, allocate_charges
from attribution.flows.ingest_cost_report import FannedOut, IngestedDelivery, IngestTerms, ingest_cost_report
from attribution.meters import TokenKind
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject
from attribution.usage import Counters
from tests.fakes import (
    Crash,
    Crashes,
    FakeAllocationQueue,
    FakeAnnouncements,
    FakeClock,
    FakeCostReports,
    FakeDeliveries,
    FakeDirectory,
    FakeDirectoryRequests,
    FakeFanOut,
    FakeLedgerDays,
    FakeOriginCharges,
    FakePolicy,
    FakePrices,
    FakeUsageCounters,
)
from tests.unit.attribution.examples import BY_TEAM, DAY, USAGE_KEY, origin_charge

NOVEMBER = BillingPeriod(2026, 11)
DAYS = tuple(DAY + timedelta(days=n) for n in range(3))
LAG = timedelta(hours=24)
# The first delivery bills the first day, the second two days, the third all three.
FIRST_WRITTEN = datetime(2026, 11, 5, 12, tzinfo=UTC)


class Again(NamedTuple):
    """Somebody asks for a day of a closed month to be allocated by a version of the policy."""

    usage_date: date
    by_policy: str


Message = StoredObject | date | Again


@dataclass(frozen=True, slots=True)
class Content:
    """What a delivery says: a revision of each day's one charge."""

    revisions: tuple[int, ...]
    is_final: bool = False


class Ledger:
    """The fakes, wired, and the queue between the two flows."""

    def __init__(self) -> None:
        self.crashes = Crashes()
        self.origin_charges = FakeOriginCharges()
        self.reports = FakeCostReports()
        self.fan_out = FakeFanOut()
        self.fan_out_above_bytes = 10**9
        self.billing_lag = LAG
        self.now = FIRST_WRITTEN + timedelta(days=30)
        self.deliveries = FakeDeliveries(self.crashes)
        self.clock = FakeClock()
        self.days = FakeLedgerDays(self.deliveries, self.clock, self.crashes)
        self.counters = FakeUsageCounters()
        self.policy = FakePolicy(BY_TEAM)
        self.prices = FakePrices()
        self.directory = FakeDirectory()
        self.directory_requests = FakeDirectoryRequests()
        self.announcements = FakeAnnouncements(self.crashes)
        self.queue = FakeAllocationQueue(self.crashes)

    def write_delivery(self, number: int, content: Content) -> StoredObject:
        """Put the files of the n-th delivery of November into the bucket."""
        days = zip(DAYS, content.revisions, strict=True)
        charges = {day: charges_of(day, revision, content.is_final) for day, revision in days}
        return self.write_charges(number, FIRST_WRITTEN + timedelta(days=number), charges)

    def write_charges(self, number: int, written_at: datetime, charges: Mapping[date, Sequence[OriginCharge]]) -> StoredObject:
        """Put the files of a delivery of November into the bucket that has these charges."""
        name = f"execution-{number}"
        days = tuple(
            DayOfDelivery(
                usage_date,
                self.origin_charges.write(usage_date, of_day),
                totals_by_currency(of_day),
                len(of_day),
                1,
                bool(of_day) and all(c.is_final for c in of_day),
            )
            for usage_date, of_day in charges.items()
        )
        files = (PinnedFile(f"{name}-00001.parquet", content_hash([d.origin for d in days]), 1000),)
        totals = totals_by_currency([charge for of_day in charges.values() for charge in of_day])
        report = IngestedReport(files, days, len(days), len(days), totals)
        manifest = Manifest(
            ReportKind.CUR_2_0, "cur", NOVEMBER, name, "bills", f"{name}-Manifest.json", f"etag-{number}", written_at, ("file",)
        )
        return self.reports.put(manifest, report)

    def ingest(self, source: StoredObject, prefix: str = "") -> IngestedDelivery:
        """What the function ingest_cost_report does with a message about a delivery that it reads itself."""
        ingested = self.hand_over(source, prefix)
        assert isinstance(ingested, IngestedDelivery)
        return ingested

    def hand_over(self, source: StoredObject, prefix: str = "", *, attempt: str = "message 1") -> IngestedDelivery | FannedOut:
        """What the function ingest_cost_report does with a message."""
        return ingest_cost_report(
            source,
            reports=self.reports,
            deliveries=self.deliveries,
            days=self.days,
            queue=self.queue,
            fan_out=self.fan_out,
            terms=IngestTerms(self.billing_lag, self.fan_out_above_bytes, prefix),
            now=self.now,
            attempt=attempt,
        )

    def allocate(self, usage_date: date, by_policy: str = "") -> AllocatedDay:
        """What the function allocate_charges does with a message."""
        return allocate_charges(
            usage_date,
            origin_charges=self.origin_charges,
            deliveries=self.deliveries,
            days=self.days,
            counters=self.counters,
            policy=self.policy,
            prices=self.prices,
            directory=self.directory,
            directory_requests=self.directory_requests,
            announcements=self.announcements,
            now=self.now,
            by_policy=by_policy,
        )

    def use(self, usage_date: date, team: str, units: int) -> None:
        """Roll up more usage of a team, and ask for the day."""
        key = USAGE_KEY._replace(usage_date=usage_date, request_metadata=(("team", team),))
        more = Counters(
            requests=1, units={TokenKind.INPUT: units}, estimated={TokenKind.INPUT: Decimal(units) * Decimal("0.0000033")}
        )
        self.counters.counted[key] = self.counters.counted.get(key, Counters()) + more
        self.queue.usage_changed([usage_date])

    def attempt(self, message: Message) -> bool:
        """Handle one message; whether it may be deleted from its queue."""
        try:
            if isinstance(message, StoredObject):
                self.ingest(message)
            elif isinstance(message, Again):
                self.allocate(message.usage_date, message.by_policy)
            else:
                self.allocate(message)
        except (Crash, LedgerConflict):
            return False
        finally:
            self.crashes.after_points = None
        return True

    def drain(self, messages: Sequence[Message]) -> None:
        """Handle messages until none is left."""
        waiting = list(messages)
        for _ in range(300):
            waiting += self.queue.days
            self.queue.days.clear()
            if not waiting:
                return
            message = waiting.pop(0)
            if not self.attempt(message):
                waiting.append(message)
        raise AssertionError(f"messages keep coming back: {waiting}")

    def settle(self, *sources: StoredObject) -> None:
        """Ingest deliveries in order, each with all that follows from it."""
        for source in sources:
            self.drain([source])

    def record_of(self, number: int) -> DeliveryRecord:
        """The record of the n-th delivery."""
        return self.deliveries.records[NOVEMBER, "cur", f"execution-{number}"]

    def published(self) -> DeliveryRecord | None:
        """The newest delivery that readers may see."""
        found = [r for r in self.deliveries.of_period(NOVEMBER) if r.outcome is DeliveryOutcome.PUBLISHED]
        return max(found, key=lambda r: r.sequence, default=None)

    def expected(self, usage_date: date, newest: DeliveryRecord | None, number: int) -> DayVersion:
        """The day as it must be in the end: made from the newest delivery if that bills it, else from usage alone."""
        used = self.counters.usage_of(usage_date)
        fingerprint = usage_fingerprint(used)
        billed = billed_days(NOVEMBER, FIRST_WRITTEN + timedelta(days=number), LAG) if newest else ()
        if newest is None or usage_date not in billed:
            pricing = self.prices.pricing((u.key.model, u.key.region) for u in used)
            charges = estimate_day(used, BY_TEAM, pricing=pricing)
            priced_with = pricing.fingerprint(charges)
            return make_day_version(
                usage_date,
                Basis.ESTIMATED,
                charges,
                BY_TEAM,
                origin="",
                usage=fingerprint,
                pricing=priced_with,
                counted=Counted.of(used),
            )
        day = newest.day(usage_date)
        assert day is not None
        charges_billed = self.origin_charges.read(usage_date, day.origin)
        return make_day_version(
            usage_date,
            Basis.FINAL if day.is_final else Basis.BILLED,
            allocate_day(charges_billed, used, BY_TEAM),
            BY_TEAM,
            origin=day.origin,
            usage=fingerprint,
            counted=Counted.of(used),
            names_principals=any(charge.iam_principal for charge in charges_billed),
        )


def charges_of(usage_date: date, revision: int, is_final: bool = False) -> list[OriginCharge]:
    """The bill of a day: one charge of 1000 tokens whose amount names day and revision."""
    amount = Decimal(usage_date.day) + Decimal(revision) / 100
    return [origin_charge(usage_date=usage_date, costs=Costs.uniform(amount), is_final=is_final)]
