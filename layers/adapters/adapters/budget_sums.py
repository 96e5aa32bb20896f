"""What budgets count of versions of days, kept in the ledger table: `SPEND#<date>` / `<version>`.

A version of a day never changes, and neither does what a scope counts of it, so an item is right for as long as it exists. It
may expire at any time: whoever misses it reads the day's charges again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from adapters.codec import compress, decompress_lines, lines
from adapters.dynamodb import Table
from attribution.canonical import number_text
from attribution.days import DayPointer

# An estimate is replaced within minutes of new usage; a bill is looked back at for a year.
_ESTIMATE_TTL = timedelta(days=3)
_BILL_TTL = timedelta(days=400)


class DynamoBudgetSums:
    """`BudgetSums` in the ledger table: one small item per version of a day, whatever number of values dimensions have."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock

    def read(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[str, Decimal]]:
        """The sums that are kept of some versions, by day and digest; days without any are not in it."""
        found = self._table.batch_get([_key(p) for p in pointers])
        return {
            date.fromisoformat(item["usage_date"]): {
                digest: Decimal(amount) for digest, amount in next(decompress_lines(bytes(item["sums"]))).items()
            }
            for item in found
        }

    def keep(self, pointer: DayPointer, sums: Mapping[str, Decimal]) -> None:
        """Keep sums of a version in place of those kept before."""
        lifetime = _BILL_TTL if pointer.is_billed else _ESTIMATE_TTL
        plain = {digest: number_text(amount) for digest, amount in sorted(sums.items())}
        item = {
            "usage_date": pointer.usage_date.isoformat(),
            "sums": compress(lines([plain])),
            "expires_at": Decimal(int((self._clock() + lifetime).timestamp())),
        }
        self._table.batch_put([_key(pointer) | item])


def _key(pointer: DayPointer) -> dict[str, str]:
    return {"pk": f"SPEND#{pointer.usage_date.isoformat()}", "sk": pointer.version}
