"""The directory: opaque ARNs become models that prices and bills know, and what they stood for is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from attribution.directory import (
    Described,
    DirectoryEntry,
    entry_of,
    gone,
    is_opaque,
    kind_of,
    region_of_arn,
    resolved,
    resolved_call,
    resolved_key,
)
from attribution.meters import Routing, Tier
from attribution.models import model_reference
from tests.unit.attribution.examples import NOON, PROFILE, SONNET, USAGE_KEY, metered, observed

BASE = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
WEST = "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-sonnet-4-6"
ANYWHERE = "arn:aws:bedrock:::foundation-model/anthropic.claude-sonnet-4-6"
CUSTOM = "arn:aws:bedrock:us-east-1:111122223333:custom-model/anthropic.claude-sonnet-4-6/abcd1234efgh"
DEPLOYMENT = "arn:aws:bedrock:us-east-1:111122223333:custom-model-deployment/a1b2c3"
PROVISIONED = "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/p9q8r7"
IMPORTED = "arn:aws:bedrock:us-east-1:111122223333:imported-model/i1"


def entry(arn: str = PROFILE, leads_to: Sequence[str] = (BASE,)) -> DirectoryEntry:
    return entry_of(Described(arn, tuple(leads_to), "checkout", (("team", "checkout"),)), None, NOON)


@pytest.mark.parametrize(
    ("arn", "leads_to", "model", "routing", "tier"),
    [
        (PROFILE, [BASE], SONNET, Routing.REGIONAL, Tier.STANDARD),
        # As `GetInferenceProfile` answers for a profile over a geographic, and over a global one.
        (PROFILE, [BASE, WEST], SONNET, Routing.REGIONAL, Tier.STANDARD),
        (PROFILE, [ANYWHERE, BASE], SONNET, Routing.GLOBAL, Tier.STANDARD),
        (CUSTOM, [BASE], f"{SONNET} custom model", Routing.REGIONAL, Tier.STANDARD),
        (DEPLOYMENT, [BASE], f"{SONNET} custom model", Routing.REGIONAL, Tier.STANDARD),
        (PROVISIONED, [BASE], SONNET, Routing.REGIONAL, Tier.PROVISIONED),
        (IMPORTED, [], "", Routing.REGIONAL, Tier.STANDARD),
        (
            PROFILE,
            [BASE, "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"],
            "",
            Routing.REGIONAL,
            Tier.STANDARD,
        ),
        (PROFILE, [PROVISIONED], "", Routing.REGIONAL, Tier.STANDARD),
    ],
)
def test_an_arn_stands_for_the_one_model_that_it_leads_to(
    arn: str, leads_to: list[str], model: str, routing: Routing, tier: Tier
) -> None:
    found = entry(arn, leads_to)

    assert (found.model, found.routing, found.tier) == (model, routing, tier)


def test_an_entry_remembers_when_it_was_first_seen_and_survives_its_deletion() -> None:
    first = entry()
    later = entry_of(Described(PROFILE, (BASE,)), first, NOON + timedelta(days=3))
    deleted = gone(later, NOON + timedelta(days=4))

    assert (later.first_seen, later.last_seen) == (NOON, NOON + timedelta(days=3))
    assert (deleted.model, deleted.deleted_at) == (SONNET, NOON + timedelta(days=4))
    assert gone(deleted, NOON + timedelta(days=9)) == deleted


def test_a_request_through_a_profile_gets_its_model_and_keeps_the_profile() -> None:
    reference = model_reference(PROFILE)
    half = metered(model_id=PROFILE, model=reference.model, inference_profile=reference.inference_profile)
    global_entry = entry(leads_to=[ANYWHERE, BASE])

    found = resolved(half, {PROFILE: global_entry})

    assert (found.model, found.routing, found.inference_profile) == (SONNET, Routing.GLOBAL, PROFILE)
    assert found.fingerprint() == half.fingerprint()
    assert resolved(half, {}) == half
    assert resolved(half, {PROFILE: replace(global_entry, model="")}) == half


def test_a_call_and_a_counter_are_resolved_as_their_request_is() -> None:
    directory = {PROFILE: entry(), PROVISIONED: entry(PROVISIONED)}

    call = resolved_call(observed(model_id=PROFILE, inference_profile=PROFILE), directory)
    key = resolved_key(USAGE_KEY._replace(model=PROFILE, inference_profile=PROFILE), directory)
    capacity = resolved(metered(model=PROVISIONED), directory)

    assert (call.model_id, call.inference_profile) == (SONNET, PROFILE)
    assert (key.model, key.inference_profile) == (SONNET, PROFILE)
    assert (capacity.model, capacity.tier, capacity.inference_profile) == (SONNET, Tier.PROVISIONED, "")


def test_a_model_that_is_named_is_left_as_it_is() -> None:
    half = metered(tier=Tier.FLEX)

    assert resolved(half, {SONNET: entry()}) == half


def test_a_tier_that_the_request_states_stays_where_the_arn_implies_none() -> None:
    assert resolved(metered(model=PROFILE, tier=Tier.FLEX), {PROFILE: entry()}).tier is Tier.FLEX


@pytest.mark.parametrize(
    ("arn", "kind", "region"),
    [
        (PROFILE, "inference-profile", "us-east-1"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/my-team-profile", "inference-profile", "us-gov-west-1"),
        (CUSTOM, "custom-model", "us-east-1"),
        (ANYWHERE, "foundation-model", ""),
        ("arn:aws:iam::111122223333:role/x", "", ""),
        (SONNET, "", ""),
    ],
)
def test_what_an_arn_names(arn: str, kind: str, region: str) -> None:
    assert (kind_of(arn), region_of_arn(arn)) == (kind, region)
    assert is_opaque(arn) == arn.startswith("arn:")
