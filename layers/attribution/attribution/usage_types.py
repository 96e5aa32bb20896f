"""Decode a bill's usage type into a meter: ordered rules as data, the first match wins.

Order matters: `cache-read-input-token-count`, `NovaReel-output-seconds` and `Reserved_1Month_InputTPM` all contain "input" or
"output". Both generations of spelling are read (`InputTokenCount_Global_Batch`, `input_tokens_global_standard`), in any letter
case. A usage type that no rule reads is `unclassified`, and so is one that qualifies tokens with a word that is not known here
(another tier, another time to live): it has another price, so it is another meter. Its money is kept and counted, only its
meaning is unknown. The families are described in docs/usage-types.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from attribution.canonical import content_hash
from attribution.meters import METERED_IN_TOKENS, Meter, Routing, Tier, TokenKind
from attribution.models import CATALOGUE, model_of_name
from attribution.money import EXACT

UNCLASSIFIED = "unclassified"
INFERENCE = "inference"
CUSTOM_MODEL_INFERENCE = "custom model inference"


@dataclass(frozen=True, slots=True)
class Rule:
    """A feature and what its units count, for usage types in which `pattern` is found (Region and Marketplace prefix removed).

    What the group `model` matches, if the pattern has one, is the model's name.
    """

    pattern: re.Pattern[str]
    feature: str
    token_kind: TokenKind


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.ASCII)


def _rule(pattern: str, feature: str, token_kind: TokenKind) -> Rule:
    return Rule(_pattern(pattern), feature, token_kind)


# A separator, or the next capital of a CamelCase name.
_S = "[-_]?"
_MODEL = "^(?:(?P<model>.+?)(?:-mantle)?[-_])?"
_CUSTOM = f"custom{_S}model"
_LONG = f"(?:long{_S}(?:context|ctx)|lctx)"
# Possessive, so that a word is read in one way only: the time grows with the length of the text, not with the ways to read it.
_QUALIFIERS = (
    f"(?>{_S}(?:standard|batch|flex|priority|latency{_S}optimized|cross{_S}region(?:{_S}(?:global|us|eu|apac|jp|au|ca|in))?"
    f"|global|geo|{_LONG}|{_CUSTOM}))*+$"
)
_COUNTED = f"tokens?(?:{_S}count)?"


def _tokens(pattern: str, feature: str, token_kind: TokenKind) -> Rule:
    """A rule for tokens: a model, `pattern`, and nothing but known qualifiers."""
    return _rule(f"{_MODEL}(?:{_CUSTOM}{_S})?(?:{pattern}){_QUALIFIERS}", feature, token_kind)


RULES = (
    _rule(f"{_MODEL}provisioned{_S}throughput", "provisioned throughput", TokenKind.MODEL_UNIT_HOUR),
    _rule(f"model{_S}units", "provisioned throughput", TokenKind.MODEL_UNIT_HOUR),
    _rule(f"custommodelimport{_S}inference", "custom model import", TokenKind.MODEL_UNIT_MINUTE),
    _rule(f"custommodelimport{_S}storage", "custom model import", TokenKind.MODEL_MONTH),
    _rule(r"custommodelimport", "custom model import", TokenKind.OTHER),
    _rule(f"{_MODEL}(?:customization|rft){_S}training{_S}hours", "customization", TokenKind.HOUR),
    _rule(f"{_MODEL}(?:(?:customization|rft){_S}training|customization{_S}{_COUNTED})", "customization", TokenKind.TRAINING),
    _rule(f"{_MODEL}(?:customization{_S}storage|model{_S}storage)", "customization", TokenKind.MODEL_MONTH),
    _rule(f"{_MODEL}customization", "customization", TokenKind.OTHER),
    _rule(f"{_MODEL}reserved[-_].*input{_S}tpm", "reserved tier", TokenKind.INPUT_TPM_HOUR),
    _rule(f"{_MODEL}reserved[-_].*output{_S}tpm", "reserved tier", TokenKind.OUTPUT_TPM_HOUR),
    _rule(f"{_MODEL}reserved[-_]", "reserved tier", TokenKind.OTHER),
    _rule(r"knowledge-?base.*storage", "knowledge bases", TokenKind.GB_MONTH),
    _rule(r"knowledge-?base.*retrieval", "knowledge bases", TokenKind.REQUEST),
    _rule(r"knowledge-?base", "knowledge bases", TokenKind.OTHER),
    # Amazon Bedrock AgentCore. Its own "Evaluations" are not those of models.
    _rule(r"evaluations:", "agentcore", TokenKind.OTHER),
    _rule(r"(?:runtime|codeinterpreter|browsertool)\b.*vcpu", "agentcore", TokenKind.VCPU_HOUR),
    _rule(r"(?:runtime|codeinterpreter|browsertool)\b.*memory", "agentcore", TokenKind.GB_HOUR),
    _rule(r"runtime:.*management-hours", "agentcore", TokenKind.HOUR),
    _rule(r"gateway\b.*(?:invocations|search)|websearchtool|auth-request", "agentcore", TokenKind.REQUEST),
    _rule(r"short-term-memory|long-term-memory-retrieval", "agentcore", TokenKind.REQUEST),
    _rule(r"data-?transfer|\b(?:in|out|regional)-bytes$", "data transfer", TokenKind.GB),
    _rule(r"guardrail", "guardrails", TokenKind.GUARDRAIL_UNIT),
    _rule(r"evaluation", "evaluations", TokenKind.OTHER),
    _rule(r"invokeflow|bedrockflows", "flows", TokenKind.REQUEST),
    _rule(r"optimizeprompt|^apo-", "prompt optimization", TokenKind.OTHER),
    _rule(r"prompt-routing", "prompt routing", TokenKind.REQUEST),
    _rule(f"{_MODEL}nova-grounding", "grounding", TokenKind.REQUEST),
    _rule(r"bedrock-websearch", "web search", TokenKind.REQUEST),
    _rule(r"generatesql|structuredretrieve", "structured retrieval", TokenKind.REQUEST),
    _rule(f"{_MODEL}search{_S}units", "rerank", TokenKind.SEARCH_UNIT),
    _rule(r"dataautomation.*pages", "data automation", TokenKind.PAGE),
    _rule(r"dataautomation.*images", "data automation", TokenKind.IMAGE),
    _rule(r"dataautomation.*minutes", "data automation", TokenKind.MINUTE),
    _rule(r"dataautomation", "data automation", TokenKind.OTHER),
    _tokens(f"input{_S}image{_S}{_COUNTED}", "image tokens", TokenKind.IMAGE_INPUT),
    _tokens(f"output{_S}image{_S}{_COUNTED}", "image tokens", TokenKind.IMAGE_OUTPUT),
    _tokens(f"input{_S}video{_S}{_COUNTED}", "video tokens", TokenKind.VIDEO_INPUT),
    _tokens(f"input{_S}audio{_S}{_COUNTED}", "audio tokens", TokenKind.AUDIO_INPUT),
    _tokens(f"output{_S}audio{_S}{_COUNTED}", "audio tokens", TokenKind.AUDIO_OUTPUT),
    _tokens(f"speech{_S}(?:understanding{_S})?input{_S}{_COUNTED}", "speech", TokenKind.AUDIO_INPUT),
    _tokens(f"speech{_S}(?:understanding{_S})?output{_S}{_COUNTED}", "speech", TokenKind.AUDIO_OUTPUT),
    _rule(f"{_MODEL}(?:hdresolution-)?output{_S}seconds", "video", TokenKind.SECOND),
    _rule(f"{_MODEL}(?:(?:low|med|high)fps|t2v|i2v|input{_S}video{_S}seconds?)", "video", TokenKind.SECOND),
    _rule(r"^(?P<model>novareel)", "video", TokenKind.SECOND),
    _rule(f"{_MODEL}(?:t2i|i2i|created{_S}image|(?:input|output){_S}images?)", "image", TokenKind.IMAGE),
    _rule(r"^(?P<model>novacanvas|titanimagegenerator[^-]*)", "image", TokenKind.IMAGE),
    _rule(f"cache{_S}storage|cache{_S}validation", "prompt cache storage", TokenKind.OTHER),
    _tokens(f"cache{_S}reads?{_S}(?:input{_S})?{_COUNTED}|cached{_S}input{_S}{_COUNTED}", INFERENCE, TokenKind.CACHE_READ),
    *(
        _tokens(
            f"cache{_S}writes?{_S}{lifetime}{_S}(?:input{_S})?{_COUNTED}"
            f"|cache{_S}writes?{_S}(?:input{_S})?{_COUNTED}{_S}{lifetime}",
            INFERENCE,
            token_kind,
        )
        # Five minutes is Bedrock's default: with and without its name it is one meter, at one price.
        for lifetime, token_kind in (
            ("1h", TokenKind.CACHE_WRITE_1H),
            ("30m", TokenKind.CACHE_WRITE_30M),
            ("(?:5m)?", TokenKind.CACHE_WRITE),
        )
    ),
    _rule(r"cache", UNCLASSIFIED, TokenKind.OTHER),
    # Titan has the word in its names (`TitanEmbeddingsG1-Text`), Nova before what it counts (`NovaSonic-text-input-tokens`).
    _rule(f"^(?P<model>titan.+?-text)-input{_S}{_COUNTED}{_QUALIFIERS}", INFERENCE, TokenKind.INPUT),
    _rule(f"^(?P<model>titan.+?-text)-output{_S}{_COUNTED}{_QUALIFIERS}", INFERENCE, TokenKind.OUTPUT),
    _tokens(f"(?:million{_S})?(?:batch{_S})?(?:text{_S})?input{_S}{_COUNTED}", INFERENCE, TokenKind.INPUT),
    _tokens(f"(?:million{_S})?(?:batch{_S})?(?:text{_S})?(?:output|response){_S}{_COUNTED}", INFERENCE, TokenKind.OUTPUT),
    _rule(
        r"consumption-based|agent-?core|runtime|codeinterpreter|browsertool|gateway|-term-memory", "agentcore", TokenKind.OTHER
    ),
)

# Looked for behind the model's name.
TIERS: tuple[tuple[re.Pattern[str], Tier], ...] = (
    (_pattern(f"provisioned{_S}throughput|model{_S}units"), Tier.PROVISIONED),
    (_pattern(r"reserved[-_]"), Tier.RESERVED),
    (_pattern(f"^(?=.*{_LONG})(?=.*batch)"), Tier.LONG_CONTEXT_BATCH),
    (_pattern(f"^(?=.*{_LONG})(?=.*[-_]flex)"), Tier.LONG_CONTEXT_FLEX),
    (_pattern(f"^(?=.*{_LONG})(?=.*[-_]priority)"), Tier.LONG_CONTEXT_PRIORITY),
    (_pattern(_LONG), Tier.LONG_CONTEXT),
    (_pattern(r"batch"), Tier.BATCH),
    (_pattern(r"[-_]flex"), Tier.FLEX),
    (_pattern(r"[-_]priority"), Tier.PRIORITY),
    (_pattern(f"latency{_S}optimized"), Tier.LATENCY_OPTIMIZED),
)

# Looked for in what is bought as capacity.
COMMITMENTS = (
    (_pattern(f"no{_S}commit"), "no commitment"),
    (_pattern(f"(?<![0-9])1{_S}month"), "1 month"),
    (_pattern(f"(?<![0-9])3{_S}month"), "3 months"),
    (_pattern(f"(?<![0-9])6{_S}month"), "6 months"),
)

_REGION = "(?:EU|[A-Z]{3}[0-9]{1,2})"
_REGION_PREFIX = _pattern(f"^{_REGION}-")
# The newest products name the Region once (`USE1_input_tokens_standard-Units`).
_MARKETPLACE = _pattern(f"^(?:{_REGION}-)?(?:MP:(?:{_REGION}_)?|{_REGION}_)(?P<dimension>.+?)(?:-Units)?$")
_CUSTOM_MODEL = _pattern(f"{_CUSTOM}(?!{_S}import)")
_GLOBAL = _pattern("global")


# Billing's short names of Regions, as they begin usage types.
REGIONS = {
    "USE1": "us-east-1",
    "USE2": "us-east-2",
    "USW1": "us-west-1",
    "USW2": "us-west-2",
    "CAN1": "ca-central-1",
    "CAN2": "ca-west-1",
    "MXC1": "mx-central-1",
    "SAE1": "sa-east-1",
    "EU": "eu-west-1",
    "EUW1": "eu-west-1",
    "EUW2": "eu-west-2",
    "EUW3": "eu-west-3",
    "EUC1": "eu-central-1",
    "EUC2": "eu-central-2",
    "EUN1": "eu-north-1",
    "EUS1": "eu-south-1",
    "EUS2": "eu-south-2",
    "APE1": "ap-east-1",
    "APE2": "ap-east-2",
    "APN1": "ap-northeast-1",
    "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3",
    "APS1": "ap-southeast-1",
    "APS2": "ap-southeast-2",
    "APS3": "ap-south-1",
    "APS4": "ap-southeast-3",
    "APS5": "ap-south-2",
    "APS6": "ap-southeast-4",
    "APS7": "ap-southeast-5",
    "APS8": "ap-southeast-6",
    "APS9": "ap-southeast-7",
    "MES1": "me-south-1",
    "MEC1": "me-central-1",
    "ILC1": "il-central-1",
    "AFS1": "af-south-1",
    "UGW1": "us-gov-west-1",
    "UGE1": "us-gov-east-1",
}


@lru_cache(maxsize=8192)
def region_of(product_region: str, usage_type: str, description: str) -> str:
    """The Region of a row: the product's, else the one its description or its usage type begins with; empty where none says.

    Marketplace rows often leave the product's Region empty and name it in the description.
    """
    if product_region:
        return product_region
    fields = description.split("|")
    if len(fields) > 1 and re.fullmatch(r"[a-z]{2}(?:-[a-z]+)+-\d", fields[1].strip()):
        return fields[1].strip()
    return REGIONS.get(usage_type.split("-", 1)[0].upper(), "")


@dataclass(frozen=True, slots=True)
class DecodedUsageType:
    """What a usage type means. `feature` is `unclassified` where no rule reads it.

    `commitment` is how long bought capacity was bought for ("no commitment", "1 month", "3 months", "6 months"), empty for what
    is paid by use.
    """

    meter: Meter
    feature: str
    commitment: str = ""


@lru_cache(maxsize=8192)
def decode_usage_type(usage_type: str, product_name: str = "") -> DecodedUsageType:
    """The meter of a usage type; Marketplace rows name the model only in `product_name`."""
    marketplace = _MARKETPLACE.match(usage_type)
    bare = marketplace["dimension"] if marketplace else _REGION_PREFIX.sub("", usage_type)
    rule, fragment = _rule_of(bare)
    if marketplace and fragment and rule.token_kind in METERED_IN_TOKENS:
        # A Marketplace dimension of tokens has no place for a model: the words in front of it qualify the tokens.
        rule, fragment = _NO_RULE, ""
    dimension = bare[len(fragment) :]
    model = model_of_name(product_name if marketplace else fragment)
    feature = rule.feature
    if feature != UNCLASSIFIED and _CUSTOM_MODEL.search(dimension):
        # A customized model has prices of its own, and its calls are logged under its own ARN: another meter than its base.
        model = f"{model} custom model".strip()
        feature = CUSTOM_MODEL_INFERENCE if feature == INFERENCE else feature
    tier = next((tier for pattern, tier in TIERS if pattern.search(dimension)), Tier.STANDARD)
    routing = Routing.GLOBAL if _GLOBAL.search(dimension) else Routing.REGIONAL
    commitment = ""
    if tier in (Tier.PROVISIONED, Tier.RESERVED):
        commitment = next((term for pattern, term in COMMITMENTS if pattern.search(dimension)), "")
    return DecodedUsageType(Meter(model, rule.token_kind, tier, routing), feature, commitment)


_NO_RULE = _rule("^", UNCLASSIFIED, TokenKind.OTHER)


def _rule_of(bare: str) -> tuple[Rule, str]:
    """The first rule that reads a usage type, and the name of the model that it found there."""
    for rule in RULES:
        match = rule.pattern.search(bare)
        if match:
            return rule, match.groupdict().get("model") or ""
    return _NO_RULE, ""


@dataclass(frozen=True, slots=True)
class PriceBounds:
    """What a million tokens of these kinds cost at least and at most, in US dollars, if `model` is found in the model's key."""

    token_kinds: tuple[TokenKind, ...]
    model: re.Pattern[str]
    cheapest: Decimal
    dearest: Decimal


