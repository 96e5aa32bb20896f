"""The pictures in docs/images/slack-*.png: every kind of message, as the product sent it to the Slack workspace in memory.

`python -m tests.support.slack_pictures docs/images` draws them anew; Chromium and the font Lato have to be installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from adapters.channels.slack_messages import reply_to_user
from adapters.contracts import AlarmStateChanged, read
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
from attribution.conversation import Reply
from attribution.digests import Digest, DigestKey, DigestKind, DigestLine
from attribution.money import Money
from attribution.routes import Route
from local.slack_picture import chosen, draw, page
from tests.support.slack_world import START, World

ROOT = Path(__file__).resolve().parents[2]
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
    world = World("webhook", Route("finops", storm_limit=1))
    for number, name in enumerate(("payments", "search", "support", "growth", "fraud", "onboarding", "kyc", "treasury")):
        observation = found(100 + 90 * number)
        key = replace(KEY, budget=f"{name} monthly")
        world.observe(replace(observation, key=key))
    world.settle(hours=1)
    return posts(world)[-1:]


def digested() -> list[dict[str, Any]]:
    world = World("bot")
    lines = (
        DigestLine(0, "search", "$691.00", "+$529.00, +327 % against the week before"),
        DigestLine(1, "support", "$204.10", "-$11.90, -6 % against the week before"),
        DigestLine(2, "growth", "$88.42", "+$3.20, +4 % against the week before"),
    )
    summary = "$983.52 in all, +113 % against the week before\nOpen: search monthly at 82 %"
    key = DigestKey("finops", "day#team#2026-11-23")
    world.outbox.add_digest(Digest(key, DigestKind.DAY, "3 teams: 2026-11-22", summary, lines, START, daily(180)[-14:]))
    world.settle(hours=1)
    return posts(world)


def answered() -> list[dict[str, Any]]:
    lines = (
        DigestLine(0, "search", "$3,139.00", "48,112 requests"),
        DigestLine(1, "The same days a month before", "$2,573.98", "+22 %"),
        DigestLine(2, "A day", "$136.48", "on average over 23 days"),
    )
    basis = "$2,432.00 billed by AWS, $707.00 estimated from usage."
    reply = Reply("team search", f"2026-11, 2026-11-01 to 2026-11-23. {basis}", lines, daily(180))
    at = (START + timedelta(minutes=3)).isoformat()
    return [{"at": at, "payload": reply_to_user(reply), "delivered": True, "method": "answer"}]


PICTURES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "warning": warned,
    "over-budget": escalated,
    "acknowledged": acknowledged,
    "correction": corrected,
    "webhook": by_webhook,
    "alarm": alarmed,
    "storm": stormy,
    "digest": digested,
    "command": answered,
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
