"""`quarantine`: the notices about input that could not be used."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from attribution.formats import counted
from bedrock_costs.application import options_of
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import Stack

PREFIX = "quarantine/"
HEADER = ("rejected_at", "source", "line", "reason", "notice")


def quarantine(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many notices, newest first.")] = 20,
) -> None:
    """Show what could not be read, where it came from, and why.

    Notices hold no content of the input.

    Example: bedrock-costs quarantine --limit 50
    """
    options = options_of(ctx)
    notices, count = read_notices(options.stack, limit)
    rows = [tuple(notice[name] for name in HEADER) for notice in notices]
    document = {"count": count, "notices": notices}
    options.screen.emit(Result(document, HEADER, rows, lambda screen: _render(notices, count, screen)))


def notice_times(stack: Stack) -> dict[str, datetime]:
    """The keys of all notices and when each was last written, newest first."""
    pages = stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=stack.output("WorkBucket"), Prefix=PREFIX)
    objects = [item for page in pages for item in page.get("Contents", [])]
    return {
        item["Key"]: item["LastModified"] for item in sorted(objects, key=lambda o: (o["LastModified"], o["Key"]), reverse=True)
    }


def read_notices(stack: Stack, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The newest notices, and how many there are."""
    keys = list(notice_times(stack))
    return [read_notice(stack, key) for key in keys[:limit]], len(keys)


def read_notice(stack: Stack, key: str) -> dict[str, Any]:
    """One notice."""
    bucket = stack.output("WorkBucket")
    stored = json.loads(stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    return {
        "rejected_at": str(stored.get("rejected_at", "")),
        "source": str(stored.get("source", "")),
        "line": stored.get("line"),
        "reason": str(stored.get("reason", "")),
        "notice": f"s3://{bucket}/{key}",
    }


def _render(notices: list[dict[str, Any]], count: int, screen: Screen) -> None:
    if not notices:
        screen.line("Nothing is in quarantine.")
        return
    columns = [Column("rejected", no_wrap=True), Column("source"), Column("line", is_number=True), Column("reason")]
    rows = [
        (n["rejected_at"][:16].replace("T", " "), n["source"], "" if n["line"] is None else str(n["line"]), n["reason"])
        for n in notices
    ]
    screen.grid(Grid("quarantine", columns, rows))
    screen.line(
        f"{len(notices)} of {counted(count, 'notice')}. Correct the source, then send it again with `bedrock-costs replay`.",
        style="dim",
    )
