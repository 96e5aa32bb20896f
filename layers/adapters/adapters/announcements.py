"""Announcements on EventBridge: ledger days changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from attribution.periods import BillingPeriod

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "bedrock-cost-attribution"
LEDGER_DAYS_CHANGED = "LedgerDaysChanged"


class EventBridgeAnnouncements:
    """`Announcements` on the default event bus. Events carry identifiers, never rows."""

    def __init__(self, client: EventBridgeClient) -> None:
        self._client = client

    def days_changed(self, period: BillingPeriod, days: Sequence[date]) -> None:
        """Say which days of a billing period readers now see in another version."""
        detail = {"billing_period": str(period), "usage_dates": [day.isoformat() for day in days]}
        answer = self._client.put_events(
            Entries=[{"Source": SOURCE, "DetailType": LEDGER_DAYS_CHANGED, "Detail": json.dumps(detail)}]
        )
        if answer["FailedEntryCount"]:
            raise ConnectionError(f"EventBridge did not take {LEDGER_DAYS_CHANGED} of {period}: try again")
