"""A small stack whose state can be kept and put back, a queue that delivers again, and a reader who looks all the time."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, timedelta
from types import ModuleType
from typing import Any

from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from adapters.codec import adjustment_from_json, amounts_of_row, sum_from_row, totals_from_json
from adapters.day_parts import part_key
from adapters.dynamodb import from_wire
from adapters.ledger_days import DynamoLedgerDays
from adapters.ledger_keys import ADJUSTMENTS
from adapters.policy import DynamoPolicy, parse_policy
from attribution.adjustments import Adjustment
from attribution.charges import AllocatedCharge, Costs, sum_costs
from attribution.days import CHARGES_ROOT, sums_root
from attribution.errors import LedgerConflict
from tests.crash.faults import Crash, Faults, Mode
from tests.support import inputs
from tests.support.stack import ACCOUNT, REGION, Sent, Stack, messages, windowed

DAYS = 2
_REQUESTS = 60
"""A month's requests, of which very few are made in the first days."""
_ATTEMPTS_MAX = 6
_MOMENTS_MAX = 12
"""Of a run, in the usual test."""
Work = tuple[str, dict[str, Any]]
"""A function and an event for it."""


class World:
    """The stack under faults."""

    def __init__(self, faults: Faults, **parameters: str) -> None:
        self.stack = Stack(overrides=parameters)
        self.faults = faults
        self.reader = Reader(self.stack)
        self._settled: dict[tuple[str, str], str] = {}
        faults.after_write = lambda number: self.reader.look()
        self.modules: dict[str, ModuleType] = {
            name: self.stack.handler(name) for name in ("roll_up_usage", "ingest_cost_report", "allocate_charges")
        }

    # Inputs -------------------------------------------------------------------------------------------------------------

    def stream_records(self, requests: int = _REQUESTS) -> list[dict[str, Any]]:
        """Record the first days' requests; returns the changes of their items."""
        first_days = [f"/2026/02/{day:02d}/" for day in range(1, DAYS + 1)]
        of_days = [o for o in inputs.log_objects(self.stack, inputs.month(requests)) if any(day in o.key for day in first_days)]
        self.stack.run("record_invocations", messages("record_invocations", inputs.put_logs(self.stack, of_days)))
        trail = [e for e in inputs.trail_events(inputs.month(requests)) if e["time"] < f"2026-02-{DAYS + 1:02d}"]
        self.stack.run("record_api_calls", messages("record_api_calls", trail))
        return list(self.stack.stream("InvocationsTable"))

    def delivery(self, refresh: int, *, hours: int, execution_id: str = "") -> Work:
        """Put a refresh as if it was written so early that it bills the first days alone; again under another execution id."""
        written_at = inputs.month().start + timedelta(days=DAYS + 1, hours=hours)
        delivery = inputs.tiny(refresh, DAYS)
        if execution_id:
            delivery = inputs.executed_again(delivery, execution_id)
        event = inputs.deliver(self.stack, delivery, written_at=written_at)
        return "ingest_cost_report", messages("ingest_cost_report", [event])

    def estimated(self) -> None:
        """Count the first days' requests and estimate their days."""
        self.settle([("roll_up_usage", windowed(self.stream_records()))])

    # Work ---------------------------------------------------------------------------------------------------------------

    def invoke(self, work: Work) -> bool:
        """Whether an invocation did its work; a queue delivers the message again otherwise."""
        function, event = work
        try:
            answer = self.stack.invoke(self.modules[function], event)
        except (Crash, BatchProcessingError, LedgerConflict):
            return False
        return not answer["batchItemFailures"]

    def asked(self) -> list[Work]:
        """The messages that were sent meanwhile, each as an invocation of its own."""
        return [allocation(message) for message in self.stack.drain("AllocationQueue")]

    def settle(self, work: Iterable[Work], *, faulty: Sequence[str] = (), recut: bool = False) -> str:
        """Do all work and what comes of it; returns the state it ends in. The functions in `faulty` meet the faults, and come
        first.
        """
        self._work_off(self._work_off(work, faulty, recut))
        return self.dump()

    def end_of(self, work: Iterable[Work], *, faulty: Sequence[str], recut: bool) -> str:
        """The state that `settle` would end in. What the faulty functions ask of others is done only once for each state and
        list of messages that they leave.
        """
        rest = self._work_off(work, faulty, recut)
        key = (self.dump(), json.dumps(rest))
        if key not in self._settled:
            self._work_off(rest)
            self._settled[key] = self.dump()
        return self._settled[key]

    def _work_off(self, work: Iterable[Work], faulty: Sequence[str] = (), recut: bool = False) -> list[Work]:
        """Invoke the faulty functions, or without them all, until nothing is left, delivering again what failed; returns the
        work of the others.

        A message whose write was applied before the crash is delivered once more at the very end.
        """
        waiting = deque((item, 1) for item in work)
        again: list[Work] = []
        others: list[Work] = []
        while waiting:
            item, attempt = waiting.popleft()
            if faulty and item[0] not in faulty:
                others.append(item)
            elif not self._attempt(item, is_disturbed=bool(faulty)):
                assert attempt < _ATTEMPTS_MAX, f"{item[0]} does not get done: {self.stack.log.getvalue()[-2000:]}"
                again += [item] * (self.faults.mode is Mode.AFTER)
                waiting.extendleft((part, attempt + 1) for part in reversed(halves(item) if recut else [item]))
            waiting.extend((asked, 1) for asked in self.asked())
            if not waiting and again:
                waiting.extend((item, 1) for item in again)
                again.clear()
        return others

    def _attempt(self, work: Work, *, is_disturbed: bool) -> bool:
        with self.faults.on() if is_disturbed else contextlib.nullcontext():
            is_done = self.invoke(work)
        self.reader.look()
        return is_done

    def apply_rules(self, owner: str, *, is_closed_meant: bool = False) -> list[Work]:
        """Put a policy in force that gives what nobody else owns to this owner; returns that its days are asked for.

        `is_closed_meant` says that somebody means those of a closed month.
        """
        accounts = sorted({charge.account_id for day in self.days() for charge in self.charges(day)})
        category = {"name": "team", "keys": ["team"], "accounts": dict.fromkeys(accounts, owner)}
        policy = parse_policy({"cost_categories": [category]})
        version = DynamoPolicy(self.stack.table("LedgerTable")).apply(policy)
        asked = {"because": "request"} | ({"by_policy": version} if is_closed_meant else {})
        return [
            ("allocate_charges", messages("allocate_charges", [{"usage_date": day.isoformat(), **asked}]))
            for day in self.days()
        ]

    def days(self) -> list[date]:
        """The days that readers see."""
        return sorted(self.ledger_days().pointers(inputs.PERIOD))

    def charges(self, usage_date: date) -> Iterator[AllocatedCharge]:
        """The charges of a day as a reader has them now."""
        pointer = self.ledger_days().pointers(inputs.PERIOD)[usage_date]
        return self.ledger_days().charges(usage_date, pointer.version)

    def ledger_days(self) -> DynamoLedgerDays:
        return DynamoLedgerDays(self.stack.table("LedgerTable"), 760, lambda: self.stack.now)

    def roots(self) -> dict[date, set[str]]:
        """Where the versions that readers see begin."""
        return {day: set(pointer.roots.values()) for day, pointer in self.ledger_days().pointers(inputs.PERIOD).items()}

    def shown(self) -> dict[str, list[str]]:
        """The rows of every version that readers see, by its name."""
        stored = self.reader.partitions()
        shown = {}
        for pointer in self.ledger_days().pointers(inputs.PERIOD).values():
            found = (row for root in pointer.roots.values() for row in rows(stored, pointer.usage_date, root))
            shown[pointer.version] = list(found)
        return shown

    def expire(self) -> int:
        """Let so much time pass that everything with an expiry is removed; returns how many items that were."""
        table = self.stack.table("LedgerTable")
        gone = [item for item in self.stack.items("LedgerTable") if "expires_at" in item]
        for item in gone:
            table.delete(pk=item["pk"], sk=item["sk"])
        return len(gone)

    def interrupt(self, number: int, work: Sequence[Work], *, is_settled: bool = False) -> None:
        """When write `number` has been applied, another worker does this work, and where `is_settled` what comes of it."""

        def when_written(count: int) -> None:
            self.reader.look()
            if count == number:
                for item in work:
                    self.invoke(item)
                if is_settled:
                    self.settle(self.asked())
                self.reader.look()

        self.faults.after_write = when_written

    # State --------------------------------------------------------------------------------------------------------------

    def keep(self) -> Callable[[], None]:
        """Keep the present state; returns what puts it back."""
        table: Any = dynamodb_backends[ACCOUNT][REGION].get_table("LedgerTable")
        bucket: Any = s3_backends[ACCOUNT]["aws"].buckets["workbucket"]
        items, objects = copy.deepcopy(table.items), {key: list(bucket.keys.getlist(key)) for key in bucket.keys}
        waiting = self.stack.sent("AllocationQueue")
        assert waiting == [], "messages are not part of what is kept"

        def put_back() -> None:
            current: Any = dynamodb_backends[ACCOUNT][REGION].get_table("LedgerTable")
            current.items = copy.deepcopy(items)
            bucket.keys = type(bucket.keys)()
            for key, versions in objects.items():
                bucket.keys.setlist(key, list(versions))
            self.stack.drain("AllocationQueue")
            self.stack.drain("BudgetQueue")
            self.stack.log.seek(0)
            self.stack.log.truncate()
            self.reader.forget()

        return put_back

    def dump(self) -> str:
        """The ledger and the work bucket, byte for byte."""
        bucket: Any = s3_backends[ACCOUNT]["aws"].buckets["workbucket"]
        objects = sorted((key, stored.etag) for key, stored in bucket.keys.items())
        entries = [*self.stack.wire_items("LedgerTable"), *objects]
        return "\n".join(json.dumps(entry, sort_keys=True, default=bytes.hex) for entry in entries)

    def visible(self) -> dict[str, Any]:
        """What a reader can see: the current version of each day with its rows, and the newest delivery's outcome.

        Where the rows lie is no part of it: that depends on the versions there were before.
        """
        items = self.stack.items("LedgerTable")
        pointers = [i for i in items if i["pk"] == "PERIOD#2026-02" and i["sk"].startswith("DAY#")]
        assert all(p["superseded"] == [] for p in pointers), "a superseded version was never given its expiry"
        self.assert_nothing_alive_expires()
        seen: dict[str, Any] = {p["sk"]: {k: v for k, v in p.items() if k not in ("superseded", "roots")} for p in pointers}
        stored = self.reader.partitions()
        for pointer in pointers:
            day = date.fromisoformat(pointer["usage_date"])
            seen |= {f"{day} {name}": list(rows(stored, day, root)) for name, root in pointer["roots"].items()}
        deliveries = sorted((i for i in items if i["pk"] == "DELIVERY#2026-02"), key=lambda i: str(i["sequence"]))
        seen["newest"] = (deliveries[-1]["execution_id"], deliveries[-1]["outcome"]) if deliveries else ("", "")
        return seen

    def assert_nothing_alive_expires(self) -> None:
        """No version that is current, staged or not yet retired refers to anything that has an expiry."""
        stored = self.reader.partitions()
        for day, header in self._versions():
            if "expires_at" not in header:
                for ref in references(stored, day, header["roots"].values()):
                    assert "expires_at" not in item_of(stored, day, ref), f"{ref} of {header['version']} expires"

    def assert_only_current_versions_stay(self) -> None:
        """Every other version, and every part that only others refer to, has been given its expiry.

        What an attempt left behind that was overtaken goes with the version that took its generation.
        """
        items = self.stack.items("LedgerTable")
        current = {(p["usage_date"], p["version"]) for p in items if p["sk"].startswith("DAY#")}
        assert {(str(day), v["version"]) for day, v in self._versions() if "expires_at" not in v} == current
        stored = self.reader.partitions()
        kept = {
            tuple(part_key(day, ref).values())
            for day, header in self._versions()
            if "expires_at" not in header
            for ref in references(stored, day, header["roots"].values())
        }
        staying = {(i["pk"], i["sk"]) for i in items if "body" in i and "expires_at" not in i}
        assert kept <= staying
        current_generations = {f"DAY#{day}#{v['generation']}" for day, v in self._versions() if "expires_at" not in v}
        assert {pk.rpartition("#")[0] for pk, _ in staying - kept} <= current_generations

    def _versions(self) -> Iterator[tuple[date, dict[str, Any]]]:
        for item in self.stack.items("LedgerTable"):
            if item["sk"].startswith("VERSION#"):
                yield date.fromisoformat(item["usage_date"]), item


