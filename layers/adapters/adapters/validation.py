"""What is wrong with input that does not fit its model, in words that never repeat the input."""

from __future__ import annotations

from pydantic import ValidationError


def wrong_fields(error: ValidationError, whole: str) -> str:
    """Each wrong field with what is wrong about it; `whole` names the input where it is wrong as a whole."""
    return "; ".join(f"{'.'.join(str(part) for part in e['loc']) or whole}: {e['msg']}" for e in error.errors())
