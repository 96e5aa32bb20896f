"""Rows of ledger days in parts: what is written is what is read, and what two versions have in common is written once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.day_parts import CHARGES, SUMS, Cut, DayParts, Parts, PartsLost, Ref, Row, part_key
from adapters.dynamodb import from_wire, to_wire

DAY = date(2026, 11, 3)
SMALL = Cut(2, 2, 6)
rows = st.lists(st.text(st.characters(exclude_characters="\n", codec="ascii"), min_size=1), max_size=60).map(
    lambda texts: [Row(text, text) for text in texts]
)


class Shelf:
    """The reads of a table that parts need, over items in memory."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.reads = 0

    def put(self, items: Iterable[Mapping[str, Any]]) -> None:
        self.items |= {(item["pk"], item["sk"]): from_wire(to_wire(item)) for item in items}

    def batch_get(self, keys: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
        self.reads += 1
        wanted = [(key["pk"], key["sk"]) for key in keys]
        assert len(set(wanted)) == len(wanted), "DynamoDB refuses to read one key twice in a batch"
        return [dict(self.items[key]) for key in wanted if key in self.items]

    def query(self, pk: str, *, attributes: Sequence[str]) -> Iterator[dict[str, Any]]:
        return ({name: item[name] for name in attributes} for key, item in sorted(self.items.items()) if key[0] == pk)


def written(found: Iterable[Row], cut: Cut = SMALL, *, shared: Iterable[Ref] = (), generation: int = 1) -> tuple[Parts, Ref]:
    parts = Parts(DAY, generation, {ref.rpartition("#")[2]: ref for ref in shared})
    root = parts.add(found, cut)
    return parts, root


def reader_of(shelf: Shelf) -> DayParts:
    return DayParts(shelf)  # type: ignore[arg-type]


def shelf_of(*written_parts: Parts) -> Shelf:
    shelf = Shelf()
    for parts in written_parts:
        shelf.put(parts.written.values())
    return shelf


def charges(number: int, changed: Mapping[int, str] | None = None) -> list[Row]:
    return [Row(f"{n:06} {(changed or {}).get(n, 'costs')}", f"caller {n}") for n in range(number)]


@given(rows)
def test_rows_are_read_in_the_order_in_which_they_were_written(found: list[Row]) -> None:
    parts, root = written(found)

    reader = reader_of(shelf_of(parts))

    assert list(reader.rows(DAY, root)) == [row.text for row in found]
    assert list(reader.rows_of([(DAY, root)])) == [(DAY, row.text) for row in found]


@given(rows)
def test_every_part_is_known_by_its_root(found: list[Row]) -> None:
    parts, root = written(found)

    reader = reader_of(shelf_of(parts))

    assert reader.references(DAY, [root]) == parts.written.keys() == set(reader.of_generation(DAY, 1))


@given(rows, rows)
def test_what_another_version_has_is_not_written_again(before: list[Row], after: list[Row]) -> None:
    old, old_root = written(before)

    new, new_root = written(after, shared=old.written, generation=2)

    reader = reader_of(shelf_of(old, new))
    assert list(reader.rows(DAY, new_root)) == [row.text for row in after]
    assert list(reader.rows(DAY, old_root)) == [row.text for row in before]
    assert (new_root == old_root) == ([row.text for row in before] == [row.text for row in after])
    assert {ref.rpartition("#")[2] for ref in new.written}.isdisjoint(ref.rpartition("#")[2] for ref in old.written)


def test_a_changed_amount_is_written_with_the_part_that_it_is_in_and_those_above() -> None:
    old, _ = written(charges(100_000), CHARGES)

    new, _ = written(charges(100_000, {50_000: "costs more"}), CHARGES, shared=old.written, generation=2)

    assert len(old.written) > 700
    assert sorted(item["level"] for item in new.written.values()) == [0, 1, 2]


@pytest.mark.parametrize("place", [0, 1, 777, 9_998])
def test_a_row_more_leaves_the_parts_of_other_rows_as_they_were(place: int) -> None:
    rows_before = charges(10_000)
    old, _ = written(rows_before, CHARGES)
    rows_after = [*rows_before[:place], Row("new", "a new caller"), *rows_before[place:]]

    new, _ = written(rows_after, CHARGES, shared=old.written, generation=2)

    # Cuts fall in again within a few parts, for a part has a least size.
    assert sum(item["level"] == 0 for item in new.written.values()) <= 8
    assert len(old.written) > 70


def test_two_hundred_values_of_a_dimension_are_one_part() -> None:
    parts, _ = written((Row(f"value {n}", f"value {n}") for n in range(200)), SUMS)

    assert len(parts.written) == 1


def test_a_part_holds_no_more_than_an_item_can() -> None:
    wide = [Row(f"{n}" * 90_000, f"{n}") for n in range(9)]

    parts, root = written(wide, CHARGES)

    reader = reader_of(shelf_of(parts))
    assert sorted(item["level"] for item in parts.written.values()) == [0, 0, 0, 0, 0, 1]
    assert len(list(reader.rows(DAY, root))) == 9


def test_a_month_of_days_with_few_values_is_read_in_one_batch() -> None:
    days = [date(2026, 11, n) for n in range(1, 31)]
    by_day = {day: Parts(day, 1, {}) for day in days}
    roots = [(day, parts.add([Row(f"search on {day}", "search")], SUMS)) for day, parts in by_day.items()]
    shelf = shelf_of(*by_day.values())

    found = list(reader_of(shelf).rows_of(roots))

    assert (len(found), shelf.reads) == (30, 1)


def test_a_part_that_is_missing_is_never_passed_over() -> None:
    parts, root = written(charges(100), SMALL)
    shelf = shelf_of(parts)
    lost = next(ref for ref, item in parts.written.items() if item["level"] == 0)
    del shelf.items[tuple(part_key(DAY, lost).values())]  # type: ignore[arg-type]

    with pytest.raises(PartsLost, match="1 parts of 2026-11-03 expired while they were read"):
        list(reader_of(shelf).rows(DAY, root))


def test_a_part_that_says_something_else_is_refused() -> None:
    parts, root = written(charges(100), SMALL)
    shelf = shelf_of(parts)
    first, second = [key for key, item in shelf.items.items() if item["level"] == 0][:2]
    shelf.items[first]["body"] = shelf.items[second]["body"]

    with pytest.raises(PartsLost, match="is not what was written"):
        list(reader_of(shelf).rows(DAY, root))
