"""A month that is closed changes by adjustments alone: whatever is delivered later, they account for every amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.adjustments import Cause
from attribution.charges import Basis, Costs, OriginCharge, sum_costs
from attribution.cost_categories import by_evidence
from attribution.days import NOT_DEFINED
from attribution.errors import InputRejected
from attribution.rules import Rules
from tests.fakes import version_of
from tests.unit.attribution.examples import BY_TEAM, origin_charge
from tests.unit.attribution.flows.ledger import DAYS, Again, Ledger, Message
from tests.unit.attribution.strategies import origin_charges

OVER = datetime(2026, 12, 1, tzinfo=UTC)
CURRENCIES = ("USD", "EUR")

Bills = Mapping[date, Sequence[OriginCharge]]

accounts = st.sampled_from(["111122223333", "444455556666"])
charges = st.builds(lambda charge, account: replace(charge, account_id=account), origin_charges, accounts)
bills = st.lists(charges, max_size=3, unique_by=lambda charge: charge.digest())
# The first has a charge, else no invoice was issued.
deliveries = st.lists(st.tuples(*[bills] * len(DAYS)), min_size=2, max_size=4).filter(lambda delivered: any(delivered[0]))
crashes = st.lists(st.none() | st.integers(0, 16), max_size=12)


def dated(of_days: Sequence[Sequence[OriginCharge]], *, is_final: bool) -> Bills:
    return {
        day: [replace(charge, usage_date=day, is_final=is_final) for charge in bill]
        for day, bill in zip(DAYS, of_days, strict=True)
    }


def billed(ledger: Ledger, currency: str) -> Costs:
    """What readers see of the month's bill."""
    return sum_costs(p.totals[currency] for p in ledger.days.current.values() if p.is_billed and currency in p.totals)


def assert_accounted_for(ledger: Ledger, at_closing: Mapping[str, Costs]) -> None:
    """What was billed when the month was closed, and its adjustments one by one, are what is billed now; so are their parts."""
    for currency in CURRENCIES:
        now = at_closing[currency]
        for adjustment in ledger.days.adjustments:
            if currency not in adjustment.totals:
                continue
            change = adjustment.totals[currency]
            assert change.before == now
            now = change.after
            for parts in (adjustment.by_line_item_type, adjustment.by_account):
                assert sum_costs(costs for (_, of), costs in parts.items() if of == currency) == change.difference
            by_day = (changes[currency] for changes in adjustment.days.values() if currency in changes)
            assert sum_costs(day.difference for day in by_day) == change.difference
        assert now == billed(ledger, currency)


@given(deliveries, st.booleans(), crashes)
def test_the_bill_at_closing_and_all_adjustments_are_the_bill_of_now_at_every_moment(
    delivered: list[Sequence[Sequence[OriginCharge]]], is_final: bool, crash_points: list[int | None]
) -> None:
    ledger = Ledger()
    # Invoiced soon after its end; or never, and two weeks old.
    closing = OVER + timedelta(days=5 if is_final else 13)
    for number, of_days in enumerate(delivered):
        source = ledger.write_charges(number, closing + timedelta(days=2 * number), dated(of_days, is_final=is_final))
        if number == 0:
            ledger.settle(source)
            at_closing = {currency: billed(ledger, currency) for currency in CURRENCIES}
            continue
        waiting: list[Message] = [source]
        while waiting:
            ledger.crashes.after_points = crash_points.pop() if crash_points else None
            if not ledger.attempt(waiting[0]):
                waiting.append(waiting[0])
            waiting = [*waiting[1:], *ledger.queue.days]
            ledger.queue.days.clear()
            assert_accounted_for(ledger, at_closing)

    keys = {(a.sequence, min(a.days), a.version) for a in ledger.days.adjustments}
    assert len(keys) == len(ledger.days.adjustments)


def bill(*costs: tuple[str, str], is_final: bool = True) -> Bills:
    """The first day by line item type and amount, the others with usage of 1 USD each."""
    first = [origin_charge(line_item_type=kind, costs=Costs.uniform(Decimal(cost))) for kind, cost in costs]
    usage = [origin_charge(costs=Costs.uniform(Decimal(1)))]
    return dated([first, usage, usage], is_final=is_final)


USAGE = bill(("Usage", "3.30"))
REFUNDED = bill(("Usage", "3.30"), ("Refund", "-12.40"))


