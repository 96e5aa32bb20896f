"""A delivery becomes origin charges per day, once, and only what can be proven."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from attribution.charges import Costs
from attribution.deliveries import DeliveryOutcome, IngestedReport, RejectedRow
from attribution.errors import DeliveryIncomplete, DeliveryRefused
from attribution.flows.ingest_cost_report import GIVEN_UP_AFTER, FannedOut
from attribution.ports import StoredObject
from tests.fakes import Crash
from tests.unit.attribution.flows.ledger import DAYS, NOVEMBER, Content, Ledger

SAME = Content((0, 0, 0))
UNREADABLE = RejectedRow("cur-00001.csv.gz", 7, "'x' is not a number")


def test_a_delivery_names_the_days_that_are_over_and_shows_nothing_yet() -> None:
    ledger = Ledger()

    ingested = ledger.ingest(ledger.write_delivery(1, SAME))

    assert ingested.changed_days == DAYS[:2]
    assert ingested.record.outcome is DeliveryOutcome.INGESTED
    assert ledger.queue.days == list(DAYS[:2])
    assert ledger.days.current == {}


def test_a_delivery_names_only_the_days_whose_charges_changed() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))

    ingested = ledger.ingest(ledger.write_delivery(3, Content((0, 1, 0))))

    assert ingested.changed_days == (DAYS[1],)


def test_a_delivery_that_changes_nothing_is_published_at_once() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))

    ingested = ledger.ingest(ledger.write_delivery(3, SAME))

    assert (ingested.record.outcome, ingested.changed_days) == (DeliveryOutcome.PUBLISHED, ())


def test_a_bill_that_becomes_final_changes_its_days() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))

    ingested = ledger.ingest(ledger.write_delivery(3, replace(SAME, is_final=True)))

    assert ingested.changed_days == DAYS


@pytest.mark.parametrize("crash_after", range(8))
def test_an_attempt_that_ends_anywhere_is_made_good_by_the_next(crash_after: int) -> None:
    ledger = Ledger()
    ledger.ingest(ledger.write_delivery(0, SAME))
    source = ledger.write_delivery(2, Content((1, 1, 1)))
    ledger.crashes.after_points = crash_after
    try:
        ledger.ingest(source)
    except Crash:
        ledger.queue.days.clear()
    ledger.crashes.after_points = None

    ledger.ingest(source)

    assert set(ledger.queue.days) == set(DAYS)
    assert ledger.record_of(0).outcome is DeliveryOutcome.SUPERSEDED
    assert ledger.record_of(2).outcome is DeliveryOutcome.INGESTED


def test_the_same_delivery_again_finds_itself_recorded_and_asks_for_its_days_again() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(2, SAME)
    first = ledger.ingest(source)
    ledger.queue.days.clear()

    again = ledger.ingest(source)

    assert (again.was_known, again.record) == (True, first.record)
    assert ledger.queue.days == list(DAYS)


def test_a_published_delivery_again_asks_for_nothing() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(2, SAME)
    ledger.settle(source)

    again = ledger.ingest(source)

    assert again.was_known
    assert ledger.queue.days == []


@pytest.mark.parametrize("is_published", [True, False])
def test_a_delivery_that_arrives_after_a_newer_one_is_superseded_unread(is_published: bool) -> None:
    ledger = Ledger()
    older, newer = ledger.write_delivery(2, SAME), ledger.write_delivery(3, Content((1, 1, 1)))
    if is_published:
        ledger.settle(newer)
    else:
        ledger.ingest(newer)
    ledger.queue.days.clear()

    late = ledger.ingest(older)

    assert (late.record.outcome, late.changed_days) == (DeliveryOutcome.SUPERSEDED, ())
    assert late.record.reason == "overtaken by execution execution-3"
    assert ledger.queue.days == []


def test_days_that_an_older_delivery_publishes_in_the_meantime_count_as_changed() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    ledger.ingest(ledger.write_delivery(3, Content((0, 1, 0))))
    # The third delivery says what the first said: the second becomes visible just after it was compared with the first.
    ledger.days.after_pointers = lambda: ledger.drain([])

    ingested = ledger.ingest(ledger.write_delivery(4, SAME))
    ledger.drain([])

    assert ingested.changed_days == (DAYS[1],)
    assert ledger.days.current[DAYS[1]].totals == {"USD": Costs.uniform(Decimal(4))}


def test_a_row_that_cannot_be_read_refuses_the_delivery_and_the_one_before_it_stays() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    before = dict(ledger.days.current)
    source = ledger.write_delivery(3, Content((1, 1, 1)))
    change(ledger, source, rejected=(UNREADABLE,), rejected_count=2)

    with pytest.raises(DeliveryRefused, match=r"execution-3.*2 rows.*cur-00001.csv.gz row 7: 'x' is not a number"):
        ledger.ingest(source)

    assert ledger.record_of(3).outcome is DeliveryOutcome.REFUSED
    assert (ledger.days.current, ledger.queue.days) == (before, [])


@pytest.mark.parametrize(("outside", "is_refused"), [(1, False), (2, True), (3, True)])
def test_a_delivery_of_another_month_is_refused(outside: int, is_refused: bool) -> None:
    ledger = Ledger()
    source = ledger.write_delivery(2, SAME)
    change(ledger, source, rows_outside=outside)

    if is_refused:
        with pytest.raises(DeliveryRefused, match=f"{outside} of its 3 rows of Bedrock are dated outside"):
            ledger.ingest(source)
    else:
        assert ledger.ingest(source).record.outcome is DeliveryOutcome.INGESTED


def test_a_refused_delivery_is_read_again_once_what_refused_it_is_put_right() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(3, SAME)
    change(ledger, source, rejected=(UNREADABLE,), rejected_count=2)
    with pytest.raises(DeliveryRefused):
        ledger.ingest(source)
    change(ledger, source, rejected=(), rejected_count=0)

    ledger.settle(source)

    assert ledger.record_of(3).outcome is DeliveryOutcome.PUBLISHED


def change(ledger: Ledger, source: StoredObject, **changes: object) -> None:
    manifest, report = ledger.reports.contents[source.key]
    ledger.reports.contents[source.key] = (manifest, replace(report, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"totals": {"USD": Costs.uniform(Decimal("11.999"))}}, {"rows_in_scope": 4}, {"totals": {}}])
def test_a_delivery_whose_days_do_not_sum_to_its_files_is_refused(wrong: dict[str, object]) -> None:
    ledger = Ledger()
    source = ledger.write_delivery(3, SAME)
    change(ledger, source, **wrong)

    with pytest.raises(DeliveryRefused, match="the days sum to"):
        ledger.ingest(source)

    assert ledger.record_of(3).outcome is DeliveryOutcome.REFUSED
    assert ledger.queue.days == []


def test_a_second_export_of_the_same_bill_is_refused_with_the_remedy() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    source = ledger.write_delivery(3, SAME)
    manifest, report = ledger.reports.contents[source.key]
    ledger.reports.contents[source.key] = (replace(manifest, export="cur-again"), report)

    with pytest.raises(DeliveryRefused, match="set CostReportPrefix"):
        ledger.ingest(source)
    assert ledger.deliveries.records[NOVEMBER, "cur-again", "execution-3"].outcome is DeliveryOutcome.REFUSED


def test_a_prefix_that_leads_to_another_export_lets_it_take_over() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    source = ledger.write_delivery(3, SAME)
    manifest, report = ledger.reports.contents[source.key]
    ledger.reports.contents[source.key] = (replace(manifest, export="cur-again"), report)

    ingested = ledger.ingest(source, prefix="execution-3")

    assert ingested.record.export == "cur-again"
    assert ingested.record.outcome is not DeliveryOutcome.REFUSED


def test_an_empty_report_of_a_period_is_published_without_days() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(0, SAME)
    manifest, _ = ledger.reports.contents[source.key]
    ledger.reports.contents[source.key] = (manifest, IngestedReport((), (), 0, 0, {}))

    assert ledger.ingest(source).record.outcome is DeliveryOutcome.PUBLISHED


def test_the_day_before_a_delivery_is_left_to_the_estimate() -> None:
    ledger = Ledger()
    ledger.use(DAYS[2], "search", 500)

    ledger.settle(ledger.write_delivery(1, SAME))

    assert ledger.days.current[DAYS[2]].basis == "estimated"
    assert ledger.days.current[DAYS[1]].basis == "billed"
    assert DAYS[2] + timedelta(days=1) not in ledger.days.current


# What is read, and where ------------------------------------------------------------------------------------------------


def test_a_refresh_whose_files_are_the_same_is_not_read_again() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))

    ingested = ledger.ingest(ledger.write_delivery(3, SAME))

    assert ledger.reports.reads == ["execution-2"]
    assert ingested.record.outcome is DeliveryOutcome.PUBLISHED
    assert [f.key for f in ingested.record.report.files] == ["execution-3-00001.parquet"]


def test_the_same_files_are_read_again_by_another_reader() -> None:
    ledger = Ledger()
    ledger.settle(ledger.write_delivery(2, SAME))
    ledger.reports.reader = "reader-2"

    ledger.ingest(ledger.write_delivery(3, SAME))

    assert ledger.reports.reads == ["execution-2", "execution-3"]


def test_files_of_which_nothing_could_be_used_are_read_again() -> None:
    ledger = Ledger()
    refused = ledger.write_delivery(2, SAME)
    change(ledger, refused, rejected=(UNREADABLE,), rejected_count=2)
    with pytest.raises(DeliveryRefused):
        ledger.ingest(refused)

    ledger.ingest(ledger.write_delivery(3, SAME))

    assert ledger.reports.reads == ["execution-2", "execution-3"]


def test_a_large_delivery_is_read_apart_and_ingested_when_its_event_comes_again() -> None:
    ledger = Ledger()
    ledger.fan_out_above_bytes = 999
    source = ledger.write_delivery(2, SAME)

    first = ledger.hand_over(source, attempt="message 1")
    again = ledger.hand_over(source, attempt="message 2")

    assert first == FannedOut("execution of message 1")
    assert again == FannedOut("execution of message 2"), "nothing was read yet"
    assert ledger.fan_out.started["message 1"] == ("execution-2-00001.parquet",)
    assert ledger.deliveries.of_period(NOVEMBER) == [] and ledger.reports.reads == []
    ledger.reports.kept.add("execution-2-00001.parquet")
    ledger.settle(source)
    assert ledger.record_of(2).outcome is DeliveryOutcome.PUBLISHED


def test_a_delivery_that_is_not_whole_is_waited_for_and_then_refused() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(2, SAME)
    written_at = ledger.reports.contents[source.key][0].written_at
    ledger.reports.torn.add(source.key)

    ledger.now = written_at + GIVEN_UP_AFTER - timedelta(seconds=1)
    with pytest.raises(DeliveryIncomplete):
        ledger.ingest(source)
    assert ledger.deliveries.of_period(NOVEMBER) == []

    ledger.now = written_at + GIVEN_UP_AFTER
    with pytest.raises(DeliveryRefused, match="a file is missing; replay the delivery once it is whole"):
        ledger.ingest(source)
    assert ledger.record_of(2).outcome is DeliveryOutcome.REFUSED
    ledger.reports.torn.clear()
    ledger.settle(source)
    assert ledger.record_of(2).outcome is DeliveryOutcome.PUBLISHED


def test_a_replayed_delivery_is_read_again_by_another_reader_and_takes_its_own_place() -> None:
    ledger = Ledger()
    source = ledger.write_delivery(2, SAME)
    ledger.settle(source)
    ledger.reports.reader = "reader-2"
    assert ledger.write_delivery(2, Content((1, 0, 0))).key == source.key

    again = ledger.ingest(source)
    ledger.drain([])

    assert (again.record.reading, again.changed_days) == (1, (DAYS[0],))
    assert again.record.sequence > ledger.record_of(2).sequence
    assert ledger.days.current[DAYS[0]].made_from["origin"] == again.record.report.days[0].origin
    assert ledger.ingest(source).was_known
