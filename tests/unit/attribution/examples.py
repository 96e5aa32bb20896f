"""Plain examples of the core's values; a test changes only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution.charges import Costs, OriginCharge
from attribution.cost_categories import by_evidence
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.rules import Rules
from attribution.usage import Counters, Invocation, InvocationKey, Metered, Observed, PricedKind, Usage, UsageKey

DAY = date(2026, 11, 3)
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
ROLE = "arn:aws:sts::111122223333:assumed-role/Gateway/gateway"
PROFILE = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6"
SONNET = "anthropic.claude-sonnet-4-6"
TEAM = by_evidence("team", ("team",))
BY_TEAM = Rules.of([TEAM])

CHARGE = OriginCharge(
    usage_date=DAY,
    account_id="111122223333",
    region="us-east-1",
    line_item_type="Usage",
    billing_entity="AWS Marketplace",
    product_code="4a524th30q694o538qndh9ucht",
    usage_type="USE1-MP:USE1_InputTokenCount-Units",
    operation="InvokeModelInference",
    feature="inference",
    commitment="",
    meter=Meter(SONNET, TokenKind.INPUT),
    iam_principal="",
    resource_id="",
    tags=(),
    currency="USD",
    pricing_unit="Units",
    quantity=Decimal("0.001"),
    units=Decimal(1000),
    costs=Costs.uniform(Decimal("3.30")),
    row_count=1,
)

USAGE_KEY = UsageKey(DAY, "111122223333", "us-east-1", SONNET, Routing.REGIONAL, Tier.STANDARD, ROLE)


def origin_charge(**changes: Any) -> OriginCharge:
    """An input-token charge of 1000 tokens that names nobody."""
    return replace(CHARGE, **changes)


def usage(units: Mapping[TokenKind, int], *, requests: int = 1, **key: Any) -> Usage:
    """A counter of the gateway role with these units, unpriced."""
    return Usage(USAGE_KEY._replace(**key), Counters(requests=requests, units=units, unpriced=units))


def metered(**changes: Any) -> Metered:
    """The metered half of a request of 1000 input tokens at a known price."""
    half = Metered(
        timestamp=NOON,
        model_id=SONNET,
        model=SONNET,
        operation="Converse",
        routing=Routing.REGIONAL,
        tier=Tier.STANDARD,
        inference_profile="",
        iam_principal=ROLE,
        kinds={TokenKind.INPUT: PricedKind(1000, Decimal("0.0033"), "3.3 USD per 1000000")},
    )
    return replace(half, **changes)


def observed(**changes: Any) -> Observed:
    """The observed half of the same request."""
    return replace(Observed(NOON + timedelta(seconds=2), "Converse", SONNET, ROLE), **changes)


def invocation(request_id: str = "r-1", metered: Metered | None = None, observed: Observed | None = None) -> Invocation:
    """One request, as far as it is known."""
    return Invocation(InvocationKey("111122223333", "us-east-1", request_id), metered, observed)
