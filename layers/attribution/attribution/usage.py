"""Invocations and the counters they add up to.

An invocation has two halves that arrive in any order: *metered* (from the invocation log: what was used, and what it costs at
the known price) and *observed* (from CloudTrail: who called, with which session tags). Some records of CloudTrail count tokens,
too: while the metered half is missing they stand in for it, and are called provisional. A counter holds the invocations of one
usage day that share everything an allocation could tell them apart by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple, TypeVar

from attribution.canonical import content_hash
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.money import ZERO, add, subtract

Pairs = tuple[tuple[str, str], ...]

# What records count themselves; cache writes as one, whatever their times to live.
_LOGGED_KINDS = (TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.CACHE_READ)
_KINDS = tuple(TokenKind)
_LESS_WITHOUT_BODY = frozenset(("usage_from_body", "unmeasured"))
_CACHE_WRITES = (TokenKind.CACHE_WRITE, TokenKind.CACHE_WRITE_30M, TokenKind.CACHE_WRITE_1H)

ESTIMATE_CURRENCY = "USD"
"""What requests are priced in: the prices that are read are in it."""
FIRST_RECORD = "1"
"""The revision of what the caller's own account recorded first. Copies in other accounts are less, corrections greater."""


# Keys are tuples: one is made and looked up for every request, and a frozen dataclass takes several times as long for both.
class InvocationKey(NamedTuple):
    """The join key of one inference request: both records name the caller's Region. `request_id` alone is not unique."""

    account_id: str
    region: str
    request_id: str

    def __str__(self) -> str:
        return f"{self.account_id}#{self.region}#{self.request_id}"


# `PricedKind`, `Metered`, `Invocation`, `Counters` and `Usage` are neither frozen nor slotted, though nothing changes one: they
# are made of every logged request, and making a frozen one takes four times as long, a slotted one half as long again.
@dataclass
class PricedKind:
    """One token kind of a request: how many units, and what they cost. `cost` is None where no price is known."""

    units: int
    cost: Decimal | None
    unit_price: str = ""


