"""The function that looks for anomalies: one look per batch, kept in the ledger, told on the bus, judged by people."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.anomalies import DynamoAnomalies
from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy, parse_policy
from attribution.allocation import estimate_day
from attribution.anomaly_tracking import Verdict, judge
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.meters import Routing, Tier, TokenKind
from attribution.periods import BillingPeriod
from attribution.usage import Counters, Usage, UsageKey
from tests.support.stack import ACCOUNT, FAILED_NONE, REGION, Stack, failed, load_event, messages

FUNCTION = "detect_anomalies"
TODAY = date(2026, 10, 20)
DAY = timedelta(days=1)
CALLER = "arn:aws:iam::111122223333:role/search"
NAME = f"team=search#{TODAY - DAY}"


@pytest.fixture
def spending(stack: Stack) -> Stack:
    """Two weeks of $100 a day of one team, and a last day of $700."""
    stack.now = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=9)
    for back in range(14, 1, -1):
        spend(stack, TODAY - back * DAY, "100")
    spend(stack, TODAY - DAY, "700")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:heard"
    stack.sqs.create_queue(QueueName="heard")
    stack.events.put_rule(Name="heard", EventPattern=json.dumps({"detail-type": ["AnomalyDetected"]}), State="ENABLED")
    stack.events.put_targets(Rule="heard", Targets=[{"Id": "queue", "Arn": arn}])
    return stack


def spend(stack: Stack, day: date, amount: str) -> None:
    days = DynamoLedgerDays(stack.table("LedgerTable"), 760, lambda: stack.now)
    key = UsageKey(day, "111122223333", REGION, "m", Routing.REGIONAL, Tier.STANDARD, CALLER, "", (("team", "search"),))
    used = [Usage(key, Counters(1, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(amount)}))]
    rules = DynamoPolicy(stack.table("LedgerTable")).rules(day)
    version = make_day_version(day, Basis.ESTIMATED, estimate_day(used, rules, "USD"), rules, origin="", usage=amount)
    days.flip([days.stage(version, "")], replacing=days.pointers(BillingPeriod.of(day)))


def anomalies(stack: Stack) -> DynamoAnomalies:
    return DynamoAnomalies(stack.table("LedgerTable"), 760, lambda: stack.now)


def heard(stack: Stack) -> list[dict[str, Any]]:
    url = stack.sqs.get_queue_url(QueueName="heard")["QueueUrl"]
    found = stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"])["detail"] for message in found]


def test_the_sample_event_keeps_the_anomaly_and_says_it_once(spending: Stack) -> None:
    answer = spending.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    (said,) = heard(spending)
    assert (said["change"], said["name"], said["state"]) == ("found", NAME, "open")
    assert (said["total_actual"], said["total_expected"], said["total_impact"]) == ("700", "100", "600")
    (cause,) = said["root_causes"]
    assert (cause["iam_principal"], cause["token_kind"], cause["contribution"]) == (CALLER, "input", "600")
    assert {(a.name, a.part_of) for a in anomalies(spending).since(TODAY - DAY)} == {
        (NAME, ""),
        (f"iam_principal={CALLER}#{TODAY - DAY}", NAME),
        (f"model=m#{TODAY - DAY}", NAME),
    }
    assert (spending.metrics()["AnomaliesFound"], spending.metrics()["AnomaliesOpen"]) == (1, 1)


def test_a_repeated_event_changes_nothing(spending: Stack) -> None:
    spending.run(FUNCTION, load_event(FUNCTION))
    heard(spending)
    before = spending.wire_items("LedgerTable")
    spending.now += timedelta(minutes=30)

    assert spending.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert spending.wire_items("LedgerTable") == before
    assert heard(spending) == []


def test_an_anomaly_is_read_back_as_it_was_kept(spending: Stack) -> None:
    spending.run(FUNCTION, load_event(FUNCTION))

    (kept,) = (a for a in anomalies(spending).since(TODAY - DAY) if a.name == NAME)

    assert [(d.day, d.actual, d.expected, d.upper) for d in kept.anomaly.days] == [
        (TODAY - DAY, Decimal(700), Decimal(100), Decimal(125))
    ]
    assert (kept.anomaly.monitor, kept.revision, kept.found_at, kept.ranked_days) == ("team", 1, spending.now, 1)


def test_a_batch_is_one_look(spending: Stack) -> None:
    spending.run(FUNCTION, messages(FUNCTION, [{"detail": {}}] * 5))

    assert len(spending.said("anomalies detected")) == 1


def test_what_people_say_counts_at_the_next_look(spending: Stack) -> None:
    spending.run(FUNCTION, load_event(FUNCTION))
    heard(spending)
    store = anomalies(spending)
    for each in store.since(TODAY - DAY):
        store.judge(judge(each, Verdict.PLANNED, None, "ana", spending.now))

    spending.run(FUNCTION, messages(FUNCTION, [{"detail": {}}]))

    assert [(said["change"], said["state"]) for said in heard(spending)] == [("judged", "planned")]
    assert next((f.verdict, f.by, f.last_day) for f in store.feedback()) == (Verdict.PLANNED, "ana", TODAY + 12 * DAY)


def test_a_policy_without_monitors_watches_nothing(spending: Stack) -> None:
    DynamoPolicy(spending.table("LedgerTable")).apply(parse_policy({"anomaly_monitors": []}))

    spending.run(FUNCTION, load_event(FUNCTION))

    assert anomalies(spending).since(TODAY - DAY) == []


def test_a_policy_decides_what_is_watched_and_from_which_impact_on(spending: Stack) -> None:
    monitors = [
        {"name": "dear models", "dimension": "model", "minimum_impact": "600.01"},
        {"name": "search", "dimension": "team", "values": ["search"], "minimum_impact": "600", "minimum_percent": "600"},
    ]
    DynamoPolicy(spending.table("LedgerTable")).apply(parse_policy({"anomaly_monitors": monitors}))

    spending.run(FUNCTION, load_event(FUNCTION))

    assert [(a.anomaly.monitor, a.name) for a in anomalies(spending).since(TODAY - DAY)] == [("search", NAME)]


@pytest.mark.parametrize("body", ["CANARY no JSON", {"detail": {"billing_period": "CANARY", "usage_dates": []}}])
def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(spending: Stack, body: Any) -> None:
    answer = spending.run(FUNCTION, messages(FUNCTION, [body, {"detail": {}}]))

    assert answer == FAILED_NONE
    (notice,) = spending.notices()
    assert "CANARY" not in json.dumps(notice) + spending.log.getvalue()
    assert len(heard(spending)) == 1


def test_a_look_that_fails_returns_its_whole_batch(spending: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = spending.handler(FUNCTION)

    def fails(*_: Any) -> Any:
        raise ConnectionError("the table does not answer")

    monkeypatch.setattr(handler.days, "sums", fails)

    assert spending.invoke(handler, messages(FUNCTION, [{"detail": {}}] * 2)) == failed("m0", "m1")


def test_without_a_policy_every_cost_category_caller_and_model_is_watched(stack: Stack) -> None:
    monitors = DynamoPolicy(stack.table("LedgerTable")).monitors()

    assert [m.name for m in monitors] == [m.dimension for m in monitors] == ["team", "iam_principal", "model"]
