"""Alerts and digests as Slack messages: who spent how much of what, on what basis, since when, why, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from shlex import quote as quoted
from typing import Any
from urllib.parse import quote

from adapters.channels import slack_alarms
from adapters.channels.slack_text import (
    BLOCKS_CHARACTERS,
    NAME_LIMIT,
    PREFIXES,
    SECTION_LIMIT,
    actions,
    button,
    context,
    escape,
    fields,
    header,
    link,
    literal,
    paragraph,
    section,
    select,
    user,
)
from attribution.alerts import Alarm, Alert, AlertState, Driver, Figures, News, ThresholdKind
from attribution.conversation import Reply
from attribution.digests import Digest, DigestKind, DigestLine
from attribution.formats import rounded
from attribution.money import ZERO, subtract
from attribution.wording import change, moment, money, percent_change, sparkline

Message = dict[str, Any]
# Slack draws no more categories than this, and labels of twenty characters.
_CHART_DAYS = 20
_SPARK_DAYS = 14
_SPARK_DAYS_LONG = 31
_METADATA = "bedrock_cost_alert"
_REPEAT = "Possible repeat: nobody could confirm that the first message arrived."
_DRIVERS = 3
# How the names of drivers end that stand for nobody.
_NOBODY = ("(unallocated)", "(no value)")
_MONTH = re.compile(r"^\d{4}-\d{2}$")
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::(\d{12}):([^\s,]+)")
_SUREST = 99
_OPTION_LIMIT = 150
_URL_LIMIT = 3000
_DRIVERS_IN_THREAD = 8

ACKNOWLEDGE, SNOOZE, MUTE, RESUME, OPEN = "acknowledge", "snooze", "mute", "resume", "open"
PLANNED, NOT_AN_ISSUE = "planned", "not_an_issue"
_DAYS = ("1", "3", "7")
SNOOZES = {"for 1 day": "1", "for 3 days": "3", "for 7 days": "7", "to the period's end": "end"}
_RISING = (News.RAISED, News.ESCALATED, News.RAISED_AGAIN, News.REMINDED)


@dataclass(frozen=True, slots=True)
class Look:
    """What a channel can show: buttons and a command where somebody answers them, charts where the workspace has them.

    `runbook_url` is where the guide to the stack's alarms can be read.
    """

    has_buttons: bool = False
    has_command: bool = False
    has_charts: bool = False
    report_url: str = ""
    mention: str = ""
    runbook_url: str = ""


def alert_message(alert: Alert, look: Look, *, is_repeat: bool = False) -> Message:
    """The message that stands for the alert."""
    if alert.alarm is not None:
        return _alarm_message(alert, alert.alarm, look, is_repeat=is_repeat)
    title = _title(alert)
    blocks = [
        header(title),
        section(_story(alert, look)),
        fields(*_facts(alert)),
        *_course(alert.figures, look, is_anomaly=alert.subject.is_anomaly),
        *_why(alert, _DRIVERS),
        *_next_step(alert, look),
        *_buttons(alert, look),
        context(*_notes(alert, is_repeat)),
    ]
    text = escape(f"{title}. {_sentence(_basis(alert.figures))}", 1000)
    return {"text": text, "blocks": blocks, "metadata": metadata(alert)}


def _alarm_message(alert: Alert, alarm: Alarm, look: Look, *, is_repeat: bool) -> Message:
    story = "\n".join((*slack_alarms.story(alert, alarm), *_handling(alert)))
    blocks = [
        header(slack_alarms.title(alert, alarm)),
        section(story),
        *_remedy(alert, alarm, look),
        *_buttons(alert, look),
        context(*slack_alarms.small_print(alarm), *_notes(alert, is_repeat)),
    ]
    return {"text": escape(slack_alarms.summary(alert, alarm), 1000), "blocks": blocks, "metadata": metadata(alert)}


def reply_message(alert: Alert, *, is_repeat: bool = False) -> Message:
    """News in the thread of the alert's message: what is new, and what moved since the last news."""
    if alert.alarm is not None:
        return _alarm_reply(alert, alert.alarm, is_repeat=is_repeat)
    figures, currency = alert.figures, alert.figures.limit.currency
    headline = _headline(alert)
    lines = [f"*{escape(headline)}*"]
    if alert.previous_actual is not None:
        spent, limit = (escape(money(amount, currency)) for amount in (figures.actual, figures.limit.amount))
        moved = escape(change(subtract(figures.actual, alert.previous_actual), currency))
        of = f"where {limit} was expected" if alert.subject.is_anomaly else f"({figures.percent} %) of {limit}"
        lines.append(f"{spent} {of}, {moved} since the last news.")
        lines.append(escape(_sentence(_basis(figures))))
    blocks = [section("\n".join(lines)), *_why(alert, _DRIVERS_IN_THREAD)]
    if is_repeat:
        blocks.append(context(_REPEAT))
    return {"text": escape(f"{alert.key.budget}: {headline}", 1000), "blocks": blocks, "metadata": metadata(alert)}


