"""What is true about a month, in sums.

All sums are exact decimals of US dollars over the unblended cost, or over another metric of the bill where the name
says so. Usage has an owner or a reason why it has none; discounts, tax, credits and refunds are shared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from truth.catalogue import other_skus
from truth.charges import GUARDRAIL_REASON, GUARDRAIL_TEAM, GUARDRAILS
from truth.organisation import ACCOUNTS, PLATFORM, PRINCIPALS, PROFILES, PROJECTS

if TYPE_CHECKING:
    from truth.catalogue import Sku
    from truth.charges import Charge
    from truth.company import Month
    from truth.requests import Request

UNALLOCATED = "unallocated"


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows of one kind."""

    unblended_cost: Decimal = Decimal(0)
    public_on_demand_cost: Decimal = Decimal(0)
    net_unblended_cost: Decimal = Decimal(0)
    """After discounts where a report shows them as columns; the unblended cost where they are rows of their own."""
    amortized_cost: Decimal = Decimal(0)
    """Commitments spread over the usage they cover, as CUR's columns say it."""
    net_amortized_cost: Decimal = Decimal(0)

    @classmethod
    def uncommitted(cls, cost: Decimal, public_cost: Decimal) -> Sums:
        """The sums of a row under no commitment and no discount column."""
        return cls(cost, public_cost, cost, cost, cost)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.unblended_cost + other.unblended_cost,
            self.public_on_demand_cost + other.public_on_demand_cost,
            self.net_unblended_cost + other.net_unblended_cost,
            self.amortized_cost + other.amortized_cost,
            self.net_amortized_cost + other.net_amortized_cost,
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many requests each of AWS's outputs shows."""

    requests: int
    logged: int
    log_records: int
    in_cloudtrail: int
    failed: int
    guardrail_blocked: int


@dataclass(frozen=True, slots=True)
class MonthTruth:
    """The truth about one month. Days are ISO dates; costs of Bedrock alone unless the name says otherwise."""

    month: str
    seed: int
    coverage: Coverage
    owned_by_day_and_team: dict[str, dict[str, Decimal]]
    """Billed usage by its true owner, evidence or not."""
    allocatable_by_day_and_team: dict[str, dict[str, Decimal]]
    """Billed usage by the owner that evidence names; the rest under `unallocated`."""
    allocatable_by_evidence: dict[str, Decimal]
    unallocated_by_reason: dict[str, Decimal]
    billed_by_day_and_tenant: dict[str, dict[str, Decimal]]
    """Gateway requests that carry metadata; the others name no tenant anywhere."""
    requests_by_evidence: dict[str, int]
    bedrock_by_line_item_type: dict[str, Sums]
    everything_by_line_item_type: dict[str, Sums]
    list_cost_of_requests: Decimal
    billed_cost_of_requests: Decimal

    @property
    def bedrock(self) -> Sums:
        """Every Bedrock row of the bill, whatever its type."""
        return sum(self.bedrock_by_line_item_type.values(), Sums())

    @property
    def everything(self) -> Sums:
        """Every row of the bill."""
        return sum(self.everything_by_line_item_type.values(), Sums())

    def as_json(self) -> dict[str, Any]:
        """A JSON form; decimals are strings."""
        return {**plain_json(asdict(self)), "directory": directory()}


def summarise(month: Month, *, restated: bool) -> MonthTruth:
    """The truth of the closed month, before or after its restatement."""
    sums = _Accumulator()
    for request in month.requests:
        sums.add_request(request.time.date().isoformat(), request)
    for charge in month.charges:
        if is_billed(charge, restated=restated):
            sums.add_charge(charge)
    return MonthTruth(
        month=month.month,
        seed=month.seed,
        coverage=Coverage(len(month.requests), **{name: sums.counts[name] for name in _COUNTS}),
        owned_by_day_and_team=_sorted(sums.owned),
        allocatable_by_day_and_team=_sorted(sums.allocatable),
        allocatable_by_evidence=dict(sorted(sums.evidence.items())),
        unallocated_by_reason=dict(sorted(sums.reasons.items())),
        billed_by_day_and_tenant=_sorted(sums.tenants),
        requests_by_evidence=dict(sorted(sums.request_evidence.items())),
        bedrock_by_line_item_type=dict(sorted(sums.bedrock.items())),
        everything_by_line_item_type=dict(sorted(sums.everything.items())),
        list_cost_of_requests=sums.list_cost,
        billed_cost_of_requests=sums.billed_cost,
    )


