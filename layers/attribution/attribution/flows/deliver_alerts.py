"""Deliver what an alert or a digest still has to tell or show, one request to its channel at a time.

Each request is claimed before it is made and recorded after; what is left to do makes the notice pending again. A message whose
acknowledgement was lost is looked for where the channel can be asked, and else sent once more, labelled as a possible repeat.
What a channel does not take is told by the second route. Nothing sleeps: what has to wait comes back when its time has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from attribution.alerts import Alert, AlertKey, Delivery, DeliveryStatus, Message, News, Step, next_step, wake
from attribution.digests import Digest, DigestKey, collected, next_digest_step, storm_key, takes_more, trial_digest
from attribution.errors import LedgerConflict
from attribution.ports import AlertRetries, Channel, Channels, Clock, Outbox, Posted, Routes
from attribution.routes import DEFAULT_ROUTE, Admission, Admitted, Route, admit, held, route_for, route_of_alarms

Notice = Alert | Digest
NoticeKey = AlertKey | DigestKey

MAX_ATTEMPTS = 8
LEASE = timedelta(minutes=2)
_FIRST_RETRY_SECONDS = 15
# SQS delays a message by no more than this; whatever waits for longer is found by its due time.
LONGEST_DELAY_SECONDS = 900
_WRITE_ATTEMPTS = 10
# What is told aloud and could not be unsaid.
_LOUD = (Step.POST, Step.REPLY)
_RISING = (News.RAISED, News.ESCALATED, News.RAISED_AGAIN, News.REMINDED)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What this attempt did: the step it took, if any, and the status it left."""

    key: NoticeKey
    status: str
    step: Step | None = None
    is_repeat: bool = False
    is_diverted: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Way:
    """How a notice reaches people."""

    route: Route
    channel: Channel
    second: Channel

    def step(self, notice: Notice) -> Step | None:
        if isinstance(notice, Digest):
            return next_digest_step(notice)
        return next_step(notice, updates=self.channel.updates)


def deliver_notice(
    key: NoticeKey, *, outbox: Outbox, routes: Routes, channels: Channels, retries: AlertRetries, clock: Clock
) -> Delivered:
    """Take the next step of one alert or digest, if it has one and its time has come."""
    notice, now = outbox.find(key), clock()
    if notice is None or notice.delivery.status not in (DeliveryStatus.PENDING, DeliveryStatus.CLAIMED):
        return Delivered(key, f"already {notice.delivery.status}" if notice else "gone")
    if notice.delivery.wait_until is not None and notice.delivery.wait_until > now:
        return _come_back(key, notice.delivery.wait_until, now, retries)
    way = _way(notice, routes.routes(), channels)
    notice = _without_lost_claim(notice)
    step = way.step(notice)
    if step is None or notice.delivery.status is DeliveryStatus.FAILED:
        return _close(notice, outbox)
    postponed = _postponed(notice, step, way, outbox, now)
    return postponed or _take(step, notice, way, outbox, clock)


def _take(step: Step, notice: Notice, way: _Way, outbox: Outbox, clock: Clock) -> Delivered:
    now = clock()
    claimed = outbox.replace(_claimed(notice, step, now), replacing=notice)
    if claimed is None:
        return Delivered(notice.key, "claimed elsewhere")
    posted = _perform(claimed, step, way)
    if posted.is_limited:
        _hold(way.route, now + timedelta(seconds=posted.retry_after_seconds or 0), now, outbox)
    settled = _settle(claimed, posted, way, outbox, clock)
    is_repeat = posted.is_sent and claimed.delivery.is_repeat
    diverted = settled.delivery.is_diverted and not notice.delivery.is_diverted
    status = settled.delivery.status
    return Delivered(notice.key, status, step if posted.is_sent else None, is_repeat, diverted, posted.error)


def sweep(*, outbox: Outbox, retries: AlertRetries, clock: Clock) -> tuple[NoticeKey, ...]:
    """Wake what is due: snoozes that are over, periods that have ended, waits that are over. Returns what was found."""
    now = clock()
    found = tuple(outbox.due(now))
    for key in found:
        alert = outbox.get(key) if isinstance(key, AlertKey) else None
        awake = wake(alert, now) if alert is not None else None
        if awake is not None:
            # Pending, it comes back by the stream; where somebody else changed it first, by the next sweep.
            outbox.put(awake, replacing=alert)
        else:
            retries.retry(key, after_seconds=0)
    return found


