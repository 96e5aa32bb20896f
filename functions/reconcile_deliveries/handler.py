"""Announce the deliveries that lie in the bucket and that no event announced.

Trigger  a schedule, by way of EventBridge and SQS.
Effect   S3's event about each such manifest on the queue of deliveries, and a note that it was announced.
Retry    safe: what is announced twice is known the second time.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import ScheduledEvent, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import ReconcileDeliveries, load
from attribution.flows.reconcile_deliveries import reconcile_deliveries

settings = load(ReconcileDeliveries)
listing = wiring.report_listing(settings)
deliveries = wiring.deliveries(settings)
announced = wiring.announced_manifests(settings)
queue = wiring.delivery_queue(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def reconcile(body: str, name: str) -> None:
    read(ScheduledEvent, body, name)
    outcome = reconcile_deliveries(listing=listing, deliveries=deliveries, announced=announced, queue=queue, clock=wiring.clock)
    count("DeliveriesReconciled", len(outcome.queued))
    count("DeliveryAgeHours", outcome.age.total_seconds() // 3600)
    if outcome.queued:
        logger.warning("no event announced deliveries", objects=[str(m.source) for m in outcome.queued])
    logger.info(
        "deliveries reconciled", seen=outcome.seen, known=outcome.known, waiting=outcome.waiting, queued=len(outcome.queued)
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, reconcile, quarantine, redelivery)
