"""Turn one delivery of the cost report into origin charges per usage day, and name the days that changed.

Nothing becomes visible here: the changed days are allocated and staged one by one, and the last of them publishes all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from attribution.charges import sum_costs
from attribution.deliveries import (
    DeliveryOutcome,
    DeliveryRecord,
    IngestedReport,
    Manifest,
    PinnedFile,
    billed_days,
    content_of,
)
from attribution.errors import DeliveryIncomplete, DeliveryRefused
from attribution.ports import AllocationQueue, CostReports, Deliveries, FanOut, LedgerDays, StoredObject

_READ = (DeliveryOutcome.INGESTED, DeliveryOutcome.PUBLISHED)
_NOTHING = IngestedReport((), (), 0, 0, {})


# AWS writes the manifest last: a file that is still missing or newer after this long belongs to no delivery that can be read.
GIVEN_UP_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class IngestTerms:
    """What is configured: when a day counts as billed, from which size files are read apart, and where reports lie."""

    billing_lag: timedelta
    fan_out_above_bytes: int
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class IngestedDelivery:
    """What happened to a delivery."""

    record: DeliveryRecord
    changed_days: tuple[date, ...] = ()
    was_known: bool = False


@dataclass(frozen=True, slots=True)
class FannedOut:
    """A large delivery whose files are being read apart. It has no record yet: its event comes again when they are read."""

    execution: str


def ingest_cost_report(
    source: StoredObject,
    *,
    reports: CostReports,
    deliveries: Deliveries,
    days: LedgerDays,
    queue: AllocationQueue,
    fan_out: FanOut,
    terms: IngestTerms,
    now: datetime,
    attempt: str,
) -> IngestedDelivery | FannedOut:
    """Ingest the delivery whose manifest landed. The same delivery again finds itself recorded."""
    manifest = reports.manifest(source)
    known = deliveries.of_period(manifest.period)
    read_before = max((r for r in known if _is_read_of(r, manifest)), key=lambda r: r.reading, default=None)
    # A known delivery is read again once another reader would see other things in it.
    same = read_before if read_before and _says_the_same(read_before, reports) else None
    reading = read_before.reading + 1 if read_before else 0
    if same is not None:
        # The attempt that recorded it may have ended before it could say so.
        _supersede_older(same, known, deliveries)
        if same.outcome is DeliveryOutcome.INGESTED:
            queue.delivery_ingested(same, same.changed_days)
        return IngestedDelivery(same, same.changed_days, was_known=True)
    sequence = _sequence_of(manifest, reading)
    overtaken_by = max((r for r in known if r.outcome in _READ and r.sequence > sequence), key=_sequence, default=None)
    if overtaken_by is not None:
        reason = f"overtaken by execution {overtaken_by.execution_id}"
        record = _record(manifest, _NOTHING, DeliveryOutcome.SUPERSEDED, reason=reason, reading=reading)
        deliveries.record(record)
        return IngestedDelivery(record)
    try:
        _require_one_export(manifest, known, terms.prefix)
        files = _pin(manifest, reports, now)
        report = _reread(files, known, reports)
        if report is None:
            unread = _to_fan_out(manifest, files, reports, terms)
            if unread:
                return FannedOut(fan_out.start(manifest, unread, attempt=attempt))
            # The charges of a day are stored before the record that names them: those are not written again.
            stored = frozenset(day.origin for r in known for day in r.report.days)
            report = reports.ingest(manifest, files, stored)
    except DeliveryRefused as refused:
        deliveries.record(_record(manifest, _NOTHING, DeliveryOutcome.REFUSED, reason=str(refused), reading=reading))
        raise
    refusal = _refusal(report, known)
    if refusal:
        deliveries.record(_record(manifest, report, DeliveryOutcome.REFUSED, reason=refusal, reading=reading))
        raise DeliveryRefused(f"delivery {manifest.execution_id} of {manifest.export} {manifest.period}: {refusal}")
    changed = _changed_days(manifest, report, known, days, terms.billing_lag)
    outcome = DeliveryOutcome.INGESTED if changed else DeliveryOutcome.PUBLISHED
    record = _record(manifest, report, outcome, changed, reading=reading)
    deliveries.record(record)
    _supersede_older(record, known, deliveries)
    queue.delivery_ingested(record, changed)
    return IngestedDelivery(record, changed)


def _is_read_of(record: DeliveryRecord, manifest: Manifest) -> bool:
    is_of = record.execution_id == manifest.execution_id and record.manifest_etag == manifest.etag
    return is_of and record.outcome is not DeliveryOutcome.REFUSED


def _says_the_same(record: DeliveryRecord, reports: CostReports) -> bool:
    return record.outcome is DeliveryOutcome.SUPERSEDED or record.report.reader == reports.reader


def _sequence_of(manifest: Manifest, reading: int) -> str:
    return f"{manifest.sequence}#{reading}" if reading else manifest.sequence


def _pin(manifest: Manifest, reports: CostReports, now: datetime) -> tuple[PinnedFile, ...]:
    """The files as they are now. What does not become whole is given up, lest it holds back the deliveries after it."""
    try:
        return reports.pin(manifest)
    except DeliveryIncomplete as incomplete:
        if now - (incomplete.since or manifest.written_at) < GIVEN_UP_AFTER:
            raise
        raise DeliveryRefused(f"{incomplete}; replay the delivery once it is whole") from incomplete


def _reread(files: Sequence[PinnedFile], known: Sequence[DeliveryRecord], reports: CostReports) -> IngestedReport | None:
    """What a delivery of the same content was found to say: files with the same ETags are not read twice by the same reader."""
    content = content_of(files)
    for record in known:
        if record.outcome in _READ and record.report.content == content and record.report.reader == reports.reader:
            return replace(record.report, files=tuple(files))
    return None


def _to_fan_out(
    manifest: Manifest, files: Sequence[PinnedFile], reports: CostReports, terms: IngestTerms
) -> tuple[PinnedFile, ...]:
    """The files to be read by functions of their own: those of a large delivery of which no reading is kept yet."""
    if sum(f.size for f in files) <= terms.fan_out_above_bytes:
        return ()
    return tuple(f for f in files if not reports.is_read(manifest, f))


def _changed_days(
    manifest: Manifest,
    report: IngestedReport,
    known: Sequence[DeliveryRecord],
    days: LedgerDays,
    billing_lag: timedelta,
) -> tuple[date, ...]:
    billed = set(billed_days(manifest.period, manifest.written_at, billing_lag))
    pointers = days.pointers(manifest.period)
    # An older delivery that is about to become visible may do so after `pointers` was read: its days count as changed.
    in_motion = {day for r in known if r.outcome is DeliveryOutcome.INGESTED for day in r.changed_days}
    return tuple(
        d.usage_date
        for d in report.days
        if d.usage_date in billed
        and (
            d.usage_date in in_motion
            or d.usage_date not in pointers
            or pointers[d.usage_date].made_from.get("origin") != d.origin
        )
    )


def _refusal(report: IngestedReport, known: Sequence[DeliveryRecord]) -> str:
    """Why a report that was read is not used; empty for one that is."""
    if report.rejected_count:
        rows = "1 row" if report.rejected_count == 1 else f"{report.rejected_count} rows"
        first = next((f"; the first: {r.file} row {r.row}: {r.reason}" for r in report.rejected), "")
        return f"{rows} cannot be read{first}"
    if report.rows_outside * 2 > report.rows_in_scope:
        return (
            f"{report.rows_outside} of its {report.rows_in_scope} rows of Bedrock are dated outside of its billing period: it "
            f"lies in the folder of another month than its own"
        )
    had_rows = any(r.report.rows_in_scope for r in known if r.outcome is DeliveryOutcome.PUBLISHED)
    if had_rows and not report.rows_in_scope:
        return "it has no row of Bedrock, and an earlier one had: a bill does not vanish; check the export's filter"
    return _unproven(report)


def _supersede_older(record: DeliveryRecord, known: Sequence[DeliveryRecord], deliveries: Deliveries) -> None:
    """Deliveries that still wait to become visible and that this one replaces."""
    if record.outcome not in _READ:
        return
    for older in known:
        if older.outcome is DeliveryOutcome.INGESTED and older.sequence < record.sequence:
            deliveries.supersede(older, record.execution_id)


def _sequence(record: DeliveryRecord) -> str:
    return record.sequence


def _require_one_export(manifest: Manifest, known: Sequence[DeliveryRecord], prefix: str) -> None:
    """Two exports of one bill would count it twice. One that lies outside of the configured prefix is not read any more."""
    exports = {r.export for r in known if r.outcome is not DeliveryOutcome.REFUSED and r.manifest_key.startswith(prefix)}
    others = sorted(exports - {manifest.export})
    if others:
        raise DeliveryRefused(
            f"{manifest.key}: the period {manifest.period} is already billed by the export {others[0]}; two exports of one "
            f"bill would count it twice: set CostReportPrefix so that it leads to one of them, then replay the deliveries"
        )


def _unproven(report: IngestedReport) -> str:
    """The days of a report must sum to what the engine summed over all rows in scope: how they do not, or nothing."""
    currencies = {currency for day in report.days for currency in day.totals}
    by_currency = {
        currency: sum_costs(day.totals[currency] for day in report.days if currency in day.totals)
        for currency in sorted(currencies)
    }
    if by_currency == dict(report.totals) and sum(d.row_count for d in report.days) == report.rows_in_scope:
        return ""
    return f"the days sum to {by_currency}, the files to {dict(report.totals)}: nothing of it is used"


def _record(
    manifest: Manifest,
    report: IngestedReport,
    outcome: DeliveryOutcome,
    changed: tuple[date, ...] = (),
    reason: str = "",
    *,
    reading: int,
) -> DeliveryRecord:
    return DeliveryRecord(
        export=manifest.export,
        period=manifest.period,
        execution_id=manifest.execution_id,
        sequence=_sequence_of(manifest, reading),
        manifest_key=manifest.key,
        manifest_etag=manifest.etag,
        outcome=outcome,
        report=report,
        changed_days=changed,
        reason=reason,
        reading=reading,
    )