def closed() -> Ledger:
    """A month whose invoice is issued."""
    ledger = Ledger()
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=5), USAGE))
    assert {p.basis for p in ledger.days.current.values()} == {Basis.FINAL}
    assert ledger.days.adjustments == []
    return ledger


def test_a_late_refund_is_an_adjustment_that_the_flow_tells_of() -> None:
    ledger = closed()
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))

    outcome = ledger.allocate(DAYS[0])

    assert outcome.adjustment is not None
    assert ledger.days.adjustments == [outcome.adjustment]
    assert outcome.adjustment.execution_id == "execution-1"
    assert outcome.adjustment.by_line_item_type == {("Refund", "USD"): Costs.uniform(Decimal("-12.40"))}
    assert ledger.allocate(DAYS[0]).adjustment is None


@pytest.mark.parametrize("crash_after", range(14))
def test_an_attempt_that_ends_anywhere_leaves_the_new_bill_with_its_adjustment_or_neither(crash_after: int) -> None:
    ledger = closed()
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))
    ledger.crashes.after_points = crash_after

    ledger.attempt(DAYS[0])

    is_new = ledger.days.current[DAYS[0]].totals["USD"].billed_cost == Decimal("-9.10")
    assert len(ledger.days.adjustments) == is_new
    ledger.drain([DAYS[0]])
    assert len(ledger.days.adjustments) == 1


# Owners -------------------------------------------------------------------------------------------------------------------

BY_SQUAD = Rules.of([by_evidence("team", ("squad",)), by_evidence("product", ("product",))])
FROM_NOBODY = {("(unallocated)", "USD"): Costs.uniform(Decimal("-1.32")), ("search", "USD"): Costs.uniform(Decimal("1.32"))}


def used() -> Ledger:
    """A closed month in which 400 of the first day's 1000 tokens became known later."""
    ledger = closed()
    ledger.use(DAYS[0], "search", 400)
    return ledger


@pytest.mark.parametrize("rules", [BY_TEAM, BY_SQUAD], ids=["the same rules", "other rules"])
def test_a_day_of_a_closed_month_keeps_its_owners_whatever_asks_for_it(rules: Rules) -> None:
    ledger = used()
    ledger.policy.defined_rules = rules
    before = dict(ledger.days.current)

    outcome = ledger.allocate(DAYS[0])

    assert outcome.is_kept
    assert (outcome.version, outcome.flipped, outcome.adjustment) == (before[DAYS[0]].version, (), None)
    assert ledger.days.current == before


def test_a_day_that_somebody_wants_allocated_again_is_an_adjustment_of_who_got_what_from_whom() -> None:
    ledger = used()

    outcome = ledger.allocate(DAYS[0], by_policy=version_of(BY_TEAM))

    assert not outcome.is_kept
    assert ledger.days.adjustments == [outcome.adjustment]
    assert outcome.adjustment is not None
    assert outcome.adjustment.by_owner == {"team": FROM_NOBODY}
    assert outcome.adjustment.causes == (Cause.USAGE,)
    assert outcome.adjustment.version == outcome.version
    assert outcome.adjustment.totals["USD"].difference == Costs()
    assert ledger.allocate(DAYS[0], by_policy=version_of(BY_TEAM)).adjustment is None


def test_the_policy_that_was_asked_for_decides_and_not_the_one_that_is_in_force_by_then() -> None:
    ledger = closed()
    ledger.policy.defined_rules = BY_SQUAD
    ledger.policy.defined_rules = Rules.of([by_evidence("team", ("crew",))])

    adjustment = ledger.allocate(DAYS[0], by_policy=version_of(BY_SQUAD)).adjustment

    assert ledger.days.current[DAYS[0]].made_from["rules"] == BY_SQUAD.fingerprint()
    assert adjustment is not None
    assert (adjustment.policies_before, adjustment.policies_after) == ((version_of(BY_TEAM),), (version_of(BY_SQUAD),))


def test_a_policy_that_is_not_kept_is_refused() -> None:
    ledger = closed()

    with pytest.raises(
        InputRejected, match=r"version 0000 of the policy is not kept: run `bedrock-costs replay days --closed`"
    ):
        ledger.allocate(DAYS[0], by_policy="0000")


