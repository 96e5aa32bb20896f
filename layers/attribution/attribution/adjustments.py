"""Adjustments: what changes in a month that was closed.

AWS restates a month until its invoice is issued, and credits, refunds and corrections may change it even after that. While a
month is open its bill and its owners move; once it is closed, every change of its amounts or of who owns them is an
adjustment: an immutable record of what the ledger said, what it says now, which line item types, accounts and owners make the
difference, and what caused it. The first bill of a day is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from attribution.charges import Basis, Costs, sum_costs
from attribution.days import NOT_DEFINED, DayPointer, Sum
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import ConservationViolated
from attribution.periods import BillingPeriod, day_end

# AWS documents that it may update a month for two weeks after its end. No report says when that is over, and one without
# invoice ids never says that the invoice is issued; so a month counts as closed then, whatever its charges carry.
CLOSED_AFTER = timedelta(days=14)
# An item holds 400 KB, and an organisation may have thousands of accounts and owners; the others are one sum.
ACCOUNTS_NAMED = 200
OWNERS_NAMED = 400
OTHER_ACCOUNTS = "(other accounts)"
OTHER_OWNERS = "(other owners)"

LINE_ITEM_TYPE, ACCOUNT = "line_item_type", "account"
BREAKDOWN = (LINE_ITEM_TYPE, ACCOUNT)
"""The dimensions that an adjustment is explained by, besides every cost category."""

DaySums = Mapping[str, Mapping[date, Mapping[tuple[str, str], Sum]]]
"""Dimension -> usage day -> (value, currency) -> sum."""
Differences = Mapping[tuple[str, str], Costs]
"""(Value, currency) -> what is billed now, less what was billed before."""


class Cause(StrEnum):
    """What a new version of a closed day was made from that the one before it was not."""

    BILL = "bill"
    RULES = "rules"
    USAGE = "usage"
    TAGS = "tags"
    SOFTWARE = "software"


_MADE_FROM = {
    Cause.BILL: "origin",
    Cause.RULES: "rules",
    Cause.USAGE: "usage",
    Cause.TAGS: "directory",
    Cause.SOFTWARE: "allocation",
}


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
    """What one delivery, or one new allocation of a delivery's bill, changed in a closed month.

    `totals` are those of the month's billed days, `days` names those that changed. A day is among them, with equal amounts, if
    cost moved between accounts, line item types or owners alone. `by_owner` has the differences of each cost category: what its
    owners got and lost sums to what the bill changed by, which is nothing for a new allocation of the same bill. `policies` are
    the versions of the policy whose rules the days had and have; empty where no version is kept that has them. `version` is
    that of the day which was allocated again, empty for a delivery. `changed_at` is when readers began to see it, None until
    then.
    """

    period: BillingPeriod
    export: str
    execution_id: str
    sequence: str
    totals: Mapping[str, Change]
    days: Mapping[date, Mapping[str, Change]]
    by_line_item_type: Differences
    by_account: Differences
    by_owner: Mapping[str, Differences] = field(default_factory=dict)
    causes: tuple[Cause, ...] = (Cause.BILL,)
    policies_before: tuple[str, ...] = ()
    policies_after: tuple[str, ...] = ()
    version: str = ""
    changed_at: datetime | None = None

    @property
    def is_of_bill(self) -> bool:
        """Whether a delivery made it, and not another allocation of the same bill."""
        return Cause.BILL in self.causes


def is_closed_at(usage_date: date, at: datetime, known: Iterable[DeliveryRecord]) -> bool:
    """Whether the bill of a day is closed at some time, by the deliveries of its period that are known then.

    A month is closed two weeks after its end, or once a published delivery has an invoice id on every charge; a day of it also
    once one has them on every charge of the day.
    """
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


def is_frozen(pointer: DayPointer | None, at: datetime, known: Iterable[DeliveryRecord]) -> bool:
    """Whether the owners of a day stay as they are: it is billed, and its month is closed."""
    return pointer is not None and pointer.is_billed and is_closed_at(pointer.usage_date, at, known)


def is_settling(pointer: DayPointer, at: datetime, known: Iterable[DeliveryRecord]) -> bool:
    """Whether usage and tags still count for a day whose month is closed.

    A day whose first bill comes when its month is closed already, as those of a backfill do, was nobody's before: what it is
    allocated by may come in as late as its bill did, and has two weeks. Rules are no part of that: people change those.
    """
    first = pointer.first_billed_at
    if first is None or at > first + CLOSED_AFTER:
        return False
    return is_closed_at(pointer.usage_date, first, [r for r in known if r.written_at <= first])


def causes_of(before: DayPointer, after: DayPointer) -> tuple[Cause, ...]:
    """What the second version was made from that the first was not."""
    old, new = before.made_from, after.made_from
    return tuple(cause for cause, name in _MADE_FROM.items() if old.get(name, "") != new.get(name, ""))


def candidates(
    at: datetime, known: Sequence[DeliveryRecord], before: Mapping[date, DayPointer], after: Sequence[DayPointer]
) -> tuple[DayPointer, ...]:
    """Those of the pointers `after` that may change a day which was closed; `known` are the deliveries published so far.

    A delivery says of every day of its period what was charged, if anything: a day that was not billed has its first bill.
    """
    found = []
    for pointer in after:
        old = before.get(pointer.usage_date)
        if old is None or old.version == pointer.version or not is_frozen(old, at, known):
            continue
        if {Cause.BILL, Cause.RULES} & {*causes_of(old, pointer)} or not is_settling(old, at, known):
            found.append(pointer)
    return tuple(found)


def dimensions_of(pointers: Iterable[DayPointer]) -> tuple[str, ...]:
    """What the adjustment of versions is explained by: `BREAKDOWN`, then every cost category that one of them has."""
    return (*BREAKDOWN, *sorted({category for pointer in pointers for category in pointer.categories}))


def undefined(pointer: DayPointer) -> dict[tuple[str, str], Sum]:
    """The sums of a day by a cost category that its version does not have."""
    return {(NOT_DEFINED, currency): Sum(costs) for currency, costs in pointer.totals.items()}


def adjust(
    delivery: DeliveryRecord,
    before: Mapping[date, DayPointer],
    after: Sequence[DayPointer],
    sums_before: DaySums,
    sums_after: DaySums,
) -> Adjustment | None:
    """The adjustment that lies in giving closed days new pointers; None where no amount changes.

    `before` are all pointers of the period, `after` the new ones of closed days. The sums, by `dimensions_of` both, are those
    of the versions that are replaced and of the new ones. Raises `ConservationViolated` where they do not explain what changes.
    """
    days: dict[date, Mapping[str, Change]] = {}
    parts: dict[str, list[Differences]] = {dimension: [] for dimension in sums_after}
    causes: set[Cause] = set()
    for pointer in after:
        day, earlier = pointer.usage_date, before[pointer.usage_date].totals
        differences = {
            dimension: _differences(sums_before[dimension][day], sums_after[dimension][day]) for dimension in sums_after
        }
        changes = {
            currency: Change(earlier.get(currency, Costs()), pointer.totals.get(currency, Costs()))
            for currency in sorted({*earlier, *pointer.totals})
        }
        _require_explained(pointer, changes, differences)
        touched = {currency for by_value in differences.values() for _, currency in by_value}
        if touched:
            days[day] = {currency: change for currency, change in changes.items() if currency in touched}
            causes.update(causes_of(before[day], pointer))
            for dimension, by_value in differences.items():
                parts[dimension].append(by_value)
    if not days:
        return None
    categories = [dimension for dimension in parts if dimension not in BREAKDOWN]
    by_owner = {category: _added(parts[category]) for category in categories}
    each = max(1, OWNERS_NAMED // max(1, len(categories)))
    return Adjustment(
        period=delivery.period,
        export=delivery.export,
        execution_id=delivery.execution_id,
        sequence=delivery.sequence,
        totals=_totals(before, days),
        days=dict(sorted(days.items())),
        by_line_item_type=_added(parts[LINE_ITEM_TYPE]),
        by_account=_largest(_added(parts[ACCOUNT]), ACCOUNTS_NAMED, OTHER_ACCOUNTS),
        by_owner={category: _largest(of, each, OTHER_OWNERS) for category, of in by_owner.items() if of},
        causes=tuple(cause for cause in Cause if cause in causes),
        version="" if Cause.BILL in causes else after[0].version,
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


def _largest(differences: Differences, named_most: int, others_name: str) -> Differences:
    """The largest differences by name, the others summed."""
    if len(differences) <= named_most:
        return differences
    by_size = sorted(differences, key=lambda key: max(amount.copy_abs() for amount in differences[key].amounts()), reverse=True)
    named = {key: differences[key] for key in sorted(by_size[:named_most])}
    others = _added({(others_name, key[1]): differences[key]} for key in by_size[named_most:])
    return {**named, **others}


def owner_changes(adjustments: Iterable[Adjustment], category: str) -> Iterator[tuple[BillingPeriod, Differences]]:
    """What each owner of a cost category got or lost since a month was closed, by month; what cancelled out is left out."""
    by_period: dict[BillingPeriod, list[Differences]] = {}
    for adjustment in adjustments:
        by_period.setdefault(adjustment.period, []).append(adjustment.by_owner.get(category, {}))
    for period, parts in sorted(by_period.items()):
        added = _added(parts)
        if added:
            yield period, added


def together(adjustments: Iterable[Adjustment]) -> list[Adjustment]:
    """The adjustments as people read them: days that were allocated again for the same reason are one."""
    groups: list[list[Adjustment]] = []
    newest: dict[tuple[object, ...], list[Adjustment]] = {}
    for made in adjustments:
        reason = (made.period, made.sequence, made.causes, made.policies_before, made.policies_after)
        group = newest.get(reason, [])
        if not group or made.is_of_bill or any({*one.days} & {*made.days} for one in group):
            group = newest[reason] = []
            groups.append(group)
        group.append(made)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups]


def _joined(group: Sequence[Adjustment]) -> Adjustment:
    categories = sorted({category for made in group for category in made.by_owner})
    by_owner = {category: _added(made.by_owner.get(category, {}) for made in group) for category in categories}
    return replace(
        group[0],
        # Of the same bill, which is what it was before.
        totals={currency: change for made in group for currency, change in made.totals.items()},
        days={day: changes for made in group for day, changes in made.days.items()},
        by_owner={category: of for category, of in by_owner.items() if of},
        changed_at=max((made.changed_at for made in group if made.changed_at), default=None),
    )
