"""What a rule may ask of a charge, and the expressions that ask it: AWS's `CostCategoryExpression.v1` and more than it can ask.

A document that uses only AWS's words means here what it means there (docs/policy.md names the sentence of each rule). Beyond
them stand the caller, the model and what a call itself carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from attribution.conditions import MatchOption, Tree, fits
from attribution.usage import Pairs


class Dimension(StrEnum):
    """What every charge has, as expressions name it. The first six are AWS's, the others are not known to AWS.

    `RECORD_TYPE` is the line item type of the bill (`Usage`, `Tax`, `Credit`, ...). `SERVICE_CODE` is the product code.
    """

    LINKED_ACCOUNT = "LINKED_ACCOUNT"
    LINKED_ACCOUNT_NAME = "LINKED_ACCOUNT_NAME"
    SERVICE_CODE = "SERVICE_CODE"
    RECORD_TYPE = "RECORD_TYPE"
    REGION = "REGION"
    USAGE_TYPE = "USAGE_TYPE"
    OPERATION = "OPERATION"
    FEATURE = "FEATURE"
    MODEL = "MODEL"
    TOKEN_KIND = "TOKEN_KIND"  # noqa: S105 - no password
    TIER = "TIER"
    ROUTING = "ROUTING"
    IAM_PRINCIPAL = "IAM_PRINCIPAL"
    SESSION_NAME = "SESSION_NAME"
    SOURCE_IDENTITY = "SOURCE_IDENTITY"
    INFERENCE_PROFILE = "INFERENCE_PROFILE"
    PROJECT = "PROJECT"
    LAMBDA_FUNCTION = "LAMBDA_FUNCTION"
    ORGANIZATIONAL_UNIT = "ORGANIZATIONAL_UNIT"


AWS_DIMENSIONS = tuple(Dimension)[:6]
SHARE_MARK = "\0share"
"""The key of request metadata by which a plan tells shares apart; nothing that a call carried. No name that people may write
begins so, and every one sorts behind it.
"""
BILL_DIMENSIONS = frozenset(
    (Dimension.SERVICE_CODE, Dimension.USAGE_TYPE, Dimension.OPERATION, Dimension.FEATURE, Dimension.TOKEN_KIND)
)
"""What only the lines of a bill have; a call as a whole has none of it."""


class Source(StrEnum):
    """Where an expression looks. The first three are AWS's."""

    DIMENSIONS = "Dimensions"
    TAGS = "Tags"
    COST_CATEGORIES = "CostCategories"
    REQUEST_METADATA = "RequestMetadata"
    SESSION_TAGS = "SessionTags"


def session_name(iam_principal: str) -> str:
    """The session in an assumed role's or federated user's ARN; empty for any other principal.

    It may contain slashes: an ARN of a session has its role's name without the path, so two slashes come before it.
    """
    resource = iam_principal.rpartition(":sts:")[2].split(":", 2)[-1] if ":sts:" in iam_principal else ""
    kind, _, rest = resource.partition("/")
    if kind == "assumed-role":
        return rest.partition("/")[2]
    return rest if kind == "federated-user" else ""


# Not frozen, though only `categories` is ever changed: one is made of every share of every charge.
@dataclass(slots=True)
class Subject:
    """One share of a charge, as rules see it. What is not known is empty.

    `tags` are cost allocation tags under AWS's names for them: a resource tag's bare key, `iamPrincipal/<key>`,
    `accountTag/<key>`. `categories` are the values of the cost categories that were decided before.
    """

    linked_account: str
    region: str = ""
    record_type: str = "Usage"
    service_code: str = ""
    usage_type: str = ""
    linked_account_name: str = ""
    operation: str = ""
    feature: str = ""
    model: str = ""
    token_kind: str = ""
    tier: str = ""
    routing: str = ""
    iam_principal: str = ""
    source_identity: str = ""
    inference_profile: str = ""
    project: str = ""
    lambda_function: str = ""
    organizational_unit: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    request_metadata: Pairs = ()
    session_tags: Pairs = ()
    categories: dict[str, str] = field(default_factory=dict)

    @property
    def session_name(self) -> str:
        return session_name(self.iam_principal)

    def read(self, source: Source, key: str) -> str | None:
        """The value under a key of a source; None where there is none. A dimension without a value is empty."""
        if source is Source.DIMENSIONS:
            value: str = getattr(self, key.lower())
            return value
        return self.pairs(source).get(key)

    def pairs(self, source: Source) -> Mapping[str, str]:
        """Everything that a source with keys holds."""
        if source is Source.TAGS:
            return self.tags
        if source is Source.COST_CATEGORIES:
            return self.categories
        return dict(self.request_metadata if source is Source.REQUEST_METADATA else self.session_tags)


@dataclass(frozen=True, slots=True)
class Match:
    """A leaf: any of `values` under one key. An empty `key` with `ABSENT` asks whether the source holds nothing at all."""

    source: Source
    key: str
    values: tuple[str, ...] = ()
    option: MatchOption = MatchOption.EQUALS
    ignores_case: bool = False

    def holds(self, subject: Subject) -> bool:
        """Whether the subject has such a value."""
        if self.option is MatchOption.ABSENT:
            return self._is_absent(subject)
        found = subject.read(self.source, self._compared_key())
        if found is None:
            return False
        return fits(found, self.values, self.option, ignores_case=self.ignores_case)

    def _compared_key(self) -> str:
        """AWS compares an account's id where a rule says `EQUALS`, and its name where one asks for a part of it."""
        is_part_of_account = self.key == Dimension.LINKED_ACCOUNT and self.option is not MatchOption.EQUALS
        if self.source is Source.DIMENSIONS and is_part_of_account:
            return Dimension.LINKED_ACCOUNT_NAME
        return self.key

    def _is_absent(self, subject: Subject) -> bool:
        if not self.key:
            return not subject.pairs(self.source).keys() - {SHARE_MARK}
        found = subject.read(self.source, self.key)
        # A dimension and a cost category always are; they are absent where they have no value. A tag may be there and empty.
        return found is None if self.source is not Source.DIMENSIONS else not found


Expression: TypeAlias = Tree[Match]
