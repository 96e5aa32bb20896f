"""In-memory ports that behave: conditional writes that lose, transactions that are whole, and attempts that end at any write.

A fake refuses what its AWS counterpart refuses. Nothing here records calls for a test to compare; tests look at the state.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution.adjustments import Adjustment
from attribution.alerts import Alert, AlertKey, DeliveryStatus
from attribution.anomalies import Monitor, Series
from attribution.anomaly_tracking import Change, Feedback, TrackedAnomaly
from attribution.budgets import Budget
from attribution.calibration import Calibration, Place, Pricing
from attribution.canonical import content_hash
from attribution.charges import AllocatedCharge, Costs, OriginCharge
from attribution.days import CHARGES_ROOT, COVERAGE_ROOT, DayPointer, DayVersion, Sum, sums_root
from attribution.deliveries import (
    DeliveryOutcome,
    DeliveryRecord,
    IngestedReport,
    Manifest,
    PinnedFile,
    ReportKind,
    content_of,
)
from attribution.digests import Digest, DigestFault, DigestKey
from attribution.directory import Described, DirectoryEntry, kind_of, region_of_arn
from attribution.errors import DeliveryIncomplete, InputRejected, LedgerConflict
from attribution.periods import BillingPeriod
from attribution.ports import (
    IssuedSession,
    ListedManifest,
    MeteredHalf,
    ObservedHalf,
    SessionLink,
    StoredObject,
    TrailEvent,
    UnpricedUsage,
)
from attribution.prices import OfferReading, Price, PriceList, PublishedOffer, changed_prices
from attribution.routes import Route, Traffic, Viewer
from attribution.rules import Rules
from attribution.tag_history import Attributes, History, Identity
from attribution.usage import Counters, Invocation, InvocationKey, Metered, Observed, Pairs, Usage, UsageKey, with_session_tags

TRANSACTION_ACTIONS = 100


class Crash(Exception):
    """An attempt ended without a word, as when Lambda kills it."""


class Crashes:
    """Ends an attempt right before or right after one of its writes."""

    def __init__(self) -> None:
        self.after_points: int | None = None

    @contextmanager
    def write(self) -> Iterator[None]:
        """A write: two points at which an attempt may end."""
        self._point()
        yield
        self._point()

    def _point(self) -> None:
        if self.after_points is None:
            return
        if self.after_points == 0:
            self.after_points = None
            raise Crash
        self.after_points -= 1


class FakeClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Written:
    """What a conditional write of half an invocation did."""

    is_new: bool
    conflicts: bool = False
    replaces: bool = False
    awaits_session: bool = False


class FakeInvocations:
    """`Invocations` as one conditional item per request. A half of a request in `failing` cannot be written."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.items: dict[InvocationKey, Invocation] = {}
        self.failing: set[str] = set()
        self.before_observed: Callable[[], None] = lambda: None
        self._crashes = crashes or Crashes()

    def record_metered(self, halves: Sequence[MeteredHalf]) -> list[Written | Exception]:
        return [self._record(half.key, lambda half=half: self._record_metered(*half)) for half in halves]  # type: ignore[misc]

    def record_observed(self, halves: Sequence[ObservedHalf]) -> list[Written | Exception]:
        return [self._record(half.key, lambda half=half: self._record_observed(*half)) for half in halves]  # type: ignore[misc]

    def _record(self, key: InvocationKey, write: Callable[[], Written]) -> Written | Exception:
        if key.request_id in self.failing:
            return ConnectionError("the table does not answer")
        with self._crashes.write():
            return write()

    def _record_metered(self, key: InvocationKey, metered: Metered) -> Written:
        item = self.items.get(key, Invocation(key))
        if item.metered is not None:
            return Written(False, item.metered.fingerprint() != metered.fingerprint())
        self.items[key] = replace(item, metered=metered)
        return Written(True)

    def _record_observed(self, key: InvocationKey, observed: Observed) -> Written:
        self.before_observed()
        item = self.items.get(key, Invocation(key))
        if item.observed is not None and item.observed.revision >= observed.revision:
            return Written(False, awaits_session=not item.observed.session_tags)
        self.items[key] = replace(item, observed=observed)
        return Written(item.observed is None, replaces=item.observed is not None)

    def apply_session_tags(self, links: Sequence[SessionLink]) -> list[bool]:
        return [self._apply_session_tags(link) for link in links]

    def _apply_session_tags(self, link: SessionLink) -> bool:
        with self._crashes.write():
            item = self.items.get(link.key)
            observed = item.observed if item else None
            if item is None or observed is None or observed.access_key_id != link.access_key_id or observed.session_tags:
                return False
            self.items[link.key] = replace(item, observed=with_session_tags(observed, link.session_tags))
        return True

    def get(self, key: InvocationKey) -> Invocation | None:
        return self.items.get(key)


