"""Allocate one usage day: the only writer of ledger days.

A day is made from the newest delivery that bills it and from the usage counters, or from usage alone while no bill has reached
it. A day of a delivery that is not visible yet is staged; the one that completes the delivery flips the pointers of all its
days in one transaction.

A billed day of a closed month keeps its owners, whatever asks for it: late usage, tags, other rules. A new bill of it is
allocated by the rules that it has; other rules have to be asked for by name. Both leave an adjustment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from attribution.adjustments import (
    Adjustment,
    adjust,
    candidates,
    dimensions_of,
    is_frozen,
    is_settling,
    undefined,
)
from attribution.allocation import allocate_day, estimate_day, totals_by_currency
from attribution.charges import AllocatedCharge, Basis, OriginCharge
from attribution.coverage import Counted, Coverage, add_up, share
from attribution.day_directory import DayDirectory, directory_of_day, ids_named
from attribution.days import UNALLOCATED, DayPointer, DayVersion, Sum, make_day_version, usage_fingerprint
from attribution.deliveries import DayOfDelivery, DeliveryOutcome, DeliveryRecord, newest
from attribution.directory import resolved_usage
from attribution.errors import ConservationViolated, InputRejected, LedgerConflict
from attribution.money import add, subtract
from attribution.periods import BillingPeriod
from attribution.policy_plans import marked, with_mark
from attribution.ports import (
    Announcements,
    Deliveries,
    DirectoryOfDays,
    DirectoryRequests,
    EstimatePrices,
    LedgerDays,
    OriginCharges,
    Policy,
    UsageCounters,
)
from attribution.rules import Rules
from attribution.usage import Usage

RECENT_DAYS = 7
"""The billed days whose capture rate is watched: a week, because weekends are not like other days."""


@dataclass(frozen=True, slots=True)
class AllocatedDay:
    """What happened to a day. `flipped` are the days that readers now see in another version; `adjustment` is what that
    changed in a month that was closed, and `is_kept` says that the day was left as it is because its month is closed.
    `coverage`, by currency, is that of a version that was written.
    """

    version: str
    basis: Basis
    flipped: tuple[date, ...]
    adjustment: Adjustment | None = None
    coverage: Mapping[str, Coverage] = field(default_factory=dict)
    first_category: str = ""
    is_kept: bool = False


def allocate_charges(
    usage_date: date,
    *,
    origin_charges: OriginCharges,
    deliveries: Deliveries,
    days: LedgerDays,
    counters: UsageCounters,
    policy: Policy,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
    directory_requests: DirectoryRequests,
    announcements: Announcements,
    now: datetime,
    by_policy: str = "",
) -> AllocatedDay:
    """Make the current version of a day and, where it is a new one, let readers see it.

    `by_policy` is the version of the policy that a day of a closed month is to be allocated by; empty where nobody asked for
    another allocation of it. Of a day that is open the policy in force decides.
    """
    period = BillingPeriod.of(usage_date)
    pointers = days.pointers(period)
    known = deliveries.of_period(period)
    current = pointers.get(usage_date)
    bill = _Bill(usage_date, current, known, *_deliveries(known, period, usage_date, current))
    rules = _rules(bill, days=days, policy=policy, now=now, by_policy=by_policy)

    new: Sequence[DayPointer] = ()
    adjustment = publishing = None
    if isinstance(rules, Rules):
        day = _decide(usage_date, bill.billing, rules, origin_charges, counters, prices, directory, directory_requests)
        new, publishing = _write(day, bill, pointers, deliveries, days)
        adjustment = _adjustment(publishing or bill.billing, bill.seen_at(now), known, pointers, new, days, policy)
    if new:
        days.flip(new, replacing=pointers, publishing=publishing, adjustment=adjustment)
    flipped = tuple(pointer.usage_date for pointer in new)
    # Also what an attempt that ended between its flip and this step left behind.
    for changed in sorted({usage_date, *flipped, *(day for day, pointer in pointers.items() if pointer.superseded)}):
        days.retire(changed)
    _discard_overtaken(usage_date, known, deliveries, days)
    # Said on every delivery of the message, because an attempt that flipped may have ended before it could say so.
    announcements.days_changed(period, flipped or (usage_date,))
    if isinstance(rules, DayPointer):
        return AllocatedDay(rules.version, rules.basis, (), is_kept=True)
    return AllocatedDay(
        version=day.version,
        basis=day.basis,
        flipped=flipped,
        adjustment=adjustment,
        coverage=_by_currency(day) if new or publishing else {},
        first_category=next(iter(rules.names), ""),
    )


class _Bill(NamedTuple):
    """What a day is billed by, and what readers see of it: the delivery that waits to become visible, the one that bills it."""

    usage_date: date
    current: DayPointer | None
    known: Sequence[DeliveryRecord]
    pending: DeliveryRecord | None
    billing: DeliveryRecord | None

    def seen_at(self, now: datetime) -> datetime:
        """The time that decides what is closed: no clock is behind the delivery that it reads."""
        return max(now, self.billing.written_at) if self.billing else now

    @property
    def is_pending(self) -> bool:
        """Whether the delivery that bills the day is not visible yet."""
        return self.pending is not None and self.billing is self.pending

    def is_new_to(self, current: DayPointer) -> bool:
        """Whether the bill is another one than readers see."""
        if self.is_pending or self.billing is None:
            return True
        origin = _day_of(self.billing, self.usage_date).origin
        return (origin, self.billing.basis_of(self.usage_date)) != (current.made_from["origin"], current.basis)


def _rules(bill: _Bill, *, days: LedgerDays, policy: Policy, now: datetime, by_policy: str) -> Rules | DayPointer:
    """The rules that a day is to be allocated by; its pointer where it stays as it is, because its month is closed."""
    on, current, at = bill.usage_date, bill.current, bill.seen_at(now)
    if current is None or not is_frozen(current, at, bill.known):
        return policy.rules(on)
    if by_policy:
        asked = next((rules for version, rules in policy.versions(on) if version == by_policy), None)
        if asked is None:
            reason = f"version {by_policy} of the policy is not kept: run `bedrock-costs replay days --closed` again"
            raise InputRejected(f"request to allocate {on} again", reason)
        return asked
    if not bill.is_new_to(current) and not is_settling(current, at, bill.known):
        return current
    staged = bill.pending.staged.get(on) if bill.pending and bill.is_pending else None
    # A day that was asked for by another policy while its delivery waits keeps that one.
    stands = days.staged(on, staged) if staged else current
    by_fingerprint = ((rules.fingerprint(), rules) for _, rules in policy.versions(on))
    # Of an earlier software, no rules may be the same: those in force are what there is, and the adjustment says so.
    return next((rules for found, rules in by_fingerprint if found == stands.made_from["rules"]), policy.rules(on))


def _write(
    day: DayVersion, bill: _Bill, pointers: Mapping[date, DayPointer], deliveries: Deliveries, days: LedgerDays
) -> tuple[Sequence[DayPointer], DeliveryRecord | None]:
    """Write the version where it is a new one; returns the pointers to flip, and the delivery that they may make visible."""
    if bill.pending is not None and bill.is_pending:
        publishing = _stage(day, bill.pending, deliveries, days)
        return _complete(publishing, pointers, days), publishing
    if bill.current is None or bill.current.version != day.version:
        return [days.stage(day, bill.billing.sequence if bill.billing else "")], None
    return (), None


def recent_capture_rate(*, days: LedgerDays, policy: Policy, today: date) -> Decimal | None:
    """The part of the last billed days' cost that has an owner in the policy's first cost category; None where none is billed.

    Together, so that a day of few cents decides nothing; of several currencies the lowest. Days from before the category was
    defined, which are not summed by it, are left out.
    """
    category = next(iter(policy.rules(today).names), "")
    this_month = BillingPeriod.of(today)
    months = (BillingPeriod.of(this_month.first_day - timedelta(days=1)), this_month)
    pointers = [pointer for month in months for _, pointer in sorted(days.pointers(month).items())]
    recent = [p for p in pointers if p.is_billed and p.is_summed_by(category)][-RECENT_DAYS:]
    whole: dict[str, Decimal] = defaultdict(Decimal)
    unallocated: dict[str, Decimal] = defaultdict(Decimal)
    for sums in days.sums(recent, category).values():
        for (value, currency), of_value in sums.items():
            whole[currency] = add(whole[currency], of_value.costs.billed_cost)
            if value == UNALLOCATED:
                unallocated[currency] = add(unallocated[currency], of_value.costs.billed_cost)
    rates = (share(subtract(amount, unallocated[currency]), amount) for currency, amount in whole.items())
    return min((rate for rate in rates if rate is not None), default=None)


def _decide(
    usage_date: date,
    billing: DeliveryRecord | None,
    rules: Rules,
    origin_charges: OriginCharges,
    counters: UsageCounters,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
    requests: DirectoryRequests,
) -> DayVersion:
    """The version that a day is to have. What it is made from is not kept: of a large day it is most of the memory."""
    allocated = _allocate(usage_date, billing, rules, origin_charges, counters, prices, directory, requests)
    return _version(usage_date, billing, rules, allocated)


def _allocate(
    usage_date: date,
    billing: DeliveryRecord | None,
    rules: Rules,
    origin_charges: OriginCharges,
    counters: UsageCounters,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
    requests: DirectoryRequests,
) -> _Allocated:
    usage = resolved_usage(counters.usage_of(usage_date), directory.find)
    charges = _charges(usage_date, billing, origin_charges) if billing else ()
    added = _look_up(usage_date, usage, charges, rules, directory, requests)
    return _billed(charges, usage, rules, added) if billing else _estimated(usage, rules, prices, added)


def _by_currency(day: DayVersion) -> dict[str, Coverage]:
    """The day's coverage as a whole, of what it cost."""
    costing = ((place, coverage) for place, coverage in day.coverage.items() if coverage.parts)
    return {currency: coverage for (currency,), coverage in add_up(costing, lambda place: (place.currency,)).items()}


