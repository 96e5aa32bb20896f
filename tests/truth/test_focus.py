"""FOCUS exports have the published columns, and say the same bill as the cost report in FOCUS's way."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.truth.reading import BUCKET, amount, data_of, manifest_of, rows_of, sums, text_of
from truth import cost_report
from truth.company import Month, build
from truth.delivery import Delivery, Format, Mode
from truth.focus import deliveries
from truth.focus_columns import COLUMNS, Version
from truth.organisation import PRINCIPALS

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "cur"
VERSIONS: tuple[Version, ...] = ("1.0", "1.2")
FORMATS: tuple[Format, ...] = ("parquet", "csv")
METRICS = {"BilledCost": "unblended_cost", "ListCost": "public_on_demand_cost", "EffectiveCost": "amortized_cost"}


def deliver(month: Month, version: Version, format: Format = "parquet", mode: Mode = "create_new") -> list[Delivery]:
    return deliveries(
        month, bucket=BUCKET, prefix="daily", export="focus", version=version, mode=mode, format=format, restated=True
    )


@pytest.fixture(scope="module")
def delivered(rare_month: Month) -> Callable[..., list[Delivery]]:
    return cache(partial(deliver, rare_month))


@pytest.fixture(scope="module", params=VERSIONS)
def closed(delivered: Callable[..., list[Delivery]], request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The rows of the closed month in Parquet, in each version."""
    return rows_of(delivered(request.param)[2])


