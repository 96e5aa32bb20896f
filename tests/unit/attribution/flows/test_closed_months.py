"""A month that is closed changes by adjustments alone: whatever is delivered later, they account for every amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.charges import Basis, Costs, OriginCharge, sum_costs
from attribution.cost_categories import by_evidence
from attribution.rules import Rules
from tests.unit.attribution.examples import origin_charge
from tests.unit.attribution.flows.ledger import DAYS, Ledger, Message
from tests.unit.attribution.strategies import origin_charges

OVER = datetime(2026, 12, 1, tzinfo=UTC)
CURRENCIES = ("USD", "EUR")

Bills = Mapping[date, Sequence[OriginCharge]]

accounts = st.sampled_from(["111122223333", "444455556666"])
charges = st.builds(lambda charge, account: replace(charge, account_id=account), origin_charges, accounts)
bills = st.lists(charges, max_size=3, unique_by=lambda charge: charge.digest())
# The first has a charge, else no invoice was issued.
deliveries = st.lists(st.tuples(*[bills] * len(DAYS)), min_size=2, max_size=4).filter(lambda delivered: any(delivered[0]))
crashes = st.lists(st.none() | st.integers(0, 16), max_size=12)


def dated(of_days: Sequence[Sequence[OriginCharge]], *, is_final: bool) -> Bills:
    return {
        day: [replace(charge, usage_date=day, is_final=is_final) for charge in bill]
        for day, bill in zip(DAYS, of_days, strict=True)
    }


def billed(ledger: Ledger, currency: str) -> Costs:
    """What readers see of the month's bill."""
    return sum_costs(p.totals[currency] for p in ledger.days.current.values() if p.is_billed and currency in p.totals)


def assert_accounted_for(ledger: Ledger, at_closing: Mapping[str, Costs]) -> None:
    """What was billed when the month was closed, and its adjustments one by one, are what is billed now; so are their parts."""
    for currency in CURRENCIES:
        now = at_closing[currency]
        for adjustment in ledger.days.adjustments:
            if currency not in adjustment.totals:
                continue
            change = adjustment.totals[currency]
            assert change.before == now
            now = change.after
            for parts in (adjustment.by_line_item_type, adjustment.by_account):
                assert sum_costs(costs for (_, of), costs in parts.items() if of == currency) == change.difference
            by_day = (changes[currency] for changes in adjustment.days.values() if currency in changes)
            assert sum_costs(day.difference for day in by_day) == change.difference
        assert now == billed(ledger, currency)


@given(deliveries, st.booleans(), crashes)
def test_the_bill_at_closing_and_all_adjustments_are_the_bill_of_now_at_every_moment(
    delivered: list[Sequence[Sequence[OriginCharge]]], is_final: bool, crash_points: list[int | None]
) -> None:
    ledger = Ledger()
    # Invoiced soon after its end; or never, and two weeks old.
    closing = OVER + timedelta(days=5 if is_final else 13)
    for number, of_days in enumerate(delivered):
        source = ledger.write_charges(number, closing + timedelta(days=2 * number), dated(of_days, is_final=is_final))
        if number == 0:
            ledger.settle(source)
            at_closing = {currency: billed(ledger, currency) for currency in CURRENCIES}
            continue
        waiting: list[Message] = [source]
        while waiting:
            ledger.crashes.after_points = crash_points.pop() if crash_points else None
            if not ledger.attempt(waiting[0]):
                waiting.append(waiting[0])
            waiting = [*waiting[1:], *ledger.queue.days]
            ledger.queue.days.clear()
            assert_accounted_for(ledger, at_closing)

    assert len({(a.sequence, min(a.days)) for a in ledger.days.adjustments}) == len(ledger.days.adjustments)


def bill(*costs: tuple[str, str], is_final: bool = True) -> Bills:
    """The first day by line item type and amount, the others with usage of 1 USD each."""
    first = [origin_charge(line_item_type=kind, costs=Costs.uniform(Decimal(cost))) for kind, cost in costs]
    usage = [origin_charge(costs=Costs.uniform(Decimal(1)))]
    return dated([first, usage, usage], is_final=is_final)


USAGE = bill(("Usage", "3.30"))
REFUNDED = bill(("Usage", "3.30"), ("Refund", "-12.40"))


def closed() -> Ledger:
    """A month whose invoice is issued."""
    ledger = Ledger()
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=5), USAGE))
    assert {p.basis for p in ledger.days.current.values()} == {Basis.FINAL}
    assert ledger.days.adjustments == []
    return ledger


def test_a_late_refund_is_an_adjustment_that_the_flow_tells_of() -> None:
    ledger = closed()
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))

    outcome = ledger.allocate(DAYS[0])

    assert outcome.adjustment is not None
    assert ledger.days.adjustments == [outcome.adjustment]
    assert outcome.adjustment.execution_id == "execution-1"
    assert outcome.adjustment.by_line_item_type == {("Refund", "USD"): Costs.uniform(Decimal("-12.40"))}
    assert ledger.allocate(DAYS[0]).adjustment is None


@pytest.mark.parametrize("crash_after", range(14))
def test_an_attempt_that_ends_anywhere_leaves_the_new_bill_with_its_adjustment_or_neither(crash_after: int) -> None:
    ledger = closed()
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))
    ledger.crashes.after_points = crash_after

    ledger.attempt(DAYS[0])

    is_new = ledger.days.current[DAYS[0]].totals["USD"].billed_cost == Decimal("-9.10")
    assert len(ledger.days.adjustments) == is_new
    ledger.drain([DAYS[0]])
    assert len(ledger.days.adjustments) == 1


def test_other_rules_and_other_usage_move_owners_of_a_closed_month_and_adjust_nothing() -> None:
    ledger = closed()
    ledger.policy.defined_rules = Rules.of([by_evidence("team", ("squad",))])
    ledger.use(DAYS[0], "search", 400)

    assert ledger.allocate(DAYS[0]).flipped == (DAYS[0],)

    assert ledger.days.adjustments == []


def test_the_delivery_that_brings_the_invoice_ids_closes_the_month_and_adjusts_nothing() -> None:
    ledger = Ledger()
    ledger.settle(
        ledger.write_charges(0, OVER + timedelta(days=1), bill(("Usage", "3.30"), is_final=False)),
        ledger.write_charges(1, OVER + timedelta(days=5), REFUNDED),
    )

    assert ledger.days.current[DAYS[0]].basis is Basis.FINAL
    assert ledger.days.adjustments == []


def test_the_first_bill_of_a_day_is_no_adjustment_however_late_it_comes() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    ledger.drain([])
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=60), REFUNDED))

    assert {p.basis for p in ledger.days.current.values()} == {Basis.FINAL}
    assert ledger.days.adjustments == []


def test_a_closed_day_that_is_billed_by_itself_is_adjusted_too() -> None:
    """Its delivery came when a higher `BillingLagHours` left the day out; more usage has it allocated from that delivery."""
    ledger = Ledger()
    last = date(2026, 11, 30)
    bills: list[Bills] = [{last: [replace(c, usage_date=last) for c in of[DAYS[0]]]} for of in (USAGE, REFUNDED)]
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=2), bills[0]))
    ledger.billing_lag = timedelta(days=7)
    ledger.settle(ledger.write_charges(1, OVER + timedelta(days=5), bills[1]))
    assert ledger.days.adjustments == []

    ledger.use(last, "search", 400)
    ledger.drain([])

    (adjustment,) = ledger.days.adjustments
    assert set(adjustment.days) == {last}
    assert adjustment.totals["USD"].difference == Costs.uniform(Decimal("-12.40"))
