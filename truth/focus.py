"""FOCUS 1.0 and 1.2 exports of a month as AWS Data Exports writes them.

The line items are those of the cost report, told in FOCUS's way:

- A negotiated discount is no row: it lowers `BilledCost` of the usage it is given on, and `x_Discounts` names it. One without
  such usage is an Adjustment. `BilledCost` therefore sums to the invoice per day, as the unblended cost of all rows does.
- Usage under a commitment has a `BilledCost` of zero and the amortized cost as `EffectiveCost`: the negation is taken into
  it. The fee is a Purchase with an `EffectiveCost` of zero; what of it is unused is a usage row of its own.
- Usage has its cost at the public price as `ListCost`, which is zero on Marketplace rows; every other row has its `BilledCost`.
- Callers are unknown, so usage of several is one row unless tags tell it apart.

`DeliveryTruth` has charge categories for line item types. Its sums hold `BilledCost` as unblended and net unblended cost,
`ListCost` as public on-demand cost, and `EffectiveCost` as amortized and net amortized cost.

CSV differs by version on purpose: 1.0 writes `NULL` and `2024-10-01 00:00:00` as a published sample does, 1.2 empty cells and
`2024-10-01T00:00:00.000Z` as other exports do. Unconfirmed, and chosen here: 1.0 spells tags as the `resource_tags` of CUR 2.0
(`user_team`) and has no others; 1.2 spells them as its `tags` (`resourceTags/team`, `iamPrincipal/team`, `accountTag/team`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from truth.bill import BilledItem, Reported, delivery_truth
from truth.catalogue import REGION_LOCATION
from truth.charges import product_of
from truth.company import Month, Refresh
from truth.data_files import Columns, ColumnType, Row, csv_text, parquet, plain_amount
from truth.delivery import DataExport, Delivery, Format, Mode, Refreshed
from truth.focus_columns import COLUMNS, Version
from truth.line_items import Granularity, LineItem, folded, is_discount, is_usage, merged, rows_of, snake
from truth.objects import compress, iso_milliseconds
from truth.summary import Sums

_COVERED = ("SavingsPlanCoveredUsage", "DiscountedUsage")
_FEES = ("SavingsPlanRecurringFee", "RIFee", "SavingsPlanUpfrontFee")
_CATEGORY: Mapping[str, str] = {
    **dict.fromkeys(("Usage", "SavingsPlanNegation", *_COVERED), "Usage"),
    **dict.fromkeys(("Fee", *_FEES), "Purchase"),
    "Tax": "Tax",
    "Credit": "Credit",
}
"""Charge category by line item type; a refund, a discount on nothing and a type nobody knows are Adjustments."""
_FREQUENCY: Mapping[str, str] = {"Usage": "Usage-Based", "Purchase": "Recurring"}
_SUMMABLE = {
    "BilledCost",
    "ConsumedQuantity",
    "ContractedCost",
    "EffectiveCost",
    "ListCost",
    "PricingCurrencyEffectiveCost",
    "PricingQuantity",
    "x_Discounts",
}
_REGION_NAME: Mapping[str, str] = {
    **REGION_LOCATION,
    "us-west-2": "US West (Oregon)",
    "ap-south-1": "Asia Pacific (Mumbai)",
    "ap-northeast-1": "Asia Pacific (Tokyo)",
}
_ZERO = Decimal(0)


def deliveries(
    month: Month,
    *,
    bucket: str,
    prefix: str,
    export: str,
    version: Version = "1.2",
    mode: Mode = "create_new",
    format: Format = "parquet",
    granularity: Granularity = "daily",
    restated: bool = False,
) -> list[Delivery]:
    """The month's refreshes, oldest first; `restated` adds the one a month after close."""
    layout = DataExport(
        month=month, bucket=bucket, prefix=prefix, name=export, mode=mode, format=format, partition="billing_period"
    )

    def refreshed(refresh: Refresh) -> Refreshed:
        items = charges_of(month, refresh, version, granularity)
        truth = delivery_truth(month, refresh, items, _reported)
        write = parquet if format == "parquet" else partial(_gzip_csv, _CELL[version])
        return Refreshed(COLUMNS[version], [row for row, _ in items], write, truth)

    return layout.deliveries(refreshed, restated=restated)


def charges_of(month: Month, refresh: Refresh, version: Version, granularity: Granularity = "daily") -> list[LineItem]:
    """The rows of one refresh, each with whether it is Bedrock's."""
    names = _service_names(month)
    items = rows_of(month, refresh, granularity)
    found: list[LineItem] = []
    for row, is_bedrock, discounts in folded(items, is_discount, is_usage):
        row["x_discounts"] = discounts
        found.append((row, is_bedrock))
    rows: list[LineItem] = []
    for row, is_bedrock, negations in folded(found, _is_negation, _is_covered):
        charge = _charge(row, sum(negations.values(), _ZERO), names)
        rows.append((charge, is_bedrock))
        unused = _unused(row)
        if unused:
            rows.append((_unused_charge(charge, unused), is_bedrock))
    columns = COLUMNS[version].keys()
    said = [({name: row[name] for name in row.keys() & columns} | _tags(row, version), flag) for row, flag in rows]
    return merged(said, _SUMMABLE)


