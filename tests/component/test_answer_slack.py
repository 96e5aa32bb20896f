"""The function that the internet reaches: whoever signs as Slack does is answered with what they may see."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from adapters import wiring
from adapters.alerts import DynamoOutbox
from adapters.anomalies import DynamoAnomalies
from adapters.policy import DynamoPolicy, parse_policy
from adapters.slack_requests import Unauthorized, read_request
from attribution.alarm_alerts import observe_alarm
from attribution.alerts import Alarm, AlertState, Delivery, DeliveryStatus, observe
from attribution.anomalies import AnomalousDay, Anomaly, Series, name_of
from attribution.anomaly_alerts import alert_key, observation
from attribution.anomaly_tracking import Change, State, TrackedAnomaly, Verdict
from local.slack_receiver import SlackReceiver, block_problems
from tests.support.stack import Stack, load_event

FUNCTION = "answer_slack"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = datetime(2026, 10, 5, 15, 2, 1, tzinfo=UTC)
REFUSED = {"statusCode": 401, "body": ""}
DONE = {"statusCode": 200, "body": ""}
POLICY = {
    "cost_categories": [{"name": "team", "keys": ["team"]}],
    "slack_users": [
        {"users": ["U012AB3CD"], "sees": {"team": ["search"]}},
        {"users": ["U0SUPPORT"], "sees": {"team": ["support"]}},
        {"users": ["U0FINOPS"], "sees": "all"},
    ],
}


def signed(event: dict[str, Any], *, at: datetime = NOW, secret: str = SIGNING_SECRET) -> dict[str, Any]:
    """The event as Slack would have signed it at that time."""
    body = event["body"].encode()
    raw = base64.b64decode(body) if event["isBase64Encoded"] else body
    timestamp = str(int(at.timestamp()))
    mac = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + raw, hashlib.sha256).hexdigest()
    headers = event["headers"] | {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={mac}"}
    return event | {"headers": headers}


def pressed(action: str = "acknowledge", *, user: str = "U012AB3CD", at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """The sample event with another button, user or value."""
    event = load_event(FUNCTION)
    payload = json.loads(parse_qs(event["body"])["payload"][0])
    payload["user"]["id"] = user
    payload["actions"][0] |= {"action_id": action} | changes
    return signed(event | {"body": urlencode({"payload": json.dumps(payload)})}, at=at)


def typed(text: str, *, user: str = "U012AB3CD", at: datetime = NOW) -> dict[str, Any]:
    form = {
        "token": "ignored", "team_id": "T0BANK", "channel_id": "C0BUDGETS", "user_id": user, "user_name": "dana",
        "command": "/bedrock-costs", "text": text, "response_url": "https://hooks.slack.com/commands/T0BANK/1/a",
        "trigger_id": "1.2.3",
    }  # fmt: skip
    return signed(load_event(FUNCTION) | {"body": urlencode(form)}, at=at)


@pytest.fixture
def answering() -> Iterator[Stack]:
    """A stack with the app's signing secret, the policy, and the alert of the sample event as it was told."""
    with mock_aws():
        stack = Stack(signing_secret=json.dumps({"signing_secret": SIGNING_SECRET}))
        stack.now = NOW
        DynamoPolicy(stack.table("LedgerTable")).apply(parse_policy(POLICY))
        image = load_event("deliver_alerts")["Records"][0]["dynamodb"]["NewImage"]
        stack.dynamodb.put_item(TableName="AlertsTable", Item=image)
        yield stack
        assert SIGNING_SECRET not in stack.log.getvalue() + json.dumps(stack.wire_items("AlertsTable"))


def alert(stack: Stack) -> dict[str, Any]:
    (item,) = [item for item in stack.items("AlertsTable") if item["pk"].startswith("ALERT#")]
    found: dict[str, Any] = item["alert"]
    return found


def shown(answer: dict[str, Any]) -> str:
    """What the asker reads."""
    assert answer["statusCode"] == 200
    body = json.loads(answer["body"])
    assert body["response_type"] == "ephemeral"
    assert block_problems(body["blocks"]) == []
    return json.dumps(body["blocks"], ensure_ascii=False)


