"""`python -m local.invoke` and `python -m local stop`: exit codes, output, and what stays running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local import __main__ as command
from local import invoke, state
from local.emulator import Emulator
from tests.local.support import LocalAws, build_one_function


@pytest.fixture(autouse=True)
def nothing_is_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A state directory of its own: no test may find or stop what a developer left running."""
    monkeypatch.setenv("LOCAL_AWS_STATE", str(tmp_path / "state"))


def call(tmp_path: Path, event: object, *options: str) -> int:
    if not (tmp_path / "build").exists():
        build_one_function(tmp_path / "build")
    (tmp_path / "event.json").write_text(json.dumps(event))
    given = ["--event", str(tmp_path / "event.json"), "--build", str(tmp_path / "build")]
    return invoke.main(["only", *given, *options])


def test_a_kept_local_aws_is_used_again_and_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, {"answer": [1]}, "--keep") == 0
    first = state.load()
    assert first is not None
    output = capsys.readouterr()
    assert json.loads(output.out) == [1]
    assert "functions of Runtime python3.10 run as" in output.err

    assert call(tmp_path, {"error": "as asked"}) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["errorType"] == "LookupError"
    assert "LookupError: as asked" in output.err
    assert state.load() == first

    assert command.main(["status"]) == 0
    assert first.emulator.endpoint in capsys.readouterr().out
    assert command.main(["stop"]) == 0
    assert not first.emulator.is_running()
    assert not first.emulator.directory.exists()
    assert command.main(["status"]) == 1
    assert command.main(["stop"]) == 0


def test_without_keep_nothing_stays_running(tmp_path: Path) -> None:
    assert call(tmp_path, {"answer": 1}) == 0

    assert state.load() is None


def test_a_missing_event_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke.main(["probe", "--event", str(tmp_path / "absent.json")]) == 2

    assert "absent.json does not exist: name the event with --event" in capsys.readouterr().err


def test_a_function_that_is_not_there_is_named(aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.save(state.LocalAws(aws.emulator, aws.deployment))
    build = build_one_function(tmp_path / "build")
    event = tmp_path / "event.json"
    event.write_text("{}")

    assert invoke.main(["absent", "--event", str(event), "--build", str(build)]) == 2
    assert "the stack has no function absent; it has Only" in capsys.readouterr().err


def test_a_state_file_of_a_stopped_local_aws_is_not_believed(aws: LocalAws) -> None:
    gone = Emulator("http://127.0.0.1:9", 2**22 + 1, aws.emulator.directory, "python3.13")
    path = state.save(state.LocalAws(gone, aws.deployment))

    assert state.load() is None
    assert not path.exists()
