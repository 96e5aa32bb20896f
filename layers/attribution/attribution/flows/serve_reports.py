"""Answer questions to the ledger: read it, as it is or as it was at a moment, prove what was read, and add it up.

The command line and the API ask the same functions, and get the same answers. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches

from attribution.allocation import subject_of_usage
from attribution.budgets import Budget
from attribution.charges import AllocatedCharge, Basis
from attribution.day_directory import directory_of_day, ids_named
from attribution.days import DIMENSIONS, DayPointer
from attribution.errors import NotInLedger, QuestionInvalid
from attribution.flows.evaluate_budgets import Judged, judge_budgets
from attribution.flows.explain_charge import explain_charge
from attribution.formats import clean, counted, instant, money
from attribution.periods import BillingPeriod, Span
from attribution.ports import (
    BudgetSums,
    CategoryNames,
    Clock,
    Deliveries,
    DirectoryOfDays,
    EstimatePrices,
    Invocations,
    OriginCharges,
    Policy,
    ReadDays,
    ReportedDays,
    RuleHistory,
    UsageCounters,
)
from attribution.reporting import costs, requests
from attribution.reporting.costs import Adjusted, CostReport, DaySums, Metric, as_unallocated, prove
from attribution.reporting.coverage import PLACES, CoverageReport, sections
from attribution.reporting.explanations import Explained, Question
from attribution.reporting.spans import Freshness
from attribution.usage import Invocation, InvocationKey, UsageKey, contribution

_NAMES_SHOWN = 20


# Days.


def read_pointers(days: ReportedDays, span: Span, as_of: datetime | None = None) -> list[DayPointer]:
    """The versions of the span's days, in order, that are current or were so at a moment.

    `NotInLedger` where the ledger has none of them, or where one that it had has expired.
    """
    found = [
        pointer
        for period in span.periods()
        for pointer in (days.pointers(period) if as_of is None else days.pointers_as_of(period, as_of)).values()
        if span.first <= pointer.usage_date <= span.last
    ]
    if as_of is not None:
        _require_readable(days, span, found, as_of)
    if not found:
        raise NotInLedger(
            f"no data for {span}: the ledger has no day of it",
            "A day appears minutes after its first invocation log object, or with the first cost report that bills it.",
            "Check `bedrock-costs status`; bring in what lies in S3 already with `bedrock-costs replay`.",
        )
    return sorted(found, key=lambda pointer: pointer.usage_date)


def _require_readable(days: ReportedDays, span: Span, found: Sequence[DayPointer], as_of: datetime) -> None:
    if not found:
        raise NotInLedger(
            f"the ledger had no day of {span} at {instant(as_of)}, or has forgotten it",
            "No version of these days was current then whose record is kept. Records of estimates are kept for the stack's"
            " LedgerRetentionDays, those of bills for good.",
            "Choose a later time.",
        )
    expired = days.expired(found)
    if expired:
        raise NotInLedger(
            f"what the ledger said of {counted(len(expired), 'day')} at {instant(as_of)} has expired",
            "A version that was replaced is kept for 2 days if it was an estimate, for LedgerRetentionDays if it was a bill."
            " Its total is all that is still known.",
            "Choose a later time, or days that have not changed since.",
            tuple(f"{p.usage_date}: {p.basis} on {instant(p.changed_at)}, {_total(p)}" for p in expired),
        )


def _total(pointer: DayPointer) -> str:
    totals = [money(costs.billed_cost, currency) for currency, costs in pointer.totals.items()]
    return f"{' + '.join(totals) or 'no charge'} in all (billed_cost)"


def day_sums(days: ReadDays, pointers: Sequence[DayPointer], dimension: str) -> Iterator[DaySums]:
    """Each day by a dimension, proven against its total.

    A day that was allocated before a cost category existed has no sums for it: it counts as unallocated, in full.
    """
    without = [p for p in pointers if not p.is_summed_by(dimension)]
    found = days.sums([p for p in pointers if p.is_summed_by(dimension)], dimension)
    instead = days.sums(without, "account")
    for pointer in pointers:
        sums = found.get(pointer.usage_date)
        if sums is None:
            sums = as_unallocated(instead[pointer.usage_date])
        prove(pointer, sums)
        yield pointer, sums


# Names that a question may use.


def one_of(known: Sequence[str], name: str, noun: str, parameter: str) -> str:
    """A name that is known; `QuestionInvalid` that says what was meant where it is not."""
    if name in known:
        return name
    alike = get_close_matches(name, known, n=1)
    hint = f"Did you mean {alike[0]}?" if alike else f"Choose from {_some(known)}."
    raise QuestionInvalid(parameter, f"{clean(name)!r} is no {noun}. {hint}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN]) or 'none'}{more}"


def chosen_category(policy: CategoryNames, category: str | None) -> str:
    """The cost category that a question names, or the policy's first; empty where it has none."""
    known = list(policy.category_names())
    return one_of(known, category, "cost category", "category") if category else next(iter(known), "")


