"""The published sample records beside the repository; tests of them are skipped where they are absent."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the published sample records are not beside the repository")


def sample_rows(name: str) -> list[dict[str, str]]:
    """The rows of a sample table."""
    with (SAMPLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
