"""The halves of an invocation as the few bytes that are stored of each.

A half is JSON under its own field names, without what has its default, compressed by raw deflate with a preset dictionary: of
a typical request both halves and the key fit in half a kilobyte, and DynamoDB bills a write of an item by the whole item, in
steps of one kilobyte. Its first byte names the form, which is its dictionary. What a condition or an index needs to see is no
part of it but an attribute of its own. docs/decisions/0014-packed-halves.md has the reasons.
"""

from __future__ import annotations

import zlib
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

# Encodes and decodes typed JSON ten times as fast as the standard library with dataclasses made by hand.
import msgspec

from attribution.meters import Routing, Tier, TokenKind
from attribution.usage import FIRST_RECORD, Metered, Observed, Pairs

# What stored halves have in common, the most common last, where a reference to it is shortest. A form is for ever: another
# dictionary is another form, and this one stays to read what was stored under it.
_DICTIONARY_1 = (
    b'"guardrail_units":{"topicPolicyUnits":"contentPolicyUnits":"wordPolicyUnits":"sensitiveInformationPolicyUnits":'
    b'"invoked_by":"issued_to":"arn:aws:lambda:"on_behalf_of":"project":"arn:aws:bedrock-mantle:"is_uncovered":true'
    b'"has_bearer_token":true"identity_name":"identity_type":"IAMUser""identity_type":"AWSAccount""identity_type":"AWSService"'
    b'"flags":["unmeasured"]"flags":["usage_from_body"]"flags":["cache_write_ttl_unknown"]"currency":"EUR""currency":"CNY"'
    b'"tier":"latency_optimized""tier":"provisioned""tier":"reserved""tier":"long_context""tier":"priority""tier":"flex"'
    b'"error_code":"ThrottlingException""error_code":"ValidationException""error_code":"AccessDeniedException"'
    b'"error_code":"ModelTimeoutException""error_code":"ServiceUnavailableException""error_code":"'
    b"deepseek.qwen.openai.gpt-oss-120b-1:0cohere.embed-v4:0cohere.rerank-v3-5:0mistral.mistral-large-2407-v1:0"
    b"meta.llama4-maverick-17b-instruct-v1:0meta.llama3-3-70b-instruct-v1:0amazon.titan-embed-text-v2:0"
    b"amazon.nova-premier-v1:0amazon.nova-micro-v1:0amazon.nova-lite-v1:0amazon.nova-pro-v1:0"
    b"anthropic.claude-3-5-sonnet-20241022-v2:0anthropic.claude-3-haiku-20240307-v1:0anthropic.claude-3-7-sonnet-20250219-v1:0"
    b"anthropic.claude-sonnet-4-20250514-v1:0anthropic.claude-haiku-4-5-20251001-v1:0anthropic.claude-opus-4-"
    b"anthropic.claude-sonnet-4-5-20250929-v1:0anthropic.claude-sonnet-4-6apac.eu.jp.global.us."
    b":inference-profile/:foundation-model/:provisioned-model/:application-inference-profile/"
    b'"application":"cost_center":"cost-center":"CostCenter":"environment":"env":"prod""project":"customer":"feature":"tenant":'
    b'"user":"Team":"team":"aws/bedrock/modelinvocations#"/aws/bedrock/'
    b'ap-southeast-2ap-northeast-1ap-south-1eu-central-1eu-west-1us-west-2us-east-2us-east-1"'
    b'"cache_write_1h":["cache_write":["cache_read":["output":["input":['
    b'"0.1 USD per 1000000""0.33 USD per 1000000""3.75 USD per 1000000""0.3 USD per 1000000"'
    b'"15 USD per 1000000""3 USD per 1000000"'
    b'"price_source":"AWS Price List AmazonBedrock AmazonBedrockService AmazonBedrockFoundationModels 2026-"'
    b'"event_id":"-4"inference_region":"us-"source_identity":"@example.com","identity_type":"AssumedRole",'
    b'"role":"arn:aws:iam::role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_"session_name":"'
    b'"log_object":"s3:///AWSLogs/BedrockModelInvocationLogs/us-east-1/2026/T00000Z_.json.gz"},'
    b'"request_metadata":{"routing":"global""operation":"InvokeModelWithResponseStream""operation":"InvokeModel"'
    b'"event_name":"InvokeModelWithResponseStream","model_id":"event_name":"ConverseStream","model_id":"'
    b'"inference_profile":"arn:aws:bedrock:us-east-1:","model_id":"arn:aws:bedrock:us-east-1:'
    b'"kinds":{"input":[,"output":["],"iam_principal":"arn:aws:sts::assumed-role/",'
    b'","operation":"Converse","model":"anthropic.claude-","iam_principal":"{"timestamp":"2026-00-00T00:00:00Z","model_id":"'
    b'{"timestamp":"2026-00-00T00:00:00Z","event_name":"Converse","model_id":"anthropic.claude-'
)
_DICTIONARIES = {1: _DICTIONARY_1}
_FORM = 1
# A window of 4 KB holds the dictionary and any half; a small state is made faster.
_WINDOW, _LEVEL, _MEMORY = -12, 9, 5


