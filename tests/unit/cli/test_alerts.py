"""`alerts`: what is open and how it was told, what a message would say, and whether a route takes one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.policy import parse_policy
from attribution.alarm_alerts import alert_key, observe_alarm
from attribution.alerts import Alarm, Alert, AlertKey, AlertState, Delivery, DeliveryStatus, Message, acknowledge, snooze
from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.digests import Digest, DigestFault, DigestKey, DigestKind
from attribution.meters import TokenKind
from attribution.usage import Counters, Usage
from bedrock_costs.block_kit import plain
from bedrock_costs.stack import Stack
from local.slack_receiver import block_problems
from tests.support.alerts import put_alert, put_anomaly
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY
from tests.unit.cli.support import ACCOUNT, Cloud, client, run

NOW = datetime(2026, 11, 11, 9, tzinfo=UTC)
DAY = date(2026, 11, 9)
ROUTES = [
    {"name": "search", "match": {"team": ["search"]}, "channel": "C0SEARCH"},
    {"name": "finops", "digests": [{"every": "day"}]},
]


@pytest.fixture
def told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Alerts of two budgets and of an anomaly, with routes; the first lives in a message."""
    monkeypatch.setattr("bedrock_costs.commands.alert_messages.now", lambda: NOW)
    cloud.now = NOW
    cloud.policy.apply(parse_policy({"routes": ROUTES}))
    change(cloud, put_alert(cloud.outbox, NOW), message=Message("search", "C0SEARCH", "1700000000.000100"), told=1, **SENT)
    put_alert(cloud.outbox, NOW, budget="ads monthly", team="ads", spent="120")
    put_anomaly(cloud.outbox, NOW, day=DAY)
    return cloud


SENT: dict[str, Any] = {"delivery": Delivery(DeliveryStatus.SENT)}


def change(cloud: Cloud, alert: Alert, **changes: Any) -> Alert:
    stored = cloud.outbox.put(replace(alert, **changes), replacing=alert)
    assert stored is not None
    return stored


def found(cloud: Cloud, name: str) -> Alert:
    """The stored alert of a name."""
    keys = [key for key in cloud.outbox.open() if isinstance(key, AlertKey) and key.budget == name]
    return cloud.outbox.get_many(keys)[keys[0]]


def listed(*options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("alerts", *options, output="csv").out)))


# The list.


def test_open_alerts_are_listed_the_worst_first_with_where_they_are_told(told: Cloud) -> None:
    rows = listed()

    assert [(r["alert"], r["kind"], r["period"], r["state"], r["actual"], r["limit"]) for r in rows] == [
        ("ads monthly", "budget", "2026-11", "alarm", "120", "100"),
        ("search monthly", "budget", "2026-11", "alarm", "90", "100"),
        ("anomaly: team=search", "anomaly", "2026-11-09", "alarm", "40", "1"),
    ]
    assert [(r["route"], r["channel"], r["message_ts"], r["delivery"]) for r in rows] == [
        ("finops", "", "", "pending"),
        ("search", "C0SEARCH", "1700000000.000100", "sent"),
        ("search", "C0SEARCH", "", "pending"),
    ]


def test_an_alert_that_waits_says_for_how_long_after_what(told: Cloud) -> None:
    waits = Delivery(attempts=3, wait_until=NOW + timedelta(minutes=2), error="HTTP 429")
    change(told, found(told, "ads monthly"), delivery=waits)

    assert "ads monthly, 2026-11: waits until 2026-11-11 09:02 UTC after 3 attempts: HTTP 429" in run("alerts").out
    assert listed()[0] | {"attempts": "3", "last_fault": "HTTP 429"} == listed()[0]


