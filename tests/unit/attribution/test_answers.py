"""Answers: their pages are the whole, and their JSON and CSV have exact amounts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from attribution.reporting.answers import Answer, csv_cell, json_text


def answer_of(sizes: list[tuple[int, int]]) -> Answer:
    """Sections, each with two lists of so many entries."""
    sections = [
        {"of": at, "gaps": [f"gap {at}.{i}" for i in range(gaps)], "units": [f"unit {at}.{i}" for i in range(units)]}
        for at, (gaps, units) in enumerate(sizes)
    ]
    rows = [(gap,) for section in sections for gap in list(section["gaps"])]  # type: ignore[call-overload]
    return Answer({"total": 1, "sections": sections}, ("gap",), rows, lists=(("sections", "gaps"), ("sections", "units")))


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=5), st.integers(1, 6))
def test_pages_hold_every_entry_and_every_row_once_in_order_under_the_same_frame(
    sizes: list[tuple[int, int]], size: int
) -> None:
    whole = answer_of(sizes)
    entries: dict[tuple[int, str], list[str]] = {(at, name): [] for at in range(len(sizes)) for name in ("gaps", "units")}
    rows: list[Any] = []

    start, has_more = 0, True
    while has_more:
        page, has_more_entries, has_more_rows = whole.page(start, size)
        assert sum(len(s[name]) for s in page.document["sections"] for name in ("gaps", "units")) <= size
        assert page.frame() == whole.frame()
        for at, name in entries:
            entries[at, name] += page.document["sections"][at][name]
        rows += page.rows
        start, has_more = start + size, has_more_entries or has_more_rows

    assert rows == whole.rows
    assert entries == {(at, name): whole.document["sections"][at][name] for at, name in entries}


def test_amounts_are_text_in_plain_notation_and_times_say_their_zone() -> None:
    document = {"amount": Decimal("1E-7"), "day": date(2026, 11, 1), "at": datetime(2026, 11, 1, tzinfo=UTC), "count": 3}

    assert json.loads(json_text(document)) == {
        "schema": 1, "amount": "0.0000001", "day": "2026-11-01", "at": "2026-11-01T00:00:00+00:00", "count": 3,
    }  # fmt: skip


def test_a_number_below_zero_stays_a_number_in_csv_and_a_formula_becomes_text() -> None:
    assert [csv_cell(v) for v in (Decimal("-0.05"), "-0.05+A1", None, True)] == ["-0.05", "'-0.05+A1", "", "true"]
