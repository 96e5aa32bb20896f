"""Cost categories: owner dimensions whose value is decided by ordered rules; the first that yields a value wins.

Three kinds of rule: AWS's two (a value where an expression holds; a value inherited from the charge) and one that AWS does not
have, which looks through evidence of different strength and remembers what the weaker said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from attribution.charges import CategoryValue, Confidence, Evidence, SplitMethod
from attribution.conditions import leaves
from attribution.errors import PolicyInvalid
from attribution.expressions import BILL_DIMENSIONS, Dimension, Expression, Source, Subject
from attribution.usage import Pairs

REQUEST_METADATA = "request_metadata"
SESSION_TAG = "session_tag"
RESOURCE_TAG = "resource_tag"
PRINCIPAL_TAG = "principal_tag"
SESSION_NAME_RULE = "session_name_rule"
ACCOUNT_TAG = "account_tag"
ACCOUNT_RULE = "account_rule"
EVIDENCE_ORDER = (
    REQUEST_METADATA,
    SESSION_TAG,
    RESOURCE_TAG,
    PRINCIPAL_TAG,
    SESSION_NAME_RULE,
    ACCOUNT_TAG,
    ACCOUNT_RULE,
)
RULE = "rule"
DEFAULT = "default"

# What a call carries that a bill does not know: where a charge is split over calls, such evidence is of a share.
USAGE_EVIDENCE = frozenset(
    (
        REQUEST_METADATA,
        SESSION_TAG,
        *(
            dimension.lower()
            for dimension in (
                Dimension.IAM_PRINCIPAL,
                Dimension.SESSION_NAME,
                Dimension.SOURCE_IDENTITY,
                Dimension.INFERENCE_PROFILE,
                Dimension.PROJECT,
                Dimension.LAMBDA_FUNCTION,
            )
        ),
    )
)
_BILL_EVIDENCE = frozenset((RESOURCE_TAG, PRINCIPAL_TAG, ACCOUNT_TAG))
_SOURCES = {
    REQUEST_METADATA: Source.REQUEST_METADATA,
    SESSION_TAG: Source.SESSION_TAGS,
    **dict.fromkeys(_BILL_EVIDENCE, Source.TAGS),
}
_STATED_BY_RULE = frozenset((RULE, SESSION_NAME_RULE, ACCOUNT_RULE))
# Session tags and tags of the principal share a prefix in the bill. Tags from other sources are no evidence of an owner.
_TAG_KINDS = {
    "iamPrincipal": PRINCIPAL_TAG,
    "accountTag": ACCOUNT_TAG,
    "userAttribute": "",
    "costCategory": "",
    "resourceTags": RESOURCE_TAG,
}
NO_EVIDENCE = "no evidence of an owner"
NOT_IN_FORCE = "the cost category is not in force on this day"


def aws_tags(tags: Pairs) -> dict[str, str]:
    """A bill row's cost allocation tags under the names by which AWS's rules ask for them: resource tags by their bare key."""
    return {name.removeprefix("resourceTags/").removeprefix("user:"): value for name, value in tags}


def tag_kind(name: str) -> tuple[str, str]:
    """The kind of evidence that a tag under AWS's name is, and its bare key; an empty kind is no evidence of an owner."""
    prefix, slash, key = name.partition("/")
    return (_TAG_KINDS[prefix], key) if slash and prefix in _TAG_KINDS else (RESOURCE_TAG, name)


@dataclass(frozen=True, slots=True)
class RegularRule:
    """AWS's REGULAR rule: `value` for every charge of which the expression holds."""

    value: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class InheritedValueRule:
    """AWS's INHERITED_VALUE rule: the value that the charge has under a key. An empty value is not inherited."""

    source: Source
    key: str


