"""What a budget counts: which charges, by any of their dimensions, and how much of each.

A filter is AWS's `Expression` as a value. It may combine dimensions in any way, so sums by one dimension cannot answer it: a
day is summed charge by charge, by all scopes in one pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias

from attribution.canonical import content_hash
from attribution.charges import AllocatedCharge
from attribution.conditions import And, MatchOption, Not, Or, Tree, fits, leaves
from attribution.days import DIMENSIONS, UNALLOCATED
from attribution.meters import METERED_IN_TOKENS, TokenKind
from attribution.money import ZERO, add

TOKENS, REQUESTS = "tokens", "requests"

CHARGE_DIMENSIONS: Mapping[str, Callable[[AllocatedCharge], str]] = {
    **DIMENSIONS,
    "usage_type": lambda c: c.usage_type,
    "inference_profile": lambda c: c.inference_profile,
    # A canonical model key begins with its provider; a name that the catalogue does not know has none.
    "provider": lambda c: c.meter.model.partition(".")[0] if "." in c.meter.model else "",
}
"""What a filter may test of every charge, besides its cost categories."""


def value_of(charge: AllocatedCharge, dimension: str) -> str:
    """The charge's value of a dimension or cost category; a category without an owner is `(unallocated)`."""
    known = CHARGE_DIMENSIONS.get(dimension)
    return known(charge) if known else charge.value_of(dimension) or UNALLOCATED


@dataclass(frozen=True, slots=True)
class Match:
    """A dimension has one of some values; `ABSENT`: it has none. Its subject tells the value of each dimension."""

    dimension: str
    values: tuple[str, ...] = ()
    option: MatchOption = MatchOption.EQUALS
    ignore_case: bool = False

    def holds(self, subject: Callable[[str], str]) -> bool:
        value = subject(self.dimension)
        if self.option is MatchOption.ABSENT:
            return value in ("", UNALLOCATED)
        # What stands for no owner is named as a whole, and is no name that a part of could be looked for.
        if value == UNALLOCATED and self.option is not MatchOption.EQUALS:
            return False
        return fits(value, self.values, self.option, ignores_case=self.ignore_case)


Filter: TypeAlias = Tree[Match]
EVERYTHING: Filter = And()


def dimensions_of(condition: Filter) -> Iterator[str]:
    """The dimensions that a filter tests."""
    return (leaf.dimension for leaf in leaves(condition))


def describe(condition: Filter) -> str:
    """A filter in words for people: `team: search, ads; not line_item_type: Tax`; `everything` of none."""
    match condition:
        case Match(dimension, values, option, _):
            if option is MatchOption.ABSENT:
                return f"no {dimension}"
            how = "" if option is MatchOption.EQUALS else f" {option.value.lower().replace('_', ' ')}"
            return f"{dimension}{how}: {', '.join(values)}"
        case Not(part):
            return f"not {_in_words(part)}"
        case And(parts):
            return "; ".join(_in_words(part) for part in parts) or "everything"
        case Or(parts):
            return " or ".join(_in_words(part) for part in parts) or "nothing"


def _in_words(condition: Filter) -> str:
    is_compound = isinstance(condition, And | Or) and len(condition.operands) > 1
    return f"({describe(condition)})" if is_compound else describe(condition)


def required_values(condition: Filter) -> Iterator[tuple[str, str]]:
    """The (dimension, value) pairs of which a charge must have one per dimension to count: whom a budget belongs to."""
    match condition:
        case Match(dimension, values, MatchOption.EQUALS, _):
            yield from ((dimension, value) for value in values)
        case And(parts):
            for part in parts:
                yield from required_values(part)


