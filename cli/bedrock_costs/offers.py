"""AWS Price List offer files for a person: from AWS or a mirror they name, through the proxy of their environment."""

from __future__ import annotations

from urllib.parse import urlsplit

from adapters.sources.offer_files import Advance, check_base_url, offer_url
from adapters.sources.offer_files import download as _download
from attribution.errors import PolicyInvalid, PriceListUnavailable
from bedrock_costs.failures import ExitCode, Failure

# A person's machine has room for more than a function has.
MAX_BYTES = 512 * 1024 * 1024


def offer_urls(base_url: str, codes: tuple[str, ...]) -> list[str]:
    """The addresses of the current offers in all Regions."""
    try:
        base = check_base_url(base_url, any_host=True)
    except PolicyInvalid as error:
        raise Failure(str(error), "Prices become estimates: they are not read over plain HTTP.", code=ExitCode.USAGE) from error
    return [offer_url(base, code) for code in codes]


def download(url: str, advance: Advance) -> bytes:
    """The body at an address."""
    import logging

    # A retry is not news; when the last one fails, the failure is told.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        return _download(url, advance, proxy=_proxy(url), max_bytes=MAX_BYTES)
    except PriceListUnavailable as error:
        raise Failure(
            str(error),
            str(error.__cause__ or ""),
            "Check --base-url, the network and its proxy; or download the file elsewhere and use `bedrock-costs prices load`.",
        ) from error


def _proxy(url: str) -> str:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")
