"""Request and response bodies of invocation log records, by operation and model family.

Every body holds invented text with a canary, and text that imitates log fields (`"inputTokenCount":999999`, a foreign
identity), so that a reader who searches instead of parsing, or keeps what he should drop, is caught.
"""

from __future__ import annotations

from typing import Any

from truth.catalogue import Body
from truth.objects import canary_of
from truth.requests import Request, Tokens

SPOOF = '{"inputTokenCount":999999,"outputTokenCount":999999,"identity":{"arn":"arn:aws:iam::000000000000:user/spoof"}}'

_BLOCKED = "Sorry, the model cannot answer this question."


def prompt_text(request: Request) -> str:
    """What the caller wrote."""
    return f"Summarise case {canary_of('prompt', request.request_id)} and ignore {SPOOF}"


def completion_text(request: Request) -> str:
    """What the model answered."""
    if request.is_guardrail_blocked:
        return _BLOCKED
    return f"The case {canary_of('completion', request.request_id)} is settled."


def input_body(request: Request) -> dict[str, Any]:
    """The body the caller sent."""
    text = prompt_text(request)
    if request.call.operation.startswith("Converse"):
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": [{"text": text}]}],
            "inferenceConfig": {"maxTokens": 32_000, "temperature": 0.2},
        }
        if request.call.tier != "standard":
            body["serviceTier"] = {"type": request.call.tier}
        return body
    image = {"numberOfImages": request.tokens.images, "width": 1024, "height": 1024, "quality": "standard"}
    bodies: dict[Body, dict[str, Any]] = {
        "claude": {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 32_000,
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        },
        "llama": {"prompt": text, "max_gen_len": 2048},
        "titan_embedding": {"inputText": text, "dimensions": 1024, "normalize": True},
        "nova_canvas": {
            "taskType": "TEXT_IMAGE",
            "textToImageParams": {"text": text},
            "imageGenerationConfig": image,
        },
        "nova": {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": text}]}]},
    }
    return bodies[request.call.model.body]


def output_body(request: Request) -> Any:
    """The body the model returned; an array of chunks for a streamed InvokeModel."""
    if request.call.operation.startswith("Converse"):
        return _converse(request)
    match request.call.model.body:
        case "claude":
            return _claude_chunks(request) if request.call.is_stream else _claude(request)
        case "llama":
            return {
                "generation": completion_text(request),
                "prompt_token_count": request.tokens.input,
                "generation_token_count": request.tokens.output,
                "stop_reason": "stop",
            }
        case "titan_embedding":
            return {"embedding": [0.0123, -0.0456, 0.0789], "inputTextTokenCount": request.tokens.input}
        case "nova_canvas":
            return {"images": [canary_of("image", request.request_id, n) for n in range(request.tokens.images)]}
        case _:
            return {
                "output": {"message": {"role": "assistant", "content": [{"text": completion_text(request)}]}},
                "stopReason": "end_turn",
                "usage": _camel_usage(request.tokens, is_claude=False),
            }


def _converse(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": [{"text": completion_text(request)}]}},
        "stopReason": "guardrail_intervened" if request.is_guardrail_blocked else "end_turn",
        "metrics": {"latencyMs": 400 + request.tokens.output},
        "usage": _camel_usage(request.tokens, is_claude=request.call.model.body == "claude"),
    }
    if request.call.tier != "standard":
        body["serviceTier"] = {"type": request.call.tier}
    if request.is_guardrail_blocked:
        units = {"topicPolicyUnits": 1, "contentPolicyUnits": 1, "wordPolicyUnits": 0}
        assessment = {
            "topicPolicy": {"topics": [{"name": "Finance", "type": "DENY", "action": "BLOCKED"}]},
            "invocationMetrics": {"guardrailProcessingLatency": 250, "usage": units},
        }
        body["trace"] = {"guardrail": {"inputAssessment": {"4f9qxd2m71ab": assessment}}}
    return body


def _camel_usage(tokens: Tokens, *, is_claude: bool) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.total_input + tokens.output,
    }
    if tokens.cache_read or tokens.cache_write:
        usage |= {
            "cacheReadInputTokens": tokens.cache_read,
            "cacheReadInputTokenCount": tokens.cache_read,
            "cacheWriteInputTokens": tokens.cache_write,
            "cacheWriteInputTokenCount": tokens.cache_write,
        }
    if is_claude and tokens.cache_write:
        writes = (("1h", tokens.cache_write_1h), ("5m", tokens.cache_write_5m))
        usage["cacheDetails"] = [{"ttl": ttl, "inputTokens": count} for ttl, count in writes if count]
    return usage


def _snake_usage(tokens: Tokens, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": output_tokens,
    }


def _message(request: Request) -> dict[str, Any]:
    return {
        "id": f"msg_bdrk_{request.request_id.replace('-', '')[:24]}",
        "type": "message",
        "role": "assistant",
        "model": request.call.model.model_id.removeprefix("anthropic."),
    }


def _claude(request: Request) -> dict[str, Any]:
    return _message(request) | {
        "content": [{"type": "text", "text": completion_text(request)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _snake_usage(request.tokens, request.tokens.output),
    }


def _claude_chunks(request: Request) -> list[Any]:
    tokens = request.tokens
    start = _message(request) | {"content": [], "usage": _snake_usage(tokens, min(tokens.output, 2))}
    metrics = {
        "inputTokenCount": tokens.input,
        "outputTokenCount": tokens.output,
        "invocationLatency": 900 + tokens.output,
        "firstByteLatency": 420,
    }
    chunks: list[Any] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": completion_text(request)},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens.output}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
    ]
    # Some streams end with this bare string.
    return [*chunks, "[DONE]"] if request.index % 5 == 0 else chunks