def _alarm_reply(alert: Alert, alarm: Alarm, *, is_repeat: bool) -> Message:
    headline = slack_alarms.headline(alert, alarm)
    small = [*filter(None, [slack_alarms.reason(alarm)]), *([_REPEAT] if is_repeat else [])]
    blocks = [section(f"*{escape(headline)}*"), *([context(*small)] if small else [])]
    return {"text": escape(f"{alarm.name}: {headline}", 1000), "blocks": blocks, "metadata": metadata(alert)}


def is_broadcast(alert: Alert) -> bool:
    """Whether the news in the thread is shown in the channel as well: of budgets that are broken, of alarms that are back."""
    return (alert.is_critical or alert.alarm is not None) and alert.news_kind in _RISING


def metadata(notice: Alert | Digest) -> dict[str, Any]:
    """What a message is found by when its acknowledgement was lost."""
    revision = notice.revision if isinstance(notice, Alert) else 1
    return {
        "event_type": _METADATA,
        "event_payload": {"id": str(notice.key), "news": notice.news, "revision": revision},
    }


def news_of(message: Message, notice: Alert | Digest) -> int:
    """The news that a message of Slack's history told of this notice; zero where it is none of its messages."""
    found = message.get("metadata") or {}
    payload = found.get("event_payload") or {}
    is_ours = found.get("event_type") == _METADATA and payload.get("id") == str(notice.key)
    return int(payload.get("news") or 0) if is_ours else 0


# The parts of an alert.


def _title(alert: Alert) -> str:
    if alert.subject.is_anomaly:
        return _title_of_anomaly(alert)
    name, figures = alert.key.budget, alert.figures
    spent, limit = (money(amount, figures.limit.currency) for amount in (figures.actual, figures.limit.amount))
    amounts = f"{spent} of {limit}"
    if alert.state is AlertState.RECOVERED:
        word = "Correction" if _is_disproved(alert) else "Recovered"
        return f"{word}: {name} is at {figures.percent} % of its budget"
    prefix = PREFIXES.get(alert.state, "")
    if alert.is_critical:
        return f"{prefix}Over budget: {name}, {amounts} ({figures.percent} %)"
    if alert.crossed and all(t.kind is ThresholdKind.FORECASTED for t in alert.crossed):
        return f"{prefix}Forecast over budget: {name}, {amounts} so far"
    return f"{prefix}{figures.percent} % of budget: {name}, {amounts}"


def _title_of_anomaly(alert: Alert) -> str:
    figures, who = alert.figures, _brief(alert.subject.counts.replace(": ", " ", 1))
    spent, expected = (money(amount, figures.limit.currency) for amount in (figures.actual, figures.limit.amount))
    is_over = alert.state is AlertState.RECOVERED
    prefix = f"{alert.subject.note.capitalize()}: " if is_over else PREFIXES.get(alert.state, "")
    return f"{prefix}Anomaly: {who}, {spent} where {expected} was expected"


def _is_disproved(alert: Alert) -> bool:
    return alert.previous_actual is not None and alert.figures.actual < alert.previous_actual