# Before it is sent.


def _come_back(key: NoticeKey, at: datetime, now: datetime, retries: AlertRetries) -> Delivered:
    wait = int((at - now).total_seconds()) + 1
    if wait <= LONGEST_DELAY_SECONDS:
        retries.retry(key, after_seconds=wait)
    return Delivered(key, "waiting")


def _way(notice: Notice, routes: Sequence[Route], channels: Channels) -> _Way:
    """A message that exists is changed where it is; everything else goes where the policy says now."""
    route = route_of(notice, routes)
    return _Way(route, channels.of(route), channels.second())


def route_of(notice: Notice, routes: Sequence[Route]) -> Route:
    """The route that tells it: a message that exists is changed where it is."""
    if isinstance(notice, Digest):
        return route_for(notice.key.route, (), routes)
    if notice.message is not None:
        return route_for(notice.message.route, notice.subject.owners, routes)
    if notice.alarm is not None:
        return route_of_alarms(routes)
    return route_for(notice.subject.route, notice.subject.owners, routes)


def _without_lost_claim(notice: Notice) -> Notice:
    """A claim whose lease ran out belongs to an attempt that ended in the middle: what it sent aloud may have arrived."""
    delivery = notice.delivery
    if delivery.status is not DeliveryStatus.CLAIMED:
        return notice
    return replace(notice, delivery=_after_doubt(delivery, notice.news, "the attempt to send it ended midway"))


def _after_doubt(delivery: Delivery, news: int, error: str) -> Delivery:
    """The delivery after a request that may have been carried out. A change of a message may be repeated at will."""
    pending = replace(delivery, status=DeliveryStatus.PENDING, wait_until=None, has_turn=False, error=error)
    if delivery.step is Step.UPDATE:
        return pending
    if not delivery.is_repeat:
        return replace(pending, in_doubt=news, cannot_ask=False)
    # The repeat itself may have arrived. A third message to the same channel would help nobody.
    if delivery.step is Step.MAIL:
        return replace(pending, status=DeliveryStatus.FAILED)
    return Delivery(DeliveryStatus.PENDING, is_diverted=True, error=error)


def _close(notice: Notice, outbox: Outbox) -> Delivered:
    """Nothing is left to do, or nothing can be done."""
    failed = notice.delivery.status is DeliveryStatus.FAILED
    status = DeliveryStatus.FAILED if failed else DeliveryStatus.SENT
    closed = replace(notice.delivery, status=status, wait_until=None, has_turn=False)
    outbox.replace(replace(notice, delivery=closed), replacing=notice)
    return Delivered(notice.key, status, error=notice.delivery.error)


def _postponed(notice: Notice, step: Step, way: _Way, outbox: Outbox, now: datetime) -> Delivered | None:
    """Quiet hours, the channel's pace and storms; None where the step may be taken now."""
    if step is Step.MAIL:
        return None
    quiet = way.route.quiet
    if quiet is not None and step in _LOUD and not (quiet.critical_passes and _is_critical(notice)):
        ends = quiet.end_after(now)
        if ends is not None:
            return _wait(notice, ends, False, outbox)
    # One that is tried again is no further message.
    is_collectable = isinstance(notice, Alert) and step is Step.POST and not notice.delivery.attempts
    admitted = _admitted(way.route, now, is_collectable, notice.delivery.has_turn, outbox)
    if admitted is None:
        return _wait(notice, now + timedelta(seconds=1), False, outbox)
    if admitted.admission is Admission.WAIT:
        return _wait(notice, admitted.until, True, outbox)
    if admitted.admission is Admission.COLLECT and isinstance(notice, Alert):
        return _collect(notice, way.route, admitted.until, outbox)
    return None


def _is_critical(notice: Notice) -> bool:
    return isinstance(notice, Alert) and notice.is_critical and notice.news_kind in _RISING


def _wait(notice: Notice, until: datetime, has_turn: bool, outbox: Outbox) -> Delivered:
    waiting = replace(notice.delivery, status=DeliveryStatus.PENDING, wait_until=until, has_turn=has_turn)
    # Pending, it reaches the stream, and the stream brings it back to wait for its time.
    outbox.replace(replace(notice, delivery=waiting), replacing=notice)
    return Delivered(notice.key, "waiting")


def traffic_key(route: Route) -> str:
    """What a channel's traffic is counted by: two routes may share a channel."""
    return f"{route.secret}#{route.channel}"


