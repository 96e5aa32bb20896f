"""Budgets in the words of AWS Budgets: what counts, how much of it may be spent in which period, and who is told when.

`evaluate` holds one budget and one of its periods against the ledger; `crossings` says what that means for each notification.
The rules are those of AWS Budgets (docs/budgets.md names the source of each); where a budget is not `aws_compatible`, it
differs in what a bill makes possible: a running day is judged at once, and an alert that the bill disproves is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Context, Decimal
from enum import StrEnum

from attribution.budget_periods import DAY, BudgetPeriod, TimeUnit, calendar_period, local_date, look_back
from attribution.canonical import number_text
from attribution.forecasts import LONGEST_HISTORY_DAYS, Forecast, NoForecast, forecast_total
from attribution.money import EXACT, QUANTUM, ZERO, Money, add, multiply, subtract, total
from attribution.scopes import Scope
from attribution.wording import percent_of

AWS_FORECAST_HISTORY_DAYS = 35
"""AWS: "requires approximately 5 weeks of usage data to generate budget forecasts"."""
FORECAST_HISTORY_DAYS = 14
"""Two of each weekday: less says nothing about a week. `make backtest` prints what the forecast is worth with how much
history.
"""
PERIOD_OVER = "the period is over"
"""Why a past period has no forecast."""
SILENT_DAYS = 7
"""After so many complete days of which the ledger has nothing at all it is behind, rather than everybody quiet: one of each
weekday.
"""
DRIVER_SPAN_DAYS = 31
"""Drivers of longer periods are those of their latest month: a year's largest names explain no crossing of today."""
_AVERAGE = Context(prec=60)


class BudgetType(StrEnum):
    """What a budget measures."""

    COST = "COST"
    USAGE = "USAGE"


class NotificationType(StrEnum):
    """Whether what was spent is compared, or what is going to be spent by the end of the period."""

    ACTUAL = "ACTUAL"
    FORECASTED = "FORECASTED"


class Comparison(StrEnum):
    """How the spend must lie to the threshold for a notification. `GREATER_THAN` is strict: equality is no alarm."""

    GREATER_THAN = "GREATER_THAN"
    LESS_THAN = "LESS_THAN"
    EQUAL_TO = "EQUAL_TO"


class ThresholdType(StrEnum):
    """Whether a threshold is a percentage of the limit, or an amount in the budget's unit."""

    PERCENTAGE = "PERCENTAGE"
    ABSOLUTE_VALUE = "ABSOLUTE_VALUE"


@dataclass(frozen=True, slots=True)
class Notification:
    """A condition to tell people of. AWS gives it no id: its fields are its identity."""

    threshold: Decimal
    type: NotificationType = NotificationType.ACTUAL
    comparison: Comparison = Comparison.GREATER_THAN
    threshold_type: ThresholdType = ThresholdType.PERCENTAGE

    def amount(self, limit: Decimal) -> Decimal:
        """The threshold in the budget's unit."""
        if self.threshold_type is ThresholdType.ABSOLUTE_VALUE:
            return self.threshold
        return EXACT.scaleb(multiply(limit, self.threshold), Decimal(-2))

    def holds(self, spend: Decimal, limit: Decimal) -> bool:
        """Whether spend lies to the threshold as the notification waits for."""
        amount = self.amount(limit)
        match self.comparison:
            case Comparison.GREATER_THAN:
                return spend > amount
            case Comparison.LESS_THAN:
                return spend < amount
            case Comparison.EQUAL_TO:
                return spend == amount

    @property
    def threshold_key(self) -> str:
        """The threshold in an alert's key, the same for 80 and 80.0: `80`, `<50`, `=100`; an amount is `500abs`."""
        sign = {Comparison.GREATER_THAN: "", Comparison.LESS_THAN: "<", Comparison.EQUAL_TO: "="}[self.comparison]
        suffix = "abs" if self.threshold_type is ThresholdType.ABSOLUTE_VALUE else ""
        return f"{sign}{number_text(self.threshold)}{suffix}"


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """The same limit in every period."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class PlannedLimits:
    """A limit from each date on. AWS: after the last one, "the budget continues to use the last limit"."""

    limits: tuple[tuple[date, Decimal], ...]


@dataclass(frozen=True, slots=True)
class HistoricalLimit:
    """The average of what was spent in so many periods before. The first of them is left out if it has no cost data."""

    periods: int


@dataclass(frozen=True, slots=True)
class ForecastLimit:
    """What the period was forecast to cost when it began."""


Limit = FixedLimit | PlannedLimits | HistoricalLimit | ForecastLimit


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget. `unit` is a currency (ISO 4217) or, of a USAGE budget, `tokens` or `requests`.

    `start` and `end` are the first and last usage day that count. `parent` is the budget that this one is a part of: it routes
    and explains alerts, and does not change what counts. `aws_compatible`: ACTUAL notifications fire once per period and are
    never taken back, daily budgets judge complete days, forecasts wait for five weeks of data.
    """

    name: str
    limit: Limit
    scope: Scope
    notifications: tuple[Notification, ...]
    type: BudgetType = BudgetType.COST
    time_unit: TimeUnit = TimeUnit.MONTHLY
    zone: tzinfo = UTC
    start: date | None = None
    end: date | None = None
    parent: str = ""
    channel: str = ""
    aws_compatible: bool = False

    @property
    def unit(self) -> str:
        return self.scope.measure.unit

    @property
    def adjusts_itself(self) -> bool:
        """Whether the limit follows from spend, so that it may move without anybody having changed it."""
        return isinstance(self.limit, HistoricalLimit | ForecastLimit)

    @property
    def zone_name(self) -> str:
        """The IANA name of the time zone."""
        return "UTC" if self.zone is UTC else str(self.zone)

    def is_expired(self, now: datetime) -> bool:
        """Whether the budget has ended. AWS deletes it then, with its notifications."""
        return self.end is not None and local_date(now, self.zone) > self.end

    def period_of(self, day: date) -> BudgetPeriod | None:
        """The period that a usage day counts in, cut to the budget's own start and end; None outside of them."""
        if (self.start and day < self.start) or (self.end and day > self.end):
            return None
        if self.time_unit is TimeUnit.CUSTOM:
            return BudgetPeriod(self.time_unit, self.start, self.end) if self.start and self.end else None
        period = calendar_period(self.time_unit, day)
        first = max(period.first_day, self.start) if self.start else period.first_day
        last = min(period.last_day, self.end) if self.end else period.last_day
        return BudgetPeriod(self.time_unit, first, last)


