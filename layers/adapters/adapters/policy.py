"""The policy document: cost categories, budgets, routes and Slack users.

Written by people as YAML or JSON, validated, kept in the ledger.

CONFIG#policy   current             the document in force and its version
CONFIG#policy   version#<hash>      every document there has been
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from adapters.budget_documents import MAX_BUDGETS, AwsBudgetDocument, BudgetDocument, build_budgets, problems_of_budgets
from adapters.budget_filters import Vocabulary, plain_tag_key
from adapters.codec import compress, decompress
from adapters.cost_category_documents import (
    AwsCostCategoryDocument,
    ExpressionDocument,
    MonthStart,
    RuleDocument,
    check_splits,
    day_of,
    is_aws_definition,
    percentages_of,
)
from adapters.dynamodb import Item, Table, to_wire
from adapters.route_documents import RouteDocument, SlackUsersDocument, problems_of_routes
from adapters.validation import AWS_DEFINITION, SHORT_FORM, Location, Problem, refused, wrong_fields
from attribution.anomalies import Monitor
from attribution.budgets import Budget
from attribution.canonical import content_hash, pairs
from attribution.charges import SplitMethod
from attribution.conditions import And
from attribution.cost_categories import (
    EVIDENCE_ORDER,
    CostCategory,
    EvidenceRule,
    InheritedValueRule,
    SplitChargeRule,
    in_force,
    in_order_of_reference,
)
from attribution.days import DIMENSIONS
from attribution.errors import PolicyInvalid
from attribution.expressions import Dimension, Expression, Match, Source
from attribution.routes import Route, Viewer
from attribution.rules import IncompleteLogging, Rules
from attribution.scopes import CHARGE_DIMENSIONS
from attribution.shared_charges import SharedChargeRule, Within

_PK = "CONFIG#policy"
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/+=@-]*$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Percentages = tuple[str, ...]


class SplitChargeDocument(_Document):
    """Hands the cost of one value of a cost category (empty: of what has none) to others."""

    source: str
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    method: SplitMethod
    percentages: Percentages = ()

    @model_validator(mode="after")
    def _usable(self) -> SplitChargeDocument:
        _check_split(self.method, self.targets, self.percentages)
        return self

    def rule(self) -> SplitChargeRule:
        """The rule as the core has it."""
        percentages = percentages_of(self.percentages, self.targets) if self.percentages else ()
        return SplitChargeRule(self.source, self.targets, self.method, percentages)


def _check_split(method: str, targets: Sequence[str], percentages: Sequence[str]) -> None:
    if method == SplitMethod.FIXED:
        percentages_of(percentages, targets)
    elif percentages:
        raise ValueError(f"percentages are for the method FIXED, not for {method}")
    twice = sorted({target for target in targets if targets.count(target) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is a target twice")


class CostCategoryDocument(_Document):
    """An owner dimension whose value is inherited from the strongest evidence under any of `keys`; `rules` are for the rest."""

    name: Name
    keys: tuple[Name, ...] = ()
    accounts: dict[Annotated[str, Field(pattern=r"^\d{12}$")], Name] = {}
    session_names: dict[Annotated[str, Field(min_length=1, max_length=256)], Name] = {}
    evidence: tuple[str, ...] = EVIDENCE_ORDER
    rules: Annotated[tuple[RuleDocument, ...], Field(max_length=500)] = ()
    default: Name | None = None
    split_charges: tuple[SplitChargeDocument, ...] = ()
    effective_start: MonthStart | None = None

    @model_validator(mode="after")
    def _usable(self) -> CostCategoryDocument:
        unknown = set(self.evidence) - set(EVIDENCE_ORDER)
        if unknown:
            raise ValueError(f"unknown evidence {sorted(unknown)}; choose from {list(EVIDENCE_ORDER)}")
        check_splits([split.rule() for split in self.split_charges])
        return self

    def category(self) -> CostCategory:
        """The cost category as the core has it. Patterns of session names keep their order: the first that fits decides."""
        keys = self.keys or (self.name,)
        evidence = EvidenceRule(keys, pairs(self.accounts), tuple(self.session_names.items()), self.evidence)
        return CostCategory(
            name=self.name,
            rules=(evidence, *(rule.core() for rule in self.rules)),
            default_value=self.default or "",
            split_charge_rules=tuple(split.rule() for split in self.split_charges),
            effective_start=day_of(self.effective_start),
        )


def _form(document: object) -> str:
    is_aws = isinstance(document, AwsCostCategoryDocument) or is_aws_definition(document)
    return AWS_DEFINITION if is_aws else SHORT_FORM


AnyCostCategory = Annotated[
    Annotated[AwsCostCategoryDocument, Tag(AWS_DEFINITION)] | Annotated[CostCategoryDocument, Tag(SHORT_FORM)],
    Discriminator(_form),
]


class SharedChargeDocument(_Document):
    """Hands charges that nobody owns to owners. They are found by what they are, and by an expression as in AWS's rules."""

    name: Name
    record_types: tuple[Name, ...] = ()
    features: tuple[Name, ...] = ()
    where: ExpressionDocument | None = None
    method: Literal["PROPORTIONAL", "EVEN", "FIXED", "UNALLOCATED"]
    targets: tuple[Name, ...] = ()
    percentages: Percentages = ()
    within: Within | None = None
    cost_categories: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _usable(self) -> SharedChargeDocument:
        if not (self.record_types or self.features or self.where):
            raise ValueError("say which charges: record_types, features or where")
        if self.method == "UNALLOCATED" and (self.targets or self.within):
            raise ValueError("the method UNALLOCATED takes neither targets nor within")
        if self.targets and self.within:
            raise ValueError("targets are the owners wherever usage was: leave out within")
        if self.targets and not self.cost_categories:
            raise ValueError("targets are values of a cost category: name it in cost_categories")
        if self.method == SplitMethod.FIXED and not self.targets:
            raise ValueError("the method FIXED needs targets")
        _check_split(self.method, self.targets, self.percentages)
        return self

    def rule(self) -> SharedChargeRule:
        """The rule as the core has it."""
        return SharedChargeRule(
            name=self.name,
            charges=And(tuple(self._conditions())),
            method=None if self.method == "UNALLOCATED" else SplitMethod(self.method),
            targets=self.targets,
            percentages=percentages_of(self.percentages, self.targets) if self.percentages else (),
            within=self.within or Within.ACCOUNT,
            categories=self.cost_categories,
        )

    def _conditions(self) -> Iterator[Expression]:
        if self.record_types:
            yield Match(Source.DIMENSIONS, Dimension.RECORD_TYPE, self.record_types)
        if self.features:
            yield Match(Source.DIMENSIONS, Dimension.FEATURE, self.features)
        if self.where:
            yield self.where.expression()


