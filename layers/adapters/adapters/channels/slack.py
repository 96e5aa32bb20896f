"""Slack: an alert as Block Kit, posted to an incoming webhook.

The webhook URL is a secret: it is never logged, redirects are not followed, and only configured hosts are posted to. The client
of slack_sdk logs the URL and follows redirects, so its models build the message and urllib3 posts it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from ipaddress import ip_address
from urllib.parse import urlsplit

# Block Kit's shapes and limits, kept by Slack.
from slack_sdk.models.blocks import ContextBlock, HeaderBlock, MarkdownTextObject, PlainTextObject, SectionBlock
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError

from attribution.alerts import Alert
from attribution.budgets import AlertState, Driver, NotificationType, ThresholdType, percent_of
from attribution.canonical import number_text
from attribution.errors import PolicyInvalid
from attribution.ports import Posted

_TIMEOUT = Timeout(connect=3.0, read=10.0)
_HEADER_LIMIT = 150
# A character may become an entity of five: three drivers, or a dimension and a scope, then still fit into 2,000.
_NAME_LIMIT = 100
# Python's own context keeps 28 digits.
_WIDE = Context(prec=100)
_OK, _TOO_MANY = 200, 429
_LONGEST_WAIT_SECONDS = 3600


def escape(text: str, limit: int = 200) -> str:
    """Text that people wrote, shown literally: cut first, so that no entity is cut, then `&`, `<` and `>` replaced."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def money(amount: Decimal, currency: str) -> str:
    """An amount for a person, rounded to the cent; less than half a cent says so."""
    sign, size = ("-" if amount < 0 else ""), cents(amount).copy_abs()
    symbol = "$" if currency == "USD" else f"{currency} "
    if amount and not size:
        return f"{sign}<{symbol}0.01"
    return f"{sign}{symbol}{size:,}"


def cents(amount: Decimal) -> Decimal:
    """An amount rounded to the cent, half up, as people round."""
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP, context=_WIDE)


def _basis(alert: Alert) -> str:
    spend, currency = alert.spend, alert.limit.currency
    if not spend.estimated:
        return "all of it billed by AWS"
    if not spend.billed:
        return "all of it estimated from usage; AWS has not billed these days yet"
    return f"{money(spend.billed, currency)} billed by AWS, {money(spend.estimated, currency)} estimated from usage"


def render(alert: Alert) -> dict[str, object]:
    """The message of an alert: what happened, how much of what, on what basis, who drives it."""
    currency = alert.limit.currency
    actual, percent = alert.spend.actual, percent_of(alert.spend.actual, alert.limit.amount)
    spent, limit = money(actual, currency), money(alert.limit.amount, currency)
    # In a title they are plain text; elsewhere `<` would begin a link.
    spent_text, limit_text = escape(spent), escape(limit)
    name = alert.key.budget
    if alert.state is AlertState.RECOVERED:
        before = escape(money(alert.previous_actual or actual, currency))
        title = f"Correction: {name} is at {percent} % of its budget"
        story = (
            f"We said {before}. With the bill it is *{spent_text}* of {limit_text}, back across the threshold of "
            f"{_threshold(alert)}. The alert is closed."
        )
    else:
        title = f"{percent} % of budget: {name}, {spent} of {limit}"
        again = "again " if alert.revision > 1 else ""
        what = "Forecast spend" if alert.notification.type is NotificationType.FORECASTED else "Actual spend"
        how = alert.notification.comparison.value.lower().replace("_", " ")
        story = f"{what} is {again}{how} {_threshold(alert)} for {alert.key.period}."
    blocks = [
        HeaderBlock(text=PlainTextObject(text=title[:_HEADER_LIMIT], emoji=False)),
        SectionBlock(text=MarkdownTextObject(text=story)),
        SectionBlock(
            fields=[
                MarkdownTextObject(text=f"*Spent*\n{spent_text} ({percent} %)"),
                MarkdownTextObject(text=_left(alert)),
                MarkdownTextObject(text=f"*Basis*\n{escape(_basis(alert))}"),
                MarkdownTextObject(text=f"*Counts*\n{escape(alert.scope)}"),
            ]
        ),
    ]
    if alert.spend.drivers:
        first = alert.spend.drivers[0].dimension
        lines = "\n".join(_driver(d, currency) for d in alert.spend.drivers if d.dimension == first)
        blocks.append(SectionBlock(text=MarkdownTextObject(text=f"*Grew most, by {escape(first, _NAME_LIMIT)}*\n{lines}")))
    notes = [
        f"{alert.key.period} · as of {alert.changed_at:%Y-%m-%d %H:%M} UTC",
        f"alert {alert.key} revision {alert.revision}",
    ]
    if alert.delivery.may_repeat:
        notes.insert(0, "Possible repeat: nobody could confirm that the first message arrived.")
    blocks.append(ContextBlock(elements=[MarkdownTextObject(text=escape(note, 500)) for note in notes]))
    return {"text": escape(f"{title}. {_basis(alert)}.", 1000), "blocks": [block.to_dict() for block in blocks]}


