"""`deliveries`: what the cost report brought."""

from __future__ import annotations

from attribution.deliveries import DeliveryOutcome
from tests.unit.cli.support import Cloud, adjust_october, put_delivery, put_october, run


def test_a_delivery_and_what_needs_a_look(cloud: Cloud) -> None:
    put_delivery(cloud)
    put_delivery(
        cloud,
        execution_id="execution-0",
        sequence="2026-10-03T06:00:00+00:00#execution-0",
        outcome=DeliveryOutcome.REFUSED,
        reason="1 rows cannot be read\x1b[2J",
    )

    out = run("deliveries", "--period", "2026-10").out

    assert out.index("execution-0") < out.index("execution-1")
    for expected in (
        "12,345",
        "note: the export has no IAM principals",
        "usage type not decoded: USE1-NewThing, $0.50",
        "row not readable: data/part-0.csv.gz row 17: line_item_unblended_cost is not a number",
        "1 rows cannot be read[2J",
    ):
        assert expected in out


def test_json_and_csv(cloud: Cloud) -> None:
    put_delivery(cloud)

    delivery = run("deliveries", "--period", "2026-10", output="json").json["deliveries"][0]
    row = run("deliveries", "--period", "2026-10", output="csv").out.splitlines()[1]

    assert delivery["unclassified"] == {"USE1-NewThing": {"USD": {"billed_cost": "0.5", "list_cost": "0.5"}}}
    assert delivery["totals"]["USD"]["billed_cost"] == "2470.01"
    assert row == "2026-10,bill,execution-1,2026-10-04T06:00:00+00:00,published,12345,30,1,1,1,1,,0"


def test_a_delivery_that_adjusted_the_closed_month_says_by_how_much(cloud: Cloud) -> None:
    put_october(cloud)
    put_delivery(cloud)
    adjust_october(cloud)

    before, after = run("deliveries", "--period", "2026-10", output="json").json["deliveries"]

    assert (before["adjusted"], before["adjusted_days"]) == ({}, 0)
    assert (after["adjusted"]["USD"]["billed_cost"], after["adjusted_days"]) == ("-12.4", 1)
    out = run("deliveries", "--period", "2026-10").out
    assert out.count("adjusted 2026-10 after it was closed: -$12.40 on 1 day") == 1


def test_no_deliveries(cloud: Cloud) -> None:
    ran = run("deliveries", "--period", "2026-10")

    assert ran.exit_code == 4
    assert "no deliveries for 2026-10" in ran.err
