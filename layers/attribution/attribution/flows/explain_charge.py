"""Explain charges of a day: find them, read what the day was made from, and make them anew.

Nothing is written. What a day was made from may have moved since: usage is counted late, rules and prices change. Then its
charges are explained by what is stored of them, and the answer says what moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from attribution.charges import AllocatedCharge
from attribution.day_directory import NO_DIRECTORY, DayDirectory, directory_of_day, ids_named
from attribution.days import ALLOCATION_VERSION, UNALLOCATED, DayPointer, usage_fingerprint
from attribution.directory import resolved_usage
from attribution.explanation import BilledDay, EstimatedDay, Explanation, largest
from attribution.money import total
from attribution.periods import BillingPeriod
from attribution.ports import (
    Deliveries,
    DirectoryOfDays,
    EstimatePrices,
    OriginCharges,
    ReadDays,
    RuleHistory,
    UsageCounters,
)
from attribution.reporting.explanations import Explained, Question
from attribution.rules import Rules
from attribution.usage import Usage


def explain_charge(
    question: Question,
    pointer: DayPointer,
    *,
    days: ReadDays,
    deliveries: Deliveries,
    origin_charges: OriginCharges,
    counters: UsageCounters,
    rules: RuleHistory,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
) -> Explained:
    """The charges of a version of a day that a question is about, the largest of them explained."""
    stored = list(days.charges(pointer.usage_date, pointer.version))
    asked = largest([charge for charge in stored if question.is_about(charge)], question.metric)
    period = BillingPeriod.of(pointer.usage_date)
    records = deliveries.of_period(period) if pointer.is_billed else ()
    day, moved = _made_anew(pointer, origin_charges, counters, rules, prices, directory) if asked else (None, ())
    return Explained(
        pointer=pointer,
        delivery=next((record for record in records if record.sequence == pointer.sequence), None),
        explanations=tuple(day.explain(charge) if day else Explanation(charge) for charge in asked[: question.top]),
        charge_count=len(asked),
        totals=_by_currency(asked, question.metric),
        rest=_by_currency(asked[question.top :], question.metric),
        moved=moved,
        models=()
        if asked or question.charge_id
        else tuple(sorted({charge.meter.model for charge in stored if question.is_owned(charge) and charge.meter.model})),
        values=() if asked else tuple(sorted({charge.value_of(question.category) or UNALLOCATED for charge in stored})),
    )


def _by_currency(charges: Sequence[AllocatedCharge], metric: str) -> dict[str, Decimal]:
    currencies = sorted({charge.currency for charge in charges})
    return {of: total(getattr(c.costs, metric) for c in charges if c.currency == of) for of in currencies}


def _made_anew(
    pointer: DayPointer,
    origin_charges: OriginCharges,
    counters: UsageCounters,
    rules: RuleHistory,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
) -> tuple[BilledDay | EstimatedDay | None, tuple[str, ...]]:
    """The day from what it was made from; None, and what moved, where that is not there any more."""
    on, made_from = pointer.usage_date, pointer.made_from
    usage = resolved_usage(counters.usage_of(on), directory.find)
    charges = origin_charges.read(on, made_from["origin"]) if pointer.is_billed else ()
    in_force = rules.rules_of(made_from["rules"], on)
    added = NO_DIRECTORY
    if in_force is not None:
        known = directory.attributes_on(ids_named((u.key for u in usage), charges), on)
        added = directory_of_day(known, in_force, charges)
    moved = tuple(_moved(pointer, usage, in_force, added))
    if moved or in_force is None:
        return None, moved
    if pointer.is_billed:
        return BilledDay(charges, usage, in_force, added), ()
    pricing = prices.pricing(sorted({(u.key.model, u.key.region) for u in usage}))
    day = EstimatedDay(usage, in_force, pricing=pricing, directory=added)
    if day.fingerprint() != made_from.get("pricing", ""):
        return None, ("the prices, or the factors that calibrate them",)
    return day, ()


def _moved(pointer: DayPointer, usage: Sequence[Usage], in_force: Rules | None, directory: DayDirectory) -> Iterator[str]:
    if usage_fingerprint(usage) != pointer.made_from["usage"]:
        yield "the counted usage"
    if in_force is None:
        yield "the rules: their document is not kept"
    elif directory.fingerprint() != pointer.made_from.get("directory", ""):
        yield "the tags of the directory"
    if pointer.made_from["allocation"] != str(ALLOCATION_VERSION):
        yield "the software that allocates"
