"""Known prices in the ledger.

PRICE#<model>   <region>#<routing>#<tier>#<token kind>#<effective from>
PRICES          <model>                                                  which models have prices
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from adapters.dynamodb import Item, Table, integer
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import Price, PriceList

_MODELS = "PRICES"


class DynamoPrices:
    """`Prices` in the ledger table. A model's prices are read once per execution environment: they change about monthly."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._loaded: dict[str, PriceList] = {}

    def load(self, models: Iterable[str]) -> PriceList:
        """The prices of these models."""
        wanted = sorted(set(models))
        if len(wanted) == 1 and wanted[0] in self._loaded:
            return self._loaded[wanted[0]]
        listed = [_price(item) for model in wanted if model for item in self._table.query(f"PRICE#{model}")]
        prices = PriceList(listed)
        # A model without any price is asked for again: a price may appear at any time.
        if len(wanted) == 1 and len(prices):
            self._loaded[wanted[0]] = prices
        return prices

    def store(self, prices: Iterable[Price]) -> int:
        """Keep prices; the same price again writes the same item. Returns how many."""
        items = {(item["pk"], item["sk"]): item for item in map(_item, prices)}
        models = sorted({pk.removeprefix("PRICE#") for pk, _ in items})
        self._table.batch_put(items.values())
        self._table.batch_put({"pk": _MODELS, "sk": model} for model in models)
        return len(items)

    def models(self) -> list[str]:
        """Every model that has prices."""
        return [str(item["sk"]) for item in self._table.query(_MODELS)]


def _item(price: Price) -> Item:
    meter = price.meter
    return {
        "pk": f"PRICE#{meter.model}",
        "sk": "#".join((price.region, meter.routing, meter.tier, meter.token_kind, price.effective_from.isoformat())),
        "amount": price.amount,
        "per": price.per,
        "currency": price.currency,
        "source": price.source,
    }


def _price(item: Item) -> Price:
    region, routing, tier, kind, effective_from = item["sk"].split("#")
    return Price(
        meter=Meter(item["pk"].removeprefix("PRICE#"), TokenKind(kind), Tier(tier), Routing(routing)),
        region=region,
        amount=item["amount"],
        per=integer(item["per"]),
        effective_from=date.fromisoformat(effective_from),
        source=item["source"],
        currency=item["currency"],
    )
