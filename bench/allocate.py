"""`make bench-allocate`: a billed day beside the same join in DuckDB's SQL, at several sizes, and what is written to DynamoDB.

Each contender runs in a fresh process of its own. Both must find the same: as many counters, and to the last digit what each
owner pays in every metric and currency. The join is compared with what splits charges and finds their owners. After it come
sums by every dimension and coverage, and the version, which is written to a DynamoDB that counts, read back and made visible.
Then the day is allocated again: unchanged, with one more request in one counter, with another value of one rule.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.allocate_ours import ALLOCATE, READ, SUM, WRITE, Told
from bench.dynamodb_server import LocalDynamoDB, serving
from bench.ingest import Target, print_targets
from bench.usage_day import UsageDay, change_one_counter, generate

ROOT = Path(__file__).parents[1]
DAYS = ROOT / ".build" / "bench"
# Aimed at; a Lambda function can be given 10,240.
_MEMORY_MEGABYTES = 3008
_LONGEST_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Run:
    """One allocation of ours, and the write units that it took."""

    told: Told
    write_units: int


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of a day: the SQL, and ours at first and again."""

    size: int
    sql: Told
    first: Run
    again: dict[str, Run]


def main() -> int:
    """Print the tables; 0 unless the contenders disagree."""
    parser = argparse.ArgumentParser(prog="make bench-allocate")
    parser.add_argument(
        "--charges", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="how many origin charges the days have"
    )
    results = [measure(generate(size, DAYS)) for size in parser.parse_args().charges]
    _print(results)
    print_targets(list(_targets(results)))
    return 0


def measure(day: UsageDay) -> Result:
    """Allocate a day by both, then again by ours."""
    _progress(f"{day.size:,} charges: DuckDB's SQL")
    sql = _run("bench.allocate_sql", [str(day.charges), str(day.counters)])
    with serving(day.counters) as dynamodb:
        first = _ours(day, dynamodb, "first")
        _require_agreement(sql, first.told)
        again = {"unchanged": _ours(day, dynamodb, "unchanged")}
        dynamodb.serve_counters(change_one_counter(day))
        again["one counter changed"] = _ours(day, dynamodb, "one counter changed")
        again["one rule changed"] = _ours(day, dynamodb, "one rule changed", "rule")
    return Result(day.size, sql, first, again)


def _ours(day: UsageDay, dynamodb: LocalDynamoDB, what: str, *arguments: str) -> Run:
    _progress(f"{day.size:,} charges: ours, {what}")
    before = dynamodb.write_units()
    told = _run("bench.allocate_ours", [str(day.charges), *arguments], dynamodb.endpoint)
    return Run(told, dynamodb.write_units() - before)


def _run(module: str, arguments: Sequence[str], endpoint: str = "") -> Told:
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=_LONGEST_SECONDS
    )
    return Told(**json.loads(ended.stdout))


def _require_agreement(sql: Told, ours: Told) -> None:
    """Both must find the same counters and, to the last digit, the same sums."""
    differing = [o for o in sorted({*sql.owners, *ours.owners}) if sql.owners.get(o) != ours.owners.get(o)]
    if differing or sql.counters != ours.counters:
        shown = "\n".join(f"  {o}: SQL {sql.owners.get(o)}, ours {ours.owners.get(o)}" for o in differing[:10])
        sys.exit(f"the contenders disagree on {len(differing)} owners, {sql.counters} and {ours.counters} counters:\n{shown}")


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _print(results: Sequence[Result]) -> None:
    print("\nallocation of a billed day, CPU seconds of one run, wall beside it where it is compared; the same sums by owner")
    heads = (
        "charges",
        "counters",
        "shares",
        "read",
        "allocate",
        "sum",
        "write",
        "charges/s",
        "peak MB",
        "wall",
        "SQL wall",
        "SQL CPU",
    )
    print(" ".join(f"{head:>9}" for head in heads))
    for result in results:
        told, sql = result.first.told, result.sql
        print(
            f"{result.size:9,} {told.counters:9,} {sql.allocated:9,} {told.cpu[READ]:9.1f} {told.cpu[ALLOCATE]:9.1f} "
            f"{told.cpu[SUM]:9.1f} {told.cpu[WRITE]:9.1f} "
            f"{result.size / sum(told.cpu.values()):9,.0f} {told.peak_megabytes:9,.0f} "
            f"{told.seconds[ALLOCATE]:9.2f} {sql.seconds[ALLOCATE]:9.2f} {sql.cpu[ALLOCATE]:9.2f}"
        )
    print("\nwrite units of DynamoDB")
    print(f"{'charges':>9} {'first':>9} " + " ".join(f"{name:>20}" for name in results[0].again))
    for result in results:
        again = " ".join(f"{run.write_units:20,}" for run in result.again.values())
        print(f"{result.size:9,} {result.first.write_units:9,} {again}")


def _targets(results: Sequence[Result]) -> Iterator[Target]:
    for result in results:
        ours, sql = result.first.told, result.sql
        wall, cpu = ours.seconds[ALLOCATE] / sql.seconds[ALLOCATE], ours.cpu[ALLOCATE] / sql.cpu[ALLOCATE]
        yield Target(f"wall of allocation ÷ the same join in SQL, {result.size:,}", wall, 3)
        yield Target(f"CPU of allocation ÷ the same join in SQL, {result.size:,}", cpu, 3)
    for smaller, larger in pairwise(results):
        growth = sum(larger.first.told.cpu.values()) / sum(smaller.first.told.cpu.values())
        times = larger.size / smaller.size
        yield Target(f"growth of CPU ÷ growth of charges, to {larger.size:,}", growth / times, 1.2)
    largest = results[-1]
    yield Target(f"peak MB, {largest.size:,} charges", max(r.told.peak_megabytes for r in _runs(largest)), _MEMORY_MEGABYTES)
    seconds = max(sum(run.told.cpu.values()) for run in _runs(largest))
    yield Target(f"CPU seconds of a Lambda's 900, {largest.size:,} charges", seconds, 900)
    for result in results:
        for name, bound in (("unchanged", 0.0), ("one counter changed", 0.05), ("one rule changed", 0.05)):
            share = result.again[name].write_units / result.first.write_units
            yield Target(f"write units ÷ first, {name}, {result.size:,}", share, bound)


def _runs(result: Result) -> Sequence[Run]:
    return [result.first, *result.again.values()]


if __name__ == "__main__":
    sys.exit(main())
