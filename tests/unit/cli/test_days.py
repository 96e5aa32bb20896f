"""`days`: what each day was made from."""

from __future__ import annotations

from datetime import date

from attribution.charges import Basis
from tests.unit.cli.support import Cloud, put_october, run


def test_the_days_of_a_period(cloud: Cloud) -> None:
    put_october(cloud)

    lines = [line.split() for line in run("days", "--period", "2026-10").out.splitlines()]

    assert ["2026-10-01", "final", "$1,235.01", "3"] in [line[:4] for line in lines]
    assert ["2026-10-03", "estimated", "$1,235.00", "3"] in [line[:4] for line in lines]
    assert ["total", "$3,705.02"] in lines


def test_json_names_the_delivery_and_what_a_day_was_made_from(cloud: Cloud) -> None:
    put_october(cloud)

    days = run("days", "--period", "2026-10", output="json").json["ledger_days"]

    assert [day["delivery"] for day in days] == ["execution-1", "execution-1", ""]
    assert days[0]["totals"] == {"USD": {"billed_cost": "1235.005"}}
    assert days[0]["made_from"]["origin"] == "origin-2026-10-01"


def test_csv_has_a_row_for_a_day_without_charges(cloud: Cloud) -> None:
    cloud.put_day(date(2026, 10, 1), Basis.BILLED, [])

    header, row = run("days", "--period", "2026-10", output="csv").out.splitlines()

    assert header == "usage_date,basis,currency,cost,charges,version,changed_at,delivery"
    assert row.startswith("2026-10-01,billed,,0,0,")
    assert "2026-10-01" in run("days", "--period", "2026-10").out


def test_no_days(cloud: Cloud) -> None:
    ran = run("days", "--from", "2026-10-01", "--to", "2026-10-01")

    assert ran.exit_code == 4
    assert "no data for 2026-10-01" in ran.err
