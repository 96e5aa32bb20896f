"""The function that ingests deliveries: exact in both formats, never from two generations, refused when in doubt."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters import wiring
from adapters.deliveries import DynamoDeliveries
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from tests.support import inputs
from tests.support.inputs import deliver, deliveries, ingest
from tests.support.stack import FAILED_NONE, Stack, held_back, load_event, messages, object_created
from truth.cost_report import Delivery, Format, Mode

FUNCTION = "ingest_cost_report"
FORMATS: tuple[Format, ...] = ("parquet", "csv")
MODES: tuple[Mode, ...] = ("overwrite", "create_new")


def records(stack: Stack) -> list[DeliveryRecord]:
    """The delivery records, oldest first."""
    found = DynamoDeliveries(stack.table("LedgerTable")).of_period(inputs.PERIOD)
    return sorted(found, key=lambda record: record.sequence)


def billed(record: DeliveryRecord) -> Decimal:
    return sum((d.totals["USD"].billed_cost for d in record.report.days if "USD" in d.totals), Decimal(0))


def asked(stack: Stack) -> list[date]:
    return [inputs.usage_date_of(message) for message in stack.drain("AllocationQueue")]


def refused(stack: Stack, delivery: Delivery) -> str:
    """Ingest a delivery that must be refused; returns the reason in the quarantine notice."""
    assert ingest(stack, deliver(stack, delivery)) == FAILED_NONE
    assert asked(stack) == []
    assert all(record.outcome is DeliveryOutcome.REFUSED for record in records(stack))
    assert stack.metrics()["DeliveriesRefused"] == stack.metrics()["InputRejected"] == 1
    (notice,) = stack.notices()
    return str(notice["reason"])


# The sample event ------------------------------------------------------------------------------------------------------


def test_the_sample_event_ingests_the_delivery_whose_manifest_it_names(stack: Stack) -> None:
    event = load_event(FUNCTION)
    delivery = deliveries()[2]
    body = json.loads(event["Records"][0]["body"])
    # The event as it is, about the month that the deliveries of these tests are of.
    key = body["detail"]["object"]["key"] = body["detail"]["object"]["key"].replace("2026-10", "2026-02")
    event["Records"][0]["body"] = json.dumps(body)
    for stored in delivery.objects[:-1]:
        stack.put("CostReportBucket", stored.key, stored.body)
    stack.put("CostReportBucket", key, delivery.objects[-1].body, delivery.delivered_at.replace(year=2027))

    answer = stack.run(FUNCTION, event)

    assert answer == FAILED_NONE
    assert stack.metrics()["DeliveriesIngested"] == 1
    (item,) = (i for i in stack.items("LedgerTable") if i["pk"] == "DELIVERY#2026-02")
    assert item["outcome"] == "ingested" and item["rows_in_scope"] == delivery.truth.bedrock_rows


def test_the_sample_event_about_a_manifest_that_is_not_there_is_tried_again(stack: Stack) -> None:
    assert held_back(stack, stack.handler(FUNCTION), load_event(FUNCTION)) == "DeliveryIncomplete"

    assert stack.items("LedgerTable") == [] and stack.notices() == []


def test_a_repeated_event_changes_nothing_and_asks_again_for_the_days(stack: Stack) -> None:
    event = deliver(stack, deliveries()[0])
    ingest(stack, event)
    before, days = stack.wire_items("LedgerTable"), asked(stack)
    stack.now += timedelta(hours=3)

    answer = ingest(stack, event)

    assert answer == FAILED_NONE
    assert stack.wire_items("LedgerTable") == before
    assert asked(stack) == days
    assert stack.metrics()["DeliveriesIngested"] == 1


def test_a_malformed_message_is_quarantined_without_its_content(stack: Stack) -> None:
    answer = stack.run(FUNCTION, messages(FUNCTION, [{"detail": {"object": "CANARY"}}]))

    assert answer == FAILED_NONE
    assert "CANARY" not in json.dumps(stack.notices()) + stack.log.getvalue()
    assert stack.metrics()["InputRejected"] == 1


# What a delivery holds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_refresh_sums_exactly_to_the_truth(stack: Stack, mode: Mode, file_format: Format) -> None:
    for delivery in deliveries(mode, file_format, restated=True):
        assert ingest(stack, deliver(stack, delivery)) == FAILED_NONE

        record = records(stack)[-1]
        assert record.execution_id == delivery.execution_id
        assert billed(record) == delivery.truth.bedrock.unblended_cost
        assert record.report.totals["USD"].list_cost == delivery.truth.bedrock.public_on_demand_cost
        assert (record.report.rows_read, record.report.rows_in_scope) == (delivery.truth.rows, delivery.truth.bedrock_rows)
        by_day = {d.usage_date.isoformat(): d.totals["USD"].billed_cost for d in record.report.days if "USD" in d.totals}
        assert by_day == {day: sums.unblended_cost for day, sums in delivery.truth.bedrock_by_day.items()}
        assert record.report.notes == ()


def test_both_formats_of_one_export_give_the_same_origin_charges(stack: Stack) -> None:
    found = []
    for file_format in FORMATS:
        ingest(stack, deliver(stack, deliveries(file_format=file_format)[2]))
        found.append([(d.usage_date, d.origin) for d in records(stack)[-1].report.days])
        stack.dynamodb.delete_item(
            TableName="LedgerTable",
            Key={name: stack.wire_items("LedgerTable")[0][name] for name in ("pk", "sk")},
        )

    assert found[0] == found[1]


def test_only_days_that_ended_before_the_billing_lag_are_billed(stack: Stack) -> None:
    delivery = deliveries()[0]

    ingest(stack, deliver(stack, delivery))

    assert delivery.delivered_at.day == 12
    assert asked(stack) == [date(2026, 2, day) for day in range(1, 11)]


def test_the_files_of_an_earlier_refresh_that_shrank_away_are_not_read(stack: Stack) -> None:
    older, newer = deliveries()[1:3]
    chunks = [len([o for o in d.objects if o.body and o.key.endswith(".parquet")]) for d in (older, newer)]
    assert chunks == [4, 3], "the later refresh has fewer files"
    ingest(stack, deliver(stack, older))

    ingest(stack, deliver(stack, newer))

    assert billed(records(stack)[-1]) == newer.truth.bedrock.unblended_cost
    assert len(records(stack)[-1].report.files) == 3


# Deliveries that are replaced ------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_yet_makes_the_delivery_wait(stack: Stack) -> None:
    delivery = deliveries()[0]
    event = deliver(stack, delivery)
    stack.s3.delete_object(Bucket=stack.parameters["CostReportBucket"], Key=delivery.objects[1].key)
    stack.now = delivery.delivered_at + timedelta(minutes=9)

    assert held_back(stack, stack.handler(FUNCTION), messages(FUNCTION, [event])) == "DeliveryIncomplete"
    assert stack.items("LedgerTable") == [] and stack.notices() == []

    deliver(stack, delivery)
    assert ingest(stack, event) == FAILED_NONE
    assert len(records(stack)) == 1


def test_a_file_that_never_comes_refuses_the_delivery_by_its_name(stack: Stack) -> None:
    delivery = deliveries()[0]
    event = deliver(stack, delivery)
    stack.s3.delete_object(Bucket=stack.parameters["CostReportBucket"], Key=delivery.objects[1].key)
    stack.now = delivery.delivered_at + timedelta(minutes=11)

    assert ingest(stack, event) == FAILED_NONE

    assert f"{delivery.objects[1].key}: the manifest lists this file, and it does not exist" in stack.notices()[0]["reason"]
    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.REFUSED]
    deliver(stack, delivery)
    assert ingest(stack, event) == FAILED_NONE
    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.INGESTED], "replayed once it is whole"


def test_files_of_the_next_refresh_under_the_manifest_of_the_one_before_make_the_delivery_wait(stack: Stack) -> None:
    older, newer = deliveries()[0], deliveries()[2]
    event = deliver(stack, older)
    replaced = newer.objects[0]
    assert replaced.key == older.objects[0].key
    stack.put("CostReportBucket", replaced.key, replaced.body, older.delivered_at + timedelta(minutes=1))
    stack.now = older.delivered_at + timedelta(minutes=2)

    assert held_back(stack, stack.handler(FUNCTION), messages(FUNCTION, [event])) == "DeliveryIncomplete"

    assert stack.items("LedgerTable") == []
    assert ingest(stack, deliver(stack, newer)) == FAILED_NONE
    assert billed(records(stack)[-1]) == newer.truth.bedrock.unblended_cost


@pytest.mark.parametrize("torn", ["data", "manifest"])
def test_a_refresh_that_begins_while_the_files_are_read_makes_the_delivery_wait(stack: Stack, torn: str) -> None:
    older, newer = deliveries()[0], deliveries()[2]
    event = deliver(stack, older)
    handler = stack.handler(FUNCTION)
    replaced = newer.objects[1] if torn == "data" else newer.objects[-1]
    gets = []

    def replace_before_the_second_file_is_read(request: Any, **_: Any) -> None:
        if request.method == "GET" and request.url.split("?")[0].endswith(".parquet"):
            gets.append(request.url)
            if len(gets) == 2:
                stack.put("CostReportBucket", replaced.key, replaced.body)

    emitter = wiring.client("s3").meta.events
    emitter.register_first("before-send", replace_before_the_second_file_is_read)
    try:
        assert held_back(stack, handler, messages(FUNCTION, [event])) == "DeliveryIncomplete"
    finally:
        emitter.unregister("before-send", replace_before_the_second_file_is_read)

    assert stack.items("LedgerTable") == []
    assert ingest(stack, deliver(stack, newer)) == FAILED_NONE
    assert billed(records(stack)[-1]) == newer.truth.bedrock.unblended_cost


def early(stack: Stack, refresh: int, *, hours: int) -> dict[str, Any]:
    """Put a refresh as if it was written on the fifth, so that it bills three days; returns its event."""
    return deliver(stack, deliveries()[refresh], written_at=inputs.month().start + timedelta(days=4, hours=hours))


def test_an_older_delivery_after_a_newer_one_is_superseded(stack: Stack) -> None:
    ingest(stack, early(stack, 2, hours=6))
    inputs.allocate_everything(stack)
    before = [i for i in stack.wire_items("LedgerTable") if not i["pk"]["S"].startswith("DELIVERY")]

    answer = ingest(stack, early(stack, 0, hours=1))

    assert answer == FAILED_NONE
    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.SUPERSEDED, DeliveryOutcome.PUBLISHED]
    assert asked(stack) == []
    assert [i for i in stack.wire_items("LedgerTable") if not i["pk"]["S"].startswith("DELIVERY")] == before


def test_an_older_delivery_after_a_newer_one_that_is_not_visible_yet_is_superseded(stack: Stack) -> None:
    ingest(stack, early(stack, 2, hours=6))
    days = asked(stack)

    ingest(stack, early(stack, 0, hours=1))

    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.SUPERSEDED, DeliveryOutcome.INGESTED]
    assert len(days) == 3 and asked(stack) == []


def test_a_newer_delivery_overtakes_one_that_is_not_visible_yet(stack: Stack) -> None:
    ingest(stack, early(stack, 0, hours=1))
    ingest(stack, early(stack, 2, hours=6))

    inputs.allocate_everything(stack)

    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.SUPERSEDED, DeliveryOutcome.PUBLISHED]


def test_a_refresh_that_changes_nothing_is_published_at_once(stack: Stack) -> None:
    ingest(stack, early(stack, 0, hours=1))
    inputs.allocate_everything(stack)

    ingest(stack, early(stack, 1, hours=6))

    assert [r.outcome for r in records(stack)] == [DeliveryOutcome.PUBLISHED] * 2
    assert asked(stack) == []


# Deliveries that are refused -------------------------------------------------------------------------------------------


def test_a_second_export_of_the_same_bill_is_refused(stack: Stack) -> None:
    ingest(stack, deliver(stack, deliveries()[0]))
    asked(stack)

    ingest(stack, deliver(stack, deliveries(export="finance-copy")[1]))

    assert asked(stack) == []
    assert "two exports of one bill" in stack.notices()[0]["reason"]
    assert [(r.export, r.outcome) for r in records(stack)] == [
        (inputs.EXPORT, DeliveryOutcome.INGESTED),
        ("finance-copy", DeliveryOutcome.REFUSED),
    ]


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_that_lacks_a_required_column_is_refused_by_the_columns_name(stack: Stack, file_format: Format) -> None:
    delivery = inputs.without(
        deliveries(file_format=file_format)[0], "line_item_unblended_cost", "line_item_usage_type", "line_item_iam_principal"
    )

    reason = refused(stack, delivery)

    assert "lacks line_item_usage_type, line_item_unblended_cost;" in reason


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_that_lacks_optional_columns_is_ingested_with_a_note_for_each(stack: Stack, file_format: Format) -> None:
    delivery = deliveries(file_format=file_format)[0]

    answer = ingest(stack, deliver(stack, inputs.without(delivery, "line_item_iam_principal", "tags", "pricing_unit")))

    assert answer == FAILED_NONE
    (record,) = records(stack)
    assert billed(record) == delivery.truth.bedrock.unblended_cost
    assert sorted(note.split("`")[1] for note in record.report.notes) == ["line_item_iam_principal", "pricing_unit", "tags"]


def test_a_tag_cell_that_is_no_json_loses_its_tags_and_keeps_its_money(stack: Stack) -> None:
    def bend(rows: inputs.Cells) -> inputs.Cells:
        for number, cell in enumerate(("{not json", "[1, 2]", '{"team": 7}', '"text"')):
            row = [r for r in rows if inputs.is_bedrock(r)][number]
            row["tags"] = cell
        return rows

    delivery = inputs.bend_csv(deliveries(file_format="csv")[0], bend)

    assert ingest(stack, deliver(stack, delivery)) == FAILED_NONE

    assert billed(records(stack)[0]) == delivery.truth.bedrock.unblended_cost


def _first_bedrock_row(delivery: Delivery) -> int:
    """The number of the first Bedrock row in the first file, as a person counts rows."""
    rows: list[int] = []

    def look(table: Any) -> Any:
        codes = table.column("line_item_product_code").to_pylist()
        rows.append(next(n for n, code in enumerate(codes) if code == "AmazonBedrock") + 1)
        return table

    inputs.bend_parquet(delivery, look)
    return rows[0]


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_a_cost_that_is_no_amount_in_parquet_refuses_the_delivery_with_file_and_row(stack: Stack, cost: float) -> None:
    delivery = deliveries()[0]
    row = _first_bedrock_row(delivery)
    bent = inputs.bend_parquet(delivery, lambda t: inputs.with_cell(t, "line_item_unblended_cost", row - 1, cost))

    reason = refused(stack, bent)

    assert f"{delivery.objects[0].key} row {row}:" in reason


@pytest.mark.parametrize("cost", ["NaN", "abc", "1,5", "1.5 USD", "0x10", "1E+400", "--1"])
def test_a_cost_that_is_no_amount_in_csv_refuses_the_delivery_with_file_and_row(stack: Stack, cost: str) -> None:
    delivery = deliveries(file_format="csv")[0]
    row = _first_bedrock_row(deliveries()[0])

    def bend(rows: inputs.Cells) -> inputs.Cells:
        rows[row - 1]["line_item_unblended_cost"] = cost
        return rows

    reason = refused(stack, inputs.bend_csv(delivery, bend))

    assert f"{delivery.objects[0].key} row {row}:" in reason


def test_a_broken_cost_of_another_service_is_none_of_our_business(stack: Stack) -> None:
    delivery = deliveries(file_format="csv")[0]

    def bend(rows: inputs.Cells) -> inputs.Cells:
        next(r for r in rows if r["line_item_product_code"] == "AmazonS3")["line_item_unblended_cost"] = "NaN"
        return rows

    assert ingest(stack, deliver(stack, inputs.bend_csv(delivery, bend))) == FAILED_NONE

    assert billed(records(stack)[0]) == delivery.truth.bedrock.unblended_cost


def test_a_refused_delivery_is_refused_again_when_its_message_comes_again(stack: Stack) -> None:
    bent = inputs.bend_parquet(
        deliveries()[0],
        lambda t: inputs.with_cell(t, "line_item_usage_start_date", _first_bedrock_row(deliveries()[0]) - 1, None),
    )
    event = deliver(stack, bent)
    ingest(stack, event)

    assert ingest(stack, event) == FAILED_NONE

    # The attempt that wrote the record may have ended before anybody was told.
    assert stack.metrics()["DeliveriesRefused"] == 2
    assert len(stack.notices()) == 1


# Manifests that are not what they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("CANARY not JSON", "not a manifest"),
        ('["CANARY", ' + "[" * 200_000, "nested too deeply"),
        ('{"executionId": "x", "executionId": "y", "dataFiles": []}', "the key executionId is there twice"),
        ('{"executionId": NaN}', "NaN is no JSON"),
        ("[]", "not a Data Exports manifest"),
        ({"executionId": "x", "dataFiles": []}, "lists no data file"),
        ({"executionId": "x", "dataFiles": ["s3://cost-reports/exports/a.parquet"] * 2}, "lists a data file twice"),
        ({"executionId": "x", "dataFiles": ["s3://cost-reports/exports/a.exe"]}, "a data file that is none of .parquet"),
        (
            {"executionId": "x", "dataFiles": ["s3://cost-reports/exports/b/data/BILLING_PERIOD=2026-01/b.parquet"]},
            "lists a data file of 2026-01 in the delivery of 2026-02",
        ),
        (
            {"executionId": "x", "dataFiles": [f"s3://cost-reports/exports/{n}.parquet" for n in range(20_001)]},
            "20001 data files",
        ),
        (" " * (16 * 1024 * 1024 + 1), "a manifest of 16777217 bytes is refused"),
        ({"executionId": "x"}, "dataFiles"),
        ({"executionId": "x", "dataFiles": ["s3://elsewhere/exports/a.parquet"]}, "nothing is read from there"),
        ({"executionId": "x", "dataFiles": ["s3://cost-reports/other/a.parquet"]}, "nothing is read from there"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_quarantined(stack: Stack, manifest: object, reason: str) -> None:
    key = deliveries()[0].manifest_key
    stack.put("CostReportBucket", key, (manifest if isinstance(manifest, str) else json.dumps(manifest)).encode())

    assert ingest(stack, object_created("cost-reports", key)) == FAILED_NONE

    assert reason in stack.notices()[0]["reason"]
    assert "CANARY" not in json.dumps(stack.notices()) + stack.log.getvalue()


@pytest.mark.parametrize(
    "key",
    [
        "exports/bedrock-costs/metadata/BILLING_PERIOD=2026-02/2026-02-12T06:12:41.207Z-8f3e/bedrock-costs-Manifest.json",
        "exports/notes/Manifest.json",
    ],
)
def test_an_object_that_only_looks_like_a_manifest_is_ignored(stack: Stack, key: str) -> None:
    assert ingest(stack, object_created("cost-reports", key)) == FAILED_NONE

    assert stack.said("object ignored")[0]["object"].endswith(key)
    assert stack.items("LedgerTable") == [] and stack.notices() == []


@pytest.mark.parametrize("period", ["2026-13", "2026-00"])
def test_a_billing_period_that_no_calendar_has_is_no_manifest(stack: Stack, period: str) -> None:
    key = f"exports/bedrock-costs/metadata/BILLING_PERIOD={period}/bedrock-costs-Manifest.json"

    assert ingest(stack, object_created("cost-reports", key)) == FAILED_NONE

    assert stack.items("LedgerTable") == []


def test_a_manifest_outside_of_the_configured_place_is_never_read(stack: Stack) -> None:
    key = deliveries()[0].manifest_key.replace("exports/", "elsewhere/")

    assert ingest(stack, object_created("cost-reports", key)) == FAILED_NONE

    assert "nothing is read from there" in stack.notices()[0]["reason"]