def _admitted(route: Route, now: datetime, is_loud: bool, has_turn: bool, outbox: Outbox) -> Admitted | None:
    """None where others kept changing the channel's traffic."""
    for _ in range(_WRITE_ATTEMPTS):
        traffic = outbox.traffic(traffic_key(route))
        admitted = admit(traffic, now, is_loud=is_loud, has_turn=has_turn, storm_limit=route.storm_limit)
        if outbox.put_traffic(traffic_key(route), admitted.traffic, replacing=traffic):
            return admitted
    return None


def _hold(route: Route, until: datetime, now: datetime, outbox: Outbox) -> None:
    """Leave the whole channel alone; where that cannot be noted, the next message learns it from Slack itself."""
    for _ in range(_WRITE_ATTEMPTS):
        traffic = outbox.traffic(traffic_key(route))
        if outbox.put_traffic(traffic_key(route), held(traffic, now, until), replacing=traffic):
            return


def _collect(alert: Alert, route: Route, until: datetime, outbox: Outbox) -> Delivered:
    for number in range(1, _WRITE_ATTEMPTS + 1):
        key = storm_key(route.name, until, number)
        digest = outbox.digest(key)
        if digest is not None and not takes_more(digest):
            continue
        extended, taken = collected(digest, key, alert, until)
        if outbox.collect(taken, extended, replacing=alert, extending=digest):
            return Delivered(alert.key, "collected")
        break
    raise LedgerConflict(f"alert {alert.key} or the digest it belongs to was changed meanwhile: it comes back")


# Sending, and after.


def _claimed(notice: Notice, step: Step, now: datetime) -> Notice:
    before = notice.delivery
    claim = Delivery(
        DeliveryStatus.CLAIMED,
        step,
        before.attempts + 1,
        now + LEASE,
        in_doubt=before.in_doubt,
        cannot_ask=before.cannot_ask,
        is_repeat=before.cannot_ask and before.in_doubt == notice.news and step is not Step.UPDATE,
        is_diverted=before.is_diverted,
        error=before.error,
    )
    return replace(notice, delivery=claim)


def _perform(claimed: Notice, step: Step, way: _Way) -> Posted:
    delivery, message = claimed.delivery, claimed.message
    channel = way.second if step is Step.MAIL else way.channel
    if delivery.in_doubt and not delivery.cannot_ask and step is not Step.UPDATE:
        found = channel.find(claimed, message if step is Step.REPLY else None)
        if found is None:
            return Posted(False, cannot_ask=True, error=delivery.error)
        if found.is_sent or found.retry_after_seconds is not None:
            return found
    if step in (Step.POST, Step.MAIL):
        return channel.post(claimed, is_repeat=delivery.is_repeat)
    if not isinstance(claimed, Alert) or message is None:
        return Posted(False, is_gone=True)
    if step is Step.UPDATE:
        return channel.update(claimed, message)
    return channel.reply(claimed, message, is_repeat=delivery.is_repeat)


def _settle(claimed: Notice, posted: Posted, way: _Way, outbox: Outbox, clock: Clock) -> Notice:
    """Record the answer, on top of whatever an evaluation or a person has changed meanwhile."""
    for _ in range(_WRITE_ATTEMPTS):
        latest = outbox.find(claimed.key)
        if latest is None:
            return claimed
        settled = _settled(latest, claimed, posted, way, clock())
        if settled == latest:
            return latest
        stored = outbox.replace(settled, replacing=latest)
        if stored is not None:
            return stored
    raise LedgerConflict(f"{claimed.key} kept changing: its delivery is settled when its lease has run out")


def _settled(latest: Notice, claimed: Notice, posted: Posted, way: _Way, now: datetime) -> Notice:
    is_mine = latest.delivery.status is DeliveryStatus.CLAIMED and latest.delivery.wait_until == claimed.delivery.wait_until
    known = _with_facts(latest, claimed, posted)
    if not is_mine:
        return known
    delivery = _answered(claimed, posted, now)
    after = replace(known, delivery=delivery)
    if delivery.status is DeliveryStatus.SENT and way.step(after) is not None:
        return replace(after, delivery=replace(delivery, status=DeliveryStatus.PENDING))
    return after