def is_billed(charge: Charge, *, restated: bool) -> bool:
    """Whether the closed month's bill holds `charge`."""
    return not charge.is_withdrawn_by_restatement if restated else charge.stage != "restatement"


def sums_of(charge: Charge) -> Sums:
    """The metrics of one charge where discounts are rows of their own."""
    amortized = charge.cost if charge.amortized_cost is None else charge.amortized_cost
    return Sums(charge.cost, charge.public_cost, charge.cost, amortized, amortized)


def directory() -> dict[str, Any]:
    """What AWS APIs would answer about accounts, tagged principals, inference profiles and projects."""
    principals = [p for p in PRINCIPALS if not p.sts]
    return {
        "accounts": {a.account_id: {"name": a.name, "tags": dict(a.tags)} for a in ACCOUNTS.values()},
        "principals": {
            (p.arn if p.kind in ("iam_user", "api_key_user") else p.issuer_arn): (
                {p.tag_key: p.tagged_as} if p.tagged_as is not None else {}
            )
            for p in principals
        },
        "inference_profiles": {
            p.arn: {
                "name": p.name,
                "model_id": p.model.model_id,
                "routing": p.routing,
                "tags": {p.tag_key: p.team},
            }
            for p in PROFILES
        },
        "projects": {p.arn: {"tags": {"team": p.team}} for p in PROJECTS},
    }


