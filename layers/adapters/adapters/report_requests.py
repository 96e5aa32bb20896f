"""Questions to the report API, as the query strings of its routes put them.

Whatever a route does not know, or knows and cannot use, is refused by the name of the parameter.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Self, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from attribution.canonical import content_hash
from attribution.errors import QuestionInvalid
from attribution.periods import BillingPeriod, Span
from attribution.reporting.answers import Answer
from attribution.reporting.costs import Metric
from attribution.reporting.spans import chosen_span, parse_day, parse_instant, parse_period

SPAN_DAYS_MAX = 366
CHARGES_MAX = 50_000
"""Of a day that is explained: all of it is read and made anew, in the half minute that an HTTP API waits.

So many, of 17,500 origin charges and as many counters, took five seconds of a processor; the rest is for reading them.
"""
CHARGES_READ_MAX = 100_000
"""Of the days whose charges are read and summed for one answer. So many took two seconds of a processor, without reading."""
_ENTRIES_DEFAULT, _ENTRIES_MAX = 1000, 2000
_FIELDS_MAX = 30
_TEXT_MAX = 2048
# A URL that is signed in its query string has these.
_SIGNATURE = "x-amz-"

T = TypeVar("T")


def _by(parse: Callable[[str], T]) -> BeforeValidator:
    """A validator by a parser whose refusals are told in its words."""

    def read(text: object) -> T:
        try:
            return parse(str(text))
        except QuestionInvalid as error:
            raise ValueError(error.reason) from None

    return BeforeValidator(read)


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where the next page begins: its first entry, the moment that the ledger is read as of, and what all pages share."""

    start: int
    as_of: datetime | None
    frame: str

    @classmethod
    def parse(cls, text: str) -> PageToken:
        """The token as it was given out; one that was not is refused."""
        try:
            start, as_of, frame = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            moment = datetime.fromisoformat(as_of) if as_of else None
            is_ours = moment is None or moment.utcoffset() == timedelta(0)
            if type(start) is int and start > 0 and isinstance(frame, str) and is_ours:
                return cls(start, moment, frame)
        except (ValueError, TypeError, RecursionError):
            # Neither base64, nor JSON, nor three values, nor a time.
            pass
        raise QuestionInvalid("next_token", "it is not a token of this API: give it as the page before has it")

    def __str__(self) -> str:
        moment = self.as_of.isoformat() if self.as_of else ""
        return base64.urlsafe_b64encode(json.dumps([self.start, moment, self.frame]).encode()).decode()


Text = Annotated[str, Field(min_length=1, max_length=_TEXT_MAX)]
Day = Annotated[date, _by(parse_day)]
Moment = Annotated[datetime, _by(parse_instant)]
Period = Annotated[BillingPeriod, _by(parse_period)]
Token = Annotated[PageToken, _by(PageToken.parse)]


