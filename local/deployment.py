"""Deploy the directory that `sam build` made to the local AWS, through CloudFormation and the SAM transform.

Promises that what runs is the built artifact, byte for byte; that every difference from a
deployment to AWS (another Runtime, a resource left out) is a note for the user; and that a failed
stack raises with the resource and the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

from local.emulator import Emulator

# Where a serverless resource names its artifact folder.
_NAMED_MOST = 5
ARTIFACT_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}

# ministack refuses a stack with one of these (of alarms: one with metric math); none takes part in the flow of events.
LEFT_OUT_TYPES = frozenset(
    {
        "AWS::BCMDataExports::Export",
        "AWS::Budgets::Budget",
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::AnomalyDetector",
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::Events::Archive",
        "AWS::Logs::QueryDefinition",
        "AWS::ResourceGroups::Group",
    }
)

STACK_SECONDS = 120
POLL_SECONDS = 0.1
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class DeploymentError(Exception):
    """The built template could not be deployed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A stack as it runs."""

    stack_name: str
    outputs: dict[str, str]
    resources: dict[str, str]
    functions: dict[str, str]
    notes: tuple[str, ...]

    def function(self, name: str) -> str:
        """Physical name of a function, by its logical id or by its folder: `roll_up_usage` is RollUpUsage[Function]."""
        stem = "".join(part.capitalize() for part in name.split("_")) if "_" in name or name.islower() else name
        for logical_id in (name, stem, f"{stem}Function"):
            if logical_id in self.functions:
                return self.functions[logical_id]
        raise DeploymentError(f"the stack has no function {name}; it has {', '.join(sorted(self.functions))}")


def deploy(
    emulator: Emulator,
    build_directory: Path,
    *,
    stack_name: str = "bedrock-costs-local",
    parameters: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Deployment:
    """Create or update the stack and return when it is complete."""
    template, notes = _prepared(emulator, build_directory, parameters or {})
    _upload_artifacts(emulator, build_directory, template)
    location = _upload(emulator, json.dumps(template).encode(), "template.json")
    request = {
        "StackName": stack_name,
        "TemplateURL": f"{emulator.endpoint}/{location.bucket}/{location.key}",
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in sorted((parameters or {}).items())],
        "Tags": [{"Key": key, "Value": value} for key, value in sorted((tags or {}).items())],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    cloudformation = emulator.client("cloudformation")
    _create_or_update(cloudformation, request)
    stack = _wait_for(cloudformation, stack_name)
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    return Deployment(
        stack_name,
        {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
        {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources},
        {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in resources
            if resource["ResourceType"] == "AWS::Lambda::Function"
        },
        tuple(notes),
    )


def parameters_of_stack(emulator: Emulator, stack_name: str) -> dict[str, str]:
    """The parameters that a stack was deployed with."""
    stack = emulator.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"][0]
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}


def parameters_from_samconfig(path: Path, environment: str = "local") -> dict[str, str]:
    """`parameter_overrides` of one environment of samconfig.toml, which `sam deploy --config-env` also reads."""
    if not path.is_file():
        return {}
    config = tomllib.loads(path.read_text())
    overrides = config.get(environment, {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    words = overrides.split() if isinstance(overrides, str) else overrides
    return dict(parse_override(word) for word in words)


def parse_override(word: str) -> tuple[str, str]:
    """`Key=Value` as `sam deploy` takes it."""
    key, separator, value = word.partition("=")
    if not separator or not key:
        raise DeploymentError(f"parameter override {word!r} is not of the form Key=Value")
    return key, value.strip('"')


class _TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, read as their long forms."""


def _long_form(loader: _TemplateLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


def _as_text(loader: _TemplateLoader, node: yaml.ScalarNode) -> Any:
    """Versions such as 2012-10-17 stay strings, as CloudFormation reads them."""
    return loader.construct_scalar(node)


_TemplateLoader.add_multi_constructor("!", _long_form)
_TemplateLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)


