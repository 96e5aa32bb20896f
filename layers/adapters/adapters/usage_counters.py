"""Usage counters in the ledger: `USAGE#<date>#<shard>`, moved together with the checkpoint of the stream's shard.

A bare `ADD` is repeated by an SDK retry whose acknowledgement was lost. Here it is part of a transaction that requires the
checkpoint to stand where it was read and moves it, so the repeat fails as a whole and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from sys import intern
from typing import Any

from adapters.codec import shared_pairs
from adapters.dynamodb import Item, Table, integer, to_wire
from attribution.canonical import pairs
from attribution.meters import Routing, Tier, TokenKind
from attribution.recounts import Difference
from attribution.usage import Counters, Usage, UsageKey, in_order

# One partition takes 1,000 write units a second; a day's counters are spread over this many. Fixed: readers read all of them.
SHARDS = 8
_GUARDRAIL = "g_"
# DynamoDB takes 100 actions in one transaction; one of them records the correction.
_CORRECTED_AT_ONCE = 99
_UNITS, _ESTIMATED, _UNPRICED = ([(kind, f"{prefix}_{kind.value}") for kind in TokenKind] for prefix in "uen")
# Most counters have nothing unpriced and no guardrail's units: one mapping, which nothing changes, for all of them.
_NOTHING: Mapping[Any, Any] = {}
_COUNTS = ("requests", "errors", "unmeasured", "observed_only", "provisional", "unlogged")


class DynamoUsageCounters:
    """`UsageCounters` in the ledger table."""

    def __init__(self, table: Table, retention_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def checkpoint(self, stream: str, shard: str) -> str:
        """The last sequence number applied; empty before the first."""
        item = self._table.get(pk=_checkpoint_pk(stream, shard), sk="-")
        return str(item["sequence"]) if item else ""

    def apply(self, stream: str, shard: str, *, after: str, through: str, differences: Mapping[UsageKey, Counters]) -> None:
        """Add the differences and move the checkpoint from `after` to `through`, all or nothing."""
        # The record of an already seen shard outlives the shard itself (24 hours) by far.
        expires_at = Decimal(int((self._clock() + self._retention).timestamp()))
        move: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": to_wire({"pk": _checkpoint_pk(stream, shard), "sk": "-"}),
            "UpdateExpression": "SET #sequence = :through, expires_at = :expires_at",
            "ConditionExpression": "#sequence = :after" if after else "attribute_not_exists(pk)",
            "ExpressionAttributeNames": {"#sequence": "sequence"},
            "ExpressionAttributeValues": to_wire({":through": through, ":expires_at": expires_at})
            | (to_wire({":after": after}) if after else {}),
        }
        actions: list[Any] = [{"Update": move}]
        actions += [self._add(key, counters, expires_at) for key, counters in sorted(differences.items(), key=lambda d: d[0])]
        self._table.transact(actions, f"the checkpoint of {shard} moved while its records were added up: read it again")

    def _add(self, key: UsageKey, counters: Counters, expires_at: Decimal) -> dict[str, Any]:
        values: Item = _dimensions(key) | {"expires_at": expires_at}
        amounts = _amounts(counters)
        names = [*values, *amounts]
        set_part = ", ".join(f"#a{i} = :a{i}" for i in range(len(values)))
        add_part = ", ".join(f"#a{i} :a{i}" for i in range(len(values), len(names)))
        update = {
            "TableName": self._table.name,
            "Key": to_wire(_key(key)),
            "UpdateExpression": f"SET {set_part}" + (f" ADD {add_part}" if add_part else ""),
            "ExpressionAttributeNames": {f"#a{i}": name for i, name in enumerate(names)},
            "ExpressionAttributeValues": to_wire({f":a{i}": v for i, v in enumerate([*values.values(), *amounts.values()])}),
        }
        return {"Update": update}

    def corrections(self, usage_date: date) -> int:
        """How often counters of a day were corrected."""
        return sum(1 for _ in self._table.query(_corrections_pk(usage_date), attributes=("sk",)))

    def correct(self, usage_date: date, found: Sequence[Difference], *, after: int) -> int:
        """Add what counters of a day lack, and keep a record of it; returns how many corrections the day has had then.

        What a counter lacks stays so whatever the stream adds meanwhile, so it may be added at any time, but once: somebody who
        corrected the day since it had `after` corrections raises `LedgerConflict`.
        """
        for start in range(0, len(found), _CORRECTED_AT_ONCE):
            part = found[start : start + _CORRECTED_AT_ONCE]
            now = self._clock()
            expires_at = Decimal(int((now + self._retention).timestamp()))
            record: Item = {
                "pk": _corrections_pk(usage_date),
                "sk": f"{after + 1:05d}",
                "corrected_at": now.isoformat(),
                "counters": {difference.key.digest(): _amounts(difference.missing) for difference in part},
                "expires_at": expires_at,
            }
            put = {
                "TableName": self._table.name,
                "Item": to_wire(record),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
            actions = [{"Put": put}, *(self._add(d.key, d.missing, expires_at) for d in part)]
            self._table.transact(actions, f"somebody else corrected the counters of {usage_date} meanwhile: recount it again")
            after += 1
        return after

    def usage_of(self, usage_date: date) -> Sequence[Usage]:
        """Every counter of a day, in one order."""
        items = (i for shard in range(SHARDS) for i in self._table.query(f"USAGE#{usage_date.isoformat()}#{shard}"))
        return in_order(_usage(usage_date, item) for item in items)


def _corrections_pk(usage_date: date) -> str:
    return f"RECOUNT#{usage_date.isoformat()}"


def _checkpoint_pk(stream: str, shard: str) -> str:
    return f"CHECKPOINT#{stream}#{shard}"


def _key(key: UsageKey) -> dict[str, str]:
    digest = key.digest()
    return {"pk": f"USAGE#{key.usage_date.isoformat()}#{int(digest[:8], 16) % SHARDS}", "sk": digest}


def _dimensions(key: UsageKey) -> Item:
    return {
        "account_id": key.account_id,
        "region": key.region,
        "model": key.model,
        "routing": key.routing.value,
        "tier": key.tier.value,
        "iam_principal": key.iam_principal,
        "inference_profile": key.inference_profile,
        "request_metadata": dict(key.request_metadata),
        "session_tags": dict(key.session_tags),
        "source_identity": key.source_identity,
        "project": key.project,
        "lambda_function": key.lambda_function,
    }


def _amounts(counters: Counters) -> Item:
    """What counters hold, without what is zero, by the names of the attributes."""
    amounts: Item = {name: getattr(counters, name) for name in _COUNTS}
    for prefix, by_kind in (("u", counters.units), ("e", counters.estimated), ("n", counters.unpriced)):
        amounts |= {f"{prefix}_{kind.value}": amount for kind, amount in by_kind.items()}
    amounts |= {f"{_GUARDRAIL}{policy}": count for policy, count in counters.guardrail_units.items()}
    return {name: amount for name, amount in amounts.items() if amount}


def counter_item(usage: Usage) -> Item:
    """A counter as it lies in the table once everything of its day was added up."""
    return _key(usage.key) | _dimensions(usage.key) | _amounts(usage.counters)


def _usage(usage_date: date, item: Item) -> Usage:
    key = UsageKey(
        usage_date=usage_date,
        # A day has half a million counters and some thousand different texts.
        account_id=intern(item["account_id"]),
        region=intern(item["region"]),
        model=intern(item["model"]),
        routing=Routing(item["routing"]),
        tier=Tier(item["tier"]),
        iam_principal=intern(item["iam_principal"]),
        inference_profile=intern(item["inference_profile"]),
        request_metadata=shared_pairs(pairs(item["request_metadata"])),
        session_tags=shared_pairs(pairs(item["session_tags"])),
        source_identity=intern(item["source_identity"]),
        project=intern(item["project"]),
        lambda_function=intern(item["lambda_function"]),
    )
    guardrail_units = {n.removeprefix(_GUARDRAIL): int(item[n]) for n in sorted(item) if n.startswith(_GUARDRAIL)}
    return Usage(
        key,
        Counters(
            **{name: integer(item.get(name)) for name in _COUNTS},
            units={kind: int(item[name]) for kind, name in _UNITS if item.get(name)} or _NOTHING,
            estimated={kind: item[name] for kind, name in _ESTIMATED if item.get(name)} or _NOTHING,
            unpriced={kind: int(item[name]) for kind, name in _UNPRICED if item.get(name)} or _NOTHING,
            guardrail_units=guardrail_units or _NOTHING,
        ),
    )
