"""Budgets as people write them: a short form of our own, and AWS's documents as `describe-budgets` prints them.

What a document cannot mean in this ledger is refused with its place and the reason, never counted as something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from adapters.budget_filters import Document, ExpressionDocument, Unusable, Vocabulary, cost_filters
from adapters.validation import AWS_DEFINITION, SHORT_FORM, Location, Problem
from attribution.budget_periods import TimeUnit, calendar_period
from attribution.budgets import (
    Budget,
    BudgetType,
    Comparison,
    FixedLimit,
    ForecastLimit,
    HistoricalLimit,
    Limit,
    Notification,
    NotificationType,
    PlannedLimits,
    ThresholdType,
    ancestors,
)
from attribution.charges import COST_METRICS
from attribution.conditions import And, Not
from attribution.meters import METERED_IN_TOKENS, TokenKind
from attribution.money import multiply
from attribution.scopes import EVERYTHING, REQUESTS, TOKENS, Filter, Match, Measure, Scope

MAX_BUDGETS = 2000
NOTIFICATIONS = "notifications"
MAX_NOTIFICATIONS = 10
"""AWS: "A budget can have up to ten notifications"."""
MAX_THRESHOLD = Decimal(15_000_000_000_000)
_END_OF_TIME = date(2087, 6, 15)
"""AWS: "If you didn't specify an end date, Amazon Web Services set your end date to 06/15/87 00:00 UTC"."""
_LONGEST_LOOK_BACK = {TimeUnit.DAILY: 60, TimeUnit.MONTHLY: 12, TimeUnit.QUARTERLY: 4, TimeUnit.ANNUALLY: 1}
_PLANNED_PERIODS = {TimeUnit.MONTHLY: 12, TimeUnit.QUARTERLY: 4}


def _no_action(name: str) -> str:
    if "/action/" in name:
        raise ValueError('the "/action/" substring is not allowed in a budget name')
    return name


# AWS allows every letter in a budget's name but `:` and the backslash; a line break would end a log line or a message's.
NameOfBudget = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^:\\\x00-\x1f]+$"), AfterValidator(_no_action)]
# Fields have AWS's names, which are our types' names, too: inside their models, a type has to have another one.
_NotificationType: TypeAlias = NotificationType
_Comparison: TypeAlias = Comparison
_ThresholdType: TypeAlias = ThresholdType
_TimeUnit: TypeAlias = TimeUnit


def _as_text(value: object) -> object:
    """A JSON number as the text that wrote it; AWS writes thresholds as doubles, `80.0`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


AmountNumber = Annotated[Decimal, BeforeValidator(_as_text), Field(ge=0, max_digits=32, decimal_places=18, allow_inf_nan=False)]
# Few enough digits for what is worked out of limits and thresholds to stay exact.
ThresholdNumber = Annotated[
    Decimal, BeforeValidator(_as_text), Field(ge=0, le=MAX_THRESHOLD, max_digits=32, decimal_places=18, allow_inf_nan=False)
]


class NotificationDocument(Document):
    """AWS's `Notification`. `NotificationState` is what AWS's own evaluation said, and is not read."""

    NotificationType: _NotificationType
    ComparisonOperator: _Comparison
    Threshold: ThresholdNumber
    ThresholdType: _ThresholdType = _ThresholdType.PERCENTAGE
    NotificationState: Literal["OK", "ALARM"] | None = None

    def notification(self) -> Notification:
        return Notification(self.Threshold, self.NotificationType, self.ComparisonOperator, self.ThresholdType)


class SubscriberDocument(Document):
    """AWS's `Subscriber`. Alerts go where the budget's channel says; subscribers are checked, not used."""

    SubscriptionType: Literal["SNS", "EMAIL"]
    Address: Annotated[str, Field(min_length=1, max_length=2147483647)]


class SubscribedNotification(Document):
    """AWS's `NotificationWithSubscribers`, of `create-budget`."""

    Notification: NotificationDocument
    Subscribers: Annotated[tuple[SubscriberDocument, ...], Field(min_length=1, max_length=11)]

    @model_validator(mode="after")
    def _as_many_as_aws_takes(self) -> SubscribedNotification:
        if sum(s.SubscriptionType == "SNS" for s in self.Subscribers) > 1:
            raise ValueError("a notification can have one SNS subscriber and up to 10 email subscribers")
        return self


