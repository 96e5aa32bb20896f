"""Usage behind charges: guardrail units by policy, and capacity that was bought, used or not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from attribution.allocation import IDLE_CAPACITY, NOT_USED, USAGE_NOT_LOGGED, allocate_day
from attribution.charges import AllocatedCharge, Confidence, Costs, OriginCharge, SplitMethod
from attribution.expressions import Dimension, Match, Source
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.rules import IncompleteLogging, Rules
from attribution.shared_charges import SharedChargeRule, Within
from attribution.usage import Usage
from tests.unit.attribution.examples import BY_TEAM, SONNET, TEAM, origin_charge, usage

INPUT, OUTPUT = TokenKind.INPUT, TokenKind.OUTPUT
TEN = Costs.uniform(Decimal(10))


def guardrail_charge(policy: str, units: int, **changes: Any) -> OriginCharge:
    values: dict[str, Any] = {
        "feature": "guardrails",
        "usage_type": f"USE1-Guardrail-{policy}UnitsConsumed",
        "meter": Meter("", TokenKind.GUARDRAIL_UNIT),
        "units": Decimal(units),
        "costs": TEN,
    }
    return origin_charge(**values | changes)


def guarded(team: str, **units: int) -> Usage:
    counted = usage({INPUT: 5}, request_metadata=(("team", team),))
    return replace(counted, counters=replace(counted.counters, guardrail_units=units))


def owners(allocated: list[AllocatedCharge]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for share in allocated:
        found[share.value_of("team")] = found.get(share.value_of("team"), Decimal(0)) + share.costs.billed_cost
    return found


def test_a_guardrail_charge_is_split_over_the_calls_that_its_policy_read() -> None:
    used = [guarded("search", contentPolicyUnits=30, topicPolicyUnits=1), guarded("growth", contentPolicyUnits=70)]

    allocated = allocate_day([guardrail_charge("ContentPolicy", 100)], used, BY_TEAM)

    assert owners(allocated) == {"search": Decimal(3), "growth": Decimal(7)}
    assert {a.categories[0].confidence for a in allocated} == {Confidence.SPLIT_BY_USAGE}
    assert sum(a.requests for a in allocated) == 0


def test_guardrail_units_that_no_log_counted_stay_unallocated() -> None:
    allocated = allocate_day([guardrail_charge("TopicPolicy", 100)], [guarded("search", topicPolicyUnits=25)], BY_TEAM)

    assert owners(allocated) == {"search": Decimal("2.5"), "": Decimal("7.5")}
    assert {a.categories[0].reason for a in allocated if not a.value_of("team")} == {f"guardrails: {USAGE_NOT_LOGGED}"}


@pytest.mark.parametrize(
    "usage_type",
    ["USE1-GuardrailChecks-PromptAttackCheckUnitsConsumed", "USE1-Guardrail-Text", "USW2-GuardrailWordPolicyUnits"],
)
def test_a_guardrail_charge_that_names_no_policy_of_a_logged_call_stays_whole(usage_type: str) -> None:
    allocated = allocate_day(
        [guardrail_charge("WordPolicy", 100, usage_type=usage_type)], [guarded("search", wordPolicyUnits=5)], BY_TEAM
    )

    assert [(a.value_of("team"), a.categories[0].reason) for a in allocated] == [("", "guardrails: no evidence of an owner")]


def test_guardrail_units_of_another_region_are_not_behind_a_charge() -> None:
    elsewhere = guardrail_charge("WordPolicy", 5, region="eu-west-1")

    assert owners(allocate_day([elsewhere], [guarded("search", wordPolicyUnits=5)], BY_TEAM)) == {"": Decimal(10)}


def reserved(hours_of_one_token_a_minute: int, **changes: Any) -> OriginCharge:
    meter = Meter(SONNET, TokenKind.INPUT_TPM_HOUR, Tier.RESERVED, Routing.REGIONAL)
    values: dict[str, Any] = {
        "feature": "reserved tier",
        "usage_type": "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units",
        "meter": meter,
        "units": Decimal(hours_of_one_token_a_minute),
        "costs": TEN,
    }
    return origin_charge(**values | changes)


def on_tier(team: str, tier: Tier, tokens: int, output: int = 0) -> Usage:
    return usage({INPUT: tokens, OUTPUT: output}, tier=tier, request_metadata=(("team", team),))


def test_reserved_capacity_is_split_by_the_tokens_it_served_and_what_stood_idle_is_a_line_of_its_own() -> None:
    # 10 tokens a minute for an hour are 600 tokens.
    used = [on_tier("search", Tier.RESERVED, 300, 9), on_tier("growth", Tier.RESERVED, 60)]

    allocated = allocate_day([reserved(10)], used, BY_TEAM)

    assert owners(allocated) == {"search": Decimal(5), "growth": Decimal(1), "": Decimal(4)}
    idle = {(a.feature, a.categories[0].reason, a.units) for a in allocated if not a.value_of("team")}
    assert idle == {(IDLE_CAPACITY, NOT_USED, Decimal(4))}
    assert {a.feature for a in allocated if a.value_of("team")} == {"reserved tier"}


def test_capacity_that_served_more_than_it_holds_has_no_idle_part() -> None:
    allocated = allocate_day([reserved(10)], [on_tier("search", Tier.RESERVED, 601)], BY_TEAM)

    assert owners(allocated) == {"search": Decimal(10)}


def test_what_the_standard_tier_served_is_not_behind_reserved_capacity() -> None:
    (share,) = allocate_day([reserved(10)], [on_tier("search", Tier.STANDARD, 300)], BY_TEAM)

    assert (share.value_of("team"), share.feature) == ("", IDLE_CAPACITY)


def test_idle_capacity_is_its_owner_s_where_the_reservation_is_tagged() -> None:
    tagged = reserved(10, tags=(("resourceTags/team", "platform"),))

    allocated = allocate_day([tagged], [on_tier("search", Tier.RESERVED, 300)], BY_TEAM)

    shown = {(a.value_of("team"), a.feature): a.costs.billed_cost for a in allocated}
    assert shown == {("search", "reserved tier"): Decimal(5), ("platform", IDLE_CAPACITY): Decimal(5)}


def test_the_used_and_the_idle_part_of_one_owner_are_two_lines() -> None:
    tagged = reserved(10, tags=(("resourceTags/team", "platform"),))
    (nobody,) = [usage({INPUT: 300}, tier=Tier.RESERVED)]

    allocated = allocate_day([tagged], [nobody], BY_TEAM)

    assert sorted((a.feature, a.costs.billed_cost) for a in allocated) == [
        (IDLE_CAPACITY, Decimal(5)),
        ("reserved tier", Decimal(5)),
    ]


def test_spreading_what_was_not_logged_does_not_spread_what_was_not_used() -> None:
    spreading = Rules.of([TEAM], incomplete_logging=IncompleteLogging.SPREAD)

    assert owners(allocate_day([reserved(10)], [on_tier("search", Tier.RESERVED, 300)], spreading)) == {
        "search": Decimal(5),
        "": Decimal(5),
    }


def test_idle_capacity_is_shared_by_those_who_used_the_rest_where_a_rule_says_so() -> None:
    idle = Match(Source.DIMENSIONS, Dimension.FEATURE, (IDLE_CAPACITY,))
    rules = Rules.of([TEAM], [SharedChargeRule("idle", idle, SplitMethod.PROPORTIONAL, within=Within.USAGE_TYPE)])
    used = [on_tier("search", Tier.RESERVED, 360), on_tier("growth", Tier.RESERVED, 120)]
    elsewhere = origin_charge(tags=(("resourceTags/team", "other"),), units=None)

    allocated = allocate_day([reserved(16), elsewhere], used, rules)

    assert owners([a for a in allocated if a.usage_type != elsewhere.usage_type]) == {
        "search": Decimal("7.5"),
        "growth": Decimal("2.5"),
    }


def provisioned(**changes: Any) -> OriginCharge:
    meter = Meter(SONNET, TokenKind.MODEL_UNIT_HOUR, Tier.PROVISIONED, Routing.REGIONAL)
    return origin_charge(feature="provisioned throughput", usage_type="PT", meter=meter, units=Decimal(8), costs=TEN, **changes)


def test_provisioned_throughput_is_split_by_all_tokens_that_it_served() -> None:
    used = [on_tier("search", Tier.PROVISIONED, 20, 10), on_tier("growth", Tier.PROVISIONED, 10)]

    allocated = allocate_day([provisioned()], used, BY_TEAM)

    assert owners(allocated) == {"search": Decimal("7.5"), "growth": Decimal("2.5")}
    assert (sum(a.requests for a in allocated), {a.feature for a in allocated}) == (2, {"provisioned throughput"})


def test_provisioned_throughput_that_served_nobody_is_idle() -> None:
    (share,) = allocate_day([provisioned()], [], BY_TEAM)

    assert (share.feature, share.categories[0].reason) == (IDLE_CAPACITY, NOT_USED)
