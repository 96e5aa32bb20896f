"""What a period is going to cost: its total at P10, P50 and P90, how probably it passes a limit, and on which day.

A pure function of the daily amounts so far. It brings out the weekday pattern, follows the level with five simple models (the
means of 4 and of 12 weeks, exponential smoothing, smoothing with half the trend, the mean of these), and takes the one that
would have been nearest over past spans as long as the one to come. The width of the interval is that of the sum which is told,
not of its days, and is calibrated on the same past weeks. `make backtest` holds it against other methods; docs/budgets.md has
the figures.

The numbers are forecasts, not amounts of the ledger: they are computed to 20 digits and told to the cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import lru_cache
from itertools import accumulate

ZERO, ONE = Decimal(0), Decimal(1)
WEEK = 7
WINDOW_DAYS = 28
"""Means, trends and calibration look at four weeks: one month's habits."""
LONGEST_HISTORY_DAYS = 84
_DAY = timedelta(days=1)
_CONTEXT = Context(prec=20, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_CENT = Decimal("0.01")
_SMOOTHING = tuple(Decimal(a) for a in ("0.1", "0.2", "0.35", "0.6"))
_DAMPING = Decimal("0.95")
# Of the standard normal distribution.
_Z90, _Z95 = Decimal("1.2815515655446"), Decimal("1.6448536269515")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The total of a period as far as the days so far tell: in one of ten cases it is below `p10`, in one of ten above `p90`.

    `probability_percent`: how probably it is above the limit. `breach_on`: the day on which the median passes the limit; None
    where it does not within the period. `method` names the model that was nearest in the last weeks.
    """

    p10: Decimal
    p50: Decimal
    p90: Decimal
    probability_percent: int
    breach_on: date | None
    history_days: int
    method: str


@dataclass(frozen=True, slots=True)
class NoForecast:
    """Why there is no forecast, in words for people."""

    reason: str
    history_days: int = 0


def forecast_total(
    history: Sequence[tuple[date, Decimal]],
    *,
    spent: Mapping[date, Decimal],
    first_open: date,
    last_day: date,
    limit: Decimal,
    history_days: int,
) -> Forecast | NoForecast:
    """The total of a period that ends with `last_day`.

    `history` are complete days, oldest first and without gaps. `spent` is what was spent on days of the period; those from
    `first_open` on may still grow. Fewer than `history_days` days of history are not enough.
    """
    if len(history) < history_days:
        reason = f"{len(history)} days of spend so far; a forecast needs {history_days}"
        return NoForecast(reason, len(history))
    with localcontext(_CONTEXT):
        recent = history[-LONGEST_HISTORY_DAYS:]
        last_known = recent[-1][0]
        horizon = max(1, (last_day - last_known).days)
        model = fit([amount for _, amount in recent], recent[0][0].weekday(), horizon)
        closed = {day: amount for day, amount in spent.items() if day < first_open}
        open_days = [first_open + i * _DAY for i in range((last_day - first_open).days + 1)]
        expected = {day: max(model.point((day - last_known).days), spent.get(day, ZERO)) for day in open_days}
        p50 = sum(closed.values(), ZERO) + sum(expected.values(), ZERO)
        deviation = model.deviation([(day - last_known).days for day in open_days])
        floor = sum(closed.values(), ZERO) + sum((spent.get(day, ZERO) for day in open_days), ZERO)
        return Forecast(
            p10=max(p50 - _Z90 * deviation, min(floor, p50)).quantize(_CENT),
            p50=p50.quantize(_CENT),
            p90=(p50 + _Z90 * deviation).quantize(_CENT),
            probability_percent=_percent_above(limit, p50, deviation),
            breach_on=_first_above(limit, {**closed, **expected}),
            history_days=len(history),
            method=model.method,
        )


def _first_above(limit: Decimal, amounts: Mapping[date, Decimal]) -> date | None:
    so_far = ZERO
    for day in sorted(amounts):
        so_far += amounts[day]
        if so_far > limit:
            return day
    return None


def _percent_above(limit: Decimal, middle: Decimal, deviation: Decimal) -> int:
    if not deviation:
        return 100 if middle > limit else 0
    return int((100 * (ONE - normal_cumulative((limit - middle) / deviation))).to_integral_value(ROUND_HALF_EVEN))


def normal_cumulative(z: Decimal) -> Decimal:
    """The standard normal distribution function, to seven places (Abramowitz and Stegun, 26.2.17)."""
    with localcontext(_CONTEXT):
        size = abs(z)
        if size > 8:
            return ONE if z > 0 else ZERO
        t = ONE / (ONE + Decimal("0.2316419") * size)
        polynomial = ZERO
        for coefficient in ("1.330274429", "-1.821255978", "1.781477937", "-0.356563782", "0.319381530"):
            polynomial = (polynomial + Decimal(coefficient)) * t
        tail = polynomial * (-size * size / 2).exp() * Decimal("0.3989422804014327")
        return ONE - tail if z > 0 else tail


@lru_cache(maxsize=1000)
def damped(steps: int) -> Decimal:
    """How far a movement of one a day has gone after so many days: damped, because few trends last."""
    with localcontext(_CONTEXT):
        return _DAMPING * (ONE - _DAMPING**steps) / (ONE - _DAMPING)


@dataclass(frozen=True, slots=True)
class _State:
    """What a model knew at the end of a day: the level of a day without weekday, and how it moves per day."""

    level: Decimal
    slope: Decimal = ZERO

    def point(self, steps: int) -> Decimal:
        """The level so many days later."""
        return self.level + self.slope * damped(steps) if self.slope else self.level


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model. `weights` is how much of a day's surprise stays in the level; `sigma` the usual surprise of a day."""

    method: str
    profile: tuple[Decimal, ...]
    next_weekday: int
    state: _State
    weight: Decimal
    sigma: Decimal

    def point(self, steps: int) -> Decimal:
        """The expected amount so many days after the last known one; never negative."""
        return max(ZERO, self.state.point(steps) * self.profile[(self.next_weekday + steps - 1) % WEEK])

    def deviation(self, steps: Sequence[int]) -> Decimal:
        """The standard deviation of the sum of some of the days to come."""
        return self.sigma * spread(self.weight, steps)


def spread(weight: Decimal, steps: Sequence[int]) -> Decimal:
    """By how many days' surprises a sum over future days deviates.

    A surprise on one day moves that day, and by `weight` the level of every later one (the cumulative variance of exponential
    smoothing): sums over long spans are less certain than independent days would be, by as much as the level wanders.
    """
    if not steps:
        return ZERO
    chosen = set(steps)
    variance, later = ZERO, 0
    for step in range(max(steps), 0, -1):
        own = 1 if step in chosen else 0
        variance += (own + weight * later) ** 2
        later += own
    return variance.sqrt()


def fit(amounts: Sequence[Decimal], first_weekday: int, horizon: int = WEEK) -> Model:
    """The model that would have been nearest to sums over so many days, or as many as the history can tell of.

    It is the mean of all models unless another one is clearly nearer.
    """
    with localcontext(_CONTEXT):
        profile = weekday_profile(amounts, first_weekday)
        weekdays = [(first_weekday + i) % WEEK for i in range(len(amounts))]
        candidates = _candidates(amounts, [profile[weekday] for weekday in weekdays])
        past = [_Past(amounts, weekdays, profile, states, weight) for states, weight in candidates.values()]
        judged = max(1, min(horizon, len(amounts) // 3))
        scores = dict(zip(candidates, (p.error(judged) for p in past), strict=True))
        usual = scores["combined"]
        method = min(scores, key=lambda name: (scores[name] * (1 if name == "combined" else _MARGIN), name))
        if not usual:
            method = "combined"
        states, weight = candidates[method]
        sigma = past[list(candidates).index(method)].sigma(judged)
        return Model(method, profile, (weekdays[-1] + 1) % WEEK, states[-1], weight, sigma)


# A weekday on which hardly anything is spent says nothing about the level of the others.
_TELLING = Decimal("0.2")
# A single model has to be nearer than all of them together by this much: what won by less won by chance.
_MARGIN = Decimal("1.1")


def weekday_profile(amounts: Sequence[Decimal], first_weekday: int) -> tuple[Decimal, ...]:
    """What each weekday is of an average day, Monday first; 1 for each where there is no pattern to see.

    Shares are taken within whole weeks, so that a level that moves between weeks is no pattern. They are drawn towards 1 by as
    much as chance alone would spread the means of weekdays (an empirical Bayes estimate): a pattern in noise is not believed.
    """
    shares: list[list[Decimal]] = [[] for _ in range(WEEK)]
    for end in range(len(amounts), WEEK - 1, -WEEK):
        week = amounts[end - WEEK : end]
        mean = sum(week, ZERO) / WEEK
        if mean <= 0 or min(week) < 0:
            continue
        for i, amount in enumerate(week):
            shares[(first_weekday + end - WEEK + i) % WEEK].append(amount / mean)
    weeks = len(shares[0])
    if weeks < 2:
        return (ONE,) * WEEK
    means = [sum(parts, ZERO) / weeks for parts in shares]
    between = sum(((m - ONE) ** 2 for m in means), ZERO) / (WEEK - 1)
    within = sum((_squares(parts, m) for parts, m in zip(shares, means, strict=True)), ZERO) / (WEEK * (weeks - 1)) / weeks
    belief = max(ZERO, ONE - within / between) if between else ZERO
    return tuple(ONE + belief * (m - ONE) for m in means)


def _squares(values: Sequence[Decimal], mean: Decimal) -> Decimal:
    return sum(((v - mean) ** 2 for v in values), ZERO)


_States = list[_State]


def _candidates(amounts: Sequence[Decimal], shares: Sequence[Decimal]) -> dict[str, tuple[_States, Decimal]]:
    """Each model's state at the end of every day, and the weight with which a surprise stays in its level."""
    windows = _Windows(amounts, shares)
    level = [a / share if share >= _TELLING else None for a, share in zip(amounts, shares, strict=True)]
    mean = _running_mean(windows, len(amounts), WINDOW_DAYS)
    long = _running_mean(windows, len(amounts), LONGEST_HISTORY_DAYS)
    smoothed, alpha = min((_smooth(level, a) for a in _SMOOTHING), key=lambda s: s[2])[:2]
    slopes = _slopes(windows, len(amounts))
    trended = [_State(s.level, b) for s, b in zip(smoothed, slopes, strict=True)]
    combined = [
        _State((g.level + m.level + 2 * s.level) / 4, b / 4) for g, m, s, b in zip(long, mean, smoothed, slopes, strict=True)
    ]
    window, long_window = ONE / WINDOW_DAYS, ONE / LONGEST_HISTORY_DAYS
    return {
        "combined": (combined, (window + long_window + 2 * alpha) / 4),
        "mean": (mean, window),
        "long mean": (long, long_window),
        "smoothing": (smoothed, alpha),
        "trend": (trended, alpha),
    }


class _Windows:
    """Levels over spans of days: what was spent by what an average day of these weekdays is of a day."""

    def __init__(self, amounts: Sequence[Decimal], shares: Sequence[Decimal]) -> None:
        self._amounts = [ZERO, *accumulate(amounts)]
        self._shares = [ZERO, *accumulate(shares)]

    def level(self, first: int, last: int) -> tuple[Decimal, int]:
        """The level of the days from `first` to before `last`, and how many they are."""
        first = max(0, first)
        share = self._shares[last] - self._shares[first]
        return ((self._amounts[last] - self._amounts[first]) / share if share else ZERO), last - first


def _running_mean(windows: _Windows, days: int, length: int) -> _States:
    return [_State(windows.level(end - length, end)[0]) for end in range(1, days + 1)]


def _smooth(level: Sequence[Decimal | None], alpha: Decimal) -> tuple[_States, Decimal, Decimal]:
    """Exponential smoothing, its alpha, and the squared errors of the last weeks."""
    first_week = [x for x in level[:WEEK] if x is not None]
    now = sum(first_week, ZERO) / len(first_week) if first_week else ZERO
    states, errors = [], []
    for x in level:
        if x is not None:
            errors.append((x - now) ** 2)
            now += alpha * (x - now)
        states.append(_State(now))
    return states, alpha, sum(errors[-WINDOW_DAYS:], ZERO)


def _slopes(windows: _Windows, days: int) -> list[Decimal]:
    """Half of what the mean of two weeks moved against the two before, per day: half, as the Theta method takes it."""
    half = WINDOW_DAYS // 2
    slopes = []
    for end in range(1, days + 1):
        new, of_new = windows.level(end - half, end)
        old, of_old = windows.level(end - WINDOW_DAYS, max(0, end - half))
        slopes.append((new - old) / half / 2 if min(of_new, of_old) >= WEEK else ZERO)
    return slopes


@dataclass(frozen=True, slots=True)
class _Past:
    """How a model did on days that are known by now: forecasts from the end of each day of the last weeks."""

    amounts: Sequence[Decimal]
    weekdays: Sequence[int]
    profile: Sequence[Decimal]
    states: _States
    weight: Decimal

    def _origins(self, horizon: int) -> range:
        last = len(self.amounts) - 1 - horizon
        return range(max(2 * WEEK - 1, last - 2 * WINDOW_DAYS + 1), last + 1)

    def _misses(self, horizon: int) -> list[Decimal]:
        """Actual minus forecast, of the sum over the days that followed each origin."""
        known = [ZERO, *accumulate(self.amounts)]
        # By the weekday of the origin: what a level of one, and a movement of one a day, come to over the days that follow.
        shares = [[self.profile[(weekday + k) % WEEK] for k in range(1, horizon + 1)] for weekday in range(WEEK)]
        level = [sum(parts, ZERO) for parts in shares]
        slope = [sum((damped(k) * part for k, part in enumerate(parts, 1)), ZERO) for parts in shares]
        misses = []
        for t in self._origins(horizon):
            state, weekday = self.states[t], self.weekdays[t]
            expected = max(ZERO, state.level * level[weekday] + state.slope * slope[weekday])
            misses.append(known[t + 1 + horizon] - known[t + 1] - expected)
        return misses

    def error(self, horizon: int) -> Decimal:
        """The mean size of the misses; zero where nothing can be judged yet."""
        misses = self._misses(horizon)
        return sum(map(abs, misses), ZERO) / len(misses) if misses else ZERO

    def sigma(self, horizon: int) -> Decimal:
        """The usual surprise of a day, such that intervals of 80 and 90 % would have held as many of the sums over past spans.

        With too few spans to see that, it is the root mean square of the daily surprises.
        """
        daily = self._misses(1)
        if not daily:
            return ZERO
        plain = (sum((m * m for m in daily), ZERO) / len(daily)).sqrt()
        wide = spread(self.weight, range(1, horizon + 1))
        sizes = sorted(abs(m) / wide for m in self._misses(horizon))
        if len(sizes) < WEEK:
            return plain
        calibrated = max(_ranked(sizes, 8) / _Z90, _ranked(sizes, 9) / _Z95)
        return max(plain / 2, min(calibrated, plain * 3))


def _ranked(sizes: Sequence[Decimal], tenths: int) -> Decimal:
    """The k-th smallest of n, k = ceil((n + 1) * level): split conformal prediction."""
    return sizes[min(-(-(len(sizes) + 1) * tenths // 10), len(sizes)) - 1]
