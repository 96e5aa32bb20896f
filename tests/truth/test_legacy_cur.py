"""Legacy reports have the documented layouts and names, and every cost in them is exactly the truth."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.truth.reading import BEDROCK_CODES, BUCKET, amortized, amount, data_of, manifest_of, rows_of, sums, text_of
from truth import cost_report
from truth.company import Month, build
from truth.cost_report_columns import COLUMNS
from truth.delivery import Delivery
from truth.legacy_cur import LegacyFormat, Versioning, athena_name, deliveries
from truth.line_items import Discounts
from truth.organisation import PRINCIPALS

KINDS: tuple[tuple[Versioning, LegacyFormat], ...] = (
    ("keep", "gzip"),
    ("overwrite", "gzip"),
    ("keep", "zip"),
    ("overwrite", "athena_parquet"),
)
PASCAL = {
    "identity": "identity",
    "bill": "bill",
    "line_item": "lineItem",
    "reservation": "reservation",
    "savings_plan": "savingsPlan",
}


def deliver(
    month: Month, versioning: Versioning = "keep", format: LegacyFormat = "gzip", discounts: Discounts = "rows"
) -> list[Delivery]:
    return deliveries(
        month,
        bucket=BUCKET,
        prefix="billing/legacy",
        report="costs",
        versioning=versioning,
        format=format,
        discounts=discounts,
        restated=True,
    )


@pytest.fixture(scope="module")
def delivered(rare_month: Month) -> Callable[..., list[Delivery]]:
    return cache(partial(deliver, rare_month))


def name_in(format: LegacyFormat) -> Callable[[str], str]:
    """How a report of this format spells a column of CUR 2.0, for the columns that these tests read."""
    return (lambda column: column) if format == "athena_parquet" else slash_name


def slash_name(column: str) -> str:
    odd = {
        "pricing_public_on_demand_cost": "pricing/publicOnDemandCost",
        "product_product_name": "product/ProductName",
        "product_servicecode": "product/servicecode",
        "line_item_net_unblended_cost": "lineItem/NetUnblendedCost",
    }
    if column in odd:
        return odd[column]
    prefix = next(prefix for prefix in PASCAL if column.startswith(prefix))
    return f"{PASCAL[prefix]}/{column.removeprefix(prefix).title().replace('_', '')}"


def bedrock_rows(rows: list[dict[str, Any]], name: Callable[[str], str]) -> list[dict[str, Any]]:
    """By AWS's own rule, and by the code of a Marketplace product where the name is missing."""
    code, product = name("line_item_product_code"), name("product_product_name")
    marketplace = {row[code] for row in rows if "Bedrock" in (row[product] or "")}
    return [row for row in rows if row[code] in BEDROCK_CODES | marketplace]


@pytest.mark.parametrize(("versioning", "format"), KINDS)
def test_every_sum_of_a_delivery_is_exact(
    delivered: Callable[..., list[Delivery]], versioning: Versioning, format: LegacyFormat
) -> None:
    name = name_in(format)
    kind, unblended, public = map(
        name, ("line_item_line_item_type", "line_item_unblended_cost", "pricing_public_on_demand_cost")
    )
    for delivery in delivered(versioning, format):
        rows, truth = rows_of(delivery), delivery.truth
        bedrock = bedrock_rows(rows, name)
        assert (len(rows), len(bedrock)) == (truth.rows, truth.bedrock_rows)
        for selected, expected in (
            (rows, truth.everything_by_line_item_type),
            (bedrock, truth.bedrock_by_line_item_type),
        ):
            assert sums(selected, kind, lambda r: amount(r[unblended])) == {k: s.unblended_cost for k, s in expected.items()}
            assert sums(selected, kind, lambda r: amount(r[public])) == {
                k: s.public_on_demand_cost for k, s in expected.items()
            }
            assert sums(selected, kind, lambda r: amortized(r, name)) == {k: s.amortized_cost for k, s in expected.items()}
        by_day = {day[:10] for day in sums(bedrock, name("line_item_usage_start_date"), lambda r: amount(r[unblended]))}
        assert by_day == set(truth.bedrock_by_day)


def test_sums_by_day_are_those_of_the_cost_report(delivered: Callable[..., list[Delivery]], rare_month: Month) -> None:
    newer = cost_report.deliveries(rare_month, bucket=BUCKET, prefix="", export="costs", restated=True)

    for delivery, other in zip(delivered("keep", "gzip"), newer, strict=True):
        rows = bedrock_rows(rows_of(delivery), slash_name)
        by_start = sums(rows, "lineItem/UsageStartDate", lambda r: amount(r["lineItem/UnblendedCost"]))
        by_day = {start[:10]: cost for start, cost in by_start.items()}
        assert by_day == {day: s.unblended_cost for day, s in other.truth.bedrock_by_day.items()}
        assert delivery.truth.bedrock_by_day == other.truth.bedrock_by_day
    assert delivered("keep", "gzip")[2].truth.rows < newer[2].truth.rows, "callers are not told apart"


