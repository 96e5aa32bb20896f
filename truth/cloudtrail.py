"""CloudTrail records of the month: EventBridge envelopes, and the same records as trail files.

Records come in the order of their arrival, which is not the order of the calls: a session's STS record may follow the
calls made with it, some records arrive twice with the same `eventID`, a few lack what a correction brings later, and a few
calls have no record at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from truth.company import Month
from truth.invocation_log import inference_region
from truth.objects import StoredObject, compact_json, compress, hex_of, iso_seconds, key_id_of, uuid_of
from truth.organisation import ACCOUNTS, GATEWAY, PLATFORM
from truth.requests import Request
from truth.sts import Session, is_announced, session_of, sts_records, user_identity

FILE_RECORDS = 300
"""Most records in one trail file."""

Record = dict[str, Any]
_Arrival = tuple[datetime, str, Record]

_DETAIL_TYPE = "AWS API Call via CloudTrail"
_SOURCE = {
    "bedrock.amazonaws.com": "aws.bedrock",
    "bedrock-mantle.amazonaws.com": "aws.bedrock-mantle",
    "sts.amazonaws.com": "aws.sts",
}
_ERROR = {
    "ValidationException": ("ValidationException", "The provided model identifier is invalid."),
    "AccessDeniedException": ("AccessDenied", "You don't have access to the model with the specified model ID."),
}


def eventbridge_events(month: Month) -> Iterator[Record]:
    """EventBridge envelopes in the order of their arrival."""
    for arrived_at, copy, record in _arrivals(month):
        yield {
            "version": "0",
            "id": uuid_of("envelope", record["eventID"], copy, arrived_at),
            "detail-type": _DETAIL_TYPE,
            "source": _SOURCE[record["eventSource"]],
            "account": record["recipientAccountId"],
            "time": record["eventTime"],
            "region": record["awsRegion"],
            "resources": [],
            "detail": record,
        }


def trail_objects(month: Month, *, prefix: str = "") -> Iterator[StoredObject]:
    """Trail files with the same records, one other service's record at the head of each, and the daily digests."""
    batches: dict[tuple[str, str], list[Record]] = {}
    hour: datetime | None = None
    for arrived_at, _, record in _arrivals(month):
        this_hour = arrived_at.replace(minute=0, second=0, microsecond=0)
        if hour is not None and this_hour != hour:
            yield from _flush(batches, hour, prefix)
            if this_hour.date() != hour.date():
                yield from _digests(hour, prefix)
        hour = this_hour
        place = (record["recipientAccountId"], record["awsRegion"])
        batches.setdefault(place, []).append(record)
        if len(batches[place]) >= FILE_RECORDS:
            yield _file(place, batches.pop(place), arrived_at, prefix)
    if hour is not None:
        yield from _flush(batches, hour, prefix)
        yield from _digests(hour, prefix)


def call_record(month: Month, request: Request, session_began_at: datetime) -> Record:
    """The CloudTrail record of one model call."""
    if request.call.is_mantle:
        return _mantle_record(month, request, session_began_at)
    principal, region = request.principal, request.principal.region
    record = _head(month, request, session_began_at) | {
        "eventVersion": "1.11",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": request.call.operation,
        "requestParameters": _request_parameters(request),
        "readOnly": True,
        "managementEvent": True,
        "eventCategory": "Management",
        "tlsDetails": _tls(f"bedrock-runtime.{region}.amazonaws.com"),
    }
    additional = _additional_data(request)
    if additional:
        record["additionalEventData"] = additional
    if request.error_code:
        record["errorCode"], record["errorMessage"] = _ERROR[request.error_code]
    if principal is GATEWAY:
        # Calls through a VPC endpoint carry a shared id even when the endpoint is the caller's own.
        record |= {
            "sharedEventID": uuid_of("shared", request.request_id),
            "vpcEndpointId": "vpce-0" + hex_of("vpce", digits=16),
            "vpcEndpointAccountId": PLATFORM.account_id,
        }
    return record


def _arrivals(month: Month) -> Iterator[_Arrival]:
    pending: list[_Arrival] = []
    sessions: dict[Session, datetime] = {}
    for request in month.requests:
        # Nothing that is still to come can arrive before its own call, or its session's record a minute earlier.
        while pending and pending[0][0] <= request.time - timedelta(minutes=2):
            yield heapq.heappop(pending)
        session = session_of(request)
        if session not in sessions:
            sessions[session] = request.time - timedelta(seconds=30)
            for arrival in _announcements(month, request, sessions[session]):
                heapq.heappush(pending, arrival)
        if not request.is_in_cloudtrail:
            continue
        record = call_record(month, request, sessions[session])
        arrived_at = request.time + timedelta(seconds=40 + request.index % 200)
        if _is_corrected(request):
            correction = _correction(record)
            heapq.heappush(pending, (arrived_at + timedelta(minutes=12), f"{correction['eventID']}#0", correction))
            record = {name: value for name, value in record.items() if name != "additionalEventData"}
        for copy in range(request.cloudtrail_copies):
            delay = timedelta(minutes=7 * copy)
            heapq.heappush(pending, (arrived_at + delay, f"{record['eventID']}#{copy}", record))
    while pending:
        yield heapq.heappop(pending)


def _is_corrected(request: Request) -> bool:
    return request.index % 59 == 21 and request.call.operation.startswith("Converse")


