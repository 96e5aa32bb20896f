"""Who called, and with which session tags, in whatever order CloudTrail tells it."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.flows.record_api_calls import RecordedCalls, link_session, record_api_call
from attribution.ports import IssuedSession, ObservedCall
from attribution.usage import InvocationKey, Pairs
from tests.fakes import FakeInvocations
from tests.unit.attribution.examples import NOON, observed

ACCESS_KEY = "ASIAEXAMPLE0000000001"
TAGS = (("team", "search"),)
SESSION = IssuedSession(ACCESS_KEY, TAGS, NOON - timedelta(minutes=5))


def call(request_id: str = "r-1", access_key_id: str = ACCESS_KEY) -> ObservedCall:
    key = InvocationKey("111122223333", "us-east-1", request_id)
    return ObservedCall(key, observed(access_key_id=access_key_id))


def tags_of(invocations: FakeInvocations, request_id: str = "r-1") -> Pairs:
    half = invocations.items[call(request_id).key].observed
    assert half is not None
    return half.session_tags


Event = ObservedCall | IssuedSession
EVENTS: list[Event] = [call("r-1"), call("r-2"), SESSION, call("r-3", "ASIAOTHER"), call("r-4", "")]


@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS), max_size=4))
def test_every_call_of_a_session_has_its_tags_whatever_the_order_and_repeats(events: list[Event], again: list[Event]) -> None:
    invocations = FakeInvocations()

    for event in [*events, *again]:
        record_api_call(event, invocations=invocations, oldest=OLDEST)

    assert {request: tags_of(invocations, request) for request in ("r-1", "r-2", "r-3", "r-4")} == {
        "r-1": TAGS,
        "r-2": TAGS,
        "r-3": (),
        "r-4": (),
    }


@pytest.mark.parametrize("events", list(permutations([call("r-1"), SESSION])))
def test_an_index_that_lags_is_asked_once_more(events: tuple[Event, ...]) -> None:
    invocations = FakeInvocations()
    invocations.index_lags = True
    outcomes = [record_api_call(event, invocations=invocations, oldest=OLDEST) for event in events]
    invocations.index_lags = False

    for relink in [outcome.relink for outcome in outcomes if outcome.relink]:
        link_session(relink, invocations=invocations)

    assert tags_of(invocations) == TAGS


OLDEST = NOON - timedelta(days=34)


def test_a_session_that_is_recorded_while_a_call_is_being_written_is_not_missed() -> None:
    invocations = FakeInvocations()
    invocations.index_lags = True
    invocations.before_observed = lambda: invocations.remember_session(SESSION)

    record_api_call(call(), invocations=invocations, oldest=OLDEST)

    assert tags_of(invocations) == TAGS


def test_a_session_without_tags_leaves_no_call_waiting() -> None:
    invocations = FakeInvocations()
    record_api_call(call(), invocations=invocations, oldest=OLDEST)

    linked = record_api_call(IssuedSession(ACCESS_KEY, (), NOON), invocations=invocations, oldest=OLDEST)

    assert linked == RecordedCalls(recorded=1, linked=1, relink=ACCESS_KEY)
    assert invocations.awaiting == {}


def test_a_repeated_call_is_counted_as_a_repeat() -> None:
    invocations = FakeInvocations()

    outcomes = [record_api_call(call(), invocations=invocations, oldest=OLDEST) for _ in range(2)]

    assert outcomes == [RecordedCalls(recorded=1), RecordedCalls(repeated=1)]


def test_credentials_that_no_sts_event_named_link_nothing() -> None:
    assert link_session("ASIAUNKNOWN", invocations=FakeInvocations()) == RecordedCalls()


def test_a_call_that_may_have_been_recorded_and_forgotten_is_left_out() -> None:
    invocations = FakeInvocations()

    outcome = record_api_call(call(), invocations=invocations, oldest=NOON + timedelta(days=1))

    assert outcome == RecordedCalls(too_old=1)
    assert not invocations.items