def _bounds(token_kinds: tuple[TokenKind, ...], model: str, cheapest: str, dearest: str) -> PriceBounds:
    return PriceBounds(token_kinds, _pattern(model), Decimal(cheapest), Decimal(dearest))


# The first that applies. The dearest counts the known premiums: a long context and the priority tier double a price. The
# cheapest is a tenth of the batch price of Claude Haiku 4.5; the batch prices of all models sold by the million are above it.
# Between the two lies less than a factor of 1000, so that no price is plausible both per thousand and per million.
PRICE_BOUNDS = (
    _bounds((TokenKind.INPUT,), "embed", "0.002", "1.9"),
    _bounds((TokenKind.INPUT, TokenKind.IMAGE_INPUT, TokenKind.AUDIO_INPUT, TokenKind.VIDEO_INPUT), "", "0.045", "44"),
    _bounds((TokenKind.OUTPUT, TokenKind.IMAGE_OUTPUT, TokenKind.AUDIO_OUTPUT), "", "0.18", "170"),
    _bounds((TokenKind.CACHE_READ,), "", "0.005", "4.5"),
    _bounds((TokenKind.CACHE_WRITE, TokenKind.CACHE_WRITE_30M, TokenKind.CACHE_WRITE_1H), "", "0.06", "55"),
    _bounds((TokenKind.TRAINING,), "", "0.1", "90"),
)

