"""What an evaluation found about a budget, as its alert needs to know it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from attribution.alerts import AlertKey, Driver, Figures, Observation, Subject, Threshold, ThresholdKind
from attribution.budgets import Budget, Crossing
from attribution.canonical import number_text
from attribution.money import EXACT
from attribution.periods import BillingPeriod, day_end

_BROKEN_PERCENT = 100


def alert_key(budget: Budget, period: BillingPeriod) -> AlertKey:
    """The key of the one alert that a budget has in a period."""
    return AlertKey(budget.name, str(period))


def observation(crossings: Sequence[Crossing]) -> Observation:
    """The crossings of one budget in one period together; at least one."""
    budget, period, spend = crossings[0].budget, crossings[0].period, crossings[0].spend
    drivers = () if len(budget.values) == 1 else tuple(Driver(name, amount) for name, amount in spend.drivers)
    return Observation(
        alert_key(budget, period),
        Subject(
            counts=f"{budget.dimension}: {', '.join(budget.values) or 'everything'}",
            metric=budget.metric,
            owners=tuple((budget.dimension, value) for value in budget.values),
            route=budget.channel,
            ends_at=day_end(period.last_day),
        ),
        Figures(budget.limit, spend.billed, spend.estimated, drivers),
        tuple(_threshold(crossing) for crossing in crossings if crossing.is_crossed),
    )


def _threshold(crossing: Crossing) -> Threshold:
    percent, limit = crossing.threshold_percent, crossing.budget.limit.amount
    amount = EXACT.scaleb(EXACT.multiply(limit, percent), Decimal(-2))
    name = number_text(percent)
    label = f"above {name} % of the budget"
    return Threshold(ThresholdKind.ACTUAL, f"{ThresholdKind.ACTUAL}#{name}", label, amount, percent >= _BROKEN_PERCENT)