class FakeSessions:
    """`Sessions` whose every method sees what the others wrote."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.known: dict[str, Pairs] = {}
        self.lists: set[tuple[str, InvocationKey]] = set()
        self.looked_up: list[str] = []
        self._crashes = crashes or Crashes()

    def remember(self, sessions: Iterable[IssuedSession]) -> None:
        for session in sessions:
            with self._crashes.write():
                self.known[session.access_key_id] = session.session_tags

    def tags(self, access_key_ids: Iterable[str]) -> Mapping[str, Pairs]:
        wanted = set(access_key_ids)
        self.looked_up += wanted
        return {name: tags for name, tags in self.known.items() if name in wanted}

    def await_session(self, calls: Mapping[str, Sequence[InvocationKey]]) -> None:
        for name, keys in calls.items():
            with self._crashes.write():
                self.lists |= {(name, key) for key in keys}

    def awaiting(self, access_key_ids: Iterable[str]) -> Mapping[str, Sequence[InvocationKey]]:
        return {name: sorted(key for listed, key in self.lists if listed == name) for name in access_key_ids}


def unpriced_as(item: Invocation) -> UnpricedUsage | None:
    """The day and model under which an item awaits a price, if the half that counts has none of something."""
    if item.metered is not None:
        half, used = item.metered, UnpricedUsage(item.metered.usage_date, item.metered.model)
        return used if any(k.cost is None and k.units for k in half.kinds.values()) else None
    if item.observed is not None and any(k.cost is None and k.units for k in item.observed.kinds.values()):
        return UnpricedUsage(item.observed.timestamp.date(), item.observed.model_id)
    return None


class FakeUnpricedInvocations:
    """`UnpricedInvocations` over the items of `FakeInvocations`; every change is kept as its stream shows it.

    `stale` are items that the index still shows although they are priced.
    """

    def __init__(self, invocations: FakeInvocations, crashes: Crashes | None = None) -> None:
        self.items = invocations.items
        self.stream: list[tuple[Invocation, Invocation]] = []
        self.stale: dict[InvocationKey, UnpricedUsage] = {}
        self.before_replace: Callable[[], None] = lambda: None
        self._crashes = crashes or Crashes()

    def unpriced(self, usage: UnpricedUsage, *, after: str, limit: int) -> Sequence[InvocationKey]:
        marked = {key: unpriced_as(item) for key, item in self.items.items()} | dict(self.stale)
        return sorted((k for k, u in marked.items() if u == usage and str(k) > after), key=str)[:limit]

    def get(self, key: InvocationKey) -> Invocation | None:
        return self.items.get(key)

    def replace_metered(self, key: InvocationKey, before: Metered, after: Metered) -> bool:
        return self._replace(key, lambda item: item.metered == before, metered=after)

    def replace_observed(self, key: InvocationKey, before: Observed, after: Observed) -> bool:
        return self._replace(key, lambda item: item.metered is None and item.observed == before, observed=after)

    def _replace(self, key: InvocationKey, is_as_read: Callable[[Invocation], bool], **half: Any) -> bool:
        callback, self.before_replace = self.before_replace, lambda: None
        callback()
        with self._crashes.write():
            old = self.items[key]
            if not is_as_read(old):
                return False
            self.items[key] = replace(old, **half)
            self.stream.append((old, self.items[key]))
        return True

    def forget_unpriced(self, invocation: Invocation, usage: UnpricedUsage) -> None:
        with self._crashes.write():
            self.stale.pop(invocation.key, None)


class FakeRepriceQueue:
    """`RepriceQueue`: what was asked for, in order."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.asked: list[tuple[UnpricedUsage, str]] = []
        self._crashes = crashes or Crashes()

    def reprice(self, usage: UnpricedUsage, *, after: str = "") -> None:
        with self._crashes.write():
            self.asked.append((usage, after))


