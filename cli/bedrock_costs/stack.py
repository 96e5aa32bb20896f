"""A deployed stack as this program reads it: the composition root. Tables, queues and buckets are named by its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bedrock_costs.failures import ExitCode, Failure

if TYPE_CHECKING:
    import boto3

    from adapters.alerts import DynamoOutbox
    from adapters.anomalies import DynamoAnomalies
    from adapters.budget_sums import DynamoBudgetSums
    from adapters.deliveries import DynamoDeliveries
    from adapters.directory import DynamoDirectory
    from adapters.dynamodb import Table
    from adapters.invocation_audit import DynamoInvocationScan, DynamoInvocationStream
    from adapters.invocations import DynamoInvocations
    from adapters.ledger_days import DynamoLedgerDays
    from adapters.policy import DynamoPolicy
    from adapters.prices import DynamoPrices
    from adapters.queues import SqsAllocationQueue, SqsDirectoryTasks
    from adapters.usage_counters import DynamoUsageCounters
    from adapters.work_bucket import S3OriginCharges


@dataclass(frozen=True, slots=True)
class Location:
    """A place in S3."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> Location:
        """The place named by `s3://bucket/prefix`."""
        parts = urlsplit(uri, allow_fragments=False)
        if parts.scheme != "s3" or not parts.netloc:
            raise Failure(f"{uri!r} is not a place in S3", fix="Write it as s3://bucket/prefix.", code=ExitCode.USAGE)
        # A key may contain a question mark; a URI of S3 has no query.
        return cls(parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").removeprefix("/"))

    def contains(self, other: Location) -> bool:
        """Whether everything at `other` lies here."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class Stack:
    """One stack in one account and Region."""

    def __init__(
        self, name: str, *, profile: str | None = None, region: str | None = None, endpoint_url: str | None = None
    ) -> None:
        self.name = name
        self._profile = profile
        self._region = region
        self._endpoint_url = endpoint_url

    @cached_property
    def session(self) -> boto3.Session:
        """The session of the profile and Region that were named, or of the environment's."""
        import boto3

        return boto3.Session(profile_name=self._profile, region_name=self._region)

    @property
    def region(self) -> str:
        """The Region of the stack."""
        return str(self.session.region_name or "")

    @property
    def account(self) -> str:
        """The account of the stack."""
        return str(self._description["StackId"]).split(":")[4]

    def client(self, service: str) -> Any:
        """A client of a service."""
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=60)
        return self.session.client(service, endpoint_url=self._endpoint_url, config=config)  # type: ignore[call-overload]

    @cached_property
    def _description(self) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        try:
            found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" not in error.response["Error"].get("Message", ""):
                raise
            raise Failure(
                f"there is no stack {self.name!r} in {self.region}",
                "Tables, queues and buckets are found through the outputs of the CloudFormation stack.",
                "Name it with --stack-name or BEDROCK_COSTS_STACK, its Region with --region, its account with --profile.",
            ) from error
        return found

    @cached_property
    def _outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self._description.get("Outputs", [])}

    @property
    def stored_tag_keys(self) -> list[str] | None:
        """The keys of request metadata and session tags that the stack stores; None where it does not say."""
        stated = self.parameter("AllocationTagKeys")
        return None if stated is None else [key.strip() for key in stated.split(",") if key.strip()]

    def parameter(self, name: str) -> str | None:
        """A parameter of the stack; None where it does not say."""
        found = (p["ParameterValue"] for p in self._description.get("Parameters", []) if p["ParameterKey"] == name)
        return next(found, None)

    def parameter_in_days(self, name: str) -> int:
        """A parameter that counts days."""
        stated = self.parameter(name)
        if stated is None or not stated.isdecimal():
            raise Failure(
                f"stack {self.name!r} has no parameter {name}",
                "It was deployed from another template.",
                "Deploy the current template, or name another stack with --stack-name.",
            )
        return int(stated)

    @property
    def trail_location(self) -> Location | None:
        """Where CloudTrail's files are read from; None where the stack reads none."""
        return self.location("TrailLocation") if "TrailLocation" in self._outputs else None

    @property
    def log_group(self) -> str | None:
        """The log group that the stack is subscribed to; None where it is to none."""
        return self._outputs.get("InvocationLogGroup")

    def output(self, name: str) -> str:
        """One output of the stack."""
        try:
            return self._outputs[name]
        except KeyError:
            raise Failure(
                f"stack {self.name!r} has no output {name}",
                "Its deployment is unfinished, or was made from another template.",
                "Deploy the current template, or name another stack with --stack-name.",
            ) from None

    def location(self, name: str) -> Location:
        """An output that names a place in S3."""
        return Location.parse(self.output(name))

    @cached_property
    def ledger(self) -> Table:
        """The ledger table."""
        from adapters.dynamodb import Table

        return Table(self.client("dynamodb"), self.output("LedgerTable"))

    def days(self) -> DynamoLedgerDays:
        """Ledger days, for reading: the retention is for writers."""
        from adapters.ledger_days import DynamoLedgerDays

        return DynamoLedgerDays(self.ledger, 0, now)

    def budget_sums(self) -> DynamoBudgetSums:
        """What budgets count of versions of days."""
        from adapters.budget_sums import DynamoBudgetSums

        return DynamoBudgetSums(self.ledger, now)

    def anomalies(self) -> DynamoAnomalies:
        """Anomalies that were found; the retention is for the function that finds them."""
        from adapters.anomalies import DynamoAnomalies

        return DynamoAnomalies(self.ledger, 0, now)

    def outbox(self) -> DynamoOutbox:
        """Alerts and digests, for reading: the retention is for the functions that write them."""
        from adapters.alerts import DynamoOutbox
        from adapters.dynamodb import Table

        return DynamoOutbox(Table(self.client("dynamodb"), self.output("AlertsTable")), 0, now)

    def deliveries(self) -> DynamoDeliveries:
        """Delivery records."""
        from adapters.deliveries import DynamoDeliveries

        return DynamoDeliveries(self.ledger)

    def origin_charges(self) -> S3OriginCharges:
        """Origin charges of days."""
        from adapters.work_bucket import S3OriginCharges

        return S3OriginCharges(self.client("s3"), self.output("WorkBucket"))

    def counters(self) -> DynamoUsageCounters:
        """Usage counters, for reading: the retention is for writers."""
        from adapters.usage_counters import DynamoUsageCounters

        return DynamoUsageCounters(self.ledger, 0, now)

    def policy(self) -> DynamoPolicy:
        """The policy document."""
        from adapters.policy import DynamoPolicy

        return DynamoPolicy(self.ledger)

    def usage_counters(self) -> DynamoUsageCounters:
        """Usage counters. What corrects them lives as long as they do."""
        from adapters.usage_counters import DynamoUsageCounters

        return DynamoUsageCounters(self.ledger, self.parameter_in_days("LedgerRetentionDays"), now)

    def prices(self) -> DynamoPrices:
        """Known prices."""
        from adapters.prices import DynamoPrices

        return DynamoPrices(self.ledger, now)

    def directory(self) -> DynamoDirectory:
        """What ARNs stand for, and what things are and were tagged with."""
        from adapters.directory import DynamoDirectory

        return DynamoDirectory(self.ledger)

    def directory_tasks(self) -> SqsDirectoryTasks:
        """Where the stack is asked to bring its directory up to date."""
        from adapters.queues import SqsDirectoryTasks

        return SqsDirectoryTasks(self.client("sqs"), self.output("DirectoryQueue"))

    @cached_property
    def _invocations(self) -> Table:
        from adapters.dynamodb import Table

        return Table(self.client("dynamodb"), self.output("InvocationsTable"))

    def invocations(self) -> DynamoInvocations:
        """Single requests, for reading: the time to live is for writers."""
        from adapters.invocations import DynamoInvocations

        return DynamoInvocations(self._invocations, 0, now)

    def invocation_scan(self) -> DynamoInvocationScan:
        """All requests."""
        from adapters.invocation_audit import DynamoInvocationScan
        from adapters.invocations import invocation_from_image

        return DynamoInvocationScan(self._invocations, invocation_from_image)

    def invocation_stream(self, arn: str) -> DynamoInvocationStream:
        """The changes of requests that are not counted yet."""
        from adapters.invocation_audit import DynamoInvocationStream
        from adapters.invocations import invocation_from_image

        checkpoint = self.usage_counters().checkpoint
        return DynamoInvocationStream(self.client("dynamodbstreams"), arn, invocation_from_image, checkpoint)

    def allocation_queue(self) -> SqsAllocationQueue:
        """Where the stack is asked to allocate days again."""
        from adapters.queues import SqsAllocationQueue

        return SqsAllocationQueue(self.client("sqs"), self.output("AllocationQueue"), 1, now)

    def dead_letter_queues(self) -> dict[str, str]:
        """The queues that keep what could not be handled, by the name they have in the template, with their URLs."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::SQS::Queue"
            and resource["LogicalResourceId"].endswith(("DeadLetters", "UndeliveredEvents"))
        }


def now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
