"""Charges as JSON: how origin charges lie in the work bucket and allocated charges in the ledger."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from attribution.canonical import canonical_json, number_text
from attribution.charges import (
    COST_METRICS,
    AllocatedCharge,
    CategoryValue,
    Confidence,
    Costs,
    Evidence,
    OriginCharge,
)
from attribution.meters import Meter, Routing, Tier, TokenKind

Json = dict[str, Any]


def costs_to_json(costs: Costs) -> dict[str, str]:
    """Every metric as text, so that no reader turns it into a float."""
    return {name: number_text(getattr(costs, name)) for name in COST_METRICS}


def costs_from_json(stored: Mapping[str, str]) -> Costs:
    """The metrics as exact numbers."""
    return Costs(**{name: Decimal(stored[name]) for name in COST_METRICS})


def totals_to_json(totals: Mapping[str, Costs]) -> Json:
    """Totals by currency."""
    return {currency: costs_to_json(costs) for currency, costs in totals.items()}


def totals_from_json(stored: Mapping[str, Any]) -> dict[str, Costs]:
    """Totals by currency, in one order."""
    return {currency: costs_from_json(costs) for currency, costs in sorted(stored.items())}


def _meter_to_json(meter: Meter) -> list[str]:
    return [meter.model, meter.token_kind, meter.tier, meter.routing]


def _meter_from_json(stored: list[str]) -> Meter:
    return Meter(stored[0], TokenKind(stored[1]), Tier(stored[2]), Routing(stored[3]))


_ORIGIN_TEXT = (
    "account_id",
    "region",
    "line_item_type",
    "billing_entity",
    "product_code",
    "usage_type",
    "operation",
    "feature",
    "iam_principal",
    "resource_id",
    "currency",
    "pricing_unit",
)


def origin_to_json(charge: OriginCharge) -> Json:
    """An origin charge as one JSON object."""
    return {name: getattr(charge, name) for name in _ORIGIN_TEXT} | {
        "usage_date": charge.usage_date,
        "meter": _meter_to_json(charge.meter),
        "tags": dict(charge.tags),
        "quantity": charge.quantity,
        "units": charge.units,
        "costs": costs_to_json(charge.costs),
        "row_count": charge.row_count,
        "is_final": charge.is_final,
    }


def origin_from_json(stored: Json) -> OriginCharge:
    """An origin charge as it was written."""
    return OriginCharge(
        **{name: stored[name] for name in _ORIGIN_TEXT},
        usage_date=date.fromisoformat(stored["usage_date"]),
        meter=_meter_from_json(stored["meter"]),
        tags=tuple(sorted(stored["tags"].items())),
        quantity=Decimal(stored["quantity"]),
        units=Decimal(stored["units"]) if stored["units"] is not None else None,
        costs=costs_from_json(stored["costs"]),
        row_count=stored["row_count"],
        is_final=stored["is_final"],
    )


_ALLOCATED_TEXT = (
    "origin",
    "account_id",
    "region",
    "line_item_type",
    "feature",
    "usage_type",
    "iam_principal",
    "inference_profile",
    "currency",
)


def allocated_to_json(charge: AllocatedCharge) -> Json:
    """An allocated charge as one JSON object."""
    return {name: getattr(charge, name) for name in _ALLOCATED_TEXT} | {
        "usage_date": charge.usage_date,
        "meter": _meter_to_json(charge.meter),
        "categories": [
            {
                "category": c.category,
                "value": c.value,
                "evidence": [c.evidence.kind, c.evidence.value] if c.evidence else None,
                "disagreed": [[e.kind, e.value] for e in c.disagreed],
                "reason": c.reason,
            }
            for c in charge.categories
        ],
        "confidence": charge.confidence,
        "units": charge.units,
        "requests": charge.requests,
        "costs": costs_to_json(charge.costs),
    }


def allocated_from_json(stored: Json) -> AllocatedCharge:
    """An allocated charge as it was written."""
    return AllocatedCharge(
        **{name: stored[name] for name in _ALLOCATED_TEXT},
        usage_date=date.fromisoformat(stored["usage_date"]),
        meter=_meter_from_json(stored["meter"]),
        categories=tuple(
            CategoryValue(
                c["category"],
                c["value"],
                Evidence(*c["evidence"]) if c["evidence"] else None,
                tuple(Evidence(*e) for e in c["disagreed"]),
                c["reason"],
            )
            for c in stored["categories"]
        ),
        confidence=Confidence(stored["confidence"]),
        units=Decimal(stored["units"]) if stored["units"] is not None else None,
        requests=stored["requests"],
        costs=costs_from_json(stored["costs"]),
    )


def lines(values: Iterable[Json]) -> bytes:
    """Canonical JSON, one value a line."""
    return "".join(f"{canonical_json(value)}\n" for value in values).encode()


def compress(body: bytes) -> bytes:
    """Gzip without a time stamp or file name: equal bytes in, equal bytes out."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as packed:
        packed.write(body)
    return buffer.getvalue()


def decompress_lines(body: bytes) -> Iterator[Json]:
    """The values of compressed lines."""
    for line in gzip.decompress(body).splitlines():
        yield json.loads(line)
