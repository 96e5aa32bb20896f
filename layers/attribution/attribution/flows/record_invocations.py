"""Record the metered half of every request in invocation logs, priced, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import NamedTuple

from attribution.directory import is_opaque, resolved
from attribution.errors import InputRejected
from attribution.meters import Meter, Tier, TokenKind
from attribution.models import model_reference
from attribution.ports import Directory, Invocations, MeteredHalf, MeteredRecord, Prices, Quarantine, Recorded
from attribution.prices import PriceList, Rates
from attribution.usage import ESTIMATE_CURRENCY, InvocationKey, Metered, PricedKind

# Notices that one input may leave. An object that is no log at all has as many broken lines as it has lines.
MOST_NOTICES = 100
# Halves that are written at once. Memory holds no more of an input, however long it is.
HALVES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class RecordedInvocations:
    """What became of the records of one input. `conflicting` share a request id with a record that says something else.

    Of the `recorded` requests, `unpriced` have units without a known price, and `unmeasured` ones lack counters.
    """

    recorded: int = 0
    repeated: int = 0
    conflicting: int = 0
    rejected: int = 0
    unpriced: int = 0
    unmeasured: int = 0
    too_old: int = 0
    ignored: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def record_invocations(
    records: Iterable[MeteredRecord | InputRejected | None],
    *,
    invocations: Invocations,
    prices: Prices,
    directory: Directory,
    quarantine: Quarantine,
    oldest: datetime,
) -> RecordedInvocations:
    """Record what was read; a broken record is quarantined and its neighbours count. None stands for what is no record.

    A request from before `oldest` is left out: its item may have expired, and recording it again would count it twice.
    """
    outcome: Counter[str] = Counter()
    pricing = Pricing(prices, directory)
    notices = _Notices(quarantine)
    halves: dict[InvocationKey, MeteredHalf] = {}
    for record in records:
        if record is None:
            outcome["ignored"] += 1
        elif isinstance(record, InputRejected):
            notices.put(record)
            outcome["rejected"] += 1
        elif record.timestamp < oldest:
            outcome["too_old"] += 1
        else:
            # Of two records of one request, the first stands: they are not written at once.
            if len(halves) == HALVES_AT_ONCE or record.key in halves:
                outcome.update(_written(halves.values(), invocations, notices))
                halves.clear()
            halves[record.key] = MeteredHalf(record.key, pricing.metered(record))
    outcome.update(_written(halves.values(), invocations, notices))
    notices.close()
    return RecordedInvocations(**outcome)


def _written(halves: Iterable[MeteredHalf], invocations: Invocations, notices: _Notices) -> Counter[str]:
    """Write the halves; the first that cannot be written raises its error, once all others are."""
    outcome: Counter[str] = Counter()
    batch = list(halves)
    for (key, metered), written in zip(batch, invocations.record_metered(batch), strict=True):
        if isinstance(written, Exception):
            raise written
        if written.conflicts:
            reason = f"request {key} was already recorded with other values: the first stands"
            notices.put(InputRejected(metered.log_object, reason))
        outcome.update(_named(written, metered))
    return outcome


def _named(written: Recorded, metered: Metered) -> list[str]:
    if not written.is_new:
        return ["conflicting" if written.conflicts else "repeated"]
    named = ["recorded"]
    if any(kind.cost is None for kind in metered.kinds.values()):
        named.append("unpriced")
    if "unmeasured" in metered.flags:
        named.append("unmeasured")
    return named


class _Notices:
    """Quarantine notices of one input, the last of which says how many more there would be."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._count = 0
        self._last: InputRejected | None = None

    def put(self, rejected: InputRejected) -> None:
        """Keep a notice, or count it where there are enough."""
        self._count += 1
        self._last = rejected
        if self._count <= MOST_NOTICES:
            self._quarantine.put(rejected)

    def close(self) -> None:
        """Say how many were only counted."""
        more = self._count - MOST_NOTICES
        if more > 0 and self._last is not None:
            reason = f"{more} more records up to this one have no notice of their own; this one: {self._last.reason}"
            self._quarantine.put(InputRejected(self._last.source, reason, self._last.line))


class _Sort(NamedTuple):
    """What a model id and a tier stand for, and the prices of that model."""

    meter: Meter
    inference_profile: str
    listed: PriceList


class Pricing:
    """Prices records, each with the price in force on its usage day, by the Region that was called."""

    def __init__(self, prices: Prices, directory: Directory) -> None:
        self._prices = prices
        self._directory = directory
        self._listed: dict[str, PriceList] = {}
        self._sorts: dict[tuple[str, Tier], _Sort] = {}
        self._rates: dict[tuple[str, Tier, str, date], tuple[Rates, str]] = {}

    def metered(self, record: MeteredRecord) -> Metered:
        """The metered half of a record: its model by the canonical key, its units priced."""
        place = (record.model_id, record.tier, record.key.region, record.timestamp.date())
        found = self._rates.get(place)
        if found is None:
            found = self._rates[place] = self._rates_of(record)
        rates, profile = found
        rates = rates.by_context(record.units)
        kinds, source = rates.price(record.units)
        return _metered(record, rates.meter, profile, kinds, source)

    def _rates_of(self, record: MeteredRecord) -> tuple[Rates, str]:
        """What all requests of one model id, tier and Region on one day are priced by, and the profile they go through."""
        what = (record.model_id, record.tier)
        if what not in self._sorts:
            self._sorts[what] = self._sort_of(record)
        meter, profile, listed = self._sorts[what]
        return listed.rates(meter, record.key.region, record.timestamp.date()), profile

    def _sort_of(self, record: MeteredRecord) -> _Sort:
        reference = model_reference(record.model_id)
        meter, profile = Meter(reference.model, TokenKind.INPUT, record.tier, reference.routing), reference.inference_profile
        if is_opaque(meter.model):
            half = resolved(_metered(record, meter, profile, {}, ""), self._directory.find([meter.model]))
            meter, profile = Meter(half.model, TokenKind.INPUT, half.tier, half.routing), half.inference_profile
        if meter.model not in self._listed:
            self._listed[meter.model] = self._prices.load([meter.model])
        return _Sort(meter, profile, self._listed[meter.model])


def _metered(
    record: MeteredRecord, meter: Meter, profile: str, kinds: Mapping[TokenKind, PricedKind], price_source: str
) -> Metered:
    model, _, tier, routing = meter
    # All fields, in their order: that takes half as long as with names or defaults.
    return Metered(
        record.timestamp,
        record.model_id,
        model,
        record.operation,
        routing,
        tier,
        profile,
        record.iam_principal,
        kinds,
        record.request_metadata,
        record.error_code,
        record.flags,
        price_source,
        record.log_object,
        record.guardrail_units,
        ESTIMATE_CURRENCY,
    )