def preview(
    usage_date: date,
    rules: Sequence[Rules],
    *,
    origin_charges: OriginCharges,
    deliveries: Deliveries,
    days: LedgerDays,
    counters: UsageCounters,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
) -> list[DayVersion]:
    """The day under each of several rules, every share by itself, from what readers see now; nothing is written.

    A delivery that is not visible yet does not count.
    """
    period = BillingPeriod.of(usage_date)
    published = [r for r in deliveries.of_period(period) if r.outcome is DeliveryOutcome.PUBLISHED]
    _, billing = _deliveries(published, period, usage_date, days.pointers(period).get(usage_date))
    usage = marked(resolved_usage(counters.usage_of(usage_date), directory.find))
    charges = _charges(usage_date, billing, origin_charges) if billing else ()
    known = directory.attributes_on(ids_named((u.key for u in usage), charges), usage_date)
    made = []
    for one in (with_mark(r) for r in rules):
        added = directory_of_day(known, one, charges)
        allocated = _billed(charges, usage, one, added) if billing else _estimated(usage, one, prices, added)
        made.append(_version(usage_date, billing, one, allocated))
    return made


def _deliveries(
    known: Sequence[DeliveryRecord], period: BillingPeriod, usage_date: date, current: DayPointer | None
) -> tuple[DeliveryRecord | None, DeliveryRecord | None]:
    """The delivery that waits to become visible, and the one that bills this day (the former, if this is one of its days)."""
    published = newest(known, DeliveryOutcome.PUBLISHED)
    pending = newest(known, DeliveryOutcome.INGESTED)
    if pending is not None and published is not None and pending.sequence < published.sequence:
        pending = None
    if pending is not None and usage_date in pending.changed_days:
        return pending, pending
    if current is None or current.basis is Basis.ESTIMATED:
        return pending, None
    if published is None:
        raise LedgerConflict(
            f"{usage_date} is billed, but no delivery of {period} is published: a bill never becomes an estimate; try again"
        )
    return pending, published


