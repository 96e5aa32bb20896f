"""Which charges a report is about: those that have the values it names, one of each of some dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from attribution.charges import AllocatedCharge
from attribution.errors import QuestionInvalid
from attribution.formats import clean
from attribution.scopes import value_of

NO_VALUE = "(none)"
"""How a report shows, and a question names, that a charge has no value of a dimension."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A value for each of some dimensions or cost categories; a charge must have all of them. Everything without any."""

    values: Mapping[str, str]

    @classmethod
    def parse(cls, conditions: Iterable[str], known: Callable[[str], str]) -> Selection:
        """The selection that conditions such as `team=growth` make; `known` refuses a name that is no dimension."""
        values: dict[str, str] = {}
        for condition in conditions:
            name, has_value, value = condition.partition("=")
            if not has_value or not value:
                raise QuestionInvalid("where", f"{clean(condition)!r} is no condition: write it as team=growth")
            name = known(name.strip())
            if name in values:
                raise QuestionInvalid("where", f"{name} is named twice, and a charge has one value of it: ask for each")
            values[name] = "" if value == NO_VALUE else value
        return cls(values)

    def holds(self, charge: AllocatedCharge) -> bool:
        """Whether a charge has all of these values."""
        return all(value_of(charge, name) == value for name, value in self.values.items())

    def in_words(self) -> Sequence[str]:
        """The conditions, as they were written."""
        return [f"{name}={value or NO_VALUE}" for name, value in self.values.items()]


EVERYTHING = Selection({})
