"""Bring up to date what the ledger knows of prices and models: the price list, the models behind ARNs, what the bill paid.

What cannot be read leaves what was known before in force. Whatever was recorded without a price and has one now is asked to be
priced, found through the usage counters: also what an attempt that ended early left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from attribution.calibration import LOOK_BACK_DAYS, Observation, Place, calibrate, observe
from attribution.days import DayPointer
from attribution.directory import INFERENCE_PROFILE, DirectoryEntry, entry_of, gone, is_opaque, region_of_arn, resolved_key
from attribution.errors import InputRejected, PriceListUnavailable
from attribution.meters import TokenKind
from attribution.periods import BillingPeriod
from attribution.ports import (
    BedrockModels,
    CalibrationStore,
    DayRequests,
    Directory,
    EstimatePrices,
    LedgerDays,
    OriginCharges,
    PriceOffers,
    PriceStore,
    Quarantine,
    RepriceQueue,
    UnpricedUsage,
    UsageCounters,
)
from attribution.prices import OfferReading, Price, PriceList, PriceOrigin, contradictions, price_units
from attribution.usage import Usage, UsageKey


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
class SyncedModels:
    """What asking Bedrock brought: things that exist, that are gone, and ARNs in usage that nobody could explain."""

    seen: int
    gone: int
    unexplained: tuple[str, ...] = ()


def sync_models(
    *, models: BedrockModels, directory: Directory, days: LedgerDays, counters: UsageCounters, since: date, now: datetime
) -> SyncedModels:
    """Bring the directory of inference profiles up to date, and explain the ARNs in usage that are not in it."""
    known = {entry.arn: entry for entry in directory.of_kind(INFERENCE_PROFILE)}
    seen = set()
    for described in models.inference_profiles():
        directory.put(entry_of(described, known.get(described.arn), now))
        seen.add(described.arn)
    missing = [e for e in known.values() if e.arn not in seen and not e.deleted_at and region_of_arn(e.arn) == models.region]
    # A listing may lag behind; what it lacks is asked for by name before it counts as gone.
    outcomes = [sync_model(entry.arn, models=models, directory=directory, now=now) for entry in missing]
    named = {u.key.model for u in _unpriced_usage(days, counters, since, now) if is_opaque(u.key.model)}
    unknown = sorted(named - directory.find(named).keys())
    outcomes += [sync_model(arn, models=models, directory=directory, now=now) for arn in unknown]
    return SyncedModels(
        seen=len(seen) + sum(outcome.seen for outcome in outcomes),
        gone=sum(outcome.gone for outcome in outcomes),
        unexplained=tuple(arn for outcome in outcomes for arn in outcome.unexplained),
    )


def sync_model(arn: str, *, models: BedrockModels, directory: Directory, now: datetime) -> SyncedModels:
    """Bring the entry of one ARN up to date; what does not exist any more keeps what it stood for."""
    before: DirectoryEntry | None = directory.find([arn]).get(arn)
    try:
        described = models.describe(arn)
    except PermissionError:
        # Another account's, or a permission that is missing: nothing is known of it now.
        return SyncedModels(0, 0, (arn,))
    if described is not None:
        entry = entry_of(described, before, now)
        directory.put(entry)
        return SyncedModels(1, 0, () if entry.model else (arn,))
    if before is None:
        return SyncedModels(0, 0, (arn,))
    directory.put(gone(before, now))
    return SyncedModels(0, 1)


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


def _pointers(days: LedgerDays, since: date, now: datetime) -> Iterator[DayPointer]:
    """The ledger's days from `since` up to now, in order."""
    period = BillingPeriod.of(since)
    while period.first_day <= now.date():
        yield from (p for day, p in sorted(days.pointers(period).items()) if day >= since)
        period = BillingPeriod.of(period.last_day + timedelta(days=1))
