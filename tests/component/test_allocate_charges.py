"""The function that writes ledger days: estimates, bills, repeats, and messages that fail."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters import wiring
from adapters.day_parts import PartsLost
from adapters.dynamodb import to_wire
from adapters.ledger_days import DynamoLedgerDays
from adapters.policy import DynamoPolicy, parse_policy
from adapters.usage_counters import DynamoUsageCounters
from attribution.adjustments import ACCOUNTS_NAMED, OWNERS_NAMED, Adjustment, Cause, Change
from attribution.charges import Basis, Costs
from attribution.coverage import Counted, Gap, cover, verify_coverage
from attribution.days import UNALLOCATED, DayPointer, Sum, make_day_version
from attribution.deliveries import DeliveryOutcome, DeliveryRecord, IngestedReport
from attribution.errors import LedgerConflict
from attribution.periods import BillingPeriod
from attribution.rules import Rules
from tests.support import inputs
from tests.support.stack import FAILED_NONE, Stack, held_back, load_event, messages, windowed
from truth.summary import Sums

FUNCTION = "allocate_charges"


def estimate_sample_day(stack: Stack) -> dict[str, Any]:
    """Count the sample request, then allocate its day on the sample event."""
    stack.run("roll_up_usage", load_event("roll_up_usage"))
    return stack.run(FUNCTION, load_event(FUNCTION))


def days_of(stack: Stack) -> DynamoLedgerDays:
    return DynamoLedgerDays(stack.table("LedgerTable"), 760, lambda: stack.now)


def pointers(stack: Stack) -> dict[date, DayPointer]:
    return dict(days_of(stack).pointers(inputs.PERIOD))


def announced(stack: Stack) -> list[dict[str, Any]]:
    """What the rule of the template brings to the budget queue."""
    return [json.loads(message.body)["detail"] for message in stack.sent("BudgetQueue")]


def test_the_sample_event_estimates_its_day_and_announces_it(stack: Stack) -> None:
    answer = estimate_sample_day(stack)

    assert answer == FAILED_NONE
    (pointer,) = (item for item in stack.items("LedgerTable") if item["sk"] == "DAY#2026-10-05")
    assert pointer["basis"] == Basis.ESTIMATED
    assert Decimal(pointer["totals"]["USD"]["billed_cost"]) == Decimal("0.202389")
    assert announced(stack) == [{"billing_period": "2026-10", "usage_dates": ["2026-10-05"]}]
    assert stack.metrics()["DaysChanged"] == 1


def test_a_repeated_event_changes_nothing(stack: Stack) -> None:
    estimate_sample_day(stack)
    before = stack.wire_items("LedgerTable")
    stack.now += timedelta(hours=5)

    answer = stack.run(FUNCTION, load_event(FUNCTION))

    assert answer == FAILED_NONE
    assert stack.wire_items("LedgerTable") == before


def test_a_malformed_message_is_quarantined_without_its_content(stack: Stack) -> None:
    answer = stack.run(FUNCTION, messages(FUNCTION, ['{"usage_date": "CANARY-soon", "because": "usage"}']))

    assert answer == FAILED_NONE
    (notice,) = stack.notices()
    assert "usage_date" in notice["reason"] and "CANARY" not in json.dumps(notice)


def test_a_message_that_fails_holds_back_its_group_and_no_other(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = stack.handler(FUNCTION)
    original = handler.counters.usage_of

    def fails_for_the_fifth(usage_date: date) -> Any:
        if usage_date.day == 5:
            raise ConnectionError("the table does not answer")
        return original(usage_date)

    monkeypatch.setattr(handler.counters, "usage_of", fails_for_the_fifth)
    event = messages(FUNCTION, [{"usage_date": f"2026-10-{day}", "because": "usage"} for day in ("05", "05", "06")])
    for record, group in zip(event["Records"], ("2026-10-05", "2026-10-05", "2026-10-06"), strict=True):
        record["attributes"]["MessageGroupId"] = group

    answer = stack.invoke(handler, event)

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]}
    assert [item["sk"] for item in stack.items("LedgerTable") if item["sk"].startswith("DAY#")] == ["DAY#2026-10-06"]


def test_a_lone_message_that_fails_returns_to_its_queue(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = stack.handler(FUNCTION)
    monkeypatch.setattr(handler.counters, "usage_of", lambda usage_date: 1 / 0)

    assert held_back(stack, handler, load_event(FUNCTION)) == "ZeroDivisionError"

    assert stack.items("LedgerTable") == []


def bill(stack: Stack, refresh: int = 0, days: int = 3, *, is_again: bool = False) -> None:
    """Ingest a delivery that is written early enough to bill only the first days of the month; or once more, an hour later."""
    delivery = inputs.deliveries()[refresh]
    if is_again:
        delivery = inputs.executed_again(delivery, "c0ffee00-0000-4000-8000-000000000000")
    written_at = inputs.month().start + timedelta(days=days + 1, hours=refresh + is_again)
    assert inputs.ingest(stack, inputs.deliver(stack, delivery, written_at=written_at)) == FAILED_NONE


def count_first_days(stack: Stack) -> None:
    """Record and count the requests of the first three days."""
    early = [o for o in inputs.log_objects(stack, inputs.month()) if any(f"/2026/02/0{day}/" in o.key for day in (1, 2, 3))]
    stack.run("record_invocations", messages("record_invocations", inputs.put_logs(stack, early)))
    stack.run("roll_up_usage", windowed(list(stack.stream("InvocationsTable"))))


def test_a_delivery_becomes_visible_with_its_last_day_and_not_before(stack: Stack) -> None:
    bill(stack)
    first, second, last = stack.drain("AllocationQueue")

    for message in (first, second):
        stack.run(FUNCTION, inputs.allocation_event([message]))
        assert pointers(stack) == {}
    stack.run(FUNCTION, inputs.allocation_event([last]))

    assert [(day.day, p.basis) for day, p in pointers(stack).items()] == [(n, Basis.BILLED) for n in (1, 2, 3)]
    assert announced(stack)[-1]["usage_dates"] == ["2026-02-01", "2026-02-02", "2026-02-03"]


def test_the_published_days_hold_exactly_the_money_of_the_delivery(stack: Stack) -> None:
    count_first_days(stack)
    bill(stack, refresh=2)

    inputs.allocate_everything(stack)

    by_day = inputs.deliveries()[2].truth.bedrock_by_day
    current = pointers(stack)
    assert len(current) == 3
    for day, pointer in current.items():
        total = pointer.totals["USD"]
        truth = by_day[day.isoformat()]
        assert (total.billed_cost, total.list_cost) == (truth.unblended_cost, truth.public_on_demand_cost)
        charges = list(days_of(stack).charges(day, pointer.version))
        assert sum((c.costs.billed_cost for c in charges), Decimal(0)) == total.billed_cost
        by_team = days_of(stack).sums([pointer], "team")[day]
        assert sum((s.costs.billed_cost for s in by_team.values()), Decimal(0)) == total.billed_cost


def test_the_coverage_of_billed_days_is_kept_with_them_and_measured(stack: Stack) -> None:
    count_first_days(stack)
    bill(stack, refresh=2)

    inputs.allocate_everything(stack)

    days, counters = days_of(stack), DynamoUsageCounters(stack.table("LedgerTable"), 760, lambda: stack.now)
    found: set[Gap] = set()
    for day, pointer in pointers(stack).items():
        covered = days.coverage([pointer])[day]
        assert covered == cover(list(days.charges(day, pointer.version)), Counted.of(counters.usage_of(day)))
        verify_coverage(covered, pointer.totals)
        found |= {gap for c in covered.values() for gap in c.parts}
    assert {Gap.NONE, Gap.TAX, Gap.CREDIT, Gap.DISCOUNT, Gap.MANTLE, Gap.OTHER_UNITS, Gap.LOGGING_INCOMPLETE} <= found
    points = stack.points("UnallocatedCost")
    assert {point["service"] for point in points} == {FUNCTION} and {point["Currency"] for point in points} == {"USD"}
    assert {point["Gap"] for point in points} <= {gap.value for gap in Gap}
    by_team = [days.sums([p], "team")[day]["(unallocated)", "USD"].costs.billed_cost for day, p in pointers(stack).items()]
    assert sum(point["UnallocatedCost"][0] for point in points) == pytest.approx(float(sum(by_team)))
    assert len(stack.points("CaptureRate")) == len(by_team)


def test_the_capture_rate_of_the_last_billed_week_is_measured_as_a_whole(stack: Stack) -> None:
    bill(stack, refresh=2)
    stack.now = stack.now.replace(year=2026, month=3, day=1)

    inputs.allocate_everything(stack)

    recent = [p for _, p in sorted(pointers(stack).items()) if p.is_billed][-7:]
    by_team = list(days_of(stack).sums(recent, "team").items())
    whole = sum((s.costs.billed_cost for _, v in by_team for s in v.values()), Decimal(0))
    nobody = sum((v[UNALLOCATED, "USD"].costs.billed_cost for _, v in by_team if (UNALLOCATED, "USD") in v), Decimal(0))
    assert recent
    last = stack.points("RecentCaptureRate")[-1]
    assert (last["service"], "Currency" in last) == (FUNCTION, False)
    assert last["RecentCaptureRate"][0] == pytest.approx(float(100 * (whole - nobody) / whole), abs=0.0001)


def test_a_bill_replaces_the_estimate_whose_version_expires(stack: Stack) -> None:
    stack.run(FUNCTION, messages(FUNCTION, [{"usage_date": "2026-02-02", "because": "usage"}]))
    estimate = pointers(stack)[date(2026, 2, 2)]
    bill(stack)

    inputs.allocate_everything(stack)

    current = pointers(stack)[date(2026, 2, 2)]
    assert current.basis is Basis.BILLED and current.superseded == ()
    expiring = {item["sk"] for item in stack.items("LedgerTable") if "expires_at" in item and item["pk"].startswith("DAY#")}
    old, new = (set(p.roots.values()) for p in (estimate, current))
    assert expiring == {f"VERSION#{estimate.version}", *(ref.rpartition("#")[2] for ref in old - new)}


def test_a_restatement_of_a_closed_month_is_an_adjustment_that_explains_every_cent(stack: Stack) -> None:
    """The month's invoice is issued; a month later come a refund and the correction of a row."""
    *_, closing, restated = inputs.deliveries(restated=True)
    first, second = closing.truth.bedrock_by_day, restated.truth.bedrock_by_day
    days = sorted(day for day in second if second[day] != first[day])
    inputs.ingest(stack, inputs.deliver(stack, inputs.of_days(closing, days)))
    inputs.allocate_everything(stack)
    assert {day.isoformat() for day, p in pointers(stack).items() if p.basis is Basis.FINAL} == set(days)
    assert days_of(stack).adjustments(inputs.PERIOD) == []

    inputs.ingest(stack, inputs.deliver(stack, inputs.of_days(restated, days)))
    inputs.allocate_everything(stack)

    (adjustment,) = days_of(stack).adjustments(inputs.PERIOD)
    before, after = closing.truth.bedrock_by_line_item_type, restated.truth.bedrock_by_line_item_type
    assert {kind: costs.billed_cost for (kind, _), costs in adjustment.by_line_item_type.items()} == {
        kind: after[kind].unblended_cost - before.get(kind, Sums()).unblended_cost
        for kind in after
        if after[kind] != before.get(kind, Sums())
    }
    assert adjustment.by_line_item_type["Refund", "USD"].billed_cost == Decimal("-37.41")
    assert {day.isoformat(): change["USD"].after.billed_cost for day, change in adjustment.days.items()} == {
        day: second[day].unblended_cost for day in days
    }
    total = restated.truth.bedrock.unblended_cost - closing.truth.bedrock.unblended_cost
    assert adjustment.totals["USD"].difference.billed_cost == total
    assert adjustment.changed_at == stack.now
    assert stack.metrics()["ClosedMonthAdjusted"] == 1
    (line,) = stack.said("closed month adjusted")
    assert line["usage_dates"] == days
    assert Decimal(line["billed_cost"]["USD"]) == total