# Who is let in.


def test_the_sample_event_acknowledges_its_alert(answering: Stack) -> None:
    assert answering.run(FUNCTION, load_event(FUNCTION)) == DONE

    assert (alert(answering)["state"], alert(answering)["handled_by"]) == ("acknowledged", "U012AB3CD")
    (item,) = [i for i in answering.items("AlertsTable") if i["pk"].startswith("ALERT#")]
    assert item["delivery_status"] == "pending", "the message is to show it"


def test_a_body_in_base64_is_verified_on_its_bytes(answering: Stack) -> None:
    event = load_event(FUNCTION)
    encoded = event | {"body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}

    assert answering.run(FUNCTION, signed(encoded)) == DONE
    assert alert(answering)["state"] == "acknowledged"


def test_while_the_secret_is_changed_both_are_taken() -> None:
    with mock_aws():
        stack = Stack(signing_secret=json.dumps({"signing_secret": "new", "previous": SIGNING_SECRET}))
        stack.now = NOW

        assert stack.run(FUNCTION, typed("help"))["statusCode"] == 200
        again = signed(typed("help"), secret="new")
        assert stack.run(FUNCTION, again)["statusCode"] == 200


def bent(**changes: Any) -> dict[str, Any]:
    return load_event(FUNCTION) | changes


def with_headers(**headers: str | None) -> dict[str, Any]:
    event = load_event(FUNCTION)
    for name, value in headers.items():
        key = name.replace("_", "-")
        event["headers"] = {k: v for k, v in event["headers"].items() if k != key} | ({key: value} if value is not None else {})
    return event


SAMPLE_BODY = load_event(FUNCTION)["body"]
MALFORMED: dict[str, dict[str, Any]] = {
    "tampered body": bent(body=SAMPLE_BODY.replace("acknowledge", "mute")),
    "old": signed(load_event(FUNCTION), at=NOW - timedelta(seconds=302)),
    "of the future": signed(load_event(FUNCTION), at=NOW + timedelta(seconds=302)),
    "another secret": signed(load_event(FUNCTION), secret="guessed"),
    "no headers": bent(headers={}),
    "headers null": bent(headers=None),
    "no signature": with_headers(x_slack_signature=None),
    "no timestamp": with_headers(x_slack_request_timestamp=None),
    "empty signature": with_headers(x_slack_signature=""),
    "signature not ASCII": with_headers(x_slack_signature="v0=ä"),
    "timestamp no number": with_headers(x_slack_request_timestamp="soon"),
    "timestamp in other digits": with_headers(x_slack_request_timestamp="١٧٩١٢١٢٥٢٠"),
    "timestamp negative": with_headers(x_slack_request_timestamp="-1791212520"),
    "timestamp huge": with_headers(x_slack_request_timestamp="9" * 400),
    "JSON content type": with_headers(content_type="application/json"),
    "no content type": with_headers(content_type=None),
    "no body": {k: v for k, v in load_event(FUNCTION).items() if k != "body"},
    "body null": bent(body=None),
    "not UTF-8": signed(bent(body=base64.b64encode(b"payload=\xff\xfe").decode(), isBase64Encoded=True)),
    "not base64": bent(body="payload=%7B%7D", isBase64Encoded=True),
    "huge": signed(bent(body="payload=" + "x" * 600_000)),
    "no fields": signed(bent(body="nothing=here")),
    "too many fields": signed(bent(body="&".join(f"a{i}=1" for i in range(100)))),
    "payload no JSON": signed(bent(body=urlencode({"payload": "{"}))),
    "payload a list": signed(bent(body=urlencode({"payload": "[]"}))),
    "payload nested": signed(bent(body=urlencode({"payload": "[" * 20_000}))),
    "no actions": signed(bent(body=urlencode({"payload": json.dumps({"type": "block_actions", "actions": []})}))),
    "value no JSON": pressed(value="x"),
    "of a year that no clock shows": pressed(action_ts="99999999999999999"),
    "value of other types": pressed(value=json.dumps({"budget": 1, "period": [], "news": "x"})),
}


@pytest.mark.parametrize("event", MALFORMED.values(), ids=MALFORMED.keys())
def test_whatever_is_not_slacks_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized) as refused:
        read_request(event, lambda: (SIGNING_SECRET,), NOW)

    assert str(refused.value) == ""