Stored = Mapping[str, Mapping[str, Any]]
"""The ledger in moto's memory: partition key, sort key, item."""


def item_of(stored: Stored, usage_date: date, ref: str) -> dict[str, Any]:
    """The part that a reference names; `KeyError` where it is lost."""
    key = part_key(usage_date, ref)
    attributes = stored[key["pk"]][key["sk"]].attrs
    return from_wire({name: value.to_regular_json() for name, value in attributes.items()})


def _lines(stored: Stored, usage_date: date, ref: str) -> tuple[int, list[str]]:
    part = item_of(stored, usage_date, ref)
    body = gzip.decompress(bytes(part["body"])).decode()
    return int(part["level"]), body.split("\n") if body else []


def rows(stored: Stored, usage_date: date, root: str) -> Iterator[str]:
    """The rows below a part, found without the product's own reader."""
    level, found = _lines(stored, usage_date, root)
    for line in found:
        if level:
            yield from rows(stored, usage_date, line)
        else:
            yield line


def references(stored: Stored, usage_date: date, roots: Iterable[str]) -> set[str]:
    """Every part at and below these, likewise."""
    known = set(roots)
    for root in list(known):
        level, found = _lines(stored, usage_date, root)
        if level:
            known |= references(stored, usage_date, found)
    return known


