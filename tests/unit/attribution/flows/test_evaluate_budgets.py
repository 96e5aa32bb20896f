"""Budgets against the ledger, and what becomes of their alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.alerts import Alert, AlertKey, DeliveryStatus
from attribution.allocation import estimate_day
from attribution.budgets import AlertState, Budget
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.flows.evaluate_budgets import evaluate_budgets
from attribution.meters import TokenKind
from attribution.money import Money
from attribution.periods import BillingPeriod
from attribution.usage import Counters, Usage, UsageKey
from tests.fakes import Crash, Crashes, FakeAlerts, FakeClock, FakeDeliveries, FakeLedgerDays, FakePolicy
from tests.unit.attribution.examples import BY_TEAM, DAY, USAGE_KEY

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
    alerts: FakeAlerts
    crashes: Crashes
    clock: FakeClock

    def spend(self, amounts: dict[str, str], day: date = DAY, basis: Basis = Basis.ESTIMATED, currency: str = "USD") -> None:
        """Make a day cost so much per team."""
        used = [
            Usage(_key(team, day), Counters(1, units={TokenKind.INPUT: 1}, estimated={TokenKind.INPUT: Decimal(amount)}))
            for team, amount in amounts.items()
        ]
        charges = estimate_day(used, BY_TEAM, currency)
        version = make_day_version(day, basis, charges, BY_TEAM, origin="", usage=f"{amounts}{basis}{currency}")
        self.days.current[day] = self.days.stage(version, "")

    def evaluate(self) -> list[Alert]:
        outcome = evaluate_budgets(NOVEMBER, days=self.days, policy=self.policy, alerts=self.alerts, clock=self.clock)
        return list(outcome.changed)

    def alert(self, threshold: int) -> Alert:
        return self.alerts.items[AlertKey("search", "2026-11", "ACTUAL", str(threshold))]


def _key(team: str, day: date) -> UsageKey:
    return UsageKey(day, USAGE_KEY.account_id, "us-east-1", "m", USAGE_KEY.routing, USAGE_KEY.tier, "", "", (("team", team),))


def world(*budgets: Budget) -> World:
    crashes, clock = Crashes(), FakeClock()
    days = FakeLedgerDays(FakeDeliveries(), clock)
    return World(FakePolicy(BY_TEAM, budgets or [budget()]), days, FakeAlerts(crashes), crashes, clock)


def test_billed_and_estimated_days_count_together_and_are_kept_apart() -> None:
    ledger = world()
    ledger.spend({"search": "500", "support": "9000"}, DAY, Basis.BILLED)
    ledger.spend({"search": "200"}, DAY + timedelta(days=1), Basis.FINAL)
    ledger.spend({"search": "150"}, DAY + timedelta(days=2))

    (alert,) = ledger.evaluate()

    assert (alert.spend.billed, alert.spend.estimated) == (Decimal(700), Decimal(150))
    assert (alert.threshold_percent, alert.spend.drivers) == (Decimal(80), (("search", Decimal(850)),))


def test_a_budget_counts_only_its_own_currency() -> None:
    ledger = world()
    ledger.spend({"search": "700"})
    ledger.spend({"search": "700"}, DAY + timedelta(days=1), currency="EUR")

    assert ledger.evaluate() == []


def test_a_budget_without_values_counts_everything() -> None:
    ledger = world(budget(values=()))
    ledger.spend({"search": "500", "support": "400"})

    (alert,) = ledger.evaluate()

    assert alert.spend.drivers == (("search", Decimal(500)), ("support", Decimal(400)))


def test_another_period_does_not_count() -> None:
    ledger = world()
    ledger.spend({"search": "5000"}, date(2026, 10, 31))

    assert ledger.evaluate() == []


def test_one_jump_over_both_thresholds_is_told_by_the_higher_one() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})

    ledger.evaluate()

    assert ledger.alert(100).delivery.status is DeliveryStatus.PENDING
    assert ledger.alert(80).delivery.status is DeliveryStatus.COVERED
    assert ledger.alert(80).state is ledger.alert(100).state is AlertState.ALARM


def test_a_bill_below_both_thresholds_is_told_by_the_lower_one() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.evaluate()
    ledger.spend({"search": "700"}, basis=Basis.BILLED)

    ledger.evaluate()

    assert ledger.alert(80).delivery.status is DeliveryStatus.PENDING
    assert ledger.alert(100).delivery.status is DeliveryStatus.COVERED
    assert ledger.alert(80).state is ledger.alert(100).state is AlertState.RECOVERED
    assert ledger.alert(80).previous_actual == 1100


@pytest.mark.parametrize("crash_after", range(4))
def test_a_threshold_is_not_lost_when_the_attempt_ends_before_the_one_that_was_to_tell(crash_after: int) -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.crashes.after_points = crash_after
    try:
        ledger.evaluate()
    except Crash:
        ledger.crashes.after_points = None
    ledger.spend({"search": "900"})

    ledger.evaluate()

    told = [a for a in ledger.alerts.items.values() if a.delivery.status is DeliveryStatus.PENDING]
    assert any(a.threshold_percent == 80 or a.revision > 1 for a in told)


def test_an_evaluation_that_another_one_overtook_raises_nothing_twice() -> None:
    ledger = world()
    ledger.spend({"search": "850"})
    other: list[Alert] = []
    ledger.alerts.before_put = lambda: other.extend(ledger.evaluate())

    changed = ledger.evaluate()

    assert (len(other), changed) == (1, [])
    assert ledger.alert(80).revision == 1


@given(st.lists(st.integers(600, 1200), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_every_change_of_side_is_told_once_however_often_it_is_evaluated(spends: list[int], repeats: list[bool]) -> None:
    ledger = world()
    news = []
    for spend, is_repeated in zip(spends, repeats, strict=False):
        ledger.spend({"search": str(spend)})
        changed = ledger.evaluate()
        assert not is_repeated or ledger.evaluate() == []
        news.append(sum(a.delivery.status is DeliveryStatus.PENDING for a in changed))

    sides = [(spend > 800) + (spend > 1000) for spend in spends]
    assert news == [int(side != before) for side, before in zip(sides, [0, *sides], strict=False)]


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

    assert made.alert(80).state is AlertState.RECOVERED
    assert made.alert(80).revision == 2


def test_a_budget_on_a_dimension_that_some_day_was_not_summed_by_is_left_alone_and_named() -> None:
    made = world(budget())
    made.spend({"search": "850"})
    made.evaluate()
    made.policy = replace_budgets(made.policy, budget(dimension="project"))

    outcome = evaluate_budgets(NOVEMBER, days=made.days, policy=made.policy, alerts=made.alerts, clock=made.clock)

    assert (outcome.changed, outcome.not_evaluated) == ((), ("search",))
    assert made.alert(80).state is AlertState.ALARM


def replace_budgets(policy: FakePolicy, *budgets: Budget) -> FakePolicy:
    return FakePolicy(BY_TEAM, list(budgets))
