"""Spend of a span of days: read once, and never one number of two currencies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from attribution.charges import Basis
from attribution.days import DayPointer
from attribution.periods import BillingPeriod, Span
from attribution.spending import read_spending
from tests.fakes import FakeClock, FakeDeliveries, FakeLedgerDays
from tests.support.budgets import World


class CountingDays(FakeLedgerDays):
    """Counts the reads of pointers."""

    def __init__(self) -> None:
        super().__init__(FakeDeliveries(), FakeClock())
        self.read: list[BillingPeriod] = []

    def pointers(self, period: BillingPeriod) -> Mapping[date, DayPointer]:
        self.read.append(period)
        return super().pointers(period)


def test_the_pointers_of_each_month_of_a_span_are_read_once() -> None:
    days = CountingDays()

    read_spending(days, "team", Span(date(2026, 10, 20), date(2026, 11, 10)), lambda value: True)

    assert days.read == [BillingPeriod(2026, 10), BillingPeriod(2026, 11)]


def test_what_is_billed_and_what_is_estimated_are_summed_apart() -> None:
    world = World([])
    world.spend(date(2026, 11, 1), "0.1", basis=Basis.BILLED)
    world.spend(date(2026, 11, 2), "0.2", basis=Basis.ESTIMATED)

    (search,) = read_spending(world.days, "team", Span(date(2026, 11, 1), date(2026, 11, 2)), lambda value: True).spendings

    assert (search.billed, search.estimated, search.actual) == (Decimal("0.1"), Decimal("0.2"), Decimal("0.3"))
