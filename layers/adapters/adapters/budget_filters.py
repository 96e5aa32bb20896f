"""What budgets filter by, in AWS's words: `Expression` and the older `CostFilters`, as filters over the ledger's dimensions.

What has no counterpart in this ledger is refused with its place, never taken for something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.validation import Location
from attribution.conditions import CASES, COMPARISONS, And, MatchOption, Not, Or
from attribution.meters import TokenKind
from attribution.models import model_of_name
from attribution.scopes import CHARGE_DIMENSIONS, EVERYTHING, Filter, Match


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What filters may speak of besides the dimensions of every charge: cost categories, and the tag keys they inherit from.

    Tag keys are in lower case.
    """

    categories: tuple[str, ...]
    category_of_tag: Mapping[str, str]

    def dimensions(self) -> list[str]:
        return sorted({*CHARGE_DIMENSIONS, *self.categories})


class Document(BaseModel):
    """A part of a policy document: nothing unknown in it, and nothing of it in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_PART_OF_PLACE = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class Unusable(ValueError):
    """Something in a document has no meaning here; knows its place."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: {reason}")

    @property
    def location(self) -> Location:
        """The place as keys and numbers."""
        return tuple(int(number) if number else key for number, key in _PART_OF_PLACE.findall(self.place))

    def inside(self, place: str) -> Unusable:
        return Unusable(f"{place}{'' if self.place.startswith('[') else '.'}{self.place}", self.reason)


class _Leaf(Document):
    Key: Annotated[str, Field(min_length=1, max_length=1024)] = ""
    Values: tuple[Annotated[str, Field(max_length=1024)], ...] = ()
    MatchOptions: tuple[str, ...] = ()

    def option(self) -> tuple[MatchOption, bool]:
        """How values are compared, and whether letter case does not matter."""
        chosen = [o for o in self.MatchOptions if o not in CASES]
        unknown = [o for o in chosen if o not in COMPARISONS]
        if unknown:
            raise Unusable("MatchOptions", f"{unknown[0]} compares nothing in this ledger; choose from {sorted(COMPARISONS)}")
        if len(chosen) > 1:
            raise Unusable("MatchOptions", f"{' and '.join(chosen)} exclude each other")
        option = MatchOption(chosen[0]) if chosen else MatchOption.EQUALS if self.Values else MatchOption.ABSENT
        if option is MatchOption.ABSENT and self.Values:
            raise Unusable("Values", "ABSENT matches what has no value: leave the values out")
        if option is not MatchOption.ABSENT and not self.Values:
            raise Unusable("Values", f"{option} needs values to compare with")
        return option, "CASE_INSENSITIVE" in self.MatchOptions


_DEPTH = 10