def test_what_is_refused_is_answered_without_a_word_and_changes_nothing(answering: Stack) -> None:
    before = answering.wire_items("AlertsTable")
    handler = answering.handler(FUNCTION)

    assert [answering.invoke(handler, event) for event in MALFORMED.values()] == [REFUSED] * len(MALFORMED)

    assert answering.wire_items("AlertsTable") == before
    assert answering.metrics()["SlackRequestsRefused"] == len(MALFORMED)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["content-type", "x-slack-signature", "x-slack-request-timestamp", "X-Slack-Signature"]), st.text()
    ),
    st.one_of(st.none(), st.text(max_size=200), st.integers()),
    st.booleans(),
)
def test_no_request_without_a_signature_is_anything_but_refused(headers: dict[str, str], body: Any, is_encoded: bool) -> None:
    with pytest.raises(Unauthorized):
        read_request({"headers": headers, "body": body, "isBase64Encoded": is_encoded}, lambda: (SIGNING_SECRET,), NOW)


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_a_signed_payload_of_any_shape_is_understood_or_refused(payload: Any) -> None:
    event = signed(bent(body=urlencode({"payload": json.dumps(payload)})))
    try:
        read_request(event, lambda: (SIGNING_SECRET,), NOW)
    except Unauthorized:
        return


def test_without_a_signing_secret_everything_is_refused(stack: Stack) -> None:
    stack.now = NOW

    assert stack.run(FUNCTION, load_event(FUNCTION)) == REFUSED


def test_slacks_check_of_the_certificate_is_answered(answering: Stack) -> None:
    assert answering.run(FUNCTION, signed(bent(body="ssl_check=1&token=x"))) == DONE


# Buttons.


def test_the_same_request_again_changes_nothing(answering: Stack) -> None:
    event = load_event(FUNCTION)
    answering.run(FUNCTION, event)
    before = answering.wire_items("AlertsTable")

    assert answering.run(FUNCTION, event) == DONE

    assert answering.wire_items("AlertsTable") == before


def test_a_request_that_was_acted_on_cannot_be_replayed_after_somebody_undid_it(answering: Stack) -> None:
    muting = pressed("mute")
    answering.run(FUNCTION, muting)
    answering.now += timedelta(seconds=60)
    answering.run(FUNCTION, pressed("resume", at=answering.now))

    answering.run(FUNCTION, muting)

    assert alert(answering)["state"] == "alarm"


def test_a_double_click_acknowledges_once(answering: Stack) -> None:
    answering.run(FUNCTION, pressed(at=NOW))
    before = alert(answering)

    answering.run(FUNCTION, pressed(at=NOW - timedelta(seconds=1)))

    assert alert(answering) == before


def snooze(span: str) -> dict[str, Any]:
    value = json.dumps([span, "search-monthly", "2026-10", 1])
    return pressed("snooze", type="static_select", selected_option={"value": value}, value=None)


@pytest.mark.parametrize(
    ("span", "until"), [("1", "2026-10-06T15:02:00Z"), ("3", "2026-10-08T15:02:00Z"), ("end", "2026-11-01T00:00:00Z")]
)
def test_a_snooze_lasts_as_long_as_was_chosen(answering: Stack, span: str, until: str) -> None:
    answering.run(FUNCTION, snooze(span))

    assert (alert(answering)["state"], alert(answering)["snoozed_until"]) == ("snoozed", until)


def test_a_button_that_leads_somewhere_is_answered_and_does_nothing(answering: Stack) -> None:
    before = answering.wire_items("AlertsTable")

    assert answering.run(FUNCTION, pressed("open", value="", url="https://costs.example/")) == DONE

    assert answering.wire_items("AlertsTable") == before