# Reports.


def report_costs(
    span: Span,
    *,
    days: ReportedDays,
    policy: CategoryNames,
    by: str | None = None,
    metric: str = Metric.BILLED.value,
    as_of: datetime | None = None,
    asked: datetime | None = None,
) -> CostReport:
    """What a span cost by a dimension: by default the policy's first cost category, without any the account.

    `asked` is the moment that the reader named, where the ledger is read as of one that the reader did not.
    """
    dimension = _dimension(by, policy)
    pointers = read_pointers(days, span, as_of)
    return CostReport(
        span=span,
        dimension=dimension,
        metric=metric,
        freshness=Freshness.of(span, pointers, asked),
        by_currency=costs.rows_by_currency(day_sums(days, pointers, dimension), metric),
        notes=costs.notes(pointers, dimension, metric),
        adjustments=[
            adjusted
            for period in span.periods()
            for adjustment in days.adjustments(period)
            if as_of is None or adjustment.changed_at is None or adjustment.changed_at <= as_of
            for adjusted in Adjusted.within(span, metric, adjustment)
        ],
    )


def _dimension(by: str | None, policy: CategoryNames) -> str:
    categories = list(policy.category_names())
    if by is None:
        return categories[0] if categories else "account"
    return one_of([*DIMENSIONS, *categories], by, "dimension and no cost category", "by")


def report_coverage(
    span: Span,
    *,
    days: ReportedDays,
    policy: CategoryNames,
    by: Sequence[str] = (),
    category: str | None = None,
    metric: str = Metric.BILLED.value,
    as_of: datetime | None = None,
    asked: datetime | None = None,
) -> CoverageReport:
    """How much of a span has an owner in a cost category, by gap and, in each gap, by the dimensions `by`."""
    places = tuple(dict.fromkeys(one_of(list(PLACES), name, "dimension of coverage", "by") for name in by))
    chosen = chosen_category(policy, category)
    pointers = read_pointers(days, span, as_of)
    return CoverageReport(
        span=span,
        category=chosen,
        metric=metric,
        by=places,
        freshness=Freshness.of(span, pointers, asked),
        sections=sections(pointers, days.coverage(pointers), places, chosen, metric),
        notes=costs.defined_later(pointers, chosen),
    )


# Explanations.


def explain(
    question: Question,
    usage_date: date,
    *,
    days: ReportedDays,
    deliveries: Deliveries,
    origin_charges: OriginCharges,
    counters: UsageCounters,
    rules: RuleHistory,
    prices: EstimatePrices,
    directory: DirectoryOfDays,
    as_of: datetime | None = None,
    charges_max: int | None = None,
) -> Explained:
    """The charges of a day that a question is about, explained.

    `NotInLedger` where there is no such day or no such charge; `QuestionInvalid` where the day has more than `charges_max`, or
    the name of a charge begins the names of several.
    """
    (pointer,) = read_pointers(days, Span(usage_date, usage_date), as_of)
    if charges_max is not None and pointer.charge_count > charges_max:
        raise QuestionInvalid(
            "date",
            f"{usage_date} has {pointer.charge_count:,} charges; a day of more than {charges_max:,} is explained by"
            " `bedrock-costs explain`",
        )
    found = explain_charge(
        question,
        pointer,
        days=days,
        deliveries=deliveries,
        origin_charges=origin_charges,
        counters=counters,
        rules=rules,
        prices=prices,
        directory=directory,
    )
    if not found.explanations:
        raise _no_charge(question, usage_date, found)
    if question.charge_id and found.charge_count > 1:
        raise QuestionInvalid(
            "charge", f"{question.charge_id} begins the names of {found.charge_count} charges: write more of it"
        )
    return found


