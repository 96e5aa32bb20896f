"""Write one month to a directory: `python -m truth --month 2026-10 --seed 7 --requests 2000 --out DIR`.

The directory holds what the buckets and buses would hold, and `truth.json` and `requests.ndjson` with what is true.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from truth import cloudtrail, cost_report, invocation_log, price_list
from truth.company import Month, build
from truth.objects import StoredObject, compact_json, iso_seconds
from truth.requests import Request


def main() -> None:
    """Parse the arguments and write everything."""
    parser = argparse.ArgumentParser(prog="truth", description=__doc__)
    parser.add_argument("--month", default="2026-10", help="YYYY-MM")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="requests that the invocation log shows")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mode", choices=("create_new", "overwrite"), default="create_new")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--granularity", choices=("daily", "hourly"), default="daily")
    parser.add_argument("--restated", action="store_true", help="add the refresh a month after close")
    arguments = parser.parse_args()
    write_month(build(arguments.month, arguments.seed, arguments.requests), arguments)


def write_month(month: Month, arguments: argparse.Namespace) -> None:
    """Write cost reports, invocation logs, CloudTrail, price lists and the truth under `arguments.out`."""
    out: Path = arguments.out
    delivered = cost_report.deliveries(
        month,
        bucket="cost-reports",
        prefix="exports",
        export="bedrock-costs",
        mode=arguments.mode,
        format=arguments.format,
        granularity=arguments.granularity,
        restated=arguments.restated,
    )
    for number, delivery in enumerate(delivered, start=1):
        _write_objects(out / "cost_reports" / f"{number}", delivery.objects)
    _write_objects(out / "cost_reports" / "bucket_root", [cost_report.probe_object()])
    _write_objects(out / "invocation_logs", invocation_log.objects(month))
    _write_objects(out / "cloudtrail" / "trail", cloudtrail.trail_objects(month))
    _write_lines(out / "cloudtrail" / "eventbridge.ndjson", cloudtrail.eventbridge_events(month))
    for code, offer in price_list.offers(month).items():
        _write_objects(out / "price_list", [StoredObject(f"{code}/index.json", offer)])
    _write_lines(out / "requests.ndjson", map(request_as_json, month.requests))
    truth = {
        "closed": month.truth().as_json(),
        "restated": month.truth(restated=True).as_json(),
        "deliveries": [
            {"executionId": delivery.execution_id, "deliveredAt": delivery.delivered_at, "truth": delivery.truth}
            for delivery in delivered
        ],
    }
    text = json.dumps(truth, indent=1, sort_keys=True, default=_as_text)
    (out / "truth.json").write_text(text + "\n", encoding="utf-8")


def request_as_json(request: Request) -> dict[str, Any]:
    """What is true about one request."""
    return {
        "request_id": request.request_id,
        "time": iso_seconds(request.time),
        "account_id": request.principal.account.account_id,
        "region": request.principal.region,
        "principal": request.principal.arn,
        "model": request.call.model.model_id,
        "team": request.team,
        "tenant": request.tenant.name if request.tenant else None,
        "evidence": request.evidence,
        "losing_team": request.losing_team,
        "is_logged": request.is_logged,
        "is_in_cloudtrail": request.is_in_cloudtrail,
        "error_code": request.error_code,
        "usage": {sku.usage_type: quantity for sku, quantity in request.usage()},
        "list_cost": f"{request.list_cost:f}",
        "billed_cost": f"{request.billed_cost:f}",
    }


def _as_text(value: Any) -> Any:
    if isinstance(value, cost_report.DeliveryTruth):
        return value.as_json()
    return str(value)


def _write_objects(directory: Path, objects: Iterable[StoredObject]) -> None:
    for stored in objects:
        path = directory / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.body)


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for value in values:
            file.write(compact_json(value) + b"\n")


if __name__ == "__main__":
    main()
