"""The company has the variety the product must cope with, and its sums agree with one another."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truth.company import Month, build
from truth.organisation import CALLS, PRINCIPALS, PROFILES, RUNAWAY_DAYS, RUNAWAY_TENANT, TEAMS, TENANTS
from truth.summary import UNALLOCATED


def test_company_is_as_varied_as_a_real_one(month: Month) -> None:
    requests = list(month.requests)

    assert len({p.account.account_id for p in PRINCIPALS}) == 3
    assert {p.region for p in PRINCIPALS} == {"us-east-1", "eu-west-1"}
    assert len({p.arn for p in PRINCIPALS}) == len(PRINCIPALS) >= 40
    assert {r.principal.arn for r in requests} == {p.arn for p in PRINCIPALS}
    assert {r.team for r in requests} == set(TEAMS) and len(TEAMS) >= 6
    assert len({r.tenant.name for r in requests if r.tenant}) == len(TENANTS) >= 10
    assert len({r.call.model.key for r in requests}) >= 8
    assert {r.call.model.family for r in requests} == {"classic", "mantle", "service", "marketplace"}
    assert {r.call.name for r in requests} == set(CALLS)
    assert {r.call.profile for r in requests} >= set(PROFILES)
    assert set(Counter(r.evidence for r in requests)) == {
        "request_metadata",
        "session_tag",
        "inference_profile_tag",
        "project_tag",
        "principal_tag",
        "account",
        "none",
    }
    assert any(r.losing_team for r in requests)
    assert any(r.is_long_context for r in requests) and any(r.tokens.cache_write_1h for r in requests)


def test_as_many_requests_are_logged_as_asked_for(month: Month) -> None:
    requests = list(month.requests)

    assert sum(r.is_logged for r in requests) == 2000
    assert len(requests) == len(month.requests)
    assert not any(r.is_logged for r in requests if r.call.is_mantle)
    assert len({r.request_id for r in requests}) == len(requests)
    assert [r.time for r in requests] == sorted(r.time for r in requests)
    assert all(month.start <= r.time < month.end for r in requests)


def test_failed_and_blocked_requests_cost_nothing(month: Month) -> None:
    requests = [r for r in month.requests if r.error_code or r.is_guardrail_blocked]

    assert {bool(r.error_code) for r in requests} == {True, False}
    assert all(r.billed_cost == 0 for r in requests)


def test_usage_adds_up_to_the_requests(month: Month) -> None:
    metered = sum((meter.sku.billed_cost(quantity) for (_, meter), quantity in month.usage.items()), Decimal(0))

    assert metered == sum((r.billed_cost for r in month.requests), Decimal(0)) == month.truth().billed_cost_of_requests


@pytest.mark.parametrize("restated", [False, True])
def test_every_sum_of_the_usage_is_the_same(month: Month, restated: bool) -> None:
    truth = month.truth(restated=restated)
    usage = truth.bedrock_by_line_item_type["Usage"].unblended_cost
    allocatable = truth.allocatable_by_day_and_team

    def total(by_day: dict[str, dict[str, Decimal]]) -> Decimal:
        return sum((sum(costs.values(), Decimal(0)) for costs in by_day.values()), Decimal(0))

    unallocated = sum((costs.get(UNALLOCATED, Decimal(0)) for costs in allocatable.values()), Decimal(0))
    assert total(truth.owned_by_day_and_team) == total(allocatable) == usage
    assert sum(truth.allocatable_by_evidence.values(), Decimal(0)) == usage
    assert unallocated == sum(truth.unallocated_by_reason.values()) == truth.allocatable_by_evidence["none"]
    assert "" not in truth.unallocated_by_reason


def test_the_bill_is_below_the_list_price_for_the_negotiated_model_alone(month: Month) -> None:
    below = {r.call.model.key for r in month.requests if r.billed_cost != r.list_cost}

    assert below == {"nova-pro"}
    assert all(r.billed_cost == r.list_cost * Decimal("0.88") for r in month.requests if r.call.model.key == "nova-pro")


def test_a_month_costs_several_thousand_dollars(month: Month) -> None:
    assert 3_000 < month.truth().bedrock.unblended_cost < 10_000


def test_one_tenant_runs_away_late_in_the_month(month: Month) -> None:
    by_day = month.truth().billed_by_day_and_tenant
    costs = {int(day[-2:]): tenants.get(RUNAWAY_TENANT, Decimal(0)) for day, tenants in by_day.items()}
    spike = [costs[day] for day in range(RUNAWAY_DAYS[0], RUNAWAY_DAYS[1] + 1)]
    before = [cost for day, cost in costs.items() if day < RUNAWAY_DAYS[0]]

    assert min(spike) > max(before)
    assert sum(spike) / len(spike) > 20 * sum(before) / len(before)


def test_the_late_restatement_refunds_and_withdraws(month: Month) -> None:
    closed, restated = month.truth(), month.truth(restated=True)

    assert "Refund" not in closed.bedrock_by_line_item_type
    assert restated.bedrock_by_line_item_type["Refund"].unblended_cost == Decimal("-37.41")
    withdrawn = [charge for charge in month.charges if charge.is_withdrawn_by_restatement]
    assert closed.bedrock.unblended_cost - restated.bedrock.unblended_cost == Decimal("37.41") + withdrawn[0].cost


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), requests=st.integers(1, 60), year=st.integers(2000, 2090), number=st.integers(1, 12))
def test_any_month_draws_the_requests_it_was_asked_for(seed: int, requests: int, year: int, number: int) -> None:
    built = build(f"{year}-{number:02d}", seed, requests)

    drawn = list(built.requests)

    assert sum(r.is_logged for r in drawn) == requests
    assert [r.request_id for r in built.requests] == [r.request_id for r in drawn]
    assert built.end - built.start >= timedelta(days=28)


@pytest.mark.parametrize("text", ["2026", "2026-1", "2026-13", "october"])
def test_a_malformed_month_is_named_in_the_error(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build(text, seed=7, requests=1)
