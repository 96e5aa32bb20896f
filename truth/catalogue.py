"""The models this company calls and what each of their usage types costs.

One table holds every list price (US dollars). The prices of Claude Sonnet 4.6 are those of the public AWS Price List
of 2026-09-11; the others are plausible and belong to this company alone. `PRIVATE_RATE` is a negotiated rate: the bill
is below the list price for that model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Literal

Family = Literal["classic", "mantle", "service", "marketplace"]
Kind = Literal["input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "image"]
Routing = Literal["regional", "geo", "global"]
Tier = Literal["standard", "flex", "priority", "batch"]
Body = Literal["claude", "nova", "llama", "titan_embedding", "nova_canvas", "openai"]

KINDS: tuple[Kind, ...] = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "image")
REGIONS: tuple[str, ...] = ("us-east-1", "eu-west-1")
REGION_CODE: Mapping[str, str] = {"us-east-1": "USE1", "eu-west-1": "EU"}
REGION_LOCATION: Mapping[str, str] = {"us-east-1": "US East (N. Virginia)", "eu-west-1": "EU (Ireland)"}
GEO_PREFIX: Mapping[str, str] = {"us-east-1": "us", "eu-west-1": "eu"}

TIER_FACTOR: Mapping[Tier, Decimal] = {
    "standard": Decimal(1),
    "flex": Decimal("0.5"),
    "priority": Decimal("1.75"),
    "batch": Decimal("0.5"),
}
PRIVATE_RATE: Mapping[str, Decimal] = {"nova-pro": Decimal("0.88")}
LONG_CONTEXT_ABOVE = 200_000
"""Claude Sonnet 4 bills a request with more input tokens than this under its long-context usage types."""

_Prices = Mapping[Kind, str]


@dataclass(frozen=True, eq=False)
class Model:
    """One foundation model: how it is named in each output, and its list prices per price-list unit."""

    key: str
    model_id: str
    family: Family
    usage_name: str
    display_name: str
    provider: str
    body: Body
    prices: Mapping[str, _Prices]
    """By routing (`regional`, `global`), or by `<routing>/<region>` where one Region differs."""
    routings: tuple[Routing, ...]
    tiers: tuple[Tier, ...] = ("standard",)
    product_code: str = "AmazonBedrock"
    snake_case: bool = False
    long_context_prices: _Prices | None = None

    @property
    def product_name(self) -> str:
        """The CUR's `product['product_name']`."""
        return f"{self.display_name} (Amazon Bedrock Edition)" if self.family == "marketplace" else "Amazon Bedrock"

    @property
    def offer_code(self) -> str:
        """The AWS Price List offer that holds this model."""
        return "AmazonBedrockFoundationModels" if self.family == "marketplace" else self.product_code


@dataclass(frozen=True, eq=False)
class Sku:
    """One usage type in one Region: what the bill calls it and what it costs."""

    usage_type: str
    region: str
    product_code: str
    offer_code: str
    model: Model | None
    kind: Kind | None
    routing: Routing
    tier: Tier
    unit: str
    """Unit of the price list."""
    units_per_price: int
    """Tokens (or images, hours, units) that one price buys."""
    list_price: Decimal
    billed_price: Decimal
    pricing_unit: str
    """Unit as the cost report spells it."""
    description: str
    inference_type: str

    def list_cost(self, quantity: int) -> Decimal:
        """The list price of `quantity` tokens (or images, hours, units)."""
        return self.list_price * quantity / self.units_per_price

    def billed_cost(self, quantity: int) -> Decimal:
        """What this company is billed for `quantity` before discounts, credits and tax."""
        return self.billed_price * quantity / self.units_per_price

    def usage_amount(self, quantity: int) -> Decimal:
        """`quantity` in the unit of the bill."""
        return Decimal(quantity) / self.units_per_price


