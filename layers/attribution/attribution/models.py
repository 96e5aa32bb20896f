"""One canonical key per model, shared by logs, prices and bills, so that an estimate and its bill meet.

A model has an id in the Bedrock API (`anthropic.claude-sonnet-4-6`), a fragment in classic usage types (`NovaPro`), a
product name on Marketplace rows (`Claude Sonnet 4.6 (Amazon Bedrock Edition)`) and another id on the mantle endpoint. The key
is the API id without version suffix. A name that the catalogue does not know becomes its own key, spelled as found: its money
is kept and shown under that name, never under a model that merely looks similar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from attribution.meters import Routing


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model's canonical key and every other spelling of it, in any letter case."""

    key: str
    also: tuple[str, ...]


# Spellings are those of AWS's price list, of cost reports (usage types, product names) and Cost Explorer, and of the Bedrock
# API on both endpoints. A model is listed where such a spelling names it and no other; what none of them spells is not made up.
CATALOGUE = (
    CatalogueEntry("ai21.j2-mid", ("Jurassic-2 Mid",)),
    CatalogueEntry("ai21.j2-ultra", ("Jurassic-2 Ultra",)),
    CatalogueEntry("ai21.jamba-1-5-large", ("Jamba 1.5 Large",)),
    CatalogueEntry("ai21.jamba-1-5-mini", ("Jamba 1.5 Mini",)),
    CatalogueEntry("ai21.jamba-instruct", ("Jamba-Instruct",)),
    CatalogueEntry("amazon.nova-micro", ("NovaMicro", "Nova Micro")),
    CatalogueEntry("amazon.nova-lite", ("NovaLite", "Nova Lite")),
    CatalogueEntry("amazon.nova-pro", ("NovaPro", "Nova Pro")),
    CatalogueEntry("amazon.nova-premier", ("NovaPremier", "Nova Premier")),
    CatalogueEntry("amazon.nova-2-lite", ("Nova2.0Lite", "Nova 2.0 Lite", "Nova 2 Lite")),
    CatalogueEntry("amazon.nova-2-pro", ("Nova2.0Pro", "Nova 2.0 Pro", "Nova 2 Pro", "amazon.nova-2-pro-preview")),
    CatalogueEntry("amazon.nova-2-omni", ("Nova2.0Omni", "Nova 2.0 Omni")),
    CatalogueEntry("amazon.nova-2-multimodal-embeddings", ("NovaMultiModalEmbeddings", "Nova MultiModal Embeddings")),
    CatalogueEntry("amazon.nova-canvas", ("NovaCanvas", "Nova Canvas")),
    CatalogueEntry("amazon.nova-reel", ("NovaReel", "Nova Reel")),
    CatalogueEntry("amazon.nova-sonic", ("NovaSonic", "Nova Sonic")),
    CatalogueEntry("amazon.nova-2-sonic", ("NovaSonic2.0", "Nova Sonic 2.0", "Nova 2 Sonic")),
    CatalogueEntry("amazon.rerank", ("AmazonRerank-v1",)),
    CatalogueEntry("amazon.titan-embed-image", ("TitanEmbeddingsG1-Image",)),
    CatalogueEntry(
        "amazon.titan-embed-text-v2",
        ("TitanEmbeddingV2-Text", "TitanEmbeddingsV2-Text", "Titan Text Embeddings V2"),
    ),
    CatalogueEntry("amazon.titan-embed-text-v1", ("TitanEmbeddingsG1-Text", "Titan Embeddings G1 Text")),
    CatalogueEntry("amazon.titan-image-generator-v1", ("TitanImageGeneratorG1",)),
    CatalogueEntry("amazon.titan-image-generator-v2", ("TitanImageGeneratorV2",)),
    CatalogueEntry("amazon.titan-text-express", ("TitanTextG1-Express",)),
    CatalogueEntry("amazon.titan-text-lite", ("TitanTextG1-Lite", "Titan Text G1 Lite")),
    CatalogueEntry("amazon.titan-text-premier", ("TitanText-Premier",)),
    CatalogueEntry("anthropic.claude-instant", ("Claude Instant",)),
    CatalogueEntry("anthropic.claude-v2", ("Claude2.0", "Claude 2.0", "Claude2.1", "Claude 2.1")),
    CatalogueEntry("anthropic.claude-3-haiku", ("Claude3Haiku", "Claude 3 Haiku")),
    CatalogueEntry("anthropic.claude-3-sonnet", ("Claude3Sonnet", "Claude 3 Sonnet")),
    CatalogueEntry("anthropic.claude-3-opus", ("Claude3Opus", "Claude 3 Opus")),
    CatalogueEntry("anthropic.claude-3-5-haiku", ("Claude3-5Haiku", "Claude3.5Haiku", "Claude 3.5 Haiku")),
    CatalogueEntry("anthropic.claude-3-5-sonnet", ("Claude3-5Sonnet", "Claude3.5Sonnet", "Claude 3.5 Sonnet")),
    CatalogueEntry("anthropic.claude-3-5-sonnet-v2", ("Claude3.5Sonnetv2", "Claude 3.5 Sonnet v2")),
    CatalogueEntry("anthropic.claude-3-7-sonnet", ("Claude3.7Sonnet", "Claude 3.7 Sonnet")),
    CatalogueEntry("anthropic.claude-sonnet-4", ("Claude4Sonnet", "Claude Sonnet 4")),
    CatalogueEntry("anthropic.claude-opus-4", ("Claude4Opus", "Claude Opus 4")),
    CatalogueEntry("anthropic.claude-opus-4-1", ("Claude4.1Opus", "Claude Opus 4.1")),
    CatalogueEntry("anthropic.claude-sonnet-4-5", ("Claude4.5Sonnet", "Claude Sonnet 4.5")),
    CatalogueEntry("anthropic.claude-haiku-4-5", ("Claude4.5Haiku", "Claude Haiku 4.5")),
    CatalogueEntry("anthropic.claude-opus-4-5", ("Claude4.5Opus", "Claude Opus 4.5")),
    CatalogueEntry("anthropic.claude-sonnet-4-6", ("Claude4.6Sonnet", "Claude Sonnet 4.6")),
    CatalogueEntry("anthropic.claude-opus-4-6", ("Claude4.6Opus", "Claude Opus 4.6")),
    # From here on the usage type names the API id (`-mantle-`), and only the product name differs.
    CatalogueEntry("anthropic.claude-opus-4-7", ("Claude Opus 4.7",)),
    CatalogueEntry("anthropic.claude-opus-4-8", ("Claude Opus 4.8",)),
    CatalogueEntry("anthropic.claude-opus-5", ("Claude Opus 5",)),
    CatalogueEntry("anthropic.claude-opus-5-5", ("Claude Opus 5.5",)),
    CatalogueEntry("anthropic.claude-sonnet-5", ("Claude Sonnet 5",)),
    CatalogueEntry("anthropic.claude-fable-5", ("Claude Fable 5",)),
    CatalogueEntry("cohere.command-light-text-v14", ("Cohere Generate Model - Command-Light",)),
    CatalogueEntry("cohere.command-text-v14", ("Cohere Generate Model - Command",)),
    CatalogueEntry("cohere.command-r", ("Cohere Command R",)),
    CatalogueEntry("cohere.command-r-plus", ("Cohere Command R+",)),
    CatalogueEntry("cohere.embed-english-v3", ("Cohere Embed 3 Model - English",)),
    CatalogueEntry("cohere.embed-multilingual-v3", ("Cohere Embed Model 3 - Multilingual",)),
    CatalogueEntry("cohere.embed-v4", ("Cohere Embed 4 Model",)),
    CatalogueEntry("cohere.rerank-v3-5", ("Cohere Rerank v3.5", "Cohere Rerank 3.5")),
    CatalogueEntry("deepseek.r1", ("DeepSeek-R1", "R1")),
    CatalogueEntry("deepseek.v3", ("DeepSeekV3-1", "DeepSeek V3.1", "deepseek.v3.1")),
    CatalogueEntry("deepseek.v3.2", ("DeepSeek v3.2",)),
    CatalogueEntry("google.gemma-3-4b-it", ("Gemma-3-4B-IT", "Gemma 3 4B")),
    CatalogueEntry("google.gemma-3-12b-it", ("Gemma-3-12B-IT", "Gemma 3 12B")),
    CatalogueEntry("google.gemma-3-27b-it", ("Gemma-3-27B-IT", "Gemma 3 27B")),
    CatalogueEntry("luma.ray-v2", ("Ray-V2", "Ray v2")),
    CatalogueEntry("meta.llama2-13b-chat", ("Meta Llama 2 Chat 13B",)),
    CatalogueEntry("meta.llama2-70b-chat", ("Meta Llama 2 Chat 70B",)),
    CatalogueEntry("meta.llama3-8b-instruct", ("Llama3-8B", "Llama 3 8B")),
    CatalogueEntry("meta.llama3-70b-instruct", ("Llama3-70B", "Llama 3 70B")),
    CatalogueEntry("meta.llama3-1-8b-instruct", ("Llama3-1-8B", "Llama 3.1 8B")),
    CatalogueEntry("meta.llama3-1-70b-instruct", ("Llama3-1-70B", "Llama 3.1 70B")),
    CatalogueEntry("meta.llama3-1-405b-instruct", ("Llama3-1-405B", "Llama 3.1 405B")),
    CatalogueEntry("meta.llama3-2-1b-instruct", ("Llama3-2-1B", "Llama 3.2 1B")),
    CatalogueEntry("meta.llama3-2-3b-instruct", ("Llama3-2-3B", "Llama 3.2 3B")),
    CatalogueEntry("meta.llama3-2-11b-instruct", ("Llama3-2-11B", "Llama 3.2 11B")),
    CatalogueEntry("meta.llama3-2-90b-instruct", ("Llama3-2-90B", "Llama 3.2 90B")),
    CatalogueEntry("meta.llama3-3-70b-instruct", ("Llama3-3-70B", "Llama 3.3 70B")),
    CatalogueEntry("meta.llama4-maverick-17b-instruct", ("Llama4-Maverick-17B", "Llama 4 Maverick 17B")),
    CatalogueEntry("meta.llama4-scout-17b-instruct", ("Llama4-Scout-17B", "Llama 4 Scout 17B")),
    CatalogueEntry("minimax.minimax-m2", ("Minimax M2",)),
    CatalogueEntry("minimax.minimax-m2.1", ("Minimax M2.1",)),
    CatalogueEntry("minimax.minimax-m2.5", ("MiniMax M2.5",)),
    CatalogueEntry("mistral.devstral-2-123b", ("Devstral",)),
    CatalogueEntry("mistral.magistral-small-2509", ("Magistral Small 1.2",)),
    CatalogueEntry("mistral.ministral-3-3b-instruct", ("Ministral-3-3b-Instruct", "Ministral 3B 3.0")),
    CatalogueEntry("mistral.ministral-3-8b-instruct", ("Ministral-3-8b-Instruct", "Ministral 8B 3.0")),
    CatalogueEntry("mistral.ministral-3-14b-instruct", ("Ministral-3-14b-Instruct", "Ministral 14B 3.0")),
    CatalogueEntry("mistral.mistral-7b-instruct", ("Mistral7B", "Mistral 7B", "mistral.mistral-7b-instruct-v0")),
    CatalogueEntry("mistral.mistral-large-2402", ("MistralLarge", "Mistral Large")),
    CatalogueEntry("mistral.mistral-large-2407", ("MistralLarge2407", "Mistral Large 2407")),
    CatalogueEntry("mistral.mistral-large-3-675b-instruct", ("Mistral-Large-3-675b-Instruct", "Mistral Large 3")),
    CatalogueEntry("mistral.mistral-small-2402", ("MistralSmall", "Mistral Small")),
    CatalogueEntry("mistral.mixtral-8x7b-instruct", ("Mixtral8x7B", "Mixtral 8x7B", "mistral.mixtral-8x7b-instruct-v0")),
    CatalogueEntry("mistral.pixtral-large-2502", ("PixtralLarge2502", "Pixtral Large 25.02")),
    CatalogueEntry("mistral.voxtral-mini-3b-2507", ("Voxtral Mini 1.0",)),
    CatalogueEntry("mistral.voxtral-small-24b-2507", ("Voxtral Small 1.0",)),
    CatalogueEntry("moonshot.kimi-k2-thinking", ("Kimi K2 Thinking", "moonshotai.kimi-k2-thinking")),
    CatalogueEntry("moonshotai.kimi-k2.5", ("Kimi K2.5",)),
    CatalogueEntry("moonshotai.kimi-k3", ("Kimi K3",)),
    CatalogueEntry("nvidia.nemotron-nano-9b-v2", ("NVIDIA Nemotron Nano 2",)),
    CatalogueEntry("nvidia.nemotron-nano-12b-v2", ("NVIDIA Nemotron Nano 2 VL",)),
    CatalogueEntry("nvidia.nemotron-nano-3-30b", ("Nemotron Nano 3 30B",)),
    CatalogueEntry("nvidia.nemotron-super-3-120b", ("NVIDIA Nemotron 3 Super 120B A12B",)),
    CatalogueEntry("openai.gpt-6-astra", ("OpenAI GPT-6 Astra",)),
    CatalogueEntry("openai.gpt-oss-120b", ("gpt-oss-120b", "openai.gpt-oss-120b-1")),
    CatalogueEntry("openai.gpt-oss-20b", ("gpt-oss-20b", "openai.gpt-oss-20b-1")),
    CatalogueEntry("openai.gpt-oss-safeguard-120b", ("GPT-OSS-Safeguard-120B", "GPT OSS Safeguard 120B")),
    CatalogueEntry("openai.gpt-oss-safeguard-20b", ("GPT-OSS-Safeguard-20B", "GPT OSS Safeguard 20B")),
    CatalogueEntry("qwen.qwen3-32b", ("Qwen3-32B", "Qwen3 32B")),
    CatalogueEntry("qwen.qwen3-235b-a22b-2507", ("Qwen3 235B A22B 2507",)),
    CatalogueEntry("qwen.qwen3-coder-30b-a3b", ("Qwen3Coder-30B-A3B", "Qwen3 Coder 30B A3B")),
    CatalogueEntry("qwen.qwen3-coder-480b-a35b", ("Qwen3 Coder 480B A35B", "qwen.qwen3-coder-480b-a35b-instruct")),
    CatalogueEntry("qwen.qwen3-coder-next", ("Qwen3 Coder Next",)),
    CatalogueEntry(
        "qwen.qwen3-next-80b-a3b",
        ("Qwen3Next-80B-A3B", "Qwen3 Next 80B A3B", "qwen3-next-80b-a3b", "qwen.qwen3-next-80b-a3b-instruct"),
    ),
    CatalogueEntry("qwen.qwen3-vl-235b-a22b", ("Qwen3-VL-235B-A22B", "Qwen3 VL 235B A22B")),
    CatalogueEntry("stability.sd3-large", ("Stable Diffusion 3 Large v1.0",)),
    CatalogueEntry("stability.stable-image-core", ("Stable Image Core",)),
    CatalogueEntry("twelvelabs.marengo-embed-2-7", ("TwelveLabs Marengo Embed 2.7",)),
    CatalogueEntry("twelvelabs.marengo-embed-3-0", ("TwelveLabs Marengo Embed 3.0",)),
    CatalogueEntry("twelvelabs.pegasus-1-2", ("TwelveLabs Pegasus 1.2", "Pegasus v1.2")),
    CatalogueEntry("writer.palmyra-vision-7b", ("Writer Palmyra Vision 7B",)),
    CatalogueEntry("writer.palmyra-x4", ("Palmyra X4",)),
    CatalogueEntry("writer.palmyra-x5", ("Palmyra X5",)),
    CatalogueEntry("zai.glm-4.7", ("GLM 4.7",)),
    CatalogueEntry("zai.glm-4.7-flash", ("GLM 4.7 Flash",)),
    CatalogueEntry("zai.glm-5", ("GLM 5",)),
)

