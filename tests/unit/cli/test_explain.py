"""`explain`: from an owner's amount back to the row of the bill, in words and in numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy, parse_policy
from adapters.usage_counters import DynamoUsageCounters
from adapters.work_bucket import S3OriginCharges
from attribution.allocation import allocate_day, estimate_day
from attribution.calibration import NO_PRICING
from attribution.charges import Basis, Costs, OriginCharge
from attribution.coverage import Counted
from attribution.days import DayVersion, make_day_version, usage_fingerprint
from attribution.deliveries import PinnedFile
from attribution.meters import TokenKind
from attribution.rules import Rules
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import ROLE, origin_charge, usage
from tests.unit.cli.support import BY_TEAM, OCTOBER, WRITTEN, Cloud, put_delivery, run

FIRST = date(2026, 10, 1)
INPUT = TokenKind.INPUT
OF_SEARCH = {"request_metadata": (("team", "search"),), "session_tags": (("team", "ads"),)}


def count(cloud: Cloud, *counted: Usage) -> None:
    """Add to the counters of the ledger."""
    counters = DynamoUsageCounters(cloud.ledger, 760, lambda: cloud.now)
    after = counters.checkpoint("stream", "shard")
    through = f"{int(after or 0) + 1:05d}"
    counters.apply("stream", "shard", after=after, through=through, differences={u.key: u.counters for u in counted})


def publish(cloud: Cloud, day: DayVersion, sequence: str) -> None:
    days = DynamoLedgerDays(cloud.ledger, 760, lambda: cloud.now)
    days.flip([days.stage(day, sequence)], replacing=days.pointers(OCTOBER))


USED = [
    usage({INPUT: 600}, requests=3, usage_date=FIRST, **OF_SEARCH),
    usage({INPUT: 150}, requests=2, usage_date=FIRST, request_metadata=(("team", "support"),)),
]


BILL = (
    origin_charge(usage_date=FIRST, iam_principal=ROLE, tags=(("iamPrincipal/team", "gateway"),)),
    origin_charge(usage_date=FIRST, line_item_type="Tax", units=None, costs=Costs.uniform(Decimal("0.25"))),
)


def put_bill(cloud: Cloud, rules: Rules = BY_TEAM, charges: Sequence[OriginCharge] = BILL) -> None:
    """The first of October as a delivery bills it, by default of two rows: input tokens of a role, and tax."""
    origin = S3OriginCharges(cloud.s3, cloud.work_bucket).write(FIRST, charges)
    count(cloud, *USED)
    day = make_day_version(
        FIRST,
        Basis.BILLED,
        allocate_day(charges, USED, rules),
        rules,
        origin=origin,
        usage=usage_fingerprint(USED),
        counted=Counted.of(USED),
    )
    record = put_delivery(cloud, execution_id="execution-0", sequence=f"{WRITTEN}#execution-0")
    files = (PinnedFile("cur/bill/data/bill-00001.csv.gz", "etag", 10),)
    put_delivery(cloud, report=replace(record.report, files=files))
    publish(cloud, day, f"{WRITTEN}#execution-1")


@pytest.fixture
def october(cloud: Cloud) -> Cloud:
    """That day, billed."""
    put_bill(cloud)
    return cloud


QUESTION = ("explain", "--date", "2026-10-01", "--category", "team", "--value", "search")
TEXT = """\
Why search (team) was charged $1.98 on 2026-10-01, in billed_cost
The day is billed: version VERSION of 2026-10-04 07:30 UTC, from
   delivery   execution-1 of 2026-10-04 06:00 UTC
   manifest   s3://report-bucket/cur/bill/metadata/BILLING_PERIOD=2026-10/bill-Manifest.json
   data files bill-00001.csv.gz

1. $1.98  anthropic.claude-sonnet-4-6, input, standard, 111122223333 us-east-1
   charge     2026-10-01/CHARGE
   bill       3.3 USD for 1,000 units in 1 row of USE1-MP:USE1_InputTokenCount-Units, operation InvokeModelInference
              caller arn:aws:sts::111122223333:assumed-role/Gateway/gateway
              tags iamPrincipal/team=gateway
   usage      600 of 1,000 units:
                600 in 3 requests with metadata team=search; session tags team=ads
              250 were billed and not counted: they are not spread over those that were
   owner      team: search by request metadata team; outranked: ads by session tag team, gateway by principal tag team
   sum        3.3 × 600 / 1000 = 1.98 USD
              1.98 USD in the ledger: made anew, the same to the last digit
