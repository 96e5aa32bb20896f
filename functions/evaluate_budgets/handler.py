"""Hold budgets against the ledger: what was spent in their periods, and what is going to be.

Trigger  `LedgerDaysChanged`, and every quarter of an hour, when periods begin somewhere, by way of EventBridge and SQS.
Effect   alerts raised, corrected or left as they are.
Retry    safe: an alert is replaced only from the state that was read.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import LedgerDaysChangedEvent, read
from adapters.messages import process_messages
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


def evaluate(body: str, name: str) -> None:
    detail = read(LedgerDaysChangedEvent, body, name).detail
    changed = detail.usage_dates if detail else ()
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
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, evaluate, quarantine, redelivery)
