"""Coverage: how much of a day has an owner, how much of it was measured, and the name of every gap.

A gap is what stands between a charge and the requests behind it, or between those and an owner. Each charge of a day has
exactly one, so that per currency and in every cost metric the parts of all gaps sum to the day, and in every cost category what
is allocated and what is not sum to that.

Units are measured where a log or CloudTrail counted them. What measured units were recorded to cost, at the price of the day,
stands beside what is billed for the same account, Region, model and token kind; it is no part of any sum of costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Context, Decimal
from enum import StrEnum
from operator import attrgetter

from attribution.charges import AllocatedCharge, Costs, PriceBasis, sum_costs
from attribution.errors import ConservationViolated
from attribution.meters import TOKEN_KINDS, Tier, TokenKind
from attribution.money import ZERO, add, total
from attribution.usage import Counters, Usage
from attribution.usage_types import UNCLASSIFIED

_RATES = Context(prec=100, rounding=ROUND_FLOOR)
_RATE_STEP = Decimal("0.000001")
NO_TOKEN_KIND = ""
"""The token kind of what concerns whole calls: those whose units nothing states."""


class Gap(StrEnum):
    """What stands between a charge and its owner. The values are stored and are dimensions of metrics: none is ever renamed.

    `NONE` is measured and has an owner in every cost category. `NO_EVIDENCE` is measured, and nothing names an owner in at
    least one; `NO_PRINCIPALS` the same in a bill in which no row names a caller. The next are usage that nothing measured:
    `LOGGING_OFF` where no request of the account and Region was logged that day, `CALLS_NOT_MEASURED` where calls of the model
    were seen whose units no record states, `LOGGING_INCOMPLETE` otherwise. From `BATCH` to `OTHER_UNITS` no log could measure
    it. `UNPRICED` are units whose estimate lacks a price. The others are no usage.
    """

    NONE = "none"
    NO_EVIDENCE = "no_evidence"
    NO_PRINCIPALS = "no_principals"
    LOGGING_OFF = "logging_off"
    LOGGING_INCOMPLETE = "logging_incomplete"
    CALLS_NOT_MEASURED = "calls_not_measured"
    BATCH = "batch"
    MANTLE = "mantle"
    PROVISIONED = "provisioned"
    RESERVED = "reserved"
    MEDIA = "media"
    OTHER_UNITS = "other_units"
    UNCLASSIFIED = "unclassified"
    UNPRICED = "unpriced"
    TAX = "tax"
    CREDIT = "credit"
    REFUND = "refund"
    DISCOUNT = "discount"
    FEE = "fee"
    OTHER_RECORDS = "other_records"


REMEDIES: Mapping[Gap, str] = {
    Gap.NONE: "Nothing is missing.",
    Gap.NO_EVIDENCE: "Tag the callers, sessions, profiles or requests, or map the account.",
    Gap.NO_PRINCIPALS: "Export CUR 2.0 with IAM principal data; activate the principals' tags.",
    Gap.LOGGING_OFF: "Turn on model invocation logging there.",
    Gap.LOGGING_INCOMPLETE: "Find what keeps log records back: queues, bucket policy, key policy.",
    Gap.CALLS_NOT_MEASURED: "No log covers streams in two directions and asynchronous calls: tag roles.",
    Gap.BATCH: "No log covers batch jobs: tag the roles that create them.",
    Gap.MANTLE: "No log covers the mantle endpoint: tag its projects or the callers.",
    Gap.PROVISIONED: "Tag the provisioned model, or share its cost by a rule.",
    Gap.RESERVED: "Reserved capacity has no caller: share its cost by a rule.",
    Gap.MEDIA: "Logs count no images, video or audio: tag the callers or profiles.",
    Gap.OTHER_UNITS: "Tag the guardrails, knowledge bases and agents, or share by a rule.",
    Gap.UNCLASSIFIED: "Nothing decodes this usage type yet; its money is kept. Report it.",
    Gap.UNPRICED: "State the price with `bedrock-costs prices override`.",
    Gap.TAX: "Share tax by a rule.",
    Gap.CREDIT: "Share credits by a rule.",
    Gap.REFUND: "Share refunds by a rule.",
    Gap.DISCOUNT: "Share discounts by a rule, or export net columns.",
    Gap.FEE: "Share fees by a rule.",
    Gap.OTHER_RECORDS: "Look at these rows in the cost report, and share them by a rule.",
}
"""What to do about each gap, in one line; docs/coverage.md says more."""

_RECORD_TYPES = {
    "Tax": Gap.TAX,
    "Credit": Gap.CREDIT,
    "Refund": Gap.REFUND,
    "Fee": Gap.FEE,
    "RIFee": Gap.FEE,
    "SavingsPlanRecurringFee": Gap.FEE,
    "SavingsPlanUpfrontFee": Gap.FEE,
}
# Tokens of bought capacity are billed by the hour: no row of the bill states them.
_BOUGHT_TIERS = (Tier.PROVISIONED, Tier.RESERVED)
_NOT_USAGE = (Gap.TAX, Gap.CREDIT, Gap.REFUND, Gap.DISCOUNT, Gap.FEE, Gap.OTHER_RECORDS)
_BATCH_TIERS = (Tier.BATCH, Tier.LONG_CONTEXT_BATCH)
_PROVISIONED_KINDS = (TokenKind.MODEL_UNIT_HOUR, TokenKind.MODEL_UNIT_MINUTE)
_RESERVED_KINDS = (TokenKind.INPUT_TPM_HOUR, TokenKind.OUTPUT_TPM_HOUR)
_MEDIA_KINDS = (
    TokenKind.IMAGE_INPUT,
    TokenKind.IMAGE_OUTPUT,
    TokenKind.AUDIO_INPUT,
    TokenKind.AUDIO_OUTPUT,
    TokenKind.VIDEO_INPUT,
    TokenKind.IMAGE,
    TokenKind.SECOND,
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What coverage is told apart by within a day."""

    account_id: str
    region: str
    model: str
    token_kind: str
    currency: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one gap holds: its costs, and by cost category those of them that have no owner."""

    costs: Costs = field(default_factory=Costs)
    unallocated: Mapping[str, Costs] = field(default_factory=dict)

    def __add__(self, other: Part) -> Part:
        unallocated = dict(self.unallocated)
        for category, costs in other.unallocated.items():
            unallocated[category] = unallocated.get(category, Costs()) + costs
        return Part(self.costs + other.costs, unallocated)

    def allocated(self, category: str) -> Costs:
        """What has an owner in a cost category."""
        return self.costs - self.unallocated.get(category, Costs())


@dataclass(frozen=True, slots=True)
class Measure:
    """Units that the bill states and units that were counted, of token kinds that logs count; and calls.

    `estimated` is what the counted units were recorded to cost, in US dollars, the currency of the price list. `unpriced` are
    those of them without a price. `unmeasured` and `observed_only` count calls: units that nothing states, and calls that
    CloudTrail told of while no log record has arrived.
    """

    billed: Decimal = ZERO
    counted: Decimal = ZERO
    estimated: Decimal = ZERO
    unpriced: Decimal = ZERO
    requests: int = 0
    unmeasured: int = 0
    observed_only: int = 0

    def __add__(self, other: Measure) -> Measure:
        return Measure(
            add(self.billed, other.billed),
            add(self.counted, other.counted),
            add(self.estimated, other.estimated),
            add(self.unpriced, other.unpriced),
            self.requests + other.requests,
            self.unmeasured + other.unmeasured,
            self.observed_only + other.observed_only,
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """The parts of one place (or of several, added up) by gap, and what was measured there."""

    parts: Mapping[Gap, Part] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)

    def __add__(self, other: Coverage) -> Coverage:
        parts = dict(self.parts)
        for gap, part in other.parts.items():
            parts[gap] = parts.get(gap, Part()) + part
        return Coverage(parts, self.measure + other.measure)

    @property
    def costs(self) -> Costs:
        """Everything, whatever its gap."""
        return sum_costs(part.costs for part in self.parts.values())

    @property
    def usage_costs(self) -> Costs:
        """What usage cost, without tax, credits and the like."""
        return sum_costs(part.costs for gap, part in self.parts.items() if gap not in _NOT_USAGE)

    def unallocated(self, category: str) -> Costs:
        """What has no owner in a cost category, whatever its gap."""
        return sum_costs(part.unallocated.get(category, Costs()) for part in self.parts.values())

    def allocated(self, category: str) -> Costs:
        """What has an owner in a cost category."""
        return self.costs - self.unallocated(category)


_CALLS = tuple(map(attrgetter, ("requests", "unmeasured", "observed_only")))
_Where = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a day's counters say, added up: where requests were logged (account, Region), where units of a model's calls were
    not stated, and what was measured by account, Region, model and token kind.
    """

    logged: frozenset[tuple[str, str]] = frozenset()
    unmeasured: frozenset[tuple[str, str, str]] = frozenset()
    measures: Mapping[_Where, Measure] = field(default_factory=dict)

    @classmethod
    def of(cls, usage: Iterable[Usage]) -> Counted:
        """What counters add up to."""
        units: dict[tuple[str, str, str, TokenKind], list[tuple[int, Decimal, int]]] = defaultdict(list)
        calls: dict[tuple[str, str, str], list[Counters]] = defaultdict(list)
        for item in usage:
            key, counters = item.key, item.counters
            calls[key.account_id, key.region, key.model].append(counters)
            if key.tier in _BOUGHT_TIERS:
                continue
            for kind, count in counters.units.items():
                if count and kind in TOKEN_KINDS:
                    of_kind = (count, counters.estimated.get(kind, ZERO), counters.unpriced.get(kind, 0))
                    units[key.account_id, key.region, key.model, kind].append(of_kind)
        return cls(
            frozenset(where[:2] for where, found in calls.items() if any(c.requests > c.unlogged for c in found)),
            frozenset(where for where, found in calls.items() if any(c.unmeasured for c in found)),
            dict((*_measured(units), *_called(calls))),
        )


