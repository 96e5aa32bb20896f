"""Cost categories: the strongest evidence wins whatever else is found, and what it beat is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.charges import Confidence, Evidence
from attribution.conditions import MatchOption
from attribution.cost_categories import (
    ACCOUNT_RULE,
    ACCOUNT_TAG,
    DEFAULT,
    EVIDENCE_ORDER,
    NO_EVIDENCE,
    NOT_IN_FORCE,
    PRINCIPAL_TAG,
    REQUEST_METADATA,
    RESOURCE_TAG,
    SESSION_NAME_RULE,
    SESSION_TAG,
    CostCategory,
    EvidenceRule,
    InheritedValueRule,
    RegularRule,
    aws_tags,
    by_evidence,
    in_force,
    in_order_of_reference,
)
from attribution.errors import PolicyInvalid
from attribution.expressions import Dimension, Match, Source, Subject
from tests.unit.attribution.examples import ROLE, TEAM
from tests.unit.attribution.strategies import owners

ACCOUNT = "111122223333"
Statement = tuple[str, str, str]
_TAGS = {RESOURCE_TAG: "", PRINCIPAL_TAG: "iamPrincipal/", ACCOUNT_TAG: "accountTag/"}


def carrying(evidence: Iterable[Statement], account: str = ACCOUNT, principal: str = "") -> Subject:
    """A subject with these statements: kind, key, value."""
    found = list(evidence)
    return Subject(
        linked_account=account,
        iam_principal=principal,
        tags={f"{_TAGS[kind]}{key}": value for kind, key, value in found if kind in _TAGS},
        request_metadata=tuple((key, value) for kind, key, value in found if kind == REQUEST_METADATA),
        session_tags=tuple((key, value) for kind, key, value in found if kind == SESSION_TAG),
    )


statements = st.tuples(
    st.sampled_from([REQUEST_METADATA, SESSION_TAG, *_TAGS]), st.sampled_from(["team", "TEAM", "cost"]), owners
)
of_one_call = st.lists(statements, max_size=6, unique_by=lambda s: s[:2])


@given(of_one_call, statements)
def test_weaker_evidence_changes_nothing_but_the_recorded_disagreement(evidence: list[Statement], more: Statement) -> None:
    before = TEAM.categorize(carrying(evidence))
    rank = EVIDENCE_ORDER.index
    if before.evidence is None or rank(more[0]) <= rank(before.evidence.kind) or more[:2] in [e[:2] for e in evidence]:
        return

    after = TEAM.categorize(carrying([*evidence, more]))

    assert replace(after, disagreed=()) == replace(before, disagreed=())
    said = {(e.kind, e.value) for e in after.disagreed} - {(e.kind, e.value) for e in before.disagreed}
    assert said <= {(more[0], more[2])}
    assert {(e.kind, e.value) for e in after.disagreed} >= {(e.kind, e.value) for e in before.disagreed}


@given(of_one_call, st.randoms(use_true_random=False))
def test_the_order_in_which_evidence_is_found_does_not_matter(evidence: list[Statement], random: object) -> None:
    expected = TEAM.categorize(carrying(evidence))

    random.shuffle(evidence)  # type: ignore[attr-defined]

    assert TEAM.categorize(carrying(evidence)) == expected


@pytest.mark.parametrize("place", range(len(EVIDENCE_ORDER)))
def test_each_kind_of_evidence_beats_every_weaker_one(place: int) -> None:
    kinds = EVIDENCE_ORDER[place:]
    accounts = ((ACCOUNT, f"by {ACCOUNT_RULE}"),) if ACCOUNT_RULE in kinds else ()
    sessions = (("*", f"by {SESSION_NAME_RULE}"),) if SESSION_NAME_RULE in kinds else ()
    carried = [(kind, "team", f"by {kind}") for kind in reversed(kinds) if kind not in (ACCOUNT_RULE, SESSION_NAME_RULE)]

    found = by_evidence("team", ("team",), accounts, session_names=sessions).categorize(carrying(carried, principal=ROLE))

    assert (found.evidence.kind, found.value) == (kinds[0], f"by {kinds[0]}") if found.evidence else False
    assert [(e.kind, e.value) for e in found.disagreed] == [(kind, f"by {kind}") for kind in kinds[1:]]


def test_the_order_of_evidence_is_configuration_and_what_it_leaves_out_does_not_count() -> None:
    category = by_evidence("team", ("team",), order=(PRINCIPAL_TAG, RESOURCE_TAG))
    evidence = [(REQUEST_METADATA, "team", "a"), (RESOURCE_TAG, "team", "b"), (PRINCIPAL_TAG, "team", "c")]

    found = category.categorize(carrying(evidence))

    assert (found.value, found.disagreed) == ("c", (Evidence(RESOURCE_TAG, "b", "team"),))


def test_a_key_matches_in_any_letter_case_and_the_value_keeps_its_own() -> None:
    found = by_evidence("team", ("TEAM",)).categorize(carrying([(RESOURCE_TAG, "Team", "Search")]))

    assert found.evidence == Evidence(RESOURCE_TAG, "Search", "Team")


def test_evidence_that_agrees_with_the_winner_is_not_a_disagreement() -> None:
    found = TEAM.categorize(carrying([(RESOURCE_TAG, "Team", "search"), (SESSION_TAG, "team", "search")]))

    assert (found.evidence, found.disagreed) == (Evidence(SESSION_TAG, "search", "team"), ())


def test_an_empty_value_is_no_evidence() -> None:
    found = by_evidence("team", ("team",), ((ACCOUNT, ""),)).categorize(carrying([(SESSION_TAG, "team", "")]))

    assert (found.value, found.evidence, found.reason, found.confidence) == ("", None, NO_EVIDENCE, Confidence.NONE)


def test_among_evidence_of_one_kind_the_earlier_key_of_the_category_wins() -> None:
    category = by_evidence("team", ("team", "CostCenter"))

    found = category.categorize(carrying([(SESSION_TAG, "costcenter", "a-100"), (SESSION_TAG, "Team", "search")]))

    assert (found.value, found.disagreed) == ("search", (Evidence(SESSION_TAG, "a-100", "costcenter"),))


@pytest.mark.parametrize("source", ["userAttribute", "costCategory"])
def test_tags_that_are_not_of_an_owner_are_no_evidence(source: str) -> None:
    tags = aws_tags(((f"{source}/team", "x"),))

    assert TEAM.categorize(Subject(ACCOUNT, tags=tags)).value == ""


def test_a_bill_s_tags_have_the_names_by_which_aws_asks_for_them() -> None:
    tags = (("accountTag/team", "a"), ("iamPrincipal/team", "b"), ("resourceTags/Team", "c"), ("resourceTags/user:cost", "d"))

    assert aws_tags(tags) == {"accountTag/team": "a", "iamPrincipal/team": "b", "Team": "c", "cost": "d"}


@pytest.mark.parametrize(
    ("principal", "owner"),
    [
        ("arn:aws:sts::111122223333:assumed-role/Sso/ada@search.example.com", "search"),
        ("arn:aws:sts::111122223333:assumed-role/Sso/ADA@Search.Example.com", "search"),
        ("arn:aws:sts::111122223333:federated-user/ci-17", "platform"),
        ("arn:aws-us-gov:sts::111122223333:assumed-role/Ci/ci-17/retry", "platform"),
        ("arn:aws:sts::111122223333:assumed-role/Ci/nightly", ""),
        ("arn:aws:iam::111122223333:user/ci-17", ""),
        ("arn:aws:iam::111122223333:root", ""),
        ("", ""),
    ],
)
def test_a_session_s_name_finds_its_owner_by_pattern(principal: str, owner: str) -> None:
    patterns = (("*@search.example.com", "search"), ("ci-*", "platform"), ("*17", "nobody"))
    category = by_evidence("team", ("team",), session_names=patterns)

    found = category.categorize(carrying([], principal=principal))

    assert (found.value, found.confidence) == (owner, Confidence.RULE if owner else Confidence.NONE)


def test_a_pattern_has_no_other_sign_than_the_star() -> None:
    category = by_evidence("team", ("team",), session_names=(("a.c[1]+", "search"),))
    session = "arn:aws:sts::111122223333:assumed-role/R/"

    assert category.categorize(carrying([], principal=f"{session}a.c[1]+")).value == "search"
    assert category.categorize(carrying([], principal=f"{session}abc1")).value == ""


def test_evidence_of_the_calls_behind_a_shared_charge_is_of_a_share_and_the_bill_s_of_the_whole() -> None:
    of_call = TEAM.categorize(carrying([(REQUEST_METADATA, "team", "search")]), is_shared=True)
    of_bill = TEAM.categorize(carrying([(RESOURCE_TAG, "team", "search")]), is_shared=True)

    assert (of_call.confidence, of_bill.confidence) == (Confidence.SPLIT_BY_USAGE, Confidence.EXACT)


def test_a_default_is_the_weakest_confidence_and_says_so() -> None:
    found = replace(TEAM, default_value="central").categorize(carrying([]))

    assert (found.value, found.evidence, found.confidence) == ("central", Evidence(DEFAULT, "central"), Confidence.DEFAULT)


def test_of_several_definitions_the_one_in_effect_last_is_in_force_and_before_the_first_there_is_none() -> None:
    old = replace(by_evidence("team", ("squad",)), effective_start=date(2026, 9, 1))
    new = replace(by_evidence("team", ("team",)), effective_start=date(2026, 11, 1))

    for first, second in ((old, new), (new, old)):
        assert in_force([first, second], date(2026, 10, 31)) == [old]
        assert in_force([first, second], date(2026, 11, 1)) == [new]
        assert in_force([first, second], date(2026, 8, 31)) == [CostCategory("team", ())]


def test_a_category_that_is_not_in_force_leaves_charges_unallocated_and_says_why() -> None:
    ended = replace(TEAM, default_value="x", effective_end=date(2026, 11, 1))

    (found,) = in_force([ended], date(2026, 11, 1))

    assert found.categorize(carrying([(SESSION_TAG, "team", "search")])).reason == NOT_IN_FORCE
    assert in_force([ended], date(2026, 10, 31)) == [ended]


def asking(name: str, *others: str) -> CostCategory:
    return CostCategory(name, tuple(RegularRule("x", Match(Source.COST_CATEGORIES, other, ("x",))) for other in others))


def test_a_category_comes_after_those_it_asks_for() -> None:
    ordered = in_order_of_reference([asking("a", "b"), asking("b", "c"), asking("c"), asking("d")])

    names = [category.name for category in ordered]
    assert names.index("c") < names.index("b") < names.index("a")
    assert sorted(names) == ["a", "b", "c", "d"]


def test_categories_that_ask_for_each_other_in_a_circle_are_an_error() -> None:
    with pytest.raises(PolicyInvalid, match="cost category 'a' asks for itself"):
        in_order_of_reference([asking("a", "b"), asking("b", "a"), asking("c")])


def test_a_category_that_nobody_defined_is_an_error() -> None:
    with pytest.raises(PolicyInvalid, match="'a' asks for the cost category 'Team'"):
        in_order_of_reference([asking("a", "Team")])


def test_a_category_that_asks_whether_there_is_none_at_all_comes_last() -> None:
    nothing = Match(Source.COST_CATEGORIES, "", option=MatchOption.ABSENT)

    ordered = in_order_of_reference([CostCategory("rest", (RegularRule("nobody", nothing),)), asking("a"), asking("b")])

    assert ordered[-1].name == "rest"


REGULAR = RegularRule("x", Match(Source.DIMENSIONS, Dimension.SESSION_NAME, ("gateway",)))
OF_BILL = RegularRule("x", Match(Source.DIMENSIONS, Dimension.USAGE_TYPE, ("y",)))


@pytest.mark.parametrize(
    ("rules", "is_decided"),
    [
        ((EvidenceRule(("team",)),), True),
        ((EvidenceRule(("team",), order=(RESOURCE_TAG, REQUEST_METADATA)),), False),
        ((EvidenceRule(("squad",)),), False),
        ((EvidenceRule(("squad",), order=(REQUEST_METADATA,)),), True),
        ((REGULAR, OF_BILL), True),
        ((OF_BILL, REGULAR), False),
        ((InheritedValueRule(Source.REQUEST_METADATA, "team"), OF_BILL), True),
        ((InheritedValueRule(Source.TAGS, "team"), REGULAR), False),
        ((RegularRule("x", Match(Source.COST_CATEGORIES, "team", ("search",))),), False),
    ],
)
def test_a_call_alone_decides_where_nothing_of_the_bill_comes_first(rules: tuple[EvidenceRule, ...], is_decided: bool) -> None:
    call = carrying([(REQUEST_METADATA, "team", "search")], principal=ROLE)

    assert CostCategory("team", rules).is_decided_without_bill(call) is is_decided
