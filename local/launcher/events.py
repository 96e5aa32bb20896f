"""EventBridge as AWS runs it: replayed service events, rule states, queue policies, FIFO targets, S3 event shape."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from contextvars import ContextVar
from importlib import import_module
from typing import Any

MAXIMUM_ENTRIES = 10

logger = logging.getLogger("local.events")

eventbridge: Any = import_module("ministack.services.eventbridge")
s3: Any = import_module("ministack.services.s3")
sqs: Any = import_module("ministack.services.sqs")
arn: Any = import_module("ministack.core.arn")
responses: Any = import_module("ministack.core.responses")

_entry_time: ContextVar[float | None] = ContextVar("entry_time", default=None)
_delivering: ContextVar[tuple[dict[str, Any], dict[str, Any]] | None] = ContextVar("delivering", default=None)
_stored_version: ContextVar[tuple[str | None] | None] = ContextVar("stored_version", default=None)

_original_put_events = eventbridge._put_events
_original_invoke_target = eventbridge._invoke_target
_original_dispatch_to_sqs = eventbridge._dispatch_to_sqs
_original_fire_s3_event = s3._fire_s3_event


def put_events(data: dict[str, Any], allow_aws_source: bool = True) -> Any:
    """PutEvents that accepts `aws.*` sources and keeps each entry's Time.

    AWS refuses such sources because only its services may use them. Here nobody else can play
    CloudTrail, which Bedrock and STS calls of the demo are replayed through. ministack also
    stamps every event with the present time; a replayed call happened when it happened.
    """
    entries = data.get("Entries", [])
    if not 1 < len(entries) <= MAXIMUM_ENTRIES:
        return _put_entry(data, allow_aws_source)
    parts = [json.loads(_put_entry({**data, "Entries": [entry]}, allow_aws_source)[2]) for entry in entries]
    return responses.json_response(
        {
            "FailedEntryCount": sum(part["FailedEntryCount"] for part in parts),
            "Entries": [entry for part in parts for entry in part["Entries"]],
        }
    )


def _put_entry(data: dict[str, Any], allow_aws_source: bool) -> Any:
    entries = data.get("Entries", [])
    token = _entry_time.set(entries[0].get("Time") if len(entries) == 1 else None)
    try:
        return _original_put_events(data, allow_aws_source)
    finally:
        _entry_time.reset(token)


def _now_ts() -> float:
    stated = _entry_time.get()
    return float(stated) if isinstance(stated, int | float) else time.time()


def _listens(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether the rule's State lets it see the event.

    ministack treats every State but ENABLED as disabled. On AWS, ENABLED does not see read-only
    management events that CloudTrail delivers (Bedrock inference and AssumeRole are such events);
    ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS does.
    """
    state = rule.get("State")
    if state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS":
        return True
    if state != "ENABLED":
        return False
    detail = event.get("detail")
    if not str(event.get("detail-type", "")).endswith("via CloudTrail") or not isinstance(detail, dict):
        return True
    return not (detail.get("readOnly") is True and detail.get("managementEvent") is not False)


def dispatch_event(event: dict[str, Any], view: Any = None) -> None:
    """Give an event to the rules that listen and match; replaces the original for the sake of `_listens`."""
    stored_version = _stored_version.get()
    if stored_version is not None:
        event, view = _as_s3_sends_it(event, stored_version[0]), None
    view = view or eventbridge._pattern_event_view(event)
    passed = set(event.get("_DispatchPath") or [])
    for key, rule in list(eventbridge._rules.items()):
        if rule.get("EventBusName", "default") != event.get("EventBusName", "default"):
            continue
        if key in passed or not rule.get("EventPattern") or not _listens(rule, view.event_with_detail()):
            continue
        if eventbridge._matches_pattern_view(rule["EventPattern"], view, f"rule {key}"):
            for target in eventbridge._targets.get(key, []):
                eventbridge._invoke_target(target, event, rule, view)


def _as_s3_sends_it(event: dict[str, Any], version_id: str | None) -> dict[str, Any]:
    """The event with what S3 sends and ministack does not: version-id, whole seconds, an id of its own."""
    detail = json.loads(event["Detail"])
    detail.pop("event-version", None)
    if version_id:
        detail["object"]["version-id"] = version_id
    whole_seconds = event["Time"].split(".")[0].rstrip("Z") + "Z"
    return {**event, "EventId": str(uuid.uuid4()), "Time": whole_seconds, "Detail": json.dumps(detail)}


def fire_s3_event(*args: Any, **kwargs: Any) -> None:
    token = _stored_version.set((kwargs.get("version_id"),))
    try:
        _original_fire_s3_event(*args, **kwargs)
    finally:
        _stored_version.reset(token)


def invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    """Remember rule and target, which ministack does not tell the function that writes to the queue."""
    token = _delivering.set((rule, target))
    try:
        _original_invoke_target(target, event, rule, view)
    finally:
        _delivering.reset(token)


def _refusal(queue_arn: str, rule_arn: str, sqs_parameters: dict[str, Any]) -> str | None:
    """Why AWS would not put this event into this queue, or None."""
    if not sqs.queue_policy_allows(queue_arn, "events.amazonaws.com", rule_arn, responses.get_account_id()):
        return "its queue policy does not let events.amazonaws.com send messages for this rule"
    queue = sqs._queue_by_arn(queue_arn)
    if queue and queue.get("is_fifo"):
        if not sqs_parameters.get("MessageGroupId"):
            return "it is a FIFO queue and the target has no SqsParameters.MessageGroupId"
        if str(queue["attributes"].get("ContentBasedDeduplication")).lower() != "true":
            return "it is a FIFO queue without ContentBasedDeduplication, which EventBridge requires"
    return None


def dispatch_to_sqs(spec: Any, payload: str, sqs_parameters: dict[str, Any] | None = None) -> None:
    """Deliver only where AWS would; ministack ignores queue policies and invents a message group.

    What AWS would not deliver goes to the target's dead-letter queue, if it has one, as on AWS.
    """
    rule, target = _delivering.get() or ({}, {})
    refusal = _refusal(str(spec), rule.get("Arn", ""), sqs_parameters or {})
    if refusal is None:
        _original_dispatch_to_sqs(spec, payload, sqs_parameters)
        return
    logger.error("EventBridge rule %s: event not delivered to %s: %s", rule.get("Name"), spec, refusal)
    dead_letter = (target.get("DeadLetterConfig") or {}).get("Arn")
    if dead_letter and _refusal(dead_letter, rule.get("Arn", ""), {}) is None:
        _original_dispatch_to_sqs(arn.parse_arn(dead_letter), payload)


def _fire_schedules_every(seconds: float) -> None:
    """Let every rate() rule fire at this interval: an hourly rule is not seen to work otherwise."""
    original = eventbridge._parse_rate_seconds
    eventbridge._parse_rate_seconds = lambda expression: None if original(expression) is None else seconds


def apply() -> None:
    # Ten seconds in ministack, by which a rule fires late.
    eventbridge._SCHEDULER_TICK_INTERVAL = 1
    if os.environ.get("LOCAL_AWS_SCHEDULE_SECONDS"):
        _fire_schedules_every(float(os.environ["LOCAL_AWS_SCHEDULE_SECONDS"]))
    eventbridge._put_events = put_events
    eventbridge._now_ts = _now_ts
    eventbridge._dispatch_event = dispatch_event
    eventbridge._invoke_target = invoke_target
    eventbridge._dispatch_to_sqs = dispatch_to_sqs
    s3._fire_s3_event = fire_s3_event
