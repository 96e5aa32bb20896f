"""The whole system on this machine, on a synthetic company whose true cost is known.

Promises that everything shown was done by the built functions, called by events through the template's own rules; the demo only
puts objects and events in and reads the ledger.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from textwrap import indent

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adapters.policy import parse_policy
from attribution.charges import AllocatedCharge
from attribution.formats import cents_adding_up, money
from attribution.meters import Meter
from attribution.periods import BillingPeriod
from local import deployment, emulator, pipeline, state
from local.pipeline import COST_REPORT_PREFIX, COST_REPORTS, INVOCATION_LOG_PREFIX, INVOCATION_LOGS, Pipeline
from local.slack_receiver import Post, SlackReceiver, render
from local.slack_workspace import Shown
from truth import cloudtrail, company, cost_report, invocation_log, price_list, summary
from truth.company import Month
from truth.cost_report import Delivery
from truth.objects import StoredObject
from truth.organisation import RUNAWAY_DAYS, RUNAWAY_TENANT, TEAMS

MONTH, SEED, REQUESTS, EXPORT = "2026-10", 7, 1000, "bedrock-cur"
POLICY = Path(__file__).with_name("demo-policy.yaml")
UNALLOCATED = "(unallocated)"
# Whom the demo's policy makes the owner of idle capacity, and how the truth calls that.
CENTRAL_TEAM, IDLE = "platform", "provisioned_throughput"
# A pipe has no width of its own; a terminal has.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True)
class Spend:
    """A month by team, at one moment."""

    by_team: Mapping[str, Decimal]
    requests: int

    @property
    def total(self) -> Decimal:
        return sum(self.by_team.values(), Decimal(0))


@contextmanager
def step(title: str) -> Iterator[None]:
    """A line that says what is happening, and how long it took."""
    started = time.monotonic()
    with console.status(f"{title} …"):
        yield
    console.print(f"  [green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")


def spend_by_team(running: Pipeline, period: BillingPeriod) -> Spend:
    """What readers of the ledger see now."""
    pointers = list(running.pointers(period).values())
    by_team: dict[str, Decimal] = defaultdict(Decimal)
    requests = 0
    for day in running.days.sums(pointers, "team").values():
        for (team, _), day_sum in day.items():
            by_team[team] += day_sum.costs.billed_cost
            requests += day_sum.requests
    return Spend(dict(by_team), requests)


def cost_by_meter(charges: Sequence[AllocatedCharge]) -> dict[tuple[Meter, str], Decimal]:
    """What was used of each meter in each Region."""
    by_meter: dict[tuple[Meter, str], Decimal] = defaultdict(Decimal)
    for charge in charges:
        if charge.line_item_type == "Usage":
            by_meter[charge.meter, charge.region] += charge.costs.billed_cost
    return dict(by_meter)


def start(receiver: SlackReceiver, *, keep: bool, bot: bool = False) -> Pipeline:
    """A fresh local AWS with the customer's buckets and the built stack; it knows Slack by a webhook or as a bot."""
    with step("start an AWS emulator on 127.0.0.1, IAM enforced"):
        running = emulator.start(keep=keep, pace=emulator.Pace(retry_seconds=2))
    try:
        with step("deploy template.yaml as `sam build` made it"):
            secret = {"bot_token": receiver.workspace.token, "channel": "C0BUDGETS"}
            secret_arn = pipeline.prepare_account(running, json.dumps(secret) if bot else receiver.url)
            parameters = deployment.parameters_from_samconfig(emulator.REPOSITORY / "samconfig.toml")
            parameters |= pipeline.stack_parameters(secret_arn, SlackApiUrl=receiver.api_url)
            deployed = deployment.deploy(running, pipeline.BUILD_DIRECTORY, parameters=parameters)
    except BaseException:
        running.stop()
        raise
    for note in deployed.notes:
        console.print(f"    [dim]{note}[/]")
    state.save(state.LocalAws(running, deployed))
    return Pipeline(running, deployed)


