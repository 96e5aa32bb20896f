"""Days that are allocated by the directory: by the tags of their own time, and only where usage and bill name nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.allocation import allocate_day, totals_by_currency
from attribution.charges import AllocatedCharge, Basis, OriginCharge
from attribution.conditions import MatchOption
from attribution.cost_categories import (
    ACCOUNT_TAG,
    PRINCIPAL_TAG,
    RESOURCE_TAG,
    CostCategory,
    InheritedValueRule,
    RegularRule,
    by_evidence,
)
from attribution.day_directory import NO_DIRECTORY, directory_of_day
from attribution.directory import Described, entry_of
from attribution.expressions import Dimension, Match, Source
from attribution.meters import TokenKind
from attribution.rules import Rules
from attribution.tag_history import Attributes, History, identity_of
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
    counted = USAGE_KEY._replace(usage_date=usage_date, **key)
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
    made.policy.defined_rules = Rules.of([by_evidence("team", ["team"], order=(PRINCIPAL_TAG,))])
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


def known_of(text: str) -> dict[str, Attributes]:
    identity = identity_of(text)
    return {identity.id: Attributes((("team", f"of {identity.name}"), ("feature", "f")))} if identity else {}


@given(charge_lists, usage_lists, st.booleans())
def test_the_directory_moves_no_money(charges: list[OriginCharge], counted: list[Usage], is_tagged: bool) -> None:
    rules = Rules.of([TEAM])
    named = {text for u in counted for text in (u.key.iam_principal, u.key.account_id)}
    named |= {text for c in charges for text in (c.iam_principal, c.resource_id, c.account_id)}
    known = {id: attributes for text in named for id, attributes in known_of(text).items()}

    allocated = allocate_day(charges, counted, rules, directory_of_day(known, rules, charges) if is_tagged else NO_DIRECTORY)

    assert totals_by_currency(allocated) == totals_by_currency(charges)


# Accounts -------------------------------------------------------------------------------------------------------------

PLACE = Attributes((), "payments", "Root/Retail/Production")


def place_account(made: Ledger) -> None:
    made.directory.histories[ACCOUNT] = History(ACCOUNT).seen(PLACE, BEFORE)


def test_a_rule_sees_the_name_and_the_unit_of_an_account_that_organizations_tell() -> None:
    made = Ledger()
    retail = Match(Source.DIMENSIONS, Dimension.ORGANIZATIONAL_UNIT, ("Root/Retail/",), MatchOption.STARTS_WITH)
    by_unit = CostCategory("team", (RegularRule("retail", retail),))
    by_name = CostCategory("name", (InheritedValueRule(Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME),))
    made.policy.defined_rules = Rules.of([by_unit, by_name])
    place_account(made)
    used(made)
    later = date(2026, 12, 20)
    used(made, later)
    bill(made, 0, origin_charge(usage_date=DAY))
    made.allocate(later)

    assert (made.days.current[DAY].is_billed, made.days.current[later].is_billed) == (True, False)
    for day in (DAY, later):
        assert {tuple(v.value for v in c.categories) for c in charges_of(made, day)} == {("retail", "payments")}


def test_the_name_that_the_policy_states_wins_over_that_of_organizations() -> None:
    made = Ledger()
    by_name = CostCategory("team", (InheritedValueRule(Source.DIMENSIONS, Dimension.LINKED_ACCOUNT_NAME),))
    made.policy.defined_rules = Rules.of([by_name], account_names={ACCOUNT: "stated"})
    place_account(made)
    used(made)

    made.allocate(DAY)

    assert [c.categories[0].value for c in charges_of(made)] == ["stated"]


def test_an_account_that_is_renamed_changes_no_day_that_does_not_ask_for_its_name() -> None:
    made = Ledger()
    place_account(made)
    used(made)
    made.allocate(DAY)

    made.directory.histories[ACCOUNT] = History(ACCOUNT).seen(Attributes((), "renamed"), BEFORE)

    assert made.allocate(DAY).flipped == ()
