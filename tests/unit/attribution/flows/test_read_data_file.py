"""A data file of a large delivery is read once, and one that changed meanwhile is no failure."""

from __future__ import annotations

from attribution.deliveries import PinnedFile, ReportKind
from attribution.flows.read_data_file import FileOutcome, read_data_file
from attribution.periods import BillingPeriod
from tests.fakes import FakeCostReports

FILE = PinnedFile("data/report-00001.parquet", "e1", 100)


def read(reports: FakeCostReports) -> FileOutcome:
    return read_data_file(ReportKind.CUR_2_0, BillingPeriod(2026, 11), FILE, reports=reports)


def test_a_file_is_read_once() -> None:
    reports = FakeCostReports()

    assert [read(reports), read(reports)] == [FileOutcome.READ, FileOutcome.KEPT]

    assert reports.kept == {FILE.key}


def test_a_file_that_is_not_there_as_it_was_pinned_fails_nothing() -> None:
    reports = FakeCostReports()
    reports.torn.add(FILE.key)

    assert read(reports) is FileOutcome.REPLACED

    assert reports.kept == set()
