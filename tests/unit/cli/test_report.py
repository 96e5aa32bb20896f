"""`report`: by a dimension, billed and estimated apart, in every form."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from adapters.day_parts import part_key
from adapters.directory import DynamoDirectory
from adapters.dynamodb import to_wire
from adapters.ledger_days import DynamoLedgerDays
from attribution.charges import COST_METRICS, Basis
from attribution.cost_categories import by_evidence
from attribution.days import sums_root
from attribution.meters import Meter, TokenKind
from attribution.reporting.costs import Metric
from attribution.rules import Rules
from attribution.tag_history import Attributes, History
from bedrock_costs import stack
from tests.unit.cli.support import OCTOBER, POLICIES, Cloud, adjust_october, charge, give_october_to, put_october, run

TABLE = """\
billed_cost of 2026-10 by team, USD

 team               billed   estimated       total   requests   tokens     share
 ───────────────────────────────────────────────────────────────────────────────
 search          $2,468.67   $1,234.34   $3,703.01          9    3,000   100.0 %
 support             $0.67       $0.34       $1.01          9    3,000    <0.1 %
 (unallocated)       $0.67       $0.33       $1.00          9    3,000    <0.1 %

 total           $2,470.01   $1,235.01   $3,705.02         27    9,000   100.0 %

31 days: 1 final, 1 billed, 1 estimated, 28 without data. As of 2026-10-04 07:30 UTC.
"""
CSV = """\
period,metric,basis,where,dimension,value,name,currency,billed,estimated,total,requests,tokens,share_percent
2026-10,billed_cost,mixed,,team,search,,USD,2468.67,1234.335,3703.005,9,3000,100
2026-10,billed_cost,mixed,,team,support,,USD,0.67,0.335,1.005,9,3000,0
2026-10,billed_cost,mixed,,team,(unallocated),,USD,0.67,0.335,1.005,9,3000,0
"""


def trimmed(text: str) -> str:
    """A table without the blanks that fill it up on the right."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_table_adds_up_and_says_how_sure_it_is(cloud: Cloud) -> None:
    put_october(cloud)

    ran = run("report", "--period", "2026-10")

    assert trimmed(ran.out) == TABLE
    assert (ran.exit_code, ran.err) == (0, "")


def test_csv_holds_exact_amounts(cloud: Cloud) -> None:
    put_october(cloud)

    assert run("report", "--period", "2026-10", output="csv").out == CSV


def test_json_holds_exact_amounts_as_text(cloud: Cloud) -> None:
    put_october(cloud)

    document = run("report", "--period", "2026-10", output="json").json

    assert document["schema"] == 1
    assert document["days"] == {"final": 1, "billed": 1, "estimated": 1, "without_data": 28}
    assert document["as_of"] == "2026-10-04T07:30:00+00:00"
    assert document["currencies"][0]["total"] == {
        "billed": "2470.01",
        "estimated": "1235.005",
        "total": "3705.015",
        "requests": 27,
        "tokens": "9000",
    }
    assert [row["is_unallocated"] for row in document["currencies"][0]["rows"]] == [False, False, True]


def test_without_a_terminal_the_output_is_json(cloud: Cloud) -> None:
    from typer.testing import CliRunner

    from bedrock_costs.main import app

    put_october(cloud)

    assert CliRunner().invoke(app, ["report", "--period", "2026-10"]).stdout.startswith('{\n  "schema": 1,')


def test_another_dimension_and_metric(cloud: Cloud) -> None:
    put_october(cloud)

    document = run("report", "--period", "2026-10", "--by", "model", "--metric", "list_cost", output="json").json

    assert [row["value"] for row in document["currencies"][0]["rows"]] == ["amazon.nova-pro"]
    assert (document["dimension"], document["metric"]) == ("model", "list_cost")


def test_a_range_of_days_across_periods(cloud: Cloud) -> None:
    put_october(cloud)
    cloud.put_day(date(2026, 11, 1), Basis.ESTIMATED, [charge(date(2026, 11, 1), "search", "1")])

    document = run("report", "--from", "2026-10-03", "--to", "2026-11-01", output="json").json

    assert document["days"] == {"final": 0, "billed": 0, "estimated": 2, "without_data": 28}
    assert document["currencies"][0]["total"]["total"] == "1236.005"


