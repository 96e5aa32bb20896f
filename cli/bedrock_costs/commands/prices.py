"""`prices`: what estimates are made with: AWS's price list, what the customer states, and what the bill made of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.calibration import Calibration, Place
from attribution.canonical import number_text
from attribution.charges import COST_METRICS
from attribution.formats import clean, counted
from attribution.models import CATALOGUE, model_of_name, model_reference
from attribution.prices import ANY_REGION, OfferReading, Price, PriceList, PriceOrigin, PublishedOffer, contradictions
from bedrock_costs.application import Options, options_of
from bedrock_costs.failures import ExitCode, Failure
from bedrock_costs.screen import Column, Grid, Result, Screen
from bedrock_costs.stack import Stack, now

if TYPE_CHECKING:
    from bedrock_costs.price_comparison import Comparison

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load, state, show and check the prices of estimates.")
_LEFT_OUT_SHOWN = 10
LOADED_HEADER = ("source", "prices", "left_out")
PRICE_HEADER = ("model", "token_kind", "tier", "routing", "region", "amount", "currency", "per", "effective_from", "source")
SHOWN_HEADER = (*PRICE_HEADER, "origin", "factor", "not_calibrated_because")
COMPARED_HEADER = ("key", "model", "token_kind", "tier", "routing", "region", "ours", "theirs", "ratio")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one offer file brought."""

    source: str
    offer: PublishedOffer


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
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A mirror of the AWS Price List bulk API. Default: AWS's own.")
    ] = None,
) -> None:
    """Download the current prices of Bedrock's three offers and load them, as the stack itself does every day.

    Example: bedrock-costs prices sync
    """
    from adapters.sources.offer_files import BASE_URL
    from adapters.sources.price_list import OFFERS, read_offer
    from bedrock_costs.offers import offer_urls

    options = options_of(ctx)
    urls = offer_urls(base_url or BASE_URL, OFFERS)
    # Before anything is downloaded: without a stack there is nowhere to put it.
    options.stack.output("LedgerTable")
    loaded = [Loaded(url, read_offer(_download(options.screen, url), url)) for url in urls]
    _store(options, loaded)


def _download(screen: Screen, url: str) -> bytes:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from bedrock_costs.offers import download

    console = screen.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(url.rsplit("/", 3)[-3], total=None)
        return download(url, lambda done, whole: progress.update(task, completed=done, total=whole))


def _store(options: Options, loaded: Sequence[Loaded]) -> None:
    agreed, contradicting = contradictions(price for item in loaded for price in item.offer.prices)
    prices = options.stack.prices()
    stored = prices.store(agreed)
    for item in loaded:
        offer = item.offer
        prices.record_reading(OfferReading(offer.code, now(), offer.published_on, len(offer.prices), len(offer.left_out)))
    if stored:
        options.stack.directory_tasks().pricing()
    document = {
        "stored": stored,
        "sources": [
            {"source": item.source, "prices": len(item.offer.prices), "left_out": list(item.offer.left_out)} for item in loaded
        ],
        "contradicting": [_price_document(price) for price in contradicting],
    }
    rows = [(item.source, len(item.offer.prices), len(item.offer.left_out)) for item in loaded]

    def render(screen: Screen) -> None:
        _render_loaded(loaded, stored, contradicting, screen)

    options.screen.emit(Result(document, LOADED_HEADER, rows, render))


def _render_loaded(loaded: Sequence[Loaded], stored: int, contradicting: Sequence[Price], screen: Screen) -> None:
    columns = [Column("source"), Column("prices", is_number=True), Column("left out", is_number=True)]
    rows = [(item.source, f"{len(item.offer.prices):,}", f"{len(item.offer.left_out):,}") for item in loaded]
    screen.grid(Grid("prices read", columns, rows))
    if stored:
        screen.line(f"{counted(stored, 'price')} new or changed. Requests without a price until now are priced within minutes.")
    else:
        screen.line("Nothing is new: the ledger had these prices.")
    for price in contradicting:
        meter = price.meter
        name = f"{clean(meter.model)} {meter.token_kind.value} {meter.tier.value} {meter.routing.value} {clean(price.region)}"
        screen.line(f"left out, because two usage types contradict each other: {name} at {price}")
    left_out = [usage_type for item in loaded for usage_type in item.offer.left_out]
    if left_out:
        screen.line(f"{counted(len(left_out), 'usage type')} left out: not an on-demand price of a known meter.")
        for usage_type in left_out[:_LEFT_OUT_SHOWN]:
            screen.line(f"  {usage_type}")
        if len(left_out) > _LEFT_OUT_SHOWN:
            screen.line(f"  and {len(left_out) - _LEFT_OUT_SHOWN:,} more; --output json lists them")