def allocation(message: Sent) -> Work:
    return "allocate_charges", inputs.allocation_event([message])


def halves(work: Work) -> list[Work]:
    """A stream batch in two, as a mapping bisects one that failed."""
    function, event = work
    records = event["Records"]
    cut = len(records) // 2
    if function != "roll_up_usage" or not cut:
        return [work]
    return [(function, event | {"Records": part}) for part in (records[:cut], records[cut:])]


class Reader:
    """Looks at the ledger as a report does: it never sees half of a delivery, a step back, or a day that does not add up."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._at_closing: Costs | None = None
        self._owners_at_closing: dict[str, Costs] = {}
        self.looks = 0
        self.forget()

    def close_month(self) -> None:
        """From here on, what is billed, who owns it and the adjustments must account for each other."""
        self.look()
        self._owners_at_closing = self.owners()
        self._at_closing = _billed(self._period())

    def owners(self) -> dict[str, Costs]:
        """What each team has of the month, as it was looked at last."""
        teams = sorted({team for of_day in self._teams.values() for team in of_day})
        owned = {team: sum_costs(of_day.get(team, Costs()) for of_day in self._teams.values()) for team in teams}
        return {team: costs for team, costs in owned.items() if not costs.is_zero()}

    def _owners_by_adjustments(self) -> dict[str, Costs]:
        owned = dict(self._owners_at_closing)
        for adjustment in self.adjustments():
            for (team, _), costs in adjustment.by_owner.get("team", {}).items():
                owned[team] = owned.get(team, Costs()) + costs
        return {team: costs for team, costs in sorted(owned.items()) if not costs.is_zero()}

    def adjustments(self) -> list[Adjustment]:
        """What deliveries changed in the month since it was closed."""
        stored = _plain_items(self._period(), ADJUSTMENTS, *(field.name for field in fields(Adjustment)))
        return [adjustment_from_json(item) for item in stored]

    def _period(self) -> Mapping[str, Any]:
        return self.partitions().get("PERIOD#2026-02", {})

    def forget(self) -> None:
        """Another world: what was seen before does not bind it."""
        self._sequences: dict[str, str] = {}
        self._verified: dict[tuple[Any, ...], dict[str, Costs]] = {}
        self._teams: dict[str, dict[str, Costs]] = {}

    def partitions(self) -> Stored:
        """The ledger as it is now."""
        table: Any = dynamodb_backends[ACCOUNT][REGION].get_table("LedgerTable")
        return {pk.value: {sk.value: item for sk, item in items.items()} for pk, items in table.items.items()}

    def look(self) -> None:
        self.looks += 1
        partitions = self.partitions()
        wanted = ("usage_date", "version", "sequence", "totals", "charge_count", "roots")
        pointers = {p["usage_date"]: p for p in _plain_items(partitions.get("PERIOD#2026-02", {}), "DAY#", *wanted)}
        for delivery in _plain_items(partitions.get("DELIVERY#2026-02", {}), "", "changed_days", "sequence"):
            days, sequence = delivery["changed_days"], delivery["sequence"]
            sequences = [pointers[day]["sequence"] if day in pointers else "" for day in days]
            if sequence in sequences:
                assert all(s >= sequence for s in sequences), f"half of delivery {sequence} is visible: {sequences}"
        for day, pointer in pointers.items():
            assert pointer["sequence"] >= self._sequences.get(day, ""), f"{day} went back to an older delivery"
            self._sequences[day] = pointer["sequence"]
            self._adds_up(pointer, partitions)
        if self._at_closing is not None:
            changed = sum_costs(a.totals["USD"].difference for a in self.adjustments())
            assert _billed(self._period()) == self._at_closing + changed, "the closed month changed by more than adjustments"
            assert self.owners() == self._owners_by_adjustments(), "owners of the closed month changed by more than adjustments"
        gone = self._sequences.keys() - pointers.keys()
        assert not gone, f"{gone} were visible and are not any more"

    def _adds_up(self, pointer: Mapping[str, Any], stored: Stored) -> None:
        identity = (pointer["version"], pointer["sequence"], tuple(pointer["roots"].values()))
        if identity in self._verified:
            self._teams[pointer["usage_date"]] = self._verified[identity]
            return
        day = date.fromisoformat(pointer["usage_date"])
        amounts = [amounts_of_row(row) for row in rows(stored, day, pointer["roots"][CHARGES_ROOT])]
        totals = {c: sum_costs(costs for currency, costs in amounts if currency == c) for c in {c for c, _ in amounts}}
        assert totals == totals_from_json(pointer["totals"]), f"{day} does not add up"
        assert len(amounts) == pointer["charge_count"]
        by_team = dict(sum_from_row(row) for row in rows(stored, day, pointer["roots"][sums_root("team")]))
        assert sum_costs(of_team.costs for of_team in by_team.values()) == sum_costs(totals.values())
        self._verified[identity] = {team: of_team.costs for (team, _), of_team in by_team.items()}
        self._teams[pointer["usage_date"]] = self._verified[identity]


def _billed(period: Mapping[str, Any]) -> Costs:
    """The bill of a month whose days are all billed."""
    totals = (totals_from_json(pointer["totals"]) for pointer in _plain_items(period, "DAY#", "totals"))
    return sum_costs(of_day.get("USD", Costs()) for of_day in totals)


def _plain_items(partition: Mapping[str, Any], prefix: str, *names: str) -> Iterator[dict[str, Any]]:
    """These attributes of the items of a partition, straight from moto's memory: a look costs next to nothing."""
    for key, item in partition.items():
        if key.startswith(prefix):
            yield from_wire({name: item.attrs[name].to_regular_json() for name in names})


