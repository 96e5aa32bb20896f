"""What is metered: token kinds, tiers and routing, in the words that invocation logs, prices and bills are brought to.

The bill names routing only when it is global (`_Global`, `-cross-region-global`). A geographic inference profile (`us.`,
`eu.`) bills under the plain usage type, like a call inside one Region, so both are `REGIONAL` here: estimate and bill must meet
on the same key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TokenKind(StrEnum):
    """What one unit of a meter counts. Kinds other than tokens count images, seconds, hours or policy units."""

    INPUT = "input"
    OUTPUT = "output"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_30M = "cache_write_30m"
    CACHE_WRITE_1H = "cache_write_1h"
    IMAGE = "image"
    SECOND = "second"
    SEARCH_UNIT = "search_unit"
    MODEL_UNIT_HOUR = "model_unit_hour"
    GUARDRAIL_UNIT = "guardrail_unit"
    OTHER = "other"


TOKEN_KINDS = (
    TokenKind.INPUT,
    TokenKind.OUTPUT,
    TokenKind.CACHE_READ,
    TokenKind.CACHE_WRITE,
    TokenKind.CACHE_WRITE_30M,
    TokenKind.CACHE_WRITE_1H,
)


class Routing(StrEnum):
    """Which Regions may serve the request, as far as the price depends on it."""

    REGIONAL = "regional"
    GLOBAL = "global"


class Tier(StrEnum):
    """How the request is priced: service tier, batch, or bought capacity."""

    STANDARD = "standard"
    FLEX = "flex"
    PRIORITY = "priority"
    BATCH = "batch"
    LATENCY_OPTIMIZED = "latency_optimized"
    LONG_CONTEXT = "long_context"
    RESERVED = "reserved"
    PROVISIONED = "provisioned"


@dataclass(frozen=True, slots=True, order=True)
class Meter:
    """One thing that is counted and priced: `model` is the canonical key of `models.py`, or what the bill called it."""

    model: str
    token_kind: TokenKind
    tier: Tier = Tier.STANDARD
    routing: Routing = Routing.REGIONAL
