"""Slack: an incoming webhook, which takes messages, and the Web API with a bot token, which also changes and finds them.

Webhook URL and token are secrets: they are never logged, redirects are not followed, and only configured hosts are posted to.
The clients of slack_sdk log the URL, follow redirects and repeat by themselves, so its models build the messages and urllib3
posts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError

from adapters.channels.slack_messages import (
    Look,
    Message,
    alert_message,
    digest_message,
    is_broadcast,
    news_of,
    reply_message,
    reply_to_user,
    text_only,
)
from attribution.alerts import Alert
from attribution.alerts import Message as Place
from attribution.conversation import Reply
from attribution.digests import Digest
from attribution.errors import PolicyInvalid
from attribution.ports import Posted

_TIMEOUT = Timeout(connect=3.0, read=10.0)
# Slack waits three seconds for an answer, whatever else is done before it.
_BRIEFLY = Timeout(connect=0.7, read=0.8)
_OK, _BAD_REQUEST, _TOO_MANY = 200, 400, 429
_LONGEST_WAIT_SECONDS = 3600
# How far a message in doubt may lie back: its search begins that long before its claim could have been made.
_SEARCH_BACK = timedelta(hours=2)
_SEARCH_PAGE = 100
_SEARCH_PAGES = 10
_PRINTED = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Response:
    """What an HTTP request answered: a status, or the words for why there is none and whether it may have been carried out."""

    status: int = 0
    body: bytes = b""
    retry_after: str = ""
    error: str = ""
    is_ambiguous: bool = False


Send = Callable[[str, str, Mapping[str, str], bytes], Response]
"""Method, URL, headers and body; never raises for what the network does."""


class Http:
    """`Send` on urllib3: no redirects, no repeats, no cookies."""

    def __init__(self, timeout: Timeout = _TIMEOUT) -> None:
        self._pool = PoolManager(retries=False, timeout=timeout)

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            answer = self._pool.request(method, url, body=body, headers=dict(headers), redirect=False, retries=False)
        except NewConnectionError:
            return Response(error="no connection to Slack")
        except ReadTimeoutError:
            return Response(error="no answer from Slack in time", is_ambiguous=True)
        except HTTPError as error:
            return Response(error=f"the connection to Slack broke: {type(error).__name__}", is_ambiguous=True)
        return Response(answer.status, answer.data, answer.headers.get("Retry-After", ""))


class SecretUnavailable(Exception):
    """A secret could not be read just now."""


def check_url(url: str, allowed_hosts: Sequence[str]) -> str:
    """A URL that may be posted to. Plain HTTP is for a receiver on the same machine alone."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username or parts.password or host not in allowed_hosts:
        raise PolicyInvalid("the Slack webhook's host is not in SlackAllowedHosts: put a hooks.slack.com URL into the secret")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise PolicyInvalid("the Slack webhook must be an https URL")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(retry_after: str) -> int:
    """What `Retry-After` asks for, an hour at the most; zero where it is no number of seconds."""
    stated = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10
    return min(int(retry_after), _LONGEST_WAIT_SECONDS) if stated else 0


def _unanswered(response: Response) -> Posted | None:
    """The outcome where Slack gave no answer, or asked for time; None where it answered."""
    if response.is_ambiguous:
        return Posted(False, is_ambiguous=True, error=response.error)
    if not response.status:
        # Nothing was sent, so that trying again repeats nothing.
        return Posted(False, retry_after_seconds=0, error=response.error)
    if response.status == _TOO_MANY:
        return Posted(False, retry_after_seconds=_seconds(response.retry_after), is_limited=True, error="HTTP 429")
    return None


def _layouts(look: Look, build: Callable[[Look], Message]) -> Sequence[Message]:
    """The message, and simpler ones for a channel that refuses its layout: with bars for the chart, then as plain text."""
    first = build(look)
    simpler = [build(replace(look, has_charts=False))] if look.has_charts else []
    return [first, *simpler, text_only(first)]


