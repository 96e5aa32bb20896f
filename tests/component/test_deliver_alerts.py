"""The function that tells people: once, whatever Slack answers; the webhook and the token stay secrets."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from adapters.dynamodb import from_wire
from adapters.policy import DynamoPolicy, parse_policy
from attribution.alerts import AlertKey, Delivery, DeliveryStatus, News
from local.slack_receiver import (
    Answer,
    SlackReceiver,
    accept_then_reset,
    api_error,
    api_rate_limited,
    done_and_fatal,
    no_service,
    rate_limited,
    redirect,
    server_error,
    slow,
)
from tests.support.stack import FAILED_NONE, Stack, failed, load_event, messages

FUNCTION = "deliver_alerts"
CHANNEL = "C0BUDGETS"
NOW = datetime(2026, 10, 5, 15, 1, tzinfo=UTC)
KEY = {"budget": "search-monthly", "period": "2026-10"}


@pytest.fixture
def slack() -> Iterator[SlackReceiver]:
    with SlackReceiver() as receiver:
        yield receiver


def put_sample(stack: Stack) -> None:
    stack.dynamodb.put_item(TableName="AlertsTable", Item=load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"])


@pytest.fixture(params=["webhook", "bot"])
def secret(request: pytest.FixtureRequest, slack: SlackReceiver) -> str:
    """What the route's secret holds: the URL of a webhook, or a bot token."""
    return slack.url if request.param == "webhook" else json.dumps({"bot_token": slack.workspace.token, "channel": CHANNEL})


