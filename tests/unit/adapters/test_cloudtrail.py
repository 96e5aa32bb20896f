"""CloudTrail records as what they say: who called which model, with which tags, and what is never read of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.packing import pack_observed, unpack_observed
from adapters.sources.cloudtrail import folded, is_trail_file, parse_event, projected, read_message
from attribution.errors import InputRejected
from attribution.meters import Routing, Tier, TokenKind
from attribution.ports import Change, IssuedSession, ObservedCall, ObservedChange
from attribution.usage import FIRST_RECORD, Observed
from truth.objects import CANARY

A, B = "111122223333", "444455556666"
ROLE_SESSION = {
    "type": "AssumedRole",
    "principalId": "AROAEXAMPLE:jane",
    "arn": f"arn:aws:sts::{A}:assumed-role/Gateway/jane@example.com/x",
    "accountId": A,
    "accessKeyId": "ASIAEXAMPLE",
    "sessionContext": {
        "sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{A}:role/platform/Gateway", "accountId": A},
        "attributes": {"mfaAuthenticated": "false", "creationDate": "20131102T010628Z"},
        "sourceIdentity": "jane",
    },
}
CALL = {
    "eventVersion": "1.11",
    "userIdentity": ROLE_SESSION,
    "eventTime": "2026-11-03T12:00:02Z",
    "eventSource": "bedrock.amazonaws.com",
    "eventName": "Converse",
    "awsRegion": "us-east-1",
    "requestParameters": {"modelId": "global.anthropic.claude-sonnet-4-6"},
    "responseElements": None,
    "requestID": "r-1",
    "eventID": "e-1",
    "recipientAccountId": A,
}
KEYS = folded(["Team", "CostCenter"])


def parse(record: Any) -> Any:
    return parse_event(json.dumps(record), KEYS)


def call(**changes: Any) -> ObservedCall:
    found = parse(CALL | changes)
    assert isinstance(found, ObservedCall)
    return found


def observed(**changes: Any) -> Observed:
    return call(**changes).observed


def session(name: str, parameters: Any, response: Any = None) -> Any:
    issued = {"credentials": {"accessKeyId": "ASIAISSUED", "expiration": "Oct 2, 2019, 11:12:29 PM"}}
    event = {"eventSource": "sts.amazonaws.com", "eventName": name, "requestParameters": parameters}
    return parse(CALL | event | {"responseElements": issued if response is None else response})


# Who -------------------------------------------------------------------------------------------------------------------

IAM_USER = {"type": "IAMUser", "arn": f"arn:aws:iam::{A}:user/path/Jo", "accountId": A, "accessKeyId": "AKIA", "userName": "Jo"}
FEDERATED = {
    "type": "FederatedUser",
    "arn": f"arn:aws:sts::{A}:federated-user/jo",
    "accountId": A,
    "accessKeyId": "ASIAFED",
    "sessionContext": {"sessionIssuer": {"type": "IAMUser", "arn": f"arn:aws:iam::{A}:user/broker"}},
}
IDENTITIES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "Root": (
        {"type": "Root", "arn": f"arn:aws:iam::{A}:root", "accountId": A, "accessKeyId": "AKIA"},
        {"iam_principal": f"arn:aws:iam::{A}:root", "access_key_id": ""},
    ),
    "IAMUser": (IAM_USER, {"iam_principal": f"arn:aws:iam::{A}:user/path/Jo", "access_key_id": "", "session_name": ""}),
    # GetSessionToken: temporary credentials that can carry no tags.
    "IAMUser with temporary credentials": (IAM_USER | {"accessKeyId": "ASIATEMP"}, {"access_key_id": ""}),
    "AssumedRole": (
        ROLE_SESSION,
        {
            "role": f"arn:aws:iam::{A}:role/platform/Gateway",
            "session_name": "jane@example.com/x",
            "source_identity": "jane",
            "access_key_id": "ASIAEXAMPLE",
        },
    ),
    "Role": (
        {"type": "Role", "arn": f"arn:aws:iam::{A}:role/R", "accountId": A},
        {"iam_principal": f"arn:aws:iam::{A}:role/R"},
    ),
    "FederatedUser": (
        FEDERATED,
        {"session_name": "jo", "access_key_id": "ASIAFED", "role": f"arn:aws:iam::{A}:user/broker"},
    ),
    "WebIdentityUser": (
        {"type": "WebIdentityUser", "principalId": "p", "userName": "jo", "identityProvider": "accounts.google.com"},
        {"iam_principal": "", "identity_name": "jo"},
    ),
    "SAMLUser": (
        {"type": "SAMLUser", "principalId": "p:jo", "userName": "jo", "identityProvider": "idp"},
        {"iam_principal": "", "identity_name": "jo"},
    ),
    "Directory": ({"type": "Directory", "userName": "jo", "accountId": A}, {"identity_name": "jo"}),
    "IdentityCenterUser": (
        {
            "type": "IdentityCenterUser",
            "accountId": A,
            "onBehalfOf": {"userId": "u-1", "identityStoreArn": f"arn:aws:identitystore::{A}:identitystore/d-1"},
            "credentialId": "c",
        },
        {"on_behalf_of": "u-1"},
    ),
    "AWSService": (
        {"type": "AWSService", "invokedBy": "bedrock.amazonaws.com", "accessKeyId": "ASIAX"},
        {"invoked_by": "bedrock.amazonaws.com", "iam_principal": "", "access_key_id": ""},
    ),
    "AWSAccount": ({"type": "AWSAccount", "principalId": "AIDA", "accountId": B}, {"identity_name": "AIDA", "revision": "0"}),
    "Unknown": ({"type": "Unknown", "accountId": A}, {"iam_principal": "", "identity_name": ""}),
    "a type of the future": ({"type": "Novel", "accountId": A, "nested": {"deep": [1]}}, {"identity_type": "Novel"}),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_every_identity_type_is_read_as_far_as_it_says_who_it_was(name: str) -> None:
    identity, expected = IDENTITIES[name]

    half = observed(userIdentity=identity)

    assert {field: getattr(half, field) for field in expected} == expected
    assert half.identity_type == identity["type"]


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ({"accountId": B}, B),
        ({}, A),
        ({"type": "AWSService", "invokedBy": "lambda.amazonaws.com"}, A),
    ],
)
def test_a_call_belongs_to_the_account_of_its_caller_and_else_to_the_one_that_received_it(
    identity: dict[str, str], expected: str
) -> None:
    assert call(userIdentity=identity).key.account_id == expected


@pytest.mark.parametrize(
    "missing", ["userIdentity", "requestParameters", "additionalEventData", "eventID", "recipientAccountId"]
)
@pytest.mark.parametrize("value", [None, {}])
def test_a_call_of_which_parts_are_missing_or_left_out_for_their_size_is_read(missing: str, value: object) -> None:
    if missing in ("eventID", "recipientAccountId") and value == {}:
        value = None

    assert call(**{missing: value}).key.request_id == "r-1"


@pytest.mark.parametrize(("field", "name"), [("awsRegion", "awsRegion"), ("requestID", "requestID")])
@pytest.mark.parametrize("value", [None, "", "a#b", "x" * 300, "\u0661"])
def test_a_call_without_its_join_key_is_rejected_by_name(field: str, name: str, value: str | None) -> None:
    with pytest.raises(InputRejected, match=f"CloudTrail event e-1: Converse without a usable {name}"):
        call(**{field: value})


def test_no_text_of_a_record_is_kept_longer_than_any_that_aws_writes() -> None:
    long = "x" * 400_000
    identity: dict[str, Any] = {
        "type": "IAMUser",
        "accountId": A,
        "userName": long,
        "invokedBy": long,
        "onBehalfOf": {"userId": long},
    }
    identity["sessionContext"] = {"sourceIdentity": long}

    half = observed(userIdentity=identity, errorCode=long, eventID=long)

    kept = (half.identity_name, half.invoked_by, half.on_behalf_of, half.source_identity, half.error_code, half.event_id)
    assert [len(text) for text in kept] == [256] * 6


def test_a_role_longer_than_any_arn_is_rejected() -> None:
    issuer = {"sessionIssuer": {"arn": "x" * 2049}}

    with pytest.raises(InputRejected, match="longer than any ARN"):
        observed(userIdentity={"type": "AssumedRole", "accountId": A, "sessionContext": issuer})


def test_the_function_the_person_behind_it_and_the_kind_of_credentials_are_kept() -> None:
    function = f"arn:aws:lambda:us-east-1:{A}:function:chat"
    identity = ROLE_SESSION | {
        "inScopeOf": {"issuerType": "AWS::Lambda::Function", "credentialsIssuedTo": function},
        "onBehalfOf": {"userId": "u-1", "identityStoreArn": "arn"},
        "invokedBy": "bedrock.amazonaws.com",
    }

    half = observed(userIdentity=identity, additionalEventData={"callWithBearerToken": True, "inferenceRegion": "us-east-2"})

    assert (half.issued_to, half.on_behalf_of, half.invoked_by) == (function, "u-1", "bedrock.amazonaws.com")
    assert (half.has_bearer_token, half.inference_region) == (True, "us-east-2")
    assert not observed(userIdentity=ROLE_SESSION | {"inScopeOf": {}}).issued_to


@pytest.mark.parametrize(
    ("place", "flag", "expected"),
    [
        ("additionalEventData", True, True),
        ("additionalEventData", "true", True),
        ("requestParameters", True, True),
        ("additionalEventData", False, False),
        ("additionalEventData", "false", False),
    ],
)
def test_a_bearer_token_is_noticed_wherever_the_record_says_so(place: str, flag: object, expected: bool) -> None:
    assert observed(**{place: {"callWithBearerToken": flag}}).has_bearer_token is expected


# What ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"inputTokens": 1200, "outputTokens": 340}, {TokenKind.INPUT: 1200, TokenKind.OUTPUT: 340}),
        ({"inputTokens": "1200"}, {TokenKind.INPUT: 1200}),
        ({"inputTokens": 0, "outputTokens": 0}, {TokenKind.INPUT: 0, TokenKind.OUTPUT: 0}),
        ({"inputTokens": -1, "outputTokens": True}, {}),
        ({"inputTokens": 1.5, "outputTokens": {"n": 1}}, {}),
        ({"inputTokens": "9" * 5000, "outputTokens": 10**13}, {}),
        (None, {}),
    ],
)
def test_token_counts_are_provisional_usage_and_what_is_no_count_is_none(counts: Any, expected: dict[TokenKind, int]) -> None:
    half = observed(additionalEventData=counts)

    assert {kind: priced.units for kind, priced in half.kinds.items()} == expected
    assert half.flags == (("provisional",) if expected else ())


def test_a_call_that_failed_used_nothing() -> None:
    half = observed(errorCode="AccessDenied", additionalEventData={"inputTokens": 5, "outputTokens": 5})

    assert (half.error_code, half.kinds, half.flags) == ("AccessDenied", {}, ())


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"modelId": "amazon.nova-pro-v1:0"}, (Routing.REGIONAL, Tier.STANDARD)),
        ({"modelId": "global.anthropic.claude-sonnet-4-6"}, (Routing.GLOBAL, Tier.STANDARD)),
        ({"modelId": "m", "serviceTier": {"type": "flex"}}, (Routing.REGIONAL, Tier.FLEX)),
        ({"modelId": "m", "serviceTier": "priority"}, (Routing.REGIONAL, Tier.PRIORITY)),
        ({"modelId": "m", "serviceTier": ["?"]}, (Routing.REGIONAL, Tier.STANDARD)),
        ({"modelId": "m", "performanceConfig": {"latency": "optimized"}}, (Routing.REGIONAL, Tier.LATENCY_OPTIMIZED)),
    ],
)
def test_routing_and_tier_are_those_of_the_request(parameters: Any, expected: tuple[Routing, Tier]) -> None:
    half = observed(requestParameters=parameters)

    assert (half.routing, half.tier) == expected


MANTLE = {
    "eventSource": "bedrock-mantle.amazonaws.com",
    "eventName": "CreateInference",
    "requestParameters": {
        "model": "openai.gpt-oss-120b",
        "service_tier": "priority",
        "metadata": {"team": "platform", "prompt": CANARY},
        "callWithBearerToken": True,
        "bearerTokenType": "ABSK",
    },
    "resources": [
        {"type": "AWS::BedrockMantle::Reservation", "ARN": "arn:other"},
        {"type": "AWS::BedrockMantle::Project", "ARN": f"arn:aws:bedrock-mantle:us-east-1:{A}:project/proj_1"},
    ],
}


def test_a_mantle_call_is_unmeasured_and_names_its_project() -> None:
    half = observed(**MANTLE)

    assert (half.is_uncovered, half.flags) == (True, ("unmeasured",))
    assert (half.model_id, half.tier) == ("openai.gpt-oss-120b", Tier.PRIORITY)
    assert half.project.endswith("project/proj_1")
    assert (half.request_metadata, half.has_bearer_token) == ((("team", "platform"),), True)


def test_a_mantle_call_that_failed_has_nothing_to_measure() -> None:
    assert observed(**MANTLE, errorCode="ValidationException").flags == ()


@pytest.mark.parametrize("name", ["InvokeModelWithBidirectionalStream", "StartAsyncInvoke"])
def test_calls_that_invocation_logging_leaves_out_are_unmeasured(name: str) -> None:
    assert observed(eventName=name).flags == ("unmeasured",)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3.amazonaws.com", "GetObject"),
        ("bedrock.amazonaws.com", "InvokeAgent"),
        ("bedrock.amazonaws.com", "ListFoundationModels"),
        ("bedrock-mantle.amazonaws.com", "GetInference"),
        ("sts.amazonaws.com", "GetSessionToken"),
        ("sts.amazonaws.com", "Converse"),
        ("iam.amazonaws.com", "TagResource"),
        (None, None),
    ],
)
def test_other_events_are_ignored_whatever_shape_the_rest_of_them_has(source: str | None, name: str | None) -> None:
    assert parse({"eventSource": source, "eventName": name, "userIdentity": 5, "requestParameters": CANARY}) is None


# Which record stands ---------------------------------------------------------------------------------------------------


def corrected(event_id: str, seconds: int = 2, **changes: Any) -> ObservedCall:
    addendum = {"reason": "UPDATED_DATA", "originalRequestID": "r-1", "originalEventID": "e-1", "updatedFields": "userIdentity"}
    time = f"2026-11-03T12:00:{seconds:02}Z"
    return call(eventID=event_id, requestID="r-other", addendum=addendum, eventTime=time, **changes)


def test_an_addendum_is_about_the_request_that_it_names_and_stands_over_it() -> None:
    foreign = call(recipientAccountId=B)

    assert corrected("e-2").key == call().key == foreign.key
    in_order = [foreign, call(), corrected("e-2"), corrected("e-1", 3)]
    revisions = [found.observed.revision for found in in_order]
    assert revisions == sorted(set(revisions))


def test_a_record_that_was_only_delivered_late_is_no_correction() -> None:
    assert observed(addendum={"reason": "DELIVERY_DELAY"}).revision == observed().revision == FIRST_RECORD


@pytest.mark.parametrize(
    "identity", [ROLE_SESSION | {"accountId": B}, {"type": "AWSAccount", "accountId": B, "principalId": "A"}]
)
def test_another_accounts_copy_is_about_the_callers_call(identity: dict[str, Any]) -> None:
    found = call(userIdentity=identity, sharedEventID="s")

    assert (found.key.account_id, found.observed.revision) == (B, "0")


def test_a_caller_known_by_account_alone_is_seen_from_another_one() -> None:
    assert observed(userIdentity={"type": "AWSAccount", "accountId": B}, recipientAccountId=None).revision == "0"


# Sessions --------------------------------------------------------------------------------------------------------------

LISTED = [
    {"key": "team", "value": "search"},
    {"key": "Other", "value": "x"},
    {"value": "no key"},
    {"key": "costcenter", "value": 5},
]


@pytest.mark.parametrize(
    ("name", "parameters", "tags"),
    [
        ("AssumeRole", {"tags": LISTED}, (("team", "search"),)),
        (
            "AssumeRole",
            {"tags": LISTED, "incomingTransitiveTags": {"CostCenter": "7"}},
            (("CostCenter", "7"), ("team", "search")),
        ),
        ("AssumeRoleWithSAML", {"principalTags": {"Team": "search"}, "sAMLAssertionID": "_c"}, (("Team", "search"),)),
        ("AssumeRoleWithWebIdentity", {"principalTags": {"Team": "search"}}, (("Team", "search"),)),
        ("GetFederationToken", {"name": "jo", "tags": LISTED}, (("team", "search"),)),
        ("GetFederationToken", {"name": "jo", "tags": {"team": "search"}}, (("team", "search"),)),
    ],
)
def test_the_tags_of_every_way_to_issue_a_session(name: str, parameters: Any, tags: tuple[tuple[str, str], ...]) -> None:
    found = session(name, parameters)

    assert isinstance(found, IssuedSession)
    assert (found.access_key_id, found.session_tags) == ("ASIAISSUED", tags)


@pytest.mark.parametrize("parameters", [None, {}, {"tags": []}, {"principalTags": {"other": "x"}}])
def test_a_session_without_tags_that_allocation_may_use_is_ignored(parameters: Any) -> None:
    assert session("AssumeRole", parameters) is None


def test_a_refused_session_is_ignored() -> None:
    assert session("AssumeRole", {"tags": LISTED}, {}) is None


# Changes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts", "change", "resource"),
    [
        ("DeleteModelInvocationLoggingConfiguration", {}, Change.LOGGING_DELETED, ""),
        ("PutModelInvocationLoggingConfiguration", {"loggingConfig": {"text": CANARY}}, Change.LOGGING_CHANGED, ""),
        ("TagResource", {"resourceARN": "arn:profile", "tags": LISTED}, Change.INFERENCE_PROFILES, "arn:profile"),
        ("DeleteInferenceProfile", {"inferenceProfileIdentifier": "p"}, Change.INFERENCE_PROFILES, "p"),
    ],
)
def test_changes_are_noticed_with_what_they_changed(name: str, parts: Any, change: Change, resource: str) -> None:
    found = parse(CALL | {"eventName": name, "requestParameters": parts})

    assert isinstance(found, ObservedChange)
    assert (found.change, found.resource, found.account_id, found.event_id) == (change, resource, A, "e-1")
    assert parse(CALL | {"eventName": name, "requestParameters": parts, "errorCode": "AccessDenied"}) is None


@pytest.mark.parametrize(
    ("name", "response", "change"),
    [
        ("CreateModelInvocationJob", {"jobArn": "arn:job"}, Change.BATCH_JOB),
        ("CreateInferenceProfile", {"inferenceProfileArn": "arn:job", "status": "ACTIVE"}, Change.INFERENCE_PROFILES),
    ],
)
def test_what_was_created_is_named_by_its_answer(name: str, response: Any, change: Change) -> None:
    found = parse(CALL | {"eventName": name, "responseElements": response})

    assert (found.change, found.resource) == (change, "arn:job")


# What is never read ----------------------------------------------------------------------------------------------------

SECRETS = (
    "sessionToken",
    "secretAccessKey",
    "samlAssertion",
    "sAMLAssertion",
    "webIdentityToken",
    "policy",
    "prompt",
    "headers",
)


def with_secrets(value: Any) -> Any:
    """The record with a secret under every name that one may have, in every object of it."""
    if isinstance(value, dict):
        return {k: with_secrets(v) for k, v in value.items()} | {name: {"value": CANARY} for name in SECRETS}
    return [with_secrets(v) for v in value] if isinstance(value, list) else value


EVERY_KIND = [
    CALL | {"additionalEventData": {"inputTokens": 1}},
    {**CALL, **MANTLE, "requestParameters": {"model": "m"}},
    CALL | {"eventName": "DeleteInferenceProfile", "requestParameters": {"inferenceProfileIdentifier": "p"}},
    {
        **CALL,
        "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole",
        "requestParameters": {"tags": LISTED},
        "responseElements": {"credentials": {"accessKeyId": "ASIA"}, "assumedRoleUser": {}},
    },
]


@pytest.mark.parametrize("record", EVERY_KIND, ids=lambda r: r["eventName"])
def test_what_is_not_declared_is_never_made_an_object(record: dict[str, Any]) -> None:
    record = with_secrets(record)
    assert CANARY in json.dumps(record)

    passed_on = projected(record)

    assert CANARY not in json.dumps(passed_on)
    assert CANARY not in repr(parse(record))
    assert parse(passed_on) == parse(record)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (CANARY, "not valid JSON"),
        (f'["{CANARY}"]', "not a CloudTrail record"),
        (json.dumps(CALL | {"userIdentity": CANARY}), "Expected `object | null`, got `str` - at `$.userIdentity`"),
        (json.dumps(CALL | {"eventTime": CANARY}), "eventTime is not ISO 8601"),
        (json.dumps(CALL | {"requestParameters": {"modelId": CANARY * 2000}}), "longer than any ARN"),
        ('{"a":' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_record_is_named_and_never_quoted(raw: str, reason: str) -> None:
    with pytest.raises(InputRejected) as raised:
        parse_event(raw, KEYS)

    assert reason in str(raised.value)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("body", [CANARY, "[]", "{}", '{"detail-type": 5}'])
def test_a_message_about_something_else_is_rejected(body: str) -> None:
    with pytest.raises(InputRejected) as raised:
        read_message(body, "message m")

    assert CANARY not in str(raised.value)


def stored_and_read(half: Observed) -> Observed:
    return unpack_observed(pack_observed(half), half.access_key_id, half.session_tags, half.revision)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.sampled_from(EVERY_KIND),
    st.sampled_from(["userIdentity", "requestParameters", "responseElements", "additionalEventData", "eventTime", "addendum"]),
    json_values | st.dictionaries(st.sampled_from(["tags", "arn", "type", "inputTokens", "serviceTier"]), json_values),
)
def test_whatever_a_record_holds_it_is_read_ignored_or_rejected(record: dict[str, Any], field: str, value: object) -> None:
    try:
        found = parse(record | {field: value})
    except InputRejected:
        return

    if isinstance(found, ObservedCall):
        assert stored_and_read(found.observed) == found.observed


@pytest.mark.parametrize("value", [MANTLE, {"additionalEventData": {"inputTokens": 7}}, {"recipientAccountId": B}, {}])
def test_the_observed_half_is_read_as_it_was_stored(value: dict[str, Any]) -> None:
    half = observed(**value)

    assert stored_and_read(half) == half


TRAIL = (
    "AWSLogs/{}111122223333/CloudTrail/us-east-1/2026/11/03/"
    "111122223333_CloudTrail_us-east-1_20261103T1205Z_Mu0KsOhtH1ar15ZZ.json.gz"
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (TRAIL.format(""), True),
        ("prefix/" + TRAIL.format("o-a1b2c3d4e5/"), True),
        (TRAIL.format("").replace("/CloudTrail/", "/CloudTrail-Digest/").replace("_CloudTrail_", "_CloudTrail-Digest_"), False),
        (TRAIL.format("").replace("/CloudTrail/", "/CloudTrail-Insight/"), False),
        (TRAIL.format("").replace("AWSLogs", "Logs"), False),
        (TRAIL.format("") + ".tmp", False),
    ],
)
def test_trail_files_are_known_by_their_keys(key: str, expected: bool) -> None:
    assert is_trail_file(key) is expected