class FakeBedrockModels:
    """`BedrockModels`: what exists, what is forbidden, and what the listing does not show yet."""

    region = "us-east-1"

    def __init__(self, *existing: Described) -> None:
        self.existing = {described.arn: described for described in existing}
        self.forbidden: set[str] = set()
        self.unlisted: set[str] = set()
        self.logging: dict[str, bool] = {}

    def inference_profiles(self) -> Iterator[Described]:
        for arn, described in sorted(self.existing.items()):
            if kind_of(arn) == "inference-profile" and region_of_arn(arn) == self.region and arn not in self.unlisted:
                yield described

    def describe(self, arn: str) -> Described | None:
        if arn in self.forbidden:
            raise PermissionError(arn)
        return self.existing.get(arn)

    def is_logging(self, region: str) -> bool:
        if region in self.forbidden:
            raise PermissionError(region)
        return self.logging.get(region, False)


class FakePriceOffers:
    """`PriceOffers`: an offer, or why it cannot be read, by code."""

    def __init__(self, **offers: PublishedOffer | Exception) -> None:
        self.offers = offers

    @property
    def codes(self) -> Sequence[str]:
        return tuple(self.offers)

    def read(self, code: str) -> PublishedOffer:
        offer = self.offers[code]
        if isinstance(offer, Exception):
            raise offer
        return offer


class FakePriceStore:
    """`PriceStore` and `CalibrationStore`."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.prices: list[Price] = []
        self.read: dict[str, OfferReading] = {}
        self.calibrations: list[Calibration] = []
        self._crashes = crashes or Crashes()

    def store(self, prices: Iterable[Price]) -> int:
        with self._crashes.write():
            changed = changed_prices(self.prices, prices)
            places = {(p.meter, p.region, p.effective_from) for p in changed}
            self.prices = [p for p in self.prices if (p.meter, p.region, p.effective_from) not in places] + changed
        return len(changed)

    def record_reading(self, reading: OfferReading) -> None:
        with self._crashes.write():
            self.read[reading.code] = reading

    def readings(self) -> Sequence[OfferReading]:
        return list(self.read.values())

    def all_calibrations(self) -> Sequence[Calibration]:
        return list(self.calibrations)

    def replace_calibrations(self, before: Sequence[Calibration], after: Sequence[Calibration]) -> None:
        with self._crashes.write():
            self.calibrations = [c for c in self.calibrations if c not in before] + list(after)


class FakeTrailFiles:
    """`TrailFiles`: the events of each file, broken ones among them."""

    def __init__(self, files: Mapping[str, Sequence[TrailEvent | InputRejected | None]]) -> None:
        self._files = files

    def read(self, source: StoredObject) -> Iterator[TrailEvent | InputRejected | None]:
        return iter(self._files[str(source)])


class FakePrices:
    """`Prices` and `EstimatePrices`."""

    def __init__(self, *prices: Price) -> None:
        self._prices = prices
        self.calibrations: dict[Place, Calibration] = {}

    def load(self, models: Iterable[str]) -> PriceList:
        wanted = set(models)
        return PriceList(p for p in self._prices if p.meter.model in wanted)

    def pricing(self, places: Iterable[tuple[str, str]]) -> Pricing:
        wanted = set(places)
        prices = PriceList(p for p in self._prices if (p.meter.model, p.region) in wanted)
        return Pricing(prices, {place: c for place, c in self.calibrations.items() if (place[0].model, place[1]) in wanted})


class FakeDirectory:
    """`Directory`, `DirectoryOfDays` and `Histories`: a history is replaced only from the state that was read."""

    def __init__(self, *entries: DirectoryEntry, crashes: Crashes | None = None) -> None:
        self._entries = {entry.arn: entry for entry in entries}
        self.histories: dict[str, History] = {}
        self._crashes = crashes or Crashes()

    def find(self, arns: Iterable[str]) -> Mapping[str, DirectoryEntry]:
        return {arn: self._entries[arn] for arn in arns if arn in self._entries}

    def of_kind(self, kind: str) -> Sequence[DirectoryEntry]:
        return [entry for arn, entry in sorted(self._entries.items()) if kind_of(arn) == kind]

    def put(self, entry: DirectoryEntry) -> None:
        self._entries[entry.arn] = entry

    def attributes_on(self, ids: Iterable[str], usage_date: date) -> Mapping[str, Attributes]:
        known = {id: self.histories[id] for id in ids if id in self.histories}
        return {id: history.on(usage_date) or Attributes() for id, history in known.items()}

    def history(self, id: str) -> History | None:
        return self.histories.get(id)

    def record(self, before: History | None, after: History) -> None:
        if self.histories.get(after.id) != before:
            raise LedgerConflict(f"{after.id} was recorded meanwhile")
        with self._crashes.write():
            self.histories[after.id] = after

    def known_ids(self) -> Iterator[str]:
        return (id for id, history in sorted(self.histories.items()) if not history.deleted_at)

    def tag(self, id: str, now: datetime, name: str = "", **tags: str) -> None:
        """Record a reading of a thing's tags."""
        before = self.histories.get(id)
        self.histories[id] = (before or History(id)).seen(Attributes(tuple(sorted(tags.items())), name), now)


