"""Deliveries have the documented shape, and every cost in them is exactly the truth."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from truth.company import Month, build
from truth.cost_report import Delivery, Format, Granularity, Mode, deliveries, probe_object
from truth.cost_report_columns import COLUMNS
from truth.organisation import CALLS, PRINCIPALS

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "cur"
BEDROCK_CODES = {"AmazonBedrock", "AmazonBedrockService", "AmazonBedrockFoundationModels", "AmazonBedrockAgentCore"}


def deliver(
    month: Month, mode: Mode = "create_new", file_format: Format = "parquet", granularity: Granularity = "daily"
) -> list[Delivery]:
    return deliveries(
        month,
        bucket="reports",
        prefix="daily/bedrock",
        export="costs",
        mode=mode,
        format=file_format,
        granularity=granularity,
        restated=True,
    )


def manifest_of(delivery: Delivery) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(delivery.objects[-1].body)
    return manifest


def data_of(delivery: Delivery) -> list[bytes]:
    bodies = {f"s3://reports/{stored.key}": stored.body for stored in delivery.objects}
    return [bodies[uri] for uri in manifest_of(delivery)["dataFiles"]]


def parquet_rows(delivery: Delivery) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for body in data_of(delivery):
        rows += pq.read_table(io.BytesIO(body)).to_pylist(maps_as_pydicts="strict")
    return rows


def csv_rows(delivery: Delivery) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for body in data_of(delivery):
        rows += csv.DictReader(io.StringIO(gzip.decompress(body).decode()))
    return rows


def is_bedrock(row: dict[str, Any]) -> bool:
    """AWS's own rule of row selection, written here a second time."""
    product = row["product"]
    if isinstance(product, str):
        product = json.loads(product)
    if row["bill_billing_entity"] == "AWS":
        return row["line_item_product_code"] in BEDROCK_CODES
    return "Bedrock" in product.get("product_name", "")


def sums(rows: list[dict[str, Any]], column: str) -> dict[str, Decimal]:
    by_type: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        value = row[column]
        by_type[row["line_item_line_item_type"]] += Decimal(value if isinstance(value, str) else repr(value))
    return dict(by_type)


@pytest.fixture(scope="module")
def delivered(month: Month) -> list[Delivery]:
    return deliver(month)


@pytest.fixture(scope="module")
def closed_rows(delivered: list[Delivery]) -> list[dict[str, Any]]:
    return parquet_rows(delivered[2])


@pytest.mark.skipif(not SAMPLES.exists(), reason="the published samples are not at hand")
def test_columns_are_those_of_a_real_export() -> None:
    with (SAMPLES / "cur2_full_schema_june2026.csv").open(encoding="utf-8") as file:
        published = {row["column"]: row["type"].partition("<")[0] for row in csv.DictReader(file)}

    assert published == COLUMNS
    assert list(published) == list(COLUMNS)


def test_parquet_has_all_columns_with_real_maps_and_timestamps(delivered: list[Delivery]) -> None:
    types = {"string": "string", "double": "double", "timestamp": "timestamp[ms]", "map": "map<string, string"}

    for body in data_of(delivered[-1]):
        schema = pq.read_schema(io.BytesIO(body))
        assert len(schema) == 131
        assert schema.names == list(COLUMNS)
        for field in schema:
            assert str(field.type).startswith(types[COLUMNS[field.name]])


@pytest.mark.parametrize("number", range(4))
def test_every_sum_of_a_delivery_is_exact(delivered: list[Delivery], number: int) -> None:
    delivery = delivered[number]
    rows = parquet_rows(delivery)
    bedrock = [row for row in rows if is_bedrock(row)]
    truth = delivery.truth

    assert (len(rows), len(bedrock)) == (truth.rows, truth.bedrock_rows)
    for selected, expected in (
        (bedrock, truth.bedrock_by_line_item_type),
        (rows, truth.everything_by_line_item_type),
    ):
        unblended = {kind: entry.unblended_cost for kind, entry in expected.items()}
        public = {kind: entry.public_on_demand_cost for kind, entry in expected.items()}
        assert sums(selected, "line_item_unblended_cost") == unblended
        assert sums(selected, "pricing_public_on_demand_cost") == public


def test_closed_deliveries_add_up_to_the_month(month: Month, delivered: list[Delivery]) -> None:
    for number, restated in ((2, False), (3, True)):
        truth = month.truth(restated=restated)
        assert delivered[number].truth.bedrock_by_line_item_type == truth.bedrock_by_line_item_type
        assert delivered[number].truth.everything_by_line_item_type == truth.everything_by_line_item_type


