"""Invocation logs: our decompress, project and price against plain decompress and `json.loads` of the same bytes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable

from adapters.sources.invocation_log import parse_record, split_records
from adapters.sources.price_list import read_offer
from attribution.errors import InputRejected
from attribution.flows.record_invocations import priced
from attribution.ports import StoredObject
from attribution.prices import PriceList
from truth import company, invocation_log, price_list

RECORDS, ROUNDS = 5_000, 5
SOURCE = StoredObject("bucket", "object")


def main() -> None:
    """Print records a second of both, and their ratio."""
    month = company.build("2026-10", 7, RECORDS)
    objects = [o.body for o in invocation_log.objects(month, prefix="p") if "/data/" not in o.key and o.body]
    prices = PriceList(p for code, body in price_list.offers(month).items() for p in read_offer(body, code).prices)

    def ours() -> int:
        count = 0
        for body in objects:
            for line, raw in enumerate(split_records(gzip.decompress(body), SOURCE), start=1):
                try:
                    priced(parse_record(raw, SOURCE, line, frozenset({"team", "tenant"})), prices)
                except InputRejected:
                    continue
                count += 1
        return count

    def reference() -> int:
        return sum(1 for body in objects for line in gzip.decompress(body).splitlines() if json.loads(line))

    best = {run.__name__: fastest(run) for run in (reference, ours)}
    size = sum(len(gzip.decompress(body)) for body in objects) / RECORDS
    print(f"{RECORDS} records of {size:.0f} bytes, best of {ROUNDS} rounds, one core")
    for name, (seconds, count) in best.items():
        print(f"  {name:10} {count / seconds:10,.0f} records/s")
    print(f"  ratio ours / reference: {best['reference'][0] / best['ours'][0]:.2f}")


def fastest(run: Callable[[], int]) -> tuple[float, int]:
    """The shortest of several runs, in CPU seconds, and how many records it read."""
    timed = []
    for _ in range(ROUNDS):
        started = time.process_time()
        count = run()
        timed.append((time.process_time() - started, count))
    return min(timed)


if __name__ == "__main__":
    main()
