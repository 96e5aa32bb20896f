"""`coverage`: gaps by name, the worst first, with what to do about each; units beside the bill."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from attribution.allocation import allocate_day, estimate_day
from attribution.charges import Basis, Costs
from attribution.meters import Meter, Tier, TokenKind
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import SONNET, origin_charge, usage
from tests.unit.cli.support import BY_TEAM, Cloud, put_october, run

FIRST, SECOND = date(2026, 10, 1), date(2026, 10, 2)
KEY: dict[str, Any] = {"usage_date": FIRST}
INPUT = TokenKind.INPUT


@pytest.fixture
def october(cloud: Cloud) -> Cloud:
    """A billed day with logging that is incomplete, off and impossible, with tax and a credit; and an estimated day."""
    used = [
        usage({INPUT: 500}, requests=5, **KEY, request_metadata=(("team", "search"),)),
        usage({INPUT: 100}, **KEY),
    ]
    charges = [
        origin_charge(**KEY, costs=Costs.uniform(Decimal("10.005"))),
        origin_charge(**KEY, region="eu-west-1", account_id="444455556666", costs=Costs.uniform(Decimal("20.333"))),
        origin_charge(**KEY, meter=Meter(SONNET, INPUT, Tier.BATCH), costs=Costs.uniform(Decimal("1"))),
        origin_charge(**KEY, line_item_type="Tax", units=None, costs=Costs.uniform(Decimal("3"))),
        origin_charge(**KEY, line_item_type="Credit", units=None, costs=Costs.uniform(Decimal("-15"))),
    ]
    cloud.put_day(FIRST, Basis.BILLED, allocate_day(charges, used, BY_TEAM), counted=used)
    later: dict[str, Any] = {"usage_date": SECOND}
    estimated = [
        Usage(
            usage({}, **later, request_metadata=(("team", "search"),)).key,
            Counters(requests=2, units={INPUT: 10}, estimated={INPUT: Decimal("0.5")}),
        ),
        usage({TokenKind.OUTPUT: 7}, **later),
        Usage(usage({}, **later, model="amazon.nova-sonic").key, Counters(requests=1, unmeasured=1, unlogged=1)),
        Usage(usage({}, **later, model="amazon.nova-pro").key, Counters(observed_only=2)),
    ]
    cloud.put_day(SECOND, Basis.ESTIMATED, estimate_day(estimated, BY_TEAM), counted=estimated)
    return cloud


TABLE = """\
2026-10 by gap, team, billed days, USD

 gap                  allocated   unallocated      cost
 ──────────────────────────────────────────────────────
 logging off              $0.00        $20.34    $20.34
 credit                   $0.00       -$15.00   -$15.00
 logging incomplete       $0.00         $4.00     $4.00
 tax                      $0.00         $3.00     $3.00
 no evidence              $0.00         $1.00     $1.00
 batch                    $0.00         $1.00     $1.00
 owned                    $5.00         $0.00     $5.00

 total                    $5.00        $14.34    $19.34
"""


def trimmed(text: str) -> str:
    """A table without the blanks that fill it up on the right."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_worst_gaps_come_first_each_with_its_remedy_and_place(october: Cloud) -> None:
    out = trimmed(run("coverage", "--period", "2026-10").out)

    assert "Capture rate: 25.8 % of $19.34 (billed_cost) have an owner." in out
    assert "  logging off (444455556666 eu-west-1): Turn on model invocation logging there." in out
    assert out.index("Turn on") < out.index("Share credits") < out.index("Share tax")


def test_what_an_estimate_cannot_hold_is_counted_beside_it(october: Cloud) -> None:
    out = run("coverage", "--period", "2026-10").out

    missing = "7 tokens without a price, 1 call whose units nothing states, 2 calls without a log record yet"
    assert f"Incomplete in the estimate: {missing}." in out


def test_json_holds_exact_amounts_that_sum_to_the_day(october: Cloud) -> None:
    document = run("coverage", "--period", "2026-10", output="json").json

    billed, estimated = document["coverage"]
    assert (billed["cost"], billed["allocated"], billed["unallocated"]) == ("19.338", "5.0025", "14.3355")
    for name in ("cost", "allocated", "unallocated"):
        assert sum(Decimal(gap[name]) for gap in billed["gaps"]) == Decimal(billed[name])
    assert {gap["gap"]: gap["cost"] for gap in estimated["gaps"]} == {"none": "0.5", "unpriced": "0"}


def test_gaps_by_account_and_region_are_rows_of_csv(october: Cloud) -> None:
    text = run("coverage", "--period", "2026-10", "--by", "account,region", output="csv").out

    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0] == {
        "basis": "billed", "currency": "USD", "account": "444455556666", "region": "eu-west-1", "gap": "logging_off",
        "cost": "20.333", "allocated": "0", "unallocated": "20.333",
    }  # fmt: skip
    assert sum(Decimal(row["cost"]) for row in rows if row["basis"] == "billed") == Decimal("19.338")


def test_units_stand_beside_the_bill_and_the_estimate(october: Cloud) -> None:
    text = run("coverage", "--period", "2026-10", "--by", "model", "--units", output="csv").out

    rows = {(row["basis"], row["model"]): row for row in csv.DictReader(io.StringIO(text))}
    sonnet = rows["billed", SONNET]
    assert (sonnet["billed_units"], sonnet["counted_units"], sonnet["counted_percent"]) == ("3000", "600", "20")
    assert (sonnet["billed_cost"], sonnet["requests"]) == ("31.338", "6")
    assert (rows["estimated", SONNET]["estimated_cost"], rows["estimated", SONNET]["unpriced_units"]) == ("0.5", "7")
    assert rows["estimated", "amazon.nova-sonic"]["unmeasured_calls"] == "1"


def test_the_table_of_units_fits_a_terminal(october: Cloud) -> None:
    out = run("coverage", "--period", "2026-10", "--by", "model", "--units").out

    assert "20.0 %" in out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_the_table_of_gaps_fits_a_terminal_and_adds_up(october: Cloud) -> None:
    assert TABLE in trimmed(run("coverage", "--period", "2026-10").out)


def test_days_before_a_cost_category_existed_count_as_unallocated_in_it(october: Cloud) -> None:
    from adapters.policy import parse_policy

    october.policy.apply(parse_policy({"cost_categories": [{"name": "team"}, {"name": "tenant"}]}))

    ran = run("coverage", "--period", "2026-10", "--category", "tenant")

    assert "Capture rate: 0.0 % of $19.34 (billed_cost) have an owner." in ran.out
    assert "were allocated before 'tenant' was defined" in ran.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--by", "acount"), "Did you mean account?"),
        (("--category", "teem"), "Did you mean team?"),
        (("--by", "tier"), "Choose from account, region, model, token_kind."),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(october: Cloud, arguments: tuple[str, str], hint: str) -> None:
    ran = run("coverage", "--period", "2026-10", *arguments)

    assert ran.exit_code == 2
    assert hint in ran.err


def test_a_day_whose_coverage_is_not_its_total_is_a_failure(cloud: Cloud) -> None:
    put_october(cloud)
    for item in list(cloud.ledger.query("PERIOD#2026-10", "DAY#2026-10-01")):
        item["totals"]["USD"]["billed_cost"] = "1"
        cloud.ledger.batch_put([item])

    ran = run("coverage", "--period", "2026-10")

    assert ran.exit_code == 1
    assert "the parts of 2026-10-01 do not add up to its total" in ran.err