MODELS: Mapping[str, Model] = {
    model.key: model
    for model in (
        Model(
            key="nova-pro",
            model_id="amazon.nova-pro-v1:0",
            family="classic",
            usage_name="NovaPro",
            display_name="Nova Pro",
            provider="Amazon",
            body="nova",
            prices={
                "regional": {"input": "0.0008", "output": "0.0032", "cache_read": "0.0002", "cache_write_5m": "0"},
                "regional/eu-west-1": {
                    "input": "0.00092",
                    "output": "0.00368",
                    "cache_read": "0.00023",
                    "cache_write_5m": "0",
                },
            },
            routings=("regional", "geo"),
            tiers=("standard", "flex", "priority", "batch"),
        ),
        Model(
            key="nova-lite",
            model_id="amazon.nova-lite-v1:0",
            family="classic",
            usage_name="NovaLite",
            display_name="Nova Lite",
            provider="Amazon",
            body="nova",
            prices={
                "regional": {"input": "0.00006", "output": "0.00024", "cache_read": "0.000015", "cache_write_5m": "0"},
                "regional/eu-west-1": {
                    "input": "0.00007",
                    "output": "0.00028",
                    "cache_read": "0.0000175",
                    "cache_write_5m": "0",
                },
            },
            routings=("regional", "geo"),
            tiers=("standard", "batch"),
        ),
        Model(
            key="nova-2-lite",
            model_id="amazon.nova-2-lite-v1:0",
            family="classic",
            usage_name="Nova2.0Lite",
            display_name="Nova 2.0 Lite",
            provider="Amazon",
            body="nova",
            prices={
                "regional": {"input": "0.00033", "output": "0.00275", "cache_read": "0.0000825"},
                "global": {"input": "0.0003", "output": "0.0025", "cache_read": "0.000075"},
            },
            routings=("regional", "geo", "global"),
        ),
        Model(
            key="llama-3-3-70b",
            model_id="meta.llama3-3-70b-instruct-v1:0",
            family="classic",
            usage_name="Llama3-3-70B",
            display_name="Llama 3.3 70B Instruct",
            provider="Meta",
            body="llama",
            prices={"regional": {"input": "0.00072", "output": "0.00072"}},
            routings=("regional", "geo"),
            tiers=("standard", "batch"),
        ),
        Model(
            key="titan-embed-v2",
            model_id="amazon.titan-embed-text-v2:0",
            family="classic",
            usage_name="TitanEmbeddingV2-Text",
            display_name="Titan Text Embeddings V2",
            provider="Amazon",
            body="titan_embedding",
            prices={"regional": {"input": "0.00002"}},
            routings=("regional",),
        ),
        Model(
            key="nova-canvas",
            model_id="amazon.nova-canvas-v1:0",
            family="classic",
            usage_name="NovaCanvas",
            display_name="Nova Canvas",
            provider="Amazon",
            body="nova_canvas",
            prices={"regional": {"image": "0.04"}},
            routings=("regional",),
        ),
        Model(
            key="gpt-oss-120b",
            model_id="openai.gpt-oss-120b",
            family="mantle",
            usage_name="openai.gpt-oss-120b",
            display_name="openai.gpt-oss-120b",
            provider="OpenAI",
            body="openai",
            prices={"regional": {"input": "0.00015", "output": "0.0006"}},
            routings=("regional",),
            tiers=("standard", "flex", "priority"),
        ),
        Model(
            key="deepseek-v3-2",
            model_id="deepseek.v3.2",
            family="mantle",
            usage_name="deepseek.v3.2",
            display_name="deepseek.v3.2",
            provider="DeepSeek",
            body="openai",
            prices={"regional": {"input": "0.00062", "output": "0.00185"}},
            routings=("regional",),
        ),
        Model(
            key="claude-sonnet-4",
            model_id="anthropic.claude-sonnet-4-20250514-v1:0",
            family="service",
            usage_name="Claude4Sonnet",
            display_name="Claude Sonnet 4",
            provider="Anthropic",
            body="claude",
            prices={"global": {"input": "0.003", "output": "0.015", "cache_read": "0.0003", "cache_write_5m": "0.00375"}},
            long_context_prices={
                "input": "0.006",
                "output": "0.0225",
                "cache_read": "0.0006",
                "cache_write_5m": "0.0075",
            },
            routings=("global",),
            product_code="AmazonBedrockService",
        ),
        Model(
            key="claude-sonnet-4-6",
            model_id="anthropic.claude-sonnet-4-6",
            family="marketplace",
            usage_name="",
            display_name="Claude Sonnet 4.6",
            provider="Anthropic",
            body="claude",
            prices={
                "regional": {
                    "input": "3.30",
                    "output": "16.50",
                    "cache_read": "0.33",
                    "cache_write_5m": "4.125",
                    "cache_write_1h": "6.60",
                },
                "global": {
                    "input": "3.00",
                    "output": "15.00",
                    "cache_read": "0.30",
                    "cache_write_5m": "3.75",
                    "cache_write_1h": "6.00",
                },
            },
            routings=("geo", "global"),
            tiers=("standard", "batch"),
            product_code="7v2kq81mzx4d0tnc5e9wb3ra6",
        ),
        Model(
            key="claude-haiku-4-5",
            model_id="anthropic.claude-haiku-4-5-20251001-v1:0",
            family="marketplace",
            usage_name="",
            display_name="Claude Haiku 4.5",
            provider="Anthropic",
            body="claude",
            prices={
                "regional": {
                    "input": "1.10",
                    "output": "5.50",
                    "cache_read": "0.11",
                    "cache_write_5m": "1.375",
                    "cache_write_1h": "2.20",
                },
                "global": {
                    "input": "1.00",
                    "output": "5.00",
                    "cache_read": "0.10",
                    "cache_write_5m": "1.25",
                    "cache_write_1h": "2.00",
                },
            },
            routings=("geo", "global"),
            product_code="c03fyt7h5p2s9gj8lqw1v64zk",
            snake_case=True,
        ),
        Model(
            key="claude-3-5-sonnet",
            model_id="anthropic.claude-3-5-sonnet-20240620-v1:0",
            family="marketplace",
            usage_name="",
            display_name="Claude 3.5 Sonnet",
            provider="Anthropic",
            body="claude",
            prices={"regional": {"input": "3.00", "output": "15.00"}},
            routings=("regional",),
            product_code="5n9xd2r7uw0ybm4h6k3ce8qtf",
        ),
    )
}

