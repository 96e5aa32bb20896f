"""Announcements on EventBridge: ledger days changed, an anomaly was detected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from attribution.canonical import number_text
from attribution.periods import BillingPeriod

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

    from attribution.anomaly_tracking import Change, TrackedAnomaly

SOURCE = "bedrock-cost-attribution"
LEDGER_DAYS_CHANGED = "LedgerDaysChanged"
ANOMALY_DETECTED = "AnomalyDetected"


class EventBridgeAnnouncements:
    """`Announcements` and `AnomalyNews` on the default event bus. Events carry identifiers and summaries, never rows."""

    def __init__(self, client: EventBridgeClient) -> None:
        self._client = client

    def days_changed(self, period: BillingPeriod, days: Sequence[date]) -> None:
        """Say which days of a billing period readers now see in another version."""
        detail = {"billing_period": str(period), "usage_dates": [day.isoformat() for day in days]}
        self._put(LEDGER_DAYS_CHANGED, detail, f"of {period}")

    def tell(self, change: Change, anomaly: TrackedAnomaly) -> None:
        """Say that an anomaly was found, or what became of it."""
        self._put(ANOMALY_DETECTED, anomaly_detail(change, anomaly), f"of {anomaly.name}")

    def _put(self, detail_type: str, detail: Mapping[str, Any], of: str) -> None:
        entry = {"Source": SOURCE, "DetailType": detail_type, "Detail": json.dumps(detail)}
        answer = self._client.put_events(Entries=[entry])  # type: ignore[list-item]
        if answer["FailedEntryCount"]:
            raise ConnectionError(f"EventBridge did not take {detail_type} {of}: try again")


def anomaly_detail(change: Change, tracked: TrackedAnomaly) -> dict[str, Any]:
    """An anomaly as the event has it; amounts are text, so that no reader turns them into floats."""
    anomaly = tracked.anomaly
    percent = anomaly.impact_percent
    return {
        "change": change.value,
        "name": tracked.name,
        "state": tracked.state.value,
        "monitor": anomaly.monitor,
        "dimension": anomaly.series.dimension,
        "value": anomaly.series.value,
        "currency": anomaly.series.currency,
        "first_day": anomaly.first_day.isoformat(),
        "last_day": anomaly.last_day.isoformat(),
        "total_actual": number_text(anomaly.total_actual),
        "total_expected": number_text(anomaly.total_expected),
        "total_impact": number_text(anomaly.total_impact),
        "max_impact": number_text(anomaly.max_impact),
        "impact_percent": None if percent is None else number_text(percent),
        "root_causes": [
            {
                "iam_principal": root.cause.iam_principal,
                "model": root.cause.model,
                "token_kind": root.cause.token_kind,
                "region": root.cause.region,
                "contribution": number_text(root.contribution),
                "price_effect": number_text(root.price_effect),
                "is_new": root.is_new,
            }
            for root in tracked.causes
        ],
    }
