"""Where every budget stands in a period, and where it is going."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attribution.budgets import Budget, Evaluation, ancestors, crossings
from attribution.forecasts import Forecast
from attribution.reporting.answers import Answer
from attribution.scopes import describe
from attribution.wording import percent_of

HEADER = (
    "budget",
    "period",
    "time_zone",
    "unit",
    "limit",
    "actual",
    "billed",
    "estimated",
    "percent",
    "pace_percent",
    "forecast_p10",
    "forecast_p50",
    "forecast_p90",
    "probability_percent",
    "breach_on",
    "state",
    "alarms",
    "days_without_data",
)

OK, ALARM, NO_NOTIFICATIONS = "OK", "ALARM", "NO_NOTIFICATIONS"
"""The states of a budget: whether a notification is in alarm; one that has none tells nothing, whatever is spent."""


def _document(evaluation: Evaluation, parents: Mapping[str, str]) -> dict[str, Any]:
    budget, spend = evaluation.budget, evaluation.spend
    outlook = evaluation.forecast
    known = outlook if isinstance(outlook, Forecast) else None
    alarms = [f"{c.notification.type} {c.notification.threshold_key}" for c in crossings(evaluation) if c.is_crossed]
    return {
        "budget": budget.name,
        "part_of": list(ancestors(budget.name, parents)),
        "counts": describe(budget.scope.filter),
        "metric": budget.scope.measure.metric,
        "period": str(evaluation.period),
        "time_zone": budget.zone_name,
        "unit": budget.unit,
        "limit": evaluation.limit,
        "actual": spend.actual,
        "billed": spend.billed,
        "estimated": spend.estimated,
        "percent": percent_of(spend.actual, evaluation.limit),
        "pace_percent": evaluation.pace_percent,
        "forecast_p10": known.p10 if known else None,
        "forecast_p50": known.p50 if known else None,
        "forecast_p90": known.p90 if known else None,
        "probability_percent": known.probability_percent if known else None,
        "breach_on": known.breach_on if known else None,
        "no_forecast": "" if isinstance(outlook, Forecast) else outlook.reason,
        "state": (ALARM if alarms else OK) if budget.notifications else NO_NOTIFICATIONS,
        "alarms": " ".join(alarms),
        "complete_days": evaluation.days_over,
        "days_without_data": evaluation.days_without_data,
    }


def answer_of(
    defined: Sequence[Budget], evaluations: Sequence[Evaluation], not_evaluated: Sequence[str], without_limit: Sequence[str]
) -> Answer:
    """Evaluations for programs, of some of all `defined` budgets. CSV has a row for each."""
    parents = {b.name: b.parent for b in defined if b.parent}
    documents = [_document(evaluation, parents) for evaluation in evaluations]
    rows = [tuple(document[name] for name in HEADER) for document in documents]
    document = {"budgets": documents, "not_evaluated": list(not_evaluated), "without_limit": list(without_limit)}
    return Answer(document, HEADER, rows, lists=(("budgets",),))
