"""What a valid policy document will hardly do what its author expects: names that nothing has, budgets that tell nobody.

None of it is an error: a team may have its budget before it spends anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from attribution.allocation import IDLE_CAPACITY
from attribution.charges import PriceBasis
from attribution.conditions import MatchOption, leaves
from attribution.cost_categories import CostCategory, EvidenceRule, RegularRule
from attribution.days import DIMENSIONS, UNALLOCATED
from attribution.expressions import Dimension, Expression, Source
from attribution.formats import counted
from attribution.meters import Routing, Tier, TokenKind
from attribution.models import CATALOGUE, model_of_name
from attribution.periods import BillingPeriod
from attribution.usage_types import CUSTOM_MODEL_INFERENCE, RULES, UNCLASSIFIED

if TYPE_CHECKING:
    from adapters.budget_documents import AwsBudgetDocument, BudgetDocument
    from adapters.policy import PolicyDocument
    from bedrock_costs.stack import Stack

DAYS_LOOKED_AT = 90
_SHOWN = 5
_MOST_WARNINGS = 20
_NOBODY = ("", UNALLOCATED)
# The `line_item_type` values of cost reports, and FOCUS's charge categories, which stand in their place.
_LINE_ITEM_TYPES = (
    "Usage", "DiscountedUsage", "Tax", "Credit", "Refund", "Fee", "RIFee", "Discount", "EdpDiscount", "BundledDiscount",
    "PrivateRateDiscount", "RiVolumeDiscount", "SppDiscount", "SavingsPlanCoveredUsage", "SavingsPlanNegation",
    "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee", "Purchase", "Adjustment",
)  # fmt: skip
_FEATURES = sorted({rule.feature for rule in RULES} | {CUSTOM_MODEL_INFERENCE, IDLE_CAPACITY, UNCLASSIFIED, "unpriced"})
_KNOWN: Mapping[str, Collection[str]] = {
    "line_item_type": _LINE_ITEM_TYPES,
    # What is no usage has its line item type as feature.
    "feature": (*_FEATURES, *_LINE_ITEM_TYPES),
    "token_kind": tuple(TokenKind),
    "tier": tuple(Tier),
    "routing": tuple(Routing),
    "price_basis": tuple(PriceBasis),
}
"""Every value that a dimension can have, of those whose values are not names that somebody gave."""
_IN_EXPRESSIONS = {
    Dimension.RECORD_TYPE: "line_item_type",
    Dimension.FEATURE: "feature",
    Dimension.TOKEN_KIND: "token_kind",
    Dimension.TIER: "tier",
    Dimension.ROUTING: "routing",
    Dimension.MODEL: "model",
}


class _Named(NamedTuple):
    """A value that a part of the policy names, and expects to find."""

    whose: str
    dimension: str
    value: str


def warnings_of(document: PolicyDocument) -> list[str]:
    """What can be said without a ledger."""
    found = [*warnings_of_budgets(document.budgets)]
    models = {entry.key for entry in CATALOGUE}
    for named in dict.fromkeys(_names(document)):
        if named.dimension in _KNOWN and named.value not in _KNOWN[named.dimension]:
            found.append(_unknown(named, f"there is no {named.dimension} {named.value!r}", _KNOWN[named.dimension]))
        elif named.dimension == "model" and named.value not in models and (key := model_of_name(named.value)) in models:
            found.append(f"{named.whose}: charges name the model {named.value!r} by its id: write {key!r}.")
    return _few(found)


def warnings_of_budgets(budgets: Iterable[AwsBudgetDocument | BudgetDocument]) -> Iterator[str]:
    """What AWS's budgets do not do here: tell anything without notifications, count other services."""
    from adapters.budget_documents import AwsBudgetDocument

    described = [budget for budget in budgets if isinstance(budget, AwsBudgetDocument)]
    if silent := [budget.name for budget in described if not budget.aws.notifications()]:
        verb = "has" if len(silent) == 1 else "have"
        yield (
            f"{counted(len(silent), 'budget')} {verb} no notification and will tell nothing ({_listed(silent)}): add what "
            "`aws budgets describe-budget-notifications-for-account` prints."
        )
    if wide := [budget.name for budget in described if not budget.aws.Budget.is_of_bedrock]:
        verb = "does" if len(wide) == 1 else "do"
        yield (
            f"{counted(len(wide), 'budget')} {verb} not filter by service ({_listed(wide)}): AWS counts every service, "
            "this ledger Amazon Bedrock alone."
        )


def warnings_in_ledger(stack: Stack, document: PolicyDocument, in_force: PolicyDocument, today: date) -> list[str]:
    """What can be said of a document in a stack: secrets out of reach, and values that no recent day has."""
    found = [*_secrets_out_of_reach(document, stack.parameter("SlackSecretPrefix"))]
    named = [name for name in dict.fromkeys(_names(document)) if name.dimension not in _KNOWN]
    dimensions = {name.dimension for name in named} & {*DIMENSIONS, *_unchanged(document, in_force)}
    seen = _values_of_recent_days(stack, dimensions, today)
    for name in named:
        values = seen.get(name.dimension)
        if values and name.value not in values | _values_of_rules(document.definitions(), name.dimension):
            what = f"no day of the last {DAYS_LOOKED_AT} has {name.dimension} {name.value!r}"
            found.append(_unknown(name, what, sorted(values)))
    return _few(found)


