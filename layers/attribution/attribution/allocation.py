"""Allocation: one origin charge becomes allocated charges that sum to it exactly, each with the evidence for its owner.

A charge that the bill reports coarser than the usage behind it (one role, many tenants) is split over the usage of its bucket
in proportion to that usage. What the bill counted and no log recorded is not spread over those who were logged: that part is
allocated by what the charge itself carries, or stays unallocated with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from attribution.calibration import NO_PRICING, Pricing
from attribution.charges import (
    AllocatedCharge,
    CategoryValue,
    Confidence,
    Costs,
    Evidence,
    OriginCharge,
    PriceBasis,
    sum_costs,
)
from attribution.errors import ConservationViolated
from attribution.meters import TOKEN_KINDS, Meter, TokenKind
from attribution.money import ZERO, add, split, subtract, total
from attribution.usage import Pairs, Usage, UsageKey

REQUEST_METADATA = "request_metadata"
SESSION_TAG = "session_tag"
RESOURCE_TAG = "resource_tag"
PRINCIPAL_TAG = "principal_tag"
ACCOUNT_TAG = "account_tag"
ACCOUNT_RULE = "account_rule"
EVIDENCE_ORDER = (REQUEST_METADATA, SESSION_TAG, RESOURCE_TAG, PRINCIPAL_TAG, ACCOUNT_TAG, ACCOUNT_RULE)

USAGE_NOT_LOGGED = "usage not logged"
NO_EVIDENCE = "no evidence of an owner"

# Where the bill's tag map keeps each kind of evidence. Session tags and tags of the principal share a prefix there.
_TAG_SOURCES = (("resourceTags/", RESOURCE_TAG), ("iamPrincipal/", PRINCIPAL_TAG), ("accountTag/", ACCOUNT_TAG))


@dataclass(frozen=True, slots=True)
class CostCategory:
    """An owner dimension whose value is inherited from the first evidence under one of `keys` (tag or metadata keys)."""

    name: str
    keys: tuple[str, ...]
    accounts: Pairs = ()
    evidence_order: tuple[str, ...] = EVIDENCE_ORDER


def evidence_of_tags(tags: Pairs) -> tuple[tuple[str, str, str], ...]:
    """(kind, key, value) of a bill row's cost allocation tags; tags from other sources are not evidence of an owner."""
    found = []
    for name, value in tags:
        for prefix, kind in _TAG_SOURCES:
            if name.startswith(prefix):
                found.append((kind, name[len(prefix) :], value))
    return tuple(found)


def evidence_of_usage(key: UsageKey) -> tuple[tuple[str, str, str], ...]:
    """(kind, key, value) of what the invocations themselves carried."""
    return tuple((REQUEST_METADATA, name, value) for name, value in key.request_metadata) + tuple(
        (SESSION_TAG, name, value) for name, value in key.session_tags
    )


def categorize(
    category: CostCategory, evidence: Iterable[tuple[str, str, str]], account_id: str, reason: str = NO_EVIDENCE
) -> CategoryValue:
    """The value of one cost category: the strongest evidence wins, weaker evidence that says otherwise is recorded.

    Among evidence of one kind, the category's earlier key wins.

    Keys are matched in any letter case, because the same tag reaches the bill spelled `Team` and `team`; values keep theirs.
    """
    keys = {key.casefold(): rank for rank, key in reversed(list(enumerate(category.keys)))}
    order = {kind: rank for rank, kind in enumerate(category.evidence_order)}
    stated = [(kind, keys[key.casefold()], value) for kind, key, value in evidence if key.casefold() in keys and value]
    stated += [(ACCOUNT_RULE, 0, value) for account, value in category.accounts if account == account_id and value]
    ranked = sorted((order[kind], rank, value, kind) for kind, rank, value in stated if kind in order)
    if not ranked:
        return CategoryValue(category.name, "", reason=reason)
    usable = list(dict.fromkeys(Evidence(kind, value) for _, _, value, kind in ranked))
    winner = usable[0]
    return CategoryValue(category.name, winner.value, winner, tuple(e for e in usable[1:] if e.value != winner.value))


