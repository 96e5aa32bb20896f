"""Hold budgets against the ledger, and raise, correct or leave their alerts.

Every budget is judged in the period that runs now and in each period that a changed usage day lies in. What a budget counts of
one version of a day never changes, so it is summed once, for all budgets in one pass over the day's charges, and kept: however
many values a dimension has, an evaluation reads one small item per day, and the charges of the days that changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from attribution.alerts import Alert, AlertKey, observe
from attribution.budget_alerts import alert_key, observation
from attribution.budget_periods import DAY, BudgetPeriod, TimeUnit, local_date
from attribution.budgets import (
    Budget,
    Crossing,
    DayAmount,
    Evaluation,
    crossings,
    days_needed,
    driver_spans,
    evaluate,
    known_days,
    top_drivers,
)
from attribution.charges import AllocatedCharge, Basis
from attribution.days import DayPointer
from attribution.errors import LedgerConflict
from attribution.money import ZERO, add
from attribution.periods import BillingPeriod
from attribution.ports import Alerts, BudgetSums, Clock, Policy, ReadDays
from attribution.scopes import CHARGE_DIMENSIONS, Scope, dimensions_of, sum_drivers, sum_scopes

DRIVER_DIMENSIONS = ("iam_principal", "model", "token_kind", "account")
"""By which drivers are told, behind the cost categories: who, with which model, for what."""


Target = tuple[Budget, BudgetPeriod]


@dataclass(frozen=True, slots=True)
class Judged:
    """Budgets held against the ledger. `days_summed` are those whose charges were read, because no sum was kept."""

    evaluations: tuple[Evaluation, ...]
    days_summed: int
    # Budgets on a cost category by which some day of the period is not allocated yet.
    not_evaluated: tuple[str, ...]
    # Budgets without a limit in a period: a plan that begins later, or nothing yet to adjust a limit to.
    without_limit: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluatedBudgets:
    """What an evaluation found, and what it changed."""

    budgets: int
    judged: Judged
    crossed: int
    changed: tuple[Alert, ...]

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        return self.judged.evaluations


def evaluate_budgets(
    changed_days: Sequence[date],
    *,
    days: ReadDays,
    sums: BudgetSums,
    policy: Policy,
    alerts: Alerts,
    clock: Clock,
) -> EvaluatedBudgets:
    """Evaluate all budgets after some ledger days changed; on schedule, none has.

    The alerts are read before the ledger: one that another evaluation changes in between, on fresher figures, is left alone.
    """
    now = clock()
    budgets = policy.budgets()
    targets = targets_of(budgets, changed_days, now)
    before = alerts.get_many(alert_key(budget, period) for budget, period in targets)
    ledger = _Ledger(days, sums, budgets)
    judged = ledger.judge(targets, now)
    found = {(e.budget.name, e.period): crossings(e) for e in judged.evaluations}
    changing = [e for e in judged.evaluations if _has_news(e, found[e.budget.name, e.period], before, now)]
    dimensions = [*policy.rules(now.date()).names, *DRIVER_DIMENSIONS]
    explained = {(e.budget.name, e.period): e for e in ledger.with_drivers(changing, dimensions, now)}
    changed: list[Alert] = []
    for evaluation in judged.evaluations:
        target = evaluation.budget.name, evaluation.period
        seen = observation(explained.get(target, evaluation), found[target])
        current = before.get(seen.key)
        following = observe(seen, current, now)
        # Another evaluation may have changed it in the meantime; then it is that one's to tell.
        stored = alerts.put(following, replacing=current) if following is not None else None
        if stored is not None:
            changed.append(stored)
    crossed = sum(c.is_crossed for judged_now in found.values() for c in judged_now)
    return EvaluatedBudgets(len({b.name for b, _ in targets}), judged, crossed, tuple(changed))


def _has_news(evaluation: Evaluation, judged: Sequence[Crossing], before: Mapping[AlertKey, Alert], now: datetime) -> bool:
    seen = observation(evaluation, judged)
    current = before.get(seen.key)
    following = observe(seen, current, now)
    return following is not None and (current is None or following.news > current.news)


def judge_budgets(
    budgets: Sequence[Budget], *, days: ReadDays, sums: BudgetSums, clock: Clock, month: BillingPeriod | None = None
) -> Judged:
    """Budgets in the periods that run now, or in those with a day in a month, for somebody who asks; no alert comes of it."""
    now = clock()
    targets = targets_of(budgets, (), now) if month is None else _targets_in(month, budgets, now)
    return _Ledger(days, sums, budgets).judge(targets, now)


def _targets_in(month: BillingPeriod, budgets: Iterable[Budget], now: datetime) -> list[Target]:
    """Each budget with its periods that have a day in a month and have begun, also those of budgets that have ended since."""
    found = [(b, {p for day in month.days() if (p := b.period_of(day)) is not None}) for b in budgets]
    return [(b, p) for b, periods in found for p in sorted(periods) if p.starts_at(b.zone) <= now]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An alert as it would be told now. `as_if` names the threshold that is not crossed and was taken to be."""

    alert: Alert
    as_if: str = ""


