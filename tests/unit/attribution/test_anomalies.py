"""Anomalies: what is expected of a day, when one opens, goes on and ends, and what it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.anomalies import (
    CLEAN_DAYS,
    HISTORY_DAYS,
    NEW_NORMAL_DAYS,
    AnomalousDay,
    Anomaly,
    Cause,
    JudgedDays,
    KnownDays,
    Monitor,
    Series,
    Spent,
    detect,
    name_of,
    root_causes,
)

FIRST = date(2026, 9, 7)
MONITOR = Monitor("teams", "team")
SEARCH_TEAM = Series("team", "search")


def days_of(amounts: Sequence[int | str]) -> dict[date, Decimal]:
    return {FIRST + timedelta(i): Decimal(a) for i, a in enumerate(amounts)}


def found(amounts: Sequence[int | str], *, open_days: int = 0, monitor: Monitor = MONITOR) -> list[Anomaly]:
    days = days_of(amounts)
    return detect(monitor, SEARCH_TEAM, days, KnownDays(days.keys(), FIRST + timedelta(len(amounts) - open_days)))


def test_a_steady_series_has_no_anomaly() -> None:
    assert found([100] * 40) == []


def test_a_week_with_a_quiet_weekend_has_no_anomaly() -> None:
    assert found([100, 110, 105, 108, 102, 20, 18] * 6) == []


def test_a_spike_is_an_anomaly_of_its_day_that_clean_days_end() -> None:
    [anomaly] = found([100] * 30 + [400] + [100] * CLEAN_DAYS)

    assert (anomaly.first_day, anomaly.last_day) == (FIRST + timedelta(30),) * 2
    assert (anomaly.total_impact, anomaly.impact_percent, anomaly.is_open) == (Decimal(300), Decimal(300), False)


def test_an_anomaly_stays_open_until_enough_days_are_clean() -> None:
    [anomaly] = found([100] * 30 + [400] + [100] * (CLEAN_DAYS - 1))

    assert anomaly.is_open


def test_a_clean_day_between_two_anomalous_ones_makes_them_one_anomaly() -> None:
    [anomaly] = found([100] * 30 + [400, 100, 400])

    assert [d.day for d in anomaly.days] == [FIRST + timedelta(30), FIRST + timedelta(32)]


def test_a_day_that_still_grows_opens_an_anomaly_at_once() -> None:
    [anomaly] = found([100] * 30 + [400], open_days=1)

    assert anomaly.is_open


def test_a_day_that_still_grows_is_never_clean() -> None:
    [anomaly] = found([100] * 30 + [400, 100, 1], open_days=1)

    assert anomaly.is_open


def test_anomalous_days_are_no_part_of_what_is_expected_of_the_next_ones() -> None:
    [anomaly] = found([100] * 30 + [400] * 5)

    assert {d.expected for d in anomaly.days} == {Decimal(100)}


def test_a_level_that_lasts_is_the_new_normal() -> None:
    [anomaly] = found([100] * 30 + [400] * (NEW_NORMAL_DAYS + 10))

    assert (anomaly.is_new_normal, anomaly.is_open, len(anomaly.days)) == (True, False, NEW_NORMAL_DAYS)


def test_nothing_is_anomalous_before_there_is_a_history() -> None:
    assert found([100] * (HISTORY_DAYS - 1) + [4000]) == []


def test_a_value_that_never_spent_anything_is_held_against_nothing() -> None:
    # AWS: the percentage is left out where nothing was expected, and an absolute threshold still holds.
    [anomaly] = found([0] * 30 + [50])

    assert (anomaly.total_expected, anomaly.total_impact, anomaly.impact_percent) == (Decimal(0), Decimal(50), None)


def test_an_impact_of_exactly_the_minimum_counts() -> None:
    # AWS's threshold is "greater than or equal", other than that of a budget.
    [anomaly] = found([0] * 30 + [100], monitor=replace(MONITOR, minimum_impact=Decimal(100)))

    assert anomaly.total_impact == 100


def test_the_impact_of_several_days_is_cumulative_and_the_worst_day_is_the_maximum() -> None:
    day = AnomalousDay(FIRST, Decimal(60), Decimal(10), Decimal(20))
    anomaly = Anomaly("m", SEARCH_TEAM, (day, replace(day, day=FIRST + timedelta(1))), is_open=True)

    assert (anomaly.total_impact, anomaly.max_impact) == (Decimal(100), Decimal(50))


def test_both_minimums_have_to_be_reached() -> None:
    day = AnomalousDay(FIRST, Decimal(420), Decimal(300), Decimal(310))
    anomaly = Anomaly("m", SEARCH_TEAM, (day,), is_open=True)

    assert anomaly.reaches(Decimal(100), Decimal(40))
    assert not anomaly.reaches(Decimal(100), Decimal(50))
    assert not anomaly.reaches(Decimal(121), Decimal(0))


def test_planned_days_are_neither_anomalous_nor_a_part_of_the_past() -> None:
    days = days_of([100] * 30 + [400] * 3 + [150])
    planned = {FIRST + timedelta(30 + i) for i in range(3)}

    [anomaly] = detect(MONITOR, SEARCH_TEAM, days, KnownDays(days.keys(), FIRST + timedelta(99)), JudgedDays(planned))

    assert [(d.day, d.expected) for d in anomaly.days] == [(FIRST + timedelta(33), Decimal(100))]


def test_usual_days_are_a_part_of_the_past_and_planned_days_are_not() -> None:
    days = days_of([100] * 30 + [400] * 7 + [420])
    judged = {FIRST + timedelta(30 + i) for i in range(7)}
    known = KnownDays(days.keys(), FIRST + timedelta(99))

    assert detect(MONITOR, SEARCH_TEAM, days, known, JudgedDays(usual=judged)) == []
    assert detect(MONITOR, SEARCH_TEAM, days, known, JudgedDays(planned=judged)) != []


def test_a_day_that_the_ledger_does_not_have_is_not_a_day_of_nothing() -> None:
    days = {day: amount for day, amount in days_of([100] * 60).items() if not 30 <= (day - FIRST).days < 50}

    assert detect(MONITOR, SEARCH_TEAM, days, KnownDays(days.keys(), FIRST + timedelta(60))) == []


def test_a_monitor_may_watch_some_values_alone() -> None:
    assert not replace(MONITOR, values=("ads",)).watches("search")
    assert MONITOR.watches("search")


def test_an_anomaly_keeps_its_name_while_it_goes_on() -> None:
    [before], [after] = found([100] * 30 + [400]), found([100] * 30 + [400] * 3)

    assert name_of(before) == name_of(after) == f"team=search#{FIRST + timedelta(30)}"


amounts = st.lists(st.decimals(0, 10_000, places=2), min_size=HISTORY_DAYS + 1, max_size=45)


@settings(deadline=None, max_examples=60)
@given(amounts)
def test_anomalies_are_apart_in_order_and_above_what_was_expected(series: list[Decimal]) -> None:
    days = {FIRST + timedelta(i): a for i, a in enumerate(series)}

    anomalies = detect(MONITOR, SEARCH_TEAM, days, KnownDays(days.keys(), FIRST + timedelta(len(series))))

    told = [d for a in anomalies for d in a.days]
    assert [d.day for d in told] == sorted({d.day for d in told})
    assert all(d.actual == days[d.day] and d.actual > d.upper >= d.expected for d in told)
    assert all(a.reaches(MONITOR.minimum_impact, MONITOR.minimum_percent) for a in anomalies)
    assert all(not a.is_open for a in anomalies[:-1])


@settings(deadline=None, max_examples=40)
@given(amounts, st.randoms(use_true_random=False))
def test_the_same_days_in_any_order_give_the_same_anomalies(series: list[Decimal], random: Random) -> None:
    days = {FIRST + timedelta(i): a for i, a in enumerate(series)}
    shuffled = dict(sorted(days.items(), key=lambda _: random.random()))

    first_open = FIRST + timedelta(len(series))
    assert detect(MONITOR, SEARCH_TEAM, days, KnownDays(days.keys(), first_open)) == detect(
        MONITOR, SEARCH_TEAM, shuffled, KnownDays(set(shuffled), first_open)
    )


@settings(deadline=None, max_examples=40)
@given(amounts, st.data())
def test_a_day_that_people_judged_is_never_told(series: list[Decimal], data: st.DataObject) -> None:
    days = {FIRST + timedelta(i): a for i, a in enumerate(series)}
    planned, usual = (data.draw(st.sets(st.sampled_from(sorted(days)))) for _ in range(2))
    judged = JudgedDays(planned, usual)

    anomalies = detect(MONITOR, SEARCH_TEAM, days, KnownDays(days.keys(), FIRST + timedelta(len(series))), judged)

    assert not (planned | usual) & {d.day for a in anomalies for d in a.days}


# What it comes from

SEARCH = Cause("arn:aws:sts::111122223333:assumed-role/search/a", "anthropic.claude-sonnet-4-6", "output", "us-east-1")
BATCH = replace(SEARCH, iam_principal="arn:aws:iam::111122223333:role/batch")


def test_the_largest_increase_is_the_first_cause() -> None:
    during = {SEARCH: Spent(Decimal(60), Decimal(6)), BATCH: Spent(Decimal(400), Decimal(40))}
    before = {SEARCH: Spent(Decimal(400), Decimal(40)), BATCH: Spent(Decimal(80), Decimal(8))}

    first, second = root_causes(during, before, days=1, days_before=8)

    assert (first.cause, first.contribution, first.is_new) == (BATCH, Decimal(390), False)
    assert (second.cause, second.contribution) == (SEARCH, Decimal(10))


def test_who_spends_less_than_usual_is_no_cause() -> None:
    during, before = {SEARCH: Spent(Decimal(1), Decimal(1))}, {SEARCH: Spent(Decimal(80), Decimal(8))}

    assert root_causes(during, before, days=1, days_before=8) == ()


def test_who_was_not_there_before_is_new() -> None:
    [cause] = root_causes({BATCH: Spent(Decimal(9), Decimal(9))}, {}, days=1, days_before=28)

    assert cause.is_new
    assert not cause.is_price


def test_the_same_units_at_twice_the_price_are_a_price_change() -> None:
    before = {SEARCH: Spent(Decimal(280), Decimal(2800))}

    [cause] = root_causes({SEARCH: Spent(Decimal(20), Decimal(100))}, before, days=1, days_before=28)

    assert (cause.contribution, cause.price_effect, cause.is_price) == (Decimal(10), Decimal(10), True)


def test_more_units_at_the_same_price_are_no_price_change() -> None:
    before = {SEARCH: Spent(Decimal(280), Decimal(2800))}

    [cause] = root_causes({SEARCH: Spent(Decimal(20), Decimal(200))}, before, days=1, days_before=28)

    assert (cause.price_effect, cause.is_price) == (Decimal(0), False)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([SEARCH, BATCH, replace(SEARCH, token_kind="input")]),
        st.builds(Spent, st.decimals(0, 1000, places=2), st.decimals(0, 1000, places=0)),
    )
)
def test_without_a_past_everything_spent_is_a_contribution(during: dict[Cause, Spent]) -> None:
    causes = root_causes(during, {}, days=1, days_before=0)

    assert {c.cause: c.contribution for c in causes} == {cause: spent.cost for cause, spent in during.items() if spent.cost}
