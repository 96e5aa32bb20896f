"""Charges: what the bill says (`OriginCharge`) and whom it is allocated to (`AllocatedCharge`), in every cost metric.

The metrics are kept side by side because each answers another question: `list_cost` at public price, `billed_cost` as invoiced
(unblended), `net_billed_cost` after the discounts that an export shows in its net columns, `effective_cost` and
`net_effective_cost` with commitments spread over their use (amortized).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal, localcontext
from enum import StrEnum
from operator import attrgetter

from attribution.canonical import content_hash
from attribution.meters import Meter
from attribution.money import EXACT, ZERO, Weights, add, subtract
from attribution.usage import Pairs


# `Costs` and `AllocatedCharge` are not frozen, though nothing changes one: a large day has millions, and making a frozen one
# takes four times as long.
@dataclass(slots=True)
class Costs:
    """One charge in every cost metric, in the currency of the charge."""

    list_cost: Decimal = ZERO
    billed_cost: Decimal = ZERO
    net_billed_cost: Decimal = ZERO
    effective_cost: Decimal = ZERO
    net_effective_cost: Decimal = ZERO

    @classmethod
    def uniform(cls, amount: Decimal) -> Costs:
        """The same amount in every metric: an estimate, which knows no difference between them."""
        return cls(amount, amount, amount, amount, amount)

    def amounts(self) -> tuple[Decimal, ...]:
        """Every metric, in the order of `COST_METRICS`."""
        return self.list_cost, self.billed_cost, self.net_billed_cost, self.effective_cost, self.net_effective_cost

    def __add__(self, other: Costs) -> Costs:
        return Costs(*map(add, self.amounts(), other.amounts()))

    def __sub__(self, other: Costs) -> Costs:
        return Costs(*(subtract(a, b) for a, b in zip(self.amounts(), other.amounts(), strict=True)))

    def split(self, weights: Weights) -> list[Costs]:
        """Shares in proportion to `weights` that sum to this in every metric, exactly."""
        # Most charges have no discount, and the same amount in several metrics.
        shares = {amount: weights.split(amount) for amount in set(self.amounts())}
        return list(map(Costs, *(shares[amount] for amount in self.amounts())))

    def is_zero(self) -> bool:
        return not any(self.amounts())


COST_METRICS = tuple(f.name for f in fields(Costs))
# `dataclasses.astuple` copies every value deeply, which costs more than everything else that is done with a charge.
_METRICS = tuple(map(attrgetter, COST_METRICS))
_meter = attrgetter("model", "token_kind", "tier", "routing")
_evidence = attrgetter("kind", "value", "source")
_share = attrgetter("source", "method", "weight", "total", "is_fallback")


def sum_costs(costs: Iterable[Costs]) -> Costs:
    """The exact sum in every metric."""
    found = list(costs)
    if len(found) == 1:
        return found[0]
    with localcontext(EXACT):
        return Costs(*(sum(map(metric, found), ZERO) for metric in _METRICS))


@dataclass(frozen=True, slots=True)
class OriginCharge:
    """What one delivery says of one usage day for one combination of everything that tells charges apart.

    `quantity` is in the row's own unit, `units` the number of tokens (images, hours, ...) it stands for, None where unknown.
    `commitment` is how long capacity was bought for, where the usage type says so. `tags` are the cost allocation tags of the
    row with their source prefix (`iamPrincipal/team`, `resourceTags/Team`).
    """

    usage_date: date
    account_id: str
    region: str
    line_item_type: str
    billing_entity: str
    product_code: str
    usage_type: str
    operation: str
    feature: str
    commitment: str
    meter: Meter
    iam_principal: str
    resource_id: str
    tags: Pairs
    currency: str
    pricing_unit: str
    quantity: Decimal
    units: Decimal | None
    costs: Costs
    row_count: int
    is_final: bool = False

    def digest(self) -> str:
        """A stable name of what this charge is for, whatever it amounts to."""
        return content_hash(
            [
                self.usage_date,
                self.account_id,
                self.region,
                self.line_item_type,
                self.billing_entity,
                self.product_code,
                self.usage_type,
                self.operation,
                self.feature,
                self.commitment,
                _meter(self.meter),
                self.iam_principal,
                self.resource_id,
                self.tags,
                self.currency,
                self.pricing_unit,
            ]
        )[:32]


class Basis(StrEnum):
    """How sure a ledger day is: usage at known prices, a bill that may still change, a bill with its invoice id."""

    ESTIMATED = "estimated"
    BILLED = "billed"
    FINAL = "final"


class Confidence(StrEnum):
    """How an owner was found: by evidence for the whole of a charge, or for a share of it; by a rule that people wrote, also
    one that splits shared cost; as the default of a cost category; or not at all.
    """

    EXACT = "exact"
    SPLIT_BY_USAGE = "split_by_usage"
    RULE = "rule"
    DEFAULT = "default"
    NONE = "none"


class SplitMethod(StrEnum):
    """How shared cost is handed out, in AWS's words: in proportion to the targets' own cost, by percentages, or evenly."""

    PROPORTIONAL = "PROPORTIONAL"
    FIXED = "FIXED"
    EVEN = "EVEN"


class PriceBasis(StrEnum):
    """What an estimated cost was priced with; a billed charge has none.

    `RECORDED` is the price known when the requests were recorded, where another one is in force by now. `UNPRICED` has units
    without a price among it.
    """

    LIST = "list"
    CALIBRATED = "calibrated"
    OVERRIDE = "override"
    SNAPSHOT = "snapshot"
    RECORDED = "recorded"
    UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """One statement about an owner: what kind of evidence it is, what it says, and the key, rule or account that it is from."""

    kind: str
    value: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class SplitShare:
    """Why a part of a shared charge went to its owner: `weight` of `total`, by `method`.

    `source` is the value whose cost was split, empty where it had none. `is_fallback` says that no target had a cost to be
    proportional to, so that all got the same.
    """

    source: str
    method: SplitMethod
    weight: Decimal
    total: Decimal
    is_fallback: bool = False


@dataclass(frozen=True, slots=True)
class CategoryValue:
    """The value of one cost category for one charge; `value` is empty and `reason` says why where nobody could be found.

    `rule` names the shared-charge rule for a charge without an owner of its own. `split` is there where a part of shared cost
    was handed to `value`; evidence and reason are then those of the charge before it was split.
    """

    category: str
    value: str
    evidence: Evidence | None = None
    disagreed: tuple[Evidence, ...] = ()
    reason: str = ""
    confidence: Confidence = Confidence.NONE
    rule: str = ""
    split: SplitShare | None = None

    @property
    def is_allocated(self) -> bool:
        return bool(self.value)


@dataclass(slots=True)
class AllocatedCharge:
    """A part of an origin charge (or of a day's estimated usage) with its owners.

    It `is_measured` where requests are behind it whose units a log or CloudTrail counted.
    """

    origin: str
    usage_date: date
    account_id: str
    region: str
    line_item_type: str
    feature: str
    usage_type: str
    meter: Meter
    iam_principal: str
    inference_profile: str
    categories: tuple[CategoryValue, ...]
    currency: str
    units: Decimal | None
    requests: int
    costs: Costs
    price_basis: PriceBasis | None = None
    is_measured: bool = False

    def digest(self) -> str:
        """A stable name within its day's version."""
        return content_hash(
            [
                self.origin,
                self.account_id,
                self.region,
                self.line_item_type,
                self.feature,
                self.usage_type,
                _meter(self.meter),
                self.iam_principal,
                self.inference_profile,
                [
                    (
                        c.category,
                        c.value,
                        c.reason,
                        _evidence(c.evidence) if c.evidence else None,
                        [_evidence(d) for d in c.disagreed],
                        c.confidence,
                        c.rule,
                        _share(c.split) if c.split else None,
                    )
                    for c in self.categories
                ],
                self.currency,
                self.is_measured,
            ]
        )[:32]

    def value_of(self, category: str) -> str:
        """The owner in one cost category; empty where unallocated."""
        return next((c.value for c in self.categories if c.category == category), "")
