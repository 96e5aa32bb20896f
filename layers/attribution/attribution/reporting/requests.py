"""Everything that is known of one inference request: its cost, its caller, its owner, and what is uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from attribution.allocation import USAGE_NOT_LOGGED
from attribution.charges import AllocatedCharge, CategoryValue
from attribution.cost_categories import ACCOUNT_TAG, PRINCIPAL_TAG, RESOURCE_TAG, USAGE_EVIDENCE
from attribution.days import DayPointer
from attribution.meters import TokenKind
from attribution.money import QUANTUM, multiply, total
from attribution.reporting.answers import Answer
from attribution.usage import Invocation, Metered, Observed

HEADER = (
    "account", "region", "request_id", "timestamp", "model", "iam_principal", "token_kind", "units", "unit_price", "cost",
    "billed_cost", "currency",
)  # fmt: skip
CALLER_FIELDS = (
    "role", "session_name", "source_identity", "identity_type", "invoked_by", "issued_to", "on_behalf_of", "project",
    "inference_region",
)  # fmt: skip
NOT_FROM_USAGE = "not known from usage and tags: the bill may know"
_BILL_MAY_DIFFER = "unless the bill's tags say otherwise"
_BY_TAGS = (RESOURCE_TAG, PRINCIPAL_TAG, ACCOUNT_TAG)
# What a bill paid for one unit may have no end; a share of it is cut far below what anybody is charged.
_RATES = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Bill:
    """The billed day of a request, with its charges for the account, Region, model, tier, routing and caller of the request."""

    pointer: DayPointer
    charges: tuple[AllocatedCharge, ...]

    def cost_of(self, kind: TokenKind, units: int) -> tuple[Decimal, str] | None:
        """What so many units came to at the average that the bill paid for their like; None where it has none of them."""
        alike = [c for c in self.charges if c.meter.token_kind is kind and c.line_item_type == "Usage" and c.units]
        currencies = {charge.currency for charge in alike}
        whole = total(charge.units for charge in alike if charge.units is not None)
        if len(currencies) != 1 or whole <= 0:
            return None
        paid = multiply(total(charge.costs.billed_cost for charge in alike), Decimal(units))
        cost = _RATES.quantize(_RATES.divide(paid, whole), QUANTUM)
        return _RATES.normalize(cost), currencies.pop()


@dataclass(frozen=True, slots=True)
class Found:
    """A request with its owners; `bill` is None while its day is estimated, or was too large to look into."""

    invocation: Invocation
    owners: list[dict[str, object]]
    bill: Bill | None = None


def owner_of(own: CategoryValue, billed: Sequence[AllocatedCharge]) -> dict[str, object]:
    """Who owns the call in one cost category: by what `billed` charges for calls like it agree on, else as the call says."""
    agreed = _agreed(billed, own)
    value, known_from = (agreed, "bill") if agreed else (own, _known_from(own))
    return {
        "cost_category": value.category,
        "value": value.value,
        "evidence": value.evidence.kind if value.evidence else "",
        "known_from": known_from,
        "disagreed": [f"{e.kind}: {e.value}" for e in value.disagreed],
        "reason": value.reason or ("" if known_from == "bill" or _is_of_usage(value) else _BILL_MAY_DIFFER),
    }


def _known_from(value: CategoryValue) -> str:
    """Where a value that no bill decided comes from."""
    if not value.value:
        return ""
    return "directory" if value.evidence and value.evidence.kind in _BY_TAGS else "usage"


def _is_of_usage(value: CategoryValue) -> bool:
    return value.evidence is not None and value.evidence.kind in USAGE_EVIDENCE


def _agreed(charges: Sequence[AllocatedCharge], own: CategoryValue) -> CategoryValue | None:
    """What the charges say of a cost category, if it is one thing; those of calls that carried other evidence do not count."""
    stated = [
        value
        for charge in charges
        for value in charge.categories
        if value.category == own.category
        and value.reason != USAGE_NOT_LOGGED
        and (not _is_of_usage(value) or value.value == own.value)
    ]
    return stated[0] if len({value.value for value in stated}) == 1 else None


def list_cost(half: Metered | Observed) -> Decimal | None:
    """What a request cost at the prices that it was recorded with.

    None where a part of it has no price, or nothing says all that was used.
    """
    if "unmeasured" in half.flags or (not half.kinds and isinstance(half, Observed)):
        return None
    costs = [priced.cost for priced in half.kinds.values()]
    return None if any(cost is None for cost in costs) else total(cost for cost in costs if cost is not None)


def answer_of(found: Found) -> Answer:
    """The request for programs. CSV has a row for each token kind, with the owner in each cost category."""
    invocation = found.invocation
    key, metered, observed = invocation.key, invocation.metered, invocation.observed
    half = metered or observed
    billed = _billed(found.bill, half) if found.bill and half else None
    document: dict[str, Any] = {
        "account": key.account_id,
        "region": key.region,
        "request_id": key.request_id,
        "state": invocation.state,
        "metered": _metered(metered) if metered else None,
        "observed": _observed(observed) if observed else None,
        "billed": billed,
        "owners": found.owners,
    }
    header = (*HEADER, *(str(owner["cost_category"]) for owner in found.owners))
    if half is None:
        return Answer(document, header, ())
    paid = {kind["token_kind"]: kind["cost"] for kind in billed["token_kinds"]} if billed else {}
    model = metered.model if metered else ""
    shared = (key.account_id, key.region, key.request_id, half.timestamp, model, half.iam_principal)
    owners = [owner["value"] for owner in found.owners]
    rows = [
        (*shared, kind.value, priced.units, priced.unit_price, priced.cost, paid.get(kind.value), half.currency, *owners)
        for kind, priced in half.kinds.items()
    ]
    return Answer(document, header, rows)


def _billed(bill: Bill, half: Metered | Observed) -> dict[str, Any]:
    """What the request came to at the rates of its day's bill; a part without such a rate leaves the cost open."""
    costs = {kind: bill.cost_of(kind, priced.units) for kind, priced in half.kinds.items()}
    known = [cost for cost in costs.values() if cost is not None]
    currencies = {currency for _, currency in known}
    is_whole = bool(known) and len(known) == len(costs) and len(currencies) == 1 and "unmeasured" not in half.flags
    return {
        "usage_date": bill.pointer.usage_date,
        "basis": bill.pointer.basis.value,
        "cost": total(cost for cost, _ in known) if is_whole else None,
        "currency": currencies.pop() if len(currencies) == 1 else "",
        "token_kinds": [{"token_kind": kind.value, "cost": cost[0] if cost else None} for kind, cost in costs.items()],
        "charges": len(bill.charges),
    }


