"""Why an owner was charged what on a day, down to the row of the bill and the requests behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from attribution.allocation import Share
from attribution.canonical import number_text
from attribution.charges import COST_METRICS, AllocatedCharge, CategoryValue
from attribution.days import UNALLOCATED, DayPointer
from attribution.deliveries import DeliveryRecord
from attribution.explanation import Estimate, Explanation
from attribution.formats import clean, counted, instant, money, number
from attribution.models import model_of_name, model_reference
from attribution.money import total
from attribution.reporting.answers import Answer

HEADER = (
    "charge", "account", "region", "model", "token_kind", "line_item_type", "operation", "value", "evidence", "units",
    "requests", "currency", "amount", "origin_amount", "weight", "whole", "is_verified",
)  # fmt: skip
_ID_SHOWN = 12
_FILES_SHOWN = 2
_USAGE_SHOWN = 5
_INDENT = " " * 3


@dataclass(frozen=True, slots=True)
class Question:
    """Which charges of a day are to be explained.

    Either those of one owner, `value` in a cost `category` (`(unallocated)` where they have none), or the one whose name
    begins with `charge_id`. Of many, the `top` largest in `metric` are explained.
    """

    category: str = ""
    value: str = ""
    charge_id: str = ""
    model: str = ""
    metric: str = "billed_cost"
    top: int = 10

    def is_about(self, charge: AllocatedCharge) -> bool:
        """Whether a charge is one of those."""
        return self.is_of_model(charge) and self.is_owned(charge)

    def is_of_model(self, charge: AllocatedCharge) -> bool:
        """Whether it is a charge of the model, written as a key of the catalogue, a model id or a name."""
        return not self.model or charge.meter.model in (self.model, model_of_name(model_reference(self.model).model))

    def is_owned(self, charge: AllocatedCharge) -> bool:
        """Whether it is the charge that is named, or one of the owner's."""
        if self.charge_id:
            return charge.digest().startswith(self.charge_id)
        found = next((value for value in charge.categories if value.category == self.category), None)
        return found is not None and (found.value or UNALLOCATED) == self.value


@dataclass(frozen=True, slots=True)
class Explained:
    """The charges that were asked for. `totals` are by currency, of all of them; `rest` is of those that are not explained.

    `moved` names what the day was made from and is another by now; then nothing is verified. `values` are the values that the
    category has on the day, to choose from where the one that was asked for has no charge, and `models` those of its charges
    where it has some, but none of the model that was asked for.
    """

    pointer: DayPointer
    delivery: DeliveryRecord | None
    explanations: tuple[Explanation, ...]
    charge_count: int
    totals: Mapping[str, Decimal]
    rest: Mapping[str, Decimal]
    moved: tuple[str, ...]
    values: tuple[str, ...]
    models: tuple[str, ...] = ()


def answer_of(question: Question, found: Explained, report_bucket: str) -> Answer:
    """The explanation for programs and for people. CSV has a row for each charge. Deliveries lie in `report_bucket`."""
    charges = [_charge(question, explanation) for explanation in found.explanations]
    pointer = found.pointer
    document = {
        "usage_date": pointer.usage_date,
        "basis": pointer.basis.value,
        "version": pointer.version,
        "changed_at": pointer.changed_at,
        "made_from": dict(pointer.made_from),
        "delivery": _delivery(report_bucket, found.delivery) if found.delivery else None,
        "cost_category": question.category,
        "value": question.value,
        "metric": question.metric,
        "charge_count": found.charge_count,
        "totals": dict(found.totals),
        "totals_of_charges_not_shown": dict(found.rest),
        "moved_since": found.moved,
        "charges": charges,
    }
    rows = [_row(question, explanation, charge) for explanation, charge in zip(found.explanations, charges, strict=True)]
    # Names come from callers and tags: nothing in them may move a cursor or hide text.
    text = tuple(map(clean, _text(document, question, found)))
    return Answer(document, HEADER, rows, text)


def _delivery(bucket: str, record: DeliveryRecord) -> dict[str, Any]:
    return {
        "export": record.export,
        "execution_id": record.execution_id,
        "written_at": record.written_at,
        "manifest": f"s3://{bucket}/{record.manifest_key}",
        "data_files": [f"s3://{bucket}/{file.key}" for file in record.report.files],
    }


