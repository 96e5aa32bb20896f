"""Which objects are manifests to ingest, and what each of AWS's forms says."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.manifest import Contents, Named, manifest_key_ignored, named, parse
from attribution.deliveries import ReportKind
from attribution.errors import InputRejected
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject
from tests.support.inputs import sample_files

APRIL = BillingPeriod(2026, 4)
EXPORT = "exports/cur/metadata/BILLING_PERIOD=2026-04/cur-Manifest.json"
LEGACY = "reports/cur/20260401-20260501/cur-Manifest.json"


@pytest.mark.parametrize(
    ("key", "export", "is_legacy"),
    [
        (EXPORT, "cur", False),
        ("cur/metadata/billing_period=2026-04/cur-Manifest.json", "cur", False),
        ("a/b/c/cur/metadata/BILLING_PERIOD=2026-04/Manifest.json", "cur", False),
        (LEGACY, "cur", True),
        ("cur/20260401-20260430/cur-Manifest.json", "cur", True),
        ("reports/cur/cur/year=2026/month=4/cur-Manifest.json", "cur", True),
        ("reports/cur/cur/year=2026/month=04/cur-Manifest.json", "cur", True),
    ],
)
def test_the_manifest_of_a_period_names_its_export_and_its_period(key: str, export: str, is_legacy: bool) -> None:
    assert named(key) == Named(export, APRIL, is_legacy)
    assert manifest_key_ignored(key) == ""


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("exports/cur/metadata/BILLING_PERIOD=2026-04/2026-06-01T23:48:02.356Z-9b/cur-Manifest.json", "the copy that AWS"),
        ("reports/cur/20260401-20260501/20260503T040211Z/cur-Manifest.json", "the copy that AWS keeps"),
        ("aws-programmatic-access-test-object", "not the manifest"),
        ("exports/cur/data/BILLING_PERIOD=2026-04/cur-00001.snappy.parquet", "not the manifest"),
        ("exports/other/metadata/BILLING_PERIOD=2026-04/cur-Manifest.json", "not the manifest"),
        ("exports/cur/metadata/BILLING_PERIOD=2026-13/cur-Manifest.json", "not the manifest"),
        ("reports/cur/20261301-20270101/cur-Manifest.json", "not the manifest"),
        ("reports/cur/cur/year=2026/month=4/cur-create-table.sql", "not the manifest"),
        ("reports/cur/cur/cost_and_usage_data_status/cost_and_usage_data_status.parquet", "not the manifest"),
        ("reports/cur/20260401-20260501/cur-RedshiftManifest.json", "not the manifest"),
        ("notes/Manifest.json", "not the manifest"),
    ],
)  # fmt: skip
def test_every_other_object_is_ignored_with_a_reason(key: str, reason: str) -> None:
    assert named(key) is None
    assert manifest_key_ignored(key).startswith(reason)


def test_the_published_key_layouts_are_read_as_they_are_described() -> None:
    for path in sample_files("cur"):
        if path.name != "delivery_key_layouts.csv":
            continue
        for row in csv.DictReader(path.read_text().splitlines()):
            key = row["key_or_uri"].removeprefix("s3://<bucket>/")
            for placeholder, value in {"<prefix>": "p", "<report>": "r", "<export-name>": "e"}.items():
                key = key.replace(placeholder, value)
            is_manifest = ("manifest" in row["kind"].lower() and "copy" not in row["kind"]) or key.endswith(
                "month=12/r-Manifest.json"
            )
            assert (named(key) is not None) == is_manifest, row


@given(st.text(max_size=200))
def test_any_key_is_either_a_manifest_or_ignored_with_a_reason(key: str) -> None:
    assert (named(key) is None) == bool(manifest_key_ignored(key))


def read(key: str, document: Any, prefix: str = "") -> Contents:
    about = named(key)
    assert about is not None
    return parse(json.dumps(document).encode(), StoredObject("bills", key), prefix, about)


def legacy(**changes: Any) -> dict[str, Any]:
    return {
        "assemblyId": "20260503T040211Z",
        "account": "123456789012",
        "billingPeriod": {"start": "20260401T000000.000Z", "end": "20260501T000000.000Z"},
        "reportKeys": ["reports/cur/20260401-20260501/20260503T040211Z/cur-00001.csv.gz"],
        "compression": "GZIP",
        "contentType": "text/csv",
        "charset": "UTF-8",
        "bucket": "bills",
        "columns": [{"category": "lineItem", "name": "UnblendedCost", "type": "BigDecimal"}],
        "additionalArtifacts": [],
    } | changes


def test_a_legacy_manifest_names_its_files_by_their_keys() -> None:
    contents = read(LEGACY, legacy())

    assert contents == Contents(ReportKind.LEGACY_CUR, "20260503T040211Z", tuple(legacy()["reportKeys"]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"billingPeriod": {"start": "20260301T000000.000Z"}}, "is of 2026-03 and lies in the folder of 2026-04"),
        ({"bucket": "elsewhere"}, "another bucket"),
        ({"charset": "UTF-16"}, "charset"),
        ({"reportKeys": []}, "lists no data file"),
        ({"reportKeys": ["reports/cur/20260301-20260401/x/cur-00001.csv.gz"]}, "a data file of 2026-03"),
        ({"reportKeys": ["reports/cur/cur/year=2026/month=3/cur-00001.snappy.parquet"]}, "a data file of 2026-03"),
        ({"assemblyId": ""}, "assemblyId"),
    ],
)
def test_a_legacy_manifest_that_does_not_fit_its_place_is_rejected(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputRejected, match=reason):
        read(LEGACY, legacy(**changes))


def export(columns: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "executionId": "9b6b32ef",
        "exportArn": "arn:aws:bcm-data-exports:us-east-1:123456789012:export/cur-1",
        "columns": [{"name": name, "type": "string"} for name in columns],
        "dataFiles": ["s3://bills/exports/cur/data/BILLING_PERIOD=2026-04/cur-00001.snappy.parquet"],
        "additionalOutputFiles": [],
    } | changes


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ([], ReportKind.CUR_2_0),
        (["line_item_unblended_cost", "product"], ReportKind.CUR_2_0),
        (["line_item_unblended_cost", "Tags"], ReportKind.CUR_2_0),
        (["AvailabilityZone"], ReportKind.FOCUS),
        (["BilledCost", "x_ServiceCode"], ReportKind.FOCUS),
    ],
)
def test_the_columns_tell_which_report_a_data_export_is(columns: list[str], kind: ReportKind) -> None:
    assert read(EXPORT, export(columns)).kind is kind


def test_data_files_outside_of_the_configured_prefix_are_not_followed() -> None:
    with pytest.raises(InputRejected, match="nothing is read from there"):
        read(EXPORT, export([], dataFiles=["s3://bills/secrets/cur-00001.csv.gz"]), prefix="exports/")


@pytest.mark.parametrize("name", ["\ud800.parquet", "x" * 1100 + ".parquet"])
def test_a_name_that_s3_does_not_allow_is_rejected(name: str) -> None:
    with pytest.raises(InputRejected, match="a name that S3 does not allow"):
        read(EXPORT, export([], dataFiles=[f"s3://bills/{name}"]))


@given(st.binary(max_size=300))
def test_no_bytes_make_a_manifest_raise_anything_but_a_rejection(body: bytes) -> None:
    about = named(EXPORT)
    assert about is not None
    with pytest.raises(InputRejected):
        parse(body, StoredObject("bills", EXPORT), "", about)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*legacy(), *export([])]), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from([EXPORT, LEGACY]), json_values)
def test_no_document_makes_a_manifest_raise_anything_but_a_rejection(key: str, document: Any) -> None:
    base = legacy() if key == LEGACY else export([])
    about = named(key)
    assert about is not None
    body = json.dumps(base | document if isinstance(document, dict) else document).encode()
    try:
        contents = parse(body, StoredObject("bills", key), "", about)
    except InputRejected:
        return
    assert contents.data_files