Bucket = tuple[str, str, Meter]
Line = tuple[str, str]
"""What a bill row names of the calls behind it: the principal and the application inference profile, each possibly empty."""


class UsageIndex:
    """One day by the bucket that a bill row joins on: account, Region and meter; within it by what its rows name.

    Each counter stands behind one line of its bucket, the one that names most of it: usage of a principal that is billed by
    name is not behind a row that names nobody. Rows of one line (one per operation, say) share the usage behind them, which
    is held against what they bill together.
    """

    def __init__(self, usage: Iterable[Usage], charges: Iterable[OriginCharge] = ()) -> None:
        self._charges: dict[tuple[Bucket, Line], list[OriginCharge]] = defaultdict(list)
        for charge in sorted((c for c in charges if c.line_item_type == "Usage"), key=lambda c: c.digest()):
            self._charges[_bucket(charge), _line(charge)].append(charge)
        self._usage: dict[tuple[Bucket, Line], list[Usage]] = defaultdict(list)
        for item in sorted(usage, key=lambda u: u.key):
            for kind, units in item.counters.units.items():
                if units > 0:
                    bucket = (item.key.account_id, item.key.region, item.key.meter(kind))
                    lines = (line for line in _lines_of(item.key) if (bucket, line) in self._charges)
                    self._usage[bucket, next(lines, _NOT_BILLED)].append(item)

    def behind(self, charge: OriginCharge) -> list[Usage]:
        """The usage that a charge was billed for, as far as the bill lets it be told."""
        if (_bucket(charge), _line(charge)) in self._charges:
            return self._usage.get((_bucket(charge), _line(charge)), [])
        return [u for u in self._usage.get((_bucket(charge), _NOT_BILLED), []) if _line(charge) in _lines_of(u.key)]

    def billed_units(self, charge: OriginCharge) -> Decimal | None:
        """The units of all charges of this one's line; None where none of them states any."""
        known = [c.units for c in self._line_of(charge) if c.units is not None]
        return total(known) if known else None

    def requests_of(self, item: Usage, charge: OriginCharge) -> int:
        """The requests of a counter, if this is the first of the charges it stands behind: they count once in a day's sum."""
        return item.requests_counted_with(charge.meter.token_kind) if self._line_of(charge)[0] is charge else 0

    def _line_of(self, charge: OriginCharge) -> Sequence[OriginCharge]:
        return self._charges.get((_bucket(charge), _line(charge))) or (charge,)


# The line of usage that no row of the bill names.
_NOT_BILLED: Line = ("-", "-")


def _bucket(charge: OriginCharge) -> Bucket:
    return (charge.account_id, charge.region, charge.meter)


def _line(charge: OriginCharge) -> Line:
    return (charge.iam_principal, charge.resource_id if "application-inference-profile/" in charge.resource_id else "")