def test_an_old_message_cannot_acknowledge_news_that_it_does_not_show(answering: Stack) -> None:
    with SlackReceiver() as receiver:
        stale = json.dumps({"budget": "search-monthly", "period": "2026-10", "news": 0})
        event = responding_to(receiver, pressed(value=stale))

        assert answering.run(FUNCTION, event) == DONE

        assert alert(answering)["state"] == "alarm"
        assert "There is news" in json.dumps(receiver.posts[0].payload)


def responding_to(receiver: SlackReceiver, event: dict[str, Any]) -> dict[str, Any]:
    payload = json.loads(parse_qs(event["body"])["payload"][0]) | {"response_url": receiver.url}
    return signed(event | {"body": urlencode({"payload": json.dumps(payload)})})


@pytest.mark.parametrize("user", ["U0SUPPORT", "U0NOBODY"])
def test_who_does_not_see_an_alert_cannot_silence_it_and_is_told_how_to(user: str) -> None:
    with mock_aws(), SlackReceiver() as receiver:
        stack = Stack(slack_secret=receiver.url, signing_secret=SIGNING_SECRET)
        stack.now = NOW
        DynamoPolicy(stack.table("LedgerTable")).apply(parse_policy(POLICY))
        stack.dynamodb.put_item(
            TableName="AlertsTable", Item=load_event("deliver_alerts")["Records"][0]["dynamodb"]["NewImage"]
        )

        assert stack.run(FUNCTION, responding_to(receiver, pressed("mute", user=user))) == DONE

        assert alert(stack)["state"] == "alarm"
        told = json.dumps(receiver.posts[0].payload)
        assert user in told and "slack_users" in told
        assert receiver.posts[0].payload["replace_original"] is False


def test_an_answer_is_sent_to_slacks_hosts_alone(answering: Stack) -> None:
    with SlackReceiver() as receiver:
        event = responding_to(receiver, pressed("mute", user="U0NOBODY"))
        elsewhere = json.loads(parse_qs(event["body"])["payload"][0])
        elsewhere["response_url"] = receiver.url.replace("127.0.0.1", "localhost")

        answering.run(FUNCTION, signed(event | {"body": urlencode({"payload": json.dumps(elsewhere)})}))

        assert receiver.posts == []


# Commands.


@pytest.mark.parametrize("text", ["", "help", "HELP me"])
def test_help_teaches_and_says_what_the_asker_sees(answering: Stack, text: str) -> None:
    told = shown(answering.run(FUNCTION, typed(text)))

    assert "budget [name]" in told and "You see team search." in told


def test_who_is_mapped_to_nothing_sees_nothing_and_is_told_whom_to_ask(answering: Stack) -> None:
    handler = answering.handler(FUNCTION)
    for text in ("team", "budget", "request x", "mute search-monthly", "nonsense"):
        told = shown(answering.invoke(handler, typed(text, user="U0NOBODY")))

        assert "U0NOBODY" in told and "slack_users" in told
        assert "search" not in told


def test_open_alerts_are_listed_to_those_who_may_see_them(answering: Stack) -> None:
    assert "81 % · $975.33 of $1,200.00" in shown(answering.run(FUNCTION, typed("budget")))
    assert "81 %" in shown(answering.run(FUNCTION, typed("budget search-monthly", user="U0FINOPS")))
    assert "975" not in shown(answering.run(FUNCTION, typed("budget search-monthly", user="U0SUPPORT")))


def test_what_may_not_be_seen_and_what_is_not_there_are_answered_alike(answering: Stack) -> None:
    hidden = shown(answering.run(FUNCTION, typed("mute search-monthly", user="U0SUPPORT")))
    missing = shown(answering.run(FUNCTION, typed("mute other-monthly", user="U0SUPPORT")))

    assert hidden.replace("search", "other") == missing


def test_open_alerts_are_read_at_once_however_many_there_are(answering: Stack) -> None:
    (item,) = answering.wire_items("AlertsTable")
    for number in range(1, 12):
        answering.dynamodb.put_item(TableName="AlertsTable", Item=renamed(item, f"search-{number}"))
    handler, operations = answering.handler(FUNCTION), []

    def note(model: Any, **_: Any) -> None:
        operations.append(model.name)

    wiring.client("dynamodb").meta.events.register("before-call.dynamodb", note)

    assert "12 budgets in alarm" in shown(answering.invoke(handler, typed("budget")))
    assert operations.count("BatchGetItem") == 1
    assert operations.count("GetItem") <= 2, "the policy, and no alert by itself"