def test_discounts_as_columns_leave_the_invoice_as_it_is(delivered: Callable[..., list[Delivery]]) -> None:
    for as_rows, as_columns in zip(delivered("keep", "gzip"), delivered("keep", "gzip", "columns"), strict=True):
        rows = rows_of(as_columns)
        net = sum(amount(row["lineItem/NetUnblendedCost"]) for row in rows)

        assert net == as_columns.truth.everything.net_unblended_cost == as_rows.truth.everything.unblended_cost
        assert sum(amount(row["lineItem/UnblendedCost"]) for row in rows) == as_columns.truth.everything.unblended_cost
        discounted = [row for row in rows if amount(row.get("discount/TotalDiscount"))]
        assert bool(discounted) == ("EdpDiscount" in as_rows.truth.bedrock_by_line_item_type)
        for row in discounted:
            total = amount(row["discount/TotalDiscount"])
            assert amount(row["lineItem/NetUnblendedCost"]) == amount(row["lineItem/UnblendedCost"]) + total
            parts = [row[column] for column in row if column.startswith("discount/") and column != "discount/TotalDiscount"]
            assert sum(map(amount, parts)) == total


# Layout


def test_kept_versions_have_folders_of_their_own(delivered: Callable[..., list[Delivery]]) -> None:
    folder = "billing/legacy/costs/20260201-20260301/"

    for delivery in delivered("keep", "gzip"):
        *data, copy, manifest = delivery.objects
        assert re.fullmatch(r"2026\d{4}T\d{6}Z", delivery.execution_id)
        assert [stored.key for stored in data] == [
            f"{folder}{delivery.execution_id}/costs-{number:05d}.csv.gz" for number in range(1, len(data) + 1)
        ]
        assert copy.key == f"{folder}{delivery.execution_id}/costs-Manifest.json"
        assert manifest.key == delivery.manifest_key == f"{folder}costs-Manifest.json"
        assert copy.body == manifest.body


def test_overwritten_reports_have_one_folder(delivered: Callable[..., list[Delivery]]) -> None:
    for delivery in delivered("overwrite", "gzip"):
        names = [stored.key.removeprefix("billing/legacy/costs/20260201-20260301/") for stored in delivery.objects]
        assert names == [f"costs-{number:05d}.csv.gz" for number in range(1, len(names))] + ["costs-Manifest.json"]


def test_athena_reports_repeat_their_name_and_have_side_files(delivered: Callable[..., list[Delivery]]) -> None:
    delivery = delivered("overwrite", "athena_parquet")[2]
    folder = "billing/legacy/costs/costs/year=2026/month=2/"

    assert [stored.key for stored in delivery.objects] == [
        "billing/legacy/costs/cost_and_usage_data_status/cost_and_usage_data_status.parquet",
        *[f"{folder}costs-{number:05d}.snappy.parquet" for number in (1, 2, 3)],
        f"{folder}costs-create-table.sql",
        f"{folder}crawler-cfn.yml",
        f"{folder}costs-Manifest.json",
    ]
    assert pq.read_table(io.BytesIO(delivery.objects[0].body)).to_pylist() == [{"status": "READY"}]
    table = delivery.objects[-3].body.decode()
    for name in pq.read_schema(io.BytesIO(delivery.objects[1].body)).names:
        assert f"`{name}`" in table


def test_a_report_without_a_prefix_begins_with_its_name() -> None:
    month = build("2026-02", seed=3, requests=20)
    (delivery, *_) = deliveries(month, bucket=BUCKET, prefix="", report="costs")

    assert delivery.manifest_key == "costs/20260201-20260301/costs-Manifest.json"


def test_an_athena_report_cannot_keep_its_versions(rare_month: Month) -> None:
    with pytest.raises(ValueError, match="versioning='overwrite'"):
        deliver(rare_month, "keep", "athena_parquet")


@pytest.mark.parametrize(("versioning", "format"), KINDS)
def test_manifest_names_period_columns_and_keys_inside_the_bucket(
    delivered: Callable[..., list[Delivery]], versioning: Versioning, format: LegacyFormat
) -> None:
    expected = {"gzip": ("GZIP", "text/csv"), "zip": ("ZIP", "text/csv"), "athena_parquet": ("Parquet", "Parquet")}
    delivery = delivered(versioning, format)[-1]
    manifest = manifest_of(delivery)

    assert manifest["assemblyId"] == delivery.execution_id
    assert manifest["account"] == "071245903318" and manifest["bucket"] == BUCKET and manifest["reportName"] == "costs"
    assert manifest["billingPeriod"] == {"start": "20260201T000000.000Z", "end": "20260301T000000.000Z"}
    assert (manifest["compression"], manifest["contentType"]) == expected[format]
    stored = {stored.key for stored in delivery.objects}
    assert manifest["reportKeys"] and set(manifest["reportKeys"]) <= stored
    named = [f"{column['category']}/{column['name']}" for column in manifest["columns"]]
    for key, body in data_of(delivery):
        if format == "athena_parquet":
            assert pq.read_schema(io.BytesIO(body)).names == list(dict.fromkeys(map(athena_name, named)))
        else:
            assert text_of(key, body).splitlines()[0] == ",".join(named)