@dataclass(frozen=True, slots=True)
class DayAmount:
    """What a budget counts of one ledger day."""

    amount: Decimal
    is_estimated: bool


Days = Mapping[date, DayAmount]
"""What a budget counts, by usage day. A day that is not in it is not in the ledger."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One of the names behind a budget's spend, and what it spent in the equal span right before.

    `before` is None where the ledger has no day of that span: then nobody knows whether it grew.
    """

    dimension: str
    name: str
    amount: Decimal
    before: Decimal | None

    @property
    def change(self) -> Decimal | None:
        """By how much it grew."""
        return None if self.before is None else subtract(self.amount, self.before)


@dataclass(frozen=True, slots=True)
class Spend:
    """Actual spend of a budget in one period. Billed and estimated days are summed apart and never shown as one number.

    `drivers` are looked for where the spend is told to people; None: they were not.
    """

    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    drivers: tuple[Driver, ...] | None = None

    @property
    def actual(self) -> Decimal:
        """What is compared with the limit: billed days, and the estimate for days that the bill has not reached."""
        return add(self.billed, self.estimated)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One budget in one period, as it was found. `limit` is in the budget's unit, resolved for this period.

    `forecast` is of the period's total; `NoForecast` says why there is none. `days_over` is how much of the period has passed,
    in days that are complete; `look_back_periods` how many periods an auto-adjusted limit is the average of. `daily` are the
    days of the period that the ledger has.
    """

    budget: Budget
    period: BudgetPeriod
    limit: Decimal
    spend: Spend
    forecast: Forecast | NoForecast
    days_over: int
    look_back_periods: int = 0
    daily: tuple[tuple[date, Decimal], ...] = ()

    @property
    def pace_percent(self) -> int:
        """Spend as a percentage of what an even use of the limit would have spent by now; 0 before the first day is over."""
        even = EXACT.multiply(self.limit, Decimal(self.days_over))
        return percent_of(multiply(self.spend.actual, Decimal(self.period.length_days)), even)

    @property
    def days_without_data(self) -> int:
        """The complete days of the period that the ledger does not have."""
        complete = self.period.first_day + self.days_over * DAY
        return self.days_over - sum(day < complete for day, _ in self.daily)

    @property
    def limit_money(self) -> Money:
        """The limit with its unit."""
        return Money(self.limit, self.budget.unit)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A notification and whether it is in alarm."""

    evaluation: Evaluation
    notification: Notification
    is_crossed: bool

    @property
    def budget(self) -> Budget:
        return self.evaluation.budget

    @property
    def threshold_amount(self) -> Decimal:
        """The threshold in the budget's unit."""
        return self.notification.amount(self.evaluation.limit)

    @property
    def latches(self) -> bool:
        """Whether an alarm stays for the rest of the period, whatever spend does.

        AWS tells an ACTUAL one once per period, a FORECASTED one each time that forecasts exceed it after they dipped below.
        """
        return self.budget.aws_compatible and self.notification.type is NotificationType.ACTUAL


