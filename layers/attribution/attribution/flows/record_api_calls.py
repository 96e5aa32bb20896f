"""Record who made a Bedrock call, and link the session tags of the credentials it was made with.

The STS event that issued the credentials may arrive before or after the calls made with them. Before: the call finds the
remembered session. After: the calls that await it are looked up, at once and once more a little later, because the index that
finds them lags behind the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from attribution.ports import Invocations, IssuedSession, ObservedCall
from attribution.usage import with_session_tags


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """What became of one event. `relink` names credentials whose calls are to be looked up once more."""

    recorded: int = 0
    repeated: int = 0
    linked: int = 0
    relink: str = ""
    too_old: int = 0


def record_api_call(event: ObservedCall | IssuedSession, *, invocations: Invocations, oldest: datetime) -> RecordedCalls:
    """Record one CloudTrail event.

    A call from before `oldest` is left out: its item may have expired, and recording it again would count it twice.
    """
    if isinstance(event, ObservedCall) and event.observed.timestamp < oldest:
        return RecordedCalls(too_old=1)
    if isinstance(event, IssuedSession):
        invocations.remember_session(event)
        linked = link_session(event.access_key_id, invocations=invocations)
        return replace(linked, recorded=1, relink=event.access_key_id)
    observed = event.observed
    tags = invocations.session_tags(observed.access_key_id) if observed.access_key_id else ()
    awaits_session = tags is None
    if tags:
        observed = with_session_tags(observed, tags)
    written = invocations.record_observed(event.key, observed, awaits_session=awaits_session)
    if awaits_session:
        # The STS event may have been recorded between the look-up and the write, before the index could show this call.
        tags = invocations.session_tags(observed.access_key_id)
        if tags is not None:
            invocations.apply_session_tags(event.key, observed.access_key_id, tags)
    return RecordedCalls(recorded=int(written.is_new), repeated=int(not written.is_new))


def link_session(access_key_id: str, *, invocations: Invocations) -> RecordedCalls:
    """Give the calls that await these credentials their session tags."""
    tags = invocations.session_tags(access_key_id)
    if tags is None:
        return RecordedCalls()
    awaiting = invocations.awaiting_session(access_key_id)
    for key in awaiting:
        invocations.apply_session_tags(key, access_key_id, tags)
    return RecordedCalls(linked=len(awaiting))
