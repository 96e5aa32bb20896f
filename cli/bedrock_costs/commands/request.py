"""`request`: everything that is known of one inference request."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.allocation import USAGE_NOT_LOGGED, subject_of_usage
from attribution.canonical import number_text
from attribution.charges import AllocatedCharge, Basis, CategoryValue
from attribution.cost_categories import ACCOUNT_TAG, PRINCIPAL_TAG, RESOURCE_TAG, USAGE_EVIDENCE
from attribution.day_directory import directory_of_day, ids_named
from attribution.money import total
from attribution.periods import BillingPeriod
from attribution.usage import Invocation, InvocationKey, Metered, Observed, UsageKey, contribution
from bedrock_costs.application import options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.formats import instant, number
from bedrock_costs.screen import Column, Grid, Result, Screen, fields_grid
from bedrock_costs.stack import Stack

HEADER = ("token_kind", "units", "unit_price", "cost", "currency")
_PARTS = 3
_BY_TAGS = (RESOURCE_TAG, PRINCIPAL_TAG, ACCOUNT_TAG)
_NOT_FROM_USAGE = "not known from usage and tags: the bill may know"
_BILL_MAY_DIFFER = "unless the bill's tags say otherwise"


def request(
    ctx: typer.Context,
    call: Annotated[str | None, typer.Argument(metavar="[ACCOUNT/REGION/ID]", help="The call in one word.")] = None,
    account: Annotated[str | None, typer.Option(metavar="ID", help="Account that made the call.")] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Region that was called. Default: the stack's Region.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Request id, as in the log, CloudTrail and the response.")
    ] = None,
) -> None:
    """Show what one call cost, who made it and who owns it.

    With it come the price that was used, the evidence for the owner, and what is uncertain about the call. The owner is what
    the call itself carried; where that does not decide, it is the owner of the billed charges behind calls like it, if they
    agree on one; else the one that tags of caller, profile and account name on that day.

    Example: bedrock-costs request 111122223333/us-east-1/5f3c0b9e-6a0f-4a57-9c2e-0a4be9f1d0aa
    """
    options = options_of(ctx)
    key = _key(options.stack, call, account, region, request_id)
    found = options.stack.invocations().get(key)
    if found is None:
        raise Failure(
            f"request {key.account_id}/{key.region}/{key.request_id} is not recorded",
            "Its log object has not arrived yet, it is older than single requests are kept, or a part of its name is wrong.",
            "Log objects arrive within minutes; bring in older ones with `bedrock-costs replay objects`.",
            ExitCode.NOT_READY,
        )
    options.screen.emit(result_of(found, _owners(options.stack, found)))


def _key(stack: Stack, call: str | None, account: str | None, region: str | None, request_id: str | None) -> InvocationKey:
    if call is not None:
        parts = call.replace("#", "/").split("/")
        if account or region or request_id:
            raise typer.BadParameter("name the call either in one word or by its options")
        if len(parts) != _PARTS or not all(parts):
            raise typer.BadParameter("write the call as ACCOUNT/REGION/ID")
        return InvocationKey(*parts)
    if not account or not request_id:
        raise typer.BadParameter("name the call: ACCOUNT/REGION/ID, or --account, --region and --request-id")
    return InvocationKey(account, region or stack.region, request_id)


def _owners(stack: Stack, invocation: Invocation) -> list[dict[str, object]]:
    usage = contribution(invocation)
    if usage is None:
        return []
    rules = stack.policy().rules(usage.key.usage_date)
    known = stack.directory().attributes_on(ids_named([usage.key]), usage.key.usage_date)
    subject = subject_of_usage(usage.key, None, rules, directory_of_day(known, rules))
    values = rules.decide(subject, _NOT_FROM_USAGE, is_shared=False)
    found: list[tuple[CategoryValue, str]] = []
    billed: list[AllocatedCharge] | None = None
    for category, value in zip(rules.categories, values, strict=True):
        if category.is_decided_without_bill(subject):
            found.append((value, _known_from(value)))
            continue
        if billed is None:
            billed = _billed_like(stack, usage.key)
        agreed = _agreed(billed, value)
        found.append((agreed, "bill") if agreed else (value, _known_from(value)))
    return [
        {
            "cost_category": value.category,
            "value": value.value,
            "evidence": value.evidence.kind if value.evidence else "",
            "known_from": known_from,
            "disagreed": [f"{e.kind}: {e.value}" for e in value.disagreed],
            "reason": value.reason or ("" if known_from == "bill" or _is_of_usage(value) else _BILL_MAY_DIFFER),
        }
        for value, known_from in found
    ]


def _known_from(value: CategoryValue) -> str:
    """Where a value that no bill decided comes from."""
    if not value.value:
        return ""
    return "directory" if value.evidence and value.evidence.kind in _BY_TAGS else "usage"


def _is_of_usage(value: CategoryValue) -> bool:
    return value.evidence is not None and value.evidence.kind in USAGE_EVIDENCE


def _billed_like(stack: Stack, key: UsageKey) -> list[AllocatedCharge]:
    """The day's billed charges for calls like this one; none while the day is estimated."""
    days = stack.days()
    pointer = days.pointers(BillingPeriod.of(key.usage_date)).get(key.usage_date)
    if pointer is None or pointer.basis is Basis.ESTIMATED:
        return []
    wanted = (key.account_id, key.region, key.model, key.tier, key.routing, key.iam_principal)
    return [
        charge
        for charge in days.charges(key.usage_date, pointer.version)
        if (
            charge.account_id, charge.region, charge.meter.model, charge.meter.tier, charge.meter.routing, charge.iam_principal
        ) == wanted
    ]  # fmt: skip


