"""One small month that all tests of the known truth share; it is immutable, so sharing is safe."""

from __future__ import annotations

import pytest

from truth.company import Month, build


@pytest.fixture(scope="session")
def month() -> Month:
    return build("2026-10", seed=7, requests=2000)