def _metered(metered: Metered) -> dict[str, Any]:
    return {
        "timestamp": metered.timestamp,
        "model": metered.model,
        "model_id": metered.model_id,
        "operation": metered.operation,
        "routing": metered.routing.value,
        "tier": metered.tier.value,
        "inference_profile": metered.inference_profile,
        "iam_principal": metered.iam_principal,
        "request_metadata": dict(metered.request_metadata),
        **_used(metered),
        "guardrail_units": dict(metered.guardrail_units),
        "error_code": metered.error_code,
        "log_object": metered.log_object,
    }


def _used(half: Metered | Observed) -> dict[str, Any]:
    """What was used and what it cost, as one half of the request says."""
    return {
        "cost": list_cost(half),
        # What CloudTrail counted is replaced by the log record, and both by the bill.
        "cost_basis": "estimated" if isinstance(half, Metered) else "provisional",
        "currency": half.currency,
        "price_source": half.price_source,
        "token_kinds": [
            {"token_kind": kind.value, "units": priced.units, "unit_price": priced.unit_price, "cost": priced.cost}
            for kind, priced in half.kinds.items()
        ],
        "flags": list(half.flags),
    }


def _observed(observed: Observed) -> dict[str, Any]:
    return {
        "timestamp": observed.timestamp,
        "event_name": observed.event_name,
        "event_id": observed.event_id,
        "iam_principal": observed.iam_principal,
        "identity_name": observed.identity_name,
        **{name: getattr(observed, name) for name in CALLER_FIELDS},
        "has_bearer_token": observed.has_bearer_token,
        "is_uncovered": observed.is_uncovered,
        "session_tags": dict(observed.session_tags),
        "request_metadata": dict(observed.request_metadata),
        **_used(observed),
        "error_code": observed.error_code,
    }
