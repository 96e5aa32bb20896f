"""Estimates that recent bills have calibrated: a day says what it was priced with, and changes with that alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from attribution.allocation import estimate_day
from attribution.calibration import Calibration, Pricing
from attribution.charges import Basis, Costs, PriceBasis
from attribution.meters import Meter, TokenKind
from attribution.money import total
from attribution.prices import Price, PriceList
from attribution.usage import Counters, Usage
from tests.fakes import FakePrices
from tests.unit.attribution.examples import BY_TEAM, DAY, NOON, PROFILE, SONNET, USAGE_KEY
from tests.unit.attribution.flows.ledger import Content, Ledger

METER = Meter(SONNET, TokenKind.INPUT)
BASE = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
LIST_PRICE = Price(METER, "us-east-1", Decimal("3.30"), 1_000_000, DAY - timedelta(days=90), "AWS Price List")
NINE_TENTHS = replace(Costs.uniform(Decimal("0.9")), list_cost=Decimal(1))
CALIBRATION = Calibration(METER, "us-east-1", NINE_TENTHS, 5, DAY, DAY, Decimal(10**6), Decimal("3.30"))


def ledger(*calibrations: Calibration) -> Ledger:
    """A ledger with a day of 1,000 tokens at list price, and these calibrations."""
    made = Ledger()
    made.prices = FakePrices(LIST_PRICE)
    made.use(DAY, "search", 1000)
    calibrate(made, *calibrations)
    return made


def calibrate(made: Ledger, *calibrations: Calibration) -> None:
    made.prices.calibrations = {(c.meter, c.region): c for c in calibrations}


def test_an_estimate_is_what_the_bill_will_be_and_keeps_its_list_cost() -> None:
    made = ledger(CALIBRATION)

    made.allocate(DAY)

    totals = made.days.current[DAY].totals["USD"]
    assert totals == replace(Costs.uniform(Decimal("0.00297")), list_cost=Decimal("0.0033"))


def test_a_day_has_its_cost_by_what_it_was_priced_with() -> None:
    made = ledger(CALIBRATION)

    made.allocate(DAY)

    (summed,) = made.days.sums([made.days.current[DAY]], "price_basis")[DAY].items()
    assert summed[0] == (PriceBasis.CALIBRATED.value, "USD")
    assert summed[1].costs.net_effective_cost == Decimal("0.00297")


def test_a_factor_that_changes_makes_another_version_and_one_that_is_confirmed_does_not() -> None:
    made = ledger(CALIBRATION)
    first = made.allocate(DAY).version

    calibrate(made, replace(CALIBRATION, days=6, units=Decimal(2 * 10**6)))
    confirmed = made.allocate(DAY)
    calibrate(made, replace(CALIBRATION, factors=replace(NINE_TENTHS, billed_cost=Decimal("0.8"))))
    changed = made.allocate(DAY)

    assert (confirmed.version, confirmed.flipped) == (first, ())
    assert changed.version != first
    assert made.days.current[DAY].totals["USD"].billed_cost == Decimal("0.00264")


def test_a_factor_of_something_else_changes_nothing() -> None:
    made = ledger()
    first = made.allocate(DAY).version

    calibrate(
        made,
        replace(CALIBRATION, region="eu-west-1"),
        replace(CALIBRATION, meter=Meter(SONNET, TokenKind.OUTPUT)),
        replace(CALIBRATION, not_used_because="billed on 2 days, and 3 are needed"),
    )

    assert made.allocate(DAY).version == first


def test_a_bill_is_not_calibrated() -> None:
    made = ledger(CALIBRATION)
    made.settle(made.write_delivery(1, Content((1, 1, 1))))
    version = made.days.current[DAY].version

    calibrate(made)

    assert made.allocate(DAY).version == version
    assert made.days.current[DAY].basis is not Basis.ESTIMATED
    assert "pricing" not in made.days.current[DAY].made_from


def test_units_without_a_price_stay_unpriced_beside_calibrated_ones() -> None:
    counters = Counters(
        requests=2,
        units={TokenKind.INPUT: 1000, TokenKind.OUTPUT: 10},
        estimated={TokenKind.INPUT: Decimal("0.0033")},
        unpriced={TokenKind.OUTPUT: 10},
    )
    pricing = Pricing(PriceList([LIST_PRICE]), {(METER, "us-east-1"): CALIBRATION})

    estimated = estimate_day([Usage(USAGE_KEY, counters)], BY_TEAM, pricing=pricing)

    assert {c.meter.token_kind: (c.price_basis, c.feature) for c in estimated} == {
        TokenKind.INPUT: (PriceBasis.CALIBRATED, "inference"),
        TokenKind.OUTPUT: (PriceBasis.UNPRICED, "unpriced"),
    }
    assert total(c.costs.list_cost for c in estimated) == Decimal("0.0033")


def test_an_estimate_is_allocated_by_the_tags_of_the_profile_that_was_called() -> None:
    made = ledger()
    made.counters.counted[USAGE_KEY._replace(usage_date=DAY, inference_profile=PROFILE)] = Counters(
        requests=1, units={TokenKind.INPUT: 500}, estimated={TokenKind.INPUT: Decimal("0.00165")}
    )
    untagged = made.allocate(DAY).version

    made.directory.tag(PROFILE, NOON, Team="checkout", color="red")
    tagged = made.allocate(DAY).version
    again = made.allocate(DAY)

    sums = made.days.sums([made.days.current[DAY]], "team")[DAY]
    assert {team: s.costs.billed_cost for (team, _), s in sums.items()} == {
        "checkout": Decimal("0.00165"),
        "search": Decimal("0.0033"),
    }
    assert untagged != tagged
    assert again.flipped == ()
