"""AWS Price List offer files for Bedrock: public prices by meter and Region, each with its source.

Bedrock's prices are split over the offers `AmazonBedrock`, `AmazonBedrockFoundationModels` and `AmazonBedrockService`. A SKU
that is not an on-demand price of a decoded meter is left out and counted; nothing is derived from another SKU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from attribution.errors import InputRejected
from attribution.meters import Routing, TokenKind
from attribution.prices import Price, PublishedOffer
from attribution.usage_types import UNCLASSIFIED, DecodedUsageType, decode_usage_type, tokens_of

OFFERS = ("AmazonBedrock", "AmazonBedrockFoundationModels", "AmazonBedrockService")


def read_offer(body: bytes, source: str) -> PublishedOffer:
    """Read one offer file (`index.json`), exact decimals from its text."""
    try:
        offer = json.loads(body, parse_float=Decimal)
        code, published = str(offer["offerCode"]), date.fromisoformat(offer["publicationDate"][:10])
        products, on_demand = offer["products"], offer["terms"]["OnDemand"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputRejected(source, f"not an AWS Price List offer file: {type(error).__name__}") from None
    prices: list[Price] = []
    left_out: list[str] = []
    try:
        for sku, product in products.items():
            attributes = product.get("attributes", {})
            found = list(_prices(attributes, on_demand.get(sku, {}), f"AWS Price List {code} {published}"))
            if found:
                prices += found
            else:
                left_out.append(str(attributes.get("usagetype", sku)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputRejected(source, f"a product of the offer is not as expected: {type(error).__name__}") from None
    return PublishedOffer(code, published, tuple(prices), tuple(sorted(left_out)))


def _prices(attributes: Mapping[str, str], terms: Mapping[str, Any], source: str) -> Iterator[Price]:
    decoded = decode_usage_type(
        attributes.get("usagetype", ""), attributes.get("servicename", "") or attributes.get("model", "")
    )
    region = attributes.get("regionCode", "")
    if not region or not _is_priced_by_use(decoded, attributes.get("usagetype", "")):
        return
    for term in terms.values():
        dimensions = list(term.get("priceDimensions", {}).values())
        # Prices by volume range would need the month's quantity to choose from; Bedrock's token prices have one.
        if len(dimensions) != 1 or dimensions[0].get("beginRange", "0") not in ("0", 0):
            continue
        dimension = dimensions[0]
        # Estimates are in USD; prices in other currencies (AWS China) are left out, and counted as such.
        amount = _amount(dimension.get("pricePerUnit", {}).get("USD"))
        if amount is None:
            continue
        per = tokens_of(Decimal(1), decoded, dimension.get("unit", ""), dimension.get("description", ""), amount)
        if per is not None:
            effective_from = date.fromisoformat(term["effectiveDate"][:10])
            yield Price(decoded.meter, region, amount, int(per), effective_from, source)


def _is_priced_by_use(decoded: DecodedUsageType, usage_type: str) -> bool:
    """Whether a usage type has a known meter of a known model, and one price for it.

    Capacity has a price per commitment. A geographic profile that has usage types of its own shares its meter with calls inside
    one Region, whose price is the meter's.
    """
    if decoded.feature == UNCLASSIFIED or decoded.meter.token_kind is TokenKind.OTHER or not decoded.meter.model:
        return False
    is_geographic = "cross-region" in usage_type.lower() and decoded.meter.routing is Routing.REGIONAL
    return not decoded.commitment and not is_geographic


def _amount(text: object) -> Decimal | None:
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
