"""Observe."""

from typing import Any

from shared import observe


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    observe("watch", event)
