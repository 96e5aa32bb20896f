"""Alerts and digests as Block Kit: within Slack's limits and without a way to write markup, whatever a budget is called."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.channels.slack import Credentials, check_url
from adapters.channels.slack_messages import (
    Look,
    alert_message,
    digest_message,
    plain_text,
    reply_message,
    reply_to_user,
    text_only,
)
from adapters.channels.slack_text import BLOCKS_CHARACTERS, escape, literal
from attribution.alerts import (
    Alarm,
    Alert,
    AlertKey,
    AlertState,
    Driver,
    Figures,
    Forecast,
    News,
    Subject,
    Threshold,
    ThresholdKind,
    acknowledge,
)
from attribution.conversation import Reply
from attribution.digests import Digest, DigestKey, DigestKind, DigestLine
from attribution.errors import PolicyInvalid
from attribution.money import Money
from attribution.wording import money
from local.slack_receiver import judge

HOSTILE = (
    "<!channel>",
    "<@U012AB3CD>",
    "<https://evil.example|click>",
    "https://evil.example",
    "&lt;!here&gt;",
    "*_~`",
    "\n\n",
    "\u202e",
    "🚨",
    "&" * 300,
)
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=40),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=30).map("".join),
    st.text(alphabet="<>&", min_size=190, max_size=3000),
)
amounts = st.decimals(min_value=-(10**15), max_value=10**15, allow_nan=False, allow_infinity=False, places=10)
AT = datetime(2026, 2, 5, tzinfo=UTC)
ABOVE_80 = Threshold(ThresholdKind.ACTUAL, "ACTUAL#80", "above 80 % of the budget", Decimal(80))

ALERT = Alert(
    key=AlertKey("search", "2026-02"),
    subject=Subject("team: search", "billed_cost", (("team", "search"),), ends_at=AT + timedelta(days=20)),
    figures=Figures(Money(Decimal(100)), billed=Decimal(85)),
    state=AlertState.ALARM,
    crossed=(ABOVE_80,),
    seen=("ACTUAL#80",),
    raised_at=AT,
    changed_at=AT,
)
BOT = Look(
    has_buttons=True,
    has_charts=True,
    report_url="https://costs.example/{budget}/{period}",
    mention="<!subteam^S012AB3CD>",
    runbook_url="https://wiki.example/operating",
)
WEBHOOK = Look()


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    drivers = draw(st.lists(st.builds(Driver, names, amounts, st.none() | amounts), max_size=12))
    daily = tuple((date(2026, 1, 1) + timedelta(days=i), a) for i, a in enumerate(draw(st.lists(amounts, max_size=40))))
    forecasts = st.builds(
        Forecast, amounts, amounts, amounts, st.none() | st.just(date(2026, 2, 20)), st.none() | st.integers(0, 100)
    )
    return Figures(
        Money(draw(amounts.filter(lambda a: a > 0)), draw(st.sampled_from(["USD", "CNY", "tokens"]))),
        draw(amounts),
        draw(amounts),
        tuple(drivers),
        draw(st.none() | forecasts),
        draw(st.none() | st.integers(0, 10**9)),
        daily,
    )


thresholds = st.builds(
    Threshold, st.sampled_from(ThresholdKind), st.just("name"), names, st.none() | amounts, st.booleans(), st.booleans()
)


# What an alarm's description may hold, which its author wrote; a guide may be an address.
alarms = st.builds(Alarm, names, st.booleans(), st.just(AT), names, names, names, names | st.just("https://wiki.example/a#b"))


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    return Alert(
        key=AlertKey(draw(names), "2026-02"),
        subject=Subject(
            draw(names),
            "billed_cost",
            tuple(draw(st.lists(st.tuples(names, names), max_size=3))),
            is_anomaly=draw(st.booleans()),
            note=draw(st.sampled_from(["open", "withdrawn"]) | names),
        ),
        figures=draw(figures()),
        state=draw(st.sampled_from(AlertState)),
        crossed=tuple(draw(st.lists(thresholds, max_size=4))),
        seen=(),
        raised_at=AT,
        changed_at=AT,
        revision=draw(st.integers(1, 10**6)),
        news=draw(st.integers(1, 10**4)),
        news_kind=draw(st.sampled_from(News)),
        news_actual=draw(amounts),
        previous_actual=draw(st.none() | amounts),
        handled_by=draw(st.sampled_from(["", "U012AB3CD"]) | names),
        snoozed_until=draw(st.none() | st.just(AT)),
        is_ended=draw(st.booleans()),
        alarm=draw(st.none() | alarms),
    )


@st.composite
def digests(draw: st.DrawFn) -> Digest:
    lines = draw(st.lists(st.builds(DigestLine, st.integers(0, 9), names, names, names), max_size=120))
    daily = tuple((date(2026, 1, 1) + timedelta(days=i), a) for i, a in enumerate(draw(st.lists(amounts, max_size=20))))
    kind = draw(st.sampled_from(DigestKind))
    return Digest(DigestKey("route", draw(names)), kind, draw(names), draw(names), tuple(lines), AT, daily)


looks = st.sampled_from([BOT, WEBHOOK, replace(BOT, has_charts=False)])


def mrkdwn(node: Any) -> list[str]:
    """Every text of a message that Slack would read markup in."""
    if isinstance(node, dict):
        own = [node["text"]] if node.get("type") == "mrkdwn" else []
        return own + [text for value in node.values() for text in mrkdwn(value)]
    return [text for value in node for text in mrkdwn(value)] if isinstance(node, list) else []


def assert_taken(message: dict[str, Any]) -> None:
    """Slack takes it, in its layout and without."""
    answer, problems = judge(message)
    assert answer.delivers, problems
    assert judge(text_only(message))[0].delivers
    assert len(json.dumps(message["blocks"], ensure_ascii=False)) <= 13_200


# What we write ourselves, and nothing else, may stand in angle brackets.
OURS = re.compile(r"<@U012AB3CD>|<!subteam\^S012AB3CD>")


def assert_literal(message: dict[str, Any], own: re.Pattern[str] = OURS) -> None:
    """Nobody can mention people or place a link through a name."""
    for text in (own.sub("", written) for written in [*mrkdwn(message["blocks"]), str(message["text"])]):
        assert not re.search(r"[<>]", text)
        assert not re.search(r"&(?!(?:amp|lt|gt);)", text), "an entity is cut"
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u0000-\u0009]", text), "text can be hidden or reordered"


@given(alerts(), looks, st.booleans())
def test_every_alert_is_a_message_that_slack_takes_and_in_which_names_are_only_text(
    alert: Alert, look: Look, is_repeat: bool
) -> None:
    message = alert_message(alert, look, is_repeat=is_repeat)

    assert_taken(message)
    assert_literal(message)


@given(alerts(), st.booleans())
def test_every_news_is_a_reply_that_slack_takes_and_in_which_names_are_only_text(alert: Alert, is_repeat: bool) -> None:
    message = reply_message(alert, is_repeat=is_repeat)

    assert_taken(message)
    assert_literal(message)


@given(digests(), st.booleans())
def test_every_digest_is_a_message_that_slack_takes_and_in_which_names_are_only_text(digest: Digest, is_repeat: bool) -> None:
    message = digest_message(digest, is_repeat=is_repeat)

    assert_taken(message)
    assert_literal(message, re.compile("(?!)"))


@given(names, names, st.lists(st.builds(DigestLine, st.integers(0, 9), names, names, names), max_size=40))
def test_every_answer_is_a_message_that_slack_takes(title: str, summary: str, lines: list[DigestLine]) -> None:
    assert_taken(reply_to_user(Reply(title, summary, lines)))


@given(alerts() | digests())
def test_every_mail_has_a_subject_on_one_line(notice: Alert | Digest) -> None:
    subject, body = plain_text(notice)

    assert "\n" not in subject
    assert body


@given(st.text(), st.integers(1, 50))
def test_escaped_text_reads_as_it_was_written(text: str, limit: int) -> None:
    shown = escape(text, limit).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    seen = literal(text)

    assert shown == seen or (len(shown) == limit and shown.endswith("…") and seen.startswith(shown[:-1]))


@given(amounts)
@example(Decimal("0.001"))
@example(Decimal("-0.001"))
def test_an_amount_is_shown_to_the_nearest_cent(amount: Decimal) -> None:
    shown = money(amount, "USD").translate(str.maketrans("", "", "$,<>"))

    assert abs(Decimal(shown) - amount) <= Decimal("0.005") or abs(Decimal(shown)) == Decimal("0.01")


def text_of(alert: Alert, look: Look = BOT) -> str:
    message = alert_message(alert, look)
    return json.dumps(message["blocks"], ensure_ascii=False).replace("\\n", "\n")


def test_what_is_left_adds_up_with_what_is_shown_as_spent() -> None:
    text = text_of(replace(ALERT, figures=Figures(Money(Decimal("77.50")), billed=Decimal("77.3106"))))

    assert "$77.31 (99 %)" in text
    assert "*Left*\n$0.19 of $77.50" in text


def test_spend_over_the_limit_says_by_how_much() -> None:
    assert "*Over by*\n$2.50; the limit is $77.50" in text_of(
        replace(ALERT, figures=Figures(Money(Decimal("77.50")), Decimal(80)))
    )


def test_drivers_that_do_not_fit_are_left_out_whole() -> None:
    drivers = tuple(Driver("&" * 100, Decimal(2000), Decimal(100 * n)) for n in range(1, 9))

    blocks = reply_message(replace(ALERT, figures=replace(ALERT.figures, drivers=drivers)))["blocks"]

    why = blocks[1]["text"]["text"]
    assert why.count("&") == why.count("&amp;")
    assert why.splitlines()[-1].endswith(")")


def test_drivers_are_told_as_what_changed() -> None:
    driver = Driver("claude-sonnet", Decimal(2000), Decimal(610))

    text = text_of(replace(ALERT, figures=replace(ALERT.figures, drivers=(driver,))))

    assert "claude-sonnet: $2,000.00 (+$610.00, +44 %)" in text


def test_a_forecast_says_its_interval_and_when_it_breaks() -> None:
    forecast = Forecast(Decimal(95), Decimal(110), Decimal(130), date(2026, 2, 20), 80)

    text = text_of(replace(ALERT, figures=replace(ALERT.figures, forecast=forecast)))

    assert "$110.00 ($95.00 to $130.00)\npasses the limit on 20 Feb (80 % sure)" in text


def test_no_forecast_is_told_to_be_certain() -> None:
    forecast = Forecast(Decimal(95), Decimal(110), Decimal(130), date(2026, 2, 20), 100)

    assert "(over 99 % sure)" in text_of(replace(ALERT, figures=replace(ALERT.figures, forecast=forecast)))


def test_what_costs_as_much_as_before_is_no_reason() -> None:
    drivers = (Driver("steady", Decimal(2000), Decimal(2)), Driver("grown", Decimal(300), Decimal(200)))

    text = text_of(replace(ALERT, figures=replace(ALERT.figures, drivers=drivers)))

    assert "grown: $300.00" in text
    assert "steady" not in text


def test_a_principal_is_named_as_people_call_it() -> None:
    driver = Driver("iam_principal arn:aws-us-gov:iam::111122223333:role/ci/agent, claude-sonnet", Decimal(2000))

    text = text_of(replace(ALERT, figures=replace(ALERT.figures, drivers=(driver,))))

    assert "iam_principal role/ci/agent (111122223333), claude-sonnet: $2,000.00" in text
    assert "what iam_principal role/ci/agent (111122223333), claude-sonnet did" in text


def test_the_course_is_a_chart_where_there_are_charts_and_bars_elsewhere() -> None:
    daily = tuple((date(2026, 2, day), Decimal(day)) for day in range(1, 29))
    alert = replace(ALERT, figures=replace(ALERT.figures, daily=daily))

    assert "data_visualization" in text_of(alert, BOT)
    assert "*By day* ▅▅▅▆▆▆▆▇▇▇▇███ 15 Feb to 28 Feb" in text_of(alert, WEBHOOK)


BUTTONS = [
    (AlertState.ALARM, ["acknowledge", "snooze", "mute", "open"]),
    (AlertState.ACKNOWLEDGED, ["snooze", "mute", "open"]),
    (AlertState.SNOOZED, ["resume", "open"]),
    (AlertState.MUTED, ["resume", "open"]),
    (AlertState.RECOVERED, ["mute", "open"]),
]


@pytest.mark.parametrize(("state", "buttons"), BUTTONS)
def test_the_buttons_are_those_that_make_sense(state: AlertState, buttons: list[str]) -> None:
    (row,) = [b for b in alert_message(replace(ALERT, state=state), BOT)["blocks"] if b["type"] == "actions"]

    assert [element["action_id"] for element in row["elements"]] == buttons


ANOMALY = replace(
    ALERT,
    key=AlertKey("anomaly: team=search", "2026-02-04"),
    subject=Subject("team: search", "net_billed_cost", (("team", "search"),), is_anomaly=True, note="open"),
    figures=Figures(
        Money(Decimal(100)),
        estimated=Decimal(700),
        drivers=(Driver("role/search sonnet output us-east-1 (new)", Decimal(600)),),
        daily=((date(2026, 2, 3), Decimal(100)), (date(2026, 2, 4), Decimal(700))),
    ),
    crossed=(Threshold(ThresholdKind.ACTUAL, "grown 0", "above $125.00, the most that could be expected"),),
)


def test_an_anomaly_says_who_spends_how_much_more_since_when_and_why() -> None:
    text = json.dumps(alert_message(ANOMALY, BOT)["blocks"], ensure_ascii=False)

    for said in (
        "Anomaly: team search, $700.00 where $100.00 was expected",
        "Spend since 2026-02-04 is above $125.00, the most that could be expected.",
        "*More than expected by*\\n$600.00 (+600 %)",
        "role/search sonnet output us-east-1 (new): $600.00",
    ):
        assert said in text
    assert "budget" not in re.sub(r'"value": "[^}]*}"', "", text)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AlertState.ALARM, ["Acknowledge", "Planned", "Not an issue"]),
        (AlertState.ACKNOWLEDGED, ["Planned", "Not an issue"]),
        (AlertState.RECOVERED, []),
    ],
)
def test_the_buttons_of_an_anomaly_judge_it(state: AlertState, expected: list[str]) -> None:
    blocks = alert_message(replace(ANOMALY, state=state), BOT)["blocks"]

    assert [e["text"]["text"] for b in blocks if b["type"] == "actions" for e in b["elements"]] == expected


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("ended", "It is over"),
        ("withdrawn", "The figures were restated"),
        ("planned", "It was planned"),
        ("not an issue", "It is not an issue"),
        ("new normal", "this is the new normal"),
    ],
)
def test_an_anomaly_that_is_over_says_why(note: str, said: str) -> None:
    subject = replace(ANOMALY.subject, note=note)
    over = replace(ANOMALY, subject=subject, state=AlertState.RECOVERED, crossed=(), news_kind=News.RECOVERED)

    message = alert_message(over, BOT)

    assert message["text"].startswith(f"{note.capitalize()}: Anomaly: team search")
    assert said in json.dumps(message["blocks"])
    assert said in reply_message(over)["text"]


def test_without_buttons_an_anomaly_says_how_to_judge_it() -> None:
    text = json.dumps(alert_message(ANOMALY, WEBHOOK)["blocks"])

    assert "bedrock-costs anomalies feedback 'team=search#2026-02-04' planned" in text


ALARM = Alarm(
    "prod-NoDelivery",
    True,
    AT,
    "Threshold Crossed: 1 datapoint [37.0 (05/02/26 00:00:00)] was greater than the threshold (36.0).",
    "AWS has delivered no cost report.",
    "look at the export, then `bedrock-costs deliveries`.",
    "docs/operating.md#nodeliveryalarm",
)
ALARMED = replace(
    ALERT,
    key=AlertKey("alarm: prod-NoDelivery", "-"),
    subject=Subject("prod-NoDelivery", ""),
    figures=Figures(Money(Decimal(0))),
    crossed=(Threshold(ThresholdKind.ACTUAL, "alarm", "in alarm"),),
    alarm=ALARM,
)


def test_an_alarm_says_what_it_means_since_when_what_to_do_and_why_cloudwatch_raised_it() -> None:
    text = text_of(ALARMED)

    for said in (
        "Alarm: prod-NoDelivery",
        "*AWS has delivered no cost report.*\nIn alarm since 5 Feb 00:00 UTC.",
        "*What to do*\nLook at the export, then `bedrock-costs deliveries`.",
        "CloudWatch: Threshold Crossed: 1 datapoint [37.0",
        "Guide: docs/operating.md#nodeliveryalarm",
        "https://wiki.example/operating#nodeliveryalarm",
    ):
        assert said in text
    assert alert_message(ALARMED, BOT)["text"] == "Alarm: prod-NoDelivery. AWS has delivered no cost report."


@pytest.mark.parametrize(
    ("guide", "runbook", "url"),
    [
        ("docs/operating.md#x", "https://wiki.example/o", "https://wiki.example/o#x"),
        ("docs/operating.md#x", "", None),
        ("https://wiki.example/own", "", "https://wiki.example/own"),
        ("javascript:alert(1)", "", None),
        ("https://wiki.example/a b", "https://wiki.example/o", None),
        ("", "https://wiki.example/o", None),
    ],
)
def test_the_guide_is_a_button_where_somebody_can_read_it(guide: str, runbook: str, url: str | None) -> None:
    alert = replace(ALARMED, alarm=replace(ALARM, guide=guide))

    rows = [b for b in alert_message(alert, Look(runbook_url=runbook))["blocks"] if b["type"] == "actions"]

    assert [element["url"] for row in rows for element in row["elements"]] == ([url] if url else [])


@pytest.mark.parametrize(("state", "buttons"), BUTTONS)
def test_an_alarm_is_answered_like_a_budget_and_has_no_period_to_end(state: AlertState, buttons: list[str]) -> None:
    (row,) = [b for b in alert_message(replace(ALARMED, state=state), BOT)["blocks"] if b["type"] == "actions"]

    assert [element["action_id"] for element in row["elements"]] == buttons
    assert "period's end" not in json.dumps(row)


@pytest.mark.parametrize(
    ("is_raised", "state", "kind", "title", "headline"),
    [
        (True, AlertState.ALARM, News.RAISED_AGAIN, "Alarm: prod", "In alarm again since"),
        (True, AlertState.ALARM, News.REMINDED, "Alarm: prod", "Still in alarm since"),
        (True, AlertState.MUTED, News.RAISED, "Muted: Alarm: prod", "In alarm since"),
        (False, AlertState.RECOVERED, News.RECOVERED, "Alarm over: prod", "The alarm is over since"),
        (False, AlertState.SNOOZED, News.RAISED, "Snoozed: Alarm over: prod", "The alarm is over since"),
    ],
)
def test_an_alarm_says_in_which_state_it_is(is_raised: bool, state: AlertState, kind: News, title: str, headline: str) -> None:
    crossed = ALARMED.crossed if is_raised else ()
    alert = replace(ALARMED, state=state, news_kind=kind, crossed=crossed, alarm=replace(ALARM, is_raised=is_raised))

    assert alert_message(alert, BOT)["blocks"][0]["text"]["text"].startswith(title)
    assert headline in reply_message(alert)["text"]
    assert headline in plain_text(alert)[1]
    assert ("*What to do*" if is_raised else "*What to do, unless somebody did*") in text_of(alert)


def test_without_buttons_an_alarm_says_how_to_take_it() -> None:
    text = text_of(ALARMED, Look(has_command=True))

    assert "`/bedrock-costs acknowledge alarm: prod-NoDelivery`" in text


@pytest.mark.parametrize(
    ("period", "driver", "command"),
    [
        ("2026-02", "account 111122223333", "report --by model --where team=search --period 2026-02`"),
        ("2026-02", "model amazon.nova-pro", "report --by iam_principal --where team=search --period 2026-02`"),
        ("2026-Q1", "account 111122223333", "report --by model --where team=search --from 2026-02-03 --to 2026-02-04`"),
    ],
)
def test_the_report_that_is_advised_is_of_the_budget_and_of_its_period(period: str, driver: str, command: str) -> None:
    daily = tuple((date(2026, 2, day), Decimal(40)) for day in (3, 4))
    figures = replace(ALERT.figures, daily=daily, drivers=(Driver(driver, Decimal(80), Decimal(70)),))

    assert f"`bedrock-costs {command}" in text_of(replace(ALERT, key=AlertKey("search", period), figures=figures), WEBHOOK)


def test_the_report_that_is_advised_of_a_name_with_spaces_can_be_pasted() -> None:
    alert = replace(ALERT, subject=replace(ALERT.subject, owners=(("team", "new search"),)))

    assert "--where 'team=new search' --period 2026-02`" in text_of(alert, WEBHOOK)


def test_who_has_silenced_an_alarm_is_said_and_until_when() -> None:
    muted = replace(ALARMED, state=AlertState.MUTED, handled_by="U012AB3CD")

    assert "<@U012AB3CD> muted it until it has been over for a day." in text_of(muted)


def test_a_webhook_has_no_buttons_that_nobody_would_answer() -> None:
    assert not [b for b in alert_message(ALERT, WEBHOOK)["blocks"] if b["type"] == "actions"]


def test_who_has_an_alert_is_named() -> None:
    taken = acknowledge(ALERT, "U012AB3CD", AT)
    assert taken is not None

    assert "<@U012AB3CD> has it" in text_of(taken)


def test_an_owner_group_is_mentioned_when_the_budget_is_broken_and_not_before() -> None:
    broken = replace(ALERT, crossed=(replace(ABOVE_80, is_critical=True),))

    assert "<!subteam^S012AB3CD>" in text_of(broken)
    assert "<!subteam^S012AB3CD>" not in text_of(ALERT)


def test_a_storm_of_hundreds_is_one_message_that_counts_what_it_does_not_show() -> None:
    lines = tuple(DigestLine(i, f"budget-{i:03}", "90 % · $900.00 of $1,000.00") for i in range(500))
    digest = Digest(DigestKey("r", "storm"), DigestKind.STORM, "500 alerts", "", lines, AT)

    message = digest_message(digest)

    text = json.dumps(message["blocks"], ensure_ascii=False)
    shown = text.count("budget-")
    assert shown >= 100
    assert f"and {500 - shown:,} more" in text
    assert len(text) < BLOCKS_CHARACTERS


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ("https://hooks.slack.com/services/T/B/x", "webhook_url"),
        ("xoxb-1-2", "bot_token"),
        ('{"bot_token": "xoxb-1-2", "channel": "C1"}', "bot_token"),
        (' {"webhook_url": "https://hooks.slack.com/services/T/B/x"}\n', "webhook_url"),
        ('{"bot_token": "xoxb-1-2\\n", "channel": " C1"}', "bot_token"),
    ],
)
def test_a_secret_is_a_url_or_a_token_or_names_which(secret: str, kind: str) -> None:
    credentials = Credentials.parse(secret)

    assert getattr(credentials, kind).strip() == getattr(credentials, kind) != ""
    assert credentials.channel in ("", "C1")
    assert "xoxb" not in repr(credentials) and "services" not in repr(credentials)


@pytest.mark.parametrize("secret", ["", "{", "{}", '{"bot_token": "xoxb-1", "webhook_url": "https://hooks.slack.com/x"}'])
def test_a_secret_that_holds_neither_or_both_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        Credentials.parse(secret)

    assert "xoxb" not in str(refused.value)


@pytest.mark.parametrize(
    "secret",
    [
        '{"bot_token": "xoxb-1\\nX-Injected: 1"}',
        '{"bot_token": "xoxb-1 # of finops"}',
        "xoxb-\u2026",
        "xoxb-1\x00",
        "https://hooks.slack.com/xoxb 1",
    ],
)
def test_a_secret_that_no_header_takes_is_refused_before_an_http_client_quotes_it(secret: str) -> None:
    with pytest.raises(PolicyInvalid, match="has a character that no URL or token has") as refused:
        Credentials.parse(secret)

    assert "xoxb" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/x",
        "https://evil.example/x",
        "https://hooks.slack.com@evil.example/x",
        "https://user:pass@hooks.slack.com/x",
        "ftp://hooks.slack.com/x",
    ],
)
def test_a_url_that_is_not_slacks_is_never_posted_to(url: str) -> None:
    with pytest.raises(PolicyInvalid):
        check_url(url, ("hooks.slack.com",))
