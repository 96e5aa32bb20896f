"""CloudTrail records: Bedrock inference calls, the STS events that issue credentials with session tags, and changes to notice.

They come one by one from EventBridge, and by the hundred in trail files. Only the fields declared here are read: msgspec skips
everything else while it parses, so that no session token, secret key, assertion or policy becomes a Python object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

# Typed JSON decoding that skips undeclared fields without building them; the standard library cannot.
import msgspec

from adapters.objects import expand, read_whole, require_within
from attribution.canonical import pairs
from attribution.errors import InputRejected
from attribution.meters import Tier, TokenKind
from attribution.models import model_reference
from attribution.ports import Change, IssuedSession, ObservedCall, ObservedChange, StoredObject, TrailEvent
from attribution.usage import FIRST_RECORD, InvocationKey, Observed, Pairs, PricedKind

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Digests and insights lie beside them, under `CloudTrail-Digest/` and `CloudTrail-Insight/`.
TRAIL_FILE_KEY = re.compile(
    r"(?:^|/)AWSLogs/(?:o-[a-z0-9]+/)?\d{12}/CloudTrail/[a-z0-9-]+/\d{4}/\d{2}/\d{2}/"
    r"\d{12}_CloudTrail_[a-z0-9-]+_\d{8}T\d{4}Z_[A-Za-z0-9]+\.json\.gz$"
)
_BEDROCK = ("bedrock.amazonaws.com", "bedrock-runtime.amazonaws.com")
_MANTLE = "bedrock-mantle.amazonaws.com"
_STS = "sts.amazonaws.com"
_LOGGED_CALLS = ("InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream")
# Calls of a model that invocation logging does not cover.
_UNCOVERED_CALLS = ("InvokeModelWithBidirectionalStream", "StartAsyncInvoke")
_MANTLE_CALL = "CreateInference"
_SESSIONS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetFederationToken")
_IAM = "iam.amazonaws.com"
_BEDROCK_CHANGES = {
    "PutModelInvocationLoggingConfiguration": Change.LOGGING_CHANGED,
    "DeleteModelInvocationLoggingConfiguration": Change.LOGGING_DELETED,
    "CreateInferenceProfile": Change.INFERENCE_PROFILES,
    "DeleteInferenceProfile": Change.INFERENCE_PROFILES,
    "TagResource": Change.INFERENCE_PROFILES,
    "UntagResource": Change.INFERENCE_PROFILES,
    "CreateModelInvocationJob": Change.BATCH_JOB,
}
_CHANGES: Mapping[str, Mapping[str, Change]] = {
    **dict.fromkeys(_BEDROCK, _BEDROCK_CHANGES),
    _MANTLE: dict.fromkeys(("CreateProject", "UpdateProject", "TagResource", "UntagResource"), Change.PROJECTS),
    _IAM: dict.fromkeys(
        ("CreateRole", "TagRole", "UntagRole", "DeleteRole", "CreateUser", "TagUser", "UntagUser", "DeleteUser"),
        Change.PRINCIPALS,
    ),
    "organizations.amazonaws.com": dict.fromkeys(
        ("TagResource", "UntagResource", "MoveAccount", "UpdateOrganizationalUnit"), Change.ACCOUNTS
    ),
    "account.amazonaws.com": {"PutAccountName": Change.ACCOUNTS},
}
# Only these carry session tags; the key id of other credentials would be of no use here.
_WITH_SESSION = ("AssumedRole", "FederatedUser", "Role")
_SESSION_ARN = re.compile(r"^arn:[^:]+:sts::\d{12}:(?:assumed-role/[^/]+|federated-user)/(?P<session>.+)$")
_TIERS = {"flex": Tier.FLEX, "priority": Tier.PRIORITY, "reserved": Tier.RESERVED}
_ANOTHER_ACCOUNTS_COPY = "0"
_METADATA_LIMIT = 256
_LONGEST_ID, _LONGEST_ARN = 256, 2048
# Bytes: a model is part of keys of the tables, which hold 2,048 bytes.
_LONGEST_MODEL = 1900
_MOST_TOKENS = 10**12


class _Declared(msgspec.Struct, rename="camel", omit_defaults=True):
    """A part of a record. Any field of any record may be missing."""


class _Issuer(_Declared):
    arn: str | None = None


class _SessionContext(_Declared):
    session_issuer: _Issuer | None = None
    source_identity: str | None = None


class _Scope(_Declared):
    credentials_issued_to: str | None = None


class _OnBehalfOf(_Declared):
    user_id: str | None = None


class _Identity(_Declared):
    type: str | None = None
    principal_id: str | None = None
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    user_name: str | None = None
    invoked_by: str | None = None
    session_context: _SessionContext | None = None
    in_scope_of: _Scope | None = None
    on_behalf_of: _OnBehalfOf | None = None


class _Tag(_Declared):
    key: str | None = None
    value: object = None


class _Performance(_Declared):
    latency: str | None = None


class _Request(_Declared):
    model_id: str | None = None
    performance_config: _Performance | None = None
    service_tier: object = None
    # The mantle endpoint has names of its own.
    model: str | None = None
    mantle_tier: object = msgspec.field(default=None, name="service_tier")
    metadata: dict[str, object] | None = None
    call_with_bearer_token: object = None
    tags: list[_Tag] | dict[str, object] | None = None
    principal_tags: dict[str, object] | None = None
    incoming_transitive_tags: dict[str, object] | None = None
    resource_arn: str | None = msgspec.field(default=None, name="resourceARN")
    inference_profile_identifier: str | None = None
    role_name: str | None = None
    user_name: str | None = None
    resource_id: str | None = None
    account_id: str | None = None


class _Credentials(_Declared):
    access_key_id: str | None = None


class _Response(_Declared):
    credentials: _Credentials | None = None
    job_arn: str | None = None
    inference_profile_arn: str | None = None


class _Additional(_Declared):
    """What AWS adds to a call. It documents neither the types nor the presence of these."""

    inference_region: object = None
    input_tokens: object = None
    output_tokens: object = None
    service_tier: object = None
    call_with_bearer_token: object = None


class _Resource(_Declared):
    type: str | None = None
    arn: str | None = msgspec.field(default=None, name="ARN")


class _Addendum(_Declared):
    original_request_id: str | None = msgspec.field(default=None, name="originalRequestID")
    original_event_id: str | None = msgspec.field(default=None, name="originalEventID")


class _Head(_Declared):
    """What decides whether a record is read at all."""

    event_source: str | None = None
    event_name: str | None = None


class _Record(_Head):
    """The declared part of one record."""

    event_id: str | None = msgspec.field(default=None, name="eventID")
    event_time: str | None = None
    region: str | None = msgspec.field(default=None, name="awsRegion")
    request_id: str | None = msgspec.field(default=None, name="requestID")
    recipient_account_id: str | None = None
    error_code: str | None = None
    identity: _Identity | None = msgspec.field(default=None, name="userIdentity")
    request: _Request | None = msgspec.field(default=None, name="requestParameters")
    response: _Response | None = msgspec.field(default=None, name="responseElements")
    additional: _Additional | None = msgspec.field(default=None, name="additionalEventData")
    resources: list[_Resource] | None = None
    addendum: _Addendum | None = None


class _File(msgspec.Struct):
    records: list[msgspec.Raw] = msgspec.field(name="Records")


class Message(msgspec.Struct, frozen=True):
    """A message about API calls: a CloudTrail record as EventBridge delivers it, or the event of a trail file."""

    detail: msgspec.Raw
    detail_type: str = msgspec.field(default="", name="detail-type")

    @property
    def is_about_an_object(self) -> bool:
        """Whether S3 announces an object."""
        return self.detail_type == "Object Created"


_head_decoder = msgspec.json.Decoder(_Head)
_record_decoder = msgspec.json.Decoder(_Record)
_file_decoder = msgspec.json.Decoder(_File)
_message_decoder = msgspec.json.Decoder(Message)


class S3TrailFiles:
    """`TrailFiles` in the customer's bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, tag_keys: Sequence[str]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._tag_keys = folded(tag_keys)

    def read(self, source: StoredObject) -> Iterator[TrailEvent | InputRejected | None]:
        """What each record of a file says; a record that cannot be used is returned as rejected, with its number."""
        if not self._bucket:
            raise InputRejected(str(source), "no trail is configured: set the stack's parameter TrailBucket")
        require_within(source, self._bucket, self._prefix)
        content = expand(read_whole(self._client, source), source)
        try:
            records = _file_decoder.decode(content).records
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InputRejected(str(source), "not a CloudTrail file, an object with Records") from None
        for number, raw in enumerate(records, start=1):
            try:
                yield parse_event(raw, self._tag_keys)
            except InputRejected as rejected:
                yield InputRejected(str(source), rejected.reason, number)


