"""Log records and CloudTrail files of the made-up company at the sizes that real ones have, object by object."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from truth import cloudtrail, invocation_log
from truth.company import Month
from truth.objects import compact_json, iso_seconds

RECORDS_PER_OBJECT = 500
# Of a hundred records of a trail, this many are about Bedrock.
BEDROCK_PERCENT = 5
_TURN_CHARACTERS = 600
_TURNS = 2_000


def log_objects(month: Month, sizes: tuple[int, int]) -> Iterator[bytes]:
    """The month's log records as gzip objects, their prompts made longer by earlier turns of the conversation."""
    chance = random.Random(7)
    words = ["".join(chance.choices("etaoinshrdlucmfwypvbgk", k=chance.randint(2, 10))) for _ in range(3_000)]
    turns = [" ".join(chance.choices(words, k=_TURN_CHARACTERS // 7)) for _ in range(_TURNS)]
    logged = iter([request for request in month.requests if request.is_logged])
    while batch := list(islice(logged, RECORDS_PER_OBJECT)):
        lines = []
        for request in batch:
            # An object holds the requests of a few minutes.
            record = invocation_log.record_of(request) | {"timestamp": iso_seconds(batch[0].time)}
            lines.append(compact_json(_with_history(record, chance.randint(*sizes), chance, turns)))
        yield gzip.compress(b"\n".join(lines) + b"\n")


def _with_history(record: dict[str, Any], size: int, chance: random.Random, turns: Sequence[str]) -> dict[str, Any]:
    messages = record.get("input", {}).get("inputBodyJson", {}).get("messages")
    if messages is None:
        return record
    missing = size - len(compact_json(record))
    while missing > 0:
        text = chance.choice(turns)[: max(missing, 1)]
        role = "assistant" if len(messages) % 2 else "user"
        messages.insert(0, {"role": role, "content": [{"text": text}]})
        missing -= len(text) + 50
    return record


def trail_files(month: Month, records: int) -> Iterator[bytes]:
    """Trail files in which `BEDROCK_PERCENT` of the records are the company's, and the rest another service's."""
    events = [event["detail"] for event in islice(cloudtrail.eventbridge_events(month), records * BEDROCK_PERCENT // 100)]
    in_file = RECORDS_PER_OBJECT * BEDROCK_PERCENT // 100
    for start in range(0, len(events), in_file):
        ours = events[start : start + in_file]
        others = [_elsewhere(ours[0], number) for number in range(RECORDS_PER_OBJECT - len(ours))]
        together = [*ours, *others]
        random.Random(start).shuffle(together)
        yield gzip.compress(compact_json({"Records": together}))


def _elsewhere(near: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A record of about the size that those of EC2, S3 and KMS have."""
    name = f"arn:aws:kms:us-east-1:111122223333:key/{number:08d}-1111-2222-3333-444455556666"
    return {
        **near,
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "requestParameters": {"encryptionContext": {"aws:s3:arn": f"arn:aws:s3:::data/{number}"}, "encryptionAlgorithm": "AES"},
        "responseElements": None,
        "additionalEventData": {"keyMaterialId": "0" * 64},
        "resources": [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": name}],
    }
