"""The function that keeps prices, models and calibrations up to date: what it reads, keeps, asks for, and survives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from adapters import wiring
from adapters.directory import DynamoDirectory
from adapters.ledger_days import DynamoLedgerDays
from adapters.prices import DynamoPrices
from adapters.sources.aws_attributes import AwsAttributes
from adapters.sources.bedrock_models import BedrockModels
from adapters.sources.mantle_projects import MantleProjects
from adapters.sources.offer_files import download
from adapters.usage_counters import DynamoUsageCounters
from attribution.charges import AllocatedCharge
from attribution.cost_categories import NO_EVIDENCE
from attribution.errors import PriceListUnavailable
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.periods import BillingPeriod
from attribution.tag_history import Attributes, History
from attribution.usage import Counters, UsageKey
from tests.support import inputs
from tests.support.bedrock import ControlPlane, control_plane, foundation_model, profile_arn
from tests.support.inputs import allocate_everything, deliver, deliveries, ingest, record_logs
from tests.support.price_list import BulkApi, offer_file, product, serving, term
from tests.support.stack import ACCOUNT, FAILED_NONE, Sent, Stack, held_back, load_event, messages, windowed
from truth import price_list, summary
from truth.organisation import PLATFORM

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
        yield Stack(overrides={"PriceListUrl": bulk_api.url, "ReadOrganization": "true"})


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
    projects = MantleProjects(bedrock.client, boto3.Session("testing", "testing").get_credentials)
    handler.attributes = AwsAttributes(wiring.client, projects.read, read_organization=True)  # type: ignore[attr-defined]
    return handler


def do(stack: Stack, task: str, handler: ModuleType | None = None, **fields: Any) -> list[Sent]:
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
    tags = directory_of(stack).attributes_on([regional], stack.now.date())
    assert tags == {regional: Attributes((("team", "checkout"),), "name of p1")}
    assert found[regional].first_seen == stack.now


def test_a_deleted_profile_keeps_its_model(stack: Stack, bedrock: ControlPlane) -> None:
    arn = profile_arn("p1")
    bedrock.profiles[arn] = [foundation_model(SONNET)]
    do(stack, "models", with_bedrock(stack, bedrock))
    bedrock.profiles.clear()
    stack.now += timedelta(days=1)

    do(stack, "entries", with_bedrock(stack, bedrock), ids=[arn])

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

    (task,) = [json.loads(message.body) for message in stack.drain("DirectoryQueue")]
    assert task == {"task": "entries", "ids": [arn], "changed_at": task["changed_at"], "event": "TagResource"}
    assert datetime.fromisoformat(task["changed_at"]) == datetime.fromisoformat(record["detail"]["eventTime"])


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
        do(stack, "entries", handler, ids=[arn])

    found = {e.arn: (e.model, e.tier) for kind in ("custom-model", "custom-model-deployment", "provisioned-model")
             for e in directory_of(stack).of_kind(kind)}  # fmt: skip
    assert found == {
        custom: ("amazon.nova-pro custom model", Tier.STANDARD),
        deployment: ("amazon.nova-pro custom model", Tier.STANDARD),
        provisioned: ("amazon.nova-pro", Tier.PROVISIONED),
    }
    assert [said["unexplained"] for said in stack.said("directory read")] == [[], [], [], [imported], [profile_arn("unknown")]]


def test_an_arn_that_may_not_be_read_keeps_what_is_known_of_it(stack: Stack, bedrock: ControlPlane) -> None:
    arn = profile_arn("p1")
    bedrock.profiles[arn] = [foundation_model(SONNET)]
    handler = with_bedrock(stack, bedrock)
    do(stack, "entries", handler, ids=[arn])
    bedrock.denied.add(arn)

    do(stack, "entries", handler, ids=[arn])

    assert directory_of(stack).find([arn])[arn].deleted_at is None


# Tags and names -------------------------------------------------------------------------------------------------------

ROLE, USER = f"arn:aws:iam::{ACCOUNT}:role/search", f"arn:aws:iam::{ACCOUNT}:user/jo"
PROJECT = f"arn:aws:bedrock-mantle:us-east-1:{ACCOUNT}:project/proj_1"


def history_of(stack: Stack, id: str) -> History:
    found = directory_of(stack).history(id)
    assert found is not None
    return found


def create_role(**tags: str) -> Any:
    iam = boto3.client("iam", "us-east-1")
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    iam.create_role(RoleName="search", Path="/teams/eu/", AssumeRolePolicyDocument="{}", Tags=listed)
    return iam


def test_the_tags_of_a_role_are_kept_with_every_change(stack: Stack) -> None:
    iam = create_role(team="search")
    do(stack, "entries", ids=[ROLE])
    iam.tag_role(RoleName="search", Tags=[{"Key": "team", "Value": "ads"}])
    began = stack.now.date()
    stack.now += timedelta(days=3)
    tagged_at = stack.now - timedelta(days=1)
    do(stack, "entries", ids=[ROLE], changed_at=tagged_at.isoformat(), event="TagRole")

    directory = directory_of(stack)
    by_day = [
        dict(directory.attributes_on([ROLE], began + timedelta(days=n))[ROLE].tags)["team"] for n in (-30, 0, 1, 2, 3, 30)
    ]
    assert by_day == ["search", "search", "search", "ads", "ads", "ads"]
    assert [(e.effective_from, e.told_by) for e in history_of(stack, ROLE).entries] == [
        (stack.now - timedelta(days=3), "reading"),
        (tagged_at, "TagRole"),
    ]


def test_a_reading_again_writes_no_entry_and_the_same_reading_nothing(stack: Stack) -> None:
    create_role(team="search")
    do(stack, "entries", ids=[ROLE])
    before = stack.items("LedgerTable")

    do(stack, "entries", ids=[ROLE])
    assert stack.items("LedgerTable") == before
    stack.now += timedelta(days=1)
    do(stack, "entries", ids=[ROLE])

    assert [i["pk"] for i in stack.items("LedgerTable") if i["pk"].startswith("DIRECTORY#history#")] == [
        f"DIRECTORY#history#{ROLE}"
    ]
    assert history_of(stack, ROLE).last_seen == stack.now


def test_a_user_and_many_tags_are_read_whole_and_what_is_deleted_keeps_its_tags(stack: Stack) -> None:
    iam = boto3.client("iam", "us-east-1")
    tags = {f"key{number:02}": "v" for number in range(50)}
    iam.create_user(UserName="jo", Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    do(stack, "entries", ids=[USER])
    iam.delete_user(UserName="jo")
    stack.now += timedelta(days=1)

    do(stack, "entries", ids=[USER])

    found = history_of(stack, USER)
    assert dict(found.entries[0].attributes.tags) == tags
    assert found.deleted_at == stack.now


def test_an_account_has_its_name_its_tags_and_the_path_of_its_units(stack: Stack) -> None:
    organizations = boto3.client("organizations", "us-east-1")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    retail = organizations.create_organizational_unit(ParentId=root, Name="Retail")["OrganizationalUnit"]["Id"]
    unit = organizations.create_organizational_unit(ParentId=retail, Name="Production")["OrganizationalUnit"]["Id"]
    created = organizations.create_account(AccountName="payments", Email="p@example.com")["CreateAccountStatus"]["AccountId"]
    organizations.tag_resource(ResourceId=created, Tags=[{"Key": "team", "Value": "payments"}])
    do(stack, "entries", ids=[created, ACCOUNT])
    organizations.move_account(AccountId=created, SourceParentId=root, DestinationParentId=unit)
    stack.now += timedelta(days=1)
    do(stack, "entries", ids=[created], changed_at=stack.now.isoformat(), event="MoveAccount")

    team = (("team", "payments"),)
    assert [e.attributes for e in history_of(stack, created).entries] == [
        Attributes(team, "payments", "Root"),
        Attributes(team, "payments", "Root/Retail/Production"),
    ]


def test_an_organization_that_may_not_be_read_leaves_accounts_unreadable_and_says_so(stack: Stack) -> None:
    do(stack, "entries", ids=[ACCOUNT])
    stack.parameters["ReadOrganization"] = stack._refs["ReadOrganization"] = "false"
    do(stack, "entries", ids=["444455556666"])

    assert history_of(stack, ACCOUNT).unreadable == "it is no account of this organization"
    assert "ReadOrganization" in history_of(stack, "444455556666").unreadable
    assert stack.metrics()["DirectoryEntriesUnreadable"] == 2
    assert {*stack.said("directory read")[0]["unreadable"]} == {ACCOUNT}


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_a_denied_reading_keeps_what_was_known(stack: Stack, bedrock: ControlPlane, code: str) -> None:
    create_role(team="search")
    handler = with_bedrock(stack, bedrock)
    do(stack, "entries", handler, ids=[ROLE])

    def refused(service: str, region: str | None = None) -> Any:
        raise ClientError({"Error": {"Code": code}}, "ListRoleTags")

    handler.attributes = AwsAttributes(refused, lambda arn: None, read_organization=True)  # type: ignore[attr-defined]
    do(stack, "entries", handler, ids=[ROLE])

    found = history_of(stack, ROLE)
    assert (dict(found.entries[0].attributes.tags), found.unreadable) == (
        {"team": "search"},
        "reading it is denied to this stack",
    )


def test_a_project_of_the_mantle_endpoint_is_read_with_a_signature(stack: Stack, bedrock: ControlPlane) -> None:
    bedrock.projects["proj_1"] = {"id": "proj_1", "name": "Chatbot", "status": "active", "tags": {"Team": "search"}}
    gone, denied = PROJECT.replace("proj_1", "proj_2"), PROJECT.replace("proj_1", "proj_3")
    bedrock.projects["proj_3"] = (403, {"error": {"message": "no"}})

    do(stack, "entries", with_bedrock(stack, bedrock), ids=[PROJECT, gone, denied])

    assert history_of(stack, PROJECT).entries[0].attributes == Attributes((("Team", "search"),), "Chatbot")
    assert history_of(stack, gone).deleted_at == stack.now
    assert history_of(stack, denied).unreadable == "Bedrock answered 403 when it was asked for the project"
    assert all("/us-east-1/bedrock-mantle/aws4_request" in given for given in bedrock.authorizations)


def test_projects_that_do_not_answer_are_asked_again(stack: Stack, bedrock: ControlPlane) -> None:
    bedrock.projects["proj_1"] = (503, {"error": {}})
    event = messages(FUNCTION, [{"task": "entries", "ids": [PROJECT]}])

    assert held_back(stack, with_bedrock(stack, bedrock), event) == ConnectionError.__name__


def test_the_schedule_has_everything_read_again_in_parts(stack: Stack) -> None:
    create_role(team="search")
    do(stack, "entries", ids=[ROLE, "arn:aws:iam::999988887777:role/elsewhere"])

    do(stack, "entries")

    (part,) = [json.loads(message.body) for message in stack.drain("DirectoryQueue")]
    assert part == {"task": "entries", "ids": [ROLE, "arn:aws:iam::999988887777:role/elsewhere"]}


@pytest.mark.parametrize(
    ("source", "name", "parameters", "id"),
    [
        ("iam", "TagRole", {"roleName": "search"}, ROLE),
        ("iam", "UntagRole", {"roleName": "search"}, ROLE),
        ("iam", "CreateRole", {"roleName": "search"}, ROLE),
        ("iam", "DeleteRole", {"roleName": "search"}, ROLE),
        ("iam", "TagUser", {"userName": "jo"}, USER),
        ("iam", "DeleteUser", {"userName": "jo"}, USER),
        ("organizations", "TagResource", {"resourceId": ACCOUNT}, ACCOUNT),
        ("organizations", "TagResource", {"resourceId": "ou-abcd-12345678"}, None),
        ("organizations", "MoveAccount", {"accountId": ACCOUNT}, ACCOUNT),
        ("organizations", "UpdateOrganizationalUnit", {"organizationalUnitId": "ou-abcd-12345678"}, "444455556666"),
        ("account", "PutAccountName", {"accountName": "payments"}, ACCOUNT),
        ("bedrock-mantle", "UpdateProject", {}, PROJECT),
        ("bedrock", "TagResource", {"resourceARN": "arn:aws:bedrock:us-east-1:123456789012:guardrail/g1"}, None),
    ],
)
def test_an_event_has_just_what_it_changed_read_again(
    stack: Stack, source: str, name: str, parameters: dict[str, str], id: str | None
) -> None:
    directory_of(stack).record(None, History("444455556666").refused("no organization"))
    event = {
        "version": "0", "source": f"aws.{source}", "detail-type": "AWS API Call via CloudTrail", "account": ACCOUNT,
        "detail": {
            "eventSource": f"{source}.amazonaws.com", "eventName": name, "eventTime": "2026-03-19T23:59:58Z", "eventID": "e1",
            "awsRegion": "us-east-1", "recipientAccountId": ACCOUNT, "requestParameters": parameters,
            "userIdentity": {"type": "AssumedRole", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Admin/jo"},
            "resources": [{"type": "AWS::BedrockMantle::Project", "ARN": PROJECT}] if source == "bedrock-mantle" else [],
        },
    }  # fmt: skip
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
    stack.events.put_events(Entries=[entry])
    (received,) = stack.drain("ApiCallQueue")

    stack.run("record_api_calls", messages("record_api_calls", [json.loads(received.body)]))

    tasks = [json.loads(message.body) for message in stack.drain("DirectoryQueue")]
    expected = {"task": "entries", "ids": [id], "changed_at": "2026-03-19T23:59:58+00:00", "event": name}
    assert tasks == ([expected] if id else [])


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


# What is gone, and what changed --------------------------------------------------------------------------------------

CALLED_BY_ROLE = {"iam_principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/search/i-1"}


def use(stack: Stack, *days: date, **key: Any) -> None:
    """Count one request of each day that is made so."""
    counters = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: stack.now)
    called: dict[str, Any] = {"model": SONNET, "iam_principal": USER} | key
    made = {
        UsageKey(day, ACCOUNT, "us-east-1", routing=Routing.REGIONAL, tier=Tier.STANDARD, **called): Counters(
            1, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(1)}
        )
        for day in days
    }
    after = counters.checkpoint("stream", "shard")
    counters.apply("stream", "shard", after=after, through=f"{int(after or 0) + 1:05}", differences=made)


def allocated(stack: Stack, *days: date) -> list[AllocatedCharge]:
    """The one charge of each day, once it has been allocated."""
    asked = [{"usage_date": str(day), "because": "request"} for day in days]
    assert stack.run("allocate_charges", messages("allocate_charges", asked)) == FAILED_NONE
    found = DynamoLedgerDays(stack.table("LedgerTable"), 760, lambda: stack.now)
    pointers = [found.pointers(BillingPeriod.of(day))[day] for day in days]
    return [charge for pointer in pointers for charge in found.charges(pointer.usage_date, pointer.version)]


def delete(stack: Stack, bedrock: ControlPlane, id: str) -> None:
    iam = boto3.client("iam", "us-east-1")
    if id == ROLE:
        iam.delete_role(RoleName="search")
    elif id == USER:
        iam.delete_user(UserName="jo")
    else:
        bedrock.profiles.clear()


GONE_PROFILE = profile_arn("p1")


@pytest.mark.parametrize(
    ("id", "key"),
    [
        (ROLE, CALLED_BY_ROLE),
        (USER, {}),
        # Its model is known through the directory alone: the request names the profile.
        (GONE_PROFILE, {"model": GONE_PROFILE, "inference_profile": GONE_PROFILE}),
    ],
    ids=["role", "user", "inference profile"],
)
def test_what_was_deleted_keeps_its_name_its_model_and_its_owner_on_days_before_and_after(
    stack: Stack, bedrock: ControlPlane, id: str, key: dict[str, Any]
) -> None:
    create_role(team="search")
    boto3.client("iam", "us-east-1").create_user(UserName="jo", Tags=[{"Key": "team", "Value": "search"}])
    bedrock.profiles[GONE_PROFILE], bedrock.tags[GONE_PROFILE] = [foundation_model(SONNET)], {"team": "search"}
    do(stack, "entries", with_bedrock(stack, bedrock), ids=[id])
    delete(stack, bedrock, id)
    stack.now += timedelta(days=1)
    do(stack, "entries", with_bedrock(stack, bedrock), ids=[id])
    # Days of the month before, of the deletion, and of a late log of the week after.
    days = [stack.now.date() + timedelta(days=n) for n in (-40, -1, 0, 7)]
    stack.now += timedelta(days=8)
    use(stack, *days, **key)

    charges = allocated(stack, *days)

    assert history_of(stack, id).deleted_at is not None
    assert [charge.usage_date for charge in charges] == days
    assert {charge.value_of("team") for charge in charges} == {"search"}
    assert {charge.meter.model for charge in charges} == {SONNET}
    named = {charge.inference_profile if id == GONE_PROFILE else charge.iam_principal for charge in charges}
    assert named == {key.get("inference_profile") or key.get("iam_principal", USER)}


def test_a_tag_that_was_removed_owns_the_days_before_and_none_after(stack: Stack) -> None:
    iam = create_role(team="search")
    do(stack, "entries", ids=[ROLE])
    last_month, before = stack.now.date() - timedelta(days=30), stack.now.date()
    stack.now += timedelta(days=5)
    iam.untag_role(RoleName="search", TagKeys=["team"])
    do(stack, "entries", ids=[ROLE], changed_at=stack.now.isoformat(), event="UntagRole")
    days = [last_month, before, stack.now.date(), stack.now.date() + timedelta(days=1)]
    stack.now += timedelta(days=2)
    use(stack, *days, **CALLED_BY_ROLE)

    charges = allocated(stack, *days)

    assert [charge.value_of("team") for charge in charges] == ["search", "search", "", ""]
    assert {charge.categories[0].reason for charge in charges[2:]} == {NO_EVIDENCE}


# Logging --------------------------------------------------------------------------------------------------------------


def test_regions_in_which_the_account_spends_and_logs_nothing_are_counted(stack: Stack, bedrock: ControlPlane) -> None:
    ingest(stack, deliver(stack, deliveries("create_new")[-1]))
    allocate_everything(stack)
    stack.now = stack.now.replace(year=2026, month=3, day=1)
    handler = with_bedrock(stack, bedrock)
    handler.settings = handler.settings.model_copy(update={"account_id": PLATFORM.account_id})  # type: ignore[attr-defined]

    do(stack, "logging", handler)
    (seen,) = stack.said("invocation logging looked at")
    assert seen["off"]
    assert (seen["on"], seen["unreadable"]) == ([], {})
    assert stack.metrics()["RegionsWithoutLogging"] == len(seen["off"])

    first, *rest = seen["off"]
    bedrock.logging = {region: {"s3Config": {"bucketName": "logs"}} for region in rest}
    bedrock.denied = {first}
    do(stack, "logging", handler)
    again = stack.said("invocation logging looked at")[-1]
    assert (again["on"], again["off"], list(again["unreadable"])) == (rest, [], [first])


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


@pytest.mark.parametrize(
    "body",
    ["CANARY no JSON", {"task": "CANARY"}, {"task": "entries", "event": "CANARY"}, {"task": "prices", "ids": ["CANARY"]}],
)
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
