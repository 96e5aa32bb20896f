"""Data files that would lose or make money if they were believed: each is refused by name or counted to the last row."""

from __future__ import annotations

import gzip
import io
import random
import struct
import threading
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.cost_report_query import FileReading, Merged, ReportEngine
from adapters.sources.data_files import Expanded, Unreadable
from attribution.deliveries import ReportKind
from attribution.periods import BillingPeriod

HEADER = (
    "line_item_usage_start_date,line_item_usage_account_id,line_item_line_item_type,"
    "line_item_product_code,line_item_usage_type,line_item_unblended_cost,pricing_public_on_demand_cost"
)
ROW = "2026-02-05T00:00:00Z,111122223333,Usage,{code},USE1-NovaPro-input-tokens,{cost},{list_cost}"
PERIOD = BillingPeriod.parse("2026-02")


def row(cost: str = "1.5", list_cost: str = "2", code: str = "AmazonBedrock") -> str:
    return ROW.format(cost=cost, list_cost=list_cost, code=code)


def lines(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def read_bytes(directory: Path, body: bytes, name: str = "cur-00001.csv.gz") -> tuple[FileReading, Merged]:
    path = directory / "data-file"
    path.write_bytes(body)
    (directory / "work").mkdir()
    with ReportEngine(PERIOD, directory / "work", 256) as engine:
        if name.endswith(".parquet"):
            reading = engine.read_parquet(path, ReportKind.CUR_2_0)
        else:
            reading = engine.read_csv(Expanded(path, name), ReportKind.CUR_2_0)
        return reading, engine.merge()


def read(directory: Path, text: str) -> tuple[FileReading, Merged]:
    return read_bytes(directory, gzip.compress(text.encode()))


def refusal(directory: Path, body: bytes, name: str = "cur-00001.csv.gz") -> str:
    return read_bytes(directory, body, name)[0].refusal


# Columns and rows ------------------------------------------------------------------------------------------------------


def test_a_required_column_that_is_missing_refuses_the_file_by_the_columns_name(tmp_path: Path) -> None:
    without = lines(row().replace(",1.5", ""), header=HEADER.replace(",line_item_unblended_cost", ""))

    assert read(tmp_path, without)[0].refusal.startswith("lacks line_item_unblended_cost;")


def test_a_file_without_a_header_line_is_not_read_as_one_with_another(tmp_path: Path) -> None:
    assert "lacks" in read(tmp_path, "\n".join([row(), row()]) + "\n")[0].refusal


@pytest.mark.parametrize("start", ["\n", "\r\n", " \n"])
def test_a_file_that_begins_with_an_empty_line_is_not_taken_for_an_empty_file(tmp_path: Path, start: str) -> None:
    assert "its first line is empty" in read(tmp_path, start + lines(row()))[0].refusal


def parquet(columns: list[tuple[str, object]], **options: object) -> bytes:
    body = io.BytesIO()
    arrays = [value if isinstance(value, pa.Array) else pa.array([value]) for _, value in columns]
    pq.write_table(pa.Table.from_arrays(arrays, names=[name for name, _ in columns]), body, **options)
    return body.getvalue()


PLAIN: list[tuple[str, object]] = list(zip(HEADER.split(","), row().split(","), strict=True))


@pytest.mark.parametrize("again", ["line_item_unblended_cost", "Line_Item_Unblended_Cost"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_parquet_column_that_is_there_twice_is_not_chosen_from(tmp_path: Path, again: str, is_first: bool) -> None:
    columns = [(again, "7"), *PLAIN] if is_first else [*PLAIN, (again, "7")]

    assert "more than once" in refusal(tmp_path, parquet(columns), "cur.snappy.parquet")


@pytest.mark.parametrize(
    "name", ["standing", "exact_line_item_unblended_cost", "billed_cost", "speaks", "c0", "select", "a\"b'c"]
)
def test_a_parquet_column_called_like_one_of_the_querys_own_is_not_taken_for_it(tmp_path: Path, name: str) -> None:
    _, merged = read_bytes(tmp_path, parquet([(name, "100"), *PLAIN]), "cur.snappy.parquet")

    assert merged.totals["USD"].billed_cost == Decimal("1.5")


def test_nested_parquet_columns_do_not_shift_the_names_of_those_behind_them(tmp_path: Path) -> None:
    nested = pa.array([{"a": {"b": 1}, "c": [1, 2]}])

    _, merged = read_bytes(tmp_path, parquet([("discount", nested), *PLAIN]), "cur.snappy.parquet")

    assert merged.totals["USD"].billed_cost == Decimal("1.5")


def test_a_parquet_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    bomb = parquet([*PLAIN, ("tags", "0" * 200_000_000)], compression="zstd")
    assert len(bomb) < 100_000

    assert "decompression bomb" in refusal(tmp_path, bomb, "cur.snappy.parquet")


def test_a_damaged_parquet_file_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    columns = [(name, pa.array([value] * 500)) for name, value in PLAIN]
    whole = parquet(columns, compression="snappy")
    chance = random.Random(7)
    for number in range(150):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        directory = tmp_path / str(number)
        directory.mkdir()

        reading, merged = read_bytes(directory, bytes(damaged), "cur.snappy.parquet")

        assert reading.refusal or reading.rejected or merged.rows_in_scope <= 500


def test_a_reader_that_never_opens_the_pipe_does_not_keep_its_feeder(tmp_path: Path) -> None:
    path = tmp_path / "data-file"
    path.write_bytes(gzip.compress(lines(*[row()] * 20_000).encode()))
    expanded = Expanded(path, "cur.csv.gz")

    for _ in range(300):
        with expanded.pipe():
            pass

    assert threading.active_count() < 20


def test_a_broken_row_is_named_behind_any_number_of_others_that_do_not_count(tmp_path: Path) -> None:
    header = HEADER + ",product_product_name"
    others = [row(cost="NaN", code="9x524th30q694o538qndh9ucht") + ","] * 1001

    reading, merged = read(tmp_path, lines(*others, row(cost="NaN") + ",", header=header))

    assert merged.rows_broken == 1
    assert [r.row for r in reading.rejected if r.is_selected] == [1002]


@pytest.mark.parametrize("days", [("05", "05"), ("05", "06")])
def test_amounts_of_days_that_add_up_to_too_much_are_refused(tmp_path: Path, days: tuple[str, str]) -> None:
    rows = [row(cost="9" * 20).replace("02-05", f"02-{day}") for day in days]
    path = tmp_path / "data-file"
    path.write_bytes(gzip.compress(lines(*rows).encode()))
    with ReportEngine(PERIOD, tmp_path, 256) as engine:
        reading = engine.read_csv(Expanded(path, "cur.csv.gz"), ReportKind.CUR_2_0)
        if not reading.refusal:
            with pytest.raises(Unreadable, match="add up to"):
                engine.merge()


@pytest.mark.parametrize("currency", ["usd ", "Dollar", "US", "X" * 100])
def test_a_currency_that_is_none_is_rejected(tmp_path: Path, currency: str) -> None:
    reading, _ = read(tmp_path, lines(row() + f",{currency}", header=HEADER + ",line_item_currency_code"))

    assert [r.reason for r in reading.rejected] == ["its currency is not a currency code"]


def test_a_column_that_is_there_twice_is_not_chosen_from(tmp_path: Path) -> None:
    twice = lines(row() + ",7", header=HEADER + ",line_item_unblended_cost")

    assert read(tmp_path, twice)[0].refusal.startswith("has the column line_item_unblended_cost more than once")


def test_a_row_that_begins_like_a_comment_counts(tmp_path: Path) -> None:
    reading, _ = read(tmp_path, lines("#" + row(), row()))

    assert [(r.row, r.reason) for r in reading.rejected] == [(1, "no usage start date")]


def test_a_row_of_another_width_is_not_skipped(tmp_path: Path) -> None:
    reading, _ = read(tmp_path, lines(row(), row() + ",surplus"))

    assert reading.refusal.startswith("is not readable as CSV") and "line 3" in reading.refusal


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    turned = lines(",".join(reversed(row().split(","))), header=",".join(reversed(HEADER.split(","))))

    reading, merged = read(tmp_path, turned)

    assert (reading.rows_read, merged.rows_in_scope, merged.totals["USD"].billed_cost) == (1, 1, Decimal("1.5"))


def test_a_column_that_no_documentation_names_is_counted(tmp_path: Path) -> None:
    reading, _ = read(tmp_path, lines(row() + ",x", header=HEADER + ",made_up"))

    assert reading.unknown_columns == ("made_up",)


def test_a_file_of_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    reading, _ = read(tmp_path, HEADER + "\n")

    assert (reading.rows_read, reading.refusal) == (0, "")


def test_a_compressed_file_of_nothing_has_no_rows(tmp_path: Path) -> None:
    reading, _ = read(tmp_path, "")

    assert (reading.rows_read, reading.refusal) == (0, "")


# Numbers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cost",
    [
        "1,000.50", "NaN", "inf", "-Infinity", "abc", "1e400", "1E+38",
        # Forty digits, of which the scale would round some away, and more before the point than a decimal holds.
        "0.1234567890123456789012345678901234567890", "1234567890123456789012345678901234567890",
        "12345678901234567890.1234567890123456789",
        " 1.5", "1.5 ", "1_000", "0x10", "1e", ".", "--1",
    ],
)  # fmt: skip
def test_an_amount_that_is_no_exact_decimal_is_rejected_by_row_and_column(tmp_path: Path, cost: str) -> None:
    reading, merged = read(tmp_path, lines(row(), row(list_cost=f'"{cost}"')))

    expected = (2, "pricing_public_on_demand_cost is not an exact decimal number")
    assert [(r.row, r.reason) for r in reading.rejected] == [expected]
    assert merged.rows_broken == 1


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        ("0.0000008", "0.0000008"),
        ("3.3e-06", "0.0000033"),
        ("-12345678901234567.123456789012345678", "-12345678901234567.123456789012345678"),
        ("0.120000000000000000000000000000000000000", "0.12"),
        # The text of a double: 17 digits, at a place where the last is under the scale.
        ("1.2345678901234567e-05", "0.000012345678901235"),
        ("", "0"),
    ],
)
def test_an_amount_is_kept_to_the_last_digit_of_the_scale(tmp_path: Path, cost: str, kept: str) -> None:
    reading, merged = read(tmp_path, lines(row(cost=cost)))

    assert reading.rejected == ()
    assert merged.totals["USD"].billed_cost == Decimal(kept)


