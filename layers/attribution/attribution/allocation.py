"""Allocation: one origin charge becomes allocated charges that sum to it exactly, each with the evidence for its owner.

A charge that the bill reports coarser than the usage behind it (one role, many tenants) is split over the usage of its bucket
in proportion to that usage. What the bill counted and no log recorded is not spread over those who were logged, unless the
rules say so: that part is allocated by what the charge itself carries, or stays unallocated with the reason. Last, shared cost
is handed out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter

from attribution.calibration import NO_PRICING, Pricing
from attribution.charges import AllocatedCharge, CategoryValue, Costs, OriginCharge, PriceBasis, sum_costs
from attribution.cost_categories import NO_EVIDENCE, aws_tags
from attribution.day_directory import NO_DIRECTORY, DayDirectory
from attribution.errors import ConservationViolated
from attribution.expressions import Subject
from attribution.meters import TokenKind
from attribution.money import ZERO, split, total
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import split_shared
from attribution.usage import Usage, UsageKey
from attribution.usage_index import UsageIndex, is_capacity, is_logged

USAGE_NOT_LOGGED = "usage not logged"
IDLE_CAPACITY = "idle capacity"
NOT_USED = f"{IDLE_CAPACITY}: no logged request used it"
SPREAD = "usage not logged, spread over what was logged"
# All by which shares of one charge can differ, and charges of one day.
_told_apart = attrgetter("iam_principal", "inference_profile", "feature", "is_measured", "categories")
_order = attrgetter("account_id", "iam_principal", "meter.model", "meter.token_kind", "origin", "inference_profile")
# An estimate does not know the product code that the bill will have; AWS sells most models under this one.
_ESTIMATED_SERVICE = "AmazonBedrock"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one origin charge as it is handed out: over one counter of usage or, where `usage` is None, what has none.

    `weight` is its part of the sum of all weights, in units; None where the charge stays whole.
    """

    usage: Usage | None
    weight: Decimal | None
    charge: AllocatedCharge


def shares(charge: OriginCharge, usage: UsageIndex, rules: Rules, directory: DayDirectory = NO_DIRECTORY) -> Iterator[Share]:
    """The shares of one origin charge, with their owners before shared cost is split.

    They sum to it in every cost metric and in units. Several may have one owner.
    """
    origin, tags = charge.digest(), aws_tags(charge.tags)
    behind = usage.behind(charge)
    if not behind:
        owners = rules.decide(_subject(charge, None, tags, rules, directory), _reason(charge), is_shared=False)
        yield Share(None, None, _allocated(charge, origin, owners, None, charge.units, 0, charge.costs))
        return

    unused = usage.unused(charge, behind)
    is_spread = unused > 0 and not is_capacity(charge) and rules.incomplete_logging is IncompleteLogging.SPREAD
    rest = [unused] if unused > 0 and not is_spread else []
    weights = [*(b.units for b in behind), *rest]
    costs = charge.costs.split(weights)
    units = split(charge.units, weights) if charge.units is not None else [None] * len(weights)
    for used, weight, cost, quantity in zip([*behind, None], weights, costs, units, strict=False):
        item = used.usage if used else None
        reason = NO_EVIDENCE if item else _reason(charge)
        subject = _subject(charge, item, tags, rules, directory)
        owners = rules.decide(subject, reason, is_shared=len(weights) > 1 or is_spread)
        if is_spread:
            owners = tuple(replace(owner, reason=SPREAD) if owner.value else owner for owner in owners)
        yield Share(item, weight, _allocated(charge, origin, owners, item, quantity, used.requests if used else 0, cost))


def allocate(
    charge: OriginCharge, usage: UsageIndex, rules: Rules, directory: DayDirectory = NO_DIRECTORY
) -> list[AllocatedCharge]:
    """Find owners for one origin charge, before shared cost is split: its shares, those of one owner and evidence as one."""
    alike: dict[tuple[object, ...], list[AllocatedCharge]] = defaultdict(list)
    for share in shares(charge, usage, rules, directory):
        alike[_told_apart(share.charge)].append(share.charge)
    return [_merged(found) for found in alike.values()]