_THOUSAND, _MILLION = 1_000, 1_000_000
_SCALES = (
    (_pattern(r"(?<![0-9.])(?:1m(?:\b|tpm)|1,?000,?000|million)"), _MILLION),
    (_pattern(r"(?<![0-9.])(?:1k(?:\b|tpm)|1,?000|thousand)"), _THOUSAND),
)
_GENERIC_UNITS = ("", "unit", "units", "quantity")
# What a unit's text must contain to be a unit of these; a unit of other kinds may have any name.
_UNIT_WORDS: Mapping[TokenKind, re.Pattern[str]] = {
    **dict.fromkeys(METERED_IN_TOKENS, _pattern("token")),
    **dict.fromkeys((TokenKind.INPUT_TPM_HOUR, TokenKind.OUTPUT_TPM_HOUR), _pattern("tpm")),
    **dict.fromkeys((TokenKind.HOUR, TokenKind.VCPU_HOUR, TokenKind.GB_HOUR), _pattern("hour|hr")),
    **dict.fromkeys((TokenKind.MODEL_MONTH, TokenKind.GB_MONTH), _pattern("mo")),
    **dict.fromkeys((TokenKind.MINUTE, TokenKind.MODEL_UNIT_MINUTE), _pattern("min")),
    TokenKind.MODEL_UNIT_HOUR: _pattern("hour|hr|model ?unit"),
    TokenKind.IMAGE: _pattern("image"),
    TokenKind.SECOND: _pattern("second"),
    TokenKind.PAGE: _pattern("page"),
    TokenKind.GB: _pattern("gb|gigabyte"),
}


