"""AWS's price list on this machine: a bulk API that answers as a test says, and offer files of one or a few products."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

OFFERS = ("AmazonBedrock", "AmazonBedrockFoundationModels", "AmazonBedrockService")


@dataclass
class BulkApi:
    """What the API answers, by offer; an offer without a body is not found. `asked` are the paths that were asked for."""

    url: str
    bodies: dict[str, bytes]
    status: int = 200
    location: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(bodies: Mapping[str, bytes]) -> Iterator[BulkApi]:
    """A bulk API with these offer files."""
    api = BulkApi("", dict(bodies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            body = api.bodies.get(self.path.split("/")[4]) if self.path.count("/") >= 4 else None
            self.send_response(api.status if body is not None else 404)
            if api.location:
                self.send_header("Location", api.location)
            compressed = gzip.compress(body or b"")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(compressed)))
            self.end_headers()
            self.wfile.write(compressed)

        def log_message(self, *_: object) -> None:
            """Tests say nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def product(usage_type: str, *, region: str = "us-east-1", service: str = "Amazon Bedrock") -> dict[str, Any]:
    """A product as an offer file has it."""
    return {"attributes": {"usagetype": usage_type, "regionCode": region, "servicename": service}}


def term(usd: str, unit: str = "1K tokens", *, since: str = "2026-01-01") -> dict[str, Any]:
    """The on-demand price of a product."""
    dimension = {"unit": unit, "beginRange": "0", "endRange": "Inf", "description": "", "pricePerUnit": {"USD": usd}}
    return {"t": {"effectiveDate": f"{since}T00:00:00Z", "priceDimensions": {"d": dimension}}}


def offer_file(
    code: str, products: Mapping[str, tuple[dict[str, Any], dict[str, Any]]], published: str = "2026-10-01"
) -> bytes:
    """An offer file of these products and their terms."""
    return json.dumps(
        {
            "offerCode": code,
            "publicationDate": f"{published}T00:00:00Z",
            "products": {sku: attributes for sku, (attributes, _) in products.items()},
            "terms": {"OnDemand": {sku: terms for sku, (_, terms) in products.items()}},
        }
    ).encode()
