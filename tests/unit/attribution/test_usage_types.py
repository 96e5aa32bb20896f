"""What usage types mean: every row of the published tables against a stated expectation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import METERED_IN_TOKENS, TOKEN_KINDS, Meter, Routing, Tier, TokenKind
from attribution.models import CATALOGUE, model_reference
from attribution.usage_types import (
    PRICE_BOUNDS,
    REGIONS,
    UNCLASSIFIED,
    DecodedUsageType,
    decode_usage_type,
    region_of,
    tokens_of,
)
from tests.unit.attribution.shared_samples import SAMPLES, needs_samples, sample_rows

IN, OUT = TokenKind.INPUT, TokenKind.OUTPUT
READ, WRITE, WRITE_30M, WRITE_1H = (
    TokenKind.CACHE_READ,
    TokenKind.CACHE_WRITE,
    TokenKind.CACHE_WRITE_30M,
    TokenKind.CACHE_WRITE_1H,
)
OTHER = TokenKind.OTHER
IMAGE_IN, IMAGE_OUT, AUDIO_IN, AUDIO_OUT, VIDEO_IN = (
    TokenKind.IMAGE_INPUT,
    TokenKind.IMAGE_OUTPUT,
    TokenKind.AUDIO_INPUT,
    TokenKind.AUDIO_OUTPUT,
    TokenKind.VIDEO_INPUT,
)
TPM_IN, TPM_OUT = TokenKind.INPUT_TPM_HOUR, TokenKind.OUTPUT_TPM_HOUR
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

Expected = tuple[str, TokenKind, Tier, Routing, str] | tuple[str, TokenKind, Tier, Routing, str, str]

# Read from the strings by hand. Marketplace rows name no model: it is in the product name.
CLASSIC: dict[str, Expected] = {
    "USE1-Claude2.0-input-tokens": ("anthropic.claude-v2", IN, STANDARD, REGIONAL, "inference"),
    "USE1-Claude3-5Haiku-input-tokens-latency-optimized": ("anthropic.claude-3-5-haiku", IN, FAST, REGIONAL, "inference"),
    "USE1-Claude3Sonnet-input-tokens": ("anthropic.claude-3-sonnet", IN, STANDARD, REGIONAL, "inference"),
    "USE1-GPT-OSS-Safeguard-120B-output-tokens-batch": ("openai.gpt-oss-safeguard-120b", OUT, BATCH, REGIONAL, "inference"),
    "USE1-GPT-OSS-Safeguard-20B-input-tokens-priority": ("openai.gpt-oss-safeguard-20b", IN, PRIORITY, REGIONAL, "inference"),
    "USE1-Gemma-3-4B-IT-input-tokens-flex": ("google.gemma-3-4b-it", IN, FLEX, REGIONAL, "inference"),
    "USE1-Guardrail-AutomatedReasoningPolicyUnitsConsumed": ("", TokenKind.GUARDRAIL_UNIT, STANDARD, REGIONAL, "guardrails"),
    "USE1-Llama3-1-405B-input-tokens": ("meta.llama3-1-405b-instruct", IN, STANDARD, REGIONAL, "inference"),
    "USE1-Llama3-2-1B-output-tokens": ("meta.llama3-2-1b-instruct", OUT, STANDARD, REGIONAL, "inference"),
    "USE1-Llama4-Maverick-17B-input-tokens-batch": ("meta.llama4-maverick-17b-instruct", IN, BATCH, REGIONAL, "inference"),
    "USE1-MistralSmall-input-tokens-batch": ("mistral.mistral-small-2402", IN, BATCH, REGIONAL, "inference"),
    "USE1-Nova2.0Lite-input-tokens-cross-region-global-batch": ("amazon.nova-2-lite", IN, BATCH, GLOBAL, "inference"),
    "USE1-Nova2.0Pro-input-image-token-count-cross-region-global": (
        "amazon.nova-2-pro", IMAGE_IN, STANDARD, GLOBAL, "image tokens",
    ),
    "USE1-Nova2.0Pro-text-input-tokens-priority-cross-region-global": (
        "amazon.nova-2-pro", IN, PRIORITY, GLOBAL, "inference",
    ),
    "USE1-NovaPro-cache-write-input-token-count-custom-model": (
        "amazon.nova-pro custom model", WRITE, STANDARD, REGIONAL, "custom model inference",
    ),
    "USE1-NovaSonic-speech-input-tokens": ("amazon.nova-sonic", AUDIO_IN, STANDARD, REGIONAL, "speech"),
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
    "USE1-Nova2.0Omni-output-image-token-count": ("amazon.nova-2-omni", IMAGE_OUT, STANDARD, REGIONAL, "image tokens"),
    "USE1-TitanImageGeneratorG1-ProvisionedThroughput-NoCommit-ModelUnits": (
        "amazon.titan-image-generator-v1", TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput",
        "no commitment",
    ),
}  # fmt: skip

Dimension = tuple[TokenKind, Tier, Routing, str] | tuple[TokenKind, Tier, Routing, str, str]

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
        TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput", "1 month",
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
    "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units": (TPM_IN, RESERVED, REGIONAL, "reserved tier", "1 month"),
    "USE1-MP:USE1_Reserved_3Month_OutputTPM_Global-Units": (TPM_OUT, RESERVED, GLOBAL, "reserved tier", "3 months"),
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
    "Reserved_1Month_InputTPM_Geo": (TPM_IN, RESERVED, REGIONAL, "reserved tier", "1 month"),
    "Reserved_1Month_InputTPM_Global": (TPM_IN, RESERVED, GLOBAL, "reserved tier", "1 month"),
    "Reserved_1Month_OutputTPM_Geo": (TPM_OUT, RESERVED, REGIONAL, "reserved tier", "1 month"),
    "Reserved_1Month_OutputTPM_Global": (TPM_OUT, RESERVED, GLOBAL, "reserved tier", "1 month"),
    "Reserved_3Month_InputTPM_Geo": (TPM_IN, RESERVED, REGIONAL, "reserved tier", "3 months"),
    "Reserved_3Month_InputTPM_Global": (TPM_IN, RESERVED, GLOBAL, "reserved tier", "3 months"),
    "Reserved_3Month_OutputTPM_Geo": (TPM_OUT, RESERVED, REGIONAL, "reserved tier", "3 months"),
    "Reserved_3Month_OutputTPM_Global": (TPM_OUT, RESERVED, GLOBAL, "reserved tier", "3 months"),
}

# Usage types of the families in docs/usage-types.md that the published tables do not have: what AWS's own dashboards look for,
# and what price lists, bills and Marketplace offers show.
FAMILIES: dict[str, Expected] = {
    "USE1-Claude4.6Opus-input-tokens-cross-region-global": ("anthropic.claude-opus-4-6", IN, STANDARD, GLOBAL, "inference"),
    "USE1-Claude4.6Sonnet-cache-write-input-token-count": (
        "anthropic.claude-sonnet-4-6", WRITE, STANDARD, REGIONAL, "inference",
    ),
    "USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard": (
        "anthropic.claude-opus-4-8", WRITE, STANDARD, GLOBAL, "inference",
    ),
    "USE1-openai.gpt-5.6-luna-mantle-cache-write-tokens-5m-long-ctx-flex": (
        "openai.gpt-5.6-luna", WRITE, Tier.LONG_CONTEXT_FLEX, REGIONAL, "inference",
    ),
    "USE1-moonshotai.kimi-k3-mantle-cache-write-tokens-30m-standard": (
        "moonshotai.kimi-k3", WRITE_30M, STANDARD, REGIONAL, "inference",
    ),
    "USE1-xai.grok-4.3-mantle-cache-read-tokens-priority": ("xai.grok-4.3", READ, PRIORITY, REGIONAL, "inference"),
    "USE1-nvidia.nemotron-super-3-120b-input-tokens-flex": ("nvidia.nemotron-super-3-120b", IN, FLEX, REGIONAL, "inference"),
    "EU-NovaPremier-input-tokens-cross-region-eu": ("amazon.nova-premier", IN, STANDARD, REGIONAL, "inference"),
    "USE1-NovaPremier-input-tokens-cross-region": ("amazon.nova-premier", IN, STANDARD, REGIONAL, "inference"),
    "USE1-TitanEmbeddingV2-Text-input-tokens": ("amazon.titan-embed-text-v2", IN, STANDARD, REGIONAL, "inference"),
    "APN1-TitanEmbeddingsG1-Text-input-tokens": ("amazon.titan-embed-text-v1", IN, STANDARD, REGIONAL, "inference"),
    "USE1-DeepSeek-R1-output-tokens": ("deepseek.r1", OUT, STANDARD, REGIONAL, "inference"),
    "USE1-Nova2.0Lite-output-tokens-custom-model": (
        "amazon.nova-2-lite custom model", OUT, STANDARD, REGIONAL, "custom model inference",
    ),
    "USE1-Nova2.0Omni-input-audio-token-count-batch": ("amazon.nova-2-omni", AUDIO_IN, BATCH, REGIONAL, "audio tokens"),
    "USE1-Nova2.0Omni-input-video-token-count-flex": ("amazon.nova-2-omni", VIDEO_IN, FLEX, REGIONAL, "video tokens"),
    "USE1-NovaSonic2.0-speech-output-tokens": ("amazon.nova-2-sonic", AUDIO_OUT, STANDARD, REGIONAL, "speech"),
    "USE1-NovaSonic-speech-understanding-input-token": ("amazon.nova-sonic", AUDIO_IN, STANDARD, REGIONAL, "speech"),
    "USE1-NovaCanvas-T2I-1024-Standard": ("amazon.nova-canvas", TokenKind.IMAGE, STANDARD, REGIONAL, "image"),
    "USE1-Llama3-1-70B-ProvisionedThroughput-1month-ModelUnits": (
        "meta.llama3-1-70b-instruct", TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput", "1 month",
    ),
    "USE1-TitanText-Premier-ProvisionedThroughput-Custom-NoCommit-ModelUnits": (
        "amazon.titan-text-premier", TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput",
        "no commitment",
    ),
    "USE1-Llama-CustomModelImport-Inference-v1:0": (
        "", TokenKind.MODEL_UNIT_MINUTE, STANDARD, REGIONAL, "custom model import",
    ),
    "USE1-OSS-CustomModelImport-Storage-v2:0": ("", TokenKind.MODEL_MONTH, STANDARD, REGIONAL, "custom model import"),
    "USE1-custommodelimport-inference": ("", TokenKind.MODEL_UNIT_MINUTE, STANDARD, REGIONAL, "custom model import"),
    "USE1-NovaPro-customization-training": ("amazon.nova-pro", TokenKind.TRAINING, STANDARD, REGIONAL, "customization"),
    "USE1-NovaPro-Customization-Storage": ("amazon.nova-pro", TokenKind.MODEL_MONTH, STANDARD, REGIONAL, "customization"),
    "USE1-Nova2.0Lite-RFT-Training-Hours": ("amazon.nova-2-lite", TokenKind.HOUR, STANDARD, REGIONAL, "customization"),
    "USE1-NovaLite-rft-training": ("amazon.nova-lite", TokenKind.TRAINING, STANDARD, REGIONAL, "customization"),
    "USE1-Guardrail-ContentPolicyUnitsConsumed": ("", TokenKind.GUARDRAIL_UNIT, STANDARD, REGIONAL, "guardrails"),
    "USE1-GuardrailChecks-PromptAttackCheckUnitsConsumed": ("", TokenKind.GUARDRAIL_UNIT, STANDARD, REGIONAL, "guardrails"),
    "USE1-InvokeFlow": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "flows"),
    "USE1-BedrockFlows-NodeTransitions": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "flows"),
    "USE1-APO-optimizePrompt-tokens": ("", OTHER, STANDARD, REGIONAL, "prompt optimization"),
    "USE1-Nova-prompt-routing": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "prompt routing"),
    "USE1-Nova2.0Lite-nova-grounding": ("amazon.nova-2-lite", TokenKind.REQUEST, STANDARD, REGIONAL, "grounding"),
    "USE1-Bedrock-Websearch-Queries": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "web search"),
    "USE1-GenerateSQL": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "structured retrieval"),
    "USE1-StructuredRetrieve": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "structured retrieval"),
    "USE1-Cohere-searchunits": ("Cohere", TokenKind.SEARCH_UNIT, STANDARD, REGIONAL, "rerank"),
    "USE1-DataAutomation-Custom-PagesProcessed": ("", TokenKind.PAGE, STANDARD, REGIONAL, "data automation"),
    "USE1-DataAutomation-Standard-ImagesProcessed": ("", TokenKind.IMAGE, STANDARD, REGIONAL, "data automation"),
    "USE1-DataAutomation-Standard-AddOnFields": ("", OTHER, STANDARD, REGIONAL, "data automation"),
    "USE1-ModelEvaluations-HumanTasks": ("", OTHER, STANDARD, REGIONAL, "evaluations"),
    "USE1-Knowledge-Base:Consumption-based:Storage": ("", TokenKind.GB_MONTH, STANDARD, REGIONAL, "knowledge bases"),
    "USE1-Knowledge-Base:Consumption-based:AgenticRetrieval": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "knowledge bases"),
    "USE1-Runtime:Consumption-based:vCPU": ("", TokenKind.VCPU_HOUR, STANDARD, REGIONAL, "agentcore"),
    "USE1-Runtime:Consumption-based:Memory": ("", TokenKind.GB_HOUR, STANDARD, REGIONAL, "agentcore"),
    "USE1-BrowserTool:Consumption-based:vCPU": ("", TokenKind.VCPU_HOUR, STANDARD, REGIONAL, "agentcore"),
    "USE1-Runtime:Instance-based:m7g.large:Management-Hours": ("", TokenKind.HOUR, STANDARD, REGIONAL, "agentcore"),
    "USE1-Gateway:Consumption-based:API-Invocations": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "agentcore"),
    "USE1-Gateway:Consumption-based:Tool-Indexing": ("", OTHER, STANDARD, REGIONAL, "agentcore"),
    "USE1-Memory:Consumption-based:Short-Term-Memory": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "agentcore"),
    "USE1-Memory:Consumption-based:Long-Term-Memory-Storage:Built-in-memory": ("", OTHER, STANDARD, REGIONAL, "agentcore"),
    "USE1-Evaluations:Consumption-based:BuiltIn-Input:Tier1": ("", OTHER, STANDARD, REGIONAL, "agentcore"),
    "USE1-Bedrock-Agent-Core:Auth-Request:Oauth2": ("", TokenKind.REQUEST, STANDARD, REGIONAL, "agentcore"),
    "DataTransfer-Regional-Bytes": ("", TokenKind.GB, STANDARD, REGIONAL, "data transfer"),
    "USE1-USE2-AWS-Out-Bytes": ("", TokenKind.GB, STANDARD, REGIONAL, "data transfer"),
    # Marketplace dimensions; without a product name they name no model.
    "USW2-MP:USW2_InputTokenCount_LCtx_Global-Units": ("", IN, LONG, GLOBAL, "inference"),
    "USE1-MP:USE1_cache_write_tokens_1h_long_ctx_standard-Units": ("", WRITE_1H, LONG, REGIONAL, "inference"),
    "USE1-MP:USE1_output_tokens_long_ctx_global_batch-Units": ("", OUT, Tier.LONG_CONTEXT_BATCH, GLOBAL, "inference"),
    "USE1-MP:USE1_input_tokens_long_ctx_priority-Units": ("", IN, Tier.LONG_CONTEXT_PRIORITY, REGIONAL, "inference"),
    "APN1-MP:APN1_input_tokens_priority-Units": ("", IN, PRIORITY, REGIONAL, "inference"),
    "USE1-MP:USE1_cached_input_tokens_batch-Units": ("", READ, BATCH, REGIONAL, "inference"),
    "USW2-MP:USW2_OutputTokenCount_Geo-Units": ("", OUT, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_MillionBatchOutputTokens-Units": ("", OUT, BATCH, REGIONAL, "inference"),
    "USE1-MP:USE1_MillionResponseTokens-Units": ("", OUT, STANDARD, REGIONAL, "inference"),
    "USE1-MP:USE1_CustomModelInputTokenCount-Units": ("custom model", IN, STANDARD, REGIONAL, "custom model inference"),
    "USE1-MP:USE1_CustomizationTokenCount-Units": ("", TokenKind.TRAINING, STANDARD, REGIONAL, "customization"),
    "USE1-MP:USE1_inputVideoSecond-Units": ("", TokenKind.SECOND, STANDARD, REGIONAL, "video"),
    "USE1-MP:USE1_ProvisionedThroughput_6MonthsCommit_ModelUnits_Usage-Units": (
        "", TokenKind.MODEL_UNIT_HOUR, PROVISIONED, REGIONAL, "provisioned throughput", "6 months",
    ),
    "USE1_output_tokens_global_standard-Units": ("", OUT, STANDARD, GLOBAL, "inference"),
}  # fmt: skip

# A word that qualifies tokens in a way that is not known here.
STRANGE = (
    "USE1-NovaPro-input-tokens-turbo",
    "USE1-NovaPro-input-tokens-cross-region-mars",
    "USE1-NovaPro-cache-read-input-token-count-2h",
    "USE1-NovaPro-cache-evict-input-token-count",
    "USE1-MP:USE1_InputTokenCount_Quantum-Units",
    "USE1-MP:USE1_cache_write_tokens_2h_standard-Units",
    "USE1-MP:USE1_Embed_input_tokens_standard-Units",
)
SONNET_PRODUCT = "Claude Sonnet 4.6 (Amazon Bedrock Edition)"


def decoded(model: str, kind: TokenKind, tier: Tier, routing: Routing, feature: str, commitment: str = "") -> DecodedUsageType:
    return DecodedUsageType(Meter(model, kind, tier, routing), feature, commitment)


def published(name: str) -> list[dict[str, str]]:
    """The rows of a sample table; none where the samples are absent, which skips what is parametrized over them."""
    return sample_rows(name) if SAMPLES.is_dir() else []


SEEN = [row["usagetype"] for row in published("cur/price_list_usage_types_seen.csv")]


@needs_samples
@pytest.mark.parametrize("usage_type", SEEN)
def test_every_published_usage_type_means_what_its_string_says(usage_type: str) -> None:
    if usage_type in CLASSIC:
        assert decode_usage_type(usage_type) == decoded(*CLASSIC[usage_type])
    else:
        assert decode_usage_type(usage_type) == decoded("", *MARKETPLACE[usage_type])
        expected = decoded("anthropic.claude-sonnet-4-6", *MARKETPLACE[usage_type])
        assert decode_usage_type(usage_type, SONNET_PRODUCT) == expected


@needs_samples
def test_an_expectation_is_stated_for_every_published_usage_type_and_all_but_one_have_a_meaning() -> None:
    unclassified = [u for u in SEEN if decode_usage_type(u).feature == UNCLASSIFIED]

    assert {*SEEN} == {*CLASSIC, *MARKETPLACE}
    assert unclassified == ["USE1-MP:USE1_Cohere_Embed_V4-Units"]


@needs_samples
@pytest.mark.parametrize(
    "row", published("cur/price_list_sonnet46_usage_types.csv"), ids=lambda row: row["usagetype_without_region_prefix"]
)
def test_every_published_row_of_sonnet_4_6_means_what_its_columns_say(row: dict[str, str]) -> None:
    dimension, price = row["usagetype_without_region_prefix"], Decimal(row["usd"])

    result = decode_usage_type(f"USE1-MP:USE1_{dimension}-Units", SONNET_PRODUCT)

    assert result == decoded("anthropic.claude-sonnet-4-6", *SONNET_4_6[dimension])
    assert result.meter.routing is {"Geo/Regional": REGIONAL, "Global": GLOBAL}[row["routing"]]
    assert (result.meter.token_kind in TOKEN_KINDS) == (row["unit"] == "1M tokens")
    assert tokens_of(Decimal(1), result, row["unit"], "", price) == 1_000_000


@needs_samples
def test_no_two_published_rows_of_sonnet_4_6_share_a_meter_and_a_commitment() -> None:
    rows = published("cur/price_list_sonnet46_usage_types.csv")

    assert {row["usagetype_without_region_prefix"] for row in rows} == set(SONNET_4_6)
    assert len({*SONNET_4_6.values()}) == len(rows) == 22


@pytest.mark.parametrize(("usage_type", "expected"), FAMILIES.items())
def test_a_usage_type_of_every_family_means_what_its_string_says(usage_type: str, expected: Expected) -> None:
    assert decode_usage_type(usage_type) == decoded(*expected)


@pytest.mark.parametrize("usage_type", STRANGE)
def test_a_word_that_is_not_known_makes_tokens_unclassified_rather_than_standard(usage_type: str) -> None:
    result = decode_usage_type(usage_type)

    assert result.feature == UNCLASSIFIED
    assert result.meter.token_kind is OTHER


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


KNOWN = (*CLASSIC, *MARKETPLACE, *FAMILIES)
names = st.sampled_from(KNOWN) | st.text(max_size=60)
prefixes = st.sampled_from(sorted(REGIONS))


@given(names, st.text(max_size=40))
def test_whatever_the_bill_says_is_decoded_or_unclassified(usage_type: str, product: str) -> None:
    result = decode_usage_type(usage_type, product)

    assert result.feature != UNCLASSIFIED or result.meter.token_kind is OTHER
    assert not result.commitment or result.meter.tier in (RESERVED, PROVISIONED)


@given(names, prefixes, prefixes)
def test_a_usage_type_means_the_same_in_every_region(name: str, here: str, there: str) -> None:
    assert decode_usage_type(f"{here}-{name}") == decode_usage_type(f"{there}-{name}")


@pytest.mark.parametrize("usage_type", [u for u in KNOWN if u.startswith("USE1-")])
def test_the_region_prefix_is_no_part_of_the_meaning(usage_type: str) -> None:
    assert decode_usage_type(usage_type.replace("USE1", "APS9")) == decode_usage_type(usage_type)


@pytest.mark.parametrize("usage_type", KNOWN)
@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_letter_case_is_no_part_of_the_meaning(usage_type: str, spelled: object) -> None:
    changed = decode_usage_type(spelled(usage_type), SONNET_PRODUCT)  # type: ignore[operator]

    expected = decode_usage_type(usage_type, SONNET_PRODUCT)
    assert (changed.feature, changed.commitment) == (expected.feature, expected.commitment)
    assert changed.meter.model.casefold() == expected.meter.model.casefold()
    assert (changed.meter.token_kind, changed.meter.tier, changed.meter.routing) == (
        expected.meter.token_kind,
        expected.meter.tier,
        expected.meter.routing,
    )


def test_a_long_row_of_qualifiers_is_read_in_time() -> None:
    assert decode_usage_type("USE1-NovaPro-input-tokens" + "-cross-region-global" * 2000 + "-x").feature == UNCLASSIFIED


def test_both_generations_of_a_product_spell_one_meter() -> None:
    pairs = {
        "InputTokenCount_Global_Batch": "input_tokens_global_batch",
        "CacheReadInputTokenCount": "cache_read_tokens_standard",
        "CacheWrite5mInputTokenCount": "cache_write_tokens_standard",
        "CacheWrite1hInputTokenCount_Global": "cache_write_tokens_1h_global_standard",
        "OutputTokenCount_LatencyOptimized": "output_tokens_latency_optimized",
        "InputTokenCount_LCtx": "input_tokens_long_ctx_standard",
    }

    for camel, snake in pairs.items():
        both = [decode_usage_type(f"USE1-MP:USE1_{name}-Units", SONNET_PRODUCT) for name in (camel, snake)]
        assert both[0] == both[1]


def test_an_unknown_usage_type_is_unclassified_and_counts_no_tokens() -> None:
    result = decode_usage_type("USE1-BrandNewThing")

    assert result.feature == UNCLASSIFIED
    assert tokens_of(Decimal(7), result, "1K tokens", "", Decimal(1)) is None


# --- quantities -----------------------------------------------------------------------------------------------------


def units_of(usage_type: str, quantity: str, pricing_unit: str, description: str = "", cost: str = "0") -> Decimal | None:
    result = decode_usage_type(usage_type, SONNET_PRODUCT)
    return tokens_of(Decimal(quantity), result, pricing_unit, description, Decimal(cost))


INPUT_MP = "USW2-MP:USW2_InputTokenCount-Units"
CACHE_READ_MP = "USE1-MP:USE1_CacheReadInputTokenCount-Units"
SOLD_AS = "AWS Marketplace software usage|us-east-1|"


def test_the_published_marketplace_row_stands_for_26450_tokens_of_claude_3_5_sonnet_in_us_west_2() -> None:
    description = "AWS Marketplace software usage|us-west-2|Million Input Tokens"

    result = decode_usage_type(INPUT_MP, "Claude 3.5 Sonnet (Amazon Bedrock Edition)")

    assert result == decoded("anthropic.claude-3-5-sonnet", IN, STANDARD, REGIONAL, "inference")
    assert tokens_of(Decimal("0.02645"), result, "Units", description, Decimal("0.07935")) == 26450
    assert region_of("", INPUT_MP, description) == "us-west-2"


@pytest.mark.parametrize(
    ("pricing_unit", "description", "tokens"),
    [
        ("Units", f"{SOLD_AS}Million Input Tokens Regional CRIS", 1500000),
        ("Units", f"{SOLD_AS}Input Tokens - Standard, Global", 1500000),
        ("1M tokens", f"{SOLD_AS}Price per 1 million input tokens", 1500000),
        ("1M tokens", f"{SOLD_AS}thousand Cache Read Input Tokens Regional", 1500000),
        ("Units", "", 1500000),
        ("Units", f"{SOLD_AS}thousand Input Tokens", 1500),
        ("1K tokens", "$0.0008 per 1K input tokens for Nova Pro in US East", 1500),
        ("1K Input Tokens", "", 1500),
        ("1000 tokens", "", 1500),
        ("1000000 tokens", "", 1500000),
        ("MillionBatchInputTokens", "", 1500000),
        ("Tokens", "", Decimal("1.5")),
    ],
)
def test_without_a_price_a_quantity_stands_for_the_tokens_of_its_stated_unit(
    pricing_unit: str, description: str, tokens: Decimal
) -> None:
    for cost in ("0", "-0.5"):
        assert units_of(INPUT_MP, "1.5", pricing_unit, description, cost) == tokens


@pytest.mark.parametrize("pricing_unit", ["", "Requests", "1M TPM Hour", "1KTPMHour", "GB", "Second"])
def test_tokens_of_an_unknown_unit_are_unknown(pricing_unit: str) -> None:
    assert units_of("USE1-NovaPro-input-tokens", "1.5", pricing_unit) is None


def test_a_description_of_thousands_beside_a_price_per_million_is_not_trusted() -> None:
    description = f"{SOLD_AS}thousand Cache Read Input Tokens Regional"

    assert units_of(CACHE_READ_MP, "2", "Units", description, cost="0.66") is None
    # The same words beside the price of a thousand are.
    assert units_of(CACHE_READ_MP, "2", "Units", description, cost="0.00066") == 2000


def test_a_unit_of_millions_beside_a_price_per_thousand_is_not_trusted() -> None:
    assert units_of(INPUT_MP, "2", "1M tokens", cost="0.0066") is None
    assert units_of(INPUT_MP, "2", "1M tokens", cost="6.6") == 2000000


def test_plain_tokens_at_the_price_of_a_thousand_are_not_trusted() -> None:
    assert units_of("USE1-NovaPro-input-tokens", "2", "Tokens", cost="0.0016") is None
    assert units_of("USE1-NovaPro-input-tokens", "2", "Tokens", cost="0.0000016") == 2


def test_no_discount_makes_a_quantity_in_thousands_doubtful() -> None:
    assert units_of("USE1-NovaMicro-input-tokens-batch", "1", "1K tokens", cost="0.00000035") == 1000


@pytest.mark.parametrize(
    ("usage_type", "quantity", "unit", "units"),
    [
        ("USE1-MP:USE1_created_image-Units", "3", "Units", 3),
        ("USE1-NovaCanvas-T2I-1024-Standard", "3", "image", 3),
        ("USE1-NovaReel-output-seconds", "6", "Second", 6),
        # Sold by the video: how long it was is not known.
        ("USE1-NovaReel-output-seconds", "6", "video", None),
        ("USE1-MP:USE1_search_units-Units", "4", "Units", 4),
        ("USE1-Llama3-1-70B-ProvisionedThroughput-NoCommit-ModelUnits", "24", "hour", 24),
        ("USE1-Guardrail-ContentPolicyUnitsConsumed", "1.5", "1K text units", 1500),
        ("USE1-Guardrail-ContentPolicyUnitsConsumed", "1500", "TextUnit", 1500),
        ("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "6", "1M TPM Hour", 6000000),
        ("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "6", "1KTPMHour", 6000),
        ("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "6", "Units", None),
        ("USE1-Runtime:Consumption-based:vCPU", "1.25", "vCPU-Hours", Decimal("1.25")),
        ("USE1-Runtime:Consumption-based:Memory", "1.25", "GB-Hours", Decimal("1.25")),
        ("USE1-Knowledge-Base:Consumption-based:Storage", "2", "GB-Month", 2),
        ("USE1-Gateway:Consumption-based:API-Invocations", "1917", "Requests", 1917),
        ("USE1-Nova-prompt-routing", "2", "per 1000 requests", 2000),
        ("USE1-Llama-CustomModelImport-Inference-v1:0", "10", "Custom Model Unit per Min", 10),
        ("USE1-NovaPro-Customization-Storage", "1", "Model/month", 1),
        ("USE1-NovaPro-Customization-Training", "5", "1K tokens", 5000),
        ("USE1-NovaCanvas-Customization-Training", "5", "image", None),
        ("USE1-DataAutomation-Custom-PagesProcessed", "7", "Pages Processed", 7),
        ("DataTransfer-Regional-Bytes", "0.5", "GB", Decimal("0.5")),
        ("USE1-ModelEvaluations-HumanTasks", "7", "Tasks", None),
    ],
)
def test_what_is_not_a_token_is_counted_in_its_own_unit(
    usage_type: str, quantity: str, unit: str, units: Decimal | None
) -> None:
    assert units_of(usage_type, quantity, unit, cost="0.01") == units


@given(st.integers(1, 10**20), st.integers(0, 12))
def test_tokens_are_exact_however_small_the_quantity(units: int, scale: int) -> None:
    quantity = Decimal(f"{units}E-{scale}")

    tokens = tokens_of(quantity, decode_usage_type("USE1-NovaPro-input-tokens"), "1K tokens", "", Decimal(0))

    assert tokens is not None
    assert tokens.as_integer_ratio() == Decimal(f"{units}E{3 - scale}").as_integer_ratio()


amounts = st.decimals(min_value=0, max_value=10**9, places=9)
units_stated = st.sampled_from(["1K tokens", "1M tokens", "Units", "Tokens", "image", "Second", "hour", "1M TPM Hour", ""])


@given(st.sampled_from(KNOWN), units_stated, amounts, amounts, st.integers(1, 10**6))
def test_tokens_grow_with_quantity_and_cost(usage_type: str, unit: str, quantity: Decimal, cost: Decimal, factor: int) -> None:
    result = decode_usage_type(usage_type, SONNET_PRODUCT)

    once = tokens_of(quantity, result, unit, "", cost)
    many = tokens_of(quantity * factor, result, unit, "", cost * factor)

    assert many == (None if once is None else once * factor)


# --- the bounds of plausible prices ----------------------------------------------------------------------------------

in_tokens = st.sampled_from(sorted(METERED_IN_TOKENS))
models = st.sampled_from(sorted(entry.key for entry in CATALOGUE))


@given(in_tokens, models, st.decimals(min_value=0, max_value=1, places=6), st.decimals(min_value=1, max_value=10**6, places=3))
def test_a_factor_of_1000_is_never_plausible_in_either_direction(
    kind: TokenKind, model: str, place: Decimal, quantity: Decimal
) -> None:
    meter = DecodedUsageType(Meter(model, kind), "inference")
    bounds = next(b for b in PRICE_BOUNDS if kind in b.token_kinds and b.model.search(model))
    per_million = bounds.cheapest + (bounds.dearest - bounds.cheapest) * place

    assert tokens_of(quantity, meter, "1M tokens", "", quantity * per_million) == quantity * 1_000_000
    assert tokens_of(quantity, meter, "1K tokens", "", quantity * per_million / 1000) == quantity * 1000
    assert tokens_of(quantity, meter, "1K tokens", "", quantity * per_million) is None
    assert tokens_of(quantity, meter, "1M tokens", "", quantity * per_million / 1000) is None


PRICED = {
    "input_cost_per_token": IN,
    "input_cost_per_token_above_200k_tokens": IN,
    "output_cost_per_token": OUT,
    "output_cost_per_token_above_200k_tokens": OUT,
    "cache_read_input_token_cost": READ,
    "cache_read_input_token_cost_above_200k_tokens": READ,
    "cache_creation_input_token_cost": WRITE,
    "cache_creation_input_token_cost_above_200k_tokens": WRITE,
    "cache_creation_input_token_cost_above_1hr": WRITE_1H,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": WRITE_1H,
    "input_cost_per_image_token": IMAGE_IN,
    "input_cost_per_audio_token": AUDIO_IN,
}
# Sold by AWS Marketplace, in millions of tokens.
SOLD_BY_THE_MILLION = ("anthropic.", "cohere.", "ai21.", "writer.", "stability.", "twelvelabs.", "xai.")


def list_prices() -> Iterator[tuple[DecodedUsageType, str, Decimal]]:
    """Every price per million tokens of the price table beside the repository, with the model's id."""
    table = json.loads((SAMPLES / "prices/litellm_bedrock_prices.json").read_text(encoding="utf-8"), parse_float=Decimal)
    for key, prices in table.items():
        model = model_reference(key.removeprefix("bedrock_mantle/").removeprefix("bedrock/").rsplit("/", 1)[-1]).model
        # The table has per token what AWS charges for each text request.
        if "marengo" not in model:
            for field in PRICED.keys() & prices.keys():
                yield DecodedUsageType(Meter(model, PRICED[field]), "inference"), model, prices[field] * 1_000_000


