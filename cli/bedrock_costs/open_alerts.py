"""An alert by what people call it."""

from __future__ import annotations

from attribution import alarm_alerts, anomaly_alerts
from attribution.alerts import Alert, AlertKey, is_called
from attribution.digests import worst_first
from attribution.ports import Outbox
from bedrock_costs.failures import Failure


def alert_of(outbox: Outbox, name: str, period: str | None = None) -> Alert:
    """The alert of a budget, an anomaly or an alarm in a period; without one, that which is open."""
    open_keys = [key for key in outbox.open() if isinstance(key, AlertKey) and is_called(key, name)]
    if period is None:
        found = worst_first(outbox.get_many(open_keys).values())
        if found:
            return next((alert for alert in found if alert.is_open), found[0])
        # An alarm has one alert for ever, and no period.
        keys = [AlertKey(name, "-"), alarm_alerts.alert_key(name)]
    else:
        keys = [AlertKey(name, period), anomaly_alerts.alert_key(f"{name}#{period}")]
        keys = [*(key for key in open_keys if key.period == period), *keys]
    for key in keys:
        alert = outbox.get(key)
        if alert is not None:
            return alert
    fix = "`bedrock-costs alerts --all` lists alerts by name and period; name the period of one that is over."
    raise Failure(f"there is no alert of {name!r} in {period}" if period else f"no alert of {name!r} is open", fix=fix)