def test_a_zip_holds_one_file_named_after_itself(delivered: Callable[..., list[Delivery]]) -> None:
    for key, body in data_of(delivered("keep", "zip")[0]):
        assert body.startswith(b"PK") and key.rsplit("/", 1)[1].removesuffix(".zip").encode() in body
        assert text_of(key, body).startswith("identity/LineItemId,")


# Columns


def test_csv_columns_have_slashes_and_parquet_columns_the_names_of_cur_2(delivered: Callable[..., list[Delivery]]) -> None:
    columns = rows_of(delivered("keep", "gzip")[2])[0].keys()

    assert {
        "identity/LineItemId",
        "bill/BillingEntity",
        "lineItem/UsageAccountId",
        "lineItem/LineItemType",
        "product/ProductName",
        "product/servicecode",
        "product/productFamily",
        "pricing/unit",
        "pricing/publicOnDemandCost",
        "pricing/RateId",
        "reservation/EffectiveCost",
        "reservation/ReservationARN",
        "savingsPlan/SavingsPlanEffectiveCost",
        "savingsPlan/SavingsPlanARN",
        "resourceTags/user:Team",
        "resourceTags/user:team",
        "iamPrincipal/team",
    } <= columns
    maps = {"product_product_name", "product_region", "product_servicename", "product_model", "product_provider"}
    tags = {"resource_tags_user_team", "iam_principal_team"}
    names = pq.read_schema(io.BytesIO(data_of(delivered("overwrite", "athena_parquet")[2])[0][1])).names
    assert set(names) - COLUMNS.keys() - maps - tags == {"product_inference_type"}
    assert tags | {"reservation_reservation_a_r_n", "savings_plan_savings_plan_a_r_n"} <= set(names)


def test_a_refresh_has_the_columns_that_have_values_in_it(delivered: Callable[..., list[Delivery]]) -> None:
    fixed = ("identity/", "bill/", "lineItem/", "product/ProductName")
    usual = rows_of(deliver(build("2026-02", 7, 50))[2])
    rare = rows_of(delivered("keep", "gzip")[2])

    for rows in (usual, rare):
        assert all(any(row[name] for row in rows) for name in rows[0] if not name.startswith(fixed))
    assert not any(name.startswith(("savingsPlan/", "reservation/", "discount/")) for name in usual[0])


def test_parquet_says_what_csv_says(delivered: Callable[..., list[Delivery]]) -> None:
    for row, other in zip(
        rows_of(delivered("keep", "gzip")[2]), rows_of(delivered("overwrite", "athena_parquet")[2]), strict=True
    ):
        merged: dict[str, str] = {}
        for name, text in row.items():
            merged[athena_name(name)] = merged.get(athena_name(name)) or text
        for name, text in merged.items():
            value = other[name]
            if isinstance(value, float):
                assert amount(text) == amount(value)
            else:
                assert (f"{value:%Y-%m-%dT%H:%M:%SZ}" if hasattr(value, "year") else value or "") == text


def test_no_row_names_a_caller_and_tags_of_callers_have_columns(delivered: Callable[..., list[Delivery]]) -> None:
    delivery = delivered("keep", "gzip")[2]
    text = "".join(text_of(key, body) for key, body in data_of(delivery))
    rows = rows_of(delivery)

    assert not any(principal.arn in text for principal in PRINCIPALS)
    assert not any("iam_principal" in name.lower() or "accountTag" in name for name in rows[0])
    assert {row["iamPrincipal/team"] for row in rows} >= {"search", "support", ""}
    assert {row["resourceTags/user:Team"] for row in rows} == {"risk", ""}
    assert {row["resourceTags/user:team"] for row in rows} >= {"checkout", "data", ""}


@pytest.mark.parametrize(("versioning", "format"), KINDS)
def test_equal_arguments_give_equal_bytes(versioning: Versioning, format: LegacyFormat) -> None:
    first, second = (deliver(build("2026-02", 3, 50, extras=True), versioning, format) for _ in range(2))
    other = deliver(build("2026-02", 4, 50, extras=True), versioning, format)

    assert first == second
    assert [d.objects for d in other] != [d.objects for d in first]
