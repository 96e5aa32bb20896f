"""A digest of spend holds as many lines as an item of the outbox can, and its sum is that of everybody."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import cast
from zoneinfo import ZoneInfo

from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.digests import LINES_MAX, Digest
from attribution.flows.compile_digests import compile_digests
from attribution.meters import TokenKind
from attribution.routes import DigestEvery, DigestSchedule, Route
from attribution.usage import Counters, Usage
from tests.fakes import FakeClock, FakeDeliveries, FakeLedgerDays, FakeOutbox, FakeRoutes
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY

DAY = date(2026, 11, 25)


def test_a_digest_of_more_values_than_an_item_holds_lists_the_largest_and_says_so() -> None:
    clock = FakeClock()
    clock.now = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
    days, outbox = FakeLedgerDays(FakeDeliveries(), clock), FakeOutbox()
    used = [
        Usage(
            USAGE_KEY._replace(usage_date=DAY, request_metadata=(("team", f"team-{number:04d}"),)),
            Counters(1, units={TokenKind.INPUT: 1}, estimated={TokenKind.INPUT: Decimal(number)}),
        )
        for number in range(1, LINES_MAX + 3)
    ]
    version = make_day_version(DAY, Basis.ESTIMATED, estimate_day(used, BY_TEAM), BY_TEAM, origin="", usage="u")
    days.current[DAY] = days.stage(version, "")
    route = Route(digests=(DigestSchedule(DigestEvery.DAY, "team", time(9), ZoneInfo("UTC")),))

    (key,) = compile_digests(days=days, routes=FakeRoutes(route), outbox=outbox, clock=clock).made

    digest = cast(Digest, outbox.items[key])
    assert [line.label for line in (digest.lines[0], digest.lines[-1])] == ["team-0502", "team-0003"]
    assert len(digest.lines) == LINES_MAX
    assert "$126,253.00 in all" in digest.summary
    assert digest.summary.endswith("The largest 500 of 502 are listed")