def evaluate(budget: Budget, period: BudgetPeriod, days: Days, now: datetime) -> Evaluation | None:
    """A budget in one of its periods; None where no limit is known for it.

    `days` reaches back as far as `days_needed` says. Days behind the period's end do not count.
    """
    limit, look_back = resolve_limit(budget, period, days)
    if limit is None:
        return None
    counted = {day: amount for day, amount in days.items() if day in period}
    spend = Spend(
        total(d.amount for d in counted.values() if not d.is_estimated),
        total(d.amount for d in counted.values() if d.is_estimated),
    )
    over = min(max(0, (now.astimezone(UTC).date() - period.first_day).days), period.length_days)
    outlook = _forecast(budget, period, days, limit, now)
    daily = tuple((day, d.amount) for day, d in sorted(counted.items()))
    return Evaluation(budget, period, limit, spend, outlook, over, look_back, daily)


def _forecast(budget: Budget, period: BudgetPeriod, days: Days, limit: Decimal, now: datetime) -> Forecast | NoForecast:
    """What the period is going to cost by its end."""
    if budget.time_unit is TimeUnit.DAILY:
        return NoForecast("a daily budget has no forecast")
    if period.is_over(budget.zone, now):
        return NoForecast(PERIOD_OVER)
    history_days = AWS_FORECAST_HISTORY_DAYS if budget.aws_compatible else FORECAST_HISTORY_DAYS
    first_incomplete = max(period.first_day, now.astimezone(UTC).date())
    newest = max((day for day in days if day <= first_incomplete), default=first_incomplete)
    if (first_incomplete - newest).days > SILENT_DAYS:
        return NoForecast(f"the ledger has no day after {newest}")
    return forecast_total(
        _series(days, first_incomplete),
        spent={day: d.amount for day, d in days.items() if day in period},
        first_open=min(first_incomplete, period.last_day + DAY),
        last_day=period.last_day,
        limit=limit,
        history_days=history_days,
    )


def _series(days: Days, until: date) -> Sequence[tuple[date, Decimal]]:
    """The amounts before a day, oldest first, from the first day on that counted anything.

    A day in between that the ledger does not have is one on which nobody used anything and nothing was billed.
    """
    spending = [day for day, d in days.items() if d.amount and day < until]
    if not spending:
        return ()
    first = min(spending)
    empty = DayAmount(ZERO, False)
    return [(day, days.get(day, empty).amount) for i in range((until - first).days) if (day := first + i * DAY)]


def resolve_limit(budget: Budget, period: BudgetPeriod, days: Days) -> tuple[Decimal | None, int]:
    """The limit in force in a period, and the number of periods that an auto-adjusted one is the average of.

    An auto-adjusted limit follows from the days before the period alone: it is the same whenever it is asked for, and moves
    only when the bill of those days does. None: a plan that begins later, or nothing to adjust to.
    """
    match budget.limit:
        case FixedLimit(amount):
            return amount, 0
        case PlannedLimits(limits):
            begun = [(start, amount) for start, amount in limits if start <= period.last_day]
            return (max(begun)[1], 0) if begun else (None, 0)
        case HistoricalLimit(periods):
            return _historical_limit(period, periods, days)
        case ForecastLimit():
            outlook = forecast_total(
                _series(days, period.first_day),
                spent={},
                first_open=period.first_day,
                last_day=period.last_day,
                limit=ZERO,
                history_days=AWS_FORECAST_HISTORY_DAYS if budget.aws_compatible else FORECAST_HISTORY_DAYS,
            )
            return (outlook.p50, 0) if isinstance(outlook, Forecast) and outlook.p50 > 0 else (None, 0)


def _historical_limit(period: BudgetPeriod, periods: int, days: Days) -> tuple[Decimal | None, int]:
    window = look_back(period, periods)
    spent = [[days[day].amount for day in sorted(days) if day in earlier] for earlier in window]
    if not any(spent[0]):
        window, spent = window[1:], spent[1:]
    amounts = [total(amounts) for amounts in spent]
    # Credits larger than what was spent are no limit to keep to.
    if not window or total(amounts) <= 0:
        return None, 0
    # The average may have no end, such as a third: it is cut where amounts of the ledger end.
    average = _AVERAGE.quantize(_AVERAGE.divide(total(amounts), Decimal(len(amounts))), QUANTUM)
    return _AVERAGE.normalize(average), len(amounts)


