"""Which channel tells, when it is quiet, how fast it is sent to, and who sees what."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.routes import (
    STORM_WINDOW,
    Admission,
    QuietHours,
    Route,
    Scope,
    Traffic,
    Viewer,
    admit,
    held,
    route_for,
    route_of_alarms,
    scope_of,
)
from tests.unit.attribution.examples import NOON

SEARCH, SUPPORT = ("team", "search"), ("team", "support")
ROUTES = (Route("search", matches=(SEARCH,)), Route("finops", matches=(("team", "finops"),)), Route("everyone"))


@pytest.mark.parametrize(
    ("name", "owners", "expected"),
    [
        ("finops", (SEARCH,), "finops"),
        ("", (SEARCH,), "search"),
        ("", (SUPPORT,), "everyone"),
        ("", (), "everyone"),
        ("unknown", (SEARCH,), "search"),
    ],
)
def test_a_route_is_found_by_its_name_else_by_an_owner_else_the_one_for_everybody(
    name: str, owners: tuple[tuple[str, str], ...], expected: str
) -> None:
    assert route_for(name, owners, ROUTES).name == expected


PLATFORM = Route("platform", tells_alarms=True)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((PLATFORM, *ROUTES), "platform"),
        ((*ROUTES, Route("search too", matches=(SEARCH,), tells_alarms=True)), "search too"),
        (ROUTES, "everyone"),
        (ROUTES[:1], "default"),
        ((), "default"),
    ],
)
def test_alarms_are_told_by_the_route_that_says_so_else_by_the_one_for_everybody(
    routes: tuple[Route, ...], expected: str
) -> None:
    assert route_of_alarms(routes).name == expected


def test_a_route_of_alarms_alone_tells_nobody_s_budget() -> None:
    assert route_for("", (SUPPORT,), (PLATFORM, *ROUTES)).name == "everyone"
    assert route_for("", (SUPPORT,), (PLATFORM,)).name == "default"


def test_without_routes_there_is_the_default_one() -> None:
    assert route_for("", (SEARCH,), ()).name == "default"


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("begins", "ends", "now", "expected"),
    [
        (time(22), time(7), datetime(2026, 11, 23, 22, 0, tzinfo=UTC), datetime(2026, 11, 24, 6, 0, tzinfo=UTC)),
        (time(22), time(7), datetime(2026, 11, 24, 5, 59, tzinfo=UTC), datetime(2026, 11, 24, 6, 0, tzinfo=UTC)),
        (time(22), time(7), datetime(2026, 11, 24, 6, 0, tzinfo=UTC), None),
        (time(12), time(13), datetime(2026, 11, 24, 11, 30, tzinfo=UTC), datetime(2026, 11, 24, 12, 0, tzinfo=UTC)),
        (time(12), time(13), datetime(2026, 11, 24, 12, 30, tzinfo=UTC), None),
        # The night of the change to summer time is an hour shorter.
        (time(22), time(7), datetime(2026, 3, 28, 22, 0, tzinfo=UTC), datetime(2026, 3, 29, 5, 0, tzinfo=UTC)),
    ],
)
def test_quiet_hours_are_local_and_go_over_midnight(begins: time, ends: time, now: datetime, expected: datetime | None) -> None:
    assert QuietHours(begins, ends, BERLIN).end_after(now) == expected


moments = st.integers(0, 2 * 366 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))


@given(moments, st.times(), st.times())
def test_quiet_hours_always_end_within_a_day_or_so(now: datetime, begins: time, ends: time) -> None:
    end = QuietHours(begins, ends, BERLIN).end_after(now)

    assert end is None or now < end <= now + timedelta(hours=25)


def ask(traffic: Traffic | None, now: datetime, *, has_turn: bool = False, is_loud: bool = True, limit: int = 5) -> Admission:
    return admit(traffic, now, is_loud=is_loud, has_turn=has_turn, storm_limit=limit).admission


def test_a_second_message_within_a_second_waits_for_its_turn() -> None:
    first = admit(None, NOON, is_loud=True, has_turn=False, storm_limit=5)

    second = admit(first.traffic, NOON, is_loud=True, has_turn=False, storm_limit=5)
    third = admit(second.traffic, NOON, is_loud=True, has_turn=False, storm_limit=5)

    assert [second.admission, third.admission] == [Admission.WAIT, Admission.WAIT]
    assert [second.until - NOON, third.until - NOON] == [timedelta(seconds=1), timedelta(seconds=2)]
    assert ask(third.traffic, second.until, has_turn=True) is Admission.SEND


def test_more_messages_than_a_channel_wants_are_collected_until_its_window_ends() -> None:
    traffic: Traffic | None = None
    admissions = []
    for number in range(8):
        admitted = admit(traffic, NOON + number * timedelta(seconds=2), is_loud=True, has_turn=False, storm_limit=5)
        traffic = admitted.traffic
        admissions.append(admitted.admission)

    assert admissions == [Admission.SEND] * 5 + [Admission.COLLECT] * 3
    assert admitted.until == NOON + STORM_WINDOW
    assert ask(traffic, NOON + STORM_WINDOW) is Admission.SEND


def test_messages_that_wait_count_towards_a_storm() -> None:
    traffic: Traffic | None = None
    admissions = []
    for _ in range(8):
        admitted = admit(traffic, NOON, is_loud=True, has_turn=False, storm_limit=5)
        traffic = admitted.traffic
        admissions.append(admitted.admission)

    assert admissions == [Admission.SEND] + [Admission.WAIT] * 4 + [Admission.COLLECT] * 3


def test_updates_are_paced_and_never_collected() -> None:
    busy = Traffic(NOON, NOON, NOON, count=50)

    assert ask(busy, NOON, is_loud=False) is Admission.SEND


def test_a_channel_that_asked_for_time_is_left_alone() -> None:
    until = NOON + timedelta(hours=1)
    traffic = held(None, NOON, until)

    admitted = admit(traffic, NOON, is_loud=True, has_turn=False, storm_limit=5)

    assert (admitted.admission, admitted.until) == (Admission.WAIT, until)


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans(), st.booleans()), max_size=60))
def test_no_two_messages_go_out_within_a_second(asked: list[tuple[int, bool, bool]]) -> None:
    traffic, now, sent = None, NOON, []
    for milliseconds, is_loud, has_turn in asked:
        now += timedelta(milliseconds=milliseconds)
        admitted = admit(traffic, now, is_loud=is_loud, has_turn=has_turn, storm_limit=5)
        traffic = admitted.traffic
        assert admitted.until >= now
        if admitted.admission is Admission.SEND:
            sent.append(now)

    assert all(later - earlier >= timedelta(seconds=1) for earlier, later in pairwise(sent))


def test_a_slack_user_sees_nothing_unless_the_policy_says_so() -> None:
    viewers = [Viewer(("U1",), (SEARCH,)), Viewer(("U1", "U2"), (SUPPORT,)), Viewer(("U3",), sees_all=True)]

    assert scope_of("U0", viewers).is_empty
    assert scope_of("U1", viewers) == Scope(frozenset({SEARCH, SUPPORT}))
    assert scope_of("U3", viewers).sees(())


def test_what_belongs_to_several_is_seen_by_those_who_may_see_all_of_them() -> None:
    scope = Scope(frozenset({SEARCH}))

    assert scope.sees([SEARCH])
    assert not scope.sees([SEARCH, SUPPORT])
    assert not scope.sees([])
