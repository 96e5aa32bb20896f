"""What usage types mean: every row of the published tables against a stated expectation."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.usage_types import UNCLASSIFIED, DecodedUsageType, decode_usage_type, region_of, tokens_of
from tests.unit.attribution.shared_samples import needs_samples, sample_rows

IN, OUT = TokenKind.INPUT, TokenKind.OUTPUT
READ, WRITE, WRITE_30M, WRITE_1H = (
    TokenKind.CACHE_READ,
    TokenKind.CACHE_WRITE,
    TokenKind.CACHE_WRITE_30M,
    TokenKind.CACHE_WRITE_1H,
)
OTHER = TokenKind.OTHER
STANDARD, FLEX, PRIORITY, BATCH, FAST, LONG, RESERVED, PROVISIONED = (
    Tier.STANDARD,
    Tier.FLEX,
    Tier.PRIORITY,
    Tier.BATCH,
    Tier.LATENCY_OPTIMIZED,
    Tier.LONG_CONTEXT,
    Tier.RESERVED,
    Tier.PROVISIONED,
)
REGIONAL, GLOBAL = Routing.REGIONAL, Routing.GLOBAL

Expected = tuple[str, TokenKind, Tier, Routing, str]

# Read from the strings by hand. Marketplace rows name no model: it is in the product name.
CLASSIC: dict[str, Expected] = {
    "USE1-Claude2.0-input-tokens": ("anthropic.claude-v2", IN, STANDARD, REGIONAL, "inference"),
    "USE1-Claude3-5Haiku-input-tokens-latency-optimized": ("anthropic.claude-3-5-haiku", IN, FAST, REGIONAL, "inference"),
    "USE1-Claude3Sonnet-input-tokens": ("anthropic.claude-3-sonnet", IN, STANDARD, REGIONAL, "inference"),
    "USE1-GPT-OSS-Safeguard-120B-output-tokens-batch": ("GPT-OSS-Safeguard-120B", OUT, BATCH, REGIONAL, "inference"),
    "USE1-GPT-OSS-Safeguard-20B-input-tokens-priority": ("GPT-OSS-Safeguard-20B", IN, PRIORITY, REGIONAL, "inference"),
    "USE1-Gemma-3-4B-IT-input-tokens-flex": ("Gemma-3-4B-IT", IN, FLEX, REGIONAL, "inference"),
    "USE1-Guardrail-AutomatedReasoningPolicyUnitsConsumed": ("", TokenKind.GUARDRAIL_UNIT, STANDARD, REGIONAL, "guardrails"),
    "USE1-Llama3-1-405B-input-tokens": ("meta.llama3-1-405b-instruct", IN, STANDARD, REGIONAL, "inference"),
    "USE1-Llama3-2-1B-output-tokens": ("meta.llama3-2-1b-instruct", OUT, STANDARD, REGIONAL, "inference"),
    "USE1-Llama4-Maverick-17B-input-tokens-batch": ("meta.llama4-maverick-17b-instruct", IN, BATCH, REGIONAL, "inference"),
    "USE1-MistralSmall-input-tokens-batch": ("mistral.mistral-small-2402", IN, BATCH, REGIONAL, "inference"),
    "USE1-Nova2.0Lite-input-tokens-cross-region-global-batch": ("amazon.nova-2-lite", IN, BATCH, GLOBAL, "inference"),
    "USE1-Nova2.0Pro-input-image-token-count-cross-region-global": (
        "amazon.nova-2-pro", OTHER, STANDARD, GLOBAL, "image tokens",
    ),
    "USE1-Nova2.0Pro-text-input-tokens-priority-cross-region-global": (
        "amazon.nova-2-pro", IN, PRIORITY, GLOBAL, "inference",
    ),
    "USE1-NovaPro-cache-write-input-token-count-custom-model": ("amazon.nova-pro", WRITE, STANDARD, REGIONAL, "inference"),
    "USE1-NovaSonic-speech-input-tokens": ("amazon.nova-sonic", OTHER, STANDARD, REGIONAL, "speech"),
    "USE1-NovaSonic-text-input-tokens": ("amazon.nova-sonic", IN, STANDARD, REGIONAL, "inference"),
    "USE1-cohere.rerank-english-v3-search-units": (
        "cohere.rerank-english-v3", TokenKind.SEARCH_UNIT, STANDARD, REGIONAL, "rerank",
    ),
    "USE1-NovaPro-input-tokens": ("amazon.nova-pro", IN, STANDARD, REGIONAL, "inference"),
    "USE1-NovaPro-input-tokens-priority": ("amazon.nova-pro", IN, PRIORITY, REGIONAL, "inference"),
    "USE1-NovaPro-output-tokens-flex": ("amazon.nova-pro", OUT, FLEX, REGIONAL, "inference"),
    "USE1-NovaPro-input-tokens-latency-optimized": ("amazon.nova-pro", IN, FAST, REGIONAL, "inference"),
    "USE1-NovaPro-cache-read-input-token-count": ("amazon.nova-pro", READ, STANDARD, REGIONAL, "inference"),
    "USE1-xai.grok-4.6-mantle-input-tokens-global-standard": ("xai.grok-4.6", IN, STANDARD, GLOBAL, "inference"),
    "USE1-openai.gpt-5.5-mantle-input-tokens-standard": ("openai.gpt-5.5", IN, STANDARD, REGIONAL, "inference"),
    "USE1-nvidia.nemotron-nano-9b-v2-mantle-input-tokens-standard": (
        "nvidia.nemotron-nano-9b-v2", IN, STANDARD, REGIONAL, "inference",
    ),
    "EUW2-deepseek.v3.2-mantle-input-tokens-standard": ("deepseek.v3.2", IN, STANDARD, REGIONAL, "inference"),
    "EU-gpt-oss-120b-output-tokens-batch": ("openai.gpt-oss-120b", OUT, BATCH, REGIONAL, "inference"),
    "USE1-Claude4Sonnet-input-tokens-cross-region-global": ("anthropic.claude-sonnet-4", IN, STANDARD, GLOBAL, "inference"),
    "USE1-Claude4Sonnet-input-tokens-long-context-cross-region-global": (
        "anthropic.claude-sonnet-4", IN, LONG, GLOBAL, "inference",
    ),
    "USE1-Claude4Sonnet-cache-read-input-token-count-long-context-cross-region-global": (
        "anthropic.claude-sonnet-4", READ, LONG, GLOBAL, "inference",
    ),
    "USE1-NovaReel-output-seconds": ("amazon.nova-reel", TokenKind.SECOND, STANDARD, REGIONAL, "video"),
    "USE1-NovaReel-HDResolution-output-seconds": ("amazon.nova-reel", TokenKind.SECOND, STANDARD, REGIONAL, "video"),
    "USW2-Ray-V2-Medfps-HDRes": ("luma.ray-v2", TokenKind.SECOND, STANDARD, REGIONAL, "video"),
    "USE1-Nova2.0Omni-output-image-token-count": ("amazon.nova-2-omni", OTHER, STANDARD, REGIONAL, "image tokens"),
    "USE1-TitanImageGeneratorG1-ProvisionedThroughput-NoCommit-ModelUnits": (
        "amazon.titan-image-generator-v1", TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput",
    ),
}  # fmt: skip

Dimension = tuple[TokenKind, Tier, Routing, str]

MARKETPLACE: dict[str, Dimension] = {
    "USE1-MP:USE1_CacheReadInputTokenCount-Units": (READ, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_CacheReadInputTokenCount_Global-Units": (READ, STANDARD, GLOBAL, "inference"),
    "USE1-MP:USE1_CacheStorage-Units": (OTHER, STANDARD, REGIONAL, "prompt cache storage"),
    "USE1-MP:USE1_CacheValidationCount-Units": (OTHER, STANDARD, REGIONAL, "prompt cache storage"),
    "USE1-MP:USE1_CacheWrite1hInputTokenCount-Units": (WRITE_1H, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units": (WRITE_1H, STANDARD, GLOBAL, "inference"),
    "USE1-MP:USE1_CacheWrite30mInputTokenCount-Units": (WRITE_30M, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_CacheWrite5mInputTokenCount-Units": (WRITE, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_CacheWriteInputTokenCount-Units": (WRITE, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_InputImageCount-Units": (TokenKind.IMAGE, STANDARD, REGIONAL, "image"),
    "USE1-MP:USE1_InputTokenCount-Units": (IN, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_InputTokenCount_Batch-Units": (IN, BATCH, REGIONAL, "inference"),
    "USE1-MP:USE1_InputTokenCount_Global-Units": (IN, STANDARD, GLOBAL, "inference"),
    "USE1-MP:USE1_InputTokenCount_Global_Batch-Units": (IN, BATCH, GLOBAL, "inference"),
    "USE1-MP:USE1_InputTokenCount_LatencyOptimized-Units": (IN, FAST, REGIONAL, "inference"),
    "USE1-MP:USE1_OutputTokenCount-Units": (OUT, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_OutputTokenCount_Global-Units": (OUT, STANDARD, GLOBAL, "inference"),
    "USE1-MP:USE1_ProvisionedThroughput_1MonthCommit_ModelUnits_Usage-Units": (
        TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput",
    ),
    "USE1-MP:USE1_cache_write_tokens_1h_standard-Units": (WRITE_1H, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_created_image-Units": (TokenKind.IMAGE, STANDARD, REGIONAL, "image"),
    "USE1-MP:USE1_search_units-Units": (TokenKind.SEARCH_UNIT, STANDARD, REGIONAL, "rerank"),
    "USE1-MP:USE1_input_tokens_standard-Units": (IN, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_input_tokens_global_standard-Units": (IN, STANDARD, GLOBAL, "inference"),
    "USE1-MP:USE1_output_tokens_standard-Units": (OUT, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_cache_write_tokens_1h_global_standard-Units": (WRITE_1H, STANDARD, GLOBAL, "inference"),
    "EU-MP:EU_cache_write_tokens_standard-Units": (WRITE, STANDARD, REGIONAL, "inference"),
    "EU-MP:EU_cache_write_tokens_1h_global_standard-Units": (WRITE_1H, STANDARD, GLOBAL, "inference"),
    "APS3-MP:APS3_input_tokens_global_standard-Units": (IN, STANDARD, GLOBAL, "inference"),
    "APN1-MP:APN1_MillionBatchInputTokens-Units": (IN, BATCH, REGIONAL, "inference"),
    "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units": (OTHER, RESERVED, REGIONAL, "reserved tier"),
    "USE1-MP:USE1_Reserved_3Month_OutputTPM_Global-Units": (OTHER, RESERVED, GLOBAL, "reserved tier"),
    # Neither tokens nor images by its string alone: its money is kept, its meaning is not guessed.
    "USE1-MP:USE1_Cohere_Embed_V4-Units": (OTHER, STANDARD, REGIONAL, UNCLASSIFIED),
}  # fmt: skip

SONNET_4_6: dict[str, Dimension] = {
    "InputTokenCount": (IN, STANDARD, REGIONAL, "inference"),
    "InputTokenCount_Global": (IN, STANDARD, GLOBAL, "inference"),
    "OutputTokenCount": (OUT, STANDARD, REGIONAL, "inference"),
    "OutputTokenCount_Global": (OUT, STANDARD, GLOBAL, "inference"),
    "CacheReadInputTokenCount": (READ, STANDARD, REGIONAL, "inference"),
    "CacheReadInputTokenCount_Global": (READ, STANDARD, GLOBAL, "inference"),
    "CacheWriteInputTokenCount": (WRITE, STANDARD, REGIONAL, "inference"),
    "CacheWriteInputTokenCount_Global": (WRITE, STANDARD, GLOBAL, "inference"),
    "CacheWrite1hInputTokenCount": (WRITE_1H, STANDARD, REGIONAL, "inference"),
    "CacheWrite1hInputTokenCount_Global": (WRITE_1H, STANDARD, GLOBAL, "inference"),
    "InputTokenCount_Batch": (IN, BATCH, REGIONAL, "inference"),
    "InputTokenCount_Global_Batch": (IN, BATCH, GLOBAL, "inference"),
    "OutputTokenCount_Batch": (OUT, BATCH, REGIONAL, "inference"),
    "OutputTokenCount_Global_Batch": (OUT, BATCH, GLOBAL, "inference"),
    "Reserved_1Month_InputTPM_Geo": (OTHER, RESERVED, REGIONAL, "reserved tier"),
    "Reserved_1Month_InputTPM_Global": (OTHER, RESERVED, GLOBAL, "reserved tier"),
    "Reserved_1Month_OutputTPM_Geo": (OTHER, RESERVED, REGIONAL, "reserved tier"),
    "Reserved_1Month_OutputTPM_Global": (OTHER, RESERVED, GLOBAL, "reserved tier"),
    "Reserved_3Month_InputTPM_Geo": (OTHER, RESERVED, REGIONAL, "reserved tier"),
    "Reserved_3Month_InputTPM_Global": (OTHER, RESERVED, GLOBAL, "reserved tier"),
    "Reserved_3Month_OutputTPM_Geo": (OTHER, RESERVED, REGIONAL, "reserved tier"),
    "Reserved_3Month_OutputTPM_Global": (OTHER, RESERVED, GLOBAL, "reserved tier"),
}

# Strings that AWS's own dashboards look for (billing.md, 4.3) and that no published table has.
FEATURES = {
    "USE1-custommodelimport-inference": "custom model import",
    "USE1-CustomModelImport-Storage": "custom model import",
    "USE1-NovaPro-customization-training": "customization",
    "USE1-NovaPro-Customization-Storage": "customization",
    "USE1-NovaLite-rft-training": "customization",
    "USE1-Guardrail-ContentPolicyUnitsConsumed": "guardrails",
    "USE1-InvokeFlow": "flows",
    "USE1-BedrockFlows-NodeTransitions": "flows",
    "USE1-OptimizePrompt-tokens": "prompt optimization",
    "USE1-Nova-prompt-routing": "prompt routing",
    "USE1-nova-grounding-requests": "grounding",
    "USE1-GenerateSQL": "structured retrieval",
    "USE1-StructuredRetrieve": "structured retrieval",
    "USE1-Cohere-searchunits": "rerank",
    "USE1-DataAutomation-Custom-Pages": "data automation",
    "USE1-NovaCanvas-T2I-1024-Standard": "image",
    "USE1-ModelEvaluations-HumanTasks": "evaluations",
    "USE1-AgentCore-Runtime-vCPU-Hours": "agentcore",
    "USE1-AgentCore-Gateway-API-Invocations": "agentcore",
    "USE1-AgentCore-short-term-memory": "agentcore",
}
SONNET_PRODUCT = "Claude Sonnet 4.6 (Amazon Bedrock Edition)"


def decoded(model: str, kind: TokenKind, tier: Tier, routing: Routing, feature: str) -> DecodedUsageType:
    return DecodedUsageType(Meter(model, kind, tier, routing), feature)


@pytest.mark.parametrize(("usage_type", "expected"), CLASSIC.items())
def test_a_classic_or_mantle_usage_type_means_what_its_string_says(usage_type: str, expected: Expected) -> None:
    assert decode_usage_type(usage_type) == decoded(*expected)


@pytest.mark.parametrize(("usage_type", "expected"), MARKETPLACE.items())
def test_a_marketplace_usage_type_means_what_its_string_says(usage_type: str, expected: Dimension) -> None:
    assert decode_usage_type(usage_type) == decoded("", *expected)
    assert decode_usage_type(usage_type, SONNET_PRODUCT) == decoded("anthropic.claude-sonnet-4-6", *expected)


@pytest.mark.parametrize(("dimension", "expected"), SONNET_4_6.items())
def test_every_dimension_of_sonnet_4_6_is_its_own_meter(dimension: str, expected: Dimension) -> None:
    usage_type = f"USE1-MP:USE1_{dimension}-Units"

    assert decode_usage_type(usage_type, SONNET_PRODUCT) == decoded("anthropic.claude-sonnet-4-6", *expected)


@pytest.mark.parametrize(("usage_type", "feature"), FEATURES.items())
def test_what_is_not_a_request_is_a_feature_of_its_own(usage_type: str, feature: str) -> None:
    assert decode_usage_type(usage_type).feature == feature


@needs_samples
def test_an_expectation_is_stated_for_every_published_usage_type() -> None:
    seen = {row["usagetype"] for row in sample_rows("cur/price_list_usage_types_seen.csv")}

    assert seen == {*CLASSIC, *MARKETPLACE}


@needs_samples
def test_every_published_row_of_sonnet_4_6_agrees_in_routing_and_no_two_share_a_meter_and_a_price() -> None:
    rows = sample_rows("cur/price_list_sonnet46_usage_types.csv")
    routings = {"Geo/Regional": REGIONAL, "Global": GLOBAL}

    assert {row["usagetype_without_region_prefix"] for row in rows} == set(SONNET_4_6)
    for row in rows:
        assert SONNET_4_6[row["usagetype_without_region_prefix"]][2] is routings[row["routing"]]
    tokens = [SONNET_4_6[row["usagetype_without_region_prefix"]] for row in rows if row["unit"] == "1M tokens"]
    assert len(tokens) == len(set(tokens))


@pytest.mark.parametrize("usage_type", ["USE1-NovaReel-output-seconds", "USE1-Nova2.0Omni-output-image-token-count"])
def test_seconds_and_image_tokens_are_not_output_text(usage_type: str) -> None:
    result = decode_usage_type(usage_type)

    assert result.feature != "inference"
    assert result.meter.token_kind is not OUT


@pytest.mark.parametrize(
    ("usage_type", "product"),
    [
        ("USE1-Claude4Sonnet-input-tokens", ""),
        ("USE1-MP:USE1_InputTokenCount-Units", "Claude Sonnet 4 (Amazon Bedrock Edition)"),
        ("USE1-MP:USE1_input_tokens_standard-Units", "Claude Sonnet 4 (Amazon Bedrock Edition)"),
        # The same usage types as the offers of the price list publish them, and without the outer Region.
        ("Claude4Sonnet-input-tokens", ""),
        ("MP:USE1_InputTokenCount-Units", "Claude Sonnet 4 (Amazon Bedrock Edition)"),
    ],
)
def test_one_model_has_one_meter_under_all_its_names_of_a_month(usage_type: str, product: str) -> None:
    assert decode_usage_type(usage_type, product).meter == Meter("anthropic.claude-sonnet-4", IN)


@given(st.text(max_size=60), st.text(max_size=40))
def test_whatever_the_bill_says_is_decoded_or_unclassified(usage_type: str, product: str) -> None:
    result = decode_usage_type(usage_type, product)

    assert result.feature != UNCLASSIFIED or result.meter.token_kind is OTHER


def test_an_unknown_usage_type_is_unclassified_and_counts_no_tokens() -> None:
    result = decode_usage_type("USE1-BrandNewThing")

    assert result.feature == UNCLASSIFIED
    assert tokens_of(Decimal(7), result, "1K tokens", "") is None


def units_of(usage_type: str, quantity: str, pricing_unit: str, description: str = "") -> Decimal | None:
    return tokens_of(Decimal(quantity), decode_usage_type(usage_type, SONNET_PRODUCT), pricing_unit, description)


INPUT_MP = "USW2-MP:USW2_InputTokenCount-Units"


def test_the_published_marketplace_row_stands_for_26450_tokens_of_claude_3_5_sonnet_in_us_west_2() -> None:
    description = "AWS Marketplace software usage|us-west-2|Million Input Tokens"

    result = decode_usage_type(INPUT_MP, "Claude 3.5 Sonnet (Amazon Bedrock Edition)")

    assert result == decoded("anthropic.claude-3-5-sonnet", IN, STANDARD, REGIONAL, "inference")
    assert tokens_of(Decimal("0.02645"), result, "Units", description) == 26450
    assert region_of("", INPUT_MP, description) == "us-west-2"


@pytest.mark.parametrize(
    ("pricing_unit", "description", "tokens"),
    [
        ("Units", "AWS Marketplace software usage|us-east-1|Million Input Tokens Regional CRIS", 1500000),
        ("Units", "AWS Marketplace software usage|us-east-1|Input Tokens - Standard, Global", 1500000),
        ("1M tokens", "AWS Marketplace software usage|us-east-1|Price per 1 million input tokens", 1500000),
        ("1M tokens", "AWS Marketplace software usage|us-east-1|thousand Cache Read Input Tokens Regional", 1500000),
        ("Units", "", 1500000),
        ("1K tokens", "$0.0008 per 1K input tokens for Nova Pro in US East", 1500),
        ("1K Input Tokens", "", 1500),
    ],
)
def test_a_quantity_stands_for_the_tokens_of_its_pricing_unit(pricing_unit: str, description: str, tokens: int) -> None:
    assert units_of(INPUT_MP, "1.5", pricing_unit, description) == tokens


def test_a_description_of_thousands_beside_a_price_per_million_is_not_trusted() -> None:
    description = "AWS Marketplace software usage|us-east-1|thousand Cache Read Input Tokens Regional"

    assert units_of("USE1-MP:USE1_CacheReadInputTokenCount-Units", "1.5", "Units", description) is None


@pytest.mark.parametrize("pricing_unit", ["", "Requests", "1M TPM Hour", "GB"])
def test_tokens_of_an_unknown_unit_are_unknown(pricing_unit: str) -> None:
    assert units_of("USE1-NovaPro-input-tokens", "1.5", pricing_unit) is None


def test_images_and_seconds_are_counted_as_they_are_and_capacity_not_at_all() -> None:
    assert units_of("USE1-MP:USE1_created_image-Units", "3", "Units") == 3
    assert units_of("USE1-NovaReel-output-seconds", "6", "Second") == 6
    assert units_of("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "6", "1M TPM Hour") is None


@given(st.integers(1, 10**20), st.integers(0, 12))
def test_tokens_are_exact_however_small_the_quantity(units: int, scale: int) -> None:
    quantity = Decimal(f"{units}E-{scale}")

    tokens = tokens_of(quantity, decode_usage_type("USE1-NovaPro-input-tokens"), "1K tokens", "")

    assert tokens is not None
    assert tokens.as_integer_ratio() == Decimal(f"{units}E{3 - scale}").as_integer_ratio()


@pytest.mark.parametrize(
    ("product_region", "usage_type", "description", "region"),
    [
        ("eu-west-1", "USE1-NovaPro-input-tokens", "", "eu-west-1"),
        ("", "EU-gpt-oss-120b-output-tokens-batch", "", "eu-west-1"),
        ("", "EUW2-deepseek.v3.2-mantle-input-tokens-standard", "", "eu-west-2"),
        ("", "APS3-MP:APS3_input_tokens_global_standard-Units", "", "ap-south-1"),
        ("", "USE1-MP:USE1_InputTokenCount-Units", "software usage|us-gov-west-1|Million Input Tokens", "us-gov-west-1"),
        ("", "USE1-MP:USE1_InputTokenCount-Units", "software usage|Million Input Tokens", "us-east-1"),
        ("", "Claude4Sonnet-input-tokens", "", ""),
    ],
)
def test_the_region_is_the_first_that_the_row_states(
    product_region: str, usage_type: str, description: str, region: str
) -> None:
    assert region_of(product_region, usage_type, description) == region
