"""Size and cold import of every built function, with nothing on the path but the artifact, its layers and the standard library.

The reference is `import boto3` alone, which any function that calls AWS pays; both run in fresh processes, alternately.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from local.pipeline import BUILD_DIRECTORY

RUNS = 7
LAYERS = ("DependenciesLayer", "AttributionLayer", "AdaptersLayer")
# Lambda's own order: the function's code, then its layers, then the standard library.
_PROGRAM = """
import sys, time
sys.path[:0] = {paths!r}
started = time.perf_counter()
import {module}
print(time.perf_counter() - started)
"""


def size_of(folder: Path) -> int:
    """Bytes of every file under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds(module: str, paths: list[str], environment: dict[str, str]) -> float:
    """Wall time of one import in a fresh interpreter that sees nothing else."""
    program = _PROGRAM.format(paths=paths, module=module)
    command = [sys.executable, "-S", "-E", "-s", "-B", "-c", program]
    return float(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)


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
    print(f"{'function':28} {'unzipped MB':>11} {'import ms':>10} {'boto3 ms':>9} {'ratio':>7}")
    for name, resource in sorted(template["Resources"].items()):
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        folder = BUILD_DIRECTORY / name
        paths = [str(folder), *map(str, layers)]
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment_of(resource, template["Parameters"]),
        }
        runs = [(seconds("boto3", paths, environment), seconds("handler", paths, environment)) for _ in range(RUNS)]
        reference, loaded = (statistics.median(column) * 1000 for column in zip(*runs, strict=True))
        size = (size_of(folder) + shared) / 1e6
        print(f"{name:28} {size:11.0f} {loaded:10.0f} {reference:9.0f} {loaded / reference:7.1f}")


if __name__ == "__main__":
    main()