def test_a_late_delivery_is_allocated_by_the_rules_that_the_month_was_closed_with() -> None:
    ledger = used()
    ledger.policy.defined_rules = BY_SQUAD
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))

    adjustment = ledger.allocate(DAYS[0]).adjustment

    assert ledger.days.current[DAYS[0]].made_from["rules"] == BY_TEAM.fingerprint()
    assert adjustment is not None
    assert (adjustment.policies_before, adjustment.policies_after) == ((version_of(BY_TEAM),),) * 2
    assert adjustment.causes == (Cause.BILL, Cause.USAGE)
    assert sum_costs(adjustment.by_owner["team"].values()) == Costs.uniform(Decimal("-12.40"))


def test_a_late_delivery_of_days_whose_rules_are_not_kept_goes_by_those_in_force_and_says_so() -> None:
    ledger = closed()
    ledger.policy.defined_rules = BY_SQUAD
    ledger.policy.forget(BY_TEAM)
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), REFUNDED))

    adjustment = ledger.allocate(DAYS[0]).adjustment

    assert adjustment is not None
    assert adjustment.causes == (Cause.BILL, Cause.RULES)
    assert (adjustment.policies_before, adjustment.policies_after) == ((), (version_of(BY_SQUAD),))


def test_a_day_that_was_asked_for_while_its_delivery_waits_keeps_the_rules_that_were_asked_for() -> None:
    ledger = closed()
    ledger.policy.defined_rules = BY_SQUAD
    late = {**REFUNDED, DAYS[1]: REFUNDED[DAYS[0]]}
    late[DAYS[1]] = [replace(charge, usage_date=DAYS[1]) for charge in late[DAYS[1]]]
    ledger.ingest(ledger.write_charges(1, OVER + timedelta(days=30), late))

    ledger.allocate(DAYS[0], by_policy=version_of(BY_SQUAD))
    ledger.allocate(DAYS[0])
    adjustment = ledger.allocate(DAYS[1]).adjustment

    rules = {day: ledger.days.current[day].made_from["rules"] for day in DAYS[:2]}
    assert rules == {DAYS[0]: BY_SQUAD.fingerprint(), DAYS[1]: BY_TEAM.fingerprint()}
    assert adjustment is not None
    assert adjustment.policies_after == tuple(sorted((version_of(BY_SQUAD), version_of(BY_TEAM))))


def test_a_day_that_is_open_goes_by_the_policy_in_force_whatever_was_asked_for() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=1), bill(("Usage", "3.30"), is_final=False)))
    ledger.policy.defined_rules = BY_SQUAD

    outcome = ledger.allocate(DAYS[0], by_policy=version_of(BY_TEAM))

    assert ledger.days.current[DAYS[0]].made_from["rules"] == BY_SQUAD.fingerprint()
    assert outcome.adjustment is None


def backfilled() -> Ledger:
    """A month whose first bill came long after it was closed, and usage of it after that."""
    ledger = Ledger()
    ledger.clock.now = ledger.now = OVER + timedelta(days=60)
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=20), USAGE))
    ledger.use(DAYS[0], "search", 400)
    return ledger


def test_usage_of_a_backfill_counts_for_two_weeks_and_adjusts_nothing() -> None:
    ledger = backfilled()
    ledger.now += timedelta(days=14)

    outcome = ledger.allocate(DAYS[0])

    assert (outcome.flipped, outcome.adjustment) == ((DAYS[0],), None)


def test_usage_of_a_backfill_that_comes_later_moves_no_owners() -> None:
    ledger = backfilled()
    ledger.now += timedelta(days=14, seconds=1)

    assert ledger.allocate(DAYS[0]).is_kept


def test_other_rules_move_no_owners_of_a_backfill_unless_they_are_asked_for() -> None:
    ledger = backfilled()
    ledger.policy.defined_rules = BY_SQUAD

    ledger.allocate(DAYS[0])
    assert ledger.days.current[DAYS[0]].made_from["rules"] == BY_TEAM.fingerprint()
    assert ledger.days.adjustments == []

    assert ledger.allocate(DAYS[0], by_policy=version_of(BY_SQUAD)).adjustment is not None


CATEGORIES = ("team", "product")
of_days = st.sampled_from(DAYS)
rule_sets = st.sampled_from([BY_TEAM, BY_SQUAD, Rules.of([by_evidence("team", ("team", "squad"))])])
events = st.lists(
    st.one_of(
        st.tuples(of_days, st.sampled_from(["search", "chat"]), st.integers(1, 900)),
        rule_sets,
        st.just("again"),
        st.tuples(*[bills] * len(DAYS)).map(list),
    ),
    max_size=5,
)


