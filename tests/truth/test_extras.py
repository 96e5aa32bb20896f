"""Rare rows are what their module says, and change nothing of the month that they are added to."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.truth.reading import BEDROCK_CODES, BUCKET, amortized, amount, rows_of, sums
from truth.company import Month, build
from truth.cost_report import deliveries
from truth.delivery import Delivery
from truth.line_items import Discounts
from truth.organisation import PRINCIPALS

METRICS = {
    "line_item_unblended_cost": "unblended_cost",
    "pricing_public_on_demand_cost": "public_on_demand_cost",
}


def deliver(month: Month, discounts: Discounts = "rows", principals_since: datetime | None = None) -> list[Delivery]:
    return deliveries(
        month,
        bucket=BUCKET,
        prefix="exports",
        export="costs",
        restated=True,
        discounts=discounts,
        principals_since=principals_since,
    )


@pytest.fixture(scope="module")
def delivered(rare_month: Month) -> list[Delivery]:
    return deliver(rare_month)


@pytest.fixture(scope="module")
def closed(delivered: list[Delivery]) -> list[dict[str, Any]]:
    return rows_of(delivered[2])


def bedrock_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By AWS's own rule, and by the code of a Marketplace product where the name is missing."""
    named = {row["line_item_product_code"] for row in rows if "Bedrock" in row["product"].get("product_name", "")}
    marketplace = {row["line_item_product_code"] for row in rows if row["bill_billing_entity"] == "AWS Marketplace"}
    return [row for row in rows if row["line_item_product_code"] in BEDROCK_CODES | (named & marketplace)]


def test_rare_rows_are_added_and_nothing_else_changes(rare_month: Month, closed: list[dict[str, Any]]) -> None:
    usual = build(rare_month.month, rare_month.seed, rare_month.requests.logged)

    def texts(rows: list[dict[str, Any]]) -> set[str]:
        return {str(row | {"identity_line_item_id": ""}) for row in rows}

    rows = rows_of(deliver(usual)[2])
    assert rows and texts(rows) < texts(closed)
    assert usual.truth().allocatable_by_evidence["principal_tag"] < rare_month.truth().allocatable_by_evidence["principal_tag"]


@pytest.mark.parametrize("number", range(4))
def test_every_sum_of_a_delivery_is_exact(delivered: list[Delivery], number: int) -> None:
    rows, truth = rows_of(delivered[number]), delivered[number].truth
    bedrock = bedrock_rows(rows)

    assert (len(rows), len(bedrock)) == (truth.rows, truth.bedrock_rows)
    for selected, expected in (
        (rows, truth.everything_by_line_item_type),
        (bedrock, truth.bedrock_by_line_item_type),
    ):
        for column, metric in METRICS.items():
            true = {kind: getattr(entry, metric) for kind, entry in expected.items()}
            assert sums(selected, "line_item_line_item_type", lambda row, of=column: amount(row[of])) == true  # type: ignore[misc]
        true = {kind: entry.amortized_cost for kind, entry in expected.items()}
        assert sums(selected, "line_item_line_item_type", lambda row: amortized(row, str)) == true
    by_day = sums(bedrock, "line_item_usage_start_date", lambda row: amount(row["line_item_unblended_cost"]))
    assert by_day == {day: entry.unblended_cost for day, entry in truth.bedrock_by_day.items()}


def test_closed_deliveries_add_up_to_the_month(rare_month: Month, delivered: list[Delivery]) -> None:
    for number, restated in ((2, False), (3, True)):
        truth = rare_month.truth(restated=restated)
        assert delivered[number].truth.bedrock_by_line_item_type == truth.bedrock_by_line_item_type
        assert delivered[number].truth.everything_by_line_item_type == truth.everything_by_line_item_type


