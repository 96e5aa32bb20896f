"""Known prices in the ledger, and what the bill says about them.

PRICE#<model>          <region>#<routing>#<tier>#<token kind>#<effective from>            a list price
PRICE#<model>          <region>#<routing>#<tier>#<token kind>#<effective from>#override   a price that the customer states
PRICE#<model>          <region>#<routing>#<tier>#<token kind>#calibration                 what the bill paid of the list price
PRICES                 <model>                                                            which models have prices
DIRECTORY#price-list   <offer>                                                            when an offer was last read

The snapshot that is part of this software is in no table: it stands behind what the table holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from adapters.codec import costs_from_json, costs_to_json
from adapters.dynamodb import Item, Table, integer
from attribution.calibration import Calibration, Place, Pricing
from attribution.canonical import number_text
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import ANY_REGION, OfferReading, Price, PriceList, PriceOrigin, changed_prices

_MODELS = "PRICES"
_READINGS = "DIRECTORY#price-list"
_OVERRIDE, _CALIBRATION = "override", "calibration"
_SNAPSHOT = Path(__file__).with_name("price_snapshot.json")
# Prices change about monthly, and an override when somebody loads one: nobody should wait for hours to see it used.
_KEPT_FOR = timedelta(minutes=15)


class DynamoPrices:
    """`Prices`, `PriceStore`, `EstimatePrices` and `CalibrationStore` in the ledger table."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock
        self._loaded: dict[str, tuple[datetime, PriceList]] = {}

    def load(self, models: Iterable[str]) -> PriceList:
        """The prices of these models, as they were at most a quarter of an hour ago."""
        wanted = sorted(set(models))
        now = self._clock()
        if len(wanted) == 1 and wanted[0] in self._loaded:
            loaded_at, prices = self._loaded[wanted[0]]
            if now - loaded_at < _KEPT_FOR:
                return prices
        prices = PriceList(price for model in wanted if model for price in self.of_model(model))
        # A model without any price is asked for again: a price may appear at any time.
        if len(wanted) == 1 and len(prices):
            self._loaded[wanted[0]] = (now, prices)
        return prices

    def of_model(self, model: str) -> Iterator[Price]:
        """Every price of a model, the snapshot's among them."""
        yield from (_price(item) for item in self._table.query(f"PRICE#{model}") if not _is_calibration(item))
        yield from snapshot().get(model, ())

    def pricing(self, places: Iterable[tuple[str, str]]) -> Pricing:
        """Prices and calibrations of models in Regions, as they are now: what two readers see may not depend on their age."""
        prices: list[Price] = []
        calibrations: dict[Place, Calibration] = {}
        wanted = sorted({(model, region) for model, region in places if model})
        for model, region in wanted:
            for item in self._table.query(f"PRICE#{model}", f"{region}#"):
                if _is_calibration(item):
                    found = _calibration(item)
                    calibrations[found.meter, found.region] = found
                else:
                    prices.append(_price(item))
        for model in {model for model, _ in wanted}:
            prices += snapshot().get(model, ())
        return Pricing(PriceList(prices), calibrations)

    def store(self, prices: Iterable[Price]) -> int:
        """Keep what is new or changed in list prices; returns how many that were."""
        by_model: dict[str, list[Price]] = {}
        for price in prices:
            by_model.setdefault(price.meter.model, []).append(price)
        stored = 0
        for model, read in sorted(by_model.items()):
            known = (price for price in self.of_model(model) if price.origin is PriceOrigin.LIST)
            changed = changed_prices(known, read)
            self._put(changed)
            stored += len(changed)
        return stored

    def _put(self, prices: Sequence[Price]) -> None:
        items = {(item["pk"], item["sk"]): item for item in map(_item, prices)}
        self._table.batch_put(items.values())
        self._table.batch_put({"pk": _MODELS, "sk": model} for model in sorted({p.meter.model for p in prices}))

    def models(self) -> list[str]:
        """Every model that has prices."""
        return sorted({*(str(item["sk"]) for item in self._table.query(_MODELS)), *snapshot()})

    # What the customer states --------------------------------------------------------------------------------------------

    def overrides(self) -> list[Price]:
        """Every price that the customer states, in one order."""
        return [p for model in self.models() for p in self.of_model(model) if p.origin is PriceOrigin.OVERRIDE]

    def override(self, prices: Iterable[Price]) -> None:
        """Put stated prices in force; one for the same meter, Region and day is replaced."""
        self._put(list(prices))

    def remove_override(self, price: Price) -> None:
        """Take a stated price out of force. Requests that were recorded at it keep it."""
        item = _item(price)
        self._table.delete(pk=item["pk"], sk=item["sk"])

    # When the list was read ----------------------------------------------------------------------------------------------

    def record_reading(self, reading: OfferReading) -> None:
        """Remember that an offer was read in full."""
        item = {
            "pk": _READINGS,
            "sk": reading.code,
            "read_at": reading.read_at.isoformat(),
            "published_on": reading.published_on.isoformat(),
            "prices": reading.prices,
            "left_out": reading.left_out,
        }
        self._table.batch_put([item])

    def readings(self) -> Sequence[OfferReading]:
        """The last reading of each offer."""
        return [
            OfferReading(
                code=item["sk"],
                read_at=datetime.fromisoformat(item["read_at"]),
                published_on=date.fromisoformat(item["published_on"]),
                prices=integer(item["prices"]),
                left_out=integer(item["left_out"]),
            )
            for item in self._table.query(_READINGS)
        ]

    # What the bill says --------------------------------------------------------------------------------------------------

    def calibrations_of(self, model: str) -> list[Calibration]:
        """The calibrations of one model, in use or not."""
        return [_calibration(item) for item in self._table.query(f"PRICE#{model}") if _is_calibration(item)]

    def all_calibrations(self) -> Sequence[Calibration]:
        """Every calibration."""
        return [found for model in self.models() for found in self.calibrations_of(model)]

    def replace_calibrations(self, before: Sequence[Calibration], after: Sequence[Calibration]) -> None:
        """Write what differs, and remove what is not there any more."""
        known = {_calibration_key(found): found for found in before}
        new = {_calibration_key(found): found for found in after}
        self._table.batch_put(_calibration_item(found) for key, found in sorted(new.items()) if known.get(key) != found)
        for pk, sk in sorted(known.keys() - new.keys()):
            self._table.delete(pk=pk, sk=sk)


