"""Start and stop the local AWS: ministack as a child process, with local.launcher's changes.

Promises: it listens on the loopback interface only; IAM is enforced on the roles of handlers; state
is in memory and a directory of its own; after `stop` none of its processes is left, and without
`keep` it also ends when this process does, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT_PYTHON = REPOSITORY / ".venv" / "local-aws" / "bin" / "python"

# ministack takes an access key of twelve digits as the root user of that account; every secret is this one.
ACCOUNT_ID = "111122223333"
SECRET = "test"  # noqa: S105  opens nothing but the emulator on this machine
REGION = "us-east-1"

START_SECONDS = 60
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL")


class EmulatorError(Exception):
    """The local AWS could not be started or is not there."""


# Held open for as long as this process lives: the launcher takes the end of its input as the end of its parent.
_parent_ends: dict[int, IO[bytes]] = {}
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running local AWS. All fields can be written to a file and read back by another process."""

    endpoint: str
    pid: int
    directory: Path
    runtime: str
    account_id: str = ACCOUNT_ID
    region: str = REGION

    @property
    def log_file(self) -> Path:
        return self.directory / "emulator.log"

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root user; threads may share it."""
        return _client(self, service)

    def create_bucket(self, name: str, *, versioned: bool = False) -> None:
        """A bucket that tells EventBridge about its objects, as an administrator makes it outside of the stack."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=name)
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}})

    def is_running(self) -> bool:
        return _is_launcher(self.pid) and _answers(self.endpoint)

    def stop(self) -> None:
        """End the emulator and every handler process; safe to repeat."""
        if _is_launcher(self.pid):
            _end_process_group(self.pid)
        parent_end = _parent_ends.pop(self.pid, None)
        if parent_end is not None:
            parent_end.close()
        shutil.rmtree(self.directory / "state", ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Pace:
    """What an account on AWS does in its own time and a person at a terminal does not wait for.

    `retry_seconds` replaces the visibility timeout of queues for messages that failed;
    `schedule_seconds` replaces the interval of every rate() rule; None leaves both as the template
    says. `concurrent_batches` is the number of batches that one queue mapping runs at the same time
    (of a FIFO queue: one).
    """

    retry_seconds: float | None = None
    schedule_seconds: float | None = None
    concurrent_batches: int = 2

    def variables(self) -> dict[str, str]:
        stated = {
            "LOCAL_AWS_RETRY_SECONDS": self.retry_seconds,
            "LOCAL_AWS_SCHEDULE_SECONDS": self.schedule_seconds,
            "LOCAL_AWS_CONCURRENT_BATCHES": self.concurrent_batches,
        }
        return {name: str(value) for name, value in stated.items() if value is not None}


def start(
    *, keep: bool = False, directory: Path | None = None, pace: Pace | None = None, account_id: str = ACCOUNT_ID
) -> Emulator:
    """Start the local AWS and return when it answers; with `keep` it outlives this process."""
    interpreter = environment_python()
    runtime = _runtime_of(interpreter)
    directory = directory or Path(tempfile.mkdtemp(prefix="local-aws-"))
    (directory / "state" / "tmp").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    variables = {**_variables(directory, port, keep=keep), **(pace or Pace()).variables()}
    with (directory / "emulator.log").open("ab") as log:
        child = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [str(interpreter), "-P", "-m", "local.launcher"],
            cwd=directory / "state",
            env=variables,
            stdin=subprocess.DEVNULL if keep else subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    if child.stdin is not None:
        _parent_ends[child.pid] = child.stdin
    emulator = Emulator(f"http://127.0.0.1:{port}", child.pid, directory, runtime, account_id)
    _wait_until_it_answers(emulator, child)
    return emulator


@cache
def _client(emulator: Emulator, service: str) -> Any:
    session = boto3.Session(aws_access_key_id=emulator.account_id, aws_secret_access_key=SECRET, region_name=emulator.region)
    config = Config(retries={"mode": "standard", "max_attempts": 2}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=emulator.endpoint, config=config)  # type: ignore[call-overload]


@contextmanager
def running(*, directory: Path | None = None, pace: Pace | None = None, account_id: str = ACCOUNT_ID) -> Iterator[Emulator]:
    """A local AWS for the length of a `with` block."""
    emulator = start(directory=directory, pace=pace, account_id=account_id)
    try:
        yield emulator
    finally:
        emulator.stop()
        if directory is None:
            shutil.rmtree(emulator.directory, ignore_errors=True)


def environment_python() -> Path:
    """The interpreter that has ministack: LOCAL_AWS_PYTHON, or the one `make` puts into .venv/local-aws."""
    python = Path(os.environ.get("LOCAL_AWS_PYTHON") or ENVIRONMENT_PYTHON)
    if not python.is_file():
        raise EmulatorError(
            f"the emulator's environment is missing: {python} does not exist. Make it with "
            "`make .venv/.local-aws`, or set LOCAL_AWS_PYTHON to a Python that has local/requirements.txt installed."
        )
    return python


def _runtime_of(interpreter: Path) -> str:
    """Lambda's name of the interpreter's version, such as python3.13."""
    program = "import sys, ministack, awslambdaric, samtranslator; print('python%d.%d' % sys.version_info[:2])"
    found = subprocess.run(  # noqa: S603  our own interpreter
        [str(interpreter), "-P", "-c", program], capture_output=True, text=True, check=False
    )
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise EmulatorError(f"{interpreter} cannot run the emulator ({reason}): install local/requirements.txt into it")
    return found.stdout.strip()


def _variables(directory: Path, port: int, *, keep: bool) -> dict[str, str]:
    """The emulator's environment: nothing of the caller's AWS configuration, every listener on loopback or off."""
    state = directory / "state"
    return {
        **{name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(state / "tmp"),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true",
        "AWS_DEFAULT_REGION": REGION,
        "MINISTACK_REGION": REGION,
        "STATE_DIR": str(state),
        "S3_DATA_DIR": str(state / "s3"),
        "LOCAL_AWS_EXIT_WITH_PARENT": "0" if keep else "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2) as response:  # noqa: S310  loopback
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait_until_it_answers(emulator: Emulator, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(emulator.endpoint):
        if child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            continue
        emulator.stop()
        tail = "\n".join(emulator.log_file.read_text(errors="replace").splitlines()[-15:])
        raise EmulatorError(f"the local AWS did not start; the end of {emulator.log_file}:\n{tail}")


def _is_launcher(pid: int) -> bool:
    """Whether the process is still our launcher: a process id from a state file may belong to somebody else by now."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return False
    ps = shutil.which("ps")
    if ps is not None:
        command = subprocess.run(  # noqa: S603  ps with a number
            [ps, "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    else:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            command = ""
    return "local.launcher" in command


def _end_process_group(pid: int) -> None:
    """Kill the emulator and, in its process group, the handlers: nothing of theirs is worth an orderly end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    child = _children.pop(pid, None)
    if child is not None:
        child.wait()