def _reported(item: BilledItem) -> Reported:
    """How FOCUS shows a billed item, from the definitions of its columns."""
    kind, cost = item.line_item_type, item.sums.unblended_cost
    if item.lowers_usage:
        return [("Usage", _sums(cost, _ZERO, cost))]
    category = _CATEGORY.get(kind, "Adjustment")
    if kind in _FEES:
        unused = item.sums.amortized_cost
        return [(category, _sums(cost, cost, _ZERO)), *([("Usage", _sums(_ZERO, _ZERO, unused))] if unused else [])]
    if category == "Usage":
        return [(category, _sums(cost, item.sums.public_on_demand_cost, item.sums.amortized_cost))]
    return [(category, _sums(cost, cost, cost))]


def _sums(billed: Decimal, listed: Decimal, effective: Decimal) -> Sums:
    return Sums(billed, listed, billed, effective, effective)


# Rows


def _charge(row: Row, negated: Decimal, names: Mapping[str, str]) -> Row:
    """One row with the columns of both versions; `_tags` adds those that are spelled differently."""
    kind, cost = row["line_item_line_item_type"], row["line_item_unblended_cost"]
    category = _CATEGORY.get(kind, "Adjustment")
    discounts: dict[str, Decimal] = row["x_discounts"]
    billed = cost + negated + sum(discounts.values(), _ZERO)
    effective = _effective_cost(row, billed)
    list_price, price = _price(row.get("pricing_public_on_demand_rate")), _price(row.get("line_item_unblended_rate"))
    usage = category == "Usage"
    is_one_time = kind == "Fee" or category not in _FREQUENCY
    return {
        "BilledCost": billed,
        "EffectiveCost": effective,
        "ListCost": row["pricing_public_on_demand_cost"] if usage else billed,
        "ContractedCost": cost if usage else billed,
        "ListUnitPrice": list_price,
        "ContractedUnitPrice": price,
        "PricingCurrency": row["line_item_currency_code"],
        "PricingCurrencyEffectiveCost": effective,
        "PricingCurrencyListUnitPrice": list_price,
        "PricingCurrencyContractedUnitPrice": price,
        "x_Discounts": {snake(name): amount for name, amount in discounts.items()} or None,
        "ChargeCategory": category,
        "ChargeClass": "Correction" if row["bill_bill_type"] == "Refund" else None,
        "ChargeFrequency": "One-Time" if is_one_time else _FREQUENCY[category],
        "ChargeDescription": row["line_item_line_item_description"],
        "ChargePeriodStart": row["line_item_usage_start_date"],
        "ChargePeriodEnd": row["line_item_usage_end_date"],
        "ConsumedQuantity": row["line_item_usage_amount"] if usage else None,
        "ConsumedUnit": row.get("pricing_unit") if usage else None,
        "PricingQuantity": row["line_item_usage_amount"] if usage else _ZERO,
        "PricingUnit": row.get("pricing_unit"),
        "PricingCategory": _pricing_category(kind, usage),
        **_billing(row),
        **_commitment(row),
        **_service(row, names),
        **_resource(row),
        "tags": row["tags"],
        "resource_tags": row["resource_tags"],
    }


def _is_negation(row: Row) -> bool:
    return bool(row["line_item_line_item_type"] == "SavingsPlanNegation")


def _is_covered(row: Row) -> bool:
    return bool(row["line_item_line_item_type"] == "SavingsPlanCoveredUsage")


def _pricing_category(kind: str, usage: bool) -> str:
    if kind in _COVERED:
        return "Committed"
    return "Standard" if usage else "Other"


def _effective_cost(row: Row, billed: Decimal) -> Decimal:
    kind = row["line_item_line_item_type"]
    if kind == "SavingsPlanCoveredUsage":
        return Decimal(row["savings_plan_savings_plan_effective_cost"])
    if kind == "DiscountedUsage":
        return Decimal(row["reservation_effective_cost"])
    return _ZERO if kind in _FEES or kind == "SavingsPlanNegation" else billed


def _unused(row: Row) -> Decimal:
    """What of a fee's commitment covered nothing."""
    match row["line_item_line_item_type"]:
        case "SavingsPlanRecurringFee":
            return Decimal(row["savings_plan_total_commitment_to_date"]) - Decimal(row["savings_plan_used_commitment"])
        case "RIFee":
            upfront = Decimal(row["reservation_unused_amortized_upfront_fee_for_billing_period"])
            return Decimal(row["reservation_unused_recurring_fee"]) + upfront
        case _:
            return _ZERO


