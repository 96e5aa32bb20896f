"""The function that prices what was recorded without a price: the counters then equal those of requests priced at once."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from moto import mock_aws

from adapters.concurrency import results
from adapters.directory import DynamoDirectory
from adapters.invocations import DynamoInvocations
from attribution.directory import Described, entry_of
from attribution.meters import TokenKind
from attribution.ports import MeteredHalf, ObservedHalf, UnpricedUsage
from attribution.recounts import recount
from attribution.usage import PricedKind
from tests.support import inputs
from tests.support.bedrock import foundation_model
from tests.support.inputs import load_prices, record_logs
from tests.support.stack import FAILED_NONE, Stack, held_back, load_event, messages, windowed
from tests.unit.attribution.examples import NOON, invocation, metered, observed
from truth import summary

FUNCTION = "reprice_invocations"
REQUESTS = 60


def invocations_of(stack: Stack) -> DynamoInvocations:
    return DynamoInvocations(stack.table("InvocationsTable"), 3650, lambda: stack.now)


def know_profiles(stack: Stack) -> None:
    """Put the company's inference profiles into the directory, as `sync_directory` does."""
    directory = DynamoDirectory(stack.table("LedgerTable"))
    for arn, profile in summary.directory()["inference_profiles"].items():
        anywhere = [foundation_model(profile["model_id"], "")] if profile["routing"] == "global" else []
        directory.put(entry_of(Described(arn, (*anywhere, foundation_model(profile["model_id"]))), None, stack.now))


def markers(stack: Stack) -> list[str]:
    """What awaits a price: a day and a model each."""
    return sorted({item["unpriced"] for item in stack.items("InvocationsTable") if "unpriced" in item})


def reprice_everything(stack: Stack) -> int:
    """Reprice every day and model that awaits a price; returns how many messages that took."""
    handler = stack.handler(FUNCTION)
    waiting = [dict(zip(("usage_date", "model"), marker.split("#", 1), strict=True)) for marker in markers(stack)]
    count = 0
    while waiting:
        assert stack.invoke(handler, messages(FUNCTION, [waiting.pop(0)])) == FAILED_NONE
        count += 1
        waiting += [json.loads(message.body) for message in stack.drain("RepriceQueue")]
    return count


def counters(stack: Stack) -> list[dict[str, Any]]:
    """The usage counters, without those that went back to zero and when they expire."""
    stack.run("roll_up_usage", windowed(list(stack.stream("InvocationsTable"))))
    found = []
    for item in stack.items("LedgerTable"):
        amounts = {name: value for name, value in item.items() if value and name != "expires_at"}
        if item["pk"].startswith("USAGE#") and amounts.get("requests"):
            found.append(amounts)
    return found


def test_requests_priced_later_are_what_they_would_have_been_priced_at_once() -> None:
    with mock_aws():
        at_once = Stack()
        load_prices(at_once)
        know_profiles(at_once)
        record_logs(at_once, inputs.month(REQUESTS))
        expected = counters(at_once)
        recorded = at_once.invocations()
    with mock_aws():
        later = Stack()
        record_logs(later, inputs.month(REQUESTS))
        before = counters(later)
        load_prices(later)
        know_profiles(later)

        reprice_everything(later)

        assert later.invocations() == recorded
        assert counters(later) == expected != before
        assert markers(later) == []
        assert later.metrics()["InvocationsRepriced"] > 0


def test_the_sample_event_where_nothing_waits_changes_nothing(stack: Stack) -> None:
    record_logs(stack, inputs.month(20))
    before = stack.wire_items("InvocationsTable")

    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert stack.wire_items("InvocationsTable") == before


def test_the_same_message_again_changes_nothing(stack: Stack) -> None:
    record_logs(stack, inputs.month(20))
    load_prices(stack)
    marker = markers(stack)[0].split("#", 1)
    event = messages(FUNCTION, [{"usage_date": marker[0], "model": marker[1]}])
    stack.run(FUNCTION, event)
    before = stack.wire_items("InvocationsTable")

    stack.run(FUNCTION, event)

    assert stack.wire_items("InvocationsTable") == before


def test_more_requests_than_a_message_has_are_asked_for_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    record_logs(stack, inputs.month(REQUESTS))
    load_prices(stack)
    know_profiles(stack)
    monkeypatch.setattr("attribution.flows.reprice_invocations.REQUESTS_PER_MESSAGE", 1)
    waiting = sum("unpriced" in item for item in stack.items("InvocationsTable"))

    assert reprice_everything(stack) >= waiting
    assert markers(stack) == []


