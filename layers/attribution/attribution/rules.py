"""The rules by which a day is allocated, as one value: together with a day's inputs they decide its version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum

from attribution.canonical import content_hash
from attribution.charges import CategoryValue
from attribution.conditions import leaves
from attribution.cost_categories import CostCategory, EvidenceRule, in_order_of_reference
from attribution.expressions import Dimension, Source, Subject
from attribution.shared_charges import SharedChargeRule

# AWS compares the account's name also where a rule looks for a part of the account.
_ASK_FOR_NAMES: frozenset[tuple[Source, str]] = frozenset(
    ((Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME), (Source.DIMENSIONS, Dimension.LINKED_ACCOUNT))
)
_Asked = Callable[[Subject], tuple[object, ...]]


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
    # By cost category, what its rules look at, and what they decided where they saw the same.
    _decided: dict[str, tuple[_Asked | None, dict[tuple[object, ...], CategoryValue]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        categories: Iterable[CostCategory],
        shared_charges: Iterable[SharedChargeRule] = (),
        incomplete_logging: IncompleteLogging = IncompleteLogging.UNALLOCATED,
        account_names: Mapping[str, str] | None = None,
    ) -> Rules:
        """The rules; cost categories that ask for each other in a circle are an error.

        Names of accounts that no rule asks for are left out: a new one would make new versions of days for nothing.
        """
        rules = cls(in_order_of_reference(list(categories)), tuple(shared_charges), incomplete_logging)
        return replace(rules, account_names=account_names) if account_names and rules.ask_for_account_names else rules

    def asked(self) -> frozenset[tuple[Source, str]]:
        """Everything that the rules look at."""
        of_categories = (asked for category in self.categories for asked in category.asked())
        of_shared = ((leaf.source, leaf.key) for rule in self.shared_charges for leaf in leaves(rule.charges))
        return frozenset((*of_categories, *of_shared))

    @property
    def ask_for_account_names(self) -> bool:
        """Whether any rule looks at the name of an account."""
        return bool(self.asked() & _ASK_FOR_NAMES)

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
        decided = []
        for category in self.categories:
            value = self._decide(category, subject, reason, is_shared)
            if value.value:
                subject.categories[category.name] = value.value
            decided.append(value)
        if not self.shared_charges or all(value.value for value in decided):
            return tuple(decided)
        return tuple(value if value.value else self._shared(value, subject) for value in decided)

    def _decide(self, category: CostCategory, subject: Subject, reason: str, is_shared: bool) -> CategoryValue:
        """There may be hundreds of rules, but a day's shares differ in little that they look at: each case is decided once."""
        if category.name not in self._decided:
            self._decided[category.name] = (_looked_at(category), {})
        asked, values = self._decided[category.name]
        if asked is None:
            return category.categorize(subject, reason, is_shared=is_shared)
        seen = (reason, is_shared, *asked(subject))
        if seen not in values:
            values[seen] = category.categorize(subject, reason, is_shared=is_shared)
        return values[seen]

    def _shared(self, value: CategoryValue, subject: Subject) -> CategoryValue:
        for rule in self.shared_charges:
            if rule.is_for(value.category) and rule.charges.holds(subject):
                what = value.reason if subject.record_type == "Usage" else f"{subject.record_type}: shared by a rule"
                reason = what if rule.method else f"{rule.name}: left unallocated by rule"
                return CategoryValue(value.category, "", reason=reason, rule=rule.name)
        return value


def _looked_at(category: CostCategory) -> _Asked | None:
    """Everything that the rules of a category can tell two subjects apart by; None where they look at all that there is."""
    asked = category.asked()
    if any(not key for _, key in asked):
        return None
    if asked & _ASK_FOR_NAMES:
        asked |= _ASK_FOR_NAMES
    evidence = [rule for rule in category.rules if isinstance(rule, EvidenceRule)]
    if not evidence:
        read = tuple(sorted(asked))
        return lambda subject: tuple(subject.read(source, key) for source, key in read)
    # Keys of evidence are matched in any letter case: everything under any key is looked at.
    read = tuple(sorted(a for a in asked if a[0] in (Source.DIMENSIONS, Source.COST_CATEGORIES)))
    has_sessions = any(rule.session_names for rule in evidence)
    return lambda subject: (
        subject.linked_account,
        subject.session_name if has_sessions else "",
        subject.request_metadata,
        subject.session_tags,
        tuple(subject.tags.items()),
        *(subject.read(source, key) for source, key in read),
    )


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_plain(getattr(value, f.name)) for f in fields(value) if f.compare)]
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