def test_a_closed_month_is_given_to_other_owners_only_by_who_asks_and_every_cent_of_it_is_kept(stack: Stack) -> None:
    count_first_days(stack)
    bill(stack)
    inputs.allocate_everything(stack)
    stack.now += timedelta(days=30)
    before = pointers(stack)
    policy = DynamoPolicy(stack.table("LedgerTable"))
    version = policy.apply(parse_policy({"cost_categories": [{"name": "team", "keys": ["nothing"]}]}))

    def ask(**by_policy: str) -> None:
        asked = [{"usage_date": day.isoformat(), "because": "request", **by_policy} for day in before]
        stack.run(FUNCTION, messages(FUNCTION, asked))

    ask()
    assert pointers(stack) == before
    ask(by_policy=version)

    adjustments = days_of(stack).adjustments(inputs.PERIOD)
    assert adjustments
    assert {p.made_from["rules"] for p in pointers(stack).values()} == {policy.rules(min(before)).fingerprint()}
    for adjustment in adjustments:
        assert (adjustment.causes, adjustment.policies_after) == ((Cause.RULES,), (version,))
        (day,) = adjustment.days
        old, new = (days_of(stack).sums([p], "team")[day] for p in (before[day], pointers(stack)[day]))
        differences = {key: new.get(key, Sum()).costs - old.get(key, Sum()).costs for key in {*old, *new}}
        assert adjustment.by_owner["team"] == {key: costs for key, costs in differences.items() if not costs.is_zero()}
    assert stack.metrics()["ClosedMonthAdjusted"] == len(adjustments)