@pytest.mark.parametrize("files", [1, 2])
def test_amounts_that_add_up_to_more_than_a_decimal_holds_are_refused(tmp_path: Path, files: int) -> None:
    nines, path = "9" * 20, tmp_path / "data-file"
    with ReportEngine(PERIOD, tmp_path, 256) as engine:
        for _ in range(files):
            path.write_bytes(gzip.compress(lines(*[row(cost=nines)] * (3 - files)).encode()))
            reading = engine.read_csv(Expanded(path, "cur.csv.gz"), ReportKind.CUR_2_0)
        if files == 1:
            assert "OutOfRange" in reading.refusal
        else:
            with pytest.raises(Unreadable, match="add up to"):
                engine.merge()


@pytest.mark.parametrize(("value", "is_kept"), [("0.12345678901234567800", True), ("0.12345678901234567891", False)])
def test_a_decimal_column_of_more_places_is_kept_exactly_or_rejected(tmp_path: Path, value: str, is_kept: bool) -> None:
    columns = {name: pa.array([text]) for name, text in zip(HEADER.split(","), row().split(","), strict=True)}
    columns["line_item_unblended_cost"] = pa.array([Decimal(value)], pa.decimal128(38, 20))
    body = io.BytesIO()
    pq.write_table(pa.table(columns), body)

    reading, merged = read_bytes(tmp_path, body.getvalue(), "cur.snappy.parquet")

    assert (reading.rejected == ()) == is_kept
    if is_kept:
        assert merged.totals["USD"].billed_cost == Decimal(value)


