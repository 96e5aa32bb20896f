"""Record who made a Bedrock call, and the session tags of the credentials it was made with.

Trigger  Bedrock inference calls and STS sessions in CloudTrail, by way of EventBridge and SQS.
Effect   the observed half of an item in Invocations; remembered sessions.
Retry    safe: each half of an item is written once, a session is the same whenever it is remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import ApiCall, read
from adapters.messages import process_messages
from adapters.observability import count, logger, metrics
from adapters.settings import RecordApiCalls, load
from adapters.sources.cloudtrail import parse_event
from attribution.flows.record_api_calls import link_session, record_api_call

settings = load(RecordApiCalls)
invocations = wiring.invocations(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()
relinking = wiring.relinking(settings)


def record_event(body: str, name: str) -> None:
    message = read(ApiCall, body, name)
    if message.relink_access_key_id:
        linked = link_session(message.relink_access_key_id, invocations=invocations)
        count("SessionsLinkedLate", linked.linked)
        return
    event = parse_event(message.detail, settings.allocation_tag_keys)
    if event is None:
        logger.info("event ignored", reason="neither an inference call nor an issued session")
        return
    outcome = record_api_call(event, invocations=invocations, oldest=wiring.oldest_recordable(settings))
    if outcome.relink:
        relinking.relink(outcome.relink)
    count("ApiCallsRecorded", outcome.recorded)
    count("ApiCallsTooOld", outcome.too_old)


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_messages(event, context, record_event, quarantine, redelivery)
