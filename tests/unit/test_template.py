"""The rules of the template that neither cfn-lint nor a deployment to the local AWS enforces, each as a test.

A resource that forgets its dead-letter queue, its encryption or its retries deploys without a word: it is refused here.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from adapters import contracts
from adapters.channels import slack_alarms

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ROOT / "functions"
VISIBILITY_PER_TIMEOUT = 6
METRICS_PER_ALARM = 10


class TemplateLoader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def long_form(loader: TemplateLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


TemplateLoader.add_multi_constructor("!", long_form)


@cache
def template() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)  # noqa: S506  a SafeLoader
    return loaded


def resources(*types: str) -> dict[str, dict[str, Any]]:
    return {name: body.get("Properties", {}) for name, body in template()["Resources"].items() if body["Type"] in types}


def functions() -> dict[str, dict[str, Any]]:
    """Every function by its logical id, with what Globals give it."""
    shared = template().get("Globals", {}).get("Function", {})
    return {name: {**shared, **own} for name, own in resources("AWS::Serverless::Function").items()}


def event_sources(function: Mapping[str, Any], *types: str) -> dict[str, dict[str, Any]]:
    sources = function.get("Events", {})
    return {name: source.get("Properties", {}) for name, source in sources.items() if source["Type"] in types}


def value_of(value: Any) -> Any:
    """A parameter's default where a value refers to a parameter."""
    if isinstance(value, dict) and value.get("Ref") in template().get("Parameters", {}):
        return template()["Parameters"][value["Ref"]].get("Default")
    return value


