"""`make bench-events`: what recording and counting requests costs in CPU and in money, beside others on the same bytes.

Speeds are records per CPU second of one processor; contenders take turns on each object. Units are counted from the requests
that the real handlers make of moto (bench/units.py), money is AWS's list price of us-east-1. What is assumed is printed.
"""

from __future__ import annotations

import argparse
import base64
import gc
import gzip
import itertools
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from adapters.invocations import invocation_from_image
from adapters.objects import expand_in_pieces
from adapters.packing import pack_metered, pack_observed
from adapters.sources.cloudtrail import S3TrailFiles, parse_event
from adapters.sources.invocation_log import casefolded, parse_records
from adapters.sources.price_list import read_offer
from attribution.directory import DirectoryEntry
from attribution.flows.record_invocations import Pricing
from attribution.flows.roll_up_usage import StreamRecord, comparable, roll_up_usage
from attribution.meters import TokenKind
from attribution.ports import MeteredRecord, ObservedCall, StoredObject
from attribution.prices import PriceList
from attribution.usage import Counters, Usage, UsageKey
from bench import costs
from bench.log_records import log_objects, trail_files
from tests.support.stack import template
from truth import cloudtrail, company, price_list
from truth.company import Month

ROOT = Path(__file__).parents[1]
LITELLM = ROOT / ".venv" / "litellm" / "bin" / "python"
SIZES = {"bodies of 1 to 3 KB": (1_000, 3_000), "bodies of 20 KB": (20_000, 21_000)}
SOURCE = StoredObject("bucket", "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/10/01/00/a.json.gz")
TAG_KEYS = casefolded(("team", "tenant"))
# Of each contender the fastest run on each object counts, as of LiteLLM the fastest on all requests.
RUNS = 3
OURS, JSON, PYDANTIC = "ours: parse and price", "json.loads alone", "pydantic, the whole record"


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at, and what was measured."""

    name: str
    value: float
    bound: float
    is_least: bool = True

    def __str__(self) -> str:
        is_met = self.value >= self.bound if self.is_least else self.value <= self.bound
        sign = ">=" if self.is_least else "<="
        return f"  {'met' if is_met else 'MISSED':6}  {self.name}: {self.value:,.2f} (target {sign} {self.bound:,.2f})"


def main() -> int:
    """Print the tables and the targets."""
    arguments = _arguments()
    if not LITELLM.is_file():
        sys.exit("LiteLLM is not installed: run `make bench-events`, which installs it first")
    month = company.build("2026-10", 7, arguments.records)
    prices = ListedPrices(month)
    # The made-up company is no part of what is measured: nobody's collector is to walk through it.
    gc.freeze()
    targets: list[Target] = []
    tokens: list[tuple[str, int, int, int]] = []
    for title, sizes in SIZES.items():
        speeds = _reading(title, log_objects(month, sizes), prices, tokens if not tokens else [])
        targets.append(Target(f"{title}, ours / json.loads", speeds[OURS] / speeds[JSON], 1))
        if sizes[0] == 1_000:
            ours = speeds[OURS]
    targets.append(Target("ours / LiteLLM's calculator alone", ours / _litellm(tokens), 10))
    _trail(month, arguments.records)
    targets.append(Target("roll-up, thousand changes/s", _rolling_up(month, prices) / 1000, 20))
    dollars = costs.report(arguments.costed)
    targets.append(Target("recording a million requests, dollars", dollars, 2, is_least=False))
    print("\nTargets")
    print("\n".join(map(str, targets)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-events")
    parser.add_argument("--records", type=int, default=50_000, help="log records of each size, and records of trail files")
    parser.add_argument("--costed", type=int, default=2_000, help="requests whose recording is counted unit by unit")
    return parser.parse_args()


class ListedPrices:
    """The company's price lists, already read."""

    def __init__(self, month: Month) -> None:
        offers = price_list.offers(month).items()
        self._prices = PriceList(p for code, body in offers for p in read_offer(body, code).prices)

    def load(self, models: Iterable[str]) -> PriceList:
        return self._prices