@dataclass(frozen=True, slots=True)
class EvidenceRule:
    """The value of the strongest evidence under any of `keys` (in any letter case; among one kind the earlier key wins).

    `session_names` are patterns with `*`, in any letter case, of which the first that fits decides; `accounts` are by id.
    """

    keys: tuple[str, ...]
    accounts: Pairs = ()
    session_names: Pairs = ()
    order: tuple[str, ...] = EVIDENCE_ORDER

    def evidence(self, subject: Subject) -> list[Evidence]:
        """Everything that says who owns a share, the strongest first, each statement once."""
        ranks = _ranks(self.keys)
        stated = [(REQUEST_METADATA, key, value) for key, value in subject.request_metadata]
        stated += [(SESSION_TAG, key, value) for key, value in subject.session_tags]
        stated += [(*tag_kind(name), value) for name, value in subject.tags.items()]
        found = [(kind, ranks[key.casefold()], value, key) for kind, key, value in stated if value and key.casefold() in ranks]
        found += [(ACCOUNT_RULE, 0, value, account) for account, value in self.accounts if account == subject.linked_account]
        if self.session_names and subject.session_name:
            found += self._by_session_name(subject.session_name)
        order = {kind: rank for rank, kind in enumerate(self.order)}
        ranked = sorted((order[kind], rank, value, key, kind) for kind, rank, value, key in found if value and kind in order)
        once: dict[tuple[str, str], Evidence] = {}
        for _, _, value, key, kind in ranked:
            once.setdefault((kind, value), Evidence(kind, value, key))
        # A bill has session tags among those of the principal: where the session is known to have it, that says it once.
        return [e for (kind, value), e in once.items() if kind != PRINCIPAL_TAG or (SESSION_TAG, value) not in once]

    def _by_session_name(self, name: str) -> list[tuple[str, int, str, str]]:
        fitting = ((pattern, value) for pattern, value in self.session_names if _glob(pattern).fullmatch(name))
        return [(SESSION_NAME_RULE, 0, value, pattern) for pattern, value in fitting][:1]


@lru_cache(maxsize=512)
def _ranks(keys: tuple[str, ...]) -> Mapping[str, int]:
    return {key.casefold(): rank for rank, key in reversed(list(enumerate(keys)))}


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.IGNORECASE | re.DOTALL)


Rule = RegularRule | InheritedValueRule | EvidenceRule


@dataclass(frozen=True, slots=True)
class SplitChargeRule:
    """Hands the cost of the value `source` (empty: of what has no value) to the values `targets`.

    `percentages` are those of `FIXED`, one for each target.
    """

    source: str
    targets: tuple[str, ...]
    method: SplitMethod
    percentages: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class CostCategory:
    """An owner dimension. `default_value` is the value of what no rule names; empty leaves it unallocated.

    `effective_start` is the first day that it categorizes, `effective_end` the first that it does not; None has no limit.
    """

    name: str
    rules: tuple[Rule, ...]
    default_value: str = ""
    split_charge_rules: tuple[SplitChargeRule, ...] = ()
    effective_start: date | None = None
    effective_end: date | None = None

    def categorize(self, subject: Subject, reason: str = NO_EVIDENCE, *, is_shared: bool = False) -> CategoryValue:
        """The value for a share of a charge; `reason` is why it may have none, `is_shared` whether others have shares too."""
        for rule in self.rules:
            evidence = self._evidence(rule, subject)
            if evidence:
                winner = evidence[0]
                others = tuple(e for e in evidence[1:] if e.value != winner.value)
                return CategoryValue(self.name, winner.value, winner, others, confidence=_confidence(winner, is_shared))
        if self.default_value:
            evidence_of_default = Evidence(DEFAULT, self.default_value)
            return CategoryValue(self.name, self.default_value, evidence_of_default, confidence=Confidence.DEFAULT)
        return CategoryValue(self.name, "", reason=reason if self.rules else NOT_IN_FORCE)

    def _evidence(self, rule: Rule, subject: Subject) -> list[Evidence]:
        if isinstance(rule, EvidenceRule):
            return rule.evidence(subject)
        if isinstance(rule, RegularRule):
            return [Evidence(RULE, rule.value, f"Rules[{self._place(rule)}]")] if rule.expression.holds(subject) else []
        value = subject.read(rule.source, rule.key)
        return [Evidence(_inherited_kind(rule), value, rule.key)] if value else []

    def _place(self, rule: RegularRule) -> int:
        """Where a rule stands among those that are written as AWS writes them."""
        return [r for r in self.rules if not isinstance(r, EvidenceRule)].index(rule)

    def is_in_force(self, on: date) -> bool:
        """Whether this definition categorizes the charges of a day."""
        return (self.effective_start or on) <= on and (self.effective_end is None or on < self.effective_end)

    def asked(self) -> frozenset[tuple[Source, str]]:
        """Everything that its rules look at."""
        return frozenset(asked for rule in self.rules for asked in _asked(rule))

    def is_decided_without_bill(self, subject: Subject) -> bool:
        """Whether no bill can change the value of a call that is known only from its usage."""
        for rule in self.rules:
            found = self._evidence(rule, subject)
            if isinstance(rule, EvidenceRule):
                reached = rule.order[: rule.order.index(found[0].kind) + 1] if found else rule.order
                if _BILL_EVIDENCE.intersection(reached):
                    return False
            elif any(_is_of_bill(source, key) for source, key in _asked(rule)):
                return False
            if found:
                return True
        return True


