"""Charges that no single request caused.

Batch jobs, mantle runs without data events, provisioned throughput, guardrails, an unknown usage type, other
services, and what a bill adds at close: discounts, tax, a credit, and a month later a refund. All amounts are exact;
discounts and tax are rounded once, here.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from truth.catalogue import MODELS, Kind, Model, Routing, Sku, Tier, other_skus, sku_of
from truth.meters import Meter, bill_tags
from truth.objects import hex_of, random_of
from truth.organisation import (
    ACCOUNTS,
    CALLS,
    DATA,
    PAYER,
    PLATFORM,
    PRINCIPALS,
    RESEARCH,
    Account,
    Call,
    Evidence,
    Principal,
)

EDP_RATE = Decimal("0.05")
TAX_RATE: Mapping[str, tuple[str, Decimal]] = {
    PLATFORM.account_id: ("USSalesTax", Decimal("0.0625")),
    DATA.account_id: ("VAT", Decimal("0.20")),
    RESEARCH.account_id: ("USSalesTax", Decimal("0.0625")),
}
CREDIT = Decimal("-250.00")
REFUND = Decimal("-37.41")
GUARDRAILS = ("guardrail-content", "guardrail-topic")
GUARDRAIL_TEAM, GUARDRAIL_REASON = "platform", "guardrail"

_EDP_QUANTUM = Decimal("0.000000001")
_CENT = Decimal("0.01")
_DAY = timedelta(days=1)

Stage = Literal["usage", "close", "restatement"]
"""When the bill first shows a charge: with its usage, when the month closes, or in the late restatement."""


@dataclass(frozen=True, slots=True)
class Product:
    """What the bill says a charge is for."""

    code: str
    name: str
    service_code: str
    """`product_servicecode`; blank on Marketplace rows."""
    is_bedrock: bool
    seller: str = ""
    """The seller of record where it is neither AWS nor, for Bedrock models, Anthropic."""

    @property
    def is_marketplace(self) -> bool:
        """Whether `bill_billing_entity` is AWS Marketplace."""
        return self.service_code == ""


def product_of(model: Model) -> Product:
    """The product under which `model` is billed."""
    service_code = "" if model.family == "marketplace" else model.product_code
    return Product(model.product_code, model.product_name, service_code, is_bedrock=True)


_BEDROCK = Product("AmazonBedrock", "Amazon Bedrock", "AmazonBedrock", is_bedrock=True)
_AGENTCORE = Product("AmazonBedrockAgentCore", "Amazon Bedrock AgentCore", "AmazonBedrockAgentCore", is_bedrock=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One row of the bill that does not come from metered requests.

    `cost` is unblended; `public_cost` is at the public price (`pricing_public_on_demand_cost`). `reason` says why a
    usage charge without evidence stays unallocated; shared charges (discounts, tax, credits) have no owner at all.
    """

    time: datetime
    end: datetime | None = None
    """Set for charges with an interval of their own; others take the interval of the report."""
    account: Account
    region: str
    product: Product
    usage_type: str
    operation: str = ""
    description: str
    pricing_unit: str = ""
    quantity: Decimal
    rate: Decimal | None = None
    public_rate: Decimal | None = None
    cost: Decimal
    public_cost: Decimal = Decimal(0)
    amortized_cost: Decimal | None = None
    """Set where a commitment makes it another amount than `cost`."""
    commitment: Mapping[str, Decimal | str] = field(default_factory=dict)
    """`savings_plan_*` and `reservation_*` columns by their CUR 2.0 name."""
    line_item_type: str = "Usage"
    bill_type: str = "Anniversary"
    tax_type: str = ""
    principal: Principal | None = None
    resource_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    resource_tags: Mapping[str, str] = field(default_factory=dict)
    sku: Sku | None = None
    team: str | None = None
    evidence: Evidence = "none"
    reason: str = ""
    stage: Stage = "usage"
    is_withdrawn_by_restatement: bool = False

    @property
    def is_discount(self) -> bool:
        """Whether the charge only lowers what other rows of the bill say."""
        return self.line_item_type.endswith("Discount")


