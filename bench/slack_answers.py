"""How long `answer_slack` takes from request to response, for a button and for each command, cold and warm.

Slack waits three seconds. The built function runs on nothing but its artifact and layers, with real signatures, against moto
behind HTTP. The reference, in the same run, is a handler that makes one boto3 client and reads one item. The policy is a small
one, and one as a bank may have it. moto takes longer than AWS for large answers, and other work on the machine for everything;
so processor time is measured beside wall time, and what is to be expected of Lambda is made of that and of the requests to AWS.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto import mock_aws
from moto.core.models import botocore_stubber

from adapters.alerts import DynamoOutbox
from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy, parse_policy
from attribution.alerts import Alert, AlertKey
from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.meters import TokenKind
from attribution.usage import Counters, Usage
from bench.cold_start import LAYERS
from local.pipeline import BUILD_DIRECTORY
from tests.support.alerts import put_alert, put_anomaly
from tests.support.stack import REGION, Stack, load_event
from tests.unit.attribution.examples import USAGE_KEY

FUNCTION = "answer_slack"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"  # noqa: S105 - signs the requests of this benchmark alone
USER = "U012AB3CD"
TEAMS, ALERTS, DAYS = 40, 60, 62
BUDGETS, RULES = 500, 400
COLD_RUNS, WARM_RUNS = 3, 5
LIMIT_MS = 3000
# Lambda gives a function of 1,769 MB one vCPU, and less in proportion; for its start, a whole one.
_SHARE = 1024 / 1769
_ANSWER_MS = 10
"""What a request to DynamoDB or Secrets Manager takes, rather less."""
_COMMANDS = (
    "help",
    "budget",
    "team",
    "team team-07",
    "model",
    "acknowledge budget-07",
    "request 00000000-0000-4000-8000-000000000001",
)
_PROGRAM = """
import json, sys, time
sys.path[:0] = {paths!r}
def clocks():
    return time.perf_counter(), time.process_time()
def since(started):
    return [1000 * (now - then) for now, then in zip(clocks(), started)]
started = clocks()
import handler
took = [since(started)]
class Context:
    function_name = "answer_slack"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:answer-slack"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
for event in json.load(sys.stdin):
    started = clocks()
    answer = handler.lambda_handler(event, Context())
    took.append(since(started))
    assert answer["statusCode"] == 200, answer
print(json.dumps(took))
"""
_REFERENCE = """
import boto3
client = boto3.client("dynamodb")
def lambda_handler(event, context):
    client.get_item(TableName="LedgerTable", Key={"pk": {"S": "CONFIG#policy"}, "sk": {"S": "none"}}, ConsistentRead=True)
    return {"statusCode": 200, "body": ""}
"""


Clocks = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of the wall's clock and of the processor: of the import, of the first request after it, and of later ones;
    and how many requests to AWS the first one made."""

    load: Clocks
    first: Clocks
    warm: Clocks
    requests: int

    @property
    def expected(self) -> float:
        """Milliseconds of a cold answer on Lambda, which starts a sandbox before."""
        return self.load[1] + self.first[1] / _SHARE + self.requests * _ANSWER_MS


# AWS.