@needs_samples
def test_no_known_price_is_implausible_in_the_unit_it_is_sold_in() -> None:
    one = Decimal(1)
    checked = 0
    for meter, model, per_million in list_prices():
        # Priority doubles it, and half a batch price is a discount that some pay.
        for price in (per_million, per_million * 2, per_million / 2):
            assert tokens_of(one, meter, "1K tokens", "", price / 1000) == 1000, (model, price)
            if model.startswith(SOLD_BY_THE_MILLION):
                assert tokens_of(one, meter, "1M tokens", "", price) == 1_000_000, (model, price)
        checked += 1

    assert checked > 900


@needs_samples
def test_a_tenth_of_the_batch_price_of_claude_haiku_4_5_or_a_dearer_model_is_plausible() -> None:
    prices = list(list_prices())
    haiku = {meter.meter.token_kind: price for meter, model, price in prices if model == "anthropic.claude-haiku-4-5"}
    checked = 0
    for meter, model, per_million in prices:
        floor = haiku.get(meter.meter.token_kind)
        if model.startswith("anthropic.") and floor is not None and per_million >= floor:
            assert tokens_of(Decimal(1), meter, "1M tokens", "", per_million / 2 / 10) == 1_000_000, (model, per_million)
            checked += 1

    assert checked > 200


