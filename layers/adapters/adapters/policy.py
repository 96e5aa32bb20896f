"""The policy document: cost categories, budgets, routes and Slack users.

Written by people as YAML or JSON, validated, kept in the ledger.

CONFIG#policy   current             the document in force and its version
CONFIG#policy   version#<hash>      every document there has been
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters.dynamodb import Table
from adapters.route_documents import RouteDocument, SlackUsersDocument, problem_of_routes
from adapters.validation import wrong_fields
from attribution.allocation import EVIDENCE_ORDER, CostCategory
from attribution.budgets import Budget
from attribution.canonical import content_hash, pairs
from attribution.charges import COST_METRICS
from attribution.days import DIMENSIONS
from attribution.errors import PolicyInvalid
from attribution.money import Money
from attribution.routes import Route, Viewer

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


class LimitDocument(_Document):
    """A budget limit; the amount is text or a whole number, so that it stays exact."""

    amount: Decimal = Field(ge=Decimal("0.01"), max_digits=20, decimal_places=6)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"


class BudgetDocument(_Document):
    """A monthly cost budget."""

    name: Name
    limit: LimitDocument
    dimension: str
    values: tuple[str, ...] = ()
    metric: str = "billed_cost"
    thresholds: Annotated[
        tuple[Annotated[Decimal, Field(gt=0, le=100_000, max_digits=10, decimal_places=4)], ...], Field(min_length=1)
    ] = (Decimal(80), Decimal(100))
    channel: str = ""

    @model_validator(mode="after")
    def _known_metric(self) -> BudgetDocument:
        if self.metric not in COST_METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; choose from {list(COST_METRICS)}")
        return self


class PolicyDocument(_Document):
    """Everything people configure."""

    cost_categories: tuple[CostCategoryDocument, ...] = (CostCategoryDocument(name="team", keys=("team",)),)
    budgets: tuple[BudgetDocument, ...] = ()
    routes: tuple[RouteDocument, ...] = ()
    slack_users: tuple[SlackUsersDocument, ...] = ()

    @model_validator(mode="after")
    def _routed(self) -> PolicyDocument:
        problem = problem_of_routes(self.routes, [(budget.name, budget.channel) for budget in self.budgets])
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> PolicyDocument:
        for kind, names in (
            ("cost category", [c.name for c in self.cost_categories]),
            ("budget", [b.name for b in self.budgets]),
        ):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} {repeated[0]!r} is defined twice")
        known = {*DIMENSIONS, *(c.name for c in self.cost_categories)}
        for budget in self.budgets:
            if budget.dimension not in known:
                raise ValueError(f"budget {budget.name!r}: unknown dimension {budget.dimension!r}; choose from {sorted(known)}")
        return self


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
        return parse_policy(json.loads(item["document"])) if item else PolicyDocument()

    def version(self) -> str:
        """The version in force; empty until one is applied."""
        item = self._table.get(pk=_PK, sk="current")
        return str(item["version"]) if item else ""

    def apply(self, document: PolicyDocument) -> str:
        """Put a document in force; returns its version. Days are allocated under it from their next change on."""
        plain: dict[str, Any] = document.model_dump(mode="json")
        version = content_hash(plain)[:12]
        item = {"pk": _PK, "document": json.dumps(plain), "version": version}
        self._table.batch_put([item | {"sk": f"version#{version}"}, item | {"sk": "current"}])
        return version

    def cost_categories(self) -> Sequence[CostCategory]:
        """The owner dimensions, in the document's order."""
        return [
            CostCategory(c.name, c.keys or (c.name,), pairs(c.accounts), c.evidence) for c in self.document().cost_categories
        ]

    def budgets(self) -> Sequence[Budget]:
        """The budgets, in the document's order."""
        return [
            Budget(
                name=b.name,
                limit=Money(b.limit.amount, b.limit.currency),
                dimension=b.dimension,
                values=b.values,
                metric=b.metric,
                threshold_percents=b.thresholds,
                channel=b.channel,
            )
            for b in self.document().budgets
        ]

    def routes(self) -> Sequence[Route]:
        """Where alerts are told, in the document's order."""
        return [document.route() for document in self.document().routes]

    def viewers(self) -> Sequence[Viewer]:
        """Which Slack users see what."""
        return [document.viewer() for document in self.document().slack_users]
