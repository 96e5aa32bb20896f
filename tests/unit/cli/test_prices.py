"""`prices`: offer files in, prices in force out."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.prices import DynamoPrices, snapshot
from attribution.calibration import Calibration
from attribution.charges import Costs
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import PriceList
from bedrock_costs import offers
from bedrock_costs.price_comparison import compare, models_of, read_table
from tests.support.inputs import SAMPLES
from tests.support.price_list import OFFERS, offer_file, product, serving, term
from tests.unit.cli.support import Cloud, run

NOVA_INPUT = Meter("amazon.nova-pro", TokenKind.INPUT)


def offer(amount: str = "0.0000008000", code: str = "AmazonBedrock") -> bytes:
    """An offer file with a price that can be read, one of a Region of its own, and one that cannot."""
    return offer_file(
        code,
        {
            "A": (product("USE1-NovaPro-input-tokens"), term(amount)),
            "B": (product("EUW1-NovaPro-output-tokens", region="eu-west-1"), term(amount)),
            "C": (product("USE1-Guardrail-Something\u001b[2J"), term(amount, "units")),
        },
    )


def prices_of(cloud: Cloud) -> DynamoPrices:
    return DynamoPrices(cloud.ledger, lambda: cloud.now)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "AmazonBedrock.json"
    path.write_bytes(offer())
    return path


def test_load_says_what_was_read_and_what_was_left_out(cloud: Cloud, file: Path) -> None:
    document = run("prices", "load", str(file), output="json").json
    table = run("prices", "load", str(file)).out
    row = run("prices", "load", str(file), output="csv").out.splitlines()[1]

    assert document["stored"] == 2
    assert document["sources"][0]["left_out"] == ["USE1-Guardrail-Something\x1b[2J"]
    assert [message["body"] for message in cloud.received("DirectoryQueue")] == [{"task": "pricing"}]
    assert "Nothing is new" in table
    assert "USE1-Guardrail-Something[2J" in table
    assert row.endswith(",2,1")


def test_show_has_the_prices_of_the_stacks_region(cloud: Cloud, file: Path) -> None:
    run("prices", "load", str(file))

    here = run("prices", "show", "--model", "Nova Pro", output="json").json["prices"]
    everywhere = run("prices", "show", "--all-regions", "--model", "Nova Pro", output="csv").out.splitlines()
    table = run("prices", "show", "--model", "us.amazon.nova-pro-v1:0").out

    assert [(p["model"], p["token_kind"], p["amount"], p["per"]) for p in here] == [
        ("amazon.nova-pro", "input", "0.0000008", 1000)
    ]
    assert len(everywhere) == 3
    assert "0.0000008 USD" in table
    assert "Sources: AWS Price List AmazonBedrock 2026-10-01" in table


def test_no_prices(cloud: Cloud) -> None:
    ran = run("prices", "show", "--model", "amazon.nova-poor")

    assert ran.exit_code == 4
    assert "no prices of amazon.nova-poor (did you mean amazon.nova-pro?) in us-east-1" in ran.err


def test_files_that_are_no_offers(cloud: Cloud, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")

    assert "not an AWS Price List offer file" in run("prices", "load", str(wrong)).err
    assert "missing.json cannot be read" in run("prices", "load", "missing.json").err


def test_sync_downloads_the_three_offers(cloud: Cloud) -> None:
    with serving({code: offer(code=code) for code in OFFERS}) as api:
        document = run("prices", "sync", "--base-url", api.url, output="json").json

    assert api.asked == [
        "/offers/v1.0/aws/AmazonBedrock/current/index.json",
        "/offers/v1.0/aws/AmazonBedrockFoundationModels/current/index.json",
        "/offers/v1.0/aws/AmazonBedrockService/current/index.json",
    ]
    assert [source["prices"] for source in document["sources"]] == [2, 2, 2]


def test_sync_tells_when_the_price_list_does_not_answer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as api:
        ran = run("prices", "sync", "--base-url", api.url)
    gone = run("prices", "sync", "--base-url", api.url)
    monkeypatch.setattr(offers, "MAX_BYTES", 10)
    with serving({code: offer(code=code) for code in OFFERS}) as api:
        large = run("prices", "sync", "--base-url", api.url)

    assert "answered 404" in ran.err
    assert "could not be downloaded" in gone.err
    assert "is larger than 10 bytes" in large.err


def test_prices_are_not_read_over_plain_http(cloud: Cloud) -> None:
    assert run("prices", "sync", "--base-url", "http://prices.example.com").exit_code == 2


def test_a_price_list_that_contradicts_itself_is_told(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "AmazonBedrock.json"
    path.write_bytes(
        offer_file(
            "AmazonBedrock",
            {
                "A": (product("USE1-NovaPro-input-tokens"), term("0.0008")),
                "B": (product("USE1-amazon.nova-pro-mantle-input-tokens-standard"), term("0.0009")),
            },
        )
    )

    ran = run("prices", "load", str(path))

    assert "Nothing is new" in ran.out
    assert ran.out.count("two usage types contradict each other: amazon.nova-pro input standard regional us-east-1") == 2


def test_show_says_what_stands_in_where_no_list_was_read(cloud: Cloud) -> None:
    shown = run("prices", "show", "--model", "Claude Sonnet 4.6", output="json").json["prices"]

    assert {p["origin"] for p in shown} == {"snapshot"}
    assert {p["source"] for p in shown} == {"snapshot 2026-09-11"}
    assert len(shown) == 14


def calibration(**changes: object) -> Calibration:
    factors = replace(Costs.uniform(Decimal("0.88")), list_cost=Decimal(1))
    day = date(2026, 10, 1)
    found = Calibration(NOVA_INPUT, "us-east-1", factors, 7, day, day, Decimal(10**6), Decimal("0.8"))
    return replace(found, **changes)  # type: ignore[arg-type]


def test_show_has_the_factor_of_the_bill_or_why_there_is_none(cloud: Cloud, file: Path) -> None:
    run("prices", "load", str(file))
    shown = ("prices", "show", "--model", "Nova Pro")
    assert run(*shown, output="json").json["prices"][0]["not_calibrated_because"] == "not billed recently"

    prices_of(cloud).replace_calibrations([], [calibration()])
    (price,) = run(*shown, output="json").json["prices"]
    assert price["calibration"]["factors"]["net_effective_cost"] == "0.88"
    assert price["not_calibrated_because"] == ""
    assert "× 0.88" in run(*shown).out

    prices_of(cloud).replace_calibrations([calibration()], [calibration(not_used_because="billed on 2 days, and 3 are needed")])
    assert "× 0.88" not in run(*shown).out
    assert run(*shown, output="csv").out.splitlines()[1].endswith('"billed on 2 days, and 3 are needed"')


# Prices that the customer states ----------------------------------------------------------------------------------------

YAML = """
prices:
  - {model: Claude Sonnet 4.6, region: us-east-1, token_kind: input, amount: 2.70, per: 1000000, effective_from: 2026-10-01,
     note: private offer 17}
  - model: us.anthropic.claude-sonnet-4-6
    region: us-east-1
    token_kind: output
    routing: global
    tier: batch
    amount: "13.50"
    per: 1000000
    effective_from: 2026-10-01
