"""What the columns of a report mean, for each kind of report, as SQL over one data file's own columns.

Every kind is brought to the same fields, so that the same bill gives the same origin charges whichever report tells it. Columns
may be missing, renamed by hand-written exports or, in legacy reports, come and go with the month: a field without its column is
empty, and `notes` says what that costs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from attribution.deliveries import ReportKind
from attribution.money import SCALE

DECIMAL = f"DECIMAL(38, {SCALE})"

# Digits of a number that a double can carry; a text with more of them is no double's, and is taken exactly or not at all.
_DIGITS_OF_A_DOUBLE = 17
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"

TEXT_FIELDS = (
    "account_id",
    "region",
    "line_item_type",
    "billing_entity",
    "product_code",
    "usage_type",
    "operation",
    "iam_principal",
    "resource_id",
    "pricing_unit",
    "description",
    "product_name",
    "tags",
    "currency",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are Bedrock's: `bedrock_rows.toml`."""

    version: str
    product_code_prefix: str
    product_name_contains: str
    resource_like: str
    mentions_contain: str


@cache
def selection() -> Selection:
    """The selection that this release reads with."""
    document = tomllib.loads((Path(__file__).parent / "bedrock_rows.toml").read_text())
    return Selection(**document)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a data file: what the file calls it, how SQL names it, and the engine's type."""

    name: str
    sql: str
    type: str = "VARCHAR"


class ColumnTwice(ValueError):
    """A file has a column that is read twice: taking either could be wrong."""


class Columns:
    """A file's columns by the name that the layout asks for; also SQL where it is missing. Remembers what was used."""

    def __init__(self, columns: Iterable[Column], canonical: Mapping[str, str], *, null_text: str = "") -> None:
        self._by_name: dict[str, Column] = {}
        self._twice: set[str] = set()
        self._null_text = null_text
        self.used: set[str] = set()
        # Each number is converted once for a row, by an inner query, and then named.
        self.numbers: dict[str, str] = {}
        self.all = tuple(columns)
        for column in self.all:
            name = canonical[column.name]
            if name in self._by_name:
                self._twice.add(name)
            self._by_name.setdefault(name, column)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def _find(self, name: str) -> Column | None:
        column = self._by_name.get(name)
        if column is not None:
            if name in self._twice:
                raise ColumnTwice(name)
            self.used.add(column.name)
        return column

    def text(self, *names: str) -> str:
        """The text of the first of these columns that has one, row by row; empty where none has."""
        texts = [self._text(column) for name in names if (column := self._find(name))]
        if len(texts) < 2:
            return texts[0] if texts else "''"
        return f"coalesce({', '.join(f'nullif({text}, {chr(39) * 2})' for text in texts)}, '')"

    def _text(self, column: Column) -> str:
        text = column.sql if column.type == "VARCHAR" else f"CAST({column.sql} AS VARCHAR)"
        return f"coalesce(nullif({text}, '{self._null_text}'), '')" if self._null_text else f"coalesce({text}, '')"

    def timestamp(self, name: str) -> str:
        column = self._find(name)
        if column is None:
            return "CAST(NULL AS TIMESTAMP)"
        return column.sql if column.type == "TIMESTAMP" else f"TRY_CAST({column.sql} AS TIMESTAMP)"

    def raw(self, name: str) -> str:
        """A column as it is, NULL where it is missing: a condition on it is tested once for each text of a dictionary."""
        column = self._find(name)
        return column.sql if column else "CAST(NULL AS VARCHAR)"

    def number(self, name: str) -> str:
        """The exact decimal of a double's shortest text, or of the text itself; NULL where it is neither, or empty."""
        column = self._find(name)
        if column is None:
            return f"CAST(NULL AS {DECIMAL})"
        self.numbers[f"exact_{name}"] = self._exact(column)
        return f"exact_{name}"

    def _exact(self, column: Column) -> str:
        if column.type in ("DOUBLE", "FLOAT"):
            # Most amounts of commitments are zero, and texts are slow.
            exact = f"TRY_CAST(CAST({column.sql} AS VARCHAR) AS {DECIMAL})"
            return f"CASE WHEN {column.sql} = 0 THEN CAST(0 AS {DECIMAL}) ELSE {exact} END"
        text = self._text(column)
        is_number = f"regexp_full_match({text}, '{_NUMBER}')"
        is_exact = f"NOT (length({text}) > {_DIGITS_OF_A_DOUBLE} AND {_inexact(text)})"
        return f"CASE WHEN {is_number} AND {is_exact} THEN TRY_CAST({text} AS {DECIMAL}) END"

    def amount(self, name: str) -> str:
        return f"coalesce({self.number(name)}, 0)"

    def broken(self, name: str) -> str:
        """Whether a row has something in this column that cannot become an exact decimal."""
        column = self._find(name)
        if column is None:
            return "false"
        is_there = f"{self._text(column)} <> ''" if column.type == "VARCHAR" else f"{column.sql} IS NOT NULL"
        return f"({self.number(name)} IS NULL AND {is_there})"

    def entry(self, name: str, key: str) -> str:
        """One value of a map column; JSON text where the file is CSV."""
        column = self._find(name)
        if column is None:
            return "''"
        if column.type.startswith("MAP"):
            return f"coalesce({column.sql}['{key}'], '')"
        text = self._text(column)
        return f"CASE WHEN json_valid({text}) THEN coalesce(json_extract_string({text}, '$.\"{key}\"'), '') ELSE '' END"

    def map_text(self, name: str) -> str:
        """A map column as JSON text; a map itself stays one until its rows are grouped."""
        column = self._find(name)
        if column is None:
            return "''"
        return column.sql if column.type.startswith("MAP") else self._text(column)

    def object_text(self, keys: Sequence[tuple[str, str]]) -> str:
        """JSON text of the columns (first of each pair) that have a value, under their keys (second)."""
        parts = []
        for name, key in keys:
            column = self._find(name)
            if column is not None:
                quoted = key.replace("'", "''")
                parts.append(f"CASE WHEN {self._text(column)} <> '' THEN json_object('{quoted}', {self._text(column)}) END")
        if not parts:
            return "''"
        merged = ", ".join(f"coalesce({part}, '{{}}')" for part in parts)
        return f"CAST(json_merge_patch('{{}}', {merged}) AS VARCHAR)"


