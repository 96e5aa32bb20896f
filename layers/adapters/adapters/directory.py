"""The directory in the ledger: what ARNs stand for that do not say so, and what things are and were tagged with.

DIRECTORY#<kind>              <arn>    the model behind an ARN
DIRECTORY#attributes#<kind>   <id>     tags, name and place as they are now, and since when
DIRECTORY#history#<id>        <time>   the same as they were from that moment on; written once

Both are kept when what they name is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from adapters.dynamodb import Item, Table, integer, to_wire
from attribution.canonical import pairs
from attribution.directory import DirectoryEntry, kind_of
from attribution.errors import LedgerConflict
from attribution.meters import Routing, Tier
from attribution.tag_history import Attributes, Dated, History, identity_of

KINDS = (
    "role", "user", "project", "account", "inference-profile", "provisioned-model", "custom-model", "custom-model-deployment",
    "imported-model",
)  # fmt: skip
_OTHER = "other"
# A transaction takes 100 actions, one of which is the current state.
_MOST_NEW_ENTRIES = 99


class DynamoDirectory:
    """`Directory`, `DirectoryOfDays` and `Histories` in the ledger table.

    What an ARN stands for never changes, so that is looked up once; tags do, and are read anew.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._found: dict[str, DirectoryEntry] = {}

    # What ARNs stand for -------------------------------------------------------------------------------------------------

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

    def of_kind(self, kind: str) -> list[DirectoryEntry]:
        """Every entry of a kind, such as `inference-profile`."""
        return [_entry(item) for item in self._table.query(f"DIRECTORY#{kind}")]

    def put(self, entry: DirectoryEntry) -> None:
        """Write an entry whole."""
        self._table.batch_put([_item(entry)])
        self._found.pop(entry.arn, None)

    # What things are tagged with -----------------------------------------------------------------------------------------

    def attributes_on(self, ids: Iterable[str], usage_date: date) -> Mapping[str, Attributes]:
        """The attributes that usage of a day is allocated by; one batch, and a query for each thing that changed since."""
        ends = datetime.combine(usage_date + timedelta(days=1), time(), UTC)
        found: dict[str, Attributes] = {}
        for item in self._table.batch_get(_current_key(id) for id in sorted(set(ids))):
            is_in_force = integer(item["entries"]) <= 1 or datetime.fromisoformat(item["effective_from"]) < ends
            history = History(item["sk"], _entries(item)) if is_in_force else self.history(item["sk"])
            found[item["sk"]] = (history.on(usage_date) if history else None) or Attributes()
        return found

    def history(self, id: str) -> History | None:
        """Everything that is known of one thing; None if it was never looked up."""
        item = self._table.get(**_current_key(id))
        if item is None:
            return None
        count = integer(item["entries"])
        entries = _entries(item) if count <= 1 else tuple(_dated(i) for i in self._table.query(_history_pk(id)))
        return _history(item, entries)

    def record(self, before: History | None, after: History) -> None:
        """Write what is new in a history, whole or not at all. Entries are written once; only a statement takes some back."""
        if before == after:
            return
        known = set(before.entries) if before else set()
        new = [entry for entry in after.entries if entry not in known]
        if len(new) > _MOST_NEW_ENTRIES:
            raise LedgerConflict(f"{after.id} would get {len(new)} new entries at once: record them one by one")
        actions: list[Any] = [
            {"Put": {"TableName": self._table.name, "Item": to_wire({"pk": _history_pk(after.id)} | _dated_item(entry))}}
            for entry in new
        ]
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if before is not None:
            condition = {
                "ConditionExpression": "entries = :entries AND "
                + ("last_seen = :last_seen" if before.last_seen else "attribute_not_exists(last_seen)"),
                "ExpressionAttributeValues": to_wire(
                    {":entries": len(before.entries)}
                    | ({":last_seen": before.last_seen.isoformat()} if before.last_seen else {})
                ),
            }
        kept = set(after.entries)
        actions += [
            {"Delete": {"TableName": self._table.name, "Key": to_wire({"pk": _history_pk(after.id), "sk": _sk(entry)})}}
            for entry in (before.entries if before else ())
            if entry not in kept and _sk(entry) not in {_sk(e) for e in new}
        ]
        current = {"Put": {"TableName": self._table.name, "Item": to_wire(_current(after)), **condition}}
        self._table.transact([current, *actions], f"the attributes of {after.id} were recorded by somebody else meanwhile")

    def known_ids(self) -> Iterator[str]:
        """Everything that was ever looked up and is not known to be deleted."""
        return (history.id for history in self.all_current() if not history.deleted_at)

    def all_current(self, kinds: Iterable[str] = (*KINDS, _OTHER)) -> Iterator[History]:
        """Every thing of these kinds as it is now: its history with the last entry alone."""
        for kind in kinds:
            for item in self._table.query(f"DIRECTORY#attributes#{kind}"):
                yield _history(item, _entries(item))


def _pk(arn: str) -> str:
    return f"DIRECTORY#{kind_of(arn) or _OTHER}"


def _item(entry: DirectoryEntry) -> Item:
    item: Item = {
        "pk": _pk(entry.arn),
        "sk": entry.arn,
        "model": entry.model,
        "routing": entry.routing.value,
        "tier": entry.tier.value,
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
        first_seen=datetime.fromisoformat(item["first_seen"]),
        last_seen=datetime.fromisoformat(item["last_seen"]),
        deleted_at=datetime.fromisoformat(item["deleted_at"]) if "deleted_at" in item else None,
    )


def _current_key(id: str) -> dict[str, str]:
    identity = identity_of(id)
    kind = identity.kind if identity else ""
    return {"pk": f"DIRECTORY#attributes#{kind if kind in KINDS else _OTHER}", "sk": id}


def _history_pk(id: str) -> str:
    return f"DIRECTORY#history#{id}"


def _history(item: Item, entries: tuple[Dated, ...]) -> History:
    last_seen, deleted_at = _moment(item, "last_seen"), _moment(item, "deleted_at")
    return History(item["sk"], entries, last_seen, deleted_at, item.get("unreadable", ""))


def _current(history: History) -> Item:
    latest = _dated_item(history.entries[-1]) if history.entries else {}
    latest.pop("sk", None)
    moments = {"last_seen": history.last_seen, "deleted_at": history.deleted_at}
    return {
        **_current_key(history.id),
        **latest,
        "entries": len(history.entries),
        **{name: moment.isoformat() for name, moment in moments.items() if moment},
        **({"unreadable": history.unreadable} if history.unreadable else {}),
    }


def _sk(entry: Dated) -> str:
    return entry.effective_from.isoformat()


def _dated_item(entry: Dated) -> Item:
    attributes = entry.attributes
    return {
        "sk": _sk(entry),
        "effective_from": entry.effective_from.isoformat(),
        "tags": dict(attributes.tags),
        "name": attributes.name,
        "organisational_unit": attributes.organisational_unit,
        "told_by": entry.told_by,
    }


def _dated(item: Item) -> Dated:
    attributes = Attributes(pairs(item["tags"]), item["name"], item["organisational_unit"])
    return Dated(datetime.fromisoformat(item["effective_from"]), attributes, item["told_by"])


def _entries(item: Item) -> tuple[Dated, ...]:
    return (_dated(item),) if "effective_from" in item else ()


def _moment(item: Item, name: str) -> datetime | None:
    return datetime.fromisoformat(item[name]) if name in item else None
