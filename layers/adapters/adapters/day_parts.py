"""The rows of ledger days in content-addressed parts, so that versions of a day share what they have in common.

DAY#<date>#<generation>#<shard>   <hash>   up to some hundred rows (level 0), or the references of parts one level below

Rows are cut where a hash of what they are about says so, not after a count: a row more or less, or another amount, changes the
part that it is in and no other. A part is named by the hash of what it says and by the generation of the version that wrote it
first; a later version that says the same refers to it. So every name stands for one content for ever, and reading proves it
(docs/decisions/0015-versions-share-parts.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple
from zlib import crc32

from adapters.codec import compress, decompress
from adapters.dynamodb import Item, Table, integer
from adapters.ledger_keys import day_pk
from attribution.errors import LedgerConflict

Ref = str
"""`<generation>#<hash>`: where a part lies, and what it says."""

# One partition takes 1,000 write units a second, a new table on demand four times as many.
SHARDS = 4
_HASH_DIGITS = 32
_READ_AT_ONCE = 100
# An item holds 400 KB. Text of this size stays under it even where it does not compress.
_BYTES_MAX = 250_000


class Row(NamedTuple):
    """One line, and what it is about: equal in every version, whatever the line says of it."""

    text: str
    about: str


@dataclass(frozen=True, slots=True)
class Cut:
    """How rows are cut: `least` to a part, on average as many more, never above `most` (the last part excepted)."""

    least: int
    more: int
    most: int


CHARGES = Cut(64, 64, 512)
# Most dimensions have fewer values than this: they are one part, read in one batch with those of a month's other days.
SUMS = Cut(200, 64, 512)
_REFERENCES = Cut(64, 64, 512)


@dataclass(slots=True)
class Parts:
    """The parts of a version that is being written: `shared` are those another one has, by hash; `written` is new."""

    usage_date: date
    generation: int
    shared: Mapping[str, Ref]
    written: dict[Ref, Item] = field(default_factory=dict)

    def add(self, rows: Iterable[Row], cut: Cut) -> Ref:
        """Rows in their order, as parts; returns the reference of the one above all others."""
        level = 0
        refs = [self._part(level, lines) for lines in _cut(rows, cut)] or [self._part(level, [])]
        while len(refs) > 1:
            level += 1
            references = (Row(ref, ref.rpartition("#")[2]) for ref in refs)
            refs = [self._part(level, lines) for lines in _cut(references, _REFERENCES)]
        return refs[0]

    def _part(self, level: int, lines: Sequence[str]) -> Ref:
        body = "\n".join(lines).encode()
        name = _hash(level, body)
        if name in self.shared:
            return self.shared[name]
        ref = f"{self.generation}#{name}"
        if ref not in self.written:
            self.written[ref] = part_key(self.usage_date, ref) | {"level": level, "body": compress(body)}
        return ref


def part_key(usage_date: date, ref: Ref) -> dict[str, str]:
    """Where a part of a day lies."""
    generation, _, name = ref.partition("#")
    return {"pk": _pk(usage_date, int(generation), int(name[0], 16) % SHARDS), "sk": name}


def _pk(usage_date: date, generation: int, shard: int) -> str:
    return f"{day_pk(usage_date)}#{generation}#{shard}"


def _hash(level: int, body: bytes) -> str:
    return hashlib.sha256(b"%d\n%b" % (level, body)).hexdigest()[:_HASH_DIGITS]


def _cut(rows: Iterable[Row], cut: Cut) -> Iterator[list[str]]:
    lines: list[str] = []
    size = 0
    for text, about in rows:
        if lines and (len(lines) == cut.most or size + len(text) > _BYTES_MAX):
            yield lines
            lines, size = [], 0
        lines.append(text)
        size += len(text.encode())
        if len(lines) >= cut.least and crc32(about.encode()) % cut.more == 0:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


class Part(NamedTuple):
    """What a part says: rows, or the references of parts one level below."""

    level: int
    lines: list[str]


Place = tuple[date, Ref]


class PartsLost(LedgerConflict):
    """Parts that a version refers to are not there, or do not say what they said."""


class DayParts:
    """Reads parts of days."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def fetch(self, places: Iterable[Place]) -> Mapping[Place, Part]:
        """These parts. One that is missing, or does not say what its name says, raises `PartsLost`."""
        wanted = set(places)
        found = self._fetch(wanted)
        if len(found) < len(wanted):
            days = ", ".join(sorted({day.isoformat() for day, _ in wanted - found.keys()}))
            raise PartsLost(f"{len(wanted) - len(found)} parts of {days} expired while they were read: read the days again")
        return found

    def _fetch(self, wanted: Iterable[Place]) -> dict[Place, Part]:
        by_key = {tuple(part_key(day, ref).values()): (day, ref) for day, ref in wanted}
        found: dict[Place, Part] = {}
        for item in self._table.batch_get({"pk": pk, "sk": sk} for pk, sk in by_key):
            level, body = integer(item["level"]), decompress(bytes(item["body"]))
            if _hash(level, body) != item["sk"]:
                raise PartsLost(
                    f"part {item['sk']} of {item['pk']} is not what was written: restore the table to a time before that"
                )
            found[by_key[item["pk"], item["sk"]]] = Part(level, body.decode().split("\n") if body else [])
        return found

    def rows(self, usage_date: date, root: Ref) -> Iterator[str]:
        """The rows below a part, in order, never many at once."""
        yield from self._below(usage_date, [root])

    def _below(self, usage_date: date, refs: Sequence[Ref]) -> Iterator[str]:
        for start in range(0, len(refs), _READ_AT_ONCE):
            window = refs[start : start + _READ_AT_ONCE]
            found = self.fetch((usage_date, ref) for ref in window)
            for ref in window:
                part = found[usage_date, ref]
                yield from self._below(usage_date, part.lines) if part.level else part.lines

    def rows_of(self, roots: Iterable[Place]) -> Iterator[tuple[date, str]]:
        """The rows below parts of several days: each level of all of them is one batch."""
        places = list(roots)
        while places:
            found = self.fetch(places)
            below: list[Place] = []
            for day, ref in places:
                part = found[day, ref]
                if part.level:
                    below += [(day, child) for child in part.lines]
                else:
                    yield from ((day, line) for line in part.lines)
            places = below

    def references(self, usage_date: date, roots: Iterable[Ref], *, is_expiring: bool = False) -> set[Ref]:
        """Every part at and below these, for all of which `is_expiring` allows not to be there any more.

        Parts of rows are named by those above them and not read, unless they are roots.
        """
        known = set(roots)
        unread = set(known)
        while unread:
            places = {(usage_date, ref) for ref in unread}
            found = self._fetch(places) if is_expiring else self.fetch(places)
            unread = set()
            for part in found.values():
                known.update(part.lines if part.level else ())
                unread.update(part.lines if part.level > 1 else ())
        return known

    def of_generation(self, usage_date: date, generation: int) -> Iterator[Ref]:
        """Every part that was written under a generation, also by an attempt that never came to its end."""
        for shard in range(SHARDS):
            for item in self._table.query(_pk(usage_date, generation, shard), attributes=("sk",)):
                yield f"{generation}#{item['sk']}"
