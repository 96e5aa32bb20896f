"""Explanation: every charge of a day is made anew from its inputs, and the arithmetic ends at what is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given

from attribution.allocation import allocate_day, estimate_day
from attribution.calibration import NO_PRICING, Calibration, Pricing
from attribution.charges import COST_METRICS, Costs, OriginCharge, PriceBasis
from attribution.errors import ConservationViolated
from attribution.explanation import BilledDay, EstimatedDay, Explanation, Step, largest
from attribution.meters import Meter, TokenKind
from attribution.money import QUANTUM, total
from attribution.prices import Price, PriceList
from attribution.rules import Rules
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import BY_TEAM, DAY, SONNET, USAGE_KEY, origin_charge, usage
from tests.unit.attribution.rule_sets import rule_sets
from tests.unit.attribution.strategies import charge_lists, usage_lists

INPUT = TokenKind.INPUT


@given(charge_lists, usage_lists, rule_sets())
def test_the_arithmetic_of_every_charge_ends_at_its_amount_in_every_metric(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    day = BilledDay(charges, used, rules)

    for charge in allocate_day(charges, used, rules):
        explanation = day.explain(charge)
        assert explanation.is_verified and explanation.origin
        for metric in COST_METRICS:
            amounts = [getattr(explanation.origin.costs, metric)]
            for step in explanation.steps(metric):
                assert step.amount == amounts[-1]
                amounts.append(step.result)
            assert amounts[-1] == getattr(charge.costs, metric)


@given(charge_lists, usage_lists, rule_sets())
def test_the_weights_of_all_shares_of_a_row_are_the_whole_that_it_was_split_over(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    day = BilledDay(charges, used, rules)
    explanations = [day.explain(charge) for charge in allocate_day(charges, used, rules)]

    for origin in charges:
        split = [e for e in explanations if e.charge.origin == origin.digest() and e.bucket]
        weights = {share.charge.digest() + str(share.usage): share.weight for e in split for share in e.shares}
        for bucket in (e.bucket for e in split if e.bucket):
            assert total(weight for weight in weights.values() if weight is not None) == bucket.whole


@given(charge_lists, usage_lists, rule_sets())
def test_each_share_of_a_split_is_within_a_quantum_of_its_weight(
    charges: list[OriginCharge], used: list[Usage], rules: Rules
) -> None:
    day = BilledDay(charges, used, rules)

    for charge in allocate_day(charges, used, rules):
        explanation = day.explain(charge)
        for step in explanation.steps("billed_cost"):
            exact = Fraction(step.amount) * Fraction(step.weight) / Fraction(step.whole)
            assert abs(Fraction(step.result) - exact) <= Fraction(QUANTUM) * max(len(explanation.shares), 1)


@given(usage_lists, rule_sets())
def test_every_estimated_charge_is_made_anew(used: list[Usage], rules: Rules) -> None:
    day = EstimatedDay(used, rules, pricing=NO_PRICING)

    for charge in estimate_day(used, rules):
        explanation = day.explain(charge)
        assert explanation.estimate is not None
        steps = explanation.steps("list_cost")
        assert (steps[0].amount if steps else charge.costs.list_cost) == explanation.estimate.recorded
        assert (steps[-1].result if steps else explanation.estimate.recorded) == charge.costs.list_cost


SEARCH = usage({INPUT: 600}, requests=3, request_metadata=(("team", "search"),))
SUPPORT = usage({INPUT: 200}, request_metadata=(("team", "support"),))


def explained(team: str) -> Explanation:
    charges = [origin_charge()]
    (charge,) = (a for a in allocate_day(charges, [SEARCH, SUPPORT], BY_TEAM) if a.value_of("team") == team)
    return BilledDay(charges, [SEARCH, SUPPORT], BY_TEAM).explain(charge)


def test_a_split_charge_is_explained_by_its_usage_beside_all_that_the_row_was_split_over() -> None:
    explanation = explained("search")

    assert explanation.steps("billed_cost") == (Step(Decimal("3.30"), Decimal(600), Decimal(1000), Decimal("1.98")),)
    assert [share.usage for share in explanation.shares] == [SEARCH]
    assert explanation.bucket is not None
    assert (explanation.bucket.counters, explanation.bucket.uncounted) == (2, Decimal(200))


def test_what_nobody_was_counted_for_is_explained_as_such() -> None:
    explanation = explained("")

    assert [(share.usage, share.weight) for share in explanation.shares] == [(None, Decimal(200))]


def test_a_charge_without_usage_stays_whole() -> None:
    charges = [origin_charge(line_item_type="Tax")]
    (charge,) = allocate_day(charges, [SEARCH], BY_TEAM)

    explanation = BilledDay(charges, [SEARCH], BY_TEAM).explain(charge)

    assert (explanation.bucket, explanation.steps("billed_cost"), explanation.is_verified) == (None, (), True)


def test_a_stored_charge_that_its_inputs_do_not_give_is_refused() -> None:
    charges = [origin_charge()]
    charge = allocate_day(charges, [SEARCH], BY_TEAM)[0]
    day = BilledDay(charges, [SEARCH], BY_TEAM)

    with pytest.raises(ConservationViolated, match="made anew from the same inputs, it costs"):
        day.explain(replace(charge, costs=charge.costs + Costs(billed_cost=Decimal("1E-18"))))
    with pytest.raises(ConservationViolated, match="there is none like it"):
        day.explain(replace(charge, region="eu-west-1"))


def test_an_estimate_names_its_price_and_the_factor_that_the_bill_taught() -> None:
    meter = Meter(SONNET, INPUT)
    price = Price(meter, "us-east-1", Decimal(3), 10**6, date(2026, 1, 1), "price list")
    factors = Costs(Decimal(1), *[Decimal("0.9")] * 4)
    calibration = Calibration(meter, "us-east-1", factors, 7, date(2026, 10, 20), date(2026, 10, 26), Decimal(1), Decimal(1))
    pricing = Pricing(PriceList([price]), {(meter, "us-east-1"): calibration})
    counted = Usage(USAGE_KEY, Counters(requests=1, units={INPUT: 1000}, estimated={INPUT: Decimal("0.003")}))
    (charge,) = estimate_day([counted], BY_TEAM, pricing=pricing)

    estimate = EstimatedDay([counted], BY_TEAM, pricing=pricing).explain(charge).estimate

    assert charge.price_basis is PriceBasis.CALIBRATED and charge.usage_date == DAY
    assert estimate is not None
    assert (estimate.price, estimate.calibration, estimate.recorded) == (price, calibration, Decimal("0.003"))


def test_units_without_price_are_said_to_have_none() -> None:
    (charge,) = estimate_day([SEARCH], BY_TEAM)

    estimate = EstimatedDay([SEARCH], BY_TEAM, pricing=NO_PRICING).explain(charge).estimate

    assert estimate is not None
    assert (estimate.price, estimate.unpriced) == (None, 600)


def test_the_largest_charges_come_first_whatever_their_sign() -> None:
    credit = origin_charge(line_item_type="Credit", costs=Costs.uniform(Decimal(-5)))
    charges = allocate_day([origin_charge(), credit], [], BY_TEAM)

    assert [c.line_item_type for c in largest(charges, "billed_cost")] == ["Credit", "Usage"]
