"""What is metered: token kinds, tiers and routing, in the words that invocation logs, prices and bills are brought to.

The bill names routing only when it is global (`_Global`, `-cross-region-global`). A geographic inference profile (`us.`,
`eu.`) bills under the plain usage type, like a call inside one Region, so both are `REGIONAL` here: estimate and bill must meet
on the same key (docs/decisions/0008-regional-and-global-routing-only.md).

The values are stored in the ledger: a new one may be added, none is ever renamed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class TokenKind(StrEnum):
    """What one unit of a meter counts: tokens of a kind first, then images, time, capacity and things counted one by one.

    `CACHE_WRITE` lives for five minutes, Bedrock's default: the bill writes it with and without `5m`. `AUDIO_INPUT` and
    `AUDIO_OUTPUT` count speech too. `INPUT_TPM_HOUR` is one input token per minute, reserved for an hour. `MODEL_MONTH` is a
    stored model, or one of its units, for a month. `REQUEST` counts requests, queries, events and the like. `OTHER` is not
    counted: its usage type does not say what of.
    """

    INPUT = "input"
    OUTPUT = "output"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_30M = "cache_write_30m"
    CACHE_WRITE_1H = "cache_write_1h"
    IMAGE_INPUT = "image_input"
    IMAGE_OUTPUT = "image_output"
    AUDIO_INPUT = "audio_input"
    AUDIO_OUTPUT = "audio_output"
    VIDEO_INPUT = "video_input"
    TRAINING = "training"
    IMAGE = "image"
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    PAGE = "page"
    REQUEST = "request"
    SEARCH_UNIT = "search_unit"
    GUARDRAIL_UNIT = "guardrail_unit"
    MODEL_UNIT_HOUR = "model_unit_hour"
    MODEL_UNIT_MINUTE = "model_unit_minute"
    MODEL_MONTH = "model_month"
    INPUT_TPM_HOUR = "input_tpm_hour"
    OUTPUT_TPM_HOUR = "output_tpm_hour"
    VCPU_HOUR = "vcpu_hour"
    GB_HOUR = "gb_hour"
    GB_MONTH = "gb_month"
    GB = "gb"
    OTHER = "other"


TOKEN_KINDS = (
    TokenKind.INPUT,
    TokenKind.OUTPUT,
    TokenKind.CACHE_READ,
    TokenKind.CACHE_WRITE,
    TokenKind.CACHE_WRITE_30M,
    TokenKind.CACHE_WRITE_1H,
)
"""The kinds that invocation logs count, too: only these can have usage behind them."""

METERED_IN_TOKENS = (
    *TOKEN_KINDS,
    TokenKind.IMAGE_INPUT,
    TokenKind.IMAGE_OUTPUT,
    TokenKind.AUDIO_INPUT,
    TokenKind.AUDIO_OUTPUT,
    TokenKind.VIDEO_INPUT,
    TokenKind.TRAINING,
)
"""The kinds whose unit is a token; the bill counts them in thousands or millions."""


class Routing(StrEnum):
    """Which Regions may serve the request, as far as the price depends on it."""

    REGIONAL = "regional"
    GLOBAL = "global"


class Tier(StrEnum):
    """How the request is priced: service tier, batch, or bought capacity. A long context has its own price in each tier."""

    STANDARD = "standard"
    FLEX = "flex"
    PRIORITY = "priority"
    BATCH = "batch"
    LATENCY_OPTIMIZED = "latency_optimized"
    LONG_CONTEXT = "long_context"
    LONG_CONTEXT_FLEX = "long_context_flex"
    LONG_CONTEXT_PRIORITY = "long_context_priority"
    LONG_CONTEXT_BATCH = "long_context_batch"
    RESERVED = "reserved"
    PROVISIONED = "provisioned"


class Meter(NamedTuple):
    """One thing that is counted and priced: `model` is the canonical key of `models.py`, or what the bill called it.

    It is a tuple, because charges and prices are looked up by it: a frozen dataclass takes several times as long to make and
    to hash.
    """

    model: str
    token_kind: TokenKind
    tier: Tier = Tier.STANDARD
    routing: Routing = Routing.REGIONAL
