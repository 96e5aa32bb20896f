"""The directory in the ledger: what ARNs stand for that do not say so.

DIRECTORY#<kind>   <arn>

An entry is kept when what it names is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from adapters.dynamodb import Item, Table
from attribution.canonical import pairs
from attribution.directory import DirectoryEntry, kind_of
from attribution.meters import Routing, Tier
from attribution.usage import Pairs


class DynamoDirectory:
    """`Directory` and `ProfileTags` in the ledger table. What an ARN stands for never changes, so that is looked up once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._found: dict[str, DirectoryEntry] = {}

    def find(self, arns: Iterable[str]) -> Mapping[str, DirectoryEntry]:
        """The entries of these ARNs, as far as they are known. An unknown one is looked up each time: it may appear."""
        wanted = sorted(set(arns))
        for arn in wanted:
            if arn not in self._found and (item := self._table.get(pk=_pk(arn), sk=arn)):
                entry = _entry(item)
                if not entry.model:
                    continue
                self._found[arn] = entry
        return {arn: self._found[arn] for arn in wanted if arn in self._found}

    def tags(self, arns: Iterable[str]) -> Mapping[str, Pairs]:
        """The tags of these ARNs, read anew: unlike what an ARN stands for, they change."""
        items = self._table.batch_get({"pk": _pk(arn), "sk": arn} for arn in arns)
        return {entry.arn: entry.tags for entry in map(_entry, items) if entry.tags}

    def of_kind(self, kind: str) -> Sequence[DirectoryEntry]:
        """Every entry of a kind, such as `inference-profile`."""
        return [_entry(item) for item in self._table.query(f"DIRECTORY#{kind}")]

    def put(self, entry: DirectoryEntry) -> None:
        """Write an entry whole."""
        self._table.batch_put([_item(entry)])
        self._found.pop(entry.arn, None)


def _pk(arn: str) -> str:
    return f"DIRECTORY#{kind_of(arn) or 'other'}"


def _item(entry: DirectoryEntry) -> Item:
    item: Item = {
        "pk": _pk(entry.arn),
        "sk": entry.arn,
        "model": entry.model,
        "routing": entry.routing.value,
        "tier": entry.tier.value,
        "name": entry.name,
        "tags": dict(entry.tags),
        "first_seen": entry.first_seen.isoformat(),
        "last_seen": entry.last_seen.isoformat(),
    }
    return item | ({"deleted_at": entry.deleted_at.isoformat()} if entry.deleted_at else {})


def _entry(item: Item) -> DirectoryEntry:
    return DirectoryEntry(
        arn=item["sk"],
        model=item["model"],
        routing=Routing(item["routing"]),
        tier=Tier(item["tier"]),
        name=item["name"],
        tags=pairs(item["tags"]),
        first_seen=datetime.fromisoformat(item["first_seen"]),
        last_seen=datetime.fromisoformat(item["last_seen"]),
        deleted_at=datetime.fromisoformat(item["deleted_at"]) if "deleted_at" in item else None,
    )
