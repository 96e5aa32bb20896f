"""Model invocation logs: gzip NDJSON batches, body objects beside them, and permission checks.

An object holds records of one account, Region and hour. Mantle calls and calls where logging is off have no record;
some records arrive twice, in two objects; the order of keys varies as it does in real records.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from truth.bodies import input_body, output_body
from truth.company import Month
from truth.objects import StoredObject, compact_json, compress, hex_of, iso_seconds
from truth.organisation import ACCOUNTS
from truth.requests import Request

BATCH_RECORDS = 200
"""Most records in one object."""

_LARGE_BODY_BYTES = 101_000
_Place = tuple[str, str]


def objects(month: Month, *, prefix: str = "", bucket: str = "bedrock-logs") -> Iterator[StoredObject]:
    """All objects of the month in the order of their delivery; `bucket` appears in body references alone."""
    yield from _permission_checks(prefix)
    batches: dict[_Place, list[bytes]] = {}
    hour: datetime | None = None
    for request in month.requests:
        if not request.is_logged:
            continue
        this_hour = request.time.replace(minute=0, second=0)
        if hour is not None and this_hour != hour:
            yield from _flush_all(batches, hour, prefix)
        hour = this_hour
        record = record_of(request, prefix=prefix, bucket=bucket)
        if request.is_body_in_s3 and not request.error_code:
            yield from _body_objects(request, prefix)
        place = (request.principal.account.account_id, request.principal.region)
        batches.setdefault(place, []).append(compact_json(record))
        if request.log_copies > 1:
            # The second delivery is an object of its own.
            yield _batch(place, [compact_json(record)], request.time, prefix)
        if len(batches[place]) >= BATCH_RECORDS:
            yield _batch(place, batches.pop(place), request.time, prefix)
    if hour is not None:
        yield from _flush_all(batches, hour, prefix)


def record_of(request: Request, *, prefix: str = "", bucket: str = "bedrock-logs") -> dict[str, Any]:
    """The log record of one request."""
    account_id, region = request.principal.account.account_id, request.principal.region
    head: dict[str, Any] = {
        "timestamp": iso_seconds(request.time),
        "accountId": account_id,
        "identity": {"arn": request.principal.arn},
        "region": region,
        "requestId": request.request_id,
        "operation": request.call.operation,
        "modelId": _logged_model_id(request),
    }
    schema = {"schemaType": "ModelInvocationLog", "schemaVersion": "1.0"}
    if request.metadata:
        head["requestMetadata"] = request.metadata
    if request.call.routing != "regional" and request.index % 3:
        head["inferenceRegion"] = inference_region(request)
    if request.error_code:
        head |= {"errorCode": request.error_code, "input": {}, "output": {}}
    else:
        head |= _counted_bodies(request, prefix, bucket)
    return {**schema, **head} if request.index % 2 else {**head, **schema}


def inference_region(request: Request) -> str:
    """Where a cross-Region call was served."""
    elsewhere = {"us-east-1": ("us-east-1", "us-east-2", "us-west-2"), "eu-west-1": ("eu-west-1", "eu-central-1")}
    regions = elsewhere[request.principal.region]
    return regions[request.index % len(regions)]


def _logged_model_id(request: Request) -> str:
    call, principal = request.call, request.principal
    model_id = call.model_id(principal.region)
    # Logs name a system profile by its id or by its ARN.
    if call.routing != "regional" and not call.profile and request.index % 3 == 1:
        account_id = principal.account.account_id
        return f"arn:aws:bedrock:{principal.region}:{account_id}:inference-profile/{model_id}"
    return model_id


def _counted_bodies(request: Request, prefix: str, bucket: str) -> dict[str, Any]:
    tokens = request.tokens
    record_input: dict[str, Any] = {"inputContentType": "application/json"}
    record_output: dict[str, Any] = {"outputContentType": "application/json"}
    if _is_input_in_s3(request):
        record_input["inputBodyS3Path"] = f"s3://{bucket}/{_body_key(request, prefix, 'input')}"
    else:
        record_input["inputBodyJson"] = input_body(request)
    if request.is_body_in_s3:
        record_output["outputBodyS3Path"] = f"s3://{bucket}/{_body_key(request, prefix, 'output')}"
    else:
        record_output["outputBodyJson"] = output_body(request)
    if request.call.model.body != "nova_canvas":
        record_input["inputTokenCount"] = tokens.input
        if tokens.cache_read:
            record_input["cacheReadInputTokenCount"] = tokens.cache_read
        if tokens.cache_write:
            record_input["cacheWriteInputTokenCount"] = tokens.cache_write
        if request.call.model.body != "titan_embedding":
            record_output["outputTokenCount"] = tokens.output
    return {"input": record_input, "output": record_output}


def _body_objects(request: Request, prefix: str) -> Iterator[StoredObject]:
    if _is_input_in_s3(request):
        padded = input_body(request) | {"padding": " and so on" * (_LARGE_BODY_BYTES // 10)}
        yield StoredObject(_body_key(request, prefix, "input"), compress(compact_json(padded)))
    yield StoredObject(_body_key(request, prefix, "output"), compress(compact_json(output_body(request))))


def _is_input_in_s3(request: Request) -> bool:
    # The prompt for an image is small; only the images are not.
    return request.is_body_in_s3 and request.call.model.body != "nova_canvas"


def _body_key(request: Request, prefix: str, side: str) -> str:
    place = (request.principal.account.account_id, request.principal.region)
    return f"{folder(place, request.time, prefix)}/data/{request.request_id}_{side}.json.gz"


def _flush_all(batches: dict[_Place, list[bytes]], hour: datetime, prefix: str) -> Iterator[StoredObject]:
    for place in sorted(batches):
        yield _batch(place, batches[place], hour + timedelta(minutes=59, seconds=50), prefix)
    batches.clear()


def _batch(place: _Place, lines: list[bytes], time: datetime, prefix: str) -> StoredObject:
    data = b"\n".join(lines) + b"\n"
    name = f"{time:%Y%m%dT%H%M%S}{len(data) % 10_000:04d}Z_{hex_of(place, data)}"
    return StoredObject(f"{folder(place, time, prefix)}/{name}.json.gz", compress(data))


def folder(place: tuple[str, str], time: datetime, prefix: str) -> str:
    """Where the logs of one account and Region lie that belong to the hour of `time`."""
    account_id, region = place
    root = f"{prefix}/" if prefix else ""
    return f"{root}AWSLogs/{account_id}/BedrockModelInvocationLogs/{region}/{time:%Y/%m/%d/%H}"


def _permission_checks(prefix: str) -> Iterator[StoredObject]:
    root = f"{prefix}/" if prefix else ""
    for account in ACCOUNTS.values():
        for region in account.logged_regions:
            folder = f"{root}AWSLogs/{account.account_id}/BedrockModelInvocationLogs/{region}"
            yield StoredObject(f"{folder}/amazon-bedrock-logs-permission-check", b"")
            yield StoredObject(f"{folder}/data/amazon-bedrock-logs-permission-check", b"")
