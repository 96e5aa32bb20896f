"""The dataframe contenders of `bench.ingest`, as people write them: read, select, amortize, group, sum exact decimals.

Runs in .venv/bench, and knows nothing of the product. `pandas` downloads each data file and reads the needed columns of it;
`awswrangler` reads them from S3 itself. One file is in memory at a time, which is how they get through a large delivery at all.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import boto3
import pandas as pd

from bench.measuring import Found, measured, tell

PRODUCT_CODES = ("AmazonBedrock", "AmazonBedrockService", "AmazonBedrockFoundationModels", "AmazonBedrockAgentCore")
AMOUNTS = (
    "line_item_usage_amount",
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "pricing_public_on_demand_cost",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "reservation_net_unused_recurring_fee",
)
TEXTS = (
    "line_item_usage_account_id",
    "product_region_code",
    "line_item_line_item_type",
    "bill_billing_entity",
    "line_item_product_code",
    "line_item_usage_type",
    "line_item_operation",
    "line_item_iam_principal",
    "line_item_resource_id",
    "pricing_unit",
    "line_item_line_item_description",
    "line_item_currency_code",
    "bill_invoice_id",
)
RESERVATION = "reservation_reservation_a_r_n"
COLUMNS = ["line_item_usage_start_date", RESERVATION, "product", "tags", *TEXTS, *AMOUNTS]
KEYS = ["usage_date", "product_name", "tags", *TEXTS]
METRICS = ["list_cost", "billed_cost", "net_billed_cost", "effective_cost", "net_effective_cost"]
ZERO = Decimal(0)


def frames_of_pandas(bucket: str, keys: Sequence[str]) -> Iterator[Any]:
    """Each data file, downloaded by boto3."""
    client = boto3.client("s3")
    for key in keys:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        yield pd.read_parquet(io.BytesIO(body), columns=COLUMNS)


def frames_of_awswrangler(bucket: str, keys: Sequence[str]) -> Iterator[Any]:
    """Each data file, read by awswrangler."""
    import awswrangler

    for key in keys:
        yield awswrangler.s3.read_parquet([f"s3://{bucket}/{key}"], columns=COLUMNS)


READERS: dict[str, Callable[[str, Sequence[str]], Iterator[Any]]] = {
    "pandas": frames_of_pandas,
    "awswrangler": frames_of_awswrangler,
}


def ingest(frames: Iterator[Any]) -> Found:
    """The charges of a delivery."""
    candidates = pd.concat([_candidates(frame) for frame in frames], ignore_index=True)
    codes = set(candidates.loc[candidates.product_name.str.contains("Bedrock"), "line_item_product_code"])
    rows = candidates[candidates.line_item_product_code.isin(codes.union(PRODUCT_CODES))].copy()
    for name in AMOUNTS:
        rows[name] = rows[name].map(_exact)
    rows["tags"] = rows["tags"].map(_text_of_map)
    rows["usage_date"] = rows.line_item_usage_start_date.dt.date
    rows[[*TEXTS, RESERVATION]] = rows[[*TEXTS, RESERVATION]].fillna("")
    rows[METRICS] = [_metrics(row) for row in rows.to_dict("records")]
    charges = rows.groupby(KEYS, sort=False)[["line_item_usage_amount", *METRICS]].sum()
    return Found(len(rows), {name: charges[name].sum() for name in METRICS}, len(charges))


def _candidates(frame: Any) -> Any:
    """Rows that are Bedrock's, and rows of the Marketplace without a name, which another file may tell to be."""
    name = frame["product"].map(_product_name)
    is_nameless = (frame.bill_billing_entity == "AWS Marketplace") & (name == "")
    is_bedrock = frame.line_item_product_code.isin(PRODUCT_CODES) | name.str.contains("Bedrock")
    return frame.drop(columns="product").assign(product_name=name)[is_bedrock | is_nameless]


def _product_name(entries: Any) -> str:
    return dict(entries).get("product_name", "") if entries is not None else ""


def _text_of_map(entries: Any) -> str:
    return json.dumps(dict(entries), sort_keys=True) if entries is not None else ""


def _exact(amount: float) -> Decimal | None:
    """The decimal that the double was made from: its shortest text."""
    return None if pd.isna(amount) else Decimal(repr(float(amount)))


def _metrics(row: dict[str, Any]) -> list[Decimal]:
    cost = row["line_item_unblended_cost"]
    net = cost if row["line_item_net_unblended_cost"] is None else row["line_item_net_unblended_cost"]
    return [row["pricing_public_on_demand_cost"] or ZERO, cost, net, _amortized(row, cost, ""), _amortized(row, net, "net_")]


def _amortized(row: dict[str, Any], cost: Decimal, net: str) -> Decimal:
    def amount(prefix: str, name: str) -> Decimal:
        of_net = row.get(f"{prefix}{net}{name}")
        found = row[f"{prefix}{name}"] if of_net is None else of_net
        return ZERO if found is None else found

    kind = row["line_item_line_item_type"]
    if kind == "SavingsPlanCoveredUsage":
        return amount("savings_plan_", "savings_plan_effective_cost")
    if kind == "SavingsPlanRecurringFee":
        return amount("savings_plan_", "total_commitment_to_date") - amount("savings_plan_", "used_commitment")
    if kind == "DiscountedUsage":
        return amount("reservation_", "effective_cost")
    if kind == "RIFee":
        upfront = amount("reservation_", "unused_amortized_upfront_fee_for_billing_period")
        return upfront + amount("reservation_", "unused_recurring_fee")
    is_reserved = kind == "Fee" and row[RESERVATION]
    return ZERO if is_reserved or kind in ("SavingsPlanNegation", "SavingsPlanUpfrontFee") else cost


if __name__ == "__main__":
    # CONTENDER BUCKET KEY...; the environment says where S3 is.
    reader, where, files = READERS[sys.argv[1]], sys.argv[2], sys.argv[3:]
    tell(measured(lambda: ingest(reader(where, files))))