def test_what_somebody_acknowledged_or_snoozed_is_open_and_says_who(told: Cloud) -> None:
    ads, search = found(told, "ads monthly"), found(told, "search monthly")
    for alert, after in ((ads, acknowledge(ads, "U1", NOW)), (search, snooze(search, "U2", NOW + timedelta(days=1), NOW))):
        assert after is not None
        told.outbox.put(after, replacing=alert)

    assert {(r["state"], r["handled_by"]) for r in listed()} == {("acknowledged", "U1"), ("snoozed", "U2"), ("alarm", "")}


def test_what_has_recovered_is_listed_on_request_alone(told: Cloud) -> None:
    change(told, found(told, "ads monthly"), state=AlertState.RECOVERED)

    assert "ads monthly" not in [r["alert"] for r in listed()]
    assert "ads monthly" in [r["alert"] for r in listed("--all")]


def test_digests_that_wait_or_cannot_be_made_are_told(told: Cloud) -> None:
    key = DigestKey("finops", "day#team#2026-11-11")
    told.outbox.add_digest(Digest(DigestKey("search", "storm#x#1"), DigestKind.STORM, "2 alerts", "", (), NOW))
    told.outbox.put_fault(DigestFault(key, "LedgerConflict: it expired", NOW - timedelta(hours=1), NOW, 4))

    document = run("alerts", output="json").json
    out = run("alerts").out

    assert [d["digest"] for d in document["digests"]] == ["search#storm#x#1"]
    assert [(d["digest"], d["attempts"]) for d in document["digests_not_made"]] == [("finops#day#team#2026-11-11", 4)]
    assert "Digest search#storm#x#1, 0 lines: waits" in out
    assert "was not made in 4 attempts since 2026-11-11 08:00 UTC: LedgerConflict: it expired" in out


def test_without_alerts_it_says_so(cloud: Cloud) -> None:
    assert run("alerts").out == "No alert is open.\n"


# One alert.


def test_one_alert_is_shown_with_its_figures_and_its_message(told: Cloud) -> None:
    out = run("alerts", "show", "search monthly").out

    assert "search monthly, 2026-11" in out
    assert "actual above 80 % of the budget" in out
    assert "$0.00 billed, $90.00 estimated" in out
    assert "C0SEARCH 1700000000.000100" in out


@pytest.mark.parametrize("name", ["team=search", "anomaly: team=search"])
@pytest.mark.parametrize("period", [(), ("2026-11-09",)])
def test_an_anomaly_is_shown_by_its_value(told: Cloud, name: str, period: tuple[str, ...]) -> None:
    shown = run("alerts", "show", name, *period, output="json").json["alert"]

    assert (shown["kind"], shown["period"]) == ("anomaly", "2026-11-09")
    assert [d["name"] for d in shown["drivers"]] == ["role/agent, anthropic.claude-sonnet-4-5, output_tokens, us-east-1 (new)"]


def test_an_alert_of_a_period_that_is_over_is_shown_by_its_period(told: Cloud) -> None:
    change(told, found(told, "ads monthly"), is_ended=True, **SENT)

    assert "ads monthly, 2026-11" in run("alerts", "show", "ads monthly", "2026-11").out
    assert "no alert of 'ads monthly' is open" in run("alerts", "show", "ads monthly").err


@pytest.fixture
def alarmed(told: Cloud) -> Cloud:
    """Alarms of the stack have a route of their own, and one is raised."""
    told.policy.apply(parse_policy({"routes": [{"name": "platform", "alarms": True}, *ROUTES]}))
    alarm = Alarm("UnpricedAlarm", True, NOW, "1 datapoint", "Requests have no price.", "State prices.", "unpricedalarm")
    raised = observe_alarm(alarm, None, NOW)
    assert raised is not None
    told.outbox.put(raised, replacing=None)
    return told


def test_an_alarm_of_the_stack_is_listed_without_figures_by_its_route(alarmed: Cloud) -> None:
    row = listed()[-1]

    assert (row["alert"], row["kind"], row["route"]) == ("alarm: UnpricedAlarm", "alarm", "platform")
    assert (row["actual"], row["limit"], row["percent"]) == ("", "", "")