def test_rows_without_a_cost_are_counted(tmp_path: Path) -> None:
    _, merged = read(tmp_path, lines(row(), row(cost="")))

    assert (merged.rows_in_scope, merged.rows_costless) == (2, 1)


def test_a_broken_amount_of_another_service_is_none_of_our_business(tmp_path: Path) -> None:
    reading, merged = read(tmp_path, lines(row(), row(cost="NaN", code="AmazonS3")))

    assert (reading.rows_read, reading.rejected, merged.rows_broken) == (2, (), 0)


def test_a_broken_row_of_a_nameless_product_counts_only_if_the_product_is_bedrocks(tmp_path: Path) -> None:
    header = HEADER + ",product_product_name"
    named = row(code="4a524th30q694o538qndh9ucht") + ",Claude 3.5 Sonnet (Amazon Bedrock Edition)"
    tax = row(cost="NaN", code="4a524th30q694o538qndh9ucht").replace("Usage", "Tax") + ","
    other = row(cost="NaN", code="9x524th30q694o538qndh9ucht") + ","

    _, merged = read(tmp_path, lines(named, tax, other, header=header))

    assert merged.rows_broken == 1


# Text ------------------------------------------------------------------------------------------------------------------


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    _, merged = read(tmp_path, "\ufeff" + lines(row()))

    assert merged.rows_in_scope == 1


@pytest.mark.parametrize(
    "text",
    ["a\nb", 'a "quoted" word', "x" * 200_000, "Ω≈ç", "{not json", "\x07"],
    ids=["line", "quote", "long", "wide", "json", "bell"],
)
def test_a_row_keeps_its_money_whatever_stands_in_its_texts(tmp_path: Path, text: str) -> None:
    quoted = '"' + text.replace('"', '""') + '"'

    reading, merged = read(tmp_path, lines(row() + "," + quoted, row() + ",", header=HEADER + ",tags"))

    assert (reading.rows_read, merged.totals["USD"].billed_cost) == (2, Decimal(3))


@pytest.mark.parametrize("body", [lines(row()).encode() + b"\xff\xfe\x00bad,,,,,,\n", "Ω".encode("utf-16")])
def test_text_in_another_encoding_refuses_the_file(tmp_path: Path, body: bytes) -> None:
    assert refusal(tmp_path, gzip.compress(body))


