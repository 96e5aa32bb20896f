"""The command writes a whole month, twice the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from truth.__main__ import main


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_command_writes_everything_twice_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        arguments = ["truth", "--month", "2026-02", "--seed", "3", "--requests", "40", "--restated"]
        monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path / name)])
        main()

    first = tree(tmp_path / "first")
    assert first == tree(tmp_path / "second")
    assert {name.split("/")[0] for name in first} == {
        "cost_reports",
        "invocation_logs",
        "cloudtrail",
        "price_list",
        "requests.ndjson",
        "truth.json",
    }
    truth = json.loads(first["truth.json"])
    assert len(truth["deliveries"]) == 4
    closed = truth["closed"]["bedrock_by_line_item_type"]
    assert closed == truth["deliveries"][2]["truth"]["bedrock_by_line_item_type"]
