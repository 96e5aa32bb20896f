"""`make bench-budgets`: what an evaluation of budgets takes, and how it grows with budgets and with values of a dimension.

The flow, the adapters and the wire format are the product's; DynamoDB is a table in memory that answers and counts as DynamoDB
would, so that times are CPU time without the network. Every case runs in a process of its own, and evaluates four times: after
the policy has changed (each day is summed anew, once), when nothing has changed, after the running day has changed, and once
more with an alert for every budget, which reads the charges behind their drivers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, cast

from adapters.alerts import DynamoOutbox
from adapters.budget_sums import DynamoBudgetSums
from adapters.dynamodb import Table, from_wire, to_wire
from adapters.ledger_days import DynamoLedgerDays
from adapters.ledger_keys import day_pk, period_pk, version_sk
from adapters.policy import DynamoPolicy, parse_policy
from attribution.charges import AllocatedCharge, Basis, CategoryValue, Costs
from attribution.days import make_day_version
from attribution.flows.evaluate_budgets import evaluate_budgets
from attribution.meters import Meter, TokenKind
from attribution.periods import BillingPeriod
from attribution.rules import Rules

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TODAY = NOW.date()
READ_UNIT_BYTES = 4096
KINDS = (TokenKind.INPUT, TokenKind.OUTPUT)


class MemoryTable:
    """The part of a DynamoDB client that the adapters call, over items in memory; counts what is read and written."""

    class exceptions:
        class ConditionalCheckFailedException(Exception):
            """A condition did not hold."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.read_items = self.read_units = self.written_items = 0

    def put(self, item: Mapping[str, Any]) -> None:
        wire = to_wire(item)
        self.items[wire["pk"]["S"], wire["sk"]["S"]] = wire

    def _read(self, wire: dict[str, Any]) -> dict[str, Any]:
        self.read_items += 1
        size = sum(len(name) + len(str(next(iter(value.values())))) for name, value in wire.items())
        self.read_units += -(-size // READ_UNIT_BYTES)
        return wire

    def get_item(self, *, Key: dict[str, Any], **_: Any) -> dict[str, Any]:
        found = self.items.get((Key["pk"]["S"], Key["sk"]["S"]))
        return {"Item": self._read(found)} if found else {}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:
        ((name, request),) = RequestItems.items()
        found = [self.items.get((key["pk"]["S"], key["sk"]["S"])) for key in request["Keys"]]
        return {"Responses": {name: [self._read(wire) for wire in found if wire]}}

    def batch_write_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:
        ((_, requests),) = RequestItems.items()
        for request in requests:
            self.put(from_wire(request["PutRequest"]["Item"]))
            self.written_items += 1
        return {}

    def put_item(self, *, Item: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.put(from_wire(Item))
        self.written_items += 1
        return {}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]]) -> dict[str, Any]:
        """Only the ledger's own writer, alone, transacts here: every condition holds."""
        for action in TransactItems:
            if "Put" in action:
                self.put(from_wire(action["Put"]["Item"]))
        return {}

    def get_paginator(self, _: str) -> MemoryTable:
        return self

    def paginate(self, *, ExpressionAttributeValues: dict[str, Any], **_: Any) -> Iterator[dict[str, Any]]:
        pk = ExpressionAttributeValues[":pk"]["S"]
        prefix = ExpressionAttributeValues.get(":prefix", {"S": ""})["S"]
        keys = sorted(key for key in self.items if key[0] == pk and key[1].startswith(prefix))
        yield {"Items": [self._read(self.items[key]) for key in keys]}


@dataclass(frozen=True, slots=True)
class Case:
    """How many budgets, how many values of the dimension that they are about, how many days of history."""

    budgets: int
    values: int
    days: int


def charge(day: date, value: int, kind: TokenKind, cost: str) -> AllocatedCharge:
    return AllocatedCharge(
        origin=f"{value:032x}",
        usage_date=day,
        account_id="111122223333",
        region="us-east-1",
        line_item_type="Usage",
        feature="inference",
        usage_type=f"USE1-{kind}",
        meter=Meter(f"anthropic.model-{value % 7}", kind),
        iam_principal=f"arn:aws:sts::111122223333:assumed-role/role-{value % 50}/session",
        inference_profile="",
        categories=(CategoryValue("team", f"team-{value}"),),
        currency="USD",
        units=Decimal(1000 + value),
        requests=1,
        costs=Costs.uniform(Decimal(cost)),
    )


