"""Days that are allocated by the directory: by the tags of their own time, and only where usage and bill name nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import (
    ACCOUNT_TAG,
    NO_TAGS,
    PRINCIPAL_TAG,
    RESOURCE_TAG,
    CostCategory,
    allocate_day,
    tags_of_day,
    totals_by_currency,
)
from attribution.charges import AllocatedCharge, Basis, OriginCharge
from attribution.directory import Described, entry_of
from attribution.meters import TokenKind
from attribution.tag_history import identity_of
from attribution.usage import Counters, Usage
from tests.unit.attribution.examples import NOON, PROFILE, ROLE, SONNET, TEAM, USAGE_KEY, origin_charge
from tests.unit.attribution.flows.ledger import DAYS, FIRST_WRITTEN, Ledger
from tests.unit.attribution.strategies import charge_lists, usage_lists

DAY = DAYS[0]
GATEWAY = "arn:aws:iam::111122223333:role/Gateway"
ACCOUNT = "111122223333"
PROJECT = "arn:aws:bedrock-mantle:us-east-1:111122223333:project/p1"
BASE = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
BEFORE = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=9)


def used(made: Ledger, usage_date: date = DAY, **key: Any) -> None:
    counted = replace(USAGE_KEY, usage_date=usage_date, **key)
    units = {TokenKind.INPUT: 1000}
    made.counters.counted[counted] = Counters(requests=1, units=units, estimated={TokenKind.INPUT: Decimal("3.3")})


def charges_of(made: Ledger, usage_date: date = DAY) -> Sequence[AllocatedCharge]:
    return made.days.versions[usage_date, made.days.current[usage_date].version].charges


def evidence(made: Ledger, usage_date: date = DAY) -> set[tuple[str, str]]:
    """(kind, team) that the charges of a day were allocated by; (reason, "") where they were not."""
    values = [c.categories[0] for c in charges_of(made, usage_date)]
    return {(v.evidence.kind, v.value) if v.evidence else (v.reason, "") for v in values}


def bill(made: Ledger, number: int, *charges: OriginCharge) -> None:
    empty: dict[date, Sequence[OriginCharge]] = {day: [] for day in DAYS}
    made.settle(made.write_charges(number, FIRST_WRITTEN + timedelta(days=number), empty | {DAY: list(charges)}))


@pytest.mark.parametrize(
    ("id", "key", "kind"),
    [
        (GATEWAY, {}, PRINCIPAL_TAG),
        ("arn:aws:iam::111122223333:user/jo", {"iam_principal": "arn:aws:iam::111122223333:user/people/jo"}, PRINCIPAL_TAG),
        (PROFILE, {"inference_profile": PROFILE}, RESOURCE_TAG),
        (PROJECT, {"project": PROJECT}, RESOURCE_TAG),
        (ACCOUNT, {}, ACCOUNT_TAG),
    ],
)
def test_an_estimate_is_allocated_by_the_tags_that_the_bill_will_carry(id: str, key: dict[str, Any], kind: str) -> None:
    made = Ledger()
    used(made, **key)
    made.directory.tag(id, BEFORE, Team="search", color="red")

    made.allocate(DAY)

    assert evidence(made) == {(kind, "search")}


def test_a_resource_s_tag_wins_over_the_caller_s_and_that_over_the_account_s() -> None:
    made = Ledger()
    used(made, inference_profile=PROFILE)
    for id, team in ((ACCOUNT, "platform"), (GATEWAY, "gateway"), (PROFILE, "search")):
        made.directory.tag(id, BEFORE, team=team)

    made.allocate(DAY)

    (charge,) = charges_of(made)
    assert charge.categories[0].value == "search"
    assert [e.value for e in charge.categories[0].disagreed] == ["gateway", "platform"]


def test_a_session_tag_takes_the_place_of_the_role_s_tag_of_that_key() -> None:
    made = Ledger()
    made.policy.categories = [CostCategory("team", ("team",), evidence_order=(PRINCIPAL_TAG,))]
    used(made, session_tags=(("Team", "ads"),))
    made.directory.tag(GATEWAY, BEFORE, team="gateway")

    made.allocate(DAY)

    (charge,) = charges_of(made)
    assert (charge.categories[0].value, charge.categories[0].disagreed) == ("ads", ())


def test_last_month_stays_allocated_by_last_month_s_tags() -> None:
    made = Ledger()
    used(made)
    made.directory.tag(GATEWAY, BEFORE, team="search")
    first = made.allocate(DAY)
    made.directory.tag(GATEWAY, BEFORE + timedelta(days=40), team="ads")
    later = date(2026, 12, 20)
    used(made, later)

    again = made.allocate(DAY)
    made.allocate(later)

    assert (again.version, again.flipped) == (first.version, ())
    assert (evidence(made), evidence(made, later)) == ({(PRINCIPAL_TAG, "search")}, {(PRINCIPAL_TAG, "ads")})


def test_a_tag_that_no_rule_looks_at_changes_no_day() -> None:
    made = Ledger()
    used(made)
    made.directory.tag(GATEWAY, BEFORE, team="search")
    made.allocate(DAY)

    made.directory.tag(GATEWAY, BEFORE + timedelta(days=1), team="search", cost="high")

    assert made.allocate(DAY).flipped == ()


def test_what_the_directory_does_not_know_is_asked_for_once_it_is_used() -> None:
    made = Ledger()
    used(made, inference_profile=PROFILE, project=PROJECT)
    made.directory.tag(PROFILE, BEFORE)

    made.allocate(DAY)

    assert made.directory_requests.asked == [(ACCOUNT, PROJECT, GATEWAY)]
    assert evidence(made) == {("no evidence of an owner", "")}


def test_a_day_whose_names_are_all_known_asks_for_nothing() -> None:
    made = Ledger()
    used(made)
    made.directory.tag(GATEWAY, BEFORE)
    made.directory.tag(ACCOUNT, BEFORE)

    made.allocate(DAY)

    assert made.directory_requests.asked == []


def test_a_bill_without_the_tag_is_allocated_by_the_directory() -> None:
    made = Ledger()
    used(made)
    made.directory.tag(GATEWAY, BEFORE, team="search")

    bill(made, 0, origin_charge(usage_date=DAY))

    assert made.days.current[DAY].basis is Basis.BILLED
    assert evidence(made) == {(PRINCIPAL_TAG, "search")}


def test_a_bill_that_carries_the_tag_anywhere_on_a_day_is_believed_where_it_does_not() -> None:
    made = Ledger()
    made.directory.tag(GATEWAY, BEFORE, team="search")
    made.directory.tag("arn:aws:iam::111122223333:role/Batch", BEFORE, team="batch")
    batch = "arn:aws:sts::111122223333:assumed-role/Batch/b"

    bill(
        made,
        0,
        origin_charge(usage_date=DAY, iam_principal=ROLE),
        origin_charge(usage_date=DAY, iam_principal=batch, tags=(("iamPrincipal/Team", "billed"),), region="eu-west-1"),
    )

    assert evidence(made) == {("usage not logged", ""), (PRINCIPAL_TAG, "billed")}


def test_a_charge_that_no_usage_stands_behind_is_allocated_by_the_tags_of_what_it_names() -> None:
    made = Ledger()
    made.directory.tag(PROFILE, BEFORE, team="search")

    bill(made, 0, origin_charge(usage_date=DAY, resource_id=PROFILE))

    assert evidence(made) == {(RESOURCE_TAG, "search")}


def test_the_bill_s_own_tag_is_evidence_even_where_the_directory_says_otherwise() -> None:
    made = Ledger()
    used(made)
    made.directory.tag(GATEWAY, BEFORE, team="search")

    bill(made, 0, origin_charge(usage_date=DAY, iam_principal=ROLE, tags=(("iamPrincipal/team", "billed"),)))

    (charge,) = charges_of(made)
    assert (charge.categories[0].value, charge.categories[0].disagreed) == ("billed", ())
    assert "directory" not in made.days.current[DAY].made_from


def test_usage_that_names_an_opaque_profile_stands_behind_the_bill_of_its_model() -> None:
    made = Ledger()
    used(made, model=PROFILE, inference_profile=PROFILE, request_metadata=(("team", "search"),))
    made.directory.put(entry_of(Described(PROFILE, (BASE,)), None, NOON))

    bill(made, 0, origin_charge(usage_date=DAY, resource_id=PROFILE))

    (charge,) = charges_of(made)
    assert (charge.categories[0].value, charge.meter.model, charge.inference_profile) == ("search", SONNET, PROFILE)


def tags_of(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    identity = identity_of(text)
    return {identity.id: (("team", f"of {identity.name}"), ("feature", "f"))} if identity else {}


@given(charge_lists, usage_lists, st.booleans())
def test_the_directory_moves_no_money(charges: list[OriginCharge], counted: list[Usage], is_tagged: bool) -> None:
    named = {text for u in counted for text in (u.key.iam_principal, u.key.account_id)}
    named |= {text for c in charges for text in (c.iam_principal, c.resource_id, c.account_id)}
    tags = {id: pairs for text in named for id, pairs in tags_of(text).items()} if is_tagged else {}
    known = tags_of_day(tags, [TEAM], charges) if is_tagged else NO_TAGS

    allocated = allocate_day(charges, counted, [TEAM], known)

    assert totals_by_currency(allocated) == totals_by_currency(charges)