def owners(ledger: Ledger) -> dict[tuple[str, str, str], Costs]:
    """What each owner has of the month, by cost category, owner and currency, where the category is defined."""
    found: dict[tuple[str, str, str], Costs] = {}
    for pointer in ledger.days.current.values():
        for category in CATEGORIES:
            sums = ledger.days.versions[pointer.usage_date, pointer.version].sums.get(category, {})
            for (owner, currency), of_owner in sums.items():
                key = (category, owner, currency)
                found[key] = found.get(key, Costs()) + of_owner.costs
    return {key: costs for key, costs in found.items() if not costs.is_zero()}


def adjusted_owners(ledger: Ledger, at_closing: Mapping[tuple[str, str, str], Costs]) -> dict[tuple[str, str, str], Costs]:
    """What each owner had when the month was closed, and what adjustments say they got and lost since."""
    found = dict(at_closing)
    for adjustment in ledger.days.adjustments:
        for category in CATEGORIES:
            for (owner, currency), costs in adjustment.by_owner.get(category, {}).items():
                key = (category, owner, currency)
                found[key] = found.get(key, Costs()) + costs
    return {key: costs for key, costs in found.items() if key[1] != NOT_DEFINED and not costs.is_zero()}


@given(bills.filter(bool), events, crashes)
def test_owners_at_closing_and_all_adjustments_are_the_owners_of_now_at_every_moment(
    first: Sequence[OriginCharge], happens: list[object], crash_points: list[int | None]
) -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=5), dated([first] * len(DAYS), is_final=True)))
    at_closing = owners(ledger)
    for number, event in enumerate(happens, 1):
        messages: list[Message] = list(DAYS)
        if isinstance(event, tuple):
            ledger.use(*event)
        elif isinstance(event, Rules):
            ledger.policy.defined_rules = event
        elif isinstance(event, list):
            delivered = dated(event, is_final=True)
            messages = [ledger.write_charges(number, OVER + timedelta(days=20 + number), delivered)]
        else:
            messages = [Again(day, version_of(ledger.policy.defined_rules)) for day in DAYS]
        before = owners(ledger)
        while messages:
            ledger.crashes.after_points = crash_points.pop() if crash_points else None
            if not ledger.attempt(messages[0]):
                messages.append(messages[0])
            messages = [*messages[1:], *ledger.queue.days]
            ledger.queue.days.clear()
            assert owners(ledger) == adjusted_owners(ledger, at_closing)
        if isinstance(event, (tuple, Rules)):
            assert owners(ledger) == before


def test_the_delivery_that_brings_the_invoice_ids_closes_the_month_and_adjusts_nothing() -> None:
    ledger = Ledger()
    ledger.settle(
        ledger.write_charges(0, OVER + timedelta(days=1), bill(("Usage", "3.30"), is_final=False)),
        ledger.write_charges(1, OVER + timedelta(days=5), REFUNDED),
    )

    assert ledger.days.current[DAYS[0]].basis is Basis.FINAL
    assert ledger.days.adjustments == []


def test_the_first_bill_of_a_day_is_no_adjustment_however_late_it_comes() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    ledger.drain([])
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=60), REFUNDED))

    assert {p.basis for p in ledger.days.current.values()} == {Basis.FINAL}
    assert ledger.days.adjustments == []


def test_a_closed_day_that_is_billed_by_itself_is_adjusted_too() -> None:
    """Its delivery came when a higher `BillingLagHours` left the day out; more usage has it allocated from that delivery."""
    ledger = Ledger()
    last = date(2026, 11, 30)
    bills: list[Bills] = [{last: [replace(c, usage_date=last) for c in of[DAYS[0]]]} for of in (USAGE, REFUNDED)]
    ledger.settle(ledger.write_charges(0, OVER + timedelta(days=2), bills[0]))
    ledger.billing_lag = timedelta(days=7)
    ledger.settle(ledger.write_charges(1, OVER + timedelta(days=5), bills[1]))
    assert ledger.days.adjustments == []

    ledger.use(last, "search", 400)
    ledger.drain([])

    (adjustment,) = ledger.days.adjustments
    assert set(adjustment.days) == {last}
    assert adjustment.totals["USD"].difference == Costs.uniform(Decimal("-12.40"))
