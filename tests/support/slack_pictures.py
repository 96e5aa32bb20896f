"""The pictures in docs/images/slack-*.png: every kind of message, as the product sent it to the Slack workspace in memory.

`python -m tests.support.slack_pictures docs/images` draws them anew; Chromium and the font Lato have to be installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapters.budget_documents import build_budgets
from adapters.channels.slack_messages import reply_to_user
from adapters.contracts import AlarmStateChanged, read
from adapters.policy import PolicyDocument, parse_policy
from attribution.alerts import AlertKey, acknowledge
from attribution.allocation import estimate_day
from attribution.anomalies import Monitor
from attribution.charges import Basis
from attribution.conversation import Typed
from attribution.days import make_day_version
from attribution.flows.answer_slack import World as AnswerWorld
from attribution.flows.answer_slack import answer_typed
from attribution.flows.compile_digests import compile_digests
from attribution.flows.detect_anomalies import detect_anomalies
from attribution.flows.evaluate_budgets import evaluate_budgets
from attribution.meters import TokenKind
from attribution.routes import DigestEvery, DigestSchedule, Route, Viewer
from attribution.usage import Counters, Usage
from local.slack_picture import chosen, draw, page
from tests.fakes import (
    Crashes,
    FakeAnomalies,
    FakeAnomalyNews,
    FakeBudgetSums,
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

ROOT = Path(__file__).resolve().parents[2]
KEY = AlertKey("search monthly", "2026-11")
VIEWER = "U012AB3CD"
MONITORS = (Monitor("teams", "team"), Monitor("callers", "iam_principal"), Monitor("models", "model"))
BUDGETS = [
    {
        "name": "search monthly",
        "limit": {"amount": "3600"},
        "dimension": "team",
        "values": ["search"],
        "thresholds": [80, 100],
        "forecast_thresholds": [100],
    }
]
POLICY = parse_policy({"budgets": BUDGETS})

# A company's ledger: what every message is made from.

QUIET = (118, 131, 142, 139, 127, 61, 58)
"""Dollars of the team search by weekday, from Monday on; what other teams spend is a part of it."""
PARTS = {"payments": "1.71", "search": "1", "support": "0.52", "growth": "0.23", "": "0.04"}
WARNING, OVER, NOTHING = (140, 260, 340), (320, 620, 780), (0, 0, 0)
"""What a loop of the team search's agent costs on the last three days."""


def company(clock: FakeClock, loop: Sequence[int] = WARNING, *, is_billed: bool = False) -> FakeLedgerDays:
    """Eight weeks of five teams until the 23rd, the last three days estimated, or all of them billed."""
    days = FakeLedgerDays(FakeDeliveries(), clock)
    for back in range(56):
        day = START.date() - timedelta(days=back)
        used = [spent(day, team, f"{team or 'shared'}-api", dollars(day, part)) for team, part in PARTS.items()]
        if back < 3 and loop[2 - back]:
            used.append(spent(day, "search", "agent-runner", Decimal(loop[2 - back]), model="anthropic.claude-opus-4-5"))
        basis = Basis.ESTIMATED if back < 3 and not is_billed else Basis.BILLED
        version = make_day_version(day, basis, estimate_day(used, BY_TEAM, "USD"), BY_TEAM, origin="", usage=f"{day}")
        days.current[day] = days.stage(version, "")
    return days


def dollars(day: date, part: str) -> Decimal:
    uneven = Decimal(100 + day.toordinal() * 7 % 11) / 100
    return (QUIET[day.weekday()] * Decimal(part) * uneven).quantize(Decimal("0.01"))


def spent(day: date, team: str, role: str, amount: Decimal, model: str = "anthropic.claude-sonnet-4-5") -> Usage:
    metadata = (("team", team),) if team else ()
    caller = f"arn:aws:iam::111122223333:role/{role}"
    key = USAGE_KEY._replace(usage_date=day, model=model, iam_principal=caller, request_metadata=metadata)
    tokens = {TokenKind.OUTPUT: int(amount * 66_666)}
    return Usage(key, Counters(int(amount * 17), units=tokens, estimated={TokenKind.OUTPUT: amount}))


