"""A Slack workspace in memory: channels, threads, and the methods of the Web API that are called here, with their errors.

Promises: a message that Slack would refuse is refused with the same error; what people see in a channel is `messages`, in
order; a token that is not the workspace's, an unknown channel and a message that is gone are answered as Slack answers them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

Json = dict[str, Any]
PAGE_MAX = 999


@dataclass(slots=True)
class Shown:
    """A message as people see it now; `versions` are what it showed before, oldest first."""

    channel: str
    ts: str
    payload: Json
    thread_ts: str = ""
    is_broadcast: bool = False
    versions: list[Json] = field(default_factory=list)


Judge = Callable[[Any], tuple[str, list[str]]]
"""What is wrong with a message, as Slack calls it, empty for nothing; and for the developer in words."""


class SlackWorkspace:
    """Channels and what is in them. `now` gives time stamps; `judge` checks messages as Slack does."""

    def __init__(
        self, judge: Judge, channels: tuple[str, ...] = ("C0BUDGETS",), now: Callable[[], datetime] | None = None
    ) -> None:
        self.token = f"xoxb-{secrets.token_hex(12)}"
        self.channels = set(channels)
        self.archived: set[str] = set()
        self.can_read_history = True
        self.messages: list[Shown] = []
        self.deleted: list[Shown] = []
        self._judge = judge
        self._now = now or (lambda: datetime.now(UTC))
        self._last = 0

    def call(self, method: str, authorization: str, arguments: Json) -> tuple[Json, list[str]]:
        """The answer of a method, and what was wrong with its message."""
        if authorization != f"Bearer {self.token}":
            return _refused("invalid_auth" if authorization else "not_authed"), []
        match method:
            case "chat.postMessage":
                return self._post(arguments)
            case "chat.update":
                return self._update(arguments)
            case "conversations.history" | "conversations.replies":
                return self._read(method, arguments), []
        return _refused("unknown_method"), []

    def delete(self, ts: str) -> None:
        """Somebody deletes a message in Slack."""
        self.deleted += [message for message in self.messages if message.ts == ts]
        self.messages = [message for message in self.messages if message.ts != ts]

    def thread(self, ts: str) -> list[Shown]:
        """The replies to a message."""
        return [message for message in self.messages if message.thread_ts == ts]

    def parents(self, channel: str = "") -> list[Shown]:
        """The messages of a channel, without replies."""
        return [m for m in self.messages if not m.thread_ts and channel in ("", m.channel)]

    def _post(self, arguments: Json) -> tuple[Json, list[str]]:
        channel = str(arguments.get("channel", ""))
        if channel not in self.channels:
            return _refused("channel_not_found"), []
        if channel in self.archived:
            return _refused("is_archived"), []
        error, problems = self._judge(arguments)
        if error:
            return _refused(error), problems
        thread = str(arguments.get("thread_ts", ""))
        if thread and self._find(channel, thread) is None:
            return _refused("thread_not_found"), []
        shown = Shown(channel, self._stamp(), arguments, thread, bool(arguments.get("reply_broadcast")))
        self.messages.append(shown)
        return {"ok": True, "channel": channel, "ts": shown.ts, "message": {"ts": shown.ts}}, []

    def _update(self, arguments: Json) -> tuple[Json, list[str]]:
        shown = self._find(str(arguments.get("channel", "")), str(arguments.get("ts", "")))
        if shown is None:
            return _refused("message_not_found"), []
        error, problems = self._judge(arguments)
        if error:
            return _refused(error), problems
        shown.versions.append(shown.payload)
        shown.payload = arguments
        return {"ok": True, "channel": shown.channel, "ts": shown.ts}, []

    def _read(self, method: str, arguments: Json) -> Json:
        if not self.can_read_history:
            return _refused("missing_scope") | {"needed": "channels:history"}
        channel, thread = str(arguments.get("channel", "")), str(arguments.get("ts", ""))
        if channel not in self.channels:
            return _refused("channel_not_found")
        if method == "conversations.replies":
            if self._find(channel, thread) is None:
                return _refused("thread_not_found")
            found = [m for m in self.messages if m.channel == channel and thread in (m.ts, m.thread_ts)]
        else:
            found = [m for m in reversed(self.messages) if m.channel == channel and (not m.thread_ts or m.is_broadcast)]
        found = [m for m in found if m.ts >= str(arguments.get("oldest", "0"))]
        start = int(arguments.get("cursor") or 0)
        end = start + min(int(arguments.get("limit") or 100), PAGE_MAX)
        has_metadata = str(arguments.get("include_all_metadata", "")).lower() == "true"
        return {
            "ok": True,
            "messages": [_listed(m, has_metadata) for m in found[start:end]],
            "has_more": end < len(found),
            "response_metadata": {"next_cursor": str(end) if end < len(found) else ""},
        }

    def _find(self, channel: str, ts: str) -> Shown | None:
        return next((m for m in self.messages if (m.channel, m.ts) == (channel, ts)), None)

    def _stamp(self) -> str:
        micros = int(self._now().timestamp() * 1_000_000)
        self._last = max(self._last + 1, micros)
        return f"{self._last // 1_000_000:010d}.{self._last % 1_000_000:06d}"


def _refused(error: str) -> Json:
    return {"ok": False, "error": error}


def _listed(message: Shown, has_metadata: bool) -> Json:
    listed: Json = {"type": "message", "ts": message.ts, "text": message.payload.get("text", "")}
    if message.thread_ts:
        listed["thread_ts"] = message.thread_ts
    if has_metadata and message.payload.get("metadata"):
        listed["metadata"] = message.payload["metadata"]
    return listed


def arguments_of(query: str, body: bytes) -> Json:
    """A method's arguments: of the query, or of a JSON body."""
    if body:
        try:
            stated = json.loads(body)
        except ValueError:
            return {}
        return stated if isinstance(stated, dict) else {}
    return {name: values[-1] for name, values in parse_qs(query).items()}
