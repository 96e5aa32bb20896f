"""Prices: an estimate until the bill arrives. No price is ever assumed: a meter that is not listed is `unpriced`.

Prices come from three places, the strongest first: what the customer says they pay (`override`), AWS's public price list
(`list`), and a small dated copy of published prices that is part of this software (`snapshot`), for where no list was read yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from attribution.canonical import number_text
from attribution.meters import Meter, Tier, TokenKind
from attribution.money import EXACT, ZERO
from attribution.usage import PricedKind

# The Region of a price that is published as the same wherever the meter is offered.
ANY_REGION = "*"
# Regions of other partitions have price lists of their own.
_OTHER_PARTITIONS = ("us-gov-", "cn-", "us-iso", "eu-isoe-")


# Where a model has a price for a long context, it holds for the whole of a request with more input than this, cached or not.
_LONG_CONTEXT_ABOVE = 200_000
LONG_CONTEXT = {
    Tier.STANDARD: Tier.LONG_CONTEXT,
    Tier.FLEX: Tier.LONG_CONTEXT_FLEX,
    Tier.PRIORITY: Tier.LONG_CONTEXT_PRIORITY,
    Tier.BATCH: Tier.LONG_CONTEXT_BATCH,
}
"""The tier whose prices, if a model has any, hold for its requests with a long context."""
_INPUT_KINDS = (
    TokenKind.INPUT,
    TokenKind.CACHE_READ,
    TokenKind.CACHE_WRITE,
    TokenKind.CACHE_WRITE_30M,
    TokenKind.CACHE_WRITE_1H,
)


class PriceOrigin(StrEnum):
    """Who says so: the customer, AWS's price list, or the copy of published prices inside this software."""

    OVERRIDE = "override"
    LIST = "list"
    SNAPSHOT = "snapshot"


# Exact, and looked up once: it is done for every token kind of every request.
_multiply = EXACT.multiply
_STRENGTH = {PriceOrigin.SNAPSHOT: 0, PriceOrigin.LIST: 1, PriceOrigin.OVERRIDE: 2}


@dataclass(frozen=True, slots=True)
class Price:
    """The price of `per` units of a meter in one Region, from a date on, with where it was found.

    `per` is a power of ten. A snapshot's Region may be `ANY_REGION`.
    """

    meter: Meter
    region: str
    amount: Decimal
    per: int
    effective_from: date
    source: str
    currency: str = "USD"
    origin: PriceOrigin = PriceOrigin.LIST

    def cost_of(self, units: int) -> Decimal:
        """The exact cost of a number of units."""
        # `per` is a power of ten, so that dividing is exact.
        return EXACT.divide(EXACT.multiply(self.amount, Decimal(units)), Decimal(self.per))

    def is_same_amount(self, other: Price) -> bool:
        """Whether the other one costs the same, in whatever number of units it is written."""
        mine, theirs = EXACT.multiply(self.amount, Decimal(other.per)), EXACT.multiply(other.amount, Decimal(self.per))
        return self.currency == other.currency and mine == theirs

    def __str__(self) -> str:
        return f"{number_text(self.amount)} {self.currency} per {self.per}"


