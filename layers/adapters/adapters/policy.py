"""The policy document: cost categories and budgets, written by people as YAML or JSON, validated, kept in the ledger.

CONFIG#policy   current             the document in force and its version
CONFIG#policy   version#<hash>      every document there has been
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from adapters.budget_documents import MAX_BUDGETS, AwsBudgetDocument, BudgetDocument, build_budgets
from adapters.budget_filters import Vocabulary
from adapters.codec import compress, decompress_lines, lines
from adapters.dynamodb import Table
from adapters.validation import wrong_fields
from attribution.allocation import EVIDENCE_ORDER, CostCategory
from attribution.budgets import Budget
from attribution.canonical import content_hash, pairs
from attribution.days import DIMENSIONS
from attribution.errors import PolicyInvalid

_PK = "CONFIG#policy"
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/+=@-]*$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CostCategoryDocument(_Document):
    """An owner dimension: its value is inherited from tags or request metadata under any of `keys`."""

    name: Name
    keys: tuple[Name, ...] = ()
    accounts: dict[Annotated[str, Field(pattern=r"^\d{12}$")], Name] = {}
    evidence: tuple[str, ...] = EVIDENCE_ORDER

    @model_validator(mode="after")
    def _known_evidence(self) -> CostCategoryDocument:
        unknown = set(self.evidence) - set(EVIDENCE_ORDER)
        if unknown:
            raise ValueError(f"unknown evidence {sorted(unknown)}; choose from {list(EVIDENCE_ORDER)}")
        if self.name in DIMENSIONS:
            raise ValueError(f"{self.name!r} is a dimension of every charge; choose another name")
        return self


def _form(value: object) -> str:
    """Which of the two forms a budget is written in; the names of the forms are no part of an error's place."""
    return "(aws)" if isinstance(value, AwsBudgetDocument) or (isinstance(value, dict) and "aws" in value) else "(budget)"


AnyBudgetDocument = Annotated[
    Annotated[BudgetDocument, Tag("(budget)")] | Annotated[AwsBudgetDocument, Tag("(aws)")], Discriminator(_form)
]


class PolicyDocument(_Document):
    """Everything people configure."""

    cost_categories: tuple[CostCategoryDocument, ...] = (CostCategoryDocument(name="team", keys=("team",)),)
    budgets: Annotated[tuple[AnyBudgetDocument, ...], Field(max_length=MAX_BUDGETS)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> PolicyDocument:
        for kind, names in (
            ("cost category", [c.name for c in self.cost_categories]),
            ("budget", [b.name for b in self.budgets]),
        ):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} {repeated[0]!r} is defined twice")
        build_budgets(self.budgets, self.vocabulary())
        return self

    def vocabulary(self) -> Vocabulary:
        """What budgets may filter by."""
        keys = [(key.casefold(), c.name) for c in self.cost_categories for key in c.keys or (c.name,)]
        return Vocabulary(tuple(c.name for c in self.cost_categories), dict(reversed(keys)))


def parse_policy(document: object) -> PolicyDocument:
    """A document as people wrote it; errors name the place and the remedy."""
    try:
        return PolicyDocument.model_validate(document)
    except ValidationError as error:
        raise PolicyInvalid(f"the policy is not usable: {wrong_fields(error, 'document')}") from None


class DynamoPolicy:
    """`Policy` in the ledger table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def document(self) -> PolicyDocument:
        """The document in force; until one is applied, one cost category `team` and no budgets."""
        item = self._table.get(pk=_PK, sk="current")
        return parse_policy(next(decompress_lines(bytes(item["document"])))) if item else PolicyDocument()

    def version(self) -> str:
        """The version in force; empty until one is applied."""
        item = self._table.get(pk=_PK, sk="current")
        return str(item["version"]) if item else ""

    def apply(self, document: PolicyDocument) -> str:
        """Put a document in force; returns its version. Days are allocated under it from their next change on."""
        plain: dict[str, Any] = document.model_dump(mode="json", exclude_none=True)
        version = content_hash(plain)[:12]
        # Compressed: hundreds of budgets in AWS's words would not fit into an item.
        item = {"pk": _PK, "document": compress(lines([plain])), "version": version}
        self._table.batch_put([item | {"sk": f"version#{version}"}, item | {"sk": "current"}])
        return version

    def cost_categories(self) -> Sequence[CostCategory]:
        """The owner dimensions, in the document's order."""
        return [
            CostCategory(c.name, c.keys or (c.name,), pairs(c.accounts), c.evidence) for c in self.document().cost_categories
        ]

    def budgets(self) -> Sequence[Budget]:
        """The budgets, in the document's order."""
        document = self.document()
        return build_budgets(document.budgets, document.vocabulary())
