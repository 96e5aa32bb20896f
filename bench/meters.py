"""The meters of a generated bill: everything that rows of one usage have in common, column by column.

Callers' Bedrock usage of every row family, Bedrock's charges of the other line item types, and other services' usage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Meter = dict[str, Any]
"""Columns of the report and those of `EXTRA`. Of an amount, a meter has what it is of quantity × rate."""

# Besides columns of the report: the price of a unit, how many units a whole number stands for, and who owns a resource.
EXTRA = {"rate": "DECIMAL(9, 7)", "unit": "DECIMAL(7, 6)", "owner": "VARCHAR"}
METERS_OF_A_CALLER = 5

_PAYER, _ACCOUNTS, _CALLERS = "000123456789", 12, 300
_REGIONS = {"us-east-1": "USE1", "us-west-2": "USW2", "eu-west-1": "EU", "ap-southeast-2": "APS2"}
_TEAMS = ("search", "support", "billing", "platform", "growth", "Research", "risk", "data")


@dataclass(frozen=True, slots=True)
class _Product:
    code: str
    name: str
    unit: str
    description: str
    # Usage types with the price of a unit; `{r}` is the Region's short name.
    rates: Mapping[str, str]

    @property
    def is_marketplace(self) -> bool:
        return not self.code.startswith(("Amazon", "AWS", "aws"))


_TOKENS, _THOUSAND = "1K tokens", "${rate} per 1K tokens"
_PRODUCTS = (
    _Product(
        "AmazonBedrock",
        "Amazon Bedrock",
        _TOKENS,
        _THOUSAND,
        {
            "{r}-NovaPro-input-tokens": "0.0008",
            "{r}-NovaPro-output-tokens": "0.0032",
            "{r}-NovaPro-cache-read-input-token-count": "0.0002",
            "{r}-NovaPro-input-tokens-batch": "0.0004",
            "{r}-NovaPro-output-tokens-flex": "0.0016",
        },
    ),
    _Product(
        "4a524th30q694o538qndh9ucht",
        "Claude 3.5 Sonnet (Amazon Bedrock Edition)",
        "Units",
        "AWS Marketplace software usage|{region}|Million Input Tokens",
        {
            "{r}-MP:{r}_InputTokenCount-Units": "3",
            "{r}-MP:{r}_OutputTokenCount-Units": "15",
            "{r}-MP:{r}_CacheReadInputTokenCount-Units": "0.3",
            "{r}-MP:{r}_CacheWriteInputTokenCount-Units": "3.75",
            "{r}-MP:{r}_InputTokenCount_Batch-Units": "1.5",
        },
    ),
    _Product(
        "AmazonBedrock",
        "Amazon Bedrock",
        _TOKENS,
        _THOUSAND,
        {
            "{r}-openai.gpt-oss-120b-mantle-input-tokens-standard": "0.00015",
            "{r}-openai.gpt-oss-120b-mantle-output-tokens-standard": "0.0006",
            "{r}-openai.gpt-oss-120b-mantle-input-tokens-priority": "0.0002625",
            "{r}-Llama3-1-70B-input-tokens": "0.00072",
            "{r}-Llama3-1-70B-output-tokens": "0.00072",
        },
    ),
    _Product(
        "9g2mf4q0r1v8x6z7b3n5k1c2d",
        "Claude Sonnet 4.6 (Amazon Bedrock Edition)",
        "Units",
        "AWS Marketplace software usage|{region}|Million Input Tokens Global",
        {
            "{r}-MP:{r}_input_tokens_global_standard-Units": "3",
            "{r}-MP:{r}_output_tokens_global_standard-Units": "15",
            "{r}-MP:{r}_cache_read_tokens_global_standard-Units": "0.3",
            "{r}-MP:{r}_cache_write_tokens_1h_global_standard-Units": "6",
        },
    ),
    _Product(
        "AmazonBedrockService",
        "Amazon Bedrock Service",
        _TOKENS,
        _THOUSAND,
        {
            "{r}-Claude4Sonnet-input-tokens-cross-region-global": "0.003",
            "{r}-Claude4Sonnet-output-tokens-cross-region-global": "0.015",
            "{r}-Claude4Sonnet-cache-read-input-token-count-cross-region-global": "0.0003",
            "{r}-Claude4Sonnet-cache-write-input-token-count-cross-region-global": "0.00375",
            "{r}-Claude4Sonnet-input-tokens-long-context-cross-region-global": "0.006",
        },
    ),
    _Product(
        "AmazonBedrock",
        "Amazon Bedrock",
        "Units",
        "${rate} per unit",
        {
            "{r}-Guardrail-TopicPolicyUnitsConsumed": "0.00015",
            "{r}-Guardrail-ContentPolicyUnitsConsumed": "0.0001",
            "{r}-NovaReel-output-seconds": "0.08",
            "{r}-Moonbeam-whole-dreams": "0.01",
        },
    ),
    _Product(
        "AmazonBedrockAgentCore",
        "Amazon Bedrock AgentCore",
        "Hrs",
        "${rate} per hour",
        {"{r}-Runtime:Consumption-based:vCPU": "0.0895", "{r}-Runtime:Consumption-based:Memory": "0.00945"},
    ),
)
# A seller's product that has nothing to do with Bedrock, under the same billing entity as Bedrock's Marketplace models.
_OTHER_SELLER = _Product("2wqjxyb2k4h3c8pzq0f5v7n9d", "Log Search Enterprise", "Units", "Contract|GB", {})
_SERVICES = (
    "AmazonEC2 AmazonS3 AWSLambda AmazonDynamoDB AmazonRDS AmazonCloudWatch AWSCloudTrail AmazonVPC AWSDataTransfer "
    "AmazonECS AmazonEKS awskms AmazonSNS AWSQueueService AmazonApiGateway AmazonCloudFront AmazonRoute53 AmazonElastiCache "
    "AmazonKinesis AWSGlue AmazonAthena AmazonRedshift AmazonSageMaker AWSSecretsManager AWSSecurityHub AmazonGuardDuty"
).split()
_OPERATIONS = {
    "Requests-Tier1": "0.0000054",
    "Requests-Tier2": "0.0000004",
    "DataTransfer-Out-Bytes": "0.09",
    "DataProcessing-Bytes": "0.045",
    "BoxUsage:m7g.large": "0.0816",
    "TimedStorage-ByteHrs": "0.023",
}

# Line item types other than Usage: the sign of the cost, and whether the row carries the product's name.
_CHARGES = {
    "Tax": (1, False),
    "Credit": (-1, True),
    "Refund": (-1, True),
    "EdpDiscount": (-1, False),
    "BundledDiscount": (-1, False),
    "PrivateRateDiscount": (-1, False),
    "Fee": (1, True),
    "RIFee": (1, True),
    "DiscountedUsage": (0, True),
    "SavingsPlanCoveredUsage": (1, True),
    "SavingsPlanNegation": (-1, True),
    "SavingsPlanRecurringFee": (1, True),
    "SavingsPlanUpfrontFee": (1, True),
    "SomethingNew": (1, True),
}
# What commitments add to the amounts of their rows.
_COMMITMENTS: Mapping[str, dict[str, str]] = {
    "SavingsPlanCoveredUsage": {
        "savings_plan_savings_plan_effective_cost": "0.70",
        "savings_plan_net_savings_plan_effective_cost": "0.65",
    },
    "SavingsPlanRecurringFee": {"savings_plan_total_commitment_to_date": "2.00", "savings_plan_used_commitment": "1.25"},
    "DiscountedUsage": {"reservation_effective_cost": "0.60", "reservation_net_effective_cost": "0.55"},
    "RIFee": {
        "reservation_unused_amortized_upfront_fee_for_billing_period": "0.10",
        "reservation_net_unused_amortized_upfront_fee_for_billing_period": "0.08",
        "reservation_unused_recurring_fee": "0.20",
        "reservation_net_unused_recurring_fee": "0.15",
    },
}
AMOUNTS = (
    "line_item_unblended_cost",
    "line_item_blended_cost",
    "line_item_net_unblended_cost",
    "pricing_public_on_demand_cost",
    *(name for amounts in _COMMITMENTS.values() for name in amounts),
)


def callers() -> Iterator[Meter]:
    """`METERS_OF_A_CALLER` meters of each caller, one caller after the other."""
    for number in range(_CALLERS):
        account, (region, short) = _account(number), _region(number // 3)
        product, team = _PRODUCTS[number % len(_PRODUCTS)], _TEAMS[number % len(_TEAMS)]
        role, session = f"app-{number % 40}", f"{team.lower()}-{number:03d}@example.com"
        tags = {"iamPrincipal/team": team, "accountTag/environment": "prod" if number % 3 else "test"}
        if number % 2:
            tags["resourceTags/Team"] = team.upper()
        profile = f"arn:aws:bedrock:{region}:{account}:application-inference-profile/{_name(number, 12)}"
        rates = list(product.rates.items())
        for place in range(METERS_OF_A_CALLER):
            usage_type, rate = rates[place % len(rates)]
            yield _row(product, account, region, usage_type.format(r=short), rate) | {
                "line_item_line_item_type": "Usage",
                "line_item_operation": "InvokeModelInference" if number % 4 else "InvokeModelStreamingInference",
                "line_item_resource_id": profile if number % 3 else "",
                # One caller in ten used an endpoint that reports no principal.
                "line_item_iam_principal": f"arn:aws:sts::{account}:assumed-role/{role}/{session}" if number % 10 else None,
                "tags": tags,
                "resource_tags": {"user_team": team},
            }


def charges() -> Iterator[Meter]:
    """Bedrock's line items that are not usage, in every account: nobody called them."""
    for number in range(_ACCOUNTS):
        account, (region, short) = _account(number), _region(number)
        for product in _PRODUCTS[: len(_CHARGES)]:
            usage_type, rate = next(iter(product.rates.items()))
            for kind, (sign, is_named) in _CHARGES.items():
                meter = _row(product, account, region, usage_type.format(r=short), rate, sign)
                if not is_named:
                    del meter["product"]["product_name"]
                if kind in ("RIFee", "DiscountedUsage") or (kind == "Fee" and number % 2):
                    meter["reservation_reservation_a_r_n"] = f"arn:aws:bedrock:{region}:{account}:reserved/{_name(number, 16)}"
                if kind.startswith("SavingsPlan"):
                    meter["savings_plan_savings_plan_a_r_n"] = f"arn:aws:savingsplans::{account}:savingsplan/{_name(number, 8)}"
                yield (
                    meter
                    | _COMMITMENTS.get(kind, {})
                    | {
                        "line_item_line_item_type": kind,
                        "line_item_line_item_description": f"{kind} for {product.name if is_named else product.code}",
                        "tags": {"accountTag/environment": "prod"},
                    }
                )


