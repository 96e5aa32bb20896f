"""What an evaluation found about a budget, as its alert needs to know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from attribution.alerts import AlertKey, Driver, Figures, Forecast, Observation, Subject, Threshold, ThresholdKind
from attribution.budget_periods import BudgetPeriod
from attribution.budgets import (
    Budget,
    Comparison,
    Crossing,
    Evaluation,
    Notification,
    NotificationType,
    ThresholdType,
)
from attribution.budgets import Driver as Grown
from attribution.canonical import number_text
from attribution.forecasts import Forecast as Outlook
from attribution.scopes import describe, required_values
from attribution.wording import money

_WORDS = {Comparison.GREATER_THAN: "above", Comparison.LESS_THAN: "below", Comparison.EQUAL_TO: "exactly at"}


def alert_key(budget: Budget, period: BudgetPeriod) -> AlertKey:
    """The key of the one alert that a budget has in a period."""
    return AlertKey(budget.name, str(period))


def observation(evaluation: Evaluation, judged: Sequence[Crossing]) -> Observation:
    """A budget in one period with its notifications; those that cannot be judged now stay as they were."""
    budget, period = evaluation.budget, evaluation.period
    known = {_name(crossing.notification) for crossing in judged}
    return Observation(
        alert_key(budget, period),
        Subject(
            counts=describe(budget.scope.filter),
            metric=budget.scope.measure.metric,
            owners=tuple(required_values(budget.scope.filter)),
            route=budget.channel,
            ends_at=period.ends_at(budget.zone),
            adjusts_itself=budget.adjusts_itself,
        ),
        _figures(evaluation),
        tuple(_threshold(crossing) for crossing in judged if crossing.is_crossed),
        tuple(name for notification in budget.notifications if (name := _name(notification)) not in known),
        is_explained=evaluation.spend.drivers is not None,
    )


def _figures(evaluation: Evaluation) -> Figures:
    outlook, spend = evaluation.forecast, evaluation.spend
    forecast = None
    if isinstance(outlook, Outlook):
        forecast = Forecast(outlook.p10, outlook.p50, outlook.p90, outlook.breach_on, outlook.probability_percent)
    return Figures(
        evaluation.limit_money,
        spend.billed,
        spend.estimated,
        tuple(_drivers(spend.drivers or ())),
        forecast,
        evaluation.pace_percent if evaluation.days_over else None,
        evaluation.daily,
    )


def _drivers(grown: Sequence[Grown]) -> Iterator[Driver]:
    """What grew most of each dimension first, then what grew second: each dimension explains the whole of the spend."""
    by_dimension: dict[str, list[Grown]] = {}
    for driver in grown:
        by_dimension.setdefault(driver.dimension, []).append(driver)
    for rank in zip_longest(*by_dimension.values()):
        yield from (Driver(f"{d.dimension} {d.name or '(no value)'}", d.amount, d.change) for d in rank if d is not None)


def _name(notification: Notification) -> str:
    return f"{notification.type.value}#{notification.threshold_key}"


def _threshold(crossing: Crossing) -> Threshold:
    notification, amount, limit = crossing.notification, crossing.threshold_amount, crossing.evaluation.limit
    is_above = notification.comparison is Comparison.GREATER_THAN
    is_actual = notification.type is NotificationType.ACTUAL
    at = money(amount, crossing.budget.unit)
    if notification.threshold_type is ThresholdType.PERCENTAGE:
        at = f"{number_text(notification.threshold)} % of the budget"
    return Threshold(
        ThresholdKind.ACTUAL if is_actual else ThresholdKind.FORECASTED,
        _name(notification),
        f"{_WORDS[notification.comparison]} {at}",
        amount if is_above else None,
        is_critical=is_above and is_actual and amount >= limit,
        latches=crossing.latches,
    )
