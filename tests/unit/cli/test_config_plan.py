"""`config plan` and `config apply`: what a document moves is seen before, and only what was seen is put in force."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.policy import PolicyDocument
from adapters.usage_counters import DynamoUsageCounters
from adapters.work_bucket import S3OriginCharges
from attribution.allocation import allocate_day, estimate_day, totals_by_currency
from attribution.charges import Basis, Costs
from attribution.days import make_day_version
from attribution.deliveries import DayOfDelivery, IngestedReport
from attribution.flows.allocate_charges import allocate_charges
from attribution.meters import TokenKind
from attribution.periods import BillingPeriod
from attribution.rules import Rules
from attribution.usage import Counters, UsageKey
from tests.fakes import FakeAnnouncements, FakeDirectory, FakeDirectoryRequests, FakePrices
from tests.unit.attribution.examples import TEAM, USAGE_KEY, origin_charge
from tests.unit.cli.support import Cloud, put_delivery, run

BY_TEAM = Rules.of([TEAM])
TODAY = datetime(2026, 11, 10, 9, tzinfo=UTC)
BILLED, ESTIMATED, CLOSED = date(2026, 11, 3), date(2026, 11, 9), date(2026, 10, 3)
OLD = "cost_categories:\n  - name: team\nbudgets:\n  - {name: all, limit: {amount: '10'}, dimension: model}\n"
NEW = """\
cost_categories:
  - name: team
    keys: [cc]
  - name: tenant
budgets:
  - {name: all, limit: {amount: '20'}, dimension: model}
  - {name: more, limit: {amount: '20'}, dimension: tenant}
"""


def key(day: date, team: str, cc: str) -> UsageKey:
    return USAGE_KEY._replace(usage_date=day, request_metadata=(("cc", cc), ("team", team)))


def count(cloud: Cloud, day: date) -> None:
    """A quarter of the day's tokens are search's of cost center 1, the rest support's of cost center 2."""
    counters = DynamoUsageCounters(cloud.ledger, 760, lambda: TODAY)
    for n, (team, cc, tokens) in enumerate((("search", "1", 250), ("support", "2", 750))):
        used = Counters(1, units={TokenKind.INPUT: tokens}, estimated={TokenKind.INPUT: Decimal(tokens) / 1000})
        counters.apply("s", f"{day}-{n}", after="", through="1", differences={key(day, team, cc): used})


def put_day(cloud: Cloud, day: date, written_at: datetime) -> None:
    """A day that is billed ten dollars by a delivery, allocated by team."""
    charges = [origin_charge(usage_date=day, costs=Costs.uniform(Decimal(10)), units=Decimal(1000))]
    origin = S3OriginCharges(cloud.s3, "work-bucket").write(day, charges)
    of_delivery = DayOfDelivery(day, origin, totals_by_currency(charges), 1, 1)
    period = BillingPeriod.of(day)
    sequence = f"{written_at.isoformat()}#execution-{period}"
    report = IngestedReport((), (of_delivery,), 1, 1, of_delivery.totals)
    name = f"execution-{period}"
    put_delivery(cloud, period=period, execution_id=name, sequence=sequence, changed_days=(day,), report=report)
    count(cloud, day)
    usage = DynamoUsageCounters(cloud.ledger, 760, lambda: TODAY).usage_of(day)
    version = make_day_version(day, Basis.BILLED, allocate_day(charges, usage, BY_TEAM), BY_TEAM, origin=origin, usage="u")
    days = cloud.days
    days.flip([days.stage(version, sequence)], replacing={})


def put_estimate(cloud: Cloud, day: date) -> None:
    count(cloud, day)
    usage = DynamoUsageCounters(cloud.ledger, 760, lambda: TODAY).usage_of(day)
    version = make_day_version(day, Basis.ESTIMATED, estimate_day(usage, BY_TEAM), BY_TEAM, origin="", usage="u")
    days = cloud.days
    days.flip([days.stage(version, "")], replacing={})