@pytest.mark.parametrize("is_other", [True, False])
def test_versions_that_were_staged_for_an_overtaken_delivery_expire_unless_the_newer_one_uses_them(
    stack: Stack, is_other: bool
) -> None:
    bill(stack)
    for message in stack.drain("AllocationQueue")[:2]:
        stack.run(FUNCTION, inputs.allocation_event([message]))
    bill(stack, refresh=2 if is_other else 0, is_again=not is_other)

    inputs.allocate_everything(stack)

    current = {(day.isoformat(), pointer.version) for day, pointer in pointers(stack).items()}
    versions = [item for item in stack.items("LedgerTable") if item["sk"].startswith("VERSION#")]
    assert len(versions) - len(current) == (2 if is_other else 0)
    assert {(i["usage_date"], i["version"]) for i in versions if "expires_at" not in i} == current
    staged = {i["outcome"]: set(i["staged"]) for i in stack.items("LedgerTable") if i["pk"].startswith("DELIVERY#")}
    assert staged == {"superseded": set(), "published": {"2026-02-01", "2026-02-02", "2026-02-03"}}


def test_a_whole_month_its_delivery_and_the_largest_adjustment_become_visible_at_once(stack: Stack) -> None:
    """31 days in two currencies, more accounts than are named, amounts of 38 digits: within a transaction and an item."""
    october = BillingPeriod(2026, 10)
    widest = Costs.uniform(Decimal("-" + "9" * 38))
    days = [make_day_version(day, Basis.BILLED, [], Rules(), origin="o", usage="u") for day in october.days()]
    delivery = DeliveryRecord(
        "cur", october, "e", "2026-12-01T00:00:00+00:00#e", "key", "etag", DeliveryOutcome.INGESTED,
        IngestedReport((), (), 0, 0, {}), october.days(),
    )  # fmt: skip
    stack.handler(FUNCTION).deliveries.record(delivery)
    staged = [days_of(stack).stage(day, delivery.sequence) for day in days]
    changes = {currency: Change(widest, Costs()) for currency in ("EUR", "USD")}
    parts = {(f"{n:012}", "USD"): widest for n in range(ACCOUNTS_NAMED + 1)}
    adjustment = Adjustment(
        october,
        "cur",
        "e",
        delivery.sequence,
        changes,
        dict.fromkeys(october.days(), changes),
        parts,
        parts,
        {"team": {(f"{n:04}" + "team" * 30, "USD"): widest for n in range(OWNERS_NAMED + 1)}},
    )

    days_of(stack).flip(staged, replacing={}, publishing=delivery, adjustment=adjustment)

    assert len(days_of(stack).pointers(october)) == 31
    assert days_of(stack).adjustments(october) == [replace(adjustment, changed_at=stack.now)]
    with pytest.raises(LedgerConflict):
        days_of(stack).flip([], replacing={}, adjustment=adjustment)


