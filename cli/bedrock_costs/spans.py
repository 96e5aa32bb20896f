"""Options that say which usage days a command is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, TypeVar

import typer

from attribution.errors import QuestionInvalid
from attribution.periods import BillingPeriod
from attribution.reporting import spans

T = TypeVar("T")


def _read(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except QuestionInvalid as error:
        raise typer.BadParameter(error.reason) from None


def parse_period(text: str) -> BillingPeriod:
    """A billing period as people write it."""
    return _read(spans.parse_period, text)


def parse_day(text: str) -> date:
    """A usage day as people write it."""
    return _read(spans.parse_day, text)


def parse_instant(text: str) -> datetime:
    """A time as people write it; UTC unless it says otherwise."""
    return _read(spans.parse_instant, text)


AsOf = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_instant,
        metavar="TIME",
        help="What the ledger said at this time, as 2026-11-23T14:00 (UTC unless it says otherwise). Default: now.",
    ),
]
