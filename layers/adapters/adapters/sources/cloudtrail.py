"""CloudTrail records: Bedrock inference calls, and the STS events that issue credentials with session tags.

Session tokens and secrets in STS events are never read: only the declared fields are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attribution.canonical import pairs
from attribution.errors import InputRejected
from attribution.models import model_reference
from attribution.ports import IssuedSession, ObservedCall
from attribution.usage import InvocationKey, Observed, Pairs

INFERENCE_EVENTS = ("InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream")
SESSION_EVENTS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetFederationToken")
_LONGEST_ID = 256
_BEDROCK = ("bedrock.amazonaws.com", "bedrock-runtime.amazonaws.com")
_ASSUMED_ROLE = re.compile(r"^arn:[^:]+:sts::\d{12}:assumed-role/(?P<role>[^/]+)/(?P<session>.+)$")


def parse_event(record: Mapping[str, Any], tag_keys: Sequence[str]) -> ObservedCall | IssuedSession | None:
    """One CloudTrail record; None for an event that says nothing about who used a model."""
    source, name = record.get("eventSource"), record.get("eventName")
    if source in _BEDROCK and name in INFERENCE_EVENTS:
        return _call(record, str(name))
    if source == "sts.amazonaws.com" and name in SESSION_EVENTS:
        return _session(record, frozenset(key.casefold() for key in tag_keys))
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _where(record: Mapping[str, Any]) -> str:
    return f"CloudTrail event {_text(record.get('eventID')) or 'without eventID'}"


def _time(record: Mapping[str, Any]) -> datetime:
    try:
        parsed = datetime.fromisoformat(_text(record.get("eventTime")))
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputRejected(_where(record), "eventTime is not ISO 8601") from None


def _call(record: Mapping[str, Any], name: str) -> ObservedCall:
    identity = _mapping(record.get("userIdentity"))
    account_id = _text(identity.get("accountId")) or _text(record.get("recipientAccountId"))
    region, request_id = _text(record.get("awsRegion")), _text(record.get("requestID"))
    for field, value in (("accountId", account_id), ("awsRegion", region), ("requestID", request_id)):
        if not value or "#" in value or len(value) > _LONGEST_ID:
            raise InputRejected(_where(record), f"{name} without a usable {field} cannot be joined with its log record")
    context = _mapping(identity.get("sessionContext"))
    issuer = _mapping(context.get("sessionIssuer"))
    arn = _text(identity.get("arn"))
    assumed = _ASSUMED_ROLE.match(arn)
    is_temporary = identity.get("type") in ("AssumedRole", "FederatedUser")
    model_id = _text(_mapping(record.get("requestParameters")).get("modelId"))
    observed = Observed(
        timestamp=_time(record),
        event_name=name,
        model_id=model_reference(model_id).model if model_id else "",
        iam_principal=arn,
        role=_text(issuer.get("arn")),
        session_name=assumed["session"] if assumed else "",
        source_identity=_text(context.get("sourceIdentity")),
        # Only temporary credentials carry session tags; a long-lived key id would be of no use here.
        access_key_id=_text(identity.get("accessKeyId")) if is_temporary else "",
        error_code=_text(record.get("errorCode")),
    )
    return ObservedCall(InvocationKey(account_id, region, request_id), observed)


def _session(record: Mapping[str, Any], tag_keys: frozenset[str]) -> IssuedSession | None:
    credentials = _mapping(_mapping(record.get("responseElements")).get("credentials"))
    access_key_id = _text(credentials.get("accessKeyId"))
    if not access_key_id or len(access_key_id) > _LONGEST_ID:
        # A refused request issues no credentials.
        return None
    request = _mapping(record.get("requestParameters"))
    tags = dict(_mapping(request.get("incomingTransitiveTags")))
    tags |= dict(_mapping(request.get("principalTags")))
    listed = request.get("tags")
    if isinstance(listed, list):
        tags |= {_text(_mapping(tag).get("key")): _mapping(tag).get("value") for tag in listed}
    kept = _kept(tags, tag_keys)
    # Most sessions of an account have nothing to do with Bedrock; one without tags would tell an allocation nothing.
    return IssuedSession(access_key_id, kept, _time(record)) if kept else None


def _kept(tags: Mapping[str, Any], tag_keys: frozenset[str]) -> Pairs:
    return pairs({key: value for key, value in tags.items() if key.casefold() in tag_keys and isinstance(value, str)})
