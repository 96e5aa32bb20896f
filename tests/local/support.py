"""What the tests of the local AWS share: the test stack as built, and a view of it running."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from local import deployment, emulator

STACK = Path(__file__).with_name("stack")
# The layer's botocore: of its 25 MB of service models, the ones that the handlers use.
LIBRARIES = ("botocore", "dateutil", "jmespath", "six", "urllib3")
SERVICES = ("dynamodb", "events", "secretsmanager", "sqs", "ssm", "sts")

INPUT_BUCKET = "input-bucket"
# How long what must happen may take on a machine that is busy with other tests; nothing waits longer than it needs.
PATIENCE = 90.0


class LocalAws:
    """The emulator, the deployed stack, and what its handlers observed."""

    def __init__(self, running: emulator.Emulator, deployed: deployment.Deployment) -> None:
        self.emulator = running
        self.deployment = deployed
        self.client = running.client

    def invoke(self, function: str, event: Any) -> tuple[Any, bool]:
        """The function's answer and whether it is an error."""
        answer = self.client("lambda").invoke(
            FunctionName=self.deployment.function(function), Payload=json.dumps(event).encode()
        )
        return json.loads(answer["Payload"].read() or b"null"), "FunctionError" in answer

    def put(self, key: str) -> None:
        self.client("s3").put_object(Bucket=INPUT_BUCKET, Key=key, Body=b"{}")

    def observed(self, function: str, containing: str) -> list[dict[str, Any]]:
        items = self.client("dynamodb").query(
            TableName=self.deployment.outputs["ObservationsTable"],
            KeyConditionExpression="pk = :function",
            ExpressionAttributeValues={":function": {"S": function}},
        )["Items"]
        return [json.loads(item["event"]["S"]) for item in items if containing in item["event"]["S"]]

    def wait_for(self, function: str, containing: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """The events that a function received and that contain a text, once there is one."""
        found: list[dict[str, Any]] = eventually(lambda: self.observed(function, containing), seconds)
        return found


def eventually(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer; a failure after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)
    return found


def build(directory: Path) -> Path:
    """The test stack as `sam build` leaves one: the template beside a folder for each function and layer."""
    shutil.copytree(STACK, directory)
    for name in LIBRARIES:
        found = find_spec(name)
        assert found is not None and found.origin is not None, name
        source = Path(found.origin)
        target = directory / "Shared" / "python"
        if source.name != "__init__.py":
            shutil.copy(source, target)
            continue
        shutil.copytree(source.parent, target / name, ignore=_unused_models)
    return directory


def _unused_models(folder: str, names: list[str]) -> set[str]:
    skipped = {"__pycache__", "examples"}
    if Path(folder).name == "data" and Path(folder).parent.name == "botocore":
        skipped |= {name for name in names if "." not in name and name not in SERVICES}
    return skipped


ONE_FUNCTION = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  PythonRuntime: {Type: String, Default: python3.10}
Resources:
  Only:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: Only, Handler: handler.lambda_handler, Runtime: !Ref PythonRuntime}
"""

ONE_HANDLER = '''"""Return what is asked for, or fail."""


def lambda_handler(event, context):
    if "error" in event:
        raise LookupError(event["error"])
    return event["answer"]
'''


def build_one_function(directory: Path) -> Path:
    """A build of one function without a layer: the least that can be deployed and invoked."""
    (directory / "Only").mkdir(parents=True)
    (directory / "template.yaml").write_text(ONE_FUNCTION)
    (directory / "Only" / "handler.py").write_text(ONE_HANDLER)
    return directory