@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_any_text_in_a_description_leaves_the_sum_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    header = HEADER + ",line_item_line_item_description"

    reading, merged = read(tmp_path_factory.mktemp("text"), lines(row() + "," + quoted, row() + ",x", header=header))

    assert (reading.refusal, reading.rows_read, merged.totals["USD"].billed_cost) == ("", 2, Decimal(3))


# Containers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [OSError("disk"), MemoryError()])
def test_a_fault_while_a_file_is_expanded_is_no_end_of_it(tmp_path: Path, fault: Exception) -> None:
    """The fault falls between two rows: what came before it reads like a whole file."""

    def parts(path: Path) -> Iterator[bytes]:
        yield lines(row(), row()).encode()
        raise fault

    path = tmp_path / "data-file"
    path.write_bytes(gzip.compress(lines(*[row()] * 10).encode()))
    expanded = Expanded(path, "cur.csv.gz")
    expanded._expand = parts

    with ReportEngine(PERIOD, tmp_path, 256) as engine, pytest.raises(type(fault)):
        engine.read_csv(expanded, ReportKind.CUR_2_0)


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path: Path) -> None:
    body = gzip.compress(lines(row()).encode()) + gzip.compress((row() + "\n").encode(), compresslevel=1)

    reading, merged = read_bytes(tmp_path, body)

    assert (reading.rows_read, merged.rows_in_scope) == (2, 2)


@pytest.mark.parametrize("missing", [1, 8, 20])
def test_a_gzip_file_that_is_cut_short_is_refused(tmp_path: Path, missing: int) -> None:
    whole = gzip.compress(lines(*[row(cost=str(n)) for n in range(500)]).encode())

    assert refusal(tmp_path, whole[:-missing]) == "its gzip content is cut short: deliver it again"


def test_what_follows_a_gzip_file_is_not_overlooked(tmp_path: Path) -> None:
    assert refusal(tmp_path, gzip.compress(lines(row()).encode()) + b"trailing") == "is not readable as gzip"


def test_a_gzip_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, lines(row()).encode()) == "is not readable as gzip"


@pytest.mark.parametrize("filling", [b"0", b"\n", (row() + "\n").encode()], ids=["one line", "empty lines", "rows"])
def test_a_decompression_bomb_is_refused_before_it_expands(tmp_path: Path, filling: bytes) -> None:
    bomb = gzip.compress(lines(row()).encode() + filling * (50 * 1024 * 1024 // len(filling)))

    assert refusal(tmp_path, bomb) == "expands to more than 200 times its size: refused as a decompression bomb"


def archive(**files: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return body.getvalue()


def test_a_zipped_report_is_read(tmp_path: Path) -> None:
    body = archive(**{"../../etc/cur-00001.csv": lines(row(), row()).encode()})

    reading, merged = read_bytes(tmp_path, body, "cur-00001.csv.zip")

    assert (reading.rows_read, merged.totals["USD"].billed_cost) == (2, Decimal(3))
    assert [path.name for path in tmp_path.iterdir()] == ["data-file", "work"], "nothing is unpacked"


def test_an_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    body = archive(**{"a.csv": lines(row()).encode(), "b.csv": lines(row()).encode()})

    assert refusal(tmp_path, body, "cur.csv.zip") == "is an archive of 2 files, and a report's holds one CSV file"


def test_an_archive_in_an_archive_is_refused(tmp_path: Path) -> None:
    assert "one CSV file" in refusal(tmp_path, archive(**{"a.zip": archive(**{"a.csv": b"x"})}), "cur.csv.zip")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    body = bytearray(archive(**{"a.csv": lines(row()).encode()}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", body, body.index(signature) + offset, 1)

    assert refusal(tmp_path, bytes(body), "cur.csv.zip") == "is an encrypted archive: AWS delivers none"


def test_an_archive_that_is_packed_in_another_way_is_refused(tmp_path: Path) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_LZMA) as written:
        written.writestr("a.csv", lines(row()))

    assert "compressed in a way" in refusal(tmp_path, body.getvalue(), "cur.csv.zip")


def test_an_archive_bomb_is_refused(tmp_path: Path) -> None:
    body = archive(**{"a.csv": lines(row()).encode() + b"\n" * 50_000_000})

    assert "decompression bomb" in refusal(tmp_path, body, "cur.csv.zip")


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.95])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, cut: float) -> None:
    body = archive(**{"a.csv": lines(*[row(cost=str(n)) for n in range(500)]).encode()})

    assert refusal(tmp_path, body[: int(len(body) * cut)], "cur.csv.zip") == "is not readable as zip"


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"not parquet at all" * 10])
def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    assert refusal(tmp_path, body, "cur.snappy.parquet").startswith("is not readable as Parquet")
