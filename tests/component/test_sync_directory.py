"""The function that keeps prices, models and calibrations up to date: what it reads, keeps, asks for, and survives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from moto import mock_aws

from adapters.directory import DynamoDirectory
from adapters.prices import DynamoPrices
from adapters.sources.bedrock_models import BedrockModels
from adapters.sources.offer_files import download
from attribution.errors import PriceListUnavailable
from attribution.meters import Meter, Routing, Tier, TokenKind
from tests.support import inputs
from tests.support.bedrock import ControlPlane, control_plane, foundation_model, profile_arn
from tests.support.inputs import allocate_everything, deliver, deliveries, ingest, record_logs
from tests.support.price_list import BulkApi, offer_file, product, serving, term
from tests.support.stack import FAILED_NONE, Sent, Stack, held_back, load_event, messages, windowed
from truth import price_list, summary

FUNCTION = "sync_directory"
SONNET = "anthropic.claude-sonnet-4-6"
NOVA_INPUT = Meter("amazon.nova-pro", TokenKind.INPUT)


@pytest.fixture
def bulk_api() -> Iterator[BulkApi]:
    """The company's price list, as the bulk API serves it."""
    with serving(price_list.offers(inputs.month())) as api:
        yield api


@pytest.fixture
def stack(bulk_api: BulkApi) -> Iterator[Stack]:
    with mock_aws():
        yield Stack(overrides={"PriceListUrl": bulk_api.url})


@pytest.fixture
def bedrock() -> Iterator[ControlPlane]:
    with control_plane() as plane:
        yield plane


def prices_of(stack: Stack) -> DynamoPrices:
    return DynamoPrices(stack.table("LedgerTable"), lambda: stack.now)


def directory_of(stack: Stack) -> DynamoDirectory:
    return DynamoDirectory(stack.table("LedgerTable"))


def with_bedrock(stack: Stack, bedrock: ControlPlane) -> ModuleType:
    """The function, whose Bedrock is on this machine."""
    handler = stack.handler(FUNCTION)
    handler.models = BedrockModels(bedrock.client)  # type: ignore[attr-defined]
    return handler


def do(stack: Stack, task: str, handler: ModuleType | None = None, **fields: str) -> list[Sent]:
    """Do one task; returns what is to be priced."""
    event = messages(FUNCTION, [{"task": task, **fields}])
    assert stack.invoke(handler or stack.handler(FUNCTION), event) == FAILED_NONE
    return stack.drain("RepriceQueue")


def estimate(stack: Stack) -> None:
    """Roll up everything that was recorded, and estimate its days."""
    assert stack.run("roll_up_usage", windowed(list(stack.stream("InvocationsTable"))))["batchItemFailures"] == []
    allocate_everything(stack)


# Prices ---------------------------------------------------------------------------------------------------------------


def test_the_price_list_becomes_prices_with_their_source_and_date(stack: Stack) -> None:
    do(stack, "prices")

    prices = prices_of(stack)
    found = prices.load(["amazon.nova-pro"]).find(NOVA_INPUT, "eu-west-1", inputs.PERIOD.first_day)
    assert found is not None
    assert (found.amount, found.per, found.source) == (Decimal("0.00092"), 1000, "AWS Price List AmazonBedrock 2026-02-01")
    assert {reading.code: reading.read_at for reading in prices.readings()} == dict.fromkeys(price_list.OFFER_CODES, stack.now)
    assert stack.metrics()["PricesStored"] > 100
    assert stack.metrics()["PriceListAgeHours"] == 0


def test_the_company_s_price_list_has_no_two_prices_for_one_meter(stack: Stack) -> None:
    do(stack, "prices")

    assert stack.said("prices contradict each other") == []


def test_the_same_price_list_again_writes_only_when_it_was_read(stack: Stack) -> None:
    do(stack, "prices")
    before = stack.items("LedgerTable")
    stack.now += timedelta(days=1)

    do(stack, "prices")

    changed = [(old, new) for old, new in zip(before, stack.items("LedgerTable"), strict=True) if old != new]
    assert {new["pk"] for _, new in changed} == {"DIRECTORY#price-list"}
    assert stack.said("prices read")[-1]["stored"] == 0


