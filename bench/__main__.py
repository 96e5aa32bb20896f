"""`make bench`: every benchmark, one after the other; `make bench ARGS=cold_start` runs one."""

from __future__ import annotations

import sys

from bench import cold_start, slack_answers

BENCHMARKS = {"cold_start": cold_start.main, "slack_answers": slack_answers.main}


def main() -> int:
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"== {name}")
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
