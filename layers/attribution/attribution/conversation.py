"""What people say to the app in Slack, and what they are answered. No markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from attribution.alerts import AlertKey
from attribution.digests import DigestLine


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button or menu of an alert's message. `news` is what the message told; `span` how long to snooze: days, or `end`."""

    user: str
    action: str
    key: AlertKey
    news: int
    at: datetime
    span: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """The words behind the slash command."""

    user: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Reply:
    """What one user is shown, and nobody else."""

    title: str
    summary: str = ""
    lines: Sequence[DigestLine] = ()
    daily: tuple[tuple[date, Decimal], ...] = ()
