"""The contract with ministack: each behaviour of AWS that local/launcher adds, or that the pipeline relies on as it is.

A failure here after an update of ministack says which change has to be written anew.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.support import LocalAws, eventually


class TestHandlers:
    def test_a_handler_sees_its_code_its_layers_and_the_standard_library(self, aws: LocalAws) -> None:
        seen, _ = aws.invoke("Probe", {"do": "describe"})

        assert not [entry for entry in seen["path"] if "site-packages" in entry and "/layers/" not in entry]
        foreign = {"HOME", "PYTHONPATH", "GATEWAY_PORT", "STATE_DIR", "_LOCAL_LAYER_PATHS"}
        assert not foreign & seen["environment"].keys()
        assert seen["environment"]["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{aws.emulator.runtime}"
        assert seen["environment"]["TZ"] == ":UTC"
        assert 2000 < seen["remaining"] <= 3000

    def test_a_package_of_the_emulator_cannot_be_imported(self, aws: LocalAws) -> None:
        answer, failed = aws.invoke("Probe", {"do": "import", "module": "ministack"})

        assert failed
        assert answer["errorType"] == "ModuleNotFoundError"

    def test_an_error_has_its_own_type_and_stack_trace(self, aws: LocalAws) -> None:
        answer, failed = aws.invoke("Probe", {"do": "raise"})

        assert failed
        assert (answer["errorType"], answer["errorMessage"]) == ("ProbeFailed", "as asked")
        assert "lambda_handler" in answer["stackTrace"][-1]

    def test_a_failed_import_is_reported_as_such(self, aws: LocalAws) -> None:
        answer, failed = aws.invoke("Broken", {})

        assert failed
        assert answer["errorType"] == "Runtime.ImportModuleError"
        assert "no_such_module" in answer["errorMessage"]

    def test_a_function_is_stopped_at_its_timeout(self, aws: LocalAws) -> None:
        answer, failed = aws.invoke("Probe", {"do": "sleep", "seconds": 30})

        assert failed
        assert answer["errorType"] == "Sandbox.Timedout"

    def test_invocations_run_at_the_same_time(self, aws: LocalAws) -> None:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: aws.invoke("Probe", {"do": "sleep", "seconds": 2})[0], range(3)))

        assert len({answer["process"] for answer in answers}) == 3


class TestRoles:
    def call(self, aws: LocalAws, service: str, operation: str, **arguments: Any) -> tuple[Any, bool]:
        return aws.invoke("Probe", {"do": "call", "service": service, "operation": operation, "arguments": arguments})

    def test_a_secret_is_read_by_its_ref_and_another_is_not(self, aws: LocalAws) -> None:
        secret, failed = self.call(aws, "secretsmanager", "get_secret_value", SecretId="$SECRET")
        assert not failed, secret
        assert secret["ARN"].startswith("arn:aws:secretsmanager:")

        other, failed = self.call(aws, "secretsmanager", "get_secret_value", SecretId="$OTHER_SECRET")
        assert failed
        assert "AccessDenied" in other["errorMessage"]

    def test_a_parameter_is_read(self, aws: LocalAws) -> None:
        parameter, failed = self.call(aws, "ssm", "get_parameter", Name="$SETTING")

        assert not failed, parameter

    def test_leading_keys_are_enforced(self, aws: LocalAws) -> None:
        def put(key: str) -> tuple[Any, bool]:
            item = {"pk": {"S": key}, "sk": {"S": "-"}}
            return self.call(aws, "dynamodb", "put_item", TableName="$OBSERVATIONS", Item=item)

        def query(key: str) -> tuple[Any, bool]:
            return self.call(
                aws,
                "dynamodb",
                "query",
                TableName="$OBSERVATIONS",
                KeyConditionExpression="#pk = :pk",
                ExpressionAttributeNames={"#pk": "pk"},
                ExpressionAttributeValues={":pk": {"S": key}},
            )

        def transact(*keys: str) -> tuple[Any, bool]:
            puts = [{"Put": {"TableName": "$OBSERVATIONS", "Item": {"pk": {"S": key}, "sk": {"S": "+"}}}} for key in keys]
            return self.call(aws, "dynamodb", "transact_write_items", TransactItems=puts)

        allowed = [put("probe#1"), query("probe#1"), transact("probe#2", "probe#3")]
        assert [failed for _, failed in allowed] == [False, False, False], allowed
        for answer, failed in (put("other#1"), query("record"), transact("probe#4", "other#2")):
            assert failed
            assert "AccessDenied" in answer["errorMessage"]

    def test_an_index_is_a_resource_of_its_own(self, aws: LocalAws) -> None:
        def query(**arguments: Any) -> bool:
            value = {":value": {"S": "probe#nothing"}}
            _, failed = self.call(aws, "dynamodb", "query", TableName="$RECORDS", ExpressionAttributeValues=value, **arguments)
            return failed

        assert query(IndexName="by-kind", KeyConditionExpression="kind = :value") is False
        assert query(KeyConditionExpression="pk = :value") is True

    def test_the_source_of_an_event_is_enforced(self, aws: LocalAws) -> None:
        def put(source: str) -> bool:
            entry = {"Source": source, "DetailType": "Ignored", "Detail": "{}"}
            return self.call(aws, "events", "put_events", Entries=[entry])[1]

        assert put("local.test") is False
        assert put("somebody.else") is True


class TestEvents:
    def test_an_object_event_has_the_shape_that_s3_sends(self, aws: LocalAws) -> None:
        aws.put("records/shape.json")

        [received] = aws.wait_for("record", "records/shape.json")
        event = json.loads(received["Records"][0]["body"])
        detail = event["detail"]
        assert set(detail) == {
            "version", "bucket", "object", "request-id", "requester", "source-ip-address", "reason",
        }  # fmt: skip
        assert set(detail["object"]) == {"key", "size", "etag", "version-id", "sequencer"}
        assert event["id"] != detail["request-id"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
        assert (event["detail-type"], detail["reason"]) == ("Object Created", "PutObject")

    @pytest.mark.parametrize("key", ["reports/2026-11/cur-Manifest.json", "anywhere/one.manifest"])
    def test_a_fifo_queue_gets_objects_by_wildcard_and_suffix(self, aws: LocalAws, key: str) -> None:
        aws.put(key)

        [received] = aws.wait_for("record", key)
        assert received["Records"][0]["attributes"]["MessageGroupId"] == "reports"

    def test_events_do_not_reach_a_queue_that_aws_would_not_deliver_to(self, aws: LocalAws) -> None:
        aws.put("refused.manifest")
        aws.wait_for("record", "refused.manifest")

        assert self.waiting(aws, "ClosedQueue") == 0, "no queue policy"
        assert self.waiting(aws, "NoDeduplicationQueue") == 0, "FIFO without content-based deduplication"
        assert "refused.manifest" in self.dead_letters(aws)

    def waiting(self, aws: LocalAws, queue: str) -> int:
        answer = aws.client("sqs").get_queue_attributes(
            QueueUrl=aws.deployment.resources[queue], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def dead_letters(self, aws: LocalAws) -> str:
        answer = aws.client("sqs").receive_message(
            QueueUrl=aws.deployment.resources["RecordDeadLetters"], MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return " ".join(message["Body"] for message in answer.get("Messages", []))

    def test_read_only_calls_reach_only_a_rule_for_all_management_events(self, aws: LocalAws) -> None:
        def call(read_only: bool) -> dict[str, Any]:
            detail = {
                "eventSource": "bedrock.amazonaws.com",
                "eventName": "Converse",
                "readOnly": read_only,
                "managementEvent": True,
            }
            return {
                "Source": "aws.bedrock",
                "DetailType": "AWS API Call via CloudTrail",
                "Detail": json.dumps(detail),
            }

        def seen(rule: str) -> int:
            received = [message for event in aws.observed("watch", rule) for message in event["Records"]]
            return sum(json.loads(message["body"]).get("rule") == rule for message in received)

        answer = aws.client("events").put_events(Entries=[call(True), call(True)])
        assert answer["FailedEntryCount"] == 0
        eventually(lambda: seen("all-management-events") == 2)
        assert seen("plain") == 0

        aws.client("events").put_events(Entries=[call(False)])
        eventually(lambda: seen("all-management-events") == 3 and seen("plain") == 1)

    def test_a_replayed_event_keeps_its_time(self, aws: LocalAws) -> None:
        happened = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
        entry = {"Source": "local.test", "DetailType": "LedgerDayChanged", "Detail": '{"key": "replayed"}'}
        aws.client("events").put_events(Entries=[{**entry, "Time": happened}])

        [received] = aws.wait_for("watch", "replayed")
        bodies = [json.loads(message["body"]) for message in received["Records"]]
        assert [body["time"] for body in bodies if "replayed" in json.dumps(body)] == ["2026-11-01T12:30:00Z"]

    def test_a_scheduled_rule_fires(self, aws: LocalAws) -> None:
        assert aws.wait_for("watch", '\\"schedule\\"')


class TestQueues:
    def test_a_delayed_message_is_received_after_its_delay(self, aws: LocalAws) -> None:
        aws.client("sqs").send_message(
            QueueUrl=aws.deployment.resources["AllocationQueue"],
            MessageBody="delayed",
            MessageGroupId="2026-10",
            MessageDeduplicationId=str(time.time()),
        )

        [received] = aws.wait_for("allocate", "delayed")
        attributes = received["Records"][0]["attributes"]
        waited = int(attributes["ApproximateFirstReceiveTimestamp"]) - int(attributes["SentTimestamp"])
        assert waited >= 1000

    def test_a_failed_message_alone_is_repeated_and_then_a_dead_letter(self, aws: LocalAws) -> None:
        aws.put("records/poison-1.json")
        aws.put("records/healthy-1.json")

        aws.wait_for("roll_up", "records/healthy-1.json")
        eventually(lambda: "poison-1" in TestEvents().dead_letters(aws))
        receives = [
            message["attributes"]["ApproximateReceiveCount"]
            for event in aws.observed("record", "poison-1")
            for message in event["Records"]
            if "poison-1" in message["body"]
        ]
        assert receives == ["1", "2"]
        repeated = [event for event in aws.observed("record", "healthy-1")]
        assert len(repeated) == 1

    def test_a_mapping_collects_more_than_ten_messages(self, aws: LocalAws) -> None:
        queue = aws.deployment.resources["WatchQueue"]
        mapping = aws.client("lambda").list_event_source_mappings(FunctionName=aws.deployment.function("watch"))
        identity = mapping["EventSourceMappings"][0]["UUID"]
        aws.client("lambda").update_event_source_mapping(UUID=identity, Enabled=False)
        for start in (0, 10, 20):
            entries = [{"Id": str(n), "MessageBody": f'{{"many": {start + n}}}'} for n in range(10)]
            aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=entries)
        aws.client("lambda").update_event_source_mapping(UUID=identity, Enabled=True)

        received = aws.wait_for("watch", "many")
        assert max(len(event["Records"]) for event in received) >= 30

    def test_two_batches_of_a_queue_run_at_once_whatever_the_template_allows(self, aws: LocalAws) -> None:
        for number in range(6):
            aws.put(f"records/lasting-{number}.json")

        events = eventually(lambda: len(found := aws.observed("record", "records/lasting-")) == 6 and found)
        assert len({event["process"] for event in events}) == 2


class TestStreams:
    def put(self, aws: LocalAws, *keys: str, kind: str = "usage") -> None:
        items = [{"PutRequest": {"Item": {"pk": {"S": key}, "kind": {"S": kind}}}} for key in keys]
        aws.client("dynamodb").batch_write_item(RequestItems={aws.deployment.outputs["RecordsTable"]: items})

    def keys(self, aws: LocalAws, containing: str) -> list[list[str]]:
        return [
            [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
            for event in aws.observed("roll_up", containing)
        ]

    def test_a_window_names_its_shard_carries_state_and_is_closed(self, aws: LocalAws) -> None:
        self.put(aws, "window-1")

        [event] = aws.wait_for("roll_up", "window-1")
        start, end = (datetime.fromisoformat(event["window"][name]) for name in ("start", "end"))
        assert (end - start).total_seconds() == 2
        assert event["shardId"].startswith("shardId-")
        assert (event["isFinalInvokeForWindow"], event["isWindowTerminatedEarly"]) == (False, False)
        assert event["eventSourceARN"] == event["Records"][0]["eventSourceARN"]
        finals = eventually(
            lambda: [
                final
                for final in aws.observed("roll_up", '"isFinalInvokeForWindow": true')
                if final["window"] == event["window"]
            ]
        )
        assert finals[0]["Records"] == []
        assert finals[0]["state"]["seen"] >= 1

    def test_a_reported_record_is_repeated_with_all_after_it_and_none_before(self, aws: LocalAws) -> None:
        # The three are to be in one window, as a batch never spans two.
        eventually(lambda: time.time() % 2 < 1)
        self.put(aws, "batch-1", "batch-2-fail-once", "batch-3")

        eventually(lambda: any(keys[0] == "batch-2-fail-once" for keys in self.keys(aws, "batch-3")))
        repeated = [keys for keys in self.keys(aws, "batch-3") if keys[0] == "batch-2-fail-once"]
        assert [keys[:2] for keys in repeated] == [["batch-2-fail-once", "batch-3"]]
        assert "batch-1" not in repeated[0]

    def test_a_response_without_state_is_a_failure(self, aws: LocalAws) -> None:
        self.put(aws, "forget-state-once")

        eventually(lambda: len(self.keys(aws, "forget-state-once")) == 2)

    def test_the_filter_lets_only_wanted_records_through(self, aws: LocalAws) -> None:
        self.put(aws, "unwanted", kind="ignored")
        self.put(aws, "wanted")

        eventually(lambda: self.keys(aws, '"wanted"'))
        assert not self.keys(aws, "unwanted")

    def test_a_transaction_writes_stream_records_and_a_failed_one_writes_none(self, aws: LocalAws) -> None:
        table = aws.deployment.outputs["RecordsTable"]

        def transact(*keys: str) -> None:
            puts = [
                {
                    "Put": {
                        "TableName": table,
                        "Item": {"pk": {"S": key}, "kind": {"S": "usage"}},
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                }
                for key in keys
            ]
            aws.client("dynamodb").transact_write_items(TransactItems=puts)

        transact("transaction-1")
        with pytest.raises(ClientError) as refused:
            transact("transaction-2", "transaction-1")
        transact("transaction-3")

        reasons = [reason["Code"] for reason in refused.value.response["CancellationReasons"]]
        assert reasons == ["None", "ConditionalCheckFailed"]
        eventually(lambda: self.keys(aws, "transaction-3"))
        assert self.keys(aws, "transaction-1")
        assert not self.keys(aws, "transaction-2")

    def test_a_bad_record_is_narrowed_down_given_up_and_sent_on(self, aws: LocalAws) -> None:
        self.put(aws, "strict-1", "strict-2-bad", "strict-3", kind="strict")

        aws.wait_for("strict", "strict-3")
        assert aws.observed("strict", "strict-1")
        assert not aws.observed("strict", "strict-2-bad")
        answer = aws.client("sqs").receive_message(QueueUrl=aws.deployment.resources["StrictDeadLetters"])
        [failure] = [json.loads(message["Body"]) for message in answer["Messages"]]
        assert failure["requestContext"]["condition"] == "RetryAttemptsExhausted"
        assert failure["DDBStreamBatchInfo"]["batchSize"] == 1

    def test_a_slow_stream_function_holds_up_no_queue(self, aws: LocalAws) -> None:
        aws.put("records/warm.json")
        aws.wait_for("record", "records/warm.json")
        self.put(aws, "slow-1")
        aws.wait_for("roll_up", "slow-1")

        aws.put("records/meanwhile.json")
        aws.wait_for("record", "records/meanwhile.json")
        assert not aws.observed("roll_up_awake", "slow-1")


class TestStacks:
    def test_time_to_live_is_on(self, aws: LocalAws) -> None:
        answer = aws.client("dynamodb").describe_time_to_live(TableName=aws.deployment.outputs["ObservationsTable"])

        assert answer["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}

    def test_reserved_concurrency_is_set(self, aws: LocalAws) -> None:
        answer = aws.client("lambda").get_function_concurrency(FunctionName=aws.deployment.function("allocate"))

        assert answer["ReservedConcurrentExecutions"] == 1

    def test_a_function_can_have_its_own_log_group(self, aws: LocalAws) -> None:
        aws.invoke("Probe", {"do": "raise"})

        events = aws.client("logs").filter_log_events(logGroupName=aws.deployment.resources["ProbeLogs"])["events"]
        assert any("ProbeFailed" in event["message"] for event in events)

    def test_tags_of_the_stack_are_on_its_functions(self, aws: LocalAws) -> None:
        configuration = aws.client("lambda").get_function(FunctionName=aws.deployment.function("Record"))

        assert configuration["Tags"]["team"] == "tests"
