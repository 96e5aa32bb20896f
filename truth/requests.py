"""The month's inference requests, drawn hour by hour.

Requests are never kept: iterating draws them again from the seed, in time order, so a million of them need no more
memory than one hour of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import accumulate

from truth.catalogue import LONG_CONTEXT_ABOVE, Kind, Sku, sku_of
from truth.objects import random_of, uuid_of
from truth.organisation import (
    CALLS,
    DATA_EVENT_ACCOUNTS,
    GATEWAY,
    PRINCIPALS,
    RUNAWAY_DAYS,
    RUNAWAY_TENANT,
    TENANTS,
    Call,
    Evidence,
    Principal,
    Tenant,
)

_HOUR_WEIGHTS = (2, 1, 1, 1, 2, 3, 6, 9, 12, 14, 15, 14, 13, 14, 15, 15, 14, 12, 9, 7, 6, 5, 4, 3)
_UNLOGGED_PERCENT = 12
"""Requests that no invocation log shows, in percent of those that one does."""
_RUNAWAY_FACTOR = 30
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request used; `cache_write_*` by time to live, `images` for image models."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    images: int = 0

    @property
    def cache_write(self) -> int:
        """Cache writes of both kinds, as the top level of a log record counts them."""
        return self.cache_write_5m + self.cache_write_1h

    @property
    def total_input(self) -> int:
        """Input of every kind: uncached, read from the cache, written to the cache."""
        return self.input + self.cache_read + self.cache_write

    def quantities(self) -> Iterator[tuple[Kind, int]]:
        """What was used, by kind; kinds that were not used are absent."""
        counts: tuple[tuple[Kind, int], ...] = (
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
            ("image", self.images),
        )
        return (pair for pair in counts if pair[1])


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model, with everything that is true about it."""

    index: int
    request_id: str
    time: datetime
    principal: Principal
    call: Call
    tokens: Tokens
    tenant: Tenant | None
    has_metadata: bool
    error_code: str | None
    is_guardrail_blocked: bool
    log_copies: int
    """How often the invocation log delivers it: 0 (unlogged), 1 or 2."""
    cloudtrail_copies: int
    """How often CloudTrail delivers it: 0 (missed), 1 or 2."""
    is_body_in_s3: bool
    """Whether the log keeps the bodies in `data/` objects instead of inline."""

    @property
    def is_logged(self) -> bool:
        """Whether at least one invocation log record exists."""
        return self.log_copies > 0

    @property
    def is_in_cloudtrail(self) -> bool:
        """Whether at least one CloudTrail record exists."""
        return self.cloudtrail_copies > 0

    @property
    def metadata(self) -> dict[str, str]:
        """`requestMetadata` as the caller sent it."""
        return {"tenant": self.tenant.name, "team": self.tenant.team} if self.tenant and self.has_metadata else {}

    @property
    def is_long_context(self) -> bool:
        """Whether the bill meters it under the long-context usage types."""
        return self.call.model.long_context_prices is not None and self.tokens.total_input > LONG_CONTEXT_ABOVE

    @property
    def team(self) -> str:
        """The true owner, whether or not any evidence names it."""
        if self.tenant:
            return self.tenant.team
        if self.call.profile:
            return self.call.profile.team
        return self.call.project.team if self.call.project else self.principal.team

    @property
    def evidence(self) -> Evidence:
        """The strongest evidence that reaches AWS's outputs and names the owner."""
        if self.metadata and self.is_logged:
            return "request_metadata"
        return bill_evidence(self.principal, self.call)

    @property
    def losing_team(self) -> str | None:
        """A team that weaker evidence claims against the owner."""
        claimed = self.principal.tagged_as
        return claimed if claimed is not None and claimed != self.team else None

    def usage(self) -> Iterator[tuple[Sku, int]]:
        """The usage types that meter it, with quantities in tokens or images."""
        long_context = self.is_long_context
        for kind, quantity in self.tokens.quantities():
            call = self.call
            yield sku_of(call.model, self.principal.region, kind, call.routing, call.tier, long_context), quantity

    @property
    def list_cost(self) -> Decimal:
        """Cost at the list price."""
        return sum((sku.list_cost(quantity) for sku, quantity in self.usage()), Decimal(0))

    @property
    def billed_cost(self) -> Decimal:
        """Billed usage before discount rows, credits and tax."""
        return sum((sku.billed_cost(quantity) for sku, quantity in self.usage()), Decimal(0))


