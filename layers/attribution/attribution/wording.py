"""Amounts, differences and moments in plain words, as messages in Slack and mails have them. No markup."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal

from attribution import formats
from attribution.money import EXACT, ZERO, subtract

# Python's own context keeps 28 digits.
_WIDE = Context(prec=100)
_BARS = "▁▂▃▄▅▆▇█"


def money(amount: Decimal, unit: str) -> str:
    """An amount for a person: money (an ISO 4217 code) as reports print it; usage whole."""
    if len(unit) == 3 and unit.isupper():
        return formats.money(amount, unit)
    return f"{amount.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=_WIDE):,} {unit}"


def change(amount: Decimal, unit: str) -> str:
    """A difference with its sign: `+$610.00`, `-$3.10`, `±$0.00`."""
    if not formats.rounded(amount):
        return f"±{money(ZERO, unit)}"
    return money(amount, unit) if amount < 0 else f"+{money(amount, unit)}"


def percent_change(now: Decimal, before: Decimal) -> str:
    """A relative difference in whole percent: `+41 %`; `new` where there was nothing before."""
    if before <= 0:
        return "new" if now > 0 else ""
    ratio = _WIDE.divide(_WIDE.multiply(subtract(now, before), Decimal(100)), before)
    whole = ratio.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=_WIDE)
    return f"{whole:+,} %" if whole else "±0 %"


def percent_of(part: Decimal, whole: Decimal) -> int:
    """A part as a whole percentage, rounded down: 79.9 % is not yet 80 %."""
    return int(EXACT.divide_int(EXACT.multiply(part, Decimal(100)), whole)) if whole else 0


def sparkline(amounts: Sequence[Decimal]) -> str:
    """A line of bars, one an amount, from zero to the largest; what is below zero is as low as zero. Empty without amounts."""
    top = max(amounts, default=ZERO)
    if top <= 0:
        return _BARS[0] * len(amounts)
    steps = len(_BARS) - 1

    def bar(amount: Decimal) -> str:
        share = _WIDE.divide(_WIDE.multiply(max(amount, ZERO), Decimal(steps)), top)
        return _BARS[int(share.to_integral_value(rounding=ROUND_HALF_UP, context=_WIDE))]

    return "".join(map(bar, amounts))


def moment(at: datetime) -> str:
    """A time of the last months: `23 Nov 14:05 UTC`."""
    return f"{at.day} {at:%b %H:%M} UTC"


def shortened(text: str, limit: int) -> str:
    """Text of at most `limit` characters; what is cut ends in an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
