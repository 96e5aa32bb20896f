"""The environment: what a function needs and does not find is named as the variable it is."""

from __future__ import annotations

import pytest

from adapters.settings import DeliverAlerts, RollUpUsage, load
from attribution.errors import PolicyInvalid


def test_missing_and_wrong_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER_TABLE", raising=False)
    monkeypatch.setenv("ESTIMATE_DELAY_SECONDS", "soon-secret")

    with pytest.raises(PolicyInvalid) as raised:
        load(RollUpUsage)

    assert "LEDGER_TABLE: Field required" in str(raised.value)
    assert "ESTIMATE_DELAY_SECONDS: " in str(raised.value)
    assert "soon-secret" not in str(raised.value)


def test_a_comma_separated_list_loses_its_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ALERTS_TABLE": "alerts",
        "LEDGER_TABLE": "ledger",
        "ALERT_TOPIC_ARN": "arn:aws:sns:us-east-1:111122223333:alerts",
        "LEDGER_RETENTION_DAYS": "760",
        "WORK_BUCKET": "work",
        "ALERT_RETRY_QUEUE_URL": "https://sqs/queue",
        "SLACK_ALLOWED_HOSTS": "hooks.slack.com, ,hooks.slack-gov.com ",
    }.items():
        monkeypatch.setenv(name, value)

    assert load(DeliverAlerts).slack_allowed_hosts == ("hooks.slack.com", "hooks.slack-gov.com")
