"""An answer in every form but a screen's: a document for programs, rows for CSV and, where it has them, lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from attribution.canonical import number_text
from attribution.formats import csv_text

SCHEMA = 1
"""The version of the documents: it is raised when a field goes, or changes its meaning."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `lists` are the paths of the lists in the document that may be long, and are what is paged."""

    document: Mapping[str, Any]
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    text: Sequence[str] = ()
    lists: Sequence[Sequence[str]] = ()

    def page(self, start: int, size: int) -> tuple[Answer, bool, bool]:
        """At most `size` entries of the lists and as many rows from `start` on, counted from 0.

        And whether there are more entries, and more rows, behind them. What is not listed is the same on every page.
        """
        window = _Window(start, start + size)
        document = self.document
        for path in self.lists:
            document = _paged(document, path, window)
        end = start + size
        shown = replace(self, document=document, rows=self.rows[start:end])
        return shown, window.seen > end, len(self.rows) > end

    def frame(self) -> Mapping[str, Any]:
        """The document without the entries of its lists: equal for answers to one question from one state of the ledger."""
        return self.page(0, 0)[0].document


class _Window:
    """The entries from `start` to before `end` of several lists, as if they were one."""

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end
        self.seen = 0

    def take(self, entries: Sequence[Any]) -> Sequence[Any]:
        first, last = (max(at - self.seen, 0) for at in (self._start, self._end))
        self.seen += len(entries)
        return entries[first:last]


def _paged(node: Mapping[str, Any], path: Sequence[str], window: _Window) -> dict[str, Any]:
    name, *inner = path
    if not inner:
        return {**node, name: window.take(node[name])}
    return {**node, name: [_paged(child, inner, window) for child in node[name]]}


def json_text(document: Mapping[str, Any], indent: int | None = None) -> str:
    """A document as JSON: amounts are text in plain notation, so that no reader makes a float of them."""
    return json.dumps({"schema": SCHEMA} | dict(document), indent=indent, default=_plain)


def csv_cell(value: object) -> object:
    """A value as a cell of CSV that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return number_text(value)
    if isinstance(value, int):
        return value
    if isinstance(value, date | datetime):
        return value.isoformat()
    return csv_text(value)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return number_text(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
