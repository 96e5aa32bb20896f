"""Explanation: how one charge of the ledger came to its amount.

It is recomputed with the functions that made the day, from what the day was made from, and is given only if that arrives at
the stored charge to the last digit. Where the inputs have moved since, a charge explains itself as far as it is stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from attribution.allocation import Allocation, Share, allocate_day, estimate_day
from attribution.calibration import Calibration, Pricing
from attribution.charges import (
    AllocatedCharge,
    CategoryValue,
    Costs,
    OriginCharge,
    PriceBasis,
    SplitShare,
    sum_costs,
)
from attribution.day_directory import NO_DIRECTORY, DayDirectory
from attribution.errors import ConservationViolated
from attribution.money import ZERO, total
from attribution.prices import Price
from attribution.rules import Rules
from attribution.usage import Usage
from attribution.usage_index import Line, line_of


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the arithmetic: `amount` × `weight` / `whole` is `result`.

    The result is rounded at the scale of amounts, by the largest remainders, so that the parts of all weights sum to `amount`.
    `category` is that of the shared cost which the step splits; empty where a row of the bill is split over usage.
    """

    amount: Decimal
    weight: Decimal
    whole: Decimal
    result: Decimal
    category: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """How shared cost of one cost category was split: the share of the charge's owner, and the costs before and after it."""

    category: str
    share: SplitShare
    before: Costs
    after: Costs


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an origin charge was split over: all its weights, how many counters they are, and the units that nothing counted.

    `rows` are all rows of the bill that share this usage, one per operation for example, and `beside` the charges of the
    others for the same owner.
    """

    whole: Decimal
    counters: int
    uncounted: Decimal
    rows: tuple[OriginCharge, ...]
    beside: tuple[AllocatedCharge, ...]

    @property
    def units(self) -> Decimal:
        """The units that all of these rows bill."""
        return total(row.units for row in self.rows if row.units is not None)


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
    that are this charge, or that it is a part of where shared cost was split; one that stayed whole has no weight.
    """

    charge: AllocatedCharge
    origin: OriginCharge | None = None
    shares: tuple[Share, ...] = ()
    bucket: Bucket | None = None
    estimate: Estimate | None = None
    splits: tuple[Split, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the charge was made anew from its inputs, and was the same."""
        return self.origin is not None or self.estimate is not None

    @property
    def requests(self) -> int:
        """The requests behind the charge. In the sums of a day they count with one of the charges that they stand behind."""
        counted = [share.usage.counters.requests for share in self.shares if share.usage is not None]
        return sum(counted) if counted else self.charge.requests

    def steps(self, metric: str) -> tuple[Step, ...]:
        """The arithmetic from the origin charge, or the estimate, to this one, in one metric; it ends at the stored amount."""
        steps = []
        if self.origin is not None and self.bucket is not None:
            weight = total(share.weight for share in self.shares if share.weight is not None)
            result = total(getattr(share.charge.costs, metric) for share in self.shares)
            steps.append(Step(getattr(self.origin.costs, metric), weight, self.bucket.whole, result))
        for split in self.splits:
            before, after = getattr(split.before, metric), getattr(split.after, metric)
            steps.append(Step(before, split.share.weight, split.share.total, after, split.category))
        return tuple(steps)


class BilledDay:
    """A day that was allocated from origin charges, made anew."""

    def __init__(
        self,
        charges: Sequence[OriginCharge],
        usage: Sequence[Usage],
        rules: Rules,
        directory: DayDirectory = NO_DIRECTORY,
    ) -> None:
        self._origin = {charge.digest(): charge for charge in charges}
        self._allocation = Allocation(charges, usage, rules, directory)
        self._allocated = _by_origin(allocate_day(charges, usage, rules, directory))
        self._lines: dict[Line, list[OriginCharge]] = defaultdict(list)
        for charge in charges:
            if charge.line_item_type == "Usage":
                self._lines[line_of(charge)].append(charge)

    def explain(self, charge: AllocatedCharge) -> Explanation:
        """Why a stored charge of the day is what it is; raises `ConservationViolated` where the inputs give another one."""
        parts = self._allocated.get(charge.origin, {})
        _require_same(charge, parts.get(charge.digest()))
        origin = self._origin[charge.origin]
        every = list(self._allocation.shares(origin))
        whole = next(share.charge for share in every if _is_part(charge, share.charge))
        own = tuple(share for share in every if share.charge.digest() == whole.digest())
        splits = _splits(charge, [part for part in parts.values() if _is_part(part, whole)])
        weights = [share.weight for share in every if share.weight is not None]
        if not weights:
            return Explanation(charge, origin, own, splits=splits)
        uncounted = total(share.weight for share in every if share.usage is None and share.weight is not None)
        counters = sum(share.usage is not None for share in every)
        rows = tuple(self._lines[line_of(origin)])
        beside = tuple(
            part
            for row in rows
            if row is not origin
            for part in self._allocated[row.digest()].values()
            if _same_owner(part, charge)
        )
        bucket = Bucket(total(weights), counters, uncounted, rows, beside)
        return Explanation(charge, origin, own, bucket, splits=splits)


class EstimatedDay:
    """A day that was estimated from usage, made anew."""

    def __init__(
        self,
        usage: Sequence[Usage],
        rules: Rules,
        *,
        pricing: Pricing,
        directory: DayDirectory = NO_DIRECTORY,
    ) -> None:
        self._usage = {item.key.digest(): item for item in usage}
        self._pricing = pricing
        self._estimated = estimate_day(usage, rules, pricing=pricing, directory=directory)
        self._by_origin = _by_origin(self._estimated)

    def fingerprint(self) -> str:
        """The hash of what the day was priced with."""
        return self._pricing.fingerprint(self._estimated)

    def explain(self, charge: AllocatedCharge) -> Explanation:
        """Why a stored charge of the day is what it is; raises `ConservationViolated` where the inputs give another one."""
        parts = self._by_origin.get(charge.origin, {})
        _require_same(charge, parts.get(charge.digest()))
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
        of_kind = [part for part in parts.values() if part.meter.token_kind is kind]
        return Explanation(charge, estimate=estimate, splits=_splits(charge, of_kind))


def _by_origin(charges: Iterable[AllocatedCharge]) -> dict[str, dict[str, AllocatedCharge]]:
    found: dict[str, dict[str, AllocatedCharge]] = defaultdict(dict)
    for charge in charges:
        found[charge.origin][charge.digest()] = charge
    return found


def _same_owner(one: AllocatedCharge, other: AllocatedCharge) -> bool:
    return (one.is_measured, one.iam_principal, one.inference_profile, one.categories) == (
        other.is_measured,
        other.iam_principal,
        other.inference_profile,
        other.categories,
    )


def _is_part(part: AllocatedCharge, whole: AllocatedCharge) -> bool:
    """Whether a charge is one that a share had become before shared cost was split, or a part of it."""
    if (part.is_measured, part.iam_principal, part.inference_profile) != (
        whole.is_measured,
        whole.iam_principal,
        whole.inference_profile,
    ):
        return False
    return all(_is_split_of(now, before) for now, before in zip(part.categories, whole.categories, strict=True))


def _is_split_of(now: CategoryValue, before: CategoryValue) -> bool:
    if now == before:
        return True
    undone = replace(now, value=now.split.source, confidence=before.confidence, split=None) if now.split else now
    # A shared-charge rule leaves a reason of its own where a part finds no owner.
    return (replace(undone, reason=before.reason) if before.rule else undone) == before


def _splits(charge: AllocatedCharge, parts: Sequence[AllocatedCharge]) -> tuple[Split, ...]:
    """The splits that led to a charge, of whose whole `parts` are all parts. Cost categories are split in their order."""
    found = []
    before = sum_costs(part.costs for part in parts)
    for position, value in enumerate(charge.categories):
        if value.split is not None:
            same = charge.categories[: position + 1]
            after = sum_costs(part.costs for part in parts if part.categories[: position + 1] == same)
            found.append(Split(value.category, value.split, before, after))
            before = after
    return tuple(found)


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
