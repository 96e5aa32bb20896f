"""Charges are found by owner or by name, and explained from what their day was made from."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from attribution.cost_categories import by_evidence
from attribution.errors import ConservationViolated
from attribution.flows.explain_charge import explain_charge
from attribution.reporting.explanations import Explained, Question
from attribution.rules import Rules
from tests.unit.attribution.flows.ledger import DAYS, Content, Ledger

SAME = Content((0, 0, 0))


def ask(ledger: Ledger, **question: Any) -> Explained:
    return explain_charge(
        Question(**{"category": "team", "value": "search", **question}),
        ledger.days.current[DAYS[0]],
        days=ledger.days,
        deliveries=ledger.deliveries,
        origin_charges=ledger.origin_charges,
        counters=ledger.counters,
        rules=ledger.policy,
        prices=ledger.prices,
        directory=ledger.directory,
    )


@pytest.fixture
def billed() -> Ledger:
    """A billed day of 1000 tokens, of which two teams used 700."""
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 500)
    ledger.use(DAYS[0], "support", 200)
    ledger.settle(ledger.write_delivery(2, SAME))
    return ledger


def test_an_owner_is_charged_its_share_of_the_row_of_the_bill(billed: Ledger) -> None:
    answer = ask(billed)

    (explanation,) = answer.explanations
    (step,) = explanation.steps("billed_cost")
    assert (step.amount, step.weight, step.whole, step.result) == (Decimal(3), Decimal(500), Decimal(1000), Decimal("1.5"))
    assert (answer.totals, answer.rest, answer.moved) == ({"USD": Decimal("1.5")}, {}, ())
    assert answer.delivery == billed.record_of(2)


def test_what_nobody_owns_is_asked_for_by_its_name(billed: Ledger) -> None:
    (explanation,) = ask(billed, value="(unallocated)").explanations

    assert [(share.usage, share.weight) for share in explanation.shares] == [(None, Decimal(300))]


def test_a_charge_is_found_by_the_beginning_of_its_name(billed: Ledger) -> None:
    (of_search,) = ask(billed).explanations

    answer = ask(billed, value="", charge_id=of_search.charge.digest()[:10])

    assert answer.explanations == (of_search,)


def test_of_many_charges_the_largest_are_explained_and_the_others_summed(billed: Ledger) -> None:
    billed.policy.defined_rules = Rules.of([by_evidence("team", ("nothing",))])
    billed.use(DAYS[0], "search", 1)
    billed.allocate(DAYS[0])

    answer = ask(billed, value="(unallocated)", top=1)

    assert (answer.charge_count, len(answer.explanations)) == (2, 1)
    assert answer.totals["USD"] - answer.rest["USD"] == answer.explanations[0].charge.costs.billed_cost


def test_an_owner_without_charges_is_answered_with_those_who_have_some(billed: Ledger) -> None:
    answer = ask(billed, value="serch")

    assert (answer.explanations, answer.values) == ((), ("(unallocated)", "search", "support"))


def test_charges_of_another_model_are_left_out(billed: Ledger) -> None:
    assert ask(billed, model="amazon.nova-pro").charge_count == 0


def test_usage_that_was_counted_since_leaves_the_stored_charge_and_says_so(billed: Ledger) -> None:
    billed.use(DAYS[0], "search", 1)

    answer = ask(billed)

    assert answer.moved == ("the counted usage",)
    assert not answer.explanations[0].is_verified
    assert answer.totals == {"USD": Decimal("1.5")}


def test_rules_that_are_not_kept_any_more_are_named(billed: Ledger) -> None:
    before = billed.policy.defined_rules
    billed.policy.defined_rules = Rules.of([by_evidence("team", ("squad",))])
    billed.policy.forget(before)

    assert ask(billed).moved == ("the rules: their document is not kept",)


def test_a_ledger_that_was_changed_by_hand_is_not_explained_away(billed: Ledger) -> None:
    pointer = billed.days.current[DAYS[0]]
    version = billed.days.versions[DAYS[0], pointer.version]
    forged = tuple(replace(c, costs=c.costs + c.costs) for c in version.charges)
    billed.days.versions[DAYS[0], pointer.version] = replace(version, charges=forged)

    with pytest.raises(ConservationViolated, match="changed by hand"):
        ask(billed)


def test_an_estimated_day_is_explained_by_units_and_prices() -> None:
    ledger = Ledger()
    ledger.use(DAYS[0], "search", 1000)
    ledger.allocate(DAYS[0])

    answer = ask(ledger)

    (explanation,) = answer.explanations
    assert explanation.estimate is not None and answer.delivery is None
    assert (explanation.estimate.units, explanation.estimate.recorded) == (1000, Decimal("0.0033"))
