"""Invocations and the counters they add up to.

An invocation has two halves that arrive in any order: *metered* (from the invocation log: what was used, and what it costs at
the known price) and *observed* (from CloudTrail: who called, with which session tags). A counter holds the invocations of one
usage day that share everything an allocation could tell them apart by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from attribution.canonical import content_hash
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.money import ZERO, add, subtract

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class InvocationKey:
    """The join key of one inference request: both records name the caller's Region. `request_id` alone is not unique."""

    account_id: str
    region: str
    request_id: str

    def __str__(self) -> str:
        return f"{self.account_id}#{self.region}#{self.request_id}"


@dataclass(frozen=True, slots=True)
class PricedKind:
    """One token kind of a request: how many units, and what they cost. `cost` is None where no price is known."""

    units: int
    cost: Decimal | None
    unit_price: str = ""


@dataclass(frozen=True, slots=True)
class Metered:
    """The metered half. `flags` name what is uncertain, such as `unmeasured` or `cache_write_ttl_unknown`."""

    timestamp: datetime
    model_id: str
    model: str
    operation: str
    routing: Routing
    tier: Tier
    inference_profile: str
    iam_principal: str
    kinds: Mapping[TokenKind, PricedKind]
    request_metadata: Pairs = ()
    error_code: str = ""
    flags: tuple[str, ...] = ()
    price_source: str = ""
    currency: str = "USD"
    log_object: str = ""

    @property
    def usage_date(self) -> date:
        return self.timestamp.date()

    def fingerprint(self) -> str:
        """Equal for two log records of one request that say the same, whichever object or price table they came through."""
        return content_hash(
            {
                "timestamp": self.timestamp,
                "model_id": self.model_id,
                "operation": self.operation,
                "iam_principal": self.iam_principal,
                "units": {kind.value: priced.units for kind, priced in self.kinds.items()},
                "metadata": self.request_metadata,
                "error": self.error_code,
            }
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """The observed half."""

    timestamp: datetime
    event_name: str
    model_id: str
    iam_principal: str
    role: str = ""
    session_name: str = ""
    source_identity: str = ""
    access_key_id: str = ""
    session_tags: Pairs = ()
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One inference request, as far as it is known."""

    key: InvocationKey
    metered: Metered | None = None
    observed: Observed | None = None


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """Everything by which an allocation could tell two invocations of one day apart."""

    usage_date: date
    account_id: str
    region: str
    model: str
    routing: Routing
    tier: Tier
    iam_principal: str
    inference_profile: str = ""
    request_metadata: Pairs = ()
    session_tags: Pairs = ()

    def digest(self) -> str:
        """A short stable name of this key; 128 bits of a SHA-256."""
        return content_hash(
            [
                self.usage_date,
                self.account_id,
                self.region,
                self.model,
                self.routing,
                self.tier,
                self.iam_principal,
                self.inference_profile,
                self.request_metadata,
                self.session_tags,
            ]
        )[:32]

    def meter(self, kind: TokenKind) -> Meter:
        """The meter that this key's units of one kind are priced and billed under."""
        return Meter(self.model, kind, self.tier, self.routing)


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums over invocations. `units` and `estimated` are by token kind; `unpriced` counts units without a known price."""

    requests: int = 0
    errors: int = 0
    unmeasured: int = 0
    observed_only: int = 0
    units: Mapping[TokenKind, int] = field(default_factory=dict)
    estimated: Mapping[TokenKind, Decimal] = field(default_factory=dict)
    unpriced: Mapping[TokenKind, int] = field(default_factory=dict)

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.requests + other.requests,
            self.errors + other.errors,
            self.unmeasured + other.unmeasured,
            self.observed_only + other.observed_only,
            _merge_counts(self.units, other.units),
            _merge_amounts(self.estimated, other.estimated),
            _merge_counts(self.unpriced, other.unpriced),
        )

    def negated(self) -> Counters:
        """The same sums with the opposite sign: what has to be added to take them back."""
        return Counters(
            -self.requests,
            -self.errors,
            -self.unmeasured,
            -self.observed_only,
            {kind: -count for kind, count in self.units.items()},
            {kind: subtract(ZERO, amount) for kind, amount in self.estimated.items()},
            {kind: -count for kind, count in self.unpriced.items()},
        )

    def is_zero(self) -> bool:
        """Whether adding this changes nothing."""
        return not (self.requests or self.errors or self.unmeasured or self.observed_only) and not any(
            (*self.units.values(), *self.estimated.values(), *self.unpriced.values())
        )


def _merge_counts(left: Mapping[TokenKind, int], right: Mapping[TokenKind, int]) -> dict[TokenKind, int]:
    merged = dict(left)
    for kind, count in right.items():
        merged[kind] = merged.get(kind, 0) + count
    return merged


def _merge_amounts(left: Mapping[TokenKind, Decimal], right: Mapping[TokenKind, Decimal]) -> dict[TokenKind, Decimal]:
    merged = dict(left)
    for kind, amount in right.items():
        merged[kind] = add(merged.get(kind, ZERO), amount)
    return merged


@dataclass(frozen=True, slots=True)
class Usage:
    """One counter of a usage day."""

    key: UsageKey
    counters: Counters

    def requests_counted_with(self, kind: TokenKind) -> int:
        """The requests, if `kind` is the first kind that was used: a request of several kinds counts once in a day's sum."""
        first = next((k for k in TokenKind if self.counters.units.get(k)), None)
        return self.counters.requests if kind is first else 0


def contribution(invocation: Invocation) -> Usage | None:
    """What one invocation adds to the day's counters; None where neither half is known yet."""
    metered, observed = invocation.metered, invocation.observed
    if metered is None:
        if observed is None:
            return None
        return Usage(_observed_key(invocation.key, observed), Counters(observed_only=1, errors=int(bool(observed.error_code))))
    key = UsageKey(
        usage_date=metered.usage_date,
        account_id=invocation.key.account_id,
        region=invocation.key.region,
        model=metered.model,
        routing=metered.routing,
        tier=metered.tier,
        iam_principal=metered.iam_principal or (observed.iam_principal if observed else ""),
        inference_profile=metered.inference_profile,
        request_metadata=metered.request_metadata,
        session_tags=observed.session_tags if observed else (),
    )
    return Usage(
        key,
        Counters(
            requests=1,
            errors=int(bool(metered.error_code)),
            unmeasured=int("unmeasured" in metered.flags),
            units={kind: priced.units for kind, priced in metered.kinds.items()},
            estimated={kind: priced.cost for kind, priced in metered.kinds.items() if priced.cost is not None},
            unpriced={kind: priced.units for kind, priced in metered.kinds.items() if priced.cost is None},
        ),
    )


def _observed_key(key: InvocationKey, observed: Observed) -> UsageKey:
    return UsageKey(
        usage_date=observed.timestamp.date(),
        account_id=key.account_id,
        region=key.region,
        model=observed.model_id,
        routing=Routing.REGIONAL,
        tier=Tier.STANDARD,
        iam_principal=observed.iam_principal,
        session_tags=observed.session_tags,
    )


def changes(pairs_of_images: Iterable[tuple[Invocation | None, Invocation | None]]) -> dict[UsageKey, Counters]:
    """The difference that a sequence of (old, new) images makes to the counters, without the differences that cancel out."""
    difference: dict[UsageKey, Counters] = {}
    for old, new in pairs_of_images:
        before = contribution(old) if old else None
        after = contribution(new) if new else None
        if before == after:
            continue
        if before:
            difference[before.key] = difference.get(before.key, Counters()) + before.counters.negated()
        if after:
            difference[after.key] = difference.get(after.key, Counters()) + after.counters
    return {key: counters for key, counters in difference.items() if not counters.is_zero()}


def with_session_tags(observed: Observed, session_tags: Pairs) -> Observed:
    """The observed half, once the STS event that issued its credentials is known."""
    return replace(observed, session_tags=session_tags)