def _amount(charge: AllocatedCharge, metric: str) -> Decimal:
    amount: Decimal = getattr(charge.costs, metric)
    return amount


def _charge(question: Question, explanation: Explanation) -> dict[str, Any]:
    charge = explanation.charge
    meter = charge.meter
    return {
        "id": f"{charge.usage_date}/{charge.digest()}",
        "amount": _amount(charge, question.metric),
        "currency": charge.currency,
        "costs": {name: getattr(charge.costs, name) for name in COST_METRICS},
        "account": charge.account_id,
        "region": charge.region,
        "model": meter.model,
        "token_kind": meter.token_kind.value,
        "tier": meter.tier.value,
        "routing": meter.routing.value,
        "line_item_type": charge.line_item_type,
        "feature": charge.feature,
        "usage_type": charge.usage_type,
        "iam_principal": charge.iam_principal,
        "inference_profile": charge.inference_profile,
        "units": charge.units,
        "requests": explanation.requests,
        "is_measured": charge.is_measured,
        "owners": [_owner(value) for value in charge.categories],
        "origin": _origin(explanation, question.metric),
        "usage": [_usage(share, question.metric) for share in explanation.shares if share.weight is not None],
        "arithmetic": [
            {
                "splits": step.category or "the row of the bill",
                "amount": step.amount,
                "weight": step.weight,
                "whole": step.whole,
                "result": step.result,
            }
            for step in explanation.steps(question.metric)
        ],
        "estimate": _estimate(explanation.estimate, question.metric) if explanation.estimate else None,
        "is_verified": explanation.is_verified,
    }


def _owner(value: CategoryValue) -> dict[str, Any]:
    return {
        "cost_category": value.category,
        "value": value.value,
        "confidence": value.confidence.value,
        "evidence": value.evidence.kind if value.evidence else "",
        "from": value.evidence.source if value.evidence else "",
        "disagreed": [{"evidence": e.kind, "from": e.source, "value": e.value} for e in value.disagreed],
        "reason": value.reason,
        "shared_charge_rule": value.rule,
        "split": {
            "of": value.split.source or UNALLOCATED,
            "method": value.split.method.value,
            "weight": value.split.weight,
            "whole": value.split.total,
            "is_fallback": value.split.is_fallback,
        }
        if value.split
        else None,
    }


def _origin(explanation: Explanation, metric: str) -> dict[str, Any] | None:
    origin, bucket = explanation.origin, explanation.bucket
    if origin is None:
        return None
    return {
        "id": origin.digest(),
        "amount": getattr(origin.costs, metric),
        "units": origin.units,
        "quantity": origin.quantity,
        "pricing_unit": origin.pricing_unit,
        "billing_entity": origin.billing_entity,
        "product_code": origin.product_code,
        "operation": origin.operation,
        "iam_principal": origin.iam_principal,
        "resource_id": origin.resource_id,
        "tags": dict(origin.tags),
        "row_count": origin.row_count,
        "units_split_over": bucket.whole if bucket else None,
        "counters_split_over": bucket.counters if bucket else 0,
        "units_not_counted": bucket.uncounted if bucket else None,
        "rows_of_the_same_requests": len(bucket.rows) if bucket else 1,
        "units_of_the_same_requests": bucket.units if bucket else None,
        "charges_of_the_same_requests": [f"{c.usage_date}/{c.digest()}" for c in bucket.beside] if bucket else [],
    }


def _usage(share: Share, metric: str) -> dict[str, Any]:
    key = share.usage.key if share.usage else None
    return {
        "is_counted": key is not None,
        "units": share.weight,
        "requests": share.usage.counters.requests if share.usage else None,
        "amount": _amount(share.charge, metric),
        "iam_principal": key.iam_principal if key else "",
        "inference_profile": key.inference_profile if key else "",
        "request_metadata": dict(key.request_metadata) if key else {},
        "session_tags": dict(key.session_tags) if key else {},
    }


def _estimate(estimate: Estimate, metric: str) -> dict[str, Any]:
    price, calibration = estimate.price, estimate.calibration
    return {
        "units": estimate.units,
        "cost_when_recorded": estimate.recorded,
        "units_without_price": estimate.unpriced,
        "price": str(price) if price else None,
        "price_source": price.source if price else None,
        "factor": getattr(calibration.factors, metric) if calibration else None,
        "factor_learned_from": [calibration.first_day, calibration.last_day] if calibration else None,
    }