def _inexact(text: str) -> str:
    """Whether a number has more digits than a double, and digits that the scale would round away."""
    mantissa = f"regexp_extract({text}, '^[-+]?([0-9.]*)', 1)"
    digits = f"length(trim(replace({mantissa}, '.', ''), '0'))"
    exponent = f"coalesce(TRY_CAST(regexp_extract({text}, '[eE]([-+]?[0-9]+)$', 1) AS INTEGER), 0)"
    places = f"length(rtrim(split_part({mantissa}, '.', 2), '0')) - {exponent}"
    return f"{digits} > {_DIGITS_OF_A_DOUBLE} AND {places} > {SCALE}"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A data file's rows in the common fields, as SQL. `broken` says by each reason whether a row cannot be read."""

    started_at: str
    is_final: str
    quantity: str
    text: Mapping[str, str]
    costs: Mapping[str, str]
    broken: Mapping[str, str]
    # What every candidate meets, on columns as they are; and how `text`, `costs` and the rest name numbers.
    may_be_of_bedrock: str
    numbers: Mapping[str, str]
    # Rows that AWS bills as Bedrock, and rows of other sellers that may be: those that say so, and those without a name, which
    # their product code decides. No row is of both.
    is_of_aws: str
    is_of_others: str
    says_bedrock: str
    # Rows of neither that speak of Bedrock; and whether a row does.
    is_mention: str
    speaks_of_bedrock: str
    used: frozenset[str]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())


class Layout(Protocol):
    """How one kind of report is read."""

    def columns(self, columns: Sequence[Column]) -> Columns: ...
    def map(self, columns: Columns) -> Mapped: ...


# CUR 2.0 and legacy CUR ---------------------------------------------------------------------------------------------------

