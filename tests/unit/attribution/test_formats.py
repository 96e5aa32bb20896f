"""Values as text: rounded columns add up, hostile text is harmless, nothing is a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.formats import (
    CENT,
    apportion,
    cents_adding_up,
    clean,
    csv_text,
    money,
    number,
    percent,
    percentages,
    rounded,
    two_columns_adding_up,
)
from attribution.money import total

AMOUNTS = st.lists(
    st.decimals(min_value=-(10**9), max_value=10**9, places=12, allow_nan=False, allow_infinity=False), min_size=1, max_size=30
)


@given(AMOUNTS)
def test_printed_rows_add_up_to_the_rounded_total_and_none_is_off_by_a_cent(amounts: list[Decimal]) -> None:
    printed = cents_adding_up(amounts)

    assert total(printed) == rounded(total(amounts))
    assert all(abs(p - a) < CENT for p, a in zip(printed, amounts, strict=True))


@given(st.lists(st.tuples(AMOUNTS.map(lambda a: a[0]), AMOUNTS.map(lambda a: a[0])), min_size=1, max_size=20))
def test_two_columns_add_up_across_and_down(rows: list[tuple[Decimal, Decimal]]) -> None:
    left, right = [a for a, _ in rows], [b for _, b in rows]

    printed_left, printed_right = two_columns_adding_up(left, right)

    assert total(printed_left) == rounded(total(left))
    assert total((*printed_left, *printed_right)) == rounded(total((*left, *right)))
    assert all(abs(p - a) < CENT for p, a in zip((*printed_left, *printed_right), (*left, *right), strict=True))


@given(st.lists(st.decimals(min_value=0, max_value=10**6, places=6), min_size=1, max_size=20))
def test_percentages_sum_to_one_hundred(amounts: list[Decimal]) -> None:
    shares = percentages(amounts)

    if sum(amounts) > 0:
        assert total(share for share in shares if share is not None) == 100
    else:
        assert shares == [None] * len(amounts)


def test_the_largest_remainder_goes_up() -> None:
    assert apportion([Decimal("0.333"), Decimal("0.334"), Decimal("0.333")], Decimal("1.00")) == [
        Decimal("0.33"),
        Decimal("0.34"),
        Decimal("0.33"),
    ]


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0", "USD", "$0.00"),
        ("0.004", "USD", "<$0.01"),
        ("-0.004", "USD", ">-$0.01"),
        ("1234567.891", "USD", "$1,234,567.89"),
        ("-12.5", "USD", "-$12.50"),
        ("12.5", "EUR", "€12.50"),
        ("12.5", "JPY", "JPY 12.50"),
    ],
)
def test_money(amount: str, currency: str, text: str) -> None:
    assert money(Decimal(amount), currency) == text


def test_counts_have_thousands_separators_and_unknown_ones_a_dash() -> None:
    assert [number(n) for n in (1234567, Decimal("1234567.50"), Decimal(1000), Decimal(0), None)] == [
        "1,234,567",
        "1,234,567.5",
        "1,000",
        "0",
        "–",
    ]


def test_a_rate_is_rounded_down() -> None:
    assert percent(Decimal("99.99"), Decimal(100)) == Decimal("99.9")
    assert percent(Decimal(1), Decimal(0)) is None


def test_text_from_outside_cannot_move_the_cursor_or_reorder_text() -> None:
    assert clean("a\x1b[31mred\x07\r\nb\u202ec\u200bd\x9b2Je") == "a[31mred  bcd2Je"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r\n=1"])
def test_no_text_cell_is_a_formula(text: str) -> None:
    assert csv_text(text).startswith("'")


def test_ordinary_text_cells_stay_as_they_are() -> None:
    assert csv_text("search-team") == "search-team"
