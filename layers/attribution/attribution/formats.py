"""Values as text for people and CSV. Amounts stay Decimal until here, and printed rows add up to the printed total."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Context, Decimal

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
    """Two columns of which the first and the sum of both have their rounded total; the second has the difference.

    Because both totals are rounded in the same direction, that difference is the second total rounded down or up.
    """
    left_goal = rounded(total(left))
    right_goal = subtract(rounded(total((*left, *right))), left_goal)
    return apportion(left, left_goal), apportion(right, right_goal)


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


def instant(moment: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def counted(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
