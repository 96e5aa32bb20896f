"""Say that a day changed."""

import json
from typing import Any

from shared import client, observe


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    observe("allocate", event)
    client("events").put_events(
        Entries=[
            {
                "Source": "local.test",
                "DetailType": "LedgerDayChanged",
                "Detail": json.dumps({"key": message["body"]}),
            }
            for message in event["Records"]
        ]
    )
    return {"batchItemFailures": []}