def resource_of(value: Any) -> str:
    """The logical id that a reference names."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return name
        case {"Fn::Sub": str(text)} if match := re.fullmatch(r"\$\{(\w+)(\.\w+)?\}", text):
            return match[1]
    return ""


def logical_id(folder: str) -> str:
    return "".join(part.capitalize() for part in folder.split("_"))


def folders() -> list[str]:
    return sorted(path.parent.name for path in FUNCTIONS.glob("*/handler.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_function_has_its_resource_handler_sample_event_component_test_and_one_flow() -> None:
    missing = []
    for folder in folders():
        handler = FUNCTIONS / folder / "handler.py"
        flows = {module for module in imports(handler) if module.startswith("attribution.flows.")}
        pieces = {
            "a resource in template.yaml": f"{logical_id(folder)}Function" in functions(),
            f"events/{folder}.json": (ROOT / "events" / f"{folder}.json").is_file(),
            f"tests/component/test_{folder}.py": (ROOT / "tests/component" / f"test_{folder}.py").is_file(),
            "handler.py as its only module": [*handler.parent.rglob("*.py")] == [handler],
            f"imports from attribution.flows.{folder} alone": bool(flows)
            and all(flow.startswith(f"attribution.flows.{folder}") for flow in flows),
        }
        missing += [f"functions/{folder} lacks {piece}" for piece, present in pieces.items() if not present]

    assert folders()
    assert not missing
    assert {f"{logical_id(folder)}Function" for folder in folders()} == set(functions())


def test_every_sample_event_is_json_and_belongs_to_a_function() -> None:
    events = sorted((ROOT / "events").glob("*.json"))

    assert {path.stem for path in events} == set(folders())
    for path in events:
        json.loads(path.read_text())


def test_every_handler_of_the_template_exists() -> None:
    lost = []
    for name, function in functions().items():
        module, _, attribute = function["Handler"].rpartition(".")
        file = ROOT / function["CodeUri"] / f"{module.replace('.', '/')}.py"
        body = ast.parse(file.read_text()).body if file.is_file() else []
        defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        if attribute not in defined:
            lost.append(f"{name}: {file.relative_to(ROOT)} does not define {attribute}")

    assert not lost


def builds_with_make(name: str) -> bool:
    return bool(template()["Resources"][name].get("Metadata", {}).get("BuildMethod") == "makefile")


def test_every_layer_is_built_for_what_the_template_says() -> None:
    defaults = {name: body.get("Default") for name, body in template()["Parameters"].items()}
    layers = {name: layer["ContentUri"] for name, layer in resources("AWS::Serverless::LayerVersion").items()}
    own = {name: function["CodeUri"] for name, function in functions().items() if builds_with_make(name)}
    # SAM's own builder does not compare a wheel for another architecture than the machine's with the lock.
    locked = {name for name, function in functions().items() if (ROOT / function["CodeUri"] / "requirements.txt").exists()}
    wrong = [f"{name} is not built with BuildMethod: makefile" for name in locked | {*layers} if not builds_with_make(name)]
    for name, directory in {**layers, **own}.items():
        makefile = (ROOT / directory / "Makefile").read_text()
        variables = dict(re.findall(r"^(\w+) \?= (\S+)$", makefile, re.MULTILINE))
        if variables["LAYER_RUNTIME"] != defaults["PythonRuntime"]:
            wrong.append(f"{directory}/Makefile builds for {variables['LAYER_RUNTIME']}")
        if variables.get("LAYER_PLATFORM", defaults["Architecture"]) != defaults["Architecture"]:
            wrong.append(f"{directory}/Makefile builds for {variables['LAYER_PLATFORM']}")
        if f"\nbuild-{name}:\n" not in makefile:
            wrong.append(f"{directory}/Makefile has no target build-{name}")

    assert layers
    assert not wrong


def test_packages_with_machine_code_are_chosen_alike_wherever_they_are_built() -> None:
    choices = {
        re.sub(r"(?s).*(^MACHINE := .*?)^\n.*", r"\1", path.read_text(), flags=re.MULTILINE)
        for path in (ROOT / "layers/dependencies/Makefile", *FUNCTIONS.glob("*/Makefile"))
    }

    assert len(choices) == 1


# Set by the template for others than our settings: Lambda, Powertools.
FOREIGN_VARIABLE = re.compile(r"POWERTOOLS_\w+|AWS_\w+|LOG_LEVEL|TZ|PYTHON\w+")


def test_every_setting_is_set_in_the_template_and_nothing_else_is() -> None:
    settings = importlib.import_module("adapters.settings")
    shared = template().get("Globals", {}).get("Function", {}).get("Environment", {}).get("Variables", {})
    wrong, read = [], set()
    for name, own in resources("AWS::Serverless::Function").items():
        fields = getattr(settings, name.removesuffix("Function")).model_fields
        variables = set(own.get("Environment", {}).get("Variables", {}))
        known = {field.upper() for field in fields}
        required = {field.upper() for field, info in fields.items() if info.is_required()}
        read |= known
        wrong += [f"{name} does not set {variable}" for variable in sorted(required - variables - set(shared))]
        wrong += [f"{name} sets {v}, which nothing reads" for v in variables - known if not FOREIGN_VARIABLE.fullmatch(v)]
    wrong += [f"Globals set {v}, which nothing reads" for v in set(shared) - read if not FOREIGN_VARIABLE.fullmatch(v)]

    assert not wrong


def test_every_queue_has_a_dead_letter_queue_or_is_one() -> None:
    queues = resources("AWS::SQS::Queue")
    dead_letter = {resource_of(queue.get("RedrivePolicy", {}).get("deadLetterTargetArn")) for queue in queues.values()}
    dead_letter |= {resource_of(place) for place in failure_destinations()}
    exposed = [name for name, queue in queues.items() if "RedrivePolicy" not in queue and name not in dead_letter]
    unencrypted = [n for n, q in queues.items() if not (q.get("SqsManagedSseEnabled") or q.get("KmsMasterKeyId"))]

    assert queues
    assert not exposed
    assert not unencrypted


def failure_destinations() -> Iterator[Any]:
    """Where rules and streams put what they could not deliver."""
    for rule in resources("AWS::Events::Rule").values():
        yield from (target.get("DeadLetterConfig", {}).get("Arn") for target in rule["Targets"])
    for schedule in resources("AWS::Scheduler::Schedule").values():
        yield schedule["Target"].get("DeadLetterConfig", {}).get("Arn")
    for function in functions().values():
        for source in event_sources(function, "DynamoDB", "Schedule", "ScheduleV2", "EventBridgeRule").values():
            yield source.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            yield source.get("DeadLetterConfig", {}).get("Arn")


def test_every_rule_has_a_dead_letter_queue() -> None:
    forgetful = [
        name
        for name, rule in resources("AWS::Events::Rule").items()
        if not all(target.get("DeadLetterConfig") for target in rule["Targets"])
    ]

    assert not forgetful


def test_a_queue_that_a_rule_writes_to_admits_that_rule_alone() -> None:
    queues = resources("AWS::SQS::Queue")
    targets = {
        queue
        for rule in resources("AWS::Events::Rule").values()
        for target in rule["Targets"]
        if (queue := resource_of(target["Arn"])) in queues
    }
    admitted = {
        resource_of(queue)
        for policy in resources("AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "aws:SourceArn" in json.dumps(statement.get("Condition", {}))
        for queue in policy["Queues"]
    }

    assert targets <= admitted


def test_every_batch_from_a_queue_may_fail_in_part_and_has_time_for_its_retries() -> None:
    wrong = []
    for name, function in functions().items():
        for source in event_sources(function, "SQS").values():
            queue = resources("AWS::SQS::Queue")[resource_of(source["Queue"])]
            visibility, timeout = value_of(queue.get("VisibilityTimeout", 30)), value_of(function.get("Timeout", 3))
            if source.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
                wrong.append(f"{name} does not report the items that failed")
            if int(visibility) < VISIBILITY_PER_TIMEOUT * int(timeout):
                wrong.append(f"{name}: a visibility of {visibility} s is too short for a timeout of {timeout} s")

    assert not wrong


def test_every_stream_gives_up_on_a_bad_record_and_keeps_it() -> None:
    # Without a limit one bad record holds up its shard until the stream forgets it, and nothing keeps it.
    endless = [
        name
        for name, function in functions().items()
        for source in event_sources(function, "DynamoDB").values()
        if not source.keys() & {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds"}
        or "OnFailure" not in source.get("DestinationConfig", {})
    ]

    assert not endless


def test_every_table_is_recoverable_encrypted_on_demand_and_forgets() -> None:
    tables = resources("AWS::DynamoDB::Table")
    promises = {
        "BillingMode": "PAY_PER_REQUEST",
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
    }
    broken = [
        f"{name}.{key} is {table.get(key)}"
        for name, table in tables.items()
        for key, promise in promises.items()
        if table.get(key) != promise
    ]
    broken += [name for name, table in tables.items() if table.get("SSESpecification", {}).get("SSEEnabled") is not True]

    assert tables
    assert not broken


# --- expressions, patterns, policies --------------------------------------------------------------------------------

CRON_RANGES = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (1, 7),
    "year": (1970, 2199),
}
CRON_NAMES = re.compile(r"JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT")


def fault_of_schedule(expression: str) -> str:
    """Why EventBridge would refuse a schedule; empty when it would not."""
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)(s?)\)", expression):
        return "" if int(rate[1]) > 0 and (rate[1] == "1") == (not rate[3]) else "1 is singular, all else plural"
    cron = re.fullmatch(r"cron\((.+)\)", expression)
    if not cron:
        return "" if re.fullmatch(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)", expression) else "neither rate, cron nor at"
    fields = cron[1].split()
    if len(fields) != len(CRON_RANGES):
        return "a cron expression has six fields"
    if (fields[2] == "?") == (fields[4] == "?"):
        return "one of day and weekday is ?"
    for (name, (low, high)), field in zip(CRON_RANGES.items(), fields, strict=True):
        numbers = [int(number) for number in re.findall(r"\d+", re.sub(r"[/#]\d+", "", field))]
        if not re.fullmatch(r"[\d*?,/LW#-]+", CRON_NAMES.sub("1", field)) or not all(low <= n <= high for n in numbers):
            return f"{field} is no {name}"
    return ""


@pytest.mark.parametrize(
    ("expression", "is_valid"),
    [
        ("rate(1 hour)", True),
        ("rate(5 minutes)", True),
        ("cron(0 12 * * ? *)", True),
        ("cron(0/15 8-17 ? * MON-FRI *)", True),
        ("rate(1 hours)", False),
        ("rate(2 hour)", False),
        ("rate(0 minutes)", False),
        ("cron(0 12 * * * *)", False),
        ("cron(61 12 * * ? *)", False),
        ("cron(0 12 * * ?)", False),
        ("every hour", False),
    ],
)
def test_a_schedule_is_judged_as_eventbridge_judges_it(expression: str, is_valid: bool) -> None:
    assert (fault_of_schedule(expression) == "") is is_valid


def schedules() -> Iterator[tuple[str, str]]:
    for name, rule in resources("AWS::Events::Rule", "AWS::Scheduler::Schedule").items():
        if "ScheduleExpression" in rule:
            yield name, rule["ScheduleExpression"]
    for name, function in functions().items():
        for source in event_sources(function, "Schedule", "ScheduleV2").values():
            yield name, source["Schedule"] if "Schedule" in source else source["ScheduleExpression"]


def test_every_schedule_of_the_template_is_valid() -> None:
    faults = [f"{name}: {text}: {fault}" for name, text in schedules() if (fault := fault_of_schedule(value_of(text)))]

    assert not faults


def leaves_that_are_no_list(pattern: Any, path: str = "") -> Iterator[str]:
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            yield from leaves_that_are_no_list(value, f"{path}.{key}")
    elif not isinstance(pattern, list):
        yield path


def patterns() -> Iterator[tuple[str, Any]]:
    for name, rule in resources("AWS::Events::Rule").items():
        if "EventPattern" in rule:
            yield name, rule["EventPattern"]
    for name, function in functions().items():
        for source in event_sources(function, "EventBridgeRule", "CloudWatchEvent").values():
            yield name, source["Pattern"]
        for source in event_sources(function, "SQS", "DynamoDB").values():
            for criterion in source.get("FilterCriteria", {}).get("Filters", []):
                text = criterion["Pattern"]
                yield name, json.loads(text) if isinstance(text, str) else text


def test_every_event_pattern_has_lists_at_its_leaves() -> None:
    wrong = [f"{name}{leaf}" for name, pattern in patterns() for leaf in leaves_that_are_no_list(pattern)]

    assert not wrong


# An ARN of the right form for every type that a policy of ours may name.
ARNS = {
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:111122223333:{}",
    "AWS::SNS::Topic": "arn:aws:sns:us-east-1:111122223333:{}",
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:111122223333:table/{}",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:us-east-1:111122223333:secret:{}-AbCdEf",
    "AWS::KMS::Key": "arn:aws:kms:us-east-1:111122223333:key/11112222-3333-4444-5555-666677778888",
    "AWS::Serverless::Function": "arn:aws:lambda:us-east-1:111122223333:function:{}",
    "AWS::Serverless::StateMachine": "arn:aws:states:us-east-1:111122223333:stateMachine:{}",
    "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:111122223333:log-group:{}",
    "AWS::SSM::Parameter": "arn:aws:ssm:us-east-1:111122223333:parameter/{}",
}
REFERENCES_ARE_ARNS = ("AWS::SecretsManager::Secret", "AWS::Serverless::StateMachine", "AWS::SNS::Topic")
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "111122223333",
    "AWS::StackName": "stack",
}


def attribute(name: str, part: str = "") -> str:
    """What a reference in a policy would become, as far as its form goes."""
    if name in PSEUDO:
        return PSEUDO[name]
    kind = template()["Resources"].get(name, {}).get("Type")
    if kind is None and name.endswith("SecretArn"):
        return ARNS["AWS::SecretsManager::Secret"].format(name.lower())
    if kind is None:
        return str(template()["Parameters"].get(name, {}).get("Default") or name.lower())
    if part == "Name" or (not part and kind not in REFERENCES_ARE_ARNS):
        return name.lower()
    arn = ARNS[kind].format(name.lower())
    return f"{arn}/stream/label" if part == "StreamArn" else arn


def substituted(text: str, names: Mapping[str, Any]) -> str:
    def of_reference(match: re.Match[str]) -> str:
        return str(resolved(names[match[1]])) if match[1] in names else attribute(match[1], match[2] or "")

    return re.sub(r"\$\{([\w:]+)(?:\.(\w+))?\}", of_reference, text)


def resolved(value: Any) -> Any:
    """A policy document as plain JSON, its references replaced by values of the same form."""
    result = value
    match value:
        case {"Ref": str(name)}:
            result = attribute(name)
        case {"Fn::GetAtt": [str(name), str(part)]}:
            result = attribute(name, part)
        case {"Fn::Sub": str(text)}:
            result = substituted(text, {})
        case {"Fn::Sub": [str(text), dict(names)]}:
            result = substituted(text, names)
        case {"Fn::If": [_, {"Ref": "AWS::NoValue"}, other]} | {"Fn::If": [_, other, _]}:
            result = resolved(other)
        case dict():
            result = {key: resolved(inner) for key, inner in value.items()}
        case list():
            result = [resolved(inner) for inner in value]
    return result


def policies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy document that a role of ours gets, on whatever condition."""
    for name, owner in {**functions(), **resources("AWS::Serverless::StateMachine")}.items():
        for policy in map(resolved, owner.get("Policies", [])):
            # A name or a SAM policy template grants more than it says.
            assert isinstance(policy, dict) and "Statement" in policy, f"{name}: {policy} is not a list of statements"
            yield name, {"Version": "2012-10-17", **policy}
    for name, role in resources("AWS::IAM::Role").items():
        yield from ((name, resolved(policy["PolicyDocument"])) for policy in role.get("Policies", []))
    yield from ((name, resolved(policy["PolicyDocument"])) for name, policy in resources("AWS::IAM::Policy").items())


