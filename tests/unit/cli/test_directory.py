"""`directory`: what callers, resources and accounts are tagged with, and were."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from adapters.directory import DynamoDirectory
from attribution.tag_history import Attributes, History
from tests.unit.cli.support import Cloud, run

ROLE = "arn:aws:iam::111122223333:role/search"
OTHER = "arn:aws:iam::111122223333:role/untagged"
ELSEWHERE = "arn:aws:iam::999988887777:role/search-too"
FIRST, TAGGED, NOW = (datetime(2026, 10, day, 9, 30, tzinfo=UTC) for day in (1, 14, 20))

LIST = """\
4 entries, as usage of 2026-10-13 is allocated

 kind      account        name                       tags              state          last seen
 ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 account   444455556666   payments (Root/Retail)     CostCenter=42     known          2026-10-20 09:30 UTC
 role      111122223333   search                     team=search       known          2026-10-20 09:30 UTC
 role      111122223333   untagged                   –                 known          2026-10-20 09:30 UTC
 role      999988887777   search-too                 –                 not readable   never

Not readable, 1 entry: another account
"""
SHOW = """\
arn:aws:iam::111122223333:role/search

 kind                  role
 account               111122223333
 state                 known
 last seen             2026-10-20 09:30 UTC
 usage of 2026-10-14   team=ads

history, oldest first

 from                   until                  tags          name     unit   told by
 ───────────────────────────────────────────────────────────────────────────────────────
 the beginning          2026-10-14 09:30 UTC   team=search   search   –      first reading
 2026-10-14 09:30 UTC   now                    team=ads      search   –      TagRole
