"""`status`: whether the numbers can be relied on: freshness, how much has an owner, and what waits for an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import typer

from attribution.charges import Basis
from attribution.days import UNALLOCATED, DayPointer
from attribution.deliveries import DeliveryRecord
from attribution.errors import NotInLedger
from attribution.flows.serve_reports import day_sums, newest_period, read_pointers
from attribution.formats import counted, instant, money, percent, percent_text
from attribution.money import ZERO, add, subtract
from attribution.periods import BillingPeriod, Span
from attribution.reporting.spans import Freshness
from bedrock_costs.application import options_of
from bedrock_costs.commands.deliveries import written_at
from bedrock_costs.commands.quarantine import notice_times
from bedrock_costs.failures import is_denied
from bedrock_costs.screen import Column, Grid, Result, Screen, fields_grid
from bedrock_costs.spans import parse_period
from bedrock_costs.stack import Stack, now

HEADER = ("name", "value")
T = TypeVar("T")


def status(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
) -> None:
    """Show how fresh and complete the numbers are.

    The newest delivery, the days by basis, how much cost has an owner, the quarantine and the dead-letter queues.
    The capture rate of a cost category is allocated cost in percent of billed cost, over the days that AWS has billed.

    Example: bedrock-costs status
    """
    options = options_of(ctx)
    today = now().date()
    period = period or BillingPeriod.of(today)
    document = read_status(options.stack, period, today)
    options.screen.emit(Result(document, HEADER, _flat(document), lambda screen: _render(document, screen)))


def read_status(stack: Stack, period: BillingPeriod, today: date) -> dict[str, Any]:
    """Everything that `status` shows; None for what these credentials may not see. Days to come are not counted."""
    span = Span(period.first_day, min(period.last_day, max(today, period.first_day)))
    try:
        pointers = read_pointers(stack.days(), span)
    except NotInLedger:
        pointers = []
    newest = _newest(stack, period)
    other = None if pointers else newest_period(stack.days(), BillingPeriod.of(today))
    return {
        "billing_period": str(period),
        "newest_delivery": _delivery(newest) if newest else None,
        **(
            Freshness.of(span, pointers).document()
            if pointers
            else {"as_of": None, "days": {basis.value: 0 for basis in reversed(Basis)} | {"without_data": span.day_count}}
        ),
        "newest_period_with_data": str(period) if pointers else str(other) if other else None,
        "adjusted_days": sorted({day for made in stack.days().adjustments(period) for day in made.days}),
        "capture": _capture(stack, pointers),
        "price_list": _if_allowed(lambda: _price_list(stack)),
        "quarantined": _if_allowed(lambda: len(notice_times(stack))),
        "dead_letters": _if_allowed(lambda: _dead_letters(stack)),
    }


def _price_list(stack: Stack) -> dict[str, Any]:
    """When the offers of the price list were last read: the one that was read least lately tells how fresh prices are."""
    from adapters.sources.price_list import OFFERS

    readings = {reading.code: reading for reading in stack.prices().readings()}
    missing = [code for code in OFFERS if code not in readings]
    oldest = None if missing else min(readings[code].read_at for code in OFFERS)
    return {
        "read_at": oldest,
        "published_on": {code: reading.published_on for code, reading in sorted(readings.items())},
        "never_read": missing,
    }


def _if_allowed(read: Callable[[], T]) -> T | None:
    from botocore.exceptions import ClientError

    try:
        return read()
    except ClientError as error:
        if is_denied(error):
            return None
        raise


def _newest(stack: Stack, period: BillingPeriod) -> DeliveryRecord | None:
    """The newest delivery of the period or, early in a month, of the one before."""
    before = BillingPeriod.of(period.first_day - timedelta(days=1))
    records = [record for p in (before, period) for record in stack.deliveries().of_period(p)]
    return max(records, key=lambda record: record.sequence, default=None)


def _delivery(record: DeliveryRecord) -> dict[str, Any]:
    return {
        "execution_id": record.execution_id,
        "billing_period": str(record.period),
        "written_at": written_at(record),
        "outcome": record.outcome.value,
    }


def _capture(stack: Stack, pointers: list[DayPointer]) -> list[dict[str, Any]]:
    billed = [p for p in pointers if p.basis is not Basis.ESTIMATED]
    found: list[dict[str, Any]] = []
    for category in stack.policy().document().category_names() if billed else ():
        whole: dict[str, Decimal] = {}
        without_owner: dict[str, Decimal] = {}
        for _, sums in day_sums(stack.days(), billed, category):
            for (value, currency), day_sum in sums.items():
                cost = day_sum.costs.billed_cost
                whole[currency] = add(whole.get(currency, ZERO), cost)
                if value == UNALLOCATED:
                    without_owner[currency] = add(without_owner.get(currency, ZERO), cost)
        for currency, cost in sorted(whole.items()):
            allocated = subtract(cost, without_owner.get(currency, ZERO))
            found.append(
                {
                    "cost_category": category,
                    "currency": currency,
                    "allocated": allocated,
                    "billed": cost,
                    "capture_percent": percent(allocated, cost),
                }
            )
    return found


def _dead_letters(stack: Stack) -> dict[str, int]:
    client = stack.client("sqs")
    depths = {}
    for name, url in sorted(stack.dead_letter_queues().items()):
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        depths[name] = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    return depths


def _flat(document: dict[str, Any]) -> list[tuple[str, object]]:
    newest = document["newest_delivery"] or {}
    rows: list[tuple[str, object]] = [
        ("billing_period", document["billing_period"]),
        ("as_of", document["as_of"]),
        ("newest_period_with_data", document["newest_period_with_data"]),
        ("newest_delivery", newest.get("execution_id")),
        ("newest_delivery_outcome", newest.get("outcome")),
        ("newest_delivery_written_at", newest.get("written_at")),
    ]
    rows += [(f"days_{basis}", count) for basis, count in document["days"].items()]
    rows += [("adjusted_days", len(document["adjusted_days"]))]
    rows += [(f"capture_percent {c['cost_category']} {c['currency']}", c["capture_percent"]) for c in document["capture"]]
    rows += [("price_list_read_at", (document["price_list"] or {}).get("read_at"))]
    rows += [("quarantined", document["quarantined"])]
    rows += [(f"dead_letters {name}", depth) for name, depth in (document["dead_letters"] or {}).items()]
    return rows


def _price_list_text(found: dict[str, Any] | None, no_permission: str) -> str:
    if found is None:
        return no_permission
    if found["never_read"]:
        return f"{', '.join(found['never_read'])} not read yet; `bedrock-costs prices sync` reads it"
    return f"read {instant(found['read_at'])}, published {max(found['published_on'].values())}"


def _adjusted(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What changed since the month was closed, where anything did."""
    if document["adjusted_days"]:
        changed, period = counted(len(document["adjusted_days"]), "day"), document["billing_period"]
        yield "since it was closed", f"{changed} adjusted; `bedrock-costs adjustments --period {period}` shows by what"


