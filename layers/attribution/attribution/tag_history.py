"""Tags, names and places of what calls models, with their history: usage is allocated by what was so on its day.

AWS says what a role, an inference profile or an account is tagged with now, and nothing of what it was. So every reading is
dated, and what differs from the reading before is kept for ever. A usage day goes by what was so when it ended, in UTC. Before
the first reading nothing is known, so the first one is taken to have been so always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from attribution.directory import kind_of as bedrock_kind_of
from attribution.usage import Pairs

ROLE, USER, PROJECT, ACCOUNT = "role", "user", "project", "account"
PRINCIPALS = (ROLE, USER)
SYNC = "reading"
"""What told of attributes where no CloudTrail event did."""
STATED = "statement"
"""What told of attributes that AWS does not show to this stack, and people stated."""

_ACCOUNT_ID = re.compile(r"^\d{12}$")
_PRINCIPAL = re.compile(
    r"^arn:(?P<partition>[^:]+):(?:iam::(?P<owner>\d{12}):(?P<kind>role|user)/(?:.*/)?(?P<name>[^/]+)"
    r"|sts::(?P<session_of>\d{12}):assumed-role/(?P<role>[^/]+)/.+)$"
)
_PROJECT = re.compile(r"^arn:[^:]+:bedrock-mantle:(?P<region>[^:]+):(?P<account>\d{12}):(?:project|workspace)/.+$")
# AWS's own inference profiles are named after their model, with a dot, and cannot be tagged.
_RESOURCE = re.compile(r"^arn:[^:]+:bedrock:(?P<region>[^:]+):(?P<account>\d{12}):(?!inference-profile/[^/]*\.).+$")


@dataclass(frozen=True, slots=True)
class Identity:
    """The thing that an ARN, a session's ARN or an account id names, as the directory keeps it.

    `id` of a role or user has no path: the ARN of a session does not say it, and names are unique in their account without it.
    """

    id: str
    kind: str
    account_id: str
    name: str


@lru_cache(maxsize=65_536)
def identity_of(text: str) -> Identity | None:
    """What a caller's ARN, a resource's ARN or an account id names; None for what has no tags of its own.

    That is a root user, a federated user (whose tags are the session's), an AWS service, or a model that AWS owns.
    """
    if _ACCOUNT_ID.match(text):
        return Identity(text, ACCOUNT, text, text)
    if match := _PRINCIPAL.match(text):
        kind = match["kind"] or ROLE
        account, name = match["owner"] or match["session_of"], match["name"] or match["role"]
        return Identity(f"arn:{match['partition']}:iam::{account}:{kind}/{name}", kind, account, name)
    if match := _PROJECT.match(text):
        return Identity(text, PROJECT, match["account"], text.rpartition("/")[2])
    match = _RESOURCE.match(text)
    return Identity(text, bedrock_kind_of(text), match["account"], text.rpartition("/")[2]) if match else None


@dataclass(frozen=True, slots=True)
class Attributes:
    """What one reading says. `organisational_unit` is the path of names from the root, such as `Root/Retail/Production`."""

    tags: Pairs = ()
    name: str = ""
    organisational_unit: str = ""


@dataclass(frozen=True, slots=True)
class Dated:
    """Attributes from a moment on. `told_by` is the CloudTrail event that gave the moment, or `reading`."""

    effective_from: datetime
    attributes: Attributes
    told_by: str = SYNC


@dataclass(frozen=True, slots=True)
class History:
    """What is known of one thing, oldest first.

    `last_seen` is the latest reading that found the last entry still so. `unreadable` says why the last attempt to read failed;
    a thing that could never be read has no entry. What was deleted keeps what it had: its last day of use goes by that.
    """

    id: str
    entries: tuple[Dated, ...] = ()
    last_seen: datetime | None = None
    deleted_at: datetime | None = None
    unreadable: str = ""

    def on(self, usage_date: date) -> Attributes | None:
        """The attributes by which usage of a day is allocated; None where nothing was ever read."""
        if not self.entries:
            return None
        ends = datetime.combine(usage_date + timedelta(days=1), time(), UTC)
        known = [entry for entry in self.entries if entry.effective_from < ends]
        return (known[-1] if known else self.entries[0]).attributes

    def seen(self, attributes: Attributes, now: datetime, *, changed_at: datetime | None = None, event: str = SYNC) -> History:
        """The history with a reading of `now`.

        `changed_at` is when CloudTrail saw the change that led to the reading. The attributes count from then, unless they were
        found to be others since: then something else changed them.
        """
        after = self
        if changed_at is not None and changed_at < now and self._agrees_since(changed_at, attributes):
            after = after._with(Dated(changed_at, attributes, event))
        return replace(after._with(Dated(now, attributes)), deleted_at=None, unreadable="")

    def stated(self, attributes: Attributes, since: datetime) -> History:
        """The history with what people say of something that cannot be read: from that moment on nothing else counts.

        An earlier statement about later days is replaced. That it cannot be read stays known.
        """
        earlier = tuple(entry for entry in self.entries if entry.effective_from < since)
        return replace(self, entries=(*earlier, Dated(since, attributes, STATED)), last_seen=since)

    def gone(self, now: datetime) -> History:
        """The history of something that does not exist any more."""
        return self if self.deleted_at else replace(self, deleted_at=now, unreadable="")

    def refused(self, reason: str) -> History:
        """The history of something that may not be read; what was known stays."""
        return replace(self, unreadable=reason)

    def _agrees_since(self, moment: datetime, attributes: Attributes) -> bool:
        later = [entry for entry in self.entries if entry.effective_from > moment]
        if not later and self.last_seen is not None and self.last_seen > moment:
            later = [self.entries[-1]]
        return all(entry.attributes == attributes for entry in later)

    def _with(self, new: Dated) -> History:
        """The history with one more entry, wherever its moment belongs; one that tells nothing new changes no entry."""
        at = new.effective_from
        count = sum(entry.effective_from <= at for entry in self.entries)
        before, later = self.entries[:count], self.entries[count:]
        if not before:
            return replace(self, entries=(new, *later), last_seen=self.last_seen or at)
        in_force = before[-1]
        is_repeat = in_force.attributes == new.attributes
        if in_force.effective_from == at or (later and is_repeat):
            return self
        if later:
            return replace(self, entries=(*before, new, *later))
        return self._at_the_end(new, is_repeat=is_repeat)

    def _at_the_end(self, new: Dated, *, is_repeat: bool) -> History:
        last_seen = self.last_seen or self.entries[-1].effective_from
        if new.effective_from > last_seen:
            added = () if is_repeat else (new,)
            return replace(self, entries=(*self.entries, *added), last_seen=new.effective_from)
        if is_repeat or new.effective_from == last_seen:
            return self
        # It comes late, and what was in force before it was seen again after it.
        again = replace(self.entries[-1], effective_from=last_seen)
        return replace(self, entries=(*self.entries, new, again))


def first_day_changed(before: History, after: History) -> date | None:
    """The first day that is allocated by other attributes now; `date.min` where that is every day, None where it is none."""
    known = set(before.entries)
    new = [entry for entry in after.entries if entry not in known]
    if not new:
        return None
    return date.min if new[0] is after.entries[0] else new[0].effective_from.date()


@dataclass(frozen=True, slots=True)
class Interval:
    """Attributes that were in force from one moment to another; `since` is None where nothing earlier is known."""

    since: datetime | None
    until: datetime | None
    attributes: Attributes
    told_by: str


def intervals(entries: Sequence[Dated]) -> list[Interval]:
    """The entries as spans of time, oldest first: the first began at an unknown time, the last is in force now."""
    merged: list[Dated] = []
    for entry in entries:
        if not merged or merged[-1].attributes != entry.attributes:
            merged.append(entry)
    return [
        Interval(
            entry.effective_from if index else None,
            merged[index + 1].effective_from if index + 1 < len(merged) else None,
            entry.attributes,
            entry.told_by,
        )
        for index, entry in enumerate(merged)
    ]
