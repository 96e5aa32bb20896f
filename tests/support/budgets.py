"""Budgets in their world: a ledger whose days a test sets, a clock that it moves, and what people are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from adapters.budget_documents import AwsBudgetDocument, BudgetDocument, build_budgets
from adapters.budget_filters import Vocabulary
from attribution.alerts import Alert
from attribution.allocation import estimate_day
from attribution.budgets import Budget
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.flows.evaluate_budgets import EvaluatedBudgets, evaluate_budgets
from attribution.meters import TokenKind
from attribution.usage import Counters, Usage
from tests.fakes import FakeBudgetSums, FakeClock, FakeDeliveries, FakeLedgerDays, FakeOutbox, FakePolicy
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY

VOCABULARY = Vocabulary(("team", "tenant"), {"team": "team", "costcenter": "team", "tenant": "tenant"})


def aws_budget(**changes: Any) -> dict[str, Any]:
    """AWS's own example, a budget of 200 dollars of which one is told at 160; None removes a field."""
    notifications = changes.pop("Notifications", [notification()])
    budget: dict[str, Any] = {
        "BudgetName": "search",
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": "200", "Unit": "USD"},
        "CostFilters": {"TagKeyValue": ["user:team$search"]},
        "CostTypes": {"IncludeTax": True, "UseBlended": False},
    } | changes
    return {"Budget": {k: v for k, v in budget.items() if v is not None}, "Notifications": notifications}


def notification(threshold: Any = 80.0, **changes: Any) -> dict[str, Any]:
    return {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": threshold,
        "ThresholdType": "PERCENTAGE",
        "NotificationState": "OK",
    } | changes


def forecasted(threshold: Any = 100.0, **changes: Any) -> dict[str, Any]:
    return notification(threshold, NotificationType="FORECASTED", **changes)


def built(document: dict[str, Any]) -> Budget:
    """The budget that a document of either form means."""
    model = AwsBudgetDocument if "aws" in document else BudgetDocument
    (budget,) = build_budgets([model.model_validate(document)], VOCABULARY)
    return budget


@dataclass(slots=True)
class World:
    """A ledger, its budgets, and every message that an evaluation asked for, in order: which notification, of which period."""

    budgets: Sequence[Budget]
    clock: FakeClock = field(default_factory=FakeClock)
    alerts: FakeOutbox = field(default_factory=FakeOutbox)
    sums: FakeBudgetSums = field(default_factory=FakeBudgetSums)
    days: FakeLedgerDays = field(init=False)
    sent: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.days = FakeLedgerDays(FakeDeliveries(), self.clock)

    def spend(self, day: date, amount: str | Decimal, team: str = "search", basis: Basis = Basis.BILLED) -> None:
        """Make a day cost so much for a team, and nothing else."""
        key = USAGE_KEY._replace(usage_date=day, request_metadata=(("team", team),))
        counters = Counters(1, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(amount)})
        charges = estimate_day([Usage(key, counters)], BY_TEAM)
        version = make_day_version(day, basis, charges, BY_TEAM, origin="", usage=f"{amount}{team}{basis}")
        self.days.current[day] = self.days.stage(version, "")

    def evaluate(self, now: datetime | str, *changed: date) -> EvaluatedBudgets:
        """Evaluate at an instant; text is UTC."""
        self.clock.now = datetime.fromisoformat(now).replace(tzinfo=UTC) if isinstance(now, str) else now
        before = dict(self.alerts.items)
        outcome = evaluate_budgets(
            changed,
            days=self.days,
            sums=self.sums,
            policy=FakePolicy(BY_TEAM, self.budgets),
            alerts=self.alerts,
            clock=self.clock,
        )
        for alert in outcome.changed:
            crossed = {threshold.name for threshold in alert.crossed}
            earlier = before.get(alert.key)
            was = {threshold.name for threshold in earlier.crossed} if isinstance(earlier, Alert) else set()
            self.sent += [told(alert, name) for name in sorted(crossed - was, reverse=True)]
            self.corrected += [told(alert, name) for name in sorted(was - crossed)]
        return outcome


def told(alert: Alert, name: str) -> str:
    """Which notification an alert is about: `2026-11 ACTUAL 80`."""
    kind, _, threshold = name.partition("#")
    return f"{alert.key.period} {kind} {threshold}"
