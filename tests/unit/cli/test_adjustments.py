"""`adjustments`: what changed in closed months."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from adapters.ledger_days import DynamoLedgerDays
from attribution.adjustments import Adjustment, Change
from attribution.charges import Costs, sum_costs
from bedrock_costs.commands import adjustments
from tests.unit.cli.support import ADJUSTED, OCTOBER, POLICIES, Cloud, adjust_october, give_october_to, put_october, run

TABLE = """\
billed_cost of closed months, 2026-10, USD

 month     changed                delivery      days      before       after   difference
 ────────────────────────────────────────────────────────────────────────────────────────
 2026-10   2026-11-23 09:00 UTC   execution-7      1   $2,470.01   $2,457.61      -$12.40

2026-10, execution-7: other bill
  by team: (unallocated) -$12.40
  by line item type: Refund -$12.40
  by account: 111122223333 -$12.40
  by day: 2026-10-01 -$12.40

"""


def test_a_late_refund(cloud: Cloud) -> None:
    put_october(cloud)
    adjust_october(cloud)

    out = run("adjustments", "--period", "2026-10").out

    assert [line.rstrip() for line in out.splitlines()] == TABLE.splitlines()


OWNERS = """\
billed_cost of closed months, 2026-10, USD

 month     changed                delivery      days      before       after   difference
 ────────────────────────────────────────────────────────────────────────────────────────
 2026-10   2026-11-23 09:00 UTC   execution-1      2   $2,470.01   $2,470.01        $0.00

2026-10, execution-1: other rules
  policy: 3f1c09a2b7d4 before, 8a2be60d4417 after
  by team: growth $2,468.67, search -$2,468.67
  by line item type: no difference
  by account: no difference
  by day: no difference

"""


def test_days_that_were_given_to_others_are_one_adjustment_for_people_and_each_one_for_programs(cloud: Cloud) -> None:
    put_october(cloud)
    give_october_to(cloud, "growth")

    out = run("adjustments", "--period", "2026-10").out
    found = run("adjustments", "--period", "2026-10", output="json").json["adjustments"]

    assert [line.rstrip() for line in out.splitlines()] == OWNERS.splitlines()
    assert [[day["usage_date"] for day in a["days"]] for a in found] == [["2026-10-01"], ["2026-10-02"]]
    assert found[0]["because"] == ["rules"]
    assert found[0]["policies"] == {"before": ["3f1c09a2b7d4"], "after": ["8a2be60d4417"]}
    assert found[0]["by_owner"] == {
        "team": [
            {"value": "growth", "currency": "USD", "difference": "1234.335"},
            {"value": "search", "currency": "USD", "difference": "-1234.335"},
        ]
    }


def test_days_that_were_given_away_twice_are_told_twice(cloud: Cloud) -> None:
    put_october(cloud)
    give_october_to(cloud, "growth")
    give_october_to(cloud, "search", "growth", POLICIES[::-1])

    out = run("adjustments", "--period", "2026-10").out

    assert [line for line in out.splitlines() if "by team" in line] == [
        "  by team: growth $2,468.67, search -$2,468.67",
        "  by team: growth -$2,468.67, search $2,468.67",
    ]


def test_json_has_the_parts_and_csv_a_row_for_each_day(cloud: Cloud) -> None:
    put_october(cloud)
    adjust_october(cloud)
    adjust_october(cloud, "2.4", "execution-8")

    found = run("adjustments", "--period", "2026-10", output="json").json["adjustments"]
    rows = list(csv.DictReader(io.StringIO(run("adjustments", "--period", "2026-10", output="csv").out)))

    assert [a["totals"]["USD"] for a in found] == [
        {"before": "2470.01", "after": "2457.61", "difference": "-12.4"},
        {"before": "2457.61", "after": "2460.01", "difference": "2.4"},
    ]
    assert found[0]["by_line_item_type"] == [{"value": "Refund", "currency": "USD", "difference": "-12.4"}]
    assert found[0]["changed_at"] == "2026-11-23T09:00:00+00:00"
    assert [(r["execution_id"], r["usage_date"], r["before"], r["after"], r["difference"]) for r in rows] == [
        ("execution-7", "2026-10-01", "1235.005", "1222.605", "-12.4"),
        ("execution-8", "2026-10-01", "1222.605", "1225.005", "2.4"),
    ]


def test_without_a_period_the_last_13_are_looked_at(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put_october(cloud)
    adjust_october(cloud)

    def read_at(year: int, month: int) -> tuple[list[str], int]:
        monkeypatch.setattr(adjustments, "now", lambda: datetime(year, month, 15, tzinfo=UTC))
        document = run("adjustments", output="json").json
        return document["periods"], len(document["adjustments"])

    periods, count = read_at(2027, 10)
    assert (periods[0], periods[-1], len(periods), count) == ("2026-10", "2027-10", 13, 1)
    assert read_at(2027, 11)[1] == 0


def test_a_month_that_did_not_change_is_no_failure(cloud: Cloud) -> None:
    put_october(cloud)

    ran = run("adjustments", "--period", "2026-10")

    assert (ran.exit_code, ran.out) == (0, "No closed month was adjusted: 2026-10.\n")


def test_only_the_largest_parts_are_printed_and_the_others_counted(cloud: Cloud) -> None:
    changes = {date(2026, 10, n): {"USD": Change(Costs(), Costs(billed_cost=Decimal(n) / 3))} for n in range(1, 8)}
    total = Change(Costs(), sum_costs(change["USD"].after for change in changes.values()))
    many = Adjustment(OCTOBER, "bill", "execution-7", "sequence", {"USD": total}, changes, {}, {})
    DynamoLedgerDays(cloud.ledger, 760, lambda: ADJUSTED).flip([], replacing={}, adjustment=many)

    out = run("adjustments", "--period", "2026-10").out

    assert "  by line item type: no difference\n" in out
    days = "2026-10-07 $2.33, 2026-10-06 $2.00, 2026-10-05 $1.67, 2026-10-04 $1.33, 2026-10-03 $1.00, and 2 more days"
    assert f"  by day: {days}\n" in out