def is_trail_file(key: str) -> bool:
    """Whether an object holds CloudTrail records."""
    return TRAIL_FILE_KEY.search(key) is not None


def folded(tag_keys: Sequence[str]) -> frozenset[str]:
    """Keys of tags as they are compared, in any letter case."""
    return frozenset(key.casefold() for key in tag_keys)


def read_message(body: str, name: str) -> Message:
    """A message's body; what is no message about API calls is rejected without a word of it."""
    try:
        return _message_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputRejected(name, "not a message about API calls") from None


def parse_event(raw: bytes | str | msgspec.Raw, tag_keys: frozenset[str]) -> TrailEvent | None:
    """One CloudTrail record; None for one that says nothing about who used a model. `tag_keys` are `folded`."""
    try:
        read = _reader_of(_head_decoder.decode(raw))
        return read(_record_decoder.decode(raw), tag_keys) if read else None
    except msgspec.ValidationError as error:
        # The message names the field and the types, never the value.
        raise InputRejected("CloudTrail event", f"not a CloudTrail record: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputRejected("CloudTrail event", "not valid JSON") from None
    except RecursionError:
        raise InputRejected("CloudTrail event", "nested too deeply") from None


def projected(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without everything that is not read, so that no secret is passed on."""
    found: dict[str, Any] = msgspec.to_builtins(msgspec.convert(record, _Record))
    return found


def _reader_of(head: _Head) -> Callable[[_Record, frozenset[str]], TrailEvent | None] | None:
    name = head.event_name
    if name in _CHANGES.get(head.event_source or "", {}):
        return _change
    if head.event_source in _BEDROCK:
        return _call if name in _LOGGED_CALLS or name in _UNCOVERED_CALLS else None
    if head.event_source == _MANTLE:
        return _call if name == _MANTLE_CALL else None
    return _session if head.event_source == _STS and name in _SESSIONS else None


def _where(record: _Record) -> str:
    return f"CloudTrail event {(record.event_id or 'without eventID')[:_LONGEST_ID]}"


def _time(record: _Record) -> datetime:
    try:
        parsed = datetime.fromisoformat(record.event_time or "")
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputRejected(_where(record), "eventTime is not ISO 8601") from None


# Calls


def _call(record: _Record, tag_keys: frozenset[str]) -> ObservedCall:
    identity, request = record.identity or _Identity(), record.request or _Request()
    additional = record.additional or _Additional()
    context = identity.session_context or _SessionContext()
    is_mantle = record.event_source == _MANTLE
    model_id, arn = (request.model if is_mantle else request.model_id) or "", identity.arn or ""
    role = (context.session_issuer.arn if context.session_issuer else None) or ""
    if max(len(arn), len(role)) > _LONGEST_ARN or len(model_id.encode()) > _LONGEST_MODEL:
        raise InputRejected(_where(record), "the call's model or identity is longer than any ARN")
    session = _SESSION_ARN.match(arn)
    reference = model_reference(model_id)
    bearer = (additional.call_with_bearer_token, request.call_with_bearer_token)
    observed = Observed(
        timestamp=_time(record),
        event_name=record.event_name or "",
        model_id=reference.model,
        iam_principal=arn,
        role=role,
        session_name=session["session"] if session else "",
        source_identity=_text(context.source_identity),
        access_key_id=_text(identity.access_key_id) if identity.type in _WITH_SESSION else "",
        error_code=_text(record.error_code),
        event_id=_text(record.event_id),
        revision=_revision(record, identity),
        identity_type=_text(identity.type),
        identity_name="" if arn else _text(identity.user_name or identity.principal_id),
        invoked_by=_text(identity.invoked_by),
        issued_to=_text(identity.in_scope_of.credentials_issued_to if identity.in_scope_of else None, _LONGEST_ARN),
        on_behalf_of=_text(identity.on_behalf_of.user_id if identity.on_behalf_of else None),
        # Copies of events in tables hold it as text.
        has_bearer_token=any(flag in (True, "true") for flag in bearer),
        is_uncovered=is_mantle or record.event_name in _UNCOVERED_CALLS,
        project=_project(record) if is_mantle else "",
        inference_region=_text(additional.inference_region),
        inference_profile=reference.inference_profile,
        routing=reference.routing,
        tier=_tier(request, additional),
        request_metadata=_kept(request.metadata or {}, tag_keys) if is_mantle else (),
        kinds={} if record.error_code else _counted(additional),
    )
    return ObservedCall(_key(record, identity), observed)


def _key(record: _Record, identity: _Identity) -> InvocationKey:
    """The key of the call. A correction is about the request that it names, a copy in another account about the caller's."""
    account_id = identity.account_id or record.recipient_account_id or ""
    request_id = (record.addendum.original_request_id if record.addendum else None) or record.request_id or ""
    region = record.region or ""
    for field, value in (("accountId", account_id), ("awsRegion", region), ("requestID", request_id)):
        if not value or "#" in value or len(value) > _LONGEST_ID or not value.isascii():
            reason = f"{record.event_name} without a usable {field} cannot be joined with its log record"
            raise InputRejected(_where(record), reason)
    return InvocationKey(account_id, region, request_id)


def _revision(record: _Record, identity: _Identity) -> str:
    """Which record of a call stands: the caller's own over another account's copy, and of corrections the latest.

    An addendum that names no original event is no correction: its event was only delivered late.
    """
    is_copy = identity.type == "AWSAccount" or (
        identity.account_id and record.recipient_account_id and identity.account_id != record.recipient_account_id
    )
    of_whom = _ANOTHER_ACCOUNTS_COPY if is_copy else FIRST_RECORD
    if record.addendum is None or not (record.addendum.original_event_id or record.addendum.original_request_id):
        return of_whom
    return f"{of_whom}#{_time(record).isoformat()}#{(record.event_id or '')[:_LONGEST_ID]}"


def _counted(additional: _Additional) -> dict[TokenKind, PricedKind]:
    counts = {TokenKind.INPUT: _count(additional.input_tokens), TokenKind.OUTPUT: _count(additional.output_tokens)}
    return {kind: PricedKind(count, None) for kind, count in counts.items() if count is not None}


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) < len(str(_MOST_TOKENS)) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


def _tier(request: _Request, additional: _Additional) -> Tier:
    """The tier the call was served in; its place in the record is not documented, so every known place is read."""
    for stated in (additional.service_tier, request.service_tier, request.mantle_tier):
        name = stated.get("type") if isinstance(stated, dict) else stated
        if isinstance(name, str) and name in _TIERS:
            return _TIERS[name]
    is_optimized = request.performance_config is not None and request.performance_config.latency == "optimized"
    return Tier.LATENCY_OPTIMIZED if is_optimized else Tier.STANDARD


def _project(record: _Record) -> str:
    """The project (or workspace) that a mantle call was made in."""
    found = (r.arn for r in record.resources or () if (r.type or "").endswith(("::Project", "::Workspace")))
    return next((arn for arn in found if arn and len(arn) <= _LONGEST_ARN), "")


def _text(value: object, longest: int = _LONGEST_ID) -> str:
    """As much of a text as any that AWS writes has: an item holds 400 KB."""
    return value[:longest] if isinstance(value, str) else ""


def _kept(tags: Mapping[str, object], tag_keys: frozenset[str]) -> Pairs:
    """What allocation may use. Callers write metadata freely, so only configured keys are kept, at a bounded length."""
    return pairs({k: v[:_METADATA_LIMIT] for k, v in tags.items() if isinstance(v, str) and k.casefold() in tag_keys})


# Sessions


def _session(record: _Record, tag_keys: frozenset[str]) -> IssuedSession | None:
    credentials = record.response.credentials if record.response else None
    access_key_id = (credentials.access_key_id if credentials else None) or ""
    if not access_key_id or len(access_key_id) > _LONGEST_ID:
        # A refused request issues no credentials.
        return None
    request = record.request or _Request()
    # Tags that roles hand on along a chain are in the event of each link.
    tags = {**(request.incoming_transitive_tags or {}), **(request.principal_tags or {})}
    if isinstance(request.tags, dict):
        tags |= request.tags
    else:
        tags |= {tag.key: tag.value for tag in request.tags or () if tag.key}
    kept = _kept(tags, tag_keys)
    # Most sessions of an account have nothing to do with Bedrock; one without tags would tell an allocation nothing.
    return IssuedSession(access_key_id, kept, _time(record)) if kept else None


# Changes


def _change(record: _Record, tag_keys: frozenset[str]) -> ObservedChange | None:
    if record.error_code:
        # It was refused, so nothing changed.
        return None
    identity = record.identity or _Identity()
    return ObservedChange(
        change=_CHANGES[record.event_source or ""][record.event_name or ""],
        event_name=record.event_name or "",
        account_id=_text(record.recipient_account_id or identity.account_id),
        region=_text(record.region),
        resource=_changed(record)[:_LONGEST_ARN],
        event_id=_text(record.event_id),
        made_at=_time(record),
    )


def _changed(record: _Record) -> str:
    """What a change is about: an ARN or an account id; empty where the record does not say."""
    request, response = record.request or _Request(), record.response or _Response()
    if record.event_source == _IAM:
        kind, name = ("role", request.role_name) if request.role_name else ("user", request.user_name)
        identity = record.identity or _Identity()
        account_id = record.recipient_account_id or identity.account_id
        partition = (identity.arn or "").split(":")[1:2] or ["aws"]
        return f"arn:{partition[0]}:iam::{account_id}:{kind}/{name}" if name and account_id else ""
    named = (
        response.job_arn,
        response.inference_profile_arn,
        request.resource_arn,
        request.inference_profile_identifier,
        request.account_id,
        request.resource_id,
        _project(record),
        # An account that renames itself need not name itself.
        record.recipient_account_id if record.event_name == "PutAccountName" else None,
    )
    return next((name for name in named if name), "")