def discounts_by_team(month: Month, central: Mapping[str, str]) -> dict[str, Decimal]:
    """What enterprise discounts come to for each team if each goes with the usage that it discounts: of the same day, account,
    Region and usage type. Usage that no evidence names an owner for keeps its part under `unallocated`.

    `central` says which team owns the charges that have no owner for a reason. Shares are rounded at 24 places.
    """
    usage: defaultdict[tuple[str, ...], defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for request in month.requests:
        team = UNALLOCATED if request.evidence == "none" else request.team
        day, account = request.time.date().isoformat(), request.principal.account.account_id
        for sku, quantity in request.usage():
            usage[day, account, sku.region, sku.usage_type][team] += sku.billed_cost(quantity)
        for sku in guardrail_units_of(request):
            of_charge = usage[day, account, sku.region, sku.usage_type]
            of_charge[team] += sku.billed_cost(1)
            of_charge[UNALLOCATED] -= sku.billed_cost(1)
    billed = [charge for charge in month.charges if is_billed(charge, restated=False) and charge.product.is_bedrock]
    for charge in billed:
        if charge.line_item_type == "Usage":
            nobody = central.get(charge.reason, UNALLOCATED)
            usage[_place(charge)][nobody if charge.evidence == "none" else charge.team or nobody] += charge.cost
    by_team: defaultdict[str, Decimal] = defaultdict(Decimal)
    with localcontext(prec=60):
        for charge in (charge for charge in billed if charge.is_discount):
            weights = usage[_place(charge)]
            for team, cost in weights.items():
                by_team[team] += (charge.cost * cost / sum(weights.values())).quantize(Decimal("1E-24"))
    return dict(sorted(by_team.items()))


def guardrail_units_of(request: Request) -> Iterator[Sku]:
    """The usage types of the guardrail units, one of each, that the log of a blocked request counts and names an owner for.

    The company's guardrail charges name nobody: a tag of the caller, which only a bill would carry, is no evidence for them.
    """
    at_guardrail = request.principal.account is PLATFORM and request.principal.region == "us-east-1"
    if request.is_guardrail_blocked and at_guardrail and request.evidence in ("request_metadata", "session_tag"):
        for name in GUARDRAILS:
            yield other_skus()[f"{name}/us-east-1"]


def _place(charge: Charge) -> tuple[str, ...]:
    return charge.time.date().isoformat(), charge.account.account_id, charge.region, charge.usage_type


_COUNTS = ("logged", "log_records", "in_cloudtrail", "failed", "guardrail_blocked")
_ByDay = defaultdict[str, defaultdict[str, Decimal]]


def _by_day() -> _ByDay:
    return defaultdict(lambda: defaultdict(Decimal))


class _Accumulator:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.request_evidence: Counter[str] = Counter()
        self.owned = _by_day()
        self.allocatable = _by_day()
        self.tenants = _by_day()
        self.evidence: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.reasons: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.bedrock: defaultdict[str, Sums] = defaultdict(Sums)
        self.everything: defaultdict[str, Sums] = defaultdict(Sums)
        self.list_cost = Decimal(0)
        self.billed_cost = Decimal(0)

    def add_request(self, day: str, request: Request) -> None:
        self.counts["logged"] += request.is_logged
        self.counts["log_records"] += request.log_copies
        self.counts["in_cloudtrail"] += request.is_in_cloudtrail
        self.counts["failed"] += request.error_code is not None
        self.counts["guardrail_blocked"] += request.is_guardrail_blocked
        self.request_evidence[request.evidence] += 1
        cost, list_cost = request.billed_cost, request.list_cost
        self.list_cost += list_cost
        self.billed_cost += cost
        is_marketplace = request.call.model.family == "marketplace"
        self._add_row("Usage", Sums.uncommitted(cost, Decimal(0) if is_marketplace else list_cost), is_bedrock=True)
        reason = "gateway_without_metadata" if request.tenant else "principal_without_evidence"
        self._add_usage(day, request.team, request.evidence, cost, reason)
        for sku in guardrail_units_of(request):
            self._own_guardrail_unit(day, request, sku.billed_cost(1))
        if request.tenant and request.metadata:
            self.tenants[day][request.tenant.name] += cost

    def add_charge(self, charge: Charge) -> None:
        self._add_row(charge.line_item_type, sums_of(charge), charge.product.is_bedrock)
        if charge.product.is_bedrock and charge.line_item_type == "Usage":
            day = charge.time.date().isoformat()
            self._add_usage(day, charge.team or UNALLOCATED, charge.evidence, charge.cost, charge.reason)

    def _own_guardrail_unit(self, day: str, request: Request, cost: Decimal) -> None:
        """A unit of the day's guardrail charge is this request's: the log counts it, the charge names nobody."""
        for sums, before, after in (
            (self.owned[day], GUARDRAIL_TEAM, request.team),
            (self.evidence, "none", request.evidence),
            (self.allocatable[day], UNALLOCATED, request.team),
        ):
            sums[before] -= cost
            sums[after] += cost
        self.reasons[GUARDRAIL_REASON] -= cost

    def _add_row(self, line_item_type: str, sums: Sums, is_bedrock: bool) -> None:
        self.everything[line_item_type] += sums
        if is_bedrock:
            self.bedrock[line_item_type] += sums

    def _add_usage(self, day: str, team: str, evidence: str, cost: Decimal, reason: str) -> None:
        self.owned[day][team] += cost
        self.evidence[evidence] += cost
        if evidence == "none":
            self.allocatable[day][UNALLOCATED] += cost
            self.reasons[reason] += cost
        else:
            self.allocatable[day][team] += cost


def _sorted(by_day: _ByDay) -> dict[str, dict[str, Decimal]]:
    return {day: dict(sorted(by_day[day].items())) for day in sorted(by_day)}


def plain_json(value: Any) -> Any:
    """`value` with its decimals as strings."""
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    return f"{value:f}" if isinstance(value, Decimal) else value
