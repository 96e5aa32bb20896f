"""One key per model, and never another model's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.meters import Routing
from attribution.models import CATALOGUE, model_of_name, model_reference
from tests.unit.attribution.shared_samples import SAMPLES, needs_samples

KEYS = {entry.key for entry in CATALOGUE}

IDS = {
    "anthropic.claude-v2:1": "anthropic.claude-v2",
    "anthropic.claude-v2:1:200k": "anthropic.claude-v2",
    "anthropic.claude-3-haiku-20240307-v1:0": "anthropic.claude-3-haiku",
    "anthropic.claude-3-haiku-20240307-v1:0:48k": "anthropic.claude-3-haiku",
    "anthropic.claude-3-sonnet-20240229-v1": "anthropic.claude-3-sonnet",
    "anthropic.claude-3-sonnet-20240229-v1:0": "anthropic.claude-3-sonnet",
    "anthropic.claude-3-5-sonnet-20240620-v1:0": "anthropic.claude-3-5-sonnet",
    "anthropic.claude-3-5-sonnet-20241022-v2:0": "anthropic.claude-3-5-sonnet-v2",
    "anthropic.claude-3-5-haiku-20241022-v1:0": "anthropic.claude-3-5-haiku",
    "anthropic.claude-3-7-sonnet-20250219-v1:0": "anthropic.claude-3-7-sonnet",
    "anthropic.claude-sonnet-4": "anthropic.claude-sonnet-4",
    "anthropic.claude-sonnet-4-20250514-v1:0": "anthropic.claude-sonnet-4",
    "anthropic.claude-sonnet-4-5-20250929-v1:0": "anthropic.claude-sonnet-4-5",
    "anthropic.claude-haiku-4-5-20251001-v1:0": "anthropic.claude-haiku-4-5",
    "anthropic.claude-opus-4-20250514-v1:0": "anthropic.claude-opus-4",
    "anthropic.claude-opus-4-5-20251101-v1:0": "anthropic.claude-opus-4-5",
    "anthropic.claude-sonnet-4-6": "anthropic.claude-sonnet-4-6",
    "amazon.nova-pro-v1:0": "amazon.nova-pro",
    "amazon.nova-pro-v1:0:300k": "amazon.nova-pro",
    "amazon.nova-2-lite-v1:0": "amazon.nova-2-lite",
    "amazon.titan-embed-text-v1": "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v1:2:8k": "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v2:0": "amazon.titan-embed-text-v2",
    "meta.llama3-1-70b-instruct-v1:0": "meta.llama3-1-70b-instruct",
    "mistral.mistral-small-2402-v1:0": "mistral.mistral-small-2402",
    "openai.gpt-oss-20b-1:0": "openai.gpt-oss-20b",
    "openai.gpt-oss-20b": "openai.gpt-oss-20b",
    "cohere.rerank-v3-5:0": "cohere.rerank-v3-5",
}

# Ids one step away from a known model: another minor or major version is another model with other prices.
STRANGERS = (
    "anthropic.claude-opus-4-7",
    "anthropic.claude-opus-4-1-20250805-v1:0",
    "anthropic.claude-opus-4-6-v1",
    "anthropic.claude-sonnet-4-9",
    "anthropic.claude-3-haiku-20260307-v2:0",
    "amazon.nova-pro-v2:0",
    "amazon.titan-image-generator-v2:0",
    "anthropic.claude-instant-v1",
    "cohere.command-r-plus-v1:0",
    "anthropic.claude-3",
    "m",
    "<modelId>",
)


@pytest.mark.parametrize(("model_id", "key"), IDS.items())
def test_an_api_id_names_its_model_without_date_version_and_context_suffix(model_id: str, key: str) -> None:
    assert model_reference(model_id).model == key


@pytest.mark.parametrize("model_id", STRANGERS)
def test_an_id_that_the_catalogue_lacks_is_its_own_model_and_not_a_similar_one(model_id: str) -> None:
    reference = model_reference(model_id)

    assert reference.model == model_id
    assert reference.model not in KEYS


@pytest.mark.parametrize("prefix", ["us", "eu", "apac", "au", "jp", "ca", "us-gov"])
def test_a_geographic_profile_bills_like_a_call_in_one_region(prefix: str) -> None:
    text = f"{prefix}.anthropic.claude-sonnet-4-5-20250929-v1:0"

    reference = model_reference(text)

    assert reference.model == "anthropic.claude-sonnet-4-5"
    assert reference.routing is Routing.REGIONAL
    assert reference.inference_profile == text


def test_a_global_profile_has_its_own_price() -> None:
    reference = model_reference("global.anthropic.claude-sonnet-4-6")

    assert reference.model == "anthropic.claude-sonnet-4-6"
    assert reference.routing is Routing.GLOBAL
    assert reference.inference_profile == "global.anthropic.claude-sonnet-4-6"


def test_a_foundation_model_arn_is_the_model_itself() -> None:
    arn = "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0"

    assert model_reference(arn) == model_reference("anthropic.claude-3-5-sonnet-20240620-v1:0")
    assert model_reference(arn).inference_profile == ""


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_a_system_profile_arn_names_model_and_routing(partition: str) -> None:
    arn = f"arn:{partition}:bedrock:us-east-1:111122223333:inference-profile/global.anthropic.claude-haiku-4-5-20251001-v1:0"

    reference = model_reference(arn)

    assert (reference.model, reference.routing) == ("anthropic.claude-haiku-4-5", Routing.GLOBAL)
    assert reference.inference_profile == arn


@pytest.mark.parametrize(
    ("kind", "identifier", "is_profile"),
    [
        ("application-inference-profile", "a1b2c3d4e5f6", True),
        # AWS's own page invokes an application profile like this.
        ("inference-profile", "my-team-profile", True),
        ("provisioned-model", "abcdef123456", False),
        ("custom-model-deployment", "abcdef123456", False),
        ("custom-model", "amazon.nova-pro-v1:0:300k/abcdef123456", False),
        ("imported-model", "abcdef123456", False),
        ("prompt", "PROMPT12345:1", False),
        ("default-prompt-router", "anthropic.claude:1", False),
    ],
)
def test_an_arn_that_hides_its_model_is_kept_whole(kind: str, identifier: str, is_profile: bool) -> None:
    arn = f"arn:aws:bedrock:us-east-1:111122223333:{kind}/{identifier}"

    reference = model_reference(arn)

    assert reference.model == arn
    assert reference.inference_profile == (arn if is_profile else "")


def test_an_arn_of_another_service_is_kept_whole() -> None:
    arn = "arn:aws:sagemaker:us-east-1:111122223333:endpoint/marketplace-model"

    assert model_reference(arn).model == arn


def test_a_percent_encoded_arn_is_the_same_arn() -> None:
    encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-6"

    assert model_reference(encoded) == model_reference(encoded.replace("%3A", ":").replace("%2F", "/"))
    assert model_reference(encoded).model == "anthropic.claude-sonnet-4-6"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Claude Sonnet 4.6 (Amazon Bedrock Edition)", "anthropic.claude-sonnet-4-6"),
        ("Claude 3.5 Sonnet (Amazon Bedrock Edition)", "anthropic.claude-3-5-sonnet"),
        ("Claude 3.5 Sonnet v2 (Amazon Bedrock Edition)", "anthropic.claude-3-5-sonnet-v2"),
        ("claude 3 haiku (bedrock edition) ", "anthropic.claude-3-haiku"),
        ("Nova Pro", "amazon.nova-pro"),
        ("NovaPro", "amazon.nova-pro"),
        ("Pegasus v1.2", "Pegasus v1.2"),
        ("TwelveLabs Pegasus 1.2 (Amazon Bedrock Edition)", "TwelveLabs Pegasus 1.2"),
        ("Claude Opus 4.7 (Amazon Bedrock Edition)", "Claude Opus 4.7"),
        ("", ""),
    ],
)
def test_a_name_on_the_bill_is_read_as_billing_spells_it(name: str, key: str) -> None:
    assert model_of_name(name) == key


def test_no_spelling_belongs_to_two_models() -> None:
    spellings = [(spelling.casefold(), entry.key) for entry in CATALOGUE for spelling in {entry.key, *entry.also}]

    assert len({spelling for spelling, _ in spellings}) == len({*spellings})


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.key)
def test_every_spelling_of_the_catalogue_leads_to_its_key(entry: object) -> None:
    key, also = entry.key, entry.also  # type: ignore[attr-defined]

    assert {model_of_name(spelling) for spelling in (key, *also)} == {key}
    assert model_reference(f"us.{key}-v1:0").model == key


near_misses = st.tuples(
    st.sampled_from(sorted(KEYS)), st.sampled_from(["-v2:0", "-v7", "-pro", "-20250101-v3:0", "x", ".9"])
).map("".join)


@given(st.text(max_size=60) | st.from_regex(r"arn:aws:bedrock:[a-z0-9:/.%-]{0,40}", fullmatch=True) | near_misses)
def test_whatever_a_caller_sends_is_read_and_an_unknown_id_never_becomes_a_known_model(text: str) -> None:
    reference = model_reference(text)

    spellings = [name for entry in CATALOGUE if entry.key == reference.model for name in (entry.key, *entry.also)]
    assert reference.model not in KEYS or any(text.casefold() in (s.casefold(), f"{s}-v1".casefold()) for s in spellings)


@needs_samples
def test_every_model_id_of_the_sample_records_is_read_as_stated() -> None:
    found: set[str] = set()
    for path in SAMPLES.rglob("*.*"):
        found |= set(re.findall(r'"modelId": ?"([^"]*)"', path.read_text(encoding="utf-8", errors="replace")))

    known = {model_id: model_reference(model_id).model for model_id in found if model_reference(model_id).model in KEYS}

    expected = {model_id: key for model_id, key in IDS.items() if model_id in found}
    expected["arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0"] = (
        "anthropic.claude-haiku-4-5"
    )
    assert known == expected
    assert found - set(known) <= set(STRANGERS)
