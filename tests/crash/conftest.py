"""One world for each test of this directory, and a line at the end that says how many schedules were run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws

from tests.crash.faults import injected
from tests.crash.world import World

_SCHEDULES = "schedules"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # botocore waits before it tries again; nothing here gets better by waiting.
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with mock_aws(), injected() as faults:
        yield World(faults)


@pytest.fixture
def count_schedules(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Report how many schedules a test has run."""
    return lambda number: record_property(_SCHEDULES, number)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = terminalreporter.stats.get("passed", [])
    found = [(r.nodeid.rpartition("/")[2], n) for r in passed for name, n in r.user_properties if name == _SCHEDULES]
    if found:
        terminalreporter.section("crash schedules, each of which ended in the ledger of an undisturbed run")
        for name, number in sorted(found):
            terminalreporter.write_line(f"{number:5d}  {name}")
        terminalreporter.write_line(f"{sum(number for _, number in found):5d}  in all")
