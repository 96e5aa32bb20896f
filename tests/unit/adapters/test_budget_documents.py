"""Budgets as people write them: what they mean, and that whatever is written is a budget or a reason."""

from __future__ import annotations

import copy
import json
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.policy import parse_policy
from attribution.budget_periods import TimeUnit
from attribution.budgets import (
    BudgetType,
    Comparison,
    FixedLimit,
    ForecastLimit,
    HistoricalLimit,
    Notification,
    NotificationType,
    PlannedLimits,
    ThresholdType,
)
from attribution.conditions import And
from attribution.errors import PolicyInvalid
from attribution.meters import TokenKind
from attribution.scopes import Match, Measure
from tests.support.budgets import aws_budget, built, forecasted, notification

SHORT: dict[str, Any] = {"name": "search", "limit": {"amount": "1200"}, "dimension": "team", "values": ["search"]}


ACTUAL = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN"}


def short(**changes: Any) -> dict[str, Any]:
    return SHORT | changes


def refusal(*budgets: dict[str, Any]) -> str:
    with pytest.raises(PolicyInvalid) as refused:
        parse_policy({"budgets": list(budgets)})
    return str(refused.value)


def test_the_short_form_is_a_monthly_cost_budget_that_tells_at_80_and_100_percent() -> None:
    budget = built(SHORT)

    assert (budget.type, budget.time_unit, budget.zone_name) == (BudgetType.COST, TimeUnit.MONTHLY, "UTC")
    assert (budget.limit, budget.scope.filter) == (FixedLimit(Decimal(1200)), Match("team", ("search",)))
    assert budget.scope.measure == Measure("billed_cost", "USD")
    assert budget.notifications == (Notification(Decimal(80)), Notification(Decimal(100)))
    assert not budget.aws_compatible


def test_the_short_form_says_all_that_aws_can_say() -> None:
    budget = built(
        short(
            limit={"amount": "5000000", "unit": "tokens"},
            token_kinds=["output"],
            period="quarterly",
            start="2026-02-01",
            end="2027-01-31",
            time_zone="America/New_York",
            filter={"Dimensions": {"Key": "model", "Values": ["amazon.nova-pro"]}},
            thresholds=[50],
            forecast_thresholds=[100],
            notifications=[notification("10.5", ComparisonOperator="LESS_THAN", ThresholdType="ABSOLUTE_VALUE")],
            aws_compatible=True,
        )
    )

    assert (budget.type, budget.unit, budget.time_unit) == (BudgetType.USAGE, "tokens", TimeUnit.QUARTERLY)
    assert budget.scope.measure.token_kinds == (TokenKind.OUTPUT,)
    assert (budget.start, budget.end, budget.zone) == (date(2026, 2, 1), date(2027, 1, 31), ZoneInfo("America/New_York"))
    assert budget.scope.filter == And((Match("team", ("search",)), Match("model", ("amazon.nova-pro",))))
    assert budget.notifications == (
        Notification(Decimal(50)),
        Notification(Decimal(100), NotificationType.FORECASTED),
        Notification(Decimal("10.5"), NotificationType.ACTUAL, Comparison.LESS_THAN, ThresholdType.ABSOLUTE_VALUE),
    )