def _row(question: Question, explanation: Explanation, charge: dict[str, Any]) -> tuple[object, ...]:
    none: dict[str, Any] = {}
    owner = next((o for o in charge["owners"] if o["cost_category"] == question.category), none)
    step = charge["arithmetic"][-1] if charge["arithmetic"] else {}
    origin = charge["origin"] or {}
    return (
        charge["id"], *(charge[name] for name in HEADER[1:6]), origin.get("operation"), owner.get("value"),
        owner.get("evidence"), charge["units"], charge["requests"], charge["currency"], charge["amount"], origin.get("amount"),
        step.get("weight"), step.get("whole"), explanation.is_verified,
    )  # fmt: skip


def _text(document: dict[str, Any], question: Question, found: Explained) -> Iterator[str]:
    """The explanation as a finance person reads it."""
    amounts = " + ".join(money(amount, currency) for currency, amount in found.totals.items())
    owners = document["charges"][0]["owners"]
    owner = next((o["value"] for o in owners if o["cost_category"] == question.category), "") or UNALLOCATED
    verb = "is left with" if owner == UNALLOCATED else "was charged"
    by = " by this charge" if question.charge_id else ""
    yield f"Why {owner} ({question.category}) {verb} {amounts} on {document['usage_date']}{by}, in {question.metric}"
    yield from _made_from(document)
    if found.moved:
        yield f"Not verified: {' and '.join(found.moved)} moved since. What follows is what the ledger holds of each charge."
    if found.rest:
        rest = " + ".join(money(amount, currency) for currency, amount in found.rest.items())
        shown = len(found.explanations)
        yield f"{counted(found.charge_count, 'charge')}: the {shown} largest; the others come to {rest}."
    for position, charge in enumerate(document["charges"], start=1):
        yield ""
        yield from _charge_text(position, charge)


def _made_from(document: dict[str, Any]) -> Iterator[str]:
    made = f"version {document['version'][:_ID_SHOWN]} of {instant(document['changed_at'])}"
    delivery = document["delivery"]
    if delivery is None:
        yield f"The day is estimated from counted usage: {made}."
        return
    yield f"The day is {document['basis']}: {made}, from"
    yield f"{_INDENT}delivery   {delivery['execution_id']} of {instant(delivery['written_at'])}"
    yield f"{_INDENT}manifest   {delivery['manifest']}"
    files = delivery["data_files"]
    more = f" and {len(files) - _FILES_SHOWN} more" if len(files) > _FILES_SHOWN else ""
    if files:
        yield f"{_INDENT}data files {', '.join(name.rpartition('/')[2] for name in files[:_FILES_SHOWN])}{more}"


def _charge_text(position: int, charge: dict[str, Any]) -> Iterator[str]:
    """One charge, line by line; every amount exact but the first."""
    what = charge["model"] or charge["feature"]
    kind = charge["token_kind"].replace("_", " ") if charge["line_item_type"] == "Usage" else charge["line_item_type"]
    place = " ".join(part for part in (charge["account"], charge["region"]) if part)
    yield f"{position}. {money(charge['amount'], charge['currency'])}  {what}, {kind}, {charge['tier']}, {place}"
    yield f"{_INDENT}charge     {charge['id'].partition('/')[0]}/{charge['id'].partition('/')[2][:_ID_SHOWN]}"
    for name, lines in (
        ("bill", _bill_text(charge)),
        ("usage", _usage_text(charge)),
        ("price", _price_text(charge)),
        ("owner", _owner_text(charge)),
        ("sum", _sum_text(charge)),
    ):
        for index, line in enumerate(lines):
            yield f"{_INDENT}{name if index == 0 else '':<10} {line}"


def _exact(amount: Decimal | None, currency: str = "") -> str:
    return f"{number_text(amount)} {currency}".rstrip() if amount is not None else "–"


def _bill_text(charge: dict[str, Any]) -> Iterator[str]:
    origin = charge["origin"]
    if origin is None:
        return
    units = f" for {number(origin['units'])} units" if origin["units"] is not None else ""
    rows = f"{counted(origin['row_count'], 'row')} of {charge['usage_type'] or charge['line_item_type']}"
    operation = f", operation {origin['operation']}" if origin["operation"] else ""
    yield f"{_exact(origin['amount'], charge['currency'])}{units} in {rows}{operation}"
    if origin["iam_principal"]:
        yield f"caller {origin['iam_principal']}"
    if origin["tags"]:
        yield f"tags {_pairs(origin['tags'])}"


