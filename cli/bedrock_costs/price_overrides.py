"""Prices that a customer states, as a file: YAML (a list under `prices`) or CSV, with the same names.

Every value is text until it is checked, so that no reader makes a binary fraction of an amount.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.models import model_of_name, model_reference
from attribution.prices import Price, PriceOrigin
from bedrock_costs.failures import Failure

_MAX_BYTES = 1024 * 1024
_FIX = "Correct the file; docs/prices.md has an example."


class _Override(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    model: Annotated[str, Field(min_length=1, max_length=2048)]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    token_kind: TokenKind
    routing: Routing = Routing.REGIONAL
    tier: Tier = Tier.STANDARD
    amount: Annotated[Decimal, Field(ge=0, max_digits=28, decimal_places=14)]
    per: Literal["1", "1000", "1000000"]
    effective_from: date
    note: Annotated[str, Field(max_length=200)] = ""

    def price(self) -> Price:
        return Price(
            meter=Meter(model_of_name(model_reference(self.model).model), self.token_kind, self.tier, self.routing),
            region=self.region,
            amount=self.amount,
            per=int(self.per),
            effective_from=self.effective_from,
            source=f"override: {self.note}" if self.note else "override",
            origin=PriceOrigin.OVERRIDE,
        )


def read_overrides(path: Path) -> list[Price]:
    """The prices of a file. Everything that is wrong with it is told at once."""
    prices: list[Price] = []
    wrong: list[str] = []
    for number, row in enumerate(_rows(path), start=1):
        try:
            prices.append(_Override.model_validate({name: value for name, value in row.items() if value != ""}).price())
        except ValidationError as error:
            wrong += [f"price {number}: {'.'.join(map(str, e['loc'])) or 'price'}: {e['msg']}" for e in error.errors()]
    if wrong:
        raise Failure(f"{path} has prices that cannot be used", fix=_FIX, details=tuple(wrong))
    if not prices:
        raise Failure(f"{path} has no prices", fix=_FIX)
    return prices


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Failure(f"{path} is larger than {_MAX_BYTES:,} bytes", fix="Name a file of prices.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}", fix="Check the path, and that the file is UTF-8.") from error
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(io.StringIO(text), restkey="(more)", restval=""))
    try:
        # Plain values stay text: a loader that made numbers of them would round amounts.
        document = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - builds strings, lists and mappings alone
    except yaml.YAMLError as error:
        raise Failure(f"{path} is not YAML: {error}", fix=_FIX) from error
    rows = document.get("prices") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Failure(f"{path} has no list of prices under the key `prices`", fix=_FIX)
    return rows