class FakeDirectoryRequests:
    """`DirectoryRequests`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def entries(self, ids: Sequence[str], *, changed_at: datetime | None = None, event: str = "") -> None:
        self.asked.append(tuple(ids))


class FakeAttributes:
    """`ReadAttributes`: what exists by id, and why something may not be read."""

    def __init__(self) -> None:
        self.existing: dict[str, Attributes] = {}
        self.forbidden: dict[str, str] = {}
        self.asked: list[str] = []

    def read(self, identity: Identity) -> Attributes | None:
        self.asked.append(identity.id)
        if identity.id in self.forbidden:
            raise PermissionError(self.forbidden[identity.id])
        return self.existing.get(identity.id)


class FakeQuarantine:
    """`Quarantine`."""

    def __init__(self) -> None:
        self.rejected: list[InputRejected] = []

    def put(self, rejected: InputRejected) -> None:
        self.rejected.append(rejected)


NO_RULES = Rules()


def version_of(rules: Rules) -> str:
    """The version of the policy that has these rules."""
    return rules.fingerprint()[:12]


class FakePolicy:
    """`Policy` that a test may change. It keeps every rules it had, as versions of their fingerprints."""

    def __init__(self, rules: Rules = NO_RULES, budgets: Sequence[Budget] = (), monitors: Sequence[Monitor] = ()) -> None:
        self._versions: dict[str, Rules] = {}
        self.defined_rules = rules
        self.defined = budgets
        self.defined_monitors = monitors

    @property
    def defined_rules(self) -> Rules:
        return self._in_force

    @defined_rules.setter
    def defined_rules(self, rules: Rules) -> None:
        self._in_force = rules
        self._versions[version_of(rules)] = rules

    def forget(self, rules: Rules) -> None:
        """Rules that an earlier software had, and that no document gives any more."""
        del self._versions[version_of(rules)]

    def rules(self, on: date) -> Rules:
        return self.defined_rules

    def versions(self, on: date) -> Iterator[tuple[str, Rules]]:
        yield version_of(self.defined_rules), self.defined_rules
        yield from self._versions.items()

    def rules_of(self, fingerprint: str, on: date) -> Rules | None:
        return next((rules for _, rules in self.versions(on) if rules.fingerprint() == fingerprint), None)

    def budgets(self) -> Sequence[Budget]:
        return self.defined

    def monitors(self) -> Sequence[Monitor]:
        return self.defined_monitors


class FakeUsageCounters:
    """`UsageCounters`: the checkpoint and the counters move in one transaction of limited size, or neither does."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.counted: dict[UsageKey, Counters] = {}
        self.checkpoints: dict[tuple[str, str], str] = {}
        self.applied_to: list[set[date]] = []
        self.after_checkpoint: Callable[[], None] = lambda: None
        self._crashes = crashes or Crashes()

    def checkpoint(self, stream: str, shard: str) -> str:
        found = self.checkpoints.get((stream, shard), "")
        callback, self.after_checkpoint = self.after_checkpoint, lambda: None
        callback()
        return found

    def apply(self, stream: str, shard: str, *, after: str, through: str, differences: Mapping[UsageKey, Counters]) -> None:
        if len(differences) + 1 > TRANSACTION_ACTIONS:
            raise ValueError(f"{len(differences) + 1} actions in one transaction")
        with self._crashes.write():
            if self.checkpoints.get((stream, shard), "") != after:
                raise LedgerConflict(f"the checkpoint of {shard} moved")
            self.checkpoints[stream, shard] = through
            for key, difference in differences.items():
                self.counted[key] = self.counted.get(key, Counters()) + difference

    def usage_of(self, usage_date: date) -> Sequence[Usage]:
        return [Usage(key, value) for key, value in self.counted.items() if key.usage_date == usage_date]


