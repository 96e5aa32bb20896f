"""Deliver alerts to Slack.

Trigger  the stream of Alerts (items whose message is pending); an SQS queue for those that wait to be tried again.
Effect   one Slack message per revision of an alert, and the record of it.
Retry    safe: a message is claimed before it is sent; one that may have arrived is repeated once, labelled.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.alerts import key_of_image
from adapters.contracts import AlertRetry, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import DeliverAlerts, load
from attribution.alerts import AlertKey
from attribution.flows.deliver_alerts import deliver_alert

settings = load(DeliverAlerts)
alerts = wiring.alerts(settings.alerts_table, settings.ledger_retention_days)
channel = wiring.slack(settings)
retries = wiring.alert_retries(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def deliver(key: AlertKey) -> None:
    outcome = deliver_alert(key, alerts=alerts, channel=channel, retries=retries, clock=wiring.clock)
    count("AlertsSent", int(outcome.status == "sent"))
    count("AlertsFailed", int(outcome.status == "failed"))
    logger.info("alert handled", alert=str(key), status=outcome.status)


def deliver_again(body: str, name: str) -> None:
    message = read(AlertRetry, body, name)
    deliver(AlertKey(message.budget, message.period, message.kind, message.threshold))


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    records = event["Records"]
    if records and records[0]["eventSource"] == "aws:sqs":
        return process_messages(event, context, deliver_again, quarantine, redelivery)
    for record in records:
        try:
            deliver(key_of_image(record["dynamodb"]["NewImage"]))
        except Exception:
            logger.exception("alert not handled", sequence_number=record["dynamodb"]["SequenceNumber"])
            # The stream returns this record and those after it.
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}
