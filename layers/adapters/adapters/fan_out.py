"""Fan-out over AWS Step Functions: the data files of a large delivery, each read by a function of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attribution.deliveries import Manifest, PinnedFile
from attribution.errors import FanOutFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

# An execution that runs or succeeded hands the delivery on by a message. One that timed out or was aborted does not.
_HANDS_ON = ("RUNNING", "SUCCEEDED")


class StepFunctionsFanOut:
    """`FanOut` on a state machine with a Distributed Map, which takes its items from an object in the work bucket."""

    def __init__(self, s3: S3Client, stepfunctions: SFNClient, bucket: str, state_machine_arn: str) -> None:
        self._s3 = s3
        self._stepfunctions = stepfunctions
        self._bucket = bucket
        self._state_machine_arn = state_machine_arn

    def start(self, manifest: Manifest, files: Sequence[PinnedFile], *, attempt: str) -> str:
        """Have these files read; returns the name of the execution. The same attempt again finds it, and starts no other.

        Raises `FanOutFailed` where that execution ended without a result.
        """
        name = f"{manifest.period}-{hashlib.sha256(f'{manifest.etag} {attempt}'.encode()).hexdigest()[:32]}"
        items = [
            {
                "bucket": manifest.bucket,
                "key": file.key,
                "etag": file.etag,
                "size": file.size,
                "version_id": file.version_id,
                "kind": manifest.kind,
                "period": str(manifest.period),
            }
            for file in files
        ]
        key = f"fan-out/{name}.json"
        stored = self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=json.dumps(items).encode(), ContentType="application/json"
        )
        request = {
            "items": {"bucket": self._bucket, "key": key, "version_id": stored["VersionId"]},
            # What the last state sends to the queue of deliveries: the manifest's own event, as far as it is read.
            "manifest": {
                "detail": {"bucket": {"name": manifest.bucket}, "object": {"key": manifest.key, "etag": manifest.etag}}
            },
        }
        try:
            self._stepfunctions.start_execution(stateMachineArn=self._state_machine_arn, name=name, input=json.dumps(request))
        except self._stepfunctions.exceptions.ExecutionAlreadyExists:
            self._require_handed_on(name)
        return name

    def _require_handed_on(self, name: str) -> None:
        execution_arn = f"{self._state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
        status = self._stepfunctions.describe_execution(executionArn=execution_arn)["status"]
        if status not in _HANDS_ON:
            raise FanOutFailed(
                f"the execution {name} that was to read the delivery's files is {status}: see its failed items in Step "
                f"Functions, then replay the delivery, which starts another"
            )
