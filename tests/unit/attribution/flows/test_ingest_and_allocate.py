"""Both billing flows together: any messages, any order, any repeat, any crash, one ledger; and no mix on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.charges import Basis
from attribution.deliveries import DeliveryOutcome, billed_days
from tests.unit.attribution.flows.ledger import DAYS, FIRST_WRITTEN, LAG, NOVEMBER, Content, Ledger, Message

contents = st.lists(st.builds(Content, st.tuples(*[st.integers(0, 2)] * 3), st.booleans()), min_size=1, max_size=4)
usage_changes = st.lists(
    st.tuples(st.sampled_from(DAYS), st.sampled_from(["search", "support"]), st.integers(1, 900)), max_size=4
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which of the waiting messages is handled next, whether it is delivered again, and the point at which it ends."""

    index: int
    is_repeated: bool
    crash_after: int | None


attempts = st.lists(st.builds(Attempt, st.integers(0, 20), st.booleans(), st.none() | st.integers(0, 14)), max_size=25)


def number_of(ledger: Ledger) -> int:
    published = ledger.published()
    return -1 if published is None else int(published.execution_id.rpartition("-")[2])


def assert_no_mix(ledger: Ledger, published_before: int) -> None:
    """What readers see is exactly the newest published delivery, on every day that it bills."""
    published = ledger.published()
    assert number_of(ledger) >= published_before
    visible = {day: p.made_from["origin"] for day, p in ledger.days.current.items() if p.basis is not Basis.ESTIMATED}
    if published is None:
        assert visible == {}
    else:
        billed = billed_days(NOVEMBER, FIRST_WRITTEN + timedelta(days=number_of(ledger)), LAG)
        assert visible == {d.usage_date: d.origin for d in published.report.days if d.usage_date in billed}
    assert not {(day, p.version) for day, p in ledger.days.current.items()} & ledger.days.expired


@settings(max_examples=150)
@given(contents, usage_changes, attempts)
def test_repeated_shuffled_and_interrupted_messages_leave_the_ledger_of_the_newest_delivery_and_the_final_usage(
    contents: list[Content], usage_changes: list[tuple[object, str, int]], attempts: list[Attempt]
) -> None:
    ledger = Ledger()
    waiting: list[Message] = [ledger.write_delivery(n, content) for n, content in enumerate(contents)]
    pending_usage = list(usage_changes)

    for attempt in attempts:
        if pending_usage and attempt.index % 3 == 0:
            ledger.use(*pending_usage.pop())  # type: ignore[arg-type]
        waiting += ledger.queue.days
        ledger.queue.days.clear()
        if not waiting:
            break
        message = waiting[attempt.index % len(waiting)]
        before = number_of(ledger)
        ledger.crashes.after_points = attempt.crash_after
        if ledger.attempt(message) and not attempt.is_repeated:
            waiting.remove(message)
        assert_no_mix(ledger, before)
    for change in pending_usage:
        ledger.use(*change)  # type: ignore[arg-type]
    ledger.drain(waiting)

    assert_final(ledger, len(contents) - 1)


def assert_final(ledger: Ledger, newest_number: int) -> None:
    newest = ledger.published()
    assert newest is not None
    assert number_of(ledger) == newest_number
    for day in DAYS:
        expected = ledger.expected(day, newest, newest_number)
        pointer = ledger.days.current.get(day)
        if pointer is None:
            assert expected.basis is Basis.ESTIMATED
            assert not ledger.counters.usage_of(day)
            continue
        assert (pointer.version, pointer.basis, pointer.totals) == (expected.version, expected.basis, expected.totals)
        assert ledger.days.versions[day, pointer.version] == expected
        assert day in ledger.announcements.changed
    outcomes = {r.outcome for r in ledger.deliveries.of_period(NOVEMBER)}
    assert outcomes <= {DeliveryOutcome.PUBLISHED, DeliveryOutcome.SUPERSEDED}
