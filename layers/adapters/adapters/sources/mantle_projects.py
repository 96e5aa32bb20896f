"""Projects of the bedrock-mantle endpoint, which has an API of its own that boto3 does not know."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

# The signature is AWS's, whoever sends the request.
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

_SERVICE = "bedrock-mantle"
_MAX_BYTES = 256 * 1024
_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class MantleProjects:
    """Single projects, with their names and tags. Workspaces are projects by another name, and are read as such."""

    def __init__(self, client: Callable[..., Any], credentials: Callable[[], Any]) -> None:
        self._client = client
        self._credentials = credentials
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=30), retries=urllib3.Retry(2, redirect=0))

    def read(self, arn: str) -> tuple[str, dict[str, str]] | None:
        """Name and tags of a project; None where it does not exist. What may not be read raises `PermissionError`."""
        region, project_id = arn.split(":")[3], arn.rpartition("/")[2]
        url = f"{self._address(region)}/v1/organization/projects/{quote(project_id, safe='')}"
        request = AWSRequest("GET", url, headers={"accept": "application/json"})
        SigV4Auth(self._credentials(), _SERVICE, region).add_auth(request)
        try:
            answer = self._pool.request("GET", url, headers=dict(request.headers.items()), preload_content=False)
            with answer:
                body = answer.read(_MAX_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"the projects of {region} could not be asked: {type(error).__name__}") from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status in _AGAIN or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ConnectionError(f"the projects of {region} answered {answer.status}: try again")
        if answer.status != HTTPStatus.OK:
            raise PermissionError(f"Bedrock answered {answer.status} when it was asked for the project")
        return _name_and_tags(body)

    def _address(self, region: str) -> str:
        """Where the endpoint is. Another AWS, such as a local one, has all its services at one address."""
        bedrock = str(self._client("bedrock", region).meta.endpoint_url)
        is_aws = (urlsplit(bedrock).hostname or "").startswith("bedrock")
        return f"https://{_SERVICE}.{region}.api.aws" if is_aws else bedrock.rstrip("/")


def _name_and_tags(body: bytes) -> tuple[str, dict[str, str]]:
    try:
        project = json.loads(body)
        tags = project.get("tags") or {}
        return str(project.get("name") or ""), {str(key): str(value) for key, value in tags.items()}
    except (ValueError, AttributeError):
        raise PermissionError("Bedrock's answer is no project") from None
