"""Transactions: a condition that fails is a conflict to decide on again; what passes by itself is waited out."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from adapters import dynamodb
from adapters.dynamodb import Table
from attribution.errors import LedgerConflict


class Cancelled(ClientError):
    """A transaction that DynamoDB cancelled."""

    def __init__(self, *codes: str) -> None:
        answer: Any = {
            "Error": {"Code": "TransactionCanceledException"},
            "CancellationReasons": [{"Code": code} for code in codes],
        }
        super().__init__(answer, "TransactWriteItems")


class Client:
    """A DynamoDB that answers the coming transactions as it was told."""

    class exceptions:
        TransactionCanceledException = Cancelled

    def __init__(self, *answers: Cancelled | None) -> None:
        self.answers = list(answers)

    def transact_write_items(self, **_: Any) -> None:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb, "_back_off", lambda attempt: None)


def table(*answers: Cancelled | None) -> Table:
    return Table(Client(*answers), "ledger")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_what_passes_by_itself_is_waited_out(code: str) -> None:
    made = table(Cancelled("None", code), Cancelled(code, "None"), None)

    made.transact([], "somebody else was first")

    assert made.client.answers == []  # type: ignore[attr-defined]


def test_a_condition_that_does_not_hold_is_a_conflict_even_beside_another_transaction() -> None:
    with pytest.raises(LedgerConflict, match="somebody else was first"):
        table(Cancelled("TransactionConflict", "ConditionalCheckFailed")).transact([], "somebody else was first")


def test_another_reason_is_not_taken_for_a_conflict() -> None:
    with pytest.raises(Cancelled):
        table(Cancelled("ValidationError")).transact([], "somebody else was first")


def test_waiting_has_an_end() -> None:
    with pytest.raises(LedgerConflict, match="kept cancelling"):
        table(*[Cancelled("TransactionConflict")] * 50).transact([], "somebody else was first")
