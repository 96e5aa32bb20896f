"""Another project's price table, held against ours: LiteLLM's `model_prices_and_context_window.json`.

It is a cross-check that says where the two disagree, and never a source: nothing of it is stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.models import ModelReference, model_reference
from attribution.prices import PriceList
from bedrock_costs.failures import Failure

_PROVIDERS = ("bedrock", "bedrock_converse", "bedrock_mantle")
_FIELDS: Mapping[str, tuple[TokenKind, Tier]] = {
    "input_cost_per_token": (TokenKind.INPUT, Tier.STANDARD),
    "output_cost_per_token": (TokenKind.OUTPUT, Tier.STANDARD),
    "cache_read_input_token_cost": (TokenKind.CACHE_READ, Tier.STANDARD),
    "cache_creation_input_token_cost": (TokenKind.CACHE_WRITE, Tier.STANDARD),
    "cache_creation_input_token_cost_above_1hr": (TokenKind.CACHE_WRITE_1H, Tier.STANDARD),
    "input_cost_per_token_batches": (TokenKind.INPUT, Tier.BATCH),
    "output_cost_per_token_batches": (TokenKind.OUTPUT, Tier.BATCH),
    "input_cost_per_token_above_200k_tokens": (TokenKind.INPUT, Tier.LONG_CONTEXT),
    "output_cost_per_token_above_200k_tokens": (TokenKind.OUTPUT, Tier.LONG_CONTEXT),
}
_REGIONAL_KEY = re.compile(r"^bedrock(?:_mantle)?/(?:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d|\*)/)?(?P<model>[^/]+)$")
_ROUNDED = Context(prec=6)
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One meter in one Region that the other table prices differently; both in US dollars per million units."""

    key: str
    meter: Meter
    region: str
    ours: Decimal
    theirs: Decimal

    @property
    def ratio(self) -> Decimal | None:
        """Theirs as a multiple of ours, to six digits; None where ours is zero."""
        return _ROUNDED.divide(self.theirs, self.ours) if self.ours else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two tables say of the same meters. `only_theirs` are prices of meters that ours has none for."""

    agreed: int
    disagreements: tuple[Disagreement, ...]
    only_theirs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Theirs:
    key: str
    meter: Meter
    region: str
    amount: Decimal


def read_table(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of Bedrock models by key, numbers exact."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return {key: entry for key, entry in document.items() if entry.get("litellm_provider") in _PROVIDERS}
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", fix="Check the path.") from error
    except (ValueError, AttributeError) as error:
        raise Failure(f"{path} is no table of model prices", fix="Name a copy of LiteLLM's price table.") from error


def models_of(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The canonical models of a table."""
    return sorted({reference.model for key in table if (reference := _reference(key)[0])})


def compare(table: Mapping[str, Mapping[str, Any]], prices: PriceList, region: str, on: date) -> Comparison:
    """The table's prices held against those in force on a day, in its own Region where a key names one, else in `region`."""
    agreed = 0
    disagreements: list[Disagreement] = []
    only_theirs: list[str] = []
    for theirs in _prices(table, region):
        ours = prices.find(theirs.meter, theirs.region, on)
        if ours is None:
            only_theirs.append(f"{theirs.key} {theirs.meter.token_kind.value} {theirs.meter.tier.value}")
            continue
        per_million = ours.cost_of(1_000_000)
        if per_million == theirs.amount:
            agreed += 1
        else:
            disagreements.append(Disagreement(theirs.key, theirs.meter, theirs.region, per_million, theirs.amount))
    return Comparison(agreed, tuple(disagreements), tuple(only_theirs))


def _prices(table: Mapping[str, Mapping[str, Any]], region: str) -> Iterator[_Theirs]:
    profiled = set(_with_geographic_profile(table))
    for key, entry in sorted(table.items()):
        reference, named = _reference(key)
        # Where a model has a geographic profile, its bare key is what a global one costs; the global key says the same.
        is_bare = reference is not None and not reference.inference_profile and not named
        if reference is None or (is_bare and reference.model in profiled):
            continue
        for field, (kind, tier) in _FIELDS.items():
            amount = entry.get(field)
            if isinstance(amount, int | Decimal):
                meter = Meter(reference.model, kind, tier, reference.routing)
                yield _Theirs(key, meter, named or region, Decimal(amount) * _MILLION)


def _with_geographic_profile(table: Iterable[str]) -> Iterator[str]:
    for key in table:
        reference, _ = _reference(key)
        if reference and reference.inference_profile and reference.routing is Routing.REGIONAL:
            yield reference.model


def _reference(key: str) -> tuple[ModelReference | None, str]:
    """The model and the Region that a key names; no model where it names a commitment, a resolution or another API."""
    match = _REGIONAL_KEY.match(key)
    if match:
        region = match["region"] or ""
        return model_reference(match["model"]), "" if region == "*" else region
    return (None, "") if "/" in key else (model_reference(key.replace("@", "-")), "")