REQUIRED = (
    "line_item_usage_start_date",
    "line_item_usage_account_id",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_usage_type",
    "line_item_unblended_cost",
)
# Every amount that is read; text that is no number in one of them refuses the delivery.
AMOUNTS = (
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "line_item_usage_amount",
    "pricing_public_on_demand_cost",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "reservation_net_unused_recurring_fee",
)
_OPTIONAL = {
    "line_item_resource_id": "inference profiles are unknown: recreate the export with INCLUDE_RESOURCES",
    "line_item_usage_amount": "quantities are unknown",
    "bill_billing_entity": "Marketplace rows are told by their product name alone",
    "bill_invoice_id": "days never become final",
    "line_item_operation": "operations are unknown",
    "line_item_line_item_description": "units of Marketplace rows are unknown",
    "line_item_currency_code": "amounts are taken as USD",
    "pricing_unit": "token counts are unknown",
    "pricing_public_on_demand_cost": "list cost is unknown",
}
_COMMITMENTS = {
    "savings_plan_savings_plan_effective_cost": "effective cost of usage under savings plans is taken to be its billed cost",
    "reservation_effective_cost": "effective cost of usage under reservations is taken to be its billed cost",
}
_OPTIONAL_IN_CUR_2_0 = {
    "line_item_iam_principal": "callers are unknown: recreate the export with INCLUDE_IAM_PRINCIPAL_DATA",
    "tags": "principal and account tags are unknown: select the column `tags` in the export",
}
_CATEGORIES = (
    "identity_",
    "bill_",
    "line_item_",
    "product_",
    "pricing_",
    "reservation_",
    "savings_plan_",
    "split_line_item_",
    "capacity_reservation_",
    "discount_",
    "resource_tags_",
    "cost_category_",
)
_MAPS = frozenset({"product", "tags", "resource_tags", "cost_category", "discount"})
_PARTITIONS = frozenset({"billing_period", "year", "month"})
_AMORTIZED = """CASE {type}
    WHEN 'SavingsPlanCoveredUsage' THEN {sp_effective}
    WHEN 'SavingsPlanRecurringFee' THEN {sp_total} - {sp_used}
    WHEN 'SavingsPlanNegation' THEN 0
    WHEN 'SavingsPlanUpfrontFee' THEN 0
    WHEN 'DiscountedUsage' THEN {ri_effective}
    WHEN 'RIFee' THEN {ri_unused_upfront} + {ri_unused_recurring}
    WHEN 'Fee' THEN CASE WHEN {ri_arn} <> '' THEN 0 ELSE {cost} END
    ELSE {cost} END"""


def snake_case(name: str) -> str:
    """A legacy column as the Parquet reports and CUR 2.0 spell it: `lineItem/UsageAccountId` -> `line_item_usage_account_id`.

    Every capital begins a word, also in `reservation/ReservationARN` -> `reservation_reservation_a_r_n`.
    """
    words = re.sub(r"(?<=[^/_])(?=[A-Z])", "_", name.replace(" ", "_"))
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