@pytest.fixture
def new(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with a closed month, and an open one of two days; the first document in force, the second in a file."""
    monkeypatch.setattr("bedrock_costs.planning.now", lambda: TODAY)
    put_day(cloud, CLOSED, datetime(2026, 11, 1, 6, tzinfo=UTC) - timedelta(days=20))
    put_day(cloud, BILLED, datetime(2026, 11, 8, 6, tzinfo=UTC))
    put_estimate(cloud, ESTIMATED)
    old, file = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD)
    file.write_text(NEW)
    assert run("config", "apply", str(old), "--no-reallocate").exit_code == 0
    return file


@pytest.fixture
def closed_october(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_costs.planning.now", lambda: TODAY + timedelta(days=6))


def test_a_plan_shows_what_moves_between_owners_and_which_budgets_change(cloud: Cloud, new: Path, closed_october: None) -> None:
    plan = run("config", "plan", str(new), output="json").json

    assert plan["days"] == {"planned": 2, "affected": 2}
    assert plan["closed_periods"] == ["2026-10"]
    assert plan["cost_categories"] == {"added": ["tenant"], "changed": ["team"], "removed": [], "reordered": []}
    assert plan["budgets"] == {"added": ["more"], "changed": ["all"], "removed": [], "reordered": []}
    assert [
        (m["from"], m["to"], m["billed"], m["estimated"], m["charges"]) for m in plan["moves"] if m["cost_category"] == "team"
    ] == [
        ("search", "1", "2.5", "0.25", 2),
        ("support", "2", "7.5", "0.75", 2),
    ]
    assert [(m["from"], m["to"], m["billed"]) for m in plan["moves"] if m["cost_category"] == "tenant"] == [
        ("(not defined)", "(unallocated)", "10")
    ]


def test_a_closed_month_is_planned_where_its_period_is_named(cloud: Cloud, new: Path, closed_october: None) -> None:
    plan = run("config", "plan", str(new), "--period", "2026-10", output="json").json

    assert plan["days"] == {"planned": 1, "affected": 1}
    assert [(m["cost_category"], m["from"], m["to"], m["billed"]) for m in plan["moves"]] == [
        ("team", "search", "1", "2.5"),
        ("team", "support", "2", "7.5"),
        ("tenant", "(not defined)", "(unallocated)", "10"),
    ]


def test_what_a_plan_of_a_closed_month_moves_is_what_its_new_allocation_adjusts(
    cloud: Cloud, new: Path, closed_october: None
) -> None:
    """By the policy in force: usage that was counted after the month was closed is a part of it."""
    count_more(cloud, CLOSED)

    moved = run("config", "plan", "--period", "2026-10", output="json").json["moves"]
    adjustment = allocate_charges(
        CLOSED,
        origin_charges=S3OriginCharges(cloud.s3, "work-bucket"),
        deliveries=cloud.deliveries,
        days=cloud.days,
        counters=DynamoUsageCounters(cloud.ledger, 760, lambda: TODAY),
        policy=cloud.policy,
        prices=FakePrices(),
        directory=FakeDirectory(),
        directory_requests=FakeDirectoryRequests(),
        announcements=FakeAnnouncements(),
        now=TODAY + timedelta(days=60),
        by_policy=cloud.policy.version_in_force(),
    ).adjustment

    assert adjustment is not None
    by_owner: dict[str, Decimal] = {}
    for move in moved:
        for owner, sign in ((move["from"], -1), (move["to"], 1)):
            by_owner[owner] = by_owner.get(owner, Decimal(0)) + sign * Decimal(move["billed"])
    assert by_owner == {owner: costs.billed_cost for (owner, _), costs in adjustment.by_owner["team"].items()}
    assert by_owner["chat"] > 0


def count_more(cloud: Cloud, day: date) -> None:
    used = Counters(1, units={TokenKind.INPUT: 1000}, estimated={TokenKind.INPUT: Decimal(1)})
    counters = DynamoUsageCounters(cloud.ledger, 760, lambda: TODAY)
    counters.apply("s", f"{day}-more", after="", through="1", differences={key(day, "chat", "3"): used})


def test_a_plan_of_a_closed_month_says_how_to_carry_it_out(new: Path, closed_october: None) -> None:
    out = " ".join(run("config", "plan", str(new), "--period", "2026-10").out.split())

    assert "1 day of 1 of 2026-10 would have other owners." in out
    assert "Once it is in force, `bedrock-costs replay days --period 2026-10 --closed` allocates them again" in out


def test_a_plan_of_nothing_and_of_a_period_without_data_are_refused(new: Path) -> None:
    assert run("config", "plan").exit_code == 2
    assert run("config", "plan", "--period", "2024-01").exit_code == 4


def test_a_plan_for_people_says_what_to_do_next(cloud: Cloud, new: Path, closed_october: None) -> None:
    out = run("config", "plan", str(new)).out

    assert "billed_cost that moves between owners in team, USD" in out
    assert ["support", "2", "$7.50", "$0.75", "2", "2"] in [line.split() for line in out.splitlines()]
    assert "budgets: added more; changed all" in out
    assert "2 days of 2 in open months would have other owners." in out
    assert "2026-10 is closed: its days stay as they are." in out
    assert f"--against {cloud.policy.version()}" in out


CHANGED = {
    "cost_categories": (
        "[{name: team}, {name: tenant}]",
        "[{name: team, keys: [cc]}]",
        {"changed": ["team"], "removed": ["tenant"]},
    ),
    "shared_charges": (
        "[{name: tax, record_types: [Tax], method: EVEN}]",
        "[{name: tax, record_types: [Tax], method: PROPORTIONAL}]",
        {"changed": ["tax"]},
    ),
    "incomplete_logging": ("unallocated", "spread", {"added": ["spread"], "removed": ["unallocated"]}),
    "account_names": ("{'111122223333': one}", "{'111122223333': two}", {"changed": ["111122223333"]}),
    "budgets": (
        "[{name: all, limit: {amount: '10'}, dimension: model}]",
        "[{name: each, limit: {amount: '10'}, dimension: model}]",
        {"added": ["each"], "removed": ["all"]},
    ),
    "anomaly_monitors": (
        "[{name: teams, dimension: team}]",
        "[{name: teams, dimension: team, minimum_impact: 9}]",
        {"changed": ["teams"]},
    ),
    "routes": (
        "[{name: a, match: {team: [x, y]}}, {name: b, match: {team: [y]}}]",
        "[{name: b, match: {team: [y]}}, {name: a, match: {team: [x, y]}, storm_limit: 9}]",
        {"changed": ["a"], "reordered": ["b", "a"]},
    ),
    "slack_users": (
        "[{users: [U0DANA, U0EVE], sees: {team: [x]}}]",
        "[{users: [U0DANA], sees: all}, {users: [U0EVE], sees: {team: [x]}}]",
        {"changed": ["U0DANA"]},
    ),
}
"""Each key of the document with a value, another one, and what a plan says of the two."""


def test_every_key_of_the_document_has_a_change_that_is_tried() -> None:
    assert CHANGED.keys() == PolicyDocument.model_fields.keys()


@pytest.mark.parametrize("part", CHANGED)
def test_a_change_of_any_part_of_the_document_is_planned_and_told_when_it_is_applied(
    cloud: Cloud, tmp_path: Path, part: str
) -> None:
    before, after, expected = CHANGED[part]
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(f"{part}: {before}\n")
    new.write_text(f"{part}: {after}\n")
    run("config", "apply", str(old))

    planned = run("config", "plan", str(new), output="json").json
    told = run("config", "plan", str(new)).out
    applied = run("config", "apply", str(new), output="json").json

    nothing: dict[str, list[str]] = {"added": [], "changed": [], "removed": [], "reordered": []}
    assert planned[part] == nothing | expected
    assert applied["changes"] == {name: planned[name] for name in CHANGED}
    for how, names in expected.items():
        assert f"{how} {', '.join(names)}" in told


def test_what_stays_as_it_is_is_one_line(cloud: Cloud, new: Path) -> None:
    out = run("config", "plan", str(new)).out

    assert "unchanged: shared charges, incomplete logging, account names, routes, Slack users" in out
    assert "anomaly monitors: added tenant" in out


def test_a_plan_changes_nothing(cloud: Cloud, new: Path) -> None:
    before = [list(cloud.ledger.query(pk)) for pk in ("CONFIG#policy", "PERIOD#2026-11", "PERIOD#2026-10")]

    run("config", "plan", str(new))

    assert [list(cloud.ledger.query(pk)) for pk in ("CONFIG#policy", "PERIOD#2026-11", "PERIOD#2026-10")] == before
    assert cloud.received("AllocationQueue") == []


def test_days_of_a_month_that_is_not_closed_yet_are_planned(new: Path) -> None:
    plan = run("config", "plan", str(new), output="json").json

    assert plan["days"] == {"planned": 3, "affected": 3}
    assert plan["closed_periods"] == []


def test_a_document_that_is_in_force_moves_nothing(new: Path) -> None:
    run("config", "apply", str(new))

    ran = run("config", "plan", str(new))

    assert "in force already" in ran.out
    assert run("config", "plan", str(new), output="csv").out == "cost_category,currency,from,to,billed,estimated,charges,days\n"


def test_budgets_alone_move_no_cost(new: Path) -> None:
    new.write_text(OLD.replace("'10'", "'30'"))

    plan = run("config", "plan", str(new), output="json").json

    assert plan["budgets"]["changed"] == ["all"]
    assert plan["moves"] == []


def test_apply_asks_for_the_days_of_open_months(cloud: Cloud, new: Path, closed_october: None) -> None:
    ran = run("config", "apply", str(new), output="json")

    days = [message["body"]["usage_date"] for message in cloud.received("AllocationQueue")]
    assert sorted(days) == [BILLED.isoformat(), ESTIMATED.isoformat()]
    assert ran.json["days_requested"] == 2
    assert "2 days of open months will be allocated by it" in ran.err


def test_apply_may_leave_the_days_to_their_next_change(cloud: Cloud, new: Path) -> None:
    ran = run("config", "apply", str(new), "--no-reallocate")

    assert cloud.received("AllocationQueue") == []
    assert "from their next change on" in ran.err


def test_a_document_is_not_applied_against_another_version_than_it_was_planned_against(cloud: Cloud, new: Path) -> None:
    planned = run("config", "plan", str(new), output="json").json
    somebody_else = new.with_name("else.yaml")
    somebody_else.write_text(OLD.replace("'10'", "'30'"))
    run("config", "apply", str(somebody_else), "--no-reallocate")
    in_force = cloud.policy.version()

    ran = run("config", "apply", str(new), "--against", planned["against"])

    assert ran.exit_code == 1
    assert f"version {planned['against']} is not in force any more: plan the document again" in ran.err
    assert cloud.policy.version() == in_force
    assert cloud.received("AllocationQueue") == []


def test_a_document_that_was_planned_is_applied_once_and_again(cloud: Cloud, new: Path) -> None:
    planned = run("config", "plan", str(new), output="json").json

    first, again = (run("config", "apply", str(new), "--against", planned["against"], output="json") for _ in range(2))

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert (first.json["outcome"], again.json["outcome"]) == ("applied", "unchanged")
    assert cloud.policy.version() == planned["version"]


def test_the_first_document_is_planned_against_none(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(NEW)

    planned = run("config", "plan", str(file), output="json").json
    applied = run("config", "apply", str(file), "--against", "none", output="json").json
    other = run("config", "apply", str(file.with_name("first.yaml")), "--against", "0123456789ab")

    assert planned["against"] == "none"
    assert applied["version"] == planned["version"]
    assert other.exit_code == 0, "the same again is a repeat"


def test_a_broken_document_is_neither_planned_nor_applied(cloud: Cloud, new: Path) -> None:
    new.write_text("budgets: 5\n")
    before = cloud.policy.version()

    assert run("config", "plan", str(new)).exit_code == 1
    assert run("config", "apply", str(new)).exit_code == 1
    assert cloud.policy.version() == before
