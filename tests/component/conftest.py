"""One empty stack for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.support.stack import Stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    with mock_aws():
        yield Stack()
