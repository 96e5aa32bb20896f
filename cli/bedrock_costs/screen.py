"""Where results go: a table for people, JSON or CSV for programs, on standard output; notes on standard error.

Nothing printed is read as markup, so that a name with brackets in it stays a name.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attribution.formats import clean
from attribution.reporting.answers import Answer, csv_cell, json_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Output into a file has no terminal to fit into.
_FILE_WIDTH = 160
# Names shorter than this are not folded, and longer ones keep at least as much.
_LEAST_TEXT_WIDTH = 24
# What the frame takes beside each column.
_BETWEEN = 3


class Output(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Result:
    """One result in every form. `render` prints it for people."""

    document: Mapping[str, Any]
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    render: Callable[[Screen], None]

    @classmethod
    def of(cls, answer: Answer, render: Callable[[Screen], None]) -> Result:
        """An answer of the ledger, and how a screen shows it."""
        return cls(answer.document, answer.header, answer.rows, render)


class Screen:
    """Standard output and standard error of one command."""

    def __init__(self, output: Output | None, *, color: bool) -> None:
        self.output = output or (Output.TABLE if sys.stdout.isatty() else Output.JSON)
        self._color = color

    def console(self, *, stderr: bool = False) -> Console:
        """A console that takes no text for markup."""
        from rich.console import Console

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH
        return Console(
            file=stream, markup=False, emoji=False, highlight=False, width=width, no_color=True if not self._color else None
        )

    def emit(self, result: Result) -> None:
        """Write a result in the form that was asked for."""
        if self.output is Output.JSON:
            sys.stdout.write(f"{json_text(result.document, indent=2)}\n")
        elif self.output is Output.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(result.header)
            writer.writerows([csv_cell(value) for value in row] for row in result.rows)
        else:
            result.render(self)

    def line(self, text: str = "", style: str = "") -> None:
        """A line of a table's surroundings."""
        self.console().print(clean(text), style=style or None, soft_wrap=True)

    def grid(self, grid: Grid) -> None:
        """A grid as a table. What does not fit is left out by name or wrapped by the terminal; no number is ever cut."""
        console = self.console()
        width = console.width
        shown, needed = grid.fitting(width)
        console.width = max(width, needed)
        console.print(grid.table(shown))
        left_out = [column.title for index, column in enumerate(grid.columns) if index not in shown]
        if left_out:
            self.line(f"Too narrow for {', '.join(left_out)}; --output csv has everything.", style="dim")

    @contextmanager
    def progress(self, noun: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar on a terminal's standard error, from when it is first told how many of how many are done."""
        with ExitStack() as stack:
            shown: list[Callable[[int, int], None]] = []

            def show(done: int, whole: int) -> None:
                if not shown:
                    shown.append(self._bar(noun, stack))
                shown[0](done, whole)

            yield show

    def _bar(self, noun: str, stack: ExitStack) -> Callable[[int, int], None]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = self.console(stderr=True)
        columns = (TextColumn(noun), BarColumn(), MofNCompleteColumn())
        progress = stack.enter_context(Progress(*columns, console=console, transient=True, disable=not console.is_terminal))
        task = progress.add_task("", total=None)
        return lambda done, whole: progress.update(task, completed=done, total=whole)

    def note(self, text: str) -> None:
        """Something that people should know and programs need not."""
        self.console(stderr=True).print(clean(text), style="yellow", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid: numbers stand to the right and are never cut, text folds.

    On a narrow terminal the columns with the highest `dispensable` are left out first; those with none always stay.
    """

    title: str
    is_number: bool = False
    style: str = ""
    no_wrap: bool = False
    dispensable: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Text in rows and columns; `styles` are those of the rows."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()
    styles: Sequence[str] = ()

    def least_width(self, index: int) -> int:
        """The width that a column cannot do without."""
        from rich.cells import cell_len

        column = self.columns[index]
        texts = [column.title, *(row[index] for row in self.rows), *(self.footer[index : index + 1])]
        longest = max(cell_len(clean(text)) for text in texts)
        return longest if column.is_number or column.no_wrap else min(longest, _LEAST_TEXT_WIDTH)

    def fitting(self, width: int) -> tuple[list[int], int]:
        """The columns to show on a terminal, and the width they take: more than it has, if nothing more can be left out."""
        shown = list(range(len(self.columns)))
        while True:
            needed = sum(self.least_width(index) + _BETWEEN for index in shown)
            droppable = [index for index in shown if self.columns[index].dispensable]
            if needed <= width or not droppable:
                return shown, needed
            shown.remove(max(droppable, key=lambda index: self.columns[index].dispensable))

    def table(self, shown: Sequence[int]) -> Table:
        """The grid in Rich's terms, cleaned."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(clean(self.title), style="bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_header=any(column.title for column in self.columns),
            show_footer=bool(self.footer),
            pad_edge=False,
        )
        for index in shown:
            column = self.columns[index]
            table.add_column(
                Text(column.title, style="bold"),
                footer=Text(clean(self.footer[index]), style="bold") if self.footer else "",
                justify="right" if column.is_number else "left",
                no_wrap=column.is_number or column.no_wrap,
                min_width=self.least_width(index),
                overflow="fold",
                style=column.style or None,
            )
        for number, row in enumerate(self.rows):
            style = self.styles[number] if self.styles else None
            table.add_row(*(Text(clean(row[index])) for index in shown), style=style)
        return table


def fields_grid(title: str, fields: Sequence[tuple[str, str]]) -> Grid:
    """Names and values of one thing."""
    return Grid(title, [Column("", style="bold", no_wrap=True), Column("")], fields)
