"""What a policy document would change before it is in force: owners of cost in open months or one month, and its own parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attribution.adjustments import is_closed_at, is_frozen
from attribution.charges import Basis
from attribution.flows.allocate_charges import preview
from attribution.money import ZERO, add
from attribution.periods import BillingPeriod
from attribution.policy_plans import Move, moves
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from adapters.policy import PolicyDocument
    from attribution.days import DayPointer, DayVersion
    from attribution.rules import Rules

# AWS closes a month two weeks after its end: of earlier months than the last, none is open.
_MONTHS_LOOKED_AT = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of one part of the document, by name, in the order of the documents.

    `reordered` are those that stay, in their new order, where it is another one: of routes, the first that matches counts.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.changed, self.removed, self.reordered))


@dataclass(slots=True)
class PlannedMove:
    """What moves over all planned days, billed and estimated apart; `charges` counts those of each day."""

    billed: Decimal = ZERO
    estimated: Decimal = ZERO
    charges: int = 0
    days: int = 0


@dataclass(frozen=True, slots=True)
class OpenDays:
    """The days that are looked at: those of open months, those that are closed with what readers see of them, and the months
    of which no day is open, newest last.
    """

    days: tuple[date, ...]
    closed: tuple[BillingPeriod, ...]
    closed_days: Mapping[date, DayPointer] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """What another document would change. `against` is the version that it was compared with."""

    against: str
    version: str
    open_days: OpenDays
    moves: dict[Move, PlannedMove] = field(default_factory=dict)
    affected: set[date] = field(default_factory=set)
    changes: Mapping[str, Changes] = field(default_factory=dict)


def open_days(stack: Stack) -> OpenDays:
    """The days that a change of policy may move cost of. A day with its invoice is closed, even in a month that is open."""
    period = BillingPeriod.of(now().date())
    looked_at = []
    for _ in range(_MONTHS_LOOKED_AT):
        looked_at.append(period)
        period = BillingPeriod.of(period.first_day - timedelta(days=1))
    return days_of(stack, looked_at[::-1])


def days_of(stack: Stack, periods: Iterable[BillingPeriod]) -> OpenDays:
    """The days of months, open and closed apart. A day that no delivery bills yet is allocated by the policy in force."""
    at = now()
    days: list[date] = []
    closed: list[BillingPeriod] = []
    closed_days: dict[date, DayPointer] = {}
    for period in periods:
        known = stack.deliveries().of_period(period)
        found = stack.days().pointers(period)
        still_open = [day for day in sorted(found) if not is_closed_at(day, at, known)]
        days += still_open
        closed_days |= {day: pointer for day, pointer in sorted(found.items()) if is_frozen(pointer, at, known)}
        if found and not still_open:
            closed.append(period)
    return OpenDays(tuple(days), tuple(closed), closed_days)


def make_plan(
    stack: Stack, document: PolicyDocument | None, metric: str, told: Callable[[int, int], None], period: BillingPeriod | None
) -> Plan:
    """Allocate every open day, or every day of a period, under both documents and compare; without one, under that in force.

    A day of a closed month is compared with what readers see of it. `told` hears how many days are done, of how many.
    """
    from adapters.policy import version_of

    policy = stack.policy()
    in_force, against = policy.document(), policy.version()
    document = document or in_force
    looked_at = days_of(stack, [period]) if period else open_days(stack)
    plan = Plan(against, version_of(document), looked_at, changes=changes_of(in_force, document))
    closed = looked_at.closed_days if period else {}
    count = len(looked_at.days) + len(closed)
    for done, day in enumerate(sorted((*looked_at.days, *closed))):
        told(done, count)
        before, after = in_force.rules(day), document.rules(day)
        if day in closed:
            _compare(plan, _as_seen(stack, closed[day], *_made(stack, day, after)), metric)
        elif before != after:
            _compare(plan, _made(stack, day, before, after), metric)
    return plan


def _made(stack: Stack, day: date, *rules: Rules) -> list[DayVersion]:
    return preview(
        day,
        rules,
        origin_charges=stack.origin_charges(),
        deliveries=stack.deliveries(),
        days=stack.days(),
        counters=stack.usage_counters(),
        prices=stack.prices(),
        directory=stack.directory(),
    )


def _as_seen(stack: Stack, pointer: DayPointer, made: DayVersion) -> list[DayVersion]:
    """The day as readers see it, and as it would be. What is stored tells its shares no more apart: charges are compared."""
    stored = tuple(stack.days().charges(pointer.usage_date, pointer.version))
    return [replace(made, charges=stored, basis=pointer.basis), made]


def _compare(plan: Plan, versions: Sequence[DayVersion], metric: str) -> None:
    old, new = versions
    for move, moved in moves(old, new, metric).items():
        planned = plan.moves.setdefault(move, PlannedMove())
        if old.basis is Basis.ESTIMATED:
            planned.estimated = add(planned.estimated, moved.amount)
        else:
            planned.billed = add(planned.billed, moved.amount)
        planned.charges += len(moved.origins)
        planned.days += 1
        plan.affected.add(old.usage_date)


def changes_of(before: PolicyDocument, after: PolicyDocument) -> dict[str, Changes]:
    """What becomes of each part of a document, by its key there."""
    return {part: _compared(list(named(before)), list(named(after))) for part, named in _PARTS.items()}


def _by_name(part: str) -> Callable[[PolicyDocument], Iterable[tuple[str, Any]]]:
    return lambda document: ((item.name, item) for item in getattr(document, part))


def _users(document: PolicyDocument) -> Iterator[tuple[str, Any]]:
    """What each Slack user may see, whichever entries say so."""
    for viewer in (entry.viewer() for entry in document.slack_users):
        yield from ((user, (viewer.owners, viewer.sees_all)) for user in viewer.users)


# Each key of the document: what is in it, by name.
_PARTS: Mapping[str, Callable[[PolicyDocument], Iterable[tuple[str, Any]]]] = {
    "cost_categories": _by_name("cost_categories"),
    "shared_charges": _by_name("shared_charges"),
    "incomplete_logging": lambda document: ((document.incomplete_logging.value, None),),
    "account_names": lambda document: sorted(document.account_names.items()),
    "budgets": _by_name("budgets"),
    # Also those that are watched where the document names none.
    "anomaly_monitors": lambda document: ((monitor.name, monitor) for monitor in document.monitors()),
    "routes": _by_name("routes"),
    "slack_users": lambda document: sorted(_users(document)),
}


def _compared(before: Sequence[tuple[str, Any]], after: Sequence[tuple[str, Any]]) -> Changes:
    """Names are compared by all that is said of them: a name may have several definitions."""
    old, new = ({name: [item for n, item in items if n == name] for name, _ in items} for items in (before, after))
    staying, stayed = [name for name in new if name in old], [name for name in old if name in new]
    return Changes(
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in staying if new[name] != old[name]),
        removed=tuple(name for name in old if name not in new),
        reordered=tuple(staying if staying != stayed else ()),
    )
