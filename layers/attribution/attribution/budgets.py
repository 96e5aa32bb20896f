"""Budgets in the words of AWS Budgets: a monthly limit on what one dimension value spends, with thresholds on actual spend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from attribution.money import EXACT, ZERO, Money, add
from attribution.periods import BillingPeriod


@dataclass(frozen=True, slots=True)
class Budget:
    """A monthly cost budget. `values` of `dimension` count towards it; all of them where it is empty."""

    name: str
    limit: Money
    dimension: str
    values: tuple[str, ...]
    metric: str
    threshold_percents: tuple[Decimal, ...]
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Spend:
    """Actual spend of a budget in one period. Billed and estimated days are summed apart and never shown as one number."""

    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    drivers: tuple[tuple[str, Decimal], ...] = ()

    @property
    def actual(self) -> Decimal:
        """What is compared with the limit: billed days, and the estimate for days that the bill has not reached."""
        return add(self.billed, self.estimated)


class AlertState(StrEnum):
    """Where an alert is in its life. `RECOVERED`: the spend it was based on turned out lower."""

    ALARM = "alarm"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Crossing:
    """A threshold and whether actual spend is above it. AWS Budgets notifies when spend is greater than the threshold.

    Where one change crosses several thresholds, the highest one tells; where it takes spend back below several, the lowest
    does. The others are `told_by_another`.
    """

    budget: Budget
    period: BillingPeriod
    threshold_percent: Decimal
    spend: Spend
    is_crossed: bool
    told_by_another: bool = False


def evaluate(budget: Budget, period: BillingPeriod, spend: Spend) -> tuple[Crossing, ...]:
    """Every threshold of a budget against its spend, lowest first."""
    percents = sorted(set(budget.threshold_percents))
    limits = {percent: EXACT.scaleb(EXACT.multiply(budget.limit.amount, percent), Decimal(-2)) for percent in percents}
    crossed = {percent: spend.actual > limit for percent, limit in limits.items()}
    return tuple(
        Crossing(
            budget,
            period,
            percent,
            spend,
            crossed[percent],
            any(
                crossed[other] == crossed[percent] and (other > percent if crossed[percent] else other < percent)
                for other in percents
            ),
        )
        for percent in percents
    )


def percent_of(spend: Decimal, limit: Decimal) -> int:
    """Spend as a whole percentage of the limit, rounded down: 79.9 % is not yet 80 %."""
    if not limit:
        return 0
    return int(EXACT.divide_int(EXACT.multiply(spend, Decimal(100)), limit))


def top_drivers(amounts: Iterable[tuple[str, Decimal]], count: int = 3) -> tuple[tuple[str, Decimal], ...]:
    """The largest amounts by name."""
    return tuple(sorted(((n, a) for n, a in amounts if a), key=lambda item: (item[1].copy_negate(), item[0]))[:count])