def test_the_bill_has_every_type_of_line_item(closed: list[dict[str, Any]]) -> None:
    assert {row["line_item_line_item_type"] for row in bedrock_rows(closed)} == {
        "Usage",
        "SavingsPlanCoveredUsage",
        "SavingsPlanNegation",
        "Fee",
        "Tax",
        "Credit",
        "Refund",
        "EdpDiscount",
        "BundledDiscount",
        "PrivateRateDiscount",
        "SppDiscount",
        "Discount",
        "CommitmentTrueUp",
    }
    others = {row["line_item_line_item_type"] for row in closed} - {
        row["line_item_line_item_type"] for row in bedrock_rows(closed)
    }
    assert others == {"SavingsPlanRecurringFee", "DiscountedUsage", "RIFee"}


def test_an_open_month_has_usage_and_commitments_alone(delivered: list[Delivery]) -> None:
    for delivery in delivered[:2]:
        assert delivery.truth.everything_by_line_item_type.keys() == {
            "Usage",
            "SavingsPlanCoveredUsage",
            "SavingsPlanNegation",
            "SavingsPlanRecurringFee",
            "DiscountedUsage",
            "RIFee",
        }
        assert {row["bill_invoice_id"] for row in rows_of(delivery)} == {""}


def test_the_bill_has_rare_families_and_features(closed: list[dict[str, Any]]) -> None:
    rows = bedrock_rows(closed)
    usage_types = {row["line_item_usage_type"] for row in rows}

    for expected in (
        "USE1-Claude4.6Sonnet-input-tokens",
        "USE1-MP:USE1_input_tokens_standard-Units",
        "USE1-MP:USE1_ProvisionedThroughput_1MonthCommit_ModelUnits_Usage-Units",
        "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units",
        "USE1-NovaReel-output-seconds",
        "USE1-Nova2.0Omni-output-image-token-count",
        "USE1-MP:USE1_search_units-Units",
        "USE1-Llama3-1-70B-customization-training",
        "APN1-MP:APN1_MillionBatchInputTokens-Units",
        "Global-SoftwareUsage-Contracts",
    ):
        assert expected in usage_types
    assert {row["bill_billing_entity"] for row in rows} == {"AWS", "AWS Marketplace", "AISPL"}
    indian = [row for row in rows if row["bill_billing_entity"] == "AISPL"]
    assert {row["line_item_line_item_type"] for row in indian} == {"Usage", "Tax"}
    transfer = [row for row in rows if row["product_servicecode"] == "AWSDataTransfer"]
    assert {row["line_item_product_code"] for row in transfer} == {"AmazonBedrockAgentCore"}
    assert min(abs(row["line_item_unblended_cost"]) for row in rows) < 0.0000015


def test_the_row_of_a_real_marketplace_bill_is_as_published(closed: list[dict[str, Any]]) -> None:
    rows = [row for row in closed if row["line_item_usage_type"] == "USW2-MP:USW2_InputTokenCount-Units"]

    assert rows
    for row in rows:
        assert row["line_item_usage_amount"] == 0.02645 and row["pricing_unit"] == "Units"
        assert row["product"]["product_name"] == "Claude 3.5 Sonnet (Amazon Bedrock Edition)"
        assert row["line_item_line_item_description"] == "AWS Marketplace software usage|us-west-2|Million Input Tokens"
        assert row["line_item_iam_principal"] is None and row["line_item_operation"] == "Usage"
        assert row["pricing_public_on_demand_cost"] == 0 and row["pricing_public_on_demand_rate"] == ""


def test_marketplace_rows_without_a_name_have_the_code_of_a_named_product(closed: list[dict[str, Any]]) -> None:
    rows = bedrock_rows(closed)
    nameless = [row for row in rows if "product_name" not in row["product"]]
    named = {row["line_item_product_code"] for row in rows if "product_name" in row["product"]}

    assert {row["line_item_line_item_type"] for row in nameless} == {"Tax", "Discount"}
    assert {row["bill_billing_entity"] for row in nameless} == {"AWS Marketplace"}
    assert {row["line_item_product_code"] for row in nameless} <= named


