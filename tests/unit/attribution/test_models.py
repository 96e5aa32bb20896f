"""One key per model, and never another model's."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import Routing
from attribution.models import CATALOGUE, CatalogueEntry, model_of_name, model_reference
from attribution.usage_types import decode_usage_type
from tests.unit.attribution.shared_samples import SAMPLES, needs_samples

KEYS = {entry.key for entry in CATALOGUE}

IDS = {
    "ai21.j2-mid-v1": "ai21.j2-mid",
    "ai21.j2-ultra-v1": "ai21.j2-ultra",
    "ai21.jamba-1-5-large-v1:0": "ai21.jamba-1-5-large",
    "ai21.jamba-1-5-mini-v1:0": "ai21.jamba-1-5-mini",
    "ai21.jamba-instruct-v1:0": "ai21.jamba-instruct",
    "amazon.nova-micro-v1:0": "amazon.nova-micro",
    "amazon.nova-lite-v1:0": "amazon.nova-lite",
    "amazon.nova-pro-v1:0": "amazon.nova-pro",
    "amazon.nova-pro-v1:0:300k": "amazon.nova-pro",
    "amazon.nova-premier-v1:0": "amazon.nova-premier",
    "amazon.nova-2-lite-v1:0": "amazon.nova-2-lite",
    "amazon.nova-2-pro-preview-20251202-v1:0": "amazon.nova-2-pro",
    "amazon.nova-2-omni-v1:0": "amazon.nova-2-omni",
    "amazon.nova-2-multimodal-embeddings-v1:0": "amazon.nova-2-multimodal-embeddings",
    "amazon.nova-canvas-v1:0": "amazon.nova-canvas",
    "amazon.nova-reel-v1:1": "amazon.nova-reel",
    "amazon.nova-sonic-v1:0": "amazon.nova-sonic",
    "amazon.nova-2-sonic-v1:0": "amazon.nova-2-sonic",
    "amazon.rerank-v1:0": "amazon.rerank",
    "amazon.titan-embed-image-v1": "amazon.titan-embed-image",
    "amazon.titan-embed-text-v2:0": "amazon.titan-embed-text-v2",
    "amazon.titan-embed-text-v1": "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v1:2:8k": "amazon.titan-embed-text-v1",
    "amazon.titan-image-generator-v1": "amazon.titan-image-generator-v1",
    "amazon.titan-image-generator-v2": "amazon.titan-image-generator-v2",
    "amazon.titan-image-generator-v2:0": "amazon.titan-image-generator-v2",
    "amazon.titan-text-express-v1": "amazon.titan-text-express",
    "amazon.titan-text-lite-v1": "amazon.titan-text-lite",
    "amazon.titan-text-premier-v1:0": "amazon.titan-text-premier",
    "anthropic.claude-instant-v1": "anthropic.claude-instant",
    "anthropic.claude-v2:1": "anthropic.claude-v2",
    "anthropic.claude-v2:1:200k": "anthropic.claude-v2",
    "anthropic.claude-3-haiku-20240307-v1:0": "anthropic.claude-3-haiku",
    "anthropic.claude-3-haiku-20240307-v1:0:48k": "anthropic.claude-3-haiku",
    "anthropic.claude-3-sonnet-20240229-v1": "anthropic.claude-3-sonnet",
    "anthropic.claude-3-sonnet-20240229-v1:0": "anthropic.claude-3-sonnet",
    "anthropic.claude-3-opus-20240229-v1:0": "anthropic.claude-3-opus",
    "anthropic.claude-3-5-haiku-20241022-v1:0": "anthropic.claude-3-5-haiku",
    "anthropic.claude-3-5-sonnet-20240620-v1:0": "anthropic.claude-3-5-sonnet",
    "anthropic.claude-3-5-sonnet-20241022-v2:0": "anthropic.claude-3-5-sonnet-v2",
    "anthropic.claude-3-7-sonnet-20240620-v1:0": "anthropic.claude-3-7-sonnet",
    "anthropic.claude-3-7-sonnet-20250219-v1:0": "anthropic.claude-3-7-sonnet",
    "anthropic.claude-sonnet-4": "anthropic.claude-sonnet-4",
    "anthropic.claude-sonnet-4-20250514-v1:0": "anthropic.claude-sonnet-4",
    "anthropic.claude-opus-4-20250514-v1:0": "anthropic.claude-opus-4",
    "anthropic.claude-opus-4-1-20250805-v1:0": "anthropic.claude-opus-4-1",
    "anthropic.claude-sonnet-4-5-20250929-v1:0": "anthropic.claude-sonnet-4-5",
    "anthropic.claude-haiku-4-5-20251001-v1:0": "anthropic.claude-haiku-4-5",
    "anthropic.claude-opus-4-5-20251101-v1:0": "anthropic.claude-opus-4-5",
    "anthropic.claude-sonnet-4-6": "anthropic.claude-sonnet-4-6",
    "anthropic.claude-opus-4-6-v1": "anthropic.claude-opus-4-6",
    "anthropic.claude-opus-4-7": "anthropic.claude-opus-4-7",
    "anthropic.claude-opus-4-8": "anthropic.claude-opus-4-8",
    "anthropic.claude-opus-5": "anthropic.claude-opus-5",
    "anthropic.claude-opus-5-5": "anthropic.claude-opus-5-5",
    "anthropic.claude-sonnet-5": "anthropic.claude-sonnet-5",
    "anthropic.claude-fable-5": "anthropic.claude-fable-5",
    "cohere.command-light-text-v14": "cohere.command-light-text-v14",
    "cohere.command-text-v14": "cohere.command-text-v14",
    "cohere.command-r-v1:0": "cohere.command-r",
    "cohere.command-r-plus-v1:0": "cohere.command-r-plus",
    "cohere.embed-english-v3": "cohere.embed-english-v3",
    "cohere.embed-multilingual-v3": "cohere.embed-multilingual-v3",
    "cohere.embed-v4:0": "cohere.embed-v4",
    "cohere.rerank-v3-5:0": "cohere.rerank-v3-5",
    "deepseek.r1-v1:0": "deepseek.r1",
    "deepseek.v3-v1:0": "deepseek.v3",
    "deepseek.v3.2": "deepseek.v3.2",
    "google.gemma-3-4b-it": "google.gemma-3-4b-it",
    "google.gemma-3-12b-it": "google.gemma-3-12b-it",
    "google.gemma-3-27b-it": "google.gemma-3-27b-it",
    "luma.ray-v2:0": "luma.ray-v2",
    "meta.llama2-13b-chat-v1": "meta.llama2-13b-chat",
    "meta.llama2-70b-chat-v1": "meta.llama2-70b-chat",
    "meta.llama3-8b-instruct-v1:0": "meta.llama3-8b-instruct",
    "meta.llama3-70b-instruct-v1:0": "meta.llama3-70b-instruct",
    "meta.llama3-1-8b-instruct-v1:0": "meta.llama3-1-8b-instruct",
    "meta.llama3-1-70b-instruct-v1:0": "meta.llama3-1-70b-instruct",
    "meta.llama3-1-405b-instruct-v1:0": "meta.llama3-1-405b-instruct",
    "meta.llama3-2-1b-instruct-v1:0": "meta.llama3-2-1b-instruct",
    "meta.llama3-2-3b-instruct-v1:0": "meta.llama3-2-3b-instruct",
    "meta.llama3-2-11b-instruct-v1:0": "meta.llama3-2-11b-instruct",
    "meta.llama3-2-90b-instruct-v1:0": "meta.llama3-2-90b-instruct",
    "meta.llama3-3-70b-instruct-v1:0": "meta.llama3-3-70b-instruct",
    "meta.llama4-maverick-17b-instruct-v1:0": "meta.llama4-maverick-17b-instruct",
    "meta.llama4-scout-17b-instruct-v1:0": "meta.llama4-scout-17b-instruct",
    "minimax.minimax-m2": "minimax.minimax-m2",
    "minimax.minimax-m2.1": "minimax.minimax-m2.1",
    "minimax.minimax-m2.5": "minimax.minimax-m2.5",
    "mistral.devstral-2-123b": "mistral.devstral-2-123b",
    "mistral.magistral-small-2509": "mistral.magistral-small-2509",
    "mistral.ministral-3-3b-instruct": "mistral.ministral-3-3b-instruct",
    "mistral.ministral-3-8b-instruct": "mistral.ministral-3-8b-instruct",
    "mistral.ministral-3-14b-instruct": "mistral.ministral-3-14b-instruct",
    "mistral.mistral-7b-instruct-v0:2": "mistral.mistral-7b-instruct",
    "mistral.mistral-large-2402-v1:0": "mistral.mistral-large-2402",
    "mistral.mistral-large-2407-v1:0": "mistral.mistral-large-2407",
    "mistral.mistral-large-3-675b-instruct": "mistral.mistral-large-3-675b-instruct",
    "mistral.mistral-small-2402-v1:0": "mistral.mistral-small-2402",
    "mistral.mixtral-8x7b-instruct-v0:1": "mistral.mixtral-8x7b-instruct",
    "mistral.pixtral-large-2502-v1:0": "mistral.pixtral-large-2502",
    "mistral.voxtral-mini-3b-2507": "mistral.voxtral-mini-3b-2507",
    "mistral.voxtral-small-24b-2507": "mistral.voxtral-small-24b-2507",
    "moonshot.kimi-k2-thinking": "moonshot.kimi-k2-thinking",
    "moonshotai.kimi-k2-thinking": "moonshot.kimi-k2-thinking",
    "moonshotai.kimi-k2.5": "moonshotai.kimi-k2.5",
    "moonshotai.kimi-k3": "moonshotai.kimi-k3",
    "nvidia.nemotron-nano-9b-v2": "nvidia.nemotron-nano-9b-v2",
    "nvidia.nemotron-nano-12b-v2": "nvidia.nemotron-nano-12b-v2",
    "nvidia.nemotron-nano-3-30b": "nvidia.nemotron-nano-3-30b",
    "nvidia.nemotron-super-3-120b": "nvidia.nemotron-super-3-120b",
    "openai.gpt-6-astra": "openai.gpt-6-astra",
    "openai.gpt-oss-120b": "openai.gpt-oss-120b",
    "openai.gpt-oss-120b-1:0": "openai.gpt-oss-120b",
    "openai.gpt-oss-20b": "openai.gpt-oss-20b",
    "openai.gpt-oss-20b-1:0": "openai.gpt-oss-20b",
    "openai.gpt-oss-safeguard-120b": "openai.gpt-oss-safeguard-120b",
    "openai.gpt-oss-safeguard-20b": "openai.gpt-oss-safeguard-20b",
    "qwen.qwen3-32b-v1:0": "qwen.qwen3-32b",
    "qwen.qwen3-235b-a22b-2507-v1:0": "qwen.qwen3-235b-a22b-2507",
    "qwen.qwen3-coder-30b-a3b-v1:0": "qwen.qwen3-coder-30b-a3b",
    "qwen.qwen3-coder-480b-a35b-v1:0": "qwen.qwen3-coder-480b-a35b",
    "qwen.qwen3-coder-next": "qwen.qwen3-coder-next",
    "qwen.qwen3-next-80b-a3b": "qwen.qwen3-next-80b-a3b",
    "qwen.qwen3-vl-235b-a22b": "qwen.qwen3-vl-235b-a22b",
    "stability.sd3-large-v1:0": "stability.sd3-large",
    "stability.stable-image-core-v1:0": "stability.stable-image-core",
    "stability.stable-image-core-v1:1": "stability.stable-image-core",
    "twelvelabs.marengo-embed-2-7-v1:0": "twelvelabs.marengo-embed-2-7",
    "twelvelabs.marengo-embed-3-0-v1:0": "twelvelabs.marengo-embed-3-0",
    "twelvelabs.pegasus-1-2-v1:0": "twelvelabs.pegasus-1-2",
    "writer.palmyra-vision-7b": "writer.palmyra-vision-7b",
    "writer.palmyra-x4-v1:0": "writer.palmyra-x4",
    "writer.palmyra-x5-v1:0": "writer.palmyra-x5",
    "zai.glm-4.7": "zai.glm-4.7",
    "zai.glm-4.7-flash": "zai.glm-4.7-flash",
    "zai.glm-5": "zai.glm-5",
}

# Ids of the price table beside the repository that no bill, price list or product name is known to spell in another way.
WITHOUT_ANOTHER_NAME = {
    "amazon.titan-embed-g1-text-02", "anthropic.claude-haiku-4-5@20251001", "anthropic.claude-mythos-preview",
    "anthropic.claude-v1", "claude-sonnet-4-5-20250929-v1:0", "google.gemma-4-26b-a4b", "google.gemma-4-31b",
    "google.gemma-4-e2b", "openai.gpt-5.4", "openai.gpt-5.5", "openai.gpt-5.6-luna", "openai.gpt-5.6-sol",
    "openai.gpt-5.6-terra", "stability.sd3-5-large-v1:0", "stability.stable-conservative-upscale-v1:0",
    "stability.stable-creative-upscale-v1:0", "stability.stable-diffusion-xl-v0", "stability.stable-diffusion-xl-v1",
    "stability.stable-fast-upscale-v1:0", "stability.stable-image-control-sketch-v1:0",
    "stability.stable-image-control-structure-v1:0", "stability.stable-image-erase-object-v1:0",
    "stability.stable-image-inpaint-v1:0", "stability.stable-image-remove-background-v1:0",
    "stability.stable-image-search-recolor-v1:0", "stability.stable-image-search-replace-v1:0",
    "stability.stable-image-style-guide-v1:0", "stability.stable-image-ultra-v1:0", "stability.stable-image-ultra-v1:1",
    "stability.stable-outpaint-v1:0", "stability.stable-style-transfer-v1:0", "xai.grok-4.3",
}  # fmt: skip

# Ids one step away from a known model: another minor or major version is another model with other prices.
STRANGERS = (
    "anthropic.claude-opus-4-9",
    "anthropic.claude-opus-4-2-20250805-v1:0",
    "anthropic.claude-opus-4-6-v2",
    "anthropic.claude-sonnet-4-9",
    "anthropic.claude-3-haiku-20260307-v2:0",
    "amazon.nova-pro-v2:0",
    "amazon.titan-image-generator-v3:0",
    "amazon.titan-text-express-v2",
    "anthropic.claude-v1",
    "cohere.command-r-ultra-v1:0",
    "deepseek.v3.3",
    "meta.llama3-4-70b-instruct-v1:0",
    "anthropic.claude-3",
    "m",
    "<modelId>",
)


@pytest.mark.parametrize(("model_id", "key"), IDS.items())
def test_an_api_id_names_its_model_without_date_version_and_context_suffix(model_id: str, key: str) -> None:
    assert model_reference(model_id).model == key


@pytest.mark.parametrize("model_id", STRANGERS)
def test_an_id_that_the_catalogue_lacks_is_its_own_model_and_not_a_similar_one(model_id: str) -> None:
    reference = model_reference(model_id)

    assert reference.model == model_id
    assert reference.model not in KEYS


@pytest.mark.parametrize("prefix", ["us", "eu", "apac", "au", "jp", "ca", "us-gov"])
def test_a_geographic_profile_bills_like_a_call_in_one_region(prefix: str) -> None:
    text = f"{prefix}.anthropic.claude-sonnet-4-5-20250929-v1:0"

    reference = model_reference(text)

    assert reference.model == "anthropic.claude-sonnet-4-5"
    assert reference.routing is Routing.REGIONAL
    assert reference.inference_profile == text


def test_a_global_profile_has_its_own_price() -> None:
    reference = model_reference("global.anthropic.claude-sonnet-4-6")

    assert reference.model == "anthropic.claude-sonnet-4-6"
    assert reference.routing is Routing.GLOBAL
    assert reference.inference_profile == "global.anthropic.claude-sonnet-4-6"


def test_a_foundation_model_arn_is_the_model_itself() -> None:
    arn = "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0"

    assert model_reference(arn) == model_reference("anthropic.claude-3-5-sonnet-20240620-v1:0")
    assert model_reference(arn).inference_profile == ""


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_a_system_profile_arn_names_model_and_routing(partition: str) -> None:
    arn = f"arn:{partition}:bedrock:us-east-1:111122223333:inference-profile/global.anthropic.claude-haiku-4-5-20251001-v1:0"

    reference = model_reference(arn)

    assert (reference.model, reference.routing) == ("anthropic.claude-haiku-4-5", Routing.GLOBAL)
    assert reference.inference_profile == arn


@pytest.mark.parametrize(
    ("kind", "identifier", "is_profile"),
    [
        ("application-inference-profile", "a1b2c3d4e5f6", True),
        # AWS's own page invokes an application profile like this.
        ("inference-profile", "my-team-profile", True),
        ("provisioned-model", "abcdef123456", False),
        ("custom-model-deployment", "abcdef123456", False),
        ("custom-model", "amazon.nova-pro-v1:0:300k/abcdef123456", False),
        ("imported-model", "abcdef123456", False),
        ("prompt", "PROMPT12345:1", False),
        ("default-prompt-router", "anthropic.claude:1", False),
    ],
)
def test_an_arn_that_hides_its_model_is_kept_whole(kind: str, identifier: str, is_profile: bool) -> None:
    arn = f"arn:aws:bedrock:us-east-1:111122223333:{kind}/{identifier}"

    reference = model_reference(arn)

    assert reference.model == arn
    assert reference.inference_profile == (arn if is_profile else "")


def test_an_arn_of_another_service_is_kept_whole() -> None:
    arn = "arn:aws:sagemaker:us-east-1:111122223333:endpoint/marketplace-model"

    assert model_reference(arn).model == arn


def test_a_percent_encoded_arn_is_the_same_arn() -> None:
    encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-6"

    assert model_reference(encoded) == model_reference(encoded.replace("%3A", ":").replace("%2F", "/"))
    assert model_reference(encoded).model == "anthropic.claude-sonnet-4-6"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Claude Sonnet 4.6 (Amazon Bedrock Edition)", "anthropic.claude-sonnet-4-6"),
        ("Claude 3.5 Sonnet (Amazon Bedrock Edition)", "anthropic.claude-3-5-sonnet"),
        ("Claude 3.5 Sonnet v2 (Amazon Bedrock Edition)", "anthropic.claude-3-5-sonnet-v2"),
        ("claude 3 haiku (bedrock edition) ", "anthropic.claude-3-haiku"),
        ("Nova Pro", "amazon.nova-pro"),
        ("NovaPro", "amazon.nova-pro"),
        ("Pegasus v1.2", "twelvelabs.pegasus-1-2"),
        ("TwelveLabs Pegasus 1.2 (Amazon Bedrock Edition)", "twelvelabs.pegasus-1-2"),
        ("Claude Opus 4.7 (Amazon Bedrock Edition)", "anthropic.claude-opus-4-7"),
        ("Claude Opus 4.9 (Amazon Bedrock Edition)", "Claude Opus 4.9"),
        ("TwelveLabs Pegasus 1.3 (Amazon Bedrock Edition)", "TwelveLabs Pegasus 1.3"),
        ("", ""),
    ],
)
def test_a_name_on_the_bill_is_read_as_billing_spells_it(name: str, key: str) -> None:
    assert model_of_name(name) == key


def test_no_spelling_belongs_to_two_models() -> None:
    spellings = [(spelling.casefold(), entry.key) for entry in CATALOGUE for spelling in {entry.key, *entry.also}]

    assert len({spelling for spelling, _ in spellings}) == len({*spellings})


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.key)
def test_every_spelling_of_the_catalogue_leads_to_its_key(entry: CatalogueEntry) -> None:
    assert {model_of_name(spelling) for spelling in (entry.key, *entry.also)} == {entry.key}
    assert model_reference(f"us.{entry.key}-v1:0").model == entry.key


def test_an_api_id_is_stated_for_every_model_of_the_catalogue() -> None:
    assert {*IDS.values()} == KEYS


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.key)
def test_bills_and_callers_name_one_model_by_one_key(entry: CatalogueEntry) -> None:
    called = {model_reference(model_id).model for model_id, key in IDS.items() if key == entry.key}

    billed = {
        decode_usage_type("USE1-MP:USE1_InputTokenCount-Units", f"{name} (Amazon Bedrock Edition)").meter.model
        for name in entry.also
    }
    # A usage type has no spaces: those are product names.
    for fragment in (entry.key, *(name for name in entry.also if " " not in name)):
        billed.add(decode_usage_type(f"USE1-{fragment}-input-tokens").meter.model)
        billed.add(decode_usage_type(f"USE1-{fragment}-output-tokens-flex").meter.model)
    for mantle_id in (entry.key, *(name for name in entry.also if name.partition(".")[0] == entry.key.partition(".")[0])):
        billed.add(decode_usage_type(f"USE1-{mantle_id}-mantle-output-tokens-standard").meter.model)

    assert billed == called == {entry.key}


@needs_samples
def test_every_model_of_the_price_table_is_in_the_catalogue_or_known_to_have_one_name() -> None:
    table = json.loads((SAMPLES / "prices/litellm_bedrock_prices.json").read_text(encoding="utf-8"))
    ids = {key.removeprefix("bedrock_mantle/").removeprefix("bedrock/").rsplit("/", 1)[-1] for key in table}

    strangers = {model_id for model_id in ids if model_reference(model_id).model not in KEYS}

    assert strangers == WITHOUT_ANOTHER_NAME


near_misses = st.tuples(
    st.sampled_from(sorted(KEYS)), st.sampled_from(["-v2:0", "-v7", "-pro", "-20250101-v3:0", "x", ".9"])
).map("".join)


@given(st.text(max_size=60) | st.from_regex(r"arn:aws:bedrock:[a-z0-9:/.%-]{0,40}", fullmatch=True) | near_misses)
def test_whatever_a_caller_sends_is_read_and_an_unknown_id_never_becomes_a_known_model(text: str) -> None:
    reference = model_reference(text)

    spellings = [name for entry in CATALOGUE if entry.key == reference.model for name in (entry.key, *entry.also)]
    assert reference.model not in KEYS or any(text.casefold() in (s.casefold(), f"{s}-v1".casefold()) for s in spellings)


@needs_samples
def test_every_model_id_of_the_sample_records_is_read_as_stated() -> None:
    found: set[str] = set()
    for path in SAMPLES.rglob("*.*"):
        found |= set(re.findall(r'"modelId": ?"([^"]*)"', path.read_text(encoding="utf-8", errors="replace")))

    known = {model_id: model_reference(model_id).model for model_id in found if model_reference(model_id).model in KEYS}

    expected = {model_id: key for model_id, key in IDS.items() if model_id in found}
    expected["arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0"] = (
        "anthropic.claude-haiku-4-5"
    )
    assert known == expected
    assert found - set(known) <= set(STRANGERS)
