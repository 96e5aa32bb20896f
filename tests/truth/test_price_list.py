"""The price list knows every usage type that requests can have, at its list price."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from truth.company import Month
from truth.price_list import offers

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "cur"


def prices_of(offer: dict[str, Any]) -> dict[tuple[str, str], tuple[Decimal, str]]:
    """Price and unit by (service name or code, usage type)."""
    prices = {}
    for sku, product in offer["products"].items():
        (term,) = offer["terms"]["OnDemand"][sku].values()
        (dimension,) = term["priceDimensions"].values()
        attributes = product["attributes"]
        name = attributes.get("servicename", attributes["servicecode"])
        prices[name, attributes["usagetype"]] = Decimal(dimension["pricePerUnit"]["USD"]), dimension["unit"]
    return prices


@pytest.fixture(scope="module")
def parsed(month: Month) -> dict[str, dict[tuple[str, str], tuple[Decimal, str]]]:
    return {code: prices_of(json.loads(body)) for code, body in offers(month).items()}


def test_every_usage_type_of_a_request_has_its_list_price(
    month: Month, parsed: dict[str, dict[tuple[str, str], tuple[Decimal, str]]]
) -> None:
    for request in month.requests:
        for sku, _ in request.usage():
            model = request.call.model
            name = model.product_name if model.family == "marketplace" else sku.product_code
            assert parsed[sku.offer_code][name, sku.usage_type] == (sku.list_price, sku.unit)


def test_the_three_offers_are_written(parsed: dict[str, dict[tuple[str, str], tuple[Decimal, str]]]) -> None:
    assert set(parsed) == {"AmazonBedrock", "AmazonBedrockFoundationModels", "AmazonBedrockService"}
    assert all(parsed.values())


@pytest.mark.skipif(not SAMPLES.exists(), reason="the published samples are not at hand")
def test_sonnet_4_6_costs_what_aws_publishes(
    parsed: dict[str, dict[tuple[str, str], tuple[Decimal, str]]],
) -> None:
    with (SAMPLES / "price_list_sonnet46_usage_types.csv").open(encoding="utf-8") as file:
        published = {
            row["usagetype_without_region_prefix"]: (Decimal(row["usd"]), row["unit"])
            for row in csv.DictReader(file)
            if not row["usagetype_without_region_prefix"].startswith("Reserved")
        }
    prefix = "USE1-MP:USE1_"
    offered = {
        usage_type.removeprefix(prefix).removesuffix("-Units"): price
        for (name, usage_type), price in parsed["AmazonBedrockFoundationModels"].items()
        if name.startswith("Claude Sonnet 4.6") and usage_type.startswith(prefix)
    }

    assert published.items() <= offered.items()


def test_equal_arguments_give_equal_offers(month: Month) -> None:
    assert offers(month) == offers(month)