def bill_evidence(principal: Principal, call: Call) -> Evidence:
    """The strongest evidence other than request metadata."""
    if principal.has_session_tag:
        return "session_tag"
    if call.profile:
        return "inference_profile_tag"
    if call.project:
        return "project_tag"
    if principal.tagged_as is not None:
        return "principal_tag"
    return "account" if "team" in dict(principal.account.tags) else "none"


class Requests:
    """All requests of the month in time order; iterate as often as needed."""

    def __init__(self, start: datetime, end: datetime, seed: int, logged: int) -> None:
        self.start = start
        self.end = end
        self.seed = seed
        self.logged = logged
        """Requests with at least one invocation log record."""
        self.unlogged = -(-logged * _UNLOGGED_PERCENT // 100)

    def __len__(self) -> int:
        return self.logged + self.unlogged

    def __iter__(self) -> Iterator[Request]:
        for hour in range(self._hours):
            yield from self._of_hour(hour)

    @property
    def _hours(self) -> int:
        return int((self.end - self.start) / timedelta(hours=1))

    @cached_property
    def _cumulative_weights(self) -> list[int]:
        weights = []
        for hour in range(self._hours):
            time = self.start + timedelta(hours=hour)
            weight = _HOUR_WEIGHTS[time.hour] * (4 if time.weekday() >= _SATURDAY else 10)
            weights.append(weight * 2 if _is_runaway_day(time) else weight)
        return [0, *accumulate(weights)]

    def _share(self, count: int, hour: int) -> range:
        """Which of `count` consecutive numbers fall into `hour`."""
        weights = self._cumulative_weights
        return range(count * weights[hour] // weights[-1], count * weights[hour + 1] // weights[-1])

    def _of_hour(self, hour: int) -> Iterator[Request]:
        logged = self._share(self.logged, hour)
        unlogged = self._share(self.unlogged, hour)
        indexes = [*logged, *(self.logged + index for index in unlogged)]
        if not indexes:
            return
        rng = random_of(self.seed, f"{self.start:%Y-%m}", "requests", hour)
        rng.shuffle(indexes)
        hour_start = self.start + timedelta(hours=hour)
        seconds = sorted(rng.randrange(3600) for _ in indexes)
        for index, second in zip(indexes, seconds, strict=True):
            yield self._request(index, hour_start + timedelta(seconds=second), rng)

    def _request(self, index: int, time: datetime, rng: random.Random) -> Request:
        is_logged = index < self.logged
        principal = _logged_principal(index, time, rng) if is_logged else _unlogged_principal(index, rng)
        call = CALLS[rng.choice(principal.calls)]
        tenant = _tenant(time, rng) if principal is GATEWAY else None
        tokens = _tokens(call, rng)
        if tenant and tenant.name == RUNAWAY_TENANT and _is_runaway_day(time):
            tokens = Tokens(tokens.input * 2, tokens.output * 3, tokens.cache_read, tokens.cache_write_5m)
        error_code = _error_code(index) if is_logged else None
        is_blocked = is_logged and error_code is None and index % 211 == 5 and call.operation == "Converse"
        return Request(
            index=index,
            request_id=uuid_of(self.seed, self.start, "request", index),
            time=time,
            principal=principal,
            call=call,
            tokens=Tokens() if error_code or is_blocked else tokens,
            tenant=tenant,
            has_metadata=tenant is not None and index % 50 != 49,
            error_code=error_code,
            is_guardrail_blocked=is_blocked,
            log_copies=(2 if index % 173 == 11 else 1) if is_logged else 0,
            cloudtrail_copies=_cloudtrail_copies(index, principal, call),
            is_body_in_s3=index % 149 == 17 or bool(call.size.images[1]),
        )


def _is_runaway_day(time: datetime) -> bool:
    return RUNAWAY_DAYS[0] <= time.day <= RUNAWAY_DAYS[1]


def _is_mantle(principal: Principal) -> bool:
    return CALLS[principal.calls[0]].is_mantle


def _is_logging_on(principal: Principal) -> bool:
    return principal.region in principal.account.logged_regions


_LOGGED = tuple(p for p in PRINCIPALS if _is_logging_on(p) and not _is_mantle(p))
_LOGGED_WEIGHTS = tuple(accumulate(p.weight for p in _LOGGED))
_RUNAWAY_WEIGHTS = tuple(accumulate(p.weight * (3 if p is GATEWAY else 1) for p in _LOGGED))
_UNLOGGED = (
    tuple(p for p in PRINCIPALS if _is_mantle(p)),
    tuple(p for p in PRINCIPALS if not _is_logging_on(p)),
    # A call that the log missed keeps evidence only in the bill: draw it from callers whose bill rows decide alone.
    tuple(
        p
        for p in _LOGGED
        if p is not GATEWAY and (p.tag_in_bill or p.tagged_as is None) and p.kind in ("lambda_role", "iam_user")
    ),
)


def _logged_principal(index: int, time: datetime, rng: random.Random) -> Principal:
    if index % 9 == 4:
        # Every principal calls now and then, however small the month.
        return _LOGGED[index // 9 % len(_LOGGED)]
    return rng.choices(_LOGGED, cum_weights=_RUNAWAY_WEIGHTS if _is_runaway_day(time) else _LOGGED_WEIGHTS)[0]


def _unlogged_principal(index: int, rng: random.Random) -> Principal:
    # Of seven unlogged requests three are mantle calls, three are made where logging is off, one was lost.
    return rng.choice(_UNLOGGED[(0, 1, 0, 1, 0, 1, 2)[index % 7]])


def _tenant(time: datetime, rng: random.Random) -> Tenant:
    factor = _RUNAWAY_FACTOR if _is_runaway_day(time) else 1
    weights = [tenant.weight * (factor if tenant.name == RUNAWAY_TENANT else 1) for tenant in TENANTS]
    return rng.choices(TENANTS, weights)[0]


def _tokens(call: Call, rng: random.Random) -> Tokens:
    size = call.size

    def draw(bounds: tuple[int, int]) -> int:
        return rng.randint(*bounds) if bounds[1] else 0

    # One request in five finds no cache point worth using.
    has_cache = rng.random() < 0.8
    return Tokens(
        input=draw(size.input),
        output=draw(size.output),
        cache_read=draw(size.cache_read) if has_cache else 0,
        cache_write_5m=draw(size.cache_write_5m) if has_cache else 0,
        cache_write_1h=draw(size.cache_write_1h) if has_cache else 0,
        images=draw(size.images),
    )


def _error_code(index: int) -> str | None:
    return ("ValidationException", "AccessDeniedException")[index // 97 % 2] if index % 97 == 13 else None


def _cloudtrail_copies(index: int, principal: Principal, call: Call) -> int:
    if call.is_mantle and principal.account not in DATA_EVENT_ACCOUNTS:
        return 0
    # Where CloudTrail alone carries the session tag, a missed call would have no evidence: those are never missed.
    if index % 131 == 7 and (principal.tag_in_bill or not principal.has_session_tag):
        return 0
    return 2 if index % 89 == 3 else 1


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """The first instants of `month` (`YYYY-MM`) and of the month after it."""
    if not re.fullmatch(r"[1-9]\d{3}-(0[1-9]|1[0-2])", month):
        raise ValueError(f"month {month!r} is not of the form YYYY-MM, for example 2026-10")
    start = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
    return start, datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
