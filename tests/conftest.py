"""What every test needs before the product is imported: made-up AWS credentials and one Hypothesis profile.

`HYPOTHESIS_PROFILE=thorough` looks for counterexamples at random and much longer.
"""

from __future__ import annotations

import copy
import os
from threading import RLock
from typing import Any

from hypothesis import HealthCheck, settings
from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb.models.table import Table

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
        _copies.clear()
        return _answer(stubber, request)


BotocoreStubber.process_request = _answer_alone  # type: ignore[method-assign, assignment]

# Before a transaction moto copies the whole table once for each action, to put it back if one fails. One copy does.
_copies: dict[int, Table] = {}


def _copied_once(table: Table, memo: dict[int, Any]) -> Table:
    if id(table) not in _copies:
        made: Any = Table.__new__(Table)
        memo[id(table)] = _copies[id(table)] = made
        vars(made).update(copy.deepcopy(vars(table), memo))
    return _copies[id(table)]


Table.__deepcopy__ = _copied_once  # type: ignore[attr-defined]

# Machines differ in speed, so nothing is timed; the same examples in every run make a failure everybody's failure.
settings.register_profile("suite", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "thorough", max_examples=2000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
