"""Bring up to date what the ledger knows of prices, models and owners: the price list, the models behind ARNs and their tags,
tags of roles, users, projects and accounts, what the bill paid; and look where calls are logged.

What cannot be read leaves what was known before in force. Whatever was recorded without a price and has one now is asked to be
priced, found through the usage counters: also what an attempt that ended early left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from attribution.calibration import LOOK_BACK_DAYS, Observation, Place, calibrate, observe
from attribution.charges import OriginCharge
from attribution.days import DayPointer
from attribution.directory import INFERENCE_PROFILE, entry_of, gone, is_opaque, kind_of, region_of_arn, resolved_key
from attribution.errors import InputRejected, PriceListUnavailable
from attribution.meters import TOKEN_KINDS, Tier, TokenKind
from attribution.periods import BillingPeriod
from attribution.ports import (
    BedrockModels,
    CalibrationStore,
    DayRequests,
    Directory,
    DirectoryRequests,
    EstimatePrices,
    Histories,
    LedgerDays,
    OriginCharges,
    PriceOffers,
    PriceStore,
    Quarantine,
    ReadAttributes,
    RepriceQueue,
    UnpricedUsage,
    UsageCounters,
)
from attribution.prices import OfferReading, Price, PriceList, PriceOrigin, contradictions, price_units
from attribution.tag_history import ACCOUNT, PRINCIPALS, PROJECT, Attributes, History, first_day_changed, identity_of
from attribution.usage import Usage, UsageKey

LOGGING_LOOK_BACK_DAYS = 7
# AWS Organizations answers a few questions a second, and needs about five for an account.
ENTRIES_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class SyncedPrices:
    """What reading the price list brought. `unavailable` says why an offer could not be read; `age` is that of the oldest."""

    stored: int
    contradicting: tuple[Price, ...]
    unavailable: tuple[str, ...]
    rejected: int
    age: timedelta | None


def sync_prices(*, offers: PriceOffers, store: PriceStore, quarantine: Quarantine, now: datetime) -> SyncedPrices:
    """Read every offer and keep what changed. An offer that cannot be read leaves its prices as they are."""
    prices: list[Price] = []
    readings: list[OfferReading] = []
    unavailable: list[str] = []
    rejected = 0
    for code in offers.codes:
        try:
            offer = offers.read(code)
            if not offer.prices:
                raise InputRejected(f"offer {code}", "no price can be read of it: known prices stay in force")
        except PriceListUnavailable as error:
            unavailable.append(str(error))
            continue
        except InputRejected as error:
            quarantine.put(error)
            rejected += 1
            continue
        prices += offer.prices
        readings.append(OfferReading(code, now, offer.published_on, len(offer.prices), len(offer.left_out)))
    agreed, contradicting = contradictions(prices)
    stored = store.store(agreed)
    for reading in readings:
        store.record_reading(reading)
    age = price_list_age(store.readings(), offers.codes, now)
    return SyncedPrices(stored, tuple(contradicting), tuple(unavailable), rejected, age)


def price_list_age(readings: Iterable[OfferReading], codes: Sequence[str], now: datetime) -> timedelta | None:
    """How long ago the offer that was read least lately was read; None where one never was."""
    read_at = {reading.code: reading.read_at for reading in readings}
    return now - min(read_at[code] for code in codes) if all(code in read_at for code in codes) else None


@dataclass(frozen=True, slots=True)
class SyncedEntries:
    """What asking AWS brought: things that exist, those among them that have other attributes than before, and those that are
    gone.

    `unexplained` are ARNs in usage whose model nobody could tell, `unreadable` says why things could not be read. `days` are
    asked to be allocated again.
    """

    seen: int = 0
    changed: int = 0
    gone: int = 0
    unexplained: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    days: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectorySync:
    """What bringing entries up to date needs. `account_id` is the account whose roles, users and resources can be read."""

    models: BedrockModels
    directory: Directory
    attributes: ReadAttributes
    histories: Histories
    days: LedgerDays
    queue: DayRequests
    account_id: str
    since: date
    moment: datetime

    def profiles(self, named: Iterable[str]) -> SyncedEntries:
        """Bring every inference profile up to date, and explain the ARNs in usage (`named`) that are not in the directory."""
        known = {entry.arn: entry for entry in self.directory.of_kind(INFERENCE_PROFILE)}
        listed: list[_Reading] = []
        for described in self.models.inference_profiles():
            self.directory.put(entry_of(described, known.get(described.arn), self.moment))
            listed.append(_Reading(described.arn, Attributes(described.tags, described.name)))
        seen = {reading.id for reading in listed}
        # A listing may lag behind; what it lacks is asked for by name before it counts as gone.
        here = [e.arn for e in known.values() if not e.deleted_at and region_of_arn(e.arn) == self.models.region]
        wanted = {*named}
        rest = {arn for arn in here if arn not in seen} | (wanted - self.directory.find(wanted).keys())
        return self._record([*listed, *(self._read(arn) for arn in sorted(rest))])

    def entries(self, ids: Iterable[str], *, changed_at: datetime | None = None, event: str = "") -> SyncedEntries:
        """Bring these entries up to date. `changed_at` is when CloudTrail saw an `event` that changed them.

        A role, a user or an account that an event names and nothing else does is left out: no usage was seen of it.
        """
        readings = []
        for id in ids:
            identity = identity_of(id)
            is_asked_for = event == "" or (identity is not None and identity.kind not in (*PRINCIPALS, ACCOUNT))
            if is_asked_for or self.histories.history(id) is not None:
                readings.append(self._read(id))
        return self._record(readings, changed_at=changed_at, event=event)

    def _read(self, id: str) -> _Reading:
        """What AWS says of a thing now; for what leads to a model, the directory's entry is brought up to date, too."""
        identity = identity_of(id)
        try:
            if identity is None:
                raise PermissionError("it is nothing that the directory can look up")
            if identity.kind != ACCOUNT and identity.account_id != self.account_id:
                raise PermissionError(f"it belongs to account {identity.account_id}, and this stack reads its own")
            if identity.kind in (*PRINCIPALS, PROJECT, ACCOUNT):
                return _Reading(id, self.attributes.read(identity))
            return self._read_model(id)
        except PermissionError as error:
            return _Reading(id, None, refused=str(error), is_unexplained=kind_of(id) != "")

    def _read_model(self, arn: str) -> _Reading:
        described = self.models.describe(arn)
        before = self.directory.find([arn]).get(arn)
        if described is None:
            if before is not None:
                self.directory.put(gone(before, self.moment))
            return _Reading(arn, None, is_unexplained=before is None)
        entry = entry_of(described, before, self.moment)
        self.directory.put(entry)
        return _Reading(arn, Attributes(described.tags, described.name), is_unexplained=not entry.model)

    def _record(self, readings: Sequence[_Reading], *, changed_at: datetime | None = None, event: str = "") -> SyncedEntries:
        histories = [(reading, self.histories.history(reading.id)) for reading in readings]
        updates = [(before, self._after(reading, before, changed_at, event)) for reading, before in histories]
        first_days = [first_day_changed(before or History(after.id), after) for before, after in updates]
        changed = [day for day in first_days if day is not None]
        days = tuple(p.usage_date for p in _pointers(self.days, max(self.since, min(changed)), self.moment)) if changed else ()
        # Also before anything is recorded: an attempt that ends in between finds nothing changed when it comes again. Both
        # requests are one message, unless the recording takes long.
        self.queue.requested(days)
        for before, after in updates:
            self.histories.record(before, after)
        self.queue.requested(days)
        return SyncedEntries(
            seen=sum(reading.attributes is not None for reading in readings),
            changed=len(changed),
            gone=sum(after.deleted_at is not None and not (before and before.deleted_at) for before, after in updates),
            unexplained=tuple(reading.id for reading in readings if reading.is_unexplained),
            unreadable={reading.id: reading.refused for reading in readings if reading.refused},
            days=days,
        )

    def _after(self, reading: _Reading, before: History | None, changed_at: datetime | None, event: str) -> History:
        history = before or History(reading.id)
        if reading.refused:
            return history.refused(reading.refused)
        if reading.attributes is None:
            return history.gone(changed_at or self.moment)
        return history.seen(reading.attributes, self.moment, changed_at=changed_at, event=event)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What became of looking one thing up: its attributes, None where it does not exist, or why it may not be read."""

    id: str
    attributes: Attributes | None
    refused: str = ""
    is_unexplained: bool = False


def opaque_models(*, days: LedgerDays, counters: UsageCounters, since: date, now: datetime) -> set[str]:
    """The ARNs in usage without a price that did not say which model they stand for."""
    return {u.key.model for u in _unpriced_usage(days, counters, since, now) if is_opaque(u.key.model)}


def request_all_entries(*, histories: Histories, requests: DirectoryRequests) -> int:
    """Ask for everything that is known to be brought up to date, in parts that are read within one message; how many parts."""
    ids = list(histories.known_ids())
    parts = [ids[start : start + ENTRIES_AT_ONCE] for start in range(0, len(ids), ENTRIES_AT_ONCE)]
    for part in parts:
        requests.entries(part)
    return len(parts)


def request_pricing(
    *,
    days: LedgerDays,
    counters: UsageCounters,
    prices: EstimatePrices,
    directory: Directory,
    queue: RepriceQueue,
    since: date,
    now: datetime,
) -> tuple[UnpricedUsage, ...]:
    """Ask for the pricing of every day and model that has unpriced usage with a price by now."""
    waiting = list(_unpriced_usage(days, counters, since, now))
    entries = directory.find({u.key.model for u in waiting if is_opaque(u.key.model)})
    keys = [resolved_key(u.key, entries) for u in waiting]
    listed = prices.pricing((key.model, key.region) for key in keys).prices
    due = {
        UnpricedUsage(usage.key.usage_date, usage.key.model)
        for usage, key in zip(waiting, keys, strict=True)
        if key != usage.key or _has_price(usage, key, listed)
    }
    asked = tuple(sorted(due))
    for unpriced in asked:
        queue.reprice(unpriced)
    return asked


def _has_price(usage: Usage, key: UsageKey, prices: PriceList) -> bool:
    units = {kind: count for kind, count in usage.counters.unpriced.items() if count}
    priced, _ = price_units(units, prices, region=key.region, on=key.usage_date, meter_of=key.meter(TokenKind.INPUT))
    return any(kind.cost is not None for kind in priced.values())


def _unpriced_usage(days: LedgerDays, counters: UsageCounters, since: date, now: datetime) -> Iterator[Usage]:
    """The counters of a ledger's days from `since` on that hold units without a price."""
    for pointer in _pointers(days, since, now):
        yield from (u for u in counters.usage_of(pointer.usage_date) if any(u.counters.unpriced.values()))


