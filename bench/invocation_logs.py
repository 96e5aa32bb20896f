"""Invocation logs: our expansion, projection and pricing against plain `gzip.decompress` and `json.loads` of the same bytes."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adapters.objects import expand_in_pieces
from adapters.sources.invocation_log import casefolded, parse_records
from adapters.sources.price_list import read_offer
from attribution.directory import DirectoryEntry
from attribution.flows.record_invocations import Pricing
from attribution.ports import MeteredRecord, StoredObject
from attribution.prices import PriceList
from truth import company, invocation_log, price_list
from truth.company import Month
from truth.objects import compact_json, iso_seconds

RECORDS, ROUNDS = 5_000, 5
RECORDS_PER_OBJECT = 500
SIZES = {"records of 1 to 3 KB": (1_000, 3_000), "records with bodies of 20 KB": (20_000, 21_000)}
SOURCE = StoredObject("bucket", "object")
TAG_KEYS = casefolded(("team", "tenant"))
_TURN_CHARACTERS = 600


def main() -> None:
    """Print records a second of both, and their ratio, for records of each size."""
    month = company.build("2026-10", 7, RECORDS)
    prices = ListedPrices(month)
    for title, sizes in SIZES.items():
        objects = log_objects(month, sizes)
        best = fastest({"reference": lambda o=objects: read_by_json(o), "ours": lambda o=objects: read_by_us(o, prices)})  # type: ignore[misc]
        count = best["ours"][1]
        size = sum(len(gzip.decompress(body)) for body in objects) / best["reference"][1]
        print(f"{count} {title}, {size:.0f} bytes on average, best of {ROUNDS} rounds, one core")
        for name, (seconds, read) in best.items():
            print(f"  {name:10} {read / seconds:10,.0f} records/s")
        print(f"  ratio ours / reference: {best['reference'][0] / best['ours'][0]:.2f}")


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


def log_objects(month: Month, sizes: tuple[int, int]) -> list[bytes]:
    """The month's log records as gzip objects, their prompts made longer by earlier turns of the conversation."""
    chance = random.Random(7)
    words = ["".join(chance.choices("etaoinshrdlucmfwypvbgk", k=chance.randint(2, 10))) for _ in range(3_000)]
    logged = [request for request in month.requests if request.is_logged]
    lines = []
    for number, request in enumerate(logged):
        # An object holds the requests of a few minutes.
        delivered = logged[number - number % RECORDS_PER_OBJECT].time
        record = invocation_log.record_of(request) | {"timestamp": iso_seconds(delivered)}
        lines.append(compact_json(_with_history(record, chance.randint(*sizes), chance, words)))
    batches = (lines[start : start + RECORDS_PER_OBJECT] for start in range(0, len(lines), RECORDS_PER_OBJECT))
    return [gzip.compress(b"\n".join(batch) + b"\n") for batch in batches]


def _with_history(record: dict[str, Any], size: int, chance: random.Random, words: Sequence[str]) -> dict[str, Any]:
    messages = record.get("input", {}).get("inputBodyJson", {}).get("messages")
    if messages is None:
        return record
    missing = size - len(compact_json(record))
    while missing > 0:
        text = ""
        while len(text) < min(missing, _TURN_CHARACTERS):
            text += chance.choice(words) + " "
        role = "assistant" if len(messages) % 2 else "user"
        messages.insert(0, {"role": role, "content": [{"text": text}]})
        missing -= len(text) + 50
    return record


def read_by_us(objects: Sequence[bytes], prices: ListedPrices) -> int:
    """What recording does before it writes: returns how many records were priced."""
    count = 0
    for body in objects:
        pricing = Pricing(prices, EmptyDirectory())
        for record in parse_records(expand_in_pieces(body, SOURCE), str(SOURCE), TAG_KEYS):
            if isinstance(record, MeteredRecord):
                pricing.metered(record)
                count += 1
    return count


def read_by_json(objects: Sequence[bytes]) -> int:
    """The least that any reader in Python does."""
    return sum(1 for body in objects for line in gzip.decompress(body).splitlines() if json.loads(line))


def fastest(runs: Mapping[str, Callable[[], int]]) -> dict[str, tuple[float, int]]:
    """Of each run the shortest of several, in CPU seconds, and how many records it read. The runs take turns."""
    timed: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.process_time()
            count = run()
            timed[name].append((time.process_time() - started, count))
    return {name: min(times) for name, times in timed.items()}


if __name__ == "__main__":
    main()
