"""Values as text: rounded columns add up, hostile text is harmless, nothing is a float."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import pytest
from hypothesis import given, settings
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


# With whole and half cents among them, which must not move or can go either way.
CELLS = st.one_of(
    st.decimals(min_value=-(10**6), max_value=10**6, places=2),
    st.decimals(min_value=-100, max_value=100, places=3),
    st.decimals(min_value=-(10**9), max_value=10**9, places=12),
)


def neighbours(amount: Decimal) -> set[Decimal]:
    """The amount rounded down, and up, to the cent."""
    return {amount.quantize(CENT, rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING)}


@settings(max_examples=300)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=12))
def test_two_columns_add_up_across_and_down_and_nothing_that_is_whole_cents_moves(rows: list[tuple[Decimal, Decimal]]) -> None:
    left, right = [a for a, _ in rows], [b for _, b in rows]

    printed_left, printed_right = two_columns_adding_up(left, right)

    assert total(printed_left) == rounded(total(left))
    assert total((*printed_left, *printed_right)) == rounded(total((*left, *right)))
    assert total(printed_right) in neighbours(total(right))
    for printed, exact in zip((*printed_left, *printed_right), (*left, *right), strict=True):
        assert printed in neighbours(exact)
    for printed_a, printed_b, a, b in zip(printed_left, printed_right, left, right, strict=True):
        assert printed_a + printed_b in neighbours(a + b)


@given(st.lists(CELLS, max_size=12))
def test_a_column_of_one_has_the_cents_that_it_has_beside_an_empty_one(amounts: list[Decimal]) -> None:
    printed, empty = two_columns_adding_up(amounts, [Decimal(0)] * len(amounts))

    assert total(empty) == 0
    assert total(abs(p - a) for p, a in zip(printed, amounts, strict=True)) == total(
        abs(p - a) for p, a in zip(cents_adding_up(amounts), amounts, strict=True)
    )


@given(st.lists(CELLS, max_size=12))
def test_an_amount_of_whole_cents_is_printed_as_it_is(amounts: list[Decimal]) -> None:
    for printed, exact in zip(cents_adding_up(amounts), amounts, strict=True):
        assert printed in neighbours(exact)


def test_tax_that_is_billed_in_cents_is_printed_in_those_cents_when_a_part_of_it_has_no_owner() -> None:
    allocated, unallocated = two_columns_adding_up(
        [Decimal("100.005"), Decimal("3.337")], [Decimal("231.755"), Decimal("1.111")]
    )

    assert allocated[0] + unallocated[0] == Decimal("331.76")


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