NOTHING_COUNTED = Counted()


def _measured(
    units: Mapping[tuple[str, str, str, TokenKind], Sequence[tuple[int, Decimal, int]]],
) -> Iterable[tuple[_Where, Measure]]:
    for (account, region, model, kind), found in units.items():
        counted, estimated, unpriced = zip(*found, strict=True)
        measure = Measure(ZERO, Decimal(sum(counted)), total(estimated), Decimal(sum(unpriced)))
        yield (account, region, model, kind.value), measure


def _called(calls: Mapping[tuple[str, str, str], Sequence[Counters]]) -> Iterable[tuple[_Where, Measure]]:
    for where, found in calls.items():
        requests, unmeasured, observed_only = (sum(map(count, found)) for count in _CALLS)
        if requests or unmeasured or observed_only:
            yield (*where, NO_TOKEN_KIND), Measure(requests=requests, unmeasured=unmeasured, observed_only=observed_only)


def cover(charges: Iterable[AllocatedCharge], counted: Counted, *, names_principals: bool = True) -> dict[Place, Coverage]:
    """The coverage of one day, by place in one order.

    `names_principals` says whether any row of the day's bill names a caller: in a report without principal data none does.
    """
    costs: dict[tuple[Place, Gap], list[Costs]] = defaultdict(list)
    unallocated: dict[tuple[Place, Gap, str], list[Costs]] = defaultdict(list)
    measures: dict[Place, Measure] = defaultdict(Measure)
    currencies: dict[tuple[str, str, str, str], str] = {}
    for alike in _alike(charges):
        charge = alike[0]
        kind = charge.meter.token_kind
        place = Place(charge.account_id, charge.region, charge.meter.model, kind.value, charge.currency)
        gap, cost = _gap(charge, counted, names_principals=names_principals), sum_costs(c.costs for c in alike)
        costs[place, gap].append(cost)
        for value in charge.categories:
            if not value.is_allocated:
                unallocated[place, gap, value.category].append(cost)
        where = (place.account_id, place.region, place.model, place.token_kind)
        currencies[where] = min(place.currency, currencies.get(where, place.currency))
        if charge.price_basis is None and charge.line_item_type == "Usage" and kind in TOKEN_KINDS:
            measures[place] += Measure(billed=total(c.units for c in alike if c.units is not None))
    for where, measure in counted.measures.items():
        # Counters know no currency: theirs is the one that the place is billed in.
        measures[Place(*where, currencies.get(where, "USD"))] += measure
    parts: dict[Place, dict[Gap, Part]] = defaultdict(dict)
    for (place, gap), amounts in costs.items():
        parts[place][gap] = Part(sum_costs(amounts))
    for (place, gap, category), amounts in sorted(unallocated.items()):
        parts[place][gap] += Part(unallocated={category: sum_costs(amounts)})
    return {
        place: Coverage(dict(sorted(parts.get(place, {}).items())), measures.get(place, Measure()))
        for place in sorted({*parts, *measures})
    }


