"""`budgets`: where budgets stand; `config import-budgets`: AWS's own documents as a policy."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.policy import parse_policy
from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.meters import TokenKind
from attribution.usage import Counters, Usage
from bedrock_costs.commands import budgets
from tests.support.budgets import aws_budget, forecasted, notification
from tests.unit.attribution.examples import BY_TEAM, USAGE_KEY
from tests.unit.cli.support import Cloud, run

NOW = datetime(2026, 11, 11, 9, tzinfo=UTC)


@pytest.fixture
def spending(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Ten dollars a day for search since the twenty-first of October, the last two days estimated."""
    monkeypatch.setattr(budgets, "now", lambda: NOW)
    for i in range(20, 41):
        day = date(2026, 10, 1) + timedelta(days=i)
        key = USAGE_KEY._replace(usage_date=day, request_metadata=(("team", "search"),))
        counters = Counters(1, units={TokenKind.INPUT: 100}, estimated={TokenKind.INPUT: Decimal(10)})
        cloud.put_day(day, Basis.BILLED if i < 39 else Basis.ESTIMATED, estimate_day([Usage(key, counters)], BY_TEAM))
    return cloud


def apply(cloud: Cloud, *defined: dict[str, Any]) -> None:
    cloud.policy.apply(parse_policy({"budgets": list(defined)}))


SEARCH = {"name": "search", "limit": {"amount": "250"}, "dimension": "team", "values": ["search"], "time_zone": "Europe/Berlin"}


def test_a_budget_shows_what_is_spent_and_when_it_will_break(spending: Cloud) -> None:
    apply(spending, {"name": "organisation", "limit": {"amount": "9999"}}, SEARCH | {"parent": "organisation"})

    _, found = run("budgets", output="json").json["budgets"]

    assert found["part_of"] == ["organisation"]
    assert (found["period"], found["time_zone"], found["counts"]) == ("2026-11", "Europe/Berlin", "team: search")
    amounts = [Decimal(found[name]) for name in ("limit", "actual", "billed", "estimated", "forecast_p50")]
    assert amounts == [250, 100, 80, 20, 300]
    assert (found["percent"], found["pace_percent"], found["probability_percent"]) == (40, 120, 100)
    assert (found["breach_on"], found["alarms"]) == ("2026-11-26", "")


def test_a_table_names_the_day_and_what_has_no_forecast(spending: Cloud) -> None:
    new = {"name": "ads", "limit": {"amount": "5", "unit": "requests"}, "dimension": "team", "values": ["ads"]}
    apply(spending, SEARCH, new)

    out = run("budgets", output="table").out

    assert "2026-11-26" in out
    assert "ads, 2026-11: no forecast: 0 days of spend so far; a forecast needs 14." in out


def test_a_month_that_is_over_shows_how_its_periods_ended(spending: Cloud) -> None:
    daily = {"name": "daily", "limit": {"amount": "9"}, "period": "daily"}
    apply(spending, SEARCH | {"thresholds": ["40"]}, daily)

    document = run("budgets", "--period", "2026-10", output="json").json

    search, *days = document["budgets"]
    assert (search["period"], search["actual"], search["state"], search["alarms"]) == ("2026-10", "110", "ALARM", "ACTUAL 40")
    assert [day["period"] for day in days] == [f"2026-10-{day:02d}" for day in range(1, 32)]
    assert [day["state"] for day in days] == ["OK"] * 20 + ["ALARM"] * 11


def test_days_without_data_are_counted_once_for_all_budgets_of_a_period(spending: Cloud) -> None:
    apply(spending, SEARCH, SEARCH | {"name": "other"})

    out = run("budgets", "--period", "2026-10").out

    assert "2026-10: without data 20 of 31 complete days, counted as nothing spent (2 budgets)." in out
    assert "no forecast" not in out


def test_a_ledger_that_is_behind_gives_no_forecast(spending: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(spending, SEARCH)
    monkeypatch.setattr(budgets, "now", lambda: datetime(2026, 11, 19, 9, tzinfo=UTC))

    out = run("budgets").out

    assert "search, 2026-11: no forecast: the ledger has no day after 2026-11-10." in out
    assert "2026-11: without data 8 of 18 complete days" in out


def test_a_budget_shows_its_state(spending: Cloud) -> None:
    silent = aws_budget(BudgetName="at nothing", Notifications=[])
    apply(spending, {"aws": silent}, *(SEARCH | {"name": f"at {at}", "thresholds": [at]} for at in ("39", "41")))

    out = run("budgets").out

    assert [line.split()[-1] for line in out.splitlines() if line.startswith(" at ")] == ["alerts", "ALARM", "OK"]


def test_nothing_is_written_by_looking(spending: Cloud) -> None:
    apply(spending, SEARCH)

    run("budgets")

    assert list(spending.ledger.query("SPEND#2026-11-05")) == []


def test_a_budget_that_does_not_exist_is_told_as_such(cloud: Cloud) -> None:
    apply(cloud, SEARCH)

    ran = run("budgets", "nobody")

    assert ran.exit_code == 2
    assert "Invalid value for NAME: 'nobody' is no budget." in ran.err


@pytest.mark.usefixtures("cloud")
def test_without_budgets_that_is_what_is_said() -> None:
    assert "The policy has no budgets." in run("budgets", output="table").out


def test_what_aws_prints_becomes_a_policy_unchanged(tmp_path: Path) -> None:
    described, told = tmp_path / "budgets.json", tmp_path / "notifications.json"
    first = aws_budget()["Budget"] | {"LastUpdatedTime": "2026-10-01T00:00:00+00:00"}
    described.write_text(json.dumps({"Budgets": [first, first | {"BudgetName": "other"}]}))
    account = [{"BudgetName": "search", "Notifications": [notification(), forecasted()]}]
    told.write_text(json.dumps({"BudgetNotificationsForAccount": account}))

    out = run("config", "import-budgets", str(described), "--notifications", str(told), output="table").out

    search, other = parse_policy(yaml.safe_load(out)).budgets
    assert [n.notification().threshold for n in search.aws.Notifications] == [80, 100]  # type: ignore[union-attr]
    assert other.aws.Notifications == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("budgets_file", "notifications_file", "reason"),
    [
        ({"Things": []}, None, "has neither Budgets nor Budget"),
        ({"Budgets": [{}, {}]}, {"Notifications": []}, "do not say whose they are"),
        ({"Budgets": []}, {"Alarms": []}, "has neither BudgetNotificationsForAccount nor Notifications"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, budgets_file: Any, notifications_file: Any, reason: str) -> None:
    first, second = tmp_path / "b.json", tmp_path / "n.json"
    first.write_text(json.dumps(budgets_file))
    second.write_text(json.dumps(notifications_file))
    more = ["--notifications", str(second)] if notifications_file else []

    ran = run("config", "import-budgets", str(first), *more)

    assert ran.exit_code == 1
    assert reason in ran.err
