"""Versions of ledger days, named by what they were made from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import CostCategory, allocate_day, totals_by_currency
from attribution.charges import Basis, OriginCharge, sum_costs
from attribution.days import (
    DIMENSIONS,
    UNALLOCATED,
    DayVersion,
    Sum,
    make_day_version,
    rules_fingerprint,
    summarize,
    usage_fingerprint,
)
from attribution.meters import TokenKind
from attribution.money import total
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import DAY, TEAM, USAGE_KEY, origin_charge, usage
from tests.unit.attribution.strategies import charge_lists, usage_lists

FEATURE = CostCategory("feature-owner", ("feature",))


@given(charge_lists, usage_lists)
def test_every_dimension_sums_to_the_day(charges: list[OriginCharge], used: list[Usage]) -> None:
    allocated = allocate_day(charges, used, [TEAM, FEATURE])

    sums = summarize(allocated, ["team", "feature-owner"])

    assert set(sums) == {*DIMENSIONS, "team", "feature-owner"}
    for by_value in sums.values():
        for currency, costs in totals_by_currency(allocated).items():
            assert sum_costs(s.costs for (_, c), s in by_value.items() if c == currency) == costs
        assert sum(s.requests for s in by_value.values()) == sum(a.requests for a in allocated)
        for kind in TokenKind:
            units = total(a.units for a in allocated if a.units is not None and a.meter.token_kind is kind)
            assert total(s.units.get(kind.value, Decimal(0)) for s in by_value.values()) == units


def test_what_nobody_owns_is_summed_under_its_own_name() -> None:
    allocated = allocate_day([origin_charge()], [usage({TokenKind.INPUT: 600}, session_tags=(("team", "search"),))], [TEAM])

    sums = summarize(allocated, ["team"])["team"]

    assert {key: s.costs.billed_cost for key, s in sums.items()} == {
        (UNALLOCATED, "USD"): Decimal("1.32"),
        ("search", "USD"): Decimal("1.98"),
    }


def test_a_sum_without_units_says_nothing_of_units() -> None:
    (share,) = allocate_day([origin_charge(units=None)], [], [TEAM])

    assert Sum.of(share) == Sum(share.costs, {}, 0)


@given(usage_lists, st.randoms(use_true_random=False))
def test_the_fingerprint_of_usage_does_not_depend_on_its_order(used: list[Usage], random: object) -> None:
    expected = usage_fingerprint(used)

    random.shuffle(used)  # type: ignore[attr-defined]

    assert usage_fingerprint(used) == expected


@given(usage_lists)
def test_counters_that_returned_to_zero_leave_no_trace_in_the_fingerprint(used: list[Usage]) -> None:
    gone = Usage(
        replace(USAGE_KEY, region="eu-west-1"),
        Counters(units={TokenKind.INPUT: 0}, estimated={TokenKind.INPUT: Decimal("0.00")}),
    )
    padded = [
        replace(u, counters=u.counters + Counters(units={TokenKind.IMAGE: 0}, unpriced={TokenKind.IMAGE: 0})) for u in used
    ]

    assert usage_fingerprint([*padded, gone]) == usage_fingerprint(used)


ONE = usage({TokenKind.INPUT: 1})


@pytest.mark.parametrize(
    "change",
    [
        Counters(requests=1),
        Counters(errors=1),
        Counters(unmeasured=1),
        Counters(observed_only=1),
        Counters(provisional=1),
        Counters(units={TokenKind.INPUT: 1}),
        Counters(units={TokenKind.OUTPUT: 1}),
        Counters(estimated={TokenKind.INPUT: Decimal("1E-18")}),
        Counters(unpriced={TokenKind.INPUT: 1}),
    ],
)
def test_any_change_of_a_counter_changes_the_fingerprint(change: Counters) -> None:
    assert usage_fingerprint([replace(ONE, counters=ONE.counters + change)]) != usage_fingerprint([ONE])
    assert usage_fingerprint([replace(ONE, key=replace(ONE.key, region="eu-west-1"))]) != usage_fingerprint([ONE])


@pytest.mark.parametrize(
    "changed",
    [
        replace(TEAM, name="tenant"),
        replace(TEAM, keys=("team", "squad")),
        replace(TEAM, accounts=(("111122223333", "platform"),)),
        replace(TEAM, evidence_order=TEAM.evidence_order[::-1]),
    ],
)
def test_any_change_of_a_rule_changes_the_fingerprint_of_the_rules(changed: CostCategory) -> None:
    assert rules_fingerprint([changed]) != rules_fingerprint([TEAM])


def version(**changed: object) -> DayVersion:
    values = {"day": DAY, "basis": Basis.BILLED, "categories": [TEAM], "origin": "o", "usage": "u"} | changed
    return make_day_version(
        values["day"],  # type: ignore[arg-type]
        values["basis"],  # type: ignore[arg-type]
        allocate_day([origin_charge()], [], [TEAM]),
        values["categories"],  # type: ignore[arg-type]
        origin=values["origin"],  # type: ignore[arg-type]
        usage=values["usage"],  # type: ignore[arg-type]
    )


def test_a_version_made_of_the_same_has_the_same_name() -> None:
    assert version() == version()
    assert version().totals == {"USD": origin_charge().costs}


@pytest.mark.parametrize(
    "changed",
    [
        {"day": DAY + timedelta(days=1)},
        {"basis": Basis.FINAL},
        {"categories": [TEAM, FEATURE]},
        {"origin": "other"},
        {"usage": "other"},
    ],
)
def test_a_version_made_of_anything_else_has_another_name(changed: dict[str, object]) -> None:
    assert version(**changed).version != version().version
