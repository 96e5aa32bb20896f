"""Prices: an estimate until the bill arrives. No price is ever assumed: a meter that is not listed is `unpriced`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.canonical import number_text
from attribution.meters import Meter, TokenKind
from attribution.money import EXACT
from attribution.usage import PricedKind


@dataclass(frozen=True, slots=True)
class Price:
    """The public price of `per` units of a meter in one Region, from a date on, with where it was found."""

    meter: Meter
    region: str
    amount: Decimal
    per: int
    effective_from: date
    source: str
    currency: str = "USD"

    def cost_of(self, units: int) -> Decimal:
        """The exact cost of a number of units."""
        # `per` is a power of ten, so that dividing is exact.
        return EXACT.divide(EXACT.multiply(self.amount, Decimal(units)), Decimal(self.per))

    def __str__(self) -> str:
        return f"{number_text(self.amount)} {self.currency} per {self.per}"


class PriceList:
    """Prices by meter and Region; the one in force on a day is the latest that began on or before it."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._prices: dict[tuple[Meter, str], list[Price]] = defaultdict(list)
        for price in prices:
            self._prices[price.meter, price.region].append(price)
        for listed in self._prices.values():
            listed.sort(key=lambda p: p.effective_from)

    def find(self, meter: Meter, region: str, on: date) -> Price | None:
        """The price in force, or None: never another Region's, tier's or model's."""
        in_force = [p for p in self._prices.get((meter, region), ()) if p.effective_from <= on]
        return in_force[-1] if in_force else None

    def in_force(self, on: date) -> Iterator[Price]:
        """Every price in force on a day."""
        for (meter, region), _ in sorted(self._prices.items()):
            price = self.find(meter, region, on)
            if price is not None:
                yield price

    def __len__(self) -> int:
        return sum(len(listed) for listed in self._prices.values())


def price_units(
    units: Mapping[TokenKind, int], prices: PriceList, *, region: str, on: date, meter_of: Meter
) -> tuple[dict[TokenKind, PricedKind], str]:
    """Each token kind with its cost where a price is known, and the sources of the prices used, joined by `; `."""
    priced: dict[TokenKind, PricedKind] = {}
    sources: list[str] = []
    for kind, count in units.items():
        price = prices.find(Meter(meter_of.model, kind, meter_of.tier, meter_of.routing), region, on)
        if price is None:
            priced[kind] = PricedKind(count, None)
            continue
        priced[kind] = PricedKind(count, price.cost_of(count), str(price))
        if price.source not in sources:
            sources.append(price.source)
    return priced, "; ".join(sorted(sources))
