"""What other rules would move between owners: one day's inputs allocated twice, compared share by share.

An allocation adds up the shares of a charge that have the same owners, and then says no more which share went where. So every
share gets a mark, as metadata of the usage behind it that a cost category of its own looks for. The mark's order is the order
in which shares are split, so that each gets the amounts that it gets without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from attribution.allocation import totals_by_currency
from attribution.charges import AllocatedCharge, Costs
from attribution.cost_categories import REQUEST_METADATA, CostCategory, EvidenceRule
from attribution.days import UNALLOCATED, DayVersion
from attribution.errors import LedgerConflict
from attribution.money import ZERO, add, subtract, total
from attribution.rules import Rules
from attribution.usage import Usage

NOT_DEFINED = "(not defined)"
"""The owner in a cost category that one of the two policies does not have."""

# No name that people may write begins so, and every one sorts behind it.
_MARK = "\0share"


def marked(usage: Iterable[Usage]) -> list[Usage]:
    """Counters that an allocation keeps apart, in the order in which it splits a charge over them."""
    return [
        replace(item, key=replace(item.key, request_metadata=((_MARK, f"{number:08d}"), *item.key.request_metadata)))
        for number, item in enumerate(sorted(usage, key=lambda u: u.key))
    ]


def with_mark(rules: Rules) -> Rules:
    """The rules, and a last cost category that keeps shares apart. Each share has a value of it, so that no rule shares it out."""
    mark = CostCategory(_MARK, (EvidenceRule((_MARK,), order=(REQUEST_METADATA,)),), default_value="-")
    return replace(rules, categories=(*rules.categories, mark))


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """Cost that leaves one owner for another, in one cost category and currency."""

    category: str
    currency: str
    from_owner: str
    to_owner: str


@dataclass(slots=True)
class Moved:
    """How much moves, and the charges that it is part of."""

    amount: Decimal = ZERO
    origins: set[str] = field(default_factory=set)


def moves(before: DayVersion, after: DayVersion, metric: str) -> dict[Move, Moved]:
    """What leaves which owner for which, in one cost metric. All moves away from an owner less all to it is what it loses.

    Raises `LedgerConflict` where both were not made of the same amounts.
    """
    if totals_by_currency(before.charges) != totals_by_currency(after.charges):
        raise LedgerConflict(f"prices or the bill of {before.usage_date} changed while it was planned: plan again")
    categories = {c.category for day in (before, after) for charge in day.charges for c in charge.categories} - {_MARK}
    found: dict[Move, Moved] = defaultdict(Moved)
    for category in sorted(categories):
        old, new = _by_share(before.charges, category, metric), _by_share(after.charges, category, metric)
        for share in old.keys() | new.keys():
            origin, _, currency = share
            for (from_owner, to_owner), amount in _flows(old[share], new[share]).items():
                moved = found[Move(category, currency, from_owner, to_owner)]
                moved.amount = add(moved.amount, amount)
                moved.origins.add(origin)
    return dict(sorted(found.items()))


Share = tuple[str, str, str]
"""An origin charge, the mark of the usage that it was split over, and a currency."""


def _by_share(charges: Iterable[AllocatedCharge], category: str, metric: str) -> dict[Share, dict[str, Decimal]]:
    """What each owner has of each share."""
    found: dict[Share, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for charge in charges:
        owners = found[charge.origin, charge.value_of(_MARK), charge.currency]
        is_known = any(value.category == category for value in charge.categories)
        owner = (charge.value_of(category) or UNALLOCATED) if is_known else NOT_DEFINED
        owners[owner] = add(owners[owner], _amount(charge.costs, metric))
    return found


def _amount(costs: Costs, metric: str) -> Decimal:
    amount: Decimal = getattr(costs, metric)
    return amount


def _flows(old: Mapping[str, Decimal], new: Mapping[str, Decimal]) -> dict[tuple[str, str], Decimal]:
    """From whom to whom, within one share: what an owner keeps does not move.

    Several lose and several get only where shared cost is split; they are paired in the order of their names.
    """
    change = {owner: subtract(new.get(owner, ZERO), old.get(owner, ZERO)) for owner in sorted({*old, *new})}
    # Of a credit, which is negative, who had it before gets more and who has it now gets less.
    is_credit = total(old.values()) < 0
    less = {owner: amount.copy_negate() for owner, amount in change.items() if amount < 0}
    more = {owner: amount for owner, amount in change.items() if amount > 0}
    losing, getting = (more, less) if is_credit else (less, more)
    flows: dict[tuple[str, str], Decimal] = {}
    while losing and getting:
        from_owner, to_owner = next(iter(losing)), next(iter(getting))
        amount = min(losing[from_owner], getting[to_owner])
        flows[from_owner, to_owner] = amount.copy_negate() if is_credit else amount
        for side, owner in ((losing, from_owner), (getting, to_owner)):
            side[owner] = subtract(side[owner], amount)
            if not side[owner]:
                del side[owner]
    return flows