class FakeAllocationQueue:
    """`AllocationQueue` and `DayRequests`: the days that were asked for, in order."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.days: list[date] = []
        self._crashes = crashes or Crashes()

    def usage_changed(self, days: Iterable[date]) -> None:
        with self._crashes.write():
            self.days.extend(days)

    def requested(self, days: Iterable[date]) -> None:
        with self._crashes.write():
            self.days.extend(days)

    def delivery_ingested(self, record: DeliveryRecord, days: Iterable[date]) -> None:
        with self._crashes.write():
            self.days.extend(days)


class FakeOriginCharges:
    """`OriginCharges` under their content hash."""

    def __init__(self) -> None:
        self._stored: dict[tuple[date, str], tuple[OriginCharge, ...]] = {}

    def write(self, usage_date: date, charges: Sequence[OriginCharge]) -> str:
        origin = content_hash([[c.digest(), list(vars_of(c.costs)), c.units, c.is_final] for c in charges])
        self._stored[usage_date, origin] = tuple(charges)
        return origin

    def read(self, usage_date: date, origin: str) -> Sequence[OriginCharge]:
        return self._stored[usage_date, origin]

    def damage(self, usage_date: date, origin: str, charges: Sequence[OriginCharge]) -> None:
        """Put something else under the hash."""
        self._stored[usage_date, origin] = tuple(charges)


def vars_of(costs: Costs) -> tuple[object, ...]:
    """The metrics of a charge."""
    return tuple(getattr(costs, name) for name in Costs.__slots__)


class FakeCostReports:
    """`CostReports`: manifests and what their files contain."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[Manifest, IngestedReport]] = {}
        self.torn: set[str] = set()
        self.kept: set[str] = set()
        self.reads: list[str] = []

    def put(self, manifest: Manifest, report: IngestedReport) -> StoredObject:
        self.contents[manifest.key] = (manifest, report)
        return StoredObject(manifest.bucket, manifest.key, manifest.etag)

    reader = "reader-1"

    def manifest(self, source: StoredObject) -> Manifest:
        return self.contents[source.key][0]

    def pin(self, manifest: Manifest) -> tuple[PinnedFile, ...]:
        if manifest.key in self.torn:
            raise DeliveryIncomplete(f"{manifest.key}: a file is missing")
        return self.contents[manifest.key][1].files

    def is_read(self, manifest: Manifest, file: PinnedFile) -> bool:
        return file.key in self.kept

    def read_file(self, kind: ReportKind, period: BillingPeriod, file: PinnedFile) -> bool:
        if file.key in self.torn:
            raise DeliveryIncomplete(f"{file.key}: replaced")
        is_new = file.key not in self.kept
        self.kept.add(file.key)
        return is_new

    def ingest(self, manifest: Manifest, files: Sequence[PinnedFile], stored: Container[str]) -> IngestedReport:
        self.reads.append(manifest.execution_id)
        found = self.contents[manifest.key][1]
        return replace(found, files=tuple(files), content=content_of(files), reader=self.reader)


class FakeFanOut:
    """`FanOut`: which files were to be read, by attempt."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[str, ...]] = {}

    def start(self, manifest: Manifest, files: Sequence[PinnedFile], *, attempt: str) -> str:
        self.started[attempt] = tuple(f.key for f in files)
        return f"execution of {attempt}"


class FakeReportListing:
    """`ReportListing`: the manifests in the bucket, in the order of their keys."""

    def __init__(self, *listed: ListedManifest) -> None:
        self.listed = list(listed)

    def manifests(self) -> Iterator[ListedManifest]:
        return iter(sorted(self.listed, key=lambda m: m.source.key))


class FakeDeliveryQueue:
    """`DeliveryQueue`: the manifests that were announced, in order."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.announced: list[ListedManifest] = []
        self._crashes = crashes or Crashes()

    def announce(self, manifest: ListedManifest) -> None:
        with self._crashes.write():
            self.announced.append(manifest)