@pytest.mark.parametrize("fault", ["gone", "refused", "redirected", "large"])
def test_a_price_list_that_does_not_answer_leaves_prices_in_force_and_is_asked_again(
    stack: Stack, bulk_api: BulkApi, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(stack, "prices")
    before = stack.items("LedgerTable")
    stack.now += timedelta(days=8)
    if fault == "gone":
        bulk_api.bodies.clear()
    elif fault == "large":
        monkeypatch.setattr("adapters.sources.offer_files.download", lambda url: download(url, max_bytes=1000))
    else:
        bulk_api.status = {"refused": 403, "redirected": 302}[fault]
        bulk_api.location = f"{bulk_api.url}/elsewhere"

    error = held_back(stack, stack.handler(FUNCTION), messages(FUNCTION, [{"task": "prices"}]))

    assert error == PriceListUnavailable.__name__
    assert stack.items("LedgerTable") == before
    assert stack.metrics()["PriceListAgeHours"] == 8 * 24
    assert not any("elsewhere" in path for path in bulk_api.asked)


@pytest.mark.parametrize(
    "body", [b"<html>CANARY", b"{}", b'{"offerCode": "AmazonBedrock", "products": {}, "terms": {"OnDemand": {}}}']
)
def test_an_offer_that_is_none_is_quarantined_and_the_others_are_read(stack: Stack, bulk_api: BulkApi, body: bytes) -> None:
    bulk_api.bodies["AmazonBedrock"] = body

    do(stack, "prices")

    (notice,) = stack.notices()
    assert "AmazonBedrock" in notice["source"]
    assert "CANARY" not in json.dumps(notice) + stack.log.getvalue()
    assert [reading.code for reading in prices_of(stack).readings()] == [
        "AmazonBedrockFoundationModels",
        "AmazonBedrockService",
    ]
    assert "PriceListAgeHours" not in stack.metrics()


def test_prices_that_contradict_each_other_are_left_out_and_named(stack: Stack, bulk_api: BulkApi) -> None:
    usage_types = ("USE1-NovaPro-input-tokens", "USE1-amazon.nova-pro-mantle-input-tokens-standard")
    terms = (term("0.0008"), term("0.0009"))
    bulk_api.bodies["AmazonBedrock"] = offer_file(
        "AmazonBedrock", {u: (product(u), t) for u, t in zip(usage_types, terms, strict=True)}
    )

    do(stack, "prices")

    assert len(prices_of(stack).load(["amazon.nova-pro"])) == 0
    assert len(stack.said("prices contradict each other")[0]["prices"]) == 2


def test_another_address_than_aws_s_is_not_read(stack: Stack) -> None:
    stack.parameters["PriceListUrl"] = stack._refs["PriceListUrl"] = "https://prices.example.com"

    with pytest.raises(Exception, match="not an https:// address of AWS's price list"):
        stack.handler(FUNCTION)


# Models ---------------------------------------------------------------------------------------------------------------


def test_every_inference_profile_is_known_with_its_model_routing_and_tags(stack: Stack, bedrock: ControlPlane) -> None:
    regional, anywhere = profile_arn("p1"), profile_arn("p2")
    bedrock.profiles[regional] = [foundation_model(f"{SONNET}"), foundation_model(SONNET, "us-west-2")]
    bedrock.profiles[anywhere] = [foundation_model(SONNET, ""), foundation_model(SONNET)]
    bedrock.tags[regional] = {"team": "checkout"}

    do(stack, "models", with_bedrock(stack, bedrock))

    found = directory_of(stack).find([regional, anywhere])
    assert {arn: (e.model, e.routing) for arn, e in found.items()} == {
        regional: (SONNET, Routing.REGIONAL),
        anywhere: (SONNET, Routing.GLOBAL),
    }
    assert (found[regional].name, found[regional].tags) == ("name of p1", (("team", "checkout"),))
    assert found[regional].first_seen == stack.now


def test_a_deleted_profile_keeps_its_model(stack: Stack, bedrock: ControlPlane) -> None:
    arn = profile_arn("p1")
    bedrock.profiles[arn] = [foundation_model(SONNET)]
    do(stack, "models", with_bedrock(stack, bedrock))
    bedrock.profiles.clear()
    stack.now += timedelta(days=1)

    do(stack, "model", with_bedrock(stack, bedrock), arn=arn)

    (entry,) = directory_of(stack).of_kind("inference-profile")
    assert (entry.model, entry.deleted_at) == (SONNET, stack.now)


def test_a_profile_that_is_deleted_while_it_is_listed_does_not_hold_up_the_others(stack: Stack, bedrock: ControlPlane) -> None:
    gone, stays = profile_arn("p1"), profile_arn("p2")
    bedrock.profiles = {arn: [foundation_model(SONNET)] for arn in (gone, stays)}
    bedrock.without_tags.add(gone)

    do(stack, "models", with_bedrock(stack, bedrock))

    assert [entry.arn for entry in directory_of(stack).of_kind("inference-profile")] == [stays]


def test_somebody_who_creates_or_tags_a_profile_has_it_explained(stack: Stack) -> None:
    arn = profile_arn("p1")
    record = json.loads(load_event("record_api_calls")["Records"][0]["body"])
    record["detail"] |= {"eventName": "TagResource", "requestParameters": {"resourceARN": arn}, "errorCode": None}
    elsewhere = json.loads(json.dumps(record))
    elsewhere["detail"]["requestParameters"]["resourceARN"] = "arn:aws:bedrock:us-east-1:123456789012:guardrail/g1"

    stack.run("record_api_calls", messages("record_api_calls", [record, elsewhere]))

    assert [json.loads(message.body) for message in stack.drain("DirectoryQueue")] == [{"task": "model", "arn": arn}]


def test_custom_models_and_capacity_are_explained_one_by_one(stack: Stack, bedrock: ControlPlane) -> None:
    base = foundation_model("amazon.nova-pro-v1:0")
    custom = "arn:aws:bedrock:eu-west-1:123456789012:custom-model/amazon.nova-pro-v1:0:300k/abc"
    deployment = "arn:aws:bedrock:eu-west-1:123456789012:custom-model-deployment/d1"
    provisioned = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/p1"
    imported = "arn:aws:bedrock:us-east-1:123456789012:imported-model/i1"
    bedrock.others = {
        custom: {"modelArn": custom, "modelName": "n", "baseModelArn": base, "creationTime": "2026-10-01T00:00:00Z"},
        deployment: {"customModelDeploymentArn": deployment, "modelDeploymentName": "d", "modelArn": custom, "status": "Active",
                     "createdAt": "2026-10-01T00:00:00Z"},
        provisioned: {"provisionedModelArn": provisioned, "modelArn": base, "foundationModelArn": base, "modelUnits": 1,
                      "desiredModelUnits": 1, "provisionedModelName": "p", "desiredModelArn": base, "status": "InService",
                      "creationTime": "2026-10-01T00:00:00Z", "lastModifiedTime": "2026-10-01T00:00:00Z"},
        imported: {},
    }  # fmt: skip
    handler = with_bedrock(stack, bedrock)

    for arn in (custom, deployment, provisioned, imported, profile_arn("unknown")):
        do(stack, "model", handler, arn=arn)

    found = {e.arn: (e.model, e.tier) for kind in ("custom-model", "custom-model-deployment", "provisioned-model")
             for e in directory_of(stack).of_kind(kind)}  # fmt: skip
    assert found == {
        custom: ("amazon.nova-pro custom model", Tier.STANDARD),
        deployment: ("amazon.nova-pro custom model", Tier.STANDARD),
        provisioned: ("amazon.nova-pro", Tier.PROVISIONED),
    }
    assert [said["unexplained"] for said in stack.said("models read")] == [[], [], [], [imported], [profile_arn("unknown")]]


def test_an_arn_that_may_not_be_read_keeps_what_is_known_of_it(stack: Stack, bedrock: ControlPlane) -> None:
    arn = profile_arn("p1")
    bedrock.profiles[arn] = [foundation_model(SONNET)]
    handler = with_bedrock(stack, bedrock)
    do(stack, "model", handler, arn=arn)
    bedrock.denied.add(arn)

    do(stack, "model", handler, arn=arn)

    assert directory_of(stack).find([arn])[arn].deleted_at is None


# Unpriced requests ----------------------------------------------------------------------------------------------------


def test_requests_that_were_recorded_without_a_price_are_asked_for_once_there_is_one(stack: Stack) -> None:
    record_logs(stack, inputs.month(20))
    estimate(stack)
    assert do(stack, "pricing") == []

    asked = do(stack, "prices")

    bodies = [json.loads(message.body) for message in asked]
    unpriced = {i["unpriced"] for i in stack.items("InvocationsTable") if "unpriced" in i}
    assert bodies
    assert {f"{b['usage_date']}#{b['model']}" for b in bodies} <= unpriced
    assert all(not b["model"].startswith("arn:") for b in bodies)


def test_the_sample_event_asks_for_nothing_where_nothing_is_unpriced(stack: Stack) -> None:
    assert stack.run(FUNCTION, load_event(FUNCTION)) == FAILED_NONE
    assert stack.drain("RepriceQueue") == []


def test_profiles_that_usage_names_are_explained_and_their_requests_asked_for(stack: Stack, bedrock: ControlPlane) -> None:
    do(stack, "prices")
    record_logs(stack, inputs.month(60))
    estimate(stack)
    profiles = summary.directory()["inference_profiles"]
    halves = [found.metered for found in stack.invocations() if found.metered]
    named = {half.model for half in halves if half.model.startswith("arn:")}
    assert named == profiles.keys() & named
    assert named
    for arn in named:
        anywhere = [foundation_model(profiles[arn]["model_id"], "")] if profiles[arn]["routing"] == "global" else []
        bedrock.profiles[arn] = [*anywhere, foundation_model(profiles[arn]["model_id"])]

    asked = do(stack, "models", with_bedrock(stack, bedrock))

    assert {json.loads(message.body)["model"] for message in asked} == named


# Calibration ----------------------------------------------------------------------------------------------------------


def test_the_bill_s_private_rate_becomes_the_factor_of_estimates_until_there_is_no_recent_bill(stack: Stack) -> None:
    do(stack, "prices")
    ingest(stack, deliver(stack, deliveries("create_new")[-1]))
    allocate_everything(stack)
    # The company pays 88 % of the list price of Nova Pro, and the list price of everything else.
    stack.now = stack.now.replace(year=2026, month=3, day=1)

    do(stack, "calibration")

    used = [c for c in prices_of(stack).all_calibrations() if c.is_used]
    assert {c.factors.billed_cost for c in used if c.meter.model == "amazon.nova-pro"} == {Decimal("0.88")}
    assert {c.factors.billed_cost for c in used if c.meter.model != "amazon.nova-pro"} == {Decimal(1)}
    assert stack.said("estimates calibrated")[0]["used"] == len(used)

    learned = stack.wire_items("LedgerTable")
    do(stack, "calibration")
    assert stack.wire_items("LedgerTable") == learned

    stack.now += timedelta(days=60)
    do(stack, "calibration")
    assert list(prices_of(stack).all_calibrations()) == []


# Messages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["CANARY no JSON", {"task": "CANARY"}, {"task": "model"}, {"task": "prices", "arn": "CANARY"}])
def test_a_malformed_message_is_quarantined_without_its_content(stack: Stack, body: Any) -> None:
    assert stack.run(FUNCTION, messages(FUNCTION, [body])) == FAILED_NONE

    (notice,) = stack.notices()
    assert notice["source"] == "message m0"
    assert "CANARY" not in json.dumps(notice) + stack.log.getvalue()


def test_a_day_that_is_priced_says_so(stack: Stack) -> None:
    do(stack, "prices")
    record_logs(stack, inputs.month(20))
    estimate(stack)

    pointers = [i for i in stack.items("LedgerTable") if i["pk"] == f"PERIOD#{inputs.PERIOD}" and i["sk"].startswith("DAY#")]
    assert pointers
    assert all("pricing" in pointer["made_from"] for pointer in pointers)
    assert date.fromisoformat(pointers[0]["usage_date"]) >= inputs.PERIOD.first_day
