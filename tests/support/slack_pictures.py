"""The pictures in docs/images/slack-*.png: every kind of message, as the product sent it to the Slack workspace in memory.

`python -m tests.support.slack_pictures docs/images` draws them anew; Chromium and the font Lato have to be installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapters.channels.slack_messages import reply_to_user
from attribution.alerts import (
    AlertKey,
    Driver,
    Figures,
    Forecast,
    Observation,
    Subject,
    Threshold,
    ThresholdKind,
    acknowledge,
)
from attribution.allocation import estimate_day
from attribution.anomalies import Monitor
from attribution.charges import Basis
from attribution.conversation import Typed
from attribution.days import make_day_version
from attribution.flows.answer_slack import World as AnswerWorld
from attribution.flows.answer_slack import answer_typed
from attribution.flows.compile_digests import compile_digests
from attribution.flows.detect_anomalies import detect_anomalies
from attribution.meters import TokenKind
from attribution.money import Money
from attribution.routes import DigestEvery, DigestSchedule, Route, Viewer
from attribution.usage import Counters, Usage
from local.slack_picture import chosen, draw, page
from tests.fakes import (
    Crashes,
    FakeAnomalies,
    FakeAnomalyNews,
    FakeClock,
    FakeDeliveries,
    FakeDirectory,
    FakeInvocations,
    FakeLedgerDays,
    FakePolicy,
    FakeRoutes,
)
from tests.support.slack_world import START, World
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY

KEY = AlertKey("search monthly", "2026-11")
BILLED_DAYS = 20


def daily(runaway: int) -> tuple[tuple[date, Decimal], ...]:
    """A month until the 23rd; the last days with a runaway of so many dollars a day."""
    quiet = (118, 131, 142, 139, 127, 61, 58, 134, 140, 151, 149, 138, 66, 60, 141, 150, 158, 161, 149, 72, 64)
    amounts = [*quiet, 160 + runaway, 171 + 2 * runaway]
    return tuple((date(2026, 11, 1) + timedelta(days=i), Decimal(a)) for i, a in enumerate(amounts))


def found(runaway: int, *, billed: bool = False, forecast: bool = True) -> Observation:
    days = daily(runaway)
    spent = sum((amount for _, amount in days), Decimal(0))
    known = sum((amount for _, amount in days[:BILLED_DAYS]), Decimal(0))
    limit = Decimal(3600)
    drivers = (
        Driver("anthropic.claude-sonnet-4-5", Decimal(1320 + 2 * runaway), Decimal(2 * runaway + 210)),
        Driver("tenant globex", Decimal(890 + runaway), Decimal(runaway + 75)),
        Driver("role batch-summariser", Decimal(402), Decimal(-38)),
    )
    middle = spent + Decimal(7 * 170)
    outlook = Forecast(middle - 310, middle, middle + 420, date(2026, 11, 27), 92) if forecast else None
    crossed = [
        Threshold(ThresholdKind.ACTUAL, f"ACTUAL#{p}", f"above {p} % of the budget", limit * p / 100, p >= 100)
        for p in (80, 100)
        if spent * 100 > limit * p
    ]
    if forecast and middle > limit:
        crossed.insert(0, Threshold(ThresholdKind.FORECASTED, "FORECASTED#100", "above 100 % of the budget", limit))
    figures = Figures(
        Money(limit),
        spent if billed else known,
        Decimal(0) if billed else spent - known,
        drivers,
        outlook,
        int(100 * spent * 30 / (limit * 23)),
        days,
    )
    subject = Subject("team: search", "billed_cost", (("team", "search"),), ends_at=START + timedelta(days=7, hours=12))
    return Observation(KEY, subject, figures, tuple(crossed))


def tell(world: World, observation: Observation, hours: int = 3) -> None:
    world.observe(observation)
    world.settle(hours=1)
    world.clock.advance(hours * 3600)


def posts(world: World, *methods: str) -> list[dict[str, Any]]:
    """What was delivered, as it was sent."""
    return [asdict(post) for post in world.slack.delivered if not methods or post.method in methods]


def warned() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, found(180))
    return posts(world)


def escalated() -> list[dict[str, Any]]:
    """The message as it is after the budget broke, and the news in its thread."""
    world = World("bot", Route("finops", mention="<!subteam^S012AB3CD>"))
    tell(world, found(180))
    tell(world, found(520, forecast=False))
    return posts(world)[1:]


def acknowledged() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, found(180))
    world.act(KEY, lambda alert, now: acknowledge(alert, "U012AB3CD", now))
    world.settle(hours=1)
    return posts(world)[-1:]


def corrected() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, found(180))
    tell(world, found(-40, billed=True, forecast=False), hours=20)
    return posts(world)[1:]


def by_webhook() -> list[dict[str, Any]]:
    """A webhook that draws no charts, and a message whose acknowledgement was lost."""
    world = World("webhook", Route("finops", has_charts=False))
    tell(world, found(180))
    return posts(world)


def stormy() -> list[dict[str, Any]]:
    world = World("webhook", Route("finops", storm_limit=1))
    for number, name in enumerate(("payments", "search", "support", "growth", "fraud", "onboarding", "kyc", "treasury")):
        observation = found(100 + 90 * number)
        key = replace(KEY, budget=f"{name} monthly")
        world.observe(replace(observation, key=key))
    world.settle(hours=1)
    return posts(world)[-1:]


# A company's ledger: what digests, anomalies and answers are made from.

QUIET = (118, 131, 142, 139, 127, 61, 58)
"""Dollars of the team search by weekday, from Monday on; what other teams spend is a part of it."""
PARTS = {"payments": "1.71", "search": "1", "support": "0.52", "growth": "0.23", "": "0.04"}
AGENT = "arn:aws:iam::111122223333:role/agent-runner"
LOOP = {date(2026, 11, 21): 164, date(2026, 11, 22): 529, date(2026, 11, 23): 388}
"""What a loop of the team search's agent costs on the last days."""


