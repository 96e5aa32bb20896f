"""Invoke one function of the built template: `python -m local.invoke FUNCTION [--event FILE]`.

Uses the local AWS that is running, or starts one for this call (with --keep: for later calls too).
Prints the result to standard output, the log to standard error. Exit codes: 0 the function
returned, 1 it failed, 2 it could not be invoked.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local import deployment, emulator, state

BUILD_DIRECTORY = emulator.REPOSITORY / ".aws-sam" / "build"
SAMCONFIG = emulator.REPOSITORY / "samconfig.toml"
EVENTS = emulator.REPOSITORY / "events"
FUNCTIONS = emulator.REPOSITORY / "functions"


def invoke(running: state.LocalAws, function: str, event: Any) -> tuple[Any, str, bool]:
    """Result, log and whether the function failed."""
    answer = running.emulator.client("lambda").invoke(
        FunctionName=running.deployment.function(function), LogType="Tail", Payload=json.dumps(event).encode()
    )
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    return json.loads(answer["Payload"].read() or b"null"), log, "FunctionError" in answer


@contextmanager
def local_aws(build_directory: Path, parameters: dict[str, str], *, keep: bool) -> Iterator[state.LocalAws]:
    """The local AWS that is running, with the present build deployed; started when there is none."""
    found = state.load()
    running = found.emulator if found else emulator.start(keep=keep)
    try:
        if found:
            # What is running keeps its parameters, a Slack secret for one.
            parameters = deployment.parameters_of_stack(running, found.deployment.stack_name) | parameters
        else:
            for bucket in sorted({value for name, value in parameters.items() if name.endswith("Bucket")}):
                running.create_bucket(bucket)
        deployed = deployment.deploy(running, build_directory, parameters=parameters)
        for note in deployed.notes:
            print(note, file=sys.stderr)
        result = state.LocalAws(running, deployed)
        if found or keep:
            state.save(result)
        yield result
    finally:
        if not found and not (keep and state.load()):
            running.stop()
            shutil.rmtree(running.directory, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.invoke", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("function", help="folder name or logical id, such as roll_up_usage")
    parser.add_argument("--event", type=Path, help="file with the event (default: events/<function>.json)")
    parser.add_argument("--build", type=Path, default=BUILD_DIRECTORY, help="directory made by `sam build`")
    parser.add_argument("--parameter-overrides", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", action="store_true", help="leave the local AWS running")
    options = parser.parse_args(arguments)
    functions = sorted(directory.name for directory in FUNCTIONS.iterdir() if (directory / "handler.py").is_file())
    if not options.function or (options.event is None and options.function not in functions):
        about = f"there is no function {options.function!r}" if options.function else "name a function"
        print(f"{about}: choose from {', '.join(functions)}", file=sys.stderr)
        print(f"  make invoke FUNCTION={functions[0]}", file=sys.stderr)
        return 2
    path = options.event or EVENTS / f"{options.function}.json"
    try:
        event = json.loads(path.read_text())
        overrides = dict(deployment.parse_override(word) for word in options.parameter_overrides)
        if state.load() is None:
            overrides = deployment.parameters_from_samconfig(SAMCONFIG) | overrides
        with local_aws(options.build, overrides, keep=options.keep) as running:
            result, log, failed = invoke(running, options.function, event)
    except FileNotFoundError as error:
        print(f"{error.filename} does not exist: name the event with --event", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{path} is not JSON: {error}", file=sys.stderr)
        return 2
    except (deployment.DeploymentError, emulator.EmulatorError) as error:
        print(error, file=sys.stderr)
        return 2
    print(log.rstrip(), file=sys.stderr)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