def feed_usage(running: Pipeline, month: Month, held_back: Sequence[StoredObject] = ()) -> None:
    """Drop a month of invocation logs and CloudTrail events, and wait until the ledger is at rest."""
    objects = [stored for stored in log_objects(month) if stored not in held_back]
    expected = len(requests_in(objects))
    events = list(cloudtrail.eventbridge_events(month))
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("drop log objects and CloudTrail events", total=len(objects) + len(events))
        for chunk in range(0, len(objects), 50):
            progress.advance(task, running.put_objects(INVOCATION_LOGS, objects[chunk : chunk + 50]))
        for chunk in range(0, len(events), 50):
            progress.advance(task, running.put_events(events[chunk : chunk + 50]))
        task = progress.add_task("requests metered and priced", total=expected)

        def all_metered() -> bool:
            progress.update(task, completed=min(running.count_metered(), expected))
            return bool(progress.tasks[1].finished)

        running.wait_for("metering every logged request", all_metered, seconds=300)
        progress.add_task("counters rolled up, days estimated, budgets evaluated", total=None)
        running.settle(seconds=300)


def log_objects(month: Month) -> list[StoredObject]:
    return list(invocation_log.objects(month, prefix=INVOCATION_LOG_PREFIX, bucket=INVOCATION_LOGS))


def requests_in(objects: Sequence[StoredObject]) -> set[str]:
    """The ids of the requests that log objects hold."""
    lines = (line for stored in objects if is_log(stored) for line in gzip.decompress(stored.body).splitlines())
    return {json.loads(line)["requestId"] for line in lines}


def is_log(stored: StoredObject) -> bool:
    """Whether it holds log records: neither a body that one refers to nor Bedrock's check of the permission to write."""
    return "/data/" not in stored.key and stored.key.endswith(".json.gz")


def loop_that_breaks_the_budget(month: Month) -> list[StoredObject]:
    """The log of the last hour of a tenant's loop, without which its budget holds; other months than the demo's have none."""
    [budget] = [b for b in yaml.safe_load(POLICY.read_text())["budgets"] if b["name"] == f"tenant {RUNAWAY_TENANT}"]
    limit = Decimal(budget["limit"]["amount"])
    ran = [r for r in month.requests if r.metadata.get("tenant") == RUNAWAY_TENANT and r.is_logged]
    last = max((r.time for r in ran if r.list_cost and r.time.day <= RUNAWAY_DAYS[1]), default=month.start)
    hour = [r for r in ran if f"{r.time:%d %H}" == f"{last:%d %H}"]
    whole = sum((r.list_cost for r in ran), Decimal(0))
    if not whole - sum((r.list_cost for r in hour), Decimal(0)) < limit <= whole:
        return []
    place = (hour[0].principal.account.account_id, hour[0].principal.region)
    folder = invocation_log.folder(place, last, INVOCATION_LOG_PREFIX)
    return [stored for stored in log_objects(month) if stored.key.startswith(folder) and is_log(stored)]


def run_away(running: Pipeline, logs: Sequence[StoredObject], receiver: SlackReceiver) -> str:
    """Drop the log that breaks the tenant's budget, and wait until Slack shows that; how long it took, in words."""
    heard = len(receiver.posts)

    def alerts() -> list[Post]:
        return [p for p in receiver.posts[heard:] if p.delivered and f"tenant {RUNAWAY_TENANT}" in p.payload["text"]]

    running.put_objects(INVOCATION_LOGS, logs)
    landed = datetime.now(UTC)
    running.wait_for("the alert of the tenant's budget", lambda: bool(alerts()), seconds=60, poll=0.05)
    seconds = (datetime.fromisoformat(alerts()[0].at) - landed).total_seconds()
    running.settle(seconds=300)
    return f"{seconds:.1f} s"


def feed_delivery(running: Pipeline, period: BillingPeriod, delivery: Delivery) -> None:
    """Drop a delivery of the cost report, its manifest last, and wait until readers see it."""
    running.put_objects(COST_REPORTS, delivery.objects)
    running.wait_for(
        "publishing the delivery",
        lambda: pipeline.is_published(running.delivery(period, delivery.execution_id)),
        seconds=300,
    )
    running.settle(seconds=300)


def by_model(estimated: Mapping[tuple[Meter, str], Decimal], billed: Mapping[tuple[Meter, str], Decimal]) -> Table:
    """Per model: what usage said before, and what the bill says of the same meters now."""
    table = Table(title="Estimate and bill of the same meters, by model, USD", title_justify="left", title_style="bold")
    table.add_column("model")
    for name in ("estimated from usage", "billed by AWS", "estimate of bill"):
        table.add_column(name, justify="right")
    rows: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for (meter, region), amount in estimated.items():
        rows[meter.model][0] += amount
        rows[meter.model][1] += billed.get((meter, region), Decimal(0))
    for model, (before, after) in sorted(rows.items(), key=lambda row: (-row[1][1], row[0])):
        table.add_row(model, money(before, "USD"), money(after, "USD"), percent(before, after))
    return table