# Ids are ASCII, so that one escape is one character.
_ESCAPE = re.compile("%([0-7][0-9A-Fa-f])")
_GLOBAL_PREFIX = "global."
_GEO_PREFIX = re.compile(r"^(?:us|eu|apac|au|jp|ca|sa|me|af|us-gov)\.(?=[a-z0-9-]+\.)")
_CONTEXT = re.compile(r":\d+(?::\w+)?$")
# Only the first version goes without its number: Claude 3.5 Sonnet v2 and Titan Text Embeddings V2 are models of their own.
_FIRST_VERSION = re.compile(r"-v1$")
_DATED = re.compile(r"-\d{8}(?=-v\d|$)")
_EDITION = re.compile(r"\s*\((?:amazon )?bedrock edition\)\s*$", re.IGNORECASE)
_ARN = re.compile(r"^arn:(?P<partition>[^:]+):bedrock[^:]*:(?P<region>[^:]*):(?P<account>[^:]*):(?P<kind>[^/]+)/(?P<id>.+)$")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """What a caller's `modelId` says: the canonical model where it names one, the routing, and the profile it went through."""

    model: str
    routing: Routing = Routing.REGIONAL
    inference_profile: str = ""


def _spelling(text: str) -> str:
    return re.sub(r"[\s_]+", " ", text.strip()).casefold()