def test_no_open_alert_is_left_out_of_a_list_of_very_many(stack: Stack) -> None:
    due = {"sk": "alert", "due": "due", "due_at": "2026-10-31T00:00:00.000000"}
    stack.table("AlertsTable").batch_put({"pk": f"ALERT#budget-{number}#2026-10", **due} for number in range(1001))
    outbox = DynamoOutbox(stack.table("AlertsTable"), 30, lambda: NOW)

    assert len(outbox.open()) == 1001


def renamed(item: dict[str, Any], budget: str) -> dict[str, Any]:
    """The stored alert of another budget."""
    copied: dict[str, Any] = json.loads(json.dumps(item).replace("search-monthly", budget))
    return copied


def test_alarms_of_the_stack_are_listed_and_taken_by_those_who_see_everything(answering: Stack) -> None:
    outbox = DynamoOutbox(answering.table("AlertsTable"), 30, lambda: NOW)
    raised = observe_alarm(Alarm("prod-NoDelivery", True, NOW, meaning="AWS has delivered no cost report."), None, NOW)
    assert raised is not None
    outbox.put(replace(raised, told=1, shown=1, delivery=Delivery(DeliveryStatus.SENT)), replacing=None)

    assert "NoDelivery" not in shown(answering.run(FUNCTION, typed("budget")))
    listed = shown(answering.run(FUNCTION, typed("budget", user="U0FINOPS")))
    assert "*alarm: prod-NoDelivery*  AWS has delivered no cost report. _alarm_" in listed
    answering.run(FUNCTION, typed("acknowledge alarm: prod-NoDelivery", user="U0FINOPS"))

    found = outbox.get(raised.key)
    assert found is not None
    assert (found.state, found.handled_by) == (AlertState.ACKNOWLEDGED, "U0FINOPS")


def test_an_alert_is_silenced_in_words_as_by_its_buttons(answering: Stack) -> None:
    told = shown(answering.run(FUNCTION, typed("snooze search-monthly 3")))

    assert "snoozed" in told
    assert alert(answering)["snoozed_until"] == "2026-10-08T15:02:01Z"


def test_a_command_that_makes_no_sense_is_answered_with_what_to_write(answering: Stack) -> None:
    handler = answering.handler(FUNCTION)
    for text in ("team search 2026-13", "team 26-1", "shoe size", "request", "request a/b/c/d e"):
        assert "section" in shown(answering.invoke(handler, typed(text)))


def test_a_request_id_longer_than_any_key_is_not_looked_for(answering: Stack) -> None:
    # DynamoDB refuses to look for a key of more than 2,048 bytes.
    asked = shown(answering.run(FUNCTION, typed("request " + "\u00e9" * 1500, user="U0FINOPS")))

    assert "not recorded, or not yours" in asked


@given(st.text(max_size=80))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_any_words_are_answered_within_slacks_limits(answering: Stack, text: str) -> None:
    shown(answering.invoke(handler_of(answering), typed(text, user="U0FINOPS")))


@cache
def handler_of(stack: Stack) -> Any:
    return stack.handler(FUNCTION)


# Spend and requests.


@pytest.fixture
def spent(answering: Stack) -> Stack:
    """October 5 has an estimate of $0.202389 for the team search, one of its requests is recorded."""
    recorded = load_event("roll_up_usage")["Records"][0]["dynamodb"]["NewImage"]
    # JSON has bytes in Base64, as Lambda hands them over.
    item = {name: {"B": base64.b64decode(value["B"])} if "B" in value else value for name, value in recorded.items()}
    answering.dynamodb.put_item(TableName="InvocationsTable", Item=item)
    answering.run("roll_up_usage", load_event("roll_up_usage"))
    answering.run("allocate_charges", load_event("allocate_charges"))
    return answering


