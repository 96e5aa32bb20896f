"""Shared cost: what belongs to no single owner is handed out by rules, each part with the weights that decided it.

Two kinds of rule: AWS's split charges, which hand the cost of one value of a cost category to others; and shared-charge rules,
which AWS does not have: they take tax, credits, discounts, fees or capacity that nobody owns, and hand them to the owners of
the same day's usage.

Every weight is taken before anything is split, and a source is never a target, so that no order of rules or charges matters.
Weights are a day's `net_effective_cost`, the basis on which AWS shows cost categories, and one set of weights splits all
metrics and units of a charge: the share of an owner is one ratio (docs/decisions/0013-shared-cost-by-day.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from attribution.charges import AllocatedCharge, CategoryValue, Confidence, SplitMethod, SplitShare
from attribution.cost_categories import CostCategory, SplitChargeRule
from attribution.expressions import Expression
from attribution.money import ZERO, Weights, add, total

_ONE = Decimal(1)
OWNERLESS = "the share of usage without an owner"
# What a commitment covers is usage, too.
USAGE_RECORD_TYPES = frozenset(("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"))


class Within(StrEnum):
    """Whose usage counts as weight: of the same account, Region and usage type; of the same account; of everybody."""

    USAGE_TYPE = "usage_type"
    ACCOUNT = "account"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class SharedChargeRule:
    """Hands charges of which the expression holds, and which have no owner in a cost category, to owners.

    `method` None leaves them unallocated on purpose. `targets` are the owners; none stands for every owner of usage `within`
    the day. In a proportional split usage without an owner then has its share like any other, which has no owner either.
    `categories` names the cost categories that the rule is for; none stands for all.
    """

    name: str
    charges: Expression
    method: SplitMethod | None
    targets: tuple[str, ...] = ()
    percentages: tuple[Decimal, ...] = ()
    within: Within = Within.ACCOUNT
    categories: tuple[str, ...] = ()

    def is_for(self, category: str) -> bool:
        """Whether the rule shares what has no owner in this cost category."""
        return not self.categories or category in self.categories


Place = tuple[str, ...]
_Weights = Mapping[str, Decimal]


class OwnCosts:
    """What each value of one cost category costs before anything is split: of all charges, and of usage by place."""

    def __init__(self, charges: Iterable[AllocatedCharge], category: str) -> None:
        self._all: dict[str, dict[str, Decimal]] = defaultdict(dict)
        self._usage: dict[Place, dict[str, Decimal]] = defaultdict(dict)
        for charge in charges:
            found = _value(charge, category)
            value, amount = found.value, charge.costs.net_effective_cost
            _count(self._all[charge.currency], value, amount)
            # What is to be shared itself is nobody's use.
            if charge.line_item_type in USAGE_RECORD_TYPES and not found.rule:
                for within in Within:
                    _count(self._usage[_place(charge, within)], value, amount)

    def of_values(self, currency: str, values: Sequence[str]) -> _Weights:
        """The cost of these values in one currency; a value without cost is zero, and so is one that is below."""
        known = self._all.get(currency, {})
        return {value: max(known.get(value, ZERO), ZERO) for value in values}

    def of_usage(self, charge: AllocatedCharge, within: Within) -> _Weights:
        """What usage in the place of a charge cost each owner, and nobody (empty), in one order; above zero."""
        known = self._usage.get(_place(charge, within), {})
        return {value: amount for value, amount in sorted(known.items()) if amount > 0}


def _count(amounts: dict[str, Decimal], value: str, amount: Decimal) -> None:
    amounts[value] = add(amounts.get(value, ZERO), amount)


def _place(charge: AllocatedCharge, within: Within) -> Place:
    if within is Within.ORGANIZATION:
        return (within, charge.currency)
    if within is Within.ACCOUNT:
        return (within, charge.currency, charge.account_id)
    return (within, charge.currency, charge.account_id, charge.region, charge.usage_type)


def split_shared(
    charges: Sequence[AllocatedCharge], categories: Sequence[CostCategory], rules: Sequence[SharedChargeRule]
) -> list[AllocatedCharge]:
    """The charges of a day with all shared cost handed out: they sum to the same, charge by charge."""
    by_name = {rule.name: rule for rule in rules}
    splitting = [c for c in categories if c.split_charge_rules or any(rule.is_for(c.name) for rule in rules)]
    own = {category.name: OwnCosts(charges, category.name) for category in splitting}
    parts = list(charges)
    for category in splitting:
        sources = {rule.source: rule for rule in category.split_charge_rules}
        parts = [p for charge in parts for p in _split_one(charge, category.name, sources, by_name, own[category.name])]
    return parts


def _split_one(
    charge: AllocatedCharge,
    category: str,
    sources: Mapping[str, SplitChargeRule],
    rules: Mapping[str, SharedChargeRule],
    own: OwnCosts,
) -> list[AllocatedCharge]:
    before = _value(charge, category)
    parts = _share(charge, before, rules[before.rule], own, sources) if before.rule else [charge]
    split_parts: list[AllocatedCharge] = []
    for part in parts:
        value = _value(part, category)
        rule = sources.get(value.value)
        if rule is None or (before.rule and rules[before.rule].method is None):
            split_parts.append(part)
        else:
            split_parts += _parts(part, value, rule.method, _weights(part, rule.method, rule.targets, rule.percentages, own))
    return split_parts


def _share(
    charge: AllocatedCharge, before: CategoryValue, rule: SharedChargeRule, own: OwnCosts, sources: Container[str]
) -> list[AllocatedCharge]:
    if rule.method is None:
        return [charge]
    weights = _shared_weights(charge, rule, own, sources)
    if not weights:
        reason = f"{rule.name}: nobody used anything within the {rule.within.replace('_', ' ')} that day"
        return [replace(charge, categories=_categories_with(charge, replace(before, reason=reason)))]
    return _parts(charge, before, rule.method, weights)


def _shared_weights(charge: AllocatedCharge, rule: SharedChargeRule, own: OwnCosts, sources: Container[str]) -> _Weights:
    if rule.targets:
        return _weights(charge, rule.method or SplitMethod.EVEN, rule.targets, rule.percentages, own)
    # A value that hands its own cost on would keep what it got here.
    found = {owner: cost for owner, cost in own.of_usage(charge, rule.within).items() if owner not in sources}
    return {owner: _ONE for owner in found if owner} if rule.method is SplitMethod.EVEN else found


def _weights(
    charge: AllocatedCharge, method: SplitMethod, targets: Sequence[str], percentages: Sequence[Decimal], own: OwnCosts
) -> _Weights:
    if method is SplitMethod.FIXED:
        return dict(zip(targets, percentages, strict=True))
    if method is SplitMethod.EVEN:
        return dict.fromkeys(targets, _ONE)
    return own.of_values(charge.currency, targets)


def _parts(charge: AllocatedCharge, before: CategoryValue, method: SplitMethod, weights: _Weights) -> list[AllocatedCharge]:
    is_fallback = not any(weights.values())
    used = dict.fromkeys(weights, _ONE) if is_fallback else {target: w for target, w in weights.items() if w}
    whole = total(used.values())
    shares = Weights(list(used.values()))
    costs = charge.costs.split(shares)
    units = shares.split(charge.units) if charge.units is not None else [None] * len(used)
    requests = shares.split(Decimal(charge.requests), _ONE)
    parts = []
    for (target, weight), cost, quantity, count in zip(used.items(), costs, units, requests, strict=True):
        share = SplitShare(before.value, method, weight, whole, is_fallback)
        confidence, reason = (Confidence.RULE, before.reason) if target else (Confidence.NONE, f"{before.rule}: {OWNERLESS}")
        value = replace(before, value=target, confidence=confidence, reason=reason, split=share)
        categories = _categories_with(charge, value)
        parts.append(replace(charge, categories=categories, costs=cost, units=quantity, requests=int(count)))
    return parts


def _value(charge: AllocatedCharge, category: str) -> CategoryValue:
    return next(value for value in charge.categories if value.category == category)


def _categories_with(charge: AllocatedCharge, value: CategoryValue) -> tuple[CategoryValue, ...]:
    return tuple(value if c.category == value.category else c for c in charge.categories)
