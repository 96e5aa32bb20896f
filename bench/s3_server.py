"""An S3 of its own process on 127.0.0.1: buckets are directories, and what is read from each is counted.

It knows what reading a delivery needs: GET with `Range` and `If-Match`, HEAD, PUT with `If-None-Match`. It checks no signature.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WORK_BUCKET = "work"
_COUNTS = "/counts"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was read from a bucket since the server started."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LocalS3:
    """A running server."""

    endpoint: str

    def counts(self, bucket: str) -> Counts:
        """Objects' bytes that GET answered with, and how many GETs there were."""
        with urllib.request.urlopen(self.endpoint + _COUNTS) as answer:  # noqa: S310 our own server
            return Counts(*json.load(answer).get(bucket, (0, 0)))


@contextmanager
def serving(buckets: Mapping[str, Path]) -> Iterator[LocalS3]:
    """A server for as long as the block lasts; each bucket is the directory that it is mapped to."""
    named = [f"{name}={directory}" for name, directory in buckets.items()]
    command = [sys.executable, "-m", "bench.s3_server", *named]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield LocalS3(process.stdout.readline().strip())
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._read(is_head=True)

    def do_GET(self) -> None:
        if self.path == _COUNTS:
            self._answer(HTTPStatus.OK, json.dumps(self.server.counts).encode())
        else:
            self._read(is_head=False)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self._path()
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            self._answer(HTTPStatus.NOT_IMPLEMENTED)
        elif self.headers.get("If-None-Match") == "*" and path.exists():
            self._answer(HTTPStatus.PRECONDITION_FAILED, _error("PreconditionFailed"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            self._answer(HTTPStatus.OK, headers={"ETag": f'"{_etag(path)}"'})

    def _path(self) -> Path:
        _, bucket, key = unquote(urlsplit(self.path).path).split("/", 2)
        return self.server.buckets[bucket] / key

    def _read(self, *, is_head: bool) -> None:
        path = self._path()
        if not path.is_file():
            self._answer(HTTPStatus.NOT_FOUND, b"" if is_head else _error("NoSuchKey"))
            return
        if self.headers.get("If-Match", _etag(path)).strip('"') != _etag(path):
            self._answer(HTTPStatus.PRECONDITION_FAILED, b"" if is_head else _error("PreconditionFailed"))
            return
        size = path.stat().st_size
        first, last = self._range(size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{_etag(path)}"')
        self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
        self.end_headers()
        if not is_head and size:
            self.server.count(path, last + 1 - first)
            self.wfile.flush()
            with path.open("rb") as file:
                self.connection.sendfile(file, first, last + 1 - first)

    def _range(self, size: int) -> tuple[int, int]:
        asked = _RANGE.match(self.headers.get("Range", ""))
        if asked is None:
            return 0, size - 1
        first, last = asked.groups()
        return (int(first), min(int(last or size - 1), size - 1)) if first else (max(size - int(last), 0), size - 1)

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, buckets: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets = buckets
        self.counts: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._lock = threading.Lock()

    def count(self, path: Path, size: int) -> None:
        bucket = next(name for name, directory in self.buckets.items() if path.is_relative_to(directory))
        with self._lock:
            requests, served = self.counts[bucket]
            self.counts[bucket] = (requests + 1, served + size)


def _etag(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


def main() -> None:
    """Serve `name=directory` arguments; the first line that is printed is the endpoint."""
    server = _Server({name: Path(directory) for name, directory in (argument.split("=", 1) for argument in sys.argv[1:])})
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
