"""Laws of allocation under any rules: nothing is lost or made, nothing depends on an order, equal rules say equal things."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import Allocation, allocate_day, estimate_day
from attribution.charges import AllocatedCharge, OriginCharge, sum_costs
from attribution.conditions import And, MatchOption, Not, Or
from attribution.cost_categories import CostCategory, InheritedValueRule, RegularRule
from attribution.expressions import Dimension, Expression, Match, Source, Subject
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.money import total
from attribution.rules import Rules
from attribution.shared_charges import SharedChargeRule
from attribution.usage import Usage
from tests.unit.attribution.examples import BY_TEAM, PROFILE, ROLE, SONNET, TEAM, origin_charge
from tests.unit.attribution.rule_sets import rule_sets
from tests.unit.attribution.strategies import OTHER_ROLE, charge_lists, metadata, owners, usage_lists


def same(left: list[AllocatedCharge], right: list[AllocatedCharge]) -> bool:
    """Whether two days are the same, charge by charge, in the same order, in everything they say."""
    return left == right and [repr(a) for a in left] == [repr(a) for a in right]


@given(charge_lists, usage_lists, rule_sets())
def test_every_charge_is_conserved_in_every_metric_and_in_units_under_any_rules(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    allocated = allocate_day(charges, used, rules)

    for charge in charges:
        shares = [a for a in allocated if a.origin == charge.digest()]
        assert sum_costs(s.costs for s in shares) == charge.costs
        assert {s.currency for s in shares} == {charge.currency}
        if charge.units is not None:
            assert total(s.units for s in shares if s.units is not None) == charge.units


@given(usage_lists, rule_sets())
def test_an_estimate_is_conserved_under_any_rules(used: list[Usage], rules: Rules) -> None:
    plain, ruled = estimate_day(used, Rules()), estimate_day(used, rules)

    assert sum_costs(e.costs for e in ruled) == sum_costs(e.costs for e in plain)
    assert sum(e.requests for e in ruled) == sum(e.requests for e in plain)
    assert total(e.units for e in ruled if e.units) == total(e.units for e in plain if e.units)


@given(charge_lists, usage_lists, rule_sets(), st.randoms(use_true_random=False))
def test_a_day_is_the_same_under_any_rules_in_whatever_order_its_inputs_come(
    charges: list[OriginCharge], used: list[Usage], rules: Rules, random: object
) -> None:
    expected = allocate_day(charges, used, rules)

    random.shuffle(charges)  # type: ignore[attr-defined]
    random.shuffle(used)  # type: ignore[attr-defined]

    assert same(allocate_day(charges, used, rules), expected)


@given(charge_lists, usage_lists, rule_sets())
def test_no_two_charges_of_a_day_share_a_name_under_any_rules(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    names = [a.digest() for a in allocate_day(charges, used, rules)]

    assert len(set(names)) == len(names)


@given(charge_lists, usage_lists, rule_sets())
def test_a_value_that_is_split_keeps_nothing_and_every_share_says_how_much_of_what_it_is(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    allocated = allocate_day(charges, used, rules)

    for category in rules.categories:
        sources = {rule.source for rule in category.split_charge_rules}
        for value in (v for a in allocated for v in a.categories if v.category == category.name):
            assert value.value not in sources - {""}
            assert value.value or value.rule or "" not in sources
            assert value.split is None or 0 < value.split.weight <= value.split.total


@given(charge_lists, usage_lists, rule_sets())
def test_what_has_no_owner_has_a_reason_and_what_has_one_has_evidence_or_a_share(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    for value in (v for a in allocate_day(charges, used, rules) for v in a.categories):
        assert value.value or (value.reason and value.confidence == "none" and not value.evidence)
        assert not value.value or ((value.evidence or value.split) and value.confidence != "none")


subjects = st.builds(
    Subject,
    linked_account=st.sampled_from(["111122223333", "444455556666"]),
    linked_account_name=st.sampled_from(["", "search-prod"]),
    record_type=st.sampled_from(["Usage", "Tax"]),
    model=st.sampled_from([SONNET, "m"]),
    token_kind=st.sampled_from(["input", "output"]),
    iam_principal=st.sampled_from([ROLE, ""]),
    tags=st.dictionaries(st.sampled_from(["Team", "iamPrincipal/team"]), owners, max_size=2),
    request_metadata=metadata,
    session_tags=metadata,
    categories=st.builds(dict),
)


@given(st.lists(subjects, min_size=2, max_size=8), st.booleans(), rule_sets())
def test_what_was_decided_for_others_changes_no_decision(asking: list[Subject], is_shared: bool, rules: Rules) -> None:
    by_name = CostCategory(
        "name", (RegularRule("x", Match(Source.DIMENSIONS, "LINKED_ACCOUNT", ("s",), MatchOption.CONTAINS)),)
    )
    rules = replace(rules, categories=(*rules.categories, by_name))

    together = [rules.decide(replace(subject, categories={}), "r", is_shared=is_shared) for subject in asking]

    alone = [replace(rules).decide(replace(subject, categories={}), "r", is_shared=is_shared) for subject in asking]
    assert together == alone


@given(charge_lists, usage_lists, rule_sets())
def test_what_was_decided_for_one_charge_changes_no_decision_for_another(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    together = Allocation(charges, used, rules)

    for charge in charges:
        assert together.allocate(charge) == Allocation(charges, used, replace(rules)).allocate(charge)


@pytest.mark.parametrize(
    ("dimension", "changed"),
    [
        (Dimension.LINKED_ACCOUNT, {"account_id": "444455556666"}),
        (Dimension.SERVICE_CODE, {"product_code": "AmazonBedrockService"}),
        (Dimension.RECORD_TYPE, {"line_item_type": "Tax"}),
        (Dimension.REGION, {"region": "eu-west-1"}),
        (Dimension.USAGE_TYPE, {"usage_type": "USE1-other-input-tokens"}),
        (Dimension.OPERATION, {"operation": "ConverseInference"}),
        (Dimension.FEATURE, {"feature": "flows"}),
        (Dimension.FEATURE, {"meter": Meter(SONNET, TokenKind.INPUT_TPM_HOUR)}),
        (Dimension.MODEL, {"meter": Meter("amazon.nova-pro", TokenKind.INPUT)}),
        (Dimension.TOKEN_KIND, {"meter": Meter(SONNET, TokenKind.OUTPUT)}),
        (Dimension.TIER, {"meter": Meter(SONNET, TokenKind.INPUT, Tier.FLEX)}),
        (Dimension.ROUTING, {"meter": Meter(SONNET, TokenKind.INPUT, routing=Routing.GLOBAL)}),
        (Dimension.IAM_PRINCIPAL, {"iam_principal": OTHER_ROLE}),
        (Dimension.SESSION_NAME, {"iam_principal": "arn:aws:sts::111122223333:assumed-role/app/night"}),
        (Dimension.INFERENCE_PROFILE, {"resource_id": PROFILE}),
    ],
)
def test_two_charges_of_a_day_that_differ_in_what_a_rule_looks_at_have_each_its_value(
    dimension: Dimension, changed: dict[str, Any]
) -> None:
    rules = Rules.of([CostCategory("c", (InheritedValueRule(Source.DIMENSIONS, dimension),))])

    allocated = allocate_day([origin_charge(), origin_charge(**changed)], [], rules)

    assert len({share.value_of("c") for share in allocated}) == 2


ACCOUNT, NAMES = "111122223333", {"111122223333": "search-prod"}


@pytest.mark.parametrize(
    "rules",
    [
        Rules.of([CostCategory("c", (InheritedValueRule(Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME),))]),
        Rules.of([CostCategory("c", (RegularRule("x", Match(Source.DIMENSIONS, Dimension.LINKED_ACCOUNT, ("search",))),))]),
        Rules.of([], [SharedChargeRule("s", Match(Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME, ("a",)), None)]),
    ],
)
def test_names_of_accounts_are_part_of_rules_that_ask_for_them(rules: Rules) -> None:
    named = Rules.of(rules.categories, rules.shared_charges, account_names=NAMES)

    assert named.account_name(ACCOUNT) == "search-prod"
    assert named.fingerprint() != rules.fingerprint()


def test_names_of_accounts_that_no_rule_asks_for_change_nothing() -> None:
    assert Rules.of([TEAM], account_names=NAMES) == BY_TEAM


def put_otherwise(expression: Expression) -> Expression:
    """The same said in other words: De Morgan's law, operands and values in another order, a leaf twice."""
    if isinstance(expression, Match):
        return And((replace(expression, values=expression.values[::-1]), expression))
    if isinstance(expression, Not):
        return Not(put_otherwise(expression.operand))
    negated = tuple(Not(put_otherwise(operand)) for operand in expression.operands[::-1])
    return Not(Or(negated)) if isinstance(expression, And) else Not(And(negated))


@given(charge_lists, usage_lists, rule_sets())
def test_rules_that_say_the_same_in_other_words_make_the_same_day(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    """Two sets of rules agree if the same rule, by its place, decides every share, and says the same of it."""
    said = replace(
        rules,
        categories=tuple(
            replace(
                category,
                rules=tuple(
                    replace(rule, expression=put_otherwise(rule.expression)) if isinstance(rule, RegularRule) else rule
                    for rule in category.rules
                ),
                split_charge_rules=category.split_charge_rules[::-1],
            )
            for category in rules.categories
        ),
        shared_charges=tuple(replace(rule, charges=put_otherwise(rule.charges)) for rule in rules.shared_charges),
    )

    assert same(allocate_day(charges, used, said), allocate_day(charges, used, rules))
