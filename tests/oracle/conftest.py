"""One local S3 for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracle.reading import Reader, reading


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with reading(tmp_path_factory.mktemp("s3")) as started:
        yield started
