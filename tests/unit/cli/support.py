"""A small stack for the command line: moto behind boto3, and CloudFormation as a fake that knows one stack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from adapters.alerts import DynamoOutbox
from adapters.deliveries import DynamoDeliveries
from adapters.dynamodb import Table
from adapters.invocations import DynamoInvocations
from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy
from attribution.adjustments import adjust, dimensions_of
from attribution.charges import AllocatedCharge, Basis, CategoryValue, Confidence, Costs, Evidence
from attribution.cost_categories import NO_EVIDENCE, by_evidence
from attribution.coverage import Counted
from attribution.days import DayPointer, make_day_version
from attribution.deliveries import DayOfDelivery, DeliveryOutcome, DeliveryRecord, IngestedReport, RejectedRow
from attribution.meters import Meter, TokenKind
from attribution.periods import BillingPeriod
from attribution.rules import Rules
from attribution.usage import Usage
from bedrock_costs.main import app
from tests.support.stack import template

REGION = "us-east-1"
ACCOUNT = "123456789012"
STACK = "bedrock-costs"
OCTOBER = BillingPeriod(2026, 10)
WRITTEN = "2026-10-04T06:00:00+00:00"
CHANGED = datetime(2026, 10, 4, 7, 30, tzinfo=UTC)
ADJUSTED = datetime(2026, 11, 23, 9, tzinfo=UTC)
BY_TEAM = Rules.of([by_evidence("team", ("team",))])
LOG_KEY = f"logs/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/10/01/00/20261001T000000000Z_abc.json.gz"
MANIFEST_KEY = "cur/bill/metadata/BILLING_PERIOD=2026-10/bill-Manifest.json"


@dataclass
class FakeCloudFormation:
    """Answers for one stack, as CloudFormation would."""

    outputs: dict[str, str]
    queues: dict[str, str]
    parameters: dict[str, str] = field(default_factory=dict)

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        if StackName != STACK:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()]
        stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/c5bbf0a0"
        return {"Stacks": [{"StackId": stack_id, "StackName": STACK, "Outputs": outputs, "Parameters": parameters}]}

    def get_paginator(self, operation: str) -> FakeCloudFormation:
        assert operation == "list_stack_resources"
        return self

    def paginate(self, *, StackName: str) -> Iterator[dict[str, Any]]:
        assert StackName == STACK
        for name, url in self.queues.items():
            resource = {"LogicalResourceId": name, "PhysicalResourceId": url, "ResourceType": "AWS::SQS::Queue"}
            yield {"StackResourceSummaries": [resource]}


@dataclass
class Cloud:
    """The stack's parts, ready to be filled and looked at."""

    cloudformation: FakeCloudFormation
    dynamodb: Any
    s3: Any
    sqs: Any
    now: datetime = CHANGED

    @property
    def ledger(self) -> Table:
        return Table(self.dynamodb, self.cloudformation.outputs["LedgerTable"])

    @property
    def work_bucket(self) -> str:
        return self.cloudformation.outputs["WorkBucket"]

    @property
    def policy(self) -> DynamoPolicy:
        return DynamoPolicy(self.ledger)

    @property
    def deliveries(self) -> DynamoDeliveries:
        return DynamoDeliveries(self.ledger)

    @property
    def days(self) -> DynamoLedgerDays:
        return DynamoLedgerDays(self.ledger, 760, lambda: self.now)

    @property
    def outbox(self) -> DynamoOutbox:
        return DynamoOutbox(Table(self.dynamodb, "alerts"), 760, lambda: self.now)

    @property
    def invocations(self) -> DynamoInvocations:
        return DynamoInvocations(Table(self.dynamodb, self.cloudformation.outputs["InvocationsTable"]), 35, lambda: self.now)

    def put_day(
        self,
        usage_date: date,
        basis: Basis,
        charges: Sequence[AllocatedCharge],
        rules: Rules = BY_TEAM,
        counted: Sequence[Usage] = (),
    ) -> None:
        """Make a version of a day current."""
        days = DynamoLedgerDays(self.ledger, 760, lambda: self.now)
        origin = "" if basis is Basis.ESTIMATED else f"origin-{usage_date}"
        day = make_day_version(
            usage_date, basis, charges, rules, origin=origin, usage=f"usage-{usage_date}", counted=Counted.of(counted)
        )
        pointer = days.stage(day, "" if basis is Basis.ESTIMATED else f"{WRITTEN}#execution-1")
        days.flip([pointer], replacing=days.pointers(BillingPeriod.of(usage_date)))
        days.retire(usage_date)

    def received(self, queue: str) -> list[dict[str, Any]]:
        """The messages on a queue, with their attributes."""
        url = self.cloudformation.outputs[queue]
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
            if not answer.get("Messages"):
                return found
            for message in answer["Messages"]:
                found.append({"body": json.loads(message["Body"]), "attributes": message["Attributes"]})
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@cache
def client(service: str) -> Any:
    """A client that all tests share, because making one takes longer than any test; moto answers it while it is active."""
    session = boto3.Session("testing", "testing", region_name=REGION)
    # moto knows no endpoints with an account in their name.
    config = Config(account_id_endpoint_mode="disabled")
    return session.client(service, config=config)  # type: ignore[call-overload]


