"""Compare every budget with what a billing period has spent so far, and raise, correct or leave its alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.alerts import Alert, observe
from attribution.budget_alerts import alert_key, observation
from attribution.budgets import Budget, Spend, evaluate, top_drivers
from attribution.charges import Basis
from attribution.days import DayPointer, Sum
from attribution.money import ZERO, add
from attribution.periods import BillingPeriod
from attribution.ports import Alerts, Clock, LedgerDays, Policy


@dataclass(frozen=True, slots=True)
class EvaluatedBudgets:
    """What an evaluation found and changed."""

    budgets: int
    crossed: int
    changed: tuple[Alert, ...]
    # Budgets on a dimension that some day of the period was not summed by.
    not_evaluated: tuple[str, ...] = ()


def evaluate_budgets(
    period: BillingPeriod, *, days: LedgerDays, policy: Policy, alerts: Alerts, clock: Clock
) -> EvaluatedBudgets:
    """Evaluate all budgets for one billing period.

    The alerts are read before the ledger: one that another evaluation changes in between, on fresher figures, is left alone.
    """
    budgets = policy.budgets()
    before = {b.name: alerts.get(alert_key(b, period)) for b in budgets}
    pointers = days.pointers(period)
    # A day that was allocated before a cost category existed has no sums by it, and none is not zero.
    known = {b.dimension for b in budgets if all(b.dimension in p.sum_chunks for p in pointers.values())}
    by_dimension = {dimension: days.sums(list(pointers.values()), dimension) for dimension in sorted(known)}
    crossed = 0
    changed: list[Alert] = []
    for budget in budgets:
        if budget.dimension not in known:
            continue
        spend = spend_of(budget, pointers, by_dimension[budget.dimension])
        crossings = evaluate(budget, period, spend)
        crossed += sum(crossing.is_crossed for crossing in crossings)
        following = observe(observation(crossings), before[budget.name], clock())
        # Another evaluation may have changed it in the meantime; then it is that one's to tell.
        stored = alerts.put(following, replacing=before[budget.name]) if following is not None else None
        if stored is not None:
            changed.append(stored)
    return EvaluatedBudgets(len(budgets), crossed, tuple(changed), tuple(b.name for b in budgets if b.dimension not in known))


def spend_of(budget: Budget, pointers: Mapping[date, DayPointer], sums: Mapping[date, Mapping[tuple[str, str], Sum]]) -> Spend:
    """What counts towards a budget: the days of the period in the budget's metric and currency, billed and estimated apart."""
    billed, estimated = ZERO, ZERO
    by_value: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for usage_date, values in sums.items():
        for (value, currency), day_sum in values.items():
            if currency != budget.limit.currency or (budget.values and value not in budget.values):
                continue
            amount: Decimal = getattr(day_sum.costs, budget.metric)
            by_value[value] = add(by_value[value], amount)
            if pointers[usage_date].basis is Basis.ESTIMATED:
                estimated = add(estimated, amount)
            else:
                billed = add(billed, amount)
    return Spend(billed, estimated, top_drivers(by_value.items()))
