"""Starting and stopping: loopback only, nothing left behind, a clear message when the environment is missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local import emulator
from tests.local.support import LocalAws, build_one_function, eventually

LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
LISTENING = "0A"


def processes_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_listener_is_on_loopback(aws: LocalAws) -> None:
    aws.invoke("Probe", {"do": "describe"})

    sockets = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == aws.emulator.pid:
                sockets |= {os.readlink(descriptor) for descriptor in (process / "fd").iterdir()}
        except OSError:
            continue
    inodes = {match[1] for link in sockets if (match := re.match(r"socket:\[(\d+)\]", link))}
    listeners = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and columns[9] in inodes:
                listeners.append(columns[1].split(":")[0])
    assert listeners
    assert set(listeners) <= LOOPBACK


def test_everything_ends_when_the_parent_is_killed(tmp_path: Path) -> None:
    build = build_one_function(tmp_path)
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from local import deployment, emulator
running = emulator.start()
deployed = deployment.deploy(running, Path({str(build)!r}))
running.client("lambda").invoke(FunctionName=deployed.function("Only"), Payload=b'{{"answer": 1}}')
print(running.pid, running.directory, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group, directory = parent.stdout.readline().split()
        assert any("task_runtime" in command for command in commands_naming(directory)), "no handler process is running"

        parent.send_signal(signal.SIGKILL)

    eventually(lambda: not processes_left(int(group)))
    assert not commands_naming(directory)


def commands_naming(directory: str) -> list[str]:
    listed = subprocess.run(["ps", "-ww", "-eo", "command"], capture_output=True, text=True, check=True).stdout
    return [command for command in listed.splitlines() if directory in command]


def test_a_missing_environment_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_AWS_PYTHON", "/nowhere/python")

    with pytest.raises(emulator.EmulatorError, match=r"/nowhere/python does not exist.*make \.venv/\.local-aws"):
        emulator.start()


def test_an_environment_without_the_packages_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_AWS_PYTHON", sys.executable)

    with pytest.raises(emulator.EmulatorError, match=r"No module named 'ministack'.*requirements\.txt"):
        emulator.start()