def enumerate_faults(
    world: World,
    work: Callable[[], Sequence[Work]],
    *,
    faulty: Sequence[str],
    mode: Mode,
    is_published: bool,
    recut: bool = False,
) -> int:
    """Run the schedules with one fault, at one of its `moments` each; each must end as the run without one. Returns how many.

    `is_published` says whether that run makes the newest delivery visible.
    """
    put_back = world.keep()
    world.faults.arm(0, mode)
    reference = world.end_of(work(), faulty=faulty, recut=recut)
    writes = world.faults.count
    assert writes > 0
    assert is_published == (world.visible()["newest"][1] == "published")
    chosen = moments(writes, first=list(Mode).index(mode))
    for number in chosen:
        put_back()
        world.faults.arm(number, mode)
        left = world.end_of(work(), faulty=faulty, recut=recut)
        assert world.faults.count >= number, "the fault was never reached"
        assert left == reference, f"{mode} at write {number} of {writes} leaves another ledger"
    put_back()
    return len(chosen)


def moments(writes: int, *, first: int = 0) -> list[int]:
    """The writes to disturb: some that lie evenly, and the last; with CRASH_SCHEDULES=all each.

    Most writes of a long run are of one kind, such as parts of a version. The modes begin at another write each.
    """
    every = range(1, writes + 1)
    if os.environ.get("CRASH_SCHEDULES") == "all":
        return list(every)
    stride = -(-writes // _MOMENTS_MAX)
    return sorted({*every[first * stride // len(Mode) :: stride], writes})
