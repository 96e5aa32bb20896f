"""The function that records who called: on its sample event, on sessions in any order, and on published CloudTrail records."""

from __future__ import annotations

import itertools
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adapters.usage_counters import DynamoUsageCounters
from attribution.meters import TokenKind
from attribution.usage import Counters, Observed, UsageKey
from tests.support import inputs
from tests.support.stack import FAILED_NONE, NOW, Stack, failed, load_event, messages, windowed
from truth.objects import CANARY

FUNCTION = "record_api_calls"


def call(**changes: Any) -> dict[str, Any]:
    """The sample call as EventBridge delivers it, with parts of its CloudTrail record changed."""
    event: dict[str, Any] = json.loads(load_event(FUNCTION)["Records"][0]["body"])
    event["detail"] |= changes
    return event


def session(access_key_id: str = "ASIAEXAMPLE0KEY00001", team: str = "search") -> dict[str, Any]:
    """The STS event that issued the credentials of the sample call."""
    return {
        "detail": {
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRole",
            "eventTime": "2026-10-05T14:00:02Z",
            "eventID": "0f0c8f1e-7c55-4d6c-9f4b-b6ce9d2b6c11",
            "requestParameters": {"tags": [{"key": "team", "value": team}, {"key": "secret-project", "value": "x"}]},
            "responseElements": {"credentials": {"accessKeyId": access_key_id, "sessionToken": f"{CANARY}token"}},
        }
    }


def run(stack: Stack, *events: Any) -> dict[str, Any]:
    return stack.run(FUNCTION, messages(FUNCTION, events))


def calls_of(stack: Stack) -> dict[str, Observed]:
    """What is known of calls, by request id."""
    return {i.key.request_id: i.observed for i in stack.invocations() if i.observed}


def remembered(stack: Stack) -> list[dict[str, Any]]:
    """The remembered sessions and the lists of calls that awaited one."""
    return [item for item in stack.items("LedgerTable") if item["pk"].startswith("SESSION#")]


def test_the_sample_event_records_the_caller(stack: Stack) -> None:
    answer = stack.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    (found,) = stack.invocations()
    assert str(found.key) == "111122223333#us-east-1#9f8a1e57-3c41-4be0-9d2a-5b7c60f2a1d4"
    assert found.observed is not None
    assert found.observed.role == "arn:aws:iam::111122223333:role/engineering/BedrockCallerRole"
    assert [item["pk"] for item in remembered(stack)] == ["SESSION#ASIAEXAMPLE0KEY00001"]
    assert stack.metrics()["ApiCallsRecorded"] == 1


def test_the_sample_event_about_logging_is_told_to_an_operator(stack: Stack) -> None:
    stack.run(FUNCTION, load_event(FUNCTION))

    (said,) = stack.said("invocation logging deleted")
    assert (said["account"], said["changed_in"]) == ("111122223333", "us-east-1")
    assert stack.metrics()["InvocationLoggingDeleted"] == 1
    assert "jane" not in json.dumps(said)


def test_a_repeated_event_changes_nothing(stack: Stack) -> None:
    events = [session(), call()]
    run(stack, *events)
    before = stack.wire_items("InvocationsTable")

    answer = run(stack, *events, *reversed(events))

    assert answer == FAILED_NONE
    assert stack.wire_items("InvocationsTable") == before
    assert stack.metrics()["ApiCallsCorrected"] == 0


def test_a_session_before_or_after_its_calls_gives_the_same_items(stack: Stack) -> None:
    second = call(requestID="second")
    results = []
    for order in itertools.permutations([session(), call(), second]):
        for cut in (0, 1, 2):
            run(stack, *order[:cut]), run(stack, *order[cut:])
            results.append(stack.wire_items("InvocationsTable"))
            empty(stack)

    assert all(result == results[0] for result in results)
    assert [item["session_tags"]["M"] for item in results[0]] == [{"team": {"S": "search"}}] * 2


def empty(stack: Stack) -> None:
    """Take every request and session away."""
    for item in stack.wire_items("InvocationsTable"):
        stack.dynamodb.delete_item(TableName="InvocationsTable", Key={"pk": item["pk"]})
    for item in stack.wire_items("LedgerTable"):
        stack.dynamodb.delete_item(TableName="LedgerTable", Key={"pk": item["pk"], "sk": item["sk"]})


def test_one_list_holds_all_calls_of_a_batch_that_await_a_session(stack: Stack) -> None:
    run(stack, *(call(requestID=f"r-{number}") for number in range(100)))

    (listed,) = remembered(stack)
    assert len(bytes(listed["calls"])) < 1000
    run(stack, session())
    assert [half.session_tags for half in calls_of(stack).values()] == [(("team", "search"),)] * 100
    assert stack.metrics()["SessionsLinkedLate"] == 100


def test_of_a_session_only_configured_tag_keys_are_kept_and_never_its_token(stack: Stack) -> None:
    run(stack, session())

    (item,) = remembered(stack)
    assert item["session_tags"] == {"team": "search"}
    assert CANARY not in stack.text_of("LedgerTable") + stack.log.getvalue()