class Unreachable:
    """`Channel` that cannot be used: for now, or until somebody configures it."""

    def __init__(self, error: str, *, is_passing: bool) -> None:
        self._error = error
        self._is_passing = is_passing

    @property
    def updates(self) -> bool:
        """For now, it may be one that changes its messages."""
        return self._is_passing

    def _posted(self) -> Posted:
        return Posted(False, retry_after_seconds=0 if self._is_passing else None, error=self._error)

    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted:
        """Nothing is sent."""
        return self._posted()

    def update(self, alert: Alert, message: Place) -> Posted:
        """Nothing is sent."""
        return self._posted()

    def reply(self, alert: Alert, message: Place, *, is_repeat: bool) -> Posted:
        """Nothing is sent."""
        return self._posted()

    def find(self, notice: Alert | Digest, message: Place | None) -> Posted | None:
        """Whether it arrived cannot be asked for now, or ever."""
        return self._posted() if self._is_passing else None


_WEBHOOK_REMEDIES = {
    "no_service": "the webhook was revoked or is wrong: make a new one, and put its URL into the secret",
    "no_service_id": "the webhook's URL is incomplete: put the whole of it into the secret",
    "no_team": "the workspace is gone or its URL is wrong: put the webhook's whole URL into the secret",
    "team_disabled": "the workspace is disabled: make a webhook in another one",
    "invalid_token": "the last part of the webhook's URL is wrong: put the whole of it into the secret",
    "channel_not_found": "the webhook's channel is gone: make a webhook for another one",
    "channel_is_archived": "the webhook's channel is archived: make a webhook for another one",
    "user_not_found": "the webhook's user is gone: make a new one, and put its URL into the secret",
    "action_prohibited": "an administrator of the workspace forbids it: have the app allowed to post there",
    "posting_to_general_channel_denied": "only some may post to #general: make a webhook for another channel",
}


class SlackWebhook:
    """`Channel` on an incoming webhook: every news is a new message, and no message is ever changed or found."""

    updates = False

    def __init__(self, url: str, look: Look, send: Send) -> None:
        self._url = url
        self._look = replace(look, has_buttons=False)
        self._send = send

    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted:
        """Post once; a layout that is refused goes out in a simpler one."""

        def build(look: Look) -> Message:
            if isinstance(notice, Digest):
                return digest_message(notice, is_repeat=is_repeat)
            return alert_message(notice, look, is_repeat=is_repeat)

        posted = Posted(False)
        for layout in _layouts(self._look, build):
            body = json.dumps({key: value for key, value in layout.items() if key != "metadata"}).encode()
            response = self._send("POST", self._url, {"Content-Type": "application/json"}, body)
            posted = _unanswered(response) or self._answered(response)
            if response.status != _BAD_REQUEST:
                break
        return posted

    def _answered(self, response: Response) -> Posted:
        if response.status == _OK:
            return Posted(True)
        if response.status >= 500:
            return Posted(False, retry_after_seconds=_seconds(response.retry_after), error=f"HTTP {response.status}")
        # Of the body no more than a known word: it is not ours, and may be anything.
        name = response.body.decode(errors="replace").strip()
        said = f" {name}: {_WEBHOOK_REMEDIES[name]}" if name in _WEBHOOK_REMEDIES else ": check the webhook in the secret"
        return Posted(False, error=f"HTTP {response.status}{said}")

    def update(self, alert: Alert, message: Place) -> Posted:
        """A webhook's messages stay as they are."""
        return Posted(False, is_gone=True)

    def reply(self, alert: Alert, message: Place, *, is_repeat: bool) -> Posted:
        """A webhook knows no threads."""
        return Posted(False, is_gone=True)

    def find(self, notice: Alert | Digest, message: Place | None) -> Posted | None:
        """A webhook cannot be asked."""
        return None


