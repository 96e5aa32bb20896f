"""Record the metered half of every request in an invocation log object, priced, once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime

from attribution.errors import InputRejected
from attribution.meters import Meter, TokenKind
from attribution.ports import InvocationLogs, Invocations, MeteredRecord, Prices, Quarantine, StoredObject
from attribution.prices import PriceList, price_units
from attribution.usage import Metered


@dataclass(frozen=True, slots=True)
class RecordedInvocations:
    """What became of an object's records. `conflicting` share a request id with a record that says something else."""

    recorded: int = 0
    repeated: int = 0
    conflicting: int = 0
    rejected: int = 0
    unpriced: int = 0
    too_old: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def record_invocations(
    source: StoredObject,
    *,
    logs: InvocationLogs,
    invocations: Invocations,
    prices: Prices,
    quarantine: Quarantine,
    oldest: datetime,
) -> RecordedInvocations:
    """Read one log object; a broken line is quarantined and its neighbours count.

    A request from before `oldest` is left out: its item may have expired, and recording it again would count it twice.
    """
    outcome = RecordedInvocations()
    listed: dict[str, PriceList] = {}
    for record in logs.read(source):
        if isinstance(record, InputRejected):
            quarantine.put(record)
            outcome = replace(outcome, rejected=outcome.rejected + 1)
            continue
        if record.metered.timestamp < oldest:
            outcome = replace(outcome, too_old=outcome.too_old + 1)
            continue
        model = record.metered.model
        if model not in listed:
            listed[model] = prices.load([model])
        metered = priced(record, listed[model])
        written = invocations.record_metered(record.key, metered)
        if written.conflicts:
            quarantine.put(
                InputRejected(str(source), f"request {record.key} was already recorded with other values: the first stands")
            )
        outcome = replace(
            outcome,
            recorded=outcome.recorded + int(written.is_new),
            repeated=outcome.repeated + int(not written.is_new and not written.conflicts),
            conflicting=outcome.conflicting + int(written.conflicts),
            unpriced=outcome.unpriced + int(written.is_new and any(k.cost is None for k in metered.kinds.values())),
        )
    return outcome


def priced(record: MeteredRecord, prices: PriceList) -> Metered:
    """The metered half with the price in force on its usage day, by the Region that was called."""
    metered = record.metered
    meter = Meter(metered.model, TokenKind.INPUT, metered.tier, metered.routing)
    units = {kind: amount.units for kind, amount in metered.kinds.items()}
    kinds, source = price_units(units, prices, region=record.key.region, on=metered.usage_date, meter_of=meter)
    return replace(metered, kinds=kinds, price_source=source)
