"""The report API on the tables of the template: what the command line answers, with the same code, over HTTP."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from adapters import wiring
from adapters.policy import parse_policy
from attribution.allocation import estimate_day
from attribution.charges import Basis
from attribution.coverage import Counted
from attribution.days import make_day_version, usage_fingerprint
from attribution.meters import TokenKind
from attribution.periods import BillingPeriod
from attribution.ports import MeteredHalf, ObservedHalf
from attribution.usage import Counters, Usage
from bedrock_costs.commands import budgets
from bedrock_costs.stack import Stack as StackOfCommands
from tests.support.stack import ACCOUNT, REGION, Stack, load_event
from tests.unit.attribution.examples import USAGE_KEY
from tests.unit.cli.support import BY_TEAM, Cloud, FakeCloudFormation, charge, run
from tests.unit.cli.test_explain import put_bill
from tests.unit.cli.test_request import KEY, METERED, OBSERVED

FUNCTION = "serve_reports"
NOW = datetime(2026, 10, 21, 9, tzinfo=UTC)
CALL = f"{KEY.account_id}/{KEY.region}/{KEY.request_id}"
HOSTILE = '=cmd|"/c calc"!A1, \x1b[2J\u202e'
POLICY = {
    "cost_categories": [{"name": "team", "keys": ["team"]}, {"name": "product", "keys": ["product"]}],
    "budgets": [
        {"name": "search", "limit": {"amount": "250"}, "dimension": "team", "values": ["search"]},
        {"name": "support", "limit": {"amount": "10"}, "dimension": "team", "values": ["support"]},
    ],
}


def estimate(cloud: Cloud, day: date, *teams: str, cost: str = "10") -> None:
    """A day on which each team was counted with one request of that cost."""
    used = [
        Usage(
            USAGE_KEY._replace(usage_date=day, request_metadata=(("team", team),)),
            Counters(1, units={TokenKind.INPUT: 100}, estimated={TokenKind.INPUT: Decimal(cost)}),
        )
        for team in teams
    ]
    made = make_day_version(
        day,
        Basis.ESTIMATED,
        estimate_day(used, BY_TEAM),
        BY_TEAM,
        origin="",
        usage=usage_fingerprint(used),
        counted=Counted.of(used),
    )
    days = cloud.days
    days.flip([days.stage(made, "")], replacing=days.pointers(BillingPeriod.of(day)))
    days.retire(day)


class Asked:
    """The API and the command line, on one ledger."""

    def __init__(self, stack: Stack, cloud: Cloud) -> None:
        self.stack = stack
        self.cloud = cloud
        self.module = stack.handler(FUNCTION)

    def get(self, path: str, accept: str = "*/*", query: str | None = None, **parameters: Any) -> dict[str, Any]:
        event = load_event(FUNCTION)
        event["rawPath"] = event["requestContext"]["http"]["path"] = path
        event["rawQueryString"] = urlencode(parameters, doseq=True) if query is None else query
        event["headers"]["accept"] = accept
        return self.stack.invoke(self.module, event)

    def document(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = self.get(path, **parameters)
        assert answer["statusCode"] == 200, answer["body"]
        found: dict[str, Any] = json.loads(answer["body"])
        return found

    def problem(self, path: str, accept: str = "*/*", query: str | None = None, **parameters: Any) -> dict[str, Any]:
        answer = self.get(path, accept, query, **parameters)
        assert answer["headers"]["Content-Type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(answer["body"])
        assert found["status"] == answer["statusCode"]
        return found


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """The first of October billed, six days estimated, one call recorded, two budgets. Who writes has a month of its own."""
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setattr(budgets, "now", lambda: NOW)
        stack = Stack()
        stack.now = NOW
        outputs = {
            "LedgerTable": "LedgerTable",
            "InvocationsTable": "InvocationsTable",
            "WorkBucket": stack.resolve({"Ref": "WorkBucket"}),
            "CostReportLocation": f"s3://{stack.parameters['CostReportBucket']}/cur/",
        }
        cloud = Cloud(FakeCloudFormation(outputs, {}), stack.dynamodb, stack.s3, stack.sqs)
        clients = {"cloudformation": cloud.cloudformation, "dynamodb": stack.dynamodb, "s3": stack.s3}
        patch.setattr(StackOfCommands, "client", lambda _, service: clients[service])
        cloud.policy.apply(parse_policy(POLICY))
        put_bill(cloud)
        for i in range(1, 7):
            estimate(cloud, date(2026, 10, 1) + timedelta(days=i), "search", HOSTILE)
        cloud.invocations.record_metered([MeteredHalf(KEY, METERED)])
        cloud.invocations.record_observed([ObservedHalf(KEY, OBSERVED)])
        yield Asked(stack, cloud)


EXPLAIN = {"date": "2026-10-01", "category": "team", "value": "search"}
SAME: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "costs": (["report", "--period", "2026-10", "--by", "team"], "/v1/costs", {"period": "2026-10", "by": "team"}),
    "costs of days": (
        ["report", "--from", "2026-10-01", "--to", "2026-10-03", "--by", "model", "--metric", "list_cost"],
        "/v1/costs",
        {"from": "2026-10-01", "to": "2026-10-03", "by": "model", "metric": "list_cost"},
    ),
    "costs of a part": (
        ["report", "--period", "2026-10", "--by", "provider", "--where", "team=search", "--where", "account=111122223333"],
        "/v1/costs",
        {"period": "2026-10", "by": "provider", "where": ("team=search", "account=111122223333")},
    ),
    "coverage": (
        ["coverage", "--period", "2026-10", "--by", "account,model"],
        "/v1/coverage",
        {"period": "2026-10", "by": "account,model"},
    ),
    "units": (["coverage", "--period", "2026-10", "--units"], "/v1/coverage", {"period": "2026-10", "units": "true"}),
    "explanation of a bill": (
        ["explain", "--date", "2026-10-01", "--category", "team", "--value", "search"],
        "/v1/explain",
        EXPLAIN,
    ),
    "explanation of an estimate": (
        ["explain", "--date", "2026-10-02", "--value", HOSTILE],
        "/v1/explain",
        {"date": "2026-10-02", "value": HOSTILE},
    ),
    "request": (
        ["request", CALL],
        f"/v1/requests/{KEY.request_id}",
        {"account": KEY.account_id, "region": KEY.region},
    ),
    "budgets": (["budgets"], "/v1/budgets", {}),
    "one budget": (["budgets", "search"], "/v1/budgets", {"name": "search"}),
    "budgets of a month": (["budgets", "--period", "2026-09"], "/v1/budgets", {"period": "2026-09"}),
}


@pytest.mark.parametrize("case", SAME)
def test_the_api_answers_what_the_command_line_answers(asked: Asked, case: str) -> None:
    command, path, parameters = SAME[case]
    answered = asked.document(path, **parameters)

    printed = run(*command, *(["--output", "json"] if command[0] == "request" else []), output="json").json

    assert answered.pop("next_token", None) is None
    assert answered == json.loads(json.dumps(printed, default=str))
    assert answered["schema"] == 1


@pytest.mark.parametrize("case", SAME)
def test_csv_by_the_api_is_the_csv_of_the_command_line(asked: Asked, case: str) -> None:
    command, path, parameters = SAME[case]
    answer = asked.get(path, accept="text/csv", **parameters)

    printed = run(*command, *(["--output", "csv"] if command[0] == "request" else []), output="csv").out

    assert answer["headers"]["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["body"] == printed
    assert not [cell for row in csv.reader(io.StringIO(answer["body"])) for cell in row if cell.startswith("=")]


@pytest.mark.parametrize("case", ["explanation of a bill", "explanation of an estimate"])
def test_an_explanation_is_the_same_text_by_api_and_command(asked: Asked, case: str) -> None:
    command, path, parameters = SAME[case]
    answer = asked.get(path, accept="text/plain", **parameters)

    printed = run(*command, output="table").out

    assert answer["headers"]["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["body"] == printed
    assert answer["body"].startswith("Why ")
    assert "\x1b" not in answer["body"]


def test_a_charge_is_explained_by_the_name_that_an_explanation_gives_it(asked: Asked) -> None:
    (named,) = asked.document("/v1/explain", **EXPLAIN)["charges"]

    (found,) = asked.document("/v1/explain", charge=named["id"][:23])["charges"]

    assert found["id"] == named["id"]


def test_amounts_are_text_and_say_whether_they_are_billed_or_estimated(asked: Asked) -> None:
    costs = asked.document("/v1/costs", period="2026-10", by="team")["currencies"]
    explained = asked.document("/v1/explain", **EXPLAIN)
    request = asked.document("/v1/requests/5f3c0b9e", account=KEY.account_id, region=KEY.region)

    assert [of["currency"] for of in costs] == ["USD"]
    (search,) = [row for row in costs[0]["rows"] if row["value"] == "search"]
    assert (search["billed"], search["estimated"], search["total"]) == ("1.98", "60", "61.98")
    assert (explained["basis"], explained["charges"][0]["amount"], explained["charges"][0]["currency"]) == (
        "billed",
        "1.98",
        "USD",
    )
    assert (request["metered"]["cost"], request["metered"]["cost_basis"]) == ("0.00375", "estimated")


def test_a_request_is_looked_for_in_the_account_and_region_of_the_stack_unless_others_are_named(asked: Asked) -> None:
    here = KEY._replace(account_id=ACCOUNT, region=REGION)
    asked.cloud.invocations.record_metered([MeteredHalf(here, METERED)])

    document = asked.document(f"/v1/requests/{KEY.request_id}")

    assert (document["account"], document["region"]) == (ACCOUNT, REGION)


def refuse_long_keys(model: Any, params: dict[str, Any], **_: Any) -> None:
    """As DynamoDB does, and moto does not."""
    if len(json.loads(params["body"])["Key"]["pk"]["S"].encode()) > 2048:
        message = "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of 2048 bytes"
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, model.name)


@pytest.mark.parametrize(("request_id", "account"), [("x" * 2100, ACCOUNT), ("5f3c0b9e", "\u00e9" * 1100)])
def test_a_request_whose_name_no_key_is_as_long_as_is_not_recorded(asked: Asked, request_id: str, account: str) -> None:
    events = wiring.client("dynamodb").meta.events
    events.register("before-call.dynamodb.GetItem", refuse_long_keys)
    try:
        problem = asked.problem(f"/v1/requests/{request_id}", account=account)
    finally:
        events.unregister("before-call.dynamodb.GetItem", refuse_long_keys)

    assert (problem["status"], problem["type"]) == (404, "urn:bedrock-cost-attribution:problem:not-in-ledger")


def test_a_dimension_of_coverage_that_is_named_twice_counts_once(asked: Asked) -> None:
    once, twice = (
        asked.get("/v1/coverage", accept="text/csv", period="2026-10", by=by)["body"] for by in ("account", "account, account")
    )

    assert twice == once


def test_the_sample_event_is_answered(asked: Asked) -> None:
    answer = asked.stack.run(FUNCTION, load_event(FUNCTION))

    assert (answer["statusCode"], json.loads(answer["body"])["dimension"]) == (200, "team")


def test_answers_are_not_stored_by_anybody_and_not_taken_for_another_type(asked: Asked) -> None:
    answers = [asked.get("/v1/budgets"), asked.get("/v1/costs", by="nothing")]

    assert {answer["headers"]["Cache-Control"] for answer in answers} == {"no-store"}
    assert {answer["headers"]["X-Content-Type-Options"] for answer in answers} == {"nosniff"}


def test_nothing_is_written_by_asking(asked: Asked) -> None:
    before = [asked.stack.wire_items(table) for table in ("LedgerTable", "InvocationsTable", "AlertsTable")]

    for _, path, parameters in SAME.values():
        asked.document(path, **parameters)

    assert [asked.stack.wire_items(table) for table in ("LedgerTable", "InvocationsTable", "AlertsTable")] == before


# As of a moment, and in pages.


def test_what_the_ledger_said_earlier_can_be_asked(asked: Asked) -> None:
    asked.cloud.now = NOW
    estimate(asked.cloud, date(2026, 11, 1), "search")
    before = asked.document("/v1/costs", period="2026-11")
    asked.cloud.now += timedelta(hours=1)
    estimate(asked.cloud, date(2026, 11, 1), "search", cost="77")

    after = asked.document("/v1/costs", period="2026-11")
    earlier = asked.document("/v1/costs", period="2026-11", as_of="2026-10-21T11:30+02:00")

    assert after["currencies"] != before["currencies"]
    assert earlier["currencies"] == before["currencies"]
    assert earlier["asked_as_of"] == "2026-10-21T09:30:00+00:00"


def test_a_version_that_has_expired_is_told_with_what_is_known_of_it(asked: Asked) -> None:
    asked.cloud.now = moment = NOW - timedelta(days=3)
    estimate(asked.cloud, date(2026, 12, 1), "search")
    asked.cloud.now += timedelta(hours=1)
    estimate(asked.cloud, date(2026, 12, 1), "search", cost="77")

    problem = asked.problem("/v1/costs", period="2026-12", as_of=moment.isoformat())

    assert problem["status"] == 404
    assert problem["details"] == [f"2026-12-01: estimated on {moment:%Y-%m-%d %H:%M} UTC, $10.00 in all (billed_cost)"]


def pages(asked: Asked, path: str, **parameters: str) -> Iterator[dict[str, Any]]:
    token: str | None = ""
    while token is not None:
        page = asked.document(path, **parameters, **({"next_token": token} if token else {}))
        token = page["next_token"]
        yield page


TEAMS = [f"team-{number:02}" for number in range(25)]


def test_pages_put_together_are_the_whole_answer(asked: Asked) -> None:
    estimate(asked.cloud, date(2027, 1, 1), *TEAMS)
    question = {"period": "2027-01", "by": "team"}
    whole = asked.document("/v1/costs", **question)["currencies"][0]

    found = [page["currencies"][0] for page in pages(asked, "/v1/costs", **question, max_results="10")]

    assert [len(page["rows"]) for page in found] == [10, 10, 5]
    assert [row for page in found for row in page["rows"]] == whole["rows"]
    assert all(page["total"] == whole["total"] for page in found)


def test_pages_are_of_one_state_of_the_ledger_though_it_changes_between_them(asked: Asked) -> None:
    # Old enough to be read, young enough not to have expired.
    asked.cloud.now = NOW
    estimate(asked.cloud, date(2027, 2, 1), *TEAMS)
    question = {"period": "2027-02", "by": "team"}
    whole = asked.document("/v1/costs", **question)["currencies"][0]["rows"]

    found = []
    for page in pages(asked, "/v1/costs", **question, max_results="10"):
        found += page["currencies"][0]["rows"]
        asked.cloud.now += timedelta(minutes=1)
        estimate(asked.cloud, date(2027, 2, 1), "another", cost=str(len(found)))

    assert found == whole


def test_pages_as_of_a_moment_to_come_are_of_one_state_though_the_ledger_changes_before_it(asked: Asked) -> None:
    asked.cloud.now = NOW
    estimate(asked.cloud, date(2027, 7, 1), *TEAMS)
    question = {"period": "2027-07", "by": "team", "as_of": (NOW + timedelta(days=1)).isoformat()}
    whole = asked.document("/v1/costs", **question)["currencies"][0]["rows"]

    found = []
    for page in pages(asked, "/v1/costs", **question, max_results="10"):
        found += page["currencies"][0]["rows"]
        asked.cloud.now += timedelta(minutes=1)
        estimate(asked.cloud, date(2027, 7, 1), "another", cost=str(len(found)))

    assert found == whole


def test_an_estimate_that_outlives_the_record_of_its_history_comes_in_pages(asked: Asked) -> None:
    asked.cloud.now = NOW
    estimate(asked.cloud, date(2027, 8, 1), *TEAMS)
    for item in list(asked.cloud.ledger.query("PERIOD#2027-08", "HISTORY#")):
        asked.cloud.ledger.delete(pk=item["pk"], sk=item["sk"])

    found = [page["currencies"][0]["rows"] for page in pages(asked, "/v1/costs", period="2027-08", by="team", max_results="20")]

    assert [len(rows) for rows in found] == [20, 5]


def test_csv_comes_in_pages_too(asked: Asked) -> None:
    estimate(asked.cloud, date(2027, 3, 1), *TEAMS)
    question = {"period": "2027-03", "by": "team", "max_results": "20"}
    whole = asked.get("/v1/costs", accept="text/csv", period="2027-03", by="team")["body"].splitlines()

    first = asked.get("/v1/costs", accept="text/csv", **question)
    last = asked.get("/v1/costs", accept="text/csv", **question, next_token=first["headers"]["Next-Token"])

    assert "Next-Token" not in last["headers"]
    assert [*first["body"].splitlines(), *last["body"].splitlines()[1:]] == whole


@pytest.mark.parametrize(
    ("path", "question"),
    [("/v1/costs", {"by": "model"}), ("/v1/costs", {"by": "team", "metric": "list_cost"}), ("/v1/coverage", {})],
)
def test_a_token_of_another_question_is_refused(asked: Asked, path: str, question: dict[str, str]) -> None:
    token = asked.document("/v1/costs", period="2026-10", by="team", max_results="1")["next_token"]

    problem = asked.problem(path, period="2026-10", max_results="1", next_token=token, **question)

    assert (problem["status"], problem["parameter"]) == (400, "next_token")


# What cannot be answered.

WRONG = [
    ("/v1/costs", "team=search", "team", "there is no such parameter here; known are as_of, by, from, max_results"),
    ("/v1/costs", "by=teem", "by", "Did you mean team?"),
    ("/v1/costs", "by=team&by=model", "by", "it is given more than once"),
    ("/v1/costs", "by=", "by", "at least 1 character"),
    ("/v1/costs", "period=October", "period", "write it as 2026-11"),
    ("/v1/costs", "period=1999-01", "period", "is not between 2000 and 2100"),
    ("/v1/costs", "period=2026-10&from=2026-10-01", "period", "choose either a period, or its first and last day"),
    ("/v1/costs", "to=2026-10-01", "to", "the last day needs the first one"),
    ("/v1/costs", "from=2026-10-02&to=2026-10-01", "to", "is before the first one"),
    ("/v1/costs", "from=2026-10-32", "from", "is not a day: write it as 2026-11-23"),
    ("/v1/costs", "from=2025-01-01&to=2026-10-01", "to", "639 days are more than 366"),
    ("/v1/costs", "as_of=yesterday", "as_of", "is not a time"),
    ("/v1/costs", "metric=cost", "metric", "Input should be 'billed_cost', 'list_cost'"),
    ("/v1/costs", "max_results=0", "max_results", "greater than or equal to 1"),
    ("/v1/costs", "max_results=many", "max_results", "valid integer"),
    ("/v1/costs", "next_token=abc", "next_token", "it is not a token of this API"),
    ("/v1/costs", "by=%ff", None, "encode it as UTF-8"),
    ("/v1/coverage", "by=team", "by", "is no dimension of coverage. Choose from account, region, model, token_kind."),
    ("/v1/coverage", "category=prodct", "category", "Did you mean product?"),
    ("/v1/explain", "", "date", "name an owner by date and value"),
    ("/v1/explain", "date=2026-10-01", "value", "name an owner by date and value"),
    ("/v1/explain", "charge=2026-10-01", "charge", "name a charge as DATE/ID"),
    ("/v1/explain", "charge=today/abc", "charge", "is not a day"),
    ("/v1/explain", "charge=2026-10-01/a&value=search", "charge", "without date and value"),
    ("/v1/explain", "date=2026-10-01&value=search&top=101", "top", "less than or equal to 100"),
    ("/v1/requests/5f3c0b9e", "request_id=1", "request_id", "there is no such parameter here; known are account, region"),
    ("/v1/budgets", "name=serch", "name", "Did you mean search?"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "query", "parameter", "detail"), WRONG)
def test_a_wrong_question_is_refused_by_the_name_of_its_parameter(
    asked: Asked, path: str, query: str, parameter: str | None, detail: str
) -> None:
    problem = asked.problem(path, query=query)

    assert (problem["status"], problem["title"], problem.get("parameter")) == (400, "Bad Request", parameter)
    assert problem["type"] == "urn:bedrock-cost-attribution:problem:question-invalid"
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("path", "query", "detail", "remedy"),
    [
        ("/v1/costs", "period=2025-11", "no data for 2025-11", "replay"),
        ("/v1/costs", "period=2026-10&as_of=2026-10-01", "the ledger had no day of 2026-10", "Choose a later time."),
        ("/v1/explain", "date=2026-10-01&value=serch", "has no charge of 'serch' in 'team'", "Choose one of them as the value"),
        ("/v1/explain", "charge=2026-10-01/zz", "2026-10-01 has no charge zz", "the answer names its charges"),
        ("/v1/requests/unknown", "", f"request {ACCOUNT}/{REGION}/unknown is not recorded", "within minutes"),
    ],
)
def test_what_is_not_in_the_ledger_is_told_with_its_reason_and_remedy(
    asked: Asked, path: str, query: str, detail: str, remedy: str
) -> None:
    problem = asked.problem(path, query=query)

    assert (problem["status"], problem["type"]) == (404, "urn:bedrock-cost-attribution:problem:not-in-ledger")
    assert detail in problem["detail"]
    assert remedy in problem["remedy"]
    assert problem["reason"]


def test_a_route_that_does_not_exist_is_told_so(asked: Asked) -> None:
    problem = asked.problem("/v1/invoices")

    assert (problem["status"], problem["detail"]) == (404, "there is no such route")


def test_a_form_that_an_answer_does_not_have_is_refused(asked: Asked) -> None:
    problem = asked.problem("/v1/costs", accept="text/plain, image/*;q=0.5")

    assert (problem["status"], problem["detail"]) == (
        406,
        "this is answered as application/json, text/csv: ask for one of them in Accept",
    )


def put_pointer(asked: Asked, day: date, **changes: Any) -> None:
    pointer = next(item for item in asked.stack.items("LedgerTable") if item["sk"] == f"DAY#{day}")
    asked.cloud.ledger.batch_put([pointer | changes])


def test_a_damaged_day_is_not_reported(asked: Asked) -> None:
    estimate(asked.cloud, date(2027, 4, 1), "search")
    put_pointer(asked, date(2027, 4, 1), totals={})

    problem = asked.problem("/v1/costs", period="2027-04")

    assert (problem["status"], problem["type"]) == (503, "urn:bedrock-cost-attribution:problem:day-unproven")


def test_more_charges_than_half_a_minute_reads_are_left_to_the_command_line(asked: Asked) -> None:
    estimate(asked.cloud, date(2027, 5, 1), "search")
    put_pointer(asked, date(2027, 5, 1), charge_count=Decimal(100_000))

    problem = asked.problem("/v1/explain", date="2027-05-01", value="search")

    assert (problem["status"], problem["parameter"]) == (400, "date")
    assert "a day of more than 50,000 is explained by `bedrock-costs explain`" in problem["detail"]


def test_a_fault_of_ours_is_logged_and_counted_and_its_words_stay_inside(asked: Asked) -> None:
    day = date(2027, 6, 1)
    # Its origin charges are not in the work bucket.
    asked.cloud.put_day(day, Basis.BILLED, [charge(day, "search", "1")])

    problem = asked.problem("/v1/explain", date=str(day), value="search")

    assert problem["status"] == 500
    assert problem["request_id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    assert "NoSuchKey" not in json.dumps(problem)
    assert asked.stack.metrics()["ReportsFailed"] == 1
    assert "NoSuchKey" in asked.stack.said("report failed")[0]["exception"]


def test_who_asked_is_logged_and_the_query_is_not(asked: Asked) -> None:
    token = quote("IQoJb3JpZ2luX2Vj//canary")
    signature = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Security-Token={token}&X-Amz-Signature=cafe"

    answer = asked.get("/v1/explain", query=f"date=2026-10-01&value=search&{signature}")

    said = asked.stack.said("report answered")[-1]
    assert answer["statusCode"] == 200
    assert (said["caller"], said["route"], said["status"]) == ("arn:aws:iam::111122223333:user/finops", "/v1/explain", 200)
    assert not [word for word in ("canary", "cafe", "AWS4-HMAC") if word in asked.stack.log.getvalue()]


def test_a_category_that_the_days_do_not_know_yet_is_unallocated_in_them(asked: Asked) -> None:
    found = asked.document("/v1/costs", period="2026-10", by="product")

    assert [(row["value"], row["is_unallocated"]) for row in found["currencies"][0]["rows"]] == [("(unallocated)", True)]
    assert "allocated before 'product' was defined" in found["notes"][0]
