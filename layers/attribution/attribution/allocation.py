"""Allocation: one origin charge becomes allocated charges that sum to it exactly, each with the evidence for its owner.

A charge that the bill reports coarser than the usage behind it (one role, many tenants) is split over the usage of its bucket
in proportion to that usage. What the bill counted and no log recorded is not spread over those who were logged, unless the
rules say so: that part is allocated by what the charge itself carries, or stays unallocated with the reason. Last, shared cost
is handed out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import NamedTuple

from attribution.calibration import NO_PRICING, Pricing
from attribution.charges import AllocatedCharge, CategoryValue, Costs, OriginCharge, PriceBasis, sum_costs
from attribution.cost_categories import NO_EVIDENCE, aws_tags
from attribution.day_directory import NO_DIRECTORY, DayDirectory
from attribution.errors import ConservationViolated
from attribution.expressions import Dimension, Source, Subject
from attribution.meters import TokenKind
from attribution.money import ZERO, Weights
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import split_shared
from attribution.usage import Usage, UsageKey, in_order
from attribution.usage_index import UsageIndex, is_capacity, is_logged

USAGE_NOT_LOGGED = "usage not logged"
IDLE_CAPACITY = "idle capacity"
NOT_USED = f"{IDLE_CAPACITY}: no logged request used it"
SPREAD = "usage not logged, spread over what was logged"
# Who, then what: a rule for an account or a principal, and usage of one, change charges that lie together.
_order = attrgetter("account_id", "iam_principal", "meter.model", "meter.token_kind", "origin", "inference_profile")
# An estimate does not know the product code that the bill will have; AWS sells most models under this one.
_ESTIMATED_SERVICE = "AmazonBedrock"
# What of a charge may decide its owners: this, and of the rest what rules look at.
_ALWAYS_SEEN = ("account_id", "iam_principal", "resource_id", "tags", "line_item_type")
_SEEN_BY_DIMENSION = {
    Dimension.REGION: ("region",),
    Dimension.SERVICE_CODE: ("product_code",),
    Dimension.USAGE_TYPE: ("usage_type",),
    Dimension.OPERATION: ("operation",),
    Dimension.FEATURE: ("feature", "meter.token_kind"),
    Dimension.MODEL: ("meter.model",),
    Dimension.TOKEN_KIND: ("meter.token_kind",),
    Dimension.TIER: ("meter.tier",),
    Dimension.ROUTING: ("meter.routing",),
}

Owners = tuple[CategoryValue, ...]
"""The value of every cost category for one share."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one origin charge as it is handed out: over one counter of usage or, where `usage` is None, what has none.

    `weight` is its part of the sum of all weights, in units; None where the charge stays whole.
    """

    usage: Usage | None
    weight: Decimal | None
    charge: AllocatedCharge


class _Portion(NamedTuple):
    """A share before it has amounts."""

    usage: Usage | None
    weight: Decimal | int | None
    requests: int
    owners: Owners


class Allocation:
    """Finds the owners of origin charges, before shared cost is split: of those it was made of."""

    def __init__(
        self, charges: Iterable[OriginCharge], usage: Iterable[Usage], rules: Rules, directory: DayDirectory = NO_DIRECTORY
    ) -> None:
        self._index = UsageIndex(usage, charges)
        self._rules = rules
        self._directory = directory
        # Charges differ in much that no rule looks at: each case is decided once, and equal owners are one object.
        self._case = attrgetter(*_ALWAYS_SEEN, *_seen_by(rules))
        self._decided: dict[tuple[object, ...], dict[tuple[object, ...], Owners]] = defaultdict(dict)
        self._equal: dict[Owners, Owners] = {}

    def shares(self, charge: OriginCharge) -> Iterator[Share]:
        """The shares of one origin charge.

        They sum to it in every cost metric and in units. Several may have one owner.
        """
        portions = self._portions(charge)
        for portion, part in zip(portions, _parts(charge, portions, range(len(portions))), strict=True):
            yield Share(portion.usage, None if portion.weight is None else Decimal(portion.weight), part)

    def allocate(self, charge: OriginCharge) -> list[AllocatedCharge]:
        """The shares of one origin charge, those of one owner and evidence as one."""
        portions, profile = self._portions(charge), _profile(charge, None)
        places: dict[object, int] = {}
        together = [places.setdefault(_told_apart(portion, profile), len(places)) for portion in portions]
        return _parts(charge, portions, together)

    def _portions(self, charge: OriginCharge) -> list[_Portion]:
        decided = self._decided[self._case(charge)]
        behind, unused = self._index.behind(charge)
        if not behind:
            return [_Portion(None, None, 0, self._owners(decided, charge, None, is_shared=False))]
        is_spread = unused > 0 and not is_capacity(charge) and self._rules.incomplete_logging is IncompleteLogging.SPREAD
        is_left = unused > 0 and not is_spread
        is_shared = len(behind) > 1 or is_left or is_spread
        portions = [
            _Portion(item, units, requests, self._owners(decided, charge, item, is_shared=is_shared, is_spread=is_spread))
            for item, units, requests in behind
        ]
        if is_left:
            portions.append(_Portion(None, unused, 0, self._owners(decided, charge, None, is_shared=is_shared)))
        return portions

    def _owners(
        self,
        decided: dict[tuple[object, ...], Owners],
        charge: OriginCharge,
        item: Usage | None,
        *,
        is_shared: bool,
        is_spread: bool = False,
    ) -> Owners:
        reason = NO_EVIDENCE if item else _reason(charge)
        seen = (id(item), reason, is_shared, is_spread)
        owners = decided.get(seen)
        if owners is None:
            owners = self._rules.decide(_subject(charge, item, self._rules, self._directory), reason, is_shared=is_shared)
            if is_spread:
                owners = tuple(replace(owner, reason=SPREAD) if owner.value else owner for owner in owners)
            owners = decided[seen] = self._equal.setdefault(owners, owners)
        return owners


def _seen_by(rules: Rules) -> list[str]:
    asked = {key for source, key in rules.asked() if source is Source.DIMENSIONS}
    # A rule without a key looks at all that there is.
    return [name for dimension, names in _SEEN_BY_DIMENSION.items() if asked & {dimension, ""} for name in names]


def _told_apart(portion: _Portion, profile: str) -> object:
    """All by which shares of one charge of a profile (or of none) can differ. Equal owners are one object."""
    if portion.usage is None:
        return None
    key = portion.usage.key
    return key.iam_principal, key.inference_profile or profile, id(portion.owners)


def _parts(charge: OriginCharge, portions: Sequence[_Portion], together: Sequence[int]) -> list[AllocatedCharge]:
    """The parts of one charge: portions with one number in `together` (0, 1, ...) are one."""
    firsts: dict[int, _Portion] = {}
    requests: dict[int, int] = {}
    for place, portion in zip(together, portions, strict=True):
        firsts.setdefault(place, portion)
        requests[place] = requests.get(place, 0) + portion.requests
    costs, units = [charge.costs], [charge.units]
    if len(firsts) > 1:
        weights = Weights([portion.weight for portion in portions if portion.weight is not None], together)
        costs = charge.costs.split(weights)
        units = [*weights.split(charge.units)] if charge.units is not None else [None] * len(firsts)
    origin = charge.digest()
    return [_allocated(charge, origin, first, requests[place], costs[place], units[place]) for place, first in firsts.items()]


def _subject(charge: OriginCharge, item: Usage | None, rules: Rules, directory: DayDirectory) -> Subject:
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
    subject.tags = {**added, **aws_tags(charge.tags)}
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
    charge: OriginCharge, origin: str, portion: _Portion, requests: int, costs: Costs, units: Decimal | None
) -> AllocatedCharge:
    item = portion.usage
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
        categories=portion.owners,
        currency=charge.currency,
        units=units,
        requests=requests,
        costs=costs,
        is_measured=item is not None,
    )


def allocate_day(
    charges: Sequence[OriginCharge], usage: Sequence[Usage], rules: Rules, directory: DayDirectory = NO_DIRECTORY
) -> list[AllocatedCharge]:
    """Allocate every origin charge of a day, in one order, and prove that nothing was lost or made."""
    # Usage is behind charges of its own account: what one account needs is enough at a time.
    of_accounts: dict[str, tuple[list[OriginCharge], list[Usage]]] = defaultdict(lambda: ([], []))
    for charge in charges:
        of_accounts[charge.account_id][0].append(charge)
    for item in usage:
        of_accounts[item.key.account_id][1].append(item)
    owned: list[AllocatedCharge] = []
    for of_account, used in of_accounts.values():
        allocation = Allocation(of_account, used, rules, directory)
        owned += [part for charge in of_account for part in allocation.allocate(charge)]
    allocated = split_shared(owned, rules.categories, rules.shared_charges)
    verify_conservation(charges, allocated)
    return _in_order(allocated)


def _in_order(charges: Iterable[AllocatedCharge]) -> list[AllocatedCharge]:
    """One order, whatever the order of what they were made from."""
    # Account by account, so that not all of a day's keys are there at once.
    of_accounts: dict[str, list[AllocatedCharge]] = defaultdict(list)
    for charge in charges:
        of_accounts[charge.account_id].append(charge)
    ordered: list[AllocatedCharge] = []
    for _, of_account in sorted(of_accounts.items()):
        alike: dict[tuple[object, ...], list[AllocatedCharge]] = defaultdict(list)
        for charge in of_account:
            alike[_order(charge)].append(charge)
        for _, found in sorted(alike.items(), key=itemgetter(0)):
            # Those that differ in other things only are few, and a digest takes longer than everything else here.
            ordered += sorted(found, key=AllocatedCharge.digest) if found[1:] else found
    return ordered


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
    for item in in_order(usage):
        key, first_kind = item.key, item.first_kind()
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
                    requests=item.counters.requests if kind is first_kind else 0,
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