def _headline(alert: Alert) -> str:
    """The last news in one line."""
    return _headline_of_anomaly(alert) if alert.subject.is_anomaly else _headline_of_budget(alert)


def _headline_of_budget(alert: Alert) -> str:
    highest = alert.highest
    above = f"{_kind(highest.kind)} is {highest.label}" if highest else "no threshold is crossed"
    match alert.news_kind:
        case News.RAISED_AGAIN:
            return f"Again: {above}"
        case News.CORRECTED:
            return f"Correction: spend is lower than was told; {above}"
        case News.RECOVERED:
            return (
                "Correction: no threshold is crossed any more" if _is_disproved(alert) else "No threshold is crossed any more"
            )
        case News.REMINDED:
            return f"The snooze is over: {above}"
        case News.ENDED:
            return f"The period {alert.key.period} has ended; the budget starts anew"
    return above[:1].upper() + above[1:]


def _headline_of_anomaly(alert: Alert) -> str:
    if not alert.crossed:
        return {
            "withdrawn": "The figures were restated, and are no anomaly any more",
            "planned": "It was planned",
            "not an issue": "It is not an issue",
            "new normal": "It has lasted for two weeks: this is the new normal",
        }.get(alert.subject.note, "It is over: two days in a row were as expected")
    above = f"spend since {alert.key.period} is {alert.crossed[-1].label}"
    again = {News.ESCALATED: "It has doubled: ", News.RAISED_AGAIN: "It goes on: "}.get(alert.news_kind, "")
    return again + above if again else above[:1].upper() + above[1:]


def _kind(kind: ThresholdKind) -> str:
    return "actual spend" if kind is ThresholdKind.ACTUAL else "the forecast"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _story(alert: Alert, look: Look) -> str:
    figures, currency = alert.figures, alert.figures.limit.currency
    is_disproved = _is_disproved(alert) and not alert.subject.is_anomaly
    if alert.state is AlertState.RECOVERED and is_disproved and alert.previous_actual is not None:
        before, now = (escape(money(amount, currency)) for amount in (alert.previous_actual, figures.actual))
        with_bill = "With the bill it is" if figures.billed else "It is"
        lines = [f"We said {before}. {with_bill} *{now}*, below every threshold. The alert is closed."]
    else:
        lines = [f"{escape(_sentence(_headline(alert)))} In alarm since {moment(alert.raised_at)}."]
    if alert.is_ended and alert.news_kind is not News.ENDED:
        lines.append(f"The period {escape(alert.key.period)} has ended.")
    lines += _handling(alert)
    if look.mention and alert.state is AlertState.ALARM and alert.is_critical:
        lines.append(look.mention)
    return "\n".join(lines)


def _handling(alert: Alert) -> list[str]:
    """Who has it, or has silenced it, and for how long."""
    further, span = {
        "budget": ("a further threshold or the end of it", "for this period"),
        "anomaly": ("that it doubles or ends", "until it is over"),
        "alarm": ("that it is over", slack_alarms.UNTIL_WELL),
    }[alert.kind]
    handled = {
        AlertState.ACKNOWLEDGED: f"has it: only {further} is told.",
        AlertState.MUTED: f"muted it {span}.",
        AlertState.SNOOZED: f"snoozed it until {moment(alert.snoozed_until)}." if alert.snoozed_until else "snoozed it.",
    }.get(alert.state)
    return [f"{user(alert.handled_by)} {handled}"] if handled and alert.handled_by else []


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _facts(alert: Alert) -> Iterator[str]:
    figures, currency = alert.figures, alert.figures.limit.currency
    if alert.subject.is_anomaly:
        yield f"*More than expected by*\n{_impact(figures)}"
        yield f"*Spent, expected*\n{', '.join(escape(money(a, currency)) for a in (figures.actual, figures.limit.amount))}"
    else:
        yield f"*Spent*\n{escape(money(figures.actual, currency))} ({figures.percent} %)"
        yield _left(figures)
    yield f"*Basis*\n{escape(_sentence(_basis(figures)))}"
    yield f"*Counts*\n{escape(alert.subject.counts, 3 * NAME_LIMIT)}"
    if figures.forecast is not None:
        low, middle, high = (
            escape(money(a, currency)) for a in (figures.forecast.low, figures.forecast.middle, figures.forecast.high)
        )
        yield f"*Forecast at the end*\n{middle} ({low} to {high})\n{_breach(figures)}".rstrip()
    if figures.pace_percent is not None:
        yield f"*Pace*\n{figures.pace_percent:,} % of an even use of the budget until now"