_CLASSIC_TOKENS: Mapping[Kind, str] = {
    "input": "input-tokens",
    "output": "output-tokens",
    "cache_read": "cache-read-input-token-count",
    "cache_write_5m": "cache-write-input-token-count",
    "image": "T2I-1024-Standard",
}
_CAMEL_CASE: Mapping[Kind, str] = {
    "input": "InputTokenCount",
    "output": "OutputTokenCount",
    "cache_read": "CacheReadInputTokenCount",
    "cache_write_5m": "CacheWriteInputTokenCount",
    "cache_write_1h": "CacheWrite1hInputTokenCount",
}
_SNAKE_CASE: Mapping[Kind, str] = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_tokens",
    "cache_write_1h": "cache_write_tokens_1h",
}
_WORDS: Mapping[Kind, str] = {
    "input": "Input Tokens",
    "output": "Output Tokens",
    "cache_read": "Cache Read Input Tokens",
    "cache_write_5m": "Cache Write Input Tokens",
    "cache_write_1h": "1h Cache Write Input Tokens",
    "image": "Images",
}


def sku_of(model: Model, region: str, kind: Kind, routing: Routing, tier: Tier, long_context: bool = False) -> Sku:
    """The usage type that meters `kind` of `model` when it is called from `region`."""
    return _skus_of(model.key, region, routing, tier, long_context)[kind]


def model_skus() -> Iterator[Sku]:
    """Every usage type of every model, in every Region, routing and tier."""
    for model in MODELS.values():
        for region in REGIONS:
            for routing in model.routings:
                # A geographic profile bills under the plain usage type: one SKU, not two.
                if routing == "geo" and "regional" in model.routings:
                    continue
                for tier in model.tiers:
                    yield from _skus_of(model.key, region, routing, tier, False).values()
                if model.long_context_prices:
                    yield from _skus_of(model.key, region, routing, "standard", True).values()


def other_skus() -> Mapping[str, Sku]:
    """First-party usage types that no request meters, by `<name>/<region>`."""
    return {f"{name}/{region}": _other_sku(name, region) for name in _OTHER for region in REGIONS}


_OTHER: Mapping[str, tuple[str, str, str, int, str, str]] = {
    # name: (product code, usage type without Region, unit, units per price, price, inference type)
    "provisioned": (
        "AmazonBedrock",
        "Llama3-3-70B-ProvisionedThroughput-NoCommit-ModelUnits",
        "hour",
        1,
        "21.18",
        "Provisioned Throughput",
    ),
    "guardrail-content": (
        "AmazonBedrock",
        "Guardrail-ContentPolicyUnitsConsumed",
        "1K text units",
        1000,
        "0.15",
        "Guardrail",
    ),
    "guardrail-topic": (
        "AmazonBedrock",
        "Guardrail-TopicPolicyUnitsConsumed",
        "1K text units",
        1000,
        "0.15",
        "Guardrail",
    ),
    "agentcore-runtime": (
        "AmazonBedrockAgentCore",
        "Consumption-based:Runtime:vCPU",
        "vCPU-Hours",
        1,
        "0.0895",
        "Runtime",
    ),
}


