"""Price requests that were recorded without a price, now that there is one: each once, its counters by exactly the difference.

A request is changed only from the state that was read, and what has a price keeps it. The stream of the table moves the
counters, as for every other change. Requests that are done leave the index they are found by, so an attempt that ended early
goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date

from attribution.directory import DirectoryEntry, is_opaque, resolved, resolved_call
from attribution.meters import Meter, TokenKind
from attribution.ports import Directory, EstimatePrices, RepriceQueue, UnpricedInvocations, UnpricedUsage
from attribution.prices import PriceList, price_units
from attribution.usage import InvocationKey, Metered, Observed, PricedKind

# A message's share: what a function prices in a fraction of its time.
REQUESTS_PER_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class RepricedInvocations:
    """What became of the requests of one message.

    `changed` ones have a price or a model by now, `waiting` ones still have neither. `overtaken` ones were changed by somebody
    else meanwhile, and `done` ones before.
    """

    changed: int = 0
    waiting: int = 0
    overtaken: int = 0
    done: int = 0
    has_more: bool = False

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def reprice_invocations(
    usage: UnpricedUsage,
    after: str,
    *,
    invocations: UnpricedInvocations,
    prices: EstimatePrices,
    directory: Directory,
    queue: RepriceQueue,
) -> RepricedInvocations:
    """Price the next requests of a day and model behind `after`, and ask for the rest."""
    keys = invocations.unpriced(usage, after=after, limit=REQUESTS_PER_MESSAGE)
    entries = directory.find([usage.model] if is_opaque(usage.model) else [])
    models = {usage.model, *(entry.model for entry in entries.values())}
    listed = prices.pricing({(model, key.region) for model in models for key in keys}).prices
    outcomes = Counter(_reprice(key, usage, invocations, entries, listed) for key in keys)
    has_more = len(keys) == REQUESTS_PER_MESSAGE
    if has_more:
        queue.reprice(usage, after=str(keys[-1]))
    return RepricedInvocations(**outcomes, has_more=has_more)


def _reprice(
    key: InvocationKey,
    usage: UnpricedUsage,
    invocations: UnpricedInvocations,
    entries: Mapping[str, DirectoryEntry],
    prices: PriceList,
) -> str:
    """Price one request by the half that counts; returns what became of it."""
    found = invocations.get(key)
    half = (found.metered or found.observed) if found else None
    if found is None or half is None:
        return "done"
    if all(kind.cost is not None or not kind.units for kind in half.kinds.values()):
        invocations.forget_unpriced(found, usage)
        return "done"
    if found.metered is not None:
        metered = _priced_metered(found.metered, key.region, entries, prices)
        if metered != found.metered:
            return "changed" if invocations.replace_metered(key, found.metered, metered) else "overtaken"
        return "waiting"
    if found.observed is not None:
        observed = _priced_observed(found.observed, key.region, entries, prices)
        if observed != found.observed:
            return "changed" if invocations.replace_observed(key, found.observed, observed) else "overtaken"
    return "waiting"


def _priced_metered(before: Metered, region: str, entries: Mapping[str, DirectoryEntry], prices: PriceList) -> Metered:
    # Under the key that a part of it has a price under, it stays.
    half = before
    if all(kind.cost is None for kind in before.kinds.values()):
        half = resolved(before, entries)
        meter = Meter(half.model, TokenKind.INPUT, half.tier, half.routing)
        units = {kind: priced.units for kind, priced in half.kinds.items()}
        half = replace(half, tier=prices.rates(meter, region, half.usage_date).by_context(units).meter.tier)
    meter = Meter(half.model, TokenKind.INPUT, half.tier, half.routing)
    kinds, source = _priced_kinds(half.kinds, half.price_source, prices, region, half.usage_date, meter)
    return replace(half, kinds=kinds, price_source=source)


def _priced_observed(before: Observed, region: str, entries: Mapping[str, DirectoryEntry], prices: PriceList) -> Observed:
    half = resolved_call(before, entries) if all(kind.cost is None for kind in before.kinds.values()) else before
    meter = Meter(half.model_id, TokenKind.INPUT, half.tier, half.routing)
    kinds, source = _priced_kinds(half.kinds, half.price_source, prices, region, half.timestamp.date(), meter)
    return replace(half, kinds=kinds, price_source=source)


def _priced_kinds(
    kinds: Mapping[TokenKind, PricedKind], source: str, prices: PriceList, region: str, on: date, meter: Meter
) -> tuple[dict[TokenKind, PricedKind], str]:
    """The kinds with prices where they had none, and where all of their prices come from."""
    units = {kind: priced.units for kind, priced in kinds.items() if priced.cost is None}
    priced, more = price_units(units, prices, region=region, on=on, meter_of=meter)
    sources = {*source.split("; "), *more.split("; ")} - {""}
    return {**kinds, **priced}, "; ".join(sorted(sources))