@dataclass(frozen=True, slots=True)
class CalibratedEstimates:
    """What recent bills say of list prices: how many factors are in use, and how many are not for lack of evidence."""

    billed_days: int
    used: int
    not_used: int
    days_to_estimate: tuple[date, ...]


def calibrate_estimates(
    *,
    days: LedgerDays,
    origin_charges: OriginCharges,
    prices: EstimatePrices,
    store: CalibrationStore,
    queue: DayRequests,
    now: datetime,
) -> CalibratedEstimates:
    """Learn from the latest billed days what list prices become on this customer's bill, and have estimates use it."""
    pointers = list(_pointers(days, now.date() - timedelta(days=LOOK_BACK_DAYS), now))
    billed = [p for p in pointers if p.is_billed and p.made_from.get("origin")]
    observed: dict[date, dict[Place, Observation]] = {}
    for pointer in billed:
        observed[pointer.usage_date] = observe(origin_charges.read(pointer.usage_date, pointer.made_from["origin"]))
    places = {(meter.model, region) for of_day in observed.values() for meter, region in of_day}
    after = calibrate(observed, prices.pricing(places).prices.of(PriceOrigin.LIST))
    store.replace_calibrations(store.all_calibrations(), after)
    # Asked for every time: an attempt that replaced factors may have ended before it could ask. Equal estimates write nothing.
    estimated = tuple(p.usage_date for p in pointers if not p.is_billed)
    queue.requested(estimated)
    used = sum(c.is_used for c in after)
    return CalibratedEstimates(len(billed), used, len(after) - used, estimated)