def _form_of_budget(document: object) -> str:
    is_aws = isinstance(document, AwsBudgetDocument) or (isinstance(document, dict) and "aws" in document)
    return AWS_DEFINITION if is_aws else SHORT_FORM


AnyBudget = Annotated[
    Annotated[AwsBudgetDocument, Tag(AWS_DEFINITION)] | Annotated[BudgetDocument, Tag(SHORT_FORM)],
    Discriminator(_form_of_budget),
]


class AnomalyMonitorDocument(_Document):
    """What is watched for anomalies: every value of a dimension or cost category, or some of them, each by itself."""

    name: Name
    dimension: Name
    values: tuple[Annotated[str, Field(max_length=2048)], ...] = ()
    minimum_impact: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(50)
    minimum_percent: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(40)
    route: str = ""

    def monitor(self) -> Monitor:
        """The monitor as the core has it."""
        return Monitor(self.name, self.dimension, self.values, self.minimum_impact, self.minimum_percent, self.route)


def _inherited_keys(category: CostCategory) -> Iterator[str]:
    """The keys whose values a cost category takes over as its own."""
    for rule in category.rules:
        if isinstance(rule, EvidenceRule):
            yield from rule.keys
        elif isinstance(rule, InheritedValueRule) and rule.source is not Source.DIMENSIONS:
            yield rule.key