def _render(document: dict[str, Any], screen: Screen) -> None:
    from datetime import datetime

    newest, depths = document["newest_delivery"], document["dead_letters"]
    counts = ", ".join(f"{count} {basis.replace('_', ' ')}" for basis, count in document["days"].items() if count)
    delivery = "none yet"
    if newest:
        written = instant(datetime.fromisoformat(newest["written_at"]))
        delivery = f"{newest['outcome']}, {newest['billing_period']}, written {written}, execution {newest['execution_id']}"
    no_permission = "not readable with these credentials"
    quarantined = document["quarantined"]
    waiting = no_permission if depths is None else ", ".join(f"{n} in {name}" for name, n in depths.items() if n) or "empty"
    other = document["newest_period_with_data"]
    no_day = f"no day yet; the newest period with data is {other}" if other else "no day yet"
    fields = [
        ("newest delivery", delivery),
        ("days", counts),
        ("as of", instant(document["as_of"]) if document["as_of"] else no_day),
        *_adjusted(document),
        ("price list", _price_list_text(document["price_list"], no_permission)),
        ("quarantine", no_permission if quarantined is None else f"{quarantined:,}"),
        ("dead letters", waiting),
    ]
    screen.grid(fields_grid(f"status of {document['billing_period']}", fields))
    if document["capture"]:
        rows = [
            (
                c["cost_category"],
                money(c["allocated"], c["currency"]),
                money(c["billed"], c["currency"]),
                percent_text(c["capture_percent"]),
            )
            for c in document["capture"]
        ]
        columns = [Column("cost category"), *(Column(name, is_number=True) for name in ("allocated", "billed", "captured"))]
        screen.grid(Grid("capture rate on billed days", columns, rows))
