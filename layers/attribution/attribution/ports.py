"""What the core asks of the world, as small protocols in the core's own words. Adapters implement them; tests use fakes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from attribution.adjustments import Adjustment
from attribution.alerts import Alert, AlertKey, Message
from attribution.anomalies import Monitor
from attribution.anomaly_tracking import Change as AnomalyChange
from attribution.anomaly_tracking import Feedback, TrackedAnomaly
from attribution.budgets import Budget
from attribution.calibration import Calibration, Pricing
from attribution.charges import AllocatedCharge, OriginCharge
from attribution.coverage import Coverage, Place
from attribution.days import DayPointer, DayVersion, Sum
from attribution.deliveries import DeliveryRecord, IngestedReport, Manifest, PinnedFile, ReportKind
from attribution.digests import Digest, DigestFault, DigestKey
from attribution.directory import Described, DirectoryEntry
from attribution.errors import InputRejected
from attribution.meters import Tier, TokenKind
from attribution.periods import BillingPeriod
from attribution.prices import OfferReading, Price, PriceList, PublishedOffer
from attribution.routes import Route, Traffic, Viewer
from attribution.rules import Rules
from attribution.tag_history import Attributes, History, Identity
from attribution.usage import Counters, Invocation, InvocationKey, Metered, Observed, Pairs, Usage, UsageKey


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in S3 as an event names it."""

    bucket: str
    key: str
    etag: str = ""
    version_id: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Recorded(Protocol):
    """What a conditional write of half an invocation did."""

    @property
    def is_new(self) -> bool: ...
    @property
    def conflicts(self) -> bool: ...
    @property
    def replaces(self) -> bool: ...
    @property
    def awaits_session(self) -> bool: ...


# Neither frozen nor slotted, like `Metered`: one is made of every logged request.
@dataclass
class MeteredRecord:
    """One readable record of an invocation log: its model as the caller named it, its units not priced yet.

    `guardrail_units` are by AWS's name of their counter, `flags` as in `Metered`.
    """

    key: InvocationKey
    timestamp: datetime
    model_id: str
    operation: str
    tier: Tier
    iam_principal: str
    units: Mapping[TokenKind, int]
    request_metadata: Pairs = ()
    error_code: str = ""
    guardrail_units: tuple[tuple[str, int], ...] = ()
    flags: tuple[str, ...] = ()
    log_object: str = ""


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """A Bedrock inference call in CloudTrail, not priced yet."""

    key: InvocationKey
    observed: Observed


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """Temporary credentials that STS issued, with the session tags they carry."""

    access_key_id: str
    session_tags: Pairs
    issued_at: datetime


class Change(StrEnum):
    """What somebody did that changes what is recorded, or uses models without a call that is recorded."""

    LOGGING_CHANGED = "invocation logging changed"
    LOGGING_DELETED = "invocation logging deleted"
    INFERENCE_PROFILES = "inference profiles or tags changed"
    PROJECTS = "projects or their tags changed"
    PRINCIPALS = "roles, users or their tags changed"
    ACCOUNTS = "accounts, their tags or their place changed"
    BATCH_JOB = "batch inference job created"


@dataclass(frozen=True, slots=True)
class ObservedChange:
    """A successful control-plane call in CloudTrail that an operator is told of.

    `resource` is an ARN or an account id, empty where the record names none.
    """

    change: Change
    event_name: str
    account_id: str
    region: str
    resource: str
    event_id: str
    made_at: datetime


TrailEvent = ObservedCall | IssuedSession | ObservedChange


class TrailFiles(Protocol):
    """Reads CloudTrail's log files. None stands for a record that says nothing about who used a model."""

    def read(self, source: StoredObject) -> Iterator[TrailEvent | InputRejected | None]: ...


class MeteredHalf(NamedTuple):
    """A metered half and the request it belongs to."""

    key: InvocationKey
    metered: Metered


