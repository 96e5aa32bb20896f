"""Record who made a Bedrock call, and link the session tags of the credentials it was made with.

The STS event that issued the credentials may be recorded before or after the calls made with them, or at the same moment. A
call whose session is not known is put on the list of those that await it, then written, then the session is looked up again. A
session is remembered, then the list is read. So one of the two sees the other, wherever either ends and is tried again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime

from attribution.directory import is_opaque, resolved_call
from attribution.errors import InputRejected
from attribution.meters import Meter, TokenKind
from attribution.ports import (
    Directory,
    Invocations,
    IssuedSession,
    ObservedCall,
    ObservedChange,
    ObservedHalf,
    Prices,
    Quarantine,
    Recorded,
    SessionLink,
    Sessions,
    StoredObject,
    TrailEvent,
    TrailFiles,
)
from attribution.prices import price_units
from attribution.usage import FIRST_RECORD, InvocationKey, Observed, Pairs, with_session_tags


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """What became of events. `linked` calls were recorded before their session and have its tags now.

    `replaced` calls were known from a lesser record. `uncovered` ones are of a kind that no invocation log records.
    """

    recorded: int = 0
    replaced: int = 0
    repeated: int = 0
    linked: int = 0
    uncovered: int = 0
    too_old: int = 0
    ignored: int = 0
    rejected: int = 0
    changes: tuple[ObservedChange, ...] = ()

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), int)}

    def __add__(self, other: RecordedCalls) -> RecordedCalls:
        counts = Counter(self.counts())
        counts.update(other.counts())
        return RecordedCalls(**counts, changes=(*self.changes, *other.changes))


Outcome = RecordedCalls | Exception
"""What became of one event; an error where its call could not be written."""


def record_api_calls(
    events: Sequence[TrailEvent],
    *,
    invocations: Invocations,
    sessions: Sessions,
    prices: Prices,
    directory: Directory,
    oldest: datetime,
) -> list[Outcome]:
    """Record CloudTrail events together; returns what became of each.

    Sessions come first, so that the calls made with them need not wait. A call from before `oldest` is left out: its item may
    have expired, and recording it again would count it twice.
    """
    outcomes: list[Outcome] = [RecordedCalls()] * len(events)
    issued: dict[int, IssuedSession] = {}
    calls: dict[int, ObservedHalf] = {}
    for place, event in enumerate(events):
        if isinstance(event, ObservedChange):
            outcomes[place] = RecordedCalls(changes=(event,))
        elif isinstance(event, IssuedSession):
            issued[place] = event
        elif event.observed.timestamp < oldest:
            outcomes[place] = RecordedCalls(too_old=1)
        else:
            calls[place] = ObservedHalf(event.key, _priced(event, prices, directory))
    for place, linked in zip(issued, _remember(list(issued.values()), invocations, sessions), strict=True):
        outcomes[place] = linked
    for place, recorded in zip(calls, _record(list(calls.values()), invocations, sessions), strict=True):
        outcomes[place] = recorded
    return outcomes


def record_trail_file(
    source: StoredObject,
    *,
    trail_files: TrailFiles,
    invocations: Invocations,
    sessions: Sessions,
    prices: Prices,
    directory: Directory,
    quarantine: Quarantine,
    oldest: datetime,
) -> RecordedCalls:
    """Record the events of one trail file; a broken record is quarantined and its neighbours count."""
    ignored = rejected = 0
    events: list[TrailEvent] = []
    for event in trail_files.read(source):
        if event is None:
            ignored += 1
        elif isinstance(event, InputRejected):
            quarantine.put(event)
            rejected += 1
        else:
            events.append(event)
    outcomes = record_api_calls(
        events, invocations=invocations, sessions=sessions, prices=prices, directory=directory, oldest=oldest
    )
    together = RecordedCalls(ignored=ignored, rejected=rejected)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        together += outcome
    return together


def _remember(issued: Sequence[IssuedSession], invocations: Invocations, sessions: Sessions) -> list[RecordedCalls]:
    """Remember sessions, and give their tags to the calls that await them."""
    if not issued:
        return []
    sessions.remember(issued)
    tags = {session.access_key_id: session.session_tags for session in issued if session.session_tags}
    links = [SessionLink(key, name, tags[name]) for name, keys in sessions.awaiting(tags).items() for key in keys]
    linked = Counter(
        link.access_key_id for link, is_new in zip(links, invocations.apply_session_tags(links), strict=True) if is_new
    )
    # Of two events of one session, the first linked the calls.
    return [RecordedCalls(recorded=1, linked=linked.pop(session.access_key_id, 0)) for session in issued]


def _record(calls: Sequence[ObservedHalf], invocations: Invocations, sessions: Sessions) -> list[Outcome]:
    """Write calls with the tags of their sessions, and without where these are not known yet."""
    known = sessions.tags({call.observed.access_key_id for call in calls} - {""}) if calls else {}
    halves = [_with_known_tags(call, known, invocations) for call in calls]
    awaiting: defaultdict[str, list[InvocationKey]] = defaultdict(list)
    for key, observed in halves:
        if observed.access_key_id and not observed.session_tags and observed.access_key_id not in known:
            awaiting[observed.access_key_id].append(key)
    sessions.await_session(awaiting)
    written = invocations.record_observed(halves)
    later = sessions.tags(awaiting) if awaiting else {}
    invocations.apply_session_tags(
        [SessionLink(key, name, later[name]) for name, keys in awaiting.items() if later.get(name) for key in keys]
        + [_link(half) for half, outcome in zip(halves, written, strict=True) if _is_to_link(half, outcome)]
    )
    return [_outcome(half, outcome) for half, outcome in zip(halves, written, strict=True)]


def _with_known_tags(call: ObservedHalf, known: Mapping[str, Pairs], invocations: Invocations) -> ObservedHalf:
    name = call.observed.access_key_id
    tags = known.get(name, ())
    if name and name not in known and call.observed.revision > FIRST_RECORD:
        # A correction may come when the session is long forgotten; the record that it replaces may know the tags.
        stored = invocations.get(call.key)
        if stored and stored.observed and stored.observed.access_key_id == name:
            tags = stored.observed.session_tags
    return ObservedHalf(call.key, with_session_tags(call.observed, tags)) if tags else call


def _is_to_link(half: ObservedHalf, outcome: Recorded | Exception) -> bool:
    """Whether an earlier attempt wrote the call before its session was known, and ended before it looked again."""
    return not isinstance(outcome, Exception) and outcome.awaits_session and bool(half.observed.session_tags)


def _link(half: ObservedHalf) -> SessionLink:
    return SessionLink(half.key, half.observed.access_key_id, half.observed.session_tags)


def _outcome(half: ObservedHalf, written: Recorded | Exception) -> Outcome:
    if isinstance(written, Exception):
        return written
    return RecordedCalls(
        recorded=int(written.is_new),
        replaced=int(written.replaces),
        repeated=int(not written.is_new and not written.replaces),
        uncovered=int(written.is_new and half.observed.is_uncovered),
    )


def _priced(event: ObservedCall, prices: Prices, directory: Directory) -> Observed:
    """The call with the model that it names, and its provisional usage at the price in force on its day in its Region."""
    observed = event.observed
    if is_opaque(observed.model_id):
        observed = resolved_call(observed, directory.find([observed.model_id]))
    if not observed.kinds:
        return observed
    meter = Meter(observed.model_id, TokenKind.INPUT, observed.tier, observed.routing)
    units = {kind: amount.units for kind, amount in observed.kinds.items()}
    listed = prices.load([observed.model_id])
    kinds, source = price_units(units, listed, region=event.key.region, on=observed.timestamp.date(), meter_of=meter)
    return replace(observed, kinds=kinds, price_source=source)
