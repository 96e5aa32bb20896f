"""`adjustments`: what changed in a month after it was closed: its bill, and who owns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.adjustments import Adjustment, Change, Differences, together
from attribution.charges import Costs
from attribution.formats import cents_adding_up, counted, instant, money
from attribution.money import subtract
from attribution.periods import BillingPeriod
from attribution.reporting.costs import METRIC_HELP, Metric
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_period
from bedrock_costs.stack import now

HEADER = (
    "billing_period", "changed_at", "because", "export", "execution_id",
    "usage_date", "currency", "before", "after", "difference",
)  # fmt: skip
_MONTHS_LOOKED_BACK = 13
_PARTS_SHOWN = 5
_NO_POLICY = "one that is not kept"


def adjustments(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the last 13."),
    ] = None,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help=METRIC_HELP)] = Metric.BILLED,
) -> None:
    """Show what changed in months that were closed already.

    A month is closed when its invoice is issued, or two weeks after its end. Late credits, refunds and corrections change its
    bill even then, and `bedrock-costs replay days --closed` its owners. Each adjustment says what the month's bill was before
    and after it, by line item type, account and day, and what each owner of every cost category got or lost.

    Example: bedrock-costs adjustments --period 2026-10
    """
    options = options_of(ctx)
    periods = [period] if period else _last_periods(BillingPeriod.of(now().date()))
    days = options.stack.days()
    found = [adjustment for each in periods for adjustment in days.adjustments(each)]
    options.screen.emit(result_of(periods, found, metric.value))


def _last_periods(current: BillingPeriod) -> list[BillingPeriod]:
    """So many periods up to the current one, oldest first."""
    periods = [current]
    while len(periods) < _MONTHS_LOOKED_BACK:
        periods.append(BillingPeriod.of(periods[-1].first_day - timedelta(days=1)))
    return periods[::-1]


def _cost(costs: Costs, metric: str) -> Decimal:
    value: Decimal = getattr(costs, metric)
    return value


def _change(change: Change, metric: str) -> dict[str, Decimal]:
    before, after = _cost(change.before, metric), _cost(change.after, metric)
    return {"before": before, "after": after, "difference": subtract(after, before)}


def _parts(differences: Differences, metric: str) -> list[dict[str, Any]]:
    return [
        {"value": value, "currency": currency, "difference": _cost(costs, metric)}
        for (value, currency), costs in differences.items()
    ]


def _document(adjustment: Adjustment, metric: str) -> dict[str, Any]:
    return {
        "billing_period": str(adjustment.period),
        "changed_at": adjustment.changed_at,
        "because": [cause.value for cause in adjustment.causes],
        "policies": {"before": list(adjustment.policies_before), "after": list(adjustment.policies_after)},
        "export": adjustment.export,
        "execution_id": adjustment.execution_id,
        "totals": {currency: _change(change, metric) for currency, change in adjustment.totals.items()},
        "days": [
            {"usage_date": day, "currency": currency, **_change(change, metric)}
            for day, changes in adjustment.days.items()
            for currency, change in changes.items()
        ],
        "by_line_item_type": _parts(adjustment.by_line_item_type, metric),
        "by_account": _parts(adjustment.by_account, metric),
        "by_owner": {category: _parts(of, metric) for category, of in adjustment.by_owner.items()},
    }


def result_of(periods: Sequence[BillingPeriod], found: Sequence[Adjustment], metric: str) -> Result:
    """The adjustments in every form. CSV has a row for each day, whose differences add up to those of the month."""
    documents = [_document(adjustment, metric) for adjustment in found]
    rows = [
        tuple((document | day | {"because": ", ".join(document["because"])})[name] for name in HEADER)
        for document in documents
        for day in document["days"]
    ]  # fmt: skip
    document = {"periods": [str(period) for period in periods], "metric": metric, "adjustments": documents}
    read = [_document(adjustment, metric) for adjustment in together(found)]
    return Result(document, HEADER, rows, lambda screen: _render(periods, read, metric, screen))


def _render(periods: Sequence[BillingPeriod], documents: Sequence[Mapping[str, Any]], metric: str, screen: Screen) -> None:
    of = str(periods[0]) if len(periods) == 1 else f"{periods[0]} to {periods[-1]}"
    if not documents:
        screen.line(f"No closed month was adjusted: {of}.")
        return
    for currency in sorted({currency for document in documents for currency in document["totals"]}):
        concerned = [document for document in documents if currency in document["totals"]]
        screen.grid(_grid(f"{metric} of closed months, {of}, {currency}", concerned, currency))
        for document in concerned:
            _render_parts(document, currency, screen)


def _grid(title: str, documents: Sequence[Mapping[str, Any]], currency: str) -> Grid:
    columns = [
        Column("month", no_wrap=True),
        Column("changed", no_wrap=True, dispensable=2),
        Column("delivery"),
        Column("days", is_number=True, dispensable=1),
        *(Column(name, is_number=True) for name in ("before", "after", "difference")),
    ]
    rows = [
        (
            document["billing_period"],
            instant(document["changed_at"]),
            document["execution_id"],
            str(sum(day["currency"] == currency for day in document["days"])),
            *(money(document["totals"][currency][name], currency) for name in ("before", "after", "difference")),
        )
        for document in documents
    ]
    return Grid(title, columns, rows)


def _render_parts(document: Mapping[str, Any], currency: str, screen: Screen) -> None:
    because = " and ".join(document["because"])
    screen.line(f"{document['billing_period']}, {document['execution_id']}: other {because}", style="bold")
    before, after = (", ".join(document["policies"][when]) or _NO_POLICY for when in ("before", "after"))
    if before != after:
        screen.line(f"  policy: {before} before, {after} after")
    parts = [
        *((f"by {category}", "owner", [(p["value"], p) for p in of]) for category, of in document["by_owner"].items()),
        ("by line item type", "line item type", [(part["value"], part) for part in document["by_line_item_type"]]),
        ("by account", "account", [(part["value"], part) for part in document["by_account"]]),
        ("by day", "day", [(day["usage_date"].isoformat(), day) for day in document["days"]]),
    ]
    for title, noun, named in parts:
        amounts = {name: part["difference"] for name, part in named if part["currency"] == currency and part["difference"]}
        screen.line(f"  {title}: {', '.join(_shown(amounts, noun, currency))}")
    screen.line()


def _shown(amounts: Mapping[str, Decimal], noun: str, currency: str) -> Iterator[str]:
    """The largest differences as text; they are rounded so that all of them add up."""
    printed = dict(zip(amounts, cents_adding_up(list(amounts.values())), strict=True))
    by_size = sorted(amounts, key=lambda name: (-amounts[name].copy_abs(), name))
    for name in by_size[:_PARTS_SHOWN]:
        yield f"{name} {money(amounts[name], currency, printed[name])}"
    if len(by_size) > _PARTS_SHOWN:
        yield f"and {counted(len(by_size) - _PARTS_SHOWN, f'more {noun}')}"
    if not by_size:
        yield "no difference"