class ObservedHalf(NamedTuple):
    """An observed half and the request it belongs to."""

    key: InvocationKey
    observed: Observed


class SessionLink(NamedTuple):
    """A call that was recorded without the session tags of the credentials it was made with."""

    key: InvocationKey
    access_key_id: str
    session_tags: Pairs


class Invocations(Protocol):
    """One item per inference request.

    Halves are written at once, each on its own: the answers are in the order of the halves, and an error stands for a half
    that could not be written.
    """

    def record_metered(self, halves: Sequence[MeteredHalf]) -> Sequence[Recorded | Exception]: ...
    def record_observed(self, halves: Sequence[ObservedHalf]) -> Sequence[Recorded | Exception]: ...
    def apply_session_tags(self, links: Sequence[SessionLink]) -> Sequence[bool]: ...
    def get(self, key: InvocationKey) -> Invocation | None: ...


class Sessions(Protocol):
    """The session tags of issued credentials, and the calls that were recorded before these were known.

    What one method writes, every other sees at once.
    """

    def remember(self, sessions: Iterable[IssuedSession]) -> None: ...
    def tags(self, access_key_ids: Iterable[str]) -> Mapping[str, Pairs]: ...
    def await_session(self, calls: Mapping[str, Sequence[InvocationKey]]) -> None: ...
    def awaiting(self, access_key_ids: Iterable[str]) -> Mapping[str, Sequence[InvocationKey]]: ...


class UsageCounters(Protocol):
    """The usage part of the ledger: counters by day and the checkpoint that moves with them."""

    def checkpoint(self, stream: str, shard: str) -> str: ...
    def apply(self, stream: str, shard: str, *, after: str, through: str, differences: Mapping[UsageKey, Counters]) -> None: ...
    def usage_of(self, usage_date: date) -> Sequence[Usage]: ...


class CostReports(Protocol):
    """Cost report deliveries in the customer's bucket."""

    @property
    def reader(self) -> str:
        """A name of the code and the selection that read reports; it changes when either does."""

    def manifest(self, source: StoredObject) -> Manifest: ...
    def pin(self, manifest: Manifest) -> tuple[PinnedFile, ...]: ...
    def is_read(self, manifest: Manifest, file: PinnedFile) -> bool: ...
    def read_file(self, kind: ReportKind, period: BillingPeriod, file: PinnedFile) -> bool: ...
    def ingest(self, manifest: Manifest, files: Sequence[PinnedFile], stored: Container[str]) -> IngestedReport: ...


@dataclass(frozen=True, slots=True)
class ListedManifest:
    """The manifest of a billing period as a listing of the customer's bucket shows it."""

    source: StoredObject
    period: BillingPeriod
    written_at: datetime
    size: int


class ReportListing(Protocol):
    """The manifests that lie in the customer's bucket now."""

    def manifests(self) -> Iterator[ListedManifest]: ...


class DeliveryQueue(Protocol):
    """Announces a manifest as S3 does when one is written."""

    def announce(self, manifest: ListedManifest) -> None: ...


class AnnouncedManifests(Protocol):
    """Manifests that were announced and may still wait in the queue."""

    def is_waiting(self, manifest: ListedManifest, now: datetime) -> bool: ...
    def remember(self, manifest: ListedManifest, *, until: datetime) -> None: ...
    def watched_since(self, now: datetime) -> datetime: ...


class FanOut(Protocol):
    """Reads data files at once, each by a function of its own. When all are read, the manifest's event comes again."""

    def start(self, manifest: Manifest, files: Sequence[PinnedFile], *, attempt: str) -> str: ...


class OriginCharges(Protocol):
    """Origin charges of one day under their content hash."""

    def read(self, usage_date: date, origin: str) -> Sequence[OriginCharge]: ...