def bedrock_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """FOCUS names the service of every row, that of a model on the Marketplace included."""
    return [row for row in rows if "Bedrock" in row["ServiceName"]]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_sum_of_a_delivery_is_exact(delivered: Callable[..., list[Delivery]], version: Version, format: Format) -> None:
    for delivery in delivered(version, format):
        rows, truth = rows_of(delivery), delivery.truth
        bedrock = bedrock_rows(rows)
        assert (len(rows), len(bedrock)) == (truth.rows, truth.bedrock_rows)
        for column, metric in METRICS.items():
            for selected, expected in (
                (rows, truth.everything_by_line_item_type),
                (bedrock, truth.bedrock_by_line_item_type),
            ):
                true = {category: getattr(entry, metric) for category, entry in expected.items()}
                assert sums(selected, "ChargeCategory", lambda row, of=column: amount(row[of])) == true  # type: ignore[misc]
        if format == "parquet":
            by_day = sums(bedrock, "ChargePeriodStart", lambda row: amount(row["BilledCost"]))
            assert by_day == {day: entry.unblended_cost for day, entry in truth.bedrock_by_day.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_invoice_of_each_day_is_that_of_the_cost_report(
    delivered: Callable[..., list[Delivery]], rare_month: Month, version: Version
) -> None:
    reports = cost_report.deliveries(rare_month, bucket=BUCKET, prefix="", export="costs", restated=True)

    for focus, report in zip(delivered(version), reports, strict=True):
        for day, entry in report.truth.bedrock_by_day.items():
            assert focus.truth.bedrock_by_day[day].unblended_cost == entry.unblended_cost
            assert focus.truth.bedrock_by_day[day].amortized_cost == entry.amortized_cost
        assert focus.truth.everything.unblended_cost == report.truth.everything.unblended_cost
        assert focus.truth.everything.amortized_cost == report.truth.everything.amortized_cost


# FOCUS's way of telling it


def test_covered_usage_is_billed_nothing_and_the_fee_is_a_purchase(closed: list[dict[str, Any]]) -> None:
    covered = [row for row in closed if row["CommitmentDiscountStatus"] == "Used"]
    unused = [row for row in closed if row["CommitmentDiscountStatus"] == "Unused"]
    fees = [row for row in closed if row["CommitmentDiscountId"] and row["ChargeCategory"] == "Purchase"]

    assert {row["CommitmentDiscountType"] for row in covered} == {"Savings Plan", "Reserved"}
    assert all(row["BilledCost"] == 0 < row["EffectiveCost"] < row["ListCost"] for row in covered)
    assert all(row["BilledCost"] > 0 == row["EffectiveCost"] for row in fees)
    assert {row["CommitmentDiscountId"] for row in unused} == {row["CommitmentDiscountId"] for row in fees}
    for row in fees:
        used = [other for other in covered if other["CommitmentDiscountId"] == row["CommitmentDiscountId"]]
        left = [other for other in unused if other["CommitmentDiscountId"] == row["CommitmentDiscountId"]]
        assert all(other["BilledCost"] == 0 and other["ConsumedQuantity"] is None for other in left)
        assert sum(amount(other["EffectiveCost"]) for other in used + left) == amount(row["BilledCost"])
    usage = [row for row in closed if row["ChargeCategory"] == "Usage"]
    assert not any(row["BilledCost"] < 0 for row in usage), "a negation is no row"


def test_discounts_lower_what_usage_is_billed(closed: list[dict[str, Any]]) -> None:
    discounted = [row for row in closed if row["x_Discounts"]]

    assert {kind for row in discounted for kind in row["x_Discounts"]} == {
        "edp_discount",
        "bundled_discount",
        "private_rate_discount",
        "spp_discount",
        "discount",
    }
    for row in discounted:
        assert row["ChargeCategory"] == "Usage"
        assert amount(row["BilledCost"]) == amount(row["ContractedCost"]) + sum(map(amount, row["x_Discounts"].values()))
    (alone,) = [row for row in closed if row["ChargeDescription"] == "Solution provider programme discount"]
    assert alone["ChargeCategory"] == "Adjustment" and amount(alone["BilledCost"]) == Decimal("-12.40")


def test_charges_have_the_category_of_their_line_item_type(delivered: Callable[..., list[Delivery]]) -> None:
    rows = rows_of(delivered("1.2")[3])
    found = {(row["ChargeCategory"], row["ChargeClass"], row["ChargeFrequency"]) for row in rows}

    assert found == {
        ("Usage", None, "Usage-Based"),
        ("Purchase", None, "One-Time"),
        ("Purchase", None, "Recurring"),
        ("Tax", None, "One-Time"),
        ("Credit", None, "One-Time"),
        ("Adjustment", None, "One-Time"),
        ("Adjustment", "Correction", "One-Time"),
    }
    assert {row["ChargeDescription"] for row in rows if row["ChargeClass"]} == {
        "Refund for elevated error rates",
        "Refund of provisioned throughput",
    }


def test_marketplace_rows_have_a_seller_and_neither_service_code_nor_list_cost(closed: list[dict[str, Any]]) -> None:
    rows = [row for row in bedrock_rows(closed) if row["x_ServiceCode"] == ""]

    assert {row["PublisherName"] for row in rows} == {"Anthropic, PBC", "Cohere, Inc.", "Stability AI Ltd"}
    assert all(row["ServiceName"].endswith("(Amazon Bedrock Edition)") for row in rows)
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    assert usage and all(row["ListCost"] == 0 and row["ListUnitPrice"] is None and row["SkuId"] is None for row in usage)
    assert any(row["ChargeCategory"] == "Tax" and row["PublisherName"] == "Cohere, Inc." for row in rows)


def test_callers_are_unknown_and_tags_are_spelled_by_version(
    delivered: Callable[..., list[Delivery]], rare_month: Month
) -> None:
    callers = {principal.arn for principal in PRINCIPALS}
    keys = {}
    for version in VERSIONS:
        rows = rows_of(delivered(version)[2])
        assert not any(value in callers for row in rows for value in row.values() if isinstance(value, str))
        keys[version] = {key for row in rows for key in row["Tags"] or ()}

    assert keys["1.0"] == {"user_team"}
    assert {"resourceTags/team", "resourceTags/Team", "iamPrincipal/team", "iamPrincipal/Team", "accountTag/team"} <= keys[
        "1.2"
    ]
    told_apart = [delivered(version)[2].truth.rows for version in VERSIONS]
    report = cost_report.deliveries(rare_month, bucket=BUCKET, prefix="", export="costs")[2].truth.rows
    assert told_apart[0] < told_apart[1] < report


def test_usage_types_are_in_the_column_of_the_version(delivered: Callable[..., list[Delivery]]) -> None:
    old, new = (rows_of(delivered(version)[2]) for version in VERSIONS)
    expected = "USE1-MP:USE1_CacheWrite1hInputTokenCount-Units"

    assert expected in {row["x_UsageType"] for row in old}
    assert expected in {row["SkuMeter"] for row in new}
    assert {"InvokeModelInference", "InvokeModelStreamingInference"} <= {row["x_Operation"] for row in old + new}
    models = {row["SkuPriceDetails"]["x_model"] for row in new if row["SkuPriceDetails"]}
    assert {"Nova Pro", "Titan Text Embeddings V2"} <= models


def test_invoices_are_named_in_1_2_once_the_month_is_closed(delivered: Callable[..., list[Delivery]]) -> None:
    early, _, closed, _ = delivered("1.2")

    assert {row["InvoiceId"] for row in rows_of(early)} == {None}
    assert all(row["InvoiceId"] for row in rows_of(closed))
    assert "InvoiceId" not in COLUMNS["1.0"]


# Files


@pytest.mark.skipif(not SAMPLES.exists(), reason="the published samples are not at hand")
def test_columns_of_1_0_are_those_of_the_published_sample_and_five_of_aws() -> None:
    with (SAMPLES / "focus10_aws_sample_rows.csv").open(encoding="utf-8", newline="") as file:
        (published, *_) = csv.reader(file)

    # The sample was loaded into a database that added an `Id`.
    assert [name for name in published if name != "Id"] == list(COLUMNS["1.0"])[:43]
    assert list(COLUMNS["1.0"])[43:] == ["x_CostCategories", "x_Discounts", "x_Operation", "x_ServiceCode", "x_UsageType"]


@pytest.mark.parametrize("version", VERSIONS)
def test_parquet_has_maps_doubles_and_timestamps(delivered: Callable[..., list[Delivery]], version: Version) -> None:
    types = {
        "string": "string",
        "double": "double",
        "timestamp": "timestamp[ms]",
        "map": "map<string, string",
        "map_of_doubles": "map<string, double",
    }

    assert len(COLUMNS[version]) == {"1.0": 48, "1.2": 60}[version]
    for _, body in data_of(delivered(version)[2]):
        schema = pq.read_schema(io.BytesIO(body))
        assert schema.names == list(COLUMNS[version])
        assert all(str(field.type).startswith(types[COLUMNS[version][field.name]]) for field in schema)
        assert {field.name for field in schema if str(field.type).startswith("map")} >= {"Tags", "x_Discounts"}


@pytest.mark.parametrize("mode", ["create_new", "overwrite"])
def test_the_period_is_a_folder_in_lower_case(delivered: Callable[..., list[Delivery]], mode: Mode) -> None:
    version = r"2026-0\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z-[0-9a-f-]{36}/" if mode == "create_new" else ""

    for delivery in delivered("1.2", "parquet", mode):
        manifest = manifest_of(delivery)
        assert delivery.manifest_key == "daily/focus/metadata/billing_period=2026-02/focus-Manifest.json"
        assert delivery.objects[-1].key == delivery.manifest_key
        key = re.compile(rf"s3://{BUCKET}/daily/focus/data/billing_period=2026-02/{version}focus-0000\d\.snappy\.parquet")
        assert manifest["dataFiles"] and all(key.fullmatch(uri) for uri in manifest["dataFiles"])
        assert manifest["executionId"] == delivery.execution_id


@pytest.mark.skipif(not SAMPLES.exists(), reason="the published samples are not at hand")
def test_manifest_has_the_fields_of_the_published_one(delivered: Callable[..., list[Delivery]]) -> None:
    published = json.loads((SAMPLES / "data_exports_focus12_manifest_redacted.json").read_text(encoding="utf-8"))
    manifest = manifest_of(delivered("1.2")[0])

    assert list(manifest) == list(published)
    assert manifest["columns"][0] == published["columns"][0]
    assert {column["type"] for column in manifest["columns"]} == {"string", "double", "timestamp", "map"}


def test_csv_of_1_0_is_written_as_the_published_sample(delivered: Callable[..., list[Delivery]]) -> None:
    delivery = delivered("1.0", "csv")[0]
    cells = [cell for key, body in data_of(delivery) for line in csv.reader(io.StringIO(text_of(key, body))) for cell in line]
    rows = rows_of(delivery)

    assert "NULL" in cells
    assert all(re.fullmatch(r"2026-02-\d\d \d\d:\d\d:\d\d", row["ChargePeriodStart"]) for row in rows)
    assert {row["ChargeClass"] for row in rows} == {"NULL"}
    assert '{"user_team": "platform"}' in cells


@pytest.mark.parametrize("version", VERSIONS)
def test_csv_says_what_parquet_says(delivered: Callable[..., list[Delivery]], version: Version) -> None:
    form = {"1.0": "%Y-%m-%d %H:%M:%S", "1.2": "%Y-%m-%dT%H:%M:%S.000Z"}[version]
    nothing = {"1.0": "NULL", "1.2": ""}[version]

    for text, row in zip(rows_of(delivered(version, "csv")[2]), rows_of(delivered(version)[2]), strict=True):
        for name, value in row.items():
            if value is None:
                assert text[name] == nothing
            elif isinstance(value, dict):
                assert json.loads(text[name]) == value
            elif isinstance(value, float):
                assert amount(text[name]) == amount(value)
            else:
                assert text[name] == (value if isinstance(value, str) else value.strftime(form))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("version", VERSIONS)
def test_equal_arguments_give_equal_bytes(version: Version, format: Format) -> None:
    first, second = (deliver(build("2026-02", 3, 50, extras=True), version, format) for _ in range(2))
    other = deliver(build("2026-02", 4, 50, extras=True), version, format)

    assert first == second
    assert [d.objects for d in other] != [d.objects for d in first]
