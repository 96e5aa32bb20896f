"""AWS's own cost category definitions, as `describe-cost-category-definition` prints them, and what the product adds to them.

A definition that AWS would refuse is refused with AWS's reason and the place in it. Fields are named as AWS names them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_pascal

from attribution.charges import SplitMethod
from attribution.conditions import COMPARISONS, And, MatchOption, Not, Or
from attribution.cost_categories import CostCategory, InheritedValueRule, RegularRule, Rule, SplitChargeRule
from attribution.expressions import AWS_DIMENSIONS, Dimension, Expression, Match, Source

_ROOTS = ("And", "Or", "Not", "Dimensions", "Tags", "CostCategories")
_ROOTS_BEYOND_AWS = ("RequestMetadata", "SessionTags")
_INHERITED: dict[str, Source] = {
    "LINKED_ACCOUNT_NAME": Source.DIMENSIONS,
    "TAG": Source.TAGS,
    "REQUEST_METADATA": Source.REQUEST_METADATA,
    "SESSION_TAG": Source.SESSION_TAGS,
    **{
        dimension: Source.DIMENSIONS
        for dimension in (
            Dimension.IAM_PRINCIPAL,
            Dimension.SESSION_NAME,
            Dimension.SOURCE_IDENTITY,
            Dimension.INFERENCE_PROFILE,
            Dimension.PROJECT,
            Dimension.LAMBDA_FUNCTION,
            Dimension.ORGANIZATIONAL_UNIT,
            Dimension.MODEL,
        )
    },
}
_WITH_KEY = (Source.TAGS, Source.REQUEST_METADATA, Source.SESSION_TAGS)


def _aws_name(name: str) -> str:
    """AWS's pattern `^(?! )[\\p{L}\\p{N}\\p{Z}-_]*(?<! )$`."""
    usual = all(unicodedata.category(character)[0] in "LNZ" or character in "-_" for character in name)
    if not usual or name != name.strip(" "):
        raise ValueError("use letters, digits, spaces, - and _, and no space at either end")
    return name


AwsName = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_aws_name)]
Values = tuple[Annotated[str, Field(max_length=1024)], ...]


