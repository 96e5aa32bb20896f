"""`make bench-ingest`: our ingest beside what reading alone costs, pandas and awswrangler, on one generated delivery.

Every contender runs in a fresh process of its own, in turn with the others. Those that only read do so from the disk, the
others from one local S3. CPU is user and system time of the process once it has imported what it needs; tables show medians.
All that add must find the same sums. Ours does more than the others: it decodes usage types, and hashes and stores the charges.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Measured
from bench.rows import BUCKET, MANIFEST_KEY, Generated, Spec, generate
from bench.s3_server import WORK_BUCKET, LocalS3, serving

ROOT = Path(__file__).parents[1]
DELIVERIES = ROOT / ".build" / "bench"
DATAFRAMES = ROOT / ".venv" / "bench" / "bin" / "python"
OURS, READ_BY_DUCKDB, READ_BY_PYARROW, PANDAS, AWSWRANGLER = (
    "ours",
    "only read, DuckDB",
    "only read, PyArrow",
    "pandas",
    "awswrangler",
)
CONTENDERS = (OURS, READ_BY_DUCKDB, READ_BY_PYARROW, PANDAS, AWSWRANGLER)
# A contender that needs more than this has lost.
_LONGEST_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of a contender's runs, and the share of the files' bytes that it got from S3."""

    measured: Measured
    read_share: float


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at, and what was measured."""

    name: str
    value: float
    bound: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.bound if self.is_least else self.value <= self.bound


def main() -> int:
    """Print the tables; 0 unless contenders disagree."""
    arguments = _arguments()
    if not DATAFRAMES.is_file():
        sys.exit("pandas and awswrangler are not installed: run `make bench-ingest`, which installs them first")
    targets: list[Target] = []
    for percent in arguments.percent:
        delivery = generate(Spec(arguments.rows, percent), DELIVERIES)
        results = compare(delivery, CONTENDERS, arguments.runs)
        targets += _compared(delivery, results, arguments.runs)
    targets += _growth([arguments.rows // 5, arguments.rows, arguments.rows * 4], arguments)
    targets += _again(generate(Spec(arguments.rows, arguments.percent[0]), DELIVERIES))
    print_targets(targets)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-ingest")
    parser.add_argument(
        "--rows", type=int, default=5_000_000, help="rows of the compared deliveries; growth is a fifth to four times"
    )
    parser.add_argument("--percent", type=int, nargs="+", default=[2, 30], help="how many rows of a hundred are Bedrock's")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender")
    return parser.parse_args()


# Running --------------------------------------------------------------------------------------------------------------


def compare(delivery: Generated, contenders: Sequence[str], runs: int) -> Mapping[str, Result]:
    """Run the contenders in turn, several times; what they find must be the same."""
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    shares: dict[str, float] = {}
    for number in range(1, runs + 1):
        for name in contenders:
            _progress(f"{delivery.spec.rows:,} rows, {delivery.spec.bedrock_percent} %: {name}, run {number} of {runs}")
            with _s3(delivery) as (s3, _):
                told = json.loads(_run(_command(name, delivery), s3))
                shares[name] = s3.counts(BUCKET).bytes / delivery.size
            measured[name].append(Measured(**told))
    _require_agreement(measured)
    return {name: Result(_median(of_name), shares[name]) for name, of_name in measured.items()}


@contextmanager
def _s3(delivery: Generated) -> Iterator[tuple[LocalS3, Path]]:
    """A local S3 with the delivery and an empty work bucket, and where its manifest lies."""
    with tempfile.TemporaryDirectory() as directory:
        bucket, work = Path(directory) / BUCKET, Path(directory) / WORK_BUCKET
        manifest = bucket / MANIFEST_KEY
        manifest.parent.mkdir(parents=True)
        work.mkdir()
        data = bucket / Path(delivery.spec.data_keys[0]).parents[1]
        data.symlink_to(delivery.files[0].parents[1])
        shutil.copy(delivery.directory / MANIFEST_KEY, manifest)
        with serving({BUCKET: bucket, WORK_BUCKET: work}) as s3:
            yield s3, manifest


def _command(name: str, delivery: Generated) -> list[str]:
    if name in (PANDAS, AWSWRANGLER):
        return [str(DATAFRAMES), "-m", "bench.ingest_dataframes", name, BUCKET, *delivery.spec.data_keys]
    if name == OURS:
        return [sys.executable, "-m", "bench.ingest_ours"]
    engine = "duckdb" if name == READ_BY_DUCKDB else "pyarrow"
    return [sys.executable, "-m", "bench.ingest_limit", engine, *map(str, delivery.files)]


def _run(command: Sequence[str], s3: LocalS3) -> str:
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=_LONGEST_SECONDS
    )
    return ended.stdout


def _median(runs: Sequence[Measured]) -> Measured:
    def of(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    first = runs[0]
    return Measured(of("cpu"), of("wall"), of("start_cpu"), of("peak_megabytes"), first.rows, first.charges, first.totals)


def _require_agreement(measured: Mapping[str, Sequence[Measured]]) -> None:
    """Every run of everyone who adds must find the same rows and, to the last digit, the same totals."""
    found = {
        name: (run.rows, tuple(sorted(run.totals.items()))) for name, runs in measured.items() for run in runs if run.totals
    }
    if len(set(found.values())) > 1:
        sys.exit("the contenders disagree:\n" + "\n".join(f"  {name:20} {what}" for name, what in found.items()))


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


# Printing -------------------------------------------------------------------------------------------------------------


def _compared(delivery: Generated, results: Mapping[str, Result], runs: int) -> list[Target]:
    """The table of one delivery, and the targets that it decides."""
    spec, ours = delivery.spec, results[OURS].measured
    print(
        f"\n{spec.rows:,} rows, {spec.bedrock_percent} % Bedrock, {delivery.size / 1e6:,.0f} MB in {spec.files} files, "
        f"medians of {runs} runs; {ours.rows:,} rows in scope, {ours.charges:,} charges, billed {ours.totals['billed_cost']}"
    )
    heads = ("CPU s", "wall s", "peak MB", "rows/s", "CPU÷ours", "MB÷ours", "read÷size", "start s")
    print(f"{'':20} " + " ".join(f"{head:>{width}}" for head, width in zip(heads, (8, 8, 8, 11, 9, 8, 9, 8), strict=True)))
    for name, result in results.items():
        run = result.measured
        read = f"{result.read_share:9.2f}" if result.read_share else f"{'disk':>9}"
        print(
            f"{name:20} {run.cpu:8.2f} {run.wall:8.2f} {run.peak_megabytes:8.0f} {spec.rows / run.wall:11,.0f} "
            f"{run.cpu / ours.cpu:9.2f} {run.peak_megabytes / ours.peak_megabytes:8.2f} {read} {run.start_cpu:8.2f}"
        )
    limit = min(results[READ_BY_DUCKDB].measured.cpu, results[READ_BY_PYARROW].measured.cpu)
    bound = 1.5 if spec.bedrock_percent <= 2 else 2.5
    return [
        Target(f"CPU ÷ only reading, {_millions(spec.rows)}, {spec.bedrock_percent} % Bedrock", ours.cpu / limit, bound),
        Target(f"bytes from S3 ÷ size, {spec.bedrock_percent} % Bedrock", results[OURS].read_share, 0.5),
    ]


def _growth(sizes: Sequence[int], arguments: argparse.Namespace) -> list[Target]:
    """Ours at three sizes, pandas at the smallest."""
    percent, runs = arguments.percent[0], arguments.runs
    measured: list[Measured] = []
    pandas_ratio = 0.0
    for size in sizes:
        is_smallest = size == sizes[0]
        results = compare(generate(Spec(size, percent), DELIVERIES), (OURS, PANDAS) if is_smallest else (OURS,), runs)
        measured.append(results[OURS].measured)
        if is_smallest:
            pandas_ratio = results[PANDAS].measured.cpu / results[OURS].measured.cpu
    print(f"\ngrowth, {percent} % Bedrock, medians of {runs} runs")
    print(f"{'rows':>12} {'CPU s':>8} {'wall s':>8} {'peak MB':>8} {'rows/s':>11} {'× rows':>7} {'× CPU':>7} {'× MB':>7}")
    for number, (size, run) in enumerate(zip(sizes, measured, strict=True)):
        smaller, before = sizes[max(number - 1, 0)], measured[max(number - 1, 0)]
        print(
            f"{size:12,} {run.cpu:8.2f} {run.wall:8.2f} {run.peak_megabytes:8.0f} {size / run.wall:11,.0f} "
            f"{size / smaller:7.1f} {run.cpu / before.cpu:7.1f} {run.peak_megabytes / before.peak_megabytes:7.1f}"
        )
    growth = f"{_millions(sizes[1])} to {_millions(sizes[2])}"
    return [
        Target(f"pandas CPU ÷ ours, {_millions(sizes[0])}", pandas_ratio, 10, is_least=True),
        Target(f"peak MB, {_millions(sizes[2])}", measured[2].peak_megabytes, 700),
        Target(f"growth of memory, {growth}", measured[2].peak_megabytes / measured[1].peak_megabytes, 2.2),
    ]


def _again(delivery: Generated) -> list[Target]:
    """A delivery, and one with the same files after it."""
    _progress(f"{delivery.spec.rows:,} rows: a delivery and the same again")
    with _s3(delivery) as (s3, manifest):
        first, again = json.loads(_run([sys.executable, "-m", "bench.ingest_ours", str(manifest)], s3))
    print(f"\na delivery, and the same files again, {delivery.spec.rows:,} rows")
    for name, told in (("first", first), ("again", again)):
        print(
            f"{name:8} {told['measured']['cpu']:8.2f} CPU s, {told['days']} days to write, {told['deliveries']} delivery items"
        )
    return [
        Target("the same again: CPU ÷ first", again["measured"]["cpu"] / first["measured"]["cpu"], 0.5),
        Target("the same again: days written to the ledger", again["days"], 0),
    ]


def print_targets(targets: Sequence[Target]) -> None:
    """The table of targets: measured, aimed at, met or missed."""
    print(f"\n{'target':52} {'measured':>9} {'aim':>8}")
    for target in targets:
        sign = "≥" if target.is_least else "≤"
        print(f"{target.name:52} {target.value:9.2f} {sign + f'{target.bound:g}':>8}  {'met' if target.is_met else 'MISSED'}")


def _millions(rows: int) -> str:
    return f"{rows / 1e6:g} M rows"


if __name__ == "__main__":
    sys.exit(main())
