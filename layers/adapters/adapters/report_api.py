"""The report API over HTTP: answers as JSON, CSV or text, and every error as a problem document (RFC 9457).

Behind an HTTP API with IAM authorization: who asks is known and allowed before anything here runs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

# Without its validation, which takes twice as long to load as everything else of it: questions are models of our own.
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters.observability import count, logger
from adapters.report_requests import PagedQuery, Query, caller_of
from attribution.errors import AttributionError, NotInLedger, QuestionInvalid, Unanswered
from attribution.reporting.answers import Answer, csv_cell, json_text

JSON, CSV, TEXT = "application/json", "text/csv", "text/plain"
PROBLEM = "application/problem+json"
PROBLEM_TYPE = "urn:bedrock-cost-attribution:problem:"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
# Lambda takes 6 MB (2^20), in which the body is a JSON string; the rest is for headers.
ANSWER_BYTES_MAX = 6 * 2**20 - 20_000

Q = TypeVar("Q", bound=Query)
Reply = Response[Any]


class _NotAcceptable(Exception):
    """No form of the answer is one that the reader takes."""


class ReportApi:
    """Routes, each from a question of its own to an answer. Faults of ours are counted under the name of a metric."""

    def __init__(self, failure_metric: str) -> None:
        self._failure_metric = failure_metric
        self._resolver = APIGatewayHttpResolver()
        for error, answer in (
            (QuestionInvalid, self._refused),
            (Unanswered, self._unanswered),
            (_NotAcceptable, self._not_acceptable),
            (NotFoundError, self._no_route),
            (AttributionError, self._failed),
            (Exception, self._failed),
        ):
            self._resolver.exception_handler(error)(answer)

    def get(self, path: str, query: type[Q]) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
        """Answer GET requests of a path by a function that takes the query, and the parts of the path by their names."""

        def register(answer: Callable[..., Answer]) -> Callable[..., Answer]:
            def respond(**parts: str) -> Reply:
                asked = query.of(self._resolver.current_event.raw_event.get("rawQueryString") or "")
                return self._response(path, asked, answer(asked, **parts))

            self._resolver.get(path)(respond)
            return answer

        return register

    def resolve(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one request. Its query is in no log: it may carry a signature."""
        response: dict[str, Any] = self._resolver.resolve(event, context)
        logger.info("report answered", route=event.get("rawPath"), caller=caller_of(event), status=response["statusCode"])
        return response

    @property
    def context(self) -> LambdaContext:
        """The context of the request that is being answered."""
        context: LambdaContext = self._resolver.lambda_context
        return context

    def _response(self, route: str, asked: Query, answer: Answer) -> Reply:
        forms = (JSON, CSV, TEXT) if answer.text else (JSON, CSV)
        form = _preferred(str(self._resolver.current_event.headers.get("accept") or "*/*"), forms)
        token = None
        if isinstance(asked, PagedQuery):
            answer, token = asked.page(answer, route, as_csv=form == CSV)
        headers = HEADERS | ({"Next-Token": token} if token and form == CSV else {})
        if form == JSON:
            body = json_text({**answer.document, **({} if token is None else {"next_token": token or None})})
        else:
            body = _csv(answer) if form == CSV else "\n".join([*answer.text, ""])
        if len(json.dumps(body)) > ANSWER_BYTES_MAX:
            raise QuestionInvalid("", "the answer is larger than 6 MB: ask for less, by max_results, top, model or fewer days")
        return Response(HTTPStatus.OK.value, form if form == JSON else f"{form}; charset=utf-8", body, dict(headers))

    def _refused(self, error: QuestionInvalid) -> Reply:
        about = {"parameter": error.parameter} if error.parameter else {}
        return _problem(HTTPStatus.BAD_REQUEST, "question-invalid", error.reason, about)

    def _unanswered(self, error: Unanswered) -> Reply:
        details = {"details": list(error.details)} if error.details else {}
        about = {"reason": error.why, "remedy": error.remedy} | details
        if isinstance(error, NotInLedger):
            return _problem(HTTPStatus.NOT_FOUND, "not-in-ledger", error.what, about)
        logger.error("ledger day unproven", reason=error.what)
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "day-unproven", error.what, about, {"Retry-After": "5"})

    def _not_acceptable(self, error: _NotAcceptable) -> Reply:
        return _problem(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", str(error), {})

    def _no_route(self, _: NotFoundError) -> Reply:
        return _problem(HTTPStatus.NOT_FOUND, "no-such-route", "there is no such route", {})

    def _failed(self, error: Exception) -> Reply:
        logger.exception("report failed", exc_info=error)
        count(self._failure_metric)
        about = {"request_id": self._resolver.lambda_context.aws_request_id}
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "the report failed; the log says why", about)


def _problem(
    status: HTTPStatus, kind: str, detail: str, about: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Reply:
    document = {"type": f"{PROBLEM_TYPE}{kind}", "title": status.phrase, "status": status.value, "detail": detail, **about}
    return Response(status.value, PROBLEM, json.dumps(document), {**HEADERS, **(headers or {})})


def _preferred(accept: str, forms: Sequence[str]) -> str:
    """The form that an Accept header likes best (RFC 9110, 12.5.1); of those liked alike the first one that is offered."""
    liked = {form: _quality(accept, form) for form in forms}
    best = max(forms, key=lambda form: liked[form])
    if not liked[best]:
        raise _NotAcceptable(f"this is answered as {', '.join(forms)}: ask for one of them in Accept")
    return best


def _quality(accept: str, form: str) -> int:
    """How much a form is liked, from 0 to 1000, by the most exact range that it is in."""
    exact = {form: 2, f"{form.partition('/')[0]}/*": 1, "*/*": 0}
    found = (-1, 0)
    for part in accept.lower().split(","):
        range_, *parameters = (word.strip() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        whole, _, fraction = quality.partition(".")
        thousandths = f"{whole}{fraction[:3]:0<3}"
        if range_ in exact and thousandths.isascii() and thousandths.isdigit():
            found = max(found, (exact[range_], int(thousandths)))
    return found[1]


def _csv(answer: Answer) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(answer.header)
    writer.writerows([csv_cell(value) for value in row] for row in answer.rows)
    return stream.getvalue()
