"""`request`: one call."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.directory import DynamoDirectory
from attribution.allocation import USAGE_NOT_LOGGED
from attribution.charges import AllocatedCharge, Basis, CategoryValue, Evidence
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.ports import MeteredHalf, ObservedHalf
from attribution.tag_history import Attributes, History
from attribution.usage import InvocationKey, Metered, Observed, PricedKind
from tests.unit.cli.support import ACCOUNT, REGION, Cloud, charge, run

KEY = InvocationKey("111122223333", "eu-west-1", "5f3c0b9e")
AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
METERED = Metered(
    timestamp=AT,
    model_id="anthropic.claude-sonnet-4-6",
    model="anthropic.claude-sonnet-4-6",
    operation="Converse",
    routing=Routing.REGIONAL,
    tier=Tier.STANDARD,
    inference_profile="",
    iam_principal="arn:aws:sts::111122223333:assumed-role/app/session",
    kinds={
        TokenKind.INPUT: PricedKind(1200, Decimal("0.0036"), "0.003 USD per 1000"),
        TokenKind.OUTPUT: PricedKind(10, Decimal("0.00015"), "0.015 USD per 1000"),
    },
    request_metadata=(("team", "search[bold]"),),
    flags=("cache_write_ttl_unknown",),
    price_source="AWS Price List AmazonBedrock 2026-10-01",
    log_object="s3://log-bucket/x.json.gz",
)
OBSERVED = Observed(
    timestamp=AT,
    event_name="Converse",
    model_id="anthropic.claude-sonnet-4-6",
    iam_principal="arn:aws:sts::111122223333:assumed-role/app/session",
    access_key_id="ASIAEXAMPLE",
    session_tags=(("team", "platform"),),
)


@pytest.fixture
def recorded(cloud: Cloud) -> Cloud:
    cloud.invocations.record_metered([MeteredHalf(KEY, METERED)])
    cloud.invocations.record_observed([ObservedHalf(KEY, OBSERVED)])
    return cloud


def test_a_call_with_its_price_caller_and_evidence(recorded: Cloud) -> None:
    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out

    for expected in (
        "0.00375 USD (estimated)",
        "AWS Price List AmazonBedrock 2026-10-01",
        "0.003 USD per 1,000",
        "cache_write_ttl_unknown",
        "assumed-role/app/session",
        "team=platform",
        "search[bold] (from request metadata; disagrees: session_tag: platform)",
    ):
        assert expected in out
    assert "ASIAEXAMPLE" not in out


@pytest.mark.parametrize(
    "args",
    [
        ["111122223333#eu-west-1#5f3c0b9e"],
        ["5f3c0b9e", "--account", "111122223333", "--region", "eu-west-1"],
        ["--account", "111122223333", "--region", "eu-west-1", "--request-id", "5f3c0b9e"],
    ],
)
def test_json_however_the_call_is_named(recorded: Cloud, args: list[str]) -> None:
    document = run("request", *args).json

    assert (document["region"], document["state"]) == ("eu-west-1", "joined")
    assert document["metered"]["cost"] == "0.00375"
    assert document["metered"]["token_kinds"][0] == {
        "token_kind": "input",
        "units": 1200,
        "unit_price": "0.003 USD per 1000",
        "cost": "0.0036",
    }
    assert document["owners"][0]["value"] == "search[bold]"


@pytest.mark.parametrize("args", [["5f3c0b9e"], ["--request-id", "5f3c0b9e"]])
def test_a_request_id_alone_is_looked_for_in_the_account_and_region_of_the_stack(cloud: Cloud, args: list[str]) -> None:
    cloud.invocations.record_metered([MeteredHalf(InvocationKey(ACCOUNT, REGION, "5f3c0b9e"), METERED)])

    document = run("request", *args).json

    assert (document["account"], document["region"]) == (ACCOUNT, REGION)


def test_csv_has_a_row_for_each_token_kind_with_caller_and_owner(recorded: Cloud) -> None:
    rows = list(csv.DictReader(io.StringIO(run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "csv").out)))

    assert [(r["token_kind"], r["units"], r["unit_price"], r["cost"], r["billed_cost"], r["currency"]) for r in rows] == [
        ("input", "1200", "0.003 USD per 1000", "0.0036", "", "USD"),
        ("output", "10", "0.015 USD per 1000", "0.00015", "", "USD"),
    ]
    assert {(r["account"], r["request_id"], r["iam_principal"], r["team"]) for r in rows} == {
        ("111122223333", "5f3c0b9e", METERED.iam_principal, "search[bold]")
    }


def put_bill(cloud: Cloud, *kinds: TokenKind, basis: Basis = Basis.FINAL) -> None:
    """A day that bills 3000 units of each kind at 1.5, to two teams, and as much to another caller at ten times of it."""
    charges = [
        replace(like(kind, Decimal(units), amount), iam_principal=principal)
        for kind in kinds
        for principal, units, amount in (
            (METERED.iam_principal, 2000, "1"),
            (METERED.iam_principal, 1000, "0.5"),
            ("other", 1, "9"),
        )
    ]
    cloud.put_day(DAY, basis, charges)


def like(kind: TokenKind, units: Decimal, amount: str) -> AllocatedCharge:
    """A charge for a token kind of calls of the recorded model."""
    made = charge(DAY, "search", amount, region=KEY.region, meter=Meter(METERED.model, kind), units=units)
    return replace(made, usage_type=f"{kind}-{units}")


def test_a_call_of_a_billed_day_has_the_rate_that_the_bill_paid_for_calls_like_it(recorded: Cloud) -> None:
    put_bill(recorded, TokenKind.INPUT, TokenKind.OUTPUT)

    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out
    document = run("request", "111122223333/eu-west-1/5f3c0b9e").json["billed"]

    assert document["token_kinds"] == [{"token_kind": "input", "cost": "0.6"}, {"token_kind": "output", "cost": "0.005"}]
    assert (document["cost"], document["basis"], document["charges"]) == ("0.605", "final", 4)
    assert "0.605 USD at what the final day paid for calls like it" in " ".join(out.split())
    assert "explain --date 2026-10-01 --model anthropic.claude-sonnet-4-6" in " ".join(out.split())


def test_a_call_of_which_the_bill_has_no_rate_for_a_part_has_no_billed_cost(recorded: Cloud) -> None:
    put_bill(recorded, TokenKind.INPUT)

    document = run("request", "111122223333/eu-west-1/5f3c0b9e").json["billed"]

    assert (document["cost"], document["token_kinds"][1]["cost"]) == (None, None)


def test_a_call_of_an_estimated_day_has_no_billed_cost(recorded: Cloud) -> None:
    put_bill(recorded, TokenKind.INPUT, TokenKind.OUTPUT, basis=Basis.ESTIMATED)

    assert run("request", "111122223333/eu-west-1/5f3c0b9e").json["billed"] is None


def test_a_call_that_only_cloudtrail_has_seen(cloud: Cloud) -> None:
    cloud.invocations.record_observed([ObservedHalf(KEY, OBSERVED)])

    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out

    assert "not known: no log record has arrived" in out
    assert "platform (from session tag)" in out


def test_a_call_that_cloudtrail_counted_has_a_provisional_cost(cloud: Cloud) -> None:
    kinds = {TokenKind.INPUT: PricedKind(1200, Decimal("0.0036"), "0.003 USD per 1000")}
    half = replace(
        OBSERVED, kinds=kinds, price_source="a list", issued_to="arn:aws:lambda:::function:chat", has_bearer_token=True
    )
    cloud.invocations.record_observed([ObservedHalf(KEY, half)])

    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out
    document = run("request", "111122223333/eu-west-1/5f3c0b9e").json

    for expected in ("0.0036 USD (provisional", "a list", "function:chat", "called with a Bedrock API key"):
        assert expected in out
    assert (document["state"], document["metered"]) == ("observed_only", None)
    assert (document["observed"]["cost"], document["observed"]["flags"]) == ("0.0036", ["provisional"])


def test_a_call_that_no_log_covers_has_no_cost(cloud: Cloud) -> None:
    half = replace(OBSERVED, is_uncovered=True, iam_principal="", identity_name="jo", project="arn:project")
    cloud.invocations.record_observed([ObservedHalf(KEY, half)])

    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out
    document = run("request", "111122223333/eu-west-1/5f3c0b9e").json

    for expected in ("no invocation log covers such calls", "jo", "arn:project"):
        assert expected in out
    assert (document["observed"]["cost"], document["observed"]["flags"]) == (None, ["unmeasured"])


def test_a_call_that_is_not_recorded(cloud: Cloud) -> None:
    ran = run("request", "111122223333/eu-west-1/other")

    assert ran.exit_code == 4
    assert "request 111122223333/eu-west-1/other is not recorded" in ran.err


@pytest.mark.parametrize(
    "args", [[], ["111122223333/eu-west-1"], ["a/b/c", "--account", "1"], ["--account", "1"], ["a", "--request-id", "a"], [""]]
)
def test_a_call_that_is_not_named_fully(cloud: Cloud, args: list[str]) -> None:
    assert run("request", *args).exit_code == 2


DAY = date(2026, 10, 1)


def billed(value: CategoryValue, **changes: str) -> AllocatedCharge:
    """A charge for calls like the recorded one."""
    return charge(
        DAY,
        "",
        "1",
        region=KEY.region,
        meter=Meter(METERED.model, TokenKind.INPUT),
        iam_principal=METERED.iam_principal,
        categories=(value,),
        **changes,
    )


TAGGED = CategoryValue("team", "research", Evidence("resource_tag", "research"))
OF_OTHER_CALLS = CategoryValue("team", "search", Evidence("request_metadata", "search"))
NOT_LOGGED = CategoryValue("team", "", reason=USAGE_NOT_LOGGED)


def owner_of_a_call_without_evidence(cloud: Cloud, basis: Basis, *charges: AllocatedCharge) -> str:
    cloud.invocations.record_metered([MeteredHalf(KEY, replace(METERED, request_metadata=()))])
    cloud.put_day(DAY, basis, charges)
    out = run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out
    return next(line.split("team", 1)[1].strip(" │") for line in out.splitlines() if line.strip(" │").startswith("team"))


def test_a_call_without_evidence_has_the_owner_that_the_bill_names_for_its_like(cloud: Cloud) -> None:
    elsewhere = billed(CategoryValue("team", "growth", Evidence("resource_tag", "growth")), account_id="999999999999")
    charges = (billed(TAGGED), billed(OF_OTHER_CALLS), billed(NOT_LOGGED), elsewhere)

    assert owner_of_a_call_without_evidence(cloud, Basis.BILLED, *charges) == "research (from resource tag in the bill)"


@pytest.mark.parametrize(
    ("basis", "others"),
    [
        (Basis.ESTIMATED, ()),
        (Basis.BILLED, (billed(CategoryValue("team", "growth", Evidence("resource_tag", "growth"))),)),
    ],
)
def test_an_owner_that_the_bill_does_not_tell_is_said_to_be_unknown(
    cloud: Cloud, basis: Basis, others: tuple[AllocatedCharge, ...]
) -> None:
    said = owner_of_a_call_without_evidence(cloud, basis, billed(TAGGED), *others)

    assert said == "not known from usage and tags: the bill may know"


@pytest.mark.parametrize("basis", [Basis.ESTIMATED, Basis.BILLED])
def test_a_call_whose_owner_neither_it_nor_the_bill_tells_has_that_of_its_caller_s_tags_of_the_day(
    cloud: Cloud, basis: Basis
) -> None:
    role = "arn:aws:iam::111122223333:role/app"
    before = History(role).seen(Attributes((("team", "research"),)), AT - timedelta(days=1))
    DynamoDirectory(cloud.ledger).record(None, before.seen(Attributes((("team", "growth"),)), AT + timedelta(days=2)))
    disagreeing = billed(CategoryValue("team", "growth", Evidence("resource_tag", "growth")))

    said = owner_of_a_call_without_evidence(cloud, basis, billed(TAGGED), disagreeing)

    assert said.startswith("research (from principal tag in the directory; unless the bill's tags say")


def test_a_call_that_the_bill_leaves_unallocated_is_so_too(cloud: Cloud) -> None:
    nobody = billed(CategoryValue("team", "", reason="no evidence of an owner"))

    assert owner_of_a_call_without_evidence(cloud, Basis.FINAL, nobody) == "(unallocated): no evidence of an owner"


def test_guardrail_units_are_shown_beside_the_cost_of_the_model(cloud: Cloud) -> None:
    cloud.invocations.record_metered([MeteredHalf(KEY, replace(METERED, guardrail_units=(("topicPolicyUnits", 2),)))])

    assert run("request", "111122223333/eu-west-1/5f3c0b9e").json["metered"]["guardrail_units"] == {"topicPolicyUnits": 2}
    assert "topicPolicyUnits=2" in run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out


def test_a_call_of_which_only_a_part_was_counted_has_no_known_cost(cloud: Cloud) -> None:
    cloud.invocations.record_metered([MeteredHalf(KEY, replace(METERED, flags=("unmeasured",)))])

    assert run("request", "111122223333/eu-west-1/5f3c0b9e").json["metered"]["cost"] is None
    assert "nothing says all that was used" in run("request", "111122223333/eu-west-1/5f3c0b9e", "--output", "table").out
