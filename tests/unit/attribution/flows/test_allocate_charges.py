"""One day at a time becomes a version; a delivery's days become visible together."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution.allocation import allocate_day
from attribution.charges import Basis, Costs
from attribution.cost_categories import by_evidence
from attribution.days import make_day_version
from attribution.deliveries import DeliveryOutcome
from attribution.errors import ConservationViolated, LedgerConflict
from attribution.flows.allocate_charges import RECENT_DAYS, recent_capture_rate
from attribution.rules import Rules
from tests.fakes import Crash, FakeClock, FakeDeliveries, FakeLedgerDays, FakePolicy
from tests.unit.attribution.examples import BY_TEAM, origin_charge
from tests.unit.attribution.flows.ledger import DAYS, NOVEMBER, Content, Ledger, charges_of

SAME = Content((0, 0, 0))


def test_a_day_without_bill_is_estimated_from_usage() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)

    outcome = ledger.allocate(DAYS[0])

    assert (outcome.basis, outcome.flipped) == (Basis.ESTIMATED, (DAYS[0],))
    assert ledger.days.current[DAYS[0]].totals == {"USD": Costs.uniform(Decimal("0.0033"))}


def test_no_day_of_a_delivery_is_visible_before_its_last_day_is_written() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    ledger.allocate(DAYS[0])
    ledger.ingest(ledger.write_delivery(2, SAME))

    first, second = ledger.allocate(DAYS[0]), ledger.allocate(DAYS[2])

    assert first.flipped == second.flipped == ()
    assert {day: p.basis for day, p in ledger.days.current.items()} == {DAYS[0]: Basis.ESTIMATED}
    assert ledger.allocate(DAYS[1]).flipped == DAYS
    assert ledger.days.flips[-1] == DAYS
    assert {p.basis for p in ledger.days.current.values()} == {Basis.BILLED}


@pytest.mark.parametrize("crash_after", range(12))
def test_an_attempt_that_ends_anywhere_leaves_all_days_or_none_and_the_next_makes_it_good(crash_after: int) -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, SAME))
    for day in DAYS[:2]:
        ledger.allocate(day)
    ledger.crashes.after_points = crash_after
    try:
        ledger.allocate(DAYS[2])
    except Crash:
        assert set(ledger.days.current) in (set(), set(DAYS))
    ledger.crashes.after_points = None

    ledger.allocate(DAYS[2])

    assert set(ledger.days.current) == set(DAYS)
    assert ledger.record_of(2).outcome is DeliveryOutcome.PUBLISHED
    assert DAYS[2] in ledger.announcements.changed


def test_a_pending_delivery_that_a_newer_one_overtakes_never_becomes_visible() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, Content((1, 1, 1))))
    for day in DAYS[:2]:
        ledger.allocate(day)
    ledger.ingest(ledger.write_delivery(3, Content((2, 2, 2))))

    ledger.allocate(DAYS[2])

    assert ledger.days.current == {}
    for day in DAYS[:2]:
        ledger.allocate(day)
    assert [p.totals["USD"].billed_cost for p in ledger.days.current.values()] == [Decimal(f"{day.day}.02") for day in DAYS]
    assert ledger.record_of(2).outcome is DeliveryOutcome.SUPERSEDED


def test_an_attempt_for_a_delivery_that_was_overtaken_meanwhile_loses_and_publishes_nothing() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, Content((1, 1, 1))))
    for day in DAYS[:2]:
        ledger.allocate(day)
    newer = ledger.write_delivery(3, Content((2, 2, 2)))
    known_before = ledger.deliveries.of_period

    def overtaken(period: object) -> object:
        found = known_before(NOVEMBER)
        ledger.deliveries.of_period = known_before  # type: ignore[method-assign]
        ledger.ingest(newer)
        return found

    ledger.deliveries.of_period = overtaken  # type: ignore[method-assign, assignment]

    with pytest.raises(LedgerConflict, match="went on"):
        ledger.allocate(DAYS[2])

    assert ledger.days.current == {}
    assert {day for day, _ in ledger.days.expired} == {DAYS[2]}


def test_an_older_delivery_that_still_waits_leaves_a_newer_published_one_alone() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, Content((1, 1, 1))))
    waiting = ledger.record_of(2)
    ledger.settle(ledger.write_delivery(3, Content((2, 2, 2))))
    ledger.deliveries.records[NOVEMBER, "cur", "execution-2"] = waiting
    before = dict(ledger.days.current)

    for day in DAYS:
        assert ledger.allocate(day).flipped == ()

    assert ledger.days.current == before


def test_usage_that_arrives_after_the_bill_moves_owners_and_not_the_total() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    before = ledger.days.current[DAYS[0]]
    ledger.use(DAYS[0], "search", 400)

    outcome = ledger.allocate(DAYS[0])

    after = ledger.days.current[DAYS[0]]
    assert (outcome.basis, outcome.flipped) == (Basis.BILLED, (DAYS[0],))
    assert (after.totals, after.sequence) == (before.totals, before.sequence)
    owners = {value: s.costs.billed_cost for (value, _), s in ledger.days.sums([after], "team")[DAYS[0]].items()}
    assert owners == {"search": Decimal("1.20"), "(unallocated)": Decimal("1.80")}


def test_the_same_message_again_writes_no_version_and_says_the_day_again() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    ledger.allocate(DAYS[0])
    versions, flips = dict(ledger.days.versions), list(ledger.days.flips)
    ledger.announcements.changed.clear()

    again = ledger.allocate(DAYS[0])

    assert again.flipped == ()
    assert (ledger.days.versions, ledger.days.flips) == (versions, flips)
    assert ledger.announcements.changed == {DAYS[0]}


def test_a_version_that_was_replaced_expires_and_the_current_one_does_not() -> None:
    ledger = Ledger()
    for _ in range(2):
        ledger.use(DAYS[0], "search", 1000)
        ledger.allocate(DAYS[0])
    (old, new) = (version for _, version in ledger.days.versions)

    assert ledger.days.expired == {(DAYS[0], old)}
    assert ledger.days.current[DAYS[0]].version == new


def test_a_day_that_changes_back_finds_its_earlier_version_alive_again() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    first = ledger.allocate(DAYS[0])
    ledger.policy.defined_rules = Rules.of([by_evidence("team", ("squad",))])
    ledger.allocate(DAYS[0])
    ledger.policy.defined_rules = BY_TEAM

    again = ledger.allocate(DAYS[0])

    assert again.version == first.version == ledger.days.current[DAYS[0]].version
    assert (DAYS[0], again.version) not in ledger.days.expired


def unused(ledger: Ledger) -> set[tuple[date, str]]:
    """Versions that are neither current nor expire."""
    current = {(day, pointer.version) for day, pointer in ledger.days.current.items()}
    return set(ledger.days.versions) - ledger.days.expired - current


def test_versions_that_were_staged_for_a_delivery_that_was_overtaken_expire() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, Content((1, 1, 1))))
    for day in DAYS[:2]:
        ledger.allocate(day)
    ledger.settle(ledger.write_delivery(3, Content((2, 1, 1))))

    assert ledger.record_of(2).staged == {}
    assert {day for day, _ in ledger.days.expired} == {DAYS[0]}
    assert unused(ledger) == set()


def test_a_version_that_was_staged_before_more_usage_came_expires() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(2, SAME))
    ledger.allocate(DAYS[0])
    ledger.use(DAYS[0], "search", 400)

    ledger.drain([])

    assert set(ledger.days.current) == set(DAYS)
    assert len(ledger.days.expired) == 1
    assert unused(ledger) == set()


def test_a_billed_day_is_never_estimated_again() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    waiting = replace(ledger.record_of(2), outcome=DeliveryOutcome.INGESTED, changed_days=(), staged={})
    ledger.deliveries.records[NOVEMBER, "cur", "execution-2"] = waiting

    with pytest.raises(LedgerConflict, match="never becomes an estimate"):
        ledger.allocate(DAYS[0])

    assert ledger.days.current[DAYS[0]].basis is Basis.BILLED


def test_origin_charges_that_are_not_what_the_delivery_recorded_are_not_published() -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(0, SAME))
    day = ledger.record_of(0).day(DAYS[0])
    assert day is not None
    ledger.origin_charges.damage(DAYS[0], day.origin, charges_of(DAYS[0], 1))

    with pytest.raises(ConservationViolated, match="do not sum to what the delivery recorded"):
        ledger.allocate(DAYS[0])

    assert ledger.days.current == {}


def test_a_billed_day_that_its_delivery_lacks_is_refused_with_the_remedy() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    record = ledger.record_of(2)
    ledger.deliveries.records[NOVEMBER, "cur", "execution-2"] = replace(
        record, report=replace(record.report, days=record.report.days[1:])
    )

    with pytest.raises(ConservationViolated, match="replay that delivery"):
        ledger.allocate(DAYS[0])


# How much of the last billed days has an owner.

TODAY = date(2026, 11, 3)


def with_days(*days: tuple[int, str, str], basis: Basis = Basis.BILLED, currency: str = "USD") -> FakeLedgerDays:
    """Days so long before today, each with what has an owner and what has none."""
    ledger = FakeLedgerDays(FakeDeliveries(), FakeClock())
    for back, owned, nobodys in days:
        day = TODAY - timedelta(days=back)
        charges = [
            origin_charge(usage_date=day, costs=Costs.uniform(Decimal(amount)), tags=tags, currency=currency)
            for amount, tags in ((owned, (("iamPrincipal/team", "search"),)), (nobodys, ()))
        ]
        version = make_day_version(day, basis, allocate_day(charges, (), BY_TEAM), BY_TEAM, origin="", usage=str(back))
        ledger.flip([ledger.stage(version, "")], replacing=ledger.current)
    return ledger


def rate_of(ledger: FakeLedgerDays, rules: Rules = BY_TEAM) -> Decimal | None:
    return recent_capture_rate(days=ledger, policy=FakePolicy(rules), today=TODAY)


def test_the_capture_rate_is_of_all_days_together_so_that_a_cheap_day_decides_nothing() -> None:
    assert rate_of(with_days((2, "98", "2"), (1, "0", "0.5"))) == Decimal("0.975124")


def test_only_the_last_billed_week_counts_also_over_the_turn_of_a_month() -> None:
    days = [(back, "9", "1") for back in range(2, 2 + RECENT_DAYS)]

    assert rate_of(with_days((40, "0", "1000"), (20, "0", "1000"), *days)) == Decimal("0.9")


def test_estimates_have_no_capture_rate() -> None:
    assert rate_of(with_days((1, "1", "1"), basis=Basis.ESTIMATED)) is None


def test_of_several_currencies_the_lowest_rate_counts() -> None:
    both = with_days((2, "9", "1"))
    for pointer in with_days((3, "1", "1"), currency="CNY").current.values():
        other = with_days((3, "1", "1"), currency="CNY").versions[pointer.usage_date, pointer.version]
        both.flip([both.stage(other, "")], replacing=both.current)

    assert rate_of(both) == Decimal("0.5")


def test_days_from_before_the_cost_category_was_defined_are_left_out() -> None:
    assert rate_of(with_days((2, "9", "1")), Rules.of([by_evidence("tenant", ["tenant"])])) is None
