"""What is wrong with input that does not fit its model, in words that never repeat the input."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError


def wrong_fields(error: ValidationError, whole: str) -> str:
    """Each wrong field with what is wrong about it; `whole` names the input where it is wrong as a whole."""
    return "; ".join(f"{'.'.join(map(str, place(e['loc']))) or whole}: {e['msg']}" for e in error.errors())


def place(location: Sequence[int | str]) -> list[int | str]:
    """Where in the input an error is. The names of alternative forms, written in parentheses, are no part of it."""
    return [part for part in location if not str(part).startswith("(")]