def make_cloud() -> Cloud:
    """The tables, queues and buckets of the template, in moto."""
    dynamodb, s3, sqs = client("dynamodb"), client("s3"), client("sqs")
    for table, keys in (("ledger", ("pk", "sk")), ("invocations", ("pk",))):
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    properties = template()["Resources"]["AlertsTable"]["Properties"]
    taken = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    dynamodb.create_table(TableName="alerts", **{name: properties[name] for name in taken})
    for bucket in ("work-bucket", "log-bucket", "report-bucket", "trail-bucket"):
        s3.create_bucket(Bucket=bucket)
    urls = {
        name: sqs.create_queue(QueueName=name)["QueueUrl"]
        for name in ("logs", "calls", "trail", "calls-dead", "undelivered", "directory")
    }
    fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    urls["deliveries"] = sqs.create_queue(QueueName="deliveries.fifo", Attributes=fifo)["QueueUrl"]
    urls["days"] = sqs.create_queue(QueueName="days.fifo", Attributes=fifo)["QueueUrl"]
    outputs = {
        "LedgerTable": "ledger",
        "InvocationsTable": "invocations",
        "AlertsTable": "alerts",
        "DeliverAlertsFunction": "deliver-alerts",
        "WorkBucket": "work-bucket",
        "InvocationLogQueue": urls["logs"],
        "ApiCallQueue": urls["calls"],
        "TrailQueue": urls["trail"],
        "CostReportQueue": urls["deliveries"],
        "AllocationQueue": urls["days"],
        "DirectoryQueue": urls["directory"],
        "CostReportLocation": "s3://report-bucket/cur/",
        "InvocationLogLocation": "s3://log-bucket/logs",
        "TrailLocation": "s3://trail-bucket/org",
    }
    queues = {
        "ApiCallQueue": urls["calls"],
        "ApiCallDeadLetters": urls["calls-dead"],
        "UndeliveredEvents": urls["undelivered"],
    }
    parameters = {"InvocationTtlDays": "35", "LedgerRetentionDays": "760"}
    return Cloud(FakeCloudFormation(outputs, queues, parameters), dynamodb, s3, sqs)


def charge(usage_date: date, team: str, cost: str, **changes: Any) -> AllocatedCharge:
    """An allocated charge; without a team, an unallocated one."""
    evidence = Evidence("session_tag", team) if team else None
    confidence = Confidence.EXACT if team else Confidence.NONE
    made = AllocatedCharge(
        origin="o",
        usage_date=usage_date,
        account_id="111122223333",
        region=REGION,
        line_item_type="Usage",
        feature="inference",
        usage_type="USE1-NovaPro-input-tokens",
        meter=Meter("amazon.nova-pro", TokenKind.INPUT),
        iam_principal=f"arn:aws:iam::111122223333:role/{team or 'nobody'}",
        inference_profile="",
        categories=(CategoryValue("team", team, evidence, reason="" if team else NO_EVIDENCE, confidence=confidence),),
        currency="USD",
        units=Decimal(1000),
        requests=3,
        costs=Costs.uniform(Decimal(cost)),
    )
    return replace(made, **changes)


