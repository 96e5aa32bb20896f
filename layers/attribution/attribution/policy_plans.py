"""What other rules would move between owners: one day's inputs allocated twice, compared share by share.

An allocation adds up the shares of a charge that have the same owners, and then says no more which share went where. So every
share gets a mark, as metadata of the usage behind it that a cost category of its own looks for. The mark's order is the order
in which shares are split, so that each gets the amounts that it gets without. Where rules hand shared cost out, each share is
handed out by itself: a sum may then differ from the later day's in the last digit of a split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from attribution.allocation import totals_by_currency
from attribution.charges import AllocatedCharge, Costs
from attribution.cost_categories import REQUEST_METADATA, CostCategory, EvidenceRule
from attribution.days import NOT_DEFINED, UNALLOCATED, DayVersion
from attribution.errors import LedgerConflict
from attribution.expressions import SHARE_MARK
from attribution.money import ZERO, add, subtract, total
from attribution.rules import Rules
from attribution.usage import Usage, in_order


def marked(usage: Iterable[Usage]) -> list[Usage]:
    """Counters that an allocation keeps apart, in the order in which it splits a charge over them."""
    return [
        replace(item, key=item.key._replace(request_metadata=((SHARE_MARK, f"{number:08d}"), *item.key.request_metadata)))
        for number, item in enumerate(in_order(usage))
    ]


def with_mark(rules: Rules) -> Rules:
    """The rules, and a last cost category that keeps shares apart. All have a value of it, so that nothing shares it out."""
    mark = CostCategory(SHARE_MARK, (EvidenceRule((SHARE_MARK,), order=(REQUEST_METADATA,)),), default_value="-")
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
    categories = {c.category for day in (before, after) for charge in day.charges for c in charge.categories} - {SHARE_MARK}
    found: dict[Move, Moved] = defaultdict(Moved)
    for category in sorted(categories):
        old, new = _by_charge(before.charges, category, metric), _by_charge(after.charges, category, metric)
        for origin, currency in sorted({*old, *new}):
            place = (origin, currency)
            for from_owner, to_owner, amount in _flows(old[place], new[place]):
                moved = found[Move(category, currency, from_owner, to_owner)]
                moved.amount = add(moved.amount, amount)
                moved.origins.add(origin)
    return dict(sorted(found.items()))


Shares = dict[str, dict[str, Decimal]]
"""By the mark of the usage that a charge was split over: what each owner has of that share."""


def _by_charge(charges: Iterable[AllocatedCharge], category: str, metric: str) -> dict[tuple[str, str], Shares]:
    """The shares of each origin charge and currency."""
    found: dict[tuple[str, str], Shares] = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: ZERO)))
    for charge in charges:
        owners = found[charge.origin, charge.currency][charge.value_of(SHARE_MARK)]
        is_known = any(value.category == category for value in charge.categories)
        owner = (charge.value_of(category) or UNALLOCATED) if is_known else NOT_DEFINED
        owners[owner] = add(owners[owner], _amount(charge.costs, metric))
    return found


def _amount(costs: Costs, metric: str) -> Decimal:
    amount: Decimal = getattr(costs, metric)
    return amount


def _flows(old: Shares, new: Shares) -> Iterator[tuple[str, str, Decimal]]:
    """From whom to whom, and how much, within one charge: what an owner keeps does not move.

    Share by share; what is left is what shares are larger or smaller by, because the rules have others take part in a split.
    """
    # Of a credit, which is negative, who had it before gets more and who has it now gets less.
    is_credit = total(amount for owners in old.values() for amount in owners.values()) < 0
    rest: dict[str, Decimal] = {}
    for share in sorted({*old, *new}):
        had, has = old.get(share, {}), new.get(share, {})
        change = {owner: subtract(has.get(owner, ZERO), had.get(owner, ZERO)) for owner in sorted({*had, *has})}
        yield from _paired(change, is_credit=is_credit)
        for owner, amount in change.items():
            rest[owner] = add(rest.get(owner, ZERO), amount)
    yield from _paired(rest, is_credit=is_credit)


def _paired(change: dict[str, Decimal], *, is_credit: bool) -> Iterator[tuple[str, str, Decimal]]:
    """Pairs of who loses and who gets; `change` is reduced to what has no other side.

    Several lose and several get only where shared cost is handed out; they are paired in the order of their names.
    """
    less = [owner for owner, amount in change.items() if amount < 0]
    more = [owner for owner, amount in change.items() if amount > 0]
    while less and more:
        amount = min(change[less[0]].copy_negate(), change[more[0]])
        change[less[0]], change[more[0]] = add(change[less[0]], amount), subtract(change[more[0]], amount)
        yield (more[0], less[0], amount.copy_negate()) if is_credit else (less[0], more[0], amount)
        less, more = ([owner for owner in side if change[owner]] for side in (less, more))
