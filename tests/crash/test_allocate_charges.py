"""Faults at every write of the only writer of ledger days, alone and while another delivery is ingested."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from adapters.day_parts import Cut
from attribution.charges import AllocatedCharge
from attribution.errors import LedgerConflict
from tests.crash.faults import Mode
from tests.crash.world import Work, World, enumerate_faults, moments
from tests.support import inputs
from tests.support.stack import windowed

FUNCTION = "allocate_charges"
# Hours after the first days at which their month has long been over.
AFTER_CLOSE = 24 * 50
# When it is not over yet.
OPEN = datetime(2026, 2, 10, tzinfo=UTC)


def ingested(world: World) -> list[Work]:
    """Estimates stand, the first delivery has been ingested; returns what allocation is asked for."""
    world.estimated()
    assert world.invoke(world.delivery(0, hours=1))
    return world.asked()


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_a_fault_at_any_write_leaves_the_ledger_of_an_undisturbed_run(
    world: World, mode: Mode, count_schedules: Callable[[int], None]
) -> None:
    work = ingested(world)

    number = enumerate_faults(world, lambda: work, faulty=[FUNCTION], mode=mode, is_published=True)

    count_schedules(number)


@pytest.mark.parametrize("mode", [Mode.BEFORE, Mode.AFTER], ids=lambda mode: mode.name.lower())
def test_a_fault_at_any_write_of_a_restatement_leaves_the_ledger_of_an_undisturbed_run(
    world: World, mode: Mode, count_schedules: Callable[[int], None]
) -> None:
    """The month is closed: the reader sees the new bill with its adjustment, or neither."""
    world.settle(ingested(world))
    # The days without a charge are billed before, so that the schedules are of the days that change.
    world.settle([world.delivery(0, hours=AFTER_CLOSE - 24, execution_id="c0ffee00-0000-4000-8000-000000000000")])
    world.reader.close_month()
    assert world.invoke(world.delivery(2, hours=AFTER_CLOSE))
    work = world.asked()

    number = enumerate_faults(world, lambda: work, faulty=[FUNCTION], mode=mode, is_published=True)

    world.settle(work)
    assert len(world.reader.adjustments()) == 1
    count_schedules(number)


def test_a_fault_at_any_write_after_another_delivery_was_overtaken_leaves_the_ledger_of_an_undisturbed_run(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    for overtaken in ingested(world)[:-1]:
        assert world.invoke(overtaken)
    assert world.invoke(world.delivery(2, hours=6))
    work = world.asked()

    number = enumerate_faults(world, lambda: work, faulty=[FUNCTION], mode=Mode.AFTER, is_published=True)

    world.settle(work)
    world.assert_only_current_versions_stay()
    count_schedules(number)


def test_messages_in_any_order_and_any_number_leave_the_same_ledger(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    work = ingested(world)
    put_back = world.keep()
    chance = random.Random(7)
    dumps = set()
    orders = [list(order) for order in itertools.permutations(work)]
    for order in orders:
        for repeats in (order, order + chance.sample(work, len(work)), [item for item in order for _ in range(2)]):
            put_back()
            dumps.add(world.settle(repeats))

    assert len(dumps) == 1
    count_schedules(3 * len(orders))


def test_a_newer_delivery_that_is_ingested_at_any_moment_wins(world: World, count_schedules: Callable[[int], None]) -> None:
    older = ingested(world)

    count_schedules(interleave(world, older, world.delivery(2, hours=6)))


def test_two_deliveries_of_a_closed_month_at_once_are_accounted_for(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    """The newer one takes back what the older one says, which may have become visible or not."""
    world.settle(ingested(world))
    # The days without a charge are billed before, so that the schedules are of the days that change.
    world.settle([world.delivery(0, hours=AFTER_CLOSE - 24, execution_id="c0ffee00-0000-4000-8000-000000000000")])
    world.reader.close_month()
    assert world.invoke(world.delivery(2, hours=AFTER_CLOSE))
    older = world.asked()
    newer = world.delivery(0, hours=AFTER_CLOSE + 1, execution_id="c0ffee00-0000-4000-8000-000000000000")

    count_schedules(interleave(world, older, newer))


def test_two_workers_who_complete_one_delivery_at_once_publish_it_once(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    """Both have read that nothing but their day is missing; the one that flips later finds it done, and changes nothing."""
    *others, last = ingested(world)
    for work in others:
        assert world.invoke(work)
    put_back = world.keep()
    reference = world.settle([last])
    put_back()
    world.faults.arm(0, Mode.BEFORE)
    world.settle([last], faulty=[FUNCTION])
    writes = world.faults.count

    chosen = moments(writes)
    for number in chosen:
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        world.interrupt(number, [last])
        assert world.settle([last], faulty=[FUNCTION]) == reference, f"the other worker came at write {number} of {writes}"
    count_schedules(len(chosen))


def test_a_bill_that_becomes_visible_while_a_day_is_estimated_is_not_overwritten(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    assert world.invoke(("roll_up_usage", windowed(world.stream_records())))
    estimates = world.asked()

    count_schedules(interleave(world, estimates, world.delivery(0, hours=1), is_settled=True))


def test_a_fault_at_any_write_of_an_allocation_by_other_rules_leaves_the_ledger_of_an_undisturbed_run(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    """The new versions share parts with those that they replace, and these expire while the parts stay."""
    world.stack.now = OPEN
    world.settle(ingested(world))
    work = world.apply_rules("platform")

    number = enumerate_faults(world, lambda: work, faulty=[FUNCTION], mode=Mode.AFTER, is_published=True)

    before = {ref for roots in world.roots().values() for ref in roots}
    world.settle(work)
    assert before & {ref for roots in world.roots().values() for ref in roots}, "nothing was shared"
    world.assert_only_current_versions_stay()
    count_schedules(number)


def test_a_fault_at_any_write_of_another_allocation_of_a_closed_month_leaves_its_owners_and_adjustments_together(
    world: World, count_schedules: Callable[[int], None]
) -> None:
    """The reader sees the new owners of a day with the adjustment that says so, or neither; other rules alone move nobody."""
    world.settle(ingested(world))
    world.reader.close_month()
    before = world.reader.owners()
    world.settle(world.apply_rules("finance"))
    assert world.reader.owners() == before
    work = world.apply_rules("platform", is_closed_meant=True)

    number = enumerate_faults(world, lambda: work, faulty=[FUNCTION], mode=Mode.AFTER, is_published=True)

    world.settle(work)
    assert "platform" in world.reader.owners()
    adjusted = [day for adjustment in world.reader.adjustments() for day in adjustment.days]
    assert adjusted == sorted(set(adjusted)) != []
    count_schedules(number)


@pytest.mark.parametrize("is_settled", [False, True], ids=["asked for", "carried out"])
def test_rules_that_are_applied_at_any_moment_win_in_the_end_and_no_version_is_of_two_sets_of_rules(
    world: World, is_settled: bool, count_schedules: Callable[[int], None]
) -> None:
    world.stack.now = OPEN
    world.settle(ingested(world))
    put_back = world.keep()
    by_rules: dict[str, list[str]] = {}
    for owner in ("platform", "finance"):
        put_back()
        by_rules |= world.shown()
        world.settle(world.apply_rules(owner))
        by_rules |= world.shown()
    reference = world.visible()
    put_back()
    world.faults.arm(0, Mode.BEFORE)
    world.settle(world.apply_rules("platform"), faulty=[FUNCTION])
    writes = world.faults.count

    def look() -> None:
        world.reader.look()
        for version, found in world.shown().items():
            assert by_rules[version] == found, "a version is not what its rules make of the day"

    chosen = moments(writes)
    for number in chosen:
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        asked: list[Work] = []

        def when_written(count: int, at: int = number, asked: list[Work] = asked) -> None:
            look()
            if count == at:
                asked += world.apply_rules("finance")
                if is_settled:
                    world.settle(asked)
                look()

        world.faults.after_write = when_written
        world.settle(world.apply_rules("platform"), faulty=[FUNCTION])
        world.settle(asked)
        look()
        assert world.visible() == reference, f"rules were applied at write {number} of {writes}"
        world.assert_only_current_versions_stay()
    count_schedules(len(chosen))


def test_a_reader_who_pages_a_version_that_is_replaced_meanwhile_reads_it_to_its_end(
    world: World, count_schedules: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it has expired, what shares its parts is whole, and a reader of it is told instead of given a part."""
    # One charge a part, and one part a page.
    monkeypatch.setattr("adapters.ledger_days.CHARGES", Cut(1, 1, 1))
    monkeypatch.setattr("adapters.day_parts._READ_AT_ONCE", 1)
    world.stack.now = OPEN
    world.settle(ingested(world))
    day = max(world.days(), key=lambda day: len(list(world.charges(day))))
    expected, put_back = list(world.charges(day)), world.keep()
    assert len(expected) > 3
    world.faults.arm(0, Mode.BEFORE)
    world.settle(world.apply_rules("platform"), faulty=[FUNCTION])
    writes, by_platform = world.faults.count, world.visible()

    chosen = moments(writes)
    for number in chosen:
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        before = world.ledger_days().pointers(inputs.PERIOD)[day].version
        begun = [begin(world.charges(day))]

        def when_written(count: int, at: int = number, begun: list[Iterator[AllocatedCharge]] = begun) -> None:
            if count == at:
                begun.append(begin(world.charges(day)))

        world.faults.after_write = when_written
        world.settle(world.apply_rules("platform"), faulty=[FUNCTION])
        assert list(begun[0]) == expected
        assert list(begun[1]) in (expected, list(world.charges(day)))
        assert world.expire() > 0
        assert world.visible() == by_platform
        with pytest.raises(LedgerConflict, match="not in the ledger any more"):
            list(world.ledger_days().charges(day, before))
    count_schedules(len(chosen))


def begin(pages: Iterator[AllocatedCharge]) -> Iterator[AllocatedCharge]:
    """The same, of which the first page was read now."""
    return itertools.chain([next(pages)], pages)


def interleave(world: World, work: list[Work], newer: Work, *, is_settled: bool = False) -> int:
    """Ingest a newer delivery, and publish it where `is_settled`, at moments of this work; returns at how many."""
    put_back = world.keep()
    world.settle([*work, newer])
    reference = world.visible()
    assert reference["newest"][1] == "published"
    put_back()
    world.faults.arm(0, Mode.BEFORE)
    world.settle(work, faulty=[FUNCTION])
    writes = world.faults.count

    chosen = moments(writes)
    for number in chosen:
        put_back()
        world.faults.arm(0, Mode.BEFORE)
        world.interrupt(number, [newer], is_settled=is_settled)
        world.settle(work, faulty=[FUNCTION])
        assert world.visible() == reference, f"the newer delivery came at write {number} of {writes}"
    return len(chosen)
