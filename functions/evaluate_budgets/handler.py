"""Hold budgets against the ledger: what was spent in their periods, and what is going to be.

Trigger  `LedgerDaysChanged`, and every quarter of an hour, when periods begin somewhere, by way of EventBridge and SQS.
Effect   alerts raised, corrected or left as they are.
Retry    safe: an alert is replaced only from the state that was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import LedgerDaysChangedEvent, read_each
from adapters.messages import process_together
from adapters.observability import count, logger, metrics
from adapters.settings import EvaluateBudgets, load
from attribution.flows.evaluate_budgets import evaluate_budgets

settings = load(EvaluateBudgets)
days = wiring.ledger_days(settings)
sums = wiring.budget_sums(settings)
policy = wiring.policy(settings)
alerts = wiring.outbox(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def evaluate(messages: Sequence[tuple[str, str]]) -> Mapping[str, Exception]:
    """All budgets once for all messages; each message alone where that fails, so that one holds no other back."""
    found, failed = read_each(LedgerDaysChangedEvent, messages)
    changed = {name: event.detail.usage_dates if event.detail else () for name, event in found.items()}
    try:
        if changed:
            _evaluate(sorted({day for days_of_one in changed.values() for day in days_of_one}))
    except Exception as error:
        return failed | (_evaluate_alone(changed) if len(changed) > 1 else dict.fromkeys(changed, error))
    return failed


def _evaluate_alone(changed: Mapping[str, Sequence[date]]) -> dict[str, Exception]:
    failed: dict[str, Exception] = {}
    for name, days_of_one in changed.items():
        try:
            _evaluate(days_of_one)
        except Exception as error:  # Of this message's days; the others' alerts are not to wait for them.
            failed[name] = error
    return failed


def _evaluate(changed: Sequence[date]) -> None:
    outcome = evaluate_budgets(changed, days=days, sums=sums, policy=policy, alerts=alerts, clock=wiring.clock)
    count("AlertsChanged", len(outcome.changed))
    count("BudgetsNotEvaluated", len(outcome.judged.not_evaluated))
    count("BudgetsWithoutLimit", len(outcome.judged.without_limit))
    logger.info(
        "budgets evaluated",
        budgets=outcome.budgets,
        evaluations=len(outcome.evaluations),
        thresholds_crossed=outcome.crossed,
        alerts_changed=len(outcome.changed),
        days_summed=outcome.judged.days_summed,
        not_evaluated=outcome.judged.not_evaluated,
        without_limit=outcome.judged.without_limit,
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return dict(process_together(event, evaluate, quarantine, redelivery))