class PolicyDocument(_Document):
    """Everything people configure."""

    cost_categories: tuple[AnyCostCategory, ...] = (CostCategoryDocument(name="team", keys=("team",)),)
    shared_charges: tuple[SharedChargeDocument, ...] = ()
    incomplete_logging: IncompleteLogging = IncompleteLogging.UNALLOCATED
    account_names: dict[Annotated[str, Field(pattern=r"^\d{12}$")], Annotated[str, Field(min_length=1, max_length=100)]] = {}
    budgets: Annotated[tuple[AnyBudget, ...], Field(max_length=MAX_BUDGETS)] = ()
    anomaly_monitors: Annotated[tuple[AnomalyMonitorDocument, ...], Field(max_length=100)] | None = None
    routes: tuple[RouteDocument, ...] = ()
    slack_users: tuple[SlackUsersDocument, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> PolicyDocument:
        if problems := list(dict.fromkeys(self._problems())):
            raise refused("PolicyDocument", problems)
        return self

    def _problems(self) -> Iterator[Problem]:
        """What no part of the document can know by itself: all of it, so that a file is corrected in one go."""
        yield from self._problems_of_names()
        yield from self._problems_of_references()
        yield from self._problems_of_shared_charges()
        yield from self._problems_of_dimensions()
        yield from self._problems_of_monitors()
        named = [(("budgets", n, "channel"), f"budget {b.name!r}", b.channel) for n, b in enumerate(self.budgets)]
        named += [
            (("anomaly_monitors", n, "route"), f"anomaly monitor {m.name!r}", m.route)
            for n, m in enumerate(self.anomaly_monitors or ())
        ]
        yield from problems_of_routes(self.routes, named)
        yield from problems_of_budgets(self.budgets, self.vocabulary())

    def _problems_of_names(self) -> Iterator[Problem]:
        defined: list[tuple[str, str, list[tuple[str, date | None]]]] = [
            ("cost_categories", "cost category", [(c.name, day_of(c.effective_start)) for c in self.cost_categories]),
            ("shared_charges", "shared charge", [(s.name, None) for s in self.shared_charges]),
            ("budgets", "budget", [(b.name, None) for b in self.budgets]),
            ("anomaly_monitors", "anomaly monitor", [(m.name, None) for m in self.anomaly_monitors or ()]),
        ]
        for part, kind, names in defined:
            seen: set[tuple[str, date | None]] = set()
            for number, name in enumerate(names):
                if name in seen:
                    yield (part, number), f"{kind} {name[0]!r} is defined twice"
                seen.add(name)
        for number, category in enumerate(self.cost_categories):
            if category.name in CHARGE_DIMENSIONS:
                text = f"cost category {category.name!r}: that is a dimension of every charge; choose another name"
                yield ("cost_categories", number), text

    def vocabulary(self) -> Vocabulary:
        """What budgets may filter by. A tag key stands for the first cost category whose values are those of the tag."""
        inherited: dict[str, str] = {}
        for category in self.definitions():
            for key in _inherited_keys(category):
                inherited.setdefault(plain_tag_key(key), category.name)
        return Vocabulary(self.category_names(), inherited)

    def _problems_of_references(self) -> Iterator[Problem]:
        """References hold at every moment at which a definition takes effect or ends."""
        definitions = self.definitions()
        moments = {date.min, *(d for c in definitions for d in (c.effective_start, c.effective_end) if d)}
        for moment in sorted(moments):
            try:
                in_order_of_reference(in_force(definitions, moment))
            except PolicyInvalid as error:
                whose = (n for n, c in enumerate(definitions) if str(error).startswith(f"cost category {c.name!r} "))
                yield ("cost_categories", *([*whose][-1:])), str(error)

    def _problems_of_shared_charges(self) -> Iterator[Problem]:
        sources = {(c.name, rule.source) for c in self.definitions() for rule in c.split_charge_rules}
        for number, shared in enumerate(self.shared_charges):
            for unknown in sorted(set(shared.cost_categories) - set(self.category_names())):
                at: Location = ("shared_charges", number, "cost_categories")
                yield at, f"shared charge {shared.name!r}: there is no cost category {unknown!r}"
            for target in shared.targets:
                if any((category, target) in sources for category in shared.cost_categories):
                    yield (
                        ("shared_charges", number, "targets"),
                        f"shared charge {shared.name!r}: the target {target!r} is the source of a split charge rule, and would "
                        "keep what it gets",
                    )

    def _problems_of_dimensions(self) -> Iterator[Problem]:
        """A route that matches by a misspelt dimension would never tell anything, and nobody would miss it."""
        known, summed = self.vocabulary().dimensions(), sorted({*DIMENSIONS, *self.category_names()})
        named: list[tuple[Location, str, str, list[str]]] = []
        for number, route in enumerate(self.routes):
            named += [(("routes", number, "match", name), f"route {route.name!r}", name, known) for name in route.match]
            named += [
                (("routes", number, "digests", n, "dimension"), f"route {route.name!r}: digest", digest.dimension, summed)
                for n, digest in enumerate(route.digests)
            ]
        for number, entry in enumerate(self.slack_users):
            sees = () if entry.sees == "all" else entry.sees
            named += [(("slack_users", number, "sees", name), f"slack_users of {entry.users[0]}", name, known) for name in sees]
        for location, whose, dimension, choice in named:
            if dimension not in choice:
                yield location, f"{whose}: unknown dimension {dimension!r}; choose from {choice}"

    def _problems_of_monitors(self) -> Iterator[Problem]:
        known = [*self.category_names(), *DIMENSIONS]
        for number, monitor in enumerate(self.anomaly_monitors or ()):
            if monitor.dimension not in known:
                yield (
                    ("anomaly_monitors", number, "dimension"),
                    f"anomaly monitor {monitor.name!r}: there is no dimension {monitor.dimension!r}; "
                    f"choose from {', '.join(known)}",
                )

    def monitors(self) -> tuple[Monitor, ...]:
        """What is watched for anomalies: unless it says otherwise, every cost category, principal and model."""
        if self.anomaly_monitors is not None:
            return tuple(document.monitor() for document in self.anomaly_monitors)
        return tuple(Monitor(name, name) for name in (*self.category_names(), "iam_principal", "model"))

    def category_names(self) -> tuple[str, ...]:
        """The cost categories by name, in the document's order."""
        return tuple(dict.fromkeys(category.name for category in self.cost_categories))

    def definitions(self) -> list[CostCategory]:
        """Every definition of a cost category, also those that are in force no more or not yet."""
        return [category.category() for category in self.cost_categories]

    def rules(self, on: date) -> Rules:
        """The rules by which the charges of a day are allocated."""
        return Rules.of(
            in_force(self.definitions(), on),
            [shared.rule() for shared in self.shared_charges],
            self.incomplete_logging,
            self.account_names,
        )

    def plain(self) -> dict[str, Any]:
        """The document as JSON has it; parsing it again gives the same document."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def version_of(document: PolicyDocument) -> str:
    """The version that a document has in force: the hash of what it says."""
    return content_hash(_text(document))[:12]


def _text(document: PolicyDocument) -> str:
    # Text, because the order of a mapping may count: of the patterns that a session's name fits, the first decides.
    return json.dumps(document.plain())


def parse_policy(document: object) -> PolicyDocument:
    """A document as people wrote it; errors name the place and the remedy."""
    try:
        return PolicyDocument.model_validate(document)
    except ValidationError as error:
        raise PolicyInvalid(f"the policy is not usable: {wrong_fields(error, 'document')}") from None


def _document(item: Item) -> PolicyDocument:
    return _parsed(bytes(item["document"]))


# A document of thousands of rules takes seconds to validate, and one invocation asks for it and earlier ones several times.
@lru_cache(maxsize=8)
def _parsed(compressed: bytes) -> PolicyDocument:
    return parse_policy(json.loads(decompress(compressed)))


class DynamoPolicy:
    """`Policy` in the ledger table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def document(self) -> PolicyDocument:
        """The document in force; until one is applied, one cost category `team` and no budgets."""
        item = self._table.get(pk=_PK, sk="current")
        return _document(item) if item else PolicyDocument()

    def version(self) -> str:
        """The version in force; empty until one is applied."""
        item = self._table.get(pk=_PK, sk="current")
        return str(item["version"]) if item else ""

    def apply(self, document: PolicyDocument, *, against: str | None = None) -> str:
        """Put a document in force; returns its version. Days are allocated under it from their next change on.

        `against` is the version that has to be in force (empty: none yet), else nothing changes and `LedgerConflict` is raised.
        """
        version = version_of(document)
        # Compressed, because cost categories of 500 rules each would not fit into an item.
        item: Item = {"pk": _PK, "document": compress(_text(document).encode()), "version": version}
        put: dict[str, Any] = {"TableName": self._table.name, "Item": to_wire(item | {"sk": "current"})}
        if against is not None:
            # The same again is a repeat.
            put["ConditionExpression"] = (
                "version IN (:against, :version)" if against else "attribute_not_exists(pk) OR version = :version"
            )
            put["ExpressionAttributeValues"] = to_wire({":version": version} | ({":against": against} if against else {}))
        kept = {"TableName": self._table.name, "Item": to_wire(item | {"sk": f"version#{version}"})}
        conflict = f"version {against or 'none'} is not in force any more: plan the document again"
        self._table.transact([{"Put": put}, {"Put": kept}], conflict)
        return version

    def category_names(self) -> Sequence[str]:
        """The names of the cost categories, in the document's order."""
        return self.document().category_names()

    def rules(self, on: date) -> Rules:
        """The rules by which the charges of a day are allocated."""
        return self.document().rules(on)

    def rules_of(self, fingerprint: str, on: date) -> Rules | None:
        """The rules of a day with this fingerprint, of a document that is or was in force; None where none has it."""
        return next((rules for _, rules in self.versions(on) if rules.fingerprint() == fingerprint), None)

    def versions(self, on: date) -> Iterator[tuple[str, Rules]]:
        """Every version that is kept, with its rules of a day: the one in force first, the one before any was applied last."""
        kept: dict[str, Item] = {}
        # The sort key `current` is the first, and its version is among the others again.
        for item in self._table.query(_PK):
            kept.setdefault(str(item["version"]), item)
        for version, item in kept.items():
            try:
                yield version, _document(item).rules(on)
            except PolicyInvalid:
                # A document of an earlier software, which this one cannot apply either.
                continue
        before_any = PolicyDocument()
        if version_of(before_any) not in kept:
            yield version_of(before_any), before_any.rules(on)

    def version_in_force(self) -> str:
        """The version in force; before any was applied, that of the document that stands in for it."""
        return self.version() or version_of(PolicyDocument())

    def budgets(self) -> Sequence[Budget]:
        """The budgets, in the document's order."""
        document = self.document()
        return build_budgets(document.budgets, document.vocabulary())

    def monitors(self) -> Sequence[Monitor]:
        """What is watched for anomalies, in the document's order."""
        return self.document().monitors()

    def routes(self) -> Sequence[Route]:
        """Where alerts are told, in the document's order."""
        return [document.route() for document in self.document().routes]

    def viewers(self) -> Sequence[Viewer]:
        """Which Slack users see what."""
        return [document.viewer() for document in self.document().slack_users]
