"""A message of Slack as text on a terminal: what its blocks say, without what only a workspace can draw."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Block = Mapping[str, Any]
Line = tuple[str, str]
"""Text, and how it is styled."""

# Slack's marks around words: bold, italic, code.
_MARKS = re.compile(r"(?<!\w)([*_`])(?=\S)(.+?)(?<=\S)\1(?!\w)")


def lines_of(message: Mapping[str, Any]) -> Iterator[Line]:
    """The message line by line; its text where it has no blocks."""
    blocks = message.get("blocks") or []
    if not blocks:
        yield plain(str(message["text"])), ""
    for block in blocks:
        yield from _SHOWN[block["type"]](block)


def plain(mrkdwn: str) -> str:
    """Slack's text without its marks and entities."""
    return html.unescape(_MARKS.sub(r"\2", mrkdwn))


def _header(block: Block) -> Iterator[Line]:
    yield block["text"]["text"], "bold"


def _section(block: Block) -> Iterator[Line]:
    if "text" in block:
        yield from ((plain(line), "") for line in block["text"]["text"].splitlines())
    for field in block.get("fields", ()):
        title, _, said = plain(field["text"]).partition("\n")
        yield f"{title}: {said.replace(chr(10), ', ')}", ""


def _actions(block: Block) -> Iterator[Line]:
    texts = [element.get("text") or element["placeholder"] for element in block["elements"]]
    yield " ".join(f"[{text['text']}]" for text in texts), "cyan"


def _context(block: Block) -> Iterator[Line]:
    yield from ((plain(element["text"]), "dim") for element in block["elements"])


def _chart(block: Block) -> Iterator[Line]:
    last = [f"{series['name']} {series['data'][-1]['value']:,.2f}" for series in block["chart"]["series"]]
    day = block["chart"]["axis_config"]["categories"][-1]
    yield f"[chart: {block['title']}; {day}: {', '.join(last)} {block['chart']['axis_config']['y_label']}]", ""


_SHOWN: Mapping[str, Callable[[Block], Iterator[Line]]] = {
    "header": _header,
    "section": _section,
    "actions": _actions,
    "context": _context,
    "data_visualization": _chart,
}