def _agreed(charges: list[AllocatedCharge], own: CategoryValue) -> CategoryValue | None:
    """What the charges say of a cost category, if it is one thing; those of calls that carried other evidence do not count."""
    stated = [
        value
        for charge in charges
        for value in charge.categories
        if value.category == own.category
        and value.reason != USAGE_NOT_LOGGED
        and (not _is_of_usage(value) or value.value == own.value)
    ]
    return stated[0] if len({value.value for value in stated}) == 1 else None


def _cost(half: Metered | Observed) -> Decimal | None:
    """The cost of a request; None where a part of it has no price, or nothing says all that was used."""
    if "unmeasured" in half.flags or (not half.kinds and isinstance(half, Observed)):
        return None
    costs = [priced.cost for priced in half.kinds.values()]
    return None if any(cost is None for cost in costs) else total(cost for cost in costs if cost is not None)


def result_of(invocation: Invocation, owners: list[dict[str, object]]) -> Result:
    """The request in every form."""
    key, metered, observed = invocation.key, invocation.metered, invocation.observed
    document: dict[str, Any] = {
        "account": key.account_id,
        "region": key.region,
        "request_id": key.request_id,
        "state": invocation.state,
        "metered": _metered(metered) if metered else None,
        "observed": _observed(observed) if observed else None,
        "owners": owners,
    }
    half = document["metered"] or document["observed"]
    kinds, currency = (half["token_kinds"], half["currency"]) if half else ([], "")
    rows = [(k["token_kind"], k["units"], k["unit_price"], k["cost"], currency) for k in kinds]
    return Result(document, HEADER, rows, lambda screen: _render(document, screen))


def _metered(metered: Metered) -> dict[str, Any]:
    return {
        "timestamp": metered.timestamp,
        "model": metered.model,
        "model_id": metered.model_id,
        "operation": metered.operation,
        "routing": metered.routing.value,
        "tier": metered.tier.value,
        "inference_profile": metered.inference_profile,
        "iam_principal": metered.iam_principal,
        "request_metadata": dict(metered.request_metadata),
        **_used(metered),
        "guardrail_units": dict(metered.guardrail_units),
        "error_code": metered.error_code,
        "log_object": metered.log_object,
    }


def _used(half: Metered | Observed) -> dict[str, Any]:
    """What was used and what it cost, as one half of the request says."""
    return {
        "cost": _cost(half),
        "currency": half.currency,
        "price_source": half.price_source,
        "token_kinds": [
            {"token_kind": kind.value, "units": priced.units, "unit_price": priced.unit_price, "cost": priced.cost}
            for kind, priced in half.kinds.items()
        ],
        "flags": list(half.flags),
    }


_CALLER_SHOWN = (
    "role", "session_name", "source_identity", "identity_type", "invoked_by", "issued_to", "on_behalf_of", "project",
    "inference_region",
)  # fmt: skip


