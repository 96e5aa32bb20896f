"""Faults at every write of the function that ingests deliveries, alone and while an older delivery becomes visible."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.faults import Mode
from tests.crash.world import Work, World, enumerate_faults

FUNCTION = "ingest_cost_report"


def half_staged(world: World) -> tuple[list[Work], Work]:
    """An older delivery of which one day is not allocated yet; returns that day's message and the newer delivery."""
    world.estimated()
    assert world.invoke(world.delivery(0, hours=1))
    *first, last = world.asked()
    for work in first:
        assert world.invoke(work)
    return [last], world.delivery(2, hours=6)


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_a_fault_at_any_write_leaves_the_ledger_of_an_undisturbed_run(
    world: World, mode: Mode, count_schedules: Callable[[int], None]
) -> None:
    rest, newer = half_staged(world)

    number = enumerate_faults(world, lambda: [newer, *rest], faulty=[FUNCTION], mode=mode, is_published=True)

    count_schedules(number)


def test_an_older_delivery_that_becomes_visible_at_any_moment_is_replaced(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    rest, newer = half_staged(world)

    count_schedules(interleave(world, rest, newer))


def test_a_newer_delivery_takes_back_what_an_older_one_makes_visible_at_any_moment(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    """The newer delivery says what the published one says: only the older one, on its way between them, makes it a change."""
    world.settle([world.delivery(0, hours=1)])
    assert world.invoke(world.delivery(2, hours=6))
    *first, last = world.asked()
    for work in first:
        assert world.invoke(work)

    count_schedules(interleave(world, [last], world.delivery(0, hours=9, execution_id="c0ffee00-0000-4000-8000-000000000000")))


def interleave(world: World, rest: list[Work], newer: Work) -> int:
    """Make the older delivery visible at the moments of the newer one's ingestion; returns at how many."""
    put_back = world.keep()
    world.settle([newer, *rest])
    reference = world.visible()
    assert reference["newest"][1] == "published"
    put_back()
    world.faults.arm(0, Mode.BEFORE)
    with world.faults.on():
        assert world.invoke(newer)
    writes = world.faults.count

    # Between the origin charges that it writes first, ingestion reads nothing; the look at the pointers comes after them.
    moments = [1, *range(writes - 4, writes + 1)]
    for number in moments:
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        world.interrupt(number, rest)
        world.settle([newer, *rest], faulty=[FUNCTION])
        assert world.visible() == reference, f"the older delivery became visible at write {number} of {writes}"
    return len(moments)


def test_one_delivery_handled_by_two_at_once_is_ingested_once(world: World, count_schedules: Callable[[int], None]) -> None:
    rest, newer = half_staged(world)

    count_schedules(interleave(world, [newer, *rest], newer))
