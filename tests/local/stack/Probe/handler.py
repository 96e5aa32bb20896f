"""Report what a handler sees of its environment, and try what its role allows."""

import os
import sys
import time
from typing import Any

from shared import client


class ProbeFailed(Exception):
    pass


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    match event["do"]:
        case "describe":
            return {
                "path": sys.path,
                "environment": dict(os.environ),
                "modules": sorted(sys.modules),
                "remaining": context.get_remaining_time_in_millis(),
                "function": context.function_name,
            }
        case "raise":
            raise ProbeFailed("as asked")
        case "sleep":
            time.sleep(event["seconds"])
            return {"process": os.getpid()}
        case "import":
            __import__(event["module"])
            return "imported"
        case "call":
            response = getattr(client(event["service"]), event["operation"])(**_resolved(event["arguments"]))
            response.pop("ResponseMetadata")
            return {name: str(value) for name, value in response.items()}


def _resolved(value: Any) -> Any:
    """`$NAME` is the variable NAME of the function."""
    if isinstance(value, dict):
        return {name: _resolved(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part) for part in value]
    return os.environ[value[1:]] if isinstance(value, str) and value.startswith("$") else value
