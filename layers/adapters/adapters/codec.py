"""Charges as JSON: how origin charges lie in the work bucket, allocated charges and adjustments in the ledger."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Any

from attribution.adjustments import Adjustment, Cause, Change, Differences
from attribution.canonical import canonical_json, number_text, pairs
from attribution.charges import (
    COST_METRICS,
    AllocatedCharge,
    CategoryValue,
    Confidence,
    Costs,
    Evidence,
    OriginCharge,
    PriceBasis,
    SplitMethod,
    SplitShare,
)
from attribution.coverage import Coverage, Gap, Measure, Part, Place
from attribution.days import Sum
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.periods import BillingPeriod
from attribution.usage import Pairs

Json = dict[str, Any]
# ASCII, so that the length of a line is the number of its bytes.
_ROW = json.JSONEncoder(separators=(",", ":"))


def costs_to_json(costs: Costs) -> dict[str, str]:
    """Every metric as text, so that no reader turns it into a float."""
    return {name: number_text(getattr(costs, name)) for name in COST_METRICS}


def costs_from_json(stored: Mapping[str, str]) -> Costs:
    """The metrics as exact numbers."""
    amounts = {text: Decimal(text) for text in stored.values()}
    return Costs(**{name: amounts[stored[name]] for name in COST_METRICS})


def totals_to_json(totals: Mapping[str, Costs]) -> Json:
    """Totals by currency."""
    return {currency: costs_to_json(costs) for currency, costs in totals.items()}


def totals_from_json(stored: Mapping[str, Any]) -> dict[str, Costs]:
    """Totals by currency, in one order."""
    return {currency: costs_from_json(costs) for currency, costs in sorted(stored.items())}


def _meter_to_json(meter: Meter) -> list[str]:
    return [meter.model, meter.token_kind, meter.tier, meter.routing]


@lru_cache(maxsize=4096)
def _meter(model: str, token_kind: str, tier: str, routing: str) -> Meter:
    return Meter(model, TokenKind(token_kind), Tier(tier), Routing(routing))


@lru_cache(maxsize=64)
def _date(text: str) -> date:
    return date.fromisoformat(text)


@lru_cache(maxsize=65_536)
def shared_pairs(found: Pairs) -> Pairs:
    """Equal pairs as one object: a day has a million charges and counters, and some thousand different tags and metadata."""
    return tuple((intern(name), intern(value)) for name, value in found)


_ORIGIN_TEXT = (
    "account_id",
    "region",
    "line_item_type",
    "billing_entity",
    "product_code",
    "usage_type",
    "operation",
    "feature",
    "commitment",
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
        # A day has a million charges and some thousand different texts.
        **{name: intern(stored[name]) for name in _ORIGIN_TEXT},
        usage_date=_date(stored["usage_date"]),
        meter=_meter(*stored["meter"]),
        tags=shared_pairs(pairs(stored["tags"])),
        quantity=Decimal(stored["quantity"]),
        units=Decimal(stored["units"]) if stored["units"] is not None else None,
        costs=costs_from_json(stored["costs"]),
        row_count=stored["row_count"],
        is_final=stored["is_final"],
    )


def _category_to_json(value: CategoryValue) -> list[Any]:
    split = value.split
    return [
        value.category,
        value.value,
        [value.evidence.kind, value.evidence.value, value.evidence.source] if value.evidence else None,
        [[e.kind, e.value, e.source] for e in value.disagreed],
        value.reason,
        value.confidence,
        value.rule,
        [split.source, split.method, number_text(split.weight), number_text(split.total), split.is_fallback] if split else None,
    ]


def _category_from_json(stored: list[Any]) -> CategoryValue:
    category, value, evidence, disagreed, reason, confidence, rule, split = stored
    return CategoryValue(
        category,
        value,
        Evidence(*evidence) if evidence else None,
        tuple(Evidence(*e) for e in disagreed),
        reason,
        Confidence(confidence),
        rule,
        _split_from_json(split) if split else None,
    )


def _split_from_json(stored: list[Any]) -> SplitShare:
    source, method, weight, whole, is_fallback = stored
    return SplitShare(source, SplitMethod(method), Decimal(weight), Decimal(whole), is_fallback)


def allocated_to_row(charge: AllocatedCharge) -> str:
    """An allocated charge as one line: an array, because names would be half of what is hashed and compressed.

    It begins with what the charges of a day are in order of. The usage date is not part of it: it is the day's.
    """
    return _ROW.encode(
        [
            charge.account_id,
            charge.iam_principal,
            _meter_to_json(charge.meter),
            charge.origin,
            charge.inference_profile,
            charge.region,
            charge.line_item_type,
            charge.feature,
            charge.usage_type,
            [_category_to_json(c) for c in charge.categories],
            charge.price_basis,
            charge.is_measured,
            charge.requests,
            number_text(charge.units) if charge.units is not None else None,
            charge.currency,
            *map(number_text, charge.costs.amounts()),
        ]
    )


def allocated_from_row(row: str, usage_date: date) -> AllocatedCharge:
    """An allocated charge of a day as it was written."""
    (account_id, principal, meter, origin, profile, region, kind, feature, usage_type, categories, basis, is_measured, requests,
     units, currency, *costs) = json.loads(row)  # fmt: skip
    return AllocatedCharge(
        origin=origin,
        usage_date=usage_date,
        account_id=account_id,
        region=region,
        line_item_type=kind,
        feature=feature,
        usage_type=usage_type,
        meter=_meter(*meter),
        iam_principal=principal,
        inference_profile=profile,
        categories=tuple(_category_from_json(category) for category in categories),
        currency=currency,
        units=Decimal(units) if units is not None else None,
        requests=requests,
        costs=Costs(*map(Decimal, costs)),
        price_basis=PriceBasis(basis) if basis else None,
        is_measured=is_measured,
    )


def amounts_of_row(row: str) -> tuple[str, Costs]:
    """The currency and the costs of an allocated charge, without the rest of it."""
    currency, *costs = json.loads(row)[-1 - len(COST_METRICS) :]
    return currency, Costs(*map(Decimal, costs))


def sum_to_row(value: str, currency: str, day_sum: Sum) -> str:
    """One value of a dimension with its sum as one line."""
    units = {kind: number_text(count) for kind, count in sorted(day_sum.units.items())}
    amounts = map(number_text, (day_sum.usage_cost, *day_sum.costs.amounts()))
    return _ROW.encode([value, currency, day_sum.requests, units, *amounts])


def sum_from_row(row: str) -> tuple[tuple[str, str], Sum]:
    """A value and its currency, and their sum."""
    value, currency, requests, units, usage, *costs = json.loads(row)
    counts = {kind: Decimal(count) for kind, count in units.items()}
    return (value, currency), Sum(Costs(*map(Decimal, costs)), counts, requests, Decimal(usage))


def coverage_to_row(place: Place, coverage: Coverage) -> str:
    """The coverage of one place as one line."""
    measure = coverage.measure
    parts = [
        [gap, _amounts(part.costs), [[category, _amounts(costs)] for category, costs in part.unallocated.items()]]
        for gap, part in coverage.parts.items()
    ]
    units = [number_text(n) for n in (measure.billed, measure.counted, measure.estimated, measure.unpriced)]
    calls = [measure.requests, measure.unmeasured, measure.observed_only]
    return _ROW.encode([place.account_id, place.region, place.model, place.token_kind, place.currency, parts, units, calls])


def coverage_from_row(row: str) -> tuple[Place, Coverage]:
    """A place and its coverage."""
    account_id, region, model, token_kind, currency, parts, units, calls = json.loads(row)
    found = {
        Gap(gap): Part(_costs_of(costs), {category: _costs_of(amounts) for category, amounts in unallocated})
        for gap, costs, unallocated in parts
    }
    billed, counted, estimated, unpriced = map(Decimal, units)
    measure = Measure(billed, counted, estimated, unpriced, *calls)
    return Place(account_id, region, model, token_kind, currency), Coverage(found, measure)


def _amounts(costs: Costs) -> list[str]:
    return list(map(number_text, costs.amounts()))


def _costs_of(amounts: list[str]) -> Costs:
    return Costs(*map(Decimal, amounts))


def _changes_to_json(changes: Mapping[str, Change]) -> Json:
    return {
        currency: {"before": costs_to_json(change.before), "after": costs_to_json(change.after)}
        for currency, change in changes.items()
    }


def _changes_from_json(stored: Json) -> dict[str, Change]:
    return {
        currency: Change(costs_from_json(change["before"]), costs_from_json(change["after"]))
        for currency, change in sorted(stored.items())
    }


def _differences_to_json(differences: Differences) -> list[Json]:
    return [
        {"value": value, "currency": currency, "costs": costs_to_json(costs)}
        for (value, currency), costs in differences.items()
    ]


def _differences_from_json(stored: list[Json]) -> Differences:
    return {(part["value"], part["currency"]): costs_from_json(part["costs"]) for part in stored}


def adjustment_to_json(adjustment: Adjustment, changed_at: datetime) -> Json:
    """An adjustment as readers find it."""
    return {
        "period": str(adjustment.period),
        "export": adjustment.export,
        "execution_id": adjustment.execution_id,
        "sequence": adjustment.sequence,
        "changed_at": changed_at.isoformat(),
        "totals": _changes_to_json(adjustment.totals),
        "days": {day.isoformat(): _changes_to_json(changes) for day, changes in adjustment.days.items()},
        "by_line_item_type": _differences_to_json(adjustment.by_line_item_type),
        "by_account": _differences_to_json(adjustment.by_account),
        "by_owner": {category: _differences_to_json(of) for category, of in adjustment.by_owner.items()},
        "causes": [cause.value for cause in adjustment.causes],
        "policies_before": list(adjustment.policies_before),
        "policies_after": list(adjustment.policies_after),
        "version": adjustment.version,
    }


def adjustment_from_json(stored: Json) -> Adjustment:
    """An adjustment as it was written."""
    return Adjustment(
        period=BillingPeriod.parse(stored["period"]),
        export=stored["export"],
        execution_id=stored["execution_id"],
        sequence=stored["sequence"],
        totals=_changes_from_json(stored["totals"]),
        days={date.fromisoformat(day): _changes_from_json(changes) for day, changes in sorted(stored["days"].items())},
        by_line_item_type=_differences_from_json(stored["by_line_item_type"]),
        by_account=_differences_from_json(stored["by_account"]),
        by_owner={category: _differences_from_json(of) for category, of in sorted(stored["by_owner"].items())},
        causes=tuple(Cause(cause) for cause in stored["causes"]),
        policies_before=tuple(stored["policies_before"]),
        policies_after=tuple(stored["policies_after"]),
        version=stored["version"],
        changed_at=datetime.fromisoformat(stored["changed_at"]),
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


def decompress(body: bytes) -> bytes:
    """What was compressed."""
    return gzip.decompress(body)


def decompress_lines(body: bytes) -> Iterator[Json]:
    """The values of compressed lines, never all of their text at once."""
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as found:
        yield from map(json.loads, found)
