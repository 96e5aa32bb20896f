"""What is wrong with input that does not fit its model, in words that never repeat the input."""

from __future__ import annotations

from pydantic import ValidationError

# The forms that a cost category may have; pydantic puts their names among those of fields.
AWS_DEFINITION, SHORT_FORM = "(AWS definition)", "(short form)"


def wrong_fields(error: ValidationError, whole: str) -> str:
    """Each wrong field with what is wrong about it; `whole` names the input where it is wrong as a whole."""
    return "; ".join(f"{place(e['loc']) or whole}: {e['msg']}" for e in error.errors())


def place(location: tuple[int | str, ...]) -> str:
    """A field by its names; inside a definition of AWS by its JSON path there."""
    if AWS_DEFINITION not in location:
        return ".".join(str(part) for part in location if part not in (SHORT_FORM, "[key]"))
    at = location.index(AWS_DEFINITION)
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[at + 1 :])
    return f"{place(location[:at])}: ${inside}"
