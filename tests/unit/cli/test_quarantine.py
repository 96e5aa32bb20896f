"""`quarantine`: the notices, newest first."""

from __future__ import annotations

from datetime import UTC, datetime

from adapters.work_bucket import S3Quarantine
from attribution.errors import InputRejected
from tests.unit.cli.support import Cloud, run


def put_notice(cloud: Cloud, source: str) -> None:
    quarantine = S3Quarantine(cloud.s3, "work-bucket", lambda: datetime(2026, 10, 1, 12, 30, tzinfo=UTC))
    quarantine.put(InputRejected(source, "not JSON\x1b[2J", 7))


def test_notices_in_every_form(cloud: Cloud) -> None:
    put_notice(cloud, "s3://log-bucket/a.json.gz")

    table = run("quarantine").out
    document = run("quarantine", output="json").json
    row = run("quarantine", output="csv").out.splitlines()[1]

    assert "2026-10-01 12:30" in table
    assert "not JSON[2J" in table
    assert "1 of 1 notice." in table
    assert document["count"] == 1
    assert document["notices"][0]["line"] == 7
    assert document["notices"][0]["notice"].startswith("s3://work-bucket/quarantine/")
    assert row.startswith("2026-10-01T12:30:00+00:00,s3://log-bucket/a.json.gz,7,not JSON[2J,")


def test_the_limit(cloud: Cloud) -> None:
    for name in "abc":
        put_notice(cloud, f"s3://log-bucket/{name}.json.gz")

    document = run("quarantine", "--limit", "2", output="json").json

    assert (document["count"], len(document["notices"])) == (3, 2)


def test_nothing_in_quarantine(cloud: Cloud) -> None:
    ran = run("quarantine")

    assert (ran.exit_code, ran.out) == (0, "Nothing is in quarantine.\n")
