"""The function that compares budgets with spend: alerts are raised once, corrected when a bill says less, and told apart."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.ledger_days import DynamoLedgerDays
from adapters.packing import pack_metered, unpack_metered
from adapters.policy import DynamoPolicy, parse_policy
from attribution.periods import BillingPeriod
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages, windowed

FUNCTION = "evaluate_budgets"
SCHEDULED: dict[str, Any] = {"detail": {}}


@pytest.fixture
def spent(stack: Stack) -> Stack:
    """October 5 has an estimate of $0.202389 for the team search, whose budget is $0.25."""
    stack.now = datetime(2026, 10, 6, tzinfo=UTC)
    apply(stack, "0.25")
    stack.run("roll_up_usage", load_event("roll_up_usage"))
    stack.run("allocate_charges", load_event("allocate_charges"))
    return stack


def apply(stack: Stack, limit: str, **more: Any) -> None:
    budget = {"name": "search-monthly", "limit": {"amount": limit}, "dimension": "team", "values": ["search"]} | more
    DynamoPolicy(stack.table("LedgerTable")).apply(parse_policy({"budgets": [budget]}))


def alerts(stack: Stack) -> dict[str, tuple[str, str, int]]:
    found = [(item, item["alert"]) for item in stack.items("AlertsTable")]
    return {
        alert["crossed"][-1]["name"] if alert["crossed"] else "": (item["state"], item["delivery_status"], int(alert["news"]))
        for item, alert in found
    }


def test_the_sample_event_raises_the_alert_of_a_threshold_that_is_crossed(spent: Stack) -> None:
    answer = spent.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    assert alerts(spent) == {"ACTUAL#80": ("alarm", "pending", 1)}
    (item,) = spent.items("AlertsTable")
    figures = item["alert"]["figures"]
    assert (figures["billed"], figures["estimated"]) == ("0", "0.202389")
    assert [driver["name"].split()[0] for driver in figures["drivers"]] == ["token_kind", "token_kind"]
    assert spent.metrics()["AlertsChanged"] == 1


def test_the_sample_event_without_budgets_changes_nothing(stack: Stack) -> None:
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert stack.items("AlertsTable") == []


def test_a_repeated_event_changes_nothing(spent: Stack) -> None:
    spent.run(FUNCTION, load_event(FUNCTION))
    before = spent.wire_items("AlertsTable")
    spent.now += timedelta(hours=1)

    answer = spent.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    assert spent.wire_items("AlertsTable") == before


def test_the_schedule_evaluates_the_period_that_runs_now(spent: Stack) -> None:
    spent.run(FUNCTION, messages(FUNCTION, [SCHEDULED]))
    assert set(alerts(spent)) == {"ACTUAL#80"}

    spent.now = datetime(2026, 11, 1, tzinfo=UTC)
    spent.run(FUNCTION, messages(FUNCTION, [SCHEDULED]))

    assert spent.said("budgets evaluated")[-1]["thresholds_crossed"] == 0
    assert {i["alert"]["key"]["period"] for i in spent.items("AlertsTable")} == {"2026-10"}


def test_what_budgets_count_of_a_day_is_kept_and_read_the_next_time(spent: Stack) -> None:
    for _ in range(2):
        spent.run(FUNCTION, load_event(FUNCTION))

    assert [said["days_summed"] for said in spent.said("budgets evaluated")] == [1, 0]
    (kept,) = [item for item in spent.items("LedgerTable") if item["pk"].startswith("SPEND#")]
    assert kept["pk"] == "SPEND#2026-10-05"


def test_two_thresholds_that_are_crossed_together_are_one_alert(spent: Stack) -> None:
    apply(spent, "0.10")

    spent.run(FUNCTION, load_event(FUNCTION))

    assert alerts(spent) == {"ACTUAL#100": ("alarm", "pending", 1)}


def test_an_alert_whose_spend_turns_out_lower_is_corrected_once(spent: Stack) -> None:
    spent.run(FUNCTION, load_event(FUNCTION))
    event = load_event("roll_up_usage")["Records"][1]
    change = event["dynamodb"]
    half = unpack_metered(base64.b64decode(change["NewImage"]["metered"]["B"]))
    kinds = {kind: replace(priced, cost=Decimal("0.01")) for kind, priced in half.kinds.items()}
    packed = pack_metered(replace(half, kinds=kinds))
    zero = change["NewImage"] | {"metered": {"B": base64.b64encode(packed).decode()}}
    correction = change | {"OldImage": change["NewImage"], "NewImage": zero, "SequenceNumber": "2405500000000002063282833"}
    spent.run("roll_up_usage", windowed([event | {"dynamodb": correction}]))
    spent.run("allocate_charges", load_event("allocate_charges"))

    for _ in range(2):
        spent.run(FUNCTION, load_event(FUNCTION))

    assert alerts(spent) == {"": ("recovered", "pending", 2)}


def test_a_budget_in_awss_words_counts_by_several_dimensions_at_once(spent: Stack) -> None:
    expression = {
        "And": [
            {"Tags": {"Key": "team", "Values": ["search"]}},
            {"Dimensions": {"Key": "token_kind", "Values": ["output"]}},
            {"Not": {"ProductAttributes": {"Key": "provider", "Values": ["Amazon"]}}},
        ]
    }
    budget = {
        "BudgetName": "Search, output",
        "BudgetType": "COST",
        "TimeUnit": "DAILY",
        "BudgetLimit": {"Amount": "0.01", "Unit": "USD"},
        "FilterExpression": expression,
        "Metrics": ["UnblendedCost"],
        "TimePeriod": {"Start": "2026-10-01T00:00:00+00:00", "End": "2087-06-15T00:00:00+00:00"},
    }
    notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 100.0}
    document = {"aws": {"Budget": budget, "Notifications": [notification]}, "time_zone": "Europe/Berlin"}
    DynamoPolicy(spent.table("LedgerTable")).apply(parse_policy({"budgets": [document]}))

    # October 5 is complete at midnight, UTC.
    spent.run(FUNCTION, load_event(FUNCTION))

    (item,) = spent.items("AlertsTable")
    assert item["pk"] == "ALERT#Search, output#2026-10-05"
    days = DynamoLedgerDays(spent.table("LedgerTable"), 760, lambda: spent.now)
    (pointer,) = days.pointers(BillingPeriod(2026, 10)).values()
    by_kind = days.sums([pointer], "token_kind")[pointer.usage_date]
    assert Decimal(item["alert"]["figures"]["estimated"]) == by_kind["output", "USD"].costs.billed_cost


@pytest.mark.parametrize(
    "body",
    [
        "CANARY no JSON",
        {"detail": {"billing_period": "CANARY", "usage_dates": []}},
        {"detail": {"billing_period": "2026-13", "usage_dates": []}},
        {"detail": ["CANARY"]},
    ],
)
def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(spent: Stack, body: Any) -> None:
    good = json.loads(load_event(FUNCTION)["Records"][0]["body"])

    answer = spent.run(FUNCTION, messages(FUNCTION, [body, good]))

    assert answer == FAILED_NONE
    (notice,) = spent.notices()
    assert notice["source"] == "message m0"
    assert "CANARY" not in json.dumps(notice) + spent.log.getvalue()
    assert set(alerts(spent)) == {"ACTUAL#80"}


def test_all_budgets_are_evaluated_once_for_a_batch_of_messages(spent: Stack) -> None:
    bodies = [
        {"detail": {"billing_period": day[:7], "usage_dates": [day]}} for day in ("2026-09-30", "2026-10-05", "2026-10-05")
    ]

    assert spent.run(FUNCTION, messages(FUNCTION, [*bodies, SCHEDULED])) == FAILED_NONE

    (said,) = spent.said("budgets evaluated")
    assert said["evaluations"] == 2, "in September, for the first message, and in October"
    assert set(alerts(spent)) == {"ACTUAL#80"}


def test_a_ledger_that_does_not_answer_brings_the_message_back(spent: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = spent.handler(FUNCTION)

    def fails(_: Any) -> Any:
        raise ConnectionError("the table does not answer")

    monkeypatch.setattr(handler.days, "pointers", fails)

    assert spent.invoke(handler, messages(FUNCTION, [SCHEDULED])) == failed("m0")


def test_only_the_message_that_failed_is_returned(spent: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = spent.handler(FUNCTION)
    original = handler.days.pointers

    def fails_for_march(period: Any) -> Any:
        if str(period) == "2026-03":
            raise ConnectionError("the table does not answer")
        return original(period)

    monkeypatch.setattr(handler.days, "pointers", fails_for_march)
    bodies = [{"detail": {"billing_period": day[:7], "usage_dates": [day]}} for day in ("2026-03-01", "2026-10-05")]

    assert spent.invoke(handler, messages(FUNCTION, bodies)) == failed("m0")

    assert set(alerts(spent)) == {"ACTUAL#80"}


def test_two_evaluations_at_once_raise_one_alert(spent: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = spent.handler(FUNCTION)
    original = slow.alerts.get_many

    def overtaken(keys: Any) -> Any:
        current = original(keys)
        monkeypatch.undo()
        spent.run(FUNCTION, load_event(FUNCTION))
        return current

    monkeypatch.setattr(slow.alerts, "get_many", overtaken)

    assert spent.invoke(slow, load_event(FUNCTION)) == FAILED_NONE

    assert alerts(spent) == {"ACTUAL#80": ("alarm", "pending", 1)}
