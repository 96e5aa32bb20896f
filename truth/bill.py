"""What the bill of one refresh amounts to, from the month itself: the truth that every report kind is held against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from truth.charges import Charge, product_of
from truth.company import Month, Refresh
from truth.data_files import Row
from truth.summary import Sums, plain_json, sums_of


@dataclass(frozen=True, slots=True)
class BilledItem:
    """One meter's hour or one charge of the bill, with the metrics of a report whose discounts are rows of their own."""

    day: date
    """Of its start; tax and credits of a month start on its first day."""
    line_item_type: str
    is_bedrock: bool
    sums: Sums
    lowers_usage: bool = False
    """A discount on usage that the same day of the same account and usage type shows."""


@dataclass(frozen=True, slots=True)
class DeliveryTruth:
    """Exact sums over the rows of one delivery."""

    rows: int
    bedrock_rows: int
    bedrock_by_line_item_type: dict[str, Sums]
    """In a FOCUS export by charge category, and with its metrics: see `truth.focus`."""
    everything_by_line_item_type: dict[str, Sums]
    bedrock_by_day: dict[str, Sums]
    """By usage start date; tax and credits of a month start on its first day."""

    @property
    def bedrock(self) -> Sums:
        """Every Bedrock row, whatever its line item type."""
        return sum(self.bedrock_by_line_item_type.values(), Sums())

    @property
    def everything(self) -> Sums:
        """Every row."""
        return sum(self.everything_by_line_item_type.values(), Sums())

    def as_json(self) -> dict[str, Any]:
        """A JSON form; decimals are strings."""
        return {**plain_json(asdict(self)), "bedrock": plain_json(asdict(self.bedrock))}


Reported = Iterable[tuple[str, Sums]]
"""How one billed item shows in a report: under which type, with which metrics."""


def is_in(charge: Charge, refresh: Refresh) -> bool:
    """Whether `refresh` shows `charge`."""
    if charge.is_withdrawn_by_restatement and refresh.is_restated:
        return False
    if charge.stage == "restatement":
        return refresh.is_restated
    return refresh.is_closed if charge.stage == "close" else charge.time < refresh.data_until


def billed_items(month: Month, refresh: Refresh) -> Iterator[BilledItem]:
    """Everything that `refresh` bills, before any report groups it into rows."""
    used: set[tuple[object, ...]] = set()
    for (hour, meter), quantity in month.usage.items():
        if hour < refresh.data_until:
            product, account = product_of(meter.call.model), meter.principal.account
            used.add((hour.date(), account.account_id, meter.sku.region, product.code, meter.sku.usage_type))
            public_cost = 0 * meter.sku.list_price if product.is_marketplace else meter.sku.list_cost(quantity)
            yield BilledItem(hour.date(), "Usage", True, Sums.uncommitted(meter.sku.billed_cost(quantity), public_cost))
    charges = [charge for charge in month.charges if is_in(charge, refresh)]
    used |= {_use_of(charge) for charge in charges if charge.line_item_type == "Usage"}
    for charge in charges:
        yield BilledItem(
            day=charge.time.date(),
            line_item_type=charge.line_item_type,
            is_bedrock=charge.product.is_bedrock,
            sums=sums_of(charge),
            lowers_usage=charge.is_discount and _use_of(charge) in used,
        )


def delivery_truth(
    month: Month, refresh: Refresh, rows: Sequence[tuple[Row, bool]], reported: Callable[[BilledItem], Reported]
) -> DeliveryTruth:
    """The truth of a delivery: its sums are the month's, its numbers those of `rows`, each with whether it is Bedrock's."""
    bedrock: defaultdict[str, Sums] = defaultdict(Sums)
    everything: defaultdict[str, Sums] = defaultdict(Sums)
    by_day: defaultdict[str, Sums] = defaultdict(Sums)
    for item in billed_items(month, refresh):
        for kind, sums in reported(item):
            everything[kind] += sums
            if item.is_bedrock:
                bedrock[kind] += sums
                by_day[item.day.isoformat()] += sums
    counts = Counter(is_bedrock for _, is_bedrock in rows)
    return DeliveryTruth(
        rows=counts.total(),
        bedrock_rows=counts[True],
        bedrock_by_line_item_type=dict(sorted(bedrock.items())),
        everything_by_line_item_type=dict(sorted(everything.items())),
        bedrock_by_day=dict(sorted(by_day.items())),
    )


def _use_of(charge: Charge) -> tuple[object, ...]:
    return (charge.time.date(), charge.account.account_id, charge.region, charge.product.code, charge.usage_type)
