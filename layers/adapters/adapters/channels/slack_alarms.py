"""The words of an alarm of the stack: what it means, since when, what to do. All of it is CloudWatch's or its description's."""

from __future__ import annotations

import re

from adapters.channels.slack_text import NAME_LIMIT, PREFIXES, escape
from attribution.alerts import Alarm, Alert, News
from attribution.wording import moment, shortened

# A character may become an entity of five, and a section takes 3,000.
TEXT_LIMIT = 500
_REASON_LIMIT = 300
_ADDRESS = re.compile(r"https://[^\s<>|]+")
_HEADING = re.compile(r"[^\s#]+(#[\w-]+)?")
_OPENINGS = {News.RAISED_AGAIN: "In alarm again", News.REMINDED: "Still in alarm"}
UNTIL_WELL = "until it has been over for a day"


def title(alert: Alert, alarm: Alarm) -> str:
    """The alarm by name, in the state that it is in."""
    return f"{PREFIXES.get(alert.state, '')}{'Alarm' if alarm.is_raised else 'Alarm over'}: {alarm.name}"


def headline(alert: Alert, alarm: Alarm) -> str:
    """Since when it is in alarm, or over."""
    if alarm.is_raised:
        return f"{_OPENINGS.get(alert.news_kind, 'In alarm')} since {moment(alarm.since)}"
    return f"The alarm is over since {moment(alarm.since)}; it was raised {moment(alert.raised_at)}"


def summary(alert: Alert, alarm: Alarm) -> str:
    """One sentence for the notification of a phone."""
    return f"{title(alert, alarm)}. {alarm.meaning or headline(alert, alarm)}"


def story(alert: Alert, alarm: Alarm) -> list[str]:
    """What it means and since when, escaped."""
    meaning = [f"*{escape(alarm.meaning.replace('*', ''), TEXT_LIMIT)}*"] if alarm.meaning.strip(" *") else []
    return [*meaning, f"{escape(headline(alert, alarm))}."]


def remedy(alarm: Alarm) -> str:
    """What to do, escaped; what stands between backticks as code. Empty where the description does not say."""
    text = shortened(alarm.remedy.strip(), TEXT_LIMIT)
    text = text[:1].upper() + text[1:]
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text, TEXT_LIMIT)
    return "".join(
        f"`{escape(part, TEXT_LIMIT)}`" if number % 2 and part.strip() else escape(part, TEXT_LIMIT)
        for number, part in enumerate(parts)
    )


def guide_url(alarm: Alarm, runbook_url: str) -> str:
    """Where the guide can be read: its own address, or its heading behind that of the runbook; empty where nothing says."""
    if _ADDRESS.fullmatch(alarm.guide):
        return alarm.guide
    found = _HEADING.fullmatch(alarm.guide)
    return f"{runbook_url}{found[1] or ''}" if found and runbook_url else ""


def reason(alarm: Alarm) -> str:
    """Why CloudWatch changed the state, in its words."""
    return f"CloudWatch: {escape(alarm.reason, _REASON_LIMIT)}" if alarm.reason.strip() else ""


def small_print(alarm: Alarm) -> list[str]:
    """The reason, and where the guide is."""
    guide = f"Guide: {escape(alarm.guide, NAME_LIMIT)}" if alarm.guide.strip() else ""
    return [text for text in (reason(alarm), guide) if text]


def mail_lines(alert: Alert, alarm: Alarm) -> list[str]:
    """The body of a mail, without markup."""
    lines = [f"{headline(alert, alarm)}.", alarm.meaning, f"What to do: {alarm.remedy}" if alarm.remedy else ""]
    said = [f"CloudWatch: {alarm.reason}" if alarm.reason else "", f"Guide: {alarm.guide}" if alarm.guide else ""]
    return [line for line in (*lines, *said) if line]
