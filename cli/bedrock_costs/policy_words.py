"""What is wrong in a policy document, where the validator's own words speak of its types and patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PATTERNS: Mapping[str, str] = {
    r"^\d{12}$": "an account id is 12 digits",
    r"^[A-Z]{3}$": "write an ISO code in capital letters, such as USD",
    r"^[A-Za-z0-9][A-Za-z0-9 ._/+=@-]*$": "begin with a letter or digit; go on with letters, digits, spaces and . _ / + = @ -",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "begin with a letter or digit; go on with letters, digits and . _ -",
    r"^[^:\\\x00-\x1f]+$": "write one line without a colon and without a backslash",
    r"^([01]\d|2[0-3]):[0-5]\d$": 'write hours and minutes of a day, such as "09:00"',
    r"^[A-Za-z0-9/_+=.@-]*$": "write the name of a secret: letters, digits and / _ + = . @ -",
    r"^([CGD][A-Z0-9]{2,20})?$": "write the id of a Slack channel, such as C0SEARCH",
    r"^(<!subteam\^S[A-Z0-9]{2,20}>|<@[UW][A-Z0-9]{2,20}>)?$": "write a user group or a user, such as <!subteam^S012AB3CD>",
    r"^[UW][A-Z0-9]{2,20}$": "write the id of a Slack user, such as U012AB3CD",
}
"""What to write where a pattern does not fit; of every pattern that a policy document has."""
_MAPPINGS = {
    "limit": '{amount: "5", currency: USD}',
    "accounts": '{"111122223333": platform}',
    "sees": "all, or values by dimension, such as {team: [search]}",
    "match": "values by dimension, such as {team: [search]}",
    "document": "the keys cost_categories, shared_charges and budgets",
    "item": "its keys, such as name: search",
}
_SENTENCES = {
    "extra_forbidden": "there is no such key",
    "missing": "the key is missing",
    "string_type": "write plain text",
    "decimal_parsing": "write a number, such as 1200 or 99.50",
    "decimal_type": "write a number, such as 1200 or 99.50",
    "finite_number": "write a number, such as 1200 or 99.50",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
}
_WITH_BOUND = {
    "literal_error": "write {expected}",
    "enum": "write {expected}",
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write {ge} or more",
    "less_than": "write less than {lt}",
    "less_than_equal": "write {le} or less",
    "too_short": "name at least {min_length}",
    "too_long": "name {max_length} at most",
    "string_too_short": "write at least {min_length} characters",
    "string_too_long": "write {max_length} characters at most",
    "decimal_max_digits": "write {max_digits} digits at most",
    "decimal_max_places": "write {decimal_places} decimal places at most",
    "decimal_whole_digits": "write {whole_digits} digits before the decimal point at most",
}


def in_words(error: Mapping[str, Any]) -> str:
    """An error of the validator as what to write instead."""
    kind, context = error["type"], error.get("ctx") or {}
    sentence = _WITH_BOUND.get(kind, "").format(**context) or _SENTENCES.get(kind, "")
    if kind == "string_pattern_mismatch":
        sentence = PATTERNS[context["pattern"]]
    elif kind in ("tuple_type", "list_type"):
        sentence = f"write a list: [{error['input']}]" if isinstance(error["input"], str) else "write a list: [search]"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        sentence = _mapping(error["loc"])
    elif kind.startswith("date"):
        sentence = (
            f"write a {'moment, such as 2026-10-01T00:00:00Z' if kind.startswith('datetime') else 'day, such as 2026-10-01'}"
        )
    return sentence or str(error["msg"]).removeprefix("Value error, ")


def _mapping(location: tuple[int | str, ...]) -> str:
    from adapters.validation import FORMS

    named = [part for part in location if part not in FORMS]
    field = "document" if not named else "item" if isinstance(named[-1], int) else named[-1]
    return f"write {_MAPPINGS[field]}" if field in _MAPPINGS else "write keys with values, such as {key: value}"