"""


@pytest.fixture
def known(cloud: Cloud) -> Iterator[DynamoDirectory]:
    directory = DynamoDirectory(cloud.ledger)
    search = History(ROLE).seen(Attributes((("team", "search"),), "search"), FIRST)
    directory.record(None, search)
    directory.record(search, search.seen(Attributes((("team", "ads"),), "search"), NOW, changed_at=TAGGED, event="TagRole"))
    directory.record(None, History(OTHER).seen(Attributes((), "untagged"), NOW))
    directory.record(None, History(ELSEWHERE).refused("another account"))
    account = Attributes((("CostCenter", "42"),), "payments", "Root/Retail")
    directory.record(None, History("444455556666").seen(account, NOW))
    yield directory


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def shown(name: str) -> list[str]:
    return [entry["id"] for entry in run("directory", "list", *name.split(), output="json").json["entries"]]


@pytest.mark.usefixtures("known")
def test_the_list_says_what_a_day_is_allocated_by_and_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")

    found = lines(run("directory", "list", "--on", "2026-10-13").out)

    assert [" ".join(line.split()) for line in found if "─" not in line] == [
        " ".join(line.split()) for line in lines(LIST) if "─" not in line
    ]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("--kind role", [ROLE, OTHER, ELSEWHERE]),
        ("--kind account", ["444455556666"]),
        ("--tag Team", [ROLE]),
        ("--tag team=ads", [ROLE]),
        ("--tag team=search", []),
        ("--tag team=search --on 2026-10-02", [ROLE]),
        ("--untagged team --kind role", [OTHER]),
    ],
)
def test_the_list_is_narrowed_by_kind_and_tag(options: str, ids: list[str]) -> None:
    assert shown(options) == ids


@pytest.mark.usefixtures("known")
def test_the_history_of_a_role_says_since_when_it_counts_to_a_team_and_what_told_so() -> None:
    out = run("directory", "show", "search", "--on", "2026-10-14").out

    assert [" ".join(line.split()) for line in lines(out) if "─" not in line] == [
        " ".join(line.split()) for line in lines(SHOW) if "─" not in line
    ]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", ["arn:aws:sts::111122223333:assumed-role/search/i-0abc", ROLE, "search"])
def test_a_session_an_arn_and_a_name_lead_to_the_same_role(name: str) -> None:
    document = run("directory", "show", name, output="json").json

    assert document["id"] == ROLE
    assert [(span["since"], span["until"], span["tags"]) for span in document["history"]] == [
        (None, "2026-10-14T09:30:00+00:00", {"team": "search"}),
        ("2026-10-14T09:30:00+00:00", None, {"team": "ads"}),
    ]


@pytest.mark.usefixtures("known")
def test_csv_has_a_row_for_each_span() -> None:
    rows = list(csv.DictReader(io.StringIO(run("directory", "show", ROLE, output="csv").out)))

    assert [(row["since"], row["tags"], row["told_by"]) for row in rows] == [
        ("", "team=search", "reading"),
        ("2026-10-14T09:30:00+00:00", "team=ads", "TagRole"),
    ]


def test_what_was_never_named_is_not_known(cloud: Cloud) -> None:
    ran = run("directory", "show", "nobody")

    assert ran.exit_code != 0
    assert "the directory does not know nobody" in ran.err
    assert "Nothing is known that fits" in run("directory", "list").out


def test_a_name_that_two_things_have_is_not_guessed(cloud: Cloud) -> None:
    directory = DynamoDirectory(cloud.ledger)
    for account in ("111122223333", "999988887777"):
        directory.record(None, History(f"arn:aws:iam::{account}:role/search").refused("no"))

    ran = run("directory", "show", "search")

    assert "search names 2 things" in ran.err
    assert "arn:aws:iam::999988887777:role/search" in ran.err


def test_what_aws_does_not_show_is_stated_and_corrected(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_costs.commands.directory.now", lambda: NOW)
    directory = DynamoDirectory(cloud.ledger)
    directory.record(None, History(ELSEWHERE).refused("another account"))

    run("directory", "state", ELSEWHERE, "--tag", "team=serach")
    corrected = run("directory", "state", ELSEWHERE, "--tag", "team=search", "--tag", "env=prod", output="json").json
    run("directory", "state", ELSEWHERE, "--tag", "team=ads", "--from", "2026-10-20")
    run("directory", "state", ELSEWHERE, "--tag", "team=growth", "--from", "2026-10-05")
    said = run("directory", "state", "444455556666", "--name", "payments", "--unit", "Root/Retail").out

    assert corrected["stated"]["tags"] == {"team": "search", "env": "prod"}
    history = directory.history(ELSEWHERE)
    assert history is not None
    assert [(e.effective_from.day, dict(e.attributes.tags), e.told_by) for e in history.entries] == [
        (5, {"team": "growth"}, "statement")
    ]
    assert history.unreadable == "another account"
    assert directory.attributes_on(["444455556666"], FIRST.date())["444455556666"].organisational_unit == "Root/Retail"
    assert "bedrock-costs replay days --period 2026-10" in said
    written = [item["sk"] for item in cloud.ledger.query(f"DIRECTORY#history#{ELSEWHERE}")]
    assert written == ["2026-10-05T00:00:00+00:00"]


def test_a_statement_is_shown_as_one_and_the_first_says_that_it_counts_for_earlier_days(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bedrock_costs.commands.directory.now", lambda: NOW)

    first = run("directory", "state", ELSEWHERE, "--tag", "team=search", "--from", "2026-10-05").out
    second = run("directory", "state", ELSEWHERE, "--tag", "team=ads").out
    shown = [line.split() for line in run("directory", "show", ELSEWHERE).out.splitlines() if "team=" in line]

    assert "the first statement counts for every day before it, too" in first
    assert "first statement" not in second
    assert [(line[0:2], line[-1]) for line in shown] == [
        (["the", "beginning"], "statement"),
        (["2026-10-20", "00:00"], "statement"),
    ]


def test_statements_from_later_days_leave_earlier_days_as_they_were(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_costs.commands.directory.now", lambda: NOW)
    for day, team in (("2026-10-01", "search"), ("2026-10-14", "ads")):
        run("directory", "state", ELSEWHERE, "--tag", f"team={team}", "--from", day)

    directory = DynamoDirectory(cloud.ledger)
    by_day = [directory.attributes_on([ELSEWHERE], moment.date())[ELSEWHERE].tags for moment in (FIRST, TAGGED)]
    assert by_day == [(("team", "search"),), (("team", "ads"),)]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((ROLE, "--tag", "team=x"), "is read from AWS"),
        (("nobody", "--tag", "team=x"), "neither an account id nor the ARN"),
        ((ELSEWHERE, "--tag", "team"), "is no tag: write it as team=search"),
        ((ELSEWHERE, "--tag", "team=x", "--from", "2099-01-01"), "has not come yet"),
    ],
)
def test_a_statement_that_cannot_count_is_refused(args: tuple[str, ...], said: str) -> None:
    ran = run("directory", "state", *args)

    assert ran.exit_code != 0
    assert said in " ".join(ran.err.replace("│", " ").split())