class CurLayout:
    """Cost and Usage Reports: CUR 2.0, whose schema is fixed, and its predecessor, whose columns follow usage and tags."""

    def __init__(self, kind: ReportKind) -> None:
        self._is_legacy = kind is ReportKind.LEGACY_CUR

    def columns(self, columns: Sequence[Column]) -> Columns:
        return Columns(columns, {c.name: c.name if _is_tag(c.name) else snake_case(c.name) for c in columns})

    def map(self, columns: Columns) -> Mapped:
        name = self._product_name(columns)
        code, entity = columns.text("line_item_product_code"), columns.text("bill_billing_entity")
        resource = columns.text("line_item_resource_id")
        chosen = selection()
        is_of_aws = of_family(code)
        # AISPL, the seller in India, bills services of AWS and of others alike.
        elsewhere = f"{entity} <> 'AWS'" if "bill_billing_entity" in columns else _opaque(code)
        text = {
            "account_id": account_id(columns.text("line_item_usage_account_id")),
            "region": columns.text("product_region_code", "product_region"),
            "line_item_type": columns.text("line_item_line_item_type"),
            "billing_entity": entity,
            "product_code": code,
            "usage_type": columns.text("line_item_usage_type"),
            "operation": columns.text("line_item_operation"),
            "iam_principal": columns.text("line_item_iam_principal"),
            "resource_id": resource,
            "pricing_unit": columns.text("pricing_unit"),
            "description": columns.text("line_item_line_item_description"),
            "product_name": name,
            "tags": self._tags(columns),
            "currency": f"upper(coalesce(nullif({columns.text('line_item_currency_code')}, ''), 'USD'))",
        }
        by_resource = of_resource(resource)
        says_bedrock = f"({name} ILIKE '%{chosen.product_name_contains}%' OR {by_resource})"
        said = (code, text["usage_type"], text["operation"], columns.text("product_servicecode"), text["description"])
        speaks = f"({mentions(*said, columns.text('product'), name)} OR {by_resource})"
        # The columns of legacy reports come and go with what they would hold.
        optional = _OPTIONAL if self._is_legacy else _OPTIONAL | _OPTIONAL_IN_CUR_2_0 | _COMMITMENTS
        notes = [f"no `{name}`: {consequence}" for name, consequence in optional.items() if name not in columns]
        if "product" not in columns and "product_product_name" not in columns:
            notes.append("no `product`: Marketplace models are unknown: select the column `product` in the export")
        if "product_region_code" not in columns and "product_region" not in columns:
            notes.append("no `product_region_code`: Regions are unknown")
        if self._is_legacy:
            notes.append("legacy reports name no callers: create a CUR 2.0 export with INCLUDE_IAM_PRINCIPAL_DATA")
        return Mapped(
            started_at=columns.timestamp("line_item_usage_start_date"),
            is_final=f"{columns.text('bill_invoice_id')} <> ''",
            quantity=columns.amount("line_item_usage_amount"),
            text=text,
            costs=_costs(columns),
            broken=no_numbers(columns, AMOUNTS) | no_currency(text["currency"]),
            may_be_of_bedrock=self._may_be(columns),
            numbers=columns.numbers,
            is_of_aws=is_of_aws,
            is_of_others=f"NOT ({is_of_aws}) AND {elsewhere} AND ({says_bedrock} OR {name} = '' OR {speaks})",
            says_bedrock=says_bedrock,
            is_mention=f"NOT ({is_of_aws}) AND NOT ({elsewhere}) AND {speaks}",
            speaks_of_bedrock=speaks,
            used=frozenset(columns.used),
            notes=tuple(notes),
            unknown=tuple(c.name for c in columns.all if not _is_known(c.name)),
            missing=tuple(name for name in REQUIRED if name not in columns),
        )

    def _may_be(self, columns: Columns) -> str:
        code, entity = columns.raw("line_item_product_code"), columns.raw("bill_billing_entity")
        elsewhere = f"{entity} IS DISTINCT FROM 'AWS'" if "bill_billing_entity" in columns else _opaque(code)
        names = (
            "line_item_product_code",
            "line_item_usage_type",
            "line_item_operation",
            "product_servicecode",
            "line_item_line_item_description",
        )
        speaks = f"{mentions(*map(columns.raw, names))} OR {of_resource(columns.raw('line_item_resource_id'))}"
        return f"({of_family(code)} OR {code} IS NULL OR {elsewhere} OR {speaks})"

    def _product_name(self, columns: Columns) -> str:
        flat, entry = columns.text("product_product_name"), columns.entry("product", "product_name")
        return f"coalesce(nullif({flat}, ''), {entry})" if flat != "''" else entry

    def _tags(self, columns: Columns) -> str:
        if "tags" in columns:
            return columns.map_text("tags")
        if "resource_tags" in columns:
            return columns.map_text("resource_tags")
        return columns.object_text([(c.name, key) for c in columns.all if (key := _tag_key(c.name))])


_TAG = re.compile(
    r"^(?P<source>resourceTags/|resource_tags_|costCategory/|cost_category_|iamPrincipal/|iam_principal_)(?P<key>.+)$"
)


def _is_tag(name: str) -> bool:
    return _TAG.match(name) is not None


