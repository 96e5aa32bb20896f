"""Exact amounts: Decimal arithmetic that raises rather than rounds, and a split that hands out every last unit.

Amounts are kept at no more than `SCALE` decimal places, the scale at which cost reports are read
(docs/decisions/0003-decimal-scale.md). With 38 significant digits, DynamoDB's limit, that leaves 20 digits before the point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext

from attribution.errors import CurrencyMismatch, InvalidAmount

SCALE = 18
QUANTUM = Decimal(1).scaleb(-SCALE)
ZERO = Decimal(0)

# Python's default context keeps 28 digits and rounds silently; this one keeps more than a product of two stored
# amounts can have and refuses to round.
EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])


def add(left: Decimal, right: Decimal) -> Decimal:
    """The exact sum."""
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """The exact difference."""
    return EXACT.subtract(left, right)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """The exact product."""
    return EXACT.multiply(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum of any number of amounts; zero of none."""
    with localcontext(EXACT):
        return sum(amounts, ZERO)


class Weights:
    """What amounts are split by, brought to whole numbers once for all of them.

    Shares of weights with one number in `together` (0, 1, ...) are added up once an amount is split.
    """

    __slots__ = ("_parts", "_together", "_whole")

    def __init__(self, weights: Sequence[Decimal | int], together: Sequence[int] = ()) -> None:
        if not weights:
            raise InvalidAmount("cannot split an amount over no weights")
        if min(weights) < 0:
            raise InvalidAmount("cannot split an amount by a negative weight")
        self._parts = _whole_numbers(weights)
        self._whole = sum(self._parts)
        if self._whole == 0:
            raise InvalidAmount("cannot split an amount by weights that are all zero")
        self._together = together

    def split(self, amount: Decimal, quantum: Decimal = QUANTUM) -> list[Decimal]:
        """Shares of `amount` in proportion to the weights, as the function `split` has them."""
        places, count = _whole_number(amount, quantum)
        shares = self._apportion(count)
        if self._together:
            apart, shares = shares, [0] * (max(self._together) + 1)
            for place, share in zip(self._together, apart, strict=True):
                shares[place] += share
        if amount.is_signed():
            shares = [-share for share in shares]
        return [EXACT.scaleb(Decimal(share), -places) for share in shares]

    def _apportion(self, count: int) -> list[int]:
        # Whole numbers are exact without a context, and several times as fast.
        parts, whole = self._parts, self._whole
        shares, losses = [], []
        for part in parts:
            share, loss = divmod(count * part, whole)
            shares.append(share)
            losses.append(loss)
        rest = count - sum(shares)
        if rest:
            for index in sorted(range(len(parts)), key=lambda i: (-losses[i], -parts[i], i))[:rest]:
                shares[index] += 1
        return shares


def split(amount: Decimal, weights: Sequence[Decimal], quantum: Decimal = QUANTUM) -> list[Decimal]:
    """Shares of `amount` in proportion to `weights`, at `SCALE` decimal places, that sum to it exactly.

    Each share is first rounded towards zero; what is left over goes out one quantum at a time to the shares that lost
    most by rounding (the largest remainder method), so that every share is less than one quantum from its exact value and
    equal inputs give equal shares whatever their order elsewhere. An amount with more decimal places than that is split at
    its own. `quantum` is another smallest unit, a power of ten, such as 1 for what is counted.
    """
    return Weights(weights).split(amount, quantum)


def _whole_number(amount: Decimal, quantum: Decimal) -> tuple[int, int]:
    """An amount without its sign as a whole number, and of how many decimal places: `quantum`'s, or its own if it has more."""
    if not amount.is_finite():
        raise InvalidAmount(f"cannot split {amount}: an amount must be finite")
    places = SCALE if quantum is QUANTUM else -_exponent(quantum)
    scaled = EXACT.scaleb(amount.copy_abs(), places)
    count = int(scaled)
    if count == scaled:
        return places, count
    places = -_exponent(amount)
    return places, int(EXACT.scaleb(amount.copy_abs(), places))


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _whole_numbers(weights: Sequence[Decimal | int]) -> list[int]:
    """Whole numbers that stand to each other as weights do."""
    counts = list(map(int, weights))
    # Counts of tokens are what usage is split by.
    if counts == [*weights]:
        return counts
    exact = [*map(Decimal, weights)]
    places = -min(map(_exponent, exact))
    return [int(EXACT.scaleb(weight, places)) for weight in exact]


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in one currency (ISO 4217 code)."""

    amount: Decimal
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal) or not self.amount.is_finite():
            raise InvalidAmount(f"an amount must be a finite Decimal, not {self.amount!r}")

    def __add__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(add(self.amount, other.amount), self.currency)

    def __sub__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(subtract(self.amount, other.amount), self.currency)

    def _require_same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"cannot combine {other.currency} with {self.currency}: keep one total per currency")

    def __str__(self) -> str:
        return f"{self.amount:,.2f} {self.currency}"