def _prepared(emulator: Emulator, build_directory: Path, parameters: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The built template as the local AWS can run it, and a note on each change."""
    path = build_directory / "template.yaml"
    if not path.is_file():
        raise DeploymentError(f"{path} does not exist: run `sam build` first")
    template: dict[str, Any] = yaml.load(path.read_text(), Loader=_TemplateLoader)  # noqa: S506  a SafeLoader
    notes = [*_leave_out(template), *_use_runtime(template, parameters, emulator.runtime)]
    return template, notes


def _leave_out(template: dict[str, Any]) -> Iterator[str]:
    resources = template["Resources"]
    left_out = {name: body["Type"] for name, body in resources.items() if _is_left_out(body)}
    for name in left_out:
        del resources[name]
    for name, resource_type in left_out.items():
        users = [other for other, body in resources.items() if name in set(_referenced(body))]
        if users:
            raise DeploymentError(
                f"{name} ({resource_type}) does not exist on the local AWS, but {', '.join(users)} refers to it"
            )
    for resource_type in sorted(set(left_out.values())):
        names = [name for name in sorted(left_out) if left_out[name] == resource_type]
        which = ", ".join(names) if len(names) <= _NAMED_MOST else f"all {len(names)}"
        yield f"left out on the local AWS: {which} ({resource_type})"
    outputs = template.get("Outputs", {})
    for output in [key for key, body in outputs.items() if left_out.keys() & set(_referenced(body))]:
        del outputs[output]


def _is_left_out(resource: Mapping[str, Any]) -> bool:
    """A type that ministack refuses, or an alarm on metric math, which it refuses as well."""
    is_metric_math = resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    return resource["Type"] in LEFT_OUT_TYPES or is_metric_math


def _referenced(node: Any) -> Iterator[str]:
    """Names that a piece of template refers to."""
    if isinstance(node, list):
        for item in node:
            yield from _referenced(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref" and isinstance(value, str):
            yield value
        elif key == "Fn::GetAtt":
            yield (value.split(".")[0] if isinstance(value, str) else value[0])
        elif key == "DependsOn":
            yield from [value] if isinstance(value, str) else value
        elif key == "Fn::Sub":
            text = value if isinstance(value, str) else value[0]
            yield from (part.split("}")[0].split(".")[0] for part in text.split("${")[1:])
        yield from _referenced(value)


def _use_runtime(template: dict[str, Any], parameters: Mapping[str, str], runtime: str) -> Iterator[str]:
    """The emulator runs handlers on its own interpreter, which need not be the version in the template."""
    owners = [body["Properties"] for body in template["Resources"].values() if "Runtime" in body.get("Properties", {})]
    owners.append(template.get("Globals", {}).get("Function", {}))
    replaced = set()
    for properties in owners:
        stated = properties.get("Runtime", "")
        if isinstance(stated, dict) and "Ref" in stated:
            name = stated["Ref"]
            stated = parameters.get(name, template.get("Parameters", {}).get(name, {}).get("Default", ""))
        if isinstance(stated, str) and stated.startswith("python") and stated != runtime:
            replaced.add(stated)
            properties["Runtime"] = runtime
    for stated in sorted(replaced):
        yield f"functions of Runtime {stated} run as {runtime} on the local AWS"


@dataclass(frozen=True, slots=True)
class _Location:
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def _upload_artifacts(emulator: Emulator, build_directory: Path, template: dict[str, Any]) -> None:
    uploaded: dict[Path, _Location] = {}
    for name, body in template["Resources"].items():
        attribute = ARTIFACT_PROPERTIES.get(body["Type"])
        if attribute is None:
            continue
        stated = body["Properties"].get(attribute)
        if not isinstance(stated, str) or stated.startswith("s3://"):
            continue
        folder = (build_directory / stated).resolve()
        if not folder.is_dir():
            raise DeploymentError(f"{attribute} of {name} is {stated}, but {folder} is no directory: run `sam build`")
        if folder not in uploaded:
            uploaded[folder] = _upload(emulator, _zipped(folder), "artifact.zip")
        body["Properties"][attribute] = str(uploaded[folder])


def _zipped(folder: Path) -> bytes:
    """The folder as a zip: same content, same bytes. Stored, not deflated: it travels one machine far."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), ZIP_TIME)
                entry.external_attr = (path.stat().st_mode & 0o777) << 16
                archive.writestr(entry, path.read_bytes())
    return content.getvalue()


def _upload(emulator: Emulator, content: bytes, suffix: str) -> _Location:
    s3 = emulator.client("s3")
    location = _Location(f"local-artifacts-{emulator.account_id}", f"{hashlib.sha256(content).hexdigest()}/{suffix}")
    s3.create_bucket(Bucket=location.bucket)
    s3.put_object(Bucket=location.bucket, Key=location.key, Body=content)
    return location


def _create_or_update(cloudformation: Any, request: dict[str, Any]) -> None:
    try:
        cloudformation.create_stack(**request)
    except cloudformation.exceptions.AlreadyExistsException:
        try:
            cloudformation.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise DeploymentError(f"stack {request['StackName']} cannot be updated: {error}") from error
    except ClientError as error:
        raise DeploymentError(f"stack {request['StackName']} cannot be created: {error}") from error


def _wait_for(cloudformation: Any, stack_name: str) -> dict[str, Any]:
    deadline = time.monotonic() + STACK_SECONDS
    while True:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
        status = stack["StackStatus"]
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            return stack
        if not status.endswith("IN_PROGRESS"):
            failure = _first_failure(cloudformation, stack_name, stack)
            raise DeploymentError(f"stack {stack_name} is {status}: {failure}")
        if time.monotonic() > deadline:
            raise DeploymentError(f"stack {stack_name} is still {status} after {STACK_SECONDS} s")
        time.sleep(POLL_SECONDS)


def _first_failure(cloudformation: Any, stack_name: str, stack: dict[str, Any]) -> str:
    """The resource that failed first; later failures are its consequences."""
    events = cloudformation.describe_stack_events(StackName=stack_name)["StackEvents"]
    for event in reversed(events):
        if event["ResourceStatus"].endswith("_FAILED") and event["LogicalResourceId"] != stack_name:
            return f"{event['LogicalResourceId']} ({event['ResourceType']}): {event.get('ResourceStatusReason', '')}"
    return str(stack.get("StackStatusReason", "no reason given"))