def by_evidence(
    name: str,
    keys: Iterable[str],
    accounts: Pairs = (),
    *,
    session_names: Pairs = (),
    order: tuple[str, ...] = EVIDENCE_ORDER,
) -> CostCategory:
    """The cost category that most need: one rule, which looks through the evidence under `keys`."""
    return CostCategory(name, (EvidenceRule(tuple(keys), accounts, session_names, order),))


def _asked(rule: Rule) -> Iterator[tuple[Source, str]]:
    if isinstance(rule, RegularRule):
        yield from ((leaf.source, leaf.key) for leaf in leaves(rule.expression))
    elif isinstance(rule, InheritedValueRule):
        yield rule.source, rule.key
    else:
        sources = {_SOURCES[kind] for kind in rule.order if kind in _SOURCES}
        yield from ((source, key) for source in sources for key in rule.keys)


def _is_of_bill(source: Source, key: str) -> bool:
    """Whether only a bill knows it: for a cost category that another asks for, that is not looked into."""
    return source in (Source.TAGS, Source.COST_CATEGORIES) or (source is Source.DIMENSIONS and key in BILL_DIMENSIONS)


def _inherited_kind(rule: InheritedValueRule) -> str:
    if rule.source is Source.TAGS:
        return tag_kind(rule.key)[0] or rule.key.partition("/")[0]
    if rule.source is Source.DIMENSIONS:
        return rule.key.lower()
    return REQUEST_METADATA if rule.source is Source.REQUEST_METADATA else SESSION_TAG


def _confidence(evidence: Evidence, is_shared: bool) -> Confidence:
    if evidence.kind in _STATED_BY_RULE:
        return Confidence.RULE
    return Confidence.SPLIT_BY_USAGE if is_shared and evidence.kind in USAGE_EVIDENCE else Confidence.EXACT


def in_force(definitions: Iterable[CostCategory], on: date) -> list[CostCategory]:
    """The definition of each cost category that is in force on a day: of several, the one that took effect last.

    A cost category without one has no rules, so that a day has a value of every cost category.
    """
    by_name: dict[str, list[CostCategory]] = {}
    for definition in definitions:
        by_name.setdefault(definition.name, []).append(definition)
    found = []
    for name, candidates in by_name.items():
        valid = [c for c in candidates if c.is_in_force(on)]
        found.append(max(valid, key=lambda c: c.effective_start or date.min) if valid else CostCategory(name, ()))
    return found


def in_order_of_reference(categories: Sequence[CostCategory]) -> tuple[CostCategory, ...]:
    """The categories so that each comes after those that its rules ask for; a circle or an unknown name is an error."""
    by_name = {category.name: category for category in categories}
    wanted: dict[str, set[str]] = {}
    for category in categories:
        references = {key for source, key in category.asked() if source is Source.COST_CATEGORIES}
        unknown = sorted(references - {"", *by_name})
        if unknown:
            raise PolicyInvalid(
                f"cost category {category.name!r} asks for the cost category {unknown[0]!r}: define that one, too"
            )
        # A rule without a key asks whether a charge has a value of any other cost category.
        wanted[category.name] = (set(by_name) - {category.name} if "" in references else set()) | (references - {""})
    ordered: list[CostCategory] = []
    while wanted:
        ready = [name for name in by_name if name in wanted and not wanted[name].intersection(wanted)]
        if not ready:
            raise PolicyInvalid(
                f"cost category {min(wanted)!r} asks for itself by way of {sorted(set(wanted))}: remove one of the references"
            )
        for name in ready:
            ordered.append(by_name[name])
            del wanted[name]
    return tuple(ordered)
