"""Who called, and with which session tags, in whatever order CloudTrail tells it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.directory import DirectoryEntry
from attribution.errors import InputRejected
from attribution.flows.record_api_calls import RecordedCalls, link_session, record_api_call, record_trail_file
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.ports import Change, IssuedSession, ObservedCall, ObservedChange, StoredObject, TrailEvent
from attribution.prices import Price
from attribution.usage import InvocationKey, Pairs, PricedKind, contribution
from tests.fakes import FakeDirectory, FakeInvocations, FakePrices, FakeQuarantine, FakeTrailFiles
from tests.unit.attribution.examples import NOON, PROFILE, SONNET, invocation, metered, observed

ACCESS_KEY = "ASIAEXAMPLE0000000001"
TAGS = (("team", "search"),)
SESSION = IssuedSession(ACCESS_KEY, TAGS, NOON - timedelta(minutes=5))
OLDEST = NOON - timedelta(days=34)
PRICES = FakePrices(
    Price(Meter(SONNET, TokenKind.INPUT), "us-east-1", Decimal("3.3"), 1_000_000, date(2026, 1, 1), "a list"),
)

PROFILE_ENTRY = DirectoryEntry(PROFILE, SONNET, Routing.REGIONAL, Tier.STANDARD, NOON, NOON)
DIRECTORY = FakeDirectory(PROFILE_ENTRY)


def call(request_id: str = "r-1", access_key_id: str = ACCESS_KEY, **changes: Any) -> ObservedCall:
    key = InvocationKey("111122223333", "us-east-1", request_id)
    return ObservedCall(key, observed(access_key_id=access_key_id, **changes))


def record(event: TrailEvent, invocations: FakeInvocations) -> RecordedCalls:
    return record_api_call(event, invocations=invocations, prices=PRICES, directory=DIRECTORY, oldest=OLDEST)


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
        record(event, invocations)

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
    outcomes = [record(event, invocations) for event in events]
    invocations.index_lags = False

    for access_key_id in [key for outcome in outcomes for key in outcome.relink]:
        link_session(access_key_id, invocations=invocations)

    assert tags_of(invocations) == TAGS


def test_a_session_that_is_recorded_while_a_call_is_being_written_is_not_missed() -> None:
    invocations = FakeInvocations()
    invocations.index_lags = True
    invocations.before_observed = lambda: invocations.remember_session(SESSION)

    record(call(), invocations)

    assert tags_of(invocations) == TAGS


def test_a_session_without_tags_leaves_no_call_waiting() -> None:
    invocations = FakeInvocations()
    record(call(), invocations)

    linked = record(IssuedSession(ACCESS_KEY, (), NOON), invocations)

    assert linked == RecordedCalls(recorded=1, linked=1, relink=(ACCESS_KEY,))
    assert invocations.awaiting == {}


def test_a_repeated_call_is_counted_as_a_repeat() -> None:
    invocations = FakeInvocations()

    outcomes = [record(call(), invocations) for _ in range(2)]

    assert outcomes == [RecordedCalls(recorded=1), RecordedCalls(repeated=1)]


def test_credentials_that_no_sts_event_named_link_nothing() -> None:
    assert link_session("ASIAUNKNOWN", invocations=FakeInvocations()) == RecordedCalls()


def test_a_call_that_may_have_been_recorded_and_forgotten_is_left_out() -> None:
    invocations = FakeInvocations()

    outcome = record_api_call(
        call(), invocations=invocations, prices=PRICES, directory=DIRECTORY, oldest=NOON + timedelta(days=1)
    )

    assert outcome == RecordedCalls(too_old=1)
    assert not invocations.items


ORIGINAL = call()
CORRECTION = call(revision="1#2026-11-03T12:00:02+00:00#e-2", source_identity="jane")
LATER_CORRECTION = call(revision="1#2026-11-03T12:00:05+00:00#e-1", source_identity="joe")
FOREIGN_COPY = call(revision="0", access_key_id="")
RECORDS_OF_ONE_CALL: list[TrailEvent] = [FOREIGN_COPY, ORIGINAL, CORRECTION, LATER_CORRECTION]


@given(
    st.sampled_from([1, 2, 3, 4]),
    st.data(),
)
def test_of_the_records_of_one_call_the_greatest_stands_in_whatever_order(known: int, data: st.DataObject) -> None:
    records = [*RECORDS_OF_ONE_CALL[:known], SESSION]
    order = data.draw(st.permutations(records).flatmap(lambda o: st.lists(st.sampled_from(records)).map(lambda more: o + more)))
    invocations = FakeInvocations()

    for event in order:
        record(event, invocations)

    last = RECORDS_OF_ONE_CALL[known - 1]
    assert isinstance(last, ObservedCall)
    stands = invocations.items[last.key].observed
    assert stands is not None
    assert (stands.revision, stands.source_identity) == (last.observed.revision, last.observed.source_identity)
    assert stands.session_tags == (TAGS if last is not FOREIGN_COPY else ())
    assert invocations.awaiting == {}


def test_a_correction_after_the_session_is_forgotten_keeps_the_tags_of_what_it_corrects() -> None:
    invocations = FakeInvocations()
    for event in (SESSION, ORIGINAL):
        record(event, invocations)
    invocations.sessions.clear()

    outcome = record(CORRECTION, invocations)

    assert outcome == RecordedCalls(replaced=1)
    assert tags_of(invocations) == TAGS


def test_a_correction_that_names_other_credentials_does_not_keep_tags() -> None:
    invocations = FakeInvocations()
    for event in (SESSION, ORIGINAL):
        record(event, invocations)

    record(call(access_key_id="ASIAOTHER", revision="1#later"), invocations)

    assert tags_of(invocations) == ()
    assert invocations.awaiting == {ORIGINAL.key: "ASIAOTHER"}


def test_provisional_usage_is_priced_and_gives_way_to_the_log_to_the_last_digit() -> None:
    invocations = FakeInvocations()
    counted = {TokenKind.INPUT: PricedKind(2000, None), TokenKind.OUTPUT: PricedKind(10, None)}

    record(call(kinds=counted), invocations)

    alone = invocations.items[ORIGINAL.key]
    half = alone.observed
    assert half is not None
    assert (half.flags, half.price_source) == (("provisional",), "a list")
    usage = contribution(alone)
    assert usage is not None
    assert usage.counters.provisional == usage.counters.requests == usage.counters.observed_only == 1
    assert usage.counters.estimated == {TokenKind.INPUT: Decimal("0.0066")}
    assert usage.counters.unpriced == {TokenKind.OUTPUT: 10}
    joined = invocation(metered=metered(), observed=half)
    assert contribution(joined) == contribution(invocation(metered=metered()))


def test_a_call_through_an_application_inference_profile_is_of_the_model_behind_it() -> None:
    invocations = FakeInvocations()

    record(call(model_id=PROFILE, kinds={TokenKind.INPUT: PricedKind(2000, None)}), invocations)

    half = invocations.items[ORIGINAL.key].observed
    assert half is not None
    assert (half.model_id, half.inference_profile) == (SONNET, PROFILE)
    assert half.kinds[TokenKind.INPUT].cost == Decimal("0.0066")


FILE = StoredObject("trail", "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/03/a.json.gz")
DELETED = ObservedChange(Change.LOGGING_DELETED, "Delete", "111122223333", "us-east-1", "", "e-9", NOON)


def test_a_trail_file_is_recorded_as_its_events_are_one_by_one() -> None:
    broken = InputRejected(str(FILE), "eventTime is not ISO 8601", 3)
    content = [call("r-1"), None, broken, SESSION, None, call("r-1"), call("r-2"), DELETED, call("r-3", is_uncovered=True)]
    invocations, quarantine = FakeInvocations(), FakeQuarantine()

    outcome = record_trail_file(
        FILE,
        trail_files=FakeTrailFiles({str(FILE): content}),
        invocations=invocations,
        prices=PRICES,
        directory=DIRECTORY,
        quarantine=quarantine,
        oldest=OLDEST,
    )

    one_by_one = FakeInvocations()
    for event in content:
        if event is not None and not isinstance(event, InputRejected):
            record(event, one_by_one)
    assert (invocations.items, invocations.sessions) == (one_by_one.items, one_by_one.sessions)
    # Three calls and a session; the repeat of one of them.
    assert outcome == RecordedCalls(
        recorded=4, repeated=1, uncovered=1, ignored=2, rejected=1, relink=(ACCESS_KEY,), changes=(DELETED,)
    )
    assert quarantine.rejected == [broken]
