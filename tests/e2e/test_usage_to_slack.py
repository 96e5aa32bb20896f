"""The whole system on the local AWS, by way of the template's own rules: from log objects, events and deliveries to Slack.

Nothing here calls a handler: objects are put into the customer's buckets, events onto the bus, and the tests read the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from adapters.invocations import invocation_from_image
from adapters.policy import parse_policy
from attribution.allocation import totals_by_currency
from attribution.canonical import number_text
from attribution.charges import Basis, sum_costs
from attribution.periods import BillingPeriod
from attribution.recounts import recount
from attribution.usage import Counters, UsageKey
from local import demo, pipeline, state
from local.pipeline import COST_REPORT_PREFIX, COST_REPORTS, INVOCATION_LOGS, Pipeline
from local.slack_receiver import SlackReceiver
from truth import company, cost_report, price_list
from truth.company import Month
from truth.cost_report import Delivery
from truth.objects import CANARY

ROOT = Path(__file__).resolve().parents[2]
PERIOD = BillingPeriod.parse(demo.MONTH)
POLICY = {
    **yaml.safe_load(demo.POLICY.read_text()),
    "budgets": [
        {"name": "everybody", "limit": {"amount": "1"}, "dimension": "account", "thresholds": [50, 100]},
        {"name": "only the bill", "limit": {"amount": "1000"}, "dimension": "account", "thresholds": [100]},
    ],
}


class Story:
    """The month as it was told to the system, and what was seen in between."""

    def __init__(self, running: Pipeline, receiver: SlackReceiver) -> None:
        self.running = running
        self.receiver = receiver
        self.month: Month = company.build(demo.MONTH, demo.SEED, 60)
        self.deliveries: list[Delivery] = cost_report.deliveries(
            self.month, bucket=COST_REPORTS, prefix=COST_REPORT_PREFIX, export=demo.EXPORT
        )
        running.load_prices(price_list.offers(self.month))
        running.apply_policy(parse_policy(POLICY))
        demo.feed_usage(running, self.month)
        self.estimated = dict(running.pointers(PERIOD))
        self.told_on_estimates = [post.payload["text"] for post in receiver.delivered]
        demo.feed_delivery(running, PERIOD, self.deliveries[-1])
        self.before_repeat = running.fingerprint()
        self.log = running.emulator.log_file


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with pytest.MonkeyPatch.context() as patch, SlackReceiver() as receiver:
        patch.setenv("LOCAL_AWS_STATE", str(tmp_path_factory.mktemp("local-aws")))
        running = demo.start(receiver, keep=False)
        try:
            yield Story(running, receiver)
        finally:
            state.stop()


def test_days_are_estimated_before_a_bill_arrives(story: Story) -> None:
    assert {pointer.basis for pointer in story.estimated.values()} == {Basis.ESTIMATED}
    assert pipeline.totals(story.estimated.values()) > 0


def test_the_counters_equal_what_the_invocations_add_up_to(story: Story) -> None:
    dynamodb = story.running.emulator.client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(TableName=story.running.invocations.name)
    items = [item for page in pages for item in page["Items"]]
    invocations = [found for item in items if (found := invocation_from_image(item))]

    counted = {u.key: u.counters for day in PERIOD.days() for u in story.running.counters.usage_of(day)}

    assert without_zeros(counted) == without_zeros(recount(invocations))
    assert len(invocations) > 50


def without_zeros(counters: dict[UsageKey, Counters]) -> dict[UsageKey, Counters]:
    """The same sums; what a free token kind costs is not stored."""
    return {
        key: replace(
            c,
            units={kind: n for kind, n in c.units.items() if n},
            estimated={kind: amount for kind, amount in c.estimated.items() if amount},
            unpriced={kind: n for kind, n in c.unpriced.items() if n},
        )
        for key, c in counters.items()
        if not c.is_zero()
    }


def test_the_ledger_equals_the_bill_to_the_last_digit(story: Story) -> None:
    charges = story.running.charges(PERIOD)

    assert sum_costs(c.costs for c in charges).billed_cost == story.deliveries[-1].truth.bedrock.unblended_cost
    assert pipeline.totals(story.running.pointers(PERIOD).values()) == story.deliveries[-1].truth.bedrock.unblended_cost


def test_every_day_sums_to_its_pointer_in_every_metric(story: Story) -> None:
    for usage_date, pointer in story.running.pointers(PERIOD).items():
        stored = list(story.running.days.charges(usage_date, pointer.version))
        assert totals_by_currency(stored) == pointer.totals


def test_cost_goes_to_its_true_team_wherever_evidence_exists(story: Story) -> None:
    charges = story.running.charges(PERIOD)
    owned = demo.allocatable_truth(story.month)

    for team, amount in owned.items():
        value = "" if team == demo.UNALLOCATED else team
        allocated = sum((c.costs.billed_cost for c in charges if c.value_of("team") == value), Decimal(0))
        # A share of a discount is rounded at another place here than there.
        assert abs(allocated - amount) < Decimal("1E-14"), team


def test_the_gaps_of_the_month_sum_to_the_bill(story: Story) -> None:
    period = str(PERIOD)
    document = json.loads(story.running.bedrock_costs("coverage", "--period", period, output="json"))

    (billed,) = document["coverage"]
    assert Decimal(billed["cost"]) == story.deliveries[-1].truth.bedrock.unblended_cost
    assert sum(Decimal(gap["unallocated"]) for gap in billed["gaps"]) == Decimal(billed["unallocated"])
    assert {"none", "mantle", "batch", "tax", "credit"} <= {gap["gap"] for gap in billed["gaps"]}
    assert "Capture rate:" in story.running.bedrock_costs("coverage", "--period", period)


def test_a_charge_that_teams_share_explains_itself(story: Story) -> None:
    charge = demo.worth_explaining(story.running.charges(PERIOD))
    assert charge is not None

    out = story.running.bedrock_costs("explain", f"{charge.usage_date}/{charge.digest()}")

    assert f"Why {charge.value_of('team')} (team) was charged" in out
    assert f"{number_text(charge.costs.billed_cost)} USD in the ledger: made anew, the same to the last digit" in out


def credentials(running: Pipeline, *resources: str) -> Credentials:
    """Those of a new user who may invoke these routes."""
    iam = running.emulator.client("iam")
    name = f"reader-{len(iam.list_users()['Users'])}"
    iam.create_user(UserName=name)
    if resources:
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": list(resources)}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="reports", PolicyDocument=document)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"])


def ask(running: Pipeline, path: str, reader: Credentials, accept: str = "application/json") -> tuple[int, str]:
    """Status and body of a GET of the report API, signed by a reader."""
    api = running.deployment.resources["ReportApi"]
    request = AWSRequest("GET", f"{running.emulator.endpoint}/_aws/execute-api/{api}{path}", headers={"Accept": accept})
    SigV4Auth(reader, "execute-api", running.emulator.region).add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    return answer.status_code, answer.text


def test_the_report_api_answers_who_may_ask_with_what_the_command_line_says(story: Story) -> None:
    running = story.running
    place = f"arn:aws:execute-api:{running.emulator.region}:{running.emulator.account_id}"
    api = f"{place}:{running.deployment.resources['ReportApi']}/$default"
    reader, budgets_alone = credentials(running, f"{api}/GET/v1/*"), credentials(running, f"{api}/GET/v1/budgets")
    charge = demo.worth_explaining(running.charges(PERIOD))
    assert charge is not None
    name = f"{charge.usage_date}/{charge.digest()}"

    status, text = ask(running, f"/v1/explain?charge={quote(name, safe='')}", reader, "text/plain")
    costs = ask(running, f"/v1/costs?period={PERIOD}&by=team", reader)

    assert (status, text) == (200, running.bedrock_costs("explain", name))
    assert costs[0] == 200
    total = sum(Decimal(of["total"]["billed"]) for of in json.loads(costs[1])["currencies"])
    assert total == story.deliveries[-1].truth.bedrock.unblended_cost
    paths = "/v1/budgets", f"/v1/costs?period={PERIOD}"
    for who, statuses in ((reader, [200, 200]), (budgets_alone, [200, 403]), (credentials(running), [403, 403])):
        assert [ask(running, path, who)[0] for path in paths] == statuses


def test_budgets_alert_on_estimates_and_on_the_bill_once_each(story: Story) -> None:
    told = [post.payload["text"] for post in story.receiver.delivered]

    assert all("estimated from usage" in text for text in story.told_on_estimates)
    assert [text for text in told if "only the bill" in text and "billed by AWS" in text]
    assert len(told) == len(set(told))
    assert not [post for post in story.receiver.posts if post.problems]


def test_a_route_is_tried_by_the_function_that_delivers(story: Story) -> None:
    told = len(story.receiver.delivered)

    assert "default: the webhook took it." in story.running.bedrock_costs("alerts", "test")

    assert [post.payload["text"].startswith("Test: route default.") for post in story.receiver.delivered[told:]] == [True]


def test_an_alert_of_a_period_that_is_over_is_shown_and_none_is_open(story: Story) -> None:
    shown = json.loads(story.running.bedrock_costs("alerts", "show", "everybody", str(PERIOD), output="json"))

    assert (shown["alert"]["delivery"], shown["alert"]["kind"]) == ("sent", "budget")
    assert "everybody" not in story.running.bedrock_costs("alerts")


def test_no_prompt_completion_or_session_token_is_stored_or_logged(story: Story) -> None:
    running = story.running
    stored: list[Any] = []
    for table in (running.ledger, running.invocations, running.alerts):
        stored += running.emulator.client("dynamodb").scan(TableName=table.name)["Items"]
    s3, bucket = running.emulator.client("s3"), running.deployment.outputs["WorkBucket"]
    for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        stored.append(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
    logs = function_logs(running)

    assert CANARY not in repr(stored)
    assert CANARY not in logs
    assert "invocations recorded" in logs
    assert story.receiver.url not in logs
    assert CANARY not in repr([post.payload for post in story.receiver.posts])


def function_logs(running: Pipeline) -> str:
    """Everything the functions logged."""
    logs = running.emulator.client("logs")
    text = ""
    for group in logs.describe_log_groups()["logGroups"]:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            text += "\n".join(event["message"] for event in page["events"])
    return text


def test_the_same_input_again_changes_nothing_and_tells_nobody(story: Story) -> None:
    heard = len(story.receiver.posts)

    demo.feed_usage(story.running, story.month)
    demo.feed_delivery(story.running, PERIOD, story.deliveries[-1])

    after = {key: value for key, value in story.running.fingerprint().items() if not key.startswith("CHECKPOINT#")}
    before = {key: value for key, value in story.before_repeat.items() if not key.startswith("CHECKPOINT#")}
    assert after == before
    assert len(story.receiver.posts) == heard


def test_an_object_that_is_not_a_log_is_ignored_and_broken_ones_are_quarantined(story: Story) -> None:
    running = story.running
    s3, folder = (
        running.emulator.client("s3"),
        "bedrock/AWSLogs/071245903318/BedrockModelInvocationLogs/us-east-1/2026/10/01/00",
    )
    before = running.count_metered()

    s3.put_object(Bucket=INVOCATION_LOGS, Key=f"{folder}/broken.json.gz", Body=b"\x1f\x8bnot gzip at all")
    s3.put_object(Bucket=INVOCATION_LOGS, Key=f"{folder}/data/request_input.json.gz", Body=b"{}")
    running.settle(seconds=60)

    notices = s3.list_objects_v2(Bucket=running.deployment.outputs["WorkBucket"], Prefix="quarantine/")["Contents"]
    reasons = [s3.get_object(Bucket=running.deployment.outputs["WorkBucket"], Key=n["Key"])["Body"].read() for n in notices]
    assert any(b"broken.json.gz" in reason and b"gzip" in reason for reason in reasons)
    assert not any(b"/data/" in reason for reason in reasons)
    assert running.count_metered() == before


def test_an_alarm_of_the_stack_is_told_in_slack_and_so_is_that_it_is_over(story: Story) -> None:
    raised = json.loads(json.loads((ROOT / "events/relay_alarms.json").read_text())["Records"][0]["body"])
    over = raised | {"NewStateValue": "OK", "OldStateValue": "ALARM", "StateChangeTime": "2026-10-11T22:14:01.003+0000"}

    assert_alarm_is_told(story, raised, "Alarm: bedrock-costs-prod-NoDelivery.")
    assert_alarm_is_told(story, over, "Alarm over: bedrock-costs-prod-NoDelivery.")
    assert not [post for post in story.receiver.posts if post.problems]


def assert_alarm_is_told(story: Story, notification: dict[str, Any], text: str) -> None:
    """Publish what CloudWatch would, and wait for Slack."""
    topic = story.running.deployment.resources["AlarmTopic"]
    story.running.emulator.client("sns").publish(TopicArn=topic, Message=json.dumps(notification))

    def is_told() -> bool:
        return any(post.payload["text"].startswith(text) for post in story.receiver.delivered)

    story.running.wait_for(f"the message {text!r}", is_told, seconds=60)
