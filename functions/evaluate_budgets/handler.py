"""Compare budgets with what a billing period has spent.

Trigger  `LedgerDaysChanged`, and a schedule, by way of EventBridge and SQS.
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
from attribution.periods import BillingPeriod

settings = load(EvaluateBudgets)
days = wiring.ledger_days(settings)
policy = wiring.policy(settings)
alerts = wiring.outbox(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def evaluate(body: str, name: str) -> None:
    detail = read(LedgerDaysChangedEvent, body, name).detail
    period = BillingPeriod.parse(detail.billing_period) if detail else BillingPeriod.of(wiring.clock().date())
    outcome = evaluate_budgets(period, days=days, policy=policy, alerts=alerts, clock=wiring.clock)
    count("AlertsChanged", len(outcome.changed))
    count("BudgetsNotEvaluated", len(outcome.not_evaluated))
    logger.info(
        "budgets evaluated",
        billing_period=str(period),
        budgets=outcome.budgets,
        thresholds_crossed=outcome.crossed,
        alerts_changed=len(outcome.changed),
        not_evaluated=outcome.not_evaluated,
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, evaluate, quarantine, redelivery)