def _correction(record: Record) -> Record:
    """The record again, as CloudTrail adds what was missing in it."""
    addendum = {
        "reason": "UPDATED_DATA",
        "updatedFields": "additionalEventData",
        "originalRequestID": record["requestID"],
        "originalEventID": record["eventID"],
    }
    ids = {name: uuid_of("correction", name, record[name]) for name in ("requestID", "eventID")}
    return record | ids | {"addendum": addendum}


def _announcements(month: Month, request: Request, issued_at: datetime) -> Iterator[_Arrival]:
    if not is_announced(request):
        return
    # One session in four is announced only after its first call.
    is_late = int(hex_of(month.seed, session_of(request), digits=2), 16) % 4 == 0
    delay = timedelta(minutes=11) if is_late else timedelta(seconds=9)
    for record in sts_records(month, request, issued_at):
        yield issued_at + delay, f"{record['eventID']}#0", record


def _head(month: Month, request: Request, session_began_at: datetime) -> Record:
    principal = request.principal
    return {
        "userIdentity": user_identity(month, request, session_began_at),
        "eventTime": iso_seconds(request.time),
        "awsRegion": principal.region,
        "sourceIPAddress": f"10.{request.index % 7}.{request.index % 240}.17",
        "userAgent": "Boto3/1.42.97 md/Botocore#1.42.97 ua/2.1 os/linux lang/python#3.13.0",
        "responseElements": None,
        "requestID": request.request_id,
        "eventID": uuid_of(month.seed, month.month, "event", request.index),
        "eventType": "AwsApiCall",
        "recipientAccountId": principal.account.account_id,
    }


def _request_parameters(request: Request) -> Record:
    parameters: Record = {"modelId": request.call.model_id(request.principal.region)}
    if request.call.operation.startswith("Converse"):
        parameters["inferenceConfig"] = {"maxTokens": 32_000}
        if request.call.tier != "standard":
            parameters["serviceTier"] = {"type": request.call.tier}
    return parameters


def _additional_data(request: Request) -> Record:
    additional: Record = {}
    if request.call.routing != "regional" and request.index % 3 and not request.error_code:
        additional["inferenceRegion"] = inference_region(request)
    if request.call.operation.startswith("Converse") and not request.error_code:
        additional |= {"inputTokens": request.tokens.input, "outputTokens": request.tokens.output}
    if request.principal.kind == "api_key_user":
        additional["callWithBearerToken"] = True
    return additional


def _mantle_record(month: Month, request: Request, session_began_at: datetime) -> Record:
    principal, call = request.principal, request.call
    account_id, region = principal.account.account_id, principal.region
    project_arn = call.project.arn if call.project else f"arn:aws:bedrock-mantle:{region}:{account_id}:project/proj_default"
    parameters = {
        "model": call.model.model_id,
        "stream": False,
        "service_tier": "default" if call.tier == "standard" else call.tier,
        "metadata": {"feature": "drafts"},
    }
    return _head(month, request, session_began_at) | {
        "eventVersion": "1.08",
        "eventSource": "bedrock-mantle.amazonaws.com",
        "eventName": "CreateInference",
        "requestParameters": parameters,
        "readOnly": False,
        "managementEvent": False,
        "eventCategory": "Data",
        "resources": [{"accountId": account_id, "type": "AWS::BedrockMantle::Project", "ARN": project_arn}],
        "tlsDetails": _tls(f"bedrock-mantle.{region}.api.aws"),
    }


def _tls(host: str) -> Record:
    return {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256", "clientProvidedHostHeader": host}


# Trail files


def _flush(batches: dict[tuple[str, str], list[Record]], hour: datetime, prefix: str) -> Iterator[StoredObject]:
    for place in sorted(batches):
        yield _file(place, batches[place], hour + timedelta(minutes=59), prefix)
    batches.clear()


def _file(place: tuple[str, str], records: list[Record], published_at: datetime, prefix: str) -> StoredObject:
    account_id, region = place
    body = compact_json({"Records": [_other_record(place, records[0]), *records]})
    name = f"{account_id}_CloudTrail_{region}_{published_at:%Y%m%dT%H%MZ}_{key_id_of('', body)}.json.gz"
    folder = f"{_root(prefix)}AWSLogs/{account_id}/CloudTrail/{region}/{published_at:%Y/%m/%d}"
    return StoredObject(f"{folder}/{name}", compress(body))


def _other_record(place: tuple[str, str], first: Record) -> Record:
    account_id, region = place
    return {
        "eventVersion": "1.10",
        "userIdentity": {"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"},
        "eventTime": first["eventTime"],
        "eventSource": "ec2.amazonaws.com",
        "eventName": "DescribeInstances",
        "awsRegion": region,
        "requestParameters": None,
        "responseElements": None,
        "requestID": uuid_of("other", first["eventID"]),
        "eventID": uuid_of("other event", first["eventID"]),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account_id,
        "eventCategory": "Management",
    }


def _digests(day: datetime, prefix: str) -> Iterator[StoredObject]:
    for account_id in ACCOUNTS:
        folder = f"{_root(prefix)}AWSLogs/{account_id}/CloudTrail-Digest/us-east-1/{day:%Y/%m/%d}"
        name = f"{account_id}_CloudTrail-Digest_us-east-1_meridian-trail_us-east-1_{day:%Y%m%d}T235959Z.json.gz"
        body = compact_json({"awsAccountId": account_id, "digestS3Bucket": "meridian-trail", "logFiles": []})
        yield StoredObject(f"{folder}/{name}", compress(body))


def _root(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""
