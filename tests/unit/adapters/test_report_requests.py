"""Questions to the report API: whatever the query string is, it is read or refused by the name of what is wrong."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.report_requests import (
    BudgetsQuery,
    CostsQuery,
    CoverageQuery,
    ExplainQuery,
    PageToken,
    Query,
    RequestQuery,
    caller_of,
)
from attribution.errors import QuestionInvalid
from attribution.periods import BillingPeriod, Span

QUERIES: tuple[type[Query], ...] = (CostsQuery, CoverageQuery, ExplainQuery, RequestQuery, BudgetsQuery)
NAMES = sorted({field.alias or name for query in QUERIES for name, field in query.model_fields.items()})
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["2026-10", "2026-10-01", "2026-10-01T00:00", "10", "true", "list_cost", "0x1", "1e9", "nan"]),
)


@given(st.sampled_from(QUERIES), st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
def test_any_parameters_are_read_or_refused(query: type[Query], given_: list[tuple[str, str]]) -> None:
    try:
        query.of(urlencode(given_))
    except QuestionInvalid as error:
        assert error.reason
        assert not error.parameter or error.parameter in NAMES


@given(st.text(max_size=60))
def test_any_query_string_is_read_or_refused(text: str) -> None:
    try:
        BudgetsQuery.of(text)
    except QuestionInvalid as error:
        assert error.reason


@given(st.text(max_size=80))
def test_any_text_is_a_token_of_ours_or_refused(text: str) -> None:
    try:
        PageToken.parse(text)
    except QuestionInvalid as error:
        assert error.parameter == "next_token"


@given(st.integers(min_value=1), st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))), st.text(max_size=64))
def test_a_token_that_was_given_out_is_read_back(start: int, as_of: datetime | None, frame: str) -> None:
    token = PageToken(start, as_of, frame)

    assert PageToken.parse(str(token)) == token


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-10-21T09:00:00"])
def test_a_forged_token_of_a_moment_that_no_page_has_is_refused(moment: str) -> None:
    forged = base64.urlsafe_b64encode(json.dumps([1, moment, "4f0c2b7d"]).encode()).decode()

    with pytest.raises(QuestionInvalid, match="it is not a token of this API"):
        PageToken.parse(forged)


@pytest.mark.parametrize(("query", "reason"), [("&" * 31, "more than 30 parameters"), ("by=%ff", "encode it as UTF-8")])
def test_a_query_string_that_is_not_read_is_refused_for_its_own_reason(query: str, reason: str) -> None:
    with pytest.raises(QuestionInvalid, match=reason):
        CostsQuery.of(query)


def test_days_are_those_of_the_command_line() -> None:
    today = date(2026, 10, 21)

    assert CostsQuery.of("").span(today) == Span(date(2026, 10, 1), date(2026, 10, 31))
    assert CostsQuery.of("period=2026-02").span(today) == Span(date(2026, 2, 1), date(2026, 2, 28))
    assert CostsQuery.of("from=2026-10-05").span(today) == Span(date(2026, 10, 5), today)
    assert CostsQuery.of("period=2026-02").period == BillingPeriod(2026, 2)


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    assert CostsQuery.of("as_of=2026-10-01T12:00").as_of == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert CostsQuery.of("as_of=2026-10-01T12:00%2B02:00").as_of == datetime(2026, 10, 1, 10, tzinfo=UTC)


def test_what_signs_a_url_is_no_parameter_of_the_question() -> None:
    assert BudgetsQuery.of("name=search&X-Amz-Signature=1&x-amz-date=2&X-Amz-Security-Token=3").name == "search"


def test_a_refusal_does_not_repeat_a_value_that_no_name_is() -> None:
    with pytest.raises(QuestionInvalid) as raised:
        CostsQuery.of(urlencode({"metric": "s3cr3t", "max_results": "s3cr3t"}))

    assert "s3cr3t" not in raised.value.reason


@pytest.mark.parametrize("event", [{}, {"requestContext": None}, {"requestContext": {"authorizer": {"iam": None}}}])
def test_a_request_that_names_no_caller_has_none(event: dict[str, object]) -> None:
    assert caller_of(event) == ""
