"""What the functions keep as they read, for a command that writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from attribution.days import DayPointer
from attribution.ports import BudgetSums


class ReadOnlySums:
    """Sums that are kept are read; what is missing is summed and forgotten, because a report writes nothing."""

    def __init__(self, sums: BudgetSums) -> None:
        self._sums = sums

    def read(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[str, Decimal]]:
        """The sums that are kept."""
        return self._sums.read(pointers)

    def keep(self, pointer: DayPointer, sums: Mapping[str, Decimal]) -> None:
        """Not kept."""
