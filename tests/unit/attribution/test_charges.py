"""Charges in every cost metric, and their names."""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import allocate_day
from attribution.charges import COST_METRICS, CategoryValue, Confidence, Costs, Evidence, SplitMethod, SplitShare, sum_costs
from attribution.cost_categories import NO_EVIDENCE
from attribution.meters import Meter, Tier, TokenKind
from attribution.money import Weights, total
from tests.unit.attribution.examples import BY_TEAM, PROFILE, origin_charge
from tests.unit.attribution.strategies import costs, weights


@given(costs, weights)
def test_a_split_conserves_every_metric(charged: Costs, weights: list[Decimal]) -> None:
    shares = charged.split(Weights(weights))

    assert len(shares) == len(weights)
    assert sum_costs(shares) == charged


@given(st.lists(costs, max_size=5))
def test_a_sum_is_exact_in_every_metric(charged: list[Costs]) -> None:
    summed = sum_costs(charged)

    for metric in COST_METRICS:
        assert getattr(summed, metric) == total(getattr(c, metric) for c in charged)


@given(costs, costs)
def test_adding_two_charges_is_summing_them(one: Costs, other: Costs) -> None:
    assert one + other == sum_costs([one, other])


@pytest.mark.parametrize("metric", COST_METRICS)
def test_costs_are_zero_only_if_every_metric_is(metric: str) -> None:
    assert Costs().is_zero()
    assert not replace(Costs(), **{metric: Decimal("-0.01")}).is_zero()


def test_an_estimate_is_the_same_amount_in_every_metric() -> None:
    assert set(astuple(Costs.uniform(Decimal("1.5")))) == {Decimal("1.5")}


IDENTITY = {
    "usage_date": date(2026, 11, 4),
    "account_id": "444455556666",
    "region": "us-west-2",
    "line_item_type": "Credit",
    "billing_entity": "AWS",
    "product_code": "AmazonBedrock",
    "commitment": "1 month",
    "usage_type": "USE1-NovaPro-input-tokens",
    "operation": "Usage",
    "feature": "flows",
    "meter": Meter("m", TokenKind.OUTPUT, Tier.BATCH),
    "iam_principal": "arn:aws:iam::111122223333:user/alice",
    "resource_id": PROFILE,
    "tags": (("resourceTags/Team", "search"),),
    "currency": "EUR",
    "pricing_unit": "1K tokens",
}
AMOUNTS = {
    "quantity": Decimal(9),
    "units": None,
    "costs": Costs(),
    "row_count": 7,
    "is_final": True,
}


def test_an_origin_charge_is_named_by_what_it_is_for_whatever_it_amounts_to() -> None:
    assert {*IDENTITY, *AMOUNTS} == {f.name for f in fields(origin_charge())}
    assert all(origin_charge(**{name: value}).digest() != origin_charge().digest() for name, value in IDENTITY.items())
    assert all(origin_charge(**{name: value}).digest() == origin_charge().digest() for name, value in AMOUNTS.items())


SHARE = allocate_day([origin_charge()], [], BY_TEAM)[0]


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "0" * 32},
        {"feature": "idle capacity"},
        {"iam_principal": "arn:aws:iam::111122223333:user/alice"},
        {"inference_profile": PROFILE},
        {"categories": (CategoryValue("team", "search"),)},
        {"categories": (CategoryValue("team", "", reason="another reason"),)},
        {"categories": (CategoryValue("team", "search", Evidence("session_tag", "search")),)},
        {"categories": (CategoryValue("team", "search", None, (Evidence("session_tag", "billing"),)),)},
        {"categories": (CategoryValue("team", "search", Evidence("session_tag", "search", "Team")),)},
        {"categories": (CategoryValue("team", "search", confidence=Confidence.RULE),)},
        {"categories": (CategoryValue("team", "", reason=NO_EVIDENCE, rule="tax"),)},
        {"categories": (CategoryValue("team", "search", split=SplitShare("", SplitMethod.EVEN, Decimal(1), Decimal(2))),)},
    ],
)
def test_two_shares_of_one_charge_have_two_names(change: dict[str, object]) -> None:
    assert replace(SHARE, **change).digest() != SHARE.digest()  # type: ignore[arg-type]


def test_a_share_says_who_owns_it_in_a_category() -> None:
    owned = replace(SHARE, categories=(CategoryValue("team", "search"), CategoryValue("tenant", "", reason="none")))

    assert owned.value_of("team") == "search"
    assert owned.value_of("tenant") == ""
    assert owned.value_of("feature") == ""
    assert [c.is_allocated for c in owned.categories] == [True, False]
