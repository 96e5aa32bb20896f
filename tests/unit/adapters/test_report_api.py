"""The report API over HTTP: forms, headers and problems, whatever an answer holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.report_api import ANSWER_BYTES_MAX, ReportApi
from adapters.report_requests import BudgetsQuery
from attribution.reporting.answers import Answer
from tests.support.stack import Context, load_event


def ask(answer: Answer, accept: str | None = None) -> dict[str, Any]:
    """What is answered to the sample event on a route that has this answer."""
    api = ReportApi(failure_metric="ReportsFailed")
    api.get("/v1/costs", BudgetsQuery)(lambda asked: answer)
    event = load_event("serve_reports") | {"rawQueryString": ""}
    event["headers"] = {} if accept is None else {"accept": accept}
    return api.resolve(event, Context("serve_reports"))  # type: ignore[arg-type]


SHORT = Answer({"total": "1"}, ("total",), [("1",)], ("It was 1.",))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("TEXT/Plain", "text/plain; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("text/csv;q=0.1, text/plain;q=0.9", "text/plain; charset=utf-8"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/json;q=0, */*", "text/csv; charset=utf-8"),
        ("text/plain; q=1.000, application/json; q=0.999", "text/plain; charset=utf-8"),
    ],
)
def test_the_form_is_the_one_that_the_reader_likes_best(accept: str | None, form: str) -> None:
    assert ask(SHORT, accept)["headers"]["Content-Type"] == form


@given(st.text(max_size=40))
def test_any_accept_header_is_answered_or_refused(accept: str) -> None:
    assert ask(SHORT, accept)["statusCode"] in (200, 406)


def test_text_is_for_answers_that_have_it() -> None:
    assert ask(Answer({"total": "1"}, ("total",), []), "text/plain")["statusCode"] == 406


@pytest.mark.parametrize("character", ["x", '"', "é"])
def test_an_answer_that_lambda_would_not_take_is_refused_with_a_remedy(character: str) -> None:
    answer = ask(Answer({"name": character * ANSWER_BYTES_MAX}, ("name",), []))

    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["detail"].partition(":")[0]) == (400, "the answer is larger than 6 MB")


def test_an_answer_that_lambda_just_takes_is_given() -> None:
    answer = ask(Answer({"name": '"' * 1_500_000}, ("name",), []))

    assert answer["statusCode"] == 200
    assert len(json.dumps(answer)) < 6 * 2**20
