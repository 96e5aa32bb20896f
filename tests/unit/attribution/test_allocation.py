"""Allocation: everything is handed out, to those whom the evidence names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import (
    USAGE_NOT_LOGGED,
    Allocation,
    allocate_day,
    estimate_day,
    totals_by_currency,
    verify_conservation,
)
from attribution.canonical import content_hash
from attribution.charges import AllocatedCharge, Confidence, Costs, Evidence, OriginCharge, sum_costs
from attribution.cost_categories import NO_EVIDENCE, PRINCIPAL_TAG, by_evidence
from attribution.errors import ConservationViolated
from attribution.meters import Meter, TokenKind
from attribution.money import ZERO, Weights, total
from attribution.rules import Rules
from attribution.usage import Usage
from tests.unit.attribution.examples import BY_TEAM, PROFILE, ROLE, SONNET, TEAM, USAGE_KEY, origin_charge, usage
from tests.unit.attribution.strategies import OTHER_ROLE, charge_lists, costs, origin_charges, usage_lists

RULES = Rules.of([TEAM, by_evidence("feature", ("feature",), (("111122223333", "platform"),))])
INPUT, OUTPUT = TokenKind.INPUT, TokenKind.OUTPUT


def allocate(charge: OriginCharge, used: Sequence[Usage], rules: Rules) -> list[AllocatedCharge]:
    return Allocation([charge], used, rules).allocate(charge)


def by_team(allocated: list[AllocatedCharge]) -> dict[str, Decimal]:
    teams = {a.value_of("team") for a in allocated}
    return {team: total(a.costs.billed_cost for a in allocated if a.value_of("team") == team) for team in teams}


def unallocated_by_reason(charges: Iterable[AllocatedCharge], category: str) -> Mapping[str, Costs]:
    """What no owner was found for in one cost category, by reason."""
    grouped: dict[str, list[Costs]] = {}
    for charge in charges:
        for value in charge.categories:
            if value.category == category and not value.is_allocated:
                grouped.setdefault(value.reason, []).append(charge.costs)
    return {reason: sum_costs(costs) for reason, costs in sorted(grouped.items())}


def confidence_of(share: AllocatedCharge) -> Confidence:
    return share.categories[0].confidence


def of_team(team: str, tokens: int, **key: Any) -> Usage:
    counted = usage({INPUT: tokens}, request_metadata=(("team", team),))
    return replace(counted, key=counted.key._replace(**key))


def written(allocated: list[AllocatedCharge]) -> str:
    return content_hash([[a.digest(), astuple(a.costs), a.units, a.requests, a.feature] for a in allocated])


@given(origin_charges, usage_lists)
def test_the_shares_of_a_charge_sum_to_it_in_every_metric_and_in_units(charge: OriginCharge, used: list[Usage]) -> None:
    shares = allocate(charge, used, RULES)

    assert sum_costs(s.costs for s in shares) == charge.costs
    assert {s.currency for s in shares} == {charge.currency}
    if charge.units is None:
        assert {s.units for s in shares} == {None}
    else:
        assert total(s.units for s in shares if s.units is not None) == charge.units


@given(costs, st.integers(1, 10**6), st.lists(st.integers(1, 10**6), min_size=2, max_size=6))
def test_a_charge_of_one_role_with_many_tenants_is_conserved(charged: Costs, units: int, tokens: list[int]) -> None:
    charge = origin_charge(costs=charged, units=Decimal(units))
    used = [of_team(f"tenant-{n}", count) for n, count in enumerate(tokens)]

    shares = allocate(charge, used, BY_TEAM)

    assert sum_costs(s.costs for s in shares) == charged
    assert total(s.units for s in shares if s.units is not None) == units


@given(origin_charges, usage_lists)
def test_a_part_of_a_charge_is_what_the_shares_of_its_owner_add_up_to(charge: OriginCharge, used: list[Usage]) -> None:
    allocation = Allocation([charge], used, RULES)
    shares: dict[str, list[AllocatedCharge]] = defaultdict(list)
    for share in allocation.shares(charge):
        shares[share.charge.digest()].append(share.charge)

    parts = {part.digest(): part for part in allocation.allocate(charge)}

    assert {name: part.costs for name, part in parts.items()} == {n: sum_costs(s.costs for s in f) for n, f in shares.items()}
    assert {n: part.requests for n, part in parts.items()} == {n: sum(s.requests for s in f) for n, f in shares.items()}
    assert {n: part.units or 0 for n, part in parts.items()} == {
        n: total(s.units or ZERO for s in f) for n, f in shares.items()
    }


def test_tenants_with_equal_usage_get_the_same_shares_whoever_comes_first() -> None:
    used = [of_team(team, 1000) for team in ("search", "support", "billing")]
    charge = origin_charge(costs=Costs.uniform(Decimal("1E-18")))

    assert by_team(allocate(charge, used, BY_TEAM)) == by_team(allocate(charge, used[::-1], BY_TEAM))


@given(charge_lists, usage_lists)
def test_a_day_conserves_every_metric_per_currency(charges: list[OriginCharge], used: list[Usage]) -> None:
    allocated = allocate_day(charges, used, RULES)

    for currency in {c.currency for c in charges}:
        before = sum_costs(c.costs for c in charges if c.currency == currency)
        assert sum_costs(a.costs for a in allocated if a.currency == currency) == before


@given(charge_lists, usage_lists)
def test_no_two_charges_of_a_day_share_a_name(charges: list[OriginCharge], used: list[Usage]) -> None:
    names = Counter(a.digest() for a in allocate_day(charges, used, RULES))

    assert set(names.values()) <= {1}


@given(charge_lists, usage_lists, st.randoms(use_true_random=False))
def test_a_day_is_the_same_byte_for_byte_in_whatever_order_its_inputs_come(
    charges: list[OriginCharge], used: list[Usage], random: object
) -> None:
    expected = written(allocate_day(charges, used, RULES))

    random.shuffle(charges)  # type: ignore[attr-defined]
    random.shuffle(used)  # type: ignore[attr-defined]

    assert written(allocate_day(charges, used, RULES)) == expected


@given(charge_lists, usage_lists)
def test_a_request_counts_at_most_once_in_a_day(charges: list[OriginCharge], used: list[Usage]) -> None:
    allocated = allocate_day(charges, used, RULES)

    assert sum(a.requests for a in allocated) <= sum(u.counters.requests for u in used)


@given(charge_lists, usage_lists)
def test_what_is_unallocated_has_a_reason_and_what_is_allocated_has_evidence(
    charges: list[OriginCharge], used: list[Usage]
) -> None:
    allocated = allocate_day(charges, used, RULES)

    for value in (v for a in allocated for v in a.categories):
        assert bool(value.value) == (value.evidence is not None) == (value.reason == "")
    owned = [a.costs for a in allocated if a.value_of("team")]
    assert sum_costs([*owned, *unallocated_by_reason(allocated, "team").values()]) == sum_costs(a.costs for a in allocated)


def test_a_principal_tag_that_contradicts_a_project_tag_is_recorded_as_the_loser() -> None:
    charge = origin_charge(tags=(("iamPrincipal/team", "a"), ("resourceTags/team", "b")))

    (share,) = allocate(charge, [], BY_TEAM)

    assert share.categories[0].value == "b"
    assert share.categories[0].disagreed == (Evidence(PRINCIPAL_TAG, "a", "team"),)


def test_a_charge_of_one_role_is_split_over_its_tenants_by_their_tokens() -> None:
    used = [of_team("search", 300), of_team("support", 700)]

    shares = allocate(origin_charge(), used, BY_TEAM)

    assert by_team(shares) == {"search": Decimal("0.99"), "support": Decimal("2.31")}
    assert {confidence_of(s) for s in shares} == {Confidence.SPLIT_BY_USAGE}
    assert {s.units for s in shares} == {Decimal(300), Decimal(700)}


def test_a_charge_with_one_user_behind_it_is_his_alone() -> None:
    (share,) = allocate(origin_charge(), [of_team("search", 1000)], BY_TEAM)

    assert (confidence_of(share), share.iam_principal, share.requests) == (Confidence.EXACT, ROLE, 1)
    assert by_team([share]) == {"search": Decimal("3.30")}


def test_what_was_billed_and_not_logged_is_not_spread_over_those_who_were_logged() -> None:
    shares = allocate(origin_charge(), [of_team("search", 600)], BY_TEAM)

    assert by_team(shares) == {"search": Decimal("1.98"), "": Decimal("1.32")}
    assert unallocated_by_reason(shares, "team") == {USAGE_NOT_LOGGED: Costs.uniform(Decimal("1.32"))}


def test_what_was_not_logged_is_allocated_by_what_the_charge_itself_carries() -> None:
    charge = origin_charge(tags=(("resourceTags/Team", "platform"),))

    shares = allocate(charge, [of_team("search", 600)], BY_TEAM)

    assert by_team(shares) == {"search": Decimal("1.98"), "platform": Decimal("1.32")}


def test_usage_behind_several_charges_of_a_bucket_is_held_against_all_of_them_together() -> None:
    charges = [
        origin_charge(operation=operation, units=Decimal(500), costs=Costs.uniform(Decimal("1.65")))
        for operation in ("InvokeModelInference", "InvokeModelStreamingInference")
    ]

    allocated = allocate_day(charges, [of_team("search", 600)], BY_TEAM)

    assert by_team(allocated) == {"search": Decimal("1.98"), "": Decimal("1.32")}
    assert sum(a.requests for a in allocated) == 1


def test_a_bill_for_less_than_was_logged_is_spread_over_all_who_were_logged() -> None:
    used = [of_team("search", 1000), of_team("support", 3000)]

    shares = allocate(origin_charge(), used, BY_TEAM)

    assert by_team(shares) == {"search": Decimal("0.825"), "support": Decimal("2.475")}


def test_a_charge_that_names_its_principal_is_not_split_over_others() -> None:
    used = [of_team("search", 1000), of_team("support", 1000, iam_principal=OTHER_ROLE)]

    shares = allocate(origin_charge(iam_principal=OTHER_ROLE), used, BY_TEAM)

    assert by_team(shares) == {"support": Decimal("3.30")}


@pytest.mark.parametrize(
    "other",
    [
        {"account_id": "444455556666"},
        {"region": "us-west-2"},
        {"model": "amazon.nova-pro"},
    ],
)
def test_usage_of_another_bucket_is_not_behind_a_charge(other: dict[str, str]) -> None:
    shares = allocate(origin_charge(), [of_team("search", 1000, **other)], BY_TEAM)

    assert unallocated_by_reason(shares, "team") == {USAGE_NOT_LOGGED: origin_charge().costs}


def test_usage_of_another_token_kind_is_not_behind_a_charge() -> None:
    used = [usage({OUTPUT: 1000}, request_metadata=(("team", "search"),))]

    assert by_team(allocate(origin_charge(), used, BY_TEAM)) == {"": Decimal("3.30")}


@pytest.mark.parametrize("line_item_type", ["Tax", "Credit", "EdpDiscount", "Refund", "BrandNewType"])
def test_a_charge_that_is_not_usage_is_kept_whole_and_says_what_it_is(line_item_type: str) -> None:
    charge = origin_charge(line_item_type=line_item_type, costs=Costs.uniform(Decimal("-7.5")))

    shares = allocate(charge, [of_team("search", 1000)], BY_TEAM)

    assert unallocated_by_reason(shares, "team") == {f"{line_item_type}: shared by no rule": charge.costs}


def test_a_usage_type_that_nothing_decodes_keeps_its_money_under_its_own_reason() -> None:
    charge = origin_charge(feature="unclassified", meter=Meter("", TokenKind.OTHER), units=None)

    shares = allocate(charge, [of_team("search", 1000)], BY_TEAM)

    assert unallocated_by_reason(shares, "team") == {f"unclassified: {NO_EVIDENCE}": charge.costs}
    assert confidence_of(shares[0]) is Confidence.NONE


def test_an_account_rule_alone_is_a_rule_and_not_proof() -> None:
    ruled = Rules.of([by_evidence("team", ("team",), (("111122223333", "platform"),))])

    (share,) = allocate(origin_charge(), [], ruled)

    assert (share.value_of("team"), confidence_of(share)) == ("platform", Confidence.RULE)


def test_a_charge_of_a_profile_names_it_also_where_the_log_does_not() -> None:
    profile = PROFILE.replace("application-", "")
    used = [of_team("search", 400, inference_profile=profile), of_team("search", 600)]

    shares = allocate(origin_charge(resource_id=profile), used, BY_TEAM)

    assert [(s.inference_profile, s.units) for s in shares] == [(profile, Decimal(1000))]


@given(usage_lists)
def test_an_estimate_sums_to_the_counters(used: list[Usage]) -> None:
    estimated = estimate_day(used, RULES)

    priced = total(amount for u in used for kind, amount in u.counters.estimated.items() if u.counters.units[kind])
    assert sum_costs(e.costs for e in estimated) == Costs.uniform(priced)
    for kind in TokenKind:
        units = sum(u.counters.units.get(kind, 0) for u in used)
        assert total(e.units for e in estimated if e.units is not None and e.meter.token_kind is kind) == units
    measured = [u for u in used if any(u.counters.units.values())]
    assert sum(e.requests for e in estimated) == sum(u.counters.requests for u in measured)


@given(usage_lists, st.randoms(use_true_random=False))
def test_an_estimate_is_the_same_in_whatever_order_the_counters_come(used: list[Usage], random: object) -> None:
    expected = written(estimate_day(used, RULES))

    random.shuffle(used)  # type: ignore[attr-defined]

    assert written(estimate_day(used, RULES)) == expected


def test_usage_without_price_is_estimated_as_unpriced_and_not_as_free_inference() -> None:
    (share,) = estimate_day([of_team("search", 1000)], BY_TEAM)

    assert (share.feature, share.units, share.costs) == ("unpriced", Decimal(1000), Costs())
    assert share.origin == USAGE_KEY._replace(request_metadata=(("team", "search"),)).digest()


def test_an_allocation_that_lost_or_made_money_is_refused() -> None:
    charges = [origin_charge(), origin_charge(currency="EUR", usage_type="x")]
    allocated = allocate_day(charges, [of_team("search", 999)], BY_TEAM)
    last = allocated[-1]

    for wrong in (
        allocated[:-1],
        [*allocated, last],
        [*allocated[:-1], replace(last, currency="CHF")],
        [*allocated[:-1], replace(last, costs=replace(last.costs, list_cost=last.costs.list_cost + Decimal("1E-18")))],
    ):
        with pytest.raises(ConservationViolated, match="not published"):
            verify_conservation(charges, wrong)
    verify_conservation(charges, allocated)


class Leaking(Costs):
    """Costs that lose money when they are split."""

    def split(self, weights: Weights) -> list[Costs]:
        return [Costs() for _ in Costs.split(self, weights)]


def test_a_day_is_proven_before_it_is_handed_on() -> None:
    charge = origin_charge(costs=Leaking(Decimal("3.30")))

    with pytest.raises(ConservationViolated):
        allocate_day([charge], [of_team("search", 600), of_team("support", 400)], BY_TEAM)


def test_totals_are_kept_apart_by_currency() -> None:
    charges = [origin_charge(), origin_charge(currency="EUR"), origin_charge()]

    assert totals_by_currency(charges) == {
        "EUR": Costs.uniform(Decimal("3.30")),
        "USD": Costs.uniform(Decimal("6.60")),
    }


def test_the_model_of_the_examples_is_the_one_that_the_charge_bills() -> None:
    assert origin_charge().meter == USAGE_KEY.meter(INPUT) == Meter(SONNET, INPUT)


def test_usage_that_is_billed_by_name_is_not_behind_a_row_that_names_nobody() -> None:
    named = origin_charge(iam_principal=ROLE, units=Decimal(1000))
    nameless = origin_charge(units=Decimal(500), costs=Costs.uniform(Decimal(1)))
    used = [
        usage({TokenKind.INPUT: 1000}, request_metadata=(("team", "search"),)),
        usage({TokenKind.INPUT: 500}, iam_principal="", request_metadata=(("team", "growth"),)),
    ]

    allocated = allocate_day([named, nameless], used, BY_TEAM)

    assert {a.value_of("team"): a.costs.billed_cost for a in allocated} == {"search": Decimal("3.30"), "growth": Decimal(1)}


def test_a_charge_of_an_application_profile_is_split_over_the_calls_through_it_alone() -> None:
    tagged = origin_charge(resource_id=PROFILE, tags=(("resourceTags/team", "profile-owner"),))
    plain = origin_charge(costs=Costs.uniform(Decimal(7)))
    used = [
        usage({TokenKind.INPUT: 1000}, inference_profile=PROFILE),
        usage({TokenKind.INPUT: 1000}, request_metadata=(("team", "search"),)),
    ]

    allocated = allocate_day([tagged, plain], used, BY_TEAM)

    found = {a.value_of("team"): a.costs.billed_cost for a in allocated}
    assert found == {"profile-owner": Decimal("3.30"), "search": Decimal(7)}