def put_october(cloud: Cloud) -> None:
    """Three days of October: final, billed and estimated; thirds of a cent, so that rounding has something to do."""
    for day, basis in ((1, Basis.FINAL), (2, Basis.BILLED), (3, Basis.ESTIMATED)):
        on = date(2026, 10, day)
        shares = [charge(on, "search", "1234.335"), charge(on, "support", "0.335"), charge(on, "", "0.335")]
        cloud.put_day(on, basis, shares)


def put_delivery(cloud: Cloud, **changes: Any) -> DeliveryRecord:
    """A published delivery with everything that needs a look."""
    totals = {"USD": Costs.uniform(Decimal("2470.01"))}
    report = IngestedReport(
        files=(),
        days=(DayOfDelivery(date(2026, 10, 1), "origin-1", totals, 3, 30, is_final=True),),
        rows_read=12345,
        rows_in_scope=30,
        totals=totals,
        rejected=(RejectedRow("data/part-0.csv.gz", 17, "line_item_unblended_cost is not a number"),),
        rejected_count=1,
        notes=("the export has no IAM principals",),
        unclassified={"USE1-NewThing": {"USD": Costs.uniform(Decimal("0.5"))}},
    )
    record = DeliveryRecord(
        export="bill",
        period=OCTOBER,
        execution_id="execution-1",
        sequence=f"{WRITTEN}#execution-1",
        manifest_key=MANIFEST_KEY,
        manifest_etag="etag",
        outcome=DeliveryOutcome.PUBLISHED,
        report=report,
        changed_days=(date(2026, 10, 1),),
    )
    record = replace(record, **changes)
    cloud.deliveries.record(record)
    return record


def adjust_october(cloud: Cloud, refund: str = "-12.4", execution_id: str = "execution-7") -> None:
    """A refund for the first of October that is delivered after the month was closed."""
    on = date(2026, 10, 1)
    record = put_delivery(cloud, execution_id=execution_id, sequence=f"{ADJUSTED.isoformat()}#{execution_id}")
    days = DynamoLedgerDays(cloud.ledger, 760, lambda: ADJUSTED)
    before = days.pointers(OCTOBER)
    charges = [*days.charges(on, before[on].version), charge(on, "", refund, line_item_type="Refund")]
    usage = before[on].made_from["usage"]
    day = make_day_version(on, Basis.FINAL, charges, BY_TEAM, origin=f"origin of {execution_id}", usage=usage)
    _flip_adjusting(days, record, days.stage(day, record.sequence))


POLICIES = ("3f1c09a2b7d4", "8a2be60d4417")


def give_october_to(cloud: Cloud, owner: str, from_owner: str = "search", policies: Sequence[str] = POLICIES) -> None:
    """What an owner has of the billed days goes to another one, after the month was closed."""
    days = DynamoLedgerDays(cloud.ledger, 760, lambda: ADJUSTED)
    rules, record = Rules.of([by_evidence("team", (owner,))]), put_delivery(cloud)
    for on, pointer in sorted(days.pointers(OCTOBER).items()):
        if not pointer.is_billed:
            continue
        found = list(days.charges(on, pointer.version))
        charges = [charge(on, owner, "1234.335") if c.value_of("team") == from_owner else c for c in found]
        day = make_day_version(
            on, pointer.basis, charges, rules, origin=pointer.made_from["origin"], usage=pointer.made_from["usage"]
        )
        _flip_adjusting(days, record, days.stage(day, record.sequence), policies)


def _flip_adjusting(days: DynamoLedgerDays, record: DeliveryRecord, pointer: DayPointer, policies: Sequence[str] = ()) -> None:
    before = days.pointers(OCTOBER)
    replaced = before[pointer.usage_date]
    old, new = ({name: days.sums([p], name) for name in dimensions_of([replaced, pointer])} for p in (replaced, pointer))
    adjustment = adjust(record, before, [pointer], old, new)
    assert adjustment is not None
    named = replace(adjustment, policies_before=tuple(policies[:1]), policies_after=tuple(policies[1:]))
    days.flip([pointer], replacing=before, adjustment=named)


@dataclass(frozen=True)
class Ran:
    """What a run of the program left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_float=Decimal)


def run(*args: str, output: str = "table") -> Ran:
    """Run `bedrock-costs`. The options come last, as people of the AWS CLI write them."""
    result = CliRunner().invoke(app, [*args, "--region", REGION, "--output", output] if args[0] != "request" else list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)
