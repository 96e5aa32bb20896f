"""Alerts reach people: the steps one by one. Schedules of everything at once are in unit/adapters/test_slack_schedules.py."""

from __future__ import annotations

import json
from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pytest

from attribution.alerts import Alarm, AlertState, DeliveryStatus, Step, acknowledge, mute, snooze
from attribution.digests import Digest, DigestKey, DigestKind, DigestLine
from attribution.flows.deliver_alerts import LEASE, MAX_ATTEMPTS
from attribution.routes import QuietHours, Route
from local.slack_receiver import accept_then_reset, api_error, api_rate_limited, no_service, server_error
from tests.support.slack_world import START, World, named
from tests.unit.adapters.test_slack_schedules import found

SEARCH = named("search")


@pytest.fixture(params=["webhook", "bot"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def bot() -> World:
    return World("bot")


def told(world: World, *spends: int) -> None:
    """Spend moves, and everything that follows happens, an hour apart."""
    for spend in spends:
        world.observe(found("search", spend))
        world.settle(hours=1)
        world.clock.advance(3600)


def test_an_alert_is_told_once_and_then_left_alone(world: World) -> None:
    told(world, 850)

    assert world.told() == {("search#2026-11", 1): 1}
    outcome = world.deliver(SEARCH)
    assert outcome is not None and outcome.status == "already sent"


def test_a_bot_keeps_one_message_and_tells_news_in_its_thread(bot: World) -> None:
    told(bot, 850, 1010, 700)

    (parent,) = bot.slack.workspace.parents()
    replies = bot.slack.workspace.thread(parent.ts)
    assert parent.payload["text"].startswith("Correction: search is at 70 % of its budget")
    assert [reply.payload["text"].partition(": ")[2] for reply in replies] == [
        "Actual spend is above 100 % of the budget",
        "Correction: no threshold is crossed any more",
    ]
    assert [reply.is_broadcast for reply in replies] == [True, False]


def test_a_webhook_tells_each_news_by_a_message_of_its_own() -> None:
    world = World("webhook")

    told(world, 850, 1010, 700)

    titles = [post.payload["text"].partition(":")[0] for post in world.slack.delivered]
    assert titles == ["85 % of budget", "Over budget", "Correction"]


def test_figures_that_moved_change_the_bots_message_alone(bot: World) -> None:
    told(bot, 850, 900)

    (message,) = bot.slack.workspace.messages
    assert message.payload["text"].startswith("90 % of budget")


def test_figures_that_moved_are_no_message_of_a_webhook() -> None:
    world = World("webhook")

    told(world, 850, 900)

    assert len(world.slack.delivered) == 1


def test_an_acknowledgement_is_shown_and_not_told(bot: World) -> None:
    told(bot, 850)
    bot.act(SEARCH, lambda alert, now: acknowledge(alert, "U012AB3CD", now))
    bot.settle(hours=1)

    (message,) = bot.slack.workspace.messages
    assert message.payload["text"].startswith("Acknowledged: 85 % of budget")
    assert "<@U012AB3CD> has it" in json.dumps(message.payload)


def test_a_snooze_that_is_over_is_told_if_the_alarm_stands(bot: World) -> None:
    told(bot, 850)
    bot.act(SEARCH, lambda alert, now: snooze(alert, "U1", now + timedelta(days=1), now))
    bot.settle(hours=1)
    bot.clock.advance(86_400)

    bot.sweep()
    bot.settle(hours=1)

    (parent,) = bot.slack.workspace.parents()
    assert "The snooze is over" in bot.slack.workspace.thread(parent.ts)[-1].payload["text"]


def test_the_end_of_the_period_is_told_by_the_sweep(world: World) -> None:
    told(world, 850)
    world.clock.now = START + timedelta(days=8)

    world.sweep()
    world.settle(hours=1)

    assert world.told()[("search#2026-11", 2)] == 1


def test_a_muted_alert_is_told_no_more(world: World) -> None:
    told(world, 850)
    world.act(SEARCH, lambda alert, now: mute(alert, "U1", now))

    told(world, 1010, 700)

    assert set(world.told()) == {("search#2026-11", 1)}


def test_two_attempts_at_the_same_time_send_one_message(world: World) -> None:
    world.observe(found("search", 850))

    def meet() -> None:
        world.deliver(SEARCH)

    world.outbox.before_put = meet
    world.deliver(SEARCH)
    world.settle(hours=1)

    assert world.told() == {("search#2026-11", 1): 1}


def test_an_attempt_that_finds_the_message_being_sent_comes_back_after_the_lease(world: World) -> None:
    world.observe(found("search", 850))
    world.deliver(SEARCH, crash_after=4)
    assert world.alerts[0].delivery.status is DeliveryStatus.CLAIMED

    outcome = world.deliver(SEARCH)

    assert outcome is not None and outcome.status == "waiting"
    assert world.retries.due[0][0] >= world.clock() + LEASE


def test_news_that_comes_while_a_message_is_sent_does_not_lose_its_place(bot: World) -> None:
    bot.observe(found("search", 850))
    bot.during_send = lambda: bot.observe(found("search", 1010))

    bot.settle(hours=1)

    (parent,) = bot.slack.workspace.parents()
    assert parent.payload["text"].startswith("Over budget")
    assert len(bot.slack.workspace.thread(parent.ts)) == 1


def test_a_message_that_somebody_deleted_is_posted_again_with_the_next_news(bot: World) -> None:
    told(bot, 850)
    bot.slack.workspace.delete(bot.slack.workspace.messages[0].ts)
    told(bot, 900)
    assert bot.slack.workspace.messages == []

    told(bot, 1010)

    assert len(bot.slack.workspace.parents()) == 1


def test_a_reply_whose_acknowledgement_was_lost_is_found_in_its_thread(bot: World) -> None:
    told(bot, 850)
    bot.observe(found("search", 1010))
    bot.step()
    bot.clock.advance(2)
    bot.slack.script(accept_then_reset())
    bot.settle(hours=1)

    (parent,) = bot.slack.workspace.parents()
    assert len(bot.slack.workspace.thread(parent.ts)) == 1


def test_a_channel_that_keeps_failing_is_left_to_the_second_route(world: World) -> None:
    world.slack.script(*([server_error()] * 20 if world.kind == "webhook" else [api_rate_limited(30)] * 20))
    world.observe(found("search", 850))

    world.settle()

    assert world.mailed() == {("search#2026-11", 1): 1}
    assert world.alerts[0].delivery.status is DeliveryStatus.SENT
    assert len(world.slack.posts) <= MAX_ATTEMPTS


def test_a_mail_that_is_refused_fails_the_alert_in_sight() -> None:
    world = World("webhook")
    world.slack.script(no_service())
    world.mail.plan.append("refused")
    world.observe(found("search", 850))

    world.settle(hours=1)

    assert (world.alerts[0].delivery.status, world.alerts[0].delivery.error) == (DeliveryStatus.FAILED, "refused")


def test_a_mail_in_doubt_is_repeated_once_with_a_label_and_then_given_up_in_sight() -> None:
    world = World("webhook")
    world.slack.script(no_service())
    world.mail.plan += ["acknowledgement lost", "acknowledgement lost"]
    world.observe(found("search", 850))

    world.settle(hours=1)

    assert [is_repeat for _, is_repeat in world.mail.received] == [False, True]
    assert world.alerts[0].delivery.status is DeliveryStatus.FAILED


def test_once_a_channel_works_again_news_goes_there(bot: World) -> None:
    bot.is_dead = True
    told(bot, 850)
    bot.is_dead = False

    told(bot, 1010)

    assert bot.mailed() == {("search#2026-11", 1): 1}
    assert bot.told() == {("search#2026-11", 2): 1}


def test_a_refused_change_of_a_message_costs_no_news(bot: World) -> None:
    told(bot, 850)
    bot.observe(found("search", 1010))
    bot.slack.script(api_error("cant_update_message"))

    bot.settle(hours=1)

    assert bot.told()[("search#2026-11", 2)] == 1


# Storms, pace, quiet hours.


def storm(world: World, count: int) -> None:
    for number in range(count):
        world.observe(found(f"budget-{number:03}", 850 + number % 400))


def test_a_storm_is_a_few_messages_and_one_digest_and_nothing_is_lost(world: World) -> None:
    storm(world, 500)

    world.settle()
    world.check()

    digests = [notice for notice in world.outbox.items.values() if isinstance(notice, Digest)]
    alone = [name for name in world.told() if name[0].startswith("budget-")]
    assert (len(digests), len(alone)) == (1, 5)
    assert len(digests[0].lines) == 495
    assert {alert.told for alert in world.alerts} == {1}


def test_what_changes_after_a_digest_is_told_by_itself(bot: World) -> None:
    storm(bot, 8)
    bot.settle(hours=1)
    bot.clock.advance(3600)

    bot.observe(found("budget-007", 1010))
    bot.settle(hours=1)

    assert bot.told()[("budget-007#2026-11", 2)] == 1


def test_the_worst_of_a_digest_stand_first() -> None:
    world = World("webhook", Route("finops", storm_limit=1))
    world.observe(found("first", 850))
    world.settle(hours=1)
    world.clock.advance(60)
    for name, spend in (("warned", 900), ("broken", 1200), ("recovered", 810)):
        world.observe(found(name, spend))
    world.observe(found("recovered", 700))

    world.settle(hours=1)

    (digest,) = [notice for notice in world.outbox.items.values() if isinstance(notice, Digest)]
    assert [line.label for line in digest.lines] == ["broken", "warned", "recovered"]


def test_messages_to_one_channel_are_a_second_apart(world: World) -> None:
    for number in range(5):
        world.observe(found(f"budget-{number}", 850))

    world.settle(hours=1)

    assert [(at - world.sent_at[0]).total_seconds() for at in world.sent_at] == [0, 1, 2, 3, 4]


def quiet(*, critical_passes: bool) -> Route:
    hours = QuietHours(time(11), time(18), ZoneInfo("UTC"), critical_passes)
    return Route("finops", quiet=hours)


def test_quiet_hours_hold_warnings_and_let_broken_budgets_pass() -> None:
    world = World("webhook", quiet(critical_passes=True))
    world.observe(found("search", 850))
    world.observe(found("support", 1010))

    world.settle(hours=5)
    assert set(world.told()) == {("support#2026-11", 1)}

    world.settle(hours=7)
    assert set(world.told()) == {("support#2026-11", 1), ("search#2026-11", 1)}


def test_quiet_hours_may_hold_everything_and_a_message_is_still_changed(bot: World) -> None:
    told(bot, 850)
    quieter = World("bot", quiet(critical_passes=False))
    bot.routes = quieter.routes

    bot.observe(found("search", 1010))
    bot.settle(hours=1)

    (message,) = bot.slack.workspace.messages
    assert message.payload["text"].startswith("Over budget")


def test_what_waits_longer_than_a_queue_can_is_found_by_the_sweep(world: World) -> None:
    world.slack.script(api_rate_limited(3000) if world.kind == "bot" else server_error())
    world.observe(found("search", 850))
    world.deliver(SEARCH)
    world.outbox.stream.clear()
    world.retries.due.clear()
    world.clock.advance(3001)

    world.sweep()
    world.settle(hours=1)

    assert world.told() == {("search#2026-11", 1): 1}


# Digests of spend.


def test_a_digest_is_sent_once(world: World) -> None:
    digest = Digest(DigestKey("finops", "day#1"), DigestKind.DAY, "search: 2026-11-22", "", (DigestLine(0, "a", "b"),), START)
    assert world.outbox.add_digest(digest)
    world.settle(hours=1)

    assert not world.outbox.add_digest(digest)
    assert world.told() == {("finops#day#1", 1): 1}


def test_a_digest_whose_channel_is_dead_goes_by_mail(world: World) -> None:
    world.is_dead = True
    digest = Digest(DigestKey("finops", "day#1"), DigestKind.DAY, "search", "", (DigestLine(0, "a", "b"),), START)
    world.outbox.add_digest(digest)

    world.settle(hours=1)

    assert world.mailed() == {("finops#day#1", 1): 1}


def test_an_alert_that_is_gone_is_passed_over(world: World) -> None:
    outcome = world.deliver(named("nothing"))

    assert outcome is not None and outcome.status == "gone"


def test_a_recovered_alert_of_a_webhook_is_closed(world: World) -> None:
    told(world, 850, 700)

    assert world.alerts[0].state is AlertState.RECOVERED
    assert world.alerts[0].delivery.step in (None, Step.POST)


# Alarms of the stack.


def changes(*steps: tuple[int, bool]) -> list[Alarm]:
    """An alarm that changes so many minutes after the start."""
    return [Alarm("prod-Unpriced", is_raised, START + timedelta(minutes=m), "37.0", "No price.") for m, is_raised in steps]


def relayed(world: World, *steps: tuple[int, bool]) -> None:
    for alarm in changes(*steps):
        world.clock.now = max(world.clock.now, alarm.since)
        world.relay(alarm)
        world.settle(hours=1)


def test_an_alarm_is_one_message_of_a_bot_which_its_recovery_changes(bot: World) -> None:
    relayed(bot, (0, True), (90, False))

    (parent,) = bot.slack.workspace.parents()
    assert parent.payload["text"].startswith("Alarm over: prod-Unpriced")
    assert len(parent.versions) == 1
    assert [r.payload["text"] for r in bot.slack.workspace.thread(parent.ts)] == [
        "prod-Unpriced: The alarm is over since 23 Nov 13:30 UTC; it was raised 23 Nov 12:00 UTC"
    ]


def test_an_alarm_that_is_back_is_shown_in_the_channel_and_not_in_the_thread_alone(bot: World) -> None:
    relayed(bot, (0, True), (90, False), (200, True))

    (parent,) = bot.slack.workspace.parents()
    assert [reply.is_broadcast for reply in bot.slack.workspace.thread(parent.ts)] == [False, True]


def test_an_alarm_that_comes_and_goes_all_day_is_told_once_an_hour(world: World) -> None:
    relayed(world, *((5 * i, i % 2 == 0) for i in range(12 * 24)))

    assert 12 <= len(world.told()) <= 24
    assert all(count == 1 for count in world.told().values())


def test_an_alarm_that_was_well_for_a_day_begins_a_new_message(bot: World) -> None:
    relayed(bot, (0, True), (90, False), (90 + 24 * 60, True))

    assert [m.payload["text"].partition(".")[0] for m in bot.slack.workspace.parents()] == [
        "Alarm over: prod-Unpriced",
        "Alarm: prod-Unpriced",
    ]


def test_an_alarm_that_nobody_takes_is_told_daily_by_the_sweep(world: World) -> None:
    relayed(world, (0, True))
    for _ in range(3 * 24):
        world.clock.advance(3600)
        world.sweep()
        world.settle(hours=1)

    assert len(world.told()) == 1 + 3


def test_many_alarms_at_once_are_one_digest() -> None:
    world = World("webhook", Route("ops", storm_limit=3))
    for number in range(10):
        world.relay(Alarm(f"prod-{number}", True, START, meaning="Something is blind."))
    world.settle(hours=1)

    assert len(world.slack.delivered) == 4
    assert "7 alerts within ten minutes" in str(world.slack.delivered[-1].payload)


def test_a_channel_that_is_dead_leaves_an_alarm_to_mail(world: World) -> None:
    world.is_dead = True

    relayed(world, (0, True))

    assert len(world.mailed()) == 1
