"""The AWS Price List: prices of meters in the unit they are sold in, and nothing that is not paid by use."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from adapters.sources.offer_files import check_base_url, offer_url
from adapters.sources.price_list import read_offer
from attribution.errors import InputRejected, PolicyInvalid
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.prices import PublishedOffer

SONNET = "Claude Sonnet 4.6 (Amazon Bedrock Edition)"


def offer(usage_type: str, unit: str, usd: str, *, service: str = "", description: str = "") -> PublishedOffer:
    """An offer file with one product, as read."""
    attributes = {"usagetype": usage_type, "regionCode": "us-east-1", "servicename": service}
    price = {"unit": unit, "beginRange": "0", "description": description, "pricePerUnit": {"USD": usd}}
    body = {
        "offerCode": "AmazonBedrock",
        "publicationDate": "2026-09-11T00:00:00Z",
        "products": {"A": {"attributes": attributes}},
        "terms": {"OnDemand": {"A": {"t": {"effectiveDate": "2026-09-01T00:00:00Z", "priceDimensions": {"d": price}}}}},
    }
    return read_offer(json.dumps(body).encode(), "a test")


@pytest.mark.parametrize(
    ("usage_type", "unit", "usd", "service", "meter", "per"),
    [
        ("USE1-NovaPro-input-tokens", "1K tokens", "0.0008", "", Meter("amazon.nova-pro", TokenKind.INPUT), 1000),
        (
            "USE1-xai.grok-4.3-mantle-output-tokens-flex", "1M tokens", "1.25", "",
            Meter("xai.grok-4.3", TokenKind.OUTPUT, Tier.FLEX), 10**6,
        ),
        (
            "USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units", "1M tokens", "6", SONNET,
            Meter("anthropic.claude-sonnet-4-6", TokenKind.CACHE_WRITE_1H, Tier.STANDARD, Routing.GLOBAL), 10**6,
        ),
        (
            "USE1-MP:USE1_cache_write_tokens_long_ctx_standard-Units", "Units", "3.75", SONNET,
            Meter("anthropic.claude-sonnet-4-6", TokenKind.CACHE_WRITE, Tier.LONG_CONTEXT), 10**6,
        ),
        (
            "USE1-NovaPro-input-tokens-custom-model", "1K tokens", "0.0009", "",
            Meter("amazon.nova-pro custom model", TokenKind.INPUT), 1000,
        ),
        (
            "USE1-Nova2.0Omni-input-image-token-count", "1K tokens", "0.0003", "",
            Meter("amazon.nova-2-omni", TokenKind.IMAGE_INPUT), 1000,
        ),
        ("USE1-NovaCanvas-T2I-1024-Standard", "image", "0.04", "", Meter("amazon.nova-canvas", TokenKind.IMAGE), 1),
    ],
)  # fmt: skip
def test_a_price_is_for_as_many_units_as_its_unit_says(
    usage_type: str, unit: str, usd: str, service: str, meter: Meter, per: int
) -> None:
    (price,) = offer(usage_type, unit, usd, service=service).prices

    assert (price.meter, price.amount, price.per) == (meter, Decimal(usd), per)


@pytest.mark.parametrize(
    "usage_type",
    [
        # One price per commitment, and a meter knows none.
        "USE1-Llama3-1-70B-ProvisionedThroughput-NoCommit-ModelUnits",
        "USE1-NovaPro-Reserved_1Month_InputTPM_Geo",
        # Beside the price of the Region itself.
        "USE1-NovaPro-input-tokens-cross-region-eu",
        "USE1-NovaPro-input-tokens-turbo",
        "USE1-Guardrail-ContentPolicyUnitsConsumed",
    ],
)
def test_what_is_not_one_price_of_one_meter_is_left_out_by_name(usage_type: str) -> None:
    for unit in ("1K tokens", "hour", "1M TPM Hour", "TextUnit"):
        read = offer(usage_type, unit, "0.0008")

        assert read.prices == ()
        assert read.left_out == (usage_type,)


def test_a_price_that_contradicts_its_unit_is_left_out() -> None:
    description = "AWS Marketplace software usage|us-east-1|thousand Cache Read Input Tokens Regional"

    read = offer("USE1-MP:USE1_CacheReadInputTokenCount-Units", "Units", "0.33", service=SONNET, description=description)

    assert read.prices == ()


def offer_with(product: object, term: object) -> bytes:
    """An offer file with one product as it stands."""
    return json.dumps(
        {
            "offerCode": "AmazonBedrock",
            "publicationDate": "2026-09-11T00:00:00Z",
            "products": {"A": product},
            "terms": {"OnDemand": {"A": term}},
        }
    ).encode()


PRODUCT = {"attributes": {"usagetype": "USE1-NovaPro-input-tokens", "regionCode": "us-east-1"}}
DIMENSION = {"unit": "1K tokens", "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": "0.0008"}}


def test_prices_by_volume_are_left_out() -> None:
    ranges = {"a": DIMENSION | {"endRange": "1000"}, "b": DIMENSION | {"beginRange": "1000", "pricePerUnit": {"USD": "0.0004"}}}

    read = read_offer(offer_with(PRODUCT, {"t": {"effectiveDate": "2026-09-01", "priceDimensions": ranges}}), "a test")

    assert (read.prices, read.left_out) == ((), ("USE1-NovaPro-input-tokens",))


def test_a_price_in_another_currency_is_left_out() -> None:
    yuan = {"d": DIMENSION | {"pricePerUnit": {"CNY": "0.005"}}}

    assert (
        read_offer(offer_with(PRODUCT, {"t": {"effectiveDate": "2026-09-01", "priceDimensions": yuan}}), "a test").prices == ()
    )


@pytest.mark.parametrize(
    ("product", "term"),
    [
        ("CANARY", {}),
        (PRODUCT, {"t": {"priceDimensions": {"d": DIMENSION}}}),
        (PRODUCT, {"t": {"effectiveDate": "CANARY", "priceDimensions": {"d": DIMENSION}}}),
        (PRODUCT, {"t": "CANARY"}),
    ],
)
def test_an_offer_that_is_not_as_expected_is_rejected_without_its_content(product: object, term: object) -> None:
    with pytest.raises(InputRejected) as rejected:
        read_offer(offer_with(product, term), "offer AmazonBedrock")

    assert "CANARY" not in str(rejected.value)


# Where it is read from ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://pricing.us-east-1.amazonaws.com",
        "https://pricing.cn-northwest-1.amazonaws.com.cn/",
        "http://127.0.0.1:8080",
    ],
)
def test_the_price_list_is_read_from_aws_or_from_this_machine(url: str) -> None:
    assert (
        offer_url(check_base_url(url), "AmazonBedrock") == f"{url.rstrip('/')}/offers/v1.0/aws/AmazonBedrock/current/index.json"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://pricing.us-east-1.amazonaws.com",
        "https://pricing.us-east-1.amazonaws.com.example.com",
        "https://127.0.0.1.example.com",
        "ftp://pricing.us-east-1.amazonaws.com",
        "",
    ],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(PolicyInvalid):
        check_base_url(url)


def test_a_mirror_that_a_person_names_is_read_over_https_alone() -> None:
    assert check_base_url("https://mirror.example.com", any_host=True) == "https://mirror.example.com"
    with pytest.raises(PolicyInvalid):
        check_base_url("http://mirror.example.com", any_host=True)
