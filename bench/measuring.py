"""What a contender of a benchmark measures of itself, in a process of its own: the standard library alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """What a contender found in a delivery; all must find the same."""

    rows: int
    totals: Mapping[str, Decimal]
    charges: int


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU is user and system time of the process; `start_cpu` is what it took to start and import."""

    cpu: float
    wall: float
    start_cpu: float
    peak_megabytes: float
    rows: int = 0
    charges: int = 0
    totals: Mapping[str, str] = field(default_factory=dict)


def measured(job: Callable[[], Found | None]) -> Measured:
    """Run a job once."""
    start_cpu, started = time.process_time(), time.perf_counter()
    found = job()
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - started
    result = Measured(cpu, wall, start_cpu, peak_megabytes())
    if found is None:
        return result
    totals = {name: f"{total.normalize():f}" for name, total in found.totals.items()}
    return replace(result, rows=found.rows, charges=found.charges, totals=totals)


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    # Of this program alone: what getrusage says may be its parent's.
    status = Path("/proc/self/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return peak / 1000


def tell(result: Measured) -> None:
    """Print a measurement for the process that started this one."""
    print(json.dumps(asdict(result)))
