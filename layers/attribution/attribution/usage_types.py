"""Decode a bill's usage type into a meter: ordered rules as data, the first match wins.

Order matters: `cache-read-input-token-count`, `NovaReel-output-seconds` and `Reserved_1Month_InputTPM` all contain "input" or
"output". Both generations of spelling are read (`InputTokenCount_Global_Batch`, `input_tokens_global_standard`). A usage type
that no rule reads is `unclassified`: its money is kept and counted, only its meaning is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from attribution.meters import TOKEN_KINDS, Meter, Routing, Tier, TokenKind
from attribution.models import model_of_name
from attribution.money import EXACT

UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, slots=True)
class Rule:
    """A feature and what its units count, for usage types in which `pattern` is found (lower-case, region prefix removed)."""

    pattern: re.Pattern[str]
    feature: str
    token_kind: TokenKind


def _rule(pattern: str, feature: str, token_kind: TokenKind) -> Rule:
    return Rule(re.compile(pattern), feature, token_kind)


INFERENCE = "inference"
RULES = (
    _rule(r"modelunits", "provisioned throughput", TokenKind.MODEL_UNIT_HOUR),
    _rule(r"custommodelimport", "custom model import", TokenKind.OTHER),
    _rule(r"customization|rft-training", "customization", TokenKind.OTHER),
    _rule(r"reserved_", "reserved tier", TokenKind.OTHER),
    _rule(r"guardrail", "guardrails", TokenKind.GUARDRAIL_UNIT),
    _rule(r"evaluations", "evaluations", TokenKind.OTHER),
    _rule(r"invokeflow|bedrockflows", "flows", TokenKind.OTHER),
    _rule(r"optimizeprompt", "prompt optimization", TokenKind.OTHER),
    _rule(r"prompt-routing", "prompt routing", TokenKind.OTHER),
    _rule(r"nova-grounding", "grounding", TokenKind.OTHER),
    _rule(r"generatesql|structuredretrieve", "structured retrieval", TokenKind.OTHER),
    _rule(r"search[-_]?units", "rerank", TokenKind.SEARCH_UNIT),
    _rule(r"dataautomation", "data automation", TokenKind.OTHER),
    _rule(r"image-token-count", "image tokens", TokenKind.OTHER),
    _rule(r"novareel|t2v|i2v|(?:^|-)ray-v2|output-seconds", "video", TokenKind.SECOND),
    _rule(r"created_image|imagegenerator|novacanvas|inputimagecount", "image", TokenKind.IMAGE),
    _rule(r"speech", "speech", TokenKind.OTHER),
    _rule(r"cache[-_]?storage|cachevalidation", "prompt cache storage", TokenKind.OTHER),
    _rule(r"cache[-_]?read", INFERENCE, TokenKind.CACHE_READ),
    _rule(r"cache[-_]?write(?:[-_]tokens)?[-_]?1h", INFERENCE, TokenKind.CACHE_WRITE_1H),
    _rule(r"cache[-_]?write(?:[-_]tokens)?[-_]?30m", INFERENCE, TokenKind.CACHE_WRITE_30M),
    _rule(r"cache[-_]?write", INFERENCE, TokenKind.CACHE_WRITE),
    _rule(r"input[-_]?token|batchinputtoken|-input-tokens|inputtokens", INFERENCE, TokenKind.INPUT),
    _rule(r"output[-_]?token|batchoutputtoken|-output-tokens|outputtokens", INFERENCE, TokenKind.OUTPUT),
    _rule(r"runtime|codeinterpreter|browsertool|gateway|-term-memory", "agentcore", TokenKind.OTHER),
)

TIERS: tuple[tuple[re.Pattern[str], Tier], ...] = (
    (re.compile(r"provisionedthroughput|modelunits"), Tier.PROVISIONED),
    (re.compile(r"reserved_"), Tier.RESERVED),
    (re.compile(r"batch"), Tier.BATCH),
    (re.compile(r"[-_]flex"), Tier.FLEX),
    (re.compile(r"[-_]priority"), Tier.PRIORITY),
    (re.compile(r"latency[-_]?optimized"), Tier.LATENCY_OPTIMIZED),
    (re.compile(r"long-context"), Tier.LONG_CONTEXT),
)

_REGION_PREFIX = re.compile(r"^[A-Z]{2,4}\d{0,2}-(?=[A-Za-z0-9])")
_MARKETPLACE = re.compile(r"^(?:[A-Z]{2,4}\d{0,2}-)?MP:(?:[A-Z]{2,4}\d{0,2}_)?(?P<dimension>.+?)(?:-Units)?$")
# Where the model's fragment of a classic or mantle usage type ends.
_MODEL_END = re.compile(
    r"-(?:mantle-|(?:text-|speech-)?(?:input|output)-|cache-(?:read|write)|T2I|I2I|ProvisionedThroughput|image-|search-units"
    r"|customization|custom-model|created|HDResolution|(?:low|med|high)fps|\d+x\d+)",
    re.IGNORECASE,
)


# Billing's short names of Regions, as they begin usage types.
REGIONS = {
    "USE1": "us-east-1",
    "USE2": "us-east-2",
    "USW1": "us-west-1",
    "USW2": "us-west-2",
    "CAN1": "ca-central-1",
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
    "APN1": "ap-northeast-1",
    "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3",
    "APS1": "ap-southeast-1",
    "APS2": "ap-southeast-2",
    "APS3": "ap-south-1",
    "APS4": "ap-southeast-3",
    "APS5": "ap-south-2",
    "APS6": "ap-southeast-4",
    "MES1": "me-south-1",
    "MEC1": "me-central-1",
    "ILC1": "il-central-1",
    "AFS1": "af-south-1",
    "UGW1": "us-gov-west-1",
    "UGE1": "us-gov-east-1",
}


def region_of(product_region: str, usage_type: str, description: str) -> str:
    """The Region of a row: the product's, else the one its description or its usage type begins with; empty where none says.

    Marketplace rows often leave the product's Region empty and name it in the description.
    """
    if product_region:
        return product_region
    fields = description.split("|")
    if len(fields) > 1 and re.fullmatch(r"[a-z]{2}(?:-[a-z]+)+-\d", fields[1].strip()):
        return fields[1].strip()
    return REGIONS.get(usage_type.split("-", 1)[0], "")


@dataclass(frozen=True, slots=True)
class DecodedUsageType:
    """What a usage type means. `feature` is `unclassified` where no rule reads it."""

    meter: Meter
    feature: str


def decode_usage_type(usage_type: str, product_name: str = "") -> DecodedUsageType:
    """The meter of a usage type; Marketplace rows name the model only in `product_name`."""
    marketplace = _MARKETPLACE.match(usage_type)
    bare = marketplace["dimension"] if marketplace else _REGION_PREFIX.sub("", usage_type)
    lowered = bare.lower()
    rule = next((rule for rule in RULES if rule.pattern.search(lowered)), None)
    tier = next((tier for pattern, tier in TIERS if pattern.search(lowered)), Tier.STANDARD)
    routing = Routing.GLOBAL if "global" in lowered else Routing.REGIONAL
    model = _model(bare, marketplace is not None, product_name, rule)
    if rule is None:
        return DecodedUsageType(Meter(model, TokenKind.OTHER, tier, routing), UNCLASSIFIED)
    return DecodedUsageType(Meter(model, rule.token_kind, tier, routing), rule.feature)


def _model(bare: str, marketplace: bool, product_name: str, rule: Rule | None) -> str:
    if marketplace:
        return model_of_name(product_name) if product_name else ""
    end = _MODEL_END.search(bare)
    if end:
        return model_of_name(bare[: end.start()])
    if rule is not None and rule.feature in ("image", "video"):
        return model_of_name(bare.split("-", maxsplit=1)[0])
    return ""


def tokens_of(quantity: Decimal, decoded: DecodedUsageType, pricing_unit: str, description: str) -> Decimal | None:
    """The number of tokens (or images, seconds, hours, units) that a row's quantity stands for; None where it is not known.

    The real unit of a Marketplace row is the third field of its description; `Units` alone means millions of tokens
    (facts of AWS's own dashboards, which normalise the same way). A description that says "thousand" on a Marketplace row is
    not trusted: such rows carry a price per million.
    """
    if decoded.feature == UNCLASSIFIED or decoded.meter.token_kind is TokenKind.OTHER:
        return None
    if decoded.meter.token_kind not in TOKEN_KINDS:
        return quantity
    fields = description.split("|")
    unit = (fields[2] if len(fields) > 2 else pricing_unit).lower()
    if pricing_unit == "Units" and "thousand" in unit:
        return None
    if "million" in unit or pricing_unit in ("1M tokens", "Units"):
        return EXACT.scaleb(quantity, Decimal(6))
    if pricing_unit.lower() in ("1k tokens", "1k input tokens", "1k output tokens"):
        return EXACT.scaleb(quantity, Decimal(3))
    return None
