"""Budgets against the ledger, and what becomes of their alerts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from attribution.alerts import Alert, AlertKey, AlertState, DeliveryStatus, Driver, Threshold, ThresholdKind
from attribution.allocation import estimate_day
from attribution.budget_periods import TimeUnit
from attribution.budgets import Budget, FixedLimit, HistoricalLimit, Notification, NotificationType, Spend
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.errors import LedgerConflict
from attribution.flows.evaluate_budgets import EvaluatedBudgets, evaluate_budgets
from attribution.meters import TokenKind
from attribution.scopes import Match, Scope
from attribution.usage import Counters, Usage, UsageKey
from tests.fakes import Crash, Crashes, FakeBudgetSums, FakeClock, FakeDeliveries, FakeLedgerDays, FakeOutbox, FakePolicy
from tests.unit.attribution.examples import BY_TEAM, DAY, USAGE_KEY

SEARCH = Scope(Match("team", ("search",)))
DAY_LONG = timedelta(days=1)


def budget(**changes: object) -> Budget:
    values: dict[str, object] = {
        "name": "search",
        "limit": FixedLimit(Decimal(1000)),
        "scope": SEARCH,
        "notifications": (Notification(Decimal(80)), Notification(Decimal(100))),
    }
    return Budget(**{**values, **changes})  # type: ignore[arg-type]


@dataclass(slots=True)
class World:
    """A ledger whose days a test sets, and the alerts over it."""

    policy: FakePolicy
    days: FakeLedgerDays
    sums: FakeBudgetSums
    alerts: FakeOutbox
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

    def outcome(self, *changed: date) -> EvaluatedBudgets:
        return evaluate_budgets(
            changed, days=self.days, sums=self.sums, policy=self.policy, alerts=self.alerts, clock=self.clock
        )

    def evaluate(self, *changed: date) -> list[Alert]:
        return list(self.outcome(*changed).changed)

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
    return World(FakePolicy(BY_TEAM, budgets or [budget()]), days, FakeBudgetSums(crashes), FakeOutbox(crashes), crashes, clock)


def test_billed_and_estimated_days_count_together_and_are_kept_apart() -> None:
    ledger = world()
    ledger.spend({"search": "500", "support": "9000"}, DAY, Basis.BILLED)
    ledger.spend({"search": "200"}, DAY + timedelta(days=1), Basis.FINAL)
    ledger.spend({"search": "150"}, DAY + timedelta(days=2))

    (alert,) = ledger.evaluate()

    assert (alert.figures.billed, alert.figures.estimated) == (Decimal(700), Decimal(150))
    assert [threshold.name for threshold in alert.crossed] == ["ACTUAL#80"]
    assert [amount for _, amount in alert.figures.daily] == [500, 200, 150]


def test_a_budget_counts_only_its_own_currency() -> None:
    ledger = world()
    ledger.spend({"search": "700"})
    ledger.spend({"search": "700"}, DAY + timedelta(days=1), currency="EUR")

    assert ledger.evaluate() == []


def test_a_budget_without_values_counts_everything() -> None:
    ledger = world(budget(scope=Scope()))
    ledger.spend({"search": "500", "support": "400"})

    (alert,) = ledger.evaluate()

    assert alert.figures.actual == 900


def test_another_period_does_not_count() -> None:
    ledger = world()
    ledger.spend({"search": "5000"}, date(2026, 10, 31))

    assert ledger.evaluate() == []


def test_a_period_that_is_over_is_judged_when_one_of_its_days_changes() -> None:
    ledger = world()
    october = date(2026, 10, 31)
    ledger.spend({"search": "5000"}, october, Basis.BILLED)

    changed = ledger.evaluate(october)

    assert [str(a.key) for a in changed] == ["search#2026-10"]
    assert ledger.evaluate(october) == []


def test_drivers_tell_who_grew_against_the_equal_span_before() -> None:
    ledger = world(budget(scope=Scope(), limit=FixedLimit(Decimal(100))))
    ledger.clock.now = datetime(2026, 11, 2, 12, tzinfo=UTC)
    ledger.spend({"search": "50", "support": "49"}, date(2026, 10, 30), Basis.BILLED)
    ledger.spend({"search": "60", "support": "90"}, date(2026, 11, 2))

    *_, alert = ledger.evaluate()

    by_team = [d for d in alert.figures.drivers if d.name.startswith("team ")]
    assert by_team == [Driver("team support", Decimal(90), Decimal(41)), Driver("team search", Decimal(60), Decimal(10))]


def test_what_a_bill_disproves_is_no_driver_any_more() -> None:
    ledger = world(budget(scope=Scope(), limit=FixedLimit(Decimal(100))))
    ledger.spend({"search": "50", "runaway": "70"})
    (raised,) = ledger.evaluate()
    assert "team runaway" in {d.name for d in raised.figures.drivers}
    ledger.spend({"search": "50"}, DAY, Basis.BILLED)

    (corrected,) = ledger.evaluate(DAY)

    assert corrected.figures.drivers == (), "of one team there is nothing to tell"


def test_a_version_is_summed_once_and_read_from_then_on() -> None:
    ledger = world()
    ledger.spend({"search": "100"}, DAY, Basis.BILLED)
    ledger.spend({"search": "100"}, DAY + timedelta(days=1))

    first, second = ledger.outcome(), ledger.outcome()
    ledger.spend({"search": "150"}, DAY + timedelta(days=1))
    third = ledger.outcome()

    assert (first.judged.days_summed, second.judged.days_summed, third.judged.days_summed) == (2, 0, 1)
    (evaluation,) = third.evaluations
    assert evaluation.spend == Spend(Decimal(100), Decimal(150))
    assert evaluation.daily == ((DAY, Decimal(100)), (DAY + DAY_LONG, Decimal(150)))


def test_a_new_budget_sums_the_days_again_and_the_others_keep_theirs() -> None:
    ledger = world()
    ledger.spend({"search": "100", "support": "7"})
    ledger.outcome()
    kept = dict(next(iter(ledger.sums.kept.values())))
    support = budget(name="support", scope=Scope(Match("team", ("support",))))
    ledger.policy.defined = [budget(), support]

    outcome = ledger.outcome()

    assert [e.spend.actual for e in outcome.evaluations] == [100, 7]
    assert next(iter(ledger.sums.kept.values())) == kept | {support.scope.digest: Decimal(7)}


@pytest.mark.parametrize("crash_after", range(12))
def test_an_evaluation_that_ends_anywhere_is_made_good_by_the_next(crash_after: int) -> None:
    ledger = world()
    for i in range(3):
        ledger.spend({"search": "300"}, DAY + timedelta(days=i))
    ledger.crashes.after_points = crash_after
    with suppress(Crash):
        ledger.evaluate()
    ledger.crashes.after_points = None

    ledger.evaluate()

    assert ledger.alert.state is AlertState.ALARM
    assert ledger.alert.revision == 1


def test_a_version_that_expires_while_it_is_read_is_not_taken_for_less_spend() -> None:
    ledger = world()
    ledger.spend({"search": "900"})
    ledger.days.expired.add((DAY, ledger.days.current[DAY].version))

    with pytest.raises(LedgerConflict, match="expired while it was read"):
        ledger.evaluate()

    assert ledger.sums.kept == {}


def test_a_day_allocated_before_a_cost_category_existed_is_unknown_and_not_zero() -> None:
    ledger = world(budget(scope=Scope(Match("tenant", ("acme",)))), budget(name="known"))
    ledger.spend({"search": "100"})

    outcome = ledger.outcome()

    assert outcome.judged.not_evaluated == ("search",)
    assert [e.budget.name for e in outcome.evaluations] == ["known"]


def test_a_budget_is_judged_from_its_local_midnight_on() -> None:
    tokyo = budget(zone=ZoneInfo("Asia/Tokyo"), time_unit=TimeUnit.DAILY, notifications=(Notification(Decimal(0)),))
    ledger = world(tokyo)
    ledger.clock.now = datetime(2026, 11, 2, 14, 59, tzinfo=UTC)
    ledger.spend({"search": "1"}, DAY)

    before = ledger.outcome(DAY)
    ledger.clock.advance(60)
    after = ledger.outcome()

    assert [str(e.period) for e in before.evaluations] == ["2026-11-01", "2026-11-02"]
    assert [str(e.period) for e in after.evaluations] == ["2026-11-02", "2026-11-03"]
    assert [a.key.period for a in after.changed] == ["2026-11-03"]


def test_a_budget_that_has_ended_is_gone() -> None:
    ledger = world(budget(end=date(2026, 11, 22)))
    ledger.spend({"search": "5000"})

    outcome = ledger.outcome(DAY)

    assert (outcome.budgets, outcome.evaluations, ledger.alerts.items) == (0, (), {})


def test_a_budget_with_nothing_to_adjust_to_is_named() -> None:
    ledger = world(budget(limit=HistoricalLimit(3)))
    ledger.spend({"search": "5000"})

    assert ledger.outcome().judged.without_limit == ("search",)


def test_one_jump_over_both_thresholds_is_one_alert() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})

    ledger.evaluate()

    assert [t.label for t in ledger.alert.crossed] == ["above 80 % of the budget", "above 100 % of the budget"]
    assert (ledger.alert.news, ledger.alert.is_critical) == (1, True)
    assert ledger.alert.delivery.status is DeliveryStatus.PENDING


def test_a_bill_below_both_thresholds_corrects_the_alert_once() -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.evaluate()
    ledger.spend({"search": "700"}, basis=Basis.BILLED)

    ledger.evaluate()

    assert (ledger.alert.state, ledger.alert.news) == (AlertState.RECOVERED, 2)
    assert ledger.alert.previous_actual == 1100


@pytest.mark.parametrize("crash_after", range(4))
def test_an_alert_is_not_lost_when_the_attempt_ends_in_the_middle(crash_after: int) -> None:
    ledger = world()
    ledger.spend({"search": "1100"})
    ledger.crashes.after_points = crash_after
    try:
        ledger.evaluate()
    except Crash:
        ledger.crashes.after_points = None

    ledger.evaluate()

    assert (ledger.alert.state, ledger.alert.news) == (AlertState.ALARM, 1)


def test_a_forecast_that_cannot_be_judged_any_more_takes_nothing_back() -> None:
    ledger = world(budget(notifications=(Notification(Decimal(90)),)))
    ledger.spend({"search": "950"})
    ledger.evaluate()
    told = ledger.alert
    forecasted = Threshold(ThresholdKind.FORECASTED, "FORECASTED#100", "above 100 % of the budget", Decimal(1000))
    stored = ledger.alerts.put(replace(told, crossed=(forecasted, *told.crossed)), replacing=told)
    assert stored is not None
    ledger.policy = FakePolicy(BY_TEAM, [budget(notifications=(Notification(Decimal(90)), FORECAST))])

    assert ledger.evaluate() == []


FORECAST = Notification(Decimal(100), NotificationType.FORECASTED)


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
