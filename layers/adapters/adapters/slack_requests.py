"""Requests from Slack: proved to be Slack's by their signature on the raw bytes, then read; anything else is refused alike.

Whoever cannot sign learns nothing: no difference between a wrong signature, an old one and a body that makes no sense.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from slack_sdk.signature import Clock, SignatureVerifier

from adapters.dynamodb import Item, Table
from attribution.alerts import AlertKey
from attribution.conversation import Pressed, Typed

# Slack sends a message's blocks back with a button; ours have 10,000 characters.
BODY_BYTES_MAX = 500_000
WINDOW_SECONDS = 300
_FIELDS_MAX = 50
_TIMESTAMP_DIGITS_MAX = 12
_FORM = "application/x-www-form-urlencoded"
_TEXT_MAX = 2000
_REMEMBERED = timedelta(hours=1)


class Unauthorized(Exception):
    """The request is not one of Slack's, or makes no sense. It says no more than that."""


@dataclass(frozen=True, slots=True)
class SlackRequest:
    """What Slack asked, if anything. `response_url` takes one more answer; `signature` tells a request from its replay."""

    asked: Pressed | Typed | None = None
    response_url: str = ""
    signature: str = ""


class _At(Clock):
    """The verifier's clock, standing at the time of the request."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> float:
        return self._now.timestamp()


def read_request(event: Mapping[str, Any], secrets: Callable[[], Sequence[str]], now: datetime) -> SlackRequest:
    """The request behind an event of the HTTP API (payload format 2.0); of several signing secrets any will do."""
    try:
        headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
        body = _verified_body(event, headers, secrets, now)
        return _parsed(body, headers["x-slack-signature"], now)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, OSError, RecursionError):
        # The verifier raises these for what is no number, no UTF-8 or no ASCII, and reading does for what has another shape or
        # is a time that no clock shows.
        raise Unauthorized from None


def _verified_body(
    event: Mapping[str, Any], headers: Mapping[str, str], secrets: Callable[[], Sequence[str]], now: datetime
) -> bytes:
    if headers["content-type"].partition(";")[0].strip().lower() != _FORM:
        raise Unauthorized
    text = event["body"]
    if len(text) > 2 * BODY_BYTES_MAX:
        raise Unauthorized
    body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    timestamp, signature = headers["x-slack-request-timestamp"], headers["x-slack-signature"]
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS_MAX
    # Times to come are refused as those past are.
    if len(body) > BODY_BYTES_MAX or not is_number or abs(now.timestamp() - int(timestamp)) > WINDOW_SECONDS:
        raise Unauthorized
    verifiers = [SignatureVerifier(secret, _At(now)) for secret in secrets() if secret]
    if not any(verifier.is_valid(body, timestamp, signature) for verifier in verifiers):
        raise Unauthorized
    return body


def _parsed(body: bytes, signature: str, now: datetime) -> SlackRequest:
    fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    form = {name: values[-1] for name, values in fields.items()}
    if "payload" in form:
        return _pressed(json.loads(form["payload"]), signature)
    if form.get("ssl_check") == "1":
        return SlackRequest()
    return SlackRequest(Typed(form["user_id"], form["text"][:_TEXT_MAX], now), form.get("response_url", ""), signature)


def _pressed(payload: Mapping[str, Any], signature: str) -> SlackRequest:
    if payload["type"] != "block_actions":
        return SlackRequest()
    action = payload["actions"][0]
    response_url = str(payload.get("response_url") or "")
    if action["type"] == "static_select":
        span, budget, period, news = json.loads(action["selected_option"]["value"])
    elif action.get("value"):
        stated, span = json.loads(action["value"]), ""
        budget, period, news = stated["budget"], stated["period"], stated["news"]
    else:
        # A button that only leads somewhere.
        return SlackRequest(None, response_url, signature)
    user, name = payload["user"]["id"], action["action_id"]
    if not all(isinstance(text, str) for text in (user, name, budget, period, span)) or not isinstance(news, int):
        raise Unauthorized
    at = datetime.fromtimestamp(int(action["action_ts"].partition(".")[0]), UTC)
    return SlackRequest(Pressed(user, name, AlertKey(budget, period), news, at, span), response_url, signature)


class DynamoReplays:
    """Signatures that were acted on, by their hash. A signature is good for five minutes, and forgotten long after."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock

    def is_known(self, signature: str) -> bool:
        """Whether the request with this signature was acted on."""
        return self._table.get(**_replay_key(signature)) is not None

    def remember(self, signature: str) -> None:
        """Act on it no more."""
        expires_at = Decimal(int((self._clock() + _REMEMBERED).timestamp()))
        self._table.batch_put([_replay_key(signature) | {"expires_at": expires_at}])


def _replay_key(signature: str) -> Item:
    return {"pk": f"REQUEST#{hashlib.sha256(signature.encode()).hexdigest()}", "sk": "-"}
