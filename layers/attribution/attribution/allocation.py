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
from operator import attrgetter

from attribution.calibration import NO_PRICING, Pricing
from attribution.charges import AllocatedCharge, CategoryValue, Costs, OriginCharge, PriceBasis, sum_costs
from attribution.cost_categories import NO_EVIDENCE, aws_tags
from attribution.errors import ConservationViolated
from attribution.expressions import Subject
from attribution.meters import TokenKind
from attribution.money import ZERO, split, total
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import split_shared
from attribution.usage import Pairs, Usage, UsageKey
from attribution.usage_index import UsageIndex, is_capacity, is_logged

USAGE_NOT_LOGGED = "usage not logged"
IDLE_CAPACITY = "idle capacity"
NOT_USED = f"{IDLE_CAPACITY}: no logged request used it"
SPREAD = "usage not logged, spread over what was logged"
_order = attrgetter("account_id", "iam_principal", "meter.model", "meter.token_kind", "origin", "inference_profile")
# An estimate does not know the product code that the bill will have; AWS sells most models under this one.
_ESTIMATED_SERVICE = "AmazonBedrock"


def allocate(charge: OriginCharge, usage: UsageIndex, rules: Rules) -> list[AllocatedCharge]:
    """Find owners for one origin charge, before shared cost is split. The shares sum to it in every metric and in units."""
    origin, tags = charge.digest(), aws_tags(charge.tags)
    behind = usage.behind(charge)
    if not behind:
        owners = rules.decide(_subject(charge, None, tags, rules), _reason(charge), is_shared=False)
        return [_allocated(charge, origin, owners, None, charge.units, 0, charge.costs)]

    unused = usage.unused(charge, behind)
    is_spread = unused > 0 and not is_capacity(charge) and rules.incomplete_logging is IncompleteLogging.SPREAD
    rest = [unused] if unused > 0 and not is_spread else []
    weights = [*(b.units for b in behind), *rest]
    costs = charge.costs.split(weights)
    units = split(charge.units, weights) if charge.units is not None else []
    # By everything in which shares of one charge can differ; first come, first in order.
    alike: dict[tuple[str, str, str, tuple[CategoryValue, ...]], list[int]] = defaultdict(list)
    for place, used in enumerate([*behind, *(None for _ in rest)]):
        item = used.usage if used else None
        reason = NO_EVIDENCE if item else _reason(charge)
        subject = _subject(charge, item, tags, rules)
        owners = rules.decide(subject, reason, is_shared=len(weights) > 1 or is_spread)
        if is_spread:
            owners = tuple(replace(owner, reason=SPREAD) if owner.value else owner for owner in owners)
        alike[subject.iam_principal, subject.inference_profile, subject.feature, owners].append(place)
    return [
        _allocated(
            charge,
            origin,
            owners,
            behind[places[0]].usage if places[0] < len(behind) else None,
            total(units[p] for p in places) if units else None,
            sum(behind[p].requests for p in places if p < len(behind)),
            sum_costs(costs[p] for p in places),
        )
        for (*_, owners), places in alike.items()
    ]


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
        feature=_feature(charge, item),
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


def _feature(charge: OriginCharge, item: Usage | None) -> str:
    """What a charge, or a share of it, is for: of capacity, what nobody used is another thing than what was used."""
    return IDLE_CAPACITY if item is None and is_capacity(charge) else charge.feature


def _reason(charge: OriginCharge) -> str:
    """Why what has no usage behind it may have no owner: what it is."""
    if charge.line_item_type != "Usage":
        return f"{charge.line_item_type}: shared by no rule"
    if is_capacity(charge):
        return NOT_USED
    if is_logged(charge):
        return USAGE_NOT_LOGGED
    return NO_EVIDENCE if charge.feature == "inference" else f"{charge.feature}: {NO_EVIDENCE}"


def _allocated(
    charge: OriginCharge,
    origin: str,
    owners: tuple[CategoryValue, ...],
    item: Usage | None,
    units: Decimal | None,
    requests: int,
    costs: Costs,
) -> AllocatedCharge:
    return AllocatedCharge(
        origin=origin,
        usage_date=charge.usage_date,
        account_id=charge.account_id,
        region=charge.region,
        line_item_type=charge.line_item_type,
        feature=_feature(charge, item),
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


def allocate_day(charges: Sequence[OriginCharge], usage: Sequence[Usage], rules: Rules) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    index = UsageIndex(usage, charges)
    owned = [share for charge in charges for share in allocate(charge, index, rules)]
    allocated = split_shared(owned, rules.categories, rules.shared_charges)
    verify_conservation(charges, allocated)
    return _in_order(allocated)


def _in_order(charges: Iterable[AllocatedCharge]) -> list[AllocatedCharge]:
    """One order, whatever the order of what they were made from: by who and what first."""
    alike: dict[tuple[object, ...], list[AllocatedCharge]] = defaultdict(list)
    for charge in charges:
        alike[_order(charge)].append(charge)
    # Those that differ in other things only are few, and a digest takes longer than everything else here.
    return [
        c for _, found in sorted(alike.items()) for c in (sorted(found, key=AllocatedCharge.digest) if found[1:] else found)
    ]


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
    return _in_order(split_shared(estimated, rules.categories, rules.shared_charges))


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