def test_a_closed_month_says_what_changed_it_since(cloud: Cloud) -> None:
    put_october(cloud)
    adjust_october(cloud)

    table = run("report", "--period", "2026-10").out
    document = run("report", "--period", "2026-10", output="json").json

    assert "Adjusted by -$12.40 on 2026-11-23 09:00 UTC, after 2026-10 was closed." in table
    assert document["adjustments"] == [
        {
            "billing_period": "2026-10",
            "changed_at": "2026-11-23T09:00:00+00:00",
            "execution_id": "execution-7",
            "currency": "USD",
            "difference": "-12.4",
        }
    ]
    assert document["currencies"][0]["total"]["total"] == "3692.615"


def test_a_closed_month_whose_owners_changed_says_how_much_has_other_owners(cloud: Cloud) -> None:
    put_october(cloud)
    give_october_to(cloud, "growth")

    table = " ".join(run("report", "--period", "2026-10").out.split())
    document = run("report", "--period", "2026-10", output="json").json

    assert "$2,468.67 has other owners in team since 2026-10 was closed: `bedrock-costs adjustments --period 2026-10`" in table
    assert document["owner_changes"] == [
        {"billing_period": "2026-10", "value": "growth", "currency": "USD", "difference": "2468.67"},
        {"billing_period": "2026-10", "value": "search", "currency": "USD", "difference": "-2468.67"},
    ]
    assert run("report", "--period", "2026-10", "--by", "model", output="json").json["owner_changes"] == []


def test_owners_that_have_back_what_they_had_are_no_change(cloud: Cloud) -> None:
    put_october(cloud)
    give_october_to(cloud, "growth")
    give_october_to(cloud, "search", "growth", POLICIES[::-1])

    assert run("report", "--period", "2026-10", output="json").json["owner_changes"] == []


def test_days_and_status_say_which_days_changed_since_their_month_was_closed(cloud: Cloud) -> None:
    put_october(cloud)
    give_october_to(cloud, "growth")

    days = run("days", "--period", "2026-10", output="json").json["ledger_days"]
    status = run("status", "--period", "2026-10", output="json").json

    assert [day["is_adjusted"] for day in days] == [True, True, False]
    assert "final, adjusted" in run("days", "--period", "2026-10").out
    assert status["adjusted_days"] == ["2026-10-01", "2026-10-02"]
    assert "2 days adjusted" in run("status", "--period", "2026-10").out


def test_days_that_were_not_adjusted_say_nothing_of_it(cloud: Cloud) -> None:
    put_october(cloud)
    adjust_october(cloud)

    assert run("report", "--from", "2026-10-02", "--to", "2026-10-03", output="json").json["adjustments"] == []


