"""`backfill`: months of manifests become deliveries, one after the other; what happens behind the queue is played here."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from moto.s3.models import s3_backends
from rich.console import Console

from adapters.deliveries import DynamoDeliveries
from adapters.ledger_keys import delivery_pk, delivery_sk
from adapters.work_bucket import S3Quarantine
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.errors import InputRejected
from attribution.periods import BillingPeriod
from bedrock_costs.commands import backfill
from bedrock_costs.screen import Screen
from tests.unit.cli.support import CHANGED, MANIFEST_KEY, Cloud, Ran, put_delivery, run

SUMMER = ("2026-06", "2026-07", "2026-08")


def key_of(period: str) -> str:
    return MANIFEST_KEY.replace("2026-10", period)


class Pipeline:
    """What the stack does with deliveries while the command pauses: each is ingested, and published a pause later."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.received: list[str] = []
        self.special: dict[str, Callable[[str], None]] = {}
        self.at_pause: Callable[[int], None] = lambda _: None
        self._pauses = 0

    def __call__(self, seconds: float) -> None:
        self._pauses += 1
        self.at_pause(self._pauses)
        for period in SUMMER:
            for record in self.cloud.deliveries.of_period(BillingPeriod.parse(period)):
                if record.outcome is DeliveryOutcome.INGESTED:
                    self._replace(replace(record, outcome=DeliveryOutcome.PUBLISHED))
        for message in self.cloud.received("CostReportQueue"):
            key = message["body"]["detail"]["object"]["key"]
            period = next(p for p in SUMMER if p in key)
            self.received.append(period)
            self.special.get(period, self.ingest)(period)

    def ingest(self, period: str, outcome: DeliveryOutcome = DeliveryOutcome.INGESTED, reason: str = "") -> None:
        head = self.cloud.s3.head_object(Bucket="report-bucket", Key=key_of(period))
        etag = head["ETag"].strip('"')
        days = tuple(date.fromisoformat(f"{period}-{day}") for day in ("01", "02"))
        put_delivery(
            self.cloud,
            period=BillingPeriod.parse(period),
            execution_id=f"execution-{etag[:4]}",
            sequence=f"{head['LastModified'].isoformat()}#execution-{etag[:4]}",
            manifest_key=key_of(period),
            manifest_etag=etag,
            outcome=outcome,
            changed_days=days,
            staged={days[0]: "version"},
            reason=reason,
        )

    def reject(self, period: str, reason: str) -> None:
        """Quarantine the manifest."""
        quarantine = S3Quarantine(self.cloud.s3, "work-bucket", lambda: CHANGED)
        quarantine.put(InputRejected(f"s3://report-bucket/{key_of(period)}", reason))

    def _replace(self, record: DeliveryRecord) -> None:
        keys = {"pk": {"S": delivery_pk(record.period)}, "sk": {"S": delivery_sk(record)}}
        self.cloud.dynamodb.delete_item(TableName="ledger", Key=keys)
        DynamoDeliveries(self.cloud.ledger).record(record)