def _threshold(alert: Alert) -> str:
    """The threshold as a person reads it, escaped."""
    notification, currency = alert.notification, alert.limit.currency
    amount = escape(money(notification.amount(alert.limit.amount), currency))
    if notification.threshold_type is ThresholdType.ABSOLUTE_VALUE:
        return amount
    return f"{number_text(notification.threshold)} % of the budget ({amount})"


def _driver(driver: Driver, currency: str) -> str:
    change = money(driver.change, currency)
    signed = change if driver.change < 0 else f"+{change}"
    return f"• {escape(driver.name, _NAME_LIMIT)}: {escape(money(driver.amount, currency))} ({escape(signed)})"


def _left(alert: Alert) -> str:
    """What is left of the budget, or how far it is over, from the amounts as they are shown: they add up for the reader."""
    left = cents(alert.limit.amount) - cents(alert.spend.actual)
    name = "Left" if left >= 0 else "Over by"
    currency = alert.limit.currency
    return f"*{name}*\n{escape(money(left.copy_abs(), currency))} of {escape(money(alert.limit.amount, currency))}"


def check_url(url: str, allowed_hosts: Sequence[str]) -> str:
    """A webhook URL that may be posted to. Plain HTTP is for a receiver on the same machine alone."""
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


class WebhookUnavailable(Exception):
    """The secret with the webhook could not be read just now."""


class SlackWebhook:
    """`Channel` on a Slack incoming webhook."""

    def __init__(self, url: Callable[[], str], allowed_hosts: Sequence[str]) -> None:
        self._url = url
        self._allowed_hosts = allowed_hosts
        self._http = PoolManager(retries=False, timeout=_TIMEOUT)

    def post(self, alert: Alert) -> Posted:
        """Post once; a rejected layout is sent again as plain text, because the news matters more than its looks."""
        message = render(alert)
        posted, status = self._send(message)
        if not posted.is_sent and status == 400:
            posted, _ = self._send({"text": message["text"]})
        return posted

    def _send(self, message: dict[str, object]) -> tuple[Posted, int]:
        try:
            url = check_url(self._url(), self._allowed_hosts)
        except PolicyInvalid as error:
            return Posted(False, error=str(error)), 0
        except ValueError:
            return Posted(False, error="the Slack secret is not a URL"), 0
        except WebhookUnavailable as error:
            # Nothing was sent, so that trying again repeats nothing.
            return Posted(False, retry_after_seconds=0, error=str(error)), 0
        return self._request(url, json.dumps(message).encode())

    def _request(self, url: str, body: bytes) -> tuple[Posted, int]:
        try:
            answer = self._http.request(
                "POST", url, body=body, headers={"Content-Type": "application/json"}, redirect=False, retries=False
            )
        except NewConnectionError:
            return Posted(False, retry_after_seconds=0, error="no connection to Slack"), 0
        except ReadTimeoutError:
            return Posted(False, is_ambiguous=True, error="no answer from Slack in time"), 0
        except HTTPError as error:
            return Posted(False, is_ambiguous=True, error=f"the connection to Slack broke: {type(error).__name__}"), 0
        return self._answered(answer.status, answer.headers.get("Retry-After", "")), answer.status

    def _answered(self, status: int, retry_after: str) -> Posted:
        if status == _OK:
            return Posted(True)
        if status == _TOO_MANY or status >= 500:
            return Posted(False, retry_after_seconds=_seconds(retry_after), error=f"HTTP {status}")
        return Posted(False, error=f"HTTP {status}: check the webhook in the secret")
