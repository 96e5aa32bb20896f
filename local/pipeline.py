"""The deployed system on the local AWS, as a customer's account would use it: objects and events go in, the ledger comes out.

Promises to touch the system only from outside: it puts objects into the customer's buckets and events onto the bus, and reads
what the system wrote. The demo and the end-to-end tests share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters.deliveries import DynamoDeliveries
from adapters.directory import DynamoDirectory
from adapters.dynamodb import Table
from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy, PolicyDocument
from adapters.prices import DynamoPrices
from adapters.sources.price_list import read_offer
from adapters.usage_counters import DynamoUsageCounters
from adapters.wiring import clock
from attribution.canonical import pairs
from attribution.charges import AllocatedCharge
from attribution.days import DayPointer
from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.directory import Described, entry_of, region_of_arn
from attribution.periods import BillingPeriod
from attribution.prices import OfferReading
from attribution.tag_history import Attributes, History, identity_of
from local.deployment import Deployment
from local.emulator import Emulator
from truth.objects import StoredObject

COST_REPORTS, INVOCATION_LOGS = "cost-reports", "invocation-logs"
COST_REPORT_PREFIX, INVOCATION_LOG_PREFIX = "exports", "bedrock"
SECRET = "bedrock-costs-slack"  # noqa: S105 - the name of a secret
_RETENTION_DAYS = 760
_QUEUES = (
    "InvocationLogQueue",
    "ApiCallQueue",
    "TrailQueue",
    "CostReportQueue",
    "ReconcileQueue",
    "AllocationQueue",
    "DirectoryQueue",
    "RepriceQueue",
    "BudgetQueue",
    "AnomalyQueue",
    "AlertRetryQueue",
    "AlarmQueue",
)
_DEAD_LETTERS = (
    "InvocationLogDeadLetters",
    "ApiCallDeadLetters",
    "RollUpDeadLetters",
    "CostReportDeadLetters",
    "ReconcileDeadLetters",
    "AllocationDeadLetters",
    "DirectoryDeadLetters",
    "BudgetDeadLetters",
    "AlertDeadLetters",
    "UndeliveredEvents",
)
_EVENTS_PER_CALL = 10


class PipelineError(Exception):
    """The system did not come to rest, or something ended in a dead-letter queue."""


def prepare_account(emulator: Emulator, slack_secret: str) -> str:
    """What exists before the stack: the customer's buckets, and the secret of Slack. Returns the secret's ARN."""
    for bucket in (COST_REPORTS, INVOCATION_LOGS):
        emulator.create_bucket(bucket)
    secret: str = emulator.client("secretsmanager").create_secret(Name=SECRET, SecretString=slack_secret)["ARN"]
    return secret


def stack_parameters(secret_arn: str, **overrides: str) -> dict[str, str]:
    """The parameters of the stack on the local AWS."""
    return {
        "CostReportBucket": COST_REPORTS,
        "CostReportPrefix": f"{COST_REPORT_PREFIX}/",
        "InvocationLogBucket": INVOCATION_LOGS,
        "InvocationLogPrefix": f"{INVOCATION_LOG_PREFIX}/",
        "SlackSecretArn": secret_arn,
        "SlackAllowedHosts": "127.0.0.1",
        "EstimateDelaySeconds": "2",
        # The local AWS knows no organization.
        "ReadOrganization": "false",
        # The month of the demo is long over.
        "InvocationTtlDays": "3650",
        **overrides,
    }


@dataclass(frozen=True)
class Pipeline:
    """A deployed system and the ways into and out of it."""

    emulator: Emulator
    deployment: Deployment

    @cached_property
    def ledger(self) -> Table:
        return Table(self.emulator.client("dynamodb"), self.deployment.outputs["LedgerTable"])

    @cached_property
    def invocations(self) -> Table:
        return Table(self.emulator.client("dynamodb"), self.deployment.outputs["InvocationsTable"])

    @cached_property
    def alerts(self) -> Table:
        return Table(self.emulator.client("dynamodb"), self.deployment.outputs["AlertsTable"])

    @cached_property
    def days(self) -> DynamoLedgerDays:
        return DynamoLedgerDays(self.ledger, _RETENTION_DAYS, clock)

    @cached_property
    def counters(self) -> DynamoUsageCounters:
        return DynamoUsageCounters(self.ledger, _RETENTION_DAYS, clock)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.emulator.client(service)
        return self._clients[service]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    # In ----------------------------------------------------------------------------------------------------------------

    def load_prices(self, offers: Mapping[str, bytes]) -> int:
        """Load AWS Price List offer files, as `bedrock-costs prices load` does."""
        prices = DynamoPrices(self.ledger, clock)
        stored = 0
        for code, body in offers.items():
            offer = read_offer(body, code)
            stored += prices.store(offer.prices)
            prices.record_reading(OfferReading(offer.code, clock(), offer.published_on, len(offer.prices), len(offer.left_out)))
        return stored

    def load_directory(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Put what AWS would answer about all accounts of the company into the directory.

        `sync_directory` does the same with those of one account.
        """
        directory = DynamoDirectory(self.ledger)
        for arn, profile in known["inference_profiles"].items():
            regions = [region_of_arn(arn), *([""] if profile["routing"] == "global" else [])]
            models = tuple(f"arn:aws:bedrock:{region}::foundation-model/{profile['model_id']}" for region in regions)
            directory.put(entry_of(Described(arn, models), None, clock()))
        named = {**known["accounts"], **known["inference_profiles"], **known["projects"]}
        tagged = {arn: {"tags": tags} for arn, tags in known["principals"].items()}
        for text, found in {**named, **tagged}.items():
            identity = identity_of(text)
            if identity is not None:
                attributes = Attributes(pairs(found["tags"]), found.get("name", identity.name))
                before = directory.history(identity.id)
                directory.record(before, (before or History(identity.id)).seen(attributes, clock()))

    def apply_policy(self, document: PolicyDocument) -> None:
        """Put a policy in force, as `bedrock-costs config apply` does."""
        DynamoPolicy(self.ledger).apply(document)

    def put_objects(self, bucket: str, objects: Iterable[StoredObject]) -> int:
        """Put objects into a bucket of the customer, in order."""
        s3 = self._client("s3")
        count = 0
        for stored in objects:
            s3.put_object(Bucket=bucket, Key=stored.key, Body=stored.body)
            count += 1
        return count

    def put_events(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Put CloudTrail events onto the bus, as the account's own CloudTrail does."""
        client = self._client("events")
        count = 0
        for batch in _batches(events, _EVENTS_PER_CALL):
            entries = [
                {"Source": e["source"], "DetailType": e["detail-type"], "Detail": json.dumps(e["detail"])} for e in batch
            ]
            answer = client.put_events(Entries=entries)
            if answer["FailedEntryCount"]:
                raise PipelineError(f"the bus refused {answer['FailedEntryCount']} of {len(entries)} events: {answer}")
            count += len(entries)
        return count

    # Out ---------------------------------------------------------------------------------------------------------------

    def count_metered(self) -> int:
        """How many requests have been recorded from invocation logs."""
        pages = self._client("dynamodb").get_paginator("scan")
        request: Any = {
            "TableName": self.invocations.name,
            "FilterExpression": "attribute_exists(metered)",
            "Select": "COUNT",
        }
        return sum(page["Count"] for page in pages.paginate(**request))

    def pointers(self, period: BillingPeriod) -> Mapping[Any, DayPointer]:
        return self.days.pointers(period)

    def delivery(self, period: BillingPeriod, execution_id: str) -> DeliveryRecord | None:
        known = DynamoDeliveries(self.ledger).of_period(period)
        return next((r for r in known if r.execution_id == execution_id), None)

    def charges(self, period: BillingPeriod) -> list[AllocatedCharge]:
        """Every current allocated charge of a period."""
        pointers = self.pointers(period).values()
        with ThreadPoolExecutor(4) as pool:
            return [c for day in pool.map(lambda p: list(self.days.charges(p.usage_date, p.version)), pointers) for c in day]

    def variables(self) -> dict[str, str]:
        """The environment in which `bedrock-costs` finds this stack."""
        return {
            "AWS_ENDPOINT_URL": self.emulator.endpoint,
            "AWS_ACCESS_KEY_ID": self.emulator.account_id,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": self.emulator.region,
            "BEDROCK_COSTS_STACK": self.deployment.stack_name,
        }

    def bedrock_costs(self, *arguments: str, output: str = "table") -> str:
        """What the command line answers on a terminal of 100 columns."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        ran = subprocess.run(  # noqa: S603  our own interpreter and program
            [sys.executable, "-c", "from bedrock_costs.main import app; app()", *arguments, "--output", output, "--no-color"],
            env=mine | self.variables() | {"COLUMNS": "100", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise PipelineError(f"bedrock-costs {' '.join(arguments)} ended with {ran.returncode}: {ran.stderr}")
        return ran.stdout

    def waiting_messages(self) -> int:
        """Messages in the system's queues, visible, delayed or in hand."""
        return sum(self._depth(name) for name in _QUEUES)

    def dead_letters(self) -> dict[str, int]:
        """What failed for good, by queue."""
        depths = {name: self._depth(name) for name in _DEAD_LETTERS}
        return {name: depth for name, depth in depths.items() if depth}

    def _depth(self, logical_id: str) -> int:
        attributes = self._client("sqs").get_queue_attributes(
            QueueUrl=self.deployment.resources[logical_id], AttributeNames=["All"]
        )["Attributes"]
        # A session is looked up again a minute later; nobody waits for that.
        names = ("", "NotVisible") if logical_id == "ApiCallQueue" else ("", "NotVisible", "Delayed")
        return sum(int(attributes.get(f"ApproximateNumberOfMessages{name}", 0)) for name in names)

    def fingerprint(self) -> dict[str, str]:
        """Every ledger and alert item by key, as a hash of its content: equal fingerprints are equal tables.

        Sessions are left out: they expire, and each batch has its list of calls that await one, and is cut anew each time.
        """
        return {
            f"{item['pk']['S']} {item['sk']['S']}": hashlib.sha256(repr(sorted(item.items())).encode()).hexdigest()
            for table in (self.ledger, self.alerts)
            for page in self._client("dynamodb").get_paginator("scan").paginate(TableName=table.name)
            for item in page["Items"]
            if not item["pk"]["S"].startswith("SESSION#")
        }

    def wait_for(self, what: str, is_done: Callable[[], bool], *, seconds: float, poll: float = 0.5) -> None:
        """Wait until something is so; what failed for good meanwhile ends the wait."""
        deadline = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > deadline:
                raise PipelineError(f"{what} took longer than {seconds:.0f} s; {self._state()}")
            time.sleep(poll)

    def settle(self, *, seconds: float, quiet_seconds: float = 2.0) -> None:
        """Wait until no message is anywhere and nothing is written any more."""
        quiet_since = time.monotonic()
        before: tuple[int, int] | None = None
        deadline = time.monotonic() + seconds
        while time.monotonic() - quiet_since < quiet_seconds:
            now = (self.waiting_messages(), self._writes())
            if now != before or now[0]:
                quiet_since, before = time.monotonic(), now
            if time.monotonic() > deadline:
                raise PipelineError(f"the system did not come to rest within {seconds:.0f} s; {self._state()}")
            time.sleep(0.25)
        dead = self.dead_letters()
        if dead:
            raise PipelineError(f"messages failed for good: {dead}; {self._state()}")

    def _writes(self) -> int:
        """How much the ledger and the alerts hold: it moves while a stream is still being worked off."""
        client = self._client("dynamodb")
        tables = (self.ledger.name, self.alerts.name, self.invocations.name)
        return sum(int(client.describe_table(TableName=name)["Table"]["ItemCount"]) for name in tables)

    def _state(self) -> str:
        return f"{self.waiting_messages()} messages wait, dead letters {self.dead_letters()}, log {self.emulator.log_file}"


def is_published(record: DeliveryRecord | None) -> bool:
    """Whether a delivery is visible to readers."""
    return record is not None and record.outcome is DeliveryOutcome.PUBLISHED


def totals(pointers: Iterable[DayPointer], metric: str = "billed_cost") -> Decimal:
    """What the current days sum to in one metric, in USD."""
    return sum((getattr(p.totals["USD"], metric) for p in pointers if "USD" in p.totals), Decimal(0))


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


BUILD_DIRECTORY = Path(__file__).resolve().parent.parent / ".build" / "local"
