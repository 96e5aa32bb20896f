"""`prices`: the public prices that estimates are made with, from AWS Price List offer files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.canonical import number_text
from attribution.models import CATALOGUE, model_of_name, model_reference
from attribution.prices import Price
from bedrock_costs.application import Options, options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.formats import clean, counted
from bedrock_costs.offers import BASE_URL, download, offer_url
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from adapters.sources.price_list import ReadOffer

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load and show the public prices behind estimates.")
_LEFT_OUT_SHOWN = 10
LOADED_HEADER = ("source", "prices", "left_out")
SHOWN_HEADER = ("model", "token_kind", "tier", "routing", "region", "amount", "currency", "per", "effective_from", "source")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one offer file brought."""

    source: str
    offer: ReadOffer


@commands.command()
def load(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="AWS Price List offer files (index.json).")],
) -> None:
    """Load prices from offer files.

    Loading the same file again changes nothing.

    Example: bedrock-costs prices load AmazonBedrock.json AmazonBedrockFoundationModels.json
    """
    from adapters.sources.price_list import read_offer

    options = options_of(ctx)
    loaded = []
    for path in files:
        try:
            body = path.read_bytes()
        except OSError as error:
            raise Failure(f"{path} cannot be read: {error.strerror}", fix="Check the path.") from error
        loaded.append(Loaded(str(path), read_offer(body, str(path))))
    _store(options, loaded)


@commands.command()
def sync(
    ctx: typer.Context,
    base_url: Annotated[str, typer.Option(metavar="URL", help="The AWS Price List bulk API, or a mirror of it.")] = BASE_URL,
) -> None:
    """Download the current prices of Bedrock's three offers and load them.

    Example: bedrock-costs prices sync
    """
    from adapters.sources.price_list import OFFERS, read_offer

    options = options_of(ctx)
    urls = [offer_url(base_url, offer) for offer in OFFERS]
    # Before anything is downloaded: without a stack there is nowhere to put it.
    options.stack.output("LedgerTable")
    loaded = [Loaded(url, read_offer(_download(options.screen, url), url)) for url in urls]
    _store(options, loaded)


def _download(screen: Screen, url: str) -> bytes:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = screen.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(url.rsplit("/", 3)[-3], total=None)
        return download(url, lambda done, whole: progress.update(task, completed=done, total=whole))


def _store(options: Options, loaded: Sequence[Loaded]) -> None:
    stored = options.stack.prices().store(price for item in loaded for price in item.offer.prices)
    document = {
        "stored": stored,
        "sources": [
            {"source": item.source, "prices": len(item.offer.prices), "left_out": list(item.offer.left_out)} for item in loaded
        ],
    }
    rows = [(item.source, len(item.offer.prices), len(item.offer.left_out)) for item in loaded]
    options.screen.emit(Result(document, LOADED_HEADER, rows, lambda screen: _render_loaded(loaded, stored, screen)))


def _render_loaded(loaded: Sequence[Loaded], stored: int, screen: Screen) -> None:
    columns = [Column("source"), Column("prices", is_number=True), Column("left out", is_number=True)]
    rows = [(item.source, f"{len(item.offer.prices):,}", f"{len(item.offer.left_out):,}") for item in loaded]
    screen.grid(Grid("prices read", columns, rows))
    screen.line(f"{counted(stored, 'price')} in the ledger. Requests from now on are estimated with them.")
    left_out = [usage_type for item in loaded for usage_type in item.offer.left_out]
    if left_out:
        screen.line(f"{counted(len(left_out), 'usage type')} left out: not an on-demand price of a known meter.")
        for usage_type in left_out[:_LEFT_OUT_SHOWN]:
            screen.line(f"  {usage_type}")
        if len(left_out) > _LEFT_OUT_SHOWN:
            screen.line(f"  and {len(left_out) - _LEFT_OUT_SHOWN:,} more; --output json lists them")


@commands.command()
def show(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model id or name. Default: every model that has prices.")
    ] = None,
    all_regions: Annotated[bool, typer.Option("--all-regions", help="Every Region, not only the stack's.")] = False,
) -> None:
    """Show the prices in force today.

    Example: bedrock-costs prices show --model anthropic.claude-sonnet-4-6
    """
    options = options_of(ctx)
    stack = options.stack
    models = [_canonical(model)] if model else stack.prices().models()
    regions = [] if all_regions else [stack.region]
    found = list(_in_force(stack, models, regions, now().date()))
    if not found:
        raise Failure(
            f"no prices of {_named(model)} in {'any Region' if all_regions else stack.region}",
            "Estimates of it are unpriced until prices are loaded.",
            "Load them with `bedrock-costs prices sync`; --all-regions shows other Regions.",
            ExitCode.NOT_READY,
        )
    rows = [
        (
            p.meter.model, p.meter.token_kind.value, p.meter.tier.value, p.meter.routing.value, p.region, p.amount, p.currency,
            p.per, p.effective_from, p.source,
        )
        for p in found
    ]  # fmt: skip
    document = {"prices": [dict(zip(SHOWN_HEADER, row, strict=True)) for row in rows]}
    options.screen.emit(Result(document, SHOWN_HEADER, rows, lambda screen: _render_shown(found, screen)))


def _canonical(name: str) -> str:
    return model_of_name(model_reference(name).model)


def _named(model: str | None) -> str:
    if model is None:
        return "any model"
    alike = get_close_matches(_canonical(model), [entry.key for entry in CATALOGUE], n=1)
    hint = f" (did you mean {alike[0]}?)" if alike and alike[0] != _canonical(model) else ""
    return f"{clean(model)}{hint}"


def _in_force(stack: Stack, models: Sequence[str], regions: Sequence[str], today: date) -> Iterator[Price]:
    prices = stack.prices()
    for model in models:
        yield from (price for price in prices.load([model]).in_force(today) if not regions or price.region in regions)


def _render_shown(found: Sequence[Price], screen: Screen) -> None:
    columns = [
        Column("model"),
        Column("token kind", no_wrap=True),
        Column("tier", no_wrap=True),
        Column("routing", no_wrap=True),
        Column("Region", no_wrap=True),
        Column("price", is_number=True),
        Column("per", is_number=True),
        Column("from", no_wrap=True, dispensable=1),
    ]
    rows = [
        (
            p.meter.model, p.meter.token_kind.value, p.meter.tier.value, p.meter.routing.value, p.region,
            f"{number_text(p.amount)} {p.currency}", f"{p.per:,}", p.effective_from.isoformat(),
        )
        for p in found
    ]  # fmt: skip
    screen.grid(Grid("prices in force", columns, rows))
    screen.line(f"Sources: {'; '.join(sorted({p.source for p in found}))}", style="dim")