# What the Web API calls its errors.
_LAYOUT_REFUSED = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"})
_MESSAGE_GONE = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
# "It's possible some aspect of the operation succeeded before the error was raised."
_IN_DOUBT = frozenset({"fatal_error", "internal_error", "service_unavailable", "request_timeout"})
_REMEDIES = {
    "channel_not_found": "put the channel's id into the route, and invite the app to a private channel",
    "not_in_channel": "invite the app to the channel",
    "is_archived": "the channel is archived: choose another one",
    "invalid_auth": "put a valid bot token into the secret",
    "not_authed": "put a bot token into the secret",
    "not_allowed_token_type": "put a bot token (xoxb-…) into the secret",
    "token_revoked": "the bot token was revoked: put a new one into the secret",
    "token_expired": "the bot token has expired: put a new one into the secret",
    "account_inactive": "the app was removed from the workspace: install it again",
    "missing_scope": "give the app the scopes that docs/alerts.md lists",
    "restricted_action": "the workspace does not let the app post there",
    "restricted_action_read_only_channel": "the channel is read-only: let the app post there, or choose another one",
    "restricted_action_thread_only_channel": "the channel takes replies alone: choose another one",
    "no_permission": "the token may not post there: invite the app to the channel, with the scopes that docs/alerts.md lists",
    "team_access_not_granted": "the app is not installed in the workspace of the channel: install it there",
}


