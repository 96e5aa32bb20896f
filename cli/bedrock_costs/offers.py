"""AWS Price List offer files from the bulk API: plain HTTPS, no credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bedrock_costs.failures import ExitCode, Failure

if TYPE_CHECKING:
    import urllib3

BASE_URL = "https://pricing.us-east-1.amazonaws.com"
# Several times the largest of the offers; a file that grows beyond it is not one of them.
_MAX_BYTES = 512 * 1024 * 1024
_CHUNK = 256 * 1024
_OK = 200
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def offer_url(base_url: str, offer: str) -> str:
    """The address of an offer's current prices in all Regions."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Failure(
            f"{base_url!r} is not an https:// address", "Prices become estimates: they are not read over plain HTTP.",
            f"Leave --base-url out, which means {BASE_URL}.", ExitCode.USAGE,
        )  # fmt: skip
    return f"{base_url.rstrip('/')}/offers/v1.0/aws/{offer}/current/index.json"


def download(url: str, advance: Callable[[int, int | None], None]) -> bytes:
    """The body at an address. `advance` is told how many bytes have come, and of how many."""
    import urllib3

    try:
        headers = {"accept-encoding": "gzip"}
        with _pool(url) as pool, pool.request("GET", url, preload_content=False, headers=headers) as response:
            if response.status != _OK:
                raise Failure(
                    f"{url} answered {response.status}", fix="Check --base-url; or download the file and use `prices load`."
                )
            return b"".join(_chunks(url, response, advance))
    except urllib3.exceptions.HTTPError as error:
        raise Failure(
            f"{url} could not be downloaded: {type(error).__name__}",
            str(error),
            "Check the network and its proxy; or download the file elsewhere and use `bedrock-costs prices load`.",
        ) from error


def _pool(url: str) -> Any:
    import logging

    import urllib3

    # A retry is not news; when the last one fails, the failure is told.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    proxy = _proxy(url)
    timeout, retries = urllib3.Timeout(connect=10, read=60), urllib3.Retry(3, backoff_factor=0.5, redirect=0)
    if proxy:
        return urllib3.ProxyManager(proxy, timeout=timeout, retries=retries)
    return urllib3.PoolManager(timeout=timeout, retries=retries)


def _proxy(url: str) -> str:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")


def _chunks(url: str, response: urllib3.BaseHTTPResponse, advance: Callable[[int, int | None], None]) -> Iterator[bytes]:
    length = response.headers.get("content-length")
    # The length is that of the compressed body, which is what has come, not what it expands to.
    whole = int(length) if length and length.isdigit() else None
    size = 0
    for chunk in response.stream(_CHUNK, decode_content=True):
        size += len(chunk)
        if size > _MAX_BYTES:
            raise Failure(f"{url} is larger than {_MAX_BYTES:,} bytes", fix="Check --base-url: no Bedrock offer is.")
        advance(response.tell(), whole)
        yield chunk