# The table ------------------------------------------------------------------------------------------------------------

USAGE = UnpricedUsage(NOON.date(), metered().model)
UNPRICED = metered(kinds={TokenKind.INPUT: PricedKind(1000, None)}, price_source="")
PRICED = metered()
OTHERWISE = metered(kinds={TokenKind.INPUT: PricedKind(1000, Decimal("0.009"), "9 USD per 1000000")})


def test_a_request_is_in_the_index_while_it_awaits_a_price(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key
    table.record_metered([MeteredHalf(key, UNPRICED)])
    assert table.unpriced(USAGE, after="", limit=10) == [key]
    assert table.unpriced(USAGE, after=str(key), limit=10) == []

    assert table.replace_metered(key, UNPRICED, PRICED)

    assert table.unpriced(USAGE, after="", limit=10) == []
    assert table.get(key) == invocation(metered=PRICED)
    (again,) = results(table.record_metered([MeteredHalf(key, UNPRICED)]))
    assert not again.conflicts


def test_what_was_not_used_at_all_awaits_no_price(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key

    table.record_observed([ObservedHalf(key, observed(kinds={TokenKind.INPUT: PricedKind(0, None)}))])

    assert markers(stack) == []


def test_a_request_that_changed_since_it_was_read_is_left_alone(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key
    table.record_metered([MeteredHalf(key, UNPRICED)])
    assert table.replace_metered(key, UNPRICED, PRICED)

    assert not table.replace_metered(key, UNPRICED, OTHERWISE)

    assert table.get(key) == invocation(metered=PRICED)


def test_a_request_that_expired_meanwhile_does_not_come_back(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key

    assert not table.replace_metered(key, UNPRICED, PRICED)
    assert not table.replace_observed(key, observed(), observed())
    assert stack.items("InvocationsTable") == []


def test_a_call_that_stands_alone_leaves_the_index_when_its_log_record_has_a_price(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key
    alone = observed(kinds={TokenKind.INPUT: PricedKind(1000, None)})
    table.record_observed([ObservedHalf(key, alone)])
    assert table.unpriced(USAGE, after="", limit=10) == [key]

    table.record_metered([MeteredHalf(key, PRICED)])

    assert table.unpriced(USAGE, after="", limit=10) == []
    assert not table.replace_observed(key, alone, observed(kinds=PRICED.kinds))


def test_a_call_that_stands_alone_is_priced_like_its_log_record(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key
    alone = observed(kinds={TokenKind.INPUT: PricedKind(1000, None)})
    table.record_observed([ObservedHalf(key, alone)])
    priced = observed(kinds=PRICED.kinds, price_source="a list")

    assert table.replace_observed(key, alone, priced)

    found = table.get(key)
    assert found is not None
    assert found.observed == priced
    assert [c.estimated for c in recount([found]).values()] == [{TokenKind.INPUT: PRICED.kinds[TokenKind.INPUT].cost}]
    assert table.unpriced(USAGE, after="", limit=10) == []


def test_a_priced_request_that_the_index_still_shows_leaves_it(stack: Stack) -> None:
    table, key = invocations_of(stack), invocation().key
    table.record_metered([MeteredHalf(key, PRICED)])
    stack.dynamodb.update_item(
        TableName="InvocationsTable",
        Key={"pk": {"S": str(key)}},
        UpdateExpression="SET unpriced = :u",
        ExpressionAttributeValues={":u": {"S": f"{USAGE.usage_date}#{USAGE.model}"}},
    )

    stack.run(FUNCTION, messages(FUNCTION, [{"usage_date": USAGE.usage_date.isoformat(), "model": USAGE.model}]))

    assert markers(stack) == []


# Messages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["CANARY no JSON", {"usage_date": "CANARY", "model": "m"}, {"usage_date": "2026-10-05", "model": ""}]
)
def test_a_malformed_message_is_quarantined_without_its_content(stack: Stack, body: Any) -> None:
    assert stack.run(FUNCTION, messages(FUNCTION, [body])) == FAILED_NONE

    (notice,) = stack.notices()
    assert "CANARY" not in json.dumps(notice) + stack.log.getvalue()


def test_a_table_that_does_not_answer_is_tried_again(stack: Stack) -> None:
    stack.dynamodb.delete_table(TableName="InvocationsTable")

    assert held_back(stack, stack.handler(FUNCTION), load_event(FUNCTION)) == "ResourceNotFoundException"
