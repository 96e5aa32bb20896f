"""Small months that all tests of the known truth share; they are immutable, so sharing is safe."""

from __future__ import annotations

import pytest

from truth.company import Month, build


@pytest.fixture(scope="session")
def month() -> Month:
    return build("2026-10", seed=7, requests=2000)


@pytest.fixture(scope="session")
def rare_month() -> Month:
    return build("2026-02", seed=7, requests=150, extras=True)