def _tag_key(name: str) -> str:
    """The key of a tag column as the map `tags` of CUR 2.0 has it; empty for a column that is no tag."""
    found = _TAG.match(name)
    if found is None:
        return ""
    source, key = found["source"], found["key"]
    if not source.startswith("resource"):
        return f"{'costCategory' if source.startswith('cost') else 'iamPrincipal'}/{key}"
    if key.startswith(("iamPrincipal/", "accountTag/", "userAttribute/")):
        return key
    return f"resourceTags/{key.removeprefix('user:')}" if "/" in name else key


def _is_known(name: str) -> bool:
    canonical = snake_case(name)
    return canonical.startswith(_CATEGORIES) or canonical in _MAPS or canonical in _PARTITIONS or _is_tag(name)


def of_family(code: str) -> str:
    return f"{code} LIKE '{selection().product_code_prefix}%'"


def no_currency(text: str) -> dict[str, str]:
    """Whether a row's currency is none: amounts of it could be added to nothing."""
    return {"its currency is not a currency code": f"NOT regexp_full_match({text}, '[A-Z]{{3}}')"}


def no_numbers(columns: Columns, amounts: Iterable[str]) -> dict[str, str]:
    """Whether an amount of a row is no exact decimal number, for each amount that the file has."""
    return {f"{name} is not an exact decimal number": columns.broken(name) for name in amounts if name in columns}


def account_id(text: str) -> str:
    """An account's twelve digits; a tool that took them for a number lost the zeros in front."""
    return f"CASE WHEN length({text}) BETWEEN 1 AND 11 THEN lpad({text}, 12, '0') ELSE {text} END"


def of_resource(resource: str) -> str:
    """Whether a resource is one of Bedrock's."""
    return f"{resource} LIKE '{selection().resource_like}'"


def _opaque(code: str) -> str:
    """Whether a product code is none of those that AWS gives its own services."""
    return f"NOT regexp_matches({code}, '^(?i)(amazon|aws)')"


def mentions(*texts: str) -> str:
    """Whether one of these texts speaks of Bedrock."""
    word = selection().mentions_contain
    return "(" + " OR ".join(["false"] + [f"{text} ILIKE '%{word}%'" for text in texts if text != "''"]) + ")"


def _costs(columns: Columns) -> dict[str, str]:
    """Each cost metric: CUR's own columns, and the amortization that AWS's Cloud Intelligence dashboards use."""

    def amount_or(name: str, otherwise: str) -> str:
        return columns.amount(name) if name in columns else otherwise

    cost = columns.number("line_item_unblended_cost")
    net_cost = f"coalesce({columns.number('line_item_net_unblended_cost')}, {cost})"
    gross = {
        "type": columns.text("line_item_line_item_type"),
        "sp_effective": amount_or("savings_plan_savings_plan_effective_cost", cost),
        "sp_total": amount_or("savings_plan_total_commitment_to_date", cost),
        "sp_used": columns.amount("savings_plan_used_commitment"),
        "ri_effective": amount_or("reservation_effective_cost", cost),
        "ri_unused_upfront": columns.amount("reservation_unused_amortized_upfront_fee_for_billing_period"),
        "ri_unused_recurring": amount_or("reservation_unused_recurring_fee", cost),
        "ri_arn": columns.text("reservation_reservation_a_r_n"),
    }
    net = gross | {
        field_name: f"coalesce({columns.number(column)}, {gross[field_name]})"
        for field_name, column in {
            "sp_effective": "savings_plan_net_savings_plan_effective_cost",
            "ri_effective": "reservation_net_effective_cost",
            "ri_unused_upfront": "reservation_net_unused_amortized_upfront_fee_for_billing_period",
            "ri_unused_recurring": "reservation_net_unused_recurring_fee",
        }.items()
    }
    return {
        "list_cost": columns.amount("pricing_public_on_demand_cost"),
        "billed_cost": cost,
        "net_billed_cost": net_cost,
        "effective_cost": _AMORTIZED.format(cost=cost, **gross),
        "net_effective_cost": _AMORTIZED.format(cost=net_cost, **net),
    }