def test_what_a_team_spent_is_shown_to_those_who_may_see_it(spent: Stack) -> None:
    told = shown(spent.run(FUNCTION, typed("team search")))

    assert "$0.20" in told and "All of it estimated from usage." in told and "By day" in told
    assert "$0.20" in shown(spent.run(FUNCTION, typed("team", user="U0FINOPS")))
    assert "$0.20" in shown(spent.run(FUNCTION, typed("TEAM SEARCH 2026-10")))


def test_what_another_team_spent_is_as_if_it_were_not_there(spent: Stack) -> None:
    hidden = shown(spent.run(FUNCTION, typed("team search", user="U0SUPPORT")))
    missing = shown(spent.run(FUNCTION, typed("team nobody", user="U0SUPPORT")))

    assert hidden.replace("search", "nobody") == missing
    assert "There is nothing of that name that you may see in 2026-10." in missing
    assert "0.20" not in shown(spent.run(FUNCTION, typed("team", user="U0SUPPORT")))


def test_totals_that_would_tell_of_others_are_for_those_who_see_everything(spent: Stack) -> None:
    handler = spent.handler(FUNCTION)
    for text in ("model", "account", "iam_principal", "team (unallocated)"):
        assert "$" not in shown(spent.invoke(handler, typed(text)))
        assert "section" in shown(spent.invoke(handler, typed(text, user="U0FINOPS")))


def test_a_request_is_shown_to_its_owner_and_to_finops_alone(spent: Stack) -> None:
    call = next(item["pk"] for item in spent.items("InvocationsTable") if item.get("metered")).replace("#", "/")

    assert "at list price" in shown(spent.run(FUNCTION, typed(f"request {call}", user="U0FINOPS")))
    assert "not recorded, or not yours" in shown(spent.run(FUNCTION, typed(f"request {call}", user="U0SUPPORT")))
    assert "Owner: team search." in shown(spent.run(FUNCTION, typed(f"request {call}")))


# Anomalies.


@pytest.mark.parametrize(("action", "verdict"), [("planned", Verdict.PLANNED), ("not_an_issue", Verdict.NO)])
def test_a_button_judges_every_anomaly_of_the_event_and_says_who_has_it(
    answering: Stack, action: str, verdict: Verdict
) -> None:
    store = anomalies_of(answering)

    assert answering.run(FUNCTION, pressed(action, value=of_anomaly())) == DONE

    assert sorted((f.series, f.verdict, f.by) for f in store.feedback()) == [
        (Series("iam_principal", "role/search"), verdict, "U012AB3CD"),
        (Series("team", "search"), verdict, "U012AB3CD"),
    ]
    told = DynamoOutbox(answering.table("AlertsTable"), 760, lambda: NOW).get(alert_key(TEAM_NAME))
    assert told is not None
    assert (told.state, told.handled_by) == (AlertState.ACKNOWLEDGED, "U012AB3CD")


def test_an_anomaly_of_another_team_is_judged_by_nobody_else(answering: Stack) -> None:
    store = anomalies_of(answering)

    assert answering.run(FUNCTION, pressed("planned", user="U0SUPPORT", value=of_anomaly())) == DONE

    assert store.feedback() == []


def test_open_anomalies_are_listed_behind_the_budgets_to_those_who_may_see_them(answering: Stack) -> None:
    anomalies_of(answering)
    handler = answering.handler(FUNCTION)

    told = shown(answering.invoke(handler, typed("budget")))
    assert "1 budget and 1 anomaly in alarm, or silenced." in told
    assert "anomaly: team=search since 2026-10-05*  $700.00 where $100.00 was expected _alarm_" in told
    assert told.index("search-monthly") < told.index("team=search")
    assert "$700.00" in shown(answering.invoke(handler, typed("budget team=search")))
    assert "team=search" not in shown(answering.invoke(handler, typed("budget", user="U0SUPPORT")))