def _observed(observed: Observed) -> dict[str, Any]:
    return {
        "timestamp": observed.timestamp,
        "event_name": observed.event_name,
        "event_id": observed.event_id,
        "iam_principal": observed.iam_principal,
        "identity_name": observed.identity_name,
        **{name: getattr(observed, name) for name in _CALLER_SHOWN},
        "has_bearer_token": observed.has_bearer_token,
        "is_uncovered": observed.is_uncovered,
        "session_tags": dict(observed.session_tags),
        "request_metadata": dict(observed.request_metadata),
        **_used(observed),
        "error_code": observed.error_code,
    }


_METERED_SHOWN = ("model", "model_id", "operation", "routing", "tier", "inference_profile", "iam_principal")


def _render(document: dict[str, Any], screen: Screen) -> None:
    metered, observed = document["metered"], document["observed"]
    fields: list[tuple[str, str]] = []
    if metered:
        fields += [("cost", _priced(metered, "estimated")), ("time", f"{metered['timestamp']}")]
        fields += [(name.replace("_", " "), metered[name]) for name in _METERED_SHOWN if metered[name]]
        fields += [("request metadata", _pairs(metered["request_metadata"]))]
        fields += [("price source", metered["price_source"] or "–"), ("flags", ", ".join(metered["flags"]) or "–")]
        fields += [("guardrail units", _pairs(metered["guardrail_units"]))] if metered["guardrail_units"] else []
        fields += [("error", metered["error_code"])] if metered["error_code"] else []
        fields += [("log object", metered["log_object"])]
    elif observed["token_kinds"]:
        fields += [("cost", _priced(observed, "provisional: counted by CloudTrail, no log record has arrived"))]
        fields += [("price source", observed["price_source"] or "–")]
    else:
        why = "no invocation log covers such calls" if observed["is_uncovered"] else "no log record has arrived"
        fields += [("cost", f"not known: {why}")]
    fields += _caller_fields(observed) if observed else [("seen by CloudTrail", "not yet")]
    for owner in document["owners"]:
        fields.append((owner["cost_category"], _owner(owner)))
    screen.grid(fields_grid(f"{document['account']}/{document['region']}/{document['request_id']}", fields))
    half = metered or observed
    if half["token_kinds"]:
        rows = [
            (k["token_kind"], number(k["units"]), k["unit_price"] or "unpriced", _exact(k["cost"], half["currency"]))
            for k in half["token_kinds"]
        ]
        columns = [Column("token kind"), Column("units", is_number=True), Column("price"), Column("cost", is_number=True)]
        screen.grid(Grid("metered" if metered else "provisional", columns, rows))


def _priced(half: dict[str, Any], basis: str) -> str:
    if half["cost"] is None:
        is_measured = half["token_kinds"] and "unmeasured" not in half["flags"]
        return "not known: a part has no price" if is_measured else "not known: nothing says all that was used"
    return f"{_exact(half['cost'], half['currency'])} ({basis})"


def _caller_fields(observed: dict[str, Any]) -> list[tuple[str, str]]:
    fields = [("seen by CloudTrail", f"{observed['event_name']} at {instant(observed['timestamp'])}")]
    fields += [("caller", observed["iam_principal"] or observed["identity_name"] or "–")]
    fields += [("session tags", _pairs(observed["session_tags"]))]
    fields += [(name.replace("_", " "), observed[name]) for name in _CALLER_SHOWN if observed[name]]
    fields += [("bearer token", "yes: called with a Bedrock API key")] if observed["has_bearer_token"] else []
    fields += [("CloudTrail error", observed["error_code"])] if observed["error_code"] else []
    return fields


def _owner(owner: dict[str, Any]) -> str:
    if not owner["value"]:
        return f"(unallocated): {owner['reason']}" if owner["known_from"] else owner["reason"]
    place = {"bill": " in the bill", "directory": " in the directory"}.get(owner["known_from"], "")
    rest = [f"disagrees: {', '.join(owner['disagreed'])}"] if owner["disagreed"] else []
    rest += [owner["reason"]] if owner["reason"] else []
    evidence = owner["evidence"].replace("_", " ")
    return f"{owner['value']} ({'; '.join([f'from {evidence}{place}', *rest])})"


def _exact(cost: Decimal | None, currency: str) -> str:
    """A single request costs fractions of a cent, so its amount is not rounded."""
    return "–" if cost is None else f"{number_text(cost)} {currency}"


def _pairs(pairs: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs.items()) or "–"
