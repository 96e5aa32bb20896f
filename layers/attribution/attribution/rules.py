"""The rules by which a day is allocated, as one value: together with a day's inputs they decide its version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from operator import attrgetter

from attribution.canonical import content_hash
from attribution.charges import CategoryValue
from attribution.cost_categories import CostCategory, EvidenceRule, in_order_of_reference
from attribution.expressions import Source, Subject, leaves
from attribution.shared_charges import SharedChargeRule

# What evidence is in, besides tags. A rule that asks for an account by a part of it looks at its name.
_FACTS = ("linked_account", "linked_account_name", "record_type", "request_metadata", "session_tags")


class IncompleteLogging(StrEnum):
    """What becomes of what the bill counted and no log recorded: it stays unallocated unless the charge itself says who owns
    it, or it is spread over those who were logged.
    """

    UNALLOCATED = "unallocated"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides who pays. Make it with `of`, which puts the cost categories in the order they are decided in."""

    categories: tuple[CostCategory, ...] = ()
    shared_charges: tuple[SharedChargeRule, ...] = ()
    incomplete_logging: IncompleteLogging = IncompleteLogging.UNALLOCATED
    account_names: Mapping[str, str] = field(default_factory=dict)
    # Most shares of a day are alike in everything that rules look at.
    _facts: Callable[[Subject], tuple[object, ...]] = field(init=False, repr=False, compare=False)
    _decided: dict[object, tuple[CategoryValue, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_facts", attrgetter(*_FACTS, *sorted(self._asked_dimensions())))

    def _asked_dimensions(self) -> frozenset[str]:
        """The names of those of a subject's attributes that some rule looks at beyond what evidence is in."""
        asked = {asked for category in self.categories for asked in category.asked()}
        asked |= {(leaf.source, leaf.key) for rule in self.shared_charges for leaf in leaves(rule.charges)}
        names = {key.lower() for source, key in asked if source is Source.DIMENSIONS}
        if any(isinstance(rule, EvidenceRule) and rule.session_names for c in self.categories for rule in c.rules):
            names.add("session_name")
        return frozenset(names)

    @classmethod
    def of(
        cls,
        categories: Iterable[CostCategory],
        shared_charges: Iterable[SharedChargeRule] = (),
        incomplete_logging: IncompleteLogging = IncompleteLogging.UNALLOCATED,
        account_names: Mapping[str, str] | None = None,
    ) -> Rules:
        """The rules; cost categories that ask for each other in a circle are an error."""
        ordered = in_order_of_reference(list(categories))
        return cls(ordered, tuple(shared_charges), incomplete_logging, account_names or {})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cost categories."""
        return tuple(category.name for category in self.categories)

    def account_name(self, account_id: str) -> str:
        """The name of an account; empty where none is known."""
        return self.account_names.get(account_id, "")

    def fingerprint(self) -> str:
        """The hash of everything in them."""
        return content_hash(_plain(self))

    def decide(self, subject: Subject, reason: str, *, is_shared: bool) -> tuple[CategoryValue, ...]:
        """The value of every cost category for a share of a charge, and the shared-charge rule where it has none."""
        facts = (self._facts(subject), tuple(subject.tags.items()), reason, is_shared)
        if facts not in self._decided:
            self._decided[facts] = self._decide(subject, reason, is_shared=is_shared)
        return self._decided[facts]

    def _decide(self, subject: Subject, reason: str, *, is_shared: bool) -> tuple[CategoryValue, ...]:
        decided = []
        for category in self.categories:
            value = category.categorize(subject, reason, is_shared=is_shared)
            if value.value:
                subject.categories[category.name] = value.value
            decided.append(value)
        if not self.shared_charges or all(value.value for value in decided):
            return tuple(decided)
        return tuple(value if value.value else self._shared(value, subject) for value in decided)

    def _shared(self, value: CategoryValue, subject: Subject) -> CategoryValue:
        for rule in self.shared_charges:
            if rule.is_for(value.category) and rule.charges.holds(subject):
                what = value.reason if subject.record_type == "Usage" else f"{subject.record_type}: shared by a rule"
                reason = what if rule.method else f"{rule.name}: left unallocated by rule"
                return CategoryValue(value.category, "", reason=reason, rule=rule.name)
        return value


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_plain(getattr(value, f.name)) for f in fields(value) if f.compare)]
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
