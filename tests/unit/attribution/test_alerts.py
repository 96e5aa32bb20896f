"""The life of one alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.alerts import (
    REFRESH_EVERY,
    Alert,
    AlertKey,
    AlertState,
    Delivery,
    DeliveryStatus,
    Figures,
    Message,
    News,
    Observation,
    Step,
    Subject,
    Threshold,
    ThresholdKind,
    acknowledge,
    mute,
    next_step,
    observe,
    resume,
    snooze,
    wake,
)
from attribution.money import Money
from tests.unit.attribution.examples import NOON

KEY = AlertKey("search", "2026-11")
ENDS = NOON + timedelta(days=8)
HOUR = timedelta(hours=1)
LIMIT = Money(Decimal(1000))


def threshold(percent: int, **changes: object) -> Threshold:
    values: dict[str, object] = {
        "kind": ThresholdKind.ACTUAL,
        "name": f"ACTUAL#{percent}",
        "label": f"above {percent} % of the budget",
        "amount": Decimal(10 * percent),
        "is_critical": percent >= 100,
    }
    return Threshold(**{**values, **changes})  # type: ignore[arg-type]


def seen(amount: int | str, *, percents: tuple[int, ...] = (80, 100), forecast: bool = False) -> Observation:
    """The budget of 1,000 with this spend; `forecast` where its forecast is above the limit."""
    spend = Decimal(amount)
    crossed = [threshold(p) for p in percents if spend > 10 * p]
    if forecast:
        crossed.insert(0, threshold(100, kind=ThresholdKind.FORECASTED, name="FORECASTED#100", is_critical=False))
    subject = Subject("team: search", "billed_cost", (("team", "search"),), ends_at=ENDS)
    return Observation(KEY, subject, Figures(LIMIT, estimated=spend), tuple(crossed))


def raised(amount: int | str = 850, now: datetime = NOON) -> Alert:
    alert = observe(seen(amount), None, now)
    assert alert is not None
    return alert


def then(alert: Alert, amount: int | str, hours: int = 1) -> Alert:
    following = observe(seen(amount), alert, alert.changed_at + hours * HOUR)
    assert following is not None
    return following


FORECASTED = {"kind": ThresholdKind.FORECASTED, "is_critical": False}


@pytest.mark.parametrize(
    ("crossed", "highest"),
    [
        ([threshold(80), threshold(100), threshold(80, name="FORECASTED#80", **FORECASTED)], "ACTUAL#100"),
        ([threshold(100), threshold(100, name="FORECASTED#100", **FORECASTED)], "ACTUAL#100"),
        ([threshold(80), threshold(100, name="FORECASTED#100", **FORECASTED)], "FORECASTED#100"),
        ([threshold(50), threshold(10, name="ACTUAL#<10", amount=None)], "ACTUAL#50"),
    ],
)
def test_the_highest_threshold_speaks_in_whatever_order_they_were_found(crossed: list[Threshold], highest: str) -> None:
    for found in permutations(crossed):
        alert = replace(raised(), crossed=found)

        assert alert.highest is not None
        assert alert.highest.name == highest


def test_a_budget_below_its_thresholds_has_no_alert() -> None:
    assert observe(seen(800), None, NOON) is None


def test_a_crossed_threshold_raises_the_one_alert_of_the_budget_and_period() -> None:
    alert = raised(850)

    assert (str(alert.key), alert.state, alert.news_kind) == ("search#2026-11", AlertState.ALARM, News.RAISED)
    assert (alert.figures.actual, alert.figures.percent, alert.is_critical) == (Decimal(850), 85, False)
    assert alert.delivery == Delivery(DeliveryStatus.PENDING)


def test_a_further_threshold_escalates_the_same_alert() -> None:
    alert = then(raised(850), 1010)

    assert (alert.key, alert.news, alert.news_kind, alert.is_critical) == (KEY, 2, News.ESCALATED, True)
    assert (alert.previous_actual, alert.news_actual) == (Decimal(850), Decimal(1010))


def test_one_change_over_several_thresholds_is_one_piece_of_news() -> None:
    assert raised(1500).news == 1


def test_figures_that_moved_change_the_message_and_are_no_news() -> None:
    alert = then(raised(850), 900)

    assert (alert.news, alert.revision, alert.figures.percent) == (1, 2, 90)


def test_figures_are_shown_no_more_often_than_every_fifteen_minutes() -> None:
    alert = raised(850)

    assert observe(seen(900), alert, NOON + REFRESH_EVERY - timedelta(seconds=1)) is None
    assert observe(seen(900), alert, NOON + REFRESH_EVERY) is not None


def test_figures_that_look_the_same_change_nothing() -> None:
    assert observe(seen("850.01"), raised(850), NOON + HOUR) is None


def test_a_bill_that_disproves_the_alarm_recovers_it_and_says_what_was_told_before() -> None:
    alert = then(raised(850), 700)

    assert (alert.state, alert.news_kind, alert.previous_actual) == (AlertState.RECOVERED, News.RECOVERED, Decimal(850))


def test_a_bill_that_disproves_the_higher_threshold_alone_corrects_the_alarm() -> None:
    alert = then(raised(1010), 900)

    assert (alert.state, alert.news_kind, alert.news) == (AlertState.ALARM, News.CORRECTED, 2)


def test_a_forecast_that_falls_back_is_no_news_while_spend_is_above_a_threshold() -> None:
    first = observe(seen(850, forecast=True), None, NOON)
    assert first is not None

    alert = then(first, 850)

    assert (alert.news, [t.name for t in alert.crossed]) == (1, ["ACTUAL#80"])


def test_a_threshold_that_latches_stays_crossed_whatever_spend_does() -> None:
    latching = replace(seen(850), crossed=(threshold(80, latches=True),))
    alert = observe(latching, None, NOON)
    assert alert is not None

    later = observe(seen(100), alert, NOON + HOUR)

    assert later is not None
    assert (later.state, later.news) == (AlertState.ALARM, 1)


@given(st.lists(st.integers(795, 805), min_size=1, max_size=30))
def test_spend_that_hovers_about_a_threshold_is_told_twice_and_no_more(spends: list[int]) -> None:
    alert = raised(850)
    for number, spend in enumerate(spends):
        alert = observe(seen(spend), alert, NOON + number * HOUR) or alert

    assert alert.news <= 2


def test_spend_that_clearly_passes_a_threshold_again_is_news_again() -> None:
    alert = then(then(raised(850), 790), 811)

    assert (alert.state, alert.news_kind, alert.news) == (AlertState.ALARM, News.RAISED_AGAIN, 3)
    assert alert.raised_at == alert.changed_at


# People.


def test_an_acknowledged_alert_keeps_quiet_until_a_further_threshold() -> None:
    acknowledged = acknowledge(raised(850), "U1", NOON)
    assert acknowledged is not None
    assert (acknowledged.state, acknowledged.handled_by, acknowledged.news) == (AlertState.ACKNOWLEDGED, "U1", 1)

    moved = then(acknowledged, 900)
    assert (moved.state, moved.news) == (AlertState.ACKNOWLEDGED, 1)
    worse = then(moved, 1010)
    assert (worse.state, worse.handled_by, worse.news) == (AlertState.ALARM, "", 2)


def test_a_second_acknowledgement_changes_nothing() -> None:
    once = acknowledge(raised(), "U1", NOON)
    assert once is not None

    assert acknowledge(once, "U2", NOON) is None


def snoozed(amount: int = 850) -> Alert:
    alert = snooze(raised(amount), "U1", NOON + timedelta(days=1), NOON)
    assert alert is not None
    return alert


def test_a_snoozed_alert_tells_nothing_but_a_broken_budget() -> None:
    alert = then(replace(snoozed(), crossed=(), seen=()), 900)
    assert (alert.state, alert.news) == (AlertState.SNOOZED, 1)

    assert (then(alert, 1010).state, then(alert, 1010).news) == (AlertState.ALARM, 2)


def test_the_same_snooze_again_changes_nothing() -> None:
    assert snooze(snoozed(), "U2", NOON + timedelta(days=1), NOON) is None


def test_after_a_snooze_an_alarm_that_stands_is_told_again() -> None:
    alert = snoozed()
    assert wake(alert, NOON + timedelta(hours=23)) is None

    awake = wake(alert, NOON + timedelta(days=1))

    assert awake is not None
    assert (awake.state, awake.news_kind, awake.news, awake.snoozed_until) == (AlertState.ALARM, News.REMINDED, 2, None)


def test_a_recovery_is_told_of_a_snoozed_alert_too() -> None:
    assert then(snoozed(), 700).news_kind is News.RECOVERED


def muted() -> Alert:
    alert = mute(raised(), "U1", NOON)
    assert alert is not None
    return alert


@pytest.mark.parametrize("amount", [1010, 700])
def test_a_muted_alert_tells_nothing_more_and_still_shows_its_figures(amount: int) -> None:
    alert = then(muted(), amount)

    assert (alert.state, alert.news, alert.revision, alert.figures.actual) == (AlertState.MUTED, 1, 3, Decimal(amount))


def test_news_that_nobody_was_told_before_a_mute_waits_until_it_is_resumed() -> None:
    alert = muted()
    assert not alert.is_untold

    resumed = resume(alert, "U1", NOON)
    assert resumed is not None
    assert resumed.is_untold


def test_what_was_silenced_can_be_resumed() -> None:
    for silenced in (muted(), snoozed()):
        alert = resume(silenced, "U2", NOON)
        assert alert is not None
        assert (alert.state, alert.handled_by, alert.snoozed_until) == (AlertState.ALARM, "U2", None)
    assert resume(raised(), "U2", NOON) is None


# The calendar.


def test_the_end_of_the_period_is_told_once() -> None:
    alert = raised()
    assert wake(alert, ENDS - HOUR) is None

    ended = wake(alert, ENDS)

    assert ended is not None
    assert (ended.news_kind, ended.is_ended) == (News.ENDED, True)
    assert wake(ended, ENDS + HOUR) is None


def test_an_alert_about_a_period_that_is_over_has_no_end_to_tell_of() -> None:
    late = observe(seen(850), None, ENDS + HOUR)

    assert late is not None
    assert wake(late, ENDS + 2 * HOUR) is None


def test_the_end_of_a_muted_period_is_not_told() -> None:
    ended = wake(muted(), ENDS)

    assert ended is not None
    assert not ended.is_untold


def test_somebody_looks_at_an_alert_when_the_first_of_its_times_has_come() -> None:
    assert raised().due_at == ENDS
    assert snoozed().due_at == NOON + timedelta(days=1)
    waiting = replace(snoozed(), delivery=Delivery(wait_until=NOON + HOUR))
    assert waiting.due_at == NOON + HOUR


# Its delivery.


def test_a_channel_that_changes_its_messages_is_asked_for_one_message_and_for_news_in_its_thread() -> None:
    alert = raised()
    assert next_step(alert, updates=True) is Step.POST

    told = replace(alert, told=1, shown=1, message=Message("default", "C1", "1.0"))
    assert next_step(told, updates=True) is None
    worse = then(told, 1010)
    assert next_step(worse, updates=True) is Step.UPDATE
    assert next_step(replace(worse, shown=2), updates=True) is Step.REPLY


def test_a_channel_that_changes_nothing_is_asked_for_a_message_of_each_news_alone() -> None:
    told = replace(raised(), told=1, shown=1)

    assert next_step(then(told, 900), updates=False) is None
    assert next_step(then(told, 1010), updates=False) is Step.POST


def test_a_change_while_a_message_is_on_its_way_leaves_the_claim_alone() -> None:
    claimed = replace(raised(), delivery=Delivery(DeliveryStatus.CLAIMED, Step.POST, 1, NOON + HOUR))

    assert then(claimed, 1010).delivery == claimed.delivery


def test_a_change_does_not_forget_that_a_message_is_in_doubt() -> None:
    doubtful = replace(raised(), delivery=Delivery(attempts=2, wait_until=NOON + HOUR, in_doubt=1))

    assert then(doubtful, 1010).delivery == Delivery(attempts=2, in_doubt=1)