def unknown_models(stack: Stack, models: Iterable[str], today: date) -> list[str]:
    """A sentence for each model that neither the catalogue nor a price nor a recent day knows."""
    wanted = sorted(set(models) - {entry.key for entry in CATALOGUE} - set(stack.prices().models()))
    if not wanted:
        return []
    seen = _values_of_recent_days(stack, {"model"}, today).get("model", set())
    known = [entry.key for entry in CATALOGUE]
    return [
        f"no price, no usage and no catalogue knows the model {model!r}{_meant(model, known)}"
        for model in wanted
        if model not in seen
    ]


def _names(document: PolicyDocument) -> Iterator[_Named]:
    yield from _names_of_budgets(document)
    for monitor in document.anomaly_monitors or ():
        yield from _each(f"anomaly monitor {monitor.name!r}", monitor.dimension, monitor.values)
    for route in document.routes:
        for dimension, values in route.match.items():
            yield from _each(f"route {route.name!r}", dimension, values)
    for viewer in (entry.viewer() for entry in document.slack_users):
        yield from (_Named(f"slack_users of {viewer.users[0]}", dimension, value) for dimension, value in viewer.owners)
    yield from _names_of_rules(document)


def _names_of_budgets(document: PolicyDocument) -> Iterator[_Named]:
    from adapters.budget_documents import build_budgets

    for budget in build_budgets(document.budgets, document.vocabulary()):
        for leaf in leaves(budget.scope.filter):
            if leaf.option is MatchOption.EQUALS and not leaf.ignore_case:
                yield from _each(f"budget {budget.name!r}", leaf.dimension, leaf.values)


def _names_of_rules(document: PolicyDocument) -> Iterator[_Named]:
    for shared in (entry.rule() for entry in document.shared_charges):
        whose = f"shared charge {shared.name!r}"
        yield from _in_expression(whose, shared.charges)
        for name in shared.categories:
            yield from _each(whose, name, shared.targets)
    for category in document.definitions():
        for rule in category.rules:
            if isinstance(rule, RegularRule):
                yield from _in_expression(f"cost category {category.name!r}", rule.expression)


def _each(whose: str, dimension: str, values: Iterable[str]) -> Iterator[_Named]:
    return (_Named(whose, dimension, value) for value in values if value not in _NOBODY)


def _in_expression(whose: str, expression: Expression) -> Iterator[_Named]:
    for leaf in leaves(expression):
        dimension = _IN_EXPRESSIONS.get(leaf.key) if leaf.source is Source.DIMENSIONS else None  # type: ignore[call-overload]
        if dimension and leaf.option is MatchOption.EQUALS and not leaf.ignores_case:
            yield from _each(whose, dimension, leaf.values)


def _secrets_out_of_reach(document: PolicyDocument, prefix: str | None) -> Iterator[str]:
    for route in document.routes:
        if prefix is not None and route.secret and not (prefix and route.secret.startswith(prefix)):
            why = f"does not begin with the stack's SlackSecretPrefix {prefix!r}" if prefix else "needs SlackSecretPrefix"
            yield (
                f"route {route.name!r}: its secret {route.secret!r} {why}, so that the stack may not read it and its alerts do "
                "not reach Slack: set that parameter of the stack to what the names of such secrets begin with."
            )


def _unchanged(document: PolicyDocument, in_force: PolicyDocument) -> set[str]:
    """The cost categories that recent days are allocated by, as the document has them."""
    before, after = in_force.definitions(), document.definitions()
    return {
        name
        for name in document.category_names()
        if [c for c in before if c.name == name] == [c for c in after if c.name == name]
    }


def _values_of_rules(categories: Sequence[CostCategory], name: str) -> set[str]:
    """The values that the rules of a cost category give, whether anything has them yet or not."""
    found: set[str] = set()
    for category in categories:
        if category.name != name:
            continue
        found.add(category.default_value)
        found.update(target for split in category.split_charge_rules for target in split.targets)
        for rule in category.rules:
            if isinstance(rule, RegularRule):
                found.add(rule.value)
            elif isinstance(rule, EvidenceRule):
                found.update(value for _, value in (*rule.accounts, *rule.session_names))
    return found


def _values_of_recent_days(stack: Stack, dimensions: Iterable[str], today: date) -> dict[str, set[str]]:
    first = today - timedelta(days=DAYS_LOOKED_AT)
    periods, period = [], BillingPeriod.of(today)
    while period.last_day >= first:
        periods.append(period)
        period = BillingPeriod.of(period.first_day - timedelta(days=1))
    days = stack.days()
    pointers = [p for each in periods for day, p in sorted(days.pointers(each).items()) if first <= day <= today]
    return {
        dimension: {value for sums in days.sums(pointers, dimension).values() for value, _ in sums} for dimension in dimensions
    }


def _unknown(named: _Named, what: str, known: Collection[str]) -> str:
    return f"{named.whose}: {what}{_meant(named.value, known)}"


def _meant(value: str, known: Collection[str]) -> str:
    alike = get_close_matches(value, known, n=1)
    return f"; did you mean {str(alike[0])!r}?" if alike else "."


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*(repr(name) for name in names[:_SHOWN]), *more])


def _few(sentences: Sequence[str]) -> list[str]:
    rest = len(sentences) - _MOST_WARNINGS
    return [*sentences[:_MOST_WARNINGS], *([f"and {counted(rest, 'warning')} more."] if rest > 0 else [])]
