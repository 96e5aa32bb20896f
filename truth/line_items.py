"""The line items of one refresh, under the column names of CUR 2.0.

Every report kind is another view of the same line items. A line item is one meter, or one charge, in one interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal

from truth.bill import is_in
from truth.charges import Charge, Product, product_of
from truth.company import Month, Refresh
from truth.data_files import Row
from truth.meters import Meter, bill_tags
from truth.objects import hex_of, iso_seconds
from truth.organisation import PAYER, Account

Granularity = Literal["daily", "hourly"]
Discounts = Literal["rows", "columns"]
"""Whether discounts are line items of their own, or columns of the usage they lower (with Discount Automation)."""

LineItem = tuple[Row, bool]
"""A row and whether it is Bedrock's."""

SUMMABLE = frozenset(
    {
        "line_item_usage_amount",
        "line_item_unblended_cost",
        "line_item_blended_cost",
        "pricing_public_on_demand_cost",
    }
)

_INTERVAL: Mapping[Granularity, timedelta] = {"daily": timedelta(days=1), "hourly": timedelta(hours=1)}
_SHARE_QUANTUM = Decimal("1E-10")


def rows_of(
    month: Month,
    refresh: Refresh,
    granularity: Granularity = "daily",
    *,
    discounts: Discounts = "rows",
    principals_since: datetime | None = None,
) -> list[LineItem]:
    """The line items of one refresh in the order of a report.

    Usage before `principals_since` has neither a principal nor principal tags, as before AWS began to record them.
    """
    items = [*_usage_rows(month, refresh, granularity), *_charge_rows(month, refresh, granularity)]
    if principals_since is not None:
        items = merged([(_without_principal(row, principals_since), flag) for row, flag in items], SUMMABLE)
    if discounts == "columns":
        items = _with_discount_columns(items)
    items.sort(key=lambda item: _sort_key(item[0]))
    return items


def number(items: Iterable[LineItem], *parts: object, column: str = "identity_line_item_id") -> None:
    """Give each item an id that holds in this refresh alone."""
    for position, (row, _) in enumerate(items):
        row[column] = hex_of(*parts, position, digits=52)


def merged(items: Iterable[LineItem], summable: Collection[str]) -> list[LineItem]:
    """Items that differ in nothing but `summable` columns become one, as in a report that does not tell them apart."""
    found: dict[tuple[Any, ...], LineItem] = {}
    for row, is_bedrock in items:
        identity = tuple(sorted((name, _hashable(value)) for name, value in row.items() if name not in summable))
        if identity not in found:
            found[identity] = (dict(row), is_bedrock)
            continue
        known = found[identity][0]
        for name in summable & row.keys():
            known[name] = _sum(known.get(name), row[name])
    return list(found.values())


def folded(
    items: Iterable[LineItem], lowers: Callable[[Row], bool], is_lowered: Callable[[Row], bool]
) -> list[tuple[Row, bool, dict[str, Decimal]]]:
    """Items with the rows that only lower others taken into those others: the amounts, by line item type.

    A row lowers the rows of its own interval, account, Region, product and usage type, in proportion to their cost. One
    without such rows stays as it is.
    """
    lowering: defaultdict[tuple[Any, ...], list[LineItem]] = defaultdict(list)
    kept: list[tuple[Row, bool, dict[str, Decimal]]] = []
    targets: defaultdict[tuple[Any, ...], list[tuple[Row, dict[str, Decimal]]]] = defaultdict(list)
    for row, is_bedrock in items:
        if lowers(row):
            lowering[_use_of(row)].append((row, is_bedrock))
            continue
        amounts: dict[str, Decimal] = {}
        kept.append((row, is_bedrock, amounts))
        if is_lowered(row) and row["line_item_unblended_cost"]:
            targets[_use_of(row)].append((row, amounts))
    for use, rows in lowering.items():
        for row, is_bedrock in rows:
            if use in targets:
                _spread(row["line_item_line_item_type"], row["line_item_unblended_cost"], targets[use])
            else:
                kept.append((row, is_bedrock, {}))
    return kept


def is_discount(row: Row) -> bool:
    """Whether a row only lowers what others say."""
    kind: str = row["line_item_line_item_type"]
    return kind.endswith("Discount")


def is_usage(row: Row) -> bool:
    """Whether a row is usage under no commitment."""
    return bool(row["line_item_line_item_type"] == "Usage")