def test_a_caller_cannot_hide_a_call_by_what_he_writes_into_it(stack: Stack) -> None:
    disguise = {"detail-type": "Object Created", "eventSource": "sts.amazonaws.com", "eventName": "AssumeRole"}
    answer = run(stack, call(userAgent=json.dumps(disguise), additionalEventData=disguise))

    assert answer == FAILED_NONE
    assert len(calls_of(stack)) == 1
    assert stack.notices() == []


def test_a_malformed_message_is_quarantined_and_its_neighbours_are_done(stack: Stack) -> None:
    answer = run(stack, CANARY, call(requestID=None), {"detail": [CANARY]}, call(eventTime=CANARY), call())

    assert answer == FAILED_NONE
    assert len(calls_of(stack)) == 1
    assert len(stack.notices()) == 4
    assert CANARY not in json.dumps(stack.notices()) + stack.log.getvalue()
    assert stack.metrics()["InputRejected"] == 4


def test_only_the_message_that_failed_is_returned(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = stack.handler(FUNCTION)
    original = handler.invocations.record_observed

    def fails_for_b(halves: Any) -> Any:
        error = ConnectionError("the table does not answer")
        return [error if half.key.request_id == "b" else original([half])[0] for half in halves]

    monkeypatch.setattr(handler.invocations, "record_observed", fails_for_b)

    answer = stack.invoke(handler, messages(FUNCTION, [call(requestID=name) for name in ("a", "b", "c")]))

    assert answer == failed("m1")
    assert len(calls_of(stack)) == 2


def test_every_call_of_the_company_that_cloudtrail_shows_is_recorded_with_its_session_tag(stack: Stack) -> None:
    assert run(stack, *inputs.trail_events(inputs.month())) == FAILED_NONE

    seen = {r.request_id: r for r in inputs.month().requests if r.is_in_cloudtrail}
    recorded = calls_of(stack)
    assert recorded.keys() == seen.keys()
    for request_id, observed in recorded.items():
        request = seen[request_id]
        tags = {key.casefold(): value for key, value in observed.session_tags}
        assert tags.get("team") == (request.principal.tagged_as if request.principal.has_session_tag else None)
        assert observed.is_uncovered == request.call.is_mantle
        assert observed.project == (request.call.project.arn if request.call.project else observed.project)
        assert bool(observed.issued_to) == (request.principal.kind == "lambda_role")
        assert bool(observed.on_behalf_of) == (request.principal.kind == "sso_user")
        assert observed.has_bearer_token == (request.principal.kind == "api_key_user" and not request.call.is_mantle)


def test_provisional_usage_of_the_company_is_what_its_requests_used(stack: Stack) -> None:
    inputs.load_prices(stack)

    run(stack, *inputs.trail_events(inputs.month()))

    requests = {r.request_id: r for r in inputs.month().requests}
    counted = 0
    for request_id, observed in calls_of(stack).items():
        request = requests[request_id]
        has_counts = request.call.operation.startswith("Converse") and not request.error_code
        assert observed.flags == (("provisional",) if has_counts else ("unmeasured",) if request.call.is_mantle else ())
        if has_counts:
            units = {kind: priced.units for kind, priced in observed.kinds.items()}
            assert units == {TokenKind.INPUT: request.tokens.input, TokenKind.OUTPUT: request.tokens.output}
            counted += observed.kinds[TokenKind.INPUT].cost is not None
    assert counted > 10


def rolled_up(stack: Stack) -> dict[UsageKey, Counters]:
    """The counters that are not zero after every change so far."""
    stack.run("roll_up_usage", windowed(list(stack.stream("InvocationsTable"))))
    counters = DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: NOW)
    days = (*inputs.PERIOD.days(), date(2026, 10, 5))
    return {u.key: u.counters for day in days for u in counters.usage_of(day) if not u.counters.is_zero()}


@pytest.mark.parametrize("late", [0, 1])
def test_when_every_log_has_arrived_nothing_provisional_is_left(stack: Stack, late: int) -> None:
    inputs.load_prices(stack)
    events = inputs.trail_events(inputs.month())
    # Of every two events, one comes before the logs; or both, and then it comes again.
    run(stack, *(events if not late else events[::2]))
    before = rolled_up(stack)

    inputs.record_logs(stack, inputs.month())
    run(stack, *events[1::2])

    after = rolled_up(stack)
    logged = {r.request_id for r in inputs.month().requests if r.is_logged}
    lost = [request_id for request_id, half in calls_of(stack).items() if request_id not in logged and half.kinds]
    assert sum(c.provisional for c in before.values()) > len(lost)
    assert sum(c.provisional for c in after.values()) == len(lost)
    assert sum(c.observed_only for c in after.values()) == len(
        [i for i in stack.invocations() if i.metered is None and i.observed and not i.observed.is_uncovered]
    )
    assert sum(c.unmeasured for c in after.values()) >= sum(half.is_uncovered for half in calls_of(stack).values())


