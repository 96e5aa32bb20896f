"""Read one data file of a large delivery and keep what it says, for the delivery's merge."""

from __future__ import annotations

from enum import StrEnum

from attribution.deliveries import PinnedFile, ReportKind
from attribution.errors import DeliveryIncomplete
from attribution.periods import BillingPeriod
from attribution.ports import CostReports


class FileOutcome(StrEnum):
    """What became of a data file. `replaced`: its content is not there any more, and the delivery is not whole without it."""

    READ = "read"
    KEPT = "kept"
    REPLACED = "replaced"


def read_data_file(kind: ReportKind, period: BillingPeriod, file: PinnedFile, *, reports: CostReports) -> FileOutcome:
    """Read a file as it was pinned.

    One that cannot be read is read all the same: its reading says why, and the merge refuses the delivery by the file's name.
    One that was replaced fails nothing: whether the delivery waits or is given up is decided where its manifest is looked at.
    """
    try:
        return FileOutcome.READ if reports.read_file(kind, period, file) else FileOutcome.KEPT
    except DeliveryIncomplete:
        return FileOutcome.REPLACED
