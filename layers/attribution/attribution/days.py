"""Ledger days: immutable versions named by what they were made from, and the pointer that says which one is current."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from operator import attrgetter, itemgetter
from typing import TypeVar

from attribution.allocation import totals_by_currency
from attribution.canonical import canonical_json, content_hash, hash_of_list
from attribution.charges import AllocatedCharge, Basis, Costs, sum_costs
from attribution.coverage import NOTHING_COUNTED, Counted, Coverage, Place, cover, verify_coverage
from attribution.money import ZERO, total
from attribution.rules import Rules
from attribution.shared_charges import USAGE_RECORD_TYPES
from attribution.usage import Usage

# Part of every version: raise it when the same inputs are to be allocated differently.
ALLOCATION_VERSION = 2

UNALLOCATED = "(unallocated)"
NOT_DEFINED = "(not defined)"
"""The owner in a cost category that one of two allocations of a day does not have."""

_ATTRIBUTES = {
    "account": "account_id",
    "region": "region",
    "model": "meter.model",
    "token_kind": "meter.token_kind",
    "tier": "meter.tier",
    "routing": "meter.routing",
    "feature": "feature",
    "line_item_type": "line_item_type",
    "iam_principal": "iam_principal",
    # Empty for what is billed.
    "price_basis": "price_basis",
}
_MANY = "iam_principal"


def _text_of(attribute: str) -> Callable[[AllocatedCharge], str]:
    read = attrgetter(attribute)
    return lambda charge: str(read(charge) or "")


DIMENSIONS: Mapping[str, Callable[[AllocatedCharge], str]] = {n: _text_of(attribute) for n, attribute in _ATTRIBUTES.items()}
_few = attrgetter(*(attribute for name, attribute in _ATTRIBUTES.items() if name != _MANY), "currency")
_Name = TypeVar("_Name", bound=str)


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

    Callers and owners are many, and every other dimension has few values: charges are first added up by all of the others
    together, and each of these by what is left of it.
    """
    places: dict[tuple[object, ...], list[AllocatedCharge]] = defaultdict(list)
    for charge in charges:
        places[_few(charge)].append(charge)
    parts = [(found[0], _sum_of(found)) for found in places.values()]
    sums = {
        name: sums_by(charges, value_of)
        if name == _MANY
        else _add_up((value_of(first), first.currency, part) for first, part in parts)
        for name, value_of in DIMENSIONS.items()
    }
    return sums | {category: sums_by(charges, partial(_owner, category)) for category in categories}


def _owner(category: str, charge: AllocatedCharge) -> str:
    return charge.value_of(category) or UNALLOCATED


def sums_by(charges: Iterable[AllocatedCharge], value_of: Callable[[AllocatedCharge], str]) -> dict[tuple[str, str], Sum]:
    """Charges summed by a value and currency."""
    alike: dict[tuple[str, str], list[AllocatedCharge]] = defaultdict(list)
    for charge in charges:
        alike[value_of(charge), charge.currency].append(charge)
    return {key: _sum_of(found) for key, found in sorted(alike.items(), key=itemgetter(0))}


def _sum_of(charges: Sequence[AllocatedCharge]) -> Sum:
    """The sum of charges in one currency."""
    counts: dict[str, list[Decimal]] = defaultdict(list)
    for charge in charges:
        if charge.units is not None:
            counts[charge.meter.token_kind].append(charge.units)
    # Not the enumeration's member: the sum is stored.
    units = {str(kind): total(found) for kind, found in counts.items()}
    usage = total([c.costs.net_billed_cost for c in charges if c.line_item_type in USAGE_RECORD_TYPES])
    return Sum(sum_costs([c.costs for c in charges]), units, sum([c.requests for c in charges]), usage)


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
    # When readers first saw a bill of the day, whatever version; None while it is estimated.
    first_billed_at: datetime | None = None

    @property
    def is_billed(self) -> bool:
        """Whether a delivery bills the day: its amounts are the bill's, not an estimate's."""
        return self.basis is not Basis.ESTIMATED

    def is_summed_by(self, dimension: str) -> bool:
        """Whether the version knows a dimension: not a cost category that was defined later."""
        return sums_root(dimension) in self.roots

    @property
    def categories(self) -> tuple[str, ...]:
        """The cost categories that the version has owners in, by name."""
        names = (root.removeprefix(sums_root("")) for root in self.roots if root.startswith(sums_root("")))
        return tuple(sorted(name for name in names if name not in DIMENSIONS))

    def after(self, old: DayPointer | None, now: datetime) -> DayPointer:
        """This pointer as it becomes visible in the place of another one."""
        superseded = (*old.superseded, old.version) if old else ()
        billed_at = (old.first_billed_at if old else None) or now
        return replace(
            self,
            changed_at=now,
            superseded=tuple(v for v in superseded if v != self.version),
            first_billed_at=billed_at if self.is_billed else None,
        )


def _counted(counts: Mapping[_Name, int] | Mapping[_Name, Decimal]) -> list[tuple[_Name, int | Decimal]]:
    return sorted([found for found in counts.items() if found[1]])


def usage_fingerprint(usage: Sequence[Usage]) -> str:
    """The hash of a day's counters, whatever order they were read in; counters that returned to zero do not count."""
    return hash_of_list(sorted(_canonical(item) for item in usage if not item.counters.is_zero()))


def _canonical(item: Usage) -> str:
    counters = item.counters
    return canonical_json(
        [
            item.key.digest(),
            counters.requests,
            counters.errors,
            counters.unmeasured,
            counters.observed_only,
            counters.provisional,
            counters.unlogged,
            _counted(counters.units),
            _counted(counters.estimated),
            _counted(counters.unpriced),
            _counted(counters.guardrail_units),
        ]
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
    counted: Counted = NOTHING_COUNTED,
    names_principals: bool = True,
) -> DayVersion:
    """The version of a day made from `origin` (hash of its origin charges; empty for an estimate) and `usage` (fingerprint).

    `pricing` is the fingerprint of what an estimate was priced with: a bill was priced by AWS. `directory` is that of the tags
    which the directory added to those of usage and bill. `counted` is what the counters add up to, and
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