class Deliveries(Protocol):
    """The permanent records of deliveries."""

    def of_period(self, period: BillingPeriod) -> Sequence[DeliveryRecord]: ...
    def record(self, record: DeliveryRecord) -> None: ...
    def mark_staged(self, record: DeliveryRecord, usage_date: date, version: str) -> DeliveryRecord: ...
    def forget_staged(self, record: DeliveryRecord, usage_date: date) -> None: ...
    def supersede(self, record: DeliveryRecord, by: str) -> None: ...


class ReadDays(Protocol):
    """Ledger days, for those who only read them: pointers, charges and sums of versions."""

    def pointers(self, period: BillingPeriod) -> Mapping[date, DayPointer]: ...
    def charges(self, usage_date: date, version: str) -> Iterator[AllocatedCharge]: ...
    def sums(self, pointers: Sequence[DayPointer], dimension: str) -> Mapping[date, Mapping[tuple[str, str], Sum]]: ...


class ReportedDays(ReadDays, Protocol):
    """Ledger days as reports read them: as they are now, or as they were at a moment."""

    def pointers_as_of(self, period: BillingPeriod, moment: datetime) -> Mapping[date, DayPointer]: ...
    def expired(self, pointers: Sequence[DayPointer]) -> Sequence[DayPointer]: ...
    def coverage(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[Place, Coverage]]: ...
    def adjustments(self, period: BillingPeriod) -> Sequence[Adjustment]: ...


class LedgerDays(ReadDays, Protocol):
    """Ledger days: versions and pointers."""

    def stage(self, day: DayVersion, sequence: str) -> DayPointer: ...
    def staged(self, usage_date: date, version: str) -> DayPointer: ...
    def flip(
        self,
        pointers: Sequence[DayPointer],
        *,
        replacing: Mapping[date, DayPointer],
        publishing: DeliveryRecord | None = None,
        adjustment: Adjustment | None = None,
    ) -> None: ...
    def retire(self, usage_date: date) -> None: ...
    def discard(self, usage_date: date, version: str, sequence: str) -> None: ...


class BudgetSums(Protocol):
    """What budgets count of versions of days, by the digest of their scopes. Versions never change, nor do their sums."""

    def read(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[str, Decimal]]: ...
    def keep(self, pointer: DayPointer, sums: Mapping[str, Decimal]) -> None: ...


class Anomalies(Protocol):
    """Anomalies that were found, and what people say of them. A write that loses against another one answers False."""

    def since(self, first_day: date) -> Sequence[TrackedAnomaly]: ...
    def put(self, anomaly: TrackedAnomaly, *, replacing: TrackedAnomaly | None) -> bool: ...
    def feedback(self) -> Sequence[Feedback]: ...
    def judge(self, feedback: Feedback) -> None: ...


class AnomalyNews(Protocol):
    """Tells of an anomaly; it may be told twice where an attempt ended before it was remembered."""

    def tell(self, change: AnomalyChange, anomaly: TrackedAnomaly) -> None: ...


class Prices(Protocol):
    """Known prices."""

    def load(self, models: Iterable[str]) -> PriceList: ...


class EstimatePrices(Protocol):
    """What is known now about the price of models in Regions: prices in force, and factors that calibrate them."""

    def pricing(self, places: Iterable[tuple[str, str]]) -> Pricing: ...


class PriceOffers(Protocol):
    """The offers of a price list. Reading one that does not answer raises `PriceListUnavailable`."""

    @property
    def codes(self) -> Sequence[str]: ...
    def read(self, code: str) -> PublishedOffer: ...


class PriceStore(Protocol):
    """The list prices that the ledger keeps, and when each offer was last read."""

    def store(self, prices: Iterable[Price]) -> int: ...
    def record_reading(self, reading: OfferReading) -> None: ...
    def readings(self) -> Sequence[OfferReading]: ...


