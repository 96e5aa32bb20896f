"""Slack on loopback, a webhook and the Web API: checks Block Kit, answers as Slack does, keeps every post, shows it.

Promises: a message that Slack would refuse for its size or shape is refused here with the same status
and body; any answer of Slack's can be scripted for coming requests; nothing secret (the token in the
URL, credentials in headers) is recorded.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any

from local.slack_workspace import SlackWorkspace, arguments_of

# Limits of Block Kit, in characters or elements.
BLOCKS = 50
BLOCK_ID = 255
TEXT = 3000
FIELDS = 10
FIELD = 2000
HEADER = 150
CONTEXT_ELEMENTS = 10
ACTION_ELEMENTS = 25
BUTTON_TEXT = 75
BUTTON_VALUE = 2000
URL = 3000
IMAGE_TEXT = 2000
MARKDOWN = 12_000
TABLE_ROWS = 100
TABLE_CELLS = 20
OPTIONS = 100
OPTION_TEXT = 75
OPTION_VALUE = 150
CHART_TITLE = 50
CHARTS = 2
CHART_SERIES = 6
CHART_CATEGORIES = 20
CHART_LABEL = 20
CONFIRM_TITLE = 100
CONFIRM_TEXT = 300
ACTION_ID = 255
# 40,000 is documented, but `msg_blocks_too_long` has been seen from here on.
ALL_BLOCKS = 13_200
MESSAGE_TEXT = 40_000

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook does with one request; without one it checks the message and accepts it or not."""

    name: str
    status: int = 200
    body: str = "ok"
    headers: tuple[tuple[str, str], ...] = ()
    delivers: bool = False
    resets: bool = False
    seconds: float = 0.0


def rate_limited(retry_after: int = 1) -> Answer:
    return Answer("rate_limited", 429, "rate_limited", (("Retry-After", str(retry_after)),))


def server_error(status: int = 500) -> Answer:
    return Answer("server_error", status, "server_error")


def no_service() -> Answer:
    return Answer("no_service", 404, "no_service")


def redirect(location: str) -> Answer:
    return Answer("redirect", 302, "", (("Location", location),))


def api_error(error: str) -> Answer:
    """The Web API's way to refuse."""
    return Answer(error, 200, json.dumps({"ok": False, "error": error}))


def api_rate_limited(retry_after: int = 1) -> Answer:
    """The Web API's way to ask for time."""
    return Answer("ratelimited", 429, '{"ok":false,"error":"ratelimited"}', (("Retry-After", str(retry_after)),))


def done_and_fatal() -> Answer:
    """It was carried out, and Slack says that it failed in a way that may have succeeded."""
    return Answer("fatal_error", 200, '{"ok":false,"error":"fatal_error"}', delivers=True)


def reset_before() -> Answer:
    """The connection breaks before Slack has taken anything."""
    return Answer("reset_before", resets=True)


def accept_then_reset() -> Answer:
    """The message is in the channel, but the sender never learns it: the ambiguous failure."""
    return Answer("accept_then_reset", delivers=True, resets=True)