def _with_facts(latest: Notice, claimed: Notice, posted: Posted) -> Notice:
    """What is told, shown and where, whoever holds the claim by now."""
    if isinstance(latest, Digest) or isinstance(claimed, Digest):
        return replace(latest, told=1, message=posted.message or latest.message) if posted.is_sent else latest
    if posted.is_gone:
        return replace(latest, message=None, shown=claimed.revision)
    if claimed.delivery.step is Step.UPDATE:
        # What cannot be changed stays as it is: news is told in another way.
        is_final = posted.is_sent or (posted.retry_after_seconds is None and not posted.is_ambiguous)
        return replace(latest, shown=max(latest.shown, claimed.revision)) if is_final else latest
    return _with_news(latest, claimed, posted) if posted.is_sent else latest


def _with_news(latest: Alert, claimed: Alert, posted: Posted) -> Alert:
    told = replace(latest, told=max(latest.told, posted.found_news or claimed.news))
    if claimed.delivery.step is not Step.POST:
        return told
    # A message that was looked for shows what was known when it was sent.
    shown = latest.shown if posted.found_news else max(latest.shown, claimed.revision)
    return replace(told, message=latest.message or posted.message, shown=shown)


def _answered(claimed: Notice, posted: Posted, now: datetime) -> Delivery:
    delivery = claimed.delivery
    if posted.is_sent or posted.is_gone:
        return Delivery(DeliveryStatus.SENT, error=delivery.error if delivery.is_diverted else "")
    if posted.cannot_ask:
        return replace(delivery, status=DeliveryStatus.PENDING, wait_until=None, cannot_ask=True)
    if posted.is_ambiguous:
        doubt = _after_doubt(delivery, claimed.news, posted.error)
        return _spaced(doubt, delivery, posted, now)
    if posted.retry_after_seconds is not None:
        pending = replace(delivery, status=DeliveryStatus.PENDING, is_repeat=False, error=posted.error)
        return _spaced(pending, delivery, posted, now)
    if delivery.step is Step.UPDATE:
        return Delivery(DeliveryStatus.SENT, error=posted.error)
    return _refused(delivery, posted.error)


def _refused(delivery: Delivery, error: str) -> Delivery:
    if delivery.step is Step.MAIL:
        return replace(delivery, status=DeliveryStatus.FAILED, wait_until=None, error=error)
    return Delivery(DeliveryStatus.PENDING, is_diverted=True, error=error)


def _spaced(pending: Delivery, claim: Delivery, posted: Posted, now: datetime) -> Delivery:
    """The delivery with the time of its next attempt; after the last one the second route tells."""
    if pending.status is DeliveryStatus.FAILED or (pending.is_diverted and not claim.is_diverted):
        return pending
    if claim.attempts >= MAX_ATTEMPTS:
        return _refused(claim, posted.error)
    wait = posted.retry_after_seconds or _FIRST_RETRY_SECONDS * 2 ** (claim.attempts - 1)
    return replace(pending, wait_until=now + timedelta(seconds=wait), has_turn=False)


# Trying a route.


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a message that was to try a route.

    `updates`: the channel changes its messages, as a bot does; `can_find`: it finds them as well, None where it was not asked.
    """

    is_sent: bool
    updates: bool = False
    message: Message | None = None
    can_find: bool | None = None
    error: str = ""


def try_route(name: str, by: str, *, by_mail: bool, routes: Routes, channels: Channels, clock: Clock) -> Tried:
    """Send one message, marked as a test, by a route or by the second route; nothing is kept, and nothing tried again."""
    known = {route.name: route for route in routes.routes()}
    route = known.get(name) or (Route() if name == DEFAULT_ROUTE else None)
    if route is None:
        return Tried(False, error=f"there is no route {name!r}; choose from {', '.join(known) or DEFAULT_ROUTE}")
    channel = channels.second() if by_mail else channels.of(route)
    digest = trial_digest(route, by, clock())
    posted = channel.post(digest, is_repeat=False)
    if not posted.is_sent:
        return Tried(False, error=_why_not(posted))
    can_find = None
    if channel.updates:
        in_doubt = replace(digest, delivery=Delivery(in_doubt=digest.news))
        can_find = channel.find(in_doubt, None) is not None
    return Tried(True, channel.updates, posted.message, can_find)


def _why_not(posted: Posted) -> str:
    if posted.is_ambiguous:
        return f"{posted.error}: it may have arrived all the same, look into the channel"
    if posted.retry_after_seconds is not None:
        return f"{posted.error}: try again in {max(posted.retry_after_seconds, _FIRST_RETRY_SECONDS)} seconds"
    return posted.error