# --- regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product_region", "usage_type", "description", "region"),
    [
        ("eu-west-1", "USE1-NovaPro-input-tokens", "", "eu-west-1"),
        ("", "EU-gpt-oss-120b-output-tokens-batch", "", "eu-west-1"),
        ("", "EUW2-deepseek.v3.2-mantle-input-tokens-standard", "", "eu-west-2"),
        ("", "APS3-MP:APS3_input_tokens_global_standard-Units", "", "ap-south-1"),
        ("", "APS7-MP:APS7_Reserved_1Month_InputTPM_Geo-Units", "", "ap-southeast-5"),
        ("", "CAN2-NovaPro-input-tokens", "", "ca-west-1"),
        ("", "mxc1-novapro-input-tokens", "", "mx-central-1"),
        ("", "USE1-MP:USE1_InputTokenCount-Units", "software usage|us-gov-west-1|Million Input Tokens", "us-gov-west-1"),
        ("", "USE1-MP:USE1_InputTokenCount-Units", "software usage|Million Input Tokens", "us-east-1"),
        ("", "Claude4Sonnet-input-tokens", "", ""),
    ],
)
def test_the_region_is_the_first_that_the_row_states(
    product_region: str, usage_type: str, description: str, region: str
) -> None:
    assert region_of(product_region, usage_type, description) == region
