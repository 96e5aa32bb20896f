"""The function that ingests deliveries reads every kind of report that AWS makes, and finds the same bill in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from adapters.deliveries import DynamoDeliveries
from adapters.work_bucket import S3OriginCharges
from attribution.charges import Costs, OriginCharge
from attribution.deliveries import DeliveryRecord
from tests.support import inputs
from tests.support.inputs import deliver, ingest
from tests.support.stack import FAILED_NONE, Stack
from truth import company, cost_report, focus, legacy_cur
from truth.company import Month
from truth.delivery import Delivery
from truth.summary import Sums

PLACE: dict[str, Any] = {"bucket": "cost-reports", "prefix": "exports"}
NAME = "bedrock-costs"
# FOCUS calls both of them usage.
USAGE = ("Usage", "SavingsPlanCoveredUsage")


@cache
def month() -> Month:
    """The company's February with every rare row of a bill."""
    return company.build(str(inputs.PERIOD), seed=7, requests=40, extras=True)


@dataclass(frozen=True)
class Kind:
    """One kind of report in one format and mode."""

    name: str
    deliveries: Callable[[], list[Delivery]]
    has_callers: bool = False
    has_invoices: bool = True
    principal_tags: str = "iamPrincipal/"
    """How the keys of principal tags begin; empty where the report has none."""


def cur(**options: Any) -> Callable[[], list[Delivery]]:
    return lambda: cost_report.deliveries(month(), **PLACE, export=NAME, restated=True, **options)


def legacy(**options: Any) -> Callable[[], list[Delivery]]:
    return lambda: legacy_cur.deliveries(month(), **PLACE, report=NAME, restated=True, **options)


def export(**options: Any) -> Callable[[], list[Delivery]]:
    return lambda: focus.deliveries(month(), **PLACE, export=NAME, restated=True, **options)


KINDS = (
    *(
        Kind(f"CUR 2.0, {form}, {mode}", cur(format=form, mode=mode), has_callers=True)
        for form in ("parquet", "csv")
        for mode in ("overwrite", "create_new")
    ),
    Kind("CUR 2.0, discounts as columns", cur(discounts="columns"), has_callers=True),
    *(
        Kind(f"legacy CUR, {form}, {versioning}", legacy(format=form, versioning=versioning))
        for form in ("gzip", "zip")
        for versioning in ("keep", "overwrite")
    ),
    Kind("legacy CUR, Athena", legacy(format="athena_parquet", versioning="overwrite")),
    Kind("legacy CUR, discounts as columns", legacy(discounts="columns")),
    *(
        Kind(
            f"FOCUS {version}, {form}, {mode}",
            export(version=version, format=form, mode=mode),
            has_invoices=version == "1.2",
            principal_tags="iamPrincipal/" if version == "1.2" else "",
        )
        for version in ("1.0", "1.2")
        for form in ("parquet", "csv")
        for mode in ("overwrite", "create_new")
    ),
)


@cache
def deliveries_of(kind: Kind) -> list[Delivery]:
    return kind.deliveries()


def closed(kind: Kind) -> Delivery:
    """The refresh after the month's close."""
    return deliveries_of(kind)[2]


every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def true_costs(sums: Sums) -> Costs:
    """The metrics of the truth under the product's names."""
    return Costs(
        list_cost=sums.public_on_demand_cost,
        billed_cost=sums.unblended_cost,
        net_billed_cost=sums.net_unblended_cost,
        effective_cost=sums.amortized_cost,
        net_effective_cost=sums.net_amortized_cost,
    )


def newest(stack: Stack) -> DeliveryRecord:
    return max(DynamoDeliveries(stack.table("LedgerTable")).of_period(inputs.PERIOD), key=lambda record: record.sequence)


def charges_of(stack: Stack, record: DeliveryRecord) -> list[OriginCharge]:
    kept = S3OriginCharges(stack.s3, "workbucket")
    return [charge for day in record.report.days for charge in kept.read(day.usage_date, day.origin)]


@every_kind
def test_every_day_sums_exactly_to_the_truth_in_every_metric(stack: Stack, kind: Kind) -> None:
    # Early in the month, and a month after its close.
    for delivery in deliveries_of(kind)[::3]:
        assert ingest(stack, deliver(stack, delivery)) == FAILED_NONE

        record = newest(stack)
        assert stack.notices() == [] and record.execution_id == delivery.execution_id
        report, truth = record.report, delivery.truth
        assert (report.rows_read, report.rows_in_scope) == (truth.rows, truth.bedrock_rows)
        assert report.totals == {"USD": true_costs(truth.bedrock)}
        by_day = {day.usage_date.isoformat(): day.totals["USD"] for day in report.days if day.totals}
        assert by_day == {day: true_costs(sums) for day, sums in truth.bedrock_by_day.items()}
        charges = charges_of(stack, record)
        by_type: dict[str, Costs] = {}
        for charge in charges:
            by_type[charge.line_item_type] = by_type.get(charge.line_item_type, Costs()) + charge.costs
        assert by_type == {name: true_costs(sums) for name, sums in truth.bedrock_by_line_item_type.items()}


@every_kind
def test_a_closed_month_says_what_its_kind_of_report_can(stack: Stack, kind: Kind) -> None:
    ingest(stack, deliver(stack, closed(kind)))

    record = newest(stack)
    charges = charges_of(stack, record)
    assert any(charge.iam_principal for charge in charges) is kind.has_callers
    assert all(day.is_final for day in record.report.days) is kind.has_invoices
    keys = {key for charge in charges for key, _ in charge.tags}
    assert any(key.startswith("iamPrincipal/") for key in keys) is bool(kind.principal_tags)
    teams = {value for charge in charges for key, value in charge.tags if key.lower().endswith("team")}
    assert {"checkout", "risk"} <= teams
    assert {charge.account_id for charge in charges} >= {"071245903318", "907713468025"}
    assert {charge.region for charge in charges} >= {"us-east-1", "eu-west-1", "us-west-2", "ap-south-1"}
    mentioned = {mention.product_code for mention in record.report.mentions}
    assert {"AmazonCloudWatch", "AmazonES", "AWSSupportBusiness"} <= mentioned


def test_every_kind_tells_the_same_bill(stack: Stack) -> None:
    """Per day: what is invoiced, and how much was used, do not depend on the report that is read."""
    invoices: dict[str, list[tuple[Decimal, Decimal]]] = {}
    units: dict[str, Decimal] = {}
    for number, kind in enumerate(kind for kind in KINDS if not kind.name.endswith(("create_new", "keep"))):
        delivery = closed(kind)
        ingest(stack, deliver(stack, delivery, written_at=delivery.delivered_at + timedelta(minutes=number)))
        record = newest(stack)
        assert record.execution_id == delivery.execution_id
        totals = [day.totals["USD"] for day in record.report.days]
        invoices[kind.name] = [(costs.net_billed_cost, costs.net_effective_cost) for costs in totals]
        used = [charge for charge in charges_of(stack, record) if charge.line_item_type in USAGE]
        units[kind.name] = sum((charge.units or Decimal(0) for charge in used), Decimal(0))

    first = invoices[KINDS[0].name]
    assert first and all(invoice == first for invoice in invoices.values())
    assert len(set(units.values())) == 1, units
