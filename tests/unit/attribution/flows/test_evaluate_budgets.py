"""Budgets against the ledger, and what becomes of their alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution.alerts import Alert, AlertKey, AlertState, DeliveryStatus, Driver
from attribution.allocation import estimate_day
from attribution.budgets import Budget
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.flows.evaluate_budgets import evaluate_budgets
from attribution.meters import TokenKind
from attribution.money import Money
from attribution.periods import BillingPeriod
from attribution.usage import Counters, Usage, UsageKey
from tests.fakes import Crash, Crashes, FakeClock, FakeDeliveries, FakeLedgerDays, FakeOutbox, FakePolicy
from tests.unit.attribution.examples import DAY, TEAM, USAGE_KEY

NOVEMBER = BillingPeriod(2026, 11)


def budget(**changes: object) -> Budget:
    values: dict[str, object] = {
        "name": "search",
        "limit": Money(Decimal(1000)),
        "dimension": "team",
        "values": ("search",),
        "metric": "billed_cost",
        "threshold_percents": (Decimal(80), Decimal(100)),
    }
    return Budget(**{**values, **changes})  # type: ignore[arg-type]


@dataclass(slots=True)
class World:
    """A ledger whose days a test sets, and the alerts over it."""

    policy: FakePolicy
    days: FakeLedgerDays
    alerts: FakeOutbox
    crashes: Crashes
    clock: FakeClock

    def spend(self, amounts: dict[str, str], day: date = DAY, basis: Basis = Basis.ESTIMATED, currency: str = "USD") -> None:
        """Make a day cost so much per team."""
        used = [
            Usage(_key(team, day), Counters(1, units={TokenKind.INPUT: 1}, estimated={TokenKind.INPUT: Decimal(amount)}))
            for team, amount in amounts.items()
        ]
        charges = estimate_day(used, [TEAM], currency)
        version = make_day_version(day, basis, charges, [TEAM], origin="", usage=f"{amounts}{basis}{currency}")
        self.days.current[day] = self.days.stage(version, "")

    def evaluate(self) -> list[Alert]:
        outcome = evaluate_budgets(NOVEMBER, days=self.days, policy=self.policy, alerts=self.alerts, clock=self.clock)
        return list(outcome.changed)

    @property
    def alert(self) -> Alert:
        found = self.alerts.get(AlertKey("search", "2026-11"))
        assert found is not None
        return found


def _key(team: str, day: date) -> UsageKey:
    return UsageKey(day, USAGE_KEY.account_id, "us-east-1", "m", USAGE_KEY.routing, USAGE_KEY.tier, "", "", (("team", team),))


def world(*budgets: Budget) -> World:
    crashes, clock = Crashes(), FakeClock()
    days = FakeLedgerDays(FakeDeliveries(), clock)
    return World(FakePolicy([TEAM], budgets or [budget()]), days, FakeOutbox(crashes), crashes, clock)


def test_billed_and_estimated_days_count_together_and_are_kept_apart() -> None:
    ledger = world()
    ledger.spend({"search": "500", "support": "9000"}, DAY, Basis.BILLED)
    ledger.spend({"search": "200"}, DAY + timedelta(days=1), Basis.FINAL)
    ledger.spend({"search": "150"}, DAY + timedelta(days=2))

    (alert,) = ledger.evaluate()

    assert (alert.figures.billed, alert.figures.estimated) == (Decimal(700), Decimal(150))


def test_a_budget_counts_only_its_own_currency() -> None:
    ledger = world()
    ledger.spend({"search": "700"})
    ledger.spend({"search": "700"}, DAY + timedelta(days=1), currency="EUR")

    assert ledger.evaluate() == []


def test_a_budget_without_values_counts_everything() -> None:
    ledger = world(budget(values=()))
    ledger.spend({"search": "500", "support": "400"})

    (alert,) = ledger.evaluate()

    assert alert.figures.drivers == (Driver("search", Decimal(500)), Driver("support", Decimal(400)))


def test_another_period_does_not_count() -> None:
    ledger = world()
    ledger.spend({"search": "5000"}, date(2026, 10, 31))

    assert ledger.evaluate() == []


def test_one_jump_over_both_thresholds_is_one_alert() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})

    ledger.evaluate()

    assert [t.label for t in ledger.alert.crossed] == ["above 80 % of the budget", "above 100 % of the budget"]
    assert (ledger.alert.news, ledger.alert.delivery.status) == (1, DeliveryStatus.PENDING)


def test_a_bill_below_both_thresholds_corrects_the_alert_once() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.evaluate()
    ledger.spend({"search": "700"}, basis=Basis.BILLED)

    ledger.evaluate()

    assert (ledger.alert.state, ledger.alert.news, ledger.alert.previous_actual) == (AlertState.RECOVERED, 2, Decimal(1100))


@pytest.mark.parametrize("crash_after", range(2))
def test_an_alert_is_not_lost_when_the_attempt_ends_in_the_middle(crash_after: int) -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.crashes.after_points = crash_after
    with pytest.raises(Crash):
        ledger.evaluate()

    ledger.evaluate()

    assert (ledger.alert.state, ledger.alert.news) == (AlertState.ALARM, 1)


def test_an_evaluation_that_another_one_overtook_raises_nothing_twice() -> None:
    ledger = world()
    ledger.spend({"search": "850"})
    other: list[Alert] = []
    ledger.alerts.before_put = lambda: other.extend(ledger.evaluate())

    changed = ledger.evaluate()

    assert (len(other), changed) == (1, [])
    assert ledger.alert.revision == 1


def test_an_evaluation_on_older_figures_does_not_overwrite_what_a_fresher_one_said() -> None:
    made = world(budget())
    made.spend({"search": "850"})
    made.evaluate()

    def a_fresher_evaluation() -> None:
        made.spend({"search": "700"}, basis=Basis.BILLED)
        made.evaluate()

    # The older one has read 850 when the bill arrives.
    read, made.days.after_pointers = dict(made.days.current), a_fresher_evaluation
    made.days.current = read
    made.evaluate()

    assert made.alert.state is AlertState.RECOVERED
    assert made.alert.revision == 2


def test_a_budget_on_a_dimension_that_some_day_was_not_summed_by_is_left_alone_and_named() -> None:
    made = world(budget())
    made.spend({"search": "850"})
    made.evaluate()
    made.policy = replace_budgets(made.policy, budget(dimension="project"))

    outcome = evaluate_budgets(NOVEMBER, days=made.days, policy=made.policy, alerts=made.alerts, clock=made.clock)

    assert (outcome.changed, outcome.not_evaluated) == ((), ("search",))
    assert made.alert.state is AlertState.ALARM


def replace_budgets(policy: FakePolicy, *budgets: Budget) -> FakePolicy:
    return FakePolicy(policy.cost_categories(), list(budgets))
