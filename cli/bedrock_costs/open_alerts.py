"""An alert by what people call it, and the route that tells it."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.alerts import Alert, AlertKey
from attribution.anomaly_alerts import alert_key, is_called
from attribution.digests import worst_first
from attribution.ports import Outbox
from attribution.routes import Route, route_for
from bedrock_costs.failures import Failure


def route_of(alert: Alert, routes: Sequence[Route]) -> Route:
    """The route that tells it: a message that exists is changed where it is."""
    name = alert.message.route if alert.message else alert.subject.route
    return route_for(name, alert.subject.owners, routes)


def alert_of(outbox: Outbox, name: str, period: str | None = None) -> Alert:
    """The alert of a budget or an anomaly in a period; without one, that which is open."""
    open_keys = [key for key in outbox.open() if isinstance(key, AlertKey) and is_called(key, name)]
    if period is None:
        found = worst_first(outbox.get_many(open_keys).values())
        if not found:
            fix = "`bedrock-costs alerts --all` lists alerts; name the period of one that is over."
            raise Failure(f"no alert of {name!r} is open", fix=fix)
        return next((alert for alert in found if alert.is_open), found[0])
    for key in (*(k for k in open_keys if k.period == period), AlertKey(name, period), alert_key(f"{name}#{period}")):
        alert = outbox.get(key)
        if alert is not None:
            return alert
    raise Failure(
        f"there is no alert of {name!r} in {period}", fix="`bedrock-costs alerts --all` lists alerts by name and period."
    )