def _look_up(
    usage_date: date,
    usage: Sequence[Usage],
    charges: Sequence[OriginCharge],
    rules: Rules,
    directory: DirectoryOfDays,
    requests: DirectoryRequests,
) -> DayDirectory:
    """What the directory adds to the day. What it does not know is asked for: the day is allocated again then."""
    ids = ids_named((u.key for u in usage), charges)
    known = directory.attributes_on(ids, usage_date)
    unknown = [id for id in ids if id not in known]
    if unknown:
        requests.entries(unknown)
    return directory_of_day(known, rules, charges)


class _Allocated(NamedTuple):
    """A day once it is allocated: what its version tells of what it is made from, and its charges."""

    usage: str
    counted: Counted
    directory: str
    charges: Sequence[AllocatedCharge]
    pricing: str = ""
    names_principals: bool = True


def _estimated(usage: Sequence[Usage], rules: Rules, prices: EstimatePrices, directory: DayDirectory) -> _Allocated:
    pricing = prices.pricing(sorted({(u.key.model, u.key.region) for u in usage}))
    charges = estimate_day(usage, rules, pricing=pricing, directory=directory)
    counted = Counted.of(usage)
    return _Allocated(usage_fingerprint(usage), counted, directory.fingerprint(), charges, pricing.fingerprint(charges))


def _billed(charges: Sequence[OriginCharge], usage: Sequence[Usage], rules: Rules, directory: DayDirectory) -> _Allocated:
    return _Allocated(
        usage_fingerprint(usage),
        Counted.of(usage),
        directory.fingerprint(),
        allocate_day(charges, usage, rules, directory),
        names_principals=any(charge.iam_principal for charge in charges),
    )


def _version(usage_date: date, billing: DeliveryRecord | None, rules: Rules, allocated: _Allocated) -> DayVersion:
    return make_day_version(
        usage_date,
        billing.basis_of(usage_date) if billing else Basis.ESTIMATED,
        allocated.charges,
        rules,
        origin=_day_of(billing, usage_date).origin if billing else "",
        usage=allocated.usage,
        pricing=allocated.pricing,
        directory=allocated.directory,
        counted=allocated.counted,
        names_principals=allocated.names_principals,
    )


