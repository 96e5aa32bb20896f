"""Amounts and spans in words."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.wording import change, money, percent_change, percent_of, shortened, sparkline
from tests.unit.attribution.strategies import decimals

positive = decimals(max_digits=30, max_scale=18).map(abs).filter(bool)


@pytest.mark.parametrize(
    ("amount", "unit", "expected"),
    [
        ("1234.565", "USD", "$1,234.57"),
        ("-3.1", "USD", "-$3.10"),
        ("0.004", "USD", "<$0.01"),
        ("12", "EUR", "€12.00"),
        ("-0.004", "USD", ">-$0.01"),
        ("5000000", "tokens", "5,000,000 tokens"),
        ("1", "requests", "1 requests"),
    ],
)
def test_money_is_rounded_to_the_cent_and_usage_is_whole(amount: str, unit: str, expected: str) -> None:
    assert money(Decimal(amount), unit) == expected


@pytest.mark.parametrize(("amount", "expected"), [("610", "+$610.00"), ("-3.1", "-$3.10"), ("0.001", "±$0.00")])
def test_a_difference_has_its_sign(amount: str, expected: str) -> None:
    assert change(Decimal(amount), "USD") == expected


@pytest.mark.parametrize(
    ("now", "before", "expected"), [("141", "100", "+41 %"), ("5", "0", "new"), ("0", "0", ""), ("100", "100", "±0 %")]
)
def test_a_relative_difference_is_in_whole_percent(now: str, before: str, expected: str) -> None:
    assert percent_change(Decimal(now), Decimal(before)) == expected


@given(decimals().map(abs), positive)
def test_a_percentage_is_rounded_down_however_many_digits_the_spend_has(spend: Decimal, limit: Decimal) -> None:
    percentage = percent_of(spend, limit)

    exact = Fraction(*spend.as_integer_ratio()) * 100 / Fraction(*limit.as_integer_ratio())
    assert percentage <= exact < percentage + 1


@pytest.mark.parametrize(
    ("spend", "limit", "percent"),
    [("79.99999999999999999999999999999999", "100", 79), ("80", "100", 80), ("5", "0", 0), ("1E+30", "1", 10**32)],
)
def test_79_9_percent_is_not_yet_80(spend: str, limit: str, percent: int) -> None:
    assert percent_of(Decimal(spend), Decimal(limit)) == percent


def test_the_highest_day_has_the_highest_bar() -> None:
    assert sparkline([Decimal(n) for n in (0, 1, 4, 8, -2)]) == "▁▂▅█▁"
    assert sparkline([]) == ""
    assert sparkline([Decimal(0)] * 3) == "▁▁▁"


@given(st.lists(st.decimals(-(10**12), 10**12, places=4), max_size=40))
def test_each_day_has_one_bar(amounts: list[Decimal]) -> None:
    assert len(sparkline(amounts)) == len(amounts)


def test_long_texts_are_cut() -> None:
    assert shortened("abcdef", 4) == "abc…"
