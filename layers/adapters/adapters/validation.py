"""What is wrong with input that does not fit its model, in words that never repeat the input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Location: TypeAlias = tuple[int | str, ...]
"""A place in a document: keys of mappings and numbers of list items, from the outside in."""
Problem: TypeAlias = tuple[Location, str]
"""What is wrong with a document as a whole, and where."""

# The forms that a part of the policy may have; pydantic puts their names among those of fields.
AWS_DEFINITION, SHORT_FORM = "(AWS definition)", "(short form)"
EVERYTHING, SOME_VALUES = "(everything)", "(some values)"
FORMS = (AWS_DEFINITION, SHORT_FORM, EVERYTHING, SOME_VALUES)


def wrong_fields(error: ValidationError, whole: str) -> str:
    """Each wrong field with what is wrong about it; `whole` names the input where it is wrong as a whole."""
    return "; ".join(f"{place(e['loc']) or whole}: {e['msg']}" for e in error.errors())


def place(location: Location) -> str:
    """A field by its names; inside a definition of AWS by its JSON path there."""
    if AWS_DEFINITION not in location:
        return ".".join(str(part) for part in location if part not in (*FORMS, "[key]"))
    at = location.index(AWS_DEFINITION)
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[at + 1 :])
    return f"{place(location[:at])}: ${inside}"


def refused(title: str, problems: Iterable[Problem]) -> ValidationError:
    """Problems that no field has by itself, as one error; raised by a validator, each keeps its own place."""
    errors = [
        InitErrorDetails(type=PydanticCustomError("problem", "{problem}", {"problem": text}), loc=location, input=None)
        for location, text in problems
    ]
    return ValidationError.from_exception_data(title, errors, hide_input=True)
