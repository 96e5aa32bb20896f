"""Shared charges: what nobody owns goes where a rule says, in shares that say by what weight."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from attribution.allocation import SPREAD, allocate_day
from attribution.charges import AllocatedCharge, Confidence, Costs, OriginCharge, SplitMethod, SplitShare
from attribution.conditions import MatchOption
from attribution.cost_categories import CostCategory, SplitChargeRule, by_evidence
from attribution.expressions import Dimension, Expression, Match, Source
from attribution.meters import Meter, TokenKind
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import OWNERLESS, SharedChargeRule, Within
from tests.unit.attribution.examples import TEAM, origin_charge, usage

OTHER_ACCOUNT = "444455556666"


def of_type(*types: str) -> Expression:
    return Match(Source.DIMENSIONS, Dimension.RECORD_TYPE, types)


TAX = of_type("Tax")


def used_by(team: str, cost: str, **changes: Any) -> OriginCharge:
    amounts = Costs.uniform(Decimal(cost))
    return origin_charge(units=None, tags=(("resourceTags/team", team),), costs=amounts, **changes)


def tax(cost: str, **changes: Any) -> OriginCharge:
    return origin_charge(line_item_type="Tax", usage_type="", units=None, costs=Costs.uniform(Decimal(cost)), **changes)


def day(
    *charges: OriginCharge, rule: SharedChargeRule, categories: tuple[CostCategory, ...] = (TEAM,)
) -> list[AllocatedCharge]:
    return allocate_day(charges, [], Rules.of(categories, [rule]))


def shares(allocated: list[AllocatedCharge], line_item_type: str = "Tax") -> dict[str, Decimal]:
    return {a.value_of("team"): a.costs.billed_cost for a in allocated if a.line_item_type == line_item_type}


USE = (used_by("search", "60"), used_by("growth", "40"))


@pytest.mark.parametrize(
    "line_item_type",
    [
        "Tax",
        "Credit",
        "Refund",
        "Fee",
        "RIFee",
        "EdpDiscount",
        "BundledDiscount",
        "SavingsPlanRecurringFee",
        "FlatRateSubscription",
    ],
)
def test_every_type_of_charge_that_nobody_causes_follows_use_where_a_rule_says_so(line_item_type: str) -> None:
    charge = tax("-10") if line_item_type in ("Credit", "Refund") else tax("10")
    shared = origin_charge(line_item_type=line_item_type, units=None, costs=charge.costs)

    found = shares(
        day(*USE, shared, rule=SharedChargeRule("r", of_type(line_item_type), SplitMethod.PROPORTIONAL)), line_item_type
    )

    sign = -1 if charge.costs.billed_cost < 0 else 1
    assert found == {"search": Decimal(6) * sign, "growth": Decimal(4) * sign}


@pytest.mark.parametrize("feature", ["knowledge bases", "agentcore", "customization", "guardrails", "provisioned throughput"])
def test_every_feature_that_no_logged_call_stands_behind_may_have_a_rule(feature: str) -> None:
    charge = origin_charge(feature=feature, usage_type="x", meter=Meter("", TokenKind.OTHER), units=None, costs=tax("10").costs)
    rule = SharedChargeRule("r", Match(Source.DIMENSIONS, Dimension.FEATURE, (feature,)), SplitMethod.PROPORTIONAL)

    allocated = allocate_day([*USE, charge], [], Rules.of([TEAM], [rule]))

    shared = {a.value_of("team"): a.costs.billed_cost for a in allocated if a.feature == feature}
    assert shared == {"search": Decimal(6), "growth": Decimal(4)}


def test_a_share_says_by_which_rule_and_what_weight_it_came_and_what_the_charge_was() -> None:
    allocated = day(*USE, tax("10"), rule=SharedChargeRule("tax follows use", TAX, SplitMethod.PROPORTIONAL))

    (value,) = (a.categories[0] for a in allocated if a.line_item_type == "Tax" and a.value_of("team") == "search")
    assert (value.rule, value.confidence, value.evidence) == ("tax follows use", Confidence.RULE, None)
    assert value.split == SplitShare("", SplitMethod.PROPORTIONAL, Decimal(60), Decimal(100))
    assert value.reason == "Tax: shared by a rule"


def test_a_charge_with_an_owner_of_its_own_is_not_shared() -> None:
    tagged = tax("10", tags=(("resourceTags/team", "finance"),))

    assert shares(day(*USE, tagged, rule=SharedChargeRule("r", TAX, SplitMethod.EVEN))) == {"finance": Decimal(10)}


def test_even_gives_every_owner_of_usage_the_same() -> None:
    assert shares(day(*USE, tax("10"), rule=SharedChargeRule("r", TAX, SplitMethod.EVEN))) == {
        "search": Decimal(5),
        "growth": Decimal(5),
    }


def test_fixed_follows_its_percentages_whoever_used_anything() -> None:
    rule = SharedChargeRule("r", TAX, SplitMethod.FIXED, ("growth", "finance"), (Decimal("12.5"), Decimal("87.5")))

    assert shares(day(*USE, tax("10"), rule=rule)) == {"growth": Decimal("1.25"), "finance": Decimal("8.75")}


def test_one_target_alone_is_a_central_owner() -> None:
    rule = SharedChargeRule("r", TAX, SplitMethod.EVEN, ("platform",))

    assert shares(day(*USE, tax("10"), rule=rule)) == {"platform": Decimal(10)}


def test_what_a_rule_leaves_unallocated_says_so_and_no_later_rule_takes_it() -> None:
    kept = SharedChargeRule("wait for finance", TAX, None)
    later = SharedChargeRule("r", TAX, SplitMethod.EVEN)

    allocated = allocate_day([*USE, tax("10")], [], Rules.of([TEAM], [kept, later]))

    (value,) = (a.categories[0] for a in allocated if a.line_item_type == "Tax")
    assert (value.value, value.reason) == ("", "wait for finance: left unallocated by rule")


def test_the_first_rule_that_is_for_a_charge_decides() -> None:
    first = SharedChargeRule("first", TAX, SplitMethod.EVEN, ("a",))
    second = SharedChargeRule("second", TAX, SplitMethod.EVEN, ("b",))

    assert shares(allocate_day([tax("10")], [], Rules.of([TEAM], [first, second]))) == {"a": Decimal(10)}


def test_tax_of_an_account_is_shared_by_its_own_owners_unless_the_rule_says_organization() -> None:
    elsewhere = used_by("billing", "100", account_id=OTHER_ACCOUNT)

    within = shares(day(*USE, elsewhere, tax("10"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL)))
    everywhere = SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL, within=Within.ORGANIZATION)

    assert within == {"search": Decimal(6), "growth": Decimal(4)}
    assert shares(day(*USE, elsewhere, tax("10"), rule=everywhere)) == {
        "search": Decimal(3),
        "growth": Decimal(2),
        "billing": Decimal(5),
    }


def test_a_discount_follows_the_usage_type_that_it_names() -> None:
    rule = SharedChargeRule(
        "discounts",
        Match(Source.DIMENSIONS, Dimension.RECORD_TYPE, ("Discount",), MatchOption.ENDS_WITH),
        SplitMethod.PROPORTIONAL,
        within=Within.USAGE_TYPE,
    )
    discount = origin_charge(
        line_item_type="EdpDiscount", usage_type="USE1-NovaPro-input-tokens", units=None, costs=Costs.uniform(Decimal(-2))
    )
    discounted = used_by("billing", "20", usage_type="USE1-NovaPro-input-tokens")

    assert shares(day(*USE, discounted, discount, rule=rule), "EdpDiscount") == {"billing": Decimal(-2)}


@pytest.mark.parametrize("method", [SplitMethod.PROPORTIONAL, SplitMethod.EVEN])
def test_where_nobody_used_anything_a_shared_charge_stays_unallocated_and_says_so(method: SplitMethod) -> None:
    free = used_by("search", "0")

    (value,) = (
        a.categories[0] for a in day(free, tax("10"), rule=SharedChargeRule("r", TAX, method)) if a.line_item_type == "Tax"
    )

    assert (value.value, value.reason) == ("", "r: nobody used anything within the account that day")


def test_usage_without_an_owner_has_its_share_which_has_no_owner_either() -> None:
    nobodys = origin_charge(units=None, usage_type="x", costs=Costs.uniform(Decimal(100)))

    found = day(*USE, nobodys, tax("10"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL))

    assert shares(found) == {"search": Decimal(3), "growth": Decimal(2), "": Decimal(5)}
    (left,) = (a.categories[0] for a in found if a.line_item_type == "Tax" and not a.value_of("team"))
    assert (left.reason, left.confidence) == (f"r: {OWNERLESS}", Confidence.NONE)


def test_what_shared_charges_leave_without_an_owner_is_split_like_all_that_has_none() -> None:
    nobodys = origin_charge(units=None, usage_type="x", costs=Costs.uniform(Decimal(100)))
    splitting = replace(TEAM, split_charge_rules=(SplitChargeRule("", ("platform",), SplitMethod.EVEN),))
    rule = SharedChargeRule("r", TAX, SplitMethod.EVEN)

    found = day(nobodys, tax("10"), rule=rule, categories=(splitting,))

    assert shares(found) == {"platform": Decimal(10)}


def test_a_value_that_hands_its_cost_on_gets_no_share() -> None:
    splitting = replace(TEAM, split_charge_rules=(SplitChargeRule("growth", ("search",), SplitMethod.EVEN),))

    found = day(*USE, tax("10"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL), categories=(splitting,))

    assert shares(found) == {"search": Decimal(10)}
    assert {a.value_of("team") for a in found} == {"search"}


def test_only_usage_is_weight() -> None:
    fee = used_by("finance", "900", line_item_type="Fee")

    assert shares(day(*USE, fee, tax("10"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL))) == {
        "search": Decimal(6),
        "growth": Decimal(4),
    }


def test_currencies_are_shared_apart() -> None:
    euros = used_by("billing", "7", currency="EUR")

    found = day(*USE, euros, tax("10"), tax("1", currency="EUR"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL))

    taxed = {(a.currency, a.value_of("team")) for a in found if a.line_item_type == "Tax"}
    assert taxed == {("USD", "search"), ("USD", "growth"), ("EUR", "billing")}


def test_each_cost_category_has_its_own_owners_and_may_have_its_own_rule() -> None:
    tenant = by_evidence("tenant", ("tenant",))
    rule = SharedChargeRule("r", TAX, SplitMethod.EVEN, ("platform",), categories=("team",))

    allocated = day(*USE, tax("10"), rule=rule, categories=(TEAM, tenant))

    (share,) = (a for a in allocated if a.line_item_type == "Tax")
    assert (share.value_of("team"), share.value_of("tenant")) == ("platform", "")


def test_two_cost_categories_share_one_charge_independently() -> None:
    tenant = by_evidence("tenant", ("tenant",))
    both = origin_charge(units=None, tags=(("resourceTags/team", "search"), ("resourceTags/tenant", "acme")))
    other = origin_charge(
        units=None, usage_type="other", tags=(("resourceTags/team", "growth"), ("resourceTags/tenant", "globex"))
    )

    allocated = day(both, other, tax("8"), rule=SharedChargeRule("r", TAX, SplitMethod.PROPORTIONAL), categories=(TEAM, tenant))

    taxed = {(a.value_of("team"), a.value_of("tenant")): a.costs.billed_cost for a in allocated if a.line_item_type == "Tax"}
    assert taxed == {(team, name): Decimal(2) for team in ("search", "growth") for name in ("acme", "globex")}


def test_requests_and_units_of_a_split_charge_are_handed_out_whole() -> None:
    rule = SharedChargeRule("r", of_type("Usage"), SplitMethod.EVEN, ("a", "b", "c"))
    logged = usage({TokenKind.INPUT: 1000}, requests=7)

    allocated = allocate_day([origin_charge()], [logged], Rules.of([TEAM], [rule]))

    assert sorted(a.requests for a in allocated) == [2, 2, 3]
    assert sum(a.units or 0 for a in allocated) == 1000


def test_usage_that_was_not_logged_is_spread_over_those_who_were_where_the_policy_says_so() -> None:
    rules = Rules.of([TEAM], incomplete_logging=IncompleteLogging.SPREAD)
    logged = [
        usage({TokenKind.INPUT: count}, request_metadata=(("team", team),)) for team, count in (("search", 150), ("growth", 50))
    ]

    allocated = allocate_day([origin_charge()], logged, rules)

    assert {a.value_of("team"): a.costs.billed_cost for a in allocated} == {
        "search": Decimal("2.475"),
        "growth": Decimal("0.825"),
    }
    assert {(a.categories[0].reason, a.categories[0].confidence) for a in allocated} == {(SPREAD, Confidence.SPLIT_BY_USAGE)}


def test_usage_that_was_logged_whole_is_not_called_spread() -> None:
    rules = Rules.of([TEAM], incomplete_logging=IncompleteLogging.SPREAD)

    (share,) = allocate_day([origin_charge()], [usage({TokenKind.INPUT: 1000}, request_metadata=(("team", "search"),))], rules)

    assert (share.categories[0].reason, share.categories[0].confidence) == ("", Confidence.EXACT)
