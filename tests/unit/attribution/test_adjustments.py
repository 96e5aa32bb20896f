"""Adjustments: when a month is closed, what counts as one, and that they explain every change of a closed month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.adjustments import (
    ACCOUNTS_NAMED,
    BREAKDOWN,
    OTHER_ACCOUNTS,
    OTHER_OWNERS,
    OWNERS_NAMED,
    Adjustment,
    Cause,
    DaySums,
    Differences,
    adjust,
    candidates,
    causes_of,
    dimensions_of,
    is_closed_at,
    is_settling,
    owner_changes,
    undefined,
)
from attribution.allocation import allocate_day
from attribution.charges import Basis, Costs, OriginCharge, sum_costs
from attribution.cost_categories import by_evidence
from attribution.days import DayPointer, DayVersion, make_day_version, sums_root
from attribution.deliveries import DayOfDelivery, DeliveryOutcome, DeliveryRecord, IngestedReport
from attribution.errors import ConservationViolated
from attribution.meters import TokenKind
from attribution.periods import BillingPeriod
from attribution.rules import IncompleteLogging, Rules
from attribution.usage import Usage
from tests.unit.attribution.examples import BY_TEAM, DAY, origin_charge, usage
from tests.unit.attribution.strategies import origin_charges

NOVEMBER = BillingPeriod(2026, 11)
OVER = datetime(2026, 12, 1, tzinfo=UTC)
DAYS = tuple(DAY + timedelta(days=n) for n in range(3))
OPEN, INVOICED, NOTHING = False, True, None


def record(
    written_at: datetime,
    days: Mapping[date, bool | None] | None = None,
    outcome: DeliveryOutcome = DeliveryOutcome.PUBLISHED,
    execution_id: str = "e",
) -> DeliveryRecord:
    """A delivery with these days, each of which is invoiced or not, or has no charge."""
    said = tuple(
        DayOfDelivery(day, f"origin of {day}", {}, int(is_final is not None), 1, bool(is_final))
        for day, is_final in (days or {}).items()
    )
    report = IngestedReport((), said, 1, 1, {})
    sequence = f"{written_at.isoformat()}#{execution_id}"
    return DeliveryRecord("cur", NOVEMBER, execution_id, sequence, "key", "etag", outcome, report, ())


BILLED = record(OVER + timedelta(days=2), {DAYS[0]: OPEN, DAYS[1]: OPEN, DAYS[2]: NOTHING})
INVOICED_IN_PART = record(OVER + timedelta(days=4), {DAYS[0]: INVOICED, DAYS[1]: OPEN, DAYS[2]: NOTHING})
INVOICED_IN_FULL = record(OVER + timedelta(days=4), {DAYS[0]: INVOICED, DAYS[1]: INVOICED, DAYS[2]: NOTHING})
BILLED_AGAIN = record(OVER + timedelta(days=6), {DAYS[0]: OPEN, DAYS[1]: OPEN, DAYS[2]: NOTHING})
INVOICED_TOO_SOON = record(OVER - timedelta(days=5), {DAYS[0]: INVOICED, DAYS[1]: INVOICED, DAYS[2]: NOTHING})
EMPTY = record(OVER + timedelta(days=4), dict.fromkeys(DAYS, NOTHING))


@pytest.mark.parametrize(
    ("earlier", "days_after_the_end", "closed"),
    [
        pytest.param([BILLED], 14, [], id="two weeks are not over"),
        pytest.param([BILLED], 14.01, DAYS, id="two weeks are over"),
        pytest.param([INVOICED_IN_FULL], 5, DAYS, id="the invoice is issued"),
        pytest.param([INVOICED_IN_PART], 5, DAYS[:1], id="one day is invoiced"),
        pytest.param([INVOICED_IN_FULL, BILLED_AGAIN], 7, DAYS, id="invoiced once, and in a later delivery not"),
        pytest.param([replace(INVOICED_IN_FULL, outcome=DeliveryOutcome.REFUSED)], 5, [], id="invoiced, but refused"),
        pytest.param([INVOICED_TOO_SOON], 5, [], id="invoiced before the month was over"),
        pytest.param([EMPTY], 5, [], id="nothing was charged"),
    ],
)
def test_a_month_is_closed_when_its_invoice_is_issued_or_two_weeks_are_over(
    earlier: list[DeliveryRecord], days_after_the_end: float, closed: Sequence[date]
) -> None:
    at = OVER + timedelta(days=days_after_the_end)

    assert [day for day in DAYS if is_closed_at(day, at, earlier)] == list(closed)


# Two bills of the same days -----------------------------------------------------------------------------------------------


accounts = st.sampled_from(["111122223333", "444455556666", "777788889999"])
bills = st.lists(
    st.builds(lambda charge, account: replace(charge, account_id=account), origin_charges, accounts),
    max_size=4,
    unique_by=lambda charge: charge.digest(),
)
months = st.tuples(*[bills] * len(DAYS))
Bill = Sequence[OriginCharge]


def version(
    usage_date: date, bill: Bill, basis: Basis = Basis.BILLED, rules: Rules = BY_TEAM, used: Sequence[Usage] = ()
) -> DayVersion:
    """The day as allocation makes it from its bill."""
    charges = [replace(charge, usage_date=usage_date) for charge in bill]
    origin = "" if basis is Basis.ESTIMATED else repr(charges)
    allocated = allocate_day(charges, used, rules)
    return make_day_version(usage_date, basis, allocated, rules, origin=origin, usage=repr(used))


def pointer(day: DayVersion, first_billed_at: datetime = OVER) -> DayPointer:
    roots = {sums_root(dimension): "" for dimension in day.sums}
    billed_at = first_billed_at if day.basis is not Basis.ESTIMATED else None
    return DayPointer(
        day.usage_date, day.version, day.basis, day.totals, day.made_from, OVER, roots=roots, first_billed_at=billed_at
    )


def sums(days: Sequence[DayVersion], dimensions: Sequence[str]) -> DaySums:
    return {name: {day.usage_date: day.sums.get(name, undefined(pointer(day))) for day in days} for name in dimensions}


def adjusted(before: Sequence[DayVersion], after: Sequence[DayVersion]) -> Adjustment | None:
    """What a delivery changes that gives days of a closed month these versions."""
    delivery = record(OVER + timedelta(days=30))
    pointers = {day.usage_date: pointer(day) for day in before}
    new = [pointer(day) for day in after]
    dimensions = dimensions_of((*pointers.values(), *new))
    return adjust(delivery, pointers, new, sums(before, dimensions), sums(after, dimensions))


def total(days: Sequence[DayVersion], currency: str) -> Costs:
    return sum_costs(day.totals[currency] for day in days if currency in day.totals)


@given(months, months)
def test_an_adjustment_is_the_whole_difference_and_its_parts_sum_to_it(before: Sequence[Bill], after: Sequence[Bill]) -> None:
    earlier = [version(day, bill) for day, bill in zip(DAYS, before, strict=True)]
    later = [version(day, bill) for day, bill in zip(DAYS, after, strict=True)]

    made = adjusted(earlier, later)

    for currency in ("USD", "EUR"):
        difference = total(later, currency) - total(earlier, currency)
        if made is None or currency not in made.totals:
            assert difference == Costs()
            continue
        assert made.totals[currency].before == total(earlier, currency)
        assert made.totals[currency].after == total(later, currency)
        assert sum_costs(changes[currency].difference for changes in made.days.values() if currency in changes) == difference
        # An owner category without differences has none in any currency.
        for parts in (made.by_line_item_type, made.by_account, made.by_owner.get("team", {})):
            assert sum_costs(costs for (_, of), costs in parts.items() if of == currency) == difference
    for day, old, new in zip(DAYS, earlier, later, strict=True):
        if made is None or day not in made.days:
            assert all(same_costs(old, new, dimension) for dimension in (*BREAKDOWN, "team"))


def same_costs(old: DayVersion, new: DayVersion, dimension: str) -> bool:
    """Whether two versions differ in no cost by a dimension, whatever they differ in else."""
    keys = {*old.sums[dimension], *new.sums[dimension]}
    return all(costs_of(old, dimension, key) == costs_of(new, dimension, key) for key in keys)


def costs_of(day: DayVersion, dimension: str, key: tuple[str, str]) -> Costs:
    found = day.sums[dimension].get(key)
    return found.costs if found else Costs()


def bill(*charges: tuple[str, str], **changes: object) -> Bill:
    """Charges by line item type and amount."""
    return [origin_charge(line_item_type=kind, costs=Costs.uniform(Decimal(cost)), **changes) for kind, cost in charges]


USAGE = bill(("Usage", "3.30"))
REFUNDED = bill(("Usage", "3.30"), ("Refund", "-12.40"))


def test_a_late_refund_is_seen_as_one() -> None:
    before = [version(day, USAGE) for day in DAYS]

    made = adjusted(before, [version(DAYS[1], REFUNDED)])

    assert made is not None
    assert made.by_line_item_type == {("Refund", "USD"): Costs.uniform(Decimal("-12.40"))}
    assert made.by_account == {("111122223333", "USD"): Costs.uniform(Decimal("-12.40"))}
    assert {day: (c["USD"].before.billed_cost, c["USD"].after.billed_cost) for day, c in made.days.items()} == {
        DAYS[1]: (Decimal("3.30"), Decimal("-9.10"))
    }
    assert (made.totals["USD"].before.billed_cost, made.totals["USD"].after.billed_cost) == (Decimal("9.90"), Decimal("-2.50"))
    assert (made.period, made.execution_id) == (NOVEMBER, "e")


def test_invoice_ids_alone_adjust_nothing() -> None:
    invoiced = version(DAY, bill(("Usage", "3.30"), is_final=True), Basis.FINAL)

    assert adjusted([version(DAY, USAGE)], [invoiced]) is None


def test_cost_that_moves_between_accounts_is_an_adjustment_of_nothing() -> None:
    elsewhere = version(DAY, bill(("Usage", "3.30"), account_id="444455556666"))

    made = adjusted([version(DAY, USAGE)], [elsewhere])

    assert made is not None
    assert made.totals["USD"].difference == made.days[DAY]["USD"].difference == Costs()
    assert made.by_line_item_type == {}
    assert made.by_account == {
        ("111122223333", "USD"): Costs.uniform(Decimal("-3.30")),
        ("444455556666", "USD"): Costs.uniform(Decimal("3.30")),
    }


def test_a_change_in_one_metric_is_an_adjustment_and_another_currency_has_no_part_in_it() -> None:
    euros = bill(("Usage", "5"), currency="EUR")
    discounted = [origin_charge(costs=replace(Costs.uniform(Decimal("3.30")), net_effective_cost=Decimal("3.20")))]

    made = adjusted([version(DAY, [*USAGE, *euros])], [version(DAY, [*discounted, *euros])])

    assert made is not None
    assert {key: costs.net_effective_cost for key, costs in made.by_line_item_type.items()} == {
        ("Usage", "USD"): Decimal("-0.10")
    }
    assert set(made.totals) == set(made.days[DAY]) == {"USD"}
    assert made.totals["USD"].difference.billed_cost == 0


def test_what_is_estimated_is_no_part_of_the_bill_that_is_adjusted() -> None:
    made = adjusted([version(DAYS[0], USAGE), version(DAYS[1], USAGE, Basis.ESTIMATED)], [version(DAYS[0], REFUNDED)])

    assert made is not None
    assert made.totals["USD"].before == Costs.uniform(Decimal("3.30"))


def test_of_very_many_accounts_the_largest_differences_are_named_and_the_rest_is_summed() -> None:
    numbers = range(1, ACCOUNTS_NAMED + 4)
    charges = [origin_charge(account_id=f"{n:012}", costs=Costs.uniform(Decimal(n))) for n in numbers]

    made = adjusted([version(DAY, [])], [version(DAY, charges)])

    assert made is not None
    assert len(made.by_account) == ACCOUNTS_NAMED + 1
    assert made.by_account[OTHER_ACCOUNTS, "USD"] == Costs.uniform(Decimal(1 + 2 + 3))
    assert sum_costs(made.by_account.values()) == made.totals["USD"].difference


def used_by(tags: Mapping[str, str], units: int = 400) -> Usage:
    return usage({TokenKind.INPUT: units}, request_metadata=tuple(sorted(tags.items())))


BY_COST_CENTER = Rules.of([by_evidence("team", ("cost-center",)), by_evidence("product", ("product",))])
DIMENSIONS = (*BREAKDOWN, "team")


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_difference_that_the_sums_do_not_explain_is_refused(dimension: str) -> None:
    old, new = version(DAY, USAGE), version(DAY, REFUNDED)
    damaged = {**sums([old], DIMENSIONS), dimension: {DAY: {}}}

    with pytest.raises(ConservationViolated, match=f"sums by {dimension}"):
        adjust(record(OVER), {DAY: pointer(old)}, [pointer(new)], damaged, sums([new], DIMENSIONS))


SOON, LATE = OVER + timedelta(days=1), OVER + timedelta(days=20)


def test_an_open_month_a_first_bill_and_the_same_version_are_no_candidates() -> None:
    old, new = version(DAY, USAGE), version(DAY, REFUNDED)
    before = {DAY: pointer(old)}

    assert candidates(LATE, [], before, [pointer(new)]) == (pointer(new),)
    assert candidates(SOON, [], before, [pointer(new)]) == ()
    assert candidates(LATE, [], before, [pointer(old)]) == ()
    assert candidates(LATE, [], {}, [pointer(new)]) == ()
    assert candidates(LATE, [], {DAY: pointer(version(DAY, USAGE, Basis.ESTIMATED))}, [pointer(new)]) == ()


@pytest.mark.parametrize(
    ("first_billed", "at", "settling"),
    [
        pytest.param(SOON, LATE, False, id="billed while its month was open"),
        pytest.param(LATE, LATE + timedelta(days=14), True, id="billed when its month was closed"),
        pytest.param(LATE, LATE + timedelta(days=14.01), False, id="two weeks after that are over"),
    ],
)
def test_usage_counts_for_two_weeks_after_a_first_bill_that_comes_when_the_month_is_closed(
    first_billed: datetime, at: datetime, settling: bool
) -> None:
    old, used = (pointer(version(DAY, USAGE, used=used), first_billed) for used in ([], [used_by({"team": "search"})]))
    other_rules = pointer(version(DAY, USAGE, rules=BY_COST_CENTER), first_billed)

    assert is_settling(old, at, []) is settling
    assert candidates(at, [], {DAY: old}, [used]) == (() if settling else (used,))
    assert candidates(at, [], {DAY: old}, [other_rules]) == (other_rules,)


# Owners -------------------------------------------------------------------------------------------------------------------

tags = st.fixed_dictionaries({}, optional={key: st.sampled_from("ab") for key in ("team", "cost-center", "product")})
used_days = st.lists(st.builds(used_by, tags, st.integers(1, 50)), max_size=3)
allocations = st.lists(st.tuples(st.sampled_from([BY_TEAM, BY_COST_CENTER]), used_days), min_size=2, max_size=4)


@given(bills, allocations)
def test_owners_get_what_others_lose_and_successive_changes_add_up_to_the_whole_change(
    bill: Bill, allocated: list[tuple[Rules, list[Usage]]]
) -> None:
    versions = [version(DAY, bill, rules=rules, used=used) for rules, used in allocated]

    steps = [adjusted([old], [new]) for old, new in pairwise(versions)]
    whole = adjusted([versions[0]], [versions[-1]])

    for made in (made for made in steps if made):
        assert made.by_line_item_type == made.by_account == {}
        assert all(change.difference == Costs() for change in made.totals.values())
        assert all(sum_by_currency(of) == {} for of in made.by_owner.values())
    for category in ("team", "product"):
        added = dict(owner_changes([made for made in steps if made], category))
        assert added.get(NOVEMBER, {}) == (whole.by_owner.get(category, {}) if whole else {})


def sum_by_currency(differences: Differences) -> dict[str, Costs]:
    currencies = {currency for _, currency in differences}
    sums = {of: sum_costs(costs for (_, c), costs in differences.items() if c == of) for of in currencies}
    return {currency: costs for currency, costs in sums.items() if not costs.is_zero()}


def test_a_cost_category_that_was_defined_later_takes_its_owners_from_none() -> None:
    made = adjusted([version(DAY, USAGE)], [version(DAY, USAGE, rules=BY_COST_CENTER)])

    assert made is not None
    assert made.by_owner["product"] == {
        ("(not defined)", "USD"): Costs.uniform(Decimal("-3.30")),
        ("(unallocated)", "USD"): Costs.uniform(Decimal("3.30")),
    }
    assert made.causes == (Cause.RULES,)
    assert not made.is_of_bill


def test_an_allocation_that_gives_everybody_what_they_had_is_no_adjustment() -> None:
    same = replace(BY_TEAM, incomplete_logging=IncompleteLogging.SPREAD)
    before, after = version(DAY, USAGE), version(DAY, USAGE, rules=same)

    assert causes_of(pointer(before), pointer(after)) == (Cause.RULES,)
    assert adjusted([before], [after]) is None


def test_of_very_many_owners_the_largest_differences_are_named_and_the_rest_is_summed() -> None:
    teams = [used_by({"team": f"team {n:04}"}, n) for n in range(1, OWNERS_NAMED + 4)]
    bill = [origin_charge(costs=Costs.uniform(Decimal(2 * sum(range(1, OWNERS_NAMED + 4)))))]

    made = adjusted([version(DAY, bill)], [version(DAY, bill, used=teams)])

    assert made is not None
    assert len(made.by_owner["team"]) == OWNERS_NAMED + 1
    assert (OTHER_OWNERS, "USD") in made.by_owner["team"]
    assert sum_by_currency(made.by_owner["team"]) == {}
