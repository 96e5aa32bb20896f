"""What the directory adds to one usage day: tags that the bill will carry or does not know, names of accounts, their units.

The tags stand under AWS's names for them, beside the bill's own, so that rules need not know where a tag came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from attribution.canonical import content_hash
from attribution.charges import OriginCharge
from attribution.cost_categories import ACCOUNT_TAG, PRINCIPAL_TAG, RESOURCE_TAG, aws_tags, tag_kind
from attribution.expressions import Dimension, Source
from attribution.rules import Rules
from attribution.tag_history import ACCOUNT, PRINCIPALS, Attributes, identity_of
from attribution.usage import Pairs, UsageKey

_PREFIXES = {PRINCIPAL_TAG: "iamPrincipal/", ACCOUNT_TAG: "accountTag/", RESOURCE_TAG: ""}


@dataclass(frozen=True, slots=True)
class DayDirectory:
    """The tags of one usage day by the id of what has them, and names and units of accounts: what the rules look at, no more.

    `billed` names the (kind, key) that the day's bill carries, keys in lower case: AWS applied those hour by hour, and a charge
    without them was not tagged. The directory fills in what the bill knows nothing of, as a key that is not activated.
    """

    tags: Mapping[str, Pairs] = field(default_factory=dict)
    account_names: Mapping[str, str] = field(default_factory=dict)
    organizational_units: Mapping[str, str] = field(default_factory=dict)
    billed: frozenset[tuple[str, str]] = frozenset()

    def added_tags(self, principal: str, resources: Iterable[str], account_id: str, session_tags: Pairs = ()) -> dict[str, str]:
        """The tags of a caller, of what was called, and of the account, under AWS's names.

        A session tag takes the place of the principal's tag of that key, whatever its letter case.
        """
        if not self.tags and not session_tags:
            return {}
        overridden = {key.casefold() for key, _ in session_tags}
        own = [(key, value) for key, value in self._tags_of(principal) if key.casefold() not in overridden]
        found = [
            *((PRINCIPAL_TAG, key, value) for key, value in (*own, *session_tags)),
            *((RESOURCE_TAG, key, value) for resource in sorted({*resources}) for key, value in self._tags_of(resource)),
            *((ACCOUNT_TAG, key, value) for key, value in self._tags_of(account_id)),
        ]
        return {f"{_PREFIXES[kind]}{key}": value for kind, key, value in found if (kind, key.casefold()) not in self.billed}

    def tags_of_usage(self, key: UsageKey) -> dict[str, str]:
        """The tags of everything that a counter names."""
        return self.added_tags(key.iam_principal, (key.inference_profile, key.project), key.account_id, key.session_tags)

    def fingerprint(self) -> str:
        """The hash of what the day is allocated by; empty where the directory adds nothing."""
        added = [self.tags, self.account_names, self.organizational_units]
        return content_hash([sorted(part.items()) for part in added]) if any(added) else ""

    def _tags_of(self, text: str) -> Pairs:
        identity = identity_of(text)
        return self.tags.get(identity.id, ()) if identity else ()


NO_DIRECTORY = DayDirectory()


def ids_named(keys: Iterable[UsageKey], charges: Iterable[OriginCharge] = ()) -> list[str]:
    """The ids, in the directory, of everything that usage and charges name: callers, what they called, accounts."""
    named = {text for k in keys for text in (k.iam_principal, k.inference_profile, k.project, k.account_id, k.model)}
    named |= {text for c in charges for text in (c.iam_principal, c.resource_id, c.account_id)}
    return sorted({identity.id for identity in map(identity_of, named) if identity})


def directory_of_day(known: Mapping[str, Attributes], rules: Rules, charges: Iterable[OriginCharge] = ()) -> DayDirectory:
    """What the rules look at of what is known of a day's names, without the tags that its bill carries itself."""
    asked = rules.asked()
    keys = {tag_kind(key)[1].casefold() for source, key in asked if source is Source.TAGS}
    billed = frozenset(
        (kind, key.casefold())
        for charge in charges
        for name, value in aws_tags(charge.tags).items()
        for kind, key in [tag_kind(name)]
        if value
    )
    accounts = {id: attributes for id, attributes in sorted(known.items()) if _kind_of_tag(id) == ACCOUNT_TAG}
    names = {id: a.name for id, a in accounts.items() if a.name} if rules.ask_for_account_names else {}
    is_unit_asked = (Source.DIMENSIONS, Dimension.ORGANIZATIONAL_UNIT) in asked
    units = {id: a.organisational_unit for id, a in accounts.items() if a.organisational_unit} if is_unit_asked else {}
    tags = {id: _kept(id, attributes.tags, keys, billed) for id, attributes in sorted(known.items())}
    return DayDirectory({id: kept for id, kept in tags.items() if kept}, names, units, billed)


def _kept(id: str, tags: Pairs, keys: set[str], billed: frozenset[tuple[str, str]]) -> Pairs:
    """The tags that rules look at; a rule that asks for the absence of every tag looks at all."""
    kind = _kind_of_tag(id)
    return tuple(
        (key, value) for key, value in tags if ("" in keys or key.casefold() in keys) and (kind, key.casefold()) not in billed
    )


def _kind_of_tag(id: str) -> str:
    identity = identity_of(id)
    kind = identity.kind if identity else ""
    return ACCOUNT_TAG if kind == ACCOUNT else PRINCIPAL_TAG if kind in PRINCIPALS else RESOURCE_TAG