def _plain(condition: Filter) -> list[object]:
    match condition:
        case Match():
            return ["match", condition.dimension, condition.values, condition.option, condition.ignore_case]
        case Not(part):
            return ["not", _plain(part)]
        case And(parts):
            return ["all", *(_plain(part) for part in parts)]
        case Or(parts):
            return ["any", *(_plain(part) for part in parts)]


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of a charge counts: a cost metric in one currency, tokens (of some kinds), or requests.

    `unit` is the currency, `tokens` or `requests`; `metric` one of `COST_METRICS`, or the unit.
    """

    metric: str = "billed_cost"
    unit: str = "USD"
    token_kinds: tuple[TokenKind, ...] = METERED_IN_TOKENS

    def of(self, charge: AllocatedCharge) -> Decimal:
        """What counts of a charge; of another currency, or another kind of unit, nothing does."""
        if self.metric == REQUESTS:
            return Decimal(charge.requests)
        if self.metric == TOKENS:
            return charge.units if charge.units is not None and charge.meter.token_kind in self.token_kinds else ZERO
        amount: Decimal = getattr(charge.costs, self.metric) if charge.currency == self.unit else ZERO
        return amount


@dataclass(frozen=True)
class Scope:
    """What counts, and how much of it. Budgets with equal scopes share one sum."""

    filter: Filter = EVERYTHING
    measure: Measure = Measure()

    @cached_property
    def digest(self) -> str:
        """A stable name of the scope: equal scopes have equal sums of the same version of a day."""
        measure = self.measure
        return content_hash([_plain(self.filter), measure.metric, measure.unit, measure.token_kinds])[:20]


class ScopeIndex:
    """Finds the scopes that a charge counts in without asking each of them.

    Most budgets require one dimension to have one of some values (`team` is `search`): these are looked up by the charge's
    value, and only they and those that require nothing of the kind are tested. What was found is remembered by the values that
    filters test.
    """

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._by_value: dict[str, dict[str, list[Scope]]] = defaultdict(lambda: defaultdict(list))
        self._others: list[Scope] = []
        self._found: dict[tuple[str, ...], tuple[Scope, ...]] = {}
        scopes = list({scope.digest: scope for scope in scopes}.values())
        self._tested = sorted({name for scope in scopes for name in dimensions_of(scope.filter)})
        for scope in scopes:
            required = _required(scope.filter)
            if required is None:
                self._others.append(scope)
                continue
            for value in dict.fromkeys(required.values):
                self._by_value[required.dimension][value].append(scope)

    def find(self, charge: AllocatedCharge) -> tuple[Scope, ...]:
        """The scopes that the charge counts in."""
        values = tuple(value_of(charge, name) for name in self._tested)
        found = self._found.get(values)
        if found is None:
            of = dict(zip(self._tested, values, strict=True))
            candidates = [s for name, by_value in self._by_value.items() for s in by_value.get(of[name], ())]
            found = tuple(s for s in (*candidates, *self._others) if s.filter.holds(of.__getitem__))
            self._found[values] = found
        return found


def _required(condition: Filter) -> Match | None:
    """A test by exact value that has to hold wherever the filter does."""
    match condition:
        case Match(option=MatchOption.EQUALS, ignore_case=False):
            return condition
        case And(parts):
            return next((r for part in parts if (r := _required(part)) is not None), None)
        case _:
            return None


def sum_scopes(charges: Iterable[AllocatedCharge], scopes: Sequence[Scope]) -> dict[str, Decimal]:
    """What charges sum to, exactly, by the digest of each scope; zero for a scope that none of them counts in."""
    index = ScopeIndex(scopes)
    sums = {scope.digest: ZERO for scope in scopes}
    for charge in charges:
        for scope in index.find(charge):
            amount = scope.measure.of(charge)
            if amount:
                sums[scope.digest] = add(sums[scope.digest], amount)
    return sums


def sum_drivers(
    charges: Iterable[AllocatedCharge], scopes: Sequence[Scope], dimensions: Sequence[str]
) -> dict[str, dict[tuple[str, str], Decimal]]:
    """What charges sum to by the digest of each scope, and in it by (dimension, value)."""
    index = ScopeIndex(scopes)
    sums: dict[str, dict[tuple[str, str], Decimal]] = {scope.digest: defaultdict(lambda: ZERO) for scope in scopes}
    for charge in charges:
        found = index.find(charge)
        if not found:
            continue
        names = [(dimension, value_of(charge, dimension)) for dimension in dimensions]
        for scope in found:
            amount = scope.measure.of(charge)
            if not amount:
                continue
            by_name = sums[scope.digest]
            for name in names:
                by_name[name] = add(by_name[name], amount)
    return sums
