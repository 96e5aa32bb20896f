"""What Hypothesis draws from: small alphabets, so that keys meet, and amounts as long as DynamoDB keeps them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from attribution.charges import Costs, OriginCharge
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.usage import Counters, Invocation, InvocationKey, Pairs, PricedKind, Usage
from tests.unit.attribution import examples
from tests.unit.attribution.examples import CHARGE, DAY, NOON, PROFILE, ROLE, SONNET, USAGE_KEY

OTHER_ROLE = "arn:aws:sts::111122223333:assumed-role/Batch/job-7"
NOVA = "amazon.nova-pro"


def decimals(max_digits: int = 38, max_scale: int = 18) -> st.SearchStrategy[Decimal]:
    """Signed decimals of up to so many digits and decimal places."""
    limit = 10**max_digits - 1
    return st.builds(lambda units, scale: Decimal(f"{units}E-{scale}"), st.integers(-limit, limit), st.integers(0, max_scale))


amounts = decimals()
finer_amounts = decimals(max_scale=30)
small_amounts = decimals(max_digits=12, max_scale=12)
weights = st.lists(
    st.integers(0, 10**12).map(Decimal)
    | decimals(max_digits=20, max_scale=12).map(abs)
    | st.sampled_from([Decimal(0), Decimal(1)]),
    min_size=1,
    max_size=12,
).filter(any)

kinds = st.sampled_from([TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.CACHE_READ])
meters = st.builds(Meter, st.sampled_from([SONNET, NOVA]), kinds, st.just(Tier.STANDARD), st.just(Routing.REGIONAL))
principals = st.sampled_from([ROLE, OTHER_ROLE])
owners = st.sampled_from(["search", "support", "billing"])


def tagged(*names: str) -> st.SearchStrategy[Pairs]:
    """Sorted pairs under some of these names."""
    return st.dictionaries(st.sampled_from(names), owners, max_size=2).map(lambda d: tuple(sorted(d.items())))


metadata = tagged("team", "Team", "feature")
bill_tags = tagged("resourceTags/Team", "iamPrincipal/team", "accountTag/team", "userAttribute/team")
costs = st.builds(Costs, *[small_amounts] * 5)

origin_charges: st.SearchStrategy[OriginCharge] = st.builds(
    lambda **changes: replace(CHARGE, **changes),
    line_item_type=st.sampled_from(["Usage", "Usage", "Usage", "Tax", "Credit", "Rebate"]),
    operation=st.sampled_from(["InvokeModelInference", "InvokeModelStreamingInference"]),
    meter=meters,
    iam_principal=st.just("") | principals,
    resource_id=st.sampled_from(["", PROFILE.replace("application-", "")]),
    tags=bill_tags,
    currency=st.sampled_from(["USD", "USD", "EUR"]),
    units=st.none() | st.integers(0, 3000).map(Decimal) | decimals(max_digits=9, max_scale=3),
    costs=costs,
)
charge_lists = st.lists(origin_charges, max_size=6, unique_by=lambda c: c.digest())

unit_counts = st.dictionaries(kinds, st.integers(0, 2000), max_size=3)


@st.composite
def counters(draw: st.DrawFn) -> Counters:
    """Counters as a day ends with them: some kinds priced, some not."""
    units = draw(unit_counts)
    unpriced = {kind: count for kind, count in units.items() if draw(st.booleans())}
    return Counters(
        requests=draw(st.integers(1, 50)),
        errors=draw(st.integers(0, 3)),
        units=units,
        estimated={kind: draw(small_amounts.map(abs)) for kind in units if kind not in unpriced},
        unpriced=unpriced,
    )


usages: st.SearchStrategy[Usage] = st.builds(
    lambda counted, **key: Usage(USAGE_KEY._replace(**key), counted),
    counters(),
    model=st.sampled_from([SONNET, NOVA]),
    iam_principal=principals,
    inference_profile=st.sampled_from(["", PROFILE.replace("application-", "")]),
    request_metadata=metadata,
    session_tags=tagged("team"),
)
usage_lists = st.lists(usages, max_size=6, unique_by=lambda u: u.key)

days = st.integers(0, 2).map(lambda n: DAY + timedelta(days=n))


def _at(day: date) -> dict[str, object]:
    return {"timestamp": NOON + (day - DAY)}


priced_kinds = st.builds(PricedKind, st.integers(0, 5000), st.none() | small_amounts.map(abs))
metered_halves = st.builds(
    lambda day, **changes: examples.metered(**changes, **_at(day)),
    days,
    kinds=st.dictionaries(kinds, priced_kinds, max_size=3),
    iam_principal=st.just("") | principals,
    request_metadata=metadata,
    error_code=st.sampled_from(["", "", "ThrottlingException"]),
    flags=st.sampled_from([(), ("unmeasured",)]),
)
observed_halves = st.builds(
    lambda day, **changes: examples.observed(**changes, **_at(day)),
    days,
    iam_principal=principals,
    session_tags=tagged("team"),
    error_code=st.sampled_from(["", "AccessDenied"]),
    kinds=st.just({}) | st.dictionaries(kinds, priced_kinds, max_size=3),
    is_uncovered=st.booleans(),
    routing=st.sampled_from(list(Routing)),
)


@st.composite
def image_changes(draw: st.DrawFn) -> list[tuple[Invocation | None, Invocation | None]]:
    """A stream of Invocations: (old, new) images of a few requests, changing in any order."""
    current: dict[str, Invocation | None] = {}
    changes: list[tuple[Invocation | None, Invocation | None]] = []
    for request_id in draw(st.lists(st.sampled_from(["r-1", "r-2", "r-3", "r-4"]), max_size=12)):
        key = InvocationKey("111122223333", "us-east-1", request_id)
        new = Invocation(key, draw(st.none() | metered_halves), draw(st.none() | observed_halves))
        changes.append((current.get(request_id), new))
        current[request_id] = new
    return changes