def alerting_with(secret: str, slack: SlackReceiver, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    """A stack that knows Slack and holds the alert of the sample event. Nothing it logs or keeps may hold a secret."""
    caplog.set_level(logging.DEBUG)
    with mock_aws():
        stack = Stack(slack_secret=secret, overrides={"SlackApiUrl": slack.api_url})
        stack.now = NOW
        put_sample(stack)
        yield stack
        logged = [r.getMessage() + str(r.exc_info or "") for r in caplog.records if r.name.startswith("deliver_alerts")]
        kept = json.dumps(stack.wire_items("AlertsTable")) + json.dumps(stack.notices()) + json.dumps(stack.mails())
        for token in (slack.url.rpartition("/")[2], slack.workspace.token):
            assert token not in stack.log.getvalue() + "".join(logged) + kept


@pytest.fixture
def alerting(slack: SlackReceiver, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    yield from alerting_with(slack.url, slack, caplog)


@pytest.fixture
def either(secret: str, slack: SlackReceiver, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    yield from alerting_with(secret, slack, caplog)


@pytest.fixture
def bot(slack: SlackReceiver, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    yield from alerting_with(json.dumps({"bot_token": slack.workspace.token, "channel": CHANNEL}), slack, caplog)


def alert(stack: Stack) -> dict[str, Any]:
    (item,) = [item for item in stack.items("AlertsTable") if item["pk"].startswith("ALERT#")]
    return item


def delivery(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = alert(stack)["alert"]["delivery"]
    return found


def sqs(stack: Stack, *bodies: Any) -> dict[str, Any]:
    """Messages of the retry queue; the sample event of this function is a stream's, so they borrow another's envelope."""
    return stack.run(FUNCTION, messages("evaluate_budgets", bodies))


def later(stack: Stack, minutes: int = 16) -> None:
    """Let time pass, and everything come back that waits for it."""
    stack.now += timedelta(minutes=minutes)
    assert sqs(stack, {"sweep": True}) == FAILED_NONE
    for _ in range(4):
        bodies = [sent.body for sent in stack.drain("AlertRetryQueue")]
        if delivery(stack)["status"] == "pending":
            bodies.append(json.dumps(KEY))
        if bodies:
            assert sqs(stack, *bodies) == FAILED_NONE
        stack.now += timedelta(seconds=2)


def test_the_sample_event_sends_its_alert_once(either: Stack, slack: SlackReceiver) -> None:
    answer = either.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    (post,) = slack.delivered
    assert post.payload["text"].startswith("81 % of budget: search-monthly, $975.33 of $1,200.00.")
    assert post.problems == []
    assert (alert(either)["delivery_status"], alert(either)["alert"]["told"]) == ("sent", 1)
    assert either.metrics()["AlertsSent"] == 1


def test_the_sample_event_about_an_alert_that_is_gone_is_passed_over(stack: Stack) -> None:
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE

    assert stack.said("alert handled")[0]["status"] == "gone"


def test_an_alert_whose_event_was_lost_is_found_within_a_quarter_of_an_hour(bot: Stack) -> None:
    outbox = bot.handler(FUNCTION).outbox
    current = outbox.get(AlertKey("search-monthly", "2026-10"))
    outbox.put(replace(current, revision=2), replacing=current)

    for minutes, found in ((14, []), (1, [KEY])):
        bot.now += timedelta(minutes=minutes)
        assert sqs(bot, {"sweep": True}) == FAILED_NONE
        assert [json.loads(sent.body) for sent in bot.drain("AlertRetryQueue")] == found


def test_a_repeated_event_sends_nothing(either: Stack, slack: SlackReceiver) -> None:
    either.run(FUNCTION, load_event(FUNCTION))
    before = either.wire_items("AlertsTable")

    answer = either.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    assert len(slack.posts) == 1
    assert either.wire_items("AlertsTable") == before


@pytest.mark.parametrize("refusal", [rate_limited(30), server_error(), server_error(503)], ids=lambda a: f"{a.status}")
def test_an_alert_that_slack_did_not_take_is_sent_later_without_a_label(
    alerting: Stack, slack: SlackReceiver, refusal: Answer
) -> None:
    slack.script(refusal)
    assert alerting.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    assert alert(alerting)["delivery_status"] == "pending"

    later(alerting)

    (post,) = slack.delivered
    assert "Possible repeat" not in json.dumps(post.payload)
    assert alert(alerting)["delivery_status"] == "sent"


def test_a_long_wait_that_slack_asks_for_is_kept_and_nothing_sleeps(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(rate_limited(3000))

    alerting.run(FUNCTION, load_event(FUNCTION))

    until = datetime.fromisoformat(delivery(alerting)["wait_until"])
    assert until == alerting.now + timedelta(seconds=3000)
    later(alerting, minutes=20)
    assert slack.delivered == []
    later(alerting, minutes=31)
    assert len(slack.delivered) == 1


def test_a_message_whose_acknowledgement_was_lost_is_repeated_once_with_a_label(alerting: Stack, slack: SlackReceiver) -> None:
    slack.script(accept_then_reset())
    alerting.run(FUNCTION, load_event(FUNCTION))
    assert len(slack.posts) == 1, "the client itself must not try again"

    later(alerting)

    first, second = slack.delivered
    assert "Possible repeat" not in json.dumps(first.payload)
    assert "Possible repeat" in json.dumps(second.payload)
    assert alerting.metrics()["AlertsRepeated"] == 1
    assert alert(alerting)["delivery_status"] == "sent"


@pytest.mark.parametrize("fault", [accept_then_reset(), done_and_fatal()], ids=lambda a: a.name)
def test_a_bots_message_whose_acknowledgement_was_lost_is_found_and_not_sent_again(
    bot: Stack, slack: SlackReceiver, fault: Answer
) -> None:
    slack.script(fault)
    bot.run(FUNCTION, load_event(FUNCTION))

    later(bot)

    assert [post.method for post in slack.posts if post.delivered] == ["chat.postMessage", "chat.update"]
    assert len(slack.workspace.messages) == 1
    assert alert(bot)["alert"]["message"]["ts"] == slack.workspace.messages[0].ts


def test_a_bots_message_that_never_arrived_is_sent_again_without_a_label(bot: Stack, slack: SlackReceiver) -> None:
    slack.script(server_error())
    bot.run(FUNCTION, load_event(FUNCTION))

    later(bot)

    (message,) = slack.workspace.messages
    assert "Possible repeat" not in json.dumps(message.payload)


def test_a_bot_that_may_not_read_its_channel_repeats_once_with_a_label(bot: Stack, slack: SlackReceiver) -> None:
    slack.workspace.can_read_history = False
    slack.script(accept_then_reset())
    bot.run(FUNCTION, load_event(FUNCTION))

    later(bot)

    assert ["Possible repeat" in json.dumps(m.payload) for m in slack.workspace.messages] == [False, True]


def test_a_repeat_whose_acknowledgement_is_lost_as_well_goes_by_mail_and_not_a_third_time(
    alerting: Stack, slack: SlackReceiver
) -> None:
    slack.script(accept_then_reset(), accept_then_reset())
    alerting.run(FUNCTION, load_event(FUNCTION))

    later(alerting)
    later(alerting)

    assert len(slack.posts) == 2
    ((subject, _),) = alerting.mails()
    assert subject == "81 % of budget: search-monthly, $975.33 of $1,200.00"
    assert alerting.metrics()["AlertsDiverted"] == 1


def test_an_attempt_that_ended_while_it_sent_is_repeated_after_its_lease(alerting: Stack, slack: SlackReceiver) -> None:
    handler = alerting.handler(FUNCTION)
    settle = handler.outbox.replace

    class Killed(BaseException):
        """What a sandbox that is shut down looks like from within."""

    def ends_after_sending(notice: Any, *, replacing: Any) -> Any:
        if replacing.delivery.status == "claimed":
            raise Killed
        return settle(notice, replacing=replacing)

    handler.outbox.replace = ends_after_sending
    with pytest.raises(Killed):
        alerting.invoke(handler, load_event(FUNCTION))
    assert alerting.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    assert len(slack.posts) == 1, "the lease still runs"

    later(alerting, minutes=3)

    assert ["Possible repeat" in json.dumps(post.payload) for post in slack.delivered] == [False, True]
    assert alert(alerting)["delivery_status"] == "sent"


def test_a_redirect_is_not_followed(either: Stack, slack: SlackReceiver) -> None:
    with SlackReceiver() as elsewhere:
        slack.script(redirect(elsewhere.url))

        either.run(FUNCTION, load_event(FUNCTION))

        assert elsewhere.posts == []
    assert "HTTP 302" in delivery(either)["error"]


def test_a_layout_that_slack_refuses_goes_out_in_simpler_ones(either: Stack, slack: SlackReceiver) -> None:
    is_webhook = "services" in str(slack.url) and not slack.workspace.messages
    refused = Answer("invalid_blocks", 400, "invalid_blocks") if is_webhook else api_error("invalid_blocks")
    slack.script(refused, refused)

    either.run(FUNCTION, load_event(FUNCTION))

    kinds = [[block["type"] for block in post.payload.get("blocks", [])] for post in slack.posts]
    assert ["data_visualization" in types for types in kinds][:1] == [True]
    assert slack.posts[-1].payload["text"].startswith("81 % of budget")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (
            no_service(),
            "HTTP 404 no_service: the webhook was revoked or is wrong: make a new one, and put its URL into the secret",
        ),
        (
            Answer("channel_is_archived", 410, "channel_is_archived"),
            "HTTP 410 channel_is_archived: the webhook's channel is archived: make a webhook for another one",
        ),
        (Answer("other", 403, "<p>CANARY of a proxy</p>"), "HTTP 403: check the webhook in the secret"),
    ],
)
def test_a_webhook_that_is_dead_makes_the_alert_a_mail_and_a_visible_fault(
    alerting: Stack, slack: SlackReceiver, answer: Answer, fault: str
) -> None:
    slack.script(answer)
    alerting.run(FUNCTION, load_event(FUNCTION))
    assert alerting.metrics()["AlertsDiverted"] == 1

    later(alerting, minutes=1)

    assert len(slack.posts) == 1
    ((subject, body),) = alerting.mails()
    assert "search-monthly" in subject and "$811.41 billed by AWS" in body
    assert (alert(alerting)["delivery_status"], delivery(alerting)["error"]) == ("sent", fault)


@pytest.mark.parametrize("error", ["channel_not_found", "token_revoked", "is_archived"])
def test_a_bot_that_may_not_post_makes_the_alert_a_mail_and_says_what_to_do(
    bot: Stack, slack: SlackReceiver, error: str
) -> None:
    slack.script(api_error(error))
    bot.run(FUNCTION, load_event(FUNCTION))

    later(bot, minutes=1)

    assert len(bot.mails()) == 1
    assert delivery(bot)["error"].startswith(f"chat.postMessage: {error}: ")


def test_a_bots_rate_limit_holds_its_whole_channel(bot: Stack, slack: SlackReceiver) -> None:
    slack.script(api_rate_limited(600))
    bot.run(FUNCTION, load_event(FUNCTION))

    (traffic,) = [item for item in bot.items("AlertsTable") if item["pk"].startswith("CHANNEL#")]

    assert datetime.fromisoformat(traffic["traffic"]["next_at"]) == bot.now + timedelta(seconds=600)


def test_slack_that_answers_slowly_has_the_message_once(bot: Stack, slack: SlackReceiver) -> None:
    slack.script(slow(0.3))

    bot.run(FUNCTION, load_event(FUNCTION))

    assert len(slack.workspace.messages) == 1


def test_news_changes_the_bots_message_and_is_told_in_its_thread(bot: Stack, slack: SlackReceiver) -> None:
    bot.run(FUNCTION, load_event(FUNCTION))
    handler = bot.handler(FUNCTION)
    current = handler.outbox.get(AlertKey(**KEY))
    worse = replace(current, revision=2, news=2, news_kind=News.ESCALATED, delivery=Delivery())
    handler.outbox.put(worse, replacing=current)
    bot.now += timedelta(minutes=1)

    for _ in range(3):
        bot.now += timedelta(seconds=2)
        sqs(bot, KEY)

    (parent,) = slack.workspace.parents()
    (reply,) = slack.workspace.thread(parent.ts)
    assert len(parent.versions) == 1
    assert "since the last news" not in parent.payload["text"]
    assert reply.payload["text"].startswith("search-monthly: Actual spend is above 80 %")


def test_a_host_that_is_not_allowed_is_never_posted_to(slack: SlackReceiver) -> None:
    with mock_aws():
        stack = Stack(slack_secret=slack.url.replace("127.0.0.1", "localhost"))
        put_sample(stack)

        stack.run(FUNCTION, load_event(FUNCTION))

        assert slack.posts == []
        assert "SlackAllowedHosts" in delivery(stack)["error"]
        assert slack.url.rpartition("/")[2] not in stack.log.getvalue() + json.dumps(stack.wire_items("AlertsTable"))


def test_without_a_secret_the_alert_goes_by_mail_and_says_what_to_set(stack: Stack) -> None:
    put_sample(stack)

    stack.run(FUNCTION, load_event(FUNCTION))
    sqs(stack, KEY)

    assert "SlackSecretArn" in delivery(stack)["error"]
    assert len(stack.mails()) == 1


def test_a_failed_alert_is_told_once_an_operator_makes_it_pending(bot: Stack, slack: SlackReceiver) -> None:
    slack.script(api_error("is_archived"))
    bot.run(FUNCTION, load_event(FUNCTION))
    handler = bot.handler(FUNCTION)
    diverted = handler.outbox.get(AlertKey(**KEY))
    failed_delivery = replace(diverted.delivery, status=DeliveryStatus.FAILED)
    handler.outbox.put(replace(diverted, delivery=failed_delivery), replacing=diverted)

    command = (
        (Path(__file__).parents[2] / "docs/operating.md")
        .read_text()
        .split("aws dynamodb update-item --table-name <AlertsTable>")[1]
    )
    words = shlex.split(command.split("```")[0].replace("\\\n", " "))
    options = dict(zip(words[::2], words[1::2], strict=True))
    bot.dynamodb.update_item(
        TableName="AlertsTable",
        Key=json.loads(options["--key"].replace("search monthly", "search-monthly")),
        UpdateExpression=options["--update-expression"],
        ConditionExpression=options["--condition-expression"],
        ExpressionAttributeNames=json.loads(options["--expression-attribute-names"]),
        ExpressionAttributeValues=json.loads(options["--expression-attribute-values"]),
    )
    bot.now += timedelta(seconds=5)
    sqs(bot, KEY)

    assert len(slack.workspace.messages) == 1
    assert alert(bot)["delivery_status"] == "sent"


def test_a_route_may_only_name_secrets_under_the_stacks_prefix(slack: SlackReceiver) -> None:
    with mock_aws():
        stack = Stack(slack_secret=slack.url, overrides={"SlackSecretPrefix": "bedrock-costs/"})
        apply_policy(stack, {"routes": [{"name": "search", "match": {"team": ["search"]}, "secret": "payroll/slack"}]})
        put_sample(stack)

        stack.run(FUNCTION, load_event(FUNCTION))

        assert slack.posts == []
        assert "must begin with the stack's SlackSecretPrefix" in delivery(stack)["error"]


def apply_policy(stack: Stack, document: dict[str, Any]) -> None:
    DynamoPolicy(stack.table("LedgerTable")).apply(parse_policy(document))


def test_quiet_hours_hold_an_alert_until_they_end(slack: SlackReceiver) -> None:
    with mock_aws():
        stack = Stack(slack_secret=slack.url)
        stack.now = NOW
        quiet = {"begins": "14:00", "ends": "18:00", "time_zone": "Europe/Berlin"}
        apply_policy(stack, {"routes": [{"name": "everyone", "quiet_hours": quiet}]})
        put_sample(stack)
        stack.run(FUNCTION, load_event(FUNCTION))
        assert slack.posts == []
        assert datetime.fromisoformat(delivery(stack)["wait_until"]) == datetime(2026, 10, 5, 16, tzinfo=UTC)

        later(stack, minutes=60)

        assert len(slack.delivered) == 1


def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(alerting: Stack, slack: SlackReceiver) -> None:
    answer = sqs(alerting, "CANARY no JSON", {"budget": ["CANARY"]}, {"budget": "CANARY"}, KEY)

    assert answer == FAILED_NONE
    assert sorted(n["source"] for n in alerting.notices()) == ["message m0", "message m1", "message m2"]
    assert "CANARY" not in json.dumps(alerting.notices()) + alerting.log.getvalue()
    assert len(slack.delivered) == 1


def test_only_the_message_that_failed_is_returned(
    alerting: Stack, slack: SlackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = alerting.handler(FUNCTION)
    original = handler.outbox.find

    def fails_for_other(key: Any) -> Any:
        if key.budget == "other":
            raise ConnectionError("the table does not answer")
        return original(key)

    monkeypatch.setattr(handler.outbox, "find", fails_for_other)

    assert alerting.invoke(handler, messages("evaluate_budgets", [KEY | {"budget": "other"}, KEY])) == failed("m0")

    assert len(slack.delivered) == 1


def test_a_stream_record_that_fails_is_returned_with_those_after_it(alerting: Stack, slack: SlackReceiver) -> None:
    event = load_event(FUNCTION)
    broken = json.loads(json.dumps(event["Records"][0]))
    broken["dynamodb"] |= {"NewImage": {"sk": {"S": "x"}}, "SequenceNumber": "300500000000018430287713"}
    event["Records"].append(broken)

    answer = alerting.run(FUNCTION, event)

    assert answer == failed("300500000000018430287713")
    assert len(slack.delivered) == 1


def test_the_sample_alert_is_what_the_product_writes(stack: Stack) -> None:
    image = load_event(FUNCTION)["Records"][0]["dynamodb"]["NewImage"]
    put_sample(stack)
    handler = stack.handler(FUNCTION)

    found = handler.outbox.get(handler.key_of_image(image))

    assert from_wire(image)["delivery_status"] == "pending"
    assert json.loads(json.dumps(handler.outbox._item(found)["alert"])) == from_wire(image)["alert"]


# Trying a route.


def trial(route: str = "default", **more: Any) -> dict[str, Any]:
    return {"try_route": {"route": route, "by": "arn:aws:iam::123456789012:user/dana", **more}}


def test_a_message_marked_as_a_test_tries_a_route_and_nothing_is_kept(either: Stack, slack: SlackReceiver) -> None:
    before = either.wire_items("AlertsTable")

    answer = either.run(FUNCTION, trial())

    (post,) = slack.delivered
    assert post.payload["text"].startswith("Test: route default. Nothing has happened, and nothing is to be done: arn:aws:iam")
    assert post.problems == []
    assert (answer["is_sent"], answer["error"]) == (True, "")
    assert either.wire_items("AlertsTable") == before


def test_a_trial_of_a_bot_says_where_its_message_is_and_whether_it_can_be_found(bot: Stack, slack: SlackReceiver) -> None:
    first = bot.run(FUNCTION, trial())
    slack.workspace.can_read_history = False
    second = bot.run(FUNCTION, trial())

    shown = [message.ts for message in slack.workspace.messages]
    assert [(a["updates"], a["message"]["channel"], a["can_find"]) for a in (first, second)] == [
        (True, CHANNEL, True),
        (True, CHANNEL, False),
    ]
    assert [a["message"]["ts"] for a in (first, second)] == shown


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("channel_not_found", "put the channel's id into the route"),
        ("not_in_channel", "invite the app to the channel"),
        ("invalid_auth", "put a valid bot token into the secret"),
        ("missing_scope", "give the app the scopes"),
    ],
)
def test_a_trial_that_slack_refuses_says_why_and_what_to_do(bot: Stack, slack: SlackReceiver, error: str, remedy: str) -> None:
    slack.script(api_error(error))

    answer = bot.run(FUNCTION, trial())

    assert not answer["is_sent"]
    assert answer["error"].startswith(f"chat.postMessage: {error}: {remedy}")
    assert bot.mails() == [], "a trial is tried again by whoever asked for it"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (no_service(), "HTTP 404 no_service: the webhook was revoked"),
        (rate_limited(40), "HTTP 429: try again in 40 seconds"),
        (accept_then_reset(), "it may have arrived all the same, look into the channel"),
    ],
    ids=lambda value: value.name if isinstance(value, Answer) else "",
)
def test_a_trial_by_a_webhook_that_is_not_taken_says_why(
    alerting: Stack, slack: SlackReceiver, answer: Answer, error: str
) -> None:
    slack.script(answer)

    assert error in alerting.run(FUNCTION, trial())["error"]


def test_a_trial_reads_the_secret_anew(bot: Stack) -> None:
    handler = bot.handler(FUNCTION)
    bot.invoke(handler, trial())
    boto3.client("secretsmanager", region_name="us-east-1").put_secret_value(
        SecretId=bot.parameters["SlackSecretArn"], SecretString=json.dumps({"bot_token": "xoxb-other", "channel": CHANNEL})
    )

    assert "invalid_auth" in bot.invoke(handler, trial())["error"]


def test_a_trial_without_a_secret_names_the_parameter(stack: Stack) -> None:
    assert "SlackSecretArn" in stack.run(FUNCTION, trial())["error"]


def test_a_trial_of_a_route_that_is_not_there_names_those_that_are(bot: Stack, slack: SlackReceiver) -> None:
    DynamoPolicy(bot.table("LedgerTable")).apply(parse_policy({"routes": [{"name": "finops"}]}))

    assert bot.run(FUNCTION, trial("finance"))["error"] == "there is no route 'finance'; choose from finops"
    assert slack.posts == []


def test_the_second_route_is_tried_by_mail(bot: Stack, slack: SlackReceiver) -> None:
    assert bot.run(FUNCTION, trial(by_mail=True))["is_sent"]

    ((subject, body),) = bot.mails()
    assert subject == "Test: route default"
    assert "Nothing has happened" in body
    assert slack.posts == []
