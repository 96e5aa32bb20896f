"""Answer questions to the ledger: read it, as it is or as it was at a moment, prove what was read, and add it up.

The command line and the API ask the same functions, and get the same answers. Nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice

from attribution.adjustments import Adjustment
from attribution.allocation import subject_of_usage, totals_by_currency
from attribution.budgets import Budget
from attribution.charges import AllocatedCharge, Costs, sum_costs
from attribution.day_directory import directory_of_day, ids_named
from attribution.days import DIMENSIONS, DayPointer, Sum, add_sums, sums_by
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
from attribution.reporting.costs import Adjusted, CostReport, DaySums, Metric, OwnerChange, Row, as_unallocated, prove
from attribution.reporting.coverage import PLACES, CoverageReport, sections
from attribution.reporting.explanations import Explained, Question
from attribution.reporting.selections import Selection
from attribution.reporting.spans import Freshness
from attribution.scopes import CHARGE_DIMENSIONS, value_of
from attribution.usage import InvocationKey, UsageKey, contribution

_NAMES_SHOWN = 20
_CHARGES_AT_ONCE = 10_000
_PERIODS_LOOKED_BACK = 13

DaysRead = Callable[[int, int], None]
"""Told of how many days, of how many, the charges are read."""


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
        newest = newest_period(days, BillingPeriod.of(span.last))
        instead = f"The newest period with data is {newest}: try --period {newest}. " if newest else ""
        raise NotInLedger(
            f"no data for {span}: the ledger has no day of it",
            "A day appears minutes after its first invocation log object, or with the first cost report that bills it.",
            f"{instead}Check `bedrock-costs status`; bring in what lies in S3 already: cost reports with"
            " `bedrock-costs backfill`, logs with `bedrock-costs replay objects`.",
        )
    return sorted(found, key=lambda pointer: pointer.usage_date)


def newest_period(days: ReadDays, last: BillingPeriod) -> BillingPeriod | None:
    """The newest period with a ledger day, of the 13 up to one."""
    for _ in range(_PERIODS_LOOKED_BACK):
        if days.pointers(last):
            return last
        last = BillingPeriod.of(last.first_day - timedelta(days=1))
    return None


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


def _sums_of_charges(
    days: ReadDays, pointers: Sequence[DayPointer], dimension: str, where: Selection, on_day: DaysRead
) -> Iterator[DaySums]:
    """Those charges of each day that are asked for, by any dimension: read and proven against the day, a few at a time."""
    for done, pointer in enumerate(pointers):
        on_day(done, len(pointers))
        yield pointer, _sums_of_day(days, pointer, dimension, where)
    on_day(len(pointers), len(pointers))


def _sums_of_day(days: ReadDays, pointer: DayPointer, dimension: str, where: Selection) -> dict[tuple[str, str], Sum]:
    parts: dict[tuple[str, str], list[Sum]] = defaultdict(list)
    totals: dict[str, list[Costs]] = defaultdict(list)
    count = 0
    charges = iter(days.charges(pointer.usage_date, pointer.version))
    while read := list(islice(charges, _CHARGES_AT_ONCE)):
        count += len(read)
        for currency, added in totals_by_currency(read).items():
            totals[currency].append(added)
        for key, part in sums_by(filter(where.holds, read), lambda charge: value_of(charge, dimension)).items():
            parts[key].append(part)
    if count != pointer.charge_count or {of: sum_costs(found) for of, found in totals.items()} != dict(pointer.totals):
        raise costs.unproven(pointer)
    return {key: add_sums(found) for key, found in parts.items()}


def _only(sums: Iterator[DaySums], value: str | None) -> Iterator[DaySums]:
    """Sums of one value of their dimension; of all values, where none is asked for."""
    return ((day, {key: s for key, s in found.items() if value is None or key[0] == value}) for day, found in sums)


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
    directory: DirectoryOfDays,
    by: str | None = None,
    where: Sequence[str] = (),
    metric: str = Metric.BILLED.value,
    as_of: datetime | None = None,
    asked: datetime | None = None,
    charges_max: int | None = None,
    on_day: DaysRead = lambda done, whole: None,
) -> CostReport:
    """What a span cost by a dimension: by default the policy's first cost category, without any the account.

    `where` are conditions such as `team=growth`: what is reported has all of these values. Where the sums that the ledger keeps
    do not answer, the charges of the days are read: `on_day` is told how many of how many days, and `QuestionInvalid` raised if
    they are more than `charges_max`. `asked` is the moment that the reader named, where the ledger is read as of one that the
    reader did not.
    """
    dimension = _dimension(by, policy)
    selection = Selection.parse(where, lambda name: _known_dimension(name, policy, "where"))
    pointers = read_pointers(days, span, as_of)
    # A day that was allocated before a cost category existed has no sum by it, but is known to be unallocated in it.
    is_kept = dimension not in CHARGE_DIMENSIONS or dimension in DIMENSIONS
    if is_kept and {*selection.values} <= {dimension}:
        found = _only(day_sums(days, pointers, dimension), selection.values.get(dimension))
    else:
        _require_few(pointers, charges_max)
        found = _sums_of_charges(days, pointers, dimension, selection, on_day)
    by_currency = costs.rows_by_currency(found, metric)
    if selection.values and not by_currency:
        raise _nothing_selected(span, selection)
    notes = costs.notes(pointers, (dimension, *selection.values), metric)
    adjustments = adjustments_of(days, span, as_of)
    if selection.values and adjustments:
        notes = (*notes, "A month was adjusted after it was closed: `bedrock-costs adjustments` tells what of it this is.")
        adjustments = []
    return CostReport(
        span=span,
        dimension=dimension,
        metric=metric,
        freshness=Freshness.of(span, pointers, asked),
        by_currency=by_currency,
        notes=notes,
        adjustments=[adjusted for adjustment in adjustments for adjusted in Adjusted.within(span, metric, adjustment)],
        owner_changes=list(OwnerChange.within(span, dimension, metric, adjustments)),
        where=selection,
        names=_account_names(by_currency, span, directory) if dimension == "account" else {},
    )


def adjustments_of(days: ReportedDays, span: Span, as_of: datetime | None = None) -> list[Adjustment]:
    """What changed in closed months of a span until a moment."""
    found = (adjustment for period in span.periods() for adjustment in days.adjustments(period))
    return [a for a in found if as_of is None or a.changed_at is None or a.changed_at <= as_of]


def _require_few(pointers: Sequence[DayPointer], charges_max: int | None) -> None:
    count = sum(pointer.charge_count for pointer in pointers)
    if charges_max is not None and count > charges_max:
        raise QuestionInvalid(
            "where",
            f"for this all {count:,} charges of {counted(len(pointers), 'day')} would be read, and {charges_max:,} are the most"
            " that is: ask for fewer days, or for a dimension that days are summed by and no condition; `bedrock-costs report`"
            " answers it",
        )


def _nothing_selected(span: Span, selection: Selection) -> NotInLedger:
    name = next(iter(selection.values))
    return NotInLedger(
        f"{span} has no charge with {' and '.join(selection.in_words())}",
        "A value is compared as a report shows it, in the same letter case; of several conditions a charge must meet all.",
        f"The values that there are: `bedrock-costs report --by {name}` for the same days.",
    )


def _account_names(by_currency: Mapping[str, Sequence[Row]], span: Span, directory: DirectoryOfDays) -> dict[str, str]:
    ids = {row.value for rows in by_currency.values() for row in rows if row.value}
    known = directory.attributes_on(ids, span.last)
    return {id: attributes.name for id, attributes in known.items() if attributes.name}


def _dimension(by: str | None, policy: CategoryNames) -> str:
    if by is None:
        return next(iter(policy.category_names()), "account")
    if "," in by:
        raise QuestionInvalid("by", "a report has one dimension: where team=growth and by model are the models of a team")
    return _known_dimension(by, policy, "by")


def _known_dimension(name: str, policy: CategoryNames, parameter: str) -> str:
    return one_of([*CHARGE_DIMENSIONS, *policy.category_names()], name, "dimension and no cost category", parameter)


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
    of = f" of model {clean(question.model)}" if question.model else ""
    if found.models:
        return NotInLedger(
            f"{usage_date} has no charge of {clean(question.value)!r} in {question.category!r}{of}",
            f"The models of {clean(question.value)} on that day: {_named(question.model, found.models)}.",
            "Choose one of them, or leave the model out.",
        )
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
) -> requests.Found:
    """A request, who owns it in each cost category, and what the bill paid for calls like it once there is one.

    The owner is what the call itself carried; where that does not decide, it is the owner of the billed charges behind calls
    like it, if they agree on one; else the one that tags of caller, profile and account name on that day. The charges of a
    billed day that has more than `charges_max` are not read: owners that they may know say so.
    """
    found = invocations.get(key)
    if found is None:
        raise NotInLedger(
            f"request {key.account_id}/{key.region}/{key.request_id} is not recorded",
            "Its log object has not arrived yet, it is older than single requests are kept, or a part of its name is wrong.",
            "Log objects arrive within minutes; bring in older ones with `bedrock-costs replay objects`. Of a call in another"
            " account or Region, name these with --account and --region.",
        )
    usage = contribution(found)
    if usage is None:
        return requests.Found(found, [])
    of = usage.key
    rules = policy.rules(of.usage_date)
    known = directory.attributes_on(ids_named([of]), of.usage_date)
    subject = subject_of_usage(of, None, rules, directory_of_day(known, rules))
    values = rules.decide(subject, requests.NOT_FROM_USAGE, is_shared=False)
    is_decided = [category.is_decided_without_bill(subject) for category in rules.categories]
    pointer = _billed_day(days, of.usage_date)
    if pointer is not None and charges_max is not None and pointer.charge_count > charges_max:
        pointer = None
    alike = _charges_like(days, pointer, of) if pointer is not None else []
    owners = [requests.owner_of(value, () if done else alike) for value, done in zip(values, is_decided, strict=True)]
    return requests.Found(found, owners, requests.Bill(pointer, tuple(alike)) if pointer is not None else None)


def _billed_day(days: ReadDays, usage_date: date) -> DayPointer | None:
    """The day, if a bill has reached it."""
    pointer = days.pointers(BillingPeriod.of(usage_date)).get(usage_date)
    return pointer if pointer is not None and pointer.is_billed else None


def _charges_like(days: ReadDays, pointer: DayPointer, key: UsageKey) -> list[AllocatedCharge]:
    """The charges of a billed day for calls like this one."""
    wanted = (key.account_id, key.region, key.model, key.tier, key.routing, key.iam_principal)
    return [
        charge
        for charge in days.charges(pointer.usage_date, pointer.version)
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


def budget_standings(
    name: str | None,
    *,
    policy: Policy,
    days: ReadDays,
    sums: BudgetSums,
    clock: Clock,
    month: BillingPeriod | None = None,
) -> Standings:
    """One budget by its name, or all of them, in the period that runs now, or in those of a month. No alert comes of it."""
    defined = list(policy.budgets())
    if name is not None:
        one_of([b.name for b in defined], name, "budget", "name")
    chosen = [b for b in defined if name is None or b.name == name]
    judged = judge_budgets(chosen, days=days, sums=ReadOnlySums(sums), clock=clock, month=month)
    return Standings(chosen, defined, judged)
