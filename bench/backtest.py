"""`make backtest`: the forecast of budgets beside simple methods, on the synthetic company and on public daily series; and
the anomaly detector on planted anomalies.

For every month of every series, the month's total is forecast at the end of its 7th, 14th and 21st day, from what was known
then and no later. MAPE is the mean error of that total in percent; MASE the mean error of the days to come, in units of the
error that last week's same weekday made in the history; coverage how often the total lay between P10 and P90, which is meant
to be 80 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from attribution.budget_periods import TimeUnit, calendar_period
from attribution.forecasts import LONGEST_HISTORY_DAYS, Forecast, fit, forecast_total
from bench import anomalies
from truth import company

ROOT = Path(__file__).parents[1]
DATAFRAMES = ROOT / ".venv" / "bench" / "bin" / "python"
ORIGIN_DAYS = (7, 14, 21)
WEEK = 7
# Of a series that costs less than this a month, percentages say nothing.
_LEAST_TOTAL = 1

Days = Mapping[date, float]


@dataclass(frozen=True, slots=True)
class Origin:
    """A moment of a month: what was known then, and what came."""

    history: list[float]
    first_day: date
    month_so_far: float
    to_come: list[float]


Method = Callable[[Origin], list[float]]


def ours(origin: Origin) -> list[float]:
    """The median of each day, as budgets have it."""
    history = [Decimal(str(round(v, 6))) for v in origin.history[-LONGEST_HISTORY_DAYS:]]
    first = origin.first_day + timedelta(days=len(origin.history) - len(history))
    model = fit(history, first.weekday(), len(origin.to_come))
    return [float(model.point(step)) for step in range(1, len(origin.to_come) + 1)]


def seasonal_naive(origin: Origin) -> list[float]:
    """The same weekday of the last week."""
    return [origin.history[-WEEK + i % WEEK] for i in range(len(origin.to_come))]


def drift(origin: Origin) -> list[float]:
    """The last day, moved on as the history moved from its first to its last."""
    slope = (origin.history[-1] - origin.history[0]) / (len(origin.history) - 1)
    return [origin.history[-1] + slope * (i + 1) for i in range(len(origin.to_come))]


def linear(origin: Origin) -> list[float]:
    """A straight line through the history, by least squares: what a linear trend in the manner of AWS would say."""
    n = len(origin.history)
    middle, mean = (n - 1) / 2, sum(origin.history) / n
    slope = sum((i - middle) * (v - mean) for i, v in enumerate(origin.history)) / sum((i - middle) ** 2 for i in range(n))
    return [mean + slope * (n + i - middle) for i in range(len(origin.to_come))]


def run_rate(origin: Origin) -> list[float]:
    """The month so far, day by day."""
    days = (origin.first_day + timedelta(days=len(origin.history))).day - 1
    return [origin.month_so_far / days] * len(origin.to_come)


METHODS: Mapping[str, Method] = {
    "ours": ours,
    "seasonal naive": seasonal_naive,
    "drift": drift,
    "linear trend": linear,
    "run rate": run_rate,
}


def company_series(months: int, requests: int) -> Iterator[tuple[str, Days]]:
    """What the synthetic company's teams cost by day: months with seeds of their own, so that levels move between them."""
    daily: dict[str, dict[date, float]] = defaultdict(dict)
    for i in range(months):
        year, month = 2025 + (i // 12), i % 12 + 1
        for request in company.build(f"{year}-{month:02}", 7 + i, requests).requests:
            for name in ("whole company", f"team {request.team}"):
                day = request.time.date()
                daily[name][day] = daily[name].get(day, 0.0) + float(request.billed_cost)
    for name, values in sorted(daily.items()):
        first, last = min(values), max(values)
        yield name, {day: values.get(day, 0.0) for i in range((last - first).days + 1) if (day := first + timedelta(days=i))}


def public_series() -> Iterator[tuple[str, Days]]:
    """The series of `bench/public_series.py`, which runs in an environment of its own."""
    told = subprocess.run([str(DATAFRAMES), "-m", "bench.public_series"], cwd=ROOT, check=True, capture_output=True, text=True)
    for line in told.stdout.splitlines():
        name, first, values = json.loads(line)
        yield name, {date.fromisoformat(first) + timedelta(days=i): value for i, value in enumerate(values)}


def origins(days: Days, origin_day: int, least_history: int) -> Iterator[Origin]:
    """The end of a month's n-th day, of every month that is whole and has enough history before it."""
    first = min(days)
    month = calendar_period(TimeUnit.MONTHLY, first)
    while (month := calendar_period(TimeUnit.MONTHLY, month.last_day + timedelta(days=1))).last_day in days:
        known_to = month.first_day + timedelta(days=origin_day - 1)
        history = [days[day] for day in sorted(days) if day <= known_to][-365:]
        if len(history) < least_history:
            continue
        to_come = [days[day] for day in sorted(days) if known_to < day <= month.last_day]
        so_far = sum(days[day] for day in days if month.first_day <= day <= known_to)
        yield Origin(history, known_to - timedelta(days=len(history) - 1), so_far, to_come)


@dataclass(slots=True)
class Score:
    """The errors of one method."""

    percents: list[float]
    scaled: list[float]


def score(
    series: Sequence[tuple[str, Days]], origin_day: int, least_history: int
) -> tuple[dict[str, Score], float, float, int]:
    """The errors by method, and the interval's coverage and mean width in percent of the total."""
    scores = {name: Score([], []) for name in METHODS}
    covered, widths = [], []
    for _, days in series:
        for origin in origins(days, origin_day, least_history):
            total = origin.month_so_far + sum(origin.to_come)
            scale = naive_error(origin.history)
            if total < _LEAST_TOTAL or not scale:
                continue
            for name, method in METHODS.items():
                forecast = [max(0.0, v) for v in method(origin)]
                scores[name].percents.append(abs(sum(forecast) - sum(origin.to_come)) / total * 100)
                errors = [abs(f - a) for f, a in zip(forecast, origin.to_come, strict=True)]
                scores[name].scaled.append(sum(errors) / len(errors) / scale)
            interval = interval_of(origin)
            covered.append(interval.p10 <= Decimal(str(total)) <= interval.p90)
            widths.append(float(interval.p90 - interval.p10) / total * 100)
    return scores, mean([100.0 * c for c in covered]), mean(widths), len(covered)


def naive_error(history: Sequence[float]) -> float:
    """The mean error that last week's same weekday made within a history."""
    errors = [abs(history[i] - history[i - WEEK]) for i in range(WEEK, len(history))]
    return sum(errors) / len(errors)


def interval_of(origin: Origin) -> Forecast:
    """The forecast of the month's total as a budget has it."""
    history = [(origin.first_day + timedelta(days=i), Decimal(str(round(value, 6)))) for i, value in enumerate(origin.history)]
    today = history[-1][0] + timedelta(days=1)
    found = forecast_total(
        history,
        spent={day: amount for day, amount in history if (day.year, day.month) == (history[-1][0].year, history[-1][0].month)},
        first_open=today,
        last_day=history[-1][0] + timedelta(days=len(origin.to_come)),
        limit=Decimal(0),
        history_days=WEEK * 2,
    )
    assert isinstance(found, Forecast)
    return found


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def table(title: str, series: Sequence[tuple[str, Days]], least_history: int) -> None:
    """Print the scores on some series."""
    print(f"\n{title}: {len(series)} series, at least {least_history} days of history")
    print(f"{'':16}" + "".join(f"   day {d:>2}: MAPE  MASE" for d in ORIGIN_DAYS))
    results = [score(series, day, least_history) for day in ORIGIN_DAYS]
    for name in METHODS:
        cells = "".join(f"      {mean(r[0][name].percents):9.2f} {mean(r[0][name].scaled):5.2f}" for r in results)
        print(f"{name:16}{cells}")
    for label, position in (("P10-P90 holds %", 1), ("its width %", 2)):
        print(f"{label:16}" + "".join(f"      {r[position]:9.1f}      " for r in results))
    print(f"{'forecasts':16}" + "".join(f"      {r[3]:9}      " for r in results))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make backtest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--months", type=int, default=12, help="months of the synthetic company (default %(default)s)")
    parser.add_argument("--requests", type=int, default=3000, help="its requests a month (default %(default)s)")
    parser.add_argument("--history", type=int, default=35, help="the least days of history (default %(default)s)")
    parser.add_argument("--no-public", action="store_true", help="leave the public series out; .venv/bench is not needed then")
    options = parser.parse_args()
    table("Synthetic company", list(company_series(options.months, options.requests)), options.history)
    if not options.no_public:
        found = list(public_series())
        for group in ("rides", "flights", ""):
            part = [s for s in found if (s[0].startswith(group) if group else not s[0].startswith(("rides", "flights")))]
            table(f"Public, {group or 'blog, electricity, bank'}", part, options.history)
    anomalies.main()


if __name__ == "__main__":
    main()