@pytest.fixture
def pipeline(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline(cloud)
    monkeypatch.setattr(backfill, "pause", made)
    return made


def put(cloud: Cloud, *periods: str, body: bytes = b"manifest") -> None:
    for period in periods:
        cloud.s3.put_object(Bucket="report-bucket", Key=key_of(period), Body=body)
        copy = key_of(period).replace("/bill-Manifest", "/2026-09-01T00:00:00.000Z-0001/bill-Manifest")
        cloud.s3.put_object(Bucket="report-bucket", Key=copy, Body=body)


def outcomes(ran: Ran) -> dict[str, str]:
    return {d["billing_period"]: d["outcome"] for d in ran.json["deliveries"]}


def move(bucket: str, by: timedelta) -> None:
    """Let everything in a bucket have been written at another time: moto's clock has seconds, and these tests take none."""
    stored: Any = s3_backends["123456789012"]["aws"].buckets[bucket]
    for key in stored.keys.values():
        key.last_modified += by


def test_months_come_in_oldest_first_and_are_followed_until_they_are_published(cloud: Cloud, pipeline: Pipeline) -> None:
    for period in SUMMER:
        put(cloud, period)
        move("report-bucket", timedelta(hours=1))

    ran = run("backfill", output="json")

    assert ran.exit_code == 0
    assert pipeline.received == [*SUMMER]
    assert outcomes(ran) == {period: "published" for period in SUMMER}
    assert (ran.json["found"], ran.json["known"], ran.json["sent"]) == (3, 0, 3)
    assert ran.json["deliveries"][0] == {
        "billing_period": "2026-06",
        "manifest": f"s3://report-bucket/{key_of('2026-06')}",
        "outcome": "published",
        "was_known": False,
        "rows_read": 12345,
        "rows_in_scope": 30,
        "billed_cost": {"USD": "2470.01"},
        "changed_days": 2,
        "reason": "",
    }


def test_the_table_says_what_each_month_brought(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-08")

    out = run("backfill").out

    line = next(line for line in out.splitlines() if line.startswith(" 2026-08"))
    assert line.split() == ["2026-08", "published", "12,345", "30", "$2,470.01", "2"]
    assert out.endswith("Sent 1 delivery.\n")


def test_csv_has_a_row_for_each_month_and_currency(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-08")

    row = run("backfill", output="csv").out.splitlines()[1]

    assert row == f"2026-08,s3://report-bucket/{key_of('2026-08')},published,false,12345,30,USD,2470.01,2,"


def test_no_more_is_sent_than_the_next_one_ahead(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER)
    waiting: list[int] = []
    pipeline.at_pause = lambda _: waiting.append(len(cloud.received("CostReportQueue")))

    run("backfill", "--patience", "1")

    assert waiting[0] == 2
    assert sum(waiting) == 2


def test_without_a_terminal_every_change_is_a_line(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER[:2])

    assert run("backfill").err.splitlines() == [
        "2026-06 queued; 0 of 2 done",
        "2026-07 queued; 0 of 2 done",
        "2026-06 ingested; 0 of 2 done",
        "2026-07 ingested; 0 of 2 done",
        "2026-06 published, 12,345 rows read; 2 of 2 done",
        "2026-07 published, 12,345 rows read; 2 of 2 done",
    ]


def test_a_terminal_shows_what_is_worked_on(cloud: Cloud, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cloud, *SUMMER)
    terminal = io.StringIO()
    monkeypatch.setattr(
        Screen,
        "console",
        lambda _, stderr=False: Console(file=terminal if stderr else io.StringIO(), force_terminal=True, width=120),
    )

    run("backfill")

    drawn = terminal.getvalue()
    for expected in ("0/3", "2026-06 is read; 0 rows read", "2026-06 allocated 1 of 2 days; 24,690 rows read", "3/3"):
        assert expected in drawn


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--from", "2026-07"), {"2026-07", "2026-08"}),
        (("--to", "2026-07"), {"2026-06", "2026-07"}),
        (("--from", "2026-07", "--to", "2026-07"), {"2026-07"}),
        (("s3://report-bucket/cur/bill/metadata/BILLING_PERIOD=2026-08/",), {"2026-08"}),
        (("s3://report-bucket/",), {*SUMMER}),
    ],
)
def test_which_months(cloud: Cloud, pipeline: Pipeline, options: tuple[str, ...], expected: set[str]) -> None:
    put(cloud, *SUMMER)

    assert set(outcomes(run("backfill", *options, output="json"))) == expected
    assert set(pipeline.received) == expected


def test_what_is_known_is_left_out(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER)
    pipeline.ingest("2026-06", DeliveryOutcome.PUBLISHED)
    pipeline.ingest("2026-07", DeliveryOutcome.SUPERSEDED)

    ran = run("backfill")

    assert pipeline.received == ["2026-08"]
    assert "2026-06   published before" in ran.out
    assert ran.out.endswith("Sent 1 delivery; 2 known already and left out.\n")


def test_when_all_is_known_there_is_nothing_to_wait_for(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-06")
    pipeline.ingest("2026-06", DeliveryOutcome.PUBLISHED)

    ran = run("backfill", output="json")

    assert (ran.exit_code, ran.json["known"], ran.json["sent"]) == (0, 1, 0)


def test_a_manifest_that_was_overwritten_since_is_sent(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-06")
    pipeline.ingest("2026-06", DeliveryOutcome.PUBLISHED)
    put(cloud, "2026-06", body=b"restated")

    assert run("backfill", output="json").json["sent"] == 1


@pytest.mark.parametrize("options", [(), ("--no-wait",)])
def test_a_dry_run_sends_nothing(cloud: Cloud, pipeline: Pipeline, options: tuple[str, ...]) -> None:
    put(cloud, *SUMMER)
    pipeline.ingest("2026-06", DeliveryOutcome.PUBLISHED)

    ran = run("backfill", "--dry-run", *options)

    assert cloud.received("CostReportQueue") == []
    assert "2026-07   to send" in ran.out
    assert ran.out.endswith("Would send 2 deliveries; 1 known already and left out.\n")


def test_all_are_sent_at_once_where_nobody_waits(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER)

    ran = run("backfill", "--no-wait", output="json")

    assert ran.exit_code == 0
    assert outcomes(ran) == {period: "queued" for period in SUMMER}
    sent = [m["body"]["detail"]["object"]["key"] for m in cloud.received("CostReportQueue")]
    assert sent == [key_of(period) for period in SUMMER]


def interrupt(number: int) -> None:
    if number == 3:
        raise KeyboardInterrupt


def test_an_interrupted_run_says_how_to_go_on_and_the_next_one_does(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER)
    pipeline.special["2026-08"] = lambda _: None
    pipeline.at_pause = interrupt

    interrupted = run("backfill", output="json")

    assert interrupted.exit_code == 1
    assert outcomes(interrupted) == {"2026-06": "published", "2026-07": "published", "2026-08": "queued"}
    assert "error: interrupted: 2 of 3 deliveries done" in interrupted.err
    assert "Run the same command again" in interrupted.err
    pipeline.special.clear()
    pipeline.at_pause = lambda _: None
    pipeline.received.clear()

    again = run("backfill", output="json")

    assert again.exit_code == 0
    assert pipeline.received == ["2026-08"]


def test_one_that_is_ingested_and_not_published_is_sent_again(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-06")
    pipeline.ingest("2026-06")
    pipeline.special["2026-06"] = lambda _: None

    ran = run("backfill", output="json")

    assert pipeline.received == ["2026-06"]
    assert outcomes(ran) == {"2026-06": "published"}


@pytest.mark.parametrize("has_record", [True, False])
def test_a_refusal_is_named_and_the_other_months_go_on(cloud: Cloud, pipeline: Pipeline, has_record: bool) -> None:
    put(cloud, *SUMMER)

    def refuse(period: str) -> None:
        if has_record:
            pipeline.ingest(period, DeliveryOutcome.REFUSED, "it has no row of Bedrock")
        pipeline.reject(period, "delivery x: it has no row of Bedrock")

    pipeline.special["2026-07"] = refuse

    ran = run("backfill", output="json")

    assert ran.exit_code == 1
    assert outcomes(ran) == {"2026-06": "published", "2026-07": "refused", "2026-08": "published"}
    assert "error: 1 delivery was refused; the first, of 2026-07: " in ran.err
    assert "it has no row of Bedrock" in ran.err


@pytest.mark.parametrize("is_put_right", [True, False])
def test_what_was_refused_before_is_tried_again(cloud: Cloud, pipeline: Pipeline, is_put_right: bool) -> None:
    put(cloud, "2026-06")
    pipeline.ingest("2026-06", DeliveryOutcome.REFUSED, "two exports of one bill")
    pipeline.reject("2026-06", "two exports of one bill")
    pipeline.special["2026-06"] = lambda _: None

    def read_after_a_while(number: int) -> None:
        if number == 3 and is_put_right:
            pipeline.ingest("2026-06")
        elif number == 3:
            pipeline.reject("2026-06", "two exports of one bill")
            move("work-bucket", timedelta(minutes=1))

    pipeline.at_pause = read_after_a_while

    ran = run("backfill", output="json")

    assert pipeline.received == ["2026-06"]
    assert outcomes(ran) == {"2026-06": "published" if is_put_right else "refused"}
    assert ran.exit_code == (0 if is_put_right else 1)


def test_a_delivery_that_took_the_place_of_the_one_that_was_sent_ends_it(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, "2026-06")

    def overwritten(period: str) -> None:
        put(cloud, period, body=b"refreshed meanwhile")
        pipeline.ingest(period, DeliveryOutcome.PUBLISHED)
        (record,) = cloud.deliveries.of_period(BillingPeriod.parse(period))
        pipeline._replace(replace(record, sequence="2999-01-01T00:00:00+00:00#later"))

    pipeline.special["2026-06"] = overwritten

    assert outcomes(run("backfill", output="json")) == {"2026-06": "published"}


def test_waiting_ends_when_nothing_changes_any_more(cloud: Cloud, pipeline: Pipeline) -> None:
    put(cloud, *SUMMER[:2])
    pipeline.special["2026-07"] = lambda _: None

    ran = run("backfill", "--patience", "1", output="json")

    assert ran.exit_code == 1
    assert outcomes(ran) == {"2026-06": "published", "2026-07": "queued"}
    assert "error: nothing has changed for 1 minute: 1 of 2 deliveries done" in ran.err


@pytest.mark.parametrize("options", [(), ("--from", "2027-01"), ("s3://report-bucket/cur/nothing/",)])
def test_nothing_to_bring_in(cloud: Cloud, options: tuple[str, ...]) -> None:
    put(cloud, *(SUMMER if options else ()))

    ran = run("backfill", *options)

    assert ran.exit_code == 4
    assert "no manifest of a cost report" in ran.err


@pytest.mark.parametrize(
    "options", [("--from", "2026-08", "--to", "2026-07"), ("s3://another-bucket/cur/",), ("--from", "2026-13")]
)
def test_what_cannot_be_meant(cloud: Cloud, options: tuple[str, ...]) -> None:
    assert run("backfill", *options).exit_code == 2
