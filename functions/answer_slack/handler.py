"""Answer people in Slack: the buttons of alerts, and the command `/bedrock-costs`.

Trigger  HTTPS from Slack, by way of the HTTP API; signed.
Effect   an alert acknowledged, snoozed, muted or resumed; an anomaly judged; or an answer that the asker alone sees.
Retry    safe: what was done is not done again, and a signature that was acted on is not acted on twice.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.observability import count, logger, metrics
from adapters.settings import AnswerSlack, load
from adapters.slack_requests import Unauthorized, read_request
from attribution.conversation import Pressed, Typed
from attribution.flows.answer_slack import World, answer_pressed, answer_typed

settings = load(AnswerSlack)
secrets = wiring.signing_secrets(settings)
replays = wiring.slack_replays(settings)
replies = wiring.slack_replies(settings)
policy = wiring.policy(settings)
outbox = wiring.outbox(settings)
days = wiring.ledger_days(settings)
invocations = wiring.invocations(settings)
directory = wiring.directory(settings)
anomalies = wiring.anomalies(settings)


def answer(event: dict[str, Any], account_id: str, region: str) -> dict[str, Any]:
    try:
        request = read_request(event, secrets, wiring.clock())
    except Unauthorized:
        count("SlackRequestsRefused")
        logger.warning("request refused")
        return {"statusCode": 401, "body": ""}
    world = World(outbox, policy, policy, days, invocations, directory, anomalies, wiring.clock, account_id, region)
    asked = request.asked
    if isinstance(asked, Typed):
        logger.info("command answered", user=asked.user)
        return replies.shown(answer_typed(asked, world))
    if isinstance(asked, Pressed) and not replays.is_known(request.signature):
        refused = answer_pressed(asked, world)
        # After it was done: should this attempt end in between, the same request again changes nothing.
        replays.remember(request.signature)
        logger.info(
            "button answered", user=asked.user, action=asked.action, alert=str(asked.key), is_refused=refused is not None
        )
        if refused is not None:
            replies.send(request.response_url, refused)
    return {"statusCode": 200, "body": ""}


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    parts = context.invoked_function_arn.split(":")
    return answer(event, parts[4], parts[3])
