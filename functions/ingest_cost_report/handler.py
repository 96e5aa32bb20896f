"""Ingest one delivery of the cost report.

Trigger  S3 "Object Created" on a manifest, by way of EventBridge and an SQS FIFO queue: one delivery at a time.
Effect   the origin charges of each usage day in the work bucket, the delivery's record, a request to allocate changed days.
Retry    safe: a delivery is known by its execution and its manifest, and its charges lie under the hash of their content.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import ObjectCreated, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import IngestCostReport, load
from adapters.sources.manifest import manifest_key_ignored
from attribution.errors import DeliveryRefused, InputRejected
from attribution.flows.ingest_cost_report import FannedOut, IngestTerms, ingest_cost_report

settings = load(IngestCostReport)
reports = wiring.cost_reports(settings)
fan_out = wiring.fan_out(settings)
deliveries = wiring.deliveries(settings)
days = wiring.ledger_days(settings)
queue = wiring.allocation_queue(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()
terms = IngestTerms(
    billing_lag=timedelta(hours=settings.billing_lag_hours),
    fan_out_above_bytes=settings.fan_out_above_megabytes * 1024 * 1024,
    prefix=settings.cost_report_prefix,
)


def ingest(body: str, name: str) -> None:
    source = read(ObjectCreated, body, name).source
    ignored = manifest_key_ignored(source.key)
    if ignored:
        logger.info("object ignored", object=str(source), reason=ignored)
        return
    try:
        outcome = ingest_cost_report(
            source,
            reports=reports,
            deliveries=deliveries,
            days=days,
            queue=queue,
            fan_out=fan_out,
            terms=terms,
            now=wiring.clock(),
            attempt=name,
        )
    except DeliveryRefused as refused:
        count("DeliveriesRefused")
        raise InputRejected(str(source), str(refused)) from refused
    if isinstance(outcome, FannedOut):
        logger.info("delivery fanned out", object=str(source), execution=outcome.execution)
        return
    record = outcome.record
    count("DeliveriesIngested", 0 if outcome.was_known else 1)
    count("UnclassifiedUsageTypes", len(record.report.unclassified))
    count("BedrockMentionsLeftOut", len(record.report.mentions))
    logger.info(
        "cost report ingested",
        execution_id=record.execution_id,
        billing_period=str(record.period),
        outcome=record.outcome,
        rows_read=record.report.rows_read,
        rows_in_scope=record.report.rows_in_scope,
        changed_days=len(outcome.changed_days),
        notes=record.report.notes,
        unclassified=sorted(record.report.unclassified),
        mentions=[f"{m.product_code} {m.usage_type} {m.line_item_type}" for m in record.report.mentions],
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, ingest, quarantine, redelivery, fifo=True)
