"""`anomalies`: what was found, why, and what people say of it."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from decimal import Decimal

import pytest

from adapters.anomalies import DynamoAnomalies
from attribution.anomalies import AnomalousDay, Anomaly, Cause, RootCause, Series, name_of
from attribution.anomaly_tracking import Feedback, State, TrackedAnomaly, Verdict
from bedrock_costs.commands import anomalies
from tests.unit.cli.support import CHANGED, Cloud, run

DAY = date(2026, 10, 3)
CALLER = "arn:aws:iam::111122223333:role/search"
SEARCH = f"team=search#{DAY}"
TABLE = f"""\
Anomalies

 since        of            state   days     spent   expected   at most   more by       %
 ────────────────────────────────────────────────────────────────────────────────────────
 2026-10-03   team search   open       1   $700.00    $100.00   $125.00   $600.00   600 %

'{SEARCH}'
  +$590.00  {CALLER}, sonnet, output, us-east-1 (new)
  +$10.00  (no caller), haiku, input, us-east-1 (price)
"""


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "now", lambda: CHANGED)


@pytest.fixture
def store(cloud: Cloud) -> DynamoAnomalies:
    """An event of the team search and its caller, and an anomaly that the bill took back."""
    made = DynamoAnomalies(cloud.ledger, 760, lambda: CHANGED)
    put(made, Series("team", "search"), State.OPEN)
    put(made, Series("iam_principal", CALLER), State.OPEN, part_of=SEARCH)
    put(made, Series("team", "ads"), State.WITHDRAWN)
    return made


def put(store: DynamoAnomalies, series: Series, state: State, part_of: str = "") -> None:
    causes = (
        RootCause(Cause(CALLER, "sonnet", "output", "us-east-1"), Decimal(590), Decimal(0), is_new=True),
        RootCause(Cause("", "haiku", "input", "us-east-1"), Decimal(10), Decimal(9), is_new=False),
    )
    found = Anomaly("teams", series, (AnomalousDay(DAY, Decimal(700), Decimal(100), Decimal(125)),), is_open=True)
    tracked = TrackedAnomaly(name_of(found), found, state, CHANGED, CHANGED, causes, Decimal(600), 1, part_of)
    store.put(tracked, replacing=None)


def test_the_anomalies_of_a_month_with_their_causes(store: DynamoAnomalies) -> None:
    out = run("anomalies").out

    assert [line.rstrip() for line in out.splitlines()] == TABLE.splitlines()


def test_without_anomalies_it_says_so(cloud: Cloud) -> None:
    assert run("anomalies").out == "No anomaly.\n"


def test_all_of_them_are_there_on_request_in_csv(store: DynamoAnomalies) -> None:
    rows = list(csv.DictReader(io.StringIO(run("anomalies", "--all", output="csv").out)))

    assert {(r["name"], r["state"], r["part_of"]) for r in rows} == {
        (SEARCH, "open", ""),
        (f"iam_principal={CALLER}#{DAY}", "open", SEARCH),
        (f"team=ads#{DAY}", "withdrawn", ""),
    }
    assert {(r["total_impact"], r["impact_percent"], r["total_upper"]) for r in rows} == {("600", "600", "125")}


def test_json_has_days_and_causes(store: DynamoAnomalies) -> None:
    (found,) = run("anomalies", output="json").json["anomalies"]

    assert found["days"] == [{"day": "2026-10-03", "actual": "700", "expected": "100", "upper": "125"}]
    assert found["root_causes"][0] == {
        "iam_principal": CALLER,
        "model": "sonnet",
        "token_kind": "output",
        "region": "us-east-1",
        "contribution": "590",
        "price_effect": "0",
        "is_new": True,
    }


def test_feedback_counts_for_the_whole_event_and_is_shown_at_once(store: DynamoAnomalies) -> None:
    ran = run("anomalies", "feedback", SEARCH, "planned", "--until", "2026-12-01", "--by", "ana", output="json")

    assert sorted(ran.json["anomalies"]) == [f"iam_principal={CALLER}#{DAY}", SEARCH]
    assert ran.json["until"] == "2026-12-01"
    assert {(f.series.dimension, f.verdict, f.last_day, f.by) for f in store.feedback()} == {
        ("team", Verdict.PLANNED, date(2026, 12, 1), "ana"),
        ("iam_principal", Verdict.PLANNED, date(2026, 12, 1), "ana"),
    }
    assert run("anomalies").out == "No anomaly, besides what --all shows.\n"
    assert "planned until 2026-12-01, says ana" in run("anomalies", "--all").out


def test_feedback_on_a_part_is_feedback_on_its_event_by_whoever_asks(store: DynamoAnomalies) -> None:
    run("anomalies", "feedback", f"iam_principal={CALLER}#{DAY}", "no")

    assert {f.series.dimension for f in store.feedback()} == {"team", "iam_principal"}
    assert {f.last_day for f in store.feedback()} == {DAY + timedelta(days=13)}
    assert all(f.by.startswith("arn:aws:") for f in store.feedback())


def test_what_people_confirm_is_counted(store: DynamoAnomalies) -> None:
    out = run("anomalies", "feedback", SEARCH, "yes", "--by", "ana").out

    assert out.endswith("Confirmed as an anomaly.\n")
    assert run("anomalies").out.endswith("Of 1 event that people judged, 1 were anomalies.\n")
    assert run("anomalies", output="json").json["judged"] == {"yes": 1, "no": 0, "planned": 0}


def test_feedback_on_what_is_not_there_names_the_remedy(store: DynamoAnomalies) -> None:
    ran = run("anomalies", "feedback", "team=nobody#2026-10-03", "no")

    assert ran.exit_code != 0
    assert "there is no anomaly 'team=nobody#2026-10-03'" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("no", "--until", "2026-10-02"), "went on until 2026-10-03"), (("yes", "--until", "2026-12-01"), "leave it out")],
)
def test_feedback_that_makes_no_sense_is_refused(store: DynamoAnomalies, arguments: tuple[str, ...], said: str) -> None:
    ran = run("anomalies", "feedback", SEARCH, *arguments)

    assert ran.exit_code != 0
    assert said in ran.err
    assert store.feedback() == []


def test_feedback_is_read_as_it_was_given(store: DynamoAnomalies) -> None:
    said = Feedback(Series("team", "search"), DAY, date(2026, 12, 1), Verdict.NO, "ana", CHANGED)

    store.judge(said)

    assert store.feedback() == [said]
