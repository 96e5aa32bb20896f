"""The company's list prices as AWS Price List offer files.

Three offers, shaped like the public files; they hold list prices alone, never the negotiated rate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from truth.catalogue import REGION_LOCATION, Sku, model_skus, other_skus
from truth.company import Month
from truth.objects import hex_of, iso_seconds

OFFER_CODES = ("AmazonBedrock", "AmazonBedrockFoundationModels", "AmazonBedrockService")

_OFFER_TERM = "JRTCKXETXF"
_PRICE_DIMENSION = "6YS6EN2CT7"


def offers(month: Month) -> dict[str, bytes]:
    """Offer file by offer code."""
    skus = [*model_skus(), *other_skus().values()]
    return {code: _offer(month, code, [sku for sku in skus if sku.offer_code == code]) for code in OFFER_CODES}


def _offer(month: Month, code: str, skus: Iterable[Sku]) -> bytes:
    products: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    published_at = iso_seconds(month.start)
    for sku in skus:
        sku_id = hex_of("price list", sku.product_code, sku.usage_type).upper()
        products[sku_id] = {
            "sku": sku_id,
            "productFamily": "Amazon Bedrock",
            "attributes": _attributes(sku),
        }
        term = f"{sku_id}.{_OFFER_TERM}"
        rate_code = f"{term}.{_PRICE_DIMENSION}"
        price = {
            "rateCode": rate_code,
            "description": sku.description,
            "beginRange": "0",
            "endRange": "Inf",
            "unit": sku.unit,
            "pricePerUnit": {"USD": f"{sku.list_price:.10f}"},
            "appliesTo": [],
        }
        terms[sku_id] = {
            term: {
                "offerTermCode": _OFFER_TERM,
                "sku": sku_id,
                "effectiveDate": published_at,
                "priceDimensions": {rate_code: price},
                "termAttributes": {},
            }
        }
    offer = {
        "formatVersion": "v1.0",
        "disclaimer": "Prices of an invented company; not prices of AWS.",
        "offerCode": code,
        "version": f"{month.start:%Y%m%d%H%M%S}",
        "publicationDate": published_at,
        "products": products,
        "terms": {"OnDemand": terms},
    }
    return json.dumps(offer, sort_keys=True, indent=1).encode()


def _attributes(sku: Sku) -> dict[str, str]:
    attributes = {
        "usagetype": sku.usage_type,
        "regionCode": sku.region,
        "location": REGION_LOCATION[sku.region],
        "locationType": "AWS Region",
        "operation": "",
    }
    if sku.model is None:
        return attributes | {"servicecode": sku.product_code, "inferenceType": sku.inference_type}
    if sku.model.family == "marketplace":
        # Names neither the model nor the kind of token; only the service name tells products apart.
        return attributes | {"servicecode": sku.offer_code, "servicename": sku.model.product_name}
    return attributes | {
        "servicecode": sku.product_code,
        "model": sku.model.display_name,
        "provider": sku.model.provider,
        "inferenceType": sku.inference_type,
        "feature": "Batch Inference" if sku.tier == "batch" else "On-demand Inference",
    }
