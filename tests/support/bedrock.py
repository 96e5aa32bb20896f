"""Bedrock's control plane on this machine, as far as the directory asks it: real requests of boto3, answered over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3

ACCOUNT = "123456789012"
_PROJECTS = "/v1/organization/projects/"
_CREATED = "2026-10-01T00:00:00Z"


def foundation_model(model_id: str, region: str = "us-east-1") -> str:
    """The ARN of a foundation model; without a Region, of one that a global profile may call anywhere."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def profile_arn(name: str, region: str = "us-east-1") -> str:
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:application-inference-profile/{name}"


@dataclass
class ControlPlane:
    """What exists, by ARN, and what may not be read. One profile is a page. What is `without_tags` is gone when it is asked.

    A project of the mantle endpoint is a document by its id, or a status and a document. `logging` are the configurations of
    model invocation logging by Region.
    """

    url: str = ""
    profiles: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    without_tags: set[str] = field(default_factory=set)
    projects: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    logging: dict[str, dict[str, Any]] = field(default_factory=dict)

    def client(self, service: str, region: str | None = None) -> Any:
        """A client of the service, as `wiring.client` makes one."""
        session = boto3.Session("testing", "testing", region_name=region or "us-east-1")
        return session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]

    def summary(self, arn: str) -> dict[str, Any]:
        name = arn.rpartition("/")[2]
        return {
            "inferenceProfileArn": arn,
            "inferenceProfileId": name,
            "inferenceProfileName": f"name of {name}",
            "models": [{"modelArn": model} for model in self.profiles[arn]],
            "status": "ACTIVE",
            "type": "APPLICATION",
            "createdAt": _CREATED,
            "updatedAt": _CREATED,
        }

    def page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        assert query["type"] == ["APPLICATION"]
        known = sorted(self.profiles)
        start = int(query.get("nextToken", ["0"])[0])
        rest = {"nextToken": str(start + 1)} if start + 1 < len(known) else {}
        return {"inferenceProfileSummaries": [self.summary(arn) for arn in known[start : start + 1]], **rest}

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document."""
        parts = urlsplit(path)
        self.asked.append(unquote(parts.path))
        if parts.path == "/inference-profiles":
            return 200, self.page(parse_qs(parts.query))
        if parts.path.startswith(_PROJECTS):
            project = self.projects.get(parts.path.removeprefix(_PROJECTS), (404, {"error": {"code": "not_found"}}))
            return project if isinstance(project, tuple) else (200, project)
        arn = str(json.loads(body)["resourceARN"]) if parts.path == "/listTagsForResource" else named_in(parts.path)
        if arn in self.denied:
            return 403, {"__type": "AccessDeniedException", "message": "not yours"}
        is_known = arn in self.profiles or arn in self.others
        if not is_known or (arn in self.without_tags and parts.path == "/listTagsForResource"):
            return 404, {"__type": "ResourceNotFoundException", "message": "no such thing"}
        if parts.path == "/listTagsForResource":
            return 200, {"tags": [{"key": key, "value": value} for key, value in self.tags.get(arn, {}).items()]}
        return 200, self.summary(arn) if arn in self.profiles else self.others[arn]

    def logging_of(self, region: str) -> tuple[int, dict[str, Any]]:
        """The configuration of a Region, which only the signature of a request names."""
        if region in self.denied:
            return 403, {"__type": "AccessDeniedException", "message": "not yours"}
        return 200, {"loggingConfig": self.logging[region]} if region in self.logging else {}


def named_in(path: str) -> str:
    """The ARN in a path, which may hold slashes."""
    text = unquote(path)
    return text[text.index("arn:") :] if "arn:" in text else ""


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """An empty control plane."""
    plane = ControlPlane()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            plane.authorizations.append(self.headers.get("Authorization", ""))
            if self.path == "/logging/modelinvocations":
                status, document = plane.logging_of(plane.authorizations[-1].split("/")[2])
            else:
                status, document = plane.answer(self.path, body)
            encoded = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if "__type" in document:
                self.send_header("x-amzn-ErrorType", document["__type"])
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            """Tests say nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        plane.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield plane
        finally:
            server.shutdown()
            thread.join()