_place_and_gap = attrgetter(
    *("account_id", "region", "meter.model", "meter.token_kind", "meter.tier", "currency"),
    *("line_item_type", "price_basis", "is_measured", "feature", "usage_type"),
)


def _alike(charges: Iterable[AllocatedCharge]) -> Iterable[list[AllocatedCharge]]:
    """Charges that have one place and gap, and no owner in the same cost categories."""
    found: dict[tuple[object, ...], list[AllocatedCharge]] = defaultdict(list)
    for charge in charges:
        found[_place_and_gap(charge), tuple([bool(value.value) for value in charge.categories])].append(charge)
    return found.values()


def _gap(charge: AllocatedCharge, counted: Counted, *, names_principals: bool) -> Gap:
    if charge.line_item_type != "Usage":
        is_discount = charge.line_item_type.endswith("Discount")
        return Gap.DISCOUNT if is_discount else _RECORD_TYPES.get(charge.line_item_type, Gap.OTHER_RECORDS)
    if charge.price_basis is PriceBasis.UNPRICED:
        return Gap.UNPRICED
    if charge.is_measured:
        if all(value.is_allocated for value in charge.categories):
            return Gap.NONE
        return Gap.NO_EVIDENCE if names_principals else Gap.NO_PRINCIPALS
    return _gap_of_unmeasured(charge, counted)


