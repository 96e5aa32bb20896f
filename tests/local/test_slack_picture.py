"""The picture of a channel shows what was sent, as text and nothing else, and loads nothing."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.channels.slack_messages import Look, alert_message
from attribution.alerts import Alert, AlertKey, AlertState, Driver, Figures, Subject, Threshold, ThresholdKind
from attribution.money import Money
from local import slack_picture
from local.slack_picture import PictureError, chosen, formatted, page

AT = datetime(2026, 10, 5, 15, 0, tzinfo=UTC)
ALERT = Alert(
    key=AlertKey("search <team>", "2026-10"),
    subject=Subject("team: search", "billed_cost"),
    figures=Figures(
        Money(Decimal(1200)), Decimal("811.41"), Decimal("163.92"), (Driver("a&b", Decimal("975.33")),),
        daily=tuple((date(2026, 10, day), Decimal(day)) for day in range(1, 6)),
    ),
    state=AlertState.ALARM,
    crossed=(Threshold(ThresholdKind.ACTUAL, "ACTUAL#80", "above 80 % of the budget", Decimal(960)),),
    seen=("ACTUAL#80",),
    raised_at=AT,
    changed_at=AT,
)  # fmt: skip
LOOK = Look(has_buttons=True, has_charts=True, report_url="https://costs.example/{budget}")


def post(payload: Any, *, at: str = "2026-10-05T15:00:40.000+00:00", delivered: bool = True) -> dict[str, Any]:
    return {"at": at, "payload": payload, "delivered": delivered}


def test_every_block_of_an_alert_is_shown_with_its_values_as_text() -> None:
    shown = page([post(alert_message(ALERT, LOOK))])

    assert "<h2>81 % of budget: search &lt;team&gt;, $975.33 of $1,200.00</h2>" in shown
    assert "<b>Spent</b><br>$975.33 (81 %)" in shown
    assert "a&amp;b: $975.33" in shown
    assert "<team>" not in shown


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    shown = page([post(alert_message(ALERT, LOOK)), post({"text": "<https://example.com/x|a link> <!here>"})])

    assert "a link" in shown
    assert "here" in shown
    assert not re.search(r"https?://|\bsrc=|\bhref=|<script|@import|url\(", shown)


def test_messages_stand_in_order_under_their_day() -> None:
    shown = page([post({"text": "first"}), post({"text": "second"}, at="2026-10-06T09:30:00.000+00:00")])

    assert re.findall(r"Monday, 5 October|first|Tuesday, 6 October|09:30|second", shown) == [
        "Monday, 5 October", "first", "Tuesday, 6 October", "09:30", "second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mrkdwn", "shown"),
    [
        ("*bold* and _italic_ and ~gone~", "<b>bold</b> and <i>italic</i> and <s>gone</s>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("a_b_c", "a_b_c"),
        ("`x &lt; y`", "<code>x &lt; y</code>"),
        ("one\ntwo", "one<br>two"),
        ("&lt;script&gt;", "&lt;script&gt;"),
    ],
)
def test_mrkdwn_reads_as_in_slack(mrkdwn: str, shown: str) -> None:
    assert formatted(mrkdwn) == shown


def test_what_was_not_delivered_is_not_shown() -> None:
    refused, first, second = post({"text": "refused"}, delivered=False), post({"text": "first"}), post({"text": "second"})

    assert chosen([refused, first, second]) == [first, second]
    assert chosen([refused, first, second], [2]) == [second]
    with pytest.raises(PictureError, match="there is no message 3: 2 were delivered"):
        chosen([refused, first, second], [3])
    with pytest.raises(PictureError, match="nothing to show"):
        chosen([refused])


def test_a_block_that_cannot_be_shown_is_named() -> None:
    with pytest.raises(PictureError, match="'video' cannot be shown"):
        page([post({"blocks": [{"type": "video"}]})])


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, written = tmp_path / "posts.ndjson", tmp_path / "page.html"
    record.write_text(json.dumps(post({"text": "80 % of budget"})) + "\n")

    assert slack_picture.main([str(record), "--html", str(written)]) == 0
    assert "80 % of budget" in written.read_text()

    assert slack_picture.main([str(tmp_path / "absent"), "--html", str(written)]) == 1
    assert "absent" in capsys.readouterr().err


def test_without_a_browser_the_picture_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(PictureError, match="install Chromium"):
        slack_picture.draw(page([post({"text": "x"})]), tmp_path / "picture.png")


@pytest.mark.skipif(not any(map(shutil.which, slack_picture.CHROMIUM_NAMES)), reason="Chromium is not installed")
def test_the_picture_is_as_wide_as_the_page_and_as_high_as_its_messages(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"

    slack_picture.draw(page([post({"text": "x"})]), one)
    slack_picture.draw(page([post({"text": "x"}), post({"text": "y"})]), two)

    sizes = [(int.from_bytes(p.read_bytes()[16:20]), int.from_bytes(p.read_bytes()[20:24])) for p in (one, two)]
    assert {width for width, _ in sizes} == {round(slack_picture.WIDTH * slack_picture.SCALE)}
    assert sizes[1][1] > sizes[0][1]
