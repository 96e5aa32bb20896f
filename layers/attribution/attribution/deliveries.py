"""Deliveries of the cost report: what was read, what it contained, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from attribution.canonical import content_hash
from attribution.charges import Basis, Costs
from attribution.periods import BillingPeriod, day_end


class DeliveryOutcome(StrEnum):
    """What became of a delivery. Only `published` ones are read by allocation."""

    INGESTED = "ingested"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


class ReportKind(StrEnum):
    """Which of AWS's reports a delivery is of. Legacy CUR and FOCUS name no callers."""

    CUR_2_0 = "cur_2_0"
    LEGACY_CUR = "legacy_cur"
    FOCUS = "focus"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A data file as it was when the delivery was read."""

    key: str
    etag: str
    size: int
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a delivery and the files it lists. `sequence` orders deliveries of a period: when it was written."""

    kind: ReportKind
    export: str
    period: BillingPeriod
    execution_id: str
    bucket: str
    key: str
    etag: str
    written_at: datetime
    data_files: tuple[str, ...]

    @property
    def sequence(self) -> str:
        return f"{self.written_at.isoformat()}#{self.execution_id}"


@dataclass(frozen=True, slots=True)
class DayOfDelivery:
    """One usage day of a delivery: the hash of its origin charges, and what they sum to."""

    usage_date: date
    origin: str
    totals: Mapping[str, Costs]
    charge_count: int
    row_count: int
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be read; its delivery is refused, because its sums cannot be proven."""

    file: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """Rows that speak of Bedrock and are not selected as Bedrock's: they stay outside of the ledger, and are reported."""

    product_code: str
    usage_type: str
    line_item_type: str
    currency: str
    billed_cost: Decimal
    row_count: int


def content_of(files: Iterable[PinnedFile]) -> str:
    """A name of what data files contain, in any order. Files with equal ETags and sizes are equal; empty ones say nothing."""
    return content_hash(sorted((f.etag, f.size) for f in files if f.size))


@dataclass(frozen=True, slots=True)
class IngestedReport:
    """What one delivery contained. `reader` names the code and the selection that read it."""

    files: tuple[PinnedFile, ...]
    days: tuple[DayOfDelivery, ...]
    rows_read: int
    rows_in_scope: int
    totals: Mapping[str, Costs]
    # Some of the rejected rows, and how many there are.
    rejected: tuple[RejectedRow, ...] = ()
    rejected_count: int = 0
    # Rows dated outside of the billing period.
    rows_outside: int = 0
    notes: tuple[str, ...] = ()
    # Money whose usage type nothing decodes, by usage type and currency: kept in the ledger, reported here.
    unclassified: Mapping[str, Mapping[str, Costs]] = field(default_factory=dict)
    mentions: tuple[Mention, ...] = ()
    # Columns that belong to no category of the report's documentation.
    unknown_columns: tuple[str, ...] = ()
    content: str = ""
    reader: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The permanent record of a delivery. `changed_days` are staged one by one and become visible together."""

    export: str
    period: BillingPeriod
    execution_id: str
    sequence: str
    manifest_key: str
    manifest_etag: str
    outcome: DeliveryOutcome
    report: IngestedReport
    changed_days: tuple[date, ...]
    staged: Mapping[date, str] = field(default_factory=dict)
    reason: str = ""
    # How often another reader had read this delivery before.
    reading: int = 0

    @property
    def written_at(self) -> datetime:
        """When its manifest was written, as the sequence has it."""
        return datetime.fromisoformat(self.sequence.partition("#")[0])

    def day(self, usage_date: date) -> DayOfDelivery | None:
        """What the delivery says of a day."""
        return next((d for d in self.report.days if d.usage_date == usage_date), None)

    @property
    def is_staged(self) -> bool:
        """Whether every changed day is written and the delivery can become visible."""
        return set(self.changed_days) <= set(self.staged)

    def basis_of(self, usage_date: date) -> Basis:
        """`final` once the bill has its invoice id."""
        day = self.day(usage_date)
        return Basis.FINAL if day and day.is_final else Basis.BILLED


def billed_days(period: BillingPeriod, written_at: datetime, lag: timedelta) -> tuple[date, ...]:
    """The days whose bill is taken as complete: those that ended at least `lag` before the delivery was written.

    A report refreshed at noon contains a part of today and perhaps not all of yesterday; the estimate stands for such a day.
    """
    return tuple(day for day in period.days() if day_end(day) + lag <= written_at)


def newest(records: Sequence[DeliveryRecord], outcome: DeliveryOutcome) -> DeliveryRecord | None:
    """The latest delivery with an outcome."""
    matching = [r for r in records if r.outcome is outcome]
    return max(matching, key=lambda r: r.sequence, default=None)