def _unused_charge(fee: Row, unused: Decimal) -> Row:
    return fee | {
        "BilledCost": _ZERO,
        "EffectiveCost": unused,
        "PricingCurrencyEffectiveCost": unused,
        "ListCost": _ZERO,
        "ContractedCost": _ZERO,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "CommitmentDiscountStatus": "Unused",
        "PricingCategory": "Committed",
    }


def _billing(row: Row) -> Row:
    return {
        "BillingAccountId": row["bill_payer_account_id"],
        "BillingAccountName": row["bill_payer_account_name"],
        "BillingAccountType": "AWS Account",
        "BillingCurrency": row["line_item_currency_code"],
        "BillingPeriodStart": row["bill_billing_period_start_date"],
        "BillingPeriodEnd": row["bill_billing_period_end_date"],
        "InvoiceId": row["bill_invoice_id"] or None,
        "InvoiceIssuerName": row["bill_invoicing_entity"],
        "SubAccountId": row["line_item_usage_account_id"],
        "SubAccountName": row["line_item_usage_account_name"],
        "SubAccountType": "AWS Account",
    }


def _commitment(row: Row) -> Row:
    kind = row["line_item_line_item_type"]
    plan, reservation = row.get("savings_plan_savings_plan_a_r_n"), row.get("reservation_reservation_a_r_n")
    if not plan and not reservation:
        return {}
    return {
        "CommitmentDiscountId": plan or reservation,
        "CommitmentDiscountCategory": "Spend" if plan else "Usage",
        "CommitmentDiscountType": "Savings Plan" if plan else "Reserved",
        "CommitmentDiscountStatus": "Used" if kind in _COVERED else None,
    }


def _service(row: Row, names: Mapping[str, str]) -> Row:
    code = row["line_item_product_code"]
    is_bedrock = "Bedrock" in names[code]
    product = row["product"]
    details = {f"x_{name}": product[name] for name in ("model", "provider", "inferencetype") if name in product}
    return {
        "ProviderName": "AWS",
        "PublisherName": row["line_item_legal_entity"],
        "ServiceName": names[code],
        "ServiceCategory": "AI and Machine Learning" if is_bedrock else "Other",
        "ServiceSubcategory": "Generative AI" if is_bedrock else "Other (Other)",
        "SkuId": row["product_sku"] or None,
        "SkuPriceId": row.get("pricing_rate_id"),
        "SkuMeter": row["line_item_usage_type"] or None,
        "SkuPriceDetails": details or None,
        "x_Operation": row["line_item_operation"] or None,
        "x_ServiceCode": row["product_servicecode"],
        "x_UsageType": row["line_item_usage_type"] or None,
    }


def _resource(row: Row) -> Row:
    region, resource = row["product_region_code"], row["line_item_resource_id"]
    return {
        "RegionId": region or None,
        "RegionName": _REGION_NAME.get(region),
        "ResourceId": resource or None,
        "ResourceType": resource.rpartition(":")[2].partition("/")[0] if resource.startswith("arn:") else None,
    }


def _tags(row: Row, version: Version) -> Row:
    return {"Tags": (row["resource_tags"] if version == "1.0" else row["tags"]) or None}


def _service_names(month: Month) -> dict[str, str]:
    """The name of each product code: FOCUS names the service of every row, also where CUR has no product name."""
    products = [charge.product for charge in month.charges]
    products += {product_of(meter.call.model) for _, meter in month.usage}
    return {product.code: product.name for product in products if product.name}


def _price(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


# Files


def _gzip_csv(cell: Callable[[Any, ColumnType], str], columns: Columns, rows: Sequence[Row]) -> bytes:
    return compress(csv_text(columns, rows, cell))


def _cell_of_sample(value: Any, kind: ColumnType) -> str:
    if value is None:
        return "NULL"
    if kind == "timestamp":
        time: datetime = value
        return f"{time:%Y-%m-%d %H:%M:%S}"
    return _text(value, kind, separators=(", ", ": "))


def _cell_of_export(value: Any, kind: ColumnType) -> str:
    if value is None:
        return ""
    return iso_milliseconds(value) if kind == "timestamp" else _text(value, kind, separators=(",", ":"))


def _text(value: Any, kind: ColumnType, separators: tuple[str, str]) -> str:
    match kind:
        case "double":
            return plain_amount(value)
        case "map":
            return json.dumps(value, separators=separators, sort_keys=True)
        case "map_of_doubles":
            entries = (f"{json.dumps(key)}{separators[1]}{plain_amount(amount)}" for key, amount in sorted(value.items()))
            return "{" + separators[0].join(entries) + "}"
        case _:
            return str(value)


_CELL: Mapping[Version, Callable[[Any, ColumnType], str]] = {"1.0": _cell_of_sample, "1.2": _cell_of_export}
