"""AWS Price List offer files over HTTPS: the bulk API, which needs no credentials.

Prices become estimates, so they are read over HTTPS from AWS's own hosts; plain HTTP is for a price list on the same machine
alone. Redirects are not followed, and a body is read up to a limit, expanded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3

from adapters.sources.price_list import OFFERS, read_offer
from attribution.errors import PolicyInvalid, PriceListUnavailable
from attribution.prices import PublishedOffer

BASE_URL = "https://pricing.us-east-1.amazonaws.com"
# Several times the largest of the offers (16 MB in September 2026), and what a function of 1.8 GB can hold as Python objects.
MAX_BYTES = 96 * 1024 * 1024
_CHUNK = 256 * 1024
_OK = 200
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_AWS = re.compile(r"^pricing\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?$")

Advance = Callable[[int, int | None], None]
"""Told how many bytes have come, and of how many."""


def check_base_url(url: str, *, any_host: bool = False) -> str:
    """The address of a bulk API that may be read. `any_host` admits a mirror that a person has named."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return url.rstrip("/")
    if parts.scheme == "https" and parts.hostname and (any_host or _AWS.match(parts.hostname)):
        return url.rstrip("/")
    raise PolicyInvalid(f"{url!r} is not an https:// address of AWS's price list: leave it out, which means {BASE_URL}")


def offer_url(base_url: str, code: str) -> str:
    """The address of an offer's current prices in all Regions."""
    return f"{base_url}/offers/v1.0/aws/{code}/current/index.json"


class HttpPriceOffers:
    """`PriceOffers` at one address."""

    def __init__(self, base_url: str) -> None:
        self._base_url = check_base_url(base_url)

    @property
    def codes(self) -> Sequence[str]:
        """The offers that Bedrock's prices are split over."""
        return OFFERS

    def read(self, code: str) -> PublishedOffer:
        """One offer as it is published now."""
        url = offer_url(self._base_url, code)
        return read_offer(download(url), url)


def download(url: str, advance: Advance = lambda done, whole: None, proxy: str = "", max_bytes: int = MAX_BYTES) -> bytes:
    """The body at an address, expanded. An answer that is none, or too large, raises `PriceListUnavailable`."""
    timeout, retries = urllib3.Timeout(connect=10, read=60), urllib3.Retry(3, backoff_factor=0.5, redirect=0)
    pool: Any
    if proxy:
        pool = urllib3.ProxyManager(proxy, timeout=timeout, retries=retries)
    else:
        pool = urllib3.PoolManager(timeout=timeout, retries=retries)
    try:
        headers = {"accept-encoding": "gzip"}
        with pool, pool.request("GET", url, preload_content=False, headers=headers) as response:
            if response.status != _OK:
                raise PriceListUnavailable(f"{url} answered {response.status}")
            return b"".join(_chunks(url, response, advance, max_bytes))
    except urllib3.exceptions.HTTPError as error:
        raise PriceListUnavailable(f"{url} could not be downloaded: {type(error).__name__}") from error


def _chunks(url: str, response: Any, advance: Advance, max_bytes: int) -> Iterator[bytes]:
    length = response.headers.get("content-length")
    # The length is that of the compressed body, which is what has come, not what it expands to.
    whole = int(length) if length and length.isdigit() else None
    size = 0
    for chunk in response.stream(_CHUNK, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise PriceListUnavailable(f"{url} is larger than {max_bytes:,} bytes: no offer of Bedrock is")
        advance(response.tell(), whole)
        yield chunk