def _with_discount_columns(items: Sequence[LineItem]) -> list[LineItem]:
    found: list[LineItem] = []
    for row, is_bedrock, amounts in folded(items, is_discount, is_usage):
        cost = row["line_item_unblended_cost"]
        total = sum(amounts.values(), Decimal(0))
        row["line_item_net_unblended_cost"] = cost + total
        if amounts:
            row["discount_total_discount"] = total
            row["discount"] = {snake(kind): f"{amount:f}" for kind, amount in amounts.items()}
        if "savings_plan_savings_plan_effective_cost" in row:
            row["savings_plan_net_savings_plan_effective_cost"] = row["savings_plan_savings_plan_effective_cost"]
        if "reservation_effective_cost" in row:
            row["reservation_net_effective_cost"] = row["reservation_effective_cost"]
        found.append((row, is_bedrock))
    return found


def snake(line_item_type: str) -> str:
    """A line item type as the key of a map: `edp_discount`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in line_item_type).lstrip("_")


def _spread(kind: str, amount: Decimal, targets: Sequence[tuple[Row, dict[str, Decimal]]]) -> None:
    costs = [row["line_item_unblended_cost"] for row, _ in targets]
    total = sum(costs, Decimal(0))
    shares = [(amount * cost / total).quantize(_SHARE_QUANTUM, ROUND_DOWN) for cost in costs]
    shares[costs.index(max(costs))] += amount - sum(shares, Decimal(0))
    for (_, amounts), share in zip(targets, shares, strict=True):
        if share:
            amounts[kind] = amounts.get(kind, Decimal(0)) + share


def _use_of(row: Row) -> tuple[Any, ...]:
    start: datetime = row["line_item_usage_start_date"]
    return (
        start.date(),
        row["line_item_usage_account_id"],
        row["product_region_code"],
        row["line_item_product_code"],
        row["line_item_usage_type"],
    )


def _without_principal(row: Row, since: datetime) -> Row:
    if row["line_item_usage_start_date"] >= since:
        return row
    tags = {key: value for key, value in row["tags"].items() if not key.startswith("iamPrincipal/")}
    return row | {"line_item_iam_principal": None, "tags": tags}


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


def _sum(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    if isinstance(left, dict):
        return {key: left.get(key, Decimal(0)) + right.get(key, Decimal(0)) for key in left.keys() | right.keys()}
    return left + right


def _usage_rows(month: Month, refresh: Refresh, granularity: Granularity) -> Iterator[tuple[Row, bool]]:
    quantities: defaultdict[tuple[datetime, Meter], int] = defaultdict(int)
    for (hour, meter), quantity in month.usage.items():
        if hour < refresh.data_until:
            quantities[_interval_start(hour, granularity), meter] += quantity
    for (start, meter), quantity in quantities.items():
        sku, principal, call = meter.sku, meter.principal, meter.call
        product = product_of(call.model)
        row = _common(month, refresh, principal.account, product, "Anniversary", start, start + _INTERVAL[granularity])
        resource_tags: dict[str, str] = {}
        if call.profile:
            resource_tags["user_team"] = call.profile.team
        if call.project:
            resource_tags["user_team"] = call.project.team
        row |= {
            "line_item_line_item_type": "Usage",
            "line_item_usage_type": sku.usage_type,
            "line_item_operation": meter.operation,
            "line_item_resource_id": meter.resource_id,
            "line_item_iam_principal": principal.arn,
            "line_item_line_item_description": sku.description,
            "line_item_usage_amount": sku.usage_amount(quantity),
            "line_item_unblended_cost": sku.billed_cost(quantity),
            "line_item_blended_cost": sku.billed_cost(quantity),
            "line_item_unblended_rate": _plain(sku.billed_price),
            "line_item_blended_rate": _plain(sku.billed_price),
            "tags": bill_tags(principal.account, principal, call),
            "resource_tags": resource_tags,
        }
        row |= _pricing(product, sku.pricing_unit, sku.list_price, sku.list_cost(quantity), sku.usage_type)
        row |= _product(product, sku.region, sku.usage_type, meter.operation)
        if not product.is_marketplace:
            row["product"] |= {
                "model": call.model.display_name,
                "provider": call.model.provider,
                "inferencetype": sku.inference_type,
            }
        yield row, True


def _charge_rows(month: Month, refresh: Refresh, granularity: Granularity) -> Iterator[tuple[Row, bool]]:
    found: dict[tuple[Any, ...], Row] = {}
    for charge in month.charges:
        if not is_in(charge, refresh):
            continue
        start = charge.time if charge.end else _interval_start(charge.time, granularity)
        end = charge.end or start + _INTERVAL[granularity]
        row = _charge_row(month, refresh, charge, start, end)
        identity = (
            start,
            charge.account,
            charge.line_item_type,
            charge.product.code,
            charge.usage_type,
            charge.operation,
            charge.principal,
            charge.resource_id,
        )
        if identity in found:
            for column in SUMMABLE & row.keys():
                found[identity][column] += row[column]
        else:
            found[identity] = row
    bedrock_codes = {charge.product.code for charge in month.charges if charge.product.is_bedrock}
    for row in found.values():
        yield row, row["line_item_product_code"] in bedrock_codes


def _charge_row(month: Month, refresh: Refresh, charge: Charge, start: datetime, end: datetime) -> Row:
    row = _common(month, refresh, charge.account, charge.product, charge.bill_type, start, end)
    row |= {
        "line_item_line_item_type": charge.line_item_type,
        "line_item_usage_type": charge.usage_type,
        "line_item_operation": charge.operation,
        "line_item_resource_id": charge.resource_id,
        "line_item_iam_principal": charge.principal.arn if charge.principal else None,
        "line_item_line_item_description": charge.description,
        "line_item_tax_type": charge.tax_type,
        "line_item_usage_amount": charge.quantity,
        "line_item_unblended_cost": charge.cost,
        "tags": dict(charge.tags),
        "resource_tags": dict(charge.resource_tags),
        **charge.commitment,
    }
    row |= _product(charge.product, charge.region, charge.usage_type, charge.operation)
    if charge.rate is None:
        row["pricing_public_on_demand_cost"] = Decimal(0)
        return row
    row["line_item_blended_cost"] = charge.cost
    row["line_item_unblended_rate"] = _plain(charge.rate)
    row["line_item_blended_rate"] = _plain(charge.rate)
    list_price = charge.public_rate or charge.rate
    return row | _pricing(charge.product, charge.pricing_unit, list_price, charge.public_cost, charge.usage_type)


def _common(
    month: Month,
    refresh: Refresh,
    account: Account,
    product: Product,
    bill_type: str,
    start: datetime,
    end: datetime,
) -> Row:
    invoice = hex_of(month.seed, month.month, account.invoicing_entity, product.is_marketplace, bill_type, digits=9)
    return {
        "bill_bill_type": bill_type,
        "bill_billing_entity": "AWS Marketplace" if product.is_marketplace else account.billing_entity,
        "bill_billing_period_start_date": month.start,
        "bill_billing_period_end_date": month.end,
        "bill_invoice_id": str(int(invoice, 16)) if refresh.is_closed else "",
        "bill_invoicing_entity": account.invoicing_entity,
        "bill_payer_account_id": PAYER.account_id,
        "bill_payer_account_name": PAYER.name,
        "identity_time_interval": f"{iso_seconds(start)}/{iso_seconds(end)}",
        "line_item_usage_account_id": account.account_id,
        "line_item_usage_account_name": account.name,
        "line_item_usage_start_date": start,
        "line_item_usage_end_date": end,
        "line_item_product_code": product.code,
        "line_item_currency_code": "USD",
        "line_item_legal_entity": product.seller
        or ("Anthropic, PBC" if product.is_marketplace and product.is_bedrock else account.invoicing_entity),
        "line_item_tax_type": "",
    }


def _pricing(product: Product, unit: str, list_price: Decimal, list_cost: Decimal, usage_type: str) -> Row:
    # Marketplace rows carry no public price: cost 0, rate empty.
    return {
        "pricing_currency": "USD",
        "pricing_term": "OnDemand",
        "pricing_unit": unit,
        "pricing_rate_id": str(int(hex_of("rate", usage_type, digits=9), 16)),
        "pricing_public_on_demand_cost": Decimal(0) if product.is_marketplace else list_cost,
        "pricing_public_on_demand_rate": "" if product.is_marketplace else _plain(list_price),
    }


def _product(product: Product, region: str, usage_type: str, operation: str) -> Row:
    entries = {"product_name": product.name, "region": region, "servicename": product.name}
    if product.is_marketplace:
        entries.pop("servicename")
    return {
        "product": {key: value for key, value in entries.items() if value},
        "product_servicecode": product.service_code,
        "product_region_code": region,
        "product_product_family": "" if product.is_marketplace or not product.is_bedrock else "Amazon Bedrock",
        "product_usagetype": usage_type,
        "product_operation": operation,
        "product_sku": "" if product.is_marketplace else hex_of("sku", usage_type, digits=16).upper(),
    }


def _interval_start(hour: datetime, granularity: Granularity) -> datetime:
    return hour.replace(hour=0) if granularity == "daily" else hour


def _sort_key(row: Row) -> tuple[str, ...]:
    columns = (
        "line_item_usage_account_id",
        "line_item_product_code",
        "line_item_usage_type",
        "line_item_line_item_type",
        "line_item_operation",
        "line_item_iam_principal",
        "line_item_resource_id",
        "identity_time_interval",
    )
    return tuple(row[column] or "" for column in columns)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