class EmptyDirectory:
    """A directory that knows no ARN."""

    def find(self, arns: Iterable[str]) -> Mapping[str, DirectoryEntry]:
        return {}

    def of_kind(self, kind: str) -> Sequence[DirectoryEntry]:
        return ()

    def put(self, entry: DirectoryEntry) -> None:
        raise NotImplementedError


# Reading --------------------------------------------------------------------------------------------------------------


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Identity(_Wire):
    arn: str


class _Input(_Wire):
    input_content_type: str = ""
    input_body_json: Any = None
    input_body_s3_path: str = Field("", alias="inputBodyS3Path")
    input_token_count: int = 0
    cache_read_input_token_count: int = 0
    cache_write_input_token_count: int = 0


class _Output(_Wire):
    output_content_type: str = ""
    output_body_json: Any = None
    output_body_s3_path: str = Field("", alias="outputBodyS3Path")
    output_token_count: int = 0


class Record(_Wire):
    """A record of an invocation log as a model of all of it."""

    schema_type: str
    schema_version: str
    timestamp: str
    account_id: str
    region: str
    request_id: str
    operation: str
    model_id: str
    identity: _Identity | None = None
    request_metadata: dict[str, str] = {}
    inference_region: str = ""
    error_code: str = ""
    input: _Input = _Input()
    output: _Output = _Output()


def _reading(
    title: str, objects: Iterator[bytes], prices: ListedPrices, tokens: list[tuple[str, int, int, int]]
) -> dict[str, float]:
    """Records per CPU second of each contender; `tokens` is filled with what the records used."""
    seconds: dict[str, float] = defaultdict(float)
    count = size = 0

    def ours(body: bytes) -> int:
        pricing, found = Pricing(prices, EmptyDirectory()), 0
        for record in parse_records(expand_in_pieces(body, SOURCE), str(SOURCE), TAG_KEYS):
            if isinstance(record, MeteredRecord):
                pricing.metered(record)
                found += 1
        return found

    contenders: dict[str, Callable[[bytes], int]] = {
        OURS: ours,
        JSON: lambda body: len([json.loads(line) for line in gzip.decompress(body).splitlines()]),
        PYDANTIC: lambda body: len([Record.model_validate_json(line) for line in gzip.decompress(body).splitlines()]),
    }
    for body in objects:
        found = set()
        for name, run in contenders.items():
            spent, number = _fastest(run, body)
            found.add(number)
            seconds[name] += spent
        assert len(found) == 1, f"contenders read different numbers of records: {found}"
        count += found.pop()
        size += len(gzip.decompress(body))
        for record in parse_records(expand_in_pieces(body, SOURCE), str(SOURCE), TAG_KEYS):
            if isinstance(record, MeteredRecord):
                units = record.units
                used = (units.get(kind, 0) for kind in (TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.CACHE_READ))
                tokens.append((record.model_id, *used))  # type: ignore[arg-type]
    print(f"{count:,} log records with {title}, {size / count:,.0f} bytes on average")
    speeds = {name: count / spent for name, spent in seconds.items()}
    _print_speeds(speeds, "records/s")
    return speeds


def _fastest(run: Callable[[bytes], int], body: bytes) -> tuple[float, int]:
    """The CPU seconds of the fastest of some runs, and what they return: others' use of a shared processor is not measured."""
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        number = run(body)
        times.append(time.process_time() - started)
    return min(times), number


def _print_speeds(speeds: Mapping[str, float], unit: str) -> None:
    for name, speed in speeds.items():
        print(f"  {name:32} {speed:12,.0f} {unit}")


