"""Fail for every batch that has a bad record, whole."""

from typing import Any

from shared import observe


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    if "bad" in str(event):
        raise ValueError("a bad record")
    observe("strict", event)