class Query(BaseModel):
    """The parameters that a route knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)
    repeatable: ClassVar[frozenset[str]] = frozenset()
    """The parameters that may be given more than once."""

    @classmethod
    def of(cls, query_string: str) -> Self:
        """The parameters of a query string; `QuestionInvalid` names one that is unknown, repeated, empty or of no use."""
        try:
            return cls.model_validate(_parameters(query_string, cls.repeatable))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            parameter = str(first["loc"][0]) if first["loc"] else ""
            if first["type"] == "extra_forbidden":
                known = sorted(field.alias or name for name, field in cls.model_fields.items())
                reason = f"there is no such parameter here; known are {', '.join(known) or 'none'}"
            else:
                reason = first["msg"].removeprefix("Value error, ")
            raise QuestionInvalid(parameter, reason) from None


def _parameters(query_string: str, repeatable: Collection[str]) -> dict[str, str | list[str]]:
    found: dict[str, list[str]] = {}
    try:
        given = parse_qsl(query_string, keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict")
    except UnicodeDecodeError:
        raise QuestionInvalid("", "the query string is not readable: encode it as UTF-8, in percent encoding") from None
    except ValueError:
        raise QuestionInvalid("", f"the query string has more than {_FIELDS_MAX} parameters") from None
    for name, value in given:
        if name.lower().startswith(_SIGNATURE):
            continue
        if name in found and name not in repeatable:
            raise QuestionInvalid(name[:_TEXT_MAX], "it is given more than once")
        found.setdefault(name, []).append(value)
    return {name: values if name in repeatable else values[0] for name, values in found.items()}


class PagedQuery(Query):
    """A question whose answer may be long."""

    max_results: int = Field(_ENTRIES_DEFAULT, ge=1, le=_ENTRIES_MAX)
    next_token: Token | None = None

    def page(self, answer: Answer, route: str, *, as_csv: bool) -> tuple[Answer, str]:
        """The page of an answer that was asked for, and the token of the next one; empty on the last page."""
        token = self.next_token
        start = token.start if token else 0
        frame = content_hash([route, as_csv, answer.frame()])
        if token and token.frame != frame:
            raise QuestionInvalid(
                "next_token", "the question is another, or the ledger has changed, since the page before: ask again without it"
            )
        shown, has_more_entries, has_more_rows = answer.page(start, self.max_results)
        if not (has_more_rows if as_csv else has_more_entries):
            return shown, ""
        # When the ledger last changed, not the moment that was asked for: that may be to come, and the ledger change before it.
        return shown, str(PageToken(start + self.max_results, answer.document.get("as_of"), frame))


class SpanQuery(PagedQuery):
    """A question about a span of usage days."""

    period: Period | None = None
    first: Day | None = Field(None, alias="from")
    last: Day | None = Field(None, alias="to")
    metric: Metric = Metric.BILLED
    as_of: Moment | None = None

    @property
    def read_as_of(self) -> datetime | None:
        """The moment that the ledger is read as of: the one that was asked for, or that of the first page."""
        return self.next_token.as_of if self.next_token else self.as_of

    def span(self, today: date) -> Span:
        """The days; the current billing period where none are named."""
        span = chosen_span(self.period, self.first, self.last, today)
        if span.day_count > SPAN_DAYS_MAX:
            raise QuestionInvalid("to", f"{span.day_count:,} days are more than {SPAN_DAYS_MAX}: ask for a year at a time")
        return span


class CostsQuery(SpanQuery):
    """`/v1/costs`."""

    repeatable: ClassVar[frozenset[str]] = frozenset({"where"})
    by: Text | None = None
    where: tuple[Text, ...] = ()


class CoverageQuery(SpanQuery):
    """`/v1/coverage`."""

    by: Text | None = None
    category: Text | None = None
    units: bool = False

    @property
    def dimensions(self) -> list[str]:
        return [name.strip() for name in (self.by or "").split(",") if name.strip()]


class ExplainQuery(Query):
    """`/v1/explain`: an owner on a day, or one charge."""

    charge: Text | None = None
    day: Day | None = Field(None, alias="date")
    category: Text | None = None
    value: Text | None = None
    model: Text | None = None
    metric: Metric = Metric.BILLED
    top: int = Field(10, ge=1, le=100)
    as_of: Moment | None = None

    def about(self) -> tuple[date, str]:
        """The usage day, and what the name of the charge begins with; that is empty where an owner is asked for."""
        if self.charge is None:
            if self.day is None or self.value is None:
                missing = "date" if self.day is None else "value"
                raise QuestionInvalid(missing, "name an owner by date and value, or one charge by charge=DATE/ID")
            return self.day, ""
        day, _, charge_id = self.charge.partition("/")
        if self.day is not None or self.value is not None or not charge_id:
            raise QuestionInvalid("charge", "name a charge as DATE/ID, without date and value")
        try:
            return parse_day(day), charge_id
        except QuestionInvalid as error:
            raise QuestionInvalid("charge", error.reason) from None


class RequestQuery(Query):
    """`/v1/requests/<request id>`: where the call was made, unless it was in the account and Region of the stack."""

    account: Text | None = None
    region: Text | None = None


class BudgetsQuery(PagedQuery):
    """`/v1/budgets`."""

    name: Text | None = None
    period: Period | None = None


def caller_of(event: Mapping[str, Any]) -> str:
    """The ARN of whoever signed the request, as the API's authorizer says; empty where it does not."""
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    return str((authorizer.get("iam") or {}).get("userArn") or "")