def _gap_of_unmeasured(charge: AllocatedCharge, counted: Counted) -> Gap:
    """The first of the reasons that applies: what no log could measure, then why those that could did not."""
    kind, tier = charge.meter.token_kind, charge.meter.tier
    place = (charge.account_id, charge.region)
    reasons: tuple[tuple[Gap, bool], ...] = (
        (Gap.MANTLE, "mantle" in charge.usage_type.lower()),
        (Gap.BATCH, tier in _BATCH_TIERS),
        (Gap.PROVISIONED, tier is Tier.PROVISIONED or kind in _PROVISIONED_KINDS),
        (Gap.RESERVED, tier is Tier.RESERVED or kind in _RESERVED_KINDS),
        (Gap.UNCLASSIFIED, charge.feature == UNCLASSIFIED),
        (Gap.MEDIA, kind in _MEDIA_KINDS),
        (Gap.OTHER_UNITS, kind not in TOKEN_KINDS),
        (Gap.CALLS_NOT_MEASURED, (*place, charge.meter.model) in counted.unmeasured),
        (Gap.LOGGING_OFF, place not in counted.logged),
    )
    return next((gap for gap, applies in reasons if applies), Gap.LOGGING_INCOMPLETE)


def verify_coverage(covered: Mapping[Place, Coverage], totals: Mapping[str, Costs]) -> None:
    """Raise unless the parts of all gaps sum to the day, per currency and metric, to the last digit."""
    by_currency: dict[str, list[Costs]] = defaultdict(list)
    for place, coverage in covered.items():
        if coverage.parts:
            by_currency[place.currency].append(coverage.costs)
    found = {currency: sum_costs(costs) for currency, costs in by_currency.items()}
    if found != dict(totals):
        raise ConservationViolated(f"coverage sums to {found}, the day to {dict(totals)}: the day is not published")


def without_owners(coverage: Coverage, category: str) -> Coverage:
    """The same where nothing had an owner in a cost category, because it was defined later."""
    return Coverage(
        {gap: Part(p.costs, {**p.unallocated, category: p.costs}) for gap, p in coverage.parts.items()}, coverage.measure
    )


def add_up(
    covered: Iterable[tuple[Place, Coverage]], key: Callable[[Place], tuple[str, ...]]
) -> dict[tuple[str, ...], Coverage]:
    """Coverage of any number of places and days by `key`, in one order."""
    grouped: dict[tuple[str, ...], Coverage] = {}
    for place, coverage in covered:
        grouped[key(place)] = grouped.get(key(place), Coverage()) + coverage
    return dict(sorted(grouped.items()))


def unallocated_by_gap(coverage: Coverage, category: str, metric: str = "billed_cost") -> dict[Gap, Decimal]:
    """What has no owner in a cost category, by gap, in one metric; gaps that hold nothing of it are left out."""
    found = {gap: part.unallocated[category] for gap, part in coverage.parts.items() if category in part.unallocated}
    return {gap: getattr(costs, metric) for gap, costs in found.items() if not costs.is_zero()}


def capture_rate(coverage: Coverage, category: str, metric: str = "billed_cost") -> Decimal | None:
    """Allocated cost as a share of all cost, between 0 and 1, at six decimal places and never rounded up; None of nothing.

    Credits may make a whole smaller than its parts: of a whole that is not positive there is no share.
    """
    return share(getattr(coverage.allocated(category), metric), getattr(coverage.costs, metric))


def share(part: Decimal, whole: Decimal) -> Decimal | None:
    """A part of a whole at six decimal places, never rounded up; None of a whole that is not positive."""
    return _RATES.quantize(_RATES.divide(part, whole), _RATE_STEP) if whole > 0 else None
