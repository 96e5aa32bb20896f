"""Alerts on their way to Slack, without AWS and without sockets: real flow, real messages, a workspace in memory, any fault.

`World` drives the flow by its stream, its queue and its sweep under a virtual clock. What people see, and when each request was
made, is kept by the Slack receiver; faults are scripted on it, and attempts may end at any write.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from adapters.channels.routed import SlackChannels
from adapters.channels.slack import Response
from adapters.settings import DeliverAlerts
from attribution.alerts import Alarm, Alert, AlertKey, AlertState, DeliveryStatus, Message, Observation, observe
from attribution.digests import Digest, DigestKey
from attribution.errors import LedgerConflict
from attribution.flows.deliver_alerts import Delivered, deliver_notice, sweep
from attribution.flows.relay_alarms import relay_alarm
from attribution.ports import Posted
from attribution.routes import Route
from local.slack_receiver import Answer, SlackReceiver
from tests.fakes import Crash, Crashes, FakeAlertRetries, FakeClock, FakeOutbox, FakeRoutes

CHANNEL = "C0BUDGETS"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEPS_MAX = 3000
NAMED = re.compile(r"alert ((?:alarm: )?\S+#\S+) revision (\d+)")
REPEAT = "Possible repeat"


@dataclass(slots=True)
class Mailed:
    """The second route: mails that arrived, and a plan of what goes wrong with each; then all goes well."""

    received: list[tuple[Alert | Digest, bool]] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    updates: bool = False

    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted:
        outcome = self.plan.pop(0) if self.plan else "sent"
        if outcome in ("sent", "acknowledgement lost"):
            self.received.append((notice, is_repeat))
        if outcome == "acknowledgement lost":
            return Posted(False, is_ambiguous=True, error="timed out")
        return Posted(outcome == "sent", error="" if outcome == "sent" else outcome)

    def update(self, alert: Alert, message: Message) -> Posted:
        return Posted(False, is_gone=True)

    def reply(self, alert: Alert, message: Message, *, is_repeat: bool) -> Posted:
        return Posted(False, is_gone=True)

    def find(self, notice: Alert | Digest, message: Message | None) -> Posted | None:
        return None


class RecordingOutbox(FakeOutbox):
    """An outbox that remembers which news each revision of an alert told."""

    def __init__(self, crashes: Crashes) -> None:
        super().__init__(crashes)
        self.news: dict[tuple[str, int], int] = {}
        self.digested: set[tuple[str, int]] = set()

    def _write(self, writes: Sequence[tuple[Alert | Digest, Alert | Digest | None]]) -> list[Alert | Digest]:
        try:
            return super()._write(writes)
        finally:
            # The write may have been applied although the attempt ended.
            for notice in self.items.values():
                if isinstance(notice, Alert):
                    self.news[str(notice.key), notice.revision] = notice.news

    def collect(self, alert: Alert, digest: Digest, *, replacing: Alert, extending: Digest | None) -> bool:
        try:
            return super().collect(alert, digest, replacing=replacing, extending=extending)
        finally:
            stored = self.get(alert.key)
            if stored is not None and stored.version > replacing.version and stored.digest == str(digest.key):
                self.digested.add((str(alert.key), alert.news))


class World:
    """One Slack channel by webhook or by bot token, and the alerts that are told in it."""

    def __init__(self, kind: str, route: Route | None = None) -> None:
        self.clock = FakeClock(START)
        self.crashes = Crashes()
        self.outbox = RecordingOutbox(self.crashes)
        self.retries = FakeAlertRetries(self.clock)
        self.slack = SlackReceiver(now=self.clock)
        self.mail = Mailed()
        self.kind = kind
        self.is_dead = False
        self.during_send: Callable[[], None] | None = None
        self.sent_at: list[datetime] = []
        self.outcomes: Counter[str] = Counter()
        self.routes = FakeRoutes(replace(route or Route("finops"), channel=CHANNEL if kind == "bot" else ""))
        settings = DeliverAlerts.model_construct(
            work_bucket="work",
            ledger_table="LedgerTable",
            ledger_retention_days=760,
            alerts_table="AlertsTable",
            alert_retry_queue_url="queue",
            alert_topic_arn="topic",
            slack_secret_arn="arn",
            slack_allowed_hosts=("127.0.0.1",),
            slack_api_url=self.slack.api_url,
            slack_signing_secret_arn="arn",
            slack_secret_prefix="",
            report_url="https://costs.example/{budget}?period={period}",
            runbook_url="https://wiki.example/bedrock-costs/operating",
        )
        self.channels = SlackChannels(settings, self._secret, self.mail, self._send)

    def _secret(self, _: str) -> str:
        return self.slack.workspace.token if self.kind == "bot" else self.slack.url

    def _send(self, verb: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """What the network makes of a request: the answer, or a reset that says nothing of what was taken."""
        parts = urlsplit(url)
        callback, self.during_send = self.during_send, None
        if callback is not None:
            callback()
        if self.is_dead:
            return (
                Response(404, b"no_service")
                if self.kind == "webhook"
                else Response(200, b'{"ok":false,"error":"token_revoked"}')
            )
        answer = self.slack.receive(f"{parts.path}?{parts.query}", dict(headers), body)
        if answer.delivers:
            self.sent_at.append(self.clock())
        if answer.resets:
            return Response(error="the connection to Slack broke", is_ambiguous=True)
        return Response(answer.status, answer.body.encode(), dict(answer.headers).get("Retry-After", ""))

    # What happens.

    def observe(self, found: Observation) -> None:
        current = self.outbox.get(found.key)
        following = observe(found, current, self.clock())
        if following is not None:
            self.outbox.put(following, replacing=current)

    def relay(self, found: Alarm) -> None:
        relay_alarm(found, alerts=self.outbox, clock=self.clock)

    def act(self, key: AlertKey, action: Callable[[Alert, datetime], Alert | None]) -> None:
        current = self.outbox.get(key)
        following = action(current, self.clock()) if current is not None else None
        if following is not None:
            self.outbox.put(following, replacing=current)

    def deliver(self, key: AlertKey | DigestKey, crash_after: int | None = None) -> Delivered | None:
        """One attempt; the stream and the queue repeat one that ends midway."""
        self.crashes.after_points = crash_after
        try:
            outcome = deliver_notice(
                key, outbox=self.outbox, routes=self.routes, channels=self.channels, retries=self.retries, clock=self.clock
            )
        except (Crash, LedgerConflict) as error:
            self.outcomes["crashed" if isinstance(error, Crash) else "lost against another"] += 1
            self.outbox.stream.append(key)
            return None
        finally:
            self.crashes.after_points = None
        self.outcomes[outcome.status if outcome.step is None else f"{outcome.status} {outcome.step}"] += 1
        return outcome

    def step(self, crash_after: int | None = None) -> bool:
        """Let the next thing that is waiting happen; False where nothing is."""
        if self.outbox.stream:
            self.deliver(self.outbox.stream.pop(0), crash_after)
            return True
        self.retries.due.sort(key=lambda entry: entry[0])
        if self.retries.due and self.retries.due[0][0] <= self.clock():
            self.deliver(self.retries.due.pop(0)[1], crash_after)
            return True
        return False

    def sweep(self) -> None:
        sweep(outbox=self.outbox, retries=self.retries, clock=self.clock)

    def settle(self, hours: int = 30) -> None:
        """Faults are over: let time pass until nothing is left to do."""
        end = self.clock() + timedelta(hours=hours)
        for _ in range(STEPS_MAX):
            if self.step():
                continue
            self.retries.due.sort(key=lambda entry: entry[0])
            times = [entry[0] for entry in self.retries.due[:1]]
            waits = [n.delivery.wait_until for n in self.outbox.items.values() if n.delivery.status in _OPEN]
            times += [at for at in waits if at is not None]
            if not times or min(times) > end:
                return
            self.clock.now = max(self.clock.now, min(times))
            self.sweep()
        raise AssertionError(f"something keeps coming back: {self.outcomes}")

    # What people see.

    @property
    def alerts(self) -> list[Alert]:
        return [notice for notice in self.outbox.items.values() if isinstance(notice, Alert)]

    def told(self, *, with_deleted: bool = True) -> Counter[tuple[str, int]]:
        """How often each news of each alert or digest was told in Slack aloud."""
        if self.kind == "bot":
            shown = [*self.slack.workspace.messages, *(self.slack.workspace.deleted if with_deleted else ())]
            found = [m.versions[0] if m.versions else m.payload for m in shown]
            payloads = [p["metadata"]["event_payload"] for p in found]
            return Counter((p["id"], p["news"]) for p in payloads)
        return Counter(named for post in self.slack.delivered if (named := self._named(post.payload)))

    def _named(self, payload: Mapping[str, Any]) -> tuple[str, int] | None:
        text = json.dumps(payload)
        found = NAMED.search(text)
        if found:
            return found[1], self.outbox.news[found[1], int(found[2])]
        digest = re.search(r"digest (\S+)\"", text)
        return (digest[1], 1) if digest else None

    def mailed(self) -> Counter[tuple[str, int]]:
        return Counter((str(notice.key), notice.news) for notice, _ in self.mail.received)

    def repeats(self) -> int:
        return sum(REPEAT in json.dumps(post.payload) for post in self.slack.delivered)

    def check(self, may_ask: bool = True) -> None:
        """Nobody was left without the last news; nobody was told twice without a label; the channel was not flooded."""
        told, mailed = self.told(), self.mailed()
        for alert in self.alerts:
            assert alert.delivery.status in (DeliveryStatus.SENT, DeliveryStatus.FAILED), alert
            name = (str(alert.key), alert.news)
            # An alarm that never was raised tells nothing.
            is_news = alert.state is not AlertState.MUTED and bool(alert.seen)
            if is_news and alert.delivery.status is DeliveryStatus.SENT:
                known = told[name] + mailed[name]
                assert known or name in self.outbox.digested, f"nobody was told {name}: {alert}"
        for notice in self.outbox.items.values():
            if isinstance(notice, Digest) and notice.delivery.status is not DeliveryStatus.FAILED:
                assert told[str(notice.key), 1] + mailed[str(notice.key), 1], f"nobody was told {notice.key}"
        # What somebody deleted before it was looked for is not there any more.
        visible = self.told(with_deleted=False)
        limit = 1 if self.kind == "bot" and may_ask else 2
        assert all(count <= limit for count in visible.values()), visible
        assert sum(count - 1 for count in visible.values()) <= self.repeats()
        gaps = [later - earlier for earlier, later in zip(self.sent_at, self.sent_at[1:], strict=False)]
        assert all(gap >= timedelta(seconds=1) for gap in gaps), min(gaps)


_OPEN = (DeliveryStatus.PENDING, DeliveryStatus.CLAIMED)


def named(name: str) -> AlertKey:
    return AlertKey(name, "2026-11")


__all__ = ["CHANNEL", "START", "Answer", "World", "named"]
