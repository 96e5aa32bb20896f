"""What a budget counts: filters over any dimensions, and exact sums by many of them in one pass."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.allocation import estimate_day
from attribution.charges import AllocatedCharge, CategoryValue, Costs
from attribution.conditions import And, MatchOption, Not, Or
from attribution.days import UNALLOCATED
from attribution.meters import Meter, TokenKind
from attribution.scopes import (
    CHARGE_DIMENSIONS,
    EVERYTHING,
    Filter,
    Match,
    Measure,
    Scope,
    describe,
    required_values,
    sum_drivers,
    sum_scopes,
    value_of,
)
from tests.unit.attribution.examples import BY_TEAM, usage
from tests.unit.attribution.strategies import decimals

(CHARGE,) = estimate_day([usage({TokenKind.INPUT: 10})], BY_TEAM)
teams = st.sampled_from(["search", "Search", "ads", ""])
models = st.sampled_from(["anthropic.claude-sonnet-4-6", "amazon.nova-pro", "a name on a bill"])


@st.composite
def charges(draw: st.DrawFn) -> AllocatedCharge:
    """A charge that differs in what filters test."""
    return replace(
        CHARGE,
        account_id=draw(st.sampled_from(["111122223333", "444455556666"])),
        categories=(CategoryValue("team", draw(teams)),),
        meter=Meter(draw(models), draw(st.sampled_from([TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.IMAGE]))),
        currency=draw(st.sampled_from(["USD", "EUR"])),
        units=draw(st.none() | st.integers(0, 10**6).map(Decimal)),
        requests=draw(st.integers(0, 3)),
        costs=Costs.uniform(draw(decimals(12, 9))),
    )


leaves = st.builds(
    Match,
    st.sampled_from(["team", "model", "account", "provider"]),
    st.lists(st.sampled_from(["search", "ads", "amazon", "amazon.nova-pro", "111122223333", "S"]), min_size=1, max_size=3).map(
        tuple
    ),
    st.sampled_from(MatchOption),
    st.booleans(),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda p: And(tuple(p)))
        | st.lists(inner, max_size=3).map(lambda p: Or(tuple(p)))
        | inner.map(Not)
    ),
    max_leaves=6,
)
measures = st.sampled_from(
    [Measure(), Measure("effective_cost", "EUR"), Measure("tokens", "tokens"), Measure("requests", "requests")]
)
scopes = st.builds(Scope, filters, measures)


@settings(max_examples=60)
@given(st.lists(charges(), max_size=12), st.lists(scopes, max_size=6))
def test_all_scopes_in_one_pass_are_the_sums_of_each_alone(found: list[AllocatedCharge], wanted: list[Scope]) -> None:
    sums = sum_scopes(found, wanted)

    for scope in wanted:
        exact = sum(
            (
                Fraction(*scope.measure.of(c).as_integer_ratio())
                for c in found
                if scope.filter.holds(lambda name, c=c: value_of(c, name))  # type: ignore[misc]
            ),
            Fraction(0),
        )
        assert Fraction(*sums[scope.digest].as_integer_ratio()) == exact


@settings(max_examples=40)
@given(st.lists(charges(), max_size=12), scopes)
def test_the_drivers_of_a_dimension_sum_to_what_the_scope_counts(found: list[AllocatedCharge], scope: Scope) -> None:
    drivers = sum_drivers(found, [scope], ["team", "model"])[scope.digest]

    for dimension in ("team", "model"):
        parts = sum(
            (Fraction(*amount.as_integer_ratio()) for (name, _), amount in drivers.items() if name == dimension), Fraction(0)
        )
        assert parts == Fraction(*sum_scopes(found, [scope])[scope.digest].as_integer_ratio())


@given(filters, charges())
def test_a_filter_and_its_negation_share_every_charge(condition: Filter, charge: AllocatedCharge) -> None:
    def value(name: str) -> str:
        return value_of(charge, name)

    assert condition.holds(value) is not Not(condition).holds(value)


def test_of_no_filters_all_hold_and_none_does() -> None:
    assert EVERYTHING.holds(str)
    assert not Or(()).holds(str)


@pytest.mark.parametrize(
    ("match", "value", "holds"),
    [
        (Match("team", ("search",)), "search", True),
        (Match("team", ("search",)), "Search", False),
        (Match("team", ("search",), MatchOption.EQUALS, True), "SEARCH", True),
        (Match("team", ("sea",), MatchOption.STARTS_WITH), "search", True),
        (Match("team", ("rch",), MatchOption.ENDS_WITH), "search", True),
        (Match("team", ("ear",), MatchOption.CONTAINS), "search", True),
        (Match("team", ("ear",), MatchOption.CONTAINS), "", False),
        (Match("team", ("locate",), MatchOption.CONTAINS), UNALLOCATED, False),
        (Match("team", ("(",), MatchOption.STARTS_WITH), UNALLOCATED, False),
        (Match("team", (UNALLOCATED,)), UNALLOCATED, True),
        (Match("team", (), MatchOption.ABSENT), "", True),
        (Match("team", (), MatchOption.ABSENT), UNALLOCATED, True),
        (Match("team", (), MatchOption.ABSENT), "search", False),
    ],
)
def test_a_value_is_compared_as_its_option_says(match: Match, value: str, holds: bool) -> None:
    assert match.holds({"team": value}.__getitem__) is holds


def test_equal_scopes_have_one_name_and_different_ones_do_not() -> None:
    search = Match("team", ("search",))
    different = [
        Scope(search),
        Scope(Match("team", ("search",), MatchOption.EQUALS, True)),
        Scope(Not(search)),
        Scope(And((search,))),
        Scope(search, Measure("effective_cost")),
        Scope(search, Measure("billed_cost", "EUR")),
        Scope(search, Measure("tokens", "tokens", (TokenKind.INPUT,))),
    ]

    assert len({scope.digest for scope in different}) == len(different)
    assert Scope(Match("team", ("search",))).digest == different[0].digest


def test_tokens_of_some_kinds_count_nothing_else() -> None:
    measure = Measure("tokens", "tokens", (TokenKind.INPUT,))

    assert measure.of(replace(CHARGE, units=Decimal(7))) == 7
    assert measure.of(replace(CHARGE, meter=Meter("m", TokenKind.OUTPUT), units=Decimal(7))) == 0
    assert measure.of(replace(CHARGE, units=None)) == 0


def test_a_provider_is_what_a_model_key_begins_with() -> None:
    assert CHARGE_DIMENSIONS["provider"](CHARGE) == "anthropic"
    assert CHARGE_DIMENSIONS["provider"](replace(CHARGE, meter=Meter("Some Model", TokenKind.INPUT))) == ""


def test_a_filter_reads_as_words() -> None:
    condition = And(
        (
            Match("team", ("search", "ads")),
            Not(Or((Match("region", ("eu-",), MatchOption.STARTS_WITH), Match("tenant", (), MatchOption.ABSENT)))),
        )
    )

    assert describe(condition) == "team: search, ads; not (region starts with: eu- or no tenant)"
    assert describe(EVERYTHING) == "everything"
    assert list(required_values(condition)) == [("team", "search"), ("team", "ads")]
