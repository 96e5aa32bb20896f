"""Rules of every kind, drawn over the small alphabets of `strategies`."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from attribution.charges import SplitMethod
from attribution.conditions import And, MatchOption, Not, Or
from attribution.cost_categories import CostCategory, EvidenceRule, InheritedValueRule, RegularRule, Rule, SplitChargeRule
from attribution.expressions import Dimension, Expression, Match, Source
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import SharedChargeRule, Within
from tests.unit.attribution.examples import ROLE, SONNET
from tests.unit.attribution.strategies import owners

OWNERS = ("search", "support", "billing")

_compared = st.sampled_from(
    [MatchOption.EQUALS, MatchOption.STARTS_WITH, MatchOption.ENDS_WITH, MatchOption.CONTAINS, MatchOption.ABSENT]
)
_asked = st.sampled_from(
    [
        (Source.DIMENSIONS, Dimension.RECORD_TYPE, ("Tax", "Usage")),
        (Source.DIMENSIONS, Dimension.MODEL, (SONNET,)),
        (Source.DIMENSIONS, Dimension.IAM_PRINCIPAL, (ROLE,)),
        (Source.DIMENSIONS, Dimension.TOKEN_KIND, ("input",)),
        (Source.TAGS, "Team", ("search", "s")),
        (Source.TAGS, "iamPrincipal/team", ("support",)),
        (Source.REQUEST_METADATA, "team", ("billing", "search")),
        (Source.SESSION_TAGS, "team", ("search",)),
    ]
)
leaves: st.SearchStrategy[Expression] = st.builds(
    lambda asked, option, ignores_case: Match(
        asked[0], asked[1], () if option is MatchOption.ABSENT else asked[2], option, ignores_case
    ),
    _asked,
    _compared,
    st.booleans(),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=4,
)
_rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(RegularRule, owners, expressions),
    st.sampled_from([InheritedValueRule(Source.TAGS, "Team"), InheritedValueRule(Source.REQUEST_METADATA, "team")]),
    st.sampled_from([EvidenceRule(("team",)), EvidenceRule(("team",), (("111122223333", "support"),))]),
)


def _percentages(count: int) -> tuple[Decimal, ...]:
    return (Decimal(100) - 7 * (count - 1), *[Decimal(7)] * (count - 1))


@st.composite
def split_rules(draw: st.DrawFn) -> tuple[SplitChargeRule, ...]:
    """Rules whose sources and targets do not meet."""
    values = draw(st.permutations(["", *OWNERS, "nobody"]))
    sources, rest = values[: draw(st.integers(0, 2))], [value for value in values[2:] if value]
    made = []
    for source in sources:
        targets = tuple(rest[: draw(st.integers(1, len(rest)))])
        method = draw(st.sampled_from(SplitMethod))
        percentages = _percentages(len(targets)) if method is SplitMethod.FIXED else ()
        made.append(SplitChargeRule(source, targets, method, percentages))
    return tuple(made)


def shared_rules(categories: tuple[CostCategory, ...]) -> st.SearchStrategy[SharedChargeRule]:
    """Rules for what has no owner; a target is no source of a split."""
    sources = {rule.source for category in categories for rule in category.split_charge_rules}
    targets = tuple(value for value in OWNERS if value not in sources)
    everybody = st.builds(
        SharedChargeRule,
        st.just("everybody"),
        expressions,
        st.sampled_from([SplitMethod.PROPORTIONAL, SplitMethod.EVEN, None]),
        within=st.sampled_from(Within),
        categories=st.sampled_from([(), ("team",)]),
    )
    if not targets:
        return everybody
    named = st.builds(
        lambda expression, method: SharedChargeRule(
            "named", expression, method, targets, _percentages(len(targets)) if method is SplitMethod.FIXED else ()
        ),
        expressions,
        st.sampled_from(SplitMethod),
    )
    return everybody | named


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    """Two cost categories, of which one asks for the other, and rules for shared charges."""
    team = CostCategory(
        "team",
        tuple(draw(st.lists(_rules, min_size=1, max_size=3))),
        draw(st.sampled_from(["", "", "search"])),
        draw(split_rules()),
    )
    unit = CostCategory("unit", (RegularRule("product", Match(Source.COST_CATEGORIES, "team", ("search", "support"))),))
    shared = draw(st.lists(shared_rules((team, unit)), max_size=2, unique_by=lambda rule: rule.name))
    return Rules.of([unit, team], shared, draw(st.sampled_from(IncompleteLogging)))
