"""The alert of an alarm: whatever order notifications come in, the latest change decides; and nobody is told too often."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.alarm_alerts import EPISODE_ENDS_AFTER, TELL_EVERY, alert_key, is_of_alarm, observe_alarm
from attribution.alerts import (
    REMIND_EVERY,
    Alarm,
    Alert,
    AlertKey,
    AlertState,
    DeliveryStatus,
    Message,
    News,
    acknowledge,
    mute,
    next_step,
    resume,
    snooze,
    wake,
)
from attribution.digests import DigestKey, line_of
from tests.unit.attribution.examples import NOON

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RISING = (News.RAISED, News.RAISED_AGAIN, News.REMINDED)


def alarm(after: timedelta = timedelta(0), *, raised: bool = True) -> Alarm:
    return Alarm("prod-Unpriced", raised, NOON + after, "37.0 was greater than the threshold", "No price is known.")


def after(*changes: tuple[timedelta, bool]) -> Alert:
    """The alert after the alarm was raised at noon and changed since then."""
    alert = observe_alarm(alarm(), None, NOON)
    for at, is_raised in changes:
        assert alert is not None
        alert = observe_alarm(alarm(at, raised=is_raised), alert, NOON + at) or alert
    assert alert is not None
    return alert


def told(alert: Alert) -> Alert:
    """The alert once a channel has told and shown it."""
    return replace(alert, told=alert.news, shown=alert.revision, message=Message("ops", "C1", "1.0"))


def test_an_alarm_that_is_raised_is_news() -> None:
    alert = after()

    assert (alert.state, alert.news_kind, alert.is_untold) == (AlertState.ALARM, News.RAISED, True)
    assert alert.raised_at == NOON
    assert alert.delivery.status is DeliveryStatus.PENDING


def test_an_alarm_that_is_well_and_never_was_raised_tells_nothing() -> None:
    alert = observe_alarm(alarm(raised=False), None, NOON)

    assert alert is not None
    assert (alert.state, alert.delivery.status) == (AlertState.RECOVERED, DeliveryStatus.SENT)
    assert next_step(alert, updates=True) is None
    assert next_step(alert, updates=False) is None
    assert alert.due_at is None


def test_an_alarm_that_is_raised_for_the_first_time_soon_after_it_had_data_is_news() -> None:
    well = observe_alarm(alarm(raised=False), None, NOON)

    alert = observe_alarm(alarm(MINUTE), well, NOON + MINUTE)

    assert alert is not None
    assert (alert.news_kind, alert.is_untold, alert.raised_at) == (News.RAISED, True, NOON + MINUTE)


def test_a_recovery_changes_the_same_message_and_is_news() -> None:
    raised = told(after())

    alert = observe_alarm(alarm(2 * HOUR, raised=False), raised, NOON + 2 * HOUR)

    assert alert is not None
    assert (alert.state, alert.news_kind, alert.is_untold) == (AlertState.RECOVERED, News.RECOVERED, True)
    assert alert.message == raised.message
    assert alert.crossed == ()


def test_an_alarm_that_is_over_soon_is_shown_to_be_and_not_told() -> None:
    raised = told(after())

    alert = observe_alarm(alarm(5 * MINUTE, raised=False), raised, NOON + 5 * MINUTE)

    assert alert is not None
    assert (alert.state, alert.is_untold, alert.shown < alert.revision) == (AlertState.RECOVERED, False, True)


@pytest.mark.parametrize("again", [timedelta(0), -MINUTE])
def test_a_notification_that_is_not_newer_changes_nothing(again: timedelta) -> None:
    alert = after((2 * HOUR, False))

    assert observe_alarm(alarm(2 * HOUR + again), alert, NOON + DAY) is None


def test_an_alarm_that_comes_back_within_a_day_is_the_same_message() -> None:
    alert = after((2 * HOUR, False), (5 * HOUR, True))

    assert (alert.state, alert.news_kind, alert.news) == (AlertState.ALARM, News.RAISED_AGAIN, 3)


def test_an_alarm_that_was_well_for_a_day_is_a_new_message() -> None:
    raised = told(after())
    well = observe_alarm(alarm(2 * HOUR, raised=False), raised, NOON + 2 * HOUR)
    at = 2 * HOUR + EPISODE_ENDS_AFTER

    alert = observe_alarm(alarm(at), well, NOON + at)

    assert alert is not None
    assert (alert.news_kind, alert.message, alert.raised_at) == (News.RAISED, None, NOON + at)
    # Its news is counted on: what a lost message of the earlier one told is not taken for this one's.
    assert alert.news == 3


def test_who_has_an_alarm_that_comes_and_goes_still_has_it() -> None:
    had = acknowledge(after(), "ana", NOON + MINUTE)
    assert had is not None
    well = observe_alarm(alarm(5 * MINUTE, raised=False), had, NOON)

    alert = observe_alarm(alarm(20 * MINUTE), well, NOON)

    assert alert is not None
    assert (alert.state, alert.handled_by, alert.news) == (AlertState.ACKNOWLEDGED, "ana", 1)


def test_a_muted_alarm_tells_nothing_until_it_was_well_for_a_day() -> None:
    alert = mute(told(after()), "ana", NOON)
    for at, is_raised in ((2 * HOUR, False), (20 * HOUR, True), (22 * HOUR, False)):
        assert alert is not None
        alert = observe_alarm(alarm(at, raised=is_raised), alert, NOON + at)
        assert alert is not None
        assert (alert.state, alert.is_untold) == (AlertState.MUTED, False)

    back = observe_alarm(alarm(46 * HOUR), alert, NOON)

    assert back is not None
    assert (back.state, back.is_untold, back.handled_by) == (AlertState.ALARM, True, "")


def test_a_snoozed_alarm_tells_nothing_until_its_snooze_is_over() -> None:
    snoozed = snooze(told(after()), "ana", NOON + DAY, NOON)
    well = observe_alarm(alarm(2 * HOUR, raised=False), snoozed, NOON)
    alert = observe_alarm(alarm(4 * HOUR), well, NOON)
    assert alert is not None
    assert (alert.state, alert.is_untold) == (AlertState.SNOOZED, False)

    woken = wake(alert, NOON + DAY)

    assert woken is not None
    assert (woken.state, woken.news_kind) == (AlertState.ALARM, News.REMINDED)


def test_a_snoozed_alarm_that_is_well_when_its_snooze_is_over_wakes_nobody() -> None:
    snoozed = snooze(told(after()), "ana", NOON + DAY, NOON)
    well = observe_alarm(alarm(2 * HOUR, raised=False), snoozed, NOON)
    assert well is not None

    woken = wake(well, NOON + DAY)

    assert woken is not None
    assert (woken.state, woken.is_untold) == (AlertState.RECOVERED, False)


def test_resuming_a_muted_alarm_shows_it_in_the_state_that_it_is_in() -> None:
    muted = mute(told(after()), "ana", NOON)
    assert muted is not None
    well = observe_alarm(alarm(2 * HOUR, raised=False), muted, NOON)
    assert well is not None

    states = [alert.state for alert in (resume(muted, "ana", NOON), resume(well, "ana", NOON)) if alert]

    assert states == [AlertState.ALARM, AlertState.RECOVERED]


def test_an_alarm_that_nobody_takes_is_told_again_after_a_day() -> None:
    alert = told(after())
    assert alert.due_at == NOON + REMIND_EVERY
    assert wake(alert, NOON + REMIND_EVERY - MINUTE) is None

    reminded = wake(alert, NOON + REMIND_EVERY)

    assert reminded is not None
    assert (reminded.news_kind, reminded.is_untold, reminded.due_at) == (News.REMINDED, True, NOON + 2 * REMIND_EVERY)


def test_an_alarm_that_somebody_has_is_not_told_again() -> None:
    had = acknowledge(told(after()), "ana", NOON)

    assert had is not None
    assert had.due_at is None
    assert wake(had, NOON + 30 * DAY) is None


def test_an_alarm_stands_in_a_digest_with_what_it_means() -> None:
    raised, well = line_of(after()), line_of(after((2 * HOUR, False)))

    assert (raised.label, raised.amount, raised.note) == ("alarm: prod-Unpriced", "No price is known.", "")
    assert (well.amount, well.note) == ("over", "recovered")
    assert raised.rank < well.rank


@pytest.mark.parametrize(
    ("key", "expected"),
    [(alert_key("x"), True), (AlertKey("search", "2026-11"), False), (DigestKey("alarm: x", "day"), False)],
)
def test_an_alarm_is_told_from_budgets_by_its_key(key: object, expected: bool) -> None:
    assert is_of_alarm(key) is expected


# Minutes after noon, and whether the alarm is raised then: changes as CloudWatch makes them, one a minute at most.
histories = st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12).map(
    lambda steps: [
        alarm(sum(gap for gap, _ in steps[: i + 1]) * 7 * MINUTE, raised=is_raised) for i, (_, is_raised) in enumerate(steps)
    ]
)


def all_observed(found: list[Alarm]) -> Alert:
    alert: Alert | None = None
    for each in found:
        alert = observe_alarm(each, alert, NOON + 90 * DAY) or alert
    assert alert is not None
    return alert


@given(histories, st.randoms(use_true_random=False))
def test_in_whatever_order_and_however_often_notifications_come_the_latest_change_decides(
    found: list[Alarm], random: object
) -> None:
    shuffled = [*found, *found]
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    alert = all_observed(shuffled)

    assert alert.alarm == found[-1]
    assert bool(alert.crossed) is found[-1].is_raised
    assert (alert.state is AlertState.ALARM) is found[-1].is_raised


@given(histories)
def test_a_notification_that_was_seen_changes_nothing(found: list[Alarm]) -> None:
    alert = all_observed(found)

    assert all(observe_alarm(each, alert, NOON + 91 * DAY) is None for each in found)


@given(histories)
def test_an_alarm_is_told_to_be_raised_once_an_hour_at_most_and_nobody_believes_it_well_while_it_is_raised(
    found: list[Alarm],
) -> None:
    alert: Alert | None = None
    raised_at: list[datetime] = []
    last_told: News | None = None
    for each in found:
        before = alert.news if alert else 0
        alert = observe_alarm(each, alert, each.since) or alert
        assert alert is not None
        if alert.news > before and alert.is_untold:
            last_told = alert.news_kind
            raised_at += [each.since] if last_told in RISING else []
        if each.is_raised:
            assert last_told in RISING

    assert all(later - earlier >= TELL_EVERY for earlier, later in pairwise(raised_at))
