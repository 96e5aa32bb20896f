"""Halves as they are stored: everything comes back, a typical request is small, and an old form stays readable."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.packing import pack_metered, pack_observed, unpack_metered, unpack_observed
from attribution.meters import Routing, Tier, TokenKind
from attribution.usage import Metered, Observed, PricedKind
from tests.unit.attribution.examples import metered, observed

TIMES = st.datetimes(datetime(2023, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple)
COSTS = st.none() | st.decimals(0, 10**6, places=30, allow_nan=False, allow_infinity=False)
KINDS = st.dictionaries(st.sampled_from(TokenKind), st.builds(PricedKind, st.integers(0, 10**15), COSTS, TEXT), max_size=4)


@given(
    st.builds(
        Metered,
        TIMES,
        *[TEXT] * 3,
        st.sampled_from(Routing),
        st.sampled_from(Tier),
        *[TEXT] * 2,
        KINDS,
        PAIRS,
        TEXT,
        st.lists(TEXT, max_size=2).map(tuple),
        *[TEXT] * 2,
        st.lists(st.tuples(TEXT, st.integers(0, 10**9)), max_size=2).map(tuple),
        TEXT,
    )
)
def test_a_metered_half_comes_back_as_it_was_to_the_last_digit(half: Metered) -> None:
    assert unpack_metered(pack_metered(half)) == half


@given(TIMES, st.lists(TEXT, min_size=15, max_size=15), st.booleans(), st.booleans(), PAIRS, KINDS)
def test_an_observed_half_comes_back_as_it_was(
    at: datetime,
    texts: list[str],
    bearer: bool,
    uncovered: bool,
    metadata: tuple[tuple[str, str], ...],
    kinds: dict[TokenKind, PricedKind],
) -> None:
    names = (
        "event_name model_id iam_principal role session_name source_identity error_code event_id identity_type identity_name "
        "invoked_by issued_to on_behalf_of project inference_region"
    ).split()
    named: dict[str, Any] = dict(zip(names, texts, strict=True))
    half = replace(
        Observed(at, "", "", ""),
        **named,
        has_bearer_token=bearer,
        is_uncovered=uncovered,
        request_metadata=metadata,
        kinds=kinds,
        routing=Routing.GLOBAL,
        tier=Tier.FLEX,
        currency="EUR",
    )

    assert unpack_observed(pack_observed(half)) == half


def test_what_stands_beside_the_observed_half_is_not_stored_twice() -> None:
    half = observed(access_key_id="ASIAEXAMPLE0000000001", session_tags=(("team", "search"),), revision="1#later")

    assert unpack_observed(pack_observed(half)) == observed()


LONG_ROLE = "AWSReservedSSO_BedrockDeveloperAccess_0123456789abcdef"
PRINCIPAL = f"arn:aws:sts::111122223333:assumed-role/{LONG_ROLE}/maximilian.mustermann@subsidiary.example.com"
PROFILE = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/a1b2c3d4e5f6"
SOURCE = "AWS Price List AmazonBedrockFoundationModels 2026-09-11"


def test_both_halves_of_a_request_with_long_names_fit_well_into_one_write_unit() -> None:
    kinds = {
        kind: PricedKind(123_456 + number, Decimal("0.0370368") + number, f"{number}.3 USD per 1000000")
        for number, kind in enumerate([TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.CACHE_READ, TokenKind.CACHE_WRITE])
    }
    used = metered(
        model_id=PROFILE,
        inference_profile=PROFILE,
        operation="ConverseStream",
        iam_principal=PRINCIPAL,
        kinds=kinds,
        request_metadata=(
            ("application", "claims-triage"),
            ("cost-center", "4711-0815"),
            ("team", "motor"),
            ("tenant", "acme"),
        ),
        price_source=SOURCE,
        log_object=(
            "s3://central-bedrock-invocation-logs/bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/eu-central-1/"
            "2026/10/05/14/20261005T145950123Z_3f2a9c1d7e5b4860.json.gz"
        ),
    )
    seen = observed(
        event_name="ConverseStream",
        iam_principal=PRINCIPAL,
        role=f"arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-central-1/{LONG_ROLE}",
        session_name="maximilian.mustermann@subsidiary.example.com",
        source_identity="maximilian.mustermann",
        event_id="cbf3f493-5dbc-4ba9-a3a6-45eb7e7adce0",
        identity_type="AssumedRole",
        on_behalf_of="906780ef44-1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809",
        inference_region="eu-central-1",
        inference_profile=PROFILE,
        kinds={kind: kinds[kind] for kind in (TokenKind.INPUT, TokenKind.OUTPUT)},
        price_source=SOURCE,
    )

    assert len(pack_metered(used)) + len(pack_observed(seen)) < 750


# What a release stored is read by every later one: these bytes are never made anew.
STORED_METERED = (
    "AcNisKGhroFxiKERVofgqUCUCASkIRAYAYExEKCGqjuwsVeeWKmfDqGBBmHE"
    "GKik0QEWUQYGxsZAeWMsZVUs1swQHQ0p5XWUEpViY/HEEopHcEQxZibOAeXSRKVaAA=="
)
STORED_OBSERVED = "AcNisKGhroFxiKER2GCjKAIGICoQJQIBaQgERkBgDASooeoObOyVJ1bqp0NoPF7BljtRzAWbVwQ3AZL+gAVsLQA="


def test_what_was_stored_in_the_first_form_is_read() -> None:
    assert unpack_metered(base64.b64decode(STORED_METERED)) == metered(
        log_object="s3://logs/a", request_metadata=(("team", "a"),)
    )
    assert unpack_observed(base64.b64decode(STORED_OBSERVED)) == observed(
        event_id="e-1", role="arn:aws:iam::111122223333:role/r"
    )


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02" + pack_metered(metered())[1:], id="a form to come"),
        pytest.param(b"\x01garbage", id="garbage"),
        pytest.param(pack_metered(metered())[:-3], id="cut short"),
    ],
)
def test_what_is_no_half_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"form|half"):
        unpack_metered(packed)
