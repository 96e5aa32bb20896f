"""`request`: everything that is known of one inference request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from attribution.canonical import number_text
from attribution.days import UNALLOCATED
from attribution.flows.serve_reports import look_up_request
from attribution.formats import number
from attribution.reporting.requests import CALLER_FIELDS, answer_of
from attribution.usage import InvocationKey
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen, fields_grid
from bedrock_costs.stack import Stack

_PARTS = 3


def request(
    ctx: typer.Context,
    call: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Request id, as in the log, CloudTrail and the response; or ACCOUNT/REGION/ID."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="Account that made the call. Default: the stack's account.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Region that was called. Default: the stack's Region.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Request id, where it is not given as the argument.")
    ] = None,
) -> None:
    """Show what one call cost, who made it and who owns it.

    With it come the price that was used, the evidence for the owner, and what is uncertain about the call. The owner is what
    the call itself carried; where that does not decide, it is the owner of the billed charges behind calls like it, if they
    agree on one; else the one that tags of caller, profile and account name on that day.

    Once a bill has reached the day, what the call came to at the rate that the bill paid for calls like it: those of one
    account, Region, model, tier, routing and caller.

    Example: bedrock-costs request 5f3c0b9e-6a0f-4a57-9c2e-0a4be9f1d0aa --account 111122223333 --region us-east-1
    """
    options = options_of(ctx)
    key = _key(options.stack, call, account, region, request_id)
    stack = options.stack
    found = look_up_request(
        key,
        invocations=stack.invocations(),
        policy=stack.policy(),
        directory=stack.directory(),
        days=stack.days(),
    )
    answer = answer_of(found)
    options.screen.emit(Result.of(answer, lambda screen: _render(answer.document, screen)))


def _key(stack: Stack, call: str | None, account: str | None, region: str | None, request_id: str | None) -> InvocationKey:
    """The call that is meant. A request id is unique in one account and Region: those of the stack, unless others are named."""
    if (call is None) == (request_id is None):
        raise typer.BadParameter("name the call once: its request id, or ACCOUNT/REGION/ID in one word")
    parts = (call or request_id or "").replace("#", "/").split("/")
    if len(parts) == 1 and parts[0]:
        return InvocationKey(account or stack.account, region or stack.region, parts[0])
    if account or region or request_id:
        raise typer.BadParameter("name account and Region either in one word with the request id, or by --account and --region")
    if len(parts) != _PARTS or not all(parts):
        raise typer.BadParameter("write the call as its request id, or as ACCOUNT/REGION/ID")
    return InvocationKey(*parts)


_METERED_SHOWN = ("model", "model_id", "operation", "routing", "tier", "inference_profile", "iam_principal")


def _render(document: Mapping[str, Any], screen: Screen) -> None:
    metered, observed = document["metered"], document["observed"]
    fields: list[tuple[str, str]] = []
    if metered:
        fields += [("cost", _priced(metered, "estimated")), *_billed_fields(document)]
        fields += [("time", _moment(metered["timestamp"]))]
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
            (k["token_kind"], number(k["units"]), _price(k["unit_price"]), _exact(k["cost"], half["currency"]))
            for k in half["token_kinds"]
        ]
        columns = [Column("token kind"), Column("units", is_number=True), Column("price"), Column("cost", is_number=True)]
        screen.grid(Grid("metered" if metered else "provisional", columns, rows))


def _billed_fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the bill of the day says, and how to see its rows."""
    billed = document["billed"]
    if billed is None:
        return []
    owner = next((o for o in document["owners"] if o["value"]), None)
    asked = ["--date", str(billed["usage_date"]), "--model", document["metered"]["model"]]
    asked += ["--category", owner["cost_category"], "--value", owner["value"]] if owner else ["--value", UNALLOCATED]
    look = f"bedrock-costs explain {shlex.join(asked)}"
    if billed["cost"] is None:
        return [("billed", f"the day is {billed['basis']}, but its bill has no rate for calls like it: {look}")]
    cost = _exact(billed["cost"], billed["currency"])
    return [("billed", f"{cost} at what the {billed['basis']} day paid for calls like it: {look}")]


def _moment(moment: datetime) -> str:
    """A time of a single request, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _price(text: str) -> str:
    """A unit price as it was recorded, its numbers with separators."""
    amount, separator, per = text.rpartition(" ")
    return f"{amount}{separator}{int(per):,}" if per.isdecimal() else text or "unpriced"


def _priced(half: dict[str, Any], basis: str) -> str:
    if half["cost"] is None:
        is_measured = half["token_kinds"] and "unmeasured" not in half["flags"]
        return "not known: a part has no price" if is_measured else "not known: nothing says all that was used"
    return f"{_exact(half['cost'], half['currency'])} ({basis})"


def _caller_fields(observed: dict[str, Any]) -> list[tuple[str, str]]:
    fields = [("seen by CloudTrail", f"{observed['event_name']} at {_moment(observed['timestamp'])}")]
    fields += [("caller", observed["iam_principal"] or observed["identity_name"] or "–")]
    fields += [("session tags", _pairs(observed["session_tags"]))]
    fields += [(name.replace("_", " "), observed[name]) for name in CALLER_FIELDS if observed[name]]
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