@lru_cache(maxsize=8192)
def _scale_of(token_kind: TokenKind, pricing_unit: str, description: str) -> int | None:
    """How many units of a kind one of the row's own units is: 1000 for `1K tokens`; None where nothing says.

    The pricing unit decides. `Units` says nothing: then the real unit is the third field of a Marketplace description, and
    where that has none, tokens come in millions (AWS's own dashboards read such rows so).
    """
    if token_kind is TokenKind.OTHER:
        return None
    unit = pricing_unit.strip()
    counts_tokens = token_kind in METERED_IN_TOKENS
    if unit.lower() not in _GENERIC_UNITS:
        words = _UNIT_WORDS.get(token_kind)
        return _scale(unit) or 1 if words is None or words.search(unit) else None
    fields = description.split("|")
    stated = _scale(fields[2]) if len(fields) > 2 else None
    if counts_tokens:
        return stated or (_MILLION if unit else None)
    is_reserved = token_kind in (TokenKind.INPUT_TPM_HOUR, TokenKind.OUTPUT_TPM_HOUR)
    return stated or (None if is_reserved else 1)


def _scale(unit: str) -> int | None:
    return next((scale for pattern, scale in _SCALES if pattern.search(unit)), None)


def tokens_of(
    quantity: Decimal, decoded: DecodedUsageType, pricing_unit: str, description: str, cost: Decimal
) -> Decimal | None:
    """The number of tokens (or images, seconds, hours, units) that a row's quantity stands for; None where it is not known.

    `cost` is what the quantity cost, in US dollars; zero where that is not known or the usage was free: then there is no price
    to compare, and the stated unit stands. Otherwise tokens are told only when unit and price agree, because some descriptions
    say "thousand" beside a price per million. Thousands must not cost more than the dearest known price, millions not less than
    the cheapest. Either is held against the one bound that a factor of 1000 would break: no discount makes a row in thousands
    implausible, and 90 percent off a batch price leaves one in millions of Claude Haiku 4.5, or anything dearer, plausible.
    Where cheaper models are discounted further the quantity is given up. That leaves a charge whole, while a quantity that is
    wrong by 1000 would move its shares to the wrong owners. The money is not touched either way.
    """
    meter = decoded.meter
    scale = _scale_of(meter.token_kind, pricing_unit, description)
    if scale is None:
        return None
    units = EXACT.multiply(quantity, Decimal(scale))
    bounds = _bounds_of(meter.token_kind, meter.model)
    if bounds is None or cost <= 0 or units <= 0:
        return units
    # Price per million = cost / units x 1,000,000, compared without dividing.
    price_by_units = EXACT.multiply(cost, Decimal(_MILLION))
    if scale == _MILLION:
        return units if price_by_units >= EXACT.multiply(bounds.cheapest, units) else None
    return units if price_by_units <= EXACT.multiply(bounds.dearest, units) else None


@lru_cache(maxsize=8192)
def _bounds_of(token_kind: TokenKind, model: str) -> PriceBounds | None:
    return next((b for b in PRICE_BOUNDS if token_kind in b.token_kinds and b.model.search(model)), None)


@lru_cache(maxsize=1)
def decoder_version() -> str:
    """A name of everything that a usage type is decoded by: the rules, the models, the Regions, the units and their bounds."""
    rules = [(rule.pattern.pattern, rule.feature, rule.token_kind) for rule in RULES]
    marks = [(pattern.pattern, value) for pattern, value in (*TIERS, *COMMITMENTS)]
    units = [(kind, words.pattern) for kind, words in _UNIT_WORDS.items()]
    models = [(entry.key, entry.also) for entry in CATALOGUE]
    bounds = [repr(bound) for bound in PRICE_BOUNDS]
    return content_hash([rules, marks, units, models, bounds, sorted(REGIONS.items()), repr(_SCALES)])[:16]
