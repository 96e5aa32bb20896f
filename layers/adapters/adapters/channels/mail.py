"""The second route: what Slack did not take, as a mail by way of SNS."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from adapters.channels.slack_messages import plain_text
from attribution.alerts import Alert, Message
from attribution.digests import Digest
from attribution.ports import Posted
from attribution.wording import shortened

# SNS refuses longer subjects, and those with anything but printable ASCII.
_SUBJECT_LIMIT = 100


class SnsMail:
    """`Channel` on an SNS topic. Nothing that was published is changed or found."""

    updates = False

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._client = client
        self._topic = topic_arn

    def post(self, notice: Alert | Digest, *, is_repeat: bool) -> Posted:
        """Publish once. botocore repeats a request whose answer was lost: at worst, the mail comes twice."""
        title, body = plain_text(notice, is_repeat=is_repeat)
        subject = shortened(title.encode("ascii", "replace").decode(), _SUBJECT_LIMIT).replace("…", ".")
        try:
            self._client.publish(TopicArn=self._topic, Subject=subject, Message=body)
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            return Posted(False, retry_after_seconds=0, error=type(error).__name__)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            is_passing = code in ("Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable")
            return Posted(False, retry_after_seconds=0 if is_passing else None, error=f"SNS: {code}")
        except BotoCoreError as error:
            return Posted(False, is_ambiguous=True, error=type(error).__name__)
        return Posted(True)

    def update(self, alert: Alert, message: Message) -> Posted:
        """A mail stays as it is."""
        return Posted(False, is_gone=True)

    def reply(self, alert: Alert, message: Message, *, is_repeat: bool) -> Posted:
        """A mail has no thread."""
        return Posted(False, is_gone=True)

    def find(self, notice: Alert | Digest, message: Message | None) -> Posted | None:
        """Whether a mail arrived cannot be asked."""
        return None
