"""Allocation: one origin charge becomes allocated charges that sum to it exactly, each with the evidence for its owner.

A charge that the bill reports coarser than the usage behind it (one role, many tenants) is split over the usage of its bucket
in proportion to that usage. What the bill counted and no log recorded is not spread over those who were logged: that part is
allocated by what the charge itself carries, or stays unallocated with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from attribution.tag_history import ACCOUNT, PRINCIPALS, identity_of
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


@dataclass(frozen=True, slots=True)
class TagsOfDay:
    """The directory's tags of one usage day by the id of what has them, as far as the rules use them.

    `billed` names the (kind, key) that the day's bill carries, keys in lower case: AWS applied those hour by hour, and a charge
    without them was not tagged. The directory fills in what the bill knows nothing of, as a key that is not activated.
    """

    tags: Mapping[str, Pairs] = field(default_factory=dict)
    billed: frozenset[tuple[str, str]] = frozenset()

    def evidence(
        self, principal: str, resources: Iterable[str], account_id: str, session_tags: Pairs = ()
    ) -> tuple[tuple[str, str, str], ...]:
        """(kind, key, value) of a caller, what was called, and the account, as a bill would carry them.

        A session tag takes the place of the principal's tag of that key, whatever its letter case.
        """
        overridden = {key.casefold() for key, _ in session_tags}
        own = [(key, value) for key, value in self._tags_of(principal) if key.casefold() not in overridden]
        found = [
            *((PRINCIPAL_TAG, key, value) for key, value in (*own, *session_tags)),
            *((RESOURCE_TAG, key, value) for resource in sorted({*resources}) for key, value in self._tags_of(resource)),
            *((ACCOUNT_TAG, key, value) for key, value in self._tags_of(account_id)),
        ]
        return tuple((kind, key, value) for kind, key, value in found if (kind, key.casefold()) not in self.billed)

    def evidence_behind(self, key: UsageKey) -> tuple[tuple[str, str, str], ...]:
        """(kind, key, value) of everything that a counter names."""
        return self.evidence(key.iam_principal, (key.inference_profile, key.project), key.account_id, key.session_tags)

    def _tags_of(self, text: str) -> Pairs:
        identity = identity_of(text)
        return self.tags.get(identity.id, ()) if identity else ()


NO_TAGS = TagsOfDay()


def ids_named(keys: Iterable[UsageKey], charges: Iterable[OriginCharge] = ()) -> list[str]:
    """The ids, in the directory, of everything that usage and charges name: callers, what they called, accounts."""
    named = {text for k in keys for text in (k.iam_principal, k.inference_profile, k.project, k.account_id, k.model)}
    named |= {text for c in charges for text in (c.iam_principal, c.resource_id, c.account_id)}
    return sorted({identity.id for identity in map(identity_of, named) if identity})


def tags_of_day(
    tags: Mapping[str, Pairs], categories: Iterable[CostCategory], charges: Iterable[OriginCharge] = ()
) -> TagsOfDay:
    """What the directory adds to a day: tags under keys of the rules, without those that the day's bill carries itself."""
    billed = frozenset((kind, key.casefold()) for c in charges for kind, key, value in evidence_of_tags(c.tags) if value)
    used = {key.casefold() for category in categories for key in category.keys}
    kept = {
        name: tuple((k, v) for k, v in of_one if k.casefold() in used and (_kind_of_tag(name), k.casefold()) not in billed)
        for name, of_one in tags.items()
    }
    return TagsOfDay({name: of_one for name, of_one in sorted(kept.items()) if of_one}, billed)


def _kind_of_tag(name: str) -> str:
    identity = identity_of(name)
    kind = identity.kind if identity else ""
    return ACCOUNT_TAG if kind == ACCOUNT else PRINCIPAL_TAG if kind in PRINCIPALS else RESOURCE_TAG


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


def allocate(
    charge: OriginCharge, usage: UsageIndex, categories: Sequence[CostCategory], directory: TagsOfDay = NO_TAGS
) -> list[AllocatedCharge]:
    """Allocate one origin charge. The shares sum to it in every cost metric and in units."""
    own_evidence = (
        *evidence_of_tags(charge.tags),
        *directory.evidence(charge.iam_principal, (charge.resource_id,), charge.account_id),
    )
    behind = usage.behind(charge) if charge.line_item_type == "Usage" else []
    kind = charge.meter.token_kind
    if not behind:
        reason = USAGE_NOT_LOGGED if kind in TOKEN_KINDS and charge.line_item_type == "Usage" else _reason(charge)
        owners = tuple(categorize(c, own_evidence, charge.account_id, reason) for c in categories)
        return [
            _allocated(
                charge, owners, charge.iam_principal, "", _confidence(owners, shared=False), charge.units, 0, charge.costs
            )
        ]

    weights = [Decimal(u.counters.units[kind]) for u in behind]
    logged = sum(u.counters.units[kind] for u in behind)
    billed = usage.billed_units(charge)
    unlogged = subtract(billed, Decimal(logged)) if billed is not None else ZERO
    if unlogged > 0:
        weights.append(unlogged)
    costs = charge.costs.split(weights)
    units = split(charge.units, weights) if charge.units is not None else [None] * len(weights)
    merged: dict[str, AllocatedCharge] = {}
    for item, share, quantity in zip([*behind, None], costs, units, strict=False):
        evidence = _evidence_behind(charge, item.key, directory) if item else own_evidence
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
        )
        name = allocated.digest()
        merged[name] = _merge(merged[name], allocated) if name in merged else allocated
    return list(merged.values())


def _evidence_behind(charge: OriginCharge, key: UsageKey, directory: TagsOfDay) -> tuple[tuple[str, str, str], ...]:
    """The evidence for a share of a charge: what its requests carried, the bill's tags, and what the directory adds."""
    resources = (charge.resource_id, key.inference_profile, key.project)
    principal = charge.iam_principal or key.iam_principal
    return (
        *evidence_of_usage(key),
        *evidence_of_tags(charge.tags),
        *directory.evidence(principal, resources, charge.account_id, key.session_tags),
    )


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
    )


def _merge(left: AllocatedCharge, right: AllocatedCharge) -> AllocatedCharge:
    units = add(left.units, right.units) if left.units is not None and right.units is not None else None
    return replace(left, units=units, requests=left.requests + right.requests, costs=left.costs + right.costs)


def allocate_day(
    charges: Sequence[OriginCharge],
    usage: Sequence[Usage],
    categories: Sequence[CostCategory],
    directory: TagsOfDay = NO_TAGS,
) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    index = UsageIndex(usage, charges)
    allocated = [share for charge in charges for share in allocate(charge, index, categories, directory)]
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
    directory: TagsOfDay = NO_TAGS,
) -> list[AllocatedCharge]:
    """A day that is not billed yet: each counter's units at what they are expected to be billed at, allocated by what the
    invocations carried and by the tags of caller, inference profile, project and account, which the bill will carry.
    """
    estimated: list[AllocatedCharge] = []
    for item in sorted(usage, key=lambda u: u.key):
        key = item.key
        evidence = (*evidence_of_usage(key), *directory.evidence_behind(key))
        owners = tuple(categorize(c, evidence, key.account_id) for c in categories)
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