def company(clock: FakeClock) -> FakeLedgerDays:
    """Seven weeks of five teams until today, the last three days estimated."""
    days = FakeLedgerDays(FakeDeliveries(), clock)
    for back in range(49):
        day = clock().date() - timedelta(days=back)
        used = [
            spent(day, team, f"arn:aws:iam::111122223333:role/{team or 'shared'}-api", dollars(day, part))
            for team, part in PARTS.items()
        ]
        if day in LOOP:
            used.append(spent(day, "search", AGENT, Decimal(LOOP[day]), model="anthropic.claude-opus-4-5"))
        basis = Basis.ESTIMATED if back < 3 else Basis.BILLED
        version = make_day_version(day, basis, estimate_day(used, BY_TEAM, "USD"), BY_TEAM, origin="", usage=f"{day}")
        days.current[day] = days.stage(version, "")
    return days


def dollars(day: date, part: str) -> Decimal:
    uneven = Decimal(100 + day.toordinal() * 7 % 11) / 100
    return (QUIET[day.weekday()] * Decimal(part) * uneven).quantize(Decimal("0.01"))


def spent(day: date, team: str, caller: str, amount: Decimal, model: str = "anthropic.claude-sonnet-4-5") -> Usage:
    metadata = (("team", team),) if team else ()
    key = replace(USAGE_KEY, usage_date=day, model=model, iam_principal=caller, request_metadata=metadata)
    tokens = {TokenKind.OUTPUT: int(amount * 66_666)}
    return Usage(key, Counters(int(amount * 17), units=tokens, estimated={TokenKind.OUTPUT: amount}))


MONITORS = (Monitor("teams", "team"), Monitor("callers", "iam_principal"), Monitor("models", "model"))
VIEWER = "U012AB3CD"


def detected(world: World, store: FakeAnomalies) -> FakeLedgerDays:
    """The company's ledger, looked at for anomalies."""
    days, policy = company(world.clock), FakePolicy(BY_TEAM, monitors=MONITORS)
    detect_anomalies(
        days=days, policy=policy, anomalies=store, alerts=world.outbox, news=FakeAnomalyNews(Crashes()), clock=world.clock
    )
    return days


def anomalous() -> list[dict[str, Any]]:
    world = World("bot")
    detected(world, FakeAnomalies())
    world.settle(hours=1)
    return posts(world)


def digested() -> list[dict[str, Any]]:
    """A daily digest of all teams, with the alerts that are open."""
    schedule = DigestSchedule(DigestEvery.DAY, "team", time(12), ZoneInfo("UTC"))
    world = World("bot", Route("finops", digests=(schedule,)))
    world.observe(found(180))
    days = detected(world, FakeAnomalies())
    compile_digests(days=days, routes=world.routes, outbox=world.outbox, clock=world.clock)
    world.settle(hours=1)
    return [post for post in posts(world) if "digest" in json.dumps(post["payload"])]


def answered(*commands: str) -> list[dict[str, Any]]:
    """Commands, and what the one who typed them is shown."""
    world, store = World("bot"), FakeAnomalies()
    world.observe(found(180))
    days = detected(world, store)
    routes = FakeRoutes(viewers=[Viewer((VIEWER,), sees_all=True)])
    policy = FakePolicy(BY_TEAM, monitors=MONITORS)
    asked = AnswerWorld(world.outbox, routes, policy, days, FakeInvocations(), FakeDirectory(), store, world.clock)
    shown = []
    for text in commands:
        world.clock.advance(60)
        reply = answer_typed(Typed(VIEWER, text, world.clock()), asked)
        said = {"at": world.clock().isoformat(), "delivered": True, "method": "answer"}
        shown.append(said | {"payload": reply_to_user(reply)})
    return shown


PICTURES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "warning": warned,
    "over-budget": escalated,
    "acknowledged": acknowledged,
    "correction": corrected,
    "webhook": by_webhook,
    "storm": stormy,
    "digest": digested,
    "anomaly": anomalous,
    "command": lambda: answered("team search", "budget"),
}


def drawn(directory: Path) -> Iterator[Path]:
    """Draw every picture."""
    for name, kind in PICTURES.items():
        picture = directory / f"slack-{name}.png"
        draw(page(chosen(json.loads(json.dumps(kind())))), picture)
        yield picture


if __name__ == "__main__":
    for drawing in drawn(Path(sys.argv[1])):
        print(drawing)
