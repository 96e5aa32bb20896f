"""The function that relays the stack's own alarms: one alert each, told in Slack, whatever CloudWatch repeats or reorders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws

from adapters.policy import DynamoPolicy, parse_policy
from attribution.errors import LedgerConflict
from local.slack_receiver import SlackReceiver
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages

FUNCTION = "relay_alarms"
NAME = "bedrock-costs-prod-NoDelivery"
PK = f"ALERT#alarm: {NAME}#-"


@pytest.fixture
def slack() -> Iterator[SlackReceiver]:
    with SlackReceiver() as receiver:
        yield receiver


@pytest.fixture
def alarmed(slack: SlackReceiver) -> Iterator[Stack]:
    """A stack that tells alerts by a bot, a while after the sample alarm was raised."""
    secret = json.dumps({"bot_token": slack.workspace.token, "channel": "C0BUDGETS"})
    with mock_aws():
        yield Stack(slack_secret=secret, overrides={"SlackApiUrl": slack.api_url, "RunbookUrl": "https://wiki.example/runbook"})


def notification(**changes: Any) -> dict[str, Any]:
    sample: dict[str, Any] = json.loads(load_event(FUNCTION)["Records"][0]["body"])
    return sample | changes


RECOVERY = notification(NewStateValue="OK", OldStateValue="ALARM", StateChangeTime="2026-10-11T22:14:01.003+0000")


def relay(stack: Stack, *bodies: Any) -> dict[str, Any]:
    return stack.run(FUNCTION, messages(FUNCTION, bodies))


def alert(stack: Stack) -> dict[str, Any]:
    (item,) = (item for item in stack.items("AlertsTable") if item["pk"] == PK)
    return item


def deliver(stack: Stack) -> None:
    """Let `deliver_alerts` see the alert, and what it leaves pending, as its stream would show it."""
    module = stack.handler("deliver_alerts")
    for _ in range(5):
        pending = [item for item in stack.wire_items("AlertsTable") if item.get("delivery_status") == {"S": "pending"}]
        for item in pending:
            record = load_event("deliver_alerts")["Records"][0]
            record["dynamodb"]["NewImage"] = item
            assert stack.invoke(module, {"Records": [record]}) == FAILED_NONE
        stack.now = stack.now.replace(second=(stack.now.second + 2) % 60)


def test_the_sample_event_raises_the_alarm_s_alert(stack: Stack) -> None:
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    item = alert(stack)
    assert (item["state"], item["delivery_status"]) == ("alarm", "pending")
    kept = item["alert"]["alarm"]
    assert kept["name"] == NAME
    assert datetime.fromisoformat(kept["since"]) == datetime(2026, 10, 11, 19, 2, 35, 472000, UTC)
    assert kept["meaning"].endswith("estimates go on.")
    assert "`bedrock-costs deliveries`" in kept["remedy"]
    assert kept["guide"] == "docs/operating.md#nodeliveryalarm"
    assert stack.metrics()["AlarmsRelayed"] == 1


def test_an_alarm_reaches_slack_with_its_meaning_its_remedy_and_its_guide(alarmed: Stack, slack: SlackReceiver) -> None:
    alarmed.run(FUNCTION, load_event(FUNCTION))

    deliver(alarmed)

    (post,) = slack.delivered
    text = json.dumps(post.payload["blocks"])
    assert f"Alarm: {NAME}" in text
    assert "AWS has delivered no cost report" in text
    assert "`bedrock-costs deliveries`" in text
    assert "https://wiki.example/runbook#nodeliveryalarm" in text
    assert alert(alarmed)["delivery_status"] == "sent"


def test_a_recovery_changes_the_message_and_is_told_in_its_thread(alarmed: Stack, slack: SlackReceiver) -> None:
    alarmed.run(FUNCTION, load_event(FUNCTION))
    deliver(alarmed)

    relay(alarmed, RECOVERY)
    deliver(alarmed)

    (message, reply) = slack.workspace.messages
    assert f"Alarm over: {NAME}" in json.dumps(message.payload)
    assert reply.thread_ts == message.ts
    assert alert(alarmed)["state"] == "recovered"


def test_a_repeated_notification_changes_nothing(stack: Stack) -> None:
    stack.run(FUNCTION, load_event(FUNCTION))
    before = stack.wire_items("AlertsTable")

    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert stack.wire_items("AlertsTable") == before


def test_a_notification_that_comes_late_changes_nothing(stack: Stack) -> None:
    relay(stack, RECOVERY)
    before = stack.wire_items("AlertsTable")

    assert relay(stack, notification()) == FAILED_NONE

    assert stack.wire_items("AlertsTable") == before
    assert alert(stack)["state"] == "recovered"


def test_a_notification_in_the_envelope_of_sns_is_read(stack: Stack) -> None:
    envelope = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": json.dumps(notification())}

    relay(stack, envelope)

    assert alert(stack)["state"] == "alarm"


def test_an_alarm_without_data_is_ignored(stack: Stack) -> None:
    assert relay(stack, notification(NewStateValue="INSUFFICIENT_DATA")) == FAILED_NONE

    assert stack.items("AlertsTable") == []


def test_an_alarm_of_somebody_else_without_a_description_is_told_by_its_name(alarmed: Stack, slack: SlackReceiver) -> None:
    relay(alarmed, notification(AlarmName="nightly <job> #1", AlarmDescription=None))

    deliver(alarmed)

    (post,) = slack.delivered
    assert post.payload["blocks"][0]["text"]["text"] == "Alarm: nightly <job> #1"


def test_the_policy_decides_who_is_told_of_alarms(alarmed: Stack, slack: SlackReceiver) -> None:
    routes = [{"name": "finops", "channel": "C0BUDGETS"}, {"name": "platform", "alarms": True, "channel": "C0PLATFORM"}]
    slack.workspace.channels.add("C0PLATFORM")
    DynamoPolicy(alarmed.table("LedgerTable")).apply(parse_policy({"routes": routes}))
    alarmed.run(FUNCTION, load_event(FUNCTION))

    deliver(alarmed)

    assert [post.payload["channel"] for post in slack.delivered] == ["C0PLATFORM"]


def test_an_alarm_that_slack_does_not_take_is_mailed_and_raises_no_further_alarm(stack: Stack) -> None:
    stack.run(FUNCTION, load_event(FUNCTION))

    deliver(stack)

    ((subject, body),) = stack.mails()
    assert subject == f"Alarm: {NAME}"
    assert "What to do: look at the status of the export" in body
    assert (stack.metrics()["AlertsDiverted"], stack.metrics()["AlertsFailed"]) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        "CANARY no JSON",
        {"CANARY": 1},
        {"Type": "Notification", "Message": "CANARY"},
        {"Type": "Notification", "Message": '{"CANARY":' * 20_000},
        {"Type": "Notification", "Message": json.dumps({"Type": "Notification", "Message": "CANARY"})},
        notification(StateChangeTime="0001-01-01T00:00:00.000+1400"),
        notification(StateChangeTime="CANARY"),
        notification(StateChangeTime="2026-10-11T19:02:35"),
        notification(NewStateValue="CANARY"),
    ],
)
def test_what_is_no_notification_is_quarantined_without_its_content_and_its_neighbours_are_done(
    stack: Stack, body: Any
) -> None:
    assert relay(stack, body, notification()) == FAILED_NONE

    (notice,) = stack.notices()
    assert "CANARY" not in json.dumps(notice) + stack.log.getvalue()
    assert alert(stack)["state"] == "alarm"
    assert stack.metrics()["InputRejected"] == 1


def test_a_notification_that_cannot_be_kept_comes_back(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = stack.handler(FUNCTION)

    def moves(*_: Any, **__: Any) -> Any:
        return None

    monkeypatch.setattr(handler.alerts, "put", moves)

    assert stack.invoke(handler, load_event(FUNCTION) | messages(FUNCTION, [notification()])) == failed("m0")
    assert stack.said("message failed")[-1]["exception_name"] == LedgerConflict.__name__
