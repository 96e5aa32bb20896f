"""A policy document as a file, YAML or JSON: every error names the file and the line of the key it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedrock_costs.failures import Failure

if TYPE_CHECKING:
    from adapters.policy import PolicyDocument
    from bedrock_costs.located_files import LocatedFiles


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a file says, and what in it will hardly do what its author expects: one sentence each."""

    document: PolicyDocument
    warnings: Sequence[str]


def read_policy_file(path: Path) -> PolicyFile:
    """The validated document of a file, with what `- file:` in it names.

    What `config show --output json` prints is a document, too.
    """
    from pydantic import ValidationError

    from adapters.policy import PolicyDocument
    from adapters.validation import place
    from bedrock_costs.located_files import LocatedFiles
    from bedrock_costs.policy_warnings import warnings_of
    from bedrock_costs.policy_words import in_words

    files = LocatedFiles()
    written = files.load(path)
    if written is None:
        raise Failure(f"{path} is empty", fix="Begin with the policy in force: `bedrock-costs config show > policy.yaml`.")
    if isinstance(written, dict) and set(written) == {"schema", "policy"}:
        written = written["policy"]
    strays: list[str] = []
    whole = _with_files(path, written, files, strays)
    try:
        document = PolicyDocument.model_validate(whole)
    except ValidationError as error:
        wrong = [
            (
                files.line(whole, _as_written(whole, found["loc"]), path),
                f"{place(found['loc']) or 'document'}: {in_words(found)}",
            )
            for found in _telling(error.errors())
        ]
        raise Failure(
            f"{path} is not a usable policy",
            fix="Correct the file; `bedrock-costs config check` checks it without changing anything.",
            details=tuple(f"{line}: {text}" for line, text in sorted(wrong)),
        ) from None
    return PolicyFile(document, (*strays, *warnings_of(document)))


def _telling(errors: Sequence[Any]) -> list[Any]:
    """The errors without those that follow from another one: a list is too short because its only item is wrong."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short" or not any(len(at) > len(error["loc"]) == _common(at, error["loc"]) for at in places)
    ]


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _as_written(document: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A place by the keys that are in the file: without the validator's names of forms, with AWS's wrapper of a definition."""
    from adapters.validation import FORMS

    match tuple(part for part in location if part not in FORMS):
        case ("cost_categories", int(number), *inner) if "CostCategory" in document["cost_categories"][number]:
            return ("cost_categories", number, "CostCategory", *inner)
        case plain:
            return plain


def _with_files(path: Path, document: Any, files: LocatedFiles, strays: list[str]) -> Any:
    """The document with definitions in their places that lie in files of their own, or several in one document of AWS."""
    if not isinstance(document, dict):
        return document
    joined = dict(document)
    expand: dict[str, Callable[[Any], Iterator[Any]]] = {
        "cost_categories": lambda item: _cost_category(path, item, files),
        "budgets": lambda item: _budgets(path, item, files, strays),
    }
    for part, expanded in expand.items():
        if isinstance(listed := document.get(part), list):
            made = [found for item in listed for found in expanded(item)]
            is_same = len(made) == len(listed) and all(a is b for a, b in zip(made, listed, strict=True))
            joined[part] = listed if is_same else made
    is_unchanged = all(joined[key] is document[key] for key in document)
    return document if is_unchanged else files.replaced(document, joined)


def _cost_category(path: Path, item: Any, files: LocatedFiles) -> Iterator[Any]:
    if isinstance(item, dict) and set(item) == {"file"} and isinstance(item["file"], str):
        yield _loaded(path.parent / item["file"], files)
    else:
        yield item


def _budgets(path: Path, item: Any, files: LocatedFiles, strays: list[str]) -> Iterator[Any]:
    """A budget, or those that AWS printed: in a file (`- file: budgets.json`), or under `aws` itself.

    What else the item says, such as a channel, holds for each of them.
    """
    from adapters.budget_documents import join_aws_documents

    if not isinstance(item, dict):
        yield item
        return
    told: Any = None
    match item:
        case {"file": str(name), **rest}:
            source = path.parent / name
            described = _loaded(source, files)
            if isinstance(described, dict) and set(described) == {"budgets"} and isinstance(described["budgets"], list):
                # What `config import-budgets` printed.
                yield from described["budgets"]
                return
            if isinstance(named := rest.pop("notifications", None), str):
                told = _loaded(path.parent / named, files)
        case {"aws": {"Budgets": _, **beside} as described, **rest}:
            source, told = path, beside if "BudgetNotificationsForAccount" in beside else None
        case _:
            yield item
            return
    try:
        documents, unknown = join_aws_documents(described, told)
    except ValueError as error:
        raise Failure(f"{source}: {error}", fix="Give the files as the AWS command line printed them.") from None
    strays += [stray_notifications(unknown, source)] if unknown else []
    # What the item says besides stands where the item does.
    yield from (files.replaced(item, document | rest) for document in documents)


def _loaded(path: Path, files: LocatedFiles) -> Any:
    found = files.load(path)
    if found is None:
        raise Failure(f"{path} is empty", fix="Print it with the AWS command line again, or leave the entry out.")
    return found


def stray_notifications(names: Sequence[str], source: Path) -> str:
    """What to say of notifications whose budget is not among the budgets."""
    named = ", ".join(repr(name) for name in names)
    verb = "is" if len(names) == 1 else "are"
    return f"{named} {verb} not in {source}: notifications of a budget that is not there tell nothing."
