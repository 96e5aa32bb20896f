"""Write one record per object; fail for objects whose name says so."""

import json
import os
import time
from typing import Any

from shared import client, observe


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    observe("record", {**event, "process": os.getpid()})
    failures = []
    for message in event["Records"]:
        body = json.loads(message["body"])
        if "lasting" in body["detail"]["object"]["key"]:
            time.sleep(0.5)
        if "poison" in body["detail"]["object"]["key"]:
            failures.append({"itemIdentifier": message["messageId"]})
            continue
        item = {"pk": {"S": body["detail"]["object"]["key"]}, "kind": {"S": "usage"}}
        client("dynamodb").put_item(TableName=os.environ["RECORDS"], Item=item)
    return {"batchItemFailures": failures}
