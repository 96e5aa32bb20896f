"""FOCUS 1.0 and 1.2 exports of AWS: what their columns mean in the fields of `report_layouts`.

FOCUS names no callers. `BilledCost` is what is invoiced, after discounts: it is both billed cost and net billed cost here, as
`EffectiveCost` is both effective metrics. Charges keep FOCUS's own categories: Usage, Purchase, Tax, Credit, Adjustment.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.sources.report_layouts import (
    Column,
    Columns,
    Mapped,
    account_id,
    mentions,
    no_currency,
    no_numbers,
    of_family,
    of_resource,
    selection,
)

REQUIRED = ("ChargePeriodStart", "SubAccountId", "ChargeCategory", "ServiceName", "BilledCost")
AMOUNTS = ("BilledCost", "EffectiveCost", "ListCost", "PricingQuantity", "ConsumedQuantity")
OPTIONAL = {
    "EffectiveCost": "effective cost is taken to be billed cost",
    "ListCost": "list cost is unknown",
    "BillingCurrency": "amounts are taken as USD",
    "RegionId": "Regions are unknown",
    "ResourceId": "inference profiles are unknown",
    "Tags": "tags are unknown",
    "ChargeDescription": "units of Marketplace rows are unknown",
    "x_ServiceCode": "Bedrock is told by the service's name alone",
    "x_Operation": "operations are unknown",
}
# Where a row may say that it is Bedrock's, or speak of it.
_TELLING = ("ServiceName", "x_ServiceCode", "x_UsageType", "SkuMeter", "ChargeDescription")
# The columns of the specification, 1.0 to 1.2, and those that AWS adds.
KNOWN = frozenset(
    """AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType BillingCurrency BillingPeriodEnd
    BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory ChargeClass ChargeDescription
    ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName
    CommitmentDiscountQuantity CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity
    ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost InvoiceId InvoiceIssuerName ListCost ListUnitPrice
    PricingCategory PricingCurrency PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost
    PricingCurrencyListUnitPrice PricingQuantity PricingUnit ProviderName PublisherName RegionId RegionName ResourceId
    ResourceName ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId
    SubAccountId SubAccountName SubAccountType Tags x_CostCategories x_Discounts x_Operation x_ServiceCode x_UsageType
    billing_period""".split()
)
_BY_LOWER = {name.lower(): name for name in KNOWN}


class FocusLayout:
    """FOCUS exports of AWS Data Exports."""

    def columns(self, columns: Sequence[Column]) -> Columns:
        # AWS's published sample writes missing values of a CSV as the word NULL.
        return Columns(columns, {c.name: _BY_LOWER.get(c.name.lower(), c.name) for c in columns}, null_text="NULL")

    def map(self, columns: Columns) -> Mapped:
        code, name = columns.text("x_ServiceCode"), columns.text("ServiceName")
        is_of_aws = of_family(code)
        billed = columns.number("BilledCost")
        effective = f"coalesce({columns.number('EffectiveCost')}, {billed})"
        text = {
            "account_id": account_id(columns.text("SubAccountId")),
            "region": columns.text("RegionId"),
            "line_item_type": columns.text("ChargeCategory"),
            "billing_entity": columns.text("InvoiceIssuerName", "PublisherName"),
            "product_code": code,
            "usage_type": columns.text("x_UsageType", "SkuMeter"),
            "operation": columns.text("x_Operation"),
            "iam_principal": "''",
            "resource_id": columns.text("ResourceId"),
            "pricing_unit": f"coalesce(nullif({columns.text('PricingUnit')}, ''), {columns.text('ConsumedUnit')})",
            "description": columns.text("ChargeDescription"),
            "product_name": name,
            "tags": columns.map_text("Tags"),
            "currency": f"upper(coalesce(nullif({columns.text('BillingCurrency')}, ''), 'USD'))",
        }
        speaks = mentions(code, text["usage_type"], text["description"])
        named = f"({name} ILIKE '%{selection().product_name_contains}%' OR {of_resource(text['resource_id'])})"
        notes = [f"no `{missing}`: {cost}" for missing, cost in OPTIONAL.items() if missing not in columns]
        if "PricingQuantity" not in columns and "ConsumedQuantity" not in columns:
            notes.append("no `PricingQuantity`: quantities are unknown")
        notes.append("FOCUS names no callers: create a CUR 2.0 export with INCLUDE_IAM_PRINCIPAL_DATA")
        return Mapped(
            started_at=columns.timestamp("ChargePeriodStart"),
            is_final=f"{columns.text('InvoiceId')} <> ''",
            quantity=f"coalesce({columns.number('PricingQuantity')}, {columns.number('ConsumedQuantity')}, 0)",
            text=text,
            costs={
                "list_cost": columns.amount("ListCost"),
                "billed_cost": billed,
                "net_billed_cost": billed,
                "effective_cost": effective,
                "net_effective_cost": effective,
            },
            broken=no_numbers(columns, AMOUNTS) | no_currency(text["currency"]),
            may_be_of_bedrock=f"({of_family(columns.raw('x_ServiceCode'))} OR {mentions(*map(columns.raw, _TELLING))} "
            f"OR {of_resource(columns.raw('ResourceId'))})",
            numbers=columns.numbers,
            is_of_aws=is_of_aws,
            is_of_others=f"NOT ({is_of_aws}) AND {named}",
            says_bedrock=named,
            is_mention=f"NOT ({is_of_aws}) AND NOT ({named}) AND {speaks}",
            speaks_of_bedrock=speaks,
            used=frozenset(columns.used),
            notes=tuple(notes),
            unknown=tuple(c.name for c in columns.all if c.name.lower() not in _BY_LOWER),
            missing=tuple(required for required in REQUIRED if required not in columns),
        )
