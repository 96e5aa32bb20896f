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


# Spellings are from the AWS price list and cost reports (usage types, product names) and the Bedrock API (ids).
CATALOGUE = (
    CatalogueEntry("amazon.nova-micro", ("NovaMicro", "Nova Micro")),
    CatalogueEntry("amazon.nova-lite", ("NovaLite", "Nova Lite")),
    CatalogueEntry("amazon.nova-pro", ("NovaPro", "Nova Pro")),
    CatalogueEntry("amazon.nova-premier", ("NovaPremier", "Nova Premier")),
    CatalogueEntry("amazon.nova-2-lite", ("Nova2.0Lite", "Nova 2.0 Lite", "Nova 2 Lite")),
    CatalogueEntry("amazon.nova-2-pro", ("Nova2.0Pro", "Nova 2.0 Pro", "Nova 2 Pro")),
    CatalogueEntry("amazon.nova-2-omni", ("Nova2.0Omni", "Nova 2.0 Omni")),
    CatalogueEntry("amazon.nova-canvas", ("NovaCanvas", "Nova Canvas")),
    CatalogueEntry("amazon.nova-reel", ("NovaReel", "Nova Reel")),
    CatalogueEntry("amazon.nova-sonic", ("NovaSonic", "Nova Sonic")),
    CatalogueEntry(
        "amazon.titan-embed-text-v2",
        ("TitanEmbeddingV2", "TitanEmbeddingV2-Text", "TitanEmbeddingsV2-Text", "Titan Text Embeddings V2"),
    ),
    CatalogueEntry("amazon.titan-embed-text-v1", ("TitanEmbeddingsG1-Text", "Titan Embeddings G1 Text")),
    CatalogueEntry("amazon.titan-image-generator-v1", ("TitanImageGeneratorG1",)),
    CatalogueEntry("anthropic.claude-v2", ("Claude2.0", "Claude 2.0", "Claude2.1")),
    CatalogueEntry("anthropic.claude-3-haiku", ("Claude3Haiku", "Claude 3 Haiku")),
    CatalogueEntry("anthropic.claude-3-sonnet", ("Claude3Sonnet", "Claude 3 Sonnet")),
    CatalogueEntry("anthropic.claude-3-opus", ("Claude3Opus", "Claude 3 Opus")),
    CatalogueEntry("anthropic.claude-3-5-haiku", ("Claude3-5Haiku", "Claude3.5Haiku", "Claude 3.5 Haiku")),
    CatalogueEntry("anthropic.claude-3-5-sonnet", ("Claude3-5Sonnet", "Claude3.5Sonnet", "Claude 3.5 Sonnet")),
    CatalogueEntry("anthropic.claude-3-5-sonnet-v2", ("Claude3.5Sonnetv2", "Claude 3.5 Sonnet v2")),
    CatalogueEntry("anthropic.claude-3-7-sonnet", ("Claude3.7Sonnet", "Claude 3.7 Sonnet")),
    CatalogueEntry("anthropic.claude-sonnet-4", ("Claude4Sonnet", "Claude Sonnet 4")),
    CatalogueEntry("anthropic.claude-opus-4", ("Claude4Opus", "Claude Opus 4")),
    CatalogueEntry("anthropic.claude-sonnet-4-5", ("Claude4.5Sonnet", "Claude Sonnet 4.5")),
    CatalogueEntry("anthropic.claude-haiku-4-5", ("Claude4.5Haiku", "Claude Haiku 4.5")),
    CatalogueEntry("anthropic.claude-opus-4-5", ("Claude4.5Opus", "Claude Opus 4.5")),
    CatalogueEntry("anthropic.claude-sonnet-4-6", ("Claude4.6Sonnet", "Claude Sonnet 4.6")),
    CatalogueEntry("meta.llama3-1-8b-instruct", ("Llama3-1-8B",)),
    CatalogueEntry("meta.llama3-1-70b-instruct", ("Llama3-1-70B",)),
    CatalogueEntry("meta.llama3-1-405b-instruct", ("Llama3-1-405B",)),
    CatalogueEntry("meta.llama3-2-1b-instruct", ("Llama3-2-1B",)),
    CatalogueEntry("meta.llama3-3-70b-instruct", ("Llama3-3-70B",)),
    CatalogueEntry("meta.llama4-maverick-17b-instruct", ("Llama4-Maverick-17B",)),
    CatalogueEntry("meta.llama4-scout-17b-instruct", ("Llama4-Scout-17B",)),
    CatalogueEntry("mistral.mistral-small-2402", ("MistralSmall",)),
    CatalogueEntry("openai.gpt-oss-120b", ("gpt-oss-120b", "openai.gpt-oss-120b-1")),
    CatalogueEntry("openai.gpt-oss-20b", ("gpt-oss-20b", "openai.gpt-oss-20b-1")),
    CatalogueEntry("luma.ray-v2", ("Ray-V2",)),
    CatalogueEntry("cohere.rerank-v3-5", ("Cohere Rerank 3.5", "cohere.rerank-v3-5")),
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
