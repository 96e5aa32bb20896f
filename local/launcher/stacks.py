"""CloudFormation: properties that ministack accepts and forgets, and the Ref of a secret."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Created = tuple[str, dict[str, Any]]

provisioners: Any = import_module("ministack.services.cloudformation.provisioners")
dynamodb: Any = import_module("ministack.services.dynamodb")
lambda_svc: Any = import_module("ministack.services.lambda_svc")


def _keep_time_to_live(table: str, properties: dict[str, Any]) -> None:
    """Without it expired items stay, and a test of what a handler does after expiry proves nothing."""
    specification = properties.get("TimeToLiveSpecification")
    if specification:
        dynamodb._update_ttl({"TableName": table, "TimeToLiveSpecification": specification})


def _keep_reserved_concurrency(function: str, properties: dict[str, Any]) -> None:
    """ministack's pollers honour the limit but the stack does not set it."""
    if properties.get("ReservedConcurrentExecutions") is not None:
        lambda_svc._functions[function]["concurrency"] = int(properties["ReservedConcurrentExecutions"])


def _keep_tumbling_window(mapping: str, properties: dict[str, Any]) -> None:
    """local.launcher.streams needs it to add shardId, window and state to the event."""
    if properties.get("TumblingWindowInSeconds") is not None:
        lambda_svc._esms[mapping]["TumblingWindowInSeconds"] = int(properties["TumblingWindowInSeconds"])


def _after_create(resource_type: str, keep: Callable[[str, dict[str, Any]], None]) -> None:
    handlers = provisioners._RESOURCE_HANDLERS[resource_type]
    original: Callable[[str, dict[str, Any], str], Created] = handlers["create"]

    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Created:
        physical_id, attributes = original(logical_id, properties, stack_name)
        keep(physical_id, properties)
        return physical_id, attributes

    handlers["create"] = create


def _refer_to_secrets_by_arn() -> None:
    """Ref of a secret is its ARN on AWS; with ministack's name a policy on it matches nothing."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    original = dict(handlers)

    def name_of(secret_arn: str) -> str:
        return secret_arn.rsplit(":", 1)[-1].rsplit("-", 1)[0]

    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Created:
        _, attributes = original["create"](logical_id, properties, stack_name)
        return attributes["Arn"], attributes

    def update(secret_arn: str, *args: Any, **kwargs: Any) -> Created:
        _, attributes = original["update"](name_of(secret_arn), *args, **kwargs)
        return attributes["Arn"], attributes

    def delete(secret_arn: str, properties: dict[str, Any]) -> None:
        original["delete"](name_of(secret_arn), properties)

    handlers.update(create=create, update=update, delete=delete)


def apply() -> None:
    _refer_to_secrets_by_arn()
    _after_create("AWS::DynamoDB::Table", _keep_time_to_live)
    _after_create("AWS::Lambda::Function", _keep_reserved_concurrency)
    _after_create("AWS::Lambda::EventSourceMapping", _keep_tumbling_window)