class ExpressionDocument(Document):
    """AWS's `Expression`; `Dimensions.Key` may also be one of our own dimensions, such as `model`."""

    Or: tuple[ExpressionDocument, ...] | None = None
    And: tuple[ExpressionDocument, ...] | None = None
    Not: ExpressionDocument | None = None
    Dimensions: _Leaf | None = None
    Tags: _Leaf | None = None
    CostCategories: _Leaf | None = None
    ProductAttributes: _Leaf | None = None

    @model_validator(mode="after")
    def _one_root(self) -> ExpressionDocument:
        if len(self._roots()) != 1:
            raise ValueError(
                "each expression has exactly one root: And, Or, Not, Dimensions, Tags, CostCategories or ProductAttributes"
            )
        return self

    def _roots(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @property
    def names_bedrock(self) -> bool:
        """Whether some part of it narrows to a service: by its name, by what only its charges have."""
        parts = (*(self.Or or ()), *(self.And or ()), *((self.Not,) if self.Not else ()))
        by_dimension = self.Dimensions is not None and self.Dimensions.Key not in _OF_EVERY_SERVICE
        return by_dimension or self.ProductAttributes is not None or any(part.names_bedrock for part in parts)

    def filter(self, vocabulary: Vocabulary, depth: int = 1) -> Filter:
        """The filter that it means in this ledger."""
        if depth > _DEPTH:
            raise Unusable("And", f"an expression may be nested {_DEPTH} deep")
        (root,) = self._roots()
        part = getattr(self, root)
        try:
            if isinstance(part, tuple):
                return _combined(root, part, vocabulary, depth)
            if isinstance(part, ExpressionDocument):
                return Not(part.filter(vocabulary, depth + 1))
            return _LEAVES[root](part, vocabulary)
        except Unusable as unusable:
            raise unusable.inside(root) from None


def _combined(root: str, parts: tuple[ExpressionDocument, ...], vocabulary: Vocabulary, depth: int) -> Filter:
    if len(parts) < 2:
        raise Unusable("[]", "needs at least two expressions")
    filters = []
    for i, part in enumerate(parts):
        try:
            filters.append(part.filter(vocabulary, depth + 1))
        except Unusable as unusable:
            raise unusable.inside(f"[{i}]") from None
    return And(tuple(filters)) if root == "And" else Or(tuple(filters))


_AWS_DIMENSIONS = {
    "LINKED_ACCOUNT": "account",
    "REGION": "region",
    "USAGE_TYPE": "usage_type",
    "RECORD_TYPE": "line_item_type",
}
_OF_EVERY_SERVICE = ("LINKED_ACCOUNT", "REGION", "RECORD_TYPE", "account", "region", "line_item_type")
_SERVICES = ("SERVICE", "SERVICE_CODE")
_BEDROCK = ("amazon bedrock", "amazonbedrock")
_EDITION = re.compile(r"\(amazon bedrock edition\)$", re.IGNORECASE)


def _dimension(leaf: _Leaf, vocabulary: Vocabulary) -> Filter:
    if leaf.Key in _SERVICES:
        return _service(leaf.Values)
    name = _AWS_DIMENSIONS.get(leaf.Key, leaf.Key)
    if name not in vocabulary.dimensions():
        known = [*_AWS_DIMENSIONS, *_SERVICES, *vocabulary.dimensions()]
        raise Unusable("Key", f"{leaf.Key} is no dimension of this ledger; choose from {known}")
    option, ignore_case = leaf.option()
    return Match(name, leaf.Values, option, ignore_case)


def _service(values: Sequence[str]) -> Filter:
    """A filter by service: the ledger holds Amazon Bedrock, and nothing else can ever match."""
    if any(v.strip().casefold() in _BEDROCK for v in values):
        return EVERYTHING
    models = tuple(model_of_name(v) for v in values if _EDITION.search(v.strip()))
    if not models:
        raise Unusable("Values", f"this ledger holds Amazon Bedrock alone; {', '.join(values)} would never spend anything")
    return Match("model", models)


def _category(leaf: _Leaf, vocabulary: Vocabulary) -> Filter:
    if leaf.Key not in vocabulary.categories:
        raise Unusable("Key", f"there is no cost category {leaf.Key!r}; the policy defines {list(vocabulary.categories)}")
    option, ignore_case = leaf.option()
    return Match(leaf.Key, leaf.Values, option, ignore_case)


def _tag(leaf: _Leaf, vocabulary: Vocabulary) -> Filter:
    option, ignore_case = leaf.option()
    return Match(_category_of_tag(leaf.Key, vocabulary), leaf.Values, option, ignore_case)


_TAG_PREFIXES = ("user:", "iamprincipal/", "resourcetags/", "accounttag/")


def plain_tag_key(key: str) -> str:
    """A tag key without what AWS puts before it to say where the tag is from, in lower case."""
    plain = key.casefold()
    for prefix in _TAG_PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain


def _category_of_tag(key: str, vocabulary: Vocabulary) -> str:
    """The cost category that inherits from a tag key: what it allocates is what the tag's filter means here."""
    category = vocabulary.category_of_tag.get(plain_tag_key(key))
    if category is None:
        raise Unusable("Key", f"no cost category inherits from the tag key {key!r}: add one with this key")
    return category


_INFERENCE_TYPES = {"input tokens": TokenKind.INPUT, "output tokens": TokenKind.OUTPUT}


def _attribute(leaf: _Leaf, vocabulary: Vocabulary) -> Filter:
    option, _ = leaf.option()
    if option not in (MatchOption.EQUALS, MatchOption.ABSENT) or "CASE_INSENSITIVE" in leaf.MatchOptions:
        raise Unusable("MatchOptions", "ProductAttributes take EQUALS, with or without CASE_SENSITIVE, or ABSENT")
    if option is MatchOption.ABSENT and "CASE_SENSITIVE" in leaf.MatchOptions:
        raise Unusable("MatchOptions", "CASE_SENSITIVE goes with EQUALS alone")
    match leaf.Key:
        case "model":
            return Match("model", tuple(model_of_name(v) for v in leaf.Values), option)
        case "provider":
            return Match("provider", tuple(_provider(v) for v in leaf.Values), option)
        case "inferenceType":
            unknown = [v for v in leaf.Values if v.casefold() not in _INFERENCE_TYPES]
            if not unknown:
                return Match("token_kind", tuple(_INFERENCE_TYPES[v.casefold()].value for v in leaf.Values), option)
            raise Unusable("Values", f"{unknown[0]!r} is not known; filter by Dimensions with the Key token_kind instead")
        case _:
            raise Unusable("Key", f"{leaf.Key!r} is not known; choose from model, provider, inferenceType")


def _provider(name: str) -> str:
    """A provider as model keys begin with it: `Mistral AI` is `mistral`."""
    return name.casefold().removesuffix(" ai").removesuffix(" labs").replace(" ", "")


_LEAVES: Mapping[str, Callable[[_Leaf, Vocabulary], Filter]] = {
    "Dimensions": _dimension,
    "Tags": _tag,
    "CostCategories": _category,
    "ProductAttributes": _attribute,
}


def cost_filters(filters: Mapping[str, tuple[str, ...]], vocabulary: Vocabulary) -> Filter:
    """AWS's older filters: values of one key are alternatives, keys are conditions."""
    parts: list[Filter] = []
    for key, values in sorted(filters.items()):
        try:
            parts += _cost_filter(key, values, vocabulary)
        except Unusable as unusable:
            raise Unusable(f"CostFilters.{key}", unusable.reason) from None
    return parts[0] if len(parts) == 1 else And(tuple(p for p in parts if p != EVERYTHING))


_COST_FILTERS = {
    "LinkedAccount": "account",
    "Region": "region",
    "UsageType": "usage_type",
    "RecordType": "line_item_type",
}
_KEYED_FILTERS = ("TagKeyValue", "CostCategory")


def _cost_filter(key: str, values: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[Filter]:
    if not values:
        raise Unusable("Values", "the filter has no values")
    if key == "Service":
        yield _service(values)
    elif key in _COST_FILTERS:
        yield Match(_COST_FILTERS[key], values)
    elif key in _KEYED_FILTERS:
        grouped: dict[str, list[str]] = {}
        for value in values:
            name, separator, wanted = value.partition("$")
            if not separator or not name:
                raise Unusable("Values", f"{value!r} is not written as key$value")
            grouped.setdefault(name, []).append(wanted)
        for name, wanted_values in grouped.items():
            leaf = _Leaf(Key=name, Values=tuple(wanted_values))
            yield _tag(leaf, vocabulary) if key == "TagKeyValue" else _category(leaf, vocabulary)
    else:
        known = [*_COST_FILTERS, "Service", *_KEYED_FILTERS]
        raise Unusable("Key", f"this ledger cannot filter by it; choose from {known}")
