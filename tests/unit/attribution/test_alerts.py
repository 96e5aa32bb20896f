"""The life of one alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus, crossing_key, next_alert
from attribution.budgets import AlertState, Crossing, HistoricalLimit, Notification, NotificationType, Spend
from attribution.money import Money
from tests.unit.attribution.examples import NOON
from tests.unit.attribution.test_budgets import budget, evaluation


def crossing(amount: str, percent: str = "80", told_by_another: bool = False) -> Crossing:
    found = evaluation(budget(), Spend(Decimal(amount)))
    return Crossing(found, Notification(Decimal(percent)), found.spend.actual > 10 * Decimal(percent), told_by_another)


def latching(amount: str, limit: int = 1000, kind: NotificationType = NotificationType.ACTUAL) -> Crossing:
    """The crossing of 80 % of a budget that follows AWS's rules."""
    found = evaluation(budget(Decimal(limit), aws_compatible=True), Spend(Decimal(amount)))
    notification = Notification(Decimal(80), kind)
    return Crossing(found, notification, notification.holds(Decimal(amount), Decimal(limit)))


def raised(amount: str = "850") -> Alert:
    alert = next_alert(crossing(amount), None, NOON)
    assert alert is not None
    return alert


@given(st.lists(st.integers(700, 900), max_size=12))
def test_an_alert_tells_every_change_of_side_exactly_once(spends: list[int]) -> None:
    alert, told = None, []
    for minutes, spend in enumerate(spends):
        following = next_alert(crossing(str(spend)), alert, NOON + timedelta(minutes=minutes))
        if following is not None:
            told.append((following.revision, following.state, following.spend.actual))
            alert = following

    sides = [spend > 800 for spend in spends]
    before = [False, *sides]
    changes = [(spend, side) for spend, side, was in zip(spends, sides, before, strict=False) if side != was]
    states = {True: AlertState.ALARM, False: AlertState.RECOVERED}
    assert told == [(n, states[side], Decimal(spend)) for n, (spend, side) in enumerate(changes, 1)]


def test_a_crossed_threshold_raises_one_alert_with_the_figures_of_the_moment() -> None:
    alert = raised("850")

    assert alert.key == AlertKey("search", "2026-11", "ACTUAL", "80")
    assert str(alert.key) == "search#2026-11#ACTUAL#80"
    assert (alert.state, alert.revision, alert.spend.actual) == (AlertState.ALARM, 1, Decimal(850))
    assert (alert.limit, alert.channel, alert.changed_at) == (Money(Decimal(1000)), "slack", NOON)
    assert (alert.delivery, alert.previous_actual) == (Delivery(), None)


def test_a_threshold_that_was_never_crossed_is_nothing_to_tell() -> None:
    assert next_alert(crossing("800"), None, NOON) is None


def test_more_spend_over_a_threshold_that_was_crossed_before_is_no_news() -> None:
    assert next_alert(crossing("990"), raised(), NOON) is None


def test_a_bill_that_disproves_the_estimate_is_one_correction_that_refers_to_what_was_said() -> None:
    sent = replace(raised("850"), delivery=Delivery(DeliveryStatus.SENT, 1))

    corrected = next_alert(crossing("790"), sent, NOON)

    assert corrected is not None
    assert (corrected.state, corrected.revision) == (AlertState.RECOVERED, 2)
    assert (corrected.previous_actual, corrected.spend.actual) == (Decimal(850), Decimal(790))
    assert corrected.delivery == Delivery()
    assert next_alert(crossing("780"), corrected, NOON) is None


def test_a_threshold_crossed_again_after_a_correction_is_news_again() -> None:
    corrected = next_alert(crossing("790"), raised("850"), NOON)

    again = next_alert(crossing("801"), corrected, NOON)

    assert again is not None
    assert (again.state, again.revision, again.delivery) == (AlertState.ALARM, 3, Delivery())


def test_an_alert_that_another_threshold_tells_is_covered_and_not_sent() -> None:
    alert = next_alert(crossing("1100", told_by_another=True), None, NOON)

    assert alert is not None
    assert alert.delivery.status is DeliveryStatus.COVERED


def test_a_threshold_has_one_alert_however_its_percentage_is_written() -> None:
    assert crossing_key(crossing("850", "80.0")) == crossing_key(crossing("850", "80"))
    assert crossing_key(crossing("850", "1E+2")).threshold == "100"


def test_an_alarm_that_latches_stays_until_the_limit_is_edited() -> None:
    alert = next_alert(latching("850"), None, NOON)
    assert alert is not None

    assert next_alert(latching("700"), alert, NOON) is None
    assert next_alert(latching("900"), alert, NOON) is None
    edited = next_alert(latching("850", limit=2000), alert, NOON)

    assert edited is not None
    assert edited.state is AlertState.RECOVERED


def test_a_limit_that_adjusts_itself_is_no_edit() -> None:
    alert = next_alert(latching("850"), None, NOON)
    moved = latching("850", limit=2000)
    adjusting = replace(moved.evaluation, budget=replace(moved.budget, limit=HistoricalLimit(3)))

    assert next_alert(replace(moved, evaluation=adjusting), alert, NOON) is None


def test_a_forecast_that_dips_below_and_exceeds_again_is_news_again_by_awss_rules_too() -> None:
    forecasted = NotificationType.FORECASTED
    first = next_alert(latching("850", kind=forecasted), None, NOON)
    dipped = next_alert(latching("700", kind=forecasted), first, NOON)

    again = next_alert(latching("850", kind=forecasted), dipped, NOON)

    assert again is not None
    assert (again.state, again.revision) == (AlertState.ALARM, 3)
