"""Versions of ledger days, named by what they were made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import allocate_day, totals_by_currency
from attribution.charges import AllocatedCharge, Basis, OriginCharge, SplitMethod, sum_costs
from attribution.conditions import And, MatchOption, Not, Or
from attribution.cost_categories import EvidenceRule, InheritedValueRule, RegularRule, SplitChargeRule, by_evidence
from attribution.days import (
    DIMENSIONS,
    UNALLOCATED,
    DayVersion,
    Sum,
    make_day_version,
    summarize,
    usage_fingerprint,
)
from attribution.expressions import Match, Source
from attribution.meters import TokenKind
from attribution.money import total
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import USAGE_RECORD_TYPES, SharedChargeRule, Within
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import BY_TEAM, DAY, TEAM, USAGE_KEY, origin_charge, usage
from tests.unit.attribution.strategies import charge_lists, usage_lists

FEATURE = by_evidence("feature-owner", ("feature",))


@given(charge_lists, usage_lists)
def test_a_value_sums_exactly_the_charges_that_have_it(charges: list[OriginCharge], used: list[Usage]) -> None:
    allocated = allocate_day(charges, used, Rules.of([TEAM, FEATURE]))
    value_of: dict[str, Callable[[AllocatedCharge], str]] = {
        **DIMENSIONS,
        "team": lambda c: c.value_of("team") or UNALLOCATED,
        "feature-owner": lambda c: c.value_of("feature-owner") or UNALLOCATED,
    }

    sums = summarize(allocated, ["team", "feature-owner"])

    for name, of in value_of.items():
        assert list(sums[name]) == sorted({(of(a), a.currency) for a in allocated})
        for (value, currency), day_sum in sums[name].items():
            found = [a for a in allocated if (of(a), a.currency) == (value, currency)]
            units = {k: total(a.units for a in found if a.units is not None and a.meter.token_kind == k) for k in day_sum.units}
            usage_cost = total(a.costs.net_billed_cost for a in found if a.line_item_type in USAGE_RECORD_TYPES)
            assert day_sum == Sum(sum_costs(a.costs for a in found), units, sum(a.requests for a in found), usage_cost)
            assert set(units) == {a.meter.token_kind for a in found if a.units is not None}


@given(charge_lists, usage_lists)
def test_every_dimension_sums_to_the_day(charges: list[OriginCharge], used: list[Usage]) -> None:
    allocated = allocate_day(charges, used, Rules.of([TEAM, FEATURE]))

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
    allocated = allocate_day([origin_charge()], [usage({TokenKind.INPUT: 600}, session_tags=(("team", "search"),))], BY_TEAM)

    sums = summarize(allocated, ["team"])["team"]

    assert {key: s.costs.billed_cost for key, s in sums.items()} == {
        (UNALLOCATED, "USD"): Decimal("1.32"),
        ("search", "USD"): Decimal("1.98"),
    }


def test_a_sum_without_units_says_nothing_of_units() -> None:
    (share,) = allocate_day([origin_charge(units=None)], [], BY_TEAM)

    assert summarize([share], [])["region"] == {(share.region, "USD"): Sum(share.costs, {}, 0, share.costs.net_billed_cost)}


@given(usage_lists, st.randoms(use_true_random=False))
def test_the_fingerprint_of_usage_does_not_depend_on_its_order(used: list[Usage], random: object) -> None:
    expected = usage_fingerprint(used)

    random.shuffle(used)  # type: ignore[attr-defined]

    assert usage_fingerprint(used) == expected


@given(usage_lists)
def test_counters_that_returned_to_zero_leave_no_trace_in_the_fingerprint(used: list[Usage]) -> None:
    gone = Usage(
        USAGE_KEY._replace(region="eu-west-1"),
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
        Counters(guardrail_units={"topicPolicyUnits": 1}),
        Counters(units={TokenKind.INPUT: 1}),
        Counters(units={TokenKind.OUTPUT: 1}),
        Counters(estimated={TokenKind.INPUT: Decimal("1E-18")}),
        Counters(unpriced={TokenKind.INPUT: 1}),
    ],
)
def test_any_change_of_a_counter_changes_the_fingerprint(change: Counters) -> None:
    assert usage_fingerprint([replace(ONE, counters=ONE.counters + change)]) != usage_fingerprint([ONE])
    assert usage_fingerprint([replace(ONE, key=ONE.key._replace(region="eu-west-1"))]) != usage_fingerprint([ONE])


LEAF = Match(Source.TAGS, "team", ("search",))
RICH = Rules.of(
    [
        replace(
            TEAM,
            rules=(
                EvidenceRule(("team",), (("111122223333", "platform"),), (("ci-*", "platform"),)),
                RegularRule("search", And((LEAF, Or((LEAF, Not(LEAF)))))),
                InheritedValueRule(Source.TAGS, "team"),
            ),
            default_value="other",
            split_charge_rules=(SplitChargeRule("platform", ("a", "b"), SplitMethod.FIXED, (Decimal(40), Decimal(60))),),
        )
    ],
    [SharedChargeRule("tax", LEAF, SplitMethod.EVEN)],
    account_names={"111122223333": "search-prod"},
)


def with_rule(number: int, **changes: object) -> Rules:
    (category,) = RICH.categories
    rules = list(category.rules)
    rules[number] = replace(rules[number], **changes)  # type: ignore[arg-type]
    return replace(RICH, categories=(replace(category, rules=tuple(rules)),))


def with_category(**changes: object) -> Rules:
    return replace(RICH, categories=(replace(RICH.categories[0], **changes),))  # type: ignore[arg-type]


def with_leaf(**changes: object) -> Rules:
    return with_rule(1, expression=And((replace(LEAF, **changes), Or((LEAF, Not(LEAF))))))  # type: ignore[arg-type]


def with_shared(**changes: object) -> Rules:
    return replace(RICH, shared_charges=(replace(RICH.shared_charges[0], **changes),))  # type: ignore[arg-type]


SPLIT = RICH.categories[0].split_charge_rules[0]


@pytest.mark.parametrize(
    "changed",
    [
        with_category(name="tenant"),
        with_category(rules=RICH.categories[0].rules[::-1]),
        with_category(default_value=""),
        with_category(effective_start=DAY),
        with_category(effective_end=DAY),
        with_category(split_charge_rules=()),
        with_category(split_charge_rules=(replace(SPLIT, source=""),)),
        with_category(split_charge_rules=(replace(SPLIT, targets=("b", "a")),)),
        with_category(split_charge_rules=(replace(SPLIT, method=SplitMethod.EVEN),)),
        with_category(split_charge_rules=(replace(SPLIT, percentages=(Decimal("40.1"), Decimal("59.9"))),)),
        with_rule(0, keys=("team", "squad")),
        with_rule(0, accounts=()),
        with_rule(0, session_names=(("ci-*", "search"),)),
        with_rule(0, order=("session_tag",)),
        with_rule(1, value="growth"),
        with_rule(1, expression=LEAF),
        with_rule(1, expression=Or((LEAF, Or((LEAF, Not(LEAF)))))),
        with_rule(2, key="Team"),
        with_rule(2, source=Source.SESSION_TAGS),
        with_leaf(source=Source.SESSION_TAGS),
        with_leaf(key="Team"),
        with_leaf(values=("search", "ads")),
        with_leaf(option=MatchOption.CONTAINS),
        with_leaf(ignores_case=True),
        with_shared(name="taxes"),
        with_shared(charges=Not(LEAF)),
        with_shared(method=None),
        with_shared(targets=("a",)),
        with_shared(percentages=(Decimal(100),)),
        with_shared(within=Within.ORGANIZATION),
        with_shared(categories=("team",)),
        replace(RICH, shared_charges=()),
        replace(RICH, incomplete_logging=IncompleteLogging.SPREAD),
        replace(RICH, account_names={"111122223333": "Search-Prod"}),
    ],
)
def test_any_change_of_a_rule_changes_the_fingerprint_of_the_rules(changed: Rules) -> None:
    assert changed.fingerprint() != RICH.fingerprint()


def version(**changed: object) -> DayVersion:
    values = {"day": DAY, "basis": Basis.BILLED, "rules": BY_TEAM, "origin": "o", "usage": "u"} | changed
    return make_day_version(
        values["day"],  # type: ignore[arg-type]
        values["basis"],  # type: ignore[arg-type]
        allocate_day([origin_charge()], [], BY_TEAM),
        values["rules"],  # type: ignore[arg-type]
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
        {"rules": Rules.of([TEAM, FEATURE])},
        {"origin": "other"},
        {"usage": "other"},
    ],
)
def test_a_version_made_of_anything_else_has_another_name(changed: dict[str, object]) -> None:
    assert version(**changed).version != version().version
