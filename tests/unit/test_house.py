"""The rules of the house that a test can keep, so that nobody has to remember them in review.

Each test gathers every violation before it fails. Rules about imports between packages are also import-linter
contracts in pyproject.toml; the rules of template.yaml are in test_template.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "layers/attribution/attribution"
ADAPTERS = ROOT / "layers/adapters/adapters"
FUNCTIONS = ROOT / "functions"

# Modules of the standard library that neither read nor write anything outside of the process.
PURE_MODULES = frozenset(
    "__future__ abc bisect calendar collections contextlib dataclasses datetime decimal difflib enum fractions functools "
    "hashlib heapq itertools json math operator re statistics string textwrap types typing unicodedata zoneinfo".split()
)
# A clock, chance or the environment, by the name of the attribute that is read.
IMPURE_NAMES = frozenset("now today utcnow fromtimestamp monotonic perf_counter uuid1 uuid4 environ getenv".split())
FUNCTION_LINES_MAX = 70


# --- the code -------------------------------------------------------------------------------------------------------


@cache
def repository_files() -> tuple[Path, ...]:
    """What git tracks or would track."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout: the repository's files are unknown")
    return tuple(path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def python_files(directory: Path = ROOT) -> Iterator[Path]:
    return (path for path in repository_files() if path.suffix == ".py" and path.is_relative_to(directory))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import: `from a import b` is `a.b`, and a relative one is made absolute."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parts[2 : -node.level]
                module = ".".join([*package, *filter(None, [module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in python_files() if path.stat().st_size and not ast.get_docstring(tree(path))]

    assert not silent


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines"
        for path in python_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert not long


def test_the_core_imports_pure_modules_and_itself() -> None:
    foreign = [
        f"{name_of(path)}:{line} imports {module}"
        for path in python_files(CORE)
        for line, module in imports(path)
        if module.split(".")[0] not in PURE_MODULES | {"attribution"}
    ]

    assert not foreign


def test_the_core_reads_no_clock_no_chance_no_environment_and_knows_no_float() -> None:
    impure = []
    for path in python_files(CORE):
        for node in ast.walk(tree(path)):
            where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
            match node:
                case ast.Attribute(attr=name) if name in IMPURE_NAMES:
                    impure.append(f"{where} reads .{name}")
                case ast.Call(func=ast.Name(id="float" | "open" | "print" | "input" as name)):
                    impure.append(f"{where} calls {name}()")
                case ast.Constant(value=float()):
                    impure.append(f"{where} has a float literal")

    assert not impure


def test_the_environment_is_read_in_settings_alone() -> None:
    readers = [
        f"{name_of(path)}:{node.lineno}"
        for package in (CORE, ADAPTERS, FUNCTIONS)
        for path in python_files(package)
        if path != ADAPTERS / "settings.py"
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"})
        or (isinstance(node, ast.Name) and node.id in {"environ", "getenv"})
    ]

    assert not readers


def test_clients_of_aws_are_made_in_wiring_alone() -> None:
    # The conversions of boto3.dynamodb are plain functions: they know no endpoint and no credentials.
    makers = [
        f"{name_of(path)}:{line} imports {module}"
        for package in (CORE, ADAPTERS, FUNCTIONS)
        for path in python_files(package)
        if path != ADAPTERS / "wiring.py"
        for line, module in imports(path)
        if module.split(".")[0] == "boto3" and not module.startswith("boto3.dynamodb.")
    ]

    assert not makers


def test_a_handler_leaves_aws_and_the_wire_format_to_the_adapters() -> None:
    direct = [
        f"{name_of(path)}:{line} imports {module}"
        for path in python_files(FUNCTIONS)
        for line, module in imports(path)
        if module.split(".")[0] in {"boto3", "botocore", "pydantic", "duckdb", "slack_sdk", "functions"}
    ]

    assert not direct


# --- the files ------------------------------------------------------------------------------------------------------

# Written so that this file does not contain what it looks for.
FOREIGN_PLACES = re.compile(
    r"(?:^|[^\w./-])/(?:wor[k]|roo[t]|hom[e]|User[s]|far[m])/|pypi\.or[g]|pythonhoste[d]|registry\.npmj[s]|file:/{2}/",
    re.MULTILINE,
)
UNFINISHED = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b")
LOCKED_LINE = re.compile(r"[\w.\[\]-]+==[\w.!+]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")


def texts() -> Iterator[tuple[Path, str]]:
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path, content.decode("utf-8", errors="replace")


def test_no_file_names_a_machine_or_a_registry_or_leaves_a_note_of_unfinished_work() -> None:
    found = [
        f"{name_of(path)}:{text.count(chr(10), 0, match.start()) + 1} {match.group().strip()}"
        for path, text in texts()
        for pattern in (FOREIGN_PLACES, UNFINISHED)
        for match in pattern.finditer(text)
    ]

    assert not found


def test_every_lock_holds_exact_versions_and_hashes_and_nothing_else() -> None:
    locks = [path for path in repository_files() if path.with_suffix(".in").exists() and path.suffix == ".txt"]
    strange = [
        f"{name_of(path)}:{number} {line}"
        for path in locks
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if not LOCKED_LINE.fullmatch(line)
    ]

    assert locks
    assert not strange


def locked(path: str) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^ ;]+)", (ROOT / path).read_text(), re.MULTILINE)
    return dict(pins)


def test_the_tests_run_on_the_versions_that_the_functions_run_on() -> None:
    development = locked("requirements/dev.txt")
    shipped = {
        **locked("layers/dependencies/requirements.txt"),
        **locked("functions/ingest_cost_report/requirements.txt"),
        **locked("functions/read_data_file/requirements.txt"),
    }

    assert {name: development.get(name) for name in shipped} == shipped


def test_both_functions_that_read_data_files_carry_the_same_engine() -> None:
    locks = {(ROOT / "functions" / name / "requirements.txt").read_text() for name in ("ingest_cost_report", "read_data_file")}

    assert len(locks) == 1
