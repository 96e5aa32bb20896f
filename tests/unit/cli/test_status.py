"""`status`: whether the numbers can be relied on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adapters.prices import DynamoPrices
from attribution.prices import OfferReading
from bedrock_costs.commands import status
from tests.support.price_list import OFFERS
from tests.unit.cli.support import Cloud, put_delivery, put_october, run


def test_everything_at_a_glance(cloud: Cloud) -> None:
    put_october(cloud)
    put_delivery(cloud)
    cloud.s3.put_object(Bucket="work-bucket", Key="quarantine/a.json", Body=b"{}")
    cloud.sqs.send_message(QueueUrl=cloud.cloudformation.queues["ApiCallDeadLetters"], MessageBody="x")

    out = run("status", "--period", "2026-10").out

    for expected in (
        "published, 2026-10, written 2026-10-04 06:00 UTC, execution execution-1",
        "1 final, 1 billed, 1 estimated, 28 without data",
        "1 in ApiCallDeadLetters",
        "$2,469.34   $2,470.01     99.9 %",
    ):
        assert expected in out


def test_json_and_csv(cloud: Cloud) -> None:
    put_october(cloud)

    document = run("status", "--period", "2026-10", output="json").json
    rows = run("status", "--period", "2026-10", output="csv").out

    assert document["capture"] == [
        {
            "cost_category": "team",
            "currency": "USD",
            "allocated": "2469.34",
            "billed": "2470.01",
            "capture_percent": "99.9",
        }
    ]
    assert document["dead_letters"] == {"ApiCallDeadLetters": 0, "UndeliveredEvents": 0}
    assert "capture_percent team USD,99.9\n" in rows


def test_an_empty_stack_has_a_status(cloud: Cloud) -> None:
    ran = run("status", "--period", "2026-10")

    assert ran.exit_code == 0
    for expected in ("none yet", "no day yet", "31 without data", "empty"):
        assert expected in ran.out


def test_what_these_credentials_may_not_see_is_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> list[str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")

    monkeypatch.setattr(status, "notice_times", refuse)

    assert "not readable with these credentials" in run("status", "--period", "2026-10").out
    assert run("status", "--period", "2026-10", output="json").json["quarantined"] is None


def test_days_to_come_are_not_missed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put_october(cloud)
    monkeypatch.setattr(status, "now", lambda: datetime(2026, 10, 5, 8, tzinfo=UTC))

    assert "1 final, 1 billed, 1 estimated, 2 without data" in run("status").out


def test_a_period_without_data_names_the_newest_that_has_some(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put_october(cloud)
    monkeypatch.setattr(status, "now", lambda: datetime(2026, 12, 1, 8, tzinfo=UTC))

    assert "the newest period with data is 2026-10" in run("status").out
    assert run("status", output="json").json["newest_period_with_data"] == "2026-10"


def test_a_price_list_that_was_not_read_whole_is_named_and_one_that_was_is_dated(cloud: Cloud) -> None:
    assert "AmazonBedrockService not read yet" in run("status", "--period", "2026-10").out

    prices = DynamoPrices(cloud.ledger, lambda: cloud.now)
    for hours, code in enumerate(OFFERS):
        read_at = cloud.now - timedelta(hours=hours)
        prices.record_reading(OfferReading(code, read_at, date(2026, 9, 11), 10, 2))

    assert "read 2026-10-04 05:30 UTC, published 2026-09-11" in run("status", "--period", "2026-10").out
    document = run("status", "--period", "2026-10", output="json").json["price_list"]
    assert (document["never_read"], document["published_on"]["AmazonBedrock"]) == ([], "2026-09-11")
