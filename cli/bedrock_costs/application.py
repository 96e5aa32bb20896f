"""What every command shares: the global options, which may stand before or after the command, and how failures end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperGroup

from attribution.errors import QuestionInvalid
from bedrock_costs.failures import Failure, explain
from bedrock_costs.screen import Output, Screen
from bedrock_costs.stack import Stack

_VALUED = ("--profile", "--region", "--endpoint-url", "--stack-name", "--output")
_FLAGS = ("--no-color",)
# Parts of questions that are arguments here, and parameters of the API.
_ARGUMENTS = ("name", "charge")
# `request --region` is the Region of the call it looks for.
_OWN = {"request": ("--region",)}


@dataclass
class Options:
    """The global options of one run."""

    stack_name: str
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    output: Output | None = None
    color: bool = True

    @cached_property
    def screen(self) -> Screen:
        return Screen(self.output, color=self.color)

    @cached_property
    def stack(self) -> Stack:
        return Stack(self.stack_name, profile=self.profile, region=self.region, endpoint_url=self.endpoint_url)


def global_options_first(args: list[str]) -> list[str]:
    """The arguments with global options moved before the command, where their owner expects them."""
    first: list[str] = []
    rest: list[str] = []
    command = ""
    waiting = iter(args)
    for arg in waiting:
        name, has_value, _ = arg.partition("=")
        if arg == "--":
            return [*first, *rest, arg, *waiting]
        if name in _OWN.get(command, ()) or name not in (*_VALUED, *_FLAGS):
            command = command or arg
            rest.append(arg)
        elif name in _FLAGS or has_value:
            first.append(arg)
        else:
            first += [arg, *([value] if (value := next(waiting, None)) is not None else [])]
    return [*first, *rest]


class Commands(TyperGroup):
    """The commands; an expected failure of any of them becomes a message and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _keep_examples_whole(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _in_plain_words():
            return super().parse_args(ctx, global_options_first(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            with _in_plain_words():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except QuestionInvalid as error:
            raise typer.BadParameter(error.reason, param_hint=_hint(error.parameter)) from None
        except Exception as error:
            failure = explain(error)
            if failure is None:
                raise
            color = ctx.obj.color if isinstance(ctx.obj, Options) else True
            show_failure(failure, color=color)
            raise typer.Exit(int(failure.code)) from error


def _keep_examples_whole(command: Any) -> None:
    """Let help print every example on one line, so that it can be copied; `\\b` is Click's word for that."""
    if command.help:
        command.help = re.sub(r"^Example: ", "\b\nExample: ", command.help, flags=re.MULTILINE)
    for inner in getattr(command, "commands", {}).values():
        _keep_examples_whole(inner)


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """What is wrong with an option, without the words of the validator that Typer asks."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = error.message.removeprefix("Value error, ")
        raise


def _hint(parameter: str) -> str | None:
    """A part of a question as this program names it."""
    if parameter in _ARGUMENTS:
        return parameter.upper()
    return f"--{parameter.replace('_', '-')}" if parameter else None


def show_failure(failure: Failure, *, color: bool) -> None:
    """What, why and how to fix it, on standard error."""
    from attribution.formats import clean

    console = Screen(Output.TABLE, color=color).console(stderr=True)
    console.print(f"error: {clean(failure.what)}", style="bold red", soft_wrap=True)
    for detail in failure.details:
        console.print(f"  {clean(detail)}", soft_wrap=True)
    if failure.why:
        console.print(f"  why: {clean(failure.why)}", soft_wrap=True)
    if failure.fix:
        console.print(f"  fix: {clean(failure.fix)}", soft_wrap=True)


def options_of(ctx: typer.Context) -> Options:
    """The global options of this run."""
    options: Options = ctx.obj
    return options