def in_order(estimated: Spend, billed: Spend) -> list[str]:
    """Every team that either knows, the most expensive first; what nobody owns last."""
    teams = {*estimated.by_team, *billed.by_team, UNALLOCATED}
    return sorted(teams, key=lambda t: (t == UNALLOCATED, -billed.by_team.get(t, Decimal(0))))


def chargeback(estimated: Spend, billed: Spend, owned: Mapping[str, Decimal]) -> Table:
    """Per team: what usage said, what the bill says, and what is true. The rows of a column add up to its total."""
    table = Table(title=f"Chargeback {MONTH}, USD", title_justify="left", title_style="bold", show_footer=True)
    table.add_column("team", footer="total")
    teams = in_order(estimated, billed)
    columns = []
    for name, source in (
        ("estimated from usage", estimated.by_team),
        ("billed by AWS", billed.by_team),
        ("truth (billed)", owned),
    ):
        amounts = [source.get(team, Decimal(0)) for team in teams]
        columns.append([money(amount, "USD", cents) for amount, cents in zip(amounts, cents_adding_up(amounts), strict=True)])
        table.add_column(name, justify="right", footer=money(sum(amounts, Decimal(0)), "USD"))
    for team, *cells in zip(teams, *columns, strict=True):
        table.add_row(team, *cells)
    return table


def worth_explaining(charges: Sequence[AllocatedCharge]) -> AllocatedCharge | None:
    """The largest charge of a team that is a part of a row which several teams share; a small month may have none."""
    teams: dict[tuple[date, str], set[str]] = defaultdict(set)
    for charge in charges:
        teams[charge.usage_date, charge.origin].add(charge.value_of("team"))
    shared = [c for c in charges if c.is_measured and c.value_of("team") and len(teams[c.usage_date, c.origin]) > 1]
    return max(shared, key=lambda c: (c.costs.billed_cost, c.digest()), default=None)


def allocatable_truth(month: Month) -> dict[str, Decimal]:
    """What evidence and the policy's rules let anybody know about the bill: usage by team, discounts with the usage that
    they are for, idle capacity as the platform team's, and what is left.
    """
    true = month.truth()
    idle = true.unallocated_by_reason.get(IDLE, Decimal(0))
    by_team: dict[str, Decimal] = defaultdict(Decimal)
    for teams in true.allocatable_by_day_and_team.values():
        for team, amount in teams.items():
            by_team[UNALLOCATED if team == "unallocated" else team] += amount
    by_team[CENTRAL_TEAM] += idle
    for team, amount in summary.discounts_by_team(month, {IDLE: CENTRAL_TEAM}).items():
        by_team[team] += amount
    by_team[UNALLOCATED] = true.bedrock.unblended_cost - sum((a for t, a in by_team.items() if t in TEAMS), Decimal(0))
    return {team: amount for team, amount in by_team.items() if team in (*TEAMS, UNALLOCATED)}


def accuracy(charges: Sequence[AllocatedCharge], owned: Mapping[str, Decimal]) -> tuple[Decimal, Decimal]:
    """How much of the allocatable cost went to its true team, and how much there was."""
    allocated: dict[str, Decimal] = defaultdict(Decimal)
    for charge in charges:
        team = charge.value_of("team")
        if team:
            allocated[team] += charge.costs.billed_cost
    right = sum((min(allocated[t], a) for t, a in owned.items() if t != UNALLOCATED), Decimal(0))
    return right, sum((a for t, a in owned.items() if t != UNALLOCATED), Decimal(0))


def percent(part: Decimal, whole: Decimal) -> str:
    return f"{part * 100 / whole:.2f} %" if whole else "–"


@dataclass(frozen=True)
class Estimate:
    """What was known of a month before its bill."""

    spend: Spend
    by_meter: Mapping[tuple[Meter, str], Decimal]