def foresee_alert(
    budget: Budget, *, days: ReadDays, sums: BudgetSums, policy: Policy, alerts: Alerts, clock: Clock
) -> Foreseen | None:
    """What a budget's alert of the period that runs now would say, for somebody who asks; nothing is written.

    None where the budget cannot be judged now, or has nothing that would raise an alert.
    """
    now = clock()
    ledger = _Ledger(days, sums, [budget])
    evaluations = ledger.judge(targets_of([budget], (), now), now).evaluations
    dimensions = [*policy.rules(now.date()).names, *DRIVER_DIMENSIONS]
    for evaluation in ledger.with_drivers(evaluations[-1:], dimensions, now):
        judged = crossings(evaluation)
        seen = observation(evaluation, judged)
        current = alerts.get(seen.key)
        following = observe(seen, current, now) or current
        if following is not None:
            return Foreseen(following)
        if judged:
            supposed = observation(evaluation, [replace(judged[0], is_crossed=True)])
            raised = observe(supposed, None, now)
            return Foreseen(raised, supposed.crossed[0].label) if raised is not None else None
    return None


def targets_of(budgets: Iterable[Budget], changed_days: Sequence[date], now: datetime) -> list[Target]:
    """Each budget that has not ended, with the periods to judge it in."""
    return [(b, period) for b in budgets if not b.is_expired(now) for period in _periods(b, changed_days, now)]


def _names(targets: Iterable[Target]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(budget.name for budget, _ in targets))


def _periods(budget: Budget, changed_days: Iterable[date], now: datetime) -> list[BudgetPeriod]:
    """The period that runs now, and those of changed days that have begun; of days also yesterday, complete by now."""
    today = local_date(now, budget.zone)
    days = (today, *changed_days, *((today - DAY,) if budget.time_unit is TimeUnit.DAILY else ()))
    periods = {p for day in days if (p := budget.period_of(day)) is not None and p.starts_at(budget.zone) <= now}
    return sorted(periods)