class _Server(ThreadingHTTPServer):
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Answers leave in one piece: else the last one waits 40 ms for an acknowledgement of the first.
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = "secretsmanager" if self.headers["X-Amz-Target"].startswith("secretsmanager") else "dynamodb"
        headers = HTTPHeaders()
        for name, value in self.headers.items():
            if name.lower() != "host":
                headers[name] = value
        request = AWSPreparedRequest("POST", f"https://{service}.{REGION}.amazonaws.com/", headers, body, stream_output=False)
        answered: Any = botocore_stubber.process_request(request)
        status, fields, answer = answered
        content = answer.encode() if isinstance(answer, str) else answer
        self.send_response(status)
        for name, value in fields.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving() -> Iterator[_Server]:
    """The moto of this process behind HTTP."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def fill(stack: Stack, policy: Mapping[str, Any]) -> None:
    """Two months of days, and open alerts of budgets and anomalies."""
    document = parse_policy(policy)
    DynamoPolicy(stack.table("LedgerTable")).apply(document)
    days = DynamoLedgerDays(stack.table("LedgerTable"), 760, lambda: stack.now)
    rules = document.rules(stack.now.date())
    for back in range(DAYS):
        day = stack.now.date() - timedelta(days=back)
        charges = estimate_day([_used(day, number) for number in range(TEAMS)], rules)
        version = make_day_version(day, Basis.ESTIMATED, charges, rules, origin="", usage=f"{day}")
        days.flip([days.stage(version, "")], replacing={})
    outbox = DynamoOutbox(stack.table("AlertsTable"), 760, lambda: stack.now)
    for number in range(ALERTS):
        put_alert(outbox, stack.now, budget=f"budget-{number:02d}", team=f"team-{number % TEAMS:02d}")
    for number in range(TEAMS // 4):
        put_anomaly(outbox, stack.now, day=stack.now.date(), value=f"team-{number:02d}")


def _used(day: date, number: int) -> Usage:
    key = USAGE_KEY._replace(usage_date=day, request_metadata=(("team", f"team-{number:02d}"),))
    return Usage(key, Counters(100, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(number + 1)}))


def small_policy() -> dict[str, Any]:
    budgets = [_budget(number) for number in range(10)]
    return {"budgets": budgets, "slack_users": [{"users": [USER], "sees": "all"}]}


def large_policy() -> dict[str, Any]:
    """Budgets, and two cost categories with rules in AWS's words."""
    rules = [
        {"Value": f"v{n}", "Rule": {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [f"{n:012d}"]}}} for n in range(RULES)
    ]
    categories = [{"name": "team", "keys": ["team"], "rules": rules}, {"name": "unit", "keys": ["unit"], "rules": rules}]
    users = [{"users": [f"U{n:08d}"], "sees": {"team": [f"team-{n % TEAMS:02d}"]}} for n in range(300)]
    routes = [{"name": f"route-{n}", "match": {"team": [f"team-{n:02d}"]}} for n in range(TEAMS)]
    return {
        "cost_categories": categories,
        "budgets": [_budget(number) for number in range(BUDGETS)],
        "routes": routes,
        "slack_users": [*users, {"users": [USER], "sees": "all"}],
    }


def _budget(number: int) -> dict[str, Any]:
    return {
        "name": f"budget-{number:02d}",
        "limit": {"amount": "100"},
        "dimension": "team",
        "values": [f"team-{number % TEAMS:02d}"],
        "thresholds": [80, 100],
        "forecast_thresholds": [100],
    }


# Slack.


