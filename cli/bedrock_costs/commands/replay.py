"""`replay`: send input again through the queues it came through. Repeating is harmless."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from attribution.formats import counted
from attribution.periods import BillingPeriod
from bedrock_costs.application import Options, options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.log_events import read_log_events, record_log_events
from bedrock_costs.replaying import ObjectInS3, account_of, announcement, listed, read_event_files, require_read, send
from bedrock_costs.screen import Result, Screen
from bedrock_costs.spans import parse_instant, parse_period
from bedrock_costs.stack import Location, Stack

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Send log objects, deliveries, CloudTrail events or days again."
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]
_SHOWN = 10


@commands.command()
def objects(
    ctx: typer.Context,
    uri: Annotated[str, typer.Argument(metavar="S3_URI", help="s3://bucket/prefix of invocation log objects.")],
    dry_run: DryRun = False,
) -> None:
    """Have the invocation log objects under a prefix read again.

    Example: bedrock-costs replay objects s3://example-logs/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/10/
    """
    from adapters.sources.invocation_log import is_records_object

    options = options_of(ctx)
    found, others = _listed(options.stack, Location.parse(uri), options.stack.location("InvocationLogLocation"))
    chosen = [item for item in found if is_records_object(item.key)]
    _require_some(chosen, f"no invocation log object under {uri}", others + len(found))
    _replay(options, "InvocationLogQueue", chosen, Location.parse(uri).bucket, others + len(found) - len(chosen), dry_run)


@commands.command()
def trail(
    ctx: typer.Context,
    uri: Annotated[
        str | None, typer.Argument(metavar="[S3_URI]", help="s3://bucket/prefix of trail files. Default: the stack's trail.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Have the CloudTrail files under a prefix read again.

    Calls that are known change nothing.

    Example: bedrock-costs replay trail s3://example-trail/AWSLogs/111122223333/CloudTrail/us-east-1/2026/10/05/
    """
    from adapters.sources.cloudtrail import is_trail_file

    options = options_of(ctx)
    allowed = options.stack.trail_location
    if allowed is None:
        raise Failure(
            f"stack {options.stack.name!r} reads no trail",
            "It hears of calls through EventBridge alone.",
            "Deploy it with the parameter TrailBucket, or send exported events with `bedrock-costs replay events`.",
            ExitCode.NOT_READY,
        )
    place = Location.parse(uri) if uri else allowed
    found, others = _listed(options.stack, place, allowed)
    chosen = [item for item in found if is_trail_file(item.key)]
    _require_some(chosen, f"no CloudTrail file under {place}", others + len(found))
    _replay(options, "TrailQueue", chosen, place.bucket, others + len(found) - len(chosen), dry_run)


@commands.command("logs")
def logs(
    ctx: typer.Context,
    first: Annotated[datetime, typer.Option("--from", parser=parse_instant, metavar="TIME", help="From when on. UTC.")],
    last: Annotated[datetime, typer.Option("--to", parser=parse_instant, metavar="TIME", help="Until when, included. UTC.")],
    dry_run: DryRun = False,
) -> None:
    """Have invocation logs in CloudWatch Logs recorded again, between two times.

    They carry prompts: they go from the log group to the function in memory, and through no queue.

    Example: bedrock-costs replay logs --from 2026-10-05T14:00 --to 2026-10-05T15:30
    """
    options = options_of(ctx)
    log_group = options.stack.log_group
    if log_group is None:
        raise Failure(
            f"stack {options.stack.name!r} is subscribed to no log group",
            "It reads invocation logs from S3 alone.",
            "Deploy it with the parameter InvocationLogGroup, or replay objects with `bedrock-costs replay objects`.",
            ExitCode.NOT_READY,
        )
    if last < first:
        raise typer.BadParameter(f"--to {last.isoformat()} is before --from {first.isoformat()}")
    found = sent = 0
    for batch in read_log_events(options.stack, log_group, first, last):
        found += len(batch)
        sent += 0 if dry_run else record_log_events(options.stack, log_group, batch, sent)
    if not found:
        raise Failure(
            f"no log event in {log_group} from {first.isoformat()} to {last.isoformat()}",
            "The log may not go back so far.",
            "Check the times, which are UTC, and the retention of the log group.",
            ExitCode.NOT_READY,
        )
    _tell(options, "log event", found, sent, 0, (), (), dry_run)


