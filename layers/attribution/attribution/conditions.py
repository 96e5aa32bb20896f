"""Conditions as AWS writes them: leaves that compare a value, and the operators that combine leaves.

Rules of cost categories ask a share of a charge while its owner is decided (`expressions`), budgets ask the allocated charge
(`scopes`). What a leaf looks at differs; how it compares and how leaves combine is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar


class MatchOption(StrEnum):
    """How a value is compared; AWS's names."""

    EQUALS = "EQUALS"
    ABSENT = "ABSENT"
    STARTS_WITH = "STARTS_WITH"
    ENDS_WITH = "ENDS_WITH"
    CONTAINS = "CONTAINS"
    CASE_SENSITIVE = "CASE_SENSITIVE"
    CASE_INSENSITIVE = "CASE_INSENSITIVE"


COMPARISONS = tuple(MatchOption)[:5]
CASES = tuple(MatchOption)[5:]


def fits(found: str, values: Sequence[str], option: MatchOption, *, ignores_case: bool) -> bool:
    """Whether a value compares with any of `values`; what is absent is not a question of comparing."""
    if ignores_case:
        found, values = found.casefold(), [value.casefold() for value in values]
    match option:
        case MatchOption.EQUALS:
            return found in values
        case MatchOption.STARTS_WITH:
            return found.startswith(tuple(values))
        case MatchOption.ENDS_WITH:
            return found.endswith(tuple(values))
        case MatchOption.CONTAINS:
            return any(value in found for value in values)
    return False


class Leaf(Protocol):
    """A condition that is not made of others."""

    def holds(self, subject: Any) -> bool:
        """Whether the subject is as the leaf asks."""


L = TypeVar("L", bound=Leaf)


@dataclass(frozen=True, slots=True)
class And(Generic[L]):
    """All operands hold; of none: everything does."""

    operands: tuple[Tree[L], ...] = ()

    def holds(self, subject: Any) -> bool:
        return all(operand.holds(subject) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or(Generic[L]):
    """Any operand holds; of none: nothing does."""

    operands: tuple[Tree[L], ...] = ()

    def holds(self, subject: Any) -> bool:
        return any(operand.holds(subject) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Not(Generic[L]):
    """The operand does not hold."""

    operand: Tree[L]

    def holds(self, subject: Any) -> bool:
        return not self.operand.holds(subject)


Tree: TypeAlias = L | And[L] | Or[L] | Not[L]


def leaves(condition: Tree[L]) -> tuple[L, ...]:
    """Every leaf of a condition, in its order."""
    if isinstance(condition, Not):
        return leaves(condition.operand)
    if isinstance(condition, And | Or):
        return tuple(leaf for operand in condition.operands for leaf in leaves(operand))
    return (condition,)
