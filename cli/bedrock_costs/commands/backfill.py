"""`backfill`: months of cost reports brought in and followed to their end; run again, it goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import sleep as pause
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.formats import counted, money, number
from attribution.periods import BillingPeriod
from bedrock_costs.application import Options, options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.spans import parse_period

if TYPE_CHECKING:
    from rich.console import Console

    from bedrock_costs.backfilling import Backfill, Followed

HEADER = (
    "billing_period", "manifest", "outcome", "was_known", "rows_read", "rows_in_scope", "currency", "billed_cost",
    "changed_days", "reason",
)  # fmt: skip
_POLL_SECONDS = 5
_AGAIN = "Run the same command again: what is published is left out, and it goes on from there."


def backfill(
    ctx: typer.Context,
    uri: Annotated[
        str | None, typer.Argument(metavar="[S3_URI]", help="s3://bucket/prefix of manifests. Default: the stack's export.")
    ] = None,
    first: Annotated[
        BillingPeriod | None, typer.Option("--from", parser=parse_period, metavar="YYYY-MM", help="First billing period.")
    ] = None,
    last: Annotated[
        BillingPeriod | None,
        typer.Option("--to", parser=parse_period, metavar="YYYY-MM", help="Last billing period, included."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Send all, and do not wait for what becomes of them.")] = False,
    patience_minutes: Annotated[
        int, typer.Option("--patience", min=1, metavar="MINUTES", help="Stop waiting when nothing changes for so long.")
    ] = 60,
) -> None:
    """Bring in months of cost reports, oldest first, and wait until each is published.

    What the ledger knows already is left out: after an interruption, run it again and it goes on where it stopped.

    Example: bedrock-costs backfill --from 2026-01 --to 2026-06
    """
    options = options_of(ctx)
    work = _planned(options, uri, first, last)
    ended = ""
    if no_wait and not dry_run:
        work.send(work.unsent)
    elif not dry_run:
        ended = _see_through(work, options.screen, patience_minutes)
    options.screen.emit(_result(work, dry_run=dry_run))
    _fail_if_unfinished(work, ended)


def _planned(options: Options, uri: str | None, first: BillingPeriod | None, last: BillingPeriod | None) -> Backfill:
    from adapters.sources.report_listing import S3ReportListing
    from bedrock_costs.backfilling import Backfill
    from bedrock_costs.replaying import place_read_by

    if first and last and last < first:
        raise typer.BadParameter(f"--to {last} is before --from {first}")
    stack = options.stack
    place = place_read_by(stack, uri, "CostReportLocation")
    listing = S3ReportListing(stack.client("s3"), place.bucket, place.prefix)
    found = [m for m in listing.manifests() if (first or m.period) <= m.period <= (last or m.period)]
    if not found:
        about = f" from {first} on" * bool(first) + f" up to {last}" * bool(last)
        raise Failure(
            f"no manifest of a cost report{about} under {place}",
            fix="Check the prefix with `aws s3 ls`.",
            code=ExitCode.NOT_READY,
        )
    return Backfill(stack, found)


def _see_through(work: Backfill, screen: Screen, patience_minutes: int) -> str:
    """Send and wait until everything has come to its end; returns why it did not, if so."""
    polls_left = polls = patience_minutes * 60 // _POLL_SECONDS
    try:
        work.start()
        with _shown(screen.console(stderr=True), work) as show:
            while True:
                has_changed = work.advance()
                show()
                if not (work.open or work.unsent):
                    return ""
                polls_left = polls if has_changed else polls_left - 1
                if not polls_left:
                    return f"nothing has changed for {counted(patience_minutes, 'minute')}"
                pause(_POLL_SECONDS)
    except KeyboardInterrupt:
        return "interrupted"


@contextmanager
def _shown(console: Console, work: Backfill) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, a line for every change elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not console.is_terminal:
        told = {id(d): d.outcome for d in work.deliveries}
        yield lambda: _tell_changes(work, told, console)
        return
    text = TextColumn("{task.description}", markup=False)
    columns = (TextColumn("backfill"), BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(_now(work), total=len(work.deliveries), completed=work.done_count)
        yield lambda: progress.update(task, completed=work.done_count, description=_now(work), refresh=True)


def _tell_changes(work: Backfill, told: dict[int, Any], console: Console) -> None:
    for delivery in work.deliveries:
        if told[id(delivery)] is not delivery.outcome:
            told[id(delivery)] = delivery.outcome
            rows = f", {counted(delivery.record.report.rows_read, 'row')} read" if delivery.is_done and delivery.record else ""
            done = f"{work.done_count} of {len(work.deliveries)} done"
            console.print(f"{delivery.manifest.period} {delivery.outcome}{rows}; {done}", soft_wrap=True)


def _now(work: Backfill) -> str:
    """What is worked on at the moment, and how much has been read."""
    rows = sum(d.record.report.rows_read for d in work.deliveries if d.record and not d.was_known)
    parts = [f"{delivery.manifest.period} {_step(delivery)}" for delivery in work.open[:1]]
    return "; ".join([*parts, f"{counted(rows, 'row')} read"])


def _step(delivery: Followed) -> str:
    record = delivery.record
    return f"allocated {len(record.staged)} of {counted(len(record.changed_days), 'day')}" if record else "is read"


def _costs(delivery: Followed) -> Sequence[tuple[str, Any]]:
    totals = delivery.record.report.totals if delivery.record else {}
    return [(currency, costs.billed_cost) for currency, costs in sorted(totals.items())]


def _document(delivery: Followed) -> dict[str, Any]:
    record = delivery.record
    return {
        "billing_period": str(delivery.manifest.period),
        "manifest": str(delivery.manifest.source),
        "outcome": delivery.outcome.value,
        "was_known": delivery.was_known,
        "rows_read": record.report.rows_read if record else None,
        "rows_in_scope": record.report.rows_in_scope if record else None,
        "billed_cost": dict(_costs(delivery)),
        "changed_days": len(record.changed_days) if record else None,
        "reason": delivery.reason,
    }


def _result(work: Backfill, *, dry_run: bool) -> Result:
    documents = [_document(d) for d in work.deliveries]
    rows = [
        (
            d["billing_period"], d["manifest"], d["outcome"], d["was_known"], d["rows_read"], d["rows_in_scope"], currency,
            cost, d["changed_days"], d["reason"],
        )
        for d in documents
        for currency, cost in (list(d["billed_cost"].items()) or [("", None)])
    ]  # fmt: skip
    document = {
        "found": len(documents),
        "known": sum(d.was_known for d in work.deliveries),
        "sent": sum(d.is_sent for d in work.deliveries),
        "is_dry_run": dry_run,
        "deliveries": documents,
    }
    return Result(document, HEADER, rows, lambda screen: _render(work, document, screen))


def _render(work: Backfill, document: dict[str, Any], screen: Screen) -> None:
    columns = [
        Column("period", no_wrap=True),
        Column("outcome", no_wrap=True),
        Column("rows", is_number=True),
        Column("Bedrock", is_number=True),
        Column("billed", is_number=True),
        Column("days changed", is_number=True, dispensable=1),
        Column("reason"),
    ]
    rows = [
        (
            str(d.manifest.period),
            f"{d.outcome} before" if d.was_known else d.outcome.value,
            number(d.record.report.rows_read if d.record else None),
            number(d.record.report.rows_in_scope if d.record else None),
            ", ".join(money(cost, currency) for currency, cost in _costs(d)),
            number(len(d.record.changed_days) if d.record else None),
            d.reason,
        )
        for d in work.deliveries
    ]
    screen.grid(Grid("backfill", columns, rows))
    known = f"; {document['known']:,} known already and left out" if document["known"] else ""
    sent = len(work.unsent) if document["is_dry_run"] else document["sent"]
    deliveries = counted(sent, "delivery", "deliveries")
    screen.line(f"{'Would send' if document['is_dry_run'] else 'Sent'} {deliveries}{known}.", style="dim")


def _fail_if_unfinished(work: Backfill, ended: str) -> None:
    from bedrock_costs.backfilling import Outcome

    if ended:
        under_way = len(work.open)
        raise Failure(
            f"{ended}: {work.done_count} of {counted(len(work.deliveries), 'delivery', 'deliveries')} done",
            f"{under_way:,} under way; they go on by themselves. `bedrock-costs status` shows dead letters and quarantine.",
            _AGAIN,
        )
    refused = [d for d in work.deliveries if d.outcome is Outcome.REFUSED]
    if refused:
        raise Failure(
            f"{counted(len(refused), 'delivery was', 'deliveries were')} refused; the first, of "
            f"{refused[0].manifest.period}: {refused[0].reason}",
            fix=f"Put right what the reason names. {_AGAIN}",
        )
