"""One way to write a value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.canonical import canonical_json, content_hash, hash_of_list, number_text, pairs
from tests.unit.attribution.strategies import amounts, finer_amounts


@given(amounts | finer_amounts | st.integers(0, 40).map(lambda e: Decimal(f"1E+{e}")))
def test_the_text_of_a_number_is_plain_and_reads_back_as_the_same_number(value: Decimal) -> None:
    text = number_text(value)

    assert Decimal(text) == value
    assert "E" not in text
    assert text == "0" or not text.startswith("-0.") or value < 0


@given(amounts, st.integers(0, 6))
def test_equal_numbers_have_equal_text_however_many_zeros_they_carry(value: Decimal, zeros: int) -> None:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    longer = Decimal((sign, digits + (0,) * zeros, exponent - zeros))

    assert longer == value
    assert number_text(longer) == number_text(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.00000080", "0.0000008"), ("12.000", "12"), ("-0.0", "0"), ("1E+3", "1000"), ("100", "100"), ("-0.05", "-0.05")],
)
def test_numbers_are_written_plainly(value: str, text: str) -> None:
    assert number_text(Decimal(value)) == text


@given(st.dictionaries(st.text(alphabet="abcé", max_size=3), st.integers() | st.text(max_size=3)))
def test_the_order_of_keys_changes_neither_text_nor_hash(mapping: dict[str, object]) -> None:
    reversed_mapping = dict(reversed(list(mapping.items())))

    assert canonical_json(reversed_mapping) == canonical_json(mapping)
    assert content_hash(reversed_mapping) == content_hash(mapping)


@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_different_values_have_different_hashes(one: list[int], other: list[int]) -> None:
    assert (content_hash(one) == content_hash(other)) == (one == other)


def test_dates_and_decimals_are_text_and_letters_stay_as_they_are() -> None:
    value = {"b": Decimal("1.50"), "a": [date(2026, 11, 3), datetime(2026, 11, 3, 12, tzinfo=UTC)], "ü": None}

    assert canonical_json(value) == '{"a":["2026-11-03","2026-11-03T12:00:00+00:00"],"b":"1.5","ü":null}'


def test_a_value_without_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no canonical form"):
        canonical_json({"a": {1}})


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_pairs_are_the_mapping_in_one_order(mapping: dict[str, str]) -> None:
    assert dict(pairs(mapping)) == mapping
    assert pairs(mapping) == pairs(dict(reversed(list(mapping.items()))))


@given(st.lists(st.text() | amounts | st.lists(st.integers())))
def test_a_list_has_one_hash_whether_it_is_hashed_at_once_or_item_by_item(items: list[object]) -> None:
    assert hash_of_list([canonical_json(item) for item in items]) == content_hash(items)