@dataclass
class Metered:
    """The metered half. `flags` name what is uncertain, such as `unmeasured` or `cache_write_ttl_unknown`.

    `guardrail_units` are by AWS's name of their counter. They are billed by policy, not by model, and no part of the cost.
    """

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
    log_object: str = ""
    guardrail_units: tuple[tuple[str, int], ...] = ()
    currency: str = ESTIMATE_CURRENCY

    @property
    def usage_date(self) -> date:
        return self.timestamp.date()

    def fingerprint(self) -> str:
        """Equal for two log records of one request that say the same, whichever way and price table they came through.

        What only a body says is no part of it: one delivery of a record may carry the body that another leaves out.
        """
        units = {kind.value: priced.units for kind, priced in self.kinds.items() if kind in _LOGGED_KINDS}
        units["cache_write"] = sum(priced.units for kind, priced in self.kinds.items() if kind in _CACHE_WRITES)
        return content_hash(
            {
                "timestamp": self.timestamp,
                "model_id": self.model_id,
                "operation": self.operation,
                "iam_principal": self.iam_principal,
                "units": {} if _LESS_WITHOUT_BODY.intersection(self.flags) else units,
                "metadata": self.request_metadata,
                "error": self.error_code,
            }
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """The observed half, as one CloudTrail record of the call tells it.

    `model_id` is the canonical model. `iam_principal` is an ARN, or empty where the record has none: `identity_name` then says
    who it was. `role` is what issued the session: a role, or the user behind a federated one. `issued_to` is the function or
    instance that the credentials were made for; `on_behalf_of` a user of IAM Identity Center. `is_uncovered` calls have no
    invocation log, so that nothing will ever meter them. `kinds` is provisional usage.

    Several records may tell of one call: copies in other accounts, and addenda that correct an earlier record. The one with the
    greatest `revision` stands, in whatever order they arrive.
    """

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
    event_id: str = ""
    revision: str = FIRST_RECORD
    identity_type: str = ""
    identity_name: str = ""
    invoked_by: str = ""
    issued_to: str = ""
    on_behalf_of: str = ""
    has_bearer_token: bool = False
    is_uncovered: bool = False
    project: str = ""
    inference_region: str = ""
    inference_profile: str = ""
    routing: Routing = Routing.REGIONAL
    tier: Tier = Tier.STANDARD
    request_metadata: Pairs = ()
    kinds: Mapping[TokenKind, PricedKind] = field(default_factory=dict)
    price_source: str = ""
    currency: str = ESTIMATE_CURRENCY

    @property
    def flags(self) -> tuple[str, ...]:
        """What is uncertain while this half stands alone."""
        if self.kinds:
            return ("provisional",)
        return ("unmeasured",) if self.is_uncovered and not self.error_code else ()


@dataclass
class Invocation:
    """One inference request, as far as it is known."""

    key: InvocationKey
    metered: Metered | None = None
    observed: Observed | None = None

    @property
    def state(self) -> str:
        """Which halves are known: `joined`, `metered_only` or `observed_only`."""
        if self.metered and self.observed:
            return "joined"
        return "metered_only" if self.metered else "observed_only"


class UsageKey(NamedTuple):
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
    source_identity: str = ""
    project: str = ""
    lambda_function: str = ""

    def digest(self) -> str:
        """A short stable name of this key; 128 bits of a SHA-256."""
        return content_hash(self)[:32]

    def meter(self, kind: TokenKind) -> Meter:
        """The meter that this key's units of one kind are priced and billed under."""
        return Meter(self.model, kind, self.tier, self.routing)


@dataclass
class Counters:
    """Sums over invocations. `units` and `estimated` are by token kind; `unpriced` counts units without a known price.

    `observed_only` counts the calls whose log record is missing, `provisional` those of them whose units CloudTrail counted:
    these, and calls that no log covers, are among the `requests`, as the `unlogged` of them. `guardrail_units` are by AWS's
    name of their counter, and have no price here.
    """

    requests: int = 0
    errors: int = 0
    unmeasured: int = 0
    observed_only: int = 0
    units: Mapping[TokenKind, int] = field(default_factory=dict)
    estimated: Mapping[TokenKind, Decimal] = field(default_factory=dict)
    unpriced: Mapping[TokenKind, int] = field(default_factory=dict)
    provisional: int = 0
    guardrail_units: Mapping[str, int] = field(default_factory=dict)
    unlogged: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.requests + other.requests,
            self.errors + other.errors,
            self.unmeasured + other.unmeasured,
            self.observed_only + other.observed_only,
            _merge_counts(self.units, other.units),
            _merge_amounts(self.estimated, other.estimated),
            _merge_counts(self.unpriced, other.unpriced),
            self.provisional + other.provisional,
            _merge_counts(self.guardrail_units, other.guardrail_units),
            self.unlogged + other.unlogged,
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
            -self.provisional,
            {policy: -count for policy, count in self.guardrail_units.items()},
            -self.unlogged,
        )

    def is_zero(self) -> bool:
        """Whether adding this changes nothing."""
        return not any(self._values())

    def has_positive(self) -> bool:
        """Whether adding this makes anything more."""
        return any(value > 0 for value in self._values())

    def _values(self) -> tuple[int | Decimal, ...]:
        counts = (self.requests, self.errors, self.unmeasured, self.observed_only, self.provisional, self.unlogged)
        by_name = (self.units, self.estimated, self.unpriced, self.guardrail_units)
        return (*counts, *(amount for amounts in by_name for amount in amounts.values()))


_Name = TypeVar("_Name", bound=str)


def _merge_counts(left: Mapping[_Name, int], right: Mapping[_Name, int]) -> dict[_Name, int]:
    merged = dict(left)
    for kind, count in right.items():
        merged[kind] = merged.get(kind, 0) + count
    return merged


def _merge_amounts(left: Mapping[TokenKind, Decimal], right: Mapping[TokenKind, Decimal]) -> dict[TokenKind, Decimal]:
    merged = dict(left)
    for kind, amount in right.items():
        merged[kind] = add(merged.get(kind, ZERO), amount)
    return merged


@dataclass
class Usage:
    """One counter of a usage day."""

    key: UsageKey
    counters: Counters

    def first_kind(self) -> TokenKind | None:
        """The kind that the requests count with: a request of several kinds counts once in a day's sum."""
        return next((kind for kind in _KINDS if self.counters.units.get(kind)), None)


def in_order(usage: Iterable[Usage]) -> list[Usage]:
    """Counters in the order of their keys."""
    return sorted(usage, key=attrgetter("key"))