def test_usage_of_each_principal_is_exact(month: Month, closed_rows: list[dict[str, Any]]) -> None:
    expected: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for request in month.requests:
        for sku, quantity in request.usage():
            expected[request.principal.arn, sku.usage_type] += sku.billed_cost(quantity)
    for charge in month.charges:
        if charge.principal:
            expected[charge.principal.arn, charge.usage_type] += charge.cost

    actual: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in closed_rows:
        if row["line_item_iam_principal"]:
            cost = Decimal(repr(row["line_item_unblended_cost"]))
            actual[row["line_item_iam_principal"], row["line_item_usage_type"]] += cost

    assert actual == expected


def test_costs_are_rate_times_amount(closed_rows: list[dict[str, Any]]) -> None:
    for row in closed_rows:
        if row["line_item_unblended_rate"]:
            amount = Decimal(repr(row["line_item_usage_amount"]))
            assert Decimal(row["line_item_unblended_rate"]) * amount == Decimal(repr(row["line_item_unblended_cost"]))


def test_a_row_is_one_meter_in_one_interval(closed_rows: list[dict[str, Any]]) -> None:
    keys = {
        (
            row["identity_time_interval"],
            row["line_item_usage_account_id"],
            row["product_region_code"],
            row["line_item_product_code"],
            row["line_item_line_item_type"],
            row["line_item_usage_type"],
            row["line_item_operation"],
            row["line_item_iam_principal"],
            row["line_item_resource_id"],
        )
        for row in closed_rows
    }

    assert len(keys) == len(closed_rows) == len({row["identity_line_item_id"] for row in closed_rows})


def test_the_bill_shows_every_family_and_tag_channel(closed_rows: list[dict[str, Any]]) -> None:
    rows = [row for row in closed_rows if is_bedrock(row)]
    usage_types = {row["line_item_usage_type"] for row in rows}
    tag_keys = {key for row in rows for key in row["tags"]}

    for expected in (
        "USE1-NovaPro-input-tokens-flex",
        "USE1-NovaPro-input-tokens-batch",
        "EU-NovaPro-output-tokens",
        "USE1-Nova2.0Lite-input-tokens-cross-region-global",
        "USE1-openai.gpt-oss-120b-mantle-input-tokens-standard",
        "USE1-Claude4Sonnet-input-tokens-long-context-cross-region-global",
        "USE1-MP:USE1_CacheWrite1hInputTokenCount-Units",
        "USE1-MP:USE1_InputTokenCount_Global_Batch-Units",
        "USE1-MP:USE1_cache_write_tokens_1h_standard-Units",
        "USE1-NovaCanvas-T2I-1024-Standard",
        "USE1-Llama3-3-70B-ProvisionedThroughput-NoCommit-ModelUnits",
        "USE1-Guardrail-ContentPolicyUnitsConsumed",
        "USE1-ModelConductor-orchestration-steps",
    ):
        assert expected in usage_types
    assert {"iamPrincipal/team", "iamPrincipal/Team", "resourceTags/team", "resourceTags/Team", "accountTag/team"} <= (tag_keys)
    assert {key for row in rows for key in row["resource_tags"]} == {"user_team"}
    assert {"Usage", "Tax", "EdpDiscount", "Credit"} == {row["line_item_line_item_type"] for row in rows}
    marketplace = [row for row in rows if row["bill_billing_entity"] == "AWS Marketplace"]
    assert all(row["product_servicecode"] == "" and "model" not in row["product"] for row in marketplace)
    assert all(row["pricing_public_on_demand_cost"] == 0 for row in marketplace)
    assert any(row["line_item_resource_id"] == "" and row["line_item_iam_principal"] for row in rows)


def test_principals_without_tags_in_the_bill_have_none(closed_rows: list[dict[str, Any]]) -> None:
    hidden = {p.arn for p in PRINCIPALS if p.tagged_as is None or not p.tag_in_bill}
    rows = [row for row in closed_rows if row["line_item_iam_principal"] in hidden]

    assert rows
    assert not any(key.startswith("iamPrincipal/") for row in rows for key in row["tags"])