class FakeAnnouncedManifests:
    """`AnnouncedManifests` by place and content, until they expire."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self._until: dict[StoredObject, datetime] = {}
        self._since: datetime | None = None
        self._crashes = crashes or Crashes()

    def is_waiting(self, manifest: ListedManifest, now: datetime) -> bool:
        return manifest.source in self._until and now < self._until[manifest.source]

    def remember(self, manifest: ListedManifest, *, until: datetime) -> None:
        with self._crashes.write():
            self._until[manifest.source] = until

    def watched_since(self, now: datetime) -> datetime:
        if self._since is None:
            with self._crashes.write():
                self._since = now
        return self._since or now


class FakeDeliveries:
    """`Deliveries`: one conditional item per execution."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.records: dict[tuple[BillingPeriod, str, str], DeliveryRecord] = {}
        self._crashes = crashes or Crashes()

    def of_period(self, period: BillingPeriod) -> Sequence[DeliveryRecord]:
        return [r for (of, _, _), r in sorted(self.records.items()) if of == period]

    def record(self, record: DeliveryRecord) -> None:
        with self._crashes.write():
            stored = self.records.get(_delivery_key(record))
            if stored is None or stored.manifest_etag != record.manifest_etag or stored.outcome is DeliveryOutcome.REFUSED:
                self.records[_delivery_key(record)] = record

    def mark_staged(self, record: DeliveryRecord, usage_date: date, version: str) -> DeliveryRecord:
        with self._crashes.write():
            stored = self.records[_delivery_key(record)]
            if stored.outcome is not DeliveryOutcome.INGESTED:
                raise LedgerConflict(f"{record.execution_id} went on")
            marked = replace(stored, staged={**stored.staged, usage_date: version})
            self.records[_delivery_key(record)] = marked
        return marked

    def forget_staged(self, record: DeliveryRecord, usage_date: date) -> None:
        with self._crashes.write():
            stored = self.records[_delivery_key(record)]
            rest = {day: version for day, version in stored.staged.items() if day != usage_date}
            self.records[_delivery_key(record)] = replace(stored, staged=rest)

    def supersede(self, record: DeliveryRecord, by: str) -> None:
        with self._crashes.write():
            stored = self.records[_delivery_key(record)]
            if stored.outcome is DeliveryOutcome.INGESTED:
                self.records[_delivery_key(record)] = replace(
                    stored, outcome=DeliveryOutcome.SUPERSEDED, reason=f"overtaken by execution {by}"
                )

    def outcome_of(self, record: DeliveryRecord) -> DeliveryOutcome:
        return self.records[_delivery_key(record)].outcome

    def publish(self, record: DeliveryRecord) -> None:
        """A part of the transaction that flips pointers."""
        stored = self.records[_delivery_key(record)]
        self.records[_delivery_key(record)] = replace(stored, outcome=DeliveryOutcome.PUBLISHED)


def _delivery_key(record: DeliveryRecord) -> tuple[BillingPeriod, str, str]:
    again = f"#{record.reading}" if record.reading else ""
    return record.period, record.export, record.execution_id + again


class FakeLedgerDays:
    """`LedgerDays`: immutable versions, and pointers that flip together or not at all."""

    def __init__(self, deliveries: FakeDeliveries, clock: FakeClock, crashes: Crashes | None = None) -> None:
        self.current: dict[date, DayPointer] = {}
        self.versions: dict[tuple[date, str], DayVersion] = {}
        self.expired: set[tuple[date, str]] = set()
        self.flips: list[tuple[date, ...]] = []
        self.adjustments: list[Adjustment] = []
        self.after_pointers: Callable[[], None] = lambda: None
        self._headers: dict[tuple[date, str], DayPointer] = {}
        self._deliveries = deliveries
        self._clock = clock
        self._crashes = crashes or Crashes()

    def pointers(self, period: BillingPeriod) -> Mapping[date, DayPointer]:
        found = {day: p for day, p in self.current.items() if BillingPeriod.of(day) == period}
        callback, self.after_pointers = self.after_pointers, lambda: None
        callback()
        return found

    def charges(self, usage_date: date, version: str) -> Iterator[AllocatedCharge]:
        return iter(() if (usage_date, version) in self.expired else self.versions[usage_date, version].charges)

    def stage(self, day: DayVersion, sequence: str) -> DayPointer:
        name = (day.usage_date, day.version)
        pointer = DayPointer(
            day.usage_date,
            day.version,
            day.basis,
            day.totals,
            day.made_from,
            self._clock(),
            sequence,
            len(day.charges),
            {CHARGES_ROOT: "", COVERAGE_ROOT: "", **{sums_root(dimension): "" for dimension in day.sums}},
        )
        with self._crashes.write():
            self.versions[name] = day
            self._headers[name] = pointer
            self.expired.discard(name)
        return pointer

    def staged(self, usage_date: date, version: str) -> DayPointer:
        return self._headers[usage_date, version]

    def flip(
        self,
        pointers: Sequence[DayPointer],
        *,
        replacing: Mapping[date, DayPointer],
        publishing: DeliveryRecord | None = None,
        adjustment: Adjustment | None = None,
    ) -> None:
        with self._crashes.write():
            for pointer in pointers:
                old, now = replacing.get(pointer.usage_date), self.current.get(pointer.usage_date)
                if (old.version if old else None) != (now.version if now else None):
                    raise LedgerConflict(f"{pointer.usage_date} moved")
            if publishing is not None:
                if self._deliveries.outcome_of(publishing) is not DeliveryOutcome.INGESTED:
                    raise LedgerConflict(f"{publishing.execution_id} is not waiting any more")
                self._deliveries.publish(publishing)
            for pointer in pointers:
                self.current[pointer.usage_date] = pointer.after(self.current.get(pointer.usage_date), self._clock())
            self.flips.append(tuple(p.usage_date for p in pointers))
            if adjustment is not None:
                self.adjustments.append(adjustment)

    def retire(self, usage_date: date) -> None:
        pointer = self.current.get(usage_date)
        if pointer is None:
            return
        needless = {
            name
            for name, header in self._headers.items()
            if name[0] == usage_date and name[1] != pointer.version and header.sequence <= pointer.sequence
        }
        if needless <= self.expired and not pointer.superseded:
            return
        with self._crashes.write():
            self.expired |= needless
            self.current[usage_date] = replace(pointer, superseded=())

    def discard(self, usage_date: date, version: str, sequence: str) -> None:
        with self._crashes.write():
            current = self.current.get(usage_date)
            is_current = current is not None and current.version == version
            if self._headers[usage_date, version].sequence == sequence and not is_current:
                self.expired.add((usage_date, version))

    def sums(self, pointers: Sequence[DayPointer], dimension: str) -> Mapping[date, Mapping[tuple[str, str], Sum]]:
        return {p.usage_date: self.versions[p.usage_date, p.version].sums.get(dimension, {}) for p in pointers}


