"""The stack on moto: tables, buckets, queues and rules as template.yaml defines them, and its functions as modules.

A function is imported through its real path with the variables that the template gives it and no others of ours, so that a
variable the template forgets is missing here too. What moto cannot do as AWS does, waiting, is left out: no message is delayed.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import os
import sys
import tomllib
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3
import yaml
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from adapters import wiring
from adapters.dynamodb import Item, Table, from_wire
from adapters.invocations import invocation_from_image
from attribution.usage import Invocation

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT, REGION = "123456789012", "us-east-1"
"""The account that moto plays."""
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
"""The frozen time of the product under test."""
SECRET = "slack-webhook"


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long_form)


@cache
def template() -> dict[str, Any]:
    """template.yaml as plain values; `!Ref X` is `{"Ref": "X"}`."""
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), _Loader)  # noqa: S506 - a SafeLoader
    return loaded


@cache
def _local_parameters() -> dict[str, str]:
    """What samconfig.toml gives the local AWS, which the sample events are made for."""
    words = tomllib.loads((ROOT / "samconfig.toml").read_text())["local"]["deploy"]["parameters"]["parameter_overrides"]
    return dict(word.split("=", 1) for word in words)


def load_event(function: str) -> dict[str, Any]:
    """The sample event of a function, fresh, to be used or bent."""
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{function}.json").read_text())
    return event


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may ask of its Lambda context."""

    function_name: str
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:tested"
    aws_request_id: str = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it was sent. `delay_seconds` is what the sender asked for."""

    body: str
    group: str = ""
    deduplication: str = ""
    delayed: bool = False


class Stack:
    """The resources of the template inside the `mock_aws` that is active."""

    def __init__(self, *, slack_secret: str = "", signing_secret: str = "", overrides: Mapping[str, str] | None = None) -> None:
        self.log = io.StringIO()
        self.now = NOW
        parameters.clear_caches()  # type: ignore[no-untyped-call]
        self.dynamodb, self.s3, self.sqs, self.events, self.stepfunctions = (
            _client(name) for name in ("dynamodb", "s3", "sqs", "events", "stepfunctions")
        )
        self.parameters = {name: str(p["Default"]) for name, p in template()["Parameters"].items() if "Default" in p}
        self.parameters |= _local_parameters() | dict(overrides or {})
        for parameter, value in (("SlackSecretArn", slack_secret), ("SlackSigningSecretArn", signing_secret)):
            if value:
                secret = _client("secretsmanager").create_secret(Name=f"{SECRET}-{parameter}", SecretString=value)
                self.parameters |= {parameter: secret["ARN"], "SlackAllowedHosts": "127.0.0.1"}
        self._refs: dict[str, str] = self.parameters | {
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": "tested",
        }
        for bucket in ("CostReportBucket", "InvocationLogBucket"):
            self.s3.create_bucket(Bucket=self.parameters[bucket])
        create: Mapping[str, Callable[[str, dict[str, Any]], None]] = {
            "AWS::DynamoDB::Table": self._create_table,
            "AWS::S3::Bucket": self._create_bucket,
            "AWS::SQS::Queue": self._create_queue,
            "AWS::SNS::Topic": self._create_topic,
        }
        for name, resource in template()["Resources"].items():
            if resource["Type"] in create:
                create[resource["Type"]](name, resource.get("Properties", {}))
        for name, resource in template()["Resources"].items():
            if resource["Type"] == "AWS::Events::Rule" and "EventPattern" in resource["Properties"]:
                self._create_rule(name, resource["Properties"])
            elif resource["Type"] == "AWS::Serverless::StateMachine":
                self._create_state_machine(name, resource["Properties"])

    # What the template defines ------------------------------------------------------------------------------------------

    def _create_table(self, name: str, properties: dict[str, Any]) -> None:
        taken = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "StreamSpecification")
        request = {key: properties[key] for key in taken if key in properties}
        if "StreamSpecification" in request:
            request["StreamSpecification"] = {"StreamEnabled": True, **request["StreamSpecification"]}
        self.dynamodb.create_table(TableName=name, **request)
        self._refs[name] = name

    def _create_bucket(self, name: str, properties: dict[str, Any]) -> None:
        self._refs[name] = name.lower()
        self.s3.create_bucket(Bucket=self._refs[name])
        if "VersioningConfiguration" in properties:
            self.s3.put_bucket_versioning(
                Bucket=self._refs[name], VersioningConfiguration=properties["VersioningConfiguration"]
            )

    def _create_queue(self, name: str, properties: dict[str, Any]) -> None:
        is_fifo = bool(properties.get("FifoQueue"))
        attributes = {key: "true" for key in ("FifoQueue", "ContentBasedDeduplication") if properties.get(key)}
        physical = f"{name}.fifo" if is_fifo else name
        self._refs[name] = self.sqs.create_queue(QueueName=physical, Attributes=attributes)["QueueUrl"]

    def _create_topic(self, name: str, properties: dict[str, Any]) -> None:
        self._refs[name] = _client("sns").create_topic(Name=name)["TopicArn"]

    def mails(self, topic: str = "AlertTopic") -> list[tuple[str, str]]:
        """Subject and body of everything that was published to a topic."""
        sent: Any = sns_backends[ACCOUNT][REGION].topics[self._refs[topic]].sent_notifications
        return [(subject, body) for _, body, subject, *_ in sent]

    def _create_rule(self, name: str, properties: dict[str, Any]) -> None:
        pattern = json.dumps(self.resolve(properties["EventPattern"]))
        self.events.put_rule(Name=name, EventPattern=pattern, State="ENABLED")
        targets = [
            {key: self.resolve(target[key]) for key in ("Id", "Arn", "SqsParameters") if key in target}
            for target in properties["Targets"]
        ]
        self.events.put_targets(Rule=name, Targets=targets)

    def _create_state_machine(self, name: str, properties: dict[str, Any]) -> None:
        definition = json.dumps(self.resolve(properties["Definition"]))
        role = f"arn:aws:iam::{ACCOUNT}:role/{name}Role"
        created = self.stepfunctions.create_state_machine(name=name, definition=definition, roleArn=role)
        self._refs[name] = self.state_machine_arn = created["stateMachineArn"]

    def resolve(self, value: Any) -> Any:
        """A value of the template with its references answered, as far as environments and rules need it."""
        match value:
            case {"Ref": str(name)}:
                return self._refs[name]
            case {"GetAtt": str(path)}:
                return self._arn(path)
            case {"Sub": str(text)}:
                for name, answer in self._refs.items():
                    text = text.replace(f"${{{name}}}", answer)
                assert "${" not in text, text
                return text
            case {"Join": [str(separator), joined]}:
                parts = self.resolve(joined)
                return parts if isinstance(parts, str) else separator.join(parts)
        if isinstance(value, list):
            return [self.resolve(inner) for inner in value]
        return {key: self.resolve(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    def _arn(self, path: str) -> str:
        """What `GetAtt` answers for a queue or a function, the two kinds that are asked for."""
        name, _, attribute = path.partition(".")
        assert attribute == "Arn", path
        if template()["Resources"][name]["Type"] == "AWS::Serverless::Function":
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self._refs[name].rpartition('/')[2]}"

    def environment(self, function: str) -> dict[str, str]:
        """The environment variables that the template gives a function."""
        logical_id = "".join(word.title() for word in function.split("_")) + "Function"
        shared = template()["Globals"]["Function"]["Environment"]["Variables"]
        own = template()["Resources"][logical_id]["Properties"]["Environment"]["Variables"]
        return {name: str(self.resolve(value)) for name, value in (shared | own).items()}

    # Functions ----------------------------------------------------------------------------------------------------------

    def handler(self, function: str) -> ModuleType:
        """The function's module, imported as Lambda does at a cold start: with its environment, and nothing remembered."""
        known = {name for variables in _all_variables() for name in variables}
        environment = {k: v for k, v in os.environ.items() if k not in known} | self.environment(function)
        for name in (f"functions.{function}.handler", "adapters.messages", "adapters.report_api", "adapters.observability"):
            sys.modules.pop(name, None)
        with patch.dict(os.environ, environment, clear=True), patch.object(wiring, "clock", lambda: self.now):
            module = importlib.import_module(f"functions.{function}.handler")
        # The stream that a logger found at its first creation belongs to an earlier test.
        module.logger.registered_handler.setStream(self.log)
        return module

    def invoke(self, module: ModuleType, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function; what it logs and which metrics it emits is added to `log`."""
        name = module.__name__.split(".")[1]
        with (
            contextlib.redirect_stdout(self.log),
            warnings.catch_warnings(),
            patch.object(wiring, "clock", lambda: self.now),
        ):
            # An ignored event has nothing to measure.
            warnings.filterwarnings("ignore", "No application metrics to publish")
            answer: dict[str, Any] = module.lambda_handler(json.loads(json.dumps(event)), Context(name))
        return answer

    def run(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function after a cold start."""
        return self.invoke(self.handler(function), event)

    def metrics(self) -> dict[str, float]:
        """Every metric emitted so far, summed."""
        sums: dict[str, float] = {}
        for line in self.log.getvalue().splitlines():
            entry = json.loads(line)
            for group in entry.get("_aws", {}).get("CloudWatchMetrics", []):
                for metric in group["Metrics"]:
                    sums[metric["Name"]] = sums.get(metric["Name"], 0) + sum(entry[metric["Name"]])
        return sums

    def points(self, name: str) -> list[dict[str, Any]]:
        """Every data point of a metric so far, with its dimensions."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [entry for entry in entries if "_aws" in entry and name in entry]

    def said(self, message: str) -> list[dict[str, Any]]:
        """The log lines with a message."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [entry for entry in entries if entry.get("message") == message]

    # What is in it ------------------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table:
        return Table(self.dynamodb, name)

    def wire_items(self, table: str) -> list[dict[str, Any]]:
        """Every item of a table in wire form, in the order of its keys."""
        stored = dynamodb_backends[ACCOUNT][REGION].get_table(table).all_items()
        items = [item.to_json()["Attributes"] for item in stored]
        return sorted(items, key=lambda item: (item["pk"]["S"], item.get("sk", {"S": ""})["S"]))

    def items(self, table: str) -> list[Item]:
        """Every item of a table as plain values."""
        return [from_wire(item) for item in self.wire_items(table)]

    def invocations(self) -> list[Invocation]:
        """Every recorded request, in the order of its item."""
        return [found for item in self.wire_items("InvocationsTable") if (found := invocation_from_image(item))]

    def text_of(self, table: str) -> str:
        """All that a table of requests, sessions or alerts holds, to look for what it must not: what is packed is unpacked."""
        if table == "InvocationsTable":
            return repr(self.invocations()) + repr([sorted(item) for item in self.items(table)])
        return json.dumps(self.wire_items(table), default=lambda packed: zlib.decompress(packed).decode())

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Every object of a bucket of the template or of a parameter, in its newest version."""
        name = self._refs[bucket]
        found = self.s3.list_objects_v2(Bucket=name).get("Contents", [])
        return {o["Key"]: self.s3.get_object(Bucket=name, Key=o["Key"])["Body"].read() for o in found}

    def notices(self) -> list[dict[str, Any]]:
        """The quarantine notices."""
        kept = self.objects("WorkBucket")
        return [json.loads(body) for key, body in kept.items() if key.startswith("quarantine/")]

    def put(self, bucket: str, key: str, body: bytes, written_at: datetime | None = None) -> None:
        """Put an object as the customer's account does, at a time of the test's choosing (moto knows only the present)."""
        name = self._refs[bucket]
        self.s3.put_object(Bucket=name, Key=key, Body=body)
        if written_at is not None:
            stored: Any = s3_backends[ACCOUNT]["aws"].buckets[name].keys[key]
            stored.last_modified = written_at.replace(tzinfo=None)

    def _queued(self, queue: str) -> list[Any]:
        name = self._refs[queue].rpartition("/")[2]
        messages: list[Any] = sqs_backends[ACCOUNT][REGION].queues[name]._messages
        return messages

    def sent(self, queue: str) -> list[Sent]:
        """What waits in a queue, delayed or not."""
        return [Sent(m.body, m.group_id or "", m.deduplication_id or "", bool(m.delayed_until)) for m in self._queued(queue)]

    def drain(self, queue: str) -> list[Sent]:
        """Take everything out of a queue."""
        taken = self.sent(queue)
        self._queued(queue).clear()
        return taken

    def stream(self, table: str) -> Iterator[dict[str, Any]]:
        """Every change of a table since it was created, as its stream shows it to Lambda."""
        shard: Any = dynamodb_backends[ACCOUNT][REGION].get_table(table).stream_shard
        for stored in shard.items:
            record = stored.to_json()
            changed = dict(record["dynamodb"], ApproximateCreationDateTime=NOW.timestamp())
            as_json = json.loads(json.dumps(record | {"dynamodb": changed, "eventSourceARN": STREAM}, default=_base64))
            yield as_json


def _base64(binary: bytes) -> str:
    """A binary attribute as events have it."""
    return base64.b64encode(binary).decode()


STREAM = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/InvocationsTable/stream/2026-02-01T00:00:00.000"


@cache
def _client(service: str) -> Any:
    """A client of the tests' own: no fault is injected into it."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


@cache
def _all_variables() -> tuple[tuple[str, ...], ...]:
    functions = [r["Properties"] for r in template()["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
    return tuple(tuple(f["Environment"]["Variables"]) for f in functions)


def messages(function: str, bodies: Sequence[str | Mapping[str, Any]], *, group: str = "") -> dict[str, Any]:
    """An SQS event of the function's kind with these bodies; message ids are `m0`, `m1` and so on."""
    sample = load_event(function)["Records"][0]
    records = []
    for number, body in enumerate(bodies):
        attributes = sample["attributes"] | ({"MessageGroupId": group} if group else {})
        text = body if isinstance(body, str) else json.dumps(body)
        records.append(sample | {"messageId": f"m{number}", "body": text, "attributes": attributes})
    return {"Records": records}


def object_created(bucket: str, key: str) -> dict[str, Any]:
    """S3 "Object Created" as EventBridge hands it to a queue."""
    event: dict[str, Any] = json.loads(load_event("record_invocations")["Records"][0]["body"])
    event["detail"]["bucket"]["name"], event["detail"]["object"]["key"] = bucket, key
    return event


def windowed(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A stream event of a mapping that has a window."""
    return load_event("roll_up_usage") | {"Records": list(records), "eventSourceARN": STREAM}


@contextlib.contextmanager
def before_requests(hook: Callable[..., None]) -> Iterator[None]:
    """Call a hook with each request of the product to S3, before it is applied."""
    emitter = wiring.client("s3").meta.events
    emitter.register_first("before-send", hook)
    try:
        yield
    finally:
        emitter.unregister("before-send", hook)


def held_back(stack: Stack, module: ModuleType, event: Mapping[str, Any]) -> str:
    """Invoke a function whose every message must return to its queue; returns the name of the error that was logged."""
    expected = failed(*(record["messageId"] for record in event["Records"]))
    # Lambda treats both alike: an invocation that fails, and one that returns all of its messages.
    with contextlib.suppress(BatchProcessingError):
        assert stack.invoke(module, event) == expected
    return str(stack.said("message failed")[-1]["exception_name"])


FAILED_NONE: dict[str, Any] = {"batchItemFailures": []}


def failed(*message_ids: str) -> dict[str, Any]:
    """The answer that returns these messages alone."""
    return {"batchItemFailures": [{"itemIdentifier": name} for name in message_ids]}
