"""The columns of AWS's FOCUS exports: 43 of FOCUS 1.0 and five of AWS, 57 of FOCUS 1.2 and three of AWS."""

from __future__ import annotations

from typing import Literal

from truth.data_files import ColumnType

Version = Literal["1.0", "1.2"]

_OF_1_0 = """
    AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart
    ChargeCategory ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart
    CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus CommitmentDiscountType
    ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost InvoiceIssuerName ListCost ListUnitPrice
    PricingCategory PricingQuantity PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName
    ResourceType ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags
"""
_NEW_IN_1_2 = """
    BillingAccountType CapacityReservationId CapacityReservationStatus CommitmentDiscountQuantity CommitmentDiscountUnit
    InvoiceId PricingCurrency PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice
    ServiceSubcategory SkuMeter SkuPriceDetails SubAccountType
"""
_OF_AWS: dict[Version, str] = {
    "1.0": "x_CostCategories x_Discounts x_Operation x_ServiceCode x_UsageType",
    "1.2": "x_Discounts x_Operation x_ServiceCode",
}
_TYPES: dict[str, ColumnType] = {
    **dict.fromkeys(
        """
        BilledCost CommitmentDiscountQuantity ConsumedQuantity ContractedCost ContractedUnitPrice EffectiveCost ListCost
        ListUnitPrice PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice
        PricingQuantity
        """.split(),
        "double",
    ),
    **dict.fromkeys(("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"), "timestamp"),
    **dict.fromkeys(("SkuPriceDetails", "Tags", "x_CostCategories"), "map"),
    "x_Discounts": "map_of_doubles",
}


def _columns(version: Version, *names: str) -> dict[str, ColumnType]:
    ordered = [*sorted(" ".join(names).split()), *_OF_AWS[version].split()]
    return {name: _TYPES.get(name, "string") for name in ordered}


COLUMNS: dict[Version, dict[str, ColumnType]] = {
    "1.0": _columns("1.0", _OF_1_0),
    "1.2": _columns("1.2", _OF_1_0, _NEW_IN_1_2),
}
"""Column name to type, in the order of the export."""
