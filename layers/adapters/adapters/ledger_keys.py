"""The partition keys of the ledger that more than one adapter needs."""

from __future__ import annotations

from datetime import date, datetime

from attribution.adjustments import Adjustment
from attribution.deliveries import DeliveryRecord
from attribution.periods import BillingPeriod

ADJUSTMENTS = "ADJUSTMENT#"


def day_pk(usage_date: date) -> str:
    """The partition of a day's versions; those of its parts begin with it."""
    return f"DAY#{usage_date.isoformat()}"


def version_sk(version: str) -> str:
    """The sort key of one version of a day."""
    return f"VERSION#{version}"


def period_pk(period: BillingPeriod) -> str:
    """The partition of a billing period's pointers."""
    return f"PERIOD#{period}"


def adjustment_sk(adjustment: Adjustment, changed_at: datetime) -> str:
    """The sort key of an adjustment: in the order of deliveries, and of one bill in the order of its allocations.

    A delivery changes a day once, so its first day names it; one bill may be allocated any number of times.
    """
    again = f"#{changed_at.isoformat()}#{adjustment.version}" if adjustment.version else ""
    return f"{ADJUSTMENTS}{adjustment.sequence}#{min(adjustment.days).isoformat()}{again}"


def delivery_pk(period: BillingPeriod) -> str:
    """The partition of a billing period's deliveries, of every export: a day needs all that may bill it."""
    return f"DELIVERY#{period}"


def delivery_sk(record: DeliveryRecord) -> str:
    """The sort key of one delivery: an execution whose manifest is written anew is another one, and so is another reading."""
    again = f"#{record.reading}" if record.reading else ""
    return f"{record.export}#{record.execution_id}#{record.manifest_etag}{again}"