def show_message(receiver: SlackReceiver, message: Shown) -> None:
    """A message as it was posted and as it stands, and its thread."""
    if message.versions:
        console.print("[dim]posted on the estimate[/]")
        console.print(render(message.versions[0]), markup=False)
        console.print("[dim]and as the same message stands now[/]")
    console.print(render(message.payload), markup=False)
    for reply in receiver.workspace.thread(message.ts):
        console.print("    [dim]in its thread[/]")
        console.print(indent(render(reply.payload, width=74), "    "), markup=False)
    console.print()


def show(running: Pipeline, month: Month, delivery: Delivery, estimate: Estimate, receiver: SlackReceiver) -> bool:
    """The results; returns whether every number ties out."""
    period = BillingPeriod.parse(MONTH)
    charges, estimated = running.charges(period), estimate.spend
    owned = allocatable_truth(month)
    billed_by_aws = delivery.truth.bedrock.unblended_cost
    unallocated = sum((c.costs.billed_cost for c in charges if not c.value_of("team")), Decimal(0))
    allocated = sum((c.costs.billed_cost for c in charges), Decimal(0)) - unallocated
    difference = billed_by_aws - allocated - unallocated
    right, knowable = accuracy(charges, owned)
    billed = spend_by_team(running, period)
    console.print()
    console.print(
        "[dim]The company is made of hard cases on purpose: untagged roles, provisioned capacity, "
        "discounts that a rule hands on, tax and credits without a rule.[/]"
    )
    console.print(chargeback(estimated, billed, owned))
    console.print(
        "[dim]Estimates know the requests that invocation logs hold or CloudTrail counts, at list price. Batch jobs, mantle,[/]"
    )
    console.print("[dim]provisioned capacity, guardrails, tax and credits come with the bill.[/]")
    seen = month.truth().coverage
    console.print(
        f"[dim]{seen.requests} calls: {seen.logged} logged (in {seen.log_records} records), "
        f"{seen.in_cloudtrail} in CloudTrail; {estimated.requests} have counts to estimate from, in one or the other.[/]"
    )
    console.print()
    console.print(by_model(estimate.by_meter, cost_by_meter(charges)))
    console.print(
        "[dim]The bill counts calls that no log holds, too. Until there is one, Nova Pro's private rate is unknown.[/]"
    )
    console.print()
    console.print("[bold]What stands between the bill and its owners[/] [dim]bedrock-costs coverage[/]")
    console.print(running.bedrock_costs("coverage", "--period", MONTH, "--category", "team"), markup=False)
    charge = worth_explaining(charges)
    if charge is not None:
        console.print("[bold]One charge explained[/] [dim]bedrock-costs explain[/]")
        console.print(running.bedrock_costs("explain", f"{charge.usage_date}/{charge.digest()}"), markup=False)
    console.print("[bold]What Slack shows[/]")
    for message in receiver.workspace.parents():
        show_message(receiver, message)
    ties = "[green]" if difference == 0 else "[red]"
    console.print(
        f"[bold]Reconciliation[/]  billed {billed_by_aws}, allocated {allocated.normalize():f}, "
        f"unallocated {unallocated.normalize():f}, capture rate {percent(allocated, billed_by_aws)}, "
        f"{ties}difference {difference.normalize():f}[/]"
    )
    console.print(
        f"[bold]Accuracy[/]        {percent(right, knowable)} of the {money(knowable, 'USD')} that evidence exists for went to "
        f"the true team; estimates priced {estimated.requests} requests at {money(estimated.total, 'USD')}, their true "
        f"list price is {money(month.truth().list_cost_of_requests, 'USD')} with the requests that no log holds"
    )
    return difference == 0


def repeat(running: Pipeline, month: Month, delivery: Delivery, receiver: SlackReceiver) -> bool:
    """Feed the same month again: nothing may change, and nobody may hear of it."""
    before, heard = running.fingerprint(), len(receiver.posts)
    with step("feed the same logs, events and delivery again"):
        feed_usage(running, month)
        feed_delivery(running, BillingPeriod.parse(MONTH), delivery)
    after = running.fingerprint()
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    changed = [key for key in changed if not key.startswith("CHECKPOINT#")]
    messages = len(receiver.posts) - heard
    console.print(f"[bold]Again[/]           {len(changed)} ledger items changed, {messages} more Slack messages")
    for key in changed[:10]:
        console.print(f"  [red]changed[/] {key}")
    return not changed and not messages


