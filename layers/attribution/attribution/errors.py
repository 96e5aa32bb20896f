"""The error tree. Every message holds the value that was wrong and what to do about it.

AttributionError
|- InvalidAmount        a number that is not finite, not exact or not a Decimal
|- CurrencyMismatch     two currencies met in one sum
|- InputRejected        an input object is broken: it is quarantined, its neighbours count
|- DeliveryRefused      a cost report delivery cannot be proven: the previous one stays
|- DeliveryIncomplete   a delivery is being replaced while it is read: try again later
|- FanOutFailed         the files of a large delivery were not read: replay it once the cause is removed
|- ConservationViolated an allocation does not sum to what it was made from: nothing is published
|- PriceListUnavailable AWS's price list did not answer: known prices stay, try again later
|- QuestionInvalid      a question to the ledger cannot be understood: it names the parameter that is wrong
|- Unanswered           a question to the ledger has no answer: it says what is missing and what to ask instead
|  |- NotInLedger       what was asked for is not there, or not any more
|  `- DayUnproven       the parts of a ledger day do not add up to its total
|- LedgerConflict       somebody else moved the same item first: read again and decide again
`- PolicyInvalid        a budget, cost category or route that cannot be used
"""

from __future__ import annotations

from datetime import datetime


class AttributionError(Exception):
    """The root of every error this product raises on purpose."""


class InvalidAmount(AttributionError):
    """A number is not finite, not exact or not a Decimal."""


class CurrencyMismatch(AttributionError):
    """Two currencies met in one sum."""


class InputRejected(AttributionError):
    """An input object is broken and has to be quarantined; trying again would not help."""

    def __init__(self, source: str, reason: str, line: int | None = None) -> None:
        self.source = source
        self.reason = reason
        self.line = line
        where = source if line is None else f"{source} line {line}"
        super().__init__(f"{where}: {reason}")


class DeliveryRefused(AttributionError):
    """A cost report delivery cannot be used or proven; the delivery published before it stays."""


class DeliveryIncomplete(AttributionError):
    """A delivery is still being written, or was replaced while it was read, since then; a later attempt will succeed."""

    def __init__(self, message: str, *, since: datetime | None = None) -> None:
        self.since = since
        super().__init__(message)


class FanOutFailed(AttributionError):
    """An execution that was to read the files of a large delivery ended without a result; only another one will read them."""


class ConservationViolated(AttributionError):
    """Allocated and unallocated cost do not sum to the origin charges."""


class PriceListUnavailable(AttributionError):
    """AWS's price list did not answer, or not as it should; the prices that are known stay in force."""


class QuestionInvalid(AttributionError):
    """A question to the ledger cannot be understood. `parameter` is the part of it that is wrong; empty for the whole."""

    def __init__(self, parameter: str, reason: str) -> None:
        self.parameter = parameter
        self.reason = reason
        super().__init__(reason)


class Unanswered(AttributionError):
    """A question has no answer in the ledger: what is missing, why, and what to ask instead; `details` are more lines."""

    def __init__(self, what: str, why: str, remedy: str, details: tuple[str, ...] = ()) -> None:
        self.what = what
        self.why = why
        self.remedy = remedy
        self.details = details
        super().__init__(what)


class NotInLedger(Unanswered):
    """What was asked for is not in the ledger yet, or not any more."""


class DayUnproven(Unanswered):
    """The parts of a ledger day do not add up to its total: it was replaced while it was read, or is damaged."""


class LedgerConflict(AttributionError):
    """A conditional write lost against another writer."""


class PolicyInvalid(AttributionError):
    """A budget, cost category or route cannot be used as it is written."""
