"""Deliver alerts and digests to Slack, and by mail what Slack does not take.

Trigger  the stream of Alerts (items whose delivery is pending); an SQS queue for those that wait, and for a regular sweep;
         `bedrock-costs alerts test`, which invokes it to try a route.
Effect   one message per budget and period that is changed in place, or one per news through a webhook; and the record of it.
Retry    safe: a request is claimed before it is made; a message in doubt is looked for, or else repeated once, labelled.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.alerts import key_of_image
from adapters.contracts import AlertRetry, RouteTrial, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import DeliverAlerts, load
from attribution.alarm_alerts import is_of_alarm
from attribution.alerts import Step
from attribution.flows.deliver_alerts import NoticeKey, deliver_notice, sweep, try_route

settings = load(DeliverAlerts)
outbox = wiring.outbox(settings)
routes = wiring.policy(settings)
channels = wiring.slack_channels(settings)
retries = wiring.alert_retries(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()


def deliver(key: NoticeKey) -> None:
    outcome = deliver_notice(key, outbox=outbox, routes=routes, channels=channels, retries=retries, clock=wiring.clock)
    count("AlertsSent", int(outcome.step in (Step.POST, Step.REPLY, Step.MAIL)))
    count("AlertsUpdated", int(outcome.step is Step.UPDATE))
    count("AlertsRepeated", int(outcome.is_repeat))
    count("AlertsCollected", int(outcome.status == "collected"))
    # An alarm that says so would be diverted itself, and raise itself again. Alarms are mailed by their own topic besides.
    is_watched = not is_of_alarm(key)
    count("AlertsDiverted", int(outcome.is_diverted and is_watched))
    count("AlertsFailed", int(outcome.status == "failed" and is_watched))
    logger.info("alert handled", alert=str(key), status=outcome.status, step=outcome.step or "", error=outcome.error)


def deliver_again(body: str, name: str) -> None:
    key = read(AlertRetry, body, name).key
    if key is not None:
        deliver(key)
        return
    found = sweep(outbox=outbox, retries=retries, clock=wiring.clock)
    logger.info("alerts swept", due=len(found))


def send_test(event: dict[str, Any]) -> dict[str, Any]:
    trial = read(RouteTrial, event["try_route"], "the trial of a route")
    # A secret that was just corrected is read anew.
    fresh = wiring.slack_channels(settings, is_fresh=True)
    outcome = try_route(trial.route, trial.by, by_mail=trial.by_mail, routes=routes, channels=fresh, clock=wiring.clock)
    logger.info("route tried", route=trial.route, by=trial.by, is_sent=outcome.is_sent, error=outcome.error)
    return asdict(outcome)


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    if "try_route" in event:
        return send_test(event)
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