class Directory(Protocol):
    """What is known of ARNs that do not name their model."""

    def find(self, arns: Iterable[str]) -> Mapping[str, DirectoryEntry]: ...
    def of_kind(self, kind: str) -> Sequence[DirectoryEntry]: ...
    def put(self, entry: DirectoryEntry) -> None: ...


class DirectoryOfDays(Protocol):
    """What the directory knows of things by the ids of their `Identity`, and of ARNs that do not name their model.

    `attributes_on` has an entry for every id that was ever looked up, an empty one for what could not be read.
    """

    def find(self, arns: Iterable[str]) -> Mapping[str, DirectoryEntry]: ...
    def attributes_on(self, ids: Iterable[str], usage_date: date) -> Mapping[str, Attributes]: ...


class Histories(Protocol):
    """The dated attributes of things. `record` raises `LedgerConflict` where somebody else wrote since `before` was read."""

    def history(self, id: str) -> History | None: ...
    def record(self, before: History | None, after: History) -> None: ...
    def known_ids(self) -> Iterator[str]: ...


class ReadAttributes(Protocol):
    """What AWS says now of a role, a user, a project or an account: None for what does not exist.

    What may not be read raises `PermissionError` with the reason.
    """

    def read(self, identity: Identity) -> Attributes | None: ...


class DirectoryRequests(Protocol):
    """Asks for directory entries to be brought up to date."""

    def entries(self, ids: Sequence[str], *, changed_at: datetime | None = None, event: str = "") -> None: ...


class BedrockModels(Protocol):
    """Bedrock's own answers about ARNs, and whether this account's calls in a Region are logged.

    `describe` answers None for what does not exist. Both raise `PermissionError` for what this account may not see.
    """

    @property
    def region(self) -> str: ...
    def inference_profiles(self) -> Iterator[Described]: ...
    def describe(self, arn: str) -> Described | None: ...
    def is_logging(self, region: str) -> bool: ...


@dataclass(frozen=True, slots=True, order=True)
class UnpricedUsage:
    """Requests of one usage day that were recorded without a price of everything they used, under one model key."""

    usage_date: date
    model: str


class UnpricedInvocations(Protocol):
    """Recorded requests that await a price."""

    def unpriced(self, usage: UnpricedUsage, *, after: str, limit: int) -> Sequence[InvocationKey]: ...
    def get(self, key: InvocationKey) -> Invocation | None: ...
    def replace_metered(self, key: InvocationKey, before: Metered, after: Metered) -> bool: ...
    def replace_observed(self, key: InvocationKey, before: Observed, after: Observed) -> bool: ...
    def forget_unpriced(self, invocation: Invocation, usage: UnpricedUsage) -> None: ...


class RepriceQueue(Protocol):
    """Asks for recorded requests to be priced. `after` is the last request that was looked at."""

    def reprice(self, usage: UnpricedUsage, *, after: str = "") -> None: ...


class CalibrationStore(Protocol):
    """Factors learned from the bill."""

    def all_calibrations(self) -> Sequence[Calibration]: ...
    def replace_calibrations(self, before: Sequence[Calibration], after: Sequence[Calibration]) -> None: ...


class DayRequests(Protocol):
    """Asks for days to be allocated again."""

    def requested(self, days: Iterable[date]) -> None: ...


class Policy(Protocol):
    """What people configure: budgets, and the rules by which the charges of a day are allocated.

    `versions` are those that are kept, with their rules of a day: the one in force first.
    """

    def rules(self, on: date) -> Rules: ...
    def versions(self, on: date) -> Iterator[tuple[str, Rules]]: ...
    def budgets(self) -> Sequence[Budget]: ...
    def monitors(self) -> Sequence[Monitor]: ...


class CategoryNames(Protocol):
    """The names of the cost categories in force, in the order of the policy."""

    def category_names(self) -> Sequence[str]: ...


class RuleHistory(Protocol):
    """Rules that are or were in force, by their fingerprint; None where none of them are kept."""

    def rules_of(self, fingerprint: str, on: date) -> Rules | None: ...


