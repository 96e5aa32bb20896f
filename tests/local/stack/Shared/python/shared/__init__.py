"""What the handlers of the test stack share: clients, and a record of every event they receive."""

import json
import os
import time
from typing import Any

import botocore.session

_session = botocore.session.get_session()
_clients: dict[str, Any] = {}


def client(service: str) -> Any:
    if service not in _clients:
        _clients[service] = _session.create_client(service)
    return _clients[service]


def observe(function: str, event: Any) -> None:
    client("dynamodb").put_item(
        TableName=os.environ["OBSERVATIONS"],
        Item={
            "pk": {"S": function},
            "sk": {"S": f"{time.time():.6f}"},
            "event": {"S": json.dumps(event)},
        },
    )
