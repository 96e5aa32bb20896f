"""Sessions in the ledger table: `SESSION#<access key id>` holds the tags of issued credentials, and the calls that await them.

A list of awaiting calls is written once per batch and credentials, under the hash of what it holds: an index of single calls
would be written for every call whose session has no tags, which is most of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from adapters.concurrency import each, results
from adapters.dynamodb import Item, Table
from attribution.canonical import canonical_json, content_hash, pairs
from attribution.ports import IssuedSession
from attribution.usage import InvocationKey, Pairs

# Temporary credentials live up to 36 hours (GetFederationToken); calls made with them arrive late by as much again. It counts
# from when the session became known: the events of an old trail that is replayed may be months old.
SESSION_TTL = timedelta(hours=72)
_TAGS, _CALLS = "TAGS", "CALLS#"
_CALLS_PER_LIST = 1000


class DynamoSessions:
    """`Sessions` in the ledger table. Lists of awaiting calls live as long as the calls do."""

    def __init__(self, table: Table, ttl_days: int, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._ttl = timedelta(days=ttl_days)
        self._clock = clock

    def remember(self, sessions: Iterable[IssuedSession]) -> None:
        """Keep session tags for as long as calls made with the credentials may arrive."""
        expires_at = Decimal(int((self._clock() + SESSION_TTL).timestamp()))
        self._table.batch_put({s.access_key_id: _session_item(s) | {"expires_at": expires_at} for s in sessions}.values())

    def tags(self, access_key_ids: Iterable[str]) -> Mapping[str, Pairs]:
        """The tags of the sessions among these whose STS events are known."""
        keys = [{"pk": _pk(name), "sk": _TAGS} for name in sorted(set(access_key_ids))]
        return {i["access_key_id"]: pairs(i["session_tags"]) for i in self._table.batch_get(keys)}

    def await_session(self, calls: Mapping[str, Sequence[InvocationKey]]) -> None:
        """Have the calls found, by their access key id, when its session becomes known."""
        expires_at = Decimal(int((self._clock() + self._ttl).timestamp()))
        self._table.batch_put(
            _list_item(name, names[start : start + _CALLS_PER_LIST]) | {"expires_at": expires_at}
            for name, keys in calls.items()
            for names in [sorted({str(key) for key in keys})]
            for start in range(0, len(names), _CALLS_PER_LIST)
        )

    def awaiting(self, access_key_ids: Iterable[str]) -> Mapping[str, Sequence[InvocationKey]]:
        """The calls that were recorded while these sessions were not known, by access key id."""
        names = sorted(set(access_key_ids))
        return dict(zip(names, results(each(self._awaiting, names)), strict=True))

    def _awaiting(self, access_key_id: str) -> list[InvocationKey]:
        return [key for item in self._table.query(_pk(access_key_id), _CALLS) for key in _calls_of(item)]


def _pk(access_key_id: str) -> str:
    return f"SESSION#{access_key_id}"


def _session_item(session: IssuedSession) -> Item:
    return {
        "pk": _pk(session.access_key_id),
        "sk": _TAGS,
        "access_key_id": session.access_key_id,
        "session_tags": dict(session.session_tags),
        "issued_at": session.issued_at.isoformat(),
    }


def _list_item(access_key_id: str, names: Sequence[str]) -> Item:
    packed = zlib.compress(canonical_json(names).encode(), 9)
    return {"pk": _pk(access_key_id), "sk": _CALLS + content_hash(names)[:32], "calls": packed}


def _calls_of(item: Item) -> tuple[InvocationKey, ...]:
    names = json.loads(zlib.decompress(bytes(item["calls"])))
    return tuple(InvocationKey(*name.split("#", 2)) for name in names)