class SlackBot:
    """`Channel` on the Web API: one message per alert, changed in place; news in its thread; each found by its metadata."""

    updates = True

    def __init__(self, api: str, token: str, route: str, channel: str, look: Look, send: Send) -> None:
        self._api = api.rstrip("/")
        self._token = token
        self._route = route
        self._channel = channel
        self._look = look
        self._send = send

    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted:
        """A new message in the channel."""

        def build(look: Look) -> Message:
            if isinstance(notice, Digest):
                return digest_message(notice, is_repeat=is_repeat)
            return alert_message(notice, look, is_repeat=is_repeat)

        if not self._channel:
            return Posted(False, error=f"route {self._route!r} has a bot token and no channel: put a channel's id into it")
        return self._say("chat.postMessage", {"channel": self._channel}, self._look, build)

    def update(self, alert: Alert, message: Place) -> Posted:
        """The message as it is to look now."""
        place = {"channel": message.channel, "ts": message.ts}
        return self._say("chat.update", place, self._look, lambda look: alert_message(alert, look))

    def reply(self, alert: Alert, message: Place, *, is_repeat: bool) -> Posted:
        """News in the message's thread; that of a broken budget is shown in the channel as well."""
        place: dict[str, Any] = {"channel": message.channel, "thread_ts": message.ts}
        if is_broadcast(alert):
            place["reply_broadcast"] = True
        plain = replace(self._look, has_charts=False)
        return self._say("chat.postMessage", place, plain, lambda _: reply_message(alert, is_repeat=is_repeat))

    def find(self, notice: Alert | Digest, message: Place | None) -> Posted | None:
        """The message of the news in doubt, by its metadata, in the channel's recent history or in a thread."""
        in_doubt = notice.delivery.in_doubt
        since = notice.changed_at if isinstance(notice, Alert) else notice.due_at
        query: dict[str, Any] = {
            "channel": message.channel if message else self._channel,
            "include_all_metadata": "true",
            "limit": _SEARCH_PAGE,
            "oldest": f"{(since - _SEARCH_BACK).timestamp():.6f}",
        }
        method = "conversations.history"
        if message is not None:
            method, query = "conversations.replies", query | {"ts": message.ts, "oldest": message.ts}
        for _ in range(_SEARCH_PAGES):
            answer = self._call("GET", method, query)
            if isinstance(answer, Posted):
                # Asking changes nothing, so that an answer that was lost is asked for again.
                return replace(answer, is_ambiguous=False, retry_after_seconds=answer.retry_after_seconds or 0)
            if not answer.get("ok"):
                return self._not_found(str(answer.get("error")))
            for found in answer.get("messages") or []:
                if news_of(found, notice) == in_doubt:
                    place = message or Place(self._route, self._channel, str(found["ts"]))
                    return Posted(True, message=place, found_news=in_doubt)
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return Posted(False)
            query |= {"cursor": cursor}
        return None

    def _not_found(self, error: str) -> Posted | None:
        if error in _IN_DOUBT or error == "ratelimited":
            return Posted(False, retry_after_seconds=0, error=error)
        # A thread that is gone holds no reply; without the scope to read, nobody can tell.
        return Posted(False) if error in _MESSAGE_GONE else None

    def _say(self, method: str, place: Mapping[str, Any], look: Look, build: Callable[[Look], Message]) -> Posted:
        posted = Posted(False)
        for layout in _layouts(look, build):
            message = {**layout, **place, "unfurl_links": False, "unfurl_media": False}
            if "blocks" not in message and method == "chat.update":
                # Else the blocks of before would stay.
                message["blocks"] = []
            answer = self._call("POST", method, message)
            if isinstance(answer, Posted):
                return answer
            posted = self._answered(answer, method)
            if answer.get("error") not in _LAYOUT_REFUSED:
                break
        return posted

    def _answered(self, answer: Mapping[str, Any], method: str) -> Posted:
        if answer.get("ok"):
            return Posted(True, message=Place(self._route, str(answer.get("channel", "")), str(answer.get("ts", ""))))
        error = str(answer.get("error", "no error named"))
        if error in _MESSAGE_GONE:
            return Posted(False, is_gone=True, error=error)
        if error == "ratelimited":
            return Posted(False, retry_after_seconds=0, is_limited=True, error=error)
        if error in _IN_DOUBT:
            return Posted(False, is_ambiguous=True, error=error)
        remedy = _REMEDIES.get(error, "see the error in Slack's documentation of the method")
        return Posted(False, error=f"{method}: {error}: {remedy}")

    def _call(self, verb: str, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | Posted:
        """Slack's answer, or the outcome where there is none that can be read."""
        headers = {"Authorization": f"Bearer {self._token}"}
        if verb == "GET":
            response = self._send(verb, f"{self._api}/{method}?{urlencode(arguments)}", headers, b"")
        else:
            headers["Content-Type"] = "application/json; charset=utf-8"
            response = self._send(verb, f"{self._api}/{method}", headers, json.dumps(arguments).encode())
        unanswered = _unanswered(response)
        if unanswered is not None:
            return unanswered
        if response.status >= 500:
            # It may have been carried out; whether it was can be asked.
            return Posted(False, is_ambiguous=True, error=f"HTTP {response.status}")
        try:
            answer = json.loads(response.body)
        except ValueError:
            answer = None
        if response.status != _OK or not isinstance(answer, dict):
            return Posted(False, error=f"HTTP {response.status} from Slack's Web API: check SlackApiUrl")
        return answer


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a route's secret holds: the URL of a webhook, or a bot token."""

    webhook_url: str = ""
    bot_token: str = ""
    channel: str = ""

    @classmethod
    def parse(cls, secret: str) -> Credentials:
        """A URL or a token as it is, or JSON with `webhook_url`, or with `bot_token` and perhaps `channel`."""
        text = secret.strip()
        if text.startswith("{"):
            try:
                stated = json.loads(text)
            except ValueError:
                raise PolicyInvalid("the Slack secret begins as JSON and is none: correct it") from None
            known = {key: str(stated[key]).strip() for key in ("webhook_url", "bot_token", "channel") if stated.get(key)}
            made = cls(**known)
        elif text.startswith("xox"):
            made = cls(bot_token=text)
        else:
            made = cls(webhook_url=text)
        if bool(made.webhook_url) == bool(made.bot_token):
            raise PolicyInvalid("the Slack secret needs either webhook_url or bot_token")
        # An HTTP client that refuses such a header quotes it in its error.
        if not _PRINTED.fullmatch(made.webhook_url or made.bot_token):
            raise PolicyInvalid("the Slack secret has a character that no URL or token has: put it in anew, as Slack shows it")
        return made

    def __repr__(self) -> str:
        return "Credentials(…)"


class SlackReplies:
    """Answers to one user: as the response to a command, or to the `response_url` of a button."""

    def __init__(self, allowed_hosts: Sequence[str], send: Send | None = None) -> None:
        self._allowed_hosts = allowed_hosts
        self._send = send or Http(_BRIEFLY)

    def shown(self, reply: Reply) -> dict[str, Any]:
        """The HTTP response that shows it."""
        body = json.dumps(reply_to_user(reply))
        return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}

    def send(self, response_url: str, reply: Reply) -> None:
        """Tell the user why nothing was done. Where that does not arrive, the message is as it was, and says as much."""
        try:
            url = check_url(response_url, self._allowed_hosts)
        except (ValueError, PolicyInvalid):
            return
        message = reply_to_user(reply) | {"replace_original": False}
        self._send("POST", url, {"Content-Type": "application/json"}, json.dumps(message).encode())