class _Ledger:
    """What budgets count of ledger days: kept sums, and the charges of days of which none is kept."""

    def __init__(self, days: ReadDays, sums: BudgetSums, budgets: Iterable[Budget]) -> None:
        self._days = days
        self._sums = sums
        self._scopes: dict[str, Scope] = {b.scope.digest: b.scope for b in budgets}
        self._categories = {
            digest: {name for name in dimensions_of(scope.filter) if name not in CHARGE_DIMENSIONS}
            for digest, scope in self._scopes.items()
        }
        self._pointers: dict[BillingPeriod, Mapping[date, DayPointer]] = {}
        self._days_summed = 0

    def judge(self, targets: Sequence[Target], now: datetime) -> Judged:
        """Hold budgets against the ledger."""
        amounts = self._amounts(targets, now)
        counted = {(b, p): known_days(b, p, amounts[b.scope.digest]) for b, p in targets}
        judged = {(b, p): evaluate(b, p, days, now) for (b, p), days in counted.items() if days is not None}
        return Judged(
            tuple(evaluation for evaluation in judged.values() if evaluation is not None),
            self._days_summed,
            _names(target for target, days in counted.items() if days is None),
            _names(target for target, evaluation in judged.items() if evaluation is None),
        )

    def _amounts(self, targets: Sequence[Target], now: datetime) -> Mapping[str, Mapping[date, DayAmount | None]]:
        """What each scope counts of every ledger day that its budgets look at, by the scope's digest.

        None where nobody knows: a day that was allocated before a cost category existed says nothing of it, which is not zero.
        """
        needed: dict[date, set[str]] = defaultdict(set)
        for budget, period in targets:
            for day in _span(days_needed(budget, period, now), period.last_day):
                needed[day].add(budget.scope.digest)
        pointers = self._current(needed)
        kept = self._sums.read(list(pointers.values()))
        amounts: dict[str, dict[date, DayAmount | None]] = {digest: {} for digest in self._scopes}
        for day, pointer in sorted(pointers.items()):
            known = {digest for digest in needed[day] if all(map(pointer.is_summed_by, self._categories[digest]))}
            sums = kept.get(day, {})
            if missing := known - sums.keys():
                sums = self._sum(pointer, sums, missing)
            for digest in needed[day]:
                is_estimated = pointer.basis is Basis.ESTIMATED
                amounts[digest][day] = DayAmount(sums[digest], is_estimated) if digest in known else None
        return amounts

    def _sum(self, pointer: DayPointer, kept: Mapping[str, Decimal], missing: Iterable[str]) -> Mapping[str, Decimal]:
        """Sum a day for scopes of which no sum is kept, and keep it: an attempt that ends in between goes on from there."""
        self._days_summed += 1
        summed = sum_scopes(self._charges(pointer), [self._scopes[digest] for digest in sorted(missing)])
        sums = {digest: amount for digest, amount in kept.items() if digest in self._scopes} | summed
        self._sums.keep(pointer, sums)
        return sums

    def _charges(self, pointer: DayPointer) -> Iterator[AllocatedCharge]:
        count = 0
        for charge in self._days.charges(pointer.usage_date, pointer.version):
            count += 1
            yield charge
        if count != pointer.charge_count:
            raise LedgerConflict(
                f"version {pointer.version} of {pointer.usage_date} has {count} charges left of {pointer.charge_count}: "
                "it expired while it was read; read the day again"
            )

    def _current(self, wanted: Iterable[date]) -> dict[date, DayPointer]:
        """The pointers of those of the days that the ledger has."""
        months: dict[BillingPeriod, set[date]] = defaultdict(set)
        for day in wanted:
            months[BillingPeriod.of(day)].add(day)
        for month in months.keys() - self._pointers.keys():
            self._pointers[month] = self._days.pointers(month)
        return {day: p for month, days in months.items() for day, p in self._pointers[month].items() if day in days}

    def with_drivers(self, evaluations: Sequence[Evaluation], dimensions: Sequence[str], now: datetime) -> Iterator[Evaluation]:
        """The evaluations with the names behind their spend."""
        by_day: dict[date, set[str]] = defaultdict(set)
        spans = {(e.budget.name, e.period): driver_spans(e.period, now) for e in evaluations}
        for evaluation in evaluations:
            for days in spans[evaluation.budget.name, evaluation.period]:
                for day in days:
                    by_day[day].add(evaluation.budget.scope.digest)
        pointers = self._current(by_day)
        known = [d for d in dimensions if d in CHARGE_DIMENSIONS or all(p.is_summed_by(d) for p in pointers.values())]
        daily = {
            day: sum_drivers(self._charges(pointer), [self._scopes[digest] for digest in sorted(by_day[day])], known)
            for day, pointer in pointers.items()
        }
        for evaluation in evaluations:
            digest, target = evaluation.budget.scope.digest, (evaluation.budget.name, evaluation.period)
            span, earlier = ([daily[d][digest] for d in days if d in daily] for days in spans[target])
            drivers = top_drivers(_added(span), _added(earlier) if earlier else None, known)
            yield replace(evaluation, spend=replace(evaluation.spend, drivers=drivers))


def _span(first: date, last: date) -> Iterator[date]:
    return (first + i * DAY for i in range((last - first).days + 1))


def _added(parts: Iterable[Mapping[tuple[str, str], Decimal]]) -> dict[tuple[str, str], Decimal]:
    sums: dict[tuple[str, str], Decimal] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = add(sums.get(name, ZERO), amount)
    return sums
