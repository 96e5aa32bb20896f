"""Run the emulator: `python -m local.launcher`, configured by environment variables alone.

Promises that no handler process outlives the emulator. local.emulator starts it as the leader of a
process group; with LOCAL_AWS_EXIT_WITH_PARENT=1 the whole group ends when the parent does.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from importlib import import_module

from local.launcher import access, events, handlers, queues, stacks, streams


def _exit_with_parent() -> None:
    """The parent holds the other end of standard input; end of file means that it no longer exists."""
    while sys.stdin.buffer.read(1024):
        pass
    shutil.rmtree(os.environ["STATE_DIR"], ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _import_translator() -> None:
    """Two seconds of import work that would otherwise be spent while a deployment waits."""
    import_module("samtranslator.translator.transform")


def main() -> None:
    for patched in (access, handlers, events, queues, streams, stacks):
        patched.apply()
    if os.environ.get("LOCAL_AWS_EXIT_WITH_PARENT") == "1":
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    threading.Thread(target=_import_translator, daemon=True).start()
    try:
        import_module("ministack.app").main()
    finally:
        import_module("ministack.core.lambda_runtime").reset()


if __name__ == "__main__":
    main()
