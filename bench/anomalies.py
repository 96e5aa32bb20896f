"""Precision and recall of the anomaly detector on planted anomalies, in made-up organisations whose spend is uneven by itself.

An organisation has teams with principals that call models on weekdays and, less, at weekends; every day is uneven by a
heavy-tailed factor. Into some weeks one anomaly is planted. A detected anomaly is right if it is on a value that the plant
moved, within its days; else it is a false alarm. The same detector runs on the same organisations without plants, where
everything it finds is false.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from statistics import median
from time import process_time

from attribution.anomalies import Anomaly, Cause, KnownDays, Monitor, Series, Spent, detect, root_causes

FIRST = date(2026, 8, 3)
DAYS = 80
PLANTED_AT = range(56, 74)
ORGANISATIONS = 8
DIMENSIONS = ("team", "iam_principal", "model")
# Per million, as lists of such models have them: input, output, cache read.
PRICES: Mapping[str, Mapping[str, Decimal]] = {
    "small": {"input": Decimal(1), "output": Decimal(5), "cache_read": Decimal("0.1")},
    "middle": {"input": Decimal(3), "output": Decimal(15), "cache_read": Decimal("0.3")},
    "large": {"input": Decimal(15), "output": Decimal(75), "cache_read": Decimal("1.5")},
}
LEAKED = "BedrockAPIKey-unknown"
CACHE_READ = "cache_read"
KINDS = ("runaway loop", "leaked key", "model switch", "cache loss", "price change")

Day = dict[Cause, Spent]


@dataclass
class Organisation:
    """Daily spend by cause, the team of each principal, and what was planted."""

    days: dict[date, Day]
    team_of: dict[str, str]
    plant: Plant | None = None

    def value(self, cause: Cause, dimension: str) -> str:
        return self.team_of[cause.iam_principal] if dimension == "team" else str(getattr(cause, dimension))

    def series(self, dimension: str) -> Mapping[str, Mapping[date, Decimal]]:
        found: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for day, causes in self.days.items():
            for cause, spent in causes.items():
                found[self.value(cause, dimension)][day] += spent.cost
        return found


@dataclass
class Plant:
    kind: str
    first: date
    days: int
    principals: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)

    def explains(self, organisation: Organisation, anomaly: Anomaly) -> bool:
        last = self.first + timedelta(self.days - 1)
        moved = {
            "team": {organisation.team_of[p] for p in self.principals},
            "iam_principal": self.principals,
            "model": self.models,
        }
        return (
            anomaly.first_day <= last
            and anomaly.last_day >= self.first
            and anomaly.series.value in moved[anomaly.series.dimension]
        )


def usual(random: Random) -> Organisation:
    """An organisation in which nothing happens."""
    team_of = {f"{team}-{n}": team for team in ("search", "ads", "risk", "support", "data") for n in range(2)}
    profile = {
        principal: (
            random.choice(("small", "middle")),
            random.uniform(2, 60),
            random.uniform(0.05, 0.3),
            random.uniform(0.1, 1),
        )
        for principal in team_of
    }
    days: dict[date, Day] = {}
    for i in range(DAYS):
        day = FIRST + timedelta(i)
        days[day] = {}
        for principal, (model, millions, noise, weekend) in profile.items():
            busy = millions * random.lognormvariate(0, noise) * (weekend if day.weekday() >= 5 else 1)
            _use(days[day], principal, model, {"input": busy, "cache_read": busy * 3, "output": busy / 4})
    return Organisation(days, team_of)


def _use(day: Day, principal: str, model: str, millions: Mapping[str, float]) -> list[Cause]:
    causes = []
    for kind, amount in millions.items():
        units = Decimal(round(amount * 1_000_000))
        cause = Cause(principal, model, kind, "us-east-1")
        spent = Spent((units * PRICES[model][kind] / 1_000_000).quantize(Decimal("0.01")), units)
        day[cause] = day.get(cause, Spent()) + spent
        causes.append(cause)
    return causes


def plant(organisation: Organisation, kind: str, random: Random) -> Organisation:
    """The organisation with one anomaly of a kind; its size is what makes people ask, from some $100 a day."""
    days = {day: dict(causes) for day, causes in organisation.days.items()}
    team_of = dict(organisation.team_of) | {LEAKED: "unallocated"}
    first = FIRST + timedelta(random.choice(PLANTED_AT))
    planted = Plant(kind, first, {"runaway loop": 1, "leaked key": 3}.get(kind, 5))
    by_spend = sorted(organisation.team_of, key=lambda p: sum(s.cost for c, s in days[first].items() if c.iam_principal == p))
    principal = by_spend[random.randrange(len(by_spend) // 2, len(by_spend))]
    for i in range(planted.days):
        for cause in _moved(days[first + timedelta(i)], kind, principal, random):
            planted.principals.add(cause.iam_principal)
            planted.models.add(cause.model)
    return Organisation(days, team_of, planted)


def _moved(day: Day, kind: str, principal: str, random: Random) -> list[Cause]:
    """Plant one day; returns the causes that cost more by it."""
    if kind == "leaked key":
        return _use(day, LEAKED, "large", {"input": random.uniform(5, 20), "output": random.uniform(1, 3)})
    if kind == "price change":
        return _multiply(day, [c for c in day if c.model == "middle"], cost=2, units=1)
    own = [c for c in day if c.iam_principal == principal]
    if kind == "runaway loop":
        return _multiply(day, own, cost=6, units=6)
    moved = []
    for cause in own:
        millions = float(day[cause].units / 1_000_000)
        if kind == "model switch":
            del day[cause]
            moved += _use(day, principal, "large", {cause.token_kind: millions})
        elif cause.token_kind == CACHE_READ:
            del day[cause]
            moved += _use(day, principal, cause.model, {"input": millions})
    return moved


def _multiply(day: Day, causes: list[Cause], *, cost: int, units: int) -> list[Cause]:
    for cause in causes:
        day[cause] = Spent(day[cause].cost * cost, day[cause].units * units)
    return causes


def find(organisation: Organisation, until: date) -> list[Anomaly]:
    """What the detector says at the end of a day."""
    known = KnownDays({day for day in organisation.days if day <= until}, until + timedelta(1))
    monitors = [Monitor(dimension, dimension) for dimension in DIMENSIONS]
    return [
        anomaly
        for monitor in monitors
        for value, amounts in sorted(organisation.series(monitor.dimension).items())
        for anomaly in detect(
            monitor, Series(monitor.dimension, value), {d: a for d, a in amounts.items() if d <= until}, known
        )
    ]


def first_cause(organisation: Organisation, anomaly: Anomaly) -> Cause | None:
    """The cause that contributed most to an anomaly."""

    def spent(days: list[date]) -> dict[Cause, Spent]:
        sums: dict[Cause, Spent] = {}
        for day in days:
            for cause, amount in organisation.days[day].items():
                if organisation.value(cause, anomaly.series.dimension) == anomaly.series.value:
                    sums[cause] = sums.get(cause, Spent()) + amount
        return sums

    before = [anomaly.first_day - timedelta(i) for i in range(1, 29)]
    causes = root_causes(spent([d.day for d in anomaly.days]), spent(before), days=len(anomaly.days), days_before=28)
    return causes[0].cause if causes else None


@dataclass
class Score:
    planted: int = 0
    found: int = 0
    right: int = 0
    false: int = 0
    caused: int = 0
    delays: list[int] = field(default_factory=list)

    def row(self, name: str) -> str:
        precision = f"{100 * self.right / (self.right + self.false):.0f} %" if self.right + self.false else "-"
        recall = f"{self.found} of {self.planted}" if self.planted else "-"
        delay = f"{median(self.delays):.0f}" if self.delays else "-"
        cause = f"{100 * self.caused / self.right:.0f} %" if self.right else "-"
        return f"  {name:<14} {recall:>10} {delay:>12} {precision:>11} {self.false:>13} {cause:>17}"


def score(organisation: Organisation, of: Score) -> None:
    """Add what is found in an organisation with a plant."""
    planted = organisation.plant
    if planted is None:
        of.false += len(find(organisation, max(organisation.days)))
        return
    of.planted += 1
    for delay in range(planted.days):
        if any(planted.explains(organisation, a) for a in find(organisation, planted.first + timedelta(delay))):
            of.found += 1
            of.delays.append(delay)
            break
    for anomaly in find(organisation, max(organisation.days)):
        if not planted.explains(organisation, anomaly):
            of.false += 1
            continue
        of.right += 1
        cause = first_cause(organisation, anomaly)
        of.caused += int(cause is not None and (cause.iam_principal in planted.principals and cause.model in planted.models))


def main() -> None:
    started = process_time()
    scores = {kind: Score() for kind in KINDS}
    quiet = Score()
    for seed in range(ORGANISATIONS):
        organisation = usual(Random(seed))
        score(organisation, quiet)
        for kind in KINDS:
            score(plant(organisation, kind, Random(f"{seed} {kind}")), scores[kind])
    print(f"{ORGANISATIONS} organisations of 10 principals over {DAYS} days; {', '.join(DIMENSIONS)} are watched")
    print("  planted             found   days after   precision  false alarms  first cause right")
    for kind, of in scores.items():
        print(of.row(kind))
    print(quiet.row("nothing"))
    judged = ORGANISATIONS * 31 * 17
    print(f"  nothing planted: {quiet.false} false alarms in {judged} judged days; {process_time() - started:.1f} CPU s in all")


if __name__ == "__main__":
    main()
