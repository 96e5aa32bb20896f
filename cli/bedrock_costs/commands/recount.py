"""`recount`: usage counters held against the requests that they count, exactly; and given what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from attribution.formats import counted, number
from attribution.money import ZERO, total
from attribution.periods import BillingPeriod
from attribution.recounts import Comparison
from attribution.reporting.spans import chosen_span
from attribution.usage import Counters, UsageKey
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_day, parse_period
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from bedrock_costs.recounting import Reading, RecountedDay

_KEY = tuple(name for name in UsageKey._fields if name != "usage_date")
HEADER = ("usage_date", "comparison", *_KEY, "quantity", "kind", "counted", "recounted")
_COUNTS = ("requests", "errors", "unmeasured", "observed_only", "provisional", "unlogged")
_BY_KIND = ("units", "estimated", "unpriced", "guardrail_units")
_SHOWN = 50
_TELL_EVERY = 100_000


def recount(
    ctx: typer.Context,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Only this billing period. Default: every day that is kept."),
    ] = None,
    first: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First usage day, UTC.")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last usage day, included.")
    ] = None,
    kept_days: Annotated[
        int | None,
        typer.Option(
            "--kept-days",
            min=1,
            max=3650,
            metavar="DAYS",
            help="How long requests of these days are kept, if InvocationTtlDays was raised since. Default: InvocationTtlDays.",
        ),
    ] = None,
    is_repaired: Annotated[
        bool, typer.Option("--repair", help="Give counters that differ what they lack, and have their days allocated again.")
    ] = False,
) -> None:
    """Add up every request once more and compare with the usage counters, exactly.

    Reads the whole Invocations table, consistently: one read unit for every 4 KB of it. A day of which requests are being
    recorded or counted meanwhile is said to be moving, and is compared by a later run; of a day whose first requests have
    expired, only what exceeds its counters can be told. Ends with 1 if a counter differs, with 4 if no day could be compared.

    Example: bedrock-costs recount --from 2026-10-01 --to 2026-10-07
    """
    from bedrock_costs.recounting import correct, recount_days

    options = options_of(ctx)
    stack, screen = options.stack, options.screen
    kept = kept_days or stack.parameter_in_days("InvocationTtlDays")
    days = _days(period, first, last, kept, now().date())
    with _shown(screen) as show:
        recounted, reading = recount_days(stack, days, kept, show)
    found = [day for day in recounted if day.counters or day.recounted != Counters() or day.pending]
    corrected = correct(stack, found) if is_repaired else []
    options.screen.emit(_result(found, reading, corrected))
    _end(stack, found, reading, corrected, is_repaired=is_repaired)


def _days(period: BillingPeriod | None, first: date | None, last: date | None, kept_days: int, today: date) -> Sequence[date]:
    if period is None and first is None and last is None:
        first, last = today - timedelta(days=kept_days), today
    span = chosen_span(period, first, last, today)
    return [span.first + timedelta(days=n) for n in range(span.day_count) if span.first + timedelta(days=n) <= today]


@contextmanager
def _shown(screen: Screen) -> Iterator[Callable[[Reading, int], None]]:
    """A progress bar on a terminal, a line now and then elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = screen.console(stderr=True)
    if not console.is_terminal:
        told = 0

        def tell(reading: Reading, expected: int) -> None:
            nonlocal told
            if reading.items - told >= _TELL_EVERY:
                told = reading.items
                console.print(f"{number(reading.items)} of about {number(expected)} items read", soft_wrap=True)

        yield tell
        return
    columns = (TextColumn("recount"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda reading, expected: progress.update(task, completed=reading.items, total=max(expected, reading.items))


def _cells(counters: Counters) -> dict[tuple[str, str], Any]:
    """What counters hold, by name and by token kind or guardrail policy."""
    cells: dict[tuple[str, str], Any] = {(name, ""): getattr(counters, name) for name in _COUNTS}
    for name in _BY_KIND:
        by_kind: Mapping[Any, Any] = getattr(counters, name)
        cells |= {(name, str(kind)): value for kind, value in by_kind.items()}
    return {place: value for place, value in cells.items() if value}


class Cell(NamedTuple):
    """One number of a counter that differs."""

    key: UsageKey
    quantity: str
    kind: str
    counted: Decimal | int
    recounted: Decimal | int


def _changed_cells(day: RecountedDay) -> Iterator[Cell]:
    for difference in day.differences:
        stored, summed = _cells(difference.counted), _cells(difference.recounted)
        for place in dict.fromkeys((*stored, *summed)):
            if stored.get(place, 0) != summed.get(place, 0):
                yield Cell(difference.key, *place, stored.get(place, 0), summed.get(place, 0))


def _key_document(key: UsageKey) -> dict[str, Any]:
    found = {name: value for name, value in key._asdict().items() if name != "usage_date"}
    return {name: dict(value) if isinstance(value, tuple) else str(value) for name, value in found.items()}


def _sums(counters: Counters) -> dict[str, Any]:
    return {
        "requests": counters.requests,
        "units": sum(counters.units.values()),
        "estimated": total(counters.estimated.values()) if counters.estimated else ZERO,
    }


def _document(day: RecountedDay, corrected: Sequence[RecountedDay]) -> dict[str, Any]:
    return {
        "usage_date": day.usage_date,
        "comparison": day.comparison.value,
        "counters": day.counters,
        "counted": _sums(day.counted),
        "recounted": _sums(day.recounted),
        "pending_changes": day.pending,
        "is_corrected": day in corrected,
        "differences": [cell._asdict() | {"key": _key_document(cell.key)} for cell in _changed_cells(day)],
    }


def _result(found: Sequence[RecountedDay], reading: Reading, corrected: Sequence[RecountedDay]) -> Result:
    document = {
        "items_read": reading.items,
        "read_units": round(reading.read_units),
        "unreadable_items": reading.unreadable,
        "days": {c.value: sum(day.comparison is c for day in found) for c in Comparison},
        "recounted_days": [_document(day, corrected) for day in found],
    }
    rows: list[Sequence[object]] = []
    for day in found:
        cells = list(_changed_cells(day))
        rows += [(day.usage_date, day.comparison.value, *_key_row(cell.key), *cell[1:]) for cell in cells]
        if not cells:
            requests = (day.counted.requests, day.recounted.requests)
            rows.append((day.usage_date, day.comparison.value, *[""] * len(_KEY), "requests", "", *requests))
    return Result(document, HEADER, rows, lambda screen: _render(found, reading, corrected, screen))


def _key_row(key: UsageKey) -> list[str]:
    return [_text(value) for value in _key_document(key).values()]


def _text(value: Any) -> str:
    return "; ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _render(found: Sequence[RecountedDay], reading: Reading, corrected: Sequence[RecountedDay], screen: Screen) -> None:
    columns = [
        Column("usage date", no_wrap=True),
        Column("comparison", no_wrap=True),
        Column("requests", is_number=True),
        Column("requests again", is_number=True),
        Column("units", is_number=True, dispensable=2),
        Column("units again", is_number=True, dispensable=2),
        Column("USD", is_number=True, dispensable=1),
        Column("USD again", is_number=True, dispensable=1),
    ]
    rows = []
    for day in found:
        sides = [_sums(day.counted), _sums(day.recounted)]
        comparison = "corrected" if day in corrected else day.comparison.value.replace("_", " ")
        pairs = [number(side[name]) for name in ("requests", "units", "estimated") for side in sides]
        rows.append((day.usage_date.isoformat(), comparison, *pairs))
    screen.grid(Grid("usage counters and the requests behind them", columns, rows))
    cells = [cell for day in found for cell in _changed_cells(day)]
    if cells:
        _render_differences(cells, screen)
    waiting = sum(day.pending for day in found)
    if waiting:
        screen.line(f"{counted(waiting, 'change')} of requests not counted yet.", style="dim")
    screen.line(f"{counted(reading.items, 'item')} read, {round(reading.read_units):,} read units.", style="dim")


def _render_differences(cells: Sequence[Cell], screen: Screen) -> None:
    columns = [
        Column("usage date", no_wrap=True),
        Column("of"),
        Column("quantity", no_wrap=True),
        Column("counted", is_number=True),
        Column("recounted", is_number=True),
    ]
    rows = [
        (
            cell.key.usage_date.isoformat(),
            ", ".join(filter(None, _key_row(cell.key))),
            f"{cell.quantity} {cell.kind}".strip(),
            number(cell.counted),
            number(cell.recounted),
        )
        for cell in cells[:_SHOWN]
    ]
    screen.grid(Grid("differences", columns, rows))
    if len(cells) > _SHOWN:
        screen.line(f"and {len(cells) - _SHOWN:,} more; --output csv has all", style="dim")


def _end(
    stack: Stack,
    found: Sequence[RecountedDay],
    reading: Reading,
    corrected: Sequence[RecountedDay],
    *,
    is_repaired: bool,
) -> None:
    """End with what the exit code says: nothing to say where everything that could be compared agrees."""
    if reading.unreadable:
        raise Failure(
            f"{counted(len(reading.unreadable), 'item')} of Invocations cannot be read; the first: {reading.unreadable[0]}",
            "Somebody else wrote it, or another version of this program did.",
            "Look at it with `aws dynamodb get-item`; the quarantine has a notice of it.",
        )
    differing = [day for day in found if day.comparison is Comparison.DIFFERS and day not in corrected]
    if differing:
        days = ", ".join(day.usage_date.isoformat() for day in differing)
        raise Failure(
            f"usage counters differ from the requests that are kept: {days}",
            "Stream records were lost or given up (RollUpDeadLetters), or somebody changed an item or a counter by hand.",
            "Some of their requests have expired: what the counters should be is not known any more."
            if is_repaired
            else "Find out why first, then add what is missing with --repair.",
        )
    if not any(day.comparison is Comparison.AGREES or day in corrected for day in found):
        raise Failure(
            "no day could be compared" if found else f"stack {stack.name!r} has counted nothing in these days",
            "Requests of every day are being recorded, or have begun to expire." if found else "",
            "Run it again when nothing of these days is being recorded or replayed, or choose other days.",
            ExitCode.NOT_READY,
        )