def test_currencies_are_never_added(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    cloud.put_day(on, Basis.BILLED, [charge(on, "search", "10"), charge(on, "search", "7", currency="EUR")])

    table = run("report", "--period", "2026-10").out

    assert "by team, EUR" in table
    assert "by team, USD" in table
    assert "€7.00" in table
    assert "17" not in table


def test_a_day_from_before_the_cost_category_counts_as_unallocated(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    cloud.put_day(on, Basis.BILLED, [charge(on, "search", "10")], rules=Rules.of([by_evidence("tenant", ("tenant",))]))

    ran = run("report", "--period", "2026-10", output="json")

    assert [(r["value"], r["total"], r["requests"]) for r in ran.json["currencies"][0]["rows"]] == [("(unallocated)", "10", 3)]
    assert "1 day from 2026-10-01 on were allocated before 'team' was defined" in ran.json["notes"][0]


def test_sums_that_do_not_add_up_are_not_shown(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    cloud.put_day(on, Basis.BILLED, [charge(on, "search", "10")])
    (pointer,) = DynamoLedgerDays(cloud.ledger, 760, lambda: cloud.now).pointers(OCTOBER).values()
    cloud.dynamodb.delete_item(TableName="ledger", Key=to_wire(part_key(on, pointer.roots[sums_root("team")])))

    ran = run("report", "--period", "2026-10")

    assert (ran.exit_code, ran.out) == (1, "")
    assert "1 parts of 2026-10-01 expired while they were read" in ran.err


def test_an_empty_ledger_is_not_ready(cloud: Cloud) -> None:
    ran = run("report", "--period", "2026-10")

    assert ran.exit_code == 4
    assert ran.err.startswith("error: no data for 2026-10: the ledger has no day of it\n")
    assert "fix: Check `bedrock-costs status`" in ran.err


def test_a_period_without_data_names_the_newest_that_has_some(cloud: Cloud) -> None:
    put_october(cloud)

    for command in ("report", "days", "coverage"):
        ran = run(command, "--period", "2026-12")
        assert ran.exit_code == 4
        assert "The newest period with data is 2026-10: try --period 2026-10." in " ".join(ran.err.split())


def test_an_option_that_is_none_of_its_choices_is_refused_in_words_for_people(cloud: Cloud) -> None:
    metric, output = run("report", "--metric", "cost"), run("report", output="xml")

    assert "Invalid value for '--metric': 'cost' is not one of 'billed_cost'" in " ".join(metric.err.split())
    assert "Invalid value for '--output': 'xml' is not one of 'table'" in " ".join(output.err.split())


@pytest.mark.parametrize("width", ["20", "60", "80", "100", "200"])
def test_no_number_is_ever_cut(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    on = date(2026, 10, 1)
    team = "a-team-with-a-name-that-is-longer-than-anybody-would-like"
    cloud.put_day(on, Basis.BILLED, [charge(on, team, "9876543.21", units=Decimal(123456789012))])
    monkeypatch.setenv("COLUMNS", width)

    out = run("report", "--period", "2026-10").out

    assert out.count("$9,876,543.21") == 4
    assert out.count("123,456,789,012") == (2 if width == "200" else 0)
    assert ("Too narrow for" in out) == (width != "200")


def test_hostile_values_are_only_text(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    hostile = '=HYPERLINK("http://x")[red]\x1b[2J\u202e'
    cloud.put_day(on, Basis.BILLED, [charge(on, hostile, "1"), charge(on, "[/nonsense]", "2")])

    table = run("report", "--period", "2026-10").out
    cells = list(csv.reader(io.StringIO(run("report", "--period", "2026-10", output="csv").out)))
    text = run("report", "--period", "2026-10", output="json")

    assert '=HYPERLINK("http://x")[red][2J' in table
    assert "[/nonsense]" in table
    assert "\x1b" not in table
    assert "\u202e" not in table
    assert cells[2][5] == '\'=HYPERLINK("http://x")[red][2J'
    assert "\x1b" not in text.out
    assert text.json["currencies"][0]["rows"][1]["value"] == hostile


def test_a_negative_amount_stays_a_number_in_csv(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    cloud.put_day(on, Basis.BILLED, [charge(on, "search", "-5")])

    assert "search,,USD,-5,0,-5,3,1000,\n" in run("report", "--period", "2026-10", output="csv").out
    assert "-$5.00" in run("report", "--period", "2026-10").out


def test_an_unknown_dimension_is_answered_with_the_nearest(cloud: Cloud) -> None:
    ran = run("report", "--by", "modle")

    assert ran.exit_code == 2
    assert "Did you mean model?" in ran.err


SONNET, NOVA = "anthropic.claude-sonnet-4-6", "amazon.nova-pro"


def put_models(cloud: Cloud) -> None:
    """Two days on which two teams called two models, one of them through a profile."""
    for day, basis in ((1, Basis.FINAL), (2, Basis.ESTIMATED)):
        on = date(2026, 10, day)
        charges = [
            charge(on, team, amount, meter=Meter(model, TokenKind.INPUT), usage_type=model[:6], inference_profile=profile)
            for team, model, amount, profile in (
                ("search", SONNET, "10", "arn:p"),
                ("search", NOVA, "3", ""),
                ("ads", SONNET, "5", ""),
                ("", NOVA, "1", ""),
            )
        ]
        cloud.put_day(on, basis, charges)


def reported(*arguments: str) -> dict[str, tuple[str, str]]:
    """What is billed and estimated of each value."""
    (currency,) = run("report", "--period", "2026-10", *arguments, output="json").json["currencies"]
    return {row["value"]: (row["billed"], row["estimated"]) for row in currency["rows"]}


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (("--by", "model", "--where", "team=search"), {SONNET: ("10", "10"), NOVA: ("3", "3")}),
        (("--by", "team", "--where", f"model={SONNET}"), {"search": ("10", "10"), "ads": ("5", "5")}),
        (("--by", "model", "--where", "team=(unallocated)"), {NOVA: ("1", "1")}),
        (("--by", "team", "--where", "team=search"), {"search": ("13", "13")}),
        (("--by", "team", "--where", "team=search", "--where", f"model={NOVA}"), {"search": ("3", "3")}),
        (("--by", "team", "--where", "inference_profile=(none)", "--where", f"model={SONNET}"), {"ads": ("5", "5")}),
        (("--by", "provider"), {"anthropic": ("15", "15"), "amazon": ("4", "4")}),
        (("--by", "usage_type"), {"anthro": ("15", "15"), "amazon": ("4", "4")}),
        (("--by", "inference_profile"), {"": ("9", "9"), "arn:p": ("10", "10")}),
    ],
)
def test_a_part_of_the_cost_by_any_dimension(
    cloud: Cloud, arguments: tuple[str, ...], rows: dict[str, tuple[str, str]]
) -> None:
    put_models(cloud)

    assert reported(*arguments) == rows


@pytest.mark.parametrize("dimension", ["model", "account", "token_kind", "iam_principal", "line_item_type", "feature", "tier"])
def test_the_parts_of_all_values_add_up_to_the_whole(cloud: Cloud, dimension: str) -> None:
    put_models(cloud)

    parts = [reported("--by", dimension, "--where", f"team={team}") for team in ("search", "ads", "(unallocated)")]
    whole = reported("--by", dimension)

    added = {value: sum(Decimal(part[value][0]) for part in parts if value in part) for value in whole}
    assert added == {value: Decimal(billed) for value, (billed, _) in whole.items()}


def test_a_part_says_what_it_is_a_part_of(cloud: Cloud) -> None:
    put_models(cloud)
    asked = ("report", "--period", "2026-10", "--by", "model", "--where", "team=search")

    (row, *_) = csv.DictReader(io.StringIO(run(*asked, output="csv").out))

    assert (row["where"], row["dimension"], row["share_percent"]) == ("team=search", "model", "76.9")
    assert "billed_cost of 2026-10 by model where team=search, USD" in run(*asked).out
    assert run(*asked, output="json").json["where"] == {"team": "search"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--where", "team"), "'team' is no condition: write it as team=growth"),
        (("--where", "taem=search"), "Did you mean team?"),
        (("--where", "team=search", "--where", "team=ads"), "team is named twice"),
        (("--by", "team", "--by", "model"), "--by model --where team=VALUE"),
        (("--by", "team,model"), "a report has one dimension"),
        (("--where", "team=serch"), "2026-10 has no charge with team=serch"),
        (("--where", "team=ads", "--where", f"model={NOVA}"), f"no charge with team=ads and model={NOVA}"),
    ],
)
def test_a_part_that_cannot_be_reported_is_refused_by_what_is_wrong(
    cloud: Cloud, arguments: tuple[str, ...], message: str
) -> None:
    put_models(cloud)

    ran = run("report", "--period", "2026-10", *arguments)

    assert (ran.exit_code, ran.out) == (4 if "no charge" in message else 2, "")
    assert message in " ".join(ran.err.split())


def test_charges_that_do_not_add_up_to_their_day_are_not_shown(cloud: Cloud) -> None:
    put_models(cloud)
    pointer = cloud.days.pointers(OCTOBER)[date(2026, 10, 1)]
    key = {"pk": "PERIOD#2026-10", "sk": "DAY#2026-10-01"}
    cloud.dynamodb.update_item(
        TableName="ledger",
        Key=to_wire(key),
        UpdateExpression="SET charge_count = :n",
        ExpressionAttributeValues=to_wire({":n": pointer.charge_count + 1}),
    )

    ran = run("report", "--period", "2026-10", "--where", "team=search", "--by", "model")

    assert (ran.exit_code, ran.out) == (1, "")
    assert "the parts of 2026-10-01 do not add up" in ran.err


def test_an_account_has_its_name_and_a_caller_no_more_than_its_name(cloud: Cloud) -> None:
    on = date(2026, 10, 1)
    arn = "arn:aws:sts::111122223333:assumed-role/app/session"
    cloud.put_day(on, Basis.BILLED, [charge(on, "search", "1", iam_principal=arn, account_id="111122223333")])
    DynamoDirectory(cloud.ledger).record(None, History("111122223333").seen(Attributes(name="payments"), cloud.now))

    (row,) = csv.DictReader(io.StringIO(run("report", "--period", "2026-10", "--by", "account", output="csv").out))

    assert (row["value"], row["name"]) == ("111122223333", "payments")
    assert "111122223333 payments" in " ".join(run("report", "--period", "2026-10", "--by", "account").out.split())
    assert "111122223333 app/session" in " ".join(run("report", "--period", "2026-10", "--by", "iam_principal").out.split())
    assert reported("--by", "iam_principal") == {arn: ("1", "0")}


def test_options_that_contradict_each_other(cloud: Cloud) -> None:
    for args in (
        ["--period", "2026-10", "--from", "2026-10-01"],
        ["--to", "2026-10-01"],
        ["--from", "2026-10-02", "--to", "2026-10-01"],
        ["--period", "2026-13"],
        ["--from", "yesterday"],
        ["--metric", "price"],
    ):
        assert run("report", *args).exit_code == 2, args


def test_every_metric_of_the_ledger_can_be_reported() -> None:
    assert sorted(Metric) == sorted(COST_METRICS)


FIRST = date(2026, 10, 1)


@pytest.fixture
def cloud_of_october(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The first of October is estimated one day and billed the next; it is the day after."""
    monkeypatch.setattr(stack, "now", lambda: datetime(2026, 10, 3, 12, tzinfo=UTC))
    cloud.now = datetime(2026, 10, 1, 18, tzinfo=UTC)
    cloud.put_day(FIRST, Basis.ESTIMATED, [charge(FIRST, "search", "10")])
    cloud.now = datetime(2026, 10, 2, 18, tzinfo=UTC)
    cloud.put_day(FIRST, Basis.BILLED, [charge(FIRST, "search", "9")])
    return cloud


@pytest.mark.parametrize(
    ("moment", "billed", "estimated"),
    [
        ("2026-10-01T18:00", "0", "10"),
        ("2026-10-02T17:59:59", "0", "10"),
        ("2026-10-02T20:00+02:00", "9", "0"),
        ("2026-10-30", "9", "0"),
    ],
)
def test_a_report_as_of_a_moment_is_what_the_ledger_said_then(
    cloud_of_october: Cloud, moment: str, billed: str, estimated: str
) -> None:
    document = run("report", "--period", "2026-10", "--as-of", moment, output="json").json

    (row,) = document["currencies"][0]["rows"]
    assert (row["billed"], row["estimated"]) == (billed, estimated)
    assert document["asked_as_of"] is not None


def test_a_report_as_of_a_moment_says_so(cloud_of_october: Cloud) -> None:
    out = run("report", "--period", "2026-10", "--as-of", "2026-10-02").out

    assert "As the ledger stood on 2026-10-02 00:00 UTC, changed last on 2026-10-01 18:00 UTC." in out


def test_adjustments_that_came_later_are_no_part_of_a_report_as_of_a_moment(cloud: Cloud) -> None:
    put_october(cloud)
    adjust_october(cloud)

    def adjusted(*as_of: str) -> int:
        return len(run("report", "--period", "2026-10", *as_of, output="json").json["adjustments"])

    assert (adjusted(), adjusted("--as-of", "2026-11-20")) == (1, 0)


def test_a_version_that_has_expired_is_named_with_what_is_still_known_of_it(cloud_of_october: Cloud) -> None:
    ledger = cloud_of_october.ledger
    for item in list(ledger.query("PERIOD#2026-10", "HISTORY#2026-10-01#2026-10-01")):
        ledger.delete(pk="DAY#2026-10-01", sk=f"VERSION#{item['version']}")

    ran = run("report", "--period", "2026-10", "--as-of", "2026-10-02")

    assert ran.exit_code == 4
    assert "what the ledger said of 1 day at 2026-10-02 00:00 UTC has expired" in ran.err
    assert "2026-10-01: estimated on 2026-10-01 18:00 UTC, $10.00 in all" in ran.err


def test_before_the_first_version_the_ledger_had_nothing(cloud: Cloud) -> None:
    put_october(cloud)

    ran = run("report", "--period", "2026-10", "--as-of", "2026-09-30")

    assert ran.exit_code == 4
    assert "the ledger had no day of 2026-10 at 2026-09-30 00:00 UTC" in ran.err


def test_the_total_of_an_estimate_stays_known_after_its_parts_have_expired(cloud_of_october: Cloud) -> None:
    ledger = cloud_of_october.ledger
    (estimate, bill) = ledger.query("PERIOD#2026-10", "HISTORY#2026-10-01")
    (header,) = ledger.query("DAY#2026-10-01", f"VERSION#{estimate['version']}")

    assert "expires_at" not in bill
    assert (estimate["expires_at"] - header["expires_at"]) / 86400 > 700


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "0001-01-01", "--to", "2026-10-01"),
        ("--from", "2026-10-01", "--to", "9999-12-31"),
        ("--period", "0001-01"),
        ("--as-of", "0001-01-01T00:00+14:00"),
        ("--as-of", "9999-12-31T23:59-14:00"),
    ],
)
def test_years_in_which_nobody_used_bedrock_are_refused(cloud: Cloud, arguments: tuple[str, ...]) -> None:
    ran = run("report", *arguments)

    assert ran.exit_code == 2
    assert "is not between 2000 and 2100" in ran.err
