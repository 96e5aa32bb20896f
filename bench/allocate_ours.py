"""Our allocation as a contender of `bench.allocate`: a billed day from its stored inputs to a version that readers see."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from adapters import wiring
from adapters.codec import decompress_lines, origin_from_json
from adapters.dynamodb import Table
from adapters.ledger_days import DynamoLedgerDays
from adapters.usage_counters import DynamoUsageCounters
from attribution.allocation import allocate_day
from attribution.charges import Basis
from attribution.cost_categories import by_evidence
from attribution.coverage import Counted
from attribution.days import make_day_version, usage_fingerprint
from attribution.periods import BillingPeriod
from attribution.rules import Rules
from bench.dynamodb_server import TABLE
from bench.measuring import peak_megabytes
from bench.usage_day import CATEGORY, DAY, FIRST_ACCOUNT

READ, ALLOCATE, SUM, WRITE = "read", "allocate", "sum", "write"


@dataclass(slots=True)
class Told:
    """What a contender says: seconds and CPU by step, peak memory, and what each owner pays in every metric."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peak_megabytes: float = 0.0
    counters: int = 0
    allocated: int = 0
    owners: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu

    def print(self) -> None:
        """For the process that started this one."""
        self.peak_megabytes = peak_megabytes()
        print(json.dumps(asdict(self)))


def allocate(charges_path: Path, *, is_rule_changed: bool) -> Told:
    """What the function does with a day, without its queue; as another rule would have it where `is_rule_changed`."""
    table = Table(wiring.client("dynamodb"), TABLE)
    days = DynamoLedgerDays(table, 760, wiring.clock)
    accounts = ((FIRST_ACCOUNT, "platform"),) if is_rule_changed else ()
    rules = Rules.of([by_evidence(CATEGORY, (CATEGORY,), accounts)])
    told = Told()
    # As the handler does.
    gc.disable()
    with told.step(READ):
        charges = [origin_from_json(stored) for stored in decompress_lines(charges_path.read_bytes())]
        usage = DynamoUsageCounters(table, 760, wiring.clock).usage_of(DAY)
    with told.step(SUM):
        fingerprint, counted = usage_fingerprint(usage), Counted.of(usage)
    with told.step(ALLOCATE):
        allocated = allocate_day(charges, usage, rules)
    told.counters, told.allocated = len(usage), len(allocated)
    # Neither does the flow keep what it has allocated.
    del charges, usage
    with told.step(SUM):
        day = make_day_version(DAY, Basis.BILLED, allocated, rules, origin="origin", usage=fingerprint, counted=counted)
    del allocated
    with told.step(WRITE):
        current = days.pointers(BillingPeriod.of(DAY))
        if DAY not in current or current[DAY].version != day.version:
            days.flip([days.stage(day, "sequence")], replacing=current)
            days.retire(DAY)
    for (owner, currency), day_sum in day.sums[CATEGORY].items():
        told.owners[f"{owner} {currency}"] = [f"{amount.normalize():f}" for amount in day_sum.costs.amounts()]
    return told


if __name__ == "__main__":
    allocate(Path(sys.argv[1]), is_rule_changed="rule" in sys.argv[2:]).print()
