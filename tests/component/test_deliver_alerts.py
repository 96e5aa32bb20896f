"""The function that tells people: one Slack message per revision, whatever Slack answers; the webhook stays a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws

from adapters.dynamodb import from_wire
from local.slack_receiver import Answer, SlackReceiver, accept_then_reset, no_service, rate_limited, redirect, server_error
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages

FUNCTION = "deliver_alerts"


@pytest.fixture
def slack() -> Iterator[SlackReceiver]:
    with SlackReceiver() as receiver:
        yield receiver


@pytest.fixture
def alerting(slack: SlackReceiver, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    """A stack that knows the webhook and holds the alert of the sample event. Nothing it logs may hold the webhook."""
    caplog.set_level(logging.DEBUG)
    with mock_aws():
        stack = Stack(webhook_url=slack.url)
        stack.now = datetime(2026, 10, 5, 15, 1, tzinfo=UTC)
        image = load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"]
        stack.dynamodb.put_item(TableName="AlertsTable", Item=image)
        yield stack
        token = slack.url.rpartition("/")[2]
        logged = [r.getMessage() + str(r.exc_info or "") for r in caplog.records if r.name.startswith("deliver_alerts")]
        kept = json.dumps(stack.wire_items("AlertsTable")) + json.dumps(stack.notices())
        assert token not in stack.log.getvalue() + "".join(logged) + kept


def alert(stack: Stack) -> dict[str, Any]:
    (item,) = stack.items("AlertsTable")
    return item


def retried(stack: Stack) -> dict[str, Any]:
    """Let the alert come back from the stream and, when its time has come, from the retry queue."""
    stream = load_event(FUNCTION)
    stream["Records"][0]["dynamodb"]["NewImage"] = stack.wire_items("AlertsTable")[0]
    assert stack.run(FUNCTION, stream) == FAILED_NONE
    (asked,) = stack.drain("AlertRetryQueue")
    assert asked.delayed
    stack.now += timedelta(minutes=15)
    return sqs(stack, asked.body)


def sqs(stack: Stack, *bodies: Any) -> dict[str, Any]:
    """Messages of the retry queue; the sample event of this function is a stream's, so they borrow another's envelope."""
    return stack.run(FUNCTION, messages("evaluate_budgets", bodies))


def test_the_sample_event_sends_its_alert_once(alerting: Stack, slack: SlackReceiver) -> None:
    answer = alerting.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    (post,) = slack.delivered
    assert post.payload["text"].startswith("81 % of budget: search-monthly, $975.33 of $1,200.00.")
    assert (alert(alerting)["delivery_status"], alert(alerting)["attempts"]) == ("sent", 1)
    assert alerting.metrics()["AlertsSent"] == 1


def test_the_sample_event_about_an_alert_that_is_gone_is_passed_over(stack: Stack) -> None:
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert stack.said("alert handled")[0]["status"] == "gone"


def test_a_repeated_event_sends_nothing(alerting: Stack, slack: SlackReceiver) -> None:
    alerting.run(FUNCTION, load_event(FUNCTION))
    before = alerting.wire_items("AlertsTable")

    answer = alerting.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    assert len(slack.posts) == 1
    assert alerting.wire_items("AlertsTable") == before


@pytest.mark.parametrize("refusal", [rate_limited(30), server_error(), server_error(503)], ids=lambda a: f"{a.status}")
def test_an_alert_that_slack_did_not_take_is_sent_later_without_a_label(
    alerting: Stack, slack: SlackReceiver, refusal: Answer
) -> None:
    slack.script(refusal)
    assert alerting.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    assert alert(alerting)["delivery_status"] == "pending"

    assert retried(alerting) == FAILED_NONE

    (post,) = slack.delivered
    assert "Possible repeat" not in json.dumps(post.payload)
    assert (alert(alerting)["delivery_status"], alert(alerting)["attempts"]) == ("sent", 2)


def test_slacks_own_wait_is_kept(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(rate_limited(300))

    alerting.run(FUNCTION, load_event(FUNCTION))

    assert datetime.fromisoformat(alert(alerting)["lease_until"]) == alerting.now + timedelta(seconds=300)


def test_a_message_whose_acknowledgement_was_lost_is_repeated_once_with_a_label(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(accept_then_reset())
    alerting.run(FUNCTION, load_event(FUNCTION))
    assert len(slack.posts) == 1, "the client itself must not try again"

    retried(alerting)

    first, second = slack.delivered
    assert "Possible repeat" not in json.dumps(first.payload)
    assert "Possible repeat" in json.dumps(second.payload)
    assert alert(alerting)["delivery_status"] == "sent"


def test_a_repeat_whose_acknowledgement_is_lost_as_well_is_not_sent_a_third_time(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(accept_then_reset(), accept_then_reset())
    alerting.run(FUNCTION, load_event(FUNCTION))

    retried(alerting)
    alerting.run(FUNCTION, load_event(FUNCTION))

    assert len(slack.posts) == 2
    assert alert(alerting)["delivery_status"] == "failed"
    assert alerting.metrics()["AlertsFailed"] == 1


def test_an_attempt_that_ended_while_it_sent_is_repeated_after_its_lease(alerting: Stack, slack: SlackReceiver) -> None:
    handler = alerting.handler(FUNCTION)
    original = handler.channel.post

    class Killed(BaseException):
        """What a sandbox that is shut down looks like from within."""

    def posts_and_ends(sent: Any) -> None:
        original(sent)
        raise Killed

    handler.channel.post = posts_and_ends
    with pytest.raises(Killed):
        alerting.invoke(handler, load_event(FUNCTION))
    assert alerting.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    assert len(slack.posts) == 1, "the lease still runs"
    (asked,) = alerting.drain("AlertRetryQueue")
    alerting.now += timedelta(minutes=3)

    sqs(alerting, asked.body)

    assert ["Possible repeat" in json.dumps(post.payload) for post in slack.delivered] == [False, True]
    assert alert(alerting)["delivery_status"] == "sent"


def test_a_redirect_is_not_followed(alerting: Stack, slack: SlackReceiver) -> None:
    with SlackReceiver() as elsewhere:
        slack.script(redirect(elsewhere.url))

        alerting.run(FUNCTION, load_event(FUNCTION))

        assert elsewhere.posts == []
    assert alert(alerting)["delivery_status"] == "failed"
    assert "HTTP 302" in alert(alerting)["error"]


def test_a_layout_that_slack_refuses_goes_out_as_plain_text(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(Answer("invalid_blocks", 400, "invalid_blocks"))

    alerting.run(FUNCTION, load_event(FUNCTION))

    assert [sorted(post.payload) for post in slack.posts] == [["blocks", "text"], ["text"]]
    assert alert(alerting)["delivery_status"] == "sent"


def test_a_webhook_that_is_revoked_fails_the_alert_with_a_remedy(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(no_service())

    alerting.run(FUNCTION, load_event(FUNCTION))

    assert len(slack.posts) == 1
    assert alert(alerting)["delivery_status"] == "failed"
    assert "check the webhook" in alert(alerting)["error"]
    assert alerting.metrics()["AlertsFailed"] == 1


def test_a_host_that_is_not_allowed_is_never_posted_to(slack: SlackReceiver) -> None:
    with mock_aws():
        stack = Stack(webhook_url=slack.url.replace("127.0.0.1", "localhost"))
        stack.dynamodb.put_item(TableName="AlertsTable", Item=load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"])

        stack.run(FUNCTION, load_event(FUNCTION))

        assert slack.posts == []
        assert alert(stack)["delivery_status"] == "failed"
        assert slack.url.rpartition("/")[2] not in stack.log.getvalue() + alert(stack)["error"]


def test_without_a_secret_the_alert_fails_and_says_what_to_set(stack: Stack) -> None:
    stack.dynamodb.put_item(TableName="AlertsTable", Item=load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"])

    stack.run(FUNCTION, load_event(FUNCTION))

    assert "SlackSecretArn" in alert(stack)["error"]


def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(alerting: Stack, slack: SlackReceiver) -> None:
    good = {"budget": "search-monthly", "period": "2026-10", "kind": "ACTUAL", "threshold": "80"}

    answer = sqs(alerting, "CANARY no JSON", {"budget": ["CANARY"]}, good)

    assert answer == FAILED_NONE
    assert sorted(n["source"] for n in alerting.notices()) == ["message m0", "message m1"]
    assert "CANARY" not in json.dumps(alerting.notices()) + alerting.log.getvalue()
    assert len(slack.delivered) == 1


def test_only_the_message_that_failed_is_returned(
    alerting: Stack, slack: SlackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = alerting.handler(FUNCTION)
    original = handler.alerts.get

    def fails_for_other(key: Any) -> Any:
        if key.budget == "other":
            raise ConnectionError("the table does not answer")
        return original(key)

    monkeypatch.setattr(handler.alerts, "get", fails_for_other)
    keys = [{"budget": name, "period": "2026-10", "kind": "ACTUAL", "threshold": "80"} for name in ("other", "search-monthly")]

    assert alerting.invoke(handler, messages("evaluate_budgets", keys)) == failed("m0")

    assert len(slack.delivered) == 1


def test_a_stream_record_that_fails_is_returned_with_those_after_it(alerting: Stack, slack: SlackReceiver) -> None:
    event = load_event(FUNCTION)
    broken = json.loads(json.dumps(event["Records"][0]))
    broken["dynamodb"] |= {"NewImage": {"pk": {"S": "x"}}, "SequenceNumber": "300500000000018430287713"}
    event["Records"].append(broken)

    answer = alerting.run(FUNCTION, event)

    assert answer == failed("300500000000018430287713")
    assert len(slack.delivered) == 1


def test_the_sample_alert_is_what_the_product_writes() -> None:
    image = from_wire(load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"])

    assert image["delivery_status"] == "pending" and image["state"] == "alarm"
