"""The first code of a handler process: narrows `sys.path` to what a Lambda function sees, then runs awslambdaric.

Started as `python -S -E -s -P task_runtime.py <runtime directory> <handler>`: no site-packages, no
PYTHON* variables. The path becomes task root, layers, awslambdaric, standard library, in that order.
"""

import os
import sys
from importlib import import_module


def main() -> None:
    runtime_directory, handler = sys.argv[1:3]
    layers = os.environ.pop("_LOCAL_LAYER_PATHS", "")
    sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], *layers.split(os.pathsep), runtime_directory]
    sys.path[:] = [entry for entry in sys.path if entry]

    import_module("awslambdaric.__main__").main(["awslambdaric", handler])


main()
