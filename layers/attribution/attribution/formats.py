"""Values as text for people and CSV. Amounts stay Decimal until here, and printed rows add up to the printed total."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from attribution.money import add, subtract, total

CENT = Decimal("0.01")
_HALF_CENT = Decimal("0.005")
_TENTH = Decimal("0.1")
_HUNDRED = Decimal(100)
# Wide enough for any stored amount; the exact context of the core would refuse to round.
_WIDE = Context(prec=100)
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}
# Control, format (bidirectional overrides, zero width), surrogate and line separators: none may reach a terminal.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_PRINCIPAL = re.compile(r"arn:[^:]+:(?:sts|iam)::(?P<account>\d{12}):(?:assumed-role/|role/)?(?P<name>.+)")
_FORMULA = ("=", "+", "-", "@")


def clean(text: object) -> str:
    """Text from outside without anything that moves the cursor, reorders or hides text."""
    return "".join(
        (" " if character in "\t\r\n" else "") if unicodedata.category(character) in _HIDDEN else character
        for character in str(text)
    )


def csv_text(text: object) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    cell = clean(text)
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell


def rounded(amount: Decimal) -> Decimal:
    """The nearest cent; from the middle, the upper one."""
    return add(amount, _HALF_CENT).quantize(CENT, ROUND_FLOOR, context=_WIDE)


def apportion(amounts: Sequence[Decimal], goal: Decimal, step: Decimal = CENT) -> list[Decimal]:
    """Each amount rounded down or up to `step`, so that all sum to `goal`, their rounded total: largest remainders go up."""
    shares = [amount.quantize(step, ROUND_FLOOR, context=_WIDE) for amount in amounts]
    steps_left = int(subtract(goal, total(shares)) / step)
    by_remainder = sorted(range(len(amounts)), key=lambda i: (subtract(shares[i], amounts[i]), i))
    for index in by_remainder[:steps_left]:
        shares[index] = add(shares[index], step)
    return shares


def cents_adding_up(amounts: Sequence[Decimal]) -> list[Decimal]:
    """Amounts as they are printed above their total."""
    return apportion(amounts, rounded(total(amounts)))


def two_columns_adding_up(left: Sequence[Decimal], right: Sequence[Decimal]) -> tuple[list[Decimal], list[Decimal]]:
    """Two columns in cents that add up across and down, to rounded totals of the first and of both.

    Every cell, every sum across and every total is its exact amount rounded down or up to the cent, so that what is whole
    cents never moves. Such a rounding always exists: what a row can take is bounded in its left part, in its right one and in
    their sum, these bounds are whole numbers, and those of several rows add up. The rows that one rounding suits far better
    than any other choose first; what is left for the totals falls to those that can go either way.
    """
    rows = [_Row.of(*pair) for pair in zip(left, right, strict=True)]
    goal = rounded(total(left))
    open_left = _cents(subtract(goal, total(row.left for row in rows)))
    open_both = _cents(subtract(rounded(total((*left, *right))), total(part for row in rows for part in (row.left, row.right))))
    rest = [sum(bounds) for bounds in zip(*(row.bounds() for row in rows), strict=True)]
    for row in sorted(rows, key=lambda row: row.decisiveness, reverse=True):
        rest = [bound - own for bound, own in zip(rest, row.bounds(), strict=True)]
        up_left, up_both = next(
            (x, x + y) for x, y in row.ways if _can_take(rest, open_left - x, open_both - x - y)
        )  # fmt: skip
        open_left, open_both = open_left - up_left, open_both - up_both
        row.raise_by(up_left, up_both - up_left)
    return [row.left for row in rows], [row.right for row in rows]


@dataclass(slots=True)
class _Row:
    """Two cells rounded down, and the ways to round either up, the nearest first: 1 is up."""

    left: Decimal
    right: Decimal
    ways: Sequence[tuple[int, int]]
    decisiveness: Decimal

    @classmethod
    def of(cls, left: Decimal, right: Decimal) -> _Row:
        floor_left, floor_right = (amount.quantize(CENT, ROUND_FLOOR, context=_WIDE) for amount in (left, right))
        # What is above the cents, in cents.
        x, y = _WIDE.scaleb(subtract(left, floor_left), 2), _WIDE.scaleb(subtract(right, floor_right), 2)
        both = add(x, y)
        costs = {
            (i, j): add(abs(subtract(x, Decimal(i))), abs(subtract(y, Decimal(j))))
            for i in (1, 0)
            for j in (1, 0)
            if i <= _ceiling(x) and j <= _ceiling(y) and int(both) <= i + j <= _ceiling(both)
        }
        ways = sorted(costs, key=costs.__getitem__)
        return cls(floor_left, floor_right, ways, subtract(costs[ways[1]], costs[ways[0]]) if ways[1:] else Decimal(2))

    def bounds(self) -> tuple[int, int, int, int]:
        """How many cents the left cell, the right one and both can take at most, and both at least."""
        sums = [x + y for x, y in self.ways]
        return max(x for x, _ in self.ways), max(y for _, y in self.ways), max(sums), min(sums)

    def raise_by(self, left: int, right: int) -> None:
        self.left, self.right = add(self.left, left * CENT), add(self.right, right * CENT)


def _can_take(bounds: Sequence[int], left: int, both: int) -> bool:
    """Whether rows can take so many cents in their left cells, and so many in all."""
    left_max, right_max, both_max, both_min = bounds
    return 0 <= left <= left_max and 0 <= both - left <= right_max and both_min <= both <= both_max


def _cents(amount: Decimal) -> int:
    return int(_WIDE.scaleb(amount, 2))


def _ceiling(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def percentages(amounts: Sequence[Decimal]) -> list[Decimal | None]:
    """Shares of the total in percent, with one decimal place, that sum to 100; None where there is no positive total."""
    whole = total(amounts)
    if whole <= 0:
        return [None] * len(amounts)
    exact = [_WIDE.divide(_WIDE.multiply(amount, _HUNDRED), whole) for amount in amounts]
    # Quotients are inexact in the hundredth digit; so that their sum is not, they are cut long before it.
    return list(apportion([share.quantize(Decimal("1e-30"), context=_WIDE) for share in exact], _HUNDRED, _TENTH))


def percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """`part` of `whole` in percent, rounded down to one decimal place: 99.97 % is not yet all."""
    if whole <= 0:
        return None
    return _WIDE.divide(_WIDE.multiply(part, _HUNDRED), whole).quantize(_TENTH, ROUND_FLOOR, context=_WIDE)


def percent_text(value: Decimal | None, *, is_something: bool = False) -> str:
    """A percentage for people; a dash where there is none. A share that is printed as zero but is not zero says so."""
    if value is None:
        return "–"
    return "<0.1 %" if is_something and value == 0 else f"{value} %"


def money(amount: Decimal, currency: str, shown: Decimal | None = None) -> str:
    """An amount with two decimal places. An amount that is printed as zero but is not zero says so: `<$0.01`.

    `shown` is the amount as it was rounded together with its neighbours.
    """
    symbol = _SYMBOLS.get(currency, f"{clean(currency)} ")
    printed = rounded(amount) if shown is None else shown
    if printed == 0 and amount != 0:
        return f"<{symbol}0.01" if amount > 0 else f">-{symbol}0.01"
    return f"{'-' if printed < 0 else ''}{symbol}{abs(printed):,.2f}"


def number(value: Decimal | int | None) -> str:
    """A count with thousands separators; a dash where it is not known."""
    if value is None:
        return "–"
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def principal(arn: str) -> str:
    """A caller for people: `111122223333 role/session` of `arn:aws:sts::111122223333:assumed-role/role/session`."""
    found = _PRINCIPAL.match(arn)
    return f"{found['account']} {found['name']}" if found else arn


def instant(moment: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def counted(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
