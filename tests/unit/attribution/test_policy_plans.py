"""A plan: what moves between owners is exactly the difference between what they have under the one and the other policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.allocation import allocate_day, estimate_day
from attribution.charges import COST_METRICS, AllocatedCharge, Basis, Costs, OriginCharge
from attribution.conditions import MatchOption
from attribution.cost_categories import CostCategory, RegularRule, by_evidence
from attribution.days import NOT_DEFINED, DayVersion, make_day_version
from attribution.errors import LedgerConflict
from attribution.expressions import Match, Source
from attribution.flows.allocate_charges import preview
from attribution.meters import TokenKind
from attribution.money import add, subtract, total
from attribution.policy_plans import Move, marked, moves, with_mark
from attribution.rules import IncompleteLogging, Rules
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import DAY, TEAM, USAGE_KEY, origin_charge, usage
from tests.unit.attribution.flows.ledger import Content, Ledger
from tests.unit.attribution.rule_sets import rule_sets
from tests.unit.attribution.strategies import charge_lists, usage_lists

FEATURE = by_evidence("feature", ("feature",), (("111122223333", "platform"),))
BY_TEAM, BY_FEATURE = Rules.of([TEAM]), Rules.of([FEATURE])


def without_splits(rules: Rules) -> Rules:
    """The same owners, before shared cost is handed out."""
    return replace(rules, categories=tuple(replace(c, split_charge_rules=()) for c in rules.categories), shared_charges=())


unsplit = rule_sets().map(without_splits)


def day(charges: Sequence[AllocatedCharge], rules: Rules) -> DayVersion:
    return make_day_version(DAY, Basis.BILLED, charges, rules, origin="o", usage="u")


def billed(charges: Sequence[OriginCharge], used: Sequence[Usage], rules: Rules) -> DayVersion:
    return day(allocate_day(charges, marked(used), with_mark(rules)), rules)


def owned(charges: Sequence[AllocatedCharge], metric: str) -> dict[tuple[str, str, str], Decimal]:
    found: dict[tuple[str, str, str], Decimal] = {}
    for charge in charges:
        for value in (v for v in charge.categories if v.category in ("team", "unit")):
            key = (value.category, charge.currency, value.value or "(unallocated)")
            found[key] = add(found.get(key, Decimal(0)), getattr(charge.costs, metric))
    return found


def assert_explained(
    before: Sequence[AllocatedCharge], after: Sequence[AllocatedCharge], found: dict[Move, Decimal], metric: str
) -> None:
    """Of every category that both policies have: what an owner had, less what leaves it and with what comes, it has then."""
    old, new = owned(before, metric), owned(after, metric)
    common = {category for category, _, _ in old} & {category for category, _, _ in new}
    for category, currency, owner in {*old, *new}:
        if category in common:
            place = (category, currency)
            leaves = total(a for m, a in found.items() if (m.category, m.currency, m.from_owner) == (*place, owner))
            comes = total(a for m, a in found.items() if (m.category, m.currency, m.to_owner) == (*place, owner))
            key = (category, currency, owner)
            assert add(subtract(old.get(key, Decimal(0)), leaves), comes) == new.get(key, Decimal(0))


@given(
    charge_lists, usage_lists, rule_sets().map(without_splits), rule_sets().map(without_splits), st.sampled_from(COST_METRICS)
)
def test_what_moves_is_what_makes_the_difference_of_a_billed_day(
    charges: list[OriginCharge], used: list[Usage], old: Rules, new: Rules, metric: str
) -> None:
    found = moves(billed(charges, used, old), billed(charges, used, new), metric)

    before, after = allocate_day(charges, used, old), allocate_day(charges, used, new)
    assert_explained(before, after, {move: moved.amount for move, moved in found.items()}, metric)


@settings(max_examples=25)
@given(usage_lists, unsplit, unsplit)
def test_what_moves_is_what_makes_the_difference_of_an_estimated_day(used: list[Usage], old: Rules, new: Rules) -> None:
    both = [day(estimate_day(marked(used), with_mark(rules)), rules) for rules in (old, new)]

    found = moves(both[0], both[1], "billed_cost")

    amounts = {move: moved.amount for move, moved in found.items()}
    assert_explained(estimate_day(used, old), estimate_day(used, new), amounts, "billed_cost")


@settings(max_examples=25)
@given(charge_lists, usage_lists, rule_sets(), rule_sets())
def test_what_moves_explains_the_difference_where_shared_cost_is_handed_out_too(
    charges: list[OriginCharge], used: list[Usage], old: Rules, new: Rules
) -> None:
    before, after = billed(charges, used, old), billed(charges, used, new)

    amounts = {move: moved.amount for move, moved in moves(before, after, "billed_cost").items()}

    assert_explained(before.charges, after.charges, amounts, "billed_cost")
    actual = owned(allocate_day(charges, used, new), "billed_cost")
    planned = owned(after.charges, "billed_cost")
    assert {
        place for place, amount in planned.items() if abs(amount - actual.get(place, Decimal(0))) > Decimal("1e-9")
    } == set()


@settings(max_examples=25)
@given(charge_lists, usage_lists, rule_sets())
def test_between_equal_policies_nothing_moves(charges: list[OriginCharge], used: list[Usage], rules: Rules) -> None:
    assert moves(billed(charges, used, rules), billed(charges, used, rules), "billed_cost") == {}


def of(tokens: int, **metadata: str) -> Usage:
    return usage({TokenKind.INPUT: tokens}, request_metadata=tuple(sorted(metadata.items())))


def test_each_share_of_a_charge_moves_by_itself() -> None:
    charge = origin_charge(units=Decimal(1000), costs=Costs.uniform(Decimal(10)))
    used = [of(100, team="search", cc="1"), of(300, team="search", cc="2"), of(600, team="support", cc="1")]
    by_cost_center = Rules.of([by_evidence("team", ("cc",))])

    found = moves(billed([charge], used, BY_TEAM), billed([charge], used, by_cost_center), "billed_cost")

    assert {(m.from_owner, m.to_owner): moved.amount for m, moved in found.items()} == {
        ("search", "1"): Decimal(1),
        ("search", "2"): Decimal(3),
        ("support", "1"): Decimal(6),
    }
    assert {len(moved.origins) for moved in found.values()} == {1}


def test_a_share_that_other_rules_make_smaller_moves_by_what_it_lost() -> None:
    charge = origin_charge(units=Decimal(1000), costs=Costs.uniform(Decimal(10)))
    used = [of(200, team="search"), of(200, team="support")]
    spread = replace(BY_TEAM, incomplete_logging=IncompleteLogging.SPREAD)

    found = moves(billed([charge], used, BY_TEAM), billed([charge], used, spread), "billed_cost")

    assert {(m.from_owner, m.to_owner): moved.amount for m, moved in found.items()} == {
        ("(unallocated)", "search"): Decimal(3),
        ("(unallocated)", "support"): Decimal(3),
    }


def test_a_credit_moves_as_what_it_is() -> None:
    refund = origin_charge(line_item_type="Refund", costs=Costs.uniform(Decimal(-4)), tags=(("resourceTags/team", "search"),))
    owner_of_all = Rules.of([by_evidence("team", ("none",), (("111122223333", "platform"),))])

    ((move, moved),) = moves(billed([refund], [], BY_TEAM), billed([refund], [], owner_of_all), "billed_cost").items()

    assert (move.from_owner, move.to_owner, moved.amount) == ("search", "platform", Decimal(-4))


def test_a_category_that_only_one_policy_has_moves_from_and_to_nowhere() -> None:
    used = [of(1000, team="search", feature="chat")]
    both = [billed([origin_charge()], used, rules) for rules in (BY_TEAM, BY_FEATURE)]

    found = {(m.category, m.from_owner, m.to_owner) for m in moves(both[0], both[1], "billed_cost")}

    assert found == {("team", "search", NOT_DEFINED), ("feature", NOT_DEFINED, "chat")}


def test_days_that_were_not_made_of_the_same_amounts_are_not_compared() -> None:
    cheap, dear = (billed([origin_charge(costs=Costs.uniform(Decimal(n)))], [], BY_TEAM) for n in (1, 2))

    with pytest.raises(LedgerConflict, match="plan again"):
        moves(cheap, dear, "billed_cost")


def previewed(ledger: Ledger, *policies: Rules) -> list[DayVersion]:
    return preview(
        DAY,
        policies,
        origin_charges=ledger.origin_charges,
        deliveries=ledger.deliveries,
        days=ledger.days,
        counters=ledger.counters,
        prices=ledger.prices,
        directory=ledger.directory,
    )


def test_a_preview_is_of_what_readers_see_now_and_writes_nothing() -> None:
    ledger = Ledger()
    ledger.use(DAY, "search", 400)
    ledger.drain([])
    (estimated,) = previewed(ledger, BY_TEAM)
    pending = ledger.write_delivery(3, Content((1, 1, 1)))
    ledger.ingest(pending)
    (still_estimated,) = previewed(ledger, BY_TEAM)
    ledger.drain([])
    before = dict(ledger.days.pointers(ledger.record_of(3).period))
    (now_billed,) = previewed(ledger, BY_TEAM)

    assert (estimated.basis, still_estimated.basis, now_billed.basis) == (Basis.ESTIMATED, Basis.ESTIMATED, Basis.BILLED)
    assert now_billed.totals == before[DAY].totals
    assert ledger.days.pointers(ledger.record_of(3).period) == before


def test_marks_keep_the_order_in_which_charges_are_split() -> None:
    keys = [
        USAGE_KEY._replace(request_metadata=metadata, session_tags=tags)
        for metadata in ((), (("team", "a"),), (("team", "b"),))
        for tags in ((), (("team", "c"),))
    ]
    used = [Usage(key, Counters(requests=1)) for key in reversed(keys)]

    assert [u.key.session_tags for u in sorted(marked(used), key=lambda u: u.key)] == [k.session_tags for k in sorted(keys)]


def test_a_rule_for_what_carries_no_metadata_is_planned_as_it_will_be_applied() -> None:
    without_metadata = Match(Source.REQUEST_METADATA, "", (), MatchOption.ABSENT)
    rules = Rules.of([CostCategory("team", (RegularRule("platform", without_metadata),), default_value="named")])
    charges, used = [origin_charge()], [usage({TokenKind.INPUT: 1000})]

    planned = owned(billed(charges, used, rules).charges, "billed_cost")

    assert planned == owned(allocate_day(charges, used, rules), "billed_cost")
    assert {owner for _, _, owner in planned} == {"platform"}
