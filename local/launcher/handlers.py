"""Python handlers run under AWS's own runtime interface client.

ministack runs a Python function inside its own interpreter and site-packages, with its own
environment variables: a dependency missing from the layer is not noticed, errors carry neither
their type nor their stack trace. Here every function gets a process of its own that sees the
task root, its layers, awslambdaric and the standard library, and only Lambda's variables.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import sys
import threading
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What `import awslambdaric` needs; the rest of the emulator's site-packages stays invisible to handlers.
RUNTIME_MODULES = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")

lambda_svc: Any = import_module("ministack.services.lambda_svc")
lambda_runtime: Any = import_module("ministack.core.lambda_runtime")

_unpack_lock = threading.Lock()


def _state_directory() -> Path:
    return Path(os.environ["STATE_DIR"])


def install_runtime(directory: Path) -> Path:
    """Link awslambdaric and its three dependencies into `directory`, and write the bootstrap that starts them."""
    packages = directory / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME_MODULES:
        found = find_spec(name)
        if found is None or found.origin is None:
            raise RuntimeError(f"{name} is not installed beside ministack: install local/requirements.txt")
        source = Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)
        link = packages / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    interpreter = [getattr(sys, "_base_executable", sys.executable), "-S", "-E", "-s", "-P"]
    start = [*interpreter, str(Path(__file__).with_name("task_runtime.py")), str(packages)]
    bootstrap = directory / "bootstrap"
    bootstrap.write_text(f'#!/bin/sh\nexec {shlex.join(start)} "$_HANDLER"\n')
    bootstrap.chmod(0o755)
    return bootstrap


def _code_directory_with_bootstrap(bootstrap: Path) -> None:
    """ministack starts `bootstrap` from the task root; a link to ours makes every Python function startable."""
    original = lambda_svc._provided_runtime_code_dir

    def code_directory(code_zip: bytes) -> str:
        directory: str = original(code_zip)
        with _unpack_lock:
            link = Path(directory, "bootstrap")
            if not link.exists():
                link.symlink_to(bootstrap)
        return directory

    lambda_svc._provided_runtime_code_dir = code_directory


def _layer_paths(config: dict[str, Any]) -> list[str]:
    """Import paths of the function's layers, the last layer first, as later layers overwrite earlier ones in /opt."""
    paths: list[str] = []
    for attachment in reversed(config.get("Layers") or []):
        content = lambda_svc._resolve_layer_zip(attachment)
        if not content:
            continue
        root = _state_directory() / "layers" / hashlib.sha256(content).hexdigest()
        with _unpack_lock:
            if not root.exists():
                partial = root.with_suffix(".partial")
                zipfile.ZipFile(io.BytesIO(content)).extractall(partial)
                partial.rename(root)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        paths += [str(root / "python" / "lib" / version / "site-packages"), str(root / "python")]
    return paths


def handler_environment(config: dict[str, Any], code_directory: str, port: int) -> dict[str, str]:
    """The variables of a Lambda function and no others, so that nothing of the host leaks into a handler."""
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    name = config["FunctionName"]
    if config["Runtime"] != running:
        raise lambda_runtime.ProvidedRuntimeError(
            f"{name} wants {config['Runtime']}, the local AWS runs {running}: make .venv/local-aws with that Python",
            "Runtime.InvalidRuntime",
        )
    region = lambda_svc.get_region()
    environment = {
        "AWS_DEFAULT_REGION": region,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{running}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": config["LoggingConfig"].get("LogGroup") or f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": lambda_svc.new_uuid(),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_REGION": region,
        "LAMBDA_RUNTIME_DIR": str(_state_directory() / "runtime" / "packages"),
        "LAMBDA_TASK_ROOT": code_directory,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TZ": ":UTC",
        "_HANDLER": config["Handler"],
        "_LOCAL_LAYER_PATHS": os.pathsep.join(_layer_paths(config)),
    }
    environment.update(lambda_runtime.execution_credentials(config))
    return {**lambda_svc._runtime_env_vars(config), **environment}


def _worker_class(config: dict[str, Any]) -> Any:
    if str(config.get("Runtime", "")).startswith("python"):
        return lambda_runtime.ProvidedWorker
    return _original_worker_class(config)


def _await_init(worker: Any, init_timeout: float | None = None) -> None:
    """Report a failed import as the runtime reported it; ministack turns it into one string of type Runtime.Unknown."""
    try:
        _original_await_init(worker, init_timeout)
    except RuntimeError as error:
        report = worker._init_error
        if isinstance(report, dict) and "errorType" in report:
            raise lambda_runtime.ProvidedRuntimeError(report.get("errorMessage", ""), report["errorType"]) from error
        raise


def _runtime_api(*args: Any) -> Any:
    """Send the event at once: header and body are two writes, between which TCP would wait 40 ms for an answer."""
    handler = _original_runtime_api(*args)
    handler.disable_nagle_algorithm = True
    return handler


_original_runtime_api = lambda_runtime.ProvidedWorker._build_handler_class
_original_worker_class = lambda_runtime._worker_class_for
_original_await_init = lambda_runtime.ProvidedWorker._await_init


def apply() -> None:
    bootstrap = install_runtime(_state_directory() / "runtime")
    _code_directory_with_bootstrap(bootstrap)
    lambda_svc._provided_worker_env = handler_environment
    lambda_svc._execute_function_warm = lambda_svc._execute_function_provided_warm
    lambda_runtime._worker_class_for = _worker_class
    lambda_runtime.ProvidedWorker._await_init = _await_init
    lambda_runtime.ProvidedWorker._build_handler_class = _runtime_api
