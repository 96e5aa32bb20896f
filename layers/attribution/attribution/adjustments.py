"""Adjustments: what a delivery changes in a month that was closed.

AWS restates a month until its invoice is issued, and credits, refunds and corrections may change it even after that. While a
month is open its bill moves; once it is closed, every change of its amounts is an adjustment: an immutable record of what the
ledger said, what it says now, and which line item types and accounts make the difference. A new allocation of the same bill is
none, and neither is the first bill of a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from attribution.charges import Basis, Costs, sum_costs
from attribution.days import DayPointer, Sum
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import ConservationViolated
from attribution.periods import BillingPeriod, day_end

# AWS documents that it may update a month for two weeks after its end. No report says when that is over, and one without
# invoice ids never says that the invoice is issued; so a month counts as closed then, whatever its charges carry.
CLOSED_AFTER = timedelta(days=14)
# An item holds 400 KB, and an organisation may have thousands of accounts; the others are one sum.
ACCOUNTS_NAMED = 200
OTHER_ACCOUNTS = "(other accounts)"

LINE_ITEM_TYPE, ACCOUNT = "line_item_type", "account"
BREAKDOWN = (LINE_ITEM_TYPE, ACCOUNT)
"""The dimensions that an adjustment is explained by."""

DaySums = Mapping[str, Mapping[date, Mapping[tuple[str, str], Sum]]]
"""Dimension -> usage day -> (value, currency) -> sum."""
Differences = Mapping[tuple[str, str], Costs]
"""(Value, currency) -> what is billed now, less what was billed before."""


@dataclass(frozen=True, slots=True)
class Change:
    """Billed costs in one currency before and after an adjustment."""

    before: Costs
    after: Costs

    @property
    def difference(self) -> Costs:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What one delivery changed in a closed month.

    `totals` are those of the month's billed days, `days` names those that changed. A day is among them, with equal amounts, if
    cost moved between accounts or line item types alone. `changed_at` is when readers began to see it, None until then.
    """

    period: BillingPeriod
    export: str
    execution_id: str
    sequence: str
    totals: Mapping[str, Change]
    days: Mapping[date, Mapping[str, Change]]
    by_line_item_type: Differences
    by_account: Differences
    changed_at: datetime | None = None


def is_closed(usage_date: date, delivery: DeliveryRecord, known: Iterable[DeliveryRecord]) -> bool:
    """Whether the bill of a day was closed before `delivery` was written; `known` are the deliveries of its period.

    A month is closed two weeks after its end, or once a published delivery has an invoice id on every charge; a day of it also
    once one has them on every charge of the day.
    """
    return is_closed_at(usage_date, delivery.written_at, [r for r in known if r.sequence < delivery.sequence])


def is_closed_at(usage_date: date, at: datetime, known: Iterable[DeliveryRecord]) -> bool:
    """Whether the bill of a day is closed at some time, by the deliveries of its period that are known then."""
    over = day_end(BillingPeriod.of(usage_date).last_day)
    if at > over + CLOSED_AFTER:
        return True
    for record in known:
        if record.outcome is not DeliveryOutcome.PUBLISHED:
            continue
        charged = [day for day in record.report.days if day.charge_count]
        is_invoiced = bool(charged) and all(day.is_final for day in charged)
        if record.written_at >= over and (is_invoiced or record.basis_of(usage_date) is Basis.FINAL):
            return True
    return False


def candidates(
    delivery: DeliveryRecord, known: Sequence[DeliveryRecord], before: Mapping[date, DayPointer], after: Sequence[DayPointer]
) -> tuple[DayPointer, ...]:
    """Those of the pointers `after` that give a day whose bill was closed other origin charges.

    A delivery says of every day of its period what was charged, if anything: a day that was not billed has its first bill.
    """
    found = []
    for pointer in after:
        old = before.get(pointer.usage_date)
        is_restated = old is not None and old.is_billed and old.made_from["origin"] != pointer.made_from["origin"]
        if is_restated and is_closed(pointer.usage_date, delivery, known):
            found.append(pointer)
    return tuple(found)


