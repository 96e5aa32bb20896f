"""Expressions beyond AWS's: what a rule may ask of the caller, the model, and what a call carried.

AWS's own are in `tests/unit/adapters/test_cost_category_conformance.py`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from attribution.allocation import allocate_day, estimate_day
from attribution.charges import Confidence, Evidence
from attribution.conditions import MatchOption
from attribution.cost_categories import CostCategory, InheritedValueRule, RegularRule
from attribution.day_directory import DayDirectory
from attribution.expressions import Dimension, Match, Source, Subject, session_name
from attribution.meters import TokenKind
from attribution.rules import Rules
from tests.unit.attribution.examples import PROFILE, ROLE, SONNET, origin_charge, usage

FUNCTION = "arn:aws:lambda:us-east-1:111122223333:function:f"
PROJECT = "arn:aws:bedrock-mantle:us-east-1:111122223333:project/p"
CARRIED = usage(
    {TokenKind.INPUT: 1000},
    inference_profile=PROFILE,
    request_metadata=(("feature", "chat"),),
    session_tags=(("team", "search"),),
    source_identity="ada",
    project=PROJECT,
    lambda_function=FUNCTION,
)
DIRECTORY = DayDirectory(organizational_units={"111122223333": "Root/Retail"})
KNOWN_BEFORE_THE_BILL = (
    (Source.DIMENSIONS, Dimension.LINKED_ACCOUNT, "111122223333"),
    (Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME, "search-prod"),
    (Source.DIMENSIONS, Dimension.RECORD_TYPE, "Usage"),
    (Source.DIMENSIONS, Dimension.REGION, "us-east-1"),
    (Source.DIMENSIONS, Dimension.FEATURE, "inference"),
    (Source.DIMENSIONS, Dimension.MODEL, SONNET),
    (Source.DIMENSIONS, Dimension.TOKEN_KIND, "input"),
    (Source.DIMENSIONS, Dimension.TIER, "standard"),
    (Source.DIMENSIONS, Dimension.ROUTING, "regional"),
    (Source.DIMENSIONS, Dimension.IAM_PRINCIPAL, ROLE),
    (Source.DIMENSIONS, Dimension.SESSION_NAME, "gateway"),
    (Source.DIMENSIONS, Dimension.SOURCE_IDENTITY, "ada"),
    (Source.DIMENSIONS, Dimension.INFERENCE_PROFILE, PROFILE),
    (Source.DIMENSIONS, Dimension.PROJECT, PROJECT),
    (Source.DIMENSIONS, Dimension.LAMBDA_FUNCTION, FUNCTION),
    (Source.DIMENSIONS, Dimension.ORGANIZATIONAL_UNIT, "Root/Retail"),
    (Source.REQUEST_METADATA, "feature", "chat"),
    (Source.SESSION_TAGS, "team", "search"),
)
KNOWN_FROM_THE_BILL = (
    (Source.DIMENSIONS, Dimension.SERVICE_CODE, "4a524th30q694o538qndh9ucht"),
    (Source.DIMENSIONS, Dimension.USAGE_TYPE, "USE1-MP:USE1_InputTokenCount-Units"),
    (Source.DIMENSIONS, Dimension.OPERATION, "InvokeModelInference"),
)


def ruled(source: Source, key: str, value: str) -> Rules:
    category = CostCategory("c", (RegularRule("found", Match(source, key, (value,))),))
    return Rules.of([category], account_names={"111122223333": "search-prod"})


@pytest.mark.parametrize(("source", "key", "value"), KNOWN_BEFORE_THE_BILL)
def test_a_rule_may_ask_what_is_known_of_a_call_in_the_estimate_and_in_the_bill(source: Source, key: str, value: str) -> None:
    (estimated,) = estimate_day([CARRIED], ruled(source, key, value), directory=DIRECTORY)
    (billed,) = allocate_day([origin_charge()], [CARRIED], ruled(source, key, value), directory=DIRECTORY)

    assert estimated.categories == billed.categories
    assert estimated.categories[0].evidence == Evidence("rule", "found", "Rules[0]")


@pytest.mark.parametrize(("source", "key", "value"), KNOWN_FROM_THE_BILL)
def test_a_rule_may_ask_what_only_the_bill_knows(source: Source, key: str, value: str) -> None:
    (estimated,) = estimate_day([CARRIED], ruled(source, key, value))
    (billed,) = allocate_day([origin_charge()], [CARRIED], ruled(source, key, value))

    assert (estimated.value_of("c"), billed.value_of("c")) == ("", "found")


def test_every_dimension_is_tried() -> None:
    assert {key for source, key, _ in (*KNOWN_BEFORE_THE_BILL, *KNOWN_FROM_THE_BILL) if source is Source.DIMENSIONS} == {
        *Dimension
    }


@pytest.mark.parametrize(
    ("source", "key", "kind", "value"),
    [
        (Source.DIMENSIONS, Dimension.SOURCE_IDENTITY, "source_identity", "ada"),
        (Source.DIMENSIONS, Dimension.SESSION_NAME, "session_name", "gateway"),
        (Source.DIMENSIONS, Dimension.LAMBDA_FUNCTION, "lambda_function", FUNCTION),
        (Source.REQUEST_METADATA, "feature", "request_metadata", "chat"),
        (Source.SESSION_TAGS, "team", "session_tag", "search"),
    ],
)
def test_a_value_may_be_inherited_from_what_a_call_carried(source: Source, key: str, kind: str, value: str) -> None:
    other = replace(CARRIED, key=CARRIED.key._replace(source_identity="bo", request_metadata=(), session_tags=()))
    rules = Rules.of([CostCategory("c", (InheritedValueRule(source, key),))])

    found = allocate_day([origin_charge(units=Decimal(2000))], [CARRIED, other], rules)

    (share,) = (a.categories[0] for a in found if a.value_of("c") == value)
    assert (share.evidence, share.confidence) == (Evidence(kind, value, key), Confidence.SPLIT_BY_USAGE)


@pytest.mark.parametrize("source", [Source.REQUEST_METADATA, Source.SESSION_TAGS])
def test_a_call_that_carried_nothing_may_be_asked_for(source: Source) -> None:
    nothing = Match(source, "", option=MatchOption.ABSENT)

    assert nothing.holds(Subject("111122223333"))
    assert not nothing.holds(Subject("111122223333", request_metadata=(("a", "b"),), session_tags=(("a", "b"),)))


@pytest.mark.parametrize(
    ("principal", "name"),
    [
        ("arn:aws:sts::111122223333:assumed-role/R/ada@example.com", "ada@example.com"),
        ("arn:aws:sts::111122223333:assumed-role/R/a/b:c", "a/b:c"),
        ("arn:aws:sts::111122223333:assumed-role/R", ""),
        ("arn:aws:sts::111122223333:federated-user/x/y", "x/y"),
        ("arn:aws-cn:sts::111122223333:assumed-role/R/s", "s"),
        ("arn:aws:iam::111122223333:role/path/R", ""),
        ("", ""),
    ],
)
def test_the_session_s_name_is_all_that_follows_the_role(principal: str, name: str) -> None:
    assert session_name(principal) == name