def test_usage_that_arrives_after_the_bill_moves_no_money(stack: Stack) -> None:
    bill(stack)
    inputs.allocate_everything(stack)
    before = pointers(stack)
    count_first_days(stack)

    inputs.allocate_everything(stack)

    after = pointers(stack)
    for day in before:
        assert after[day].totals == before[day].totals
        assert after[day].basis is Basis.BILLED


def test_a_version_whose_charges_are_not_what_was_allocated_is_never_shown(stack: Stack) -> None:
    stack.run("roll_up_usage", load_event("roll_up_usage"))
    handler = stack.handler(FUNCTION)

    def loses_an_item(**_: Any) -> None:
        for item in stack.items("LedgerTable"):
            if "body" in item:
                stack.dynamodb.delete_item(TableName="LedgerTable", Key=to_wire({"pk": item["pk"], "sk": item["sk"]}))
                return

    events = wiring.client("dynamodb").meta.events
    events.register("after-call.dynamodb.BatchWriteItem", loses_an_item)
    try:
        reason = held_back(stack, handler, load_event(FUNCTION))
    finally:
        events.unregister("after-call.dynamodb.BatchWriteItem", loses_an_item)

    assert reason == PartsLost.__name__
    assert not any(item["sk"].startswith(("DAY#", "VERSION#")) for item in stack.items("LedgerTable"))
    assert announced(stack) == []