def test_of_the_records_of_one_call_the_latest_correction_stands_in_any_order(stack: Stack) -> None:
    addendum = {"reason": "UPDATED_DATA", "originalRequestID": call()["detail"]["requestID"], "originalEventID": "e"}
    tokens = {"inputTokens": 7, "outputTokens": 5}
    records = [
        call(recipientAccountId="444455556666", eventID="copy"),
        call(),
        call(eventID="corrected", addendum=addendum, additionalEventData=tokens),
        session(),
    ]
    results = []
    for order in itertools.permutations(records):
        run(stack, *order, records[0], records[1])
        results.append(stack.wire_items("InvocationsTable"))
        (observed,) = calls_of(stack).values()
        empty(stack)

    assert all(result == results[0] for result in results)
    assert observed.event_id == "corrected"
    assert {kind: priced.units for kind, priced in observed.kinds.items()} == {TokenKind.INPUT: 7, TokenKind.OUTPUT: 5}
    assert observed.session_tags == (("team", "search"),)


def test_the_counters_follow_a_correction(stack: Stack) -> None:
    addendum = {"reason": "UPDATED_DATA", "originalEventID": "e"}
    other = {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/jo", "accountId": "111122223333"}

    run(stack, call(additionalEventData={"inputTokens": 9, "outputTokens": 1}))
    run(stack, call(addendum=addendum, eventID="e-2", userIdentity=other, additionalEventData={"inputTokens": 7}))

    ((key, counted),) = rolled_up(stack).items()
    assert key.iam_principal == other["arn"]
    assert (counted.provisional, counted.units) == (1, {TokenKind.INPUT: 7})
    assert stack.metrics()["ApiCallsCorrected"] == 1
    # The user's credentials carry no tags: those of the session that the first record named are not his.
    run(stack, session())
    assert [half.session_tags for half in calls_of(stack).values()] == [()]


# What every published record ends as, in the file's order: a call, a session, a change, ignored, or rejected.
# A session without tags that allocation may use is ignored.
OUTCOMES = {
    "awsdocs_error_code_example.json": ["ignored"],
    "awsdocs_iam_sts_assumerolewithsaml_principaltags.json.malformed.txt": ["rejected"],
    "awsdocs_iam_sts_assumerolewithwebidentity_principaltags.json.malformed.txt": ["rejected"],
    # A session without tags has nothing to say about its calls.
    "awsdocs_iam_sts_crossaccount_caller_copy.json": ["ignored"],
    "awsdocs_iam_sts_crossaccount_roleowner_copy.json": ["ignored"],
    "awsdocs_iam_sts_role_chaining_session_tags.json": ["session"],
    "awsdocs_iam_sts_service_role_deletebucket.json": ["ignored"],
    "awsdocs_useridentity_sourceidentity_spaces_in_arns.json": ["ignored"],
    "buildkite_assumerolewithwebidentity_principaltags.json.malformed.txt": ["rejected"],
    "custodian_create_model_customization_job.json": ["ignored"],
    "panther_bedrock_management_tests.json": ["ignored"] * 3 + ["change", "ignored"],
    "panther_sts_tests.json": ["ignored"] * 9,
    "proposal_orchestrator_lookup_events_converse.json": ["call"] * 10,
    # Fixtures that lack what real events have: their source, their time.
    "prowler_llm_jacking_lookup_events.json": ["ignored"] * 4,
    "stratus_bedrock_invoke_model_detonation.json": ["ignored"] * 2 + ["call"] + ["ignored"] * 12,
    "stratus_sts_federation_token_detonation.json": ["ignored"] * 2,
}


def published(path: Path) -> list[Any]:
    """The records of a file; what is no JSON is one record as it is."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return [path.read_text()]
    records = content if isinstance(content, list) else content.get("Records") or content.get("Events") or [content]
    details = [record.get("CloudTrailEvent", record) for record in records]
    return [json.loads(detail) if isinstance(detail, str) else detail for detail in details]


@pytest.mark.skipif(not inputs.sample_files("cloudtrail"), reason="the published sample records are not at hand")
@pytest.mark.parametrize("path", inputs.sample_files("cloudtrail"), ids=lambda path: path.name)
def test_every_published_record_has_a_stated_outcome(stack: Stack, path: Path) -> None:
    outcomes = []
    for record in published(path):
        before = (stack.invocations(), len(stack.said("event ignored")), len(stack.notices()))
        assert run(stack, {"detail": record} if isinstance(record, dict) else record) == FAILED_NONE
        added = [found for found in stack.invocations() if found not in before[0]]
        if len(stack.notices()) > before[2]:
            outcomes.append("rejected")
        elif len(stack.said("event ignored")) > before[1]:
            outcomes.append("ignored")
        elif stack.said("invocation logging deleted"):
            outcomes.append("change")
        elif any(found.observed for found in added):
            outcomes.append("call")
        else:
            # The same credentials again, remembered from an earlier record of the file.
            outcomes.append("session")

    assert outcomes == OUTCOMES[path.name]