"""


def asked(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = run(*(arguments or QUESTION), output="json").json
    return document


def test_a_finance_person_can_read_it(october: Cloud) -> None:
    document = asked()

    out = run(*QUESTION).out

    charge_id = document["charges"][0]["id"].partition("/")[2][:12]
    assert out == TEXT.replace("VERSION", document["version"][:12]).replace("CHARGE", charge_id)


def test_json_holds_the_exact_arithmetic_and_everything_it_rests_on(october: Cloud) -> None:
    document = asked()

    (charge,) = document["charges"]
    assert charge["arithmetic"] == [
        {"splits": "the row of the bill", "amount": "3.3", "weight": "600", "whole": "1000", "result": "1.98"}
    ]
    assert charge["is_verified"] is True
    assert charge["origin"]["units_not_counted"] == "250"
    assert charge["usage"][0]["request_metadata"] == {"team": "search"}
    assert document["delivery"]["data_files"] == ["s3://report-bucket/cur/bill/data/bill-00001.csv.gz"]
    assert set(document["made_from"]) == {"origin", "usage", "rules", "allocation"}


def test_csv_has_a_row_for_each_charge(october: Cloud) -> None:
    (row,) = csv.DictReader(io.StringIO(run(*QUESTION, output="csv").out))

    assert (row["amount"], row["origin_amount"], row["weight"], row["whole"]) == ("1.98", "3.3", "600", "1000")
    assert (row["value"], row["evidence"], row["is_verified"]) == ("search", "request_metadata", "true")


STREAMED = replace(BILL[0], operation="InvokeModelStreamingInference", units=Decimal(500), costs=Costs.uniform(Decimal("1.65")))


def test_rows_of_two_operations_are_told_apart_and_say_that_the_same_requests_stand_behind_both(cloud: Cloud) -> None:
    put_bill(cloud, charges=[*BILL, STREAMED])

    out = run(*QUESTION).out
    first, second = asked()["charges"]

    for operation, other in (("InvokeModelInference", second), ("InvokeModelStreamingInference", first)):
        assert f"in 1 row of USE1-MP:USE1_InputTokenCount-Units, operation {operation}\n" in out
        also = other["id"].partition("/")[2][:12]
        assert f"these requests stand behind 2 rows of the bill, 1,500 units together (also {also})" in out
    assert first["origin"]["charges_of_the_same_requests"] == [second["id"]]


def test_programs_are_told_the_operation_and_the_requests_behind_every_row(cloud: Cloud) -> None:
    put_bill(cloud, charges=[*BILL, STREAMED])

    rows = list(csv.DictReader(io.StringIO(run(*QUESTION, output="csv").out)))

    assert {(row["operation"], row["requests"]) for row in rows} == {
        ("InvokeModelInference", "3"),
        ("InvokeModelStreamingInference", "3"),
    }
    assert [charge["requests"] for charge in asked()["charges"]] == [3, 3]


def test_a_charge_is_explained_by_the_name_that_the_answer_gave_it(october: Cloud) -> None:
    charge_id = asked()["charges"][0]["id"]

    assert run("explain", charge_id).out.startswith("Why search (team) was charged $1.98 on 2026-10-01 by this charge, in")
    assert asked("explain", charge_id)["charges"] == asked("explain", charge_id[:20])["charges"] == asked()["charges"]


def test_a_model_may_be_named_as_people_name_it(october: Cloud) -> None:
    assert asked(*QUESTION, "--model", "Claude Sonnet 4.6")["charges"] == asked()["charges"]


def test_what_nobody_owns_says_why(october: Cloud) -> None:
    out = run("explain", "--date", "2026-10-01", "--value", "(unallocated)").out

    assert "Why (unallocated) (team) is left with $0.25 on 2026-10-01" in out
    assert "team: nobody, Tax: shared by no rule" in out
    assert "no counted request stands behind this row: it stays whole" in out


def test_the_rules_in_force_then_explain_a_day_though_others_are_in_force_now(october: Cloud) -> None:
    policy = DynamoPolicy(october.ledger)
    for keys in (["team"], ["squad"]):
        policy.apply(parse_policy({"cost_categories": [{"name": "team", "keys": keys}]}))

    assert asked()["moved_since"] == []


def test_a_share_of_tax_says_by_which_rule_and_weights_it_came(cloud: Cloud) -> None:
    shared = {
        "name": "tax",
        "record_types": ["Tax"],
        "method": "FIXED",
        "targets": ["search", "ads"],
        "percentages": ["60", "40"],
        "cost_categories": ["team"],
    }
    document = parse_policy({"cost_categories": [{"name": "team"}], "shared_charges": [shared]})
    DynamoPolicy(cloud.ledger).apply(document)
    put_bill(cloud, document.rules(FIRST))

    out = run("explain", "--date", "2026-10-01", "--value", "ads").out

    assert "team: ads, a share of what (unallocated) cost by rule 'tax', fixed" in out
    assert "0.25 × 40 / 100 = 0.1 USD (team)" in out
    assert "0.1 USD in the ledger: made anew, the same to the last digit" in out


def test_usage_that_moved_since_is_said_and_nothing_is_called_verified(october: Cloud) -> None:
    count(october, usage({INPUT: 50}, usage_date=FIRST, request_metadata=(("team", "billing"),)))

    ran = run(*QUESTION)

    assert "Not verified: the counted usage moved since." in ran.out
    assert "1.98 USD in the ledger: not verified" in ran.out
    assert asked()["charges"][0]["is_verified"] is False


def test_an_amount_that_was_changed_by_hand_is_a_failure(october: Cloud) -> None:
    october.s3.delete_objects(
        Bucket="work-bucket",
        Delete={"Objects": [{"Key": o["Key"]} for o in october.s3.list_objects_v2(Bucket="work-bucket")["Contents"]]},
    )
    days = DynamoLedgerDays(october.ledger, 760, lambda: october.now)
    pointer = days.pointers(OCTOBER)[FIRST]
    S3OriginCharges(october.s3, "work-bucket").write(FIRST, [origin_charge(usage_date=FIRST)])
    (stored,) = october.s3.list_objects_v2(Bucket="work-bucket")["Contents"]
    place = {"Bucket": "work-bucket", "Key": stored["Key"]}
    october.s3.copy_object(
        Bucket="work-bucket", Key=f"origin-charges/{FIRST}/{pointer.made_from['origin']}.ndjson.gz", CopySource=place
    )

    ran = run(*QUESTION)

    assert ran.exit_code == 1
    assert "changed by hand" in ran.err


def test_an_estimated_day_is_explained_by_units_and_what_they_were_recorded_at(cloud: Cloud) -> None:
    counted = Usage(USED[0].key, Counters(requests=3, units={INPUT: 600}, estimated={INPUT: Decimal("1.8")}))
    count(cloud, counted)
    estimated = estimate_day([counted], BY_TEAM)
    day = make_day_version(
        FIRST,
        Basis.ESTIMATED,
        estimated,
        BY_TEAM,
        origin="",
        usage=usage_fingerprint([counted]),
        pricing=NO_PRICING.fingerprint(estimated),
    )
    publish(cloud, day, "")

    out = run(*QUESTION).out

    assert "The day is estimated from counted usage" in out
    assert "600 units, 1.8 USD when recorded" in out
    assert "1.8 USD in the ledger: made anew, the same to the last digit" in out


def test_what_the_ledger_said_earlier_is_explained_too(october: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedrock_costs import stack

    monkeypatch.setattr(stack, "now", lambda: datetime(2026, 10, 6, tzinfo=UTC))

    assert asked(*QUESTION, "--as-of", "2026-10-05")["totals"] == {"USD": "1.98"}
    assert run(*QUESTION, "--as-of", "2026-10-03").exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain",), "name an owner by --date and --value, or a charge as DATE/ID"),
        (("explain", "2026-10-01"), "name a charge as DATE/ID and nothing else"),
        (("explain", "2026-10-01/ab", "--value", "search"), "name a charge as DATE/ID and nothing else"),
        (
            ("explain", "--date", "2026-10-01", "--value", "serch"),
            "The owners of that day: search, (unallocated), gateway, support.",
        ),
        (("explain", "2026-10-01/zz"), "2026-10-01 has no charge zz"),
        (
            ("explain", "--date", "2026-10-01", "--value", "search", "--model", "claude-sonnet"),
            "The models of search on that day: anthropic.claude-sonnet-4-6.",
        ),
        (("explain", "--date", "2026-10-02", "--value", "search"), "no data for 2026-10-02"),
        (("explain", "--date", "2026-10-01", "--value", "x", "--category", "teem"), "Did you mean team?"),
    ],
)
def test_a_question_without_answer_says_what_to_ask(october: Cloud, arguments: tuple[str, ...], message: str) -> None:
    ran = run(*arguments)

    assert ran.exit_code in (2, 4)
    assert message in " ".join(ran.err.replace("│", " ").split())