def _other_sku(name: str, region: str) -> Sku:
    product_code, stem, unit, units_per_price, price, inference_type = _OTHER[name]
    return Sku(
        usage_type=f"{REGION_CODE[region]}-{stem}",
        region=region,
        product_code=product_code,
        offer_code=product_code,
        model=None,
        kind=None,
        routing="regional",
        tier="standard",
        unit=unit,
        units_per_price=units_per_price,
        list_price=Decimal(price),
        billed_price=Decimal(price),
        pricing_unit=unit,
        description=f"${price} per {unit} for {stem} in {REGION_LOCATION[region]}",
        inference_type=inference_type,
    )


@cache
def _skus_of(key: str, region: str, routing: Routing, tier: Tier, long_context: bool) -> dict[Kind, Sku]:
    model = MODELS[key]
    return {
        kind: _sku(model, region, kind, routing, tier, long_context, Decimal(price))
        for kind, price in _prices_of(model, region, routing, long_context).items()
    }


def _prices_of(model: Model, region: str, routing: Routing, long_context: bool) -> _Prices:
    if long_context and model.long_context_prices:
        return model.long_context_prices
    row = "global" if routing == "global" else "regional"
    return model.prices.get(f"{row}/{region}", model.prices[row])


def _sku(model: Model, region: str, kind: Kind, routing: Routing, tier: Tier, long_context: bool, price: Decimal) -> Sku:
    list_price = price * TIER_FACTOR[tier]
    marketplace = model.family == "marketplace"
    unit, units_per_price = ("1M tokens", 1_000_000) if marketplace else ("1K tokens", 1_000)
    if kind == "image":
        unit, units_per_price = "image", 1
    if marketplace:
        description = f"AWS Marketplace software usage|{region}|{_marketplace_unit(model, kind, routing, tier)}"
    else:
        description = (
            f"${_plain(list_price)} per {unit} ({_WORDS[kind]}) for {model.display_name} in " + (REGION_LOCATION[region])
        )
    return Sku(
        usage_type=_usage_type(model, region, kind, routing, tier, long_context),
        region=region,
        product_code=model.product_code,
        offer_code=model.offer_code,
        model=model,
        kind=kind,
        routing=routing,
        tier=tier,
        unit=unit,
        units_per_price=units_per_price,
        list_price=list_price,
        billed_price=list_price * PRIVATE_RATE.get(model.key, Decimal(1)),
        pricing_unit="Units" if marketplace and not model.snake_case else unit,
        description=description,
        inference_type=_WORDS[kind].capitalize() + (" long context" if long_context else ""),
    )


def _usage_type(model: Model, region: str, kind: Kind, routing: Routing, tier: Tier, long_context: bool) -> str:
    code = REGION_CODE[region]
    globally = routing == "global"
    if model.family == "marketplace" and model.snake_case:
        return f"{code}-MP:{code}_{_SNAKE_CASE[kind]}{'_global' if globally else ''}_{tier}-Units"
    if model.family == "marketplace":
        suffix = ("_Global" if globally else "") + ("_Batch" if tier == "batch" else "")
        return f"{code}-MP:{code}_{_CAMEL_CASE[kind]}{suffix}-Units"
    if model.family == "mantle":
        return f"{code}-{model.usage_name}-mantle-{_CLASSIC_TOKENS[kind]}-{'global-' if globally else ''}{tier}"
    return "".join(
        (
            f"{code}-{model.usage_name}-{_CLASSIC_TOKENS[kind]}",
            "-long-context" if long_context else "",
            f"-{tier}" if tier in ("flex", "priority") else "",
            "-cross-region-global" if globally else "",
            "-batch" if tier == "batch" else "",
        )
    )


def _marketplace_unit(model: Model, kind: Kind, routing: Routing, tier: Tier) -> str:
    if model.snake_case:
        # The newer generation names no unit at all.
        return f"{_WORDS[kind]} - Standard{', Global' if routing == 'global' else ''}"
    if model.routings == ("regional",):
        return f"Million {_WORDS[kind]}"
    if kind == "cache_read" and routing == "geo":
        # Published by AWS beside a price per million: the text is wrong, the price is right.
        return f"thousand {_WORDS[kind]} Regional"
    batch = " Batch" if tier == "batch" else ""
    return f"Million{batch} {_WORDS[kind]} {'Global' if routing == 'global' else 'Regional CRIS'}"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
