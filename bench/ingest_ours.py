"""Our ingest as a contender of `bench.ingest`: a delivery from its manifest to stored origin charges, and the same again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from adapters import wiring
from adapters.sources.cost_report import S3CostReports
from adapters.work_bucket import S3OriginCharges, S3Readings
from attribution.charges import COST_METRICS
from attribution.days import DayPointer
from attribution.flows.ingest_cost_report import IngestedDelivery, IngestTerms, ingest_cost_report
from attribution.ports import StoredObject
from bench.measuring import Found, measured, tell
from bench.rows import BUCKET, MANIFEST_KEY
from bench.s3_server import WORK_BUCKET
from tests.fakes import FakeAllocationQueue, FakeClock, FakeDeliveries, FakeFanOut, FakeLedgerDays

# As the template sets it.
_MEMORY_MEGABYTES = 1024
_SOURCE = StoredObject(BUCKET, MANIFEST_KEY)


def cost_reports() -> S3CostReports:
    """The product's reader, on the S3 that the environment names."""
    client = wiring.client("s3")
    charges, readings = S3OriginCharges(client, WORK_BUCKET), S3Readings(client, WORK_BUCKET)
    return S3CostReports(client, BUCKET, "exports/", charges, readings, memory_megabytes=_MEMORY_MEGABYTES)


def ingest() -> Found:
    """Manifest to origin charges."""
    reports = cost_reports()
    document = reports.manifest(_SOURCE)
    report = reports.ingest(document, reports.pin(document), frozenset())
    (totals,) = report.totals.values()
    return Found(
        report.rows_in_scope,
        {name: getattr(totals, name) for name in COST_METRICS},
        sum(day.charge_count for day in report.days),
    )


class _Ledger:
    """The ports of the flow, and what was written behind them."""

    def __init__(self) -> None:
        self.queue, self.deliveries = FakeAllocationQueue(), FakeDeliveries()
        self.clock = FakeClock(wiring.clock())
        self.days = FakeLedgerDays(self.deliveries, self.clock)

    def ingest(self) -> IngestedDelivery:
        delivered = ingest_cost_report(
            _SOURCE,
            reports=cost_reports(),
            deliveries=self.deliveries,
            days=self.days,
            queue=self.queue,
            fan_out=FakeFanOut(),
            terms=IngestTerms(billing_lag=timedelta(0), fan_out_above_bytes=sys.maxsize),
            now=self.clock(),
            attempt="1",
        )
        assert isinstance(delivered, IngestedDelivery)
        return delivered

    def publish(self, delivery: IngestedDelivery) -> None:
        """What allocation does with the changed days of a delivery, as far as a later delivery can see it."""
        self.deliveries.publish(delivery.record)
        for day in delivery.record.report.days:
            self.days.current[day.usage_date] = DayPointer(
                usage_date=day.usage_date,
                version=day.origin,
                basis=delivery.record.basis_of(day.usage_date),
                totals=day.totals,
                made_from={"origin": day.origin},
                changed_at=self.clock(),
            )


def ingest_twice(manifest_path: Path) -> None:
    """Print both measurements of a delivery and of one with the same files, and how many days each asks to be written."""
    ledger, told = _Ledger(), []
    for execution in ("first", "again"):
        document = json.loads(manifest_path.read_text())
        manifest_path.write_text(json.dumps(document | {"executionId": execution}))
        ledger.queue.days.clear()
        delivered: list[IngestedDelivery] = []
        result = measured(lambda delivered=delivered: delivered.append(ledger.ingest()))  # type: ignore[misc]
        told.append({"measured": asdict(result), "days": len(ledger.queue.days), "deliveries": len(ledger.deliveries.records)})
        ledger.publish(delivered[0])
    print(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1:]:
        ingest_twice(Path(sys.argv[1]))
    else:
        tell(measured(ingest))
