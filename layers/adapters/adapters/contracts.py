"""The events on the wire, as frozen models that keep only what is used. Validation errors never repeat the input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from adapters.validation import wrong_fields
from attribution.alerts import Alarm, AlertKey
from attribution.deliveries import PinnedFile, ReportKind
from attribution.digests import DigestKey
from attribution.errors import InputRejected
from attribution.ports import StoredObject
from attribution.wording import shortened

# CloudWatch writes no longer ones.
_REASON_MAX = 1023
_FIRST_CHANGE, _LAST_CHANGE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Bedrock has bills of this century.
UsageDate = Annotated[date, Field(ge=date(2000, 1, 1), le=date(2099, 12, 31))]
BillingMonth = Annotated[str, Field(pattern=r"^20\d{2}-(0[1-9]|1[0-2])$")]


class Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True)


class _Bucket(Contract):
    name: str


class _Object(Contract):
    key: str
    etag: str = ""
    version_id: str = Field("", alias="version-id")


class _ObjectCreatedDetail(Contract):
    bucket: _Bucket
    object: _Object


class ObjectCreated(Contract):
    """S3 "Object Created" as EventBridge delivers it; the key is plain text, not URL-encoded."""

    detail: _ObjectCreatedDetail

    @property
    def source(self) -> StoredObject:
        item = self.detail.object
        return StoredObject(self.detail.bucket.name, item.key, item.etag, item.version_id)


class _LogData(Contract):
    data: str


class LogEventsDelivered(Contract):
    """Log events as a subscription of CloudWatch Logs delivers them: gzip in Base64."""

    awslogs: _LogData


class DataFileToRead(Contract):
    """A data file of a large delivery as it was pinned, and what it is a part of: one item of a fan-out."""

    bucket: str
    key: str
    etag: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=0)]
    version_id: str
    kind: ReportKind
    period: BillingMonth

    @property
    def file(self) -> PinnedFile:
        return PinnedFile(self.key, self.etag, self.size, self.version_id)


class AllocateDay(Contract):
    """A usage day to be allocated, and what it changed for.

    `by_policy` is the version of the policy that it is to be allocated by even if its month is closed.
    """

    usage_date: UsageDate
    because: str
    by_policy: str = ""


class LedgerDaysChanged(Contract):
    """Ledger days of one billing period that readers see in another version."""

    billing_period: BillingMonth
    usage_dates: tuple[UsageDate, ...]


class LedgerDaysChangedEvent(Contract):
    """`LedgerDaysChanged` as EventBridge delivers it; a scheduled event has an empty detail."""

    detail: LedgerDaysChanged | None = None

    @field_validator("detail", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None


class ScheduledEvent(Contract):
    """A schedule's event as EventBridge delivers it: it says no more than that it is time."""

    detail_type: Literal["Scheduled Event"] = Field(alias="detail-type")


class DirectoryTask(Contract):
    """Something of the directory to be brought up to date.

    `ids` are the entries that the task `entries` is about; it is about all of them without any. `changed_at` is when CloudTrail
    saw the `event` that changed them.
    """

    task: Literal["prices", "models", "entries", "pricing", "calibration", "logging"]
    ids: tuple[Annotated[str, Field(min_length=1, max_length=2048)], ...] = ()
    changed_at: AwareDatetime | None = None
    event: Annotated[str, Field(max_length=256)] = ""

    @model_validator(mode="after")
    def _names_entries_or_nothing(self) -> DirectoryTask:
        if self.ids and self.task != "entries":
            raise ValueError("ids go with the task `entries`, and with no other")
        if (self.changed_at is None) != (not self.event) or (self.event and not self.ids):
            raise ValueError("an event has a time, and ids that it changed")
        return self


class RepriceInvocations(Contract):
    """Requests of one usage day and model that are to be priced, those behind `after`."""

    usage_date: UsageDate
    model: Annotated[str, Field(min_length=1, max_length=2048)]
    after: str = ""


class AlarmStateChanged(Contract):
    """CloudWatch's notification of an alarm, as SNS delivers it raw, or in its envelope.

    A description may end in `What to do: …` and `Guide: …`.
    """

    name: str = Field(alias="AlarmName", min_length=1, max_length=255)
    description: str | None = Field(None, alias="AlarmDescription", max_length=1024)
    state: Literal["OK", "ALARM", "INSUFFICIENT_DATA"] = Field(alias="NewStateValue")
    reason: str = Field("", alias="NewStateReason")
    since: Annotated[AwareDatetime, Field(ge=_FIRST_CHANGE, le=_LAST_CHANGE)] = Field(alias="StateChangeTime")

    @model_validator(mode="before")
    @classmethod
    def _out_of_its_envelope(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("Type") != "Notification":
            return value
        try:
            return json.loads(value["Message"])
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ValueError("the Message of the envelope is no JSON") from None

    @property
    def alarm(self) -> Alarm | None:
        """The alarm; None where CloudWatch does not know its state."""
        if self.state == "INSUFFICIENT_DATA":
            return None
        meaning, _, rest = (self.description or "").partition("What to do:")
        remedy, _, guide = rest.partition("Guide:")
        return Alarm(
            self.name,
            self.state == "ALARM",
            self.since.astimezone(UTC),
            shortened(self.reason, _REASON_MAX),
            meaning.strip(),
            remedy.strip(),
            guide.strip(),
        )


class AlertRetry(Contract):
    """An alert or a digest whose delivery is to be tried again; or that it is time to look for what is due."""

    budget: str = ""
    period: str = ""
    route: str = ""
    digest: str = ""
    sweep: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> AlertRetry:
        stated = [bool(self.budget and self.period), bool(self.route and self.digest), self.sweep]
        if sum(stated) != 1 or bool(self.budget) != bool(self.period) or bool(self.route) != bool(self.digest):
            raise ValueError("name an alert by budget and period, a digest by route and digest, or ask for a sweep")
        return self

    @property
    def key(self) -> AlertKey | DigestKey | None:
        if self.sweep:
            return None
        return AlertKey(self.budget, self.period) if self.budget else DigestKey(self.route, self.digest)


class RouteTrial(Contract):
    """Somebody wants a message, marked as a test, sent by a route now, or by mail; the answer says what became of it."""

    route: Annotated[str, Field(min_length=1, max_length=60)]
    by: Annotated[str, Field(min_length=1, max_length=300)]
    by_mail: bool = False


C = TypeVar("C", bound=Contract)


def read(contract: type[C], body: str | Mapping[str, Any], source: str) -> C:
    """A message as its contract; anything else is rejected with the fields that are wrong, not with their values."""
    try:
        return contract.model_validate_json(body) if isinstance(body, str) else contract.model_validate(body)
    except ValidationError as error:
        raise InputRejected(source, f"not a {contract.__name__} message: {wrong_fields(error, 'message')}") from None


def read_each(contract: type[C], messages: Iterable[tuple[str, str]]) -> tuple[dict[str, C], dict[str, Exception]]:
    """Bodies with the names of their messages as their contract, and what those that are not are rejected for; by name."""
    found: dict[str, C] = {}
    rejected: dict[str, Exception] = {}
    for body, name in messages:
        try:
            found[name] = read(contract, body, name)
        except InputRejected as error:
            rejected[name] = error
    return found, rejected
