"""Alerts reach people: none is lost, none comes twice unlabelled, none comes three times."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus, next_alert
from attribution.flows.deliver_alerts import LEASE, MAX_ATTEMPTS, DeliveredAlert, deliver_alert
from attribution.ports import Posted
from tests.fakes import Crash, Crashes, FakeAlertRetries, FakeAlerts, FakeChannel, FakeClock
from tests.unit.attribution.test_alerts import crossing, raised

KEY = raised().key

trouble = st.sampled_from(
    ["sent", "rate limited", "acknowledgement lost", "connection lost", "crash before", "crash after", "refused"]
)


class World:
    """One alert on its way, through a stream that repeats what failed and a queue that brings back what has to wait."""

    def __init__(self, plan: list[str]) -> None:
        self.clock = FakeClock()
        self.crashes = Crashes()
        self.alerts = FakeAlerts(self.crashes)
        self.channel = FakeChannel(plan)
        self.retries = FakeAlertRetries(self.clock)

    def deliver(self) -> DeliveredAlert:
        return deliver_alert(KEY, alerts=self.alerts, channel=self.channel, retries=self.retries, clock=self.clock)

    def attempt(self, crash_after: int | None = None) -> bool:
        self.crashes.after_points = crash_after
        try:
            self.deliver()
        except Crash:
            return False
        finally:
            self.crashes.after_points = None
        return True

    def run(self, crash_points: list[int | None]) -> None:
        """Bring the alert back until nothing asks for it any more."""
        for _ in range(200):
            if self.alerts.stream:
                key = self.alerts.stream.pop(0)
            elif self.retries.due:
                self.retries.due.sort(key=lambda entry: entry[0])
                at, key = self.retries.due.pop(0)
                self.clock.now = max(self.clock.now, at)
            else:
                return
            self.clock.advance(1)
            if not self.attempt(crash_points.pop(0) if crash_points else None):
                self.alerts.stream.append(key)
        raise AssertionError("the alert keeps coming back")

    @property
    def alert(self) -> Alert:
        return self.alerts.items[KEY]


def world(plan: list[str] | None = None) -> World:
    made = World(plan or [])
    made.alerts.put(raised(), replacing=None)
    return made


@settings(max_examples=200)
@given(st.lists(trouble, max_size=10), st.lists(st.none() | st.integers(0, 3), max_size=8))
def test_an_alert_arrives_once_or_with_one_labelled_repeat_or_fails_in_sight(
    plan: list[str], crash_points: list[int | None]
) -> None:
    made = world(plan)

    made.run(crash_points)

    delivery, received = made.alert.delivery, made.channel.received
    assert delivery.status in (DeliveryStatus.SENT, DeliveryStatus.FAILED)
    assert (delivery.status is DeliveryStatus.FAILED) == bool(delivery.error)
    assert delivery.status is DeliveryStatus.FAILED or received
    assert [r.delivery.may_repeat for r in received] in ([], [False], [True], [False, True])


@given(
    st.lists(st.sampled_from(["rate limited", "connection lost", "crash before"]), max_size=1), st.none() | st.integers(0, 3)
)
def test_one_failure_of_any_kind_never_loses_the_alert(plan: list[str], crash_after: int | None) -> None:
    made = world(plan)

    made.run([crash_after] if not plan else [])

    assert made.alert.delivery.status is DeliveryStatus.SENT
    assert len(made.channel.received) in (1, 2)


def test_an_alert_is_sent_once_and_then_left_alone() -> None:
    made = world()

    statuses = [made.deliver().status, made.deliver().status]

    assert statuses == ["sent", "already sent"]
    assert [r.delivery.attempts for r in made.channel.received] == [1]


def test_two_attempts_at_the_same_time_send_one_message() -> None:
    made = world()
    other: list[DeliveredAlert] = []
    made.alerts.before_put = lambda: other.append(made.deliver())

    mine = made.deliver()

    assert (mine.status, [o.status for o in other]) == ("claimed elsewhere", ["sent"])
    assert len(made.channel.received) == 1


def test_an_attempt_that_finds_the_message_being_sent_comes_back_after_the_lease() -> None:
    made = world(["crash before"])
    made.attempt()

    waiting = made.deliver()

    assert waiting.status == "waiting"
    assert made.channel.received == []
    assert made.retries.due[0][0] >= made.clock.now + LEASE


def test_a_channel_that_asks_for_time_gets_it_and_the_message_is_no_repeat() -> None:
    made = world(["rate limited"])

    assert made.deliver().status == "pending"
    assert made.alert.delivery.lease_until == made.clock.now + timedelta(seconds=30)
    assert made.deliver().status == "waiting"
    made.clock.advance(31)
    assert made.deliver().status == "sent"
    assert [r.delivery.may_repeat for r in made.channel.received] == [False]


def test_a_lost_acknowledgement_is_followed_by_one_labelled_repeat_and_no_third() -> None:
    made = world(["acknowledgement lost", "acknowledgement lost"])

    made.run([])

    assert [r.delivery.may_repeat for r in made.channel.received] == [False, True]
    assert made.alert.delivery.status is DeliveryStatus.FAILED


def test_two_attempts_that_end_while_sending_are_not_followed_by_a_third_message() -> None:
    made = world(["crash after", "crash after"])

    made.run([])

    assert [r.delivery.may_repeat for r in made.channel.received] == [False, True]
    assert made.alert.delivery.status is DeliveryStatus.FAILED
    assert "ended" in made.alert.delivery.error


def test_a_channel_that_refuses_the_message_fails_it_at_once_with_the_reason() -> None:
    made = world(["refused"])

    assert made.deliver().status == "failed"
    assert made.alert.delivery.error == "no such channel"


def test_a_channel_that_never_has_time_fails_the_message_after_the_last_attempt() -> None:
    made = world(["rate limited"] * 50)

    made.run([])

    assert (made.alert.delivery.status, made.alert.delivery.attempts) == (DeliveryStatus.FAILED, MAX_ATTEMPTS)
    assert made.channel.received == []


def test_news_that_comes_while_a_message_is_being_sent_is_sent_after_it() -> None:
    made = world()

    class Interrupted(FakeChannel):
        def post(self, alert: Alert) -> Posted:
            if alert.revision == 1:
                correction = next_alert(crossing("790"), made.alert, made.clock())
                assert correction is not None
                assert made.alerts.put(correction, replacing=made.alert)
            return super().post(alert)

    made.channel = Interrupted()

    made.run([])

    assert [r.revision for r in made.channel.received] == [1, 2]
    assert (made.alert.revision, made.alert.delivery.status) == (2, DeliveryStatus.SENT)


@pytest.mark.parametrize("status", [DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.COVERED])
def test_an_alert_that_needs_no_message_sends_none(status: DeliveryStatus) -> None:
    made = world()
    made.alerts.items[KEY] = replace(raised(), delivery=Delivery(status))

    assert made.deliver().status == f"already {status}"
    assert made.channel.received == []


def test_an_alert_that_is_gone_is_nobodys() -> None:
    made = World([])

    assert made.deliver() == DeliveredAlert(AlertKey("search", "2026-11", "ACTUAL", "80"), "gone")


def test_the_message_has_the_figures_of_its_revision() -> None:
    made = world()
    corrected = next_alert(crossing("790"), made.alert, made.clock())
    assert corrected is not None
    made.alerts.put(corrected, replacing=made.alert)

    made.run([])

    assert [(r.revision, r.spend.actual, r.previous_actual) for r in made.channel.received] == [(2, Decimal(790), Decimal(850))]
