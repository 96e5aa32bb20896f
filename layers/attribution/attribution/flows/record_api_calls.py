"""Record who made a Bedrock call, and link the session tags of the credentials it was made with.

The STS event that issued the credentials may arrive before or after the calls made with them. Before: the call finds the
remembered session. After: the calls that await it are looked up, at once and once more a little later, because the index that
finds them lags behind the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    Prices,
    Quarantine,
    StoredObject,
    TrailEvent,
    TrailFiles,
)
from attribution.prices import price_units
from attribution.usage import FIRST_RECORD, Observed, with_session_tags


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """What became of events. `relink` names credentials whose calls are to be looked up once more.

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
    relink: tuple[str, ...] = ()
    changes: tuple[ObservedChange, ...] = ()

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), int)}


def record_api_call(
    event: TrailEvent, *, invocations: Invocations, prices: Prices, directory: Directory, oldest: datetime
) -> RecordedCalls:
    """Record one CloudTrail event.

    A call from before `oldest` is left out: its item may have expired, and recording it again would count it twice.
    """
    if isinstance(event, ObservedChange):
        return RecordedCalls(changes=(event,))
    if isinstance(event, IssuedSession):
        invocations.remember_session(event)
        linked = link_session(event.access_key_id, invocations=invocations)
        return replace(linked, recorded=1, relink=(event.access_key_id,))
    if event.observed.timestamp < oldest:
        return RecordedCalls(too_old=1)
    return _record_call(event, _priced(event, prices, directory), invocations)


def record_trail_file(
    source: StoredObject,
    *,
    trail_files: TrailFiles,
    invocations: Invocations,
    prices: Prices,
    directory: Directory,
    quarantine: Quarantine,
    oldest: datetime,
) -> RecordedCalls:
    """Record the events of one trail file; a broken record is quarantined and its neighbours count."""

    def record(event: TrailEvent) -> RecordedCalls:
        return record_api_call(event, invocations=invocations, prices=prices, directory=directory, oldest=oldest)

    ignored = rejected = 0
    calls: list[ObservedCall] = []
    outcomes: list[RecordedCalls] = []
    for event in trail_files.read(source):
        if event is None:
            ignored += 1
        elif isinstance(event, InputRejected):
            quarantine.put(event)
            rejected += 1
        elif isinstance(event, ObservedCall):
            # After the sessions of the file, so that they need not wait for them.
            calls.append(event)
        else:
            outcomes.append(record(event))
    outcomes += [record(call) for call in calls]
    return replace(_together(outcomes), ignored=ignored, rejected=rejected)


def _together(outcomes: Sequence[RecordedCalls]) -> RecordedCalls:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts())
    return RecordedCalls(
        **counts,
        relink=tuple(dict.fromkeys(key for outcome in outcomes for key in outcome.relink)),
        changes=tuple(change for outcome in outcomes for change in outcome.changes),
    )


def _record_call(event: ObservedCall, observed: Observed, invocations: Invocations) -> RecordedCalls:
    key_id = observed.access_key_id
    tags = invocations.session_tags(key_id) if key_id else ()
    if tags is None and observed.revision > FIRST_RECORD:
        # A correction may come when the session is long forgotten; the record that it replaces may know the tags.
        stored = invocations.get(event.key)
        known = stored.observed if stored else None
        tags = (known.session_tags or None) if known and known.access_key_id == key_id else None
    awaits_session = tags is None
    if tags:
        observed = with_session_tags(observed, tags)
    written = invocations.record_observed(event.key, observed, awaits_session=awaits_session)
    if awaits_session:
        # The STS event may have been recorded between the look-up and the write, before the index could show this call.
        tags = invocations.session_tags(key_id)
        if tags is not None:
            invocations.apply_session_tags(event.key, key_id, tags)
    return RecordedCalls(
        recorded=int(written.is_new),
        replaced=int(written.replaces),
        repeated=int(not written.is_new and not written.replaces),
        uncovered=int(written.is_new and observed.is_uncovered),
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


def link_session(access_key_id: str, *, invocations: Invocations) -> RecordedCalls:
    """Give the calls that await these credentials their session tags."""
    tags = invocations.session_tags(access_key_id)
    if tags is None:
        return RecordedCalls()
    awaiting = invocations.awaiting_session(access_key_id)
    for key in awaiting:
        invocations.apply_session_tags(key, access_key_id, tags)
    return RecordedCalls(linked=len(awaiting))
