"""What every test needs before the product is imported: made-up AWS credentials and one Hypothesis profile.

`HYPOTHESIS_PROFILE=thorough` looks for counterexamples at random and much longer.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import Any

from hypothesis import HealthCheck, settings
from moto.core.botocore_stubber import BotocoreStubber

os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_SESSION_TOKEN="testing",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)
os.environ.pop("AWS_PROFILE", None)

# DynamoDB makes one change of an item after the other; moto, asked by several threads, would not.
_one_at_a_time = RLock()
_answer = BotocoreStubber.process_request


def _answer_alone(stubber: BotocoreStubber, request: Any) -> Any:
    with _one_at_a_time:
        return _answer(stubber, request)


BotocoreStubber.process_request = _answer_alone  # type: ignore[method-assign, assignment]

# Machines differ in speed, so nothing is timed; the same examples in every run make a failure everybody's failure.
settings.register_profile("suite", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "thorough", max_examples=2000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