def contribution(invocation: Invocation) -> Usage | None:
    """What one invocation adds to the day's counters; None where neither half is known yet."""
    metered, observed = invocation.metered, invocation.observed
    if metered is None:
        return _provisional(invocation.key, observed) if observed else None
    account_id, region, _ = invocation.key
    # Everything in the order of the fields: that takes half as long as their names, and is done twice for every change.
    key = UsageKey(
        metered.usage_date,
        account_id,
        region,
        metered.model,
        metered.routing,
        metered.tier,
        metered.iam_principal or (observed.iam_principal if observed else ""),
        metered.inference_profile,
        metered.request_metadata,
        *(_caller(observed) if observed else ()),
    )
    units, estimated, unpriced = _amounts(metered.kinds)
    is_error, is_unmeasured = int(bool(metered.error_code)), int("unmeasured" in metered.flags)
    guardrail_units = dict(metered.guardrail_units)
    return Usage(key, Counters(1, is_error, is_unmeasured, 0, units, estimated, unpriced, 0, guardrail_units, 0))


def _provisional(key: InvocationKey, observed: Observed) -> Usage:
    """What a call adds while no log tells of it."""
    usage_key = UsageKey(
        observed.timestamp.date(),
        key.account_id,
        key.region,
        observed.model_id,
        observed.routing,
        observed.tier,
        observed.iam_principal,
        observed.inference_profile,
        observed.request_metadata,
        *_caller(observed),
    )
    requests = int(bool(observed.kinds) or observed.is_uncovered)
    units, estimated, unpriced = _amounts(observed.kinds)
    return Usage(
        usage_key,
        Counters(
            requests=requests,
            errors=int(bool(observed.error_code)),
            unmeasured=int("unmeasured" in observed.flags),
            observed_only=int(not observed.is_uncovered),
            units=units,
            estimated=estimated,
            unpriced=unpriced,
            provisional=int("provisional" in observed.flags),
            unlogged=requests,
        ),
    )


def _caller(observed: Observed) -> tuple[Pairs, str, str, str]:
    """What only CloudTrail knows of the caller, as a key of usage ends. Credentials of an instance, unlike a function's, tell
    no owner.
    """
    issued_to = observed.issued_to
    return observed.session_tags, observed.source_identity, observed.project, issued_to if ":lambda:" in issued_to else ""


def _amounts(
    kinds: Mapping[TokenKind, PricedKind],
) -> tuple[dict[TokenKind, int], dict[TokenKind, Decimal], dict[TokenKind, int]]:
    """Units, what they cost, and the units without a known price."""
    units: dict[TokenKind, int] = {}
    estimated: dict[TokenKind, Decimal] = {}
    unpriced: dict[TokenKind, int] = {}
    for kind, priced in kinds.items():
        units[kind] = priced.units
        if priced.cost is None:
            unpriced[kind] = priced.units
        else:
            estimated[kind] = priced.cost
    return units, estimated, unpriced


class Change(NamedTuple):
    """What an invocation added to the counters, and what it adds now."""

    before: Usage | None
    after: Usage | None

    @classmethod
    def of(cls, old: Invocation | None, new: Invocation | None) -> Change:
        """The change that two images of an item show."""
        return cls(contribution(old) if old else None, contribution(new) if new else None)

    def keys(self) -> set[UsageKey]:
        """The counters that it moves."""
        return {usage.key for usage in self if usage} if self.before != self.after else set()


def difference(moves: Iterable[Change]) -> dict[UsageKey, Counters]:
    """What a sequence of changes adds to the counters, without the differences that cancel out."""
    found: dict[UsageKey, Counters] = {}
    for before, after in moves:
        if before == after:
            continue
        if before:
            negated = before.counters.negated()
            found[before.key] = found[before.key] + negated if before.key in found else negated
        if after:
            found[after.key] = found[after.key] + after.counters if after.key in found else after.counters
    return {key: counters for key, counters in found.items() if not counters.is_zero()}


def changes(pairs_of_images: Iterable[tuple[Invocation | None, Invocation | None]]) -> dict[UsageKey, Counters]:
    """The difference that a sequence of (old, new) images makes to the counters."""
    return difference(Change.of(old, new) for old, new in pairs_of_images)


def with_session_tags(observed: Observed, session_tags: Pairs) -> Observed:
    """The observed half, once the STS event that issued its credentials is known."""
    return replace(observed, session_tags=session_tags)
