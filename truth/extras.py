"""Rare rows of a bill, for a month built with `extras`: families, features and line item types beyond the usual month.

What is known of real bills sets the names, units and prices. Three things no public bill shows are here so that a reader
meets them before a customer does: a Savings Plan that covers Bedrock usage, a line item type that nobody has documented, and
a Marketplace tax and discount that carry a product code without a product name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from truth.catalogue import MODELS, sku_of
from truth.charges import Charge, Product, product_of
from truth.meters import bill_tags
from truth.objects import hex_of, random_of
from truth.organisation import CALLS, DATA, PAYER, PLATFORM, PRINCIPALS, RESEARCH, Account, Principal

INDIA = Account(
    "907713468025",
    "meridian-india",
    (("environment", "production"),),
    "Amazon Web Services India Private Limited",
    (),
    billing_entity="AISPL",
)
"""Billed by AWS's Indian seller; it calls no model that the month's requests are drawn from."""

_DAY = timedelta(days=1)
_CENT = Decimal("0.01")

_BEDROCK = Product("AmazonBedrock", "Amazon Bedrock", "AmazonBedrock", is_bedrock=True)
_SERVICE = Product("AmazonBedrockService", "Amazon Bedrock Service", "AmazonBedrockService", is_bedrock=True)
_MODELS = Product(
    "AmazonBedrockFoundationModels",
    "Claude Sonnet 4.6 (Amazon Bedrock Edition)",
    "AmazonBedrockFoundationModels",
    is_bedrock=True,
)
_AGENTCORE = Product("AmazonBedrockAgentCore", "Amazon Bedrock AgentCore", "AmazonBedrockAgentCore", is_bedrock=True)
_AGENTCORE_TRANSFER = Product("AmazonBedrockAgentCore", "Amazon Bedrock AgentCore", "AWSDataTransfer", is_bedrock=True)
_SONNET_3_5, _SONNET_4_6 = product_of(MODELS["claude-3-5-sonnet"]), product_of(MODELS["claude-sonnet-4-6"])
_COHERE = Product("q7e1zr5t9hvn0w3ksu6pbx2df", "Cohere Rerank 3.5 (Amazon Bedrock Edition)", "", True, "Cohere, Inc.")
_STABILITY = Product("d4m8vy2f6gjc1a9twl5qrx7hk", "Stable Image Ultra (Amazon Bedrock Edition)", "", True, "Stability AI Ltd")
_LAMBDA = Product("AWSLambda", "AWS Lambda", "AWSLambda", is_bedrock=False)
_RDS = Product("AmazonRDS", "Amazon Relational Database Service", "AmazonRDS", is_bedrock=False)
_PLANS = Product("ComputeSavingsPlans", "Savings Plans for AWS Compute usage", "ComputeSavingsPlans", is_bedrock=False)
_ML_PLANS = Product(
    "MachineLearningSavingsPlans", "Savings Plans for AWS Machine Learning", "MachineLearningSavingsPlans", is_bedrock=False
)


@dataclass(frozen=True, slots=True)
class _Feature:
    """One usage type on some days: what the bill calls it, its unit and price, and how much of it is used in a day."""

    product: Product
    usage_type: str
    operation: str
    unit: str
    price: str
    amount: str
    words: str = ""
    region: str = "us-east-1"
    account: Account = PLATFORM
    resource_id: str = ""


_FEATURES = (
    # One model under its three generations of usage types; the third is in every month.
    _Feature(_BEDROCK, "USE1-Claude4.6Sonnet-input-tokens", "InvokeModelInference", "1K tokens", "0.0033", "812.345"),
    _Feature(_SONNET_4_6, "USE1-MP:USE1_input_tokens_standard-Units", "InvokeModelInference", "1M tokens", "3.30", "1.204"),
    _Feature(_MODELS, "USE1-MP:USE1_OutputTokenCount_Global-Units", "InvokeModelInference", "1M tokens", "15.00", "0.731"),
    _Feature(
        _SERVICE,
        "USE1-Claude4Sonnet-cache-read-input-token-count-long-context-cross-region-global",
        "InvokeModelInference",
        "1K tokens",
        "0.0006",
        "5120.5",
    ),
    # The row of a real Marketplace bill: no caller, no public price, the unit in the description alone.
    _Feature(
        _SONNET_3_5,
        "USW2-MP:USW2_InputTokenCount-Units",
        "Usage",
        "Units",
        "3.00",
        "0.02645",
        "Million Input Tokens",
        "us-west-2",
        RESEARCH,
        "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0",
    ),
    _Feature(
        _BEDROCK, "USE1-Claude3-5Haiku-input-tokens-latency-optimized", "InvokeModelInference", "1K tokens", "0.001", "95.2"
    ),
    _Feature(_SONNET_4_6, "APN1-MP:APN1_MillionBatchInputTokens-Units", "Usage", "Units", "1.65", "4.5", "", "ap-northeast-1"),
    _Feature(_BEDROCK, "USE1-TitanTextG1-Lite-input-tokens", "InvokeModelInference", "1K tokens", "0.00015", "0.008"),
    # Capacity bought by the hour.
    _Feature(
        _BEDROCK,
        "USE1-TitanImageGeneratorG1-ProvisionedThroughput-NoCommit-ModelUnits",
        "ProvisionedThroughput",
        "hour",
        "16.20",
        "4",
        resource_id=f"arn:aws:bedrock:us-east-1:{PLATFORM.account_id}:provisioned-model/{hex_of('titan-image', digits=12)}",
    ),
    _Feature(
        _SONNET_3_5,
        "USE1-MP:USE1_ProvisionedThroughput_1MonthCommit_ModelUnits_Usage-Units",
        "ProvisionedThroughput",
        "Units",
        "39.60",
        "24",
        "Hour(s) of 1 Month Commit Model Units",
    ),
    _Feature(
        _SONNET_4_6,
        "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units",
        "ReservedTier",
        "1M TPM Hour",
        "0.198",
        "48",
        account=DATA,
    ),
    _Feature(
        _SONNET_4_6,
        "USE1-MP:USE1_Reserved_3Month_OutputTPM_Global-Units",
        "ReservedTier",
        "1M TPM Hour",
        "0.81",
        "24",
        account=DATA,
    ),
    # Images, video and speech: `output-seconds` are no tokens, `output-image-token-count` are.
    _Feature(_BEDROCK, "USE1-NovaReel-output-seconds", "InvokeModelInference", "Second", "0.08", "36"),
    _Feature(_BEDROCK, "USE1-NovaReel-HDResolution-output-seconds", "InvokeModelInference", "Second", "0.12", "12"),
    _Feature(_BEDROCK, "USW2-Ray-V2-Medfps-HDRes", "InvokeModelInference", "Seconds", "1.5", "5", region="us-west-2"),
    _Feature(_BEDROCK, "USE1-Nova2.0Omni-output-image-token-count", "InvokeModelInference", "1K tokens", "0.04", "12.4"),
    _Feature(_BEDROCK, "USE1-NovaSonic-speech-input-tokens", "InvokeModelInference", "1K tokens", "0.0034", "310.75"),
    _Feature(_STABILITY, "USW2-MP:USW2_created_image-Units", "Usage", "Units", "0.14", "9", "Created Image", "us-west-2"),
    _Feature(_COHERE, "USE1-MP:USE1_search_units-Units", "Usage", "Units", "0.002", "1400", "Search Units"),
    _Feature(_BEDROCK, "USE1-cohere.rerank-english-v3-search-units", "Rerank", "search units", "0.002", "650"),
    # Models of one's own.
    _Feature(
        _BEDROCK, "USE1-Llama3-1-70B-customization-training", "CreateModelCustomizationJob", "1K tokens", "0.00799", "4000"
    ),
    _Feature(_BEDROCK, "USE1-NovaPro-customization-storage", "CustomModelStorage", "month", "1.95", "0.032"),
    _Feature(_BEDROCK, "USE1-NovaPro-cache-write-input-token-count-custom-model", "InvokeModel", "1K tokens", "0.0008", "70.5"),
    _Feature(_BEDROCK, "USE1-CustomModelImport-Inference-v1.0", "InvokeModel", "Custom Model Unit minutes", "0.05718", "45"),
    # Features beside the models.
    _Feature(
        _BEDROCK, "USE1-Guardrail-AutomatedReasoningPolicyUnitsConsumed", "ApplyGuardrail", "1K text units", "0.17", "40.2"
    ),
    _Feature(_BEDROCK, "USE1-BedrockFlows-NodeTransitions", "InvokeFlow", "1K node transitions", "0.035", "12"),
    _Feature(_BEDROCK, "USE1-DataAutomation-Documents-Standard", "InvokeDataAutomation", "page", "0.010", "220"),
    _Feature(_BEDROCK, "USE1-GenerateSQL-Queries", "GenerateQuery", "1K queries", "2.00", "0.35"),
    _Feature(_BEDROCK, "USE1-OptimizePrompt-Tokens", "OptimizePrompt", "1K tokens", "0.030", "18.2"),
    _Feature(_BEDROCK, "USE1-Nova-Grounding", "Converse", "1K requests", "30.00", "0.12"),
    _Feature(_AGENTCORE, "USE1-Consumption-based:BrowserTool:Memory", "BrowserTool", "GB-Hours", "0.00945", "64.5"),
    _Feature(_AGENTCORE, "USE1-Gateway-API-Invocations", "Gateway", "1K invocations", "0.005", "310"),
    _Feature(_AGENTCORE, "USE1-Long-Term-Memory-Storage", "Memory", "1K records", "0.75", "1.6"),
    _Feature(_AGENTCORE_TRANSFER, "USE1-DataTransfer-Out-Bytes", "InvokeAgentRuntime", "GB", "0.09", "3.25"),
    _Feature(
        _BEDROCK, "APS3-NovaPro-input-tokens", "InvokeModelInference", "1K tokens", "0.00096", "950.5", "", "ap-south-1", INDIA
    ),
    _Feature(
        _BEDROCK, "APS3-NovaPro-output-tokens", "InvokeModelInference", "1K tokens", "0.00384", "88.25", "", "ap-south-1", INDIA
    ),
)
_FEATURE_DAYS = (2, 12, 22)

_MENTIONS = (
    # Rows of other services that speak of Bedrock without being it.
    _Feature(
        Product("AmazonCloudWatch", "AmazonCloudWatch", "AmazonCloudWatch", is_bedrock=False),
        "USE1-VendedLog-Bytes",
        "PutLogEvents",
        "GB",
        "0.50",
        "6.4",
        "of Amazon Bedrock model invocation logs",
    ),
    _Feature(
        Product("AmazonS3", "Amazon Simple Storage Service", "AmazonS3", is_bedrock=False),
        "TimedStorage-ByteHrs",
        "StandardStorage",
        "GB-Mo",
        "0.023",
        "11.5",
        resource_id="meridian-bedrock-invocation-logs",
    ),
    _Feature(
        Product("AmazonES", "Amazon OpenSearch Service", "AmazonES", is_bedrock=False),
        "USE1-SearchOCU",
        "ESDomain",
        "OCU-Hours",
        "0.24",
        "48",
        "for a knowledge base of Amazon Bedrock",
    ),
    _Feature(
        Product("AWSSupportBusiness", "AWS Support (Business)", "AWSSupportBusiness", is_bedrock=False),
        "Dollar",
        "",
        "Dollar",
        "0.07",
        "310",
        "of Amazon Bedrock spend",
        region="",
    ),
)


def extra_charges(start: datetime, end: datetime, seed: int) -> Iterator[Charge]:
    """The rare rows of a month, in an order of their own."""
    rng = random_of(seed, f"{start:%Y-%m}", "extras")
    for feature in (*_FEATURES, *_MENTIONS):
        for number in _FEATURE_DAYS:
            # A few per cent more or less, so that seeds differ.
            yield _feature_charge(start + number * _DAY + timedelta(hours=6), feature, Decimal(100 + rng.randrange(20)) / 100)
    yield from _mantle_without_a_caller(start)
    yield from _commitments(start, end)
    yield from _fees(start, end)
    yield from _discounts(start, end)
    yield from _taxes_and_credits(start, end)


def _feature_charge(time: datetime, feature: _Feature, factor: Decimal) -> Charge:
    product, price, amount = feature.product, Decimal(feature.price), Decimal(feature.amount)
    # The quantity of the row that a real bill shows stays as published.
    quantity = amount if feature.usage_type == "USW2-MP:USW2_InputTokenCount-Units" else amount * factor
    cost = price * quantity
    if product.is_marketplace:
        unit = feature.words or feature.usage_type.rpartition("_")[2].partition("-")[0]
        description = f"AWS Marketplace software usage|{feature.region}|{unit}"
    else:
        description = f"${feature.price} per {feature.unit} {feature.words or f'for {feature.usage_type}'}"
    return Charge(
        time=time,
        account=feature.account,
        region=feature.region,
        product=product,
        usage_type=feature.usage_type,
        operation=feature.operation,
        description=description,
        pricing_unit=feature.unit,
        quantity=quantity,
        rate=price,
        public_rate=None if product.is_marketplace else price,
        cost=cost,
        public_cost=Decimal(0) if product.is_marketplace else cost,
        resource_id=feature.resource_id,
        tags=bill_tags(feature.account, None, None),
        team="platform",
        reason="rare_row",
    )


def _mantle_without_a_caller(start: datetime) -> Iterator[Charge]:
    """Mantle usage of one role: the bill names no caller in the first half of the month and the role in the second."""
    call = CALLS["gpt-oss-flex"]
    role = next(principal for principal in PRINCIPALS if principal.name == "mantle-drafts")
    sku = sku_of(call.model, "eu-west-1", "input", "regional", "priority")
    for number in (4, 9, 16, 21):
        principal: Principal | None = role if number > 14 else None
        quantity = 3_000_000 + 1_000 * number
        yield Charge(
            time=start + number * _DAY + timedelta(hours=2),
            account=PLATFORM,
            region="eu-west-1",
            product=product_of(call.model),
            usage_type=sku.usage_type,
            operation="InvokeModelInference",
            description=sku.description,
            pricing_unit=sku.pricing_unit,
            quantity=sku.usage_amount(quantity),
            rate=sku.billed_price,
            public_rate=sku.list_price,
            cost=sku.billed_cost(quantity),
            public_cost=sku.list_cost(quantity),
            principal=principal,
            tags=bill_tags(PLATFORM, principal, None),
            sku=sku,
            team="support",
            evidence="principal_tag" if principal else "none",
            reason="" if principal else "mantle_without_principal",
        )


def _commitments(start: datetime, end: datetime) -> Iterator[Charge]:
    """Savings Plans that cover Lambda and Bedrock usage, and a reserved database; each pair of rows nets to zero."""
    yield from _savings_plan(
        start, end, _PLANS, _LAMBDA, "USE1-Lambda-Provisioned-GB-Second", "Lambda-GB-Second", "0.12", "0.10"
    )
    yield from _savings_plan(
        start, end, _ML_PLANS, _BEDROCK, "USE1-Llama3-1-405B-input-tokens", "1K tokens", "0.00532", "0.00399"
    )
    arn = f"arn:aws:rds:us-east-1:{PLATFORM.account_id}:ri:ri-{hex_of('reserved', digits=8)}"
    for number in range((end - start) // _DAY):
        effective = Decimal("0.117") * 24
        yield _committed(
            start + number * _DAY,
            _RDS,
            "DiscountedUsage",
            "USE1-InstanceUsage:db.r7g.large",
            quantity=Decimal(24),
            cost=Decimal(0),
            rate=Decimal(0),
            public_cost=Decimal("0.239") * 24,
            amortized_cost=effective,
            commitment={"reservation_reservation_a_r_n": arn, "reservation_effective_cost": effective},
        )
    hours = 24 * ((end - start) // _DAY)
    unused = Decimal("0.117") * 2 * hours - Decimal("0.117") * hours
    yield _committed(
        start,
        _RDS,
        "RIFee",
        "USE1-HeavyUsage:db.r7g.large",
        end=end,
        quantity=Decimal(2 * hours),
        cost=Decimal("0.117") * 2 * hours,
        rate=Decimal("0.117"),
        amortized_cost=unused,
        commitment={
            "reservation_reservation_a_r_n": arn,
            "reservation_unused_recurring_fee": unused,
            "reservation_unused_amortized_upfront_fee_for_billing_period": Decimal(0),
        },
    )


def _savings_plan(
    start: datetime, end: datetime, plan: Product, covered: Product, usage_type: str, unit: str, price: str, plan_price: str
) -> Iterator[Charge]:
    """Usage at its on-demand cost, the negation of that cost, and the fee: all but a tenth of the commitment is used."""
    arn = f"arn:aws:savingsplans::{PAYER.account_id}:savingsplan/{hex_of(plan.code, digits=32)}"
    terms: Mapping[str, Decimal | str] = {
        "savings_plan_savings_plan_a_r_n": arn,
        "savings_plan_offering_type": plan.code,
        "savings_plan_payment_option": "No Upfront",
        "savings_plan_purchase_term": "1yr",
        "savings_plan_start_time": "2025-07-01T00:00:00.000Z",
        "savings_plan_end_time": "2026-07-01T00:00:00.000Z",
    }
    used = Decimal(0)
    days = (end - start) // _DAY
    for number in range(days):
        quantity = Decimal(120 + number)
        cost, effective = Decimal(price) * quantity, Decimal(plan_price) * quantity
        used += effective
        at = start + number * _DAY
        yield _committed(
            at,
            covered,
            "SavingsPlanCoveredUsage",
            usage_type,
            unit=unit,
            quantity=quantity,
            cost=cost,
            rate=Decimal(price),
            public_cost=cost,
            amortized_cost=effective,
            commitment={
                **terms,
                "savings_plan_savings_plan_rate": Decimal(plan_price),
                "savings_plan_savings_plan_effective_cost": effective,
            },
        )
        yield _committed(
            at,
            covered,
            "SavingsPlanNegation",
            usage_type,
            quantity=quantity,
            cost=-cost,
            amortized_cost=Decimal(0),
            commitment=terms,
        )
    total = (used / 9 * 10).quantize(_CENT)
    yield _committed(
        start,
        plan,
        "SavingsPlanRecurringFee",
        f"{plan.code}:1yrNoUpfront",
        end=end,
        quantity=Decimal(24 * days),
        cost=total,
        amortized_cost=total - used,
        commitment={
            **terms,
            "savings_plan_total_commitment_to_date": total,
            "savings_plan_used_commitment": used,
            "savings_plan_recurring_commitment_for_billing_period": total,
        },
    )


def _committed(
    time: datetime,
    product: Product,
    line_item_type: str,
    usage_type: str,
    *,
    quantity: Decimal,
    cost: Decimal,
    amortized_cost: Decimal,
    commitment: Mapping[str, Decimal | str],
    unit: str = "Hrs",
    rate: Decimal | None = None,
    public_cost: Decimal = Decimal(0),
    end: datetime | None = None,
) -> Charge:
    return Charge(
        time=time,
        end=end or time + _DAY,
        account=PLATFORM,
        region="us-east-1",
        product=product,
        usage_type=usage_type,
        operation="Invoke" if product.is_bedrock else "",
        description=f"{line_item_type} of {usage_type}",
        pricing_unit=unit,
        quantity=quantity,
        rate=rate,
        cost=cost,
        public_cost=public_cost,
        amortized_cost=amortized_cost,
        commitment=commitment,
        line_item_type=line_item_type,
        team="platform",
    )


def _fees(start: datetime, end: datetime) -> Iterator[Charge]:
    """A Marketplace contract for a model, and a type of line item that no document names."""
    yield _shared(
        start + 3 * _DAY,
        _SONNET_4_6,
        "Fee",
        Decimal("1200.00"),
        "AWS Marketplace contract: annual commitment for Claude Sonnet 4.6",
        usage_type="Global-SoftwareUsage-Contracts",
        bill_type="Purchase",
        end=end,
    )
    yield _shared(
        start + 10 * _DAY,
        _BEDROCK,
        "CommitmentTrueUp",
        Decimal("18.75"),
        "True-up of a model commitment",
        usage_type="USE1-ModelCommitment-TrueUp",
    )


def _discounts(start: datetime, end: datetime) -> Iterator[Charge]:
    """Each type of discount row: most on usage of their own day, one on nothing that the bill shows."""
    at = start + _FEATURE_DAYS[0] * _DAY
    on_usage = (
        ("BundledDiscount", _BEDROCK, "USE1-Guardrail-AutomatedReasoningPolicyUnitsConsumed", "us-east-1", "1.25"),
        ("PrivateRateDiscount", _BEDROCK, "USE1-NovaReel-output-seconds", "us-east-1", "0.288"),
        ("SppDiscount", _BEDROCK, "USE1-Claude4.6Sonnet-input-tokens", "us-east-1", "0.1340369"),
        # The code of a Marketplace product and no name of it.
        ("Discount", _nameless(_SONNET_4_6), "USE1-MP:USE1_input_tokens_standard-Units", "us-east-1", "0.19866"),
    )
    for kind, product, usage_type, region, amount in on_usage:
        yield _shared(at, product, kind, -Decimal(amount), f"{kind} for {usage_type}", usage_type=usage_type, region=region)
    yield _shared(start, _BEDROCK, "SppDiscount", Decimal("-12.40"), "Solution provider programme discount", end=end)


def _taxes_and_credits(start: datetime, end: datetime) -> Iterator[Charge]:
    """A Marketplace tax without a product name, India's tax, a credit on a Marketplace model and a refund at close."""
    nameless = _nameless(_COHERE)
    yield _shared(start, nameless, "Tax", Decimal("0.63"), "Tax of type USSalesTax", end=end, tax_type="USSalesTax", region="")
    yield _shared(
        start, _BEDROCK, "Tax", Decimal("0.71"), "Tax of type IGST", end=end, tax_type="IGST", account=INDIA, region=""
    )
    yield _shared(
        start,
        _SONNET_3_5,
        "Credit",
        Decimal("-5.00"),
        "AWS Activate credit",
        end=end,
        usage_type="USE1-MP:USE1_InputTokenCount-Units",
    )
    yield _shared(
        start + 5 * _DAY,
        _BEDROCK,
        "Refund",
        Decimal("-3.3333333"),
        "Refund of provisioned throughput",
        usage_type="USE1-TitanImageGeneratorG1-ProvisionedThroughput-NoCommit-ModelUnits",
        bill_type="Refund",
    )


def _nameless(product: Product) -> Product:
    return Product(product.code, "", product.service_code, product.is_bedrock, product.seller)


def _shared(
    time: datetime,
    product: Product,
    line_item_type: str,
    cost: Decimal,
    description: str,
    *,
    usage_type: str = "",
    region: str = "us-east-1",
    account: Account = PLATFORM,
    bill_type: str = "Anniversary",
    tax_type: str = "",
    end: datetime | None = None,
) -> Charge:
    """A row that no usage of the company's own stands behind; the bill shows it when the month closes."""
    return Charge(
        time=time,
        end=end or time + _DAY,
        account=account,
        region=region,
        product=product,
        usage_type=usage_type,
        description=description,
        quantity=Decimal(1),
        cost=cost,
        line_item_type=line_item_type,
        bill_type=bill_type,
        tax_type=tax_type,
        stage="close",
    )
