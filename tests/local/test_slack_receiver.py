"""The webhook answers as Slack does, keeps every post, and shows a message as a person reads it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import slack_receiver
from local.slack_receiver import SlackReceiver, block_problems, render


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[SlackReceiver]:
    with SlackReceiver(record=tmp_path / "posts.ndjson") as running:
        yield running


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def post(url: str, payload: Any, timeout: float = 5) -> tuple[int, str, Any]:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310  the receiver's own URL
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=timeout) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def text(content: str, kind: str = "mrkdwn") -> dict[str, str]:
    return {"type": kind, "text": content}


def section(**content: Any) -> dict[str, Any]:
    return {"type": "section", **content}


ALERT = {
    "text": "80 % of budget",
    "blocks": [
        {"type": "header", "text": text("80 % of budget: search-team", "plain_text")},
        section(
            fields=[
                text("*Spent*\n$4,012 of $5,000"),
                text("*Forecast*\n$5,430 &amp; rising"),
                text("*Left*\n$988"),
            ]
        ),
        {"type": "divider"},
        section(text=text("Why: `claude-sonnet` +$610, see <https://example.com/r|the report>")),
        {
            "type": "actions",
            "elements": [
                {"type": "button", "text": text("Acknowledge", "plain_text"), "value": "1"},
                {"type": "button", "text": text("Open report", "plain_text"), "url": "https://example.com/r"},
            ],
        },
        {"type": "context", "elements": [text("as of 09:00 UTC"), text("estimate")]},
    ],
}


def test_a_valid_message_is_accepted_and_recorded_without_secrets(receiver: SlackReceiver, tmp_path: Path) -> None:
    assert post(receiver.url, ALERT)[:2] == (200, "ok")

    [line] = (tmp_path / "posts.ndjson").read_text().splitlines()
    record = json.loads(line)
    assert record["payload"] == ALERT
    assert (record["status"], record["answer"], record["delivered"]) == (200, "ok", True)
    assert "secret" not in line
    assert receiver.url.rsplit("/", 1)[-1] not in line


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"not json", (400, "invalid_payload")),
        ([1], (400, "invalid_payload")),
        ({}, (400, "no_text")),
        ({"text": "x" * 40_001}, (400, "msg_too_long")),
        ({"text": "x", "blocks": [section()]}, (400, "invalid_blocks")),
        ({"text": "x", "attachments": [{"blocks": [section()]}]}, (400, "invalid_blocks")),
        ({"blocks": [section(text=text("x" * 2900))] * 5}, (400, "msg_blocks_too_long")),
        ({"text": "x", "attachments": [{"color": "#d00", "text": "y"}]}, (200, "ok")),
    ],
)
def test_slack_refuses_what_is_malformed_or_too_long(receiver: SlackReceiver, payload: Any, answer: tuple[int, str]) -> None:
    assert post(receiver.url, payload)[:2] == answer
    assert bool(receiver.delivered) is (answer == (200, "ok"))


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([section(text=text("x"))] * 51, "blocks: 51 of at most 50"),
        ([section(text=text("x" * 3001))], "blocks[0].text: 3001 of at most 3000 characters"),
        ([section(text=text(""))], "blocks[0].text: must be a text of at least one character"),
        ([section(fields=[text("x")] * 11)], "blocks[0].fields: 11 of at most 10"),
        ([section(fields=[text("x" * 2001)])], "blocks[0].fields[0]: 2001 of at most 2000 characters"),
        ([{"type": "header", "text": text("x" * 151, "plain_text")}], "blocks[0].text: 151 of at most 150 characters"),
        ([{"type": "header", "text": text("x")}], "blocks[0].text: must be a text object of type plain_text"),
        ([{"type": "context", "elements": [text("x")] * 11}], "blocks[0].elements: 11 of at most 10"),
        ([{"type": "actions", "elements": [{"type": "x"}] * 26}], "blocks[0].elements: 26 of at most 25"),
        (
            [{"type": "actions", "elements": [{"type": "button", "text": text("x" * 76, "plain_text")}]}],
            "blocks[0].elements[0].text: 76 of at most 75 characters",
        ),
        (
            [{"type": "image", "image_url": "https://example.com/a.png"}],
            "blocks[0].alt_text: must be a text of at least one character",
        ),
        ([{"type": "markdown", "text": "x" * 12_001}], "blocks[0].text: 12001 of at most 12000 characters"),
        ([{"type": "table", "rows": [[text("x")]] * 101}], "blocks[0].rows: 101 of at most 100"),
        ([{"type": "table", "rows": [[text("x")] * 21]}], "blocks[0].rows[0]: 21 of at most 20"),
        ([{"type": "alert"}], "blocks[0]: not a block type that a webhook message may have"),
        ([{"type": "divider", "block_id": "x" * 256}], "blocks[0].block_id: 256 of at most 255 characters"),
        ([{"type": "divider", "block_id": "x"}] * 2, "blocks: two have the same block_id"),
    ],
)
def test_every_limit_of_block_kit_is_checked(blocks: list[Any], problem: str) -> None:
    assert block_problems(blocks) == [problem]


def test_another_url_is_no_service(receiver: SlackReceiver) -> None:
    assert post(receiver.url + "x", ALERT)[:2] == (404, "no_service")


def test_answers_follow_the_script_and_then_the_message(receiver: SlackReceiver) -> None:
    receiver.script(
        slack_receiver.rate_limited(7),
        slack_receiver.server_error(),
        slack_receiver.no_service(),
        slack_receiver.redirect("http://127.0.0.1:1/elsewhere"),
    )

    answers = [post(receiver.url, ALERT) for _ in range(5)]

    assert [status for status, _, _ in answers] == [429, 500, 404, 302, 200]
    assert answers[0][2]["Retry-After"] == "7"
    assert [delivered.answer for delivered in receiver.delivered] == ["ok"]
    assert len(receiver.posts) == 5


def test_a_message_can_be_delivered_without_the_sender_learning_it(receiver: SlackReceiver) -> None:
    receiver.script(slack_receiver.accept_then_reset())

    with pytest.raises((ConnectionResetError, urllib.error.URLError)):
        post(receiver.url, ALERT)

    assert [delivered.status for delivered in receiver.delivered] == [None]


def test_a_slow_answer_outlasts_the_sender(receiver: SlackReceiver) -> None:
    receiver.script(slack_receiver.slow(0.5))

    with pytest.raises(TimeoutError):
        post(receiver.url, ALERT, timeout=0.1)

    time.sleep(0.6)
    assert len(receiver.delivered) == 1


def test_a_message_reads_as_in_slack() -> None:
    shown = """\
