"""The environment, read once and validated: one model per function. Nothing else reads `os.environ`."""

from __future__ import annotations

import os
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapters.validation import wrong_fields
from attribution.errors import PolicyInvalid


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]
Name = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Fields are environment variables, in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, alias_generator=str.upper)


class Ledger(Settings):
    ledger_table: Name
    ledger_retention_days: int = Field(ge=30)


class Invocations(Settings):
    invocations_table: Name
    invocation_ttl_days: int = Field(ge=20)


class WorkBucket(Settings):
    work_bucket: Name


class RecordInvocations(Ledger, Invocations, WorkBucket):
    allocation_tag_keys: CommaSeparated
    invocation_log_bucket: Name
    invocation_log_prefix: str = ""
    invocation_log_group: str = ""


class RecordApiCalls(Ledger, Invocations, WorkBucket):
    allocation_tag_keys: CommaSeparated
    directory_queue_url: Name
    trail_bucket: str = ""
    trail_prefix: str = ""


class RollUpUsage(Ledger, WorkBucket):
    allocation_queue_url: Name
    estimate_delay_seconds: int = Field(ge=1, le=900)


class IngestCostReport(Ledger, WorkBucket):
    allocation_queue_url: Name
    estimate_delay_seconds: int = Field(ge=1, le=900)
    cost_report_bucket: Name
    cost_report_prefix: str = ""
    billing_lag_hours: int = Field(ge=0)
    fan_out_state_machine_arn: Name
    fan_out_above_megabytes: int = Field(ge=0)
    engine_memory_megabytes: int = Field(ge=64)


class ReconcileDeliveries(Ledger, WorkBucket):
    cost_report_bucket: Name
    cost_report_prefix: str = ""
    cost_report_queue_url: Name


class SyncDirectory(Ledger, Invocations, WorkBucket):
    account_id: Name
    read_organization: bool
    directory_queue_url: Name
    price_list_url: Name
    reprice_queue_url: Name
    allocation_queue_url: Name
    estimate_delay_seconds: int = Field(ge=1, le=900)


class RepriceInvocations(Ledger, Invocations, WorkBucket):
    reprice_queue_url: Name


class ReadDataFile(WorkBucket):
    cost_report_bucket: Name
    cost_report_prefix: str = ""
    engine_memory_megabytes: int = Field(ge=64)


class AllocateCharges(Ledger, WorkBucket):
    directory_queue_url: Name


class Alerts(Ledger):
    alerts_table: Name


class DetectAnomalies(Alerts, WorkBucket):
    pass


class EvaluateBudgets(Alerts, WorkBucket):
    pass


class RelayAlarms(WorkBucket):
    alerts_table: Name
    ledger_retention_days: int = Field(ge=30)


class DeliverAlerts(Alerts, WorkBucket):
    alert_retry_queue_url: Name
    alert_topic_arn: Name
    slack_secret_arn: str = ""
    slack_secret_prefix: str = ""
    slack_allowed_hosts: CommaSeparated = ("hooks.slack.com", "hooks.slack-gov.com")
    slack_api_url: str = "https://slack.com/api"
    slack_signing_secret_arn: str = ""
    report_url: str = ""
    runbook_url: str = ""

    @property
    def has_buttons(self) -> bool:
        """Whether somebody answers them: the signing secret is read by `answer_slack` alone."""
        return bool(self.slack_signing_secret_arn)


class AnswerSlack(Alerts, Invocations):
    slack_signing_secret_arn: str = ""
    slack_allowed_hosts: CommaSeparated = ("hooks.slack.com", "hooks.slack-gov.com")


class ServeReports(Ledger, Invocations, WorkBucket):
    cost_report_bucket: Name


class CompileDigests(Alerts):
    pass


S = TypeVar("S", bound=Settings)


def load(model: type[S]) -> S:
    """The settings of one function; a missing or wrong variable is named."""
    try:
        return model.model_validate(dict(os.environ))
    except ValidationError as error:
        wrong = wrong_fields(error, "environment")
        raise PolicyInvalid(f"the environment of this function is not usable: {wrong}; set it in template.yaml") from None