def _impact(figures: Figures) -> str:
    """What an anomaly costs, from the amounts as they are shown, and as a part of what was expected."""
    impact = rounded(figures.actual) - rounded(figures.limit.amount)
    relative = percent_change(figures.actual, figures.limit.amount)
    return escape(f"{money(impact, figures.limit.currency)} ({relative})")


def _breach(figures: Figures) -> str:
    forecast = figures.forecast
    if forecast is None or forecast.breach_on is None or figures.actual > figures.limit.amount:
        return ""
    percent = forecast.probability_percent
    # Of what is to come nothing is certain.
    sure = "" if percent is None else f" (over {_SUREST} % sure)" if percent > _SUREST else f" ({percent} % sure)"
    return f"passes the limit on {_day(forecast.breach_on)}{sure}"


def _left(figures: Figures) -> str:
    """What is left of the budget, or how far it is over, from the amounts as they are shown: they add up for the reader."""
    currency = figures.limit.currency
    left = rounded(figures.limit.amount) - rounded(figures.actual)
    amount, limit = escape(money(left.copy_abs(), currency)), escape(money(figures.limit.amount, currency))
    return f"*Left*\n{amount} of {limit}" if left >= 0 else f"*Over by*\n{amount}; the limit is {limit}"


def _basis(figures: Figures) -> str:
    currency = figures.limit.currency
    if not figures.estimated:
        return "all of it billed by AWS"
    if not figures.billed:
        return "all of it estimated from usage; AWS has not billed these days yet"
    return f"{money(figures.billed, currency)} billed by AWS, {money(figures.estimated, currency)} estimated from usage"


def _course(figures: Figures, look: Look, *, is_anomaly: bool) -> list[dict[str, Any]]:
    """Spend by day: a chart, or a line of bars."""
    if len(figures.daily) < 2:
        return []
    if look.has_charts and not is_anomaly:
        return [chart(figures)]
    days = figures.daily[-_SPARK_DAYS:]
    top_day, top = max(days, key=lambda entry: entry[1])
    currency = figures.limit.currency
    bars = sparkline([amount for _, amount in days])
    last_day, last = days[-1]
    return [
        section(
            f"*By day* {bars} {_day(days[0][0])} to {_day(last_day)}\n"
            f"highest {escape(money(top, currency))} on {_day(top_day)}, last {escape(money(last, currency))}"
        )
    ]


def chart(figures: Figures) -> dict[str, Any]:
    """Slack's own chart: what was spent so far, day after day, under the budget. slack_sdk has no model of it yet."""
    total = Decimal(0)
    sums: list[tuple[str, Decimal]] = []
    for day, amount in figures.daily:
        total += amount
        sums.append((_day(day), total))
    shown = sums[-_CHART_DAYS:]
    categories = [label for label, _ in shown]
    spent = [{"label": label, "value": _number(amount)} for label, amount in shown]
    limit = [{"label": label, "value": _number(figures.limit.amount)} for label in categories]
    return {
        "type": "data_visualization",
        "title": "Spend so far, and the budget",
        "chart": {
            "type": "line",
            "series": [{"name": "Spent", "data": spent}, {"name": "Budget", "data": limit}],
            "axis_config": {"categories": categories, "x_label": "Day (UTC)", "y_label": figures.limit.currency},
        },
    }


def _number(amount: Decimal) -> float:
    """A chart's point. It is drawn and never added; JSON has no other number."""
    return float(rounded(amount))


