"""The function that compares the bucket with the delivery records: what no event announced comes in all the same."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.contracts import ObjectCreated, read
from adapters.sources.report_listing import S3ReportListing
from attribution.deliveries import DeliveryOutcome
from tests.support import inputs
from tests.support.inputs import deliver, deliveries, ingest
from tests.support.stack import FAILED_NONE, Sent, Stack, held_back, load_event, messages
from truth.cost_report import Mode

FUNCTION = "reconcile_deliveries"


def reconcile(stack: Stack) -> list[Sent]:
    """Run the function on its sample event; returns what it put on the queue of deliveries."""
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    return stack.drain("CostReportQueue")


def key_of(message: Sent) -> str:
    return read(ObjectCreated, message.body, "test").source.key


@pytest.fixture
def unannounced(stack: Stack) -> Stack:
    """The bucket holds February's third refresh, written on the fifth of March two hours ago, and no event about it came."""
    delivery = deliveries("create_new")[2]
    deliver(stack, delivery)
    stack.now = delivery.delivered_at + timedelta(hours=2)
    return stack


def test_the_sample_event_queues_the_delivery_that_no_event_announced(unannounced: Stack) -> None:
    (message,) = reconcile(unannounced)

    source = read(ObjectCreated, message.body, "test").source
    assert source.bucket == unannounced.parameters["CostReportBucket"]
    assert source.key == deliveries("create_new")[2].manifest_key
    assert message.group == "deliveries"
    assert unannounced.metrics()["DeliveriesReconciled"] == 1
    assert unannounced.said("no event announced deliveries")[0]["objects"] == [str(source)]


def test_what_it_queues_is_ingested_and_known_from_then_on(unannounced: Stack) -> None:
    (message,) = reconcile(unannounced)

    assert ingest(unannounced, json.loads(message.body)) == FAILED_NONE

    (item,) = (i for i in unannounced.items("LedgerTable") if i["pk"] == f"DELIVERY#{inputs.PERIOD}")
    assert item["outcome"] == DeliveryOutcome.INGESTED.value
    unannounced.now += timedelta(days=30)
    assert reconcile(unannounced) == []
    assert unannounced.said("deliveries reconciled")[-1]["known"] == 1


def test_a_repeated_event_queues_nothing_more(unannounced: Stack) -> None:
    reconcile(unannounced)
    before = unannounced.wire_items("LedgerTable")

    assert reconcile(unannounced) == []

    assert unannounced.wire_items("LedgerTable") == before
    assert unannounced.said("deliveries reconciled")[-1]["waiting"] == 1


def test_a_message_that_was_lost_is_replaced_after_the_queue_has_forgotten_it(unannounced: Stack) -> None:
    reconcile(unannounced)
    unannounced.now += timedelta(days=5)

    assert len(reconcile(unannounced)) == 1


def test_what_the_reconciler_remembers_expires(unannounced: Stack) -> None:
    reconcile(unannounced)

    (item,) = (i for i in unannounced.items("LedgerTable") if i["pk"].startswith("ANNOUNCED#"))
    assert datetime.fromtimestamp(int(item["expires_at"]), unannounced.now.tzinfo) == (
        unannounced.now + timedelta(days=5)
    ).replace(microsecond=0)


def test_a_delivery_that_was_refused_is_not_queued_again(unannounced: Stack) -> None:
    event = deliver(unannounced, deliveries("create_new")[2])
    ingest(unannounced, event)
    (item,) = (i for i in unannounced.wire_items("LedgerTable") if i["pk"]["S"] == f"DELIVERY#{inputs.PERIOD}")
    unannounced.dynamodb.put_item(TableName="LedgerTable", Item=item | {"outcome": {"S": DeliveryOutcome.REFUSED.value}})

    assert reconcile(unannounced) == []


def test_months_from_before_the_stack_are_left_to_the_backfill(unannounced: Stack) -> None:
    unannounced.now = unannounced.now.replace(month=6)

    assert reconcile(unannounced) == []
    assert unannounced.said("deliveries reconciled")[0]["seen"] == 0


def test_only_the_configured_prefix_is_listed(unannounced: Stack) -> None:
    manifest = deliveries("create_new")[2].objects[-1]
    unannounced.put("CostReportBucket", manifest.key.replace("exports/", "elsewhere/"), manifest.body)

    assert [key_of(message) for message in reconcile(unannounced)] == [deliveries("create_new")[2].manifest_key]


