"""`python -m local status` and `python -m local stop`: the local AWS that an earlier command left running."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from local import state


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("command", choices=["status", "stop"])
    command = parser.parse_args(arguments).command
    if command == "stop":
        print("stopped the local AWS" if state.stop() else "no local AWS is running")
        return 0
    running = state.load()
    if running is None:
        print("no local AWS is running")
        return 1
    print(f"endpoint  {running.emulator.endpoint}")
    print(f"process   {running.emulator.pid}")
    print(f"log       {running.emulator.log_file}")
    for name, value in sorted(running.deployment.outputs.items()):
        print(f"output    {name} = {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