@pytest.mark.parametrize("name", ["UnpricedAlarm", "alarm: UnpricedAlarm"])
def test_an_alarm_of_the_stack_is_shown_and_previewed_by_its_name(alarmed: Cloud, name: str) -> None:
    out = run("alerts", "show", name).out

    assert "means      Requests have no price." in out
    assert "do         State prices." in out
    assert "$" not in out
    assert "Requests have no price" in run("alerts", "preview", name).out


def test_an_alarm_that_is_over_is_shown_by_its_name(alarmed: Cloud) -> None:
    raised = alarmed.outbox.get(alert_key("UnpricedAlarm"))
    assert raised is not None
    change(alarmed, raised, state=AlertState.RECOVERED, **SENT)

    assert "recovered" in run("alerts", "show", "UnpricedAlarm").out


def test_an_alert_that_is_not_there_is_said_so(told: Cloud) -> None:
    ran = run("alerts", "show", "ads monthly", "2026-10")

    assert ran.exit_code == 1
    assert "there is no alert of 'ads monthly' in 2026-10" in ran.err


# Previews.


@pytest.fixture
def spending(told: Cloud) -> Cloud:
    """Fifty dollars on each of two days for search and for ads; a budget of each."""
    for day in (date(2026, 11, 9), date(2026, 11, 10)):
        counters = Counters(1, units={TokenKind.INPUT: 100}, estimated={TokenKind.INPUT: Decimal(50)})
        keys = [USAGE_KEY._replace(usage_date=day, request_metadata=(("team", team),)) for team in ("search", "ads")]
        told.put_day(day, Basis.BILLED, estimate_day([Usage(key, counters) for key in keys], BY_TEAM))
    budgets = [
        {"name": f"{team} {limit}", "limit": {"amount": limit}, "dimension": "team", "values": [team]}
        for team, limit in (("search", "110"), ("ads", "1000"))
    ]
    told.policy.apply(parse_policy({"routes": ROUTES, "budgets": budgets}))
    return told


def items(cloud: Cloud) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        item for table in ("alerts", "ledger") for item in cloud.dynamodb.scan(TableName=table)["Items"]
    ]
    return found


def test_a_preview_is_the_message_that_the_budget_would_send_now_and_sends_nothing(spending: Cloud) -> None:
    before = items(spending)

    ran = run("alerts", "preview", "search 110", output="json")

    message = ran.json["message"]
    assert message["text"].startswith("90 % of budget: search 110, $100.00 of $110.00.")
    assert block_problems(json.loads(ran.out)["message"]["blocks"]) == []
    assert (ran.json["route"], ran.json["as_if"], ran.err) == ("search", "", "")
    assert items(spending) == before


def test_a_preview_of_a_budget_that_is_quiet_says_what_it_supposes(spending: Cloud) -> None:
    ran = run("alerts", "preview", "ads 1000")

    assert ran.out.startswith("10 % of budget: ads 1000, $100.00 of $1,000.00\n")
    assert "No threshold of ads 1000 is crossed: this is what would be told above 80 % of the budget." in ran.err


def test_a_preview_shows_the_buttons_that_the_stack_answers(spending: Cloud) -> None:
    assert "[Acknowledge]" not in run("alerts", "preview", "search 110").out
    spending.cloudformation.parameters |= {"SlackSigningSecretArn": "arn"}

    assert "[Acknowledge] [Snooze] [Mute]" in run("alerts", "preview", "search 110").out
    assert "[Acknowledge]" not in run("alerts", "preview", "search 110", "--webhook").out


def test_a_preview_of_an_anomaly_is_its_message_and_of_news_its_thread(spending: Cloud) -> None:
    assert "Anomaly: team search, $40.00 where $1.00 was expected" in run("alerts", "preview", "team=search").out
    assert run("alerts", "preview", "team=search", "--news").out.startswith("Spend since 2026-11-09 is above $5.00")