def test_an_anomaly_that_is_over_is_not_listed(answering: Stack) -> None:
    anomalies_of(answering)
    outbox = DynamoOutbox(answering.table("AlertsTable"), 760, lambda: NOW)
    found = outbox.get(alert_key(TEAM_NAME))
    assert found is not None
    outbox.put(replace(found, state=AlertState.RECOVERED, delivery=Delivery(DeliveryStatus.SENT)), replacing=found)

    assert "team=search" not in shown(answering.run(FUNCTION, typed("budget")))


def test_an_open_anomaly_that_is_told_is_not_looked_at_before_it_would_expire(answering: Stack) -> None:
    anomalies_of(answering)
    outbox = DynamoOutbox(answering.table("AlertsTable"), 760, lambda: NOW)
    found = outbox.get(alert_key(TEAM_NAME))
    assert found is not None
    outbox.put(replace(found, delivery=Delivery(DeliveryStatus.SENT)), replacing=found)

    assert found.key not in outbox.due(NOW + timedelta(days=700))


@pytest.mark.parametrize("name", ["team=search", "anomaly: team=search", "TEAM=Search"])
def test_an_anomaly_is_acknowledged_in_words(answering: Stack, name: str) -> None:
    anomalies_of(answering)

    assert "acknowledged" in shown(answering.run(FUNCTION, typed(f"acknowledge {name}")))
    assert alert_of_sample(answering)["state"] == "alarm"


@pytest.mark.parametrize(("word", "verdict"), [("planned", Verdict.PLANNED), ("not-an-issue", Verdict.NO)])
def test_an_anomaly_is_judged_in_words_by_those_who_see_it(answering: Stack, word: str, verdict: Verdict) -> None:
    store = anomalies_of(answering)
    handler = answering.handler(FUNCTION)

    assert "nothing of that name" in shown(answering.invoke(handler, typed(f"{word} team=search", user="U0SUPPORT")))
    assert "nothing of that name" in shown(answering.invoke(handler, typed(f"{word} search-monthly")))
    assert store.feedback() == []

    assert "acknowledged" in shown(answering.invoke(handler, typed(f"{word} team=search")))
    assert {(f.verdict, f.by) for f in store.feedback()} == {(verdict, "U012AB3CD")}


def test_a_word_without_a_name_lists_what_it_could_be_about(answering: Stack) -> None:
    anomalies_of(answering)
    handler = answering.handler(FUNCTION)

    both = shown(answering.invoke(handler, typed("acknowledge")))
    anomalies = shown(answering.invoke(handler, typed("planned")))

    assert "search-monthly" in both and "team=search" in both
    assert "search-monthly" not in anomalies and "team=search" in anomalies


def test_a_budget_is_not_judged(answering: Stack) -> None:
    before = alert(answering)

    assert answering.run(FUNCTION, pressed("planned", user="U0FINOPS")) == DONE

    assert anomalies_of(answering).feedback() == []
    assert alert_of_sample(answering) == before


TEAM_NAME = "team=search#2026-10-05"


def of_anomaly() -> str:
    key = alert_key(TEAM_NAME)
    return json.dumps({"budget": key.budget, "period": key.period, "news": 1})


def alert_of_sample(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = next(
        i["alert"] for i in stack.items("AlertsTable") if i["pk"].startswith("ALERT#") and "anomaly" not in i["pk"]
    )
    return found


def anomalies_of(stack: Stack) -> DynamoAnomalies:
    """An event of the team search and its role, as it was found and told."""
    store = DynamoAnomalies(stack.table("LedgerTable"), 760, lambda: NOW)
    day = AnomalousDay(date(2026, 10, 5), Decimal(700), Decimal(100), Decimal(125))
    for series, part_of in ((Series("team", "search"), ""), (Series("iam_principal", "role/search"), TEAM_NAME)):
        found = Anomaly("m", series, (day,), is_open=True)
        tracked = TrackedAnomaly(name_of(found), found, State.OPEN, NOW, NOW, part_of=part_of)
        store.put(tracked, replacing=None)
        if not part_of:
            seen = observation(tracked, Change.FOUND, billed=(), daily=(), route="")
            raised = observe(seen, None, NOW)
            assert raised is not None
            DynamoOutbox(stack.table("AlertsTable"), 760, lambda: NOW).put(raised, replacing=None)
    return store