@lru_cache(maxsize=1)
def snapshot() -> dict[str, tuple[Price, ...]]:
    """The published prices that are part of this software, by model: each the same in every Region of the partition `aws`."""
    document = json.loads(_SNAPSHOT.read_text(encoding="utf-8"))
    found: dict[str, list[Price]] = {}
    for entry in document["prices"]:
        meter = Meter(entry["model"], TokenKind(entry["token_kind"]), Tier(entry["tier"]), Routing(entry["routing"]))
        price = Price(
            meter=meter,
            region=ANY_REGION,
            amount=Decimal(entry["usd"]),
            per=entry["per"],
            effective_from=date.fromisoformat(document["published_on"]),
            source=f"snapshot {document['published_on']}",
            origin=PriceOrigin.SNAPSHOT,
        )
        found.setdefault(meter.model, []).append(price)
    return {model: tuple(prices) for model, prices in found.items()}


def _place(meter: Meter, region: str) -> tuple[str, str]:
    return f"PRICE#{meter.model}", "#".join((region, meter.routing, meter.tier, meter.token_kind))


def _item(price: Price) -> Item:
    pk, sk = _place(price.meter, price.region)
    suffix = f"#{_OVERRIDE}" if price.origin is PriceOrigin.OVERRIDE else ""
    return {
        "pk": pk,
        "sk": f"{sk}#{price.effective_from.isoformat()}{suffix}",
        "amount": price.amount,
        "per": price.per,
        "currency": price.currency,
        "source": price.source,
    }


def _price(item: Item) -> Price:
    region, routing, tier, kind, effective_from, *rest = item["sk"].split("#")
    return Price(
        meter=Meter(item["pk"].removeprefix("PRICE#"), TokenKind(kind), Tier(tier), Routing(routing)),
        region=region,
        amount=item["amount"],
        per=integer(item["per"]),
        effective_from=date.fromisoformat(effective_from),
        source=item["source"],
        currency=item["currency"],
        origin=PriceOrigin.OVERRIDE if rest == [_OVERRIDE] else PriceOrigin.LIST,
    )


def _is_calibration(item: Item) -> bool:
    return bool(item["sk"].endswith(f"#{_CALIBRATION}"))


def _calibration_key(found: Calibration) -> tuple[str, str]:
    pk, sk = _place(found.meter, found.region)
    return pk, f"{sk}#{_CALIBRATION}"


def _calibration_item(found: Calibration) -> Item:
    pk, sk = _calibration_key(found)
    return {
        "pk": pk,
        "sk": sk,
        "factors": costs_to_json(found.factors),
        "days": found.days,
        "first_day": found.first_day.isoformat(),
        "last_day": found.last_day.isoformat(),
        # As text: a sum over days may have more digits than DynamoDB keeps.
        "units": number_text(found.units),
        "list_cost": number_text(found.list_cost),
        "not_used_because": found.not_used_because,
    }


def _calibration(item: Item) -> Calibration:
    region, routing, tier, kind, _ = item["sk"].split("#")
    return Calibration(
        meter=Meter(item["pk"].removeprefix("PRICE#"), TokenKind(kind), Tier(tier), Routing(routing)),
        region=region,
        factors=costs_from_json(item["factors"]),
        days=integer(item["days"]),
        first_day=date.fromisoformat(item["first_day"]),
        last_day=date.fromisoformat(item["last_day"]),
        units=Decimal(item["units"]),
        list_cost=Decimal(item["list_cost"]),
        not_used_because=item["not_used_because"],
    )
