"""Which adapter stands behind which port: the only boto3 clients, the only clock.

Everything is made once per execution environment, during Lambda's init phase, by the handler modules. Each factory imports its
adapter itself, so that a function starts with what it uses and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from adapters.concurrency import WORKERS
from adapters.dynamodb import Table
from adapters.settings import (
    Alerts,
    AllocateCharges,
    AnswerSlack,
    DeliverAlerts,
    IngestCostReport,
    Invocations,
    Ledger,
    ReadDataFile,
    ReconcileDeliveries,
    RecordApiCalls,
    RelayAlarms,
    RepriceInvocations,
    RollUpUsage,
    SyncDirectory,
    WorkBucket,
)

if TYPE_CHECKING:
    from adapters.alerts import DynamoOutbox
    from adapters.announced_manifests import DynamoAnnouncedManifests
    from adapters.announcements import EventBridgeAnnouncements
    from adapters.anomalies import DynamoAnomalies
    from adapters.budget_sums import DynamoBudgetSums
    from adapters.channels.routed import SlackChannels
    from adapters.channels.slack import SlackReplies
    from adapters.deliveries import DynamoDeliveries
    from adapters.directory import DynamoDirectory
    from adapters.fan_out import StepFunctionsFanOut
    from adapters.invocations import DynamoInvocations
    from adapters.ledger_days import DynamoLedgerDays
    from adapters.policy import DynamoPolicy
    from adapters.prices import DynamoPrices
    from adapters.queues import (
        SqsAlertRetries,
        SqsAllocationQueue,
        SqsDeliveryQueue,
        SqsDirectoryTasks,
        SqsRedelivery,
        SqsRepriceQueue,
    )
    from adapters.sessions import DynamoSessions
    from adapters.slack_requests import DynamoReplays
    from adapters.sources.aws_attributes import AwsAttributes
    from adapters.sources.bedrock_models import BedrockModels
    from adapters.sources.cost_report import S3CostReports
    from adapters.sources.offer_files import HttpPriceOffers
    from adapters.sources.report_listing import S3ReportListing
    from adapters.usage_counters import DynamoUsageCounters
    from adapters.work_bucket import S3OriginCharges, S3Quarantine

# The default mode changed between botocore releases; ours is said.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=3,
    read_timeout=30,
    max_pool_connections=WORKERS,
)


def clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


@cache
def client(service: str, region: str | None = None) -> Any:
    """The one client of a service, in the function's own Region unless another is named."""
    return boto3.client(service, region_name=region, config=_CONFIG)  # type: ignore[call-overload]


def ledger_table(settings: Ledger) -> Table:
    return Table(client("dynamodb"), settings.ledger_table)


def invocations(settings: Invocations) -> DynamoInvocations:
    from adapters.invocations import DynamoInvocations

    return DynamoInvocations(Table(client("dynamodb"), settings.invocations_table), settings.invocation_ttl_days, clock)


def sessions(settings: RecordApiCalls) -> DynamoSessions:
    from adapters.sessions import DynamoSessions

    return DynamoSessions(ledger_table(settings), settings.invocation_ttl_days, clock)


def oldest_recordable(settings: Invocations) -> datetime:
    """Requests from before this may have had an item that expired: DynamoDB expires items, roughly, on the day."""
    return clock() - timedelta(days=settings.invocation_ttl_days - 1)


def quarantine(settings: WorkBucket) -> S3Quarantine:
    from adapters.work_bucket import S3Quarantine

    return S3Quarantine(client("s3"), settings.work_bucket, clock)


def origin_charges(settings: WorkBucket) -> S3OriginCharges:
    from adapters.work_bucket import S3OriginCharges

    return S3OriginCharges(client("s3"), settings.work_bucket)


def cost_reports(settings: IngestCostReport | ReadDataFile) -> S3CostReports:
    from adapters.sources.cost_report import S3CostReports
    from adapters.work_bucket import S3OriginCharges, S3Readings

    return S3CostReports(
        client("s3"),
        settings.cost_report_bucket,
        settings.cost_report_prefix,
        S3OriginCharges(client("s3"), settings.work_bucket),
        S3Readings(client("s3"), settings.work_bucket),
        memory_megabytes=settings.engine_memory_megabytes,
    )


def prices(settings: Ledger) -> DynamoPrices:
    from adapters.prices import DynamoPrices

    return DynamoPrices(ledger_table(settings), clock)


def price_offers(settings: SyncDirectory) -> HttpPriceOffers:
    from adapters.sources.offer_files import HttpPriceOffers

    return HttpPriceOffers(settings.price_list_url)


def directory(settings: Ledger) -> DynamoDirectory:
    from adapters.directory import DynamoDirectory

    return DynamoDirectory(ledger_table(settings))


def bedrock_models() -> BedrockModels:
    from adapters.sources.bedrock_models import BedrockModels

    return BedrockModels(client)


def aws_attributes(settings: SyncDirectory) -> AwsAttributes:
    from adapters.sources.aws_attributes import AwsAttributes
    from adapters.sources.mantle_projects import MantleProjects

    projects = MantleProjects(client, boto3.Session().get_credentials)
    return AwsAttributes(client, projects.read, read_organization=settings.read_organization)


def reprice_queue(settings: SyncDirectory | RepriceInvocations) -> SqsRepriceQueue:
    from adapters.queues import SqsRepriceQueue

    return SqsRepriceQueue(client("sqs"), settings.reprice_queue_url)


