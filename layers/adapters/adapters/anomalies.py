"""Anomalies and what people say of them, in the ledger table.

ANOMALY#<yyyy-mm>   <first day>#<hash of the series>     an anomaly as it was seen last, with its causes and what was told
ANOMALY#feedback    <first day>#<hash of the series>     what somebody said of it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.dynamodb import Item, Table, integer, to_wire
from attribution.anomalies import AnomalousDay, Anomaly, Cause, RootCause, Series
from attribution.anomaly_tracking import Feedback, State, TrackedAnomaly, Verdict
from attribution.canonical import content_hash, number_text
from attribution.periods import BillingPeriod

_FEEDBACK = "ANOMALY#feedback"
# Days that were judged stay a part of every past that they may be in: 84 days of history and 31 that are watched.
_FEEDBACK_TTL = timedelta(days=120)


class DynamoAnomalies:
    """`Anomalies` in the ledger table; every anomaly is one item, replaced from the revision that was read."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def since(self, first_day: date) -> Sequence[TrackedAnomaly]:
        """The anomalies that began in the month of a day or later, oldest first."""
        found: list[TrackedAnomaly] = []
        period, last = BillingPeriod.of(first_day), BillingPeriod.of(self._clock().date())
        while period <= last:
            found += [_anomaly(item) for item in self._table.query(_pk(period))]
            period = BillingPeriod.of(period.last_day + timedelta(days=1))
        return found

    def put(self, anomaly: TrackedAnomaly, *, replacing: TrackedAnomaly | None) -> bool:
        """Write an anomaly in place of the one that was read; False where another attempt was first."""
        revision = replacing.revision if replacing else 0
        item: Item = {
            **_key(anomaly.series, anomaly.found_day),
            **_item(anomaly),
            "revision": revision + 1,
            "expires_at": self._expiry(self._retention),
        }
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": to_wire(item),
            "ConditionExpression": "revision = :revision" if replacing else "attribute_not_exists(pk)",
        }
        if replacing:
            request["ExpressionAttributeValues"] = to_wire({":revision": revision})
        try:
            self._table.client.put_item(**request)
        except self._table.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def feedback(self) -> Sequence[Feedback]:
        """All that people said, in the order of the anomalies."""
        return [_said(item) for item in self._table.query(_FEEDBACK)]

    def judge(self, feedback: Feedback) -> None:
        """Keep what somebody says of an anomaly in place of what was said of it before."""
        keep_until = datetime.combine(feedback.last_day, datetime.min.time(), feedback.at.tzinfo) + _FEEDBACK_TTL
        item = _key(feedback.series, feedback.first_day) | {
            "pk": _FEEDBACK,
            **_series_item(feedback.series),
            "first_day": feedback.first_day.isoformat(),
            "last_day": feedback.last_day.isoformat(),
            "verdict": feedback.verdict.value,
            "by": feedback.by,
            "at": feedback.at.isoformat(),
            "expires_at": Decimal(int(max(keep_until, feedback.at + _FEEDBACK_TTL).timestamp())),
        }
        self._table.batch_put([item])

    def _expiry(self, lifetime: timedelta) -> Decimal:
        return Decimal(int((self._clock() + lifetime).timestamp()))


def _pk(period: BillingPeriod) -> str:
    return f"ANOMALY#{period}"


def _key(series: Series, first_day: date) -> dict[str, str]:
    # A hash, because a value may be longer than a sort key.
    name = content_hash([series.dimension, series.value, series.currency])[:16]
    return {"pk": _pk(BillingPeriod.of(first_day)), "sk": f"{first_day.isoformat()}#{name}"}


def _series_item(series: Series) -> Item:
    return {"dimension": series.dimension, "value": series.value, "currency": series.currency}


def _series(item: Item) -> Series:
    return Series(item["dimension"], item["value"], item["currency"])


def _item(tracked: TrackedAnomaly) -> Item:
    anomaly = tracked.anomaly
    return {
        **_series_item(anomaly.series),
        "name": tracked.name,
        "monitor": anomaly.monitor,
        "days": [[d.day.isoformat(), *map(number_text, (d.actual, d.expected, d.upper))] for d in anomaly.days],
        "is_open": anomaly.is_open,
        "is_new_normal": anomaly.is_new_normal,
        "state": tracked.state.value,
        "found_at": tracked.found_at.isoformat(),
        "changed_at": tracked.changed_at.isoformat(),
        "causes": [_cause_item(cause) for cause in tracked.causes],
        "ranked_impact": _text(tracked.ranked_impact),
        "ranked_days": tracked.ranked_days,
        "part_of": tracked.part_of,
        "told_impact": _text(tracked.told_impact),
        "grown": tracked.grown,
        "told_state": tracked.told_state.value if tracked.told_state else "",
    }


def _cause_item(root: RootCause) -> Item:
    cause = root.cause
    return {
        "iam_principal": cause.iam_principal,
        "model": cause.model,
        "token_kind": cause.token_kind,
        "region": cause.region,
        "contribution": number_text(root.contribution),
        "price_effect": number_text(root.price_effect),
        "is_new": root.is_new,
    }


def _text(amount: Decimal | None) -> str:
    return "" if amount is None else number_text(amount)


def _amount(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _anomaly(item: Item) -> TrackedAnomaly:
    days = tuple(AnomalousDay(date.fromisoformat(day), *map(Decimal, amounts)) for day, *amounts in item["days"])
    return TrackedAnomaly(
        name=item["name"],
        anomaly=Anomaly(item["monitor"], _series(item), days, item["is_open"], item["is_new_normal"]),
        state=State(item["state"]),
        found_at=datetime.fromisoformat(item["found_at"]),
        changed_at=datetime.fromisoformat(item["changed_at"]),
        causes=tuple(_cause(cause) for cause in item["causes"]),
        ranked_impact=_amount(item["ranked_impact"]),
        ranked_days=integer(item["ranked_days"]),
        part_of=item["part_of"],
        told_impact=_amount(item["told_impact"]),
        told_state=State(item["told_state"]) if item["told_state"] else None,
        grown=integer(item["grown"]),
        revision=integer(item["revision"]),
    )


def _cause(item: Item) -> RootCause:
    cause = Cause(item["iam_principal"], item["model"], item["token_kind"], item["region"])
    return RootCause(cause, Decimal(item["contribution"]), Decimal(item["price_effect"]), item["is_new"])


def _said(item: Item) -> Feedback:
    return Feedback(
        series=_series(item),
        first_day=date.fromisoformat(item["first_day"]),
        last_day=date.fromisoformat(item["last_day"]),
        verdict=Verdict(item["verdict"]),
        by=item["by"],
        at=datetime.fromisoformat(item["at"]),
    )
