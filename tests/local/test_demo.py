"""What the demo tells, without running it."""

from __future__ import annotations

from local import demo
from truth import company


def test_the_log_that_breaks_the_budget_is_one_of_the_months() -> None:
    month = company.build(demo.MONTH, demo.SEED, demo.REQUESTS)

    loop = demo.loop_that_breaks_the_budget(month)

    assert loop
    assert set(loop) < set(demo.log_objects(month))


def test_a_month_whose_budget_holds_anyway_has_no_such_log() -> None:
    assert demo.loop_that_breaks_the_budget(company.build(demo.MONTH, demo.SEED, 50)) == []