def test_how_long_ago_aws_delivered_is_measured(unannounced: Stack) -> None:
    unannounced.now += timedelta(hours=35)

    reconcile(unannounced)

    assert unannounced.metrics()["DeliveryAgeHours"] == 37


def test_a_bucket_that_nothing_was_ever_delivered_to_is_watched_from_the_first_look_on(stack: Stack) -> None:
    reconcile(stack)
    stack.now += timedelta(hours=37)

    reconcile(stack)

    assert [point["DeliveryAgeHours"] for point in stack.points("DeliveryAgeHours")] == [[0.0], [37.0]]


@pytest.mark.parametrize("body", ["CANARY no JSON", {"detail": {}}, {"detail-type": "Object Created", "detail": {"CANARY": 1}}])
def test_a_malformed_message_is_quarantined_without_its_content(unannounced: Stack, body: Any) -> None:
    assert unannounced.run(FUNCTION, messages(FUNCTION, [body])) == FAILED_NONE

    (notice,) = unannounced.notices()
    assert notice["source"] == "message m0"
    assert "CANARY" not in json.dumps(notice) + unannounced.log.getvalue()
    assert unannounced.drain("CostReportQueue") == []


def test_a_listing_that_fails_is_tried_again(unannounced: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = unannounced.handler(FUNCTION)
    monkeypatch.setattr(handler, "listing", S3ReportListing(unannounced.s3, "no-such-bucket", ""))

    assert held_back(unannounced, handler, load_event(FUNCTION)) == "NoSuchBucket"


# The listing -----------------------------------------------------------------------------------------------------------


class Listed:
    """A client that counts listings and gives pages of a few keys."""

    def __init__(self, stack: Stack, page: int) -> None:
        self._client = stack.s3
        self._page = page
        self.pages: list[str] = []

    def list_objects_v2(self, **request: Any) -> Any:
        self.pages.append(request.get("StartAfter", ""))
        return self._client.list_objects_v2(**request, MaxKeys=self._page)


def listed_keys(client: Any, prefix: str = "exports/") -> list[str]:
    return [manifest.source.key for manifest in S3ReportListing(client, "cost-reports", prefix).manifests()]


@pytest.mark.parametrize("mode", ["overwrite", "create_new"])
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_the_manifest_of_each_period_is_found_however_many_pages_there_are(stack: Stack, mode: Mode, page: int) -> None:
    for delivery in deliveries(mode):
        deliver(stack, delivery)

    assert listed_keys(Listed(stack, page)) == [deliveries(mode)[0].manifest_key]


def test_the_data_files_of_every_refresh_are_not_listed(stack: Stack) -> None:
    folder = "exports/bedrock-costs/data/BILLING_PERIOD=2026-02"
    for refresh in range(9):
        for number in range(4):
            stack.put("CostReportBucket", f"{folder}/{refresh}/bedrock-costs-{number:05d}.snappy.parquet", b"x")
    deliver(stack, deliveries("create_new")[0])
    client = Listed(stack, 5)

    assert listed_keys(client) == [deliveries("create_new")[0].manifest_key]
    assert client.pages == ["", "exports/bedrock-costs/data0"]


@pytest.mark.parametrize(
    "key",
    [
        "exports/data/metadata/BILLING_PERIOD=2026-02/data-Manifest.json",
        "exports/focus/metadata/billing_period=2026-02/focus-Manifest.json",
        "exports/legacy/20260201-20260301/legacy-Manifest.json",
        "exports/legacy/legacy/year=2026/month=2/legacy-Manifest.json",
    ],
)
def test_manifests_of_every_kind_of_report_are_found_behind_data_folders(stack: Stack, key: str) -> None:
    for name in ("data", "bill"):
        stack.put("CostReportBucket", f"exports/{name}/data/BILLING_PERIOD=2026-02/{name}-00001.csv.gz", b"x")
    stack.put("CostReportBucket", key, b"{}")

    assert listed_keys(Listed(stack, 1)) == [key]
    assert next(S3ReportListing(stack.s3, "cost-reports", "").manifests()).period == inputs.PERIOD