def logged_call(month: Month) -> str | None:
    """A call of the month that was logged with metadata, as `bedrock-costs request` takes it; a small month may have none."""
    call = next((r for r in month.requests if r.is_logged and r.metadata and not r.error_code), None)
    return f"{call.principal.account.account_id}/{call.principal.region}/{call.request_id}" if call else None


def next_steps(running: Pipeline, month: Month, keep: bool) -> None:
    console.print()
    if not keep:
        console.print("[bold]Next[/]  make demo ARGS=--keep   leaves it running, to look into it with `bedrock-costs`")
        console.print("      make demo ARGS=--replay feeds the same month twice, and shows that nothing changes")
        console.print("      README.md               how to deploy it to AWS")
        return
    console.print("[bold]It is still running.[/] Look into it:")
    for name, value in running.variables().items():
        console.print(f"  export {name}={value}", markup=False)
    for command in (
        f"status --period {MONTH}",
        f"report --period {MONTH} --by team",
        f"coverage --period {MONTH} --by account,region",
        "anomalies --all",
        *([f"request {call}"] if (call := logged_call(month)) else []),
        f"days --period {MONTH}",
        f"deliveries --period {MONTH}",
        f"replay objects s3://{INVOCATION_LOGS}/{INVOCATION_LOG_PREFIX}/",
    ):
        console.print(f"  .venv/bin/bedrock-costs {command}", markup=False)
    console.print("  make stop", markup=False)
    console.print("Slack is not kept: alerts of budgets that you apply are recorded in the Alerts table, and not shown.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the local AWS running")
    parser.add_argument("--replay", action="store_true", help="feed the same month a second time and show what changes")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"logged requests in the month (default {REQUESTS})")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    console.print(
        f"[bold]Bedrock cost attribution[/] on a synthetic company's {MONTH}, without an AWS account [dim]({runtime})[/]"
    )
    with step("make up the company's month: requests, bill, truth"):
        month = company.build(MONTH, SEED, options.requests)
        delivery = cost_report.deliveries(month, bucket=COST_REPORTS, prefix=COST_REPORT_PREFIX, export=EXPORT)[-1]
    with SlackReceiver() as receiver:
        running = start(receiver, keep=options.keep, bot=True)
        try:
            succeeded = demonstrate(running, month, delivery, receiver, replay=options.replay)
        except pipeline.PipelineError as error:
            log = Path(shutil.copy(running.emulator.log_file, emulator.REPOSITORY / ".local" / "demo-emulator.log"))
            console.print(f"[red]error:[/] {error}; the emulator's log is {log}")
            succeeded = False
        if not options.keep:
            state.stop()
    console.print(f"[dim]{time.monotonic() - started:.0f} s in all[/]")
    if succeeded:
        next_steps(running, month, options.keep)
    return 0 if succeeded else 1


def demonstrate(running: Pipeline, month: Month, delivery: Delivery, receiver: SlackReceiver, *, replay: bool) -> bool:
    """The month: usage, estimates and alerts first; then the bill."""
    period = BillingPeriod.parse(MONTH)
    with step("load the AWS price list, the directory of models and tags, and the policy: cost categories, budgets"):
        running.load_prices(price_list.offers(month))
        running.load_directory(summary.directory())
        running.apply_policy(parse_policy(yaml.safe_load(POLICY.read_text())))
    coverage, loop = month.truth().coverage, loop_that_breaks_the_budget(month)
    with step(
        f"usage: {coverage.log_records} log records and {coverage.in_cloudtrail} calls in CloudTrail become estimated days"
    ):
        feed_usage(running, month, loop)
    if loop:
        with step(f"a runaway tenant: the log of the last hour of {RUNAWAY_TENANT}'s loop lands"):
            took = run_away(running, loop, receiver)
        console.print(
            f"    [bold]Over budget in Slack {took} after the log object landed.[/] [dim]On AWS about a minute later: "
            "it collects changes for 10 s, and for EstimateDelaySeconds.[/]"
        )
    estimate = Estimate(spend_by_team(running, period), cost_by_meter(running.charges(period)))
    with step(f"bill: a cost report delivery of {delivery.truth.rows} rows replaces the estimates"):
        feed_delivery(running, period, delivery)
    succeeded = show(running, month, delivery, estimate, receiver)
    if replay:
        succeeded = repeat(running, month, delivery, receiver) and succeeded
    return succeeded


if __name__ == "__main__":
    sys.exit(main())