def test_rows_that_only_mention_bedrock_are_other_services(closed: list[dict[str, Any]]) -> None:
    bedrock = {row["identity_line_item_id"] for row in bedrock_rows(closed)}
    mentions = [
        row
        for row in closed
        if row["identity_line_item_id"] not in bedrock
        and "bedrock" in f"{row['line_item_line_item_description']} {row['line_item_resource_id']}".lower()
    ]

    assert {row["line_item_product_code"] for row in mentions} == {
        "AmazonCloudWatch",
        "AmazonS3",
        "AmazonES",
        "AWSSupportBusiness",
    }


def test_covered_usage_and_its_negation_net_to_zero_each_day(closed: list[dict[str, Any]]) -> None:
    by_use: defaultdict[tuple[Any, ...], list[Decimal]] = defaultdict(list)
    for row in closed:
        if row["line_item_line_item_type"] in ("SavingsPlanCoveredUsage", "SavingsPlanNegation"):
            use = (row["line_item_usage_start_date"], row["line_item_usage_type"])
            by_use[use].append(amount(row["line_item_unblended_cost"]))

    assert {product for _, product in by_use} == {
        "USE1-Lambda-Provisioned-GB-Second",
        "USE1-Llama3-1-405B-input-tokens",
    }
    assert all(len(costs) == 2 and sum(costs) == 0 and max(costs) > 0 for costs in by_use.values())


def test_mantle_usage_has_a_caller_in_the_second_half_of_the_month(closed: list[dict[str, Any]]) -> None:
    rows = [row for row in closed if row["line_item_usage_type"] == "EU-openai.gpt-oss-120b-mantle-input-tokens-priority"]

    assert {row["line_item_usage_start_date"].day: row["line_item_iam_principal"] is not None for row in rows} == {
        5: False,
        10: False,
        17: True,
        22: True,
    }


def test_discounts_as_columns_leave_the_invoice_as_it_is(rare_month: Month, delivered: list[Delivery]) -> None:
    for as_rows, as_columns in zip(delivered, deliver(rare_month, "columns"), strict=True):
        rows = rows_of(as_columns)
        net = sums(bedrock_rows(rows), "line_item_usage_start_date", lambda row: amount(row["line_item_net_unblended_cost"]))

        assert net == {day: entry.net_unblended_cost for day, entry in as_columns.truth.bedrock_by_day.items()}
        assert net == {day: entry.unblended_cost for day, entry in as_rows.truth.bedrock_by_day.items()}
        assert sum(amount(row["line_item_unblended_cost"]) for row in rows) == as_columns.truth.everything.unblended_cost
        for row in rows:
            total = amount(row["discount_total_discount"])
            assert amount(row["line_item_net_unblended_cost"]) == amount(row["line_item_unblended_cost"]) + total
            assert sum(map(amount, (row["discount"] or {}).values())) == total
    left = {row["line_item_line_item_type"] for row in rows if row["line_item_line_item_type"].endswith("Discount")}
    assert left == {"SppDiscount"}, "the discount on no usage stays a row"


def test_usage_before_principals_were_recorded_has_no_caller(rare_month: Month, delivered: list[Delivery]) -> None:
    since = datetime(2026, 2, 8, tzinfo=UTC)
    written = deliver(rare_month, principals_since=since)
    callers = {principal.arn for principal in PRINCIPALS}

    for delivery, other in zip(written, delivered, strict=True):
        rows = rows_of(delivery)
        early = [row for row in rows if row["line_item_usage_start_date"] < since.replace(tzinfo=None)]
        late = [row for row in rows if row["line_item_usage_start_date"] >= since.replace(tzinfo=None)]
        assert {row["line_item_iam_principal"] for row in early} == {None}
        assert not any(key.startswith("iamPrincipal/") for row in early for key in row["tags"])
        assert callers & {row["line_item_iam_principal"] for row in late if row["line_item_usage_start_date"].day == 8}
        assert delivery.truth.bedrock_by_day == other.truth.bedrock_by_day
        bedrock = bedrock_rows(rows)
        by_day = sums(bedrock, "line_item_usage_start_date", lambda row: amount(row["line_item_unblended_cost"]))
        assert by_day == {day: entry.unblended_cost for day, entry in delivery.truth.bedrock_by_day.items()}
    assert written[2].truth.rows < delivered[2].truth.rows
