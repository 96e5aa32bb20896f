"""Conformance with AWS Budgets: each case names the sentence it comes from.

Sentences of the Budgets API are looked up in the service model that boto3 brings, so that none is made up.
`guide` marks the user guide, `seen` what was observed on real accounts, `ours` what no source says and docs/budgets.md defines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import botocore.session
import pytest
from pydantic import ValidationError

from attribution.budgets import Budget, Evaluation, FixedLimit, PlannedLimits
from attribution.charges import Basis
from attribution.conditions import And, MatchOption, Not, Or
from attribution.scopes import Match
from tests.support.budgets import World, aws_budget, built, forecasted, notification

GUIDE, SEEN, OURS = "guide: ", "seen: ", "ours: "
ONCE = GUIDE + "only sent out once per budget, per budget period, when a budget first reached the actual alert threshold"
AGAIN = GUIDE + "might alert more than once if forecasts exceed, dip below, then exceed again"
FIVE_WEEKS = GUIDE + "AWS requires approximately 5 weeks of usage data to generate budget forecasts"
OVER_160 = "when you go over 160 dollars"
EXCLUSIVE = "You can't use BudgetLimit with PlannedBudgetLimits"
LOOK_BACK = "then that budget period isn’t included in the average that determines your budget limit"
AFTER_END = "After the end date, Amazon Web Services deletes the budget and all the associated notifications and subscribers"
ONE_PAIR = OURS + "exactly one pair of FilterExpression with Metrics, or CostFilters with CostTypes"


@cache
def api_text() -> str:
    """The text of the Budgets API, without markup."""
    model = botocore.session.get_session().get_service_model("budgets")
    texts = [model.documentation]
    for name in model.shape_names:
        shape = model.shape_for(name)
        members = getattr(shape, "members", {})
        texts += [shape.documentation, *(m.documentation for m in members.values())]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", " ".join(texts)))


def plain(sentence: str) -> str:
    return re.sub(r"\s+", " ", sentence)


def aws(**changes: Any) -> Budget:
    return built({"aws": aws_budget(**changes)})


# --- firing ---------------------------------------------------------------------------------------------------------

Step = tuple[str, dict[str, str]]
MARCH_80 = "2026-03 ACTUAL 80"


def history(days: int, amount: str, until: date = date(2026, 3, 1)) -> dict[str, str]:
    return {(until - timedelta(days=i + 1)).isoformat(): amount for i in range(days)}


FIRING: list[tuple[str, str, dict[str, Any], list[Step], list[str]]] = [
    (OVER_160, "exactly 160 of 200 dollars is not over it", {}, [("2026-03-05", {"2026-03-04": "160"})], []),
    (OVER_160, "a cent more is", {}, [("2026-03-05", {"2026-03-04": "160.01"})], [MARCH_80]),
    (
        ONCE,
        "a credit brings spend below, and more spend above again",
        {},
        [
            ("2026-03-05", {"2026-03-04": "170"}),
            ("2026-03-06", {"2026-03-04": "150"}),
            ("2026-03-07", {"2026-03-05": "20"}),
        ],
        [MARCH_80],
    ),
    (
        ONCE,
        "the next period tells again",
        {},
        [("2026-03-05", {"2026-03-04": "170"}), ("2026-04-09", {"2026-04-08": "170"})],
        [MARCH_80, "2026-04 ACTUAL 80"],
    ),
    (
        ONCE,
        "the same spend is told once however often it is evaluated",
        {},
        [("2026-03-05", {"2026-03-04": "170"})] * 3,
        [MARCH_80],
    ),
    (
        SEEN + "a budget created when already over its threshold does fire, at the first evaluation",
        "created above its threshold",
        {},
        [("2026-03-30", {"2026-03-02": "500"})],
        [MARCH_80],
    ),
    (
        AGAIN,
        "a forecast exceeds, dips below and exceeds again",
        {"Notifications": [forecasted(100.0)], "BudgetLimit": {"Amount": "300", "Unit": "USD"}},
        [
            ("2026-03-02", history(60, "10.10") | {"2026-03-01": "10.10"}),
            ("2026-03-03", {"2026-03-01": "0", "2026-03-02": "2"}),
            ("2026-03-04", {"2026-03-03": "20", "2026-03-02": "12"}),
        ],
        ["2026-03 FORECASTED 100"] * 2,
    ),
    (
        FIVE_WEEKS,
        "20 days of history forecast nothing",
        {"Notifications": [forecasted(1.0)]},
        [("2026-03-02", history(20, "100"))],
        [],
    ),
    (
        FIVE_WEEKS,
        "35 days do",
        {"Notifications": [forecasted(1.0)]},
        [("2026-03-02", history(35, "100") | {"2026-03-01": "100"})],
        ["2026-03 FORECASTED 1"],
    ),
    (
        SEEN + "greater than $0.75 per day. Yesterday, the ACTUAL Cost is $1.70",
        "a daily budget judges yesterday, not a day that still runs",
        {"TimeUnit": "DAILY", "BudgetLimit": {"Amount": "1", "Unit": "USD"}},
        [("2026-03-05T01:00", {"2026-03-04": "1.70", "2026-03-05": "9"})],
        ["2026-03-04 ACTUAL 80"],
    ),
    (
        "For ABSOLUTE_VALUE thresholds, Amazon Web Services notifies you when you go over",
        "an absolute threshold is an amount",
        {"Notifications": [notification(50.0, ThresholdType="ABSOLUTE_VALUE")]},
        [("2026-03-05", {"2026-03-04": "50"}), ("2026-03-06", {"2026-03-04": "50.01"})],
        ["2026-03 ACTUAL 50abs"],
    ),
    (
        "The comparison that's used for this notification",
        "LESS_THAN holds from the first moment of a period, when nothing is spent",
        {"Notifications": [notification(50.0, ComparisonOperator="LESS_THAN")]},
        [("2026-03-01T00:00", {})],
        ["2026-03 ACTUAL <50"],
    ),
    (
        "The comparison that's used for this notification",
        "EQUAL_TO is exact",
        {"Notifications": [notification(50.0, ComparisonOperator="EQUAL_TO")]},
        [("2026-03-05", {"2026-03-04": "99.999999999999999999"}), ("2026-03-06", {"2026-03-04": "100"})],
        ["2026-03 ACTUAL =50"],
    ),
    (
        AFTER_END,
        "a budget that ended tells nothing",
        {"TimePeriod": {"Start": "2026-01-01T00:00:00Z", "End": "2026-03-05T00:00:00Z"}},
        [("2026-03-05", {"2026-03-04": "170"})],
        [],
    ),
    (
        "The start date for a budget",
        "days before the start do not count",
        {"TimePeriod": {"Start": "2026-03-03T00:00:00Z"}},
        [("2026-03-05", {"2026-03-02": "170", "2026-03-04": "10"})],
        [],
    ),
    (
        OURS + "an edit of the limit is a new notification: its latch is cleared (edited to 400, then back)",
        "a budget whose limit is edited may tell again",
        {"edits": ["400", "200"]},
        [
            ("2026-03-05", {"2026-03-04": "170"}),
            ("2026-03-06", {"2026-03-04": "170"}),
            ("2026-03-07", {"2026-03-04": "170"}),
        ],
        [MARCH_80] * 2,
    ),
]


@pytest.mark.parametrize(("source", "name", "changes", "steps", "sends"), FIRING, ids=[c[1] for c in FIRING])
def test_an_alert_fires_as_awss_does(
    source: str, name: str, changes: dict[str, Any], steps: list[Step], sends: list[str]
) -> None:
    edits = [*changes.get("edits", [])]
    world = World([aws(**{k: v for k, v in changes.items() if k != "edits"})])
    for now, amounts in steps:
        for day, amount in amounts.items():
            world.spend(date.fromisoformat(day), amount)
        world.evaluate(now)
        if edits:
            world.budgets = [aws(BudgetLimit={"Amount": edits.pop(0), "Unit": "USD"})]

    assert world.sent == sends


# --- what is refused ------------------------------------------------------------------------------------------------


def epochs(*months: str) -> dict[str, dict[str, str]]:
    """Planned limits of 100 dollars from the first of some months."""
    begins = (datetime.fromisoformat(f"{m}-01").replace(tzinfo=UTC) for m in months)
    return {str(int(b.timestamp())): {"Amount": "100", "Unit": "USD"} for b in begins}


def months(count: int) -> list[str]:
    return [f"{2026 + i // 12}-{i % 12 + 1:02}" for i in range(count)]


PLANNED_12 = {"BudgetLimit": None, "PlannedBudgetLimits": epochs(*months(12))}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    (EXCLUSIVE, "both limits", {"PlannedBudgetLimits": epochs(*months(12))}, "BudgetLimit with PlannedBudgetLimits"),
    (
        "For monthly budgets, provide 12 months of PlannedBudgetLimits values",
        "eleven planned months",
        {**PLANNED_12, "PlannedBudgetLimits": epochs(*months(11))},
        "PlannedBudgetLimits: a MONTHLY budget needs 12 of them, not 11",
    ),
    (
        "provide four quarters of PlannedBudgetLimits value entries in standard calendar quarter increments",
        "a quarter that begins in February",
        {**PLANNED_12, "TimeUnit": "QUARTERLY", "PlannedBudgetLimits": epochs("2026-02")},
        "not the start of a QUARTERLY period",
    ),
    (
        "supports both monthly and quarterly TimeUnit",
        "planned limits of a year",
        {**PLANNED_12, "TimeUnit": "ANNUALLY"},
        "PlannedBudgetLimits: only MONTHLY and QUARTERLY budgets have planned limits",
    ),
    (
        "This must start from the current month and include the next 11 months",
        "a month is missing",
        {**PLANNED_12, "PlannedBudgetLimits": epochs(*months(6), *months(13)[7:])},
        "the period after 2026-06-01 is missing",
    ),
    ("BudgetLimit is required for cost or usage budgets", "no limit", {"BudgetLimit": None}, "BudgetLimit is required"),
    (
        ONE_PAIR,
        "both pairs",
        {"Metrics": ["UnblendedCost"]},
        "choose one pair: FilterExpression with Metrics, or CostFilters with CostTypes",
    ),
    (
        "A budget can have up to ten notifications",
        "eleven",
        {"Notifications": [notification(float(t)) for t in range(1, 12)]},
        "notifications: a budget can have up to 10 notifications, not 11",
    ),
    (
        OURS + "a notification has no id, so that its fields are its identity: the same again is a duplicate record",
        "a notification twice",
        {"Notifications": [notification(80.0), notification(80)]},
        "one of these is there twice",
    ),
    (
        "A notification can have one SNS subscriber and up to 10 email subscribers",
        "two SNS subscribers",
        {"Notifications": [], "subscribers": ["SNS", "SNS"]},
        "one SNS subscriber",
    ),
    (
        "Each notification must have at least one subscriber",
        "no subscriber",
        {"Notifications": [], "subscribers": []},
        "Subscribers",
    ),
    (
        SEEN + "FORECASTED on a DAILY budget is rejected: InvalidParameterException",
        "a daily forecast",
        {"TimeUnit": "DAILY", "Notifications": [forecasted()]},
        "a DAILY budget cannot have FORECASTED notifications",
    ),
    (
        "For the MONTHLY granularity, the maximum value is 12",
        "a look back over 13 months",
        {
            "BudgetLimit": None,
            "AutoAdjustData": {"AutoAdjustType": "HISTORICAL", "HistoricalOptions": {"BudgetAdjustmentPeriod": 13}},
        },
        "BudgetAdjustmentPeriod: the maximum of a MONTHLY budget is 12, not 13",
    ),
    (
        "The start date must come before the end date",
        "an end before the start",
        {"TimePeriod": {"Start": "2026-03-01T00:00:00Z", "End": "2026-02-01T00:00:00Z"}},
        "TimePeriod",
    ),
    (
        "It must be ACTUAL or FORECASTED",
        "another type",
        {"Notifications": [notification(NotificationType="SPENT")]},
        "NotificationType",
    ),
    (
        'The ":" and "\\" characters, and the "/action/" substring, aren\'t allowed',
        "a colon in the name",
        {"BudgetName": "a:b"},
        "BudgetName",
    ),
    (
        'The ":" and "\\" characters, and the "/action/" substring, aren\'t allowed',
        "an action in the name",
        {"BudgetName": "a/action/b"},
        "BudgetName",
    ),
    (
        "RI utilization, RI coverage, Savings Plans utilization, or Savings Plans coverage",
        "a budget of reservations",
        {"BudgetType": "RI_UTILIZATION"},
        "BudgetType RI_UTILIZATION has nothing to measure in a ledger of Bedrock",
    ),
    (
        "Specifies whether a budget uses a blended rate",
        "blended cost",
        {"CostTypes": {"UseBlended": True}},
        "CostTypes.UseBlended: the ledger holds no blended cost",
    ),
    (
        OURS + "a filter that the ledger cannot answer is refused",
        "a filter by instance type",
        {"CostFilters": {"InstanceType": ["m5.large"]}},
        "CostFilters.InstanceType: this ledger cannot filter by it",
    ),
    (
        OURS + "a filter that the ledger cannot answer is refused",
        "another service",
        {"CostFilters": {"Service": ["Amazon Elastic Compute Cloud - Compute"]}},
        "CostFilters.Service: this ledger holds Amazon Bedrock alone",
    ),
    (
        "Keys are case-sensitive",
        "a product attribute in another letter case",
        {
            "CostFilters": None,
            "CostTypes": None,
            "Metrics": ["UnblendedCost"],
            "FilterExpression": {"ProductAttributes": {"Key": "Model", "Values": ["Claude Sonnet 5"]}},
        },
        "FilterExpression.ProductAttributes.Key: 'Model' is not known",
    ),
    (
        "Values is required unless MatchOptions is ABSENT",
        "a product attribute that equals nothing",
        {
            "CostFilters": None,
            "CostTypes": None,
            "Metrics": ["UnblendedCost"],
            "FilterExpression": {"ProductAttributes": {"Key": "model", "MatchOptions": ["EQUALS"]}},
        },
        "FilterExpression.ProductAttributes.Values: EQUALS needs values",
    ),
    (
        "Return results that match both Dimension objects",
        "a place deep in an expression",
        {
            "CostFilters": None,
            "CostTypes": None,
            "Metrics": ["UnblendedCost"],
            "FilterExpression": {
                "And": [
                    {"Dimensions": {"Key": "REGION", "Values": ["us-east-1"]}},
                    {"Not": {"Tags": {"Key": "colour", "Values": ["red"]}}},
                ]
            },
        },
        "FilterExpression.And[1].Not.Tags.Key: no cost category inherits from the tag key 'colour'",
    ),
]


@pytest.mark.parametrize(("source", "name", "changes", "reason"), REFUSED, ids=[c[1] for c in REFUSED])
def test_what_aws_or_the_ledger_cannot_take_is_refused_with_its_place(
    source: str, name: str, changes: dict[str, Any], reason: str
) -> None:
    subscribers = changes.pop("subscribers", None) if "subscribers" in changes else None
    document = aws_budget(**changes)
    if subscribers is not None:
        address = [{"SubscriptionType": kind, "Address": "arn:aws:sns:us-east-1:1:t"} for kind in subscribers]
        document = {
            "Budget": document["Budget"],
            "NotificationsWithSubscribers": [{"Notification": notification(), "Subscribers": address}],
        }

    with pytest.raises((ValidationError, ValueError)) as refused:
        built({"aws": document})

    assert reason in str(refused.value)


# --- what a document means --------------------------------------------------------------------------------------------

EXPRESSION = {"CostFilters": None, "CostTypes": None, "Metrics": ["NetAmortizedCost"]}
TEAM = Match("team", ("search",))
MEANING: list[tuple[str, str, dict[str, Any], Callable[[Budget], Any], Any]] = [
    (
        SEEN + "budget tag filter: key TagKeyValue, value user:<Key>$<value>",
        "a tag filter is the cost category that inherits from the tag",
        {},
        lambda b: b.scope.filter,
        TEAM,
    ),
    (
        OURS + "values of one key are alternatives, keys are conditions",
        "two keys",
        {"CostFilters": {"LinkedAccount": ["111122223333", "444455556666"], "CostCategory": ["team$search"]}},
        lambda b: b.scope.filter,
        And((TEAM, Match("account", ("111122223333", "444455556666")))),
    ),
    (
        "Specifies whether a budget includes credits",
        "credits and refunds left out",
        {"CostTypes": {"IncludeCredit": False, "IncludeRefund": False}, "CostFilters": {}},
        lambda b: b.scope.filter,
        Not(Match("line_item_type", ("Refund", "Credit"))),
    ),
    (
        "Specifies whether a budget includes taxes. The default value is true",
        "taxes are in",
        {},
        lambda b: b.scope.filter,
        TEAM,
    ),
    (
        "Specifies whether a budget uses the amortized rate",
        "amortized",
        {"CostTypes": {"UseAmortized": True}},
        lambda b: b.scope.measure.metric,
        "effective_cost",
    ),
    (
        "The definition for how the budget data is aggregated",
        "net amortized",
        {**EXPRESSION, "FilterExpression": {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": ["111122223333"]}}},
        lambda b: (b.scope.measure.metric, b.scope.filter),
        ("net_effective_cost", Match("account", ("111122223333",))),
    ),
    (
        "Return results that match either Dimension object",
        "an expression of all operators",
        {
            **EXPRESSION,
            "FilterExpression": {
                "Or": [
                    {"Tags": {"Key": "iamPrincipal/team", "Values": ["search"]}},
                    {"Not": {"Dimensions": {"Key": "REGION", "Values": ["eu-"], "MatchOptions": ["STARTS_WITH"]}}},
                ]
            },
        },
        lambda b: b.scope.filter,
        Or((TEAM, Not(Match("region", ("eu-",), MatchOption.STARTS_WITH)))),
    ),
    (
        "To match costs that have no value for the key, set MatchOptions to ABSENT and omit Values",
        "absent",
        {**EXPRESSION, "FilterExpression": {"ProductAttributes": {"Key": "provider", "MatchOptions": ["ABSENT"]}}},
        lambda b: b.scope.filter,
        Match("provider", (), MatchOption.ABSENT),
    ),
    (
        "The model provider, such as Anthropic , Cohere , or Amazon",
        "a provider",
        {**EXPRESSION, "FilterExpression": {"ProductAttributes": {"Key": "provider", "Values": ["Anthropic"]}}},
        lambda b: b.scope.filter,
        Match("provider", ("anthropic",)),
    ),
    (
        "The model, such as Claude Sonnet 5 or Claude Haiku 4.5",
        "a model by the name that AWS shows",
        {**EXPRESSION, "FilterExpression": {"ProductAttributes": {"Key": "model", "Values": ["Claude Haiku 4.5"]}}},
        lambda b: b.scope.filter,
        Match("model", ("anthropic.claude-haiku-4-5",)),
    ),
    (
        OURS + "Service Amazon Bedrock is everything in this ledger",
        "the service",
        {"CostFilters": {"Service": ["Amazon Bedrock"]}},
        lambda b: b.scope.filter,
        And(()),
    ),
    (
        "Amazon Web Services set your start date to 01/01/18 00:00 UTC",
        "a month without a start begins with the calendar's",
        {},
        lambda b: b.period_of(date(2026, 1, 24)).first_day,  # type: ignore[union-attr]
        date(2026, 1, 1),
    ),
    (
        "If you didn't specify an end date, Amazon Web Services set your end date to 06/15/87 00:00 UTC",
        "AWS's own end of time is none",
        {"TimePeriod": {"Start": "2026-01-01T00:00:00+00:00", "End": "2087-06-15T00:00:00+00:00"}},
        lambda b: (b.start, b.end),
        (date(2026, 1, 1), None),
    ),
    (
        SEEN + "older command lines print times as epoch seconds",
        "times as numbers",
        {"TimePeriod": {"Start": 1767225600.0, "End": 1798761600.0}},
        lambda b: (b.start, b.end),
        (date(2026, 1, 1), date(2026, 12, 31)),
    ),
    (
        "If the planned budget expires before 12 months for monthly or four quarters for quarterly",
        "a plan that expires is shorter",
        {
            **PLANNED_12,
            "PlannedBudgetLimits": epochs(*months(3)),
            "TimePeriod": {"Start": "2026-01-01T00:00:00Z", "End": "2026-04-01T00:00:00Z"},
        },
        lambda b: isinstance(b.limit, PlannedLimits) and len(b.limit.limits),
        3,
    ),
    (
        OURS + "what describe-budgets prints beside a plan is the current one of its limits",
        "a description has both limits",
        {"PlannedBudgetLimits": epochs(*months(12)), "CalculatedSpend": {"ActualSpend": {"Amount": "1", "Unit": "USD"}}},
        lambda b: isinstance(b.limit, PlannedLimits),
        True,
    ),
    (
        "An Amount of 3 A Unit of GB",
        "usage in thousands of tokens",
        {"BudgetType": "USAGE", "BudgetLimit": {"Amount": "250", "Unit": "1K tokens"}, "CostTypes": None},
        lambda b: (b.unit, b.limit),
        ("tokens", FixedLimit(Decimal(250_000))),
    ),
    (
        "USAGE , RI_UTILIZATION , RI_COVERAGE , SAVINGS_PLANS_UTILIZATION , and SAVINGS_PLANS_COVERAGE budgets do not",
        "usage counts every line",
        {"BudgetType": "USAGE", "BudgetLimit": {"Amount": "9", "Unit": "Requests"}, "CostTypes": None},
        lambda b: (b.unit, b.scope.filter),
        ("requests", TEAM),
    ),
]


@pytest.mark.parametrize(("source", "name", "changes", "read", "meaning"), MEANING, ids=[c[1] for c in MEANING])
def test_a_document_means_what_it_means_to_aws(
    source: str, name: str, changes: dict[str, Any], read: Callable[[Budget], Any], meaning: Any
) -> None:
    assert read(aws(**changes)) == meaning


# --- limits -----------------------------------------------------------------------------------------------------------


def limit_in(budget: Budget, day: date, spends: dict[date, str]) -> list[Decimal | int]:
    world = World([budget])
    for spent_on, amount in spends.items():
        world.spend(spent_on, amount, basis=Basis.BILLED)
    found: tuple[Evaluation, ...] = world.evaluate(datetime(day.year, day.month, day.day, 12, tzinfo=UTC)).evaluations
    return [found[0].limit, found[0].look_back_periods]


def historical(unit: str, periods: int) -> Budget:
    options = {"AutoAdjustType": "HISTORICAL", "HistoricalOptions": {"BudgetAdjustmentPeriod": periods}}
    return aws(TimeUnit=unit, BudgetLimit=None, AutoAdjustData=options)


LIMITS: list[tuple[str, str, Budget, dict[date, str], tuple[int, int]]] = [
    (
        LOOK_BACK,
        "four quarters of which the first has no cost data",
        historical("QUARTERLY", 4),
        {date(2025, 5, 1): "100", date(2025, 8, 1): "140", date(2025, 11, 1): "120"},
        (120, 3),
    ),
    (
        LOOK_BACK,
        "a period without cost data that is not the first counts as zero",
        historical("MONTHLY", 3),
        {date(2025, 11, 1): "90", date(2026, 1, 1): "60"},
        (50, 3),
    ),
    (
        "The number of budget periods included in the moving-average calculation",
        "two months, of unequal length",
        historical("MONTHLY", 2),
        {date(2025, 12, 31): "100", date(2026, 1, 1): "60"},
        (80, 2),
    ),
    (
        "After all of the BudgetLimit values in PlannedBudgetLimits are used, the budget continues to use the last limit",
        "a plan that is used up",
        aws(**{**PLANNED_12, "PlannedBudgetLimits": epochs(*[f"2025-{m:02}" for m in range(1, 13)])}),
        {},
        (100, 0),
    ),
]


@pytest.mark.parametrize(("source", "name", "budget", "spends", "limit"), LIMITS, ids=[c[1] for c in LIMITS])
def test_a_limit_adjusts_as_awss_does(
    source: str, name: str, budget: Budget, spends: dict[date, str], limit: tuple[int, int]
) -> None:
    assert limit_in(budget, date(2026, 2, 10), spends) == [*limit]


def test_a_limit_from_a_forecast_is_what_the_period_was_forecast_to_cost_when_it_began() -> None:
    budget = aws(BudgetLimit=None, AutoAdjustData={"AutoAdjustType": "FORECAST"})
    spends = {date(2025, 12, 1) + timedelta(days=i): "10" for i in range(70)}

    assert limit_in(budget, date(2026, 2, 10), spends) == [280, 0]


def test_an_absolute_threshold_of_a_usage_budget_is_in_the_unit_of_its_limit() -> None:
    budget = aws(
        BudgetType="USAGE",
        BudgetLimit={"Amount": "3", "Unit": "1K tokens"},
        CostTypes=None,
        Notifications=[notification(2.0, ThresholdType="ABSOLUTE_VALUE")],
    )
    world = World([budget])
    world.spend(date(2026, 3, 1), "1")
    world.spend(date(2026, 3, 2), "1")
    world.evaluate("2026-03-03")
    assert world.sent == []

    world.spend(date(2026, 3, 3), "1")
    world.evaluate("2026-03-03")

    assert world.sent == ["2026-03 ACTUAL 2000abs"]


ALL_SOURCES = [case[0] for cases in (FIRING, REFUSED, MEANING, LIMITS) for case in cases]


def test_there_are_forty_cases_and_more() -> None:
    assert len(ALL_SOURCES) >= 40


@pytest.mark.parametrize("source", sorted({s for s in ALL_SOURCES if not s.startswith((GUIDE, SEEN, OURS))}))
def test_a_sentence_of_the_api_is_one(source: str) -> None:
    assert plain(source) in api_text()
