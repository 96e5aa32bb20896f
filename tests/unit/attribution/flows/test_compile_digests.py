"""A digest of spend holds as many lines as an item of the outbox can, and its sum is that of everybody; the basis is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from attribution.alerts import wake
from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.days import make_day_version
from attribution.digests import LINES_MAX, Digest
from attribution.flows.compile_digests import compile_digests
from attribution.meters import TokenKind
from attribution.routes import DigestEvery, DigestSchedule, Route
from attribution.usage import Counters, Usage
from tests.fakes import FakeClock, FakeDeliveries, FakeLedgerDays, FakeOutbox, FakeRoutes
from tests.support.alerts import put_alert
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY

DAY = date(2026, 11, 25)


ROUTE = Route(digests=(DigestSchedule(DigestEvery.DAY, "team", time(9), ZoneInfo("UTC")),))


def spend(days: FakeLedgerDays, day: date, basis: Basis, **amounts: int) -> None:
    used = [
        Usage(
            USAGE_KEY._replace(usage_date=day, request_metadata=(("team", team),)),
            Counters(1, units={TokenKind.INPUT: 1}, estimated={TokenKind.INPUT: Decimal(amount)}),
        )
        for team, amount in amounts.items()
    ]
    version = make_day_version(day, basis, estimate_day(used, BY_TEAM), BY_TEAM, origin="", usage=f"{day}")
    days.current[day] = days.stage(version, "")


def made(days: FakeLedgerDays, clock: FakeClock) -> Digest:
    outbox = FakeOutbox()
    (key,) = compile_digests(days=days, routes=FakeRoutes(ROUTE), outbox=outbox, clock=clock).made
    return cast(Digest, outbox.items[key])


@pytest.fixture
def clock() -> FakeClock:
    at = FakeClock()
    at.now = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
    return at


def test_who_spent_most_on_the_day_stands_first_whoever_spent_more_before(clock: FakeClock) -> None:
    days = FakeLedgerDays(FakeDeliveries(), clock)
    spend(days, DAY - timedelta(days=7), Basis.BILLED, payments=300, search=10, gone=5)
    spend(days, DAY, Basis.BILLED, payments=100, search=200)

    digest = made(days, clock)

    assert [(line.label, line.amount, line.note) for line in digest.lines] == [
        ("search", "$200.00", "+$190.00, +1,900 %"),
        ("payments", "$100.00", "-$200.00, -67 %"),
        ("gone", "$0.00", "-$5.00, -100 %"),
    ]


@pytest.mark.parametrize(
    ("basis", "said"), [(Basis.BILLED, "All of it billed by AWS."), (Basis.ESTIMATED, "All of it estimated from usage.")]
)
def test_a_digest_says_on_what_basis_its_day_is_and_not_the_days_before_it(clock: FakeClock, basis: Basis, said: str) -> None:
    days = FakeLedgerDays(FakeDeliveries(), clock)
    spend(days, DAY - timedelta(days=7), Basis.BILLED, search=10)
    spend(days, DAY, basis, search=10)

    digest = made(days, clock)

    assert digest.summary == f"$10.00 in all, ±0 % against the same day a week before\n{said}"
    assert digest.lines[0].note == "no change"


def test_a_digest_of_more_values_than_an_item_holds_lists_the_largest_and_says_so(clock: FakeClock) -> None:
    days = FakeLedgerDays(FakeDeliveries(), clock)
    spend(days, DAY, Basis.ESTIMATED, **{f"team-{number:04d}": number for number in range(1, LINES_MAX + 3)})

    digest = made(days, clock)

    assert [line.label for line in (digest.lines[0], digest.lines[-1])] == ["team-0502", "team-0003"]
    assert len(digest.lines) == LINES_MAX
    assert "$126,253.00 in all" in digest.summary
    assert digest.summary.endswith("The largest 500 of 502 are listed")


def test_the_alert_of_a_period_that_has_ended_is_not_open_while_its_last_news_waits(clock: FakeClock) -> None:
    days, outbox = FakeLedgerDays(FakeDeliveries(), clock), FakeOutbox()
    spend(days, DAY, Basis.BILLED, search=10)
    put_alert(outbox, clock(), budget="november", spent="90")
    october = put_alert(outbox, datetime(2026, 10, 20, tzinfo=UTC), budget="october", spent="90")
    ended = wake(october, clock())
    assert ended is not None
    quiet = replace(ended, delivery=replace(ended.delivery, wait_until=clock() + timedelta(hours=1)))
    outbox.put(quiet, replacing=october)

    (key,) = compile_digests(days=days, routes=FakeRoutes(ROUTE), outbox=outbox, clock=clock).made

    assert cast(Digest, outbox.items[key]).summary.splitlines()[-1] == "Open: november at 90 %"