@dataclass(frozen=True, slots=True)
class PublishedOffer:
    """What one offer of AWS's price list says: its prices, and the usage types that no price could be read from."""

    code: str
    published_on: date
    prices: tuple[Price, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferReading:
    """When an offer was last read in full, and what was in it."""

    code: str
    read_at: datetime
    published_on: date
    prices: int
    left_out: int


class PriceList:
    """Prices by meter and Region. In force on a day is, of those that began by then, the latest of the strongest origin."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._prices: dict[tuple[Meter, str], list[Price]] = defaultdict(list)
        for price in prices:
            self._prices[price.meter, price.region].append(price)
        self._rates: dict[tuple[Meter, str, date], Rates] = {}
        for listed in self._prices.values():
            listed.sort(key=lambda p: (_STRENGTH[p.origin], p.effective_from))

    def find(self, meter: Meter, region: str, on: date) -> Price | None:
        """The price in force, or None: never another Region's, tier's or model's."""
        found = self._latest(meter, region, on)
        if found is None and not region.startswith(_OTHER_PARTITIONS):
            return self._latest(meter, ANY_REGION, on)
        return found

    def _latest(self, meter: Meter, region: str, on: date) -> Price | None:
        in_force = [p for p in self._prices.get((meter, region), ()) if p.effective_from <= on]
        return in_force[-1] if in_force else None

    def of(self, origin: PriceOrigin) -> PriceList:
        """The prices of one origin alone."""
        return PriceList(p for listed in self._prices.values() for p in listed if p.origin is origin)

    def rates(self, meter_of: Meter, region: str, on: date) -> Rates:
        """The prices in force for units of one model, tier and routing. One list prices many requests: this is made once."""
        place = (meter_of, region, on)
        found = self._rates.get(place)
        if found is None:
            found = self._rates[place] = Rates(self, *place)
        return found

    def in_force(self, on: date) -> Iterator[Price]:
        """Every price in force on a day; one for any Region stands under `ANY_REGION`."""
        for meter, region in sorted(self._prices):
            price = self._latest(meter, region, on)
            if price is not None:
                yield price

    def __len__(self) -> int:
        return sum(len(listed) for listed in self._prices.values())


class Rates:
    """The prices of a model in one tier, routing and Region on one day; each is looked up when it is first needed.

    `meter` says which: its token kind says nothing.
    """

    def __init__(self, prices: PriceList, meter_of: Meter, region: str, on: date) -> None:
        self.meter = meter_of
        self._prices, self._region, self._on = prices, region, on
        self._long_context = self._rates_of_long_context()
        self._known: dict[TokenKind, tuple[Decimal | None, str, str]] = {}

    def _rates_of_long_context(self) -> Rates | None:
        tier = LONG_CONTEXT.get(self.meter.tier)
        if tier is None:
            return None
        meter = Meter(self.meter.model, TokenKind.INPUT, tier, self.meter.routing)
        has_price = self._prices.find(meter, self._region, self._on) is not None
        return self._prices.rates(meter, self._region, self._on) if has_price else None

    def by_context(self, units: Mapping[TokenKind, int]) -> Rates:
        """The prices for a request with these units: others for a long context, where its model has any."""
        return self._long_context if self._long_context is not None and _is_long_context(units) else self

    def price(self, units: Mapping[TokenKind, int]) -> tuple[dict[TokenKind, PricedKind], str]:
        """Each token kind with its cost where a price is known, and the sources of the prices used, joined by `; `."""
        known = self._known
        kinds: dict[TokenKind, PricedKind] = {}
        sources: list[str] = []
        for kind, count in units.items():
            unit_cost, text, source = known.get(kind) or self._look_up(kind)
            kinds[kind] = PricedKind(count, None if unit_cost is None else _multiply(unit_cost, count), text)
            if source and source not in sources:
                sources.append(source)
        return kinds, sources[0] if len(sources) == 1 else "; ".join(sorted(sources))

    def _look_up(self, kind: TokenKind) -> tuple[Decimal | None, str, str]:
        """The cost of one unit, how its price is written, and where it comes from."""
        if self.meter.tier is Tier.PROVISIONED:
            # Capacity is paid by the hour, used or not; its hours come with the bill.
            rate: tuple[Decimal | None, str, str] = (ZERO, "none: provisioned throughput", "")
        else:
            price = self._prices.find(self.meter._replace(token_kind=kind), self._region, self._on)
            rate = (price.cost_of(1), str(price), price.source) if price else (None, "", "")
        self._known[kind] = rate
        return rate


def _is_long_context(units: Mapping[TokenKind, int]) -> bool:
    """Whether a request has so much input that prices for a long context hold, where its model has any."""
    # Few have so many units of any kind; the sum of all is made in no time.
    return sum(units.values()) > _LONG_CONTEXT_ABOVE and sum(units.get(kind, 0) for kind in _INPUT_KINDS) > _LONG_CONTEXT_ABOVE


def contradictions(prices: Iterable[Price]) -> tuple[list[Price], list[Price]]:
    """Prices that agree with all others for their meter, Region and date, each once, and those that contradict another.

    Two SKUs at different prices for what is one meter here mean that the meter is not understood: neither is its price.
    """
    by_place: dict[tuple[Meter, str, date], list[Price]] = defaultdict(list)
    for price in prices:
        by_place[price.meter, price.region, price.effective_from].append(price)
    agreed, contradicting = [], []
    for same in by_place.values():
        if all(price.is_same_amount(same[0]) for price in same):
            agreed.append(same[0])
        else:
            contradicting += same
    return agreed, contradicting


def changed_prices(known: Iterable[Price], read: Iterable[Price]) -> list[Price]:
    """The prices of `read` that say something else than `known` on the day they begin, so that each change is kept once.

    AWS dates every publication of its list anew; a price that is published again unchanged is no news.
    """
    by_place: dict[tuple[Meter, str], list[Price]] = defaultdict(list)
    for price in known:
        by_place[price.meter, price.region].append(price)
    changed = []
    for price in sorted(read, key=lambda p: p.effective_from):
        listed: Sequence[Price] = by_place[price.meter, price.region]
        before = [p for p in listed if p.effective_from <= price.effective_from]
        latest = max(before, key=lambda p: p.effective_from, default=None)
        if latest is not None and latest.is_same_amount(price):
            continue
        changed.append(price)
        replaced = [p for p in listed if p.effective_from != price.effective_from]
        by_place[price.meter, price.region] = [*replaced, price]
    return changed


def price_units(
    units: Mapping[TokenKind, int], prices: PriceList, *, region: str, on: date, meter_of: Meter
) -> tuple[dict[TokenKind, PricedKind], str]:
    """Each token kind with its cost where a price is known, and the sources of the prices used, joined by `; `."""
    return prices.rates(meter_of, region, on).price(units)