"""
CSV = """model,region,token_kind,amount,per,effective_from,note,routing,tier
Claude Sonnet 4.6,us-east-1,input,2.70,1000000,2026-10-01,private offer 17,,
us.anthropic.claude-sonnet-4-6,us-east-1,output,13.50,1000000,2026-10-01,,global,batch
"""


@pytest.mark.parametrize(("name", "content"), [("prices.yaml", YAML), ("prices.csv", CSV)])
def test_stated_prices_win_over_the_list_until_they_are_removed(cloud: Cloud, tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    sonnet = Meter("anthropic.claude-sonnet-4-6", TokenKind.INPUT)

    loaded = run("prices", "override", str(path))

    found = prices_of(cloud).load([sonnet.model]).find(sonnet, "us-east-1", date(2026, 10, 4))
    assert found is not None
    assert (found.amount, found.source) == (Decimal("2.70"), "override: private offer 17")
    assert "2 prices in force" in loaded.out
    assert [message["body"] for message in cloud.received("DirectoryQueue")] == [{"task": "pricing"}]
    listed = run("prices", "overrides", output="json").json["prices"]
    assert [(p["token_kind"], p["tier"], p["routing"]) for p in listed] == [
        ("output", "batch", "global"),
        ("input", "standard", "regional"),
    ]

    run("prices", "remove", "--model", "Claude Sonnet 4.6", "--token-kind", "input")

    assert prices_of(cloud).load([sonnet.model]).find(sonnet, "us-east-1", date(2026, 10, 4)) == snapshot()[sonnet.model][0]
    assert len(run("prices", "overrides", output="json").json["prices"]) == 1


def test_a_stated_price_of_a_model_that_nothing_knows_is_in_force_and_said(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(CSV.replace("Claude Sonnet 4.6", "Claude Sonnet 9"))

    first, second = run("prices", "override", str(path)), run("prices", "override", str(path))

    assert first.exit_code == 0
    assert "no price, no usage and no catalogue knows the model 'Claude Sonnet 9'" in first.err
    assert "claude-sonnet-4-6" not in first.err.partition("; did you mean")[0]
    # By then a price knows it.
    assert "no price" not in second.err


def test_everything_that_is_wrong_with_a_file_of_prices_is_told_at_once(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices: [{model: m, region: Virginia, token_kind: input, amount: 1e400, per: 7}, {modle: m}]")

    ran = run("prices", "override", str(path))

    assert ran.exit_code == 1
    for wrong in ("price 1: region", "price 1: amount", "price 1: per", "price 1: effective_from", "price 2: modle"):
        assert wrong in ran.err
    assert run("prices", "overrides", output="json").json["prices"] == []


@pytest.mark.parametrize("content", ["", "prices: []", "prices: 7", "[1]", "a: [", "prices: [1]"])
def test_a_file_without_prices(cloud: Cloud, tmp_path: Path, content: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(content)

    assert run("prices", "override", str(path)).exit_code == 1


def test_without_stated_prices_that_is_what_is_said(cloud: Cloud) -> None:
    assert run("prices", "overrides").out == "No prices are stated.\n"


def test_no_stated_price_to_remove(cloud: Cloud) -> None:
    assert run("prices", "remove", "--model", "Nova Pro").exit_code == 4


# Another project's table ------------------------------------------------------------------------------------------------


def test_compare_prints_where_another_table_disagrees_and_stores_nothing(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(
        json.dumps(
            {
                "us.anthropic.claude-sonnet-4-6": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 3.3e-06},
                "global.anthropic.claude-sonnet-4-6": {"litellm_provider": "bedrock", "output_cost_per_token": 3e-05},
                "anthropic.claude-sonnet-4-6": {"litellm_provider": "bedrock", "input_cost_per_token": 3e-06},
                "amazon.nova-pro-v1:0": {"litellm_provider": "bedrock", "input_cost_per_token": 8e-07},
                "bedrock/us-east-1/1-month-commitment/x": {"litellm_provider": "bedrock", "input_cost_per_token": 1},
                "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1},
            }
        )
    )
    before = list(cloud.ledger.query("PRICES"))

    document = run("prices", "compare", str(path), output="json").json

    assert document["agreed"] == 1
    assert [(d["key"], d["ours"], d["theirs"], d["ratio"]) for d in document["disagreements"]] == [
        ("global.anthropic.claude-sonnet-4-6", "15", "30", "2")
    ]
    assert document["only_theirs"] == ["amazon.nova-pro-v1:0 input standard"]
    assert "theirs ÷ ours" in run("prices", "compare", str(path)).out
    assert list(cloud.ledger.query("PRICES")) == before


def test_the_published_table_agrees_with_the_snapshot() -> None:
    path = SAMPLES / "prices" / "litellm_bedrock_prices.json"
    if not path.is_file():
        pytest.skip("the published table is not at hand")
    table = read_table(path)
    prices = PriceList(price for model in models_of(table) for price in snapshot().get(model, ()))
    comparison = compare(table, prices, "us-east-1", date(2026, 9, 11) + timedelta(days=1))

    assert comparison.agreed > 10
    assert comparison.disagreements == ()


def test_what_is_no_table_of_prices(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text("[]")

    assert "no table of model prices" in run("prices", "compare", str(path)).err
    assert "cannot be read" in run("prices", "compare", str(tmp_path / "missing")).err


def test_the_snapshot_is_the_published_price_list() -> None:
    path = SAMPLES / "cur" / "price_list_sonnet46_usage_types.csv"
    if not path.is_file():
        pytest.skip("the published price list is not at hand")
    kinds = {
        "InputTokenCount": TokenKind.INPUT,
        "OutputTokenCount": TokenKind.OUTPUT,
        "CacheReadInputTokenCount": TokenKind.CACHE_READ,
        "CacheWriteInputTokenCount": TokenKind.CACHE_WRITE,
        "CacheWrite1hInputTokenCount": TokenKind.CACHE_WRITE_1H,
    }
    published = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        dimension, _, rest = row["usagetype_without_region_prefix"].partition("_")
        if dimension in kinds:
            tier = Tier.BATCH if rest.endswith("Batch") else Tier.STANDARD
            routing = Routing.GLOBAL if rest.startswith("Global") else Routing.REGIONAL
            published[kinds[dimension], tier, routing] = (Decimal(row["usd"]), 1_000_000)

    (prices,) = snapshot().values()
    assert {(p.meter.token_kind, p.meter.tier, p.meter.routing): (p.amount, p.per) for p in prices} == published
