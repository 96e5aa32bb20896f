"""The directory: what an ARN that callers send stands for, where the ARN itself does not say.

An application inference profile, a custom model or provisioned throughput has an opaque id; only Bedrock's API knows the model
behind it, and only while it exists. An entry is kept after that, so that old requests stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from attribution.meters import Routing, Tier
from attribution.models import model_reference
from attribution.usage import Counters, Metered, Observed, Pairs, Usage, UsageKey

_ARN = re.compile(r"^arn:[^:]+:bedrock:(?P<region>[^:]*):(?P<account>[^:]*):(?P<kind>[^/]+)/.+$")
INFERENCE_PROFILE = "inference-profile"
# Both words name profiles of an account's own: those that AWS defines say their model, and are never looked up.
_KINDS = {"application-inference-profile": INFERENCE_PROFILE}
_CUSTOM_MODEL = ("custom-model", "custom-model-deployment")


@dataclass(frozen=True, slots=True)
class Described:
    """What Bedrock's API says of one ARN. `model_arns` are what it leads to: one model, in every Region that may serve it."""

    arn: str
    model_arns: tuple[str, ...]
    name: str = ""
    tags: Pairs = ()


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """What is known of one ARN. `model` is a canonical key, empty where what the ARN leads to names no single model."""

    arn: str
    model: str
    routing: Routing
    tier: Tier
    first_seen: datetime
    last_seen: datetime
    deleted_at: datetime | None = None


def is_opaque(model: str) -> bool:
    """Whether a model key is an ARN that did not say which model it stands for."""
    return model.startswith("arn:")


def kind_of(arn: str) -> str:
    """What kind of thing an ARN names, such as `inference-profile` or `custom-model`; empty if it is none of Bedrock's."""
    match = _ARN.match(arn)
    return _KINDS.get(match["kind"], match["kind"]) if match else ""


def region_of_arn(arn: str) -> str:
    """The Region that an ARN names; empty where it names none."""
    match = _ARN.match(arn)
    return match["region"] if match else ""


def entry_of(described: Described, before: DirectoryEntry | None, now: datetime) -> DirectoryEntry:
    """The entry of something that exists now."""
    model, routing = _model_of(described.model_arns)
    kind = kind_of(described.arn)
    if model and kind in _CUSTOM_MODEL:
        # As the bill names it: a customized model has prices of its own.
        model = f"{model} custom model"
    return DirectoryEntry(
        arn=described.arn,
        model=model,
        routing=routing,
        tier=Tier.PROVISIONED if kind == "provisioned-model" else Tier.STANDARD,
        first_seen=before.first_seen if before else now,
        last_seen=now,
    )


def gone(entry: DirectoryEntry, now: datetime) -> DirectoryEntry:
    """The entry of something that does not exist any more; what it stood for stays."""
    return entry if entry.deleted_at else replace(entry, deleted_at=now)


def _model_of(arns: Iterable[str]) -> tuple[str, Routing]:
    """The one model that ARNs lead to. What may be served anywhere leads to an ARN without a Region, too."""
    known = sorted(arns)
    models = {model_reference(arn).model for arn in known}
    routing = Routing.GLOBAL if any(not region_of_arn(arn) for arn in known) else Routing.REGIONAL
    return ("", Routing.REGIONAL) if len(models) != 1 or is_opaque(min(models)) else (min(models), routing)


Entries = Mapping[str, DirectoryEntry]
"""What is known of ARNs, by ARN."""


def resolved(metered: Metered, directory: Entries) -> Metered:
    """The metered half with the model that its ARN stands for; unchanged where the directory does not know the ARN.

    The ARN stays as the inference profile that was called, so that usage stands behind the bill's rows of that profile; the
    model, its routing and a tier that the ARN implies become those of prices and bills. Call it before pricing: only then is
    there a meter that has a price.
    """
    entry = _entry(metered.model, directory)
    if entry is None:
        return metered
    tier, profile = _tier(entry, metered.tier), _profile(entry, metered.inference_profile)
    return replace(metered, model=entry.model, routing=entry.routing, tier=tier, inference_profile=profile)


def resolved_call(observed: Observed, directory: Entries) -> Observed:
    """The observed half in the same way."""
    entry = _entry(observed.model_id, directory)
    if entry is None:
        return observed
    tier, profile = _tier(entry, observed.tier), _profile(entry, observed.inference_profile)
    return replace(observed, model_id=entry.model, routing=entry.routing, tier=tier, inference_profile=profile)


def resolved_key(key: UsageKey, directory: Entries) -> UsageKey:
    """The counter that requests of this one belong to, once they are resolved."""
    entry = _entry(key.model, directory)
    if entry is None:
        return key
    tier, profile = _tier(entry, key.tier), _profile(entry, key.inference_profile)
    return key._replace(model=entry.model, routing=entry.routing, tier=tier, inference_profile=profile)


def resolved_usage(usage: Sequence[Usage], find: Callable[[Iterable[str]], Entries]) -> Sequence[Usage]:
    """The counters under the models that their ARNs stand for: requests that were recorded before that was known, and whose
    items have expired since, stand behind their bill like any other.
    """
    entries = find({item.key.model for item in usage if is_opaque(item.key.model)})
    if not entries:
        return usage
    merged: dict[UsageKey, Counters] = {}
    for item in usage:
        key = resolved_key(item.key, entries)
        merged[key] = merged.get(key, Counters()) + item.counters
    return [Usage(key, counters) for key, counters in sorted(merged.items())]


def _entry(model: str, directory: Entries) -> DirectoryEntry | None:
    entry = directory.get(model) if is_opaque(model) else None
    return entry if entry and entry.model else None


def _tier(entry: DirectoryEntry, stated: Tier) -> Tier:
    return entry.tier if entry.tier is not Tier.STANDARD else stated


def _profile(entry: DirectoryEntry, stated: str) -> str:
    return entry.arn if kind_of(entry.arn) == INFERENCE_PROFILE else stated