class FakeBudgetSums:
    """`BudgetSums`: any of it may be gone at any time."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.kept: dict[tuple[date, str], Mapping[str, Decimal]] = {}
        self._crashes = crashes or Crashes()

    def read(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[str, Decimal]]:
        found = {p.usage_date: self.kept.get((p.usage_date, p.version)) for p in pointers}
        return {day: sums for day, sums in found.items() if sums is not None}

    def keep(self, pointer: DayPointer, sums: Mapping[str, Decimal]) -> None:
        with self._crashes.write():
            self.kept[pointer.usage_date, pointer.version] = dict(sums)


class FakeAnomalies:
    """`Anomalies`: one that moved since it was read is not replaced."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.kept: dict[tuple[Series, date], TrackedAnomaly] = {}
        self.said: dict[tuple[Series, date], Feedback] = {}
        self._crashes = crashes or Crashes()

    def since(self, first_day: date) -> Sequence[TrackedAnomaly]:
        return [a for a in self.kept.values() if a.found_day >= first_day]

    def put(self, anomaly: TrackedAnomaly, *, replacing: TrackedAnomaly | None) -> bool:
        with self._crashes.write():
            current = self.kept.get(anomaly.key)
            if (current.revision if current else 0) != (replacing.revision if replacing else 0):
                return False
            self.kept[anomaly.key] = replace(anomaly, revision=anomaly.revision + 1)
        return True

    def feedback(self) -> Sequence[Feedback]:
        return [self.said[key] for key in sorted(self.said, key=lambda key: (key[1], key[0]))]

    def judge(self, feedback: Feedback) -> None:
        self.said[feedback.series, feedback.first_day] = feedback


class FakeAnomalyNews:
    """`AnomalyNews`: what was told, in order."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self._crashes = crashes or Crashes()

    def tell(self, change: Change, anomaly: TrackedAnomaly) -> None:
        with self._crashes.write():
            self.told.append((change.value, anomaly.name))


class FakeAnnouncements:
    """`Announcements`."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.changed: set[date] = set()
        self._crashes = crashes or Crashes()

    def days_changed(self, period: BillingPeriod, days: Sequence[date]) -> None:
        with self._crashes.write():
            self.changed |= set(days)


def _nothing() -> None:
    """What happens in between, unless a test says otherwise."""