def test_a_budget_that_would_tell_nothing_is_said_so(spending: Cloud) -> None:
    # No day is allocated by that cost category yet.
    quiet = {"name": "quiet", "limit": {"amount": "9"}, "dimension": "tenant", "values": ["acme"]}
    categories = [{"name": "team"}, {"name": "tenant"}]
    spending.policy.apply(parse_policy({"cost_categories": categories, "budgets": [quiet]}))

    assert "budget 'quiet' would tell nothing now" in run("alerts", "preview", "quiet").err


def test_marks_and_entities_of_slack_are_no_text() -> None:
    assert plain("*A &amp; B* is `&lt;x&gt;` and _so_ a*b") == "A & B is <x> and so a*b"


# Trying a route.


class FakeLambda:
    """Lambda with the one function that tries routes; `answers` by route."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == "deliver-alerts"
        trial = json.loads(Payload)["try_route"]
        self.asked.append(trial)
        answer = self.answers[trial["route"]]
        if answer is None:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b"{}")}
        sent = {"is_sent": True, "updates": False, "message": None, "can_find": None, "error": ""}
        return {"Payload": io.BytesIO(json.dumps(sent | answer).encode())}


@pytest.fixture
def trying(told: Cloud, monkeypatch: pytest.MonkeyPatch) -> FakeLambda:
    place = {"route": "search", "channel": "C0SEARCH", "ts": "1700000000.000200"}
    made = FakeLambda(
        search={"updates": True, "message": place, "can_find": False},
        finops={"is_sent": False, "error": "HTTP 404 no_service: the webhook was revoked"},
    )
    known = {"cloudformation": told.cloudformation, "lambda": made}
    monkeypatch.setattr(Stack, "client", lambda _, service: known.get(service) or client(service))
    return made


def test_a_route_that_works_says_where_its_message_is_and_what_the_app_lacks(trying: FakeLambda) -> None:
    ran = run("alerts", "test", "search")

    assert ran.exit_code == 0
    assert "search: the bot posted it in C0SEARCH, as message 1700000000.000200." in ran.out
    assert "channels:history" in ran.out
    assert trying.asked == [{"route": "search", "by": f"arn:aws:sts::{ACCOUNT}:user/moto", "by_mail": False}]


def test_a_route_that_does_not_work_fails_the_command_with_slacks_answer_and_the_others_are_tried(trying: FakeLambda) -> None:
    ran = run("alerts", "test", "--all", output="json")

    assert ran.exit_code == 1
    assert [(r["route"], r["is_sent"], r["kind"]) for r in ran.json["routes"]] == [
        ("search", True, "bot"),
        ("finops", False, ""),
    ]
    assert "1 route did not take the message: finops" in ran.err
    assert "finops: HTTP 404 no_service: the webhook was revoked" in ran.err


def test_the_second_route_is_tried_on_request(trying: FakeLambda) -> None:
    trying.answers["finops"] = {}

    assert "finops: SNS took it" in run("alerts", "test", "finops", "--mail").out
    assert trying.asked[0]["by_mail"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((), "which route?"), (("serach",), "there is no route 'serach'"), (("default",), "Choose from search, finops.")],
)
def test_a_route_is_named_when_there_are_several(trying: FakeLambda, arguments: tuple[str, ...], error: str) -> None:
    ran = run("alerts", "test", *arguments)

    assert ran.exit_code == 2
    assert error in ran.err
    assert trying.asked == []


def test_without_routes_the_stacks_own_secret_is_tried(trying: FakeLambda, told: Cloud) -> None:
    told.policy.apply(parse_policy({}))
    trying.answers["default"] = {}

    assert "default: the webhook took it" in run("alerts", "test").out


def test_a_function_that_fails_is_said_so(trying: FakeLambda) -> None:
    trying.answers["finops"] = None

    assert "the function failed when it tried route 'finops'" in run("alerts", "test", "finops").err
