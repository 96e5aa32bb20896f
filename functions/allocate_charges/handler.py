"""Allocate one usage day: the only writer of ledger days.

Trigger  an SQS FIFO message that names a day; its group is the day.
Effect   a version of the day, the pointer to it, an adjustment where that changes a closed month, `LedgerDaysChanged`, and
         requests for directory entries that the day would need.
Retry    safe: a version is named by what it was made from, and a pointer moves only from where it was read.
"""

from __future__ import annotations

import gc
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import AllocateDay, read
from adapters.messages import process_messages
from adapters.observability import count, gauge, logger, metrics
from adapters.settings import AllocateCharges, load
from attribution.charges import Basis
from attribution.coverage import capture_rate, unallocated_by_gap
from attribution.flows.allocate_charges import AllocatedDay, allocate_charges, recent_capture_rate

settings = load(AllocateCharges)
origin_charges = wiring.origin_charges(settings)
deliveries = wiring.deliveries(settings)
days = wiring.ledger_days(settings)
counters = wiring.usage_counters(settings)
policy = wiring.policy(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
directory_tasks = wiring.directory_tasks(settings)
announcements = wiring.announcements()
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def allocate(body: str, name: str) -> None:
    request = read(AllocateDay, body, name)
    # A large day is millions of objects without a cycle: looking for cycles among them takes a third of the time.
    gc.disable()
    try:
        outcome = allocate_charges(
            request.usage_date,
            origin_charges=origin_charges,
            deliveries=deliveries,
            days=days,
            counters=counters,
            policy=policy,
            prices=prices,
            directory=directory,
            directory_requests=directory_tasks,
            announcements=announcements,
            now=wiring.clock(),
            by_policy=request.by_policy,
        )
    finally:
        gc.enable()
    count("DaysChanged", len(outcome.flipped))
    logger.info(
        "day allocated",
        usage_date=request.usage_date.isoformat(),
        because=request.because,
        version=outcome.version,
        basis=outcome.basis,
        days_changed=len(outcome.flipped),
        is_kept=outcome.is_kept,
    )
    if outcome.basis is not Basis.ESTIMATED:
        measure_coverage(outcome)
    if outcome.adjustment is not None:
        count("ClosedMonthAdjusted")
        logger.info(
            "closed month adjusted",
            billing_period=str(outcome.adjustment.period),
            execution_id=outcome.adjustment.execution_id,
            causes=list(outcome.adjustment.causes),
            usage_dates=[day.isoformat() for day in outcome.adjustment.days],
            billed_cost={currency: str(c.difference.billed_cost) for currency, c in outcome.adjustment.totals.items()},
        )


def measure_coverage(outcome: AllocatedDay) -> None:
    """How much of a billed day has an owner in the policy's first cost category, and why the rest has none."""
    category = outcome.first_category
    for currency, coverage in outcome.coverage.items():
        rate = capture_rate(coverage, category)
        if rate is not None:
            gauge("CaptureRate", 100 * rate, is_percent=True, Currency=currency)
        for gap, amount in unallocated_by_gap(coverage, category).items():
            gauge("UnallocatedCost", amount, Gap=gap.value, Currency=currency)
    if outcome.flipped:
        recent = recent_capture_rate(days=days, policy=policy, today=wiring.clock().date())
        if recent is not None:
            gauge("RecentCaptureRate", 100 * recent, is_percent=True)


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, allocate, quarantine, redelivery, fifo=True)
