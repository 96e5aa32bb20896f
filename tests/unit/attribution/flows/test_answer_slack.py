"""What is answered in Slack is all of what was asked for: no currency and no unknown day is left out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.conversation import Typed
from attribution.days import make_day_version
from attribution.flows.answer_slack import World, answer_typed
from attribution.meters import Routing, Tier, TokenKind
from attribution.ports import MeteredHalf
from attribution.routes import Viewer
from attribution.usage import Counters, InvocationKey, Metered, PricedKind, Usage
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


@pytest.mark.parametrize(
    ("known_from", "note"), [(1, "+100 %"), (2, "1 day of it not known")], ids=["whole", "without its first day"]
)
def test_the_month_before_is_a_measure_only_as_far_as_its_days_are_known(known_from: int, note: str) -> None:
    days, clock = FakeLedgerDays(FakeDeliveries(), FakeClock()), FakeClock()
    clock.now = datetime(2026, 11, 3, 12, tzinfo=UTC)
    for month, cost in ((10, 5), (11, 10)):
        for number in range(known_from if month == 10 else 1, 4):
            spend(days, date(2026, month, number), cost)
    routes = FakeRoutes(viewers=[Viewer(("U1",), sees_all=True)])
    world = World(FakeOutbox(), routes, FakePolicy(BY_TEAM), days, FakeInvocations(), FakeDirectory(), FakeAnomalies(), clock)

    reply = answer_typed(Typed("U1", "team search", clock()), world)

    assert [line.note for line in reply.lines if "month before" in line.label] == [note]


def spend(days: FakeLedgerDays, day: date, cost: int) -> None:
    used = Usage(
        USAGE_KEY._replace(usage_date=day, request_metadata=(("team", "search"),)),
        Counters(1, units={TokenKind.INPUT: 10}, estimated={TokenKind.INPUT: Decimal(cost)}),
    )
    version = make_day_version(day, Basis.BILLED, estimate_day([used], BY_TEAM), BY_TEAM, origin="o", usage="u")
    days.current[day] = days.stage(version, "")


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

    assert [line.amount for line in reply.lines] == ["€7.00", "$7.00"]


def asked_for_a_request(kinds: dict[TokenKind, PricedKind], *flags: str) -> str:
    invocations, key = FakeInvocations(), InvocationKey("111122223333", "eu-west-1", "5f3c0b9e")
    metered = Metered(
        NOW,
        "a.model",
        "a.model",
        "Converse",
        Routing.REGIONAL,
        Tier.STANDARD,
        "",
        "role/app",
        kinds,
        price_source="list",
        flags=flags,
    )
    invocations.record_metered([MeteredHalf(key, metered)])
    routes = FakeRoutes(viewers=[Viewer(("U1",), sees_all=True)])
    days, clock = FakeLedgerDays(FakeDeliveries(), FakeClock()), FakeClock()
    world = World(FakeOutbox(), routes, FakePolicy(BY_TEAM), days, invocations, FakeDirectory(), FakeAnomalies(), clock)

    return answer_typed(Typed("U1", f"request {'/'.join(key)}", NOW), world).summary


def test_a_request_of_which_only_a_part_was_counted_has_no_known_cost() -> None:
    counted = {TokenKind.INPUT: PricedKind(1200, Decimal("0.0036"), "0.003 USD per 1000")}

    assert "0.0036 USD at list price" in asked_for_a_request(counted)
    assert "Its cost is not known" in asked_for_a_request(counted, "unmeasured")


def test_a_request_that_used_nothing_cost_nothing() -> None:
    assert "0 USD at list price" in asked_for_a_request({})