def policy(settings: Ledger) -> DynamoPolicy:
    from adapters.policy import DynamoPolicy

    return DynamoPolicy(ledger_table(settings))


def usage_counters(settings: Ledger) -> DynamoUsageCounters:
    from adapters.usage_counters import DynamoUsageCounters

    return DynamoUsageCounters(ledger_table(settings), settings.ledger_retention_days, clock)


def ledger_days(settings: Ledger) -> DynamoLedgerDays:
    from adapters.ledger_days import DynamoLedgerDays

    return DynamoLedgerDays(ledger_table(settings), settings.ledger_retention_days, clock)


def budget_sums(settings: Ledger) -> DynamoBudgetSums:
    from adapters.budget_sums import DynamoBudgetSums

    return DynamoBudgetSums(ledger_table(settings), clock)


def anomalies(settings: Ledger) -> DynamoAnomalies:
    from adapters.anomalies import DynamoAnomalies

    return DynamoAnomalies(ledger_table(settings), settings.ledger_retention_days, clock)


def deliveries(settings: Ledger) -> DynamoDeliveries:
    from adapters.deliveries import DynamoDeliveries

    return DynamoDeliveries(ledger_table(settings))


def report_listing(settings: ReconcileDeliveries) -> S3ReportListing:
    from adapters.sources.report_listing import S3ReportListing

    return S3ReportListing(client("s3"), settings.cost_report_bucket, settings.cost_report_prefix)


def announced_manifests(settings: Ledger) -> DynamoAnnouncedManifests:
    from adapters.announced_manifests import DynamoAnnouncedManifests

    return DynamoAnnouncedManifests(ledger_table(settings))


def delivery_queue(settings: ReconcileDeliveries) -> SqsDeliveryQueue:
    from adapters.queues import SqsDeliveryQueue

    return SqsDeliveryQueue(client("sqs"), settings.cost_report_queue_url)


def allocation_queue(settings: RollUpUsage | IngestCostReport | SyncDirectory) -> SqsAllocationQueue:
    from adapters.queues import SqsAllocationQueue

    return SqsAllocationQueue(client("sqs"), settings.allocation_queue_url, settings.estimate_delay_seconds, clock)


def fan_out(settings: IngestCostReport) -> StepFunctionsFanOut:
    from adapters.fan_out import StepFunctionsFanOut

    return StepFunctionsFanOut(client("s3"), client("stepfunctions"), settings.work_bucket, settings.fan_out_state_machine_arn)


def directory_tasks(settings: RecordApiCalls | AllocateCharges | SyncDirectory) -> SqsDirectoryTasks:
    from adapters.queues import SqsDirectoryTasks

    return SqsDirectoryTasks(client("sqs"), settings.directory_queue_url)


def redelivery() -> SqsRedelivery:
    from adapters.queues import SqsRedelivery

    return SqsRedelivery(client("sqs"))


def alert_retries(settings: DeliverAlerts) -> SqsAlertRetries:
    from adapters.queues import SqsAlertRetries

    return SqsAlertRetries(client("sqs"), settings.alert_retry_queue_url)


def announcements() -> EventBridgeAnnouncements:
    from adapters.announcements import EventBridgeAnnouncements

    return EventBridgeAnnouncements(client("events"))


def outbox(settings: Alerts | RelayAlarms) -> DynamoOutbox:
    from adapters.alerts import DynamoOutbox

    return DynamoOutbox(Table(client("dynamodb"), settings.alerts_table), settings.ledger_retention_days, clock)


def secret(name: str, *, is_fresh: bool = False) -> str:
    """The value of a secret, remembered for five minutes unless it has to be fresh."""
    from aws_lambda_powertools.utilities import parameters
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

    from adapters.channels.slack import SecretUnavailable

    try:
        return str(parameters.get_secret(name, max_age=300, force_fetch=is_fresh))
    except GetParameterError as error:
        raise SecretUnavailable(f"the secret of Slack cannot be read: {type(error.__cause__ or error).__name__}") from error


def slack_channels(settings: DeliverAlerts, *, is_fresh: bool = False) -> SlackChannels:
    """Slack behind the routes' secrets, which are read when the first message is posted; mail behind them."""
    from adapters.channels.mail import SnsMail
    from adapters.channels.routed import SlackChannels

    return SlackChannels(settings, partial(secret, is_fresh=is_fresh), SnsMail(client("sns"), settings.alert_topic_arn))


def signing_secrets(settings: AnswerSlack) -> Callable[[], Sequence[str]]:
    """The app's signing secrets: as it is, or JSON with `signing_secret` and, while it is changed, `previous`."""
    import json

    def secrets() -> Sequence[str]:
        if not settings.slack_signing_secret_arn:
            return ()
        value = secret(settings.slack_signing_secret_arn).strip()
        if not value.startswith("{"):
            return (value,)
        stated = json.loads(value)
        return tuple(str(stated[name]) for name in ("signing_secret", "previous") if stated.get(name))

    return secrets


def slack_replays(settings: AnswerSlack) -> DynamoReplays:
    from adapters.slack_requests import DynamoReplays

    return DynamoReplays(Table(client("dynamodb"), settings.alerts_table), clock)


def slack_replies(settings: AnswerSlack) -> SlackReplies:
    from adapters.channels.slack import SlackReplies

    return SlackReplies(settings.slack_allowed_hosts)
