"""Which usage stands behind which charge of a day's bill.

CUR rows carry no request id: a charge is joined with usage by what it is metered under. Logs tell of the usage behind three
kinds of charges: tokens; guardrail units, by policy, in the traces of logged calls; and capacity that was bought, which
costs the same whether it is used or not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from attribution.charges import OriginCharge
from attribution.meters import TOKEN_KINDS, Routing, Tier, TokenKind
from attribution.money import ZERO, multiply, subtract, total
from attribution.usage import Usage, UsageKey

GUARDRAILS = "guardrails"
_INPUT = frozenset((TokenKind.INPUT,))
_OUTPUT = frozenset((TokenKind.OUTPUT,))
# What is used of each kind of capacity. AWS does not publish how many tokens a model unit serves: use has a share of it, and
# nothing tells how much of it stood idle while there was use.
_CAPACITY = {
    TokenKind.INPUT_TPM_HOUR: _INPUT,
    TokenKind.OUTPUT_TPM_HOUR: _OUTPUT,
    TokenKind.MODEL_UNIT_HOUR: _INPUT | _OUTPUT,
}
_CAPACITY_OF_TIER = {
    Tier.RESERVED: (TokenKind.INPUT_TPM_HOUR, TokenKind.OUTPUT_TPM_HOUR),
    Tier.PROVISIONED: (TokenKind.MODEL_UNIT_HOUR,),
}
# One token a minute, for an hour.
_TOKENS_PER_TPM_HOUR = Decimal(60)
# `ContentPolicyUnitsConsumed` in the bill, `contentPolicyUnits` in the trace of a call.
_POLICY = re.compile(r"guardrail-(?P<policy>[a-z]+units)consumed$", re.IGNORECASE | re.ASCII)

Line = tuple[str, str]
"""What a bill row names of the calls behind it: the principal and the application inference profile, each possibly empty."""


class Bucket(NamedTuple):
    """What usage and charges meet on. `counted` is a token kind, a kind of capacity or a guardrail policy."""

    account_id: str
    region: str
    model: str
    tier: Tier
    routing: Routing
    counted: str


@dataclass(frozen=True, slots=True)
class Behind:
    """A counter behind a charge: what it used of what the charge is for, and the requests that count with it."""

    usage: Usage
    units: Decimal
    requests: int


class UsageIndex:
    """One day by the bucket that a bill row joins on; within it by what its rows name.

    Each counter stands behind one line of its bucket, the one that names most of it: usage of a principal that is billed by
    name is not behind a row that names nobody. Rows of one line (one per operation, say) share the usage behind them, which
    is held against what they bill together.
    """

    def __init__(self, usage: Iterable[Usage], charges: Iterable[OriginCharge] = ()) -> None:
        self._charges: dict[tuple[Bucket, Line], list[OriginCharge]] = defaultdict(list)
        for charge in charges:
            if charge.line_item_type == "Usage":
                self._charges[_bucket(charge), _line(charge)].append(charge)
        for of_line in self._charges.values():
            if len(of_line) > 1:
                of_line.sort(key=OriginCharge.digest)
        self._usage: dict[tuple[Bucket, Line], list[Behind]] = defaultdict(list)
        for item in sorted(usage, key=lambda u: u.key):
            for bucket, units, requests in _used(item):
                lines = (line for line in _lines_of(item.key) if (bucket, line) in self._charges)
                self._usage[bucket, next(lines, _NOT_BILLED)].append(Behind(item, units, requests))

    def behind(self, charge: OriginCharge) -> list[Behind]:
        """The usage that a charge was billed for, as far as the bill lets it be told.

        Requests count once in a day's sum: with the first of the charges that they stand behind.
        """
        if charge.line_item_type != "Usage":
            return []
        bucket, line = _bucket(charge), _line(charge)
        if (bucket, line) not in self._charges:
            return [b for b in self._usage.get((bucket, _NOT_BILLED), []) if line in _lines_of(b.usage.key)]
        found = self._usage.get((bucket, line), [])
        is_first = self._charges[bucket, line][0] is charge
        return found if is_first else [Behind(b.usage, b.units, 0) for b in found]

    def unused(self, charge: OriginCharge, behind: Sequence[Behind]) -> Decimal:
        """What all charges of this one's line bill beyond the usage behind them; zero where the bill states no units."""
        known = [c.units for c in self._line_of(charge) if c.units is not None]
        kind = charge.meter.token_kind
        if not known or kind is TokenKind.MODEL_UNIT_HOUR:
            return ZERO
        billed = multiply(total(known), _TOKENS_PER_TPM_HOUR) if kind in _CAPACITY else total(known)
        return max(subtract(billed, total(b.units for b in behind)), ZERO)

    def _line_of(self, charge: OriginCharge) -> Sequence[OriginCharge]:
        return self._charges.get((_bucket(charge), _line(charge))) or (charge,)


# The line of usage that no row of the bill names.
_NOT_BILLED: Line = ("-", "-")


def is_capacity(charge: OriginCharge) -> bool:
    """Whether a charge is for capacity, which costs the same whether it is used or not."""
    return charge.line_item_type == "Usage" and charge.meter.token_kind in _CAPACITY


def is_logged(charge: OriginCharge) -> bool:
    """Whether logs tell of the usage behind such a charge."""
    return charge.line_item_type == "Usage" and (charge.meter.token_kind in TOKEN_KINDS or bool(_guardrail_policy(charge)))


def _guardrail_policy(charge: OriginCharge) -> str:
    """The policy that a guardrail charge is for, as its counter is called; empty for what no call of a model counts."""
    found = _POLICY.search(charge.usage_type) if charge.feature == GUARDRAILS else None
    return found["policy"].lower() if found else ""


def _bucket(charge: OriginCharge) -> Bucket:
    meter = charge.meter
    counted = _guardrail_policy(charge) or meter.token_kind
    return Bucket(charge.account_id, charge.region, meter.model, meter.tier, meter.routing, counted)


def _line(charge: OriginCharge) -> Line:
    return (charge.iam_principal, charge.resource_id if "application-inference-profile/" in charge.resource_id else "")


def _lines_of(key: UsageKey) -> tuple[Line, ...]:
    """The lines that a counter may stand behind, the most telling first."""
    principal, profile = key.iam_principal, key.inference_profile
    return ((principal, profile), (principal, ""), ("", profile), ("", ""))


def _used(item: Usage) -> Iterator[tuple[Bucket, Decimal, int]]:
    """Everything that a counter used of what bills are for: the bucket, how much, and the requests that count with it."""
    key, units = item.key, item.counters.units
    of_key = Bucket(key.account_id, key.region, key.model, key.tier, key.routing, "")
    for kind, count in units.items():
        if count > 0:
            yield of_key._replace(counted=kind), Decimal(count), item.requests_counted_with(kind)
    for capacity in _CAPACITY_OF_TIER.get(key.tier, ()):
        used = sum(units.get(kind, 0) for kind in _CAPACITY[capacity])
        if used > 0:
            requests = sum(item.requests_counted_with(kind) for kind in _CAPACITY[capacity])
            yield of_key._replace(counted=capacity), Decimal(used), requests
    for policy, count in item.counters.guardrail_units.items():
        if count > 0:
            bucket = Bucket(key.account_id, key.region, "", Tier.STANDARD, Routing.REGIONAL, policy.lower())
            yield bucket, Decimal(count), 0
