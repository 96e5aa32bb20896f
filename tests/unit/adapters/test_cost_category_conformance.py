"""Cost categories as AWS documents them: each case names the sentence that it tests.

Sources: CE is the Cost Explorer API reference (`CostCategoryRule`, `Expression`, `CreateCostCategoryDefinition`), UG the guide
"Managing your costs with AWS Cost Categories". `ours` marks what neither says, and what the product does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from adapters.policy import PolicyDocument, parse_policy
from attribution.allocation import allocate_day
from attribution.charges import AllocatedCharge, Costs, OriginCharge, SplitMethod
from attribution.errors import PolicyInvalid
from attribution.meters import Meter, TokenKind
from attribution.money import total

DAY = date(2026, 11, 3)
ACCOUNT_NAMES = {
    "111111111111": "search-prod",
    "222222222222": "ads-dev",
    "333333333333": "shared-plat",
    "444444444444": "Ads-Prod",
}
Json = Any


SONNET_IN, SONNET_OUT = "USE1-Claude4.6Sonnet-input-tokens", "USE1-Claude4.6Sonnet-output-tokens"
OPUS_OUT = "USW2-Claude4.6Opus-output-tokens"
# Account, service code, record type, Region, usage type, cost, tags: a bare key is a resource tag.
LINES: dict[str, tuple[str, str, str, str, str, int, dict[str, str]]] = {
    "L1": ("111111111111", "AmazonBedrock", "Usage", "us-east-1", SONNET_IN, 60, {"team": "search"}),
    "L2": ("111111111111", "AmazonBedrock", "Usage", "us-east-1", SONNET_OUT, 90, {"iamPrincipal/team": "search"}),
    "L3": ("222222222222", "AmazonBedrock", "Usage", "eu-west-1", "EUW1-NovaPro-input-tokens", 30, {"Team": "ads"}),
    "L4": ("222222222222", "AmazonS3", "Usage", "eu-west-1", "EUW1-TimedStorage-ByteHrs", 10, {"team": "ads"}),
    "L5": ("333333333333", "AmazonBedrock", "Usage", "us-east-1", "USE1-Guardrail-Text", 25, {}),
    "L6": ("333333333333", "AmazonBedrock", "Tax", "us-east-1", "", 5, {}),
    "L7": ("111111111111", "AmazonBedrock", "Credit", "us-east-1", "", -20, {}),
    "L8": ("444444444444", "AmazonBedrock", "Usage", "us-west-2", OPUS_OUT, 40, {"team": "", "iamPrincipal/team": "Ads"}),
}


def charge(name: str) -> OriginCharge:
    """The line as a delivery of the cost report has it."""
    account, service, record_type, region, usage_type, cost, tags = LINES[name]
    return OriginCharge(
        usage_date=DAY,
        account_id=account,
        region=region,
        line_item_type=record_type,
        billing_entity="AWS",
        product_code=service,
        usage_type=usage_type,
        operation=name,
        feature="inference",
        commitment="",
        meter=Meter("m", TokenKind.INPUT),
        iam_principal="",
        resource_id="",
        tags=tuple(sorted((key if "/" in key else f"resourceTags/{key}", value) for key, value in tags.items())),
        currency="USD",
        pricing_unit="",
        quantity=Decimal(1),
        units=None,
        costs=Costs.uniform(Decimal(cost)),
        row_count=1,
    )


def definition(*rules: Json, name: str = "Team", **more: Json) -> Json:
    return {"Name": name, "RuleVersion": "CostCategoryExpression.v1", "Rules": list(rules), **more}


def policy(*definitions: Json, **more: Json) -> PolicyDocument:
    return parse_policy({"cost_categories": list(definitions), "account_names": ACCOUNT_NAMES, **more})


def allocated(*definitions: Json, lines: Mapping[str, OriginCharge] | None = None, **more: Json) -> list[AllocatedCharge]:
    """The lines, allocated by these definitions alone."""
    charges = list((lines or {name: charge(name) for name in LINES}).values())
    return allocate_day(charges, [], policy(*definitions, **more).rules(DAY))


def values(
    *definitions: Json, name: str = "Team", lines: Mapping[str, OriginCharge] | None = None, **more: Json
) -> dict[str, str]:
    """The value of each line that has one."""
    by_origin = {charge(line_name).digest(): line_name for line_name in LINES} if lines is None else {}
    found = allocated(*definitions, lines=lines, **more)
    return {by_origin[a.origin]: a.value_of(name) for a in found if a.value_of(name)}


def regular(value: str, expression: Json) -> Json:
    return {"Value": value, "Rule": expression, "Type": "REGULAR"}


def d(key: str, *options: str, values: list[str]) -> Json:
    return {"Dimensions": {"Key": key, "Values": values, **({"MatchOptions": list(options)} if options else {})}}


def t(key: str, *options: str, values: list[str] | None = None) -> Json:
    leaf: Json = {"Key": key}
    leaf |= {"Values": values} if values else {}
    return {"Tags": leaf | ({"MatchOptions": list(options)} if options else {})}


def inherits(name: str, key: str = "") -> Json:
    inherited = {"DimensionName": name, **({"DimensionKey": key} if key else {})}
    return {"Type": "INHERITED_VALUE", "InheritedValue": inherited}


def every(value: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, value)


GENAI = regular("genai", d("SERVICE_CODE", values=["AmazonBedrock"]))
NON_USAGE = regular("nonusage", d("RECORD_TYPE", values=["Tax", "Credit"]))
EX15 = definition(inherits("TAG", "team"), regular("shared", d("LINKED_ACCOUNT", values=["333333333333"])), DefaultValue="none")
IS_15 = {"L1": "search", "L4": "ads", **every("shared", "L5", "L6"), **every("none", "L2", "L3", "L7", "L8")}


@dataclass(frozen=True)
class Case:
    sentence: str
    definitions: tuple[Json, ...]
    expected: dict[str, str]
    name: str = "Team"


def case(sentence: str, *rules: Json, expected: dict[str, str], **more: Json) -> Case:
    return Case(sentence, (definition(*rules, **more),), expected)


CASES = (
    case(
        "CE CostCategoryRule.Value: the value of the line item that satisfies the rule",
        GENAI,
        expected=every("genai", "L1", "L2", "L3", "L5", "L6", "L7", "L8"),
    ),
    case(
        "CE DefaultValue: the default value for the cost category, for what no rule matches",
        GENAI,
        DefaultValue="other",
        expected=every("genai", "L1", "L2", "L3", "L5", "L6", "L7", "L8") | {"L4": "other"},
    ),
    case(
        "CE Rules: rules are processed in order; the first that matches decides",
        NON_USAGE,
        GENAI,
        expected=every("nonusage", "L6", "L7") | every("genai", "L1", "L2", "L3", "L5", "L8"),
    ),
    case(
        "CE Rules: a later rule never takes what an earlier one matched",
        GENAI,
        NON_USAGE,
        expected=every("genai", "L1", "L2", "L3", "L5", "L6", "L7", "L8"),
    ),
    case(
        "CE Expression.Tags: a tag filter matches resource tags by their own key",
        regular("search", t("team", values=["search"])),
        expected={"L1": "search"},
    ),
    case("CE TagValues.Key: tag keys are case sensitive", regular("ads", t("Team", values=["ads"])), expected={"L3": "ads"}),
    case(
        "CE: a principal's tag has the key iamPrincipal/<key>",
        regular("search", t("iamPrincipal/team", values=["search"])),
        expected={"L2": "search"},
    ),
    case(
        "CE Expression.Or: returns results that match any of the objects",
        regular("search", {"Or": [t("team", values=["search"]), t("iamPrincipal/team", values=["search"])]}),
        expected=every("search", "L1", "L2"),
    ),
    case(
        "CE TagValues: ABSENT; ours: a tag that is there and empty is not absent",
        regular("untagged", t("team", "ABSENT")),
        expected=every("untagged", "L2", "L3", "L5", "L6", "L7"),
    ),
    case(
        "CE TagValues: if Values aren't specified, ABSENT is applied to the key",
        regular("untagged", t("team")),
        expected=every("untagged", "L2", "L3", "L5", "L6", "L7"),
    ),
    case(
        "CE TagValues: if neither Key nor Values are specified, ABSENT is applied to all tags",
        regular("bare", {"Tags": {}}),
        expected=every("bare", "L5", "L6", "L7"),
    ),
    case(
        "UG: contains, starts with and ends with are case sensitive",
        regular("prod", d("LINKED_ACCOUNT_NAME", "ENDS_WITH", values=["-prod"])),
        expected=every("prod", "L1", "L2", "L7"),
    ),
    case(
        "CE MatchOption CASE_INSENSITIVE: letter case does not count",
        regular("prod", d("LINKED_ACCOUNT_NAME", "ENDS_WITH", "CASE_INSENSITIVE", values=["-PROD"])),
        expected=every("prod", "L1", "L2", "L7", "L8"),
    ),
    case(
        "UG: is compares the account id; CE DimensionValues: values of one leaf are or-ed",
        regular("core", d("LINKED_ACCOUNT", values=["111111111111", "222222222222"])),
        expected=every("core", "L1", "L2", "L3", "L4", "L7"),
    ),
    case(
        "UG: starts with, ends with and contains compare the account name",
        regular("ads", d("LINKED_ACCOUNT", "STARTS_WITH", values=["ads"])),
        expected=every("ads", "L3", "L4"),
    ),
    case(
        "CE Expression.And: returns results that match both; Not: that don't match",
        regular(
            "usage",
            {
                "And": [
                    d("SERVICE_CODE", values=["AmazonBedrock"]),
                    {"Not": d("RECORD_TYPE", values=["Credit", "Refund", "Tax"])},
                ]
            },
        ),
        expected=every("usage", "L1", "L2", "L3", "L5", "L8"),
    ),
    case(
        "CE MatchOption CONTAINS",
        regular("output", d("USAGE_TYPE", "CONTAINS", values=["output-tokens"])),
        expected=every("output", "L2", "L8"),
    ),
    case(
        "CE MatchOption STARTS_WITH: any of the values",
        regular("east", d("USAGE_TYPE", "STARTS_WITH", values=["USE1", "USE2"])),
        expected=every("east", "L1", "L2", "L5"),
    ),
    case(
        "CE MatchOptions: the default is EQUALS, not CONTAINS",
        regular("none", d("USAGE_TYPE", values=["output-tokens"])),
        expected={},
    ),
    case("CE MatchOptions: the default is CASE_SENSITIVE", regular("ads", t("team", values=["ADS"])), expected={}),
    case(
        "CE MatchOptions: CASE_SENSITIVE beside EQUALS is the default said aloud",
        regular("ads", t("team", "EQUALS", "CASE_SENSITIVE", values=["ads"])),
        expected={"L4": "ads"},
    ),
    case(
        "CE MatchOption CASE_INSENSITIVE alone compares whole values",
        regular("ads", t("team", "CASE_INSENSITIVE", values=["ADS"])),
        expected={"L4": "ads"},
    ),
    case(
        "CE Dimensions REGION",
        regular("elsewhere", d("REGION", values=["eu-west-1", "us-west-2"])),
        expected=every("elsewhere", "L3", "L4", "L8"),
    ),
    case(
        "CE Dimensions RECORD_TYPE: Credit, DiscountedUsage, Fee, Refund, ..., Tax, Usage",
        regular("credit", d("RECORD_TYPE", values=["Credit"])),
        expected={"L7": "credit"},
    ),
    case(
        "ours: ABSENT of a dimension is a charge without one",
        regular("no usage type", {"Dimensions": {"Key": "USAGE_TYPE", "MatchOptions": ["ABSENT"]}}),
        expected=every("no usage type", "L6", "L7"),
    ),
    Case("CE INHERITED_VALUE TAG: the value of the tag; ours: an empty one falls through to the next rule", (EX15,), IS_15),
    case(
        "CE INHERITED_VALUE LINKED_ACCOUNT_NAME: the name of the account",
        inherits("LINKED_ACCOUNT_NAME"),
        expected=every("search-prod", "L1", "L2", "L7")
        | every("ads-dev", "L3", "L4")
        | every("shared-plat", "L5", "L6")
        | {"L8": "Ads-Prod"},
    ),
    case(
        "CE CostCategoryRule.Type: REGULAR is the default",
        {"Value": "ads", "Rule": t("team", values=["ads"])},
        expected={"L4": "ads"},
    ),
    case(
        "CE: several rules may give one value",
        regular("ads", t("team", values=["ads"])),
        regular("ads", t("Team", values=["ads"])),
        expected=every("ads", "L3", "L4"),
    ),
    Case(
        "CE Expression.CostCategories: hierarchies by the value of another category",
        (definition(regular("product", {"CostCategories": {"Key": "Team", "Values": ["search", "ads"]}}), name="BU"), EX15),
        every("product", "L1", "L4"),
        "BU",
    ),
    Case(
        "CE CostCategoryValues: if Values aren't specified, ABSENT is applied to the category",
        (definition(regular("nobody", {"CostCategories": {"Key": "Team"}}), name="BU"), definition(inherits("TAG", "team"))),
        every("nobody", "L2", "L3", "L5", "L6", "L7", "L8"),
        "BU",
    ),
    case(
        "CE Expression: operators nest",
        regular(
            "x",
            {
                "Or": [
                    {
                        "And": [
                            t("team"),
                            {"Not": {"Or": [d("RECORD_TYPE", values=["Tax"]), d("REGION", values=["us-east-1"])]}},
                        ]
                    },
                    d("SERVICE_CODE", values=["AmazonS3"]),
                ]
            },
        ),
        expected=every("x", "L3", "L4"),
    ),
    case(
        "ours: a tag key with the prefix user: is the same tag",
        regular("ads", t("user:team", values=["ads"])),
        expected={"L4": "ads"},
    ),
    case(
        "UG: with no default, costs that no rule matches stay uncategorized",
        regular("x", t("team", values=["nobody"])),
        expected={},
    ),
)


@pytest.mark.parametrize("named", CASES, ids=lambda c: c.sentence)
def test_a_line_gets_the_value_that_aws_documents(named: Case) -> None:
    assert values(*named.definitions, name=named.name) == named.expected


LEAF = t("team", values=["search"])
FIXED = {"Source": "shared", "Targets": ["a", "b"], "Method": "FIXED"}


def percentages(*stated: str) -> Json:
    return {"Parameters": [{"Type": "ALLOCATION_PERCENTAGES", "Values": list(stated)}]}


def with_splits(*rules: Json) -> Json:
    return definition(regular("x", LEAF), SplitChargeRules=list(rules))


def even(source: str, *targets: str) -> Json:
    return {"Source": source, "Targets": list(targets), "Method": "EVEN"}


REFUSED = (
    (
        "CE Expression: Expression has more than one roots",
        definition(regular("x", {"And": [LEAF], **LEAF})),
        "$.Rules[0].Rule: Value error, Expression has more than one roots. Only one root operator is allowed for each "
        "expression: And, Or, Not, Dimensions, Tags, CostCategories",
    ),
    (
        "CE Expression: exactly one operator or leaf",
        definition(regular("x", {})),
        "$.Rules[0].Rule: Value error, Expression has no",
    ),
    (
        "CE Dimension: SERVICE is not usable in a rule",
        definition(regular("x", {"Not": d("SERVICE", values=["Amazon Bedrock"])})),
        "$.Rules[0].Rule.Not.Dimensions.Key: Value error, 'SERVICE' cannot be used in a cost category rule; AWS takes "
        "LINKED_ACCOUNT, LINKED_ACCOUNT_NAME, SERVICE_CODE, RECORD_TYPE, REGION, USAGE_TYPE",
    ),
    (
        "CE: CHARGE_TYPE as a key fails validation",
        definition(GENAI, regular("x", {"And": [LEAF, d("CHARGE_TYPE", values=["Tax"])]})),
        "$.Rules[1].Rule.And[1].Dimensions.Key: Value error, 'CHARGE_TYPE' cannot be used",
    ),
    (
        "CE MatchOption: GREATER_THAN_OR_EQUAL is for anomaly subscriptions",
        definition(regular("x", d("USAGE_TYPE", "GREATER_THAN_OR_EQUAL", values=["x"]))),
        "$.Rules[0].Rule.Dimensions.MatchOptions: Value error, MatchOption GREATER_THAN_OR_EQUAL is for anomaly subscriptions",
    ),
    (
        "CE MatchOption: the enumeration",
        definition(regular("x", t("team", "LIKE", values=["x"]))),
        "MatchOption 'LIKE' does not exist",
    ),
    (
        "ours: two ways to compare",
        definition(regular("x", t("team", "STARTS_WITH", "ENDS_WITH", values=["x"]))),
        "$.Rules[0].Rule.Tags.MatchOptions: Value error, name one of",
    ),
    ("ours: ABSENT beside values", definition(regular("x", t("team", "ABSENT", values=["x"]))), "ABSENT takes no Values"),
    (
        "CE DimensionValues: Key and Values",
        definition(regular("x", {"Dimensions": {"Values": ["x"]}})),
        "$.Rules[0].Rule.Dimensions.Key: Field required",
    ),
    (
        "CE RuleVersion: CostCategoryExpression.v1",
        definition(GENAI) | {"RuleVersion": "CostCategoryExpression.v2"},
        "$.RuleVersion: Input should be 'CostCategoryExpression.v1'",
    ),
    (
        "CE Name: 1..50 of letters, digits, separators, - and _",
        definition(GENAI, name="Team/Squad"),
        "$.Name: Value error, use letters",
    ),
    ("CE Name: no space at either end", definition(GENAI, name="Team "), "$.Name: Value error"),
    ("CE Name: at most 50", definition(GENAI, name="x" * 51), "$.Name: String should have at most 50"),
    ("CE Rules: at least 1", definition(), "$.Rules: Tuple should have at least 1 item"),
    ("CE Rules: at most 500", definition(*[GENAI] * 501), "$.Rules: Tuple should have at most 500 items"),
    (
        "CE CostCategoryRule: REGULAR needs a value",
        definition({"Rule": LEAF}),
        "$.Rules[0]: Value error, a REGULAR rule needs Value",
    ),
    (
        "CE CostCategoryRule.InheritedValue: for INHERITED_VALUE",
        definition({"Type": "INHERITED_VALUE"}),
        "$.Rules[0]: Value error, an INHERITED_VALUE rule needs InheritedValue",
    ),
    (
        "CE InheritedValue.DimensionName: LINKED_ACCOUNT_NAME or TAG",
        definition(inherits("SERVICE_CODE")),
        "$.Rules[0].InheritedValue.DimensionName: Value error, 'SERVICE_CODE' cannot be inherited; AWS takes "
        "LINKED_ACCOUNT_NAME, TAG",
    ),
    ("CE InheritedValue.DimensionKey: the key of the tag", definition(inherits("TAG")), "DimensionKey is missing for TAG"),
    (
        "CE EffectiveStart: the first day of a month",
        definition(GENAI, EffectiveStart="2026-10-02T00:00:00Z"),
        "$.EffectiveStart: Value error, a cost category takes effect, and ends, on the first day of a month",
    ),
    (
        "ours: cost categories in a circle",
        definition(regular("x", {"CostCategories": {"Key": "Team", "Values": ["x"]}})),
        "cost category 'Team' asks for itself",
    ),
    (
        "ours: a category that the policy lacks",
        definition(regular("x", {"CostCategories": {"Key": "BU", "Values": ["x"]}})),
        "asks for the cost category 'BU': define that one, too",
    ),
    (
        "CE SplitChargeRules: at most 10",
        with_splits(*(even(f"s{n}", "a") for n in range(11))),
        "$.SplitChargeRules: Tuple should have",
    ),
    (
        "CE SplitChargeRule.Source: a value can be used as a source only once across all split charge rules",
        with_splits(even("shared", "a"), even("shared", "b")),
        "'shared' is the source of two split charge rules",
    ),
    (
        "CE SplitChargeRule.Targets: a source can't be used as a target in the same or any other rule",
        with_splits(even("shared", "a"), even("support", "shared")),
        "'shared' is the source of a split charge rule and a target",
    ),
    (
        "CE SplitChargeRule.Method: FIXED, PROPORTIONAL, EVEN",
        with_splits(even("s", "a") | {"Method": "HALF"}),
        "$.SplitChargeRules[0].Method: Input should be",
    ),
    ("CE Parameters: required for FIXED", with_splits(FIXED), "the method FIXED needs Parameters"),
    (
        "UG: your defined percentages add up to 100",
        with_splits(FIXED | percentages("50", "49.99")),
        "the percentages add up to 99.99, not to 100",
    ),
    ("ours: one percentage for each target", with_splits(FIXED | percentages("100")), "2 targets need 2 percentages, not 1"),
    ("ours: a percentage is a number", with_splits(FIXED | percentages("50", "half")), "a percentage is a number"),
    ("ours: no percentage is negative", with_splits(FIXED | percentages("150", "-50")), "a percentage is between 0 and 100"),
    ("CE Parameters: only for FIXED", with_splits(even("s", "a") | percentages("100")), "Parameters are for the method FIXED"),
    ("ours: a field that AWS does not have", definition(GENAI, Rule="x"), "$.Rule: Extra inputs are not permitted"),
)


@pytest.mark.parametrize(("sentence", "wrong", "error"), REFUSED, ids=[sentence for sentence, _, _ in REFUSED])
def test_a_definition_that_aws_refuses_is_refused_with_the_reason_and_the_place(sentence: str, wrong: Json, error: str) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        policy(wrong)

    assert error in str(refused.value)


B = {"search": 600, "ads": 300, "data": 100, "shared": 250, "support": 90, "": 50}


def costing(amounts: Mapping[str, int]) -> dict[str, OriginCharge]:
    """One charge for each value, which its tag names."""
    made = {}
    for value, cost in amounts.items():
        tags = (("resourceTags/team", value),) if value else ()
        base = charge("L1")
        made[value] = OriginCharge(
            **{name: getattr(base, name) for name in base.__slots__} | {"tags": tags, "costs": Costs.uniform(Decimal(cost))}
        )
    return made


def after(amounts: Mapping[str, int], *splits: Json) -> dict[str, Decimal]:
    """What each value costs after these split charge rules."""
    found = allocated(definition(inherits("TAG", "team"), SplitChargeRules=list(splits)), lines=costing(amounts))
    names = {a.value_of("Team") for a in found}
    return {name: total(a.costs.billed_cost for a in found if a.value_of("Team") == name) for name in sorted(names)}


def proportional(source: str, *targets: str) -> Json:
    return {"Source": source, "Targets": list(targets), "Method": "PROPORTIONAL"}


THREE = ("search", "ads", "data")
UNTOUCHED = {"search": 600, "ads": 300, "data": 100, "shared": 250, "support": 90, "": 50}
SPLITS = (
    (
        "UG EVEN: allocates costs evenly across all target values",
        (even("shared", *THREE),),
        {"search": "683.333333333333333334", "ads": "383.333333333333333333", "data": "183.333333333333333333"},
        ("shared",),
    ),
    (
        "UG FIXED: allocates by the percentages that you define",
        ({"Source": "shared", "Targets": list(THREE), "Method": "FIXED", **percentages("50", "30", "20")},),
        {"search": "725", "ads": "375", "data": "150"},
        ("shared",),
    ),
    (
        "UG PROPORTIONAL: based on the proportional weighted cost of each target value",
        (proportional("shared", *THREE),),
        {"search": "750", "ads": "375", "data": "125"},
        ("shared",),
    ),
    (
        "ours: weights are the costs before any split, so that the order of rules cannot matter",
        (even("support", "search", "ads"), proportional("shared", *THREE)),
        {"search": "795", "ads": "420", "data": "125"},
        ("shared", "support"),
    ),
    (
        "CE Source: an empty source is the uncategorized cost",
        (proportional("", "search", "ads"),),
        {"search": "633.333333333333333333", "ads": "316.666666666666666667"},
        ("",),
    ),
    (
        "ours: a target without cost gets its part of EVEN",
        (even("support", "search", "nobody"),),
        {"search": "645", "nobody": "45"},
        ("support",),
    ),
    (
        "ours: a target may serve several rules",
        (even("support", "search"), even("", "search")),
        {"search": "740"},
        ("support", ""),
    ),
)


@pytest.mark.parametrize(("sentence", "splits", "changed", "emptied"), SPLITS, ids=[split[0] for split in SPLITS])
def test_shared_cost_is_split_as_aws_documents(
    sentence: str, splits: tuple[Json, ...], changed: dict[str, str], emptied: tuple[str, ...]
) -> None:
    found = after(B, *splits)

    rest = {name: Decimal(cost) for name, cost in UNTOUCHED.items() if name not in (*changed, *emptied)}
    assert found == rest | {name: Decimal(cost) for name, cost in changed.items()}
    assert total(found.values()) == 1390


def test_ours_a_proportional_split_over_targets_without_any_cost_is_even_and_says_so() -> None:
    found = allocated(
        definition(inherits("TAG", "team"), SplitChargeRules=[proportional("shared", "a", "b")]), lines=costing({"shared": 10})
    )

    shares = [value.split for a in found for value in a.categories if value.split]
    assert [(a.value_of("Team"), a.costs.billed_cost) for a in found] == [("a", Decimal(5)), ("b", Decimal(5))]
    assert {(s.method, s.is_fallback, s.source) for s in shares} == {(SplitMethod.PROPORTIONAL, True, "shared")}


def test_ours_a_target_whose_cost_is_negative_has_no_weight() -> None:
    found = after({"search": 60, "ads": -30, "shared": 10}, proportional("shared", "search", "ads"))

    assert found == {"search": Decimal(70), "ads": Decimal(-30)}


def test_ours_a_credit_is_split_with_its_sign() -> None:
    found = after({"search": 600, "ads": 300, "data": 100, "shared": -25}, proportional("shared", *THREE))

    assert found == {"search": Decimal(585), "ads": Decimal("292.5"), "data": Decimal("97.5")}


DESCRIBED = {
    "CostCategory": {
        "CostCategoryArn": "arn:aws:ce::111111111111:costcategory/0a1b2c3d-0000-4000-8000-000000000000",
        "EffectiveStart": "2024-03-01T00:00:00Z",
        "Name": "Team",
        "RuleVersion": "CostCategoryExpression.v1",
        "Rules": [
            {"Value": "search", "Rule": t("team", "EQUALS", values=["search"]), "Type": "REGULAR"},
            {"Type": "INHERITED_VALUE", "InheritedValue": {"DimensionName": "TAG", "DimensionKey": "team"}},
        ],
        "SplitChargeRules": [{"Source": "ads", "Targets": ["search"], "Method": "EVEN"}],
        "ProcessingStatus": [{"Component": "COST_EXPLORER", "Status": "APPLIED"}],
        "DefaultValue": "other",
    }
}


def test_what_describe_cost_category_definition_prints_works_unchanged() -> None:
    found = values(json.loads(json.dumps(DESCRIBED)))

    assert found == every("search", "L1", "L4") | every("other", "L2", "L3", "L5", "L6", "L7", "L8")


def test_a_definition_survives_the_way_into_the_ledger_and_back() -> None:
    document = policy(
        DESCRIBED,
        {
            "name": "tenant",
            "default": "x",
            "split_charges": [{"source": "x", "targets": ["y", "z"], "method": "FIXED", "percentages": ["33.4", "66.6"]}],
        },
    )

    assert parse_policy(json.loads(json.dumps(document.plain()))) == document


def test_ce_effective_start_a_month_is_categorized_by_the_definition_that_was_in_effect_then() -> None:
    old = definition(inherits("TAG", "Team"), EffectiveStart="2026-09-01T00:00:00Z", EffectiveEnd="2026-11-01T00:00:00Z")
    new = definition(inherits("TAG", "team"), EffectiveStart="2026-11-01T00:00:00Z")
    document = policy(old, new)

    october = allocate_day([charge("L1"), charge("L3")], [], document.rules(date(2026, 10, 31)))
    november = allocate_day([charge("L1"), charge("L3")], [], document.rules(date(2026, 11, 1)))

    assert {a.value_of("Team") for a in october} == {"ads", ""}
    assert {a.value_of("Team") for a in november} == {"search", ""}


def test_two_definitions_of_one_category_from_one_month_on_are_an_error() -> None:
    with pytest.raises(PolicyInvalid, match="cost category 'Team' is defined twice"):
        policy(definition(GENAI), definition(NON_USAGE))