class FakeOutbox:
    """`Outbox`: conditional writes by version, its stream of what became pending, and its index of what is due."""

    def __init__(self, crashes: Crashes | None = None) -> None:
        self.items: dict[AlertKey | DigestKey, Alert | Digest] = {}
        self.channels: dict[str, Traffic] = {}
        self.digest_faults: dict[DigestKey, DigestFault] = {}
        self.stream: list[AlertKey | DigestKey] = []
        self.before_put: Callable[[], None] = _nothing
        self._crashes = crashes or Crashes()

    def find(self, key: AlertKey | DigestKey) -> Alert | Digest | None:
        return self.items.get(key)

    def get(self, key: AlertKey) -> Alert | None:
        found = self.items.get(key)
        return found if isinstance(found, Alert) else None

    def get_many(self, keys: Iterable[AlertKey]) -> Mapping[AlertKey, Alert]:
        return {key: found for key in keys if (found := self.get(key)) is not None}

    def digest(self, key: DigestKey) -> Digest | None:
        found = self.items.get(key)
        return found if isinstance(found, Digest) else None

    def put(self, alert: Alert, *, replacing: Alert | None) -> Alert | None:
        stored = self._write([(alert, replacing)])
        return stored[0] if stored and isinstance(stored[0], Alert) else None

    def replace(self, notice: Alert | Digest, *, replacing: Alert | Digest) -> Alert | Digest | None:
        stored = self._write([(notice, replacing)])
        return stored[0] if stored else None

    def add_digest(self, digest: Digest) -> bool:
        return bool(self._write([(digest, None)]))

    def faults(self, route: str) -> Sequence[DigestFault]:
        return [fault for key, fault in sorted(self.digest_faults.items(), key=str) if key.route == route]

    def put_fault(self, fault: DigestFault) -> None:
        with self._crashes.write():
            self.digest_faults[fault.key] = fault

    def forget_fault(self, key: DigestKey) -> None:
        with self._crashes.write():
            self.digest_faults.pop(key, None)

    def collect(self, alert: Alert, digest: Digest, *, replacing: Alert, extending: Digest | None) -> bool:
        return bool(self._write([(alert, replacing), (digest, extending)]))

    def _write(self, writes: Sequence[tuple[Alert | Digest, Alert | Digest | None]]) -> list[Alert | Digest]:
        callback, self.before_put = self.before_put, _nothing
        callback()
        stored: list[Alert | Digest] = []
        with self._crashes.write():
            for notice, replacing in writes:
                current = self.items.get(notice.key)
                if (current.version if current else None) != (replacing.version if replacing else None):
                    return []
                stored.append(replace(notice, version=replacing.version + 1 if replacing else 1))
            for notice in stored:
                self.items[notice.key] = notice
                if notice.delivery.status is DeliveryStatus.PENDING:
                    self.stream.append(notice.key)
        return stored

    def traffic(self, channel: str) -> Traffic | None:
        return self.channels.get(channel)

    def put_traffic(self, channel: str, traffic: Traffic, *, replacing: Traffic | None) -> bool:
        with self._crashes.write():
            if self.channels.get(channel) != replacing:
                return False
            self.channels[channel] = traffic
        return True

    def due(self, now: datetime) -> Sequence[AlertKey | DigestKey]:
        return [key for key, at in self._due_times().items() if at <= now]

    def open(self) -> Sequence[AlertKey | DigestKey]:
        still = [key for key, notice in self.items.items() if isinstance(notice, Alert) and notice.is_open]
        return sorted({*self._due_times(), *still}, key=str)

    def _due_times(self) -> dict[AlertKey | DigestKey, datetime]:
        times = {n.key: n.due_at if isinstance(n, Alert) else n.delivery.wait_until for n in self.items.values()}
        return {key: at for key, at in sorted(times.items(), key=str) if at is not None}


@dataclass(slots=True)
class FakeAlertRetries:
    """`AlertRetries`: what comes back, and when."""

    clock: FakeClock
    due: list[tuple[datetime, AlertKey | DigestKey]] = field(default_factory=list)

    def retry(self, key: AlertKey | DigestKey, *, after_seconds: int) -> None:
        if not 0 <= after_seconds <= 900:
            raise ValueError(f"SQS delays by 0 to 900 seconds, not {after_seconds}")
        self.due.append((self.clock() + timedelta(seconds=after_seconds), key))


class FakeRoutes:
    """`Routes`."""

    def __init__(self, *routes: Route, viewers: Sequence[Viewer] = ()) -> None:
        self._routes = routes
        self._viewers = viewers

    def routes(self) -> Sequence[Route]:
        return self._routes

    def viewers(self) -> Sequence[Viewer]:
        return self._viewers