def _why(alert: Alert, count: int) -> list[dict[str, Any]]:
    shown = [driver for driver in alert.figures.drivers if not _is_steady(driver)][:count]
    if not shown:
        return []
    has_changes = any(driver.change is not None for driver in shown)
    title = "Why: the largest changes against the span before" if has_changes else "Largest"
    if alert.subject.is_anomaly:
        title = "Why: what costs more than in the week before, and by how much"
    lines = [f"*{title}*", *(_driver(driver, alert.figures.limit.currency) for driver in shown)]
    # A text that is cut may end in the middle of an entity.
    while sum(len(line) + 1 for line in lines) > SECTION_LIMIT:
        lines.pop()
    return [section("\n".join(lines))]


def _is_steady(driver: Driver) -> bool:
    """Whether it costs what it did before, to the percent: that explains nothing."""
    is_known = driver.change is not None
    return is_known and percent_change(driver.amount, subtract(driver.amount, driver.change or ZERO)) == "±0 %"


def _brief(name: str) -> str:
    """A name with its principals as people call them: `role/agent (111122223333)`."""
    return _PRINCIPAL.sub(r"\2 (\1)", name)


def _driver(driver: Driver, currency: str) -> str:
    line = f"• {escape(_brief(driver.name), NAME_LIMIT)}: {escape(money(driver.amount, currency))}"
    if driver.change is None:
        return line
    relative = percent_change(driver.amount, subtract(driver.amount, driver.change))
    return f"{line} ({escape(change(driver.change, currency))}{f', {relative}' if relative else ''})"


def _next_step(alert: Alert, look: Look) -> list[dict[str, Any]]:
    """What a reader may do first, by what is known and by what the reader has."""
    if not alert.crossed or alert.state is not AlertState.ALARM:
        return []
    if alert.subject.is_anomaly:
        return [section(f"*What to do*\n{_answer_to_anomaly(alert, look)}")]
    # What has no owner did nothing that could be looked at.
    drivers = [driver for driver in alert.figures.drivers if not driver.name.endswith(_NOBODY)]
    first = max(drivers, key=lambda d: d.change or d.amount, default=None)
    whom = f"what {escape(_brief(first.name), NAME_LIMIT)} did" if first else "which models and principals spent it"
    dimension, value = next(iter(alert.subject.owners), ("model", ""))
    command = f"/bedrock-costs {dimension} {value}" if look.has_command else _report(alert, first)
    text = f"Look at {whom}: `{_code(command)}`."
    if look.has_buttons:
        text += " Acknowledge it, so that others know that you have it."
    elif look.has_command:
        text += f" Tell others that you have it: `{_code(f'/bedrock-costs acknowledge {alert.key.budget}')}`."
    text += " Raise the limit if the spend is wanted." if alert.is_critical else " There is still budget left to act."
    return [section(f"*What to do*\n{text}")]


def _report(alert: Alert, first: Driver | None) -> str:
    """The report that shows what stands behind an alert, of the days that it is about."""
    # Who calls the model tells more of what it did than its name does.
    by = "iam_principal" if first and first.name.startswith("model ") else "model"
    owner = next((f" --where {quoted(f'{dimension}={value}')}" for dimension, value in alert.subject.owners if value), "")
    days, period = alert.figures.daily, alert.key.period
    span = f" --from {days[0][0]} --to {days[-1][0]}" if days else ""
    return f"bedrock-costs report --by {by}{owner}{f' --period {period}' if _MONTH.match(period) else span}"


def _remedy(alert: Alert, alarm: Alarm, look: Look) -> list[dict[str, Any]]:
    """What to do about an alarm; also when it is over: that nothing more happens does not put right what did."""
    lines = [text for text in (slack_alarms.remedy(alarm),) if text]
    if alert.state is AlertState.ALARM and look.has_command and not look.has_buttons:
        lines.append(f"Tell others that you have it: `{_code(f'/bedrock-costs acknowledge {alert.key.budget}')}`.")
    heading = "*What to do*" if alarm.is_raised else "*What to do, unless somebody did*"
    return [section("\n".join([heading, *lines]))] if lines else []


