"""Who called, and with which session tags, in whatever order CloudTrail tells it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.directory import DirectoryEntry
from attribution.errors import InputRejected
from attribution.flows.record_api_calls import RecordedCalls, record_api_calls, record_trail_file
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.ports import Change, IssuedSession, ObservedCall, ObservedChange, StoredObject, TrailEvent
from attribution.prices import Price
from attribution.usage import InvocationKey, Observed, Pairs, PricedKind, contribution
from tests.fakes import Crash, Crashes, FakeDirectory, FakeInvocations, FakePrices, FakeQuarantine, FakeSessions, FakeTrailFiles
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


class World:
    """What is recorded, by attempts that may end at any write and are tried again."""

    def __init__(self) -> None:
        self.crashes = Crashes()
        self.invocations = FakeInvocations(self.crashes)
        self.sessions = FakeSessions(self.crashes)

    def record(self, *events: TrailEvent) -> list[RecordedCalls]:
        return [outcome for outcome in self.outcomes(*events) if isinstance(outcome, RecordedCalls)]

    def outcomes(self, *events: TrailEvent, oldest: datetime = OLDEST) -> list[RecordedCalls | Exception]:
        return record_api_calls(
            events,
            invocations=self.invocations,
            sessions=self.sessions,
            prices=PRICES,
            directory=DIRECTORY,
            oldest=oldest,
        )

    def observed(self, request_id: str = "r-1") -> Observed:
        half = self.invocations.items[call(request_id).key].observed
        assert half is not None
        return half

    def tags(self, *request_ids: str) -> dict[str, Pairs]:
        return {request_id: self.observed(request_id).session_tags for request_id in request_ids}


Event = ObservedCall | IssuedSession
EVENTS: list[Event] = [call("r-1"), call("r-2"), SESSION, call("r-3", "ASIAOTHER"), call("r-4", "")]
LINKED: dict[str, Pairs] = {"r-1": TAGS, "r-2": TAGS, "r-3": (), "r-4": ()}


@st.composite
def batches(draw: st.DrawFn, events: Sequence[TrailEvent]) -> list[list[TrailEvent]]:
    """All of the events in any order, some repeated, cut into batches."""
    order = [*draw(st.permutations(events)), *draw(st.lists(st.sampled_from(events), max_size=4))]
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1))))
    return [order[start:end] for start, end in pairwise([0, *cuts, len(order)])]


@given(batches(EVENTS))
def test_every_call_of_a_session_has_its_tags_whatever_the_order_the_batches_and_repeats(cut: list[list[TrailEvent]]) -> None:
    world = World()

    for batch in cut:
        world.record(*batch)

    assert world.tags(*LINKED) == LINKED


@given(batches(EVENTS), st.integers(0, 40))
def test_an_attempt_that_ends_at_any_write_is_made_good_by_the_next(cut: list[list[TrailEvent]], point: int) -> None:
    world = World()
    world.crashes.after_points = point

    for batch in cut:
        try:
            world.record(*batch)
        except Crash:
            world.record(*batch)

    assert world.tags(*LINKED) == LINKED


@pytest.mark.parametrize("point", range(8))
def test_a_session_recorded_between_two_attempts_of_its_call_is_not_missed(point: int) -> None:
    world = World()
    world.crashes.after_points = point
    with suppress(Crash):
        world.record(call())
    world.crashes.after_points = None

    world.record(SESSION)
    world.record(call())

    assert world.tags("r-1") == {"r-1": TAGS}


@pytest.mark.parametrize("point", range(6))
def test_a_call_recorded_between_two_attempts_of_its_session_is_not_missed(point: int) -> None:
    world = World()
    world.record(call("r-2"))
    world.crashes.after_points = point
    with suppress(Crash):
        world.record(SESSION)
    world.crashes.after_points = None

    world.record(call())
    world.record(SESSION)

    assert world.tags("r-1", "r-2") == {"r-1": TAGS, "r-2": TAGS}


def test_a_session_that_is_recorded_while_a_call_is_being_written_is_not_missed() -> None:
    world = World()

    def session_comes() -> None:
        world.record(SESSION)

    world.invocations.before_observed = session_comes

    world.record(call())

    assert world.tags("r-1") == {"r-1": TAGS}


def test_calls_that_are_linked_late_are_counted_once() -> None:
    world = World()
    world.record(call("r-1"), call("r-2"))

    outcomes = world.record(SESSION, SESSION)

    assert outcomes == [RecordedCalls(recorded=1, linked=2), RecordedCalls(recorded=1)]
    assert world.record(SESSION) == [RecordedCalls(recorded=1)]


def test_a_session_without_tags_leaves_no_call_waiting() -> None:
    world = World()
    world.record(IssuedSession(ACCESS_KEY, (), NOON))

    world.record(call())

    assert world.sessions.lists == set()


def test_a_batch_looks_its_sessions_up_once_before_and_once_after_it_writes() -> None:
    world = World()

    world.record(*(call(f"r-{number}") for number in range(10)), call("other", "ASIAOTHER"), call("none", ""))

    assert sorted(world.sessions.looked_up) == [ACCESS_KEY, ACCESS_KEY, "ASIAOTHER", "ASIAOTHER"]


def test_a_call_that_cannot_be_written_is_the_only_one_that_fails() -> None:
    world = World()
    world.invocations.failing = {"r-2"}

    outcomes = world.outcomes(call("r-1"), call("r-2"), SESSION)

    assert [isinstance(outcome, ConnectionError) for outcome in outcomes] == [False, True, False]
    world.invocations.failing.clear()
    assert world.outcomes(call("r-2")) == [RecordedCalls(recorded=1)]
    assert world.tags("r-1", "r-2") == {"r-1": TAGS, "r-2": TAGS}


def test_a_repeated_call_is_counted_as_a_repeat() -> None:
    world = World()

    assert world.record(call(), call()) == [RecordedCalls(recorded=1), RecordedCalls(repeated=1)]


def test_a_call_that_may_have_been_recorded_and_forgotten_is_left_out() -> None:
    world = World()

    assert world.outcomes(call(), oldest=NOON + timedelta(days=1)) == [RecordedCalls(too_old=1)]
    assert not world.invocations.items


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
    world = World()

    for batch in data.draw(batches([*RECORDS_OF_ONE_CALL[:known], SESSION])):
        world.record(*batch)

    last = RECORDS_OF_ONE_CALL[known - 1]
    assert isinstance(last, ObservedCall)
    stands = world.observed()
    assert (stands.revision, stands.source_identity) == (last.observed.revision, last.observed.source_identity)
    assert stands.session_tags == (TAGS if last is not FOREIGN_COPY else ())


def test_a_correction_after_the_session_is_forgotten_keeps_the_tags_of_what_it_corrects() -> None:
    world = World()
    world.record(SESSION, ORIGINAL)
    world.sessions.known.clear()

    assert world.record(CORRECTION) == [RecordedCalls(replaced=1)]
    assert world.tags("r-1") == {"r-1": TAGS}


def test_a_correction_that_names_other_credentials_does_not_keep_tags() -> None:
    world = World()
    world.record(SESSION, ORIGINAL)

    world.record(call(access_key_id="ASIAOTHER", revision="1#later"))

    assert world.tags("r-1") == {"r-1": ()}
    assert world.sessions.lists == {("ASIAOTHER", ORIGINAL.key)}


def test_provisional_usage_is_priced_and_gives_way_to_the_log_to_the_last_digit() -> None:
    world = World()
    counted = {TokenKind.INPUT: PricedKind(2000, None), TokenKind.OUTPUT: PricedKind(10, None)}

    world.record(call(kinds=counted))

    alone = world.invocations.items[ORIGINAL.key]
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
    world = World()

    world.record(call(model_id=PROFILE, kinds={TokenKind.INPUT: PricedKind(2000, None)}))

    half = world.observed()
    assert (half.model_id, half.inference_profile) == (SONNET, PROFILE)
    assert half.kinds[TokenKind.INPUT].cost == Decimal("0.0066")


FILE = StoredObject("trail", "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/03/a.json.gz")
DELETED = ObservedChange(Change.LOGGING_DELETED, "Delete", "111122223333", "us-east-1", "", "e-9", NOON)


def test_a_trail_file_is_recorded_as_its_events_are_one_by_one() -> None:
    broken = InputRejected(str(FILE), "eventTime is not ISO 8601", 3)
    content = [call("r-1"), None, broken, SESSION, None, call("r-1"), call("r-2"), DELETED, call("r-3", is_uncovered=True)]
    world, quarantine = World(), FakeQuarantine()

    outcome = record_trail_file(
        FILE,
        trail_files=FakeTrailFiles({str(FILE): content}),
        invocations=world.invocations,
        sessions=world.sessions,
        prices=PRICES,
        directory=DIRECTORY,
        quarantine=quarantine,
        oldest=OLDEST,
    )

    one_by_one = World()
    for event in content:
        if event is not None and not isinstance(event, InputRejected):
            one_by_one.record(event)
    assert (world.invocations.items, world.sessions.known) == (one_by_one.invocations.items, one_by_one.sessions.known)
    # Three calls and a session; the repeat of one of them.
    assert outcome == RecordedCalls(recorded=4, repeated=1, uncovered=1, ignored=2, rejected=1, changes=(DELETED,))
    assert quarantine.rejected == [broken]
