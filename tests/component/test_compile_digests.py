"""The function that compiles digests: what the owners of a route spent, at its own time, once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from adapters.alerts import DynamoOutbox
from adapters.policy import DynamoPolicy, parse_policy
from attribution.digests import DigestKey
from tests.support.alerts import put_anomaly
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages

FUNCTION = "compile_digests"
ROUTE = {
    "name": "search",
    "match": {"team": ["search"]},
    "digests": [{"every": "day", "at": "09:00", "time_zone": "Europe/Berlin"}],
}


@pytest.fixture
def spent(stack: Stack) -> Stack:
    """October 5 has an estimate of $0.202389 for the team search; it is the morning after, a quarter past nine in Berlin."""
    stack.now = datetime(2026, 10, 6, 7, 15, tzinfo=UTC)
    apply(stack, ROUTE)
    stack.run("roll_up_usage", load_event("roll_up_usage"))
    stack.run("allocate_charges", load_event("allocate_charges"))
    return stack


def apply(stack: Stack, *routes: dict[str, Any]) -> None:
    DynamoPolicy(stack.table("LedgerTable")).apply(parse_policy({"routes": list(routes)}))


def digests(stack: Stack) -> list[dict[str, Any]]:
    return [item["digest"] for item in stack.items("AlertsTable") if "digest" in item]


def test_the_sample_event_makes_the_digest_that_is_due(spent: Stack) -> None:
    assert spent.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    (digest,) = digests(spent)
    assert digest["title"] == "search: Monday, 5 October"
    assert digest["lines"][0] | {"key": ""} == {
        "rank": 0,
        "label": "search",
        "amount": "$0.20",
        "note": "+$0.20, new",
        "key": "",
    }
    assert digest["summary"] == "$0.20 in all, new against the same day a week before\nAll of it estimated from usage."
    assert spent.metrics()["DigestsMade"] == 1


def test_a_repeated_event_changes_nothing(spent: Stack) -> None:
    spent.run(FUNCTION, load_event(FUNCTION))
    before = spent.wire_items("AlertsTable")
    spent.now += timedelta(minutes=15)

    spent.run(FUNCTION, load_event(FUNCTION))

    assert spent.wire_items("AlertsTable") == before


@pytest.mark.parametrize("now", [datetime(2026, 10, 6, 6, 59, tzinfo=UTC), datetime(2026, 10, 6, 13, 1, tzinfo=UTC)])
def test_before_its_time_and_long_after_it_there_is_no_digest(spent: Stack, now: datetime) -> None:
    spent.now = now

    spent.run(FUNCTION, load_event(FUNCTION))

    assert digests(spent) == []


def test_a_weekly_digest_is_made_on_mondays(spent: Stack) -> None:
    apply(spent, ROUTE | {"digests": [{"every": "week", "at": "09:00"}]})
    spent.run(FUNCTION, load_event(FUNCTION))
    assert digests(spent) == []
    spent.now = datetime(2026, 10, 12, 9, 30, tzinfo=UTC)

    spent.run(FUNCTION, load_event(FUNCTION))

    (digest,) = digests(spent)
    assert digest["title"] == "search: the week 2026-10-05 to 2026-10-11"


def test_nobody_is_told_that_nothing_was_spent(spent: Stack) -> None:
    apply(spent, ROUTE | {"match": {"team": ["support"]}})

    spent.run(FUNCTION, load_event(FUNCTION))

    assert digests(spent) == []


def test_a_route_without_matches_tells_of_everybody(spent: Stack) -> None:
    apply(spent, {"name": "finops", "digests": [{"every": "day"}]})
    spent.now = datetime(2026, 10, 6, 9, 15, tzinfo=UTC)

    spent.run(FUNCTION, load_event(FUNCTION))

    (digest,) = digests(spent)
    assert digest["title"] == "By team: Monday, 5 October"


def test_an_open_alert_of_the_route_is_named(spent: Stack) -> None:
    image = load_event("deliver_alerts")["Records"][0]["dynamodb"]["NewImage"]
    spent.dynamodb.put_item(TableName="AlertsTable", Item=image)

    spent.run(FUNCTION, load_event(FUNCTION))

    (digest,) = digests(spent)
    assert "Open: search-monthly at 81 %" in digest["summary"]


def test_the_alert_of_an_open_anomaly_of_the_route_is_named_by_what_it_costs(spent: Stack) -> None:
    outbox = DynamoOutbox(spent.table("AlertsTable"), 30, lambda: spent.now)
    put_anomaly(outbox, spent.now, day=date(2026, 10, 4))

    spent.run(FUNCTION, load_event(FUNCTION))

    (digest,) = digests(spent)
    assert "Open: anomaly: team=search +$39.00" in digest["summary"]


def failing(handler: Any, monkeypatch: pytest.MonkeyPatch, dimension: str) -> None:
    """The ledger does not answer for one dimension."""
    original = handler.days.sums

    def sums(pointers: Any, asked: str) -> Any:
        if asked == dimension:
            raise ConnectionError("the table does not answer")
        return original(pointers, asked)

    monkeypatch.setattr(handler.days, "sums", sums)


def test_a_digest_that_cannot_be_made_holds_no_other_back_and_is_visible(spent: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"name": "models", "digests": [{"every": "day", "dimension": "model", "at": "07:00"}]}
    apply(spent, broken, ROUTE)
    handler = spent.handler(FUNCTION)
    failing(handler, monkeypatch, "model")

    assert spent.invoke(handler, messages(FUNCTION, ["{}"])) == failed("m0")
    assert spent.invoke(handler, messages(FUNCTION, ["{}"])) == failed("m0")

    assert [digest["title"] for digest in digests(spent)] == ["search: Monday, 5 October"], "once only"
    (fault,) = DynamoOutbox(spent.table("AlertsTable"), 30, lambda: spent.now).faults("models")
    assert (fault.key, fault.attempts) == (DigestKey("models", "day#model#2026-10-06"), 2)
    assert fault.error == "ConnectionError: the table does not answer"
    assert spent.metrics()["DigestsFailed"] == 2


def test_a_digest_that_could_not_be_made_is_made_later_and_its_fault_forgotten(
    spent: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = spent.handler(FUNCTION)
    with monkeypatch.context() as patched:
        failing(handler, patched, "team")
        spent.invoke(handler, load_event(FUNCTION))

    assert spent.invoke(handler, load_event(FUNCTION)) == FAILED_NONE

    assert [item["sk"] for item in spent.items("AlertsTable")] == ["day#team#2026-10-06"]


def test_a_policy_that_cannot_be_read_brings_the_message_back(spent: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = spent.handler(FUNCTION)

    def fails(*_: Any) -> Any:
        raise ConnectionError("the table does not answer")

    monkeypatch.setattr(handler.policy, "routes", fails)

    assert spent.invoke(handler, messages(FUNCTION, ["{}"])) == failed("m0")
