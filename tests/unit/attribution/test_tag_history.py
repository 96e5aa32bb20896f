"""Tag histories: a usage day goes by what was so when it ended, in whatever order that became known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.tag_history import (
    ACCOUNT,
    PROJECT,
    ROLE,
    USER,
    Attributes,
    History,
    first_day_changed,
    identity_of,
    intervals,
)

START = datetime(2026, 10, 1, 6, tzinfo=UTC)
ID = "arn:aws:iam::111122223333:role/search"
Reading = tuple[datetime, Attributes]


def team(name: str) -> Attributes:
    return Attributes((("team", name),))


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 10, day, hour, tzinfo=UTC)


def history(*readings: Reading) -> History:
    found = History(ID)
    for moment, attributes in readings:
        found = found.seen(attributes, moment)
    return found


def by_definition(readings: Sequence[Reading], usage_date: date) -> Attributes:
    """The last reading before the end of a day; where there is none, the first of all."""
    ordered = sorted(readings, key=lambda reading: reading[0])
    before = [attributes for moment, attributes in ordered if moment.date() <= usage_date]
    return before[-1] if before else ordered[0][1]


def days_around(readings: Sequence[Reading]) -> list[date]:
    return [(START + timedelta(days=n)).date() for n in range(-2, 45)]


hours = st.lists(st.integers(0, 40 * 24), min_size=1, max_size=12, unique=True)


@st.composite
def readings(draw: st.DrawFn, *, values_return: bool) -> list[Reading]:
    """Readings in the order of time."""
    moments = [START + timedelta(hours=hour) for hour in sorted(draw(hours))]
    values = draw(st.lists(st.integers(0, 3), min_size=len(moments), max_size=len(moments)))
    values = values if values_return else sorted(values)
    return [(moment, team(f"t{value}")) for moment, value in zip(moments, values, strict=True)]


@given(readings(values_return=True))
def test_a_day_goes_by_the_last_reading_before_its_end(made: list[Reading]) -> None:
    found = history(*made)

    assert {day: found.on(day) for day in days_around(made)} == {day: by_definition(made, day) for day in days_around(made)}


@given(readings(values_return=False).flatmap(lambda made: st.tuples(st.just(made), st.permutations([*made, *made]))))
def test_the_order_in_which_readings_arrive_and_repeats_of_them_change_no_day(
    made_and_shuffled: tuple[list[Reading], list[Reading]],
) -> None:
    made, shuffled = made_and_shuffled
    found = history(*shuffled)

    assert {day: found.on(day) for day in days_around(made)} == {day: by_definition(made, day) for day in days_around(made)}


@given(readings(values_return=True).flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_whatever_arrives_late_the_latest_reading_stands_and_every_day_goes_by_one_that_was_made(
    made_and_shuffled: tuple[list[Reading], list[Reading]],
) -> None:
    made, shuffled = made_and_shuffled
    found = history(*shuffled)

    assert found.on(made[-1][0].date()) == made[-1][1]
    assert {found.on(day) for day in days_around(made)} <= {attributes for _, attributes in made}


@given(readings(values_return=True))
def test_a_history_grows_by_changes_and_not_by_readings(made: list[Reading]) -> None:
    found = history(*made)

    changes = sum(a != b for (_, a), (_, b) in itertools.pairwise(made))
    assert len(found.entries) == 1 + changes
    assert found.last_seen == made[-1][0]


@given(readings(values_return=True))
def test_readings_that_are_repeated_change_nothing(made: list[Reading]) -> None:
    found = history(*made)

    again = found
    for moment, attributes in made:
        again = again.seen(attributes, moment)

    assert [again.on(day) for day in days_around(made)] == [found.on(day) for day in days_around(made)]
    assert found.seen(made[-1][1], made[-1][0]) == found


def test_a_change_counts_from_the_event_that_told_of_it() -> None:
    before = history((at(1), team("search")))

    after = before.seen(team("ads"), at(4, 1), changed_at=at(3, 23), event="TagRole")

    assert [after.on(date(2026, 10, day)) for day in (2, 3)] == [team("search"), team("ads")]
    assert [(e.effective_from, e.told_by) for e in after.entries] == [(at(1), "reading"), (at(3, 23), "TagRole")]


def test_an_event_before_a_reading_that_found_other_tags_does_not_date_a_change() -> None:
    before = history((at(1), team("search")), (at(3), team("search")))

    after = before.seen(team("ads"), at(5), changed_at=at(2), event="TagRole")

    assert [after.on(date(2026, 10, day)) for day in (2, 4, 5)] == [team("search"), team("search"), team("ads")]


def test_an_event_that_arrives_after_its_change_was_read_moves_the_change_back() -> None:
    before = history((at(1), team("search")), (at(3), team("ads")))

    after = before.seen(team("ads"), at(4), changed_at=at(2), event="TagRole")

    assert after.on(date(2026, 10, 2)) == team("ads")
    assert first_day_changed(before, after) == date(2026, 10, 2)


def test_the_first_reading_holds_for_every_day_before_it() -> None:
    assert history((at(20), team("search"))).on(date(2024, 1, 1)) == team("search")


def test_what_is_deleted_keeps_its_tags_and_what_comes_back_has_its_new_ones() -> None:
    deleted = history((at(1), team("search"))).gone(at(3))
    back = deleted.seen(team("ads"), at(8))

    assert (deleted.on(date(2026, 10, 9)), deleted.deleted_at) == (team("search"), at(3))
    assert deleted.gone(at(5)) == deleted
    assert (back.on(date(2026, 10, 7)), back.on(date(2026, 10, 8)), back.deleted_at) == (team("search"), team("ads"), None)


def test_what_may_not_be_read_keeps_what_was_known() -> None:
    refused = history((at(1), team("search"))).refused("access denied")

    assert (refused.on(date(2026, 10, 9)), refused.unreadable) == (team("search"), "access denied")
    assert refused.seen(team("search"), at(2)).unreadable == ""
    assert History(ID).refused("another account").on(date(2026, 10, 9)) is None


def test_the_days_that_a_reading_concerns() -> None:
    first = history((at(5), team("search")))

    assert first_day_changed(History(ID), first) == date.min
    assert first_day_changed(first, first.seen(team("search"), at(9))) is None
    assert first_day_changed(first, first.seen(team("ads"), at(9))) == date(2026, 10, 9)


def test_a_history_is_shown_as_spans_of_time_without_the_repeats_of_late_readings() -> None:
    found = history((at(1), team("search")), (at(9), team("search")), (at(5), team("ads")))

    spans = [(span.since, span.until, span.attributes) for span in intervals(found.entries)]
    assert spans == [(None, at(5), team("search")), (at(5), at(9), team("ads")), (at(9), None, team("search"))]
    assert len(intervals(history((at(5), team("ads")), (at(1), team("ads"))).entries)) == 1


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("arn:aws:sts::111122223333:assumed-role/search/i-0abc", ROLE, ID),
        ("arn:aws:sts::111122223333:assumed-role/search/jo@example.com", ROLE, ID),
        ("arn:aws:iam::111122223333:role/teams/eu/search", ROLE, ID),
        ("arn:aws-us-gov:iam::111122223333:user/people/jo", USER, "arn:aws-us-gov:iam::111122223333:user/jo"),
        ("111122223333", ACCOUNT, "111122223333"),
        ("arn:aws:bedrock-mantle:us-east-1:111122223333:project/p1", PROJECT, ""),
        ("arn:aws:bedrock-mantle:us-east-1:111122223333:workspace/w1", PROJECT, ""),
        ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1", "inference-profile", ""),
        ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/p1", "provisioned-model", ""),
    ],
)
def test_a_caller_a_resource_and_an_account_have_a_place_in_the_directory(text: str, kind: str, found: str) -> None:
    identity = identity_of(text)

    assert identity is not None
    assert (identity.kind, identity.id, identity.account_id) == (kind, found or text, "111122223333")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn:aws:iam::111122223333:root",
        "arn:aws:sts::111122223333:federated-user/jo",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
        "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-pro-v1:0",
        "amazon.nova-pro-v1:0",
        "bedrock.amazonaws.com",
    ],
)
def test_what_has_no_tags_of_its_own_has_none(text: str) -> None:
    assert identity_of(text) is None