def _price_row(price: Price) -> tuple[object, ...]:
    meter = price.meter
    return (
        meter.model, meter.token_kind.value, meter.tier.value, meter.routing.value, price.region, price.amount, price.currency,
        price.per, price.effective_from, price.source,
    )  # fmt: skip


def _price_document(price: Price) -> dict[str, object]:
    return dict(zip(PRICE_HEADER, _price_row(price), strict=True))


@commands.command()
def show(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model id or name. Default: every model that has prices.")
    ] = None,
    all_regions: Annotated[bool, typer.Option("--all-regions", help="Every Region, not only the stack's.")] = False,
) -> None:
    """Show the prices in force today, where each comes from, and what the bill made of it.

    The factor is what recent bills paid of the list price (net effective cost). Estimates use it; where the evidence is not
    enough they do not, and the reason is in `--output json`.

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
    calibrations = {
        (c.meter, c.region): c for name in {p.meter.model for p in found} for c in stack.prices().calibrations_of(name)
    }
    rows = [(*_price_row(p), p.origin.value, *_calibrated(p, calibrations)) for p in found]
    document = {"prices": [_shown_document(p, calibrations) for p in found]}
    options.screen.emit(Result(document, SHOWN_HEADER, rows, lambda screen: _render_shown(found, calibrations, screen)))


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
        listed = PriceList(prices.of_model(model))
        for price in listed.in_force(today):
            # A price for any Region is shown where the Region has none of its own.
            here = [listed.find(price.meter, region, today) for region in regions]
            if not regions or price.region in regions or (price.region == ANY_REGION and price in here):
                yield price


def _calibrated(price: Price, calibrations: Mapping[Place, Calibration]) -> tuple[Decimal | None, str]:
    """The factor in use on a list price, and why there is none."""
    found = calibrations.get((price.meter, price.region))
    if price.origin is not PriceOrigin.LIST:
        return None, f"the price is no list price but an {price.origin.value}"
    if found is None:
        return None, "not billed recently"
    return (found.factors.net_effective_cost, "") if found.is_used else (None, found.not_used_because)


def _shown_document(price: Price, calibrations: Mapping[Place, Calibration]) -> dict[str, object]:
    _, reason = _calibrated(price, calibrations)
    document = _price_document(price) | {"origin": price.origin.value, "not_calibrated_because": reason}
    found = calibrations.get((price.meter, price.region))
    if found is not None:
        document["calibration"] = {
            "factors": dict(zip(COST_METRICS, found.factors.amounts(), strict=True)),
            "days": found.days,
            "first_day": found.first_day,
            "last_day": found.last_day,
            "units": found.units,
            "list_cost": found.list_cost,
        }
    return document


def _render_shown(found: Sequence[Price], calibrations: Mapping[Place, Calibration], screen: Screen) -> None:
    columns = [
        Column("token kind", no_wrap=True),
        Column("tier", no_wrap=True),
        Column("routing", no_wrap=True),
        Column("Region", no_wrap=True),
        Column("price", is_number=True),
        Column("per", is_number=True),
        Column("billed at", is_number=True),
        Column("origin", no_wrap=True, dispensable=2),
        Column("from", no_wrap=True, dispensable=1),
    ]
    rows: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for p in found:
        factor, _ = _calibrated(p, calibrations)
        billed_at = f"× {number_text(factor)}" if factor is not None else "–"
        rows[p.meter.model].append(
            (
                p.meter.token_kind.value, p.meter.tier.value, p.meter.routing.value, p.region,
                f"{number_text(p.amount)} {p.currency}", f"{p.per:,}", billed_at,
                p.origin.value, p.effective_from.isoformat(),
            )
        )  # fmt: skip
    for model, of_model in rows.items():
        screen.grid(Grid(f"prices of {model} in force", columns, of_model))
    screen.line(f"Sources: {'; '.join(sorted({p.source for p in found}))}", style="dim")


@commands.command()
def override(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Prices as YAML or CSV; docs/prices.md has an example.")],
) -> None:
    """Put prices that you state in force. They win over AWS's list from their day on.

    Example: bedrock-costs prices override prices.yaml
    """
    from bedrock_costs.policy_warnings import unknown_models
    from bedrock_costs.price_overrides import read_overrides

    options = options_of(ctx)
    prices = read_overrides(file)
    unknown = unknown_models(options.stack, (price.meter.model for price in prices), now().date())
    options.stack.prices().override(prices)
    options.stack.directory_tasks().pricing()
    sentence = f"{counted(len(prices), 'price')} in force. Requests from now on use them; priced ones keep what they have."
    _emit_overrides(options, prices, "prices stated", sentence)
    for warning in unknown:
        options.screen.note(warning)


@commands.command()
def overrides(ctx: typer.Context) -> None:
    """Show the prices that you state.

    Example: bedrock-costs prices overrides
    """
    options = options_of(ctx)
    _emit_overrides(options, options.stack.prices().overrides(), "prices stated", "")


@commands.command()
def remove(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(metavar="MODEL", help="A model id, name or ARN.")],
    token_kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only this token kind. Default: every kind.")] = None,
) -> None:
    """Take prices that you state out of force. Requests that were recorded at them keep them.

    Example: bedrock-costs prices remove --model anthropic.claude-sonnet-4-6
    """
    options = options_of(ctx)
    stated = [p for p in options.stack.prices().overrides() if p.meter.model == _canonical(model)]
    removed = [p for p in stated if token_kind is None or p.meter.token_kind.value == token_kind]
    if not removed:
        raise Failure(
            f"no price of {clean(model)} is stated", fix="`bedrock-costs prices overrides` shows those that are.",
            code=ExitCode.NOT_READY,
        )  # fmt: skip
    for price in removed:
        options.stack.prices().remove_override(price)
    _emit_overrides(options, removed, "prices removed", f"{counted(len(removed), 'price')} removed.")


def _emit_overrides(options: Options, prices: Sequence[Price], title: str, sentence: str) -> None:
    def render(screen: Screen) -> None:
        if not prices:
            screen.line("No prices are stated.")
            return
        names = ("model", "token kind", "tier", "routing", "Region", "price", "per", "from", "source")
        rows = [
            (
                p.meter.model, p.meter.token_kind.value, p.meter.tier.value, p.meter.routing.value, p.region,
                f"{number_text(p.amount)} {p.currency}", f"{p.per:,}", p.effective_from.isoformat(), p.source,
            )
            for p in prices
        ]  # fmt: skip
        screen.grid(Grid(title, [Column(name, is_number=name in ("price", "per")) for name in names], rows))
        if sentence:
            screen.line(sentence)

    document = {"prices": [_price_document(price) for price in prices]}
    options.screen.emit(Result(document, PRICE_HEADER, [_price_row(price) for price in prices], render))


@commands.command("compare")
def compare_prices(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy of LiteLLM's model_prices_and_context_window.json.")],
) -> None:
    """Show where another project's price table disagrees with the prices in force. Nothing of it is stored.

    Example: bedrock-costs prices compare model_prices_and_context_window.json
    """
    from bedrock_costs.price_comparison import compare, models_of, read_table

    options = options_of(ctx)
    table = read_table(file)
    prices = options.stack.prices()
    listed = PriceList(price for model in models_of(table) for price in prices.of_model(model))
    comparison = compare(table, listed, options.stack.region, now().date())
    rows = [
        (
            d.key, d.meter.model, d.meter.token_kind.value, d.meter.tier.value, d.meter.routing.value, d.region, d.ours,
            d.theirs, d.ratio,
        )
        for d in comparison.disagreements
    ]  # fmt: skip
    document = {
        "agreed": comparison.agreed,
        "disagreements": [dict(zip(COMPARED_HEADER, row, strict=True)) for row in rows],
        "only_theirs": list(comparison.only_theirs),
    }
    options.screen.emit(Result(document, COMPARED_HEADER, rows, lambda screen: _render_compared(comparison, screen)))


def _render_compared(comparison: Comparison, screen: Screen) -> None:
    columns = [
        Column("their key"),
        Column("token kind", no_wrap=True),
        Column("tier", no_wrap=True, dispensable=1),
        Column("Region", no_wrap=True, dispensable=2),
        Column("ours", is_number=True),
        Column("theirs", is_number=True),
        Column("theirs ÷ ours", is_number=True),
    ]
    rows = [
        (
            d.key, d.meter.token_kind.value, d.meter.tier.value, d.region, number_text(d.ours), number_text(d.theirs),
            number_text(d.ratio) if d.ratio is not None else "–",
        )
        for d in comparison.disagreements
    ]  # fmt: skip
    screen.grid(Grid("disagreements, USD per million units", columns, rows))
    screen.line(
        f"{counted(comparison.agreed, 'price')} agree, {len(comparison.disagreements):,} do not, "
        f"{len(comparison.only_theirs):,} are of meters that have no price here."
    )
