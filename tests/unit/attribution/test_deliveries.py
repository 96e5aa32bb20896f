"""Deliveries: their order, and which days they bill."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.charges import Basis
from attribution.deliveries import (
    DayOfDelivery,
    DeliveryOutcome,
    DeliveryRecord,
    IngestedReport,
    Manifest,
    ReportKind,
    billed_days,
    newest,
)
from attribution.periods import BillingPeriod, day_end
from tests.unit.attribution.examples import DAY

NOVEMBER = BillingPeriod(2026, 11)
instants = st.timedeltas(timedelta(0), timedelta(days=56)).map(lambda after: datetime(2026, 10, 25, tzinfo=UTC) + after)
executions = st.sampled_from(["a", "b"])


def manifest(written_at: datetime, execution_id: str = "e") -> Manifest:
    return Manifest(ReportKind.CUR_2_0, "cur", NOVEMBER, execution_id, "bucket", "key", "etag", written_at, ())


def record(
    sequence: str = "1",
    outcome: DeliveryOutcome = DeliveryOutcome.INGESTED,
    staged: tuple[date, ...] = (),
    is_final: bool = False,
) -> DeliveryRecord:
    report = IngestedReport((), (DayOfDelivery(DAY, "origin", {}, 1, 1, is_final),), 1, 1, {})
    changed = (DAY, DAY + timedelta(days=1))
    versions = {day: "version" for day in staged}
    return DeliveryRecord("cur", NOVEMBER, "e", sequence, "key", "etag", outcome, report, changed, versions)


@given(instants, executions, instants, executions)
def test_the_sequence_orders_deliveries_by_when_they_were_written(
    one: datetime, its: str, other: datetime, others: str
) -> None:
    first, second = manifest(one, its), manifest(other, others)

    assert (first.sequence < second.sequence) == ((one, its) < (other, others))


def test_a_delivery_written_on_the_second_comes_before_one_written_within_it() -> None:
    second = datetime(2026, 11, 4, tzinfo=UTC)

    assert manifest(second, "z").sequence < manifest(second + timedelta(microseconds=1), "a").sequence


@given(instants, st.integers(0, 72).map(lambda hours: timedelta(hours=hours)))
def test_a_day_is_billed_once_it_has_been_over_for_the_lag(written_at: datetime, lag: timedelta) -> None:
    billed = billed_days(NOVEMBER, written_at, lag)

    for day in NOVEMBER.days():
        assert (day in billed) == (written_at - day_end(day) >= lag)


def test_at_noon_yesterday_may_be_incomplete_and_the_day_before_is_billed() -> None:
    days = billed_days(NOVEMBER, datetime(2026, 11, 10, 12, tzinfo=UTC), timedelta(hours=24))

    assert days[-1] == date(2026, 11, 8)


@pytest.mark.parametrize(
    ("staged", "is_staged"),
    [((), False), ((DAY,), False), ((DAY, DAY + timedelta(days=1)), True)],
)
def test_a_delivery_can_become_visible_once_all_its_changed_days_are_written(staged: tuple[date, ...], is_staged: bool) -> None:
    assert record(staged=staged).is_staged is is_staged


def test_a_day_is_final_once_its_bill_is() -> None:
    assert record().basis_of(DAY) is Basis.BILLED
    assert record(is_final=True).basis_of(DAY) is Basis.FINAL
    assert record(is_final=True).basis_of(DAY + timedelta(days=1)) is Basis.BILLED


def test_a_delivery_knows_only_its_own_days() -> None:
    found = record().day(DAY)

    assert found is not None
    assert found.origin == "origin"
    assert record().day(DAY + timedelta(days=1)) is None


def test_the_newest_delivery_is_the_latest_of_its_outcome() -> None:
    records = [
        record("2", DeliveryOutcome.PUBLISHED),
        record("3", DeliveryOutcome.INGESTED),
        record("1", DeliveryOutcome.PUBLISHED),
    ]

    assert newest(records, DeliveryOutcome.PUBLISHED) is records[0]
    assert newest(records, DeliveryOutcome.REFUSED) is None
