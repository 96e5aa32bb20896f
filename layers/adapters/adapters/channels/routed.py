"""The channel behind each route: a webhook or a bot, by what its secret holds; and mail for what Slack does not take."""

from __future__ import annotations

from collections.abc import Callable

from adapters.channels.slack import (
    Credentials,
    Http,
    SecretUnavailable,
    Send,
    SlackBot,
    SlackWebhook,
    Unreachable,
    check_url,
)
from adapters.channels.slack_messages import Look
from adapters.settings import DeliverAlerts
from attribution.errors import PolicyInvalid
from attribution.ports import Channel
from attribution.routes import Route


class SlackChannels:
    """`Channels` by the secrets of the routes."""

    def __init__(
        self, settings: DeliverAlerts, secret: Callable[[str], str], second: Channel, send: Send | None = None
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._second = second
        self._send = send or Http()

    def second(self) -> Channel:
        """Mail."""
        return self._second

    def of(self, route: Route) -> Channel:
        """The channel as its secret says now; one that cannot be used says why when it is."""
        try:
            return self._channel(route)
        except PolicyInvalid as error:
            return Unreachable(str(error), is_passing=False)
        except SecretUnavailable as error:
            return Unreachable(str(error), is_passing=True)
        except ValueError:
            return Unreachable("the Slack secret is not a URL", is_passing=False)

    def _channel(self, route: Route) -> Channel:
        settings = self._settings
        credentials = Credentials.parse(self._secret(self._secret_name(route)))
        look = Look(
            settings.has_buttons,
            settings.has_buttons,
            route.has_charts,
            settings.report_url,
            route.mention,
            settings.runbook_url,
        )
        if credentials.webhook_url:
            return SlackWebhook(check_url(credentials.webhook_url, settings.slack_allowed_hosts), look, self._send)
        channel = route.channel or credentials.channel
        return SlackBot(settings.slack_api_url, credentials.bot_token, route.name, channel, look, self._send)

    def _secret_name(self, route: Route) -> str:
        if not route.secret:
            if not self._settings.slack_secret_arn:
                raise PolicyInvalid("no Slack secret is configured: set the stack's parameter SlackSecretArn")
            return self._settings.slack_secret_arn
        prefix = self._settings.slack_secret_prefix
        if not prefix or not route.secret.startswith(prefix):
            raise PolicyInvalid(
                f"route {route.name!r}: its secret's name must begin with the stack's SlackSecretPrefix ({prefix or 'not set'})"
            )
        return route.secret