def _answer_to_anomaly(alert: Alert, look: Look) -> str:
    text = "Stop what is not wanted: `bedrock-costs anomalies` shows every day of it."
    if look.has_buttons:
        return f"{text} If it is, say so: it is told no more."
    value = alert.key.budget.partition(": ")[2]
    if look.has_command:
        return f"{text} If it is, say so: `{_code(f'/bedrock-costs planned {value}')}`."
    name = f"{value}#{alert.key.period}"
    return f"{text} If it is, say so: `{_code(f'bedrock-costs anomalies feedback {chr(39)}{name}{chr(39)} planned')}`."


def _code(text: str) -> str:
    """Text between backticks, which cannot end them."""
    return escape(text.replace("`", "'").strip(), 2 * NAME_LIMIT)


def _buttons(alert: Alert, look: Look) -> list[dict[str, Any]]:
    elements = _answers(alert) if look.has_buttons else []
    if alert.alarm is not None:
        url = slack_alarms.guide_url(alert.alarm, look.runbook_url)
        if url and len(url) <= _URL_LIMIT:
            elements.append(link("Guide", OPEN, url))
    elif look.report_url and not alert.subject.is_anomaly:
        budget, period = (quote(part, safe="") for part in (alert.key.budget, alert.key.period))
        url = look.report_url.replace("{budget}", budget).replace("{period}", period)
        if len(url) <= _URL_LIMIT:
            elements.append(link("Open", OPEN, url))
    return [actions(*elements)] if elements else []


def _answers(alert: Alert) -> list[dict[str, Any]]:
    """What a reader may answer in the alert's present state."""
    value = json.dumps({"budget": alert.key.budget, "period": alert.key.period, "news": alert.news}, ensure_ascii=False)
    if alert.subject.is_anomaly:
        return _answers_to_anomaly(alert, value)
    spans = {
        text: json.dumps([span, alert.key.budget, alert.key.period, alert.news], ensure_ascii=False)
        for text, span in SNOOZES.items()
        if alert.alarm is None or span in _DAYS
    }
    if max(map(len, spans.values())) > _OPTION_LIMIT:
        # Budgets of the policy have shorter names. Whoever has a longer one still has the command.
        return []
    elements: list[dict[str, Any]] = []
    if alert.state is AlertState.ALARM:
        elements.append(button("Acknowledge", ACKNOWLEDGE, value, style="primary"))
    if alert.state in (AlertState.ALARM, AlertState.ACKNOWLEDGED):
        elements.append(select("Snooze", SNOOZE, spans))
    if alert.state in (AlertState.ALARM, AlertState.ACKNOWLEDGED, AlertState.RECOVERED) and not alert.is_ended:
        how_long = slack_alarms.UNTIL_WELL if alert.alarm is not None else f"in {alert.key.period}"
        question = f"Nothing more will be told of {literal(alert.key.budget)} {how_long}."
        elements.append(button("Mute", MUTE, value, confirm=question))
    if alert.state in (AlertState.SNOOZED, AlertState.MUTED):
        elements.append(button("Resume", RESUME, value))
    return elements


def _answers_to_anomaly(alert: Alert, value: str) -> list[dict[str, Any]]:
    if alert.state is AlertState.RECOVERED:
        return []
    answers = [button("Planned", PLANNED, value), button("Not an issue", NOT_AN_ISSUE, value)]
    first = [button("Acknowledge", ACKNOWLEDGE, value, style="primary")] if alert.state is AlertState.ALARM else []
    return first + answers


def _notes(alert: Alert, is_repeat: bool) -> list[str]:
    period = "" if alert.alarm is not None else f"{alert.key.period} · "
    notes = [
        f"{period}as of {alert.changed_at:%Y-%m-%d %H:%M} UTC",
        f"alert {alert.key} revision {alert.revision}",
    ]
    if is_repeat:
        notes.insert(0, _REPEAT)
    return [escape(note, 500) for note in notes]


# Digests.


