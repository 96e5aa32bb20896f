"""Text for Slack: what people wrote is shown literally, and nothing is longer than Slack takes."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Block Kit's shapes and limits, kept by Slack.
from slack_sdk.models.blocks import (
    ButtonElement,
    ConfirmObject,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    Option,
    PlainTextObject,
    SectionBlock,
    StaticSelectElement,
)

from attribution.alerts import AlertState
from attribution.wording import shortened

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
# A character may become an entity of five: three drivers, or a dimension and a scope, then still fit into a field.
NAME_LIMIT = 100
# 40,000 are documented, but blocks of 13,200 were refused.
BLOCKS_CHARACTERS = 10_000
PREFIXES = {
    AlertState.ACKNOWLEDGED: "Acknowledged: ",
    AlertState.SNOOZED: "Snoozed: ",
    AlertState.MUTED: "Muted: ",
}
"""How the title of an alert begins that somebody has, or has silenced."""

_USER = re.compile(r"[UW][A-Z0-9]{1,20}")


def literal(text: str) -> str:
    """Text on one line without characters that are not seen: they could hide or reorder what is."""
    seen = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text if unicodedata.category(c) != "Cf")
    return "".join(seen)


def escape(text: str, limit: int = 200) -> str:
    """Text that people wrote, shown literally: cut first, so that no entity is cut, then `&`, `<` and `>` replaced."""
    return shortened(literal(text), limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def user(identity: str) -> str:
    """A Slack user by name, where the identity is Slack's; the text itself where it is not."""
    return f"<@{identity}>" if _USER.fullmatch(identity) else escape(identity, NAME_LIMIT)


def header(title: str) -> dict[str, Any]:
    """A title; plain text, so that nothing in it is markup."""
    text = shortened(literal(title).strip() or "(no name)", HEADER_LIMIT)
    return HeaderBlock(text=PlainTextObject(text=text, emoji=False)).to_dict()


def _markdown(text: str) -> MarkdownTextObject:
    # Verbatim: a web address or a channel's name in what people wrote does not become a link.
    return MarkdownTextObject(text=text, verbatim=True)


def section(text: str) -> dict[str, Any]:
    """A paragraph of mrkdwn whose parts are escaped already."""
    return SectionBlock(text=_markdown(text)).to_dict()


def paragraph(text: str) -> list[dict[str, Any]]:
    """Text that people wrote, line by line, as much as a section takes; nothing where it is empty."""
    lines: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        lines.append(escape(line, SECTION_LIMIT // 10))
        if sum(len(written) + 1 for written in lines) > SECTION_LIMIT:
            lines.pop()
            break
    return [section("\n".join(lines))] if any(lines) else []


def fields(*texts: str) -> dict[str, Any]:
    """Up to ten short texts in two columns."""
    return SectionBlock(fields=[_markdown(text) for text in texts]).to_dict()


def context(*texts: str) -> dict[str, Any]:
    """Small print."""
    return ContextBlock(elements=[_markdown(text) for text in texts]).to_dict()


def button(label: str, action: str, value: str, *, confirm: str = "", style: str | None = None) -> dict[str, Any]:
    """A button; `confirm` asks before it acts."""
    question = None
    if confirm:
        question = ConfirmObject(title="Are you sure?", text=PlainTextObject(text=confirm), confirm=label, deny="Cancel")
    made = ButtonElement(text=label, action_id=action, value=value, style=style, confirm=question).to_dict()
    return dict(made)


def link(label: str, action: str, url: str) -> dict[str, Any]:
    """A button that leads somewhere."""
    return dict(ButtonElement(text=label, action_id=action, url=url).to_dict())


def select(label: str, action: str, options: dict[str, str]) -> dict[str, Any]:
    """A menu: what each option says, and the value it sends."""
    chosen = [Option(text=PlainTextObject(text=text), value=value) for text, value in options.items()]
    return dict(StaticSelectElement(placeholder=label, action_id=action, options=chosen).to_dict())


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    """A row of buttons and menus."""
    return {"type": "actions", "elements": list(elements)}