def _usage_text(charge: dict[str, Any]) -> Iterator[str]:
    origin, usage = charge["origin"], charge["usage"]
    if origin is None:
        return
    if origin["units_split_over"] is None:
        yield "no counted request stands behind this row: it stays whole"
        return
    mine = total(item["units"] for item in usage)
    yield f"{number(mine)} of {number(origin['units_split_over'])} units:"
    for item in usage[:_USAGE_SHOWN]:
        if item["is_counted"]:
            tags = (("metadata", item["request_metadata"]), ("session tags", item["session_tags"]))
            carried = "; ".join(f"{name} {_pairs(pairs)}" for name, pairs in tags if pairs) or "no tag that is kept"
            yield f"  {number(item['units'])} in {counted(item['requests'], 'request')} with {carried}"
        else:
            yield f"  {number(item['units'])} that the bill states and no request was counted for"
    if len(usage) > _USAGE_SHOWN:
        rest = usage[_USAGE_SHOWN:]
        yield f"  {number(total(item['units'] for item in rest))} in {counted(len(rest), 'more counter')}"
    if origin["rows_of_the_same_requests"] > 1:
        rows, units = origin["rows_of_the_same_requests"], number(origin["units_of_the_same_requests"])
        names = [id.partition("/")[2][:_ID_SHOWN] for id in origin["charges_of_the_same_requests"]]
        also = f" (also {', '.join(names)})" if names else ""
        yield f"these requests stand behind {rows} rows of the bill, {units} units together{also}"
    if origin["units_not_counted"] and all(item["is_counted"] for item in usage):
        yield f"{number(origin['units_not_counted'])} were billed and not counted: they are not spread over those that were"


def _price_text(charge: dict[str, Any]) -> Iterator[str]:
    estimate = charge["estimate"]
    if estimate is None:
        return
    if estimate["price"] is None:
        yield f"{number(estimate['units'])} units, {_exact(estimate['cost_when_recorded'], charge['currency'])} when recorded"
    else:
        yield f"{number(estimate['units'])} units at {estimate['price']} ({estimate['price_source']})"
    if estimate["units_without_price"]:
        yield f"{number(estimate['units_without_price'])} of them have no price and are not in the amount"
    if estimate["factor"] is not None:
        first, last = estimate["factor_learned_from"]
        yield f"times {_exact(estimate['factor'])}, what the bills of {first} to {last} paid of the list price"


def _owner_text(charge: dict[str, Any]) -> Iterator[str]:
    for owner in charge["owners"]:
        category, split = owner["cost_category"], owner["split"]
        if split:
            yield f"{category}: {owner['value'] or 'nobody'}, a share of what {split['of']} cost{_split_text(owner)}"
        elif owner["value"]:
            outranked = [f"{d['value']} by {_evidence(d)}" for d in owner["disagreed"]]
            losers = f"; outranked: {', '.join(outranked)}" if outranked else ""
            note = f" ({owner['reason']})" if owner["reason"] else ""
            yield f"{category}: {owner['value']} by {_evidence(owner)}{losers}{note}"
        else:
            yield f"{category}: nobody, {owner['reason']}"


def _evidence(found: dict[str, Any]) -> str:
    return " ".join(part for part in (found["evidence"].replace("_", " "), found["from"]) if part)


def _split_text(owner: dict[str, Any]) -> str:
    split = owner["split"]
    rule = f" by rule {owner['shared_charge_rule']!r}" if owner["shared_charge_rule"] else " by a split charge rule"
    way = "evenly, since no target cost anything" if split["is_fallback"] else split["method"].lower()
    return f"{rule}, {way}"


def _sum_text(charge: dict[str, Any]) -> Iterator[str]:
    verified = "made anew, the same to the last digit" if charge["is_verified"] else "not verified"
    steps = charge["arithmetic"]
    for step in steps:
        weight, whole = _exact(step["weight"]), _exact(step["whole"])
        of = "" if step["splits"] == "the row of the bill" else f" ({step['splits']})"
        yield f"{_exact(step['amount'])} × {weight} / {whole} = {_exact(step['result'], charge['currency'])}{of}"
    yield f"{_exact(charge['amount'], charge['currency'])} in the ledger: {verified}"


def _pairs(pairs: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs.items())