def _subject(
    charge: OriginCharge, item: Usage | None, tags: Mapping[str, str], rules: Rules, directory: DayDirectory
) -> Subject:
    """A share of a charge as rules see it: what the bill says, what the usage behind it says, and what the directory adds."""
    meter = charge.meter
    subject = Subject(
        linked_account=charge.account_id,
        region=charge.region,
        record_type=charge.line_item_type,
        service_code=charge.product_code,
        usage_type=charge.usage_type,
        linked_account_name=_account_name(charge.account_id, rules, directory),
        operation=charge.operation,
        feature=_feature(charge, item),
        model=meter.model,
        token_kind=meter.token_kind,
        tier=meter.tier,
        routing=meter.routing,
        iam_principal=charge.iam_principal,
        inference_profile=_profile(charge, item),
        organizational_unit=directory.organizational_units.get(charge.account_id, ""),
    )
    if item is not None:
        _add_usage(subject, item.key)
    resources = (charge.resource_id, subject.inference_profile, subject.project)
    added = directory.added_tags(subject.iam_principal, resources, charge.account_id, subject.session_tags)
    subject.tags = {**added, **tags}
    return subject


def _account_name(account_id: str, rules: Rules, directory: DayDirectory) -> str:
    """The name that the policy states, else the one that AWS Organizations has."""
    return rules.account_name(account_id) or directory.account_names.get(account_id, "")


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


def subject_of_usage(key: UsageKey, kind: TokenKind | None, rules: Rules, directory: DayDirectory = NO_DIRECTORY) -> Subject:
    """Usage as rules see it before the bill: what only a bill knows is empty. `kind` None is a call as a whole."""
    subject = Subject(
        linked_account=key.account_id,
        region=key.region,
        service_code=_ESTIMATED_SERVICE,
        linked_account_name=_account_name(key.account_id, rules, directory),
        feature="inference",
        model=key.model,
        token_kind=kind or "",
        tier=key.tier,
        routing=key.routing,
        inference_profile=key.inference_profile,
        tags=directory.tags_of_usage(key),
        organizational_unit=directory.organizational_units.get(key.account_id, ""),
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
        return USAGE_NOT_LOGGED if charge.feature == "inference" else f"{charge.feature}: {USAGE_NOT_LOGGED}"
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
        is_measured=item is not None,
    )


def _merged(alike: Sequence[AllocatedCharge]) -> AllocatedCharge:
    first = alike[0]
    if len(alike) == 1:
        return first
    units = total(c.units for c in alike if c.units is not None) if first.units is not None else None
    return replace(first, units=units, requests=sum(c.requests for c in alike), costs=sum_costs(c.costs for c in alike))


def allocate_day(
    charges: Sequence[OriginCharge], usage: Sequence[Usage], rules: Rules, directory: DayDirectory = NO_DIRECTORY
) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    index = UsageIndex(usage, charges)
    owned = [share for charge in charges for share in allocate(charge, index, rules, directory)]
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
    directory: DayDirectory = NO_DIRECTORY,
) -> list[AllocatedCharge]:
    """A day that is not billed yet: each counter's units at what they are expected to be billed at, allocated by what the
    invocations carried and by the tags of caller, inference profile, project and account, which the bill will carry.
    """
    estimated: list[AllocatedCharge] = []
    for item in sorted(usage, key=lambda u: u.key):
        key = item.key
        for kind in TokenKind:
            units = item.counters.units.get(kind, 0)
            if not units:
                continue
            costs, basis = _estimate(item, kind, pricing)
            owners = rules.decide(subject_of_usage(key, kind, rules, directory), NO_EVIDENCE, is_shared=False)
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
                    is_measured=True,
                )
            )
    return _in_order(split_shared(estimated, rules.categories, rules.shared_charges))


def _estimate(item: Usage, kind: TokenKind, pricing: Pricing) -> tuple[Costs, PriceBasis]:
    amount = item.counters.estimated.get(kind, ZERO)
    if item.counters.unpriced.get(kind):
        return Costs.uniform(amount), PriceBasis.UNPRICED
    key = item.key
    return pricing.costs_of(amount, item.counters.units[kind], key.meter(kind), key.region, key.usage_date)
