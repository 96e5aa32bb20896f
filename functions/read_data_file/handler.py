"""Read one data file of a large delivery.

Trigger  an item of the fan-out state machine: a data file as it was when the delivery was looked at.
Effect   what the file says of Bedrock in the work bucket, where `ingest_cost_report` finds it.
Retry    safe: a reading lies under a name made of the file's ETag and of the code that read it.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import DataFileToRead, read
from adapters.objects import require_within
from adapters.observability import logger
from adapters.settings import ReadDataFile, load
from attribution.flows.read_data_file import read_data_file
from attribution.periods import BillingPeriod
from attribution.ports import StoredObject

settings = load(ReadDataFile)
reports = wiring.cost_reports(settings)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    item = read(DataFileToRead, event, "item of a fan-out")
    source = StoredObject(item.bucket, item.key)
    require_within(source, settings.cost_report_bucket, settings.cost_report_prefix)
    outcome = read_data_file(item.kind, BillingPeriod.parse(item.period), item.file, reports=reports)
    logger.info("data file read", object=str(source), bytes=item.size, billing_period=item.period, outcome=outcome)
    return {"outcome": outcome}