@commands.command()
def deliveries(
    ctx: typer.Context,
    uri: Annotated[
        str | None, typer.Argument(metavar="[S3_URI]", help="s3://bucket/prefix of manifests. Default: the stack's export.")
    ] = None,
    period: Annotated[
        BillingPeriod | None,
        typer.Option(parser=parse_period, metavar="YYYY-MM", help="Only this billing period. Default: all."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Have cost report deliveries read again, oldest first.

    A delivery that the ledger knows changes nothing.

    Example: bedrock-costs replay deliveries --period 2026-10
    """
    from adapters.sources.manifest import named

    options = options_of(ctx)
    allowed = options.stack.location("CostReportLocation")
    place = Location.parse(uri) if uri else allowed
    found, others = _listed(options.stack, place, allowed)
    chosen = [item for item in found if (about := named(item.key)) and period in (None, about.period)]
    wanted = f" of {period}" if period else ""
    _require_some(chosen, f"no manifest of a cost report{wanted} under {place}", others + len(found))
    chosen.sort(key=lambda item: (item.modified_at, item.key))
    _replay(options, "CostReportQueue", chosen, place.bucket, others + len(found) - len(chosen), dry_run)


@commands.command()
def days(
    ctx: typer.Context,
    period: Annotated[BillingPeriod, typer.Option(parser=parse_period, metavar="YYYY-MM", help="The billing period.")],
    is_closed_meant: Annotated[
        bool, typer.Option("--closed", help="Also days of a closed month; each that gets other owners is an adjustment.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Have every day of a billing period allocated again, under the policy in force now.

    Days that come out as they were stay as they are. Of a month that is closed somebody may have been charged: its days are
    allocated again only with --closed, and `bedrock-costs adjustments` then shows what each owner got or lost.
    `bedrock-costs config plan --period 2026-10` shows it before.

    Example: bedrock-costs replay days --period 2026-10
    """
    from bedrock_costs.planning import days_of

    options = options_of(ctx)
    stack = options.stack
    closed = sorted(days_of(stack, [period]).closed_days)
    found = sorted(stack.days().pointers(period))
    if not found:
        raise Failure(
            f"no data for {period}: there is no day to allocate again",
            "The ledger has no day of this period: neither usage nor a bill of it has been read.",
            "Bring the input in first, with `bedrock-costs replay objects` or `replay deliveries`.",
            ExitCode.NOT_READY,
        )
    if closed and not is_closed_meant:
        raise Failure(
            f"{period} is closed: somebody may have been charged for {counted(len(closed), 'day')} of it",
            "To allocate them again, by the policy in force and the usage and tags known now, may give cost to other owners.",
            f"See what would move with `bedrock-costs config plan --period {period}`, then add --closed: every day that gets "
            "other owners is an adjustment.",
            ExitCode.USAGE,
        )
    if not dry_run:
        queue = stack.allocation_queue()
        queue.requested([day for day in found if day not in closed])
        queue.closed_requested(closed, stack.policy().version_in_force())
    _tell(options, "day", len(found), 0 if dry_run else len(found), 0, (), [str(day) for day in found], dry_run)


@commands.command()
def events(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="JSON or NDJSON files, plain or gzip.")],
    dry_run: DryRun = False,
) -> None:
    """Send CloudTrail events from files.

    They may be EventBridge events, trail files, or what `aws cloudtrail lookup-events` prints, one JSON value or one a line.
    Of each event only what is read is sent, never a session token. Events that say nothing about who used a model are left out.

    Example: bedrock-costs replay events lookup.json
    """
    options = options_of(ctx)
    read = read_event_files(files, options.stack.stored_tag_keys or ())
    if not read.events and not read.rejected:
        raise Failure(
            "no inference call, session with tags, or change is in these files",
            f"{counted(read.skipped, 'other event')} in them.",
            "Export the events of bedrock.amazonaws.com and sts.amazonaws.com.",
            ExitCode.NOT_READY,
        )
    queue_url = options.stack.output("ApiCallQueue")
    sent = 0 if dry_run else send(options.stack, queue_url, read.events, options.screen)
    _tell(options, "event", len(read.events), sent, read.skipped, read.rejected, (), dry_run)
    if read.rejected:
        raise Failure(
            f"{counted(len(read.rejected), 'event')} could not be read; the first: {read.rejected[0]}",
            fix="Correct the file and send it again; the other events of it were sent." if not dry_run else "Correct the file.",
        )


def _listed(stack: Stack, place: Location, allowed: Location) -> tuple[list[ObjectInS3], int]:
    """The objects at a place that the stack reads, and how many it does not."""
    require_read(place, allowed)
    found = list(listed(stack, place))
    inside = [item for item in found if item.key.startswith(allowed.prefix)]
    return inside, len(found) - len(inside)


def _require_some(chosen: Sequence[object], what: str, looked_at: int) -> None:
    if not chosen:
        raise Failure(what, f"{counted(looked_at, 'object')} there.", "Check the prefix with `aws s3 ls`.", ExitCode.NOT_READY)


def _replay(options: Options, queue: str, chosen: Sequence[ObjectInS3], bucket: str, skipped: int, dry_run: bool) -> None:
    stack = options.stack
    queue_url = stack.output(queue)
    sent = 0
    if not dry_run:
        account = account_of(queue_url)
        sent = send(stack, queue_url, [announcement(stack, bucket, item, account) for item in chosen], options.screen)
    names = [f"s3://{bucket}/{item.key}" for item in chosen]
    _tell(options, "object", len(chosen), sent, skipped, (), names, dry_run)


def _tell(
    options: Options,
    noun: str,
    found: int,
    sent: int,
    skipped: int,
    rejected: Sequence[str],
    names: Sequence[str],
    dry_run: bool,
) -> None:
    document = {"found": found, "sent": sent, "skipped": skipped, "rejected": list(rejected), "is_dry_run": dry_run}

    def render(screen: Screen) -> None:
        others = f"; {counted(skipped, 'other')} left out" if skipped else ""
        screen.line(f"{'Would send' if dry_run else 'Sent'} {counted(found if dry_run else sent, noun)}{others}.")
        if dry_run:
            for name in names[:_SHOWN]:
                screen.line(f"  {name}")
            if len(names) > _SHOWN:
                screen.line(f"  and {len(names) - _SHOWN:,} more")
        elif sent:
            screen.line("They are worked on in the background; `bedrock-costs status` and `days` show what becomes of them.")

    header = ("found", "sent", "skipped", "rejected", "is_dry_run")
    rows = [(found, sent, skipped, len(rejected), dry_run)]
    listed_names = {f"{noun}s": list(names)} if dry_run and names else {}
    options.screen.emit(Result(document | listed_names, header, rows, render))