def signed(form: Mapping[str, str], at: int) -> dict[str, Any]:
    """A request as Slack signs it."""
    body = urlencode(form)
    mac = hmac.new(SECRET.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
    event = load_event(FUNCTION)
    headers = event["headers"] | {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={mac}"}
    return event | {"headers": headers, "body": body, "isBase64Encoded": False}


def pressed(alert: Alert, at: int, number: int) -> dict[str, Any]:
    """Buttons that change the alert each time."""
    action = ("acknowledge", "mute", "resume")[number % 3]
    value = json.dumps({"budget": alert.key.budget, "period": alert.key.period, "news": alert.news})
    payload = {
        "type": "block_actions",
        "user": {"id": USER},
        "response_url": "https://hooks.slack.com/actions/T0/1/a",
        "actions": [{"type": "button", "action_id": action, "value": value, "action_ts": f"{at + number}.0"}],
    }
    return signed({"payload": json.dumps(payload)}, at)


def typed(text: str, at: int, number: int) -> dict[str, Any]:
    form = {"user_id": USER, "command": "/bedrock-costs", "text": text, "trigger_id": str(number)}
    return signed(form | {"response_url": "https://hooks.slack.com/commands/T0/1/a"}, at)


# Measuring.


def took(paths: Sequence[str], environment: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> list[Clocks]:
    """Of the import and of each request in a fresh interpreter that sees nothing else."""
    command = [sys.executable, "-S", "-s", "-B", "-c", _PROGRAM.format(paths=list(paths))]
    ran = subprocess.run(command, check=True, env=dict(environment), input=json.dumps(events), capture_output=True, text=True)
    return [(wall, cpu) for wall, cpu in json.loads(ran.stdout.splitlines()[-1])]


def medians(of: Sequence[Clocks]) -> Clocks:
    """The median of each clock."""
    wall, cpu = zip(*of, strict=True)
    return statistics.median(wall), statistics.median(cpu)


@dataclass(frozen=True, slots=True)
class Place:
    """Where functions run: what they import, what they know, and the AWS that they ask."""

    environment: Mapping[str, str]
    layers: Sequence[str]
    aws: _Server

    def measure(self, folder: Path, ask: Callable[[int], Mapping[str, Any]]) -> Took:
        """The median of fresh processes, and of the later requests of another."""
        paths = [str(folder), *self.layers]
        before = self.aws.requests
        cold = [took(paths, self.environment, [ask(0)]) for _ in range(COLD_RUNS)]
        requests = (self.aws.requests - before) // COLD_RUNS
        warm = took(paths, self.environment, [ask(number) for number in range(2 + WARM_RUNS)])
        return Took(medians([run[0] for run in cold]), medians([run[1] for run in cold]), medians(warm[3:]), requests)


def report(stack: Stack, aws: _Server) -> None:
    """Print one line for each thing that people ask."""
    environment = stack.environment(FUNCTION) | {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }
    place = Place(environment, [str(BUILD_DIRECTORY / name / "python") for name in LAYERS], aws)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "handler.py").write_text(_REFERENCE)
        reference = place.measure(Path(directory), lambda _: {})
    columns = "".join(f"{name:>12}" for name in ("import", "first", "warm"))
    print(f"{'wall and processor':34}{columns}  asks  Lambda  ratio  of 3 s")
    _line("one client, one item", reference, reference)
    outbox = DynamoOutbox(stack.table("AlertsTable"), 760, lambda: stack.now)
    alert = outbox.get(AlertKey("budget-00", f"{stack.now:%Y-%m}"))
    assert alert is not None
    at = int(time.time())
    asked = {"button": partial(pressed, alert, at)} | {f"/bedrock-costs {text}": partial(typed, text, at) for text in _COMMANDS}
    for name, ask in asked.items():
        _line(name, place.measure(BUILD_DIRECTORY / "AnswerSlackFunction", ask), reference)


def _line(name: str, measured: Took, reference: Took) -> None:
    clocks = "".join(f"{wall:7.0f}{cpu:5.0f}" for wall, cpu in (measured.load, measured.first, measured.warm))
    expected = measured.expected
    parts = f"{measured.requests:6}{expected:8.0f}{expected / reference.expected:7.1f}{expected / LIMIT_MS:8.0%}"
    print(f"{name[:34]:34}{clocks}{parts}")


def main() -> None:
    """Measure with a small policy and with a large one."""
    if not (BUILD_DIRECTORY / "template.yaml").is_file():
        sys.exit("nothing is built: run `make bench`, which builds first")
    print(
        f"milliseconds, medians of {COLD_RUNS} fresh processes and {WARM_RUNS} warm requests, python {sys.version.split()[0]}"
    )
    for name, policy in (("10 budgets", small_policy()), (f"{BUDGETS} budgets, {2 * RULES} rules", large_policy())):
        size = len(yaml.safe_dump(policy))
        print(f"a policy of {name} ({size / 1000:,.0f} KB), {TEAMS} teams, {DAYS} days, {ALERTS} alerts")
        with mock_aws(), serving() as aws:
            stack = Stack(signing_secret=SECRET)
            stack.now = datetime.now(UTC)
            fill(stack, policy)
            report(stack, aws)


if __name__ == "__main__":
    main()