def digest_message(digest: Digest, *, is_repeat: bool = False) -> Message:
    """Many things in one message; what does not fit is counted."""
    blocks = [header(digest.title)]
    blocks += paragraph(digest.summary)
    if digest.daily:
        blocks.append(section(_bars(digest.daily)))
    hint = ": `/bedrock-costs budget` lists every alert" if digest.kind is DigestKind.STORM else ""
    blocks += _lines(digest.lines, hint)
    notes = [f"digest {digest.key}"]
    if digest.kind is not DigestKind.STORM:
        notes.insert(0, f"as of {digest.due_at:%Y-%m-%d %H:%M} UTC")
    if is_repeat:
        notes.insert(0, _REPEAT)
    blocks.append(context(*(escape(note, 500) for note in notes)))
    first = digest.summary.splitlines()[0] if digest.summary and digest.kind is not DigestKind.STORM else ""
    return {"text": escape(f"{digest.title}. {first}".strip(), 1000), "blocks": blocks, "metadata": metadata(digest)}


def reply_to_user(reply: Reply) -> Message:
    """An answer that one user alone sees."""
    blocks = [header(reply.title)]
    blocks += paragraph(reply.summary)
    if len(reply.daily) > 1:
        blocks.append(section(_bars(reply.daily)))
    blocks += _lines(reply.lines, "")
    text = escape(f"{reply.title}. {' '.join(reply.summary.splitlines())}".strip(), 1000)
    return {"response_type": "ephemeral", "text": text, "blocks": blocks}


def _bars(daily: Sequence[tuple[date, Decimal]]) -> str:
    days = daily[-_SPARK_DAYS_LONG:]
    return f"*By day* {sparkline([amount for _, amount in days])} {_day(days[0][0])} to {_day(days[-1][0])}"


def _lines(lines: Sequence[DigestLine], hint: str) -> list[dict[str, Any]]:
    room = BLOCKS_CHARACTERS - 2500
    parts: list[list[str]] = [[]]
    shown = 0
    for line in lines:
        text = f"• *{escape(line.label, NAME_LIMIT)}*  {escape(line.amount, NAME_LIMIT)}"
        text += f" _{escape(line.note, NAME_LIMIT)}_" if line.note else ""
        if room < len(text) + 1:
            break
        if sum(len(t) + 1 for t in parts[-1]) + len(text) > SECTION_LIMIT - 100:
            parts.append([])
        parts[-1].append(text)
        room -= len(text) + 1
        shown += 1
    if shown < len(lines):
        parts[-1].append(f"… and {len(lines) - shown:,} more{hint}")
    return [section("\n".join(part)) for part in parts if part]


def plain_text(notice: Alert | Digest, *, is_repeat: bool = False) -> tuple[str, str]:
    """Subject and body of a mail."""
    if isinstance(notice, Digest):
        lines = [notice.summary, "", *(f"- {line.label}: {line.amount} {line.note}".rstrip() for line in notice.lines)]
        return literal(notice.title), "\n".join([*([_REPEAT, ""] if is_repeat else []), *lines])
    lines = [
        *([_REPEAT, ""] if is_repeat else []),
        *_mail_lines(notice),
        "",
        f"Alert {notice.key}, as of {notice.changed_at:%Y-%m-%d %H:%M} UTC.",
        "It came by mail because its Slack channel did not take it.",
    ]
    title = slack_alarms.title(notice, notice.alarm) if notice.alarm is not None else _title(notice)
    return literal(title), "\n".join(lines)


def _mail_lines(notice: Alert) -> list[str]:
    if notice.alarm is not None:
        return slack_alarms.mail_lines(notice, notice.alarm)
    figures, currency = notice.figures, notice.figures.limit.currency
    return [
        _sentence(_headline(notice)),
        f"Spent: {money(figures.actual, currency)} {_of(notice)} {money(figures.limit.amount, currency)}.",
        f"Basis: {_basis(figures)}.",
        f"Counts: {literal(notice.subject.counts)}.",
        *(f"- {literal(d.name)}: {money(d.amount, currency)}" for d in figures.drivers[:_DRIVERS]),
    ]


def _of(alert: Alert) -> str:
    return "where was expected" if alert.subject.is_anomaly else f"({alert.figures.percent} %) of"


def text_only(message: Message) -> Message:
    """The message without its layout, for a channel that refuses it: the news matters more than its looks."""
    return {key: value for key, value in message.items() if key != "blocks"}
