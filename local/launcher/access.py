"""IAM: what a policy sees of a request. TLS as on AWS, partition keys of DynamoDB, sources of events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import import_module
from typing import Any

app: Any = import_module("ministack.app")
dynamodb: Any = import_module("ministack.services.dynamodb")
iam_actions: Any = import_module("ministack.core.iam_actions")
iam_evaluator: Any = import_module("ministack.core.iam_evaluator")

_request: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)

_original_pin_request_origin = app.pin_request_origin
_original_request_tag_context = iam_actions.request_tag_context
_original_enforce = iam_evaluator.enforce

# The operation of a transaction's element and the action that IAM checks for it.
TRANSACTED = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}


def pin_request_origin(source_ip: str, secure_transport: bool) -> None:
    """Every request counts as TLS, as on AWS; else a policy that denies `aws:SecureTransport: false` denies all."""
    _original_pin_request_origin(source_ip, True)


def request_tag_context(service: str, action: str, body: bytes, *args: Any) -> Any:
    """Keep the request for `enforce`, which is called once for every resource and action in it."""
    try:
        request = json.loads(body or b"{}") if service in {"dynamodb", "events"} else None
    except ValueError:
        request = None
    _request.set(request if isinstance(request, dict) else None)
    return _original_request_tag_context(service, action, body, *args)


def enforce(access_key: str, action: str, service: str, *args: Any, **kwargs: Any) -> Any:
    """Add the condition keys that ministack leaves out.

    Without `dynamodb:LeadingKeys` a ForAllValues condition on it is true for every item; without
    `events:source` a condition on it is false for every event.
    """
    request = _request.get() or {}
    stated: dict[str, list[str]] = {}
    if service == "sqs" and action.endswith("Batch"):
        # IAM has no batch actions of SQS: sqs:SendMessage allows SendMessageBatch.
        action = action.removesuffix("Batch")
    resource = kwargs.get("resource_arn", "")
    if service == "dynamodb" and ":table/" in resource:
        table = resource.split(":table/", 1)[1].split("/")[0]
        stated["dynamodb:LeadingKeys"] = sorted(set(_leading_keys(request, table, action.split(":", 1)[1])))
    if action == "events:PutEvents":
        entries = request.get("Entries") or []
        for key, member in (("events:source", "Source"), ("events:detail-type", "DetailType")):
            stated[key] = sorted({str(entry.get(member, "")) for entry in entries})
    # One value as a plain string, so that conditions without a set operator see it too.
    context = {key: values[0] if len(values) == 1 else values for key, values in stated.items() if values}
    if context:
        kwargs["service_context"] = {**(kwargs.get("service_context") or {}), **context}
    return _original_enforce(access_key, action, service, *args, **kwargs)


def _leading_keys(request: dict[str, Any], table: str, action: str) -> Iterator[str]:
    """The partition key of every item of `table` that the request reads or writes by `action`."""
    if "KeyConditionExpression" in request:
        yield from _queried_key(request, table)
    items = [request.get("Item"), request.get("Key")]
    of_table = (request.get("RequestItems") or {}).get(table)
    if isinstance(of_table, dict):
        items += of_table.get("Keys") or []
    for write in of_table if isinstance(of_table, list) else []:
        items += [part.get("Item") or part.get("Key") for part in write.values()]
    for element in request.get("TransactItems") or []:
        for operation, part in element.items():
            if TRANSACTED.get(operation) == action and part.get("TableName", "").split("/")[-1] == table:
                items.append(part.get("Item") or part.get("Key"))
    name = (dynamodb._tables.get(table) or {}).get("pk_name")
    for item in items:
        if item and name in item:
            yield from item[name].values()


def _queried_key(request: dict[str, Any], table: str) -> Iterator[str]:
    """The value that the hash key of the table, or of the index, is compared with."""
    schema = dynamodb._tables.get(table) or {}
    indexes = [*(schema.get("GlobalSecondaryIndexes") or []), *(schema.get("LocalSecondaryIndexes") or [])]
    parts = next((index["KeySchema"] for index in indexes if index["IndexName"] == request.get("IndexName")), None)
    parts = parts or schema.get("KeySchema") or []
    hash_key = next((part["AttributeName"] for part in parts if part["KeyType"] == "HASH"), None)
    names = request.get("ExpressionAttributeNames") or {}
    for name, value in re.findall(r"([#\w]+)\s*=\s*(:\w+)", request["KeyConditionExpression"]):
        if names.get(name, name) == hash_key:
            yield from (request.get("ExpressionAttributeValues") or {}).get(value, {}).values()


def apply() -> None:
    app.pin_request_origin = pin_request_origin
    iam_actions.request_tag_context = request_tag_context
    iam_evaluator.enforce = enforce