def other_services() -> Iterator[Meter]:
    """What the rest of the bill is made of."""
    for number in range(_ACCOUNTS):
        account = _account(number)
        for region, short in _REGIONS.items():
            for place, code in enumerate(_SERVICES):
                product = _Product(code, code.removeprefix("Amazon").removeprefix("AWS"), "GB", "${rate} per unit", {})
                team = _TEAMS[(number + place) % len(_TEAMS)]
                for operation, rate in _OPERATIONS.items():
                    yield _row(product, account, region, f"{short}-{operation}", rate) | {
                        "line_item_line_item_type": "Usage",
                        "line_item_operation": operation.partition(":")[0],
                        "line_item_availability_zone": f"{region}{'abc'[place % 3]}",
                        "product_instance_type": operation.partition(":")[2] or None,
                        "cost_category": {"unit": team},
                        "owner": team,
                    }
            yield _row(_OTHER_SELLER, account, region, f"{short}-MP:{short}_GB-Units", "0.5") | {
                "line_item_line_item_type": "Usage",
                "owner": _TEAMS[number % len(_TEAMS)],
            }


def _row(product: _Product, account: str, region: str, usage_type: str, rate: str, sign: int = 1) -> Meter:
    """The columns that every row of a product has."""
    entries = {"product_name": product.name, "region": region}
    if not product.is_marketplace:
        entries |= {"servicename": product.name, "servicecode": product.code, "location": region}
    return {
        "bill_bill_type": "Anniversary",
        "bill_billing_entity": _entity(product, account),
        "bill_invoicing_entity": "Amazon Web Services, Inc.",
        "bill_payer_account_id": _PAYER,
        "bill_payer_account_name": "Example payer",
        "line_item_usage_account_id": account,
        "line_item_usage_account_name": f"account {account[-3:]}",
        "line_item_product_code": product.code,
        "line_item_usage_type": usage_type,
        "line_item_currency_code": "USD",
        "line_item_legal_entity": "Amazon Web Services, Inc.",
        "line_item_line_item_description": product.description.format(rate=rate, region=region),
        "line_item_unblended_rate": rate,
        "line_item_blended_rate": rate,
        "pricing_currency": "USD",
        "pricing_term": "OnDemand",
        "pricing_unit": product.unit,
        "pricing_rate_id": str(int(_name(usage_type, 9), 16)),
        "pricing_rate_code": f"{_name(usage_type, 16)}.JRTCKXETXF.6YS6EN2CT7",
        "pricing_public_on_demand_rate": None if product.is_marketplace else rate,
        "product": entries,
        "product_servicecode": None if product.is_marketplace else product.code,
        "product_region_code": None if product.is_marketplace else region,
        "product_usagetype": usage_type,
        "product_sku": _name(usage_type, 16).upper(),
        "line_item_unblended_cost": f"{sign}.00",
        "line_item_blended_cost": f"{sign}.00",
        "line_item_net_unblended_cost": "0.00" if not sign else "-1.00" if sign < 0 else "0.93",
        "pricing_public_on_demand_cost": "0.00" if product.is_marketplace or sign < 1 else "1.10",
        "rate": rate,
        # A Marketplace row counts millions of tokens, the others thousands.
        "unit": "0.000001" if product.is_marketplace else "0.001",
    }


def _entity(product: _Product, account: str) -> str:
    if product.is_marketplace:
        return "AWS Marketplace"
    # AISPL, AWS's seller in India, bills whole accounts; here, what is enough to tell its Bedrock from its other services.
    return "AISPL" if account == _account(7) and ("Bedrock" in product.code or product.code == "AmazonEC2") else "AWS"


def _account(number: int) -> str:
    return f"{111_000_000_000 + number % _ACCOUNTS * 1_000_001:012d}"


def _region(number: int) -> tuple[str, str]:
    return list(_REGIONS.items())[number % len(_REGIONS)]


def _name(value: object, digits: int) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:digits]