def _day_of(billing: DeliveryRecord, usage_date: date) -> DayOfDelivery:
    billed = billing.day(usage_date)
    if billed is None:
        raise ConservationViolated(
            f"{usage_date} is billed in the ledger but missing from delivery {billing.execution_id}: replay that delivery"
        )
    return billed


def _charges(usage_date: date, billing: DeliveryRecord, origin_charges: OriginCharges) -> Sequence[OriginCharge]:
    """The origin charges of a day, which sum to what their delivery recorded."""
    billed = _day_of(billing, usage_date)
    charges = origin_charges.read(usage_date, billed.origin)
    if totals_by_currency(charges) != dict(billed.totals):
        raise ConservationViolated(f"origin charges {billed.origin} of {usage_date} do not sum to what the delivery recorded")
    return charges


def _stage(day: DayVersion, pending: DeliveryRecord, deliveries: Deliveries, days: LedgerDays) -> DeliveryRecord:
    """Write a day of a delivery that is not visible yet; returns its record with the day marked."""
    days.stage(day, pending.sequence)
    replaced = pending.staged.get(day.usage_date, day.version)
    if replaced != day.version:
        # Usage moved since. Before the record forgets that version; a delivery cannot become visible with one that expires.
        days.discard(day.usage_date, replaced, pending.sequence)
    try:
        return deliveries.mark_staged(pending, day.usage_date, day.version)
    except LedgerConflict:
        days.discard(day.usage_date, day.version, pending.sequence)
        raise


def _complete(pending: DeliveryRecord, pointers: Mapping[date, DayPointer], days: LedgerDays) -> Sequence[DayPointer]:
    """The pointers that make a delivery visible; none while a day of it is missing."""
    if not pending.is_staged:
        return ()
    staged = [days.staged(usage_date, version) for usage_date, version in sorted(pending.staged.items())]
    for pointer in staged:
        billed = pending.day(pointer.usage_date)
        if billed is None or pointer.made_from.get("origin") != billed.origin:
            raise LedgerConflict(
                f"version {pointer.version} of {pointer.usage_date} is not of {pending.execution_id}: stage again"
            )
        current = pointers.get(pointer.usage_date)
        if current is not None and current.sequence > pending.sequence:
            raise LedgerConflict(f"{pointer.usage_date} is already billed by a newer delivery than {pending.execution_id}")
    return staged


def _adjustment(
    billing: DeliveryRecord | None,
    at: datetime,
    known: Sequence[DeliveryRecord],
    pointers: Mapping[date, DayPointer],
    new: Sequence[DayPointer],
    days: LedgerDays,
    policy: Policy,
) -> Adjustment | None:
    """What the new pointers change in a month that was closed; None while it is not, which costs no read."""
    closed = candidates(at, known, pointers, new) if billing else ()
    if billing is None or not closed:
        return None
    replaced = [pointers[pointer.usage_date] for pointer in closed]
    dimensions = dimensions_of((*replaced, *closed))
    before, after = ({name: _sums_of(of, name, days) for name in dimensions} for of in (replaced, closed))
    adjustment = adjust(billing, pointers, closed, before, after)
    if adjustment is None:
        return None
    changed = [pointer for pointer in closed if pointer.usage_date in adjustment.days]
    return replace(
        adjustment,
        policies_before=_policies([pointers[pointer.usage_date] for pointer in changed], policy),
        policies_after=_policies(changed, policy),
    )


def _sums_of(pointers: Sequence[DayPointer], dimension: str, days: LedgerDays) -> Mapping[date, Mapping[tuple[str, str], Sum]]:
    """The sums of versions by a dimension, also of those that do not know it."""
    known = [pointer for pointer in pointers if pointer.is_summed_by(dimension)]
    return {pointer.usage_date: undefined(pointer) for pointer in pointers} | dict(days.sums(known, dimension))


def _policies(pointers: Sequence[DayPointer], policy: Policy) -> tuple[str, ...]:
    """The versions of the policy, of those that are kept, whose rules days were allocated by: of several the one in force."""
    by_rules = {pointer.made_from["rules"]: pointer.usage_date for pointer in pointers}
    found = (
        next((version for version, rules in policy.versions(on) if rules.fingerprint() == fingerprint), "")
        for fingerprint, on in by_rules.items()
    )
    return tuple(sorted({version for version in found if version}))


def _discard_overtaken(usage_date: date, known: Sequence[DeliveryRecord], deliveries: Deliveries, days: LedgerDays) -> None:
    """Give versions of a day an expiry that were written for deliveries which a newer one overtook.

    Only those of the message's own day: nobody else writes versions of it meanwhile.
    """
    for record in known:
        if record.outcome is DeliveryOutcome.SUPERSEDED and usage_date in record.staged:
            days.discard(usage_date, record.staged[usage_date], record.sequence)
            deliveries.forget_staged(record, usage_date)
