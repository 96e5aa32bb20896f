"""Bring prices, the models behind ARNs, tags and names, and what the bill says of list prices up to date; look at logging.

Trigger  a daily schedule, by way of EventBridge and SQS; single tasks from other functions and from `bedrock-costs`.
Effect   prices, directory entries and calibrations in the ledger; messages that have requests priced and days allocated again.
Retry    safe: what is read again unchanged is not written, and requests are priced once whoever asks.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import DirectoryTask, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import SyncDirectory, load
from attribution.directory import kind_of
from attribution.errors import PriceListUnavailable
from attribution.flows import sync_directory as flow

settings = load(SyncDirectory)
offers = wiring.price_offers(settings)
prices = wiring.prices(settings)
models = wiring.bedrock_models()
directory = wiring.directory(settings)
attributes = wiring.aws_attributes(settings)
directory_tasks = wiring.directory_tasks(settings)
days = wiring.ledger_days(settings)
counters = wiring.usage_counters(settings)
origin_charges = wiring.origin_charges(settings)
reprice_queue = wiring.reprice_queue(settings)
allocation_queue = wiring.allocation_queue(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def do_task(body: str, name: str) -> None:
    task = read(DirectoryTask, body, name)
    if task.task == "prices":
        sync_prices()
    elif task.task == "models":
        sync = directory_sync()
        named = flow.opaque_models(days=days, counters=counters, since=sync.since, now=sync.moment)
        log_entries(sync.profiles(named))
        request_pricing()
    elif task.task == "entries":
        sync_entries(task)
    elif task.task == "pricing":
        request_pricing()
    elif task.task == "logging":
        look_at_logging()
    else:
        calibrate()


def sync_prices() -> None:
    outcome = flow.sync_prices(offers=offers, store=prices, quarantine=quarantine, now=wiring.clock())
    count("PricesStored", outcome.stored)
    count("InputRejected", outcome.rejected)
    if outcome.age is not None:
        count("PriceListAgeHours", outcome.age.total_seconds() // 3600)
    if outcome.contradicting:
        logger.warning("prices contradict each other", prices=[f"{p.meter} {p.region}: {p}" for p in outcome.contradicting])
    logger.info("prices read", stored=outcome.stored, unavailable=len(outcome.unavailable), rejected=outcome.rejected)
    request_pricing()
    if outcome.unavailable:
        raise PriceListUnavailable("; ".join(outcome.unavailable))


def directory_sync() -> flow.DirectorySync:
    return flow.DirectorySync(
        models=models,
        directory=directory,
        attributes=attributes,
        histories=directory,
        days=days,
        queue=allocation_queue,
        account_id=settings.account_id,
        since=wiring.oldest_recordable(settings).date(),
        moment=wiring.clock(),
    )


def sync_entries(task: DirectoryTask) -> None:
    if not task.ids:
        parts = flow.request_all_entries(histories=directory, requests=directory_tasks)
        logger.info("entries are to be read", parts=parts)
        return
    log_entries(directory_sync().entries(task.ids, changed_at=task.changed_at, event=task.event))
    if any(kind_of(id) for id in task.ids):
        # Only what leads to a model can give anything a price.
        request_pricing()


def log_entries(outcome: flow.SyncedEntries) -> None:
    count("DirectoryEntriesChanged", outcome.changed)
    count("DirectoryEntriesUnreadable", len(outcome.unreadable))
    logger.info(
        "directory read",
        seen=outcome.seen,
        changed=outcome.changed,
        gone=outcome.gone,
        unexplained=list(outcome.unexplained),
        unreadable=dict(outcome.unreadable),
        days=[day.isoformat() for day in outcome.days],
    )


def request_pricing() -> None:
    since = wiring.oldest_recordable(settings).date()
    asked = flow.request_pricing(
        days=days,
        counters=counters,
        prices=prices,
        directory=directory,
        queue=reprice_queue,
        since=since,
        now=wiring.clock(),
    )
    if asked:
        logger.info("requests are to be priced", days_and_models=[f"{u.usage_date} {u.model}" for u in asked])


def look_at_logging() -> None:
    seen = flow.look_at_logging(
        days=days,
        counters=counters,
        origin_charges=origin_charges,
        models=models,
        account_id=settings.account_id,
        now=wiring.clock(),
    )
    count("RegionsWithoutLogging", len(seen.off))
    logger.info("invocation logging looked at", on=seen.on, off=seen.off, unreadable=dict(seen.unreadable))


def calibrate() -> None:
    outcome = flow.calibrate_estimates(
        days=days,
        origin_charges=origin_charges,
        prices=prices,
        store=prices,
        queue=allocation_queue,
        now=wiring.clock(),
    )
    logger.info(
        "estimates calibrated",
        billed_days=outcome.billed_days,
        used=outcome.used,
        not_used=outcome.not_used,
        days_to_estimate=len(outcome.days_to_estimate),
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, do_task, quarantine, redelivery)