@lru_cache(maxsize=1)
def _by_spelling() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in CATALOGUE:
        for name in (entry.key, *entry.also):
            found[_spelling(name)] = entry.key
    return found


@lru_cache(maxsize=4096)
def model_of_name(name: str) -> str:
    """The canonical key of a name on a bill or in a price list; the name itself, trimmed, where it is not in the catalogue."""
    bare = _EDITION.sub("", name).strip()
    return _by_spelling().get(_spelling(bare), bare)


def _model_of_bare_id(model_id: str) -> str:
    known = _by_spelling()
    undated = _DATED.sub("", _CONTEXT.sub("", model_id))
    for candidate in (model_id, _CONTEXT.sub("", model_id), undated, _FIRST_VERSION.sub("", undated)):
        if _spelling(candidate) in known:
            return known[_spelling(candidate)]
    return model_id


@lru_cache(maxsize=4096)
def model_reference(model_id: str) -> ModelReference:
    """Read a `modelId` as callers send it: an id, a profile id, or one of Bedrock's ARNs (percent-encoded or not)."""
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), model_id.strip())
    arn = _ARN.match(text)
    if arn:
        kind, identifier = arn["kind"], arn["id"]
        if kind == "foundation-model":
            return model_reference(identifier)
        if kind == "inference-profile" and "." in identifier:
            inner = model_reference(identifier)
            return ModelReference(inner.model, inner.routing, text)
        return ModelReference(text, Routing.REGIONAL, text if "profile" in kind else "")
    if text.startswith(_GLOBAL_PREFIX):
        return ModelReference(_model_of_bare_id(text[len(_GLOBAL_PREFIX) :]), Routing.GLOBAL, text)
    if _GEO_PREFIX.match(text):
        return ModelReference(_model_of_bare_id(_GEO_PREFIX.sub("", text)), Routing.REGIONAL, text)
    return ModelReference(_model_of_bare_id(text), Routing.REGIONAL)