class _Priced(msgspec.Struct, array_like=True):
    units: int
    cost: Decimal | None
    unit_price: str


class _Half(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What both halves may have. A field may be added; one that is there stays as it is."""

    timestamp: datetime
    model_id: str = ""
    iam_principal: str = ""
    kinds: dict[TokenKind, _Priced] = {}
    routing: Routing = Routing.REGIONAL
    tier: Tier = Tier.STANDARD
    inference_profile: str = ""
    request_metadata: Pairs = ()
    error_code: str = ""
    price_source: str = ""
    currency: str = "USD"


class _Metered(_Half, kw_only=True):
    model: str = ""
    operation: str = ""
    flags: tuple[str, ...] = ()
    log_object: str = ""
    guardrail_units: tuple[tuple[str, int], ...] = ()


class _Observed(_Half, kw_only=True):
    event_name: str = ""
    role: str = ""
    session_name: str = ""
    source_identity: str = ""
    event_id: str = ""
    identity_type: str = ""
    identity_name: str = ""
    invoked_by: str = ""
    issued_to: str = ""
    on_behalf_of: str = ""
    has_bearer_token: bool = False
    is_uncovered: bool = False
    project: str = ""
    inference_region: str = ""
    # Never packed: attributes of their own.
    access_key_id: str = ""
    session_tags: Pairs = ()
    revision: str = FIRST_RECORD


_encoder = msgspec.json.Encoder(decimal_format="string")
_metered_decoder = msgspec.json.Decoder(_Metered)
_observed_decoder = msgspec.json.Decoder(_Observed)


def pack_metered(metered: Metered) -> bytes:
    """The metered half as stored."""
    return _deflate(_encoder.encode(msgspec.convert(metered, _Metered, from_attributes=True)))


def pack_observed(observed: Observed) -> bytes:
    """The observed half as stored, without credentials, session tags and revision, which are attributes of their own."""
    half = msgspec.convert(observed, _Observed, from_attributes=True)
    half.access_key_id, half.session_tags, half.revision = "", (), FIRST_RECORD
    return _deflate(_encoder.encode(half))


# Of a request's changes, each shows the halves that the one before it left. Nothing changes a half that was read.
@lru_cache(maxsize=2048)
def unpack_metered(packed: bytes) -> Metered:
    """The metered half as it was packed. What is no half is a `ValueError`."""
    return msgspec.convert(_metered_decoder.decode(_inflate(packed)), Metered, from_attributes=True)


@lru_cache(maxsize=2048)
def unpack_observed(packed: bytes, access_key_id: str = "", session_tags: Pairs = (), revision: str = FIRST_RECORD) -> Observed:
    """The observed half as it was packed, with what stands beside it. What is no half is a `ValueError`."""
    half = _observed_decoder.decode(_inflate(packed))
    half.access_key_id, half.session_tags, half.revision = access_key_id, session_tags, revision
    return msgspec.convert(half, Observed, from_attributes=True)


def _deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _DICTIONARIES[_FORM])
    return bytes((_FORM,)) + packer.compress(text) + packer.flush()


def _inflate(packed: bytes) -> bytes:
    dictionary = _DICTIONARIES.get(packed[0]) if packed else None
    if dictionary is None:
        raise ValueError("stored in a form that this release does not know")
    unpacker = zlib.decompressobj(_WINDOW, dictionary)
    try:
        text = unpacker.decompress(packed[1:])
    except zlib.error as error:
        raise ValueError("not a half of an invocation") from error
    if not unpacker.eof:
        raise ValueError("not the whole half of an invocation")
    return text
