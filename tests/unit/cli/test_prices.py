"""`prices`: offer files in, prices in force out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bedrock_costs import offers
from tests.unit.cli.support import Cloud, run


def offer(amount: str = "0.0000008000", code: str = "AmazonBedrock") -> bytes:
    """An offer file with a price that can be read, one of a Region of its own, and one that cannot."""

    def product(region: str, usage_type: str) -> dict[str, object]:
        return {"attributes": {"usagetype": usage_type, "regionCode": region, "servicename": "Amazon Bedrock"}}

    def term(unit: str) -> dict[str, object]:
        price = {"unit": unit, "beginRange": "0", "description": "", "pricePerUnit": {"USD": amount}}
        return {"t": {"effectiveDate": "2026-01-01T00:00:00Z", "priceDimensions": {"d": price}}}

    return json.dumps(
        {
            "offerCode": code,
            "publicationDate": "2026-10-01T00:00:00Z",
            "products": {
                "A": product("us-east-1", "USE1-NovaPro-input-tokens"),
                "B": product("eu-west-1", "EUW1-NovaPro-output-tokens"),
                "C": product("us-east-1", "USE1-Guardrail-Something\u001b[2J"),
            },
            "terms": {"OnDemand": {"A": term("1K tokens"), "B": term("1K tokens"), "C": term("units")}},
        }
    ).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "AmazonBedrock.json"
    path.write_bytes(offer())
    return path


def test_load_says_what_was_read_and_what_was_left_out(cloud: Cloud, file: Path) -> None:
    document = run("prices", "load", str(file), output="json").json
    table = run("prices", "load", str(file)).out
    row = run("prices", "load", str(file), output="csv").out.splitlines()[1]

    assert document["stored"] == 2
    assert document["sources"][0]["left_out"] == ["USE1-Guardrail-Something\x1b[2J"]
    assert "2 prices in the ledger." in table
    assert "USE1-Guardrail-Something[2J" in table
    assert row.endswith(",2,1")


def test_show_has_the_prices_of_the_stacks_region(cloud: Cloud, file: Path) -> None:
    run("prices", "load", str(file))

    here = run("prices", "show", output="json").json["prices"]
    everywhere = run("prices", "show", "--all-regions", "--model", "Nova Pro", output="csv").out.splitlines()
    table = run("prices", "show", "--model", "us.amazon.nova-pro-v1:0").out

    assert [(p["model"], p["token_kind"], p["amount"], p["per"]) for p in here] == [
        ("amazon.nova-pro", "input", "0.0000008", 1000)
    ]
    assert len(everywhere) == 3
    assert "0.0000008 USD" in table
    assert "Sources: AWS Price List AmazonBedrock 2026-10-01" in table


def test_no_prices(cloud: Cloud) -> None:
    ran = run("prices", "show", "--model", "amazon.nova-poor")

    assert ran.exit_code == 4
    assert "no prices of amazon.nova-poor (did you mean amazon.nova-pro?) in us-east-1" in ran.err


def test_files_that_are_no_offers(cloud: Cloud, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")

    assert "not an AWS Price List offer file" in run("prices", "load", str(wrong)).err
    assert "missing.json cannot be read" in run("prices", "load", "missing.json").err


@contextmanager
def price_list(status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A bulk API on this machine, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = offer(code=self.path.split("/")[4])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests say nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_sync_downloads_the_three_offers(cloud: Cloud) -> None:
    with price_list() as (url, asked):
        document = run("prices", "sync", "--base-url", url, output="json").json

    assert asked == [
        "/offers/v1.0/aws/AmazonBedrock/current/index.json",
        "/offers/v1.0/aws/AmazonBedrockFoundationModels/current/index.json",
        "/offers/v1.0/aws/AmazonBedrockService/current/index.json",
    ]
    assert [source["prices"] for source in document["sources"]] == [2, 2, 2]


def test_sync_tells_when_the_price_list_does_not_answer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with price_list(status=404) as (url, _):
        ran = run("prices", "sync", "--base-url", url)
    gone = run("prices", "sync", "--base-url", url)
    monkeypatch.setattr(offers, "_MAX_BYTES", 10)
    with price_list() as (url, _):
        large = run("prices", "sync", "--base-url", url)

    assert "answered 404" in ran.err
    assert "could not be downloaded" in gone.err
    assert "is larger than 10 bytes" in large.err


def test_prices_are_not_read_over_plain_http(cloud: Cloud) -> None:
    assert run("prices", "sync", "--base-url", "http://prices.example.com").exit_code == 2