def test_refreshes_grow_until_the_month_closes(delivered: list[Delivery]) -> None:
    early, late, closed, restated = (parquet_rows(delivery) for delivery in delivered)

    assert max(row["line_item_usage_start_date"].day for row in early) == 11
    assert max(row["line_item_usage_start_date"].day for row in late) == 27
    assert {row["line_item_line_item_type"] for row in early + late} == {"Usage"}
    assert {row["bill_invoice_id"] for row in early + late} == {""}
    assert all(row["bill_invoice_id"] for row in closed + restated)
    assert {row["bill_bill_type"] for row in restated} == {"Anniversary", "Refund"}
    closed_ids = {row["identity_line_item_id"] for row in closed}
    assert closed_ids.isdisjoint(row["identity_line_item_id"] for row in restated)


def test_a_new_delivery_has_a_folder_of_its_own(delivered: list[Delivery]) -> None:
    version = r"2026-1\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    data_key = re.compile(rf"daily/bedrock/costs/data/BILLING_PERIOD=2026-10/{version}/costs-0000\d\.snappy\.parquet")

    for delivery in delivered:
        *data, copy, manifest = delivery.objects
        assert all(data_key.fullmatch(stored.key) for stored in data)
        assert re.fullmatch(rf"daily/bedrock/costs/metadata/BILLING_PERIOD=2026-10/{version}/costs-Manifest\.json", copy.key)
        assert manifest.key == "daily/bedrock/costs/metadata/BILLING_PERIOD=2026-10/costs-Manifest.json"
        assert manifest.key == delivery.manifest_key and copy.body == manifest.body
    assert len({stored.key for delivery in delivered for stored in delivery.objects[:-1]}) == sum(
        len(delivery.objects) - 1 for delivery in delivered
    )


def test_overwriting_blanks_the_files_that_are_left_over(month: Month) -> None:
    written = deliver(month, mode="overwrite", file_format="csv")
    keys = [[stored.key.rsplit("/", 1)[1] for stored in delivery.objects] for delivery in written]

    assert keys[1] == [f"costs-{chunk:05d}.csv.gz" for chunk in (1, 2, 3, 4)] + ["costs-Manifest.json"]
    assert keys[2] == keys[1]
    assert len(manifest_of(written[2])["dataFiles"]) == 3
    assert list(csv.DictReader(io.StringIO(gzip.decompress(written[2].objects[3].body).decode()))) == []


def test_manifest_has_the_published_fields_and_no_others(delivered: list[Delivery]) -> None:
    manifest = manifest_of(delivered[0])

    assert list(manifest) == ["executionId", "exportArn", "columns", "dataFiles", "additionalOutputFiles"]
    assert manifest["columns"] == [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
    assert manifest["exportArn"].startswith("arn:aws:bcm-data-exports:us-east-1:071245903318:export/costs-")
    assert manifest["executionId"] == delivered[0].execution_id
    assert len({delivery.execution_id for delivery in delivered}) == 4
    assert probe_object().key == "aws-programmatic-access-test-object"


def test_csv_says_what_parquet_says(month: Month, closed_rows: list[dict[str, Any]]) -> None:
    text = csv_rows(deliver(month, file_format="csv")[2])

    assert len(text) == len(closed_rows)
    for row, other in zip(text, closed_rows, strict=True):
        assert list(row) == list(COLUMNS)
        assert json.loads(row["tags"]) == other["tags"] and json.loads(row["product"]) == other["product"]
        assert Decimal(row["line_item_unblended_cost"]) == Decimal(repr(other["line_item_unblended_cost"]))
        assert row["line_item_usage_account_id"] == other["line_item_usage_account_id"]


def test_hourly_rows_add_up_to_daily_rows(month: Month, delivered: list[Delivery]) -> None:
    hourly = deliver(month, granularity="hourly")

    for fine, coarse in zip(hourly, delivered, strict=True):
        assert fine.truth.rows > coarse.truth.rows
        assert fine.truth.bedrock_by_day == coarse.truth.bedrock_by_day
        assert fine.truth.everything_by_line_item_type == coarse.truth.everything_by_line_item_type


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_equal_arguments_give_equal_bytes(file_format: Format) -> None:
    first, second = (deliver(build("2026-02", seed=3, requests=50), file_format=file_format) for _ in range(2))
    other = deliver(build("2026-02", seed=4, requests=50), file_format=file_format)

    assert first == second
    assert [d.objects for d in other] != [d.objects for d in first]


def test_every_call_reaches_the_bill(closed_rows: list[dict[str, Any]]) -> None:
    resources = {row["line_item_resource_id"] for row in closed_rows}

    for principal in PRINCIPALS:
        for name in principal.calls:
            assert CALLS[name].resource_id(principal.account, principal.region) in resources