def policy_of(document: PolicyDocument = POLICY) -> FakePolicy:
    return FakePolicy(BY_TEAM, build_budgets(document.budgets, document.vocabulary()), MONITORS)


def evaluate(world: World, days: FakeLedgerDays, document: PolicyDocument = POLICY) -> None:
    evaluate_budgets((), days=days, sums=FakeBudgetSums(), policy=policy_of(document), alerts=world.outbox, clock=world.clock)


def tell(world: World, loop: Sequence[int], *, is_billed: bool = False, hours: int = 3) -> None:
    evaluate(world, company(world.clock, loop, is_billed=is_billed))
    world.settle(hours=1)
    world.clock.advance(hours * 3600)


def posts(world: World, *methods: str) -> list[dict[str, Any]]:
    """What was delivered, as it was sent."""
    return [asdict(post) for post in world.slack.delivered if not methods or post.method in methods]


def warned() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, WARNING)
    return posts(world)


def escalated() -> list[dict[str, Any]]:
    """The message as it is after the budget broke, and the news in its thread."""
    world = World("bot", Route("finops", mention="<!subteam^S012AB3CD>"))
    tell(world, WARNING)
    tell(world, OVER)
    return posts(world)[1:]


def acknowledged() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, WARNING)
    world.act(KEY, lambda alert, now: acknowledge(alert, "U012AB3CD", now))
    world.settle(hours=1)
    return posts(world)[-1:]


def corrected() -> list[dict[str, Any]]:
    world = World("bot")
    tell(world, WARNING)
    tell(world, NOTHING, is_billed=True, hours=20)
    return posts(world)[1:]


def by_webhook() -> list[dict[str, Any]]:
    """A webhook that draws no charts, and a message whose acknowledgement was lost."""
    world = World("webhook", Route("finops", has_charts=False))
    tell(world, WARNING)
    return posts(world)


def alarmed() -> list[dict[str, Any]]:
    """The alarm of the sample event, as it was raised."""
    world = World("bot")
    sample = json.loads((ROOT / "events/relay_alarms.json").read_text())["Records"][0]
    found = read(AlarmStateChanged, sample["body"], "the sample event").alarm
    assert found is not None
    world.clock.now = found.since + timedelta(seconds=2)
    world.relay(found)
    world.settle(hours=1)
    return posts(world)


def stormy() -> list[dict[str, Any]]:
    """Budgets of every team and more, which all break at once."""
    world = World("webhook", Route("finops", storm_limit=1))
    teams = [team for team in PARTS if team] * 2
    budgets = [
        BUDGETS[0]
        | {"name": f"{team} {'monthly' if n < 4 else 'cap'}", "values": [team], "limit": {"amount": f"{900 + 350 * n}"}}
        for n, team in enumerate(teams)
    ]
    evaluate(world, company(world.clock, OVER), parse_policy({"budgets": budgets}))
    world.settle(hours=1)
    return posts(world)[-1:]


def detected(world: World, store: FakeAnomalies) -> FakeLedgerDays:
    """The company's ledger, looked at for anomalies."""
    days, news = company(world.clock), FakeAnomalyNews(Crashes())
    detect_anomalies(days=days, policy=policy_of(), anomalies=store, alerts=world.outbox, news=news, clock=world.clock)
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
    days = detected(world, FakeAnomalies())
    evaluate(world, days)
    compile_digests(days=days, routes=world.routes, outbox=world.outbox, clock=world.clock)
    world.settle(hours=1)
    return [post for post in posts(world) if "digest" in json.dumps(post["payload"])]


def answered(*commands: str) -> list[dict[str, Any]]:
    """Commands, and what the one who typed them is shown."""
    world, store = World("bot"), FakeAnomalies()
    days = detected(world, store)
    evaluate(world, days)
    routes = FakeRoutes(viewers=[Viewer((VIEWER,), sees_all=True)])
    asked = AnswerWorld(world.outbox, routes, policy_of(), days, FakeInvocations(), FakeDirectory(), store, world.clock)
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
    "alarm": alarmed,
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