# An execution is described by either of two kinds of ARN; parliament wants a statement to name both.
KINDS_THAT_ARE_ALTERNATIVES = ("arn:*:states:*:*:express:*:*:*",)


# In the Service Authorization Reference, and neither in parliament's list nor in boto3.
NEWER_PREFIXES = ("bedrock-mantle",)


@cache
def is_newer_operation(action: str) -> bool:
    """Whether boto3, which is newer than parliament's list of actions, knows the operation of that name."""
    service, _, operation = action.partition(":")
    return operation in boto3.client(service, "us-east-1").meta.service_model.operation_names  # type: ignore[call-overload]


def findings(document: dict[str, Any]) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parliament's own sources warn when they are compiled
        import parliament
    for finding in parliament.analyze_policy_string(json.dumps(document), ignore_private_auditors=True).findings:
        if finding.issue == "UNKNOWN_PREFIX" and str(finding.detail).rpartition(" ")[2] in NEWER_PREFIXES:
            continue
        if finding.issue == "UNKNOWN_ACTION" and is_newer_operation(str(finding.detail).rpartition(" ")[2]):
            continue
        if finding.issue != "RESOURCE_MISMATCH" or finding.detail[0]["required_format"] not in KINDS_THAT_ARE_ALTERNATIVES:
            yield f"{finding.issue} {finding.detail}"