@pytest.mark.parametrize(
    ("limit", "meaning"),
    [
        ({"history_periods": 3}, HistoricalLimit(3)),
        ({"from_forecast": True}, ForecastLimit()),
        (
            {"planned": {"2026-12": "7", "2026-11-01": "5"}},
            PlannedLimits(((date(2026, 11, 1), Decimal(5)), (date(2026, 12, 1), Decimal(7)))),
        ),
    ],
)
def test_a_limit_may_be_planned_or_adjust_itself(limit: dict[str, Any], meaning: Any) -> None:
    assert built(short(limit=limit)).limit == meaning


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dimension": "colour"}, "budget 'search': unknown dimension 'colour'; choose from ["),
        ({"dimension": ""}, "values need the dimension that has them"),
        ({"metric": "blended_cost"}, "unknown metric 'blended_cost'"),
        ({"limit": {"amount": "1", "history_periods": 3}}, "write one of amount, planned, history_periods and from_forecast"),
        ({"limit": {"history_periods": 13}}, "the maximum of a MONTHLY budget is 12, not 13"),
        ({"limit": {"history_periods": 13}}, "limit.history_periods: "),
        ({"limit": {"planned": {"November": "1"}}}, "limit.planned: budget 'search': 'November' is no month or day"),
        (
            {"limit": {"planned": {"9999-12": "1"}}},
            "limit.planned: budget 'search': '9999-12' is no month or day between 2000 and 2100",
        ),
        (
            {"limit": {"planned": {"2026-11": "1", "2026-11-01": "2"}}},
            "limit.planned: budget 'search': two limits begin on the same day",
        ),
        ({"limit": {"planned": {}}}, "budgets.0.limit.planned: "),
        ({"start": "0001-01-01"}, "budgets.0.start: Value error, a budget begins and ends between 2000 and 2100"),
        ({"end": "9999-12-31"}, "budgets.0.end: Value error, a budget begins and ends between 2000 and 2100"),
        ({"notifications": [ACTUAL | {"Threshold": "1E-300"}]}, "budgets.0.notifications.0.Threshold: "),
        ({"notifications": [ACTUAL | {"Threshold": "80." + "1" * 150}]}, "budgets.0.notifications.0.Threshold: "),
        ({"time_zone": "Europe/Atlantis"}, "there is no time zone 'Europe/Atlantis'"),
        ({"time_zone": "../etc/passwd"}, "there is no time zone"),
        ({"period": "custom"}, "a custom period needs start and end"),
        ({"period": "daily", "forecast_thresholds": [100]}, "a DAILY budget cannot have FORECASTED notifications"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "the start must come before the end"),
        ({"token_kinds": ["input"]}, "token_kinds go with a limit whose unit is tokens"),
        ({"limit": {"amount": "1", "unit": "tokens"}, "token_kinds": ["page"]}, "page is not counted in tokens"),
        ({"thresholds": []}, "a budget without thresholds and notifications tells nobody"),
        ({"parent": "nobody"}, "budgets.0.parent: budget 'search': there is no budget 'nobody'"),
        ({"parent": "search"}, "budgets.0.parent: budget 'search': it is a part of itself"),
        ({"name": "a:b"}, "budgets.0.name"),
        (
            {"filter": {"Tags": {"Key": "colour", "Values": ["red"]}}},
            "budgets.0.filter.Tags.Key: budget 'search': no cost category inherits from",
        ),
        ({"filter": {}}, "each expression has exactly one root"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place_and_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(short(**changes))


def test_budgets_of_both_forms_have_names_of_their_own() -> None:
    assert "budget 'search' is defined twice" in refusal(SHORT, {"aws": aws_budget()})


def test_a_chain_of_parents_that_ends_where_it_begins_is_refused() -> None:
    chain = [short(name=name, parent=parent) for name, parent in (("a", "b"), ("b", "c"), ("c", "a"))]

    assert "it is a part of itself" in refusal(*chain)


def test_an_expression_nested_deeper_than_anybody_reads_is_refused() -> None:
    expression: dict[str, Any] = {"Dimensions": {"Key": "model", "Values": ["m"]}}
    for _ in range(12):
        expression = {"Not": expression}

    assert "may be nested 10 deep" in refusal(short(filter=expression))


def test_what_is_applied_reads_back_as_the_same_budgets() -> None:
    document = parse_policy({"budgets": [SHORT, {"aws": aws_budget(BudgetName="other"), "time_zone": "Asia/Tokyo"}]})

    plain = json.loads(json.dumps(document.model_dump(mode="json", exclude_none=True)))

    assert parse_policy(plain) == document


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [p for key, child in children for p in paths(child, (*path, key))]


WHOLE = {
    "aws": aws_budget(
        CostFilters=None,
        CostTypes=None,
        Metrics=["UnblendedCost"],
        FilterExpression={
            "And": [
                {"Tags": {"Key": "team", "Values": ["search"], "MatchOptions": ["EQUALS"]}},
                {"Not": {"ProductAttributes": {"Key": "provider", "Values": ["Amazon"]}}},
            ]
        },
        TimePeriod={"Start": "2026-01-01T00:00:00Z", "End": 3706473600},
        AutoAdjustData={"AutoAdjustType": "HISTORICAL", "HistoricalOptions": {"BudgetAdjustmentPeriod": 3}},
        Notifications=[notification(), forecasted()],
    ),
    "time_zone": "Europe/Berlin",
}
JUNK: list[Any] = [None, True, "", "x", "-1", -1, 10**400, 1e308, "NaN", "Infinity", [], {}, [{}], {"a": 1}, "2026-99-99"]


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_written_is_a_budget_or_a_reason(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from([WHOLE, SHORT])))
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from(paths(document)))
        holder: Any = document
        for key in parents:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[last] = data.draw(st.sampled_from(JUNK))
        else:
            del holder[last]

    try:
        parsed = parse_policy({"budgets": [document]})
    except PolicyInvalid as error:
        assert "budgets.0" in str(error) or "budget '" in str(error) or "document" in str(error)
    else:
        assert len(parsed.budgets) == 1
