"""Invocations and the counters they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.days import usage_fingerprint
from attribution.meters import Routing, Tier, TokenKind
from attribution.money import total
from attribution.usage import (
    Counters,
    Invocation,
    PricedKind,
    Usage,
    UsageKey,
    changes,
    contribution,
    with_session_tags,
)
from tests.unit.attribution.examples import DAY, NOON, PROFILE, ROLE, SONNET, USAGE_KEY, invocation, metered, observed
from tests.unit.attribution.strategies import counters, image_changes, metered_halves, observed_halves

Images = list[tuple[Invocation | None, Invocation | None]]


def fingerprint(counted: Mapping[UsageKey, Counters]) -> str:
    """Equal for equal counters, whether they never moved or returned to zero."""
    return usage_fingerprint([Usage(key, value) for key, value in counted.items()])


def applied(*differences: Mapping[UsageKey, Counters]) -> dict[UsageKey, Counters]:
    counted: dict[UsageKey, Counters] = {}
    for difference in differences:
        for key, value in difference.items():
            counted[key] = counted.get(key, Counters()) + value
    return counted


@given(image_changes(), st.integers(0, 12))
def test_changes_applied_in_two_batches_equal_a_recount_of_the_final_images(stream: Images, cut: int) -> None:
    final = {new.key: new for _, new in stream if new}

    counted = applied(changes(stream[:cut]), changes(stream[cut:]))

    assert fingerprint(counted) == fingerprint(changes((None, image) for image in final.values()))


@given(image_changes())
def test_changes_applied_one_by_one_equal_the_changes_of_the_whole_stream(stream: Images) -> None:
    assert fingerprint(applied(*(changes([change]) for change in stream))) == fingerprint(changes(stream))


@given(image_changes())
def test_taking_every_image_back_leaves_nothing(stream: Images) -> None:
    assert changes([*stream, *((new, old) for old, new in reversed(stream))]) == {}


@given(image_changes())
def test_an_image_that_says_the_same_changes_nothing(stream: Images) -> None:
    assert changes((new, new) for _, new in stream) == {}


@given(counters(), counters(), counters())
def test_counters_add_up_in_any_order(one: Counters, two: Counters, three: Counters) -> None:
    left, right = (one + two) + three, three + (two + one)

    assert fingerprint({USAGE_KEY: left}) == fingerprint({USAGE_KEY: right})
    assert left.requests == one.requests + two.requests + three.requests
    assert total(left.estimated.values()) == total(amount for c in (one, two, three) for amount in c.estimated.values())


@given(counters())
def test_counters_and_their_opposite_cancel_out(value: Counters) -> None:
    assert (value + value.negated()).is_zero()
    assert not value.is_zero()


@pytest.mark.parametrize("name", [f.name for f in fields(Counters)])
def test_no_part_of_a_counter_is_overlooked(name: str) -> None:
    mapping = {TokenKind.INPUT: Decimal(1) if name == "estimated" else 1}
    changed: dict[str, Any] = {name: 1 if isinstance(getattr(Counters(), name), int) else mapping}
    one = replace(Counters(), **changed)

    assert not one.is_zero()
    assert getattr(one + one, name) == (2 if isinstance(getattr(one, name), int) else {TokenKind.INPUT: 2})
    assert (one + one.negated()).is_zero()
    assert fingerprint({USAGE_KEY: one}) != fingerprint({})


@given(metered_halves, observed_halves)
def test_the_halves_contribute_the_same_in_whatever_order_they_arrive(logged: object, called: object) -> None:
    bare = invocation()
    with_metered, with_observed = replace(bare, metered=logged), replace(bare, observed=called)  # type: ignore[arg-type]
    both = replace(with_metered, observed=called)  # type: ignore[arg-type]

    metered_first = applied(changes([(None, with_metered), (with_metered, both)]))
    observed_first = applied(changes([(None, with_observed), (with_observed, both)]))

    assert fingerprint(metered_first) == fingerprint(observed_first) == fingerprint(changes([(None, both)]))


def test_a_request_that_nothing_is_known_of_contributes_nothing() -> None:
    assert contribution(invocation()) is None


def test_a_logged_request_contributes_its_units_priced_and_unpriced_apart() -> None:
    kinds = {
        TokenKind.INPUT: PricedKind(1000, Decimal("0.0033")),
        TokenKind.OUTPUT: PricedKind(50, None),
    }
    half = metered(kinds=kinds, inference_profile=PROFILE, request_metadata=(("team", "search"),), flags=("unmeasured",))

    counted = contribution(invocation(metered=half))

    assert counted == Usage(
        USAGE_KEY._replace(inference_profile=PROFILE, request_metadata=(("team", "search"),)),
        Counters(
            requests=1,
            unmeasured=1,
            units={TokenKind.INPUT: 1000, TokenKind.OUTPUT: 50},
            estimated={TokenKind.INPUT: Decimal("0.0033")},
            unpriced={TokenKind.OUTPUT: 50},
        ),
    )


def test_a_call_that_no_log_mentions_is_counted_as_observed_only() -> None:
    counted = contribution(invocation(observed=observed(error_code="AccessDenied", session_tags=(("team", "search"),))))

    assert counted == Usage(
        UsageKey(
            DAY,
            "111122223333",
            "us-east-1",
            SONNET,
            Routing.REGIONAL,
            Tier.STANDARD,
            ROLE,
            session_tags=(("team", "search"),),
        ),
        Counters(observed_only=1, errors=1),
    )


def test_a_call_that_no_log_covers_awaits_none() -> None:
    counted = contribution(invocation(observed=observed(is_uncovered=True)))

    assert counted is not None
    assert counted.counters == Counters(requests=1, unmeasured=1, unlogged=1)


def test_what_cloudtrail_counted_is_provisional_under_its_own_routing_tier_and_profile() -> None:
    kinds = {TokenKind.INPUT: PricedKind(10, Decimal("0.5")), TokenKind.OUTPUT: PricedKind(2, None)}
    half = observed(kinds=kinds, routing=Routing.GLOBAL, tier=Tier.FLEX, inference_profile=PROFILE)

    counted = contribution(invocation(observed=half))

    assert counted == Usage(
        USAGE_KEY._replace(routing=Routing.GLOBAL, tier=Tier.FLEX, inference_profile=PROFILE),
        Counters(
            requests=1,
            observed_only=1,
            provisional=1,
            unlogged=1,
            units={TokenKind.INPUT: 10, TokenKind.OUTPUT: 2},
            estimated={TokenKind.INPUT: Decimal("0.5")},
            unpriced={TokenKind.OUTPUT: 2},
        ),
    )


def test_session_tags_arriving_later_move_a_request_to_another_counter() -> None:
    before = invocation(metered=metered(), observed=observed())
    after = replace(before, observed=with_session_tags(observed(), (("team", "search"),)))

    difference = changes([(before, after)])

    assert difference[USAGE_KEY].requests == -1
    assert difference[USAGE_KEY._replace(session_tags=(("team", "search"),))].requests == 1


FUNCTION = "arn:aws:lambda:us-east-1:111122223333:function:f"


@pytest.mark.parametrize(
    ("seen", "key"),
    [
        ({"source_identity": "ada"}, {"source_identity": "ada"}),
        ({"project": "arn:p"}, {"project": "arn:p"}),
        ({"issued_to": FUNCTION}, {"lambda_function": FUNCTION}),
        ({"issued_to": "arn:aws:ec2:us-east-1:111122223333:instance/i-0abc"}, {}),
    ],
)
@pytest.mark.parametrize("kinds", [{}, {TokenKind.INPUT: PricedKind(10, Decimal("0.5"))}])
def test_what_only_cloudtrail_knows_of_the_caller_moves_a_request_when_it_arrives(
    seen: dict[str, str], key: dict[str, str], kinds: dict[TokenKind, PricedKind]
) -> None:
    alone = invocation(observed=observed(kinds=kinds, **seen))
    logged = invocation(metered=metered())
    joined = replace(logged, observed=alone.observed)
    caller = USAGE_KEY._replace(**key)  # type: ignore[arg-type]

    assert changes([(None, logged), (logged, joined)]) == changes([(None, alone), (alone, joined)])
    assert changes([(None, logged), (logged, joined)])[caller].units == {TokenKind.INPUT: 1000}


def test_guardrail_units_are_counted_with_their_request() -> None:
    counted = contribution(invocation(metered=metered(guardrail_units=(("topicPolicyUnits", 2),))))

    assert counted is not None
    assert counted.counters.guardrail_units == {"topicPolicyUnits": 2}
    assert (counted.counters + counted.counters.negated()).is_zero()


def test_the_principal_of_the_call_stands_in_where_the_log_names_none() -> None:
    counted = contribution(invocation(metered=metered(iam_principal=""), observed=observed()))

    assert counted is not None
    assert counted.key.iam_principal == ROLE


@pytest.mark.parametrize(("second", "day"), [(59, DAY), (60, DAY + timedelta(days=1))])
def test_a_request_belongs_to_the_utc_date_of_its_log_record(second: int, day: object) -> None:
    instant = datetime(2026, 11, 3, 23, 59, tzinfo=UTC) + timedelta(seconds=second)

    counted = contribution(invocation(metered=metered(timestamp=instant)))

    assert counted is not None
    assert counted.key.usage_date == day


@pytest.mark.parametrize(
    "changed",
    [
        {"usage_date": DAY + timedelta(days=1)},
        {"account_id": "444455556666"},
        {"region": "us-west-2"},
        {"model": "m"},
        {"routing": Routing.GLOBAL},
        {"tier": Tier.BATCH},
        {"iam_principal": ""},
        {"inference_profile": PROFILE},
        {"request_metadata": (("team", "search"),)},
        {"session_tags": (("team", "search"),)},
        {"source_identity": "ada"},
        {"project": "arn:aws:bedrock-mantle:us-east-1:111122223333:project/p"},
        {"lambda_function": "arn:aws:lambda:us-east-1:111122223333:function:f"},
    ],
)
def test_whatever_tells_two_invocations_apart_gives_them_two_counters(changed: dict[str, object]) -> None:
    other = USAGE_KEY._replace(**changed)  # type: ignore[arg-type]

    assert other.digest() != USAGE_KEY.digest()
    assert other.digest() == USAGE_KEY._replace(**changed).digest()  # type: ignore[arg-type]


def test_a_request_of_several_kinds_counts_with_the_first_of_which_there_are_units() -> None:
    counted = Usage(USAGE_KEY, Counters(requests=7, units={TokenKind.OUTPUT: 5, TokenKind.CACHE_READ: 1, TokenKind.INPUT: 0}))

    assert counted.first_kind() is TokenKind.OUTPUT


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"log_object": "s3://logs/other.json.gz"}, True),
        ({"price_source": "another list", "kinds": {TokenKind.INPUT: PricedKind(1000, None)}}, True),
        ({"flags": ("cache_write_ttl_unknown",)}, True),
        ({"kinds": {TokenKind.INPUT: PricedKind(1001, None)}}, False),
        ({"timestamp": NOON + timedelta(seconds=1)}, False),
        ({"iam_principal": ""}, False),
        ({"request_metadata": (("team", "x"),)}, False),
        ({"model_id": "m"}, False),
        ({"error_code": "ThrottlingException"}, False),
    ],
)
def test_two_log_records_say_the_same_if_they_agree_on_what_happened(change: dict[str, object], is_same: bool) -> None:
    assert (metered(**change).fingerprint() == metered().fingerprint()) is is_same
