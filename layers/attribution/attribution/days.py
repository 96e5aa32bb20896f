"""Ledger days: immutable versions named by what they were made from, and the pointer that says which one is current."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from attribution.allocation import totals_by_currency
from attribution.canonical import content_hash
from attribution.charges import AllocatedCharge, Basis, Costs, sum_costs
from attribution.coverage import Coverage, Place, cover, verify_coverage
from attribution.money import ZERO, total
from attribution.rules import Rules
from attribution.shared_charges import USAGE_RECORD_TYPES
from attribution.usage import Usage

# Part of every version: raise it when the same inputs are to be allocated differently.
ALLOCATION_VERSION = 2

UNALLOCATED = "(unallocated)"

DIMENSIONS: Mapping[str, Callable[[AllocatedCharge], str]] = {
    "account": lambda c: c.account_id,
    "region": lambda c: c.region,
    "model": lambda c: c.meter.model,
    "token_kind": lambda c: c.meter.token_kind.value,
    "tier": lambda c: c.meter.tier.value,
    "routing": lambda c: c.meter.routing.value,
    "feature": lambda c: c.feature,
    "line_item_type": lambda c: c.line_item_type,
    "iam_principal": lambda c: c.iam_principal,
    # Empty for what is billed.
    "price_basis": lambda c: c.price_basis.value if c.price_basis else "",
}
_MANY = "iam_principal"


def usage_cost(charge: AllocatedCharge) -> Decimal:
    """What a charge adds to the cost of usage: its net billed cost, nothing where it is no record of usage."""
    return charge.costs.net_billed_cost if charge.line_item_type in USAGE_RECORD_TYPES else ZERO


@dataclass(frozen=True, slots=True)
class Sum:
    """A day (or a part of one) summed: costs by metric, tokens and other units by kind, requests.

    `usage_cost` is the net billed cost of usage alone: tax, credits and fees come when AWS books them, not when somebody
    spends.
    """

    costs: Costs = field(default_factory=Costs)
    units: Mapping[str, Decimal] = field(default_factory=dict)
    requests: int = 0
    usage_cost: Decimal = ZERO

    def __add__(self, other: Sum) -> Sum:
        return add_sums((self, other))


CHARGES_ROOT = "charges"


COVERAGE_ROOT = "coverage"
"""The name under which a pointer keeps where its coverage is."""


def sums_root(dimension: str) -> str:
    """The name under which a pointer keeps where its sums by a dimension are."""
    return f"sums by {dimension}"


Sums = Mapping[str, Mapping[tuple[str, str], Sum]]
"""Dimension -> (value, currency) -> sum."""


def summarize(charges: Sequence[AllocatedCharge], categories: Sequence[str]) -> Sums:
    """The day by every dimension and cost category; charges without an owner are summed under `(unallocated)`.

    Callers are many, and every other dimension has few values: charges are first added up by all of the others together, and
    each of these by what is left of it.
    """
    callers: dict[tuple[str, ...], list[AllocatedCharge]] = defaultdict(list)
    others: dict[tuple[str, ...], list[AllocatedCharge]] = defaultdict(list)
    few = [value_of for name, value_of in DIMENSIONS.items() if name != _MANY]
    for charge in charges:
        kind = "" if charge.units is None else charge.meter.token_kind.value
        callers[DIMENSIONS[_MANY](charge), charge.currency, kind].append(charge)
        owners = {value.category: value.value for value in charge.categories}
        values = (*(value_of(charge) for value_of in few), *(owners.get(name) or UNALLOCATED for name in categories))
        others[*values, charge.currency, kind].append(charge)

    sums = {
        _MANY: _add_up((caller, currency, _sum_of(kind, of_caller)) for (caller, currency, kind), of_caller in callers.items())
    }
    parts = [(key, _sum_of(key[-1], of_key)) for key, of_key in others.items()]
    names = [*(name for name in DIMENSIONS if name != _MANY), *categories]
    for place, name in enumerate(names):
        sums[name] = _add_up((key[place], key[-2], part) for key, part in parts)
    return {name: sums[name] for name in (*DIMENSIONS, *categories)}


def _sum_of(kind: str, charges: Sequence[AllocatedCharge]) -> Sum:
    """The sum of charges in one currency, whose units are of one kind; an empty kind has none."""
    units = {kind: total(c.units for c in charges if c.units is not None)} if kind else {}
    costs, requests = sum_costs(c.costs for c in charges), sum(c.requests for c in charges)
    return Sum(costs, units, requests, total(map(usage_cost, charges)))


def _add_up(parts: Iterable[tuple[str, str, Sum]]) -> dict[tuple[str, str], Sum]:
    grouped: dict[tuple[str, str], list[Sum]] = defaultdict(list)
    for value, currency, part in parts:
        grouped[value, currency].append(part)
    return {key: add_sums(found) for key, found in sorted(grouped.items())}


def add_sums(sums: Sequence[Sum]) -> Sum:
    """The sum of sums."""
    counts: dict[str, list[Decimal]] = defaultdict(list)
    for part in sums:
        for kind, count in part.units.items():
            counts[kind].append(count)
    units = {kind: total(found) for kind, found in counts.items()}
    costs, requests = sum_costs(part.costs for part in sums), sum(part.requests for part in sums)
    return Sum(costs, units, requests, total(part.usage_cost for part in sums))


@dataclass(frozen=True, slots=True)
class DayVersion:
    """One immutable version of a ledger day, ready to be written."""

    usage_date: date
    version: str
    basis: Basis
    charges: tuple[AllocatedCharge, ...]
    sums: Sums
    totals: Mapping[str, Costs]
    made_from: Mapping[str, str]
    coverage: Mapping[Place, Coverage]


@dataclass(frozen=True, slots=True)
class DayPointer:
    """Which version of a day is current. `sequence` orders deliveries; it is empty while a day is estimated."""

    usage_date: date
    version: str
    basis: Basis
    totals: Mapping[str, Costs]
    made_from: Mapping[str, str]
    changed_at: datetime
    sequence: str = ""
    charge_count: int = 0
    # Where the store keeps the version's charges and its sums by each dimension: its own references by `CHARGES_ROOT`,
    # `COVERAGE_ROOT` and `sums_root`.
    roots: Mapping[str, str] = field(default_factory=dict)
    # Versions that were current before and are not marked for expiry yet.
    superseded: tuple[str, ...] = ()

    @property
    def is_billed(self) -> bool:
        """Whether a delivery bills the day: its amounts are the bill's, not an estimate's."""
        return self.basis is not Basis.ESTIMATED

    def is_summed_by(self, dimension: str) -> bool:
        """Whether the version knows a dimension: not a cost category that was defined later."""
        return sums_root(dimension) in self.roots


def usage_fingerprint(usage: Sequence[Usage]) -> str:
    """The hash of a day's counters, whatever order they were read in; counters that returned to zero do not count."""
    return content_hash(
        sorted(
            [
                u.key.digest(),
                u.counters.requests,
                u.counters.errors,
                u.counters.unmeasured,
                u.counters.observed_only,
                u.counters.provisional,
                u.counters.unlogged,
                sorted((k.value, n) for k, n in u.counters.units.items() if n),
                sorted((k.value, a) for k, a in u.counters.estimated.items() if a),
                sorted((k.value, n) for k, n in u.counters.unpriced.items() if n),
                sorted((policy, n) for policy, n in u.counters.guardrail_units.items() if n),
            ]
            for u in usage
            if not u.counters.is_zero()
        )
    )