def fill(case: Case, table: Table, memory: MemoryTable, cost: str = "1.000000001") -> None:
    """Days that cost the same: one is written as the product does, the others are its copies under their own dates."""
    days = DynamoLedgerDays(table, 760, lambda: NOW)
    charges = [charge(TODAY, value, kind, cost) for value in range(case.values) for kind in KINDS]
    version = make_day_version(TODAY, Basis.ESTIMATED, charges, Rules(), origin="", usage=cost)
    # Of the sums by dimension, evaluating budgets reads only by which categories there are any.
    pointer = days.stage(replace(version, sums={"team": {}}), "")
    own = day_pk(TODAY)
    written = {key: item for key, item in memory.items.items() if key[0] == own or key[0].startswith(f"{own}#")}
    header = from_wire(written[own, version_sk(pointer.version)])
    for i in range(case.days):
        day = TODAY - timedelta(days=i)
        for (pk, sk), item in written.items():
            named = pk.replace(own, day_pk(day), 1)
            memory.items[named, sk] = item | {"pk": {"S": named}}
        basis = Basis.ESTIMATED if i < 2 else Basis.BILLED
        dated = header | {"usage_date": day.isoformat(), "basis": basis.value}
        memory.put(dated | {"pk": day_pk(day), "sk": version_sk(pointer.version)})
        memory.put(dated | {"pk": period_pk(BillingPeriod.of(day)), "sk": f"DAY#{day}"})


def policy(case: Case, limit: str) -> Any:
    teams = [
        {
            "name": f"budget {i}",
            "limit": {"amount": limit},
            "dimension": "team",
            "values": [f"team-{i * case.values // case.budgets}"],
            "filter": {"Dimensions": {"Key": "model", "Values": ["anthropic."], "MatchOptions": ["STARTS_WITH"]}},
            "forecast_thresholds": ["100"],
        }
        for i in range(case.budgets)
    ]
    return parse_policy({"cost_categories": [{"name": "team", "keys": ["team"]}], "budgets": teams})


def run(case: Case) -> list[dict[str, Any]]:
    """Each of the evaluations, with what it took."""
    memory = MemoryTable()
    table = Table(cast(Any, memory), "ledger")
    fill(case, table, memory)
    policies = DynamoPolicy(table)
    policies.apply(policy(case, "1000000"))
    measured = []
    for step in ("policy changed", "nothing changed", "a day changed", "every budget broken"):
        if step == "a day changed":
            fill(replace(case, days=1), table, memory, "1.000000002")
        elif step == "every budget broken":
            policies.apply(policy(case, "1"))
        memory.read_items = memory.read_units = memory.written_items = 0
        started = time.process_time()
        outcome = evaluate_budgets(
            [TODAY],
            days=DynamoLedgerDays(table, 760, lambda: NOW),
            sums=DynamoBudgetSums(table, lambda: NOW),
            policy=policies,
            alerts=DynamoOutbox(Table(cast(Any, memory), "alerts"), 760, lambda: NOW),
            clock=lambda: NOW,
        )
        assert len(outcome.evaluations) == case.budgets
        assert (len(outcome.changed) > 0) is (step == "every budget broken")
        measured.append(
            {
                "step": step,
                "seconds": time.process_time() - started,
                "days summed": outcome.judged.days_summed,
                "read items": memory.read_items,
                "read units": memory.read_units,
                "written items": memory.written_items,
                "alerts": len(outcome.changed),
            }
        )
    return measured


def peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-budgets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--values", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument(
        "--days", type=int, default=85, help="days that the ledger has (default %(default)s: a forecast's history)"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case = Case(options.budgets[0], options.values[0], options.days)
        print(json.dumps({"steps": run(case), "megabytes": peak_megabytes()}))
        return
    print(f"{options.days} days, 2 charges per value and day; CPU seconds of one core, without the network\n")
    columns = f"{'seconds':>8} {'days':>5} {'items':>7} {'units':>7} {'written':>8} {'alerts':>7} {'MB':>6}"
    print(f"{'budgets':>7} {'values':>7} {'':20} {columns}")
    for budgets, values in product(options.budgets, options.values):
        if budgets > values:
            continue
        command = [sys.executable, "-m", "bench.budgets", "--one", "--budgets", str(budgets), "--values", str(values)]
        told = subprocess.run([*command, "--days", str(options.days)], cwd=ROOT, check=True, capture_output=True, text=True)
        answer = json.loads(told.stdout)
        for found in answer["steps"]:
            print(
                f"{budgets:>7} {values:>7} {found['step']:20} {found['seconds']:8.2f} {found['days summed']:>5} "
                f"{found['read items']:>7} {found['read units']:>7} {found['written items']:>8} {found['alerts']:>7} "
                f"{answer['megabytes']:6.0f}"
            )


if __name__ == "__main__":
    main()