def _lines_of(key: UsageKey) -> tuple[Line, ...]:
    """The lines that a counter may stand behind, the most telling first."""
    principal, profile = key.iam_principal, key.inference_profile
    return ((principal, profile), (principal, ""), ("", profile), ("", ""))


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one origin charge as it is handed out: over one counter of usage or, where `usage` is None, what is not behind
    any. `weight` is its part of the sum of all weights, in units; None where the charge stays whole.
    """

    usage: Usage | None
    weight: Decimal | None
    charge: AllocatedCharge


def shares(charge: OriginCharge, usage: UsageIndex, categories: Sequence[CostCategory]) -> Iterator[Share]:
    """The shares of one origin charge. They sum to it in every cost metric and in units; several may have one owner."""
    own_evidence = evidence_of_tags(charge.tags)
    behind = usage.behind(charge) if charge.line_item_type == "Usage" else []
    kind = charge.meter.token_kind
    if not behind:
        reason = USAGE_NOT_LOGGED if kind in TOKEN_KINDS and charge.line_item_type == "Usage" else _reason(charge)
        owners = tuple(categorize(c, own_evidence, charge.account_id, reason) for c in categories)
        confidence = _confidence(owners, shared=False)
        whole = _allocated(charge, owners, charge.iam_principal, "", confidence, charge.units, 0, charge.costs)
        yield Share(None, None, whole)
        return

    weights = [Decimal(u.counters.units[kind]) for u in behind]
    logged = sum(u.counters.units[kind] for u in behind)
    billed = usage.billed_units(charge)
    unlogged = subtract(billed, Decimal(logged)) if billed is not None else ZERO
    if unlogged > 0:
        weights.append(unlogged)
    costs = charge.costs.split(weights)
    units = split(charge.units, weights) if charge.units is not None else [None] * len(weights)
    for item, weight, share, quantity in zip([*behind, None], weights, costs, units, strict=False):
        evidence = (*(evidence_of_usage(item.key) if item else ()), *own_evidence)
        reason = NO_EVIDENCE if item else USAGE_NOT_LOGGED
        owners = tuple(categorize(c, evidence, charge.account_id, reason) for c in categories)
        principal = charge.iam_principal or (item.key.iam_principal if item else "")
        profile = item.key.inference_profile if item else ""
        allocated = _allocated(
            charge,
            owners,
            principal,
            profile,
            _confidence(owners, shared=len(weights) > 1),
            quantity,
            usage.requests_of(item, charge) if item else 0,
            share,
            is_measured=item is not None,
        )
        yield Share(item, weight, allocated)


def allocate(charge: OriginCharge, usage: UsageIndex, categories: Sequence[CostCategory]) -> list[AllocatedCharge]:
    """Allocate one origin charge: its shares, those of one owner and evidence as one."""
    merged: dict[str, AllocatedCharge] = {}
    for share in shares(charge, usage, categories):
        name = share.charge.digest()
        merged[name] = _merge(merged[name], share.charge) if name in merged else share.charge
    return list(merged.values())


def _reason(charge: OriginCharge) -> str:
    """Why a charge without usage behind it may have no owner: what it is."""
    if charge.line_item_type != "Usage":
        return f"{charge.line_item_type}: shared by no rule"
    return NO_EVIDENCE if charge.feature == "inference" else f"{charge.feature}: {NO_EVIDENCE}"


def _confidence(owners: Sequence[CategoryValue], *, shared: bool) -> Confidence:
    evidence = [owner.evidence for owner in owners if owner.evidence]
    if not evidence:
        return Confidence.NONE
    if all(e.kind == ACCOUNT_RULE for e in evidence):
        return Confidence.RULE
    return Confidence.SPLIT_BY_USAGE if shared else Confidence.EXACT


def _allocated(
    charge: OriginCharge,
    owners: tuple[CategoryValue, ...],
    principal: str,
    profile: str,
    confidence: Confidence,
    units: Decimal | None,
    requests: int,
    costs: Costs,
    *,
    is_measured: bool = False,
) -> AllocatedCharge:
    return AllocatedCharge(
        origin=charge.digest(),
        usage_date=charge.usage_date,
        account_id=charge.account_id,
        region=charge.region,
        line_item_type=charge.line_item_type,
        feature=charge.feature,
        usage_type=charge.usage_type,
        meter=charge.meter,
        iam_principal=principal,
        inference_profile=profile or (charge.resource_id if "inference-profile/" in charge.resource_id else ""),
        categories=owners,
        confidence=confidence,
        currency=charge.currency,
        units=units,
        requests=requests,
        costs=costs,
        is_measured=is_measured,
    )


def _merge(left: AllocatedCharge, right: AllocatedCharge) -> AllocatedCharge:
    units = add(left.units, right.units) if left.units is not None and right.units is not None else None
    return replace(left, units=units, requests=left.requests + right.requests, costs=left.costs + right.costs)


def allocate_day(
    charges: Sequence[OriginCharge], usage: Sequence[Usage], categories: Sequence[CostCategory]
) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    index = UsageIndex(usage, charges)
    allocated = [share for charge in charges for share in allocate(charge, index, categories)]
    verify_conservation(charges, allocated)
    return sorted(allocated, key=lambda a: a.digest())


def totals_by_currency(charges: Iterable[OriginCharge | AllocatedCharge]) -> dict[str, Costs]:
    """The sum in every metric, per currency."""
    grouped: dict[str, list[Costs]] = defaultdict(list)
    for charge in charges:
        grouped[charge.currency].append(charge.costs)
    return {currency: sum_costs(costs) for currency, costs in sorted(grouped.items())}


def verify_conservation(origin: Sequence[OriginCharge], allocated: Sequence[AllocatedCharge]) -> None:
    """Raise unless allocated plus unallocated equals the origin charges, per currency and metric, to the last digit."""
    before, after = totals_by_currency(origin), totals_by_currency(allocated)
    if before != after:
        raise ConservationViolated(f"allocated {after} from origin charges of {before}: the day is not published")


def estimate_day(
    usage: Sequence[Usage],
    categories: Sequence[CostCategory],
    currency: str = "USD",
    *,
    pricing: Pricing = NO_PRICING,
    profile_tags: Mapping[str, Pairs] | None = None,
) -> list[AllocatedCharge]:
    """A day that is not billed yet: each counter's units at what they are expected to be billed at, allocated by what the
    invocations carried and by the tags of the inference profile they went through, which the bill will carry.
    """
    tags_of = profile_tags or {}
    estimated: list[AllocatedCharge] = []
    for item in sorted(usage, key=lambda u: u.key):
        key = item.key
        tags = tuple((RESOURCE_TAG, name, value) for name, value in tags_of.get(key.inference_profile, ()))
        owners = tuple(categorize(c, (*evidence_of_usage(key), *tags), key.account_id) for c in categories)
        confidence = _confidence(owners, shared=False)
        for kind in TokenKind:
            units = item.counters.units.get(kind, 0)
            if not units:
                continue
            costs, basis = _estimate(item, kind, pricing)
            estimated.append(
                AllocatedCharge(
                    origin=key.digest(),
                    usage_date=key.usage_date,
                    account_id=key.account_id,
                    region=key.region,
                    line_item_type="Usage",
                    feature="unpriced" if basis is PriceBasis.UNPRICED else "inference",
                    usage_type="",
                    meter=key.meter(kind),
                    iam_principal=key.iam_principal,
                    inference_profile=key.inference_profile,
                    categories=owners,
                    confidence=confidence,
                    currency=currency,
                    units=Decimal(units),
                    requests=item.requests_counted_with(kind),
                    costs=costs,
                    price_basis=basis,
                    is_measured=True,
                )
            )
    return sorted(estimated, key=lambda a: a.digest())


def _estimate(item: Usage, kind: TokenKind, pricing: Pricing) -> tuple[Costs, PriceBasis]:
    amount = item.counters.estimated.get(kind, ZERO)
    if item.counters.unpriced.get(kind):
        return Costs.uniform(amount), PriceBasis.UNPRICED
    key = item.key
    return pricing.costs_of(amount, item.counters.units[kind], key.meter(kind), key.region, key.usage_date)


def unallocated_by_reason(charges: Iterable[AllocatedCharge], category: str) -> Mapping[str, Costs]:
    """What no owner was found for in one cost category, by reason."""
    grouped: dict[str, list[Costs]] = defaultdict(list)
    for charge in charges:
        for value in charge.categories:
            if value.category == category and not value.is_allocated:
                grouped[value.reason].append(charge.costs)
    return {reason: sum_costs(costs) for reason, costs in sorted(grouped.items())}
