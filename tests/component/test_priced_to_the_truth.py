"""The synthetic company's logs, priced: to the last digit what each request truly costs at list, or flagged as uncertain."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from adapters.invocations import invocation_from_image
from tests.component.test_reprice_invocations import know_profiles
from tests.support import inputs
from tests.support.stack import Stack
from truth import company

# What a log record without its body leaves open, and images that it does not have.
UNCERTAIN = {"cache_write_ttl_unknown", "tier_unknown", "images_as_requested"}


def test_every_logged_request_costs_what_it_truly_costs_or_is_flagged(stack: Stack) -> None:
    inputs.load_prices(stack)
    know_profiles(stack)
    month = company.build(str(inputs.PERIOD), seed=1, requests=400)
    inputs.record_logs(stack, month)

    truth = {request.request_id: request for request in month.requests if request.is_logged}
    outcomes: Counter[str] = Counter()
    for image in stack.wire_items("InvocationsTable"):
        invocation = invocation_from_image(image)
        assert invocation and invocation.metered
        request, metered = truth.pop(invocation.key.request_id), invocation.metered
        costs = [priced.cost for priced in metered.kinds.values() if priced.units]
        assert None not in costs
        is_exact = sum((cost for cost in costs if cost), Decimal(0)) == request.list_cost
        is_flagged = bool(UNCERTAIN.intersection(metered.flags))
        assert is_exact or is_flagged, f"{request.request_id} costs {request.list_cost}, not {costs}"
        outcomes[f"{'exact' if is_exact else 'inexact'}, {'flagged' if is_flagged else 'certain'}"] += 1

    assert not truth
    assert outcomes["exact, certain"] > 300
    assert outcomes["inexact, flagged"] > 0
