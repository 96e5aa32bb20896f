"""Explanation: how one charge of the ledger came to its amount.

It is recomputed with the functions that made the day, from what the day was made from, and is given only if that arrives at
the stored charge to the last digit. Where the inputs have moved since, a charge explains itself as far as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from attribution.allocation import CostCategory, Share, UsageIndex, allocate_day, estimate_day, shares
from attribution.calibration import Calibration, Pricing
from attribution.charges import AllocatedCharge, OriginCharge, PriceBasis
from attribution.errors import ConservationViolated
from attribution.money import ZERO, total
from attribution.prices import Price
from attribution.usage import Pairs, Usage


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the arithmetic: `amount` × `weight` / `whole` is `result`.

    The result is rounded at the scale of amounts, by the largest remainders, so that the parts of all weights sum to `amount`.
    """

    amount: Decimal
    weight: Decimal
    whole: Decimal
    result: Decimal


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an origin charge was split over: all its weights, how many counters they are, and the units that nothing counted."""

    whole: Decimal
    counters: int
    uncounted: Decimal


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimated charge is made of: counted units, what they were recorded to cost, and the price and factor behind it.

    `price` is None where none is in force any more, `calibration` where no factor was applied.
    """

    units: int
    recorded: Decimal
    unpriced: int
    price: Price | None
    calibration: Calibration | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a charge is what it is.

    Without `origin` and `estimate` it is what is stored of the charge, and no more. `shares` are those of the origin charge
    that are this charge; a charge that stayed whole has one share without weight.
    """

    charge: AllocatedCharge
    origin: OriginCharge | None = None
    shares: tuple[Share, ...] = ()
    bucket: Bucket | None = None
    estimate: Estimate | None = None

    @property
    def is_verified(self) -> bool:
        """Whether the charge was made anew from its inputs, and was the same."""
        return self.origin is not None or self.estimate is not None

    def steps(self, metric: str) -> tuple[Step, ...]:
        """The arithmetic from the origin charge to this one, in one cost metric; it ends at the stored amount."""
        if self.origin is None or self.bucket is None:
            return ()
        weight = total(share.weight for share in self.shares if share.weight is not None)
        result = total(getattr(share.charge.costs, metric) for share in self.shares)
        return (Step(getattr(self.origin.costs, metric), weight, self.bucket.whole, result),)


class BilledDay:
    """A day that was allocated from origin charges, made anew."""

    def __init__(self, charges: Sequence[OriginCharge], usage: Sequence[Usage], categories: Sequence[CostCategory]) -> None:
        self._origin = {charge.digest(): charge for charge in charges}
        self._index = UsageIndex(usage, charges)
        self._categories = categories
        self._allocated = {charge.digest(): charge for charge in allocate_day(charges, usage, categories)}

    def explain(self, charge: AllocatedCharge) -> Explanation:
        """Why a stored charge of the day is what it is; raises `ConservationViolated` where the inputs give another one."""
        _require_same(charge, self._allocated.get(charge.digest()))
        origin = self._origin[charge.origin]
        every = list(shares(origin, self._index, self._categories))
        own = tuple(share for share in every if share.charge.digest() == charge.digest())
        weights = [share.weight for share in every if share.weight is not None]
        if not weights:
            return Explanation(charge, origin, own)
        uncounted = total(share.weight for share in every if share.usage is None and share.weight is not None)
        counters = sum(share.usage is not None for share in every)
        return Explanation(charge, origin, own, Bucket(total(weights), counters, uncounted))


class EstimatedDay:
    """A day that was estimated from usage, made anew."""

    def __init__(
        self,
        usage: Sequence[Usage],
        categories: Sequence[CostCategory],
        *,
        pricing: Pricing,
        profile_tags: Mapping[str, Pairs],
    ) -> None:
        self._usage = {item.key.digest(): item for item in usage}
        self._pricing = pricing
        estimated = estimate_day(usage, categories, pricing=pricing, profile_tags=profile_tags)
        self._estimated = {charge.digest(): charge for charge in estimated}

    def fingerprint(self) -> str:
        """The hash of what the day was priced with."""
        return self._pricing.fingerprint(self._estimated.values())

    def explain(self, charge: AllocatedCharge) -> Explanation:
        """Why a stored charge of the day is what it is; raises `ConservationViolated` where the inputs give another one."""
        _require_same(charge, self._estimated.get(charge.digest()))
        item, kind = self._usage[charge.origin], charge.meter.token_kind
        price = self._pricing.prices.find(charge.meter, charge.region, charge.usage_date)
        is_calibrated = charge.price_basis is PriceBasis.CALIBRATED
        estimate = Estimate(
            units=item.counters.units[kind],
            recorded=item.counters.estimated.get(kind, ZERO),
            unpriced=item.counters.unpriced.get(kind, 0),
            # A cost that was recorded at another price than the one in force has none that could be named.
            price=None if charge.price_basis in (PriceBasis.RECORDED, PriceBasis.UNPRICED) else price,
            calibration=self._pricing.calibrations.get((charge.meter, charge.region)) if is_calibrated else None,
        )
        return Explanation(charge, estimate=estimate)


def _require_same(stored: AllocatedCharge, made: AllocatedCharge | None) -> None:
    if made == stored:
        return
    instead = "there is none like it" if made is None else f"it costs {made.costs}"
    raise ConservationViolated(
        f"charge {stored.digest()} of {stored.usage_date} costs {stored.costs} in the ledger; made anew from the same inputs, "
        f"{instead}: restore the ledger table to a time before it was changed by hand"
    )


def largest(charges: Sequence[AllocatedCharge], metric: str) -> list[AllocatedCharge]:
    """The charges, those that amount to most in a metric first, whatever their sign."""
    return sorted(charges, key=lambda charge: (-getattr(charge.costs, metric).copy_abs(), charge.digest()))
