"""Deliveries that would lose or make money if they were believed: each is refused or counted to the last row."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from adapters.sources.cost_report_query import UNREADABLE, Rows, read_rows
from attribution.periods import BillingPeriod

HEADER = (
    "line_item_usage_start_date,line_item_usage_account_id,line_item_line_item_type,"
    "line_item_product_code,line_item_usage_type,line_item_unblended_cost,pricing_public_on_demand_cost"
)
ROW = "2026-02-05T00:00:00Z,111122223333,Usage,AmazonBedrock,USE1-NovaPro-input-tokens,{cost},{list_cost}"
PERIOD = BillingPeriod.parse("2026-02")


def row(cost: str = "1.5", list_cost: str = "2") -> str:
    return ROW.format(cost=cost, list_cost=list_cost)


def read(directory: Path, *files: str) -> Rows:
    paths = []
    for number, text in enumerate(files):
        path = directory / f"{number}.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
        paths.append(path)
    return read_rows(paths, PERIOD, directory)


def lines(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def test_a_required_column_that_one_file_lacks_refuses_the_delivery_and_names_the_file(tmp_path: Path) -> None:
    without = HEADER.replace(",line_item_unblended_cost", "")

    found = read(tmp_path, lines(row()), lines(row().replace(",1.5", ""), header=without))

    assert found.missing == ("line_item_unblended_cost",)
    assert found.missing_in.endswith("1.csv.gz")


def test_a_file_without_a_header_line_is_not_read_as_one_with_another(tmp_path: Path) -> None:
    found = read(tmp_path, lines(row()), "\n".join([row(), row()]) + "\n")

    assert "line_item_unblended_cost" in found.missing


def test_a_row_that_begins_like_a_comment_counts(tmp_path: Path) -> None:
    found = read(tmp_path, lines("#" + row(), row()))

    assert found.rejected[0].reason == "no usage start date"


def test_a_row_of_another_width_is_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(UNREADABLE):
        read(tmp_path, lines(row(), row() + ",surplus"))


def test_columns_in_another_order_in_each_file_are_the_same_columns(tmp_path: Path) -> None:
    names = HEADER.split(",")
    turned = lines(",".join(reversed(row().split(","))), header=",".join(reversed(names)))

    found = read(tmp_path, lines(row()), turned)

    assert (found.rows_in_scope, str(found.totals["USD"].billed_cost.normalize())) == (2, "3")


@pytest.mark.parametrize("cost", ["1,000.50", "NaN", "inf", "abc", "1e400"])
def test_an_amount_that_is_no_number_refuses_the_delivery_by_its_column(tmp_path: Path, cost: str) -> None:
    found = read(tmp_path, lines(row(), row(list_cost=f'"{cost}"')))

    assert [(r.row, r.reason) for r in found.rejected] == [(2, "pricing_public_on_demand_cost is not a decimal number")]


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeff" + lines(row()))

    assert found.rows_in_scope == 1
