"""Exact amounts: Decimal arithmetic that raises rather than rounds, and a split that hands out every last unit.

Amounts are kept at no more than `SCALE` decimal places, the scale at which cost reports are read
(docs/decisions/0003-decimal-scale.md). With 38 significant digits, DynamoDB's limit, that leaves 20 digits before the point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from attribution.errors import CurrencyMismatch, InvalidAmount

SCALE = 18
QUANTUM = Decimal(1).scaleb(-SCALE)
ZERO = Decimal(0)

# Python's default context keeps 28 digits and rounds silently; this one keeps more than a product of two stored
# amounts can have and refuses to round.
EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_FLOOR = Context(prec=100, rounding=ROUND_DOWN, traps=[InvalidOperation, DivisionByZero, Overflow])


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
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def split(amount: Decimal, weights: Sequence[Decimal], quantum: Decimal | None = None) -> list[Decimal]:
    """Shares of `amount` in proportion to `weights`, at `SCALE` decimal places, that sum to it exactly.

    Each share is first rounded towards zero; what is left over goes out one quantum at a time to the shares that lost
    most by rounding (the largest remainder method), so that every share is less than one quantum from its exact value and
    equal inputs give equal shares whatever their order elsewhere. An amount with more decimal places than `SCALE` is
    split at its own. `quantum` is another smallest unit, such as 1 for what is counted.
    """
    if not weights:
        raise InvalidAmount(f"cannot split {amount} over no weights")
    if any(weight < 0 for weight in weights):
        raise InvalidAmount(f"cannot split {amount} by a negative weight")
    weight_total = total(weights)
    if weight_total == 0:
        raise InvalidAmount(f"cannot split {amount} by weights that are all zero")
    quantum = quantum or _quantum_of(amount)
    shares, losses = [], []
    for weight in weights:
        share = _FLOOR.quantize(_FLOOR.divide(_FLOOR.multiply(amount, weight), weight_total), quantum)
        shares.append(share)
        exact_numerator = EXACT.subtract(EXACT.multiply(amount, weight), EXACT.multiply(share, weight_total))
        losses.append(exact_numerator.copy_abs())
    rest = EXACT.subtract(amount, total(shares))
    step = quantum if rest >= 0 else quantum.copy_negate()
    by_loss = sorted(range(len(weights)), key=lambda i: (losses[i].copy_negate(), weights[i].copy_negate(), i))
    for index in by_loss:
        if not rest:
            break
        shares[index] = EXACT.add(shares[index], step)
        rest = EXACT.subtract(rest, step)
    return shares


def _quantum_of(amount: Decimal) -> Decimal:
    """The unit that an amount is a whole number of: `QUANTUM`, or its own last decimal place where that is finer."""
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int):
        raise InvalidAmount(f"cannot split {amount}: an amount must be finite")
    return QUANTUM if _FLOOR.quantize(amount, QUANTUM) == amount else Decimal((0, (1,), exponent))


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
