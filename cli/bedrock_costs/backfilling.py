"""Months of deliveries brought in one after the other: sent, oldest first, and followed until something has become of each.

Few are sent ahead of what is read: the report that AWS writes meanwhile waits behind these alone, and an end at any time leaves
little under way. What is under way goes on by itself, and what is done is known the next time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from attribution.deliveries import DeliveryOutcome, DeliveryRecord
from attribution.periods import BillingPeriod
from attribution.ports import ListedManifest
from bedrock_costs.commands.quarantine import notice_times, read_notice
from bedrock_costs.replaying import ObjectInS3, account_of, announcement, put
from bedrock_costs.stack import Stack

# One is read while the next one waits.
_AHEAD = 2


class Outcome(StrEnum):
    """How far a delivery is: the outcomes of its record, and what comes before."""

    TO_SEND = "to send"
    QUEUED = "queued"
    INGESTED = "ingested"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


_ENDS = (Outcome.PUBLISHED, Outcome.SUPERSEDED, Outcome.REFUSED)


@dataclass(slots=True)
class Followed:
    """One delivery on its way. `refusal` is what a notice says that was written since."""

    manifest: ListedManifest
    before: DeliveryRecord | None = None
    record: DeliveryRecord | None = None
    is_sent: bool = False
    refusal: str = ""

    @property
    def was_known(self) -> bool:
        """Whether there is nothing left to do. What was refused may have been put right, what was ingested may be stuck."""
        return self.before is not None and self.before.outcome in (DeliveryOutcome.PUBLISHED, DeliveryOutcome.SUPERSEDED)

    @property
    def outcome(self) -> Outcome:
        """How far it is."""
        if self.refusal:
            return Outcome.REFUSED
        if self.record is not None:
            return Outcome(self.record.outcome.value)
        return Outcome.QUEUED if self.is_sent else Outcome.TO_SEND

    @property
    def is_done(self) -> bool:
        return self.was_known or self.outcome in _ENDS

    @property
    def reason(self) -> str:
        """Why it was not used; empty for one that was."""
        return self.refusal or (self.record.reason if self.record else "")

    def see(self, records: Sequence[DeliveryRecord]) -> None:
        """Take notice of the period's records. In overwrite mode a newer delivery may have taken this one's place."""
        own = [r for r in records if r.manifest_key == self.manifest.source.key]
        same = [r for r in own if r.manifest_etag == self.manifest.source.etag]
        newer = [r for r in own if r.sequence > self.manifest.written_at.isoformat()]
        found = max(same or newer, key=lambda r: r.sequence, default=None)
        # A refusal from before says nothing about this attempt.
        if found is not None and not (found == self.before and found.outcome is DeliveryOutcome.REFUSED):
            self.record = found


class Backfill:
    """Deliveries of many periods, oldest period first."""

    def __init__(self, stack: Stack, manifests: Iterable[ListedManifest]) -> None:
        self._stack = stack
        self._queue_url = stack.output("CostReportQueue")
        ordered = sorted(manifests, key=lambda m: (m.period, m.written_at, m.source.key))
        self.deliveries = [Followed(manifest) for manifest in ordered]
        for delivery, records in self._records(self.deliveries):
            etag, key = delivery.manifest.source.etag, delivery.manifest.source.key
            delivery.before = next((r for r in records if (r.manifest_key, r.manifest_etag) == (key, etag)), None)
            if delivery.was_known:
                delivery.record = delivery.before
        self._notices: dict[str, datetime] = {}

    @property
    def unsent(self) -> list[Followed]:
        """What is still to be sent."""
        return [d for d in self.deliveries if not d.is_done and not d.is_sent]

    @property
    def open(self) -> list[Followed]:
        """What was sent and is not done."""
        return [d for d in self.deliveries if d.is_sent and not d.is_done]

    @property
    def done_count(self) -> int:
        return sum(d.is_done for d in self.deliveries)

    def send(self, deliveries: Sequence[Followed]) -> None:
        """Announce deliveries as S3 does when their manifest is written."""
        account = account_of(self._queue_url)
        for delivery in deliveries:
            source, manifest = delivery.manifest.source, delivery.manifest
            found = ObjectInS3(source.key, source.etag, manifest.size, manifest.written_at)
            for _ in put(self._stack, self._queue_url, [announcement(self._stack, source.bucket, found, account)]):
                delivery.is_sent = True

    def start(self) -> None:
        """Remember which refusals there were before."""
        self._notices = notice_times(self._stack)

    def advance(self) -> bool:
        """See what became of what was sent, and send what comes next; returns whether anything is different now."""
        before = self._state()
        for delivery, records in self._records(self.open):
            delivery.see(records)
        self._see_refusals()
        waiting = sum(d.outcome is Outcome.QUEUED for d in self.open)
        self.send(self.unsent[: max(0, _AHEAD - waiting)])
        return self._state() != before

    def _state(self) -> list[tuple[Outcome, int]]:
        return [(d.outcome, len(d.record.staged) if d.record else 0) for d in self.deliveries]

    def _records(self, deliveries: Iterable[Followed]) -> Iterable[tuple[Followed, Sequence[DeliveryRecord]]]:
        known: dict[BillingPeriod, Sequence[DeliveryRecord]] = {}
        for delivery in deliveries:
            period = delivery.manifest.period
            if period not in known:
                known[period] = self._stack.deliveries().of_period(period)
            yield delivery, known[period]

    def _see_refusals(self) -> None:
        now = notice_times(self._stack)
        fresh = [key for key, written_at in now.items() if self._notices.get(key) != written_at]
        self._notices = now
        reasons = {notice["source"]: str(notice["reason"]) for notice in (read_notice(self._stack, key) for key in fresh)}
        for delivery in self.open:
            delivery.refusal = reasons.get(str(delivery.manifest.source), "")
