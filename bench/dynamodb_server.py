"""A DynamoDB of its own process on 127.0.0.1: moto's, with one table keyed as the ledger, which counts write units.

The counters of a usage day are answered from a file, page by page: half a million items in moto's memory would take longer than
what is measured. Write units are as AWS counts them: each started KB of an item, before or after the change, whichever is more,
and twice in a transaction.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto import mock_aws
from moto.core.models import botocore_stubber

TABLE = "ledger"
_COUNTS, _COUNTERS = "/counts", "/counters"
_PAGE_ITEMS = 1500
_URL = "https://dynamodb.us-east-1.amazonaws.com/"


@dataclass(frozen=True, slots=True)
class LocalDynamoDB:
    """A running server."""

    endpoint: str

    def write_units(self) -> int:
        """Write units since the server started."""
        with urllib.request.urlopen(self.endpoint + _COUNTS) as answer:  # noqa: S310 our own server
            return int(json.load(answer))

    def serve_counters(self, path: Path) -> None:
        """Answer the usage counters of every day from this file from now on."""
        request = urllib.request.Request(self.endpoint + _COUNTERS, data=str(path).encode())  # noqa: S310 our own server
        urllib.request.urlopen(request).close()  # noqa: S310


@contextmanager
def serving(counters: Path) -> Iterator[LocalDynamoDB]:
    """A server for as long as the block lasts."""
    command = [sys.executable, "-m", "bench.dynamodb_server", str(counters)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield LocalDynamoDB(process.stdout.readline().strip())
        finally:
            process.terminate()


def size_of(value: Mapping[str, Any]) -> int:
    """The bytes of an attribute value, as AWS counts them."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content.strip("-0.")) // 2 + 2
    if kind == "B":
        return len(base64.b64decode(content))
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + size_of(item) for name, item in content.items())
    if kind == "L":
        return 3 + sum(1 + size_of(item) for item in content)
    return 1


def units_of(item: Mapping[str, Any]) -> int:
    """The write units of an item."""
    return -(-sum(len(name.encode()) + size_of(value) for name, value in item.items()) // 1024)


class _Server(HTTPServer):
    def __init__(self, counters: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.counters = counters
        self.units = 0
        self._written: dict[tuple[str, str], int] = {}

    def count(self, operation: str, body: Mapping[str, Any]) -> None:
        """Count the write units of a request that succeeded."""
        if operation == "BatchWriteItem":
            self.units += sum(self._put(request["PutRequest"]["Item"]) for request in body["RequestItems"][TABLE])
        elif operation == "PutItem":
            self.units += self._put(body["Item"])
        elif operation == "UpdateItem":
            self.units += self._known(body["Key"])
        elif operation == "TransactWriteItems":
            for action in body["TransactItems"]:
                ((kind, detail),) = action.items()
                self.units += 2 * (self._put(detail["Item"]) if kind == "Put" else self._known(detail["Key"]))

    def _put(self, item: Mapping[str, Any]) -> int:
        key, units = _key(item), units_of(item)
        before = self._written.get(key, 0)
        self._written[key] = units
        return max(before, units)

    def _known(self, key: Mapping[str, Any]) -> int:
        # An update adds a few bytes to what was written.
        return self._written.setdefault(_key(key), 1)


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(HTTPStatus.OK, json.dumps(self.server.units).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == _COUNTERS:
            self.server.counters = Path(body.decode())
            self._answer(HTTPStatus.OK, b"")
            return
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        request = json.loads(body)
        if operation == "Query" and (page := self._counters(request)) is not None:
            self._answer(HTTPStatus.OK, page)
            return
        status, headers, answer = self._moto(body)
        if status == HTTPStatus.OK:
            self.server.count(operation, request)
        self._answer(status, answer.encode() if isinstance(answer, str) else answer, headers)

    def _counters(self, request: Mapping[str, Any]) -> bytes | None:
        """A page of the day's counters, all of which the first shard has; nothing where something else is asked for."""
        pk = request["ExpressionAttributeValues"][":pk"]["S"]
        if not pk.startswith("USAGE#"):
            return None
        if not pk.endswith("#0"):
            return b'{"Items": [], "Count": 0}'
        start = int(request.get("ExclusiveStartKey", {}).get("offset", {}).get("N", "0"))
        with self.server.counters.open("rb") as file:
            file.seek(start)
            lines = list(islice(file, _PAGE_ITEMS))
        last = b""
        if len(lines) == _PAGE_ITEMS:
            last = b', "LastEvaluatedKey": {"offset": {"N": "%d"}}' % (start + sum(map(len, lines)))
        return b'{"Items": [' + b",".join(lines) + b"]" + last + b"}"

    def _moto(self, body: bytes) -> Any:
        headers = HTTPHeaders()
        for name, value in self.headers.items():
            if name.lower() != "host":
                headers[name] = value
        return botocore_stubber.process_request(AWSPreparedRequest("POST", _URL, headers, body, stream_output=False))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        kept = {name: value for name, value in dict(headers).items() if name.lower() != "content-length"}
        for name, value in {**kept, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve with the counters of a file; the first line that is printed is the endpoint."""
    with mock_aws():
        boto3.client("dynamodb", region_name="us-east-1").create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        server = _Server(Path(sys.argv[1]))
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
