"""Size and cold import of every built function, with nothing on the path but the artifact, its layers and the standard library.

The reference is an interpreter that imports nothing; both run in fresh processes, alternately.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from local.pipeline import BUILD_DIRECTORY

RUNS = 7
LAYERS = ("DependenciesLayer", "AttributionLayer", "AdaptersLayer")
# Lambda's own order: the function's code, then its layers, then the standard library.
_PROGRAM = "import sys; sys.path[:0] = {paths!r}; import handler; handler.lambda_handler"


def size_of(folder: Path) -> int:
    """Bytes of every file under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds(program: str, environment: dict[str, str]) -> float:
    """Wall time of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-S", "-E", "-s", "-B", "-c", program], check=True, env=environment)
    return time.perf_counter() - started


def environment_of(resource: dict[str, Any], parameters: dict[str, Any]) -> dict[str, str]:
    """The function's variables as the template sets them: parameters at their default, names of resources made up."""
    stated = resource["Properties"]["Environment"]["Variables"]
    values = {}
    for name, value in stated.items():
        referred = value.get("Ref", "") if isinstance(value, dict) else ""
        values[name] = str(parameters.get(referred, {}).get("Default") or referred or "name" if referred else value)
    return values


def main() -> None:
    """Print one line a function."""
    if not (BUILD_DIRECTORY / "template.yaml").is_file():
        sys.exit("nothing is built: run `make bench`, which builds first")
    template = yaml.safe_load((BUILD_DIRECTORY / "template.yaml").read_text())
    layers = [BUILD_DIRECTORY / name / "python" for name in LAYERS]
    shared = sum(size_of(BUILD_DIRECTORY / name) for name in LAYERS)
    print(f"layers {shared / 1e6:.0f} MB unzipped, python {sys.version.split()[0]}, median of {RUNS} runs")
    print(f"{'function':28} {'unzipped MB':>11} {'import ms':>10} {'÷ bare interpreter':>19}")
    for name, resource in sorted(template["Resources"].items()):
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        folder = BUILD_DIRECTORY / name
        program = _PROGRAM.format(paths=[str(folder), *map(str, layers)])
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment_of(resource, template["Parameters"]),
        }
        bare, loaded = [], []
        for _ in range(RUNS):
            bare.append(seconds("pass", environment))
            loaded.append(seconds(program, environment))
        empty, full = statistics.median(bare), statistics.median(loaded)
        size = (size_of(folder) + shared) / 1e6
        print(f"{name:28} {size:11.0f} {(full - empty) * 1000:10.0f} {full / empty:19.1f}")


if __name__ == "__main__":
    main()
