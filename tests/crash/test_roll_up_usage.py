"""Faults at every write of the function that moves the usage counters: no request is counted twice or lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attribution.flows import roll_up_usage as flow
from tests.crash.faults import Mode
from tests.crash.world import Work, World, enumerate_faults
from tests.support.stack import windowed

FUNCTION = "roll_up_usage"
CUTS = {"batches": (9, False), "bisected": (9, True), "one-batch": (1000, False)}


@pytest.mark.parametrize(("size", "recut"), CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_a_fault_at_any_write_leaves_the_ledger_of_an_undisturbed_run(
    world: World,
    mode: Mode,
    size: int,
    recut: bool,
    count_schedules: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Several transactions a batch, as a busy shard has them.
    monkeypatch.setattr(flow, "MAX_COUNTERS_PER_TRANSACTION", 3)
    records = world.stream_records(requests=150)
    batches: list[Work] = [(FUNCTION, windowed(records[i : i + size])) for i in range(0, len(records), size)]

    number = enumerate_faults(world, lambda: batches, faulty=[FUNCTION], mode=mode, is_published=False, recut=recut)

    count_schedules(number)