class SpendDocument(Document):
    """AWS's `Spend`."""

    Amount: AmountNumber
    Unit: Annotated[str, Field(min_length=1, max_length=2147483647)]


class CostTypesDocument(Document):
    """AWS's `CostTypes` with its defaults."""

    IncludeTax: bool = True
    IncludeSubscription: bool = True
    UseBlended: bool = False
    IncludeRefund: bool = True
    IncludeCredit: bool = True
    IncludeUpfront: bool = True
    IncludeRecurring: bool = True
    IncludeOtherSubscription: bool = True
    IncludeSupport: bool = True
    IncludeDiscount: bool = True
    UseAmortized: bool = False

    def metric(self) -> str:
        if self.UseBlended:
            raise Unusable("CostTypes.UseBlended", f"{_NO_BLENDED}")
        return "effective_cost" if self.UseAmortized else "billed_cost"

    def excluded(self) -> tuple[str, ...]:
        """The line item types that do not count."""
        return tuple(t for field, types in _LINE_ITEM_TYPES.items() if not getattr(self, field) for t in types)


_NO_BLENDED = "the ledger holds no blended cost; choose unblended or amortized"
# The line item types of cost reports that each switch speaks of. Support is not in a ledger of Bedrock.
_LINE_ITEM_TYPES = {
    "IncludeTax": ("Tax",),
    "IncludeRefund": ("Refund",),
    "IncludeCredit": ("Credit",),
    "IncludeUpfront": ("SavingsPlanUpfrontFee",),
    "IncludeRecurring": ("RIFee", "SavingsPlanRecurringFee"),
    "IncludeSubscription": ("Fee", "RIFee", "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee"),
    "IncludeOtherSubscription": ("Fee",),
    "IncludeDiscount": (
        "BundledDiscount",
        "Discount",
        "EdpDiscount",
        "PrivateRateDiscount",
        "RiVolumeDiscount",
        "SppDiscount",
    ),
}
_METRICS = {
    "UnblendedCost": "billed_cost",
    "NetUnblendedCost": "net_billed_cost",
    "AmortizedCost": "effective_cost",
    "NetAmortizedCost": "net_effective_cost",
}
# The older filters that narrow a budget to a service.
_FILTERS_OF_BEDROCK = frozenset(("Service", "UsageType"))
# How many tokens or requests one of an AWS unit is.
_UNITS = {
    "tokens": (TOKENS, 1),
    "token": (TOKENS, 1),
    "1k tokens": (TOKENS, 1_000),
    "1m tokens": (TOKENS, 1_000_000),
    "requests": (REQUESTS, 1),
    "request": (REQUESTS, 1),
    "count": (REQUESTS, 1),
}


def _instant(value: object) -> object:
    """A timestamp as the AWS CLI prints it: ISO 8601, or seconds since 1970."""
    try:
        seconds = Decimal(str(value))
    except InvalidOperation:
        return value
    is_time = seconds.is_finite() and 0 <= seconds < _END_OF_SECONDS
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds)) if is_time else value


Moment = TypeVar("Moment", bound=date)


