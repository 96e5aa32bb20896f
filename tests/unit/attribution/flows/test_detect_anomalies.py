"""Anomalies in the ledger: found in what is known, explained by charges, told once, and judged by people."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution.alerts import Alert, AlertState, News
from attribution.allocation import allocate_day, estimate_day
from attribution.anomalies import Monitor
from attribution.anomaly_alerts import alert_key
from attribution.anomaly_tracking import State, TrackedAnomaly, Verdict, judge
from attribution.charges import Basis, Costs
from attribution.days import make_day_version
from attribution.errors import LedgerConflict
from attribution.flows.detect_anomalies import MOST_EXPLAINED, DetectedAnomalies, detect_anomalies
from attribution.meters import TokenKind
from attribution.money import ZERO
from attribution.usage import Counters, Usage, UsageKey
from tests.fakes import (
    Crash,
    Crashes,
    FakeAnomalies,
    FakeAnomalyNews,
    FakeClock,
    FakeDeliveries,
    FakeLedgerDays,
    FakeOutbox,
    FakePolicy,
)
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY, origin_charge

TODAY = date(2026, 11, 23)
DAY = timedelta(days=1)
TEAMS = (Monitor("teams", "team"), Monitor("callers", "iam_principal"), Monitor("models", "model"))
Amounts = dict[tuple[str, str, str], str]
"""Cost by team, caller and model."""
QUIET: Amounts = {("search", "role/search", "small"): "100", ("ads", "role/ads", "large"): "200"}


@dataclass(slots=True)
class World:
    """A ledger with six quiet weeks before today."""

    days: FakeLedgerDays
    policy: FakePolicy
    anomalies: FakeAnomalies
    alerts: FakeOutbox
    news: FakeAnomalyNews
    clock: FakeClock
    crashes: Crashes

    def spend(self, day: date, amounts: Amounts) -> None:
        used = [Usage(_key(day, *names), _counters(amount)) for names, amount in amounts.items()]
        charges = estimate_day(used, BY_TEAM, "USD")
        version = make_day_version(day, Basis.ESTIMATED, charges, BY_TEAM, origin="", usage=f"{amounts}")
        self.days.current[day] = self.days.stage(version, "")

    def look(self) -> DetectedAnomalies:
        return detect_anomalies(
            days=self.days, policy=self.policy, anomalies=self.anomalies, alerts=self.alerts, news=self.news, clock=self.clock
        )

    def kept(self, name: str) -> TrackedAnomaly:
        return next(a for a in self.anomalies.kept.values() if a.name == name)

    def alert(self, name: str) -> Alert:
        found = self.alerts.get(alert_key(name))
        assert found is not None
        return found

    def say(self, name: str, verdict: Verdict, until: date | None = None) -> None:
        self.anomalies.judge(judge(self.kept(name), verdict, until, "ana", self.clock()))


def _key(day: date, team: str, caller: str, model: str) -> UsageKey:
    account, routing, tier = USAGE_KEY.account_id, USAGE_KEY.routing, USAGE_KEY.tier
    return UsageKey(day, account, "us-east-1", model, routing, tier, caller, "", (("team", team),))


def _counters(amount: str) -> Counters:
    return Counters(1, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(amount)})


@pytest.fixture
def world() -> World:
    crashes, clock = Crashes(), FakeClock()
    days = FakeLedgerDays(FakeDeliveries(), clock)
    made = World(
        days,
        FakePolicy(BY_TEAM, monitors=TEAMS),
        FakeAnomalies(crashes),
        FakeOutbox(crashes),
        FakeAnomalyNews(crashes),
        clock,
        crashes,
    )
    for back in range(1, 43):
        made.spend(TODAY - back * DAY, QUIET)
    return made


def runaway(amount: str = "700") -> Amounts:
    return QUIET | {("search", "role/search", "small"): amount}


RUNAWAY = f"team=search#{TODAY - DAY}"


def test_nothing_is_told_of_quiet_weeks(world: World) -> None:
    outcome = world.look()

    assert (outcome.anomalies, outcome.days_read, world.news.told) == ((), 0, [])


def test_an_event_that_three_monitors_see_is_told_once_by_the_first_of_them(world: World) -> None:
    world.spend(TODAY - DAY, runaway())

    outcome = world.look()

    assert world.news.told == [("found", RUNAWAY)]
    assert {a.name: a.part_of for a in outcome.anomalies} == {
        RUNAWAY: "",
        f"iam_principal=role/search#{TODAY - DAY}": RUNAWAY,
        f"model=small#{TODAY - DAY}": RUNAWAY,
    }


def test_causes_are_ranked_against_the_week_before_and_each_day_is_read_once(world: World) -> None:
    world.spend(TODAY - DAY, runaway() | {("search", "role/new", "large"): "50"})

    outcome = world.look()

    first, second = world.kept(RUNAWAY).causes
    assert (first.cause.iam_principal, first.contribution, first.is_new) == ("role/search", Decimal(600), False)
    assert (second.cause.iam_principal, second.contribution, second.is_new) == ("role/new", Decimal(50), True)
    assert outcome.days_read == 8


def test_the_same_days_again_change_nothing_and_read_no_charge(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()
    before = dict(world.anomalies.kept)

    outcome = world.look()

    assert (outcome.told, outcome.changed, outcome.days_read) == ((), 0, 0)
    assert world.anomalies.kept == before


def test_an_anomaly_that_doubles_is_told_again(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()

    world.spend(TODAY, runaway())
    world.look()

    assert world.news.told == [("found", RUNAWAY), ("grown", RUNAWAY)]


def test_an_anomaly_is_over_after_clean_days(world: World) -> None:
    world.spend(TODAY - 3 * DAY, runaway())
    world.clock.now -= 2 * DAY
    for day in (TODAY - 2 * DAY, TODAY - DAY):
        del world.days.current[day]
    world.look()

    world.clock.now += 2 * DAY
    for day in (TODAY - 2 * DAY, TODAY - DAY):
        world.spend(day, QUIET)
    world.look()

    assert [change for change, _ in world.news.told] == ["found", "ended"]


def test_a_bill_that_disproves_the_estimate_withdraws_the_anomaly(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()

    world.spend(TODAY - DAY, QUIET)
    world.look()

    assert world.news.told[1:] == [("withdrawn", RUNAWAY)]
    assert {a.state for a in world.anomalies.kept.values()} == {State.WITHDRAWN}


def test_a_day_that_a_bill_takes_from_an_anomaly_leaves_it_the_same_one(world: World) -> None:
    world.spend(TODAY - 2 * DAY, runaway())
    world.spend(TODAY - DAY, runaway())
    world.look()

    world.spend(TODAY - 2 * DAY, QUIET)
    world.look()

    name = f"team=search#{TODAY - 2 * DAY}"
    assert world.news.told == [("found", name)]
    assert world.kept(name).anomaly.first_day == TODAY - DAY


def test_what_people_planned_is_no_anomaly_until_it_was_planned_to_end(world: World) -> None:
    world.spend(TODAY - 2 * DAY, runaway())
    world.look()
    name = f"team=search#{TODAY - 2 * DAY}"
    for each in list(world.anomalies.kept.values()):
        world.say(each.name, Verdict.PLANNED, TODAY - DAY)
    world.spend(TODAY - DAY, runaway())
    world.look()
    assert (world.news.told[1:], world.kept(name).state) == ([("judged", name)], State.PLANNED)

    world.spend(TODAY, runaway())
    world.look()

    assert world.news.told[2:] == [("found", f"team=search#{TODAY}")]


def test_what_is_not_an_issue_is_how_things_are(world: World) -> None:
    for back in range(8, 0, -1):
        world.spend(TODAY - back * DAY, runaway())
    world.look()
    name = f"team=search#{TODAY - 8 * DAY}"
    for each in list(world.anomalies.kept.values()):
        world.say(each.name, Verdict.NO, TODAY - DAY)

    world.spend(TODAY, runaway())
    world.look()

    assert world.kept(name).state is State.NOT_AN_ISSUE
    assert [told for told in world.news.told if told[0] == "found"] == [("found", name)]


def test_a_verdict_that_is_taken_back_brings_the_anomaly_back(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()
    world.say(RUNAWAY, Verdict.PLANNED)
    world.look()

    world.say(RUNAWAY, Verdict.YES)
    world.look()

    assert world.kept(RUNAWAY).state is State.OPEN


def test_a_day_that_is_not_summed_by_a_dimension_is_unknown_and_not_zero(world: World) -> None:
    world.policy.defined_monitors = (Monitor("tenants", "tenant"), *TEAMS)

    outcome = world.look()

    assert (outcome.not_summed, outcome.anomalies) == (("tenants",), ())


def test_tax_on_the_first_of_a_month_is_no_anomaly(world: World) -> None:

    yesterday = world.days.current[TODAY - DAY]
    tax = origin_charge(usage_date=TODAY - DAY, line_item_type="Tax", costs=Costs.uniform(Decimal(5000)), units=None)
    charges = [*world.days.charges(TODAY - DAY, yesterday.version), *allocate_day([tax], [], BY_TEAM)]
    version = make_day_version(TODAY - DAY, Basis.BILLED, charges, BY_TEAM, origin="tax", usage="")
    world.days.current[TODAY - DAY] = world.days.stage(version, "")

    assert world.look().anomalies == ()


def test_what_ended_long_ago_is_listed_and_not_told(world: World) -> None:
    world.spend(TODAY - 20 * DAY, runaway())

    outcome = world.look()

    assert len(outcome.anomalies) == 3
    assert world.news.told == []


def test_many_anomalies_at_once_are_explained_in_turns_and_each_is_told(world: World) -> None:
    world.policy.defined_monitors = (Monitor("callers", "iam_principal"),)
    count = MOST_EXPLAINED + 5
    crowd: Amounts = {("search", f"role/{n}", "small"): str(1000 + n) for n in range(count)}
    world.spend(TODAY - DAY, QUIET | crowd)

    for expected in (MOST_EXPLAINED, count, count):
        world.look()
        assert len(world.news.told) == expected


def test_a_version_that_expires_while_it_is_read_is_not_taken_for_no_cause(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    pointer = world.days.current[TODAY - 2 * DAY]
    world.days.expired.add((pointer.usage_date, pointer.version))

    with pytest.raises(LedgerConflict, match="read the day again"):
        world.look()

    assert world.news.told == []


def test_an_attempt_that_ends_anywhere_leaves_no_event_untold(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    for points in range(11):
        world.anomalies.kept.clear()
        world.alerts.items.clear()
        world.news.told.clear()
        world.crashes.after_points = points
        with suppress(Crash):
            world.look()
        world.crashes.after_points = None
        world.look()

        assert set(world.news.told) == {("found", RUNAWAY)}
        assert len(world.news.told) <= 2
        assert len(world.anomalies.kept) == 3
        assert (len(world.alerts.items), world.alert(RUNAWAY).news) == (1, 1)


def test_the_anomaly_of_another_attempt_is_not_overwritten(world: World) -> None:
    world.spend(TODAY - DAY, runaway())

    def overtaken() -> None:
        world.look()

    world.days.after_pointers = overtaken

    outcome = world.look()

    assert outcome.changed == 0
    assert {a.revision for a in world.anomalies.kept.values()} == {1}


def test_an_anomaly_stays_as_it_was_when_its_first_days_are_watched_no_more(world: World) -> None:
    world.spend(TODAY - 3 * DAY, runaway())
    world.spend(TODAY - 2 * DAY, runaway())
    world.clock.now += DAY
    world.spend(TODAY, QUIET)
    world.look()
    name = f"team=search#{TODAY - 3 * DAY}"
    before = world.kept(name)

    for ahead in range(1, 30):
        world.spend(TODAY + ahead * DAY, QUIET)
    world.clock.now += 28 * DAY
    world.look()

    assert (before.state, world.kept(name)) == (State.ENDED, before)
    assert world.news.told == [("found", name)]


# What becomes of its alert.


def test_an_event_has_one_alert_that_says_how_much_more_and_why(world: World) -> None:
    world.policy.defined_monitors = (Monitor("teams", "team", route="finops"), *TEAMS[1:])
    world.spend(TODAY - DAY, runaway())

    world.look()

    (alert,) = (a for a in world.alerts.items.values() if isinstance(a, Alert))
    assert (alert.subject.counts, alert.subject.owners, alert.subject.route) == (
        "team: search",
        (("team", "search"),),
        "finops",
    )
    assert (alert.figures.limit.amount, alert.figures.billed, alert.figures.estimated) == (Decimal(100), ZERO, Decimal(700))
    assert (alert.figures.drivers[0].name, alert.figures.drivers[0].amount) == (
        "role/search, small, input, us-east-1 (price)",
        Decimal(600),
    )
    assert (len(alert.figures.daily), alert.figures.daily[-1]) == (14, (TODAY - DAY, Decimal(700)))


def test_the_same_days_again_leave_the_alert_as_it_is(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()
    before = dict(world.alerts.items)

    world.look()

    assert world.alerts.items == before


def test_an_anomaly_that_doubles_escalates_its_alert_each_time(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()

    for amount in ("700", "3000"):
        world.spend(TODAY, runaway(amount))
        world.look()

    alert = world.alert(RUNAWAY)
    assert (alert.news, alert.news_kind, len(alert.crossed)) == (3, News.ESCALATED, 3)


@pytest.mark.parametrize(("verdict", "note"), [(Verdict.PLANNED, "planned"), (Verdict.NO, "not an issue")])
def test_what_people_judged_closes_its_alert(world: World, verdict: Verdict, note: str) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()
    for each in list(world.anomalies.kept.values()):
        world.say(each.name, verdict)

    world.look()

    assert (world.alert(RUNAWAY).state, world.alert(RUNAWAY).subject.note) == (AlertState.RECOVERED, note)


def test_an_anomaly_that_the_bill_takes_back_recovers_its_alert_and_one_that_comes_back_raises_it_again(world: World) -> None:
    world.spend(TODAY - DAY, runaway())
    world.look()
    world.spend(TODAY - DAY, QUIET)
    world.look()
    assert (world.alert(RUNAWAY).state, world.alert(RUNAWAY).subject.note) == (AlertState.RECOVERED, "withdrawn")

    world.spend(TODAY - DAY, runaway("900"))
    world.look()

    assert (world.alert(RUNAWAY).state, world.alert(RUNAWAY).news_kind) == (AlertState.ALARM, News.RAISED_AGAIN)
