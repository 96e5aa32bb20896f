"""The program `bedrock-costs`: its commands and its global options."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bedrock_costs.application import Commands, Options
from bedrock_costs.commands.adjustments import adjustments
from bedrock_costs.commands.alerts import commands as alerts_commands
from bedrock_costs.commands.anomalies import commands as anomalies_commands
from bedrock_costs.commands.backfill import backfill
from bedrock_costs.commands.budgets import budgets
from bedrock_costs.commands.config import commands as config_commands
from bedrock_costs.commands.coverage import coverage
from bedrock_costs.commands.days import days
from bedrock_costs.commands.deliveries import deliveries
from bedrock_costs.commands.directory import commands as directory_commands
from bedrock_costs.commands.explain import explain
from bedrock_costs.commands.prices import commands as prices_commands
from bedrock_costs.commands.quarantine import quarantine
from bedrock_costs.commands.recount import recount
from bedrock_costs.commands.replay import commands as replay_commands
from bedrock_costs.commands.report import report
from bedrock_costs.commands.request import request
from bedrock_costs.commands.status import status
from bedrock_costs.failures import EXIT_CODES
from bedrock_costs.screen import Output

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    # Plain help: it is there in half the time, because Rich need not be loaded.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"bedrock-costs {version('bedrock-cost-attribution')}")
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="AWS profile. Default: AWS_PROFILE.")] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Region of the stack. Default: the profile's, AWS_REGION.")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of another AWS, such as a local one. Default: AWS_ENDPOINT_URL.")
    ] = None,
    stack_name: Annotated[
        str, typer.Option(metavar="NAME", envvar="BEDROCK_COSTS_STACK", help="CloudFormation stack.")
    ] = "bedrock-costs",
    output: Annotated[Output | None, typer.Option(help="Default: table on a terminal, else json.")] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and end.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colors; NO_COLOR does the same.")] = False,
) -> None:
    """Who spends what on Amazon Bedrock: reports from the ledger, and the ledger's upkeep.

    Global options may stand before or after the command.

    Example: bedrock-costs report --period 2026-10 --by team --profile finance
    """
    # boto3 itself reads AWS_DEFAULT_REGION alone; AWS_REGION is what other SDKs and Lambda set.
    region = region or os.environ.get("AWS_REGION")
    color = not no_color and not os.environ.get("NO_COLOR")
    ctx.obj = Options(stack_name, profile, region, endpoint_url, output, color)


for command in (
    report,
    budgets,
    coverage,
    explain,
    days,
    request,
    deliveries,
    adjustments,
    quarantine,
    status,
    backfill,
    recount,
):
    app.command()(command)
app.add_typer(alerts_commands, name="alerts")
app.add_typer(anomalies_commands, name="anomalies")
app.add_typer(replay_commands, name="replay")
app.add_typer(config_commands, name="config")
app.add_typer(prices_commands, name="prices")
app.add_typer(directory_commands, name="directory")