def days_needed(budget: Budget, period: BudgetPeriod, now: datetime) -> date:
    """The first usage day that an evaluation of a period looks at."""
    first = period.first_day
    if not period.is_over(budget.zone, now) and budget.time_unit is not TimeUnit.DAILY:
        first = min(first, now.astimezone(UTC).date() - LONGEST_HISTORY_DAYS * DAY)
    match budget.limit:
        case HistoricalLimit(periods):
            first = min(first, look_back(period, periods)[0].first_day)
        case ForecastLimit():
            first = min(first, period.first_day - LONGEST_HISTORY_DAYS * DAY)
    return first


def known_days(budget: Budget, period: BudgetPeriod, days: Mapping[date, DayAmount | None]) -> Days | None:
    """The days that an evaluation may rest on; None where one that the period or its limit is made of is not known.

    Of the history of a forecast, what lies before a day that is not known is left out.
    """
    essential = period.first_day
    if isinstance(budget.limit, HistoricalLimit):
        essential = look_back(period, budget.limit.periods)[0].first_day
    unknown = [day for day, amount in days.items() if amount is None and day <= period.last_day]
    if any(day >= essential for day in unknown):
        return None
    first = max(unknown) + DAY if unknown else date.min
    return {day: amount for day, amount in days.items() if amount is not None and day >= first}


def crossings(evaluation: Evaluation) -> tuple[Crossing, ...]:
    """What an evaluation says of each notification that can be judged now: the lowest threshold first.

    A forecast cannot be judged without enough history. A day whose spend still grows is judged by `GREATER_THAN` alone, which
    more spend cannot undo; if AWS's rules are asked for, not before it is complete.
    """
    budget = evaluation.budget
    judged = [n for n in dict.fromkeys(budget.notifications) if _can_be_judged(n, evaluation)]
    return tuple(
        Crossing(evaluation, n, n.holds(_compared(n, evaluation), evaluation.limit))
        for n in sorted(judged, key=lambda n: (n.type, n.amount(evaluation.limit), n.comparison, n.threshold_type))
    )


def _can_be_judged(notification: Notification, evaluation: Evaluation) -> bool:
    if notification.type is NotificationType.FORECASTED:
        return isinstance(evaluation.forecast, Forecast)
    budget = evaluation.budget
    if budget.time_unit is not TimeUnit.DAILY:
        return True
    grows = not budget.aws_compatible and notification.comparison is Comparison.GREATER_THAN
    return grows or evaluation.days_over == evaluation.period.length_days


def _compared(notification: Notification, evaluation: Evaluation) -> Decimal:
    if notification.type is NotificationType.FORECASTED and isinstance(evaluation.forecast, Forecast):
        return evaluation.forecast.p50
    return evaluation.spend.actual


def driver_spans(period: BudgetPeriod, now: datetime) -> tuple[Sequence[date], Sequence[date]]:
    """The days whose largest names are told, and the equal span right before them that they are compared with."""
    last = min(period.last_day, max(period.first_day, now.astimezone(UTC).date()))
    length = min((last - period.first_day).days + 1, DRIVER_SPAN_DAYS)
    return (
        tuple(last - i * DAY for i in reversed(range(length))),
        tuple(last - (length + i) * DAY for i in reversed(range(length))),
    )


def top_drivers(
    amounts: Mapping[tuple[str, str], Decimal],
    before: Mapping[tuple[str, str], Decimal] | None,
    dimensions: Sequence[str],
    count: int = 3,
) -> tuple[Driver, ...]:
    """The names of each dimension that grew most against the span before, the largest growth first; dimensions in their order.

    Without a span before, they are the largest names. A dimension in which everything has one name explains nothing, and is
    left out.
    """
    found: list[Driver] = []
    earlier = before or {}
    for dimension in dimensions:
        names = sorted({name for tested, name in (*amounts, *earlier) if tested == dimension})
        if len(names) < 2:
            continue
        drivers = [
            Driver(
                dimension,
                name,
                amounts.get((dimension, name), ZERO),
                None if before is None else before.get((dimension, name), ZERO),
            )
            for name in names
        ]
        spending = [d for d in drivers if d.amount]
        found += sorted(spending, key=_by_growth)[:count]
    return tuple(found)


def _by_growth(driver: Driver) -> tuple[Decimal, Decimal, str]:
    grown = driver.amount if driver.change is None else driver.change
    return grown.copy_negate(), driver.amount.copy_negate(), driver.name


def ancestors(name: str, parents: Mapping[str, str]) -> tuple[str, ...]:
    """The budgets that a budget is a part of, the nearest first."""
    found: list[str] = []
    while (name := parents.get(name, "")) and name not in found:
        found.append(name)
    return tuple(found)
