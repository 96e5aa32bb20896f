"""An alert as Block Kit: within Slack's limits and without a way to write markup, whatever people call their budgets."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.channels.slack import escape, money, render
from attribution.alerts import Alert, AlertKey, Delivery
from attribution.budgets import AlertState, Comparison, Driver, Notification, NotificationType, Spend, ThresholdType
from attribution.money import Money
from local.slack_receiver import judge

HOSTILE = (
    "<!channel>",
    "<@U012AB3CD>",
    "<https://evil.example|click>",
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


ALERT = Alert(
    key=AlertKey("search", "2026-02", "ACTUAL", "80"),
    state=AlertState.ALARM,
    revision=1,
    limit=Money(Decimal(100)),
    notification=Notification(Decimal(80)),
    spend=Spend(billed=Decimal(85)),
    metric="billed_cost",
    scope="team: search",
    channel="",
    changed_at=datetime(2026, 2, 5, tzinfo=UTC),
)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    drivers = draw(st.lists(st.builds(Driver, names, names, amounts, amounts), max_size=3))
    return Alert(
        key=AlertKey(draw(names), "2026-02", "ACTUAL", "80"),
        state=draw(st.sampled_from(AlertState)),
        revision=draw(st.integers(1, 10**6)),
        limit=Money(draw(amounts.filter(lambda a: a > 0)), draw(st.sampled_from(["USD", "CNY"]))),
        notification=Notification(
            Decimal(80),
            draw(st.sampled_from(NotificationType)),
            draw(st.sampled_from(Comparison)),
            draw(st.sampled_from(ThresholdType)),
        ),
        spend=Spend(draw(amounts), draw(amounts), tuple(drivers)),
        metric="billed_cost",
        scope=draw(names),
        channel="",
        changed_at=datetime(2026, 2, 5, tzinfo=UTC),
        previous_actual=draw(st.none() | amounts),
        delivery=Delivery(may_repeat=draw(st.booleans())),
    )


def mrkdwn(node: Any) -> list[str]:
    """Every text of a message that Slack would read markup in."""
    if isinstance(node, dict):
        own = [node["text"]] if node.get("type") == "mrkdwn" else []
        return own + [text for value in node.values() for text in mrkdwn(value)]
    return [text for value in node for text in mrkdwn(value)] if isinstance(node, list) else []


@given(alerts())
def test_every_alert_is_a_message_that_slack_takes(alert: Alert) -> None:
    answer, problems = judge(render(alert))

    assert answer.status == 200, problems


@given(alerts())
def test_nobody_can_mention_people_or_place_a_link_through_a_name(alert: Alert) -> None:
    message = render(alert)

    for text in [*mrkdwn(message["blocks"]), str(message["text"])]:
        # The product's own "less than a cent" is the one thing written with an entity.
        assert not re.search(r"[<>]", text)
        assert not re.search(r"&(?!(?:amp|lt|gt);)", text), "an entity is cut"


@given(st.text(), st.integers(1, 50))
def test_escaped_text_reads_as_it_was_written(text: str, limit: int) -> None:
    shown = escape(text, limit).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    assert shown == text or (len(shown) == limit and shown.endswith("…") and text.startswith(shown[:-1]))


@given(amounts)
@example(Decimal("0.001"))
@example(Decimal("-0.001"))
def test_an_amount_is_shown_to_the_nearest_cent(amount: Decimal) -> None:
    shown = money(amount, "USD").replace("$", "").replace(",", "").replace("<", "")

    assert abs(Decimal(shown) - amount) <= Decimal("0.005") or abs(Decimal(shown)) == Decimal("0.01")


def test_what_is_left_adds_up_with_what_is_shown_as_spent() -> None:
    spent = replace(ALERT, limit=Money(Decimal("77.50")), spend=Spend(billed=Decimal("77.3106")))

    text = "\n".join(mrkdwn(render(spent)["blocks"]))

    assert "$77.31 (99 %)" in text
    assert "*Left*\n$0.19 of $77.50" in text


def test_spend_over_the_limit_says_by_how_much() -> None:
    over = replace(ALERT, limit=Money(Decimal("77.50")), spend=Spend(billed=Decimal("80")))

    assert "*Over by*\n$2.50 of $77.50" in "\n".join(mrkdwn(render(over)["blocks"]))