def adjust(
    delivery: DeliveryRecord,
    before: Mapping[date, DayPointer],
    after: Sequence[DayPointer],
    sums_before: DaySums,
    sums_after: DaySums,
) -> Adjustment | None:
    """The adjustment that lies in giving closed days new pointers; None where no amount changes.

    `before` are all pointers of the period, `after` the new ones of closed days. The sums, by `BREAKDOWN`, are those of the
    versions that are replaced and of the new ones. Raises `ConservationViolated` where they do not explain what changes.
    """
    days: dict[date, Mapping[str, Change]] = {}
    parts: dict[str, list[Differences]] = {dimension: [] for dimension in BREAKDOWN}
    for pointer in after:
        day, earlier = pointer.usage_date, before[pointer.usage_date].totals
        differences = {
            dimension: _differences(sums_before[dimension][day], sums_after[dimension][day]) for dimension in BREAKDOWN
        }
        changes = {
            currency: Change(earlier.get(currency, Costs()), pointer.totals.get(currency, Costs()))
            for currency in sorted({*earlier, *pointer.totals})
        }
        _require_explained(pointer, changes, differences)
        touched = {currency for by_value in differences.values() for _, currency in by_value}
        if touched:
            days[day] = {currency: change for currency, change in changes.items() if currency in touched}
            for dimension in BREAKDOWN:
                parts[dimension].append(differences[dimension])
    if not days:
        return None
    return Adjustment(
        period=delivery.period,
        export=delivery.export,
        execution_id=delivery.execution_id,
        sequence=delivery.sequence,
        totals=_totals(before, days),
        days=dict(sorted(days.items())),
        by_line_item_type=_added(parts[LINE_ITEM_TYPE]),
        by_account=_largest(_added(parts[ACCOUNT])),
    )


def _differences(before: Mapping[tuple[str, str], Sum], after: Mapping[tuple[str, str], Sum]) -> Differences:
    """What differs, by value and currency; what does not is left out."""
    nothing = Sum()
    differences = {key: after.get(key, nothing).costs - before.get(key, nothing).costs for key in sorted({*before, *after})}
    return {key: costs for key, costs in differences.items() if not costs.is_zero()}


def _added(parts: Iterable[Differences]) -> Differences:
    """The differences of several days; what cancels out is left out."""
    by_key: dict[tuple[str, str], list[Costs]] = {}
    for part in parts:
        for key, costs in part.items():
            by_key.setdefault(key, []).append(costs)
    added = {key: sum_costs(costs) for key, costs in sorted(by_key.items())}
    return {key: costs for key, costs in added.items() if not costs.is_zero()}


def _require_explained(pointer: DayPointer, changes: Mapping[str, Change], differences: Mapping[str, Differences]) -> None:
    """The differences of the parts must sum to those of the totals, in every currency and metric."""
    for dimension, by_value in differences.items():
        for currency in {*changes, *(currency for _, currency in by_value)}:
            explained = sum_costs(costs for (_, of), costs in by_value.items() if of == currency)
            if explained != (changes[currency].difference if currency in changes else Costs()):
                raise ConservationViolated(
                    f"the bill of {pointer.usage_date}, which is closed, changes in {currency} by another amount than its sums "
                    f"by {dimension}: restore the ledger table to a time before it was changed by hand"
                )


def _totals(before: Mapping[date, DayPointer], days: Mapping[date, Mapping[str, Change]]) -> dict[str, Change]:
    """The billed days of the whole month, in the currencies that changed."""
    totals: dict[str, Change] = {}
    for currency in sorted({currency for changes in days.values() for currency in changes}):
        billed = sum_costs(p.totals[currency] for p in before.values() if p.is_billed and currency in p.totals)
        difference = sum_costs(changes[currency].difference for changes in days.values() if currency in changes)
        totals[currency] = Change(billed, billed + difference)
    return totals


def _largest(differences: Differences) -> Differences:
    """The largest differences by name, the others summed."""
    if len(differences) <= ACCOUNTS_NAMED:
        return differences
    by_size = sorted(differences, key=lambda key: max(amount.copy_abs() for amount in differences[key].amounts()), reverse=True)
    named = {key: differences[key] for key in sorted(by_size[:ACCOUNTS_NAMED])}
    others = _added({(OTHER_ACCOUNTS, key[1]): differences[key]} for key in by_size[ACCOUNTS_NAMED:])
    return {**named, **others}
