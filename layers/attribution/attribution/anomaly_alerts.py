"""What an anomaly is to the alert that tells it: the one message that changes while the anomaly lasts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from decimal import Decimal

from attribution.alerts import AlertKey, Driver, Figures, Observation, Subject, Threshold, ThresholdKind
from attribution.anomalies import Cause, RootCause
from attribution.anomaly_tracking import Change, TrackedAnomaly
from attribution.money import Money, total
from attribution.wording import money

# No budget's name has a colon: an anomaly's alert is never taken for a budget's.
_PREFIX = "anomaly: "
_OVER = (Change.ENDED, Change.JUDGED, Change.WITHDRAWN)


def alert_key(name: str) -> AlertKey:
    """The key of the alert of the anomaly with a name."""
    what, _, day = name.rpartition("#")
    return AlertKey(f"{_PREFIX}{what}", day)


def anomaly_name(key: AlertKey) -> str:
    """The name of the anomaly that an alert tells."""
    return f"{key.budget.removeprefix(_PREFIX)}#{key.period}"


def observation(
    tracked: TrackedAnomaly,
    change: Change | None,
    *,
    billed: Collection[date],
    daily: tuple[tuple[date, Decimal], ...],
    route: str,
) -> Observation:
    """An anomaly as its alert shows it. Each time that it has doubled is a threshold; one that is over has none."""
    anomaly, series = tracked.anomaly, tracked.series
    label = f"above {money(anomaly.total_upper, series.currency)}, the most that could be expected"
    crossed = [Threshold(ThresholdKind.ACTUAL, f"grown {n}", label) for n in range(tracked.grown + 1)]
    figures = Figures(
        Money(anomaly.total_expected, series.currency),
        billed=total(d.actual for d in anomaly.days if d.day in billed),
        estimated=total(d.actual for d in anomaly.days if d.day not in billed),
        drivers=tuple(_driver(root) for root in tracked.causes),
        daily=daily,
    )
    subject = Subject(
        counts=f"{series.dimension}: {series.value or '(no value)'}",
        metric="net_billed_cost",
        owners=((series.dimension, series.value),),
        route=route,
        is_anomaly=True,
        note=tracked.state.value,
    )
    above = () if change in _OVER else tuple(crossed)
    return Observation(alert_key(tracked.name), subject, figures, above, is_explained=True)


def _driver(root: RootCause) -> Driver:
    return Driver(cause_text(root), root.contribution)


def cause_text(root: RootCause) -> str:
    """A cause in words: who called which model for what, where; whether that is new, or dearer."""
    notes = [note for note, is_so in (("new", root.is_new), ("price", root.is_price)) if is_so]
    return _words(root.cause) + (f" ({', '.join(notes)})" if notes else "")


def _words(cause: Cause) -> str:
    parts = (cause.iam_principal or "(no caller)", cause.model, cause.token_kind, cause.region)
    return ", ".join(part for part in parts if part)
