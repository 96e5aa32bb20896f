"""Calibration: what the customer's own recent bill paid per unit, held against the list price, so that estimates meet it.

A factor is what billed units cost in one metric divided by what they cost at list price. It is learned per meter and Region
from days that AWS has billed, and is used only where the evidence is enough; where it is not, the reason is kept beside it.
Requests keep the list price they were recorded at: factors are applied when a day is estimated.

Discounts that a bill keeps in rows of their own name no meter, and are in no factor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal

from attribution.canonical import content_hash, number_text
from attribution.charges import AllocatedCharge, Costs, OriginCharge, PriceBasis
from attribution.meters import Meter
from attribution.money import EXACT, QUANTUM, ZERO, add, total
from attribution.prices import PriceList, PriceOrigin

# Private rates change at a date: the days before it say nothing about today. Bills come about a day late.
LOOK_BACK_DAYS = 28
DAYS_USED = 7
# One day may be a row that was restated; three agree or do not.
DAYS_NEEDED = 3
# Costs in a bill are rounded at ten decimal places: at ten cents that is a part in a billion, below a hundredth of a cent it
# begins to show.
LIST_COST_NEEDED = Decimal("0.10")
# A twentieth of the list price is beyond any private rate known, and a bill above the list by half is no rate of this meter:
# unit, meter or price is understood wrongly, and a wrong factor would be worse than none.
LOWEST, HIGHEST = Decimal("0.05"), Decimal("1.5")
_SCALE = Decimal("0.000001")
_ROUND = Context(prec=100, rounding=ROUND_HALF_EVEN)

Place = tuple[Meter, str]
"""What a factor is for: a meter in a Region."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a bill says of one meter in one Region: units, and what they cost."""

    units: Decimal = ZERO
    costs: Costs = field(default_factory=Costs)

    def __add__(self, other: Observation) -> Observation:
        return Observation(add(self.units, other.units), self.costs + other.costs)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The factors of one meter in one Region by cost metric, what they are made of, and why they are not used if they are not.

    The factor of `list_cost` is 1: an estimate's list cost stays at list price.
    """

    meter: Meter
    region: str
    factors: Costs
    days: int
    first_day: date
    last_day: date
    units: Decimal
    list_cost: Decimal
    not_used_because: str = ""

    @property
    def is_used(self) -> bool:
        return not self.not_used_because

    def costs_of(self, amount: Decimal) -> Costs:
        """An estimate at list price in every metric, as this customer pays it."""
        calibrated = (EXACT.multiply(amount, factor) for factor in self.factors.amounts())
        return Costs(*(_ROUND.quantize(cost, QUANTUM) for cost in calibrated))


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a day's recorded costs are held against when it is estimated: the prices in force, and the factors in use."""

    prices: PriceList
    calibrations: Mapping[Place, Calibration]

    def costs_of(self, amount: Decimal, units: int, meter: Meter, region: str, on: date) -> tuple[Costs, PriceBasis]:
        """What units that were recorded at `amount` are estimated to cost, and what that is based on.

        A factor is relative to the list price: it is applied only to what is exactly the units at that price.
        """
        price = self.prices.find(meter, region, on)
        if price is None or price.cost_of(units) != amount:
            return Costs.uniform(amount), PriceBasis.RECORDED
        calibration = self.calibrations.get((meter, region))
        if price.origin is PriceOrigin.LIST and calibration is not None and calibration.is_used:
            return calibration.costs_of(amount), PriceBasis.CALIBRATED
        return Costs.uniform(amount), PriceBasis(price.origin.value)

    def fingerprint(self, estimated: Iterable[AllocatedCharge]) -> str:
        """The hash of what estimated charges were priced with: of factors that were applied, and of no others."""
        applied = {(c.meter, c.region, c.price_basis) for c in estimated}
        return content_hash(
            sorted(
                [
                    *(meter.model, meter.token_kind, meter.tier, meter.routing, region, basis),
                    *(self.calibrations[meter, region].factors.amounts() if basis is PriceBasis.CALIBRATED else ()),
                ]
                for meter, region, basis in applied
                if basis is not None
            )
        )


NO_PRICING = Pricing(PriceList(()), {})
"""Nothing is known but what was recorded."""


def observe(charges: Iterable[OriginCharge]) -> dict[Place, Observation]:
    """What one billed day says of each meter: of its usage in USD whose units the bill states."""
    found: dict[Place, Observation] = defaultdict(Observation)
    for charge in charges:
        if charge.line_item_type == "Usage" and charge.currency == "USD" and charge.units is not None:
            found[charge.meter, charge.region] += Observation(charge.units, charge.costs)
    return {place: observed for place, observed in found.items() if observed.units > 0}


def calibrate(days: Mapping[date, Mapping[Place, Observation]], prices: PriceList) -> list[Calibration]:
    """The factor of every meter and Region that has a list price, from its latest billed days, in one order."""
    latest_first: dict[Place, list[tuple[date, Observation, Decimal]]] = defaultdict(list)
    for day, observed in sorted(days.items(), reverse=True):
        for (meter, region), observation in observed.items():
            price = prices.find(meter, region, day)
            if price is None or price.amount <= 0 or len(latest_first[meter, region]) >= DAYS_USED:
                continue
            list_cost = EXACT.divide(EXACT.multiply(price.amount, observation.units), Decimal(price.per))
            latest_first[meter, region].append((day, observation, list_cost))
    return [_calibration(place, latest_first[place]) for place in sorted(latest_first) if latest_first[place]]


def _calibration(place: Place, latest_first: Sequence[tuple[date, Observation, Decimal]]) -> Calibration:
    meter, region = place
    whole = Observation()
    for _, observation, _ in latest_first:
        whole += observation
    list_cost = total(cost for _, _, cost in latest_first)
    factors = Costs(*(_factor(cost, list_cost) for cost in whole.costs.amounts()))
    found = Calibration(
        meter=meter,
        region=region,
        factors=replace(factors, list_cost=Decimal(1)),
        days=len(latest_first),
        first_day=latest_first[-1][0],
        last_day=latest_first[0][0],
        units=whole.units,
        list_cost=list_cost,
    )
    return replace(found, not_used_because=_why_not(found))


def _factor(cost: Decimal, list_cost: Decimal) -> Decimal:
    # Rounded to a millionth, so that the noise of rounded bills does not make every day's factor another one.
    return _ROUND.quantize(_ROUND.divide(cost, list_cost), _SCALE)


def _why_not(found: Calibration) -> str:
    if found.days < DAYS_NEEDED:
        return f"billed on {found.days} days, and {DAYS_NEEDED} are needed"
    if found.list_cost < LIST_COST_NEEDED:
        return f"billed units of {number_text(found.list_cost)} USD at list price, and {LIST_COST_NEEDED} are needed"
    if not all(LOWEST <= factor <= HIGHEST for factor in found.factors.amounts()):
        return f"the bill is not between {LOWEST} and {HIGHEST} of the list price"
    return ""
