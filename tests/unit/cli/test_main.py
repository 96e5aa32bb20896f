"""The program as a whole: help, global options, failures and exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import typer
from botocore.exceptions import ClientError, NoCredentialsError
from typer.testing import CliRunner

from bedrock_costs import failures
from bedrock_costs.application import global_options_first
from bedrock_costs.main import app
from bedrock_costs.stack import Stack
from tests.unit.cli.support import Cloud, put_october, run


def walk(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every command with its path."""
    found = [(path, command)]
    for name, child in getattr(command, "commands", {}).items():
        found += walk(child, (*path, name))
    return found


COMMANDS = walk(typer.main.get_command(app))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_every_command_explains_itself(path: tuple[str, ...], command: Any) -> None:
    ran = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "60"})

    assert ran.exit_code == 0
    assert command.help
    if not hasattr(command, "commands"):
        # One line whatever the terminal, to be copied.
        (example,) = (line for line in command.help.splitlines() if line.startswith("Example: "))
        assert example.startswith(f"Example: bedrock-costs {' '.join(path)}")
        assert f"  {example}" in ran.stdout.splitlines()
    for parameter in command.params:
        if parameter.name not in ("help", "install_completion", "show_completion"):
            assert getattr(parameter, "help", None), f"{path}: {parameter.name} has no help"


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"bedrock-costs {version('bedrock-cost-attribution')}\n"


def test_the_commands_of_this_release() -> None:
    assert {" ".join(path) for path, command in COMMANDS if not hasattr(command, "commands")} == {
        "report",
        "coverage",
        "explain",
        "days",
        "request",
        "deliveries",
        "adjustments",
        "quarantine",
        "recount",
        "status",
        "backfill",
        "replay objects",
        "replay deliveries",
        "replay days",
        "replay events",
        "replay logs",
        "replay trail",
        "config show",
        "config check",
        "config apply",
        "config plan",
        "config import-budgets",
        "budgets",
        "alerts preview",
        "alerts show",
        "alerts test",
        "anomalies feedback",
        "directory list",
        "directory show",
        "directory state",
        "prices load",
        "prices sync",
        "prices show",
        "prices override",
        "prices overrides",
        "prices remove",
        "prices compare",
    }


def test_help_ends_with_the_exit_codes_and_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['bedrock-costs', '--help']\n"
        "from bedrock_costs.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print(sorted({'boto3', 'botocore', 'duckdb', 'msgspec', 'pydantic', 'rich', 'yaml'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "4 no data yet" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("report --profile p --by team", "--profile p report --by team"),
        ("report --output=json --no-color", "--output=json --no-color report"),
        ("replay objects s3://b/p --region r --dry-run", "--region r replay objects s3://b/p --dry-run"),
        ("request --region r --profile p --account a", "--profile p request --region r --account a"),
        ("--region r request --region s", "--region r request --region s"),
        ("report --by request --region r", "--region r report --by request"),
        ("config check -- --profile", "config check -- --profile"),
        ("report --profile", "--profile report"),
    ],
)
def test_global_options_may_stand_anywhere(given: str, expected: str) -> None:
    assert global_options_first(given.split()) == expected.split()


def test_an_unknown_stack(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_COSTS_STACK", "another")

    ran = run("report")

    assert ran.exit_code == 1
    assert "there is no stack 'another' in us-east-1" in ran.err


def test_a_stack_without_an_output(cloud: Cloud) -> None:
    cloud.cloudformation.outputs.pop("LedgerTable")

    assert "has no output LedgerTable" in run("report").err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, "DescribeStacks"), 5),
        (ClientError({"Error": {"Code": "ExpiredToken", "Message": "old"}}, "DescribeStacks"), 5),
        (ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "DescribeStacks"), 1),
        (NoCredentialsError(), 5),
    ],
)
def test_failures_of_aws_are_explained(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cloud.cloudformation, "describe_stacks", fail)

    ran = run("report")

    assert ran.exit_code == code
    assert ran.err.startswith("error: ")
    assert "fix: " in ran.err
    assert "Traceback" not in ran.err


def test_clients_talk_to_the_endpoint_that_was_named() -> None:
    made = Stack("s", region="eu-west-1", endpoint_url="http://127.0.0.1:4566").client("sqs")

    assert made.meta.endpoint_url == "http://127.0.0.1:4566"
    assert made.meta.region_name == "eu-west-1"


def test_an_unknown_profile_is_wrong_usage() -> None:
    ran = run("report", "--profile", "nobody")

    assert ran.exit_code == 2
    assert "The config profile (nobody) could not be found" in ran.err


def test_a_defect_is_not_explained_away(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Stack) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Stack, "policy", fail)

    with pytest.raises(ZeroDivisionError):
        run("report")


def test_colors_only_where_they_are_wanted(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put_october(cloud)
    monkeypatch.setenv("FORCE_COLOR", "1")

    colored = run("report", "--period", "2026-10").out
    by_option = run("report", "--period", "2026-10", "--no-color").out
    monkeypatch.setenv("NO_COLOR", "1")
    by_environment = run("report", "--period", "2026-10").out

    assert "\x1b[" in colored
    assert "\x1b[3" not in by_option
    assert "\x1b[3" not in by_environment


def test_exit_codes_are_documented() -> None:
    assert all(f"{int(code)} " in failures.EXIT_CODES for code in failures.ExitCode)


@pytest.mark.parametrize(
    "arguments", [("report", "--metric", "cost"), ("report", "--output", "xml"), ("directory", "list", "--kind", "x")]
)
def test_a_choice_that_there_is_not_is_said_in_plain_words(arguments: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(app, arguments)

    assert ran.exit_code == 2
    assert f"Invalid value for '{arguments[-2]}': '{arguments[-1]}' is not one of " in ran.stderr