class Quarantine(Protocol):
    """Where broken input is kept for an operator: its source, line and reason, never its content."""

    def put(self, rejected: InputRejected) -> None: ...


class AllocationQueue(Protocol):
    """Asks for a day to be allocated."""

    def usage_changed(self, days: Iterable[date]) -> None: ...
    def delivery_ingested(self, record: DeliveryRecord, days: Iterable[date]) -> None: ...


class Announcements(Protocol):
    """Says that ledger days changed."""

    def days_changed(self, period: BillingPeriod, days: Sequence[date]) -> None: ...


class Alerts(Protocol):
    """Alert states. A write that loses against another one answers None, else what was written."""

    def get(self, key: AlertKey) -> Alert | None: ...
    def get_many(self, keys: Iterable[AlertKey]) -> Mapping[AlertKey, Alert]: ...
    def put(self, alert: Alert, *, replacing: Alert | None) -> Alert | None: ...


class Outbox(Alerts, Protocol):
    """What people are still to be told, and the traffic of the channels."""

    def find(self, key: AlertKey | DigestKey) -> Alert | Digest | None: ...
    def digest(self, key: DigestKey) -> Digest | None: ...
    def replace(self, notice: Alert | Digest, *, replacing: Alert | Digest) -> Alert | Digest | None: ...
    def add_digest(self, digest: Digest) -> bool: ...
    def faults(self, route: str) -> Sequence[DigestFault]: ...
    def put_fault(self, fault: DigestFault) -> None: ...
    def forget_fault(self, key: DigestKey) -> None: ...
    def collect(self, alert: Alert, digest: Digest, *, replacing: Alert, extending: Digest | None) -> bool: ...
    def traffic(self, channel: str) -> Traffic | None: ...
    def put_traffic(self, channel: str, traffic: Traffic, *, replacing: Traffic | None) -> bool: ...
    def due(self, now: datetime) -> Sequence[AlertKey | DigestKey]: ...
    def open(self) -> Sequence[AlertKey | DigestKey]: ...


class AlertRetries(Protocol):
    """Asks for a delivery to be tried again later, by no more than 900 seconds."""

    def retry(self, key: AlertKey | DigestKey, *, after_seconds: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Posted:
    """What a channel answered. `retry_after_seconds` is set where it asked for time; `is_ambiguous` where nobody knows.

    `is_limited`: the whole channel asked for time. `is_gone`: the message to be changed is not there any more. `message` is
    where a message that can be changed lies, `found_news` the news of one that was looked for. `cannot_ask`: nothing was sent,
    because nobody can tell whether the message arrived before.
    """

    is_sent: bool
    is_ambiguous: bool = False
    retry_after_seconds: int | None = None
    is_limited: bool = False
    is_gone: bool = False
    message: Message | None = None
    found_news: int = 0
    cannot_ask: bool = False
    error: str = ""


class Channel(Protocol):
    """Tells people.

    `find` looks for the message of the news in doubt, in the thread of `message` if that is given: it is sent, or it is not
    there; None where the channel cannot be asked.
    """

    @property
    def updates(self) -> bool: ...
    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted: ...
    def update(self, alert: Alert, message: Message) -> Posted: ...
    def reply(self, alert: Alert, message: Message, *, is_repeat: bool) -> Posted: ...
    def find(self, notice: Alert | Digest, message: Message | None) -> Posted | None: ...


class Channels(Protocol):
    """The channel behind a route, and the second route, which tells what a channel did not take."""

    def of(self, route: Route) -> Channel: ...
    def second(self) -> Channel: ...


class Routes(Protocol):
    """Where alerts are told, and who may see what."""

    def routes(self) -> Sequence[Route]: ...
    def viewers(self) -> Sequence[Viewer]: ...


class Clock(Protocol):
    """The time, aware and in UTC."""

    def __call__(self) -> datetime: ...
