"""Data files over the network: only the needed columns of a large Parquet file, each part of one generation."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from attribution.errors import DeliveryIncomplete, DeliveryRefused
from tests.support.bills import BUCKET, DATA, MANIFEST, NOVA, Bills, data_export

KEY = f"{DATA}/cur-00001.snappy.parquet"
ROWS, WIDE = 4000, 2000
GET = "before-send.s3.GetObject"


def parquet(*, seed: int = 1, row_group_size: int = ROWS, columns: int = 1) -> bytes:
    """Bedrock rows beside wide columns that nothing reads: several megabytes, of which a fraction is needed."""
    chance = random.Random(seed)
    rows: dict[str, Any] = {name: [value] * ROWS for name, value in NOVA.items()}
    rows["line_item_unblended_cost"] = [str(chance.randrange(10**6) / 10**6) for _ in range(ROWS)]
    table = {}
    for name, values in rows.items():
        table[name] = pa.array(values)
        if name == "line_item_operation":
            # In the middle, so that the needed chunks lie on both sides of it.
            for n in range(columns):
                table[f"product_wide_{n}"] = pa.array([chance.randbytes(WIDE // columns).hex() for _ in range(ROWS)])
    body = io.BytesIO()
    pq.write_table(pa.table(table), body, row_group_size=row_group_size)
    return body.getvalue()


def billed(body: bytes) -> Decimal:
    return sum((Decimal(c) for c in pq.read_table(io.BytesIO(body)).column("line_item_unblended_cost").to_pylist()), Decimal(0))


@pytest.fixture
def bills(tmp_path: Path) -> Iterator[Bills]:
    with mock_aws():
        yield Bills(boto3.client("s3", region_name="us-east-1"), tmp_path)


class Traffic:
    """What a client asks for, and what happens meanwhile."""

    def __init__(self, bills: Bills) -> None:
        self.ranges: list[str] = []
        self.after: dict[int, Any] = {}
        bills.s3.meta.events.register("before-send.s3.GetObject", self._see)

    def _see(self, request: Any, **_: Any) -> None:
        wanted = request.headers.get("Range")
        if wanted:
            self.ranges.append(wanted if isinstance(wanted, str) else wanted.decode())
            happen = self.after.pop(len(self.ranges), None)
            if happen:
                happen()

    @property
    def bytes(self) -> int:
        total = 0
        for text in self.ranges:
            first, last = text.removeprefix("bytes=").split("-")
            total += int(last) - int(first) + 1
        return total


@pytest.mark.parametrize("row_group_size", [ROWS, ROWS // 4])
def test_only_the_chunks_of_the_needed_columns_cross_the_network(bills: Bills, row_group_size: int) -> None:
    body = parquet(row_group_size=row_group_size)
    bills.put(KEY, body)
    traffic = Traffic(bills)

    found = bills.deliver(MANIFEST, data_export([KEY]))

    assert len(body) > 8_000_000
    assert traffic.bytes < len(body) / 2
    assert found.report.totals["USD"].billed_cost == billed(body)
    assert found.report.rows_read == ROWS


def test_a_footer_of_any_length_is_read(bills: Bills) -> None:
    body = parquet(row_group_size=40, columns=20)
    assert int.from_bytes(body[-8:-4], "little") > 256 * 1024
    bills.put(KEY, body)

    assert bills.deliver(MANIFEST, data_export([KEY])).report.totals["USD"].billed_cost == billed(body)


@pytest.mark.parametrize("at", [1, 2])
def test_a_file_that_is_replaced_between_two_of_its_ranges_makes_the_delivery_wait(bills: Bills, at: int) -> None:
    bills.put(KEY, parquet())
    traffic = Traffic(bills)
    traffic.after[at] = lambda: bills.put(KEY, parquet(seed=2))

    with pytest.raises(DeliveryIncomplete, match="replaced while the delivery was read"):
        bills.deliver(MANIFEST, data_export([KEY]))


def test_a_file_that_vanishes_between_two_of_its_ranges_makes_the_delivery_wait(bills: Bills) -> None:
    bills.put(KEY, parquet())
    traffic = Traffic(bills)
    traffic.after[2] = lambda: bills.s3.delete_object(Bucket=BUCKET, Key=KEY)

    with pytest.raises(DeliveryIncomplete):
        bills.deliver(MANIFEST, data_export([KEY]))


@pytest.mark.parametrize("damage", ["footer", "data", "cut"])
def test_a_damaged_file_is_refused_by_its_name(bills: Bills, damage: str) -> None:
    body = bytearray(parquet())
    if damage == "footer":
        body[-2000:-8] = bytes(1992)
    elif damage == "data":
        body[4:200_000] = bytes(199_996)
    else:
        del body[5_000_000:]
    bills.put(KEY, bytes(body))

    with pytest.raises(DeliveryRefused, match=f"{KEY}: is not readable as Parquet"):
        bills.deliver(MANIFEST, data_export([KEY]))
