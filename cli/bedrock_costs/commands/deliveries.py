"""`deliveries`: what the cost report brought, what became of it, and what in it needs a look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from attribution.adjustments import Adjustment
from attribution.charges import Costs, sum_costs
from attribution.deliveries import DeliveryRecord
from attribution.formats import counted, instant, money, number
from attribution.periods import BillingPeriod
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_period
from bedrock_costs.stack import now

HEADER = (
    "billing_period", "export", "execution_id", "written_at", "outcome", "rows_read", "rows_in_scope", "days", "changed_days",
    "rejected_rows", "unclassified_usage_types", "reason", "adjusted_days",
)  # fmt: skip
_REJECTED_SHOWN = 5


def deliveries(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Billing period. Default: the current one."),
    ] = None,
) -> None:
    """Show the cost report deliveries of a period.

    Each with its outcome, rows, notes, usage types that nothing decodes, and rows that cannot be read; and what it adjusted, if
    the period was closed when it came.

    Example: bedrock-costs deliveries --period 2026-10
    """
    options = options_of(ctx)
    period = period or BillingPeriod.of(now().date())
    records = sorted(options.stack.deliveries().of_period(period), key=lambda record: record.sequence)
    if not records:
        before = BillingPeriod.of(period.first_day - timedelta(days=1))
        instead = f"{before} has some: try --period {before}. " if options.stack.deliveries().of_period(before) else ""
        raise Failure(
            f"no deliveries for {period}",
            "AWS writes the first cost report of a period within a day of its start, and refreshes it daily.",
            f"{instead}Look for its manifest in `bedrock-costs quarantine`, and check the export in Data Exports; read one that"
            " is in S3 already with `bedrock-costs replay deliveries`.",
            ExitCode.NOT_READY,
        )
    options.screen.emit(result_of(period, records, options.stack.days().adjustments(period)))


def written_at(record: DeliveryRecord) -> str:
    """When the manifest was written, from the sequence."""
    return record.sequence.partition("#")[0]


def _amounts(totals: Costs) -> dict[str, Any]:
    return {"billed_cost": totals.billed_cost, "list_cost": totals.list_cost}


def _adjusted(record: DeliveryRecord, adjustments: Sequence[Adjustment]) -> tuple[dict[str, Costs], int]:
    """What a delivery changed in the closed month, by currency, and on how many days."""
    own = [adjustment for adjustment in adjustments if adjustment.sequence == record.sequence and adjustment.is_of_bill]
    currencies = sorted({currency for adjustment in own for currency in adjustment.totals})
    differences = {
        currency: sum_costs(adjustment.totals[currency].difference for adjustment in own if currency in adjustment.totals)
        for currency in currencies
    }
    return differences, sum(len(adjustment.days) for adjustment in own)


def _document(record: DeliveryRecord, adjustments: Sequence[Adjustment]) -> dict[str, Any]:
    report = record.report
    differences, adjusted_days = _adjusted(record, adjustments)
    return {
        "billing_period": str(record.period),
        "export": record.export,
        "execution_id": record.execution_id,
        "written_at": written_at(record),
        "outcome": record.outcome.value,
        "reason": record.reason,
        "manifest": record.manifest_key,
        "files": [{"key": f.key, "size": f.size} for f in report.files],
        "rows_read": report.rows_read,
        "rows_in_scope": report.rows_in_scope,
        "totals": {currency: _amounts(costs) for currency, costs in report.totals.items()},
        "days": len(report.days),
        "changed_days": list(record.changed_days),
        "adjusted": {currency: _amounts(costs) for currency, costs in differences.items()},
        "adjusted_days": adjusted_days,
        "notes": list(report.notes),
        "unclassified": {
            name: {currency: _amounts(costs) for currency, costs in totals.items()}
            for name, totals in report.unclassified.items()
        },
        "mentions": [
            {
                "product_code": m.product_code,
                "usage_type": m.usage_type,
                "line_item_type": m.line_item_type,
                "currency": m.currency,
                "billed_cost": m.billed_cost,
                "rows": m.row_count,
            }
            for m in report.mentions
        ],
        "unknown_columns": list(report.unknown_columns),
        "rejected_count": report.rejected_count,
        "rejected": [{"file": r.file, "row": r.row, "reason": r.reason} for r in report.rejected],
    }


def result_of(period: BillingPeriod, records: Sequence[DeliveryRecord], adjustments: Sequence[Adjustment]) -> Result:
    """The deliveries in every form, with what they adjusted."""
    documents = [_document(record, adjustments) for record in records]
    rows = [
        (
            d["billing_period"], d["export"], d["execution_id"], d["written_at"], d["outcome"], d["rows_read"],
            d["rows_in_scope"], d["days"], len(d["changed_days"]), d["rejected_count"], len(d["unclassified"]), d["reason"],
            d["adjusted_days"],
        )
        for d in documents
    ]  # fmt: skip
    document = {"billing_period": str(period), "deliveries": documents}
    return Result(document, HEADER, rows, lambda screen: _render(period, records, adjustments, screen))


def _render(
    period: BillingPeriod, records: Sequence[DeliveryRecord], adjustments: Sequence[Adjustment], screen: Screen
) -> None:
    from datetime import datetime

    columns = [
        Column("written", no_wrap=True),
        Column("export", dispensable=3),
        Column("execution"),
        Column("outcome", no_wrap=True),
        Column("rows", is_number=True, dispensable=2),
        Column("Bedrock", is_number=True),
        Column("days", is_number=True, dispensable=1),
        Column("changed", is_number=True, dispensable=1),
    ]
    rows = [
        (
            instant(datetime.fromisoformat(written_at(r))),
            r.export,
            r.execution_id,
            r.outcome.value,
            number(r.report.rows_read),
            number(r.report.rows_in_scope),
            number(len(r.report.days)),
            number(len(r.changed_days)),
        )
        for r in records
    ]
    screen.grid(Grid(f"deliveries of {period}", columns, rows))
    for record in records:
        _render_findings(record, adjustments, screen)


def _render_findings(record: DeliveryRecord, adjustments: Sequence[Adjustment], screen: Screen) -> None:
    report = record.report
    findings = [record.reason] if record.reason else []
    differences, days = _adjusted(record, adjustments)
    findings += [
        f"adjusted {record.period} after it was closed: {money(costs.billed_cost, currency)} on {counted(days, 'day')}"
        for currency, costs in differences.items()
    ]
    findings += [f"note: {note}" for note in report.notes]
    findings += [
        f"usage type not decoded: {name}, {money(costs.billed_cost, currency)}"
        for name, totals in report.unclassified.items()
        for currency, costs in totals.items()
    ]
    findings += [
        f"speaks of Bedrock, left out: {m.product_code} {m.usage_type} ({m.line_item_type}), {money(m.billed_cost, m.currency)}"
        for m in report.mentions
    ]
    findings += [f"row not readable: {r.file} row {r.row}: {r.reason}" for r in report.rejected[:_REJECTED_SHOWN]]
    if report.rejected_count > _REJECTED_SHOWN:
        findings.append(f"and {report.rejected_count - _REJECTED_SHOWN} more rows")
    if not findings:
        return
    screen.line(f"{record.execution_id} ({record.outcome.value})", style="bold")
    for finding in findings:
        screen.line(f"  {finding}")
    screen.line()
