"""How much cost has an owner, how much of it was measured, and what to do about each gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from attribution.charges import Basis
from attribution.coverage import REMEDIES, Coverage, Gap, Measure, Place, verify_coverage, without_owners
from attribution.days import DayPointer
from attribution.errors import ConservationViolated
from attribution.formats import percent
from attribution.money import ZERO, add, subtract, total
from attribution.periods import Span
from attribution.reporting.answers import Answer
from attribution.reporting.costs import unproven
from attribution.reporting.spans import Freshness

BILLED, ESTIMATED = "billed", "estimated"
PLACES: Mapping[str, Callable[[Place], str]] = {
    "account": lambda place: place.account_id,
    "region": lambda place: place.region,
    "model": lambda place: place.model,
    "token_kind": lambda place: place.token_kind,
}
COSTS = ("cost", "allocated", "unallocated")
UNITS = (
    "billed_units", "counted_units", "counted_percent", "billed_cost", "estimated_cost", "estimate_percent", "requests",
    "unmeasured_calls", "calls_without_log_record", "unpriced_units",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """One gap at one combination of the chosen dimensions."""

    gap: Gap
    values: tuple[str, ...]
    cost: Decimal = ZERO
    unallocated: Decimal = ZERO

    @property
    def allocated(self) -> Decimal:
        return subtract(self.cost, self.unallocated)


@dataclass(frozen=True, slots=True)
class Section:
    """The days of one basis in one currency: gaps, the worst first; units by the chosen dimensions; where each gap lies."""

    currency: str
    basis: str
    rows: Sequence[Row]
    units: Mapping[tuple[str, ...], tuple[Measure, Decimal]]
    whereabouts: Mapping[Gap, Sequence[str]]

    @property
    def cost(self) -> Decimal:
        return total(row.cost for row in self.rows)

    @property
    def unallocated(self) -> Decimal:
        return total(row.unallocated for row in self.rows)

    @property
    def allocated(self) -> Decimal:
        return subtract(self.cost, self.unallocated)

    @property
    def capture_percent(self) -> Decimal | None:
        return percent(self.allocated, self.cost)


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """Coverage of a span."""

    span: Span
    category: str
    metric: str
    by: tuple[str, ...]
    freshness: Freshness
    sections: Sequence[Section]
    notes: Sequence[str]


def sections(
    pointers: Sequence[DayPointer],
    covered: Mapping[date, Mapping[Place, Coverage]],
    by: Sequence[str],
    category: str,
    metric: str,
) -> list[Section]:
    """Days by currency and basis. Those that were allocated before a cost category existed have no owner in it, in full."""
    found: dict[tuple[str, str], list[tuple[Place, Coverage]]] = defaultdict(list)
    for pointer in pointers:
        of_day = covered[pointer.usage_date]
        try:
            verify_coverage(of_day, pointer.totals)
        except ConservationViolated as error:
            raise unproven(pointer) from error
        basis = ESTIMATED if pointer.basis is Basis.ESTIMATED else BILLED
        for place, one in of_day.items():
            is_later = not pointer.is_summed_by(category)
            found[place.currency, basis].append((place, without_owners(one, category) if is_later else one))
    return [_section(*key, places, by, category, metric) for key, places in sorted(found.items())]


def _section(
    currency: str, basis: str, places: Sequence[tuple[Place, Coverage]], by: Sequence[str], category: str, metric: str
) -> Section:
    rows: dict[tuple[Gap, tuple[str, ...]], Row] = {}
    units: dict[tuple[str, ...], tuple[Measure, Decimal]] = {}
    lie: dict[Gap, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for place, one in places:
        values = tuple(PLACES[name](place) for name in by)
        measure, cost = units.get(values, (Measure(), ZERO))
        is_metered = bool(one.measure.billed or one.measure.counted)
        units[values] = (measure + one.measure, add(cost, getattr(one.usage_costs, metric)) if is_metered else cost)
        for gap, part in one.parts.items():
            row = rows.setdefault((gap, values), Row(gap, values))
            without: Decimal = getattr(part.unallocated[category], metric) if category in part.unallocated else ZERO
            row.cost = add(row.cost, getattr(part.costs, metric))
            row.unallocated = add(row.unallocated, without)
            name = f"{place.account_id} {place.region}".strip()
            if without:
                lie[gap][name] = add(lie[gap][name], without)
    ordered = sorted(rows.values(), key=lambda r: (-abs(r.unallocated), r.gap is Gap.NONE, -abs(r.cost), r.gap, r.values))
    whereabouts = {gap: sorted(amounts, key=lambda n: (-abs(amounts[n]), n)) for gap, amounts in lie.items()}
    known = {values: found for values, found in sorted(units.items()) if found[0] != Measure()}
    return Section(currency, basis, ordered, known, whereabouts)


def answer_of(made: CoverageReport, *, units: bool) -> Answer:
    """Coverage for programs. CSV holds the gaps or, where they were asked for, the units."""
    header = ("basis", "currency", *made.by, *(UNITS if units else ("gap", *COSTS)))
    flat: list[tuple[object, ...]] = []
    for section in made.sections:
        rows = units_of(section) if units else _gaps(section)
        flat += [(section.basis, section.currency, *values, *document.values()) for values, document in rows]
    document = {
        "span": {"from": made.span.first, "to": made.span.last},
        "cost_category": made.category,
        "metric": made.metric,
        "by": made.by,
        **made.freshness.document(),
        "coverage": [_document(made, section) for section in made.sections],
        "notes": made.notes,
    }
    return Answer(document, header, flat, lists=(("coverage", "gaps"), ("coverage", "units")))


def _document(made: CoverageReport, section: Section) -> dict[str, Any]:
    def with_values(rows: Iterator[tuple[tuple[str, ...], dict[str, Any]]]) -> list[dict[str, Any]]:
        return [dict(zip(made.by, values, strict=True)) | document for values, document in rows]

    gaps = [
        document | {"remedy": REMEDIES[Gap(document["gap"])], "where": section.whereabouts.get(Gap(document["gap"]), [])}
        for document in with_values(_gaps(section))
    ]
    return {
        "basis": section.basis,
        "currency": section.currency,
        **{name: getattr(section, name) for name in (*COSTS, "capture_percent")},
        "gaps": gaps,
        "units": with_values(units_of(section)),
    }


def _gaps(section: Section) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for row in section.rows:
        yield row.values, {"gap": row.gap.value, **{name: getattr(row, name) for name in COSTS}}


def units_of(section: Section) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """What was used at each combination of the chosen dimensions, beside their values."""
    for values, (measure, cost) in section.units.items():
        is_comparable = section.basis == BILLED and section.currency == "USD"
        counts: tuple[object, ...] = (
            measure.billed,
            measure.counted,
            percent(measure.counted, measure.billed),
            cost if section.basis == BILLED else ZERO,
            measure.estimated,
            percent(measure.estimated, cost) if is_comparable else None,
            measure.requests,
            measure.unmeasured,
            measure.observed_only,
            measure.unpriced,
        )
        yield values, dict(zip(UNITS, counts, strict=True))
