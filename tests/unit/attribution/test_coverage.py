"""Coverage: every cent of a day is in one gap, and every gap has its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import allocate_day, estimate_day
from attribution.charges import Basis, Costs, OriginCharge, sum_costs
from attribution.cost_categories import by_evidence
from attribution.coverage import (
    Counted,
    Coverage,
    Gap,
    Measure,
    Part,
    Place,
    add_up,
    capture_rate,
    cover,
    unallocated_by_gap,
    verify_coverage,
)
from attribution.days import make_day_version
from attribution.errors import ConservationViolated
from attribution.meters import Meter, Tier, TokenKind
from attribution.rules import Rules
from attribution.usage import Counters, Invocation, Usage, contribution
from tests.unit.attribution.examples import (
    BY_TEAM,
    DAY,
    ROLE,
    SONNET,
    TEAM,
    USAGE_KEY,
    invocation,
    metered,
    observed,
    origin_charge,
    usage,
)
from tests.unit.attribution.rule_sets import rule_sets
from tests.unit.attribution.strategies import charge_lists, usage_lists

RULES = Rules.of([TEAM, by_evidence("feature", ("feature",))])
INPUT = TokenKind.INPUT


def gaps_of(charges: Sequence[OriginCharge], used: Sequence[Usage], **changes: Any) -> dict[Gap, Decimal]:
    """What a billed day costs by gap."""
    covered = cover(allocate_day(charges, used, BY_TEAM), Counted.of(used), **changes)
    (whole,) = add_up(((p, c) for p, c in covered.items() if c.parts), lambda place: (place.currency,)).values()
    return {gap: part.costs.billed_cost for gap, part in whole.parts.items()}


@given(charge_lists, usage_lists, rule_sets())
def test_allocated_and_unallocated_of_all_gaps_sum_to_the_bill_in_every_metric_and_currency(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    covered = cover(allocate_day(charges, used, rules), Counted.of(used))

    for currency in {c.currency for c in charges}:
        billed = sum_costs(c.costs for c in charges if c.currency == currency)
        parts = [part for place, c in covered.items() if place.currency == currency for part in c.parts.values()]
        for category in rules.categories:
            allocated = [part.allocated(category.name) for part in parts]
            unallocated = [part.unallocated[category.name] for part in parts if category.name in part.unallocated]
            assert sum_costs([*allocated, *unallocated]) == billed


@given(charge_lists, usage_lists)
def test_what_coverage_calls_unallocated_is_what_the_sums_of_the_day_call_so(
    charges: list[OriginCharge], used: list[Usage]
) -> None:
    allocated = allocate_day(charges, used, RULES)
    day = make_day_version(DAY, Basis.BILLED, allocated, RULES, origin="o", usage="u", counted=Counted.of(used))

    for category in RULES.categories:
        for (currency,), whole in add_up(day.coverage.items(), lambda place: (place.currency,)).items():
            summed = day.sums[category.name].get(("(unallocated)", currency))
            assert whole.unallocated(category.name) == (summed.costs if summed else Costs())


@given(charge_lists, usage_lists, st.randoms(use_true_random=False))
def test_coverage_does_not_depend_on_the_order_of_its_inputs(
    charges: list[OriginCharge], used: list[Usage], random: Any
) -> None:
    allocated = allocate_day(charges, used, RULES)
    expected = list(cover(allocated, Counted.of(used)).items())

    random.shuffle(allocated)
    random.shuffle(used)

    assert list(cover(allocated, Counted.of(used)).items()) == expected


@given(charge_lists, usage_lists)
def test_every_counted_token_and_call_is_in_one_place(charges: list[OriginCharge], used: list[Usage]) -> None:
    measures = [c.measure for c in cover(allocate_day(charges, used, RULES), Counted.of(used)).values()]

    assert sum(m.counted for m in measures) == sum(n for u in used for n in u.counters.units.values())
    assert sum(m.requests for m in measures) == sum(u.counters.requests for u in used)


def test_a_day_whose_coverage_lacks_money_is_not_published() -> None:
    covered = cover(allocate_day([origin_charge()], [], BY_TEAM), Counted.of([]))

    with pytest.raises(ConservationViolated, match="is not published"):
        verify_coverage(covered, {"USD": Costs.uniform(Decimal("3.31"))})


OF_SEARCH = usage({INPUT: 600}, request_metadata=(("team", "search"),))
OF_NOBODY = usage({INPUT: 600})
OUTPUT_ELSEWHERE = usage({TokenKind.OUTPUT: 5}, model="amazon.nova-pro")


def test_what_was_measured_and_has_an_owner_is_no_gap_and_what_the_bill_counts_beyond_it_is_logging_incomplete() -> None:
    assert gaps_of([origin_charge()], [OF_SEARCH]) == {
        Gap.NONE: Decimal("1.98"),
        Gap.LOGGING_INCOMPLETE: Decimal("1.32"),
    }


def test_what_was_measured_and_names_nobody_lacks_evidence() -> None:
    assert gaps_of([origin_charge(units=Decimal(600))], [OF_NOBODY]) == {Gap.NO_EVIDENCE: Decimal("3.30")}


def test_in_a_bill_without_principals_measured_usage_without_owner_lacks_principal_data() -> None:
    charge = origin_charge(units=Decimal(600))

    assert gaps_of([charge], [OF_NOBODY], names_principals=False) == {Gap.NO_PRINCIPALS: Decimal("3.30")}


def test_usage_of_an_account_and_region_without_any_logged_request_is_logging_off() -> None:
    assert gaps_of([origin_charge()], [replace(OF_SEARCH, key=USAGE_KEY._replace(region="eu-west-1"))]) == {
        Gap.LOGGING_OFF: Decimal("3.30")
    }


def test_one_logged_request_of_another_model_shows_that_logging_is_on() -> None:
    assert gaps_of([origin_charge()], [OUTPUT_ELSEWHERE]) == {Gap.LOGGING_INCOMPLETE: Decimal("3.30")}


def of(invocation: Invocation) -> Usage:
    counted = contribution(invocation)
    assert counted is not None
    return counted


def test_calls_that_cloudtrail_saw_do_not_show_that_logging_is_on() -> None:
    seen = of(invocation(observed=observed()))

    assert seen.counters.observed_only == 1
    assert gaps_of([origin_charge()], [seen]) == {Gap.LOGGING_OFF: Decimal("3.30")}


def test_calls_of_a_kind_that_no_log_covers_are_the_gap_of_their_model() -> None:
    uncovered = of(invocation(observed=observed(is_uncovered=True)))

    assert uncovered.counters.unlogged == 1
    assert gaps_of([origin_charge()], [uncovered]) == {Gap.CALLS_NOT_MEASURED: Decimal("3.30")}


def test_a_logged_request_counts_as_logged_whether_or_not_cloudtrail_saw_it() -> None:
    assert of(invocation(metered=metered(), observed=observed())).counters.unlogged == 0


def test_what_no_log_could_measure_is_named_by_what_it_is() -> None:
    hours = Meter(SONNET, TokenKind.MODEL_UNIT_HOUR, Tier.PROVISIONED)
    cases: dict[Gap, dict[str, Any]] = {
        Gap.BATCH: {"meter": Meter(SONNET, INPUT, Tier.BATCH)},
        Gap.MANTLE: {"usage_type": "USE1-openai.gpt-oss-20b-mantle-input-tokens-standard"},
        Gap.PROVISIONED: {"meter": hours, "feature": "provisioned throughput"},
        Gap.RESERVED: {"meter": Meter(SONNET, TokenKind.INPUT_TPM_HOUR, Tier.RESERVED), "feature": "reserved tier"},
        Gap.MEDIA: {"meter": Meter("amazon.nova-canvas", TokenKind.IMAGE), "feature": "image"},
        Gap.OTHER_UNITS: {"meter": Meter("", TokenKind.GUARDRAIL_UNIT), "feature": "guardrails"},
        Gap.UNCLASSIFIED: {"meter": Meter("", TokenKind.OTHER), "feature": "unclassified"},
        Gap.TAX: {"line_item_type": "Tax"},
        Gap.CREDIT: {"line_item_type": "Credit"},
        Gap.REFUND: {"line_item_type": "Refund"},
        Gap.DISCOUNT: {"line_item_type": "EdpDiscount"},
        Gap.FEE: {"line_item_type": "RIFee"},
        Gap.OTHER_RECORDS: {"line_item_type": "SomethingNew"},
    }

    found = {gap: gaps_of([origin_charge(**changes)], []) for gap, changes in cases.items()}

    assert found == {gap: {gap: Decimal("3.30")} for gap in cases}


def test_what_is_not_measured_keeps_the_name_of_its_gap_though_the_bill_names_an_owner() -> None:
    tagged = origin_charge(tags=(("iamPrincipal/team", "search"),), iam_principal=ROLE)

    (coverage,) = cover(allocate_day([tagged], [], BY_TEAM), Counted.of([])).values()

    assert coverage.parts == {Gap.LOGGING_OFF: Part(tagged.costs)}
    assert (coverage.allocated("team"), coverage.unallocated("team")) == (tagged.costs, Costs())


def test_an_estimated_day_tells_units_without_price_and_calls_without_units() -> None:
    priced = of(invocation(metered=metered(request_metadata=(("team", "search"),))))
    unmeasured = of(invocation(observed=observed(is_uncovered=True)))
    waiting = of(invocation(observed=observed()))
    used = [priced, OUTPUT_ELSEWHERE, unmeasured, waiting]

    covered = cover(estimate_day(used, BY_TEAM), Counted.of(used))

    sonnet = Place("111122223333", "us-east-1", SONNET, "input", "USD")
    nova = Place("111122223333", "us-east-1", "amazon.nova-pro", "output", "USD")
    estimated = Measure(counted=Decimal(1000), estimated=Decimal("0.0033"))
    assert covered[sonnet] == Coverage({Gap.NONE: Part(Costs.uniform(Decimal("0.0033")))}, estimated)
    assert covered[nova].measure == Measure(counted=Decimal(5), unpriced=Decimal(5))
    assert list(covered[nova].parts) == [Gap.UNPRICED]
    assert covered[replace(sonnet, token_kind="")].measure == Measure(requests=2, unmeasured=1, observed_only=1)


def test_billed_and_counted_units_stand_side_by_side_with_what_the_counted_ones_were_estimated_at() -> None:
    counted = Usage(USAGE_KEY, Counters(requests=2, units={INPUT: 600}, estimated={INPUT: Decimal("1.80")}))

    covered = cover(allocate_day([origin_charge()], [counted], BY_TEAM), Counted.of([counted]))

    place = Place("111122223333", "us-east-1", SONNET, "input", "USD")
    assert covered[place].measure == Measure(billed=Decimal(1000), counted=Decimal(600), estimated=Decimal("1.80"))


def test_usage_that_no_row_bills_has_a_place_without_cost() -> None:
    covered = cover(allocate_day([origin_charge()], [OUTPUT_ELSEWHERE], BY_TEAM), Counted.of([OUTPUT_ELSEWHERE]))

    place = Place("111122223333", "us-east-1", "amazon.nova-pro", "output", "USD")
    assert covered[place] == Coverage({}, Measure(counted=Decimal(5), unpriced=Decimal(5)))


def test_tokens_of_bought_capacity_are_not_held_against_tokens_that_are_billed() -> None:
    used = [usage({INPUT: 600}, tier=Tier.PROVISIONED)]

    covered = cover(allocate_day([origin_charge()], used, BY_TEAM), Counted.of(used))

    assert covered[Place("111122223333", "us-east-1", SONNET, "input", "USD")].measure.counted == 0


def test_the_capture_rate_is_never_rounded_up_and_a_whole_of_nothing_has_none() -> None:
    def rate(whole: str, unallocated: str) -> Decimal | None:
        part = Part(Costs.uniform(Decimal(whole)), {"team": Costs.uniform(Decimal(unallocated))})
        return capture_rate(Coverage({Gap.NO_EVIDENCE: part}), "team")

    assert rate("3", "1") == Decimal("0.666666")
    assert rate("100", "0.00000001") == Decimal("0.999999")
    assert (rate("0", "0"), rate("-5", "0")) == (None, None)


def test_gaps_without_unallocated_cost_in_a_category_are_not_listed_for_it() -> None:
    covered = cover(allocate_day([origin_charge()], [OF_SEARCH], RULES), Counted.of([OF_SEARCH]))
    (whole,) = add_up(covered.items(), lambda place: (place.currency,)).values()

    assert unallocated_by_gap(whole, "team") == {Gap.LOGGING_INCOMPLETE: Decimal("1.32")}
    assert unallocated_by_gap(whole, "feature") == {
        Gap.LOGGING_INCOMPLETE: Decimal("1.32"),
        Gap.NO_EVIDENCE: Decimal("1.98"),
    }
