"""Alerts reach people whatever Slack answers, in whatever order things happen, and wherever an attempt ends.

The machine raises, escalates and recovers alerts of budgets and of an alarm, lets people answer them, scripts Slack's faults,
ends attempts at any write, repeats deliveries and lets time pass. Then faults stop, and nobody may be left without the last
news, or be told twice without a label.
`python -m tests.unit.adapters.test_slack_schedules 5000` runs that many schedules and prints what happened in them.
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from attribution.alarm_alerts import alert_key
from attribution.alerts import Alarm, AlertKey, Figures, Observation, Subject, ThresholdKind, acknowledge, mute, resume, snooze
from attribution.routes import Route
from local.slack_receiver import (
    Answer,
    accept_then_reset,
    api_error,
    api_rate_limited,
    done_and_fatal,
    no_service,
    rate_limited,
    redirect,
    reset_before,
    server_error,
)
from tests.support.slack_world import START, World
from tests.unit.attribution.test_alerts import LIMIT, threshold

WEBHOOK_FAULTS = [
    rate_limited(30),
    rate_limited(7200),
    server_error(),
    accept_then_reset(),
    reset_before(),
    redirect("https://elsewhere.example/"),
    Answer("invalid_blocks", 400, "invalid_blocks"),
    no_service(),
]
API_FAULTS = [
    api_rate_limited(30),
    api_rate_limited(7200),
    server_error(),
    accept_then_reset(),
    reset_before(),
    done_and_fatal(),
    api_error("channel_not_found"),
    api_error("invalid_blocks"),
    api_error("message_not_found"),
    api_error("internal_error"),
]
BUDGETS = ("search", "support", "growth")
ALARM = "unpriced"
names = st.sampled_from(BUDGETS)
keys = st.sampled_from([*(AlertKey(name, "2026-11") for name in BUDGETS), alert_key(ALARM)])
crash_points = st.none() | st.integers(0, 5)

HAPPENED: Counter[str] = Counter()
"""What happened in all schedules of this process together."""


def found(name: str, spend: int, is_forecast: bool = False) -> Observation:
    forecast = [threshold(100, kind=ThresholdKind.FORECASTED, name="FORECASTED#100", is_critical=False)] if is_forecast else []
    crossed = (*forecast, *(threshold(p) for p in (80, 100, 120) if spend > 10 * p))
    subject = Subject(f"team: {name}", "billed_cost", (("team", name),), ends_at=START + timedelta(days=8))
    return Observation(AlertKey(name, "2026-11"), subject, Figures(LIMIT, estimated=Decimal(spend)), crossed)


def nothing() -> None:
    """What happens in between, unless a rule says otherwise."""


class Schedules(RuleBasedStateMachine):
    """One schedule: a Slack channel, three budgets, an alarm, and everything that may go wrong."""

    @initialize(kind=st.sampled_from(["webhook", "bot"]), storm_limit=st.sampled_from([1, 2, 5]), may_ask=st.booleans())
    def begin(self, kind: str, storm_limit: int, may_ask: bool) -> None:
        self.world = World(kind, Route("finops", storm_limit=storm_limit))
        self.may_ask = may_ask
        self.world.slack.workspace.can_read_history = may_ask

    @rule(name=names, spend=st.sampled_from([700, 790, 801, 850, 900, 1010, 1150, 1300]), forecast=st.booleans())
    def spend_moves(self, name: str, spend: int, forecast: bool) -> None:
        self.world.observe(found(name, spend, forecast))

    @rule(is_raised=st.booleans(), is_late=st.booleans())
    def the_alarm_changes(self, is_raised: bool, is_late: bool) -> None:
        since = self.world.clock() - timedelta(minutes=5 if is_late else 0)
        self.world.relay(Alarm(ALARM, is_raised, since, "37.0 was greater than the threshold", "No price is known."))

    @rule(key=keys, action=st.sampled_from(["acknowledge", "snooze", "mute", "resume"]), hours=st.integers(1, 48))
    def somebody_answers(self, key: AlertKey, action: str, hours: int) -> None:
        until = self.world.clock() + timedelta(hours=hours)
        actions = {
            "acknowledge": lambda alert, now: acknowledge(alert, "U1", now),
            "snooze": lambda alert, now: snooze(alert, "U1", until, now),
            "mute": lambda alert, now: mute(alert, "U1", now),
            "resume": lambda alert, now: resume(alert, "U1", now),
        }
        self.world.act(key, actions[action])

    @rule(fault=st.integers(0, 9))
    def slack_is_about_to_fail(self, fault: int) -> None:
        faults = WEBHOOK_FAULTS if self.world.kind == "webhook" else API_FAULTS
        chosen = faults[fault % len(faults)]
        HAPPENED[f"{self.world.kind}: {chosen.name}"] += 1
        self.world.slack.script(chosen)

    @rule(outcome=st.sampled_from(["acknowledgement lost", "refused"]))
    def mail_is_about_to_fail(self, outcome: str) -> None:
        self.world.mail.plan.append(outcome)

    @rule(is_dead=st.booleans())
    def the_channel_dies_or_comes_back(self, is_dead: bool) -> None:
        self.world.is_dead = is_dead

    @precondition(lambda self: self.world.kind == "bot" and self.world.slack.workspace.messages)
    @rule()
    def somebody_deletes_a_message(self) -> None:
        self.world.slack.workspace.delete(self.world.slack.workspace.messages[-1].ts)

    @rule(crash_after=crash_points)
    def the_next_delivery_is_attempted(self, crash_after: int | None) -> None:
        self.world.step(crash_after)

    @rule(key=keys, crash_after=crash_points)
    def a_delivery_is_repeated(self, key: AlertKey, crash_after: int | None) -> None:
        self.world.deliver(key, crash_after)

    @rule(key=keys)
    def two_deliveries_meet(self, key: AlertKey) -> None:
        def meet() -> None:
            self.world.deliver(key)

        self.world.outbox.before_put = meet
        self.world.deliver(key)
        self.world.outbox.before_put = nothing

    @rule(name=names, spend=st.sampled_from([700, 850, 1010, 1300]))
    def spend_moves_while_a_message_is_sent(self, name: str, spend: int) -> None:
        self.world.during_send = lambda: self.world.observe(found(name, spend))
        self.world.deliver(AlertKey(name, "2026-11"))
        self.world.during_send = None

    @rule(seconds=st.sampled_from([1, 20, 150, 700, 4000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.world.sweep()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.is_dead = False
        world.mail.plan.clear()
        world.slack.forget_script()
        world.settle()
        world.check(may_ask=self.may_ask)
        HAPPENED["schedules"] += 1
        HAPPENED["messages"] += sum(world.told().values())
        HAPPENED["mails"] += len(world.mail.received)
        HAPPENED["labelled repeats"] += world.repeats()
        HAPPENED["collected in a digest"] += len(world.outbox.digested)
        HAPPENED.update({f"attempts that {k}": v for k, v in world.outcomes.items() if k == "crashed"})


Schedules.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestNoAlertIsLostAndNoneIsToldTwice = Schedules.TestCase

if __name__ == "__main__":
    many = settings(max_examples=int(sys.argv[1]), stateful_step_count=25, deadline=None, database=None)
    run_state_machine_as_test(Schedules, settings=many)
    for what, count in sorted(HAPPENED.items()):
        print(f"{count:>8,}  {what}")
    print("no alert was lost, and none told twice but for the labelled repeats")
