"""What is answered in Slack is all of what was asked for: no currency is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.conversation import Typed
from attribution.days import make_day_version
from attribution.flows.answer_slack import World, answer_typed
from attribution.meters import TokenKind
from attribution.routes import Viewer
from attribution.usage import Counters, Usage
from tests.fakes import (
    FakeAnomalies,
    FakeClock,
    FakeDeliveries,
    FakeDirectory,
    FakeInvocations,
    FakeLedgerDays,
    FakeOutbox,
    FakePolicy,
    FakeRoutes,
)
from tests.unit.attribution.examples import BY_TEAM, DAY, USAGE_KEY

NOW = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)


def test_a_team_that_spent_in_two_currencies_is_shown_with_both() -> None:
    days, clock = FakeLedgerDays(FakeDeliveries(), FakeClock()), FakeClock()
    clock.now = NOW
    used = [Usage(USAGE_KEY, Counters(1, units={TokenKind.INPUT: 10}, estimated={TokenKind.INPUT: Decimal(7)}))]
    charges = [*estimate_day(used, BY_TEAM, "EUR"), *estimate_day(used, BY_TEAM, "USD")]
    days.current[DAY] = days.stage(make_day_version(DAY, Basis.BILLED, charges, BY_TEAM, origin="o", usage="u"), "")
    team = charges[0].value_of("team")
    routes = FakeRoutes(viewers=[Viewer(("U1",), sees_all=True)])
    world = World(FakeOutbox(), routes, FakePolicy(BY_TEAM), days, FakeInvocations(), FakeDirectory(), FakeAnomalies(), clock)

    reply = answer_typed(Typed("U1", f"team {team}", NOW), world)

    assert [line.amount for line in reply.lines] == ["EUR 7.00", "$7.00"]