class AwsDocument(BaseModel):
    """A part of a definition, its fields under AWS's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_pascal)


class LeafDocument(AwsDocument):
    """A leaf under a key that people chose: `Tags`, `CostCategories`, `RequestMetadata`, `SessionTags`."""

    key: str | None = None
    values: Values = ()
    match_options: tuple[str, ...] = ()

    @field_validator("match_options")
    @classmethod
    def _options_of_cost_categories(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if option == "GREATER_THAN_OR_EQUAL":
                raise ValueError("MatchOption GREATER_THAN_OR_EQUAL is for anomaly subscriptions, not for cost categories")
            if option not in MatchOption.__members__:
                raise ValueError(f"MatchOption {option!r} does not exist; choose from {', '.join(MatchOption)}")
        compared = [option for option in options if option in COMPARISONS]
        if len(compared) > 1 or len(options) - len(compared) > 1:
            raise ValueError("name one of EQUALS, ABSENT, STARTS_WITH, ENDS_WITH, CONTAINS, and one of the two cases at most")
        return options

    @model_validator(mode="after")
    def _usable(self) -> LeafDocument:
        if self.option is MatchOption.ABSENT:
            if self.values:
                raise ValueError("ABSENT takes no Values: remove them, or the option")
        elif not self.values:
            raise ValueError("Values are missing")
        elif self.key is None:
            raise ValueError("Key is missing")
        return self

    @property
    def option(self) -> MatchOption:
        """How values are compared; without values a leaf asks whether there is none, as AWS reads it."""
        stated = [option for option in self.match_options if option in COMPARISONS]
        if stated:
            return MatchOption(stated[0])
        return MatchOption.EQUALS if self.values else MatchOption.ABSENT

    def match(self, source: Source) -> Match:
        """The leaf as the core has it."""
        key = self.key or ""
        if source is Source.TAGS:
            # Other APIs of AWS spell the key of a tag that users define so.
            key = key.removeprefix("user:")
        return Match(source, key, self.values, self.option, MatchOption.CASE_INSENSITIVE in self.match_options)


class DimensionDocument(LeafDocument):
    """A leaf about what every charge has."""

    key: str

    @field_validator("key")
    @classmethod
    def _known_dimension(cls, key: str) -> str:
        if key not in Dimension.__members__:
            raise ValueError(
                f"{key!r} cannot be used in a cost category rule; AWS takes {', '.join(AWS_DIMENSIONS)}; beyond AWS: "
                f"{', '.join(dimension for dimension in Dimension if dimension not in AWS_DIMENSIONS)}"
            )
        return key


class ExpressionDocument(AwsDocument):
    """An expression: exactly one operator or leaf."""

    and_: Annotated[tuple[ExpressionDocument, ...] | None, Field(alias="And", min_length=1)] = None
    or_: Annotated[tuple[ExpressionDocument, ...] | None, Field(alias="Or", min_length=1)] = None
    not_: Annotated[ExpressionDocument | None, Field(alias="Not")] = None
    dimensions: DimensionDocument | None = None
    tags: LeafDocument | None = None
    cost_categories: LeafDocument | None = None
    request_metadata: LeafDocument | None = None
    session_tags: LeafDocument | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_root(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        roots = [name for name in (*_ROOTS, *_ROOTS_BEYOND_AWS) if document.get(name) is not None]
        if len(roots) > 1:
            raise ValueError(
                "Expression has more than one roots. Only one root operator is allowed for each expression: "
                + ", ".join(_ROOTS)
            )
        if not roots:
            raise ValueError(f"Expression has no root. Give it one of {', '.join((*_ROOTS, *_ROOTS_BEYOND_AWS))}")
        return document

    def expression(self) -> Expression:
        """The expression as the core has it."""
        if self.and_ is not None:
            return And(tuple(operand.expression() for operand in self.and_))
        if self.or_ is not None:
            return Or(tuple(operand.expression() for operand in self.or_))
        if self.not_ is not None:
            return Not(self.not_.expression())
        by_source = {
            Source.DIMENSIONS: self.dimensions,
            Source.TAGS: self.tags,
            Source.COST_CATEGORIES: self.cost_categories,
            Source.REQUEST_METADATA: self.request_metadata,
            Source.SESSION_TAGS: self.session_tags,
        }
        return next(leaf.match(source) for source, leaf in by_source.items() if leaf is not None)


class InheritedValueDocument(AwsDocument):
    """Where a value is inherited from. AWS knows `LINKED_ACCOUNT_NAME` and `TAG`."""

    dimension_name: str
    dimension_key: str = ""

    @field_validator("dimension_name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in _INHERITED:
            raise ValueError(
                f"{name!r} cannot be inherited; AWS takes LINKED_ACCOUNT_NAME, TAG; beyond AWS: "
                f"{', '.join(name for name in list(_INHERITED)[2:])}"
            )
        return name

    @model_validator(mode="after")
    def _with_its_key(self) -> InheritedValueDocument:
        if (_INHERITED[self.dimension_name] in _WITH_KEY) != bool(self.dimension_key):
            needed = "is not taken by" if self.dimension_key else "is missing for"
            raise ValueError(f"DimensionKey {needed} {self.dimension_name}")
        return self

    def rule(self) -> InheritedValueRule:
        """The rule as the core has it."""
        source = _INHERITED[self.dimension_name]
        key = self.dimension_key.removeprefix("user:") if source in _WITH_KEY else self.dimension_name
        return InheritedValueRule(source, key)


class RuleDocument(AwsDocument):
    """One rule: a value where an expression holds, or a value that is inherited."""

    value: AwsName | None = None
    rule: ExpressionDocument | None = None
    inherited_value: InheritedValueDocument | None = None
    type: Literal["REGULAR", "INHERITED_VALUE"] = "REGULAR"

    @model_validator(mode="after")
    def _whole(self) -> RuleDocument:
        if self.type == "REGULAR":
            if self.value is None or self.rule is None:
                raise ValueError("a REGULAR rule needs Value and Rule")
            if self.inherited_value is not None:
                raise ValueError("a REGULAR rule takes no InheritedValue; its Type would be INHERITED_VALUE")
        elif self.inherited_value is None:
            raise ValueError("an INHERITED_VALUE rule needs InheritedValue")
        elif self.rule is not None or self.value is not None:
            raise ValueError("an INHERITED_VALUE rule takes neither Value nor Rule")
        return self

    def core(self) -> Rule:
        """The rule as the core has it."""
        if self.inherited_value is not None:
            return self.inherited_value.rule()
        assert self.value is not None and self.rule is not None  # noqa: S101 - `_whole` has seen to it
        return RegularRule(self.value, self.rule.expression())


class SplitParameterDocument(AwsDocument):
    """The percentages of a FIXED split, one for each target."""

    type: Literal["ALLOCATION_PERCENTAGES"]
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=500)]


class SplitChargeRuleDocument(AwsDocument):
    """Hands the cost of one value to others."""

    source: Annotated[str, Field(max_length=1024)]
    targets: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(min_length=1, max_length=500)]
    method: SplitMethod
    parameters: Annotated[tuple[SplitParameterDocument, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _usable(self) -> SplitChargeRuleDocument:
        if self.method is not SplitMethod.FIXED:
            if self.parameters:
                raise ValueError(f"Parameters are for the method FIXED, not for {self.method}")
        elif len(self.parameters) != 1:
            raise ValueError("the method FIXED needs Parameters: one of Type ALLOCATION_PERCENTAGES")
        else:
            percentages_of(self.parameters[0].values, self.targets)
        twice = sorted({target for target in self.targets if self.targets.count(target) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is a target twice")
        return self

    def rule(self) -> SplitChargeRule:
        """The rule as the core has it."""
        stated = self.parameters[0].values if self.parameters else ()
        percentages = percentages_of(stated, self.targets) if self.parameters else ()
        return SplitChargeRule(self.source, self.targets, self.method, percentages)


def percentages_of(stated: Sequence[str], targets: Sequence[str]) -> tuple[Decimal, ...]:
    """The percentages of a FIXED split: one for each target, none negative, 100 together."""
    try:
        percentages = tuple(Decimal(text) for text in stated)
    except InvalidOperation:
        raise ValueError("a percentage is a number, such as 33.4") from None
    if len(percentages) != len(targets):
        raise ValueError(f"{len(targets)} targets need {len(targets)} percentages, not {len(percentages)}")
    if not all(percentage.is_finite() and 0 <= percentage <= 100 for percentage in percentages):
        raise ValueError("a percentage is between 0 and 100")
    if sum(percentages) != 100:
        raise ValueError(f"the percentages add up to {sum(percentages)}, not to 100")
    return percentages


def check_splits(rules: Iterable[SplitChargeRule]) -> None:
    """Refuse what AWS refuses: a value that is split twice, and one that is both split and a target."""
    sources = [rule.source for rule in rules]
    for source in sources:
        if sources.count(source) > 1:
            raise ValueError(f"{source!r} is the source of two split charge rules; a value is a source once at most")
    targets = {target for rule in rules for target in rule.targets}
    for source in sources:
        if source in targets:
            raise ValueError(
                f"{source!r} is the source of a split charge rule and a target of one; a source cannot be a target"
            )


def _month_start(value: str) -> str:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("write the first day of a month, such as 2026-10-01T00:00:00Z") from None
    if when.day != 1 or when.time() != time(0):
        raise ValueError("a cost category takes effect, and ends, on the first day of a month at 00:00:00Z")
    return value


MonthStart = Annotated[str, AfterValidator(_month_start)]


def is_aws_definition(document: object) -> bool:
    """Whether a cost category is written as AWS writes it: its keys begin with capitals."""
    return isinstance(document, dict) and bool({"CostCategory", "Name", "Rules", "RuleVersion"} & set(document))


class AwsCostCategoryDocument(AwsDocument):
    """A cost category definition of AWS, from `create-` or `describe-cost-category-definition`."""

    name: AwsName
    rule_version: Literal["CostCategoryExpression.v1"]
    rules: Annotated[tuple[RuleDocument, ...], Field(min_length=1, max_length=500)]
    default_value: AwsName | None = None
    split_charge_rules: Annotated[tuple[SplitChargeRuleDocument, ...], Field(max_length=10)] = ()
    effective_start: MonthStart | None = None
    effective_end: MonthStart | None = None
    # Of a definition that was read from AWS; they decide nothing.
    cost_category_arn: str | None = None
    processing_status: tuple[dict[str, str], ...] = ()
    resource_tags: tuple[dict[str, str], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_described(cls, document: Any) -> Any:
        """What `describe-cost-category-definition` prints has the definition inside."""
        return document["CostCategory"] if isinstance(document, dict) and "CostCategory" in document else document

    @model_validator(mode="after")
    def _splits(self) -> AwsCostCategoryDocument:
        check_splits([rule.rule() for rule in self.split_charge_rules])
        return self

    def category(self) -> CostCategory:
        """The cost category as the core has it."""
        return CostCategory(
            name=self.name,
            rules=tuple(rule.core() for rule in self.rules),
            default_value=self.default_value or "",
            split_charge_rules=tuple(rule.rule() for rule in self.split_charge_rules),
            effective_start=day_of(self.effective_start),
            effective_end=day_of(self.effective_end),
        )


def day_of(moment: str | None) -> date | None:
    """The day of a moment as AWS writes it."""
    return datetime.fromisoformat(moment).date() if moment else None