def charges_of_month(
    start: datetime, end: datetime, seed: int, usage: Mapping[tuple[datetime, Meter], int]
) -> Iterator[Charge]:
    """All charges of the month in an order of their own."""
    rng = random_of(seed, f"{start:%Y-%m}", "charges")
    days = [start + _DAY * number for number in range((end - start) // _DAY)]
    charges = [
        *_batch_jobs(days, rng),
        *_mantle_runs(days, rng),
        *_provisioned_throughput(days),
        *_platform_features(days, rng),
        *_unknown_usage(days, rng),
        *_other_services(days, rng),
    ]
    yield from charges
    discounts = list(_enterprise_discounts(charges, usage))
    yield from discounts
    yield from _taxes(start, end, charges + discounts, usage)
    yield _credit(start, end)
    yield _refund(start + 8 * _DAY)


def _principal(name: str) -> Principal:
    return next(principal for principal in PRINCIPALS if principal.name == name)


def _metered(
    time: datetime,
    sku: Sku,
    quantity: int,
    account: Account,
    product: Product,
    *,
    operation: str,
    principal: Principal | None = None,
    call: Call | None = None,
    resource_id: str = "",
    team: str | None = None,
    evidence: Evidence = "none",
    reason: str = "",
    is_withdrawn: bool = False,
) -> Charge:
    account_team = dict(account.tags).get("team")
    if evidence == "none" and account_team is not None:
        team, evidence, reason = account_team, "account", ""
    return Charge(
        time=time,
        account=account,
        region=sku.region,
        product=product,
        usage_type=sku.usage_type,
        operation=operation,
        description=sku.description,
        pricing_unit=sku.pricing_unit,
        quantity=sku.usage_amount(quantity),
        rate=sku.billed_price,
        public_rate=None if product.is_marketplace else sku.list_price,
        cost=sku.billed_cost(quantity),
        public_cost=Decimal(0) if product.is_marketplace else sku.list_cost(quantity),
        principal=principal,
        resource_id=resource_id,
        tags=bill_tags(account, principal, call),
        resource_tags={"user_team": call.project.team} if call and call.project else {},
        sku=sku,
        team=team,
        evidence=evidence,
        reason=reason,
        is_withdrawn_by_restatement=is_withdrawn,
    )


def _batch_jobs(days: list[datetime], rng: random.Random) -> Iterator[Charge]:
    jobs: tuple[tuple[str, Routing, Account, str, tuple[int, ...], int, int], ...] = (
        # model, routing, account, principal, days, million input tokens, million output tokens
        ("nova-pro", "regional", PLATFORM, "search-ranker", (2, 9, 16, 23), 300, 40),
        ("nova-lite", "regional", DATA, "etl-node", (5, 19), 700, 90),
        ("claude-sonnet-4-6", "global", DATA, "", (11, 25), 45, 6),
    )
    for key, routing, account, name, numbers, millions_in, millions_out in jobs:
        principal = _principal(name) if name else None
        for number in numbers:
            counts: tuple[tuple[Kind, int], ...] = (("input", millions_in), ("output", millions_out))
            for kind, millions in counts:
                yield _metered(
                    days[number] + timedelta(hours=3),
                    sku_of(MODELS[key], "us-east-1", kind, routing, "batch"),
                    millions * 1_000_000 + rng.randrange(1_000_000),
                    account,
                    product_of(MODELS[key]),
                    operation="CreateModelInvocationJob",
                    principal=principal,
                    team=principal.team if principal else "data",
                    evidence="principal_tag" if principal else "none",
                    reason="" if principal else "batch_without_principal",
                )


def _mantle_runs(days: list[datetime], rng: random.Random) -> Iterator[Charge]:
    call = CALLS["gpt-oss-project"]
    tier: Tier = "priority"
    counts: tuple[tuple[Kind, int, int], ...] = (("input", 40_000_000, 30_000_000), ("output", 7_000_000, 6_000_000))
    for day in days:
        for kind, least, spread in counts:
            yield _metered(
                day + timedelta(hours=1),
                sku_of(call.model, "us-east-1", kind, "regional", tier),
                least + rng.randrange(spread),
                DATA,
                product_of(call.model),
                operation="InvokeModelInference",
                principal=_principal("mantle-batcher"),
                call=call,
                resource_id=call.resource_id(DATA, "us-east-1"),
                team="data",
                evidence="project_tag",
            )


def _provisioned_throughput(days: list[datetime]) -> Iterator[Charge]:
    sku = other_skus()["provisioned/us-east-1"]
    model_arn = f"arn:aws:bedrock:us-east-1:{PLATFORM.account_id}:provisioned-model/{hex_of('provisioned', digits=12)}"
    for number in (5, 6, 7, 8, 15):
        for hour in range(8, 16):
            yield _metered(
                days[number] + timedelta(hours=hour),
                sku,
                1,
                PLATFORM,
                _BEDROCK,
                operation="ProvisionedThroughput",
                resource_id=model_arn,
                team="search",
                reason="provisioned_throughput",
                # The restated month says that the last unit was released an hour earlier.
                is_withdrawn=(number, hour) == (15, 15),
            )


def _platform_features(days: list[datetime], rng: random.Random) -> Iterator[Charge]:
    skus = other_skus()
    features = (
        (GUARDRAILS[0], PLATFORM, _BEDROCK, "ApplyGuardrail", 20_000, 40_000, GUARDRAIL_REASON),
        (GUARDRAILS[1], PLATFORM, _BEDROCK, "ApplyGuardrail", 10_000, 20_000, GUARDRAIL_REASON),
        ("agentcore-runtime", RESEARCH, _AGENTCORE, "InvokeAgentRuntime", 20, 30, ""),
        ("agentcore-runtime", PLATFORM, _AGENTCORE, "InvokeAgentRuntime", 5, 20, "agentcore"),
    )
    for day in days:
        for name, account, product, operation, least, spread, reason in features:
            yield _metered(
                day + timedelta(hours=12),
                skus[f"{name}/us-east-1"],
                least + rng.randrange(spread),
                account,
                product,
                operation=operation,
                team=GUARDRAIL_TEAM,
                reason=reason,
            )


def _unknown_usage(days: list[datetime], rng: random.Random) -> Iterator[Charge]:
    rate = Decimal("0.0125")
    for number in (3, 4, 17, 18, 20):
        quantity = Decimal(40 + rng.randrange(200))
        yield Charge(
            time=days[number] + timedelta(hours=5),
            account=PLATFORM,
            region="us-east-1",
            product=_BEDROCK,
            usage_type="USE1-ModelConductor-orchestration-steps",
            operation="InvokeModelInference",
            description="$0.0125 per orchestration step",
            pricing_unit="Steps",
            quantity=quantity,
            rate=rate,
            public_rate=rate,
            cost=rate * quantity,
            public_cost=rate * quantity,
            tags=bill_tags(PLATFORM, None, None),
            team="platform",
            reason="unknown_usage_type",
        )


def _other_services(days: list[datetime], rng: random.Random) -> Iterator[Charge]:
    red_hat = Product("2wqkpek696qhdeo7lbbjncqli", "Red Hat Enterprise Linux", "", is_bedrock=False)
    services = (
        # product, usage type, operation, unit, rate, least, spread, resource
        ("AmazonS3", "Amazon Simple Storage Service", "TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", "0.023"),
        ("AmazonEC2", "Amazon Elastic Compute Cloud", "BoxUsage:m7g.xlarge", "RunInstances", "Hrs", "0.1632"),
        ("AWSLambda", "AWS Lambda", "Lambda-GB-Second-ARM", "Invoke", "Lambda-GB-Second", "0.0000133334"),
        ("", "", "SoftwareUsage:RHEL", "RunInstances", "Hrs", "0.0480"),
    )
    amounts = {"AmazonS3": (200, 400), "AmazonEC2": (48, 49), "AWSLambda": (40_000, 250_000), "": (24, 25)}
    for day in days:
        for account in ACCOUNTS.values():
            for code, name, usage_type, operation, unit, price in services:
                product = Product(code, name, code, is_bedrock=False) if code else red_hat
                quantity = Decimal(rng.randrange(*amounts[code]))
                rate = Decimal(price)
                yield Charge(
                    time=day + timedelta(hours=2),
                    account=account,
                    region="us-east-1",
                    product=product,
                    usage_type=usage_type if code != "AmazonEC2" else f"USE1-{usage_type}",
                    operation=operation,
                    description=f"${price} per {unit}",
                    pricing_unit=unit,
                    quantity=quantity,
                    rate=rate,
                    public_rate=None if product.is_marketplace else rate,
                    cost=rate * quantity,
                    public_cost=Decimal(0) if product.is_marketplace else rate * quantity,
                    resource_id="" if product.is_marketplace else f"{code}-{hex_of(account.account_id, code)}",
                    tags=bill_tags(account, None, None) | {"resourceTags/team": "platform"},
                    resource_tags={"user_team": "platform"},
                )


_DiscountKey = tuple[datetime, str, str, str, str]


def _enterprise_discounts(charges: list[Charge], usage: Mapping[tuple[datetime, Meter], int]) -> Iterator[Charge]:
    """A discount row per day, account, Region and usage type of what AWS itself sells."""
    bases: defaultdict[_DiscountKey, Decimal] = defaultdict(Decimal)
    products: dict[str, Product] = {}
    for charge in charges:
        if not charge.product.is_marketplace:
            day = charge.time.replace(hour=0)
            products[charge.product.code] = charge.product
            bases[day, charge.account.account_id, charge.region, charge.product.code, charge.usage_type] += charge.cost
    for (hour, meter), quantity in usage.items():
        product = product_of(meter.sku.model) if meter.sku.model else _BEDROCK
        if not product.is_marketplace:
            products[product.code] = product
            account_id = meter.principal.account.account_id
            sku = meter.sku
            bases[hour.replace(hour=0), account_id, sku.region, product.code, sku.usage_type] += sku.billed_cost(quantity)
    for key in sorted(bases):
        day, account_id, region, product_code, usage_type = key
        cost = -(bases[key] * EDP_RATE).quantize(_EDP_QUANTUM)
        if cost:
            yield Charge(
                time=day,
                end=day + _DAY,
                account=ACCOUNTS[account_id],
                region=region,
                product=products[product_code],
                usage_type=usage_type,
                description=f"Enterprise Program Discount for {usage_type}",
                quantity=Decimal(1),
                cost=cost,
                line_item_type="EdpDiscount",
                stage="close",
            )


def _taxes(
    start: datetime, end: datetime, charges: list[Charge], usage: Mapping[tuple[datetime, Meter], int]
) -> Iterator[Charge]:
    """One tax row per account and product for the month."""
    bases: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    products: dict[str, Product] = {}
    for charge in charges:
        products[charge.product.code] = charge.product
        bases[charge.account.account_id, charge.product.code] += charge.cost
    for (_, meter), quantity in usage.items():
        product = product_of(meter.sku.model) if meter.sku.model else _BEDROCK
        products[product.code] = product
        bases[meter.principal.account.account_id, product.code] += meter.sku.billed_cost(quantity)
    for account_id, product_code in sorted(bases):
        tax_type, rate = TAX_RATE[account_id]
        product = products[product_code]
        cost = (bases[account_id, product_code] * rate).quantize(_CENT)
        if cost:
            yield Charge(
                time=start,
                end=end,
                account=ACCOUNTS[account_id],
                region="",
                product=product,
                usage_type="",
                description=f"Tax of type {tax_type} for product code {product_code}",
                quantity=Decimal(1),
                cost=cost,
                line_item_type="Tax",
                tax_type=tax_type,
                stage="close",
            )


def _credit(start: datetime, end: datetime) -> Charge:
    return Charge(
        time=start,
        end=end,
        account=PAYER,
        region="us-east-1",
        product=_BEDROCK,
        usage_type="USE1-NovaPro-input-tokens",
        description="Promotional credit: generative AI migration programme",
        quantity=Decimal(0),
        cost=CREDIT,
        line_item_type="Credit",
        stage="close",
    )


def _refund(day: datetime) -> Charge:
    model = MODELS["claude-sonnet-4-6"]
    return Charge(
        time=day,
        end=day + _DAY,
        account=PLATFORM,
        region="us-east-1",
        product=product_of(model),
        usage_type=sku_of(model, "us-east-1", "output", "global", "standard").usage_type,
        description="Refund for elevated error rates",
        quantity=Decimal(0),
        cost=REFUND,
        line_item_type="Refund",
        bill_type="Refund",
        stage="restatement",
    )
