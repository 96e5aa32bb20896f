"""Everything that is known of one inference request: its cost, its caller, its owner, and what is uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from attribution.allocation import USAGE_NOT_LOGGED
from attribution.charges import AllocatedCharge, CategoryValue
from attribution.cost_categories import ACCOUNT_TAG, PRINCIPAL_TAG, RESOURCE_TAG, USAGE_EVIDENCE
from attribution.money import total
from attribution.reporting.answers import Answer
from attribution.usage import Invocation, Metered, Observed

HEADER = ("token_kind", "units", "unit_price", "cost", "currency")
CALLER_FIELDS = (
    "role", "session_name", "source_identity", "identity_type", "invoked_by", "issued_to", "on_behalf_of", "project",
    "inference_region",
)  # fmt: skip
NOT_FROM_USAGE = "not known from usage and tags: the bill may know"
_BILL_MAY_DIFFER = "unless the bill's tags say otherwise"
_BY_TAGS = (RESOURCE_TAG, PRINCIPAL_TAG, ACCOUNT_TAG)


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


def answer_of(invocation: Invocation, owners: list[dict[str, object]]) -> Answer:
    """The request for programs. CSV has a row for each token kind."""
    key, metered, observed = invocation.key, invocation.metered, invocation.observed
    document: dict[str, Any] = {
        "account": key.account_id,
        "region": key.region,
        "request_id": key.request_id,
        "state": invocation.state,
        "metered": _metered(metered) if metered else None,
        "observed": _observed(observed) if observed else None,
        "owners": owners,
    }
    half = document["metered"] or document["observed"]
    kinds, currency = (half["token_kinds"], half["currency"]) if half else ([], "")
    rows = [(k["token_kind"], k["units"], k["unit_price"], k["cost"], currency) for k in kinds]
    return Answer(document, HEADER, rows)


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