def _litellm(tokens: Sequence[tuple[str, int, int, int]]) -> float:
    """Requests per CPU second of LiteLLM's calculator, which is handed the tokens."""
    lines = "\n".join(json.dumps(used) for used in tokens[:5_000])
    ran = subprocess.run(
        [str(LITELLM), "-m", "bench.events_litellm"], cwd=ROOT, input=lines, capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    speed = float(told["requests"] / told["seconds"])
    print(f"LiteLLM's cost_per_token, tokens at hand; it knew the model of {told['priced']:,} of {told['requests']:,} requests")
    _print_speeds({"LiteLLM: price alone": speed}, "requests/s")
    return speed


class _OneFile:
    """An S3 that holds one object."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": _Body(self._body), "ContentLength": len(self._body)}


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, _: int | None = None) -> bytes:
        content, self._content = self._content, b""
        return content

    def iter_chunks(self, _: int) -> Iterator[bytes]:
        yield self.read()

    def close(self) -> None:
        return


def _trail(month: Month, records: int) -> None:
    seconds: dict[str, float] = defaultdict(float)
    count = calls = 0
    for body in trail_files(month, records):
        started = time.process_time()
        count += len(json.loads(gzip.decompress(body))["Records"])
        seconds[JSON] += time.process_time() - started
        client: Any = _OneFile(body)
        started = time.process_time()
        events = list(S3TrailFiles(client, "trail", "", ("team", "tenant")).read(StoredObject("trail", "a")))
        seconds["ours: find and parse"] += time.process_time() - started
        calls += sum(isinstance(event, ObservedCall) for event in events)
    print(f"{count:,} records of trail files, {calls:,} of them calls of a model")
    _print_speeds({name: count / spent for name, spent in seconds.items()}, "records/s")


# Rolling up -----------------------------------------------------------------------------------------------------------


class _Memory:
    """`UsageCounters` and `AllocationQueue` that forget."""

    def checkpoint(self, stream: str, shard: str) -> str:
        return ""

    def apply(self, stream: str, shard: str, *, after: str, through: str, differences: Mapping[UsageKey, Counters]) -> None:
        return

    def usage_of(self, usage_date: date) -> Sequence[Usage]:
        return ()

    def usage_changed(self, days: Iterable[date]) -> None:
        return

    def delivery_ingested(self, record: Any, days: Iterable[date]) -> None:
        return


def _rolling_up(month: Month, prices: ListedPrices) -> float:
    """Changes per CPU second, from the images of an event to the differences of counters."""
    batch_size = _mapping("RollUpUsageFunction", "Invocations")["BatchSize"]
    events = list(_stream(month, prices))
    memory: Any = _Memory()
    gc.freeze()
    started = time.process_time()
    for start in range(0, len(events), batch_size):
        records = [
            StreamRecord(comparable(number), *(invocation_from_image(image) for image in images))
            for number, images in events[start : start + batch_size]
        ]
        roll_up_usage("stream", "shard", records, counters=memory, queue=memory)
    speed = len(events) / (time.process_time() - started)
    print(f"{len(events):,} changes of requests rolled up in batches of {batch_size:,}, without network")
    _print_speeds({"ours: decode and sum": speed}, "changes/s")
    return speed


def _stream(month: Month, prices: ListedPrices) -> Iterator[tuple[str, tuple[dict[str, Any] | None, dict[str, Any]]]]:
    """The changes of requests whose log comes first and whose call is joined a little later, as a stream has them."""
    observed = {}
    for event in itertools.islice(cloudtrail.eventbridge_events(month), 20_000):
        found = parse_event(json.dumps(event["detail"]), frozenset(("team", "tenant")))
        if isinstance(found, ObservedCall):
            observed[found.key] = found.observed
    numbers = itertools.count(10**20)
    waiting: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for body in itertools.islice(log_objects(month, (1_000, 1_001)), 20):
        pricing = Pricing(prices, EmptyDirectory())
        for record in parse_records(expand_in_pieces(body, SOURCE), str(SOURCE), TAG_KEYS):
            if not isinstance(record, MeteredRecord):
                continue
            packed = base64.b64encode(pack_metered(pricing.metered(record))).decode()
            item: dict[str, Any] = {"pk": {"S": str(record.key)}, "metered": {"B": packed}, "expires_at": {"N": "1794236404"}}
            yield str(next(numbers)), (None, item)
            if half := observed.get(record.key):
                joined = item | {"observed": {"B": base64.b64encode(pack_observed(half)).decode()}}
                if half.access_key_id:
                    joined["access_key_id"] = {"S": half.access_key_id}
                waiting.append((item, joined))
        yield from ((str(next(numbers)), change) for change in waiting)
        waiting.clear()


def _mapping(function: str, event: str) -> dict[str, Any]:
    """Properties of an event source mapping of the template."""
    properties: dict[str, Any] = template()["Resources"][function]["Properties"]["Events"][event]["Properties"]
    return properties


if __name__ == "__main__":
    sys.exit(main())
