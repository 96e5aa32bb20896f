"""Anomalies: days on which somebody spent far more than their own past lets expect, how much that is, and what it comes from.

The words and the arithmetic of impact are those of AWS Cost Anomaly Detection; it watches services, accounts and tags, this
watches every dimension of the ledger, each value alone. What is expected of a day is what the forecaster says the evening
before. A day is anomalous if it is above the upper bound of that, and an anomaly is told if its impact reaches the monitor's
minimum. Anomalous days are no part of the past that the next ones are held against, until they have lasted so long that they
are the new normal.

Nothing is kept between two looks: the same days give the same anomalies, and a bill that restates a day takes back what the
estimate said of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

from attribution.canonical import content_hash
from attribution.forecasts import LONGEST_HISTORY_DAYS, fit
from attribution.money import ZERO, add, multiply, subtract, total

# AWS's own detector asks for as many. A value that is new among days that are known is not without a past: it spent nothing.
HISTORY_DAYS = 10
WATCHED_DAYS = 31
"""Days that are judged. What lies further back is history alone."""
CLEAN_DAYS = 2
"""So many complete days in a row without more than expected end an anomaly."""
NEW_NORMAL_DAYS = 14
"""A level that holds for so long is how things are; the days from then on are held against it."""
# Spend has longer tails than the normal distribution: four times the usual surprise of a day was passed by chance three times
# as often as five times, and no planted anomaly was missed at five (`make backtest`).
_BOUND_SIGMAS = Decimal(5)
# A series that never moves would make a cent an anomaly; estimates and bills of the same day differ by more.
_LEAST_SIGMA = Decimal("0.05")
_ROUND = Context(prec=30, rounding=ROUND_HALF_EVEN)
_CENT = Decimal("0.01")
_PERCENT = Decimal("0.1")
# A name is a part of keys.
_LONGEST_VALUE = 250
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Monitor:
    """What is watched: every value of one dimension or cost category (of `values` alone, if any), each by itself.

    An anomaly's total impact has to reach both minimums, an amount in the currency of the spend and a percentage of what was
    expected (AWS's own default is 40 %); where nothing was expected, the amount alone.
    """

    name: str
    dimension: str
    values: tuple[str, ...] = ()
    minimum_impact: Decimal = Decimal(50)
    minimum_percent: Decimal = Decimal(40)
    route: str = ""

    def watches(self, value: str) -> bool:
        return not self.values or value in self.values


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """What is held against its own past: the daily spend of one value of a dimension in one currency."""

    dimension: str
    value: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class AnomalousDay:
    """A day above what could be expected of it: more than `upper` where `expected` was likely. Amounts are told to the cent."""

    day: date
    actual: Decimal
    expected: Decimal
    upper: Decimal

    @property
    def impact(self) -> Decimal:
        return subtract(self.actual, self.expected)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Anomalous days of one value, with no more than a clean day between them.

    `is_open`: it may go on. `is_new_normal`: it lasted so long that later days are held against it.
    """

    monitor: str
    series: Series
    days: tuple[AnomalousDay, ...]
    is_open: bool
    is_new_normal: bool = False

    @property
    def first_day(self) -> date:
        return self.days[0].day

    @property
    def last_day(self) -> date:
        return self.days[-1].day

    @property
    def total_actual(self) -> Decimal:
        return total(d.actual for d in self.days)

    @property
    def total_expected(self) -> Decimal:
        return total(d.expected for d in self.days)

    @property
    def total_upper(self) -> Decimal:
        """Up to what the spend of its days would have been expected."""
        return total(d.upper for d in self.days)

    @property
    def total_impact(self) -> Decimal:
        """Actual less expected spend of all its days (AWS: `TotalImpact`)."""
        return subtract(self.total_actual, self.total_expected)

    @property
    def max_impact(self) -> Decimal:
        """The impact of its worst day."""
        return max(d.impact for d in self.days)

    @property
    def impact_percent(self) -> Decimal | None:
        """The impact as a percentage of what was expected; None where nothing was (AWS leaves it out, too)."""
        if not self.total_expected:
            return None
        share = _ROUND.divide(multiply(self.total_impact, Decimal(100)), self.total_expected)
        return _ROUND.quantize(share, _PERCENT)

    def reaches(self, minimum_impact: Decimal, minimum_percent: Decimal) -> bool:
        """Whether the impact is at least both minimums. AWS: "greater than or equal"."""
        percent = self.impact_percent
        return self.total_impact >= minimum_impact and (percent is None or percent >= minimum_percent)


@dataclass(frozen=True, slots=True)
class KnownDays:
    """The days of the ledger: those before `first_open` are complete. A day that is missing says nothing, not zero."""

    days: Collection[date]
    first_open: date


@dataclass(frozen=True, slots=True)
class JudgedDays:
    """Days that people have judged; none of them is anomalous.

    What is `planned` is an exception, and no part of the past that later days are held against; what is `usual` is.
    """

    planned: Collection[date] = ()
    usual: Collection[date] = ()


NOT_JUDGED = JudgedDays()


def detect(
    monitor: Monitor, series: Series, amounts: Mapping[date, Decimal], known: KnownDays, judged: JudgedDays = NOT_JUDGED
) -> list[Anomaly]:
    """The anomalies of one value, oldest first; none before `HISTORY_DAYS` days are known.

    `amounts` are what it spent by day; a known day that is not among them is one of nothing.
    """
    days = sorted(known.days)
    if not days:
        return []
    watch = _Watch(monitor, series, first_weekday=days[0].weekday())
    watched_from = first_watched(days[-1])
    day = days[0]
    while day <= days[-1]:
        if day in known.days:
            is_planned = day in judged.planned
            watch.see(
                day,
                amounts.get(day, ZERO),
                is_watched=day >= watched_from and not is_planned and day not in judged.usual,
                is_complete=day < known.first_open,
                is_planned=is_planned,
            )
        else:
            watch.miss()
        day += _DAY
    return watch.anomalies()


def first_watched(last: date) -> date:
    """The first day that is judged where `last` is the last day that is known."""
    return last - (WATCHED_DAYS - 1) * _DAY


class _Watch:
    """One value, day after day: its past as it is expected to go on, and the anomalies so far."""

    def __init__(self, monitor: Monitor, series: Series, first_weekday: int) -> None:
        self._monitor = monitor
        self._series = series
        self._first_weekday = first_weekday
        self._past: list[Decimal] = []
        self._known = 0
        self._running: list[AnomalousDay] = []
        self._clean = 0
        self._found: list[Anomaly] = []

    def miss(self) -> None:
        """A day that nothing is known of goes on as the past does."""
        self._past.append(self._expected()[0])

    def see(self, day: date, amount: Decimal, *, is_watched: bool, is_complete: bool, is_planned: bool) -> None:
        """A day that is known, complete or not."""
        if is_planned:
            self._past.append(min(amount, self._expected()[0]))
            return
        if is_watched and self._known >= HISTORY_DAYS and self._is_anomalous(day, amount):
            self._clean = 0
            if len(self._running) >= NEW_NORMAL_DAYS:
                self._adapt()
            return
        if not is_complete:
            # More may come: it is neither clean nor a part of the past.
            return
        self._past.append(amount)
        self._known += 1
        if self._running:
            self._clean += 1
            if self._clean >= CLEAN_DAYS:
                self._close(is_open=False)

    def anomalies(self) -> list[Anomaly]:
        """What was found, once every day has been seen."""
        self._close(is_open=True)
        return self._found

    def _is_anomalous(self, day: date, amount: Decimal) -> bool:
        # Less than the minimum cannot be an anomaly by itself, and most values of an organisation never spend as much.
        if amount < self._monitor.minimum_impact and not self._running:
            return False
        expected, upper = self._expected()
        if amount <= upper:
            return False
        self._running.append(AnomalousDay(day, amount, expected, upper))
        self._past.append(expected)
        return True

    def _expected(self) -> tuple[Decimal, Decimal]:
        """What the next day is expected to amount to, and above what it is no chance."""
        recent = self._past[-LONGEST_HISTORY_DAYS:]
        if not any(recent):
            return ZERO, ZERO
        model = fit(recent, (self._first_weekday + len(self._past) - len(recent)) % 7)
        expected = model.point(1)
        sigma = max(model.deviation((1,)), _ROUND.multiply(expected, _LEAST_SIGMA))
        upper = _ROUND.add(expected, _ROUND.multiply(_BOUND_SIGMAS, sigma))
        return _ROUND.quantize(expected, _CENT), _ROUND.quantize(upper, _CENT)

    def _adapt(self) -> None:
        """What has lasted is the past from now on, as it really was."""
        for back, day in enumerate(reversed(self._running), start=1):
            self._past[-back] = day.actual
        self._close(is_open=False, is_new_normal=True)

    def _close(self, *, is_open: bool, is_new_normal: bool = False) -> None:
        if not self._running:
            return
        monitor = self._monitor
        anomaly = Anomaly(monitor.name, self._series, tuple(self._running), is_open, is_new_normal)
        if anomaly.reaches(monitor.minimum_impact, monitor.minimum_percent):
            self._found.append(anomaly)
        self._running, self._clean = [], 0


# What it comes from


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """A part of the spend that can have changed by itself: who called which model for what, where."""

    iam_principal: str
    model: str
    token_kind: str
    region: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Cost and units of a cause, over some days or per day."""

    cost: Decimal = ZERO
    units: Decimal = ZERO

    def __add__(self, other: Spent) -> Spent:
        return Spent(add(self.cost, other.cost), add(self.units, other.units))


@dataclass(frozen=True, slots=True)
class RootCause:
    """One cause's part of the impact, in AWS's word its contribution; and how much of that is another price per unit.

    The price effect is what the units of the anomalous days cost more than they would have at the usual price; the rest is
    volume.
    """

    cause: Cause
    contribution: Decimal
    price_effect: Decimal
    is_new: bool

    @property
    def is_price(self) -> bool:
        """Whether the price explains most of it."""
        return multiply(self.price_effect, Decimal(2)) > self.contribution


def root_causes(
    during: Mapping[Cause, Spent], before: Mapping[Cause, Spent], *, days: int, days_before: int, most: int = 5
) -> tuple[RootCause, ...]:
    """What contributed most to an anomaly of so many days, largest first; `before` is what so many days before it spent."""
    found = []
    for cause in {*during, *before}:
        now, usual = during.get(cause, Spent()), before.get(cause, Spent())
        expected = _scaled(usual.cost, days, days_before)
        contribution = subtract(now.cost, expected)
        if contribution > 0:
            found.append(RootCause(cause, contribution, _price_effect(now, usual), not usual.cost))
    return tuple(sorted(found, key=lambda r: (r.contribution.copy_negate(), r.cause))[:most])


def _scaled(amount: Decimal, days: int, days_before: int) -> Decimal:
    if not days_before:
        return ZERO
    return _ROUND.quantize(_ROUND.divide(multiply(amount, Decimal(days)), Decimal(days_before)), _CENT)


def _price_effect(now: Spent, usual: Spent) -> Decimal:
    if now.units <= 0 or usual.units <= 0:
        return ZERO
    at_usual_price = _ROUND.divide(_ROUND.multiply(now.units, usual.cost), usual.units)
    return _ROUND.quantize(_ROUND.subtract(now.cost, at_usual_price), _CENT)


def name_of(anomaly: Anomaly) -> str:
    """A stable name: the same as long as the anomaly begins on the same day."""
    series, value = anomaly.series, anomaly.series.value
    if len(value) > _LONGEST_VALUE:
        value = f"{value[:_LONGEST_VALUE]}~{content_hash(value)[:12]}"
    currency = "" if series.currency == "USD" else f" {series.currency}"
    return f"{series.dimension}={value}{currency}#{anomaly.first_day.isoformat()}"
