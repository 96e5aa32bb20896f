"""Allocate one usage day: the only writer of ledger days.

Trigger  an SQS FIFO message that names a day; its group is the day.
Effect   a version of the day, the pointer to it, an adjustment where that changes a closed month, and `LedgerDaysChanged`.
Retry    safe: a version is named by what it was made from, and a pointer moves only from where it was read.
"""

from __future__ import annotations

import gc
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import AllocateDay, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import AllocateCharges, load
from attribution.flows.allocate_charges import allocate_charges

settings = load(AllocateCharges)
origin_charges = wiring.origin_charges(settings)
deliveries = wiring.deliveries(settings)
days = wiring.ledger_days(settings)
counters = wiring.usage_counters(settings)
policy = wiring.policy(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
announcements = wiring.announcements()
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def allocate(body: str, name: str) -> None:
    request = read(AllocateDay, body, name)
    # A large day is millions of objects without a cycle: looking for cycles among them takes a third of the time.
    gc.disable()
    outcome = allocate_charges(
        request.usage_date,
        origin_charges=origin_charges,
        deliveries=deliveries,
        days=days,
        counters=counters,
        policy=policy,
        prices=prices,
        profile_tags=directory,
        announcements=announcements,
    )
    count("DaysChanged", len(outcome.flipped))
    logger.info(
        "day allocated",
        usage_date=request.usage_date.isoformat(),
        because=request.because,
        version=outcome.version,
        basis=outcome.basis,
        days_changed=len(outcome.flipped),
    )
    if outcome.adjustment is not None:
        count("ClosedMonthAdjusted")
        logger.info(
            "closed month adjusted",
            billing_period=str(outcome.adjustment.period),
            execution_id=outcome.adjustment.execution_id,
            usage_dates=[day.isoformat() for day in outcome.adjustment.days],
            billed_cost={currency: str(c.difference.billed_cost) for currency, c in outcome.adjustment.totals.items()},
        )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, allocate, quarantine, redelivery, fifo=True)