def test_every_policy_grants_actions_that_exist_on_resources_of_their_kind() -> None:
    faults = [f"{name}: {finding}" for name, document in policies() for finding in findings(document)]

    assert not faults


def test_no_policy_grants_a_wildcard_action_or_a_scan() -> None:
    broad = []
    for name, document in policies():
        for statement in document["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            broad += [f"{name}: {action}" for action in actions if "*" in action or action == "dynamodb:Scan"]

    assert not broad


# --- state machines -------------------------------------------------------------------------------------------------

# What Step Functions delivers the logs of a state machine through; IAM knows no resource for any of them.
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
EXPRESS_SECONDS = 300


def levels(definition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A definition and the one inside each of its maps: what has `StartAt` and `States`."""
    yield definition
    for state in definition["States"].values():
        if state["Type"] == "Map":
            yield from levels(state["ItemProcessor"])


def states() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every state of every state machine, with the name of the machine and its own."""
    for machine, properties in resources("AWS::Serverless::StateMachine").items():
        for level in levels(resolved(properties["Definition"])):
            yield from ((machine, name, state) for name, state in level["States"].items())


def followers(state: Mapping[str, Any]) -> set[str]:
    """The names that a state may go on with."""
    return {state[key] for key in ("Next", "Default") if key in state} | {
        branch["Next"] for key in ("Catch", "Choices") for branch in state.get(key, [])
    }


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    wrong = []
    for machine, properties in resources("AWS::Serverless::StateMachine").items():
        definition = resolved(properties["Definition"])
        assert json.loads(json.dumps(definition)) == definition
        for level in levels(definition):
            reached: set[str] = set()
            found = {level["StartAt"]}
            while found - reached:
                reached |= found
                found = {name for state in reached & level["States"].keys() for name in followers(level["States"][state])}
            wrong += [f"{machine}: {name} is never reached" for name in level["States"].keys() - reached]
            wrong += [f"{machine}: {name} does not exist" for name in reached - level["States"].keys()]
            wrong += [
                f"{machine}: {name} neither ends nor goes on"
                for name, state in level["States"].items()
                if ("Next" in state) + bool(state.get("End")) + (state["Type"] in {"Fail", "Succeed", "Choice"}) != 1
            ]

    assert resources("AWS::Serverless::StateMachine")
    assert not wrong


def test_every_task_is_tried_again_after_any_error_and_not_all_at_the_same_moment() -> None:
    tasks = [(f"{machine}.{name}", state["Retry"][-1]) for machine, name, state in states() if state["Type"] == "Task"]

    assert tasks
    assert not [name for name, retry in tasks if retry["ErrorEquals"] != ["States.ALL"] or retry["JitterStrategy"] != "FULL"]


def test_a_state_machine_catches_every_error_and_leaves_a_dead_letter_before_it_fails() -> None:
    dead_letters = {
        attribute(resource_of(queue["RedrivePolicy"]["deadLetterTargetArn"]))
        for queue in resources("AWS::SQS::Queue").values()
        if "RedrivePolicy" in queue
    }
    wrong = []
    for machine, properties in resources("AWS::Serverless::StateMachine").items():
        top = resolved(properties["Definition"])["States"]
        failures = {name for name, state in top.items() if state["Type"] == "Fail"}
        for name in top.keys() - failures:
            state = top[name]
            tells = state.get("Parameters", {}).get("QueueUrl") in dead_letters
            if not tells and ["States.ALL"] not in [catch["ErrorEquals"] for catch in state.get("Catch", [])]:
                wrong.append(f"{machine}.{name} does not catch its errors")
            if not tells and followers(state) & failures:
                wrong.append(f"{machine}.{name} fails in silence")

    assert resources("AWS::Serverless::StateMachine")
    assert not wrong


def test_a_distributed_map_is_limited_and_leaves_its_functions_their_time() -> None:
    wrong = []
    for machine, name, state in states():
        if state["Type"] != "Map":
            continue
        config = state["ItemProcessor"]["ProcessorConfig"]
        used = [task["Parameters"]["FunctionName"] for task in state["ItemProcessor"]["States"].values()]
        timeouts = [int(f["Timeout"]) for logical_id, f in functions().items() if attribute(logical_id, "Arn") in used]
        if not 1 <= state.get("MaxConcurrency", 0) <= 100:
            wrong.append(f"{machine}.{name} has no limit")
        if max(timeouts) >= EXPRESS_SECONDS and config != {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}:
            wrong.append(f"{machine}.{name} ends before its function does")
        for task in state["ItemProcessor"]["States"].values():
            if task["TimeoutSeconds"] <= max(timeouts):
                wrong.append(f"{machine}.{name} does not wait until its function is stopped")

    assert not wrong


def needed(machine: str) -> Iterator[tuple[str, str]]:
    """What the definition of a state machine does, as IAM sees it: action and resource."""
    arn = attribute(machine)
    queues = {attribute(name): attribute(name, "Arn") for name in resources("AWS::SQS::Queue")}
    for owner, _, state in states():
        if owner != machine:
            continue
        if state["Type"] == "Map":
            yield "states:StartExecution", arn
            yield from (
                (f"states:{verb}Execution", f"{arn.replace(':stateMachine:', ':execution:')}:*")
                for verb in ("Describe", "Stop")
            )
            yield from (
                (f"s3:{verb}", f"{attribute('WorkBucket', 'Arn')}/fan-out/*") for verb in ("GetObject", "GetObjectVersion")
            )
        elif state.get("Resource") == "arn:aws:states:::lambda:invoke":
            yield "lambda:InvokeFunction", state["Parameters"]["FunctionName"]
        elif state.get("Resource") == "arn:aws:states:::sqs:sendMessage":
            yield "sqs:SendMessage", queues[state["Parameters"]["QueueUrl"]]
        else:
            assert state["Type"] == "Fail", state


def test_a_state_machine_may_do_what_its_definition_does_and_nothing_else() -> None:
    of_role = {f"{machine}Role": machine for machine in resources("AWS::Serverless::StateMachine")}
    granted: dict[str, set[tuple[str, str]]] = {machine: set() for machine in of_role.values()}
    documents = [(name, document) for name, document in policies() if name in granted]
    for policy in resources("AWS::IAM::Policy").values():
        documents += [(of_role[role["Ref"]], resolved(policy["PolicyDocument"])) for role in policy["Roles"]]
    for machine, document in documents:
        for statement in document["Statement"]:
            actions, places = ([v] if isinstance(v, str) else v for v in (statement["Action"], statement["Resource"]))
            granted[machine] |= {(action, place) for action in actions for place in places}

    assert granted
    for machine, grants in granted.items():
        assert {(action, place) for action, place in grants if action not in LOG_DELIVERY} == set(needed(machine))
        assert {action for action, place in grants if place == "*"} == LOG_DELIVERY


def test_a_state_machine_that_does_not_succeed_raises_an_alarm_and_logs_no_data() -> None:
    watched = {
        (metric["MetricStat"]["Metric"]["MetricName"], resource_of(dimension["Value"]))
        for alarm in resources("AWS::CloudWatch::Alarm").values()
        for metric in alarm.get("Metrics", [])
        if "MetricStat" in metric
        for dimension in metric["MetricStat"]["Metric"]["Dimensions"]
    }
    endings = ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
    machines = resources("AWS::Serverless::StateMachine")

    assert {(ending, machine) for ending in endings for machine in machines} <= watched
    assert all(m["Logging"]["IncludeExecutionData"] is False and m["Logging"]["Level"] != "OFF" for m in machines.values())
    assert all("TimeoutSeconds" in m["Definition"] for m in machines.values())


def test_only_slack_which_signs_its_requests_itself_comes_in_without_iam() -> None:
    routes = resources("AWS::ApiGatewayV2::Route").values()
    admitted = {route["RouteKey"]: route.get("AuthorizationType", "NONE") for route in routes}

    assert admitted == {"POST /slack": "NONE", "GET /v1/{proxy+}": "AWS_IAM"}


def test_the_api_that_the_internet_reaches_is_throttled() -> None:
    (stage,) = resources("AWS::ApiGatewayV2::Stage").values()

    assert 0 < stage["DefaultRouteSettings"]["ThrottlingRateLimit"] <= stage["DefaultRouteSettings"]["ThrottlingBurstLimit"]
    assert "ReservedConcurrentExecutions" in functions()["ServeReportsFunction"]


def test_the_function_that_serves_reports_may_only_read() -> None:
    granted = {
        action
        for name, document in policies()
        if name == "ServeReportsFunction"
        for statement in document["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }

    assert granted == {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem", "s3:GetObject"}


# --- the stages -----------------------------------------------------------------------------------------------------


def overrides(stage: Mapping[str, Any]) -> list[str]:
    written = stage.get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    return [word.partition("=")[0] for word in (written.split() if isinstance(written, str) else written)]


def test_every_stage_of_samconfig_sets_only_parameters_that_the_template_has() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    stages = {name: stage for name, stage in config.items() if isinstance(stage, dict)}
    unknown = [f"{s}: {p}" for s, stage in stages.items() for p in overrides(stage) if p not in template()["Parameters"]]

    assert {"dev", "prod"} <= set(stages)
    assert not unknown


def test_no_stage_sets_a_parameter_to_nothing_which_sam_deploy_refuses() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    stages = {name: stage for name, stage in config.items() if isinstance(stage, dict)}
    written = {s: stage["deploy"]["parameters"]["parameter_overrides"] for s, stage in stages.items()}

    assert not [f"{stage}: {word}" for stage, words in written.items() for word in words if word.endswith("=")]


def test_every_pattern_of_a_parameter_takes_its_default() -> None:
    # What YAML takes for a comment ends a pattern in its middle.
    patterns = {name: p for name, p in template()["Parameters"].items() if "AllowedPattern" in p and "Default" in p}

    assert patterns
    assert not [name for name, p in patterns.items() if not re.fullmatch(p["AllowedPattern"], str(p["Default"]))]


# --- alarms ---------------------------------------------------------------------------------------------------------

NAMESPACE = "BedrockCostAttribution"
DESCRIPTION_MAX = 1024


def alarms() -> dict[str, dict[str, Any]]:
    return resources("AWS::CloudWatch::Alarm")


def metrics_of(alarm: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Namespace, name and dimensions of every metric that an alarm looks at."""
    for metric in [alarm, *(query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query)]:
        if "MetricName" in metric:
            yield metric["Namespace"], metric["MetricName"], {d["Name"]: d["Value"] for d in metric["Dimensions"]}


def own_metrics() -> set[tuple[str, str]]:
    """Function and name of every metric of ours that an alarm looks at."""
    found = (metric for alarm in alarms().values() for metric in metrics_of(alarm))
    return {(dimensions["service"], name) for namespace, name, dimensions in found if namespace == NAMESPACE}


def published(function: str) -> set[str]:
    """What a function's handler says of metrics: every text in it, and what the reading of its messages counts."""
    path = FUNCTIONS / function / "handler.py"
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    # A signal has no content that could be rejected.
    readers = {module for module in imports(path) if module.startswith("adapters.messages.")}
    rejects = bool(readers - {"adapters.messages.process_signals"})
    return {text for text in texts if isinstance(text, str)} | ({"InputRejected"} if rejects else set())


def test_every_metric_that_an_alarm_looks_at_is_published_by_its_function() -> None:
    assert own_metrics()
    assert not [f"{function} does not publish {name}" for function, name in own_metrics() if name not in published(function)]


def test_whatever_is_rejected_raises_an_alarm() -> None:
    rejecting = {(function, "InputRejected") for function in folders() if "InputRejected" in published(function)}

    assert rejecting <= own_metrics()


def test_every_dead_letter_queue_has_an_alarm_of_its_name() -> None:
    queues = [name for name, queue in resources("AWS::SQS::Queue").items() if "RedrivePolicy" not in queue]
    watched = {
        name: {resource_of(dimensions.get("QueueName")) for _, _, dimensions in metrics_of(alarm)}
        for name, alarm in alarms().items()
    }

    assert queues
    assert not [queue for queue in queues if watched.get(f"{queue}Alarm") != {queue}]


def test_every_alarm_is_named_like_its_resource_and_tells_when_it_is_raised_and_when_it_is_over() -> None:
    topic = [{"Ref": "AlarmTopic"}]
    wrong = [
        name
        for name, alarm in alarms().items()
        if alarm["AlarmName"] != {"Fn::Sub": f"${{AWS::StackName}}-{name.removesuffix('Alarm')}"}
        or (alarm["AlarmActions"], alarm["OKActions"]) != (topic, topic)
    ]

    assert not wrong


def test_every_alarm_says_what_it_means_what_to_do_and_where_that_is_written() -> None:
    wrong = []
    for name, alarm in alarms().items():
        text = alarm["AlarmDescription"]
        body = {
            "AlarmName": name,
            "AlarmDescription": text,
            "NewStateValue": "ALARM",
            "StateChangeTime": "2026-11-25T20:00:00Z",
        }
        told = contracts.AlarmStateChanged.model_validate(body).alarm
        assert told is not None
        if not (told.meaning.endswith(".") and told.remedy.endswith(".") and told.guide == f"docs/operating.md#{name.lower()}"):
            wrong.append(f"{name}: {text}")
        if len(text) > DESCRIPTION_MAX or max(len(told.meaning), len(told.remedy)) > slack_alarms.TEXT_LIMIT:
            wrong.append(f"{name} says more than is shown")
        if told.remedy.count("`") % 2 or "`" in told.meaning:
            wrong.append(f"{name}: a command is not closed, or stands where it is not shown as one")

    assert alarms()
    assert not wrong


def test_every_state_that_lasts_is_kept_while_nothing_measures_it() -> None:
    # A gauge that is not measured is not well: an alarm that called it so would tell that all is well.
    gauges = {"DeliveryAgeHours", "RegionsWithoutLogging", "RecentCaptureRate", "PriceListAgeHours"}
    treated = {
        name: alarm["TreatMissingData"] for alarm in alarms().values() for _, name, _ in metrics_of(alarm) if name in gauges
    }

    assert treated == dict.fromkeys(gauges, "ignore")


def test_alarms_go_to_a_topic_that_cloudwatch_may_publish_to() -> None:
    # CloudWatch has no permission on the AWS managed key: a message to a topic under it is dropped.
    named = {resource_of(action) for alarm in resources("AWS::CloudWatch::Alarm").values() for action in alarm["AlarmActions"]}
    topics = [topic for name, topic in resources("AWS::SNS::Topic").items() if name in named]

    assert topics
    assert not [t for t in topics if "alias/aws/sns" in str(t.get("KmsMasterKeyId", ""))]


def test_every_parameter_and_every_output_says_what_it_is() -> None:
    named = [*template()["Parameters"].items(), *template()["Outputs"].items()]

    assert not [name for name, body in named if not body.get("Description", "").strip()]


def test_no_alarm_watches_more_metrics_than_cloudwatch_takes() -> None:
    watched = {
        name: sum("MetricStat" in query for query in alarm.get("Metrics", []))
        for name, alarm in resources("AWS::CloudWatch::Alarm").items()
    }

    assert watched
    assert not {name: count for name, count in watched.items() if count > METRICS_PER_ALARM}


def test_nobody_but_aws_can_put_an_event_that_the_cloudtrail_rules_take() -> None:
    rules = [r["Properties"] for r in template()["Resources"].values() if r["Type"] == "AWS::Events::Rule"]
    cloudtrail = [rule for rule in rules if "eventSource" in str(rule.get("EventPattern", ""))]

    assert len(cloudtrail) == 4
    assert all(rule["EventPattern"]["source"] == [{"prefix": "aws."}] for rule in cloudtrail)
