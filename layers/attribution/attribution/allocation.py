"""Allocation: one origin charge becomes allocated charges that sum to it exactly, each with the evidence for its owner.

A charge that the bill reports coarser than the usage behind it (one role, many tenants) is split over the usage of its bucket
in proportion to that usage. What the bill counted and no log recorded is not spread over those who were logged, unless the
rules say so: that part is allocated by what the charge itself carries, or stays unallocated with the reason. Last, shared cost
is handed out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from attribution.calibration import NO_PRICING, Pricing
from attribution.charges import AllocatedCharge, CategoryValue, Costs, OriginCharge, PriceBasis, sum_costs
from attribution.cost_categories import NO_EVIDENCE, aws_tags
from attribution.errors import ConservationViolated
from attribution.expressions import Subject
from attribution.meters import TOKEN_KINDS, Meter, TokenKind
from attribution.money import ZERO, add, split, subtract, total
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import split_shared
from attribution.usage import Pairs, Usage, UsageKey

USAGE_NOT_LOGGED = "usage not logged"
SPREAD = "usage not logged, spread over what was logged"
# An estimate does not know the product code that the bill will have; AWS sells most models under this one.
_ESTIMATED_SERVICE = "AmazonBedrock"


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


def allocate(charge: OriginCharge, usage: UsageIndex, rules: Rules) -> list[AllocatedCharge]:
    """Find owners for one origin charge, before shared cost is split. The shares sum to it in every metric and in units."""
    tags = aws_tags(charge.tags)
    behind = usage.behind(charge) if charge.line_item_type == "Usage" else []
    kind = charge.meter.token_kind
    if not behind:
        reason = USAGE_NOT_LOGGED if kind in TOKEN_KINDS and charge.line_item_type == "Usage" else _reason(charge)
        owners = rules.decide(_subject(charge, None, tags, rules), reason, is_shared=False)
        return [_allocated(charge, owners, None, charge.units, 0, charge.costs)]

    weights = [Decimal(u.counters.units[kind]) for u in behind]
    unlogged = _unlogged(charge, usage, total(weights))
    is_spread = unlogged > 0 and rules.incomplete_logging is IncompleteLogging.SPREAD
    if unlogged > 0 and not is_spread:
        weights.append(unlogged)
    costs = charge.costs.split(weights)
    units = split(charge.units, weights) if charge.units is not None else [None] * len(weights)
    merged: dict[str, AllocatedCharge] = {}
    for item, share, quantity in zip([*behind, None], costs, units, strict=False):
        reason = NO_EVIDENCE if item else USAGE_NOT_LOGGED
        owners = rules.decide(_subject(charge, item, tags, rules), reason, is_shared=len(weights) > 1 or is_spread)
        if is_spread:
            owners = tuple(replace(owner, reason=SPREAD) if owner.value else owner for owner in owners)
        requests = usage.requests_of(item, charge) if item else 0
        allocated = _allocated(charge, owners, item, quantity, requests, share)
        name = allocated.digest()
        merged[name] = _merge(merged[name], allocated) if name in merged else allocated
    return list(merged.values())


def _unlogged(charge: OriginCharge, usage: UsageIndex, logged: Decimal) -> Decimal:
    """The units that the bill counted and no log recorded; zero where the bill does not say what it counted."""
    billed = usage.billed_units(charge)
    return max(subtract(billed, logged), ZERO) if billed is not None else ZERO


def _subject(charge: OriginCharge, item: Usage | None, tags: Mapping[str, str], rules: Rules) -> Subject:
    """A share of a charge as rules see it: what the bill says, and what the usage behind it says."""
    meter = charge.meter
    subject = Subject(
        linked_account=charge.account_id,
        region=charge.region,
        record_type=charge.line_item_type,
        service_code=charge.product_code,
        usage_type=charge.usage_type,
        linked_account_name=rules.account_name(charge.account_id),
        operation=charge.operation,
        feature=charge.feature,
        model=meter.model,
        token_kind=meter.token_kind,
        tier=meter.tier,
        routing=meter.routing,
        iam_principal=charge.iam_principal,
        inference_profile=_profile(charge, item),
        tags=tags,
    )
    if item is not None:
        _add_usage(subject, item.key)
    return subject


def _add_usage(subject: Subject, key: UsageKey) -> None:
    subject.iam_principal = subject.iam_principal or key.iam_principal
    subject.source_identity = key.source_identity
    subject.project = key.project
    subject.lambda_function = key.lambda_function
    subject.request_metadata = key.request_metadata
    subject.session_tags = key.session_tags


def _profile(charge: OriginCharge, item: Usage | None) -> str:
    named = item.key.inference_profile if item else ""
    return named or (charge.resource_id if "inference-profile/" in charge.resource_id else "")


def subject_of_usage(key: UsageKey, kind: TokenKind | None, tags: Mapping[str, str], rules: Rules) -> Subject:
    """Usage as rules see it before the bill: what only a bill knows is empty. `kind` None is a call as a whole."""
    subject = Subject(
        linked_account=key.account_id,
        region=key.region,
        service_code=_ESTIMATED_SERVICE,
        linked_account_name=rules.account_name(key.account_id),
        feature="inference",
        model=key.model,
        token_kind=kind or "",
        tier=key.tier,
        routing=key.routing,
        inference_profile=key.inference_profile,
        tags=tags,
    )
    _add_usage(subject, key)
    return subject


def _reason(charge: OriginCharge) -> str:
    """Why a charge without usage behind it may have no owner: what it is."""
    if charge.line_item_type != "Usage":
        return f"{charge.line_item_type}: shared by no rule"
    return NO_EVIDENCE if charge.feature == "inference" else f"{charge.feature}: {NO_EVIDENCE}"


def _allocated(
    charge: OriginCharge,
    owners: tuple[CategoryValue, ...],
    item: Usage | None,
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
        iam_principal=charge.iam_principal or (item.key.iam_principal if item else ""),
        inference_profile=_profile(charge, item),
        categories=owners,
        currency=charge.currency,
        units=units,
        requests=requests,
        costs=costs,
    )


def _merge(left: AllocatedCharge, right: AllocatedCharge) -> AllocatedCharge:
    units = add(left.units, right.units) if left.units is not None and right.units is not None else None
    return replace(left, units=units, requests=left.requests + right.requests, costs=left.costs + right.costs)


def allocate_day(charges: Sequence[OriginCharge], usage: Sequence[Usage], rules: Rules) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    index = UsageIndex(usage, charges)
    owned = [share for charge in charges for share in allocate(charge, index, rules)]
    allocated = split_shared(owned, rules.categories, rules.shared_charges)
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
    rules: Rules,
    currency: str = "USD",
    *,
    pricing: Pricing = NO_PRICING,
    profile_tags: Mapping[str, Pairs] | None = None,
) -> list[AllocatedCharge]:
    """A day that is not billed yet: each counter's units at what they are expected to be billed at, allocated by what the
    invocations carried and by the tags of the inference profile they went through, which the bill will carry.
    """
    tags_of = {profile: dict(tags) for profile, tags in (profile_tags or {}).items()}
    estimated: list[AllocatedCharge] = []
    for item in sorted(usage, key=lambda u: u.key):
        key = item.key
        tags = tags_of.get(key.inference_profile, {})
        for kind in TokenKind:
            units = item.counters.units.get(kind, 0)
            if not units:
                continue
            costs, basis = _estimate(item, kind, pricing)
            owners = rules.decide(subject_of_usage(key, kind, tags, rules), NO_EVIDENCE, is_shared=False)
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
                    currency=currency,
                    units=Decimal(units),
                    requests=item.requests_counted_with(kind),
                    costs=costs,
                    price_basis=basis,
                )
            )
    return sorted(split_shared(estimated, rules.categories, rules.shared_charges), key=lambda a: a.digest())


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
