"""One local AWS with the test stack for all tests of this directory; without its environment they fail, not skip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local import deployment, emulator
from tests.local.support import INPUT_BUCKET, LocalAws, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build") / "stack")


@pytest.fixture(scope="session")
def aws(built: Path) -> Iterator[LocalAws]:
    with emulator.running(pace=emulator.Pace(retry_seconds=1, schedule_seconds=5)) as running:
        running.create_bucket(INPUT_BUCKET, versioned=True)
        deployed = deployment.deploy(
            running, built, stack_name="local-test", parameters={"InputBucket": INPUT_BUCKET}, tags={"team": "tests"}
        )
        yield LocalAws(running, deployed)
