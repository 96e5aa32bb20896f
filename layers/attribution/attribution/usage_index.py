"""Which usage stands behind which charge of a day's bill.

CUR rows carry no request id: a charge is joined with usage by what it is metered under. Logs tell of the usage behind three
kinds of charges: tokens; guardrail units, by policy, in the traces of logged calls; and capacity that was bought, which
costs the same whether it is used or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from attribution.charges import OriginCharge
from attribution.meters import TOKEN_KINDS, Routing, Tier, TokenKind
from attribution.money import ZERO, add, multiply, subtract
from attribution.usage import Usage, UsageKey, in_order

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

Names = tuple[str, str]
"""What a bill row names of the calls behind it: the principal and the application inference profile, each possibly empty."""


class Line(NamedTuple):
    """What usage and charges meet on. `counted` is a token kind, a kind of capacity or a guardrail policy; the last two are
    what the rows of the line name.
    """

    account_id: str
    region: str
    model: str
    tier: Tier
    routing: Routing
    counted: str
    iam_principal: str = ""
    inference_profile: str = ""


class Behind(NamedTuple):
    """A counter behind a charge: what it used of what the charge is for, and the requests that count with it."""

    usage: Usage
    units: int
    requests: int


@dataclass(slots=True)
class _Billed:
    """What a line bills: the first of its charges, the units of all whose units are known, and the usage behind them."""

    first: OriginCharge
    units: Decimal | None
    behind: list[Behind]


class UsageIndex:
    """The usage behind charges, by the line that a bill row joins on.

    Each counter stands behind one line of its bucket, the one that names most of it: usage of a principal that is billed by
    name is not behind a row that names nobody. Rows of one line (one per operation, say) share the usage behind them, which
    is held against what they bill together.
    """

    def __init__(self, usage: Iterable[Usage], charges: Iterable[OriginCharge]) -> None:
        self._lines: dict[tuple[str, ...], _Billed] = {}
        for charge in charges:
            if charge.line_item_type == "Usage":
                self._add(charge)
        for item in in_order(usage):
            names = _names_of(item.key)
            for bucket, units, requests in _used(item):
                for named in names:
                    billed = self._lines.get((*bucket, *named))
                    if billed is not None:
                        billed.behind.append(Behind(item, units, requests))
                        break

    def _add(self, charge: OriginCharge) -> None:
        line = line_of(charge)
        billed = self._lines.get(line)
        if billed is None:
            self._lines[line] = _Billed(charge, charge.units, [])
            return
        billed.first = min(billed.first, charge, key=OriginCharge.digest)
        if charge.units is not None:
            billed.units = add(billed.units or ZERO, charge.units)

    def behind(self, charge: OriginCharge) -> tuple[Sequence[Behind], Decimal]:
        """The usage that a charge was billed for, as far as the bill lets it be told, and what all charges of its line bill
        beyond that; zero where the bill states no units.

        Requests count once in a day's sum: with the first of the charges that they stand behind.
        """
        billed = self._lines[line_of(charge)] if charge.line_item_type == "Usage" else None
        if billed is None or not billed.behind:
            return (), ZERO
        behind = billed.behind
        return (behind if billed.first is charge else [Behind(b.usage, b.units, 0) for b in behind]), _unused(charge, billed)


def _unused(charge: OriginCharge, billed: _Billed) -> Decimal:
    kind = charge.meter.token_kind
    if billed.units is None or kind is TokenKind.MODEL_UNIT_HOUR:
        return ZERO
    units = multiply(billed.units, _TOKENS_PER_TPM_HOUR) if kind in _CAPACITY else billed.units
    return max(subtract(units, Decimal(sum([b.units for b in billed.behind]))), ZERO)


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


def line_of(charge: OriginCharge) -> Line:
    """What a row of the bill for usage joins on: rows of one line, such as one per operation, share the usage behind them."""
    meter = charge.meter
    counted = _guardrail_policy(charge) or meter.token_kind
    profile = charge.resource_id if "application-inference-profile/" in charge.resource_id else ""
    return Line(
        charge.account_id, charge.region, meter.model, meter.tier, meter.routing, counted, charge.iam_principal, profile
    )


def _names_of(key: UsageKey) -> tuple[Names, ...]:
    """What the lines may name that a counter may stand behind, the most telling first."""
    principal, profile = key.iam_principal, key.inference_profile
    return ((principal, profile), (principal, ""), ("", profile), ("", "")) if profile else ((principal, ""), ("", ""))


def _used(item: Usage) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Everything that a counter used of what bills are for: the bucket (a line that names nothing), how much, and the requests
    that count with it.
    """
    key, units, first_kind = item.key, item.counters.units, item.first_kind()
    place = (key.account_id, key.region, key.model, key.tier, key.routing)
    for kind, count in units.items():
        if count > 0:
            yield (*place, kind), count, item.counters.requests if kind is first_kind else 0
    for capacity in _CAPACITY_OF_TIER.get(key.tier, ()):
        used = sum(units.get(kind, 0) for kind in _CAPACITY[capacity])
        if used > 0:
            yield (*place, capacity), used, item.counters.requests if first_kind in _CAPACITY[capacity] else 0
    for policy, count in item.counters.guardrail_units.items():
        if count > 0:
            yield (key.account_id, key.region, "", Tier.STANDARD, Routing.REGIONAL, policy.lower()), count, 0