def _in_our_time(moment: Moment) -> Moment:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a budget begins and ends between {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment


_FIRST_YEAR, _LAST_YEAR = 2000, 2100
_END_OF_SECONDS = 4_133_980_800
Instant = Annotated[datetime, BeforeValidator(_instant), AfterValidator(_in_our_time)]
UsageDay = Annotated[date, AfterValidator(_in_our_time)]


class TimePeriodDocument(Document):
    """AWS's `TimePeriod`, UTC."""

    Start: Instant | None = None
    End: Instant | None = None

    @model_validator(mode="after")
    def _in_order(self) -> TimePeriodDocument:
        if self.Start and self.End and self.Start >= self.End:
            raise ValueError("the start date must come before the end date")
        return self

    def days(self) -> tuple[date | None, date | None]:
        """The first and the last usage day. The end is an instant: a midnight ends the day before."""
        last = _utc(self.End - timedelta(microseconds=1)).date() if self.End else None
        is_open = last is not None and last >= _END_OF_TIME - timedelta(days=1)
        return _utc(self.Start).date() if self.Start else None, None if is_open else last


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class HistoricalOptionsDocument(Document):
    """AWS's `HistoricalOptions`; `LookBackAvailablePeriods` is AWS's own count, and is not read."""

    BudgetAdjustmentPeriod: Annotated[int, Field(ge=1)]
    LookBackAvailablePeriods: int | None = None


class AutoAdjustDocument(Document):
    """AWS's `AutoAdjustData`."""

    AutoAdjustType: Literal["HISTORICAL", "FORECAST"]
    HistoricalOptions: HistoricalOptionsDocument | None = None
    LastAutoAdjustTime: Any = None

    @model_validator(mode="after")
    def _options_of_its_type(self) -> AutoAdjustDocument:
        if (self.AutoAdjustType == "HISTORICAL") != (self.HistoricalOptions is not None):
            raise ValueError("HistoricalOptions go with AutoAdjustType HISTORICAL, and with no other")
        return self


class AwsBudget(Document):
    """AWS's `Budget`, as `describe-budgets` prints it or `create-budget` takes it."""

    BudgetName: NameOfBudget
    BudgetType: Annotated[str, Field(max_length=50)]
    TimeUnit: _TimeUnit
    BudgetLimit: SpendDocument | None = None
    PlannedBudgetLimits: Annotated[dict[str, SpendDocument], Field(min_length=1)] | None = None
    AutoAdjustData: AutoAdjustDocument | None = None
    CostFilters: dict[str, tuple[str, ...]] | None = None
    CostTypes: CostTypesDocument | None = None
    FilterExpression: ExpressionDocument | None = None
    Metrics: Annotated[tuple[str, ...], Field(max_length=1)] | None = None
    TimePeriod: TimePeriodDocument = TimePeriodDocument()
    CalculatedSpend: Any = None
    LastUpdatedTime: Any = None
    BillingViewArn: str | None = None
    HealthStatus: Any = None

    @property
    def is_description(self) -> bool:
        """Whether AWS printed it: it then carries what AWS works out itself, such as the current one of its planned limits."""
        return self.CalculatedSpend is not None or self.LastUpdatedTime is not None

    @property
    def is_of_bedrock(self) -> bool:
        """Whether AWS, too, counts nothing by it but Amazon Bedrock, as far as its filters say."""
        if self.BudgetType == BudgetType.USAGE:
            return True
        if self.FilterExpression:
            return self.FilterExpression.names_bedrock
        return not _FILTERS_OF_BEDROCK.isdisjoint(self.CostFilters or {})

    @model_validator(mode="after")
    def _as_aws_takes_it(self) -> AwsBudget:
        if self.BudgetType not in BudgetType.__members__:
            raise ValueError(f"BudgetType {self.BudgetType} has nothing to measure in a ledger of Bedrock; use COST or USAGE")
        if (self.CostFilters or self.CostTypes) and (self.FilterExpression or self.Metrics):
            raise ValueError("choose one pair: FilterExpression with Metrics, or CostFilters with CostTypes")
        if self.FilterExpression and not self.Metrics:
            raise ValueError("FilterExpression needs Metrics beside it")
        if self.BudgetLimit and self.PlannedBudgetLimits and not self.is_description:
            raise ValueError("you can't use BudgetLimit with PlannedBudgetLimits")
        if not (self.BudgetLimit or self.PlannedBudgetLimits or self.AutoAdjustData):
            raise ValueError("BudgetLimit is required for cost or usage budgets, or PlannedBudgetLimits, or AutoAdjustData")
        if self.TimeUnit is _TimeUnit.CUSTOM and not (self.TimePeriod.Start and self.TimePeriod.days()[1]):
            raise ValueError("TimeUnit CUSTOM needs a TimePeriod with Start and End")
        return self

    def unit(self) -> tuple[str, int]:
        """The unit of its limits, and how many of ours each of them is."""
        spends = [self.BudgetLimit, *(self.PlannedBudgetLimits or {}).values()]
        units = {spend.Unit for spend in spends if spend} or {"USD"}
        if len(units) > 1:
            raise Unusable("PlannedBudgetLimits", f"limits have different units: {sorted(units)}")
        (unit,) = units
        if self.BudgetType == BudgetType.COST:
            if not re.fullmatch(r"[A-Z]{3}", unit):
                raise Unusable("BudgetLimit.Unit", f"{unit!r} is no currency")
            return unit, 1
        if unit.casefold() not in _UNITS:
            raise Unusable("BudgetLimit.Unit", f"{unit!r} is not measured here; choose from {sorted(_UNITS)}")
        return _UNITS[unit.casefold()]

    def limit(self, per_unit: int) -> Limit:
        if self.AutoAdjustData:
            options = self.AutoAdjustData.HistoricalOptions
            place = "AutoAdjustData.HistoricalOptions.BudgetAdjustmentPeriod"
            return (
                _historical(options.BudgetAdjustmentPeriod, self.TimeUnit, place) if options else _forecast_limit(self.TimeUnit)
            )
        if self.PlannedBudgetLimits:
            return _planned_limits(self, per_unit)
        assert self.BudgetLimit is not None  # noqa: S101 - validated
        return FixedLimit(multiply(self.BudgetLimit.Amount, Decimal(per_unit)))

    def scope(self, vocabulary: Vocabulary, unit: str) -> Scope:
        metric = "billed_cost"
        conditions: list[Filter] = []
        if self.Metrics:
            metric = _metric(self.Metrics[0], BudgetType(self.BudgetType))
        elif self.CostTypes and self.BudgetType == BudgetType.COST:
            metric = self.CostTypes.metric()
            if excluded := self.CostTypes.excluded():
                conditions.append(Not(Match("line_item_type", tuple(dict.fromkeys(excluded)))))
        if self.FilterExpression:
            try:
                conditions.insert(0, self.FilterExpression.filter(vocabulary))
            except Unusable as unusable:
                raise unusable.inside("FilterExpression") from None
        elif self.CostFilters:
            conditions.insert(0, cost_filters(self.CostFilters, vocabulary))
        measure = Measure(metric, unit) if self.BudgetType == BudgetType.COST else Measure(unit, unit)
        return Scope(_every(conditions), measure)


def _every(conditions: Sequence[Filter]) -> Filter:
    telling = tuple(c for c in conditions if c != EVERYTHING)
    return telling[0] if len(telling) == 1 else And(telling)


def _metric(name: str, budget_type: BudgetType) -> str:
    if budget_type is BudgetType.USAGE:
        if name != "UsageQuantity":
            raise Unusable("Metrics", f"a USAGE budget is measured in UsageQuantity, not in {name}")
        return name
    if name not in _METRICS:
        reason = _NO_BLENDED if name == "BlendedCost" else f"{name} is no cost metric; choose from {list(_METRICS)}"
        raise Unusable("Metrics", reason)
    return _METRICS[name]


def _historical(periods: int, unit: TimeUnit, place: str) -> Limit:
    longest = _LONGEST_LOOK_BACK.get(unit)
    if longest is None:
        raise Unusable("TimeUnit", f"a {unit} budget has no earlier periods to adjust its limit to")
    if periods > longest:
        raise Unusable(place, f"the maximum of a {unit} budget is {longest}, not {periods}")
    return HistoricalLimit(periods)


def _forecast_limit(unit: TimeUnit) -> Limit:
    if unit is TimeUnit.CUSTOM:
        raise Unusable("TimeUnit", "a CUSTOM budget runs once, and has nothing to adjust its limit to")
    return ForecastLimit()


def _planned_limits(budget: AwsBudget, per_unit: int) -> Limit:
    """Planned limits by the first day of their periods, which AWS writes as seconds since 1970, UTC."""
    unit, place = budget.TimeUnit, "PlannedBudgetLimits"
    if unit not in _PLANNED_PERIODS:
        raise Unusable(place, f"only MONTHLY and QUARTERLY budgets have planned limits, not {unit} ones")
    limits = []
    for key, spend in (budget.PlannedBudgetLimits or {}).items():
        begins = _instant(key)
        if not isinstance(begins, datetime) or calendar_period(unit, begins.date()).first_day != begins.date():
            raise Unusable(f"{place}.{key}", f"not the start of a {unit} period, UTC, in epoch seconds")
        limits.append((begins.date(), multiply(spend.Amount, Decimal(per_unit))))
    limits.sort()
    for (earlier, _), (later, _) in pairwise(limits):
        if calendar_period(unit, earlier).last_day + timedelta(days=1) != later:
            raise Unusable(place, f"the period after {earlier} is missing: limits are planned without gaps")
    last = budget.TimePeriod.days()[1]
    expires = last is not None and last <= calendar_period(unit, limits[-1][0]).last_day
    if len(limits) != _PLANNED_PERIODS[unit] and not expires and not budget.is_description:
        raise Unusable(place, f"a {unit} budget needs {_PLANNED_PERIODS[unit]} of them, not {len(limits)}")
    return PlannedLimits(tuple(limits))


class AwsDocuments(Document):
    """A budget as AWS has it, with its notifications as `describe-notifications-for-budget` or `create-budget` has them."""

    Budget: AwsBudget
    Notifications: tuple[NotificationDocument, ...] = ()
    NotificationsWithSubscribers: tuple[SubscribedNotification, ...] = ()

    def notifications(self) -> tuple[Notification, ...]:
        subscribed = (n.Notification for n in self.NotificationsWithSubscribers)
        return tuple(n.notification() for n in (*self.Notifications, *subscribed))


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write an IANA name, such as Europe/Berlin") from None
    return name


TimeZone = Annotated[
    str, Field(min_length=1, max_length=64), BeforeValidator(lambda v: _known_zone(v) if isinstance(v, str) else v)
]


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


class _Routed(Document):
    """What AWS's documents do not say of a budget."""

    time_zone: TimeZone = "UTC"
    parent: str = ""
    channel: str = ""


class AwsBudgetDocument(_Routed):
    """A budget in AWS's words. It fires as AWS's would, unless `aws_compatible` is false."""

    aws: AwsDocuments
    aws_compatible: bool = True

    @property
    def name(self) -> str:
        return self.aws.Budget.BudgetName

    def location(self, unusable: Unusable) -> Location:
        """Where in the document something means nothing."""
        is_beside = unusable.place == NOTIFICATIONS
        return (AWS_DEFINITION, "aws", *(("Notifications",) if is_beside else ("Budget", *unusable.location)))

    def budget(self, vocabulary: Vocabulary) -> Budget:
        """The budget that it means; raises `Unusable` with the place that means nothing here."""
        document = self.aws.Budget
        unit, per_unit = document.unit()
        start, end = document.TimePeriod.days()
        budget = Budget(
            name=document.BudgetName,
            limit=document.limit(per_unit),
            scope=document.scope(vocabulary, unit),
            notifications=tuple(_in_our_unit(n, per_unit) for n in self.aws.notifications()),
            type=BudgetType(document.BudgetType),
            time_unit=document.TimeUnit,
            zone=_zone(self.time_zone),
            start=start,
            end=end,
            parent=self.parent,
            channel=self.channel,
            aws_compatible=self.aws_compatible,
        )
        _check_notifications(budget)
        return budget


def _in_our_unit(notification: Notification, per_unit: int) -> Notification:
    if notification.threshold_type is ThresholdType.PERCENTAGE:
        return notification
    return Notification(
        multiply(notification.threshold, Decimal(per_unit)),
        notification.type,
        notification.comparison,
        notification.threshold_type,
    )


class LimitDocument(Document):
    """A limit: `amount`, or `planned` by first month or day, or the average of `history_periods`, or `from_forecast`.

    Amounts are text or whole numbers, so that they stay exact. `unit` is for USAGE budgets.
    """

    amount: Decimal | None = Field(None, ge=Decimal("0.01"), max_digits=20, decimal_places=6)
    planned: (
        Annotated[
            dict[str, Annotated[Decimal, Field(ge=Decimal("0.01"), max_digits=20, decimal_places=6)]], Field(min_length=1)
        ]
        | None
    ) = None
    history_periods: int | None = Field(None, ge=1)
    from_forecast: Literal[True] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    unit: Literal["tokens", "requests"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> LimitDocument:
        if sum(kind is not None for kind in (self.amount, self.planned, self.history_periods, self.from_forecast)) != 1:
            raise ValueError("write one of amount, planned, history_periods and from_forecast")
        return self

    def limit(self, unit: TimeUnit) -> Limit:
        if self.amount is not None:
            return FixedLimit(self.amount)
        if self.history_periods is not None:
            return _historical(self.history_periods, unit, "limit.history_periods")
        if self.planned:
            return PlannedLimits(_by_day(self.planned))
        return _forecast_limit(unit)


def _by_day(planned: Mapping[str, Decimal]) -> tuple[tuple[date, Decimal], ...]:
    limits = {_planned_day(text): amount for text, amount in planned.items()}
    if len(limits) < len(planned):
        raise Unusable("limit.planned", "two limits begin on the same day: a month is its first day")
    return tuple(sorted(limits.items()))


def _planned_day(text: str) -> date:
    try:
        return _in_our_time(date.fromisoformat(text if len(text) > len("2026-11") else f"{text}-01"))
    except ValueError:
        raise Unusable(
            "limit.planned",
            f"{text!r} is no month or day between {_FIRST_YEAR} and {_LAST_YEAR}; write 2026-11 or 2026-11-01",
        ) from None


Percent = Annotated[Decimal, Field(gt=0, le=1_000_000, max_digits=12, decimal_places=4)]
_PERIODS = {unit.value.lower(): unit for unit in TimeUnit}


class BudgetDocument(_Routed):
    """A budget in the short form."""

    name: NameOfBudget
    limit: LimitDocument
    period: Literal["daily", "monthly", "quarterly", "annually", "custom"] = "monthly"
    start: UsageDay | None = None
    end: UsageDay | None = None
    dimension: str = ""
    values: tuple[str, ...] = ()
    filter: ExpressionDocument | None = None
    metric: str = "billed_cost"
    token_kinds: tuple[TokenKind, ...] = ()
    thresholds: tuple[Percent, ...] = (Decimal(80), Decimal(100))
    forecast_thresholds: tuple[Percent, ...] = ()
    notifications: tuple[NotificationDocument, ...] = ()
    aws_compatible: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> BudgetDocument:
        if self.metric not in COST_METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; choose from {list(COST_METRICS)}")
        if self.token_kinds and self.limit.unit != TOKENS:
            raise ValueError("token_kinds go with a limit whose unit is tokens")
        uncounted = sorted(set(self.token_kinds) - set(METERED_IN_TOKENS))
        if uncounted:
            raise ValueError(f"{uncounted[0]} is not counted in tokens; choose from {[k.value for k in METERED_IN_TOKENS]}")
        if self.values and not self.dimension:
            raise ValueError("values need the dimension that has them")
        if self.start and self.end and self.start > self.end:
            raise ValueError("the start must come before the end")
        if self.period == "custom" and not (self.start and self.end):
            raise ValueError("a custom period needs start and end")
        if not (self.thresholds or self.forecast_thresholds or self.notifications):
            raise ValueError("a budget without thresholds and notifications tells nobody")
        return self

    def location(self, unusable: Unusable) -> Location:
        """Where in the document something means nothing."""
        return (SHORT_FORM, *unusable.location)

    def budget(self, vocabulary: Vocabulary) -> Budget:
        """The budget that it means; raises `Unusable` with the place that means nothing here."""
        unit = _PERIODS[self.period]
        measured = self.limit.unit
        measure = (
            Measure(measured, measured, self.token_kinds or METERED_IN_TOKENS)
            if measured
            else Measure(self.metric, self.limit.currency)
        )
        budget = Budget(
            name=self.name,
            limit=self.limit.limit(unit),
            scope=Scope(_every([*self._by_dimension(vocabulary), *self._by_filter(vocabulary)]), measure),
            notifications=self._notifications(),
            type=BudgetType.USAGE if measured else BudgetType.COST,
            time_unit=unit,
            zone=_zone(self.time_zone),
            start=self.start,
            end=self.end,
            parent=self.parent,
            channel=self.channel,
            aws_compatible=self.aws_compatible,
        )
        _check_notifications(budget)
        return budget

    def _by_dimension(self, vocabulary: Vocabulary) -> Iterator[Filter]:
        if self.dimension and self.dimension not in vocabulary.dimensions():
            raise Unusable("dimension", f"unknown dimension {self.dimension!r}; choose from {vocabulary.dimensions()}")
        if self.values:
            yield Match(self.dimension, self.values)

    def _by_filter(self, vocabulary: Vocabulary) -> Iterator[Filter]:
        if self.filter:
            try:
                yield self.filter.filter(vocabulary)
            except Unusable as unusable:
                raise unusable.inside("filter") from None

    def _notifications(self) -> tuple[Notification, ...]:
        return (
            *(Notification(percent) for percent in dict.fromkeys(self.thresholds)),
            *(Notification(percent, NotificationType.FORECASTED) for percent in dict.fromkeys(self.forecast_thresholds)),
            *(n.notification() for n in self.notifications),
        )


def _check_notifications(budget: Budget) -> None:
    """Refuse what AWS refuses of notifications."""
    if len(budget.notifications) > MAX_NOTIFICATIONS:
        raise Unusable(
            NOTIFICATIONS, f"a budget can have up to {MAX_NOTIFICATIONS} notifications, not {len(budget.notifications)}"
        )
    if len({(n.type, n.threshold_key) for n in budget.notifications}) < len(budget.notifications):
        raise Unusable(NOTIFICATIONS, "a notification is its fields: one of these is there twice")
    if budget.time_unit is TimeUnit.DAILY and any(n.type is NotificationType.FORECASTED for n in budget.notifications):
        raise Unusable(NOTIFICATIONS, "a DAILY budget cannot have FORECASTED notifications")


def build_budgets(documents: Sequence[BudgetDocument | AwsBudgetDocument], vocabulary: Vocabulary) -> list[Budget]:
    """The budgets of a policy that has no problems."""
    return [document.budget(vocabulary) for document in documents]


def problems_of_budgets(documents: Sequence[BudgetDocument | AwsBudgetDocument], vocabulary: Vocabulary) -> Iterator[Problem]:
    """What budgets ask for that means nothing in this ledger, and parents that do not fit together."""
    for number, document in enumerate(documents):
        at: Location = ("budgets", number)
        try:
            document.budget(vocabulary)
        except ValueError as error:
            unusable = error if isinstance(error, Unusable) else Unusable("", str(error))
            yield (*at, *document.location(unusable)), f"budget {document.name!r}: {unusable.reason}"
    parents = {document.name: document.parent for document in documents if document.parent}
    names = {document.name for document in documents}
    for number, document in enumerate(documents):
        at = ("budgets", number, "parent")
        if document.parent and document.parent not in names:
            yield at, f"budget {document.name!r}: there is no budget {document.parent!r}"
        elif document.parent and document.name in ancestors(document.name, parents):
            yield at, f"budget {document.name!r}: it is a part of itself, by way of {document.parent!r}"


def join_aws_documents(budgets: object, notifications: object | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Budgets as `describe-budgets` prints them, each with its notifications, as the `budgets` of a policy.

    `notifications` is what `describe-budget-notifications-for-account` prints, or `describe-notifications-for-budget` of one.
    The second result are the names of budgets that notifications are for and that are not among the budgets.
    """
    beside: dict[object, Any] = {}
    match budgets:
        case {"Budgets": [*found]}:
            pass
        case {"Budget": only, **beside}:
            found = [only]
        case _:
            found = [None]
    if not all(isinstance(budget, dict) for budget in found):
        raise ValueError("the file of budgets has neither Budgets nor Budget: write what describe-budgets printed")
    names = [budget.get("BudgetName", "") for budget in found]
    by_name = _notifications_by_budget(notifications, names)
    joined = [
        {"aws": {"Budget": budget, **beside} | ({"Notifications": by_name[name]} if name in by_name else {})}
        for name, budget in zip(names, found, strict=True)
    ]
    return joined, [name for name in by_name if name not in names]


def _notifications_by_budget(notifications: object | None, names: Sequence[str]) -> dict[str, Any]:
    match notifications:
        case None:
            return {}
        case {"BudgetNotificationsForAccount": [*entries]} if all(isinstance(e, dict) and "BudgetName" in e for e in entries):
            return {entry["BudgetName"]: entry.get("Notifications", []) for entry in entries}
        case {"Notifications": [*entries]} if len(names) == 1:
            return {names[0]: entries}
        case {"Notifications": _}:
            raise ValueError(
                "these notifications do not say whose they are: with several budgets, "
                "write what describe-budget-notifications-for-account printed"
            )
    raise ValueError("the file of notifications has neither BudgetNotificationsForAccount nor Notifications")