def make_day_version(
    usage_date: date,
    basis: Basis,
    charges: Sequence[AllocatedCharge],
    rules: Rules,
    *,
    origin: str,
    usage: str,
    pricing: str = "",
    directory: str = "",
    counted: Sequence[Usage] = (),
    names_principals: bool = True,
) -> DayVersion:
    """The version of a day made from `origin` (hash of its origin charges; empty for an estimate) and `usage` (fingerprint).

    `pricing` is the fingerprint of what an estimate was priced with: a bill was priced by AWS. `directory` is that of the tags
    which the directory added to those of usage and bill. `counted` are the counters, and
    `names_principals` says whether any row of the bill names a caller: the day's coverage is measured by them.
    """
    looked_up = {"pricing": pricing, "directory": directory}
    made_from = {
        "origin": origin,
        "usage": usage,
        "rules": rules.fingerprint(),
        "allocation": str(ALLOCATION_VERSION),
    } | {name: fingerprint for name, fingerprint in looked_up.items() if fingerprint}
    totals = totals_by_currency(charges)
    coverage = cover(charges, counted, names_principals=names_principals)
    verify_coverage(coverage, totals)
    return DayVersion(
        usage_date=usage_date,
        version=content_hash([usage_date, basis, sorted(made_from.items())])[:32],
        basis=basis,
        charges=tuple(charges),
        sums=summarize(charges, rules.names),
        totals=totals,
        made_from=made_from,
        coverage=coverage,
    )