def _no_charge(question: Question, usage_date: date, found: Explained) -> NotInLedger:
    of = f" of model {question.model}" if question.model else ""
    if question.charge_id:
        return NotInLedger(
            f"{usage_date} has no charge {question.charge_id}{of}",
            "Charges are named within a version of their day; another allocation may have made others.",
            "Ask for an owner by date and value; the answer names its charges.",
        )
    return NotInLedger(
        f"{usage_date} has no charge of {question.value!r} in {question.category!r}{of}",
        f"The owners of that day: {_named(question.value, found.values)}.",
        "Choose one of them as the value, or another category or model.",
    )


def _named(asked: str, owners: tuple[str, ...]) -> str:
    """Owners to choose from, those with names alike first."""
    return _some(list(dict.fromkeys((*get_close_matches(asked, owners), *owners))))


# Requests.


def look_up_request(
    key: InvocationKey,
    *,
    invocations: Invocations,
    policy: Policy,
    directory: DirectoryOfDays,
    days: ReadDays,
    charges_max: int | None = None,
) -> tuple[Invocation, list[dict[str, object]]]:
    """A request, and who owns it in each cost category.

    The owner is what the call itself carried; where that does not decide, it is the owner of the billed charges behind calls
    like it, if they agree on one; else the one that tags of caller, profile and account name on that day. The charges of a
    day that has more than `charges_max` are not read: the owners that they may know say so.
    """
    found = invocations.get(key)
    if found is None:
        raise NotInLedger(
            f"request {key.account_id}/{key.region}/{key.request_id} is not recorded",
            "Its log object has not arrived yet, it is older than single requests are kept, or a part of its name is wrong.",
            "Log objects arrive within minutes; bring in older ones with `bedrock-costs replay objects`.",
        )
    return found, _owners(found, policy, directory, days, charges_max)


def _owners(
    invocation: Invocation, policy: Policy, directory: DirectoryOfDays, days: ReadDays, charges_max: int | None
) -> list[dict[str, object]]:
    usage = contribution(invocation)
    if usage is None:
        return []
    rules = policy.rules(usage.key.usage_date)
    known = directory.attributes_on(ids_named([usage.key]), usage.key.usage_date)
    subject = subject_of_usage(usage.key, None, rules, directory_of_day(known, rules))
    values = rules.decide(subject, requests.NOT_FROM_USAGE, is_shared=False)
    is_decided = [category.is_decided_without_bill(subject) for category in rules.categories]
    billed = [] if all(is_decided) else _billed_like(days, usage.key, charges_max)
    return [requests.owner_of(value, () if decided else billed) for value, decided in zip(values, is_decided, strict=True)]


def _billed_like(days: ReadDays, key: UsageKey, charges_max: int | None) -> list[AllocatedCharge]:
    """The day's billed charges for calls like this one; none while the day is estimated, or where it has too many to read."""
    pointer = days.pointers(BillingPeriod.of(key.usage_date)).get(key.usage_date)
    if pointer is None or pointer.basis is Basis.ESTIMATED:
        return []
    if charges_max is not None and pointer.charge_count > charges_max:
        return []
    wanted = (key.account_id, key.region, key.model, key.tier, key.routing, key.iam_principal)
    return [
        charge
        for charge in days.charges(key.usage_date, pointer.version)
        if (
            charge.account_id, charge.region, charge.meter.model, charge.meter.tier, charge.meter.routing, charge.iam_principal
        ) == wanted
    ]  # fmt: skip


# Budgets.


class ReadOnlySums:
    """Sums that are kept are read; what is missing is summed and forgotten, because a report writes nothing."""

    def __init__(self, sums: BudgetSums) -> None:
        self._sums = sums

    def read(self, pointers: Sequence[DayPointer]) -> Mapping[date, Mapping[str, Decimal]]:
        """The sums that are kept."""
        return self._sums.read(pointers)

    def keep(self, pointer: DayPointer, sums: Mapping[str, Decimal]) -> None:
        """Not kept."""


@dataclass(frozen=True, slots=True)
class Standings:
    """Where budgets stand: those that were asked for, of all that are defined."""

    chosen: Sequence[Budget]
    defined: Sequence[Budget]
    judged: Judged


def budget_standings(name: str | None, *, policy: Policy, days: ReadDays, sums: BudgetSums, clock: Clock) -> Standings:
    """One budget by its name, or all of them, in the period that runs now. No alert comes of it."""
    defined = list(policy.budgets())
    if name is not None:
        one_of([b.name for b in defined], name, "budget", "name")
    chosen = [b for b in defined if name is None or b.name == name]
    return Standings(chosen, defined, judge_budgets(chosen, days=days, sums=ReadOnlySums(sums), clock=clock))