def slow(seconds: float) -> Answer:
    """Accept, but answer only after `seconds`."""
    return Answer("slow", delivers=True, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Post:
    """One request as received, and what became of it."""

    at: str
    headers: dict[str, str]
    payload: Any
    status: int | None
    answer: str
    delivered: bool
    problems: list[str] = field(default_factory=list)
    method: str = "webhook"


class SlackReceiver:
    """A context manager: it listens inside the `with` block; `receive` answers without a socket, too."""

    def __init__(
        self,
        record: Path | None = None,
        on_delivered: Callable[[Post], None] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._now = now or (lambda: datetime.now(UTC))
        self.posts: list[Post] = []
        self._record = record
        self._on_delivered = on_delivered
        self._script: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._path = f"/services/T00000000/B00000000/{secrets.token_hex(12)}"
        self.workspace = SlackWorkspace(problems_of, now=self._now)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The webhook's URL; its last part is the secret."""
        return f"{self._origin}{self._path}"

    @property
    def api_url(self) -> str:
        """The address of the Web API."""
        return f"{self._origin}/api"

    @property
    def _origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port if self._server else 0}"

    @property
    def delivered(self) -> list[Post]:
        """What a reader of the channel sees."""
        with self._lock:
            return [post for post in self.posts if post.delivered]

    def script(self, *answers: Answer) -> None:
        """Give the coming requests these answers, in this order; later ones are checked again."""
        with self._lock:
            self._script.extend(answers)

    def forget_script(self) -> None:
        """Check every coming request."""
        with self._lock:
            self._script.clear()

    def __enter__(self) -> SlackReceiver:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Decide, record, and return the answer to send."""
        place, _, query = path.partition("?")
        is_api = place.startswith("/api/")
        payload = _payload(query, body, is_api=is_api)
        with self._lock:
            scripted = self._script.popleft() if self._script and (is_api or place == self._path) else None
            if is_api:
                answer, problems = self._called(place.removeprefix("/api/"), headers, payload, scripted)
            elif place != self._path:
                answer, problems = no_service(), []
            else:
                answer, problems = (scripted, []) if scripted else judge(payload)
            post = Post(
                at=self._now().isoformat(timespec="milliseconds"),
                headers={name: value for name, value in headers.items() if name.lower() not in SECRET_HEADERS},
                payload=payload,
                status=None if answer.resets else answer.status,
                answer=answer.name,
                delivered=answer.delivers,
                problems=problems,
                method=place.removeprefix("/api/") if is_api else "webhook",
            )
            self.posts.append(post)
            if self._record is not None:
                with self._record.open("a") as record:
                    record.write(json.dumps(asdict(post), ensure_ascii=False) + "\n")
        if post.delivered and self._on_delivered is not None:
            self._on_delivered(post)
        return answer

    def _called(
        self, method: str, headers: dict[str, str], arguments: Any, scripted: Answer | None
    ) -> tuple[Answer, list[str]]:
        """The Web API's answer; a scripted one is carried out first where it says so."""
        if scripted is not None and not scripted.delivers:
            return scripted, []
        authorization = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
        result, problems = self.workspace.call(method, authorization, arguments)
        changes = result["ok"] and method.startswith("chat.")
        if scripted is not None:
            return replace(scripted, delivers=changes), problems
        return Answer("ok" if result["ok"] else result["error"], 200, json.dumps(result), delivers=changes), problems


def _payload(query: str, body: bytes, *, is_api: bool) -> Any:
    if is_api:
        return arguments_of(query, body)
    try:
        return json.loads(body)
    except ValueError:
        return None


def _handler_for(receiver: SlackReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = receiver.receive(self.path, dict(self.headers), body)
            time.sleep(answer.seconds)
            if answer.resets:
                # Linger of zero seconds: closing sends RST, so the client sees "connection reset by peer".
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            content = answer.body.encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(answer.status)
                for name, value in (("Content-Type", "text/html"), ("Content-Length", str(len(content)))):
                    self.send_header(name, value)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            """The standard handler logs the request line, which holds the secret."""

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler


# Checking a message.


def problems_of(payload: Any) -> tuple[str, list[str]]:
    """Slack's error for a message, empty for none; and for the developer what is wrong with it."""
    answer, problems = judge(payload)
    return ("" if answer.delivers else answer.name), problems


def judge(payload: Any) -> tuple[Answer, list[str]]:
    """Slack's answer to a message, and for the developer what is wrong with it."""
    if not isinstance(payload, dict):
        return Answer("invalid_payload", 400, "invalid_payload"), ["the body is not a JSON object"]
    attachments = payload.get("attachments") or []
    if not payload.get("text") and not payload.get("blocks") and not attachments:
        return Answer("no_text", 400, "no_text"), ["the message has neither text nor blocks"]
    if len(str(payload.get("text") or "")) > MESSAGE_TEXT:
        return Answer("msg_too_long", 400, "msg_too_long"), [f"text is longer than {MESSAGE_TEXT} characters"]
    problems: list[str] = []
    for part in (payload, *attachments):
        blocks = part.get("blocks") or []
        problems += block_problems(blocks) if blocks else []
        if not problems and len(json.dumps(blocks, ensure_ascii=False)) > ALL_BLOCKS:
            too_long = f"the blocks are longer than {ALL_BLOCKS} characters"
            return Answer("msg_blocks_too_long", 400, "msg_blocks_too_long"), [too_long]
    if problems:
        return Answer("invalid_blocks", 400, "invalid_blocks"), problems
    return Answer("ok", delivers=True), []


def block_problems(blocks: Any) -> list[str]:
    """Every violated limit, as `blocks[2].fields: 11 of at most 10`."""
    if not isinstance(blocks, list):
        return ["blocks is not a list"]
    problems = list(_count("blocks", blocks, BLOCKS))
    charts = sum(isinstance(block, dict) and block.get("type") == "data_visualization" for block in blocks)
    if charts > CHARTS:
        problems.append(f"blocks: {charts} of at most {CHARTS} charts")
    identities = [block.get("block_id") for block in blocks if isinstance(block, dict) and block.get("block_id")]
    if len(identities) != len(set(identities)):
        problems.append("blocks: two have the same block_id")
    for index, block in enumerate(blocks):
        where = f"blocks[{index}]"
        check = CHECKS.get(block.get("type")) if isinstance(block, dict) else None
        if check is None:
            problems.append(f"{where}: not a block type that a webhook message may have")
            continue
        problems += _length(f"{where}.block_id", block.get("block_id", "-"), BLOCK_ID)
        problems += check(where, block)
    return problems


def _count(where: str, elements: Any, limit: int) -> Iterator[str]:
    if not isinstance(elements, list) or not elements:
        yield f"{where}: must be a list with at least one element"
    elif len(elements) > limit:
        yield f"{where}: {len(elements)} of at most {limit}"


def _length(where: str, text: Any, limit: int) -> Iterator[str]:
    if not isinstance(text, str) or not text:
        yield f"{where}: must be a text of at least one character"
    elif len(text) > limit:
        yield f"{where}: {len(text)} of at most {limit} characters"


def _text(where: str, node: Any, limit: int, *, plain: bool = False) -> Iterator[str]:
    allowed = {"plain_text"} if plain else {"plain_text", "mrkdwn"}
    if not isinstance(node, dict) or node.get("type") not in allowed:
        yield f"{where}: must be a text object of type {' or '.join(sorted(allowed))}"
        return
    yield from _length(where, node.get("text"), limit)


def _section(where: str, block: dict[str, Any]) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield f"{where}: a section needs text or fields"
    if "text" in block:
        yield from _text(f"{where}.text", block["text"], TEXT)
    if "fields" in block:
        yield from _count(f"{where}.fields", block["fields"], FIELDS)
        for index, node in enumerate(block["fields"] or []):
            yield from _text(f"{where}.fields[{index}]", node, FIELD)
    if "accessory" in block:
        yield from _element(f"{where}.accessory", block["accessory"])


def _header(where: str, block: dict[str, Any]) -> Iterator[str]:
    yield from _text(f"{where}.text", block.get("text"), HEADER, plain=True)


def _context(where: str, block: dict[str, Any]) -> Iterator[str]:
    elements = block.get("elements")
    yield from _count(f"{where}.elements", elements, CONTEXT_ELEMENTS)
    for index, node in enumerate(elements or []):
        check = _image if isinstance(node, dict) and node.get("type") == "image" else None
        here = f"{where}.elements[{index}]"
        yield from check(here, node) if check else _text(here, node, TEXT)


def _actions(where: str, block: dict[str, Any]) -> Iterator[str]:
    elements = block.get("elements")
    yield from _count(f"{where}.elements", elements, ACTION_ELEMENTS)
    for index, node in enumerate(elements or []):
        yield from _element(f"{where}.elements[{index}]", node)


def _element(where: str, node: Any) -> Iterator[str]:
    if not isinstance(node, dict) or not node.get("type"):
        yield f"{where}: an element needs a type"
    elif node["type"] == "image":
        yield from _image(where, node)
    elif node["type"] == "button":
        yield from _text(f"{where}.text", node.get("text"), BUTTON_TEXT, plain=True)
        yield from _length(f"{where}.value", node.get("value", "-"), BUTTON_VALUE)
        yield from _length(f"{where}.url", node.get("url", "-"), URL)
        yield from _length(f"{where}.action_id", node.get("action_id", "-"), ACTION_ID)
        if "confirm" in node:
            yield from _confirm(f"{where}.confirm", node["confirm"])
    elif node["type"] == "static_select":
        yield from _text(f"{where}.placeholder", node.get("placeholder"), IMAGE_TEXT, plain=True)
        yield from _count(f"{where}.options", node.get("options"), OPTIONS)
        for index, option in enumerate(node.get("options") or []):
            yield from _text(f"{where}.options[{index}].text", option.get("text"), OPTION_TEXT, plain=True)
            yield from _length(f"{where}.options[{index}].value", option.get("value"), OPTION_VALUE)


def _confirm(where: str, node: Any) -> Iterator[str]:
    yield from _text(f"{where}.title", node.get("title"), CONFIRM_TITLE, plain=True)
    yield from _text(f"{where}.text", node.get("text"), CONFIRM_TEXT)


def _chart(where: str, block: dict[str, Any]) -> Iterator[str]:
    yield from _length(f"{where}.title", block.get("title"), CHART_TITLE)
    drawn = block.get("chart") or {}
    if drawn.get("type") not in ("line", "bar", "area"):
        yield f"{where}.chart: a line, bar or area chart"
        return
    axis = (drawn.get("axis_config") or {}).get("categories")
    yield from _count(f"{where}.chart.axis_config.categories", axis, CHART_CATEGORIES)
    for label in axis or []:
        yield from _length(f"{where}.chart.axis_config.categories", label, CHART_LABEL)
    yield from _count(f"{where}.chart.series", drawn.get("series"), CHART_SERIES)
    for index, series in enumerate(drawn.get("series") or []):
        here = f"{where}.chart.series[{index}]"
        yield from _length(f"{here}.name", series.get("name"), CHART_LABEL)
        if [point.get("label") for point in series.get("data") or []] != list(axis or []):
            yield f"{here}: one point for each category, in their order"
        if not all(isinstance(point.get("value"), int | float) for point in series.get("data") or []):
            yield f"{here}: values are numbers"


def _image(where: str, block: dict[str, Any]) -> Iterator[str]:
    yield from _length(f"{where}.image_url", block.get("image_url"), URL)
    yield from _length(f"{where}.alt_text", block.get("alt_text"), IMAGE_TEXT)
    if "title" in block and block.get("title") is not None:
        yield from _text(f"{where}.title", block["title"], IMAGE_TEXT, plain=True)


def _markdown(where: str, block: dict[str, Any]) -> Iterator[str]:
    yield from _length(f"{where}.text", block.get("text"), MARKDOWN)


def _table(where: str, block: dict[str, Any]) -> Iterator[str]:
    rows = block.get("rows")
    yield from _count(f"{where}.rows", rows, TABLE_ROWS)
    for index, row in enumerate(rows or []):
        yield from _count(f"{where}.rows[{index}]", row, TABLE_CELLS)


def _nothing(where: str, block: dict[str, Any]) -> Iterator[str]:
    yield from ()


CHECKS: dict[Any, Callable[[str, dict[str, Any]], Iterator[str]]] = {
    "section": _section,
    "header": _header,
    "context": _context,
    "actions": _actions,
    "image": _image,
    "markdown": _markdown,
    "table": _table,
    "data_visualization": _chart,
    "divider": _nothing,
    "rich_text": _nothing,
}


# Showing a message.


def render(payload: dict[str, Any], width: int = WIDTH) -> str:
    """The message as plain text, in the order and arrangement in which a person reads it in Slack."""
    lines = _blocks_as_lines(payload.get("blocks") or [], width - 2)
    for attachment in payload.get("attachments") or []:
        inner = _blocks_as_lines(attachment.get("blocks") or [], width - 4)
        lines += [f"▌ {line}" for line in inner or _wrapped(plain(attachment.get("text") or ""), width - 4)]
    return "\n".join(f"┃ {line}".rstrip() for line in lines or _wrapped(plain(payload.get("text") or ""), width - 2))


def _blocks_as_lines(blocks: list[dict[str, Any]], width: int) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        shown = RENDERERS.get(block["type"], _shown_otherwise)(block, width)
        if lines and shown:
            lines.append("")
        lines += shown
    return lines


def plain(text: str) -> str:
    """Slack's mrkdwn as a reader sees it: links by their label, formatting characters gone, entities decoded."""
    text = re.sub(r"<(https?://[^|>]+)\|([^>]+)>", r"\2 (\1)", text)
    text = re.sub(r"<(https?://[^|>]+)>", r"\1", text)
    text = re.sub(r"<!(?:here|channel|everyone)>", lambda match: "@" + match[0][2:-1], text)
    text = re.sub(r"(?<!\w)([*_~`])(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text)
    return html.unescape(text)


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def _content(node: Any) -> str:
    if not isinstance(node, dict):
        return ""
    text = str(node.get("text", ""))
    return plain(text) if node.get("type") == "mrkdwn" else text


def _shown_header(block: dict[str, Any], width: int) -> list[str]:
    lines = _wrapped(_content(block["text"]), width)
    return [*lines, "═" * max(len(line) for line in lines)]


def _shown_section(block: dict[str, Any], width: int) -> list[str]:
    lines = _wrapped(_content(block["text"]), width) if "text" in block else []
    column = width // 2 - 1
    fields = [_wrapped(_content(node), column) for node in block.get("fields") or []]
    nothing: list[str] = []
    for left, right in zip_longest(fields[::2], fields[1::2], fillvalue=nothing):
        lines += [f"{a:<{column}}  {b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]
    if block.get("accessory"):
        lines.append(_shown_element(block["accessory"]))
    return lines


def _shown_element(node: dict[str, Any]) -> str:
    if node["type"] == "image":
        return f"[image: {node.get('alt_text', '')}]"
    label = _content(node.get("text")) or _content(node.get("placeholder")) or node["type"]
    return f"[{label}: {node['url']}]" if node.get("url") else f"[{label}]"


def _shown_actions(block: dict[str, Any], width: int) -> list[str]:
    return _wrapped("  ".join(_shown_element(node) for node in block["elements"]), width)


def _shown_context(block: dict[str, Any], width: int) -> list[str]:
    parts = [_shown_element(node) if node["type"] == "image" else _content(node) for node in block["elements"]]
    lines = _wrapped("  ·  ".join(parts), width - 2)
    return [f"{'  ' if index else '· '}{line}" for index, line in enumerate(lines)]


def _shown_table(block: dict[str, Any], width: int) -> list[str]:
    rows = [[_cell(cell) for cell in row] for row in block["rows"]]
    widths = [max(len(cell) for cell in column) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=False)).rstrip() for row in rows]


def _cell(node: Any) -> str:
    """The text of a cell, which is raw or rich text."""
    if isinstance(node, dict):
        if isinstance(node.get("text"), str):
            return str(node["text"])
        return "".join(_cell(child) for child in node.get("elements") or [])
    return ""


def _shown_otherwise(block: dict[str, Any], width: int) -> list[str]:
    match block["type"]:
        case "divider":
            return ["─" * width]
        case "image":
            return [_shown_element(block)]
        case "markdown":
            return _wrapped(str(block["text"]), width)
        case "data_visualization":
            return _shown_chart(block)
        case _:
            return _wrapped(_cell(block), width)


def _shown_chart(block: dict[str, Any]) -> list[str]:
    """Each series with its first and last point; the terminal draws no lines."""
    lines = [f"[chart: {block['title']}]"]
    for series in block["chart"]["series"]:
        first, last = series["data"][0], series["data"][-1]
        lines.append(f"  {series['name']}: {first['value']:,} on {first['label']}, {last['value']:,} on {last['label']}")
    return lines


RENDERERS: dict[str, Callable[[dict[str, Any], int], list[str]]] = {
    "header": _shown_header,
    "section": _shown_section,
    "actions": _shown_actions,
    "context": _shown_context,
    "table": _shown_table,
}