@dataclass(frozen=True, slots=True)
class LoggingState:
    """In which Regions the account's calls are logged, and in which not; `unreadable` says why that cannot be seen."""

    on: tuple[str, ...]
    off: tuple[str, ...]
    unreadable: Mapping[str, str]


def look_at_logging(
    *,
    days: LedgerDays,
    counters: UsageCounters,
    origin_charges: OriginCharges,
    models: BedrockModels,
    account_id: str,
    now: datetime,
) -> LoggingState:
    """Ask every Region in which the account used tokens in the last days whether model invocation logging is on.

    Usage that nobody logged is known from CloudTrail or, at the latest, from the bill. A Region without usage is not asked.
    """
    regions: set[str] = set()
    for pointer in _pointers(days, now.date() - timedelta(days=LOGGING_LOOK_BACK_DAYS), now):
        regions |= {u.key.region for u in counters.usage_of(pointer.usage_date) if u.key.account_id == account_id}
        if pointer.is_billed and pointer.made_from.get("origin"):
            charges = origin_charges.read(pointer.usage_date, pointer.made_from["origin"])
            regions |= {c.region for c in charges if c.account_id == account_id and _is_loggable(c)}
    states: dict[str, bool] = {}
    unreadable: dict[str, str] = {}
    for region in sorted(filter(None, regions)):
        try:
            states[region] = models.is_logging(region)
        except PermissionError as error:
            unreadable[region] = str(error)
    on, off = (tuple(region for region, is_on in states.items() if is_on is wanted) for wanted in (True, False))
    return LoggingState(on, off, unreadable)


def _is_loggable(charge: OriginCharge) -> bool:
    """Whether a log could have told of it: no log covers batch jobs and the mantle endpoint."""
    meter = charge.meter
    is_covered = meter.tier not in (Tier.BATCH, Tier.LONG_CONTEXT_BATCH) and "mantle" not in charge.usage_type.lower()
    return meter.token_kind in TOKEN_KINDS and is_covered


def _pointers(days: LedgerDays, since: date, now: datetime) -> Iterator[DayPointer]:
    """The ledger's days from `since` up to now, in order."""
    period = BillingPeriod.of(since)
    while period.first_day <= now.date():
        yield from (p for day, p in sorted(days.pointers(period).items()) if day >= since)
        period = BillingPeriod.of(period.last_day + timedelta(days=1))