┃ 80 % of budget: search-team
┃ ═══════════════════════════
┃
┃ Spent                         Forecast
┃ $4,012 of $5,000              $5,430 & rising
┃ Left
┃ $988
┃
┃ ──────────────────────────────────────────────────────────
┃
┃ Why: claude-sonnet +$610, see the report
┃ (https://example.com/r)
┃
┃ [Acknowledge]  [Open report: https://example.com/r]
┃
┃ · as of 09:00 UTC  ·  estimate"""
    assert render(ALERT, width=60) == shown


def test_other_blocks_and_attachments_are_shown_too() -> None:
    message = {
        "text": "fallback",
        "attachments": [
            {
                "color": "#d00",
                "blocks": [
                    {"type": "table", "rows": [[text("team", "raw_text"), text("cost", "raw_text")]] * 2},
                    {"type": "markdown", "text": "**as is**"},
                    {"type": "image", "image_url": "https://example.com/a.png", "alt_text": "a chart"},
                ],
            }
        ],
    }

    assert render(message).splitlines() == [
        "┃ ▌ team  cost",
        "┃ ▌ team  cost",
        "┃ ▌",
        "┃ ▌ **as is**",
        "┃ ▌",
        "┃ ▌ [image: a chart]",
    ]
    assert render({"text": "only *text*"}) == "┃ only text"
