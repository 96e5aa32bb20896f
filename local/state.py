"""Which local AWS is running: a file under .local (or LOCAL_AWS_STATE) that a later command finds it by.

Promises that what `load` returns answered just now; a file left by a machine that went down is
removed, not believed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local.deployment import Deployment
from local.emulator import REPOSITORY, Emulator


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running emulator and the stack on it."""

    emulator: Emulator
    deployment: Deployment


def _path() -> Path:
    return Path(os.environ.get("LOCAL_AWS_STATE") or REPOSITORY / ".local") / "aws.json"


def save(running: LocalAws) -> Path:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"emulator": asdict(running.emulator), "deployment": asdict(running.deployment)}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")
    return path


def load() -> LocalAws | None:
    """The local AWS that is running, or None."""
    path = _path()
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    emulator = Emulator(**{**content["emulator"], "directory": Path(content["emulator"]["directory"])})
    deployment = Deployment(**{**content["deployment"], "notes": tuple(content["deployment"]["notes"])})
    if not emulator.is_running():
        path.unlink()
        return None
    return LocalAws(emulator, deployment)


def stop() -> bool:
    """Stop the local AWS that is running; False when there was none."""
    running = load()
    if running is None:
        return False
    running.emulator.stop()
    shutil.rmtree(running.emulator.directory, ignore_errors=True)
    _path().unlink(missing_ok=True)
    return True
